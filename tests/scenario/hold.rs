//! Re-INVITE: hold and resume, a new offer while one is open, a re-INVITE without offer.

use sdp::{Direction, Supported};
use world::{Action, Manner, Reinvite, Setup};

use crate::common::{SECOND, bridged, dial, dialled_after_answer, ends, heard, ms, nothing_left};

#[test]
fn a_held_call_is_silent_and_comes_back() {
    let mut world =
        bridged(&Setup::new(1), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::Inactive));
    world.run_for(ms(100));
    assert_eq!(world.call(call).seen.answers, [("INVITE".to_owned(), 200)]);
    assert_eq!(world.call(call).seen.answered_direction, Some(Direction::Inactive));
    let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(5 * SECOND);
    assert_eq!(heard(&world, call, 3), before_a, "nothing to a held phone");
    assert!(heard(&world, callee, 2) <= before_b, "nothing from a held phone");
    world.act(call, Action::Reinvite(Direction::SendRecv));
    world.run_for(2 * SECOND);
    assert!(heard(&world, call, 3) >= before_a + 90, "sound is back");
    assert!(heard(&world, callee, 2) >= before_b + 90);
    let heard = &world.call(call).media.as_ref().unwrap().heard;
    assert_eq!((heard.ssrcs.len(), heard.timestamp_backwards, heard.sequence_jumps), (1, 0, 0));
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

#[test]
fn sendonly_lets_the_holder_be_heard() {
    let mut world =
        bridged(&Setup::new(2), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(ms(100));
    assert_eq!(world.call(call).seen.answered_direction, Some(Direction::RecvOnly));
    let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(2 * SECOND);
    assert_eq!(heard(&world, call, 3), before_a);
    assert!(heard(&world, callee, 2) >= before_b + 90);
    world.act(callee, Action::HangUp);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

#[test]
fn a_reinvite_without_offer_gets_ours() {
    let mut world =
        bridged(&Setup::new(3), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    world.act(call, Action::ReinviteEmpty);
    world.run_for(2 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(call).seen.answers, [("INVITE".to_owned(), 200)]);
    let before = heard(&world, callee, 2);
    world.run_for(2 * SECOND);
    assert!(heard(&world, callee, 2) >= before + 90);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

/// What was refused was not told: it is told as soon as the far end takes it.
#[test]
fn a_hold_that_met_a_busy_far_end_is_told_again() {
    for busy in [500, 491] {
        let mut world = bridged(&Setup::new(4), Manner::default(), Manner::default());
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        for direction in [Direction::SendOnly, Direction::SendRecv] {
            world.call_mut(callee).manner.reinvite = Reinvite::Refuse(busy);
            world.act(call, Action::Reinvite(direction));
            world.run_for(ms(100));
            assert!(world.call(callee).direction() != Some(direction.reversed()), "{busy}");
            world.call_mut(callee).manner.reinvite = Reinvite::Answer;
            world.run_for(6 * SECOND);
            assert_eq!(world.call(callee).direction(), Some(direction.reversed()), "{busy}");
        }
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        nothing_left(&mut world);
    }
}

/// The caller had to be offered another codec when the callee answered; for that the callee's leg
/// waited. It is over with the other's answer.
#[test]
fn a_leg_that_had_to_wait_for_the_other_one_is_told_of_a_hold_at_once() {
    let codecs = |codecs: &[Supported<'static>]| Manner::default().with_codecs(codecs);
    let caller = codecs(&[Supported::G722, Supported::PCMU]);
    let mut world = dialled_after_answer(&Setup::new(5), caller, codecs(&[Supported::G722]));
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    for direction in [Direction::Inactive, Direction::SendRecv] {
        world.act(call, Action::Reinvite(direction));
        world.run_for(ms(100));
        assert_eq!(world.call(callee).direction(), Some(direction));
    }
    let before = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(10 * SECOND);
    let after = (heard(&world, call, 3), heard(&world, callee, 2));
    assert!(after.0 >= before.0 + 9 && after.1 >= before.1 + 9, "{before:?} {after:?}");
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
