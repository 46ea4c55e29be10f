//! `versus kamailio`: the same calls, set up and hung up, through this switch (a B2BUA that sets up
//! media and meters, both of its processes) and through a stateful proxy that does neither.
//!
//! ```text
//!   namespace tv-gen-PID, core 0       veth        namespace tv-sut-PID, core 1
//!   phones (this program) ---------> tvg == tvs --> NAPI thread, whoever has the turn
//! ```
//!
//! A call is INVITE, 100, 180, 200, ACK, a moment, BYE, 200. Cost = CPU of all threads of the
//! switch's processes and of the kernel's receive work on their core, per call. All are up all the
//! time and take turns at the same rates.

mod kamailio;
mod phones;
pub(crate) mod registrar;
mod switch;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bed::{self, Names, RELAY_CORE};
use crate::{Failure, Options};
use phones::{Line, Placed};

/// Part of the calls that may fail where a rate counts as clean.
const CLEAN: f64 = 0.005;
const WARM_CALLS: u64 = 2_000;
const RATE_FIRST: f64 = 500.0;
const RATE_MAX: f64 = 20_000.0;

/// Whoever carries calls. Dropping it ends its processes.
trait Carrier {
    fn name(&self) -> &'static str;
    /// All of its processes.
    fn pids(&self) -> Vec<u32>;
    /// Those that carry messages: ours books calls in another one.
    fn carrying(&self) -> Vec<u32>;
    fn line(&mut self) -> &mut Line;
}

/// One run of one carrier.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Cost {
    rate: f64,
    calls: usize,
    failed: usize,
    /// Nanoseconds: of its processes, and of the kernel's receive work.
    processes: u64,
    /// Of those that carry messages alone.
    carrying: u64,
    receive: u64,
    /// From INVITE to its 200, microseconds.
    p50_us: f64,
    p99_us: f64,
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn each_us(&self) -> f64 {
        (self.processes + self.receive) as f64 / 1e3 / self.calls.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn carried_us(&self) -> f64 {
        (self.carrying + self.receive) as f64 / 1e3 / self.calls.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn is_clean(&self) -> bool {
        self.failed as f64 <= CLEAN * self.calls as f64
    }
}

/// Inside the generator's namespace: beside the proxy.
pub(crate) fn measure(names: &Names, options: &Options) -> Result<(), Failure> {
    in_place(names, |napi, scratch| compare((names, napi), options, scratch))
}

/// Everything in its place: the kernel's receive work and this program on their cores, and a folder
/// that is removed again.
fn in_place(
    names: &Names,
    run: impl FnOnce(u32, &Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let napi = bed::receive_thread(names)?;
    let own = std::process::id().to_string();
    bed::run("taskset", &["-a", "-p", "-c", bed::GENERATOR_CORE, &own])?;
    let scratch = std::env::temp_dir().join(format!("versus-{own}"));
    fs::create_dir_all(&scratch)?;
    let done = run(napi, &scratch);
    fs::remove_dir_all(&scratch)?;
    done
}

fn compare((names, napi): (&Names, u32), options: &Options, scratch: &Path) -> Result<(), Failure> {
    let mut carriers: Vec<Box<dyn Carrier>> = vec![
        Box::new(switch::Switch::start(names, scratch)?),
        Box::new(kamailio::Kamailio::start(names, scratch)?),
    ];
    for carrier in &mut carriers {
        let warm = carrier.line().place(RATE_FIRST, WARM_CALLS)?;
        println!("{}: {} of {WARM_CALLS} calls to warm it", carrier.name(), warm.done());
        if warm.done() == 0 {
            return Err(format!("{} carries no call", carrier.name()).into());
        }
    }
    let rate = options.rate.unwrap_or(1_000.0);
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); carriers.len()];
    for round in 0..options.rounds {
        for (carrier, costs) in carriers.iter_mut().zip(&mut costs) {
            let cost = run(carrier.as_mut(), napi, rate, options.millis)?;
            line(&format!("round {round}: {}", carrier.name()), &cost);
            costs.push(cost);
        }
    }
    let mut peaks = Vec::new();
    for carrier in &mut carriers {
        peaks.push(peak(carrier.as_mut(), napi, options.millis)?);
    }
    report(&carriers, &costs, &peaks);
    if let Some(path) = &options.json {
        let names = carriers.iter().map(|carrier| carrier.name());
        let all: Vec<_> = names.zip(costs.iter().zip(&peaks)).collect();
        fs::write(path, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

fn run(carrier: &mut dyn Carrier, napi: u32, rate: f64, millis: u64) -> Result<Cost, Failure> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let calls = (rate * millis as f64 / 1e3) as u64;
    let used = |carrier: &dyn Carrier| {
        let sum = |pids: Vec<u32>| pids.into_iter().map(bed::threads_nanos).sum::<u64>();
        (sum(carrier.pids()), sum(carrier.carrying()), bed::thread_nanos(napi))
    };
    let before = used(carrier);
    let placed = carrier.line().place(rate, calls)?;
    let after = used(carrier);
    Ok(Cost {
        rate,
        calls: placed.calls,
        failed: placed.calls - placed.done(),
        processes: after.0.saturating_sub(before.0),
        carrying: after.1.saturating_sub(before.1),
        receive: after.2.saturating_sub(before.2),
        p50_us: placed.percentile(50),
        p99_us: placed.percentile(99),
    })
}

/// The highest rate that is clean, to 5 %; three tries at each.
fn peak(carrier: &mut dyn Carrier, napi: u32, millis: u64) -> Result<Cost, Failure> {
    let mut clean = |rate: f64| -> Result<Option<Cost>, Failure> {
        for _ in 0..3 {
            let cost = run(carrier, napi, rate, millis)?;
            if cost.is_clean() {
                return Ok(Some(cost));
            }
            // What is left of it ends.
            std::thread::park_timeout(core::time::Duration::from_secs(1));
        }
        Ok(None)
    };
    let Some(mut best) = clean(RATE_FIRST)? else {
        return Err(format!("not even {RATE_FIRST} calls/s are clean").into());
    };
    let (mut low, mut high) = (RATE_FIRST, RATE_FIRST * 1.5);
    while high < RATE_MAX {
        let Some(cost) = clean(high)? else { break };
        best = cost;
        (low, high) = (high, high * 1.5);
    }
    while high / low > 1.05 {
        let middle = (low + high) / 2.0;
        match clean(middle)? {
            Some(cost) => (best, low) = (cost, middle),
            None => high = middle,
        }
    }
    Ok(best)
}

fn line(what: &str, cost: &Cost) {
    println!(
        "{what}: {:.0} calls/s, {:.1} us a call, {:.1} without booking \
         ({} of {} failed), answered after {:.2} ms, p99 \
         {:.2} ms",
        cost.rate,
        cost.each_us(),
        cost.carried_us(),
        cost.failed,
        cost.calls,
        cost.p50_us / 1e3,
        cost.p99_us / 1e3,
    );
}

fn report(carriers: &[Box<dyn Carrier>], costs: &[Vec<Cost>], peaks: &[Cost]) {
    type Each = fn(&Cost) -> f64;
    let least = |costs: &[Cost], of: Each| costs.iter().map(of).fold(f64::INFINITY, f64::min);
    let median = |costs: &[Cost]| {
        let mut all: Vec<f64> = costs.iter().map(Cost::each_us).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("\n| | us of core {RELAY_CORE} a call, least | median | without booking | calls/s |");
    println!("|---|---|---|---|---|");
    for (carrier, (costs, peak)) in carriers.iter().zip(costs.iter().zip(peaks)) {
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.0} |",
            carrier.name(),
            least(costs, Cost::each_us),
            median(costs),
            least(costs, Cost::carried_us),
            peak.rate
        );
    }
    let [ours, theirs] = [&costs[0], &costs[1]];
    println!(
        "\na call of theirs costs {:.2} x one of ours (least of each), {:.2} x without what books \
         ours (GOALS: 4); calls/s: {:.2} x",
        least(theirs, Cost::each_us) / least(ours, Cost::each_us),
        least(theirs, Cost::carried_us) / least(ours, Cost::carried_us),
        peaks[0].rate / peaks[1].rate,
    );
}

/// A command that runs a program in the relay's namespace on its core.
fn command(names: &Names, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &names.relay, "setsid", "nice", "-n", "-20"]);
    command.args(["taskset", "-c", RELAY_CORE, program]);
    command
}

/// All children of a process, and theirs.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    family
}

/// Ends a process in order; it ends those that it has begun.
fn end(child: &mut std::process::Child) {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let _ = child.wait();
}

impl Placed {
    fn done(&self) -> usize {
        self.answered_us.len()
    }
}
