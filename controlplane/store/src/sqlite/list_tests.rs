//! Lists: every filter is answered by an index in the list's order, spans find what a scan would
//! find, and a question ends in time.

use base::Wall;
use std::sync::atomic::{AtomicU64, Ordering};

use model::query::{Cursor, Seek, Window};
use model::{Account, CallStatus, port::Entity, port::Record};
use rusqlite::params_from_iter;

use super::read::Listing;
use super::*;

const ACCOUNT: AccountSid = AccountSid(1);
const OTHER: AccountSid = AccountSid(2);

fn query() -> CallQuery {
    CallQuery {
        account: ACCOUNT,
        to: None,
        from: None,
        status: None,
        parent: None,
        start: Span::ALL,
        end: Span::ALL,
        window: Window { seek: Seek::First, limit: 50 },
    }
}

fn call(id: u128, created: u64, wait: u64, stood: Option<u64>) -> CallRow {
    CallRow {
        sid: CallId(id),
        account: ACCOUNT,
        date_created: Wall(created),
        start_time: Some(Wall(created + wait)),
        end_time: stood.map(|stood| Wall(created + stood)),
        status: if stood.is_some() { CallStatus::Completed } else { CallStatus::InProgress },
        to: format!("+1555000{}", id % 3),
        from: format!("+1555001{}", id % 5),
        parent: id.is_multiple_of(7).then_some(CallId(1)),
        ..CallRow::default()
    }
}

fn open(folder: &tempfile::TempDir) -> Sqlite {
    let vault = Arc::new(Vault::from_key(&[3; 32]).unwrap());
    Sqlite::open(&folder.path().join("tandem.db"), vault, 0, Box::new(|| ())).unwrap()
}

fn write(store: &Sqlite, position: u64, rows: &[CallRow]) {
    let records = rows.iter().map(|row| Record::Call(Box::new(row.clone()))).collect();
    store.submit(position, StoreWrite { id: None, records });
    store.settle().unwrap();
}

/// The 64 combinations of To, From, Status, ParentCallSid, StartTime and EndTime.
fn questions() -> impl Iterator<Item = CallQuery> {
    (0_u8..64).map(|bits| {
        let asks = |bit: u8| bits & (1 << bit) != 0;
        CallQuery {
            to: asks(0).then(|| "+15550001".to_owned()),
            from: asks(1).then(|| "+15550011".to_owned()),
            status: asks(2).then_some(CallStatus::Completed),
            parent: asks(3).then_some(CallId(1)),
            start: if asks(4) { Span { from: Wall(400), to: Wall(900) } } else { Span::ALL },
            end: if asks(5) { Span { from: Wall(500), to: Wall(1_000) } } else { Span::ALL },
            ..query()
        }
    })
}

fn windows() -> [Seek; 3] {
    let cursor = Cursor { at: Wall(700), id: 70 };
    [Seek::First, Seek::After(cursor), Seek::Before(cursor)]
}

fn plan(connection: &Connection, listing: Listing) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", listing.sql)).unwrap();
    let rows = statement.query_map(params_from_iter(listing.values), |row| row.get(3)).unwrap();
    rows.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
}

/// Neither a scan nor a sort; where a span was asked for, the index is entered at it.
#[test]
fn every_filter_of_calls_has_an_index_in_the_order_of_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for mut query in questions() {
        for seek in windows() {
            query.window.seek = seek;
            let plan = store
                .read(|connection| {
                    let index = read::index_for(connection, &query)?;
                    Ok(plan(connection, Listing::of_calls(&query, index)))
                })
                .unwrap();
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
            let alone = ["called", "caller", "status", "parent"];
            let wanted = [
                query.to.is_some(),
                query.from.is_some(),
                query.status.is_some(),
                query.parent.is_some(),
            ];
            let used = alone.iter().zip(wanted).any(|(column, wanted)| {
                wanted && plan.contains(&format!("(account=? AND {column}=?"))
            });
            assert_eq!(used, wanted.contains(&true), "{query:?}: {plan}");
            let spans = query.start != Span::ALL || query.end != Span::ALL;
            assert!(!spans || plan.contains("created>? AND created<?"), "{query:?}: {plan}");
        }
    }
}

/// A page of the few is not looked for among the many.
#[test]
fn of_two_filters_the_rarer_one_is_walked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut rows: Vec<_> = (1..=300).map(|id| call(u128::from(id), id, 1, Some(5))).collect();
    for row in &mut rows {
        (row.to, row.from) = ("+1777".to_owned(), "+1888".to_owned());
    }
    rows[10].to = "+1778".to_owned();
    rows[20].from = "+1889".to_owned();
    rows[30].status = CallStatus::Busy;
    write(&store, 1, &rows);
    let asked = |to: Option<&str>, from: Option<&str>, status: Option<CallStatus>| {
        let (to, from) = (to.map(str::to_owned), from.map(str::to_owned));
        let query = CallQuery { to, from, status, ..query() };
        store.read(|connection| read::index_for(connection, &query)).unwrap()
    };
    assert_eq!(asked(Some("+1777"), Some("+1889"), None), "call_caller");
    assert_eq!(asked(Some("+1778"), Some("+1888"), None), "call_called");
    let (busy, done) = (Some(CallStatus::Busy), Some(CallStatus::Completed));
    assert_eq!(asked(Some("+1777"), Some("+1888"), busy), "call_status");
    assert_eq!(asked(Some("+1778"), None, done), "call_called");
    assert_eq!(asked(None, None, busy), "call_status");
    assert_eq!(asked(None, None, None), "call_list");
}

#[test]
fn every_filter_of_alerts_has_an_index_in_the_order_of_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for bits in 0_u8..8 {
        for seek in windows() {
            let query = AlertQuery {
                account: ACCOUNT,
                call: (bits & 1 != 0).then_some(CallId(1)),
                level: (bits & 2 != 0).then_some(model::AlertLevel::Error),
                at: if bits & 4 == 0 { Span::ALL } else { Span { from: Wall(1), to: Wall(2) } },
                window: Window { seek, limit: 50 },
            };
            let plan =
                store.read(|connection| Ok(plan(connection, Listing::of_alerts(&query)?))).unwrap();
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
            let column = ["", "call=?", "level=?", "call=?"][usize::from(bits & 3)];
            assert!(plan.contains(column), "{query:?}: {plan}");
        }
    }
}

/// Spans are narrowed by what calls waited and stood: a call that waited or stood longest, one that
/// began before it was made (the clock was set back), one that changes, are found all the same.
#[test]
fn a_narrowed_span_finds_what_a_scan_finds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut rows: Vec<_> = (1..=120_u128)
        .map(|id| {
            let at = u64::try_from(id).unwrap() * 10;
            call(id, at, at % 70, (id % 4 != 0).then_some(at % 370))
        })
        .collect();
    rows[50].start_time = Some(Wall(rows[50].date_created.0 - 90));
    rows[90].end_time = Some(Wall(rows[90].date_created.0 - 35));
    write(&store, 1, &rows);
    rows[7].end_time = Some(Wall(950));
    write(&store, 2, &rows[7..8]);
    let mut found = 0;
    for mut query in questions() {
        for seek in windows() {
            query.window = Window { seek, limit: 7 };
            let scan: Vec<_> = rows.iter().filter(|row| query.matches(row)).cloned().collect();
            let cursor = |row: &CallRow| Cursor { at: row.date_created, id: row.sid.0 };
            let expected = query.window.apply(scan, cursor);
            let answer = store.calls(&query).unwrap();
            assert_eq!(answer, expected, "{query:?}");
            found += answer.len();
        }
    }
    assert!(found > 300, "{found}: the questions must find something");
}

/// A database of the first version, with calls in it, opens, keeps them and gets the indices.
#[test]
fn a_database_of_the_first_version_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tandem.db");
    let row = call(5, 500, 20, Some(300));
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::STEPS[0]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute(
        "INSERT INTO call VALUES (?, ?, NULL, 'completed', 500, 520, 800, ?, ?, ?)",
        [
            row.sid.to_string(),
            row.account.to_string(),
            row.from.clone(),
            row.to.clone(),
            serde_json::to_string(&row).unwrap(),
        ],
    )
    .unwrap();
    let (call, account) = (row.sid.to_string(), row.account.to_string());
    let cdr = serde_json::json!({
        "node": 1, "epoch": 2, "leg": 3, "call": row.sid, "parent": null, "account": account,
        "direction": "Inbound", "from": "a", "to": "b", "remote": "127.0.0.1:5060",
        "sip_call_id": "x", "created": 500, "answered": 520, "ended": 800, "code": 200,
        "cause": "Normal", "by": "Remote", "reason": null, "media": null, "price": null,
    });
    let sql = "INSERT INTO cdr VALUES (1, 2, 3, ?, ?, 1, 500, 520, 800, ?)";
    old.execute(sql, [&call, &account, &cdr.to_string()]).unwrap();
    let sql = "INSERT INTO usage VALUES (1, 2, 3, 1, 0, ?, ?, 520, 520, 800, 6, 7, 8, 9)";
    old.execute(sql, [&call, &account]).unwrap();
    let sql = "INSERT INTO ledger VALUES (1, 2, 3, 1, 0, ?, ?, 520, -9, 'USD', 8)";
    old.execute(sql, [&call, &account]).unwrap();
    drop(old);
    let store = open(&folder);
    let by_end = CallQuery { end: Span { from: Wall(800), to: Wall(801) }, ..query() };
    assert_eq!(store.calls(&by_end).unwrap(), std::slice::from_ref(&row));
    let by_start = CallQuery { start: Span { from: Wall(520), to: Wall(521) }, ..query() };
    assert_eq!(store.calls(&by_start).unwrap(), std::slice::from_ref(&row));
    let version: i64 = store
        .read(|connection| Ok(connection.pragma_query_value(None, "user_version", |r| r.get(0))?))
        .unwrap();
    assert_eq!(version, 7);
    let used = store.usage_of_call(row.sid).unwrap();
    assert_eq!(
        used.iter().map(|used| (used.key.leg.0, used.seconds)).collect::<Vec<_>>(),
        [(3, 8)]
    );
    assert_eq!(store.cdrs(row.sid).unwrap().len(), 1);
    let sum = store.sums(ACCOUNT).unwrap()[0];
    assert_eq!((sum.rows, sum.micros, sum.cdr_rows, sum.charged.0), (1, 7, 1, -9));
}

/// Somebody else's writes, held up as long as one likes, are not waited for; one's own are.
#[test]
fn an_account_waits_for_its_own_writes_alone() {
    let shared = Shared::new(0);
    let of = |sid: AccountSid| StoreWrite {
        id: None,
        records: vec![Record::Put(Box::new(Entity::Account(Account {
            sid,
            parent: sid,
            ..Account::default()
        })))],
    };
    shared.submit(1, of(ACCOUNT));
    shared.submit(2, of(OTHER));
    // There is no writer: whoever waits, waits for ever, or until his time is over.
    assert!(shared.settle_account(AccountSid(3), Duration::MAX).is_ok());
    let late = shared.settle_account(ACCOUNT, Duration::from_millis(1));
    assert!(matches!(late, Err(StoreError::Late)), "{late:?}");
    shared.succeeded(1);
    assert!(shared.settle_account(ACCOUNT, Duration::MAX).is_ok());
    let late = shared.settle_account(OTHER, Duration::from_millis(1));
    assert!(matches!(late, Err(StoreError::Late)), "{late:?}");
}

/// By a clock that jumps at every look: the second look is past the deadline.
#[test]
fn a_question_past_its_deadline_is_interrupted() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    fn clock() -> Mono {
        Mono(NOW.fetch_add(1_000_000_000, Ordering::Relaxed))
    }
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let rows: Vec<_> = (1..=4_000).map(|id| call(id, 1_000, 0, Some(1))).collect();
    write(&store, 1, &rows);
    let store = store.with_deadline(Deadline { clock, limit: Duration::from_secs(1) });
    let mut question = CallQuery { to: Some("+15550001".to_owned()), ..query() };
    question.window.limit = 1_001;
    assert!(matches!(store.calls(&question), Err(StoreError::Late)));
    // The connection is as good as before, and a short question is not touched.
    assert_eq!(store.call(CallId(3)).unwrap(), Some(rows[2].clone()));
    // What the switch itself asks has no deadline.
    assert_eq!(store.status().unwrap().calls, 4_000);
    assert!(store.sums(ACCOUNT).is_ok());
}
