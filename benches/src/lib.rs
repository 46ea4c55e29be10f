//! What the benches share: an allocator that counts, a clock, rounds with their minimum and median,
//! and a shard fed from memory ([`bed`]).
//!
//! Each target under `benches/` measures one stratum: `cargo bench -p benches --bench NAME`. The
//! minimum of the rounds is the figure to compare, because such machines switch between two speeds
//! for seconds at a time; the median is shown beside it.
#![forbid(unsafe_code)]

pub mod bed;
pub mod directed;
pub mod peer;

use alloc_counter::{AllocCounter, count_alloc};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: AllocCounter<MiMalloc> = AllocCounter(MiMalloc);

/// Allocations and reallocations of the calling thread while `work` runs.
pub fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let ((allocations, reallocations, _), result) = count_alloc(work);
    (allocations + reallocations, result)
}

/// Monotonic nanoseconds: for what takes two threads.
#[must_use]
pub fn nanos() -> u64 {
    net::clock::mono().0
}

/// Nanoseconds of CPU that the calling thread has used: what other work on the machine disturbs
/// least. Reading it is a system call of some 200 ns.
#[must_use]
pub fn cpu_nanos() -> u64 {
    // Not rustix's: its own vdso lookup does not survive valgrind.
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    let Ok(time) = nix::time::clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// A measured quantity over rounds.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The smallest; NaN without rounds.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The median; NaN without rounds.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// CPU nanoseconds per call of `work`: `rounds` rounds of `each` calls.
pub fn time(rounds: usize, each: u32, mut work: impl FnMut()) -> Rounds {
    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let start = cpu_nanos();
        for _ in 0..each {
            work();
        }
        measured.push((cpu_nanos() - start) as f64 / f64::from(each));
    }
    measured
}

/// Pins the calling thread to the last core it may use, where disturbance is least.
pub fn pin_last() {
    if let Some(core) = net::cpu::allowed().last() {
        pin(*core);
    }
}

/// Pins the calling thread, or says aloud that it could not.
pub fn pin(core: usize) {
    if let Err(error) = net::cpu::pin(core) {
        eprintln!("not pinned to core {core}: {error}");
    }
}

/// The value after `--name` on the command line, as a number.
#[must_use]
pub fn option(name: &str) -> Option<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)?.parse().ok()
}

/// Whether `--name` is on the command line.
#[must_use]
pub fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// What HTTP's Basic scheme makes of a name and its password (RFC 7617).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3)
            .fold(0_u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = usize::try_from(word >> (18 - 6 * at) & 63).unwrap_or(0);
            text.push(if at <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}
