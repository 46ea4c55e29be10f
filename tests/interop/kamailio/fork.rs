//! A proxy that forks to two phones: what the switch makes of several early dialogs and answers.

use std::net::SocketAddr;
use std::time::Duration;

use tests::bed::{Bed, Web, require};

use super::Kamailio;
use crate::sipp::{Body, FIRST, Flow, Line, NUMBER, Plan, Sipp, legs, tenant};

const TALK: Duration = Duration::from_secs(2);

/// Two phones behind one proxy, and a caller before the switch.
struct Fork {
    web: Web,
    line: Line,
    caller: Sipp,
    phones: [Sipp; 2],
    _proxy: Kamailio,
    bed: Bed,
}

impl Fork {
    /// The media of the second phone is the line's callee; the first has none.
    fn call(caller: Plan<'_>, phones: [Flow; 2]) -> Self {
        let mut bed = Bed::start();
        let at: [SocketAddr; 3] = [(); 3].map(|()| bed.ports.address());
        let route =
            format!("$ru = \"sip:one@{}\";\n    append_branch(\"sip:two@{}\");", at[1], at[2]);
        let proxy = Kamailio::start(&bed, at[0], None, &route);
        let web = tenant(&bed, at[0], "answerOnBridge=\"true\"");
        let line = Line::new(&mut bed);
        let media = bed.ports.address();
        let [one, two] = phones.map(|flow| Plan::of(&flow));
        let one = one.answer(&bed, at[1], media);
        let two = two.answer_beside(&bed, at[2], line.callee.address);
        let caller = caller.call(&mut bed, NUMBER, line.caller.address);
        Self { bed, web, line, caller, phones: [one, two], _proxy: proxy }
    }

    /// The caller and the second phone hear each other; then all scenarios come to their ends.
    #[track_caller]
    fn talks(self) -> (Bed, [Sipp; 3]) {
        self.line.talk(&self.caller, &self.phones[1], 25);
        let [one, two] = self.phones.map(Sipp::played);
        let caller = self.caller.played();
        self.line.judge();
        for leg in legs(&self.bed) {
            assert_eq!(leg["status"], "completed", "{leg}");
        }
        let _ = self.web.expect("/after", "DialCallStatus", "completed");
        (self.bed, [caller, one, two])
    }
}

fn behind() -> Flow {
    Flow::callee().hears("INVITE")
}

/// Rings, and answers later.
fn answers_after(ms: u32) -> Flow {
    let flow = behind().responds("180 Ringing", "s", "", Body::Nothing).pause(ms);
    flow.responds("200 OK", "s", "", FIRST).hears("ACK").hears_bye()
}

/// Rings until it is cancelled.
fn rings(status: &str, body: Body<'_>) -> Flow {
    let flow = behind().responds(status, "s", "", body).hears("CANCEL");
    let flow = flow.answers("200 OK", "", Body::Nothing);
    flow.responds("487 Request Terminated", "s", "", Body::Nothing).hears("ACK").pause(200)
}

fn caller() -> Plan<'static> {
    Plan::new("caller").talk(TALK)
}

#[test]
fn one_phone_rings_and_the_other_answers() {
    if require("kamailio") && require("sipp") {
        let phones = [rings("180 Ringing", Body::Nothing), answers_after(500)];
        let (_bed, [_, _, answered]) = Fork::call(caller(), phones).talks();
        let bye = answered.received().into_iter().find(|it| it.contains("\nBYE sip:"));
        let vias = bye.expect("a BYE").lines().filter(|it| it.starts_with("Via:")).count();
        assert_eq!(vias, 2, "it came through the proxy");
    }
}

/// The first phone's early media is heard until the second one answers.
#[test]
fn one_phone_has_early_media_and_the_other_answers() {
    if require("kamailio") && require("sipp") {
        let phones = [rings("183 Session Progress", FIRST), answers_after(1_500)];
        let _ = Fork::call(caller(), phones).talks();
    }
}

#[test]
fn one_phone_is_busy_and_the_other_answers() {
    if require("kamailio") && require("sipp") {
        let busy = behind().responds("486 Busy Here", "s", "", Body::Nothing).hears("ACK");
        let _ = Fork::call(caller(), [busy.pause(200), answers_after(500)]).talks();
    }
}

/// The first phone answers in the moment it is cancelled: it gets its ACK, and a BYE at once
/// (RFC 3261, section 13.2.2.4).
#[test]
fn both_phones_answer_and_the_later_one_is_ended() {
    if require("kamailio") && require("sipp") {
        let late = behind().responds("180 Ringing", "late", "", Body::Nothing).hears("CANCEL");
        let late = late.answers("200 OK", "", Body::Nothing).responds("200 OK", "late", "", FIRST);
        let late = late.hears("ACK").hears_bye();
        let _ = Fork::call(caller(), [late, answers_after(300)]).talks();
    }
}

#[test]
fn both_phones_are_busy() {
    if !require("kamailio") || !require("sipp") {
        return;
    }
    let busy = || {
        let flow = behind().responds("486 Busy Here", "s", "", Body::Nothing);
        flow.hears("ACK").pause(200)
    };
    let caller = Plan::new("caller_is_refused").with("__CODE__", 486);
    let fork = Fork::call(caller, [busy(), busy()]);
    let after = fork.web.expect("/after", "DialCallStatus", "busy");
    assert_eq!(after.field("DialSipResponseCode"), "486");
    fork.caller.finish();
    fork.phones.into_iter().for_each(Sipp::finish);
    assert_eq!(legs(&fork.bed)[1]["status"], "busy");
}

/// The caller gives up while both ring.
#[test]
fn both_phones_are_cancelled() {
    if require("kamailio") && require("sipp") {
        let phones = [(); 2].map(|()| rings("180 Ringing", Body::Nothing));
        let fork = Fork::call(Plan::new("caller_cancels"), phones);
        fork.caller.finish();
        fork.phones.into_iter().for_each(Sipp::finish);
        for leg in legs(&fork.bed) {
            assert_eq!(leg["status"], "canceled", "{leg}");
        }
    }
}
