//! Transactions (RFC 3261 section 17): the machines are `sip::txn`'s; here are their storage, their
//! timers and their bytes. Whoever holds a transaction holds its id, which carries a generation: a
//! finished transaction's slot never answers for its successor.
//!
//! A finished transaction only waits for repetitions (timers D, I, J, L, M). It keeps its key, its
//! timer and what a repetition is answered by, no more: the status of an answer that its request
//! gives again, or the lines of an INVITE that its ACK copies. Where the table is full the oldest
//! finished one makes room ([`finished`]): the table is no ceiling of the call rate, it is how long
//! repetitions are remembered. What a dialog repeats is answered by the dialog then; what else
//! comes again is answered anew.

mod clients;
mod finished;
pub(crate) mod logins;
mod referrals;
mod servers;
mod share;
pub(crate) mod texts;
mod waiting;

use core::net::SocketAddr;

pub(crate) use clients::{
    ClientId, ClientTransaction, Clients, Method as Sent, Outcome, REQUEST, Report, ack_branch,
    lone_branch, request_branch, via_of, with_credentials,
};
pub(crate) use referrals::{Asked, Referrals};
pub(crate) use servers::{Begin, Repeated, ServerId, ServerTransaction, Servers};
pub(crate) use share::{Account as Share, Shares};

use crate::transport::connections::End;

/// Where nothing can be sent, as the network says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// Datagrams to there.
    Address(SocketAddr),
    /// By a connection to there.
    End(End),
}

/// Both sides.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) servers: Servers,
    pub(crate) clients: Clients,
    pub(crate) referrals: Referrals,
    pub(crate) texts: texts::Texts,
    pub(crate) asked: Asked,
}
