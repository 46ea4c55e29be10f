//! The service manager's protocol (sd_notify(3), sd_listen_fds(3)), spoken directly: a few lines of
//! text on a datagram socket.
//!
//! `tandem up` speaks the other side of it. Descriptors are parked with `FDSTORE=1` under a name
//! and come back to a successor as LISTEN_FDS with LISTEN_FDNAMES.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// First descriptor that the manager passes.
const LISTEN_FDS_START: RawFd = 3;
/// Longest name of a parked descriptor.
const NAME_BYTES_MAX: usize = 255;

/// The way to the manager; without one everything is a no-op that succeeds.
#[derive(Debug, Default)]
pub struct Notify {
    target: Option<(OwnedFd, SocketAddrUnix)>,
}

impl Notify {
    /// From NOTIFY_SOCKET: a path, or `@name` for an abstract socket. Not set: no manager.
    pub fn from_env() -> io::Result<Self> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(name.as_bytes()),
            _ => Ok(Self::default()),
        }
    }

    /// To a manager at `name`.
    pub fn to(name: &[u8]) -> io::Result<Self> {
        let address = match name.split_first() {
            Some((b'@', rest)) => SocketAddrUnix::new_abstract_name(rest)?,
            Some((b'/', _)) => SocketAddrUnix::new(std::ffi::OsStr::from_bytes(name))?,
            _ => {
                let text = "NOTIFY_SOCKET is neither a path nor an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { target: Some((fd, address)) })
    }

    /// Whether somebody listens.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.target.is_some()
    }

    /// Boot is done.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", &[])
    }

    /// One line about what we are doing.
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", text.replace('\n', " ")), &[])
    }

    /// Still alive; every [`watchdog_interval`] / 2 or so.
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1", &[])
    }

    /// Going down on purpose.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1", &[])
    }

    /// The process that is the service from now on: a successor after an upgrade.
    pub fn main_pid(&self, pid: u32) -> io::Result<()> {
        self.send(&format!("MAINPID={pid}"), &[])
    }

    /// Parks descriptors under `name` (no colon, no control characters). They are kept after our
    /// death until removed, and are not watched for hang-ups.
    pub fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        check_name(name)?;
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), descriptors)
    }

    /// Gives up what was parked under `name`.
    pub fn unstore(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some((fd, address)) = &self.target else { return Ok(()) };
        let mut space = vec![
            MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(crate::link::DESCRIPTORS_MAX))
        ];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        let slices = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg_addr(fd, address, &slices, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// How often the manager wants to hear WATCHDOG=1, from WATCHDOG_USEC (and WATCHDOG_PID, if set, is
/// us).
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let micros = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    is_for_us("WATCHDOG_PID").then(|| Duration::from_micros(micros))
}

/// The descriptors that the manager passed, with their names ("unknown" where it gave none), each
/// made CLOEXEC. LISTEN_PID must be us, or unset: a manager that does not fork by itself cannot
/// know it.
///
/// # Safety
///
/// Call it once, before anything else of this process could own the descriptors from 3 on.
pub unsafe fn take_descriptors() -> Vec<(String, OwnedFd)> {
    let count = env::var("LISTEN_FDS").ok().and_then(|text| text.parse::<RawFd>().ok());
    let Some(count) = count.filter(|_| is_for_us("LISTEN_PID")) else { return Vec::new() };
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    // SAFETY: the caller's promise.
    unsafe { take(LISTEN_FDS_START, count, &names) }
}

/// [`take_descriptors`], for `main`'s first line. The first call gets them, every later one gets
/// none.
pub fn inherited() -> Vec<(String, OwnedFd)> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return Vec::new();
    }
    // SAFETY: LISTEN_FDS is the manager's word that it passed these descriptors to us for the
    // taking, and nothing of this process can have opened one of them: they were open before it
    // began.
    unsafe { take_descriptors() }
}

/// # Safety
///
/// Nobody else owns the descriptors `start .. start + count`.
unsafe fn take(start: RawFd, count: RawFd, names: &str) -> Vec<(String, OwnedFd)> {
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut taken = Vec::new();
    for fd in start..start.saturating_add(count.clamp(0, 1 << 16)) {
        let name = names.next().unwrap_or("unknown").to_owned();
        // SAFETY: no pointers; a number that is not open gives an error.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: open (just tried), and nobody else's (the caller's promise).
            taken.push((name, unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    debug_assert!(taken.iter().all(|(_, fd)| fd.as_raw_fd() >= start));
    taken
}

fn is_for_us(variable: &str) -> bool {
    env::var(variable).ok().is_none_or(|pid| pid.parse() == Ok(std::process::id()))
}

fn check_name(name: &str) -> io::Result<()> {
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if is_good {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "a name for the descriptor store is 1..=255 \
        printable characters without a colon",
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// A manager at an abstract address.
    fn manager(name: &[u8]) -> OwnedFd {
        let kind = SocketType::DGRAM;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .unwrap();
        rustix::net::bind(&fd, &SocketAddrUnix::new_abstract_name(name).unwrap()).unwrap();
        fd
    }

    fn hear(manager: &OwnedFd) -> (String, Vec<OwnedFd>) {
        let mut bytes = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut bytes)];
        let got = recvmsg(manager, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let fds = fds.collect();
        (String::from_utf8(bytes[..got.bytes].to_vec()).unwrap(), fds)
    }

    #[test]
    fn the_manager_hears_each_state() {
        let name = format!("tandem-notify-{}", std::process::id());
        let manager = manager(name.as_bytes());
        let notify = Notify::to(format!("@{name}").as_bytes()).unwrap();
        notify.ready().unwrap();
        notify.status("serving 3\nshards").unwrap();
        notify.watchdog().unwrap();
        notify.main_pid(17).unwrap();
        notify.stopping().unwrap();
        for expected in
            ["READY=1", "STATUS=serving 3 shards", "WATCHDOG=1", "MAINPID=17", "STOPPING=1"]
        {
            assert_eq!(hear(&manager).0, expected);
        }
    }

    #[test]
    fn descriptors_are_parked_under_a_name() {
        let name = format!("tandem-store-{}", std::process::id());
        let manager = manager(name.as_bytes());
        let notify = Notify::to(format!("@{name}").as_bytes()).unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        notify.store("region-0", &[reader.as_fd(), writer.as_fd()]).unwrap();
        let (text, fds) = hear(&manager);
        assert_eq!(text, "FDSTORE=1\nFDNAME=region-0\nFDPOLL=0");
        assert_eq!(fds.len(), 2);
        writer.write_all(b"!").unwrap();
        let mut byte = [0];
        io::Read::read_exact(&mut reader, &mut byte).unwrap();
        notify.unstore("region-0").unwrap();
        assert_eq!(hear(&manager).0, "FDSTOREREMOVE=1\nFDNAME=region-0");
        assert!(notify.store("a:b", &[]).is_err());
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let nobody = Notify::default();
        assert!(!nobody.is_present());
        nobody.ready().unwrap();
        assert!(Notify::to(b"relative").is_err());
    }

    #[test]
    fn passed_descriptors_get_their_names() {
        let (reader, writer) = io::pipe().unwrap();
        // Two consecutive numbers at the end of the table, as the manager would pass them from 3.
        let start = 900;
        // SAFETY: numbers that nobody uses in this test process.
        let taken = unsafe {
            libc::dup2(reader.as_raw_fd(), start);
            libc::dup2(writer.as_raw_fd(), start + 1);
            take(start, 3, "sip:region-0")
        };
        let names: Vec<&str> = taken.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["sip", "region-0"]);
        for (_, fd) in &taken {
            // SAFETY: no pointers.
            let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    }
}
