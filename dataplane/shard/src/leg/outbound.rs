//! The outgoing side: an INVITE to each target in turn, and its responses.

use base::{Arena, CallId, LegId};
use core::time::Duration;
use sip::dialog::Dialog;
use sip::session::Wanted;
use sip::{Message, Name, Part, ViaOut, Writer};
use wire::event::{Cause, Event, OutWhy, Party};
use wire::table::{EarlyMedia, ReliableRinging};

use super::early::Gate;
use super::prack::{Branch, rseq_of};
use super::timers::Timer;
use super::{BadOffer, Leg, LegMut, Move, Outbound, Side, State};
use crate::cx::Core;
use crate::handoff::PeerMessage;
use crate::transaction::{ClientId, Outcome, Report, Sent};
use crate::transport::reply::{ALLOW, contact, hex};
use crate::transport::targets::REMEMBERED;

/// The connection on which a phone registered is gone (RFC 5626 section 5.3.1).
const FLOW_FAILED: &[u8] = b"SIP;cause=430;text=\"Flow Failed\"";

impl LegMut<'_, '_> {
    /// Gets the offer: the other leg's, or our own.
    pub(crate) fn dial(&mut self) {
        let peer = self.leg.links.dialed_for;
        if peer == LegId::NONE {
            return self.invite_with_own_offer();
        }
        // Its answer may be lost with its shard: the ring timer runs from here.
        self.arm_ring();
        self.tell_peer(peer, &PeerMessage::OfferRequest);
    }

    /// The connection of the phone is gone; it comes back by another one.
    fn flow_failed(&mut self) {
        self.leg.story.code = 480;
        let reason = self.cx.core.arena.store(FLOW_FAILED);
        self.cx.core.arena.free(&mut self.leg.signalling.reason);
        self.leg.signalling.reason = reason.unwrap_or_default();
    }

    fn arm_ring(&mut self) {
        let Side::Outbound(side) = &self.leg.side else { return };
        let ring = Duration::from_millis(u64::from(side.ring_ms.max(1_000)));
        self.leg.deadlines.set(Timer::Ring, self.cx.now.mono + ring);
    }

    pub(crate) fn invite_with_own_offer(&mut self) {
        match self.offer_own() {
            Ok(()) => self.invite(),
            Err(bad) => self.finish(bad.cause, Party::Switch),
        }
    }

    /// Sends the INVITE with the offer that is open to the target whose turn it is.
    pub(crate) fn invite(&mut self) {
        // What a target before said is not what ends this one's call.
        self.leg.story.code = 0;
        let Side::Outbound(side) = &self.leg.side else { return };
        let Some(target) = side.target_at(&self.cx.core.arena, side.target) else {
            return self.finish(Cause::Unreachable, Party::Switch);
        };
        let from = self.leg.signalling.hop.via.listener();
        let is_registered = side.is_registered(&self.cx.core.arena);
        let flow = side.way(&self.cx.core.arena).and_then(|way| way.flow);
        let hop = match flow {
            Some(id) => self.cx.core.hop_by_flow(id, target.address),
            None => self.cx.core.hop_to(from, target),
        };
        let Some(hop) = hop else {
            // The phone comes back by another one: it is not there now (RFC 5626 section 5.3).
            if flow.is_some() {
                self.flow_failed();
            }
            return self.finish(Cause::Unreachable, Party::Switch);
        };
        let (tag, cseq) = (self.tag(), side.cseq);
        // Contact is of the way that this one goes by.
        let before = core::mem::replace(&mut self.leg.signalling.hop, hop);
        let leg = &*self.leg;
        let request = (Sent::Invite, leg.id, hop, cseq);
        let write = |out: &mut [u8], core: &Core<'_>, via: &ViaOut<'_>| {
            write_invite(out, core, leg, (via, &tag))
        };
        let clients = &mut self.transactions.clients;
        let sent = match is_registered {
            // A phone is reached as it registered, whatever stands in the way.
            true => clients.begin(&mut self.cx, request, write),
            false => clients.begin_any_size(&mut self.cx, request, write),
        };
        let Some(invite) = sent else {
            self.leg.signalling.hop = before;
            return self.finish(Cause::Overload, Party::Switch);
        };
        let now = self.cx.now;
        let first = self.leg.state == State::Wanting;
        self.leg.advance(Move::Dial);
        if let Some(side) = self.leg.outbound_mut() {
            side.invite = invite;
        }
        self.leg.deadlines.set(Timer::Target, now.mono + self.cx.core.plan.timers.target);
        self.media.set_signalling(self.leg.id, target.address.ip());
        self.record();
        if first {
            self.arm_ring();
            let (call, leg) = (self.leg.story.call, self.leg.id);
            let at = self.stamp();
            self.cx.emit_event(&Event::Dialed { call, leg, at });
        }
    }

    /// What became of our INVITE.
    pub(crate) fn invite_outcome(&mut self, outcome: &Outcome, message: Option<&Message<'_>>) {
        let Some(side) = self.leg.outbound_mut() else { return };
        if side.invite != outcome.id {
            return;
        }
        let target = side.target_now(&self.cx.core.arena);
        if let (Report::Response(code), Some(target)) = (outcome.report, target) {
            self.target_said(code, target, message);
        }
        self.leg.deadlines.clear(Timer::Target);
        match (outcome.report, message) {
            (Report::Response(..=100), _) => {}
            (Report::Response(code @ 101..200), Some(message)) => self.provisional(code, message),
            (Report::Response(200..300), Some(message)) => self.answered(outcome.id, message),
            (Report::Response(code), Some(message)) => self.refused(code, message),
            (Report::Response(_), None) => {}
            (Report::Timeout, _) => self.target_lost(),
            (Report::Unreachable, _) => self.target_lost(),
            (Report::Again { .. } | Report::MovedBack, _) => {}
        }
    }

    fn provisional(&mut self, code: u16, message: &Message<'_>) {
        if self.leg.is_over() || self.leg.is_up() {
            return;
        }
        self.read_allow(message);
        let branch = self.early_branch(message);
        if !self.acknowledge(message) {
            return;
        }
        let side = self.leg.outbound_mut();
        if side.is_some_and(|side| !core::mem::replace(&mut side.rings, true)) {
            self.arm_ring();
        }
        let sdp = message.sdp().readable().unwrap_or_default();
        let (call, leg, peer) = (self.leg.story.call, self.leg.id, self.leg.links.dialed_for);
        let (at, media) = (self.stamp(), !sdp.is_empty());
        self.cx.emit_optional(&Event::Progress { call, leg, at, code, media });
        let passes_on =
            self.leg.outbound().is_some_and(|side| side.pass_progress) && peer != LegId::NONE;
        let gate = if passes_on { self.early_gate(message, branch) } else { Gate::Closed };
        let may_rely = passes_on || rseq_of(message).is_some();
        let is_answer = media && branch && may_rely && !self.leg.offer.is_updated();
        // An answer it is whether its media is heard or not: the 2xx may rely on it.
        let early = is_answer && self.take_answer(sdp, false).is_ok();
        let named = self.branch_of(message);
        if let Some(side) = self.leg.outbound_mut().filter(|_| early) {
            side.described = named;
            if rseq_of(message).is_some() {
                side.settled = named;
            }
        }
        let passes = gate != Gate::Closed;
        if branch {
            self.keep_gate(gate);
        }
        if !passes_on {
            return;
        }
        if gate == Gate::Opens && !early {
            // What was described before is heard from now on.
            return self.tell_early(peer, code);
        }
        let code = if media && !passes { 180 } else { code };
        let (sdp, view) = (if early && passes { sdp } else { b"" }, self.view());
        self.tell_peer(peer, &PeerMessage::Progress { code, sdp, view });
    }

    /// The early dialog that a provisional response makes, so that requests of the callee find it
    /// (RFC 3261 section 12.1.2). False for a branch of a forking proxy that was overtaken by a
    /// younger one: its early media is not heard any more.
    fn early_branch(&mut self, message: &Message<'_>) -> bool {
        let Some(tag) = message.to_tag() else { return true };
        let signalling = &self.leg.signalling;
        let text = self.cx.core.arena.get(&signalling.text);
        let current = signalling.dialog.map(|dialog| dialog.id(text).remote_tag);
        if current == Some(tag) {
            return true;
        }
        let hash = self.branch_of(message);
        let Some(side) = self.leg.outbound_mut() else { return false };
        if side.branch(hash).is_some() {
            return false;
        }
        let _ = side.branches.try_push(Branch::new(hash));
        self.make_dialog(message);
        true
    }

    /// The branch that a response comes from: its tag, hashed.
    pub(super) fn branch_of(&self, message: &Message<'_>) -> u32 {
        self.branch_named(message.to_tag().unwrap_or_default())
    }

    pub(super) fn branch_named(&self, tag: &[u8]) -> u32 {
        let hash = sip::key::call_hash(tag, &self.cx.core.plan.keys.token);
        u32::try_from(hash >> 32).unwrap_or(0)
    }

    /// The answer of a 2xx. One without a description relies on the early answer of its own dialog
    /// (RFC 3261 section 13.2.1), never on another branch's.
    fn take_final(&mut self, message: &Message<'_>) -> Result<(), BadOffer> {
        let sdp = message.sdp().readable().unwrap_or_default();
        let described = self.leg.outbound().map_or(0, |side| side.described);
        let is_its = described == self.branch_of(message);
        if self.leg.offer.is_updated() && is_its {
            self.leg.offer.close_updated(&mut self.cx.core.arena);
            self.resume_plan();
            return Ok(());
        }
        match (sdp.is_empty(), is_its) {
            (true, false) => return Err(BadOffer::NO_CODEC),
            // What was not to be heard before is.
            (true, true) => self.resume_plan(),
            (false, _) => {}
        }
        self.take_answer(sdp, true)
    }

    /// The dialog that this response makes. False if there is none to be made of it.
    fn make_dialog(&mut self, message: &Message<'_>) -> bool {
        let Some(side) = self.leg.outbound() else { return false };
        let is_registered = side.is_registered(&self.cx.core.arena);
        let mut block = [0; 4_096];
        let dialog = self.transactions.clients.text(side.invite).and_then(|text| {
            let invite = Message::parse(self.cx.core.arena.get(text)).ok()?;
            Dialog::uac(&mut block, &invite, message).ok()
        });
        let Some(mut dialog) = dialog else { return false };
        let Some(stored) = self.cx.core.arena.store(&block[..dialog.text_len()]) else {
            return false;
        };
        // Requests that were sent in its early dialog count on.
        let hash = self.branch_of(message);
        let branch = self.leg.outbound_mut().and_then(|side| side.branch(hash));
        dialog.local_cseq = branch.map_or(0, |branch| branch.cseq).max(dialog.local_cseq);
        let signalling = &mut self.leg.signalling;
        self.cx.core.arena.free(&mut signalling.text);
        signalling.text = stored;
        signalling.dialog = Some(dialog.by_flow(is_registered));
        true
    }

    /// A 2xx: the first one makes the dialog; a repeated one is acknowledged again; one of another
    /// branch of a forking proxy is acknowledged and ended.
    fn answered(&mut self, invite: ClientId, message: &Message<'_>) {
        let signalling = &self.leg.signalling;
        let text = self.cx.core.arena.get(&signalling.text);
        let known = signalling
            .dialog
            .map(|dialog| dialog.id(text).remote_tag == message.to_tag().unwrap_or_default());
        let confirmed = signalling.dialog.is_some_and(|dialog| dialog.confirmed);
        match (confirmed, known) {
            (true, Some(true)) => return self.send_ack(invite, self.invite_cseq()),
            (true, _) => {
                return self.transactions.clients.end_branch(&mut self.cx, invite, message);
            }
            (false, Some(true)) if self.confirm_dialog(message) => {}
            _ if self.make_dialog(message) => {}
            _ => {
                self.transactions.clients.end_branch(&mut self.cx, invite, message);
                return self.finish(Cause::Protocol, Party::Remote);
            }
        }
        let tag = message.to_tag().unwrap_or_default();
        self.transactions.clients.confirm(self.cx.core, invite, tag);
        self.read_allow(message);
        self.send_ack(invite, self.invite_cseq());
        match self.take_final(message) {
            Ok(()) => self.stand(sip::session::as_client(message)),
            Err(bad) => {
                // Answered for its far end, and useless: BYE, not CANCEL.
                self.send_bye();
                self.finish(bad.cause, Party::Switch);
            }
        }
    }

    /// The early dialog becomes the call's: target and routes of the 2xx, numbers go on.
    fn confirm_dialog(&mut self, message: &Message<'_>) -> bool {
        let Some(dialog) = self.leg.signalling.dialog else { return false };
        let mut block = [0; 4_096];
        let text = self.cx.core.arena.get(&self.leg.signalling.text);
        let Ok((dialog, len)) = dialog.confirmed_by(text, message, &mut block) else {
            return false;
        };
        let Some(stored) = self.cx.core.arena.store(&block[..len]) else { return false };
        let signalling = &mut self.leg.signalling;
        self.cx.core.arena.free(&mut signalling.text);
        (signalling.text, signalling.dialog) = (stored, Some(dialog));
        true
    }

    fn invite_cseq(&self) -> u32 {
        self.leg.outbound().map_or(1, |side| side.cseq)
    }

    /// The far end answered and its description is taken: the leg stands.
    fn stand(&mut self, agreed: Option<sip::session::Agreed>) {
        self.leg.advance(Move::Answer);
        if let Some(side) = self.leg.outbound_mut() {
            side.free_texts(&mut self.cx.core.arena);
        }
        self.forget_parts();
        self.leg.story.code = 200;
        self.leg.story.answered = self.stamp();
        self.leg.deadlines.clear(Timer::Ring);
        self.on_answered();
        self.session_agreed(agreed);
        let peer = self.leg.links.dialed_for;
        let bridge = self.leg.outbound().is_some_and(|side| side.bridge);
        if !bridge || peer == LegId::NONE {
            return self.stand_alone();
        }
        self.tell_answer(peer);
    }

    /// A final response 300-699, already acknowledged.
    fn refused(&mut self, code: u16, message: &Message<'_>) {
        if self.leg.is_over() || self.leg.is_up() {
            return;
        }
        self.leg.story.code = code;
        if code == 422 && self.ask_again(message) {
            return;
        }
        if code < 400 && self.redirected(code, message) {
            return;
        }
        let way = self.leg.outbound().and_then(|side| side.way(&self.cx.core.arena));
        if way.is_some_and(|way| way.failover.has(code)) && self.next_target() {
            return;
        }
        self.tell_refusal(code, message);
        self.finish(cause_of(code), Party::Remote);
    }

    /// 422: the same target once more, with an interval that it takes (RFC 4028 section 7.3).
    fn ask_again(&mut self, message: &Message<'_>) -> bool {
        let Some(wanted) = wanted(self.cx.core, self.leg) else { return false };
        let Some(raised) = wanted.raised_by(message) else { return false };
        let Some(side) = self.leg.outbound_mut().filter(|side| side.min_se == 0) else {
            return false;
        };
        side.min_se = u16::try_from(raised.min_se).unwrap_or(u16::MAX);
        side.cseq += 1;
        self.forget_early();
        self.invite();
        true
    }

    /// The target says nothing, or nobody is there: it is left, remembered, and the next one tried.
    pub(crate) fn target_lost(&mut self) {
        if self.leg.is_over() || self.leg.is_up() {
            return;
        }
        let Some(side) = self.leg.outbound() else { return };
        let (invite, silent) = (side.invite, self.leg.signalling.dialog.is_none());
        if silent && let Some(target) = side.target_now(&self.cx.core.arena) {
            self.cx.core.target_out(self.cx.now, target, (OutWhy::Silent, REMEMBERED));
        }
        let by_flow = side.way(&self.cx.core.arena).is_some_and(|way| way.flow.is_some());
        self.transactions.clients.leave(&mut self.cx, invite);
        if !self.next_target() {
            self.leg.story.code = 408;
            if by_flow {
                self.flow_failed();
            }
            self.finish(Cause::Unreachable, Party::Switch);
        }
    }

    /// Tries the next target. False if there is none.
    fn next_target(&mut self) -> bool {
        let Some(side) = self.leg.outbound() else { return false };
        self.try_target(side.target.saturating_add(1))
    }

    /// Tries the target at this place. False if there is none.
    pub(super) fn try_target(&mut self, place: u8) -> bool {
        let arena = &mut self.cx.core.arena;
        let Some(side) = self.leg.outbound_mut() else { return false };
        if side.target_at(arena, place).is_none() {
            return false;
        }
        side.target = place;
        side.cseq += 1;
        side.min_se = 0;
        self.leg.offer.forget_theirs(arena);
        self.forget_early();
        let early = self.media.stream(self.leg.id).filter(|stream| stream.on);
        if let Some(plan) = early.map(|stream| stream.plan.stopped()) {
            // Its early media is over: it neither speaks to the caller nor hears it.
            self.set_plan(plan, true);
        }
        self.invite();
        true
    }
}

impl LegMut<'_, '_> {
    /// Another INVITE is sent: the early dialogs of the one before are over.
    pub(super) fn forget_early(&mut self) {
        self.forget_pracks();
        if let Some(side) = self.leg.outbound_mut() {
            side.branches.clear();
            (side.described, side.settled) = (0, 0);
        }
        self.leg.signalling.dialog = None;
        self.cx.core.arena.free(&mut self.leg.signalling.text);
    }
}

/// The session timer that we ask the far end for; None for none.
pub(crate) fn wanted(core: &Core<'_>, leg: &Leg) -> Option<Wanted> {
    let seconds = u32::try_from(core.plan.timers.session.as_secs()).unwrap_or(u32::MAX);
    let least = leg.outbound().map_or(0, |side| u32::from(side.min_se));
    let seconds = if leg.signalling.policy.session_timer { seconds } else { 0 };
    let min_se = least.max(sip::session::MIN_SE_SECONDS);
    (seconds > 0).then(|| Wanted { seconds: seconds.max(min_se), min_se })
}

fn write_invite(
    out: &mut [u8],
    core: &Core<'_>,
    leg: &Leg,
    (via, tag): (&ViaOut<'_>, &[u8]),
) -> Option<usize> {
    let Side::Outbound(side) = &leg.side else { return None };
    let arena: &Arena = &core.arena;
    let mut writer = begin_invite(out, core, (leg, side), (via, tag));
    writer = contact(writer, leg.named(core)).field(Name::Allow, ALLOW);
    let policy = leg.signalling.policy;
    writer = writer.field(Name::Supported, policy.supported());
    if policy.reliable == ReliableRinging::Require {
        writer = writer.field(Name::Require, b"100rel");
    }
    if policy.early_media == EarlyMedia::Gated {
        writer = writer.field(Name::PEarlyMedia, b"supported");
    }
    writer = writer.with(wanted(core, leg), |writer, wanted| wanted.write(writer));
    for line in arena.get(&side.headers).split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            writer = writer.header_text(name, &[Part::Bytes(value)]);
        }
    }
    let offer = arena.get(leg.offer.to_send()?);
    super::parts::write_content(writer, (core, leg.id), offer).finish().ok().map(<[u8]>::len)
}

/// What names an INVITE: a CANCEL or the ACK of a refusal needs no more of it.
pub(crate) fn begin_invite<'o>(
    out: &'o mut [u8],
    core: &Core<'_>,
    (leg, side): (&Leg, &Outbound),
    (via, tag): (&ViaOut<'_>, &[u8]),
) -> Writer<'o> {
    let arena = &core.arena;
    let to = arena.get(&leg.story.to);
    let way = side.way(arena);
    let uri = way.as_ref().map(|way| way.uri(side.target).as_bytes());
    let uri = uri.filter(|uri| !uri.is_empty());
    let mut own = [0; 768];
    let named = way.as_ref().filter(|_| side.by_route && uri.is_none());
    let uri =
        named.and_then(|way| crate::route::at_target(to, (way, side.target), &mut own)).or(uri);
    let route = way.as_ref().map(|way| way.route.as_bytes()).filter(|route| !route.is_empty());
    Writer::new(out)
        .request_line(sip::Method::Invite, uri.unwrap_or(to))
        .via(via)
        .max_forwards(side.max_forwards)
        .address(Name::From, arena.get(&side.from_name), arena.get(&leg.story.from), Some(tag))
        .address(Name::To, b"", to, None)
        .call_id(arena.get(&leg.story.call_id))
        .cseq(side.cseq, sip::Method::Invite)
        .with(route, |writer, route| writer.field(Name::Route, route))
}

/// What a final status means.
pub(crate) fn cause_of(code: u16) -> Cause {
    match code {
        486 | 600 => Cause::Busy,
        408 | 480 | 487 => Cause::NoAnswer,
        404 | 410 | 484 | 604 => Cause::NotFound,
        401 | 407 => Cause::Credentials,
        403 => Cause::Forbidden,
        488 | 606 => Cause::NoCodec,
        503 => Cause::Overload,
        _ => Cause::Rejected,
    }
}

/// The Call-ID of an outgoing leg: its call id, which is random.
pub(crate) fn call_id_text(call: CallId, out: &mut [u8; 32]) {
    let (high, low) = out.split_at_mut(16);
    let bytes = call.0.to_be_bytes();
    let word = |half: &[u8]| half.try_into().map_or(0, u64::from_be_bytes);
    for (half, out) in [(&bytes[..8], high), (&bytes[8..], low)] {
        if let Ok(out) = out.try_into() {
            hex(word(half), out);
        }
    }
}
