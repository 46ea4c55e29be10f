//! `tandem-dataplane`: configuration -> plan -> regions -> listeners -> one thread per shard ->
//! link.
//!
//! ```text
//!   main            reads, checks, opens everything that needs privileges, starts the threads;
//!                   then feeds the service manager's watchdog while every shard's pulse is fresh
//!   link thread     waits for the controlplane, exchanges descriptors, tells the shards
//!   shard threads   breathe (see `breath`), and touch nothing that another thread touches
//! ```
//!
//! Whichever way the process ends, why stands in its log: a thread's error or panic ends `main`,
//! and nothing leaves before the log's own thread has written what it holds.
#![forbid(unsafe_code)]

mod breath;
mod certificates;
mod epoch;
mod link;
mod park;
mod plan;
mod tables;
mod tls;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::Config;
use wire::counter::{Counter, Counters};
use wire::region::{Region, Side};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the main thread looks at the shards.
const WATCH: Duration = Duration::from_millis(200);
/// A shard whose pulse is older than this is stuck.
const PULSE_MAX: Duration = Duration::from_secs(3);
/// What a stop waits for calls to be ended properly.
const STOP_MAX: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    // Before anything else opens a descriptor.
    let inherited = net::notify::inherited();
    let (config, text) = match configuration() {
        Ok(config) => config,
        Err(message) => {
            // Standard error may be a file on a full disk.
            let _ = writeln!(std::io::stderr(), "tandem-dataplane: {message}");
            return ExitCode::from(2);
        }
    };
    let writer = start_log(&config);
    let outcome = run(&config, &text, inherited);
    if let Err(error) = &outcome {
        tracing::error!("ends: {error}");
    }
    // What is queued is written before we leave.
    drop(writer);
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A shard's thread, with why it ended.
type ShardThread = std::thread::JoinHandle<Result<(), Failure>>;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run(
    config: &Config,
    config_path: &Path,
    inherited: Vec<(String, std::os::fd::OwnedFd)>,
) -> Result<(), Failure> {
    let notify = net::notify::Notify::from_env()?;
    let mut plan = plan::EnginePlan::new(config)?;
    plan.raise_descriptors()?;
    if !net::cpu::forbid_core() {
        tracing::warn!("a core dump of this process would have its keys and credentials");
    }
    tracing::info!(
        config = %config_path.display(),
        shards = plan.shards,
        legs = plan.limits.legs,
        footprint_mib = plan.footprint() >> 20,
        "starting"
    );
    let parked = park::Parked::open(&mut plan, inherited, &notify)?;
    let listeners = parked.listeners;
    let certificates = certificates::Certificates::new(config, plan.shards, parked.certificates)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let bells = Arc::new(parked.bells);
    let team = breath::Team::new(plan.shards);
    let mut threads: Vec<Option<ShardThread>> = Vec::new();
    for (shard, sockets) in (0..plan.shards).zip(listeners) {
        let life = breath::Life {
            plan: plan.for_shard(shard),
            driver: plan.driver(shard),
            cpu: plan.cpu(shard),
            region: parked.regions[usize::from(shard)].words,
            epoch: parked.epoch,
            sockets,
            bells: Arc::clone(&bells),
            team: team.member(shard),
            tls: plan.tls(certificates.queue(shard)),
            stop: Arc::clone(&stop),
        };
        let builder = std::thread::Builder::new().name(format!("shard-{shard}"));
        threads.push(Some(builder.spawn(move || life.run())?));
    }
    let attach = team.attach_queues();
    let lobby = link::Lobby::new(
        &plan,
        (&parked.regions, parked.epoch),
        Arc::clone(&bells),
        attach,
        certificates,
    )?;
    std::thread::Builder::new().name("link".to_owned()).spawn(move || lobby.serve())?;
    let pulses: Vec<_> = parked.regions.iter().map(|region| region.words).collect();
    watch(&notify, &pulses, &stop, &mut threads)?;
    tracing::info!("stopping");
    tell(notify.stopping());
    bells.shards.iter().for_each(net::Doorbell::ring);
    for (shard, thread) in threads.into_iter().enumerate() {
        let ended = thread.map(ended_by).unwrap_or_default();
        if let Some(why) = ended {
            return Err(format!("shard {shard} failed while stopping: {why}").into());
        }
    }
    Ok(())
}

/// Waits for the thread's end: why, if not because it was told to.
fn ended_by(thread: ShardThread) -> Option<String> {
    match thread.join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("a fault of ours (panic): {}", said.unwrap_or("it says nothing")))
        }
    }
}

/// Waits for the stop; feeds the watchdog only while every shard breathes.
fn watch(
    notify: &net::notify::Notify,
    regions: &[&'static [std::sync::atomic::AtomicU64]],
    stop: &AtomicBool,
    threads: &mut [Option<ShardThread>],
) -> Result<(), Failure> {
    let mut ready = false;
    let mut stale = false;
    let mut told_ports = false;
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(WATCH);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // A shard that was told to stop may be done before we look: that is no fault.
        if let Some(why) = ended_early(threads).filter(|_| !stop.load(Ordering::Relaxed)) {
            return Err(why.into());
        }
        let now = net::clock::mono();
        let silent: Vec<usize> =
            (0..regions.len()).filter(|shard| !is_fresh(regions[*shard], now)).collect();
        let fresh = silent.is_empty();
        let has_ports = regions.iter().all(|words| spare_ports(words) > 0);
        if fresh && !ready && !has_ports && !told_ports {
            told_ports = true;
            tracing::warn!("no media port can be opened yet: not ready before one can");
            tell(notify.status("waits for a media port that can be opened"));
        }
        if fresh && !ready && has_ports {
            ready = true;
            tell(notify.ready());
            tracing::info!("ready");
        }
        if fresh {
            tell(notify.watchdog());
        } else if ready && !stale {
            tracing::error!(shards = ?silent, "these shards stand still; the watchdog is not fed");
        }
        stale = !fresh;
    }
    Ok(())
}

/// Why the first shard that has ended did, if one has.
fn ended_early(threads: &mut [Option<ShardThread>]) -> Option<String> {
    let is_over = |thread: &Option<ShardThread>| {
        thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
    };
    let shard = threads.iter().position(is_over)?;
    let why = threads[shard].take().and_then(ended_by);
    Some(format!("shard {shard} ended: {}", why.as_deref().unwrap_or("without a reason")))
}

fn is_fresh(words: &'static [std::sync::atomic::AtomicU64], now: base::Mono) -> bool {
    let Ok(region) = Region::open(words, Side::Dataplane) else { return false };
    let pulse = base::Mono(region.pulse().load(Ordering::Relaxed));
    pulse.0 != 0 && now.since(pulse) < PULSE_MAX
}

fn spare_ports(words: &'static [std::sync::atomic::AtomicU64]) -> u64 {
    let Ok(region) = Region::open(words, Side::Dataplane) else { return 0 };
    Counters::read(region.counters()).get(Counter::PortSpare)
}

/// A service manager that is gone costs nothing: calls go on without it.
fn tell(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!("the service manager does not hear us: {error}");
    }
}

/// `--config FILE` (default: the built-in configuration), `--data-dir DIR`.
fn configuration() -> Result<(Config, PathBuf), String> {
    let mut path = None;
    let mut data_dir = None;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from);
        match argument.to_str() {
            Some("--config") => path = value(),
            Some("--data-dir") => data_dir = value(),
            Some("--version") => {
                println!("tandem-dataplane {}", env!("CARGO_PKG_VERSION"));
                std::process::exit(0);
            }
            Some("--help" | "-h") => {
                println!("usage: tandem-dataplane [--config FILE] [--data-dir DIR]");
                std::process::exit(0);
            }
            _ => return Err(format!("unknown argument {}; see --help", argument.display())),
        }
    }
    let text = match &path {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        None => String::new(),
    };
    let path = path.unwrap_or_default();
    let mut config = config::load(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(data_dir) = data_dir {
        config.node.data_dir = data_dir;
    }
    Ok((config, path))
}

/// Lines are written by a thread of their own: a disk that stalls must not hold up a shard. While
/// the guard lives; what is still queued is written when it goes.
fn start_log(config: &Config) -> tracing_appender::non_blocking::WorkerGuard {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.level)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let json = match config.log.format.as_str() {
        "json" => true,
        "text" => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if json {
        log.json().init();
    } else {
        log.with_target(false).init();
    }
    guard
}
