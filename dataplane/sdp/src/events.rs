//! A description without telephone-event (RFC 4733): for far ends that are told digits otherwise,
//! and are to tell theirs so.

use arrayvec::ArrayVec;

/// Payload types of events in one description at most; further ones stay.
const EVENTS_MAX: usize = 16;

/// Takes the formats of telephone-event out of the description in the first `len` bytes. Its length
/// then. An m= line that names nothing else stays as it is.
#[must_use]
pub fn strip_events(text: &mut [u8], len: usize) -> usize {
    let len = len.min(text.len());
    let events = events(&text[..len]);
    let (mut from, mut to, mut section) = (0, 0, 0_u8);
    while from < len {
        let end =
            text[from..len].iter().position(|byte| *byte == b'\n').map_or(len, |at| from + at + 1);
        section = section.saturating_add(u8::from(text[from..end].starts_with(b"m=")));
        let is_event =
            |pt: &[u8]| events.iter().any(|(of, known)| *of == section && known.as_slice() == pt);
        match text[from..end].starts_with(b"m=") {
            true => to = strip_line(text, (from, end), to, is_event),
            false => {
                let line = &text[from..end];
                let value =
                    [&b"a=rtpmap:"[..], b"a=fmtp:"].iter().find_map(|it| line.strip_prefix(*it));
                let pt = value.and_then(|value| value.split(|byte| *byte == b' ').next());
                if !pt.is_some_and(is_event) {
                    text.copy_within(from..end, to);
                    to += end - from;
                }
            }
        }
        from = end;
    }
    to
}

/// Section and payload type, as written.
type Event = (u8, ArrayVec<u8, 3>);

fn events(text: &[u8]) -> ArrayVec<Event, EVENTS_MAX> {
    let mut events = ArrayVec::new();
    let mut section = 0_u8;
    for line in text.split(|byte| *byte == b'\n') {
        section = section.saturating_add(u8::from(line.starts_with(b"m=")));
        let Some(map) = line.strip_prefix(b"a=rtpmap:") else { continue };
        let mut words = map.splitn(2, |byte| *byte == b' ');
        let (Some(pt), Some(name)) = (words.next(), words.next()) else { continue };
        let name = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"telephone-event")
            && let Ok(pt) = ArrayVec::try_from(pt)
        {
            let _ = events.try_push((section, pt));
        }
    }
    events
}

/// Copies an m= line without these formats. Where the text goes on.
fn strip_line(
    text: &mut [u8],
    (from, end): (usize, usize),
    to: usize,
    is_event: impl Fn(&[u8]) -> bool,
) -> usize {
    /// `m=audio`, port, protocol.
    const FIELDS: usize = 3;
    let line = text[from..end].trim_ascii_end();
    let stays = |(at, word): (usize, &[u8])| at < FIELDS || !is_event(word);
    let words = || line.split(|byte| *byte == b' ').enumerate();
    let kept = words().filter(|word| stays(*word)).count();
    if kept <= FIELDS || kept == words().count() {
        text.copy_within(from..end, to);
        return to + end - from;
    }
    // Word by word, each before the place that it comes from.
    let (mut read, mut write, last) = (from, to, from + line.len());
    let mut at = 0;
    while read < last {
        let word =
            text[read..last].iter().position(|byte| *byte == b' ').map_or(last, |it| read + it);
        if at < FIELDS || !is_event(&text[read..word]) {
            if at > 0 {
                text[write] = b' ';
                write += 1;
            }
            text.copy_within(read..word, write);
            write += word - read;
        }
        (read, at) = (word + 1, at + 1);
    }
    text.copy_within(last..end, write);
    write + end - last
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn stripped(text: &str) -> String {
        let mut bytes: Vec<u8> = text.as_bytes().to_vec();
        let len = bytes.len();
        let len = strip_events(&mut bytes, len);
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn the_formats_go_and_everything_else_stays() {
        let text = "v=0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101 8 110\r\na=rtpmap:0 PCMU/8000\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:110 \
            Telephone-Event/48000\r\na=sendrecv\r\nm=video 0 RTP/AVP 101\r\na=rtpmap:101 H264/90000\r\n";
        let without = "v=0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\n\
            a=sendrecv\r\nm=video 0 RTP/AVP 101\r\na=rtpmap:101 H264/90000\r\n";
        assert_eq!(stripped(text), without);
        assert_eq!(stripped(without), without);
        let alone = "m=audio 4000 RTP/AVP 101\r\n";
        assert_eq!(stripped(alone), alone);
        assert_eq!(stripped(""), "");
    }
}
