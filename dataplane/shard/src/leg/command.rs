//! What the controlplane commands a leg.

use base::{CallId, LegId, Mono};
use core::time::Duration;
use wire::Command;
use wire::counter::Counter;
use wire::event::{Cause, Party};

use super::place::Claimant;
use super::timers::Timer;
use super::{Answer, LegMut};

impl LegMut<'_, '_> {
    /// A command for this leg's call.
    pub(crate) fn command(&mut self, command: &Command<'_>) {
        let ends = matches!(
            command,
            Command::Reject { .. }
                | Command::Hangup { .. }
                | Command::Cancel { .. }
                | Command::PassOn { .. }
        );
        if !ends && self.leg.is_waiting() && !self.take_port() {
            return self.refuse_portless();
        }
        match command {
            Command::Accept { account, setup_ms, .. } => self.accepted_by(*account, *setup_ms),
            Command::Progress { code, .. } if (101..200).contains(code) => {
                self.progress(*code, false);
            }
            Command::Answer { limit_ms, .. } => self.answer_for_itself(*limit_ms),
            Command::Reject { code, reason, retry_after, cause, .. }
                if (300..700).contains(code) =>
            {
                let retry_after = *retry_after;
                let answer = Answer { reason, retry_after, ..Answer::new(*code) };
                // Its own word: what others said of what was dialled before is not why.
                self.forget_refusal();
                self.refuse(&answer, *cause, Party::Application);
            }
            Command::PassOn { code, cause, .. } if (300..700).contains(code) => {
                self.refuse(&Answer::new(*code), *cause, Party::Application);
            }
            Command::Hangup { cause, .. } => {
                self.forget_refusal();
                self.hang_up(*cause, Party::Application);
            }
            Command::Cancel { cause, .. } if !self.leg.is_up() => {
                self.forget_refusal();
                self.hang_up(*cause, Party::Application);
            }
            // It was answered meanwhile.
            Command::Cancel { .. } => {}
            Command::Join { b, .. } => self.join(*b),
            Command::Part { .. } => self.part(),
            Command::Ringback { on, .. } => self.ringback(*on),
            Command::Limit { remaining_ms, .. } => self.limit(*remaining_ms),
            Command::Referred { code, .. } if (200..300).contains(code) => {
                self.referral_taken(*code);
            }
            Command::Refer { to, .. } => self.refer_to(to),
            Command::Referred { code, binds, .. } if (300..700).contains(code) => {
                self.referral_ended(*code, *binds);
            }
            Command::Take { .. } => self.take(),
            Command::GiveBack { .. } => self.give_back(),
            Command::TakePlace { .. } if self.leg.is_waiting() && self.place() != LegId::NONE => {
                self.want_place(Claimant::Account(self.leg.story.account));
            }
            _ => self.cx.count(Counter::DiscardCommandMalformed),
        }
    }

    /// The application has taken the call, and there is no port for it.
    fn refuse_portless(&mut self) {
        self.cx.count(Counter::RefusedNoPort);
        let answer = Answer { retry_after: 5, why: "no media port", ..Answer::new(503) };
        self.refuse(&answer, Cause::NoPort, Party::Switch);
    }

    fn limit(&mut self, remaining_ms: u32) {
        let at = match remaining_ms {
            0 => Mono::NEVER,
            ms => self.cx.now.mono + Duration::from_millis(u64::from(ms)),
        };
        self.leg.deadlines.set(Timer::Limit, at);
    }
}

/// The call that a command names.
pub(crate) fn call_of(command: &Command<'_>) -> CallId {
    match command {
        Command::Accept { call, .. }
        | Command::Progress { call, .. }
        | Command::Answer { call, .. }
        | Command::Reject { call, .. }
        | Command::Hangup { call, .. }
        | Command::Join { call, .. }
        | Command::Part { call }
        | Command::Ringback { call, .. }
        | Command::Limit { call, .. }
        | Command::Referred { call, .. }
        | Command::Take { call }
        | Command::GiveBack { call }
        | Command::TakePlace { call }
        | Command::Refer { call, .. }
        | Command::Cancel { call, .. }
        | Command::PassOn { call, .. } => *call,
        Command::Originate(originate) => originate.call,
        Command::Release { .. } | Command::Drain { .. } | Command::Verdict { .. } => CallId::NONE,
    }
}
