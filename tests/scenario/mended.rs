//! What a hostile reader found and nothing else holds: rules at the edges of two legs' agreement.

use base::{CallId, Frames, LegId};
use wire::counter::Counter;
use wire::{Command, Originate};
use world::control::encode;
use world::{Datagram, Manner, Manual, Setup, World};

use crate::by_hand;
use crate::common::{SECOND, answered, count, ends, incoming, manual, ms, originate, send, told};
use crate::raw::{
    A, B, Far, Log, Said, all, call, header, invite, last, nothing_left, port, reply, route_world,
    say, sdp, speak, tap,
};

/// A second caller, at the other address, in a call of its own.
fn invite_of_b(sdp: &str) -> String {
    let text =
        invite("", sdp).replace("10.1.0.1", "10.1.0.2").replace("Call-ID: call", "Call-ID: b");
    text.replace("tag=1", "tag=2").replace("z9hG4bKfirst", "z9hG4bKsecond")
}

/// The caller's half of the dialog that this response makes.
fn far(at: &'static str, answer: &str) -> Far {
    Far {
        at,
        call: header(answer, "Call-ID"),
        from: header(answer, "From"),
        to: header(answer, "To"),
        cseq: 1,
    }
}

fn acknowledge(world: &mut World, at: &'static str, answer: &str) -> Far {
    let mut far = far(at, answer);
    let ack = far.request("ACK", "", "");
    say(world, at, &ack);
    far
}

fn parted(world: &mut World) -> Vec<CallId> {
    let of = |told: &world::Told| match told.event() {
        wire::Event::Parted { call, .. } => Some(call),
        _ => None,
    };
    manual(world).told.iter().filter_map(of).collect()
}

/// A controlplane that takes each call and does no more.
fn taken(setup: &Setup) -> (World, Log) {
    let mut world = World::new(setup);
    world.agent(Manner::silent());
    world.agent(Manner::silent());
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let accept = Command::Accept { call: incoming.call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
    });
    world.control = Some(Box::new(manual));
    let log = tap(&mut world);
    (world, log)
}

/// Neither was dialled for the other: neither is more wanted, so the join is undone.
#[test]
fn a_join_of_two_that_cannot_hear_each_other_is_undone_and_both_stand() {
    for shards in 1..=3 {
        let mut setup = Setup::new(1);
        setup.plane.shards = shards;
        let mut world = answered(&setup, Manner::silent());
        world.agent(Manner::silent());
        let log = tap(&mut world);
        say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "9", "")));
        say(&mut world, B, &invite_of_b(&sdp("10.1.0.2", 1, "0", "")));
        for at in [A, B] {
            let ok = last(&log, at, "SIP/2.0 200", "INVITE").unwrap();
            acknowledge(&mut world, at, &ok);
        }
        let [(shard, first, _), (other, second, leg)] = incoming(&mut world)[..] else {
            panic!("two calls came")
        };
        send(&mut world, shard, &Command::Join { call: first, b: leg });
        world.run_for(5 * SECOND);
        assert!(ends(&mut world).is_empty(), "{shards}: {:?}", ends(&mut world));
        assert_eq!(count(&world, Counter::JoinStanding), 0, "{shards}");
        let mut parted = parted(&mut world);
        parted.sort();
        let mut both = vec![first, second];
        both.sort();
        assert_eq!(parted, both, "{shards}: each is told once");
        for (shard, call) in [(shard, first), (other, second)] {
            let cause = wire::event::Cause::Normal;
            send(&mut world, shard, &Command::Hangup { call, cause });
        }
        for at in [A, B] {
            let bye = last(&log, at, "BYE", "").unwrap();
            say(&mut world, at, &reply(&bye, "200 OK", "", "", ""));
        }
        nothing_left(&mut world);
    }
}

/// B speaks PCMU that no silence of ours looks like.
fn voice(world: &mut World, to: u16, numbers: core::ops::Range<u16>) {
    for seq in numbers {
        by_hand::packet(world, "10.1.0.2:4000", to, (seq, 7));
        world.run_for(ms(20));
    }
}

fn voice_heard(log: &Log) -> usize {
    let to = "10.1.0.1:4000".parse().unwrap();
    let log = log.borrow();
    log.iter().filter(|(_, sent)| sent.to == to && sent.bytes.ends_with(&[0xd5; 160])).count()
}

#[test]
fn a_caller_that_is_answered_while_it_hears_early_media_goes_on_hearing_it() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    let (mut world, log) = taken(&setup);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let (shard, call, leg) = incoming(&mut world)[0];
    let target = world.address(1);
    let wish = originate(CallId(77), target, "sip:b@x.example");
    let wish = Originate { peer: leg, parent: call, ..wish };
    send(&mut world, shard, &Command::Originate(wish));
    world.run_for(ms(50));
    let asked = last(&log, B, "INVITE", "").unwrap();
    let early = sdp("10.1.0.2", 1, "0", "");
    say(&mut world, B, &reply(&asked, "183 Session Progress", "b", "", &early));
    voice(&mut world, port(&asked), 1..21);
    assert!(voice_heard(&log) >= 18, "{}", voice_heard(&log));
    send(&mut world, shard, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(50));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    acknowledge(&mut world, A, &ok);
    let before = voice_heard(&log);
    voice(&mut world, port(&asked), 21..61);
    assert!(voice_heard(&log) >= before + 38, "{before}, then {}", voice_heard(&log));
    say(&mut world, B, &reply(&asked, "200 OK", "b", "", &early));
    let before = voice_heard(&log);
    voice(&mut world, port(&asked), 61..81);
    assert!(voice_heard(&log) >= before + 18, "{before}, then {}", voice_heard(&log));
    assert_eq!(count(&world, Counter::JoinStanding), 2);
}

#[test]
fn early_media_that_ends_behind_an_answer_leaves_silence() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    let (mut world, log) = taken(&setup);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let (shard, call, leg) = incoming(&mut world)[0];
    let target = world.address(1);
    let wish = originate(CallId(77), target, "sip:b@x.example");
    let wish = Originate { peer: leg, parent: call, ..wish };
    send(&mut world, shard, &Command::Originate(wish));
    world.run_for(ms(50));
    let asked = last(&log, B, "INVITE", "").unwrap();
    let early = sdp("10.1.0.2", 1, "0", "");
    say(&mut world, B, &reply(&asked, "183 Session Progress", "b", "", &early));
    send(&mut world, shard, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(50));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    acknowledge(&mut world, A, &ok);
    say(&mut world, B, &reply(&asked, "486 Busy", "b", "", ""));
    log.borrow_mut().clear();
    world.run_for(SECOND);
    let to = "10.1.0.1:4000".parse().unwrap();
    let packets = log.borrow().iter().filter(|(_, sent)| sent.to == to).count();
    assert!(packets >= 45, "{packets}");
    assert!(!told(&mut world).contains(&"joined"));
}

/// How long a target may say nothing is each target's own; how long it may ring is the call's.
#[test]
fn each_target_gets_its_time_to_speak_and_the_call_gets_one_time_to_ring() {
    let (mut world, log) = route_world(3);
    let (second, third) = ("10.1.0.3:5060", "10.1.0.4:5060");
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let first = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&first, "180 Ringing", "b", "", ""));
    world.run_for(10 * SECOND);
    say(&mut world, B, &reply(&first, "503 Full", "b", "", ""));
    assert!(last(&log, second, "INVITE", "").is_some());
    world.run_for(ms(3_800));
    assert!(last(&log, third, "INVITE", "").is_none(), "it has 4 s to say something");
    world.run_for(ms(300));
    let asked = last(&log, third, "INVITE", "").unwrap();
    say(&mut world, third, &reply(&asked, "180 Ringing", "c", "", ""));
    world.run_for(ms(15_000));
    assert!(last(&log, third, "CANCEL", "").is_none(), "29 s");
    world.run_for(ms(2_000));
    assert!(last(&log, third, "CANCEL", "").is_some(), "31 s");
}

/// What two branches of a forking proxy say before one of them answers without a description.
fn forked(said: &[(&str, &str, bool)], answers: &str) -> (bool, bool) {
    let (mut world, log) = route_world(1);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let asked = last(&log, B, "INVITE", "").unwrap();
    for (tag, status, describes) in said {
        let early = if *describes { sdp("10.1.0.2", 1, "0", "") } else { String::new() };
        say(&mut world, B, &reply(&asked, status, tag, "", &early));
    }
    say(&mut world, B, &reply(&asked, "200 OK", answers, "", ""));
    let tag = format!(";tag={answers}");
    assert!(last(&log, B, "ACK", &tag).is_some(), "{said:?}: no ACK");
    let stands = last(&log, A, "SIP/2.0 200", "INVITE").is_some();
    (stands, last(&log, B, "BYE", &tag).is_some())
}

/// RFC 3261 section 13.2.1: an answer belongs to its dialog.
#[test]
fn a_final_answer_without_a_description_relies_on_an_early_one_of_its_own_dialog_only() {
    let (ring, progress) = ("180 Ringing", "183 Session Progress");
    let (taken, ended) = ((true, false), (false, true));
    assert_eq!(forked(&[("b1", progress, true)], "b1"), taken);
    assert_eq!(forked(&[("b1", progress, true), ("b2", ring, false)], "b1"), taken);
    assert_eq!(forked(&[("b1", progress, true), ("b2", progress, true)], "b2"), taken);
    assert_eq!(forked(&[("b1", progress, true), ("b2", ring, false)], "b2"), ended);
    assert_eq!(forked(&[("b1", progress, true), ("b2", progress, true)], "b1"), ended);
    assert_eq!(forked(&[("b1", progress, true)], "b3"), ended);
}

/// Its answer could not be written, so it was as if it had not come.
#[test]
fn a_change_that_was_not_answered_for_want_of_room_is_served_when_it_comes_again() {
    for method in ["INVITE", "UPDATE"] {
        let mut call = call(&Said::default());
        // The request fits into a small frame, its answer does not.
        let via = format!("Via: SIP/2.0/UDP p.example;branch=z9hG4bK{}\n", "r".repeat(1_000));
        let request = call.a.request(method, &via, &sdp("10.1.0.1", 2, "0", "a=sendonly\n"));
        let room = 1_980 - request.replace('\n', "\r\n").len();
        let request = request.replace("z9hG4bKr", &format!("z9hG4bKr{}", "r".repeat(room)));
        let heap = &mut call.world.plane.lanes[0].heap;
        let mut held = Vec::new();
        while let Some(frame) = heap.alloc(4_000) {
            held.push(frame);
        }
        assert!(!held.is_empty());
        say(&mut call.world, A, &request);
        let has = format!("CSeq: {} {method}", call.a.cseq);
        assert_eq!(last(&call.log, A, "SIP/2.0", &has), None);
        held.into_iter().for_each(|frame| call.world.plane.lanes[0].heap.free(frame));
        say(&mut call.world, A, &request);
        let answer = last(&call.log, A, "SIP/2.0", &has).unwrap();
        assert!(answer.starts_with("SIP/2.0 200"), "{method}: {answer}");
        assert!(answer.contains("a=recvonly"), "{answer}");
        call.unharmed();
    }
}

#[test]
fn a_bye_that_meets_our_own_end_is_answered_and_takes_the_place_of_the_ack() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    let mut world = answered(&setup, Manner::silent());
    let log = tap(&mut world);
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let (shard, call, _) = incoming(&mut world)[0];
    let cause = wire::event::Cause::Normal;
    send(&mut world, shard, &Command::Hangup { call, cause });
    let mut a = far(A, &ok);
    let bye = a.request("BYE", "", "");
    say(&mut world, A, &bye);
    let answer = last(&log, A, "SIP/2.0", " BYE\r\n").unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    log.borrow_mut().clear();
    world.run_for(10 * SECOND);
    assert!(all(&log, A, "SIP/2.0 200", "INVITE").is_empty(), "nobody waits for its ACK");
    assert!(all(&log, A, "BYE", "").is_empty(), "it is over on both sides");
    nothing_left(&mut world);
}

fn digit(of: &mut Far, digit: char) -> String {
    let text = format!("Signal={digit}\nDuration=100\n");
    let length = text.len() + 2;
    let kind = "Content-Type: application/dtmf-relay\n";
    let more = format!("{kind}Content-Length: {length}\n\n{text}");
    of.request("INFO", "", "").replace("Content-Length: 0\n\n", &more)
}

#[test]
fn whether_digits_may_come_by_info_is_what_the_far_end_last_said() {
    let mut call = call(&Said::default());
    let mut allowed = false;
    for (allow, takes) in [
        ("", false),
        ("Allow: INVITE, ACK, BYE, INFO\n", true),
        ("", true),
        ("Allow: INVITE, ACK, BYE\n", false),
    ] {
        let options = call.b.request("OPTIONS", allow, "");
        say(&mut call.world, B, &options);
        let before = all(&call.log, B, "INFO", "Signal=5").len();
        let info = digit(&mut call.a, '5');
        say(&mut call.world, A, &info);
        let status = if takes { "SIP/2.0 200" } else { "SIP/2.0 415" };
        let answer = last(&call.log, A, "SIP/2.0", " INFO\r\n").unwrap();
        assert!(answer.starts_with(status), "{allow}, before {allowed}: {answer}");
        let infos = all(&call.log, B, "INFO", "Signal=5");
        assert_eq!(infos.len() > before, takes, "{allow}");
        if let Some(info) = infos.last().filter(|_| takes) {
            call.b_answers(info, "200 OK", "", "");
        }
        allowed = takes;
    }
    assert!(call.b_reinvited().is_empty(), "no offer for that");
    assert!(all(&call.log, A, "INVITE", "").is_empty(), "no offer for that");
}

/// Who asked for a join that cannot be is told, whatever stands in its way, and may ask again.
#[test]
fn a_join_with_a_leg_that_is_not_up_is_refused_to_who_asked() {
    for shards in 1..=3 {
        let mut setup = Setup::new(1);
        setup.plane.shards = shards;
        let (mut world, log) = taken(&setup);
        say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0", "")));
        say(&mut world, B, &invite_of_b(&sdp("10.1.0.2", 1, "0", "")));
        let [(shard, first, _), (other, second, leg)] = incoming(&mut world)[..] else {
            panic!("two calls came")
        };
        send(&mut world, shard, &Command::Answer { call: first, limit_ms: 0 });
        world.run_for(ms(50));
        let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
        acknowledge(&mut world, A, &ok);
        send(&mut world, shard, &Command::Join { call: first, b: leg });
        world.run_for(ms(100));
        assert_eq!(parted(&mut world), [first], "{shards}: told once, to who asked");
        let nobody = LegId(leg.0 ^ 1 << 40);
        send(&mut world, shard, &Command::Join { call: first, b: nobody });
        world.run_for(ms(100));
        assert_eq!(parted(&mut world), [first, first], "{shards}: that there is nobody");
        send(&mut world, other, &Command::Answer { call: second, limit_ms: 0 });
        world.run_for(ms(50));
        let ok = last(&log, B, "SIP/2.0 200", "INVITE").unwrap();
        acknowledge(&mut world, B, &ok);
        assert_eq!(count(&world, Counter::JoinStanding), 0, "{shards}: the first wish is over");
        send(&mut world, shard, &Command::Join { call: first, b: leg });
        world.run_for(SECOND);
        assert_eq!(count(&world, Counter::JoinStanding), 2, "{shards}");
        assert!(ends(&mut world).is_empty(), "{shards}: {:?}", ends(&mut world));
    }
}

/// Digits that reached B as RTP events.
fn events(log: &Log) -> usize {
    let to = "10.1.0.2:4000".parse().unwrap();
    let log = log.borrow();
    log.iter().filter(|(_, sent)| sent.to == to && sent.bytes[1] == 0x80 | 101).count()
}

#[test]
fn a_digit_for_which_there_is_no_room_is_told_to_come_again() {
    let (mut world, log) = route_world(1);
    let event = "a=rtpmap:101 telephone-event/8000\n";
    say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "0 101", event)));
    let asked = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&asked, "200 OK", "b", "", &sdp("10.1.0.2", 1, "0 101", event)));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let mut a = acknowledge(&mut world, A, &ok);
    speak(&mut world, "10.1.0.2:4000", port(&asked), (1, 5));
    speak(&mut world, "10.1.0.1:4000", port(&ok), (1, 5));
    for _ in 0..20 {
        let bytes = digit(&mut a, '7').replace('\n', "\r\n").into_bytes();
        let to = world::plane::listener();
        world.inject(Datagram { from: A.parse().unwrap(), to, bytes });
        world.run_for(ms(5));
    }
    world.run_for(10 * SECOND);
    let taken = all(&log, A, "SIP/2.0 200", " INFO\r\n").len();
    let refused = all(&log, A, "SIP/2.0 503", " INFO\r\n");
    assert!(taken >= 8 && taken + refused.len() == 20, "{taken}, {}", refused.len());
    assert!(refused.iter().all(|text| text.contains("Retry-After: ")), "{refused:?}");
    assert_eq!(events(&log), taken, "each that was taken arrives");
    let digits = |world: &mut World| told(world).iter().filter(|name| **name == "digit").count();
    assert_eq!(digits(&mut world), taken);
    let text = digit(&mut a, '8');
    say(&mut world, A, &text);
    assert_eq!(all(&log, A, "SIP/2.0 200", " INFO\r\n").len(), taken + 1, "there is room again");
    world.run_for(SECOND);
    assert_eq!(events(&log), taken + 1);
}

/// RFC 3264 section 8: the lines keep their number and their order.
#[test]
fn a_stopped_description_of_several_lines_is_offered_again_when_its_far_end_asks() {
    let audio = "m=audio 0 RTP/AVP 0\n";
    let video = "m=video 0 RTP/AVP 31\n";
    for (lines, at) in [([audio, video], 0), ([video, audio], 1)] {
        let mut call = call(&Said::default());
        let head = "v=0\no=- 7 2 IN IP4 10.1.0.1\ns=-\nc=IN IP4 10.1.0.1\nt=0 0\n";
        let status = call.a_offers(&format!("{head}{}", lines.concat()));
        assert!(status.starts_with("SIP/2.0 200"), "{status}");
        let ask = call.a.request("INVITE", "", "");
        say(&mut call.world, A, &ask);
        let has = format!("CSeq: {} INVITE", call.a.cseq);
        let answer = last(&call.log, A, "SIP/2.0", &has).unwrap();
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        let ours: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(ours.len(), 2, "{answer}");
        assert!(ours[at].starts_with("m=audio ") && port(&answer) != 0, "{answer}");
        assert_eq!(ours[1 - at], "m=video 0 RTP/AVP 31", "{answer}");
        let again = lines.concat().replace("m=audio 0", "m=audio 4000");
        let again = format!("{}{again}", head.replace("7 2", "7 3"));
        let ack = call.a.request("ACK", "", &again);
        say(&mut call.world, A, &ack);
        call.world.run_for(SECOND);
        assert!(all(&call.log, A, "BYE", "").is_empty(), "the call stands");
        call.unharmed();
    }
}

/// A far end that refuses every refresh is asked seldom while the session has long to go, and often
/// enough before it ends.
#[test]
fn a_refresh_that_is_always_refused_is_no_flood() {
    for status in ["422 Too Small", "488 Not Acceptable Here", "500 Server Error"] {
        let more = "Supported: timer\nSession-Expires: 1800;refresher=uas\n\
                    Allow: INVITE, ACK, BYE, UPDATE\n";
        let mut call = call(&Said { of_a: more, ..Said::default() });
        let mut asked = 0;
        for _ in 0..1_800 {
            call.world.run_for(SECOND);
            if let Some(refresh) = last(&call.log, A, "UPDATE", "") {
                call.log.borrow_mut().clear();
                say(&mut call.world, A, &reply(&refresh, status, "1", "", ""));
                asked += 1;
            }
        }
        assert!((8..60).contains(&asked), "{status}: {asked}");
    }
}

/// RFC 4028 section 7.3: a refresh that was too short names what it was told, and is not repeated
/// as it was.
#[test]
fn a_refresh_that_was_too_short_is_lengthened_and_says_for_whom() {
    for method in ["UPDATE", "INVITE"] {
        let allow = format!("Allow: INVITE, ACK, BYE, {method}\n");
        let more = format!("Supported: timer\nSession-Expires: 90;refresher=uas\n{allow}");
        let mut call = call(&Said { of_a: more.leak(), ..Said::default() });
        call.world.run_for(46 * SECOND);
        let refresh = last(&call.log, A, method, "").unwrap();
        say(&mut call.world, A, &reply(&refresh, "422 Too Small", "1", "Min-SE: 120\n", ""));
        call.world.run_for(3 * SECOND);
        let again = last(&call.log, A, method, "").unwrap();
        assert!(again.contains("Session-Expires: 120;"), "{again}");
        assert!(again.contains("Min-SE: 120\r\n"), "{again}");
        let agreed =
            format!("Contact: <sip:x@{A}>\nSession-Expires: 120;refresher=uac\nRequire: timer\n");
        let described =
            if method == "INVITE" { sdp("10.1.0.1", 1, "0", "") } else { String::new() };
        say(&mut call.world, A, &reply(&again, "200 OK", "1", &agreed, &described));
        call.log.borrow_mut().clear();
        call.world.run_for(50 * SECOND);
        assert!(last(&call.log, A, method, "").is_none(), "it is fresh for a minute");
        call.world.run_for(15 * SECOND);
        let next = last(&call.log, A, method, "").unwrap();
        assert!(next.contains("Min-SE: 120\r\n"), "{next}");
    }
}
