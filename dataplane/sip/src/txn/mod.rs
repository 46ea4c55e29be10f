//! Transactions: the four machines of RFC 3261 section 17 with the Accepted state of RFC 6026, and
//! the two repetitions that belong to no transaction (a 2xx until its ACK, an ACK for each repeated
//! 2xx).
//!
//! A machine is a value of at most 48 bytes without storage. It is told what arrived, what the user
//! (the transaction user, TU) sends, and that time has passed; it answers with [`Actions`] and has
//! one [`deadline`](invite_client::InviteClient::deadline). The bytes that it may want sent again
//! are its owner's. Each module holds one event table, `step`: state and event in, next state and
//! actions out; what is not in the table changes nothing. How a table is gone through, and what a
//! clock does, is written once (`machine`). Timers are named as in the RFC's table 4;
//! their lengths come from [`Timers`], which the owner passes in.

pub mod accepted;
pub mod client;
pub mod invite_client;
pub mod invite_server;
mod machine;
pub mod server;

use core::fmt;
use core::time::Duration;

use base::Mono;

pub use accepted::{Accepted2xx, AckRepeat};
pub use client::Client;
pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use server::Server;

/// The base timers (RFC 3261 table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions, 4 s.
    pub t2: Duration,
    /// Longest time a message stays in the network, 5 s.
    pub t4: Duration,
    /// How long a refused INVITE absorbs repeated responses over UDP, at least 32 s.
    pub d: Duration,
}

impl Timers {
    /// The RFC's values.
    pub const RFC: Self = Self {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        d: Duration::from_secs(32),
    };

    /// 64 * T1: timers B, F, H, J, L, M.
    #[must_use]
    pub const fn give_up(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::RFC
    }
}

/// What the owner of a machine has to do now, a set.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Actions(u8);

impl Actions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Send the message that was just handed in.
    pub const SEND: Self = Self(1);
    /// Send the stored message again: the request, or the last response.
    pub const RESEND: Self = Self(2);
    /// Build (or send again) the ACK of the refusal, [`crate::ack_for_non_2xx`].
    pub const ACK: Self = Self(4);
    /// Give the message that just came to the transaction user.
    pub const PASS: Self = Self(8);
    /// Tell the user that nobody answered.
    pub const TIMEOUT: Self = Self(16);
    /// Tell the user that the transport failed.
    pub const FAIL: Self = Self(32);
    /// The machine has ended; forget it and its bytes.
    pub const END: Self = Self(64);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::SEND, "send"),
        (Self::RESEND, "resend"),
        (Self::ACK, "ack"),
        (Self::PASS, "pass"),
        (Self::TIMEOUT, "timeout"),
        (Self::FAIL, "fail"),
        (Self::END, "end"),
    ];

    /// All of `other` are in `self`.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Nothing to do.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        for (action, name) in Self::NAMES {
            if self.has(action) {
                write!(f, "{sep}{name}")?;
                sep = " ";
            }
        }
        if self.is_none() { f.write_str("-") } else { Ok(()) }
    }
}

/// The two clocks that every machine has: one that sends again, one that ends the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clocks {
    resend_at: Mono,
    end_at: Mono,
    /// The last interval of `resend_at` in nanoseconds.
    interval: u64,
}

impl Clocks {
    const OFF: Self = Self { resend_at: Mono::NEVER, end_at: Mono::NEVER, interval: 0 };

    fn start(now: Mono, interval: Option<Duration>, end: Duration) -> Self {
        let mut clocks = Self { end_at: now + end, ..Self::OFF };
        if let Some(interval) = interval {
            clocks.resend_in(now, interval);
        }
        clocks
    }

    fn resend_in(&mut self, now: Mono, interval: Duration) {
        self.interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.resend_at = now + interval;
    }

    /// The next interval: twice the last, at most `max`.
    fn back_off(&mut self, now: Mono, max: Duration) {
        let next = Duration::from_nanos(self.interval.saturating_mul(2)).min(max);
        self.resend_in(now, next);
    }

    fn deadline(&self) -> Mono {
        self.resend_at.min(self.end_at)
    }

    /// Which clock has run out; the one that ends the state comes first.
    fn due(&self, now: Mono) -> Option<Due> {
        if self.end_at <= now {
            Some(Due::End)
        } else if self.resend_at <= now {
            Some(Due::Resend)
        } else {
            None
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Resend,
    End,
}

/// Writes an event table: one line for each state and event that are in it.
fn dump_table<S: Copy + fmt::Debug, E: Copy + fmt::Debug>(
    out: &mut dyn fmt::Write,
    states: &[S],
    events: &[E],
    step: impl Fn(S, E) -> Option<(S, Actions)>,
) -> fmt::Result {
    for &state in states {
        for &event in events {
            if let Some((next, actions)) = step(state, event) {
                writeln!(out, "{state:?} + {event:?} -> {next:?}: {actions}")?;
            }
        }
    }
    Ok(())
}

const _: () = {
    assert!(size_of::<InviteClient>() <= 48);
    assert!(size_of::<InviteServer>() <= 48);
    assert!(size_of::<Client>() <= 48);
    assert!(size_of::<Server>() <= 48);
    assert!(size_of::<Accepted2xx>() <= 48);
    assert!(size_of::<AckRepeat>() <= 48);
};
