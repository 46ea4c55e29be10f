//! Statistics of a received stream against a simple oracle, over loss, duplication and reordering.

use std::collections::HashSet;
use std::time::Duration;

use base::{Mono, Prng};
use rtp::{Header, Probation, Receiver, Rewrite, Ssrc, Verdict, write_header};

const PACKET_BYTES: usize = 172;
const PTIME: Duration = Duration::from_millis(20);

fn header(ssrc: u32, seq: u16, timestamp: u32) -> Header {
    let mut packet = [0; PACKET_BYTES];
    let fields = Rewrite { marker: false, pt: 0, seq, timestamp, ssrc: Ssrc(ssrc) };
    write_header(&mut packet, &fields).unwrap();
    Header::parse(&packet).unwrap()
}

fn at(packet: u64) -> Mono {
    Mono(1_000_000_000) + PTIME * u32::try_from(packet).unwrap()
}

/// Feeds sequence numbers of one source, on time.
fn feed(receiver: &mut Receiver, ssrc: u32, seqs: &[u16]) -> Vec<Verdict> {
    let take = |(n, &seq): (usize, &u16)| {
        receiver.handle(&header(ssrc, seq, u32::from(seq) * 160), at(n as u64))
    };
    seqs.iter().enumerate().map(take).collect()
}

#[test]
fn counting_agrees_with_an_oracle_over_bad_networks() {
    for seed in 0..60 {
        let mut random = Prng::new(seed);
        let first = random.u32() % 0x1_0000;
        let count: u32 = 3_000;
        // Loss in runs, duplicates, and displacement by up to 40 places.
        let mut sent: Vec<(u64, u32)> = Vec::new();
        let mut skipping = 0;
        for n in 0..count {
            skipping = if random.chance(1, 50) { random.below(6) } else { skipping };
            if skipping > 0 && n > 0 && n < count - 1 {
                skipping -= 1;
                continue;
            }
            let shift = if n > 45 && random.chance(1, 20) { random.below(40) } else { 0 };
            sent.push((u64::from(n) * 2 + shift * 2 + 1, n));
            if random.chance(1, 60) {
                sent.push((u64::from(n) * 2 + random.below(20) * 2 + 2, n));
            }
        }
        sent.sort_unstable();
        let mut receiver = Receiver::new(8_000, Probation::None);
        let (mut seen, mut duplicates, mut reordered) = (HashSet::new(), 0, 0);
        let mut newest = 0;
        for &(when, n) in &sent {
            let seq = u16::try_from((first + n) % 0x1_0000).unwrap();
            let verdict = receiver.handle(&header(9, seq, n * 160), Mono(when * 1_000_000));
            let expected = if seen.is_empty() {
                Verdict::Start
            } else if !seen.insert(n) {
                duplicates += 1;
                Verdict::Duplicate
            } else if n < newest {
                reordered += 1;
                Verdict::Reordered
            } else {
                Verdict::Next
            };
            seen.insert(n);
            newest = newest.max(n);
            assert_eq!(verdict, expected, "seed {seed} packet {n}");
        }
        let missing: Vec<u32> = (0..=newest).filter(|n| !seen.contains(n)).collect();
        let runs = missing.iter().filter(|&&n| n == 0 || seen.contains(&(n - 1))).count();
        assert_eq!(receiver.duplicates(), duplicates, "seed {seed}");
        assert_eq!(receiver.reordered(), reordered, "seed {seed}");
        assert_eq!(receiver.packets(), sent.len() as u64);
        assert_eq!(receiver.loss().lost as usize, missing.len(), "seed {seed}");
        assert_eq!(receiver.loss().runs as usize, runs, "seed {seed}");
        assert_eq!(receiver.expected_total(), u64::from(newest) + 1);
        assert_eq!(receiver.highest_sequence(), first + newest, "cycles counted");
        assert_eq!(receiver.lost_total(), missing.len() as i64 - i64::from(duplicates));
        assert!(receiver.late() <= receiver.reordered());
    }
}

#[test]
fn the_sequence_wraps_without_loss() {
    let mut receiver = Receiver::new(8_000, Probation::None);
    for n in 0..200_000_u32 {
        let seq = u16::try_from((65_530 + n) % 0x1_0000).unwrap();
        let verdict = receiver.handle(&header(1, seq, n.wrapping_mul(160)), Mono(0) + PTIME * n);
        assert!(verdict.is_accepted());
    }
    assert_eq!(
        (receiver.cycles(), receiver.lost_total()),
        (4, 0) /* (65,530 + 199,999) >> 16 */
    );
    assert_eq!(receiver.jitter(), 0);
    assert_eq!(receiver.expected_total(), 200_000);
}

#[test]
fn probation_wants_two_in_sequence() {
    use Verdict::{Next, Start, Unconfirmed};
    let mut strict = Receiver::new(8_000, Probation::Two);
    assert_eq!(feed(&mut strict, 1, &[7, 9, 10, 11]), [Unconfirmed, Unconfirmed, Start, Next]);
    assert_eq!(strict.lost_total(), 0);
    let mut relay = Receiver::new(8_000, Probation::None);
    assert_eq!(feed(&mut relay, 1, &[7, 8]), [Start, Next]);
    let mut none = Receiver::new(8_000, Probation::Two);
    assert_eq!(none.report(0, 0), None);
    assert_eq!(none.ssrc(), None);
    assert_eq!((none.expected_total(), none.lost_total()), (0, 0));
}

#[test]
fn a_new_ssrc_is_taken_over_at_its_second_consecutive_packet() {
    use Verdict::{Next, Start, Unconfirmed};
    let mut receiver = Receiver::new(8_000, Probation::None);
    assert_eq!(feed(&mut receiver, 1, &[100, 101]), [Start, Next]);
    assert_eq!(feed(&mut receiver, 2, &[5_000]), [Unconfirmed]);
    assert_eq!(feed(&mut receiver, 2, &[5_002]), [Unconfirmed], "not consecutive");
    assert_eq!(feed(&mut receiver, 3, &[5_003]), [Unconfirmed], "another one's number");
    assert_eq!(feed(&mut receiver, 1, &[102]), [Next], "the old source still speaks");
    assert_eq!(feed(&mut receiver, 2, &[5_003, 5_004]), [Unconfirmed, Start]);
    assert_eq!(receiver.ssrc(), Some(Ssrc(2)));
    assert_eq!(feed(&mut receiver, 1, &[103]), [Unconfirmed], "the old one is a stranger now");
    assert_eq!(receiver.sources(), 2);
    assert_eq!((receiver.expected_total(), receiver.lost_total()), (4, 0), "the leg counts on");
    let block = receiver.report(0, 0).unwrap();
    assert_eq!((block.ssrc, block.highest_sequence, block.cumulative_lost), (Ssrc(2), 5_004, 0));
}

#[test]
fn a_restart_of_the_same_ssrc_is_confirmed_first() {
    use Verdict::{Next, Restart, Start, Unconfirmed};
    let mut receiver = Receiver::new(8_000, Probation::None);
    assert_eq!(feed(&mut receiver, 1, &[100, 101]), [Start, Next]);
    assert_eq!(feed(&mut receiver, 1, &[40_000]), [Unconfirmed]);
    assert_eq!(feed(&mut receiver, 1, &[102]), [Next], "one stray packet changes nothing");
    assert_eq!(feed(&mut receiver, 1, &[40_000, 40_001, 40_002]), [Unconfirmed, Restart, Next]);
    assert_eq!(receiver.lost_total(), 0);
}

#[test]
fn duplicates_and_late_packets_are_told_apart() {
    use Verdict::{Duplicate, Next, Reordered, Start};
    let mut receiver = Receiver::new(8_000, Probation::None);
    let verdicts = feed(&mut receiver, 1, &[10, 13, 12, 12, 13, 19, 14, 11, 10]);
    assert_eq!(
        verdicts,
        [Start, Next, Reordered, Duplicate, Duplicate, Next, Reordered, Reordered, Duplicate]
    );
    assert_eq!((receiver.reordered(), receiver.late(), receiver.duplicates()), (3, 2, 3));
    let loss = receiver.loss();
    assert_eq!((loss.lost, loss.runs, loss.run_packets_max), (4, 1, 5), "15..=18 are missing");
}

#[test]
fn what_came_before_the_first_packet_is_a_duplicate_at_worst() {
    let mut receiver = Receiver::new(8_000, Probation::None);
    assert_eq!(feed(&mut receiver, 1, &[10, 9])[1], Verdict::Duplicate);
    assert_eq!(receiver.loss().lost, 0);
}

#[test]
fn reports_carry_the_interval_and_the_whole() {
    let mut receiver = Receiver::new(8_000, Probation::None);
    let seqs: Vec<u16> = (0..=100).filter(|n| n % 4 != 1).collect();
    feed(&mut receiver, 1, &seqs);
    let block = receiver.report(5, 6).unwrap();
    assert_eq!(block.fraction_lost, 63, "25 of 101 in 1/256");
    assert_eq!((block.cumulative_lost, block.highest_sequence), (25, 100));
    assert_eq!((block.last_sr, block.delay_since_last_sr), (5, 6));
    let after: Vec<u16> = (101..=200).collect();
    feed(&mut receiver, 1, &after);
    let block = receiver.report(0, 0).unwrap();
    assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 25));
    feed(&mut receiver, 1, &[200, 200, 200]);
    let block = receiver.report(0, 0).unwrap();
    assert_eq!(
        (block.fraction_lost, block.cumulative_lost),
        (0, 22),
        "duplicates count as received"
    );
}

/// RFC 3550 A.8 computed in floating point beside it: J += (|D| - J)/16.
#[test]
fn jitter_follows_the_formula() {
    let mut random = Prng::new(11);
    let mut receiver = Receiver::new(8_000, Probation::None);
    let (mut expected, mut last) = (0.0_f64, None::<f64>);
    for n in 0..5_000_u32 {
        let arrival = u64::from(n) * 20_000_000 + random.below(8_000_000);
        let seq = u16::try_from(n % 0x1_0000).unwrap();
        receiver.handle(&header(1, seq, (n * 160).wrapping_sub(9_000)), Mono(arrival));
        let transit = arrival as f64 * 8e-6 - f64::from(n) * 160.0;
        if let Some(last) = last {
            expected += ((transit - last).abs() - expected) / 16.0;
        }
        last = Some(transit);
    }
    let got = f64::from(receiver.jitter());
    assert!((got - expected).abs() <= 2.0, "{got} against {expected}");
    let micros = receiver.jitter_micros();
    assert!(
        (1_500..4_500).contains(&micros),
        "mean |difference| of two uniforms in 8 ms: {micros}"
    );
    assert!(receiver.jitter_max_micros() >= micros);
}

#[test]
fn digits_and_rebased_clocks_are_no_jitter() {
    let mut receiver = Receiver::new(8_000, Probation::None);
    for n in 0..50_u16 {
        receiver.handle(&header(1, n, u32::from(n) * 160), at(n.into()));
    }
    for n in 50..60_u16 {
        receiver.handle(&header(1, n, 50 * 160), at(n.into()));
    }
    for n in 60..100_u16 {
        receiver.handle(&header(1, n, u32::from(n) * 160), at(n.into()));
    }
    assert_eq!(receiver.jitter(), 0, "a repeated timestamp says nothing");
    for n in 100..200_u16 {
        receiver.handle(&header(1, n, 3_000_000_000 + u32::from(n) * 160), at(n.into()));
    }
    assert_eq!(receiver.jitter(), 0, "a new base is no delay");
}

#[test]
fn a_leg_stays_small() {
    let sizes = (size_of::<Receiver>(), size_of::<rtp::Sender>(), size_of::<rtp::rtcp::Peer>());
    assert!(sizes.0 <= 160 && sizes.1 <= 96 && sizes.2 <= 64, "{sizes:?}");
}

#[test]
fn a_stranger_between_the_packets_of_a_living_source_stays_out() {
    let mut receiver = Receiver::new(8_000, Probation::None);
    for n in 0..200_u16 {
        let mine = receiver.handle(&header(1, n, u32::from(n) * 160), at(n.into()));
        assert!(mine.is_accepted());
        let other = receiver.handle(&header(2, n, u32::from(n) * 160), at(n.into()));
        assert_eq!(other, Verdict::Unconfirmed);
    }
    assert_eq!(receiver.sources(), 1);
    let first = receiver.handle(&header(2, 200, 32_000), at(200));
    assert_eq!(first, Verdict::Start, "the source in force fell silent");
}

/// A receiver that has heard 0..=50 of source 1 and was told of a new description.
fn restarted() -> Receiver {
    let mut receiver = Receiver::new(8_000, Probation::None);
    feed(&mut receiver, 1, &(0..=50).collect::<Vec<u16>>());
    receiver.restart();
    receiver
}

#[test]
fn after_a_restart_the_next_packet_is_taken_at_once() {
    for (ssrc, seq, verdict) in [
        (1, 0, Verdict::Restart),
        (1, 30, Verdict::Restart),
        (1, 40_000, Verdict::Restart),
        (1, 700, Verdict::Restart),
        (2, 51, Verdict::Start),
        (2, 9, Verdict::Start),
    ] {
        let mut receiver = restarted();
        let verdicts = feed(&mut receiver, ssrc, &[seq, seq + 1, seq + 2]);
        assert_eq!(verdicts, [verdict, Verdict::Next, Verdict::Next], "{ssrc} {seq}");
        assert_eq!(receiver.loss().lost, 0);
        assert_eq!((receiver.packets(), receiver.lost_total()), (54, 0));
    }
}

#[test]
fn a_source_that_goes_on_after_a_restart_is_the_same_source() {
    let mut receiver = restarted();
    assert_eq!(feed(&mut receiver, 1, &[51, 52]), [Verdict::Next; 2]);
    assert_eq!((receiver.sources(), receiver.lost_total()), (1, 0));
}

#[test]
fn a_straggler_before_the_restart_costs_no_more_than_a_few_packets() {
    for (ssrc, numbers) in [(1, 0..30_u16), (2, 0..30), (1, 20..60), (2, 4_000..4_030)] {
        let mut receiver = restarted();
        feed(&mut receiver, 1, &[51, 52]);
        let count = numbers.len();
        let verdicts = feed(&mut receiver, ssrc, &numbers.collect::<Vec<u16>>());
        let taken = verdicts.iter().filter(|verdict| verdict.is_accepted()).count();
        assert!(taken + 5 >= count, "{ssrc}: {taken} of {count}");
    }
}

#[test]
fn what_the_former_source_has_under_way_does_not_take_the_stream_back() {
    let mut receiver = restarted();
    assert_eq!(feed(&mut receiver, 2, &[7]), [Verdict::Start]);
    assert_eq!(feed(&mut receiver, 1, &[51, 52, 53]), [Verdict::Unconfirmed; 3]);
    assert_eq!(feed(&mut receiver, 2, &[8]), [Verdict::Next]);
    // Once it has settled, a source that speaks twice in a row is a source again.
    feed(&mut receiver, 2, &(9..150).collect::<Vec<u16>>());
    assert_eq!(feed(&mut receiver, 1, &[54, 55]), [Verdict::Unconfirmed, Verdict::Start]);
}

#[test]
fn a_duplicated_burst_is_no_restart_once_settled() {
    let mut receiver = restarted();
    feed(&mut receiver, 1, &(51..200).collect::<Vec<u16>>());
    assert_eq!(feed(&mut receiver, 1, &[150, 151, 152]), [Verdict::Duplicate; 3]);
}
