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
use sip::body::OtherPart;
use sip::{Message, Writer};
use wire::event::{Cause, Party};

use super::{Answer, LegMut, Side, State};
use crate::cx::Core;
use crate::handoff::PeerMessage;
use crate::transport::reply::hex;

/// Bytes of a tail: with a description and its headers a message must hold it.
const TAIL_MAX: usize = 8_192;
/// What a part of it has beside its text: `--B CRLF`, CRLF; and the end: `--B-- CRLF`.
const AROUND: usize = 22;
const DESCRIPTION: &[u8] = b"Content-Type: application/sdp\r\n\r\n";
const TYPE: &[u8] = b"Content-Type: ";

/// The tails of dialled legs. Few have one: they stand here, and no leg has a field for it.
pub(crate) type Tails = BTreeMap<LegId, Stored>;

/// How much of a body beside its description goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// All of it, or the call is refused.
    Whole,
    /// Nothing; a call of which a part is required is refused.
    Nothing,
    /// What can be: an emergency call is refused for none of it.
    Any,
}

impl Passing {
    pub(crate) fn of(is_emergency: bool, passes: bool) -> Self {
        match passes {
            _ if is_emergency => Self::Any,
            true => Self::Whole,
            false => Self::Nothing,
        }
    }
}

/// Whether a call may be dialled on a way that passes parts, or does not.
///
/// # Errors
/// What the caller hears: a part is required that cannot go on, or there is too much of them.
pub(crate) fn judge_parts(
    message: &Message<'_>,
    passing: Passing,
) -> Result<(), (Answer<'static>, Cause)> {
    let Ok(parts) = message.other_parts() else { return Ok(()) };
    let goes = |part: &OtherPart<'_>| passing == Passing::Whole && part.is_plain;
    if passing == Passing::Any {
        return Ok(());
    }
    if parts.iter().any(|part| part.is_required && !goes(part)) {
        return Err((Answer { why: NOT_PASSED, ..Answer::new(415) }, Cause::Protocol));
    }
    if passing == Passing::Whole && size_of(&parts) > TAIL_MAX {
        return Err((Answer { why: TOO_LARGE, ..Answer::new(513) }, Cause::Protocol));
    }
    Ok(())
}

const TOO_LARGE: &str = "the parts of the body are too large to go on";
/// A part says `handling=required` (RFC 5621 section 8).
pub(crate) const NOT_PASSED: &str = "a part of the body is required, and none go on";

impl LegMut<'_, '_> {
    /// Whoever is dialled for this leg may get what its INVITE brings beside the description. Who
    /// hides is not shown by what the telephone network says of him.
    pub(super) fn send_parts(&mut self, to: LegId) {
        let Side::Inbound(side) = &self.leg.side else { return };
        let forced = side.is_emergency;
        if !forced && (!self.leg.signalling.policy.body_parts || side.hides) {
            return;
        }
        let mut page = core::mem::take(&mut self.cx.core.page);
        let boundary = self.cx.core.random.u64();
        let tail = tail_of(boundary, self.cx.core.arena.get(&side.text), &mut page);
        if let Some((len, required)) = tail.filter(|(len, _)| *len > 0) {
            let required = required && !forced;
            self.tell_peer(to, &PeerMessage::Parts { forced, required, tail: &page[..len] });
        }
        self.cx.core.page = page;
    }

    pub(super) fn on_peer_parts(
        &mut self,
        from: LegId,
        (forced, required): (bool, bool),
        tail: &[u8],
    ) {
        let waits = self.leg.state == State::Wanting && self.leg.links.dialed_for == from;
        if !waits || !forced && !self.leg.signalling.policy.body_parts {
            return;
        }
        self.forget_parts();
        match self.cx.core.arena.store(tail) {
            Some(stored) => {
                self.cx.core.tails.insert(self.leg.id, stored);
            }
            None => {
                self.cx.count(wire::counter::Counter::DiscardNoRoom);
                if required {
                    // It is not called without what it must have.
                    self.finish(Cause::Overload, Party::Switch);
                }
            }
        }
    }

    pub(super) fn forget_parts(&mut self) {
        if let Some(mut tail) = self.cx.core.tails.remove(&self.leg.id) {
            self.cx.core.arena.free(&mut tail);
        }
    }
}

/// Bytes of the tail that these parts make.
fn size_of(parts: &[OtherPart<'_>]) -> usize {
    let kind =
        |part: &OtherPart<'_>| part.content_type.map_or(0, |kind| TYPE.len() + kind.len() + 4);
    let each = |part: &OtherPart<'_>| AROUND + kind(part) + part.text.len();
    AROUND + parts.iter().map(each).sum::<usize>()
}

/// Writes the tail of an INVITE: how long it is, 0 without parts, and whether one of them is
/// required. What is too much is left out. None if that is no message.
fn tail_of(boundary: u64, invite: &[u8], out: &mut [u8]) -> Option<(usize, bool)> {
    let message = Message::parse(invite).ok()?;
    let mut parts = message.other_parts().ok()?;
    parts.retain(|part| part.is_plain);
    while size_of(&parts) > TAIL_MAX.min(out.len()) && parts.pop().is_some() {}
    if parts.is_empty() {
        return Some((0, false));
    }
    // Nobody knows the delimiter before it is sent, so that no part has it.
    let mut delimiter = [0; 16];
    hex(boundary, &mut delimiter);
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let end = at + bytes.len();
        out.get_mut(at..end)?.copy_from_slice(bytes);
        at = end;
        Some(())
    };
    for part in &parts {
        for piece in [&b"--"[..], &delimiter, b"\r\n"] {
            put(piece)?;
        }
        if let Some(kind) = part.content_type {
            // A fold is no more than a blank.
            put(TYPE)?;
            kind.split(|byte| matches!(byte, b'\r' | b'\n')).try_for_each(&mut put)?;
            put(b"\r\n\r\n")?;
        }
        put(part.text)?;
        put(b"\r\n")?;
    }
    for piece in [&b"--"[..], &delimiter, b"--\r\n"] {
        put(piece)?;
    }
    Some((at, parts.iter().any(|part| part.is_required)))
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
