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

use super::machine::{Machine, Pace, Runs, Span, machine_methods};
use super::{Actions, Due, Timers, machine};

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

/// A request other than INVITE and ACK that we received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server(Machine<Figure>);

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
        Self(Machine::idle(State::Trying, reliable))
    }

    /// The request came again.
    pub fn handle_request(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.0.apply(Event::Request, now, timers)
    }

    /// The user wants to send a response; it goes out (and is kept) only on [`Actions::SEND`].
    pub fn send(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = if code < 200 { Event::SendProvisional } else { Event::SendFinal };
        self.0.apply(event, now, timers)
    }
}

machine_methods!(Server, State);

/// Figure 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure;

impl machine::Figure for Figure {
    type State = State;
    type Event = Event;

    const STATES: &'static [State] =
        &[State::Trying, State::Proceeding, State::Completed, State::Terminated];
    const EVENTS: &'static [Event] = &[
        Event::Request,
        Event::SendProvisional,
        Event::SendFinal,
        Event::TimerJ,
        Event::TransportError,
    ];

    fn step(state: State, event: Event) -> Option<(State, Actions)> {
        step(state, event)
    }

    fn runs(state: State) -> Runs {
        match state {
            State::Trying | State::Proceeding | State::Terminated => Runs::Nothing,
            State::Completed => Runs::Lingering(Span::GiveUp),
        }
    }

    /// The only clock is that of Completed.
    fn expired(_: State, _: Due) -> Event {
        Event::TimerJ
    }

    fn pace(_: State) -> Pace {
        Pace::Steady(Span::GiveUp)
    }
}
