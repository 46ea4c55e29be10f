//! What is old goes by itself from a switch that runs: calls, CDRs, usage rows; what the tenant is
//! billed for stays, and the API answers meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{CallId, LegId, Wall};
use model::port::{Record, StoreWrite};
use model::{
    AccountSid, CallRow, CallStatus, Cause, Cdr, Currency, Direction, LedgerEntry, Nanos, Party,
    Service, UsageKey, UsageRow,
};
use store::{Sqlite, Store, Vault};
use tests::bed::{Bed, Setup, eventually};

const DAY: u64 = 86_400_000_000;
const OLD: u64 = 3_000;
const FRESH: u64 = 50;

/// One call of three seconds, with all that it leaves.
fn facts(account: AccountSid, number: u64, at: Wall) -> Vec<Record> {
    let (call, leg) = (CallId::begun(at, u128::from(number)), LegId(number << 32 | 1));
    let ended = Wall(at.0 + 3_000_000);
    let service = Service::SipIngress;
    let key = UsageKey { node: 9, epoch: 9, leg, service, segment: 0 };
    let row = CallRow {
        sid: call,
        account,
        date_created: at,
        status: CallStatus::Completed,
        start_time: Some(at),
        end_time: Some(ended),
        ..CallRow::default()
    };
    let cdr = Cdr {
        node: 9,
        epoch: 9,
        leg,
        call,
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
    let usage = UsageRow {
        key,
        account: Some(account),
        call,
        at,
        start: at,
        last: ended,
        count: 1,
        micros: 3_000_000,
        seconds: 3,
        bytes: 0,
    };
    let (amount, currency) = (Nanos(-1_000), Currency::USD);
    let charge = LedgerEntry { key, account, call, at, amount, currency, quantity: 3 };
    vec![
        Record::Call(Box::new(row)),
        Record::Cdr(Box::new(cdr)),
        Record::Usage(usage),
        Record::Ledger(charge),
    ]
}

/// Writes into the store of a switch that is stopped.
fn seed(bed: &Bed) {
    let account: AccountSid = bed.rest.account.parse().expect("a sid");
    let vault = Arc::new(Vault::from_key(&[0; 32]).expect("a key"));
    let path = bed.data().join("tandem.db");
    let database = std::fs::metadata(&path).expect("it is there");
    let since = database.modified().expect("a time").duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(since.expect("after 1970").as_micros()).expect("before 500000");
    let store = Sqlite::open(&path, vault, u64::MAX >> 1, Box::new(|| ())).expect("it opens");
    // Nothing of it is in the journal.
    let position = store.committed();
    for number in 0..OLD + FRESH {
        let age = if number < OLD { 31 * DAY + number * DAY / 100 } else { 5 * DAY };
        let records = facts(account, number, Wall(now - age));
        store.submit(position, StoreWrite { id: None, records });
    }
    store.settle().expect("it is written");
}

/// Seconds that the tenant is billed for.
fn billed(bed: &Bed) -> String {
    let records = bed.rest.list("/Usage/Records.json", "usage_records", "");
    let of = |it: &&serde_json::Value| it["category"] == "sip-ingress";
    let record = records.iter().find(of);
    let record = record.unwrap_or_else(|| panic!("no such category: {records:?}"));
    format!("{} for {}", record["usage_exact"], record["price"])
}

fn metric(bed: &Bed, name: &str) -> Option<u64> {
    let token = std::fs::read_to_string(bed.data().join("tandem-operator")).ok()?;
    let desk = tests::bed::Rest {
        address: bed.rest.address,
        account: "operator".to_owned(),
        token: token.trim_end().to_owned(),
    };
    let (_, text) = desk.shown("/metrics")?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

#[test]
fn what_is_old_goes_and_what_was_billed_stays() {
    let more = "[controlplane.retention]\ncalls_days = 30\n".to_owned();
    let mut bed = Setup { more, ..Setup::default() }.start();
    bed.stop();
    seed(&bed);
    bed.restart();
    let told = billed(&bed);
    eventually("what is old is gone", Duration::from_secs(60), || {
        assert_eq!(bed.rest.get("/Calls.json?PageSize=1").status, 200, "it answers meanwhile");
        assert_eq!(billed(&bed), told, "what is billed stays, at every moment");
        (metric(&bed, "tandem_store_calls")? == FRESH).then_some(())
    });
    for name in ["cdrs", "usage_rows", "charges"] {
        assert_eq!(metric(&bed, &format!("tandem_store_{name}")), Some(FRESH), "{name}");
    }
    assert_eq!(metric(&bed, "tandem_store_rows_removed_total"), Some(4 * OLD));
    let calls = bed.rest.list("/Calls.json", "calls", "PageSize=100");
    assert_eq!(calls.len() as u64, FRESH);
    let seconds = 3 * (OLD + FRESH);
    assert!(told.contains(&format!("\"{seconds}.000000\"")), "{told}: {seconds} s");
    bed.stop();
}
