//! An INVITE that takes the place of another far end (RFC 3891): somebody picks up a call that
//! rings elsewhere, or the phone of a transfer's target takes the call over.
//!
//! ```text
//!   S, Y joined (or S rings for Y); N: an INVITE whose Replaces names S's dialog
//!   N -- TakePlace --> S -- GivePlace --> Y     nothing has changed so far
//!   N <-- Place { sdp, view } ----------- Y
//!   N is answered -- Answer ------------> Y     Y leaves S (or is answered itself), and joins N
//!   N <-- Joined ------------------------ Y
//!                    S <-- Taken -------- Y     BYE (or CANCEL), Reason: SIP;cause=200
//! ```
//!
//! Where S talks with nobody its application has it: N is answered alone, and the controlplane,
//! which hears of it, ends S and begins the document that S was in for N.
//!
//! ```text
//!   N -- TakePlace --> S    N <-- Alone -- S    N is answered; Event::Replaced
//!                           N -- Left ---> S    or nothing comes of it
//! ```
//!
//! From `Alone` on the place is nobody else's ([`super::given`]).
//!
//! Until N is answered every refusal leaves S and Y as they are. Who may take a place the shard of
//! S says (`Shard::may_take_place`): to others the dialog is not there.

use base::{CallId, LegId};
use core::time::Duration;
use sip::message::replaces;
use sip::{Message, Name};
use wire::event::{Cause, Event, Party};

use super::offer::BadOffer;
use super::timers::Timer;
use super::{Answer, LegMut, Side, State};
use crate::handoff::{PeerMessage, View};
use crate::transport::far_end::FarEnd;

/// Bytes of a dialog's name.
pub(crate) const DIALOG_BYTES: usize = 512;
/// How long the legs around a place may take to give it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing is described by either of the two that are to be joined.
const NO_OFFER: BadOffer =
    BadOffer { code: 488, cause: Cause::Protocol, why: "an offer is needed to take this place" };

/// Who wants a place: of which account an application's call is; else where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Claimant {
    Account(u64),
    Source(FarEnd),
}

/// What whoever gives its place to another leg says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) account: u64,
    pub(super) is_up: bool,
    pub(super) sdp: &'a [u8],
    pub(super) view: &'a View,
}

/// Of the leg that comes.
impl LegMut<'_, '_> {
    /// The place that it wants; [`LegId::NONE`] for none.
    pub(crate) fn place(&self) -> LegId {
        self.leg.inbound().map_or(LegId::NONE, |side| side.place)
    }

    /// Asks for the place that its INVITE names.
    pub(crate) fn want_place(&mut self, claimant: Claimant) {
        let Side::Inbound(side) = &self.leg.side else { return };
        let (place, mut name) = (side.place, [0; DIALOG_BYTES]);
        if self.leg.links.joining == place {
            // A controlplane's successor says it again.
            return;
        }
        let invite = Message::parse(self.cx.core.arena.get(&side.text));
        let value = invite.as_ref().ok().and_then(|invite| invite.header(Name::Replaces));
        let Some(room) = value.and_then(|value| name.get_mut(..value.len())) else {
            return self.refuse(&Answer::new(400), Cause::Protocol, Party::Switch);
        };
        room.copy_from_slice(value.unwrap_or_default());
        let len = room.len();
        self.leg.links.joining = place;
        self.leg.deadlines.set(Timer::Setup, self.cx.now.mono + PATIENCE);
        self.tell_peer(place, &PeerMessage::TakePlace { claimant, dialog: &name[..len] });
    }

    /// The place is not to be had. True if that is what the leg waits for.
    pub(super) fn place_refused(&mut self, code: u16) -> bool {
        let waits = self.leg.is_waiting() && self.place() != LegId::NONE;
        if waits {
            self.refuse(&Answer::new(code), Cause::Rejected, Party::Switch);
        }
        waits
    }

    /// The place is given: this leg is answered with what the other far end speaks.
    pub(super) fn on_peer_place(&mut self, from: LegId, place: Place<'_>) {
        let waits = self.leg.is_waiting() && self.place() != LegId::NONE && !self.must_wait();
        if !waits || self.leg.links.dialed_for != LegId::NONE || !self.take_port() {
            self.tell_peer(from, &PeerMessage::Left);
            self.place_refused(500);
            return;
        }
        self.leg.links.joining = LegId::NONE;
        self.leg.story.account = place.account;
        if let Some(cell) = self.cx.core.cell(self.leg.id) {
            cell.set_account(place.account);
        }
        self.set_peer_view(Some(place.view));
        let described = match (self.is_offerless(), place.sdp.is_empty()) {
            // Of two that wait to be answered one has to offer.
            (true, _) if !place.is_up => Err(NO_OFFER),
            (true, true) => self.offer_own(),
            (true, false) => self.offer_late(place.sdp),
            (false, true) => self.answer_alone(),
            (false, false) => self.answer_relayed(place.sdp, place.view, false),
        };
        if let Err(bad) = described {
            self.tell_peer(from, &PeerMessage::Left);
            return self.refuse_offer(bad);
        }
        self.leg.links.dialed_for = from;
        if self.answer() {
            self.tell_answer(from);
        }
    }
}

/// Of the leg whose far end wants the place of one that an application has: its own, or that of the
/// far end that it refers.
impl LegMut<'_, '_> {
    /// The place is an application's.
    pub(super) fn on_peer_alone(&mut self, from: LegId, call: CallId, account: u64) {
        let has_it = match self.place() == from {
            true => self.take_alone(call, account),
            false => self.refer_to_alone(call),
        };
        if let Err(code) = has_it {
            self.tell_peer(from, &PeerMessage::Left);
            if !self.place_refused(code) {
                self.referral_over(code);
            }
        }
    }

    /// Answered, this leg has the place; the status that refuses it else.
    fn take_alone(&mut self, call: CallId, account: u64) -> Result<(), u16> {
        if self.leg.route().is_some() {
            // No application would know of it: who comes by a static route has no document.
            return Err(488);
        }
        let waits = self.leg.is_waiting() && !self.must_wait();
        if !waits || self.leg.links.dialed_for != LegId::NONE || !self.take_port() {
            return Err(500);
        }
        if !self.cx.core.has_credit() {
            // What is not told would belong to nobody.
            return Err(503);
        }
        self.leg.links.joining = LegId::NONE;
        self.leg.story.account = account;
        if let Some(cell) = self.cx.core.cell(self.leg.id) {
            cell.set_account(account);
        }
        let described = if self.is_offerless() { self.offer_own() } else { self.answer_alone() };
        if let Err(bad) = described {
            self.refuse_offer(bad);
            return Err(bad.code);
        }
        if !self.answer() {
            return Err(500);
        }
        self.stand_alone();
        let (by, at) = (self.leg.id, self.stamp());
        // There is room: it was asked for before.
        self.cx.emit_event(&Event::Replaced { call, by, at });
        Ok(())
    }

    /// Whom our far end refers has the other one's place in its document.
    fn refer_to_alone(&mut self, call: CallId) -> Result<(), u16> {
        let is_open =
            self.transactions.referrals.of(self.leg.id).is_some_and(|referral| referral.code == 0);
        let by = self.leg.links.partner;
        let by_route = self.leg.outbound().is_some_and(|side| side.by_route);
        // Who is joined by a static route has no application that would know of it.
        let is_known = self.leg.route().is_none() && !by_route;
        if !is_open || by == LegId::NONE || !is_known {
            return Err(481);
        }
        if !self.cx.core.has_credit() {
            return Err(503);
        }
        let at = self.stamp();
        self.cx.emit_event(&Event::Replaced { call, by, at });
        self.referral_taken(200);
        Ok(())
    }
}

/// Of the leg whose dialog is named.
impl LegMut<'_, '_> {
    /// Somebody who may wants this leg's place.
    pub(super) fn on_peer_take_place(&mut self, from: LegId, dialog: &[u8]) {
        match self.beside_place(dialog) {
            Ok(LegId::NONE) => self.tell_alone(from),
            Ok(other) => self.tell_peer(other, &PeerMessage::GivePlace { to: from }),
            Err(code) => self.tell_peer(from, &PeerMessage::Referred { code }),
        }
    }

    /// An application has this leg, and no static route.
    pub(super) fn is_applications(&self) -> bool {
        let by_route = self.leg.outbound().is_some_and(|side| side.by_route);
        self.leg.story.account != 0 && !by_route && self.leg.route().is_none()
    }

    /// The leg that goes on with whoever takes this one's place, [`LegId::NONE`] for an
    /// application; the status that refuses it where there is none (RFC 3891 section 3).
    fn beside_place(&mut self, dialog: &[u8]) -> Result<LegId, u16> {
        let said = replaces(dialog).ok_or(400_u16)?;
        if self.leg.is_over() {
            return Err(603);
        }
        let signalling = &self.leg.signalling;
        let own = signalling.dialog.map(|it| it.id(self.cx.core.arena.get(&signalling.text)));
        let own = own.ok_or(481_u16)?;
        let tags = (own.local_tag, own.remote_tag);
        if own.call_id != said.call_id || tags != (said.to_tag, said.from_tag) {
            return Err(481);
        }
        let links = &self.leg.links;
        let other = match self.leg.state {
            // An early dialog is given up by whoever began it, and by nobody else.
            State::Arrived | State::Ringing | State::Wanting | State::Closing => return Err(481),
            State::Calling => links.dialed_for,
            State::Answering | State::Standing if said.early_only => return Err(486),
            State::Answering | State::Standing => links.partner,
        };
        let is_moving = links.referred || links.joining != LegId::NONE || self.is_held();
        let is_moving = is_moving || self.is_given();
        let stands = matches!(self.leg.state, State::Answering | State::Standing);
        match other {
            LegId::NONE if !stands || !self.is_applications() => Err(488),
            _ if is_moving || self.transactions.referrals.of(self.leg.id).is_some() => Err(491),
            other => Ok(other),
        }
    }

    /// Its place is taken: whom it was joined with goes on with somebody else.
    pub(super) fn on_peer_taken(&mut self, from: LegId) {
        if self.leg.links.partner != from {
            return;
        }
        self.leg.links.partner = LegId::NONE;
        // Those two are none of a document's any more.
        let (call, at) = (self.leg.story.call, self.stamp());
        self.cx.emit_optional(&Event::Refer { call, peer: from, at, to: "", by: "", headers: "" });
        let reason = crate::usage::text(super::cause_text(Cause::OtherAnswered));
        self.leg.signalling.reason_from(&mut self.cx.core.arena, reason);
        self.hang_up(Cause::Normal, Party::Peer);
    }
}

/// Of the leg that goes on.
impl LegMut<'_, '_> {
    /// The partner (or who rings for this leg) gives its place to another leg, once that is
    /// answered.
    pub(super) fn on_peer_give_place(&mut self, from: LegId, to: LegId) {
        let links = &mut self.leg.links;
        let is_joined = links.partner == from;
        let is_rung_for = links.partner == LegId::NONE && links.children.contains(&from);
        let is_free = links.joining == LegId::NONE && !links.referred && to != LegId::NONE;
        let is_there = matches!(
            self.leg.state,
            State::Arrived | State::Ringing | State::Answering | State::Standing
        );
        let is_free = is_free && is_there && (is_joined || is_rung_for);
        if !is_free
            || self.is_held()
            || self.is_given()
            || self.transactions.referrals.of(self.leg.id).is_some()
        {
            return self.tell_peer(to, &PeerMessage::Referred { code: 491 });
        }
        let links = &mut self.leg.links;
        if links.children.try_push(to).is_err() {
            return self.tell_peer(to, &PeerMessage::Referred { code: 503 });
        }
        (links.joining, links.yields) = (to, true);
        let (account, is_up, view) = (self.leg.story.account, self.leg.is_up(), self.view());
        let mut page = core::mem::take(&mut self.cx.core.page);
        let sdp = self.leg.offer.theirs().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let len = sdp.len().min(page.len());
        page[..len].copy_from_slice(&sdp[..len]);
        let sdp = &page[..len];
        self.tell_peer(to, &PeerMessage::Place { account, is_up, sdp, view });
        self.cx.core.page = page;
    }

    /// Nothing comes of it. True if `from` was to be joined with this leg so.
    pub(super) fn keeps_place(&mut self, from: LegId) -> bool {
        let links = &mut self.leg.links;
        let was = links.yields && links.joining == from;
        if was {
            (links.joining, links.yields) = (LegId::NONE, false);
            links.children.retain(|child| *child != from);
        }
        was
    }

    /// Whoever was to take the place is answered: whom this leg was joined with, and who rings for
    /// it, is left. No document has this leg any more.
    pub(super) fn yield_place(&mut self, from: LegId) {
        let links = &mut self.leg.links;
        if !links.yields || links.joining != from {
            return;
        }
        (links.yields, links.bound, links.ringback) = (false, true, false);
        let partner = core::mem::replace(&mut links.partner, LegId::NONE);
        if links.dialed_for == partner {
            links.dialed_for = LegId::NONE;
        }
        let others = core::mem::take(&mut links.children);
        links.children.push(from);
        let (call, peer, at) = (self.leg.story.call, self.leg.id, self.stamp());
        self.cx.emit_optional(&Event::Refer { call, peer, at, to: "", by: "", headers: "" });
        for other in others.into_iter().filter(|other| *other != from && *other != partner) {
            let cause = Cause::OtherAnswered;
            self.tell_peer(other, &PeerMessage::Refused { cause });
        }
        if partner != LegId::NONE {
            self.end_relay();
            self.set_peer_view(None);
            let at = self.stamp();
            self.cx.emit_event(&Event::Parted { call, at });
            self.tell_peer(partner, &PeerMessage::Taken);
        }
    }

    /// Says to another leg that this one is answered, and what its far end described.
    pub(super) fn tell_answer(&mut self, to: LegId) {
        let (call, view): (CallId, View) = (self.leg.story.call, self.view());
        // The description crosses with the message: copied out, because the arena is read from
        // while the queue is written to.
        let mut page = core::mem::take(&mut self.cx.core.page);
        let sdp = self.leg.offer.theirs().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let len = sdp.len().min(page.len());
        page[..len].copy_from_slice(&sdp[..len]);
        self.tell_peer(to, &PeerMessage::Answer { call, sdp: &page[..len], view });
        self.cx.core.page = page;
    }
}
