//! The clock: the one place of the controlplane that reads it. Through the vdso, no system call.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use base::{Mono, Now, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks, one after the other.
#[must_use]
pub fn sample() -> Now {
    let mono = nanos(clock_gettime(ClockId::Monotonic));
    let wall = nanos(clock_gettime(ClockId::Realtime));
    Now { mono: Mono(mono), wall: Wall(wall / 1_000) }
}

/// A clock that was set ahead by more is believed only when it has stood so for [`DOUBTED`].
const AHEAD_US: u64 = 3_600_000_000;
const DOUBTED: Duration = Duration::from_secs(24 * 3_600);

/// What the wall clock is to whoever removes what is old: a wrong year of an hour or two takes
/// nobody's rows.
#[derive(Debug, Default)]
struct Believed {
    last: Option<Now>,
    ahead_since: Option<Mono>,
}

impl Believed {
    fn wall(&mut self, now: Now) -> Wall {
        if let Some(last) = self.last {
            let expected = last.later(now.mono.since(last.mono)).wall;
            if now.wall.micros_since(expected) > AHEAD_US {
                let since = *self.ahead_since.get_or_insert(now.mono);
                if now.mono.since(since) < DOUBTED {
                    return expected;
                }
            }
        }
        *self = Self { last: Some(now), ahead_since: None };
        now.wall
    }
}

static BELIEVED: Mutex<Believed> = Mutex::new(Believed { last: None, ahead_since: None });

/// What the clock was when a predecessor last looked: a start far later is doubted too.
pub fn expect(last: Wall) {
    let now = Now { wall: last, ..sample() };
    BELIEVED.lock().unwrap_or_else(PoisonError::into_inner).last.get_or_insert(now);
}

/// The wall clock for retention.
pub fn believed() -> Wall {
    BELIEVED.lock().unwrap_or_else(PoisonError::into_inner).wall(sample())
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_far_ahead_is_not_believed_for_a_day() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let start = Now { mono: Mono(9_000), wall: Wall(1_700_000_000_000_000) };
        let ahead = |now: Now| Now { wall: now.later(HOUR * 24 * 3_650).wall, ..now };
        let mut clock = Believed::default();
        assert_eq!(clock.wall(start), start.wall);
        for hours in 1..24 {
            let now = start.later(HOUR * hours);
            assert_eq!(clock.wall(ahead(now)), now.wall, "{hours}");
        }
        // It was set right again.
        let now = start.later(HOUR * 24);
        assert_eq!(clock.wall(now), now.wall);
        // It stays so: what it was before was wrong.
        let then = |hours: u32| ahead(now.later(HOUR * hours));
        assert_ne!(clock.wall(then(1)), then(1).wall);
        assert_eq!(clock.wall(then(25)), then(25).wall);
        assert_eq!(clock.wall(then(26)), then(26).wall);
        // Back is believed at once: nothing goes by that.
        let back = now.later(HOUR * 27);
        assert_eq!(clock.wall(back), back.wall);
    }
}
