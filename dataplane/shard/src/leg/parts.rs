//! Parts of an INVITE's body beside its description: signalling of the telephone network (ISUP),
//! where a caller is (PIDF-LO, RFC 6442), lists. They go on as they came, behind our description,
//! where both trunks say so, and with every emergency call; else they are left out.
//!
//! ```text
//!   --B CRLF  Content-Type: application/sdp CRLF CRLF  description CRLF
//!   --B CRLF  a part as it came CRLF                                      \  kept as one text:
//!   ..                                                                     >  the tail
//!   --B-- CRLF                                                            /
//! ```

use std::collections::BTreeMap;

use base::{LegId, Stored};
use sip::{Message, Writer};
use wire::event::Cause;

use super::{Answer, LegMut, Side, State};
use crate::cx::Core;
use crate::handoff::PeerMessage;
use crate::transport::reply::hex;

/// Bytes of a tail: with a description and its headers a message must hold it.
const TAIL_MAX: usize = 10_240;
const DESCRIPTION: &[u8] = b"Content-Type: application/sdp\r\n\r\n";

/// The tails of dialled legs. Few have one: they stand here, and no leg has a field for it.
pub(crate) type Tails = BTreeMap<LegId, Stored>;

/// Whether a call may be dialled on a way that passes parts, or does not.
///
/// # Errors
/// What the caller hears: a part is required that cannot go on, or there is too much of them.
pub(crate) fn judge_parts(
    message: &Message<'_>,
    passes: bool,
) -> Result<(), (Answer<'static>, Cause)> {
    let Ok(parts) = message.other_parts() else { return Ok(()) };
    if passes {
        let bytes: usize = parts.iter().map(|part| part.text.len() + 32).sum();
        let answer = Answer { why: TOO_LARGE, ..Answer::new(513) };
        return if bytes < TAIL_MAX { Ok(()) } else { Err((answer, Cause::Protocol)) };
    }
    match parts.iter().any(|part| part.is_required) {
        true => Err((Answer { why: NOT_PASSED, ..Answer::new(415) }, Cause::Protocol)),
        false => Ok(()),
    }
}

const TOO_LARGE: &str = "the parts of the body are too large to go on";
/// A part says `handling=required` (RFC 5621 section 8).
pub(crate) const NOT_PASSED: &str = "a part of the body is required, and none go on";

impl LegMut<'_, '_> {
    /// Whoever is dialled for this leg may get what its INVITE brings beside the description.
    pub(super) fn send_parts(&mut self, to: LegId) {
        let Side::Inbound(side) = &self.leg.side else { return };
        let forced = side.is_emergency;
        if !forced && !self.leg.signalling.policy.body_parts {
            return;
        }
        let mut page = core::mem::take(&mut self.cx.core.page);
        let len = tail_of(self.cx.core, self.cx.core.arena.get(&side.text), &mut page);
        if let Some(len) = len.filter(|len| *len > 0) {
            self.tell_peer(to, &PeerMessage::Parts { forced, tail: &page[..len] });
        }
        self.cx.core.page = page;
    }

    pub(super) fn on_peer_parts(&mut self, from: LegId, forced: bool, tail: &[u8]) {
        let waits = self.leg.state == State::Wanting && self.leg.links.dialed_for == from;
        if !waits || !forced && !self.leg.signalling.policy.body_parts {
            return;
        }
        self.forget_parts();
        match self.cx.core.arena.store(tail) {
            Some(stored) => {
                self.cx.core.tails.insert(self.leg.id, stored);
            }
            None => self.cx.count(wire::counter::Counter::DiscardNoRoom),
        }
    }

    pub(super) fn forget_parts(&mut self) {
        if let Some(mut tail) = self.cx.core.tails.remove(&self.leg.id) {
            self.cx.core.arena.free(&mut tail);
        }
    }
}

/// Writes the tail of an INVITE; how long it is, 0 without parts. None if it does not fit.
fn tail_of(core: &Core<'_>, invite: &[u8], out: &mut [u8]) -> Option<usize> {
    let message = Message::parse(invite).ok()?;
    let parts = message.other_parts().ok().filter(|parts| !parts.is_empty())?;
    // Nobody knows the delimiter before it is sent, so that no part has it.
    let mut boundary = [0; 16];
    hex(sip::key::call_hash(message.call_id().ok()?, &core.plan.keys.token), &mut boundary);
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let end = at + bytes.len();
        out.get_mut(at..end).filter(|_| end <= TAIL_MAX)?.copy_from_slice(bytes);
        at = end;
        Some(())
    };
    for part in parts {
        for piece in [&b"--"[..], &boundary, b"\r\n", part.text, b"\r\n"] {
            put(piece)?;
        }
    }
    for piece in [&b"--"[..], &boundary, b"--\r\n"] {
        put(piece)?;
    }
    Some(at)
}

/// Completes an INVITE with our description and what goes with it.
pub(super) fn write_content<'w>(
    writer: Writer<'w>,
    (core, leg): (&Core<'_>, LegId),
    description: &[u8],
) -> Writer<'w> {
    let tail = core.tails.get(&leg).map_or(&b""[..], |tail| core.arena.get(tail));
    let Some(boundary) = tail.get(2..18) else {
        return writer.content(b"application/sdp", description);
    };
    let begin: [&[u8]; 4] = [b"--", boundary, b"\r\n", DESCRIPTION];
    let [a, b, c, d] = begin;
    let body = [a, b, c, d, description, b"\r\n", tail];
    writer.content_of(&[b"multipart/mixed;boundary=", boundary], &body)
}
