//! SIP over TCP (RFC 3261 section 18): calls by connections, connections that break, and what comes
//! by them that is no message.

use std::net::SocketAddr;
use std::rc::Rc;

use base::Transport;
use sdp::Direction;
use shard::plan::GuardPlan;
use wire::counter::Counter;
use wire::table::Table;
use world::{Action, Datagram, Fate, Manner, Setup, World};

use crate::common::{
    SECOND, count, dial, ends, heard, ms, nothing_left, publish, route_to, routed,
};
use crate::raw;
use crate::strangers::admission;

fn tcp() -> Manner {
    Manner { by_tcp: true, ..Manner::default().with_audio() }
}

/// Pieces fall elsewhere in each world, and the connection and the call are on other shards.
#[test]
fn calls_go_by_connections_and_nothing_is_sent_twice() {
    for seed in 1..24 {
        for (caller, callee) in [(true, true), (true, false), (false, true)] {
            let manner = |by_tcp: bool| Manner { by_tcp, ..Manner::default().with_audio() };
            let mut world = routed(&Setup::new(seed), manner(caller), vec![manner(callee)]);
            let call = dial(&mut world, 1);
            world.run_for(3 * SECOND);
            let callee_call = world.callee_of(1).unwrap();
            assert!(heard(&world, call, 3) > 40 && heard(&world, callee_call, 2) > 40);
            let seen = &world.call(callee_call).seen.text;
            let via = if callee { "Via: SIP/2.0/TCP 10.0.0.1:5060;" } else { "Via: SIP/2.0/UDP " };
            assert!(seen.contains(via), "{seen}");
            assert_eq!(seen.contains("5060;transport=tcp>"), callee, "{seen}");
            world.act(call, Action::Reinvite(Direction::SendOnly));
            world.run_for(SECOND);
            let direction = world.call(call).seen.answered_direction;
            assert_eq!(direction, Some(Direction::RecvOnly));
            world.act(if seed % 2 == 0 { call } else { callee_call }, Action::HangUp);
            world.run_for(SECOND);
            assert_eq!(ends(&mut world).len(), 2);
            let opened = count(&world, Counter::ConnectionOpened);
            assert_eq!(count(&world, Counter::ConnectionAccepted), u64::from(caller));
            assert_eq!(opened, u64::from(callee), "one connection carries it all");
            assert_eq!(count(&world, Counter::SipRetransmitted), 0);
            nothing_left(&mut world);
        }
    }
}

/// Between answer and BYE every connection breaks: those who are to be told are told by new ones.
#[test]
fn a_dialog_outlives_its_connections() {
    for hangs_up in [true, false] {
        let mut world = routed(&Setup::new(3), tcp(), vec![tcp()]);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        for at in [call, callee] {
            let address = world.address(at.agent);
            world.plane.cut(address);
        }
        world.run_for(SECOND);
        assert_eq!(count(&world, Counter::ConnectionStanding), 0);
        world.act(if hangs_up { call } else { callee }, Action::HangUp);
        world.run_for(2 * SECOND);
        assert_eq!(ends(&mut world).len(), 2, "both far ends heard of it");
        nothing_left(&mut world);
    }
}

/// The first target takes no connection and is left at once. The second one loses it before it has
/// said a word: it is asked once more by another one, and has its time. The third one answers.
#[test]
fn a_target_that_cannot_be_connected_is_left_at_once() {
    let mut world = routed(&Setup::new(4), tcp(), vec![tcp()]);
    let silent = world.agent(Manner { on_ring: Vec::new(), trying: false, ..tcp() });
    let gone: SocketAddr = "10.1.9.9:5060".parse().unwrap();
    let mut route = route_to(&world, &[silent, 1]);
    route.targets.insert(0, base::Target::by(Transport::Tcp, gone));
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let call = dial(&mut world, 1);
    world.run_for(ms(500));
    assert_eq!(count(&world, Counter::ConnectionFailed), 1);
    assert_eq!(count(&world, Counter::DiscardConnectionGone), 1, "the INVITE that waited");
    let address = world.address(silent);
    world.plane.cut(address);
    world.run_for(SECOND);
    assert_eq!(count(&world, Counter::SipRetransmitted), 1);
    assert!(world.call(call).seen.answered_at.is_none());
    world.run_for(5 * SECOND);
    assert!(world.call(call).seen.answered_at.is_some(), "the third one has answered");
    world.act(call, Action::HangUp);
    world.run_for(40 * SECOND);
    nothing_left(&mut world);
}

/// Where there is room for one connection of ours, one by which nothing was said for a while makes
/// room for another far end; what is to be said by it later makes a new one.
#[test]
fn an_idle_connection_of_ours_makes_room() {
    let mut setup = Setup::new(12);
    setup.plane.connections = (64, 1);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    let other = world.agent(tcp());
    let first = dial(&mut world, 1);
    world.run_for(10 * SECOND);
    let routes = vec![route_to(&world, &[other])];
    publish(&mut world, &Table { routes, admission: None, ..Table::default() });
    let second = dial(&mut world, 2);
    world.run_for(10 * SECOND);
    for call in [first, second] {
        assert!(world.call(call).seen.answered_at.is_some());
        world.act(call, Action::HangUp);
        world.run_for(6 * SECOND);
    }
    assert_eq!(count(&world, Counter::DiscardConnectionFull), 0);
    assert!(count(&world, Counter::ConnectionOpened) >= 3);
    assert_eq!(ends(&mut world).len(), 4);
    nothing_left(&mut world);
}

/// Where there is room for one connection of ours, a second far end is left at once.
#[test]
fn no_room_for_a_connection_is_told_at_once() {
    let mut setup = Setup::new(9);
    setup.plane.connections = (64, 1);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    let other = world.agent(tcp());
    let first = dial(&mut world, 1);
    world.run_for(2 * SECOND);
    let routes = vec![route_to(&world, &[other, 1])];
    publish(&mut world, &Table { routes, admission: None, ..Table::default() });
    let second = dial(&mut world, 2);
    world.run_for(3 * SECOND);
    assert_eq!(count(&world, Counter::DiscardConnectionFull), 1);
    for call in [first, second] {
        assert!(world.call(call).seen.answered_at.is_some(), "by the one that there is room for");
        world.act(call, Action::HangUp);
    }
    world.run_for(SECOND);
    nothing_left(&mut world);
}

const A: &str = "10.1.0.7:40000";

/// Bytes by a connection of its own, and the answers it got.
fn stream(world: &mut World, from: &str, bytes: &[u8]) {
    let from: SocketAddr = from.parse().unwrap();
    world.by_tcp(from);
    world.inject(Datagram { from, to: world::plane::listener(), bytes: bytes.to_vec() });
    // Gauges are told ten times a second.
    world.run_for(ms(150));
}

/// Where those who are in no list are strangers.
fn closed(seed: u64) -> World {
    let mut setup = Setup::new(seed);
    setup.plane.connections = (256, 64);
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    let (routes, admission) = (vec![route_to(&world, &[1])], Some(admission()));
    publish(&mut world, &Table { routes, admission, ..Table::default() });
    world
}

fn options(length: &str) -> String {
    format!(
        "OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP {A};branch=z9hG4bKo1\r\n\
         From: <sip:a@x.example>;tag=1\r\nTo: <sip:10.0.0.1>\r\nCall-ID: o1@x\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{length}\r\n"
    )
}

#[test]
fn pings_and_several_messages_in_one_piece_are_answered() {
    let mut world = routed(&Setup::new(5), tcp(), vec![tcp()]);
    let log = raw::tap(&mut world);
    let two = options("Content-Length: 0\r\n") + "\r\n\r\n" + &options("l: 0\r\n");
    stream(&mut world, A, (two.clone() + &two.replace("z9hG4bKo1", "z9hG4bKo2")).as_bytes());
    assert_eq!(raw::all(&log, A, "SIP/2.0 200", "").len(), 4);
    assert!(raw::all(&log, A, "SIP/2.0 200", "").iter().all(|it| it.contains("SIP/2.0/TCP")));
    assert_eq!(count(&world, Counter::ConnectionAccepted), 1);
    assert_eq!(count(&world, Counter::ConnectionStanding), 1);
}

/// However a ping is cut up, there is an answer to it.
#[test]
fn a_ping_in_pieces_is_answered() {
    for pieces in [&[4][..], &[1, 3], &[2, 2], &[3, 1], &[1, 1, 1, 1], &[8]] {
        let mut world = routed(&Setup::new(14), tcp(), vec![tcp()]);
        let sent = count(&world, Counter::SipSent);
        stream(&mut world, A, options("Content-Length: 0\r\n").as_bytes());
        let pongs = world.plane.pongs(A.parse().unwrap());
        let mut left = &b"\r\n\r\n\r\n\r\n"[..];
        for len in pieces {
            stream(&mut world, A, &left[..*len]);
            left = &left[*len..];
        }
        assert_eq!(world.plane.pongs(A.parse().unwrap()), pongs + 1, "{pieces:?}");
        assert_eq!(count(&world, Counter::SipSent), sent + 1, "a pong is no message");
    }
}

/// Who is in a list and sends too much has its excess refused, and what it says of its calls is
/// heard; a stranger's connection ends.
#[test]
fn over_its_rate_a_known_source_is_refused_and_a_stranger_closed() {
    let mut setup = Setup::new(15);
    setup.plane.shards = 1;
    setup.plane.guard =
        GuardPlan { source_rate: 4, source_burst: 4, call_rate: 0, stranger_rate: 32 };
    for (from, closed) in [("10.1.0.7:40000", false), ("203.0.113.9:40000", true)] {
        let mut world = routed(&setup, tcp(), vec![tcp()]);
        let (routes, admission) = (vec![route_to(&world, &[1])], Some(admission()));
        publish(&mut world, &Table { routes, admission, ..Table::default() });
        let log = raw::tap(&mut world);
        for at in 0..40 {
            let text =
                options("Content-Length: 0\r\n").replace("z9hG4bKo1", &format!("z9hG4bK{at}"));
            let bytes = text.replace("OPTIONS", "INVITE").into_bytes();
            let from = from.parse().unwrap();
            world.by_tcp(from);
            world.inject(Datagram { from, to: world::plane::listener(), bytes });
        }
        world.run_for(ms(150));
        assert_eq!(count(&world, Counter::ConnectionBroken), u64::from(closed), "{from}");
        assert!(count(&world, Counter::DiscardSipRate) > 0);
        let refused = raw::all(&log, from, "SIP/2.0 503", "Retry-After: 1");
        assert_eq!(refused.is_empty(), closed, "{from}: {}", refused.len());
    }
}

/// A phone connects from another port than its Contact names, and its call lives on any shard: a
/// BYE that nobody answered goes again when the connection is lost.
#[test]
fn what_a_lost_connection_carried_is_said_again_whoever_said_it() {
    for seed in 1..20 {
        let mut world = routed(&Setup::new(seed), tcp(), vec![Manner::default()]);
        let (other, contact) = ("10.1.0.9:49152", "10.1.0.9:5060");
        let log: raw::Log = Rc::default();
        let sink = log.clone();
        world.network.set_filter(move |now, datagram| {
            if datagram.to.ip() != raw::host(contact) {
                return Fate::Pass;
            }
            sink.borrow_mut().push((now.0 / 1_000_000, datagram.clone()));
            Fate::Drop
        });
        let request = |method: &str, to: &str, body: &str| {
            format!(
                "{method} sip:g1@10.0.0.1 SIP/2.0\nVia: SIP/2.0/TCP {other};branch=z9hG4bK{method}\n\
                 From: <sip:a@x.example>;tag=a\nTo: {to}\nCall-ID: lost{seed}@x\n\
                 CSeq: 1 {method}\nMax-Forwards: 70\nContact: <sip:x@{contact};transport=tcp>\n{}",
                raw::body(body)
            )
        };
        let sdp = raw::sdp("10.1.0.9", 1, "0", "");
        let invite = request("INVITE", "<sip:g1@10.0.0.1>", &sdp).replace('\n', "\r\n");
        stream(&mut world, other, invite.as_bytes());
        world.run_for(2 * SECOND);
        let ok = raw::last(&log, other, "SIP/2.0 200", "INVITE").unwrap();
        let ack = request("ACK", &raw::header(&ok, "To"), "").replace('\n', "\r\n");
        stream(&mut world, other, ack.as_bytes());
        let callee = world.callee_of(1).unwrap();
        world.act(callee, Action::HangUp);
        world.run_for(ms(100));
        assert_eq!(raw::all(&log, other, "BYE", "").len(), 1, "{seed}");
        world.by_tcp(contact.parse().unwrap());
        world.plane.cut(other.parse().unwrap());
        world.run_for(ms(200));
        let byes = raw::all(&log, contact, "BYE", "");
        assert_eq!(byes.len(), 2, "{seed}");
        assert_eq!(byes[0], byes[1], "under its name");
        assert_eq!(log.borrow().last().unwrap().1.to, contact.parse().unwrap());
    }
}

/// Strangers who begin long messages and never end them leave a quarter of the room: whose message
/// comes in pieces from a list is read.
#[test]
fn unfinished_messages_of_strangers_leave_room() {
    let mut setup = Setup::new(16);
    setup.plane.connections = (1_024, 64);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    let (routes, admission) = (vec![route_to(&world, &[1])], Some(admission()));
    publish(&mut world, &Table { routes, admission, ..Table::default() });
    let begun = format!("OPTIONS sip:10.0.0.1 SIP/2.0\r\nX-Long: {}", "y".repeat(16_000));
    // Long ones, and short ones for what these leave.
    for (host, len) in
        (1..24_u8).zip(core::iter::repeat_n(16_000, 18).chain([900, 300, 100, 40, 30]))
    {
        for port in 1_000..1_031 {
            let from = SocketAddr::from(([203, 0, 113, host], port));
            world.by_tcp(from);
            let bytes = begun.as_bytes()[..len].to_vec();
            world.inject(Datagram { from, to: world::plane::listener(), bytes });
        }
        world.run_for(ms(1));
    }
    world.run_for(ms(200));
    assert!(count(&world, Counter::ConnectionBroken) > 0, "there is a bound");
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert!(world.call(call).seen.answered_at.is_some());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// A fault of ours inside of a stream ends its connection, since nobody knows where its next
/// message begins; what comes by a new one is heard.
#[test]
fn a_fault_inside_of_a_stream_ends_its_connection() {
    let mut setup = Setup::new(17);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    let log = raw::tap(&mut world);
    let whole = options("Content-Length: 0\r\n");
    stream(&mut world, A, &whole.as_bytes()[..60]);
    world.plane.lanes[0].heap.plant.set(Some(world::heap::Touch::Read));
    stream(&mut world, A, &whole.as_bytes()[60..]);
    assert_eq!(count(&world, Counter::ConnectionBroken), 1);
    assert_eq!(count(&world, Counter::ConnectionStanding), 0);
    assert!(raw::all(&log, A, "SIP/2.0", "").is_empty());
    stream(&mut world, A, whole.as_bytes());
    assert_eq!(raw::all(&log, A, "SIP/2.0 200", "").len(), 1);
    nothing_left(&mut world);
}

/// What cannot be cut into messages with certainty is answered once and ends the connection (RFC
/// 3261 sections 18.3 and 20.14); what stands behind it is not read.
#[test]
fn a_stream_that_cannot_be_read_on_is_closed() {
    for (bad, answer) in [
        (options("Content-Length: 0\r\nContent-Length: 7\r\n"), 400),
        (options("Content-Length: -999\r\n"), 400),
        (options("Content-Length: 2147483648\r\n"), 400),
        (options("Content-Length: 4294967328\r\n"), 400),
        (options(""), 400),
        ("\u{0}\u{1}garbage\r\n\r\n".to_owned(), 0),
        ("x".repeat(20_000), 0),
        (format!("OPTIONS sip:x SIP/2.0\r\nX-Long: {}\r\n", "y".repeat(20_000)), 0),
    ] {
        let mut world = routed(&Setup::new(6), tcp(), vec![tcp()]);
        let log = raw::tap(&mut world);
        let behind = options("Content-Length: 0\r\n").replace("z9hG4bKo1", "z9hG4bKbehind");
        stream(&mut world, A, (bad.clone() + &behind).as_bytes());
        let told = raw::all(&log, A, "SIP/2.0", "");
        let start = &bad[..bad.len().min(300)];
        assert_eq!(told.len(), usize::from(answer > 0), "{start}: {told:?}");
        assert!(told.iter().all(|it| it.starts_with("SIP/2.0 400")), "{start}: {told:?}");
        assert_eq!(count(&world, Counter::ConnectionBroken), 1, "{start}");
        assert_eq!(count(&world, Counter::ConnectionStanding), 0, "{start}");
        nothing_left(&mut world);
    }
}

/// A byte now and then keeps nobody here, nor does a ping of whoever has never said a word.
#[test]
fn who_is_slow_or_silent_is_closed() {
    for (first, bytes) in [("O", "O"), ("\r\n\r\n", "\r\n\r\n"), ("OPTIONS", ""), ("\r\n", "")] {
        let mut world = closed(7);
        let stranger = "203.0.113.9:40000";
        stream(&mut world, stranger, first.as_bytes());
        for at in 0..9 {
            assert_eq!(count(&world, Counter::ConnectionStanding), 1, "{at}");
            if !bytes.is_empty() {
                stream(&mut world, stranger, bytes.as_bytes());
            }
            world.run_for(ms(900));
        }
        world.run_for(2 * SECOND);
        assert_eq!(count(&world, Counter::ConnectionStanding), 0, "{first:?} {bytes:?}");
        assert_eq!(count(&world, Counter::ConnectionSlow), 1, "{first:?} {bytes:?}");
    }
}

/// Whoever is in a list may be silent, once he has said something.
#[test]
fn who_is_known_may_stay() {
    let mut world = closed(10);
    let (silent, speaks) = ("10.1.0.8:40000", A);
    stream(&mut world, silent, b"\r\n\r\n");
    stream(&mut world, speaks, options("Content-Length: 0\r\n").as_bytes());
    world.run_for(11 * SECOND);
    assert_eq!(count(&world, Counter::ConnectionStanding), 1);
    assert_eq!(count(&world, Counter::ConnectionSlow), 1);
    world.run_for(600 * SECOND);
    assert_eq!(count(&world, Counter::ConnectionStanding), 1);
    assert!(raw::host(silent) != raw::host(speaks));
}

/// Even of those who are in a list nobody takes all places.
#[test]
fn a_known_source_has_half_of_the_connections() {
    let mut setup = Setup::new(11);
    setup.plane.connections = (64, 64);
    setup.plane.shards = 1;
    let mut world = routed(&setup, tcp(), vec![tcp()]);
    for port in 1_000..1_060 {
        let from: SocketAddr = format!("10.1.0.9:{port}").parse().unwrap();
        world.by_tcp(from);
        let bytes = b"OPTIONS sip:10.0.0.1".to_vec();
        world.inject(Datagram { from, to: world::plane::listener(), bytes });
    }
    world.run_for(ms(150));
    assert_eq!(count(&world, Counter::ConnectionAccepted), 32);
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert!(world.call(call).seen.answered_at.is_some());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// Many strangers do not keep away who is in a list; of IPv6 a /64 is one source.
#[test]
fn strangers_leave_room_for_those_in_a_list() {
    let mut world = closed(13);
    let connect = |world: &mut World, from: SocketAddr| {
        world.by_tcp(from);
        let to = world::plane::listener_for(from);
        world.inject(Datagram { from, to, bytes: b"OPTIONS sip:10.0.0.1".to_vec() });
    };
    for port in 1_000..1_200 {
        let from = format!("[2001:db8::{:x}]:{port}", port % 50 + 1);
        connect(&mut world, from.parse().unwrap());
    }
    world.run_for(ms(150));
    assert!(count(&world, Counter::ConnectionAccepted) <= 3 * 32);
    for host in 1..200_u8 {
        for port in 1_000..1_005 {
            connect(&mut world, SocketAddr::from(([203, 0, 113, host], port)));
        }
    }
    world.run_for(ms(150));
    let accepted = count(&world, Counter::ConnectionAccepted);
    assert_eq!(accepted, 3 * 192, "three quarters of each shard's");
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert!(world.call(call).seen.answered_at.is_some());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// A stranger has so many connections and no more; others and trunks do not notice.
#[test]
fn one_source_has_a_share_of_the_connections() {
    let mut world = closed(8);
    for port in 1_000..1_200 {
        let from: SocketAddr = format!("203.0.113.9:{port}").parse().unwrap();
        world.by_tcp(from);
        let bytes = b"OPTIONS sip:10.0.0.1".to_vec();
        world.inject(Datagram { from, to: world::plane::listener(), bytes });
    }
    world.run_for(ms(150));
    let refused = count(&world, Counter::ConnectionRefused);
    // The bound is each shard's, and which one takes a connection is chance.
    assert_eq!(count(&world, Counter::ConnectionAccepted), 200 - refused);
    assert!(refused >= 200 - 3 * 32, "{refused}");
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert!(world.call(call).seen.answered_at.is_some());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
