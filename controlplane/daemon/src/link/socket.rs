//! The link's socket: AF_UNIX SEQPACKET, messages with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Descriptors in one message: the kernel's own bound (SCM_MAX_FD).
const DESCRIPTORS_MAX: usize = 253;

#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// Connects, and refuses a listener of another user: whoever owns it could feed us anything.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::connect(&fd, &address)?;
        let peer = rustix::net::sockopt::socket_peercred(&fd)?.uid;
        if peer != rustix::process::geteuid() && !peer.is_root() && !is_service_user(peer.as_raw())
        {
            let text = format!("the link socket belongs to user {}", peer.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self(fd))
    }

    #[cfg(test)]
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(super) fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        retry(|| {
            let slices = [IoSlice::new(bytes)];
            rustix::net::sendmsg(&self.0, &slices, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// A whole message with its descriptors; the end of the connection is an error here.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = retry(|| {
            let mut slices = [IoSliceMut::new(buffer)];
            rustix::net::recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a link message was cut off"));
        }
        Ok((got.bytes, fds))
    }

    /// Waits so long for the other side to close, or die: whether it has.
    pub(super) fn has_ended(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        match rustix::event::poll(&mut fds, patience.as_ref()) {
            Ok(0) | Err(Errno::INTR) => false,
            // It says nothing more: what can be read is its end.
            Ok(_) => self.receive(&mut [0; 256]).is_err(),
            Err(_) => true,
        }
    }
}

/// Where the two processes run as separate users, TANDEM_DATAPLANE_UID names the other one.
fn is_service_user(uid: u32) -> bool {
    std::env::var("TANDEM_DATAPLANE_UID").is_ok_and(|text| text.parse() == Ok(uid))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}
