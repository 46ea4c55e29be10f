//! Referrals that the controlplane has a say in: a REFER of ours and what is said of it; a referrer
//! that is told and left while whoever it referred goes its own way.

use base::{CallId, LegId};
use wire::counter::Counter;
use wire::{Command, Event, Originate};
use world::control::encode;
use world::{Action, Manner, Manual, Setup, World};

use crate::by_hand::{self, A, Hand, Log, body, described, empty, header, one_shard};
use crate::common::{
    SECOND, answered, count, dial, ends, incoming, manual, ms, nothing_left, originate, send,
};

/// What the controlplane was told of a REFER.
fn said(world: &mut World) -> Vec<(u16, u16)> {
    let told = manual(world).told.iter();
    let of = |told: &world::Told| match told.event() {
        Event::ReferSaid { code, notified, .. } => Some((code, notified)),
        _ => None,
    };
    told.filter_map(of).collect()
}

#[test]
fn a_far_end_is_referred_and_says_what_came_of_it() {
    let mut world = answered(&one_shard(1), Manner::silent());
    let log = Log::new(&mut world, &[A]);
    let mut a = Hand::caller("out");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 1, "", &offer));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    let (_, call, _) = incoming(&mut world)[0];
    let fragment = |line: &str| body("message/sipfrag;version=2.0", &format!("SIP/2.0 {line}\n"));
    let state = |state: &str| format!("Event: refer\nSubscription-State: {state}\n");
    // Nothing was asked yet.
    let early = a.request("NOTIFY", 2, &state("active"), &fragment("100 Trying"));
    by_hand::send(&mut world, A, &early);
    log.last(A, "SIP/2.0 481", "2 NOTIFY");
    for (round, refused) in [(0, false), (1, true), (2, false)] {
        log.clear();
        let refer = Command::Refer { call, to: "sip:carol@elsewhere.example?X-A=b" };
        send(&mut world, 0, &refer);
        send(&mut world, 0, &refer);
        let refer = log.last(A, "REFER", "");
        assert_eq!(header(&refer, "Refer-To"), "<sip:carol@elsewhere.example?X-A=b>");
        assert!(header(&refer, "Contact").starts_with("<sip:tandem@"), "{refer}");
        assert_eq!(log.all(A, "REFER", "").len(), 1, "said again it is the same");
        let status = if refused { "603 Decline" } else { "202 Accepted" };
        by_hand::send(&mut world, A, &a.reply(&refer, status, "", &empty()));
        let cseq = 10 * (round + 1);
        for (at, what, line) in
            [(0, "active;expires=60", "180 Ringing"), (1, "terminated", "486 Busy Here")]
        {
            let notify = a.request("NOTIFY", cseq + at, &state(what), &fragment(line));
            by_hand::send(&mut world, A, &notify);
            let code = if refused { 481 } else { 200 };
            log.last(A, &format!("SIP/2.0 {code}"), &format!("{} NOTIFY", cseq + at));
        }
    }
    assert_eq!(said(&mut world), [(202, 0), (0, 486), (603, 0), (202, 0), (0, 486)]);
    // What is no URI goes to nobody.
    send(&mut world, 0, &Command::Refer { call, to: "sip:a@b>\r\nX: y" });
    assert_eq!(said(&mut world).last(), Some(&(400, 0)));
    by_hand::send(&mut world, A, &a.request("BYE", 90, "", &empty()));
    by_hand::nothing_left(&mut world);
    assert_eq!(count(&world, Counter::LegPanicked), 0);
}

/// The controlplane takes whoever is left elsewhere: the referrer hears 200 and BYE, and nobody
/// else ends.
#[test]
fn whoever_is_left_goes_its_own_way() {
    for (seed, by_callee, quiet) in
        [(2, true, false), (3, false, false), (4, true, true), (5, false, true)]
    {
        let mut world = World::new(&Setup::new(seed));
        world.agent(Manner::default());
        world.agent(Manner::default());
        let callee = world.address(1);
        let mut own = (0, CallId::NONE, LegId::NONE);
        let child = CallId(1 << 64 | 1);
        let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
            let next = (own.0 + 1) % 3;
            match told.event() {
                Event::Incoming(incoming) => {
                    let call = incoming.call;
                    own = (told.shard, call, incoming.leg);
                    let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
                    commands.push((told.shard, encode(&accept)));
                    let wish = originate(child, callee, incoming.uri);
                    let wish = Originate { peer: incoming.leg, parent: call, ..wish };
                    commands.push(((told.shard + 1) % 3, encode(&Command::Originate(wish))));
                }
                Event::Refer { call, peer, .. } => {
                    let other = if peer == own.2 { (own.0, own.1) } else { (next, child) };
                    commands.push((other.0, encode(&Command::Part { call: other.1 })));
                    let told_of = Command::Referred { call, code: 200, binds: false };
                    commands.push((told.shard, encode(&told_of)));
                }
                _ => {}
            }
        });
        world.control = Some(Box::new(manual));
        let caller = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        let (from, stays) = if by_callee { (callee, caller) } else { (caller, callee) };
        world.act(from, Action::Refer("sip:g1@target.example".to_owned(), quiet));
        world.run_for(2 * SECOND);
        let heard: Vec<&str> =
            world.call(from).seen.notified.iter().map(|line| &line["SIP/2.0 ".len()..]).collect();
        let expected = if quiet { vec![] } else { vec!["100 Trying", "200 OK"] };
        assert_eq!(heard, expected, "seed {seed}");
        assert!(world.call(from).is_over() && world.call(from).seen.ended_by_peer);
        world.run_for(200 * SECOND);
        assert!(!world.call(stays).is_over(), "seed {seed}");
        world.act(stays, Action::HangUp);
        nothing_left(&mut world);
        assert_eq!(ends(&mut world).len(), 2);
    }
}

/// It hangs up before the controlplane has said how it goes on (RFC 5589 has it so), and a target
/// is waited for that nobody dials: from then on whoever is left stands by itself, as long as it
/// likes.
#[test]
fn whoever_is_left_stands_however_late_that_is_said() {
    for by_callee in [true, false] {
        let mut world = World::new(&Setup::new(6));
        world.agent(Manner::default());
        world.agent(Manner::default());
        let callee = world.address(1);
        let child = CallId(1 << 64 | 1);
        let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
            let Event::Incoming(incoming) = told.event() else { return };
            let call = incoming.call;
            let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
            commands.push((told.shard, encode(&accept)));
            let wish = originate(child, callee, incoming.uri);
            let wish = Originate { peer: incoming.leg, parent: call, ..wish };
            commands.push(((told.shard + 1) % 3, encode(&Command::Originate(wish))));
        });
        world.control = Some(Box::new(manual));
        let caller = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        let (from, stays) = if by_callee { (callee, caller) } else { (caller, callee) };
        world.act(from, Action::Refer("sip:g1@target.example".to_owned(), false));
        world.run_for(ms(200));
        world.act(from, Action::HangUp);
        world.run_for(5 * SECOND);
        assert!(!world.call(stays).is_over());
        let named = manual_told(&mut world);
        let (shard, call) = if by_callee { (named[0].0, named[0].1) } else { (named[1].0, child) };
        send(&mut world, shard, &Command::Part { call });
        world.run_for(200 * SECOND);
        assert!(!world.call(stays).is_over(), "by callee: {by_callee}");
        world.act(stays, Action::HangUp);
        nothing_left(&mut world);
        assert_eq!(ends(&mut world).len(), 2);
    }
}

/// The caller's leg and the one that was dialled: their shards and calls.
fn manual_told(world: &mut World) -> Vec<(u8, CallId)> {
    let told = manual(world).told.iter().filter_map(|told| match told.event() {
        Event::Incoming(incoming) => Some((told.shard, incoming.call)),
        Event::Dialed { call, .. } => Some((told.shard, call)),
        _ => None,
    });
    told.collect()
}
