//! A call that an application takes from a stranger: until something that we sent has come back
//! from there, its address may be forged, and what it describes may be somebody else's. It gets a
//! few messages and no media (THREATS.md, amplification).

use wire::Command;
use wire::counter::Counter;
use wire::event::Cause;
use wire::table::Table;
use world::{Datagram, Manner, World};

use crate::common::{SECOND, count, manual, ms, publish, route_to};
use crate::raw::{Log, all, body, header, sdp};
use crate::strangers::{KNOWN, STRANGER, admission, incoming, request, send, world};

/// A number that takes calls from everywhere.
const OPEN: &str = "sip:+15550002@10.0.0.1";

/// A stranger's call with media at `host` is answered, and hears silence.
fn answered(world: &mut World, log: &Log, host: &str) -> String {
    let invite = request("INVITE", OPEN, STRANGER, 1, &body(&sdp(host, 1, "0", "")));
    send(world, STRANGER, &invite);
    world.run_for(ms(300));
    let call = incoming(world);
    manual(world).send(0, &Command::Accept { call, account: 7, setup_ms: 60_000 });
    manual(world).send(0, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(300));
    all(log, STRANGER, "SIP/2.0 200", "").pop().expect("an answer")
}

fn ack(world: &mut World, answer: &str) {
    let to = header(answer, "To");
    let text = request("ACK", OPEN, STRANGER, 1, &body(""));
    let text = text.replace("branch=z9hG4bK1;", "branch=z9hG4bKack;");
    send(world, STRANGER, &text.replace(&format!("To: <{OPEN}>"), &format!("To: {to}")));
    world.run_for(ms(20));
}

/// Media packets that left for this host.
fn media_to(log: &Log, host: &str) -> usize {
    let host: std::net::IpAddr = host.parse().unwrap();
    let log = log.borrow();
    log.iter().filter(|(_, sent)| sent.to.ip() == host && sent.bytes[0] == 0x80).count()
}

/// Where our answer says that media is wanted.
fn port_of(answer: &str) -> u16 {
    let line = answer.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

fn speak(world: &mut World, from: &str, port: u16, packets: u16) {
    for seq in 0..packets {
        let mut bytes = vec![0x80, 0];
        bytes.extend(seq.to_be_bytes());
        bytes.extend((u32::from(seq) * 160).to_be_bytes());
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend([0xd5; 160]);
        let to = std::net::SocketAddr::new(world::plane::listener().ip(), port);
        world.inject(Datagram { from: from.parse().unwrap(), to, bytes });
        world.run_for(ms(20));
    }
}

#[test]
fn whoever_never_acknowledges_gets_a_few_messages_and_no_media() {
    for host in ["10.2.0.9", "10.9.9.9"] {
        let (mut world, log) = world(4_000);
        answered(&mut world, &log, host);
        world.run_for(60 * SECOND);
        let oks = all(&log, STRANGER, "SIP/2.0 200", "").len();
        let byes = all(&log, STRANGER, "BYE", "").len();
        assert_eq!((oks, byes), (3, 1), "the 200 three times, BYE once");
        assert_eq!(log.borrow().len(), oks + byes + 1, "and one 100: {:?}", log.borrow());
        assert_eq!(media_to(&log, host), 0, "{host}");
        let left = world.plane.leftovers();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The dataplane dies in between: its successor's last word is one, too.
#[test]
fn a_successor_tells_whoever_never_acknowledged_once() {
    let (mut world, log) = world(4_000);
    answered(&mut world, &log, "10.2.0.9");
    world.run_for(3 * SECOND);
    let waits = request("INVITE", OPEN, STRANGER, 2, &body(&sdp("10.2.0.9", 1, "0", "")));
    send(&mut world, STRANGER, &waits);
    world.run_for(ms(200));
    let before = log.borrow().len();
    world.restart_plane(SECOND);
    world.run_for(60 * SECOND);
    let byes = all(&log, STRANGER, "BYE", "").len();
    let refusals = all(&log, STRANGER, "SIP/2.0 500", "").len();
    assert_eq!((byes, refusals), (1, 1), "the call that stands, and the one that waits");
    assert_eq!(log.borrow().len(), before + 2);
}

#[test]
fn whoever_acknowledges_has_media_where_it_signals_from() {
    let (mut world, log) = world(4_000);
    let answer = answered(&mut world, &log, "10.2.0.9");
    world.run_for(SECOND);
    assert_eq!(media_to(&log, "10.2.0.9"), 0);
    ack(&mut world, &answer);
    world.run_for(2 * SECOND);
    assert!(media_to(&log, "10.2.0.9") >= 90, "{}", media_to(&log, "10.2.0.9"));
}

#[test]
fn media_described_elsewhere_begins_when_it_speaks_from_there() {
    let (mut world, log) = world(4_000);
    let answer = answered(&mut world, &log, "10.9.9.9");
    ack(&mut world, &answer);
    world.run_for(2 * SECOND);
    // The signalling host speaks for it: what it describes is still somebody else's.
    speak(&mut world, "10.2.0.9:4000", port_of(&answer), 50);
    assert_eq!(media_to(&log, "10.9.9.9"), 0, "a third party is sent nothing");
    speak(&mut world, "10.9.9.9:4000", port_of(&answer), 50);
    assert!(media_to(&log, "10.9.9.9") >= 30, "{}", media_to(&log, "10.9.9.9"));
    // It moves: the new place has not spoken.
    let moved = request("INVITE", OPEN, STRANGER, 1, &body(&sdp("10.9.9.8", 2, "0", "")));
    let to = header(&answer, "To");
    let moved = moved
        .replace(&format!("To: <{OPEN}>"), &format!("To: {to}"))
        .replace("CSeq: 1", "CSeq: 2")
        .replace("branch=z9hG4bK1", "branch=z9hG4bKmove");
    send(&mut world, STRANGER, &moved);
    world.run_for(2 * SECOND);
    assert_eq!(media_to(&log, "10.9.9.8"), 0, "a third party is sent nothing");
}

/// Whoever has shown that it hears us may still describe somebody else.
#[test]
fn a_second_call_of_a_proven_source_sends_no_third_party_media() {
    let (mut world, log) = world(4_000);
    let answer = answered(&mut world, &log, "10.2.0.9");
    ack(&mut world, &answer);
    world.run_for(SECOND);
    for (number, host, hears) in [(50, "10.9.9.9", false), (60, "10.2.0.9", true)] {
        let before = media_to(&log, host);
        let invite = request("INVITE", OPEN, STRANGER, number, &body(&sdp(host, 1, "0", "")));
        // The first call's media stays out of the count.
        send(&mut world, STRANGER, &invite.replace("m=audio 4000", "m=audio 6000"));
        world.run_for(ms(300));
        let call = incoming(&mut world);
        manual(&mut world).send(0, &Command::Accept { call, account: 7, setup_ms: 60_000 });
        manual(&mut world).send(0, &Command::Answer { call, limit_ms: 0 });
        world.run_for(2 * SECOND);
        let more = media_to(&log, host) - before;
        // The first call alone brings a hundred there.
        assert_eq!(more > if hears { 150 } else { 0 }, hears, "{host}: {more}");
    }
}

/// A request whose source is forged moves where the dialog's messages go; it proves nothing.
#[test]
fn who_knows_a_dialog_cannot_make_others_known() {
    let (mut world, log) = world(4_000);
    let answer = answered(&mut world, &log, "10.2.0.9");
    ack(&mut world, &answer);
    let victim = "10.7.7.7:5060";
    for number in 0..4 {
        let info = request("INFO", OPEN, STRANGER, 1, &body(""))
            .replace(&format!("To: <{OPEN}>"), &format!("To: {}", header(&answer, "To")))
            .replace("CSeq: 1", &format!("CSeq: {}", number + 2))
            .replace("branch=z9hG4bK1", &format!("branch=z9hG4bKinfo{number}"));
        send(&mut world, victim, &info);
        world.run_for(ms(50));
    }
    let before = log.borrow().len();
    for number in 100..600 {
        let options = request("OPTIONS", "sip:10.0.0.1", victim, number, &body(""));
        send(&mut world, victim, &options);
    }
    world.run_for(ms(200));
    let answers = log.borrow().len() - before;
    assert!(answers <= 200, "{answers} of 500: as a stranger's");
}

/// Nobody answers for what strangers call: their legs wait, and trunks' calls go on.
#[test]
fn without_a_controlplane_strangers_leave_room_for_trunk_calls() {
    let (mut world, log) = world(4_000);
    let callee = world.agent(Manner::silent());
    let mut route = route_to(&world, &[callee]);
    route.sources = vec!["10.1.0.0/16".parse().unwrap()];
    route.prefix = "9".to_owned();
    publish(
        &mut world,
        &Table { routes: vec![route], admission: Some(admission()), ..Table::default() },
    );
    for number in 0..4_000_u32 {
        let from = format!("10.4.{}.{}:5060", number % 40, number / 40 % 100 + 1);
        let invite = request("INVITE", OPEN, &from, number, &body(&sdp("10.4.0.1", 1, "0", "")));
        send(&mut world, &from, &invite);
        if number % 8 == 0 {
            world.run_for(ms(5));
        }
    }
    assert!(count(&world, Counter::RefusedNoCell) > 0, "there is no more room for strangers");
    let trunk =
        request("INVITE", "sip:900@10.0.0.1", KNOWN, 9_999, &body(&sdp("10.1.0.1", 1, "0", "")));
    send(&mut world, KNOWN, &trunk);
    world.run_for(ms(300));
    assert_eq!(all(&log, KNOWN, "SIP/2.0 100", "").len(), 1, "a trunk's call is taken");
    assert_eq!(all(&log, KNOWN, "SIP/2.0 503", "").len(), 0);
}

/// A known source that acknowledges nothing leaves room for others.
#[test]
fn refusals_that_nobody_acknowledges_make_room() {
    let mut setup = world::Setup::new(3);
    setup.plane.shards = 1;
    setup.plane.transactions = 64;
    let mut world = World::new(&setup);
    world.control = Some(Box::new(world::Manual::new(&world.plane)));
    let callee = world.agent(Manner::silent());
    let mut route = route_to(&world, &[callee]);
    route.sources = vec!["10.5.0.0/16".parse().unwrap()];
    publish(
        &mut world,
        &Table { routes: vec![route], admission: Some(admission()), ..Table::default() },
    );
    let log = crate::raw::tap(&mut world);
    for number in 0..200_u32 {
        let uri = "sip:+15550001@10.0.0.1";
        let invite = request("INVITE", uri, KNOWN, number, &body(&sdp("10.1.0.1", 1, "0", "")));
        send(&mut world, KNOWN, &invite);
        world.run_for(ms(20));
        let call = incoming(&mut world);
        let (code, reason, retry_after, cause) = (403, "Forbidden", 0, Cause::Forbidden);
        manual(&mut world).send(0, &Command::Reject { call, code, reason, retry_after, cause });
        world.run_for(ms(20));
    }
    let from = "10.5.0.1:5060";
    let trunk =
        request("INVITE", "sip:900@10.0.0.1", from, 9_999, &body(&sdp("10.5.0.1", 1, "0", "")));
    send(&mut world, from, &trunk);
    world.run_for(ms(300));
    assert_eq!(all(&log, from, "SIP/2.0 100", "").len(), 1, "a trunk's call is taken");
    assert!(count(&world, Counter::TransactionEvicted) > 0);
}
