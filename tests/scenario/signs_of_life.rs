//! A far end that is silent by agreement is asked whether it lives; one that sends reports need not
//! be.

use std::time::Duration;

use sdp::Direction;
use wire::event::{Cause, Party};
use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{SECOND, bridged, dial, ends, nothing_left};

/// A call without session timers between phones that send no reports, held by its caller.
fn held(seed: u64, form: Direction) -> (World, CallRef, CallRef) {
    let mut setup = Setup::new(seed);
    setup.plane.timers.session = Duration::ZERO;
    let quiet = Manner { report_every: Duration::ZERO, ..Manner::default() };
    let mut world = bridged(&setup, quiet.clone(), quiet);
    let caller = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(caller, Action::Reinvite(form));
    world.act(caller, Action::Mute(true));
    world.run_for(SECOND);
    (world, caller, callee)
}

#[test]
fn a_held_phone_that_died_is_found_and_one_that_answers_lives() {
    for form in [Direction::Inactive, Direction::SendOnly] {
        for holder_dies in [true, false] {
            let (mut world, caller, callee) = held(1, form);
            world.run_for(Duration::from_secs(300));
            for phone in [caller, callee] {
                let asked = &world.call(phone).seen.asked;
                let options = asked.iter().filter(|(method, _)| method == "OPTIONS").count();
                assert!((3..=6).contains(&options), "once a minute: {options}");
                assert!(!world.call(phone).is_over());
            }
            world.act(if holder_dies { caller } else { callee }, Action::Die);
            // A minute of silence, then the 32 s of an unanswered request.
            world.run_for(Duration::from_secs(100));
            let ends = ends(&mut world);
            let dead = ends.iter().find(|end| end.inbound == holder_dies);
            let dead = dead.unwrap_or_else(|| panic!("{form:?}, holder {holder_dies}: {ends:?}"));
            assert_eq!((dead.cause, dead.by), (Cause::MediaTimeout, Party::Switch));
            assert!(dead.billed_ms < 410_000, "{}", dead.billed_ms);
        }
    }
}

#[test]
fn a_phone_whose_microphone_is_off_lives_by_its_reports() {
    for (every, lives) in [(Duration::from_secs(5), true), (Duration::ZERO, false)] {
        let muted = Manner { report_every: every, ..Manner::default() };
        let muted = muted.after_answer(SECOND, Action::Mute(true));
        let mut world = bridged(&Setup::new(2), muted.clone(), muted);
        let call = dial(&mut world, 1);
        world.run_for(Duration::from_secs(600));
        assert_eq!(!world.call(call).is_over(), lives, "reports every {every:?}");
        if lives {
            world.act(call, Action::HangUp);
            world.run_for(SECOND);
            assert!(ends(&mut world).iter().all(|end| end.cause == Cause::Normal));
        } else {
            assert_eq!(ends(&mut world)[0].cause, Cause::MediaTimeout);
        }
        nothing_left(&mut world);
    }
}
