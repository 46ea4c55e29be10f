//! Where a user of a domain is reached: a contact that a phone has registered, and the way on which
//! it did.

use base::{Hop, Wall};
use serde::{Deserialize, Serialize};

use crate::sid::{AccountSid, BindingSid, DomainSid};

/// A registered contact (RFC 3261 section 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub sid: BindingSid,
    pub account: AccountSid,
    pub domain: DomainSid,
    /// The user part of its address of record, as it is meant.
    pub user: String,
    /// The contact's URI as the phone wrote it.
    pub contact: String,
    /// The contact's other parameters (`+sip.instance`, `reg-id`, `pn-*` in the header), as
    /// written, each behind a semicolon; without `expires` and `q`.
    pub params: String,
    /// Thousandths.
    pub q: u16,
    /// `+sip.instance` as written, and `reg-id`; empty and 0 for none (RFC 5626).
    pub instance: String,
    pub reg_id: u32,
    pub call_id: String,
    pub cseq: u32,
    /// Path values, the nearest to us first (RFC 3327).
    pub path: Vec<String>,
    /// By which way its REGISTER came, and from where: the flow.
    pub hop: Hop,
    pub user_agent: String,
    /// When the contact came, and when it goes if nothing is said of it.
    pub date_created: Wall,
    pub expires: Wall,
    /// Behind all of it in what is written ([`Registered`]).
    #[serde(skip)]
    pub kept: Kept,
}

/// What we keep of a contact beside what its phone said; nothing of it is known of one that an
/// older binary wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When its last REGISTER came.
    pub came: Wall,
    /// What is metered of it: which part of its time, since when, and how long until `came`,
    /// microseconds. A part ends with the first REGISTER of another day.
    pub segment: u16,
    pub start: Wall,
    pub micros: u64,
    /// It is called where its REGISTER came from, whatever its contact says (RFC 3581).
    pub is_behind_nat: bool,
    /// Whose contact's row its time is counted in: one's that has gone, or its own.
    #[serde(default)]
    pub row: BindingSid,
    /// Of all contacts those that were registered later have the higher number, whatever a clock
    /// showed.
    #[serde(default)]
    pub turn: u64,
}

/// A contact as it is written: with what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    binding: Binding,
    kept: Kept,
}

impl From<Binding> for Registered {
    fn from(binding: Binding) -> Self {
        let kept = binding.kept;
        Self { binding: Binding { kept: Kept::default(), ..binding }, kept }
    }
}

impl From<Registered> for Binding {
    fn from(Registered { binding, kept }: Registered) -> Self {
        Self { kept, ..binding }
    }
}

impl Registered {
    #[must_use]
    pub fn binding(&self) -> Binding {
        self.clone().into()
    }

    /// About how many bytes it is.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.binding.weight()
    }

    #[must_use]
    pub fn sid(&self) -> BindingSid {
        self.binding.sid
    }

    #[must_use]
    pub fn account(&self) -> AccountSid {
        self.binding.account
    }

    #[must_use]
    pub fn expires(&self) -> Wall {
        self.binding.expires
    }
}

impl Binding {
    /// About how many bytes it is.
    #[must_use]
    pub fn weight(&self) -> usize {
        let path: usize = self.path.iter().map(|path| path.len() + 8).sum();
        let texts = [&self.user, &self.contact, &self.params, &self.instance, &self.call_id];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        512 + texts + path + self.user_agent.len()
    }

    /// Another REGISTER has said the same: all but times and its own number.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let what = |it: &Self| {
            let is_behind_nat = it.kept.is_behind_nat;
            (it.contact.clone(), it.params.clone(), it.q, it.path.clone(), it.hop, is_behind_nat)
        };
        what(self) == what(other)
    }
}
