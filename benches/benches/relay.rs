//! The shard alone, fed from memory (GOALS.md P4): statically routed calls are set up by real SIP,
//! then RTP of 172 bytes goes round-robin over all legs in batches of 64, so that each packet is of
//! another flow. Measured is everything the shard does: batch in, transmits out, ticks with their
//! metering, RTCP and housekeeping. The frames' memory belongs to the bench and is warm, as a
//! driver's ring is.
//!
//! `cargo bench -p benches --bench relay [-- --legs N] [-- --instructions PACKETS]`: with
//! `--instructions` nothing is measured, for callgrind (`benches/instructions`).

use benches::bed::Bed;

const ROUNDS: usize = 30;
const PACKETS: usize = 100_000;

struct Row {
    legs: usize,
    min: f64,
    median: f64,
    allocations: usize,
}

fn bed(legs: usize) -> Bed {
    let room = u32::try_from(legs + 64).unwrap_or(u32::MAX);
    let mut bed = Bed::new(room, room);
    bed.set_up(legs / 2);
    bed
}

fn measure(legs: usize) -> Row {
    let mut bed = bed(legs);
    bed.relay(PACKETS);
    let mut rounds = benches::Rounds::default();
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let relayed = bed.relay(PACKETS);
        rounds.push(relayed.nanos as f64 / relayed.packets as f64);
        allocations += relayed.allocations;
    }
    Row { legs, min: rounds.min(), median: rounds.median(), allocations }
}

fn main() {
    let legs = benches::option("--legs").and_then(|legs| usize::try_from(legs).ok());
    if let Some(packets) = benches::option("--instructions") {
        bed(legs.unwrap_or(2_000)).relay(usize::try_from(packets).unwrap_or(0));
        return;
    }
    benches::pin_last();
    println!("relay: shard from memory, 172-byte RTP, batches of 64, {PACKETS} packets a round");
    println!(
        "{:>8}{:>12}{:>12}{:>14}{:>14}",
        "legs", "min ns", "median ns", "M packets/s", "allocations"
    );
    let counts = legs.map_or_else(|| vec![100, 1_000, 2_000, 10_000, 20_000], |legs| vec![legs]);
    let rows: Vec<Row> = counts.into_iter().map(measure).collect();
    for row in &rows {
        println!(
            "{:>8}{:>12.1}{:>12.1}{:>14.2}{:>14}",
            row.legs,
            row.min,
            row.median,
            1e3 / row.min,
            row.allocations
        );
    }
    let of = |legs| rows.iter().find(|row| row.legs == legs).map(|row| row.min);
    if let (Some(few), Some(many)) = (of(100), of(20_000)) {
        println!("20,000 legs / 100 legs = {:.2} x (goal <= 1.15)", many / few);
    }
    println!("goal: <= 45 ns at 2,000 legs, 0 allocations");
    let allocated: usize = rows.iter().map(|row| row.allocations).sum();
    assert_eq!(allocated, 0, "a relayed packet allocates");
}
