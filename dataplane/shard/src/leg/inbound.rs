//! The incoming side: an INVITE's answers, its ACK and its CANCEL.

use base::{LegId, Now};
use core::net::SocketAddr;
use core::time::Duration;
use sip::{Message, Name, Part, Reply, reply_to};
use wire::event::{Cause, Event, Incoming, Party};

use super::offer::BadOffer;
use super::place::Claimant;
use super::timers::Timer;
use super::{Accepted, Due, Leg, LegMut, Move, Side, identity};
use crate::cx::Core;
use crate::transport::reply::{ALLOW, contact, warning_of};
use crate::usage::{cut, text};
use crate::watch;

/// A final or provisional response to the INVITE of a leg. Its description, where it has one, is
/// what the leg's offer/answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) code: u16,
    pub(crate) reason: &'a str,
    /// Seconds, 0 for no Retry-After.
    pub(crate) retry_after: u32,
    pub(crate) described: bool,
    /// The text of a Warning, empty for none.
    pub(crate) why: &'a str,
    /// The number of one that is to be acknowledged; 0 for none that is.
    pub(crate) rseq: u32,
    /// Of a redirection: one contact a line.
    pub(crate) contacts: &'a str,
}

impl Answer<'static> {
    pub(crate) const fn new(code: u16) -> Self {
        Self { code, reason: "", retry_after: 0, described: false, why: "", rseq: 0, contacts: "" }
    }

    /// With our description.
    pub(crate) const fn described(code: u16) -> Self {
        Self { described: true, ..Self::new(code) }
    }
}

/// Why a new call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) cause: Cause,
    /// For people: the Warning's text, empty for none.
    pub(crate) why: &'static str,
    /// What a 422 must name (RFC 4028 section 6), seconds; 0 for nothing.
    pub(crate) min_se: u32,
}

impl Refused {
    pub(crate) const fn new(code: u16, cause: Cause) -> Self {
        Self { code, cause, why: "", min_se: 0 }
    }
}

impl From<BadOffer> for Refused {
    fn from(bad: BadOffer) -> Self {
        let BadOffer { code, cause, why } = bad;
        Self { code, cause, why, min_se: 0 }
    }
}

/// What was found good in an INVITE before anything was spent on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) offer: Option<&'a [u8]>,
    pub(crate) session: Option<sip::session::Agreed>,
}

impl LegMut<'_, '_> {
    /// The call is ours: 100 Trying, then the controlplane is asked. (A static route was told
    /// before.)
    pub(crate) fn begin(&mut self, message: &Message<'_>, user: &str) {
        self.cx.heard(message);
        if !self.leg.is_stranger() {
            self.reply(&Answer::new(100));
        }
        if self.leg.route().is_some() {
            self.leg.deadlines.clear(Timer::Hold);
            if self.place() != LegId::NONE {
                let source = self.cx.core.source_of(self.leg);
                self.want_place(Claimant::Source(source));
            }
            return;
        }
        let mut extra = [0; 8_192];
        let len = identity::extension_headers(message, &mut extra);
        let mut forwards = [0; 1_024];
        let (forwarded, forward_count) = identity::forwards(message, &mut forwards);
        let mut name = [0; 256];
        let (from, to) = (message.from(), message.to());
        let name = from.as_ref().ok().and_then(|from| from.display_value(&mut name));
        let incoming = Incoming {
            call: self.leg.story.call,
            leg: self.leg.id,
            at: self.cx.now.wall,
            listener: self.leg.signalling.hop.via.listener(),
            source: self.leg.signalling.hop.to,
            uri: cut(text(message.uri_raw())),
            from: cut(from.as_ref().map_or("", |from| text(from.uri))),
            from_name: cut(text(name.unwrap_or_default())),
            to: cut(to.as_ref().map_or("", |to| text(to.uri))),
            call_id: cut(text(message.call_id().unwrap_or_default())),
            diversion: cut(text(identity::diversion(message))),
            headers: text(&extra[..len]),
            user,
            replaces: self.place(),
            forwards: text(&forwards[..forwarded]),
            forward_count,
        };
        self.cx.emit_event(&Event::Incoming(incoming));
    }

    /// Sends a response to the leg's INVITE. False if it could not be written, or came too late.
    pub(crate) fn reply(&mut self, answer: &Answer<'_>) -> bool {
        let tag = self.tag();
        let leg = &*self.leg;
        let Side::Inbound(side) = &leg.side else { return false };
        let invite = side.invite;
        let mut cseq = 0;
        let frame = self.cx.compose(|out, core| {
            let message = Message::parse(core.arena.get(&side.text)).ok()?;
            cseq = message.cseq().map_or(0, |cseq| cseq.number);
            write_reply(out, core, leg, (&message, &tag), answer)
        });
        let Some(frame) = frame else { return false };
        if self.leg.is_stranger() && answer.code >= 200 {
            return self.reply_once(frame, invite, answer.code);
        }
        let success = (200..300).contains(&answer.code);
        if success && !self.accept(frame, invite, cseq) {
            self.cx.discard(frame, wire::counter::Counter::DiscardNoRoom);
            return false;
        }
        let sent = self.transactions.servers.send(&mut self.cx, invite, answer.code, frame);
        if sent.is_some()
            && answer.code >= 200
            && let Side::Inbound(side) = &mut self.leg.side
        {
            self.leg.story.code = answer.code;
            side.reliable.answered();
            self.cx.core.arena.free(&mut side.text);
        }
        sent.is_some()
    }

    /// The final answer of a stranger: paid by its request, sent once, forgotten.
    fn reply_once(
        &mut self,
        frame: base::Frame,
        invite: crate::transaction::ServerId,
        code: u16,
    ) -> bool {
        let Side::Inbound(side) = &mut self.leg.side else { return false };
        let request = self.cx.core.arena.get(&side.text).len();
        self.leg.story.code = code;
        self.cx.core.arena.free(&mut side.text);
        let hop = self.transactions.servers.hop(invite);
        self.transactions.servers.end(self.cx.core, invite);
        let source = self.leg.signalling.hop.to;
        let answer = usize::from(frame.len);
        match hop.filter(|_| self.cx.core.guard.pay(source, request, answer)) {
            Some(hop) => self.cx.send_sip(hop, Some(frame)),
            None => self.cx.discard(frame, wire::counter::Counter::DiscardSipBudget),
        }
        true
    }

    /// A 2xx of ours is on its way in this transaction: it is kept and repeated until its ACK
    /// comes. False if there is no room to keep it.
    pub(crate) fn accept(
        &mut self,
        frame: base::Frame,
        server: crate::transaction::ServerId,
        cseq: u32,
    ) -> bool {
        let timers = self.cx.core.sip_timers();
        let Some(hop) = self.transactions.servers.hop(server) else { return false };
        let Some(text) = self.cx.core.arena.store(self.cx.frames.bytes(frame)) else {
            return false;
        };
        self.forget_accepted();
        let machine = sip::txn::Accepted2xx::new(self.cx.now.mono, &timers);
        self.leg.signalling.accepted =
            Some(Accepted { machine, text, hop, server, cseq, repeats: 0 });
        true
    }

    /// Nothing waits for an ACK any more.
    pub(crate) fn forget_accepted(&mut self) {
        if let Some(mut accepted) = self.leg.signalling.accepted.take() {
            self.cx.core.arena.free(&mut accepted.text);
            self.transactions.servers.heard(self.cx.core, accepted.server);
        }
    }

    /// Answers the incoming leg with our description: from now on it is billed.
    pub(crate) fn answer(&mut self) -> bool {
        if !self.reply(&Answer::described(200)) {
            // Nothing was sent: it is not answered, and nobody is billed.
            self.refuse(&Answer::new(500), Cause::Internal, Party::Switch);
            return false;
        }
        self.leg.advance(Move::Accept);
        self.forget_refusal();
        self.leg.story.answered = self.stamp();
        self.leg.deadlines.clear(Timer::Hold);
        self.leg.deadlines.clear(Timer::Setup);
        if let Some(dialog) = self.leg.signalling.dialog.as_mut() {
            dialog.confirmed = true;
        }
        self.on_answered();
        self.session_agreed(self.leg.session.agreed);
        true
    }

    /// Both kinds of leg: the call is up. Its limit runs, its usage is metered, it is told.
    pub(crate) fn on_answered(&mut self) {
        let now = self.cx.now;
        let (call, leg) = (self.leg.story.call, self.leg.id);
        if self.leg.limit_ms > 0 {
            let limit = Duration::from_millis(u64::from(self.leg.limit_ms));
            self.leg.deadlines.set(Timer::Limit, now.mono + limit);
        }
        self.leg.signalling.spoke_at = now.mono;
        self.media.start_watch(leg, now.mono);
        let speaks = self.media.stream(leg).is_some_and(|stream| stream.receives);
        self.leg.story.due = Due::NOTHING;
        self.leg.story.due.set(speaks, now.mono);
        crate::usage::refresh(&self.cx, self.leg, self.media);
        self.record();
        let at = self.stamp();
        self.cx.emit_event(&Event::Answered { call, leg, at });
    }

    /// Answers an incoming leg for itself: it stands alone and hears silence, or goes on hearing
    /// the early media of whoever is dialled for it.
    pub(crate) fn answer_for_itself(&mut self, limit_ms: u32) {
        if !self.leg.is_waiting() {
            return;
        }
        self.leg.limit_ms = limit_ms;
        if self.must_wait() {
            return self.hold_own();
        }
        let described = match (self.is_offerless(), self.leg.offer.is_described()) {
            // Early media was described: that stays the answer (RFC 3261 section 13.2.1).
            (_, true) => Ok(()),
            (true, false) => self.offer_own(),
            (false, false) => self.answer_alone(),
        };
        match described {
            Ok(()) => {
                if self.answer() && self.leg.links.early == LegId::NONE {
                    self.stand_alone();
                }
            }
            Err(bad) => self.refuse_offer(bad),
        }
    }

    /// Refuses the call for what its description is.
    pub(crate) fn refuse_offer(&mut self, bad: BadOffer) {
        let answer = Answer { why: bad.why, ..Answer::new(bad.code) };
        self.refuse(&answer, bad.cause, Party::Switch);
    }

    /// An ACK in this dialog.
    pub(crate) fn acknowledged(&mut self, message: &Message<'_>) {
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let Some(accepted) = self.leg.signalling.accepted.as_mut() else { return };
        if accepted.cseq != number {
            // A copy of an older one, late.
            return self.cx.count(wire::counter::Counter::DiscardSipStray);
        }
        self.cx.heard(message);
        let Some(accepted) = self.leg.signalling.accepted.as_mut() else { return };
        let _ = accepted.machine.handle_ack();
        self.forget_accepted();
        self.hears_us();
        self.leg.signalling.spoke_at = self.cx.now.mono;
        if self.leg.is_over() {
            // Ended while the ACK was on its way: now BYE may go (RFC 3261 section 15).
            return self.send_bye();
        }
        let first = self.leg.state == super::State::Answering;
        if first {
            self.leg.advance(Move::Acknowledge);
        }
        if self.leg.offer.is_open() && !self.late_answer(message, first) {
            return;
        }
        self.align();
    }

    /// The far end has returned what was sent to its host alone.
    pub(super) fn hears_us(&mut self) {
        if let Side::Inbound(side) = &mut self.leg.side
            && core::mem::take(&mut side.is_unheard)
        {
            self.media.signalling_hears(self.leg.id);
        }
    }

    /// The ACK of a 200 that carried our offer: it carries the answer. False if the call is over.
    fn late_answer(&mut self, message: &Message<'_>, first: bool) -> bool {
        let sdp = message.sdp().readable().unwrap_or_default();
        if sdp.is_empty() && !first {
            // What was agreed before holds.
            self.leg.offer.refused(&mut self.cx.core.arena);
            return true;
        }
        match self.take_answer(sdp, true) {
            Ok(()) => {
                self.changed();
                true
            }
            Err(bad) => {
                self.hang_up(bad.cause, Party::Switch);
                false
            }
        }
    }

    /// The caller gave up before an answer.
    pub(crate) fn canceled(&mut self, message: &Message<'_>) {
        if self.leg.is_waiting() {
            self.keep_reason(message);
            if !self.leg.is_stranger() {
                self.tell_reason(message);
            }
            self.reply(&Answer::new(487));
            self.finish(Cause::Canceled, Party::Remote);
        }
    }

    /// The account of the call is known: whoever is told of its messages hears of those before.
    pub(crate) fn tell_begin(&mut self) {
        self.cx.core.watch.enter(self.leg);
        let Side::Inbound(side) = &self.leg.side else { return };
        if !self.cx.core.watch.is_at_work() {
            return;
        }
        let was_stranger = side.is_stranger;
        let mut page = core::mem::take(&mut self.cx.core.page);
        let invite = self.cx.core.arena.get(&side.text);
        let (room, out) = page.split_at_mut_checked(invite.len()).unwrap_or_default();
        if room.len() == invite.len() {
            room.copy_from_slice(invite);
        }
        if let Ok(message) = Message::parse(room) {
            let now = Now { wall: self.leg.story.created, ..self.cx.now };
            watch::tell(self.cx.core, now, &message, false);
            let (tag, trying) = (self.tag(), Answer::new(100));
            // A stranger's comes now.
            let said = write_reply(out, self.cx.core, self.leg, (&message, &tag), &trying);
            let said = said.filter(|_| !was_stranger).and_then(|len| out.get(..len));
            if let Some(Ok(trying)) = said.map(Message::parse) {
                watch::tell(self.cx.core, now, &trying, true);
            }
        }
        self.cx.core.page = page;
    }

    /// Refuses an incoming leg that was not answered yet.
    pub(crate) fn refuse(&mut self, answer: &Answer<'_>, cause: Cause, by: Party) {
        if self.leg.is_waiting() {
            if by == Party::Switch {
                // What others said is not why.
                self.forget_refusal();
            }
            self.tell_passed_on(answer.code);
            self.reply(answer);
            self.finish(cause, by);
        }
    }

    /// The leg of a dialled one that its far end is not answered yet, or hears nobody else.
    pub(crate) fn hears_nobody(&self) -> bool {
        self.leg.links.partner == LegId::NONE
    }
}

fn write_reply(
    out: &mut [u8],
    core: &Core<'_>,
    leg: &Leg,
    (message, tag): (&Message<'_>, &[u8]),
    answer: &Answer<'_>,
) -> Option<usize> {
    let source: SocketAddr = leg.signalling.hop.to;
    // The far end's own word goes before ours.
    let phrase = super::refusal::phrase_with(core, leg, answer.code);
    let reply = Reply {
        code: answer.code,
        reason: if phrase.is_empty() { answer.reason.as_bytes() } else { phrase },
        to_tag: Some(tag),
        source: Some(source),
    };
    let mut writer = reply_to(out, message, &reply);
    if answer.code > 100 && answer.code < 300 {
        writer = contact(writer, leg.named(core));
        writer = writer.field(Name::Allow, ALLOW);
    }
    if answer.rseq > 0 {
        writer = writer.field(Name::Require, b"100rel");
        writer = writer.header(Name::RSeq, &[Part::Number(u64::from(answer.rseq))]);
    }
    if answer.code == 200 {
        writer = writer.field(Name::Supported, leg.signalling.policy.supported());
        writer = writer.with(leg.session.agreed, |writer, agreed| agreed.write_response(writer));
    }
    writer = super::refusal::write_with(writer, (core, leg), answer.code);
    for contact in answer.contacts.lines() {
        writer = writer.field(Name::Contact, contact.as_bytes());
    }
    if answer.retry_after > 0 {
        let seconds = Part::Number(u64::from(answer.retry_after));
        writer = writer.header(Name::RetryAfter, &[seconds]);
    }
    if !answer.why.is_empty() {
        writer = warning_of(writer, answer.why);
    }
    let sdp = leg.offer.to_send().filter(|_| answer.described);
    let writer = match sdp.map(|text| core.arena.get(text)) {
        Some(sdp) => writer.content(b"application/sdp", sdp),
        None => writer,
    };
    writer.finish().ok().map(<[u8]>::len)
}

/// A cause in words, for a Reason header (RFC 3326) of ours.
pub(crate) fn cause_text(cause: Cause) -> &'static [u8] {
    match cause {
        Cause::OtherAnswered => b"SIP;cause=200;text=\"Call completed elsewhere\"",
        // At another of his phones.
        Cause::Busy => b"SIP;cause=600;text=\"Busy Everywhere\"",
        Cause::Rejected => b"SIP;cause=603;text=\"Decline\"",
        _ => b"",
    }
}
