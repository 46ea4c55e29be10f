//! `tandem demo full-disk`: a switch whose disk is filled under calls, and freed again.
//!
//! ```text
//!   a file system of 64 MiB of its own, a switch on it
//!   calls                                              answered, billed
//!   calls that stand; the disk is filled to the byte   new calls: 503, /healthz says why
//!   the standing calls end                             heard to their end, BYE answered
//!   the disk is freed                                  service is back by itself
//!   calls                                              answered; ledger = CDRs = talk, for all
//! ```
//!
//! The file system is mounted in a user and mount namespace; where that may not be, the
//! demonstration says so and shows nothing.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::relay::{Number, number, settle, usage};
use crate::app::{App, Service, dial};
use crate::clock::{MS, S, mono};
use crate::load::{self, Hangup, Plan, Report, Signalling};
use crate::rest::Rest;
use crate::system::{Protocol, free_port};
use crate::up::Endpoints;

const SIZE: &str = "size=64m";
/// Segments have their size from the start: small ones are full soon.
const CONFIG: &str = "[controlplane.journal]\nsegment_bytes = 65536\n";
const CALLS: u64 = 10;
/// How long anything may take to be seen.
const SEEN_MAX: u64 = 45 * S;
const STOP_MAX: Duration = Duration::from_secs(20);

/// Where the file system is.
#[derive(Clone, Debug, clap::Args)]
pub struct Disk {
    /// This process is in namespaces of its own, and may mount a file system here (full-disk)
    #[arg(long, hide = true)]
    pub mount: Option<PathBuf>,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    match &args.full_disk.mount {
        Some(at) => inside(at),
        None => outside(&args.data_dir),
    }
}

/// Starts this program again where it may mount.
fn outside(data_dir: &Path) -> Result<bool> {
    let flags = ["--user", "--map-root-user", "--mount"];
    let mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"];
    let trial = Command::new("unshare").args(flags).args(mount).output();
    let why = match trial {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    if let Some(why) = why {
        println!("Nothing is shown: no file system can be mounted in a namespace here ({why}).");
        return Ok(true);
    }
    let at = data_dir.join("small-disk");
    std::fs::create_dir_all(&at).with_context(|| at.display().to_string())?;
    let status = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe()?)
        .args(["demo", "full-disk", "--mount"])
        .arg(std::fs::canonicalize(&at)?)
        .status()?;
    let _ = std::fs::remove_dir(&at);
    Ok(status.success())
}

fn inside(at: &Path) -> Result<bool> {
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(at).status()?;
    if !mount.success() {
        bail!("{} cannot be mounted on", at.display());
    }
    let switch = Switch::start(at)?;
    let rest = Rest::new(&switch.endpoints);
    let faults = show(&switch, &rest, at);
    switch.stop()?;
    let faults = faults?;
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if faults.is_empty() {
        println!(
            "Refused while nothing could be written, back by itself, and no second lost: ledger = \
             CDRs = talk time."
        );
    }
    Ok(faults.is_empty())
}

/// A switch on the small disk.
struct Switch {
    up: Child,
    endpoints: Endpoints,
}

impl Switch {
    fn start(at: &Path) -> Result<Self> {
        let (config, data) = (at.join("tandem.toml"), at.join("data"));
        std::fs::write(&config, CONFIG)?;
        let mut up = Command::new(std::env::current_exe()?)
            .args(["up", "--demo", "--shards", "1", "--data-dir"])
            .arg(&data)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let began = mono();
        loop {
            if let Some(status) = up.try_wait()? {
                bail!("the switch on the small disk did not start: {status}");
            }
            match Endpoints::read(&data) {
                Ok(endpoints) if !endpoints.account_sid.is_empty() => {
                    return Ok(Self { up, endpoints });
                }
                _ if mono() - began > SEEN_MAX => {
                    let _ = up.kill();
                    bail!("the switch on the small disk is not ready");
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.up), Signal::TERM)?;
        let began = mono();
        while self.up.try_wait()?.is_none() {
            if Duration::from_nanos(mono() - began) > STOP_MAX {
                self.up.kill()?;
                self.up.wait()?;
                bail!("the switch on the small disk does not stop");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The story above; what was not as it tells.
fn show(switch: &Switch, rest: &Rest, at: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let sip: SocketAddr = switch.endpoints.sip_address.parse().context("no sip_address")?;
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stage = |ring: u64| -> Result<(App, Number, Plan)> {
        let callee = SocketAddr::new(host, free_port(Protocol::Udp, host)?);
        let service =
            Service { document: dial(&format!("sip:callee@{callee}")), ..Service::default() };
        let app = App::start(SocketAddr::new(host, 0), service)?;
        let number = number(rest, &app)?;
        let plan = Plan { ring, ..plan(sip, &number, callee) };
        Ok((app, number, plan))
    };
    let (_app, billed, calls) = stage(0)?;
    let (_beside, _, probe) = stage(0)?;
    let before = usage(rest)?;
    let mut talked = Talked::default();

    let first = load::run(calls.clone(), &AtomicBool::new(false))?;
    say(&mut faults, "Before", &first, CALLS);
    talked.add(&first);

    let standing = Plan { rate: 5.0, duration: 12 * S, run: load::new_run(), ..calls.clone() };
    let stands = std::thread::spawn(move || load::run(standing, &AtomicBool::new(false)));
    std::thread::sleep(Duration::from_secs(3));
    let ballast = at.join("ballast");
    fill(&ballast);
    println!("{CALLS} calls stand, and the disk is full.");
    faults.extend(refused(&probe, &at.join("more"))?);
    faults.extend(expect_health(rest, "no new calls")?);
    let ended = stands.join().map_err(|_| anyhow!("the standing calls' thread died"))??;
    say(&mut faults, "Standing", &ended, CALLS);
    talked.add(&ended);

    let freed = mono();
    for path in [ballast, at.join("more")] {
        std::fs::remove_file(path)?;
    }
    faults.extend(expect_health(rest, "ok")?);
    println!("The disk is freed; service was back after {:.1} s.", seconds(mono() - freed));
    let last = load::run(Plan { run: load::new_run(), ..calls }, &AtomicBool::new(false))?;
    say(&mut faults, "After", &last, CALLS);
    talked.add(&last);

    let report = talked.report();
    let bill = settle(rest, &billed, &report)?;
    println!("{}", bill.table());
    // The calls beside were answered as long as there was room: the account's sums hold them too.
    let after = usage(rest)?;
    if after.values().sum::<f64>() <= before.values().sum::<f64>() {
        faults.push("the account's usage did not grow".to_owned());
    }
    faults.extend(bill.judge_legs(&report));
    Ok(faults)
}

/// Calls are refused while the disk is kept full; what is wrong with that.
fn refused(probe: &Plan, more: &Path) -> Result<Option<String>> {
    let began = mono();
    let seen = loop {
        fill(more);
        let probe = Plan { run: load::new_run(), ..probe.clone() };
        let seen = load::run(probe, &AtomicBool::new(false))?;
        if seen.answered() == 0 || mono() - began > SEEN_MAX {
            break seen;
        }
    };
    let codes = seen.caller.as_ref().map(|caller| caller.failed.clone()).unwrap_or_default();
    println!("{CALLS} calls beside them: {} answered, refused by code: {codes:?}", seen.answered());
    let is_right = codes.get(&503) == Some(&CALLS);
    Ok((!is_right).then(|| "new calls were not refused by 503 while the disk was full".to_owned()))
}

/// What several runs talked.
#[derive(Default)]
struct Talked {
    caller: Signalling,
    callee: Signalling,
}

impl Talked {
    fn add(&mut self, report: &Report) {
        for (sum, role) in [(&mut self.caller, &report.caller), (&mut self.callee, &report.callee)]
        {
            let Some(role) = role else { continue };
            sum.attempted += role.attempted;
            sum.answered += role.answered;
            sum.talk_seconds += role.talk_seconds;
        }
    }

    fn report(self) -> Report {
        Report { caller: Some(self.caller), callee: Some(self.callee), ..Report::default() }
    }
}

fn plan(sip: SocketAddr, number: &Number, callee: SocketAddr) -> Plan {
    Plan {
        run: load::new_run(),
        to: format!("sip:{}@{sip}", number.phone),
        from: format!("sip:{}@{sip}", number.caller),
        target: sip,
        bind: SocketAddr::new(sip.ip(), 0),
        callee: Some(callee),
        calls_placed: true,
        rate: 10.0,
        ramp: 0,
        calls: CALLS,
        concurrent: 1_000,
        duration: 500 * MS,
        media: true,
        hangup: Hangup::Caller,
        cancel_after: None,
        answer_timeout: 10 * S,
        headers: Vec::new(),
        ring: 0,
        reject: None,
        no_answer: false,
        drop_per_10k: 0,
        progress: false,
    }
}

fn say(faults: &mut Vec<String>, when: &str, report: &Report, expected: u64) {
    let lost: u64 = report.directions.iter().map(|direction| direction.lost).sum();
    let answered = report.answered();
    println!("{when}: {answered} of {expected} calls answered, {lost} packets lost");
    if answered != expected || report.faults() > 0 {
        faults.push(format!("{when}: {answered} of {expected} calls, {} faults", report.faults()));
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let Ok(mut file) = File::options().create(true).append(true).open(path) else { return };
    for size in [1 << 16, 1 << 12, 1] {
        let chunk = vec![0x5a; size];
        while file.write_all(&chunk).is_ok() {}
    }
}

/// `/healthz` says this within a while; what it says else.
fn expect_health(rest: &Rest, words: &str) -> Result<Option<String>> {
    let began = mono();
    loop {
        let text = rest.text("/healthz")?;
        if text.contains(words) {
            println!("/healthz: {}", text.trim());
            return Ok(None);
        }
        if mono() - began > SEEN_MAX {
            return Ok(Some(format!("/healthz does not say \"{words}\" but {text:?}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
const fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
