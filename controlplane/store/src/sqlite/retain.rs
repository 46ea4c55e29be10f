//! Retention: what is old, or more than an account's share, goes, oldest first.
//!
//! ```text
//!   writer: group, some steps, group, some steps ..     a step is one small transaction; whoever
//!           idle, some steps, idle ..                   waits for a commit goes before the next
//! ```
//!
//! A call goes with its CDRs, usage rows and charges, alerts and dead letters each by themselves.
//! What rows added up to is put into `gone` in the same transaction, and the days stay for ever:
//! nothing that money is asked by changes. Pages that became free are used again, so that the file
//! does not grow beyond what is kept; it does not shrink by itself.
//!
//! A share is an account's own: nobody's rows go for what another one has. Nothing younger than
//! [`SETTLED`] goes, whatever the share says: a later witness of the same leg may still come, and
//! must find what it corrects ([`super::witness`]).

use std::time::Duration;

use base::{CallId, Wall};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::apply::amount;
use super::convert::{int, text, unsigned};
use super::sums::{Group, Table};
use crate::StoreError;

/// What is kept, and by whose clock. 0 is no bound.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub now: fn() -> Wall,
    /// Calls, with their CDRs, usage rows and charges.
    pub calls: Keep,
    pub alerts: Keep,
    pub dead_letters: Keep,
}

/// Bounds of one kind of rows; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub days: u32,
    /// Rows of one account.
    pub rows: u64,
}

/// Nothing younger than this goes, microseconds: twice the longest call.
const SETTLED: u64 = 2 * DAY;
const DAY: u64 = 86_400_000_000;
/// Rows that go in one transaction; a call's take others with them. Some milliseconds.
const STEP_ROWS: u64 = 64;
/// Accounts that are looked at in one transaction.
const STEP_ACCOUNTS: usize = 64;
/// Between the end of one pass and the next.
const PASS_EVERY: Duration = Duration::from_micros(PASS_US);
const PASS_US: u64 = 30_000_000;
/// Between steps while nothing is written.
const STEP_EVERY: Duration = Duration::from_millis(10);

/// What is looked through, in this order, account by account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    Alert,
    DeadLetter,
    /// Facts that belong to no call that is listed: nobody's, or of one that was deleted.
    Facts,
}

/// Where the pass is.
#[derive(Debug)]
pub(super) struct Sweeper {
    retention: Retention,
    kind: Kind,
    /// The last account that is done.
    after: String,
    /// Until then there is nothing to do, microseconds.
    rests_until: u64,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Alert => "alert",
            Self::DeadLetter => "dead_letter",
            Self::Facts => "",
        }
    }

    /// The oldest rows of an account that are older than a moment.
    fn oldest(self) -> &'static str {
        match self {
            Self::Call => {
                "SELECT sid FROM call INDEXED BY call_list
                 WHERE account = ? AND created < ? AND ended IS NOT NULL
                 ORDER BY created, sid LIMIT ?"
            }
            Self::Alert => {
                "SELECT sid FROM alert INDEXED BY alert_list WHERE account = ? AND at < ?
                 ORDER BY at, sid LIMIT ?"
            }
            Self::DeadLetter | Self::Facts => {
                "SELECT sid FROM dead_letter INDEXED BY dead_letter_list
                 WHERE account = ? AND at < ? ORDER BY at, sid LIMIT ?"
            }
        }
    }
}

impl Sweeper {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, kind: Kind::Call, after: String::new(), rests_until: 0 }
    }

    /// How long the writer may idle before the next step.
    pub(super) fn pause(&self) -> Duration {
        if self.is_resting() { PASS_EVERY } else { STEP_EVERY }
    }

    /// A clock that was set back does not make the rest longer.
    pub(super) fn is_resting(&self) -> bool {
        let left = self.rests_until.saturating_sub((self.retention.now)().0);
        (1..=PASS_US).contains(&left)
    }

    /// The pass is done, or an error came: it goes on later.
    pub(super) fn rest(&mut self) {
        self.rests_until = (self.retention.now)().0 + PASS_US;
    }

    /// One transaction. How many rows went.
    pub(super) fn step(&mut self, connection: &mut Connection) -> Result<u64, StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut group = Group::new(&transaction);
        let removed = self.remove(&mut group)?;
        if removed > 0 {
            group.close(|written| written)?;
            transaction.commit()?;
        }
        Ok(removed)
    }

    fn remove(&mut self, group: &mut Group<'_>) -> Result<u64, StoreError> {
        let now = (self.retention.now)().0;
        if self.kind == Kind::Facts {
            let removed = facts(group, self.before(now, self.retention.calls))?;
            if removed == 0 {
                self.kind = Kind::Call;
                self.rest();
            }
            return Ok(removed);
        }
        for _ in 0..STEP_ACCOUNTS {
            let Some((account, rows)) = next_account(group.connection, self.kind, &self.after)?
            else {
                self.after.clear();
                self.kind = match self.kind {
                    Kind::Call => Kind::Alert,
                    Kind::Alert => Kind::DeadLetter,
                    Kind::DeadLetter | Kind::Facts => Kind::Facts,
                };
                return Ok(0);
            };
            let removed = self.of_account(group, now, (&account, rows))?;
            if removed > 0 {
                // There may be more.
                return Ok(removed);
            }
            self.after = account;
        }
        Ok(0)
    }

    /// The moment before which rows go for their age.
    fn before(&self, now: u64, keep: Keep) -> u64 {
        match keep.days {
            0 => 0,
            days => now.saturating_sub((u64::from(days) * DAY).max(SETTLED)),
        }
    }

    fn of_account(
        &self,
        group: &mut Group<'_>,
        now: u64,
        (account, rows): (&str, u64),
    ) -> Result<u64, StoreError> {
        let Retention { calls, alerts, dead_letters, .. } = self.retention;
        let keep = match self.kind {
            Kind::Call | Kind::Facts => calls,
            Kind::Alert => alerts,
            Kind::DeadLetter => dead_letters,
        };
        let removed = self.oldest(group, (account, self.before(now, keep)), STEP_ROWS)?;
        let surplus = if keep.rows == 0 { 0 } else { rows.saturating_sub(keep.rows) };
        if removed > 0 || surplus == 0 {
            return Ok(removed);
        }
        // Facts may be corrected for a while; what is only told may not.
        let before = if self.kind == Kind::Call { now.saturating_sub(SETTLED) } else { now };
        self.oldest(group, (account, before), surplus.min(STEP_ROWS))
    }

    fn oldest(
        &self,
        group: &mut Group<'_>,
        (account, before): (&str, u64),
        limit: u64,
    ) -> Result<u64, StoreError> {
        if before == 0 {
            return Ok(0);
        }
        let names: Vec<String> = group
            .connection
            .prepare_cached(self.kind.oldest())?
            .query_map(params![account, int(before), int(limit)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let (table, sql) = match self.kind {
            Kind::Call => (Table::Call, "DELETE FROM call WHERE sid = ?"),
            Kind::Alert => (Table::Alert, "DELETE FROM alert WHERE sid = ?"),
            Kind::DeadLetter | Kind::Facts => {
                (Table::DeadLetter, "DELETE FROM dead_letter WHERE sid = ?")
            }
        };
        let mut removed = 0;
        for name in &names {
            if self.kind == Kind::Call {
                removed += facts_of(group, name)?;
            }
            let gone = group.execute(sql, [name])?;
            match account.parse() {
                Ok(account) => group.sums.rows_of(table, account, -amount(gone)),
                Err(_) => group.sums.rows(table, -amount(gone)),
            }
            removed += gone as u64;
        }
        Ok(removed)
    }
}

/// The next account that has rows of this kind, and how many.
fn next_account(
    connection: &Connection,
    kind: Kind,
    after: &str,
) -> Result<Option<(String, u64)>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT account, rows FROM kept WHERE kind = ? AND account > ? AND rows > 0
             ORDER BY account LIMIT 1",
        )?
        .query_row(params![kind.name(), after], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))
        .optional()?;
    Ok(found)
}

const FOLD: [&str; 3] = [
    "INSERT INTO gone
       SELECT account, service, count(*), sum(count), sum(micros), sum(seconds), 0, 0, 0
       FROM usage WHERE call = ? GROUP BY account, service
     ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, count = count + excluded.count,
       micros = micros + excluded.micros, seconds = seconds + excluded.seconds",
    "INSERT INTO gone
       SELECT coalesce(account, ''), direction, 0, 0, 0, 0, count(*),
         coalesce(sum(max(ended - answered, 0)), 0), 0
       FROM cdr WHERE call = ? GROUP BY account, direction
     ON CONFLICT DO UPDATE SET cdr_rows = cdr_rows + excluded.cdr_rows,
       cdr_micros = cdr_micros + excluded.cdr_micros",
    "INSERT INTO gone SELECT account, service, 0, 0, 0, 0, 0, 0, sum(amount)
       FROM ledger WHERE call = ? GROUP BY account, service
     ON CONFLICT DO UPDATE SET charged = charged + excluded.charged",
];

/// What a call used and cost, kept as a sum.
fn facts_of(group: &mut Group<'_>, sid: &str) -> Result<u64, StoreError> {
    for sql in FOLD {
        group.execute(sql, [sid])?;
    }
    let mut removed = 0;
    for (table, sql) in [
        (Table::Usage, "DELETE FROM usage WHERE call = ?"),
        (Table::Cdr, "DELETE FROM cdr WHERE call = ?"),
        (Table::Ledger, "DELETE FROM ledger WHERE call = ?"),
    ] {
        let gone = group.execute(sql, [sid])?;
        group.sums.rows(table, -amount(gone));
        removed += gone as u64;
    }
    Ok(removed)
}

/// Facts older than this that no call stands beside: keys begin with the call, whose sid begins
/// with its time.
fn facts(group: &mut Group<'_>, before: u64) -> Result<u64, StoreError> {
    if before == 0 {
        return Ok(0);
    }
    let bound = text(&CallId::begun(Wall(before), 0));
    for sql in [
        "SELECT DISTINCT call FROM cdr WHERE call < ? AND created < ?
           AND NOT EXISTS (SELECT 1 FROM call WHERE sid = cdr.call) ORDER BY call LIMIT ?",
        "SELECT DISTINCT call FROM usage WHERE call < ? AND at < ?
           AND NOT EXISTS (SELECT 1 FROM call WHERE sid = usage.call) ORDER BY call LIMIT ?",
        "SELECT DISTINCT call FROM ledger WHERE call < ? AND at < ?
           AND NOT EXISTS (SELECT 1 FROM call WHERE sid = ledger.call) ORDER BY call LIMIT ?",
    ] {
        let calls: Vec<String> = group
            .connection
            .prepare_cached(sql)?
            .query_map(params![bound, int(before), int(STEP_ROWS)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut removed = 0;
        for sid in &calls {
            removed += facts_of(group, sid)?;
        }
        if removed > 0 {
            return Ok(removed);
        }
    }
    Ok(0)
}
