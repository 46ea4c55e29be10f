//! `<Hangup>`: ends the call.

use wire::event::Cause;

use super::Step;
use crate::rng::Rng;
use crate::script::{Effect, Element, Problem, View};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hangup;

impl Hangup {
    pub(super) fn parse(_element: &Element, _problems: &mut Vec<Problem>) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "verbs begin alike")]
    pub(super) fn begin(
        &self,
        _base: &str,
        _view: &View,
        _rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        effects.push(Effect::Hangup(Cause::Normal));
        Step::End
    }
}
