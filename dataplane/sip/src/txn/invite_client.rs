//! INVITE client transaction (RFC 3261 section 17.1.1, figure 5; RFC 6026 section 8.4).
//!
//! ```text
//!              INVITE sent
//!                  v
//!  A: resend  [Calling] --B/error--> Terminated
//!                  | 1xx
//!             [Proceeding] --64*T1 if given up--> Terminated
//!        2xx |          | 300-699: ACK
//!      [Accepted]   [Completed] --error--> Terminated
//!            | M        | D
//!            v          v
//!               Terminated
//! ```

use core::fmt;

use base::Mono;

use super::machine::{Machine, Pace, Runs, Span, machine_methods};
use super::{Actions, Due, Timers, machine};

/// States of RFC 6026 figure 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Provisional,
    Success,
    Refusal,
    TimerA,
    TimerB,
    TimerD,
    TimerM,
    TransportError,
}

/// An INVITE that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteClient(Machine<Figure>);

const fn step(state: State, event: Event) -> Option<(State, Actions)> {
    use Actions as A;
    use Event as E;
    use State as S;
    Some(match (state, event) {
        (S::Calling, E::TimerA) => (S::Calling, A::RESEND),
        (S::Calling | S::Proceeding, E::TimerB) => (S::Terminated, A::TIMEOUT.and(A::END)),
        (S::Calling | S::Completed, E::TransportError) => (S::Terminated, A::FAIL.and(A::END)),
        (S::Calling | S::Proceeding, E::Provisional) => (S::Proceeding, A::PASS),
        (S::Calling | S::Proceeding, E::Refusal) => (S::Completed, A::PASS.and(A::ACK)),
        (S::Calling | S::Proceeding | S::Accepted, E::Success) => (S::Accepted, A::PASS),
        (S::Completed, E::Refusal) => (S::Completed, A::ACK),
        (S::Completed, E::TimerD) | (S::Accepted, E::TimerM) => (S::Terminated, A::END),
        _ => return None,
    })
}

impl InviteClient {
    /// The INVITE has been sent at `now`.
    #[must_use]
    pub fn new(now: Mono, timers: &Timers, reliable: bool) -> Self {
        Self(Machine::started(State::Calling, now, timers, reliable))
    }

    /// A response with this status came. A repeated 2xx is passed too: the user sends its ACK
    /// again.
    pub fn handle_response(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = match code {
            ..200 => Event::Provisional,
            200..300 => Event::Success,
            _ => Event::Refusal,
        };
        self.0.apply(event, now, timers)
    }

    /// Nobody rings any more (a CANCEL has been sent, section 9.1) or nobody ever did (re-INVITE):
    /// without a final response within 64 * T1 from now the transaction times out.
    pub fn give_up_later(&mut self, now: Mono, timers: &Timers) {
        if self.state() == State::Proceeding {
            self.0.end_after(Span::GiveUp, now, timers);
        }
    }
}

machine_methods!(InviteClient, State);

/// RFC 6026 figure 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure;

impl machine::Figure for Figure {
    type State = State;
    type Event = Event;

    const STATES: &'static [State] =
        &[State::Calling, State::Proceeding, State::Accepted, State::Completed, State::Terminated];
    const EVENTS: &'static [Event] = &[
        Event::Provisional,
        Event::Success,
        Event::Refusal,
        Event::TimerA,
        Event::TimerB,
        Event::TimerD,
        Event::TimerM,
        Event::TransportError,
    ];

    fn step(state: State, event: Event) -> Option<(State, Actions)> {
        step(state, event)
    }

    fn runs(state: State) -> Runs {
        match state {
            State::Calling => Runs::Resending(Span::GiveUp),
            State::Proceeding | State::Terminated => Runs::Nothing,
            State::Accepted => Runs::Until(Span::GiveUp),
            State::Completed => Runs::Lingering(Span::D),
        }
    }

    fn expired(state: State, due: Due) -> Event {
        match (due, state) {
            (Due::Resend, _) => Event::TimerA,
            (Due::End, State::Completed) => Event::TimerD,
            (Due::End, State::Accepted) => Event::TimerM,
            (Due::End, _) => Event::TimerB,
        }
    }

    fn pace(_: State) -> Pace {
        // Section 17.1.1.2: the interval doubles without a bound but timer B.
        Pace::Doubling(Span::GiveUp)
    }
}
