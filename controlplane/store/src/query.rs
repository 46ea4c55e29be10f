//! What the store answers beside the rows of the model: to its operator, and to who checks its
//! sums.

use model::{Nanos, Service};

/// One micro-service's usage of an account, added up from different tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub service: Service,
    /// From the usage rows, with what those that were removed had added up to; the same of CDRs
    /// and ledger.
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
    /// Dropped of accounts that have too many, since the database was made.
    pub dead_letters_dropped: u64,
    pub scripts: u64,
    /// Writes submitted and not committed.
    pub waiting: u64,
    /// Rows removed for their age, or beyond an account's share, since this process began.
    pub removed: u64,
    pub database_bytes: u64,
    /// Of these, what the next rows take before the file grows.
    pub free_bytes: u64,
}
