//! `<Hangup>`: ends the call.

use wire::event::Cause;

use super::Step;
use crate::script::Effect;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hangup;

impl Hangup {
    #[expect(clippy::unused_self, reason = "verbs begin alike")]
    pub(super) fn begin(&self, effects: &mut Vec<Effect>) -> Step {
        effects.push(Effect::Hangup(Cause::Normal));
        Step::End
    }
}
