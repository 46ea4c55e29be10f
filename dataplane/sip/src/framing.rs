//! Message boundaries in a byte stream: TCP, TLS (RFC 3261 sections 7.5 and 18.3). WebSocket has
//! its own ([`crate::websocket`]).
//!
//! [`next`] looks at what has arrived and says: a whole message of so many bytes, a keep-alive,
//! wait, or close. It reads lines with the same functions as the parser, so that both agree on
//! where a header section ends, and believes a Content-Length only when there is exactly one
//! meaning (THREATS.md: smuggling): two that differ, one that is no number or beyond the limit
//! closes the connection after a 400.

use crate::lex::{is_token, number, trim};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::lines::{field_at, line_at};
use crate::name::Name;

/// What stands at the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The first `n` bytes are one message.
    Message(usize),
    /// The first `n` bytes are line ends between messages. Two of them are a ping (RFC 5626 section
    /// 3.5.1): answer with CR LF.
    KeepAlive {
        /// Bytes to discard.
        len: usize,
        /// It is a double CR LF.
        ping: bool,
    },
    /// More bytes are needed.
    Partial {
        /// Bytes in all; None where the header section has no end yet.
        needed: Option<usize>,
    },
    /// The stream cannot be read on: answer 400 from the first `head` bytes if they hold a request,
    /// then close.
    Broken {
        /// Why.
        fault: Fault,
        /// Bytes up to the end of the header section, or all there are.
        head: usize,
    },
}

/// What broke the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The header section or the whole message is over the limit.
    TooLarge,
    /// Content-Length is negative, no number, or two of them differ.
    ContentLength,
    /// No Content-Length, which a stream needs (section 20.14).
    NoContentLength,
    /// Bytes that begin no line of SIP.
    Garbage,
}

/// Looks at the front of `bytes`. `max` bounds one message, at most [`MESSAGE_BYTES_MAX`].
///
/// A caller that gets [`Framed::Partial`] keeps the bytes and asks again when more have come.
#[must_use]
pub fn next(bytes: &[u8], max: usize) -> Framed {
    let max = max.min(MESSAGE_BYTES_MAX);
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        let len = bytes.iter().position(|c| !matches!(c, b'\r' | b'\n')).unwrap_or(bytes.len());
        return Framed::KeepAlive { len, ping: bytes[..len] == *b"\r\n\r\n" };
    }
    if bytes.first().is_some_and(|&c| !is_token(c)) {
        return Framed::Broken { fault: Fault::Garbage, head: bytes.len().min(max) };
    }
    let window = &bytes[..bytes.len().min(max)];
    let Some((head, declared)) = head(window) else {
        if bytes.len() >= max {
            return Framed::Broken { fault: Fault::TooLarge, head: window.len() };
        }
        return Framed::Partial { needed: None };
    };
    match declared {
        Err(fault) => Framed::Broken { fault, head },
        Ok(None) => Framed::Broken { fault: Fault::NoContentLength, head },
        Ok(Some(length)) => match head.checked_add(length) {
            Some(total) if total <= max => {
                if bytes.len() >= total {
                    Framed::Message(total)
                } else {
                    Framed::Partial { needed: Some(total) }
                }
            }
            _ => Framed::Broken { fault: Fault::TooLarge, head },
        },
    }
}

/// Length of the header section and the declared body length; `None` while the section has no end.
fn head(bytes: &[u8]) -> Option<(usize, Result<Option<usize>, Fault>)> {
    let (_, mut at) = line_at(bytes, 0)?;
    let mut declared: Result<Option<u64>, Fault> = Ok(None);
    loop {
        let (line, next) = field_at(bytes, at)?;
        if line.end == at && !line.bad {
            let length = declared.and_then(|length| match length {
                Some(length) => usize::try_from(length).map(Some).map_err(|_| Fault::ContentLength),
                None => Ok(None),
            });
            return Some((next, length));
        }
        if let Some(value) = content_length(&bytes[at..line.end]) {
            let this = number(value, u64::from(u32::MAX)).ok_or(Fault::ContentLength);
            declared = match (declared, this) {
                (Ok(Some(before)), Ok(this)) if before != this => Err(Fault::ContentLength),
                (Err(fault), _) | (_, Err(fault)) => Err(fault),
                (_, Ok(this)) => Ok(Some(this)),
            };
        }
        at = next;
    }
}

fn content_length(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    (Name::of(name) == Name::ContentLength).then(|| trim(&line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = MESSAGE_BYTES_MAX;

    #[test]
    fn a_message_is_found_whatever_the_pieces() {
        let stream = b"OPTIONS sip:a SIP/2.0\r\nl\t:\r\n 3\r\n\r\nabcBYE sip:a SIP/2.0\r\n";
        let whole = stream.len() - b"BYE sip:a SIP/2.0\r\n".len();
        for len in 1..whole {
            let Framed::Partial { needed } = next(&stream[..len], MAX) else { panic!("{len}") };
            assert_eq!(needed, (len >= whole - 3).then_some(whole), "{len}");
        }
        assert_eq!(next(stream, MAX), Framed::Message(whole));
        assert!(matches!(next(&stream[whole..], MAX), Framed::Partial { .. }));
        assert_eq!(next(b"\r\n\r\nX", MAX), Framed::KeepAlive { len: 4, ping: true });
        assert_eq!(next(b"\r\n", MAX), Framed::KeepAlive { len: 2, ping: false });
        assert_eq!(next(b"", MAX), Framed::Partial { needed: None });
    }

    #[test]
    fn lengths_that_lie_break_the_stream() {
        let lie = |lines: &[u8]| {
            let mut buffer = std::vec::Vec::from(&b"INVITE sip:a SIP/2.0\r\n"[..]);
            buffer.extend_from_slice(lines);
            buffer.extend_from_slice(b"\r\n\r\n");
            match next(&buffer, MAX) {
                Framed::Broken { fault, head } => {
                    assert_eq!(head, buffer.len());
                    fault
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(lie(b"Content-Length: 2147483648"), Fault::TooLarge);
        assert_eq!(lie(b"Content-Length: 4294967328"), Fault::ContentLength);
        assert_eq!(lie(b"Content-Length: -999"), Fault::ContentLength);
        assert_eq!(lie(b"Content-Length: 5\r\nl: 6"), Fault::ContentLength);
        assert_eq!(lie(b"Content-Length: 5, 6"), Fault::ContentLength);
        assert_eq!(lie(b"Content-Length:"), Fault::ContentLength);
        assert_eq!(lie(b"Content-Length: 65536"), Fault::TooLarge);
        assert_eq!(lie(b"Subject: x"), Fault::NoContentLength);
        let long = [b'a'; 512];
        assert_eq!(next(&long, 512), Framed::Broken { fault: Fault::TooLarge, head: 512 });
        assert_eq!(next(b"\x16\x03\x01", MAX), Framed::Broken { fault: Fault::Garbage, head: 3 });
    }
}
