//! Dialogs (RFC 3261 section 12): identity, sequence numbers, route set, target, and the requests
//! inside.
//!
//! A [`Dialog`] is a small value of numbers and ranges; its text (Call-ID, tags, addresses, routes,
//! target) is one contiguous block that the caller lends from its own arena and passes back to
//! every method:
//!
//! ```text
//!  | Call-ID | local tag | remote tag | local | remote | routes <..>, <..> | target ... room |
//! ```
//!
//! The target stands last, so that a target refresh (re-INVITE, UPDATE) rewrites it in place. Bytes
//! of a block that do not fit its dialog (a damaged leg record) read as empty text; nothing panics.

use arrayvec::ArrayVec;

use crate::addr::NameAddr;
use crate::check::{Refusal, Why};
use crate::key::call_hash;
use crate::message::{Bad, Message};
use crate::method::Method;
use crate::name::Name;
use crate::params::List;
use crate::token::Key;
use crate::uri::{Scheme, Uri};
use crate::write::{Part, ViaOut, Writer};

/// Most entries of a route set.
pub const ROUTES_MAX: usize = 16;

/// A block of this size holds nearly every dialog that occurs.
pub const TEXT_BYTES: usize = 700;

/// Why there is no dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogError {
    /// A header that a dialog needs is missing or broken.
    Header(Bad),
    /// A tag is missing, or the response makes no dialog.
    NoDialog,
    /// The text does not fit the block, or there are more than [`ROUTES_MAX`] routes.
    TooLarge,
}

impl From<Bad> for DialogError {
    fn from(bad: Bad) -> Self {
        Self::Header(bad)
    }
}

/// What names a dialog, seen from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogId<'a> {
    /// Call-ID.
    pub call_id: &'a [u8],
    /// Our tag.
    pub local_tag: &'a [u8],
    /// The other side's tag; empty with an RFC 2543 peer.
    pub remote_tag: &'a [u8],
}

/// See [`Dialog::is_secure`] and [`Dialog::is_by_flow`].
const SECURE: u8 = 1;
const BY_FLOW: u8 = 2;

/// A dialog's numbers; its text is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dialog {
    /// CSeq number of the last request we sent.
    pub local_cseq: u32,
    /// CSeq number of the last request that came; 0 before the first, as in every dialog that our
    /// INVITE makes (section 12.1.2: empty), where any number may be the first.
    pub remote_cseq: u32,
    /// A 2xx has made it; before, it is early.
    pub confirmed: bool,
    /// We sent the INVITE.
    pub caller: bool,
    /// The other side named no Contact that can be read: the target is where the dialog's first
    /// request went (or came from), which is a guess.
    pub target_guessed: bool,
    /// [`SECURE`] and [`BY_FLOW`].
    marks: u8,
    call_id: Range,
    local_tag: Range,
    remote_tag: Range,
    local: Range,
    remote: Range,
    routes: Range,
    target: Range,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Range {
    at: u16,
    len: u16,
}

impl Range {
    fn of(self, text: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        text.get(at..at + usize::from(self.len)).unwrap_or_default()
    }
}

impl<'a> DialogId<'a> {
    /// The dialog a request claims to be in; `None` without a tag in To.
    #[must_use]
    pub fn of_request(request: &Message<'a>) -> Option<Self> {
        Some(Self {
            call_id: request.call_id().ok()?,
            local_tag: request.to_tag()?,
            remote_tag: request.from_tag().unwrap_or_default(),
        })
    }

    /// The dialog a response to our request belongs to; `None` without a tag in To.
    #[must_use]
    pub fn of_response(response: &Message<'a>) -> Option<Self> {
        Some(Self {
            call_id: response.call_id().ok()?,
            local_tag: response.from_tag()?,
            remote_tag: response.to_tag()?,
        })
    }

    /// Keyed hash for tables.
    #[must_use]
    pub fn hash(&self, key: &Key) -> u64 {
        let tags = call_hash(self.local_tag, key).rotate_left(21) ^ call_hash(self.remote_tag, key);
        call_hash(self.call_id, key) ^ tags.rotate_left(7)
    }
}

impl Dialog {
    /// The dialog that a 101-299 response to our INVITE (SUBSCRIBE, REFER) makes: section 12.1.2.
    /// One that was early becomes [`Dialog::confirmed_by`] its 2xx instead.
    ///
    /// A response without a readable Contact uses the request-URI, as RFC 2543 peers expect, and
    /// says so in `target_guessed`: whoever answers our INVITE is never dropped for it.
    ///
    /// # Errors
    /// [`DialogError`], also for a Record-Route that cannot be read: requests would go astray.
    pub fn uac(
        text: &mut [u8],
        request: &Message<'_>,
        response: &Message<'_>,
    ) -> Result<Self, DialogError> {
        let code = response.status().unwrap_or(0);
        let local = response.from()?;
        let remote = response.to()?;
        let remote_tag = remote.tag.filter(|_| (101..300).contains(&code));
        let remote_tag = remote_tag.ok_or(DialogError::NoDialog)?;
        let target = readable_contact(response);
        let mut routes = routes_of(response)?;
        routes.reverse();
        let mut block = Block { text, len: 0 };
        let call_id = block.put(response.call_id()?)?;
        let local_tag = block.put(local.tag.unwrap_or_default())?;
        let remote_tag = block.put(remote_tag)?;
        Ok(Self {
            local_cseq: response.cseq()?.number,
            remote_cseq: 0,
            confirmed: code >= 200,
            caller: true,
            target_guessed: target.is_none(),
            marks: u8::from(is_sips(request.uri_raw())) * SECURE,
            call_id,
            local_tag,
            remote_tag,
            local: block.put_address(&local)?,
            remote: block.put_address(&remote)?,
            routes: block.put_routes(&routes)?,
            target: block.put(target.unwrap_or_else(|| request.uri_raw()))?,
        })
    }

    /// A dialog for nothing but the ACK and the BYE of a 2xx that makes none for
    /// [`Dialog::uac`]: whoever answers our INVITE is owed both. Its routes are left out, and an
    /// RFC 2543 peer's tag may be missing.
    ///
    /// # Errors
    /// [`DialogError`].
    pub fn uac_to_end(
        text: &mut [u8],
        request: &Message<'_>,
        response: &Message<'_>,
    ) -> Result<Self, DialogError> {
        let (local, remote) = (response.from()?, response.to()?);
        let mut block = Block { text, len: 0 };
        Ok(Self {
            local_cseq: response.cseq()?.number,
            remote_cseq: 0,
            confirmed: true,
            caller: true,
            target_guessed: true,
            marks: u8::from(is_sips(request.uri_raw())) * SECURE,
            call_id: block.put(response.call_id()?)?,
            local_tag: block.put(local.tag.unwrap_or_default())?,
            remote_tag: block.put(remote.tag.unwrap_or_default())?,
            local: block.put_address(&local)?,
            remote: block.put_address(&remote)?,
            routes: Range::default(),
            target: block.put(readable_contact(response).unwrap_or_else(|| request.uri_raw()))?,
        })
    }

    /// The dialog that our response with `local_tag` to this request makes: section 12.1.1. It is
    /// early until `confirmed` is set. `local_cseq` is what our first own request counts from.
    ///
    /// # Errors
    /// [`DialogError`]. A request without Contact uses the From URI.
    pub fn uas(
        text: &mut [u8],
        request: &Message<'_>,
        local_tag: &[u8],
        local_cseq: u32,
    ) -> Result<Self, DialogError> {
        let local = request.to()?;
        let remote = request.from()?;
        let target = contact_uri(request)?;
        let routes = routes_of(request)?;
        let mut block = Block { text, len: 0 };
        let call_id = block.put(request.call_id()?)?;
        let local_tag = block.put(local_tag)?;
        let remote_tag = block.put(remote.tag.unwrap_or_default())?;
        Ok(Self {
            local_cseq,
            remote_cseq: request.cseq()?.number,
            confirmed: false,
            caller: false,
            target_guessed: target.is_none(),
            marks: u8::from(is_sips(request.uri_raw())) * SECURE,
            call_id,
            local_tag,
            remote_tag,
            local: block.put_address(&local)?,
            remote: block.put_address(&remote)?,
            routes: block.put_routes(&routes)?,
            target: block.put(target.unwrap_or(remote.uri))?,
        })
    }

    /// Its identity.
    #[must_use]
    pub fn id<'t>(&self, text: &'t [u8]) -> DialogId<'t> {
        DialogId {
            call_id: self.call_id.of(text),
            local_tag: self.local_tag.of(text),
            remote_tag: self.remote_tag.of(text),
        }
    }

    /// How many bytes of the block are in use.
    #[must_use]
    pub fn text_len(&self) -> usize {
        usize::from(self.target.at) + usize::from(self.target.len)
    }

    /// Our address, `"Display" <uri>`.
    #[must_use]
    pub fn local<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        self.local.of(text)
    }

    /// The other side's address.
    #[must_use]
    pub fn remote<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        self.remote.of(text)
    }

    /// Remote target: where the other side's Contact points.
    #[must_use]
    pub fn target<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        self.target.of(text)
    }

    /// Route set as header value, empty when there is none.
    #[must_use]
    pub fn routes<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        self.routes.of(text)
    }

    /// What the request line of the next request says: the target, or a strict first route.
    #[must_use]
    pub fn request_uri<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let strict = self.first_route(text).filter(|r| r.uri().is_ok_and(|uri| !uri.is_loose()));
        let bare = |route: NameAddr<'t>| route.uri.split(|&c| c == b'?').next();
        strict.and_then(bare).unwrap_or_else(|| self.target(text))
    }

    /// URI that the next request goes to: the first route, else the target.
    #[must_use]
    pub fn next_hop<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        self.first_route(text).map_or_else(|| self.target(text), |route| route.uri)
    }

    /// Must stay on TLS: it began with a `sips:` URI (section 12.1.1).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.marks & SECURE > 0
    }

    /// The other side is reached by the way that its messages take, whatever host its Contact
    /// names: a phone that registered, or has shown its credentials (RFC 5626 section 5.3). A route
    /// set goes before.
    #[must_use]
    pub fn is_by_flow(&self) -> bool {
        self.marks & BY_FLOW > 0
    }

    /// The same dialog, by its flow or not.
    #[must_use]
    pub fn by_flow(self, by_flow: bool) -> Self {
        let others = self.marks & !BY_FLOW;
        Self { marks: others | (u8::from(by_flow) * BY_FLOW), ..self }
    }

    /// A proxy wants to stay between.
    #[must_use]
    pub fn has_routes(&self) -> bool {
        self.routes.len > 0
    }

    /// The dialog that this one, early, becomes when its 2xx comes, its text in `out` (of which the
    /// second number says how much): target and route set are those of the 2xx, sequence numbers go
    /// on (section 13.2.2.4). Without a readable Contact the early target stays.
    ///
    /// # Errors
    /// [`DialogError`]; `NoDialog` when the response is no 2xx or belongs to another dialog.
    pub fn confirmed_by(
        &self,
        text: &[u8],
        response: &Message<'_>,
        out: &mut [u8],
    ) -> Result<(Self, usize), DialogError> {
        let accepted = response.status().is_some_and(|code| (200..300).contains(&code));
        if !accepted || DialogId::of_response(response) != Some(self.id(text)) {
            return Err(DialogError::NoDialog);
        }
        let contact = readable_contact(response);
        let mut routes = routes_of(response)?;
        routes.reverse();
        let mut block = Block::copy(out, text, self.routes.at)?;
        let dialog = Self {
            confirmed: true,
            target_guessed: self.target_guessed && contact.is_none(),
            routes: block.put_routes(&routes)?,
            target: block.put(contact.unwrap_or_else(|| self.target(text)))?,
            ..*self
        };
        Ok((dialog, block.len))
    }

    /// The dialog with the Contact of `message` as its target (a target refresh: re-INVITE, UPDATE
    /// or their 2xx, section 12.2), whatever its length, its text in `out`, of which the second
    /// value says how much. `None` when the message names no Contact, or the target it already
    /// has.
    ///
    /// # Errors
    /// [`DialogError`]: the Contact cannot be read, or `out` is too small.
    pub fn moved(
        &self,
        text: &[u8],
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Option<(Self, usize)>, DialogError> {
        let Some(uri) = contact_uri(message)? else { return Ok(None) };
        if uri == self.target(text) {
            return Ok(None);
        }
        let mut block = Block::copy(out, text, self.target.at)?;
        let target = block.put(uri)?;
        Ok(Some((Self { target, target_guessed: false, ..*self }, block.len)))
    }

    /// Takes a new remote target from a target refresh (re-INVITE, UPDATE, or their 2xx): section
    /// 12.2.
    ///
    /// # Errors
    /// [`DialogError`] when the Contact is broken or does not fit; the old target stays.
    pub fn refresh_target(
        &mut self,
        text: &mut [u8],
        message: &Message<'_>,
    ) -> Result<(), DialogError> {
        let Some(uri) = contact_uri(message)? else { return Ok(()) };
        let mut block = Block { text, len: usize::from(self.target.at) };
        self.target = block.put(uri)?;
        Ok(())
    }

    /// Begins a request inside the dialog and counts CSeq up (not for ACK, which repeats the
    /// INVITE's number: [`Dialog::ack`]): request line, Via, Route, Max-Forwards, From, To,
    /// Call-ID, CSeq. The caller adds Contact and body and finishes. A broken block comes out of
    /// `finish` as an error.
    pub fn request<'o>(
        &mut self,
        text: &[u8],
        out: &'o mut [u8],
        method: Method<'_>,
        via: &ViaOut<'_>,
    ) -> Writer<'o> {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.write(text, out, method, self.local_cseq, via)
    }

    /// Begins the ACK of a 2xx to the INVITE with this CSeq number (section 13.2.2.4).
    #[must_use]
    pub fn ack<'o>(
        &self,
        text: &[u8],
        out: &'o mut [u8],
        cseq: u32,
        via: &ViaOut<'_>,
    ) -> Writer<'o> {
        self.write(text, out, Method::Ack, cseq, via)
    }

    /// Section 12.2.1.1: a loose first route leaves the target in the request line; a strict one
    /// takes its place there and the target goes to the end of Route.
    fn write<'o>(
        &self,
        text: &[u8],
        out: &'o mut [u8],
        method: Method<'_>,
        cseq: u32,
        via: &ViaOut<'_>,
    ) -> Writer<'o> {
        let (target, routes) = (self.target.of(text), self.routes.of(text));
        let first = self.first_route(text);
        let loose = first.and_then(|r| r.uri().ok()).is_none_or(|uri| uri.is_loose());
        let mut writer = Writer::new(out);
        writer = match first {
            Some(strict) if !loose => {
                let bare = strict.uri.split(|&c| c == b'?').next().unwrap_or_default();
                writer = writer.request_line(method, bare).via(via);
                let mut list = List::new(routes);
                list.next();
                for route in list {
                    writer = writer.field(Name::Route, route);
                }
                writer.address(Name::Route, b"", target, None)
            }
            Some(_) => writer.request_line(method, target).via(via).field(Name::Route, routes),
            None => writer.request_line(method, target).via(via),
        };
        let tagged = |address, tag: &'static [u8]| [Part::Bytes(address), Part::Bytes(tag)];
        let from = tagged(self.local.of(text), if self.local_tag.len > 0 { b";tag=" } else { b"" });
        let to = tagged(self.remote.of(text), if self.remote_tag.len > 0 { b";tag=" } else { b"" });
        writer
            .max_forwards(70)
            .header(Name::From, &[from[0], from[1], self.local_tag.of(text).into()])
            .header(Name::To, &[to[0], to[1], self.remote_tag.of(text).into()])
            .call_id(self.call_id.of(text))
            .cseq(cseq, method)
    }

    /// Checks a request that claims to be in this dialog and takes its CSeq number (section
    /// 12.2.2). The caller has found the dialog by its id and absorbed retransmissions in the
    /// transaction.
    ///
    /// # Errors [`Refusal`]: 481 when tags or Call-ID are others, 500 when the CSeq number is not
    /// above the last (an ACK and a CANCEL repeat the INVITE's).
    pub fn check_request(&mut self, text: &[u8], request: &Message<'_>) -> Result<(), Refusal> {
        let id = self.id(text);
        let claimed = DialogId::of_request(request);
        if claimed != Some(id) {
            return Err(Refusal { code: 481, why: Why::NoDialog });
        }
        let cseq = request.cseq()?;
        if matches!(cseq.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if cseq.number <= self.remote_cseq && self.remote_cseq != 0 {
            return Err(Refusal { code: 500, why: Why::CSeqOrder });
        }
        self.remote_cseq = cseq.number;
        Ok(())
    }

    fn first_route<'t>(&self, text: &'t [u8]) -> Option<NameAddr<'t>> {
        let routes = self.routes.of(text);
        if routes.is_empty() {
            return None;
        }
        List::new(routes).next().and_then(NameAddr::parse)
    }
}

fn is_sips(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.scheme == Scheme::Sips)
}

/// URI of the first Contact; a broken one is an error, none is `None`.
fn contact_uri<'a>(message: &Message<'a>) -> Result<Option<&'a [u8]>, DialogError> {
    let syntax = DialogError::Header(Bad::Syntax(Name::Contact));
    match message.contact() {
        Ok(contact) => match contact.uri() {
            Ok(_) => Ok(Some(contact.uri)),
            Err(_) => Err(syntax),
        },
        Err(Bad::Missing(_)) => Ok(None),
        Err(bad) => Err(bad.into()),
    }
}

/// URI of the first Contact that can be read.
fn readable_contact<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message.contacts().flatten().find(|contact| contact.uri().is_ok()).map(|contact| contact.uri)
}

/// Record-Route values in their order; each must be an address with a URI that parses.
fn routes_of<'a>(message: &Message<'a>) -> Result<ArrayVec<&'a [u8], ROUTES_MAX>, DialogError> {
    let mut routes = ArrayVec::new();
    for value in message.values(Name::RecordRoute) {
        let syntax = DialogError::Header(Bad::Syntax(Name::RecordRoute));
        let address = NameAddr::parse(value).ok_or(syntax)?;
        if !address.bracketed || address.uri().is_err() {
            return Err(syntax);
        }
        routes.try_push(value).map_err(|_| DialogError::TooLarge)?;
    }
    Ok(routes)
}

/// The block being filled.
struct Block<'t> {
    text: &'t mut [u8],
    len: usize,
}

impl<'t> Block<'t> {
    /// A block that begins as `text` does, up to `end`.
    fn copy(out: &'t mut [u8], text: &[u8], end: u16) -> Result<Self, DialogError> {
        let len = usize::from(end);
        let (room, kept) = out.get_mut(..len).zip(text.get(..len)).ok_or(DialogError::TooLarge)?;
        room.copy_from_slice(kept);
        Ok(Self { text: out, len })
    }

    /// Appends one field, folds replaced by spaces.
    fn put(&mut self, bytes: &[u8]) -> Result<Range, DialogError> {
        let at = self.len;
        let room = self.text.get_mut(at..at + bytes.len()).ok_or(DialogError::TooLarge)?;
        room.copy_from_slice(bytes);
        for byte in room.iter_mut().filter(|b| matches!(**b, b'\r' | b'\n' | 0)) {
            *byte = b' ';
        }
        self.len += bytes.len();
        let end = u16::try_from(self.len).map_err(|_| DialogError::TooLarge)?;
        let at = u16::try_from(at).map_err(|_| DialogError::TooLarge)?;
        Ok(Range { at, len: end - at })
    }

    /// `"display" <uri>` without parameters.
    fn put_address(&mut self, address: &NameAddr<'_>) -> Result<Range, DialogError> {
        let start = self.len;
        if !address.display.is_empty() {
            self.put(b"\"")?;
            self.put(address.display)?;
            self.put(b"\" ")?;
        }
        self.put(b"<")?;
        self.put(address.uri)?;
        self.put(b">")?;
        self.since(start)
    }

    fn put_routes(&mut self, routes: &[&[u8]]) -> Result<Range, DialogError> {
        let start = self.len;
        for (at, route) in routes.iter().enumerate() {
            if at > 0 {
                self.put(b", ")?;
            }
            self.put(route)?;
        }
        self.since(start)
    }

    fn since(&self, start: usize) -> Result<Range, DialogError> {
        let at = u16::try_from(start).map_err(|_| DialogError::TooLarge)?;
        let len = u16::try_from(self.len - start).map_err(|_| DialogError::TooLarge)?;
        Ok(Range { at, len })
    }
}
