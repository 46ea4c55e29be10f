//! The link between the two processes: a Unix SEQPACKET socket that carries messages and
//! descriptors.
//!
//! A message arrives whole, with the descriptors that were sent with it, or not at all. Who is at
//! the other end is asked of the kernel (SO_PEERCRED), and its death is seen through a pidfd:
//! exact, and not fooled by a process number used again.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::NetError;

/// Descriptors in one message at most (the kernel's SCM_MAX_FD is 253).
pub const DESCRIPTORS_MAX: usize = 253;

/// The kernel wants at least a byte with descriptors, and an empty message means end of stream.
const EMPTY: &str = "a link message has at least one byte";

/// A listening socket.
#[derive(Debug)]
pub struct LinkListener {
    fd: OwnedFd,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

/// Who is at the other end, as of when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// A message that was received into the caller's buffer.
#[derive(Debug)]
pub struct Incoming {
    /// Bytes of the buffer that are the message; 0 means the other end has closed.
    pub len: usize,
    pub descriptors: Vec<OwnedFd>,
}

impl LinkListener {
    /// Listens at `path` with mode 0600; a socket file that nobody listens on any more is replaced.
    pub fn bind(path: &Path) -> Result<Self, NetError> {
        let address = SocketAddrUnix::new(path).map_err(system("naming the link socket"))?;
        let fd = seqpacket()?;
        match rustix::net::bind(&fd, &address) {
            Err(rustix::io::Errno::ADDRINUSE) if is_deserted(&address)? => {
                std::fs::remove_file(path)
                    .map_err(NetError::system("removing a deserted link socket"))?;
                rustix::net::bind(&fd, &address).map_err(system("binding the link socket"))?;
            }
            other => other.map_err(system("binding the link socket"))?,
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode)
            .map_err(NetError::system("restricting the link socket to its owner"))?;
        rustix::net::listen(&fd, 8).map_err(system("listening on the link socket"))?;
        Ok(Self { fd })
    }

    /// A listening socket that came from the service manager.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Waits for a connection, and drops those of other users than `uid` or root.
    pub fn accept(&self, uid: u32) -> Result<Link, NetError> {
        loop {
            let flags = SocketFlags::CLOEXEC;
            let link = match rustix::net::accept_with(&self.fd, flags) {
                Ok(fd) => Link { fd },
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(system("accepting on the link socket")(error)),
            };
            match link.peer() {
                Ok(peer) if peer.uid == uid || peer.uid == 0 => return Ok(link),
                _ => {}
            }
        }
    }
}

impl AsFd for LinkListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Link {
    pub fn connect(path: &Path) -> Result<Self, NetError> {
        let address = SocketAddrUnix::new(path).map_err(system("naming the link socket"))?;
        let fd = seqpacket()?;
        rustix::net::connect(&fd, &address).map_err(system("connecting to the link socket"))?;
        Ok(Self { fd })
    }

    /// Two connected ends: for a parent and its child, and for tests.
    pub fn pair() -> Result<(Self, Self), NetError> {
        let flags = SocketFlags::CLOEXEC;
        let family = AddressFamily::UNIX;
        let (left, right) = rustix::net::socketpair(family, SocketType::SEQPACKET, flags, None)
            .map_err(system("making a pair of link sockets"))?;
        Ok((Self { fd: left }, Self { fd: right }))
    }

    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Sends a message with descriptors; blocks while the other end's queue is full, unless the
    /// socket is non-blocking.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if message.is_empty() || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, EMPTY));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        let slices = [IoSlice::new(message)];
        loop {
            match rustix::net::sendmsg(&self.fd, &slices, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives a message with its descriptors (all CLOEXEC). One that does not fit into `buffer`,
    /// or has more descriptors than [`DESCRIPTORS_MAX`], is an error and its descriptors are
    /// closed.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Incoming> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut slices = [IoSliceMut::new(buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.fd, &mut slices, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a link message was cut off"));
        }
        Ok(Incoming { len: got.bytes, descriptors })
    }

    /// Whether `send` and `receive` give WouldBlock instead of waiting.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, is_nonblocking)?)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.fd)?;
        Ok(Peer {
            pid: credentials.pid.as_raw_nonzero().get(),
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// A descriptor of the peer's process: readable when it has exited. Of the kernel's own record
    /// of the connection where it has one (SO_PEERPIDFD, Linux 6.5), else of the process number.
    pub fn peer_process(&self) -> Result<Process, NetError> {
        let mut fd: libc::c_int = -1;
        let mut len = libc::socklen_t::try_from(size_of_val(&fd)).unwrap_or(4);
        // SAFETY: a valid int and its size to write into.
        let done = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERPIDFD,
                (&raw mut fd).cast(),
                &raw mut len,
            )
        };
        if done == 0 && fd >= 0 {
            // SAFETY: the kernel has just made this descriptor for us (CLOEXEC).
            return Ok(Process { fd: unsafe { OwnedFd::from_raw_fd(fd) } });
        }
        let peer = self.peer().map_err(NetError::system("asking who is at the other end"))?;
        Process::open(peer.pid)
    }
}

/// Not yet in the libc crate for all targets; the same on all architectures we build for.
const SO_PEERPIDFD: libc::c_int = 77;

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.fd
    }
}

/// A process that may be another one's: a pidfd.
#[derive(Debug)]
pub struct Process {
    fd: OwnedFd,
}

impl Process {
    pub fn open(pid: i32) -> Result<Self, NetError> {
        let pid =
            rustix::process::Pid::from_raw(pid).ok_or(NetError::BadPlan("no such process"))?;
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map(|fd| Self { fd })
            .map_err(system("opening a process"))
    }

    /// Waits at most `timeout_ms` (0: just looks) for the process to exit; true if it has.
    pub fn has_exited(&self, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn seqpacket() -> Result<OwnedFd, NetError> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(system("making a link socket"))
}

/// A socket file whose owner is gone refuses connections.
fn is_deserted(address: &SocketAddrUnix) -> Result<bool, NetError> {
    let probe = seqpacket()?;
    Ok(matches!(rustix::net::connect(&probe, address), Err(rustix::io::Errno::CONNREFUSED)))
}

fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> NetError {
    move |error| NetError::System { what, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Doorbell;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (left, right) = Link::pair().unwrap();
        let bell = Doorbell::new().unwrap();
        left.send(b"bell", &[bell.as_fd()]).unwrap();
        left.send(b"plain", &[]).unwrap();
        let mut buffer = [0; 64];
        let first = right.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..first.len], b"bell");
        let theirs = Doorbell::from_fd(first.descriptors.into_iter().next().unwrap());
        bell.ring();
        assert_eq!(theirs.take(), 1);
        let second = right.receive(&mut buffer).unwrap();
        assert_eq!((&buffer[..second.len], second.descriptors.len()), (b"plain".as_slice(), 0));
        drop(left);
        assert_eq!(right.receive(&mut buffer).unwrap().len, 0);
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (left, right) = Link::pair().unwrap();
        left.send(&[1; 100], &[]).unwrap();
        let cut = right.receive(&mut [0; 10]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::InvalidData);
        assert!(left.send(&[], &[]).is_err());
    }

    #[test]
    fn the_other_end_is_known_to_be_us_and_alive() {
        let path = path("link");
        let listener = LinkListener::bind(&path).unwrap();
        let ours = Link::connect(&path).unwrap();
        let me = rustix::process::getuid().as_raw();
        let theirs = listener.accept(me).unwrap();
        let peer = theirs.peer().unwrap();
        assert_eq!(peer.uid, me);
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
        assert!(!ours.peer_process().unwrap().has_exited(0));
        // Listened on: not replaced. Deserted: replaced.
        assert!(LinkListener::bind(&path).is_err());
        drop(listener);
        drop(LinkListener::bind(&path).unwrap());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_death_is_seen() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap();
        assert!(!process.has_exited(0));
        drop(child.stdin.take());
        assert!(process.has_exited(20_000));
        child.wait().unwrap();
    }
}
