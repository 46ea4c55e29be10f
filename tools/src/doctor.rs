//! `tandem doctor`: is this machine fit for the switch? One line per thing, and what to do about
//! it.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use config::Config;
use config::capacity::Capacity;

use crate::system::{self, Finding, Level, read};

/// Socket buffers that a burst of SIP needs.
const RMEM_WANTED: u64 = 4 << 20;

/// Calls a second that a shard's limits should carry.
const RATE_WANTED: u64 = 2_000;

/// Arguments of `tandem doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Examine for this configuration; default: the defaults
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// `tandem doctor`; false if anything forbids the switch.
///
/// # Errors
/// The configuration cannot be read.
pub fn main(args: &Args) -> Result<bool> {
    let config = match &args.config {
        Some(path) => crate::check::load(path)?,
        None => Config::default(),
    };
    let mut all = crate::up::examine(&config);
    all.extend([processors(&config), standing_calls(&config), call_rate(&config)]);
    all.extend([clock_source(), receive_buffers(), container()]);
    all.extend(unprivileged_bpf());
    all.extend(interfaces());
    let mut worst = Level::Ok;
    for finding in &all {
        println!("{finding}");
        worst = worst.max(finding.level);
    }
    println!(
        "{}",
        match worst {
            Level::Ok => "This machine is fit.",
            Level::Warn => "This machine will do; see WARN.",
            Level::Fail => "This machine will not do; see FAIL.",
        }
    );
    Ok(worst < Level::Fail)
}

fn processors(config: &Config) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = usize::from(crate::up::shards(config));
    let found = format!("{cores} cores, {shards} shards");
    if shards >= cores && cores > 1 {
        let cure = "leave a core to the controlplane: dataplane.shards below the number of cores";
        return Finding::warn("processors", found, cure);
    }
    if cores == 1 {
        let cure = "two cores at least keep billing and webhooks off the packets' core";
        return Finding::warn("processors", found, cure);
    }
    Finding::ok("processors", found)
}

/// How many calls can stand at once, and what binds.
fn standing_calls(config: &Config) -> Finding {
    let Capacity { calls, bound, legs, pairs, .. } = system::capacity(config);
    let found = format!(
        "{calls} relayed calls, bound by {bound} ({legs} legs a shard, {pairs} pairs of media ports)"
    );
    Finding::ok("standing calls", found)
}

/// How many calls a second the limits give.
fn call_rate(config: &Config) -> Finding {
    let capacity = system::capacity(config);
    let (short, long) = (capacity.rate_of(10), capacity.rate_of(180));
    let found = format!(
        "{short} calls/s of 10 s, {long} of 3 minutes; transactions are remembered for their whole \
         time up to {} calls/s",
        capacity.calls_per_second
    );
    let shards = u64::from(crate::up::shards(config));
    if capacity.calls_per_second >= RATE_WANTED * shards {
        return Finding::ok("call rate", found);
    }
    let cure = "dataplane.limits.transactions: 64 for each call a second of a shard";
    Finding::warn("call rate", found, cure)
}

fn clock_source() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = read(path).unwrap_or_else(|| "unknown".to_owned());
    match source.as_str() {
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter" => {
            Finding::ok("clock", source)
        }
        _ => Finding::warn(
            "clock",
            format!("{source}: each look at it may be a system call"),
            "boot with clocksource=tsc where the processor keeps it stable",
        ),
    }
}

fn receive_buffers() -> Finding {
    let most = read("/proc/sys/net/core/rmem_max").and_then(|text| text.parse::<u64>().ok());
    match most {
        Some(most) if most < RMEM_WANTED => Finding::warn(
            "receive buffers",
            format!("net.core.rmem_max is {most}: a burst of SIP may be lost"),
            format!("sysctl -w net.core.rmem_max={RMEM_WANTED}"),
        ),
        Some(most) => Finding::ok("receive buffers", format!("net.core.rmem_max is {most}")),
        None => Finding::warn("receive buffers", "net.core.rmem_max cannot be read", ""),
    }
}

fn container() -> Finding {
    match system::container() {
        Some(kind) => Finding::warn(
            "container",
            format!("runs inside {kind}"),
            "io_uring, real-time limits and port ranges are the host's to allow; use the host's \
             network for media",
        ),
        None => Finding::ok("container", "none"),
    }
}

/// Whether the reuseport program that spreads SIP over shards may be loaded.
fn unprivileged_bpf() -> Option<Finding> {
    let off = read("/proc/sys/kernel/unprivileged_bpf_disabled")?;
    let root = rustix::process::geteuid().is_root();
    Some(if off == "0" || root {
        Finding::ok("BPF", if root { "allowed (root)" } else { "allowed" })
    } else {
        Finding::warn(
            "BPF",
            format!("kernel.unprivileged_bpf_disabled={off}: the kernel's own hash spreads SIP"),
            "harmless; give the dataplane CAP_BPF to spread by Call-ID",
        )
    })
}

/// Drivers and queues of the machine's own interfaces.
fn interfaces() -> Vec<Finding> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(driver) = fs::read_link(entry.path().join("device/driver")) else { continue };
        let driver =
            driver.file_name().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
        let queues = fs::read_dir(entry.path().join("queues")).map_or(0, |queues| {
            queues.flatten().filter(|q| q.file_name().to_string_lossy().starts_with("rx-")).count()
        });
        let mtu = read(&format!("/sys/class/net/{name}/mtu")).unwrap_or_default();
        let state = read(&format!("/sys/class/net/{name}/operstate")).unwrap_or_default();
        let found = format!("{name}: driver {driver}, {queues} receive queues, MTU {mtu}, {state}");
        all.push(Finding::ok("interface", found));
    }
    all
}
