//! The clock. Read once per breath, through the vdso: no system call.

use base::{Mono, Now, Wall};

/// Both clocks, one after the other (some tens of nanoseconds apart).
#[must_use]
pub fn sample() -> Now {
    let mono = read(libc::CLOCK_MONOTONIC);
    let wall = read(libc::CLOCK_REALTIME);
    Now { mono: Mono(nanos(mono)), wall: Wall(nanos(wall) / 1_000) }
}

/// The monotonic clock alone.
#[must_use]
pub fn mono() -> Mono {
    Mono(nanos(read(libc::CLOCK_MONOTONIC)))
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write into; the clocks asked for exist on every Linux,
    // so that the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

fn nanos(time: libc::timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_does_not_go_back_and_wall_is_this_century() {
        let first = sample();
        let second = sample();
        assert!(second.mono >= first.mono);
        assert!(first.wall.seconds() > 1_700_000_000);
    }
}
