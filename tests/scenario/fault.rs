//! A fault of ours in one call ends that call alone, with its usage closed and told.

use wire::counter::Counter;
use wire::event::{Cause, Party};
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, count, dial, ends, heard, nothing_left};

#[test]
fn a_panic_in_one_call_ends_that_call_alone() {
    fault(1);
}

#[test]
fn a_panic_while_it_is_ended_ends_that_call_alone_too() {
    fault(2);
}

/// Panics this often in one call.
fn fault(trips: u8) {
    let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
    let calls: Vec<_> = (1..=6).map(|group| dial(&mut world, group)).collect();
    world.run_for(5 * SECOND);
    let victim = calls[2];
    // The next frame that any shard asks for panics, and that is for the answer to this request.
    world.act(victim, Action::Mute(true));
    let callee = world.callee_of(3).unwrap();
    world.act(callee, Action::Mute(true));
    let now = world.now;
    world.call_mut(victim).act(now, Action::Options);
    let of_victim = |told: &world::Told| match told.event() {
        wire::Event::Incoming(incoming) if incoming.uri.contains("g3@") => Some(told.shard),
        _ => None,
    };
    let inbound = crate::common::manual(&mut world).told.iter().find_map(of_victim).unwrap();
    world.run_for(std::time::Duration::from_millis(1));
    world.plane.lanes[usize::from(inbound)].heap.trips = trips;
    world.run_for(SECOND);
    assert_eq!(count(&world, Counter::LegPanicked), u64::from(trips));
    let first = ends(&mut world);
    assert!(!first.is_empty());
    assert_eq!((first[0].cause, first[0].by), (Cause::Internal, Party::Switch));
    assert!(first[0].billed_ms > 3_000, "what was used is billed: {first:?}");
    world.run_for(5 * SECOND);
    let standing = calls.iter().filter(|call| !world.call(**call).is_over()).count();
    assert!(standing >= 5, "{standing} of six go on");
    for (group, call) in (1..).zip(&calls) {
        if world.call(*call).is_over() {
            continue;
        }
        // Where not even a BYE could be written, the victim finds out by itself.
        assert!(*call == victim || heard(&world, *call, group * 2 + 1) >= 6);
        world.act(*call, Action::HangUp);
    }
    for group in 1..=6 {
        let callee = world.callee_of(group).unwrap();
        world.act(callee, Action::HangUp);
    }
    nothing_left(&mut world);
}
