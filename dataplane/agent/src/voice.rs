//! What a phone says. Each packet carries its conversation, its speaker and its number, so that
//! the other side knows what it heard, not only that it heard something.
//!
//! For G.711 this is sound: 160 samples, each one of 16 levels that are far enough apart to be told
//! after any number of conversions between the two laws, and each checked to be within the
//! quantisation of its level. So a packet that was transcoded rightly is recognised, and one that
//! was only renamed is not. For codecs that the agent cannot code the payload names the codec.

use sdp::Codec;

use crate::g711::Law;

/// Samples of 20 ms.
pub const SAMPLES: usize = 160;
/// Linear levels of the symbols 0 to 7; 8 to 15 are the same below zero.
const LEVELS: [i16; 8] = [200, 440, 920, 1_880, 3_900, 7_900, 15_600, 27_000];
const MAGIC: u16 = 0x71da;
const HEAD: usize = 28;
const NAMED: &[u8; 4] = b"TNDM";
/// Bytes of a payload that names its codec.
const NAMED_BYTES: usize = 40;
/// No level is near.
const NONE: u8 = u8::MAX;

/// Who said which packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub group: u32,
    pub stream: u32,
    pub index: u32,
}

/// What a payload was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// A phone's packet, right for its codec.
    Voice(Said),
    /// A phone's packet in another coding than its payload type says.
    OtherCodec(Said),
    Silence,
    /// Neither silence nor a phone.
    Tone,
    /// A phone's packet that is not as it was said.
    Damaged,
}

/// Silence in either law.
#[must_use]
pub fn is_silence(payload: &[u8]) -> bool {
    payload.iter().all(|byte| *byte == 0xff) || payload.iter().all(|byte| *byte == 0xd5)
}

/// The tables of a law: bytes of the levels, and the level of a byte.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    codes: [u8; 16],
    symbols: [u8; 256],
}

impl Levels {
    #[must_use]
    pub(crate) fn new(law: Law) -> Self {
        let mut levels = Self { codes: [0; 16], symbols: [NONE; 256] };
        for (at, level) in LEVELS.iter().enumerate() {
            levels.codes[at] = law.encode(*level);
            levels.codes[at + 8] = law.encode(-*level);
        }
        for byte in 0..=255_u8 {
            let heard = i32::from(law.decode(byte));
            let near = |level: &i16| {
                let level = i32::from(*level);
                (heard.abs() - level).abs() <= level / 12 + 16
            };
            if let Some(at) = LEVELS.iter().position(near) {
                let symbol = at + if heard < 0 { 8 } else { 0 };
                levels.symbols[usize::from(byte)] = u8::try_from(symbol).unwrap_or(NONE);
            }
        }
        levels
    }
}

/// Says and hears.
#[derive(Clone, Debug)]
pub struct Voice {
    mu: Levels,
    a: Levels,
}

impl Default for Voice {
    fn default() -> Self {
        Self { mu: Levels::new(Law::Mu), a: Levels::new(Law::A) }
    }
}

impl Voice {
    const fn levels(&self, law: Law) -> &Levels {
        match law {
            Law::Mu => &self.mu,
            Law::A => &self.a,
        }
    }

    /// A packet in this codec; `out` is overwritten.
    pub fn say(&self, codec: &Codec, said: Said, out: &mut Vec<u8>) {
        out.clear();
        match Law::of(codec) {
            Some(law) => {
                let codes = &self.levels(law).codes;
                out.extend((0..SAMPLES).map(|at| codes[usize::from(symbol(said, at))]));
            }
            None => out.extend_from_slice(&named(codec, said)),
        }
    }

    /// What a packet that came under this codec's payload type is.
    #[must_use]
    pub fn hear(&self, codec: &Codec, bytes: &[u8]) -> Sound {
        if bytes.starts_with(NAMED) {
            let said =
                Said { group: word(bytes, 8), stream: word(bytes, 12), index: word(bytes, 16) };
            return match () {
                () if bytes == named(codec, said) => Sound::Voice(said),
                () if word(bytes, 4) != codec.id.0 => Sound::OtherCodec(said),
                () => Sound::Damaged,
            };
        }
        let Some(law) = Law::of(codec) else {
            let g711 = [Law::Mu, Law::A].into_iter().find_map(|law| self.read(law, bytes).ok());
            return g711.map_or(Sound::Tone, Sound::OtherCodec);
        };
        if is_silence(bytes) {
            return Sound::Silence;
        }
        match self.read(law, bytes) {
            Ok(said) => Sound::Voice(said),
            Err(sound) => self.read(law.other(), bytes).map_or(sound, Sound::OtherCodec),
        }
    }

    fn read(&self, law: Law, bytes: &[u8]) -> Result<Said, Sound> {
        let symbols = &self.levels(law).symbols;
        let number = |from: usize, count: usize| {
            let at = bytes.get(from..from + count).unwrap_or_default();
            at.iter().fold(0_u32, |number, byte| {
                number << 4 | u32::from(symbols[usize::from(*byte)] & 0xf)
            })
        };
        if bytes.len() < HEAD || number(0, 4) != u32::from(MAGIC) {
            return Err(Sound::Tone);
        }
        let said = Said { group: number(4, 8), stream: number(12, 8), index: number(20, 8) };
        let right = |(at, byte): (usize, &u8)| symbols[usize::from(*byte)] == symbol(said, at);
        let whole = bytes.len() == SAMPLES && bytes.iter().enumerate().all(right);
        if whole { Ok(said) } else { Err(Sound::Damaged) }
    }
}

/// The symbol of one sample.
fn symbol(said: Said, at: usize) -> u8 {
    let nibble = |value: u32, at: usize| value.to_be_bytes()[at / 2] >> (4 - at % 2 * 4) & 0xf;
    match at {
        0..4 => nibble(u32::from(MAGIC) << 16, at),
        4..12 => nibble(said.group, at - 4),
        12..20 => nibble(said.stream, at - 12),
        20..HEAD => nibble(said.index, at - 20),
        _ => {
            let seed = said.index.wrapping_mul(0x9e37_79b9) ^ said.stream.rotate_left(9);
            let at = u32::try_from(at).unwrap_or(0).wrapping_mul(0x85eb_ca6b);
            (seed ^ said.group ^ at).wrapping_mul(0xc2b2_ae35).to_be_bytes()[0] & 0xf
        }
    }
}

fn named(codec: &Codec, said: Said) -> [u8; NAMED_BYTES] {
    let mut bytes = [said.index.to_le_bytes()[0]; NAMED_BYTES];
    bytes[..4].copy_from_slice(NAMED);
    let words = [codec.id.0, said.group, said.stream, said.index];
    for (slot, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// What packet `index` of a stream carries in PCMU.
#[must_use]
pub fn payload(group: u32, stream: u32, index: u32) -> [u8; SAMPLES] {
    let levels = Levels::new(Law::Mu);
    let said = Said { group, stream, index };
    core::array::from_fn(|at| levels.codes[usize::from(symbol(said, at))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said = Said { group: 7, stream: 1_000_007, index: 0xdead_beef };

    fn codec(supported: sdp::Supported<'_>) -> Codec {
        supported.format().codec().unwrap()
    }

    #[test]
    fn speech_survives_any_number_of_right_transcodings_and_no_wrong_one() {
        let voice = Voice::default();
        let (mu, a) = (codec(sdp::Supported::PCMU), codec(sdp::Supported::PCMA));
        let mut bytes = Vec::new();
        voice.say(&mu, SAID, &mut bytes);
        for _ in 0..4 {
            assert_eq!(voice.hear(&mu, &bytes), Sound::Voice(SAID));
            assert_eq!(voice.hear(&a, &bytes), Sound::OtherCodec(SAID));
            bytes.iter_mut().for_each(|byte| *byte = Law::A.encode(Law::Mu.decode(*byte)));
            assert_eq!(voice.hear(&a, &bytes), Sound::Voice(SAID));
            assert_eq!(voice.hear(&mu, &bytes), Sound::OtherCodec(SAID));
            bytes.iter_mut().for_each(|byte| *byte = Law::Mu.encode(Law::A.decode(*byte)));
        }
        bytes[100] ^= 0x50;
        assert_eq!(voice.hear(&mu, &bytes), Sound::Damaged);
    }

    #[test]
    fn other_codecs_are_named() {
        let voice = Voice::default();
        let (opus, g729) = (codec(sdp::Supported::OPUS), codec(sdp::Supported::G729));
        let mut bytes = Vec::new();
        voice.say(&opus, SAID, &mut bytes);
        assert_eq!(voice.hear(&opus, &bytes), Sound::Voice(SAID));
        assert_eq!(voice.hear(&g729, &bytes), Sound::OtherCodec(SAID));
        let mu = codec(sdp::Supported::PCMU);
        assert_eq!(voice.hear(&mu, &bytes), Sound::OtherCodec(SAID));
        voice.say(&mu, SAID, &mut bytes);
        assert_eq!(voice.hear(&g729, &bytes), Sound::OtherCodec(SAID));
        assert_eq!(voice.hear(&mu, &[0xff; 160]), Sound::Silence);
        assert_eq!(voice.hear(&mu, &[0x12; 160]), Sound::Tone);
    }
}
