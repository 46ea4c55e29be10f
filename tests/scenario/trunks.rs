//! Several trunks for one number: which comes first, and which next when one is full, closed, or
//! all its targets have failed.

use std::collections::BTreeMap;

use wire::counter::Counter;
use wire::policy::{Failover, RoutePolicy};
use wire::table::{StaticRoute, Table};
use world::{Action, CallRef, Manner, Setup, World};

use crate::by_hand::one_shard;
use crate::common::{SECOND, count, ends, ms, nothing_left, publish, route_to, routed};
use crate::raw::{header, last, reply, tap};
use crate::strangers::send;

/// A trunk of this name to this agent.
fn trunk(world: &World, name: &str, prefix: &str, agent: usize) -> StaticRoute {
    let policy = RoutePolicy { name: name.to_owned(), ..RoutePolicy::default() };
    StaticRoute { prefix: prefix.to_owned(), policy, ..route_to(world, &[agent]) }
}

fn ranked(route: StaticRoute, change: impl FnOnce(&mut RoutePolicy)) -> StaticRoute {
    let mut route = route;
    change(&mut route.policy);
    route
}

fn world_of(seed: u64, callees: Vec<Manner>) -> World {
    routed(&one_shard(seed), Manner::default(), callees)
}

fn table(world: &mut World, routes: Vec<StaticRoute>) {
    publish(world, &Table { routes, ..Table::default() });
}

/// Dials and waits; the status, and which agent has answered.
fn dial(world: &mut World, to: &str, group: u32) -> (u16, Option<usize>, CallRef) {
    let to = format!("sip:{to}@example.com");
    let before: Vec<usize> = world.agents.iter().map(|agent| agent.calls.len()).collect();
    let call = world.dial(0, &world::Dial { to, ..crate::common::to(group) });
    world.run_for(3 * SECOND);
    let answered = |agent: &usize| {
        let mut new = world.agents[*agent].calls[before[*agent]..].iter();
        new.any(|call| call.seen.code == 200)
    };
    let by = (1..world.agents.len()).find(answered);
    (world.call(call).seen.code, by, call)
}

fn quick() -> Manner {
    Manner::answering(ms(100))
}

#[test]
fn the_longest_prefix_comes_first_whatever_the_order() {
    let mut world = world_of(1, vec![quick(), quick(), quick()]);
    let routes = vec![
        trunk(&world, "any", "", 1),
        trunk(&world, "berlin", "+4930", 3),
        trunk(&world, "germany", "+49", 2),
    ];
    table(&mut world, routes);
    let group = |at: usize| u32::try_from(at).unwrap() + 1;
    for (at, (to, by)) in
        [("+441", 1), ("+4930555", 3), ("%2B4989555", 2), ("+49-30-5", 3), ("bob", 1)]
            .into_iter()
            .enumerate()
    {
        let (code, answered, call) = dial(&mut world, to, group(at));
        assert_eq!((code, answered), (200, Some(by)), "{to}");
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

#[test]
fn a_trunk_whose_targets_all_fail_gives_way_to_the_next_and_the_callee_to_nobody() {
    for (code, goes_on) in [(503, true), (500, true), (486, false), (404, false), (603, false)] {
        let mut world = world_of(2, vec![Manner::refusing(code), quick(), quick()]);
        let routes = vec![
            ranked(trunk(&world, "second", "", 2), |it| it.priority = 2),
            ranked(trunk(&world, "first", "", 1), |it| it.priority = 1),
            // Whoever pays does not change with the route.
            StaticRoute { account: 8, ..trunk(&world, "other", "", 3) },
        ];
        let routes = routes.into_iter().map(|it| match it.account {
            8 => ranked(it, |it| it.priority = 9),
            _ => it,
        });
        let routes = routes.collect();
        table(&mut world, routes);
        let (seen, by, call) = dial(&mut world, "1", 1);
        if goes_on {
            assert_eq!((seen, by), (200, Some(2)), "{code}");
            assert_eq!(count(&world, Counter::RouteAdvanced), 1);
            world.act(call, Action::HangUp);
        } else {
            assert_eq!((seen, by), (code, None));
        }
        assert!(world.agents[3].calls.is_empty());
        nothing_left(&mut world);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), if goes_on { 3 } else { 2 }, "one CDR a leg");
        assert_eq!(ends.iter().filter(|end| end.billed_ms > 0).count(), 2 * usize::from(goes_on));
    }
}

#[test]
fn a_trunks_own_list_says_what_a_failure_is() {
    let mut world = world_of(3, vec![Manner::refusing(480), quick()]);
    for (at, codes) in [&[][..], &[480, 403]].into_iter().enumerate() {
        let failover = codes.iter().fold(Failover::NONE, |known, code| known.with(*code).unwrap());
        let routes = vec![
            ranked(trunk(&world, "first", "", 1), |it| it.failover = failover),
            trunk(&world, "second", "", 2),
        ];
        table(&mut world, routes);
        let (code, _, call) = dial(&mut world, "1", u32::try_from(at).unwrap() + 1);
        assert_eq!(code, [480, 200][at]);
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

#[test]
fn a_full_trunk_gives_way_and_comes_back() {
    let mut world = world_of(4, vec![quick(), quick()]);
    let full = StaticRoute { calls_max: 1, ..trunk(&world, "first", "", 1) };
    let routes = vec![full.clone(), StaticRoute { calls_max: 1, ..trunk(&world, "next", "", 2) }];
    table(&mut world, routes.clone());
    let (_, by, first) = dial(&mut world, "1", 1);
    assert_eq!(by, Some(1));
    let (_, by, second) = dial(&mut world, "1", 2);
    assert_eq!(by, Some(2));
    assert_eq!(dial(&mut world, "1", 3).0, 503, "both are full");
    // The handles keep naming the same trunks, whatever their places are.
    let routes = vec![trunk(&world, "new", "77", 1), routes[1].clone(), full];
    table(&mut world, routes);
    world.act(second, Action::HangUp);
    world.run_for(SECOND);
    let (_, by, third) = dial(&mut world, "1", 4);
    assert_eq!(by, Some(2), "the one that became free");
    for call in [first, third] {
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

#[test]
fn weights_share_the_calls_and_zero_is_for_the_rest() {
    let mut world = world_of(5, vec![quick(), quick(), quick()]);
    let with = |world: &World, weights: [u16; 3]| -> Vec<StaticRoute> {
        let of = |(agent, weight): (usize, u16)| {
            ranked(trunk(world, &agent.to_string(), "", agent), |it| it.weight = weight)
        };
        (1..).zip(weights).map(of).collect()
    };
    let mut group = 0;
    let mut spread = |world: &mut World, calls: u32| {
        let mut by = BTreeMap::new();
        for _ in 0..calls {
            group += 1;
            let (_, answered, call) = dial(world, "1", group);
            *by.entry(answered.expect("answered")).or_insert(0) += 1;
            world.act(call, Action::HangUp);
        }
        by
    };
    let routes = with(&world, [30, 10, 0]);
    table(&mut world, routes);
    let by = spread(&mut world, 80);
    assert!((45..75).contains(&by[&1]) && by[&1] + by[&2] == 80, "{by:?}");
    let routes = with(&world, [0, 0, 0]);
    table(&mut world, routes);
    assert_eq!(spread(&mut world, 5), BTreeMap::from([(1, 5)]), "as written");
    nothing_left(&mut world);
}

#[test]
fn the_cheaper_trunk_and_the_open_one_come_first() {
    let mut world = world_of(6, vec![quick(), quick(), quick()]);
    let by_cost = |route: StaticRoute, cost: u32| {
        ranked(route, |it| (it.by_cost, it.cost, it.priority) = (true, cost, 9))
    };
    // Open on another day than this one.
    let day = (world.now.wall.seconds() / 86_400 + 3) % 7;
    let hours = wire::policy::Hours { days: 1 << ((day + 3) % 7), from: 0, until: 60 };
    let routes = vec![
        by_cost(trunk(&world, "dear", "", 1), 7),
        by_cost(trunk(&world, "cheap", "", 2), 3),
        ranked(by_cost(trunk(&world, "closed", "", 3), 1), |it| it.hours = vec![hours]),
    ];
    table(&mut world, routes);
    let (_, by, call) = dial(&mut world, "1", 1);
    assert_eq!(by, Some(2));
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_trunk_whose_targets_are_out_is_passed_over_and_tried_where_all_are() {
    let mut world = world_of(7, vec![Manner::silent(), quick()]);
    let routes = vec![trunk(&world, "dead", "1", 1), trunk(&world, "alive", "", 2)];
    table(&mut world, routes);
    let (code, _, first) = dial(&mut world, "1", 1);
    assert_eq!(code, 0, "it waits for the one that says nothing");
    world.run_for(3 * SECOND);
    assert_eq!(world.call(first).seen.code, 200);
    assert_eq!(world.agents[1].calls.len(), 1);
    let (code, by, second) = dial(&mut world, "1", 2);
    assert_eq!((code, by), (200, Some(2)));
    assert_eq!(world.agents[1].calls.len(), 1, "passed over at once");
    // Now both are out: the least bad one is asked all the same.
    world.agents[2].manner = Manner::silent();
    world.dial(0, &world::Dial { to: "sip:1@example.com".to_owned(), ..crate::common::to(3) });
    world.run_for(8 * SECOND);
    world.agents[1].manner = quick();
    world.agents[2].manner = quick();
    let (code, _, third) = dial(&mut world, "1", 4);
    assert_eq!(code, 200, "rather than refused");
    for call in [first, second, third] {
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

#[test]
fn numbers_are_of_the_country_that_they_are_dialled_in() {
    let mut world = world_of(8, vec![quick(), quick()]);
    let home = StaticRoute { strip: 3, prepend: "0".to_owned(), ..trunk(&world, "home", "+49", 1) };
    let country = |route| ranked(route, |it| it.country = "49".to_owned());
    let abroad = ranked(country(trunk(&world, "abroad", "+", 2)), |it| {
        (it.caller_strip, it.caller_prepend) = (1, "00".to_owned());
    });
    let routes = vec![country(home), abroad];
    table(&mut world, routes);
    let mut group = 0;
    let mut called = |to: &str, from: &str| {
        group += 1;
        let to = format!("sip:{to}@example.com");
        let from = from.to_owned();
        let before: Vec<usize> = world.agents.iter().map(|agent| agent.calls.len()).collect();
        let call = world.dial(0, &world::Dial { to, from, ..crate::common::to(group) });
        world.run_for(2 * SECOND);
        world.act(call, Action::HangUp);
        let new = |agent: usize| world.agents[agent].calls.get(before[agent]);
        let seen = new(1).or_else(|| new(2)).expect("called");
        let text = seen.seen.text.replace("\r\n", "\n");
        let uri = text.split(' ').nth(1).unwrap().to_owned();
        (uri, crate::by_hand::header(&text, "From").to_owned())
    };
    let (uri, from) = called("030-555", "sip:040777@phones.example:5070");
    assert!(uri.starts_with("sip:030555@"), "{uri}");
    assert!(from.contains("sip:+4940777@phones.example:5070"), "{from}");
    let (uri, from) = called("0044123", "sip:040777@phones.example");
    assert!(uri.starts_with("sip:+44123@"), "{uri}");
    assert!(from.contains("sip:004940777@phones.example"), "{from}");
    let (_, from) = called("+44123", "sip:anonymous@anonymous.invalid");
    assert!(from.contains("sip:anonymous@anonymous.invalid"), "RFC 3323: {from}");
    nothing_left(&mut world);
}

#[test]
fn a_trunk_may_refuse_callers_who_do_not_show_themselves() {
    let mut world = world_of(9, vec![quick()]);
    let routes = vec![ranked(trunk(&world, "shy", "", 1), |it| it.refuses_anonymous = true)];
    table(&mut world, routes);
    for (group, from, code) in
        [(1, "sip:anonymous@anonymous.invalid", 433), (2, "sip:+49301@phones.example", 200)]
    {
        let from = from.to_owned();
        let call = world.dial(0, &world::Dial { from, ..crate::common::to(group) });
        world.run_for(2 * SECOND);
        assert_eq!(world.call(call).seen.code, code);
        world.act(call, Action::HangUp);
    }
    nothing_left(&mut world);
}

/// A route that refuses who hides is passed over behind one that failed, too, and one by which
/// nobody can be dialled counts as tried; without another one the caller hears what was said.
#[test]
fn what_cannot_be_followed_counts_as_tried() {
    for (has_last, from, code) in [
        (true, "sip:anonymous@anonymous.invalid", 200),
        (false, "sip:anonymous@anonymous.invalid", 480),
        (true, "sip:+49301@phones.example", 200),
    ] {
        let mut world = world_of(11, vec![Manner::refusing(503), quick(), quick()]);
        let mut shy = ranked(trunk(&world, "shy", "", 2), |it| {
            (it.refuses_anonymous, it.priority) = (true, 2);
        });
        if !from.contains("anonymous") {
            // More than the number has.
            shy = StaticRoute { strip: 40, ..ranked(shy, |it| it.refuses_anonymous = false) };
        }
        let mut routes = vec![ranked(trunk(&world, "first", "", 1), |it| it.priority = 1), shy];
        if has_last {
            routes.push(ranked(trunk(&world, "last", "", 3), |it| it.priority = 3));
        }
        table(&mut world, routes);
        let from = from.to_owned();
        let call = world.dial(0, &world::Dial { from, ..crate::common::to(1) });
        world.run_for(3 * SECOND);
        assert_eq!(world.call(call).seen.code, code);
        assert_eq!(world.agents[2].calls.len(), 0);
        assert_eq!(world.agents[3].calls.len(), usize::from(has_last));
        world.act(call, Action::HangUp);
        nothing_left(&mut world);
    }
}

/// Each target is asked by its own address, and told where we are on the way by which it is.
#[test]
fn a_target_is_asked_by_its_own_name_and_way() {
    let by_tcp = Manner { by_tcp: true, ..quick() };
    let mut world = world_of(12, vec![quick(), by_tcp]);
    let log = tap(&mut world);
    let mut route = trunk(&world, "two", "", 1);
    route.targets.push(world.target(2));
    table(&mut world, vec![route]);
    let to = "sip:1@example.com".to_owned();
    world.dial(0, &world::Dial { to, ..crate::common::to(1) });
    for (agent, more) in [(1, ""), (2, ";transport=tcp")] {
        world.run_for(ms(300));
        let at = world.address(agent).to_string();
        let invite = last(&log, &at, "INVITE", "").unwrap();
        assert!(invite.starts_with(&format!("INVITE sip:1@{at} ")), "{invite}");
        let contact = header(&invite, "Contact");
        assert!(contact.ends_with(&format!(":5060{more}>")), "{contact}");
        let transport = if agent == 1 { "UDP" } else { "TCP" };
        assert!(header(&invite, "Via").starts_with(&format!("SIP/2.0/{transport} ")), "{invite}");
        send(&mut world, &at, &reply(&invite, "503 Full", "b", "", ""));
    }
    world.run_for(SECOND);
    let first = world.address(1).to_string();
    let ack = last(&log, &first, "ACK", "").unwrap();
    assert!(ack.starts_with(&format!("ACK sip:1@{first} ")), "as its INVITE: {ack}");
}

/// The shards agree: each of three asks a share of the targets and tells the others.
#[test]
fn many_shards_route_alike() {
    let mut world =
        routed(&Setup::new(10), Manner::default(), vec![Manner::refusing(500), quick()]);
    let routes = vec![trunk(&world, "first", "", 1), trunk(&world, "second", "", 2)];
    table(&mut world, routes);
    for group in 1..=9 {
        let (code, by, call) = dial(&mut world, "1", group);
        assert_eq!((code, by), (200, Some(2)));
        world.act(call, Action::HangUp);
    }
    assert_eq!(count(&world, Counter::RouteAdvanced), 9);
    nothing_left(&mut world);
}
