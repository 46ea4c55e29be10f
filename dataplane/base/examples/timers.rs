//! Deadlines of a slab's entries in a wheel, in a time that is only a number.
//!
//! `cargo run -p base --example timers`

use std::time::Duration;

use base::{Mono, Slab, Wheel};

fn main() {
    let start = Mono(1_000_000_000);
    let mut calls = Slab::new(8);
    let mut wheel = Wheel::new(8);
    for (name, after_ms) in [("retransmit", 500), ("give up", 32_000), ("ring", 4_000)] {
        let index = calls.insert(name).expect("there is room for eight");
        wheel.set(index, start + Duration::from_millis(after_ms));
    }
    // A driver sleeps until the next deadline; here the time just jumps there.
    while !wheel.is_empty() {
        let now = wheel.next();
        while let Some(index) = wheel.pop(now) {
            let name = calls.remove(index).expect("it was set for an entry");
            println!("{:>6} ms: {name}", now.since(start).as_millis());
        }
    }
}
