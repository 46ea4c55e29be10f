//! Far ends that are known by the name that their certificate proves, wherever they connect from.

use core::net::IpAddr;

use wire::counter::Counter;
use wire::table::{Admission, StaticRoute, Table};
use world::{Action, Manner, Manual, Setup, World};

use crate::common::{SECOND, count, dial, ends, heard, nothing_left, publish, route_to};

/// What stands for a name.
const NAME: &str = "2001:20:1::1/128";

fn proven() -> IpAddr {
    NAME.split('/').next().unwrap().parse().unwrap()
}

/// A route for whoever has proven that name, and nobody else is known.
fn world(seed: u64, trusted: bool) -> World {
    let mut world = World::new(&Setup::new(seed));
    world.agent(Manner { by_tcp: true, by_tls: true, ..Manner::default().with_audio() });
    world.agent(Manner::default().with_audio());
    let networks = vec![NAME.parse().unwrap()];
    let trusted = if trusted { networks.clone() } else { Vec::new() };
    let route = StaticRoute { sources: networks, trusted, ..route_to(&world, &[1]) };
    let admission = Some(Admission { key: [1, 2], ..Admission::default() });
    publish(&mut world, &Table { routes: vec![route], admission, ..Table::default() });
    world.control = Some(Box::new(Manual::new(&world.plane)));
    world
}

/// Whichever shard the call is placed on, also of a source in the network of nobody.
#[test]
fn who_proves_a_listed_name_calls_by_its_route() {
    for seed in 1..24 {
        let mut world = world(seed, seed % 2 == 0);
        world.plane.proves = Some(proven());
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        assert!(heard(&world, call, 3) > 40 && heard(&world, callee, 2) > 40);
        world.act(if seed % 2 == 0 { call } else { callee }, Action::HangUp);
        world.run_for(SECOND);
        assert_eq!(ends(&mut world).len(), 2);
        nothing_left(&mut world);
    }
}

/// Whatever it proves, its address is in the lists that it was in before: of other trunks, of an
/// account's numbers, of whom is trusted.
#[test]
fn a_name_takes_no_address_out_of_any_list() {
    for proves in [None, Some(proven()), Some("2001:20:1::2".parse().unwrap())] {
        for seed in 1..8 {
            let mut world = world(seed, false);
            world.plane.proves = proves;
            let own =
                StaticRoute { sources: vec![NAME.parse().unwrap()], ..route_to(&world, &[1]) };
            let address = world.address(0).ip().to_string();
            let networks = vec![address.parse().unwrap()];
            let (prefix, trusted) = ("g1".to_owned(), networks.clone());
            let other =
                StaticRoute { sources: networks, trusted, prefix, ..route_to(&world, &[1]) };
            let admission = Some(Admission { key: [1, 2], ..Admission::default() });
            publish(&mut world, &Table { routes: vec![own, other], admission, ..Table::default() });
            let call = dial(&mut world, 1);
            world.run_for(3 * SECOND);
            assert_eq!(world.call(call).seen.code, 200, "{proves:?}");
            world.act(call, Action::HangUp);
            world.run_for(SECOND);
            nothing_left(&mut world);
        }
    }
}

#[test]
fn who_proves_another_or_none_is_a_stranger() {
    for proves in [None, Some("2001:20:1::2".parse().unwrap())] {
        for seed in 1..8 {
            let mut world = world(seed, false);
            world.plane.proves = proves;
            let _ = dial(&mut world, 1);
            world.run_for(3 * SECOND);
            assert!(world.callee_of(1).is_none());
            assert_eq!(count(&world, Counter::LegCreated), 0);
        }
    }
}
