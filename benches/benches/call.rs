//! A whole statically routed B2BUA call in the shard (GOALS.md P6): INVITE, 100, INVITE, 200, 200,
//! ACK, ACK, BYE, 200, BYE, 200, two dialogs, media planned, metered, released. Phones and
//! controlplane are played by the bench and not measured. Virtual time goes on at 1,000 calls/s, so
//! that transactions expire, ports rest and counters are published within what is measured.

use std::time::Duration;

use benches::bed::Bed;
use benches::peer::Side;

const TOGETHER: usize = 50;
const WARM: usize = 700;
const ROUNDS: usize = 20;
const EACH: usize = 40;

/// So many calls begin, stand for a moment, and end.
fn turn(bed: &mut Bed) {
    let first = bed.phones.calls.len();
    let numbers = first..first + TOGETHER;
    let invites = numbers.clone().map(|number| (Side::Caller, bed.dial(number))).collect();
    bed.exchange(invites);
    bed.pass(Duration::from_millis(25));
    let byes = numbers.clone().map(|number| (Side::Caller, bed.phones.bye(number))).collect();
    bed.exchange(byes);
    for number in numbers {
        let call = &bed.phones.calls[number];
        assert!(call.caller_over && call.callee_over, "call {number}: {call:?}");
    }
    bed.release_ended();
    bed.pass(Duration::from_millis(25));
}

fn main() {
    let mut bed = Bed::new(4_096, 1 << 17);
    if let Some(turns) = benches::option("--instructions") {
        for _ in 0..turns {
            turn(&mut bed);
        }
        return;
    }
    benches::pin_last();
    for _ in 0..WARM {
        turn(&mut bed);
    }
    let mut rounds = benches::Rounds::default();
    for _ in 0..ROUNDS {
        bed.spent = 0;
        for _ in 0..EACH {
            turn(&mut bed);
        }
        rounds.push(bed.spent as f64 / 1e3 / (TOGETHER * EACH) as f64);
    }
    println!("call: INVITE to BYE, statically routed, in the shard (no kernel)");
    println!("{:<12}{:>10}{:>10}{:>14}", "", "min us", "median us", "calls/s");
    println!(
        "{:<12}{:>10.1}{:>10.1}{:>14.0}",
        "shard",
        rounds.min(),
        rounds.median(),
        1e6 / rounds.min()
    );
    println!("goal: <= 50 us whole core (this step 100)");
    println!("transactions standing {}, legs {}", bed.shard.transactions(), bed.shard.legs());
}
