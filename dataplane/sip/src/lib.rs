//! SIP: zero-copy parser and writer, transactions, dialogs, digest (RFC 3261).
//!
//! The crate is values and functions: bytes and `now` in, bytes and answers out. Nothing here allocates,
//! reads a clock or knows a socket. A message is read with [`Message::parse`] and borrowed from the datagram;
//! it is written with [`Writer`] into the caller's buffer. Transactions ([`txn`]) are values without storage:
//! the bytes they retransmit are the caller's.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod lex;
pub mod limits;
pub mod message;
pub mod method;
pub mod name;
pub mod params;
pub mod uri;
pub mod via;

pub use addr::NameAddr;
pub use message::{Bad, CSeq, Cause, Header, Malformed, Message, RAck, Replaces, Start};
pub use method::Method;
pub use name::Name;
pub use params::{List, Param, Params};
pub use uri::{BadUri, Host, Scheme, Uri, UriParams};
pub use via::{Rport, Transport, Via};
