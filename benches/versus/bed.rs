//! Namespaces, veth, NAPI threads, the traffic program, and the reading of schedstats.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use crate::Failure;

/// The generator's address, and those of the relays.
pub(crate) const PHONES: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const TANDEM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const MACS: [&str; 2] = ["02:00:00:00:77:01", "02:00:00:00:77:02"];
const GENERATOR_IF: &str = "tvg";
const RELAY_IF: &str = "tvs";
pub(crate) const GENERATOR_CORE: &str = "0";
pub(crate) const RELAY_CORE: &str = "1";
/// Ports of the legs' phones (traffic.h).
const PORT_FIRST: usize = 10_000;

/// What this run's namespaces are called.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) generator: String,
    pub(crate) relay: String,
    pid: u32,
}

impl Names {
    pub(crate) fn of(pid: u32) -> Self {
        Self { generator: format!("tv-gen-{pid}"), relay: format!("tv-sut-{pid}"), pid }
    }
}

/// Two namespaces joined by a veth; removed when dropped.
pub(crate) struct Namespaces(Names);

impl Namespaces {
    pub(crate) fn create(names: &Names) -> Result<Self, Failure> {
        let made = Self(names.clone());
        let (generator, relay) = (names.generator.as_str(), names.relay.as_str());
        ip(&["netns", "add", generator])?;
        ip(&["netns", "add", relay])?;
        let veth = ["link", "add", GENERATOR_IF, "netns", generator, "address", MACS[0]];
        let peer = ["type", "veth", "peer", "name", RELAY_IF, "netns", relay, "address", MACS[1]];
        ip(&[&veth[..], &peer[..]].concat())?;
        for (namespace, interface) in [(generator, GENERATOR_IF), (relay, RELAY_IF)] {
            let inside = |args: &[&str]| ip(&[&["-n", namespace], args].concat());
            inside(&["link", "set", "lo", "up"])?;
            inside(&["link", "set", interface, "up"])?;
        }
        let address = |namespace: &str, address: Ipv4Addr, interface: &str| {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", interface])
        };
        let neighbour = |namespace: &str, address: Ipv4Addr, mac: &str, interface: &str| {
            let to = ["neigh", "add", &address.to_string(), "lladdr", mac, "dev", interface];
            ip(&[&["-n", namespace], &to[..]].concat())
        };
        address(generator, PHONES, GENERATOR_IF)?;
        neighbour(relay, PHONES, MACS[0], RELAY_IF)?;
        for ours in [TANDEM, PEER] {
            address(relay, ours, RELAY_IF)?;
            neighbour(generator, ours, MACS[1], GENERATOR_IF)?;
        }
        Ok(made)
    }

    /// Runs this program again inside the generator's namespace.
    pub(crate) fn run_inside(&self, args: Vec<String>) -> Result<ExitStatus, Failure> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0.generator]).arg(std::env::current_exe()?);
        command.args(["--inside", &self.0.pid.to_string()]).args(args);
        Ok(command.status()?)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.0.generator, &self.0.relay] {
            if let Err(error) = ip(&["netns", "del", name]) {
                eprintln!("versus: {error}");
            }
        }
    }
}

fn ip(args: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("ip {}: {said}", args.join(" ")).into())
}

pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), Failure> {
    let status = Command::new(program).args(args).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program} {}", args.join(" ")).into()) }
}

/// What one run of traffic saw.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize)]
pub(crate) struct Run {
    pub(crate) offered: f64,
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) wrong_source: u64,
    pub(crate) wrong_length: u64,
    pub(crate) wrong_partner: u64,
    pub(crate) wrong_sequence: u64,
    pub(crate) rtcp: u64,
    pub(crate) latency_mean_us: f64,
    pub(crate) latency_p50_us: f64,
    pub(crate) latency_p99_us: f64,
    pub(crate) generator_busy: f64,
    pub(crate) bursts_cut: u64,
    /// CPU of the relay's threads and of its NAPI thread.
    #[serde(default)]
    pub(crate) cpu_nanos: u64,
    #[serde(default)]
    pub(crate) napi_nanos: u64,
}

impl Run {
    /// Share of the packets sent that did not come back, whatever the reason.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }

    pub(crate) fn rate(&self) -> f64 {
        self.received as f64 / self.seconds.max(1e-9)
    }
}

/// The traffic program at work, inside the generator's namespace.
pub(crate) struct Bed {
    pub(crate) names: Names,
    pub(crate) programs: PathBuf,
    pub(crate) scratch: PathBuf,
    realtime: bool,
    traffic: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    napi: u32,
}

impl Bed {
    /// `realtime`: relays run under SCHED_RR, for machines that others keep busy; a relay that is
    /// beyond its peak starves differently then.
    pub(crate) fn start(names: Names, realtime: bool) -> Result<Self, Failure> {
        let made = PathBuf::from(std::env::var("VERSUS_MADE")?);
        let programs = PathBuf::from(std::env::var("VERSUS_BIN")?);
        let scratch = std::env::temp_dir().join(format!("versus-{}", names.pid));
        fs::create_dir_all(&scratch)?;
        let traffic = made.join("traffic").to_string_lossy().into_owned();
        let napi =
            [(&names.generator, GENERATOR_IF), (&names.relay, RELAY_IF)].map(|(name, dev)| {
                ip(&["netns", "exec", name, &traffic, "gro", dev])?;
                let threaded = format!("echo 1 > /sys/class/net/{dev}/threaded");
                ip(&["netns", "exec", name, "sh", "-c", &threaded])?;
                napi_thread(dev)
            });
        // The sink's side looks for packets by its own timer, as a NIC does: what the relay sends
        // must not cost it a wake-up of another core.
        for (file, value) in [("gro_flush_timeout", "40000"), ("napi_defer_hard_irqs", "100000000")]
        {
            let set = format!("echo {value} > /sys/class/net/{GENERATOR_IF}/{file}");
            ip(&["netns", "exec", &names.generator, "sh", "-c", &set])?;
        }
        let [sink, napi] = napi;
        let (sink, napi) = (sink?, napi?);
        run("taskset", &["-p", "-c", GENERATOR_CORE, &sink.to_string()])?;
        run("taskset", &["-p", "-c", RELAY_CORE, &napi.to_string()])?;
        run("chrt", &["-f", "-p", "12", &sink.to_string()])?;
        if realtime {
            run("chrt", &["-r", "-p", "5", &napi.to_string()])?;
        } else {
            run("renice", &["-n", "-20", "-p", &napi.to_string()])?;
        }
        let object = made.join("traffic.bpf.o").to_string_lossy().into_owned();
        let mut child = Command::new("chrt")
            .args(["-f", "10", "taskset", "-c", GENERATOR_CORE, &traffic, GENERATOR_IF])
            .args([&PHONES.to_string(), MACS[0], MACS[1], &object])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe to the traffic program")?;
        let from = child.stdout.take().ok_or("no pipe from the traffic program")?;
        let mut from = BufReader::new(from);
        let mut ready = String::new();
        from.read_line(&mut ready)?;
        if ready.trim() != "ready" {
            return Err("the traffic program did not start".into());
        }
        Ok(Self { names, programs, scratch, realtime, traffic: child, to, from, napi })
    }

    /// How fast generator and sink are when nothing is between them but a program that sends every
    /// frame back where it came from.
    pub(crate) fn limit(&mut self) -> Result<f64, Failure> {
        let made = PathBuf::from(std::env::var("VERSUS_MADE")?);
        let mut reflector = Command::new("ip")
            .args(["netns", "exec", &self.names.relay])
            .arg(made.join("traffic"))
            .args(["reflect", RELAY_IF])
            .arg(made.join("traffic.bpf.o"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        if let Some(out) = reflector.stdout.take() {
            BufReader::new(out).read_line(&mut ready)?;
        }
        self.aim(0, &[SocketAddr::from((TANDEM, 9)); 2_000])?;
        let mut limit: f64 = 0.0;
        for rate in [0.5e6, 0.75e6, 1e6, 1.25e6, 1.5e6] {
            let run = self.run((0, 2_000), rate, 500)?;
            if run.loss() > crate::CLEAN && rate > 0.5e6 {
                break;
            }
            limit = limit.max(run.rate());
        }
        drop(reflector.stdin.take());
        reflector.wait()?;
        Ok(limit)
    }

    /// A command that runs a program in the relay's namespace on the relay's core.
    pub(crate) fn relay_command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        // A session of its own: niceness counts within a session's group (sched(7), autogroup).
        command.args(["netns", "exec", &self.names.relay, "setsid"]);
        let how = ["chrt", "-r", "5"];
        command.args(if self.realtime { how } else { ["nice", "-n", "-20"] });
        command.args(["taskset", "-c", RELAY_CORE, program]);
        command
    }

    /// Says where the legs from `first` on send.
    pub(crate) fn aim(&mut self, first: usize, targets: &[SocketAddr]) -> Result<(), Failure> {
        for (leg, target) in (first..).zip(targets) {
            writeln!(self.to, "leg {leg} {} {}", target.ip(), target.port())?;
        }
        Ok(self.to.flush()?)
    }

    /// Traffic over `legs` (first, count).
    pub(crate) fn run(
        &mut self,
        (first, count): (usize, usize),
        rate: f64,
        millis: u64,
    ) -> Result<Run, Failure> {
        writeln!(self.to, "run {first} {count} {rate} {millis}")?;
        self.to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The same, with what it cost process `pid` and the kernel's receive work.
    pub(crate) fn measure(
        &mut self,
        legs: (usize, usize),
        rate: f64,
        millis: u64,
        pid: u32,
    ) -> Result<Run, Failure> {
        let before = (threads_nanos(pid), thread_nanos(self.napi));
        let mut run = self.run(legs, rate, millis)?;
        let after = (threads_nanos(pid), thread_nanos(self.napi));
        run.napi_nanos = after.1 - before.1;
        run.cpu_nanos = after.0 - before.0 + run.napi_nanos;
        Ok(run)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.traffic.kill();
        let _ = self.traffic.wait();
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Gives a relay's whole session precedence over other work on the machine, where the kernel groups
/// by session; elsewhere its own niceness says it all.
pub(crate) fn prefer(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/autogroup"), "-20");
}

/// The media address of a leg's phone.
pub(crate) fn phone(leg: usize) -> SocketAddr {
    let port = u16::try_from(PORT_FIRST + 2 * leg).unwrap_or(0);
    SocketAddr::from((PHONES, port))
}

/// The thread that runs an interface's NAPI. Names of interfaces are those of one run at a time; of
/// several the youngest is ours.
fn napi_thread(interface: &str) -> Result<u32, Failure> {
    let prefix = format!("napi/{interface}-");
    let mut found = None;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            found = found.max(Some(pid));
        }
    }
    found.ok_or_else(|| format!("{interface} has no NAPI thread").into())
}

/// The kernel's receive work on the relay's core, as a thread that is pinned there.
pub(crate) fn receive_thread(names: &Names) -> Result<u32, Failure> {
    for (namespace, interface) in [(&names.generator, GENERATOR_IF), (&names.relay, RELAY_IF)] {
        ip(&["netns", "exec", namespace, "ethtool", "-K", interface, "gro", "on"])?;
        let threaded = format!("echo 1 > /sys/class/net/{interface}/threaded");
        ip(&["netns", "exec", namespace, "sh", "-c", &threaded])?;
    }
    let threads = [(GENERATOR_IF, GENERATOR_CORE), (RELAY_IF, RELAY_CORE)];
    let [_, receiver] = threads.map(|(interface, core)| {
        let thread = napi_thread(interface)?;
        run("taskset", &["-p", "-c", core, &thread.to_string()])?;
        run("renice", &["-n", "-20", "-p", &thread.to_string()])?;
        Ok::<_, Failure>(thread)
    });
    receiver
}

/// CPU nanoseconds of a process's threads.
pub(crate) fn threads_nanos(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.map(|task| schedstat(&task.path().join("schedstat"))).sum()
}

pub(crate) fn thread_nanos(pid: u32) -> u64 {
    schedstat(&PathBuf::from(format!("/proc/{pid}/schedstat")))
}

fn schedstat(path: &std::path::Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}
