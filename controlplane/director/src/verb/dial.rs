//! `<Dial>`: connects the call with another party. Several targets ring at once; the first that
//! answers wins, the others are cancelled. Without `answerOnBridge` the caller is answered at once
//! and hears ringback tone; with it, the caller hears what the called side sends and is answered
//! with it. With `sequential` they ring one after another, each for the whole timeout.
//!
//! ```text
//!   begin -> children ring -+- one answers: winner, others dropped -> winner ends -> completed
//!                           +- all end unanswered -> busy | no-answer | failed | canceled
//! ```
//! Then `action` is asked with DialCallStatus, or the next verb begins. A winner that the API sends
//! elsewhere has left: for the dial that is its end, too.

use std::collections::VecDeque;

use base::CallId;
use model::{CallStatus, Events, Hook, Method, SipLogin, StatusHook, party};
use serde::{Deserialize, Serialize};
use wire::event::Cause;

use super::unresolved;
use super::{Step, Waits, flag, method, number, unknown_attributes, unread_children, unread_text};
use crate::forwards::Forwards;
use crate::rng::Rng;
use crate::script::{ChildSpec, Effect, Element, Input, Outcome, Problem, Target, View};
use crate::web;

const ATTRIBUTES: [&str; 9] = [
    "timeout",
    "timeLimit",
    "callerId",
    "action",
    "method",
    "answerOnBridge",
    "sequential",
    "referUrl",
    "referMethod",
];
const NOUN_ATTRIBUTES: [&str; 5] =
    ["statusCallback", "statusCallbackEvent", "statusCallbackMethod", "username", "password"];

const STATUS_CALLBACK: &str = "statusCallback of a <Dial>'s noun";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    targets: Vec<Noun>,
    /// Seconds, 5-600.
    timeout: u32,
    /// Seconds, 1-86,400.
    time_limit: u32,
    caller_id: Option<String>,
    action: Option<(String, Method)>,
    answer_on_bridge: bool,
    sequential: bool,
    /// Who is asked what is to become of a referral.
    refer: Option<(String, Method)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Noun {
    target: Target,
    login: Option<SipLogin>,
    status: Option<(String, Method, Events)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DialState {
    children: Vec<Child>,
    winner: Option<CallId>,
    /// The caller hears ringback tone from us.
    ringback: bool,
    done: Option<Outcome>,
    /// The calls of the targets whose turn has not come.
    // The log of version 1 has none; that of version 2 cannot leave a field out.
    #[serde(default)]
    later: VecDeque<CallId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Child {
    call: CallId,
    ended: Option<Outcome>,
    /// It was not made at all: nobody finds it by its number.
    #[serde(default)]
    refused: bool,
}

impl Dial {
    pub(super) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Self {
        unknown_attributes(element, &ATTRIBUTES, problems);
        let mut targets = Vec::new();
        if element.children.is_empty() && !element.text.is_empty() {
            targets.extend(Noun::number(element, problems));
        } else {
            unread_text(element, problems);
        }
        for child in &element.children {
            targets.extend(Noun::parse(child, problems));
        }
        if targets.is_empty() {
            let message = format!("line {}: <Dial> has nobody to call", element.line);
            problems.push(Problem { code: 12_200, reason: "dial-no-target", message });
        }
        let action_method = method(element, "method", problems);
        let refer_method = method(element, "referMethod", problems);
        let refer = element.attribute("referUrl").filter(|url| !url.is_empty());
        Self {
            targets,
            timeout: number(element, "timeout", 30, 5..=600, problems),
            time_limit: number(element, "timeLimit", 14_400, 1..=86_400, problems),
            caller_id: caller_id(element, problems),
            action: element.attribute("action").map(|url| (url.to_owned(), action_method)),
            answer_on_bridge: flag(element, "answerOnBridge", problems),
            sequential: flag(element, "sequential", problems),
            refer: refer.map(|url| (url.to_owned(), refer_method)),
        }
    }

    /// The addresses in it, and where they stand.
    pub(super) fn urls(&self) -> Vec<(&'static str, &str)> {
        let action = self.action.iter().map(|(url, _)| ("<Dial action>", url.as_str()));
        let status = self.targets.iter().filter_map(|noun| noun.status.as_ref());
        let refer = self.refer.iter().map(|(url, _)| ("<Dial referUrl>", url.as_str()));
        let action = action.chain(refer);
        action.chain(status.map(|(url, ..)| (STATUS_CALLBACK, url.as_str()))).collect()
    }

    pub(super) fn begin(
        &self,
        base: &str,
        view: &View,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let ringback = !self.answer_on_bridge;
        let mut state = DialState {
            children: Vec::new(),
            winner: None,
            ringback,
            done: None,
            later: VecDeque::new(),
        };
        if self.targets.is_empty() {
            return self.finish(&mut state, base, None, effects);
        }
        if self.targets.len().min(view.targets_max) > view.legs_left {
            let message = "the call has dialled as many targets as it may in all".to_owned();
            let reason = "legs-per-call";
            effects.push(Effect::GiveUp(Problem { code: 12_400, reason, message }));
            return Step::End;
        }
        if ringback {
            if !view.answered {
                effects.push(Effect::Answer);
            }
            effects.push(Effect::Ringback(true));
        }
        if self.targets.len() > view.targets_max {
            let message = format!(
                "<Dial> names {} targets; the first {} are called",
                self.targets.len(),
                view.targets_max
            );
            effects.push(Effect::Problem(Problem {
                code: 13_221,
                reason: "dial-targets",
                message,
            }));
        }
        let targets = self.targets.len().min(view.targets_max);
        state.later = (0..targets).map(|_| CallId::begun(view.now, rng.wide())).collect();
        let at_once = if self.sequential { 1 } else { targets };
        for _ in 0..at_once {
            self.call_next(&mut state, base, view, effects);
        }
        Step::Wait(state.into())
    }

    /// Calls the target whose turn it is, if there is one.
    fn call_next(
        &self,
        state: &mut DialState,
        base: &str,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let targets = self.targets.len().min(view.targets_max);
        let Some(noun) = self.targets.get(targets.saturating_sub(state.later.len())) else {
            return false;
        };
        let Some(call) = state.later.pop_front() else {
            return false;
        };
        state.children.push(Child { call, ended: None, refused: false });
        let status = noun.status_hook(base, effects);
        effects.push(Effect::Spawn(ChildSpec {
            call,
            target: noun.target.clone(),
            caller: self.caller_id.clone().unwrap_or_else(|| view.from.clone()),
            ring_ms: self.timeout * 1_000,
            limit_ms: self.time_limit * 1_000,
            pass_progress: self.answer_on_bridge,
            login: noun.login.clone(),
            status,
            is_trunk: false,
            forwards: Forwards::default(),
            referred: String::new(),
        }));
        true
    }

    fn on(
        &self,
        state: &mut DialState,
        (base, view): (&str, &View),
        input: &Input,
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
            Input::ChildEnded { call, status, code, cause, seconds } => {
                let outcome = Outcome { status, code, cause };
                self.ended(state, (base, view), (call, outcome, seconds), effects)
            }
            Input::ChildLeft { call } if state.winner == Some(call) => {
                let (status, cause) = (CallStatus::Completed, Some(Cause::Normal));
                let left = Outcome { status, code: 200, cause };
                state.end(call, left);
                self.finish(state, base, None, effects)
            }
            Input::ChildForked { call } => {
                state.children.push(Child { call, ended: None, refused: false });
                Step::Stay
            }
            Input::ChildRefused { call } => {
                if let Some(child) = state.children.iter_mut().find(|child| child.call == call) {
                    child.refused = true;
                }
                let (status, cause) = (CallStatus::Failed, Some(Cause::Overload));
                let outcome = Outcome { status, code: 503, cause };
                self.ended(state, (base, view), (call, outcome, 0), effects)
            }
            // The shard ends what was dialled for a leg that is gone; what it never saw, we drop.
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
        state: &mut DialState,
        (base, view): (&str, &View),
        (call, outcome, seconds): (CallId, Outcome, u32),
        effects: &mut Vec<Effect>,
    ) -> Step {
        if !state.end(call, outcome) {
            return Step::Stay;
        }
        let is_others = outcome.cause == Some(Cause::OtherAnswered);
        if state.winner == Some(call) && is_others && !state.waits_for().is_empty() {
            // Two have answered, and the shards have taken another one: who it is they tell.
            state.winner = None;
            return Step::Stay;
        }
        if state.is_over() && self.call_next(state, base, view, effects) {
            return Step::Stay;
        }
        if state.winner == Some(call) || state.is_over() {
            return self.finish(state, base, Some(seconds), effects);
        }
        Step::Stay
    }

    fn finish(
        &self,
        state: &mut DialState,
        base: &str,
        seconds: Option<u32>,
        effects: &mut Vec<Effect>,
    ) -> Step {
        let outcome = state.result();
        let Outcome { status, code, .. } = outcome;
        let bridged = state.winner.is_some() && status == CallStatus::Completed;
        state.done = Some(outcome);
        if state.winner.is_none() && state.ringback && !state.children.is_empty() {
            effects.push(Effect::Ringback(false));
        }
        let Some((action, method)) = &self.action else {
            return Step::Next;
        };
        let Some(url) = web::resolve(base, action) else {
            effects.push(Effect::Problem(unresolved("<Dial action>", action)));
            return Step::Next;
        };
        let mut params = vec![("DialCallStatus".to_owned(), status.name().to_owned())];
        let made = || state.children.iter().rfind(|child| !child.refused).map(|child| child.call);
        if let Some(call) = state.winner.or_else(made) {
            params.push(("DialCallSid".to_owned(), call.to_string()));
        }
        if let Some(seconds) = seconds.filter(|_| bridged) {
            params.push(("DialCallDuration".to_owned(), seconds.to_string()));
        }
        params.push(("DialBridged".to_owned(), bridged.to_string()));
        if code > 0 {
            params.push(("DialSipResponseCode".to_owned(), code.to_string()));
        }
        Step::Fetch { hook: Hook { url, method: *method }, params }
    }
}

impl Waits for DialState {
    type Verb = Dial;

    fn on(
        &mut self,
        verb: Option<&Dial>,
        base: &str,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step {
        verb.map_or(Step::Next, |dial| dial.on(self, (base, view), input, effects))
    }

    fn resume(&self, answered: bool, effects: &mut Vec<Effect>) -> Option<Input> {
        if self.rings() && !answered {
            effects.push(Effect::Answer);
        }
        if self.rings() {
            effects.push(Effect::Ringback(true));
        }
        None
    }

    fn leave(&self, effects: &mut Vec<Effect>) {
        if self.rings() {
            effects.push(Effect::Ringback(false));
        }
        self.drop_all(Cause::Normal, effects);
    }

    fn waits_for(&self) -> Vec<CallId> {
        let waits = |child: &&Child| child.ended.is_none();
        self.children.iter().filter(waits).map(|child| child.call).collect()
    }

    fn is_joined(&self) -> bool {
        self.winner.is_some()
    }

    fn refer_hook(&self, verb: Option<&Dial>, base: &str) -> Option<Hook> {
        let (url, method) = verb?.refer.as_ref().filter(|_| self.winner.is_some())?;
        Some(Hook { url: web::resolve(base, url)?, method: *method })
    }

    /// It still has to hear what became of the legs it dialled.
    fn outlives_its_leg(&self) -> bool {
        true
    }

    fn outcome(&self) -> Option<Outcome> {
        self.done
    }
}

impl DialState {
    /// The caller hears ringback tone of ours.
    fn rings(&self) -> bool {
        self.ringback && self.winner.is_none()
    }

    /// Nobody is called any more: the script goes elsewhere.
    fn drop_all(&self, cause: Cause, effects: &mut Vec<Effect>) {
        for child in self.children.iter().filter(|child| child.ended.is_none()) {
            effects.push(Effect::Drop { call: child.call, cause });
        }
    }

    fn answered(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        if !self.children.iter().any(|child| child.call == call) {
            return;
        }
        // Of two that answer at one time the shards take one, and end the other.
        if self.winner.is_none() {
            self.joined(call, effects);
        }
    }

    /// This one the call is joined with, whoever else has answered.
    fn joined(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        let is_open = self.children.iter().any(|child| child.call == call && child.ended.is_none());
        if !is_open || self.winner == Some(call) {
            return;
        }
        if self.winner.replace(call).is_none() && self.ringback {
            effects.push(Effect::Ringback(false));
        }
        for child in &self.children {
            if child.call != call && child.ended.is_none() {
                effects.push(Effect::Cancel { call: child.call, cause: Cause::OtherAnswered });
            }
        }
    }

    /// What one of its legs came to. False if it is none of them.
    fn end(&mut self, call: CallId, outcome: Outcome) -> bool {
        let child = self.children.iter_mut().find(|child| child.call == call);
        child.map(|child| child.ended.get_or_insert(outcome)).is_some()
    }

    fn is_over(&self) -> bool {
        self.winner.is_none() && self.children.iter().all(|child| child.ended.is_some())
    }

    /// The winner's end, or the best of what the others came to. A winner that could not be bridged
    /// has failed with its answer.
    fn result(&self) -> Outcome {
        let ends = || self.children.iter().filter_map(|child| child.ended);
        if let Some(winner) = self.winner {
            let end = self.children.iter().find(|child| child.call == winner);
            return match end.and_then(|child| child.ended) {
                Some(end) if end.status == CallStatus::Failed => end,
                end => Outcome {
                    status: CallStatus::Completed,
                    code: end.map_or(0, |end| end.code),
                    cause: end.and_then(|end| end.cause),
                },
            };
        }
        for status in [CallStatus::Busy, CallStatus::NoAnswer, CallStatus::Canceled] {
            let mut such = ends().filter(|end| end.status == status);
            if let Some(first) = such.next() {
                // A word for all phones counts for more (RFC 3261 section 16.7 step 6).
                return such.find(|end| end.code >= 600 && first.code < 600).unwrap_or(first);
            }
        }
        let failed = Outcome { status: CallStatus::Failed, code: 0, cause: None };
        ends().max_by_key(|end| end.code).unwrap_or(failed)
    }
}

impl Noun {
    fn parse(element: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
        unread_children(element, problems);
        match element.name.as_str() {
            "Number" => Self::number(element, problems),
            "Sip" => {
                unknown_attributes(element, &NOUN_ATTRIBUTES, problems);
                let text = element.text.clone();
                if party::Target::parse(&text).is_none() {
                    let message = format!("line {}: <Sip>{text}</Sip> is no URI", element.line);
                    problems.push(Problem { code: 13_224, reason: "dial-sip-uri", message });
                    return None;
                }
                let (login, status) = (login(element, problems), status(element, problems));
                Some(Self { target: Target::Sip(text), login, status })
            }
            name => {
                let message = format!(
                    "line {}: <Dial><{name}> is not supported yet; it is skipped",
                    element.line
                );
                problems.push(Problem { code: 12_200, reason: "noun-not-supported", message });
                None
            }
        }
    }

    /// Text of `<Number>` or of `<Dial>` itself.
    fn number(element: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
        let noun = element.name == "Number";
        if noun {
            unknown_attributes(element, &NOUN_ATTRIBUTES, problems);
        }
        match party::number(&element.text) {
            Some(number) => {
                let status = if noun { status(element, problems) } else { None };
                Some(Self { target: Target::Number(number), login: None, status })
            }
            None => {
                let message =
                    format!("line {}: {:?} is no phone number", element.line, element.text);
                problems.push(Problem { code: 13_223, reason: "dial-number", message });
                None
            }
        }
    }

    fn status_hook(&self, base: &str, effects: &mut Vec<Effect>) -> Option<StatusHook> {
        let (given, method, events) = self.status.as_ref()?;
        let Some(url) = web::resolve(base, given) else {
            effects.push(Effect::Problem(unresolved(STATUS_CALLBACK, given)));
            return None;
        };
        Some(StatusHook { hook: Hook { url, method: *method }, events: *events })
    }
}

/// What the called side is shown if it asks. One of the two alone is none.
fn login(element: &Element, problems: &mut Vec<Problem>) -> Option<SipLogin> {
    let text = |name| element.attribute(name).unwrap_or_default();
    let (username, password) = (text("username"), text("password"));
    if username.is_empty() && password.is_empty() {
        return None;
    }
    let login = SipLogin::new(username, password);
    if login.is_none() {
        let message = format!(
            "line {}: <Sip username password>: at most {} characters each, no quotes, backslashes \
             or control characters, and no password without a username; the call is tried without",
            element.line,
            SipLogin::BYTES_MAX
        );
        problems.push(Problem { code: 12_200, reason: "sip-credentials", message });
    }
    login
}

/// Who the called side sees as its caller. What cannot be meant is told, and the call keeps its own
/// caller.
fn caller_id(element: &Element, problems: &mut Vec<Problem>) -> Option<String> {
    let text = element.attribute("callerId").filter(|text| !text.trim().is_empty())?;
    let caller = party::caller(text);
    if caller.is_none() {
        let line = element.line;
        let message = format!(
            "line {line}: <Dial callerId={text:?}> is neither a number nor a SIP URI nor a name of \
             letters, digits and +_.-; the call's own caller is shown"
        );
        problems.push(Problem { code: 13_214, reason: "dial-caller-id", message });
    }
    caller
}

fn status(element: &Element, problems: &mut Vec<Problem>) -> Option<(String, Method, Events)> {
    let url = element.attribute("statusCallback").filter(|url| !url.is_empty())?.to_owned();
    let names = element.attribute("statusCallbackEvent").unwrap_or("");
    let events = Events::parse(names).unwrap_or_else(|| {
        problems.push(super::bad_attribute(
            element,
            "statusCallbackEvent",
            names,
            "initiated, ringing, answered, completed are the events; completed is taken",
        ));
        Events::default()
    });
    Some((url, method(element, "statusCallbackMethod", problems), events))
}
