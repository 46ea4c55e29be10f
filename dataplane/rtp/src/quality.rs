//! Call quality: the E-model (ITU-T G.107) reduced to what a relay can measure.
//!
//! ```text
//!   R = 93.2 - Id(delay) - Ie,eff(codec, loss, burstiness)          MOS = f(R)
//! ```
//!
//! - 93.2 is Ro - Is with the default values of G.107 table 2 (no terminal is measured here).
//! - Id is the reduction of G.107's delay impairment by Cole and Rosenbluth, "Voice over IP
//!   performance monitoring" (ACM SIGCOMM CCR 31/2, 2001): 0.024 d + 0.11 (d - 177.3) beyond 177.3
//!   ms.
//! - Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl): G.107 equation 7-29. Ie and Bpl are of
//!   G.113 appendix I where it has the codec.
//! - MOS is G.107 annex B, equation B-4.
//! - What a playout buffer would lose to jitter is added to the loss: interarrival jitter J is
//!   taken for the mean deviation of a Laplace distribution, of which exp(-D/J)/2 exceeds a buffer
//!   of D. The buffer assumed is 4 J, at least 40 ms, at most 200 ms; it counts as delay.
//!
//! An estimate from the network's side: it hears neither echo, nor level, nor noise.

use core::time::Duration;

use crate::receiver::{LossCounters, Receiver};

/// Equipment impairment of a codec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodecImpairment {
    /// Ie: impairment without loss.
    pub ie: f64,
    /// Bpl: robustness against packet loss, in percent.
    pub bpl: f64,
}

impl CodecImpairment {
    /// G.711 with concealment as of G.711 appendix I (G.113 appendix I). Without any, Bpl is 4.3.
    pub const G711: Self = Self { ie: 0.0, bpl: 25.1 };
    /// G.711 whose receiver plays silence for loss (G.113 appendix I).
    pub const G711_UNCONCEALED: Self = Self { ie: 0.0, bpl: 4.3 };
    /// G.729A with VAD (G.113 appendix I).
    pub const G729: Self = Self { ie: 11.0, bpl: 19.0 };
    /// G.723.1 at 6.3 kbit/s with VAD (G.113 appendix I).
    pub const G723: Self = Self { ie: 15.0, bpl: 16.1 };
    /// GSM full rate: Ie of G.113 appendix I; Bpl not given there, that of GSM EFR is assumed.
    pub const GSM: Self = Self { ie: 20.0, bpl: 10.0 };
    /// Wideband and Opus on the narrowband scale: no impairment is assumed, robustness as concealed
    /// G.711.
    pub const WIDEBAND: Self = Self { ie: 0.0, bpl: 25.1 };

    /// The row for an RTP encoding name, in any case; unknown names are taken for
    /// [`Self::WIDEBAND`].
    #[must_use]
    pub fn of(encoding: &str) -> Self {
        let rows = [
            ("PCMU", Self::G711),
            ("PCMA", Self::G711),
            ("G729", Self::G729),
            ("G723", Self::G723),
            ("GSM", Self::GSM),
        ];
        let row = rows.iter().find(|(name, _)| name.eq_ignore_ascii_case(encoding));
        row.map_or(Self::WIDEBAND, |row| row.1)
    }
}

/// What is known of one direction of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Packets that were sent.
    pub expected: u64,
    pub loss: LossCounters,
    pub jitter: Duration,
    /// From mouth to ear without the playout buffer: half the round trip, plus packet time.
    pub one_way: Duration,
}

impl Observation {
    /// From a received stream. `round_trip` is of [`crate::rtcp::Peer::round_trip`] where known.
    #[must_use]
    pub fn of(receiver: &Receiver, round_trip: Option<Duration>, ptime: Duration) -> Self {
        Self {
            expected: receiver.expected_total(),
            loss: receiver.loss(),
            jitter: Duration::from_micros(receiver.jitter_micros()),
            one_way: round_trip.unwrap_or_default() / 2 + ptime,
        }
    }
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// R factor, 0..=93.2.
    pub r_factor: f64,
    /// Mean opinion score (conversational quality, estimated), 1..=4.5.
    pub mos: f64,
    /// Loss in percent, jitter included.
    pub loss_percent: f64,
    /// Mean length of a loss run over that of random loss; 1 for random.
    pub burst_ratio: f64,
}

impl Quality {
    /// R in tenths, for counters and records.
    #[must_use]
    pub fn r_deci(&self) -> u16 {
        rounded(self.r_factor * 10.0)
    }

    /// MOS in hundredths, for counters and records.
    #[must_use]
    pub fn mos_centi(&self) -> u16 {
        rounded(self.mos * 100.0)
    }
}

/// Rates one direction of a call.
#[must_use]
pub fn rate(seen: &Observation, codec: CodecImpairment) -> Quality {
    const PLAYOUT_MIN_MS: f64 = 40.0;
    const PLAYOUT_MAX_MS: f64 = 200.0;
    let jitter_ms = seen.jitter.as_secs_f64() * 1_000.0;
    let playout_ms = (4.0 * jitter_ms).clamp(PLAYOUT_MIN_MS, PLAYOUT_MAX_MS);
    let late = if jitter_ms > 0.0 { exp_negative(playout_ms / jitter_ms) / 2.0 } else { 0.0 };
    let lost = share(u64::from(seen.loss.lost), seen.expected);
    let loss_percent = 100.0 * (lost + (1.0 - lost) * late);
    let burst_ratio = burst_ratio(&seen.loss, lost);
    let delay_ms = seen.one_way.as_secs_f64() * 1_000.0 + playout_ms;
    let r_factor = r_factor(loss_percent, burst_ratio, delay_ms, codec);
    Quality { r_factor, mos: mos(r_factor), loss_percent, burst_ratio }
}

/// R from loss in percent, burst ratio, one-way delay in milliseconds and codec; 0..=93.2.
#[must_use]
pub fn r_factor(loss_percent: f64, burst_ratio: f64, delay_ms: f64, codec: CodecImpairment) -> f64 {
    const R_DEFAULT: f64 = 93.2;
    const KNEE_MS: f64 = 177.3;
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - KNEE_MS).max(0.0);
    let share = loss_percent / (loss_percent / burst_ratio.max(1.0) + codec.bpl);
    let equipment = codec.ie + (95.0 - codec.ie) * share;
    (R_DEFAULT - delay - equipment).clamp(0.0, R_DEFAULT)
}

/// MOS from R (G.107 equation B-4). The cubic dips below 1 for R under 6.5; MOS does not.
#[must_use]
pub fn mos(r: f64) -> f64 {
    if r <= 0.0 {
        1.0
    } else if r >= 100.0 {
        4.5
    } else {
        (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7.0e-6).max(1.0)
    }
}

/// BurstR of G.107: mean run observed over mean run 1/(1-p) of random loss; not below 1, since
/// the counters cannot tell even spacing from chance.
fn burst_ratio(loss: &LossCounters, lost: f64) -> f64 {
    if loss.runs == 0 {
        return 1.0;
    }
    let mean_run = f64::from(loss.lost) / f64::from(loss.runs);
    (mean_run * (1.0 - lost)).max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "packet counts stay below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// exp(-x) for x >= 0 as (1 - x/1024)^1024: within 1 % for x up to 4, and there is no libm in core.
fn exp_negative(x: f64) -> f64 {
    let mut power = (1.0 - x / 1_024.0).max(0.0);
    for _ in 0..10 {
        power *= power;
    }
    power
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the type")]
fn rounded(value: f64) -> u16 {
    (value + 0.5).clamp(0.0, 65_535.0) as u16
}
