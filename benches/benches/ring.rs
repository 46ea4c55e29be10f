//! The ring between the two processes (GOALS.md P8): what a hop takes between two pinned, awake
//! threads and between two processes, and how many events a second go through.
//!
//! A hop is half of a round trip of a 64-byte record: one side pushes and publishes, the other,
//! polling, pops and answers on a second ring. Two processes: this program runs itself again and
//! gives it two sealed memfds as standard input and output, each mapped by both sides (one writer
//! per page, as `wire::region` lays it out).

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;

use benches::nanos;
use wire::mapping;
use wire::region::{Region, Side, Sizes};
use wire::ring::{Consumer, Producer};

const LEGS: u32 = 64;
const HOPS: usize = 400_000;
const WARM: usize = 20_000;
const EVENTS: u64 = 20_000_000;
const RECORD: [u8; 64] = [0x5a; 64];

/// The two regions of one shard.
#[derive(Clone, Copy)]
struct Pair {
    data: Region<'static>,
    control: Region<'static>,
}

impl Pair {
    /// Events go this way ...
    fn events(&self) -> (Producer<'static>, Consumer<'static>) {
        let (slots, cursors) = (self.data.slots(), self.control.cursors());
        (Producer::join(slots, cursors), Consumer::join(slots, cursors))
    }

    /// ... and commands that.
    fn commands(&self) -> (Producer<'static>, Consumer<'static>) {
        let (slots, cursors) = (self.control.slots(), self.data.cursors());
        (Producer::join(slots, cursors), Consumer::join(slots, cursors))
    }
}

fn words(side: Side) -> io::Result<(std::os::fd::OwnedFd, &'static [AtomicU64])> {
    let fd = mapping::create_sealed("tandem-bench", Sizes::for_legs(LEGS).words(side))?;
    let words = mapping::map_shared(&fd, true)?;
    Ok((fd, words))
}

fn create() -> io::Result<(Pair, [std::os::fd::OwnedFd; 2])> {
    let sizes = Sizes::for_legs(LEGS);
    let ((data_fd, data), (control_fd, control)) =
        (words(Side::Dataplane)?, words(Side::Controlplane)?);
    let pair = Pair {
        data: Region::create(data, Side::Dataplane, sizes, 1),
        control: Region::create(control, Side::Controlplane, sizes, 1),
    };
    Ok((pair, [data_fd, control_fd]))
}

/// Answers every event with a command of the same bytes; an empty record ends it.
fn echo(mut events: Consumer<'_>, mut commands: Producer<'_>) {
    let mut buffer = vec![0; wire::ring::RECORD_BYTES_MAX];
    loop {
        let Ok(Some(record)) = events.pop(&mut buffer) else {
            std::hint::spin_loop();
            continue;
        };
        let is_end = record.is_empty();
        let _ = commands.push(record);
        commands.publish();
        events.release(events.position());
        if is_end {
            return;
        }
    }
}

/// Takes events until the last, then answers once.
fn drain(mut events: Consumer<'_>, mut commands: Producer<'_>) {
    let mut buffer = vec![0; wire::ring::RECORD_BYTES_MAX];
    let mut taken = 0;
    while taken < EVENTS {
        let mut in_batch = 0;
        while let Ok(Some(_)) = events.pop(&mut buffer) {
            taken += 1;
            in_batch += 1;
            if in_batch == 64 {
                break;
            }
        }
        if in_batch == 0 {
            std::hint::spin_loop();
        } else {
            events.release(events.position());
        }
    }
    let _ = commands.push(b"all");
    commands.publish();
}

/// Half of each round trip, in nanoseconds, sorted.
fn hops(pair: &Pair) -> Vec<u64> {
    let (mut events, mut commands) = (pair.events().0, pair.commands().1);
    let mut buffer = vec![0; wire::ring::RECORD_BYTES_MAX];
    let mut measured = Vec::with_capacity(HOPS);
    for turn in 0..WARM + HOPS {
        let start = nanos();
        let _ = events.push(&RECORD);
        events.publish();
        while !matches!(commands.pop(&mut buffer), Ok(Some(_))) {
            std::hint::spin_loop();
        }
        let end = nanos();
        commands.release(commands.position());
        if turn >= WARM {
            measured.push((end - start) / 2);
        }
    }
    let _ = events.push(b"");
    events.publish();
    while !matches!(commands.pop(&mut buffer), Ok(Some(_))) {}
    commands.release(commands.position());
    measured.sort_unstable();
    measured
}

/// Events per second, published in batches of up to 16 as a shard does once per breath.
fn rate(pair: &Pair) -> f64 {
    let (mut events, mut commands) = (pair.events().0, pair.commands().1);
    let mut buffer = vec![0; wire::ring::RECORD_BYTES_MAX];
    let start = nanos();
    let mut pushed = 0;
    while pushed < EVENTS {
        let mut in_batch = 0;
        while in_batch < 16 && pushed < EVENTS && events.push(&RECORD).is_ok() {
            pushed += 1;
            in_batch += 1;
        }
        events.publish();
        if in_batch == 0 {
            std::hint::spin_loop();
        }
    }
    while !matches!(commands.pop(&mut buffer), Ok(Some(_))) {
        std::hint::spin_loop();
    }
    commands.release(commands.position());
    EVENTS as f64 / ((nanos() - start) as f64 / 1e9)
}

fn report(name: &str, hops: &[u64], rate: f64) {
    let at = |per_mille: usize| hops[(hops.len() - 1) * per_mille / 1_000];
    println!("{name:<12}{:>10}{:>10}{:>10}{:>12.1}", at(500), at(990), at(999), rate / 1e6);
}

fn threads(cores: (usize, usize)) -> io::Result<(Vec<u64>, f64)> {
    let (pair, _fds) = create()?;
    let other = |work: fn(Consumer<'_>, Producer<'_>)| {
        let (events, commands) = (pair.events().1, pair.commands().0);
        std::thread::spawn(move || {
            benches::pin(cores.1);
            work(events, commands);
        })
    };
    let echoing = other(echo);
    let measured = hops(&pair);
    let _ = echoing.join();
    let draining = other(drain);
    let rate = rate(&pair);
    let _ = draining.join();
    Ok((measured, rate))
}

fn processes(cores: (usize, usize)) -> io::Result<(Vec<u64>, f64)> {
    let (pair, [data, control]) = create()?;
    let run = |role: &str| {
        Command::new(std::env::current_exe()?)
            .args(["--role", role, "--core", &cores.1.to_string()])
            .stdin(Stdio::from(data.try_clone()?))
            .stdout(Stdio::from(control.try_clone()?))
            .spawn()
    };
    let mut echoing = run("1")?;
    let measured = hops(&pair);
    echoing.wait()?;
    let mut draining = run("2")?;
    let rate = rate(&pair);
    draining.wait()?;
    Ok((measured, rate))
}

/// The other process: the regions are its standard input and output.
fn child(role: u64) -> io::Result<()> {
    let core = benches::option("--core").and_then(|core| usize::try_from(core).ok());
    benches::pin(core.unwrap_or(0));
    let open = |fd: std::os::fd::BorrowedFd<'_>, side| {
        let words = mapping::map_shared(fd, true)?;
        Region::open(words, side).map_err(io::Error::other)
    };
    let pair = Pair {
        data: open(io::stdin().as_fd(), Side::Dataplane)?,
        control: open(io::stdout().as_fd(), Side::Controlplane)?,
    };
    let (events, commands) = (pair.events().1, pair.commands().0);
    if role == 1 {
        echo(events, commands)
    } else {
        drain(events, commands)
    }
    Ok(())
}

fn main() -> io::Result<()> {
    if let Some(role) = benches::option("--role") {
        return child(role);
    }
    let cores = net::cpu::allowed();
    let [first, .., last] = cores[..] else {
        println!("ring: skipped, it needs two cores");
        return Ok(());
    };
    benches::pin(last);
    println!("ring: 64-byte records between cores {last} and {first}, both awake; hop in ns");
    println!("{:<12}{:>10}{:>10}{:>10}{:>12}", "", "median", "p99", "p99.9", "M events/s");
    let (measured, rate) = threads((last, first))?;
    report("threads", &measured, rate);
    let (measured, rate) = processes((last, first))?;
    report("processes", &measured, rate);
    println!("goal: median <= 500 ns, p99 <= 2,000 ns, 5 M events/s");
    Ok(())
}
