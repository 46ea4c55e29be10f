//! A SIP user agent as a value: bytes and `now` in, bytes out. It is the far end that the switch
//! is tried against, so it shares nothing with the switch's own leg but the readers and the
//! transaction machines, and it is strict: it uses only what offer and answer have put in force
//! (RFC 3264), and it writes down what the switch did wrong.
//!
//! ```text
//!   Agent (one address) --> PhoneCall (habits, offer and answer, session timer) --> Media (speech)
//!                                |
//!                                +--> Signal (dialog and transactions of one call)
//! ```
//!
//! [`stranger`] is the other sort of far end: who floods a switch and takes no part in a call.
//!
//! [`Signal`] alone serves who has habits of their own (the load tool, the benches): it keeps its
//! buffers and allocates nothing for a call whose place was used before.
//!
//! ```
//! use agent::{Agent, Datagram, Dial, Manner};
//! let now = base::Now { mono: base::Mono(1), wall: base::Wall(1) };
//! let mut phone = Agent::new("192.0.2.1:5060".parse().unwrap(), Manner::default(), 1);
//! let dial = Dial { to: "sip:b@example.com".into(), from: "sip:a@x".into(), ..Dial::default() };
//! let mut out: Vec<Datagram> = Vec::new();
//! phone.dial(now, "192.0.2.9:5060".parse().unwrap(), &dial, &mut out);
//! assert!(out[0].bytes.starts_with(b"INVITE sip:b@example.com SIP/2.0\r\n"));
//! ```
#![forbid(unsafe_code)]

pub mod describe;
pub mod g711;
pub mod phone;
pub mod signal;
pub mod stranger;
pub mod voice;

use std::net::SocketAddr;

pub use phone::{
    Account, Action, Agent, Dial, Heard, Login, Manner, Media, PhoneCall, Registered, Registration,
    Reinvite, Seen, SessionTimer, Speaks, State, StreamHeard, Who,
};
pub use signal::{Cx, Room, Signal};

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Where an agent's datagrams go.
pub trait Outbox {
    /// Takes a datagram; the bytes are the agent's and are copied if they are to stay.
    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]);
}

impl Outbox for Vec<Datagram> {
    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.push(Datagram { from, to, bytes: bytes.to_vec() });
    }
}
