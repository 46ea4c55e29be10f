//! Why a call ends is carried on: the Reason of a CANCEL and of a BYE (RFC 3326), and who lost to
//! another phone hears that the call was completed elsewhere, so that it shows no missed call.

use base::CallId;
use wire::{Command, Originate};
use world::control::encode;
use world::{Action, Manner, Manual, Setup, World};

use crate::by_hand::{self, A, B, Hand};
use crate::common::{SECOND, bridged, dial, ms, nothing_left, originate, routed};

const REASON: &str = "Q.850;cause=16;text=\"Normal call clearing\"";

fn with_reason(manner: Manner) -> Manner {
    Manner { reason: Some(REASON.to_owned()), ..manner }
}

/// A static route and an application, each on its way.
fn worlds(caller: &Manner, callee: &Manner) -> [World; 2] {
    let setup = Setup::new(1);
    let routed = routed(&setup, caller.clone(), vec![callee.clone()]);
    [routed, bridged(&setup, caller.clone(), callee.clone())]
}

#[test]
fn the_reason_of_a_cancel_is_carried_on() {
    let caller = with_reason(Manner::default()).after_dial(SECOND, Action::Cancel);
    for mut world in worlds(&caller, &Manner::ringing()) {
        dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        assert_eq!(world.call(callee).seen.cancels, 1);
        assert_eq!(world.call(callee).seen.reason.as_deref(), Some(REASON));
        nothing_left(&mut world);
    }
}

#[test]
fn the_reason_of_a_bye_is_carried_on() {
    for by_callee in [false, true] {
        let manner = with_reason(Manner::default());
        for (at, mut world) in worlds(&manner, &manner).into_iter().enumerate() {
            let call = dial(&mut world, 1);
            world.run_for(3 * SECOND);
            let callee = world.callee_of(1).unwrap();
            let (from, other) = if by_callee { (callee, call) } else { (call, callee) };
            world.act(from, Action::HangUp);
            world.run_for(SECOND);
            if at == 1 && by_callee {
                // An application decides what becomes of a caller whose callee hung up.
                world.act(call, Action::HangUp);
            } else {
                assert_eq!(world.call(other).seen.byes, 1);
                let reason = world.call(other).seen.reason.as_deref();
                assert_eq!(reason, Some(REASON), "by the callee: {by_callee}, world {at}");
            }
            nothing_left(&mut world);
        }
    }
}

#[test]
fn no_reason_is_made_up() {
    let caller = Manner::default().after_dial(SECOND, Action::Cancel);
    for mut world in worlds(&caller, &Manner::ringing()) {
        dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        assert_eq!((world.call(callee).seen.cancels, &world.call(callee).seen.reason), (1, &None));
    }
}

/// A controlplane that dials several phones for each call at once; the first that answers has it.
pub(crate) fn dialled_all(setup: &Setup, caller: Manner, callees: Vec<Manner>) -> World {
    let mut world = World::new(setup);
    world.agent(caller);
    let callees: Vec<usize> = callees.into_iter().map(|manner| world.agent(manner)).collect();
    let targets: Vec<_> = callees.into_iter().map(|agent| world.address(agent)).collect();
    let shards = setup.plane.shards;
    let mut children = Vec::new();
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| match told.event() {
        wire::Event::Incoming(incoming) => {
            let accept = Command::Accept { call: incoming.call, account: 9, setup_ms: 60_000 };
            commands.push((told.shard, encode(&accept)));
            for (at, target) in (1_u8..).zip(&targets) {
                let call = CallId(u128::from(at) << 64 | u128::from(at));
                let shard = (told.shard + at) % shards;
                children.push((shard, call));
                let wish = originate(call, *target, incoming.uri);
                let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
                commands.push((shard, encode(&Command::Originate(wish))));
            }
        }
        wire::Event::Joined { peer, .. } => {
            let losers = children.iter().filter(|(_, call)| *call != peer);
            let cause = wire::event::Cause::OtherAnswered;
            commands
                .extend(losers.map(|(shard, call)| {
                    (*shard, encode(&Command::Hangup { call: *call, cause }))
                }));
            children.clear();
        }
        _ => {}
    });
    world.control = Some(Box::new(manual));
    world
}

#[test]
fn the_losers_hear_that_the_call_was_completed_elsewhere() {
    let callees = vec![Manner::ringing(), Manner::answering(ms(1_500)), Manner::ringing()];
    let mut world = dialled_all(&Setup::new(2), Manner::default(), callees);
    let call = dial(&mut world, 1);
    world.run_for(4 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    for loser in [1, 3] {
        let seen = &world.agents[loser].calls[0].seen;
        assert_eq!((seen.cancels, seen.code), (1, 487));
        let reason = seen.reason.as_deref().unwrap_or_default();
        assert!(reason.starts_with("SIP;cause=200;"), "{reason}");
        assert!(reason.to_lowercase().contains("call completed elsewhere"), "{reason}");
    }
    assert!(!world.agents[2].calls[0].is_over());
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

/// A caller that gives up is another thing: the phones have missed a call.
#[test]
fn a_call_that_was_given_up_is_not_completed_elsewhere() {
    let caller = Manner::default().after_dial(SECOND, Action::Cancel);
    let callees = vec![Manner::ringing(), Manner::ringing()];
    let mut world = dialled_all(&Setup::new(3), caller, callees);
    dial(&mut world, 1);
    world.run_for(4 * SECOND);
    for agent in [1, 2] {
        let seen = &world.agents[agent].calls[0].seen;
        assert_eq!((seen.cancels, &seen.reason), (1, &None), "{seen:?}");
    }
    nothing_left(&mut world);
}

/// The callee's 2xx crosses the CANCEL: the BYE that ends it says why, as the CANCEL did.
#[test]
fn the_bye_for_an_answer_that_crossed_the_cancel_says_why() {
    for rings in [true, false] {
        let (mut world, log) = by_hand::world_by_hand(4);
        let a = Hand::caller("crossed");
        let invite = by_hand::ask(&mut world, &log, &a, "0");
        let b = Hand::callee(&invite, "b");
        if rings {
            by_hand::send(&mut world, B, &b.reply(&invite, "180 Ringing", "", &by_hand::empty()));
        }
        let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\n";
        let cancel = a.request("INVITE", 1, reason, &by_hand::empty());
        let cancel = cancel.replace("1 INVITE", "1 CANCEL").replace("INVITE sip", "CANCEL sip");
        by_hand::send(&mut world, A, &cancel);
        let answer = by_hand::described("10.1.0.2", 5_000, 1, "0");
        by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
        log.last(B, "ACK", "");
        let bye = log.last(B, "BYE", "");
        assert_eq!(by_hand::header(&bye, "Reason"), by_hand::header(reason, "Reason"), "{bye}");
        assert_eq!(log.all(B, "CANCEL", "").len(), usize::from(rings));
    }
}
