//! From where media is taken, where it is sent meanwhile, and what is told of the rest.

use wire::counter::Counter;
use wire::table::{MediaSources, StaticRoute, Table};

use crate::common::{count, ms, publish, route_to};
use crate::raw::{
    A, B, Call, Said, all, call, call_in, last, nothing_left, port, route_world, speak,
};

const SDP_OF_A: &str = "10.1.0.1:4000";

/// Our media ports towards A and towards B.
fn ports(call: &Call) -> (u16, u16) {
    let to_a = last(&call.log, A, "SIP/2.0 200", "m=audio").unwrap();
    let to_b = last(&call.log, B, "INVITE", "m=audio").unwrap();
    (port(&to_a), port(&to_b))
}

/// How many packets of ours went to a far end's address.
fn sent_to(call: &Call, address: &str) -> usize {
    let address = address.parse().unwrap();
    call.log.borrow().iter().filter(|(_, datagram)| datagram.to == address).count()
}

#[test]
fn a_gateway_that_sends_from_another_port_is_heard_whole_and_sent_to_where_it_said() {
    let mut call = call(&Said::default());
    let (to_a, to_b) = ports(&call);
    speak(&mut call.world, "10.1.0.1:4444", to_a, (0, 100));
    assert!(sent_to(&call, "10.1.0.2:4000") >= 95, "{}", sent_to(&call, "10.1.0.2:4000"));
    speak(&mut call.world, "10.1.0.2:4000", to_b, (0, 100));
    assert_eq!(sent_to(&call, SDP_OF_A), 100);
    assert_eq!(sent_to(&call, "10.1.0.1:4444"), 0, "nothing bleeds to a port that only speaks");
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn a_second_source_at_the_signalling_host_takes_nothing_away() {
    let mut call = call(&Said::default());
    let (to_a, to_b) = ports(&call);
    for round in 0..100 {
        speak(&mut call.world, "10.1.0.1:4444", to_a, (round, 1));
        speak(&mut call.world, "10.1.0.1:6666", to_a, (round * 3, 1));
        speak(&mut call.world, "10.1.0.2:4000", to_b, (round, 1));
    }
    assert_eq!(count(&call.world, Counter::RtpRelayed), 200);
    let refused = count(&call.world, Counter::DiscardRtpSource)
        + count(&call.world, Counter::DiscardRtpUnlatched);
    assert_eq!(refused, 100);
    assert_eq!(sent_to(&call, "10.1.0.1:6666"), 0);
    // What the SDP names speaks at last: a few packets later it is the only one.
    speak(&mut call.world, SDP_OF_A, to_a, (2_000, 50));
    speak(&mut call.world, "10.1.0.1:4444", to_a, (2_050, 40));
    assert_eq!(count(&call.world, Counter::RtpRelayed), 200 + 46);
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn a_new_port_of_the_same_host_goes_on_after_a_second_and_no_other() {
    let mut call = call(&Said::default());
    let (to_a, _) = ports(&call);
    speak(&mut call.world, SDP_OF_A, to_a, (0, 50));
    speak(&mut call.world, "10.1.0.1:4444", to_a, (50, 10));
    assert_eq!(count(&call.world, Counter::RtpRelayed), 50, "the old port spoke just now");
    // Its packet path lets nobody else in until it has been silent for a second, too.
    call.world.run_for(ms(2_500));
    speak(&mut call.world, "10.1.0.9:4444", to_a, (60, 10));
    assert_eq!(count(&call.world, Counter::RtpRelayed), 50, "another host");
    speak(&mut call.world, "10.1.0.1:4444", to_a, (70, 10));
    assert_eq!(count(&call.world, Counter::RtpRelayed), 60);
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn another_host_of_the_signallings_network_is_heard_by_policy_only() {
    for (media, heard) in [(MediaSources::Signalling, 0), (MediaSources::Network, 100)] {
        let (mut world, log) = route_world(1);
        let route = StaticRoute { media, ..route_to(&world, &[1]) };
        publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
        let mut call = call_in(world, log, &Said::default());
        let (to_a, _) = ports(&call);
        speak(&mut call.world, "10.1.0.77:4444", to_a, (0, 100));
        assert_eq!(count(&call.world, Counter::RtpRelayed), heard, "{media:?}");
        call.a_hangs_up();
        nothing_left(&mut call.world);
    }
}

#[test]
fn each_stream_is_policed_whoever_hears_it() {
    let mut call = call(&Said::default());
    let (to_a, _) = ports(&call);
    for seq in 0..4_000_u16 {
        let mut bytes = vec![0x80, 0];
        bytes.extend(seq.to_be_bytes());
        bytes.extend((u32::from(seq) * 160).to_be_bytes());
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend([0xff; 160]);
        let to = format!("10.0.0.1:{to_a}").parse().unwrap();
        call.world.inject(world::Datagram { from: SDP_OF_A.parse().unwrap(), to, bytes });
        if seq % 2 == 1 {
            call.world.run_for(ms(1));
        }
    }
    call.world.run_for(ms(100));
    // Two seconds of 2,000 packets each: what its packet time allows, and one burst.
    let relayed = count(&call.world, Counter::RtpRelayed);
    assert!((340..=360).contains(&relayed), "{relayed}");
    assert_eq!(relayed + count(&call.world, Counter::DiscardRtpRate), 4_000);
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn what_was_refused_is_told_with_the_leg() {
    let mut call = call(&Said::default());
    let (to_a, _) = ports(&call);
    speak(&mut call.world, "10.66.6.6:4000", to_a, (0, 30));
    speak(&mut call.world, "10.66.6.7:4000", to_a, (0, 20));
    speak(&mut call.world, SDP_OF_A, to_a, (0, 10));
    call.a_hangs_up();
    assert!(!all(&call.log, B, "BYE", "").is_empty());
    let told = crate::common::manual(&mut call.world).told.clone();
    let refused = told.iter().find_map(|told| match told.event() {
        wire::Event::Ended(summary) => summary.media.map(|media| media.refused),
        _ => None,
    });
    let refused = refused.expect("a summary");
    assert_eq!(refused.source, 50);
    assert_eq!(refused.foreign, Some("10.66.6.6:4000".parse().unwrap()));
    assert_eq!((refused.payload, refused.rate, refused.looped), (0, 0, 0));
    nothing_left(&mut call.world);
}
