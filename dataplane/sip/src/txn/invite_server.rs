//! INVITE server transaction (RFC 3261 section 17.2.1, figure 7; RFC 6026 section 8.5).
//!
//! ```text
//!           INVITE came
//!                v
//!          [Proceeding]  INVITE: last 1xx again
//!      2xx |          | 300-699
//!    [Accepted]   [Completed]  INVITE, G: resend --H--> Terminated
//!          |          | ACK
//!          |     [Confirmed]
//!          | L        | I
//!          v          v
//!             Terminated
//! ```

use core::fmt;

use base::Mono;

use super::machine::{Machine, Pace, Runs, Span, machine_methods};
use super::{Actions, Due, Timers, machine};

/// States of RFC 6026 figure 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Invite,
    Ack,
    SendProvisional,
    SendSuccess,
    SendRefusal,
    TimerG,
    TimerH,
    TimerI,
    TimerL,
    TransportError,
}

/// An INVITE that we received. The 2xx is repeated by [`super::Accepted2xx`], not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteServer(Machine<Figure>);

const fn step(state: State, event: Event) -> Option<(State, Actions)> {
    use Actions as A;
    use Event as E;
    use State as S;
    Some(match (state, event) {
        (S::Proceeding | S::Completed, E::Invite) => (state, A::RESEND),
        (S::Proceeding, E::SendProvisional) => (S::Proceeding, A::SEND),
        (S::Proceeding | S::Accepted, E::SendSuccess) => (S::Accepted, A::SEND),
        (S::Proceeding, E::SendRefusal) => (S::Completed, A::SEND),
        (S::Accepted, E::Ack) => (S::Accepted, A::PASS),
        (S::Completed, E::Ack) => (S::Confirmed, A::NONE),
        (S::Completed, E::TimerG) => (S::Completed, A::RESEND),
        (S::Completed, E::TimerH) => (S::Terminated, A::TIMEOUT.and(A::END)),
        (S::Confirmed, E::TimerI) | (S::Accepted, E::TimerL) => (S::Terminated, A::END),
        (S::Proceeding | S::Accepted | S::Completed, E::TransportError) => (state, A::FAIL),
        _ => return None,
    })
}

impl InviteServer {
    /// The INVITE came. The user sends 100 Trying at once, or within 200 ms if it has nothing
    /// better.
    #[must_use]
    pub const fn new(reliable: bool) -> Self {
        Self(Machine::idle(State::Proceeding, reliable))
    }

    /// The INVITE came again.
    pub fn handle_request(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.0.apply(Event::Invite, now, timers)
    }

    /// An ACK of this transaction came; for a 2xx over RFC 6026's Accepted state it is passed on.
    pub fn handle_ack(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.0.apply(Event::Ack, now, timers)
    }

    /// The user wants to send a response; it goes out (and is kept) only on [`Actions::SEND`].
    pub fn send(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = match code {
            ..200 => Event::SendProvisional,
            200..300 => Event::SendSuccess,
            _ => Event::SendRefusal,
        };
        self.0.apply(event, now, timers)
    }
}

machine_methods!(InviteServer, State);

/// RFC 6026 figure 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure;

impl machine::Figure for Figure {
    type State = State;
    type Event = Event;

    const STATES: &'static [State] = &[
        State::Proceeding,
        State::Accepted,
        State::Completed,
        State::Confirmed,
        State::Terminated,
    ];
    const EVENTS: &'static [Event] = &[
        Event::Invite,
        Event::Ack,
        Event::SendProvisional,
        Event::SendSuccess,
        Event::SendRefusal,
        Event::TimerG,
        Event::TimerH,
        Event::TimerI,
        Event::TimerL,
        Event::TransportError,
    ];

    fn step(state: State, event: Event) -> Option<(State, Actions)> {
        step(state, event)
    }

    fn runs(state: State) -> Runs {
        match state {
            State::Proceeding | State::Terminated => Runs::Nothing,
            State::Accepted => Runs::Until(Span::GiveUp),
            State::Completed => Runs::Resending(Span::GiveUp),
            State::Confirmed => Runs::Lingering(Span::T4),
        }
    }

    fn expired(state: State, due: Due) -> Event {
        match (due, state) {
            (Due::Resend, _) => Event::TimerG,
            (Due::End, State::Confirmed) => Event::TimerI,
            (Due::End, State::Accepted) => Event::TimerL,
            (Due::End, _) => Event::TimerH,
        }
    }

    fn pace(_: State) -> Pace {
        Pace::Doubling(Span::T2)
    }
}
