//! A driver with one IPv4 and one IPv6 media address on loopback, and peers that are plain sockets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::{Flow, FlowReport, Frames, Local, MediaPort, Mono, Path, Received, Transmit};
use net::driver::MediaAddress;
use net::{Driver, DriverPlan};
use socket2::{Domain, Socket, Type};

pub(crate) struct World {
    pub(crate) driver: Driver,
    pub(crate) received: Vec<Received>,
    receive_buffers: u32,
    own_buffers: usize,
}

pub(crate) fn port(address: u8, port: u16) -> MediaPort {
    MediaPort { address, port }
}

/// A UDP port that nobody has at the moment.
pub(crate) fn unused_port() -> u16 {
    Peer::new("127.0.0.1:0").address().port()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut DriverPlan)) -> Self {
        let bind = |ip| MediaAddress { bind: ip, device: None, dscp: 46 };
        let addresses = vec![bind(Ipv4Addr::LOCALHOST.into()), bind(Ipv6Addr::LOCALHOST.into())];
        let mut plan = DriverPlan::for_ports(64, addresses);
        plan.connects = true;
        plan.pool.small_receive = 256;
        plan.pool.small_own = 256;
        plan.pool.large_receive = 8;
        plan.pool.large_own = 8;
        change(&mut plan);
        let mut driver = Driver::new(&plan).unwrap();
        driver.enable().unwrap();
        Self {
            driver,
            received: Vec::with_capacity(64),
            receive_buffers: plan.pool.small_receive + plan.pool.large_receive,
            own_buffers: (plan.pool.small_own + plan.pool.large_own) as usize,
        }
    }

    /// Opens some port on a media address and gives where it is.
    pub(crate) fn open(&mut self, address: u8) -> SocketAddr {
        for _ in 0..100 {
            let chosen = port(address, unused_port());
            self.driver.flow(Flow::Open { port: chosen });
            match self.driver.poll_report() {
                Some(FlowReport::Opened { port, path: Path::Socket }) if port == chosen => {
                    let ip = if address == 1 {
                        Ipv6Addr::LOCALHOST.into()
                    } else {
                        Ipv4Addr::LOCALHOST.into()
                    };
                    return SocketAddr::new(ip, chosen.port);
                }
                Some(FlowReport::Refused { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("no free port");
    }

    pub(crate) fn lock(&mut self, address: u8, local: SocketAddr, remote: SocketAddr) {
        self.driver.flow(Flow::Lock { port: port(address, local.port()), remote });
    }

    /// Queues a datagram of our own from a port of address 0.
    pub(crate) fn send(&mut self, local: SocketAddr, bytes: &[u8], to: SocketAddr) {
        let frame = self.driver.pool_mut().alloc(bytes.len()).unwrap();
        self.driver.pool_mut().bytes_mut(frame).copy_from_slice(bytes);
        let from = Local::Media(port(0, local.port()));
        self.driver.transmit(Transmit { frame, from, to });
    }

    /// A breath that does not sleep and whose datagrams are dropped.
    pub(crate) fn turn(&mut self) {
        self.driver.breathe(Mono::NEVER, false, &mut self.received);
        self.free_all();
    }

    /// A breath that must bring nothing.
    pub(crate) fn turn_keeping(&mut self) {
        let mut none = Vec::with_capacity(64);
        self.driver.breathe(Mono::NEVER, false, &mut none);
        self.received.extend(none);
    }

    pub(crate) fn free_all(&mut self) {
        for got in self.received.drain(..) {
            self.driver.pool_mut().free(got.frame);
        }
    }

    /// Breathes until one datagram has come; more than one is an error.
    pub(crate) fn receive_one(&mut self) -> Received {
        let patience = net::clock::mono() + Duration::from_secs(20);
        while net::clock::mono() < patience {
            self.driver.breathe(patience, true, &mut self.received);
            match self.received.as_slice() {
                [] => {}
                [one] => return *one,
                more => panic!("{} datagrams", more.len()),
            }
        }
        panic!("no datagram: {:?}", self.driver.counters());
    }

    /// Buffers that are neither with the kernel nor free: must be 0 when nothing is held.
    pub(crate) fn buffers_out(&self) -> usize {
        let (small, large) = self.driver.pool().receivable();
        let (small_own, large_own) = self.driver.pool().allocatable();
        (self.receive_buffers - small - large) as usize + self.own_buffers - small_own - large_own
    }
}

/// A plain blocking socket.
pub(crate) struct Peer {
    socket: Socket,
}

impl Peer {
    pub(crate) fn new(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) {
        assert_eq!(self.socket.send_to(bytes, &to.into()).unwrap(), bytes.len());
    }

    /// A datagram and where it came from.
    pub(crate) fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = vec![std::mem::MaybeUninit::new(0_u8); 65_536];
        let (len, from) = self.socket.recv_from(&mut bytes).unwrap();
        // SAFETY: all bytes are initialised, by us or by the kernel.
        let bytes = bytes[..len].iter().map(|byte| unsafe { byte.assume_init() }).collect();
        (bytes, from.as_socket().unwrap())
    }
}
