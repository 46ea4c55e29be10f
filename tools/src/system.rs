//! What the machine allows: kernel, io_uring, limits, ports. `up` asks before it starts anything,
//! `doctor` shows all.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use config::capacity::{Capacity, Machine, memory_bytes};
use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, getrlimit};

/// The oldest kernel supported: Debian 12's.
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing looked at: what it is, and where it is not right, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub what: &'static str,
    pub found: String,
    pub cure: String,
}

impl Finding {
    pub fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, found: found.into(), cure: String::new() }
    }

    pub fn warn(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Warn, what, found: found.into(), cure: cure.into() }
    }

    pub fn fail(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Fail, what, found: found.into(), cure: cure.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "OK  ",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "{level}  {}: {}", self.what, self.found)?;
        if !self.cure.is_empty() {
            write!(f, "\n      -> {}", self.cure)?;
        }
        Ok(())
    }
}

/// A file of /proc or /sys, trimmed; None where it cannot be read.
#[must_use]
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Major and minor of a release as in `6.18.44-generic`.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The kernel is new enough.
#[must_use]
pub fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    match version_of(&release) {
        Some(version) if version >= KERNEL_MIN => Finding::ok("kernel", release),
        _ => Finding::fail(
            "kernel",
            format!("{release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1),
            "run on Debian 12 or newer, or any system with Linux 6.1 (io_uring needs it)",
        ),
    }
}

/// A ring as the dataplane makes them can be made.
#[must_use]
pub fn io_uring() -> Finding {
    const WHAT: &str = "io_uring";
    let mut builder = IoUring::builder();
    let made = builder.setup_single_issuer().setup_defer_taskrun().setup_r_disabled().build(8);
    match made {
        Ok(ring) => supported(&ring),
        Err(error) => {
            let switch = read("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            let (found, cure) = refusal(&error, &switch);
            Finding::fail(WHAT, found, cure)
        }
    }
}

fn supported(ring: &IoUring) -> Finding {
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_err() {
        return Finding::ok("io_uring", "a ring can be made (operations cannot be probed)");
    }
    let wanted = [
        ("RECVMSG", opcode::RecvMsg::CODE),
        ("SENDMSG", opcode::SendMsg::CODE),
        ("RECV", opcode::Recv::CODE),
        ("SEND", opcode::Send::CODE),
        ("READ_FIXED", opcode::ReadFixed::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
        ("MSG_RING", opcode::MsgRingData::CODE),
    ];
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Finding::ok("io_uring", "single issuer, deferred work, all operations");
    }
    Finding::fail(
        "io_uring",
        format!("the kernel lacks {}", missing.join(", ")),
        "run a kernel of 6.1 or newer with CONFIG_IO_URING",
    )
}

/// Why no ring could be made, and what helps.
fn refusal(error: &io::Error, switch: &str) -> (String, String) {
    let found = match (switch, error.raw_os_error()) {
        ("1" | "2", _) => format!("forbidden by kernel.io_uring_disabled={switch}"),
        (_, Some(code)) if code == rustix::io::Errno::PERM.raw_os_error() => {
            "forbidden, most likely by the container's seccomp profile".to_owned()
        }
        (_, Some(code)) if code == rustix::io::Errno::NOSYS.raw_os_error() => {
            "not in this kernel, or hidden by a sandbox".to_owned()
        }
        (_, Some(code)) if code == rustix::io::Errno::NOMEM.raw_os_error() => {
            "no memory may be locked for it".to_owned()
        }
        _ => format!("no ring can be made: {error}"),
    };
    let cure = match switch {
        "1" | "2" => "sysctl -w kernel.io_uring_disabled=0, and keep it in /etc/sysctl.d",
        _ if found.contains("locked") => "raise `ulimit -l` (LimitMEMLOCK= in systemd)",
        _ => {
            "allow io_uring_setup, io_uring_enter and io_uring_register: with Docker or Podman \
             `--security-opt seccomp=unconfined` or a profile that lists them"
        }
    };
    (found, cure.to_owned())
}

/// Memory that may be locked: rings and registered buffers count.
#[must_use]
pub fn memlock() -> Finding {
    const WANTED: u64 = 64 << 20;
    let limit = getrlimit(Resource::Memlock);
    if has_capability(CAP_IPC_LOCK) {
        return Finding::ok("locked memory", "unlimited (CAP_IPC_LOCK)");
    }
    match limit.current {
        None => Finding::ok("locked memory", "unlimited"),
        Some(bytes) if bytes >= WANTED => {
            Finding::ok("locked memory", format!("{} MiB", bytes >> 20))
        }
        Some(bytes) => Finding::warn(
            "locked memory",
            format!("{} KiB may be locked, {} MiB are wanted", bytes >> 10, WANTED >> 20),
            "raise `ulimit -l` (LimitMEMLOCK= in systemd, memlock in /etc/security/limits.conf)",
        ),
    }
}

const CAP_IPC_LOCK: u32 = 14;

/// This process has the capability in effect.
fn has_capability(number: u32) -> bool {
    let status = read("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    mask >> number & 1 == 1
}

/// What this configuration carries on this machine.
#[must_use]
pub fn capacity(config: &config::Config) -> Capacity {
    let text = |path| read(path).unwrap_or_default();
    Capacity::of(
        config,
        &Machine {
            memory_bytes: memory_bytes(&text("/proc/meminfo"), &text("/sys/fs/cgroup/memory.max")),
            descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            shards: crate::up::shards(config),
        },
    )
}

/// Descriptors: in this tier a leg has two sockets.
#[must_use]
pub fn nofile(wanted: u64) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum {
        Some(most) if most < wanted => Finding::warn(
            "descriptors",
            format!("at most {most}; {wanted} are wanted for two sockets per leg"),
            "raise `ulimit -Hn` (LimitNOFILE= in systemd), or lower dataplane.limits.legs",
        ),
        most => Finding::ok(
            "descriptors",
            most.map_or_else(|| "unlimited".to_owned(), |most| format!("up to {most}")),
        ),
    }
}

/// The container's kind, if this is one.
#[must_use]
pub fn container() -> Option<String> {
    if fs::exists("/.dockerenv").unwrap_or(false) {
        return Some("docker".to_owned());
    }
    if fs::exists("/run/.containerenv").unwrap_or(false) {
        return Some("podman".to_owned());
    }
    if let Some(kind) = read("/run/systemd/container") {
        return Some(kind);
    }
    let environment = fs::read("/proc/1/environ").ok()?;
    environment
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(b"container="))
        .map(|kind| String::from_utf8_lossy(kind).into_owned())
}

/// Which kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    /// What carries this transport.
    #[must_use]
    pub const fn of(transport: base::Transport) -> Self {
        match transport {
            base::Transport::Udp => Self::Udp,
            _ => Self::Tcp,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Whether the address can be bound now; if not, who holds it as far as can be seen.
///
/// # Errors
/// Cause and cure, for people.
pub fn port_free(protocol: Protocol, address: SocketAddr) -> Result<(), String> {
    let bound = match protocol {
        Protocol::Udp => UdpSocket::bind(address).map(drop),
        Protocol::Tcp => TcpListener::bind(address).map(drop),
    };
    let Err(error) = bound else { return Ok(()) };
    let port = address.port();
    Err(match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder =
                holder(protocol, port).map_or_else(String::new, |who| format!(" by {who}"));
            format!("{} {address} is in use{holder}", protocol.text())
        }
        io::ErrorKind::PermissionDenied => format!(
            "{} {address} may not be bound: ports below net.ipv4.ip_unprivileged_port_start need \
             CAP_NET_BIND_SERVICE",
            protocol.text()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine", address.ip())
        }
        _ => format!("{} {address} cannot be bound: {error}", protocol.text()),
    })
}

/// `name (pid n)` of a process with a socket on that port.
fn holder(protocol: Protocol, port: u16) -> Option<String> {
    let files = match protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let inodes: Vec<String> = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| inodes_on(&text, port, protocol))
        .collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(fds) = fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| {
            let link = link.to_string_lossy();
            link.strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|inode| inodes.iter().any(|known| known == inode))
        });
        if holds {
            let name = read(&format!("/proc/{pid}/comm")).unwrap_or_else(|| "?".to_owned());
            return Some(format!("{name} (pid {pid})"));
        }
    }
    None
}

/// Socket inodes with that local port in the text of /proc/net/udp or tcp; of TCP only listeners.
fn inodes_on(text: &str, port: u16, protocol: Protocol) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = protocol == Protocol::Udp || fields.get(3) == Some(&"0A");
            (fields.get(1)?.ends_with(&wanted) && listens)
                .then(|| (*fields.get(9)?).to_owned().into())?
        })
        .collect()
}

/// A free UDP or TCP port on that address, by asking the kernel.
///
/// # Errors
/// The address cannot be bound at all.
pub fn free_port(protocol: Protocol, ip: std::net::IpAddr) -> io::Result<u16> {
    Ok(match protocol {
        Protocol::Udp => UdpSocket::bind((ip, 0))?.local_addr()?.port(),
        Protocol::Tcp => TcpListener::bind((ip, 0))?.local_addr()?.port(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_versions() {
        assert_eq!(version_of("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version_of("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version_of("nonsense"), None);
    }

    #[test]
    fn a_busy_port_names_its_holder() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        let said = port_free(Protocol::Udp, address).expect_err("busy");
        assert!(said.contains("in use"), "{said}");
        assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
        drop(socket);
        assert_eq!(port_free(Protocol::Udp, address), Ok(()));
    }

    #[test]
    fn refusals_have_cures() {
        let (found, cure) = refusal(&io::Error::from_raw_os_error(1), "2");
        assert!(found.contains("io_uring_disabled=2") && cure.contains("sysctl"));
        let (found, cure) = refusal(&io::Error::from_raw_os_error(1), "0");
        assert!(found.contains("seccomp") && cure.contains("Docker"));
    }
}
