//! Whether a message that parsed may be processed: the checks of a UAS core in the order of RFC
//! 3261 section 8.2 and of a UAC on a response (8.1.3.3).
//!
//! [`validate_request`] holds what every server asks; [`Core::check`] adds what depends on the
//! server: methods, extensions, content types.

use crate::body::{BodyPart, Handling};
use crate::lex::is_token_text;
use crate::message::{Bad, CSeq, Message};
use crate::method::Method;
use crate::name::Name;
use crate::uri::Scheme;
use crate::via::{MAGIC, branch_of};

/// Why a request is refused, or a response discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not SIP/2.0.
    Version,
    /// A header that must be there is missing.
    Missing(Name),
    /// A header's value breaks its grammar or range.
    Syntax(Name),
    /// A header that must stand once stands twice ([`Name::is_vital`]).
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
    request_uri(request, method)?;
    parties(request, method)?;
    contact(request, method)?;
    if !request.body().is_empty() && request.has(Name::ContentType) {
        request.content_type()?;
    }
    for name in [Name::Route, Name::RecordRoute] {
        for address in request.addresses(name) {
            address?.uri().map_err(|_| Refusal::new(400, Why::Syntax(name)))?;
        }
    }
    max_forwards(request, method)
}

/// What makes a response usable: everything that a transaction of ours and its dialog are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Essentials<'a> {
    /// Status code, 100 to 699.
    pub code: u16,
    /// Branch of the only Via.
    pub branch: &'a [u8],
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Tag in To; `None` when there is none or To is unreadable.
    pub to_tag: Option<&'a [u8]>,
}

/// Reads a response by what it cannot do without (RFC 3261 sections 8.1.3.3 and 17.1.3); `None`
/// when it must be discarded: another version, no branch, no CSeq, or a Via that is not ours.
///
/// A response whose branch carries our MAC was sent to us because we asked. Whatever else is wrong
/// with it (a single header twice, a Contact or Date that cannot be read, no reason phrase),
/// silence would leave both sides waiting. It may be asked of [`crate::Malformed::partial`] too,
/// whose body is then not to be used.
#[must_use]
pub fn response_essentials<'a>(response: &Message<'a>) -> Option<Essentials<'a>> {
    essentials(response).ok()
}

/// [`response_essentials`] with the reason why it is discarded.
///
/// # Errors
/// [`Refusal`]; its code is of no use.
pub fn validate_response(response: &Message<'_>) -> Result<(), Refusal> {
    essentials(response).map(|_| ())
}

fn essentials<'a>(response: &Message<'a>) -> Result<Essentials<'a>, Refusal> {
    let code = response.status().filter(|_| response.version_ok());
    let code = code.ok_or(Refusal::new(400, Why::Version))?;
    let mut vias = response.values(Name::Via);
    let top = vias.next().ok_or(Bad::Missing(Name::Via))?;
    let branch = branch_of(top).ok_or(Bad::Syntax(Name::Via))?;
    if branch.eq_ignore_ascii_case(MAGIC) {
        return Err(Refusal::new(400, Why::EmptyBranch));
    }
    if vias.next().is_some() {
        return Err(Refusal::new(400, Why::ForeignVia));
    }
    Ok(Essentials { code, branch, cseq: response.cseq()?, to_tag: response.to_tag() })
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
        self.check_with(request, false)
    }

    /// The same of a request that goes on to somebody else: parts beside a description are that
    /// one's, whatever they say of themselves.
    ///
    /// # Errors
    /// As [`Core::check`].
    pub fn check_passing(&self, request: &Message<'_>) -> Result<(), Refusal> {
        self.check_with(request, true)
    }

    fn check_with(&self, request: &Message<'_>, passes: bool) -> Result<(), Refusal> {
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
            self.content(request, passes)?;
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

    /// Section 8.2.3, RFC 5621: a body that is not understood is no reason to refuse when it says
    /// that it is optional. Beside a description that is understood, a part is only refused for
    /// when it says that it is required; carriers and emergency services often say nothing.
    fn content(&self, request: &Message<'_>, passes: bool) -> Result<(), Refusal> {
        if !request.body().is_empty() {
            self.bodies(request, passes)?;
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

    fn bodies(&self, request: &Message<'_>, passes: bool) -> Result<(), Refusal> {
        if request.disposition().handling == Handling::Optional {
            return Ok(());
        }
        request.content_type()?;
        let understood = |part: &BodyPart<'_>| {
            !part.encoded && self.types.iter().any(|t| t.eq_ignore_ascii_case(part.kind))
        };
        if request.whole_body().is_some_and(|whole| understood(&whole)) {
            return Ok(());
        }
        let parts = request.body_parts().map_err(|_| Bad::Syntax(Name::ContentType))?;
        let refused = if parts.iter().any(understood) {
            let required = |p: &BodyPart<'_>| p.disposition.handling == Handling::Required;
            !passes && parts.iter().any(|p| !understood(p) && required(p))
        } else {
            let is_emergency = passes && request.uri().is_ok_and(|uri| uri.is_emergency());
            !is_emergency && parts.iter().any(|p| p.disposition.handling != Handling::Optional)
        };
        if refused { Err(Refusal::new(415, Why::MediaType)) } else { Ok(()) }
    }
}

fn singles(message: &Message<'_>) -> Result<(), Refusal> {
    let mut seen = 0u128;
    for name in message.names().filter(|name| name.is_vital()) {
        let bit = 1u128 << (name as u32);
        if seen & bit != 0 {
            return Err(Refusal::new(400, Why::Repeated(name)));
        }
        seen |= bit;
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

fn request_uri(request: &Message<'_>, method: Method<'_>) -> Result<(), Refusal> {
    let uri = request.uri().map_err(|_| Refusal::new(400, Why::RequestUri))?;
    let calls = matches!(method, Method::Invite | Method::Ack | Method::Cancel);
    if uri.scheme == Scheme::Other && !(calls && uri.is_emergency()) {
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

/// Contact is read where a dialog or a binding is made of it; a REGISTER uses all of them, the
/// others the first. A BYE's or an OPTIONS' is used by nobody.
fn contact(request: &Message<'_>, method: Method<'_>) -> Result<(), Refusal> {
    let used = match method {
        Method::Register => usize::MAX,
        Method::Invite | Method::Update | Method::Subscribe | Method::Refer | Method::Notify => 1,
        _ => 0,
    };
    if request.contact_is_star() {
        return Ok(());
    }
    for contact in request.contacts().take(used) {
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
