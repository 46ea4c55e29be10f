//! Transfers by REFER: whom the call goes to, who may say so, and what becomes of the documents.

mod world;

use base::CallId;
use model::port::{OwnedCommand, OwnedOriginate};
use world::{ACCOUNT_NUMBER, World, param, status, xml};

/// A call to the domain whose document dials `noun`: it, and the leg dialled for it, connected.
fn connected(noun: &'static str) -> (World, CallId, CallId) {
    let mut world = World::new(move |request| match request.url.as_str() {
        "http://app.test/voice" => xml(&format!(
            "<Response><Dial action=\"/done\">{noun}</Dial><Pause length=\"60\"/></Response>"
        )),
        "http://app.test/done" => xml("<Response><Hangup/></Response>"),
        _ => status(204),
    });
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5066".parse().unwrap()]);
    let call = world.call_in("sip:bob@demo.test");
    world.run(4_000);
    let child = world.children_of(call)[0];
    assert_eq!((world.status_of(call), world.status_of(child)), ("in-progress", "in-progress"));
    world.commands.clear();
    (world, call, child)
}

const PHONE: &str = "<Sip>sip:ok@127.0.0.1</Sip>";

fn originated(world: &World) -> Vec<OwnedOriginate> {
    let of = |command: &OwnedCommand| match command {
        OwnedCommand::Originate(originate) => Some(originate.as_ref().clone()),
        _ => None,
    };
    world.commands.iter().filter_map(of).collect()
}

fn refused(world: &World) -> Vec<(CallId, u16)> {
    let of = |command: &OwnedCommand| match command {
        OwnedCommand::Referred { call, code, .. } => Some((*call, *code)),
        _ => None,
    };
    world.commands.iter().filter_map(of).collect()
}

fn ended_by_us(world: &World, call: CallId) -> bool {
    let ends =
        |it: &OwnedCommand| matches!(it, OwnedCommand::Hangup { call: it, .. } if *it == call);
    world.commands.iter().any(ends)
}

/// Whoever refers, the target is dialled for the other leg, and neither document says anything any
/// more: not when the referrer is gone, nor when the target is.
#[test]
fn the_target_is_dialled_for_whom_is_referred() {
    for by_callee in [true, false] {
        let (mut world, call, child) = connected(PHONE);
        let (from, other) = if by_callee { (child, call) } else { (call, child) };
        let (at, to) = (world.now.wall, "sip:ok@callee.test:5066;transport=udp");
        world.refer_at(at, from, other, to);
        world.run(200);
        let order = originated(&world)[0].clone();
        // As a successor may hear it once more.
        world.refer_at(at, from, other, to);
        world.run(200);
        assert_eq!(originated(&world).len(), 1, "one leg for one referral");
        assert_eq!(order.uri, "sip:ok@callee.test:5066");
        assert_eq!((order.account, order.parent), (ACCOUNT_NUMBER, other));
        assert_eq!(order.peer, world.legs[&other].id);
        assert!(order.bridge && !order.pass_progress);
        // What the shards do when it answers, or a referrer who does not wait.
        world.bye_in(from, 2_000);
        world.run(8_000);
        assert!(!ended_by_us(&world, other), "by the callee: {by_callee}");
        assert!(!ended_by_us(&world, order.call));
        assert!(world.asked("/done").is_empty());
        world.bye_in(order.call, 0);
        world.bye_in(other, 0);
        world.run(30_000);
        assert!(world.asked("/done").is_empty());
        let row = &world.store.calls[&order.call];
        assert_eq!((row.parent, row.status.name()), (Some(other), "completed"));
        assert_eq!(world.store.calls[&other].status.name(), "completed");
        world.assert_clean();
    }
}

/// What cannot be dialled is told to the referrer, and nothing is ended.
#[test]
fn what_cannot_be_dialled_comes_to_nothing() {
    for (to, code) in [
        ("sip:ok@224.0.0.1", 404),
        ("sip:nobody@demo.test.invalid;transport=ws", 404),
        ("sip:alice@127.0.0.1", 404),
        ("tel:+4930123", 404),
        ("sip:2@224.0.0.2", 404),
    ] {
        let (mut world, call, child) = connected(PHONE);
        world.refer(call, child, to);
        world.run(10);
        assert_eq!(refused(&world), [(call, code)], "{to}");
        assert!(originated(&world).is_empty() && !ended_by_us(&world, call));
        world.bye_in(call, 0);
        world.bye_in(child, 0);
        world.run(30_000);
        world.assert_clean();
    }
}

/// A phone knows numbers at the switch's own address; another port there is somebody else's.
#[test]
fn a_number_of_ours_goes_by_its_route() {
    for (to, uri) in [
        ("sip:+15550199@127.0.0.1", "sip:+15550199@"),
        ("tel:+1-555-0199", "sip:+15550199@"),
        ("sip:2@127.0.0.1:5999", "sip:2@127.0.0.1:5999"),
    ] {
        let (mut world, call, child) = connected(PHONE);
        world.refer(call, child, to);
        world.run(10);
        let order = originated(&world)[0].clone();
        assert!(order.uri.starts_with(uri), "{to}: {}", order.uri);
        for call in [call, child, order.call] {
            world.bye_in(call, 0);
        }
        world.run(30_000);
        world.assert_clean();
    }
}

/// The referrer is gone, and the target has no address: whom it was for is not left alone.
#[test]
fn nobody_waits_for_a_target_that_is_not_there() {
    let (mut world, call, child) = connected(PHONE);
    world.refer(child, call, "sip:ok@unknown.test");
    world.bye_in(child, 0);
    world.run(20_000);
    assert!(ended_by_us(&world, call), "{:?}", world.commands);
    world.run(30_000);
    world.assert_clean();
}

/// A carrier's REFER would be a call on its customer's account (toll fraud).
#[test]
fn a_carrier_may_not_refer() {
    let (mut world, call, child) = connected("+15550199");
    world.refer(child, call, "sip:ok@callee.test");
    world.run(10);
    assert_eq!(refused(&world), [(child, 603)]);
    assert!(originated(&world).is_empty());
    let alert = world.store.alerts.iter().find(|alert| alert.code == 13_802).unwrap();
    assert!(alert.message.contains("sip:ok@callee.test"), "{alert:?}");
    // His customer's phone may.
    world.refer(call, child, "sip:ok@callee.test");
    world.run(200);
    assert_eq!(originated(&world).len(), 1);
    world.bye_in(call, 0);
    world.bye_in(child, 0);
    world.bye_in(originated(&world)[0].call, 0);
    world.run(30_000);
    world.assert_clean();
}

/// Who was dialled by his URI is somebody else's: a number that he refers to would be a call on the
/// account's bill. What is refused costs the document nothing.
#[test]
fn who_was_dialled_by_a_uri_may_not_refer_to_numbers() {
    for to in ["tel:+15550199", "sip:+15550199@127.0.0.1"] {
        let (mut world, call, child) = connected(PHONE);
        world.refer(child, call, to);
        world.run(10);
        assert_eq!(refused(&world), [(child, 603)], "{to}");
        let binds = |it: &OwnedCommand| matches!(it, OwnedCommand::Referred { binds: true, .. });
        assert!(originated(&world).is_empty() && !world.commands.iter().any(binds));
        world.bye_in(child, 0);
        world.run(2_000);
        assert_eq!(world.asked("/done").len(), 1, "the document goes on");
        world.run(30_000);
        world.assert_clean();
    }
}

/// The shards join two legs themselves: nobody is dialled, and no document ends them.
#[test]
fn legs_that_the_shards_join_are_left_alone() {
    let (mut world, call, child) = connected(PHONE);
    world.refer(child, call, "");
    world.bye_in(child, 0);
    world.run(5_000);
    assert!(originated(&world).is_empty() && refused(&world).is_empty());
    assert!(!ended_by_us(&world, call));
    assert!(world.asked("/done").is_empty());
    world.bye_in(call, 0);
    world.run(30_000);
    assert_eq!(param(world.asked("/status").last().unwrap(), "CallStatus"), "completed");
    world.assert_clean();
}

/// Its target is looked up by a successor, and is not there: whoever referred hears so.
#[test]
fn a_successor_tells_what_came_of_a_referral() {
    for crashes in [false, true] {
        let (mut world, call, child) = connected(PHONE);
        world.refer(child, call, "sip:ok@unknown.test");
        world.run(1);
        if crashes {
            world.crash();
        }
        world.run(20_000);
        assert_eq!(refused(&world), [(child, 404)], "{crashes}");
        assert_eq!((world.status_of(call), world.status_of(child)), ("in-progress", "in-progress"));
    }
}

/// The referrer's leg has told that two are let go, and that one of them has another call's place:
/// told again to a successor neither ends the document that has begun since.
#[test]
fn what_was_let_go_once_keeps_the_document_that_it_has_since() {
    let (mut world, call, child) = connected(PHONE);
    let place = world.call_in("sip:bob@demo.test");
    world.run(300);
    let (at, by) = (world.now.wall, world.legs[&call].id);
    let tell = |world: &mut World| {
        world.refer_at(at, child, call, "");
        let event = wire::Event::Replaced { call: place, by, at };
        world.director.handle_event(world.now, 0, &event);
        world.drain();
    };
    tell(&mut world);
    world.run(300);
    assert!(ended_by_us(&world, place), "its place is taken");
    let target = *world.children_of(call).last().unwrap();
    assert_ne!(target, child);
    // The referrer's leg stands until its far end has heard.
    world.crash();
    tell(&mut world);
    world.bye_in(child, 100);
    world.run(3_000);
    assert!(!ended_by_us(&world, call) && !ended_by_us(&world, target));
    assert_eq!(world.status_of(target), "in-progress");
    world.bye_in(target, 0);
    world.run(2_000);
    let asked = world.asked("/done");
    let of_call = |it: &&&model::port::HttpRequest| param(it, "CallSid") == call.to_string();
    assert_eq!(asked.iter().filter(of_call).count(), 1, "the document goes on");
    world.run(30_000);
    world.assert_clean();
}

/// Whose place the call is to take there, and who says so (RFC 3891, RFC 3892): its target hears
/// that, a carrier the former alone.
#[test]
fn what_a_referral_says_goes_to_its_target() {
    const BY: &str = "Referred-By: <sip:r@test>\r\n";
    const REPLACES: &str = "Replaces: c@elsewhere;to-tag=a;from-tag=b\r\n";
    let headers = format!("{BY}{REPLACES}X-Why: busy\r\n");
    for (to, expected) in [
        ("sip:ok@callee.test:5066;transport=udp", format!("{BY}{REPLACES}")),
        ("tel:+15550177", REPLACES.to_owned()),
    ] {
        let (mut world, call, child) = connected(PHONE);
        let (shard, peer) = (world.legs[&call].id.shard(), world.legs[&child].id);
        let (at, by, headers) = (world.now.wall, "sip:r@test", headers.as_str());
        let event = wire::Event::Refer { call, peer, at, to, by, headers };
        world.director.handle_event(world.now, shard, &event);
        world.drain();
        world.run(200);
        assert_eq!(originated(&world)[0].headers, expected);
    }
}
