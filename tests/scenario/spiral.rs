//! Calls that come back to the switch: a circle ends soon, and costs few legs; what only passes by
//! twice is carried.

use std::net::SocketAddr;

use wire::counter::Counter;
use wire::table::Table;
use world::World;

use crate::by_hand::{self, A, B, Hand, Log, ask, described, header, headers, send, world_by_hand};
use crate::common::{SECOND, count, ends, publish, route_to};

/// Routes from A and from ourselves lead to this address.
fn circle(seed: u64, to: Option<SocketAddr>) -> (World, Log) {
    let (mut world, log) = world_by_hand(seed);
    let mut route = route_to(&world, &[1]);
    route.sources.push("10.0.0.0/24".parse().unwrap());
    if let Some(to) = to {
        route.targets = vec![base::Target::udp(to)];
    }
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    (world, log)
}

/// A trunk that is pointed at the switch itself.
#[test]
fn a_call_to_ourselves_ends_after_seven_rounds() {
    let (mut world, log) = circle(1, Some(world::plane::listener()));
    let a = Hand::caller("circle");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    send(&mut world, A, &a.request("INVITE", 1, "", &offer));
    world.run_for(SECOND);
    let refused = log.last(A, "SIP/2.0", "1 INVITE");
    assert!(refused.starts_with("SIP/2.0 483"), "{refused}");
    let legs = count(&world, Counter::LegCreated);
    assert!((10..=16).contains(&legs), "{legs}");
    let all = ends(&mut world);
    assert!(all.iter().all(|end| end.billed_ms == 0), "{all:?}");
    by_hand::nothing_left(&mut world);
}

/// Another switch that brings each call back in its own name: what is left is the count of hops.
#[test]
fn a_circle_through_another_switch_ends_with_its_hops() {
    let (mut world, log) = world_by_hand(2);
    let route = route_to(&world, &[1]);
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let a = Hand::caller("round");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    let text = a.request("INVITE", 1, "", &offer).replace("Forwards: 70", "Forwards: 40");
    send(&mut world, A, &text);
    let mut rounds = 0;
    let mut known = Vec::new();
    for round in 0..80 {
        // What nobody answers comes again.
        let mut invites = log.all(B, "INVITE", "").into_iter();
        let is_new = |invite: &String| !known.contains(&header(invite, "Call-ID").to_owned());
        let Some(invite) = invites.find(is_new) else { break };
        known.push(header(&invite, "Call-ID").to_owned());
        rounds += 1;
        let hops: u32 = header(&invite, "Max-Forwards").parse().unwrap();
        let back = Hand { address: B, ..Hand::caller(&format!("round{round}")) };
        let offer = described("10.1.0.2", 5_000, 1, "0");
        let text = back.request("INVITE", 1, "", &offer);
        let text = text.replace("Max-Forwards: 70", &format!("Max-Forwards: {}", hops - 1));
        send(&mut world, B, &text);
    }
    assert!((19..=21).contains(&rounds), "{rounds}");
    let refused = log.all(B, "SIP/2.0 483", "");
    assert!(!refused.is_empty(), "{:?}", log.lines());
}

/// A proxy that knows where a number really is, and sends the call back: it goes on, and has fewer
/// hops.
#[test]
fn a_call_that_a_proxy_sends_back_goes_on() {
    let (mut world, log) = world_by_hand(3);
    let a = Hand::caller("spiral");
    let invite = ask(&mut world, &log, &a, "0");
    let from = headers(&invite, "Via").join("\nVia: ");
    let uri = invite.split(' ').nth(1).unwrap();
    let back = |number: u32, hops: u32| {
        let via = format!("Via: SIP/2.0/UDP {B};branch=z9hG4bKproxy{number};rport\nVia: {from}");
        let text = invite.replace(&format!("Via: {from}"), &via);
        // It has the media in its hands, too.
        let text = text.replace("IN IP4 10.0.0.1", "IN IP4 10.1.0.2");
        let text = text.replace(uri, "sip:g1@10.0.0.1:5060");
        text.replace("Max-Forwards: 69", &format!("Max-Forwards: {hops}"))
    };
    assert_eq!(header(&invite, "Max-Forwards"), "69");
    send(&mut world, B, &back(1, 68));
    let again = log.last(B, "INVITE", "");
    assert_ne!(header(&again, "Call-ID"), header(&invite, "Call-ID"), "{:?}", log.lines());
    assert_eq!(header(&again, "Max-Forwards"), "58");
    // Where there is not enough left, it goes round.
    send(&mut world, B, &back(2, 9).replace("CSeq: 1 ", "CSeq: 2 "));
    let refused = log.last(B, "SIP/2.0 482", "");
    assert!(header(&refused, "Warning").contains("circle"), "{refused}");
}
