//! The supervisor: brings back what dies, later each time; stops in order; its own death costs no
//! call.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tests::bed::{Bed, eventually, pass, program, restart_of};

use crate::load::{Books, Load, by_webhook, standing};

#[test]
fn what_dies_comes_back_later_each_time() {
    let bed = Bed::start();
    let mut gaps = Vec::new();
    for _ in 0..6 {
        let before = bed.pid("controlplane");
        let from = Instant::now();
        bed.signal("controlplane", Signal::KILL);
        let _ = bed.wait_for_successor("controlplane", before);
        gaps.push(from.elapsed());
    }
    println!("back after {gaps:?}");
    assert_eq!(restart_of(&bed, "controlplane"), 6, "{}", bed.said());
    // 50 ms doubled five times, jittered down to half: the sixth life waits for at least 800 ms.
    assert!(gaps[5] >= Duration::from_millis(800), "it backs off: {gaps:?}");
    assert_eq!(restart_of(&bed, "dataplane"), 0, "the other is left alone");
}

#[test]
fn a_stop_ends_calls_in_order_and_books_them() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let load = Load::start(&bed, &route, 10, 10, 300);
    standing(&bed, 20);
    bed.stop();
    assert!(bed.endpoints().is_none(), "endpoints.json goes with the switch");
    // The far ends heard BYE: their calls are over although they were to talk for five minutes.
    let report = load.finish();
    assert_eq!(report.number("caller", "answered"), 10);
    for role in ["caller", "callee"] {
        assert_eq!(report.number(role, "left_standing"), 0, "{}", report.0[role]);
    }
    bed.restart();
    let books = Books::of(&bed, 20);
    assert!(books.ledger_us("sip-ingress") > 0);
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
}

#[test]
fn its_own_death_costs_no_call() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let load = Load::start(&bed, &route, 10, 10, 6);
    standing(&bed, 20);
    bed.signal("supervisor", Signal::KILL);
    pass(Duration::from_secs(2));
    // A second supervisor does not start beside what is left, and says what to do.
    let second = Command::new(program("tandem"))
        .arg("up")
        .arg("--data-dir")
        .arg(bed.data())
        .arg("--config")
        .arg(bed.folder().join("tandem.toml"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("--replace"), "{said}");
    load.finish().expect_whole(10);
}

/// All processes at once, as when the machine goes: the memory that calls stood in is gone. They
/// are booked, once, to when they were last seen standing.
#[test]
fn when_all_die_at_once_calls_are_booked_to_when_they_were_seen_last() {
    let mut bed = Bed::start();
    let (route, web) = by_webhook(&mut bed);
    let load = Load::start(&bed, &route, 10, 10, 300);
    standing(&bed, 20);
    pass(Duration::from_secs(6));
    let killed = now_us();
    for name in ["supervisor", "dataplane", "controlplane"] {
        bed.signal(name, Signal::KILL);
    }
    drop(load);
    bed.restart();
    let books = Books::of(&bed, 20);
    for cdr in &books.cdrs {
        let ended = cdr["ended_us"].as_u64().expect("microseconds");
        assert!(
            ended <= killed && killed - ended < 4_000_000,
            "{} us early: {cdr}",
            killed - ended
        );
        assert_eq!(cdr["cause"], "restart", "{cdr}");
    }
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    assert!(books.ledger_us("sip-ingress") > 10 * 4_000_000);
    eventually("each end is told", Duration::from_secs(20), || {
        let told = web.statuses("/status").iter().filter(|it| *it == "completed").count();
        (told == 10).then_some(())
    });
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("before the year 500,000")
}
