//! Somebody sets the wall clock: what is billed is the time that passed, and what is timed is timed
//! by the other clock.

use wire::event::Cause;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, nothing_left};

const HOUR: i64 = 3_600;

#[test]
fn a_call_is_billed_for_what_it_lasted_whoever_sets_the_clock() {
    for by in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 5, -5] {
        let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
        let caller = dial(&mut world, 1);
        world.run_for(10 * SECOND);
        world.set_clock(by);
        world.run_for(10 * SECOND);
        world.act(caller, Action::HangUp);
        world.run_for(2 * SECOND);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2, "set by {by}");
        for end in ends {
            let talked = 18_000..=20_000;
            assert!(talked.contains(&end.billed_ms), "set by {by}: {end:?}");
            assert!(talked.contains(&end.relay_ms), "set by {by}: {end:?}");
        }
        nothing_left(&mut world);
    }
}

/// A leg that the meter finds silent is one of those that the meter's moment is shown to.
#[test]
fn a_call_that_falls_silent_is_billed_for_what_it_lasted_whoever_sets_the_clock() {
    for by in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 5, -5] {
        let mut setup = Setup::new(1);
        setup.plane.timers.media_timeout = 20 * SECOND;
        let silent = Manner::default().after_answer(5 * SECOND, Action::Die);
        let mut world = bridged(&setup, silent.clone(), silent);
        dial(&mut world, 1);
        world.run_for(10 * SECOND);
        world.set_clock(by);
        world.run_for(30 * SECOND);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2, "set by {by}");
        assert_eq!(ends[0].cause, Cause::MediaTimeout, "set by {by}");
        for end in ends {
            let stood = 24_000..=27_000;
            assert!(stood.contains(&end.billed_ms), "set by {by}: {end:?}");
            assert!(stood.contains(&end.relay_ms), "set by {by}: {end:?}");
        }
        nothing_left(&mut world);
    }
}
