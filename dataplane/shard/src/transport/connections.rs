//! Connections that carry SIP: who has one, what came of a message that is not whole yet, what
//! waits to be sent until a new one stands, and when one that says nothing is closed.
//!
//! ```text
//!                  request for an address that none goes to
//!        Opening --(it stands)--> Standing          what waits is sent
//!           |                        ^
//!           |   accepted ------------+              closed after SILENT without a whole message
//!           v                        |
//!         gone <-(closed, failed)----+              what waits is lost, and counted
//! ```
//!
//! A connection lives on the shard that accepted or opened it. Others send by it through a handoff.
//! Every number here is a bound: connections in all, those of one source that nobody knows, bytes
//! of unfinished messages, messages that wait for a connection. What is over a bound is closed or
//! dropped with a reason.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use base::{
    ConnectionId, ConnectionRequest, Door, Frame, Hop, Mono, ShardId, TlsName, Transport, Wheel,
};
use sip::websocket;
use wire::counter::Counter;
use wire::material::is_identifier;

use super::far_end::FarEnd;
use super::guard::Standing;
use crate::cx::{Core, Cx};

/// How long a connection may take to stand, and a message to come whole once it has begun.
const SLOW: Duration = Duration::from_secs(10);
/// How long somebody whom nobody knows may stay without a whole message.
const SILENT: Duration = Duration::from_secs(120);
/// How long nothing was said by a connection of ours that makes room for another one.
const IDLE: Duration = Duration::from_secs(5);
/// Messages that wait for one connection, and for all.
const WAITING_MAX: usize = 64;
const WAITING_ALL_MAX: usize = 512;
/// Connections to one host that do not stand yet.
const OPENING_MAX: usize = 8;
/// Connections of one source that nobody knows; one that somebody knows has half of all.
const SOURCE_MAX: u16 = 32;
/// The largest message that is read from a connection.
pub(crate) const MESSAGE_BYTES: usize = base::frame::LARGE_BYTES - base::frame::HEADROOM;
/// Bytes of unfinished messages, of all connections.
const UNFINISHED_BYTES: usize = 8 << 20;

/// What a connection leads to: two that lead to the same are as good as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct End {
    /// The listener that it came to, or in whose name it was opened.
    pub listener: u8,
    pub remote: SocketAddr,
    /// What the far end has proven, or is to prove, to be called.
    pub name: TlsName,
}

impl End {
    /// Whether this is the way of a message.
    pub(crate) fn is_of(&self, hop: Hop) -> bool {
        let Door::Connection { listener, name, .. } = hop.via else { return false };
        *self == Self { listener, remote: hop.to, name }
    }
}

/// One connection.
#[derive(Debug)]
struct Connection {
    generation: u8,
    end: End,
    is_standing: bool,
    /// It was accepted: it counts for its source.
    is_accepted: bool,
    /// Accepted from somebody whom nobody knows: it may not be silent for long.
    is_strange: bool,
    /// What stands for the name that its far end has proven, in lists of networks.
    known_as: Option<IpAddr>,
    /// Came, and is no whole message yet.
    unfinished: Vec<u8>,
    /// With fewer bytes there is no message; 0 where the header section has no end yet.
    needed: usize,
    /// A message has begun, and its time runs.
    has_begun: bool,
    /// A whole message came.
    has_spoken: bool,
    /// A phone keeps it alive: so many seconds without a word of it end it; 0 for no end.
    silence_s: u16,
    /// When something was said by it last.
    used: Mono,
    /// Leave once it stands.
    waiting: Vec<Frame>,
    /// What it carries.
    pub(super) dress: Dress,
}

/// What the bytes of a connection are.
#[derive(Debug, Default)]
pub(crate) enum Dress {
    /// Messages, one behind the other.
    #[default]
    Plain,
    /// A request that opens a WebSocket is to come.
    Opening,
    /// Frames of WebSocket, and what came of a message that is not whole yet.
    Web(Option<Vec<u8>>),
}

impl Dress {
    /// Bytes of a message that is not whole.
    fn held(&self) -> usize {
        match self {
            Self::Web(Some(message)) => message.len(),
            _ => 0,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connections {
    shard: ShardId,
    slots: Vec<Option<Connection>>,
    generations: Vec<u8>,
    /// Places of connections that are accepted come before those that are opened: their
    /// generations are given by whoever accepts.
    accepted_max: u16,
    /// Places for new ones, longest unused first.
    free: VecDeque<u16>,
    by_end: HashMap<End, u16>,
    by_source: HashMap<IpAddr, u16>,
    /// Accepted ones of those whom nobody knows.
    strange: u16,
    timers: Wheel,
    /// Bytes of unfinished messages: of all, and of those whom nobody knows.
    unfinished: usize,
    unfinished_strange: usize,
    /// Messages that wait for connections.
    waiting: usize,
    standing: usize,
    pub(crate) requests: VecDeque<ConnectionRequest>,
    /// Far ends to which nothing could be sent.
    pub(crate) unreachable: VecDeque<End>,
}

/// By what a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Standing(ConnectionId, SocketAddr),
    /// It waits for this one.
    Opening(u16),
    /// There is none, and no room for one more.
    None,
}

impl Connection {
    /// One that is to be opened.
    fn new(generation: u8, end: End, now: Mono) -> Self {
        Self {
            generation,
            end,
            is_standing: false,
            is_accepted: false,
            is_strange: false,
            known_as: None,
            unfinished: Vec::new(),
            needed: 0,
            has_begun: false,
            has_spoken: false,
            silence_s: 0,
            used: now,
            waiting: Vec::new(),
            dress: Dress::Plain,
        }
    }
}

const fn seconds(seconds: u16) -> Duration {
    Duration::from_secs(seconds as u64)
}

/// What counts as one source: an IPv4 address, a /64.
fn source_of(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

impl Connections {
    /// Bytes that one of them takes at birth, about.
    pub(crate) const BYTES: usize = size_of::<Option<Connection>>() + 64;

    /// `limits`: how many are accepted, and how many are opened.
    pub(crate) fn new(shard: ShardId, (accepted, opened): (u16, u16)) -> Self {
        let total = accepted.saturating_add(opened);
        Self {
            shard,
            slots: (0..total).map(|_| None).collect(),
            generations: vec![0; usize::from(total)],
            accepted_max: accepted,
            free: (accepted..total).collect(),
            by_end: HashMap::new(),
            by_source: HashMap::new(),
            strange: 0,
            timers: Wheel::new(u32::from(total)),
            unfinished: 0,
            unfinished_strange: 0,
            waiting: 0,
            standing: 0,
            requests: VecDeque::new(),
            unreachable: VecDeque::new(),
        }
    }

    pub(crate) fn standing(&self) -> usize {
        self.standing
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.timers.next()
    }

    fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.slots.get(usize::from(id.slot))?.as_ref()?;
        (connection.generation == id.generation && id.shard == self.shard).then_some(connection)
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let shard = self.shard;
        let connection = self.slots.get_mut(usize::from(id.slot))?.as_mut()?;
        (connection.generation == id.generation && id.shard == shard).then_some(connection)
    }

    fn id_of(&self, slot: u16) -> Option<ConnectionId> {
        let connection = self.slots.get(usize::from(slot))?.as_ref()?;
        Some(ConnectionId { shard: self.shard, generation: connection.generation, slot })
    }

    /// The listener and the far end of a connection that stands.
    pub(crate) fn ends(&self, id: ConnectionId) -> Option<(u8, SocketAddr)> {
        self.get(id).map(|connection| (connection.end.listener, connection.end.remote))
    }

    /// The way back by a connection: who was verified is verified again should it have to be made
    /// anew.
    pub(crate) fn hop(&self, id: ConnectionId) -> Option<Hop> {
        let Connection { end: End { listener, remote, name }, is_accepted, .. } = *self.get(id)?;
        let name = if is_accepted { TlsName::NONE } else { name };
        Some(Hop { via: Door::Connection { listener, id, name }, to: remote })
    }

    pub(crate) fn is_standing(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.is_standing)
    }

    /// Somebody connected. False if he may not: it is closed.
    pub(crate) fn accept(
        &mut self,
        (id, end, dress): (ConnectionId, End, Dress),
        standing: Standing,
        now: Mono,
    ) -> bool {
        let is_strange = matches!(standing, Standing::Stranger | Standing::Proven);
        let source = source_of(end.remote);
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        let share = if is_strange { SOURCE_MAX } else { (self.accepted_max / 2).max(1) };
        // However many strangers there are, a quarter of the places is for those in a list.
        let is_crowded = is_strange && self.strange >= self.accepted_max - self.accepted_max / 4;
        let is_nobodys = is_identifier(end.remote.ip());
        let is_taken = self.slots.get(usize::from(id.slot)).is_none_or(Option::is_some);
        let is_full = id.slot >= self.accepted_max || of_source >= share || is_crowded;
        if is_taken || is_nobodys || is_full {
            self.requests.push_back(ConnectionRequest::Close { id });
            return false;
        }
        self.by_source.insert(source, of_source + 1);
        self.strange += u16::from(is_strange);
        self.put(
            id.slot,
            Connection {
                is_standing: true,
                is_accepted: true,
                is_strange,
                dress,
                ..Connection::new(id.generation, end, now)
            },
        );
        // Whoever it is, it has something to say.
        self.timers.set(u32::from(id.slot), now + SLOW);
        true
    }

    fn put(&mut self, slot: u16, connection: Connection) {
        self.standing += usize::from(connection.is_standing);
        // A far end that connects from the port that it listens on takes nothing from one of ours.
        self.by_end.entry(connection.end).or_insert(slot);
        self.slots[usize::from(slot)] = Some(connection);
    }

    /// By what a message to an address goes: the connection that is named, if it stands and goes to
    /// that host; else another one to the address and name; else a new one, where one may be made.
    pub(crate) fn way(&mut self, id: ConnectionId, end: End, may_open: bool, now: Mono) -> Way {
        let to = end.remote;
        let host = |address: SocketAddr| address.ip().to_canonical();
        let is_it = |it: &&mut Connection| {
            // One that came to us proves nothing but that its requests came by it.
            let is_called = it.is_accepted || it.end.name == end.name;
            it.is_standing && host(it.end.remote) == host(to) && is_called
        };
        if let Some(connection) = self.get_mut(id).filter(is_it) {
            connection.used = now;
            return Way::Standing(id, connection.end.remote);
        }
        if let Some(slot) = self.by_end.get(&end).copied()
            && let Some(id) = self.id_of(slot)
            && let Some(connection) = self.get_mut(id)
        {
            connection.used = now;
            let is_standing = connection.is_standing;
            return if is_standing { Way::Standing(id, to) } else { Way::Opening(slot) };
        }
        if !may_open || self.is_opening(to) {
            return Way::None;
        }
        if self.free.is_empty() {
            self.evict(now);
        }
        let Some(slot) = self.free.pop_front() else { return Way::None };
        let generation = self.generations[usize::from(slot)].wrapping_add(1);
        self.generations[usize::from(slot)] = generation;
        self.put(slot, Connection::new(generation, end, now));
        self.timers.set(u32::from(slot), now + SLOW);
        let id = ConnectionId { shard: self.shard, generation, slot };
        let End { listener, remote: to, name } = end;
        self.requests.push_back(ConnectionRequest::Open { id, listener, to, name });
        Way::Opening(slot)
    }

    /// Closes the one of those that we have opened by which nothing was said for the longest time:
    /// whoever is to hear more is connected anew. None if something was said by each lately.
    fn evict(&mut self, now: Mono) {
        let all = (0_u16..).zip(&self.slots);
        let opened = all.filter_map(|(slot, it)| Some((slot, it.as_ref()?)));
        let idle = opened.filter(|(_, it)| it.is_standing && !it.is_accepted);
        let oldest = idle.min_by_key(|(_, it)| it.used);
        let oldest = oldest.filter(|(_, it)| now.since(it.used) >= IDLE);
        let Some((slot, generation)) = oldest.map(|(slot, it)| (slot, it.generation)) else {
            return;
        };
        let id = ConnectionId { shard: self.shard, generation, slot };
        if self.remove(id).is_some() {
            self.requests.push_back(ConnectionRequest::Close { id });
        }
    }

    /// A connection to there stands.
    pub(crate) fn leads_to(&self, end: End) -> bool {
        let slot = self.by_end.get(&end).copied();
        slot.and_then(|slot| self.slots.get(usize::from(slot))?.as_ref())
            .is_some_and(|connection| connection.is_standing)
    }

    /// Whether so many connections to a host are being made that it gets no more.
    fn is_opening(&self, to: SocketAddr) -> bool {
        let is = |it: &&Connection| !it.is_standing && source_of(it.end.remote) == source_of(to);
        let opened = self.slots.iter().skip(usize::from(self.accepted_max)).flatten();
        opened.filter(is).count() >= OPENING_MAX
    }

    /// A message waits for a connection; it comes back if there are too many.
    fn wait(&mut self, slot: u16, frame: Frame) -> Option<Frame> {
        let connection = self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut);
        match connection.filter(|it| it.waiting.len() < WAITING_MAX) {
            Some(connection) if self.waiting < WAITING_ALL_MAX => {
                connection.waiting.push(frame);
                self.waiting += 1;
                None
            }
            _ => Some(frame),
        }
    }

    /// What was asked for stands: what waited for it, and where it goes.
    fn connected(&mut self, id: ConnectionId) -> Option<(SocketAddr, Vec<Frame>)> {
        let connection = self.get_mut(id).filter(|connection| !connection.is_standing)?;
        connection.is_standing = true;
        let (remote, waiting) = (connection.end.remote, core::mem::take(&mut connection.waiting));
        self.waiting -= waiting.len();
        self.standing += 1;
        self.timers.cancel(u32::from(id.slot));
        Some((remote, waiting))
    }

    /// It is over: its far end, and what waited. None if it was not known.
    fn remove(&mut self, id: ConnectionId) -> Option<(End, Vec<Frame>)> {
        self.get(id)?;
        let connection = self.slots.get_mut(usize::from(id.slot))?.take()?;
        self.timers.cancel(u32::from(id.slot));
        self.standing -= usize::from(connection.is_standing);
        self.waiting -= connection.waiting.len();
        let held = connection.unfinished.len() + connection.dress.held();
        self.count_unfinished(connection.is_strange, held, 0);
        if self.by_end.get(&connection.end) == Some(&id.slot) {
            self.by_end.remove(&connection.end);
        }
        if connection.is_accepted {
            self.strange -= u16::from(connection.is_strange);
            let source = source_of(connection.end.remote);
            match self.by_source.get_mut(&source) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.by_source.remove(&source)),
            }
        }
        if id.slot >= self.accepted_max {
            self.free.push_back(id.slot);
        }
        Some((connection.end, connection.waiting))
    }

    fn count_unfinished(&mut self, is_strange: bool, before: usize, after: usize) {
        self.unfinished = self.unfinished - before + after;
        if is_strange {
            self.unfinished_strange = self.unfinished_strange - before + after;
        }
    }

    /// What came before and is no whole message, with what comes now: to be given back by
    /// [`Connections::keep`]. None of a connection that is over.
    pub(crate) fn take_unfinished(
        &mut self,
        id: ConnectionId,
        more: &[u8],
    ) -> Option<(Vec<u8>, Dress)> {
        let connection = self.get_mut(id)?;
        let mut bytes = core::mem::take(&mut connection.unfinished);
        let dress = core::mem::take(&mut connection.dress);
        let (is_strange, before) = (connection.is_strange, bytes.len() + dress.held());
        self.count_unfinished(is_strange, before, 0);
        bytes.extend_from_slice(more);
        Some((bytes, dress))
    }

    /// Whether these bytes, of which the last so many are new, can hold a message: nobody makes us
    /// look at the beginning of one again for each byte that he sends.
    pub(crate) fn may_hold(&self, id: ConnectionId, bytes: &[u8], new: usize) -> bool {
        let Some(connection) = self.get(id) else { return false };
        if connection.needed > 0 {
            return bytes.len() >= connection.needed;
        }
        let is_begun = connection.has_begun && bytes.len() > new;
        // The end of a header section is in what is new, or a little before it.
        let from = bytes.len().saturating_sub(new + 3);
        let ends = |window: &[u8]| window.starts_with(b"\n\n") || window.starts_with(b"\n\r\n");
        !is_begun
            || bytes.len() >= MESSAGE_BYTES
            || (from..bytes.len()).any(|at| ends(&bytes[at..]))
    }

    /// Bytes that its next message has at least; 0 where that is not known.
    pub(crate) fn needed(&self, id: ConnectionId) -> usize {
        self.get(id).map_or(0, |connection| connection.needed)
    }

    /// What is left behind the messages that were read, and how many bytes the next one has at
    /// least (0: not known). False if there is no room for so much. `has_read`: a whole message was
    /// among what came. A ping keeps whoever has spoken.
    pub(crate) fn keep(
        &mut self,
        id: ConnectionId,
        (mut bytes, dress, needed): (Vec<u8>, Dress, usize),
        has_read: bool,
        now: Mono,
    ) -> bool {
        let (rest, held) = (bytes.len(), dress.held());
        let len = rest + held;
        let Some(is_strange) = self.get(id).map(|it| it.is_strange) else { return true };
        // A quarter is for those in a list.
        let most_strange = UNFINISHED_BYTES - UNFINISHED_BYTES / 4;
        if self.unfinished + len > UNFINISHED_BYTES
            || is_strange && self.unfinished_strange + len > most_strange
        {
            return false;
        }
        self.count_unfinished(is_strange, 0, len);
        let slot = u32::from(id.slot);
        let Some(connection) = self.get_mut(id) else { return true };
        connection.has_spoken |= has_read;
        if has_read {
            connection.used = now;
        }
        // Half a ping begins no message.
        let has_begun = held > 0 || rest > 0 && bytes[0] != b'\r';
        let begins = has_begun && (has_read || !connection.has_begun);
        let Connection { is_accepted, is_strange, has_spoken, silence_s, .. } = *connection;
        bytes.shrink_to(rest);
        connection.unfinished = bytes;
        connection.dress = dress;
        connection.needed = needed;
        connection.has_begun = has_begun;
        match (has_begun, is_strange) {
            // The time of a message that has begun runs on.
            (true, _) if begins => self.timers.set(slot, now + SLOW),
            (false, true) if has_spoken => self.timers.set(slot, now + SILENT),
            (false, false) if silence_s > 0 => self.timers.set(slot, now + seconds(silence_s)),
            (false, false) if has_spoken || !is_accepted => self.timers.cancel(slot),
            _ => {}
        }
        true
    }

    /// Its far end has proven a name by its certificate.
    pub(crate) fn prove(&mut self, id: ConnectionId, known_as: IpAddr) {
        if let Some(connection) = self.get_mut(id).filter(|it| it.is_accepted) {
            connection.known_as = Some(known_as);
        }
    }

    /// Whom lists of networks know by this way.
    pub(crate) fn source(&self, hop: &Hop) -> FarEnd {
        let proven = match hop.via {
            Door::Connection { id, .. } => self.get(id).and_then(|it| it.known_as),
            Door::Datagram(_) => None,
        };
        FarEnd { address: hop.to.ip(), proven }
    }

    /// A phone of somebody's has registered by it: it may be silent for so many seconds, or between
    /// two registrations (0).
    pub(crate) fn befriend(&mut self, id: ConnectionId, silence_s: u16, now: Mono) {
        let Some(connection) = self.get_mut(id) else { return };
        let was_strange = core::mem::take(&mut connection.is_strange);
        let had_silence = core::mem::replace(&mut connection.silence_s, silence_s);
        let len = connection.unfinished.len() + connection.dress.held();
        let has_begun = connection.has_begun;
        if was_strange {
            self.strange -= 1;
            self.unfinished_strange -= len;
        }
        match (has_begun, silence_s) {
            (true, _) => {}
            (false, 0) if !was_strange && had_silence == 0 => {}
            (false, 0) => self.timers.cancel(u32::from(id.slot)),
            (false, _) => self.timers.set(u32::from(id.slot), now + seconds(silence_s)),
        }
    }

    /// Whether it came from somebody whom nobody knows.
    pub(crate) fn is_strange(&self, id: ConnectionId) -> bool {
        self.get(id).is_none_or(|connection| connection.is_strange)
    }

    /// The next one whose time is over.
    pub(crate) fn pop_late(&mut self, now: Mono) -> Option<ConnectionId> {
        while let Some(slot) = self.timers.pop(now) {
            let id = u16::try_from(slot).ok().and_then(|slot| self.id_of(slot));
            if id.is_some() {
                return id;
            }
        }
        None
    }
}

impl Core<'_> {
    /// What a connection speaks.
    pub(crate) fn transport_of(&self, id: ConnectionId) -> Transport {
        self.connections.ends(id).map_or(Transport::Tcp, |(listener, _)| self.transport(listener))
    }

    /// Whether a connection may be made: over TLS only to whoever can be known.
    fn may_open(&self, end: End) -> bool {
        match self.transport(end.listener) {
            Transport::Udp | Transport::Ws | Transport::Wss => false,
            Transport::Tcp => true,
            Transport::Tls => end.name == TlsName::NONE || self.names.text(end.name).is_some(),
        }
    }
}

impl Cx<'_, '_> {
    /// Sends a message by a connection of this shard.
    pub(super) fn send_by_connection(&mut self, id: ConnectionId, end: End, frame: Frame) {
        let may_open = self.core.may_open(end);
        match self.core.connections.way(id, end, may_open, self.now.mono) {
            Way::Standing(id, remote) => {
                self.count(Counter::SipSent);
                self.transmit_by(id, remote, frame);
            }
            Way::Opening(slot) => {
                self.core.in_hand = None;
                match self.core.connections.wait(slot, frame) {
                    None => self.count(Counter::SipSent),
                    Some(frame) => self.discard(frame, Counter::DiscardConnectionFull),
                }
            }
            Way::None => {
                self.discard(frame, Counter::DiscardConnectionFull);
                self.core.connections.unreachable.push_back(end);
            }
        }
    }

    /// The answer to a ping (RFC 5626 section 3.5.1).
    pub(crate) fn pong(&mut self, id: ConnectionId) {
        let Some((_, remote)) = self.core.connections.ends(id) else { return };
        match super::super::cx::frame_of(self.frames, &mut self.core.in_hand, b"\r\n") {
            Some(frame) => self.transmit_by(id, remote, frame),
            None => self.count(Counter::DiscardNoFrame),
        }
    }

    /// Bytes of our own by a connection, as they are.
    pub(crate) fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some((_, remote)) = self.core.connections.ends(id) else { return };
        match super::super::cx::frame_of(self.frames, &mut self.core.in_hand, bytes) {
            Some(frame) => self.transmit(base::Local::Connection(id), remote, frame),
            None => self.count(Counter::DiscardNoFrame),
        }
    }

    /// A message by a connection that stands, in the form that its transport has.
    fn transmit_by(&mut self, id: ConnectionId, remote: SocketAddr, frame: Frame) {
        if !self.core.transport_of(id).is_web() {
            return self.transmit(base::Local::Connection(id), remote, frame);
        }
        let header = websocket::header(self.frames.bytes(frame));
        let header = header.filter(|(_, len)| usize::from(frame.start) >= *len);
        let Some((header, len)) = header else {
            return self.discard(frame, Counter::DiscardConnectionFull);
        };
        let more = u16::try_from(len).unwrap_or(0);
        let frame = Frame { start: frame.start - more, len: frame.len + more, ..frame };
        self.frames.bytes_mut(frame)[..len].copy_from_slice(&header[..len]);
        self.transmit(base::Local::Connection(id), remote, frame);
    }

    /// A connection that was asked for stands.
    pub(crate) fn connected(&mut self, id: ConnectionId) {
        let Some((remote, waiting)) = self.core.connections.connected(id) else { return };
        self.count(Counter::ConnectionOpened);
        for frame in waiting {
            self.transmit(base::Local::Connection(id), remote, frame);
        }
    }

    /// A connection is over. Its far end, if it was known.
    pub(crate) fn disconnected(&mut self, id: ConnectionId) -> Option<End> {
        let (end, waiting) = self.core.connections.remove(id)?;
        for frame in waiting {
            self.discard(frame, Counter::DiscardConnectionGone);
        }
        Some(end)
    }

    /// Closes a connection, and why. Its far end, if it was known.
    pub(crate) fn close_connection(&mut self, id: ConnectionId, why: Counter) -> Option<End> {
        let end = self.disconnected(id)?;
        self.count(why);
        self.core.connections.requests.push_back(ConnectionRequest::Close { id });
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stranger who becomes somebody's phone in the middle of a message takes all of its bytes
    /// out of what strangers may have.
    #[test]
    fn who_is_befriended_leaves_the_strangers_share() {
        for dress in [Dress::Plain, Dress::Web(Some(vec![0; 700]))] {
            let held = dress.held();
            let mut connections = Connections::new(0, (8, 2));
            let id = ConnectionId { shard: 0, generation: 1, slot: 3 };
            let remote = SocketAddr::from(([192, 0, 2, 7], 5_062));
            let end = End { listener: 0, remote, name: TlsName::UNPROVEN };
            let accepted = (id, end, Dress::Plain);
            assert!(connections.accept(accepted, Standing::Stranger, Mono(0)));
            assert!(connections.keep(id, (vec![b'x'; 300], dress, 400), true, Mono(0)));
            assert_eq!(connections.unfinished_strange, 300 + held);
            connections.befriend(id, 0, Mono(0));
            assert_eq!((connections.unfinished_strange, connections.strange), (0, 0));
            assert!(connections.remove(id).is_some());
            assert_eq!(connections.unfinished, 0);
        }
    }
}
