//! What time brings to a leg, and its end.

use arrayvec::ArrayVec;
use base::LegId;
use wire::counter::Counter;
use wire::event::{Cause, Party};

use super::timers::meter_at;
use super::timers::{ALL, Timer};
use super::{Answer, CHILDREN_MAX, Deadlines, LegMut, Move, Side, State, cause_text};
use crate::handoff::PeerMessage;
use crate::transaction::ServerId;

impl LegMut<'_, '_> {
    /// Everything of the leg whose time may have come.
    pub(crate) fn timeout(&mut self) {
        self.accepted_timeout();
        for timer in ALL {
            if self.leg.deadlines.take(timer, self.cx.now.mono) {
                self.on_timer(timer);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Hold => {
                self.cx.count(Counter::RefusedNoController);
                let answer = Answer { retry_after: 5, ..Answer::new(503) };
                self.refuse(&answer, Cause::NoController, Party::Switch);
            }
            Timer::Ringing if self.leg.state == State::Arrived => self.progress(180, false),
            Timer::Ringing => {}
            Timer::Setup => self.refuse(&Answer::new(480), Cause::NoAnswer, Party::Switch),
            Timer::Target => self.target_lost(),
            Timer::Ring => self.hang_up(Cause::NoAnswer, Party::Switch),
            Timer::Limit => self.hang_up(Cause::TimeLimit, Party::Switch),
            Timer::Session => self.hang_up(Cause::SessionExpired, Party::Switch),
            Timer::Refresh => self.refresh(),
            Timer::Offer => self.align(),
            Timer::Meter => self.meter_tick(),
        }
    }

    fn meter_tick(&mut self) {
        if !self.leg.is_up() {
            return;
        }
        self.leg.deadlines.set(Timer::Meter, meter_at(self.leg.id, self.cx.now.mono));
        // No stamp: what stands in the cell of a standing leg is for a successor only.
        crate::usage::refresh(&self.cx, self.leg, self.media);
        self.media.report(&mut self.cx, self.leg.id);
        self.watch();
    }

    /// Ends the leg from our side, whatever its state.
    pub(crate) fn hang_up(&mut self, cause: Cause, by: Party) {
        match self.leg.state {
            State::Arrived | State::Ringing => {
                return self.refuse(&Answer::new(status_of(cause)), cause, by);
            }
            State::Calling => self.send_cancel(cause),
            // An unacknowledged 2xx forbids BYE until its ACK (RFC 3261 section 15): it follows
            // then.
            State::Answering | State::Standing if self.leg.signalling.accepted.is_none() => {
                self.send_bye();
            }
            _ => {}
        }
        self.finish(cause, by);
    }

    /// CANCEL of the INVITE in force, with the reason that the caller gave or ours.
    fn send_cancel(&mut self, cause: Cause) {
        let Side::Outbound(side) = &self.leg.side else { return };
        let invite = side.invite;
        let mut reason = [0; 256];
        let said = self.cx.core.arena.get(&self.leg.signalling.reason);
        let said = if said.is_empty() { cause_text(cause) } else { said };
        let len = said.len().min(reason.len());
        reason[..len].copy_from_slice(&said[..len]);
        self.transactions.clients.cancel(&mut self.cx, invite, &reason[..len]);
    }

    /// The leg is over: its media ends, its usage is closed and told, the legs around it hear of
    /// it.
    pub(crate) fn finish(&mut self, cause: Cause, by: Party) {
        if self.leg.is_over() {
            return;
        }
        self.leg.advance(Move::End);
        self.leg.story.cause = cause;
        self.leg.story.by = by;
        self.leg.story.ended = self.stamp();
        self.leg.deadlines = Deadlines::default();
        let links = &mut self.leg.links;
        let mut around: ArrayVec<LegId, { CHILDREN_MAX + 2 }> = links.children.drain(..).collect();
        for other in [links.partner, links.early, links.dialed_for] {
            if other != LegId::NONE && !around.contains(&other) {
                let _ = around.try_push(other);
            }
        }
        (links.partner, links.early) = (LegId::NONE, LegId::NONE);
        crate::usage::close(&mut self.cx, self.leg, self.media);
        self.end_transactions();
        self.media.close(&mut self.cx, self.leg.id);
        let mut reason = [0; 256];
        let said = self.cx.core.arena.get(&self.leg.signalling.reason);
        let len = said.len().min(reason.len());
        reason[..len].copy_from_slice(&said[..len]);
        let (code, reason) = (self.leg.story.code, crate::usage::text(&reason[..len]));
        for other in around {
            self.tell_peer(other, &PeerMessage::Ended { code, cause, reason });
        }
    }

    /// Its transactions go on alone: they answer repetitions and do what the protocol still owes.
    fn end_transactions(&mut self) {
        match &mut self.leg.side {
            Side::Inbound(side) => {
                let invite = core::mem::replace(&mut side.invite, ServerId::NONE);
                self.transactions.servers.orphan(self.cx.core, invite);
            }
            Side::Outbound(side) => self.transactions.clients.orphan(side.invite),
        }
        let asked = self.leg.signalling.asked;
        self.transactions.clients.orphan(asked);
    }

    /// A fault of ours while handling this leg: it ends, the others go on.
    pub(crate) fn fault(&mut self) {
        self.hang_up(Cause::Internal, Party::Switch);
    }

    /// Not even its far end can be told.
    pub(crate) fn bury(&mut self) {
        self.finish(Cause::Internal, Party::Switch);
    }
}

/// The final status by which an unanswered incoming leg learns of this cause.
pub(crate) fn status_of(cause: Cause) -> u16 {
    match cause {
        Cause::Busy => 486,
        Cause::NoAnswer | Cause::Unreachable | Cause::Canceled => 480,
        Cause::Rejected => 603,
        Cause::NotFound | Cause::NoRoute => 404,
        Cause::Forbidden => 403,
        Cause::NoCodec => 488,
        Cause::NoPort | Cause::Overload | Cause::NoController | Cause::Restart => 503,
        Cause::TimeLimit | Cause::Normal | Cause::OtherAnswered => 487,
        _ => 500,
    }
}
