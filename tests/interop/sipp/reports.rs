//! What users of other switches and phones have reported of each other, tried with this one. Each
//! test names the report (its repository and number) that it is made from.

use std::time::Duration;

use tests::bed::{Bed, Ports, Setup, require};

use super::inside::completed;
use super::{Body, FIRST, Flow, NUMBER, Plan, tenant};

const HELD: Body<'static> = Body::Sdp(2, "sendonly", "[local_ip]");

/// baresip 2114: two phones of a fork ring reliably, and both PRACKs had one tag.
#[test]
fn each_early_dialog_gets_its_own_prack() {
    if require("sipp") {
        let reliable = |number: u32| format!("Require: 100rel\nRSeq: {number}\n");
        let callee = Flow::callee().hears("INVITE");
        let callee = callee.responds("180 Ringing", "one", &reliable(100), Body::Nothing);
        let callee = callee.hears_with("PRACK", &[("To:", "one"), ("RAck:", "100 1 INVITE")]);
        let callee = callee.answers("200 OK", "", Body::Nothing);
        let callee = callee.responds("180 Ringing", "two", &reliable(200), Body::Nothing);
        let callee = callee.hears_with("PRACK", &[("To:", "two"), ("RAck:", "200 1 INVITE")]);
        let callee = callee.answers("200 OK", "", Body::Nothing).pause(300);
        let callee = callee.responds("200 OK", "two", "", FIRST);
        let callee = callee.hears_with("ACK", &[("To:", "two")]).hears_bye();
        let _ = completed(&Flow::caller().calls().pause(500).hangs_up(), &callee);
    }
}

/// baresip 2819: an answer with another tag than the ringing had; ACK and BYE had the first one.
#[test]
fn an_answer_with_another_tag_than_the_ringing_counts() {
    if require("sipp") {
        let callee = Flow::callee().hears("INVITE");
        let callee = callee.responds("180 Ringing", "early", "", Body::Nothing).pause(200);
        let callee = callee.responds("200 OK", "late", "", FIRST);
        let callee = callee.hears_with("ACK", &[("To:", "late")]);
        let callee = callee.hears_with("BYE", &[("To:", "late")]);
        let callee = callee.answers("200 OK", "", Body::Nothing).pause(300);
        let _ = completed(&Flow::caller().calls().pause(500).hangs_up(), &callee);
    }
}

/// `FreeSWITCH` 846: held, then asked without a description and answered with both ways in the ACK:
/// the other side stayed on hold.
#[test]
fn an_answer_in_the_ack_takes_a_call_off_hold() {
    if require("sipp") {
        let caller = Flow::caller().calls().pause(300).request("INVITE", "", HELD).may(&[100]);
        let caller = caller.takes(200).acknowledges().pause(500);
        let caller = caller.request("INVITE", "", Body::Nothing).may(&[100]);
        let caller = caller.takes_with(200, &[("body", "m=audio [1-9]")]);
        let caller = caller.request("ACK", "", Body::Sdp(3, "sendrecv", "[local_ip]")).pause(800);
        let callee = Flow::callee().answers_call().hears_with("INVITE", &[("body", "a=sendonly")]);
        let callee = callee.answers("200 OK", "", Body::Sdp(2, "recvonly", "[local_ip]"));
        let callee = callee.hears("ACK").hears_with("INVITE", &[("body", "a=sendrecv")]);
        let callee = callee.answers("200 OK", "", Body::Sdp(3, "sendrecv", "[local_ip]"));
        let _ = completed(&caller.hangs_up(), &callee.hears("ACK").hears_bye());
    }
}

/// drachtio-server 401: a far end that is asked inside the dialog hangs up first and refuses what
/// it was asked afterwards.
#[test]
fn a_far_end_hangs_up_while_it_is_asked() {
    if require("sipp") {
        let caller = Flow::caller().calls().pause(300).request("INVITE", "", HELD).may(&[100]);
        let caller = caller.takes(200).acknowledges().hears_bye();
        let callee = Flow::callee().answers_call().hears("INVITE");
        let callee = callee.request("BYE", "", Body::Nothing).takes(200);
        let callee = callee.responds_inside("481 No Such Call", Body::Nothing).hears("ACK");
        let _ = completed(&caller, &callee.pause(200));
    }
}

/// drachtio-server 475 and siphon-sip 281: a session timer without a refresher is agreed on and
/// names one, and `replaces` is said to be known where it is.
#[test]
fn the_answer_names_a_refresher_and_what_is_known() {
    if require("sipp") {
        let more = "Supported: timer\nSession-Expires: 1800\n";
        let caller = Flow::caller().request("INVITE", more, FIRST).may(&[100, 180, 183]);
        let says = [
            ("Session-Expires:", "1800;refresher=(uac|uas)"),
            ("Supported:", "replaces"),
            ("Allow:", "REFER"),
        ];
        let caller = caller.takes_with(200, &says).acknowledges().pause(500).hangs_up();
        let _ = completed(&caller, &Flow::callee().answers_call().hears_bye());
    }
}

/// pjproject 4012 and asterisk 794: a reliable ringing that was acknowledged came again and again.
#[test]
fn ringing_that_is_acknowledged_comes_once() {
    if require("sipp") {
        let caller = Flow::caller().request("INVITE", "Require: 100rel\n", FIRST).may(&[100]);
        let caller = caller.takes_keeping(180, "RSeq:", "rseq");
        let caller = caller.request("PRACK", "RAck:[$rseq] 1 INVITE\n", Body::Nothing);
        let caller = caller.takes_with(200, &[("CSeq:", "PRACK")]).may(&[180]).takes(200);
        let callee = Flow::callee().hears("INVITE");
        let callee = callee.responds("180 Ringing", "s", "", Body::Nothing).pause(2_500);
        let callee = callee.responds("200 OK", "s", "", FIRST).hears("ACK").hears_bye();
        let (_bed, [caller, _]) = completed(&caller.acknowledges().pause(300).hangs_up(), &callee);
        let rings = caller.received().into_iter().filter(|it| it.contains("SIP/2.0 180 ")).count();
        assert_eq!(rings, 1);
    }
}

/// siphon-sip 220: whoever refers hangs up at once when that is accepted; the transfer goes on.
/// baresip 2676: a Refer-To without angle brackets is one.
#[test]
fn a_referrer_that_hangs_up_at_once_has_transferred() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let (at, there) = (bed.ports.address(), bed.ports.address());
    let media = bed.ports.address();
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let refer = format!("Refer-To: sip:target@{there}\n");
    let callee = Flow::callee().answers_call().pause(500).request("REFER", &refer, Body::Nothing);
    let callee = callee.takes(202).hears("NOTIFY").answers("200 OK", "", Body::Nothing);
    let callee = callee.request("BYE", "", Body::Nothing).takes(200);
    let callee = Plan::of(&callee).answer(&bed, at, media);
    let target = Plan::new("callee").with("__RING__", 1_000).answer_beside(&bed, there, media);
    let caller = Plan::new("caller").talk(Duration::from_secs(5)).call(&mut bed, NUMBER, media);
    callee.finish();
    caller.finish();
    target.finish();
    let calls = bed.ended(3);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
}

/// SIPp 488, pjproject 2712: whoever reads the first of two challenges alone, and knows MD5 alone,
/// gives up; asked again he is asked for what he knows. See `scanners/sipsak.rs`, `browser`.
///
/// SIP.js 144: early media that comes again while its PRACK is under way is no new description.
#[test]
fn early_media_that_comes_again_is_acknowledged_as_before() {
    if !require("sipp") {
        return;
    }
    let mut ports = Ports::take();
    let (at, media) = (ports.address(), ports.address());
    let mut bed = Setup { trunk: Some(at), ..Setup::default() }.start_on(ports);
    let early = "Require: 100rel\nRSeq: 5\n";
    let callee = Flow::callee().hears("INVITE");
    let callee = callee.responds("183 Session Progress", "s", early, FIRST);
    let callee = callee.hears_with("PRACK", &[("RAck:", "5 1 INVITE")]);
    let callee = callee.responds("183 Session Progress", "s", early, FIRST).pause(100);
    let callee = callee.answers("200 OK", "", Body::Nothing).pause(300);
    let callee = callee.responds("200 OK", "s", "", Body::Nothing).hears("ACK").hears_bye();
    let callee = Plan::of(&callee).answer(&bed, at, media);
    let caller = Flow::caller().calls().pause(500).hangs_up();
    let caller = Plan::of(&caller).call(&mut bed, "9555", media);
    caller.finish();
    let callee = callee.played();
    let pracks = callee.received().into_iter().filter(|it| it.contains("\nPRACK sip:"));
    assert!(pracks.into_iter().all(|it| it.contains("Content-Length: 0")), "none describes");
}
