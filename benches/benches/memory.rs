//! Bytes that a standing relayed call takes in the dataplane (GOALS.md P9), by what they are: slots
//! that are taken at birth, and texts in the arena. Kernel socket memory (about 2.7 KiB a socket,
//! four sockets a call on the socket tier) is beside it.

use benches::bed::Bed;
use shard::plan::Limits;
use wire::cell::CELL_WORDS;
use wire::record::RECORD_WORDS;

const CALLS: usize = 1_000;

fn main() {
    let legs = u32::try_from(CALLS * 2).unwrap_or(0);
    let mut bed = Bed::new(legs + 64, legs + 64);
    let empty = bed.shard.arena_used();
    bed.set_up(CALLS);
    // Transactions run out: what is left is what stands.
    bed.pass(std::time::Duration::from_secs(40));
    let arena = (bed.shard.arena_used() - empty) / CALLS;
    let shape = |legs| Limits { legs, arena_bytes: 0, event_bytes: 0, handoff_bytes: 0, ..LIMITS };
    let slots = (shape(1_001).footprint(1) - shape(1).footprint(1)) / 1_000 * 2;
    let shared = (CELL_WORDS + RECORD_WORDS) * 8 * 2;
    let credit =
        (Limits::for_legs(1_001, 0).event_bytes - Limits::for_legs(1, 0).event_bytes) / 1_000 * 2;
    println!("memory of a standing relayed call (two legs), bytes");
    let rows = [
        ("leg, stream, timer and index slots", slots),
        ("texts in the arena (dialogs, SDP)", arena),
        ("usage cells and leg records, shared", shared),
    ];
    for (name, bytes) in rows {
        println!("{name:<40}{bytes:>8}");
    }
    let total: usize = rows.iter().map(|(_, bytes)| bytes).sum();
    println!("{:<40}{total:>8}  goal <= 8192", "total");
    println!("{:<40}{credit:>8}", "reserved beside it: credit for last words");
    println!("legs standing {}, transactions {}", bed.shard.legs(), bed.shard.transactions());
}

const LIMITS: Limits = Limits {
    legs: 0,
    transactions: 0,
    arena_bytes: 0,
    event_bytes: 0,
    handoff_bytes: 0,
    spare_ports: 0,
    connections: (0, 0),
    datagram_bytes: 1_300,
};
