//! `<Pause>`: answers the call and waits in silence for `length` seconds (default 1).

use base::Wall;
use serde::{Deserialize, Serialize};

use super::{Step, number, unknown_attributes};
use crate::script::{Effect, Element, Input, Problem, View, Wait};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    seconds: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PauseState {
    seconds: u32,
    /// None until the call is answered.
    until: Option<Wall>,
}

impl Pause {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &["length"], problems);
        Self { seconds: number(element, "length", 1, 0..=86_400, problems) }
    }

    pub(super) fn begin(&self, view: &View, effects: &mut Vec<Effect>) -> Step {
        let mut state = PauseState { seconds: self.seconds, until: None };
        if view.answered {
            state.start(view.now, effects);
        } else {
            effects.push(Effect::Answer);
        }
        Step::Wait(Wait::Pause(state))
    }
}

impl PauseState {
    fn start(&mut self, now: Wall, effects: &mut Vec<Effect>) {
        let until = Wall(now.0.saturating_add(u64::from(self.seconds) * 1_000_000));
        self.until = Some(until);
        effects.push(Effect::Wake(until));
    }

    pub(crate) fn on(&mut self, input: &Input, view: &View, effects: &mut Vec<Effect>) -> Step {
        match (input, self.until) {
            (Input::Gone, _) => Step::End,
            (Input::Answered, None) => {
                self.start(view.now, effects);
                Step::Stay
            }
            // The monotonic clock woke us at the moment that was `until` when it was set; whatever
            // the wall clock shows by now (it may have been set back) the seconds have passed.
            (Input::Timer, Some(_)) => Step::Next,
            _ => Step::Stay,
        }
    }

    /// When a successor has to wake it; None if it waits for the answer.
    pub(crate) fn until(&self) -> Option<Wall> {
        self.until
    }
}
