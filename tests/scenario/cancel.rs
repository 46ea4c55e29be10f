//! CANCEL and its races (RFC 3261 section 9).

use std::time::Duration;

use wire::event::Cause;
use world::{Action, Fate, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, ms, nothing_left, routed};

#[test]
fn a_ringing_call_is_cancelled_on_both_legs() {
    let caller = Manner::default().after_dial(2 * SECOND, Action::Cancel);
    let mut world = routed(&Setup::new(1), caller, vec![Manner::ringing()]);
    let call = dial(&mut world, 1);
    world.run_for(5 * SECOND);
    assert_eq!(world.call(call).seen.code, 487);
    assert_eq!(world.call(call).seen.answers, [("CANCEL".to_owned(), 200)]);
    let callee = world.callee_of(1).unwrap();
    assert_eq!((world.call(callee).seen.cancels, world.call(callee).seen.code), (1, 487));
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.cause == Cause::Canceled && end.billed_ms == 0), "{ends:?}");
    nothing_left(&mut world);
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    // The callee is silent for 3 s; CANCEL must not overtake what it has not acknowledged.
    let callee = Manner { on_ring: vec![(3 * SECOND, Action::Ring)], ..Manner::silent() };
    let caller = Manner::default().after_dial(SECOND, Action::Cancel);
    let mut world = bridged(&Setup::new(2), caller, callee);
    let call = dial(&mut world, 1);
    world.run_for(ms(2_500));
    assert_eq!(world.call(call).seen.code, 487);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).seen.cancels, 0);
    world.run_for(2 * SECOND);
    assert_eq!(world.call(callee).seen.cancels, 1);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

/// It is asked again until it speaks: the callee rings, and nothing of it was heard.
#[test]
fn a_callee_whose_first_words_were_lost_is_cancelled_all_the_same() {
    let caller = Manner::default().after_dial(ms(200), Action::Cancel);
    let mut world = bridged(&Setup::new(3), caller, Manner::ringing());
    let call = dial(&mut world, 1);
    let callee_at = world.address(1);
    world.network.set_filter(move |at, datagram| {
        let early = at.since(world::DAWN.mono) < ms(250);
        if early && datagram.from == callee_at { Fate::Drop } else { Fate::Pass }
    });
    world.run_for(2 * SECOND);
    assert_eq!(world.call(call).seen.code, 487);
    let callee = world.callee_of(1).unwrap();
    let seen = &world.call(callee).seen;
    assert_eq!((seen.invites, seen.cancels, seen.code), (2, 1, 487));
    nothing_left(&mut world);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    // Every moment of the crossing, 1 ms apart.
    for offset in 0..14_u64 {
        let callee = Manner::answering(Duration::from_millis(2_000));
        let caller = Manner::default().after_dial(ms(2_000 + offset), Action::Cancel);
        let mut world = bridged(&Setup::new(10 + offset), caller, callee);
        let call = dial(&mut world, 1);
        world.run_for(ms(2_500));
        if world.call(call).seen.code == 200 {
            world.act(call, Action::HangUp);
        }
        world.run_for(2 * SECOND);
        let callee = world.callee_of(1).unwrap();
        let (a, b) = (world.call(call), world.call(callee));
        assert!(a.is_over() && b.is_over(), "{offset}: {:?} {:?}", a.state, b.state);
        if b.seen.code == 200 {
            assert!(b.seen.acks >= 1 && b.seen.byes == 1, "{offset}: {:?}", b.seen);
        } else {
            assert_eq!((b.seen.code, b.seen.cancels), (487, 1), "{offset}");
        }
        assert_eq!(ends(&mut world).len(), 2, "{offset}");
        nothing_left(&mut world);
    }
}
