//! A digit crosses a join once, in whatever form the other phone takes it; where it takes none it
//! is refused, not lost (RFC 6086 section 4.2.2).

use sdp::Supported;
use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{SECOND, bridged, dialled_after_answer, manual, ms, nothing_left, routed, to};

/// What a phone can do with digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// RFC 4733, and INFO.
    Event,
    Info,
    Nothing,
}

/// How the call is set up: the caller is answered with the callee, or before it is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Route,
    OnBridge,
    PlainDial,
}

const DIGITS: &str = "1553#";

fn phone(takes: Takes) -> Manner {
    let events = [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];
    let count = if takes == Takes::Event { 3 } else { 2 };
    let manner = Manner::default().with_audio().with_codecs(&events[..count]);
    Manner { info: takes != Takes::Nothing, ..manner }
}

/// A call whose one side says all digits; the other's `(RFC 4733, INFO)` digits, and the statuses
/// of the INFOs.
fn say(
    (sender, receiver): (Takes, Takes),
    (by_info, by_callee, way): (bool, bool, Way),
) -> (String, String, Vec<u16>) {
    let (a, b) = if by_callee { (receiver, sender) } else { (sender, receiver) };
    let setup = Setup::new(1);
    let mut world: World = match way {
        Way::Route => routed(&setup, phone(a), vec![phone(b)]),
        Way::OnBridge => bridged(&setup, phone(a), phone(b)),
        Way::PlainDial => dialled_after_answer(&setup, phone(a), phone(b)),
    };
    let caller = world.dial(0, &to(1));
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    let (from, at) = if by_callee { (callee, caller) } else { (caller, callee) };
    for digit in DIGITS.chars() {
        world.act(from, if by_info { Action::Info(digit) } else { Action::Digit(digit) });
        world.run_for(ms(400));
    }
    world.run_for(2 * SECOND);
    // Where nothing takes events none are promised: the phone says its digits as tones.
    let unsaid = if receiver == Takes::Nothing && !by_info { 5 } else { 0 };
    assert_eq!(world.call(from).media.as_ref().unwrap().unsaid, unsaid, "digits are in force");
    let answers = &world.call(from).seen.answers;
    let infos = answers.iter().filter(|(method, _)| method == "INFO");
    let codes = infos.map(|(_, code)| *code).collect();
    let heard = heard(&world, at);
    assert!(!world.call(caller).is_over() && !world.call(callee).is_over());
    told(&mut world, receiver == Takes::Nothing);
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
    (heard.0, heard.1, codes)
}

fn heard(world: &World, at: CallRef) -> (String, String) {
    let call = world.call(at);
    (call.media.as_ref().unwrap().heard.digits.clone(), call.seen.info_digits.clone())
}

/// The controlplane hears what was taken, once.
fn told(world: &mut World, nothing: bool) {
    let digit = |told: &world::Told| match told.event() {
        wire::Event::Digit { digit, .. } => Some(digit),
        _ => None,
    };
    let told: String = manual(world).told.iter().filter_map(digit).collect();
    assert_eq!(told, if nothing { "" } else { DIGITS });
}

/// Both directions, every way.
fn everywhere(pair: (Takes, Takes), by_info: bool, expected: (&str, &str, &[u16])) {
    for (by_callee, way) in
        [false, true].into_iter().flat_map(|by_callee| WAYS.map(|way| (by_callee, way)))
    {
        if way == Way::PlainDial && pair.1 == Takes::Nothing {
            // The caller was answered before it was known what the callee takes.
            continue;
        }
        let (events, infos, codes) = say(pair, (by_info, by_callee, way));
        let what = format!("{pair:?}, by INFO {by_info}, callee {by_callee}, {way:?}");
        assert_eq!((&events[..], &infos[..], &codes[..]), expected, "{what}");
    }
}

const WAYS: [Way; 3] = [Way::Route, Way::OnBridge, Way::PlainDial];
const TAKEN: &[u16] = &[200; 5];
const REFUSED: &[u16] = &[415; 5];

#[test]
fn event_to_event() {
    everywhere((Takes::Event, Takes::Event), false, (DIGITS, "", &[]));
}

#[test]
fn event_to_info() {
    everywhere((Takes::Event, Takes::Info), false, ("", DIGITS, &[]));
}

#[test]
fn event_to_a_phone_that_takes_none() {
    everywhere((Takes::Event, Takes::Nothing), false, ("", "", &[]));
}

#[test]
fn info_to_event() {
    everywhere((Takes::Info, Takes::Event), true, (DIGITS, "", TAKEN));
}

#[test]
fn info_to_info() {
    everywhere((Takes::Info, Takes::Info), true, ("", DIGITS, TAKEN));
}

#[test]
fn info_to_a_phone_that_takes_none_is_refused() {
    everywhere((Takes::Info, Takes::Nothing), true, ("", "", REFUSED));
}

/// A phone that speaks both ways is heard once, whichever it uses.
#[test]
fn info_of_a_phone_with_events() {
    everywhere((Takes::Event, Takes::Event), true, (DIGITS, "", TAKEN));
}

/// An INFO that comes again, because its 200 was lost, is the same digit.
#[test]
fn a_repeated_info_is_one_digit() {
    let mut world = bridged(&Setup::new(2), phone(Takes::Info), phone(Takes::Event));
    let caller = world.dial(0, &to(1));
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    crate::common::lose(&mut world, 2, "SIP/2.0 200", "INFO");
    world.act(caller, Action::Info('7'));
    world.run_for(5 * SECOND);
    assert_eq!(heard(&world, callee).0, "7");
    assert_eq!(world.call(caller).seen.answers, [("INFO".to_owned(), 200)]);
    assert!(world.call(caller).seen.repeats >= 2);
    told_once(&mut world);
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
}

fn told_once(world: &mut World) {
    let is = |told: &&world::Told| matches!(told.event(), wire::Event::Digit { .. });
    assert_eq!(manual(world).told.iter().filter(is).count(), 1);
}
