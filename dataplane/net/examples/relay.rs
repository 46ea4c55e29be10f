//! What a relayed packet costs on the socket tier: the driver beside a bare loop of the same shape.
//!
//! `cargo run --release -p net --example relay -- [legs] [packets] [burst]`
//!
//! Each leg is a socket, connected but in the lane that says so; leg 2k relays to leg 2k+1 and
//! back. One thread plays everything in turns: it sends a burst (not measured), relays it
//! (measured), takes it in again (not measured). Measured is the thread's CPU time, so that other
//! work on the machine disturbs little.
//! On loopback a sender pays for the receiver's protocol work; the relay therefore pays for exactly
//! one send and one receive path of the kernel per packet, as it does behind a NIC.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use base::{Flow, FlowReport, Frames, Local, MediaPort, Mono, Received, Transmit};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use net::driver::MediaAddress;
use net::{Driver, DriverPlan};
use socket2::{Domain, Socket, Type};

const PAYLOAD_BYTES: usize = 172;
const BUFFER_BYTES: u32 = 2048;
const BUFFERS: u16 = 8192;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let legs = numbers.next().unwrap_or(2000) & !1;
    let packets = numbers.next().unwrap_or(1_000_000);
    let burst = numbers.next().unwrap_or(64).min(legs);
    net::cpu::raise_nofile(legs as u64 * 7 + 1024).expect("descriptors");
    if let Some(core) = net::cpu::allowed().last() {
        net::cpu::pin(*core).expect("pinning");
    }
    println!("legs {legs} each, packets {packets}, burst {burst}, {PAYLOAD_BYTES} bytes");
    let mut lanes = [
        Lane::new("epoll", Box::new(Epoll::new()), legs),
        Lane::new("bare ring", Box::new(Bare::new(legs)), legs),
        Lane::new("driver", Box::new(Driven::new(legs, true)), legs),
        Lane::new("driver, not connected", Box::new(Driven::new(legs, false)), legs),
    ];
    for round in 0..4 {
        // In turns, so that what disturbs the machine disturbs all of them.
        for _ in 0..packets / burst {
            for lane in &mut lanes {
                lane.turn(burst);
            }
        }
        print!("round {round}, CPU ns/packet:");
        for lane in &mut lanes {
            print!("  {} {:.0}", lane.name, lane.spent as f64 / lane.relayed as f64);
            (lane.spent, lane.relayed) = (0, 0);
        }
        println!();
    }
}

/// A way to relay.
trait Relay {
    /// A socket of ours, connected to `peer`; gives where it is bound.
    fn add(&mut self, peer: SocketAddr) -> SocketAddr;
    /// Relays what has arrived; gives how many packets went out.
    fn turn(&mut self) -> usize;
}

/// A relay with its peers, and what it has cost so far.
struct Lane {
    name: &'static str,
    relay: Box<dyn Relay>,
    peers: Vec<Socket>,
    next: usize,
    spent: u64,
    relayed: usize,
}

impl Lane {
    fn new(name: &'static str, mut relay: Box<dyn Relay>, legs: usize) -> Self {
        let peers: Vec<Socket> = (0..legs).map(|_| bound()).collect();
        for peer in &peers {
            let local = relay.add(address(peer));
            peer.connect(&local.into()).expect("connecting a peer");
            peer.set_nonblocking(true).expect("non-blocking");
        }
        relay.turn();
        Self { name, relay, peers, next: 0, spent: 0, relayed: 0 }
    }

    fn turn(&mut self, burst: usize) {
        let payload = [0x80; PAYLOAD_BYTES];
        let legs = self.peers.len();
        for _ in 0..burst {
            // 7919 is prime: consecutive packets belong to legs far apart.
            self.next = (self.next + 7919) % legs;
            self.peers[self.next].send(&payload).expect("sending");
        }
        let before = cpu_nanos();
        let mut left = burst;
        for _ in 0..burst * 2 {
            left -= self.relay.turn().min(left);
            if left == 0 {
                break;
            }
        }
        self.spent += cpu_nanos() - before;
        self.relayed += burst - left;
        drain(&self.peers, self.next, burst, legs);
    }
}

fn drain(peers: &[Socket], last: usize, burst: usize, legs: usize) {
    let mut bytes = [0_u8; 2048];
    let mut at = last;
    for _ in 0..burst {
        let peer = &peers[at ^ 1];
        // SAFETY: `bytes` is writable for its length.
        while unsafe {
            libc::recv(peer.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT)
        } > 0
        {}
        at = (at + legs - 7919 % legs) % legs;
    }
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    socket.bind(&any.into()).expect("binding");
    socket
}

fn connected(peer: SocketAddr) -> Socket {
    let socket = bound();
    socket.connect(&peer.into()).expect("connecting");
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().expect("an address").as_socket().expect("an IP address")
}

fn cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The driver under test, with what a shard would do at least: look the leg up, rewrite the header.
struct Driven {
    driver: Driver,
    received: Vec<Received>,
    /// Port -> leg + 1.
    by_port: Vec<u32>,
    legs: Vec<(MediaPort, SocketAddr)>,
}

impl Driven {
    fn new(legs: usize, connects: bool) -> Self {
        let bind = MediaAddress { bind: Ipv4Addr::LOCALHOST.into(), device: None, dscp: 46 };
        let ports = u32::try_from(legs).expect("fewer legs");
        let plan = DriverPlan { connects, ..DriverPlan::for_ports(ports, vec![bind]) };
        let mut driver = Driver::new(&plan).expect("a driver");
        driver.enable().expect("enabling");
        let received = Vec::with_capacity(64);
        Self { driver, received, by_port: vec![0; 65_536], legs: Vec::new() }
    }
}

impl Relay for Driven {
    fn add(&mut self, peer: SocketAddr) -> SocketAddr {
        loop {
            let local = address(&bound());
            let port = MediaPort { address: 0, port: local.port() };
            self.driver.flow(Flow::Open { port });
            if let Some(FlowReport::Opened { .. }) = self.driver.poll_report() {
                self.driver.flow(Flow::Lock { port, remote: peer });
                self.legs.push((port, peer));
                self.by_port[usize::from(port.port)] =
                    u32::try_from(self.legs.len()).expect("fewer legs");
                return local;
            }
        }
    }

    fn turn(&mut self) -> usize {
        self.driver.breathe(Mono::NEVER, false, &mut self.received);
        for index in 0..self.received.len() {
            let got = self.received[index];
            let Local::Media(port) = got.at else { continue };
            let leg = self.by_port[usize::from(port.port)] - 1;
            let (from, to) = self.legs[(leg ^ 1) as usize];
            self.driver.pool_mut().bytes_mut(got.frame)[8..12].copy_from_slice(&leg.to_be_bytes());
            self.driver.transmit(Transmit { frame: got.frame, from: Local::Media(from), to });
        }
        if !self.received.is_empty() {
            self.driver.flush();
        }
        self.received.len()
    }
}

/// The simplest io_uring loop: plain Recv multishot on connected sockets, Send, one enter a turn.
struct Bare {
    ring: IoUring,
    memory: Vec<u8>,
    entries: Box<[types::BufRingEntry]>,
    tail: u16,
    sockets: Vec<Socket>,
}

impl Bare {
    fn new(legs: usize) -> Self {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(8192);
        let ring = builder.build(1024).expect("a ring");
        let files = u32::try_from(legs).expect("fewer legs");
        ring.submitter().register_files_sparse(files).expect("a file table");
        let memory = vec![0; BUFFER_BYTES as usize * usize::from(BUFFERS)];
        let layout = std::alloc::Layout::from_size_align(usize::from(BUFFERS) * 16, 4096);
        // SAFETY: a non-zero layout; the entries are plain numbers, zero is valid; never freed
        // through the wrong layout because `main` ends the process before.
        let entries = unsafe {
            let start = std::alloc::alloc_zeroed(layout.expect("a layout"));
            std::slice::from_raw_parts_mut(start.cast(), BUFFERS.into())
        };
        // SAFETY: the entries live as long as the process.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(entries.as_ptr() as u64, BUFFERS, 0, 0)
                .expect("a buffer ring");
            let entries = Box::from_raw(std::ptr::from_mut(entries));
            let mut bare = Self { ring, memory, entries, tail: 0, sockets: Vec::new() };
            for id in 0..BUFFERS {
                bare.give(id);
            }
            bare.publish();
            bare
        }
    }

    fn give(&mut self, id: u16) {
        let address = self.memory.as_ptr() as u64 + u64::from(id) * u64::from(BUFFER_BYTES);
        let entry = &mut self.entries[usize::from(self.tail & (BUFFERS - 1))];
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the ring's first entry holds the tail.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries.as_ptr());
            (*tail.cast::<std::sync::atomic::AtomicU16>())
                .store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what entries point to is `memory`, which outlives the ring's use.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("submitting");
        }
    }

    fn enter(&mut self) {
        let queued = u32::try_from(self.ring.submission().len()).unwrap_or(0);
        // SAFETY: GETEVENTS without arguments.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, 1, None) }
            .map_or_else(|error: io::Error| panic!("{error}"), drop);
    }
}

impl Relay for Bare {
    fn add(&mut self, peer: SocketAddr) -> SocketAddr {
        let socket = connected(peer);
        let leg = u32::try_from(self.sockets.len()).expect("fewer legs");
        self.ring
            .submitter()
            .register_files_update(leg, &[socket.as_raw_fd()])
            .expect("a place in the file table");
        let local = address(&socket);
        self.sockets.push(socket);
        let receive = opcode::RecvMulti::new(types::Fixed(leg), 0).build().user_data(leg.into());
        self.push(&receive);
        local
    }

    fn turn(&mut self) -> usize {
        self.enter();
        let mut arrived = Vec::with_capacity(64);
        for completion in self.ring.completion() {
            let data = completion.user_data();
            if data >> 63 == 1 {
                arrived.push((u32::MAX, u16::try_from(data & 0xffff).unwrap_or(0), 0));
            } else if let Some(id) = cqueue::buffer_select(completion.flags()) {
                let len = u32::try_from(completion.result()).unwrap_or(0);
                arrived.push((u32::try_from(data).unwrap_or(0), id, len));
            }
        }
        let mut sent = 0;
        for (leg, id, len) in arrived {
            if leg == u32::MAX {
                self.give(id);
                continue;
            }
            let at = usize::from(id) * BUFFER_BYTES as usize;
            self.memory[at + 8..at + 12].copy_from_slice(&leg.to_be_bytes());
            let send = opcode::Send::new(types::Fixed(leg ^ 1), &raw const self.memory[at], len)
                .build()
                .user_data(1 << 63 | u64::from(id));
            self.push(&send);
            sent += 1;
        }
        self.publish();
        if sent > 0 {
            self.enter();
        }
        sent
    }
}

/// What everybody writes first: epoll, recv, send.
struct Epoll {
    epoll: libc::c_int,
    sockets: Vec<Socket>,
}

impl Epoll {
    fn new() -> Self {
        // SAFETY: no pointers.
        Self { epoll: unsafe { libc::epoll_create1(0) }, sockets: Vec::new() }
    }
}

impl Relay for Epoll {
    fn add(&mut self, peer: SocketAddr) -> SocketAddr {
        let socket = connected(peer);
        let interest = libc::EPOLLIN | libc::EPOLLET;
        let mut event =
            libc::epoll_event { events: interest.cast_unsigned(), u64: self.sockets.len() as u64 };
        // SAFETY: a valid event.
        unsafe {
            libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        let local = address(&socket);
        self.sockets.push(socket);
        local
    }

    fn turn(&mut self) -> usize {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let mut bytes = [0_u8; 2048];
        // SAFETY: 64 writable events.
        let ready = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 64, 0) };
        let mut sent = 0;
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            let leg = usize::try_from(event.u64).unwrap_or(0);
            loop {
                let from = self.sockets[leg].as_raw_fd();
                let flags = libc::MSG_DONTWAIT;
                // SAFETY: `bytes` is writable for its length.
                let len =
                    unsafe { libc::recv(from, bytes.as_mut_ptr().cast(), bytes.len(), flags) };
                let Ok(len) = usize::try_from(len) else { break };
                bytes[8..12].copy_from_slice(&(leg as u64).to_be_bytes()[4..]);
                let to = self.sockets[leg ^ 1].as_raw_fd();
                // SAFETY: `len` initialised bytes.
                unsafe { libc::send(to, bytes.as_ptr().cast(), len, flags) };
                sent += 1;
            }
        }
        sent
    }
}
