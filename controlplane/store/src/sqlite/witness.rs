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

use super::apply::{self, wall};
use super::convert::{currency, day_of, from_json, int, json, text, unsigned};
use super::sums::{Group, Table};
use crate::StoreError;

/// A row made from a summary alone: poorer than what is there, unless the call's end was written
/// down too early.
pub(super) fn call(group: &mut Group<'_>, row: &CallRow) -> Result<(), StoreError> {
    if apply::call(group, row)? {
        return Ok(());
    }
    let body: String = group
        .connection
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
        apply::replace_call(group, &row)?;
    }
    Ok(())
}

pub(super) fn cdr(group: &mut Group<'_>, row: &Cdr) -> Result<(), StoreError> {
    let direction = match row.direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    let (call, account, body) = (text(&row.call), row.account.as_ref().map(text), json(row)?);
    let values = params![
        call,
        row.node,
        row.epoch,
        row.leg.0.cast_signed(),
        account,
        direction,
        int(row.created.0),
        row.answered.map(|at| int(at.0)),
        int(row.ended.0),
        body
    ];
    let new = "INSERT OR IGNORE INTO cdr VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    if group.execute(new, values)? > 0 {
        group.sums.rows(Table::Cdr, 1);
        return Ok(());
    }
    group.execute(
        "INSERT INTO cdr VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
         SET account = coalesce(excluded.account, account), answered = excluded.answered,
           ended = excluded.ended, body = excluded.body
         WHERE excluded.ended > ended",
        values,
    )?;
    Ok(())
}

/// The row and its day in one transaction; the day moves by what the row did.
pub(super) fn usage(group: &mut Group<'_>, row: &UsageRow) -> Result<(), StoreError> {
    let call = text(&row.call);
    let new = "INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    if write_usage(group, &call, row, new)? {
        group.sums.rows(Table::Usage, 1);
        group.sums.used(row, 1);
        return Ok(());
    }
    let mut row = row.clone();
    if let Some(known) = known_usage(group.connection, &call, row.key)? {
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
        group.sums.used(&known, -1);
    }
    let again = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    write_usage(group, &call, &row, again)?;
    group.sums.used(&row, 1);
    Ok(())
}

/// True if a row was written.
fn write_usage(
    group: &Group<'_>,
    call: &str,
    row: &UsageRow,
    sql: &str,
) -> Result<bool, StoreError> {
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    let values = params![
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
    ];
    Ok(group.execute(sql, values)? > 0)
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

pub(super) fn ledger(group: &mut Group<'_>, row: &LedgerEntry) -> Result<(), StoreError> {
    let (account, call) = (text(&row.account), text(&row.call));
    let new = "INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let again = "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    let write = |group: &Group<'_>, sql: &str| {
        let values = params![
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
        ];
        group.execute(sql, values)
    };
    if write(group, new)? > 0 {
        group.sums.rows(Table::Ledger, 1);
    } else {
        let key = params![call, node, epoch, leg.0.cast_signed(), service as u16, segment];
        let (known, at, amount, code, quantity): (String, i64, i64, String, i64) = group
            .connection
            .prepare_cached(
                "SELECT account, at, amount, currency, quantity FROM ledger WHERE call = ?
                   AND node = ? AND epoch = ? AND leg = ? AND service = ? AND segment = ?",
            )?
            .query_row(key, |found| {
                Ok((found.get(0)?, found.get(1)?, found.get(2)?, found.get(3)?, found.get(4)?))
            })?;
        // The quantity is what was used, in whole increments of its price: it grows with it.
        if int(row.quantity) <= quantity {
            return Ok(());
        }
        let whose = (known.parse().ok(), row.key);
        group.sums.charged(whose, day_of(wall(at)), (currency(&code), -amount));
        write(group, again)?;
    }
    let whose = (Some(row.account), row.key);
    group.sums.charged(whose, day_of(row.at), (row.currency, row.amount.0));
    Ok(())
}
