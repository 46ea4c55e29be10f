//! `tandem up`: starts both processes, keeps what they park, brings back what dies, and says where
//! everything is.
//!
//! One thread, one poll: the children's notify sockets, their pidfds, and the signals. The children
//! do not depend on it: they go on when it dies, and only a clean stop ends them.

/// A line for people on stderr. Unlike `say!` it survives a terminal that is gone.
macro_rules! say {
    ($($word:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($word)*);
    }};
}

mod child;
mod development;
mod endpoints;
mod log;
mod notify;
mod preflight;
mod supervisor;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use config::{Config, Grant, Trunk};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::Signal;

use crate::clock::{S, parse_duration};
use crate::demo::{codecs, strangers, trunks};
use crate::system::{Protocol, free_port, port_free};
use child::STOP_LIMIT;
pub use endpoints::{Endpoints, FILE, Pids};
pub(crate) use preflight::{examine, media_ports, shards};
use supervisor::Supervisor;

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
    /// Allow every tenant any number, domain, caller and source network, webhooks and SIP targets
    /// on loopback, route static.demo.invalid and
    /// strangers.demo.invalid to demonstrations' phones there, and take other ports where the usual
    /// ones are busy
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
    // Nothing that we or our children make is for others.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut config = configuration(args)?;
    let data_dir = config.node.data_dir.clone();
    let lock = preflight::lock(&data_dir)?;
    let file = config.node.runtime_dir.join("tandem.toml");
    end_orphans(&data_dir, &file, args.replace)?;
    if args.demo {
        choose_free_ports(&mut config)?;
    }
    preflight::runtime_dir(&config.node.runtime_dir)?;
    preflight::judge(&examine(&config))?;
    development::make(&config)?;
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
        let first = config.dataplane.listener.first().map(|listener| listener.bind);
        let first = first.context("the configuration has no SIP listener")?;
        // Those of the same address, such as TCP beside UDP, go with it.
        let same = config.dataplane.listener.iter_mut().filter(|it| it.bind == first);
        same.for_each(|listener| listener.bind = sip);
        // TLS that stands beside them stays there.
        let beside = |it: SocketAddr| SocketAddr::new(it.ip(), it.port().saturating_add(1));
        let next = config.dataplane.listener.iter_mut().filter(|it| it.bind == beside(first));
        next.for_each(|listener| listener.bind = beside(sip));
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
        config.grant.push(demo_grant());
        say!(
            "--demo: any tenant may take any number and domain, show any caller and take calls \
             from any network; webhooks and SIP targets may be on loopback"
        );
        if !config.controlplane.first_account.is_empty() {
            config.trunk.push(demo_trunk("demo", codecs::TRUNK_HOST, codecs::TRUNK_TARGET));
            let (host, target) = (strangers::TRUNK_HOST, strangers::TRUNK_TARGET);
            config.trunk.push(demo_trunk("strangers", host, target));
            for (priority, target) in (1..).zip(trunks::TRUNK_TARGETS) {
                let trunk = demo_trunk(&format!("demo-{priority}"), trunks::TRUNK_HOST, target);
                let health_s = trunks::HEALTH_S;
                config.trunk.push(Trunk { priority, health_s, ..trunk });
            }
        }
    }
    Ok(config)
}

/// Everything to everybody.
fn demo_grant() -> Grant {
    Grant {
        account: "*".to_owned(),
        numbers: vec!["*".to_owned()],
        domains: vec!["*".to_owned()],
        any_caller: true,
        source_bits_v4: Some(0),
        source_bits_v6: Some(0),
        ..Grant::default()
    }
}

/// A static route on loopback, for demonstrations.
fn demo_trunk(name: &str, domain: &str, target: SocketAddr) -> Trunk {
    Trunk {
        profile: config::Profile::None,
        codecs: Vec::new(),
        digest: config::Digest::Any,
        srtp: config::Srtp::Off,
        body_parts: false,
        listener: String::new(),
        name: name.to_owned(),
        account: String::new(),
        domain: domain.to_owned(),
        prefix: String::new(),
        // The rest of loopback are strangers.
        sources: vec![strangers::HONEST.to_owned()],
        tls_clients: Vec::new(),
        trusted: None,
        targets: vec![base::Target::udp(target)],
        host: String::new(),
        strip: 0,
        prepend: String::new(),
        rate_max: 0,
        calls_max: 0,
        ring_s: 60,
        media: wire::table::MediaSources::default(),
        signalling: wire::table::SignallingSources::default(),
        tls_name: String::new(),
        username: String::new(),
        password: config::Secret::default(),
        realm: String::new(),
        transfer: false,
        dtmf: wire::table::Digits::default(),
        failover: vec![408, 500, 501, 502, 503, 504],
        redirect: wire::policy::Redirect::default(),
        redirect_allow: Vec::new(),
        health_s: 0,
        priority: 0,
        weight: 0,
        cost: 0,
        hours: Vec::new(),
        utc_offset_min: 0,
        country: String::new(),
        caller_strip: 0,
        caller_prepend: String::new(),
        anonymous: config::Anonymous::default(),
        reliable: wire::table::ReliableRinging::default(),
        session_timer: true,
        early_media: wire::table::EarlyMedia::default(),
        register: false,
        register_contact: String::new(),
        register_s: 600,
        unregister: false,
    }
}

/// The demo runs beside whatever holds the usual ports.
fn choose_free_ports(config: &mut Config) -> Result<()> {
    let mut listeners = config.dataplane.listener.clone();
    for at in 0..listeners.len() {
        let old = listeners[at].bind;
        let Err(said) = port_free(Protocol::of(listeners[at].transport), old) else { continue };
        // Those of the same address stay together.
        let same = listeners.iter().filter(|it| it.bind == old).map(|it| it.transport);
        let transports: Vec<_> = same.collect();
        let new = (0..64)
            .map(|_| free_port(Protocol::Udp, old.ip()).map(|port| SocketAddr::new(old.ip(), port)))
            .find(|new| {
                let free = |new: SocketAddr| {
                    transports.iter().all(|it| port_free(Protocol::of(*it), new).is_ok())
                };
                new.as_ref().is_ok_and(|new| free(*new))
            })
            .context("no port is free")??;
        listeners.iter_mut().filter(|it| it.bind == old).for_each(|it| it.bind = new);
        say!("{said}: SIP takes {new} instead");
    }
    config.dataplane.listener = listeners;
    let http = &mut config.controlplane.http;
    if let Err(said) = port_free(Protocol::Tcp, *http) {
        http.set_port(free_port(Protocol::Tcp, http.ip())?);
        say!("{said}: the API takes {http} instead");
    }
    Ok(())
}

/// Processes without a supervisor hold the ports and the regions: they end first, or we do not
/// start.
fn end_orphans(data_dir: &Path, file: &Path, replace: bool) -> Result<()> {
    let left = preflight::orphans(data_dir, file);
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
        say!("ending {name} (pid {pid}) of the earlier supervisor");
        end_process(pid, || preflight::is_ours(pid, name, data_dir, file))?;
    }
    Ok(())
}

/// SIGTERM, and SIGKILL after the limit, if the process is still the one that was meant.
fn end_process(pid: u32, is_meant: impl Fn() -> bool) -> Result<()> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    // The pid may have been given to another since it was looked at; the pidfd cannot.
    if !is_meant() {
        return Ok(());
    }
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
