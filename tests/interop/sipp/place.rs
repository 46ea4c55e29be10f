//! A phone takes the place of another one by Replaces (RFC 3891): a call that rings there is picked
//! up, one that stands there is taken over.

use std::net::SocketAddr;
use std::time::Duration;

use tests::bed::{Bed, eventually, require};

use super::run::{Plan, Sipp};
use super::{NUMBER, tenant};

/// The switch's leg of a callee's dialog, as the callee names it.
fn replaces(callee: &Sipp) -> String {
    eventually("the callee's INVITE", Duration::from_secs(20), || {
        let invite = callee.received().into_iter().find(|it| it.contains("\nINVITE sip:"))?;
        let header = |name: &str| invite.lines().find_map(|line| line.strip_prefix(name));
        let call_id = header("Call-ID:")?.trim();
        let (_, tag) = header("From:")?.split_once(";tag=")?;
        Some(format!("{call_id};to-tag={};from-tag=1s", tag.trim()))
    })
}

/// The caller hears the one that came, and is hung up on by it.
fn taken(callee: &'static str, wait: Duration) {
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let media: [SocketAddr; 3] = [(); 3].map(|()| bed.ports.address());
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let callee = Plan::new(callee).answer(&bed, at, media[1]);
    let caller = Plan::new("caller_hears_bye").call(&mut bed, NUMBER, media[0]);
    let name = replaces(&callee);
    std::thread::sleep(wait);
    let comes = Plan::new("caller_takes").with("__REPLACES__", name);
    let comes = comes.talk(Duration::from_secs(2)).call_beside(&mut bed, NUMBER, media[2]);
    callee.finish();
    comes.finish();
    caller.finish();
    let calls = bed.ended(3);
    assert_eq!(calls.len(), 3, "{calls:?}");
    let inbound = calls.iter().filter(|call| call["direction"] == "inbound");
    assert!(inbound.clone().all(|call| call["status"] == "completed"), "{calls:?}");
    assert_eq!(inbound.count(), 2, "{calls:?}");
}

#[test]
fn a_call_that_rings_is_picked_up() {
    if require("sipp") {
        taken("callee_is_picked_up", Duration::from_millis(500));
    }
}

#[test]
fn a_call_that_stands_is_taken_over() {
    if require("sipp") {
        taken("callee_is_left", Duration::from_secs(1));
    }
}
