//! G.711's two laws, and one turned into the other (ITU-T G.711): a table of 256 bytes each way,
//! made by decoding every code of one law and encoding the value in the other. So a packet is
//! transcoded where it lies, byte for byte.

use sdp::{Codec, CodecId};

/// Silence: the code of the smallest positive value.
pub(crate) const ULAW_SILENCE: u8 = 0xff;
pub(crate) const ALAW_SILENCE: u8 = 0xd5;

const ULAW_TO_ALAW: [u8; 256] = table(Conversion::UlawToAlaw);
const ALAW_TO_ULAW: [u8; 256] = table(Conversion::AlawToUlaw);

/// How a payload is changed on its way from one leg to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    UlawToAlaw,
    AlawToUlaw,
}

impl Conversion {
    /// Changes a payload in place.
    pub(crate) fn apply(self, payload: &mut [u8]) {
        let table = match self {
            Self::UlawToAlaw => &ULAW_TO_ALAW,
            Self::AlawToUlaw => &ALAW_TO_ULAW,
        };
        for byte in payload {
            *byte = table[usize::from(*byte)];
        }
    }
}

/// What turns `from` into `to`; None where nothing does, or nothing need.
pub(crate) fn between(from: Codec, to: Codec) -> Option<Conversion> {
    if from.clock != to.clock || from.channels != to.channels {
        return None;
    }
    match (from.id, to.id) {
        (CodecId::PCMU, CodecId::PCMA) => Some(Conversion::UlawToAlaw),
        (CodecId::PCMA, CodecId::PCMU) => Some(Conversion::AlawToUlaw),
        _ => None,
    }
}

/// Whether the codec is G.711 in either law.
pub(crate) fn is_g711(codec: Codec) -> bool {
    matches!(codec.id, CodecId::PCMU | CodecId::PCMA) && codec.clock == 8_000
}

const fn table(conversion: Conversion) -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0_u8;
    loop {
        table[code as usize] = match conversion {
            Conversion::UlawToAlaw => alaw(from_ulaw(code)),
            Conversion::AlawToUlaw => ulaw(from_alaw(code)),
        };
        if code == u8::MAX {
            return table;
        }
        code += 1;
    }
}

/// Mu-law of a 16-bit value (ITU-T G.711 table 2); beyond 16 bits it clips.
pub(crate) const fn ulaw(sample: i32) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = if sample < 0 { -sample } else { sample };
    let magnitude = if magnitude > CLIP { CLIP } else { magnitude } + BIAS;
    // The bias makes bit 7 the lowest that can lead: 0..=7.
    let exponent = 24 - magnitude.leading_zeros().cast_signed();
    let mantissa = magnitude >> (exponent + 3) & 0x0f;
    !low_byte(sign | exponent << 4 | mantissa)
}

/// A-law of a 16-bit value (ITU-T G.711 table 1), even bits inverted; beyond 16 bits it clips.
pub(crate) const fn alaw(sample: i32) -> u8 {
    let (sign, magnitude) = if sample >= 0 { (0x80, sample) } else { (0, -sample - 1) };
    let magnitude = if magnitude > 32_767 { 32_767 } else { magnitude } >> 4;
    let code = if magnitude < 16 {
        magnitude
    } else {
        let exponent = 27 - magnitude.leading_zeros().cast_signed();
        (exponent + 1) << 4 | magnitude >> exponent & 0x0f
    };
    low_byte(code | sign) ^ 0x55
}

/// The 16-bit value of a mu-law code.
pub(crate) const fn from_ulaw(code: u8) -> i32 {
    let code = !code as i32;
    let magnitude = ((code & 0x0f) << 3 | 0x84) << (code >> 4 & 7);
    if code & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

/// The 16-bit value of an A-law code.
pub(crate) const fn from_alaw(code: u8) -> i32 {
    let code = (code ^ 0x55) as i32;
    let (exponent, mantissa) = (code >> 4 & 7, code & 0x0f);
    let magnitude = match exponent {
        0 => mantissa << 4 | 8,
        _ => (mantissa << 4 | 0x108) << (exponent - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn low_byte(value: i32) -> u8 {
    value.to_be_bytes()[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Conversion; 2] = [Conversion::UlawToAlaw, Conversion::AlawToUlaw];

    fn convert(conversion: Conversion, code: u8) -> u8 {
        let mut payload = [code];
        conversion.apply(&mut payload);
        payload[0]
    }

    #[test]
    fn both_laws_come_back_within_their_quantisation() {
        for sample in (-32_000..32_000_i32).step_by(37) {
            let allowed = sample.abs() / 16 + 16;
            for decoded in [from_ulaw(ulaw(sample)), from_alaw(alaw(sample))] {
                assert!((decoded - sample).abs() <= allowed, "{sample} {decoded}");
            }
        }
        assert_eq!((ulaw(0), alaw(0)), (ULAW_SILENCE, ALAW_SILENCE));
        assert_eq!((ulaw(i32::from(i16::MIN)), alaw(i32::from(i16::MIN))), (0x00, 0x2a));
        assert_eq!((ulaw(i32::from(i16::MAX)), alaw(i32::from(i16::MAX))), (0x80, 0xaa));
    }

    #[test]
    fn every_code_is_the_code_of_its_value() {
        for code in 0..=u8::MAX {
            assert_eq!(alaw(from_alaw(code)), code);
            // Mu-law has two zeros; the negative one is never made.
            let same = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw(from_ulaw(code)), same);
        }
    }

    #[test]
    fn a_converted_code_has_the_nearest_value_and_the_sign() {
        for conversion in BOTH {
            for code in 0..=u8::MAX {
                let converted = convert(conversion, code);
                let (before, after) = match conversion {
                    Conversion::UlawToAlaw => (from_ulaw(code), from_alaw(converted)),
                    Conversion::AlawToUlaw => (from_alaw(code), from_ulaw(converted)),
                };
                let allowed = before.abs() / 32 + 8;
                assert!((before - after).abs() <= allowed, "{conversion:?} {code:02x}");
                assert!(before == 0 || before.signum() == after.signum(), "{code:02x}");
            }
        }
    }

    /// A call through a chain of switches is not worn down: once a code has been through both laws
    /// it comes through again unchanged.
    #[test]
    fn a_second_round_trip_changes_nothing() {
        for (there, back) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
            for code in 0..=u8::MAX {
                let once = convert(back, convert(there, code));
                let twice = convert(back, convert(there, once));
                assert_eq!(once, twice, "{there:?} {code:02x}");
            }
        }
    }

    #[test]
    fn silence_stays_silence() {
        assert_eq!(convert(Conversion::UlawToAlaw, ULAW_SILENCE), ALAW_SILENCE);
        assert!(from_ulaw(convert(Conversion::AlawToUlaw, ALAW_SILENCE)) <= 8);
    }

    #[test]
    fn only_the_two_laws_of_one_clock_turn_into_each_other() {
        let codec = |id, clock| Codec { id, clock, channels: 1, variant: 0 };
        let (ulaw, alaw) = (codec(CodecId::PCMU, 8_000), codec(CodecId::PCMA, 8_000));
        assert_eq!(between(ulaw, alaw), Some(Conversion::UlawToAlaw));
        assert_eq!(between(alaw, ulaw), Some(Conversion::AlawToUlaw));
        assert_eq!(between(ulaw, ulaw), None);
        assert_eq!(between(ulaw, codec(CodecId::PCMA, 16_000)), None);
        assert_eq!(between(ulaw, codec(CodecId::G722, 8_000)), None);
    }
}
