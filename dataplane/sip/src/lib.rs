//! SIP: zero-copy parser and writer, transactions, dialogs, digest (RFC 3261).
//!
//! The crate is values and functions: bytes and `now` in, bytes and answers out. Nothing here
//! allocates, reads a clock or knows a socket. A message is read with [`Message::parse`] and
//! borrowed from the datagram; it is written with [`Writer`] into the caller's buffer. Transactions
//! ([`txn`]) are values without storage: the bytes they retransmit are the caller's.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod body;
pub mod check;
pub mod dialog;
pub mod digest;
pub mod framing;
pub mod fuzz;
pub mod key;
pub mod lex;
pub mod limits;
mod lines;
pub mod message;
pub mod method;
pub mod name;
pub mod number;
pub mod params;
pub mod reason;
pub mod reply;
pub mod session;
pub mod status;
pub mod token;
pub mod txn;
pub mod uri;
pub mod via;
pub mod websocket;
pub mod write;

pub use addr::NameAddr;
pub use body::{BodyPart, Handling, SdpBody};
pub use check::{Core, Essentials, Refusal, Why};
pub use check::{response_essentials, validate_request, validate_response};
pub use dialog::{Dialog, DialogError, DialogId};
pub use key::TransactionKey;
pub use message::{Bad, CSeq, Cause, Header, Malformed, Message, RAck, Replaces, Start};
pub use method::Method;
pub use name::Name;
pub use number::{Number, user_starts_with};
pub use params::{List, Param, Params};
pub use reason::{Privacy, Reason};
pub use reply::{Reply, ack_for_non_2xx, cancel_for, reply_to};
pub use status::reason_phrase;
pub use uri::{BadUri, Host, Scheme, Uri, UriParams};
pub use via::{Rport, Transport, Via};
pub use write::{Part, ViaOut, WriteError, Writer};
