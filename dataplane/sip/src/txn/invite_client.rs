//! INVITE client transaction (RFC 3261 section 17.1.1, figure 5; RFC 6026 section 8.4).
//!
//! ```text
//!              INVITE sent
//!                  v
//!  A: resend  [Calling] --B/error--> Terminated
//!                  | 1xx
//!             [Proceeding] --64*T1 after CANCEL--> Terminated
//!        2xx |          | 300-699: ACK
//!      [Accepted]   [Completed] --error--> Terminated
//!            | M        | D
//!            v          v
//!               Terminated
//! ```

use core::fmt;

use base::Mono;

use super::{Actions, Clocks, Due, Timers, dump_table};

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

const STATES: [State; 5] =
    [State::Calling, State::Proceeding, State::Accepted, State::Completed, State::Terminated];

const EVENTS: [Event; 8] = [
    Event::Provisional,
    Event::Success,
    Event::Refusal,
    Event::TimerA,
    Event::TimerB,
    Event::TimerD,
    Event::TimerM,
    Event::TransportError,
];

/// An INVITE that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteClient {
    clocks: Clocks,
    state: State,
    reliable: bool,
}

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
        let interval = (!reliable).then_some(timers.t1);
        let clocks = Clocks::start(now, interval, timers.give_up());
        Self { clocks, state: State::Calling, reliable }
    }

    /// State.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A response with this status came. A repeated 2xx is passed too: the user sends its ACK
    /// again.
    pub fn handle_response(&mut self, code: u16, now: Mono, timers: &Timers) -> Actions {
        let event = match code {
            ..200 => Event::Provisional,
            200..300 => Event::Success,
            _ => Event::Refusal,
        };
        self.apply(event, now, timers)
    }

    /// The transport could not deliver.
    pub fn handle_transport_error(&mut self, now: Mono, timers: &Timers) -> Actions {
        self.apply(Event::TransportError, now, timers)
    }

    /// Time has passed; call it at [`InviteClient::deadline`].
    pub fn handle_timeout(&mut self, now: Mono, timers: &Timers) -> Actions {
        let event = match (self.clocks.due(now), self.state) {
            (None, _) => return Actions::NONE,
            (Some(Due::Resend), _) => Event::TimerA,
            (Some(Due::End), State::Completed) => Event::TimerD,
            (Some(Due::End), State::Accepted) => Event::TimerM,
            (Some(Due::End), _) => Event::TimerB,
        };
        self.apply(event, now, timers)
    }

    /// A CANCEL has been sent: without a final response within 64 * T1 the transaction times out
    /// (section 9.1).
    pub fn cancel_sent(&mut self, now: Mono, timers: &Timers) {
        if self.state == State::Proceeding {
            self.clocks.end_at = now + timers.give_up();
        }
    }

    /// When to call [`InviteClient::handle_timeout`].
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
            if event == Event::TimerA {
                // Section 17.1.1.2: the interval doubles without a bound but timer B.
                self.clocks.back_off(now, timers.give_up());
            }
            return actions;
        }
        self.state = next;
        self.clocks = match next {
            State::Accepted => Clocks::start(now, None, timers.give_up()),
            State::Completed if !self.reliable => Clocks::start(now, None, timers.d),
            _ => Clocks::OFF,
        };
        if next == State::Completed && self.reliable {
            // Timer D is zero on reliable transports.
            return actions.and(self.apply(Event::TimerD, now, timers));
        }
        actions
    }
}
