//! Descriptions that name the switch itself, and our own media that comes back: one packet between
//! two ports of ours would go round for ever, and keep its call alive.

use wire::counter::Counter;
use wire::event::Cause;
use world::World;

use crate::common::{count, ends, ms};
use crate::raw::{
    A, B, Call, Said, call, header, invite, last, nothing_left, port, reply, route_world, say, sdp,
    speak,
};

/// A description that names this address.
fn naming(host: &str, port: u16, version: u32) -> String {
    sdp(host, version, "0", "").replace("m=audio 4000", &format!("m=audio {port}"))
}

/// Our media ports towards A and towards B.
fn ports(call: &Call) -> (u16, u16) {
    let to_a = last(&call.log, A, "SIP/2.0 200", "m=audio").unwrap();
    let to_b = last(&call.log, B, "INVITE", "m=audio").unwrap();
    (port(&to_a), port(&to_b))
}

fn relayed(world: &World) -> u64 {
    count(world, Counter::RtpRelayed)
}

#[test]
fn an_offer_of_our_own_media_or_sip_address_begins_no_call() {
    // Any media port of any shard, whether it is open or not, and the listener.
    for port in [0x4000, 0x4002, 0x40fe, 5_060] {
        let (mut world, log) = route_world(1);
        say(&mut world, A, &invite("", &naming("10.0.0.1", port, 1)));
        let answer = last(&log, A, "SIP/2.0 488", "INVITE").expect("it is refused");
        assert!(header(&answer, "Warning").contains("this switch's own"), "{answer}");
        assert_eq!(count(&world, Counter::RefusedOwnAddress), 1);
        assert!(last(&log, B, "INVITE", "").is_none());
        nothing_left(&mut world);
    }
    // Another program on the switch's host is none of ours.
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &naming("10.0.0.1", 40_000, 1)));
    assert!(last(&log, B, "INVITE", "").is_some());
    assert_eq!(count(&world, Counter::RefusedOwnAddress), 0);
}

#[test]
fn an_answer_of_our_own_address_ends_the_attempt_early_or_final() {
    for status in ["183 Session Progress", "200 OK"] {
        let (mut world, log) = route_world(1);
        say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
        let asked = last(&log, B, "INVITE", "").unwrap();
        say(&mut world, B, &reply(&asked, status, "b", "", &naming("10.0.0.1", 0x4000, 1)));
        assert!(count(&world, Counter::RefusedOwnAddress) > 0, "{status}");
        speak(&mut world, "10.1.0.1:4000", port(&asked), (0, 10));
        assert_eq!(relayed(&world), 0, "{status}");
        assert!(last(&log, A, "SIP/2.0 200", "1 INVITE").is_none(), "{status}");
    }
}

#[test]
fn two_re_invites_that_cross_our_own_ports_are_refused_and_no_packet_circulates() {
    let mut call = call(&Said::default());
    let (to_a, to_b) = ports(&call);
    let first = call.a_offers(&naming("10.0.0.1", to_b, 2));
    assert!(first.starts_with("SIP/2.0 488"), "{first}");
    let offer = call.b.request("INVITE", "", &naming("10.0.0.1", to_a, 2));
    say(&mut call.world, B, &offer);
    let answer = last(&call.log, B, "SIP/2.0 488", "INVITE").expect("it is refused");
    assert!(header(&answer, "Warning").contains("this switch's own"), "{answer}");
    let update = call.a.request("UPDATE", "", &naming("10.0.0.1", to_b, 3));
    say(&mut call.world, A, &update);
    assert!(last(&call.log, A, "SIP/2.0 488", "UPDATE").is_some());
    assert_eq!(count(&call.world, Counter::RefusedOwnAddress), 3);
    // The call stands as it was: each packet is relayed once.
    speak(&mut call.world, "10.1.0.1:4000", to_a, (0, 10));
    speak(&mut call.world, "10.1.0.2:4000", to_b, (0, 10));
    call.world.run_for(ms(1_000));
    assert_eq!(relayed(&call.world), 20);
    call.unharmed();
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn what_comes_back_from_our_own_ports_is_counted_and_ends_the_call() {
    let mut call = call(&Said::default());
    let (to_a, to_b) = ports(&call);
    speak(&mut call.world, &format!("10.0.0.1:{to_b}"), to_a, (0, 15));
    assert!(ends(&mut call.world).is_empty(), "a few may be by chance");
    speak(&mut call.world, &format!("10.0.0.1:{to_b}"), to_a, (15, 5));
    assert!(count(&call.world, Counter::DiscardRtpLoop) >= 16);
    assert_eq!(relayed(&call.world), 0);
    let bye = last(&call.log, A, "BYE", "").expect("the call ends");
    say(&mut call.world, A, &reply(&bye, "200 OK", "1", "", ""));
    let bye = last(&call.log, B, "BYE", "").expect("on both sides");
    call.b_answers(&bye, "200 OK", "", "");
    assert!(ends(&mut call.world).iter().any(|end| end.cause == Cause::Forbidden));
    nothing_left(&mut call.world);
}

/// A call that comes back to the switch under another number is no loop (RFC 3261 section 16.3
/// step 4), though two of its legs describe our own ports to each other.
#[test]
fn a_call_that_comes_back_under_another_number_is_heard_through_all_its_legs() {
    let (mut world, log) = route_world(1);
    let callee = world.agents.len() - 1;
    let network = |text: &str| text.parse::<wire::table::Network>().unwrap();
    let back = wire::table::StaticRoute {
        prefix: "9".to_owned(),
        strip: 1,
        targets: vec![base::Target::udp(world::plane::listener())],
        ..crate::common::route_to(&world, &[callee])
    };
    let out = wire::table::StaticRoute {
        sources: vec![network("10.0.0.1")],
        ..crate::common::route_to(&world, &[callee])
    };
    let routes = vec![back, out];
    crate::common::publish(
        &mut world,
        &wire::table::Table { routes, admission: None, ..wire::table::Table::default() },
    );
    let offer = invite("", &sdp("10.1.0.1", 1, "0", "")).replace("sip:g1@", "sip:9555@");
    say(&mut world, A, &offer);
    world.run_for(ms(500));
    let asked = last(&log, B, "INVITE", "m=audio").expect("it comes through");
    assert!(asked.starts_with("INVITE sip:555@"), "{asked}");
    say(&mut world, B, &reply(&asked, "200 OK", "b", "", &sdp("10.1.0.2", 1, "0", "")));
    world.run_for(ms(500));
    let answer = last(&log, A, "SIP/2.0 200", "m=audio").expect("it is answered");
    assert_eq!(count(&world, Counter::RefusedOwnAddress), 0);
    for seq in 0..50 {
        speak(&mut world, "10.1.0.1:4000", port(&answer), (seq, 1));
        speak(&mut world, "10.1.0.2:4000", port(&asked), (seq, 1));
    }
    world.run_for(ms(200));
    let media = |to: &str| {
        let log = log.borrow();
        log.iter().filter(|(_, sent)| sent.to == to.parse().unwrap()).count()
    };
    let (to_a, to_b) = (media("10.1.0.1:4000"), media("10.1.0.2:4000"));
    assert!(to_a >= 45 && to_b >= 45, "{to_a} {to_b}");
    assert_eq!(count(&world, Counter::DiscardRtpLoop), 0);
    assert!(relayed(&world) <= 4 * 50, "each packet passes each pair of legs once");
}
