//! What can be asked of what was written, a page at a time, and the answers that are no rows of the
//! model.

use base::{CallId, Wall};

use crate::port::Entity;
use crate::{
    AccountSid, Alert, AlertLevel, CallRow, CallStatus, CredentialListSid, Currency, DeadLetter,
    EntityKind, Nanos, Service, TrunkSid,
};

/// A place in a list that is ordered newest first: by moment, then by sid's number, both
/// descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: Wall,
    pub id: u128,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seek {
    /// From the newest.
    #[default]
    First,
    /// What comes after (is older than) the cursor.
    After(Cursor),
    /// The last rows before (newer than) the cursor; still answered newest first.
    Before(Cursor),
}

/// A part of a list and how many rows of it at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub seek: Seek,
    /// 1-1,001
    pub limit: usize,
}

/// A page of configured things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityQuery {
    pub kind: EntityKind,
    /// None: whoever's they are, for the operator.
    pub account: Option<AccountSid>,
    /// Exact friendly name.
    pub friendly_name: Option<String>,
    /// Part of a phone number, digits alone (phone numbers only).
    pub number_part: Option<String>,
    /// Of one list (credentials only).
    pub list: Option<CredentialListSid>,
    /// Of one trunk (numbers of trunks only).
    pub trunk: Option<TrunkSid>,
    pub window: Window,
}

/// A page of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallQuery {
    pub account: AccountSid,
    /// Exact.
    pub to: Option<String>,
    /// Exact.
    pub from: Option<String>,
    pub status: Option<CallStatus>,
    pub parent: Option<CallId>,
    /// start_time (date_created where a call has none) in `from..to`.
    pub start: Span,
    /// end_time in `from..to`; a call that stands is in the unbounded span only.
    pub end: Span,
    pub window: Window,
}

/// A page of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertQuery {
    pub account: AccountSid,
    pub call: Option<CallId>,
    pub level: Option<AlertLevel>,
    pub at: Span,
    pub window: Window,
}

/// A page of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterQuery {
    /// None: whoever's they are, for the operator.
    pub account: Option<AccountSid>,
    pub window: Window,
}

/// Moments from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Wall,
    pub to: Wall,
}

/// What an account used of one micro-service on one UTC day, and what it was charged in one
/// currency. What it was charged in another is a day of its own, without what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageDay {
    /// The day's first moment.
    pub day: Wall,
    pub service: Service,
    /// In the service's counting unit.
    pub count: u64,
    /// Exact duration.
    pub micros: u64,
    /// Sum of the segments' durations, each rounded up to whole seconds.
    pub seconds: u64,
    pub bytes: u64,
    /// Negative for charges.
    pub price: Nanos,
    pub currency: Currency,
}

impl Span {
    /// All of time.
    pub const ALL: Self = Self { from: Wall(0), to: Wall(u64::MAX) };

    #[must_use]
    pub fn contains(&self, at: Wall) -> bool {
        self.from <= at && at < self.to
    }
}

impl Window {
    /// The window of `rows`, which come in any order: for backends that keep a list in memory.
    #[must_use]
    pub fn apply<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> Cursor) -> Vec<T> {
        rows.sort_by_key(|row| core::cmp::Reverse(cursor(row)));
        match self.seek {
            Seek::First => {}
            Seek::After(after) => rows.retain(|row| cursor(row) < after),
            Seek::Before(before) => {
                rows.retain(|row| cursor(row) > before);
                rows.drain(..rows.len().saturating_sub(self.limit));
            }
        }
        rows.truncate(self.limit);
        rows
    }
}

impl EntityQuery {
    /// What the query asks for besides kind, account and window.
    #[must_use]
    pub fn matches(&self, entity: &Entity) -> bool {
        let part = match (&self.number_part, entity) {
            (Some(part), Entity::PhoneNumber(it)) => it.number.contains(part.as_str()),
            (part, _) => part.is_none(),
        } && match (&self.list, entity) {
            (Some(list), Entity::Credential(it)) => it.list == *list,
            (list, _) => list.is_none(),
        } && match (&self.trunk, entity) {
            (Some(trunk), Entity::TrunkNumber(it)) => it.trunk == *trunk,
            (trunk, _) => trunk.is_none(),
        };
        let wanted = self.friendly_name.as_deref();
        part && wanted.is_none_or(|wanted| entity.friendly_name() == Some(wanted))
    }
}

impl CallQuery {
    /// Everything but the window.
    #[must_use]
    pub fn matches(&self, row: &CallRow) -> bool {
        row.account == self.account
            && self.to.as_ref().is_none_or(|to| *to == row.to)
            && self.from.as_ref().is_none_or(|from| *from == row.from)
            && self.status.is_none_or(|status| status == row.status)
            && self.parent.is_none_or(|parent| Some(parent) == row.parent)
            && self.start.contains(row.start_time.unwrap_or(row.date_created))
            && (self.end == Span::ALL || row.end_time.is_some_and(|end| self.end.contains(end)))
    }
}

impl AlertQuery {
    /// Everything but the window.
    #[must_use]
    pub fn matches(&self, alert: &Alert) -> bool {
        alert.account == self.account
            && self.call.is_none_or(|call| alert.call == Some(call))
            && self.level.is_none_or(|level| alert.level == level)
            && self.at.contains(alert.at)
    }
}

/// Where a row stands in its list.
pub trait Listed {
    fn cursor(&self) -> Cursor;
}

impl Listed for CallRow {
    fn cursor(&self) -> Cursor {
        Cursor { at: self.date_created, id: self.sid.0 }
    }
}

impl Listed for DeadLetter {
    fn cursor(&self) -> Cursor {
        Cursor { at: self.at, id: self.number() }
    }
}

impl Listed for Alert {
    fn cursor(&self) -> Cursor {
        Cursor { at: self.at, id: self.sid.number() }
    }
}
