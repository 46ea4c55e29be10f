//! Errors of the network over loopback: who cannot be reached is reported, and nothing else
//! suffers.

#[expect(dead_code, reason = "what only the other file of tests needs")]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base::{Frames, Local, Mono, Transmit};
use common::{Peer, World, port};
use net::driver::{Origin, REPORTS_MAX, Unreachable};
use net::listen::Listener;

/// Adds listeners of one address, as many as shards would have; gives the address.
fn listen(world: &mut World, address: &str, sockets: usize) -> SocketAddr {
    let group = Listener::new(address.parse().unwrap()).open(sockets).unwrap();
    let local = group.sockets[0].local_addr().unwrap();
    for (index, socket) in (0..).zip(group.sockets) {
        world.driver.add_listener(index, socket).unwrap();
    }
    world.turn();
    local
}

/// Queues a datagram of listener `from`.
fn send(world: &mut World, from: u8, bytes: &[u8], to: SocketAddr) {
    let frame = world.driver.pool_mut().alloc(bytes.len()).unwrap();
    world.driver.pool_mut().bytes_mut(frame).copy_from_slice(bytes);
    world.driver.transmit(Transmit { frame, from: Local::Listener(from), to });
}

/// An address that nobody is behind.
fn closed(address: &str) -> SocketAddr {
    Peer::new(address).address()
}

/// Breathes, without sleeping, until somebody is reported; gives all reports of that breath.
fn reports(world: &mut World) -> Vec<Unreachable> {
    let patience = net::clock::mono() + Duration::from_secs(10);
    while net::clock::mono() < patience {
        world.turn();
        let found: Vec<Unreachable> =
            std::iter::from_fn(|| world.driver.poll_unreachable()).collect();
        if !found.is_empty() {
            return found;
        }
    }
    panic!("no report: {:?}", world.driver.counters());
}

#[test]
fn a_closed_port_is_reported_with_what_was_sent_there() {
    for (local, far) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let mut world = World::new();
        listen(&mut world, local, 1);
        let to = closed(far);
        let message = vec![b'q'; 300];
        send(&mut world, 0, &message, to);
        // The error wakes a sleeping ring: no timer is needed to hear of it.
        let begin = net::clock::mono();
        let breath =
            world.driver.breathe(begin + Duration::from_secs(10), true, &mut world.received);
        assert!(breath.now.mono.since(begin) < Duration::from_secs(5));
        let report = world.driver.poll_unreachable().expect("a report in the breath of the error");
        assert_eq!((report.to, report.origin()), (to, Origin::Icmp));
        assert_eq!(report.quote(), message);
        assert_eq!(world.driver.poll_unreachable(), None);
        assert_eq!(world.driver.counters().unreachable_reports, 1);
        assert_eq!(world.buffers_out(), 0);
    }
}

#[test]
fn receiving_goes_on_and_sleep_is_sleep() {
    let mut world = World::new();
    let local = listen(&mut world, "127.0.0.1:0", 1);
    let peer = Peer::new("127.0.0.1:0");
    for round in 0..5_u8 {
        send(&mut world, 0, b"anyone there?", closed("127.0.0.1:0"));
        assert_eq!(reports(&mut world).len(), 1);
        peer.send(&[round], local);
        let got = world.receive_one();
        assert_eq!(world.driver.pool().bytes(got.frame), [round]);
        world.driver.pool_mut().free(got.frame);
    }
    world.turn();
    let before = *world.driver.counters();
    let deadline = net::clock::mono() + Duration::from_millis(50);
    world.driver.breathe(deadline, true, &mut world.received);
    assert!(net::clock::mono() >= deadline, "an old error ends no sleep");
    let after = *world.driver.counters();
    assert_eq!(after.enter_calls - before.enter_calls, 1);
    assert_eq!(after.receive_rearmed, before.receive_rearmed);
    assert_eq!(world.buffers_out(), 0);
}

/// The kernel lets the next call on a socket fail for an error of an earlier datagram.
#[test]
fn an_error_costs_no_datagram_to_somebody_else() {
    let mut world = World::new();
    let local = listen(&mut world, "127.0.0.1:0", 1);
    let peer = Peer::new("127.0.0.1:0");
    let to = closed("127.0.0.1:0");
    for round in 0..50_u8 {
        send(&mut world, 0, b"nobody", to);
        send(&mut world, 0, &[1, round], peer.address());
        send(&mut world, 0, b"nobody", to);
        send(&mut world, 0, &[2, round], peer.address());
        let mut named = Vec::new();
        for _ in 0..6 {
            world.turn();
            named.extend(std::iter::from_fn(|| world.driver.poll_unreachable()));
        }
        assert!(!named.is_empty() && named.iter().all(|report| report.to == to), "{named:?}");
        let mut seen = [peer.receive(), peer.receive()];
        seen.sort();
        assert_eq!(seen, [(vec![1, round], local), (vec![2, round], local)]);
    }
    let counters = *world.driver.counters();
    assert!(counters.send_retried > 0, "{counters:?}");
    assert_eq!(counters.send_icmp_error, 0, "{counters:?}");
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn a_destination_that_the_system_refuses_is_reported_too() {
    let mut world = World::new();
    listen(&mut world, "127.0.0.1:0", 1);
    let refused: SocketAddr = "255.255.255.255:9".parse().unwrap();
    send(&mut world, 0, b"broadcast is forbidden", refused);
    send(&mut world, 0, b"broadcast is forbidden", refused);
    let found = reports(&mut world);
    let named: Vec<_> = found.iter().map(|report| (report.to, report.origin())).collect();
    assert_eq!(named, [(refused, Origin::Send)]);
    assert_eq!(found[0].quote(), b"");
    let counters = *world.driver.counters();
    assert_eq!(counters.send_denied + counters.send_icmp_error, 2, "{counters:?}");
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn a_breath_reports_no_more_than_its_share() {
    let mut world = World::new();
    listen(&mut world, "127.0.0.1:0", 1);
    let to = closed("127.0.0.1:0");
    for number in 0..200_u8 {
        send(&mut world, 0, &[number], to);
    }
    let mut total = 0;
    for _ in 0..20 {
        world.turn();
        let found = std::iter::from_fn(|| world.driver.poll_unreachable()).count();
        assert!(found <= REPORTS_MAX);
        total += found;
    }
    assert!(total > REPORTS_MAX, "{total}: {:?}", world.driver.counters());
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn a_storm_of_errors_is_not_listened_to() {
    let mut world = World::new();
    let local = listen(&mut world, "127.0.0.1:0", 1);
    let to = closed("127.0.0.1:0");
    let peer = Peer::new("127.0.0.1:0");
    let mut breaths = 0;
    while world.driver.counters().errors_storms == 0 {
        send(&mut world, 0, b"nobody", to);
        world.turn();
        breaths += 1;
        assert!(breaths < 200_000, "{:?}", world.driver.counters());
    }
    world.turn();
    let heard = world.driver.counters().errors_heard;
    for _ in 0..100 {
        send(&mut world, 0, b"nobody", to);
        world.turn();
    }
    assert_eq!(world.driver.counters().errors_heard, heard);
    peer.send(b"calm", local);
    let got = world.receive_one();
    assert_eq!(world.driver.pool().bytes(got.frame), b"calm");
    world.driver.pool_mut().free(got.frame);
    let deadline = net::clock::mono() + Duration::from_millis(1_100);
    world.driver.breathe(deadline, true, &mut world.received);
    send(&mut world, 0, b"nobody", to);
    assert_eq!(reports(&mut world)[0].to, to);
}

/// The kernel gives an error to any socket of a group: whoever hears it has to pass it on.
#[test]
fn a_group_hears_of_every_datagram_by_one_of_its_sockets() {
    let mut world = World::new();
    listen(&mut world, "127.0.0.1:0", 4);
    for from in [0, 1, 2, 3] {
        for _ in 0..8 {
            let to = closed("127.0.0.1:0");
            send(&mut world, from, b"nobody", to);
            let found = reports(&mut world);
            assert_eq!(found.iter().map(|report| report.to).collect::<Vec<_>>(), [to]);
        }
    }
}

/// A far end that has not opened its port yet is no news, and costs at most what was sent to it.
#[test]
fn a_media_port_that_is_refused_goes_on_and_reports_nothing() {
    for (address, far) in [(0, "127.0.0.1:0"), (1, "[::1]:0")] {
        let mut world = World::new();
        let local = world.open(address);
        let to = closed(far);
        world.lock(address, local, to);
        for _ in 0..20 {
            let frame = world.driver.pool_mut().alloc(4).unwrap();
            let from = Local::Media(port(address, local.port()));
            world.driver.transmit(Transmit { frame, from, to });
            world.turn();
            assert_eq!(world.driver.poll_unreachable(), None);
        }
        world.turn();
        let before = *world.driver.counters();
        let deadline = net::clock::mono() + Duration::from_millis(20);
        world.driver.breathe(deadline, true, &mut world.received);
        let after = *world.driver.counters();
        assert_eq!(after.enter_calls - before.enter_calls, 1, "an old error ends no sleep");
        let peer = Peer::new(&to.to_string());
        peer.send(b"here", local);
        let got = world.receive_one();
        assert_eq!(world.driver.pool().bytes(got.frame), b"here");
        let from = got.at;
        world.driver.transmit(Transmit { frame: got.frame, from, to });
        world.driver.breathe(Mono(0), false, &mut world.received);
        assert_eq!(peer.receive().0, b"here");
        assert_eq!(world.buffers_out(), 0);
    }
}
