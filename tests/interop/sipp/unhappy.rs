//! Flows whose messages are lost, come late, come twice or cross each other.

use std::time::Duration;

use tests::bed::{Bed, require};

use super::run::{Plan, Sipp};
use super::{NUMBER, legs, tenant};

const TALK: Duration = Duration::from_secs(1);

/// A call between the two, played to the end of both scenarios; both legs were completed.
/// The bed keeps the messages.
fn completed(caller: Plan<'_>, callee: Plan<'_>) -> (Bed, [Sipp; 2]) {
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let callee = callee.answer(&bed, at, media);
    let caller = caller.call(&mut bed, NUMBER, media);
    let ends = [caller, callee].map(Sipp::played);
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
    (bed, ends)
}

/// The 200 is sent again until its ACK arrives (RFC 3261, section 13.3.1.4).
#[test]
fn a_lost_ack_brings_the_200_again() {
    if require("sipp") {
        let caller = Plan::new("caller_loses_ack").talk(TALK);
        let (_bed, [caller, callee]) = completed(caller, Plan::new("callee"));
        let answers = caller.received().into_iter().filter(|it| it.contains("CSeq: 1 INVITE"));
        let answers = answers.filter(|it| it.contains("SIP/2.0 200 ")).count();
        // At 0, 500 and 1,500 ms, while the caller is silent for 1,800 ms.
        assert!((2..=4).contains(&answers), "sent again: {answers}");
        assert_eq!(callee.count("INVITE"), 1, "the callee hears nothing of it");
    }
}

/// Both hang up in the same moment: each BYE gets its 200 (RFC 5407 section 3.3.1).
#[test]
fn byes_that_cross_are_both_answered() {
    if require("sipp") {
        let callee = Plan::new("callee_hangs_up").talk(TALK);
        let _ = completed(Plan::new("caller_crosses_bye"), callee);
    }
}

/// A second 200 with another tag makes a dialog of its own, which is ended at once.
#[test]
fn a_second_answer_of_a_fork_is_ended() {
    if require("sipp") {
        let caller = Plan::new("caller").talk(Duration::from_secs(2));
        let (_bed, [_, callee]) = completed(caller, Plan::new("callee_answers_twice"));
        assert_eq!(callee.count("BYE"), 2, "one for each dialog");
    }
}

/// Holds in this form and takes the call back.
fn held(at: &str, direction: &str, answer: &str) {
    let caller = Plan::new("caller_holds").talk(TALK);
    let caller = caller.with("__AT__", at).with("__DIRECTION__", direction);
    let callee = Plan::new("callee_is_held").with("__ANSWER__", answer);
    let _ = completed(caller.with("__ANSWER__", answer), callee);
}

#[test]
fn held_by_sendonly() {
    if require("sipp") {
        held("[local_ip]", "sendonly", "recvonly");
    }
}

#[test]
fn held_by_inactive() {
    if require("sipp") {
        held("[local_ip]", "inactive", "inactive");
    }
}
