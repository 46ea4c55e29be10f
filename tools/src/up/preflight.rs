//! Before anything is started: everything that would make a child die with a riddle is looked at
//! here, and said with its cause and its cure.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use config::Config;
use rustix::fs::{FlockOperation, flock};

use super::endpoints::{Endpoints, FILE};
use crate::system::{self, Finding, Level, Protocol};

/// What the switch itself puts into its data directory.
const OURS: [&str; 13] = [
    "controlplane.lock",
    "dataplane.epoch",
    "endpoints.json",
    "endpoints.next",
    "journal",
    "lock",
    "log",
    "run",
    "tandem-key",
    "tandem.db",
    "tandem.db-shm",
    "tandem.db-wal",
    "up.log",
];

/// Makes the data directory (0700) and takes its lock; the lock is held while the file lives.
pub(crate) fn lock(data_dir: &Path) -> Result<File> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.with_context(|| {
        format!(
            "data directory {} cannot be made: choose another with --data-dir",
            data_dir.display()
        )
    })?;
    close_to_others(data_dir);
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(data_dir.join("lock")).with_context(|| {
        format!(
            "data directory {} is not writable for this user: change its owner, or choose another \
             with --data-dir",
            data_dir.display()
        )
    })?;
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

/// Sets an existing data directory to 0700, if it holds nothing but what is ours: a directory that
/// others use too (`--data-dir /var/lib` by mistake) keeps its mode, and we say so.
fn close_to_others(data_dir: &Path) {
    let Ok(meta) = fs::metadata(data_dir) else { return };
    if meta.mode() & 0o077 == 0 {
        return;
    }
    let ours = |entry: fs::DirEntry| OURS.iter().any(|name| entry.file_name() == *name);
    let all_ours = meta.mode() & 0o1000 == 0
        && fs::read_dir(data_dir).is_ok_and(|all| all.flatten().all(ours));
    if all_ours && fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)).is_ok() {
        return;
    }
    say!(
        "WARN  data directory {} is open to other users (mode {:o}): `chmod 700` it, or choose one \
         that holds nothing else",
        data_dir.display(),
        meta.mode() & 0o7777
    );
}

/// Processes of an earlier supervisor on this data directory that outlived it.
/// `file` is our configuration for the children.
pub(crate) fn orphans(data_dir: &Path, file: &Path) -> Vec<(&'static str, u32)> {
    if !data_dir.join(FILE).exists() {
        return Vec::new();
    }
    let Ok(known) = Endpoints::read(data_dir) else { return Vec::new() };
    [("tandem-dataplane", known.pids.dataplane), ("tandem-controlplane", known.pids.controlplane)]
        .into_iter()
        .filter(|(name, pid)| *pid > 0 && is_ours(*pid, name, data_dir, file))
        .collect()
}

/// The pid is alive, runs that program, and does so for this data directory (pids are used again,
/// and another switch may live on this machine).
pub(crate) fn is_ours(pid: u32, name: &str, data_dir: &Path, file: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    match config_of(&line, name) {
        Some(theirs) if theirs == file => true,
        // `runtime_dir` may have moved since.
        Some(theirs) => crate::check::load(&theirs).is_ok_and(|c| c.node.data_dir == data_dir),
        None => false,
    }
}

/// The `--config` of a command line as in /proc, if that program runs there.
fn config_of(line: &[u8], name: &str) -> Option<PathBuf> {
    let words: Vec<&OsStr> = line.split(|&byte| byte == 0).map(OsStr::from_bytes).collect();
    // Under an interpreter or a debugger the program is not the first word.
    let program = |word: &&OsStr| Path::new(word).file_name() == Some(OsStr::new(name));
    words.iter().take(3).find(|word| program(word))?;
    let at = words.iter().position(|word| *word == "--config")?;
    words.get(at + 1).map(PathBuf::from)
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
    let spares = config.dataplane.media.len() as u64 * 1_024;
    let capacity = system::capacity(config);
    let connections = u64::from(capacity.connections) * 5 / 4;
    let per_shard = u64::from(capacity.legs) * 2 + spares + connections + 192;
    all.push(system::nofile(per_shard * shards + 128));
    for listener in &config.dataplane.listener {
        if let Err(said) = system::port_free(Protocol::of(listener.transport), listener.bind) {
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
        say!("{finding}");
    }
    if findings.iter().any(|f| f.level == Level::Fail) {
        bail!("this machine cannot run the switch as configured (see FAIL above)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

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
    #[test]
    fn a_data_directory_of_our_own_is_closed_and_a_shared_one_is_left() {
        let dir = std::env::temp_dir().join(format!("tandem-close-{}", std::process::id()));
        fs::create_dir_all(dir.join("journal")).expect("temporary directory");
        let mode = || fs::metadata(&dir).expect("there").mode() & 0o777;
        let open = || fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("mode");
        open();
        drop(lock(&dir).expect("lock"));
        assert_eq!(mode(), 0o700);
        open();
        fs::write(dir.join("of-somebody-else"), "").expect("file");
        drop(lock(&dir).expect("lock"));
        assert_eq!(mode(), 0o755);
        fs::remove_dir_all(&dir).expect("clean");
    }

    #[test]
    fn an_orphan_is_known_by_its_configuration() {
        let line = b"/opt/tandem-dataplane\0--config\0/a/run/tandem.toml\0";
        let config = |name| config_of(line, name);
        assert_eq!(config("tandem-dataplane"), Some(PathBuf::from("/a/run/tandem.toml")));
        assert_eq!(config("tandem-controlplane"), None);
        assert_eq!(config_of(b"tandem-dataplane\0--config", "tandem-dataplane"), None);

        let dir = std::env::temp_dir().join(format!("tandem-orphan-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("temporary directory");
        let file = dir.join("tandem.toml");
        let mut command = std::process::Command::new("/bin/sh");
        // A shell that waits for its input, dressed as a child of a switch.
        let script = dir.join("tandem-dataplane");
        fs::write(&script, "echo there; read line").expect("script");
        command.arg(&script).arg("--config").arg(&file);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut process = command.spawn().expect("sh");
        let mut said = [0];
        process.stdout.take().expect("piped").read_exact(&mut said).expect("it runs");
        let pid = process.id();
        assert!(is_ours(pid, "tandem-dataplane", &dir, &file));
        let other = Path::new("/b/run/tandem.toml");
        assert!(!is_ours(pid, "tandem-dataplane", Path::new("/b"), other));
        assert!(!is_ours(pid, "tandem-controlplane", &dir, &file));
        drop(process.stdin.take());
        process.wait().expect("ends");
        fs::remove_dir_all(&dir).expect("clean");
    }
}
