//! Stepping scripts: inputs wait in the inbox, effects are applied, until nothing moves any more.

use base::{CallId, Now};
use model::port::OwnedCommand;
use model::{CallStatus, Hook};
use wire::event::Cause;

use super::inventory::may_ask;
use super::{Director, Timer, Trouble, UNSPOKEN_AFTER, status};
use crate::answer::{Document, Failure};
use crate::live::{Ending, Relay};
use crate::script::{self, Effect, Input, Problem, Script, View, Wait};

/// How often scripts may be stepped within one mutation, for all calls together.
const STEPS_MAX: usize = 100_000;

impl Director {
    pub(super) fn run_inbox(&mut self, now: Now) {
        for _ in 0..STEPS_MAX {
            let Some((call, input)) = self.inbox.pop_front() else {
                return;
            };
            self.step(now, call, input);
        }
        self.notice(None, None, true, "scripts went round in circles; the rest waits".to_owned());
    }

    /// Runs a document from its first verb.
    pub(super) fn run_document(
        &mut self,
        now: Now,
        call: CallId,
        document: Document,
        base: String,
    ) {
        let Document { text, program } = document;
        match program {
            Ok(mut program) => {
                let problems = std::mem::take(&mut program.problems);
                let fails = self.settings.fail_on_unsupported;
                let failed = problems.iter().find(|it| fails && it.is_unsupported());
                let failed = failed.map(|problem| problem.reason);
                for problem in problems {
                    let warning = !(fails && problem.is_unsupported());
                    self.problem(now, call, problem, warning);
                }
                if let Some(reason) = failed {
                    self.give_up(now, call, reason);
                } else if let Some(mut live) = self.calls.get_mut(&call) {
                    let before = live.script.take().unwrap_or_default();
                    live.script = Some(Script {
                        document: text,
                        base,
                        at: 0,
                        wait: Wait::Ready,
                        documents: before.documents + 1,
                        legs: before.legs,
                        verbs: before.verbs,
                        dialled: before.dialled,
                        program,
                    });
                    self.inbox.push_back((call, Input::Begin));
                }
            }
            Err(error) => {
                let Failure { code, reason, message, .. } = Failure::of(&error);
                self.problem(now, call, Problem { code, reason, message }, false);
                self.give_up(now, call, reason);
            }
        }
        self.calls.touch(call);
    }

    fn step(&mut self, now: Now, call: CallId, input: Input) {
        let limits = self.settings.limits;
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let legs = live.script.as_ref().map_or(0, |script| script.legs);
        let refers = may_ask(&self.settings.carriers, &live);
        let mut view = View {
            now: now.wall,
            answered: live.is_answered(),
            inbound: live.outgoing.is_none(),
            refers,
            gone: live.is_over(),
            first: false,
            dialled: false,
            from: live.row.from.clone(),
            targets_max: limits.dial_targets,
            legs_left: limits.legs_per_call.saturating_sub(legs) as usize,
            verbs_max: limits.verbs_per_call,
            taken: live.signaling.relay == Relay::Taken,
        };
        let Some(script) = live.script.as_mut() else {
            return;
        };
        let effects = script::drive(script, input, &mut view, &mut self.rng);
        let made = effects.iter().filter(|effect| matches!(effect, Effect::Spawn(_))).count();
        script.legs = script.legs.saturating_add(u32::try_from(made).unwrap_or(u32::MAX));
        live.touch();
        for effect in effects {
            self.apply(now, call, effect);
        }
    }

    pub(super) fn apply(&mut self, now: Now, call: CallId, effect: Effect) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let shard = live.shard;
        match effect {
            Effect::Answer => {
                let limit_ms = live.longest_ms(self.settings.limits.inbound_ms);
                live.volatile.limited = true;
                self.command(shard, OwnedCommand::Answer { call, limit_ms });
            }
            Effect::Ringback(on) if !live.is_over() => {
                self.command(shard, OwnedCommand::Ringback { call, on });
            }
            Effect::Ringback(_) => {}
            Effect::Reject { code, reason, cause } => {
                let reason = reason.to_owned();
                self.end_leg(call, Ending::Reject { code, reason, retry_after: 0, cause });
            }
            Effect::Hangup(cause) => self.hang_up(call, cause),
            Effect::Spawn(spec) => self.spawn(now, call, spec),
            Effect::Drop { call: child, cause } => {
                self.end_leg(child, Ending::Hangup(cause));
                self.never_was(now, child, CallStatus::Canceled);
            }
            Effect::Cancel { call: child, cause } => {
                self.end_leg(child, Ending::Cancel(cause));
                self.never_was(now, child, CallStatus::Canceled);
            }
            Effect::Fetch { hook, params } => self.start_fetch(now, call, hook, params, None),
            Effect::Tell { hook, params } => self.tell(now, call, &hook, params),
            Effect::Wake(at) => {
                let at = Self::mono_of(now, at);
                live.volatile.wake = Some(at);
                self.at(at, Timer::Script(call));
            }
            Effect::Problem(problem) => self.problem(now, call, problem, false),
            Effect::GiveUp(problem) => {
                let reason = problem.reason;
                self.problem(now, call, problem, false);
                self.give_up(now, call, reason);
            }
            Effect::GiveBack => self.give_back(call),
            Effect::Refer(to) => self.command(shard, OwnedCommand::Refer { call, to }),
            // What its far end has said meanwhile is still to be read.
            Effect::ReferAgain => {
                self.after(now, UNSPOKEN_AFTER, Timer::Unspoken(call));
            }
        }
    }

    /// The script's end: BYE, or for a call never answered the final response that tells the caller
    /// what its dial came to.
    fn hang_up(&mut self, call: CallId, cause: Cause) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let unanswered = live.outgoing.is_none() && !live.is_answered();
        let dialled = live.script.as_ref().and_then(|script| script.dialled);
        let ending = match dialled {
            Some(outcome) if unanswered => {
                let (code, cause) = status::for_caller(outcome);
                Ending::PassOn { code, cause }
            }
            _ => Ending::Hangup(cause),
        };
        self.end_leg(call, ending);
    }

    /// Asks the shard to end a leg, once.
    pub(super) fn end_leg(&mut self, call: CallId, ending: Ending) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        // What ends it only while it rings ends it no more once it is up.
        let is_sure = |ending: &Ending| !matches!(ending, Ending::Cancel(_));
        let is_ending = live.ending.as_ref().is_some_and(|it| is_sure(it) || !is_sure(&ending));
        if live.is_over() || is_ending {
            return;
        }
        live.ending = Some(ending);
        live.touch();
        self.send_ending(call);
    }

    pub(super) fn send_ending(&mut self, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let command = match live.ending.clone() {
            Some(Ending::Hangup(cause)) => OwnedCommand::Hangup { call, cause },
            Some(Ending::Reject { code, reason, retry_after, cause }) => {
                OwnedCommand::Reject { call, code, reason, retry_after, cause }
            }
            Some(Ending::Cancel(cause)) => OwnedCommand::Cancel { call, cause },
            Some(Ending::PassOn { code, cause }) => OwnedCommand::PassOn { call, code, cause },
            None => return,
        };
        // A leg whose targets are still looked up was never asked for.
        if live.outgoing.as_ref().is_none_or(|it| it.sent) {
            let shard = live.shard;
            self.command(shard, command);
        }
    }

    /// The application failed for good: a new call is refused, an answered one hung up.
    pub(super) fn give_up(&mut self, now: Now, call: CallId, reason: &str) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if !live.is_relay() {
            live.reason.get_or_insert_with(|| format!("application: {reason}"));
        }
        let inbound = live.outgoing.is_none();
        let answered = live.is_answered();
        let over = live.is_over();
        if let Some(script) = live.script.as_mut() {
            script.wait = Wait::Over;
        }
        let taken = live.signaling.relay == Relay::Taken;
        live.touch();
        if over {
            return;
        }
        if taken {
            // What the relay's far ends say to each other is not lost for an application's fault.
            return self.give_back(call);
        }
        if inbound && !answered {
            let text = "Application Error".to_owned();
            let cause = Cause::Rejected;
            self.end_leg(call, Ending::Reject { code: 500, reason: text, retry_after: 0, cause });
        } else {
            self.end_leg(call, Ending::Hangup(Cause::Normal));
        }
        self.run_inbox(now);
    }

    /// Something in a document that was left aside or failed.
    pub(super) fn problem(&mut self, now: Now, call: CallId, problem: Problem, warning: bool) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let account = live.row.account;
        let url = live.script.as_ref().map(|it| it.base.clone()).filter(|base| !base.is_empty());
        let Problem { code, reason, message } = problem;
        let trouble =
            Trouble { call: Some(call), warning, code, reason, message, url, method: None };
        self.alert(now, account, trouble);
    }

    /// Leaves what the script does: the legs it made are dropped, its waits forgotten.
    pub(super) fn abandon(&mut self, now: Now, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        live.volatile.wake = None;
        let fetch = live.volatile.fetch.take();
        let mut effects = Vec::new();
        if let Some(script) = live.script.as_mut()
            && let Wait::Verb(state) = std::mem::take(&mut script.wait)
        {
            state.leave(&mut effects);
        }
        if let Some(id) = fetch {
            self.forget_http(id);
        }
        for effect in effects {
            self.apply(now, call, effect);
        }
    }

    /// What a hook's answer goes on with when there is no document: nothing but the call's own
    /// fallback.
    pub(super) fn fallback_of(&self, call: CallId) -> Option<Hook> {
        self.calls.get(&call)?.fallback.clone()
    }
}
