//! One record to its rows, inside the writer's transaction.

use base::Wall;
use model::port::{Entity, Record};
use model::{AccountSid, BindingSid, CallRow, Service};
use rusqlite::{Connection, OptionalExtension, params};

use super::convert::{int, json, key, text};
use super::witness;
use crate::StoreError;
use crate::vault::Vault;

pub(super) fn apply(
    connection: &Connection,
    vault: &Vault,
    record: &Record,
) -> Result<(), StoreError> {
    match record {
        Record::Call(row) => call(connection, row, UPSERT_CALL).map(drop),
        Record::CallIfAbsent(row) => witness::call(connection, row),
        Record::Cdr(row) => witness::cdr(connection, row),
        Record::Usage(row) => witness::usage(connection, row),
        Record::Ledger(row) => witness::ledger(connection, row),
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
        Record::DeadLetterGone { token, .. } => {
            connection.prepare_cached("DELETE FROM dead_letter WHERE sid = ?")?.execute([token])?;
            Ok(())
        }
        // Folded by the writer: see [`script`].
        Record::Script(_) | Record::ScriptChange(_) => Ok(()),
        Record::HideCall { call, .. } => {
            connection.prepare_cached("DELETE FROM call WHERE sid = ?")?.execute([text(call)])?;
            Ok(())
        }
        Record::Binding(it) => binding(connection, (it.sid, it.expires), &json(it)?),
        Record::Registered(it) => binding(connection, (it.sid(), it.expires()), &json(it)?),
        Record::BindingGone(sid) => {
            connection.prepare_cached("DELETE FROM binding WHERE sid = ?")?.execute([text(sid)])?;
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

fn binding(
    connection: &Connection,
    (sid, expires): (BindingSid, Wall),
    body: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO binding VALUES (?, ?, ?)")?
        .execute(params![text(&sid), int(expires.0), body])?;
    Ok(())
}

/// Of an account's dead letters so many stay; the oldest are dropped, counted.
pub(super) fn bound_letters(
    connection: &Connection,
    account: AccountSid,
    most: usize,
) -> Result<(), StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let dropped = connection
        .prepare_cached(
            "DELETE FROM dead_letter WHERE account = ?1 AND (at, sid) <= (
               SELECT at, sid FROM dead_letter WHERE account = ?1
               ORDER BY at DESC, sid DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![text(&account), most])?;
    if dropped > 0 {
        connection
            .prepare_cached(
                "UPDATE meta SET value = value + ? WHERE name = 'dead_letters_dropped'",
            )?
            .execute([i64::try_from(dropped).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// What a group of writes makes of a call's script log.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the place of what is there; None ends it.
    instead: Option<Option<Vec<u8>>>,
    /// Behind what is there.
    behind: Vec<u8>,
}

impl Script {
    pub(super) fn replace(&mut self, state: Option<&Vec<u8>>) {
        self.instead = Some(state.cloned());
        self.behind.clear();
    }

    pub(super) fn follow(&mut self, change: &[u8]) {
        match &mut self.instead {
            Some(state) => state.get_or_insert_default().extend_from_slice(change),
            None => self.behind.extend_from_slice(change),
        }
    }
}

pub(super) fn script(
    connection: &Connection,
    call: base::CallId,
    script: &Script,
) -> Result<(), StoreError> {
    let call = text(&call);
    match &script.instead {
        Some(Some(state)) => connection
            .prepare_cached("INSERT OR REPLACE INTO script VALUES (?, ?)")?
            .execute(params![call, state])?,
        Some(None) => {
            connection.prepare_cached("DELETE FROM script WHERE call = ?")?.execute([call])?
        }
        None => connection
            .prepare_cached(
                "INSERT INTO script VALUES (?, ?) ON CONFLICT DO UPDATE
                 SET state = CAST(state || excluded.state AS BLOB)",
            )?
            .execute(params![call, script.behind])?,
    };
    Ok(())
}

pub(super) const INSERT_CALL: &str =
    "INSERT OR IGNORE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
pub(super) const UPSERT_CALL: &str =
    "INSERT OR REPLACE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Nothing is written where the row stands inside of what the account's others do.
const WIDEN_SPREAD: &str = "INSERT INTO call_spread VALUES (?1, ?2, ?2, ?3, ?3)
  ON CONFLICT DO UPDATE SET
    started_min = min(started_min, ?2), started_max = max(started_max, ?2),
    ended_min = min(ended_min, ?3), ended_max = max(ended_max, ?3)
  WHERE ?2 NOT BETWEEN started_min AND started_max OR ?3 NOT BETWEEN ended_min AND ended_max";

/// True if a row was written.
pub(super) fn call(connection: &Connection, row: &CallRow, sql: &str) -> Result<bool, StoreError> {
    let created = int(row.date_created.0);
    let started = int(row.start_time.unwrap_or(row.date_created).0);
    let ended = row.end_time.map(|at| int(at.0));
    let stood = ended.unwrap_or(created) - created;
    connection.prepare_cached(WIDEN_SPREAD)?.execute(params![
        text(&row.account),
        started - created,
        stood
    ])?;
    let rows = connection.prepare_cached(sql)?.execute(params![
        text(&row.sid),
        text(&row.account),
        row.parent.as_ref().map(text),
        row.status.name(),
        created,
        started,
        ended,
        row.from,
        row.to,
        json(row)?
    ])?;
    Ok(rows == 1)
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
