//! Doorbells: how a sleeping thread, perhaps of another process, is woken.
//!
//! A wake across cores costs microseconds, so a queue is polled each breath and the bell is rung
//! only for a sleeper. Who sleeps says so in a word that both sides see. The race and its answer:
//!
//! ```text
//!   consumer                         producer
//!   sleeping = 1                     queue.push(item)
//!   fence(SeqCst)          (A)       fence(SeqCst)          (B)
//!   queue empty? -> sleep            sleeping == 1? -> ring
//!   sleeping = 0
//! ```
//!
//! Either A comes before B in the one order of all SeqCst fences: then the producer sees `sleeping`
//! and rings; or B comes before A: then the consumer sees the item and does not sleep. Without the
//! fences both could read the old value, and the item would lie there until the next timer. The
//! word has one writer (the consumer), as every shared page has; so a producer may ring more than
//! once for one sleep, which costs a system call and is harmless.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::error::NetError;

/// An eventfd. Ringing it wakes whoever watches it; rings while awake collapse into one.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
}

impl Doorbell {
    pub fn new() -> Result<Self, NetError> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(NetError::last("eventfd"));
        }
        // SAFETY: the descriptor was just made and is nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// A doorbell that came from the other process.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// One more handle on the same bell.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Wakes the watcher. Never blocks; a counter at its maximum is as good as a ring.
    pub fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight valid bytes; the descriptor is open while `self` lives.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes the rings since the last time; zero if there were none. For those who wait with
    /// poll(2): a [`crate::Driver`] needs no reading.
    #[must_use]
    pub fn take(&self) -> u64 {
        let mut count = [0_u8; 8];
        // SAFETY: eight writable bytes; the descriptor is open while `self` lives.
        let done =
            unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if done == 8 { u64::from_ne_bytes(count) } else { 0 }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Doorbell> for OwnedFd {
    fn from(bell: Doorbell) -> Self {
        bell.fd
    }
}

/// The word that says whether its owner sleeps. See the module for the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Sleeper<'a> {
    word: &'a AtomicU64,
}

impl<'a> Sleeper<'a> {
    #[must_use]
    pub fn new(word: &'a AtomicU64) -> Self {
        Self { word }
    }

    /// The consumer is about to sleep: *after* this it looks at all its queues once more, and
    /// sleeps only if they are empty.
    pub fn going_to_sleep(self) {
        self.word.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake.
    pub fn awake(self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// The producer has published: must it ring?
    #[must_use]
    pub fn must_ring(self) -> bool {
        fence(Ordering::SeqCst);
        self.word.load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_collapse_and_are_taken_once() {
        let bell = Doorbell::new().unwrap();
        let other = bell.try_clone().unwrap();
        assert_eq!(bell.take(), 0);
        bell.ring();
        other.ring();
        assert_eq!(bell.take(), 2);
        assert_eq!(bell.take(), 0);
    }

    #[test]
    fn only_a_sleeper_is_rung() {
        let word = AtomicU64::new(0);
        let sleeper = Sleeper::new(&word);
        assert!(!sleeper.must_ring());
        sleeper.going_to_sleep();
        assert!(sleeper.must_ring());
        sleeper.awake();
        assert!(!sleeper.must_ring());
    }

    /// Two threads, many rounds: no item may be left in a queue whose owner sleeps without a bell.
    #[test]
    fn no_item_is_left_with_a_sleeper() {
        let (queue, word) = (AtomicU64::new(0), AtomicU64::new(0));
        let bell = Doorbell::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    queue.fetch_add(1, Ordering::Relaxed);
                    if Sleeper::new(&word).must_ring() {
                        bell.ring();
                    }
                }
            });
            let sleeper = Sleeper::new(&word);
            let mut seen = 0;
            while seen < 20_000 {
                sleeper.going_to_sleep();
                if queue.load(Ordering::Relaxed) == seen {
                    let mut poll =
                        libc::pollfd { fd: bell.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one valid pollfd.
                    let woken = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
                    assert_eq!(woken, 1, "asleep with an item in the queue");
                    let _ = bell.take();
                }
                sleeper.awake();
                seen = queue.load(Ordering::Relaxed);
            }
        });
    }
}
