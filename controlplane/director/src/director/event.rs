//! What shards tell. Every event may come again after a restart; each is taken once.

use base::{CallId, LegId, Now, ShardId, Wall};
use model::port::OwnedCommand;
use model::{CallEvent, CallStatus};
use wire::Event;

use super::Director;
use super::incoming::Refused;
use crate::live::Live;
use crate::script::Input;

impl Director {
    /// A shard told something.
    pub fn handle_event(&mut self, now: Now, shard: ShardId, event: &Event<'_>) {
        if let Some(replay) = &mut self.replay
            && told_before(replay.since.wall, event)
        {
            replay.told = now.mono;
        }
        self.heard(event);
        match *event {
            Event::Incoming(ref incoming) => self.on_incoming(now, shard, incoming),
            Event::Dialed { call, leg, at } => self.on_dialed(now, call, leg, at),
            Event::Progress { call, leg, at, .. } => self.on_progress(now, call, leg, at),
            Event::Answered { call, leg, at } => self.on_answered(now, call, leg, at),
            Event::Joined { call, peer, at } => self.on_joined(now, call, peer, at),
            // A leg alone hears silence; its script goes on when the other leg's end is told.
            Event::Parted { .. } => {}
            // No verb here listens to digits.
            Event::Digit { .. } => {}
            Event::Ended(ref summary) => self.on_ended(now, shard, summary),
            Event::Unknown { call } => {
                // What tunes a leg may come too late or be given up; its end is told all the same.
                // What something must come of shows that the leg is gone, or was never reached.
                if let Some(live) = self.calls.get(&call)
                    && !live.is_over()
                    && live.volatile.asked
                {
                    self.watch_orphan(now, call);
                }
            }
            Event::Refused { at, source, code, cause, uri, why } => {
                self.on_refused(now, &Refused { at, source, code, cause, uri, why });
            }
            Event::Refer { call, peer, at, to, by, headers } => {
                self.on_refer(now, (shard, call, peer), (at, to, by), headers);
            }
            Event::ReferSaid { call, code, notified, .. } => {
                self.inbox.push_back((call, Input::ReferSaid { code, notified }));
            }
            Event::Declined { call, code, said, .. } => self.on_declined(call, code, said),
            Event::Replaced { call, by, at } => self.on_replaced(now, (call, by, at)),
            Event::Claim(ref claim) => self.on_claim(now, shard, claim),
            Event::Message(ref message) => self.on_message(now, shard, message),
            // The operator's to know, and no call's.
            Event::Target(_) => {}
        }
        self.settle(now);
    }

    pub(super) fn on_dialed(&mut self, now: Now, call: CallId, leg: LegId, at: Wall) {
        self.learn_leg(call, leg);
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if live.set_status(CallStatus::Initiated, now.wall) {
            live.row.start_time = Some(at);
            let waited = at.micros_since(live.row.date_created) / 1_000;
            live.row.queue_time_ms = u32::try_from(waited).unwrap_or(u32::MAX);
            self.calls.touch(call);
            self.tell_event(now, call, CallEvent::Initiated);
        }
    }

    fn on_progress(&mut self, now: Now, call: CallId, leg: LegId, at: Wall) {
        self.on_dialed(now, call, leg, at);
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if live.set_status(CallStatus::Ringing, now.wall) {
            self.calls.touch(call);
            self.tell_event(now, call, CallEvent::Ringing);
        }
    }

    pub(super) fn on_answered(&mut self, now: Now, call: CallId, leg: LegId, at: Wall) {
        self.learn_leg(call, leg);
        if self.calls.get(&call).is_some_and(|live| live.outgoing.is_some()) {
            self.on_dialed(now, call, leg, at);
        }
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if !live.set_status(CallStatus::InProgress, now.wall) {
            return;
        }
        live.row.answer_time = Some(at);
        let elapsed = live.micros_since(now, at);
        let parent = live.row.parent;
        let is_late = live.ending_is_late();
        let leaving = live.ending.is_some();
        live.touch();
        if is_late {
            self.send_ending(call);
        }
        self.tell_event(now, call, CallEvent::Answered);
        if !leaving {
            self.limit_answered(call, elapsed / 1_000);
        }
        if self.calls.get(&call).is_some_and(Live::is_relay) {
            return self.begin_on_relay(now, call);
        }
        match parent {
            Some(parent) => self.inbox.push_back((parent, Input::ChildAnswered { call })),
            None if leaving => {}
            None => {
                self.start_script(now, call);
                self.inbox.push_back((call, Input::Answered));
            }
        }
    }

    /// Its shard learns how long it may last, unless it knows: a caller who was answered by whoever
    /// was dialled for him, and not by a command of ours, lasts no longer than others; a leg whose
    /// limit was changed while it rang lasts so long; and what was asked for by our predecessor,
    /// who may have changed it, is limited once more. `elapsed_ms` since the answer.
    fn limit_answered(&mut self, call: CallId, elapsed_ms: u64) {
        let inbound_ms = self.settings.limits.inbound_ms;
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let (shard, limit_ms) = (live.shard, live.longest_ms(inbound_ms));
        if std::mem::replace(&mut live.volatile.limited, true) || limit_ms == 0 {
            return;
        }
        // 0 would be no limit.
        let elapsed_ms = u32::try_from(elapsed_ms).unwrap_or(u32::MAX);
        let remaining_ms = limit_ms.saturating_sub(elapsed_ms).max(1);
        self.command(shard, OwnedCommand::Limit { call, remaining_ms });
    }

    /// The join tells of the called side's answer too, should its own event have been lost.
    fn on_joined(&mut self, now: Now, call: CallId, peer: CallId, at: Wall) {
        for call in [call, peer] {
            self.relay_joined(call);
            if let Some(leg) = self.calls.get(&call).map(|live| live.leg) {
                self.on_answered(now, call, leg, at);
            }
        }
        // Of several that were answered it is the one that counts.
        for (child, other) in [(call, peer), (peer, call)] {
            if self.calls.get(&child).is_some_and(|live| live.row.parent == Some(other)) {
                self.inbox.push_back((other, Input::ChildJoined { call: child }));
            }
        }
    }

    fn learn_leg(&mut self, call: CallId, leg: LegId) {
        let Some(mut live) = self.calls.get_mut(&call).filter(|_| leg != LegId::NONE) else {
            return;
        };
        // An old event told again is no news of a leg.
        if live.leg != leg {
            live.volatile.missing = None;
            live.shard = leg.shard();
            self.calls.set_leg(call, leg);
            self.calls.touch(call);
        }
    }

    /// Whoever is spoken of is not missing; unless it is told what was told before.
    fn heard(&mut self, event: &Event<'_>) {
        if self.replay.as_ref().is_some_and(|replay| told_before(replay.since.wall, event)) {
            return;
        }
        let of = match *event {
            Event::Dialed { call, .. }
            | Event::Progress { call, .. }
            | Event::Answered { call, .. }
            | Event::Parted { call, .. }
            | Event::Digit { call, .. }
            | Event::Refer { call, .. }
            | Event::ReferSaid { call, .. } => [call, CallId::NONE],
            Event::Message(ref message) => [message.call, CallId::NONE],
            Event::Joined { call, peer, .. } => [call, peer],
            _ => return,
        };
        for call in of {
            if let Some(mut live) = self.calls.get_mut(&call) {
                live.volatile.missing = None;
                live.volatile.asked = false;
            }
        }
    }
}

/// It happened before `since`.
fn told_before(since: Wall, event: &Event<'_>) -> bool {
    moment(event).is_some_and(|at| at < since)
}

/// When it happened, where the event says so.
fn moment(event: &Event<'_>) -> Option<Wall> {
    match *event {
        Event::Incoming(ref incoming) => Some(incoming.at),
        Event::Dialed { at, .. }
        | Event::Progress { at, .. }
        | Event::Answered { at, .. }
        | Event::Joined { at, .. }
        | Event::Refer { at, .. }
        | Event::Declined { at, .. }
        | Event::Replaced { at, .. }
        | Event::ReferSaid { at, .. } => Some(at),
        Event::Ended(ref summary) => Some(summary.ended),
        Event::Message(ref message) => Some(message.at),
        _ => None,
    }
}
