//! The ring of `wire` under a model checker: the same source file, over atomics that loom watches,
//! through every interleaving (of up to three preemptions) and every value that the memory orders
//! allow a load to see.
//!
//! Records are a word long and rings four words, so that space runs out and comes back within a
//! model's reach.

/// As `wire` has it, but one word.
const MESSAGE_BYTES_MAX: usize = 8;

/// Where `ring.rs` looks for its atomics.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../../dataplane/wire/src/ring.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::needless_pass_by_ref_mut,
    reason = "the file is wire's; a model uses a part of it"
)]
mod ring;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use ring::{Consumer, Cursors, Producer, Slots};
use sync::AtomicU64;

struct Memory {
    head: AtomicU64,
    read: AtomicU64,
    released: AtomicU64,
    sleeping: AtomicU64,
    words: [AtomicU64; 4],
}

impl Memory {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let words = [zero(), zero(), zero(), zero()];
        let (head, read) = (zero(), zero());
        Arc::new(Self { head, read, released: zero(), sleeping: zero(), words })
    }

    fn slots(&self) -> Slots<'_> {
        Slots { head: &self.head, words: &self.words }
    }

    fn cursors(&self) -> Cursors<'_> {
        Cursors { read: &self.read, released: &self.released, sleeping: &self.sleeping }
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Pushes one record, waiting for room.
fn push(producer: &mut Producer<'_>, record: u8) -> bool {
    while producer.push(&[record; 8]).is_err() {
        thread::yield_now();
    }
    producer.publish()
}

#[test]
fn every_record_arrives_once_whole_and_in_order_also_where_space_is_used_again() {
    check(|| {
        let memory = Memory::new();
        let theirs = Arc::clone(&memory);
        let writer = thread::spawn(move || {
            let mut producer = Producer::join(theirs.slots(), theirs.cursors());
            for record in 1..=3 {
                push(&mut producer, record);
            }
        });
        let mut consumer = Consumer::join(memory.slots(), memory.cursors());
        let mut buffer = [0; 8];
        for expected in 1..=3 {
            loop {
                match consumer.pop(&mut buffer) {
                    Ok(Some(record)) => {
                        assert_eq!(record, [expected; 8]);
                        break;
                    }
                    Ok(None) => thread::yield_now(),
                    Err(corrupt) => panic!("{corrupt:?} before {expected}"),
                }
            }
            consumer.release(consumer.position());
        }
        assert_eq!(consumer.pop(&mut buffer), Ok(None));
        writer.join().expect("the writer ends");
    });
}

#[test]
fn a_sleeper_is_always_woken() {
    check(|| {
        let memory = Memory::new();
        let bell = Arc::new((Mutex::new(false), Condvar::new()));
        let (theirs, rung) = (Arc::clone(&memory), Arc::clone(&bell));
        let writer = thread::spawn(move || {
            let mut producer = Producer::join(theirs.slots(), theirs.cursors());
            if push(&mut producer, 7) {
                *rung.0.lock().expect("no panic under it") = true;
                rung.1.notify_one();
            }
        });
        let mut consumer = Consumer::join(memory.slots(), memory.cursors());
        if consumer.prepare_sleep() {
            // A bell that never rings is a deadlock, which loom finds.
            let mut heard = bell.0.lock().expect("no panic under it");
            while !*heard {
                heard = bell.1.wait(heard).expect("no panic under it");
            }
            drop(heard);
            consumer.wake();
        }
        let mut buffer = [0; 8];
        assert_eq!(consumer.pop(&mut buffer), Ok(Some(&[7; 8][..])), "awake, so it is there");
        writer.join().expect("the writer ends");
    });
}

#[test]
fn a_successor_starts_at_what_was_released_while_the_writer_goes_on() {
    check(|| {
        let memory = Memory::new();
        let theirs = Arc::clone(&memory);
        let writer = thread::spawn(move || {
            let mut producer = Producer::join(theirs.slots(), theirs.cursors());
            push(&mut producer, 1);
            push(&mut producer, 2);
        });
        let mut buffer = [0; 8];
        // One that reads what there is, releases nothing, and dies.
        let mut dead = Consumer::join(memory.slots(), memory.cursors());
        let seen = usize::from(dead.pop(&mut buffer) == Ok(Some(&[1; 8][..])));
        let mut successor = Consumer::join(memory.slots(), memory.cursors());
        for expected in 1..=2 {
            loop {
                match successor.pop(&mut buffer) {
                    Ok(Some(record)) => break assert_eq!(record, [expected; 8], "after {seen}"),
                    Ok(None) => thread::yield_now(),
                    Err(corrupt) => panic!("{corrupt:?}"),
                }
            }
        }
        writer.join().expect("the writer ends");
    });
}
