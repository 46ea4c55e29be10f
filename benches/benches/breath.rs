//! The longest breath of a shard that carries many legs, and what it was: time passes in steps of a
//! millisecond, with a few packets each, while every leg is metered once a second, reports go out,
//! counters are published and calls come and go. Nothing of that may walk the legs: a breath is a
//! few microseconds, however many legs stand.
//!
//! The same seconds are lived three times, and of each breath the shortest counts: the shard does
//! the same each time, and what the machine puts in between is not its own.
//!
//! `cargo bench -p benches --bench breath [-- --legs N]`

use std::time::Duration;

use benches::bed::Bed;
use benches::peer::Side;

const SECONDS: usize = 8;
const LIVES: usize = 3;
const STEP: Duration = Duration::from_millis(1);

/// Calls that come and go meanwhile, each second: their transactions' timers run out later.
const TURNOVER: usize = 200;

fn main() {
    let legs = benches::option("--legs").and_then(|legs| usize::try_from(legs).ok());
    benches::pin_last();
    println!("breath: ticks of 1 ms, {TURNOVER} calls/s come and go; us, the worst of {SECONDS} s");
    println!("{:>8}{:>10}{:>10}{:>10}{:>10}", "legs", "median", "p99", "p99.9", "max");
    for legs in legs.map_or_else(|| vec![100, 2_000, 20_000], |legs| vec![legs]) {
        let mut breaths = live(legs);
        for _ in 1..LIVES {
            for (breath, again) in breaths.iter_mut().zip(live(legs)) {
                *breath = breath.min(again);
            }
        }
        breaths.sort_by(f64::total_cmp);
        // Of a thousand.
        let at = |part: usize| breaths[(breaths.len() - 1) * part / 1_000];
        println!("{legs:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}", at(500), at(990), at(999), at(1_000));
    }
    println!("goal: <= 100 us at 20,000 legs");
}

/// Microseconds of each tick.
fn live(legs: usize) -> Vec<f64> {
    let room = u32::try_from(legs + 2_048).unwrap_or(u32::MAX);
    let mut bed = Bed::new(room, 1 << 17);
    bed.set_up(legs / 2);
    // Warm: the transactions of what comes and goes run out as they begin.
    for _ in 0..40 {
        second(&mut bed, legs, &mut Vec::new());
    }
    let mut breaths = Vec::with_capacity(SECONDS * 1_000);
    for _ in 0..SECONDS {
        second(&mut bed, legs, &mut breaths);
    }
    breaths
}

/// A second in ticks, each one's time in `breaths`. Calls begin and end in between, one at a time;
/// those that stand are heard once, so that none is taken for dead.
fn second(bed: &mut Bed, legs: usize, breaths: &mut Vec<f64>) {
    bed.relay(legs);
    for at in 0..1_000 {
        if at % (1_000 / TURNOVER) == 0 {
            let number = bed.phones.calls.len();
            let invite = bed.dial(number);
            bed.exchange(vec![(Side::Caller, invite)]);
            let bye = bed.phones.bye(number);
            bed.exchange(vec![(Side::Caller, bye)]);
            bed.release_ended();
        }
        let before = bed.spent;
        bed.pass(STEP);
        breaths.push((bed.spent - before) as f64 / 1e3);
    }
}
