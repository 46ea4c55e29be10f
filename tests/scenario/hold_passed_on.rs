//! Hold is passed on: the other phone is told what the holder wants, whichever way it said it and
//! whichever side it is, and a held call lives.

use std::time::Duration;

use sdp::Direction;
use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{
    SECOND, bridged, dial, dialled_after_answer, ends, heard, ms, nothing_left, routed,
};

/// Every way to hold, and what the other phone is told.
fn holds() -> [(Action, Direction); 4] {
    [
        (Action::Reinvite(Direction::SendOnly), Direction::SendOnly),
        (Action::Reinvite(Direction::Inactive), Direction::Inactive),
        (Action::HoldByAddress, Direction::SendOnly),
        (Action::StopStream, Direction::Inactive),
    ]
}

fn told(world: &World, at: CallRef) -> Option<Direction> {
    world.call(at).seen.direction_told
}

/// A call that stands, and both its ends.
fn standing(seed: u64, apart: bool, manner: &Manner) -> (World, CallRef, CallRef) {
    let setup = Setup::new(seed);
    let mut world = match apart {
        true => bridged(&setup, manner.clone(), manner.clone()),
        false => routed(&setup, manner.clone(), vec![manner.clone()]),
    };
    let caller = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    (world, caller, callee)
}

fn hears(world: &World, (caller, callee): (CallRef, CallRef)) -> (u64, u64) {
    (heard(world, caller, 3), heard(world, callee, 2))
}

/// Holds, looks, resumes and looks again.
fn hold_and_resume(seed: u64, apart: bool, by_callee: bool, hold: &Action, expected: Direction) {
    let (mut world, caller, callee) = standing(seed, apart, &Manner::default().with_audio());
    let (holder, other) = if by_callee { (callee, caller) } else { (caller, callee) };
    let what = format!("{hold:?}, apart {apart}, by the callee {by_callee}");
    world.act(holder, hold.clone());
    world.run_for(SECOND);
    assert_eq!(told(&world, other), Some(expected), "{what}");
    let own = world.call(other).direction();
    assert!(own.is_none_or(|own| !own.sends()), "{what}: the held phone may not send: {own:?}");
    let before = hears(&world, (caller, callee));
    world.run_for(2 * SECOND);
    let after = hears(&world, (caller, callee));
    let gained = if by_callee { after.1 - before.1 } else { after.0 - before.0 };
    assert_eq!(gained, 0, "{what}: nothing to the holder");
    world.act(holder, Action::Reinvite(Direction::SendRecv));
    world.run_for(SECOND);
    assert_eq!(told(&world, other), Some(Direction::SendRecv), "{what}");
    let before = hears(&world, (caller, callee));
    world.run_for(2 * SECOND);
    let after = hears(&world, (caller, callee));
    assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{what}: {before:?} {after:?}");
    for phone in [caller, callee] {
        let complaints = &world.call(phone).seen.complaints;
        assert!(complaints.is_empty(), "{what}: {complaints:?}");
    }
    world.act(caller, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

#[test]
fn the_other_phone_is_told_of_every_form_of_hold_and_of_its_end() {
    for (seed, (hold, expected)) in (1..).zip(holds()) {
        for apart in [false, true] {
            for by_callee in [false, true] {
                hold_and_resume(seed, apart, by_callee, &hold, expected);
            }
        }
    }
}

#[test]
fn where_both_hold_the_first_that_resumes_is_still_held() {
    let (mut world, caller, callee) = standing(9, true, &Manner::default().with_audio());
    world.act(caller, Action::Reinvite(Direction::SendOnly));
    world.run_for(SECOND);
    assert_eq!(told(&world, callee), Some(Direction::SendOnly));
    world.act(callee, Action::Reinvite(Direction::Inactive));
    world.run_for(SECOND);
    assert_eq!(told(&world, caller), Some(Direction::Inactive));
    world.act(caller, Action::Reinvite(Direction::SendRecv));
    world.run_for(SECOND);
    assert_eq!(told(&world, caller), Some(Direction::Inactive), "the callee holds on");
    let before = hears(&world, (caller, callee));
    world.run_for(2 * SECOND);
    assert_eq!(hears(&world, (caller, callee)), before);
    world.act(callee, Action::Reinvite(Direction::SendRecv));
    world.run_for(SECOND);
    for phone in [caller, callee] {
        assert_eq!(told(&world, phone), Some(Direction::SendRecv), "{phone:?}");
        assert_eq!(world.call(phone).direction(), Some(Direction::SendRecv), "{phone:?}");
    }
    let before = hears(&world, (caller, callee));
    world.run_for(2 * SECOND);
    let after = hears(&world, (caller, callee));
    assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{before:?} {after:?}");
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
}

/// No music, no RTCP: silence on both sides by agreement.
#[test]
fn a_call_held_for_ten_minutes_in_silence_lives() {
    let manner = Manner { report_every: Duration::ZERO, ..Manner::default() };
    for (seed, (hold, _)) in (20..).zip(holds()) {
        for by_callee in [false, true] {
            let (mut world, caller, callee) = standing(seed, true, &manner);
            let holder = if by_callee { callee } else { caller };
            world.act(holder, hold.clone());
            world.act(holder, Action::Mute(true));
            world.run_for(Duration::from_secs(600));
            assert!(ends(&mut world).is_empty(), "{hold:?}: {:?}", ends(&mut world));
            world.act(holder, Action::Mute(false));
            world.act(holder, Action::Reinvite(Direction::SendRecv));
            world.run_for(SECOND);
            let before = hears(&world, (caller, callee));
            world.run_for(10 * SECOND);
            let after = hears(&world, (caller, callee));
            let heard = (after.0 - before.0, after.1 - before.1);
            assert!(heard.0 >= 9 && heard.1 >= 9, "{hold:?}: {heard:?}");
            world.act(caller, Action::HangUp);
            world.run_for(ms(500));
            let ends = ends(&mut world);
            assert_eq!(ends.len(), 2, "{hold:?}");
            let long = |end: &crate::common::End| end.billed_ms.abs_diff(613_000) < 1_000;
            assert!(ends.iter().all(long), "{hold:?}: {ends:?}");
            nothing_left(&mut world);
        }
    }
}

/// A caller that was answered before the callee was dialled holds while it rings: the callee is
/// told as soon as it is joined.
#[test]
fn a_hold_from_before_the_join_is_passed_on_with_it() {
    for (seed, (hold, expected)) in (40..).zip(holds()) {
        let caller = Manner::default().with_audio().after_answer(ms(500), hold.clone());
        let callee = Manner::answering(2 * SECOND).with_audio();
        let mut world = dialled_after_answer(&Setup::new(seed), caller, callee);
        let caller = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        let callee = world.callee_of(1).unwrap();
        assert_eq!(told(&world, callee), Some(expected), "{hold:?}");
        assert!(ends(&mut world).is_empty());
        world.act(caller, Action::Reinvite(Direction::SendRecv));
        world.run_for(SECOND);
        assert_eq!(told(&world, callee), Some(Direction::SendRecv), "{hold:?}");
        let before = hears(&world, (caller, callee));
        world.run_for(2 * SECOND);
        let after = hears(&world, (caller, callee));
        assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{hold:?} {after:?}");
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}
