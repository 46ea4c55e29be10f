//! R factor and MOS against published values.

use std::time::Duration;

use rtp::LossCounters;
use rtp::quality::{CodecImpairment, Observation, mos, r_factor, rate};

fn close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{got} is not {expected}");
}

/// G.107 annex B, table B.1 (which rounds 4.024 to 4.03), and the default: R 93.2 is MOS 4.41.
#[test]
fn mos_of_r_is_the_recommendations() {
    for (r, expected) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
        close(mos(r), expected, 0.007);
    }
    close(mos(93.2), 4.41, 0.005);
    assert_eq!((mos(0.0), mos(-5.0), mos(100.0), mos(120.0)), (1.0, 1.0, 4.5, 4.5));
    assert!(mos(3.0) >= 1.0);
}

/// By hand from equation 7-29: G.729A at 2 % random loss: 11 + 84 * 2/21 = 19; G.711 with
/// concealment at 5 %: 95 * 5/30.1 = 15.78; at burst ratio 2: 95 * 5/27.6 = 17.21.
#[test]
fn effective_equipment_impairment() {
    let without_delay = |loss, burst, codec| 93.2 - r_factor(loss, burst, 0.0, codec);
    close(without_delay(0.0, 1.0, CodecImpairment::G711), 0.0, 1e-9);
    close(without_delay(0.0, 1.0, CodecImpairment::G729), 11.0, 1e-9);
    close(without_delay(2.0, 1.0, CodecImpairment::G729), 19.0, 1e-9);
    close(without_delay(5.0, 1.0, CodecImpairment::G711), 15.781, 0.001);
    close(without_delay(5.0, 2.0, CodecImpairment::G711), 17.210, 0.001);
}

/// Cole and Rosenbluth: 0.024 d, and 0.11 for each millisecond beyond 177.3.
#[test]
fn delay_impairs_beyond_the_knee() {
    let at = |delay| 93.2 - r_factor(0.0, 1.0, delay, CodecImpairment::G711);
    close(at(100.0), 2.4, 1e-9);
    close(at(177.3), 4.2552, 1e-9);
    close(at(300.0), 7.2 + 0.11 * 122.7, 1e-9);
}

#[test]
fn a_clean_call_is_good_and_a_broken_one_is_bad() {
    let clean = Observation {
        expected: 3_000,
        loss: LossCounters::default(),
        jitter: Duration::from_micros(300),
        one_way: Duration::from_millis(40),
    };
    let quality = rate(&clean, CodecImpairment::of("pcmu"));
    assert!(quality.mos > 4.3 && quality.loss_percent < 0.01, "{quality:?}");
    assert_eq!(quality.burst_ratio, 1.0);
    // 40 ms and 40 ms of playout: R = 93.2 - 1.92 = 91.28.
    assert_eq!((quality.r_deci(), quality.mos_centi()), (913, 437));
    let scattered = LossCounters { lost: 300, runs: 300, run_packets_max: 1 };
    let lossy = rate(&Observation { loss: scattered, ..clean }, CodecImpairment::G711);
    close(lossy.loss_percent, 10.0, 0.01);
    let in_bursts = LossCounters { lost: 300, runs: 50, run_packets_max: 9 };
    let bursty = rate(&Observation { loss: in_bursts, ..clean }, CodecImpairment::G711);
    close(bursty.burst_ratio, 6.0 * 0.9, 1e-9);
    assert!(bursty.mos < lossy.mos && lossy.mos < quality.mos);
    let jittery =
        rate(&Observation { jitter: Duration::from_millis(80), ..clean }, CodecImpairment::G711);
    assert!(jittery.loss_percent > 3.0, "{jittery:?}");
    let dead = LossCounters { lost: 3_000, runs: 1, run_packets_max: 3_000 };
    let dead = rate(&Observation { loss: dead, ..clean }, CodecImpairment::G711_UNCONCEALED);
    assert!(dead.r_deci() < 5 && dead.mos_centi() == 100, "{dead:?}");
    let nothing = Observation { expected: 0, ..clean };
    assert!(rate(&nothing, CodecImpairment::G711).mos > 4.0, "nothing heard is nothing lost");
}

#[test]
fn mos_falls_as_loss_grows() {
    let mut last = 5.0;
    for loss in 0..=100 {
        let now = mos(r_factor(f64::from(loss), 1.0, 60.0, CodecImpairment::G729));
        assert!(now <= last);
        last = now;
    }
}
