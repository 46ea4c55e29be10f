//! `tandem load`: places and answers SIP calls with RTP, and judges what comes through.
//!
//! ```text
//!   caller thread --INVITE--> what is tested --INVITE--> callee thread
//!        ^  \____________ RTP: who, which, when ____________/  ^
//!        +---------- accounts of legs, matched by content -----+
//! ```
//!
//! Both roles run in one process (the callee's account then tells what became of the caller's last
//! packet), or apart with `--uac` and `--uas`. Every packet says which stream it is of, its number
//! and when it was sent, so that loss, copies, order, mixed-up calls and one-way delay are seen
//! through the switch, whatever it does with RTP headers.

mod call;
mod callee;
mod caller;
mod dialog;
mod kernel;
mod media;
mod payload;
mod plan;
mod record;
mod report;
mod role;
mod schedule;
mod socket;
mod totals;
mod track;
mod wheel;

use std::io::{IsTerminal, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

pub use plan::{Hangup, Plan};
pub use report::{Direction, Report, Signalling, render};
use role::{Outcome, Role, Shared};

use crate::clock::{S, parse_duration};

/// What clap takes for a line break stands here with a style reset inside, which nobody sees.
const TO_HELP: &str =
    "URI to dial, `sip:+15550100@127.0.0.1:5060`; {\u{1b}[0mn} is the number of the call";
const FROM_HELP: &str = "From URI; {\u{1b}[0mn} is the number of the call";

/// Arguments of `tandem load`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, required_unless_present = "uas", help = TO_HELP)]
    pub to: Option<String>,
    /// Where INVITEs go, ADDRESS:PORT; default: the host of --to
    #[arg(long)]
    pub target: Option<SocketAddr>,
    #[arg(long, default_value = "sip:+15550001@tandem-load", help = FROM_HELP)]
    pub from: String,
    /// Address (and port) of the caller; default: as the callee's or the target's family on
    /// loopback
    #[arg(long)]
    pub bind: Option<SocketAddr>,
    /// SIP address of the callee in this process
    #[arg(long, default_value = "127.0.0.1:5090")]
    pub callee: SocketAddr,
    /// Call only: the callee is elsewhere
    #[arg(long, conflicts_with = "uas")]
    pub uac: bool,
    /// Answer only, until --calls calls or Ctrl-C
    #[arg(long)]
    pub uas: bool,
    /// Calls per second; 0: as fast as --concurrent allows
    #[arg(long, short, default_value_t = 10.0)]
    pub rate: f64,
    /// Time in which the rate grows from 0
    #[arg(long, default_value = "0", value_parser = parse_duration)]
    pub ramp: u64,
    /// Calls in all; 0: until Ctrl-C
    #[arg(long, short = 'n', default_value_t = 100)]
    pub calls: u64,
    /// Calls at a time; calls that are due and must wait for it are told as held back, and fail the
    /// run
    #[arg(long, short = 'c', default_value_t = 1_000)]
    pub concurrent: usize,
    /// Talk time of a call
    #[arg(long, short, default_value = "5s", value_parser = parse_duration)]
    pub duration: u64,
    /// No RTP
    #[arg(long)]
    pub no_rtp: bool,
    /// Who hangs up
    #[arg(long, value_enum, default_value_t = Hangup::Caller)]
    pub hangup: Hangup,
    /// Cancel this long after the first provisional response
    #[arg(long, value_parser = parse_duration)]
    pub cancel_after: Option<u64>,
    /// Cancel if not answered within
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub answer_timeout: u64,
    /// Header line of the INVITE, `Name: value`; may be repeated
    #[arg(long = "header", short = 'H')]
    pub headers: Vec<String>,
    /// The callee rings this long
    #[arg(long, default_value = "0", value_parser = parse_duration)]
    pub ring: u64,
    /// The callee refuses with this code
    #[arg(long, value_parser = clap::value_parser!(u16).range(300..700))]
    pub reject: Option<u16>,
    /// The callee rings for ever
    #[arg(long)]
    pub no_answer: bool,
    /// Percentage of SIP datagrams lost on purpose, each way and role
    #[arg(long, default_value_t = 0.0)]
    pub drop_sip: f64,
    /// Fail above this loss in any direction, percent
    #[arg(long)]
    pub max_loss: Option<f64>,
    /// Fail below this share of answered calls, percent
    #[arg(long)]
    pub min_answered: Option<f64>,
    /// Fail above this share of calls that did not come about, percent
    #[arg(long)]
    pub max_failed: Option<f64>,
    /// Fail above this 99th percentile of one-way delay, milliseconds
    #[arg(long)]
    pub max_delay_p99_ms: Option<f64>,
    /// Write the report as JSON to a file, `-` for standard output instead of the tables
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// No progress lines
    #[arg(long, short)]
    pub quiet: bool,
}

/// `tandem load`.
///
/// # Errors
/// The run could not be made. That it missed a threshold is `Ok(false)`.
pub fn main(args: &Args) -> Result<bool> {
    let plan = plan(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let report = run(plan, &stop)?;
    match &args.json {
        Some(path) if path.as_os_str() == "-" => {
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Some(path) => {
            print!("{}", render(&report));
            std::fs::write(path, serde_json::to_string_pretty(&report)?)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        None => print!("{}", render(&report)),
    }
    let missed = missed(args, &report);
    for line in &missed {
        eprintln!("FAILED: {line}");
    }
    Ok(missed.is_empty())
}

/// Thresholds that were not met. Each stands alone.
fn missed(args: &Args, report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let share = |part: u64| part as f64 * 100.0 / report.attempted().max(1) as f64;
    let answered = share(report.answered());
    if let Some(least) = args.min_answered.filter(|least| answered < *least) {
        missed.push(format!("{answered:.2} % of the calls were answered, less than {least} %"));
    }
    let failed = share(report.failed());
    if let Some(most) = args.max_failed.filter(|most| failed > *most) {
        missed.push(format!("{failed:.2} % of the calls failed, more than {most} %"));
    }
    let loss = report.loss_percent_max();
    if let Some(most) = args.max_loss.filter(|most| loss > *most) {
        missed.push(format!("{loss:.3} % lost, more than {most} %"));
    }
    let delay = report.directions.iter().map(|d| d.delay_p99_ms).fold(0.0, f64::max);
    if let Some(most) = args.max_delay_p99_ms.filter(|most| delay > *most) {
        missed.push(format!("delay p99 is {delay:.3} ms, more than {most} ms"));
    }
    let hears = args.max_loss.is_some() || args.max_delay_p99_ms.is_some();
    if hears && report.faults() > 0 {
        missed.push(format!("{} packets or legs corrupt, mixed up or silent", report.faults()));
    }
    if hears && !args.no_rtp && report.answered() > 0 && report.directions.is_empty() {
        missed.push("no stream was heard".to_owned());
    }
    if report.held_back() > 0 {
        missed.push(format!(
            "{} calls were held back by --concurrent {}: they were not offered at the rate asked for",
            report.held_back(),
            args.concurrent
        ));
    }
    missed
}

fn plan(args: &Args) -> Result<Plan> {
    if !(0.0..=100.0).contains(&args.drop_sip) {
        bail!("--drop-sip is a percentage");
    }
    let to = args.to.clone().unwrap_or_else(|| "sip:none@127.0.0.1".to_owned());
    let target = match args.target {
        Some(target) => target,
        None => dialog::address_of(to.replace("{n}", "1").as_bytes()).with_context(|| {
            format!("`{to}` names no IP address: say where to send with --target ADDRESS:PORT")
        })?,
    };
    let any: IpAddr = match target.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => local_ip_to(target)?,
        IpAddr::V6(_) => local_ip_to(target)?,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
    let drop_per_10k = (args.drop_sip * 100.0) as u32;
    Ok(Plan {
        run: new_run(),
        to,
        from: args.from.clone(),
        target,
        bind: args.bind.unwrap_or_else(|| SocketAddr::new(any, 0)),
        callee: (!args.uac).then_some(args.callee),
        calls_placed: !args.uas,
        rate: args.rate,
        ramp: args.ramp,
        calls: args.calls,
        concurrent: args.concurrent,
        duration: args.duration,
        media: !args.no_rtp,
        hangup: args.hangup,
        cancel_after: args.cancel_after,
        answer_timeout: args.answer_timeout,
        headers: args.headers.clone(),
        ring: args.ring,
        reject: args.reject,
        no_answer: args.no_answer,
        drop_per_10k,
        progress: !args.quiet && std::io::stderr().is_terminal(),
    })
}

/// The address that the kernel would send from.
fn local_ip_to(target: SocketAddr) -> Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target).with_context(|| format!("{target} cannot be reached"))?;
    Ok(socket.local_addr()?.ip())
}

/// A number that names this run; not 0.
#[must_use]
pub fn new_run() -> u32 {
    let mixed =
        crate::clock::wall().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
    u32::try_from(mixed >> 33).unwrap_or(0) | 1
}

/// Carries a plan out; `stop` ends it early, properly.
///
/// # Errors
/// A socket cannot be had.
pub fn run(plan: Plan, stop: &AtomicBool) -> Result<Report> {
    raise_descriptor_limit();
    let drops = kernel::Drops::now();
    let plan = Arc::new(plan);
    let shared = Arc::new(Shared::default());
    let callee = plan.callee.map(socket::bind_sip).transpose()?;
    let caller = plan.calls_placed.then(|| socket::bind_sip(plan.bind)).transpose()?;
    if let Some(callee) = callee.as_ref().filter(|_| !plan.calls_placed) {
        eprintln!("answering at {}", callee.local_addr()?);
    }
    let spawn = |name: &str, is_callee: bool, socket: Option<UdpSocket>| -> Result<Thread> {
        let Some(socket) = socket else { return Ok(None) };
        let (plan, shared) = (Arc::clone(&plan), Arc::clone(&shared));
        let role = move || Role::new(plan, shared, is_callee, socket)?.run();
        Ok(Some(std::thread::Builder::new().name(name.to_owned()).spawn(role)?))
    };
    let callee = spawn("callee", true, callee)?;
    let caller = spawn("caller", false, caller)?;
    watch(&plan, &shared, stop, &[&caller, &callee]);
    let join = |thread: Thread| -> Result<Option<Outcome>> {
        thread.map(|thread| thread.join().map_err(|_| anyhow!("the load thread died"))?).transpose()
    };
    // The callee must not outlive a caller that failed.
    let caller = join(caller).inspect_err(|_| shared.stop());
    shared.caller_done.store(plan.calls_placed, Ordering::Release);
    let callee = join(callee)?;
    let mut limits = shared.limits();
    limits.extend(drops.since());
    Ok(report::build(caller?, callee, limits))
}

type Thread = Option<std::thread::JoinHandle<Result<Outcome>>>;

/// Prints progress and passes the stop on until a role has ended.
fn watch(plan: &Plan, shared: &Shared, stop: &AtomicBool, threads: &[&Thread]) {
    let mut last = crate::clock::mono();
    while threads.iter().all(|t| t.as_ref().is_none_or(|t| !t.is_finished())) {
        std::thread::sleep(Duration::from_millis(20));
        if stop.load(Ordering::Relaxed) {
            shared.stop();
        }
        if plan.progress && crate::clock::mono().saturating_sub(last) >= S {
            last = crate::clock::mono();
            let get = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
            let _ = writeln!(
                std::io::stderr(),
                "  {} calls placed, {} answered, {} failed, {} stand, {} packets sent",
                get(&shared.attempted),
                get(&shared.answered),
                get(&shared.failed),
                get(&shared.live),
                get(&shared.packets)
            );
        }
    }
}

/// A leg is a socket.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        let words = ["load", "--to", "sip:a@127.0.0.1"].into_iter().chain(line.split_whitespace());
        Line::parse_from(words).args
    }

    fn report() -> Report {
        let caller = Signalling {
            attempted: 100,
            answered: 90,
            failed: [(503, 9)].into(),
            unanswered: 1,
            ..Signalling::default()
        };
        let direction = Direction { loss_percent: 2.0, delay_p99_ms: 30.0, ..Direction::default() };
        let directions = vec![direction];
        Report { caller: Some(caller), directions, ..Report::default() }
    }

    #[test]
    fn each_threshold_stands_alone() {
        let report = report();
        let lines = [
            ("", 0),
            ("--min-answered 95", 1),
            ("--min-answered 90", 0),
            ("--max-failed 9", 1),
            ("--max-failed 10", 0),
            ("--max-loss 1", 1),
            ("--max-loss 2", 0),
            ("--max-delay-p99-ms 20", 1),
            ("--max-delay-p99-ms 40", 0),
            ("--max-failed 0 --max-delay-p99-ms 1", 2),
        ];
        for (line, expected) in lines {
            assert_eq!(missed(&args(line), &report).len(), expected, "{line}");
        }
    }

    #[test]
    fn a_run_that_was_held_back_is_no_success() {
        let mut report = report();
        report.caller.as_mut().unwrap().held_back = 3;
        assert!(missed(&args("-c 40"), &report)[0].contains("--concurrent 40"));
    }

    #[test]
    fn the_help_shows_how_the_number_of_the_call_is_written() {
        use clap::CommandFactory as _;
        let help = Line::command().render_long_help().to_string();
        assert_eq!(help.matches("{n} is the number of the call").count(), 2, "{help}");
    }
}
