//! Somebody sets the wall clock: what is billed is the time that passed, and what is timed is timed
//! by the other clock.

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
