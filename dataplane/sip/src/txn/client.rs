//! Non-INVITE client transaction (RFC 3261 section 17.1.2, figure 6).
//!
//! ```text
//!            request sent
//!                 v
//!  E: resend  [Trying] --F/error--> Terminated
//!                 | 1xx
//!  E: resend  [Proceeding] --F/error--> Terminated
//!                 | 200-699 (from either)
//!             [Completed]
//!                 | K
//!             Terminated
//! ```

use core::fmt;

use base::Mono;

use super::{Actions, Clocks, Due, Timers, dump_table};

/// States of figure 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Provisional,
    Final,
    TimerE,
    TimerF,
    TimerK,
    TransportError,
}

const STATES: [State; 4] = [State::Trying, State::Proceeding, State::Completed, State::Terminated];

const EVENTS: [Event; 6] = [
    Event::Provisional,
    Event::Final,
    Event::TimerE,
    Event::TimerF,
    Event::TimerK,
    Event::TransportError,
];

/// A request other than INVITE and ACK that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    clocks: Clocks,
    state: State,
    reliable: bool,
}

const fn step(state: State, event: Event) -> Option<(State, Actions)> {
    use Actions as A;
    use Event as E;
    use State as S;
    Some(match (state, event) {
        (S::Trying | S::Proceeding, E::Provisional) => (S::Proceeding, A::PASS),
        (S::Trying | S::Proceeding, E::Final) => (S::Completed, A::PASS),
        (S::Trying | S::Proceeding, E::TimerE) => (state, A::RESEND),
        (S::Trying | S::Proceeding, E::TimerF) => (S::Terminated, A::TIMEOUT.and(A::END)),
        (S::Trying | S::Proceeding, E::TransportError) => (S::Terminated, A::FAIL.and(A::END)),
        (S::Completed, E::TimerK) => (S::Terminated, A::END),
        _ => return None,
    })
}

impl Client {
    /// The request has been sent at `now`.
    #[must_use]
    pub fn new(now: Mono, timers: &Timers, reliable: bool) -> Self {
        let interval = (!reliable).then_some(timers.t1);
        let clocks = Clocks::start(now, interval, timers.give_up());
        Self { clocks, state: State::Trying, reliable }
    }

    /// State.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A response with this status came.
    pub fn handle_response(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = if code < 200 { Event::Provisional } else { Event::Final };
        self.apply(event, now, timers)
    }

    /// The transport could not deliver.
    pub fn handle_transport_error(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::TransportError, now, timers)
    }

    /// Time has passed; call it at [`Client::deadline`].
    pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        let event = match (self.clocks.due(now), self.state) {
            (None, _) => return Actions::NONE,
            (Some(Due::Resend), _) => Event::TimerE,
            (Some(Due::End), State::Completed) => Event::TimerK,
            (Some(Due::End), _) => Event::TimerF,
        };
        self.apply(event, now, timers)
    }

    /// When to call [`Client::handle_timeout`].
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

    fn apply(&mut self, event: Event, now: Mono, timers: &Timers) -> Actions {
        let Some((next, actions)) = step(self.state, event) else { return Actions::NONE };
        if event == Event::TimerE {
            match self.state {
                State::Trying => self.clocks.back_off(now, timers.t2),
                _ => self.clocks.resend_in(now, timers.t2),
            }
        }
        if next == self.state {
            return actions;
        }
        self.state = next;
        match next {
            // Timers E and F run on (section 17.1.2.2).
            State::Trying | State::Proceeding => {}
            State::Completed if !self.reliable => {
                self.clocks = Clocks::start(now, None, timers.t4);
            }
            _ => self.clocks = Clocks::OFF,
        }
        if next == State::Completed && self.reliable {
            // Timer K is zero on reliable transports.
            return actions.and(self.apply(Event::TimerK, now, timers));
        }
        actions
    }
}
