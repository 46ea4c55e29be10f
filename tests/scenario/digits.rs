//! Digits reach the controlplane once each, by RFC 4733 and by INFO, alone and in a join, and the
//! other phone hears them.

use sdp::Supported;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, answered, bridged, dial, manual, ms, nothing_left, routed};

fn digits(world: &mut world::World) -> String {
    let told = manual(world).told.iter();
    told.filter_map(|told| match told.event() {
        wire::Event::Digit { digit, .. } => Some(digit),
        _ => None,
    })
    .collect()
}

#[test]
fn digits_of_a_lone_leg_are_told() {
    let mut caller = Manner::default().with_audio();
    for (at, digit) in (1..).zip("159#*D0".chars()) {
        caller = caller.after_answer(at * ms(400), Action::Digit(digit));
    }
    caller = caller.after_answer(4 * SECOND, Action::Info('7'));
    caller = caller.after_answer(5 * SECOND, Action::Info('*'));
    let mut world = answered(&Setup::new(1), caller);
    let call = dial(&mut world, 1);
    world.run_for(8 * SECOND);
    assert_eq!(digits(&mut world), "159#*D07*");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn digits_cross_a_join_and_are_told() {
    let caller = Manner::default().with_audio().after_answer(SECOND, Action::Digit('5'));
    let mut world = bridged(&Setup::new(2), caller, Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(4 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).media.as_ref().unwrap().heard.digits, "5");
    assert_eq!(digits(&mut world), "5");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn lost_and_doubled_packets_make_no_digit_twice() {
    let mut setup = Setup::new(3);
    (setup.media.loss, setup.media.duplicate) = (150_000, 150_000);
    let caller = Manner::default().with_audio().after_answer(SECOND, Action::Digit('8'));
    let mut world = answered(&setup, caller);
    let call = dial(&mut world, 1);
    world.run_for(4 * SECOND);
    assert_eq!(digits(&mut world), "8");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

/// Some gateways write the event's number of RFC 4733 where the digit is no decimal one; a body
/// that is none of these is refused, because a part of it would be another digit.
#[test]
fn a_digit_by_info_is_the_whole_body_or_refused() {
    let mut caller = Manner::default().with_audio();
    for (at, text) in (1..).zip(["7", "10", "11\r\n", "12", "16", "42", "555", "#"]) {
        caller = caller.after_answer(at * ms(400), Action::InfoText(text));
    }
    let mut world = answered(&Setup::new(4), caller);
    let call = dial(&mut world, 1);
    world.run_for(6 * SECOND);
    assert_eq!(digits(&mut world), "7*#A#");
    let codes = world.call(call).seen.answers.iter().map(|(_, code)| *code).collect::<Vec<_>>();
    assert_eq!(codes, [200, 200, 200, 200, 415, 415, 415, 200]);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn events_are_accepted_for_a_callee_that_has_info_only() {
    let caller = Manner::default().with_audio();
    let caller = caller.after_answer(SECOND, Action::Digit('5'));
    let caller = caller.after_answer(2 * SECOND, Action::Digit('#'));
    let callee = Manner::default().with_audio().with_codecs(&[Supported::PCMU, Supported::PCMA]);
    for (seed, info, wanted) in [(5, true, "5#"), (6, false, "")] {
        let callee = Manner { info, ..callee.clone() };
        let mut world = routed(&Setup::new(seed), caller.clone(), vec![callee]);
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        let callee = world.callee_of(1).unwrap();
        let (seen, heard) = (&world.call(call).seen, &world.call(callee).seen.info_digits);
        assert_eq!(seen.text.contains("telephone-event"), info, "{}", seen.text);
        assert_eq!(heard, wanted);
        world.act(call, Action::HangUp);
        nothing_left(&mut world);
    }
}
