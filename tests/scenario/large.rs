//! An INVITE that is too large for a datagram (RFC 3261 section 18.1.1): by TCP to where UDP would
//! go, and by UDP after all where nobody takes the connection.

use base::Transport;
use wire::counter::Counter;
use wire::table::{StaticRoute, Table};
use world::{Manner, World};

use crate::by_hand::{self, A, B, Hand, Log, described, empty, one_shard};
use crate::common::{SECOND, count, ms, nothing_left, publish, route_to, routed};

fn world() -> (World, Log) {
    let mut world = routed(&one_shard(1), Manner::silent(), vec![Manner::silent()]);
    let networks = vec!["10.1.0.1".parse().unwrap()];
    let route = StaticRoute { trusted: networks, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

/// A calls with so many entries of history, which go on to B.
fn call(world: &mut World, call: &str, entries: usize) {
    let entry = format!("History-Info: <sip:{call}-30222333444555@some.trunk.example>;index=1\n");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    let invite = Hand::caller(call).request("INVITE", 1, &entry.repeat(entries), &offer);
    by_hand::send(world, A, &invite);
}

/// B is busy, and A acknowledges what he hears of it.
fn busy(world: &mut World, log: &Log, call: &str) {
    let invite = log.last(B, "INVITE", call);
    let busy = Hand::callee(&invite, "b").reply(&invite, "486 Busy Here", "", &empty());
    by_hand::send(world, B, &busy);
    let answer = log.last(A, "SIP/2.0 486", call);
    let caller = Hand { to: by_hand::header(&answer, "To").to_owned(), ..Hand::caller(call) };
    // The ACK of a refusal has the branch of its INVITE (RFC 3261 section 17.1.1.3).
    let ack = caller.request("ACK", 1, "", &empty());
    let branch = |method: &str| format!("a{call}{method}1");
    by_hand::send(world, A, &ack.replace(&branch("ACK"), &branch("INVITE")));
}

fn via(log: &Log) -> String {
    let invite = log.last(B, "INVITE", "");
    invite.lines().find(|line| line.starts_with("Via")).unwrap_or_default().to_owned()
}

#[test]
fn a_large_invite_goes_by_tcp_and_a_small_one_does_not() {
    let (mut world, log) = world();
    world.by_tcp(B.parse().unwrap());
    call(&mut world, "small", 1);
    assert!(via(&log).starts_with("Via: SIP/2.0/UDP 10.0.0.1:5060;"), "{}", via(&log));
    call(&mut world, "large", 20);
    assert!(via(&log).starts_with("Via: SIP/2.0/TCP 10.0.0.1:5060;"), "{}", via(&log));
    let moved = [Counter::SipMovedToStream, Counter::SipMovedBack].map(|it| count(&world, it));
    assert_eq!(moved, [1, 0]);
    // Over a stream nothing is sent twice, and B's answer is the call's.
    world.run_for(2 * SECOND);
    assert_eq!(log.all(B, "INVITE", "large").len(), 1);
    busy(&mut world, &log, "large");
    assert_eq!(log.all(B, "ACK", "SIP/2.0/TCP").len(), 1);
}

/// The connection is refused: it goes by UDP at once under the same branch, is repeated as UDP has
/// it, and the next one does not try again.
#[test]
fn nobody_listens_for_tcp() {
    let (mut world, log) = world();
    call(&mut world, "first", 20);
    assert!(via(&log).starts_with("Via: SIP/2.0/UDP 10.0.0.1:5060;"), "{}", via(&log));
    world.run_for(ms(600));
    assert_eq!(log.all(B, "INVITE", "first").len(), 2, "it is repeated");
    call(&mut world, "second", 20);
    assert_eq!(log.all(B, "INVITE", "second").len(), 1);
    let moved = [Counter::SipMovedToStream, Counter::SipMovedBack].map(|it| count(&world, it));
    assert_eq!(moved, [1, 1]);
    let opened = [Counter::ConnectionOpened, Counter::ConnectionFailed].map(|it| count(&world, it));
    assert_eq!(opened, [0, 1]);
    busy(&mut world, &log, "first");
    busy(&mut world, &log, "second");
    assert_eq!(log.all(B, "ACK", "SIP/2.0/UDP").len(), 2);
    world.run_for(40 * SECOND);
    nothing_left(&mut world);
}

/// A firewall says nothing to the connection: after a second it goes by UDP.
#[test]
fn a_firewall_swallows_the_connection() {
    let (mut world, log) = world();
    world.plane.by_streams.insert(B.parse().unwrap(), Transport::Udp);
    call(&mut world, "late", 20);
    world.run_for(ms(900));
    assert_eq!(log.all(B, "INVITE", "").len(), 0);
    world.run_for(ms(200));
    assert!(via(&log).starts_with("Via: SIP/2.0/UDP 10.0.0.1:5060;"), "{}", via(&log));
    call(&mut world, "next", 20);
    assert_eq!(log.all(B, "INVITE", "next").len(), 1, "nobody waits for it again");
    assert_eq!(count(&world, Counter::SipMovedBack), 1);
}

/// Its caller gives up before anybody could have heard of it: nobody is asked by UDP for a call
/// that is none any more, neither when the connection is late nor when it fails in the end.
#[test]
fn an_invite_that_was_cancelled_goes_nowhere() {
    for takes_it in [false, true] {
        let (mut world, log) = world();
        world.plane.by_streams.insert(B.parse().unwrap(), Transport::Udp);
        call(&mut world, "gone", 20);
        world.run_for(ms(300));
        let invite = Hand::caller("gone").request("INVITE", 1, "", &empty());
        let cancel = Hand::caller("gone").request("CANCEL", 1, "", &empty());
        let branch = |text: &str| by_hand::header(text, "Via").to_owned();
        let cancel = cancel.replace(&branch(&cancel), &branch(&invite));
        by_hand::send(&mut world, A, &cancel);
        log.last(A, "SIP/2.0 487", "");
        let ack = Hand::caller("gone").request("ACK", 1, "", &empty());
        by_hand::send(&mut world, A, &ack.replace(&branch(&ack), &branch(&invite)));
        if takes_it {
            // It is another call that hears so, and by UDP.
            world.run_for(ms(1_000));
            call(&mut world, "next", 20);
            assert_eq!(log.all(B, "INVITE", "next").len(), 1);
            busy(&mut world, &log, "next");
        }
        world.run_for(45 * SECOND);
        assert!(log.all(B, "", "gone").is_empty(), "{:?}", log.all(B, "", "gone"));
        nothing_left(&mut world);
    }
}
