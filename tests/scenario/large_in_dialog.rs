//! What RFC 3261 section 18.1.1 says of size concerns every request: inside a dialog, and what a
//! successor says of an INVITE that had moved.

use base::Transport;
use wire::counter::Counter;
use wire::table::{StaticRoute, Table};
use world::{Manner, World};

use crate::by_hand::{
    self, A, B, Call, Hand, Log, body, call, described, empty, header, one_shard, send,
};
use crate::common::{SECOND, count, ms, publish, route_to, routed};

const TEXT: &str = "text/plain";
const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, MESSAGE\n";

fn world() -> (World, Log) {
    let mut world = routed(&one_shard(1), Manner::silent(), vec![Manner::silent()]);
    let networks = vec!["10.1.0.1".parse().unwrap()];
    let route = StaticRoute { trusted: networks, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

/// A call by UDP, whose B takes messages.
fn standing() -> (World, Log, Call) {
    let (mut world, log) = world();
    let parties = call(&mut world, &log, "texts", ("0", "0"));
    send(&mut world, B, &parties.b.request("OPTIONS", 20, ALLOW, &empty()));
    log.clear();
    (world, log, parties)
}

fn moved(world: &World) -> [u64; 2] {
    [Counter::SipMovedToStream, Counter::SipMovedBack].map(|it| count(world, it))
}

fn text(world: &mut World, parties: &Call, cseq: u32, bytes: usize) {
    let long = "x".repeat(bytes);
    send(world, A, &parties.a.request("MESSAGE", cseq, "", &body(TEXT, &long)));
}

fn is_answered(world: &mut World, log: &Log, parties: &Call, cseq: u32) {
    let passed = log.last(B, "MESSAGE", "");
    send(world, B, &parties.b.reply(&passed, "200 OK", "", &empty()));
    log.last(A, "SIP/2.0 200", &format!("{cseq} MESSAGE"));
}

fn ends(mut world: World, log: &Log, parties: &Call) {
    send(&mut world, A, &parties.a.request("BYE", 900, "", &empty()));
    let bye = log.last(B, "BYE", "SIP/2.0/UDP");
    send(&mut world, B, &parties.b.reply(&bye, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut world);
}

/// drachtio 296: one that is large goes by TCP, and those behind it by UDP as the dialog does.
#[test]
fn a_large_request_in_a_dialog_goes_by_tcp_and_the_next_one_does_not() {
    let (mut world, log, parties) = standing();
    world.by_tcp(B.parse().unwrap());
    text(&mut world, &parties, 2, 4_096);
    let passed = log.last(B, "MESSAGE", "");
    assert!(header(&passed, "Via").starts_with("SIP/2.0/TCP 10.0.0.1:5060;"), "{passed}");
    world.run_for(2 * SECOND);
    assert_eq!(log.all(B, "MESSAGE", "").len(), 1, "over a stream nothing is sent twice");
    is_answered(&mut world, &log, &parties, 2);
    text(&mut world, &parties, 3, 10);
    let passed = log.last(B, "MESSAGE", "");
    assert!(header(&passed, "Via").starts_with("SIP/2.0/UDP 10.0.0.1:5060;"), "{passed}");
    is_answered(&mut world, &log, &parties, 3);
    assert_eq!(moved(&world), [1, 0]);
    ends(world, &log, &parties);
}

/// pjsip 5075: where nobody listens for TCP, or a firewall says nothing, it goes by UDP after all.
#[test]
fn where_nobody_takes_tcp_it_goes_by_udp() {
    for is_silent in [false, true] {
        let (mut world, log, parties) = standing();
        if is_silent {
            world.plane.by_streams.insert(B.parse().unwrap(), Transport::Udp);
        }
        text(&mut world, &parties, 2, 4_096);
        if is_silent {
            assert!(log.all(B, "MESSAGE", "").is_empty());
            world.run_for(ms(1_100));
        }
        let passed = log.last(B, "MESSAGE", "");
        assert!(header(&passed, "Via").starts_with("SIP/2.0/UDP 10.0.0.1:5060;"), "{passed}");
        world.run_for(ms(600));
        assert_eq!(log.all(B, "MESSAGE", "").len(), 2, "it is repeated");
        is_answered(&mut world, &log, &parties, 2);
        assert_eq!(moved(&world), [1, 1], "{is_silent}");
        ends(world, &log, &parties);
    }
}

/// What is said behind a large one that waits for its connection waits along: the far end would
/// refuse what has been overtaken (RFC 3261 section 12.2.2).
#[test]
fn nothing_overtakes_a_request_that_waits_for_its_connection() {
    for is_silent in [false, true] {
        let (mut world, log, parties) = standing();
        if is_silent {
            world.plane.by_streams.insert(B.parse().unwrap(), Transport::Udp);
        }
        text(&mut world, &parties, 2, 4_096);
        world.run_for(ms(100));
        for cseq in 3..6 {
            text(&mut world, &parties, cseq, 10);
        }
        if is_silent {
            assert!(log.all(B, "MESSAGE", "").is_empty(), "nothing overtakes it");
        }
        world.run_for(ms(1_050));
        let passed = log.all(B, "MESSAGE", "");
        let mut cseqs: Vec<u32> = Vec::new();
        for message in &passed {
            let number = header(message, "CSeq").split(' ').next().unwrap().parse().unwrap();
            if !cseqs.contains(&number) {
                cseqs.push(number);
            }
        }
        assert!(cseqs.len() == 4 && cseqs.is_sorted(), "{is_silent} {cseqs:?}");
        for (cseq, number) in (2..6).zip(&cseqs) {
            let passed = log.last(B, "MESSAGE", &format!("CSeq: {number} "));
            assert!(header(&passed, "Via").starts_with("SIP/2.0/UDP "), "{passed}");
            send(&mut world, B, &parties.b.reply(&passed, "200 OK", "", &empty()));
            log.last(A, "SIP/2.0 200", &format!("{cseq} MESSAGE"));
        }
        ends(world, &log, &parties);
    }
}

/// The CANCEL of a successor goes where its INVITE went, and says so.
#[test]
fn a_successor_cancels_by_the_way_that_the_invite_went() {
    for is_taken in [true, false] {
        let (mut world, log) = world();
        if is_taken {
            world.by_tcp(B.parse().unwrap());
        }
        let entry = "History-Info: <sip:30222333444555@some.trunk.example>;index=1\n";
        let offer = described("10.1.0.1", 4_000, 1, "0");
        let invite = Hand::caller("large").request("INVITE", 1, &entry.repeat(20), &offer);
        send(&mut world, A, &invite);
        let asked = log.last(B, "INVITE", "");
        let ringing = Hand::callee(&asked, "b").reply(&asked, "180 Ringing", "", &empty());
        send(&mut world, B, &ringing);
        world.restart_plane(SECOND);
        world.run_for(2 * SECOND);
        let cancel = log.last(B, "CANCEL", "");
        let transport = if is_taken { "TCP" } else { "UDP" };
        assert!(header(&cancel, "Via").starts_with(&format!("SIP/2.0/{transport} ")), "{cancel}");
        assert_eq!(header(&cancel, "Via"), header(&asked, "Via"));
    }
}
