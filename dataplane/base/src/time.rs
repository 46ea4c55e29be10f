//! Time as numbers. Nothing here reads a clock: `now` is always passed in (DESIGN.md section 2).
//!
//! A moment has two faces, sampled together once per breath: [`Mono`] for durations and deadlines,
//! [`Wall`] for stamps and billing days. They are different types so that one is never subtracted
//! from the other.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic nanoseconds since an unnamed origin (CLOCK_MONOTONIC, or the simulation's zero).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Mono(pub u64);

/// UTC microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Wall(pub u64);

/// One sample of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

impl Mono {
    /// Later than every real moment: "no deadline".
    pub const NEVER: Self = Self(u64::MAX);

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// This moment, as a wall clock with the offset `to` shows it where one with `from` shows this.
    #[must_use]
    pub fn under(self, from: u64, to: u64) -> Self {
        Self(self.0.wrapping_sub(from).wrapping_add(to))
    }

    /// Whole seconds since 1970 (a stamp for headers and tokens).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Microseconds from `earlier` to `self`; zero if the wall clock was set back in between.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// The same moment `by` later on both clocks.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        Self { mono: self.mono + by, wall: Wall(self.wall.0.saturating_add(micros)) }
    }
}

impl Now {
    /// How far the wall clock is before the monotonic one, microseconds: constant until somebody
    /// sets the wall clock.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.wall.0.wrapping_sub(self.mono.0 / 1_000)
    }

    /// This turn, for what arrived earlier: what is due counts from now, what is written down
    /// (`wall`) is of then.
    #[must_use]
    pub fn for_arrival(self, arrived: Mono) -> Self {
        let age = u64::try_from(self.mono.since(arrived).as_micros()).unwrap_or(u64::MAX);
        Self { wall: Wall(self.wall.0.saturating_sub(age)), ..self }
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}u", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_saturate_instead_of_wrapping() {
        let early = Mono(5);
        let late = Mono(9);
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Mono::NEVER + Duration::from_secs(1), Mono::NEVER);
        assert_eq!(early - Duration::from_secs(1), Mono(0));
    }

    #[test]
    fn later_moves_both_clocks() {
        let now = Now { mono: Mono(1_000), wall: Wall(7) };
        let then = now.later(Duration::from_millis(2));
        assert_eq!(then.mono, Mono(2_001_000));
        assert_eq!(then.wall, Wall(2_007));
    }

    #[test]
    fn what_arrived_earlier_is_written_down_as_of_then() {
        let now = Now { mono: Mono(9_000_000), wall: Wall(50_000) };
        assert_eq!(now.for_arrival(Mono(2_000_000)), Now { wall: Wall(43_000), ..now });
        assert_eq!(now.for_arrival(Mono(9_000_001)), now, "nothing comes from the future");
    }
}
