//! Completions into what the shard takes.
//!
//! A multishot RecvMsg writes, from where our buffer starts for the kernel:
//!
//! ```text
//!   namelen u32, controllen u32, payloadlen u32, flags u32 | source address, 32 bytes
//!     | on listeners: control message, 32 bytes | datagram
//! ```
//!
//! A multishot Recv writes the datagram there and nothing else.

use std::net::SocketAddr;

use base::frame::{HEADROOM, SMALL_BYTES};
use base::{ConnectionId, Frame, Local, Mono, Received};
use io_uring::cqueue;

use super::counters::{Counters, is_icmp};
use super::ports::{Ports, is_same};
use super::tag::{Tag, kind};
use super::watch::Watch;
use super::{Driver, RETRY};
use crate::pool::{GROUP_LARGE, GROUP_SMALL, Pool};
use crate::sockaddr;

/// The kernel's own header.
const PRELUDE: usize = 16;
/// Where what follows the address starts, from where the kernel starts.
const CONTROL_AT: usize = PRELUDE + sockaddr::SPACE;
/// A control message with a time: its header, seconds, nanoseconds.
pub(super) const CONTROL: usize = 16 + 16;

const _: () = assert!(Pool::receive_offset() >= HEADROOM);

impl Driver {
    /// Takes completions until `received` is full or none is left; gives the doorbell bits.
    pub(super) fn reap(&mut self, received: &mut Vec<Received>) -> u64 {
        let Self { ring, pool, ports, ended, starved, failed, .. } = self;
        let Self { counters, errors, sends, connections, watch, .. } = self;
        let mut woken = 0;
        let mut completions = ring.completion();
        while received.len() < received.capacity() {
            let Some(completion) = completions.next() else { break };
            let tag = Tag(completion.user_data());
            let (result, flags) = (completion.result(), completion.flags());
            match tag.kind() {
                kind::MEDIA_RECEIVE | kind::PLAIN_RECEIVE | kind::LISTENER_RECEIVE => {
                    if let Some(id) = cqueue::buffer_select(flags) {
                        received.extend(arrived(pool, ports, counters, (tag, watch), id, result));
                    }
                    if cqueue::more(flags) {
                        continue;
                    }
                    match result {
                        0.. | NEGATIVE_CANCELED => ended.push(tag),
                        _ => {
                            counters.receive_failed(-result);
                            if tag.kind() == kind::LISTENER_RECEIVE && is_icmp(-result) {
                                errors.mark(tag.index());
                            }
                            match -result {
                                libc::ENOBUFS => starved.push_back(tag),
                                errno if is_icmp(errno) => ended.push(tag),
                                _ => failed.push(tag),
                            }
                        }
                    }
                }
                kind::BELL => {
                    if result >= 0 {
                        counters.bell_rings += 1;
                        woken |= 1 << (tag.index() & 63);
                    } else {
                        counters.bell_errors += 1;
                    }
                    if !cqueue::more(flags) {
                        if result >= 0 { ended.push(tag) } else { failed.push(tag) }
                    }
                }
                kind::LISTENER_SEND if result < 0 => match sends.failed(tag, -result) {
                    Some(listener) if is_icmp(-result) => errors.mark(listener.into()),
                    Some(_) => {}
                    None => counters.send_failed(-result),
                },
                kind::SEND if result < 0 => counters.send_failed(-result),
                kind::STREAM_RECEIVE => {
                    if let Some(id) = cqueue::buffer_select(flags) {
                        let whose = connections.reads(tag);
                        received.extend(streamed(pool, counters, (whose, watch), id, result));
                    }
                    connections.done.push((tag, result, flags));
                }
                kind::ACCEPT | kind::CONNECT | kind::STREAM_SEND => {
                    connections.done.push((tag, result, flags));
                }
                _ => {}
            }
        }
        woken
    }

    /// Before entering: shows the kernel the buffers that came back, and arms as many receives that
    /// starved as there are buffers for.
    pub(super) fn feed(&mut self) {
        self.pool.publish();
        if self.starved.is_empty() {
            return;
        }
        let (mut small, mut large) = self.pool.receivable();
        for _ in 0..self.starved.len() {
            let Some(tag) = self.starved.pop_front() else { break };
            let buffers =
                if tag.kind() == kind::LISTENER_RECEIVE || tag.kind() == kind::STREAM_RECEIVE {
                    &mut large
                } else {
                    &mut small
                };
            if *buffers == 0 {
                self.starved.push_back(tag);
            } else {
                *buffers -= 1;
                self.arm_again(tag);
            }
        }
    }

    /// After reaping: arms what has ended and is still wanted; what failed for a reason of the
    /// machine's is tried again a little later.
    pub(super) fn rearm(&mut self, now: Mono) {
        while let Some(tag) = self.ended.pop() {
            self.arm_again(tag);
        }
        for index in (0..self.unsettled.len()).rev() {
            let place = self.unsettled[index];
            let slot = self.ports.slot(place);
            if !slot.connected || slot.plain || self.settle(place) {
                self.unsettled.swap_remove(index);
            }
        }
        if self.failed.is_empty() {
            return;
        }
        if self.retry_at == Mono::NEVER {
            self.retry_at = now + RETRY;
        } else if now >= self.retry_at {
            self.retry_at = Mono::NEVER;
            while let Some(tag) = self.failed.pop() {
                self.arm_again(tag);
            }
        }
    }

    fn arm_again(&mut self, tag: Tag) {
        // Of a media port only what is armed now: not an earlier use's, not the other operation.
        if matches!(tag.kind(), kind::MEDIA_RECEIVE | kind::PLAIN_RECEIVE) {
            let is_open = self.ports.current(tag.index(), tag.generation()).is_some();
            if !is_open || tag != self.media_tag(tag.index()) {
                return;
            }
        }
        if tag.kind() == kind::STREAM_RECEIVE && !self.is_stream_wanted(tag) {
            return;
        }
        self.counters.receive_rearmed += 1;
        self.arm(tag);
    }
}

const NEGATIVE_CANCELED: i32 = -libc::ECANCELED;

/// A buffer that the kernel has filled becomes a datagram for the shard, or goes back with a
/// reason.
#[inline]
fn arrived(
    pool: &mut Pool,
    ports: &Ports,
    counters: &mut Counters,
    (tag, watch): (Tag, &Watch),
    id: u16,
    result: i32,
) -> Option<Received> {
    let kind = tag.kind();
    let group = if kind == kind::LISTENER_RECEIVE { GROUP_LARGE } else { GROUP_SMALL };
    let index = pool.take(group, id)?;
    let written = usize::try_from(result).unwrap_or(0);
    let accepted = match kind {
        kind::PLAIN_RECEIVE => plain(ports, counters, (tag, watch), index, written),
        _ => message(pool, ports, counters, (tag, watch), index, written),
    };
    match &accepted {
        Some(received) => {
            counters.receive_packets += 1;
            counters.receive_bytes += u64::from(received.frame.len);
        }
        None => pool.give_back(index),
    }
    accepted
}

/// What a connection brought: the next bytes of its stream.
fn streamed(
    pool: &mut Pool,
    counters: &mut Counters,
    (whose, watch): (Option<(ConnectionId, SocketAddr)>, &Watch),
    id: u16,
    result: i32,
) -> Option<Received> {
    let index = pool.take(GROUP_LARGE, id)?;
    let start = u16::try_from(Pool::receive_offset()).unwrap_or(0);
    let len = u16::try_from(result).unwrap_or(0);
    let Some((id, source)) = whose.filter(|_| len > 0) else {
        counters.receive_late += u64::from(len > 0);
        pool.give_back(index);
        return None;
    };
    counters.receive_packets += 1;
    counters.receive_bytes += u64::from(len);
    let (frame, at) = (Frame { index, start, len }, Local::Connection(id));
    Some(Received { frame, at, source, arrived: watch.media(), is_cut: false })
}

/// What a plain Recv brought: the datagram alone, from the port's remote.
#[inline]
fn plain(
    ports: &Ports,
    counters: &mut Counters,
    (tag, watch): (Tag, &Watch),
    index: u32,
    written: usize,
) -> Option<Received> {
    let current = ports.current(tag.index(), tag.generation());
    let Some((slot, source)) = current.and_then(|slot| Some((slot, slot.remote?))) else {
        counters.receive_late += 1;
        return None;
    };
    if written >= SMALL_BYTES - Pool::receive_offset() {
        // Plain receives do not say what was cut off: a full buffer counts as cut.
        counters.receive_truncated += 1;
        return None;
    }
    let start = u16::try_from(Pool::receive_offset()).ok()?;
    let frame = Frame { index, start, len: u16::try_from(written).ok()? };
    let (at, arrived) = (Local::Media(slot.port), watch.media());
    Some(Received { frame, at, source, arrived, is_cut: false })
}

/// What a RecvMsg brought.
#[inline]
fn message(
    pool: &Pool,
    ports: &Ports,
    counters: &mut Counters,
    (tag, watch): (Tag, &Watch),
    index: u32,
    written: usize,
) -> Option<Received> {
    let is_listener = tag.kind() == kind::LISTENER_RECEIVE;
    let control = if is_listener { CONTROL } else { 0 };
    let Some(Parsed { frame, source, is_cut, stamp }) =
        parse(pool.kernel_bytes(index, written), index, control)
    else {
        counters.receive_unreadable += 1;
        return None;
    };
    if is_listener {
        counters.receive_cut += u64::from(is_cut);
        // One that is cut can still be answered.
        let at = Local::Listener(tag.index().to_le_bytes()[0]);
        return Some(Received { frame, at, source, arrived: watch.stamped(stamp), is_cut });
    }
    let Some(slot) = ports.current(tag.index(), tag.generation()) else {
        counters.receive_late += 1;
        return None;
    };
    if slot.remote.is_some_and(|remote| !is_same(remote, source)) {
        counters.receive_stray += 1;
        return None;
    }
    let (at, arrived) = (Local::Media(slot.port), watch.media());
    counters.receive_truncated += u64::from(is_cut);
    (!is_cut).then_some(Received { frame, at, source, arrived, is_cut })
}

/// What the kernel wrote around a datagram.
struct Parsed {
    frame: Frame,
    source: SocketAddr,
    /// Its end was cut off.
    is_cut: bool,
    /// Nanoseconds since 1970.
    stamp: Option<u64>,
}

#[inline]
fn parse(bytes: &[u8], index: u32, control: usize) -> Option<Parsed> {
    let (head, rest) = bytes.split_first_chunk::<CONTROL_AT>()?;
    let (control, datagram) = rest.split_at_checked(control)?;
    let source = sockaddr::decode(&head[PRELUDE..])?;
    let flags = i32::from_ne_bytes([head[12], head[13], head[14], head[15]]);
    let start = u16::try_from(Pool::receive_offset() + CONTROL_AT + control.len()).ok()?;
    let len = u16::try_from(datagram.len()).ok()?;
    let written = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    let stamp = if written as usize >= CONTROL { stamp(control) } else { None };
    let frame = Frame { index, start, len };
    Some(Parsed { frame, source, is_cut: flags & libc::MSG_TRUNC != 0, stamp })
}

/// The receive time in a control message (SO_TIMESTAMPNS).
fn stamp(control: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(*control.get(at..)?.first_chunk::<8>()?);
    let half = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    if (half(8)?, half(12)?) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let (seconds, nanos) = (u64::from_ne_bytes(word(16)?), u64::from_ne_bytes(word(24)?));
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}
