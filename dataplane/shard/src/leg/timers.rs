//! A leg's own deadlines: an enum and a table; the transactions bring their own.

use base::{LegId, Mono};
use core::time::Duration;

use super::METER;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// A new call that the controlplane has not taken: 503.
    Hold,
    /// A call that the controlplane has taken and that nothing was said of yet: 180.
    Ringing,
    /// An incoming call that stays unanswered: 480.
    Setup,
    /// A target that says nothing at all: the next one is tried.
    Target,
    /// An outgoing call that rings too long: CANCEL.
    Ring,
    /// The end of the call, whoever pays.
    Limit,
    /// Usage written to the cell, signs of life, RTCP: once a second while it stands.
    Meter,
    /// The refresher is silent: BYE (RFC 4028).
    Session,
    /// Our turn to refresh the session.
    Refresh,
    /// An offer of ours may be tried again (RFC 3261 section 14.1, Retry-After).
    Offer,
}

/// When a leg is metered next: within [`METER`], each leg at its own moment of it. Legs that are
/// answered in one burst, or metered late after a stall, are never metered in one breath for long.
pub(crate) fn meter_at(leg: LegId, now: Mono) -> Mono {
    let period = u64::try_from(METER.as_nanos()).unwrap_or(u64::MAX);
    // Neighbours lie far apart: the golden ratio of 32 bits.
    let place = u64::from(leg.index().wrapping_mul(0x9e37_79b9));
    let phase = (place * period) >> 32;
    let since = (now.0 + period - phase) % period;
    Mono(now.0 + period - since)
}

const TIMERS: usize = 10;

pub(crate) const ALL: [Timer; TIMERS] = [
    Timer::Hold,
    Timer::Ringing,
    Timer::Setup,
    Timer::Target,
    Timer::Ring,
    Timer::Limit,
    Timer::Meter,
    Timer::Session,
    Timer::Refresh,
    Timer::Offer,
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines([Mono; TIMERS]);

impl Default for Deadlines {
    fn default() -> Self {
        Self([Mono::NEVER; TIMERS])
    }
}

impl Deadlines {
    pub(crate) fn set(&mut self, timer: Timer, at: Mono) {
        self.0[timer as usize] = at;
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.set(timer, Mono::NEVER);
    }

    /// How long it is to run from now on; for ever where it is not set.
    pub(crate) fn left(&self, timer: Timer, now: Mono) -> Duration {
        self.0[timer as usize].since(now)
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != Mono::NEVER
    }

    /// The timer is set to then or before.
    pub(crate) fn is_due(&self, timer: Timer, by: Mono) -> bool {
        self.0[timer as usize] <= by
    }

    /// The timer is due; it is cleared.
    pub(crate) fn take(&mut self, timer: Timer, now: Mono) -> bool {
        let due = self.is_due(timer, now);
        if due {
            self.clear(timer);
        }
        due
    }

    pub(crate) fn next(&self) -> Mono {
        self.0.into_iter().min().unwrap_or(Mono::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever they were answered in: at most 1 % of them in 5 ms.
    #[test]
    fn legs_that_begin_together_are_metered_apart_and_each_once_a_period() {
        let now = Mono(77_123_456_789);
        let mut moments: Vec<u64> = (0..20_000)
            .map(|index| {
                let leg = LegId::new(0, 1, index);
                let first = meter_at(leg, now);
                assert!(first > now && first <= now + METER);
                assert_eq!(meter_at(leg, first), first + METER);
                assert_eq!(meter_at(leg, first + METER / 3), first + METER, "late or not");
                first.0
            })
            .collect();
        moments.sort_unstable();
        let crowd = moments.windows(200).map(|few| few[199] - few[0]).min().unwrap();
        assert!(crowd >= 5_000_000, "200 within {crowd} ns");
    }
}
