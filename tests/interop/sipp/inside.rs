//! Requests inside a call: that come late, twice, at the same time as another, or that nobody
//! understands.

use tests::bed::{Bed, Capture, Ports, Setup, require};

use super::{Body, FIRST, Flow, NUMBER, Plan, Sipp, legs, tenant};

const RESUMED: Body<'static> = Body::Sdp(3, "sendrecv", "[local_ip]");

/// A call of an application between the two, played to the end of both; each leg's status after.
/// The bed keeps their messages, which tshark has read too.
fn played(caller: &Flow, callee: &Flow) -> ([String; 2], Bed, [Sipp; 2]) {
    let mut bed = Bed::start();
    let capture = Capture::start(&bed);
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let callee = Plan::of(callee).answer(&bed, at, media);
    let caller = Plan::of(caller).call(&mut bed, NUMBER, media);
    let ends = [caller, callee].map(Sipp::played);
    capture.judge();
    let statuses = legs(&bed).map(|leg| leg["status"].as_str().unwrap_or_default().to_owned());
    (statuses, bed, ends)
}

#[track_caller]
pub(super) fn completed(caller: &Flow, callee: &Flow) -> (Bed, [Sipp; 2]) {
    let (statuses, bed, ends) = played(caller, callee);
    assert_eq!(statuses, ["completed", "completed"]);
    (bed, ends)
}

/// The caller's CANCEL crosses the 200: it is answered and changes nothing (RFC 3261, section 9.2).
#[test]
fn a_cancel_behind_the_answer_changes_nothing() {
    if require("sipp") {
        let caller = Flow::caller().request("INVITE", "", FIRST).may(&[100, 180, 183]).takes(200);
        let caller = caller.request("CANCEL", "", Body::Nothing);
        let caller = caller.takes_with(200, &[("CSeq:", "CANCEL")]).acknowledges().pause(800);
        let _ = completed(&caller.hangs_up(), &Flow::callee().answers_call().hears_bye());
    }
}

/// The callee answers while our CANCEL is under way: it gets its ACK and a BYE.
#[test]
fn an_answer_that_crosses_our_cancel_is_ended() {
    if require("sipp") {
        let caller = Flow::caller().request("INVITE", "", FIRST).may(&[100]).takes(180).pause(300);
        let caller = caller.request("CANCEL", "", Body::Nothing).takes(200).takes(487);
        let caller = caller.acknowledges_refusal().pause(200);
        let callee = Flow::callee().hears("INVITE");
        let callee = callee.responds("180 Ringing", "s", "", Body::Nothing).hears("CANCEL");
        let callee = callee.responds("200 OK", "s", "", FIRST).hears("ACK").hears_bye();
        let (statuses, ..) = played(&caller, &callee);
        assert_eq!(statuses[0], "canceled");
    }
}

/// One side's hold reaches the other while that one holds: both are refused with 491 (RFC 3261,
/// section 14.2), and ours comes again, sooner to whoever has made the Call-ID.
fn glares(flow: Flow, again_within_ms: u32) -> Flow {
    let held = Body::Sdp(2, "inactive", "[local_ip]");
    let flow = flow.hears_with("INVITE", &[("body", "a=sendonly")]).request("INVITE", "", held);
    let flow = flow.takes(491).acknowledges_refusal();
    let flow = flow.responds_inside("491 Request Pending", Body::Nothing).hears("ACK");
    let flow = flow.hears_within("INVITE", again_within_ms);
    flow.answers("200 OK", "", Body::Sdp(3, "recvonly", "[local_ip]")).hears("ACK")
}

fn holds(flow: Flow) -> Flow {
    let flow = flow.pause(300).request("INVITE", "", Body::Sdp(2, "sendonly", "[local_ip]"));
    flow.may(&[100]).takes(200).acknowledges()
}

#[test]
fn a_caller_whose_hold_crosses_ours_is_asked_again() {
    if require("sipp") {
        let caller = glares(Flow::caller().calls(), 2_600).pause(300).hangs_up();
        let _ = completed(&caller, &holds(Flow::callee().answers_call()).hears_bye());
    }
}

#[test]
fn a_callee_whose_hold_crosses_ours_is_asked_again() {
    if require("sipp") {
        let callee = glares(Flow::callee().answers_call(), 4_600).hears_bye();
        let _ = completed(&holds(Flow::caller().calls()).pause(5_500).hangs_up(), &callee);
    }
}

/// RFC 2543's way: no place for media instead of a direction.
#[test]
fn held_by_a_description_that_names_no_place() {
    if require("sipp") {
        let none = Body::Sdp(2, "sendrecv", "0.0.0.0");
        let caller = Flow::caller().calls().pause(300).request("INVITE", "", none).may(&[100]);
        let caller = caller.takes_with(200, &[("body", "m=audio [1-9]")]).acknowledges().pause(500);
        let caller = caller.request("INVITE", "", RESUMED).may(&[100]);
        let caller = caller.takes_with(200, &[("body", "a=sendrecv")]).acknowledges().pause(300);
        let callee = Flow::callee().answers_call();
        let callee = callee.hears_with("INVITE", &[("body", "a=(inactive|sendonly)")]);
        let callee = callee.answers("200 OK", "", Body::Sdp(2, "recvonly", "[local_ip]"));
        let callee = callee.hears("ACK").hears_with("INVITE", &[("body", "a=sendrecv")]);
        let callee = callee.answers("200 OK", "", RESUMED).hears("ACK").hears_bye();
        let (_bed, [_, callee]) = completed(&caller.hangs_up(), &callee);
        assert!(callee.received().iter().all(|it| !it.contains("0.0.0.0")), "it stays with us");
    }
}

/// Nothing is described with the INVITE: the 200 offers, the ACK answers.
#[test]
fn a_caller_that_lets_us_offer() {
    if require("sipp") {
        let caller = Flow::caller().request("INVITE", "", Body::Nothing).may(&[100, 180]);
        let caller = caller.takes_with(200, &[("body", "m=audio [1-9]")]);
        let caller = caller.request("ACK", "", FIRST).pause(800).hangs_up();
        let _ = completed(&caller, &Flow::callee().answers_call().hears_bye());
    }
}

/// The same inside the dialog (a phone that is taken off hold by a switch that has no media).
#[test]
fn a_reinvite_that_lets_us_offer() {
    if require("sipp") {
        let caller = Flow::caller().calls().pause(300).request("INVITE", "", Body::Nothing);
        let caller = caller.may(&[100]).takes_with(200, &[("body", "m=audio [1-9]")]);
        let caller = caller.request("ACK", "", Body::Sdp(2, "sendrecv", "[local_ip]"));
        let _ =
            completed(&caller.pause(500).hangs_up(), &Flow::callee().answers_call().hears_bye());
    }
}

fn updates(flow: Flow) -> Flow {
    let flow = flow.pause(300).request("UPDATE", "", Body::Nothing).takes(200).pause(200);
    let held = Body::Sdp(2, "sendonly", "[local_ip]");
    let flow = flow.request("UPDATE", "", held).takes_with(200, &[("body", "a=recvonly")]);
    let flow = flow.pause(500).request("UPDATE", "", RESUMED);
    flow.takes_with(200, &[("body", "a=sendrecv")]).pause(500)
}

/// Is held and taken back by whatever way the other side was held.
fn is_held(flow: Flow) -> Flow {
    let flow = flow.hears_with("INVITE", &[("body", "a=sendonly")]);
    let flow = flow.answers("200 OK", "", Body::Sdp(2, "recvonly", "[local_ip]")).hears("ACK");
    let flow = flow.hears_with("INVITE", &[("body", "a=sendrecv")]);
    flow.answers("200 OK", "", RESUMED).hears("ACK")
}

#[test]
fn a_caller_holds_by_update() {
    if require("sipp") {
        let callee = is_held(Flow::callee().answers_call()).hears_bye();
        let _ = completed(&updates(Flow::caller().calls()).hangs_up(), &callee);
    }
}

#[test]
fn a_callee_holds_by_update() {
    if require("sipp") {
        let caller = is_held(Flow::caller().calls()).hears_bye();
        let _ = completed(&caller, &updates(Flow::callee().answers_call()).hangs_up());
    }
}

/// The callee does not answer our PRACK at once: it comes again, unchanged.
#[test]
fn our_prack_comes_again_until_it_is_answered() {
    if require("sipp") {
        let callee = Flow::callee().hears("INVITE");
        let early = "Require: 100rel\nRSeq: 77\n";
        let callee = callee.responds("183 Session Progress", "s", early, FIRST);
        let callee = callee.hears_with("PRACK", &[("RAck:", "77 1 INVITE")]).pause(1_200);
        let callee = callee.answers("200 OK", "", Body::Nothing).pause(300);
        let callee = callee.responds("200 OK", "s", "", Body::Nothing).hears("ACK").hears_bye();
        let (_bed, [_, callee]) = completed(&Flow::caller().calls().pause(500).hangs_up(), &callee);
        assert!((2..=3).contains(&callee.count("PRACK")), "at 0, 500 and 1,500 ms");
    }
}

/// Ringing of three phones, an answer of a fourth (a fork that we do not see).
#[test]
fn several_early_dialogs_and_one_answer() {
    if require("sipp") {
        let callee = Flow::callee().hears("INVITE");
        let callee = callee.responds("180 Ringing", "one", "", Body::Nothing).pause(100);
        let callee = callee.responds("183 Session Progress", "two", "", FIRST).pause(100);
        let callee = callee.responds("180 Ringing", "three", "", Body::Nothing).pause(100);
        let callee = callee.responds("183 Session Progress", "two", "", FIRST).pause(300);
        let callee = callee.responds("200 OK", "s", "", FIRST).hears("ACK").hears_bye();
        let _ = completed(&Flow::caller().calls().pause(500).hangs_up(), &callee);
    }
}

/// Digits as text, in both types that are in use, become INFO at a far end that takes those.
#[test]
fn digits_by_info_reach_a_trunk_that_wants_them_so() {
    if !require("sipp") {
        return;
    }
    let mut ports = Ports::take();
    let (at, media) = (ports.address(), ports.address());
    let more = format!(
        "\n[[trunk]]\nname = \"digits\"\nprefix = \"9\"\nsources = [\"127.0.0.0/8\"]\n\
         targets = [\"{at}\"]\ndtmf = \"info\"\n"
    );
    let mut bed = Setup { more, ..Setup::default() }.start_on(ports);
    let relay = Body::Lines("application/dtmf-relay", "Signal=5\nDuration=160");
    let caller = Flow::caller().calls().pause(500).request("INFO", "", relay).takes(200);
    let plain = Body::Lines("application/dtmf", "7");
    let caller = caller.pause(500).request("INFO", "", plain).takes(200).pause(1_000).hangs_up();
    let digit = |flow: Flow, body: &str| {
        flow.hears_with("INFO", &[("body", body)]).answers("200 OK", "", Body::Nothing)
    };
    let callee = digit(Flow::callee().answers_call(), "Signal= *5");
    let callee = digit(callee, "Signal= *7|^7").hears_bye();
    let callee = Plan::of(&callee).answer(&bed, at, media);
    let caller = Plan::of(&caller).call(&mut bed, "9555", media);
    caller.finish();
    callee.finish();
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
}

/// A call that is refused for what it asks, with what helps in the refusal.
fn refused(with: (&str, &str), code: u16, says: (&str, &str)) {
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let web = tenant(&bed, at, "");
    let flow = Flow::caller().request("INVITE", "", FIRST).may(&[100]);
    let flow = flow.takes_with(code, &[says]).acknowledges_refusal().pause(200);
    let caller = Plan::of(&flow).with(with.0, with.1).call(&mut bed, NUMBER, media);
    caller.finish();
    assert!(web.asked().is_empty(), "the application hears nothing of it");
}

#[test]
fn an_extension_that_nobody_knows_is_420() {
    if require("sipp") {
        let more = "Max-Forwards: 70\nRequire: nobody-knows-it";
        refused(("Max-Forwards: 70", more), 420, ("Unsupported:", "nobody-knows-it"));
    }
}

#[test]
fn no_forwards_left_is_483() {
    if require("sipp") {
        refused(("Max-Forwards: 70", "Max-Forwards: 0"), 483, ("CSeq:", "1 INVITE"));
    }
}

#[test]
fn a_session_that_is_too_short_is_422() {
    if require("sipp") {
        let more = "Max-Forwards: 70\nSupported: timer\nSession-Expires: 60";
        refused(("Max-Forwards: 70", more), 422, ("Min-SE:", "[0-9]+"));
    }
}
