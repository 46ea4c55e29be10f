//! The questions, as SQL. Every one takes a read-only connection.

use base::{CallId, LegId, Wall};
use model::port::{Entity, ScriptLog};
use model::query::{AlertQuery, CallQuery, Cursor, LetterQuery, Seek, Span, UsageDay, Window};
use model::{
    AccountSid, Alert, AlertLevel, AlertSid, Book, CallRow, CallStatus, Cdr, DeadLetter, Nanos,
    Registered, Secret, Service, UsageKey, UsageRow,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::apply::{service, wall};
use super::convert::{currency, from_json, int, json, text, unsigned};
use crate::query::{Status, Sum};
use crate::vault::Vault;
use crate::{StoreError, VaultError};

pub(super) fn book(connection: &Connection, vault: &Vault) -> Result<Book, StoreError> {
    let mut book = Book::default();
    let mut statement =
        connection.prepare("SELECT name, body, secret FROM entity ORDER BY kind, name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let mut entity: Entity = from_json("entity", &row.get::<_, String>(1)?)?;
        let sealed: Option<Vec<u8>> = row.get(2)?;
        let secret = sealed.map(|sealed| open(vault, &name, &sealed)).transpose()?;
        if let Some(place) = entity.secret() {
            *place = secret.unwrap_or_default();
        }
        book.put(entity);
    }
    let mut statement = connection.prepare("SELECT call, state FROM script ORDER BY call")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let call: String = row.get(0)?;
        let call = call.parse().map_err(|_| StoreError::Row { table: "script", cause: call })?;
        book.scripts.push(ScriptLog { call, state: Some(row.get(1)?) });
    }
    let mut statement = connection.prepare("SELECT body FROM binding ORDER BY sid")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        // A row of an older binary has nothing beside the binding itself.
        let binding = match from_json::<Registered>("binding", &body) {
            Ok(registered) => registered.into(),
            Err(_) => from_json("binding", &body)?,
        };
        book.bindings.push(binding);
    }
    Ok(book)
}

fn open(vault: &Vault, name: &str, sealed: &[u8]) -> Result<Secret, StoreError> {
    let bytes = vault.open_sealed(name, sealed)?;
    Ok(Secret(String::from_utf8(bytes).map_err(|_| VaultError::Sealed)?))
}

pub(super) fn call(connection: &Connection, sid: CallId) -> Result<Option<CallRow>, StoreError> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM call WHERE sid = ?")?
        .query_row([text(&sid)], |row| row.get(0))
        .optional()?;
    body.map(|body| from_json("call", &body)).transpose()
}

/// A list's WHERE as it grows.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    fn new(account: AccountSid) -> Self {
        Self { sql: "account = ?".to_owned(), values: vec![Value::Text(text(&account))] }
    }

    /// Whoever's it is.
    fn all() -> Self {
        Self { sql: "1".to_owned(), values: Vec::new() }
    }

    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }

    fn span(&mut self, column: &str, span: Span) {
        if span != Span::ALL {
            self.and(&format!("{column} >= ?"), int(span.from.0));
            self.and(&format!("{column} < ?"), int(span.to.0));
        }
    }

    /// A span of a moment that the account's calls come to some time after they were made: the
    /// list's own order is by `created`, so that the bounds are said of `created` as well.
    fn span_after_created(&mut self, column: &str, span: Span) {
        self.span(column, span);
        let bound =
            |end: &str| format!("(SELECT {column}_{end} FROM call_spread WHERE account = ?");
        let account = self.values[0].clone();
        if span.from > Span::ALL.from {
            self.and(&format!("created >= ? - {})", bound("max")), int(span.from.0));
            self.values.push(account.clone());
        }
        if span.to < Span::ALL.to {
            self.and(&format!("created < ? - {})", bound("min")), int(span.to.0));
            self.values.push(account);
        }
    }

    /// The statement for the bodies of a window of `table`, newest first by (`at`, sid); in the
    /// window's order.
    fn select(&mut self, table: &str, at: &str, sid: fn(u128) -> String, window: Window) -> String {
        let mut order = "DESC";
        let mut cursor = |sign: &str, Cursor { at: moment, id }: Cursor| {
            self.sql.push_str(&format!(" AND ({at}, sid) {sign} (?, ?)"));
            self.values.extend([Value::Integer(int(moment.0)), Value::Text(sid(id))]);
        };
        match window.seek {
            Seek::First => {}
            Seek::After(after) => cursor("<", after),
            Seek::Before(before) => {
                cursor(">", before);
                order = "ASC";
            }
        }
        let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
        self.values.push(Value::Integer(limit));
        format!(
            "SELECT body FROM {table} WHERE {} ORDER BY {at} {order}, sid {order} LIMIT ?",
            self.sql
        )
    }
}

/// A list's question as SQL.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    is_backwards: bool,
}

impl Listing {
    /// By this index: named, for the planner knows no figures and would guess.
    pub(super) fn of_calls(query: &CallQuery, index: &str) -> Self {
        let mut filter = Filter::new(query.account);
        if let Some(to) = &query.to {
            filter.and("called = ?", to.clone());
        }
        if let Some(from) = &query.from {
            filter.and("caller = ?", from.clone());
        }
        if let Some(status) = query.status {
            filter.and("status = ?", status.name().to_owned());
        }
        if let Some(parent) = query.parent {
            filter.and("parent = ?", text(&parent));
        }
        filter.span_after_created("started", query.start);
        filter.span_after_created("ended", query.end);
        let table = format!("call INDEXED BY {index}");
        Self::new(filter, &table, "created", |id| text(&CallId(id)), query.window)
    }

    pub(super) fn of_alerts(query: &AlertQuery) -> Result<Self, StoreError> {
        let index = match query {
            AlertQuery { call: Some(_), .. } => "alert_call",
            AlertQuery { level: Some(_), .. } => "alert_level",
            _ => "alert_list",
        };
        let mut filter = Filter::new(query.account);
        if let Some(call) = query.call {
            filter.and("call = ?", text(&call));
        }
        if let Some(level) = query.level {
            filter.and("level = ?", level_name(level)?);
        }
        filter.span("at", query.at);
        let table = format!("alert INDEXED BY {index}");
        Ok(Self::new(filter, &table, "at", |id| text(&AlertSid(id)), query.window))
    }

    pub(super) fn of_letters(query: &LetterQuery) -> Self {
        let (filter, index) = match query.account {
            Some(account) => (Filter::new(account), "dead_letter_list"),
            None => (Filter::all(), "dead_letter_all"),
        };
        let table = format!("dead_letter INDEXED BY {index}");
        Self::new(filter, &table, "at", |id| format!("{id:032x}"), query.window)
    }

    fn new(
        mut filter: Filter,
        table: &str,
        at: &str,
        sid: fn(u128) -> String,
        window: Window,
    ) -> Self {
        let sql = filter.select(table, at, sid, window);
        let is_backwards = matches!(window.seek, Seek::Before(_));
        Self { sql, values: filter.values, is_backwards }
    }

    fn bodies(self, connection: &Connection) -> Result<Vec<String>, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let rows = statement.query_map(params_from_iter(self.values), |row| row.get(0))?;
        let mut bodies = rows.collect::<Result<Vec<String>, _>>()?;
        if self.is_backwards {
            bodies.reverse();
        }
        Ok(bodies)
    }
}

/// How many rows of a filter are looked at to tell which of two is the rarer.
const LOOKED_AT: u32 = 2_000;

/// The index of the filter that the fewest rows pass. Most calls of an account may go to one number
/// and next to none have failed: by the wrong index a page of those is a walk through all.
pub(super) fn index_for(
    connection: &Connection,
    query: &CallQuery,
) -> Result<&'static str, StoreError> {
    if query.parent.is_some() {
        return Ok("call_parent");
    }
    let filters = [
        ("call_called", "called", query.to.as_deref()),
        ("call_caller", "caller", query.from.as_deref()),
        ("call_status", "status", query.status.map(CallStatus::name)),
    ];
    let asked = filters
        .into_iter()
        .filter_map(|(index, column, value)| value.map(|value| (index, column, value)));
    let asked: Vec<_> = asked.collect();
    if let [] | [_] = asked[..] {
        return Ok(asked.first().map_or("call_list", |(index, ..)| *index));
    }
    let account = text(&query.account);
    let mut rarest = ("call_list", u32::MAX);
    for (index, column, value) in asked {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM call INDEXED BY {index} \
             WHERE account = ? AND {column} = ? LIMIT {LOOKED_AT})"
        );
        let passing = |row: &rusqlite::Row<'_>| row.get(0);
        let rows = connection.prepare_cached(&sql)?.query_row([&account, value], passing)?;
        if rows < rarest.1 {
            rarest = (index, rows);
        }
    }
    Ok(rarest.0)
}

pub(super) fn calls(
    connection: &Connection,
    query: &CallQuery,
) -> Result<Vec<CallRow>, StoreError> {
    let index = index_for(connection, query)?;
    let bodies = Listing::of_calls(query, index).bodies(connection)?;
    bodies.iter().map(|body| from_json("call", body)).collect()
}

pub(super) fn alert(connection: &Connection, sid: AlertSid) -> Result<Option<Alert>, StoreError> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM alert WHERE sid = ?")?
        .query_row([text(&sid)], |row| row.get(0))
        .optional()?;
    body.map(|body| from_json("alert", &body)).transpose()
}

pub(super) fn alerts(
    connection: &Connection,
    query: &AlertQuery,
) -> Result<Vec<Alert>, StoreError> {
    let bodies = Listing::of_alerts(query)?.bodies(connection)?;
    bodies.iter().map(|body| from_json("alert", body)).collect()
}

fn level_name(level: AlertLevel) -> Result<String, StoreError> {
    Ok(json(&level)?.trim_matches('"').to_owned())
}

pub(super) fn dead_letters(
    connection: &Connection,
    query: &LetterQuery,
) -> Result<Vec<DeadLetter>, StoreError> {
    let bodies = Listing::of_letters(query).bodies(connection)?;
    bodies.iter().map(|body| from_json("dead_letter", body)).collect()
}

pub(super) fn dead_letter(
    connection: &Connection,
    token: &str,
) -> Result<Option<DeadLetter>, StoreError> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM dead_letter WHERE sid = ?")?
        .query_row([token], |row| row.get(0))
        .optional()?;
    body.map(|body| from_json("dead_letter", &body)).transpose()
}

pub(super) fn cdrs(connection: &Connection, call: CallId) -> Result<Vec<Cdr>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT body FROM cdr WHERE call = ? ORDER BY node, epoch, leg")?;
    let mut rows = statement.query([text(&call)])?;
    let mut cdrs = Vec::new();
    while let Some(row) = rows.next()? {
        cdrs.push(from_json("cdr", &row.get::<_, String>(0)?)?);
    }
    Ok(cdrs)
}

pub(super) fn usage_of_call(
    connection: &Connection,
    call: CallId,
) -> Result<Vec<UsageRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT node, epoch, leg, service, segment, account, at, start, last, count, micros,
           seconds, bytes FROM usage WHERE call = ? ORDER BY service, segment, node, epoch, leg",
    )?;
    let mut rows = statement.query([text(&call)])?;
    let mut usage = Vec::new();
    while let Some(row) = rows.next()? {
        let amount = |at: usize| row.get::<_, i64>(at).map(unsigned);
        let account: String = row.get(5)?;
        usage.push(UsageRow {
            key: UsageKey {
                node: row.get(0)?,
                epoch: row.get(1)?,
                leg: LegId(row.get::<_, i64>(2)?.cast_unsigned()),
                service: service(row.get(3)?)?,
                segment: row.get(4)?,
            },
            account: account.parse().ok(),
            call,
            at: Wall(amount(6)?),
            start: Wall(amount(7)?),
            last: Wall(amount(8)?),
            count: amount(9)?,
            micros: amount(10)?,
            seconds: amount(11)?,
            bytes: amount(12)?,
        });
    }
    Ok(usage)
}

pub(super) fn usage(
    connection: &Connection,
    account: AccountSid,
    days: Span,
) -> Result<Vec<UsageDay>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.day, u.service, u.count, u.micros, u.seconds, u.bytes,
           coalesce(l.amount, 0), coalesce(l.currency, 'USD')
         FROM usage_day u LEFT JOIN ledger_day l
           ON l.account = u.account AND l.service = u.service AND l.day = u.day
         WHERE u.account = ? AND u.day >= ? AND u.day < ? ORDER BY u.day, u.service, l.currency",
    )?;
    let mut rows = statement.query(params![text(&account), int(days.from.0), int(days.to.0)])?;
    let mut usage: Vec<UsageDay> = Vec::new();
    while let Some(row) = rows.next()? {
        let (day, service) = (wall(row.get(0)?), service(row.get(1)?)?);
        // A second currency of the same day: what was used is told once.
        let again = usage.last().is_some_and(|it| (it.day, it.service) == (day, service));
        let amount = |at: usize| row.get::<_, i64>(at).map(if again { |_| 0 } else { unsigned });
        usage.push(UsageDay {
            day,
            service,
            count: amount(2)?,
            micros: amount(3)?,
            seconds: amount(4)?,
            bytes: amount(5)?,
            price: Nanos(row.get(6)?),
            currency: currency(&row.get::<_, String>(7)?),
        });
    }
    Ok(usage)
}

/// A leg's CDR says for the ledger how long it was connected: ingress for inbound, egress for
/// outbound.
pub(super) fn sums(connection: &Connection, account: AccountSid) -> Result<Vec<Sum>, StoreError> {
    let mut sums = Vec::new();
    for service in Service::ALL {
        let number = service as u16;
        let account = text(&account);
        let four = |table: &str, rows: &str| -> Result<[u64; 4], StoreError> {
            let sql = format!(
                "SELECT {rows}, coalesce(sum(count), 0), coalesce(sum(micros), 0),
                   coalesce(sum(seconds), 0) FROM {table} WHERE account = ? AND service = ?"
            );
            Ok(connection.prepare_cached(&sql)?.query_row(params![account, number], |row| {
                let amount = |at: usize| row.get::<_, i64>(at).map(unsigned);
                Ok([amount(0)?, amount(1)?, amount(2)?, amount(3)?])
            })?)
        };
        let [mut rows, mut count, mut micros, mut seconds] = four("usage", "count(*)")?;
        let [day_rows, day_count, day_micros, day_seconds] =
            four("usage_day", "coalesce(sum(rows), 0)")?;
        let (mut cdr_rows, mut cdr_micros) = connection
            .prepare_cached(
                "SELECT count(*), coalesce(sum(max(ended - answered, 0)), 0) FROM cdr
                 WHERE account = ? AND direction = ?",
            )?
            .query_row(params![account, number], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })?;
        let mut charged = connection
            .prepare_cached(
                "SELECT coalesce(sum(amount), 0) FROM ledger WHERE account = ? AND service = ?",
            )?
            .query_row(params![account, number], |row| row.get(0).map(Nanos))?;
        if let Some(gone) = gone(connection, &account, number)? {
            let [more, uses, time, billed, cdrs, connected] = gone.0;
            (rows, count) = (rows + more, count + uses);
            (micros, seconds) = (micros + time, seconds + billed);
            (cdr_rows, cdr_micros) = (cdr_rows + cdrs, cdr_micros + connected);
            charged.0 += gone.1;
        }
        sums.push(Sum {
            service,
            rows,
            micros,
            seconds,
            count,
            day_rows,
            day_micros,
            day_seconds,
            day_count,
            cdr_micros,
            cdr_rows,
            charged,
        });
    }
    Ok(sums)
}

/// What rows that were removed for their age had added up to: rows, uses, microseconds, seconds,
/// CDRs and their microseconds; and what was charged for them.
fn gone(
    connection: &Connection,
    account: &str,
    service: u16,
) -> Result<Option<([u64; 6], i64)>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT rows, count, micros, seconds, cdr_rows, cdr_micros, charged FROM gone
             WHERE account = ? AND service = ?",
        )?
        .query_row(params![account, service], |row| {
            let amount = |at: usize| row.get::<_, i64>(at).map(unsigned);
            let amounts = [amount(0)?, amount(1)?, amount(2)?, amount(3)?, amount(4)?, amount(5)?];
            Ok((amounts, row.get(6)?))
        })
        .optional()?;
    Ok(found)
}

pub(super) fn status(
    connection: &Connection,
    (waiting, removed): (u64, u64),
) -> Result<Status, StoreError> {
    // Counted as they come and go: nothing is walked.
    let count = |kind: &str| -> Result<u64, StoreError> {
        let rows = connection
            .prepare_cached("SELECT rows FROM kept WHERE kind = ? AND account = ''")?
            .query_row([kind], |row| row.get(0).map(unsigned))
            .optional()?;
        Ok(rows.unwrap_or(0))
    };
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let dropped = "SELECT value FROM meta WHERE name = 'dead_letters_dropped'";
    let dropped = connection.query_row(dropped, [], |row| row.get(0).map(unsigned))?;
    let page_bytes = unsigned(pragma("page_size")?);
    Ok(Status {
        calls: count("call")?,
        cdrs: count("cdr")?,
        usage_rows: count("usage")?,
        ledger_rows: count("ledger")?,
        alerts: count("alert")?,
        dead_letters: count("dead_letter")?,
        dead_letters_dropped: dropped,
        scripts: count("script")?,
        waiting,
        removed,
        database_bytes: unsigned(pragma("page_count")?) * page_bytes,
        free_bytes: unsigned(pragma("freelist_count")?) * page_bytes,
    })
}
