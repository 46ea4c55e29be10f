//! What the API needs of the rest of the controlplane. The daemon implements it: reads go to the
//! store (or to a cache of it), [`Backend::submit`] goes to the director and comes back when the
//! write is durable.
//!
//! Nothing here decides who may see what: the API authenticates, authorises the path's account and
//! compares the account of every row it shows. Reads by sid therefore answer whoever's row it is.

use core::fmt;
use std::future::Future;
use std::pin::Pin;

use base::{CallId, Wall};
use director::model::{
    Account, AccountSid, Alert, AlertLevel, AlertSid, CallRow, CallStatus, Cdr, Currency, Nanos,
    Secret, Service, UsageRow,
};
use director::port::{ApiRequest, ApiResult, Entity, EntityKey};

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The rest of the controlplane, as the API sees it. Every method may be called at any time from
/// any task and must not block its thread.
pub trait Backend: Send + Sync + 'static {
    /// Now, UTC.
    fn now(&self) -> Wall;

    /// Who logs in as `username` (an AccountSid or an API key's sid, as it came) and what secret
    /// that one must know. The API compares, in constant time. `None`: nobody.
    fn login<'a>(&'a self, username: &'a str) -> Answer<'a, Read<Option<Login>>>;

    /// Hands a request for `account` to the director. Ends with its answer, or with 503 (code
    /// 20503) when the director is not there; if the caller goes away first, the request is still
    /// carried out.
    fn submit(&self, account: AccountSid, what: ApiRequest) -> Answer<'_, ApiResult>;

    /// One configured thing by its key, whoever's it is.
    fn entity(&self, key: EntityKey) -> Answer<'_, Read<Option<Entity>>>;

    /// A page of what an account configured, newest first (by date_created, then sid).
    fn entities(&self, query: EntityQuery) -> Answer<'_, Read<Vec<Entity>>>;

    /// One call, live or past, whoever's it is.
    fn call(&self, sid: CallId) -> Answer<'_, Read<Option<CallRow>>>;

    /// A page of an account's calls, newest first (by date_created, then sid).
    fn calls(&self, query: CallQuery) -> Answer<'_, Read<Vec<CallRow>>>;

    /// Takes an ended call out of [`Backend::call`] and [`Backend::calls`]; its CDR and usage stay.
    /// `None`: this backend keeps every call visible, and DELETE on a call is refused.
    fn hide_call(&self, _sid: CallId) -> Answer<'_, Option<Read<()>>> {
        Box::pin(async { None })
    }

    /// The CDRs of a call: one once it has ended, none before.
    fn cdrs(&self, call: CallId) -> Answer<'_, Read<Vec<Cdr>>>;

    /// The usage rows of a call, by micro-service and segment.
    fn usage_of_call(&self, call: CallId) -> Answer<'_, Read<Vec<UsageRow>>>;

    /// Usage and charges by UTC day and micro-service, for days that start in `from..to`, oldest
    /// first.
    fn usage(&self, account: AccountSid, from: Wall, to: Wall) -> Answer<'_, Read<Vec<UsageDay>>>;

    /// One alert, whoever's it is.
    fn alert(&self, sid: AlertSid) -> Answer<'_, Read<Option<Alert>>>;

    /// A page of an account's alerts, newest first (by `at`, then sid).
    fn alerts(&self, query: AlertQuery) -> Answer<'_, Read<Vec<Alert>>>;

    /// The operator's metrics in the Prometheus text format.
    fn metrics(&self) -> Answer<'_, String>;

    /// Whether calls are taken, and what is not right.
    fn health(&self) -> Health;
}

/// What `/healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// New calls are taken and what they cost can be written down.
    pub serving: bool,
    /// Lines for people; `ok` where there is nothing to say.
    pub text: String,
}

/// What a read gives.
pub type Read<T> = Result<T, Unavailable>;

/// The store cannot be read now; why is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The account that logs in, or that the key belongs to.
    pub account: Account,
    /// The account's auth token, or the key's secret.
    pub secret: Secret,
    /// Logged in with an API key: not allowed to manage accounts and keys.
    pub key: bool,
}

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

/// A kind of [`Entity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityKind {
    /// The account itself and its sub-accounts.
    Account,
    ApiKey,
    Application,
    PhoneNumber,
    SipDomain,
}

/// A page of configured things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityQuery {
    pub kind: EntityKind,
    pub account: AccountSid,
    /// Exact friendly name.
    pub friendly_name: Option<String>,
    /// Part of a phone number, digits alone (phone numbers only).
    pub number_part: Option<String>,
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

/// Moments from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Wall,
    pub to: Wall,
}

/// What an account used of one micro-service on one UTC day, and what it was charged.
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
        let name = match entity {
            Entity::Account(it) => &it.friendly_name,
            Entity::ApiKey(it) => &it.friendly_name,
            Entity::Application(it) => &it.friendly_name,
            Entity::PhoneNumber(it) => &it.friendly_name,
            Entity::SipDomain(it) => &it.friendly_name,
            Entity::Route(_) | Entity::Price(_) => return false,
        };
        let part = match (&self.number_part, entity) {
            (Some(part), Entity::PhoneNumber(it)) => it.number.contains(part.as_str()),
            (part, _) => part.is_none(),
        };
        part && self.friendly_name.as_ref().is_none_or(|wanted| wanted == name)
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

impl Listed for Alert {
    fn cursor(&self) -> Cursor {
        Cursor { at: self.at, id: self.sid.0 }
    }
}

impl Listed for Entity {
    fn cursor(&self) -> Cursor {
        let (at, id) = match self {
            Self::Account(it) => (it.date_created, it.sid.0),
            Self::ApiKey(it) => (it.date_created, it.sid.0),
            Self::Application(it) => (it.date_created, it.sid.0),
            Self::PhoneNumber(it) => (it.date_created, it.sid.0),
            Self::SipDomain(it) => (it.date_created, it.sid.0),
            Self::Route(it) => (it.date_created, it.sid.0),
            Self::Price(_) => (Wall(0), 0),
        };
        Cursor { at, id }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store not readable: {}", self.0)
    }
}

impl core::error::Error for Unavailable {}
