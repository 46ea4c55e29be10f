//! Targets that are asked by OPTIONS whether they live, and those that say for how long they are
//! not there.

use std::time::Duration;

use wire::counter::Counter;
use wire::event::{Event, OutWhy, TargetNews};
use wire::policy::RoutePolicy;
use wire::table::{StaticRoute, Table};
use world::{Manner, Setup, World};

use crate::by_hand::{self, A, B, Hand, Log, empty, header, one_shard};
use crate::common::{SECOND, count, manual, ms, publish, route_to, routed};

const C: &str = "10.1.0.3:5060";

/// A route to B, then C, whose targets are asked each 30 s; all in the test's hands.
fn asked(setup: &Setup, health_s: u16) -> (World, Log) {
    let manner = Manner::silent;
    let mut world = routed(setup, manner(), vec![manner(), manner()]);
    let log = Log::new(&mut world, &[A, B, C]);
    let policy = RoutePolicy { name: "t".to_owned(), health_s, ..RoutePolicy::default() };
    let route = StaticRoute { policy, ..route_to(&world, &[1, 2]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    (world, log)
}

/// Answers what each was asked, for so long.
fn live(world: &mut World, log: &Log, lasts: Duration, statuses: [&'static str; 2]) {
    let mut at = Duration::ZERO;
    while at < lasts {
        world.run_for(ms(200));
        at += ms(200);
        for (host, status) in [B, C].into_iter().zip(statuses) {
            for options in log.all(host, "OPTIONS", "") {
                let hand = Hand { address: host, ..Hand::callee(&options, "o") };
                if !status.is_empty() {
                    by_hand::send(world, host, &hand.reply(&options, status, "", &empty()));
                    at += ms(40);
                }
            }
        }
        log.clear();
    }
}

fn news(world: &mut World) -> Vec<TargetNews> {
    let told = manual(world).told.iter();
    told.filter_map(|told| match told.event() {
        Event::Target(news) => Some(news),
        _ => None,
    })
    .collect()
}

/// Who is asked first by a call.
fn first(world: &mut World, log: &Log, call_id: &str) -> &'static str {
    log.clear();
    let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(world, A, &Hand::caller(call_id).request("INVITE", 1, "", &offer));
    let at = [B, C].into_iter().find(|host| !log.all(host, "INVITE", "").is_empty());
    let at = at.expect("somebody is asked");
    let invite = log.last(at, "INVITE", "");
    let hand = Hand { address: at, ..Hand::callee(&invite, "x") };
    by_hand::send(world, at, &hand.reply(&invite, "486 Busy", "", &empty()));
    at
}

#[test]
fn a_target_that_does_not_answer_options_is_asked_last_until_it_does() {
    let (mut world, log) = asked(&one_shard(1), 30);
    live(&mut world, &log, 40 * SECOND, ["200 OK", "404 Not Found"]);
    assert_eq!(first(&mut world, &log, "one"), B);
    assert!(news(&mut world).is_empty(), "whatever it says, it lives");
    live(&mut world, &log, 75 * SECOND, ["", "200 OK"]);
    let told = news(&mut world);
    let out = told[0].out.expect("it is out");
    assert_eq!((told.len(), out.why), (1, OutWhy::Unhealthy));
    assert_eq!(told[0].target.address, B.parse().unwrap());
    assert_eq!(first(&mut world, &log, "two"), C);
    assert!(count(&world, Counter::HealthSilent) >= 2);
    assert!(count(&world, Counter::HealthAsked) >= 6);
    live(&mut world, &log, 40 * SECOND, ["405 Method Not Allowed", "200 OK"]);
    assert_eq!(news(&mut world).last().unwrap().out, None);
    assert_eq!(first(&mut world, &log, "three"), B);
    assert_eq!(count(&world, Counter::TargetWentOut), 1);
    assert_eq!(count(&world, Counter::TargetCameBack), 1);
    by_hand::nothing_left(&mut world);
}

#[test]
fn one_503_to_options_is_enough_and_all_out_is_no_refusal() {
    let (mut world, log) = asked(&one_shard(2), 10);
    live(&mut world, &log, 12 * SECOND, ["503 Full", "200 OK"]);
    assert_eq!(first(&mut world, &log, "one"), C);
    live(&mut world, &log, 12 * SECOND, ["503 Full", "503 Full"]);
    assert_eq!(count(&world, Counter::TargetOut), 2);
    first(&mut world, &log, "two");
    // It flaps: out and in once a turn at most, however long.
    for _ in 0..10 {
        live(&mut world, &log, 11 * SECOND, ["200 OK", "200 OK"]);
        live(&mut world, &log, 11 * SECOND, ["503 Full", "200 OK"]);
    }
    let turns = count(&world, Counter::TargetWentOut);
    assert!((5..=16).contains(&turns), "{turns}");
}

/// One shard asks, all of them know.
#[test]
fn each_target_is_asked_by_one_shard_and_all_of_them_hear() {
    let mut setup = Setup::new(3);
    setup.plane.shards = 3;
    let (mut world, log) = asked(&setup, 10);
    world.run_for(10 * SECOND);
    assert_eq!(log.all(B, "OPTIONS", "").len().min(1), 1);
    let call_ids: std::collections::BTreeSet<String> =
        log.all(B, "OPTIONS", "").iter().map(|it| header(it, "Call-ID").to_owned()).collect();
    assert!(call_ids.len() <= 2, "of one shard: {call_ids:?}");
    live(&mut world, &log, 25 * SECOND, ["503 Full", "200 OK"]);
    assert_eq!(count(&world, Counter::TargetOut), 3, "each shard knows");
    for call in ["a", "b", "c", "d", "e"] {
        assert_eq!(first(&mut world, &log, call), C);
    }
}

#[test]
fn a_target_is_out_for_as_long_as_its_retry_after_says_within_an_hour() {
    for (said, lasts) in [("2", 2), ("120 (soon)", 120), ("4294967295", 3_600), ("0", 1)] {
        let (mut world, log) = asked(&one_shard(4), 0);
        let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
        by_hand::send(&mut world, A, &Hand::caller("r").request("INVITE", 1, "", &offer));
        let invite = log.last(B, "INVITE", "");
        let b = Hand::callee(&invite, "b");
        let more = format!("Retry-After: {said}\n");
        by_hand::send(&mut world, B, &b.reply(&invite, "503 Full", &more, &empty()));
        let next = log.last(C, "INVITE", "");
        let c = Hand { address: C, ..Hand::callee(&next, "c") };
        by_hand::send(&mut world, C, &c.reply(&next, "486 Busy", "", &empty()));
        let out = news(&mut world)[0].out.expect("it is out");
        assert_eq!(out.why, OutWhy::Unavailable);
        assert!((lasts - 1..=lasts).contains(&u64::from(out.seconds)), "{said}: {}", out.seconds);
        if lasts > 1 {
            assert_eq!(first(&mut world, &log, "while"), C, "{said}");
        }
        world.run_for(Duration::from_secs(lasts));
        assert_eq!(first(&mut world, &log, "then"), B, "{said}");
        assert_eq!(news(&mut world).last().unwrap().out, None);
        by_hand::nothing_left(&mut world);
    }
}

/// Another shard's share, another trunk's: a 503 of one says nothing of the other's.
#[test]
fn what_one_trunk_knows_of_a_target_is_not_anothers() {
    let (mut world, log) = asked(&one_shard(5), 0);
    let named = |name: &str, prefix: &str, world: &World| StaticRoute {
        prefix: prefix.to_owned(),
        policy: RoutePolicy { name: name.to_owned(), ..RoutePolicy::default() },
        ..route_to(world, &[1, 2])
    };
    let routes = vec![named("one", "", &world), named("two", "2", &world)];
    publish(&mut world, &Table { routes, ..Table::default() });
    let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &Hand::caller("r").request("INVITE", 1, "", &offer));
    let invite = log.last(B, "INVITE", "");
    let b = Hand::callee(&invite, "b");
    by_hand::send(&mut world, B, &b.reply(&invite, "503 Full", "Retry-After: 60\n", &empty()));
    assert_eq!(first(&mut world, &log, "same"), C);
    log.clear();
    let other = Hand::caller("other").request("INVITE", 1, "", &offer);
    by_hand::send(&mut world, A, &other.replace("sip:g1@10.0.0.1 SIP", "sip:2@10.0.0.1 SIP"));
    log.last(B, "INVITE", "");
}
