//! The connections of one shard: what comes by them comes in pieces, in order; what goes by them is
//! cut into messages again, as their far ends would.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use base::{ConnectionId, ConnectionReport, ConnectionRequest, Prng, ShardId, Transport};
use sip::framing::{Framed, next};

use crate::network::Datagram;
use crate::plane::HOSTS;

/// See the module.
#[derive(Debug)]
pub struct Wires {
    shard: ShardId,
    random: Prng,
    standing: BTreeMap<ConnectionId, Wire>,
    reports: VecDeque<ConnectionReport>,
    /// Places for connections that come in, and the next one.
    places: u16,
    next: u16,
}

#[derive(Debug)]
struct Wire {
    remote: SocketAddr,
    /// The switch's address.
    local: SocketAddr,
    /// Went out, and is no whole message yet.
    unfinished: Vec<u8>,
    /// Answers to pings.
    pongs: u32,
}

impl Wires {
    pub(crate) fn new(shard: ShardId, places: u16, seed: u64) -> Self {
        Self {
            shard,
            random: Prng::new(seed ^ 0x71e5),
            standing: BTreeMap::new(),
            reports: VecDeque::new(),
            places,
            next: 0,
        }
    }

    /// The connection that goes to a far end.
    pub(crate) fn of(&self, remote: SocketAddr) -> Option<ConnectionId> {
        self.standing.iter().find(|(_, wire)| wire.remote == remote).map(|(id, _)| *id)
    }

    /// Answers to pings that a far end got.
    pub(crate) fn pongs(&self, remote: SocketAddr) -> u32 {
        let own = self.standing.values().filter(|wire| wire.remote == remote);
        own.map(|wire| wire.pongs).sum()
    }

    pub(crate) fn accept(&mut self, from: SocketAddr, listener: u8) -> Option<ConnectionId> {
        let taken = |slot: u16| self.standing.keys().any(|id| id.slot == slot);
        let places = self.places;
        let slot = (0..places).map(|at| (self.next + at) % places).find(|at| !taken(*at))?;
        self.next = (slot + 1) % places;
        let generation = self.random.u64().to_be_bytes()[0];
        let id = ConnectionId { shard: self.shard, generation, slot };
        self.put(id, listener, from);
        self.reports.push_back(ConnectionReport::Accepted { id, listener, from });
        Some(id)
    }

    fn put(&mut self, id: ConnectionId, listener: u8, remote: SocketAddr) {
        let port = if listener < 4 { 5_060 } else { 5_061 };
        let local = SocketAddr::new(HOSTS[usize::from(listener % 2)], port);
        self.standing.insert(id, Wire { remote, local, unfinished: Vec::new(), pongs: 0 });
    }

    /// One to three pieces.
    pub(crate) fn cut_up<'b>(&mut self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut place = || usize::try_from(self.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
        let (one, other) = (place(), place());
        let (first, second) = (one.min(other), one.max(other));
        let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
        parts.into_iter().filter(|part| !part.is_empty()).collect()
    }

    /// The far end, or something between, ends it.
    pub(crate) fn cut(&mut self, remote: SocketAddr) {
        while let Some(id) = self.of(remote) {
            self.standing.remove(&id);
            self.reports.push_back(ConnectionReport::Closed { id });
        }
    }

    /// The next report, if it is one of what is over or not.
    pub(crate) fn next_report(&mut self, is_over: bool) -> Option<ConnectionReport> {
        let is = |report: &ConnectionReport| matches!(report, ConnectionReport::Closed { .. });
        let first = self.reports.iter().position(|report| is(report) == is_over)?;
        self.reports.remove(first)
    }

    pub(crate) fn request(
        &mut self,
        request: ConnectionRequest,
        by_streams: &BTreeMap<SocketAddr, Transport>,
    ) {
        match request {
            ConnectionRequest::Open { id, listener, to, .. } if by_streams.contains_key(&to) => {
                self.put(id, listener, to);
                self.reports.push_back(ConnectionReport::Connected { id });
            }
            ConnectionRequest::Open { id, .. } => {
                self.reports.push_back(ConnectionReport::Closed { id });
            }
            ConnectionRequest::Close { id } => {
                self.standing.remove(&id);
            }
        }
    }

    /// What the switch says by a connection, message by message.
    pub(crate) fn write(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Vec<Datagram>) {
        let Some(wire) = self.standing.get_mut(&id) else { return };
        wire.unfinished.extend_from_slice(bytes);
        loop {
            let len = match next(&wire.unfinished, sip::limits::MESSAGE_BYTES_MAX) {
                Framed::Message(len) => len,
                Framed::KeepAlive { len, .. } => {
                    wire.unfinished.drain(..len);
                    wire.pongs += 1;
                    continue;
                }
                Framed::Partial { .. } => return,
                Framed::Broken { fault, .. } => panic!("the switch's stream is broken: {fault:?}"),
            };
            let bytes: Vec<u8> = wire.unfinished.drain(..len).collect();
            out.push(Datagram { from: wire.local, to: wire.remote, bytes });
        }
    }
}
