//! The clock: the one place of the controlplane that reads it. Through the vdso, no system call.

use base::{Mono, Now, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks, one after the other.
#[must_use]
pub fn sample() -> Now {
    let mono = nanos(clock_gettime(ClockId::Monotonic));
    let wall = nanos(clock_gettime(ClockId::Realtime));
    Now { mono: Mono(mono), wall: Wall(wall / 1_000) }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}
