//! Session timers (RFC 4028), offers of ours inside the dialog, and signs of life.
//!
//! Where a timer is agreed, a dead far end is found by it: we refresh, or we are refreshed. Where
//! none is, an answered leg that says nothing (no RTP, no RTCP, no request, no answer) is ended
//! after the media timeout; one that is held may be silent, so it is asked first, by OPTIONS.

use base::{LegId, Mono};
use core::time::Duration;
use sip::Message;
use sip::session::Agreed;
use wire::event::{Cause, Party};

use super::agree::{Need, hear_each_other, need};
use super::timers::Timer;
use super::{LegMut, State};
use crate::handoff::PeerMessage;
use crate::transaction::{ClientId, Outcome, Report, Sent};

/// Offers of ours in a row that one change may bring about.
const ATTEMPTS_MAX: u8 = 6;
/// How long an offer of the other leg, or a busy far end, is waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// A refusal that names no time is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// And a refresh after this at most.
const LATER_MAX: Duration = Duration::from_secs(120);

/// What is agreed beside the media.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) agreed: Option<Agreed>,
    /// An OPTIONS of ours that asks whether the far end lives.
    pub(super) probe: ClientId,
    /// Min-SE that a 422 asked for, seconds (RFC 4028 section 7.3); 0 for none.
    min_se: u32,
    /// The partner's offer was waited for once.
    waited: bool,
    /// What is only partly in common with the partner is not good enough.
    pub(crate) strict: bool,
    heard: Heard,
}

/// How the far end was heard when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    relayed: u64,
    undeliverable: u32,
    /// Looks in a row at which it spoke and nothing of it was heard.
    mute: u8,
}

/// So many seconds of speech that nobody hears end a join.
const MUTE_MAX: u8 = 3;

impl Default for Session {
    fn default() -> Self {
        Self {
            agreed: None,
            probe: ClientId::NONE,
            min_se: 0,
            waited: false,
            strict: false,
            heard: Heard::default(),
        }
    }
}

impl LegMut<'_, '_> {
    /// The session timer in force from now on; None for none.
    pub(crate) fn session_agreed(&mut self, agreed: Option<Agreed>) {
        let now = self.cx.now.mono;
        let agreed = agreed.filter(|_| self.leg.signalling.policy.session_timer);
        let after = |seconds: u32| now + Duration::from_secs(u64::from(seconds));
        self.leg.session.agreed = agreed;
        let deadlines = &mut self.leg.deadlines;
        deadlines.clear(Timer::Session);
        deadlines.clear(Timer::Refresh);
        let Some(agreed) = agreed else { return };
        deadlines.set(Timer::Session, after(agreed.expire_after()));
        if agreed.refresher_is_us {
            deadlines.set(Timer::Refresh, after(agreed.refresh_after()));
        }
    }

    /// Our turn to refresh: by UPDATE where the far end takes it, else by a re-INVITE that changes
    /// nothing.
    pub(crate) fn refresh(&mut self) {
        let Some(agreed) = self.leg.session.agreed else { return };
        if self.leg.state != State::Standing
            || self.leg.signalling.asked != ClientId::NONE
            || self.leg.signalling.accepted.is_some()
        {
            return self.leg.deadlines.set(Timer::Refresh, self.cx.now.mono + RETRY);
        }
        if !self.leg.signalling.allows_update {
            return self.reinvite_unchanged();
        }
        let min_se = self.leg.session.min_se;
        let asked = self.ask(Sent::Update, |writer, _| {
            let writer = agreed.write_request(writer, min_se);
            writer.finish().ok().map(<[u8]>::len)
        });
        self.leg.signalling.asked = asked.unwrap_or(ClientId::NONE);
        self.leg.deadlines.set(Timer::Refresh, self.cx.now.mono + PATIENCE);
    }

    fn reinvite_unchanged(&mut self) {
        let now = self.cx.now.mono;
        let sent = self.may_refresh() && self.offer_unchanged().is_ok() && self.send_reinvite();
        self.leg.deadlines.set(Timer::Refresh, now + if sent { PATIENCE } else { RETRY });
    }

    /// What is in force may be offered once more: nothing else is open, and no far end that was
    /// busy is given its time. A stream that stopped is refreshed too, and so is a leg that waits
    /// for its partner.
    fn may_refresh(&self) -> bool {
        let busy = self.leg.deadlines.is_set(Timer::Offer) && !self.leg.session.waited;
        let over = self.leg.deadlines.is_due(Timer::Offer, self.cx.now.mono);
        self.leg.has_nothing_open() && (!busy || over)
    }

    /// An offer of ours that was refused for now is tried again then; a refresh is, too.
    fn retry_at(&mut self, at: Mono) {
        let deadlines = &mut self.leg.deadlines;
        deadlines.set(Timer::Offer, at);
        if deadlines.is_due(Timer::Refresh, self.cx.now.mono + PATIENCE) {
            deadlines.set(Timer::Refresh, at);
        }
    }

    /// Sends the offer that is open. False if it could not be sent.
    fn send_reinvite(&mut self) -> bool {
        let (agreed, min_se) = (self.leg.session.agreed, self.leg.session.min_se);
        let sdp = self.leg.offer.take_text();
        let asked = self.ask(Sent::Reinvite, |writer, arena| {
            let writer = match agreed {
                Some(agreed) => agreed.write_request(writer, min_se),
                None => writer.field(sip::Name::Supported, b"timer"),
            };
            let sdp = sdp.as_ref().map_or(&b""[..], |text| arena.get(text));
            writer.content(b"application/sdp", sdp).finish().ok().map(<[u8]>::len)
        });
        self.leg.offer.give_text(sdp);
        match asked {
            Some(asked) => self.leg.signalling.asked = asked,
            None => {
                self.leg.offer.refused(&mut self.cx.core.arena);
                self.leg.deadlines.set(Timer::Offer, self.cx.now.mono + RETRY);
            }
        }
        asked.is_some()
    }

    /// Sees to it that the two far ends of a join hear each other and that each knows what the
    /// other wants: by an offer of ours, where that is to be had.
    pub(crate) fn align(&mut self) {
        if self.leg.state != State::Standing {
            return;
        }
        let (mine, theirs) = (self.view(), self.peer_view());
        let first = self.leg.id < self.leg.links.partner;
        let stream = self.media.stream(self.leg.id);
        let strict = self.leg.session.strict || stream.is_some_and(|stream| stream.is_strange());
        let joined = self.leg.links.partner != LegId::NONE;
        let need = if joined { need(&mine, &theirs, first, strict) } else { Need::Nothing };
        match need {
            Need::Impossible => return self.give_up_join(),
            Need::Wait => return self.wait_for_partner(),
            Need::Nothing => {
                self.leg.session.strict = false;
                self.stop_waiting();
            }
            Need::Offer(_) => self.stop_waiting(),
        }
        let codecs = match &need {
            Need::Offer(codecs) => Some(codecs),
            _ if self.direction_differs() => None,
            _ => return,
        };
        if !self.may_offer() {
            return;
        }
        if self.leg.offer.attempts >= ATTEMPTS_MAX {
            if codecs.is_some() {
                self.give_up_join();
            }
            return;
        }
        match self.reoffer(codecs) {
            Ok(()) => {
                self.send_reinvite();
            }
            Err(_) if codecs.is_some() => self.give_up_join(),
            Err(_) => {}
        }
    }

    /// The partner has been offered what it had to be: nothing holds our own offers back.
    fn stop_waiting(&mut self) {
        if core::mem::take(&mut self.leg.session.waited) {
            self.leg.deadlines.clear(Timer::Offer);
        }
    }

    /// The partner is offered anew; should nothing come of it, the join ends.
    fn wait_for_partner(&mut self) {
        if self.leg.deadlines.is_set(Timer::Offer) {
            return;
        }
        if self.leg.session.waited {
            return self.give_up_join();
        }
        self.leg.session.waited = true;
        self.leg.deadlines.set(Timer::Offer, self.cx.now.mono + PATIENCE);
    }

    /// The two far ends cannot hear each other: better no call than a silent one. Of a caller and a
    /// leg dialled for it, the dialled one ends; what becomes of the caller is for its route or its
    /// application to say. Of two that an application joined neither is the one too many: the join
    /// is undone, which both tell, and both stand.
    fn give_up_join(&mut self) {
        if hear_each_other(&self.view(), &self.peer_view())
            && self.leg.session.heard.mute < MUTE_MAX
        {
            // It could be better, but it is heard.
            return;
        }
        let links = &self.leg.links;
        let partner = links.partner;
        if links.dialed_for == partner {
            return self.hang_up(Cause::NoCodec, Party::Switch);
        }
        if links.children.contains(&partner) {
            return self.tell_peer(partner, &PeerMessage::Refused { cause: Cause::NoCodec });
        }
        self.leg.session.heard.mute = 0;
        self.leave_join();
    }

    /// What became of a re-INVITE of ours.
    pub(crate) fn reinvite_outcome(&mut self, outcome: &Outcome, message: Option<&Message<'_>>) {
        let waiting = self.leg.signalling.asked == outcome.id;
        match (outcome.report, message) {
            (Report::Response(..200), _) => {}
            (Report::Response(200..300), Some(message)) => {
                if waiting {
                    // The ACK goes to the new target already (RFC 3261 section 12.2.1.2).
                    self.move_target(message);
                }
                self.send_ack(outcome.id, outcome.cseq);
                if waiting {
                    self.reinvite_answered(message);
                }
            }
            _ if !waiting => {}
            (Report::Response(code), Some(message)) => self.reinvite_refused(code, message),
            _ => self.reinvite_lost(),
        }
    }

    fn reinvite_answered(&mut self, message: &Message<'_>) {
        self.leg.signalling.asked = ClientId::NONE;
        self.read_allow(message);
        self.session_agreed(sip::session::as_client(message));
        let sdp = message.sdp().readable().unwrap_or_default();
        match self.take_answer(sdp, true) {
            Ok(()) => self.changed(),
            Err(bad) => self.hang_up(bad.cause, Party::Switch),
        }
    }

    fn reinvite_refused(&mut self, code: u16, message: &Message<'_>) {
        self.leg.signalling.asked = ClientId::NONE;
        self.leg.offer.refused(&mut self.cx.core.arena);
        self.leg.session.waited = false;
        match code {
            // The dialog is gone (RFC 3261 section 12.2.1.2).
            408 | 481 => self.hang_up(Cause::SessionExpired, Party::Remote),
            491 => {
                let at = self.glare_over();
                self.retry_at(at);
            }
            422 => {
                let at = self.cx.now.mono + RETRY;
                let longer = self.lengthen(message);
                self.retry_at(at);
                if !longer && self.leg.deadlines.is_due(Timer::Refresh, at) {
                    let at = self.refresh_again();
                    self.leg.deadlines.set(Timer::Refresh, at);
                }
            }
            500 | 503 => {
                let seconds = message.number(sip::Name::RetryAfter).unwrap_or(2).clamp(1, 10);
                let after = Duration::from_secs(u64::from(seconds));
                self.retry_at(self.cx.now.mono + after);
            }
            _ => {
                // It takes nothing else than it has.
                self.leg.offer.declined();
                self.changed();
            }
        }
    }

    /// 422: the interval is at least what the far end takes (RFC 4028 section 7.3).
    /// False if it names no longer one than ours.
    fn lengthen(&mut self, message: &Message<'_>) -> bool {
        let (Some(agreed), Some(min_se)) =
            (self.leg.session.agreed, sip::session::min_se_of_422(message))
        else {
            return false;
        };
        let seconds = agreed.seconds.max(min_se);
        self.leg.session.min_se = self.leg.session.min_se.max(min_se);
        self.leg.session.agreed = Some(Agreed { seconds, ..agreed });
        seconds > agreed.seconds
    }

    /// When a refresh that was refused is asked for once more: soon where the session is about to
    /// end, seldom where it has long to go.
    fn refresh_again(&self) -> Mono {
        let now = self.cx.now.mono;
        let left = self.leg.deadlines.left(Timer::Session, now);
        now + (left / 8).clamp(RETRY, LATER_MAX)
    }

    /// When a request that met one of the far end's may be tried again (RFC 3261 section 14.1).
    fn glare_over(&mut self) -> Mono {
        let owner = self.leg.signalling.dialog.is_some_and(|dialog| dialog.caller);
        let (least, steps) = if owner { (2_100, 190) } else { (0, 200) };
        let tens = self.cx.core.random.below(steps + 1);
        self.cx.now.mono + Duration::from_millis(least + tens * 10)
    }

    /// Nobody answered a re-INVITE. The dialog is over (RFC 3261 section 12.2.1.2), unless the far
    /// end is heard: then it only does not take offers.
    fn reinvite_lost(&mut self) {
        self.leg.signalling.asked = ClientId::NONE;
        self.leg.offer.refused(&mut self.cx.core.arena);
        let alive = self.alive_at();
        if self.cx.now.mono.since(alive) > Duration::from_secs(10) {
            return self.hang_up(Cause::SessionExpired, Party::Switch);
        }
        self.leg.offer.declined();
        self.changed();
    }

    /// What became of a refresh by UPDATE.
    pub(crate) fn update_outcome(&mut self, outcome: &Outcome, message: Option<&Message<'_>>) {
        if self.leg.signalling.asked != outcome.id {
            return;
        }
        match (outcome.report, message) {
            (Report::Response(..200), _) => return,
            (Report::Response(200..300), Some(message)) => {
                self.session_agreed(sip::session::as_client(message));
            }
            (Report::Response(408 | 481), _) | (Report::Timeout | Report::Unreachable, _) => {
                return self.hang_up(Cause::SessionExpired, Party::Switch);
            }
            (Report::Response(405 | 501), _) => {
                self.leg.signalling.allows_update = false;
                self.leg.deadlines.set(Timer::Refresh, self.cx.now.mono);
            }
            (Report::Again { .. } | Report::MovedBack, _) => return,
            // Busy: once more, as long as the session lasts.
            (Report::Response(code), message) => {
                let longer = message.is_some_and(|message| code == 422 && self.lengthen(message));
                let at = if longer { self.cx.now.mono + RETRY } else { self.refresh_again() };
                self.leg.deadlines.set(Timer::Refresh, at);
            }
        }
        self.leg.signalling.asked = ClientId::NONE;
        self.align();
    }

    /// When the far end last gave a sign of life, or could not be listened to.
    fn alive_at(&self) -> Mono {
        let heard = self.media.stream(self.leg.id).map_or(Mono(0), crate::media::Stream::alive);
        heard.max(self.leg.signalling.spoke_at).max(self.cx.core.awake)
    }

    /// Once a second: does the far end live, and is what it says heard?
    pub(crate) fn watch(&mut self) {
        let timeout = self.cx.core.plan.timers.media_timeout;
        let silent = self.cx.now.mono.since(self.alive_at());
        if timeout.is_zero() || silent < timeout || !self.leg.is_up() {
            return self.watch_lost();
        }
        let Some(stream) = self.media.stream(self.leg.id).filter(|stream| stream.on) else {
            return;
        };
        let wish = self.leg.offer.wish;
        let expected = stream.plan.direction.receives() && wish.sends() && wish.receives();
        if expected {
            return self.hang_up(Cause::MediaTimeout, Party::Switch);
        }
        // Held: silent by agreement. A session timer watches it, else a question does.
        let watched = self.leg.session.agreed.is_some() || self.leg.session.probe != ClientId::NONE;
        if !watched {
            let probe = self.ask(Sent::Options, |writer, _| writer.finish().ok().map(<[u8]>::len));
            self.leg.session.probe = probe.unwrap_or(ClientId::NONE);
        }
    }

    /// Audio that the other far end cannot take: our far end is asked to speak what it can. One
    /// that will not, and is not heard at all, is not billed for silence.
    fn watch_lost(&mut self) {
        let Some(stream) = self.media.stream(self.leg.id) else { return };
        let (relayed, undeliverable) = (stream.relayed, stream.undeliverable);
        let before = self.leg.session.heard;
        let spoke = undeliverable > 0 && undeliverable != before.undeliverable;
        let asks = self.leg.signalling.asked != ClientId::NONE;
        let mute = match spoke && relayed == before.relayed && !asks {
            true => before.mute + 1,
            false => 0,
        };
        self.leg.session.heard = Heard { relayed, undeliverable, mute };
        if undeliverable == 0 || self.leg.links.partner == LegId::NONE {
            return;
        }
        match mute >= MUTE_MAX {
            true => self.give_up_join(),
            false => self.align(),
        }
    }

    /// What became of the question whether the far end lives.
    pub(crate) fn probe_outcome(&mut self, outcome: &Outcome) {
        if self.leg.session.probe != outcome.id {
            return;
        }
        self.leg.session.probe = ClientId::NONE;
        let gone = matches!(
            outcome.report,
            Report::Timeout | Report::Unreachable | Report::Response(408 | 481)
        );
        if gone {
            self.hang_up(Cause::MediaTimeout, Party::Switch);
        }
    }
}
