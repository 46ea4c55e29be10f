//! Silence and ringback in G.711: 20 ms packets at 8 kHz. Ringback is 440 and 480 Hz, -19 dBm each,
//! two seconds on and four off (ITU-T E.180 supplement 2, North America). Both tones repeat every
//! 25 ms, so a table of 200 samples is the whole tone.

use sdp::{CodecId, PlanFormat};

/// Samples and bytes of a packet.
pub(crate) const SAMPLES: usize = 160;
/// Samples after which the tone repeats.
const PERIOD: usize = 200;
const ON_PACKETS: u32 = 100;
const CYCLE_PACKETS: u32 = 300;

/// Tables for both laws.
#[derive(Debug)]
pub(crate) struct Tones {
    ulaw: [u8; PERIOD],
    alaw: [u8; PERIOD],
}

const ULAW_SILENCE: u8 = 0xff;
const ALAW_SILENCE: u8 = 0xd5;

impl Tones {
    pub(crate) fn new() -> Self {
        let sample = |at: usize| {
            let phase = core::f64::consts::TAU * at as f64 / 8_000.0;
            let value = ((phase * 440.0).sin() + (phase * 480.0).sin()) * 2_500.0;
            // Within +-5,000: the cast cannot overflow.
            #[expect(clippy::cast_possible_truncation, reason = "bounded by the amplitude")]
            let sample = value as i16;
            sample
        };
        Self {
            ulaw: core::array::from_fn(|at| ulaw(sample(at))),
            alaw: core::array::from_fn(|at| alaw(sample(at))),
        }
    }

    /// Whether we can play in this format.
    pub(crate) fn speaks(format: &PlanFormat) -> bool {
        matches!(format.codec.id, CodecId::PCMU | CodecId::PCMA)
    }

    pub(crate) fn silence(format: &PlanFormat, out: &mut [u8]) {
        out.fill(if format.codec.id == CodecId::PCMA { ALAW_SILENCE } else { ULAW_SILENCE });
    }

    /// The packet at this position of the cadence.
    pub(crate) fn ringback(&self, format: &PlanFormat, packet: u32, out: &mut [u8]) {
        let packet = packet % CYCLE_PACKETS;
        if packet >= ON_PACKETS {
            Self::silence(format, out);
            return;
        }
        let table = if format.codec.id == CodecId::PCMA { &self.alaw } else { &self.ulaw };
        let from = packet as usize * SAMPLES % PERIOD;
        for (at, sample) in out.iter_mut().enumerate() {
            *sample = table[(from + at) % PERIOD];
        }
    }
}

/// G.711 mu-law (ITU-T G.711 table 2).
fn ulaw(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = (31 - magnitude.leading_zeros()).saturating_sub(7);
    let mantissa = magnitude >> (exponent + 3) & 0x0f;
    let code = sign | i32::try_from(exponent << 4).unwrap_or(0) | mantissa;
    !u8::try_from(code & 0xff).unwrap_or(0)
}

/// G.711 A-law (ITU-T G.711 table 1), even bits inverted.
fn alaw(sample: i16) -> u8 {
    let (sign, magnitude) =
        if sample >= 0 { (0x80, i32::from(sample)) } else { (0, -i32::from(sample) - 1) };
    let magnitude = magnitude.min(32_767) >> 4;
    let code = if magnitude < 16 {
        magnitude
    } else {
        let exponent = 31 - u32::try_from(magnitude).unwrap_or(1).leading_zeros() - 4;
        let mantissa = magnitude >> exponent & 0x0f;
        i32::try_from((exponent + 1) << 4).unwrap_or(0) | mantissa
    };
    (u8::try_from(code | sign).unwrap_or(0)) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_ulaw(code: u8) -> i32 {
        let code = i32::from(!code);
        let magnitude = ((code & 0x0f) << 3 | 0x84) << (code >> 4 & 7);
        if code & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
    }

    fn from_alaw(code: u8) -> i32 {
        let code = i32::from(code ^ 0x55);
        let (exponent, mantissa) = (code >> 4 & 7, code & 0x0f);
        let magnitude = match exponent {
            0 => mantissa << 4 | 8,
            _ => (mantissa << 4 | 0x108) << (exponent - 1),
        };
        if code & 0x80 == 0 { -magnitude } else { magnitude }
    }

    #[test]
    fn both_laws_come_back_within_their_quantisation() {
        for sample in (-32_000..32_000_i16).step_by(37) {
            let allowed = i32::from(sample).abs() / 16 + 16;
            for decoded in [from_ulaw(ulaw(sample)), from_alaw(alaw(sample))] {
                assert!((decoded - i32::from(sample)).abs() <= allowed, "{sample} {decoded}");
            }
        }
        assert_eq!((ulaw(0), alaw(0)), (ULAW_SILENCE, ALAW_SILENCE));
    }

    /// Power at a frequency over the total, by one bin of a DFT.
    fn share(samples: &[i32], hertz: f64) -> f64 {
        let (mut re, mut im, mut total) = (0.0, 0.0, 0.0);
        for (at, sample) in samples.iter().enumerate() {
            let phase = core::f64::consts::TAU * hertz * at as f64 / 8_000.0;
            let value = f64::from(*sample);
            re += value * phase.cos();
            im += value * phase.sin();
            total += value * value;
        }
        2.0 * (re * re + im * im) / (total * samples.len() as f64)
    }

    #[test]
    fn ringback_is_heard_as_440_and_480_hertz_then_silence() {
        let tones = Tones::new();
        let format = PlanFormat {
            codec: sdp::Codec { id: CodecId::PCMU, clock: 8_000, channels: 1, variant: 0 },
            receive_pt: 0,
            send_pt: 0,
        };
        let mut heard = Vec::new();
        for packet in 0..50 {
            let mut out = [0; SAMPLES];
            tones.ringback(&format, packet, &mut out);
            heard.extend(out.map(from_ulaw));
        }
        let (low, high) = (share(&heard, 440.0), share(&heard, 480.0));
        assert!(low > 0.45 && high > 0.45, "{low} {high}");
        let mut out = [0; SAMPLES];
        tones.ringback(&format, 150, &mut out);
        assert_eq!(out, [ULAW_SILENCE; SAMPLES]);
    }
}
