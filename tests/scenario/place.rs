//! INVITEs with Replaces (RFC 3891): calls picked up while they ring elsewhere, and calls taken
//! over by another phone; who may, and what crosses.

use wire::event::{Cause, Event};
use wire::table::{StaticRoute, Table};
use wire::{Command, Originate};
use world::control::encode;
use world::{Action, CallRef, Dial, Manner, Manual, Setup, World};

use crate::by_hand::{A, B, Hand, Log, body, call, described, empty, header, one_shard, send};
use crate::common::{
    End, SECOND, dial, ends, heard, ms, nothing_left, originate, publish, route_to, routed, told,
};

/// Who speaks at the phone that comes.
const VOICE: u32 = 90;

/// Agent 0 calls agent 1 by a route; agent 2 comes.
fn world(setup: &Setup, callee: Manner, comes: Manner) -> World {
    let mut world = routed(setup, Manner::default(), vec![callee]);
    world.agent(comes);
    world.agents[2].voice = Some(VOICE);
    world
}

/// The Replaces value by which somebody names the switch's leg of this phone's dialog.
fn name(world: &World, at: CallRef) -> String {
    let name = world.call(at).replaces();
    name.replace("%3B", ";").replace("%3D", "=").replace("%40", "@")
}

fn taking(name: &str, more: &[&str]) -> Dial {
    let mut headers = vec!["Require: replaces".to_owned(), format!("Replaces: {name}")];
    headers.extend(more.iter().map(|it| (*it).to_owned()));
    Dial {
        to: "sip:tandem@10.0.0.1:5060".to_owned(),
        from: "sip:c@phones.example".to_owned(),
        headers,
        group: 1,
        stream: 70,
        ..Dial::default()
    }
}

fn standing(world: &mut World, by_callee: bool) -> (CallRef, CallRef) {
    let caller = dial(world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    if by_callee { (callee, caller) } else { (caller, callee) }
}

fn code(world: &World, at: CallRef) -> u16 {
    world.call(at).seen.code
}

/// Each of the two hears this voice.
fn hear_each_other(world: &mut World, one: (CallRef, u32), other: (CallRef, u32)) -> bool {
    let heard = |world: &World| (heard(world, one.0, one.1), heard(world, other.0, other.1));
    let before = heard(world);
    world.run_for(3 * SECOND);
    let after = heard(world);
    after.0 > before.0 && after.1 > before.1
}

fn shards(seed: u64, shards: u8) -> Setup {
    let mut setup = Setup::new(seed);
    setup.plane.shards = shards;
    setup
}

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

#[test]
fn a_call_that_rings_is_picked_up() {
    for (seed, count, flag) in [(1, 1, ""), (2, 3, ";early-only"), (3, 3, ""), (4, 3, "")] {
        let mut world = world(&shards(seed, count), Manner::ringing(), Manner::default());
        let caller = dial(&mut world, 1);
        world.run_for(SECOND);
        let rings = world.callee_of(1).unwrap();
        let name = name(&world, rings) + flag;
        let comes = world.dial(2, &taking(&name, &[]));
        world.run_for(SECOND);
        assert_eq!((code(&world, comes), code(&world, caller)), (200, 200), "seed {seed}");
        let left = &world.call(rings).seen;
        assert_eq!((left.cancels, left.reason.as_deref()), (1, Some(ELSEWHERE)));
        assert!(hear_each_other(&mut world, (caller, 70), (comes, 2)), "seed {seed}");
        let (first, last) = if seed % 2 == 0 { (caller, comes) } else { (comes, caller) };
        world.act(first, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(last).is_over() && world.call(last).seen.ended_by_peer);
        nothing_left(&mut world);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 3, "{ends:?}");
        let billed = ends.iter().filter(|end| end.billed_ms > 0);
        assert!(billed.clone().count() == 2 && billed.clone().all(|end| end.inbound), "{ends:?}");
        assert!(billed.clone().all(|end| end.relay_ms.abs_diff(end.billed_ms) < 100), "{ends:?}");
    }
}

/// Its usage ends at the moment when somebody takes its place, and the other's goes on.
fn check_ends(ends: &[End], by_callee: bool) {
    assert_eq!(ends.len(), 3, "{ends:?}");
    let replaced = &ends[0];
    assert_eq!((replaced.inbound, replaced.cause), (!by_callee, Cause::Normal), "{ends:?}");
    assert!(ends.iter().all(|end| end.account == 7), "{ends:?}");
    let newest = ends.iter().max_by_key(|end| end.call).unwrap();
    let stays = ends.iter().max_by_key(|end| end.billed_ms).unwrap();
    assert!(newest.inbound && stays.billed_ms > newest.billed_ms + 1_500, "{ends:?}");
    assert!(newest.relay_ms.abs_diff(newest.billed_ms) < 100, "{ends:?}");
    // The relay of whoever stays was in two joins, of which this is the first.
    assert!(stays.relay_ms.abs_diff(replaced.relay_ms) < 100, "{ends:?}");
    let sum = replaced.billed_ms + newest.billed_ms;
    assert!(sum.abs_diff(stays.billed_ms) < 200, "{ends:?}");
}

#[test]
fn a_standing_call_is_taken_over() {
    for (seed, count, by_callee, late_offer) in [
        (5, 1, true, false),
        (6, 3, false, false),
        (7, 3, true, false),
        (8, 3, false, true),
        (9, 3, true, true),
        (10, 3, false, false),
    ] {
        let mut world = world(&shards(seed, count), Manner::default(), Manner::default());
        let (leaves, stays) = standing(&mut world, by_callee);
        let name = name(&world, leaves);
        let comes = world.dial(2, &Dial { late_offer, ..taking(&name, &[]) });
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), 200, "seed {seed}");
        let left = &world.call(leaves).seen;
        assert_eq!((left.byes, left.reason.as_deref()), (1, Some(ELSEWHERE)), "seed {seed}");
        let voice = if by_callee { 2 } else { 3 };
        assert!(hear_each_other(&mut world, (stays, 70), (comes, voice)), "seed {seed}");
        world.act(comes, Action::HangUp);
        world.run_for(SECOND);
        assert!(world.call(stays).is_over());
        check_ends(&ends(&mut world), by_callee);
        nothing_left(&mut world);
    }
}

/// RFC 3891 section 3, one by one. What is refused changes nothing.
#[test]
fn a_place_that_is_not_to_be_had_is_refused() {
    for (seed, count) in [(11, 1), (12, 3)] {
        let mut world = world(&shards(seed, count), Manner::default(), Manner::default());
        let (caller, callee) = standing(&mut world, false);
        let own = name(&world, callee);
        let (before, tags) = own.split_once(';').unwrap();
        let swapped = tags.replace("to-tag", "x").replace("from-tag", "to-tag");
        let swapped = format!("{before};{}", swapped.replace("x=", "from-tag="));
        for (name, more, expected) in [
            (format!("{own};early-only"), vec![], 486),
            (own.replace("from-tag=", "from-tag=x"), vec![], 481),
            (own.replace(before, "another"), vec![], 481),
            (swapped, vec![], 481),
            ("nobody;to-tag=1;from-tag=2".to_owned(), vec![], 481),
            ("nobody".to_owned(), vec![], 400),
            (own.clone(), vec!["Replaces: x;to-tag=1;from-tag=2"], 400),
            (own.clone(), vec!["Join: x;to-tag=1;from-tag=2"], 400),
        ] {
            let comes = world.dial(2, &taking(&name, &more));
            world.run_for(SECOND);
            assert_eq!(code(&world, comes), expected, "{name} {more:?}");
        }
        let mut join = taking(&own, &[]);
        join.headers = vec![format!("Join: {own}")];
        let comes = world.dial(2, &join);
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), 488, "nothing is mixed");
        join.headers.push("Require: join".to_owned());
        let comes = world.dial(2, &join);
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), 420);
        assert!(hear_each_other(&mut world, (caller, 3), (callee, 2)));
        world.act(caller, Action::HangUp);
        world.run_for(SECOND);
        let comes = world.dial(2, &taking(&own, &[]));
        world.run_for(SECOND);
        // Known to be over for as long as anything of it is.
        assert!(matches!(code(&world, comes), 481 | 603), "{}", code(&world, comes));
        nothing_left(&mut world);
    }
}

/// Whoever has no codec in common with the one that stays leaves all as it was, and so does a
/// caller that gives up.
#[test]
fn a_place_that_cannot_be_taken_is_left_as_it_was() {
    let opus = Manner { codecs: vec![sdp::Supported::OPUS], ..Manner::default() };
    for (seed, count) in [(13, 1), (14, 3), (15, 3)] {
        let mut world = world(&shards(seed, count), Manner::default(), opus.clone());
        let (caller, callee) = standing(&mut world, false);
        let name = name(&world, callee);
        let comes = world.dial(2, &taking(&name, &[]));
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), 488);
        assert!(hear_each_other(&mut world, (caller, 3), (callee, 2)));
        // And then by somebody who has one.
        world.agents[2].manner = Manner::default();
        let comes = world.dial(2, &taking(&name, &[]));
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), 200);
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

/// The dialog of another account is not there, whoever has heard of its name.
#[test]
fn another_accounts_place_is_not_there() {
    for (seed, count, expected) in [(16, 1, 481), (17, 3, 481), (18, 3, 481)] {
        let mut world = world(&shards(seed, count), Manner::default(), Manner::default());
        let only = |agent| {
            let address = world.address(agent);
            vec![address.ip().to_string().parse().unwrap()]
        };
        let theirs = StaticRoute { account: 8, sources: only(2), ..route_to(&world, &[1]) };
        let sources = [only(0), only(1)].concat();
        let ours = StaticRoute { sources, ..route_to(&world, &[1]) };
        publish(&mut world, &Table { routes: vec![theirs, ours], ..Table::default() });
        let (caller, callee) = standing(&mut world, false);
        for at in [caller, callee] {
            let name = name(&world, at);
            let comes = world.dial(2, &taking(&name, &[]));
            world.run_for(SECOND);
            assert_eq!(code(&world, comes), expected);
        }
        assert!(hear_each_other(&mut world, (caller, 3), (callee, 2)));
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

/// Two come at the same time, or one comes while the call ends, while it is held, or twice.
#[test]
fn whatever_crosses_one_call_is_left() {
    for seed in 19..43 {
        let mut world = world(&shards(seed, 3), Manner::default(), Manner::default());
        world.agent(Manner::default());
        let (leaves, stays) = standing(&mut world, seed % 2 == 0);
        let (name, other) = (name(&world, leaves), name(&world, stays));
        let comes = world.dial(2, &taking(&name, &[]));
        match seed % 6 {
            0 => world.act(leaves, Action::HangUp),
            1 => world.act(stays, Action::HangUp),
            2 => world.act(stays, Action::Reinvite(sdp::Direction::SendOnly)),
            3 => world.act(leaves, Action::Reinvite(sdp::Direction::SendOnly)),
            4 => {
                world.dial(3, &Dial { stream: 80, ..taking(&name, &[]) });
            }
            _ => {
                world.dial(3, &Dial { stream: 80, ..taking(&other, &[]) });
            }
        }
        world.run_for(5 * SECOND);
        let third = CallRef { agent: 3, call: 0 };
        let is_there = |at: CallRef| !world.call(at).is_over() && code(&world, at) != 0;
        match seed % 6 {
            2 | 3 => assert!(is_there(comes) && !world.call(stays).is_over(), "seed {seed}"),
            4 => {
                let won = [comes, third].into_iter().filter(|at| is_there(*at)).count();
                assert_eq!(won, 1, "seed {seed}");
                assert!(world.call(leaves).is_over() && !world.call(stays).is_over());
            }
            _ => {}
        }
        for at in [comes, leaves, stays] {
            if !world.call(at).is_over() {
                world.act(at, Action::HangUp);
            }
        }
        world.run_for(2 * SECOND);
        for agent in &world.agents {
            assert!(agent.calls.iter().all(|call| call.is_over()), "seed {seed}");
        }
        nothing_left(&mut world);
    }
}

/// A caller who gives up before the place is given.
#[test]
fn who_gives_up_takes_no_place() {
    let mut world = routed(&one_shard(43), Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let parties = call(&mut world, &log, "given", ("0", "0"));
    // The leg towards B is named by B's dialog.
    let tag = |value: &str| value.split_once("tag=").unwrap().1.to_owned();
    let (ours, theirs) = (tag(&parties.b.to), tag(&parties.b.from));
    let replaces = format!("Replaces: {};to-tag={ours};from-tag={theirs}\n", parties.b.call_id);
    let comes = Hand { call_id: "comes".to_owned(), ..Hand::caller("comes") };
    // Not a request that may have one.
    for method in ["BYE", "OPTIONS", "REFER"] {
        send(&mut world, A, &parties.a.request(method, 7, &replaces, &empty()));
        assert!(!log.all(A, "SIP/2.0 400", method).is_empty(), "{method}");
    }
    log.clear();
    let offer = described("10.1.0.1", 4_100, 1, "0");
    send(&mut world, A, &comes.request("INVITE", 1, &replaces, &offer));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    assert!(header(&ok, "Supported").contains("replaces"));
    let bye = log.last(B, "BYE", "");
    assert_eq!(header(&bye, "Reason"), ELSEWHERE);
    let mut comes = comes;
    header(&ok, "To").clone_into(&mut comes.to);
    send(&mut world, A, &comes.request("ACK", 1, "", &body("", "")));
    send(&mut world, A, &comes.request("BYE", 2, "", &empty()));
    nothing_left_by_hand(&mut world);
}

fn nothing_left_by_hand(world: &mut World) {
    crate::by_hand::nothing_left(world);
}

/// Calls of applications: the controlplane says whose the new call is, and the shards do the rest.
#[test]
fn an_applications_call_is_taken_over_for_its_account_alone() {
    for (seed, account, expected) in [(44, 9, 200), (45, 10, 481), (46, 9, 200)] {
        let mut world = World::new(&Setup::new(seed));
        for _ in 0..3 {
            world.agent(Manner::default());
        }
        world.agents[2].voice = Some(VOICE);
        let callee = world.address(1);
        let mut made = 0_u128;
        let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
            let Event::Incoming(incoming) = told.event() else { return };
            let call = incoming.call;
            if incoming.replaces != base::LegId::NONE {
                let accept = Command::Accept { call, account, setup_ms: 60_000 };
                commands.push((told.shard, encode(&accept)));
                // Said again, it is the same.
                commands.push((told.shard, encode(&Command::TakePlace { call })));
                commands.push((told.shard, encode(&Command::TakePlace { call })));
                return;
            }
            let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
            commands.push((told.shard, encode(&accept)));
            made += 1;
            let wish = originate(base::CallId(made << 64 | made), callee, incoming.uri);
            let wish = Originate { peer: incoming.leg, parent: call, ..wish };
            commands.push(((told.shard + 1) % 3, encode(&Command::Originate(wish))));
        });
        world.control = Some(Box::new(manual));
        let (leaves, stays) = standing(&mut world, seed % 2 == 0);
        let name = name(&world, leaves);
        let comes = world.dial(2, &taking(&name, &[]));
        world.run_for(SECOND);
        assert_eq!(code(&world, comes), expected, "seed {seed}");
        if expected == 200 {
            let voice = if seed % 2 == 0 { 2 } else { 3 };
            assert!(hear_each_other(&mut world, (stays, 70), (comes, voice)), "seed {seed}");
            let released = told(&mut world).iter().filter(|it| **it == "refer").count();
            assert_eq!(released, 2, "both documents hear that they are over");
            world.act(comes, Action::HangUp);
            world.run_for(SECOND);
            assert!(world.call(stays).is_over(), "nobody else would end it");
        } else {
            world.act(leaves, Action::HangUp);
            world.run_for(SECOND);
            world.act(stays, Action::HangUp);
        }
        nothing_left(&mut world);
    }
}

/// A call that an application has answered, which then rings elsewhere.
#[test]
fn a_call_that_an_application_rings_for_is_picked_up() {
    let mut world =
        crate::common::dialled_after_answer(&Setup::new(47), Manner::default(), Manner::ringing());
    world.agent(Manner::default());
    world.agents[2].voice = Some(VOICE);
    let caller = dial(&mut world, 1);
    world.run_for(SECOND);
    let rings = world.callee_of(1).unwrap();
    // By a route of the same account.
    let route =
        StaticRoute { account: 9, domain: "x.example".to_owned(), ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let name = name(&world, rings);
    let comes = world.dial(2, &taking(&name, &[]));
    world.run_for(SECOND);
    assert_eq!(code(&world, comes), 200);
    assert_eq!(world.call(rings).seen.cancels, 1);
    assert!(hear_each_other(&mut world, (caller, 70), (comes, 2)));
    world.act(caller, Action::HangUp);
    world.run_for(ms(500));
    assert!(world.call(comes).is_over());
    nothing_left(&mut world);
}

/// A call that an application has, and that talks with nobody: who comes by a static route has no
/// application that would learn of it, and is refused; the call stands.
#[test]
fn a_static_route_takes_no_place_in_a_document() {
    let mut world =
        crate::common::dialled_after_answer(&Setup::new(48), Manner::default(), Manner::ringing());
    world.agent(Manner::default());
    let caller = dial(&mut world, 1);
    world.run_for(SECOND);
    let route =
        StaticRoute { account: 9, domain: "x.example".to_owned(), ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let rings = world.callee_of(1).unwrap();
    world.act(rings, Action::Refuse(486));
    world.run_for(SECOND);
    let name = name(&world, caller);
    let comes = world.dial(2, &taking(&name, &[]));
    world.run_for(SECOND);
    assert_eq!(code(&world, comes), 488);
    assert!(!world.call(caller).is_over(), "it stands as it was");
    assert!(!told(&mut world).contains(&"replaced"));
    world.act(caller, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
