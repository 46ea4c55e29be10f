//! Non-INVITE server transaction (RFC 3261 section 17.2.2, figure 8).
//!
//! ```text
//!           request came
//!                 v
//!             [Trying]      request: nothing
//!                 | 1xx
//!           [Proceeding]    request: last 1xx again
//!                 | 200-699 (from either)
//!            [Completed]    request: final response again
//!                 | J
//!            Terminated
//! ```

use core::fmt;

use base::Mono;

use super::{Actions, Clocks, Timers, dump_table};

/// States of figure 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Request,
    SendProvisional,
    SendFinal,
    TimerJ,
    TransportError,
}

const STATES: [State; 4] = [State::Trying, State::Proceeding, State::Completed, State::Terminated];

const EVENTS: [Event; 5] = [
    Event::Request,
    Event::SendProvisional,
    Event::SendFinal,
    Event::TimerJ,
    Event::TransportError,
];

/// A request other than INVITE and ACK that we received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    clocks: Clocks,
    state: State,
    reliable: bool,
}

const fn step(state: State, event: Event) -> Option<(State, Actions)> {
    use Actions as A;
    use Event as E;
    use State as S;
    Some(match (state, event) {
        (S::Proceeding | S::Completed, E::Request) => (state, A::RESEND),
        (S::Trying | S::Proceeding, E::SendProvisional) => (S::Proceeding, A::SEND),
        (S::Trying | S::Proceeding, E::SendFinal) => (S::Completed, A::SEND),
        (S::Proceeding | S::Completed, E::TransportError) => (S::Terminated, A::FAIL.and(A::END)),
        (S::Completed, E::TimerJ) => (S::Terminated, A::END),
        _ => return None,
    })
}

impl Server {
    /// The request came.
    #[must_use]
    pub const fn new(reliable: bool) -> Self {
        Self { clocks: Clocks::OFF, state: State::Trying, reliable }
    }

    /// State.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The request came again.
    pub fn handle_request(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::Request, now, timers)
    }

    /// The transport could not deliver.
    pub fn handle_transport_error(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::TransportError, now, timers)
    }

    /// The user wants to send a response; it goes out (and is kept) only on [`Actions::SEND`].
    pub fn send(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = if code < 200 { Event::SendProvisional } else { Event::SendFinal };
        self.apply(event, now, timers)
    }

    /// Time has passed; call it at [`Server::deadline`].
    pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        match self.clocks.due(now) {
            None => Actions::NONE,
            Some(_) => self.apply(Event::TimerJ, now, timers),
        }
    }

    /// When to call [`Server::handle_timeout`].
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
        if next == self.state {
            return actions;
        }
        self.state = next;
        self.clocks = Clocks::OFF;
        if next == State::Completed {
            if self.reliable {
                // Timer J is zero on reliable transports.
                return actions.and(self.apply(Event::TimerJ, now, timers));
            }
            self.clocks = Clocks::start(now, None, timers.give_up());
        }
        actions
    }
}
