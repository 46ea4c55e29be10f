//! An early answer's direction and codecs end with the answer: what counts is the 200.

use sdp::{Direction, Supported};
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, heard, ms, nothing_left, routed};

const BOTH: [Supported<'static>; 3] =
    [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];

/// Rings with an early description, answers with another one. Offers of ours to the caller.
fn answered(early: Direction, codecs: &[Supported<'static>], apart: bool, strict: bool) -> usize {
    let on_ring = vec![
        (ms(100), Action::Ring183(early, vec![Supported::PCMU])),
        (2 * SECOND, Action::AnswerWith(codecs.to_vec(), false)),
    ];
    let callee = Manner { on_ring, ..Manner::default() }.with_audio().with_codecs(&BOTH);
    let caller = Manner { first_answer_counts: strict, ..Manner::default() };
    let caller = caller.with_audio().with_codecs(&BOTH);
    let setup = Setup::new(1);
    let mut world = match apart {
        true => bridged(&setup, caller, callee),
        false => routed(&setup, caller, vec![callee]),
    };
    let what = format!("{early:?} {}, apart {apart}, strict {strict}", codecs[0].name);
    let call = dial(&mut world, 1);
    world.run_for(ms(1_900));
    let early_heard = heard(&world, call, 3);
    assert_eq!(early_heard > 50, early.sends(), "{what}: {early_heard} before the answer");
    world.run_for(ms(2_100));
    let callee = world.callee_of(1).unwrap();
    let before = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(2 * SECOND);
    let after = (heard(&world, call, 3), heard(&world, callee, 2));
    assert!(after.0 >= before.0 + 90, "{what}: the caller heard {before:?} {after:?}");
    assert!(after.1 >= before.1 + 90, "{what}: the callee heard {before:?} {after:?}");
    assert_eq!(world.call(call).direction(), Some(Direction::SendRecv), "{what}");
    for phone in [call, callee] {
        let complaints = &world.call(phone).seen.complaints;
        assert!(complaints.is_empty(), "{what}: {complaints:?}");
        let damaged = world.call(phone).media.as_ref().unwrap().heard.damaged;
        assert_eq!(damaged, 0, "{what}");
    }
    let offers = world.call(call).seen.asked.len();
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
    offers
}

#[test]
fn the_direction_of_an_early_answer_ends_with_the_answer() {
    for early in [Direction::SendOnly, Direction::Inactive, Direction::RecvOnly] {
        for (apart, strict) in [(false, false), (false, true), (true, false), (true, true)] {
            // The answer itself says so: a caller that takes no re-INVITE is not left one-sided.
            assert_eq!(answered(early, &BOTH, apart, strict), 0, "{early:?}");
        }
    }
}

#[test]
fn the_codec_of_an_early_answer_ends_with_the_answer() {
    for early in [Direction::SendRecv, Direction::SendOnly] {
        for (apart, strict) in [(false, false), (false, true), (true, false), (true, true)] {
            answered(early, &BOTH[1..], apart, strict);
        }
    }
}
