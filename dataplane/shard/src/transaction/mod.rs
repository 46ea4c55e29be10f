//! Transactions (RFC 3261 section 17): the machines are `sip::txn`'s; here are their storage, their
//! timers and their bytes. Whoever holds a transaction holds its id, which carries a generation: a
//! finished transaction's slot never answers for its successor.

mod clients;
mod servers;

pub(crate) use clients::{
    ClientId, ClientTransaction, Clients, Method as Sent, Outcome, REQUEST, Report, ack_branch,
    lone_branch, request_branch, via_of,
};
pub(crate) use servers::{Begin, ServerId, ServerTransaction, Servers};

/// Both sides.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) servers: Servers,
    pub(crate) clients: Clients,
}
