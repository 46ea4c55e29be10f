//! The connections of one shard: what comes by them comes in pieces, in order; what goes by them is
//! cut into messages again, as their far ends would.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

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
    /// Far ends whose connection is over, and who have not heard of it.
    closed: Vec<SocketAddr>,
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
    /// Whether it is a WebSocket, and how far it is.
    web: Web,
}

/// A phone's side of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Web {
    No,
    /// Its request is to be sent, or to be answered.
    Unasked,
    Asked,
    Open,
}

/// What opens a WebSocket (RFC 7118 section 4.1).
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: switch.example\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Origin: https://app.example\r\nSec-WebSocket-Protocol: sip\r\n\
     Sec-WebSocket-Version: 13\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 101 ";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// A frame of a client's.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a message fits");
    let short = u8::try_from(len).ok().filter(|len| *len < 126);
    let mut frame = vec![first, 0x80 | short.unwrap_or(126)];
    if short.is_none() {
        frame.extend(len.to_be_bytes());
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
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
            closed: Vec::new(),
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

    pub(crate) fn accept(
        &mut self,
        from: SocketAddr,
        listener: u8,
        known_as: Option<IpAddr>,
    ) -> Option<ConnectionId> {
        let taken = |slot: u16| self.standing.keys().any(|id| id.slot == slot);
        let places = self.places;
        let slot = (0..places).map(|at| (self.next + at) % places).find(|at| !taken(*at))?;
        self.next = (slot + 1) % places;
        let generation = self.random.u64().to_be_bytes()[0];
        let id = ConnectionId { shard: self.shard, generation, slot };
        self.put(id, listener, from);
        self.reports.push_back(ConnectionReport::Accepted { id, listener, from });
        let proven = known_as.map(|known_as| ConnectionReport::Proven { id, known_as });
        self.reports.extend(proven);
        Some(id)
    }

    fn put(&mut self, id: ConnectionId, listener: u8, remote: SocketAddr) {
        let port = if listener < 4 { 5_060 } else { 5_061 };
        let local = SocketAddr::new(HOSTS[usize::from(listener % 2)], port);
        let web = if listener < 6 { Web::No } else { Web::Unasked };
        self.standing.insert(id, Wire { remote, local, unfinished: Vec::new(), pongs: 0, web });
    }

    /// What a far end's message is on the wire: over WebSocket in one frame or two with a ping
    /// between them, the first one behind the request that opens it.
    pub(crate) fn dressed(&mut self, id: ConnectionId, bytes: &[u8]) -> Vec<u8> {
        let wire = self.standing.get_mut(&id).filter(|wire| wire.web != Web::No);
        let Some(wire) = wire else { return bytes.to_vec() };
        let mut out = Vec::new();
        if wire.web == Web::Unasked {
            out.extend_from_slice(REQUEST);
            wire.web = Web::Asked;
        }
        let mask = self.random.u32().to_be_bytes();
        let at = usize::try_from(self.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
        if self.random.chance(1, 2) {
            out.extend(masked(0x81, bytes, mask));
        } else {
            out.extend(masked(0x01, &bytes[..at], mask));
            out.extend(masked(0x89, b"alive", mask));
            out.extend(masked(0x80, &bytes[at..], mask));
        }
        out
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
            self.closed.push(remote);
        }
    }

    /// Far ends whose connection is over, once each.
    pub(crate) fn take_closed(&mut self, out: &mut Vec<SocketAddr>) {
        out.append(&mut self.closed);
    }

    /// The process dies, and every connection with it.
    pub(crate) fn all_closed(&mut self, out: &mut Vec<SocketAddr>) {
        self.take_closed(out);
        out.extend(self.standing.values().map(|wire| wire.remote));
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
            // A firewall between: nobody says anything.
            ConnectionRequest::Open { to, .. } if by_streams.get(&to) == Some(&Transport::Udp) => {}
            ConnectionRequest::Open { id, listener, to, .. } if by_streams.contains_key(&to) => {
                self.put(id, listener, to);
                self.reports.push_back(ConnectionReport::Connected { id });
            }
            ConnectionRequest::Open { id, .. } => {
                self.reports.push_back(ConnectionReport::Closed { id });
            }
            ConnectionRequest::Close { id } => {
                self.closed.extend(self.standing.remove(&id).map(|wire| wire.remote));
            }
        }
    }

    /// What the switch says by a connection, message by message.
    pub(crate) fn write(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Vec<Datagram>) {
        let Some(wire) = self.standing.get_mut(&id) else { return };
        wire.unfinished.extend_from_slice(bytes);
        if wire.web != Web::No {
            return wire.read_web(out);
        }
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

impl Wire {
    /// What a WebSocket's client reads: the answer that opens it, then a message a frame.
    fn read_web(&mut self, out: &mut Vec<Datagram>) {
        if self.web == Web::Asked {
            let text = String::from_utf8_lossy(&self.unfinished).into_owned();
            let Some(end) = text.find("\r\n\r\n") else { return };
            assert!(self.unfinished.starts_with(ANSWER) && text.contains(ACCEPT), "{text}");
            self.unfinished.drain(..end + 4);
            self.web = Web::Open;
        }
        while let [first, second, ..] = *self.unfinished {
            let (len, head) = match (second, self.unfinished.get(2..4)) {
                (126, None) => return,
                (126, Some(len)) => (usize::from(u16::from_be_bytes([len[0], len[1]])), 4),
                (len, _) => (usize::from(len), 2),
            };
            if self.unfinished.len() < head + len {
                return;
            }
            let payload = self.unfinished.drain(..head + len).skip(head).collect::<Vec<u8>>();
            match first {
                0x81 | 0x82 if payload == b"\r\n" => self.pongs += 1,
                0x81 | 0x82 => {
                    out.push(Datagram { from: self.local, to: self.remote, bytes: payload })
                }
                0x8a => assert_eq!(payload, b"alive"),
                0x88 => {}
                first => panic!("a frame that no server sends: {first:#x}"),
            }
        }
    }
}
