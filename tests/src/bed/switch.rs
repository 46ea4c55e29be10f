//! The switch under test.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::http::Rest;
use super::ports::Ports;
use super::{eventually, pass, program};

/// How a switch is set up; [`Setup::start`] starts it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub shards: u8,
    /// Where a static route sends what is dialled with prefix 9; none for no route.
    pub trunk: Option<SocketAddr>,
    /// What the operator gives, as lines of the configuration; [`Setup::default`] gives every
    /// tenant everything.
    pub grants: String,
    /// Further lines of the configuration, at its end.
    pub more: String,
    /// Where the two processes' programs are; none for where ours is.
    pub bin_dir: Option<PathBuf>,
    /// The data directory; none for one inside the bed's own.
    pub data: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 2,
            trunk: None,
            grants: EVERYTHING.to_owned(),
            more: String::new(),
            bin_dir: None,
            data: None,
        }
    }
}

/// What most tests have the operator give.
const EVERYTHING: &str = "[[grant]]\naccount = \"*\"\nnumbers = [\"*\"]\ndomains = [\"*\"]\n\
    any_caller = true\nsource_bits_v4 = 0\nsource_bits_v6 = 0\n";

/// A running switch.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    data: PathBuf,
    bin_dir: Option<PathBuf>,
    pub ports: Ports,
    pub sip: SocketAddr,
    pub rest: Rest,
    supervisor: Child,
}

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Setup {
    /// Starts a switch on ports of its own.
    #[must_use]
    pub fn start(&self) -> Bed {
        self.start_on(Ports::take())
    }

    /// Starts a switch on ports that were taken before, so that its peers are known.
    ///
    /// # Panics
    /// If it does not come up; its logs are printed.
    #[must_use]
    pub fn start_on(&self, mut ports: Ports) -> Bed {
        let folder = tempfile::Builder::new().prefix("tandem-bed-").tempdir().expect("a directory");
        let (sip, http) = (ports.address(), ports.address());
        let config = folder.path().join("tandem.toml");
        std::fs::write(&config, self.config(sip, http, ports.media())).expect("it is written");
        let (data, bin_dir) = (self.data.clone(), self.bin_dir.clone());
        let data = data.unwrap_or_else(|| folder.path().join("data"));
        let supervisor = launch(folder.path(), &data, bin_dir.as_deref());
        let rest = Rest { address: http, account: String::new(), token: String::new() };
        let mut bed = Bed { folder, data, bin_dir, ports, sip, rest, supervisor };
        bed.wait_until_up();
        bed
    }

    fn config(&self, sip: SocketAddr, http: SocketAddr, media: [u16; 2]) -> String {
        let trunk = self.trunk.map_or_else(String::new, |target| {
            format!(
                "\n[[trunk]]\nname = \"carrier\"\nprefix = \"9\"\nsources = [\"127.0.0.0/8\"]\n\
                 targets = [\"{target}\"]\nring_s = 10\n"
            )
        });
        let tls = beside(sip);
        format!(
            "[dataplane]\nshards = {}\npin = false\n\n\
             [[dataplane.listener]]\nname = \"udp\"\nbind = \"{sip}\"\n\n\
             [[dataplane.listener]]\nname = \"tcp\"\nbind = \"{sip}\"\ntransport = \"tcp\"\n\n\
             [[dataplane.listener]]\nname = \"tls\"\nbind = \"{tls}\"\ntransport = \"tls\"\n\n\
             [[dataplane.media]]\nname = \"media\"\nbind = \"{}\"\nports = [{}, {}]\n\n\
             [dataplane.limits]\nlegs = 1024\ntransactions = 2048\nframes = 4096\n\
             large_frames = 256\n\n\
             [controlplane]\nhttp = \"{http}\"\nwebhook_allow = [\"127.0.0.0/8\"]\n\
             target_allow = [\"127.0.0.0/8\"]\n{trunk}\n{}{}",
            self.shards,
            sip.ip(),
            media[0],
            media[1],
            self.grants,
            self.more
        )
    }
}

/// Where the switch takes TLS: the port beside the others.
fn beside(sip: SocketAddr) -> SocketAddr {
    SocketAddr::new(sip.ip(), sip.port() + 1)
}

fn launch(folder: &Path, data: &Path, bin_dir: Option<&Path>) -> Child {
    let out = File::create(folder.join("up.log")).expect("a log");
    let err = out.try_clone().expect("a second descriptor");
    Command::new(program("tandem"))
        .arg("up")
        .args(bin_dir.iter().flat_map(|folder| [Path::new("--bin-dir"), folder]))
        .arg("--data-dir")
        .arg(data)
        .arg("--config")
        .arg(folder.join("tandem.toml"))
        .args(["--watchdog", "20s"])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .expect("tandem starts")
}

impl Bed {
    #[must_use]
    pub fn start() -> Self {
        Setup::default().start()
    }

    /// A directory for what peers need.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its SIP address for TLS.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        beside(self.sip)
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// `endpoints.json` as it is now; None while the switch does not stand.
    #[must_use]
    pub fn endpoints(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.data().join("endpoints.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn wait_until_up(&mut self) {
        let from = Instant::now();
        loop {
            if let Some(known) = self.endpoints() {
                let text = |name: &str| known[name].as_str().unwrap_or_default().to_owned();
                let up = ["dataplane", "controlplane"]
                    .iter()
                    .all(|name| known["pids"][name].as_u64().is_some_and(|pid| pid > 0));
                self.rest.account = text("account_sid");
                self.rest.token = text("auth_token");
                if up && !self.rest.account.is_empty() && self.answers() {
                    return;
                }
            }
            let ended = self.supervisor.try_wait().expect("it can be asked");
            assert!(
                ended.is_none() && from.elapsed() < START_LIMIT,
                "the switch does not come up ({ended:?})"
            );
            pass(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        self.rest.ask("GET", "/Calls.json?PageSize=1", &[]).is_some_and(|it| it.status == 200)
    }

    /// `supervisor`, `dataplane` or `controlplane`; 0 while it is down.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        let known = self.endpoints().unwrap_or_default();
        known["pids"][name].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
    }

    /// # Panics
    /// If the process is not there.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = self.pid(name);
        assert!(pid > 0, "{name} is up");
        send(pid, signal);
    }

    /// Waits until the process stands again after `before` died, and the API answers.
    ///
    /// # Panics
    /// If it does not come back within 30 s.
    pub fn wait_for_successor(&self, name: &str, before: u32) -> u32 {
        let what = format!("{name} is back");
        eventually(&what, Duration::from_secs(30), || {
            let pid = self.pid(name);
            (pid != 0 && pid != before && self.answers()).then_some(pid)
        })
    }

    /// Makes a number whose calls are answered by `url`, with callbacks to `status`.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn number(&self, number: &str, url: &str, status: &str) -> Value {
        let form = [("PhoneNumber", number), ("VoiceUrl", url), ("StatusCallback", status)];
        self.rest.make("/IncomingPhoneNumbers.json", &form)
    }

    /// Calls with this status (any for ""), all pages.
    #[must_use]
    pub fn calls(&self, status: &str) -> Vec<Value> {
        let query = if status.is_empty() { String::new() } else { format!("Status={status}") };
        self.rest.list("/Calls.json", "calls", &query)
    }

    /// Waits until `count` calls are over and in the store, and gives all of them.
    ///
    /// # Panics
    /// If it does not come to that within 30 s.
    #[track_caller]
    #[must_use]
    pub fn ended(&self, count: usize) -> Vec<Value> {
        let over = ["completed", "busy", "no-answer", "failed", "canceled"];
        eventually(&format!("{count} calls over"), Duration::from_secs(30), || {
            let calls = self.calls("");
            let done = calls
                .iter()
                .all(|call| call["status"].as_str().is_some_and(|status| over.contains(&status)));
            (done && calls.len() >= count).then_some(calls)
        })
    }

    /// Stops the switch as a user does, and waits for it.
    ///
    /// # Panics
    /// If it does not stop, or not with status 0.
    pub fn stop(&mut self) {
        send(self.supervisor.id(), Signal::TERM);
        let ended = eventually("the switch stops", STOP_LIMIT, || {
            self.supervisor.try_wait().expect("it can be asked")
        });
        assert!(ended.success(), "tandem up ended with {ended}");
        assert!(self.leftovers().is_empty(), "nothing of it runs on");
    }

    /// Starts the stopped switch again on the same data, once nothing of it runs any more.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        // What was killed closes its sockets a moment later.
        eventually("its address is free", STOP_LIMIT, || {
            let free = self.leftovers().is_empty() && std::net::UdpSocket::bind(self.sip).is_ok();
            free.then_some(())
        });
        self.supervisor = launch(self.folder.path(), &self.data, self.bin_dir.as_deref());
        self.wait_until_up();
    }

    /// What the supervisor said so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// The two processes, where they still run: their command lines name the bed's directory.
    fn leftovers(&self) -> Vec<u32> {
        let mark = self.folder.path().to_string_lossy().into_owned();
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        let of_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours = ["/tandem-dataplane", "/tandem-controlplane"];
            line.contains(&mark) && ours.iter().any(|name| line.contains(name))
        };
        let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        processes.flatten().filter_map(pid).filter(of_ours).collect()
    }

    fn print_logs(&self) {
        println!("--- up.log\n{}", tail(&self.said()));
        for name in ["dataplane", "controlplane"] {
            let log = self.data().join("log").join(format!("{name}.log"));
            let text = std::fs::read_to_string(log).unwrap_or_default();
            println!("--- {name}.log\n{}", tail(&text));
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

pub(super) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Times the supervisor has started a process again, from what it said.
#[must_use]
pub fn restart_of(bed: &Bed, name: &str) -> usize {
    let line = format!("{name} started again");
    bed.said().lines().filter(|said| said.starts_with(&line)).count()
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // A test may have stopped it; a stopped process does not hear SIGTERM.
        send(self.supervisor.id(), Signal::CONT);
        send(self.supervisor.id(), Signal::TERM);
        let from = Instant::now();
        while matches!(self.supervisor.try_wait(), Ok(None)) && from.elapsed() < STOP_LIMIT {
            pass(Duration::from_millis(20));
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        for pid in self.leftovers() {
            send(pid, Signal::KILL);
        }
    }
}
