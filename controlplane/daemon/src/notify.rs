//! The service manager's protocol (sd_notify(3), sd_listen_fds(3)), client side. Safe code only:
//! parked memfds are opened again through /proc instead of being taken over by number.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// First descriptor that the manager passes.
const LISTEN_FDS_START: u32 = 3;

/// The way to the manager; without one everything succeeds and does nothing.
#[derive(Debug, Default)]
pub struct Notify {
    target: Option<(OwnedFd, SocketAddrUnix)>,
}

impl Notify {
    /// From NOTIFY_SOCKET: a path, or `@name` for an abstract socket.
    ///
    /// # Errors
    /// If it is set and cannot be used.
    pub fn from_env() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest)?,
            path => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { target: Some((fd, address)) })
    }

    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// One line about what we are doing.
    pub fn status(&self, text: &str) {
        self.say(&format!("STATUS={}", text.replace('\n', " ")));
    }

    pub fn watchdog(&self) {
        self.say("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Parks a descriptor under `name` in place of what was parked there.
    ///
    /// # Errors
    /// What the system says.
    pub fn park(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[], SendFlags::empty())?;
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd], SendFlags::empty())
    }

    /// A manager that cannot be told is gone; it will be back, and nothing here depends on it.
    fn say(&self, text: &str) {
        // Never waits: a stuck manager must not hold up the director.
        if let Err(error) = self.send(text, &[], SendFlags::DONTWAIT) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>], wait: SendFlags) -> io::Result<()> {
        let Some((socket, address)) = &self.target else { return Ok(()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let slices = [IoSlice::new(text.as_bytes())];
        let flags = SendFlags::NOSIGNAL | wait;
        rustix::net::sendmsg_addr(socket, address, &slices, &mut control, flags)?;
        Ok(())
    }
}

/// How often the manager wants to hear of us; None without a watchdog.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0 && is_for_us("WATCHDOG_PID")).then(|| Duration::from_micros(micros))
}

/// The parked descriptors whose names begin with `prefix`, as new read-write descriptors of the
/// same files.
#[must_use]
pub fn parked(prefix: &str) -> Vec<(String, OwnedFd)> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    if !is_for_us("LISTEN_PID") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, name) in (LISTEN_FDS_START..).zip(names.split(':')).take(count) {
        if !name.starts_with(prefix) {
            continue;
        }
        let path = format!("/proc/self/fd/{number}");
        match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => found.push((name.to_owned(), fd)),
            Err(error) => tracing::warn!(name, %error, "a parked descriptor cannot be used"),
        }
    }
    found
}

/// Unset, or our process id.
fn is_for_us(name: &str) -> bool {
    env::var(name).map_or(true, |pid| pid == std::process::id().to_string())
}
