//! `<Hangup>`: ends the call. One that was never answered is answered first, as the reference
//! product has it: who wants to refuse says `<Reject>`. A call that was answered by nobody whom it
//! dialled is refused with what they said.

use serde::{Deserialize, Serialize};
use wire::event::Cause;

use super::{Step, Waits, unknown_attributes, unread_children, unread_text};
use crate::rng::Rng;
use crate::script::{Effect, Element, Input, Problem, View};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hangup;

/// It waits for the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HangupState {}

impl Hangup {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &[], problems);
        unread_text(element, problems);
        unread_children(element, problems);
        Self
    }

    #[expect(clippy::unused_self, reason = "verbs are asked alike")]
    pub(super) fn urls(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    pub(super) fn begin(
        &self,
        _base: &str,
        view: &View,
        _rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        if view.inbound && !view.answered && !view.dialled && !view.gone {
            effects.push(Effect::Answer);
            return Step::Wait(HangupState {}.into());
        }
        effects.push(Effect::Hangup(Cause::Normal));
        Step::End
    }
}

impl Waits for HangupState {
    type Verb = Hangup;

    fn on(
        &mut self,
        _verb: Option<&Hangup>,
        _base: &str,
        input: &Input,
        _view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        match input {
            Input::Answered => {
                effects.push(Effect::Hangup(Cause::Normal));
                Step::End
            }
            Input::Gone => Step::End,
            _ => Step::Stay,
        }
    }

    fn resume(&self, answered: bool, effects: &mut Vec<Effect>) -> Option<Input> {
        if answered {
            return Some(Input::Answered);
        }
        effects.push(Effect::Answer);
        None
    }
}
