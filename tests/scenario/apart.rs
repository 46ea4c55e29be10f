//! The two legs of a call live on different shards: signalling and media cross between them.

use base::CallId;
use wire::event::{Cause, Party};
use wire::{Command, Originate};
use world::{Action, Manner, Setup};

use crate::common::{
    SECOND, bridged, dial, ends, heard, manual, ms, nothing_left, originate, send, told,
};

#[test]
fn a_call_whose_legs_live_apart_is_heard_both_ways() {
    let callee = Manner::default().with_audio().after_answer(5 * SECOND, Action::HangUp);
    let mut world = bridged(&Setup::new(3), Manner::default().with_audio(), callee);
    let call = dial(&mut world, 1);
    world.run_for(10 * SECOND);
    let callee = world.callee_of(1).expect("rang");
    assert!(heard(&world, call, 3) >= 245, "{}", heard(&world, call, 3));
    assert!(heard(&world, callee, 2) >= 245, "{}", heard(&world, callee, 2));
    for at in [call, callee] {
        let heard = &world.call(at).media.as_ref().unwrap().heard;
        assert_eq!((heard.damaged, heard.foreign, heard.bad_payload_type), (0, 0, 0));
        assert_eq!((heard.sequence_jumps, heard.timestamp_backwards), (0, 0));
    }
    let names = told(&mut world);
    for name in ["incoming", "dialed", "progress", "joined"] {
        assert_eq!(names.iter().filter(|told| **told == name).count(), 1, "{name}: {names:?}");
    }
    // B ended, A stands alone until somebody says otherwise.
    let first = ends(&mut world);
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].inbound, first[0].cause, first[0].by),
        (false, Cause::Normal, Party::Remote)
    );
    assert!(!world.call(call).is_over());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert_ne!(ends[0].shard, ends[1].shard);
    assert_eq!(ends[0].parent, ends[1].call);
    nothing_left(&mut world);
}

#[test]
fn the_caller_takes_the_dialled_leg_with_it() {
    let mut world = bridged(&Setup::new(4), Manner::default(), Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    world.act(call, Action::HangUp);
    world.run_for(ms(500));
    let callee = world.callee_of(1).expect("rang");
    assert!(world.call(callee).is_over());
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    let dialled = ends.iter().find(|end| !end.inbound).unwrap();
    assert_eq!((dialled.cause, dialled.by), (Cause::Normal, Party::Peer));
    nothing_left(&mut world);
}

#[test]
fn a_call_survives_a_silent_controlplane_and_its_end_is_told_later() {
    let mut world = bridged(&Setup::new(5), Manner::default(), Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    manual(&mut world).dead = true;
    world.run_for(10 * SECOND);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(
        world.call(call).seen.answers,
        [("BYE".to_owned(), 200)],
        "answered while it is dead"
    );
    assert!(ends(&mut world).is_empty());
    manual(&mut world).dead = false;
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.billed_ms.abs_diff(12_000) < 100), "{ends:?}");
    nothing_left(&mut world);
}

/// A dialled leg that is taken out of its join is its own: the caller's end is not its end, it may
/// have a leg dialled for itself, and its own end is nobody else's.
#[test]
fn a_dialled_leg_that_was_parted_outlives_whom_it_was_dialled_for() {
    for leaves_first in [true, false] {
        let mut world = bridged(&Setup::new(4), Manner::default(), Manner::default());
        let other = world.agent(Manner::answering(ms(500)));
        let caller = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let dialled = manual(&mut world).told.iter().find_map(|told| match told.event() {
            wire::Event::Dialed { call, leg, .. } => Some((told.shard, call, leg)),
            _ => None,
        });
        let (shard, child, leg) = dialled.expect("a leg was dialled");
        let callee = world.callee_of(1).expect("it rang");
        send(&mut world, shard, &Command::Part { call: child });
        world.run_for(2 * SECOND);
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(3 * SECOND);
        let after = (heard(&world, caller, 3), heard(&world, callee, 2));
        assert_eq!(before, after, "neither hears the other any more");
        assert!(!world.call(caller).is_over() && !world.call(callee).is_over());
        if leaves_first {
            world.act(caller, Action::HangUp);
            world.run_for(5 * SECOND);
            assert!(!world.call(callee).is_over(), "the caller's end is not its end");
        }
        // It has a leg dialled for itself, and is joined with that.
        let call = CallId(77 << 64 | 77);
        let target = world.address(other);
        let wish = originate(call, target, "sip:g5@example.com");
        let wish = Originate { peer: leg, parent: child, ..wish };
        send(&mut world, shard, &Command::Originate(wish));
        world.run_for(6 * SECOND);
        let grandchild = world.callee_of(5).expect("it rang");
        let hears = |at: world::CallRef, of: (u32, u32)| {
            let media = world.call(at).media.as_ref();
            let stream = media.and_then(|media| media.heard.streams.get(&of));
            stream.map_or(0, |stream| stream.packets)
        };
        assert!(hears(callee, (5, 11)) >= 3 && hears(grandchild, (1, 3)) >= 3);
        world.act(callee, Action::HangUp);
        world.run_for(2 * SECOND);
        assert!(world.call(grandchild).is_over(), "what was dialled for it ends with it");
        assert_eq!(world.call(caller).is_over(), leaves_first);
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}
