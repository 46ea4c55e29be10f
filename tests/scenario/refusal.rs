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

/// RFC 3261 section 16.7: what the far side says of *our* request, or of itself, is not what the
/// caller is told.
#[test]
fn what_is_about_our_request_is_told_as_something_the_caller_can_use() {
    for (code, told) in [(503, 480), (500, 500), (401, 403), (407, 403), (302, 502), (421, 500)] {
        let mut world = routed(&Setup::new(4), Manner::default(), vec![Manner::refusing(code)]);
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        assert_eq!(world.call(call).seen.code, told, "{code}");
        let ends = ends(&mut world);
        let callee = ends.iter().find(|end| !end.inbound).unwrap();
        assert_eq!(callee.code, code, "the record keeps what was said");
        nothing_left(&mut world);
    }
}

#[test]
fn a_target_that_says_nothing_is_left_after_its_time() {
    let mut world = routed(&Setup::new(2), Manner::default(), vec![Manner::silent()]);
    let call = dial(&mut world, 1);
    world.run_for(ms(3_800));
    assert_eq!(world.call(call).seen.code, 0);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).seen.invites, 4, "at 0, 0.5, 1.5 and 3.5 s");
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 480);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.cause == Cause::Unreachable && end.billed_ms == 0));
    world.run_for(20 * SECOND);
    assert_eq!(world.call(callee).seen.invites, 4, "nor is it asked again");
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
