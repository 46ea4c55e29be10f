//! One instruction set. A document parses into a [`Program`]; [`drive`] steps it by [`Input`]s and yields
//! [`Effect`]s. What a script waits for is in its state ([`Wait`]), which is a plain value: logged at each step, and
//! read back by a successor, which parses the document again and goes on.
//!
//! ```text
//!            +--------------------- Next ---------------------+
//!            v                                                |
//!   Fetch -> Ready -> verb.begin -> Pause | Dial --input--> verb.on -> End -> Over
//!     ^                  |                                    |
//!     +------------------+------------- Fetch ----------------+
//! ```

mod element;

use serde::{Deserialize, Serialize};

use crate::model::{CallStatus, Hook};
use crate::rng::Rng;
use crate::verb::dial::{ChildSpec, DialState};
use crate::verb::pause::PauseState;
use crate::verb::{Step, Verb};
use base::{CallId, Wall};
use wire::event::Cause;

pub(crate) use element::{DocumentError, Element};

/// A parsed document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) verbs: Vec<Verb>,
    pub(crate) problems: Vec<Problem>,
}

/// Something in a document that is skipped, said aloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: u32,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The script of one call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) document: String,
    /// Where the document came from; relative URLs are seen from here. Empty for a given document.
    pub(crate) base: String,
    pub(crate) at: usize,
    pub(crate) wait: Wait,
    /// Documents taken so far.
    pub(crate) documents: u32,
    /// What the last dial came to, for a call that ends without ever having been answered.
    pub(crate) dialled: Option<(CallStatus, u16)>,
    #[serde(skip)]
    pub(crate) program: Program,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// About to begin the verb at `at`.
    #[default]
    Ready,
    /// For an application's answer.
    Fetch(Fetch),
    Pause(PauseState),
    Dial(DialState),
    /// For the end of the leg.
    Over,
}

/// A request for instructions, under way or to be sent again with the same token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fetch {
    pub(crate) hook: Hook,
    /// Beside the call's own parameters.
    pub(crate) params: Vec<(String, String)>,
    pub(crate) token: String,
    /// Tried when `hook` has failed.
    pub(crate) fallback: Option<Hook>,
    pub(crate) attempt: u8,
}

/// What the script's call looks like from inside a verb.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) now: Wall,
    pub(crate) answered: bool,
    pub(crate) inbound: bool,
    /// The leg is over; what is left is to tell the application.
    pub(crate) gone: bool,
    pub(crate) from: String,
    pub(crate) dial_targets_max: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    Begin,
    /// The script's own leg was answered.
    Answered,
    /// The script's own leg is over.
    Gone,
    Timer,
    ChildAnswered {
        call: CallId,
    },
    ChildEnded {
        call: CallId,
        status: CallStatus,
        code: u16,
        seconds: u32,
    },
}

/// What a step wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Answer,
    Ringback(bool),
    Reject {
        code: u16,
        reason: &'static str,
        cause: Cause,
    },
    Hangup(Cause),
    /// A leg for each target of a dial.
    Spawn(ChildSpec),
    /// A leg of a dial is not wanted any more.
    Drop {
        call: CallId,
        cause: Cause,
    },
    /// Ask for the next document.
    Fetch {
        hook: Hook,
        params: Vec<(String, String)>,
    },
    /// Tell, for there is nothing left to execute an answer.
    Tell {
        hook: Hook,
        params: Vec<(String, String)>,
    },
    /// Wake at this moment.
    Wake(Wall),
    Problem(Problem),
}

/// Reads a document.
pub(crate) fn parse(document: &str, bytes_max: usize) -> Result<Program, DocumentError> {
    let root = element::parse(document, bytes_max)?;
    if root.name != "Response" {
        let message = format!("the root element is <{}>, <Response> is expected", root.name);
        return Err(DocumentError { line: root.line, message });
    }
    let mut program = Program::default();
    for element in &root.children {
        if let Some(verb) = Verb::parse(element, &mut program.problems) {
            program.verbs.push(verb);
        }
    }
    Ok(program)
}

/// Gives `input` to the script and lets it run until it waits again.
pub(crate) fn drive(script: &mut Script, input: Input, view: &View, rng: &mut Rng) -> Vec<Effect> {
    let mut effects = Vec::new();
    let Script { program, at, wait, .. } = script;
    let mut step = match (wait, input) {
        (Wait::Ready, Input::Begin) => begin(program, *at, &script.base, view, rng, &mut effects),
        (Wait::Pause(state), input) => state.on(&input, view, &mut effects),
        (Wait::Dial(state), input) => match program.verbs.get(*at) {
            Some(Verb::Dial(dial)) => {
                let step = dial.on(state, &script.base, &input, view, &mut effects);
                script.dialled = state.outcome().or(script.dialled);
                step
            }
            _ => Step::Next,
        },
        (_, Input::Gone) => Step::End,
        _ => Step::Stay,
    };
    loop {
        step = match step {
            Step::Stay => return effects,
            Step::Wait(wait) => {
                script.wait = wait;
                return effects;
            }
            Step::Fetch { hook, params } => {
                let (hook, params) = (hook, params);
                script.wait = Wait::Over;
                effects.push(if view.gone {
                    Effect::Tell { hook, params }
                } else {
                    Effect::Fetch { hook, params }
                });
                return effects;
            }
            Step::Next if view.gone => Step::End,
            Step::Next => {
                script.at += 1;
                begin(&script.program, script.at, &script.base, view, rng, &mut effects)
            }
            Step::End => {
                script.wait = Wait::Over;
                return effects;
            }
        };
    }
}

/// Begins the verb at `at`; the end of the document ends the call.
fn begin(
    program: &Program,
    at: usize,
    base: &str,
    view: &View,
    rng: &mut Rng,
    effects: &mut Vec<Effect>,
) -> Step {
    match program.verbs.get(at) {
        Some(verb) => verb.begin(base, view, rng, effects),
        None => {
            effects.push(Effect::Hangup(Cause::Normal));
            Step::End
        }
    }
}
