//! What is named by an index is named by a generation too: the end of a call whose INVITE
//! transaction is long gone disturbs nobody, and what counts against a route is the route's,
//! wherever it stands in the table.

use std::time::Duration;

use wire::table::{StaticRoute, Table};
use world::{Action, Manner, Setup, World};

use crate::by_hand::{self, A, B, Call, Hand, Log, described, empty, header, one_shard, packet};
use crate::common::{SECOND, dial, ms, publish, route_to, routed};

const TRANSACTIONS: u32 = 8;

/// A call of more than 64 T1 on a shard with few transactions, all of which were used since.
fn long_call(seed: u64, turns: u32) -> (World, Log, Call) {
    let mut setup = one_shard(seed);
    setup.plane.transactions = TRANSACTIONS;
    setup.plane.timers.session = Duration::ZERO;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let call = by_hand::call(&mut world, &log, "long", ("0", "0"));
    for seq in 0..40 {
        packet(&mut world, "10.1.0.1:4000", call.ports.0, (seq, 1));
        packet(&mut world, "10.1.0.2:5000", call.ports.1, (seq, 2));
        world.run_for(SECOND);
    }
    assert_eq!(world.plane.lanes[0].shard.transactions(), 0, "its own are gone");
    for cseq in 10..10 + turns {
        by_hand::send(&mut world, A, &call.a.request("INFO", cseq, "", &empty()));
    }
    (world, log, call)
}

/// Another caller's ringing call, whichever places of the tables it has got.
fn another(world: &mut World, log: &Log) -> (Hand, Hand, String) {
    let mut other = Hand::caller("other");
    other.from = "<sip:other@example.com>;tag=other".to_owned();
    let invite = by_hand::ask(world, log, &other, "0");
    let b = Hand::callee(&invite, "b2");
    by_hand::send(world, B, &b.reply(&invite, "180 Ringing", "", &empty()));
    log.last(A, "SIP/2.0 180", "Call-ID: other");
    (other, b, invite)
}

/// Every place of the table that the other call's INVITEs may have.
#[test]
fn the_end_of_a_long_call_disturbs_no_other_call() {
    for turns in 0..TRANSACTIONS {
        for by_callee in [false, true] {
            let (mut world, log, call) = long_call(1, turns);
            let (other, b, invite) = another(&mut world, &log);
            let end = if by_callee { &call.b } else { &call.a };
            by_hand::send(&mut world, end.address, &end.request("BYE", 100, "", &empty()));
            log.last(end.address, "SIP/2.0 200", "100 BYE");
            by_hand::send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
            log.last(A, "SIP/2.0 486", "Call-ID: other");
            log.last(B, "ACK", &format!("Call-ID: {}", b.call_id));
            by_hand::send(&mut world, A, &other.request("ACK", 1, "", &empty()));
        }
    }
}

/// The same, and the other caller gives up.
#[test]
fn the_end_of_a_long_call_takes_no_cancel_from_another() {
    for turns in 0..TRANSACTIONS {
        let (mut world, log, call) = long_call(2, turns);
        let (other, b, invite) = another(&mut world, &log);
        by_hand::send(&mut world, A, &call.a.request("BYE", 100, "", &empty()));
        let text = other.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0"));
        let cancel = text.split("Content-Type").next().unwrap().to_owned() + &empty();
        let cancel = cancel.replace("1 INVITE", "1 CANCEL").replace("INVITE sip", "CANCEL sip");
        by_hand::send(&mut world, A, &cancel);
        log.last(A, "SIP/2.0 487", "Call-ID: other");
        let onward = log.last(B, "CANCEL", &b.call_id);
        assert_eq!(header(&onward, "Via"), header(&invite, "Via"), "{turns}");
    }
}

/// Late repetitions of what is over do nothing to what has its place now.
#[test]
fn an_answer_to_a_request_that_is_gone_is_nobodys() {
    for turns in 0..TRANSACTIONS {
        let (mut world, log, call) = long_call(3, turns);
        let (_, b, invite) = another(&mut world, &log);
        let was = invite.replace(&b.call_id, &call.b.call_id);
        let late = call.b.reply(&was, "603 Decline", "", &empty());
        let branch = header(&invite, "Via").split("branch=").nth(1).unwrap();
        let branch = branch.split(';').next().unwrap();
        let stale = format!("{}x", &branch[..branch.len() - 1]);
        by_hand::send(&mut world, B, &late.replace(branch, &stale));
        let refused = log.all(A, "SIP/2.0 6", "");
        assert!(refused.is_empty(), "{refused:?}");
        by_hand::send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
        log.last(A, "SIP/2.0 486", "Call-ID: other");
    }
}

/// Two routes by prefix, each for one call.
fn routes(world: &World) -> [StaticRoute; 2] {
    ["a", "b"].map(|prefix| StaticRoute {
        prefix: prefix.to_owned(),
        calls_max: 1,
        ..route_to(world, &[1])
    })
}

fn code(world: &mut World, prefix: &str, group: u32) -> (u16, world::CallRef) {
    let to = format!("sip:{prefix}{group}@example.com");
    let call = world.dial(0, &world::Dial { to, ..crate::common::to(group) });
    world.run_for(3 * SECOND);
    (world.call(call).seen.code, call)
}

#[test]
fn the_limits_of_a_route_follow_it_through_a_table_in_another_order() {
    let mut world = routed(&one_shard(4), Manner::default(), vec![Manner::answering(ms(100))]);
    let [a, b] = routes(&world);
    publish(
        &mut world,
        &Table { routes: vec![a.clone(), b.clone()], admission: None, ..Table::default() },
    );
    let (answered, standing) = code(&mut world, "a", 1);
    assert_eq!(answered, 200);
    assert_eq!(code(&mut world, "a", 2).0, 503, "one at a time");

    let unused = StaticRoute { prefix: "zzz".to_owned(), ..a.clone() };
    publish(
        &mut world,
        &Table { routes: vec![unused, b.clone(), a.clone()], admission: None, ..Table::default() },
    );
    assert_eq!(code(&mut world, "a", 3).0, 503, "its call still stands");
    let (answered, of_b) = code(&mut world, "b", 4);
    assert_eq!(answered, 200, "the other one is free");
    assert_eq!(code(&mut world, "b", 5).0, 503);

    publish(&mut world, &Table { routes: vec![a.clone(), b], admission: None, ..Table::default() });
    world.act(standing, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(code(&mut world, "b", 6).0, 503, "the end of a's call frees nothing of b");
    let (answered, again) = code(&mut world, "a", 7);
    assert_eq!(answered, 200);
    // Its limits may change while it stands.
    publish(
        &mut world,
        &Table {
            routes: vec![StaticRoute { calls_max: 2, ..a }],
            admission: None,
            ..Table::default()
        },
    );
    let (answered, second) = code(&mut world, "a", 8);
    assert_eq!(answered, 200);
    for call in [of_b, again, second] {
        world.act(call, Action::HangUp);
    }
    crate::common::nothing_left(&mut world);
}

/// A table without the route does not end its calls, and their end is counted for nobody.
#[test]
fn a_route_that_is_gone_leaves_its_calls_alone() {
    let mut world = routed(&Setup::new(5), Manner::default(), vec![Manner::default()]);
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    publish(&mut world, &Table::default());
    world.run_for(5 * SECOND);
    assert!(!world.call(call).is_over());
    let [a, _] = routes(&world);
    publish(&mut world, &Table { routes: vec![a], admission: None, ..Table::default() });
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).seen.byes, 1, "the call is over on both legs");
    crate::common::nothing_left(&mut world);
}
