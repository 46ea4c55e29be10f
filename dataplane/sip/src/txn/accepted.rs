//! What the cores repeat end to end, outside any transaction: a 2xx to INVITE until its ACK comes
//! (RFC 3261 section 13.3.1.4), a reliable provisional response until its PRACK comes (RFC 3262
//! section 3), and the ACK for every 2xx that comes again (section 13.2.2.4).

use core::fmt;

use base::Mono;

use super::{Actions, Clocks, Due, Timers, dump_table};

/// States of a response that wants to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Acknowledged,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Acknowledge,
    Resend,
    GiveUp,
}

const STATES: [State; 3] = [State::Waiting, State::Acknowledged, State::Terminated];
const EVENTS: [Event; 3] = [Event::Acknowledge, Event::Resend, Event::GiveUp];

/// A 2xx to INVITE (or a reliable 1xx) that goes out until it is acknowledged, over any transport.
/// On [`Actions::TIMEOUT`] the user ends the session with BYE (for a 1xx: refuses the INVITE with a
/// 5xx).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted2xx {
    clocks: Clocks,
    state: State,
    provisional: bool,
}

const fn step(state: State, event: Event) -> Option<(State, Actions)> {
    Some(match (state, event) {
        (State::Waiting, Event::Acknowledge) => {
            (State::Acknowledged, Actions::PASS.and(Actions::END))
        }
        (State::Waiting, Event::Resend) => (State::Waiting, Actions::RESEND),
        (State::Waiting, Event::GiveUp) => (State::Terminated, Actions::TIMEOUT.and(Actions::END)),
        _ => return None,
    })
}

impl Accepted2xx {
    /// The 2xx has been sent at `now`. Intervals double from T1 to T2.
    #[must_use]
    pub fn new(now: Mono, timers: &Timers) -> Self {
        let clocks = Clocks::start(now, Some(timers.t1), timers.give_up());
        Self { clocks, state: State::Waiting, provisional: false }
    }

    /// The reliable provisional response has been sent at `now`. Intervals double without a bound.
    #[must_use]
    pub fn provisional(now: Mono, timers: &Timers) -> Self {
        Self { provisional: true, ..Self::new(now, timers) }
    }

    /// State.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The ACK (PRACK) came; only the first is passed.
    pub fn handle_ack(&mut self) -> Actions {
        self.apply(Event::Acknowledge)
    }

    /// Time has passed; call it at [`Accepted2xx::deadline`].
    pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        match self.clocks.due(now) {
            None => Actions::NONE,
            Some(Due::End) => self.apply(Event::GiveUp),
            Some(Due::Resend) => {
                let max = if self.provisional { timers.give_up() } else { timers.t2 };
                self.clocks.back_off(now, max);
                self.apply(Event::Resend)
            }
        }
    }

    /// When to call [`Accepted2xx::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.clocks.deadline()
    }

    /// Writes the event table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn dump(out: &mut dyn fmt::Write) -> fmt::Result {
        dump_table(out, &STATES, &EVENTS, step)
    }

    fn apply(&mut self, event: Event) -> Actions {
        let Some((next, actions)) = step(self.state, event) else { return Actions::NONE };
        if next != self.state {
            self.clocks = Clocks::OFF;
        }
        self.state = next;
        actions
    }
}

/// The ACK of a 2xx that we got: kept for 64 * T1 and sent again for each repetition of that 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRepeat {
    until: Mono,
}

impl AckRepeat {
    /// The first 2xx came, and the ACK went, at `now`.
    #[must_use]
    pub fn new(now: Mono, timers: &Timers) -> Self {
        Self { until: now + timers.give_up() }
    }

    /// The 2xx came again: send the stored ACK again.
    pub fn handle_2xx(&self, now: Mono) -> Actions {
        if now < self.until { Actions::RESEND } else { Actions::NONE }
    }

    /// Time has passed.
    pub fn handle_timeout(&self, now: Mono) -> Actions {
        if now < self.until { Actions::NONE } else { Actions::END }
    }

    /// When the ACK may be forgotten.
    #[must_use]
    pub const fn deadline(&self) -> Mono {
        self.until
    }
}
