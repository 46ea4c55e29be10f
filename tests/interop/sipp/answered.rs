//! Calls that are answered.

use std::time::Duration;

use tests::bed::{Bed, Ports, Setup, Voice, require};

use super::run::Plan;
use super::{Line, NUMBER, cdr, legs, tenant};

/// A second each way.
const PACKETS: u64 = 50;
const TALK: Duration = Duration::from_secs(3);

#[test]
fn dialled_by_number_heard_both_ways_hung_up_by_the_caller() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let web = tenant(&bed, at, "answerOnBridge=\"true\"");
    let line = Line::new(&mut bed);
    let callee = Plan::new("callee").answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, NUMBER, line.caller.address);
    line.talk(&caller, &callee, PACKETS);
    caller.finish();
    callee.finish();
    line.judge();
    let asked = web.expect("/voice", "To", NUMBER);
    assert_eq!(asked.field("From"), "+15550001");
    assert_eq!(asked.field("CallStatus"), "ringing");
    assert_eq!(asked.field("SipHeader_X-Customer"), "4711");
    let [inbound, outbound] = legs(&bed);
    for leg in [&inbound, &outbound] {
        assert_eq!(leg["status"], "completed", "{leg}");
        assert!(leg["duration"].as_str().is_some_and(|it| it != "0"), "{leg}");
        let _ = cdr(&bed, leg);
    }
    assert_eq!(outbound["parent_call_sid"], inbound["sid"]);
    let _ = web.expect("/status", "CallStatus", "completed");
}

#[test]
fn dialled_by_uri_hung_up_by_the_callee() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let web = tenant(&bed, at, "");
    let domain = [
        ("DomainName", "office.example"),
        ("VoiceUrl", &web.url("/voice")),
        ("SourceNetwork", "127.0.0.0/8"),
    ];
    let _ = bed.rest.make("/SIP/Domains.json", &domain);
    let line = Line::new(&mut bed);
    let callee = Plan::new("callee_hangs_up").talk(TALK).answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller_hears_bye").call(&mut bed, "support", line.caller.address);
    line.talk(&caller, &callee, PACKETS);
    callee.finish();
    caller.finish();
    let (heard, callee) = (line.caller.heard(), line.callee.heard());
    // Without answerOnBridge the caller hears our ringback tone first, in the same stream.
    assert_eq!(heard.ssrcs.len(), 1, "one stream: {heard:?}");
    assert!(heard.tags.contains(&2) && heard.lost <= 2 && heard.duplicated == 0, "{heard:?}");
    callee.expect_clean(1, 2);
    let asked = web.expect("/voice", "CallStatus", "ringing");
    assert_eq!(asked.field("To"), format!("sip:support@{}", bed.sip));
    let [inbound, outbound] = legs(&bed);
    assert_eq!(
        (&inbound["status"], &outbound["status"]),
        (&"completed".into(), &"completed".into())
    );
    let after = web.expect("/after", "DialCallStatus", "completed");
    assert_eq!(after.field("DialCallSid"), outbound["sid"]);
}

#[test]
fn what_sipp_echoes_comes_back_to_the_caller() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let _web = tenant(&bed, at, "answerOnBridge=\"true\"");
    // SIPp takes the ports behind its media port for RTCP and video.
    let _video = bed.ports.one();
    let voice = Voice::numbered(bed.ports.address(), 7);
    let echo = ["-rtp_echo", "-mi", "127.0.0.1", "-mp", &media.port().to_string()];
    let callee = Plan::new("callee").arguments(&echo).answer(&bed, at, media);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, NUMBER, voice.address);
    voice.send_to(caller.media());
    voice.wait_for(PACKETS);
    caller.finish();
    callee.finish();
    // SIPp sends back every packet it got: our own voice, through the switch twice.
    voice.heard().expect_clean(7, 4);
}

#[test]
fn a_statically_routed_call_needs_no_application() {
    if !require("sipp") {
        return;
    }
    let mut ports = Ports::take();
    let at = ports.address();
    let mut bed = Setup { trunk: Some(at), shards: 3, ..Setup::default() }.start_on(ports);
    let line = Line::new(&mut bed);
    let callee = Plan::new("callee").answer(&bed, at, line.callee.address);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, "9555", line.caller.address);
    line.talk(&caller, &callee, PACKETS);
    caller.finish();
    callee.finish();
    line.judge();
    let [inbound, outbound] = legs(&bed);
    assert_eq!(
        (&inbound["status"], &outbound["status"]),
        (&"completed".into(), &"completed".into())
    );
}

#[test]
fn options_are_answered() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let media = bed.ports.address();
    let monitor = Plan::new("options").call(&mut bed, "ping", media);
    monitor.finish();
}
