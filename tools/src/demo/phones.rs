//! Phones on real sockets: the agents of the crate `agent`, each on a loopback address of its own,
//! by datagrams or by a connection, driven by one thread.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use agent::{Account, Agent, Datagram, Dial, Manner, Outbox, PhoneCall};
use anyhow::{Context, Result};
use base::{Mono, Now, Wall};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use secure::Identity;

use super::wires::Wire;
use crate::clock::{MS, mono, wall};

/// Longest datagram of SIP or RTP that a phone takes, bytes.
const DATAGRAM_BYTES_MAX: usize = 16 << 10;
/// Longest wait between two looks at the clock.
const TURN_MAX: u64 = 10 * MS;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phone(usize);

/// Their sockets: whose each is, and whether SIP or media comes there.
#[derive(Debug, Default)]
struct Sockets {
    all: Vec<(UdpSocket, SocketAddr, usize, bool)>,
    by_address: BTreeMap<SocketAddr, usize>,
    wires: Vec<Wire>,
}

/// All phones of a demonstration.
#[derive(Debug, Default)]
pub(super) struct Phones {
    agents: Vec<Agent>,
    sockets: Sockets,
    /// Those to whom nothing comes through.
    dead: Vec<usize>,
}

/// The time now, as the agents take it.
pub(super) fn now() -> Now {
    Now { mono: Mono(mono()), wall: Wall(wall() / 1_000) }
}

impl Outbox for Sockets {
    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        // What cannot be sent is a lost datagram, and the agents know those.
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.own == from) {
            let _ = wire.send(bytes);
        } else if let Some(at) = self.by_address.get(&from) {
            let _ = self.all[*at].0.send_to(bytes, to);
        }
    }
}

impl Sockets {
    fn open(&mut self, address: SocketAddr, owner: usize, is_sip: bool) -> Result<()> {
        if self.by_address.contains_key(&address) {
            return Ok(());
        }
        let socket = UdpSocket::bind(address)
            .with_context(|| format!("{address} cannot be bound for a phone"))?;
        socket.set_nonblocking(true)?;
        self.by_address.insert(address, self.all.len());
        self.all.push((socket, address, owner, is_sip));
        Ok(())
    }

    /// Which have something, after at most `wait` nanoseconds: the sockets, then the connections.
    fn ready(&self, wait: u64) -> Result<Vec<usize>> {
        let sockets = self.all.iter().map(|(socket, ..)| socket.as_fd());
        let wires = self.wires.iter().map(|wire| wire.stream.as_fd());
        let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = sockets.chain(wires).map(fd).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(wait).unwrap_or(0) };
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(Vec::new()),
            other => other?,
        };
        let ready = fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(at, _)| at).collect())
    }
}

impl Phones {
    /// A phone at this address; its media is on the same host.
    pub(super) fn add(&mut self, sip: SocketAddr, manner: Manner) -> Result<Phone> {
        let phone = self.agents.len();
        self.sockets.open(sip, phone, true)?;
        self.agents.push(Agent::new(sip, manner, mono()));
        Ok(Phone(phone))
    }

    /// A phone on this host with a connection to the switch; by TLS with those whom it believes.
    pub(super) fn connect(
        &mut self,
        (host, switch): (IpAddr, SocketAddr),
        believes: Option<&Arc<Identity>>,
        manner: Manner,
    ) -> Result<Phone> {
        let phone = self.agents.len();
        let wire = Wire::open((host, switch), phone, believes)?;
        let manner = Manner { by_tcp: true, by_tls: believes.is_some(), ..manner };
        self.agents.push(Agent::new(wire.own, manner, mono()));
        self.sockets.wires.push(wire);
        Ok(Phone(phone))
    }

    /// Registers at once.
    pub(super) fn register(&mut self, phone: Phone, account: Account, switch: SocketAddr) {
        self.agents[phone.0].register(account, switch, now().mono);
    }

    /// A phone's connection breaks.
    pub(super) fn cut(&mut self, phone: Phone) {
        let own = self.sockets.wires.iter_mut().filter(|wire| wire.phone == phone.0);
        own.for_each(Wire::cut);
    }

    pub(super) fn agent(&self, phone: Phone) -> &Agent {
        &self.agents[phone.0]
    }

    /// Nothing comes through to the phone, or everything as before.
    pub(super) fn set_dead(&mut self, phone: Phone, is_dead: bool) {
        self.dead.retain(|dead| *dead != phone.0);
        if is_dead {
            self.dead.push(phone.0);
        }
    }

    pub(super) fn set_manner(&mut self, phone: Phone, manner: Manner) {
        self.agents[phone.0].manner = manner;
    }

    pub(super) fn calls(&mut self, phone: Phone) -> &mut [PhoneCall] {
        &mut self.agents[phone.0].calls
    }

    /// The call's number at this phone.
    pub(super) fn dial(&mut self, phone: Phone, switch: SocketAddr, dial: &Dial) -> Result<usize> {
        let call = self.agents[phone.0].dial(now(), switch, dial, &mut self.sockets);
        self.open_media(phone.0)?;
        Ok(call)
    }

    /// The media ports of calls that are new.
    fn open_media(&mut self, phone: usize) -> Result<()> {
        for call in &self.agents[phone].calls {
            let rtp = call.media_address();
            self.sockets.open(rtp, phone, false)?;
            self.sockets.open(SocketAddr::new(rtp.ip(), rtp.port() + 1), phone, false)?;
        }
        Ok(())
    }

    /// Everything that is due until `until`, monotonic nanoseconds.
    pub(super) fn run(&mut self, until: u64) -> Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while mono() < until {
            let due = self.agents.iter().map(|agent| agent.deadline().0).min().unwrap_or(u64::MAX);
            let wait = due.min(until).saturating_sub(mono()).min(TURN_MAX);
            let sockets = self.sockets.all.len();
            for at in self.sockets.ready(wait)? {
                match at.checked_sub(sockets) {
                    None => self.receive(at, &mut buffer)?,
                    Some(wire) => self.read(wire)?,
                }
            }
            self.sockets.wires.retain(|wire| !wire.is_over());
            let now = now();
            for agent in &mut self.agents {
                if agent.deadline() <= now.mono {
                    agent.handle_tick(now, &mut self.sockets);
                }
            }
        }
        Ok(())
    }

    /// What has come by a connection.
    fn read(&mut self, at: usize) -> Result<()> {
        let wire = &mut self.sockets.wires[at];
        let (from, to, phone) = (wire.far, wire.own, wire.phone);
        for bytes in wire.receive()? {
            let before = self.agents[phone].calls.len();
            let datagram = Datagram { from, to, bytes };
            self.agents[phone].handle_sip(now(), &datagram, &mut self.sockets);
            if self.agents[phone].calls.len() > before {
                self.open_media(phone)?;
            }
        }
        if self.sockets.wires[at].is_over() {
            self.agents[phone].lose_connection(now());
        }
        Ok(())
    }

    fn receive(&mut self, at: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let (socket, address, phone, is_sip) = &self.sockets.all[at];
            let (to, phone, is_sip) = (*address, *phone, *is_sip);
            let (len, from) = match socket.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A port that nobody has any more: ICMP for something sent before.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error.into()),
            };
            if self.dead.contains(&phone) {
                continue;
            }
            let datagram = Datagram { from, to, bytes: buffer[..len].to_vec() };
            let agent = &mut self.agents[phone];
            if is_sip {
                let before = agent.calls.len();
                agent.handle_sip(now(), &datagram, &mut self.sockets);
                if self.agents[phone].calls.len() > before {
                    self.open_media(phone)?;
                }
            } else {
                agent.handle_media(now(), &datagram);
            }
        }
    }
}
