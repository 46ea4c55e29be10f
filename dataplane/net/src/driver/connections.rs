//! Connections that carry SIP: accepted, opened, read, written and closed on the shard's ring.
//!
//! ```text
//!   listener: multishot accept      connection: connect -> multishot recv, one send after the other
//!   a place:  free -> Opening -> Standing -> Ending -> free once every operation of it is over
//! ```
//!
//! Bytes come as frames of the group that SIP has, in the order of the stream; where there is no
//! buffer, reading stops and the kernel's window closes. What is sent is copied out of its frame,
//! so that nobody who does not read keeps our buffers; what waits leaves together, one send after
//! the other (MSG_WAITALL). Whoever takes nothing is given up: by the kernel after [`UNTAKEN`]
//! (TCP_USER_TIMEOUT), by us when too many bytes wait for him.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use base::{
    ConnectionId, ConnectionReport, ConnectionRequest, Frames as _, Mono, ShardId, Transmit,
};
use io_uring::types::Fixed;
use io_uring::{cqueue, opcode};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::tag::{Tag, kind};
use super::{BELLS_MAX, Driver, LISTENERS_MAX, NO_FRAME};
use crate::clock;
use crate::error::NetError;
use crate::pool::GROUP_LARGE;
use crate::sockaddr::RawAddress;

/// How long what was sent may stay unacknowledged.
const UNTAKEN: Duration = Duration::from_secs(10);
/// Bytes that wait to be sent by one connection, and by all.
const WAITING_MAX: usize = 256 << 10;
const WAITING_ALL_MAX: usize = 16 << 20;
/// How long the last words of a connection that is closed may take.
const LINGER: Duration = Duration::from_secs(2);
/// What a connection keeps of its memory when nothing waits.
const KEPT: usize = 4 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Opening,
    Standing,
    /// Nothing is reported any more; what is under way ends.
    Ending,
}

#[derive(Debug)]
struct Place {
    state: State,
    socket: Option<TcpStream>,
    /// What the shard calls it.
    id: ConnectionId,
    remote: SocketAddr,
    /// Which use of the place it is, for tags.
    number: u32,
    /// Operations that have not completed for good.
    under_way: u8,
    is_received: bool,
    waiting: Vec<u8>,
    /// What the kernel is sending: not touched until it says that it has.
    sending: Vec<u8>,
    is_sending: bool,
    /// The shard wants it closed once all is sent, but no later than this.
    closes: Option<Mono>,
    /// What is opened here as soon as the place is free.
    next: Option<(ConnectionId, u8, SocketAddr)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    shard: ShardId,
    listeners: Vec<Option<(TcpListener, SocketAddr)>>,
    /// Those that are accepted first, then those that are opened.
    places: Vec<Place>,
    accepted: u16,
    free: VecDeque<u16>,
    /// Completions of this breath.
    pub(super) done: Vec<(Tag, i32, u32)>,
    reports: VecDeque<ConnectionReport>,
    /// Bytes that wait, or are being sent.
    waiting: usize,
    /// Places that are to be closed once all is sent, with the use of the place.
    closing: Vec<(u32, u32)>,
}

impl Connections {
    pub(super) fn new(shard: ShardId, (accepted, opened): (u16, u16)) -> Self {
        let nowhere = SocketAddr::from(([0; 4], 0));
        let place = || Place {
            state: State::Free,
            socket: None,
            id: ConnectionId::ANY,
            remote: nowhere,
            number: 0,
            under_way: 0,
            is_received: false,
            waiting: Vec::new(),
            sending: Vec::new(),
            is_sending: false,
            closes: None,
            next: None,
        };
        let places = usize::from(accepted) + usize::from(opened);
        Self {
            shard,
            listeners: (0..LISTENERS_MAX).map(|_| None).collect(),
            places: (0..places).map(|_| place()).collect(),
            accepted,
            free: (0..accepted).collect(),
            done: Vec::with_capacity(1_024),
            reports: VecDeque::new(),
            waiting: 0,
            closing: Vec::new(),
        }
    }

    /// Whose bytes these are; None of a use that is over.
    pub(super) fn reads(&self, tag: Tag) -> Option<(ConnectionId, SocketAddr)> {
        let place = self.places.get(tag.index() as usize)?;
        let is_current = place.number & 0x00ff_ffff == tag.generation();
        (is_current && place.state == State::Standing).then_some((place.id, place.remote))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.reports.is_empty()
    }

    fn of(&mut self, id: ConnectionId) -> Option<(u32, &mut Place)> {
        let place = self.places.get_mut(usize::from(id.slot))?;
        let is = place.id.generation == id.generation
            && matches!(place.state, State::Opening | State::Standing);
        is.then_some((u32::from(id.slot), place))
    }

    /// The place at which this one is to be opened.
    fn waits_at(&mut self, id: ConnectionId) -> Option<&mut Place> {
        let place = self.places.get_mut(usize::from(id.slot))?;
        place.next.is_some_and(|(next, ..)| next == id).then_some(place)
    }

    /// Whether a receive that ended is still wanted.
    fn wants(&self, tag: Tag) -> bool {
        self.reads(tag).is_some()
    }
}

impl Driver {
    /// Accepts SIP connections; they come by [`Self::poll_connection`] with this `index`.
    pub fn add_stream_listener(&mut self, index: u8, socket: TcpListener) -> Result<(), NetError> {
        if u32::from(index) >= LISTENERS_MAX {
            return Err(NetError::BadPlan("more listeners than a driver has places for"));
        }
        self.ring
            .set_file(self.acceptor_place(index.into()), socket.as_raw_fd())
            .map_err(NetError::system("registering a SIP listener with the ring"))?;
        let local =
            socket.local_addr().map_err(NetError::system("reading back a listener's address"))?;
        self.connections.listeners[usize::from(index)] = Some((socket, local));
        self.arm(Tag::new(kind::ACCEPT, 0, u32::from(index)));
        Ok(())
    }

    /// What became of connections.
    pub fn poll_connection(&mut self) -> Option<ConnectionReport> {
        self.connections.reports.pop_front()
    }

    /// What the shard asks of connections.
    pub fn connection(&mut self, request: ConnectionRequest) {
        match request {
            ConnectionRequest::Open { id, listener, to, .. } => self.open_here(id, listener, to),
            ConnectionRequest::Close { id } => {
                if let Some(place) = self.connections.waits_at(id) {
                    place.next = None;
                    return;
                }
                let Some((index, place)) = self.connections.of(id) else { return };
                if !place.is_sending && place.waiting.is_empty() {
                    return self.end_connection(index, false);
                }
                place.closes = Some(clock::mono() + LINGER);
                let number = place.number;
                self.connections.closing.push((index, number));
            }
        }
    }

    /// Opens a connection at its place, or as soon as what was there before is over.
    fn open_here(&mut self, id: ConnectionId, listener: u8, to: SocketAddr) {
        let index = u32::from(id.slot);
        match self.connections.places.get_mut(usize::from(id.slot)) {
            Some(place) if place.state != State::Free => {
                place.next = Some((id, listener, to));
                // The shard has closed it; another one waits for its place.
                self.end_connection(index, false);
            }
            _ => {
                if self.open_connection(id, listener, to).is_err() {
                    self.counters.connection_failed += 1;
                    self.connections.reports.push_back(ConnectionReport::Closed { id });
                }
            }
        }
    }

    fn open_connection(
        &mut self,
        id: ConnectionId,
        listener: u8,
        to: SocketAddr,
    ) -> io::Result<()> {
        let index = u32::from(id.slot);
        let known = self.connections.listeners.get(usize::from(listener)).and_then(Option::as_ref);
        let local = known.map(|(_, local)| local.ip());
        let place = self.connections.places.get_mut(usize::from(id.slot));
        let place = place.filter(|place| place.state == State::Free);
        let (Some(place), Some(local)) = (place, local) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if !local.is_unspecified() {
            socket.bind(&SocketAddr::new(local, 0).into())?;
        }
        prepare(SockRef::from(&socket))?;
        take_class(&socket, known.map(|(listener, _)| SockRef::from(listener)), to);
        place.socket = Some(OwnedFd::from(socket).into());
        (place.id, place.remote, place.state) = (id, to, State::Opening);
        place.number = place.number.wrapping_add(1);
        place.closes = None;
        let tag = Tag::new(kind::CONNECT, place.number, index);
        if let Err(error) = self.set_connection_file(index) {
            self.release_place(index);
            return Err(error);
        }
        // Its place in the queue is known before it is pushed.
        while self.queue_is_full() {
            if self.broken.is_some() {
                return Ok(());
            }
        }
        let slot = &mut self.queue.addresses[(self.queue.tail & self.queue.mask) as usize];
        *slot = RawAddress::of(to);
        let (address, len) = (slot.as_ptr(), slot.len());
        let place = Fixed(self.connection_place(index));
        let entry = opcode::Connect::new(place, address, len).build().user_data(tag.0);
        self.connections.places[index as usize].under_way += 1;
        self.push(&entry, NO_FRAME);
        Ok(())
    }

    /// Queues a message for a connection. The frame is taken in any case.
    pub(super) fn transmit_by(&mut self, id: ConnectionId, transmit: Transmit) {
        let all = self.connections.waiting;
        let Some((index, place)) = self.connections.of(id) else {
            return self.no_local(transmit);
        };
        let bytes = self.pool.bytes(transmit.frame);
        let own = place.waiting.len() + place.sending.len() + bytes.len();
        let is_full = own > WAITING_MAX || place.is_sending && all + bytes.len() > WAITING_ALL_MAX;
        if !is_full {
            place.waiting.extend_from_slice(bytes);
            self.connections.waiting += bytes.len();
        }
        self.pool.free(transmit.frame);
        if is_full {
            self.counters.send_connection_full += 1;
            return self.end_connection(index, true);
        }
        self.counters.send_packets += 1;
        self.send_next(index);
    }

    fn send_next(&mut self, index: u32) {
        let place = &mut self.connections.places[index as usize];
        if place.is_sending || place.state != State::Standing {
            return;
        }
        if place.waiting.is_empty() {
            if place.closes.is_some() {
                self.end_connection(index, false);
            }
            return;
        }
        core::mem::swap(&mut place.waiting, &mut place.sending);
        place.is_sending = true;
        place.under_way += 1;
        let (bytes, len) = (place.sending.as_ptr(), place.sending.len());
        let tag = Tag::new(kind::STREAM_SEND, place.number, index);
        self.counters.send_bytes += len as u64;
        // What it points to stays as it is until it has completed (see `Place::sending`).
        let at = Fixed(self.connection_place(index));
        let entry = opcode::Send::new(at, bytes, u32::try_from(len).unwrap_or(0))
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(tag.0);
        self.push_always(&entry);
    }

    /// After the completions: what they mean.
    pub(super) fn settle_connections(&mut self, now: Mono) {
        let mut done = core::mem::take(&mut self.connections.done);
        for (tag, result, flags) in done.drain(..) {
            match tag.kind() {
                kind::ACCEPT => self.accepted(tag, result, flags),
                kind::CONNECT => self.opened(tag, result),
                kind::STREAM_RECEIVE => self.received(tag, result, flags),
                _ => self.sent(tag, result),
            }
        }
        self.connections.done = done;
        self.end_lingering(now);
    }

    /// Whoever takes the last words of a closed connection too slowly does not get them.
    fn end_lingering(&mut self, now: Mono) {
        for at in (0..self.connections.closing.len()).rev() {
            let (index, number) = self.connections.closing[at];
            let place = &self.connections.places[index as usize];
            let is_it = place.number == number && place.state == State::Standing;
            let closes = place.closes.filter(|_| is_it);
            if closes.is_some_and(|closes| now < closes) {
                continue;
            }
            self.connections.closing.swap_remove(at);
            if closes.is_some() {
                self.end_connection(index, false);
            }
        }
    }

    fn accepted(&mut self, tag: Tag, result: i32, flags: u32) {
        if result >= 0 {
            // SAFETY: the kernel has made this descriptor for us, and nobody else has it.
            let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(result) });
            let listener = tag.index().to_le_bytes()[0];
            if self.take_accepted(socket, listener).is_err() {
                self.counters.connection_refused += 1;
            }
        } else {
            self.counters.connection_failed += 1;
        }
        if !cqueue::more(flags) {
            match result {
                0.. => self.ended.push(tag),
                _ => self.failed.push(tag),
            }
        }
    }

    /// Has a place for it, or closes it.
    fn take_accepted(&mut self, socket: TcpStream, listener: u8) -> io::Result<()> {
        let remote = socket.peer_addr()?;
        prepare(SockRef::from(&socket))?;
        let slot = self.connections.free.pop_front().ok_or(io::ErrorKind::OutOfMemory)?;
        let place = &mut self.connections.places[usize::from(slot)];
        place.number = place.number.wrapping_add(1);
        let generation = place.id.generation.wrapping_add(1);
        place.id = ConnectionId { shard: self.connections.shard, generation, slot };
        (place.socket, place.remote, place.state) = (Some(socket), remote, State::Standing);
        place.closes = None;
        let id = place.id;
        if let Err(error) = self.set_connection_file(slot.into()) {
            self.release_place(slot.into());
            return Err(error);
        }
        self.receive(slot.into());
        let from = remote;
        self.connections.reports.push_back(ConnectionReport::Accepted { id, listener, from });
        Ok(())
    }

    fn opened(&mut self, tag: Tag, result: i32) {
        let Some(place) = self.completed(tag) else { return };
        if place.state != State::Opening {
            return self.release_if_over(tag.index());
        }
        if result < 0 {
            self.counters.connection_failed += 1;
            return self.end_connection(tag.index(), true);
        }
        place.state = State::Standing;
        let id = place.id;
        self.connections.reports.push_back(ConnectionReport::Connected { id });
        self.receive(tag.index());
        self.send_next(tag.index());
    }

    fn receive(&mut self, index: u32) {
        let place = &mut self.connections.places[index as usize];
        place.under_way += 1;
        place.is_received = true;
        let tag = Tag::new(kind::STREAM_RECEIVE, place.number, index);
        self.arm(tag);
    }

    fn received(&mut self, tag: Tag, result: i32, flags: u32) {
        if cqueue::more(flags) {
            return;
        }
        if self.connections.wants(tag) {
            // The kernel ends a multishot now and then; else it goes on when there are buffers.
            match result {
                1.. => return self.ended.push(tag),
                _ if result == -libc::ENOBUFS => {
                    self.counters.receive_no_buffer += 1;
                    return self.starved.push_back(tag);
                }
                _ => {}
            }
        }
        let Some(place) = self.completed(tag) else { return };
        place.is_received = false;
        match place.state {
            State::Opening | State::Standing => self.end_connection(tag.index(), true),
            State::Ending | State::Free => self.release_if_over(tag.index()),
        }
    }

    fn sent(&mut self, tag: Tag, result: i32) {
        let Some(place) = self.completed(tag) else { return };
        let is_whole = usize::try_from(result).is_ok_and(|sent| sent == place.sending.len());
        let len = place.sending.len();
        place.is_sending = false;
        place.sending.clear();
        place.sending.shrink_to(KEPT);
        let is_over = place.state == State::Ending;
        self.connections.waiting -= len;
        if is_over {
            return self.release_if_over(tag.index());
        }
        if !is_whole {
            self.counters.send_failed(if result < 0 { -result } else { libc::EPIPE });
            return self.end_connection(tag.index(), true);
        }
        self.send_next(tag.index());
    }

    /// An operation is over for good: its place, if it is of this use.
    fn completed(&mut self, tag: Tag) -> Option<&mut Place> {
        let place = self.connections.places.get_mut(tag.index() as usize)?;
        if place.number & 0x00ff_ffff != tag.generation() {
            return None;
        }
        place.under_way = place.under_way.saturating_sub(1);
        Some(place)
    }

    /// Ends a connection: nothing more is read or sent. `told`: the shard does not know it yet.
    fn end_connection(&mut self, index: u32, told: bool) {
        let place = &mut self.connections.places[index as usize];
        if matches!(place.state, State::Free | State::Ending) {
            return;
        }
        let (was_opening, number) = (place.state == State::Opening, place.number);
        place.state = State::Ending;
        let receives = place.is_received;
        let waiting = core::mem::take(&mut place.waiting);
        if let Some(socket) = &place.socket {
            // A send under way ends by this; so does the far end's wait for us.
            let _ = socket.shutdown(Shutdown::Both);
        }
        if told {
            let id = place.id;
            self.connections.reports.push_back(ConnectionReport::Closed { id });
        }
        self.connections.waiting -= waiting.len();
        if was_opening {
            self.cancel(Tag::new(kind::CONNECT, number, index));
        }
        if receives {
            self.cancel(Tag::new(kind::STREAM_RECEIVE, number, index));
        }
        self.release_if_over(index);
    }

    fn release_if_over(&mut self, index: u32) {
        let place = &self.connections.places[index as usize];
        if place.state == State::Ending && place.under_way == 0 {
            self.release_place(index);
        }
    }

    fn release_place(&mut self, index: u32) {
        if self.ring.set_file(self.connection_place(index), -1).is_err() {
            self.counters.enter_errors += 1;
        }
        let place = &mut self.connections.places[index as usize];
        place.state = State::Free;
        place.socket = None;
        // A receive that starved will not be armed again.
        place.number = place.number.wrapping_add(1);
        let next = place.next.take();
        if let Ok(slot) = u16::try_from(index)
            && slot < self.connections.accepted
        {
            self.connections.free.push_back(slot);
        }
        if let Some((id, listener, to)) = next {
            self.open_here(id, listener, to);
        }
    }

    fn set_connection_file(&self, index: u32) -> io::Result<()> {
        let socket = self.connections.places[index as usize].socket.as_ref();
        let fd: RawFd = socket.map_or(-1, AsRawFd::as_raw_fd);
        self.ring.set_file(self.connection_place(index), fd)
    }

    fn acceptor_place(&self, index: u32) -> u32 {
        self.ports_max + LISTENERS_MAX + BELLS_MAX + index
    }

    fn connection_place(&self, index: u32) -> u32 {
        self.acceptor_place(LISTENERS_MAX) + index
    }

    /// The entry that a tag of a connection stands for.
    pub(super) fn connection_entry(&self, tag: Tag) -> io_uring::squeue::Entry {
        match tag.kind() {
            kind::ACCEPT => opcode::AcceptMulti::new(Fixed(self.acceptor_place(tag.index())))
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            _ => opcode::RecvMulti::new(Fixed(self.connection_place(tag.index())), GROUP_LARGE)
                .build(),
        }
    }

    /// Whether a receive that has ended or starved is still wanted; if not, it is over.
    pub(super) fn is_stream_wanted(&mut self, tag: Tag) -> bool {
        if self.connections.wants(tag) {
            return true;
        }
        if self.completed(tag).is_some() {
            self.connections.places[tag.index() as usize].is_received = false;
            self.release_if_over(tag.index());
        }
        false
    }
}

/// Messages are small and wait for nobody; who takes nothing, or is gone, is found out.
/// What a connection of ours sends has the code point of the listener whose address it has.
fn take_class(socket: &Socket, listener: Option<SockRef<'_>>, to: SocketAddr) {
    let Some(listener) = listener else { return };
    // Without it the connection works, too.
    let _ = match to.is_ipv6() {
        true => listener.tclass_v6().and_then(|class| socket.set_tclass_v6(class)),
        false => listener.tos_v4().and_then(|class| socket.set_tos_v4(class)),
    };
}

fn prepare(socket: SockRef<'_>) -> io::Result<()> {
    let _ = socket.set_tcp_nodelay(true);
    socket.set_tcp_user_timeout(Some(UNTAKEN))?;
    let alive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    socket.set_tcp_keepalive(&alive.with_interval(UNTAKEN))
}
