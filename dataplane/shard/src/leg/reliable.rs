//! Provisional responses of ours that the caller acknowledges (RFC 3262 section 3).
//!
//! A caller that requires it gets every one of them so. One that only supports it gets those with a
//! description so: early media that it does not hear of is what it would miss. One at a time waits
//! for its PRACK. What is to be said meanwhile waits: the newest status, and the description, if
//! there is one. A 2xx waits only for the PRACK of a response that has a description; whoever was
//! answered meanwhile is held, and nothing is billed before the 2xx goes.
//!
//! Once a description is acknowledged, the first offer is answered: later provisional responses
//! have none, and the caller may make another offer, in that PRACK or in an UPDATE.

use base::{Arena, CallId, LegId, Mono, Stored};
use sip::body::SdpBody;
use sip::txn::{Accepted2xx, Actions};
use sip::{Message, Method, Name, Reply, reply_to};
use wire::event::{Cause, Party};
use wire::table::ReliableRinging;

use super::dialog::UNHEARD_REPEATS;
use super::exchange::Phase;
use super::{Answer, BadOffer, LegMut, Move, Request, State};
use crate::cx::MESSAGE_BYTES;
use crate::handoff::{PeerMessage, View};
use crate::transport::reply::{ALLOW, contact};

/// An offer for which there is no answer yet is out (RFC 3264 section 4).
const OPEN: BadOffer =
    BadOffer { code: 488, cause: Cause::Protocol, why: "another offer is not answered yet" };

/// What the caller's INVITE says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Unknown,
    Supported,
    Required,
}

/// What of an incoming leg is to be acknowledged before the answer.
#[derive(Debug)]
pub(crate) struct Reliable {
    wish: Wish,
    /// CSeq number of the INVITE.
    cseq: u32,
    /// RSeq of the last one; 0 for none.
    rseq: u32,
    /// That one waits for its PRACK.
    waiting: Option<Waiting>,
    /// What is said next: the status, and whether with our description.
    next: Option<(u16, bool)>,
    /// Our description was acknowledged: the first offer has its answer.
    is_agreed: bool,
    /// The call is to be answered for itself.
    own: bool,
    /// A leg dialled for this one was answered.
    peer: Option<Held>,
}

/// A provisional response without its PRACK.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// None once the final response is out: it is not sent again, and may still be acknowledged.
    machine: Option<Accepted2xx>,
    described: bool,
    /// How often it was sent again.
    repeats: u8,
}

/// The answer of another leg, for which there is no 2xx yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) from: LegId,
    /// [`HeldAnswer`], encoded.
    pub(super) text: Stored,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct HeldAnswer<'a> {
    call: CallId,
    sdp: &'a [u8],
    view: View,
}

impl Reliable {
    pub(crate) fn of(invite: &Message<'_>) -> Self {
        let wish = match invite {
            _ if invite.lists(Name::Require, b"100rel") => Wish::Required,
            _ if invite.lists(Name::Supported, b"100rel") => Wish::Supported,
            _ => Wish::Unknown,
        };
        Self {
            wish,
            cseq: invite.cseq().map_or(0, |cseq| cseq.number),
            rseq: 0,
            waiting: None,
            next: None,
            is_agreed: false,
            own: false,
            peer: None,
        }
    }

    /// What the caller's trunk says of them. What a caller requires it gets.
    pub(crate) fn obey(&mut self, policy: ReliableRinging) {
        self.wish = match (policy, self.wish) {
            (ReliableRinging::Off, Wish::Supported) => Wish::Unknown,
            (ReliableRinging::Require, Wish::Supported) => Wish::Required,
            (_, wish) => wish,
        };
    }

    /// The next moment at which something of it is due.
    pub(crate) fn deadline(&self) -> Mono {
        let machine = self.waiting.and_then(|waiting| waiting.machine);
        machine.map_or(Mono::NEVER, |machine| machine.deadline())
    }

    /// The final response is out: nothing provisional is sent any more.
    pub(super) fn answered(&mut self) {
        self.next = None;
        if let Some(waiting) = &mut self.waiting {
            waiting.machine = None;
        }
    }

    pub(super) fn free(&mut self, arena: &mut Arena) {
        if let Some(mut held) = self.peer.take() {
            arena.free(&mut held.text);
        }
    }

    /// The response that this PRACK is for; None if no such one waits.
    fn waits_for(&self, message: &Message<'_>) -> Option<Waiting> {
        let rack = message.rack().ok()?;
        let is_it = rack.rseq == self.rseq
            && rack.cseq.number == self.cseq
            && rack.cseq.method == Method::Invite;
        self.waiting.filter(|_| is_it)
    }
}

impl LegMut<'_, '_> {
    /// A provisional response. One without a description is a lesser thing than one with it.
    pub(crate) fn progress(&mut self, code: u16, described: bool) {
        if !self.leg.is_waiting() {
            return;
        }
        let offerless = self.is_offerless();
        let Some(side) = self.leg.inbound_mut() else { return };
        let reliable = &mut side.reliable;
        let described = described && !reliable.is_agreed;
        if reliable.waiting.is_some() {
            let before = reliable.next.is_some_and(|(_, described)| described);
            reliable.next = Some((code, described || before));
            return;
        }
        let wish = reliable.wish;
        // The first one that is acknowledged has to bring an offer where the INVITE had none (RFC
        // 3261 section 13.2.1).
        let offers = wish == Wish::Required && offerless;
        if offers && !self.leg.offer.is_open() && self.offer_own().is_err() {
            return;
        }
        let described = described || offers;
        self.leg.advance(Move::Ring);
        if wish == Wish::Required || wish == Wish::Supported && described {
            return self.progress_reliably(code, described);
        }
        self.reply(&Answer { described, ..Answer::new(code) });
    }

    fn progress_reliably(&mut self, code: u16, described: bool) {
        let Some(last) = self.leg.inbound().map(|side| side.reliable.rseq) else { return };
        let rseq = match last {
            // Far below the end of the numbers, whatever follows.
            0 => (self.cx.core.random.u32() >> 8).max(1),
            last => last.saturating_add(1),
        };
        if !self.reply(&Answer { described, rseq, ..Answer::new(code) }) {
            return;
        }
        let machine = Accepted2xx::provisional(self.cx.now.mono, &self.cx.core.sip_timers());
        let Some(side) = self.leg.inbound_mut() else { return };
        side.reliable.rseq = rseq;
        side.reliable.waiting = Some(Waiting { machine: Some(machine), described, repeats: 0 });
    }

    /// The PRACK of one does not come: it is sent again, and in the end the call is refused (RFC
    /// 3262 section 3).
    pub(super) fn reliable_timeout(&mut self) {
        let (now, timers) = (self.cx.now.mono, self.cx.core.sip_timers());
        // Who may not be there is not told for ever.
        let most = if self.leg.is_unheard() { UNHEARD_REPEATS } else { u8::MAX };
        let Some(side) = self.leg.inbound_mut() else { return };
        let Some(waiting) = side.reliable.waiting.as_mut() else { return };
        let Some(machine) = waiting.machine.as_mut() else { return };
        let actions = machine.handle_timeout(now, &timers);
        if actions.has(Actions::RESEND) && waiting.repeats < most {
            waiting.repeats = waiting.repeats.saturating_add(1);
            self.transactions.servers.resend(&mut self.cx, side.invite);
        }
        if actions.has(Actions::TIMEOUT) {
            self.refuse(&Answer::new(504), Cause::NoAck, Party::Switch);
        }
    }

    /// The 2xx must not go before the caller has acknowledged our description.
    pub(super) fn must_wait(&self) -> bool {
        let waiting = self.leg.inbound().and_then(|side| side.reliable.waiting);
        waiting.is_some_and(|waiting| waiting.described)
    }

    /// The caller has acknowledged our description and waits for the answer: its next offer may
    /// come (RFC 3311 section 5.1).
    pub(super) fn is_agreed_early(&self) -> bool {
        self.leg.is_waiting() && self.leg.inbound().is_some_and(|side| side.reliable.is_agreed)
    }

    /// The callee that rings has answered our offer, which we have acknowledged: its next offer may
    /// come (RFC 3311 section 5.1).
    pub(super) fn is_settled_early(&self) -> bool {
        let signalling = &self.leg.signalling;
        let Some(dialog) = signalling.dialog.filter(|_| self.leg.state == State::Calling) else {
            return false;
        };
        let tag = dialog.id(self.cx.core.arena.get(&signalling.text)).remote_tag;
        let settled = self.leg.outbound().map_or(0, |side| side.settled);
        settled != 0 && settled == self.branch_named(tag)
    }

    /// The call is answered for itself once the 2xx may go.
    pub(super) fn hold_own(&mut self) {
        if let Some(side) = self.leg.inbound_mut() {
            side.reliable.own = true;
        }
    }

    /// The call is answered with what another leg answered once the 2xx may go. The first one to
    /// answer is the one.
    pub(super) fn hold_answer(&mut self, from: LegId, call: CallId, sdp: &[u8], view: &View) {
        let Some(side) = self.leg.inbound() else { return };
        let held = side.reliable.peer.as_ref().map_or(LegId::NONE, |held| held.from);
        if held != from && self.leg.links.children.contains(&held) {
            let cause = Cause::OtherAnswered;
            return self.tell_peer(from, &PeerMessage::Refused { cause });
        }
        let answer = self.held(from, call, sdp, view);
        let arena = &mut self.cx.core.arena;
        let Some(side) = self.leg.inbound_mut() else { return };
        side.reliable.free(arena);
        match answer {
            Some(held) => side.reliable.peer = Some(held),
            None => self.tell_peer(from, &PeerMessage::Refused { cause: Cause::Internal }),
        }
    }

    /// What another leg has answered, to be taken later ([`LegMut::answer_held`]).
    pub(super) fn held(
        &mut self,
        from: LegId,
        call: CallId,
        sdp: &[u8],
        view: &View,
    ) -> Option<Held> {
        let text = self.stored(&HeldAnswer { call, sdp, view: view.clone() })?;
        Some(Held { from, text })
    }

    fn stored(&mut self, held: &HeldAnswer<'_>) -> Option<Stored> {
        let mut bytes = [0; MESSAGE_BYTES];
        let len = wire::encode(held, &mut bytes).ok()?;
        self.cx.core.arena.store(&bytes[..len])
    }

    /// What the far end of a leg whose answer is held takes is another thing.
    pub(super) fn held_changed(&mut self, from: LegId, view: &View) {
        let held = self.leg.inbound().and_then(|side| side.reliable.peer.as_ref());
        let Some(held) = held.filter(|held| held.from == from) else { return };
        let mut text = [0; MESSAGE_BYTES];
        let len = held.text.len().min(text.len());
        text[..len].copy_from_slice(&self.cx.core.arena.get(&held.text)[..len]);
        let Ok(answer) = wire::decode::<HeldAnswer<'_>>(&text[..len]) else { return };
        let Some(text) = self.stored(&HeldAnswer { view: view.clone(), ..answer }) else { return };
        let arena = &mut self.cx.core.arena;
        let Some(side) = self.leg.inbound_mut() else { return };
        side.reliable.free(arena);
        side.reliable.peer = Some(Held { from, text });
    }

    /// A PRACK (RFC 3262 sections 3 and 5).
    pub(super) fn prack(&mut self, request: &Request<'_>) {
        let message = request.message;
        if message.rack().is_err() {
            self.respond_short(request, 400);
            return;
        }
        let waiting = self.leg.inbound().and_then(|side| side.reliable.waits_for(message));
        let Some(Waiting { described, .. }) = waiting else {
            self.respond_short(request, 481);
            return;
        };
        let is_late = described && self.leg.offer.is_open();
        let has_offer = !is_late && !matches!(message.sdp(), SdpBody::None);
        if has_offer
            && described
            && let Some(side) = self.leg.inbound_mut()
        {
            side.reliable.is_agreed = true;
        }
        let heard = match has_offer {
            true => self.answer_early_offer(request),
            false => self.respond_short(request, 200),
        };
        if !heard {
            return;
        }
        self.hears_us();
        let Some(side) = self.leg.inbound_mut() else { return };
        side.reliable.waiting = None;
        side.reliable.is_agreed |= described;
        if is_late && !self.take_late_answer(message) {
            return;
        }
        self.go_on();
    }

    /// The PRACK of a response with our offer brings the answer. False if the call is over.
    fn take_late_answer(&mut self, message: &Message<'_>) -> bool {
        let sdp = message.sdp().readable().unwrap_or_default();
        if let Err(bad) = self.take_answer(sdp, true) {
            self.refuse_offer(bad);
            return false;
        }
        // Early media that was there before is there for it now.
        for child in self.leg.links.children.clone() {
            self.tell_peer(child, &PeerMessage::Unheard);
        }
        true
    }

    /// What waited for a PRACK.
    fn go_on(&mut self) {
        if !self.leg.is_waiting() {
            return;
        }
        let Some(side) = self.leg.inbound_mut() else { return };
        let reliable = &mut side.reliable;
        let (own, held) = (core::mem::take(&mut reliable.own), reliable.peer.take());
        let next = reliable.next.take();
        if own {
            self.answer_for_itself(self.leg.limit_ms);
        }
        match (held, next) {
            (Some(held), _) => self.answer_held(held),
            (None, Some((code, described))) => self.progress(code, described),
            (None, None) => {}
        }
    }

    pub(super) fn answer_held(&mut self, mut held: Held) {
        let arena = &mut self.cx.core.arena;
        let mut text = [0; MESSAGE_BYTES];
        let len = held.text.len().min(text.len());
        text[..len].copy_from_slice(&arena.get(&held.text)[..len]);
        arena.free(&mut held.text);
        if let Ok(HeldAnswer { call, sdp, view }) = wire::decode(&text[..len]) {
            self.on_peer_answer(held.from, call, sdp, &view);
        }
    }

    /// The next offer of a caller that is not answered yet, in a PRACK or an UPDATE: it is answered
    /// at once. False if there was no room for a word.
    pub(super) fn answer_early_offer(&mut self, request: &Request<'_>) -> bool {
        let message = request.message;
        let Some(server) = self.open(request) else {
            self.cx.answer(request.datagram, message, 500);
            return false;
        };
        let may = self.is_agreed_early() && self.leg.offer.phase() == Phase::Agreed
            || self.is_settled_early();
        let read = if may { self.read_change(message) } else { Err(OPEN) };
        let exchanged = match read {
            Ok(exchanged) => exchanged,
            Err(bad) => {
                self.refuse_in(server, request, bad);
                return true;
            }
        };
        let refreshes = message.method() == Some(Method::Update);
        if refreshes {
            self.move_target(message);
        }
        let (leg, source) = (&*self.leg, request.datagram.hop.to);
        let frame = self.cx.compose(|out, core| {
            let mut writer = reply_to(out, message, &Reply::new(200, None, Some(source)));
            if refreshes {
                writer = contact(writer, leg.named(core));
                writer = writer.field(Name::Allow, ALLOW);
            }
            let sdp = exchanged.as_ref().map(|exchanged| core.arena.get(exchanged.ours()));
            let writer = writer.with(sdp, |writer, sdp| writer.content(b"application/sdp", sdp));
            writer.finish().ok().map(<[u8]>::len)
        });
        let Some(frame) = frame else {
            if let Some(exchanged) = exchanged {
                self.abandon(exchanged);
            }
            self.unheard(server, message);
            return false;
        };
        self.transactions.servers.send(&mut self.cx, server, 200, frame);
        if let Some(exchanged) = exchanged {
            self.adopt(exchanged);
        }
        true
    }
}
