//! `<Trunk>`, which no application writes (see [`crate::script::own`]): the call goes to one target
//! after the other until one is reached, and is answered by whom it reaches.
//!
//! ```text
//!   begin -> a target -+- answers: winner -> winner ends -> the call ends
//!                      +- cannot be reached -> the next one; none left -> disaster | the call ends
//!                      +- refuses (404, 486, 603 ..), rings in vain -> the call ends
//! ```

use std::collections::VecDeque;

use base::CallId;
use model::CallStatus;
use serde::{Deserialize, Serialize};
use wire::event::Cause;

use super::{Step, Waits};
use crate::forwards::Forwards;
use crate::rng::Rng;
use crate::script::{ChildSpec, Effect, Element, Input, Outcome, Problem, Trunking, View};

/// How long a target may ring, and how long the call may last.
const RING_MS: u32 = 120_000;
const LIMIT_MS: u32 = 14_400_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trunk(Trunking);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TrunkState {
    /// The legs to the target that is tried: a user's phones are several.
    children: Vec<(CallId, Option<Outcome>)>,
    winner: Option<CallId>,
    done: Option<Outcome>,
    /// Targets tried so far, and the calls of those whose turn has not come.
    tried: usize,
    later: VecDeque<CallId>,
}

impl Trunk {
    pub(super) fn parse(element: &Element, _problems: &mut [Problem]) -> Self {
        Self(Trunking::of(element))
    }

    #[expect(clippy::unused_self, reason = "verbs are asked alike")]
    pub(super) fn urls(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    pub(super) fn begin(
        &self,
        _base: &str,
        view: &View,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let count = self.0.targets.len().min(view.targets_max).min(view.legs_left);
        let later = (0..count).map(|_| CallId::begun(view.now, rng.wide())).collect();
        let mut state = TrunkState { later, ..TrunkState::default() };
        if self.call_next(&mut state, view, effects) {
            return Step::Wait(state.into());
        }
        if self.0.disaster.is_some() {
            return self.recover(view);
        }
        let (reason, cause) = ("Temporarily Unavailable", Cause::Unreachable);
        effects.push(Effect::Reject { code: 480, reason, cause });
        Step::End
    }

    /// Calls the target whose turn it is, if there is one.
    fn call_next(&self, state: &mut TrunkState, view: &View, effects: &mut Vec<Effect>) -> bool {
        let Some(target) = self.0.targets.get(state.tried) else { return false };
        let Some(call) = state.later.pop_front() else { return false };
        state.tried += 1;
        state.children = vec![(call, None)];
        effects.push(Effect::Spawn(ChildSpec {
            call,
            target: target.clone(),
            caller: view.from.clone(),
            ring_ms: RING_MS,
            limit_ms: LIMIT_MS,
            pass_progress: true,
            login: None,
            status: None,
            is_trunk: true,
            forwards: Forwards::default(),
            referred: String::new(),
        }));
        true
    }

    /// Nobody could be reached: what is left is the document for that.
    fn recover(&self, view: &View) -> Step {
        match &self.0.disaster {
            Some(hook) if !view.gone => Step::Fetch { hook: hook.clone(), params: Vec::new() },
            _ => Step::Next,
        }
    }

    fn on(
        &self,
        state: &mut TrunkState,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        match *input {
            Input::ChildAnswered { call } => {
                state.answered(call, effects);
                Step::Stay
            }
            Input::ChildJoined { call } => {
                state.joined(call, effects);
                Step::Stay
            }
            Input::ChildEnded { call, status, code, cause, .. } => {
                self.ended(state, (call, Outcome { status, code, cause }), view, effects)
            }
            // The API has sent it elsewhere.
            Input::ChildLeft { call } if state.winner == Some(call) => {
                let (status, cause) = (CallStatus::Completed, Some(Cause::Normal));
                state.done = Some(Outcome { status, code: 200, cause });
                Step::Next
            }
            Input::ChildForked { call } => {
                state.children.push((call, None));
                Step::Stay
            }
            Input::ChildRefused { call } => {
                let (status, cause) = (CallStatus::Failed, Some(Cause::Overload));
                self.ended(state, (call, Outcome { status, code: 480, cause }), view, effects)
            }
            Input::Gone => {
                state.later.clear();
                state.drop_all(Cause::Canceled, effects);
                Step::Stay
            }
            Input::Begin
            | Input::Answered
            | Input::Timer
            | Input::ReferSaid { .. }
            | Input::ChildLeft { .. } => Step::Stay,
        }
    }

    fn ended(
        &self,
        state: &mut TrunkState,
        (call, outcome): (CallId, Outcome),
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let Some(child) = state.children.iter_mut().find(|child| child.0 == call) else {
            return Step::Stay;
        };
        child.1.get_or_insert(outcome);
        if let Some(winner) = state.winner {
            if winner != call {
                return Step::Stay;
            }
            let is_others = outcome.cause == Some(Cause::OtherAnswered);
            if is_others && !state.waits_for().is_empty() {
                // Two have answered, and the shards have taken another one: who it is they tell.
                state.winner = None;
                return Step::Stay;
            }
            let failed = outcome.status == CallStatus::Failed;
            let completed = Outcome { status: CallStatus::Completed, ..outcome };
            state.done = Some(if failed { outcome } else { completed });
            return Step::Next;
        }
        let ends: Vec<Outcome> = state.children.iter().filter_map(|child| child.1).collect();
        if ends.len() < state.children.len() {
            return Step::Stay;
        }
        // Of several phones' words the one that says most of the user.
        let Some(said) = ends.iter().copied().min_by_key(|end| is_unreached(*end)) else {
            return Step::Stay;
        };
        let goes_on = is_unreached(said) && !view.gone;
        if goes_on && self.call_next(state, view, effects) {
            return Step::Stay;
        }
        state.done = Some(said);
        if goes_on { self.recover(view) } else { Step::Next }
    }
}

/// It says nothing of whom the call is for: another target may be tried.
fn is_unreached(outcome: Outcome) -> bool {
    outcome.cause == Some(Cause::Unreachable) || wire::policy::Failover::default().has(outcome.code)
}

impl TrunkState {
    fn answered(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        if !self.children.iter().any(|child| child.0 == call) {
            return;
        }
        // Of two that answer at one time the shards take one, and end the other.
        if self.winner.is_none() {
            self.joined(call, effects);
        }
    }

    /// This one the call is joined with, whoever else has answered.
    fn joined(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        let is_open = self.children.iter().any(|child| child.0 == call && child.1.is_none());
        if !is_open || self.winner == Some(call) {
            return;
        }
        self.winner = Some(call);
        let others = self.children.iter().filter(|it| it.0 != call && it.1.is_none());
        let cancel = |it: &(CallId, _)| Effect::Cancel { call: it.0, cause: Cause::OtherAnswered };
        effects.extend(others.map(cancel));
    }

    fn drop_all(&self, cause: Cause, effects: &mut Vec<Effect>) {
        let open = self.children.iter().filter(|child| child.1.is_none());
        effects.extend(open.map(|child| Effect::Drop { call: child.0, cause }));
    }
}

impl Waits for TrunkState {
    type Verb = Trunk;

    fn on(
        &mut self,
        verb: Option<&Trunk>,
        _base: &str,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        verb.map_or(Step::Next, |trunk| trunk.on(self, input, view, effects))
    }

    fn resume(&self, _answered: bool, _effects: &mut Vec<Effect>) -> Option<Input> {
        None
    }

    fn leave(&self, effects: &mut Vec<Effect>) {
        self.drop_all(Cause::Normal, effects);
    }

    fn waits_for(&self) -> Vec<CallId> {
        self.children.iter().filter(|child| child.1.is_none()).map(|child| child.0).collect()
    }

    fn is_joined(&self) -> bool {
        self.winner.is_some()
    }

    /// It still has to hear what became of the legs it dialled.
    fn outlives_its_leg(&self) -> bool {
        true
    }

    fn outcome(&self) -> Option<Outcome> {
        self.done
    }
}
