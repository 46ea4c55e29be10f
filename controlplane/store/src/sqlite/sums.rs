//! What is kept beside rows as a sum: how many rows there are, what a day adds up to, how long an
//! account's calls waited and stood. A group of writes gathers what it adds and writes each sum
//! once, in the same transaction: most rows of a group belong to a few accounts and to one day.

use std::collections::BTreeMap;

use model::{AccountSid, Currency, UsageKey, UsageRow};
use rusqlite::{Connection, Params, params};

use super::convert::{day_of, int, text};
use crate::StoreError;

/// The rows that a transaction writes, and what they add to the sums.
#[derive(Debug)]
pub(super) struct Group<'c> {
    pub(super) connection: &'c Connection,
    pub(super) sums: Sums,
}

impl<'c> Group<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, sums: Sums::default() }
    }

    /// Rows that the statement changed.
    pub(super) fn execute(&self, sql: &str, values: impl Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(values)?)
    }

    /// The last step before the transaction commits. `unless_refused` says of each sum that cannot
    /// be written whether it is to be left out, as a record is: an account's sum of a day ends at
    /// 2^63, and who drives his there hurts himself alone.
    pub(super) fn close(
        self,
        unless_refused: impl Fn(Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.sums.write(self.connection, unless_refused)
    }
}

/// Tables whose rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Call,
    Cdr,
    Usage,
    Ledger,
    Alert,
    DeadLetter,
    Script,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Cdr => "cdr",
            Self::Usage => "usage",
            Self::Ledger => "ledger",
            Self::Alert => "alert",
            Self::DeadLetter => "dead_letter",
            Self::Script => "script",
        }
    }
}

/// Account (None: nobody's), micro-service, first moment of the day.
type Day = (Option<AccountSid>, u16, i64);

#[derive(Debug, Default)]
pub(super) struct Sums {
    /// By table and account; None for all of them.
    rows: BTreeMap<(Table, Option<AccountSid>), i64>,
    used: BTreeMap<Day, Used>,
    charged: BTreeMap<(Day, [u8; 3]), i128>,
    spreads: BTreeMap<AccountSid, Spread>,
}

/// Rows; count, microseconds, seconds and bytes.
#[derive(Debug, Default)]
struct Used {
    rows: i64,
    amounts: [i128; 4],
}

/// The least and the most of an account's calls, microseconds behind their beginning.
#[derive(Debug)]
struct Spread {
    started: (i64, i64),
    ended: (i64, i64),
}

impl Sums {
    /// So many rows more, or less.
    pub(super) fn rows(&mut self, table: Table, rows: i64) {
        *self.rows.entry((table, None)).or_default() += rows;
    }

    /// The same of a table in which each account has a share.
    pub(super) fn rows_of(&mut self, table: Table, account: AccountSid, rows: i64) {
        self.rows(table, rows);
        *self.rows.entry((table, Some(account))).or_default() += rows;
    }

    /// A usage row comes to its day, or is taken out again (`sign` -1).
    pub(super) fn used(&mut self, row: &UsageRow, sign: i64) {
        let day = (row.account, row.key.service as u16, day_of(row.at));
        let used = self.used.entry(day).or_default();
        used.rows += sign;
        let amounts = [row.count, row.micros, row.seconds, row.bytes];
        for (sum, amount) in used.amounts.iter_mut().zip(amounts) {
            *sum += i128::from(sign) * i128::from(int(amount));
        }
    }

    /// A charge comes to its day; taken out again where `amount` is negative.
    pub(super) fn charged(
        &mut self,
        (account, key): (Option<AccountSid>, UsageKey),
        day: i64,
        (currency, amount): (Currency, i64),
    ) {
        let day = (account, key.service as u16, day);
        *self.charged.entry((day, currency.0)).or_default() += i128::from(amount);
    }

    /// A call that waited and stood so long.
    pub(super) fn spread(&mut self, account: AccountSid, started: i64, ended: i64) {
        let spread = self
            .spreads
            .entry(account)
            .or_insert(Spread { started: (started, started), ended: (ended, ended) });
        let widen = |(least, most): &mut (i64, i64), value: i64| {
            (*least, *most) = ((*least).min(value), (*most).max(value));
        };
        widen(&mut spread.started, started);
        widen(&mut spread.ended, ended);
    }

    fn write(
        self,
        connection: &Connection,
        unless_refused: impl Fn(Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for ((table, account), rows) in self.rows.into_iter().filter(|(_, rows)| *rows != 0) {
            connection
                .prepare_cached(
                    "INSERT INTO kept VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET rows = rows + ?3",
                )?
                .execute(params![table.name(), name(account), rows])?;
        }
        for (day, used) in self.used {
            unless_refused(write_used(connection, day, &used))?;
        }
        for ((day, currency), amount) in self.charged {
            unless_refused(write_charged(connection, day, (Currency(currency), amount)))?;
        }
        for (account, Spread { started, ended }) in self.spreads {
            // Nothing is written where it lies inside of what the account's others do.
            connection
                .prepare_cached(
                    "INSERT INTO call_spread VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET
                       started_min = min(started_min, ?2), started_max = max(started_max, ?3),
                       ended_min = min(ended_min, ?4), ended_max = max(ended_max, ?5)
                     WHERE ?2 < started_min OR ?3 > started_max
                       OR ?4 < ended_min OR ?5 > ended_max",
                )?
                .execute(params![text(&account), started.0, started.1, ended.0, ended.1])?;
        }
        Ok(())
    }
}

/// What does not fit is refused whole; so does the table refuse a sum that does not.
fn fits(amount: i128) -> Result<i64, StoreError> {
    i64::try_from(amount).map_err(|_| StoreError::Row {
        table: "(sums)",
        cause: format!("{amount} in one group of writes"),
    })
}

fn write_used(
    connection: &Connection,
    (account, service, day): Day,
    Used { rows, amounts }: &Used,
) -> Result<(), StoreError> {
    if *rows == 0 && *amounts == [0; 4] {
        return Ok(());
    }
    let [count, micros, seconds, bytes] = *amounts;
    connection
        .prepare_cached(
            "INSERT INTO usage_day VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET rows = rows + ?4, count = count + ?5,
               micros = micros + ?6, seconds = seconds + ?7, bytes = bytes + ?8",
        )?
        .execute(params![
            name(account),
            service,
            day,
            rows,
            fits(count)?,
            fits(micros)?,
            fits(seconds)?,
            fits(bytes)?
        ])?;
    if *rows < 0 {
        // A day without rows is none.
        connection
            .prepare_cached(
                "DELETE FROM usage_day WHERE account = ? AND service = ? AND day = ? AND rows = 0",
            )?
            .execute(params![name(account), service, day])?;
    }
    Ok(())
}

fn write_charged(
    connection: &Connection,
    (account, service, day): Day,
    (currency, amount): (Currency, i128),
) -> Result<(), StoreError> {
    if amount != 0 {
        connection
            .prepare_cached(
                "INSERT INTO ledger_day VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET amount = amount + ?5",
            )?
            .execute(params![name(account), service, day, currency.code(), fits(amount)?])?;
    }
    Ok(())
}

/// As the tables have it: empty for nobody's.
fn name(account: Option<AccountSid>) -> String {
    account.as_ref().map(text).unwrap_or_default()
}
