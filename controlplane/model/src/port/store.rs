//! What is written. One [`StoreWrite`] is one journal entry: all of it or nothing.

use base::CallId;
use serde::{Deserialize, Serialize};

use crate::resource::{Entity, EntityKey};
use crate::{
    AccountSid, Alert, Binding, BindingSid, CallRow, Cdr, DeadLetter, LedgerEntry, Registered,
    UsageRow,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreId(pub u64);

/// Records to append together, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreWrite {
    /// With an id: answered by `handle_stored` once durable (after the journal's fsync). Without:
    /// appended.
    pub id: Option<StoreId>,
    pub records: Vec<Record>,
}

/// One change. All of them may come again after a crash: inserts are by key, updates last-wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Insert or replace by sid.
    Call(Box<CallRow>),
    /// Insert unless the sid is there: made from a summary alone, poorer than what may be there. Of
    /// a call whose end was written too early it corrects the end.
    CallIfAbsent(Box<CallRow>),
    /// By (node, epoch, leg): of several the one that ended last.
    Cdr(Box<Cdr>),
    /// By key: of several the longest; counters and rollups in the same transaction.
    Usage(UsageRow),
    /// By key: of several the one of the longest usage.
    Ledger(LedgerEntry),
    /// Insert by sid.
    Alert(Box<Alert>),
    /// Insert or replace by idempotency token.
    DeadLetter(Box<DeadLetter>),
    Script(ScriptLog),
    /// Insert or replace.
    Put(Box<Entity>),
    Delete(EntityKey),
    /// Goes behind what the call's log has; begins one where there is none.
    ScriptChange(ScriptChange),
    /// It was delivered after all, or its account does not want it.
    DeadLetterGone {
        account: AccountSid,
        token: String,
    },
    /// The row of an ended call goes; its facts stay.
    HideCall {
        call: CallId,
        account: AccountSid,
    },
    /// Insert or replace by sid: as older binaries wrote it, which knew nothing of what is kept.
    Binding(Box<Binding>),
    /// It was taken back, or its time was over.
    BindingGone(BindingSid),
    /// Insert or replace by sid.
    Registered(Box<Registered>),
}

/// The live state of one call, for a successor: takes the place of the call's log, None ends it.
/// Opaque to everybody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptLog {
    pub call: CallId,
    pub state: Option<Vec<u8>>,
}

/// What changed of that state: bytes for the end of the call's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptChange {
    pub call: CallId,
    pub change: Vec<u8>,
}

/// What came of a write with an id.
pub type Stored = Result<(), String>;

impl Record {
    /// About how many bytes it is when written; rather too many than too few.
    #[must_use]
    pub fn weight(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| -> usize {
            pairs.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
        };
        match self {
            Self::Script(log) => 64 + log.state.as_ref().map_or(0, Vec::len),
            Self::ScriptChange(log) => 64 + log.change.len(),
            Self::Call(row) | Self::CallIfAbsent(row) => {
                512 + row.to.len()
                    + row.from.len()
                    + row.caller_name.as_ref().map_or(0, String::len)
            }
            Self::Cdr(cdr) => 1_024 + cdr.from.len() + cdr.to.len() + cdr.sip_call_id.len(),
            Self::Usage(_)
            | Self::Ledger(_)
            | Self::Delete(_)
            | Self::DeadLetterGone { .. }
            | Self::BindingGone(_)
            | Self::HideCall { .. } => 256,
            Self::Binding(binding) => binding.weight(),
            Self::Registered(binding) => binding.weight(),
            Self::Alert(alert) => {
                512 + alert.message.len() + alert.url.as_ref().map_or(0, String::len)
            }
            Self::DeadLetter(letter) => {
                512 + letter.url.len() + letter.error.len() + pairs(&letter.params)
            }
            // Some URLs, some networks.
            Self::Put(_) => 64 * 1024,
        }
    }
}
