//! The supervisor's end of the notify protocol (sd_notify(3)): a datagram socket per child, lines
//! of `KEY=value`, and descriptors to be kept for the child's next life.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Descriptors in one message at most (SCM_MAX_FD of the kernel).
const FDS_MAX: usize = 253;
const MESSAGE_BYTES_MAX: usize = 4_096;

/// One message of a child.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
    pub(crate) watchdog: bool,
    pub(crate) status: Option<String>,
    /// Keep these under that name.
    pub(crate) store: bool,
    pub(crate) remove: bool,
    pub(crate) name: Option<String>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Where a child notifies.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    pub(crate) socket: UnixDatagram,
}

impl NotifySocket {
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// The next message, if one waits.
    pub(crate) fn receive(&self) -> Option<Notice> {
        let mut text = [0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut text)];
        let message = recvmsg(&self.socket, &mut slices, &mut control, flags).ok()?;
        let mut fds = Vec::new();
        for one in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = one {
                fds.extend(rights);
            }
        }
        let mut notice = parse(&String::from_utf8_lossy(&text[..message.bytes]));
        notice.fds = fds;
        Some(notice)
    }
}

fn parse(text: &str) -> Notice {
    let mut notice = Notice::default();
    for line in text.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => notice.ready = true,
            Some(("STOPPING", "1")) => notice.stopping = true,
            Some(("WATCHDOG", "1")) => notice.watchdog = true,
            Some(("STATUS", status)) => notice.status = Some(status.to_owned()),
            Some(("FDSTORE", "1")) => notice.store = true,
            Some(("FDSTOREREMOVE", "1")) => notice.remove = true,
            Some(("FDNAME", name)) => notice.name = Some(name.to_owned()),
            _ => {}
        }
    }
    notice
}

/// What a child has given us to keep, in the order it came.
#[derive(Debug, Default)]
pub(crate) struct FdStore {
    kept: Vec<(String, OwnedFd)>,
}

impl FdStore {
    /// A name that comes again replaces what it named.
    pub(crate) fn take(&mut self, notice: Notice) {
        let name = notice.name.unwrap_or_else(|| "stored".to_owned());
        if notice.remove || notice.store {
            self.kept.retain(|(known, _)| *known != name);
        }
        if notice.store {
            self.kept.extend(notice.fds.into_iter().map(|fd| (name.clone(), fd)));
        }
    }

    pub(crate) fn names(&self) -> String {
        self.kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(":")
    }

    pub(crate) const fn len(&self) -> usize {
        self.kept.len()
    }

    /// Copies for a new child.
    pub(crate) fn copies(&self) -> Result<Vec<OwnedFd>> {
        self.kept.iter().map(|(_, fd)| Ok(fd.try_clone()?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(name: &str, store: bool) -> Notice {
        let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd");
        Notice {
            store,
            remove: !store,
            name: Some(name.to_owned()),
            fds: if store { vec![fd] } else { Vec::new() },
            ..Notice::default()
        }
    }

    #[test]
    fn lines_are_read() {
        let notice = parse("READY=1\nSTATUS=two shards\nFDSTORE=1\nFDNAME=dp-bell-0\nODD");
        assert!(notice.ready && notice.store && !notice.watchdog);
        assert_eq!(notice.status.as_deref(), Some("two shards"));
        assert_eq!(notice.name.as_deref(), Some("dp-bell-0"));
    }

    #[test]
    fn a_name_is_kept_once_and_order_holds() {
        let mut store = FdStore::default();
        store.take(give("a", true));
        store.take(give("b", true));
        store.take(give("a", true));
        assert_eq!((store.names().as_str(), store.len()), ("b:a", 2));
        store.take(give("b", false));
        assert_eq!(store.names(), "a");
        assert_eq!(store.copies().map(|c| c.len()).ok(), Some(1));
    }
}
