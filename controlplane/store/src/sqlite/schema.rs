//! The schema, as the steps that lead to it. A step that was released is never changed;
//! `user_version` counts the steps taken.
//!
//! Sids are text as printed (fixed width, lower case: their order is their number's). Moments are
//! UTC microseconds. Money is 10^-9 of a unit. Bodies are JSON of the model's types, without
//! secrets.

use rusqlite::Connection;

use crate::StoreError;

pub(super) const STEPS: [&str; 7] = [
    "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
INSERT INTO meta VALUES ('journal_position', 0);

-- Everything configured. kind: 1 account, 2 API key, 3 application, 4 phone number, 5 SIP domain,
-- 6 route, 7 price. secret: sealed, of accounts and keys.
CREATE TABLE entity (
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  account TEXT,
  body TEXT NOT NULL,
  secret BLOB,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID, STRICT;

CREATE TABLE call (
  sid TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  parent TEXT,
  status TEXT NOT NULL,
  created INTEGER NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  caller TEXT NOT NULL,
  called TEXT NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX call_list ON call (account, created, sid);
CREATE INDEX call_started ON call (account, started);
CREATE INDEX call_parent ON call (parent) WHERE parent IS NOT NULL;

CREATE TABLE cdr (
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  call TEXT NOT NULL,
  account TEXT,
  direction INTEGER NOT NULL,
  created INTEGER NOT NULL,
  answered INTEGER,
  ended INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (node, epoch, leg)
) WITHOUT ROWID, STRICT;
CREATE INDEX cdr_call ON cdr (call);
CREATE INDEX cdr_account ON cdr (account, created);

CREATE TABLE usage (
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  service INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  call TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  start INTEGER NOT NULL,
  last INTEGER NOT NULL,
  count INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (node, epoch, leg, service, segment)
) WITHOUT ROWID, STRICT;
CREATE INDEX usage_call ON usage (call);
CREATE INDEX usage_account ON usage (account, at);

CREATE TABLE usage_day (
  account TEXT NOT NULL,
  service INTEGER NOT NULL,
  day INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  count INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (account, service, day)
) WITHOUT ROWID, STRICT;

CREATE TABLE ledger (
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  service INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  call TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  amount INTEGER NOT NULL,
  currency TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  PRIMARY KEY (node, epoch, leg, service, segment)
) WITHOUT ROWID, STRICT;
CREATE INDEX ledger_account ON ledger (account, at);

CREATE TABLE ledger_day (
  account TEXT NOT NULL,
  service INTEGER NOT NULL,
  day INTEGER NOT NULL,
  currency TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (account, service, day, currency)
) WITHOUT ROWID, STRICT;

CREATE TABLE alert (
  sid TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  call TEXT,
  at INTEGER NOT NULL,
  level TEXT NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX alert_list ON alert (account, at, sid);

CREATE TABLE dead_letter (
  token TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX dead_letter_list ON dead_letter (account, at);

CREATE TABLE script (
  call TEXT PRIMARY KEY,
  state BLOB NOT NULL
) WITHOUT ROWID, STRICT;
",
    "
-- Every filter of a list has an index that gives the list's order. Spans of `started` and `ended`
-- become spans of `created`, by what an account's calls waited and stood at least and at most.
DROP INDEX call_list;
DROP INDEX call_started;
CREATE INDEX call_list ON call (account, created, sid, started, ended);
CREATE INDEX call_called ON call (account, called, created, sid);
CREATE INDEX call_caller ON call (account, caller, created, sid);
CREATE INDEX call_status ON call (account, status, created, sid);
DROP INDEX call_parent;
CREATE INDEX call_parent ON call (account, parent, created, sid) WHERE parent IS NOT NULL;
CREATE INDEX alert_level ON alert (account, level, at, sid);
CREATE INDEX alert_call ON alert (account, call, at, sid) WHERE call IS NOT NULL;

-- started - created and ended - created of an account's calls, microseconds.
CREATE TABLE call_spread (
  account TEXT PRIMARY KEY,
  started_min INTEGER NOT NULL,
  started_max INTEGER NOT NULL,
  ended_min INTEGER NOT NULL,
  ended_max INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO call_spread
  SELECT account, min(started - created), max(started - created),
    coalesce(min(ended - created), 0), coalesce(max(ended - created), 0)
  FROM call GROUP BY account;
",
    "
-- What a call leaves lies together, and behind what calls before it left: a group of ends touches
-- few pages. The keys begin with the call, whose sid begins with its time.
CREATE TABLE cdr_next (
  call TEXT NOT NULL,
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  account TEXT,
  direction INTEGER NOT NULL,
  created INTEGER NOT NULL,
  answered INTEGER,
  ended INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (call, node, epoch, leg)
) WITHOUT ROWID, STRICT;
INSERT INTO cdr_next
  SELECT call, node, epoch, leg, account, direction, created, answered, ended, body
  FROM cdr ORDER BY call, node, epoch, leg;
DROP TABLE cdr;
ALTER TABLE cdr_next RENAME TO cdr;
CREATE INDEX cdr_account ON cdr (account, created);

CREATE TABLE usage_next (
  call TEXT NOT NULL,
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  service INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  start INTEGER NOT NULL,
  last INTEGER NOT NULL,
  count INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (call, node, epoch, leg, service, segment)
) WITHOUT ROWID, STRICT;
INSERT INTO usage_next
  SELECT call, node, epoch, leg, service, segment, account, at, start, last, count, micros,
    seconds, bytes
  FROM usage ORDER BY call, node, epoch, leg, service, segment;
DROP TABLE usage;
ALTER TABLE usage_next RENAME TO usage;
CREATE INDEX usage_account ON usage (account, at);

CREATE TABLE ledger_next (
  call TEXT NOT NULL,
  node INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  leg INTEGER NOT NULL,
  service INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  amount INTEGER NOT NULL,
  currency TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  PRIMARY KEY (call, node, epoch, leg, service, segment)
) WITHOUT ROWID, STRICT;
INSERT INTO ledger_next
  SELECT call, node, epoch, leg, service, segment, account, at, amount, currency, quantity
  FROM ledger ORDER BY call, node, epoch, leg, service, segment;
DROP TABLE ledger;
ALTER TABLE ledger_next RENAME TO ledger;
CREATE INDEX ledger_account ON ledger (account, at);
",
    "
-- Dead letters in pages, of one account and of all.
ALTER TABLE dead_letter RENAME COLUMN token TO sid;
DROP INDEX dead_letter_list;
CREATE INDEX dead_letter_list ON dead_letter (account, at, sid);
CREATE INDEX dead_letter_all ON dead_letter (at, sid);
INSERT INTO meta VALUES ('dead_letters_dropped', 0);
",
    "
-- How many rows there are, kept beside them: in all (no account), and of each account where it has
-- a share. Replacing a row fires both triggers: the writer has recursive_triggers on.
CREATE TABLE kept (
  kind TEXT NOT NULL,
  account TEXT NOT NULL,
  rows INTEGER NOT NULL,
  PRIMARY KEY (kind, account)
) WITHOUT ROWID, STRICT;
INSERT INTO kept SELECT 'call', account, count(*) FROM call GROUP BY account;
INSERT INTO kept SELECT 'alert', account, count(*) FROM alert GROUP BY account;
INSERT INTO kept SELECT 'dead_letter', account, count(*) FROM dead_letter GROUP BY account;
INSERT INTO kept SELECT kind, '', sum(rows) FROM kept GROUP BY kind;
INSERT INTO kept SELECT 'cdr', '', count(*) FROM cdr;
INSERT INTO kept SELECT 'usage', '', count(*) FROM usage;
INSERT INTO kept SELECT 'ledger', '', count(*) FROM ledger;
INSERT INTO kept SELECT 'script', '', count(*) FROM script;
CREATE TRIGGER call_in AFTER INSERT ON call BEGIN
  INSERT INTO kept VALUES ('call', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
  INSERT INTO kept VALUES ('call', NEW.account, +1)
    ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER call_out AFTER DELETE ON call BEGIN
  INSERT INTO kept VALUES ('call', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
  INSERT INTO kept VALUES ('call', OLD.account, -1)
    ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER alert_in AFTER INSERT ON alert BEGIN
  INSERT INTO kept VALUES ('alert', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
  INSERT INTO kept VALUES ('alert', NEW.account, +1)
    ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER alert_out AFTER DELETE ON alert BEGIN
  INSERT INTO kept VALUES ('alert', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
  INSERT INTO kept VALUES ('alert', OLD.account, -1)
    ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER dead_letter_in AFTER INSERT ON dead_letter BEGIN
  INSERT INTO kept VALUES ('dead_letter', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
  INSERT INTO kept VALUES ('dead_letter', NEW.account, +1)
    ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER dead_letter_out AFTER DELETE ON dead_letter BEGIN
  INSERT INTO kept VALUES ('dead_letter', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
  INSERT INTO kept VALUES ('dead_letter', OLD.account, -1)
    ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER cdr_in AFTER INSERT ON cdr BEGIN
  INSERT INTO kept VALUES ('cdr', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER cdr_out AFTER DELETE ON cdr BEGIN
  INSERT INTO kept VALUES ('cdr', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER usage_in AFTER INSERT ON usage BEGIN
  INSERT INTO kept VALUES ('usage', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER usage_out AFTER DELETE ON usage BEGIN
  INSERT INTO kept VALUES ('usage', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER ledger_in AFTER INSERT ON ledger BEGIN
  INSERT INTO kept VALUES ('ledger', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER ledger_out AFTER DELETE ON ledger BEGIN
  INSERT INTO kept VALUES ('ledger', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
END;
CREATE TRIGGER script_in AFTER INSERT ON script BEGIN
  INSERT INTO kept VALUES ('script', '', +1) ON CONFLICT DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER script_out AFTER DELETE ON script BEGIN
  INSERT INTO kept VALUES ('script', '', -1) ON CONFLICT DO UPDATE SET rows = rows - 1;
END;

-- What the rows that were taken away for their age had added up to, by account and service: sums of
-- rows, of days and of CDRs agree as before. Days stay.
CREATE TABLE gone (
  account TEXT NOT NULL,
  service INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  count INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  cdr_rows INTEGER NOT NULL,
  cdr_micros INTEGER NOT NULL,
  charged INTEGER NOT NULL,
  PRIMARY KEY (account, service)
) WITHOUT ROWID, STRICT;
",
    "
-- Contacts that phones have registered.
CREATE TABLE binding (
  sid TEXT PRIMARY KEY,
  expires INTEGER NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID, STRICT;
",
    "
-- The writer counts what it writes and adds it once a group: a trigger a row cost as much as
-- its row.
DROP TRIGGER call_in;
DROP TRIGGER call_out;
DROP TRIGGER alert_in;
DROP TRIGGER alert_out;
DROP TRIGGER dead_letter_in;
DROP TRIGGER dead_letter_out;
DROP TRIGGER cdr_in;
DROP TRIGGER cdr_out;
DROP TRIGGER usage_in;
DROP TRIGGER usage_out;
DROP TRIGGER ledger_in;
DROP TRIGGER ledger_out;
DROP TRIGGER script_in;
DROP TRIGGER script_out;
",
];

/// Takes the steps that are missing, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, step) in (1_i64..).zip(STEPS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Money of the schema before is money of this one: every column of every row, by name.
    #[test]
    fn what_stands_in_schema_2_stands_in_schema_3() {
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..2] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 2).unwrap();
        let tables = [
            ("cdr", "node, epoch, leg, call, account, direction, created, answered, ended, body"),
            (
                "usage",
                "node, epoch, leg, service, segment, call, account, at, start, last, count, \
                 micros, seconds, bytes",
            ),
            (
                "ledger",
                "node, epoch, leg, service, segment, call, account, at, amount, currency, quantity",
            ),
        ];
        let is_text = |column: &str| ["call", "account", "body", "currency"].contains(&column);
        for (table, columns) in tables {
            // Two legs of one call, one of another; no two values of a row are the same.
            for (number, call) in [(1_000, "CAb"), (2_000, "CAb"), (3_000, "CAa")] {
                let values =
                    columns.split(", ").zip(number..).map(|(column, value)| match column {
                        "call" => format!("'{call}'"),
                        text if is_text(text) => format!("'{value}'"),
                        _ => value.to_string(),
                    });
                let values = values.collect::<Vec<_>>().join(", ");
                let insert = format!("INSERT INTO {table} ({columns}) VALUES ({values})");
                connection.execute_batch(&insert).unwrap();
            }
        }
        let rows = |connection: &Connection, table: &str, columns: &str| {
            let text = columns.replace(", ", " || '|' || ");
            let query = format!("SELECT {text} FROM {table} ORDER BY node");
            let mut statement = connection.prepare(&query).unwrap();
            let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
            found.map(Result::unwrap).collect::<Vec<_>>()
        };
        let all = |connection: &Connection| {
            tables.map(|(table, columns)| rows(connection, table, columns))
        };
        let before = all(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(before, all(&connection));
        assert!(before.iter().all(|rows| rows.len() == 3));
    }
}
