//! A phone that was dialled by a document refers its caller to another one (REFER).

use std::time::Duration;

use tests::bed::{Bed, require};

use super::run::Plan;
use super::{NUMBER, tenant};

/// The callee refers; the statuses of all legs then, and how many there are.
fn referred(
    callee: Plan<'_>,
    (target, replaces): (Plan<'_>, &str),
    caller: Plan<'_>,
) -> Vec<String> {
    let mut bed = Bed::start();
    let (at, there) = (bed.ports.address(), bed.ports.address());
    let media = bed.ports.address();
    let place = format!("{there}{replaces}");
    let web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let target = target.answer_beside(&bed, there, media);
    let callee = callee.with("__TARGET__", place).answer(&bed, at, media);
    let caller = caller.call(&mut bed, NUMBER, media);
    callee.finish();
    caller.finish();
    target.finish();
    let calls = bed.ended(3);
    assert_eq!(calls.len(), 3, "{calls:?}");
    let inbound = calls.iter().find(|call| call["direction"] == "inbound").expect("one");
    for call in calls.iter().filter(|call| call["direction"] != "inbound") {
        assert_eq!(call["parent_call_sid"], inbound["sid"], "{call}");
    }
    let _ = web.expect("/status", "CallStatus", "completed");
    let status = |call: &serde_json::Value| call["status"].as_str().unwrap_or_default().to_owned();
    let mut statuses: Vec<String> = calls.iter().map(status).collect();
    statuses.sort();
    statuses
}

/// The caller talks on with the target, and hangs up.
#[test]
fn a_phone_transfers_its_caller() {
    if require("sipp") {
        let callee = Plan::new("callee_refers").with("__CODE__", 200);
        let caller = Plan::new("caller").talk(Duration::from_secs(4));
        assert_eq!(referred(callee, (Plan::new("callee"), ""), caller), ["completed"; 3]);
    }
}

/// The target is busy: the phone has its caller still, and hangs up itself.
#[test]
fn a_busy_target_leaves_the_call() {
    if require("sipp") {
        let callee = Plan::new("callee_refers_in_vain").with("__CODE__", 486);
        let target = Plan::new("callee_refuses").with("__CODE__", 486);
        let caller = Plan::new("caller_hears_bye");
        assert_eq!(referred(callee, (target, ""), caller), ["busy", "completed", "completed"]);
    }
}

/// The same of an attended transfer, of a call that the target has somewhere else. (The target does
/// not hear of that call: an application's calls do not take Replaces along, a route's do.)
#[test]
fn a_busy_target_of_an_attended_transfer_leaves_the_call() {
    if require("sipp") {
        let callee = Plan::new("callee_refers_in_vain").with("__CODE__", 486);
        let target = Plan::new("callee_refuses").with("__CODE__", 486);
        let replaces = "?Replaces=consulted%40elsewhere%3Bto-tag%3Da%3Bfrom-tag%3Db";
        let caller = Plan::new("caller_hears_bye");
        let statuses = referred(callee, (target, replaces), caller);
        assert_eq!(statuses, ["busy", "completed", "completed"]);
    }
}
