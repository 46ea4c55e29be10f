//! Whether a message that parsed may be processed: the checks of a UAS core in the order of RFC
//! 3261 section 8.2 and of a UAC on a response (8.1.3.3).
//!
//! [`validate_request`] holds what every server asks; [`Core::check`] adds what depends on the
//! server: methods, extensions, content types.

use crate::lex::is_token_text;
use crate::message::{Bad, Message};
use crate::method::Method;
use crate::name::Name;
use crate::uri::Scheme;
use crate::via::MAGIC;

/// Why a request is refused, or a response discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not SIP/2.0.
    Version,
    /// A header that must be there is missing.
    Missing(Name),
    /// A header's value breaks its grammar or range.
    Syntax(Name),
    /// A header that may stand once stands twice.
    Repeated(Name),
    /// CSeq names another method than the request line.
    MethodMismatch,
    /// The Request-URI breaks its grammar or holds headers.
    RequestUri,
    /// The Request-URI's scheme is not ours.
    Scheme,
    /// The branch is the magic cookie and nothing else.
    EmptyBranch,
    /// Max-Forwards is used up.
    TooManyHops,
    /// A method nobody defined here.
    UnknownMethod,
    /// A known method that this server does not take.
    MethodNotAllowed,
    /// Require names an extension that we lack.
    Extension,
    /// A body of a type or encoding that we cannot read.
    MediaType,
    /// The sender takes nothing that we could send.
    NotAcceptable,
    /// A response with more than our own Via.
    ForeignVia,
    /// It claims a dialog that does not exist.
    NoDialog,
    /// Its CSeq number is not above the last one in the dialog.
    CSeqOrder,
}

/// A refusal: the status to answer with and the reason a tenant can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code. An ACK is never answered, whatever stands here.
    pub code: u16,
    /// Reason.
    pub why: Why,
}

impl Refusal {
    const fn new(code: u16, why: Why) -> Self {
        Self { code, why }
    }
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Missing(name) => Self::new(400, Why::Missing(name)),
            Bad::Syntax(name) => Self::new(400, Why::Syntax(name)),
        }
    }
}

/// What every server asks of a request.
///
/// # Errors
/// [`Refusal`] with 400, 416, 483 or 505.
pub fn validate_request(request: &Message<'_>) -> Result<(), Refusal> {
    if !request.version_ok() {
        return Err(Refusal::new(505, Why::Version));
    }
    singles(request)?;
    let method = request.method().ok_or(Refusal::new(400, Why::MethodMismatch))?;
    vias(request)?;
    request.call_id()?;
    if request.cseq()?.method != method {
        return Err(Refusal::new(400, Why::MethodMismatch));
    }
    request_uri(request)?;
    parties(request, method)?;
    contacts(request)?;
    if request.has(Name::ContentType) {
        request.content_type()?;
    }
    for name in [Name::Route, Name::RecordRoute] {
        for address in request.addresses(name) {
            address?.uri().map_err(|_| Refusal::new(400, Why::Syntax(name)))?;
        }
    }
    max_forwards(request, method)
}

/// What a client asks of a response; one that fails is discarded in silence.
///
/// # Errors
/// [`Refusal`]; its code is of no use.
pub fn validate_response(response: &Message<'_>) -> Result<(), Refusal> {
    if !response.version_ok() || response.status().is_none() {
        return Err(Refusal::new(400, Why::Version));
    }
    singles(response)?;
    vias(response)?;
    if response.vias().count() > 1 {
        return Err(Refusal::new(400, Why::ForeignVia));
    }
    response.call_id()?;
    response.cseq()?;
    parties(response, Method::Other(b""))?;
    contacts(response)
}

/// What a server has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Core<'a> {
    /// Methods taken; others are 405 when known, else 501.
    pub methods: &'a [Method<'a>],
    /// Option tags supported (Require).
    pub options: &'a [&'a [u8]],
    /// Body types read in INVITE, UPDATE, PRACK and ACK, and sent in answers.
    pub types: &'a [&'a [u8]],
}

impl Core<'_> {
    /// [`validate_request`], then methods (8.2.1), extensions (8.2.2.3), content (8.2.3), Accept
    /// (13.3.1).
    ///
    /// # Errors [`Refusal`] with 400, 405, 406, 415, 416, 420, 483, 501 or 505. With 405 goes
    /// Allow, with 415 Accept, with 420 Unsupported, which the caller writes.
    pub fn check(&self, request: &Message<'_>) -> Result<(), Refusal> {
        validate_request(request)?;
        let Some(method) = request.method() else {
            return Err(Refusal::new(400, Why::MethodMismatch));
        };
        if !self.methods.contains(&method) {
            return Err(match method {
                Method::Other(_) => Refusal::new(501, Why::UnknownMethod),
                _ => Refusal::new(405, Why::MethodNotAllowed),
            });
        }
        if matches!(method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if self.unsupported(request).next().is_some() {
            return Err(Refusal::new(420, Why::Extension));
        }
        if matches!(method, Method::Invite | Method::Update | Method::Prack) {
            self.content(request)?;
        }
        Ok(())
    }

    /// Option tags of Require that we lack: the value of Unsupported.
    pub fn unsupported<'m>(
        &'m self,
        request: &'m Message<'_>,
    ) -> impl Iterator<Item = &'m [u8]> + 'm {
        request
            .values(Name::Require)
            .filter(|tag| !self.options.iter().any(|o| o.eq_ignore_ascii_case(tag)))
    }

    fn content(&self, request: &Message<'_>) -> Result<(), Refusal> {
        if !request.body().is_empty() {
            let (kind, _) = request.content_type()?;
            let encoded = request
                .values(Name::ContentEncoding)
                .any(|e| !e.is_empty() && !e.eq_ignore_ascii_case(b"identity"));
            if encoded || !self.types.iter().any(|t| t.eq_ignore_ascii_case(kind)) {
                return Err(Refusal::new(415, Why::MediaType));
            }
        }
        let mut asked = request.values(Name::Accept).filter(|v| !v.is_empty()).peekable();
        let takes = |range: &[u8]| {
            let range = range.split(|&c| c == b';').next().unwrap_or_default().trim_ascii();
            range == b"*/*"
                || self.types.iter().any(|t| t.eq_ignore_ascii_case(range))
                || range.eq_ignore_ascii_case(b"application/*")
        };
        if asked.peek().is_some() && !asked.any(takes) {
            return Err(Refusal::new(406, Why::NotAcceptable));
        }
        Ok(())
    }
}

fn singles(message: &Message<'_>) -> Result<(), Refusal> {
    let mut seen = [false; Name::COUNT];
    for name in message.names().filter(|name| name.is_single()) {
        let seen = &mut seen[name as usize];
        // Several Content-Length that agree passed the parser.
        if *seen && name != Name::ContentLength {
            return Err(Refusal::new(400, Why::Repeated(name)));
        }
        *seen = true;
    }
    Ok(())
}

fn vias(message: &Message<'_>) -> Result<(), Refusal> {
    let top = message.via()?;
    if top.branch.is_some_and(|b| b.eq_ignore_ascii_case(MAGIC)) {
        return Err(Refusal::new(400, Why::EmptyBranch));
    }
    for via in message.vias() {
        if !via?.version_ok {
            return Err(Refusal::new(505, Why::Version));
        }
    }
    Ok(())
}

fn request_uri(request: &Message<'_>) -> Result<(), Refusal> {
    let uri = request.uri().map_err(|_| Refusal::new(400, Why::RequestUri))?;
    if uri.scheme == Scheme::Other {
        return Err(Refusal::new(416, Why::Scheme));
    }
    // Section 19.1.1: headers are not allowed in a Request-URI.
    if uri.headers.is_empty() { Ok(()) } else { Err(Refusal::new(400, Why::RequestUri)) }
}

fn parties(message: &Message<'_>, method: Method<'_>) -> Result<(), Refusal> {
    for (name, address) in [(Name::From, message.from()?), (Name::To, message.to()?)] {
        let uri = address.uri().map_err(|_| Refusal::new(400, Why::Syntax(name)))?;
        // Section 10.3: the address-of-record is a SIP or SIPS URI.
        let registers = method == Method::Register && name == Name::To;
        if registers && !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(Refusal::new(400, Why::Syntax(Name::To)));
        }
        if address.tag.is_some_and(|tag| !is_token_text(tag)) {
            return Err(Refusal::new(400, Why::Syntax(name)));
        }
    }
    Ok(())
}

fn contacts(message: &Message<'_>) -> Result<(), Refusal> {
    if message.contact_is_star() {
        return Ok(());
    }
    for contact in message.contacts() {
        contact?.uri().map_err(|_| Refusal::new(400, Why::Syntax(Name::Contact)))?;
    }
    Ok(())
}

/// Absent is legal from RFC 2543. Used up is only of interest where a request could go on: out of
/// dialog.
fn max_forwards(request: &Message<'_>, method: Method<'_>) -> Result<(), Refusal> {
    if !request.has(Name::MaxForwards) {
        return Ok(());
    }
    let hops = request.max_forwards()?;
    let ends_here = matches!(method, Method::Ack | Method::Cancel) || request.to_tag().is_some();
    if hops == 0 && !ends_here { Err(Refusal::new(483, Why::TooManyHops)) } else { Ok(()) }
}
