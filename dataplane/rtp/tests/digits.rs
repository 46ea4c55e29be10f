//! Digits: one event each, whatever the network does to its packets (RFC 4733).

use std::time::Duration;

use base::{Mono, Prng};
use rtp::telephone_event::{Detected, Detector, Event, EventPackets, EventQueue, code, digit};

const PTIME: Duration = Duration::from_millis(20);

fn payload(code: u8, end: bool, duration: u16) -> [u8; 4] {
    Event { code, end, volume: 10, duration }.to_bytes()
}

fn started(code: u8) -> Detected {
    Detected { started: Some(code), ended: None }
}

fn ended(code: u8, ticks: u32) -> Detected {
    Detected { started: None, ended: Some((code, ticks)) }
}

const NOTHING: Detected = Detected { started: None, ended: None };

#[test]
fn payloads_read_back_and_digits_have_codes() {
    for (code, end, volume, duration) in
        [(0, false, 0, 0), (16, true, 63, 65_535), (11, true, 7, 400)]
    {
        let event = Event { code, end, volume, duration };
        assert_eq!(Event::parse(&event.to_bytes()), Some(event));
    }
    assert_eq!(Event::parse(&[1, 2, 3]), None);
    for (n, letter) in "0123456789*#ABCD".chars().enumerate() {
        assert_eq!(digit(u8::try_from(n).unwrap()), Some(letter));
        assert_eq!(code(letter).map(usize::from), Some(n));
    }
    assert_eq!((digit(16), code('x'), code('d')), (None, None, Some(15)));
}

#[test]
fn a_digit_is_sent_with_growing_durations_and_three_ends() {
    let packets: Vec<_> = EventPackets::new(5, Duration::from_millis(100), PTIME, 8_000).collect();
    let seen: Vec<(bool, bool, u16)> = packets
        .iter()
        .map(|packet| {
            let event = Event::parse(&packet.payload).unwrap();
            assert_eq!(event.code, 5);
            (packet.marker, event.end, event.duration)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (true, false, 160),
            (false, false, 320),
            (false, false, 480),
            (false, false, 640),
            (false, true, 800),
            (false, true, 800),
            (false, true, 800)
        ]
    );
    let short: Vec<_> = EventPackets::new(5, Duration::ZERO, PTIME, 8_000).collect();
    assert_eq!(short.len(), 3);
    assert!(short[0].marker && !short[1].marker);
    let long = EventPackets::new(5, Duration::from_secs(60), PTIME, 8_000);
    assert_eq!((long.ticks(), long.last().unwrap().payload[1] & 0x80), (u16::MAX, 0x80));
}

#[test]
fn each_event_is_told_once() {
    let mut detector = Detector::new(8_000);
    let now = Mono(0);
    assert_eq!(detector.handle(true, 1_000, &payload(5, false, 160), now), started(5));
    assert_eq!(detector.handle(false, 1_000, &payload(5, false, 320), now), NOTHING);
    assert_eq!(detector.handle(false, 1_000, &payload(5, true, 480), now), ended(5, 480));
    assert_eq!(detector.handle(false, 1_000, &payload(5, true, 480), now), NOTHING);
    assert_eq!(detector.handle(false, 1_000, &payload(5, false, 320), now), NOTHING, "straggler");
    assert_eq!(detector.handle(true, 3_000, &payload(5, false, 160), now), started(5), "again");
    assert_eq!(detector.handle(false, 1_000, &payload(5, true, 480), now), NOTHING, "very late");
    assert_eq!(detector.deadline(), Some(now + Duration::from_millis(200)));
}

#[test]
fn a_lost_end_is_made_up_for() {
    let mut detector = Detector::new(8_000);
    let now = Mono(0);
    assert_eq!(detector.handle(true, 1_000, &payload(1, false, 160), now), started(1));
    let both = Detected { started: Some(2), ended: Some((1, 160)) };
    assert_eq!(detector.handle(true, 2_000, &payload(2, false, 160), now), both);
    assert_eq!(detector.handle_timeout(now), NOTHING);
    let over = detector.deadline().unwrap();
    assert_eq!(detector.handle_timeout(over), ended(2, 160));
    assert_eq!(detector.handle_timeout(over), NOTHING);
    assert_eq!(detector.deadline(), None);
    assert_eq!(detector.handle(false, 5_000, &payload(3, true, 800), now).started, Some(3));
    assert_eq!(detector.handle(false, 5_000, &payload(3, true, 800), now), NOTHING);
    detector.handle(true, 9_000, &payload(4, false, 160), now);
    assert_eq!(detector.reset(), ended(4, 160), "the source changed");
    assert_eq!(detector.handle(true, 4, &payload(4, false, 160), now), started(4));
}

#[test]
fn long_events_come_in_segments() {
    let mut detector = Detector::new(8_000);
    let now = Mono(0);
    assert_eq!(detector.handle(true, 0, &payload(9, false, 160), now), started(9));
    assert_eq!(detector.handle(false, 0, &payload(9, false, 65_535), now), NOTHING);
    assert_eq!(detector.handle(false, 65_535, &payload(9, false, 160), now), NOTHING);
    assert_eq!(detector.handle(false, 65_535, &payload(9, true, 1_000), now), ended(9, 66_535));
}

#[test]
fn senders_that_stamp_every_packet_press_once() {
    let mut detector = Detector::new(8_000);
    let mut starts = 0;
    for n in 0..8_u16 {
        let event = payload(7, n == 7, (n + 1) * 160);
        let told = detector.handle(n == 0, u32::from(n) * 160, &event, Mono(0));
        starts += usize::from(told.started.is_some());
    }
    assert_eq!(starts, 1);
    let next = detector.handle(false, 12 * 160, &payload(7, false, 160), Mono(0));
    assert_eq!(next.started, Some(7), "shorter again: another press, its marker lost");
}

/// Keys pressed over a network that loses a fifth, repeats and reorders: as many digits as had at
/// least one packet delivered, each once and in order.
#[test]
fn a_bad_network_neither_adds_nor_repeats_digits() {
    for seed in 0..300 {
        let mut random = Prng::new(seed);
        let mut detector = Detector::new(8_000);
        let mut sent: Vec<(Mono, u64, bool, u32, [u8; 4])> = Vec::new();
        let mut delivered = Vec::new();
        let mut now = Mono(1_000_000_000);
        let mut timestamp = random.u32();
        for _ in 0..20 {
            let code = u8::try_from(random.below(16)).unwrap();
            let length = Duration::from_millis(40 + random.below(200));
            let mut any = false;
            for packet in EventPackets::new(code, length, PTIME, 8_000) {
                now = now + PTIME;
                if random.chance(1, 5) {
                    continue;
                }
                any = true;
                let delay = Duration::from_millis(random.below(30));
                sent.push((now + delay, random.u64(), packet.marker, timestamp, packet.payload));
                if random.chance(1, 10) {
                    sent.push((
                        now + delay * 2,
                        random.u64(),
                        packet.marker,
                        timestamp,
                        packet.payload,
                    ));
                }
            }
            if any {
                delivered.push(code);
            }
            let pause = Duration::from_millis(100 + random.below(500));
            timestamp = timestamp.wrapping_add(rtp::ticks(length + pause, 8_000) + 640);
            now = now + pause;
        }
        sent.sort_unstable();
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let mut take = |told: Detected| {
            starts.extend(told.started);
            ends.extend(told.ended.map(|(code, _)| code));
        };
        for (arrival, _, marker, timestamp, payload) in sent {
            take(detector.handle_timeout(arrival));
            take(detector.handle(marker, timestamp, &payload, arrival));
        }
        take(detector.handle_timeout(Mono::NEVER));
        assert_eq!(starts, delivered, "seed {seed}");
        assert_eq!(ends, delivered, "seed {seed}");
    }
}

#[test]
fn queued_digits_are_sent_one_after_the_other_each_ended_three_times() {
    let ptime = Duration::from_millis(20);
    let mut queue = EventQueue::default();
    assert!(queue.is_empty());
    for code in 0..8 {
        assert!(queue.push(code, 100));
    }
    assert!(!queue.push(9, 100), "eight wait at most");
    let first = queue.poll_packet(ptime, 8_000).unwrap();
    assert!(first.starts);
    assert!(queue.push(8, 100), "the one being sent waits no more");
    let mut packets = vec![first];
    packets.extend(core::iter::from_fn(|| queue.poll_packet(ptime, 8_000)));
    // Five of a digit's 100 ms, of which the last is an end, and two more ends.
    assert_eq!(packets.len(), 9 * 7);
    assert!(queue.is_empty());
    for (code, event) in (0..9).zip(packets.chunks(7)) {
        let starts: Vec<bool> = event.iter().map(|packet| packet.starts).collect();
        assert_eq!(starts, [true, false, false, false, false, false, false]);
        let read: Vec<Event> = event.iter().filter_map(|p| Event::parse(&p.payload)).collect();
        assert!(read.iter().all(|event| event.code == code));
        assert_eq!(read.iter().filter(|event| event.end).count(), 3);
        assert_eq!(read.last().map(|event| event.duration), Some(800));
    }
}
