//! `kill -9` of the dataplane. Standing calls are not carried over yet: each is ended once, billed
//! to its last packet, with one CDR; every phone hears BYE, and the next call works.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use tests::bed::{Bed, pass};

use crate::load::{Books, Load, Route, by_webhook, standing};

const CALLS: u32 = 20;
/// Activity is written to the cells now and then.
const CELL_AGE_US: u64 = 1_500_000;

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("before the year 500,000")
}

/// Starts standing calls and gives back the load that carries them.
fn stand(bed: &Bed, route: &Route) -> Load {
    let load = Load::start(bed, route, CALLS, 20, 300);
    standing(bed, 2 * usize::try_from(CALLS).expect("few"));
    pass(Duration::from_secs(3));
    load
}

/// Each leg once, ended by the restart, billed to its last packet before `killed_us`.
fn judge(books: &Books, killed_us: u64) {
    for cdr in &books.cdrs {
        assert_eq!(cdr["cause"], "restart", "{cdr}");
        let stamp = |name: &str| cdr[name].as_u64().expect("microseconds");
        let (answered, ended) = (stamp("answered_us"), stamp("ended_us"));
        assert!(answered > 0 && ended > answered, "{cdr}");
        let (least, most) = (killed_us - CELL_AGE_US, killed_us + 100_000);
        assert!((least..=most).contains(&ended), "ended {ended}, killed {killed_us}: {cdr}");
    }
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    let relayed = |row: &&Value| row["category"] == "media-relay" && row["count"] != "0";
    assert!(books.rows.iter().filter(relayed).count() >= books.cdrs.len(), "media is billed too");
}

#[test]
fn every_call_is_ended_once_and_billed_to_its_last_packet() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let load = stand(&bed, &route);
    let before = bed.pid("dataplane");
    let killed_us = now_us();
    bed.signal("dataplane", Signal::KILL);
    let _ = bed.wait_for_successor("dataplane", before);
    // Calls of 300 s are over when every phone has heard BYE, and not before.
    let report = load.finish();
    for role in ["caller", "callee"] {
        assert_eq!(report.number(role, "left_standing"), 0, "{}", report.0[role]);
    }
    judge(&Books::of(&bed, 2 * usize::try_from(CALLS).expect("few")), killed_us);
    Load::start(&bed, &route, 5, 5, 2).finish().expect_whole(5);
}

#[test]
fn both_killed_at_once() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let load = stand(&bed, &route);
    let before = [bed.pid("dataplane"), bed.pid("controlplane")];
    let killed_us = now_us();
    bed.signal("dataplane", Signal::KILL);
    bed.signal("controlplane", Signal::KILL);
    let _ = bed.wait_for_successor("dataplane", before[0]);
    let _ = bed.wait_for_successor("controlplane", before[1]);
    drop(load);
    judge(&Books::of(&bed, 2 * usize::try_from(CALLS).expect("few")), killed_us);
    Load::start(&bed, &route, 5, 5, 2).finish().expect_whole(5);
}
