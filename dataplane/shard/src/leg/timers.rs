//! A leg's own deadlines: an enum and a table; the transactions bring their own.

use base::Mono;
use core::time::Duration;

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
    /// The refresher is silent: BYE (RFC 4028).
    Session,
    /// Our turn to refresh the session.
    Refresh,
    /// An offer of ours may be tried again (RFC 3261 section 14.1, Retry-After).
    Offer,
}

const TIMERS: usize = 9;

pub(crate) const ALL: [Timer; TIMERS] = [
    Timer::Hold,
    Timer::Ringing,
    Timer::Setup,
    Timer::Target,
    Timer::Ring,
    Timer::Limit,
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
