//! The store's promises: every write may come twice, sums agree, lists page both ways, no secret in
//! clear.

use base::Wall;
use std::net::SocketAddr;

use base::LegId;
use model::port::{Entity, EntityKey, Record, ScriptChange, ScriptLog};
use model::query::{Cursor, LetterQuery, Listed as _, Seek, Window};
use model::{
    Account, AlertLevel, ApiKey, CallStatus, Cause, Currency, Direction, LedgerEntry, Method,
    Nanos, Party, PhoneNumber, Price, PriceKey, PriceUnit, Secret, Service, UsageKey,
};

use super::*;
use crate::entry;

const ACCOUNT: AccountSid = AccountSid(1);
const DAY: u64 = 86_400_000_000;

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    vault: Arc<Vault>,
    store: Sqlite,
    position: Position,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tandem.db");
        let vault = Arc::new(Vault::from_key(&[3; 32]).unwrap());
        let store = Sqlite::open(&path, Arc::clone(&vault), 0, Box::new(|| ())).unwrap();
        Self { _folder: folder, path, vault, store, position: 0 }
    }

    fn write(&mut self, records: Vec<Record>) {
        self.position += 1;
        self.store.submit(self.position, StoreWrite { id: None, records });
    }

    fn settle(&mut self, records: Vec<Record>) {
        self.write(records);
        self.store.settle().unwrap();
    }

    fn reopen(self, journal_end: Position) -> Self {
        let Self { _folder, path, vault, store, position } = self;
        drop(store);
        let store = Sqlite::open(&path, Arc::clone(&vault), journal_end, Box::new(|| ())).unwrap();
        Self { _folder, path, vault, store, position }
    }
}

fn call(id: u128, created: u64) -> CallRow {
    CallRow {
        sid: CallId(id),
        account: ACCOUNT,
        date_created: Wall(created),
        to: format!("sip:{}@example.com", id % 2),
        from: "+15550001".to_owned(),
        ..CallRow::default()
    }
}

fn usage(leg: u64, service: Service, at: u64, micros: u64) -> UsageRow {
    UsageRow {
        key: UsageKey { node: 1, epoch: 9, leg: LegId(leg), service, segment: 0 },
        account: Some(ACCOUNT),
        call: CallId(7),
        at: Wall(at),
        start: Wall(at),
        last: Wall(at + micros),
        count: 1,
        micros,
        seconds: micros.div_ceil(1_000_000),
        bytes: 10,
    }
}

fn charge(row: &UsageRow, amount: i64) -> LedgerEntry {
    LedgerEntry {
        key: row.key,
        account: ACCOUNT,
        call: row.call,
        at: row.at,
        amount: Nanos(amount),
        currency: Currency::USD,
        quantity: row.seconds,
    }
}

fn cdr(leg: u64, answered: u64, ended: u64) -> Cdr {
    Cdr {
        node: 1,
        epoch: 9,
        leg: LegId(leg),
        call: CallId(7),
        parent: None,
        account: Some(ACCOUNT),
        direction: Direction::Inbound,
        from: "a".to_owned(),
        to: "b".to_owned(),
        remote: SocketAddr::from(([127, 0, 0, 1], 5060)),
        sip_call_id: "x".to_owned(),
        created: Wall(answered),
        answered: Some(Wall(answered)),
        ended: Wall(ended),
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        reason: None,
        media: None,
        price: None,
    }
}

#[test]
fn what_comes_twice_counts_once() {
    let mut world = World::new();
    let leg = 0xff00_0001_0000_0002;
    let row = usage(leg, Service::SipIngress, DAY + 5, 2_500_000);
    let facts = vec![
        Record::Usage(row.clone()),
        Record::Ledger(charge(&row, -100)),
        Record::Cdr(Box::new(cdr(leg, DAY + 5, DAY + 2_500_005))),
    ];
    world.write(facts.clone());
    world.settle(facts.clone());
    let mut world = world.reopen(2);
    world.settle(facts);
    assert_eq!(world.store.usage_of_call(CallId(7)).unwrap(), [row]);
    assert_eq!(world.store.cdrs(CallId(7)).unwrap().len(), 1);
    let day = UsageDay {
        day: Wall(DAY),
        service: Service::SipIngress,
        count: 1,
        micros: 2_500_000,
        seconds: 3,
        bytes: 10,
        price: Nanos(-100),
        currency: Currency::USD,
    };
    assert_eq!(world.store.usage(ACCOUNT, Span::ALL).unwrap(), [day]);
    let sum = world.store.sums(ACCOUNT).unwrap()[0];
    assert_eq!((sum.rows, sum.day_rows, sum.cdr_rows), (1, 1, 1));
    assert_eq!((sum.micros, sum.day_micros, sum.cdr_micros), (2_500_000, 2_500_000, 2_500_000));
    assert_eq!((sum.seconds, sum.day_seconds, sum.charged), (3, 3, Nanos(-100)));
}

#[test]
fn days_are_utc_and_bounded() {
    let mut world = World::new();
    world.write(vec![Record::Usage(usage(1, Service::MediaRelay, DAY - 1, 10))]);
    world.write(vec![Record::Usage(usage(2, Service::MediaRelay, DAY, 10))]);
    world.settle(vec![Record::Usage(usage(3, Service::MediaRelay, 2 * DAY - 1, 10))]);
    let days = world.store.usage(ACCOUNT, Span::ALL).unwrap();
    let counts: Vec<_> = days.iter().map(|day| (day.day.0, day.count)).collect();
    assert_eq!(counts, [(0, 1), (DAY, 2)]);
    let span = Span { from: Wall(DAY), to: Wall(2 * DAY) };
    assert_eq!(world.store.usage(ACCOUNT, span).unwrap().len(), 1);
    assert_eq!(world.store.usage(AccountSid(2), Span::ALL).unwrap(), []);
}

#[test]
fn the_last_row_of_a_call_wins_and_a_poorer_one_never() {
    let mut world = World::new();
    let mut row = call(5, 10);
    world.write(vec![Record::Call(Box::new(row.clone()))]);
    row.status = CallStatus::Completed;
    row.end_time = Some(Wall(30));
    world.write(vec![Record::Call(Box::new(row.clone()))]);
    world.settle(vec![Record::CallIfAbsent(Box::new(call(5, 10)))]);
    assert_eq!(world.store.call(CallId(5)).unwrap(), Some(row));
    assert_eq!(world.store.call(CallId(6)).unwrap(), None);
}

#[test]
fn calls_are_filtered_and_paged_both_ways() {
    let mut world = World::new();
    let mut records = Vec::new();
    for id in 0..10_u128 {
        // Two of them at each moment: the sid decides.
        let mut row = call(100 + id, 1_000 + u64::try_from(id / 2).unwrap());
        if id == 3 {
            row.status = CallStatus::Busy;
            row.parent = Some(CallId(100));
            row.start_time = Some(Wall(5_000));
            row.end_time = Some(Wall(6_000));
        }
        records.push(Record::Call(Box::new(row)));
    }
    world.settle(records);
    let all = CallQuery {
        account: ACCOUNT,
        to: None,
        from: None,
        status: None,
        parent: None,
        start: Span::ALL,
        end: Span::ALL,
        window: Window { seek: Seek::First, limit: 4 },
    };
    let ids = |query: &CallQuery| -> Vec<u128> {
        world.store.calls(query).unwrap().iter().map(|row| row.sid.0).collect()
    };
    assert_eq!(ids(&all), [109, 108, 107, 106]);
    let seek = |seek| CallQuery { window: Window { seek, limit: 4 }, ..all.clone() };
    let at = |created, id| Cursor { at: Wall(created), id };
    assert_eq!(ids(&seek(Seek::After(at(1_003, 106)))), [105, 104, 103, 102]);
    assert_eq!(ids(&seek(Seek::After(at(1_000, 101)))), [100]);
    assert_eq!(ids(&seek(Seek::Before(at(1_001, 102)))), [106, 105, 104, 103]);
    assert_eq!(ids(&CallQuery { status: Some(CallStatus::Busy), ..all.clone() }), [103]);
    assert_eq!(ids(&CallQuery { parent: Some(CallId(100)), ..all.clone() }), [103]);
    let span = |from, to| Span { from: Wall(from), to: Wall(to) };
    assert_eq!(ids(&CallQuery { start: span(5_000, 5_001), ..all.clone() }), [103]);
    assert_eq!(ids(&CallQuery { end: span(0, 6_000), ..all.clone() }), []);
    assert_eq!(ids(&CallQuery { end: span(6_000, 7_000), ..all.clone() }), [103]);
    let to = Some("sip:1@example.com".to_owned());
    assert_eq!(ids(&CallQuery { to, ..all.clone() }), [109, 107, 105, 103]);
    assert_eq!(ids(&CallQuery { from: Some("x".to_owned()), ..all.clone() }), []);
    assert_eq!(ids(&CallQuery { account: AccountSid(2), ..all.clone() }), []);
}

#[test]
fn configuration_comes_back_and_secrets_are_nowhere_in_clear() {
    let mut world = World::new();
    let token = "0123456789abcdef-the-auth-token";
    let account = Account {
        sid: ACCOUNT,
        number: 1,
        auth_token: Secret::from(token),
        friendly_name: "First".to_owned(),
        sources: vec!["10.0.0.0/8".parse().unwrap()],
        ..Account::default()
    };
    let key = ApiKey { account: ACCOUNT, secret: Secret::from("key-secret"), ..ApiKey::default() };
    let number =
        PhoneNumber { account: ACCOUNT, number: "+1".to_owned(), ..PhoneNumber::default() };
    let price = Price {
        account: None,
        service: Service::SipEgress,
        unit: PriceUnit::Minute,
        price: Nanos(5),
        currency: Currency::USD,
        minimum_s: 0,
        increment_s: 60,
    };
    let entities = [
        Entity::Account(account.clone()),
        Entity::ApiKey(key.clone()),
        Entity::PhoneNumber(number.clone()),
        Entity::Price(price.clone()),
    ];
    let puts: Vec<_> = entities.into_iter().map(|it| Record::Put(Box::new(it))).collect();
    let write = StoreWrite { id: None, records: puts.clone() };
    let journaled = entry::encode(&write, &world.vault).unwrap();
    assert!(!journaled.windows(token.len()).any(|bytes| bytes == token.as_bytes()));
    assert_eq!(entry::decode(&journaled, &world.vault), Ok(write));
    world.settle(puts);
    let script = |state| Record::Script(ScriptLog { call: CallId(4), state });
    world.settle(vec![script(Some(vec![1, 2]))]);
    let book = world.store.book().unwrap();
    assert_eq!((&book.accounts[..], &book.api_keys[..]), (&[account][..], &[key][..]));
    assert_eq!((&book.numbers[..], &book.prices[..]), (&[number][..], &[price][..]));
    assert_eq!(book.scripts[0].state, Some(vec![1, 2]));
    let price = EntityKey::Price(PriceKey(None, Service::SipEgress));
    world.settle(vec![script(None), Record::Delete(price)]);
    let book = world.store.book().unwrap();
    assert!(book.scripts.is_empty() && book.prices.is_empty());
    for file in std::fs::read_dir(world.path.parent().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|found| found == token.as_bytes()));
    }
}

/// A log is the same whether its entries come in one group or in many, and after a restart.
#[test]
fn changes_stand_behind_what_a_script_log_has() {
    let call = CallId(4);
    let whole = |state: &[u8]| Record::Script(ScriptLog { call, state: Some(state.to_vec()) });
    let change = |bytes: &[u8]| Record::ScriptChange(ScriptChange { call, change: bytes.to_vec() });
    let end = Record::Script(ScriptLog { call, state: None });
    let steps = [
        (change(&[1]), Some(vec![1])),
        (whole(&[0, 0xff]), Some(vec![0, 0xff])),
        (change(&[0, 7]), Some(vec![0, 0xff, 0, 7])),
        (change(&[0xc3]), Some(vec![0, 0xff, 0, 7, 0xc3])),
        (end.clone(), None),
        (end, None),
        (change(&[3]), Some(vec![3])),
        (whole(&[4]), Some(vec![4])),
        (change(&[5]), Some(vec![4, 5])),
    ];
    for together in 1..=steps.len() {
        let mut world = World::new();
        for group in steps.chunks(together) {
            let write = |(record, _): &(Record, Option<Vec<u8>>)| record.clone();
            let (records, last) = (group.iter().map(write).collect(), group.last().unwrap());
            world.settle(records);
            let scripts = world.store.book().unwrap().scripts;
            let found = scripts.first().and_then(|log| log.state.clone());
            assert_eq!(found, last.1, "{together} together");
        }
        let world = world.reopen(100);
        assert_eq!(world.store.book().unwrap().scripts[0].state, Some(vec![4, 5]));
    }
}

/// One leg by its witnesses, the last of which saw it longest, in every order and with repetitions.
#[test]
fn the_longest_witness_of_a_leg_counts_whatever_order_they_come_in() {
    let leg = 0xff00_0001_0000_0002;
    let answered = DAY - 2_000_000;
    let witness = |micros: u64| {
        let row = usage(leg, Service::SipIngress, answered, micros);
        let ended = answered + micros;
        let call = CallRow {
            status: CallStatus::Completed,
            end_time: Some(Wall(ended)),
            duration: Some(u32::try_from(row.seconds).unwrap()),
            ..call(7, answered)
        };
        vec![
            Record::Usage(row.clone()),
            Record::Ledger(charge(&row, -10 * i64::try_from(row.seconds).unwrap())),
            Record::Cdr(Box::new(cdr(leg, answered, ended))),
            Record::CallIfAbsent(Box::new(call)),
        ]
    };
    let told = [1_000_000, 5_000_000, 30_000_000].map(witness);
    for order in [[0, 1, 2, 2, 0], [2, 1, 0, 2, 1], [1, 0, 2, 1, 0], [0, 2, 1, 0, 2]] {
        let mut world = World::new();
        for at in order {
            world.settle(told[at].clone());
        }
        let sum = world.store.sums(ACCOUNT).unwrap()[0];
        assert_eq!((sum.rows, sum.day_rows, sum.cdr_rows), (1, 1, 1), "{order:?}");
        let thirty = 30_000_000;
        assert_eq!((sum.micros, sum.day_micros, sum.cdr_micros), (thirty, thirty, thirty));
        assert_eq!((sum.seconds, sum.day_seconds, sum.count, sum.day_count), (30, 30, 1, 1));
        assert_eq!(sum.charged, Nanos(-300), "{order:?}");
        let days = world.store.usage(ACCOUNT, Span::ALL).unwrap();
        assert_eq!((days.len(), days[0].price), (1, Nanos(-300)), "{order:?}");
        let row = world.store.call(CallId(7)).unwrap().unwrap();
        assert_eq!((row.end_time, row.duration), (Some(Wall(answered + thirty)), Some(30)));
        assert_eq!(world.store.cdrs(CallId(7)).unwrap().len(), 1);
    }
}

#[test]
fn a_day_of_two_currencies_is_two_charges_of_one_use() {
    let mut world = World::new();
    let rows = [1, 2, 3].map(|leg| usage(leg, Service::SipEgress, DAY, 1_000_000));
    let euros = LedgerEntry { currency: Currency(*b"EUR"), ..charge(&rows[2], -7) };
    let charges = [charge(&rows[0], -10), charge(&rows[1], -20), euros].map(Record::Ledger);
    world.settle(rows.map(Record::Usage).into_iter().chain(charges).collect());
    let days = world.store.usage(ACCOUNT, Span::ALL).unwrap();
    let told: Vec<_> =
        days.iter().map(|day| (day.currency, day.price.0, day.count, day.seconds)).collect();
    assert_eq!(told, [(Currency(*b"EUR"), -7, 3, 3), (Currency::USD, -30, 0, 0)]);
}

/// A leg that was never answered has its usage on the day of its end, which a later witness moves.
#[test]
fn a_day_that_a_leg_leaves_keeps_nothing_of_it() {
    let mut world = World::new();
    let attempt = |at: u64, bytes: u64| UsageRow {
        start: Wall(0),
        last: Wall(at),
        bytes,
        ..usage(3, Service::SipEgress, at, 0)
    };
    world.settle(vec![Record::Usage(attempt(DAY - 1, 10))]);
    world.settle(vec![Record::Usage(attempt(DAY + 1, 11))]);
    let days = world.store.usage(ACCOUNT, Span::ALL).unwrap();
    assert_eq!(days.iter().map(|day| (day.day, day.bytes)).collect::<Vec<_>>(), [(Wall(DAY), 11)]);
}

#[test]
fn a_key_that_is_used_twice_is_two_bills() {
    let mut world = World::new();
    let row = usage(3, Service::SipEgress, DAY, 1_000_000);
    let foreign = UsageRow { call: CallId(8), ..usage(3, Service::SipEgress, DAY, 9_000_000) };
    world.settle(vec![Record::Usage(row.clone()), Record::Ledger(charge(&row, -1))]);
    world.settle(vec![Record::Usage(foreign.clone()), Record::Ledger(charge(&foreign, -9))]);
    let sum = world.store.sums(ACCOUNT).unwrap()[1];
    assert_eq!((sum.micros, sum.day_micros, sum.charged), (10_000_000, 10_000_000, Nanos(-10)));
    assert_eq!(world.store.usage_of_call(CallId(7)).unwrap(), [row]);
    assert_eq!(world.store.usage_of_call(CallId(8)).unwrap(), [foreign]);
}

#[test]
fn plain_writes_survive_the_journals_encoding() {
    let vault = Vault::from_key(&[3; 32]).unwrap();
    let row = usage(1, Service::SipIngress, 5, 6);
    let records = vec![
        Record::Call(Box::new(call(u128::MAX, 1))),
        Record::Cdr(Box::new(cdr(4, 5, 6))),
        Record::Ledger(charge(&row, -1)),
        Record::Usage(row),
    ];
    let write = StoreWrite { id: None, records };
    let bytes = entry::encode(&write, &vault).unwrap();
    assert_eq!(entry::decode(&bytes, &vault), Ok(write));
    assert_eq!(entry::decode(&bytes[..bytes.len() - 1], &vault), Err(entry::BadEntry));
    assert_eq!(entry::decode(&[9, 9], &vault), Err(entry::BadEntry));
}

#[test]
fn alerts_and_dead_letters_are_listed_newest_first() {
    let mut world = World::new();
    let alert = |id, at, level| Alert {
        sid: AlertSid(id),
        account: ACCOUNT,
        call: Some(CallId(id)),
        at: Wall(at),
        level,
        code: 11_200,
        reason: "webhook-timeout".to_owned(),
        message: "no answer".to_owned(),
        url: None,
        method: Some(Method::Post),
    };
    let letter = DeadLetter {
        account: ACCOUNT,
        call: CallId(1),
        at: Wall(9),
        idempotency_token: "t".to_owned(),
        url: "http://example.com".to_owned(),
        method: Method::Post,
        params: vec![("a".to_owned(), "b".to_owned())],
        attempts: 3,
        error: "connect".to_owned(),
    };
    world.settle(vec![
        Record::Alert(Box::new(alert(1, 10, AlertLevel::Error))),
        Record::Alert(Box::new(alert(2, 20, AlertLevel::Warning))),
        Record::DeadLetter(Box::new(letter.clone())),
    ]);
    let query = AlertQuery {
        account: ACCOUNT,
        call: None,
        level: None,
        at: Span::ALL,
        window: Window { seek: Seek::First, limit: 10 },
    };
    let all = world.store.alerts(&query).unwrap();
    assert_eq!(all.iter().map(|alert| alert.sid.0).collect::<Vec<_>>(), [2, 1]);
    let errors = AlertQuery { level: Some(AlertLevel::Error), ..query };
    assert_eq!(world.store.alerts(&errors).unwrap()[0].sid.0, 1);
    let of_call = AlertQuery { call: Some(CallId(2)), ..query };
    assert_eq!(world.store.alerts(&of_call).unwrap().len(), 1);
    assert_eq!(world.store.alert(AlertSid(1)).unwrap().unwrap().at, Wall(10));
    assert_eq!(letters(&world, Some(ACCOUNT), Seek::First), std::slice::from_ref(&letter));
    assert_eq!(world.store.dead_letter("t").unwrap(), Some(letter));
    let status = world.store.status().unwrap();
    assert_eq!((status.alerts, status.dead_letters, status.waiting), (2, 1, 0));
}

fn letters(world: &World, account: Option<AccountSid>, seek: Seek) -> Vec<DeadLetter> {
    let window = Window { seek, limit: 10 };
    world.store.dead_letters(&LetterQuery { account, window }).unwrap()
}

fn letter(account: u128, number: u128) -> DeadLetter {
    DeadLetter {
        account: AccountSid(account),
        call: CallId(1),
        at: Wall(u64::try_from(number).unwrap()),
        idempotency_token: format!("{number:032x}"),
        url: "http://example.com".to_owned(),
        method: Method::Post,
        params: Vec::new(),
        attempts: 3,
        error: "connect".to_owned(),
    }
}

#[test]
fn dead_letters_come_in_pages_and_go_one_by_one() {
    let mut world = World::new();
    let record = |account, number| Record::DeadLetter(Box::new(letter(account, number)));
    world.settle((1..=25).map(|number| record(1 + number % 2, number)).collect());
    let numbers = |found: Vec<DeadLetter>| -> Vec<u64> { found.iter().map(|it| it.at.0).collect() };
    let first = letters(&world, Some(AccountSid(2)), Seek::First);
    let after = Seek::After(first.last().unwrap().cursor());
    assert_eq!(numbers(first), [25, 23, 21, 19, 17, 15, 13, 11, 9, 7]);
    assert_eq!(numbers(letters(&world, Some(AccountSid(2)), after)), [5, 3, 1]);
    let all = letters(&world, None, Seek::First);
    assert_eq!(numbers(all), [25, 24, 23, 22, 21, 20, 19, 18, 17, 16]);
    // The oldest, from which a replay begins.
    let oldest = letters(&world, None, Seek::Before(Cursor { at: Wall(0), id: 0 }));
    assert_eq!(numbers(oldest), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let again = DeadLetter { attempts: 9, ..letter(2, 25) };
    let gone = letter(2, 23);
    world.settle(vec![
        Record::DeadLetter(Box::new(again.clone())),
        Record::DeadLetterGone { account: gone.account, token: gone.idempotency_token.clone() },
    ]);
    assert_eq!(letters(&world, Some(AccountSid(2)), Seek::First)[..2], [again, letter(2, 21)]);
    assert_eq!(world.store.dead_letter(&gone.idempotency_token).unwrap(), None);
    assert_eq!(world.store.status().unwrap().dead_letters, 24);
}

#[test]
fn an_account_has_so_many_dead_letters_and_the_newest_stay() {
    let mut world = World::new();
    let most = u128::try_from(writer::DEAD_LETTERS_MAX).unwrap();
    let record = |account, number| Record::DeadLetter(Box::new(letter(account, number)));
    world.settle(vec![record(1, 1)]);
    world.settle((2..=most + 6).map(|number| record(2, number)).collect());
    let status = world.store.status().unwrap();
    assert_eq!((u128::from(status.dead_letters), status.dead_letters_dropped), (most + 1, 5));
    let oldest = letters(&world, Some(AccountSid(2)), Seek::Before(Cursor { at: Wall(0), id: 0 }));
    assert_eq!(oldest.last().unwrap().at, Wall(7));
    assert_eq!(letters(&world, Some(AccountSid(1)), Seek::First).len(), 1, "another's stay");
}

#[test]
fn the_journals_position_is_remembered_and_never_ahead_of_the_journal() {
    let mut world = World::new();
    for id in 0..5 {
        world.write(vec![Record::Call(Box::new(call(id, 1)))]);
    }
    world.store.settle().unwrap();
    let world = world.reopen(100);
    assert_eq!(world.store.committed(), 5);
    let world = world.reopen(3);
    assert_eq!(world.store.committed(), 3, "positions 4 and 5 will be given out again");
    let world = world.reopen(100);
    assert_eq!(world.store.committed(), 3);
}

/// A commit whose sync failed is not tried again: the kernel may say that all is well then.
#[test]
fn a_failed_sync_is_fatal_and_a_full_disk_is_not() {
    use rusqlite::ffi;
    let fault = |extended| {
        StoreError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(extended), None))
    };
    for (extended, fatal) in [
        (ffi::SQLITE_IOERR_FSYNC, true),
        (ffi::SQLITE_IOERR_DIR_FSYNC, true),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_IOERR_WRITE, false),
        (ffi::SQLITE_BUSY, false),
    ] {
        let shared = Shared::new(0);
        shared.submit(1, StoreWrite { id: None, records: Vec::new() });
        assert_eq!(shared.failed(&fault(extended), Duration::ZERO), !fatal, "{extended}");
        assert_eq!(shared.fatal().is_some(), fatal, "{extended}");
        assert!(shared.failure().is_some() && shared.settle().is_err());
    }
}

#[test]
fn a_newer_schema_is_left_alone() {
    let World { _folder, path, vault, store, .. } = World::new();
    drop(store);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let opened = Sqlite::open(&path, vault, 0, Box::new(|| ()));
    assert!(matches!(opened, Err(StoreError::Newer { found: 99, .. })));
}
