//! Calls by TCP.

use std::time::Duration;

use tests::bed::{Bed, require};

use super::run::Plan;
use super::{Line, NUMBER, cdr, legs, tenant_of};

const PACKETS: u64 = 50;
const TALK: Duration = Duration::from_secs(3);
/// One connection for all.
const BY_TCP: [&str; 2] = ["-t", "t1"];

/// By TCP on both sides, and on one side alone.
#[test]
fn a_call_by_connections_is_heard_and_billed() {
    if !require("sipp") {
        return;
    }
    for (caller_tcp, callee_tcp) in [(true, true), (true, false), (false, true)] {
        let mut bed = Bed::start();
        let at = bed.ports.address();
        let suffix = if callee_tcp { ";transport=tcp" } else { "" };
        let target = format!("sip:callee@{at}{suffix}");
        let web = tenant_of(&bed, &target, "answerOnBridge=\"true\"");
        let line = Line::new(&mut bed);
        let by = |tcp: bool| if tcp { &BY_TCP[..] } else { &[] };
        let callee = Plan::new("callee").arguments(by(callee_tcp));
        let callee = callee.answer(&bed, at, line.callee.address);
        let caller = Plan::new("caller").arguments(by(caller_tcp)).talk(TALK);
        let caller = caller.call(&mut bed, NUMBER, line.caller.address);
        line.talk(&caller, &callee, PACKETS);
        caller.finish();
        callee.finish();
        line.judge();
        for leg in &legs(&bed) {
            assert_eq!(leg["status"], "completed", "{leg}");
            let _ = cdr(&bed, leg);
        }
        let _ = web.expect("/status", "CallStatus", "completed");
    }
}
