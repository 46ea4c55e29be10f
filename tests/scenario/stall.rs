//! A process that stood still: what came meanwhile happened when it came, for money, and no far end
//! hears the past.

use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{
    SECOND, bridged, count, dial, ends, heard, ms, nothing_left, routed, send, told,
};
use base::{CallId, Wall};
use wire::counter::Counter;
use wire::{Command, Event};

/// The process stands still for so long, from now.
fn stall(world: &mut World, time: core::time::Duration) {
    world.plane.stalled_until = world.now.mono + time;
    world.run_for(time);
}

fn standing(world: &mut World, time: core::time::Duration) -> (CallRef, CallRef) {
    let call = dial(world, 1);
    world.run_for(time);
    let callee = world.callee_of(1).expect("the callee rang");
    (call, callee)
}

fn worlds() -> [World; 2] {
    let talks = || Manner::default().with_audio();
    let mut setup = Setup::new(3);
    setup.plane.frames = (4_096, 512);
    // Both legs on one shard; each on another one.
    [routed(&setup, talks(), vec![talks()]), bridged(&setup, talks(), talks())]
}

#[test]
fn a_call_that_ends_while_the_process_stands_still_is_billed_to_its_end() {
    for mut world in worlds() {
        let (call, _) = standing(&mut world, 10 * SECOND + ms(300));
        world.plane.stalled_until = world.now.mono + 5 * SECOND;
        world.run_for(ms(700));
        world.act(call, Action::HangUp);
        let end = world.now.wall;
        world.run_for(10 * SECOND);
        let summaries: Vec<(Wall, Wall)> = crate::common::manual(&mut world)
            .told
            .iter()
            .filter_map(|told| match told.event() {
                Event::Ended(summary) => Some((summary.answered, summary.ended)),
                _ => None,
            })
            .collect();
        assert_eq!(summaries.len(), 2);
        for (answered, ended) in summaries {
            let off = ended.0.abs_diff(end.0);
            assert!(off < 60_000, "ended {off} us beside its BYE");
            assert!(ended > answered);
        }
        for end in ends(&mut world) {
            assert!(end.billed_ms.abs_diff(10_000) < 100, "{end:?}");
            assert!(end.relay_ms.abs_diff(10_000) < 100, "{end:?}");
        }
        nothing_left(&mut world);
    }
}

#[test]
fn media_that_waited_too_long_is_neither_relayed_nor_billed() {
    for mut world in worlds() {
        let (call, callee) = standing(&mut world, 4 * SECOND);
        let before = (heard(&world, call, 3), heard(&world, callee, 2));
        stall(&mut world, 5 * SECOND);
        world.run_for(ms(5));
        // Of 250 packets each way those of the last second are passed on.
        for (at, stream, before) in [(call, 3, before.0), (callee, 2, before.1)] {
            let new = heard(&world, at, stream) - before;
            assert!((40..=56).contains(&new), "{new} packets after the stall");
        }
        let old = count(&world, Counter::DiscardRtpOld);
        assert!((380..=420).contains(&old), "{old} packets were too old");
        world.run_for(2 * SECOND);
        let before = (heard(&world, call, 3), heard(&world, callee, 2));
        world.run_for(SECOND);
        assert!(heard(&world, call, 3) - before.0 >= 48, "the call goes on");
        assert!(heard(&world, callee, 2) - before.1 >= 48);
        world.act(call, Action::HangUp);
        world.run_for(2 * SECOND);
        for end in ends(&mut world) {
            let stood = end.billed_ms / 20;
            assert!(end.relayed + 195 < stood + 10, "{end:?}: billed what nobody heard");
        }
        nothing_left(&mut world);
    }
}

/// A CANCEL and a 2xx that waited: the attempt ended, and the call began, when they came.
#[test]
fn an_answer_and_a_cancel_count_from_when_they_came() {
    let mut world = routed(&Setup::new(1), Manner::default(), vec![Manner::answering(3 * SECOND)]);
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    stall(&mut world, 5 * SECOND);
    world.run_for(4 * SECOND);
    world.act(call, Action::HangUp);
    world.run_for(2 * SECOND);
    let ends = ends(&mut world);
    let outbound = ends.iter().find(|end| !end.inbound).expect("dialled");
    let inbound = ends.iter().find(|end| end.inbound).expect("called");
    assert!(outbound.billed_ms.abs_diff(7_000) < 200, "from the 2xx on: {outbound:?}");
    assert!(inbound.billed_ms.abs_diff(4_000) < 200, "from our 2xx on: {inbound:?}");
    nothing_left(&mut world);
}

/// What was told of a leg stays true: an older message does not end it before that.
#[test]
fn nothing_is_told_of_an_earlier_moment_than_the_last() {
    let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
    let (call, _) = standing(&mut world, 4 * SECOND);
    world.plane.stalled_until = world.now.mono + 5 * SECOND;
    world.run_for(SECOND);
    world.act(call, Action::HangUp);
    // The controlplane parts the two meanwhile: commands come before datagrams in a breath.
    let of = |told: &world::Told| match told.event() {
        Event::Incoming(incoming) => Some((told.shard, incoming.call)),
        _ => None,
    };
    let (shard, parent): (u8, CallId) =
        crate::common::manual(&mut world).told.iter().find_map(of).expect("it came");
    send(&mut world, shard, &Command::Part { call: parent });
    world.run_for(10 * SECOND);
    assert!(told(&mut world).contains(&"parted"));
    let mut last = std::collections::BTreeMap::new();
    for told in &crate::common::manual(&mut world).told {
        let (call, at) = match told.event() {
            Event::Parted { call, at } => (call, at),
            Event::Ended(summary) => (summary.call, summary.ended),
            _ => continue,
        };
        let before = last.insert(call, at).unwrap_or_default();
        assert!(before <= at, "{before:?} was told before {at:?}");
    }
    nothing_left(&mut world);
}

/// Who speaks all the time is not ended for silence because nobody listened to him for a while.
#[test]
fn a_stall_longer_than_the_media_timeout_ends_no_call_that_speaks() {
    let mut setup = Setup::new(3);
    setup.plane.frames = (4_096, 512);
    setup.plane.timers.media_timeout = 8 * SECOND;
    let talks = || Manner::default().with_audio();
    for mut world in [routed(&setup, talks(), vec![talks()]), bridged(&setup, talks(), talks())] {
        let (call, _) = standing(&mut world, 5 * SECOND);
        stall(&mut world, 12 * SECOND);
        world.run_for(10 * SECOND);
        assert!(!world.call(call).is_over());
        world.act(call, Action::Die);
        world.run_for(20 * SECOND);
        assert_eq!(ends(&mut world).len(), 2, "silence after it is silence");
    }
}
