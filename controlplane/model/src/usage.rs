//! What was used: one CDR per leg, one row per leg, micro-service and segment. Both are made from
//! the closed cell or its event; either witness alone gives the same rows.

use std::net::SocketAddr;

use base::{CallId, LegId, Wall};
use serde::{Deserialize, Serialize};
use wire::UsageKey;
use wire::event::{Cause, Direction, MediaSummary, Party};

use crate::money::Nanos;
use crate::sid::AccountSid;

/// Whole seconds of a time: each one that has begun. What a call lasted, what its callbacks and its
/// CDR say of it, what was used and what is charged for it are counted by this alone, so that they
/// agree.
#[must_use]
pub fn whole_seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}

/// A leg's whole story. Key: (node, epoch, leg).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    pub node: u32,
    pub epoch: u32,
    pub leg: LegId,
    pub call: CallId,
    pub parent: Option<CallId>,
    /// None for a leg refused before an account was known.
    pub account: Option<AccountSid>,
    pub direction: Direction,
    pub from: String,
    pub to: String,
    pub remote: SocketAddr,
    /// SIP Call-ID.
    pub sip_call_id: String,
    pub created: Wall,
    pub answered: Option<Wall>,
    pub ended: Wall,
    /// Final SIP status for the INVITE, 0 if none.
    pub code: u16,
    pub cause: Cause,
    pub by: Party,
    /// What the refusal or failure was, where the director knows more than the cause.
    pub reason: Option<String>,
    pub media: Option<MediaSummary>,
    pub price: Option<Nanos>,
}

/// A leg's use of one micro-service in one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    pub key: UsageKey,
    pub account: Option<AccountSid>,
    pub call: CallId,
    /// The moment that decides its billing day: `start`, or the end of a leg that was never
    /// answered.
    pub at: Wall,
    /// 0 if billing never started.
    pub start: Wall,
    pub last: Wall,
    /// In the service's counting unit.
    pub count: u64,
    pub micros: u64,
    /// Of `micros`, by [`whole_seconds`].
    pub seconds: u64,
    pub bytes: u64,
}

impl Cdr {
    /// Answer to end, microseconds; 0 for a leg that was never answered.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.answered.map_or(0, |answered| self.ended.micros_since(answered))
    }
}
