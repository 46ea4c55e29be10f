//! `<Pause>`: waits in silence for `length` seconds (default 1). As the first verb of a document it
//! waits before the call is answered, and what follows it may still refuse the call; elsewhere it
//! answers first, as other verbs do.

use base::Wall;
use serde::{Deserialize, Serialize};

use super::{Step, Waits, number, unknown_attributes, unread_children, unread_text};
use crate::rng::Rng;
use crate::script::{Effect, Element, Input, Problem, View};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    seconds: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PauseState {
    seconds: u32,
    /// None until the call is answered.
    until: Option<Wall>,
}

impl Pause {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &["length"], problems);
        unread_text(element, problems);
        unread_children(element, problems);
        Self { seconds: number(element, "length", 1, 0..=86_400, problems) }
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
        let mut state = PauseState { seconds: self.seconds, until: None };
        if view.answered || view.first {
            state.start(view.now, effects);
        } else {
            effects.push(Effect::Answer);
        }
        Step::Wait(state.into())
    }
}

impl PauseState {
    fn start(&mut self, now: Wall, effects: &mut Vec<Effect>) {
        let until = Wall(now.0.saturating_add(u64::from(self.seconds) * 1_000_000));
        self.until = Some(until);
        effects.push(Effect::Wake(until));
    }
}

impl Waits for PauseState {
    type Verb = Pause;

    fn on(
        &mut self,
        _verb: Option<&Pause>,
        _base: &str,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
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

    fn resume(&self, answered: bool, effects: &mut Vec<Effect>) -> Option<Input> {
        match self.until {
            Some(until) => effects.push(Effect::Wake(until)),
            None if !answered => effects.push(Effect::Answer),
            None => return Some(Input::Answered),
        }
        None
    }
}
