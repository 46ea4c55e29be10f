//! A process that is stopped for a while (SIGSTOP: a debugger, a frozen container, a machine that
//! swaps): what came meanwhile is taken as of when it came.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tests::bed::{Bed, pass};

use crate::load::{Books, Load, by_webhook, standing};

const CALLS: u32 = 10;
const STOPPED: Duration = Duration::from_secs(5);

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("before the year 500,000")
}

#[test]
fn calls_that_end_while_the_dataplane_is_stopped_are_billed_to_their_byes() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    // The callers hang up after 8 s of talk, early in the five that nobody hears them. (Where the
    // callee does, the caller's leg is the application's, which hears of it when we are awake.)
    let load = Load::ended_by("caller", &bed, &route, CALLS, 20, 8);
    standing(&bed, 2 * usize::try_from(CALLS).expect("few"));
    pass(Duration::from_millis(6_500));
    let from = now_us();
    bed.signal("dataplane", Signal::STOP);
    pass(STOPPED);
    bed.signal("dataplane", Signal::CONT);
    let until = now_us();
    let _ = load.finish();
    let books = Books::of(&bed, 2 * usize::try_from(CALLS).expect("few"));
    let stood = until - from;
    for cdr in &books.cdrs {
        let stamp = |name: &str| cdr[name].as_u64().expect("microseconds");
        let (answered, ended) = (stamp("answered_us"), stamp("ended_us"));
        // The script talks for 8 s; whoever was hung up on while we stood still ended then, and not
        // when we woke up.
        let talked = ended - answered;
        assert!(talked.abs_diff(8_000_000) < stood / 2, "{talked} us: {cdr}");
    }
    assert_eq!(books.ledger_us("sip-ingress"), books.cdr_us("inbound"));
}

#[test]
fn what_came_while_the_dataplane_was_stopped_is_not_played_later() {
    let mut bed = Bed::start();
    let (route, _web) = by_webhook(&mut bed);
    let load = Load::start(&bed, &route, CALLS, 20, 16);
    standing(&bed, 2 * usize::try_from(CALLS).expect("few"));
    bed.signal("dataplane", Signal::STOP);
    pass(STOPPED);
    bed.signal("dataplane", Signal::CONT);
    let report = load.finish();
    // Both ways 250 packets of each call came meanwhile; none of them is heard.
    let lost = report.lost();
    assert!(lost >= u64::from(CALLS) * 2 * 200, "{lost} lost of {} heard", report.received());
    for direction in report.directions() {
        // What a shard had in hand when it was stopped (read, judged, not sent yet) leaves when it
        // wakes: at most a breath's worth, one packet of a call. The past would be 250 of each.
        let late = direction["delay_p99_ms"].as_f64().expect("milliseconds");
        assert!(late < 2_500.0, "somebody heard the past: {direction}");
        assert_eq!(direction["foreign"].as_u64(), Some(0), "{direction}");
    }
}
