//! One record to its rows, inside the writer's transaction.

use base::Wall;
use model::port::{Entity, Record};
use model::{AccountSid, BindingSid, CallRow, DeadLetter, Service};
use rusqlite::{Connection, OptionalExtension, params};

use super::convert::{int, json, key, text};
use super::sums::{Group, Table};
use super::witness;
use crate::StoreError;
use crate::vault::Vault;

pub(super) fn apply(
    group: &mut Group<'_>,
    vault: &Vault,
    record: &Record,
) -> Result<(), StoreError> {
    match record {
        Record::Call(row) => {
            if !call(group, row)? {
                replace_call(group, row)?;
            }
            Ok(())
        }
        Record::CallIfAbsent(row) => witness::call(group, row),
        Record::Cdr(row) => witness::cdr(group, row),
        Record::Usage(row) => witness::usage(group, row),
        Record::Ledger(row) => witness::ledger(group, row),
        Record::Alert(alert) => {
            let level = json(&alert.level)?;
            let values = params![
                text(&alert.sid),
                text(&alert.account),
                alert.call.as_ref().map(text),
                int(alert.at.0),
                level.trim_matches('"'),
                json(alert)?
            ];
            if group.execute("INSERT OR IGNORE INTO alert VALUES (?, ?, ?, ?, ?, ?)", values)? > 0 {
                group.sums.rows_of(Table::Alert, alert.account, 1);
            }
            Ok(())
        }
        Record::DeadLetter(letter) => dead_letter(group, letter),
        Record::DeadLetterGone { token, account } => {
            let gone = group.execute("DELETE FROM dead_letter WHERE sid = ?", [token])?;
            group.sums.rows_of(Table::DeadLetter, *account, -amount(gone));
            Ok(())
        }
        // Folded by the writer: see [`script`].
        Record::Script(_) | Record::ScriptChange(_) => Ok(()),
        Record::HideCall { call, account } => {
            let gone = group.execute("DELETE FROM call WHERE sid = ?", [text(call)])?;
            group.sums.rows_of(Table::Call, *account, -amount(gone));
            Ok(())
        }
        Record::Binding(it) => binding(group, (it.sid, it.expires), &json(it)?),
        Record::Registered(it) => binding(group, (it.sid(), it.expires()), &json(it)?),
        Record::BindingGone(sid) => {
            group.execute("DELETE FROM binding WHERE sid = ?", [text(sid)])?;
            Ok(())
        }
        Record::Put(entity) => put(group, vault, entity),
        Record::Delete(entity) => {
            let (kind, name) = key(entity);
            group.execute("DELETE FROM entity WHERE kind = ? AND name = ?", params![kind, name])?;
            Ok(())
        }
    }
}

/// Rows that went or came.
pub(super) fn amount(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn binding(
    group: &Group<'_>,
    (sid, expires): (BindingSid, Wall),
    body: &str,
) -> Result<(), StoreError> {
    group.execute(
        "INSERT OR REPLACE INTO binding VALUES (?, ?, ?)",
        params![text(&sid), int(expires.0), body],
    )?;
    Ok(())
}

fn dead_letter(group: &mut Group<'_>, letter: &DeadLetter) -> Result<(), StoreError> {
    let (account, body) = (text(&letter.account), json(letter)?);
    let values = params![letter.idempotency_token, account, int(letter.at.0), body];
    if group.execute("INSERT OR IGNORE INTO dead_letter VALUES (?, ?, ?, ?)", values)? > 0 {
        group.sums.rows_of(Table::DeadLetter, letter.account, 1);
        return Ok(());
    }
    group.execute("INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?)", values)?;
    Ok(())
}

/// Of an account's dead letters so many stay; the oldest are dropped, counted.
pub(super) fn bound_letters(
    group: &mut Group<'_>,
    account: AccountSid,
    most: usize,
) -> Result<(), StoreError> {
    let dropped = group.execute(
        "DELETE FROM dead_letter WHERE account = ?1 AND (at, sid) <= (
           SELECT at, sid FROM dead_letter WHERE account = ?1
           ORDER BY at DESC, sid DESC LIMIT 1 OFFSET ?2)",
        params![text(&account), amount(most)],
    )?;
    if dropped > 0 {
        group.sums.rows_of(Table::DeadLetter, account, -amount(dropped));
        group.execute(
            "UPDATE meta SET value = value + ? WHERE name = 'dead_letters_dropped'",
            [amount(dropped)],
        )?;
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
    group: &mut Group<'_>,
    call: base::CallId,
    script: &Script,
) -> Result<(), StoreError> {
    let call = text(&call);
    let text = match &script.instead {
        Some(None) => {
            let gone = group.execute("DELETE FROM script WHERE call = ?", [call])?;
            group.sums.rows(Table::Script, -amount(gone));
            return Ok(());
        }
        Some(Some(state)) => state,
        None => &script.behind,
    };
    let known = match &script.instead {
        Some(_) => "UPDATE script SET state = ?2 WHERE call = ?1",
        None => "UPDATE script SET state = CAST(state || ?2 AS BLOB) WHERE call = ?1",
    };
    if group.execute(known, params![call, text])? == 0 {
        group.execute("INSERT INTO script VALUES (?, ?)", params![call, text])?;
        group.sums.rows(Table::Script, 1);
    }
    Ok(())
}

/// True if a row was written: there was none.
pub(super) fn call(group: &mut Group<'_>, row: &CallRow) -> Result<bool, StoreError> {
    let is_new =
        write_call(group, row, "INSERT OR IGNORE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    if is_new {
        group.sums.rows_of(Table::Call, row.account, 1);
    }
    Ok(is_new)
}

/// In the place of the row that is there.
pub(super) fn replace_call(group: &mut Group<'_>, row: &CallRow) -> Result<(), StoreError> {
    write_call(group, row, "INSERT OR REPLACE INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .map(drop)
}

fn write_call(group: &mut Group<'_>, row: &CallRow, sql: &str) -> Result<bool, StoreError> {
    let created = int(row.date_created.0);
    let started = int(row.start_time.unwrap_or(row.date_created).0);
    let ended = row.end_time.map(|at| int(at.0));
    let stood = ended.unwrap_or(created) - created;
    group.sums.spread(row.account, started - created, stood);
    let values = params![
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
    ];
    Ok(group.execute(sql, values)? == 1)
}

/// Secrets leave the body before it becomes text, and are stored sealed for this entity's name.
fn put(group: &Group<'_>, vault: &Vault, entity: &Entity) -> Result<(), StoreError> {
    let (kind, name) = key(&entity.key());
    let mut entity = entity.clone();
    let secret = entity.secret().map(core::mem::take);
    let sealed = secret.map(|secret| vault.seal(&name, secret.0.as_bytes())).transpose()?;
    group.execute(
        "INSERT OR REPLACE INTO entity VALUES (?, ?, ?, ?, ?)",
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
