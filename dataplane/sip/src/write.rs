//! Writing messages into the caller's buffer.
//!
//! A [`Writer`] appends; its methods chain, and the first thing that goes wrong (no room, a line
//! end smuggled into a value, a name that is no token) sticks and comes out of [`Writer::finish`].
//! So a message is written without an error check per line, and a message that is not right never
//! leaves.
//!
//! ```
//! use sip::{Method, Name, Writer};
//! let mut buffer = [0; 512];
//! let bytes = Writer::new(&mut buffer)
//!     .request_line(Method::Options, b"sip:a@192.0.2.1")
//!     .max_forwards(70)
//!     .address(Name::From, b"Alice", b"sip:alice@example.com", Some(b"t1"))
//!     .header(Name::Expires, &[60u32.into()])
//!     .finish()
//!     .unwrap();
//! assert!(bytes.ends_with(b"Content-Length: 0\r\n\r\n"));
//! ```

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::lex::{is_token, is_token_text};
use crate::message::Header;
use crate::method::Method;
use crate::name::Name;
use crate::status::reason_phrase;
use crate::via::Transport;

/// Why a message could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The buffer is full.
    Full,
    /// A value holds CR, LF or NUL, or a name is no token: header injection.
    Injection,
}

/// A piece of a header value.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Bytes, checked for line ends.
    Bytes(&'a [u8]),
    /// A decimal number.
    Number(u64),
    /// `address:port`, IPv6 in brackets.
    Socket(SocketAddr),
    /// An address, IPv6 in brackets.
    Host(IpAddr),
}

/// What goes into a Via of our own.
#[derive(Clone, Copy, Debug)]
pub struct ViaOut<'a> {
    /// Transport the request leaves by.
    pub transport: Transport,
    /// Sent-by: where responses are to come (the listener's advertised address).
    pub sent_by: SocketAddr,
    /// Branch, with the magic cookie.
    pub branch: &'a [u8],
    /// Ask for `rport` (RFC 3581).
    pub rport: bool,
}

/// A message being written.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut [u8],
    len: usize,
    fault: Option<WriteError>,
    ended: bool,
}

impl<'b> Writer<'b> {
    /// Begins an empty message in `out`.
    #[must_use]
    pub fn new(out: &'b mut [u8]) -> Self {
        Self { out, len: 0, fault: None, ended: false }
    }

    /// `METHOD uri SIP/2.0`.
    #[must_use]
    pub fn request_line(mut self, method: Method<'_>, uri: &[u8]) -> Self {
        if uri.is_empty() || uri.contains(&b' ') || !is_token_text(method.bytes()) {
            self.fail(WriteError::Injection);
        }
        self.put(method.bytes());
        self.put(b" ");
        self.value(uri);
        self.put(b" SIP/2.0\r\n");
        self
    }

    /// `SIP/2.0 code reason`; an empty reason becomes the usual phrase.
    #[must_use]
    pub fn status_line(mut self, code: u16, reason: &[u8]) -> Self {
        self.put(b"SIP/2.0 ");
        self.number(u64::from(code));
        self.put(b" ");
        if reason.is_empty() {
            self.put(reason_phrase(code).as_bytes());
        } else {
            self.value(reason);
        }
        self.put(b"\r\n");
        self
    }

    /// A header made of parts.
    #[must_use]
    pub fn header(self, name: Name, parts: &[Part<'_>]) -> Self {
        self.header_text(name.text().as_bytes(), parts)
    }

    /// A header of any name (X-*), made of parts.
    #[must_use]
    pub fn header_text(mut self, name: &[u8], parts: &[Part<'_>]) -> Self {
        if name.is_empty() || !name.iter().all(|&c| is_token(c)) {
            self.fail(WriteError::Injection);
        }
        self.put(name);
        self.put(b": ");
        for part in parts {
            self.part(*part);
        }
        self.put(b"\r\n");
        self
    }

    /// A header with one value.
    #[must_use]
    pub fn field(self, name: Name, value: &[u8]) -> Self {
        self.header(name, &[Part::Bytes(value)])
    }

    /// A header of a received message, its name as received, folds replaced by spaces.
    #[must_use]
    pub fn copy(mut self, header: Header<'_>) -> Self {
        let text =
            if header.name == Name::Other { header.text } else { header.name.text().as_bytes() };
        self.put(text);
        self.put(b": ");
        self.unfolded(header.value);
        self.put(b"\r\n");
        self
    }

    /// A value of a received message under the given name, folds replaced by spaces.
    #[must_use]
    pub fn copy_value(mut self, name: Name, value: &[u8]) -> Self {
        self.put(name.text().as_bytes());
        self.put(b": ");
        self.unfolded(value);
        self.put(b"\r\n");
        self
    }

    /// A Via of our own.
    #[must_use]
    pub fn via(mut self, via: &ViaOut<'_>) -> Self {
        self.put(b"Via: SIP/2.0/");
        self.put(via.transport.text().as_bytes());
        self.put(b" ");
        self.part(Part::Socket(via.sent_by));
        self.put(b";branch=");
        self.value(via.branch);
        self.put(if via.rport { b";rport\r\n" } else { b"\r\n" });
        self
    }

    /// An address header: display name (raw text, quoted here; empty for none), URI, tag.
    #[must_use]
    pub fn address(mut self, name: Name, display: &[u8], uri: &[u8], tag: Option<&[u8]>) -> Self {
        self.put(name.text().as_bytes());
        self.put(b": ");
        if !display.is_empty() {
            self.quoted(display);
            self.put(b" ");
        }
        self.put(b"<");
        if uri.iter().any(|&c| c == b'>' || c == b' ') {
            self.fail(WriteError::Injection);
        }
        self.value(uri);
        self.put(b">");
        if let Some(tag) = tag {
            self.put(b";tag=");
            self.value(tag);
        }
        self.put(b"\r\n");
        self
    }

    /// `Contact: <uri>`.
    #[must_use]
    pub fn contact(self, uri: &[u8]) -> Self {
        self.address(Name::Contact, b"", uri, None)
    }

    /// `CSeq: number METHOD`.
    #[must_use]
    pub fn cseq(self, number: u32, method: Method<'_>) -> Self {
        self.header(Name::CSeq, &[number.into(), b" ".into(), method.bytes().into()])
    }

    /// `Call-ID: id`.
    #[must_use]
    pub fn call_id(self, id: &[u8]) -> Self {
        self.field(Name::CallId, id)
    }

    /// `Max-Forwards: hops`.
    #[must_use]
    pub fn max_forwards(self, hops: u8) -> Self {
        self.header(Name::MaxForwards, &[u64::from(hops).into()])
    }

    /// Content-Type, Content-Length, the empty line and the body: the message is complete.
    #[must_use]
    pub fn content(mut self, kind: &[u8], body: &[u8]) -> Self {
        self.put(b"Content-Type: ");
        self.value(kind);
        self.put(b"\r\nContent-Length: ");
        self.number(body.len() as u64);
        self.put(b"\r\n\r\n");
        self.put(body);
        self.ended = true;
        self
    }

    /// The same with type and body in pieces.
    #[must_use]
    pub fn content_of(mut self, kind: &[&[u8]], body: &[&[u8]]) -> Self {
        self.put(b"Content-Type: ");
        kind.iter().for_each(|piece| self.value(piece));
        self.put(b"\r\nContent-Length: ");
        self.number(body.iter().map(|piece| piece.len() as u64).sum());
        self.put(b"\r\n\r\n");
        body.iter().for_each(|piece| self.put(piece));
        self.ended = true;
        self
    }

    /// The message. Without [`Writer::content`] it ends with `Content-Length: 0`.
    ///
    /// # Errors
    /// The first [`WriteError`] of all the calls before.
    pub fn finish(mut self) -> Result<&'b [u8], WriteError> {
        if !self.ended {
            self.put(b"Content-Length: 0\r\n\r\n");
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(&self.out[..self.len]),
        }
    }

    /// Lines for a message that stands elsewhere: what was written, and no end.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn lines(self) -> Result<&'b [u8], WriteError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(&self.out[..self.len]),
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing is written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Applies `step` when there is a value: `w.with(tag, |w, tag| w.field(Name::To, tag))`.
    #[must_use]
    pub fn with<T>(self, value: Option<T>, step: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => step(self, value),
            None => self,
        }
    }

    pub(crate) fn fail(&mut self, fault: WriteError) {
        self.fault = self.fault.or(Some(fault));
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.fail(WriteError::Full),
        }
    }

    /// Bytes from outside: no line end may pass (THREATS.md).
    pub(crate) fn value(&mut self, bytes: &[u8]) {
        if memchr::memchr3(b'\r', b'\n', 0, bytes).is_some() {
            self.fail(WriteError::Injection);
        }
        self.put(bytes);
    }

    /// Bytes of a parsed header value: a fold becomes one space.
    pub(crate) fn unfolded(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            self.put(&rest[..at]);
            self.put(b" ");
            rest = rest[at..].trim_ascii_start();
        }
        self.put(rest);
    }

    fn quoted(&mut self, text: &[u8]) {
        self.put(b"\"");
        for piece in text.split_inclusive(|&c| c == b'"' || c == b'\\') {
            match piece.split_last() {
                Some((&last @ (b'"' | b'\\'), rest)) => {
                    self.value(rest);
                    self.put(&[b'\\', last]);
                }
                _ => self.value(piece),
            }
        }
        self.put(b"\"");
    }

    pub(crate) fn part(&mut self, part: Part<'_>) {
        match part {
            Part::Bytes(bytes) => self.value(bytes),
            Part::Number(number) => self.number(number),
            Part::Host(ip) => self.host(ip),
            Part::Socket(socket) => {
                self.host(socket.ip());
                self.put(b":");
                self.number(u64::from(socket.port()));
            }
        }
    }

    pub(crate) fn host(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets().map(u64::from);
                self.number(a);
                for octet in [b, c, d] {
                    self.put(b".");
                    self.number(octet);
                }
            }
            IpAddr::V6(ip) => {
                // Writing into ourselves fails only by setting `fault`.
                let _ = fmt::Write::write_fmt(self, format_args!("[{ip}]"));
            }
        }
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.value(text.as_bytes());
        if self.fault.is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl<'a> From<&'a [u8]> for Part<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Part<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl From<u32> for Part<'_> {
    fn from(number: u32) -> Self {
        Self::Number(u64::from(number))
    }
}

impl From<u64> for Part<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<SocketAddr> for Part<'_> {
    fn from(socket: SocketAddr) -> Self {
        Self::Socket(socket)
    }
}

impl From<IpAddr> for Part<'_> {
    fn from(ip: IpAddr) -> Self {
        Self::Host(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_smuggles_a_line() {
        let mut out = [0; 256];
        let tries: [fn(Writer<'_>) -> Writer<'_>; 6] = [
            |w| w.field(Name::Subject, b"x\r\nVia: y"),
            |w| w.header_text(b"X-A: b\r\nC", &[]),
            |w| w.address(Name::From, b"a\nb", b"sip:a", None),
            |w| w.address(Name::From, b"", b"sip:a>;tag=", None),
            |w| w.status_line(200, b"OK\r\n"),
            |w| w.request_line(Method::Bye, b"sip:a SIP/2.0\r\n"),
        ];
        for bad in tries {
            assert_eq!(bad(Writer::new(&mut out)).finish(), Err(WriteError::Injection));
        }
        assert_eq!(Writer::new(&mut [0; 8]).status_line(200, b"").finish(), Err(WriteError::Full));
    }

    #[test]
    fn values_are_written_as_they_should_be() {
        let mut out = [0; 512];
        let bytes = Writer::new(&mut out)
            .address(Name::To, br#"a "b" \"#, b"sip:x@y", Some(b"t"))
            .via(&ViaOut {
                transport: Transport::Udp,
                sent_by: "[2001:db8::1]:5060".parse().unwrap(),
                branch: b"z9hG4bK1",
                rport: true,
            })
            .copy_value(Name::Subject, b"a\r\n  b")
            .content(b"text/plain", b"hi")
            .finish();
        let expected = b"To: \"a \\\"b\\\" \\\\\" <sip:x@y>;tag=t\r\n\
            Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;rport\r\n\
            Subject: a b\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(bytes, Ok(&expected[..]));
    }
}
