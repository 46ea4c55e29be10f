//! Requests that are sent again with our credentials (RFC 3261 section 22.2): the same request
//! under a new branch and the next CSeq number, so that it is a transaction of its own. Neither its
//! leg nor anything else that the request was written from is needed: a BYE is sent again after its
//! leg is gone.

use base::LegId;
use sip::{Message, Name, ViaOut, Writer};

use super::super::logins::{LINE_BYTES, Way};
use super::{Cancel, ClientId, Clients, LoginId, Report};
use crate::cx::Cx;

impl Clients {
    /// A 401 or 407 from where the request went. None if it is not to be answered: it is what
    /// became of the request then.
    pub(super) fn challenged(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ClientId,
        (way, message): (Way, &Message<'_>),
    ) -> Option<Report> {
        let entry = self.slab.get_mut(self.index(id)?)?;
        let (method, leg, hop) = (entry.method, entry.leg, entry.hop);
        let (login, tries) = (entry.login, entry.tries);
        // With credentials it is longer.
        let any_size = entry.any_size;
        let unwanted = leg == LegId::NONE || entry.left || !matches!(entry.cancel, Cancel::No);
        let is_for = self.logins.is_for(&cx.core.arena, login, hop.to.ip());
        if login == LoginId::NONE || method.is_invite() && unwanted || !is_for {
            return None;
        }
        // It is read while the new one is made.
        let mut text = core::mem::take(&mut entry.text);
        let mut page = [0; LINE_BYTES];
        let sent = answer_in(cx.core.arena.get(&text), way, &mut page);
        let taken = self.logins.take(cx.core, login, (way, message), (sent, tries));
        let cseq = self.logins.next_cseq(login).filter(|_| taken);
        let again = cseq.and_then(|cseq| {
            let request = (method, leg, hop, cseq);
            let again =
                self.begin_as(cx, request, (login, tries + 1, any_size), |out, core, via| {
                    rewrite(out, core.arena.get(&text), via, cseq)
                });
            again.map(|id| Report::Again { id, cseq })
        });
        match self.index(id).and_then(|index| self.slab.get_mut(index)) {
            Some(entry) => entry.text = text,
            // It made room for the new one.
            None => cx.core.arena.free(&mut text),
        }
        again
    }
}

/// What a request has to answer a challenge of this kind; None if it has nothing.
fn answer_in<'p>(request: &[u8], way: Way, page: &'p mut [u8]) -> Option<&'p [u8]> {
    let value = Message::parse(request).ok()?.header(way.answers())?;
    let room = page.get_mut(..value.len())?;
    room.copy_from_slice(value);
    Some(room)
}

/// The same request with another Via and number, and without credentials.
fn rewrite(out: &mut [u8], text: &[u8], via: &ViaOut<'_>, cseq: u32) -> Option<usize> {
    let request = Message::parse(text).ok()?;
    let method = request.method()?;
    let mut writer = Writer::new(out).request_line(method, request.uri_raw()).via(via);
    for header in request.headers() {
        writer = match header.name {
            Name::CSeq => writer.cseq(cseq, method),
            Name::Via
            | Name::Authorization
            | Name::ProxyAuthorization
            | Name::ContentType
            | Name::ContentLength => writer,
            _ => writer.copy(header),
        };
    }
    let writer = match request.header(Name::ContentType) {
        Some(kind) => writer.content(kind, request.body()),
        None => writer,
    };
    writer.finish().ok().map(<[u8]>::len)
}

/// The credentials of an INVITE in the ACK of its 2xx (section 22.1): an ACK cannot be asked for
/// any.
pub(crate) fn with_credentials<'w>(writer: Writer<'w>, invite: &[u8]) -> Writer<'w> {
    let Ok(invite) = Message::parse(invite) else { return writer };
    [Name::Authorization, Name::ProxyAuthorization].into_iter().fold(writer, |writer, name| {
        invite.headers_named(name).fold(writer, |writer, value| writer.copy_value(name, value))
    })
}
