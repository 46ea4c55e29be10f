//! G.711 from its definition: segments and steps, no table. The switch transcodes by tables of its
//! own; this is what they are measured with.

/// The two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMU.
    Mu,
    /// PCMA.
    A,
}

impl Law {
    /// The law of a codec, if it is G.711.
    #[must_use]
    pub fn of(codec: &sdp::Codec) -> Option<Self> {
        if codec.clock != 8_000 || codec.channels != 1 {
            return None;
        }
        match codec.id {
            sdp::CodecId::PCMU => Some(Self::Mu),
            sdp::CodecId::PCMA => Some(Self::A),
            _ => None,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Mu => Self::A,
            Self::A => Self::Mu,
        }
    }

    /// A linear sample of 16 bits, as the law codes it.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => mu_encode(i32::from(sample)),
            Self::A => a_encode(i32::from(sample)),
        }
    }

    /// What a byte means, linear in 16 bits.
    #[must_use]
    pub fn decode(self, byte: u8) -> i16 {
        let value = match self {
            Self::Mu => mu_decode(byte),
            Self::A => a_decode(byte),
        };
        i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
    }
}

/// Sign, three bits of segment, four of step, all inverted; the bias makes each segment twice as
/// long as the one before (G.711 table 2).
fn mu_encode(sample: i32) -> u8 {
    const BIAS: i32 = 132;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let level = (sample.abs().min(32_635)) + BIAS;
    let segment = (level >> 7).ilog2();
    let step = (level >> (segment + 3)) & 0xf;
    let segment = i32::try_from(segment).unwrap_or(7);
    !low_byte(sign | segment << 4 | step)
}

fn mu_decode(byte: u8) -> i32 {
    let byte = i32::from(!byte);
    let (segment, step) = (byte >> 4 & 7, byte & 0xf);
    let level = (((step << 3) + 132) << segment) - 132;
    if byte & 0x80 == 0 { level } else { -level }
}

/// Sign (1 is positive), segment, step, every other bit inverted (G.711 table 1).
fn a_encode(sample: i32) -> u8 {
    let positive = sample >= 0;
    let level = if positive { sample } else { -sample - 1 } >> 3;
    let level = level.clamp(0, 0xfff);
    let segment = if level < 32 { 0 } else { level.ilog2() - 4 };
    let step = if segment == 0 { level >> 1 } else { level >> segment } & 0xf;
    let segment = i32::try_from(segment).unwrap_or(7);
    low_byte(if positive { 0x80 } else { 0 } | segment << 4 | step) ^ 0x55
}

fn a_decode(byte: u8) -> i32 {
    let byte = i32::from(byte ^ 0x55);
    let (segment, step) = (byte >> 4 & 7, byte & 0xf);
    let level = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    if byte & 0x80 == 0 { -level } else { level }
}

fn low_byte(value: i32) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_every_sample_within_its_step() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255_u8 {
                let again = law.encode(law.decode(byte));
                // Mu-law has two zeros.
                assert!(again == byte || law.decode(byte) == 0, "{law:?} {byte:02x} {again:02x}");
            }
            for sample in (i16::MIN..=i16::MAX).step_by(7) {
                let heard = i32::from(law.decode(law.encode(sample)));
                let error = (heard - i32::from(sample)).abs();
                assert!(error <= i32::from(sample).abs() / 24 + 16, "{law:?} {sample} {heard}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!((Law::Mu.encode(0), Law::A.encode(0)), (0xff, 0xd5));
        assert_eq!((Law::Mu.decode(0x00), Law::Mu.decode(0x80)), (-32_124, 32_124));
        assert_eq!((Law::A.decode(0x2a), Law::A.decode(0xaa)), (-32_256, 32_256));
    }
}
