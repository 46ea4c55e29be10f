//! Calls that come to nothing, each for its own reason.

use tests::bed::{Bed, Web, require};

use super::run::{Plan, Sipp};
use super::{NUMBER, legs, tenant};

/// A call to a callee that plays `scenario`; what the tenant was told of the dial.
fn dial(scenario: Plan<'_>, caller: Plan<'_>, attributes: &str) -> (Bed, Web, Sipp, Sipp) {
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let web = tenant(&bed, at, attributes);
    let callee = scenario.answer(&bed, at, media);
    let caller = caller.call(&mut bed, NUMBER, media);
    (bed, web, caller, callee)
}

#[test]
fn cancelled_by_the_caller() {
    if !require("sipp") {
        return;
    }
    let (caller, callee) = (Plan::new("caller_cancels"), Plan::new("callee_rings"));
    let (bed, web, caller, callee) = dial(callee, caller, "answerOnBridge=\"true\"");
    caller.finish();
    callee.finish();
    let [inbound, outbound] = legs(&bed);
    assert_eq!(inbound["status"], "canceled", "{inbound}");
    assert_eq!(outbound["status"], "canceled", "{outbound}");
    let _ = web.expect("/status", "CallStatus", "canceled");
}

/// The callee refuses; the application hears why, hangs up, and the caller hears it too.
fn refused(code: u16, dial_status: &str) {
    let callee = Plan::new("callee_refuses").with("__CODE__", code);
    let caller = Plan::new("caller_is_refused").with("__CODE__", code);
    let (bed, web, caller, callee) = dial(callee, caller, "answerOnBridge=\"true\"");
    callee.finish();
    caller.finish();
    let after = web.expect("/after", "DialCallStatus", dial_status);
    assert_eq!(after.field("DialSipResponseCode"), code.to_string());
    let [_, outbound] = legs(&bed);
    assert_eq!(outbound["status"], dial_status, "{outbound}");
}

#[test]
fn busy() {
    if require("sipp") {
        refused(486, "busy");
    }
}

#[test]
fn not_found_at_the_callee() {
    if require("sipp") {
        refused(404, "failed");
    }
}

#[test]
fn not_answered_in_time() {
    if !require("sipp") {
        return;
    }
    let caller = Plan::new("caller_is_refused").with("__CODE__", 480);
    let attributes = "timeout=\"2\" answerOnBridge=\"true\"";
    let (bed, web, caller, callee) = dial(Plan::new("callee_rings"), caller, attributes);
    callee.finish();
    let _ = web.expect("/after", "DialCallStatus", "no-answer");
    caller.finish();
    let [_, outbound] = legs(&bed);
    assert_eq!(outbound["status"], "no-answer", "{outbound}");
}

#[test]
fn nobody_there() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    // Nothing listens at `at`: no response, or port unreachable.
    let web = tenant(&bed, at, "timeout=\"3\" answerOnBridge=\"true\"");
    let caller = Plan::new("caller_is_refused").with("__CODE__", 480);
    let caller = caller.call(&mut bed, NUMBER, media);
    let after = web.expect("/after", "CallSid", &call_sid(&web));
    assert!(["no-answer", "failed"].contains(&after.field("DialCallStatus")), "{after:?}");
    caller.finish();
}

fn call_sid(web: &Web) -> String {
    web.expect("/voice", "To", NUMBER).field("CallSid").to_owned()
}

#[test]
fn a_number_that_nobody_has_is_404() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let media = bed.ports.address();
    let caller = Plan::new("caller_is_refused").with("__CODE__", 404);
    caller.call(&mut bed, "+15559999", media).finish();
}

#[test]
fn rejected_by_the_application() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let media = bed.ports.address();
    let web = Web::start(|asked| {
        if asked.target == "/voice" {
            "<Response><Reject reason=\"busy\"/></Response>".to_owned()
        } else {
            String::new()
        }
    });
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    let caller = Plan::new("caller_is_refused").with("__CODE__", 486);
    caller.call(&mut bed, NUMBER, media).finish();
    let _ = web.expect("/status", "CallStatus", "busy");
}
