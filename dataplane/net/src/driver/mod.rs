//! One shard's ring: datagrams in, datagrams out, doorbells, sleep.
//!
//! ```text
//!   breathe:  buffers that came back -> kernel
//!             one io_uring_enter: submit what was queued, run what is due, sleep if nothing was
//!             clock, once
//!             completions -> Received, doorbell bits; receives that ended are armed again
//!   between:  transmit, flow: entries are queued, nothing is submitted unless the queue is full
//! ```
//!
//! **Receiving.** Every socket has one multishot RecvMsg armed; the kernel takes a buffer from the
//! group, writes its own header and the source address, then the datagram. A locked port whose
//! queue was seen empty after its connect(2) gets a plain Recv instead, which costs 3 % less per
//! relayed packet: all that can come is of its remote. Until then the source of each datagram is
//! compared. The two operations have different tags, so that what the old one still brings is read
//! as what it is; what lies in the socket while they change is taken by the new one. (A datagram
//! that another core is delivering in the very microsecond of the connect may pass for the
//! remote's. It is one, once.)
//!
//! **What time it was.** A SIP socket's datagrams come with the kernel's own receive time (a
//! control message of 32 bytes). A media port's do not: a plain Recv cannot carry it. They are
//! taken to have come in the breath that brings them, because nothing is read while we are not
//! here (DEFER_TASKRUN), unless that breath is overdue: then they are as old as the one before.
//! What is still queued after a standstill of [`STANDSTILL`] is thrown away: a full socket keeps
//! the oldest datagrams and loses the newest.
//!
//! **Sending** never waits (MSG_DONTWAIT): the operation is complete when the kernel has taken the
//! entry, so the buffer is free when `io_uring_enter` returns, and success needs no completion
//! (SKIP_SUCCESS). Failures complete with their errno and are counted. A full socket buffer is a
//! drop with a reason, not a queue that grows.
//!
//! A listener's datagram is an exception: see `sends`.
//!
//! **ICMP errors** end a multishot receive; it is armed again in the same breath. What they say of
//! a listener's datagrams is read and reported: see `errors`. On a media port they say no more than
//! that a far end has not opened its port yet; they are counted, and may cost the one packet to it
//! that comes next. A receive that ended for want of buffers is armed again when there are buffers.

mod connections;
mod counters;
mod errors;
mod plan;
mod ports;
mod reap;
mod sends;
mod tag;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use base::{Flow, FlowReport, Frames, Local, MediaPort, Mono, Now, Path, Received, Transmit};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

pub use counters::Counters;
pub use errors::{Origin, QUOTE_BYTES_MAX, REPORTS_MAX, Unreachable};
pub use plan::{BELLS_MAX, DriverPlan, LISTENERS_MAX, MediaAddress};

use crate::clock;
use crate::doorbell::Doorbell;
use crate::error::NetError;
use crate::pool::{GROUP_LARGE, GROUP_SMALL, Pool};
use crate::ring::{Ring, Wait};
use crate::sockaddr::{self, RawAddress};
use connections::Connections;
use errors::Errors;
use ports::Ports;
use sends::Sends;
use tag::{Tag, kind};
use watch::Watch;

/// Stands for "no buffer" in the list of what the kernel has not taken yet.
const NO_FRAME: u32 = u32::MAX;
/// How long a receive that failed for a reason of ours (no memory) waits before the next try.
const RETRY: core::time::Duration = core::time::Duration::from_millis(10);

/// A breath that comes so much later than it was due does not know when its media came.
const OVERDUE: core::time::Duration = core::time::Duration::from_millis(200);
/// After a standstill this long what media ports have queued is of no use.
const STANDSTILL: core::time::Duration = core::time::Duration::from_secs(1);

/// What a breath brought, besides the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breath {
    /// Sampled once, after waking.
    pub now: Now,
    /// Bit n: the doorbell watched with token n has been rung.
    pub woken: u64,
    /// Completions are left: the next breath must not sleep (it will not).
    pub more: bool,
}

/// See the module. Belongs to one thread from [`Driver::enable`] on.
#[derive(Debug)]
pub struct Driver {
    // The ring is dropped first: what it points to comes after it.
    ring: Ring,
    pool: Pool,
    ports: Ports,
    connects: bool,
    listeners: Vec<Option<UdpSocket>>,
    bells: Vec<Option<OwnedFd>>,
    /// The message headers all multishot receives are armed with: room for a source address, and on
    /// listeners for a time.
    header: Header,
    listener_header: Header,
    watch: Watch,
    queue: Queue,
    reports: VecDeque<FlowReport>,
    errors: Errors,
    sends: Sends,
    connections: Connections,
    /// Sockets of closed ports that queued entries may still name.
    closing: Vec<(u32, OwnedFd)>,
    /// Locked ports that had something queued when they were locked.
    unsettled: Vec<u32>,
    /// Receives that have ended, by their tag.
    ended: Vec<Tag>,
    /// Receives that wait for buffers, by their tag.
    starved: VecDeque<Tag>,
    /// Operations that failed for a reason of the machine's (no memory), by their tag.
    failed: Vec<Tag>,
    /// When those are tried again; NEVER if it is not yet known.
    retry_at: Mono,
    ports_max: u32,
    spin_us: u32,
    counters: Counters,
    /// `io_uring_enter` failed for good, with this errno.
    broken: Option<i32>,
}

/// Entries that the kernel has not taken yet, and what they keep alive.
#[derive(Debug)]
struct Queue {
    /// Buffers being sent, in the order of the entries; [`NO_FRAME`] for other operations.
    frames: Vec<u32>,
    /// Destinations, by the entry's place in the submission queue.
    addresses: Box<[RawAddress]>,
    tail: u32,
    mask: u32,
}

/// Room for a source address and a control message, no vectors: all that a multishot RecvMsg reads
/// of it.
struct Header(Box<libc::msghdr>);

// SAFETY: its pointers are null; it is plain numbers.
unsafe impl Send for Header {}

impl Header {
    fn new(control: usize) -> Self {
        // SAFETY: all-zero bytes are a valid msghdr: null pointers with length zero.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = u32::try_from(sockaddr::SPACE).unwrap_or(0);
        header.msg_controllen = control as _;
        Self(header)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} bytes of address)", self.0.msg_namelen)
    }
}

impl std::fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawAddress({} bytes)", self.len())
    }
}

impl Driver {
    /// A disabled ring with its buffers. Sockets, doorbells and flows may be added at once; nothing
    /// moves before [`Self::enable`]. RLIMIT_NOFILE has to be raised before, for all drivers of the
    /// process together ([`crate::cpu::raise_nofile`], [`DriverPlan::descriptors`]).
    pub fn new(plan: &DriverPlan) -> Result<Self, NetError> {
        plan.check()?;
        let files = plan.files();
        let ring = Ring::new(plan.entries, plan.completions, files)?;
        let mut pool = Pool::new(plan.pool)?;
        pool.attach(&ring)?;
        let entries = ring.submission_entries();
        let receives = (plan.ports_max + LISTENERS_MAX + BELLS_MAX) as usize;
        Ok(Self {
            ring,
            pool,
            ports: Ports::new(plan),
            connects: plan.connects,
            listeners: (0..LISTENERS_MAX).map(|_| None).collect(),
            bells: (0..BELLS_MAX).map(|_| None).collect(),
            header: Header::new(0),
            listener_header: Header::new(reap::CONTROL),
            watch: Watch::new(clock::sample()),
            queue: Queue {
                frames: Vec::with_capacity(entries as usize),
                addresses: vec![RawAddress::EMPTY; entries as usize].into_boxed_slice(),
                tail: 0,
                mask: entries - 1,
            },
            reports: VecDeque::with_capacity(1024),
            errors: Errors::new(),
            sends: Sends::new(),
            connections: Connections::new(plan.shard, plan.connections),
            closing: Vec::with_capacity(plan.ports_max as usize),
            unsettled: Vec::with_capacity(plan.ports_max as usize),
            ended: Vec::with_capacity(receives),
            starved: VecDeque::with_capacity(receives),
            failed: Vec::with_capacity(receives),
            retry_at: Mono::NEVER,
            ports_max: plan.ports_max,
            spin_us: plan.spin_us,
            counters: Counters::default(),
            broken: None,
        })
    }

    /// Restricts and enables the ring; from here on the driver belongs to the calling thread.
    pub fn enable(&mut self) -> Result<(), NetError> {
        self.ring.enable()
    }

    /// Receives SIP on `socket`; datagrams come as [`Local::Listener`] `index`. ICMP errors about
    /// what it sends come by [`Self::poll_unreachable`].
    pub fn add_listener(&mut self, index: u8, socket: UdpSocket) -> Result<(), NetError> {
        if u32::from(index) >= LISTENERS_MAX {
            return Err(NetError::BadPlan("more listeners than a driver has places for"));
        }
        self.ring
            .set_file(self.ports_max + u32::from(index), socket.as_raw_fd())
            .map_err(NetError::system("registering a SIP socket with the ring"))?;
        errors::listen(&socket, true).map_err(NetError::system("IP_RECVERR of a SIP socket"))?;
        // Where the system has no receive times, a datagram comes when it is read.
        let _ = errors::set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, true);
        self.listeners[usize::from(index)] = Some(socket);
        self.arm(Tag::new(kind::LISTENER_RECEIVE, 0, u32::from(index)));
        Ok(())
    }

    /// Wakes the ring when `bell` is rung, and sets bit `token` (0..=63) of [`Breath::woken`].
    pub fn watch(&mut self, bell: &Doorbell, token: u8) -> Result<(), NetError> {
        if u32::from(token) >= BELLS_MAX {
            return Err(NetError::BadPlan("doorbell tokens are bits of a 64-bit word"));
        }
        let bell: OwnedFd =
            bell.try_clone().map_err(NetError::system("duplicating a doorbell"))?.into();
        self.ring
            .set_file(self.ports_max + LISTENERS_MAX + u32::from(token), bell.as_raw_fd())
            .map_err(NetError::system("registering a doorbell with the ring"))?;
        self.bells[usize::from(token)] = Some(bell);
        self.arm(Tag::new(kind::BELL, 0, u32::from(token)));
        Ok(())
    }

    /// The packets' memory.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The packets' memory, as the shard wants it (`base::Frames`).
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why the ring cannot go on, if it cannot: nothing is received or sent any more.
    pub fn check(&self) -> Result<(), NetError> {
        match self.broken {
            Some(errno) => {
                Err(NetError::RingBroken { source: std::io::Error::from_raw_os_error(errno) })
            }
            None => Ok(()),
        }
    }

    /// What became of the flows asked for.
    pub fn poll_report(&mut self) -> Option<FlowReport> {
        self.reports.pop_front()
    }

    /// One breath: see the module. `received` is emptied, then filled up to its capacity. Sleeps
    /// until a completion or `deadline` only if `may_sleep` and nothing is pending.
    pub fn breathe(
        &mut self,
        deadline: Mono,
        may_sleep: bool,
        received: &mut Vec<Received>,
    ) -> Breath {
        received.clear();
        self.errors.clear();
        self.feed();
        let deadline = deadline.min(self.retry_at);
        let is_idle = self.ring.completion().is_empty()
            && !self.errors.is_pending()
            && self.reports.is_empty()
            && self.connections.is_idle();
        let may_sleep = may_sleep && is_idle;
        if may_sleep {
            self.sleep(deadline);
        } else {
            self.enter(Wait::Due);
        }
        let now = clock::sample();
        let stood_still = self.watch.turn(now, if may_sleep { deadline } else { Mono(0) });
        let woken = self.reap(received);
        if stood_still {
            self.counters.receive_old += self.ports.drain();
        }
        self.hear_errors(now.mono);
        self.settle_sends();
        self.settle_connections(now.mono);
        self.rearm(now.mono);
        let more = !self.ring.completion().is_empty();
        self.watch.is_behind &= more;
        Breath { now, woken, more }
    }

    /// Queues a datagram. The frame is taken in any case: it returns to the pool when it has been
    /// sent, or at once if it cannot be (counted).
    #[inline]
    pub fn transmit(&mut self, transmit: Transmit) {
        let (place, address) = match transmit.from {
            Local::Media(port) => match self.ports.place(port) {
                Some(place) => (place, self.beside_lock(place, &transmit)),
                None => return self.no_local(transmit),
            },
            Local::Listener(index) => match self.listeners.get(usize::from(index)) {
                Some(Some(_)) => (self.ports_max + u32::from(index), Some(transmit.to)),
                _ => return self.no_local(transmit),
            },
            Local::Connection(id) => return self.transmit_by(id, transmit),
        };
        if self.queue_is_full() {
            self.counters.send_queue_full += 1;
            self.pool.free(transmit.frame);
            return;
        }
        let Some(bytes) = self.pool.begin_send(transmit.frame) else {
            self.counters.send_stale_frame += 1;
            return;
        };
        if let Local::Listener(index) = transmit.from {
            return self.queue_held((index, transmit.to), transmit.frame, bytes, 1);
        }
        let owner = (Tag::new(kind::SEND, 0, place), transmit.frame.index);
        self.queue_send((place, address), bytes, transmit.frame.len, owner);
    }

    /// Queues a send, for which there is room. The frame `owner` (or [`NO_FRAME`]) is given back
    /// when the kernel has taken the entry.
    #[inline]
    fn queue_send(
        &mut self,
        (place, address): (u32, Option<SocketAddr>),
        bytes: *const u8,
        len: u16,
        (tag, owner): (Tag, u32),
    ) {
        let len = u32::from(len);
        let mut send = opcode::Send::new(Fixed(place), bytes, len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        if let Some(to) = address {
            let slot = &mut self.queue.addresses[(self.queue.tail & self.queue.mask) as usize];
            *slot = RawAddress::of(to);
            send = send.dest_addr(slot.as_ptr()).dest_addr_len(slot.len());
        }
        let entry = send.build().flags(Flags::SKIP_SUCCESS).user_data(tag.0);
        self.counters.send_packets += 1;
        self.counters.send_bytes += u64::from(len);
        self.push(&entry, owner);
    }

    /// The packet paths' orders. Opening is answered through [`Self::poll_report`].
    pub fn flow(&mut self, flow: Flow) {
        match flow {
            Flow::Open { port } => self.open(port),
            Flow::Lock { port, remote } => {
                if let Some(place) = self.known(port).filter(|_| self.connects) {
                    self.lock(place, remote);
                }
            }
            Flow::Unlock { port } => {
                let Some(place) = self.known(port) else { return };
                self.settle_queue();
                let old = self.media_tag(place);
                self.counters.receive_late += self.ports.unlock(place);
                self.cancel(old);
                let new = self.media_tag(place);
                self.arm(new);
            }
            Flow::Close { port } => {
                let Some(place) = self.known(port) else { return };
                let old = self.media_tag(place);
                if let Some(socket) = self.ports.retire(place) {
                    self.closing.push((place, socket));
                }
                self.counters.port_closed += 1;
                self.cancel(old);
            }
        }
    }

    /// Submits what is queued without waiting, and gives closed ports back. A breath does the same;
    /// this is for the end.
    pub fn flush(&mut self) {
        self.enter(Wait::Due);
    }

    fn open(&mut self, port: MediaPort) {
        if self.closing.iter().any(|(place, _)| self.ports.slot(*place).port == port) {
            self.enter(Wait::Due);
        }
        let done = self.ports.open(port).and_then(|place| {
            let socket = self.ports.slot(place).socket.as_ref();
            let fd: RawFd = socket.map_or(-1, AsRawFd::as_raw_fd);
            self.ring.set_file(place, fd).map(|()| place).inspect_err(|_| {
                self.ports.retire(place);
                self.ports.release(place);
            })
        });
        match done {
            Ok(place) => {
                self.counters.port_opened += 1;
                let tag = self.media_tag(place);
                self.arm(tag);
                self.reports.push_back(FlowReport::Opened { port, path: Path::Socket });
            }
            Err(error) => {
                self.counters.port_refused += 1;
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.reports.push_back(FlowReport::Refused { port, errno });
            }
        }
    }

    fn lock(&mut self, place: u32, remote: SocketAddr) {
        let slot = self.ports.slot(place);
        let (was_connected, was_plain) = (slot.connected, slot.plain);
        if was_connected && slot.remote.is_some_and(|old| ports::is_same(old, remote)) {
            return;
        }
        if was_connected {
            self.settle_queue();
        }
        let old = self.media_tag(place);
        if self.ports.lock(place, remote).is_err() {
            self.counters.port_lock_failed += 1;
        }
        if was_plain {
            self.ports.leave_plain(place);
            self.cancel(old);
            let new = self.media_tag(place);
            self.arm(new);
        }
        if !self.settle(place) {
            self.unsettled.push(place);
        }
    }

    /// Goes over to the plain receive, if nothing of before the lock is queued.
    fn settle(&mut self, place: u32) -> bool {
        let old = self.media_tag(place);
        let is_settled = self.ports.settle(place);
        if is_settled {
            self.cancel(old);
            let new = self.media_tag(place);
            self.arm(new);
        }
        is_settled
    }

    /// The address to send to, None if the socket is connected to it.
    #[inline]
    fn beside_lock(&mut self, place: u32, transmit: &Transmit) -> Option<SocketAddr> {
        let slot = self.ports.slot(place);
        match slot.remote {
            Some(remote) if ports::is_same(remote, transmit.to) => {
                (!slot.connected).then_some(transmit.to)
            }
            Some(_) => {
                self.counters.send_beside_lock += 1;
                Some(transmit.to)
            }
            None => Some(transmit.to),
        }
    }

    fn known(&mut self, port: MediaPort) -> Option<u32> {
        let place = self.ports.place(port);
        self.counters.port_unknown += u64::from(place.is_none());
        place
    }

    fn no_local(&mut self, transmit: Transmit) {
        self.counters.send_no_local += 1;
        self.pool.free(transmit.frame);
    }

    fn media_tag(&self, place: u32) -> Tag {
        let slot = self.ports.slot(place);
        let kind = if slot.plain { kind::PLAIN_RECEIVE } else { kind::MEDIA_RECEIVE };
        Tag::new(kind, slot.generation, place)
    }

    /// What is queued is done before the socket it names changes its remote: sends go where they
    /// were meant to, and a receive that was armed for the old remote takes nothing of the new one.
    fn settle_queue(&mut self) {
        if !self.queue.frames.is_empty() {
            self.enter(Wait::No);
        }
    }

    /// Arms the operation that a tag stands for.
    fn arm(&mut self, tag: Tag) {
        let header: *const libc::msghdr = &raw const *self.header.0;
        let stamped: *const libc::msghdr = &raw const *self.listener_header.0;
        let index = tag.index();
        let entry = match tag.kind() {
            kind::MEDIA_RECEIVE => {
                opcode::RecvMsgMulti::new(Fixed(index), header, GROUP_SMALL).build()
            }
            kind::PLAIN_RECEIVE => opcode::RecvMulti::new(Fixed(index), GROUP_SMALL).build(),
            kind::LISTENER_RECEIVE => {
                opcode::RecvMsgMulti::new(Fixed(self.ports_max + index), stamped, GROUP_LARGE)
                    .build()
            }
            kind::ACCEPT | kind::STREAM_RECEIVE => self.connection_entry(tag),
            _ => {
                let place = Fixed(self.ports_max + LISTENERS_MAX + index);
                opcode::PollAdd::new(place, libc::POLLIN.unsigned_abs().into()).multi(true).build()
            }
        };
        self.push_always(&entry.user_data(tag.0));
    }

    fn cancel(&mut self, tag: Tag) {
        let entry = opcode::AsyncCancel::new(tag.0)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(Tag::new(kind::CANCEL, 0, 0).0);
        self.push_always(&entry);
    }

    /// Queues an operation that must not be lost. The kernel takes entries at once unless it is out
    /// of memory, so this loop ends.
    fn push_always(&mut self, entry: &Entry) {
        while self.queue_is_full() {
            if self.broken.is_some() {
                return;
            }
        }
        self.push(entry, NO_FRAME);
    }

    /// Whether there is no room even after submitting.
    #[inline]
    fn queue_is_full(&mut self) -> bool {
        if self.queue.frames.len() <= self.queue.mask as usize {
            return false;
        }
        self.enter(Wait::No);
        self.queue.frames.len() > self.queue.mask as usize
    }

    #[inline]
    fn push(&mut self, entry: &Entry, frame: u32) {
        let mut submission: squeue::SubmissionQueue<'_> = self.ring.submission();
        // SAFETY: what the entry points to lives until the kernel has taken it: the header as long
        // as the driver, the destination in `queue.addresses` at this entry's place, the frame's
        // bytes in the pool, in state Sending until `taken` or, for those kept, `settle_sends`
        // releases it: both run after that moment. Sends of datagrams do not outlive it because
        // they never wait; what a connection sends lies in its place's `sending`, which nobody
        // touches before its completion.
        let pushed = unsafe { submission.push(entry) };
        debug_assert!(pushed.is_ok(), "room was checked");
        drop(submission);
        self.queue.tail = self.queue.tail.wrapping_add(1);
        self.queue.frames.push(frame);
    }

    fn sleep(&mut self, deadline: Mono) {
        let mut now = clock::mono();
        if self.spin_us > 0 {
            let end = (now + core::time::Duration::from_micros(self.spin_us.into())).min(deadline);
            while now < end {
                self.enter(Wait::Due);
                if !self.ring.completion().is_empty() {
                    return;
                }
                now = clock::mono();
            }
        }
        if deadline <= now {
            return self.enter(Wait::Due);
        }
        self.counters.enter_sleeps += 1;
        self.enter(Wait::Until { now, deadline });
    }

    fn enter(&mut self, wait: Wait) {
        if self.broken.is_some() {
            return;
        }
        let queued = u32::try_from(self.queue.frames.len()).unwrap_or(u32::MAX);
        self.counters.enter_calls += 1;
        match self.ring.enter(queued, wait) {
            Ok(taken) => self.taken(taken as usize),
            Err(error) => {
                self.counters.enter_errors += 1;
                // Short of memory, or more completions than fit: that passes.
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                if !matches!(errno, libc::EAGAIN | libc::EBUSY | libc::ENOMEM) {
                    self.broken = Some(errno);
                }
            }
        }
    }

    /// The kernel has taken the first `count` entries: sends among them are done.
    fn taken(&mut self, count: usize) {
        let count = count.min(self.queue.frames.len());
        for frame in self.queue.frames.drain(..count) {
            if frame != NO_FRAME {
                self.pool.end_send(frame);
            }
        }
        if self.queue.frames.is_empty() && !self.closing.is_empty() {
            self.release_closed();
        }
    }

    /// Nothing queued names the closed sockets any more.
    fn release_closed(&mut self) {
        for (place, socket) in self.closing.drain(..) {
            if self.ring.set_file(place, -1).is_err() {
                self.counters.enter_errors += 1;
            }
            drop(socket);
            self.ports.release(place);
        }
    }
}
