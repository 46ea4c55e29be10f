//! Whether the process at the other end of the link still runs. Its own descriptors say so: a
//! pidfd, and where there is none the connection itself, which the kernel hangs up when its last
//! descriptor is gone.
//!
//! Process numbers and /proc are no witnesses. In a sandbox with a user namespace and a /proc that
//! shows us alone (PrivateUsers=, ProtectProc=invisible) a living dataplane has no entry there, and
//! a dead one's number may be somebody else's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// The process that listened when the connection was made.
#[derive(Debug)]
pub struct Peer {
    /// None where its number means nothing to us (another pid namespace).
    process: Option<OwnedFd>,
    connection: OwnedFd,
}

impl Peer {
    /// Of a connected socket.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn of(connection: impl AsFd) -> std::io::Result<Self> {
        let connection = connection.as_fd().try_clone_to_owned()?;
        let number = rustix::net::sockopt::socket_peercred(&connection)?.pid;
        let process = pidfd_open(number, PidfdFlags::empty()).ok();
        // The number may have been given to somebody else before it was opened; not while the
        // connection stood, for then its owner lived.
        let process = process.filter(|_| !is_hung_up(&connection));
        if process.is_none() {
            tracing::info!("the dataplane's end will be seen by its connection alone");
        }
        Ok(Self { process, connection })
    }

    /// Of a dataplane that the connection alone speaks for.
    #[cfg(test)]
    pub(crate) fn by_connection(connection: OwnedFd) -> Self {
        Self { process: None, connection }
    }

    /// It runs no more. A connection that ended is not enough where the process itself can be
    /// asked: the other side may have closed it and gone on.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        match &self.process {
            Some(process) => is_ready(process, PollFlags::IN),
            None => is_hung_up(&self.connection),
        }
    }
}

fn is_hung_up(connection: &OwnedFd) -> bool {
    is_ready(connection, PollFlags::HUP)
}

fn is_ready(fd: &OwnedFd, wanted: PollFlags) -> bool {
    // HUP is told whether it is asked for or not.
    let mut fds = [PollFd::new(fd, wanted & PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match poll(&mut fds, Some(&at_once)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return fds[0].revents().intersects(wanted),
            // Nothing was seen, and what was not seen is not said.
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_process_that_closed_its_link_has_not_exited() {
        let (ours, theirs) = pair();
        let peer = Peer::of(&ours).unwrap();
        assert!(!peer.has_exited());
        drop(theirs);
        assert!(is_hung_up(&ours));
        assert!(!peer.has_exited(), "this very process made the pair, and runs");
    }

    #[test]
    fn without_a_number_the_connection_says_it() {
        let (ours, theirs) = pair();
        let peer = Peer::by_connection(ours);
        assert!(!peer.has_exited());
        drop(theirs);
        assert!(peer.has_exited());
    }

    #[test]
    fn an_end_is_seen_before_anybody_has_waited_for_the_process() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let number = rustix::process::Pid::from_child(&child);
        let process = pidfd_open(number, PidfdFlags::empty()).unwrap();
        let (connection, _theirs) = pair();
        let peer = Peer { process: Some(process), connection };
        assert!(!peer.has_exited());
        drop(child.stdin.take());
        let mut fds = [PollFd::new(peer.process.as_ref().unwrap(), PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        assert!(peer.has_exited());
        child.wait().unwrap();
    }
}
