//! A description with the codecs of a list alone, in the order of the list: for far ends that take
//! what comes first, or refuse what they did not ask for.

use arrayvec::ArrayVec;

use crate::codec::{CodecId, Format};
use crate::error::SdpError;
use crate::limits::PAYLOAD_TYPES_MAX;
use crate::session::Session;

/// Payload types that stay, in their order.
type Kept = ArrayVec<u8, PAYLOAD_TYPES_MAX>;

/// Puts the audio formats of the description in the first `len` bytes into this order and takes out
/// those that it does not name; digits and comfort noise stay behind them. The length then. A
/// description without an audio stream stays as it is.
///
/// # Errors
/// [`SdpError::NoCommonCodec`] if no audio is left, or what [`Session::parse`] says.
pub fn order_formats(
    text: &mut [u8],
    len: usize,
    order: impl Iterator<Item = CodecId>,
) -> Result<usize, SdpError> {
    let len = len.min(text.len());
    Ok(match kept(&text[..len], order)? {
        Some((section, kept)) => rewrite(text, len, section, &kept),
        None => len,
    })
}

/// The place of the audio stream among the m= lines (from 1), and what stays of its formats. None
/// without a stream.
fn kept(text: &[u8], order: impl Iterator<Item = CodecId>) -> Result<Option<(u8, Kept)>, SdpError> {
    let session = Session::parse(text)?;
    let Ok(audio) = session.audio() else { return Ok(None) };
    let formats = audio.formats();
    let mut kept = Kept::new();
    let of = |id: CodecId| formats.iter().filter(move |it| it.codec().is_some_and(|c| c.id == id));
    for format in order.flat_map(of) {
        keep(&mut kept, format.pt);
    }
    if kept.is_empty() {
        return Err(SdpError::NoCommonCodec);
    }
    let is_with = |clock: u32| {
        kept.iter().any(|pt| formats.get(*pt).is_some_and(|format| format.clock == clock))
    };
    let is_beside = |it: &&Format<'_>| it.codec().is_some_and(|codec| !codec.id.is_audio());
    let beside = || formats.iter().filter(is_beside);
    let with: Kept = beside().filter(|it| is_with(it.clock)).map(|it| it.pt).collect();
    // Far ends that name one clock for digits mean it for all their codecs.
    let all = || beside().map(|it| it.pt).collect();
    for pt in if with.is_empty() { all() } else { with } {
        keep(&mut kept, pt);
    }
    let section = audio.index().saturating_add(1);
    Ok(Some((section, kept)))
}

/// Each once: what is written is never longer than what stood there.
fn keep(kept: &mut Kept, pt: u8) {
    if !kept.contains(&pt) {
        let _ = kept.try_push(pt);
    }
}

/// The m= line of this section (from 1) lists these formats, and no attribute tells of others.
fn rewrite(text: &mut [u8], len: usize, of: u8, kept: &Kept) -> usize {
    let (mut from, mut to, mut section) = (0, 0, 0_u8);
    while from < len {
        let end =
            text[from..len].iter().position(|byte| *byte == b'\n').map_or(len, |at| from + at + 1);
        let line = &text[from..end];
        section = section.saturating_add(u8::from(line.starts_with(b"m=")));
        if section == of && line.starts_with(b"m=") {
            to = list(text, (from, end), to, kept);
        } else if section != of || told_of(line).is_none_or(|pt| kept.contains(&pt)) {
            text.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    to
}

/// The payload type that an attribute is about.
fn told_of(line: &[u8]) -> Option<u8> {
    let value = [&b"a=rtpmap:"[..], b"a=fmtp:"].iter().find_map(|it| line.strip_prefix(*it))?;
    let pt = value.split(|byte| *byte == b' ').next()?;
    core::str::from_utf8(pt).ok()?.parse().ok()
}

/// Copies an m= line with these formats in place of its own, of which they are some. Where the text
/// goes on.
fn list(text: &mut [u8], (from, end): (usize, usize), to: usize, kept: &Kept) -> usize {
    /// `m=audio`, port, protocol.
    const FIELDS: usize = 3;
    let line = text[from..end].trim_ascii_end();
    let break_at = from + line.len();
    let head: usize = line.split(|byte| *byte == b' ').take(FIELDS).map(|it| it.len() + 1).sum();
    let head = head.min(line.len());
    text.copy_within(from..from + head, to);
    let mut at = to + head;
    for (place, pt) in kept.iter().enumerate() {
        let digits = [b'0' + pt / 100, b'0' + pt / 10 % 10, b'0' + pt % 10];
        let skip = if *pt > 99 {
            0
        } else if *pt > 9 {
            1
        } else {
            2
        };
        if place > 0 {
            text[at] = b' ';
            at += 1;
        }
        text[at..at + 3 - skip].copy_from_slice(&digits[skip..]);
        at += 3 - skip;
    }
    text.copy_within(break_at..end, at);
    at + end - break_at
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn ordered(text: &str, order: &[CodecId]) -> Result<String, SdpError> {
        let mut bytes: Vec<u8> = text.as_bytes().to_vec();
        let len = bytes.len();
        let len = order_formats(&mut bytes, len, order.iter().copied())?;
        Ok(String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n";

    #[test]
    fn the_list_says_what_is_there_and_what_comes_first() {
        let text = String::from(HEAD)
            + "m=audio 4000 RTP/AVP 0 8 111 110 101 13\r\na=rtpmap:111 opus/48000/2\r\n\
            a=fmtp:111 useinbandfec=1\r\na=rtpmap:110 telephone-event/48000\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n\
            m=video 0 RTP/AVP 0\r\na=rtpmap:0 H264/90000\r\n";
        let opus = ordered(&text, &[CodecId::OPUS]).unwrap();
        let expected = String::from(HEAD)
            + "m=audio 4000 RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\n\
            a=fmtp:111 useinbandfec=1\r\na=rtpmap:110 telephone-event/48000\r\n\
            a=sendrecv\r\nm=video 0 RTP/AVP 0\r\na=rtpmap:0 H264/90000\r\n";
        assert_eq!(opus, expected);
        let all = ordered(&text, &[CodecId::OPUS, CodecId::PCMA, CodecId::PCMU]).unwrap();
        assert!(all.contains("RTP/AVP 111 8 0 110 101 13\r\n"), "{all}");
        let law = ordered(&text, &[CodecId::G722, CodecId::PCMU]).unwrap();
        assert!(law.contains("RTP/AVP 0 101 13\r\n") && !law.contains("opus"), "{law}");
        assert_eq!(ordered(&text, &[CodecId::G729]), Err(SdpError::NoCommonCodec));
    }

    #[test]
    fn digits_of_another_clock_stay_where_there_are_no_others() {
        let text = String::from(HEAD)
            + "m=audio 4000 RTP/AVP 0 96 101\na=rtpmap:96 opus/48000/2\n\
            a=rtpmap:101 telephone-event/8000\n";
        let opus = ordered(&text, &[CodecId::OPUS]).unwrap();
        assert!(opus.contains("RTP/AVP 96 101\na=rtpmap:96 "), "{opus}");
    }

    #[test]
    fn what_has_no_stream_stays() {
        let text = String::from(HEAD) + "m=image 0 udptl t38\r\n";
        assert_eq!(ordered(&text, &[CodecId::OPUS]), Ok(text));
        assert!(ordered("", &[CodecId::OPUS]).is_err());
    }
}
