//! Datagrams that come again or not at all.

use std::time::Duration;

use tests::bed::{Bed, require};

use super::run::Plan;
use super::{Line, NUMBER, legs, tenant};

const TALK: Duration = Duration::from_secs(2);

#[test]
fn an_invite_that_comes_twice_is_one_call() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let line = Line::new(&mut bed);
    let callee = Plan::new("callee").answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller_repeats").talk(TALK).call(&mut bed, NUMBER, line.caller.address);
    line.talk(&caller, &callee, 25);
    assert_eq!(callee.count("INVITE"), 1, "the callee is called once");
    caller.finish();
    callee.finish();
    line.judge();
    let asked = web.asked();
    assert_eq!(asked.iter().filter(|asked| asked.target == "/voice").count(), 1);
    assert_eq!(legs(&bed).len(), 2);
}

#[test]
fn a_silent_callee_is_asked_again() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let line = Line::new(&mut bed);
    let callee = Plan::new("callee_slow").answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, NUMBER, line.caller.address);
    line.talk(&caller, &callee, 25);
    // At 0, 500 and 1,500 ms (timer A), while the callee is silent for 1,800 ms.
    let invites = callee.count("INVITE");
    assert!((2..=4).contains(&invites), "retransmitted by timer A: {invites} INVITEs");
    caller.finish();
    callee.finish();
    line.judge();
}

#[test]
fn one_datagram_in_seven_is_lost_and_the_call_stands() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let line = Line::new(&mut bed);
    let lossy = ["-lost", "14"];
    let linger = Plan::new("callee").with("__LINGER__", 6_000).arguments(&lossy);
    let callee = linger.answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller").arguments(&lossy).talk(Duration::from_secs(8));
    let caller = caller.call(&mut bed, NUMBER, line.caller.address);
    line.talk(&caller, &callee, 25);
    caller.finish();
    callee.finish();
    line.judge();
    assert_eq!(legs(&bed).len(), 2);
}
