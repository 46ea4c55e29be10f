//! What is too much is refused with its reason, before anything else is spent.

use wire::Command;
use wire::counter::Counter;
use wire::event::Cause;
use wire::table::Table;
use world::plane::PlaneSetup;
use world::{Action, Manner, Setup};

use crate::common::{
    SECOND, bridged, count, dial, ends, ms, nothing_left, publish, route_to, routed, send,
};

fn setup(seed: u64, change: impl FnOnce(&mut PlaneSetup)) -> Setup {
    let mut setup = Setup::new(seed);
    change(&mut setup.plane);
    setup
}

/// Dials so many calls at once, then counts who got which status.
fn codes(world: &mut world::World, calls: u32) -> Vec<u16> {
    let calls: Vec<_> = (1..=calls).map(|group| dial(world, group)).collect();
    world.run_for(4 * SECOND);
    let mut codes: Vec<u16> = calls.iter().map(|call| world.call(*call).seen.code).collect();
    for call in calls {
        world.act(call, Action::HangUp);
    }
    world.run_for(2 * SECOND);
    codes.sort_unstable();
    codes
}

#[test]
fn without_a_port_a_call_is_refused() {
    let setup = setup(1, |plane| (plane.shards, plane.spare_ports) = (1, 5));
    let mut world = routed(&setup, Manner::default(), vec![Manner::default()]);
    let codes = codes(&mut world, 4);
    assert!(codes.contains(&503) && codes.contains(&200), "{codes:?}");
    assert!(count(&world, Counter::RefusedNoPort) > 0);
    nothing_left(&mut world);
}

#[test]
fn ports_come_back_and_foreign_ones_are_left_alone() {
    let setup = setup(2, |plane| {
        (plane.shards, plane.spare_ports) = (1, 6);
        plane.foreign_ports = (0x4000..0x4100).filter(|port| port % 5 == 0).collect();
    });
    let mut world = routed(&setup, Manner::default(), vec![Manner::default()]);
    for _ in 0..30 {
        let codes = codes(&mut world, 2);
        assert_eq!(codes, [200, 200]);
        world.run_for(SECOND);
        for agent in &mut world.agents {
            agent.calls.clear();
        }
    }
    assert!(world.plane.ports_open_peak <= 60, "{}", world.plane.ports_open_peak);
    nothing_left(&mut world);
}

#[test]
fn without_a_cell_a_call_is_refused() {
    let setup = setup(3, |plane| (plane.shards, plane.legs) = (1, 4));
    let mut world = routed(&setup, Manner::default(), vec![Manner::default()]);
    let codes = codes(&mut world, 4);
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 2, "{codes:?}");
    assert!(count(&world, Counter::RefusedNoCell) > 0);
    nothing_left(&mut world);
}

#[test]
fn a_cell_is_not_used_again_before_it_is_released() {
    let setup = setup(4, |plane| (plane.shards, plane.legs) = (1, 4));
    let mut world = routed(&setup, Manner::default(), vec![Manner::default()]);
    crate::common::manual(&mut world).releases = false;
    assert_eq!(codes(&mut world, 2), [200, 200]);
    world.run_for(80 * SECOND);
    assert_eq!(codes(&mut world, 1), [503]);
    let held: Vec<(u32, base::LegId)> = crate::common::manual(&mut world)
        .told
        .iter()
        .filter_map(|told| match told.event() {
            wire::Event::Ended(summary) => Some((summary.epoch, summary.leg)),
            _ => None,
        })
        .collect();
    for (epoch, leg) in held {
        send(&mut world, 0, &Command::Release { epoch, leg });
    }
    assert_eq!(codes(&mut world, 1), [200]);
}

#[test]
fn the_guard_sheds_calls_over_the_rate_and_tells_of_it() {
    let setup = setup(5, |plane| (plane.shards, plane.guard.call_rate) = (1, 3));
    let mut world = routed(&setup, Manner::default(), vec![Manner::default()]);
    let codes = codes(&mut world, 10);
    let taken = codes.iter().filter(|code| **code == 200).count();
    assert!((3..=4).contains(&taken), "{codes:?}");
    assert!(count(&world, Counter::RefusedOverload) >= 6);
    let told = crate::common::told(&mut world);
    assert!(told.contains(&"refused"), "{told:?}");
    nothing_left(&mut world);
}

#[test]
fn a_flooding_source_is_not_answered_and_its_standing_call_is() {
    let setup = setup(6, |plane| {
        (plane.guard.source_rate, plane.guard.source_burst) = (5, 5);
        plane.shards = 1;
    });
    let mut world = bridged(&setup, Manner::default(), Manner::default());
    // The shard that bridged() dials on.
    let call = dial(&mut world, 1);
    world.run_for(ms(200));
    let from = world.address(0);
    for at in 0..100 {
        let text = format!(
            "OPTIONS sip:x@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.1.0.1;branch=z9hG4bK{at}\n\
             Max-Forwards: 70\nFrom: <sip:a@x>;tag=1\nTo: <sip:x@10.0.0.1>\nCall-ID: {at}\n\
             CSeq: 1 OPTIONS\nContent-Length: 0\n\n"
        );
        let bytes = text.replace('\n', "\r\n").into_bytes();
        world.inject(world::Datagram { from, to: world::plane::listener(), bytes });
    }
    world.run_for(ms(100));
    assert!(count(&world, Counter::DiscardSipRate) >= 90);
    world.act(call, Action::Cancel);
    world.run_for(2 * SECOND);
}

#[test]
fn routes_have_their_own_rate_and_number() {
    let mut world =
        routed(&setup(7, |plane| plane.shards = 1), Manner::default(), vec![Manner::default()]);
    let route = route_to(&world, &[1]);
    let limited = wire::table::StaticRoute { calls_max: 2, ..route.clone() };
    publish(&mut world, &Table { routes: vec![limited], admission: None, ..Table::default() });
    assert_eq!(codes(&mut world, 4), [200, 200, 503, 503]);
    assert_eq!(codes(&mut world, 3), [200, 200, 503], "the count goes down again");
    let limited = wire::table::StaticRoute { rate_max: 1, ..route };
    publish(&mut world, &Table { routes: vec![limited], admission: None, ..Table::default() });
    world.run_for(SECOND);
    assert_eq!(codes(&mut world, 3), [200, 503, 503]);
    nothing_left(&mut world);
}

#[test]
fn a_source_outside_of_the_route_is_not_routed() {
    let mut world = routed(&Setup::new(8), Manner::default(), vec![Manner::default()]);
    let mut route = route_to(&world, &[1]);
    route.sources = vec!["192.0.2.0/24".parse().unwrap()];
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let call = dial(&mut world, 1);
    world.run_for(4 * SECOND);
    assert_eq!(world.call(call).seen.code, 503, "nobody takes it");
    assert!(world.agents[1].calls.is_empty());
    nothing_left(&mut world);
}

#[test]
fn a_draining_shard_takes_no_new_calls_and_keeps_the_old() {
    let mut world = routed(&Setup::new(9), Manner::default(), vec![Manner::default()]);
    let first = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    for shard in 0..3 {
        send(&mut world, shard, &Command::Drain { on: true });
    }
    let second = dial(&mut world, 2);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(second).seen.code, 503);
    assert!(!world.call(first).is_over());
    world.act(first, Action::HangUp);
    world.run_for(SECOND);
    assert!(ends(&mut world).iter().all(|end| end.cause == Cause::Normal));
    for shard in 0..3 {
        send(&mut world, shard, &Command::Drain { on: false });
    }
    assert_eq!(codes(&mut world, 1), [200]);
    nothing_left(&mut world);
}
