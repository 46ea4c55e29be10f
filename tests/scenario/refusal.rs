//! What a target refuses reaches the caller, and what can be tried elsewhere is.

use std::time::Duration;

use wire::event::Cause;
use world::{Manner, Setup};

use crate::common::{SECOND, dial, ends, heard, ms, nothing_left, routed};

#[test]
fn a_refusal_reaches_the_caller_as_it_is() {
    let cases = [
        (486, Cause::Busy),
        (600, Cause::Busy),
        (404, Cause::NotFound),
        (480, Cause::NoAnswer),
        (603, Cause::Rejected),
        (488, Cause::NoCodec),
        (403, Cause::Forbidden),
        (503, Cause::Overload),
    ];
    for (code, cause) in cases {
        let mut world = routed(&Setup::new(1), Manner::default(), vec![Manner::refusing(code)]);
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        assert_eq!(world.call(call).seen.code, code);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2, "{code}");
        for end in &ends {
            assert_eq!((end.cause, end.code, end.billed_ms), (cause, code, 0), "{end:?}");
        }
        nothing_left(&mut world);
    }
}

#[test]
fn a_silent_target_is_unreachable_after_timer_b() {
    let mut world = routed(&Setup::new(2), Manner::default(), vec![Manner::silent()]);
    let call = dial(&mut world, 1);
    world.run_for(ms(29_000));
    assert_eq!(world.call(call).seen.code, 0);
    let callee = world.callee_of(1).unwrap();
    assert!(world.call(callee).seen.invites >= 6, "{}", world.call(callee).seen.invites);
    world.run_for(5 * SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    assert!(world.call(call).seen.code >= 400);
    nothing_left(&mut world);
}

#[test]
fn a_phone_that_rings_for_ever_is_given_up() {
    let mut world = routed(&Setup::new(3), Manner::default(), vec![Manner::ringing()]);
    let call = dial(&mut world, 1);
    world.run_for(Duration::from_secs(32));
    assert_eq!(world.call(call).seen.code, 480);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).seen.cancels, 1);
    assert!(ends(&mut world).iter().all(|end| end.cause == Cause::NoAnswer));
    nothing_left(&mut world);
}

#[test]
fn the_next_target_is_tried_after_a_failure_not_after_a_refusal() {
    for (code, tried) in [(503, true), (500, true), (408, true), (486, false), (603, false)] {
        let targets = vec![Manner::refusing(code), Manner::default()];
        let mut world = routed(&Setup::new(4), Manner::default(), targets);
        let call = dial(&mut world, 1);
        world.run_for(6 * SECOND);
        assert_eq!(!world.agents[2].calls.is_empty(), tried, "{code}");
        if tried {
            assert_eq!(world.call(call).seen.code, 200);
            assert!(heard(&world, call, 3) >= 2);
            world.act(call, world::Action::HangUp);
            world.run_for(SECOND);
        } else {
            assert_eq!(world.call(call).seen.code, code);
        }
        assert_eq!(ends(&mut world).len(), 2, "{code}");
        nothing_left(&mut world);
    }
}

#[test]
fn the_next_target_is_tried_when_the_first_is_dead() {
    let targets = vec![Manner::silent(), Manner::default()];
    let mut setup = Setup::new(5);
    setup.plane.timers.t1 = ms(100);
    let mut world = routed(&setup, Manner::default(), targets);
    world.agents[1].dead = true;
    let call = dial(&mut world, 1);
    world.run_for(12 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, world::Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}
