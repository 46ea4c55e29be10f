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

use super::machine::{Machine, Pace, Runs, Span, machine_methods};
use super::{Actions, Due, Timers, machine};

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

/// A request other than INVITE and ACK that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(Machine<Figure>);

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
        Self(Machine::started(State::Trying, now, timers, reliable))
    }

    /// A response with this status came.
    pub fn handle_response(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = if code < 200 { Event::Provisional } else { Event::Final };
        self.0.apply(event, now, timers)
    }
}

machine_methods!(Client, State);

/// Figure 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure;

impl machine::Figure for Figure {
    type State = State;
    type Event = Event;

    const STATES: &'static [State] =
        &[State::Trying, State::Proceeding, State::Completed, State::Terminated];
    const EVENTS: &'static [Event] = &[
        Event::Provisional,
        Event::Final,
        Event::TimerE,
        Event::TimerF,
        Event::TimerK,
        Event::TransportError,
    ];

    fn step(state: State, event: Event) -> Option<(State, Actions)> {
        step(state, event)
    }

    fn runs(state: State) -> Runs {
        match state {
            State::Trying => Runs::Resending(Span::GiveUp),
            // Timers E and F run on (section 17.1.2.2).
            State::Proceeding => Runs::On,
            State::Completed => Runs::Lingering(Span::T4),
            State::Terminated => Runs::Nothing,
        }
    }

    fn expired(state: State, due: Due) -> Event {
        match (due, state) {
            (Due::Resend, _) => Event::TimerE,
            (Due::End, State::Completed) => Event::TimerK,
            (Due::End, _) => Event::TimerF,
        }
    }

    fn pace(state: State) -> Pace {
        match state {
            State::Trying => Pace::Doubling(Span::T2),
            _ => Pace::Steady(Span::T2),
        }
    }
}
