//! How digits reach a trunk's targets where its policy says so, whatever they would take.

use sdp::Supported;
use wire::table::{Digits, StaticRoute, Table};
use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{SECOND, dial, ms, nothing_left, publish, route_to, routed};

const DIGITS: &str = "15#";

fn phone(events: bool, info: bool) -> Manner {
    let all = [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];
    let codecs = if events { &all[..] } else { &all[..2] };
    Manner { info, ..Manner::default().with_audio().with_codecs(codecs) }
}

/// A call by a route with this policy.
fn standing(dtmf: Digits, callee: Manner) -> (World, CallRef, CallRef) {
    let mut world = routed(&Setup::new(1), phone(true, true), vec![callee]);
    let route = StaticRoute { dtmf, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let caller = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    (world, caller, callee)
}

fn say(world: &mut World, from: CallRef, action: fn(char) -> Action) {
    for digit in DIGITS.chars() {
        world.act(from, action(digit));
        world.run_for(ms(400));
    }
    world.run_for(SECOND);
}

fn heard(world: &World, at: CallRef) -> (&str, &str) {
    let call = world.call(at);
    (&call.media.as_ref().unwrap().heard.digits, &call.seen.info_digits)
}

/// Its Allow lists no INFO and its codecs have events: it is told by INFO, and its own events would
/// be no digits to us.
#[test]
fn a_target_of_info_gets_no_events() {
    for by_info in [false, true] {
        let callee = Manner { allow: vec![], ..phone(true, true) };
        let (mut world, caller, callee) = standing(Digits::Info, callee);
        let invite = &world.call(callee).seen.text;
        assert!(!invite.contains("telephone-event") && invite.contains("PCMU"), "{invite}");
        assert!(invite.contains("RTP/AVP 0 8\r\n"), "{invite}");
        say(&mut world, caller, if by_info { Action::Info } else { Action::Digit });
        assert_eq!(heard(&world, callee), ("", DIGITS), "by INFO: {by_info}");
        say(&mut world, callee, Action::Info);
        assert_eq!(heard(&world, caller), (DIGITS, ""));
        // And so in a later offer.
        world.act(callee, Action::Reinvite(sdp::Direction::SendRecv));
        world.run_for(SECOND);
        say(&mut world, caller, Action::Digit);
        assert_eq!(heard(&world, callee).1, [DIGITS, DIGITS].concat());
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

/// A target that would take INFO alone is told nothing: who says a digit hears that.
#[test]
fn a_target_of_events_gets_no_info() {
    let (mut world, caller, callee) = standing(Digits::Rfc4733, phone(false, true));
    say(&mut world, caller, Action::Info);
    let answers = &world.call(caller).seen.answers;
    let codes: Vec<u16> =
        answers.iter().filter(|(method, _)| method == "INFO").map(|(_, code)| *code).collect();
    assert_eq!(codes, [415, 415, 415]);
    assert_eq!(heard(&world, callee), ("", ""));
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
    let (mut world, caller, callee) = standing(Digits::Rfc4733, phone(true, false));
    say(&mut world, caller, Action::Info);
    assert_eq!(heard(&world, callee), (DIGITS, ""));
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
}
