//! Provisional responses that are acknowledged (RFC 3262): by the caller, by us, and by both.

use std::time::Duration;

use tests::bed::{Ports, Setup, require};

use super::run::Plan;
use super::{Line, legs};

const TALK: Duration = Duration::from_secs(2);

/// A statically routed call of the one to the other; how many PRACKs the callee got.
fn bridged(caller: Plan<'_>, callee: Plan<'_>) -> usize {
    let mut ports = Ports::take();
    let at = ports.address();
    let mut bed = Setup { trunk: Some(at), shards: 3, ..Setup::default() }.start_on(ports);
    let line = Line::new(&mut bed);
    let callee = callee.answer(&bed, at, line.callee.address);
    let caller = caller.talk(TALK).call(&mut bed, "9555", line.caller.address);
    line.talk(&caller, &callee, 25);
    let pracks = callee.count("PRACK");
    caller.finish();
    callee.finish();
    line.judge();
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
    pracks
}

#[test]
fn both_far_ends_acknowledge_early_media() {
    if require("sipp") {
        let caller = Plan::new("caller_acknowledges").with("__STATUS__", 183);
        assert_eq!(bridged(caller, Plan::new("callee_is_acknowledged")), 1);
    }
}

#[test]
fn the_caller_alone_acknowledges_ringing() {
    if require("sipp") {
        let caller = Plan::new("caller_acknowledges").with("__STATUS__", 180);
        assert_eq!(bridged(caller, Plan::new("callee")), 0);
    }
}

#[test]
fn the_callee_alone_is_acknowledged() {
    if require("sipp") {
        assert_eq!(bridged(Plan::new("caller"), Plan::new("callee_is_acknowledged")), 1);
    }
}
