//! What is old goes, and what is more than a share; sums stay, and so does what others have.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base::{LegId, Wall};
use model::port::{Record, ScriptChange, ScriptLog};
use model::query::{Seek, Window};
use model::{
    AlertLevel, CallStatus, Cause, Currency, Direction, LedgerEntry, Nanos, Party, Service,
    UsageKey,
};

use super::*;

const DAY: u64 = 86_400_000_000;
/// 2026-01-01.
const NOW: u64 = 1_767_225_600_000_000;
const ONE: AccountSid = AccountSid(1);
const TWO: AccountSid = AccountSid(2);

fn now() -> Wall {
    Wall(NOW)
}

const KEEP: Retention = Retention {
    now,
    calls: Keep { days: 90, rows: 0 },
    alerts: Keep { days: 30, rows: 0 },
    dead_letters: Keep { days: 30, rows: 0 },
};

struct World {
    folder: tempfile::TempDir,
    store: Sqlite,
    position: Position,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::open(&folder, 0);
        Self { folder, store, position: 0 }
    }

    fn open(folder: &tempfile::TempDir, end: Position) -> Sqlite {
        let vault = Arc::new(Vault::from_key(&[3; 32]).unwrap());
        Sqlite::open(&folder.path().join("tandem.db"), vault, end, Box::new(|| ())).unwrap()
    }

    fn write(&mut self, records: Vec<Record>) {
        self.position += 1;
        self.store.submit(self.position, StoreWrite { id: None, records });
    }

    /// Retention begins, and one pass of it is over: a connection of its own makes it in steps.
    fn pass(&self, retention: Retention) {
        self.store.settle().unwrap();
        let mut writer = self.connection();
        let mut sweeper = retain::Sweeper::new(retention);
        while !sweeper.is_resting() {
            let removed = sweeper.step(&mut writer).unwrap();
            assert!(removed <= 64 * 8, "a step of {removed} rows");
            // Asked in between, sums are right and counts are true.
            self.agree();
        }
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("tandem.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// Rows, days and CDRs say the same; what is counted is there.
    fn agree(&self) {
        for account in [ONE, TWO] {
            for sum in self.store.sums(account).unwrap() {
                assert_eq!(sum.rows, sum.day_rows);
                assert_eq!((sum.micros, sum.seconds), (sum.day_micros, sum.day_seconds));
                let is_leg = matches!(sum.service, Service::SipIngress | Service::SipEgress);
                assert_eq!(sum.cdr_rows, if is_leg { sum.rows } else { 0 });
            }
        }
        let status = self.store.status().unwrap();
        let connection = self.connection();
        for (table, counted) in [
            ("call", status.calls),
            ("cdr", status.cdrs),
            ("usage", status.usage_rows),
            ("ledger", status.ledger_rows),
            ("alert", status.alerts),
            ("dead_letter", status.dead_letters),
            ("script", status.scripts),
        ] {
            let sql = format!("SELECT count(*) FROM {table}");
            let rows: u64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(rows, counted, "{table}");
        }
    }

    fn calls(&self, account: AccountSid) -> BTreeSet<u64> {
        let query = CallQuery {
            account,
            to: None,
            from: None,
            status: None,
            parent: None,
            start: Span::ALL,
            end: Span::ALL,
            window: Window { seek: Seek::First, limit: 100_000 },
        };
        let calls = self.store.calls(&query).unwrap();
        calls.iter().map(|row| (NOW - row.date_created.0) / DAY).collect()
    }
}

/// A call with one leg, which ended `age` before now, and all that it leaves.
fn facts(account: AccountSid, number: u64, age: u64) -> Vec<Record> {
    let at = Wall(NOW - age);
    let sid = CallId::begun(at, u128::from(number));
    let ended = Wall(at.0 + 3_000_000);
    let key = UsageKey {
        node: 1,
        epoch: 9,
        leg: LegId(number << 32 | 1),
        service: Service::SipIngress,
        segment: 0,
    };
    let row = CallRow {
        sid,
        account,
        date_created: at,
        status: CallStatus::Completed,
        start_time: Some(at),
        end_time: Some(ended),
        ..CallRow::default()
    };
    let usage = UsageRow {
        key,
        account: Some(account),
        call: sid,
        at,
        start: at,
        last: ended,
        count: 1,
        micros: 3_000_000,
        seconds: 3,
        bytes: 10,
    };
    let charge = LedgerEntry {
        key,
        account,
        call: sid,
        at,
        amount: Nanos(-7),
        currency: Currency::USD,
        quantity: 3,
    };
    let cdr = Cdr {
        node: 1,
        epoch: 9,
        leg: key.leg,
        call: sid,
        parent: None,
        account: Some(account),
        direction: Direction::Inbound,
        from: "a".to_owned(),
        to: "b".to_owned(),
        remote: SocketAddr::from(([127, 0, 0, 1], 5060)),
        sip_call_id: format!("{number}@x"),
        created: at,
        answered: Some(at),
        ended,
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        reason: None,
        media: None,
        price: None,
    };
    vec![
        Record::Call(Box::new(row)),
        Record::Cdr(Box::new(cdr)),
        Record::Usage(usage),
        Record::Ledger(charge),
    ]
}

fn alert(account: AccountSid, number: u128, age: u64) -> Record {
    Record::Alert(Box::new(Alert {
        sid: AlertSid(number),
        account,
        call: None,
        at: Wall(NOW - age),
        level: AlertLevel::Warning,
        code: 0,
        reason: String::new(),
        message: String::new(),
        url: None,
        method: None,
    }))
}

fn days(days: impl Iterator<Item = u64>) -> BTreeSet<u64> {
    days.collect()
}

#[test]
fn what_is_old_goes_with_all_that_it_left_and_its_sums_stay() {
    let mut world = World::new();
    for number in 0..1_000 {
        // Ten a day, the last of them on the hundredth day.
        for account in [ONE, TWO] {
            let salt = 10_000 * (1 + u64::from(account == TWO)) + number;
            world.write(facts(account, salt, number / 10 * DAY + DAY / 2));
        }
    }
    world.store.settle().unwrap();
    let before = (world.store.usage(ONE, Span::ALL).unwrap(), world.store.sums(ONE).unwrap());
    assert_eq!(before.0.len(), 100);
    world.pass(KEEP);
    assert_eq!(world.calls(ONE), days(0..90));
    let status = world.store.status().unwrap();
    assert_eq!((status.calls, status.cdrs), (1_800, 1_800));
    assert_eq!((status.usage_rows, status.ledger_rows), (1_800, 1_800));
    let after = (world.store.usage(ONE, Span::ALL).unwrap(), world.store.sums(ONE).unwrap());
    assert_eq!(before, after, "no second and no cent is gone");
    // What comes twice counts once, as before.
    world.write(facts(ONE, 10_000, DAY / 2));
    world.store.settle().unwrap();
    assert_eq!(world.store.usage(ONE, Span::ALL).unwrap(), before.0);
}

/// Rows are counted by who writes them: one that comes again, replaces another or takes one away
/// counts as what it does, within a group of writes and across groups, before and after a restart.
#[test]
fn counts_are_true_however_rows_come_and_go() {
    let mut world = World::new();
    let script = |number: u64, state: Option<&[u8]>| {
        let call = CallId::begun(now(), u128::from(number));
        Record::Script(ScriptLog { call, state: state.map(<[u8]>::to_vec) })
    };
    let change = |number: u64| {
        let call = CallId::begun(now(), u128::from(number));
        Record::ScriptChange(ScriptChange { call, change: b"more".to_vec() })
    };
    let hidden = |account: AccountSid, number: u64, age: u64| {
        let call = CallId::begun(Wall(NOW - age), u128::from(number));
        Record::HideCall { call, account }
    };
    for settles in [false, true] {
        for number in 0..40 {
            let account = if number % 3 == 0 { TWO } else { ONE };
            let mut rows = facts(account, number, DAY * (number % 4));
            if number % 5 == 1 {
                // A later witness: the same leg went on.
                for row in &mut rows {
                    match row {
                        Record::Usage(usage) => {
                            usage.micros += 1_000_000 * (1 + u64::from(settles))
                        }
                        Record::Ledger(entry) => entry.quantity += 1 + u64::from(settles),
                        Record::Cdr(cdr) => cdr.ended.0 += 1_000_000 * (1 + u64::from(settles)),
                        _ => {}
                    }
                }
            }
            world.write(rows.clone());
            world.write(vec![rows.remove(0), alert(account, u128::from(number % 7), DAY)]);
            world.write(match number % 4 {
                0 => vec![script(number, Some(b"state")), change(number)],
                1 => vec![change(number), change(number)],
                2 => vec![script(number, None)],
                _ => vec![script(number - 3, None), script(number, Some(b"again"))],
            });
            if number % 6 == 2 {
                world.write(vec![hidden(account, number, DAY * (number % 4))]);
            }
            if settles {
                world.store.settle().unwrap();
                world.agree();
            }
        }
        world.store.settle().unwrap();
        world.agree();
        let World { folder, store, position } = world;
        drop(store);
        let store = World::open(&folder, position);
        world = World { folder, store, position };
        world.agree();
    }
    world.pass(Retention { calls: Keep { days: 3, rows: 0 }, ..KEEP });
}

/// An account's charges of a day that no number of 64 bits holds: they stand, their day does not
/// move, and the store goes on for everybody.
#[test]
fn a_sum_that_overflows_is_its_accounts_own_trouble() {
    let mut world = World::new();
    let charge = |number: u64| {
        let mut rows = facts(ONE, number, DAY);
        for row in &mut rows {
            if let Record::Ledger(entry) = row {
                entry.amount = Nanos(i64::MIN / 2 - 7);
            }
        }
        rows
    };
    // Two in one group, one behind it.
    world.write(charge(1));
    world.write(charge(2));
    world.write(facts(TWO, 10, DAY));
    world.store.settle().unwrap();
    world.write(charge(3));
    world.store.settle().unwrap();
    world.write(charge(4));
    world.write(facts(TWO, 11, DAY));
    world.store.settle().unwrap();
    assert_eq!(world.store.status().unwrap().ledger_rows, 6);
    let price = |account: AccountSid| {
        let days = world.store.usage(account, Span::ALL).unwrap();
        days.iter().map(|day| day.price.0).collect::<Vec<_>>()
    };
    assert_eq!(price(TWO), [-14]);
    assert_eq!(price(ONE), [i64::MIN / 2 - 7], "the one that fits");
    assert_eq!(world.store.failure(), None);
}

#[test]
fn a_share_is_an_accounts_own_and_nothing_fresh_goes_for_it() {
    let mut world = World::new();
    for number in 0..500 {
        world.write(facts(ONE, number, number * DAY / 25));
        world.write(vec![alert(ONE, u128::from(number), number * DAY / 25)]);
    }
    for number in 500..520 {
        world.write(facts(TWO, number, 80 * DAY));
        world.write(vec![alert(TWO, u128::from(number), 20 * DAY)]);
    }
    let keep = Keep { days: 90, rows: 40 };
    world.pass(Retention { calls: keep, alerts: Keep { rows: 30, ..keep }, ..KEEP });
    // The first account has 25 a day: 51 are not settled yet.
    let status = world.store.status().unwrap();
    assert_eq!(world.calls(ONE), days(0..3));
    assert_eq!((status.calls, status.alerts), (51 + 20, 30 + 20), "{status:?}");
    assert_eq!(world.calls(TWO).len(), 1, "nobody's rows go for what another has");
}

#[test]
fn what_no_call_stands_beside_goes_by_its_age() {
    let mut world = World::new();
    for (number, age) in [(1, 100), (2, 80)] {
        let mut facts = facts(ONE, number, age * DAY);
        facts.remove(0);
        world.write(facts);
    }
    world.pass(KEEP);
    let status = world.store.status().unwrap();
    assert_eq!((status.cdrs, status.usage_rows, status.ledger_rows), (1, 1, 1));
}

/// What stands is no old call, however long it has stood; and without bounds nothing goes.
#[test]
fn what_stands_stays_and_no_bound_keeps_all() {
    let mut world = World::new();
    let Record::Call(mut row) = facts(ONE, 1, 200 * DAY).remove(0) else { unreachable!() };
    row.end_time = None;
    row.status = CallStatus::InProgress;
    world.write(vec![Record::Call(row)]);
    world.pass(KEEP);
    assert_eq!(world.store.status().unwrap().calls, 1);
    world.write(facts(ONE, 2, 200 * DAY));
    let none = Keep::default();
    world.pass(Retention { now, calls: none, alerts: none, dead_letters: none });
    assert_eq!(world.store.status().unwrap().calls, 2);
}

/// The store's own writer does it by itself, whoever writes and reads meanwhile; the file is as
/// large in the end as in the beginning, ten generations later.
#[test]
fn the_file_stops_growing() {
    let mut world = World::new();
    let generation = |world: &mut World, number: u64, age: u64| {
        for at in 0..400 {
            world.write(facts(ONE, number * 1_000 + at, age));
        }
        world.store.settle().unwrap();
    };
    let mut sizes = Vec::new();
    for number in 1..=10 {
        // Each is older than what is kept when the next one comes.
        generation(&mut world, number, 91 * DAY - number * 1_000_000);
        world.pass(KEEP);
        let status = world.store.status().unwrap();
        assert_eq!(status.calls, 0);
        sizes.push(status.database_bytes);
    }
    assert!(sizes[9] <= sizes[1] + sizes[1] / 20, "{sizes:?}");
    let free = world.store.status().unwrap().free_bytes;
    assert!(free * 10 > sizes[9] * 7, "{free} of {sizes:?} take the next rows");

    // The same by the writer's own steps.
    let World { folder, store, position } = world;
    drop(store);
    let store = World::open(&folder, position).with_retention(KEEP);
    let mut world = World { folder, store, position };
    generation(&mut world, 11, 91 * DAY);
    while world.store.status().unwrap().calls > 0 {
        // Whoever waits for a commit has it: the steps are small.
        world.write(facts(TWO, 90_000 + world.position, DAY / 2));
        world.store.settle().unwrap();
        if world.store.status().unwrap().removed >= 1_600 {
            break;
        }
    }
    assert!(world.calls(ONE).is_empty() && !world.calls(TWO).is_empty());
    world.agree();
}
