//! Before anything is started: everything that would make a child die with a riddle is looked at
//! here, and said with its cause and its cure.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use wire::config::Config;

use super::endpoints::{Endpoints, FILE};
use crate::system::{self, Finding, Level, Protocol};

/// Makes the data directory (0700) and takes its lock; the lock is held while the file lives.
pub(crate) fn lock(data_dir: &Path) -> Result<File> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.with_context(|| {
        format!(
            "data directory {} cannot be made: choose another with --data-dir",
            data_dir.display()
        )
    })?;
    let path = data_dir.join("lock");
    let file =
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(
            || {
                format!(
                    "data directory {} is not writable for this user: change its owner, or choose \
                 another with \
                 --data-dir",
                    data_dir.display()
                )
            },
        )?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let by = Endpoints::read(data_dir)
            .map(|known| format!(" (pid {})", known.pids.supervisor))
            .unwrap_or_default();
        bail!(
            "another `tandem up`{by} runs on {}: stop it, or choose another --data-dir",
            data_dir.display()
        );
    }
    Ok(file)
}

/// Processes of an earlier supervisor on this data directory that outlived it.
pub(crate) fn orphans(data_dir: &Path) -> Vec<(&'static str, u32)> {
    if !data_dir.join(FILE).exists() {
        return Vec::new();
    }
    let Ok(known) = Endpoints::read(data_dir) else { return Vec::new() };
    [("tandem-dataplane", known.pids.dataplane), ("tandem-controlplane", known.pids.controlplane)]
        .into_iter()
        .filter(|(name, pid)| *pid > 0 && is_process(*pid, name))
        .collect()
}

/// The pid is alive and runs that program (pids are used again).
fn is_process(pid: u32, name: &str) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    // Under an interpreter or a debugger the program is not the first word.
    line.split(|&byte| byte == 0).take(3).any(|word| {
        Path::new(&*String::from_utf8_lossy(word)).file_name().is_some_and(|file| file == name)
    })
}

/// The directory of sockets, 0700.
pub(crate) fn runtime_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("{} cannot be made", path.display()))?;
    // sun_path holds 107 bytes: `notify-controlplane.sock` is the longest name we put there.
    let longest = path.as_os_str().len() + "/notify-controlplane.sock".len();
    if longest > 107 {
        bail!(
            "{} is too long a path for a socket (107 bytes with the name): choose a shorter \
             --data-dir, or \
             set node.runtime_dir",
            path.display()
        );
    }
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o007 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o770))
            .with_context(|| format!("{} is open to everybody", path.display()))?;
    }
    Ok(())
}

/// Kernel, io_uring, limits and ports for this configuration.
pub(crate) fn examine(config: &Config) -> Vec<Finding> {
    let mut all = vec![system::kernel(), system::io_uring(), system::memlock()];
    let shards = u64::from(shards(config));
    all.push(system::nofile(u64::from(config.dataplane.limits.legs) * shards + 1_024));
    for listener in &config.dataplane.listener {
        if let Err(said) = system::port_free(Protocol::Udp, listener.bind) {
            let cure = "stop it, or choose another address with --sip ADDRESS:PORT";
            all.push(Finding::fail("SIP address", said, cure));
        }
    }
    if let Err(said) = system::port_free(Protocol::Tcp, config.controlplane.http) {
        let cure = "stop it, or choose another address with --http ADDRESS:PORT";
        all.push(Finding::fail("HTTP address", said, cure));
    }
    for media in &config.dataplane.media {
        if let Err(error) = system::free_port(Protocol::Udp, media.bind) {
            all.push(Finding::fail(
                "media address",
                format!("{} cannot be bound: {error}", media.bind),
                "set dataplane.media.bind to an address of this machine",
            ));
        }
    }
    all.extend(media_ports(config));
    all
}

/// Media ports must not be ones that the kernel hands out to others.
pub(crate) fn media_ports(config: &Config) -> Vec<Finding> {
    let Some(range) = system::read("/proc/sys/net/ipv4/ip_local_port_range") else {
        return Vec::new();
    };
    let bounds: Vec<u16> = range.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [low, high] = bounds[..] else { return Vec::new() };
    let reserved = system::read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    config
        .dataplane
        .media
        .iter()
        .map(|media| {
            let [first, last] = media.ports;
            let found = format!("{first}-{last} on {}", media.bind);
            if last < low || first > high || covers(&reserved, first, last) {
                return Finding::ok("media ports", found);
            }
            Finding::warn(
                "media ports",
                format!("{found} overlap with the kernel's own range {low}-{high}"),
                format!("sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}"),
            )
        })
        .collect()
}

/// Whether a list like `20000-29999,35000` holds all of the range in one entry.
fn covers(list: &str, first: u16, last: u16) -> bool {
    list.split(',').any(|entry| {
        let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
        let (Ok(from), Ok(to)) = (from.trim().parse::<u16>(), to.trim().parse::<u16>()) else {
            return false;
        };
        from <= first && last <= to
    })
}

/// Shards that the configuration comes to on this machine.
pub(crate) fn shards(config: &Config) -> u8 {
    if config.dataplane.shards > 0 {
        return config.dataplane.shards;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u8::try_from(cores.saturating_sub(1).clamp(1, 64)).unwrap_or(1)
}

/// Prints what is not right; an error if anything forbids the start.
pub(crate) fn judge(findings: &[Finding]) -> Result<()> {
    for finding in findings.iter().filter(|f| f.level != Level::Ok) {
        eprintln!("{finding}");
    }
    if findings.iter().any(|f| f.level == Level::Fail) {
        bail!("this machine cannot run the switch as configured (see FAIL above)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ranges_cover() {
        assert!(covers("8080,20000-29999", 20_000, 29_999));
        assert!(!covers("20000-24999,25000-29999", 20_000, 29_999));
        assert!(!covers("", 1, 2));
    }

    #[test]
    fn a_data_directory_has_one_supervisor() {
        let dir = std::env::temp_dir().join(format!("tandem-lock-{}", std::process::id()));
        let held = lock(&dir).expect("first");
        let said = lock(&dir).expect_err("second").to_string();
        assert!(said.contains("another `tandem up`"), "{said}");
        drop(held);
        lock(&dir).expect("after release");
        fs::remove_dir_all(&dir).expect("clean");
    }
}
