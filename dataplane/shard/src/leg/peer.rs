//! What the legs of a call say to each other. A leg never reaches into another one; it says
//! something to it, so that it does not matter which shard owns it.

use base::{CallId, LegId};
use wire::event::{Cause, Event, Party};

use super::place::Place;
use super::refer::Named;
use super::timers::Timer;
use super::{Answer, LegMut, Side, State, identity};
use crate::handoff::{PeerMessage, View};
use crate::media::Play;

/// How long after the controlplane has taken a call its caller hears that it rings, unless more was
/// said by then.
const RINGING: core::time::Duration = core::time::Duration::from_millis(250);

impl LegMut<'_, '_> {
    /// Another leg says something to this one.
    pub(crate) fn on_peer(&mut self, from: LegId, message: &PeerMessage<'_>) {
        crate::faults::touch(crate::faults::Site::PeerLeg);
        if self.leg.is_over() {
            if matches!(message, PeerMessage::TakePlace { .. }) {
                // It has ended already (RFC 3891 section 3).
                return self.tell_peer(from, &PeerMessage::Referred { code: 603 });
            }
            return on_peer_nobody(&mut self.cx, self.leg.id, from, message);
        }
        match message {
            PeerMessage::OfferRequest => self.on_peer_offer_request(from),
            PeerMessage::Offer { call, sdp, view, max_forwards, identity, hidden } => {
                if self.leg.story.parent == CallId::NONE {
                    // A referrer does not know whose its target's leg is.
                    self.leg.story.parent = *call;
                }
                self.on_peer_offer(from, (sdp, view), *max_forwards, (identity, hidden));
            }
            PeerMessage::Progress { code, sdp, view } => {
                self.on_peer_progress(from, *code, sdp, view);
            }
            PeerMessage::Answer { call, sdp, view } => {
                self.on_peer_answer(from, *call, sdp, view);
            }
            PeerMessage::Joined { view, .. } => self.on_peer_joined(from, view),
            PeerMessage::Refused { cause } => self.on_peer_refused(from, *cause),
            PeerMessage::Join { call, view } => self.on_peer_join(from, *call, view),
            PeerMessage::Changed { view } => self.on_peer_changed(from, view),
            PeerMessage::Digit { digit, duration_ms } => {
                self.on_peer_digit(from, *digit, *duration_ms);
            }
            PeerMessage::Left => self.on_peer_left(from),
            PeerMessage::Unheard => self.on_peer_unheard(from),
            PeerMessage::Refer { begins, binds } => self.on_peer_refer(from, *begins, *binds),
            PeerMessage::Referred { code } => {
                if !self.place_refused(*code) {
                    self.referral_over(*code);
                }
            }
            PeerMessage::Replace { other, host, account, dialog } => {
                let (other, host, account) = (*other, *host, *account);
                self.on_peer_replace(from, Named { other, host, account, dialog });
            }
            PeerMessage::Takeover { by } => self.on_peer_takeover(from, *by),
            PeerMessage::Held => self.on_peer_held(from),
            PeerMessage::Redirected { code, contacts } => {
                self.on_peer_redirected(from, *code, contacts);
            }
            PeerMessage::TakePlace { dialog, .. } => self.on_peer_take_place(from, dialog),
            PeerMessage::GivePlace { to } => self.on_peer_give_place(from, *to),
            PeerMessage::Place { account, is_up, sdp, view } => {
                let (account, is_up) = (*account, *is_up);
                self.on_peer_place(from, Place { account, is_up, sdp, view });
            }
            PeerMessage::Taken => self.on_peer_taken(from),
            PeerMessage::Alone { call, account } => self.on_peer_alone(from, *call, *account),
            PeerMessage::Text { number, kind, body } => {
                self.on_peer_text(from, *number, kind, body);
            }
            PeerMessage::TextSaid { number, code } => self.text_said(*number, *code),
            PeerMessage::Parts { forced, required, tail } => {
                self.on_peer_parts(from, (*forced, *required), tail);
            }
            PeerMessage::Declined { code, said } => self.on_peer_declined(from, *code, said),
            PeerMessage::Ended { code, cause, reason } => {
                self.on_peer_ended(from, *code, *cause, reason);
            }
        }
    }

    fn on_peer_offer_request(&mut self, from: LegId) {
        let links = &self.leg.links;
        if links.bound && !links.referred {
            // Of a referral that is over, or was one too many.
            return self.tell_peer(from, &PeerMessage::Refused { cause: Cause::Rejected });
        }
        if self.leg.links.children.try_push(from).is_err() {
            return self.tell_peer(from, &PeerMessage::Refused { cause: Cause::Overload });
        }
        let Side::Inbound(side) = &self.leg.side else {
            // A dialled leg that others are dialled for: it offers what its far end described.
            return self.send_offer(from, 70, ("", ""));
        };
        let max_forwards = side.max_forwards.saturating_sub(1);
        self.send_parts(from);
        let Side::Inbound(side) = &self.leg.side else { return };
        if side.hides {
            let mut uri = [0; 768];
            let caller = self.cx.core.arena.get(&self.leg.story.from);
            let len = caller.len().min(uri.len());
            uri[..len].copy_from_slice(&caller[..len]);
            // One that is no text is nobody's number, and its name is hidden all the same.
            let hidden = core::str::from_utf8(&uri[..len]).unwrap_or(identity::ANONYMOUS);
            return self.send_offer(from, max_forwards, (identity::PRIVACY_LINE, hidden));
        }
        let mut lines = [0; 4_096];
        let invite = self.cx.core.arena.get(&side.text);
        // Where an emergency is comes before who says who calls.
        let mut len =
            if side.is_emergency { identity::emergency_lines(invite, &mut lines) } else { 0 };
        if side.trusted {
            len = identity::lines(invite, &mut lines, len);
        }
        let lines = crate::usage::text(&lines[..len]);
        self.send_offer(from, max_forwards, (lines, ""));
    }

    fn send_offer(&mut self, to: LegId, max_forwards: u8, (identity, hidden): (&str, &str)) {
        let (call, view) = (self.leg.story.call, self.view());
        let mut page = core::mem::take(&mut self.cx.core.page);
        let sdp = self.leg.offer.theirs().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let len = sdp.len().min(page.len());
        page[..len].copy_from_slice(&sdp[..len]);
        let sdp = &page[..len];
        let offer = PeerMessage::Offer { call, sdp, view, max_forwards, identity, hidden };
        self.tell_peer(to, &offer);
        self.cx.core.page = page;
    }

    fn on_peer_offer(
        &mut self,
        from: LegId,
        (sdp, view): (&[u8], &View),
        max_forwards: u8,
        (identity, hidden): (&str, &str),
    ) {
        if self.leg.state != State::Wanting || self.leg.links.dialed_for != from {
            return;
        }
        if max_forwards == 0 {
            self.leg.story.code = 483;
            return self.finish(Cause::Protocol, Party::Switch);
        }
        self.set_peer_view(Some(view));
        if let Some(side) = self.leg.outbound_mut() {
            side.max_forwards = max_forwards;
        }
        let shown = hidden.is_empty() || self.hide_caller(hidden);
        if !shown || !identity.is_empty() && !self.add_headers(identity) {
            return self.finish(Cause::Internal, Party::Switch);
        }
        if sdp.is_empty() {
            return self.invite_with_own_offer();
        }
        match self.offer_from(sdp, view) {
            Ok(()) => self.invite(),
            Err(bad) => self.finish(bad.cause, Party::Switch),
        }
    }

    /// The leg is dialled for a caller that must not be shown: neither its name is, nor its number;
    /// an application may show another number of its own. False if there is no room.
    fn hide_caller(&mut self, caller: &str) -> bool {
        let arena = &mut self.cx.core.arena;
        if arena.get(&self.leg.story.from) == identity::ANONYMOUS.as_bytes() {
            return true;
        }
        let Side::Outbound(side) = &mut self.leg.side else { return false };
        arena.free(&mut side.from_name);
        if !identity::is_same_user(arena.get(&self.leg.story.from), caller.as_bytes()) {
            return true;
        }
        arena.free(&mut self.leg.story.from);
        let from = arena.store(identity::ANONYMOUS.as_bytes());
        let name = arena.store(identity::ANONYMOUS_NAME.as_bytes());
        let stored = from.is_some() && name.is_some();
        self.leg.story.from = from.unwrap_or_default();
        side.from_name = name.unwrap_or_default();
        stored
    }

    /// More header lines for the INVITE. False if there is no room.
    fn add_headers(&mut self, lines: &str) -> bool {
        let mut page = core::mem::take(&mut self.cx.core.page);
        let Side::Outbound(side) = &mut self.leg.side else { return false };
        let known = self.cx.core.arena.get(&side.headers);
        let len = known.len() + lines.len();
        let stored = match page.get_mut(..len) {
            Some(room) => {
                let (head, tail) = room.split_at_mut(known.len());
                head.copy_from_slice(known);
                tail.copy_from_slice(lines.as_bytes());
                self.cx.core.arena.store(room)
            }
            None => None,
        };
        self.cx.core.page = page;
        let Some(stored) = stored else { return false };
        self.cx.core.arena.free(&mut side.headers);
        side.headers = stored;
        true
    }

    /// The dialled leg rings, or has early media for us.
    fn on_peer_progress(&mut self, from: LegId, code: u16, sdp: &[u8], view: &View) {
        if self.leg.is_up() {
            if !sdp.is_empty() && self.hears_nobody() {
                self.hear_early(from, view);
            }
            return;
        }
        if !self.leg.is_waiting() {
            return;
        }
        if sdp.is_empty() || self.is_offerless() {
            // An offer of ours is only for a provisional response that is acknowledged.
            return self.progress(code, false);
        }
        let described = self.leg.offer.is_described();
        if !described && self.answer_relayed(sdp, view, true).is_err() {
            return self.progress(180, false);
        }
        self.progress(183, true);
        self.hear_early(from, view);
    }

    /// The leg that this one is dialled for hears nobody else's early media any more.
    fn on_peer_unheard(&mut self, from: LegId) {
        let early = self.media.stream(self.leg.id).filter(|stream| stream.on);
        let speaks = early.is_some_and(|stream| stream.plan.direction.receives());
        if self.leg.state != State::Calling || self.leg.links.dialed_for != from || !speaks {
            return;
        }
        let mut page = core::mem::take(&mut self.cx.core.page);
        let sdp = self.leg.offer.theirs().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let len = sdp.len().min(page.len());
        page[..len].copy_from_slice(&sdp[..len]);
        if len > 0 {
            let view = self.view();
            self.tell_peer(from, &PeerMessage::Progress { code: 183, sdp: &page[..len], view });
        }
        self.cx.core.page = page;
    }

    /// The early media of this leg is heard from now on; the first one's is, until it ends.
    fn hear_early(&mut self, from: LegId, view: &View) {
        let early = self.leg.links.early;
        if early != LegId::NONE && early != from {
            return;
        }
        self.leg.links.early = from;
        self.set_peer_view(Some(view));
        self.media.connect(self.leg.id, from, &view.plan());
        let (call, view) = (self.leg.story.call, self.view());
        self.tell_peer(from, &PeerMessage::Joined { call, view });
    }

    /// The dialled leg was answered: this one is answered too, if it is not yet, and the two are
    /// joined.
    pub(super) fn on_peer_answer(&mut self, from: LegId, call: CallId, sdp: &[u8], view: &View) {
        self.yield_place(from);
        let links = &self.leg.links;
        if links.referred && links.partner != from && links.children.contains(&from) {
            self.leave_referrer(from);
        }
        let partner = self.leg.links.partner;
        if partner != LegId::NONE && partner != from {
            // What was dialled for us is not wanted any more; a leg that was only to be joined with
            // us, and was overtaken, stands alone.
            let message = match self.leg.links.children.contains(&from) {
                true => PeerMessage::Refused { cause: Cause::OtherAnswered },
                false => PeerMessage::Left,
            };
            return self.tell_peer(from, &message);
        }
        let links = &self.leg.links;
        let wanted = partner == from || links.joining == from || links.children.contains(&from);
        if !wanted {
            // The join was called off meanwhile.
            return self.tell_peer(from, &PeerMessage::Left);
        }
        if self.is_given() && self.leg.links.joining != from {
            return self.answered_while_given(from, call, sdp, view);
        }
        if self.leg.is_waiting() && self.must_wait() {
            return self.hold_answer(from, call, sdp, view);
        }
        if self.leg.is_waiting() {
            self.set_peer_view(Some(view));
            let described = match (self.leg.offer.is_described(), self.is_offerless()) {
                (true, _) => Ok(()),
                (false, true) => self.offer_late(sdp),
                (false, false) => self.answer_relayed(sdp, view, false),
            };
            if let Err(bad) = described {
                self.tell_peer(from, &PeerMessage::Refused { cause: Cause::NoCodec });
                if self.leg.links.bound {
                    // Who else rang for it was left for this one.
                    self.refuse_offer(bad);
                }
                return;
            }
            if !self.answer() {
                return;
            }
        }
        if !self.leg.is_up() {
            // A dialled leg that rings itself: nothing of it is heard or billed yet.
            return self.tell_peer(from, &PeerMessage::Refused { cause: Cause::NoAnswer });
        }
        let own_call = self.leg.story.call;
        self.make_join(from, view);
        let joined = PeerMessage::Joined { call: own_call, view: self.view() };
        self.tell_peer(from, &joined);
        let at = self.stamp();
        self.cx.emit_event(&Event::Joined { call: own_call, peer: call, at });
        self.align();
    }

    fn on_peer_joined(&mut self, from: LegId, view: &View) {
        if self.is_held_from(from) {
            return self.tell_peer(from, &PeerMessage::Held);
        }
        let partner = self.leg.links.partner;
        let alone = partner == LegId::NONE;
        if partner != from && !(alone && self.leg.links.dialed_for == from) {
            // It left that join meanwhile, or is joined with another one.
            return self.tell_peer(from, &PeerMessage::Left);
        }
        if self.leg.is_up() {
            self.make_join(from, view);
            return self.align();
        }
        // Early media.
        self.set_peer_view(Some(view));
        self.media.connect(self.leg.id, from, &view.plan());
    }

    /// Joins an answered leg with another: from now on its media is relayed, and billed.
    fn make_join(&mut self, other: LegId, view: &View) {
        self.leg.links.partner = other;
        (self.leg.links.joining, self.leg.links.early) = (LegId::NONE, LegId::NONE);
        let now = self.stamp();
        if self.leg.joins.begin(now) {
            self.cx.core.legs_joined += 1;
            // Early media is nobody's join.
            if let Some(stream) = self.media.stream_mut(self.leg.id) {
                (stream.relayed, stream.relayed_bytes) = self.leg.joins.counted();
            }
        }
        self.set_peer_view(Some(view));
        self.leg.offer.anew();
        self.leg.session.strict = false;
        self.media.connect(self.leg.id, other, &view.plan());
        // The meter goes on in what is written whole here.
        crate::usage::refresh(&self.cx, self.leg, self.media);
    }

    /// The controlplane joins this leg with `other`.
    pub(crate) fn join(&mut self, other: LegId) {
        if !self.leg.is_up() {
            return self.join_refused();
        }
        let partner = self.leg.links.partner;
        if partner != LegId::NONE && partner != other {
            self.leave_join();
        }
        self.leg.links.joining = other;
        let (call, view) = (self.leg.story.call, self.view());
        self.tell_peer(other, &PeerMessage::Join { call, view });
    }

    fn on_peer_join(&mut self, from: LegId, _call: CallId, view: &View) {
        if !self.leg.is_up() {
            return self.tell_peer(from, &PeerMessage::Refused { cause: Cause::NoAnswer });
        }
        if self.is_held_from(from) {
            return self.tell_peer(from, &PeerMessage::Held);
        }
        let partner = self.leg.links.partner;
        if self.leg.links.referred && partner != from {
            self.leave_referrer(from);
        } else if partner != LegId::NONE && partner != from {
            self.leave_join();
        }
        self.make_join(from, view);
        // The other side expects us: it is joined by this.
        let (call, view) = (self.leg.story.call, self.view());
        self.tell_peer(from, &PeerMessage::Answer { call, sdp: b"", view });
        self.align();
    }

    /// What the other far end takes or wants is another thing.
    fn on_peer_changed(&mut self, from: LegId, view: &View) {
        self.held_changed(from, view);
        let links = &self.leg.links;
        // Before it is answered it is heard, as early media, by whom it was dialled for.
        let early = links.early == from || (links.dialed_for == from && !self.leg.is_up());
        if links.partner != from && !early {
            return;
        }
        let known = self.peer_view();
        self.set_peer_view(Some(view));
        let same = known == View { digits: known.digits, ..view.clone() };
        if same && known.digits != view.digits {
            // Only how digits reach it: nothing is to be offered for that.
            return;
        }
        self.media.set_listener(self.leg.id, from, &view.plan());
        self.leg.offer.anew();
        self.leg.session.strict = true;
        self.align();
    }

    /// Tells whoever hears this leg's far end, or is heard by it before the answer, or keeps its
    /// answer for a while, what it takes.
    pub(crate) fn tell_view(&mut self) {
        let links = &self.leg.links;
        let other = match (links.partner, links.early) {
            (LegId::NONE, LegId::NONE) => links.dialed_for,
            (LegId::NONE, early) => early,
            (partner, _) => partner,
        };
        if other != LegId::NONE {
            let view = self.view();
            self.tell_peer(other, &PeerMessage::Changed { view });
        }
    }

    /// A join is over: what was relayed in it is billed to now, not to the end of the leg.
    pub(super) fn end_relay(&mut self) {
        crate::usage::end_join(&mut self.cx, self.leg, self.media);
    }

    /// The controlplane takes this leg out of its join. One that was dialled for another is its own
    /// from now on: it does not end with whom it was dialled for.
    pub(crate) fn part(&mut self) {
        self.leave_join();
        (self.leg.links.referred, self.leg.links.bound) = (false, false);
        if self.leg.is_up() {
            // Nobody is waited for any more whom the far end was referred to.
            self.ringback(false);
            self.leg.deadlines.clear(Timer::Ring);
            let parent = core::mem::replace(&mut self.leg.links.dialed_for, LegId::NONE);
            if parent != LegId::NONE {
                self.tell_peer(parent, &PeerMessage::Left);
            }
        }
    }

    /// This leg leaves its join.
    pub(crate) fn leave_join(&mut self) {
        let joining = core::mem::replace(&mut self.leg.links.joining, LegId::NONE);
        if joining != LegId::NONE && joining != self.leg.links.partner {
            // Its answer is on its way, or it has not heard of us yet.
            self.tell_peer(joining, &PeerMessage::Left);
        }
        let partner = core::mem::replace(&mut self.leg.links.partner, LegId::NONE);
        if partner == LegId::NONE {
            return;
        }
        self.tell_peer(partner, &PeerMessage::Left);
        self.left_join();
    }

    /// Whom it was dialled for, or its partner, does not want it. What a former partner said on its
    /// way out is about that join. A leg that it was to be joined with is not up: it stands alone.
    fn on_peer_refused(&mut self, from: LegId, cause: Cause) {
        let links = &self.leg.links;
        if links.joining == from && links.partner != from && cause == Cause::NoAnswer {
            if links.bound {
                return self.hang_up(Cause::Normal, Party::Peer);
            }
            return self.join_refused();
        }
        if links.dialed_for == from || links.partner == from {
            self.hang_up(cause, Party::Peer);
        }
    }

    /// Nothing comes of the join that was commanded.
    fn join_refused(&mut self) {
        self.leg.links.joining = LegId::NONE;
        let call = self.leg.story.call;
        let at = self.stamp();
        self.cx.emit_event(&Event::Parted { call, at });
    }

    fn on_peer_left(&mut self, from: LegId) {
        self.keeps_place(from);
        self.leg.links.children.retain(|child| *child != from);
        if self.leg.links.partner == from {
            self.leg.links.partner = LegId::NONE;
            self.left_join();
        }
        self.keeps_gift(from);
    }

    pub(super) fn left_join(&mut self) {
        self.end_relay();
        self.set_peer_view(None);
        self.stand_alone();
        let call = self.leg.story.call;
        let at = self.stamp();
        self.cx.emit_event(&Event::Parted { call, at });
    }

    /// Nobody is joined with the leg: it hears ringback if it was told to, else silence.
    pub(crate) fn stand_alone(&mut self) {
        self.media.disconnect(self.leg.id);
        if self.leg.is_up() {
            let play = if self.leg.links.ringback { Play::Ringback } else { Play::Silence };
            self.media.play(&self.cx, self.leg.id, play);
        }
        self.align();
    }

    /// A leg around this one is over. Dialled for it: so are we. Dialled by us on a static route:
    /// so are we. Else we stand alone, and the controlplane says how it goes on.
    fn on_peer_ended(&mut self, from: LegId, code: u16, cause: Cause, reason: &str) {
        if self.keeps_place(from) || self.on_peer_ended_bound(from, (code, cause), reason) {
            return;
        }
        self.forget_refusal_before(from);
        let links = &mut self.leg.links;
        links.children.retain(|child| *child != from);
        // A leg that could not be made has no id: nobody was joined with it.
        let is = |leg: LegId| leg == from && from != LegId::NONE;
        let (joined, early, parent) = (is(links.partner), is(links.early), is(links.dialed_for));
        if early {
            links.early = LegId::NONE;
        }
        let joining = is(links.joining);
        let is_relayed = !self.outlives(from);
        if parent || self.leg.route().is_some() {
            self.leg.signalling.reason_from(&mut self.cx.core.arena, reason);
        }
        if parent && is_relayed {
            // "Canceled" ends a ringing leg, "normal" a standing one.
            let cause = match (self.leg.is_up(), cause) {
                (true, _) => Cause::Normal,
                (false, Cause::OtherAnswered) => Cause::OtherAnswered,
                (false, _) => Cause::Canceled,
            };
            return self.hang_up(cause, Party::Peer);
        }
        if self.leg.route().is_some() && is_relayed {
            if self.leg.is_waiting() {
                return self.route_failed(early, code, cause);
            }
            return self.hang_up(Cause::Normal, Party::Peer);
        }
        if joining {
            self.join_refused();
        }
        if joined {
            self.leg.links.partner = LegId::NONE;
            self.end_relay();
        }
        if joined || early {
            self.set_peer_view(None);
            self.stand_alone();
        }
        if early {
            let children = self.leg.links.children.clone();
            for child in children {
                self.tell_peer(child, &PeerMessage::Unheard);
            }
        }
    }

    /// The ringing of an answered leg that hears nobody else.
    pub(crate) fn ringback(&mut self, on: bool) {
        self.leg.links.ringback = on;
        let alone = self.hears_nobody() && self.leg.links.early == LegId::NONE;
        if alone && self.leg.is_up() {
            let play = if on { Play::Ringback } else { Play::Silence };
            self.media.play(&self.cx, self.leg.id, play);
        }
    }

    /// The controlplane has taken the call: the caller hears that it rings.
    pub(crate) fn accepted_by(&mut self, account: u64, setup_ms: u32) {
        if !self.leg.is_waiting() {
            return;
        }
        let setup = core::time::Duration::from_millis(u64::from(setup_ms.max(1_000)));
        // Accepted once more after a death of the controlplane, it has been told.
        if core::mem::replace(&mut self.leg.story.account, account) == 0 {
            self.tell_begin();
        }
        if let Side::Inbound(side) = &mut self.leg.side
            && core::mem::take(&mut side.is_stranger)
        {
            self.reply(&Answer::new(100));
        }
        self.leg.deadlines.clear(Timer::Hold);
        self.leg.deadlines.set(Timer::Setup, self.cx.now.mono + setup);
        if let Some(cell) = self.cx.core.cell(self.leg.id) {
            cell.set_account(account);
        }
        // Not before what the application does at once has had its turn: most calls need no 180.
        self.leg.deadlines.set(Timer::Ringing, self.cx.now.mono + RINGING);
    }
}

impl super::Signalling {
    /// Why the other side ended, to be carried on.
    pub(super) fn reason_from(&mut self, arena: &mut base::Arena, reason: &str) {
        if !reason.is_empty() {
            arena.free(&mut self.reason);
            self.reason = arena.store(reason.as_bytes()).unwrap_or_default();
        }
    }
}

/// A leg that is no more was spoken to: who waits for an answer gets one, and so does who takes it
/// for its partner.
pub(crate) fn on_peer_nobody(
    cx: &mut crate::cx::Cx<'_, '_>,
    to: LegId,
    from: LegId,
    message: &PeerMessage<'_>,
) {
    let waits = matches!(
        message,
        PeerMessage::OfferRequest
            | PeerMessage::Answer { .. }
            | PeerMessage::Join { .. }
            | PeerMessage::Joined { .. }
            | PeerMessage::Changed { .. }
            | PeerMessage::Digit { .. }
            | PeerMessage::Refer { begins: true, .. }
            | PeerMessage::Place { .. }
    );
    if waits {
        let over = PeerMessage::Ended { code: 487, cause: Cause::Canceled, reason: "" };
        cx.send_to_peer(to, from, &over);
    }
    if let PeerMessage::Alone { .. } = message {
        // Nobody takes that place.
        return cx.send_to_peer(to, from, &PeerMessage::Left);
    }
    if let PeerMessage::Text { number, .. } = message {
        let said = PeerMessage::TextSaid { number: *number, code: 480 };
        return cx.send_to_peer(to, from, &said);
    }
    // No dialog of that name (RFC 3891 section 3).
    let waits = match message {
        PeerMessage::Replace { .. } | PeerMessage::TakePlace { .. } => from,
        PeerMessage::GivePlace { to } => *to,
        _ => return,
    };
    cx.send_to_peer(to, waits, &PeerMessage::Referred { code: 481 });
}
