//! An event through a ring, from the process that knows the call to the one that knows the tenant.
//!
//! `cargo run -p wire --example events`

use std::sync::atomic::AtomicU64;

use base::{CallId, LegId, Wall};
use wire::Event;
use wire::ring::{Consumer, Cursors, Producer, Slots};

fn main() {
    let [head, read, released, sleeping] = [0; 4].map(AtomicU64::new);
    // A power of two of words; in the product a region of shared memory.
    let words: Vec<AtomicU64> = (0..1 << 14).map(|_| AtomicU64::new(0)).collect();
    let slots = Slots { head: &head, words: &words };
    let cursors = Cursors { read: &read, released: &released, sleeping: &sleeping };
    let (mut producer, mut consumer) =
        (Producer::join(slots, cursors), Consumer::join(slots, cursors));

    let event = Event::Answered { call: CallId(7), leg: LegId::new(0, 1, 1), at: Wall(1) };
    let mut bytes = [0; wire::MESSAGE_BYTES_MAX];
    let len = wire::encode(&event, &mut bytes).expect("an event fits");
    producer.push(&bytes[..len]).expect("the ring is empty");
    let rings_the_bell = producer.publish();
    println!("published {len} bytes, doorbell: {rings_the_bell}");

    let mut copy = [0; wire::MESSAGE_BYTES_MAX];
    let record = consumer.pop(&mut copy).expect("nobody damaged it").expect("it is there");
    println!("{:?}", wire::decode::<Event<'_>>(record).expect("it is whole"));
    // After the journal's fsync: the producer may overwrite it.
    let position = consumer.position();
    consumer.release(position);
}
