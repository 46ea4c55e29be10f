//! Short texts made shorter, before they are written: sids and tokens by half, then LZ4 blocks that
//! may point into words known beforehand.

use std::borrow::Cow;

/// What is said in nearly every call. It belongs to whoever wrote with it: a change of it is a new
/// version of what is written.
const WORDS: &[u8] = b"application/xmltext/html<Say voice=\"alice\" language=\"en\"></Say>\
<Play></Play><Record maxLength=\"<Gather numDigits=\"1\" input=\"<Redirect></Redirect>\
<Pause length=\"1\"/><Hangup/></Response><Number></Number></Dial></Response>\
<Dial action=\"/\" timeout=\"30\" callerId=\"+1<Dial answerOnBridge=\"true\"><Sip \
statusCallback=\"http://\" statusCallbackEvent=\"initiated ringing answered completed\">sip:+1\
</Sip></Dial></Response><?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>\
NormalRemote:5060\"AC01http://https://\x01\x03USD\x00\x00\x00\x00\x00\
\x01\x01\x00\x01\x00sip:+1";

/// Shorter than this nothing is gained.
const SHORTEST: usize = 16;

/// Sids and tokens are 32 hexadecimal digits, which are 16 bytes behind these two.
const DIGITS: [u8; 2] = [MARK, 1];
const HEX: usize = 32;
/// Of what is known so much is looked at: a block points back no farther.
const KNOWN_MAX: usize = 1 << 16;
/// A byte of no text. Where it stands for itself, a zero follows.
const MARK: u8 = 0xf7;

/// The bytes packed, if they become shorter. `known`: what whoever unpacks them has too.
#[must_use]
pub fn pack(plain: &[u8], known: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < SHORTEST {
        return None;
    }
    let packed = lz4_flex::block::compress_with_dict(&shorten(plain, &[]), &words(known));
    (packed.len() < plain.len()).then_some(packed)
}

/// The `len` bytes that were packed with the same `known`; None if these are not they.
#[must_use]
pub fn unpack(packed: &[u8], len: usize, known: &[u8]) -> Option<Vec<u8>> {
    // A byte of a block is a longer match by 255 at most, and one of those two of ours.
    if len / 512 > packed.len() {
        return None;
    }
    let most = len.checked_mul(2)?;
    let short = lz4_flex::block::decompress_with_dict(packed, most, &words(known)).ok()?;
    lengthen(&short).filter(|plain| plain.len() == len)
}

/// What is likeliest to come again stands last.
fn words(known: &[u8]) -> Cow<'_, [u8]> {
    let known = &known[known.len().saturating_sub(KNOWN_MAX)..];
    if known.is_empty() { WORDS.into() } else { shorten(known, WORDS).into() }
}

/// The bytes with short digits, behind `before`.
fn shorten(plain: &[u8], before: &[u8]) -> Vec<u8> {
    let mut short = Vec::with_capacity(before.len() + plain.len() + 16);
    short.extend_from_slice(before);
    let mut run = 0;
    for byte in plain {
        short.push(*byte);
        match *byte {
            b'0'..=b'9' | b'a'..=b'f' => run += 1,
            MARK => {
                short.push(0);
                run = 0;
            }
            _ => run = 0,
        }
        if run == HEX {
            run = 0;
            let mut bytes = [0; HEX / 2];
            let from = short.len() - HEX;
            for (byte, [high, low]) in bytes.iter_mut().zip(short[from..].as_chunks().0) {
                *byte = value(*high) << 4 | value(*low);
            }
            short.truncate(from);
            short.extend(DIGITS);
            short.extend(bytes);
        }
    }
    short
}

/// None if no [`shorten`] has made these.
fn lengthen(short: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(short.len() + HEX);
    let mut left = short;
    while let Some(at) = left.iter().position(|byte| *byte == MARK) {
        plain.extend_from_slice(&left[..at]);
        left = &left[at..];
        if let Some(rest) = left.strip_prefix(&DIGITS) {
            let (bytes, rest) = rest.split_first_chunk::<{ HEX / 2 }>()?;
            plain.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
            left = rest;
        } else {
            left = left.strip_prefix(&[MARK, 0])?;
            plain.push(MARK);
        }
    }
    plain.extend_from_slice(left);
    Some(plain)
}

const fn value(digit: u8) -> u8 {
    if digit < b'a' { digit - b'0' } else { digit - b'a' + 10 }
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_with_the_same_words_only() {
        let known = b"sip:+15550100@customer.example and sip:+15550101@carrier.example";
        let plain = b"sip:+15550101@carrier.example 180 ringing, sip:+15550100@customer.example";
        let packed = pack(plain, known).unwrap();
        assert!(packed.len() < plain.len() / 2, "{}", packed.len());
        assert_eq!(unpack(&packed, plain.len(), known).as_deref(), Some(&plain[..]));
        assert_ne!(unpack(&packed, plain.len(), b"").as_deref(), Some(&plain[..]));
        assert_eq!(unpack(&packed, plain.len() - 1, known), None);
        assert_eq!(unpack(&packed, plain.len() + 1, known), None);
        assert_eq!(unpack(&packed, usize::MAX, known), None);
        assert_eq!(unpack(&packed, 1 << 40, known), None);
        assert_eq!(pack(&[7; SHORTEST - 1], known), None);
        let noise: Vec<u8> = (0..200_u8).map(|at| at.wrapping_mul(167) ^ (at >> 3)).collect();
        assert_eq!(pack(&noise, b""), None);
    }

    #[test]
    fn digits_are_halved_and_whatever_looks_like_it_is_not_mistaken() {
        let sid = "01a21bcaec88ef816835cb26208f92a3";
        for plain in [
            format!("AC{sid}"),
            format!("{sid}{sid}0"),
            format!("{}A{sid}", &sid[1..]),
            format!("{sid}{}", &sid[1..]),
        ] {
            let short = shorten(plain.as_bytes(), &[]);
            assert!(short.len() + 14 <= plain.len() || plain.len() < 34, "{plain}");
            assert_eq!(lengthen(&short).as_deref(), Some(plain.as_bytes()));
        }
        let marked = [&[MARK, 1, MARK], sid.as_bytes(), &[MARK, 0, MARK]].concat();
        assert_eq!(lengthen(&shorten(&marked, &[])), Some(marked));
        assert_eq!(lengthen(&[MARK]), None);
        assert_eq!(lengthen(&[MARK, 2]), None);
        assert_eq!(lengthen(&[MARK, 1, 5]), None);
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random() % 60).map(|_| random().to_le_bytes()[0]).collect();
            let len = usize::try_from(random() % 5_000).unwrap();
            if let Some(plain) = unpack(&bytes, len, &bytes) {
                assert_eq!(plain.len(), len);
            }
        }
    }
}
