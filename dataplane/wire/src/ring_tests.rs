//! The ring by itself, in one thread; `tests/ring_model` has its threads.

use crate::ring::{Consumer, Corrupt, Cursors, Full, Producer, RECORD_BYTES_MAX, Slots};
use crate::sync::{AtomicU64, Ordering};

struct Memory {
    control: [AtomicU64; 4],
    words: Vec<AtomicU64>,
}

impl Memory {
    fn new() -> Self {
        let words = (0..8192).map(|_| AtomicU64::new(0)).collect();
        Self { control: Default::default(), words }
    }

    fn ends(&self) -> (Producer<'_>, Consumer<'_>) {
        (Producer::join(self.slots(), self.cursors()), self.consumer())
    }

    fn consumer(&self) -> Consumer<'_> {
        Consumer::join(self.slots(), self.cursors())
    }

    fn slots(&self) -> Slots<'_> {
        Slots { head: &self.control[0], words: &self.words }
    }

    fn cursors(&self) -> Cursors<'_> {
        let [_, read, released, sleeping] = &self.control;
        Cursors { read, released, sleeping }
    }
}

#[test]
fn records_arrive_once_in_order_across_the_wrap() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    for round in 0..5_000_usize {
        let record = vec![u8::try_from(round % 251).unwrap(); round % 700];
        producer.push(&record).unwrap();
        producer.publish();
        assert_eq!(consumer.pop(&mut buffer), Ok(Some(&record[..])));
        assert_eq!(consumer.pop(&mut buffer), Ok(None));
        consumer.release(consumer.position());
    }
}

#[test]
fn space_returns_on_release_not_on_read() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    let record = [7; 1000];
    let mut pushed = 0;
    while producer.push(&record).is_ok() {
        pushed += 1;
    }
    producer.publish();
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    for _ in 0..pushed {
        assert!(consumer.pop(&mut buffer).unwrap().is_some());
    }
    assert_eq!(producer.push(&record), Err(Full));
    consumer.release(consumer.position());
    assert_eq!(producer.push(&record), Ok(()));
}

#[test]
fn a_successor_reads_again_what_was_not_released() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    producer.push(b"one").unwrap();
    producer.push(b"two").unwrap();
    producer.publish();
    consumer.pop(&mut buffer).unwrap();
    consumer.release(consumer.position());
    consumer.pop(&mut buffer).unwrap();
    let mut successor = memory.consumer();
    assert_eq!(successor.pop(&mut buffer), Ok(Some(&b"two"[..])));
}

#[test]
fn an_unpublished_record_is_overwritten_by_the_successor() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    producer.push(b"never seen").unwrap();
    let mut successor = Producer::join(memory.slots(), memory.cursors());
    successor.push(b"seen").unwrap();
    successor.publish();
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&b"seen"[..])));
}

#[test]
fn damage_is_noticed_and_skipped() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    producer.push(b"good").unwrap();
    producer.publish();
    memory.words[0].store(u64::MAX, Ordering::Relaxed);
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    assert_eq!(consumer.pop(&mut buffer), Err(Corrupt));
    assert_eq!(consumer.skip_to_head(), 2);
    producer.push(b"next").unwrap();
    producer.publish();
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&b"next"[..])));
}

#[test]
fn a_sleeper_is_seen_by_the_producer() {
    let memory = Memory::new();
    let (mut producer, mut consumer) = memory.ends();
    assert!(consumer.prepare_sleep());
    producer.push(b"wake").unwrap();
    assert!(producer.publish(), "the doorbell must ring");
    assert!(producer.is_waited_for(), "it was not rung yet");
    consumer.wake();
    assert!(!producer.is_waited_for(), "awake");
    assert!(!consumer.prepare_sleep(), "something is there: no sleep");
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&b"wake"[..])));
    assert!(consumer.prepare_sleep());
    assert!(!producer.is_waited_for(), "all is read");
}
