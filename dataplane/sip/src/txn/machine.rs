//! What the four machines share: a state, two clocks, and one way through the event table.
//!
//! A machine is its [`Figure`]: the table, and for each state what runs in it. Entering a state
//! starts its clocks; a clock that runs out is an event like any other. Over a reliable transport
//! nothing is sent again and nothing lingers: timers D, I, J and K are zero, so that the state
//! they end is left in the moment it is entered.

use core::fmt;
use core::time::Duration;

use base::Mono;

use super::{Actions, Clocks, Due, Timers, dump_table};

/// What is particular to one machine.
pub(super) trait Figure {
    /// States of the RFC's figure.
    type State: Copy + Eq + fmt::Debug + 'static;
    /// What may happen, timers included.
    type Event: Copy + Eq + fmt::Debug + 'static;

    const STATES: &'static [Self::State];
    const EVENTS: &'static [Self::Event];

    /// The event table: what is not in it changes nothing.
    fn step(state: Self::State, event: Self::Event) -> Option<(Self::State, Actions)>;

    /// What runs in a state that was just entered.
    fn runs(state: Self::State) -> Runs;

    /// What it means that a clock has run out in this state.
    fn expired(state: Self::State, due: Due) -> Self::Event;

    /// When a message that was sent again in this state is sent again.
    fn pace(state: Self::State) -> Pace;
}

/// The clocks of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// None.
    Nothing,
    /// Those of the state before run on.
    On,
    /// One that ends it, over any transport.
    Until(Span),
    /// One that ends it, over any transport, and T1 to send again over an unreliable one.
    Resending(Span),
    /// One that ends it over an unreliable transport; over a reliable one it ends at once.
    Lingering(Span),
}

/// The time to the next retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Twice the last, at most this.
    Doubling(Span),
    /// Always this.
    Steady(Span),
}

/// A length of [`Timers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    T2,
    T4,
    D,
    GiveUp,
}

impl Span {
    const fn of(self, timers: &Timers) -> Duration {
        match self {
            Self::T2 => timers.t2,
            Self::T4 => timers.t4,
            Self::D => timers.d,
            Self::GiveUp => timers.give_up(),
        }
    }
}

/// One transaction.
pub(super) struct Machine<F: Figure> {
    clocks: Clocks,
    state: F::State,
    reliable: bool,
}

impl<F: Figure> Machine<F> {
    /// In its first state, nothing running.
    pub(super) const fn idle(state: F::State, reliable: bool) -> Self {
        Self { clocks: Clocks::OFF, state, reliable }
    }

    /// In its first state, the clocks of that running since `now`.
    pub(super) fn started(state: F::State, now: Mono, timers: &Timers, reliable: bool) -> Self {
        let mut machine = Self::idle(state, reliable);
        machine.start(F::runs(state), now, timers);
        machine
    }

    pub(super) const fn state(&self) -> F::State {
        self.state
    }

    pub(super) fn deadline(&self) -> Mono {
        self.clocks.deadline()
    }

    /// The state ends so long after `now`, whatever was said when it was entered.
    pub(super) fn end_after(&mut self, span: Span, now: Mono, timers: &Timers) {
        self.clocks.end_at = now + span.of(timers);
    }

    pub(super) fn apply(&mut self, event: F::Event, now: Mono, timers: &Timers) -> Actions {
        let Some((next, actions)) = F::step(self.state, event) else { return Actions::NONE };
        if next == self.state {
            return actions;
        }
        self.state = next;
        let runs = F::runs(next);
        self.start(runs, now, timers);
        if self.reliable && matches!(runs, Runs::Lingering(_)) {
            return actions.and(self.apply(F::expired(next, Due::End), now, timers));
        }
        actions
    }

    pub(super) fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        let Some(due) = self.clocks.due(now) else { return Actions::NONE };
        if due == Due::Resend {
            match F::pace(self.state) {
                Pace::Doubling(max) => self.clocks.back_off(now, max.of(timers)),
                Pace::Steady(span) => self.clocks.resend_in(now, span.of(timers)),
            }
        }
        self.apply(F::expired(self.state, due), now, timers)
    }

    pub(super) fn dump(out: &mut dyn fmt::Write) -> fmt::Result {
        dump_table(out, F::STATES, F::EVENTS, F::step)
    }

    fn start(&mut self, runs: Runs, now: Mono, timers: &Timers) {
        let reliable = self.reliable;
        self.clocks = match runs {
            Runs::On => return,
            Runs::Nothing => Clocks::OFF,
            Runs::Lingering(_) if reliable => Clocks::OFF,
            Runs::Until(span) | Runs::Lingering(span) => Clocks::start(now, None, span.of(timers)),
            Runs::Resending(span) => {
                Clocks::start(now, (!reliable).then_some(timers.t1), span.of(timers))
            }
        };
    }
}

// By hand: the derived ones would ask the same of `F`, which is no value.
impl<F: Figure> Clone for Machine<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Figure> Copy for Machine<F> {}

impl<F: Figure> PartialEq for Machine<F> {
    fn eq(&self, other: &Self) -> bool {
        self.clocks == other.clocks && self.state == other.state && self.reliable == other.reliable
    }
}

impl<F: Figure> Eq for Machine<F> {}

impl<F: Figure> fmt::Debug for Machine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.state, self.clocks)
    }
}

/// The methods that every machine has.
macro_rules! machine_methods {
    ($machine:ty, $state:ty) => {
        impl $machine {
            /// State.
            #[must_use]
            pub const fn state(&self) -> $state {
                self.0.state()
            }

            /// The transport could not deliver.
            pub fn handle_transport_error(&mut self, now: Mono, timers: &Timers) -> Actions {
                self.0.apply(Event::TransportError, now, timers)
            }

            /// Time has passed; call it at [`Self::deadline`].
            pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
                self.0.handle_timeout(now, timers)
            }

            /// When to call [`Self::handle_timeout`].
            #[must_use]
            pub fn deadline(&self) -> Mono {
                self.0.deadline()
            }

            /// Writes the event table.
            ///
            /// # Errors
            /// Those of `out`.
            pub fn dump(out: &mut dyn fmt::Write) -> fmt::Result {
                Machine::<Figure>::dump(out)
            }
        }
    };
}

pub(super) use machine_methods;
