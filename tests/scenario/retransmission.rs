//! Lost datagrams are sent again, by whoever has to (RFC 3261 sections 13 and 17).

use wire::event::Cause;
use world::{Action, Fate, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, heard, lose, ms, nothing_left};

/// Loses the first `times` of these and expects a call that works all the same.
fn with_loss(seed: u64, times: u32, start: &'static str, method: &'static str) {
    let mut world = bridged(&Setup::new(seed), Manner::default(), Manner::default());
    lose(&mut world, times, start, method);
    let call = dial(&mut world, 1);
    world.run_for(14 * SECOND);
    let callee = world.callee_of(1).expect("rang");
    assert_eq!(world.call(call).seen.code, 200, "{start} {method}");
    assert!(heard(&world, call, 3) >= 4 && heard(&world, callee, 2) >= 4, "{start} {method}");
    world.act(call, Action::HangUp);
    world.run_for(14 * SECOND);
    assert!(world.call(callee).is_over(), "{start} {method}");
    assert!(world.network.lost >= u64::from(times), "{start} {method}");
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2, "{start} {method}");
    assert!(ends.iter().all(|end| end.cause == Cause::Normal), "{start} {method}: {ends:?}");
    nothing_left(&mut world);
}

#[test]
fn a_lost_invite() {
    with_loss(1, 2, "INVITE", "INVITE");
}

#[test]
fn a_lost_answer() {
    with_loss(2, 3, "SIP/2.0 200", "INVITE");
}

#[test]
fn a_lost_ack() {
    with_loss(3, 3, "ACK", "ACK");
}

#[test]
fn a_lost_bye() {
    with_loss(4, 2, "BYE", "BYE");
}

#[test]
fn a_lost_answer_to_a_bye() {
    with_loss(5, 2, "SIP/2.0 200", "BYE");
}

#[test]
fn everything_arrives_twice() {
    let mut world = bridged(&Setup::new(6), Manner::default(), Manner::default());
    world.network.set_filter(|_, _| Fate::Twice);
    let call = dial(&mut world, 1);
    world.run_for(5 * SECOND);
    world.act(call, Action::HangUp);
    world.run_for(2 * SECOND);
    let callee = world.callee_of(1).unwrap();
    let (a, b) = (&world.call(call).seen, &world.call(callee).seen);
    assert_eq!((a.code, b.code, b.byes), (200, 200, 1));
    assert_eq!(world.agents[1].calls.len(), 1);
    for (at, stream) in [(call, 3), (callee, 2)] {
        let media = world.call(at).media.as_ref().unwrap();
        let stream = &media.heard.streams[&(1, stream)];
        assert!(stream.packets >= 3);
    }
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

#[test]
fn a_caller_that_never_acknowledges_is_ended_with_bye() {
    let caller = Manner { acks: false, ..Manner::default() };
    let mut world = bridged(&Setup::new(7), caller, Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(40 * SECOND);
    assert!(world.call(call).is_over(), "BYE came");
    let ends = ends(&mut world);
    let inbound = ends.iter().find(|end| end.inbound).unwrap();
    assert_eq!(inbound.cause, Cause::NoAck);
    assert_eq!(ends.len(), 2);
    nothing_left(&mut world);
}

#[test]
fn an_end_that_comes_before_the_ack_waits_for_it() {
    // The callee hangs up at once; the caller's ACK is late by 3 s: BYE goes after it.
    let callee = Manner::default().after_answer(ms(300), Action::HangUp);
    let mut world = crate::common::routed(&Setup::new(8), Manner::default(), vec![callee]);
    lose(&mut world, 2, "ACK", "ACK");
    let call = dial(&mut world, 1);
    world.run_for(20 * SECOND);
    assert!(world.call(call).is_over());
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

#[test]
fn an_end_without_any_ack_still_sends_bye() {
    let callee = Manner::default().after_answer(ms(300), Action::HangUp);
    let caller = Manner { acks: false, ..Manner::default() };
    let mut world = crate::common::routed(&Setup::new(9), caller, vec![callee]);
    let call = dial(&mut world, 1);
    world.run_for(40 * SECOND);
    assert!(world.call(call).is_over(), "BYE came");
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}
