//! One outgoing stream goes on, whatever feeds it.

use std::time::Duration;

use base::{Mono, Now, Prng, Wall};
use rtp::{Sender, Ssrc, Stamped};

const PTIME: Duration = Duration::from_millis(20);

fn ahead(to: u16, from: u16) -> i16 {
    to.wrapping_sub(from).cast_signed()
}

fn later(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

#[test]
fn the_first_packet_takes_the_chosen_numbers() {
    let mut sender = Sender::new(Ssrc(5), 700, 9_000, 8_000);
    assert_eq!(sender.next_index() & 0xffff, 700);
    let stamped = sender.stamp(3, 160, 160, Mono(77)).unwrap();
    assert_eq!(stamped, Stamped { seq: 700, timestamp: 9_000, ssrc: Ssrc(5), starts: true });
    assert!(stamped.rewrite(false, 8).marker, "a new source is marked");
    let next = sender.stamp(4, 320, 160, Mono(77) + PTIME).unwrap();
    assert_eq!((next.seq, next.timestamp, next.starts), (701, 9_160, false));
    assert_eq!((sender.packets(), sender.octets()), (2, 320));
}

#[test]
fn gaps_and_reordering_of_a_source_stay_visible() {
    let mut sender = Sender::new(Ssrc(5), 65_534, u32::MAX - 100, 8_000);
    let ins = [10_u16, 11, 14, 13, 15];
    let outs: Vec<u16> = ins
        .iter()
        .map(|&seq| sender.stamp(seq, u32::from(seq) * 160, 160, Mono(0)).unwrap().seq)
        .collect();
    assert_eq!(outs, [65_534, 65_535, 2, 1, 3]);
    assert_eq!(sender.next_index(), 0x1_0000 + 65_534 + 6);
}

#[test]
fn a_change_of_source_goes_on_by_one_and_by_the_time_passed() {
    let mut sender = Sender::new(Ssrc(5), 100, 1_000, 8_000);
    let start = Mono(5_000_000_000);
    sender.stamp(1, 0, 160, start).unwrap();
    sender.stamp(2, 160, 160, start + PTIME).unwrap();
    sender.switch_source();
    let silence = Duration::from_millis(500);
    let resumed = sender.stamp(60_000, 4_000_000_000, 160, start + PTIME + silence).unwrap();
    assert_eq!((resumed.seq, resumed.timestamp), (102, 1_000 + 160 + 4_000));
    assert!(resumed.starts);
    let next = sender.stamp(60_001, 4_000_000_160, 160, start + PTIME * 2 + silence).unwrap();
    assert_eq!((next.seq, next.timestamp), (103, 1_000 + 160 + 4_000 + 160));
    assert_eq!(sender.stamp(59_999, 3_999_999_840, 160, start), None, "older than its first");
    sender.switch_source();
    let at_once = sender.stamp(9, 9, 160, start + PTIME * 2 + silence).unwrap();
    assert_eq!(at_once.timestamp, next.timestamp + 1, "never the same timestamp again");
}

#[test]
fn time_goes_on_while_digits_repeat_their_timestamp() {
    let mut sender = Sender::new(Ssrc(5), 100, 0, 8_000);
    for n in 0..5_u16 {
        sender.stamp(n, 800, 4, Mono(0) + PTIME * u32::from(n)).unwrap();
    }
    sender.switch_source();
    let speech = sender.stamp(0, 0, 160, Mono(0) + PTIME * 5).unwrap();
    assert_eq!(speech.timestamp, 800, "100 ms after the start of the digit");
}

#[test]
fn another_clock_counts_from_the_change_on() {
    let mut sender = Sender::new(Ssrc(5), 0, 0, 8_000);
    sender.stamp(0, 0, 160, Mono(0)).unwrap();
    sender.switch_clock(48_000);
    let opus = sender.stamp(0, 0, 80, Mono(0) + PTIME).unwrap();
    assert_eq!(opus.timestamp, 960);
    assert_eq!(sender.timestamp_at(Mono(0) + PTIME * 2), 960 * 2);
    assert_eq!(sender.clock_hz(), 48_000);
}

#[test]
fn a_successor_starts_above_what_was_reserved() {
    let mut old = Sender::new(Ssrc(5), 65_535, 0, 8_000);
    old.stamp(1, 0, 160, Mono(0)).unwrap();
    let reserved = old.next_index() + 1_000;
    let mut new = Sender::new(Ssrc(5), 65_535, 0, 8_000);
    new.resume_at(reserved);
    let stamped = new.stamp(7, 0, 160, Mono(1)).unwrap();
    assert_eq!(u64::from(stamped.seq), reserved & 0xffff);
    new.resume_at(3);
    assert_eq!(new.next_index(), reserved + 1, "never back");
}

/// Random sources with loss and reordering, random changes, wraps of both numbers.
#[test]
fn the_stream_never_goes_back_over_a_change() {
    for seed in 0..200 {
        let mut random = Prng::new(seed);
        let mut sender = Sender::new(Ssrc(1), 65_000, u32::MAX - 50_000, 8_000);
        let mut now = Mono(0);
        let mut newest: Option<(u16, u32)> = None;
        for _ in 0..40 {
            sender.switch_source();
            let (mut seq, mut timestamp) =
                (u16::try_from(random.below(0x1_0000)).unwrap(), random.u32());
            let before = newest;
            for n in 0..random.below(400) {
                now = now + PTIME;
                let (back, forward) = (
                    u16::try_from(random.below(4)).unwrap(),
                    u16::try_from(random.below(3)).unwrap(),
                );
                if n > 0 && random.chance(1, 10) {
                    let old = timestamp.wrapping_sub(160 * u32::from(back));
                    if let Some(out) = sender.stamp(seq.wrapping_sub(back), old, 160, now) {
                        assert!(
                            before.is_none_or(|(high, _)| ahead(out.seq, high) > 0),
                            "seed {seed}"
                        );
                    }
                    continue;
                }
                let step = if n == 0 { 0 } else { 1 + forward };
                seq = seq.wrapping_add(step);
                timestamp = timestamp.wrapping_add(160 * u32::from(step));
                let out = sender.stamp(seq, timestamp, 160, now).unwrap();
                if let Some((high, high_timestamp)) = newest {
                    let gap = if n == 0 { 1 } else { step.cast_signed() };
                    assert_eq!(ahead(out.seq, high), gap, "seed {seed}: gaps are the source's");
                    assert!(later(out.timestamp, high_timestamp) > 0, "seed {seed}");
                }
                newest = Some((out.seq, out.timestamp));
            }
            now = now + Duration::from_millis(random.below(3_000));
        }
    }
}

#[test]
fn a_sender_report_tells_the_stream_as_it_is_now() {
    let mut sender = Sender::new(Ssrc(1), 5, 1_000, 8_000);
    let now = |ms: u64| Now { mono: Mono(ms * 1_000_000), wall: Wall(ms * 1_000) };
    assert_eq!(sender.sender_info(now(0)), None);
    sender.stamp(0, 0, 160, now(0).mono).unwrap();
    sender.stamp(1, 160, 160, now(20).mono).unwrap();
    let info = sender.sender_info(now(1_020)).unwrap();
    assert_eq!((info.timestamp, info.packets, info.octets), (1_160 + 8_000, 2, 320));
    assert_eq!(info.ntp >> 32, 2_208_988_800 + 1);
}
