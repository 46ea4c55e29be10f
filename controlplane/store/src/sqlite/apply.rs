//! One record to its rows, inside the writer's transaction.

use base::Wall;
use model::port::{Entity, Record};
use model::{CallRow, Cdr, Direction, LedgerEntry, Service, UsageKey, UsageRow};
use rusqlite::{Connection, OptionalExtension, params};

use super::convert::{day_of, int, json, key, text};
use crate::StoreError;
use crate::vault::Vault;

pub(super) fn apply(
    connection: &Connection,
    vault: &Vault,
    record: &Record,
) -> Result<(), StoreError> {
    match record {
        Record::Call(row) => call(connection, row, UPSERT_CALL),
        Record::CallIfAbsent(row) => call(connection, row, INSERT_CALL),
        Record::Cdr(row) => cdr(connection, row),
        Record::Usage(row) => usage(connection, row),
        Record::Ledger(row) => ledger(connection, row),
        Record::Alert(alert) => {
            let level = json(&alert.level)?;
            connection
                .prepare_cached("INSERT OR IGNORE INTO alert VALUES (?, ?, ?, ?, ?, ?)")?
                .execute(params![
                    text(&alert.sid),
                    text(&alert.account),
                    alert.call.as_ref().map(text),
                    int(alert.at.0),
                    level.trim_matches('"'),
                    json(alert)?
                ])?;
            Ok(())
        }
        Record::DeadLetter(letter) => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?)")?
                .execute(params![
                    letter.idempotency_token,
                    text(&letter.account),
                    int(letter.at.0),
                    json(letter)?
                ])?;
            Ok(())
        }
        Record::Script(log) => {
            let call = text(&log.call);
            match &log.state {
                Some(state) => connection
                    .prepare_cached("INSERT OR REPLACE INTO script VALUES (?, ?)")?
                    .execute(params![call, state])?,
                None => connection
                    .prepare_cached("DELETE FROM script WHERE call = ?")?
                    .execute([call])?,
            };
            Ok(())
        }
        Record::Put(entity) => put(connection, vault, entity),
        Record::Delete(entity) => {
            let (kind, name) = key(entity);
            connection
                .prepare_cached("DELETE FROM entity WHERE kind = ? AND name = ?")?
                .execute(params![kind, name])?;
            Ok(())
        }
    }
}

const INSERT_CALL: &str = "INSERT OR IGNORE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const UPSERT_CALL: &str = "INSERT OR REPLACE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

fn call(connection: &Connection, row: &CallRow, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute(params![
        text(&row.sid),
        text(&row.account),
        row.parent.as_ref().map(text),
        row.status.name(),
        int(row.date_created.0),
        int(row.start_time.unwrap_or(row.date_created).0),
        row.end_time.map(|at| int(at.0)),
        row.from,
        row.to,
        json(row)?
    ])?;
    Ok(())
}

fn cdr(connection: &Connection, row: &Cdr) -> Result<(), StoreError> {
    let direction = match row.direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    connection
        .prepare_cached("INSERT OR IGNORE INTO cdr VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
        row.node,
        row.epoch,
        row.leg.0.cast_signed(),
        text(&row.call),
        row.account.as_ref().map(text),
        direction,
        int(row.created.0),
        row.answered.map(|at| int(at.0)),
        int(row.ended.0),
        json(row)?
    ])?;
    Ok(())
}

/// The row and its day in one transaction; the day moves only if the row was new.
fn usage(connection: &Connection, row: &UsageRow) -> Result<(), StoreError> {
    let account = row.account.as_ref().map(text).unwrap_or_default();
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    let amounts = [row.count, row.micros, row.seconds, row.bytes].map(int);
    let [count, micros, seconds, bytes] = amounts;
    let new = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            node,
            epoch,
            leg.0.cast_signed(),
            service as u16,
            segment,
            text(&row.call),
            account,
            int(row.at.0),
            int(row.start.0),
            int(row.last.0),
            count,
            micros,
            seconds,
            bytes
        ])?;
    if new == 1 {
        connection
            .prepare_cached(
                "INSERT INTO usage_day VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET rows = rows + 1, count = count + ?4,
                   micros = micros + ?5, seconds = seconds + ?6, bytes = bytes + ?7",
            )?
            .execute(params![
                account,
                service as u16,
                day_of(row.at),
                count,
                micros,
                seconds,
                bytes
            ])?;
    }
    Ok(())
}

fn ledger(connection: &Connection, row: &LedgerEntry) -> Result<(), StoreError> {
    let UsageKey { node, epoch, leg, service, segment } = row.key;
    let account = text(&row.account);
    let new = connection
        .prepare_cached("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            node,
            epoch,
            leg.0.cast_signed(),
            service as u16,
            segment,
            text(&row.call),
            account,
            int(row.at.0),
            row.amount.0,
            row.currency.code(),
            int(row.quantity)
        ])?;
    if new == 1 {
        connection
            .prepare_cached(
                "INSERT INTO ledger_day VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET amount = amount + ?5",
            )?
            .execute(params![
                account,
                service as u16,
                day_of(row.at),
                row.currency.code(),
                row.amount.0
            ])?;
    }
    Ok(())
}

/// Secrets leave the body before it becomes text, and are stored sealed for this entity's name.
fn put(connection: &Connection, vault: &Vault, entity: &Entity) -> Result<(), StoreError> {
    let (kind, name) = key(&entity.key());
    let mut entity = entity.clone();
    let secret = entity.secret().map(core::mem::take);
    let sealed = secret.map(|secret| vault.seal(&name, secret.0.as_bytes())).transpose()?;
    connection.prepare_cached("INSERT OR REPLACE INTO entity VALUES (?, ?, ?, ?, ?)")?.execute(
        params![kind, name, entity.account().as_ref().map(text), json(&entity)?, sealed],
    )?;
    Ok(())
}

/// How far the journal was applied.
pub(super) fn applied(connection: &Connection) -> Result<u64, StoreError> {
    let position: Option<i64> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'journal_position'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(position.unwrap_or(0).cast_unsigned())
}

pub(super) fn set_applied(connection: &Connection, position: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('journal_position', ?)")?
        .execute([position.cast_signed()])?;
    Ok(())
}

/// Of an unpriced or foreign service number there is no row: numbers are for ever.
pub(super) fn service(number: u16) -> Result<Service, StoreError> {
    Service::from_number(number).ok_or_else(|| StoreError::Row {
        table: "usage",
        cause: format!("no micro-service has the number {number}"),
    })
}

/// The day's first moment as stored.
pub(super) fn wall(micros: i64) -> Wall {
    Wall(micros.cast_unsigned())
}
