//! `versus`: the same relayed calls through this switch and through other ones (GOALS.md, "How the
//! packet figures were taken").
//!
//! ```text
//!   namespace tv-gen-PID, core 0        veth         namespace tv-sut-PID, core 1
//!   traffic: XDP live frames ---------> tvg == tvs --> NAPI thread, tandem or a peer
//!            XDP sink  <--------------- NAPI thread <-- (whoever has the turn)
//! ```
//!
//! Both ends of the veth run threaded NAPI, pinned; so the kernel's receive work on the relay's
//! core is a thread with its own schedstat. Cost = CPU of the relay's threads and of that thread,
//! per packet delivered. All contenders are up all the time, have their calls set up, and take
//! turns at the same rate: the highest at which the first peer is clean.
//!
//! Everything measured runs at nice -20 (`--realtime`: under SCHED_RR), so that other work on the
//! machine disturbs little; the generator and the sink run under SCHED_FIFO on their core.
#![forbid(unsafe_code)]

mod bed;
mod calls;
mod contender;
mod report;
mod rtpengine;
mod tandem;

use std::process::ExitCode;

use bed::{Bed, Run};
use contender::Contender;
use report::{Row, Table};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Loss up to which a rate counts as clean.
const CLEAN: f64 = 0.005;
const PEERS: [&str; 1] = ["rtpengine"];
/// The peer whose calls are compared, not its packets.
const PROXY: &str = "kamailio";
/// No peer: what registrations cost.
const REGISTRAR: &str = "registrar";

struct Options {
    peers: Vec<String>,
    rounds: usize,
    calls: usize,
    millis: u64,
    json: Option<String>,
    rate: Option<f64>,
    realtime: bool,
    /// Calls that are set up, beside a proxy.
    by_calls: bool,
    /// Phones that register.
    registers: bool,
}

fn main() -> ExitCode {
    let inside = std::env::args().nth(1).is_some_and(|arg| arg == "--inside");
    let done = if inside { measure() } else { outside() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the namespaces, runs itself inside, removes them whatever happens.
fn outside() -> Result<(), Failure> {
    options(std::env::args().skip(1))?;
    let names = bed::Names::of(std::process::id());
    let namespaces = bed::Namespaces::create(&names)?;
    let status = namespaces.run_inside(std::env::args().skip(1).collect())?;
    drop(namespaces);
    if status.success() { Ok(()) } else { Err("the measurement failed".into()) }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        peers: Vec::new(),
        rounds: 5,
        calls: 1_000,
        millis: 2_000,
        json: None,
        rate: None,
        realtime: false,
        by_calls: false,
        registers: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failure::from(format!("{arg} needs a value")));
        match arg.as_str() {
            "--quick" => (options.rounds, options.millis) = (2, 1_000),
            "--realtime" => options.realtime = true,
            "--rounds" => options.rounds = value()?.parse()?,
            "--calls" => options.calls = value()?.parse()?,
            "--rate" => options.rate = Some(value()?.parse()?),
            "--json" => options.json = Some(value()?),
            PROXY => options.by_calls = true,
            REGISTRAR => options.registers = true,
            peer if PEERS.contains(&peer) => options.peers.push(arg),
            _ => {
                let peers = PEERS.join(" ");
                return Err(
                    format!("unknown argument {arg}; peers: {peers} {PROXY}; {REGISTRAR}").into()
                );
            }
        }
    }
    if options.peers.is_empty() {
        options.peers = PEERS.iter().map(|peer| (*peer).to_owned()).collect();
    }
    if options.calls == 0 || options.calls > 2_000 || options.rounds == 0 {
        return Err("--calls is 1 to 2000, --rounds at least 1".into());
    }
    Ok(options)
}

/// Inside the generator's namespace.
fn measure() -> Result<(), Failure> {
    let parent: u32 = std::env::args().nth(2).unwrap_or_default().parse()?;
    let options = options(std::env::args().skip(3))?;
    if options.by_calls {
        return calls::measure(&bed::Names::of(parent), &options);
    }
    if options.registers {
        return calls::registrar::measure(&bed::Names::of(parent), &options);
    }
    let mut bed = Bed::start(bed::Names::of(parent), options.realtime)?;
    let limit = bed.limit()?;
    println!("generator and sink alone: {:.0} k packets/s through an XDP reflector", limit / 1e3);
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(tandem::Tandem::start(&bed)?)];
    for peer in &options.peers {
        match peer.as_str() {
            "rtpengine" => contenders.push(Box::new(rtpengine::Rtpengine::start(&bed)?)),
            _ => return Err(format!("no peer {peer}").into()),
        }
    }
    for (index, contender) in contenders.iter_mut().enumerate() {
        let first = index * options.calls * 2;
        let targets = contender.set_up(options.calls, first)?;
        bed.aim(first, &targets)?;
        println!("{}: {} calls set up", contender.name(), options.calls);
    }
    let legs = |index: usize| (index * options.calls * 2, options.calls * 2);
    // Sources are learned and locked, caches and tables are warm.
    for _ in 0..2 {
        for index in 0..contenders.len() {
            bed.run(legs(index), 50_000.0, 2_000)?;
        }
    }
    let mut table = Table::new(&options.peers, options.calls, limit);
    let mut peaks = Vec::new();
    for (index, contender) in contenders.iter().enumerate() {
        let peak = peak(&mut bed, legs(index), options.millis / 2)?;
        println!("{}: clean up to {:.0} k packets/s", contender.name(), peak / 1e3);
        peaks.push(peak);
    }
    let rate = options.rate.or_else(|| peaks.get(1).copied()).unwrap_or(peaks[0]);
    table.rate = rate;
    for round in 0..options.rounds {
        for (index, contender) in contenders.iter().enumerate() {
            let run = bed.measure(legs(index), rate, options.millis, contender.pid())?;
            report::line(round, contender.name(), &run);
            table.add(contender.name(), run);
        }
        // Ours again, at its own peak: what it costs when it is the one that is full.
        let run = bed.measure(legs(0), peaks[0], options.millis, contenders[0].pid())?;
        report::line(round, OWN_PEAK, &run);
        table.add(OWN_PEAK, run);
    }
    for (row, peak) in contenders.iter().zip(&peaks) {
        table.peak(row.name(), *peak, row.memory());
    }
    table.print();
    if let Some(path) = &options.json {
        std::fs::write(path, table.json())?;
    }
    Ok(())
}

const OWN_PEAK: &str = "tandem at its peak";

/// The highest rate at which no more than [`CLEAN`] is lost, to 3 %.
fn peak(bed: &mut Bed, legs: (usize, usize), millis: u64) -> Result<f64, Failure> {
    let mut clean = |rate: f64| -> Result<bool, Failure> {
        // The machine stalls now and then: a rate is clean if one of three tries is.
        for _ in 0..3 {
            if bed.run(legs, rate, millis)?.loss() <= CLEAN {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let (mut low, mut high) = (50_000.0, 100_000.0);
    while clean(high)? && high < 1_500_000.0 {
        (low, high) = (high, high * 1.5);
    }
    while high / low > 1.03 {
        let middle = (low + high) / 2.0;
        if clean(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}

impl Row {
    fn cost(run: &Run) -> f64 {
        run.cpu_nanos as f64 / run.received.max(1) as f64
    }
}
