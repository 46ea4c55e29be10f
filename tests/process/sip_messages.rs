//! Calls of a static route told message by message to an application that nobody asked for them,
//! taken over by it, and given back although the controlplane is killed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use tests::bed::{Asked, Ports, Setup, Web, eventually, pass};

use crate::load::{Load, Route};

const CALLS: u32 = 4;

/// The numbers of what was told of each leg, in the order in which it came, each once.
fn told(web: &Web) -> BTreeMap<String, Vec<(u32, String)>> {
    let mut legs: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    let asked = web.asked();
    for message in asked.iter().filter(|asked| asked.target.starts_with("/told")) {
        let number = message.field("SipMessageNumber").parse().expect("a number");
        let leg = legs.entry(message.field("CallSid").to_owned()).or_default();
        if !leg.iter().any(|(known, _)| *known == number) {
            leg.push((number, message.field("SipMethod").to_owned()));
        }
    }
    legs
}

#[test]
fn a_trunks_calls_are_told_taken_over_and_given_back_over_a_kill() {
    let mut ports = Ports::take();
    let callee = ports.address();
    let bed = Setup { trunk: Some(callee), ..Setup::default() }.start_on(ports);
    let web = Web::start(|asked: &Asked| match asked.target.as_str() {
        "/take" => "<Response><Pause length=\"3\"/></Response>".to_owned(),
        _ => String::new(),
    });
    let path = format!("/v1/Accounts/{}/SignalingSubscriptions", bed.rest.account);
    let _ = bed.rest.make(&path, &[("Url", &web.url("/told")), ("Scope", "trunk")]);
    let take = web.url("/take");
    let _ = bed.rest.make(
        &path,
        &[("Url", &take), ("SipMethod", "ACK"), ("Leg", "inbound"), ("Mode", "application")],
    );
    pass(Duration::from_millis(500));
    let trunk = Route { callee, to: format!("sip:9555@{}", bed.sip) };
    let load = Load::start(&bed, &trunk, CALLS, CALLS, 10);
    let asked = web.expect("/take", "SipMethod", "ACK");
    assert_eq!((asked.field("SipTrunk"), asked.field("SipDirection")), ("true", "received"));
    pass(Duration::from_millis(500));
    let before = bed.pid("controlplane");
    bed.signal("controlplane", Signal::KILL);
    let _ = bed.wait_for_successor("controlplane", before);
    let report = load.finish();
    assert_eq!(report.number("caller", "answered"), u64::from(CALLS));
    for wrong in ["bye_unanswered", "left_standing", "unacknowledged"] {
        assert_eq!(report.number("caller", wrong), 0, "{wrong}: {}", report.0["caller"]);
    }
    // Ten seconds each way, without the three of the pause: they heard each other again.
    let least = u64::from(CALLS) * 2 * 5 * 50;
    assert!(report.received() >= least, "{} packets of {least}", report.received());
    let legs = eventually("everything told", Duration::from_secs(20), || {
        let told = told(&web);
        let ended = told.values().filter(|it| it.iter().any(|(_, method)| method == "BYE"));
        (ended.count() == 2 * CALLS as usize).then_some(told)
    });
    for (call, messages) in legs {
        let numbers: Vec<u32> = messages.iter().map(|(number, _)| *number).collect();
        let all: Vec<u32> = (1..=u32::try_from(numbers.len()).expect("few")).collect();
        assert_eq!(numbers, all, "{call}: in order, none missing");
    }
    let booked = bed.ended(2 * CALLS as usize);
    assert!(booked.iter().all(|call| call["status"] == "completed"), "{booked:?}");
}
