//! What registered contacts cost: each row has its charge, wherever a journal ends and whenever a
//! price changes.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Hop, Wall};
use model::port::{ApiRequest, Entity, Output, Record};
use model::{
    Binding, BindingSid, Currency, DomainSid, Kept, LedgerEntry, Nanos, Price, PriceKey, PriceUnit,
    Service, UsageKey, UsageRow,
};
use world::{ACCOUNT, World, status};

/// A second costs so much.
const SECOND: i64 = 1_000;

fn price(per_second: i64) -> Price {
    Price {
        account: None,
        service: Service::SipRegistration,
        unit: PriceUnit::Minute,
        price: Nanos(60 * per_second),
        currency: Currency::USD,
        minimum_s: 0,
        increment_s: 1,
    }
}

/// So many contacts that came now, and go in a minute.
fn registered(count: u128) -> World {
    let world = World::new(|_| status(204));
    let now = world.now.wall;
    world.with_book(|book| {
        book.prices.push(price(SECOND));
        book.bindings = (1..=count).map(|at| binding(at, now)).collect();
    })
}

fn binding(at: u128, now: Wall) -> Binding {
    let (came, start, is_behind_nat) = (now, now, true);
    let kept = Kept { came, start, is_behind_nat, ..Kept::default() };
    Binding {
        sid: BindingSid(at),
        account: ACCOUNT,
        domain: DomainSid(1),
        user: format!("user{at}"),
        contact: format!("sip:user@192.0.2.7:{at}"),
        params: String::new(),
        q: 1_000,
        instance: String::new(),
        reg_id: 0,
        call_id: "x".to_owned(),
        cseq: 1,
        path: Vec::new(),
        hop: Hop::datagram(0, "192.0.2.7:5060".parse().unwrap()),
        user_agent: String::new(),
        date_created: now,
        expires: Wall(now.0 + 60_000_000),
        kept,
    }
}

/// Of what was written, and in which order: what a store has of it.
#[derive(Default)]
struct Stored {
    rows: BTreeMap<UsageKey, UsageRow>,
    charges: BTreeMap<UsageKey, LedgerEntry>,
    gone: usize,
}

impl Stored {
    fn keep(&mut self, record: &Record) {
        match record {
            Record::Usage(row) => {
                let known = self.rows.entry(row.key).or_insert_with(|| row.clone());
                if row.micros > known.micros {
                    *known = row.clone();
                }
            }
            Record::Ledger(entry) => {
                let known = self.charges.entry(entry.key).or_insert_with(|| entry.clone());
                if entry.quantity > known.quantity {
                    *known = entry.clone();
                }
            }
            Record::BindingGone(_) => self.gone += 1,
            _ => {}
        }
    }

    fn charged(&self) -> i64 {
        self.charges.values().map(|it| -it.amount.0).sum()
    }

    fn seconds(&self) -> i64 {
        self.rows.values().map(|it| i64::try_from(it.seconds).unwrap()).sum()
    }
}

fn written(world: &mut World) -> Vec<Record> {
    let mut all = Vec::new();
    while let Some(output) = world.director.poll_output() {
        if let Output::Store(write) = output {
            all.extend(write.records);
        }
    }
    all
}

/// More contacts than one write has room for go at once, and the journal may end behind any record.
#[test]
fn no_contact_is_gone_whose_time_is_not_charged() {
    let mut world = registered(2_000);
    world.director.handle_tick(world.now);
    written(&mut world);
    world.now = world.now.later(Duration::from_secs(60));
    world.director.handle_tick(world.now);
    let all = written(&mut world);
    let mut kept = Stored::default();
    for record in &all {
        kept.keep(record);
        let gone = i64::try_from(kept.gone).unwrap();
        assert!(kept.charged() >= gone * 60 * SECOND, "{} of {gone}", kept.charged());
    }
    assert_eq!((kept.gone, kept.rows.len(), kept.charges.len()), (2_000, 2_000, 2_000));
    assert_eq!(kept.charged(), kept.seconds() * SECOND);
}

/// What was registered until a price changed costs what it cost until then.
#[test]
fn a_price_counts_from_when_it_is_given() {
    let operate = |what| ApiRequest::Operate(Box::new(what));
    let key = PriceKey(None, Service::SipRegistration);
    for (put, expected) in [
        (Some(3 * SECOND), 20 * SECOND + 40 * 3 * SECOND),
        (Some(SECOND / 2), 20 * SECOND + 40 * SECOND / 2),
        (Some(SECOND), 60 * SECOND),
        (Some(0), 20 * SECOND),
        (None, 20 * SECOND),
    ] {
        let mut world = registered(1);
        world.run(20_000);
        let what = match put {
            Some(cost) => {
                let entity = Box::new(Entity::from(price(cost)));
                ApiRequest::Put { entity, create: false }
            }
            None => ApiRequest::Delete(key.into()),
        };
        world.api(operate(what));
        world.run(100_000);
        let charged: i64 = world.store.ledger.values().map(|it| -it.amount.0).sum();
        assert_eq!(charged, expected, "{put:?}");
        let micros: u64 = world.store.usage.values().map(|it| it.micros).sum();
        assert_eq!((micros, world.store.bindings.len()), (60_000_000, 0), "{put:?}");
    }
}

/// What everybody pays is nothing to who has a price of his own: no part of his ends for it.
#[test]
fn a_price_of_others_cuts_nobodys_part() {
    let world = World::new(|_| status(204));
    let now = world.now.wall;
    let mut world = world.with_book(|book| {
        book.prices.push(Price { account: Some(ACCOUNT), ..price(SECOND) });
        book.prices.push(price(7 * SECOND));
        book.bindings = vec![binding(1, now)];
    });
    let operate = |what| ApiRequest::Operate(Box::new(what));
    for per_second in 1..=5 {
        world.run(5_000);
        let entity = Box::new(Entity::from(price(per_second * SECOND)));
        world.api(operate(ApiRequest::Put { entity, create: false }));
    }
    world.run(100_000);
    let rows: Vec<_> = world.store.usage.values().map(|it| (it.count, it.micros)).collect();
    assert_eq!(rows, [(1, 60_000_000)]);
    let charged: i64 = world.store.ledger.values().map(|it| -it.amount.0).sum();
    assert_eq!(charged, 60 * SECOND);
}

/// A contact that an older binary wrote is metered from its successor's start, whatever dies then.
#[test]
fn contacts_of_an_older_binary_are_metered_from_one_start_on() {
    let world = World::new(|_| status(204));
    let now = world.now.wall;
    let old = move |at, granted: u64| {
        let expires = Wall(now.0 + granted);
        Binding { kept: Kept::default(), expires, ..binding(at, now) }
    };
    let mut world = world.with_book(|book| {
        book.bindings = vec![old(1, 600_000_000), old(2, 0)];
    });
    world.run(100_000);
    // One had gone before anybody could count.
    assert_eq!((world.store.bindings.len(), world.store.usage.len()), (1, 0));
    let written = world.store.bindings[&BindingSid(1)].clone();
    assert_eq!((written.kept.row, written.kept.start), (BindingSid(1), now));
    let mut world = world.with_book(|book| book.bindings = vec![written]);
    world.run(1_000_000);
    let micros: Vec<u64> = world.store.usage.values().map(|it| it.micros).collect();
    assert_eq!((micros, world.store.bindings.len()), (vec![600_000_000], 0));
}
