//! Transfers by REFER in calls of static routes (RFC 3515, 3892, 4488, 5589): blind and attended,
//! from both sides, with every end that the target may choose.

use std::time::Duration;

use wire::counter::Counter;
use wire::event::Cause;
use wire::table::{StaticRoute, Table};
use world::{Action, CallRef, Dial, Manner, Setup, World};

use crate::by_hand::{A, B, Log, body, call, empty, header, one_shard, send};
use crate::common::{
    SECOND, count, dial, ends, heard, manual, ms, nothing_left, publish, route_to, routed,
};

/// Who speaks at the target.
const TARGET_VOICE: u32 = 90;
const TARGET: &str = "sip:g1@target.example";

/// Agent 0 calls agent 1 by a route; another one leads to agent 2, the target.
fn world(setup: &Setup, manners: [Manner; 3]) -> World {
    let [a, b, c] = manners;
    let mut world = routed(setup, a, vec![b]);
    world.agent(c);
    world.agents[2].voice = Some(TARGET_VOICE);
    may_refer(&mut world, true);
    world
}

fn may_refer(world: &mut World, transfer: bool) {
    let route = |targets: &[usize]| StaticRoute { transfer, ..route_to(world, targets) };
    let domain = "target.example".to_owned();
    let routes = vec![StaticRoute { domain, ..route(&[2]) }, route(&[1])];
    publish(world, &Table { routes, ..Table::default() });
}

fn phones(target: Manner) -> [Manner; 3] {
    [Manner::default(), Manner::default(), target]
}

/// A call that stands: the referrer's side of it and the other.
fn standing(world: &mut World, by_callee: bool) -> (CallRef, CallRef) {
    let caller = dial(world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert!(heard(world, caller, 3) > 0 && heard(world, callee, 2) > 0);
    if by_callee { (callee, caller) } else { (caller, callee) }
}

fn refer(world: &mut World, from: CallRef, to: &str) {
    world.act(from, Action::Refer(to.to_owned(), false));
}

fn target(world: &World) -> CallRef {
    CallRef { agent: 2, call: world.agents[2].calls.len() - 1 }
}

fn answers(world: &World, at: CallRef) -> Vec<u16> {
    let answers = &world.call(at).seen.answers;
    answers.iter().filter(|(method, _)| method == "REFER").map(|(_, code)| *code).collect()
}

fn notified(world: &World, at: CallRef) -> Vec<&str> {
    world.call(at).seen.notified.iter().map(|line| &line["SIP/2.0 ".len()..]).collect()
}

/// What two sides hear of each other in a second.
fn hear_each_other(world: &mut World, one: (CallRef, u32), other: (CallRef, u32)) -> bool {
    let heard = |world: &World| (heard(world, one.0, other.1), heard(world, other.0, one.1));
    let before = heard(world);
    world.run_for(3 * SECOND);
    let after = heard(world);
    after.0 > before.0 && after.1 > before.1
}

fn voice(by_callee: bool) -> u32 {
    if by_callee { 2 } else { 3 }
}

#[test]
fn a_blind_transfer_joins_the_other_side_with_the_target() {
    for (seed, by_callee, quiet) in
        [(1, true, false), (2, false, false), (3, true, true), (4, false, true)]
    {
        let mut world = world(&Setup::new(seed), phones(Manner::default()));
        let (from, stays) = standing(&mut world, by_callee);
        world.act(from, Action::Refer(TARGET.to_owned(), quiet));
        world.run_for(ms(900));
        assert_eq!(answers(&world, from), [202]);
        assert!(!world.call(from).is_over(), "nothing is over while the target rings");
        world.run_for(2 * SECOND);
        let said = if quiet { vec![] } else { vec!["100 Trying", "200 OK"] };
        assert_eq!(notified(&world, from), said);
        let referrer = &world.call(from).seen;
        assert!(world.call(from).is_over() && referrer.ended_by_peer && referrer.byes == 1);
        let c = target(&world);
        let invite = &world.call(c).seen.text;
        assert!(invite.contains("\r\nReferred-By: <sip:"), "{invite}");
        let (mine, theirs) = ((stays, voice(by_callee)), (c, TARGET_VOICE));
        assert!(hear_each_other(&mut world, mine, theirs), "by the callee: {by_callee}");
        let (first, last) = if quiet { (stays, c) } else { (c, stays) };
        world.act(first, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(last).is_over() && world.call(last).seen.ended_by_peer);
        nothing_left(&mut world);
        // One end a leg, the target's under the leg that stayed, and on the route's account.
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 3, "{ends:?}");
        let target = ends.iter().filter(|end| !end.inbound).max_by_key(|end| end.call).unwrap();
        let parent = ends.iter().find(|end| end.call == target.parent).unwrap();
        assert_eq!((target.account, parent.inbound), (7, by_callee), "{ends:?}");
        assert!(target.billed_ms > 2_000 && target.relay_ms.abs_diff(target.billed_ms) < 100);
        assert!(parent.billed_ms > target.billed_ms + 2_000, "its whole time");
    }
}

/// FreeSWITCH tore the call down, PJSIP and others lost it: whatever the target says, the call that
/// was there stands, and the referrer hears why.
#[test]
fn a_target_that_does_not_answer_leaves_the_call_as_it_was() {
    let mut silent = Manner::silent();
    silent.trying = true;
    for (seed, manner, said) in [
        (5, Manner::refusing(486), "486 Busy Here"),
        (6, Manner::refusing(603), "603 Decline"),
        (7, Manner::refusing(404), "404 Not Found"),
        (8, Manner::refusing(401), "403 Forbidden"),
        (9, Manner::ringing(), "480 Temporarily Unavailable"),
        (10, silent, "480 Temporarily Unavailable"),
    ] {
        for by_callee in [true, false] {
            let mut world = world(&Setup::new(seed), phones(manner.clone()));
            let (from, stays) = standing(&mut world, by_callee);
            refer(&mut world, from, TARGET);
            world.run_for(40 * SECOND);
            assert_eq!(notified(&world, from), ["100 Trying", said]);
            let (mine, theirs) = ((stays, voice(by_callee)), (from, voice(!by_callee)));
            assert!(hear_each_other(&mut world, mine, theirs));
            // And once more, with somebody who is there.
            world.agents[2].manner = Manner::default();
            refer(&mut world, from, TARGET);
            world.run_for(3 * SECOND);
            assert_eq!(answers(&world, from), [202, 202]);
            assert!(world.call(from).is_over());
            let c = target(&world);
            assert!(hear_each_other(&mut world, mine, (c, TARGET_VOICE)));
            world.act(stays, Action::HangUp);
            nothing_left(&mut world);
        }
    }
}

/// Why a call ends is carried on after a referral, too (RFC 3326).
#[test]
fn the_reason_of_a_bye_is_carried_on_behind_a_referral() {
    const REASON: &str = "Q.850;cause=16;text=\"bye\"";
    for by_callee in [true, false] {
        let manner = Manner { reason: Some(REASON.to_owned()), ..Manner::default() };
        let manners = [manner.clone(), manner, Manner::refusing(486)];
        let mut world = world(&Setup::new(31), manners);
        let (from, stays) = standing(&mut world, by_callee);
        refer(&mut world, from, TARGET);
        world.run_for(3 * SECOND);
        world.act(from, Action::HangUp);
        world.run_for(SECOND);
        assert_eq!(world.call(stays).seen.reason.as_deref(), Some(REASON));
        nothing_left(&mut world);
    }
}

/// Teams and others say BYE a moment after the 202, or after NOTIFY 100.
#[test]
fn a_referrer_may_leave_before_there_is_an_answer() {
    for (seed, by_callee, answers) in
        [(11, true, true), (12, false, true), (13, true, false), (14, false, false)]
    {
        let manner = if answers { Manner::default() } else { Manner::refusing(486) };
        let mut world = world(&Setup::new(seed), phones(manner));
        let (from, stays) = standing(&mut world, by_callee);
        refer(&mut world, from, TARGET);
        world.run_for(ms(100));
        world.act(from, Action::HangUp);
        world.run_for(ms(200));
        assert!(!world.call(stays).is_over(), "whom the transfer is for");
        world.run_for(3 * SECOND);
        if answers {
            let c = target(&world);
            assert!(hear_each_other(&mut world, (stays, voice(by_callee)), (c, TARGET_VOICE)));
            world.act(c, Action::HangUp);
            world.run_for(SECOND);
        }
        assert!(world.call(stays).is_over(), "there is nobody else");
        nothing_left(&mut world);
    }
}

/// Telnyx's FreeSWITCH kept the referrer for ten minutes.
#[test]
fn whoever_is_referred_may_leave_too() {
    for by_callee in [true, false] {
        let mut world = world(&Setup::new(15), phones(Manner::ringing()));
        let (from, stays) = standing(&mut world, by_callee);
        refer(&mut world, from, TARGET);
        world.run_for(SECOND);
        world.act(stays, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(from).is_over());
        assert_eq!(world.call(target(&world)).seen.cancels, 1);
        nothing_left(&mut world);
    }
}

#[test]
fn who_may_not_refer_is_refused_and_nothing_else_happens() {
    let mut world = world(&Setup::new(16), phones(Manner::default()));
    may_refer(&mut world, false);
    let (from, stays) = standing(&mut world, true);
    refer(&mut world, from, TARGET);
    world.run_for(SECOND);
    assert_eq!((answers(&world, from), notified(&world, from)), (vec![603], vec![]));
    may_refer(&mut world, true);
    // One at a time, and to where the referrer could call.
    refer(&mut world, from, "sip:nobody@10.0.0.1:9;method=BYE");
    world.run_for(SECOND);
    assert_eq!(answers(&world, from), [603, 603]);
    world.agents[2].manner = Manner::ringing();
    refer(&mut world, from, TARGET);
    refer(&mut world, from, TARGET);
    world.run_for(SECOND);
    assert_eq!(answers(&world, from), [603, 603, 202, 491]);
    assert_eq!(world.agents[2].calls.len(), 1);
    world.act(stays, Action::HangUp);
    nothing_left(&mut world);
}

/// Two machines that refer a caller to each other end some day.
#[test]
fn referrals_in_a_circle_have_an_end() {
    let mut setup = Setup::new(17);
    setup.plane.shards = 1;
    let refers =
        Manner::answering(ms(100)).after_answer(ms(200), Action::Refer(TARGET.to_owned(), false));
    let mut world = world(&setup, [Manner::default(), refers.clone(), refers]);
    let caller = dial(&mut world, 1);
    world.run_for(60 * SECOND);
    assert_eq!(world.agents[2].calls.len(), 20);
    let last = target(&world);
    assert_eq!(notified(&world, last), ["100 Trying", "603 Decline"]);
    assert!(!world.call(caller).is_over() && !world.call(last).is_over());
    world.act(caller, Action::HangUp);
    nothing_left(&mut world);
}

/// The referrer has two calls, one of each kind, and joins their other sides. Legs of one and of
/// several shards.
#[test]
fn an_attended_transfer_joins_the_two_other_sides() {
    // Who the referrer was to the first, and whom it refers.
    for (seed, shards, by_callee, first) in [
        (21, 1, false, true),
        (22, 3, false, true),
        (23, 3, false, false),
        (24, 3, true, true),
        (25, 3, true, false),
        (26, 3, false, true),
        (27, 3, true, true),
    ] {
        let mut setup = Setup::new(seed);
        setup.plane.shards = shards;
        let mut world = world(&setup, phones(Manner::default()));
        let (from, stays) = standing(&mut world, by_callee);
        world.act(from, Action::Reinvite(sdp::Direction::SendOnly));
        world.run_for(SECOND);
        let second = world.dial(from.agent, &consult());
        world.run_for(3 * SECOND);
        let c = target(&world);
        let (tells, named) = if first { (from, second) } else { (second, from) };
        let name = world.call(named).replaces();
        let to =
            format!("sip:who@elsewhere.example;method=INVITE?Require=replaces&Replaces={name}");
        refer(&mut world, tells, &to);
        world.run_for(2 * SECOND);
        assert_eq!(answers(&world, tells), [202]);
        assert_eq!(notified(&world, tells), ["100 Trying", "200 OK"], "seed {seed}");
        assert!(world.call(from).is_over() && world.call(second).is_over());
        assert!(!world.call(stays).is_over() && !world.call(c).is_over(), "seed {seed}");
        let mine = (stays, voice(by_callee));
        assert!(hear_each_other(&mut world, mine, (c, TARGET_VOICE)), "seed {seed}");
        world.act(if first { c } else { stays }, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(stays).is_over() && world.call(c).is_over());
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 4, "{ends:?}");
        assert!(ends.iter().all(|end| end.cause == Cause::Normal), "{ends:?}");
        nothing_left(&mut world);
    }
}

/// A call of the referrer's to the target, for a conversation of its own.
fn consult() -> Dial {
    Dial {
        to: "sip:g1@target.example".to_owned(),
        from: "sip:referrer@phones.example".to_owned(),
        group: 1,
        stream: 70,
        ..Dial::default()
    }
}

/// A dialog that is over, of somebody else, or made up: 481 for the referrer, and its call stands.
#[test]
fn a_dialog_that_is_not_there_takes_nobodys_place() {
    let mut world = world(&Setup::new(28), phones(Manner::default()));
    let (from, stays) = standing(&mut world, true);
    let second = world.dial(from.agent, &consult());
    world.run_for(3 * SECOND);
    let name = world.call(second).replaces();
    let own = world.call(from).replaces();
    let others = world.call(stays).replaces();
    let wrong = name.replace("from-tag%3D", "from-tag%3Dx");
    let mut said = vec![];
    for name in [wrong, own, others] {
        refer(&mut world, from, &format!("sip:x@10.0.0.1?Replaces={name}"));
        world.run_for(SECOND);
        said.extend(["100 Trying", "481 Call/Transaction Does Not Exist"]);
        assert_eq!(notified(&world, from), said);
    }
    world.act(second, Action::HangUp);
    world.run_for(SECOND);
    refer(&mut world, from, &format!("sip:x@10.0.0.1?Replaces={name}"));
    world.run_for(SECOND);
    said.extend(["100 Trying", "481 Call/Transaction Does Not Exist"]);
    assert_eq!(notified(&world, from), said);
    assert!(hear_each_other(&mut world, (stays, 2), (from, 3)));
    world.act(stays, Action::HangUp);
    nothing_left(&mut world);
}

/// Messages that no phone of ours writes.
#[test]
fn a_broken_referral_is_refused() {
    let mut world = routed(&one_shard(29), Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let route = StaticRoute { transfer: true, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let parties = call(&mut world, &log, "broken", ("0", "0"));
    let a = parties.a;
    for (cseq, more, code) in [
        (2, "", 400),
        (3, "Refer-To: <sip:x@y>\nRefer-To: <sip:z@y>\n", 400),
        (4, "Refer-To: x\n", 400),
        (5, "Refer-To: <sip:x@y>, <sip:x@z>\n", 400),
        (6, "Refer-To: <sip:g2@10.0.0.1;method=MESSAGE>\n", 603),
        (7, "Require: multiple-refer\nRefer-To: <sip:x@y>\n", 420),
        (8, "Refer-To: sip:x@y, sip:x@z\n", 400),
        (9, "Refer-To: +14155550100\n", 400),
        (10, "Refer-To: http://www.ietf.org\n", 416),
    ] {
        send(&mut world, A, &a.request("REFER", cseq, more, &empty()));
        let answer = log.last(A, "SIP/2.0", &format!("CSeq: {cseq} REFER"));
        assert_eq!(answer[8..11], code.to_string(), "{more}");
    }
    // Without brackets, as some write it; its NOTIFY goes unanswered.
    let plain = "r: sip:g2@10.0.0.1;method=INVITE\n";
    send(&mut world, A, &a.request("REFER", 18, plain, &empty()));
    let accepted = log.last(A, "SIP/2.0 202", "18 REFER");
    assert_ne!(header(&accepted, "Contact"), "", "a target for SUBSCRIBE");
    let notify = log.last(A, "NOTIFY", "");
    assert_eq!(header(&notify, "Event"), "refer;id=18");
    assert!(header(&notify, "Subscription-State").starts_with("active"));
    assert_eq!(header(&notify, "Content-Type"), "message/sipfrag;version=2.0");
    assert_eq!(header(&notify, "Content-Length"), "20", "with its line end");
    send(&mut world, A, &a.reply(&notify, "481 Gone", "", &body("", "")));
    let second = log.all(B, "INVITE", "").pop().unwrap();
    assert!(second.starts_with("INVITE sip:g2@"), "{second}");
    assert_eq!(header(&second, "Referred-By"), "<sip:a@example.com>");
    assert_eq!(header(&second, "From").split(';').next(), Some("<sip:g1@10.0.0.1>"));
    let b2 = crate::by_hand::Hand::callee(&second, "b2");
    send(&mut world, B, &b2.reply(&second, "486 Busy", "", &empty()));
    assert_eq!(log.all(A, "NOTIFY", "").len(), 1, "whoever has no subscription is told nothing");
    send(&mut world, A, &a.request("BYE", 29, "", &empty()));
    let bye = log.last(B, "BYE", "");
    send(&mut world, B, &parties.b.reply(&bye, "200 OK", "", &empty()));
    assert_eq!(count(&world, Counter::LegPanicked), 0);
    assert!(manual(&mut world).told.len() > 4);
    crate::by_hand::nothing_left(&mut world);
}

/// Outside of a dialog nobody is referred.
#[test]
fn a_referral_outside_of_a_dialog_is_refused() {
    let mut world = world(&Setup::new(30), phones(Manner::default()));
    let text = "REFER sip:g1@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.1.0.77:5060;branch=z9hG4bKr\n\
        Max-Forwards: 70\nFrom: <sip:x@y>;tag=1\nTo: <sip:g1@10.0.0.1>\nCall-ID: r\n\
        CSeq: 1 REFER\nContact: <sip:x@10.1.0.77>\nRefer-To: <sip:g1@target.example>\n\
        Content-Length: 0\n\n";
    crate::common::raw(&mut world, "10.1.0.77:5060".parse().unwrap(), text);
    world.run_for(Duration::from_secs(2));
    assert!(world.agents[2].calls.is_empty());
    nothing_left(&mut world);
}
