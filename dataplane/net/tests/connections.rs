//! Connections over loopback: accepted, opened, read in order, written whole, given up.
#![expect(clippy::disallowed_methods, reason = "the far ends are real sockets")]

#[expect(dead_code, reason = "what only the other files of tests need")]
mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base::{ConnectionId, ConnectionReport, ConnectionRequest, Frames, Local, Transmit};
use common::World;
use net::listen::Listener;

const LISTENER: u8 = 3;
const SHARD: u8 = 5;

/// A world that accepts connections, and where.
fn listening(connections: (u16, u16)) -> (World, SocketAddr) {
    let mut world = World::with(|plan| {
        plan.connections = connections;
        plan.shard = SHARD;
        plan.pool.large_own = 32;
    });
    let sockets = Listener::new("127.0.0.1:0".parse().unwrap()).open_streams(1).unwrap();
    let local = sockets[0].local_addr().unwrap();
    for socket in sockets {
        world.driver.add_stream_listener(LISTENER, socket).unwrap();
    }
    world.turn();
    (world, local)
}

/// Breathes, keeping what came, until there is a report.
fn report(world: &mut World) -> ConnectionReport {
    let patience = net::clock::mono() + Duration::from_secs(10);
    while net::clock::mono() < patience {
        world.turn();
        if let Some(report) = world.driver.poll_connection() {
            return report;
        }
    }
    panic!("no report: {:?}", world.driver.counters());
}

fn accepted(world: &mut World) -> ConnectionId {
    match report(world) {
        ConnectionReport::Accepted { id, listener: LISTENER, .. } if id.shard == SHARD => id,
        other => panic!("{other:?}"),
    }
}

fn send(world: &mut World, id: ConnectionId, bytes: &[u8]) {
    let frame = world.driver.pool_mut().alloc(bytes.len()).unwrap();
    world.driver.pool_mut().bytes_mut(frame).copy_from_slice(bytes);
    let to = "127.0.0.1:1".parse().unwrap();
    world.driver.transmit(Transmit { frame, from: Local::Connection(id), to });
}

/// Bytes of a connection, as many as these.
fn read(world: &mut World, id: ConnectionId, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let patience = net::clock::mono() + Duration::from_secs(10);
    while all.len() < len && net::clock::mono() < patience {
        world.turn_keeping();
        for received in &world.received {
            assert_eq!(received.at, Local::Connection(id));
            all.extend_from_slice(world.driver.pool().bytes(received.frame));
        }
        world.free_all();
    }
    all
}

fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn what_comes_and_goes_keeps_its_order_and_every_byte() {
    let (mut world, local) = listening((4, 4));
    let mut peer = TcpStream::connect(local).unwrap();
    let id = accepted(&mut world);
    // More than all buffers of the group hold: reading stops and goes on.
    let long = numbered(3 << 20);
    let sent = long.clone();
    let mut writer = peer.try_clone().unwrap();
    let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    assert!(read(&mut world, id, long.len()) == long);
    thread.join().unwrap();
    for at in 0..20_u8 {
        send(&mut world, id, &vec![at; 9_000]);
    }
    let mut got = vec![0; 20 * 9_000];
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut got).unwrap();
        (got, peer)
    });
    while !reader.is_finished() {
        world.turn();
    }
    let (got, peer) = reader.join().unwrap();
    assert!(got.chunks(9_000).zip(0..).all(|(part, at)| part.iter().all(|byte| *byte == at)));
    drop(peer);
    assert_eq!(report(&mut world), ConnectionReport::Closed { id });
    world.turn();
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn a_connection_of_ours_stands_or_is_refused() {
    let (mut world, _) = listening((4, 4));
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = far.local_addr().unwrap();
    let id = ConnectionId { shard: SHARD, generation: 7, slot: 4 };
    world.driver.connection(ConnectionRequest::Open {
        id,
        listener: LISTENER,
        to,
        name: base::TlsName::NONE,
    });
    assert_eq!(report(&mut world), ConnectionReport::Connected { id });
    let (mut peer, from) = far.accept().unwrap();
    assert_eq!(from.ip(), to.ip(), "from the listener's address");
    send(&mut world, id, b"last words");
    // What was sent leaves before it is closed.
    world.driver.connection(ConnectionRequest::Close { id });
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    while !reader.is_finished() {
        world.turn();
    }
    assert_eq!(reader.join().unwrap(), b"last words");
    assert_eq!(world.driver.poll_connection(), None, "who closes knows");
    // Nobody listens there any more; and the place is used again.
    drop(far);
    for generation in 8..12 {
        let id = ConnectionId { generation, ..id };
        world.driver.connection(ConnectionRequest::Open {
            id,
            listener: LISTENER,
            to,
            name: base::TlsName::NONE,
        });
        assert_eq!(report(&mut world), ConnectionReport::Closed { id });
    }
    send(&mut world, id, b"to nobody");
    world.turn();
    assert_eq!(world.driver.counters().send_no_local, 1);
    assert_eq!(world.buffers_out(), 0);
}

/// Who takes nothing does not keep our buffers: his connection ends, others go on.
#[test]
fn who_never_reads_is_given_up() {
    let (mut world, local) = listening((4, 4));
    let silent = TcpStream::connect(local).unwrap();
    let id = accepted(&mut world);
    let mut closed = false;
    for _ in 0..2_000 {
        send(&mut world, id, &numbered(15_000));
        world.turn();
        if let Some(report) = world.driver.poll_connection() {
            assert_eq!(report, ConnectionReport::Closed { id });
            closed = true;
            break;
        }
    }
    assert!(closed, "{:?}", world.driver.counters());
    assert_eq!(world.driver.counters().send_connection_full, 1);
    world.turn();
    assert_eq!(world.buffers_out(), 0);
    drop(silent);
    let _other = TcpStream::connect(local).unwrap();
    let _ = accepted(&mut world);
}

#[test]
fn more_than_there_are_places_for_are_closed_at_once() {
    let (mut world, local) = listening((2, 1));
    let peers: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(local).unwrap()).collect();
    let ids = [accepted(&mut world), accepted(&mut world)];
    assert_ne!(ids[0].slot, ids[1].slot);
    while world.driver.counters().connection_refused < 3 {
        world.turn();
    }
    let mut over = 0;
    for mut peer in peers {
        peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        over += usize::from(matches!(peer.read(&mut [0; 8]), Ok(0)));
    }
    assert_eq!(over, 3);
    for _ in 0..2 {
        assert!(matches!(report(&mut world), ConnectionReport::Closed { .. }));
    }
    // Their places are free again, under other generations.
    let _again = TcpStream::connect(local).unwrap();
    let again = accepted(&mut world);
    assert!(!ids.contains(&again));
}

/// A place is closed and opened again in one breath: what was there ends, then the next one is
/// opened.
#[test]
fn a_place_is_used_again_at_once() {
    let (mut world, _) = listening((4, 4));
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = far.local_addr().unwrap();
    let mut last: Option<(ConnectionId, TcpStream)> = None;
    for generation in 1..6 {
        let id = ConnectionId { shard: SHARD, generation, slot: 5 };
        if let Some((id, _)) = &last {
            send(&mut world, *id, b"bye");
            world.driver.connection(ConnectionRequest::Close { id: *id });
        }
        world.driver.connection(ConnectionRequest::Open {
            id,
            listener: LISTENER,
            to,
            name: base::TlsName::NONE,
        });
        assert_eq!(report(&mut world), ConnectionReport::Connected { id });
        last = Some((id, far.accept().unwrap().0));
    }
    // One that is closed before its turn came is not opened.
    let (id, _) = last.unwrap();
    let next = ConnectionId { generation: 9, ..id };
    world.driver.connection(ConnectionRequest::Close { id });
    world.driver.connection(ConnectionRequest::Open {
        id: next,
        listener: LISTENER,
        to,
        name: base::TlsName::NONE,
    });
    world.driver.connection(ConnectionRequest::Close { id: next });
    for _ in 0..50 {
        world.turn();
    }
    assert_eq!(world.driver.poll_connection(), None);
    assert_eq!(world.buffers_out(), 0);
}
