//! When datagrams came, as far as it can be known.

use base::{Mono, Now};

use super::{OVERDUE, STANDSTILL};

/// The clock was set if wall and monotonic time have moved apart by more, in microseconds.
const SET: u64 = 50_000;

/// No datagram waits for its turn longer than this while we run.
const WAITS: core::time::Duration = core::time::Duration::from_secs(1);

/// What a breath knows of the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    now: Now,
    /// When media that this breath brings may have come at the earliest.
    media: Mono,
    /// The same of what the kernel has stamped, which may have waited for a buffer: the breath
    /// before this second began, which is the one before we stood still; and when it began.
    earliest: [Mono; 2],
    /// Completions of an overdue breath are left.
    pub(super) is_behind: bool,
    /// The wall clock was set since the last breath: the kernel's stamps say nothing.
    was_set: bool,
}

impl Watch {
    pub(super) fn new(now: Now) -> Self {
        Self { now, media: now.mono, earliest: [now.mono; 2], is_behind: false, was_set: false }
    }

    /// A breath at `now`, which was due at `due` (zero: at once). Whether we stood still for so
    /// long that what is queued is of no use.
    pub(super) fn turn(&mut self, now: Now, due: Mono) -> bool {
        let before = self.now;
        self.now = now;
        let (mono, wall) = (now.mono.since(before.mono), now.wall.0.wrapping_sub(before.wall.0));
        let drift = wall.wrapping_sub(u64::try_from(mono.as_micros()).unwrap_or(u64::MAX));
        self.was_set = drift.min(drift.wrapping_neg()) > SET;
        if now.mono.since(self.earliest[1]) > WAITS {
            self.earliest = [before.mono, now.mono];
        }
        let late = now.mono.since(due.max(before.mono));
        if late > OVERDUE {
            if !self.is_behind {
                self.media = before.mono;
            }
            self.is_behind = true;
        } else if !self.is_behind {
            self.media = now.mono;
        }
        late > STANDSTILL
    }

    #[inline]
    pub(super) fn media(&self) -> Mono {
        self.media
    }

    /// When a datagram came that the kernel has stamped with this wall time in nanoseconds.
    pub(super) fn stamped(&self, nanos: Option<u64>) -> Mono {
        let Some(nanos) = nanos.filter(|_| !self.was_set) else { return self.now.mono };
        let age = self.now.wall.0.saturating_mul(1_000).saturating_sub(nanos);
        let came = self.now.mono - core::time::Duration::from_nanos(age);
        // One of before the clock was set, or of a clock that is not ours, is no age.
        if came + WAITS < self.earliest[0] { self.now.mono } else { came }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Wall;
    use core::time::Duration;

    const MS: Duration = Duration::from_millis(1);
    const START: Now = Now { mono: Mono(9_000_000_000), wall: Wall(1_700_000_000_000_000) };

    #[test]
    fn a_stamp_is_a_moment_of_the_other_clock() {
        let mut watch = Watch::new(START);
        let now = START.later(5 * MS);
        watch.turn(now, Mono(0));
        let stamp = |now: Now| now.wall.0 * 1_000;
        assert_eq!(watch.stamped(Some(stamp(START) + 3_000_000)), START.mono + 3 * MS);
        assert_eq!(watch.stamped(Some(stamp(now) + 999)), now.mono, "of this very moment");
        assert_eq!(watch.stamped(None), now.mono);
        // The clock is set an hour ahead, and back.
        for by in [3_600_000_000_u64, 3_600_000_000_u64.wrapping_neg()] {
            let now = now.later(5 * MS);
            let set = Now { wall: Wall(now.wall.0.wrapping_add(by)), ..now };
            let mut watch = watch;
            watch.turn(set, Mono(0));
            assert_eq!(watch.stamped(Some(stamp(now))), now.mono, "no age is made of that");
            // What waited in the ring meanwhile is an hour old by the new clock.
            watch.turn(set.later(MS), Mono(0));
            let arrived = watch.stamped(Some(stamp(now)));
            assert!((START.mono..=now.mono + MS).contains(&arrived), "{arrived:?}");
        }
    }

    #[test]
    fn what_came_while_we_stood_still_is_as_old_as_it_is_in_the_breaths_after_too() {
        let mut watch = Watch::new(START);
        let mut now = START;
        for _ in 0..50 {
            now = now.later(100 * MS);
            watch.turn(now, now.mono);
        }
        let came = now.later(500 * MS);
        now = now.later(5_000 * MS);
        for _ in 0..8 {
            watch.turn(now, now.mono);
            assert_eq!(watch.stamped(Some(came.wall.0 * 1_000)), came.mono);
            now = now.later(100 * MS);
        }
    }

    #[test]
    fn media_of_an_overdue_breath_is_as_old_as_the_breath_before() {
        let mut watch = Watch::new(START);
        let slept = START.later(90 * MS);
        assert!(!watch.turn(slept, slept.mono + 10 * MS));
        assert_eq!(watch.media(), slept.mono, "it came and woke us");
        let late = slept.later(500 * MS);
        assert!(!watch.turn(late, slept.mono + 100 * MS));
        assert_eq!(watch.media(), slept.mono);
        assert!(!watch.turn(late.later(MS), Mono(0)));
        assert_eq!(watch.media(), slept.mono, "the rest of the same breath");
        watch.is_behind = false;
        let next = late.later(2 * MS);
        assert!(!watch.turn(next, Mono(0)));
        assert_eq!(watch.media(), next.mono);
        assert!(watch.turn(next.later(5_000 * MS), next.mono + 100 * MS), "a standstill");
        assert_eq!(watch.media(), next.mono);
    }
}
