//! The two legs of a call live on different shards: signalling and media cross between them.

use wire::event::{Cause, Party};
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, heard, ms, nothing_left, told};

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
    crate::common::manual(&mut world).dead = true;
    world.run_for(10 * SECOND);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(
        world.call(call).seen.answers,
        [("BYE".to_owned(), 200)],
        "answered while it is dead"
    );
    assert!(ends(&mut world).is_empty());
    crate::common::manual(&mut world).dead = false;
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.billed_ms.abs_diff(12_000) < 100), "{ends:?}");
    nothing_left(&mut world);
}
