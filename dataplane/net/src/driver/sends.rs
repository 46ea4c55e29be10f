//! Datagrams of listeners, kept until it is certain that the kernel took them.
//!
//! An ICMP error that waits on a listener's socket (`errors`) makes the next call on it fail,
//! whatever its destination: without more, whoever sends us ICMP would make us lose datagrams to
//! others. So a listener's datagram keeps its buffer from the submission to the end of the breath
//! that has reaped its failure, if there is one. What failed for what may have been another's error
//! is sent again; what fails of its own names its destination. Media sends stay as they are: what
//! fails a connected socket's send concerns its one remote.

use std::net::SocketAddr;

use base::Frame;

use super::Driver;
use super::counters::{is_icmp, is_refused_here};
use super::errors::Origin;
use super::tag::{Tag, kind};

/// Datagrams kept at most; more are sent without this.
const HELD_MAX: usize = 256;
/// How often a datagram is sent because of errors that may be another's.
const TRIES_MAX: u8 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    frame: Frame,
    to: SocketAddr,
    listener: u8,
    /// Times it has been submitted.
    tries: u8,
    /// Zero as long as it has not failed.
    errno: i32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sends {
    held: Vec<Held>,
    /// What `held` swaps with while it is settled.
    spare: Vec<Held>,
    /// Tells this batch's completions from an earlier one's; 24 bits.
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The error may have been another's.
    Again,
    /// The destination cannot be sent to.
    Unreachable,
    /// It is lost.
    Lost,
}

impl Sends {
    pub(super) fn new() -> Self {
        let (held, spare) = (Vec::with_capacity(HELD_MAX), Vec::with_capacity(HELD_MAX));
        Self { held, spare, generation: 0 }
    }

    /// Keeps a datagram that is about to be queued; gives the tag to queue it with. None if there
    /// is no room.
    fn keep(&mut self, held: Held) -> Option<Tag> {
        let slot = u32::try_from(self.held.len()).ok()?;
        if self.held.len() == HELD_MAX {
            return None;
        }
        self.held.push(held);
        Some(Tag::new(kind::LISTENER_SEND, self.generation, slot))
    }

    /// A kept datagram was not sent. Its listener; None if it is not known any more.
    pub(super) fn failed(&mut self, tag: Tag, errno: i32) -> Option<u8> {
        let is_current = tag.generation() == self.generation;
        let held = self.held.get_mut(tag.index() as usize).filter(|_| is_current)?;
        held.errno = errno;
        Some(held.listener)
    }
}

impl Held {
    /// `has_heard`: there was an error in its listener's queue that may have been the reason.
    fn verdict(&self, has_heard: bool) -> Verdict {
        // Even with an empty queue the first failure proves nothing: the kernel sets the error
        // after it has queued it, and we may have read the queue between the two.
        let may_be_anothers = is_icmp(self.errno) && (has_heard || self.tries == 1);
        if may_be_anothers {
            return if self.tries < TRIES_MAX { Verdict::Again } else { Verdict::Lost };
        }
        if is_refused_here(self.errno) { Verdict::Unreachable } else { Verdict::Lost }
    }
}

impl Driver {
    /// Queues a listener's datagram, whose frame is being sent already.
    pub(super) fn queue_held(
        &mut self,
        (listener, to): (u8, SocketAddr),
        frame: Frame,
        bytes: *const u8,
        tries: u8,
    ) {
        let place = self.ports_max + u32::from(listener);
        let held = Held { frame, to, listener, tries, errno: 0 };
        let (tag, owner) = match self.sends.keep(held) {
            Some(tag) => (tag, super::NO_FRAME),
            None => (Tag::new(kind::SEND, 0, place), frame.index),
        };
        self.queue_send((place, Some(to)), bytes, frame.len, (tag, owner));
    }

    /// After the completions: everything kept has been submitted, and what failed is marked. Gives
    /// the buffers back, sends again, or reports the destination.
    pub(super) fn settle_sends(&mut self) {
        let is_submitted = self.queue.frames.is_empty() && self.ring.completion().is_empty();
        if self.sends.held.is_empty() || !is_submitted {
            return;
        }
        let spare = core::mem::take(&mut self.sends.spare);
        let mut batch = core::mem::replace(&mut self.sends.held, spare);
        self.sends.generation = (self.sends.generation + 1) & 0x00ff_ffff;
        for held in batch.drain(..) {
            if held.errno == 0 {
                self.pool.end_send(held.frame.index);
            } else {
                self.settle_failed(held);
            }
        }
        self.sends.spare = batch;
        self.errors.forget_heard();
    }

    fn settle_failed(&mut self, held: Held) {
        let verdict = held.verdict(self.errors.has_heard(held.listener));
        let bytes = match verdict {
            Verdict::Again => self.pool.send_again(held.frame),
            Verdict::Unreachable | Verdict::Lost => None,
        };
        if let Some(bytes) = bytes.filter(|_| !self.queue_is_full()) {
            self.counters.send_retried += 1;
            return self.queue_held((held.listener, held.to), held.frame, bytes, held.tries + 1);
        }
        self.counters.send_failed(held.errno);
        self.pool.end_send(held.frame.index);
        if verdict == Verdict::Unreachable {
            let is_new = self.errors.report(held.to, Origin::Send, &[]);
            self.counters.unreachable_reports += u64::from(is_new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(errno: i32, tries: u8, has_heard: bool) -> Verdict {
        let frame = Frame { index: 0, start: 0, len: 1 };
        let to = "192.0.2.1:5060".parse().unwrap();
        Held { frame, to, listener: 0, tries, errno }.verdict(has_heard)
    }

    #[test]
    fn what_may_be_anothers_error_never_names_a_destination() {
        for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EACCES] {
            assert_eq!(verdict(errno, 1, false), Verdict::Again);
            assert_eq!(verdict(errno, 3, true), Verdict::Again);
            assert_eq!(verdict(errno, TRIES_MAX, true), Verdict::Lost);
        }
        assert_eq!(verdict(libc::ECONNREFUSED, 2, false), Verdict::Lost);
    }

    #[test]
    fn what_the_kernel_itself_refuses_does() {
        for errno in [libc::EHOSTUNREACH, libc::ENETUNREACH] {
            assert_eq!(verdict(errno, 2, false), Verdict::Unreachable);
        }
        for has_heard in [false, true] {
            assert_eq!(verdict(libc::EPERM, 1, has_heard), Verdict::Unreachable);
            assert_eq!(verdict(libc::EAGAIN, 1, has_heard), Verdict::Lost);
        }
    }
}
