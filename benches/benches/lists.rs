//! The API's lists of calls in a large database: 1,000,000 calls of one account, as phones and
//! carriers make them (a few numbers are in most calls, most numbers in a few). Each filter of
//! `GET /Calls` alone, all pairs of filters, and the pairs that are hard: one filter that most
//! calls pass with one that next to none do.
//!
//! `cargo bench -p benches --bench lists [-- --rows N]`

use std::sync::Arc;
use std::time::Duration;

use base::{CallId, Wall};
use model::port::{Record, StoreWrite};
use model::query::{CallQuery, Seek, Span, Window};
use model::{AccountSid, CallRow, CallStatus};
use store::{Sqlite, Store as _, Vault};

const ACCOUNT: AccountSid = AccountSid(1);
const BATCH: usize = 2_000;
/// Microseconds between two calls.
const GAP: u64 = 86_400_000;
const BEGIN: u64 = 1_700_000_000_000_000;
/// How often each question is asked.
const TIMES: usize = 5;
const GOAL_MS: f64 = 20.0;

/// Most calls go to the hot line and come from the carrier's number; a thousandth of them from or
/// to numbers that are in ten calls each.
fn call(number: u64) -> CallRow {
    let created = BEGIN + number * GAP;
    let rare = |prefix: &str| format!("+{prefix}{:07}", number / 10_000);
    let hot = !number.is_multiple_of(10);
    CallRow {
        sid: CallId(u128::from(number) << 64 | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a))),
        account: ACCOUNT,
        date_created: Wall(created),
        start_time: Some(Wall(created + number % 70 * 1_000_000)),
        end_time: Some(Wall(created + 70_000_000 + number % 600 * 1_000_000)),
        status: if number.is_multiple_of(9_973) { CallStatus::Busy } else { CallStatus::Completed },
        to: if hot || number % 1_000 != 500 { "+15550001".to_owned() } else { rare("1777") },
        from: if hot || number % 1_000 != 250 { "+15550002".to_owned() } else { rare("1888") },
        parent: (number % 50_000 == 7).then_some(CallId(u128::from(number - 7))),
        ..CallRow::default()
    }
}

fn fill(store: &Sqlite, rows: u64) {
    for (position, first) in (1..).zip((0..rows).step_by(BATCH)) {
        let rows = (first..rows).take(BATCH).map(call);
        let records = rows.map(|row| Record::Call(Box::new(row))).collect();
        store.submit(position, StoreWrite { id: None, records });
        store.settle().expect("written");
    }
}

/// Puts a filter into a question.
type Filter = Box<dyn Fn(&mut CallQuery)>;

/// The filters, each in a form that most calls pass and in one that next to none does.
fn filters(rows: u64) -> Vec<(&'static str, Filter)> {
    let rare = call(rows / 2 / 10_000 * 10_000 + 500).to;
    let from = call(rows / 2 / 10_000 * 10_000 + 250).from;
    let day = |number: u64| Wall(BEGIN + number * GAP);
    let (late, span) = (rows * 99 / 100, Span { from: day(rows / 2), to: day(rows / 2 + 3) });
    let after = Span { from: day(late), to: Wall(u64::MAX) };
    let before = Span { from: Wall(0), to: day(rows / 100) };
    vec![
        ("To, most", Box::new(|query| query.to = Some("+15550001".to_owned()))),
        ("To, few", Box::new(move |query| query.to = Some(rare.clone()))),
        ("To, none", Box::new(|query| query.to = Some("+1999".to_owned()))),
        ("From, most", Box::new(|query| query.from = Some("+15550002".to_owned()))),
        ("From, few", Box::new(move |query| query.from = Some(from.clone()))),
        ("Status, most", Box::new(|query| query.status = Some(CallStatus::Completed))),
        ("Status, few", Box::new(|query| query.status = Some(CallStatus::Busy))),
        ("Status, none", Box::new(|query| query.status = Some(CallStatus::InProgress))),
        ("ParentCallSid", Box::new(|query| query.parent = Some(CallId(0)))),
        ("StartTime, days", Box::new(move |query| query.start = span)),
        ("StartTime>", Box::new(move |query| query.start = after)),
        ("StartTime<", Box::new(move |query| query.start = before)),
        ("EndTime, days", Box::new(move |query| query.end = span)),
        ("EndTime<", Box::new(move |query| query.end = before)),
    ]
}

fn ask(store: &Sqlite, query: &CallQuery) -> (Duration, usize) {
    let mut worst = Duration::ZERO;
    let mut found = 0;
    for _ in 0..TIMES {
        let start = benches::cpu_nanos();
        found = store.calls(query).map_or(usize::MAX, |rows| rows.len());
        worst = worst.max(Duration::from_nanos(benches::cpu_nanos() - start));
    }
    (worst, found)
}

fn main() {
    let rows = benches::option("--rows").unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let vault = Arc::new(Vault::from_key(&[3; 32]).expect("a key"));
    let path = folder.path().join("tandem.db");
    let store = Sqlite::open(&path, vault, 0, Box::new(|| ())).expect("a database");
    fill(&store, rows);
    let megabytes = std::fs::metadata(&path).map_or(0, |it| it.len()) >> 20;
    println!("lists: {rows} calls of one account, {megabytes} MiB; CPU ms, the worst of {TIMES}");
    let filters = filters(rows);
    let mut asked: Vec<(Duration, String, usize)> = Vec::new();
    let query = || CallQuery {
        account: ACCOUNT,
        to: None,
        from: None,
        status: None,
        parent: None,
        start: Span::ALL,
        end: Span::ALL,
        window: Window { seek: Seek::First, limit: 50 },
    };
    let (time, found) = ask(&store, &query());
    asked.push((time, "all".to_owned(), found));
    for (at, (name, filter)) in filters.iter().enumerate() {
        let mut one = query();
        filter(&mut one);
        let (time, found) = ask(&store, &one);
        println!("{name:<40}{:>9.2} ms {found:>4} found", time.as_secs_f64() * 1e3);
        asked.push((time, (*name).to_owned(), found));
        for (other, add) in &filters[at + 1..] {
            let mut two = one.clone();
            add(&mut two);
            let (time, found) = ask(&store, &two);
            asked.push((time, format!("{name} + {other}"), found));
        }
    }
    asked.sort_by_key(|asked| std::cmp::Reverse(asked.0));
    println!("the slowest of {} questions:", asked.len());
    for (time, name, found) in asked.iter().take(12) {
        println!("{name:<40}{:>9.2} ms {found:>4} found", time.as_secs_f64() * 1e3);
    }
    println!("goal: each within {GOAL_MS} ms");
}
