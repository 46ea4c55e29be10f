//! SIP over WebSocket (RFC 7118), the server's side of RFC 6455: the request that opens it, frames
//! in both directions. Pure: bytes in, what they are out; the caller keeps what is unfinished.
//!
//! A message of SIP is one message of WebSocket, in one frame or several. What a client sends is
//! masked; what we send is not, and is one frame.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::lex::trim;

/// The longest request that opens a WebSocket.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// The most bytes that stand in front of a message of ours.
pub const HEADER_BYTES_MAX: usize = 4;
/// What control frames carry at most (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What stands at the front of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The request has no end yet.
    Partial,
    /// The first `len` bytes open a WebSocket of SIP; `accept` answers its key.
    Wanted { len: usize, accept: [u8; 28] },
    /// It is refused by this answer, and the connection closed.
    Refused(&'static [u8]),
}

/// Why a WebSocket is closed, by its status code (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Close {
    Normal = 1000,
    Protocol = 1002,
    TooLarge = 1009,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message begins; it is whole if `is_last`.
    Data {
        is_last: bool,
    },
    /// It goes on.
    Continuation {
        is_last: bool,
    },
    Ping,
    Pong,
    Close,
}

/// What stands at the front of a WebSocket's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// `payload` bytes behind `head` of them, under this mask.
    Frame {
        kind: Kind,
        head: usize,
        payload: usize,
        mask: [u8; 4],
    },
    /// So many bytes are needed at least.
    Partial(usize),
    Broken(Close),
}

const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const NOT_SIP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
     Sec-WebSocket-Protocol: sip\r\nContent-Length: 0\r\n\r\n";
const UPGRADE: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

const OTHER_ORIGIN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Looks at the request that opens a connection (RFC 6455 section 4.2.1, RFC 7118 section 4.1).
/// `origins`: the sites whose pages may open one, as browsers name them (RFC 6454); empty: all.
/// Whoever names none is no browser, and could name any.
#[must_use]
pub fn opening(bytes: &[u8], origins: &[impl AsRef<str>]) -> Opening {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        let is_http = bytes.len() < 4 || bytes.starts_with(b"GET ");
        return match (is_http, bytes.len() < REQUEST_BYTES_MAX) {
            (false, _) => Opening::Refused(BAD_REQUEST),
            (true, false) => Opening::Refused(TOO_LARGE),
            (true, true) => Opening::Partial,
        };
    };
    let head = &bytes[..end];
    let mut lines = head.split(|byte| *byte == b'\n').map(trim);
    let request = lines.next().unwrap_or_default();
    let fields = || {
        let lines = head.split(|byte| *byte == b'\n').skip(1).map(trim);
        lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], trim(&line[colon + 1..])))
        })
    };
    let lists = |name: &str, wanted: &str| {
        let values = fields().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        let mut tokens = values.flat_map(|(_, value)| value.split(|byte| *byte == b','));
        tokens.any(|token| trim(token).eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let one = |name: &str| {
        let mut values = fields().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        values.next().map(|(_, value)| value).filter(|_| values.next().is_none())
    };
    if !request.starts_with(b"GET ") || !request.ends_with(b" HTTP/1.1") || one("Host").is_none() {
        return Opening::Refused(BAD_REQUEST);
    }
    let is_upgrade = lists("Upgrade", "websocket") && lists("Connection", "Upgrade");
    if !is_upgrade || one("Sec-WebSocket-Version") != Some(b"13") {
        return Opening::Refused(UPGRADE);
    }
    let key = one("Sec-WebSocket-Key");
    let is_key = |key: &&[u8]| STANDARD.decode_slice(key, &mut [0; 24]) == Ok(16);
    let Some(key) = key.filter(|key| key.len() == 24).filter(is_key) else {
        return Opening::Refused(BAD_REQUEST);
    };
    if !lists("Sec-WebSocket-Protocol", "sip") {
        return Opening::Refused(NOT_SIP);
    }
    let is_listed =
        |value: &[u8]| origins.iter().any(|it| value.eq_ignore_ascii_case(it.as_ref().as_bytes()));
    let mut named = fields().filter(|(field, _)| field.eq_ignore_ascii_case(b"Origin"));
    if !origins.is_empty() && !named.all(|(_, value)| is_listed(value)) {
        return Opening::Refused(OTHER_ORIGIN);
    }
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = [0; 28];
    match STANDARD.encode_slice(hash.finalize(), &mut accept) {
        Ok(_) => Opening::Wanted { len: end + 4, accept },
        Err(_) => Opening::Refused(BAD_REQUEST),
    }
}

/// The answer that opens the WebSocket, in its three parts.
#[must_use]
pub fn accepted(accept: &[u8; 28]) -> [&[u8]; 3] {
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
        accept,
        b"\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
    ]
}

/// Looks at the front of a client's stream. `max`: the most bytes of one frame's payload.
#[must_use]
pub fn next(bytes: &[u8], max: usize) -> Framed {
    let [first, second, ..] = *bytes else { return Framed::Partial(2) };
    let (is_last, is_masked) = (first & 0x80 != 0, second & 0x80 != 0);
    // No extension was agreed on.
    if first & 0x70 != 0 || !is_masked {
        return Framed::Broken(Close::Protocol);
    }
    let kind = match first & 0x0f {
        0 => Kind::Continuation { is_last },
        1 | 2 => Kind::Data { is_last },
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        _ => return Framed::Broken(Close::Protocol),
    };
    let is_control = matches!(kind, Kind::Close | Kind::Ping | Kind::Pong);
    let (payload, len) = match second & 0x7f {
        126 => match bytes.get(2..4).and_then(|it| it.first_chunk()) {
            Some(len) => (usize::from(u16::from_be_bytes(*len)), 2),
            None => return Framed::Partial(4),
        },
        127 => match bytes.get(2..10).and_then(|it| it.first_chunk()) {
            Some(len) => (usize::try_from(u64::from_be_bytes(*len)).unwrap_or(usize::MAX), 8),
            None => return Framed::Partial(10),
        },
        len => (usize::from(len), 0),
    };
    if is_control && (payload > CONTROL_BYTES_MAX || !is_last) {
        return Framed::Broken(Close::Protocol);
    }
    if payload > max {
        return Framed::Broken(Close::TooLarge);
    }
    let head = 2 + len + 4;
    match bytes.get(head - 4..head).and_then(|it| it.first_chunk()) {
        Some(mask) if bytes.len() - head >= payload => {
            Framed::Frame { kind, head, payload, mask: *mask }
        }
        _ => Framed::Partial(head + payload),
    }
}

/// Takes the mask off (or puts it on).
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// What stands in front of a message of ours, and how many bytes of it: a text where it is one,
/// since some clients read nothing else. None for one that is too long.
#[must_use]
pub fn header(message: &[u8]) -> Option<([u8; HEADER_BYTES_MAX], usize)> {
    let opcode = if core::str::from_utf8(message).is_ok() { 0x81 } else { 0x82 };
    let len = u16::try_from(message.len()).ok()?;
    let [high, low] = len.to_be_bytes();
    Some(if len < 126 { ([opcode, low, 0, 0], 2) } else { ([opcode, 126, high, low], 4) })
}

/// What stands in front of the answer to a ping: the ping's payload, of at most 125 bytes.
#[must_use]
pub fn pong(payload: &[u8]) -> [u8; 2] {
    [0x8a, u8::try_from(payload.len()).unwrap_or(0) & 0x7f]
}

/// The frame that closes it.
#[must_use]
pub fn close(why: Close) -> [u8; 4] {
    let [high, low] = (why as u16).to_be_bytes();
    [0x88, 2, high, low]
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec;

    use super::*;

    const ALL: [&str; 0] = [];
    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: sip-ws.example.com\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://www.example.com\r\nSec-WebSocket-Protocol: chat, sip\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n";

    #[test]
    fn the_key_of_rfc_6455_is_answered_by_its_accept() {
        let Opening::Wanted { len, accept } = opening(REQUEST.as_bytes(), &ALL) else { panic!() };
        assert_eq!((len, &accept), (REQUEST.len(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let answer = accepted(&accept).concat();
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"sip\r\n\r\n"));
        for end in 0..REQUEST.len() {
            assert_eq!(opening(&REQUEST.as_bytes()[..end], &ALL), Opening::Partial, "{end}");
        }
    }

    #[test]
    fn what_opens_no_websocket_of_sip_is_refused_with_the_reason() {
        for (from, to, answer) in [
            ("GET /chat", "POST /chat", BAD_REQUEST),
            ("HTTP/1.1", "HTTP/1.0", BAD_REQUEST),
            ("Host: sip-ws.example.com\r\n", "", BAD_REQUEST),
            ("Upgrade: websocket\r\n", "", UPGRADE),
            ("Version: 13", "Version: 8", UPGRADE),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", BAD_REQUEST),
            ("chat, sip", "chat", NOT_SIP),
            ("Host:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost:", BAD_REQUEST),
        ] {
            let text = REQUEST.replace(from, to);
            assert_eq!(opening(text.as_bytes(), &ALL), Opening::Refused(answer), "{text}");
        }
        assert_eq!(opening(b"OPTIONS sip:a SIP/2.0", &ALL), Opening::Refused(BAD_REQUEST));
        let long = format!("GET /{}", "x".repeat(REQUEST_BYTES_MAX));
        assert_eq!(opening(long.as_bytes(), &ALL), Opening::Refused(TOO_LARGE));
    }

    #[test]
    fn pages_of_other_sites_open_none_where_sites_are_listed() {
        let sites = ["https://app.example.com", "https://[2001:db8::1]:8443"];
        let opens = |origin: &str, sites: &[&str]| {
            let text = REQUEST.replace("Origin: http://www.example.com", origin);
            match opening(text.as_bytes(), sites) {
                Opening::Wanted { .. } => true,
                Opening::Refused(answer) => {
                    assert_eq!(answer, OTHER_ORIGIN);
                    false
                }
                Opening::Partial => panic!("{text}"),
            }
        };
        assert!(opens("Origin: https://evil.example", &[]));
        for (origin, may) in [
            ("Origin: https://app.example.com", true),
            ("origin:HTTPS://APP.example.com", true),
            ("Origin: https://[2001:db8::1]:8443", true),
            ("X: y", true),
            ("Origin: https://evil.example", false),
            ("Origin: null", false),
            ("Origin:", false),
            ("Origin: http://app.example.com", false),
            ("Origin: https://app.example.com:8443", false),
            ("Origin: https://app.example.com.evil.example", false),
            ("Origin: https://app.example.com\r\nOrigin: https://evil.example", false),
        ] {
            assert_eq!(opens(origin, &sites), may, "{origin}");
        }
    }

    #[test]
    fn frames_are_read_however_long_and_broken_ones_are_not() {
        let masked = |first: u8, payload: &[u8]| {
            let mask = [1, 2, 3, 4];
            let mut out = vec![first];
            match payload.len() {
                len @ 0..126 => out.push(0x80 | u8::try_from(len).unwrap()),
                len => {
                    out.push(0x80 | 126);
                    out.extend(u16::try_from(len).unwrap().to_be_bytes());
                }
            }
            out.extend(mask);
            let mut payload = payload.to_vec();
            unmask(&mut payload, mask);
            out.extend(payload);
            out
        };
        for len in [0, 1, 125, 126, 4_000] {
            let payload = vec![b'a'; len];
            let frame = masked(0x81, &payload);
            let Framed::Frame { kind, head, payload: found, mask } = next(&frame, 5_000) else {
                panic!("{len}")
            };
            assert_eq!((kind, found), (Kind::Data { is_last: true }, len));
            let mut plain = frame[head..].to_vec();
            unmask(&mut plain, mask);
            assert_eq!(plain, payload);
            for end in 0..frame.len() {
                let Framed::Partial(needed) = next(&frame[..end], 5_000) else { panic!("{end}") };
                assert!(needed > end && needed <= frame.len());
            }
        }
        assert_eq!(next(&masked(0x81, &[0; 200]), 100), Framed::Broken(Close::TooLarge));
        for broken in [masked(0xc1, b"a"), masked(0x83, b"a"), masked(0x09, b"a"), vec![0x81, 1]] {
            assert_eq!(next(&broken, 100), Framed::Broken(Close::Protocol));
        }
        assert_eq!(next(&masked(0x88, &[0; 126]), 1_000), Framed::Broken(Close::Protocol));
        let huge = [0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(next(&huge, 1_000), Framed::Broken(Close::TooLarge));
    }

    #[test]
    fn what_we_send_says_how_long_it_is() {
        assert_eq!(header(b"OPTIONS"), Some(([0x81, 7, 0, 0], 2)));
        assert_eq!(header(&[0xff; 300]), Some(([0x82, 126, 1, 44], 4)));
        assert_eq!(header(&[0; 70_000]), None);
        assert_eq!(pong(b"abc"), [0x8a, 3]);
        assert_eq!(close(Close::Protocol), [0x88, 2, 3, 234]);
    }
}
