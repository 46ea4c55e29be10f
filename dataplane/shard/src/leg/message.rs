//! Requests inside a dialog that are neither its session's nor digits: MESSAGE (RFC 3428) goes on
//! to the other far end, and what that one says comes back; NOTIFY has no subscription here but a
//! referral of ours; OPTIONS says what we take.

use base::LegId;
use core::time::Duration;
use sip::{Message, Name, Part, Reply, reply_to};
use wire::counter::Counter;
use wire::event::Event;

use super::{LegMut, Request};
use crate::handoff::PeerMessage;
use crate::transaction::texts::{Passed, Texts};
use crate::transaction::{Outcome, Report, Sent};
use crate::transport::reply::{ALLOW, ALLOW_NO_MESSAGE};

/// The longest message that goes on, and the longest name of its type, bytes.
const TEXT_MAX: usize = 4_096;
const KIND_MAX: usize = 256;
/// How long the other far end may take to say something: less than whoever asks waits (timer F).
const PATIENCE: Duration = Duration::from_secs(30);

impl LegMut<'_, '_> {
    /// OPTIONS: what we take (RFC 3261 section 11.2).
    pub(super) fn options(&mut self, request: &Request<'_>) {
        let supported = self.leg.signalling.policy.supported();
        self.respond(request, 200, |writer| {
            let writer = writer.field(Name::Allow, ALLOW).field(Name::Supported, supported);
            writer.field(Name::Accept, b"application/sdp, application/dtmf-relay, application/dtmf")
        });
    }

    /// A MESSAGE of the far end: the other one gets it, and says what is answered.
    pub(super) fn message(&mut self, request: &Request<'_>) {
        let Request { message, datagram, .. } = *request;
        let partner = self.leg.links.partner;
        if partner == LegId::NONE {
            // Nobody hears it: not yet, or not any more.
            self.respond_short(request, 480);
            return;
        }
        let kind = message.header(Name::ContentType).unwrap_or_default();
        if message.body().len() > TEXT_MAX || kind.len() > KIND_MAX {
            self.respond_short(request, 413);
            return;
        }
        let has_room = self.transactions.texts.has_room(self.leg.id);
        let Some(server) = has_room.then(|| self.open(request)).flatten() else {
            return self.cx.answer_with(datagram, message, 503, |writer| {
                writer.field(Name::RetryAfter, b"5")
            });
        };
        let head = datagram.bytes.len().saturating_sub(message.body().len());
        let head = datagram.bytes.get(..head).and_then(|head| self.cx.core.arena.store(head));
        let Some(head) = head else {
            self.cx.count(Counter::DiscardNoRoom);
            return self.unheard(server, message);
        };
        let until = self.cx.now.mono + PATIENCE;
        let number = self.transactions.texts.begin(self.leg.id, (server, head), until);
        let body = message.body();
        self.tell_peer(partner, &PeerMessage::Text { number, kind, body });
    }

    /// The other far end has sent a message: ours gets it, if it takes any.
    pub(super) fn on_peer_text(&mut self, from: LegId, number: u32, kind: &[u8], body: &[u8]) {
        if let Err(code) = self.pass_text((from, number), kind, body) {
            self.tell_peer(from, &PeerMessage::TextSaid { number, code });
        }
    }

    fn pass_text(
        &mut self,
        (from, number): (LegId, u32),
        kind: &[u8],
        body: &[u8],
    ) -> Result<(), u16> {
        if self.leg.links.partner != from {
            return Err(480);
        }
        if !self.leg.signalling.allows_message {
            return Err(405);
        }
        if !self.may_take_transaction() {
            return Err(503);
        }
        let sent = self.ask(Sent::Message, |writer, _| match body.is_empty() {
            true => writer.finish().ok().map(<[u8]>::len),
            false => writer.content(kind, body).finish().ok().map(<[u8]>::len),
        });
        let id = sent.ok_or(503_u16)?;
        let passed = Passed { leg: self.leg.id, id, from, number };
        match self.transactions.texts.pass(passed) {
            true => Ok(()),
            false => {
                self.transactions.clients.orphan(self.cx.core, id);
                Err(503)
            }
        }
    }

    /// What our far end said to a message of the other's.
    pub(super) fn text_outcome(&mut self, outcome: &Outcome) {
        let code = match outcome.report {
            Report::Response(..200) | Report::Again { .. } | Report::MovedBack => return,
            // We are asked for what we do not have: that is nobody else's.
            Report::Response(401 | 407) => 403,
            Report::Response(code) => told_on(code),
            Report::Timeout | Report::Unreachable => 500,
        };
        if let Some(Passed { from, number, .. }) = self.transactions.texts.answered(outcome.id) {
            self.tell_peer(from, &PeerMessage::TextSaid { number, code });
        }
    }

    /// What the other far end said to a message of ours.
    pub(crate) fn text_said(&mut self, number: u32, code: u16) {
        let Some(heard) = self.transactions.texts.take(self.leg.id, number) else { return };
        let source = self.transactions.servers.hop(heard.server).map(|hop| hop.to);
        let frame = self.cx.compose(|out, core| {
            let parsed = Message::parse(core.arena.get(&heard.head));
            let message = match &parsed {
                Ok(message) => message,
                // Its body is left out.
                Err(malformed) => malformed.partial(),
            };
            let writer = reply_to(out, message, &Reply::new(code, None, source));
            let writer = match code {
                405 => writer.field(Name::Allow, ALLOW_NO_MESSAGE),
                503 => writer.field(Name::RetryAfter, b"5"),
                _ => writer,
            };
            writer.finish().ok().map(<[u8]>::len)
        });
        let server = Texts::free(heard, &mut self.cx.core.arena);
        match frame {
            Some(frame) => {
                self.transactions.servers.send(&mut self.cx, server, code, frame);
            }
            None => self.transactions.servers.end(self.cx.core, server),
        }
    }

    /// Messages that are under way when the leg ends.
    pub(super) fn forget_texts(&mut self) {
        while let Some(heard) = self.transactions.texts.take_any(self.leg.id) {
            let server = Texts::free(heard, &mut self.cx.core.arena);
            self.transactions.servers.end(self.cx.core, server);
        }
        while let Some(passed) = self.transactions.texts.take_passed(self.leg.id) {
            self.transactions.clients.orphan(self.cx.core, passed.id);
            let Passed { from, number, .. } = passed;
            self.tell_peer(from, &PeerMessage::TextSaid { number, code: 480 });
        }
    }

    /// A NOTIFY: of a referral of ours (RFC 3515 section 2.4.4), or of no subscription at all (RFC
    /// 6665 section 4.1.3).
    pub(super) fn notified(&mut self, request: &Request<'_>) {
        let message = request.message;
        let event = message.header(Name::Event).unwrap_or_default();
        let event = event.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_ours = event.eq_ignore_ascii_case(b"refer");
        if !is_ours || !self.transactions.asked.is_open(self.leg.id) {
            self.respond_short(request, 481);
            return;
        }
        if !self.respond_short(request, 200) {
            return;
        }
        let code = fragment_status(message.body());
        let state = message.header(Name::SubscriptionState).unwrap_or_default();
        let is_over = state.get(..10).is_some_and(|it| it.eq_ignore_ascii_case(b"terminated"));
        if code < 200 && !is_over {
            return;
        }
        self.transactions.asked.end(self.leg.id);
        self.tell_said(0, if code < 200 { 480 } else { code });
    }

    /// Refers our far end to somebody else.
    pub(super) fn refer_to(&mut self, to: &str) {
        let is_clean = !to.bytes().any(|byte| byte <= b' ' || matches!(byte, b'<' | b'>' | 0x7f));
        let is_uri = is_clean && sip::Uri::parse(to.as_bytes()).is_ok();
        if self.transactions.asked.is_open(self.leg.id) {
            return;
        }
        if self.leg.state != super::State::Standing || !is_uri {
            return self.tell_said(if is_uri { 481 } else { 400 }, 0);
        }
        if !self.transactions.asked.has_room() {
            return self.tell_said(503, 0);
        }
        let sent = self.ask(Sent::Refer, |writer, _| {
            let target = [Part::Bytes(b"<"), Part::Bytes(to.as_bytes()), Part::Bytes(b">")];
            writer.header(Name::ReferTo, &target).finish().ok().map(<[u8]>::len)
        });
        let begun = sent.is_some_and(|id| self.transactions.asked.begin(self.leg.id, id));
        if !begun {
            self.tell_said(503, 0);
        }
    }

    /// What our far end said to a REFER of ours.
    pub(super) fn refer_outcome(&mut self, outcome: &Outcome) {
        if !self.transactions.asked.is(self.leg.id, outcome.id) {
            return;
        }
        let code = match outcome.report {
            Report::Response(..200) | Report::Again { .. } | Report::MovedBack => return,
            Report::Response(code) => code,
            Report::Timeout | Report::Unreachable => 408,
        };
        if code >= 300 {
            self.transactions.asked.end(self.leg.id);
        }
        self.tell_said(code, 0);
    }

    fn tell_said(&mut self, code: u16, notified: u16) {
        let (call, at) = (self.leg.story.call, self.stamp());
        self.cx.emit_optional(&Event::ReferSaid { call, at, code, notified });
    }

    /// An INFO of a package: we have none (RFC 6086 section 4.2.2).
    pub(super) fn foreign_package(&mut self, request: &Request<'_>) {
        self.respond(request, 469, |writer| writer.field(Name::RecvInfo, b""));
    }
}

/// The status that a fragment of a response tells (RFC 3420); 0 for none.
fn fragment_status(body: &[u8]) -> u16 {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let code = line.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.get(..3));
    let code = code.and_then(|code| core::str::from_utf8(code).ok()?.parse().ok());
    code.filter(|code| (100..700).contains(code)).unwrap_or(0)
}

/// What a refusal of a MESSAGE is told as: what says something of the message alone goes on as it
/// is. What would end the other side's dialog, or its use of it (RFC 5057 section 5.1), is 500: it
/// speaks of a dialog that the other side does not have.
const fn told_on(code: u16) -> u16 {
    match code {
        200..300 | 400 | 403 | 406 | 413..=417 | 420..=423 | 428..=438 | 486 | 488 | 493 | 494 => {
            code
        }
        500 | 505 | 513 | 600 | 603 | 606 => code,
        _ => 500,
    }
}
