//! What time brings to a leg, and its end.

use base::LegId;
use wire::counter::Counter;
use wire::event::{Cause, Party};

use super::timers::{ALL, Timer};
use super::{Answer, Deadlines, LegMut, Move, Side, State, cause_text};
use crate::handoff::PeerMessage;
use crate::transaction::ServerId;

impl LegMut<'_, '_> {
    /// Everything of the leg whose time may have come.
    pub(crate) fn timeout(&mut self) {
        self.accepted_timeout();
        self.reliable_timeout();
        for timer in ALL {
            if self.leg.deadlines.take(timer, self.cx.now.mono) {
                self.on_timer(timer);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        crate::faults::touch(crate::faults::Site::LegTimer);
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
        }
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
                if cause == Cause::OtherAnswered {
                    let reason = crate::usage::text(cause_text(cause));
                    self.leg.signalling.reason_from(&mut self.cx.core.arena, reason);
                }
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
            // A fault came between: what it left undone is done.
            return self.end_owed();
        }
        self.leg.advance(Move::End);
        self.leg.story.cause = cause;
        self.leg.story.by = by;
        self.leg.story.ended = self.stamp();
        self.leg.deadlines = Deadlines::default();
        self.leg.owes = Owes::Usage;
        // What it sends from now on comes behind its end.
        self.cx.core.watch.leave();
        self.cx.core.holds.remove(&self.leg.id);
        self.forget_gift();
        self.cx.core.attempts.remove(&self.leg.id);
        self.cx.core.proven.remove(&self.leg.id);
        self.forget_refusal();
        self.forget_parts();
        self.end_owed();
    }

    /// What is left to be done of the leg's end.
    fn end_owed(&mut self) {
        while let Some(next) = self.leg.owes.next() {
            #[cfg(test)]
            trip::touch(self.leg.owes);
            match self.leg.owes {
                Owes::Usage => crate::usage::close(&mut self.cx, self.leg, self.media),
                Owes::Event => crate::usage::emit_ended(&mut self.cx, self.leg, self.media),
                Owes::Transactions => self.end_transactions(),
                Owes::Media => self.media.close(&mut self.cx, self.leg.id),
                Owes::Peers => self.tell_all_around(),
                Owes::Nothing => {}
            }
            self.leg.owes = next;
        }
    }

    /// Each of the legs around it hears once that it is over.
    fn tell_all_around(&mut self) {
        let mut reason = [0; 256];
        let said = self.cx.core.arena.get(&self.leg.signalling.reason);
        let len = said.len().min(reason.len());
        reason[..len].copy_from_slice(&said[..len]);
        let (code, cause) = (self.leg.story.code, self.leg.story.cause);
        let ended = PeerMessage::Ended { code, cause, reason: crate::usage::text(&reason[..len]) };
        while let Some(other) = self.leg.links.leave_one() {
            self.tell_peer(other, &ended);
        }
    }

    /// Its transactions go on alone: they answer repetitions and do what the protocol still owes.
    fn end_transactions(&mut self) {
        match &mut self.leg.side {
            Side::Inbound(side) => {
                let invite = core::mem::replace(&mut side.invite, ServerId::NONE);
                self.transactions.servers.orphan(self.cx.core, invite);
            }
            Side::Outbound(side) => {
                self.transactions.clients.orphan(self.cx.core, side.invite);
                self.forget_pracks();
            }
        }
        let asked = self.leg.signalling.asked;
        self.transactions.clients.orphan(self.cx.core, asked);
        self.forget_referral();
        self.forget_texts();
        self.transactions.asked.end(self.leg.id);
        self.transactions.clients.logins.leave(&mut self.cx.core.arena, self.leg.id);
    }

    /// A fault of ours while handling this leg: it ends, the others go on.
    pub(crate) fn fault(&mut self) {
        self.hang_up(Cause::Internal, Party::Switch);
    }

    /// Not even its far end can be told.
    pub(crate) fn bury(&mut self) {
        // What failed twice is left out; what comes behind it is not.
        if let Some(next) = self.leg.owes.next() {
            self.leg.owes = next;
        }
        self.finish(Cause::Internal, Party::Switch);
    }
}

/// What is next to be done of a leg's end: each step is done whole before the next, so that a fault
/// in one (ours) leaves those behind it to another try. Money comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owes {
    Usage,
    Event,
    Transactions,
    Media,
    Peers,
    /// It stands, or its end is complete.
    Nothing,
}

impl Owes {
    fn next(self) -> Option<Self> {
        Some(match self {
            Self::Usage => Self::Event,
            Self::Event => Self::Transactions,
            Self::Transactions => Self::Media,
            Self::Media => Self::Peers,
            Self::Peers => Self::Nothing,
            Self::Nothing => return None,
        })
    }
}

impl super::Links {
    /// Takes the next leg that hears of the end; each once.
    fn leave_one(&mut self) -> Option<LegId> {
        let parent = (!core::mem::replace(&mut self.parent_left, true)).then_some(self.dialed_for);
        let taken = self.children.pop_at(0);
        let taken = taken.or_else(|| (self.partner != LegId::NONE).then_some(self.partner));
        let taken = taken.or_else(|| (self.early != LegId::NONE).then_some(self.early));
        let Some(other) = taken else { return parent.filter(|parent| *parent != LegId::NONE) };
        self.parent_left = parent.is_none_or(|parent| parent == other);
        self.children.retain(|child| *child != other);
        for link in [&mut self.partner, &mut self.early] {
            if *link == other {
                *link = LegId::NONE;
            }
        }
        Some(other)
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

/// Faults planted by tests.
#[cfg(test)]
pub(crate) mod trip {
    use super::Owes;
    use core::cell::Cell;

    std::thread_local! {
        /// The step, and how often it fails.
        pub(crate) static AT: Cell<(Owes, u8)> = const { Cell::new((Owes::Nothing, 0)) };
    }

    pub(super) fn touch(step: Owes) {
        let (at, times) = AT.get();
        if at == step && times > 0 {
            AT.set((at, times - 1));
            panic!("planted");
        }
    }
}
