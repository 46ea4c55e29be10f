//! SIP over TLS, as far as a shard knows of it: who is to be verified by which name, and that two
//! names at one address are two far ends. The bytes are `secure`'s.

use base::{CallId, Target, Transport};
use wire::Command;
use wire::counter::Counter;
use wire::table::{StaticRoute, Table};
use world::{Action, Manner, Setup, World};

use crate::common::{
    SECOND, count, dial, ends, heard, ms, nothing_left, originate, publish, route_to, routed, send,
    to as to_group,
};

fn tls() -> Manner {
    Manner { by_tls: true, ..Manner::default().with_audio() }
}

fn verified(world: &World) -> Vec<String> {
    world.plane.lanes.iter().flat_map(|lane| lane.verified.clone()).collect()
}

fn published(world: &mut World, change: impl Fn(StaticRoute) -> StaticRoute) {
    let routes = vec![change(route_to(world, &[1]))];
    publish(world, &Table { routes, ..Table::default() });
}

#[test]
fn calls_go_by_tls_and_say_so() {
    for seed in 1..12 {
        for (caller, callee) in [(true, true), (true, false), (false, true)] {
            let manner = |by_tls: bool| Manner { by_tls, ..Manner::default().with_audio() };
            let mut world = routed(&Setup::new(seed), manner(caller), vec![manner(callee)]);
            published(&mut world, |route| StaticRoute {
                tls_name: "Carrier.Example".to_owned(),
                ..route
            });
            let call = dial(&mut world, 1);
            world.run_for(3 * SECOND);
            let callee_call = world.callee_of(1).unwrap();
            assert!(heard(&world, call, 3) > 40 && heard(&world, callee_call, 2) > 40);
            let seen = &world.call(callee_call).seen.text;
            let via = if callee { "Via: SIP/2.0/TLS 10.0.0.1:5061;" } else { "Via: SIP/2.0/UDP " };
            assert!(seen.contains(via), "{seen}");
            assert_eq!(seen.contains("5061;transport=tls>"), callee, "{seen}");
            let expected: &[&str] = if callee { &["carrier.example"] } else { &[] };
            assert_eq!(verified(&world), expected);
            world.act(if seed % 2 == 0 { call } else { callee_call }, Action::HangUp);
            world.run_for(SECOND);
            assert_eq!(ends(&mut world).len(), 2);
            // What comes by a connection of ours is answered by it, and later requests go by it.
            assert_eq!(count(&world, Counter::ConnectionOpened), u64::from(callee));
            assert_eq!(verified(&world), expected);
            assert_eq!(count(&world, Counter::SipRetransmitted), 0);
            nothing_left(&mut world);
        }
    }
}

/// Without a name it is the address that a certificate must have.
#[test]
fn a_target_without_a_name_is_verified_by_its_address() {
    let mut world = routed(&Setup::new(3), tls(), vec![tls()]);
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let host = world.host(1).to_string();
    assert_eq!(verified(&world), [host]);
    world.act(call, Action::HangUp);
    world.run_for(40 * SECOND);
    nothing_left(&mut world);
}

/// A connection that was verified by one name is nobody else's (PJSIP, CVE-2020-15260): who dials
/// the same address by another name gets another connection.
#[test]
fn two_names_at_one_address_have_a_connection_each() {
    let mut setup = Setup::new(5);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tls(), vec![tls()]);
    for (name, connections) in [("one.example", 1), ("two.example", 2), ("one.example", 2)] {
        published(&mut world, |route| StaticRoute { tls_name: name.to_owned(), ..route });
        let call = dial(&mut world, 1);
        world.run_for(2 * SECOND);
        assert!(world.call(call).seen.answered_at.is_some());
        assert_eq!(count(&world, Counter::ConnectionOpened), connections, "{name}");
        world.act(call, Action::HangUp);
        world.run_for(2 * SECOND);
    }
    assert_eq!(verified(&world), ["one.example", "two.example"]);
    nothing_left(&mut world);
}

/// After the answer every connection breaks: the callee is told by a new one, verified by the same
/// name; a caller by one to where its Contact says, verified by that address.
#[test]
fn who_was_verified_is_verified_again_and_nobody_is_spoken_to_unverified() {
    let mut world = routed(&Setup::new(6), tls(), vec![tls()]);
    published(&mut world, |route| StaticRoute { tls_name: "pbx.example".to_owned(), ..route });
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.cut_all();
    world.run_for(SECOND);
    world.act(callee, Action::HangUp);
    world.run_for(2 * SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    assert_eq!(world.call(call).seen.byes, 1);
    let host = world.host(0).to_string();
    assert_eq!(verified(&world).last(), Some(&host));
    let second = dial(&mut world, 2);
    world.run_for(3 * SECOND);
    world.cut_all();
    world.run_for(SECOND);
    world.act(second, Action::HangUp);
    world.run_for(2 * SECOND);
    assert_eq!(ends(&mut world).len(), 4);
    assert!(verified(&world).iter().filter(|name| *name == "pbx.example").count() >= 3);
    world.run_for(70 * SECOND);
    nothing_left(&mut world);
}

/// The process dies under a call whose callee is reached by TLS: its successor knows from the
/// record by what name it is verified.
#[test]
fn a_successor_verifies_whom_it_tells() {
    let mut world = routed(&Setup::new(7), Manner::default().with_audio(), vec![tls()]);
    published(&mut world, |route| StaticRoute { tls_name: "pbx.example".to_owned(), ..route });
    let _ = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.cut_all();
    world.restart_plane(SECOND);
    world.run_for(5 * SECOND);
    assert_eq!(world.call(callee).seen.byes, 1);
    assert_eq!(verified(&world), ["pbx.example"]);
}

/// Each target of an application's call has its own name; what can be no name is no target.
#[test]
fn an_application_names_each_of_its_targets() {
    let mut setup = Setup::new(8);
    setup.plane.shards = 1;
    let mut world = routed(&setup, Manner::default(), vec![tls()]);
    let to = world.address(1);
    let gone = "10.1.9.9:5061".parse().unwrap();
    let targets = [gone, gone, to].map(|to| Target::by(Transport::Tls, to));
    for (call, names, expected) in [
        (5, ["first.example", "not a name", "last.example"], &["first.example", "last.example"]),
        (6, ["third.example", "", ""], &["third.example", "10.1.9.9"]),
    ] {
        let before = verified(&world).len();
        let wish = wire::Originate {
            targets: targets.into_iter().collect(),
            tls_names: names.into_iter().collect(),
            ..originate(CallId(call), to, "sip:b@x.example")
        };
        send(&mut world, 0, &Command::Originate(wish));
        world.run_for(3 * SECOND);
        assert_eq!(verified(&world)[before..][..2], *expected);
    }
}

/// RFC 5630: what is called by `sips:` over TLS goes on over TLS as such, or not at all.
#[test]
fn sips_stays_on_tls() {
    for (by_tls, to, code) in
        [(true, "sips", 200), (false, "sips", 480), (false, "sip", 200), (true, "sip", 200)]
    {
        let callee = Manner { by_tls, ..Manner::answering(ms(100)) };
        let mut world = routed(&Setup::new(1), tls(), vec![callee]);
        let call = world.dial(0, &world::Dial { to: format!("{to}:g1@10.0.0.1"), ..to_group(1) });
        world.run_for(2 * SECOND);
        assert_eq!(world.call(call).seen.code, code, "{by_tls} {to}");
        if code == 200 {
            let callee = world.callee_of(1).unwrap();
            let seen = &world.call(callee).seen.text;
            assert!(seen.starts_with(&format!("INVITE {to}:")), "{seen}");
            assert_eq!(
                seen.contains("Contact: <sips:tandem@10.0.0.1:5061>"),
                to == "sips",
                "{seen}"
            );
            world.act(call, Action::HangUp);
            world.run_for(SECOND);
        }
        nothing_left(&mut world);
    }
}
