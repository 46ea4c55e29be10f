//! `tandem up`: starts both processes, keeps what they park, brings back what dies, and says where
//! everything is.
//!
//! One thread, one poll: the children's notify sockets, their pidfds, and the signals. The children
//! do not depend on it: they go on when it dies, and only a clean stop ends them.

mod child;
mod endpoints;
mod notify;
mod preflight;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use wire::config::Config;

use crate::clock::{MS, S, mono, parse_duration};
use crate::system::{Protocol, free_port, port_free};
use child::{Child, Spec, State};
use endpoints::FirstAccount;
pub use endpoints::{Endpoints, FILE, Pids};
pub(crate) use preflight::{examine, media_ports, shards};

/// Lives that a child may have without ever getting ready, before we say that it cannot work.
const FRUITLESS_STARTS_MAX: u32 = 3;
/// How long a child may take to end.
const STOP_LIMIT: u64 = 15 * S;

/// Arguments of `tandem up`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Store, journal, secrets, endpoints.json; default: the configuration's, else `data`
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Configuration file (TOML); default: all defaults
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Address of the REST API
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<SocketAddr>,
    /// Address of SIP over UDP
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub sip: Option<SocketAddr>,
    /// UDP ports for media
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_ports)]
    pub media_ports: Option<[u16; 2]>,
    /// Shards, one thread each; default: cores less one
    #[arg(long)]
    pub shards: Option<u8>,
    /// Allow webhooks and SIP targets on loopback, and take other ports where the usual ones are
    /// busy
    #[arg(long)]
    pub demo: bool,
    /// End the processes that an earlier supervisor left behind, then start
    #[arg(long)]
    pub replace: bool,
    /// Let the processes log to our own output instead of files in the data directory
    #[arg(long)]
    pub log_here: bool,
    /// Where tandem-dataplane and tandem-controlplane are; default: beside this program
    #[arg(long, value_name = "DIRECTORY")]
    pub bin_dir: Option<PathBuf>,
    /// A child that is silent for so long is ended and started again
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub watchdog: u64,
}

fn parse_ports(text: &str) -> Result<[u16; 2], String> {
    let wrong = || format!("`{text}` is no range: write FIRST-LAST, as 20000-29999");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let ports = [port(first)?, port(last)?];
    if ports[0] == 0 || ports[0] >= ports[1] { Err(wrong()) } else { Ok(ports) }
}

/// `tandem up`.
///
/// # Errors
/// The switch cannot be started, or a process keeps dying.
pub fn main(args: &Args) -> Result<bool> {
    // First, so that a stop during the start is not lost.
    let signals = signals()?;
    let mut config = configuration(args)?;
    let data_dir = config.node.data_dir.clone();
    let lock = preflight::lock(&data_dir)?;
    end_orphans(&data_dir, args.replace)?;
    if args.demo {
        choose_free_ports(&mut config)?;
    }
    preflight::runtime_dir(&config.node.runtime_dir)?;
    preflight::judge(&examine(&config))?;
    let file = config.node.runtime_dir.join("tandem.toml");
    endpoints::write_private(&file, &toml::to_string(&config)?)?;
    let mut up = Supervisor::new(args, config, &file, lock)?;
    let ended = up.run(&signals);
    up.stop(&signals);
    ended.map(|()| true)
}

/// The file, then the options.
fn configuration(args: &Args) -> Result<Config> {
    let mut config = match &args.config {
        Some(path) => crate::check::load(path)?,
        None => Config::default(),
    };
    if let Some(data_dir) = &args.data_dir {
        config.node.data_dir.clone_from(data_dir);
    }
    config.node.data_dir = std::path::absolute(&config.node.data_dir)?;
    if config.node.runtime_dir.as_os_str().is_empty() {
        config.node.runtime_dir = config.node.data_dir.join("run");
    }
    if let Some(http) = args.http {
        config.controlplane.http = http;
    }
    if let Some(sip) = args.sip {
        let first = config.dataplane.listener.first_mut();
        first.context("the configuration has no SIP listener")?.bind = sip;
        if let Some(media) = config.dataplane.media.first_mut()
            && media.bind.is_ipv4() != sip.is_ipv4()
        {
            media.bind = sip.ip();
        }
    }
    if let (Some(ports), Some(media)) = (args.media_ports, config.dataplane.media.first_mut()) {
        media.ports = ports;
    }
    if let Some(shards) = args.shards {
        config.dataplane.shards = shards;
    }
    if args.demo {
        for list in [&mut config.controlplane.webhook_allow, &mut config.controlplane.target_allow]
        {
            for network in ["127.0.0.0/8", "::1/128"] {
                if !list.iter().any(|known| known == network) {
                    list.push(network.to_owned());
                }
            }
        }
    }
    Ok(config)
}

/// The demo runs beside whatever holds the usual ports.
fn choose_free_ports(config: &mut Config) -> Result<()> {
    for listener in &mut config.dataplane.listener {
        if let Err(said) = port_free(Protocol::Udp, listener.bind) {
            listener.bind.set_port(free_port(Protocol::Udp, listener.bind.ip())?);
            eprintln!("{said}: SIP takes {} instead", listener.bind);
        }
    }
    let http = &mut config.controlplane.http;
    if let Err(said) = port_free(Protocol::Tcp, *http) {
        http.set_port(free_port(Protocol::Tcp, http.ip())?);
        eprintln!("{said}: the API takes {http} instead");
    }
    Ok(())
}

/// Processes without a supervisor hold the ports and the regions: they end first, or we do not
/// start.
fn end_orphans(data_dir: &Path, replace: bool) -> Result<()> {
    let left = preflight::orphans(data_dir);
    if left.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = left.iter().map(|(name, pid)| format!("{name} (pid {pid})")).collect();
    if !replace {
        let pids: Vec<String> = left.iter().map(|(_, pid)| pid.to_string()).collect();
        bail!(
            "the earlier supervisor of {} died, and its {} still carry calls: end them with \
             `kill {}`, or start \
             with --replace",
            data_dir.display(),
            list.join(" and "),
            pids.join(" ")
        );
    }
    for (name, pid) in left {
        eprintln!("ending {name} (pid {pid}) of the earlier supervisor");
        end_process(pid)?;
    }
    Ok(())
}

/// SIGTERM, and SIGKILL after the limit.
fn end_process(pid: u32) -> Result<()> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    for signal in [Signal::TERM, Signal::KILL] {
        let _ = pidfd_send_signal(&pidfd, signal);
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        if poll(&mut fds, Some(&timespec(STOP_LIMIT)))? > 0 {
            return Ok(());
        }
    }
    bail!("pid {} does not end", pid.as_raw_nonzero())
}

/// A socket that becomes readable with SIGINT or SIGTERM.
fn signals() -> Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

struct Supervisor {
    config: Config,
    /// Dataplane, then controlplane.
    children: [Child; 2],
    endpoints: Endpoints,
    announced: bool,
    _lock: File,
}

impl Supervisor {
    fn new(args: &Args, config: Config, file: &Path, lock: File) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own path")?;
        let beside = own.parent().map(Path::to_path_buf).unwrap_or_default();
        let bin_dir = args.bin_dir.clone().unwrap_or(beside);
        let logs = config.node.data_dir.join("log");
        std::fs::create_dir_all(&logs)?;
        let child = |name: &'static str| -> Result<Child> {
            let binary = bin_dir.join(format!("tandem-{name}"));
            if !binary.exists() {
                bail!(
                    "{} is not there: build it (`cargo build --release`), or say where it is with \
                     --bin-dir",
                    binary.display()
                );
            }
            Child::new(Spec {
                name,
                binary,
                args: vec!["--config".to_owned(), file.display().to_string()],
                log: (!args.log_here).then(|| logs.join(format!("{name}.log"))),
                notify: config.node.runtime_dir.join(format!("notify-{name}.sock")),
                watchdog: args.watchdog,
            })
        };
        let children = [child("dataplane")?, child("controlplane")?];
        let sip = config.dataplane.listener.first().context("no SIP listener")?;
        let endpoints = Endpoints {
            sip_address: sip.advertised.unwrap_or(sip.bind).to_string(),
            api_base: match config.controlplane.public_url.as_str() {
                "" => format!("http://{}", config.controlplane.http),
                url => url.trim_end_matches('/').to_owned(),
            },
            ..Endpoints::default()
        };
        Ok(Self { config, children, endpoints, announced: false, _lock: lock })
    }

    /// Until a signal, or until a child turns out to be unable to work.
    fn run(&mut self, signals: &UnixStream) -> Result<()> {
        loop {
            let now = mono();
            for at in 0..self.children.len() {
                self.attend(at, now)?;
            }
            if self.all_up() && !self.announced {
                self.announce()?;
            }
            if self.wait(signals)? {
                return Ok(());
            }
        }
    }

    fn all_up(&self) -> bool {
        self.children.iter().all(|child| matches!(child.state, State::Up(_)))
    }

    /// Hears, reaps, starts and watches one child.
    fn attend(&mut self, at: usize, now: u64) -> Result<()> {
        let child = &mut self.children[at];
        let name = child.spec.name;
        if child.hear(now) && child.starts > 1 {
            eprintln!("{name} is back (pid {})", child.pid().unwrap_or(0));
        }
        if let Some(status) = child.reap(now) {
            let words = child.last_words(12);
            eprintln!(
                "{name} ended: {status}{}",
                if words.is_empty() { "" } else { "; its last words:" }
            );
            if !words.is_empty() {
                eprintln!("{words}");
            }
            if !child.was_ready && child.starts >= FRUITLESS_STARTS_MAX {
                bail!(
                    "{name} does not start: it ended {FRUITLESS_STARTS_MAX} times before it was \
                     ready"
                );
            }
            self.publish()?;
        }
        let child = &mut self.children[at];
        if let State::Waiting(until) = child.state
            && now >= until
        {
            child.start(now)?;
            if child.starts > 1 {
                eprintln!(
                    "{name} started again (pid {}) with {} parked descriptors",
                    child.pid().unwrap_or(0),
                    child.store.len()
                );
            }
            self.publish()?;
        }
        let child = &self.children[at];
        if let Some(reason) = child.overdue(now) {
            eprintln!("{name} is ended: {reason}");
            child.signal(Signal::KILL);
        }
        Ok(())
    }

    /// Waits for anything to happen; true for a signal to stop.
    fn wait(&self, mut signals: &UnixStream) -> Result<bool> {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        for child in &self.children {
            fds.push(PollFd::new(&child.notify.socket, PollFlags::IN));
            if let Some(pidfd) = &child.pidfd {
                fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
            }
        }
        match poll(&mut fds, Some(&timespec(self.next_look()))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 16];
        Ok(signals.read(&mut bytes).is_ok_and(|count| count > 0))
    }

    fn next_look(&self) -> u64 {
        let now = mono();
        let until = |child: &Child| match child.state {
            State::Waiting(until) => until.saturating_sub(now),
            _ => 500 * MS,
        };
        self.children.iter().map(until).min().unwrap_or(MS).clamp(MS, 500 * MS)
    }

    /// Writes `endpoints.json` as it is now.
    fn publish(&mut self) -> Result<()> {
        self.endpoints.pids = Pids {
            supervisor: std::process::id(),
            dataplane: self.children[0].pid().unwrap_or(0),
            controlplane: self.children[1].pid().unwrap_or(0),
        };
        if self.endpoints.account_sid.is_empty() {
            let path = self.config.node.runtime_dir.join("first-account.json");
            let known = std::fs::read_to_string(path).ok();
            if let Some(first) = known.and_then(|t| serde_json::from_str::<FirstAccount>(&t).ok()) {
                self.endpoints.account_sid = first.account_sid;
                self.endpoints.auth_token = first.auth_token;
            }
        }
        self.endpoints.write(&self.config.node.data_dir)
    }

    fn announce(&mut self) -> Result<()> {
        self.announced = true;
        self.publish()?;
        let config = &self.config;
        let mut out = std::io::stdout().lock();
        writeln!(out, "The switch is up.")?;
        for child in &self.children {
            let pid = child.pid().unwrap_or(0);
            writeln!(out, "  {:<13} pid {pid} {}", child.spec.name, child.status)?;
        }
        if let Some(media) = config.dataplane.media.first() {
            let [first, last] = media.ports;
            writeln!(out, "  shards        {}", shards(config))?;
            writeln!(out, "  media ports   {first}-{last} on {}", media.bind)?;
        }
        writeln!(out, "  data          {}", config.node.data_dir.display())?;
        if self.endpoints.account_sid.is_empty() {
            writeln!(out, "  no account yet (node.first_account is empty)")?;
        } else {
            writeln!(out, "  AccountSid    {}", self.endpoints.account_sid)?;
            writeln!(out, "  AuthToken     {}", self.endpoints.auth_token)?;
        }
        writeln!(out, "  API           {}", self.endpoints.api_base)?;
        writeln!(out, "  SIP           sip:{}", self.endpoints.sip_address)?;
        out.flush()?;
        Ok(())
    }

    /// Dataplane first: it ends its calls, and the controlplane still books them.
    fn stop(&mut self, signals: &UnixStream) {
        eprintln!("stopping (again to stop at once)");
        for at in 0..self.children.len() {
            self.children[at].signal(Signal::TERM);
            let from = mono();
            while self.children[at].pid().is_some() {
                let again = self.wait(signals).unwrap_or(false);
                let now = mono();
                for child in &mut self.children {
                    child.hear(now);
                    child.reap(now);
                }
                if again || now.saturating_sub(from) > STOP_LIMIT {
                    eprintln!("{} does not end: killed", self.children[at].spec.name);
                    self.children[at].signal(Signal::KILL);
                }
            }
            self.children[at].state = State::Gone;
        }
        let _ = std::fs::remove_file(self.config.node.data_dir.join(FILE));
        for child in &self.children {
            let _ = std::fs::remove_file(&child.spec.notify);
        }
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / S).unwrap_or(0),
        tv_nsec: i64::try_from(ns % S).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_read() {
        assert_eq!(parse_ports("20000-29999"), Ok([20_000, 29_999]));
        assert!(parse_ports("29999-20000").is_err());
        assert!(parse_ports("20000").is_err());
    }
}
