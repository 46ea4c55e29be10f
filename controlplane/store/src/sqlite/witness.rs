//! What a leg used, as its witnesses tell it: its cell, its last event, whoever found the cell when
//! its shard was gone. They have one key and say the same, but for one: who takes a leg for over
//! whose cell is still open tells only what was used until then. Such a row is provisional. A later
//! witness of the same leg that saw it go on counts instead of it, and the day's sums move by the
//! difference. Time and counts of a leg only grow, so that the longest of its witnesses is right,
//! whatever order they come in, and however often. The call is part of the key: should the epoch of
//! a dataplane ever be used twice, two calls are two bills all the same.

use base::Wall;
use model::{CallRow, Cdr, Direction, LedgerEntry, UsageKey, UsageRow};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{self, INSERT_CALL, UPSERT_CALL, wall};
use super::convert::{day_of, from_json, int, json, text, unsigned};
use crate::StoreError;

/// A row made from a summary alone: poorer than what is there, unless the call's end was written
/// down too early.
pub(super) fn call(connection: &Connection, row: &CallRow) -> Result<(), StoreError> {
    if apply::call(connection, row, INSERT_CALL)? {
        return Ok(());
    }
    let body: String = connection
        .prepare_cached("SELECT body FROM call WHERE sid = ?")?
        .query_row([text(&row.sid)], |found| found.get(0))?;
    let known: CallRow = from_json("call", &body)?;
    if known.status.is_final() && known.end_time.is_some() && row.end_time > known.end_time {
        let CallRow { status, end_time, duration, price, cause, sip_code, date_updated, .. } = *row;
        let answer_time = known.answer_time.or(row.answer_time);
        let row = CallRow {
            status,
            answer_time,
            end_time,
            duration,
            price,
            cause,
            sip_code,
            date_updated,
            ..known
        };
        apply::call(connection, &row, UPSERT_CALL)?;
    }
    Ok(())
}

pub(super) fn cdr(connection: &Connection, row: &Cdr) -> Result<(), StoreError> {
    let direction = match row.direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    connection
        .prepare_cached(
            "INSERT INTO cdr VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
             SET account = coalesce(excluded.account, account), answered = excluded.answered,
               ended = excluded.ended, body = excluded.body
             WHERE excluded.ended > ended",
        )?
        .execute(params![
            text(&row.call),
            row.node,
            row.epoch,
            row.leg.0.cast_signed(),
            row.account.as_ref().map(text),
            direction,
            int(row.created.0),
            row.answered.map(|at| int(at.0)),
            int(row.ended.0),
            json(row)?
        ])?;
    Ok(())
}

/// The row and its day in one transaction; the day moves by what the row did.
pub(super) fn usage(connection: &Connection, row: &UsageRow) -> Result<(), StoreError> {
    let mut row = row.clone();
    let call = text(&row.call);
    if let Some(known) = known_usage(connection, &call, row.key)? {
        let amounts = |row: &UsageRow| [row.count, row.micros, row.seconds, row.bytes];
        let longer = amounts(&row).iter().zip(amounts(&known)).any(|(new, old)| *new > old);
        if !longer {
            return Ok(());
        }
        row.account = row.account.or(known.account);
        row.last = row.last.max(known.last);
        row.count = row.count.max(known.count);
        row.micros = row.micros.max(known.micros);
        row.seconds = row.seconds.max(known.seconds);
        row.bytes = row.bytes.max(known.bytes);
        usage_day(connection, &known, -1)?;
    }
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            call,
            node,
            epoch,
            leg.0.cast_signed(),
            service as u16,
            segment,
            row.account.as_ref().map(text).unwrap_or_default(),
            int(row.at.0),
            int(row.start.0),
            int(row.last.0),
            int(row.count),
            int(row.micros),
            int(row.seconds),
            int(row.bytes)
        ])?;
    usage_day(connection, &row, 1)
}

/// The row of a key.
fn known_usage(
    connection: &Connection,
    call: &str,
    key: UsageKey,
) -> Result<Option<UsageRow>, StoreError> {
    let UsageKey { node, epoch, leg, service, segment } = key;
    let found = connection
        .prepare_cached(
            "SELECT account, at, start, last, count, micros, seconds, bytes FROM usage
             WHERE call = ? AND node = ? AND epoch = ? AND leg = ? AND service = ? AND segment = ?",
        )?
        .query_row(
            params![call, node, epoch, leg.0.cast_signed(), service as u16, segment],
            |row| {
                let amount = |at: usize| row.get::<_, i64>(at).map(unsigned);
                let account: String = row.get(0)?;
                Ok(UsageRow {
                    key,
                    account: account.parse().ok(),
                    call: base::CallId::NONE,
                    at: Wall(amount(1)?),
                    start: Wall(amount(2)?),
                    last: Wall(amount(3)?),
                    count: amount(4)?,
                    micros: amount(5)?,
                    seconds: amount(6)?,
                    bytes: amount(7)?,
                })
            },
        )
        .optional()?;
    Ok(found)
}

/// Adds a row to its day, or takes it out again (`sign` -1); a day without rows is none.
fn usage_day(connection: &Connection, row: &UsageRow, sign: i64) -> Result<(), StoreError> {
    let account = row.account.as_ref().map(text).unwrap_or_default();
    let (service, day) = (row.key.service as u16, day_of(row.at));
    let [count, micros, seconds, bytes] =
        [row.count, row.micros, row.seconds, row.bytes].map(|amount| sign * int(amount));
    connection
        .prepare_cached(
            "INSERT INTO usage_day VALUES (?1, ?2, ?3, ?8, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET rows = rows + ?8, count = count + ?4,
               micros = micros + ?5, seconds = seconds + ?6, bytes = bytes + ?7",
        )?
        .execute(params![account, service, day, count, micros, seconds, bytes, sign])?;
    if sign < 0 {
        connection
            .prepare_cached(
                "DELETE FROM usage_day WHERE account = ? AND service = ? AND day = ? AND rows = 0",
            )?
            .execute(params![account, service, day])?;
    }
    Ok(())
}

pub(super) fn ledger(connection: &Connection, row: &LedgerEntry) -> Result<(), StoreError> {
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    let call = text(&row.call);
    let key = params![call, node, epoch, leg.0.cast_signed(), service as u16, segment];
    let known: Option<(String, i64, i64, String, i64)> = connection
        .prepare_cached(
            "SELECT account, at, amount, currency, quantity FROM ledger
             WHERE call = ? AND node = ? AND epoch = ? AND leg = ? AND service = ? AND segment = ?",
        )?
        .query_row(key, |found| {
            Ok((found.get(0)?, found.get(1)?, found.get(2)?, found.get(3)?, found.get(4)?))
        })
        .optional()?;
    if let Some((account, at, amount, currency, quantity)) = known {
        // The quantity is what was used, in whole increments of its price: it grows with it.
        if int(row.quantity) <= quantity {
            return Ok(());
        }
        ledger_day(connection, &account, row.key, day_of(wall(at)), &currency, -amount)?;
    }
    let account = text(&row.account);
    connection
        .prepare_cached("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            call,
            node,
            epoch,
            leg.0.cast_signed(),
            service as u16,
            segment,
            account,
            int(row.at.0),
            row.amount.0,
            row.currency.code(),
            int(row.quantity)
        ])?;
    let (currency, amount) = (row.currency.code(), row.amount.0);
    ledger_day(connection, &account, row.key, day_of(row.at), currency, amount)
}

fn ledger_day(
    connection: &Connection,
    account: &str,
    key: UsageKey,
    day: i64,
    currency: &str,
    amount: i64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO ledger_day VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET amount = amount + ?5",
        )?
        .execute(params![account, key.service as u16, day, currency, amount])?;
    Ok(())
}
