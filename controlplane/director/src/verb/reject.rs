//! `<Reject>`: refuses a call that has not been answered, so that nobody pays: `busy` with 486,
//! else `rejected` with 603. A call that is answered already is hung up.

use wire::event::Cause;

use super::{Step, bad_attribute, unknown_attributes, unread_children, unread_text};
use crate::rng::Rng;
use crate::script::{Effect, Element, Problem, View};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    busy: bool,
}

impl Reject {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &["reason"], problems);
        unread_text(element, problems);
        unread_children(element, problems);
        let busy = match element.attribute("reason") {
            Some("busy") => true,
            None | Some("rejected") => false,
            Some(other) => {
                problems.push(bad_attribute(element, "reason", other, "rejected is taken"));
                false
            }
        };
        Self { busy }
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
        effects.push(if view.answered || !view.inbound {
            Effect::Hangup(Cause::Normal)
        } else if self.busy {
            Effect::Reject { code: 486, reason: "Busy Here", cause: Cause::Busy }
        } else {
            Effect::Reject { code: 603, reason: "Decline", cause: Cause::Rejected }
        });
        Step::End
    }
}
