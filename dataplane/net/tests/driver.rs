//! The driver over loopback: what it promises about datagrams, ports and sleep.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base::frame::SMALL_BYTES;
use base::{Flow, FlowReport, Frames, Local, Mono, Path, Transmit};
use common::{Peer, World, port};
use net::Doorbell;
use net::driver::MediaAddress;

#[test]
fn a_datagram_comes_with_its_source_and_goes_back() {
    let mut world = World::new();
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    peer.send(b"hello", local);
    let got = world.receive_one();
    assert_eq!(got.at, Local::Media(port(0, local.port())));
    assert_eq!(got.source, peer.address());
    assert_eq!(world.driver.pool().bytes(got.frame), b"hello");
    assert!(usize::from(got.frame.start) >= base::frame::HEADROOM);
    world.driver.pool_mut().bytes_mut(got.frame)[0] = b'H';
    world.driver.transmit(Transmit { frame: got.frame, from: got.at, to: got.source });
    world.turn();
    assert_eq!(peer.receive(), (b"Hello".to_vec(), local));
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn ipv6_works_as_ipv4_does() {
    let mut world = World::new();
    let local = world.open(1);
    assert!(local.is_ipv6());
    let peer = Peer::new("[::1]:0");
    world.lock(1, local, peer.address());
    peer.send(b"six", local);
    let got = world.receive_one();
    assert_eq!((got.source.ip(), got.source.port()), (peer.address().ip(), peer.address().port()));
    world.driver.transmit(Transmit { frame: got.frame, from: got.at, to: got.source });
    world.turn();
    assert_eq!(peer.receive().0, b"six");
}

#[test]
fn a_locked_port_hears_its_remote_only() {
    let mut world = World::new();
    let local = world.open(0);
    let (friend, stranger) = (Peer::new("127.0.0.1:0"), Peer::new("127.0.0.1:0"));
    // Queued before the lock, seen after it: dropped by us, with a reason.
    stranger.send(b"early", local);
    world.lock(0, local, friend.address());
    stranger.send(b"late", local);
    friend.send(b"mine", local);
    let got = world.receive_one();
    assert_eq!(got.source, friend.address());
    assert_eq!(world.driver.pool().bytes(got.frame), b"mine");
    world.driver.pool_mut().free(got.frame);
    assert_eq!(world.driver.counters().receive_stray, 1);
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn an_unlocked_port_forgets_what_was_queued_and_hears_anyone() {
    let mut world = World::new();
    let local = world.open(0);
    let (first, second) = (Peer::new("127.0.0.1:0"), Peer::new("127.0.0.1:0"));
    world.lock(0, local, first.address());
    world.turn();
    first.send(b"old call", local);
    world.driver.flow(Flow::Unlock { port: port(0, local.port()) });
    world.turn();
    second.send(b"new call", local);
    let got = world.receive_one();
    assert_eq!(world.driver.pool().bytes(got.frame), b"new call");
    assert_eq!(got.source, second.address());
    assert_eq!(world.driver.counters().receive_late, 1);
    world.driver.transmit(Transmit { frame: got.frame, from: got.at, to: got.source });
    world.turn();
    assert_eq!(second.receive(), (b"new call".to_vec(), local));
}

#[test]
fn what_was_sent_before_a_new_lock_goes_to_the_old_remote() {
    let mut world = World::new();
    let local = world.open(0);
    let (first, second) = (Peer::new("127.0.0.1:0"), Peer::new("127.0.0.1:0"));
    world.lock(0, local, first.address());
    world.send(local, b"one", first.address());
    world.lock(0, local, second.address());
    world.send(local, b"two", second.address());
    world.turn();
    assert_eq!(first.receive().0, b"one");
    assert_eq!(second.receive().0, b"two");
}

/// The armed receive changes in the middle of the stream: nothing is lost, doubled or taken for
/// another's.
#[test]
fn locking_and_relocking_under_traffic_keeps_every_datagram_with_its_sender() {
    let mut world = World::new();
    let local = world.open(0);
    let peers = [Peer::new("127.0.0.1:0"), Peer::new("127.0.0.1:0")];
    for round in 0..200_u8 {
        let (friend, stranger) = (&peers[usize::from(round % 2)], &peers[usize::from(!round % 2)]);
        stranger.send(&[255], local);
        friend.send(&[1, round], local);
        world.lock(0, local, friend.address());
        friend.send(&[2, round], local);
        stranger.send(&[255], local);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            world.driver.breathe(Mono::NEVER, true, &mut world.received);
            for got in world.received.clone() {
                assert_eq!(got.source, friend.address());
                seen.push(world.driver.pool().bytes(got.frame).to_vec());
            }
            world.free_all();
            if seen.len() == 1 {
                friend.send(&[2, round], local);
            }
        }
        assert_eq!(seen.last().unwrap(), &[2, round]);
    }
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn ten_thousand_paced_datagrams_all_arrive() {
    let mut world = World::new();
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    world.lock(0, local, peer.address());
    let mut expected = 0_u32;
    while expected < 10_000 {
        for sequence in expected..expected + 20 {
            peer.send(&sequence.to_be_bytes(), local);
        }
        let wanted = expected + 20;
        while expected < wanted {
            world.driver.breathe(Mono::NEVER, true, &mut world.received);
            for got in world.received.clone() {
                assert_eq!(world.driver.pool().bytes(got.frame), expected.to_be_bytes());
                let reply = Transmit { frame: got.frame, from: got.at, to: got.source };
                world.driver.transmit(reply);
                expected += 1;
            }
        }
        world.turn();
        for sequence in wanted - 20..wanted {
            assert_eq!(peer.receive().0, sequence.to_be_bytes());
        }
    }
    let counters = *world.driver.counters();
    assert_eq!((counters.receive_packets, counters.send_packets), (10_000, 10_000));
    assert_eq!((counters.receive_rearmed, counters.receive_no_buffer), (0, 0));
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn running_out_of_buffers_delays_but_loses_nothing() {
    let mut world = World::with(|plan| plan.pool.small_receive = 4);
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    for number in 0..12_u8 {
        peer.send(&[number], local);
    }
    let mut seen = Vec::new();
    while seen.len() < 12 {
        world.driver.breathe(Mono::NEVER, true, &mut world.received);
        for got in world.received.clone() {
            seen.push(world.driver.pool().bytes(got.frame)[0]);
        }
        // All are held until here: the kernel has none while it still has datagrams.
        world.turn_keeping();
        world.free_all();
    }
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
    assert!(world.driver.counters().receive_no_buffer > 0);
    assert!(world.driver.counters().receive_rearmed > 0);
}

#[test]
fn an_icmp_error_does_not_stop_receiving() {
    let mut world = World::new();
    let local = world.open(0);
    let gone = Peer::new("127.0.0.1:0");
    let address = gone.address();
    world.lock(0, local, address);
    drop(gone);
    for _ in 0..3 {
        world.send(local, b"anyone there?", address);
        world.turn();
        world.turn();
    }
    let counters = *world.driver.counters();
    assert!(counters.receive_icmp_error + counters.send_icmp_error > 0, "{counters:?}");
    let back = Peer::new(&address.to_string());
    back.send(b"here again", local);
    let got = world.receive_one();
    assert_eq!(world.driver.pool().bytes(got.frame), b"here again");
}

#[test]
fn a_port_of_another_program_is_refused_with_its_errno() {
    let mut world = World::new();
    let other = Peer::new("127.0.0.1:0");
    let taken = port(0, other.address().port());
    world.driver.flow(Flow::Open { port: taken });
    let refused = FlowReport::Refused { port: taken, errno: libc::EADDRINUSE };
    assert_eq!(world.driver.poll_report(), Some(refused));
    let nowhere = port(9, 4000);
    world.driver.flow(Flow::Open { port: nowhere });
    let refused = FlowReport::Refused { port: nowhere, errno: libc::EADDRNOTAVAIL };
    assert_eq!(world.driver.poll_report(), Some(refused));
    assert_eq!(world.driver.counters().port_refused, 2);
}

#[test]
fn ports_beyond_the_plan_are_refused_until_one_closes() {
    let mut world = World::with(|plan| plan.ports_max = 1);
    let local = world.open(0);
    let first = port(0, local.port());
    let second = port(0, common::unused_port());
    world.driver.flow(Flow::Open { port: second });
    let refused = FlowReport::Refused { port: second, errno: libc::EMFILE };
    assert_eq!(world.driver.poll_report(), Some(refused));
    world.driver.flow(Flow::Close { port: first });
    world.turn();
    world.driver.flow(Flow::Open { port: second });
    let opened = FlowReport::Opened { port: second, path: Path::Socket };
    assert_eq!(world.driver.poll_report(), Some(opened));
}

#[test]
fn a_closed_port_may_be_opened_again_at_once() {
    let mut world = World::new();
    let local = world.open(0);
    let again = port(0, local.port());
    let peer = Peer::new("127.0.0.1:0");
    for round in 0..50_u8 {
        world.send(local, &[round], peer.address());
        world.driver.flow(Flow::Close { port: again });
        world.driver.flow(Flow::Open { port: again });
        let opened = FlowReport::Opened { port: again, path: Path::Socket };
        assert_eq!(world.driver.poll_report(), Some(opened));
        assert_eq!(peer.receive(), (vec![round], local));
        peer.send(&[round], local);
        let got = world.receive_one();
        assert_eq!(world.driver.pool().bytes(got.frame), [round]);
        world.driver.pool_mut().free(got.frame);
    }
    world.driver.flow(Flow::Close { port: again });
    world.turn();
    world.send(local, b"too late", peer.address());
    assert_eq!(world.driver.counters().send_no_local, 1);
    assert_eq!(world.driver.counters().port_closed, 51);
    assert_eq!(world.buffers_out(), 0);
    let _free_now = Peer::new(&local.to_string());
}

#[test]
fn a_datagram_longer_than_its_buffer_is_dropped_by_name() {
    let mut world = World::new();
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    peer.send(&[7; SMALL_BYTES], local);
    peer.send(b"short", local);
    let got = world.receive_one();
    assert_eq!(world.driver.pool().bytes(got.frame), b"short");
    assert_eq!(world.driver.counters().receive_truncated, 1);
}

#[test]
fn sip_comes_in_large_buffers_and_says_which_listener() {
    let mut world = World::new();
    let socket = net::listen::Listener::new("127.0.0.1:0".parse().unwrap()).open(1).unwrap();
    let socket = socket.sockets.into_iter().next().unwrap();
    let local = socket.local_addr().unwrap();
    world.driver.add_listener(3, socket).unwrap();
    world.turn();
    let peer = Peer::new("127.0.0.1:0");
    let message = vec![b'x'; 9_000];
    peer.send(&message, local);
    let got = world.receive_one();
    assert_eq!((got.at, got.source), (Local::Listener(3), peer.address()));
    assert_eq!(world.driver.pool().bytes(got.frame), message);
    world.driver.transmit(Transmit { frame: got.frame, from: got.at, to: got.source });
    world.turn();
    assert_eq!(peer.receive(), (message, local));
}

#[test]
fn sip_comes_with_the_time_at_which_the_kernel_had_it() {
    let mut world = World::new();
    let socket = net::listen::Listener::new("127.0.0.1:0".parse().unwrap()).open(1).unwrap();
    let socket = socket.sockets.into_iter().next().unwrap();
    let local = socket.local_addr().unwrap();
    world.driver.add_listener(0, socket).unwrap();
    world.turn();
    let peer = Peer::new("127.0.0.1:0");
    let before = net::clock::mono();
    peer.send(b"waits", local);
    let after = net::clock::mono();
    // Nobody reads it for a while.
    while net::clock::mono() < after + Duration::from_millis(30) {
        std::hint::spin_loop();
    }
    let got = world.receive_one();
    // The wall clock, which stamps it, counts in microseconds here.
    let slack = Duration::from_millis(1);
    assert!(got.arrived + slack >= before && got.arrived <= after + slack, "{got:?}");
}

#[test]
fn sip_longer_than_its_buffer_comes_cut_and_is_said_to_be() {
    let mut world = World::new();
    let socket = net::listen::Listener::new("127.0.0.1:0".parse().unwrap()).open(1).unwrap();
    let socket = socket.sockets.into_iter().next().unwrap();
    let local = socket.local_addr().unwrap();
    world.driver.add_listener(0, socket).unwrap();
    world.turn();
    let peer = Peer::new("127.0.0.1:0");
    peer.send(&[b'x'; 40_000], local);
    let got = world.receive_one();
    assert!(got.is_cut && got.source == peer.address());
    let bytes = world.driver.pool().bytes(got.frame);
    assert!(bytes.len() > 16_000 && bytes.iter().all(|byte| *byte == b'x'), "{}", bytes.len());
    assert_eq!(world.driver.counters().receive_cut, 1);
    world.free_all();
}

/// A process that was stopped: what its media ports have kept is the past.
#[test]
fn media_of_a_standstill_is_old_and_its_rest_is_thrown_away() {
    let mut world = World::new();
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    world.lock(0, local, peer.address());
    world.turn();
    let before = net::clock::mono();
    for _ in 0..60 {
        peer.send(&[1; 172], local);
    }
    while net::clock::mono() < before + Duration::from_millis(1_300) {
        std::hint::spin_loop();
    }
    let mut handed = 0;
    for _ in 0..3 {
        world.driver.breathe(Mono::NEVER, false, &mut world.received);
        assert!(world.received.iter().all(|got| got.arrived <= before), "they are old");
        handed += world.received.len() as u64;
        world.free_all();
    }
    assert_eq!(handed + world.driver.counters().receive_old, 60);
    peer.send(b"new", local);
    let got = world.receive_one();
    assert!(got.arrived > before, "what comes now is of now");
    assert_eq!(world.driver.pool().bytes(got.frame), b"new");
    world.free_all();
}

#[test]
fn a_doorbell_wakes_a_sleeping_ring_each_time() {
    let mut world = World::new();
    let bell = Doorbell::new().unwrap();
    world.driver.watch(&bell, 63).unwrap();
    for _ in 0..100 {
        let ringer = bell.try_clone().unwrap();
        let thread = std::thread::spawn(move || ringer.ring());
        let breath = world.driver.breathe(Mono::NEVER, true, &mut world.received);
        assert_eq!(breath.woken, 1 << 63);
        thread.join().unwrap();
    }
}

#[test]
fn a_deadline_ends_a_sleep_and_not_before() {
    let mut world = World::new();
    world.turn();
    for micros in [0, 100, 3_000] {
        let deadline = net::clock::mono() + Duration::from_micros(micros);
        let breath = world.driver.breathe(deadline, true, &mut world.received);
        assert!(breath.now.mono >= deadline);
        assert_eq!((breath.woken, breath.more), (0, false));
    }
    assert_eq!(world.driver.counters().enter_sleeps, 2);
}

#[test]
fn more_than_a_batch_is_left_for_the_next_breath() {
    let mut world = World::new();
    world.received = Vec::with_capacity(4);
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    for number in 0..10_u8 {
        peer.send(&[number], local);
    }
    let mut seen = 0;
    let mut breaths_with_more = 0;
    while seen < 10 {
        let breath = world.driver.breathe(Mono::NEVER, true, &mut world.received);
        assert!(world.received.len() <= 4);
        seen += world.received.len();
        breaths_with_more += u32::from(breath.more);
        world.free_all();
    }
    assert!(breaths_with_more >= 2);
}

#[test]
fn more_sends_than_the_queue_holds_are_submitted_in_parts() {
    let mut world = World::with(|plan| plan.entries = 8);
    let local = world.open(0);
    let peer = Peer::new("127.0.0.1:0");
    for number in 0..100_u8 {
        world.send(local, &[number], peer.address());
    }
    world.turn();
    for number in 0..100_u8 {
        assert_eq!(peer.receive().0, [number]);
    }
    assert_eq!(world.driver.counters().send_queue_full, 0);
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn send_errors_are_counted_by_reason_and_give_the_buffer_back() {
    let mut world = World::with(|plan| {
        plan.addresses.push(MediaAddress {
            bind: "127.0.0.1".parse().unwrap(),
            device: None,
            dscp: 46,
        });
    });
    let local = world.open(0);
    let unroutable: SocketAddr = "255.255.255.255:9".parse().unwrap();
    world.send(local, b"broadcast is forbidden", unroutable);
    world.turn();
    let counters = *world.driver.counters();
    assert_eq!(counters.send_denied + counters.send_icmp_error, 1, "{counters:?}");
    assert_eq!(world.buffers_out(), 0);
}
