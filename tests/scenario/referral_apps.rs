//! Transfers by REFER where an application answers: the controlplane says what becomes of them,
//! dials for the leg that is referred, and the legs do the rest.

use base::CallId;
use wire::{Command, Event, Originate};
use world::control::encode;
use world::{Action, CallRef, Manner, Manual, Setup, World};

use crate::common::{SECOND, dial, ends, heard, ms, nothing_left, originate, told};

/// What the controlplane makes of a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Agent 2 is dialled, on the next shard.
    Dials,
    Refuses(u16),
    /// Whoever refers may not: the call is its document's as before.
    Forbids(u16),
    Nothing,
}

/// A controlplane that dials agent 1 for each call, on the next shard; agent 2 is the target.
fn world(seed: u64, says: Says, target: Manner) -> World {
    let mut world = World::new(&Setup::new(seed));
    for manner in [Manner::default(), Manner::default(), target] {
        world.agent(manner);
    }
    world.agents[2].voice = Some(90);
    let (callee, target) = (world.address(1), world.address(2));
    let mut made = 0_u128;
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let next = (told.shard + 1) % 3;
        made += 1;
        let call = CallId(made << 64 | made);
        match told.event() {
            Event::Incoming(incoming) => {
                let account = if incoming.uri.contains("other") { 10 } else { 9 };
                let accept = Command::Accept { call: incoming.call, account, setup_ms: 60_000 };
                commands.push((told.shard, encode(&accept)));
                let to = if incoming.uri.contains("consult") { target } else { callee };
                let wish = originate(call, to, incoming.uri);
                let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
                commands.push((next, encode(&Command::Originate(wish))));
            }
            Event::Refer { call: of, peer, to, by, .. } => {
                assert!(to.is_empty() || by.starts_with("sip:"));
                match says {
                    Says::Dials if !to.is_empty() => {
                        let wish = Originate { peer, ..originate(call, target, to) };
                        commands.push((next, encode(&Command::Originate(wish))));
                    }
                    Says::Refuses(code) | Says::Forbids(code) => {
                        let binds = matches!(says, Says::Refuses(_));
                        let refused = Command::Referred { call: of, code, binds };
                        commands.push((told.shard, encode(&refused)));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    });
    world.control = Some(Box::new(manual));
    world
}

fn standing(world: &mut World, by_callee: bool) -> (CallRef, CallRef) {
    let caller = dial(world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    if by_callee { (callee, caller) } else { (caller, callee) }
}

fn notified(world: &World, at: CallRef) -> Vec<&str> {
    world.call(at).seen.notified.iter().map(|line| &line["SIP/2.0 ".len()..]).collect()
}

fn hears(world: &mut World, at: CallRef, stream: u32) -> bool {
    let before = heard(world, at, stream);
    world.run_for(3 * SECOND);
    heard(world, at, stream) > before
}

#[test]
fn the_controlplane_dials_for_whom_is_referred() {
    for (seed, by_callee, leaves) in
        [(1, true, false), (2, false, false), (3, true, true), (4, false, true)]
    {
        let mut world = world(seed, Says::Dials, Manner::default());
        let (from, stays) = standing(&mut world, by_callee);
        world.act(from, Action::Refer("sip:g1@target.example".to_owned(), false));
        world.run_for(ms(200));
        if leaves {
            world.act(from, Action::HangUp);
        }
        world.run_for(3 * SECOND);
        let said = if leaves { vec!["100 Trying"] } else { vec!["100 Trying", "200 OK"] };
        assert_eq!(notified(&world, from), said);
        let target = CallRef { agent: 2, call: 0 };
        assert!(world.call(from).is_over() && !world.call(stays).is_over());
        assert!(hears(&mut world, stays, 90));
        world.act(target, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(stays).is_over(), "it ends with whom it was referred to");
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 3);
        assert!(ends.iter().all(|end| end.account == 9), "{ends:?}");
        nothing_left(&mut world);
    }
}

/// The target is busy, the controlplane refuses, or there is none.
#[test]
fn a_referral_that_comes_to_nothing_leaves_the_call() {
    for (seed, says, busy, said) in [
        (5, Says::Dials, true, "486 Busy Here"),
        (6, Says::Refuses(603), false, "603 Decline"),
        (7, Says::Refuses(404), false, "404 Not Found"),
        (8, Says::Nothing, false, "408 Request Timeout"),
    ] {
        for (by_callee, other_ends) in [(true, false), (false, true)] {
            let target = if busy { Manner::refusing(486) } else { Manner::default() };
            let mut world = world(seed, says, target);
            let (from, stays) = standing(&mut world, by_callee);
            world.act(from, Action::Refer("sip:g1@target.example".to_owned(), false));
            world.run_for(200 * SECOND);
            assert_eq!(notified(&world, from), ["100 Trying", said], "{says:?}");
            assert!(hears(&mut world, stays, if by_callee { 3 } else { 2 }) || by_callee);
            // They are none of a document's: each ends with the other.
            let (first, last) = if other_ends { (stays, from) } else { (from, stays) };
            world.act(first, Action::HangUp);
            world.run_for(SECOND);
            assert!(world.call(last).is_over(), "{says:?}");
            nothing_left(&mut world);
        }
    }
}

/// Who may not refer changes nothing: the caller does not end with the callee, and what comes next
/// is the document's to say.
#[test]
fn who_may_not_refer_leaves_the_call_to_its_document() {
    for seed in 9..12 {
        let mut world = world(seed, Says::Forbids(603), Manner::default());
        let (from, stays) = standing(&mut world, true);
        world.act(from, Action::Refer("sip:g1@target.example".to_owned(), false));
        world.run_for(SECOND);
        assert_eq!(notified(&world, from), ["100 Trying", "603 Decline"]);
        world.act(from, Action::HangUp);
        world.run_for(2 * SECOND);
        assert!(world.call(from).is_over() && !world.call(stays).is_over());
        world.act(stays, Action::HangUp);
        world.run_for(SECOND);
        nothing_left(&mut world);
    }
}

/// Two calls by an application each, and their other sides joined by the shards.
#[test]
fn an_attended_transfer_is_the_shards_own() {
    for (seed, by_callee) in [(11, true), (12, false)] {
        let mut world = world(seed, Says::Dials, Manner::default());
        let (from, stays) = standing(&mut world, by_callee);
        let mut consult = crate::common::to(1);
        consult.to = "sip:g1@consult.example".to_owned();
        consult.stream = 70;
        let second = world.dial(from.agent, &consult);
        world.run_for(3 * SECOND);
        let to = format!("sip:x@y?Replaces={}", world.call(second).replaces());
        world.act(from, Action::Refer(to, false));
        world.run_for(2 * SECOND);
        assert_eq!(notified(&world, from), ["100 Trying", "200 OK"]);
        assert!(world.call(from).is_over() && world.call(second).is_over());
        assert!(hears(&mut world, stays, 90));
        assert_eq!(told(&mut world).iter().filter(|it| **it == "refer").count(), 2);
        world.act(stays, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(CallRef { agent: 2, call: 0 }).is_over());
        nothing_left(&mut world);
    }
}

/// Another account's dialog, whose name somebody has heard: it stays whose it is.
#[test]
fn a_dialog_of_another_account_is_not_taken() {
    let mut world = world(13, Says::Dials, Manner::default());
    let (from, stays) = standing(&mut world, true);
    let mut other = crate::common::to(1);
    other.to = "sip:g1@consult.other.example".to_owned();
    let second = world.dial(from.agent, &other);
    world.run_for(3 * SECOND);
    let to = format!("sip:x@y?Replaces={}", world.call(second).replaces());
    world.act(from, Action::Refer(to, false));
    world.run_for(2 * SECOND);
    assert_eq!(notified(&world, from), ["100 Trying", "481 Call/Transaction Does Not Exist"]);
    assert!(!world.call(second).is_over() && !world.call(from).is_over());
    world.act(stays, Action::HangUp);
    world.act(second, Action::HangUp);
    nothing_left(&mut world);
}
