//! `kill -9` of the controlplane: calls neither notice nor get lost.

use std::time::Duration;

use rustix::process::Signal;
use tests::bed::{Bed, Setup, eventually, pass, restart_of};

use crate::load::{Books, Load, Report, Route, by_webhook, standing};

const CALLS: u32 = 100;
const TALK: u32 = 12;

/// 100 calls of 12 s; `event` happens while all of them stand.
fn run(event: impl FnOnce(&Bed)) -> (Report, Bed) {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    // The callers hang up: a leg whose far end has gone waits for its application, which is down,
    // and what it says meanwhile would count as lost.
    let load = Load::ended_by("caller", &bed, &route, CALLS, 25, TALK);
    standing(&bed, 200);
    event(&bed);
    (load.finish(), bed)
}

#[test]
fn a_hundred_calls_stand_and_end_while_it_is_down() {
    let (control, _) = run(|_| ());
    control.expect_whole(u64::from(CALLS));
    let (report, bed) = run(|bed| {
        // The supervisor is held, so that the first calls end while there is no controlplane.
        let before = bed.pid("controlplane");
        bed.signal("supervisor", Signal::STOP);
        bed.signal("controlplane", Signal::KILL);
        pass(Duration::from_secs(10));
        bed.signal("supervisor", Signal::CONT);
        let after = bed.wait_for_successor("controlplane", before);
        assert_ne!(before, after);
    });
    // No call dropped, every BYE answered: each call was hung up by who was to, when it was to.
    report.expect_whole(u64::from(CALLS));
    let (lost, usual) = (report.lost(), control.lost());
    println!("lost {lost} of {}, control run {usual} of {}", report.received(), control.received());
    // Noise of the machine: its own loss is 0.05-0.5 % (DESIGN.md section 10), and a loaded one's
    // varies.
    let noise = report.received() / 200 + usual / 2;
    assert!(lost <= usual + noise, "{lost} packets lost, {usual} without the kill");
    let books = Books::of(&bed, 200);
    let talked = report.talk_seconds("caller");
    expect_close("caller's talk time", books.ledger_us("sip-ingress"), talked, CALLS);
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    assert_eq!(restart_of(&bed, "controlplane"), 1, "{}", bed.said());
    assert_eq!(restart_of(&bed, "dataplane"), 0, "the dataplane went on");
}

/// Billed and talked agree to 200 ms a call: the two ends take their stamps at their own moments.
pub(crate) fn expect_close(what: &str, billed_us: u64, talked_s: f64, calls: u32) {
    let billed_s = Duration::from_micros(billed_us).as_secs_f64();
    println!("{what}: billed {billed_s:.3} s, talked {talked_s:.3} s in {calls} calls");
    let tolerance = 0.2 * f64::from(calls);
    assert!((billed_s - talked_s).abs() <= tolerance, "{what}: {billed_s} s and {talked_s} s");
}

#[test]
fn static_routes_work_without_it_and_other_calls_get_503() {
    let mut ports = tests::bed::Ports::take();
    let callee = ports.address();
    let mut bed = Setup { trunk: Some(callee), ..Setup::default() }.start_on(ports);
    let trunk = Route { callee, to: format!("sip:9555@{}", bed.sip) };
    let (webhook, _web) = by_webhook(&mut bed);
    let before = bed.pid("controlplane");
    bed.signal("supervisor", Signal::STOP);
    bed.signal("controlplane", Signal::KILL);
    Load::start(&bed, &trunk, 5, 5, 2).finish().expect_whole(5);
    let refused = Load::start(&bed, &webhook, 3, 3, 1).finish();
    assert_eq!(refused.0["caller"]["failed"]["503"].as_u64(), Some(3), "{}", refused.0["caller"]);
    bed.signal("supervisor", Signal::CONT);
    let _ = bed.wait_for_successor("controlplane", before);
    // The five calls that it never saw are in its books: both legs of each.
    let booked = eventually("ten legs of the trunk", Duration::from_secs(20), || {
        let done = bed.calls("completed");
        (done.len() >= 10).then_some(done)
    });
    assert_eq!(booked.len(), 10);
    let after = Load::start(&bed, &webhook, 3, 3, 1).finish();
    after.expect_whole(3);
}

/// Calls that come meanwhile; `TANDEM_KILLED_CALLS` says otherwise (1,000 take four minutes).
fn calls_meanwhile() -> u32 {
    let said = std::env::var("TANDEM_KILLED_CALLS").ok();
    said.map_or(60, |calls| calls.parse().expect("a number of calls"))
}

#[test]
fn killed_again_and_again_with_calls_coming() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let calls = calls_meanwhile();
    let rate = if calls > 60 { 20 } else { 5 };
    let load = Load::start(&bed, &route, calls, rate, 3);
    let seed = std::process::id().into();
    let (mut random, mut kills) = (base::Prng::new(seed), 0);
    let calls_come = Duration::from_secs((calls / rate).into());
    let begun = std::time::Instant::now();
    // At any moment, and again before or after what the one before left is done.
    while begun.elapsed() < calls_come {
        pass(Duration::from_millis(500 + random.below(3_000)));
        let before = bed.pid("controlplane");
        bed.signal("controlplane", Signal::KILL);
        let _ = bed.wait_for_successor("controlplane", before);
        kills += 1;
    }
    println!("killed {kills} times, seed {seed}");
    let report = load.finish();
    let answered = report.number("caller", "answered");
    // A call that came in while nobody was there to decide is held for 2 s, then refused with 503.
    let refused = report.0["caller"]["failed"]["503"].as_u64().unwrap_or(0);
    let all = u64::from(calls);
    assert_eq!(answered + refused, all, "answered or told why not: {}", report.0["caller"]);
    assert!(answered >= all / 2, "most calls are answered: {answered}");
    for wrong in ["bye_unanswered", "left_standing", "unacknowledged"] {
        assert_eq!(report.number("caller", wrong), 0, "{wrong}: {}", report.0["caller"]);
    }
    let booked = bed.ended(usize::try_from(2 * answered).expect("few"));
    let done = booked.iter().filter(|call| call["status"] == "completed").count();
    assert_eq!(u64::try_from(done), Ok(2 * answered), "each answered leg is booked once");
    let talked = report.talk_seconds("caller");
    let books = Books::of(&bed, booked.len());
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    expect_close("talk time", books.ledger_us("sip-ingress"), talked, calls);
}
