//! `<Redirect>`: goes on with another document.

use model::{Hook, Method};

use super::{Step, method, unknown_attributes, unread_children, unresolved};
use crate::rng::Rng;
use crate::script::{Effect, Element, Problem, View};
use crate::web;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    url: String,
    method: Method,
}

impl Redirect {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &["method"], problems);
        unread_children(element, problems);
        Self { url: element.text.clone(), method: method(element, "method", problems) }
    }

    pub(super) fn urls(&self) -> Vec<(&'static str, &str)> {
        vec![("<Redirect>", &self.url)]
    }

    pub(super) fn begin(
        &self,
        base: &str,
        _view: &View,
        _rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        match web::resolve(base, &self.url) {
            Some(url) => {
                Step::Fetch { hook: Hook { url, method: self.method }, params: Vec::new() }
            }
            None => {
                effects.push(Effect::Problem(unresolved("<Redirect>", &self.url)));
                Step::Next
            }
        }
    }
}
