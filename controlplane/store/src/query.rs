//! What can be asked, and the answers that are no rows of the model.

use base::{CallId, Wall};
use director::model::{AccountSid, AlertLevel, CallStatus, Currency, Nanos, Service};

/// A place in a list that is ordered newest first: by moment, then by sid's number, both
/// descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub at: Wall,
    pub id: u128,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seek {
    #[default]
    First,
    /// What is older than the cursor.
    After(Cursor),
    /// The last rows newer than the cursor; still answered newest first.
    Before(Cursor),
}

/// A part of a list and how many rows of it at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub seek: Seek,
    pub limit: usize,
}

/// Moments from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Wall,
    pub to: Wall,
}

/// A page of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallQuery {
    pub account: AccountSid,
    pub to: Option<String>,
    pub from: Option<String>,
    pub status: Option<CallStatus>,
    pub parent: Option<CallId>,
    /// start_time (date_created where a call has none).
    pub start: Span,
    /// end_time; a call that stands is in the unbounded span only.
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

/// What an account used of one micro-service on one UTC day, and what it was charged in one
/// currency (the first one by code if there were several).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageDay {
    /// The day's first moment.
    pub day: Wall,
    pub service: Service,
    pub count: u64,
    pub micros: u64,
    pub seconds: u64,
    pub bytes: u64,
    pub price: Nanos,
    pub currency: Currency,
}

/// One micro-service's usage of an account, added up from different tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub service: Service,
    /// From the usage rows.
    pub rows: u64,
    pub micros: u64,
    pub seconds: u64,
    pub count: u64,
    /// From the daily rollups.
    pub day_rows: u64,
    pub day_micros: u64,
    pub day_seconds: u64,
    pub day_count: u64,
    /// From the CDRs of the service's direction, answer to end; 0 for services that are no leg.
    pub cdr_micros: u64,
    pub cdr_rows: u64,
    /// From the ledger.
    pub charged: Nanos,
}

/// The store for its operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub calls: u64,
    pub cdrs: u64,
    pub usage_rows: u64,
    pub ledger_rows: u64,
    pub alerts: u64,
    pub dead_letters: u64,
    pub scripts: u64,
    /// Writes submitted and not committed.
    pub waiting: u64,
    pub database_bytes: u64,
}

impl Span {
    /// All of time.
    pub const ALL: Self = Self { from: Wall(0), to: Wall(u64::MAX) };
}
