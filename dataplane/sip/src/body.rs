//! Bodies: one, or several in a multipart (RFC 5621, RFC 2046 section 5.1).
//!
//! ```text
//!  Content-Type: multipart/mixed;boundary=x      body_parts: [application/sdp, application/isup]
//!
//!  --x
//!  Content-Type: application/sdp                 sdp: this part's body
//!
//!  v=0 ...
//!  --x
//!  Content-Type: application/isup
//!  Content-Disposition: signal;handling=optional
//!
//!  ....
//!  --x--
//! ```
//!
//! A multipart inside a multipart is opened, one inside that is a part of its own. The bytes are
//! borrowed from the message; what a transfer encoding hides is not undone, only told.

use arrayvec::ArrayVec;

use crate::lex::trim;
use crate::limits::BODY_PARTS_MAX;
use crate::lines::field_at;
use crate::message::Message;
use crate::name::Name;
use crate::params::Params;

/// Whether whoever does not understand a body may leave it out (RFC 3261 section 20.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Handling {
    /// Nothing is said; the RFC's default is `required`.
    #[default]
    Unsaid,
    /// `handling=required`.
    Required,
    /// `handling=optional`.
    Optional,
}

/// Content-Disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Disposition<'a> {
    /// `session`, `render`, `signal`, ...; empty when absent.
    pub kind: &'a [u8],
    /// `handling`.
    pub handling: Handling,
}

/// One body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPart<'a> {
    /// `type/subtype` as written; `text/plain` where a part names none (RFC 2046 section 5.2).
    pub kind: &'a [u8],
    /// The whole Content-Type value, parameters included; empty where a part has none.
    pub content_type: &'a [u8],
    /// Content-Disposition.
    pub disposition: Disposition<'a>,
    /// An encoding stands between these bytes and what they mean (gzip, base64).
    pub encoded: bool,
    /// The bytes.
    pub body: &'a [u8],
}

/// The session description of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdpBody<'a> {
    /// There is none.
    None,
    /// The body or part of type `application/sdp` and disposition `session` (or none said).
    Sdp(&'a [u8]),
    /// There is one that cannot be read, and it is not optional: it is encoded, or the structure of
    /// the multipart is broken.
    Broken,
}

/// A multipart without a boundary, without any part, or with more than [`BODY_PARTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBody;

/// A body, or a part of one, beside the session descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherPart<'a> {
    /// Its type, where `text` is the body alone.
    pub content_type: Option<&'a [u8]>,
    /// As it came: its header fields, the empty line, its body.
    pub text: &'a [u8],
    /// Whoever does not understand it must refuse the request.
    pub is_required: bool,
    /// It is what it seems to be: no description of a session is in it.
    pub is_plain: bool,
}

/// The bodies of a message in their order.
pub type BodyParts<'a> = ArrayVec<BodyPart<'a>, BODY_PARTS_MAX>;

impl<'a> SdpBody<'a> {
    /// The description, when there is a readable one.
    #[must_use]
    pub const fn readable(self) -> Option<&'a [u8]> {
        match self {
            Self::Sdp(sdp) => Some(sdp),
            Self::None | Self::Broken => None,
        }
    }
}

impl<'a> BodyPart<'a> {
    /// `application/sdp` whose disposition is `session` or not said (RFC 3261 section 20.11). An
    /// `early-session` (RFC 3959) is another session.
    #[must_use]
    pub fn is_session(&self) -> bool {
        let kind = self.disposition.kind;
        self.kind.eq_ignore_ascii_case(b"application/sdp")
            && (kind.is_empty() || kind.eq_ignore_ascii_case(b"session"))
    }

    /// `application/sdp`, whatever it is for.
    fn is_description(&self) -> bool {
        self.kind.eq_ignore_ascii_case(b"application/sdp")
    }

    /// `multipart/*`.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
    }

    fn session(&self) -> SdpBody<'a> {
        match (self.is_session(), self.encoded) {
            (false, _) => SdpBody::None,
            (true, true) => self.unreadable(),
            (true, false) => SdpBody::Sdp(self.body),
        }
    }

    /// What is optional and cannot be read is left out.
    fn unreadable(&self) -> SdpBody<'a> {
        match self.disposition.handling {
            Handling::Optional => SdpBody::None,
            Handling::Required | Handling::Unsaid => SdpBody::Broken,
        }
    }
}

impl<'a> Disposition<'a> {
    /// Reads a Content-Disposition value; parameters that cannot be read are passed over.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let handling = Params::parse(&value[end..]).and_then(|p| p.get(b"handling"));
        let handling = match handling {
            Some(text) if text.eq_ignore_ascii_case(b"optional") => Handling::Optional,
            Some(text) if text.eq_ignore_ascii_case(b"required") => Handling::Required,
            _ => Handling::Unsaid,
        };
        Self { kind: trim(&value[..end]), handling }
    }
}

impl<'a> Message<'a> {
    /// Content-Disposition of the message; empty when it has none.
    #[must_use]
    pub fn disposition(&self) -> Disposition<'a> {
        self.header(Name::ContentDisposition).map(Disposition::parse).unwrap_or_default()
    }

    /// The session description, wherever it stands (RFC 5621 section 4; the first one of several).
    #[must_use]
    pub fn sdp(&self) -> SdpBody<'a> {
        let Some(whole) = self.whole_body() else { return SdpBody::None };
        if !whole.is_multipart() {
            return whole.session();
        }
        let Ok(parts) = self.body_parts() else { return whole.unreadable() };
        let found = parts.iter().find(|part| part.is_session());
        found.map_or(SdpBody::None, BodyPart::session)
    }

    /// All bodies: the one there is, or the parts of a multipart. Empty without a body or without a
    /// Content-Type that says what it is.
    ///
    /// # Errors
    /// [`BrokenBody`].
    pub fn body_parts(&self) -> Result<BodyParts<'a>, BrokenBody> {
        let mut parts = ArrayVec::new();
        if let Some(whole) = self.whole_body() {
            take(whole, 2, &mut parts)?;
        }
        Ok(parts)
    }

    /// What a body holds beside session descriptions: the parts of a multipart, those of one in it
    /// that has a description, too; or the one body that is no description.
    ///
    /// # Errors
    /// [`BrokenBody`].
    pub fn other_parts(&self) -> Result<ArrayVec<OtherPart<'a>, BODY_PARTS_MAX>, BrokenBody> {
        let mut others = ArrayVec::new();
        let Some(whole) = self.whole_body() else { return Ok(others) };
        if whole.is_multipart() && !whole.encoded {
            others_of(whole, NESTED_MAX, &mut others)?;
        } else if !whole.is_description() {
            let is_required = whole.disposition.handling == Handling::Required;
            let content_type = Some(whole.content_type);
            let is_plain = !whole.encoded && !whole.is_multipart();
            others.push(OtherPart { content_type, text: whole.body, is_required, is_plain });
        }
        Ok(others)
    }

    /// The body as one part, a multipart not opened; `None` without one, or without a readable
    /// Content-Type.
    #[must_use]
    pub fn whole_body(&self) -> Option<BodyPart<'a>> {
        let (kind, _) = self.content_type().ok().filter(|_| !self.body().is_empty())?;
        Some(BodyPart {
            kind,
            content_type: self.header(Name::ContentType).unwrap_or_default(),
            disposition: self.disposition(),
            encoded: self.values(Name::ContentEncoding).any(is_encoding),
            body: self.body(),
        })
    }
}

impl<'a> BodyPart<'a> {
    fn new(content_type: &'a [u8], disposition: Disposition<'a>, body: &'a [u8]) -> Self {
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        let kind = trim(&content_type[..end]);
        let kind = if kind.is_empty() { b"text/plain" } else { kind };
        Self { kind, content_type, disposition, encoded: false, body }
    }

    /// Reads one part of a multipart: its header fields, an empty line, its body. Without any
    /// header field the empty line comes first.
    fn parse(part: &'a [u8]) -> Self {
        let (mut content_type, mut disposition, mut encoded): (&[u8], _, _) =
            (b"", Disposition::default(), false);
        let mut at = 0;
        // Header fields without an end are a part without a body.
        let body = loop {
            let Some((line, next)) = field_at(part, at) else { break &part[part.len()..] };
            if line.end == at {
                break &part[next..];
            }
            let field = &part[at..line.end];
            at = next;
            let Some(colon) = memchr::memchr(b':', field) else { continue };
            let (name, value) = (trim(&field[..colon]), trim(&field[colon + 1..]));
            match Name::of(name) {
                Name::ContentType => content_type = value,
                Name::ContentDisposition => disposition = Disposition::parse(value),
                Name::ContentEncoding => encoded |= is_encoding(value),
                _ if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => {
                    encoded |= !IDENTITIES.iter().any(|i| value.eq_ignore_ascii_case(i));
                }
                _ => {}
            }
        };
        Self { encoded, ..Self::new(content_type, disposition, body) }
    }

    /// The boundary, when it is a multipart.
    fn boundary(&self) -> Option<Result<&'a [u8], BrokenBody>> {
        self.is_multipart().then(|| {
            let end = memchr::memchr(b';', self.content_type).ok_or(BrokenBody)?;
            let params = Params::parse(&self.content_type[end..]).ok_or(BrokenBody)?;
            // RFC 2046 section 5.1.1: 1 to 70 characters.
            let boundary = params.get(b"boundary").filter(|b| (1..=70).contains(&b.len()));
            boundary.ok_or(BrokenBody)
        })
    }
}

/// Transfer encodings that leave the bytes as they are (RFC 2045 section 6.2).
const IDENTITIES: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];

fn is_encoding(value: &[u8]) -> bool {
    !value.is_empty() && !value.eq_ignore_ascii_case(b"identity")
}

/// Takes one body, or what is in it while `depth` lasts.
fn take<'a>(part: BodyPart<'a>, depth: u8, parts: &mut BodyParts<'a>) -> Result<(), BrokenBody> {
    let boundary = match part.boundary() {
        Some(boundary) if depth > 0 && !part.encoded => boundary?,
        _ => return parts.try_push(part).map_err(|_| BrokenBody),
    };
    // What stands before the first delimiter is a preamble (RFC 2046 section 5.1.1).
    let (_, mut rest) = delimited(part.body, boundary).ok_or(BrokenBody)?;
    let before = parts.len();
    while let Some(text) = rest {
        // A last part that nothing ends reaches to the end of the body.
        let (inner, behind) = delimited(text, boundary).unwrap_or((text, None));
        take(BodyPart::parse(inner), depth - 1, parts)?;
        rest = behind;
    }
    if parts.len() == before { Err(BrokenBody) } else { Ok(()) }
}

/// Multiparts in each other that are looked into for descriptions.
const NESTED_MAX: u8 = 4;

/// The parts of a multipart that hold no description; one in it that does is opened.
fn others_of<'a>(
    whole: BodyPart<'a>,
    depth: u8,
    others: &mut ArrayVec<OtherPart<'a>, BODY_PARTS_MAX>,
) -> Result<(), BrokenBody> {
    let depth = depth.checked_sub(1).ok_or(BrokenBody)?;
    let boundary = whole.boundary().ok_or(BrokenBody)??;
    let (_, mut rest) = delimited(whole.body, boundary).ok_or(BrokenBody)?;
    while let Some(text) = rest {
        let (text, behind) = delimited(text, boundary).unwrap_or((text, None));
        let part = BodyPart::parse(text);
        let is_open = part.is_multipart() && !part.encoded;
        if is_open && holds_description(part, depth)? {
            others_of(part, depth, others)?;
        } else if !part.is_description() {
            let is_required = part.disposition.handling == Handling::Required;
            let is_plain = is_open || !part.is_multipart();
            let other = OtherPart { content_type: None, text, is_required, is_plain };
            others.try_push(other).map_err(|_| BrokenBody)?;
        }
        rest = behind;
    }
    Ok(())
}

/// Whether a description is anywhere in a part.
fn holds_description(part: BodyPart<'_>, depth: u8) -> Result<bool, BrokenBody> {
    if !part.is_multipart() || part.encoded {
        return Ok(part.is_description());
    }
    let depth = depth.checked_sub(1).ok_or(BrokenBody)?;
    let boundary = part.boundary().ok_or(BrokenBody)??;
    let (_, mut rest) = delimited(part.body, boundary).ok_or(BrokenBody)?;
    while let Some(text) = rest {
        let (text, behind) = delimited(text, boundary).unwrap_or((text, None));
        if holds_description(BodyPart::parse(text), depth)? {
            return Ok(true);
        }
        rest = behind;
    }
    Ok(false)
}

/// What stands before the next delimiter line and what behind it; nothing behind the closing one.
/// The line end before a delimiter belongs to it.
fn delimited<'a>(text: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut at = 0;
    loop {
        let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |len| at + len);
        if let Some(closes) = is_delimiter(&text[at..end], boundary) {
            let before = text[..at].strip_suffix(b"\n").unwrap_or(&text[..at]);
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            let behind = text.get(end + 1..).filter(|_| !closes);
            return Some((before, behind));
        }
        at = end + 1;
        if at >= text.len() {
            return None;
        }
    }
}

/// `--boundary`, closing with `--`, then white space only; says whether it closes.
fn is_delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest.strip_prefix(b"--") {
        Some(rest) if trim(rest).is_empty() => Some(true),
        None if trim(rest).is_empty() => Some(false),
        _ => None,
    }
}
