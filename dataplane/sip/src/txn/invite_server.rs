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

use super::{Actions, Clocks, Due, Timers, dump_table};

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

const STATES: [State; 5] =
    [State::Proceeding, State::Accepted, State::Completed, State::Confirmed, State::Terminated];

const EVENTS: [Event; 10] = [
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

/// An INVITE that we received. The 2xx is repeated by [`super::Accepted2xx`], not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteServer {
    clocks: Clocks,
    state: State,
    reliable: bool,
}

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
        Self { clocks: Clocks::OFF, state: State::Proceeding, reliable }
    }

    /// State.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The INVITE came again.
    pub fn handle_request(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::Invite, now, timers)
    }

    /// An ACK of this transaction came; for a 2xx over RFC 6026's Accepted state it is passed on.
    pub fn handle_ack(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::Ack, now, timers)
    }

    /// The transport could not deliver.
    pub fn handle_transport_error(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::TransportError, now, timers)
    }

    /// The user wants to send a response; it goes out (and is kept) only on [`Actions::SEND`].
    pub fn send(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = match code {
            ..200 => Event::SendProvisional,
            200..300 => Event::SendSuccess,
            _ => Event::SendRefusal,
        };
        self.apply(event, now, timers)
    }

    /// Time has passed; call it at [`InviteServer::deadline`].
    pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        let event = match (self.clocks.due(now), self.state) {
            (None, _) => return Actions::NONE,
            (Some(Due::Resend), _) => Event::TimerG,
            (Some(Due::End), State::Confirmed) => Event::TimerI,
            (Some(Due::End), State::Accepted) => Event::TimerL,
            (Some(Due::End), _) => Event::TimerH,
        };
        self.apply(event, now, timers)
    }

    /// When to call [`InviteServer::handle_timeout`].
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
            if event == Event::TimerG {
                self.clocks.back_off(now, timers.t2);
            }
            return actions;
        }
        self.state = next;
        self.clocks = match next {
            State::Accepted => Clocks::start(now, None, timers.give_up()),
            State::Completed => {
                Clocks::start(now, (!self.reliable).then_some(timers.t1), timers.give_up())
            }
            State::Confirmed if !self.reliable => Clocks::start(now, None, timers.t4),
            _ => Clocks::OFF,
        };
        if next == State::Confirmed && self.reliable {
            // Timer I is zero on reliable transports.
            return actions.and(self.apply(Event::TimerI, now, timers));
        }
        actions
    }
}
