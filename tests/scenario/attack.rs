//! Far ends that do what phones do not: each thing that one may do to its own call or to others'.

use std::time::Duration;

use base::CallId;
use wire::counter::Counter;
use wire::event::Cause;
use wire::{Command, Originate};
use world::control::encode;
use world::{Datagram, Manner, Manual, Setup, World};

use crate::common::{SECOND, count, ends, manual, ms, originate, send};
use crate::raw::{
    A, B, Far, Log, Said, all, call, header, invite, last, nothing_left, port, reply, route_world,
    say, sdp, speak, tap,
};

#[test]
fn a_hold_that_met_a_busy_far_end_is_passed_on_a_little_later() {
    let mut call = call(&Said::default());
    call.a_offers(&sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
    let reinvite = call.b_reinvited().pop().unwrap();
    assert!(reinvite.contains("a=sendonly"), "{reinvite}");
    call.b_answers(&reinvite, "491 Request Pending", "", "");
    call.world.run_for(6 * SECOND);
    let again = call.b_reinvited();
    assert_eq!(again.len(), 2, "the hold was never passed on");
    call.b_answers(&again[1], "200 OK", "", &sdp("10.1.0.2", 2, "0", "a=recvonly\n"));
    call.a_hangs_up();
    call.unharmed();
    nothing_left(&mut call.world);
}

#[test]
fn a_reinvite_that_is_only_answered_provisionally_does_not_live_for_ever() {
    let mut call = call(&Said::default());
    call.a_offers(&sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
    let reinvite = call.b_reinvited().pop().unwrap();
    call.b_answers(&reinvite, "100 Trying", "", "");
    call.world.run_for(10 * SECOND);
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn a_far_end_that_never_answers_a_reinvite_does_not_bar_its_own_offers_for_ever() {
    let mut call = call(&Said::default());
    call.a_offers(&sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
    let reinvite = call.b_reinvited().pop().unwrap();
    call.b_answers(&reinvite, "100 Trying", "", "");
    for _ in 0..10 {
        call.world.run_for(10 * SECOND);
        let options = call.b.request("OPTIONS", "", "");
        say(&mut call.world, B, &options);
        call.b_answers(&reinvite, "180 Ringing", "", "");
    }
    let offer = call.b.request("INVITE", "", &sdp("10.1.0.2", 2, "0", ""));
    say(&mut call.world, B, &offer);
    let answer = last(&call.log, B, "SIP/2.0", &format!("CSeq: {} INVITE", call.b.cseq)).unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
}

#[test]
fn a_far_end_waits_for_another_codec_and_a_hold_soon_after_is_passed_on_at_once() {
    let (mut world, log) = route_world(0);
    drop(world);
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    setup.plane.timers.media_timeout = Duration::ZERO;
    world = World::new(&setup);
    world.agent(Manner::silent());
    let callee = world.agent(Manner::silent());
    let target = world.address(callee);
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let call = incoming.call;
        let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        commands.push((told.shard, encode(&Command::Answer { call, limit_ms: 0 })));
        let wish = originate(CallId(77), target, incoming.uri);
        let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
        commands.push((told.shard, encode(&Command::Originate(wish))));
    });
    world.control = Some(Box::new(manual));
    drop(log);
    let log = tap(&mut world);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0 9", "")));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let mut a = Far {
        at: A,
        call: "call".into(),
        from: "<sip:a@example.com>;tag=1".into(),
        to: header(&ok, "To"),
        cseq: 1,
    };
    let ack = a.request("ACK", "", "");
    say(&mut world, A, &ack);
    let invite = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&invite, "200 OK", "b", "", &sdp("10.1.0.2", 1, "9", "")));
    let reinvite = last(&log, A, "INVITE", "").unwrap();
    let answer = reply(
        &reinvite,
        "200 OK",
        "1",
        "Contact: <sip:x@10.1.0.1:5060>\n",
        &sdp("10.1.0.1", 2, "9", ""),
    );
    say(&mut world, A, &answer);
    world.run_for(SECOND);
    let hold = a.request("INVITE", "", &sdp("10.1.0.1", 3, "9", "a=sendonly\n"));
    say(&mut world, A, &hold);
    let ack = a.request("ACK", "", "");
    say(&mut world, A, &ack);
    world.run_for(2 * SECOND);
    let held = last(&log, B, "INVITE", ";tag=b");
    assert!(held.is_some_and(|text| text.contains("a=sendonly")), "the hold waits for nothing");
}

#[test]
fn an_update_with_a_contact_too_long_for_us_leaves_an_offer_of_ours_as_it_is() {
    let route = format!("<sip:p.example;lr;x={}>", "r".repeat(1_700));
    let record = format!("Record-Route: {route}\nRecord-Route: {route}\n");
    let record: &'static str = record.leak();
    let mut call = call(&Said { of_b: record, ..Said::default() });
    call.a_offers(&sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
    let reinvite = call.b_reinvited().pop().unwrap();
    let contact = format!("Contact: <sip:b@10.1.0.2;y={}>\n", "c".repeat(14_500));
    let update = call.b.request("UPDATE", &contact, "");
    say(&mut call.world, B, &update);
    let answer = last(&call.log, B, "SIP/2.0", "UPDATE").unwrap();
    assert!(answer.starts_with("SIP/2.0 500"), "{answer}");
    call.b_answers(&reinvite, "200 OK", "", &sdp("10.1.0.2", 2, "0", "a=recvonly\n"));
    call.unharmed();
    call.a_hangs_up();
    nothing_left(&mut call.world);
}

#[test]
fn a_refresh_that_met_a_busy_far_end_is_tried_again_before_the_session_ends() {
    let said =
        Said { of_a: "Supported: timer\nSession-Expires: 90;refresher=uas\n", ..Said::default() };
    let mut call = call(&said);
    let mut seen = 0;
    let mut refused = false;
    for _ in 0..800 {
        call.world.run_for(ms(100));
        let mut reinvites = all(&call.log, A, "INVITE", "");
        reinvites.dedup();
        if reinvites.len() > seen {
            seen = reinvites.len();
            let status = if refused { "200 OK" } else { "491 Request Pending" };
            let more = "Contact: <sip:x@10.1.0.1:5060>\nSupported: timer\nSession-Expires: \
                        90;refresher=uac\n";
            let described = if refused { sdp("10.1.0.1", 1, "0", "") } else { String::new() };
            refused = true;
            let answer = reply(&reinvites[seen - 1], status, "1", more, &described);
            say(&mut call.world, A, &answer);
        }
    }
    assert!(all(&call.log, A, "BYE", "").is_empty(), "a live call was ended");
    assert!(seen >= 2, "{seen}");
}

#[test]
fn a_session_whose_stream_is_stopped_is_refreshed_all_the_same() {
    let said =
        Said { of_a: "Supported: timer\nSession-Expires: 90;refresher=uas\n", ..Said::default() };
    let mut call = call(&said);
    let more = "Supported: timer\nSession-Expires: 90;refresher=uas\n";
    let text = call.a.request("INVITE", more, &sdp("10.1.0.1", 2, "0", "stopped"));
    say(&mut call.world, A, &text);
    let ack = call.a.request("ACK", "", "");
    say(&mut call.world, A, &ack);
    let held = call.b_reinvited().pop().unwrap();
    call.b_answers(&held, "200 OK", "", &sdp("10.1.0.2", 2, "0", "a=inactive\n"));
    call.world.run_for(50 * SECOND);
    let refresh = last(&call.log, A, "INVITE", "");
    assert!(refresh.is_some(), "nobody refreshes");
    let more = "Contact: <sip:x@10.1.0.1:5060>\nSupported: timer\nSession-Expires: \
                90;refresher=uac\n";
    let answer = reply(&refresh.unwrap(), "200 OK", "1", more, &sdp("10.1.0.1", 2, "0", "stopped"));
    say(&mut call.world, A, &answer);
    call.world.run_for(15 * SECOND);
    assert!(all(&call.log, A, "BYE", "").is_empty(), "a live call was ended");
    call.unharmed();
}

#[test]
fn a_far_end_that_answers_under_ever_new_tags_takes_no_room_for_each() {
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    for tag in 0..300 {
        let text = reply(&invite, "200 OK", &format!("t{tag}"), "", &sdp("10.1.0.2", 1, "0", ""));
        let bytes = text.replace('\n', "\r\n").into_bytes();
        world.inject(Datagram { from: B.parse().unwrap(), to: world::plane::listener(), bytes });
    }
    world.run_for(ms(100));
    let transactions: usize = world.plane.lanes.iter().map(|lane| lane.shard.transactions()).sum();
    assert!(transactions < 20, "one INVITE takes {transactions} transactions");
}

#[test]
fn the_ack_of_a_reinvite_goes_where_its_answer_says() {
    let mut call = call(&Said::default());
    call.a_offers(&sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
    let reinvite = call.b_reinvited().pop().unwrap();
    let moved = "Contact: <sip:b@10.1.0.2:5099>\n";
    call.b_answers(&reinvite, "200 OK", moved, &sdp("10.1.0.2", 2, "0", "a=recvonly\n"));
    let ack = last(&call.log, B, "ACK", "CSeq: 2 ACK").unwrap();
    assert!(ack.starts_with("ACK sip:b@10.1.0.2:5099 "), "{ack}");
}

#[test]
fn what_one_target_said_is_not_what_ended_the_call_at_the_next() {
    let (mut world, log) = route_world(2);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let first = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&first, "500 Broken", "b", "", ""));
    let next = last(&log, "10.1.0.3:5060", "INVITE", "").unwrap();
    say(&mut world, "10.1.0.3:5060", &reply(&next, "180 Ringing", "c", "", ""));
    world.run_for(40 * SECOND);
    let heard = last(&log, A, "SIP/2.0", "INVITE").unwrap();
    assert!(heard.starts_with("SIP/2.0 480"), "{heard}");
    let ends = ends(&mut world);
    assert!(ends.iter().all(|end| end.inbound || end.code == 0), "{ends:?}");
}

#[test]
fn a_stopped_stream_is_offered_again_when_its_far_end_asks() {
    let mut call = call(&Said::default());
    let status = call.a_offers(&sdp("10.1.0.1", 2, "0", "stopped"));
    assert!(status.starts_with("SIP/2.0 200"), "{status}");
    let status = call.a_offers("");
    assert!(status.starts_with("SIP/2.0 200"), "{status}");
}

#[test]
fn a_leg_that_was_not_answered_is_joined_with_nobody_and_billed_for_nothing() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    let mut world = World::new(&setup);
    world.agent(Manner::silent());
    world.agent(Manner::silent());
    let (a, b) = (world.address(0), world.address(1));
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let log = tap(&mut world);
    send(&mut world, 0, &Command::Originate(originate(CallId(5), a, "sip:a@x.example")));
    world.run_for(ms(50));
    let invite_a = last(&log, A, "INVITE", "").unwrap();
    say(&mut world, A, &reply(&invite_a, "180 Ringing", "a", "", ""));
    let dialed = |told: &world::Told| match told.event() {
        wire::Event::Dialed { leg, .. } => Some(leg),
        _ => None,
    };
    let parent = manual(&mut world).told.iter().find_map(dialed).unwrap();
    let wish = Originate { peer: parent, ..originate(CallId(6), b, "sip:b@x.example") };
    send(&mut world, 0, &Command::Originate(wish));
    world.run_for(ms(50));
    let invite_b = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&invite_b, "200 OK", "b", "", &sdp("10.1.0.2", 1, "0", "")));
    world.run_for(5 * SECOND);
    send(&mut world, 0, &Command::Hangup { call: CallId(5), cause: Cause::Normal });
    world.run_for(SECOND);
    let ends = ends(&mut world);
    let of_a = ends.iter().find(|end| end.call == CallId(5)).unwrap();
    assert_eq!(of_a.relay_ms, 0, "{of_a:?}");
}

#[test]
fn a_leg_whose_partner_went_elsewhere_meanwhile_stands_alone_and_is_not_ended() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 2;
    let mut world = World::new(&setup);
    for _ in 0..3 {
        world.agent(Manner::default());
    }
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let of = |call: u128| CallId(call << 64 | call);
    for (at, shard) in [(0, 0), (1, 1), (2, 0)] {
        let target = world.address(at);
        let uri = format!("sip:g{}@x.example", at + 1);
        let call = of(at as u128 + 1);
        send(&mut world, shard, &Command::Originate(originate(call, target, &uri)));
    }
    world.run_for(2 * SECOND);
    let answered = |told: &world::Told| match told.event() {
        wire::Event::Answered { call, leg, .. } => Some((call, leg)),
        _ => None,
    };
    let legs: Vec<_> = manual(&mut world).told.iter().filter_map(answered).collect();
    let leg = |call: u128| legs.iter().find(|(id, _)| *id == of(call)).unwrap().1;
    // The first is joined with the second, and before that one has heard of it with the third.
    manual(&mut world).send(0, &Command::Join { call: of(1), b: leg(2) });
    manual(&mut world).send(0, &Command::Join { call: of(3), b: leg(1) });
    world.run_for(2 * SECOND);
    assert!(ends(&mut world).is_empty(), "{:?}", ends(&mut world));
    send(&mut world, 1, &Command::Hangup { call: of(2), cause: Cause::Normal });
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert!(ends[0].relay_ms < 100, "{ends:?}");
}

#[test]
fn early_media_is_heard_and_not_counted_as_a_join() {
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    let early = sdp("10.1.0.2", 1, "0", "");
    say(&mut world, B, &reply(&invite, "183 Session Progress", "b", "", &early));
    speak(&mut world, "10.1.0.2:4000", port(&invite), (1, 100));
    say(&mut world, B, &reply(&invite, "200 OK", "b", "", &early));
    world.run_for(SECOND);
    speak(&mut world, "10.1.0.2:4000", port(&invite), (101, 10));
    let mut b = Far {
        at: B,
        call: header(&invite, "Call-ID"),
        from: header(&invite, "To") + ";tag=b",
        to: header(&invite, "From"),
        cseq: 0,
    };
    let bye = b.request("BYE", "", "");
    say(&mut world, B, &bye);
    world.run_for(SECOND);
    let ends = ends(&mut world);
    let dialled = ends.iter().find(|end| !end.inbound).unwrap();
    assert_eq!(dialled.relayed, 10, "{dialled:?}");
}

#[test]
fn a_caller_that_changes_its_codec_while_it_hears_early_media_goes_on_hearing_it() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    let mut world = World::new(&setup);
    world.agent(Manner::silent());
    let callee = world.agent(Manner::silent());
    let target = world.address(callee);
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let call = incoming.call;
        let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        commands.push((told.shard, encode(&Command::Answer { call, limit_ms: 0 })));
        let wish = originate(CallId(77), target, incoming.uri);
        let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
        commands.push((told.shard, encode(&Command::Originate(wish))));
    });
    world.control = Some(Box::new(manual));
    let log = tap(&mut world);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0 8", "")));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let mut a = Far {
        at: A,
        call: "call".into(),
        from: "<sip:a@example.com>;tag=1".into(),
        to: header(&ok, "To"),
        cseq: 1,
    };
    let ack = a.request("ACK", "", "");
    say(&mut world, A, &ack);
    let invite = last(&log, B, "INVITE", "").unwrap();
    let early = sdp("10.1.0.2", 1, "0", "");
    say(&mut world, B, &reply(&invite, "183 Session Progress", "b", "", &early));
    let narrower = a.request("INVITE", "", &sdp("10.1.0.1", 2, "8", ""));
    say(&mut world, A, &narrower);
    let ack = a.request("ACK", "", "");
    say(&mut world, A, &ack);
    speak(&mut world, "10.1.0.2:4000", port(&invite), (1, 20));
    let log = log.borrow();
    let voice = log.iter().filter(|(_, d)| d.to == "10.1.0.1:4000".parse().unwrap());
    let types: Vec<u8> = voice.map(|(_, d)| d.bytes[1] & 0x7f).collect();
    let wrong = types.iter().rev().take(10).filter(|pt| **pt != 8).count();
    assert_eq!(wrong, 0, "it takes PCMA only and hears {types:?}");
}

#[test]
fn a_target_that_was_left_does_not_hear_the_caller_while_the_next_one_rings() {
    let (mut world, log) = route_world(2);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let first = last(&log, B, "INVITE", "").unwrap();
    let early = sdp("10.1.0.2", 1, "0", "");
    say(&mut world, B, &reply(&first, "183 Session Progress", "b", "", &early));
    let ours = port(&last(&log, A, "SIP/2.0 183", "").unwrap());
    speak(&mut world, "10.1.0.1:4000", ours, (1, 10));
    let heard = |log: &Log| {
        let to = "10.1.0.2:4000".parse().unwrap();
        log.borrow().iter().filter(|(_, datagram)| datagram.to == to).count()
    };
    assert!(heard(&log) >= 9);
    say(&mut world, B, &reply(&first, "503 Full", "b", "", ""));
    let next = last(&log, "10.1.0.3:5060", "INVITE", "").unwrap();
    say(&mut world, "10.1.0.3:5060", &reply(&next, "180 Ringing", "c", "", ""));
    let before = heard(&log);
    speak(&mut world, "10.1.0.1:4000", ours, (11, 50));
    assert_eq!(heard(&log), before, "the caller is heard by who is not called any more");
    let answer = sdp("10.1.0.3", 1, "0", "");
    say(&mut world, "10.1.0.3:5060", &reply(&next, "200 OK", "c", "", &answer));
    speak(&mut world, "10.1.0.1:4000", ours, (61, 10));
    let to = "10.1.0.3:4000".parse().unwrap();
    assert!(log.borrow().iter().filter(|(_, datagram)| datagram.to == to).count() >= 9);
}

#[test]
fn a_dialog_too_long_for_us_is_no_reason_to_say_that_we_are_full() {
    let (mut world, log) = route_world(1);
    let route = format!("<sip:p.example;lr;x={}>", "r".repeat(2_500));
    let more = format!("Record-Route: {route}\nRecord-Route: {route}\n");
    say(&mut world, A, &invite(&more, &sdp("10.1.0.1", 1, "0", "")));
    let answer = last(&log, A, "SIP/2.0", "INVITE").unwrap();
    assert!(!answer.starts_with("SIP/2.0 503"), "{answer}");
}

#[test]
fn a_call_that_ends_while_there_is_no_room_is_ended_at_both_far_ends() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    setup.plane.transactions = 2;
    setup.plane.timers.media_timeout = Duration::ZERO;
    let mut world = World::new(&setup);
    for _ in 0..4 {
        world.agent(Manner::silent());
    }
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let log = tap(&mut world);
    let (b, silent) = (world.address(1), [world.address(2), world.address(3)]);
    send(&mut world, 0, &Command::Originate(originate(CallId(5), b, "sip:b@x.example")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&invite, "200 OK", "b", "", &sdp("10.1.0.2", 1, "0", "")));
    world.run_for(40 * SECOND);
    for (at, target) in silent.into_iter().enumerate() {
        let call = CallId(10 + at as u128);
        send(&mut world, 0, &Command::Originate(originate(call, target, "sip:c@x.example")));
    }
    send(&mut world, 0, &Command::Hangup { call: CallId(5), cause: Cause::Normal });
    world.run_for(60 * SECOND);
    assert!(last(&log, B, "BYE", "").is_some(), "its far end never hears of the end");
}

#[test]
fn a_call_that_asks_without_end_leaves_room_for_others() {
    let mut call = call(&Said::default());
    for _ in 0..400 {
        let options = call.a.request("OPTIONS", "", "");
        let bytes = options.replace('\n', "\r\n").into_bytes();
        let to = world::plane::listener();
        call.world.inject(Datagram { from: A.parse().unwrap(), to, bytes });
        call.world.run_for(ms(5));
    }
    let other = invite("", &sdp("10.1.0.1", 1, "0", "")).replace("call\n", "other\n");
    say(&mut call.world, A, &other.replace("z9hG4bKfirst", "z9hG4bKother"));
    let answer = last(&call.log, A, "SIP/2.0", "Call-ID: other").unwrap();
    assert!(!answer.starts_with("SIP/2.0 503"), "{answer}");
    let bye = call.a.request("BYE", "", "");
    say(&mut call.world, A, &bye);
    assert!(last(&call.log, B, "BYE", "").is_some());
}

#[test]
fn digits_without_end_take_no_room_from_others() {
    let said = Said { of_b: "Allow: INVITE, ACK, BYE, INFO\n", ..Said::default() };
    let mut call = call(&said);
    for _ in 0..400 {
        let text = "Signal=5\nDuration=100\n";
        let more = format!("Content-Type: application/dtmf-relay\nContent-Length: 24\n\n{text}");
        let info = call.a.request("INFO", "", "").replace("Content-Length: 0\n\n", &more);
        let bytes = info.replace('\n', "\r\n").into_bytes();
        let to = world::plane::listener();
        call.world.inject(Datagram { from: A.parse().unwrap(), to, bytes });
        call.world.run_for(ms(5));
    }
    assert!(all(&call.log, B, "INFO", "Signal=5").len() > 20, "digits cross");
    let shards = call.world.plane.lanes.iter();
    let transactions: usize = shards.map(|lane| lane.shard.transactions()).sum();
    assert!(transactions < 200, "one call takes {transactions} transactions");
}

#[test]
fn a_join_that_is_called_off_at_once_joins_nobody() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 2;
    let mut world = World::new(&setup);
    world.agent(Manner::default());
    world.agent(Manner::default());
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let of = |call: u128| CallId(call << 64 | call);
    for (at, shard) in [(0, 0), (1, 1)] {
        let target = world.address(at);
        let uri = format!("sip:g{}@x.example", at + 1);
        let call = of(at as u128 + 1);
        send(&mut world, shard, &Command::Originate(originate(call, target, &uri)));
    }
    world.run_for(2 * SECOND);
    let second = |told: &world::Told| match told.event() {
        wire::Event::Answered { call, leg, .. } if call == of(2) => Some(leg),
        _ => None,
    };
    let b = manual(&mut world).told.iter().find_map(second).unwrap();
    for joined in [false, true] {
        if joined {
            send(&mut world, 0, &Command::Join { call: of(1), b });
            world.run_for(SECOND);
            assert_eq!(count(&world, Counter::JoinStanding), 2);
        }
        manual(&mut world).send(0, &Command::Join { call: of(1), b });
        manual(&mut world).send(0, &Command::Part { call: of(1) });
        world.run_for(2 * SECOND);
        assert_eq!(count(&world, Counter::JoinStanding), 0, "joined before: {joined}");
    }
}

#[test]
fn a_2xx_that_makes_no_dialog_for_us_is_acknowledged_and_ended() {
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    let more = "Record-Route: <<<broken\n";
    say(&mut world, B, &reply(&invite, "200 OK", "b", more, &sdp("10.1.0.2", 1, "0", "")));
    assert!(last(&log, B, "ACK", "").is_some(), "no ACK");
    assert!(last(&log, B, "BYE", "").is_some(), "no BYE");
    nothing_left(&mut world);
}

#[test]
fn a_2xx_without_a_tag_is_acknowledged_and_ended() {
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    let text = reply(&invite, "200 OK", "b", "", &sdp("10.1.0.2", 1, "0", ""));
    say(&mut world, B, &text.replace(";tag=b", ""));
    assert!(last(&log, B, "ACK", "").is_some(), "no ACK");
    assert!(last(&log, B, "BYE", "").is_some(), "no BYE");
}
