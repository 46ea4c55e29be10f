//! Going on after a death. Each call's last logged state is read back; what it had asked of a
//! shard, of an application or of the resolver is asked again: commands name their call and a shard
//! takes them once, requests carry the token they had. Calls whose legs are gone end when their end
//! is told.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{CallId, LegId, Now};
use model::port::{OwnedCommand, Record, ScriptLog};
use model::{Book, CallStatus, Directory};
use wire::event::Cause;

use super::{ASK_PATIENCE, Director, Replay, Timer, UNSPOKEN_AFTER};
use crate::live::{Live, Outgoing};
use crate::log::{self, BadLog};
use crate::script::{self, Wait};
use crate::settings::Settings;

impl Director {
    /// One that goes on from what was written. Feed it the events not yet released and the closed
    /// cells afterwards; what was told before is taken for known.
    #[must_use]
    pub fn restore(settings: Settings, seed: [u64; 4], now: Now, book: Book) -> Self {
        let mut director = Self::new(settings, seed);
        director.directory = Directory::load(&book);
        director.registrar.load(now, &book.bindings);
        director.remember_proven(&book.bindings);
        let unreadable: BTreeSet<CallId> = book
            .scripts
            .iter()
            .filter(|log| !director.read_back(now, log))
            .map(|log| log.call)
            .collect();
        director.recount_callbacks();
        director.remember_referrers();
        let mut answered = Vec::new();
        for standing in &book.standing {
            if unreadable.contains(&standing.call) {
                let (call, cause) = (standing.call, Cause::Internal);
                director.command(standing.leg.shard(), OwnedCommand::Hangup { call, cause });
            }
            if director.calls.get(&standing.call).is_some_and(|live| !live.is_over()) {
                director.calls.set_leg(standing.call, standing.leg);
            }
            if let Some(mut live) = director.calls.get_mut(&standing.call)
                && !live.is_over()
            {
                live.shard = standing.leg.shard();
                if standing.answered.0 > 0 && !live.is_answered() {
                    answered.push(*standing);
                }
            }
        }
        let standing: BTreeSet<CallId> = book.standing.iter().map(|leg| leg.call).collect();
        let calls: Vec<CallId> = director.calls.ids();
        director.replay = Some(Replay {
            since: now,
            told: now.mono,
            standing: standing.clone(),
            bygone: std::collections::BTreeMap::new(),
        });
        director.after(now, super::ORPHAN_AFTER, Timer::ReplayOver);
        director.forget_subscriptions(now, &standing);
        director.lost = book.lost;
        if book.lost.is_some() {
            director.remember_joins();
        }
        for call in &calls {
            director.end_lost_legs(*call);
        }
        for call in calls {
            director.resume(now, call);
            if !standing.contains(&call) {
                director.watch_orphan(now, call);
            }
        }
        for standing in answered {
            director.on_answered(now, standing.call, standing.leg, standing.answered);
        }
        director.settle(now);
        director
    }

    /// False if it cannot be read: its call ends, told to the operator, billed by its cell.
    fn read_back(&mut self, now: Now, log: &ScriptLog) -> bool {
        let Some(bytes) = &log.state else {
            return true;
        };
        match log::read(bytes) {
            Ok((mut live, logged)) => {
                live.volatile.logged = logged;
                self.remember_cookies(now.wall, &live);
                if let Some(script) = live.script.as_mut() {
                    let bytes_max = self.settings.limits.document_bytes;
                    script.program =
                        script::parse_any(&script.document, bytes_max).unwrap_or_default();
                }
                if !live.is_over() && !live.is_relay() {
                    self.admission.count(self.line(live.row.account).into_iter().flatten());
                }
                // Its row is in no store while it stands: it is said again.
                let (call, over) = (live.call(), live.is_over());
                live.volatile.row_changed = !over;
                self.calls.insert(live);
                if !over {
                    self.calls.touch(call);
                }
                true
            }
            Err(BadLog(why)) => {
                let message = format!("the log of {} cannot be read: {why}; it ends", log.call);
                self.notice(None, Some(log.call), true, message);
                let state = None;
                self.records.push(Record::Script(ScriptLog { call: log.call, state }));
                false
            }
        }
    }

    /// What it dialled and nobody knows any more (its log could not be read) has ended for it: else
    /// nobody would ever tell it so.
    fn end_lost_legs(&mut self, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let Some(Wait::Verb(state)) = live.script.as_ref().map(|script| &script.wait) else {
            return;
        };
        for lost in state.waits_for() {
            if !self.calls.contains(&lost) {
                let (status, cause) = (CallStatus::Failed, Some(Cause::Internal));
                let ended =
                    script::Input::ChildEnded { call: lost, status, code: 0, cause, seconds: 0 };
                self.inbox.push_back((call, ended));
            }
        }
    }

    /// Asks again for what the call waits for.
    pub(super) fn resume(&mut self, now: Now, call: CallId) {
        self.try_callbacks(now, call);
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        if live.is_over() {
            return;
        }
        let shard = live.shard;
        if live.is_relay() {
            self.resume_relay(call);
        } else if live.outgoing.is_some() {
            self.resume_outgoing(now, call);
        } else if live.row.status == CallStatus::Ringing && live.ending.is_none() {
            let account = live.number;
            let setup_ms = super::incoming::SETUP_MS;
            // One that no document is asked for takes another one's place.
            let takes_place = live.script.is_none();
            self.command(shard, OwnedCommand::Accept { call, account, setup_ms });
            if takes_place {
                self.command(shard, OwnedCommand::TakePlace { call });
            }
        } else if live.is_answered() && live.is_between_verbs() {
            // It may have left a join for what its application says next: whether its shard heard
            // of that nobody knows.
            self.command(shard, OwnedCommand::Part { call });
        }
        self.resume_script(now, call);
        self.resume_tellings(now, call);
        self.send_ending(call);
    }

    fn resume_outgoing(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let Some(outgoing) = &live.outgoing else {
            return;
        };
        if Self::too_late(now, live, outgoing) {
            self.over_too_late(now, call);
        } else if !outgoing.sent {
            self.look_up(now, call);
        } else if live.row.parent.is_some()
            && live.script.as_ref().is_some_and(|it| !it.wait.is_joined())
        {
            // It left its Dial; whether its shard heard of it nobody knows.
            let shard = live.shard;
            self.command(shard, OwnedCommand::Part { call });
        } else if live.leg == LegId::NONE && live.ending.is_none() {
            // Its INVITE may be out, and even be answered: what the shard told of it is still to be
            // read. Asked for at once, a leg that has come and gone would be made a second time.
            self.after(now, UNSPOKEN_AFTER, Timer::Unspoken(call));
        }
    }

    /// The rings told nothing of a leg that our predecessor asked for: the command never left it.
    pub(super) fn ask_again(&mut self, now: Now, call: CallId) {
        if self.replay.as_ref().is_some_and(|replay| replay.told + UNSPOKEN_AFTER > now.mono) {
            self.after(now, UNSPOKEN_AFTER, Timer::Unspoken(call));
            return;
        }
        let Some(mut live) = self.calls.get_mut(&call).filter(|live| !live.is_over()) else {
            return;
        };
        let wait = live.script.as_ref().map(|script| &script.wait);
        if let Some(Wait::Verb(state)) = wait
            && let Some(to) = state.unsaid()
        {
            let (shard, to) = (live.shard, to.to_owned());
            return self.command(shard, OwnedCommand::Refer { call, to });
        }
        if live.leg == LegId::NONE && live.ending.is_none() {
            // Where it goes is looked up anew.
            if let Some(outgoing) = &mut live.outgoing {
                outgoing.sent = false;
            }
            live.touch();
            self.look_up(now, call);
        }
    }

    /// A leg without an INVITE so long after it was wanted is not dialled any more.
    fn too_late(now: Now, live: &Live, outgoing: &Outgoing) -> bool {
        let patience = ASK_PATIENCE + Duration::from_millis(u64::from(outgoing.ring_ms));
        let waited = Duration::from_micros(now.wall.micros_since(live.row.date_created));
        !outgoing.sent && waited > patience
    }

    fn over_too_late(&mut self, now: Now, call: CallId) {
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.reason = Some("too-late".to_owned());
        }
        self.over_without_leg(now, call, CallStatus::Failed, Cause::Internal, 0);
    }

    fn resume_script(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        if live.ending.is_some() {
            return;
        }
        let answered = live.is_answered();
        let Some(script) = &live.script else {
            return;
        };
        match &script.wait {
            Wait::Fetch(_) if live.volatile.fetch.is_none() => self.send_fetch(now, call),
            Wait::Fetch(_) | Wait::Over => {}
            Wait::Ready => self.inbox.push_back((call, script::Input::Begin)),
            Wait::Verb(state) => {
                let mut effects = Vec::new();
                let missed = state.resume(answered, &mut effects);
                self.inbox.extend(missed.map(|input| (call, input)));
                for effect in effects {
                    self.apply(now, call, effect);
                }
            }
        }
    }
}
