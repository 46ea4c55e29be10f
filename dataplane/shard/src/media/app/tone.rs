//! Silence and ringback in G.711. Ringback is 440 and 480 Hz, -19 dBm each, two seconds on and four
//! off (ITU-T E.180 supplement 2, North America). Both tones repeat every 25 ms, so a table of 200
//! samples is the whole tone, whatever the packet time.

use sdp::{Codec, CodecId};

use super::super::transcode::{ALAW_SILENCE, ULAW_SILENCE, alaw, ulaw};

/// Samples after which the tone repeats.
const PERIOD: usize = 200;
/// Samples of sound, and of sound and pause together.
const ON_SAMPLES: u32 = 16_000;
const CYCLE_SAMPLES: u32 = 48_000;

const _: () = assert!((ON_SAMPLES as usize).is_multiple_of(PERIOD));
const _: () = assert!((CYCLE_SAMPLES as usize).is_multiple_of(PERIOD));

/// Tables for both laws.
#[derive(Debug)]
pub(crate) struct Tones {
    ulaw: [u8; PERIOD],
    alaw: [u8; PERIOD],
}

impl Tones {
    pub(crate) fn new() -> Self {
        let sample = |at: usize| {
            let phase = core::f64::consts::TAU * at as f64 / 8_000.0;
            let value = ((phase * 440.0).sin() + (phase * 480.0).sin()) * 2_500.0;
            // Within +-5,000: the cast cannot overflow.
            #[expect(clippy::cast_possible_truncation, reason = "bounded by the amplitude")]
            let sample = value as i32;
            sample
        };
        Self {
            ulaw: core::array::from_fn(|at| ulaw(sample(at))),
            alaw: core::array::from_fn(|at| alaw(sample(at))),
        }
    }

    /// Silence in a law of G.711.
    pub(crate) fn silence(codec: Codec, out: &mut [u8]) {
        out.fill(if codec.id == CodecId::PCMA { ALAW_SILENCE } else { ULAW_SILENCE });
    }

    /// The cadence from its sample `at` on. Returns the sample behind the last one.
    pub(crate) fn ringback(&self, codec: Codec, at: u32, out: &mut [u8]) -> u32 {
        let (table, silence) = match codec.id {
            CodecId::PCMA => (&self.alaw, ALAW_SILENCE),
            _ => (&self.ulaw, ULAW_SILENCE),
        };
        let mut at = at % CYCLE_SAMPLES;
        for sample in out {
            *sample = if at < ON_SAMPLES { table[at as usize % PERIOD] } else { silence };
            at = (at + 1) % CYCLE_SAMPLES;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bed::ULAW;
    use super::super::super::transcode::from_ulaw;
    use super::*;

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
    fn ringback_is_heard_as_440_and_480_hertz_then_silence_in_packets_of_any_length() {
        let tones = Tones::new();
        for samples in [80, 160, 240, 480] {
            let mut heard = Vec::new();
            let mut at = 0;
            while heard.len() < 96_000 {
                let mut out = vec![0; samples];
                at = tones.ringback(ULAW, at, &mut out);
                heard.extend(out.into_iter().map(from_ulaw));
            }
            for cycle in heard.chunks(48_000).filter(|cycle| cycle.len() == 48_000) {
                let (tone, pause) = cycle.split_at(16_000);
                let (low, high) = (share(tone, 440.0), share(tone, 480.0));
                assert!(low > 0.45 && high > 0.45, "{samples}: {low} {high}");
                assert!(pause.iter().all(|sample| *sample == 0));
            }
        }
    }
}
