//! The dataplane dies: its successor ends each standing leg once, billed to its last activity.

use std::collections::BTreeSet;

use wire::event::Cause;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, manual, ms, nothing_left};

#[test]
fn each_standing_leg_is_ended_once_and_billed_to_its_last_activity() {
    let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
    for group in 1..=5 {
        dial(&mut world, group);
        world.run_for(ms(300));
    }
    world.run_for(10 * SECOND);
    // One that rings, and one whose end nobody took yet.
    let ended = world::CallRef { agent: 0, call: 0 };
    manual(&mut world).dead = true;
    world.act(ended, Action::HangUp);
    world.run_for(ms(100));
    world.restart_plane(3 * SECOND);
    manual(&mut world).dead = false;
    world.run_for(2 * SECOND);
    let ends = ends(&mut world);
    let calls: BTreeSet<_> = ends.iter().map(|end| end.call).collect();
    assert_eq!(calls.len(), 10);
    for call in calls {
        // What was told and what its successor tells again are the same fact.
        let told: Vec<_> = ends.iter().filter(|end| end.call == call).collect();
        assert!(told.iter().all(|end| end.billed_ms == told[0].billed_ms), "{told:?}");
        assert!(told.iter().all(|end| end.cause == told[0].cause), "{told:?}");
    }
    let restarted: Vec<_> = ends.iter().filter(|end| end.cause == Cause::Restart).collect();
    assert_eq!(restarted.len(), 8, "{ends:?}");
    for end in restarted {
        assert!((8_000..11_500).contains(&end.billed_ms), "{end:?}");
        assert_eq!(end.account, 9);
    }
    // Phones notice by themselves: their BYE meets a stranger.
    for call in 1..5 {
        world.act(world::CallRef { agent: 0, call }, Action::HangUp);
    }
    world.run_for(SECOND);
    let answers = &world.agents[0].calls[1].seen.answers;
    assert_eq!(answers, &[("BYE".to_owned(), 481)]);
    // And everything can be used again.
    let call = dial(&mut world, 9);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_ringing_leg_is_ended_without_cost() {
    let mut world = bridged(&Setup::new(2), Manner::default(), Manner::ringing());
    dial(&mut world, 1);
    world.run_for(2 * SECOND);
    world.restart_plane(SECOND);
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.cause == Cause::Restart && end.billed_ms == 0), "{ends:?}");
    nothing_left(&mut world);
}

#[test]
fn twice_dead_is_told_the_same() {
    let mut world = bridged(&Setup::new(3), Manner::default(), Manner::default());
    dial(&mut world, 1);
    world.run_for(5 * SECOND);
    manual(&mut world).dead = true;
    world.restart_plane(SECOND);
    world.restart_plane(SECOND);
    manual(&mut world).dead = false;
    world.run_for(SECOND);
    let ends = ends(&mut world);
    let calls: BTreeSet<_> = ends.iter().map(|end| (end.call, end.billed_ms, end.cause)).collect();
    assert_eq!(calls.len(), 2, "{ends:?}");
    nothing_left(&mut world);
}
