//! `<Refer>`: asks the call's far end to call somebody else (REFER). What it says to that, and what
//! it tells of it then (NOTIFY), goes to `action`: ReferSipResponseCode, ReferCallStatus and
//! NotifySipResponseCode; without a NOTIFY the last two are missing.

use base::Wall;
use model::{Hook, Method, party};
use serde::{Deserialize, Serialize};

use super::{Step, Waits, method, unknown_attributes, unread_text, unresolved};
use crate::rng::Rng;
use crate::script::{Effect, Element, Input, Problem, View};
use crate::web;

/// How long the far end may take to say what came of it, microseconds.
const PATIENCE_US: u64 = 60_000_000;
/// Told to whoever refers a call that is none of a phone's.
const NOT_SIP_ERROR: u32 = 13_801;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refer {
    /// None where the document names nobody.
    to: Option<String>,
    action: Option<(String, Method)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReferState {
    to: String,
    /// When nothing more is waited for; None until the call is answered.
    until: Option<Wall>,
    /// The status of our REFER; 0 as long as there is none.
    code: u16,
}

impl Refer {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &["action", "method"], problems);
        unread_text(element, problems);
        let mut to = None;
        for child in &element.children {
            let is_uri = child.name == "Sip" && is_plain(&child.text);
            if is_uri && to.is_none() {
                unknown_attributes(child, &[], problems);
                to = Some(child.text.clone());
                continue;
            }
            let message = format!("line {}: <Refer> takes one <Sip> with a URI", child.line);
            problems.push(Problem { code: 12_200, reason: "refer-target", message });
        }
        let action_method = method(element, "method", problems);
        let action = element.attribute("action").map(|url| (url.to_owned(), action_method));
        Self { to, action }
    }

    pub(super) fn urls(&self) -> Vec<(&'static str, &str)> {
        self.action.iter().map(|(url, _)| ("<Refer action>", url.as_str())).collect()
    }

    pub(super) fn begin(
        &self,
        _base: &str,
        view: &View,
        _rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let Some(to) = self.to.clone() else {
            return Step::Next;
        };
        if !view.refers {
            let message = format!(
                "<Refer> to {to}: a carrier is not asked to call anybody, the legs of phones and \
                 SIP URIs are"
            );
            let problem = Problem { code: NOT_SIP_ERROR, reason: "refer-carrier", message };
            effects.push(Effect::Problem(problem));
            return Step::Next;
        }
        let mut state = ReferState { to, until: None, code: 0 };
        if view.answered {
            state.start(view.now, effects);
        } else {
            effects.push(Effect::Answer);
        }
        Step::Wait(state.into())
    }

    fn finish(&self, (code, notified): (u16, u16), base: &str, effects: &mut Vec<Effect>) -> Step {
        let Some((action, method)) = &self.action else {
            return Step::Next;
        };
        let Some(url) = web::resolve(base, action) else {
            effects.push(Effect::Problem(unresolved("<Refer action>", action)));
            return Step::Next;
        };
        let mut params = Vec::new();
        if code > 0 {
            params.push(("ReferSipResponseCode".to_owned(), code.to_string()));
        }
        if notified > 0 {
            params.push(("ReferCallStatus".to_owned(), status_of(notified).to_owned()));
            params.push(("NotifySipResponseCode".to_owned(), notified.to_string()));
        }
        Step::Fetch { hook: Hook { url, method: *method }, params }
    }
}

impl ReferState {
    fn start(&mut self, now: Wall, effects: &mut Vec<Effect>) {
        let until = Wall(now.0.saturating_add(PATIENCE_US));
        self.until = Some(until);
        effects.push(Effect::Refer(self.to.clone()));
        effects.push(Effect::Wake(until));
    }
}

impl Waits for ReferState {
    type Verb = Refer;

    fn on(
        &mut self,
        verb: Option<&Refer>,
        base: &str,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let Some(refer) = verb else {
            return Step::Next;
        };
        match *input {
            Input::Answered if self.until.is_none() => {
                self.start(view.now, effects);
                Step::Stay
            }
            Input::ReferSaid { code: 200..300, .. } if self.code == 0 => {
                self.code = 202;
                if let Input::ReferSaid { code, .. } = *input {
                    self.code = code;
                }
                Step::Stay
            }
            Input::ReferSaid { code, notified: 0 } if self.code == 0 => {
                refer.finish((code, 0), base, effects)
            }
            // A NOTIFY may come before the answer to the REFER.
            Input::ReferSaid { code: 0, notified } => {
                let code = if self.code == 0 { 202 } else { self.code };
                refer.finish((code, notified), base, effects)
            }
            Input::Timer if self.until.is_some() => refer.finish((self.code, 0), base, effects),
            Input::Gone => refer.finish((self.code, 0), base, effects),
            _ => Step::Stay,
        }
    }

    fn unsaid(&self) -> Option<&str> {
        (self.until.is_some() && self.code == 0).then_some(&self.to)
    }

    fn resume(&self, answered: bool, effects: &mut Vec<Effect>) -> Option<Input> {
        match self.until {
            Some(until) => {
                if self.code == 0 {
                    effects.push(Effect::ReferAgain);
                }
                effects.push(Effect::Wake(until));
            }
            None if !answered => effects.push(Effect::Answer),
            None => return Some(Input::Answered),
        }
        None
    }
}

/// A URI that means a call: with headers or a method in it, it could mean anything.
fn is_plain(text: &str) -> bool {
    let is_call = |target: party::Target<'_>| {
        target.headers.is_empty() && target.uri.params.get(b"method").is_none()
    };
    party::Target::parse(text).is_some_and(is_call)
}

/// What became of the call that the far end made.
fn status_of(code: u16) -> &'static str {
    match code {
        200..300 => "in-progress",
        486 | 600 => "busy",
        487 => "canceled",
        408 | 480 => "no-answer",
        _ => "failed",
    }
}
