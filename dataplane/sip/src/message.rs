//! A whole SIP message, indexed but not copied.
//!
//! [`Message::parse`] walks the datagram once: start line, then one slot (name, offsets) for each
//! header field, folds included, then the body by Content-Length. Nothing is allocated; a slot is
//! eight bytes. Typed values (Via, From, CSeq, ...) are read from a slot when asked for.
//!
//! A message that cannot be taken is [`Malformed`]: the cause, and what was indexed all the same,
//! so that a server can answer with a 400 that carries the sender's Via, From, To, Call-ID and CSeq
//! (RFC 3261 section 8.2.6), or knows that there is nobody to answer.

use arrayvec::ArrayVec;

use crate::addr::NameAddr;
use crate::lex::{Cursor, is_lws, is_token, number, number_u32, trim};
use crate::limits::{HEADERS_MAX, MESSAGE_BYTES_MAX};
use crate::lines::{field_at, first_colon, line_at, line_end, trimmed};
use crate::method::Method;
use crate::name::{Name, words};
use crate::params::{List, Params};
use crate::uri::{BadUri, Uri};
use crate::via::Via;

/// Why a message cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing but line ends: a keep-alive.
    Empty,
    /// Neither a request line nor a status line.
    StartLine,
    /// A line of the header section is not `name: value`, or holds a bare CR.
    HeaderLine,
    /// No empty line ends the header section.
    Truncated,
    /// More than [`HEADERS_MAX`] header fields.
    TooManyHeaders,
    /// More than [`MESSAGE_BYTES_MAX`] bytes.
    TooLarge,
    /// Content-Length is not a number we could hold, or two of them differ.
    ContentLength,
    /// Fewer bytes than Content-Length promises (RFC 3261 section 18.3).
    BodyShort,
}

/// A message that cannot be taken, with what was readable.
#[derive(Clone, Debug)]
pub struct Malformed<'a> {
    /// The first thing that was wrong.
    pub cause: Cause,
    partial: Message<'a>,
}

/// What the start line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request line: method and request-URI as written.
    Request {
        /// Method.
        method: Method<'a>,
        /// Request-URI as written.
        uri: &'a [u8],
    },
    /// A status line.
    Status {
        /// Status code, 100 to 699.
        code: u16,
        /// Reason phrase, may be empty.
        reason: &'a [u8],
    },
    /// Unreadable; seen in [`Malformed`] only.
    Unknown,
}

/// A header that was asked for is not there, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The message has no such header.
    Missing(Name),
    /// The header's value breaks its grammar.
    Syntax(Name),
}

/// One header field as it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Normalised name.
    pub name: Name,
    /// Name as written.
    pub text: &'a [u8],
    /// Value without outer white space; folds are kept.
    pub value: &'a [u8],
}

/// CSeq: number and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Sequence number, below 2^31.
    pub number: u32,
    /// Method.
    pub method: Method<'a>,
}

/// RAck: the reliable response acknowledged, and its CSeq (RFC 3262 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    /// RSeq of the response.
    pub rseq: u32,
    /// CSeq of the response.
    pub cseq: CSeq<'a>,
}

/// Replaces: the dialog to take over (RFC 3891), tags as seen by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// Call-ID.
    pub call_id: &'a [u8],
    /// Receiver's tag.
    pub to_tag: &'a [u8],
    /// Other side's tag.
    pub from_tag: &'a [u8],
    /// Only an early dialog may be replaced.
    pub early_only: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: Name,
    name_len: u8,
    name_at: u16,
    value_at: u16,
    value_len: u16,
}

/// A parsed message; everything it gives out borrows the datagram.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    start: Start<'a>,
    version_ok: bool,
    body: (u16, u16),
    first: [u8; Name::COUNT],
    slots: ArrayVec<Slot, HEADERS_MAX>,
}

impl<'a> Message<'a> {
    /// Reads one datagram (or one framed message of a stream). Bytes behind Content-Length are not
    /// part of it; without Content-Length the rest is the body (RFC 3261 section 18.3).
    ///
    /// # Errors
    /// [`Malformed`], see [`Cause`].
    #[expect(
        clippy::result_large_err,
        reason = "the partial message is the answer's material; nothing is boxed here"
    )]
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed<'a>> {
        // The value is made where it is returned: a kilobyte is not moved twice.
        let mut parsed = Ok(Self {
            bytes,
            start: Start::Unknown,
            version_ok: true,
            body: (0, 0),
            first: [0; Name::COUNT],
            slots: ArrayVec::new(),
        });
        let cause = match &mut parsed {
            Ok(message) => message.index().err(),
            Err(_) => None,
        };
        // One variable and one return: it is the place the caller gave.
        if let Some(cause) = cause {
            parsed = parsed.and_then(|partial| Err(Malformed { cause, partial }));
        }
        parsed
    }

    fn index(&mut self) -> Result<(), Cause> {
        let all = self.bytes;
        if all.len() > MESSAGE_BYTES_MAX {
            self.bytes = &all[..MESSAGE_BYTES_MAX];
        }
        let mut at =
            self.bytes.iter().position(|&c| c != b'\r' && c != b'\n').ok_or(Cause::Empty)?;
        let mut fault = None;
        let (line, next) = line_at(self.bytes, at).ok_or(Cause::StartLine)?;
        if line.bad || !self.start_line(&self.bytes[at..line.end]) {
            fault = Some(Cause::StartLine);
        }
        at = next;
        loop {
            if let Some(next) = self.plain_field(at) {
                at = next;
                continue;
            }
            let Some((line, next)) = field_at(self.bytes, at) else {
                fault.get_or_insert(Cause::Truncated);
                self.body = (to_u16(self.bytes.len()), to_u16(self.bytes.len()));
                break;
            };
            if line.end == at && !line.bad {
                self.body = (to_u16(next), to_u16(self.bytes.len()));
                break;
            }
            let taken = if line.bad { Err(Cause::HeaderLine) } else { self.field(at, line.end) };
            if let Err(cause) = taken {
                fault.get_or_insert(cause);
            }
            at = next;
        }
        if all.len() > MESSAGE_BYTES_MAX {
            return Err(fault.unwrap_or(Cause::TooLarge));
        }
        let length = self.declared_length();
        fault.map_or(Ok(()), Err)?;
        self.cut_body(length?)
    }

    /// Reads the start line; what can be read is kept even when it is wrong.
    fn start_line(&mut self, line: &'a [u8]) -> bool {
        if line.get(..4).is_some_and(|l| l.eq_ignore_ascii_case(b"SIP/")) {
            return self.status_line(line);
        }
        let Some(space) = memchr::memchr(b' ', line) else { return false };
        let method = Method::of(&line[..space]);
        if let Method::Other(text) = method
            && !crate::lex::is_token_text(text)
        {
            return false;
        }
        let rest = &line[space + 1..];
        let Some(end) = memchr::memrchr(b' ', rest) else { return false };
        let (uri, version) = (&rest[..end], &rest[end + 1..]);
        self.start = Start::Request { method, uri };
        if version != b"SIP/2.0" {
            let sip = is_version(version);
            // "SIP/7.0" is another version, "HTTP/1.1" or nothing at all is no SIP.
            self.version_ok = !sip || version.eq_ignore_ascii_case(b"SIP/2.0");
            if !sip {
                return false;
            }
        }
        !uri.is_empty() && memchr::memchr2(b' ', b'\t', uri).is_none()
    }

    fn status_line(&mut self, line: &'a [u8]) -> bool {
        let (version, rest) = word(line);
        let (code, reason) = word(rest);
        self.version_ok = version.eq_ignore_ascii_case(b"SIP/2.0");
        let code = if code.len() == 3 { number(code, 699) } else { None };
        let Some(code) = code.and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 100) else {
            return false;
        };
        self.start = Start::Status { code, reason };
        is_version(version)
    }

    /// Takes a header field of the form that nearly all have into the index: a known name, its
    /// colon at once, one line that ends with CR LF. Everything else is `None` and goes the long
    /// way, which alone decides what is malformed.
    #[inline]
    fn plain_field(&mut self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..)?;
        let words = words(rest.first_chunk()?);
        let colon = first_colon(words);
        let name = Name::of_words(words, colon);
        if name == Name::Other {
            return None;
        }
        let value_at = colon + 1;
        let value = rest.get(value_at..)?;
        let end = line_end(value)?;
        let Some([b'\r', b'\n', behind]) = value.get(end..end + 3) else { return None };
        if matches!(behind, b' ' | b'\t') {
            return None;
        }
        let (from, to) = trimmed(value, 0, end);
        let slot = Slot {
            name,
            name_len: to_u8(colon),
            name_at: to_u16(at),
            value_at: to_u16(at + value_at + from),
            value_len: to_u16(to - from),
        };
        self.slots.try_push(slot).ok()?;
        let first = &mut self.first[name as usize];
        if *first == 0 {
            *first = to_u8(self.slots.len());
        }
        Some(at + value_at + end + 2)
    }

    /// Takes the header field in `at..end` into the index.
    #[inline]
    fn field(&mut self, at: usize, end: usize) -> Result<(), Cause> {
        let line = &self.bytes[at..end];
        let (name, name_len, colon) = spelled_out(line).ok_or(Cause::HeaderLine)?;
        let (from, to) = trimmed(line, colon + 1, line.len());
        let slot = Slot {
            name,
            name_len,
            name_at: to_u16(at),
            value_at: to_u16(at + from),
            value_len: to_u16(to - from),
        };
        self.slots.try_push(slot).map_err(|_| Cause::TooManyHeaders)?;
        let first = &mut self.first[name as usize];
        if *first == 0 {
            *first = to_u8(self.slots.len());
        }
        Ok(())
    }

    fn declared_length(&self) -> Result<Option<usize>, Cause> {
        let mut length = None;
        for value in self.headers_named(Name::ContentLength) {
            let this = number(value, u64::from(u32::MAX)).ok_or(Cause::ContentLength)?;
            if length.is_some_and(|l| l != this) {
                return Err(Cause::ContentLength);
            }
            length = Some(this);
        }
        Ok(length.and_then(|l| usize::try_from(l).ok()))
    }

    fn cut_body(&mut self, length: Option<usize>) -> Result<(), Cause> {
        let (from, to) = self.body;
        if let Some(length) = length {
            let end = usize::from(from) + length;
            if end > usize::from(to) {
                return Err(Cause::BodyShort);
            }
            self.body.1 = to_u16(end);
        }
        Ok(())
    }

    /// The bytes of this message alone, from the start of the datagram to the end of the body.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.get(..usize::from(self.body.1)).unwrap_or_default()
    }

    /// Start line.
    #[must_use]
    pub const fn start(&self) -> Start<'a> {
        self.start
    }

    /// The version is SIP/2.0 (else 505).
    #[must_use]
    pub const fn version_ok(&self) -> bool {
        self.version_ok
    }

    /// It is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// Method of a request.
    #[must_use]
    pub const fn method(&self) -> Option<Method<'a>> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            _ => None,
        }
    }

    /// Request-URI as written; empty for a response.
    #[must_use]
    pub const fn uri_raw(&self) -> &'a [u8] {
        match self.start {
            Start::Request { uri, .. } => uri,
            _ => b"",
        }
    }

    /// Request-URI, typed.
    ///
    /// # Errors
    /// [`BadUri`] when its syntax is broken or this is a response.
    pub fn uri(&self) -> Result<Uri<'a>, BadUri> {
        Uri::parse(self.uri_raw())
    }

    /// Status code of a response.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            Start::Status { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Reason phrase of a response.
    #[must_use]
    pub const fn reason(&self) -> &'a [u8] {
        match self.start {
            Start::Status { reason, .. } => reason,
            _ => b"",
        }
    }

    /// The body, cut to Content-Length.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        let (from, to) = self.body;
        self.bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    /// How many header fields there are.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.slots.len()
    }

    /// All header fields in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + '_ {
        self.slots.iter().map(|slot| Header {
            name: slot.name,
            text: self.slice(slot.name_at, u16::from(slot.name_len)),
            value: self.slice(slot.value_at, slot.value_len),
        })
    }

    /// Names of all header fields in order.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.slots.iter().map(|slot| slot.name)
    }

    /// How many header fields repeat one that may stand once, those left out of which two are
    /// refused ([`Name::is_vital`]): the first counts, these were passed over.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        let (mut seen, mut repeats) = (0u128, 0);
        for name in self.names().filter(|name| name.is_single() && !name.is_vital()) {
            let bit = 1u128 << (name as u32);
            repeats += u32::from(seen & bit != 0);
            seen |= bit;
        }
        repeats
    }

    /// Value of the first header of this name.
    #[must_use]
    #[inline]
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        let first = usize::from(self.first[name as usize]);
        let slot = self.slots.get(first.checked_sub(1)?)?;
        Some(self.slice(slot.value_at, slot.value_len))
    }

    /// Values of all headers of this name, in order, one per header field.
    #[inline]
    pub fn headers_named(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        let first = usize::from(self.first[name as usize]);
        let from = if first == 0 { self.slots.len() } else { first - 1 };
        self.slots[from..]
            .iter()
            .filter(move |slot| slot.name == name)
            .map(|slot| self.slice(slot.value_at, slot.value_len))
    }

    /// Value of the first header spelled so, any case; for names that [`Name`] does not know.
    #[must_use]
    pub fn header_text(&self, text: &[u8]) -> Option<&'a [u8]> {
        match Name::of(text) {
            Name::Other => {
                self.headers().find(|h| h.text.eq_ignore_ascii_case(text)).map(|h| h.value)
            }
            name => self.header(name),
        }
    }

    /// Has a header of this name.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.first[name as usize] != 0
    }

    /// Values of all headers of this name, comma-separated lists taken apart.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.headers_named(name).flat_map(List::new)
    }

    /// A token stands in a list header: `lists(Name::Supported, b"timer")`, any case.
    #[must_use]
    pub fn lists(&self, name: Name, token: &[u8]) -> bool {
        self.values(name).any(|v| v.eq_ignore_ascii_case(token))
    }

    #[inline]
    fn need(&self, name: Name) -> Result<&'a [u8], Bad> {
        self.header(name).ok_or(Bad::Missing(name))
    }

    /// Topmost Via.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    #[inline]
    pub fn via(&self) -> Result<Via<'a>, Bad> {
        let value = self.need(Name::Via)?;
        let top = List::new(value).next().unwrap_or_default();
        Via::parse(top).ok_or(Bad::Syntax(Name::Via))
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, Bad>> + '_ {
        self.values(Name::Via).map(|v| Via::parse(v).ok_or(Bad::Syntax(Name::Via)))
    }

    #[inline]
    fn address(&self, name: Name) -> Result<NameAddr<'a>, Bad> {
        NameAddr::parse(self.need(name)?).ok_or(Bad::Syntax(name))
    }

    /// From.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    #[inline]
    pub fn from(&self) -> Result<NameAddr<'a>, Bad> {
        self.address(Name::From)
    }

    /// To.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    #[inline]
    pub fn to(&self) -> Result<NameAddr<'a>, Bad> {
        self.address(Name::To)
    }

    /// Tag in To; its presence makes a request an in-dialog one.
    #[must_use]
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        self.to().ok().and_then(|a| a.tag)
    }

    /// Tag in From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&'a [u8]> {
        self.from().ok().and_then(|a| a.tag)
    }

    /// First Contact (not `*`).
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    #[inline]
    pub fn contact(&self) -> Result<NameAddr<'a>, Bad> {
        let value = self.need(Name::Contact)?;
        let first = List::new(value).next().unwrap_or_default();
        NameAddr::parse(first).ok_or(Bad::Syntax(Name::Contact))
    }

    /// All addresses of a list header (Contact, Route, Record-Route, Path, P-Asserted-Identity,
    /// Diversion, ...).
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'a>, Bad>> + '_ {
        self.values(name).map(move |v| NameAddr::parse(v).ok_or(Bad::Syntax(name)))
    }

    /// All Contacts; a `*` (see [`Message::contact_is_star`]) reads as broken.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'a>, Bad>> + '_ {
        self.addresses(Name::Contact)
    }

    /// The Contact is `*`: remove all bindings (section 10.2.2).
    #[must_use]
    pub fn contact_is_star(&self) -> bool {
        self.header(Name::Contact) == Some(b"*")
    }

    /// Route values in order.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, Bad>> + '_ {
        self.addresses(Name::Route)
    }

    /// Record-Route values in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, Bad>> + '_ {
        self.addresses(Name::RecordRoute)
    }

    /// CSeq.
    ///
    /// # Errors
    /// [`Bad`] when missing, broken or not below 2^31 (section 8.1.1.5).
    #[inline]
    pub fn cseq(&self) -> Result<CSeq<'a>, Bad> {
        cseq(self.need(Name::CSeq)?).ok_or(Bad::Syntax(Name::CSeq))
    }

    /// Call-ID.
    ///
    /// # Errors
    /// [`Bad`] when missing, empty or holding white space.
    #[inline]
    pub fn call_id(&self) -> Result<&'a [u8], Bad> {
        let value = self.need(Name::CallId)?;
        let clean = !value.is_empty() && !value.iter().any(|&c| c <= b' ' || c == 0x7f);
        if clean { Ok(value) } else { Err(Bad::Syntax(Name::CallId)) }
    }

    /// Max-Forwards, 0 to 255.
    ///
    /// # Errors
    /// [`Bad`] when missing or out of range.
    pub fn max_forwards(&self) -> Result<u8, Bad> {
        let value = number(self.need(Name::MaxForwards)?, 255).and_then(|v| u8::try_from(v).ok());
        value.ok_or(Bad::Syntax(Name::MaxForwards))
    }

    /// A header that holds one decimal number below 2^32, parameters behind it ignored
    /// (Expires, Min-Expires, RSeq, Retry-After, Content-Length).
    ///
    /// # Errors
    /// [`Bad`] when missing or out of range.
    pub fn number(&self, name: Name) -> Result<u32, Bad> {
        let mut cursor = Cursor::new(self.need(name)?);
        number_u32(cursor.take_while(|c| c.is_ascii_digit())).ok_or(Bad::Syntax(name))
    }

    /// Expires in seconds.
    ///
    /// # Errors
    /// [`Bad`] when missing or out of range (section 20.19: 0 to 2^32-1).
    pub fn expires(&self) -> Result<u32, Bad> {
        let value = self.need(Name::Expires)?;
        number_u32(value).ok_or(Bad::Syntax(Name::Expires))
    }

    /// Content-Type: `type/subtype` as written and its parameters.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    pub fn content_type(&self) -> Result<(&'a [u8], Params<'a>), Bad> {
        let value = self.need(Name::ContentType)?;
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let kind = trim(&value[..end]);
        let params = Params::parse(&value[end..]).filter(|_| memchr::memchr(b'/', kind).is_some());
        params.map(|p| (kind, p)).ok_or(Bad::Syntax(Name::ContentType))
    }

    /// The body is `application/sdp`.
    #[must_use]
    pub fn is_sdp(&self) -> bool {
        self.content_type().is_ok_and(|(kind, _)| kind.eq_ignore_ascii_case(b"application/sdp"))
    }

    /// RAck.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    pub fn rack(&self) -> Result<RAck<'a>, Bad> {
        let value = self.need(Name::RAck)?;
        let mut cursor = Cursor::new(value);
        let rseq = number_u32(cursor.take_while(|c| c.is_ascii_digit()));
        cursor.skip_lws();
        let rack = rseq.zip(cseq(cursor.rest())).map(|(rseq, cseq)| RAck { rseq, cseq });
        rack.ok_or(Bad::Syntax(Name::RAck))
    }

    /// Replaces.
    ///
    /// # Errors
    /// [`Bad`] when missing or broken.
    pub fn replaces(&self) -> Result<Replaces<'a>, Bad> {
        replaces(self.need(Name::Replaces)?).ok_or(Bad::Syntax(Name::Replaces))
    }

    #[inline]
    fn slice(&self, at: u16, len: u16) -> &'a [u8] {
        let at = usize::from(at);
        self.bytes.get(at..at + usize::from(len)).unwrap_or_default()
    }
}

impl<'a> Malformed<'a> {
    /// What could be indexed. Good for [`crate::reply::reply_to`] and for captures, not for
    /// anything else.
    #[must_use]
    pub const fn partial(&self) -> &Message<'a> {
        &self.partial
    }

    /// The status to answer with, or `None` when the message must be dropped in silence: it is a
    /// response, an ACK, a keep-alive, or has no Via to answer along.
    #[must_use]
    pub fn answer(&self) -> Option<u16> {
        let method = self.partial.method()?;
        if method == Method::Ack || !self.partial.has(Name::Via) {
            return None;
        }
        match self.cause {
            Cause::Empty => None,
            Cause::TooManyHeaders | Cause::TooLarge => Some(513),
            _ if !self.partial.version_ok => Some(505),
            _ => Some(400),
        }
    }
}

/// `number method`, as in CSeq and RAck.
fn cseq(value: &[u8]) -> Option<CSeq<'_>> {
    let mut cursor = Cursor::new(value);
    let number = number(cursor.take_while(|c| c.is_ascii_digit()), (1 << 31) - 1)?;
    let from = cursor.at();
    cursor.skip_lws();
    if cursor.at() == from {
        return None;
    }
    let method = Method::of(cursor.token()?);
    cursor.done().then_some(CSeq { number: u32::try_from(number).ok()?, method })
}

/// Reads a Replaces value (also from the headers part of a Refer-To URI, unescaped by the caller).
#[must_use]
pub fn replaces(value: &[u8]) -> Option<Replaces<'_>> {
    let end = memchr::memchr(b';', value)?;
    let params = Params::parse(&value[end..])?;
    let (to_tag, from_tag) = (params.get(b"to-tag")?, params.get(b"from-tag")?);
    let call_id = trim(&value[..end]);
    if call_id.is_empty() || to_tag.is_empty() || from_tag.is_empty() {
        return None;
    }
    Some(Replaces { call_id, to_tag, from_tag, early_only: params.has(b"early-only") })
}

/// The first word of a status line and what stands behind the white space after it. More than one
/// blank, or none behind the code (no phrase), are faults of the field.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&c| is_lws(c)).unwrap_or(text.len());
    (&text[..end], trim(&text[end..]))
}

/// `SIP/d.d`.
fn is_version(text: &[u8]) -> bool {
    let Some((prefix, number)) = text.split_at_checked(4) else { return false };
    let mut parts = number.split(|&c| c == b'.');
    let digits =
        |p: Option<&[u8]>| p.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
    prefix.eq_ignore_ascii_case(b"SIP/")
        && digits(parts.next())
        && digits(parts.next())
        && parts.next().is_none()
}

/// The name of a field that is unknown, followed by white space, or at the very end of the message.
#[cold]
fn spelled_out(line: &[u8]) -> Option<(Name, u8, usize)> {
    let name_len = line.iter().position(|&c| !is_token(c))?;
    let mut colon = name_len;
    while matches!(line.get(colon), Some(b' ' | b'\t')) {
        colon += 1;
    }
    if name_len == 0 || line.get(colon) != Some(&b':') {
        return None;
    }
    Some((Name::of(&line[..name_len]), u8::try_from(name_len).ok()?, colon))
}

/// An offset or length inside a message, whose bytes are cut to [`MESSAGE_BYTES_MAX`].
#[inline]
const fn to_u16(n: usize) -> u16 {
    debug_assert!(n <= MESSAGE_BYTES_MAX);
    let [low, high, ..] = n.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// A slot number or the length of a known name.
#[inline]
const fn to_u8(n: usize) -> u8 {
    debug_assert!(n <= 0xff);
    n.to_le_bytes()[0]
}
