//! What a far end says beside the status by which it refuses a call: why (Reason, RFC 3326, RFC
//! 6432), and, where somebody on the way has blocked it, who that is and where to complain: the
//! Call-Info of 608 (RFC 8688), and the phrase "Network Blocked" of 603 with what stands in its
//! Reason. The caller hears it whole, and the controlplane is told of it.
//!
//! ```text
//!   phrase CRLF              empty where it says nothing
//!   Reason: value CRLF       each of them
//!   Call-Info: value CRLF    each of them
//! ```

use std::collections::BTreeMap;

use base::{LegId, Stored};
use sip::{Message, Name, Writer};
use wire::event::Event;

use super::{Leg, LegMut, Side, identity};
use crate::cx::Core;
use crate::handoff::PeerMessage;
use crate::usage::text;

/// Bytes of what is kept of a refusal: header lines that do not fit are left out.
const SAID_MAX: usize = 2_048;
/// Bytes of a phrase that is passed on.
const PHRASE_MAX: usize = 64;

/// What was said in refusing the call of a leg that waits. Few refusals say more than their status:
/// they stand here, and no leg has a field for it.
pub(crate) type Refusals = BTreeMap<LegId, Refusal>;

#[derive(Debug)]
pub(crate) struct Refusal {
    /// The dialled leg that was refused.
    from: LegId,
    code: u16,
    said: Stored,
}

impl LegMut<'_, '_> {
    /// The far end refuses the call for good: what it says is told, and goes to whoever waits.
    pub(super) fn tell_refusal(&mut self, code: u16, message: &Message<'_>) {
        let mut said = [0; SAID_MAX];
        let len = said_by(code, message, &mut said);
        self.tell_moved(code, message, (&mut said, len));
        let said = text(&said[..len]);
        let peer = self.leg.links.dialed_for;
        if !said.is_empty() && peer != LegId::NONE {
            self.tell_peer(peer, &PeerMessage::Declined { code, said });
        }
    }

    /// The words of a refusal; of a redirection with where it leads, which the controlplane alone
    /// hears: nobody is called by the caller.
    fn tell_moved(&mut self, code: u16, message: &Message<'_>, (said, len): (&mut [u8], usize)) {
        let mut at = len.max(2);
        if code < 400 && self.leg.outbound().is_some_and(|side| !side.by_route) {
            if len == 0 {
                said[..2].copy_from_slice(b"\r\n");
            }
            let contacts = message.values(Name::Contact);
            at = contacts.fold(at, |at, value| identity::put(said, at, (b"Contact", value)));
        }
        self.tell_words(code, text(&said[..if at > 2 { at } else { len }]));
    }

    /// The far end gives a reason for what it ends.
    pub(super) fn tell_reason(&mut self, message: &Message<'_>) {
        let mut said = [0; SAID_MAX];
        let len = said_by(0, message, &mut said);
        self.tell_words(0, text(&said[..len]));
    }

    fn tell_words(&mut self, code: u16, said: &str) {
        if !said.is_empty() {
            let (call, at) = (self.leg.story.call, self.stamp());
            self.cx.emit_optional(&Event::Declined { call, at, code, said });
        }
    }

    /// A leg that was dialled for this one was refused with these words.
    pub(super) fn on_peer_declined(&mut self, from: LegId, code: u16, said: &str) {
        if !self.leg.is_waiting() || !self.leg.links.children.contains(&from) {
            return;
        }
        self.forget_refusal();
        match self.cx.core.arena.store(said.as_bytes()) {
            Some(said) => {
                self.cx.core.refusals.insert(self.leg.id, Refusal { from, code, said });
            }
            None => self.cx.count(wire::counter::Counter::DiscardNoRoom),
        }
    }

    /// Another leg than the one that said something has come to nothing: what the caller hears is
    /// of that one.
    pub(super) fn forget_refusal_before(&mut self, from: LegId) {
        if self.cx.core.refusals.get(&self.leg.id).is_some_and(|known| known.from != from) {
            self.forget_refusal();
        }
    }

    pub(super) fn forget_refusal(&mut self) {
        if let Some(mut refusal) = self.cx.core.refusals.remove(&self.leg.id) {
            self.cx.core.arena.free(&mut refusal.said);
        }
    }

    /// The caller is refused with this status: what goes with it is told of his leg, too.
    pub(super) fn tell_passed_on(&mut self, status: u16) {
        let mut copy = [0; SAID_MAX];
        let said = said_with(self.cx.core, self.leg, status);
        let len = said.len().min(copy.len());
        copy[..len].copy_from_slice(&said.as_bytes()[..len]);
        self.tell_words(status, text(&copy[..len]));
    }
}

/// What goes with this status to the leg's caller; empty for nothing.
fn said_with<'c>(core: &'c Core<'_>, leg: &Leg, status: u16) -> &'c str {
    // What a stranger gets his request must have paid for.
    let waits = matches!(leg.side, Side::Inbound(_)) && !leg.is_stranger();
    let refusal = core.refusals.get(&leg.id).filter(|_| waits && status >= 400);
    let refusal = refusal.filter(|known| wire::status::passed_on(known.code) == status);
    refusal.map_or("", |known| text(core.arena.get(&known.said)))
}

/// The phrase of a refusal with this status that a far end has said, empty for the usual one.
pub(super) fn phrase_with<'c>(core: &'c Core<'_>, leg: &Leg, status: u16) -> &'c [u8] {
    said_with(core, leg, status).split("\r\n").next().unwrap_or_default().as_bytes()
}

/// Writes the headers that go with this status.
pub(super) fn write_with<'w>(
    writer: Writer<'w>,
    (core, leg): (&Core<'_>, &Leg),
    status: u16,
) -> Writer<'w> {
    let lines = said_with(core, leg, status).split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(": ")).fold(writer, |writer, (name, value)| {
        writer.header_text(name.as_bytes(), &[sip::Part::Bytes(value.as_bytes())])
    })
}

/// What a message says beside its status, as it is kept; how long that is, 0 for nothing.
fn said_by(code: u16, message: &Message<'_>, out: &mut [u8]) -> usize {
    // Who blocks: the network behind (608, and 603 of North America), or the callee (607).
    let blocks = matches!(code, 603 | 607 | 608);
    let phrase = Some(message.reason()).filter(|phrase| blocks && is_phrase(phrase));
    let phrase = phrase.filter(|it| *it != sip::reason_phrase(code).as_bytes()).unwrap_or_default();
    out[..phrase.len()].copy_from_slice(phrase);
    out[phrase.len()..phrase.len() + 2].copy_from_slice(b"\r\n");
    let begin = phrase.len() + 2;
    let mut at = begin;
    for name in [Name::Reason, Name::CallInfo] {
        let passes = name == Name::Reason || blocks;
        for header in message.headers().filter(|header| passes && header.name == name) {
            at = identity::put(out, at, (name.text().as_bytes(), header.value));
        }
    }
    if at == begin && phrase.is_empty() { 0 } else { at }
}

/// Short, and nothing that a line cannot have.
fn is_phrase(phrase: &[u8]) -> bool {
    let is_clean = phrase.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
    is_clean && phrase.len() <= PHRASE_MAX && core::str::from_utf8(phrase).is_ok()
}
