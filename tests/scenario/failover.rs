//! Which target is asked, and when: what is final ends the trial, what is a failure of the target
//! goes on, and one that said nothing is asked last for a while.

use std::time::Duration;

use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{SECOND, dial, heard, ms, nothing_left, routed};

/// Calls that came to an agent so far.
fn calls(world: &World, agent: usize) -> usize {
    world.agents[agent].calls.len()
}

#[test]
fn a_status_about_the_callee_is_final_and_one_about_the_target_is_not() {
    let finals = [404, 410, 480, 484, 486, 600, 603, 604, 606, 607, 608];
    for code in finals {
        let targets = vec![Manner::refusing(code), Manner::default()];
        let mut world = routed(&Setup::new(1), Manner::default(), targets);
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        assert_eq!((world.call(call).seen.code, calls(&world, 2)), (code, 0));
        nothing_left(&mut world);
    }
    for code in [408, 500, 502, 503, 504] {
        let targets = vec![Manner::refusing(code), Manner::refusing(503), Manner::default()];
        let mut world = routed(&Setup::new(2), Manner::default(), targets);
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        assert_eq!(world.call(call).seen.code, 200, "{code}");
        assert!(heard(&world, call, 3) >= 1, "{code}");
        world.act(call, Action::HangUp);
        nothing_left(&mut world);
    }
}

fn answered_at(world: &World, call: CallRef) -> Duration {
    let seen = &world.call(call).seen;
    seen.answered_at.expect("answered").since(seen.dialed_at)
}

#[test]
fn a_target_that_said_nothing_is_asked_last_for_half_a_minute() {
    let mut setup = Setup::new(3);
    setup.plane.shards = 1;
    let targets = vec![Manner::silent(), Manner::answering(ms(100))];
    let mut world = routed(&setup, Manner::default(), targets);
    let first = dial(&mut world, 1);
    world.run_for(6 * SECOND);
    let took = answered_at(&world, first);
    assert!((ms(4_000)..ms(4_300)).contains(&took), "left after 4 s: {took:?}");
    assert_eq!((calls(&world, 1), calls(&world, 2)), (1, 1));

    // 20 s after it was left: remembered.
    world.run_for(18 * SECOND);
    let second = dial(&mut world, 2);
    world.run_for(2 * SECOND);
    assert!(answered_at(&world, second) < SECOND, "the one that answers is asked first");
    assert_eq!((calls(&world, 1), calls(&world, 2)), (1, 2));

    // 40 s after: forgotten, and it has come back.
    world.agents[1].manner = Manner::answering(ms(100));
    world.run_for(14 * SECOND);
    let third = dial(&mut world, 3);
    world.run_for(2 * SECOND);
    assert!(answered_at(&world, third) < SECOND);
    assert_eq!((calls(&world, 1), calls(&world, 2)), (2, 2), "the order of the route again");
    for call in [first, second, third] {
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

/// Only silence is remembered: a target that refused is asked first again.
#[test]
fn a_target_that_refused_is_asked_again_by_the_next_call() {
    let mut setup = Setup::new(4);
    setup.plane.shards = 1;
    let targets = vec![Manner::refusing(503), Manner::default()];
    let mut world = routed(&setup, Manner::default(), targets);
    for group in 1..=3 {
        let call = dial(&mut world, group);
        world.run_for(3 * SECOND);
        assert_eq!(world.call(call).seen.code, 200);
        assert_eq!(calls(&world, 1), usize::try_from(group).unwrap());
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

/// The ring time starts with the first ringing: trying takes nothing from it.
#[test]
fn a_target_found_late_may_ring_as_long_as_any() {
    let targets = vec![Manner::silent(), Manner::answering(28 * SECOND)];
    let mut world = routed(&Setup::new(5), Manner::default(), targets);
    let call = dial(&mut world, 1);
    world.run_for(36 * SECOND);
    assert_eq!(world.call(call).seen.code, 200, "4 s of silence and 28 s of ringing");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}
