//! A leg that is joined again and again is billed for the time that it was joined, each time, and
//! no segment stays open.

use std::time::Duration;

use base::CallId;
use wire::{Command, Originate, Service, Usage};
use world::{Action, Manner, Setup, World};

use crate::common::{SECOND, answered, dial, incoming, manual, nothing_left, originate, send};

/// What the leg of this call used, as its end tells.
fn usage_of(world: &mut World, call: CallId) -> Vec<Usage> {
    let told = &manual(world).told;
    let of = |told: &world::Told| match told.event() {
        wire::Event::Ended(summary) if summary.call == call => Some(summary.usage.to_vec()),
        _ => None,
    };
    told.iter().find_map(of).expect("ended")
}

/// An answered leg that is joined so often for 4 s, with 2 s between, then stands alone for long,
/// or, if `to_the_end`, ends in its last join.
fn joined(joins: u64, to_the_end: bool) {
    let mut setup = Setup::new(joins);
    setup.plane.spare_ports = 60;
    let mut world = answered(&setup, Manner::default());
    let callee = world.agent(Manner::answering(Duration::ZERO));
    let target = world.address(callee);
    let caller = dial(&mut world, 1);
    world.run_for(SECOND);
    let (shard, parent, leg) = incoming(&mut world)[0];
    for at in 1..=u128::from(joins) {
        let call = CallId(at << 64 | at);
        let wish = originate(call, target, "sip:g1@example.com");
        let wish = Originate { peer: leg, parent, ..wish };
        send(&mut world, shard, &Command::Originate(wish));
        world.run_for(4 * SECOND);
        if to_the_end && at == u128::from(joins) {
            break;
        }
        let cause = wire::event::Cause::Normal;
        send(&mut world, shard, &Command::Hangup { call, cause });
        world.run_for(2 * SECOND);
    }
    let alone = if to_the_end { Duration::ZERO } else { Duration::from_secs(600) };
    world.run_for(alone);
    world.act(caller, Action::HangUp);
    world.run_for(SECOND);
    let usage = usage_of(&mut world, parent);
    assert!(usage.iter().all(|usage| !usage.open), "{usage:?}");
    let billed = |service: Service| {
        let of = usage.iter().filter(|usage| usage.service == service);
        of.map(|usage| usage.micros() / 1_000).sum::<u64>()
    };
    let relayed = billed(Service::MediaRelay);
    assert!(relayed.abs_diff(joins * 4_000) < joins * 100, "{joins}: {relayed} ms {usage:?}");
    let whole = billed(Service::SipIngress);
    let known = if to_the_end { joins * 6_000 - 1_000 } else { joins * 6_000 + 601_000 };
    assert!(whole.abs_diff(known) < 1_000, "{joins}: {whole} ms");
    let numbers: Vec<u16> = usage.iter().map(|usage| usage.segment).collect();
    let count = u16::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "each its number");
    nothing_left(&mut world);
}

#[test]
fn the_fourth_and_the_tenth_join_are_billed_for_their_own_time() {
    for joins in [1, 3, 4, 5, 10] {
        joined(joins, false);
        joined(joins, true);
    }
}
