//! Doorbells: eventfds, and waiting for them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// An eventfd. Ringing wakes who waits; rings while awake collapse into one.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
}

impl Bell {
    /// # Errors
    /// What the system says (no descriptor left).
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// A bell that came from the other process.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Never blocks; a counter at its maximum is as good as a ring.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Takes the rings so far.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of the bells rings or `time` has passed, and clears them. The dataplane's bell
/// is not ours alone to trust: if it was made blocking, reading it when it did not ring would hang,
/// so only bells that poll says are readable are read.
pub fn wait(bells: &[&Bell], time: Duration) {
    let mut fds: Vec<PollFd<'_>> =
        bells.iter().map(|bell| PollFd::new(*bell, PollFlags::IN)).collect();
    let time = Timespec::try_from(time).ok();
    // An interruption is as good as a ring: the caller looks at everything anyway.
    if poll(&mut fds, time.as_ref()).is_ok_and(|count| count > 0) {
        for (bell, fd) in bells.iter().zip(&fds) {
            if fd.revents().contains(PollFlags::IN) {
                bell.clear();
            }
        }
    }
}
