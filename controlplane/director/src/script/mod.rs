//! One instruction set. A document parses into a [`Program`]; [`drive`] steps it by [`Input`]s and
//! yields [`Effect`]s. What a script waits for is in its state ([`Wait`]), which is a plain value:
//! logged at each step, and read back by a successor, which parses the document again and goes on.
//!
//! ```text
//!            +--------------------- Next ---------------------+
//!            v                                                |
//!   Fetch -> Ready -> verb.begin -> Verb(state) --input--> state.on -> End -> Over
//!     ^                  |                                    |
//!     +------------------+------------- Fetch ----------------+
//! ```

mod child;
mod element;
mod own;

use base::{CallId, Wall};
use model::{CallStatus, Hook};
use serde::{Deserialize, Serialize, Serializer};
use wire::event::Cause;

use crate::rng::Rng;
use crate::verb::{self, Step, Verb, VerbState, Writing, Written};
use crate::web;

pub(crate) use child::{ChildSpec, Outcome, Target};
pub(crate) use element::{DocumentError, Element};
pub(crate) use own::{TRUNK, Trunking, parse_any};

/// A parsed document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) verbs: Vec<Verb>,
    pub(crate) problems: Vec<Problem>,
    /// What stands first in the document is no verb that we have.
    pub(crate) headless: bool,
}

/// Something in a document that is skipped, said aloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: u32,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Problem {
    /// It stands for something that the language has and this switch has not yet.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self.reason, "verb-not-supported" | "verb-unknown" | "noun-not-supported")
    }
}

/// The script of one call.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Script {
    pub(crate) document: String,
    /// Where the document came from; relative URLs are seen from here. Empty for a given document.
    pub(crate) base: String,
    pub(crate) at: usize,
    pub(crate) wait: Wait,
    /// Documents taken so far.
    pub(crate) documents: u32,
    /// Targets dialled so far, reached or not; and verbs begun so far.
    #[serde(default)]
    pub(crate) legs: u32,
    #[serde(default)]
    pub(crate) verbs: u32,
    /// What the last legs made for it came to, for a call that ends without ever having been
    /// answered.
    pub(crate) dialled: Option<Outcome>,
    #[serde(skip)]
    pub(crate) program: Program,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Written")]
pub(crate) enum Wait {
    /// About to begin the verb at `at`.
    #[default]
    Ready,
    /// For an application's answer.
    Fetch(Fetch),
    /// For what the verb at `at` waits for.
    Verb(VerbState),
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
    /// Its far end may be asked to call somebody: it is nobody who would do so on the operator's
    /// bill.
    pub(crate) refers: bool,
    /// The leg is over; what is left is to tell the application.
    pub(crate) gone: bool,
    /// The verb is the first of its document.
    pub(crate) first: bool,
    /// The call has dialled, and nobody could be bridged.
    pub(crate) dialled: bool,
    pub(crate) from: String,
    /// Legs that one verb may make.
    pub(crate) targets_max: usize,
    /// Legs that the call may still make.
    pub(crate) legs_left: usize,
    /// Verbs that the call may begin in all.
    pub(crate) verbs_max: u32,
    /// It was taken over from a relay, which has it back when the document is at its end.
    pub(crate) taken: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    Begin,
    /// The script's own leg was answered.
    Answered,
    /// The script's own leg is over.
    Gone,
    Timer,
    /// What came of a referral of ours: see `wire::Event::ReferSaid`.
    ReferSaid {
        code: u16,
        notified: u16,
    },
    ChildAnswered {
        call: CallId,
    },
    /// It is the one that the script's own leg is joined with.
    ChildJoined {
        call: CallId,
    },
    /// A target has more than one contact: this leg goes to another one.
    ChildForked {
        call: CallId,
    },
    /// The account has no room for the leg: it was not made, and there is no row of it.
    ChildRefused {
        call: CallId,
    },
    /// The leg goes its own way: it was redirected, and its end is none of ours.
    ChildLeft {
        call: CallId,
    },
    ChildEnded {
        call: CallId,
        status: CallStatus,
        code: u16,
        cause: Option<Cause>,
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
    /// A leg of the script's own.
    Spawn(ChildSpec),
    /// Such a leg is not wanted any more.
    Drop {
        call: CallId,
        cause: Cause,
    },
    /// The same, if it is not answered by then.
    Cancel {
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
    /// The call has used up what it may have: it ends, and its owner is told why.
    GiveUp(Problem),
    /// The relay that it was taken over from has it back.
    GiveBack,
    /// The far end is referred there.
    Refer(String),
    /// The same of a predecessor's, unless it turns out to have been asked.
    ReferAgain,
}

impl Wait {
    /// The script's leg is connected with one that it dialled.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self, Self::Verb(state) if state.is_joined())
    }
}

impl Serialize for Wait {
    /// A verb's state stands among the others by the verb's name: see [`Written`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Writing::of(self).serialize(serializer)
    }
}

/// Reads a document.
pub(crate) fn parse(document: &str, bytes_max: usize) -> Result<Program, DocumentError> {
    let root = element::parse(document, bytes_max)?;
    if root.name != "Response" {
        let message = format!("the root element is <{}>, <Response> is expected", root.name);
        return Err(DocumentError { line: root.line, message });
    }
    let mut program = Program::default();
    verb::unread_text(&root, &mut program.problems);
    for element in &root.children {
        match Verb::parse(element, &mut program.problems) {
            Some(verb) => program.verbs.push(verb),
            None => program.headless |= program.verbs.is_empty(),
        }
    }
    Ok(program)
}

impl Program {
    /// The first address that is none for a document that came from nowhere.
    pub(crate) fn unresolved(&self) -> Option<Problem> {
        let mut urls = self.verbs.iter().flat_map(Verb::urls);
        urls.find(|(_, url)| web::resolve("", url).is_none())
            .map(|(place, url)| verb::unresolved(place, url))
    }
}

/// Gives `input` to the script and lets it run until it waits again.
pub(crate) fn drive(
    script: &mut Script,
    input: Input,
    view: &mut View,
    rng: &mut Rng,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut step = match (&mut script.wait, input) {
        (Wait::Ready, Input::Begin) => begin(script, view, rng, &mut effects),
        (Wait::Verb(state), input) => {
            let verb = script.program.verbs.get(script.at);
            let step = state.on(verb, &script.base, &input, view, &mut effects);
            script.dialled = state.outcome().or(script.dialled);
            step
        }
        (_, Input::Gone) => Step::End,
        _ => Step::Stay,
    };
    loop {
        step = match step {
            Step::Stay => return effects,
            Step::Wait(state) => {
                script.wait = Wait::Verb(state);
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
                begin(script, view, rng, &mut effects)
            }
            Step::End => {
                script.wait = Wait::Over;
                return effects;
            }
        };
    }
}

/// Begins the verb at `at`; the end of the document ends the call, or gives it back.
fn begin(script: &mut Script, view: &mut View, rng: &mut Rng, effects: &mut Vec<Effect>) -> Step {
    view.first = script.at == 0 && !script.program.headless;
    view.dialled = script.dialled.is_some();
    script.verbs = script.verbs.saturating_add(1);
    match script.program.verbs.get(script.at) {
        Some(_) if script.verbs > view.verbs_max => {
            let message = format!("the call has run {} verbs; it may run no more", view.verbs_max);
            let reason = "verbs-per-call";
            effects.push(Effect::GiveUp(Problem { code: 12_400, reason, message }));
            Step::End
        }
        Some(verb) => verb.begin(&script.base, view, rng, effects),
        None if view.taken => {
            effects.push(Effect::GiveBack);
            Step::End
        }
        None => verb::end_of_document(&script.base, view, rng, effects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 64 * 1024;

    /// Documents, how many verbs they have, and why anything in them was left aside.
    const DOCUMENTS: [(&str, usize, &[&str]); 17] = [
        ("<Response/>", 0, &[]),
        ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Hangup/></Response>\n", 1, &[]),
        ("\u{feff}<Response><!-- c --><Pause length=\"3\"/><Hangup/></Response>", 2, &[]),
        ("<Response><Dial>+15550100</Dial></Response>", 1, &[]),
        ("<Response><Dial>\n  <Number>+1 555-0100</Number>\n</Dial></Response>", 1, &[]),
        ("<Response><Dial><Sip><![CDATA[sip:a@b?X-A=1&X-B=2]]></Sip></Dial></Response>", 1, &[]),
        ("<Response><Dial><Sip>sip:a@b?X-A=1&amp;X-B=2</Sip></Dial></Response>", 1, &[]),
        (
            "<Response><Dial><Sip username=\"u\" password=\"p\">sip:a@b</Sip></Dial></Response>",
            1,
            &[],
        ),
        (
            "<Response><Dial><Sip password=\"p\">sip:a@b</Sip></Dial></Response>",
            1,
            &["sip-credentials"],
        ),
        ("<Response><Dial/></Response>", 1, &["dial-no-target"]),
        (
            "<Response><Dial><Number>alice</Number></Dial></Response>",
            1,
            &["dial-number", "dial-no-target"],
        ),
        (
            "<Response><Dial timeout=\"9999\" record=\"true\">1</Dial></Response>",
            1,
            &["attribute", "attribute"],
        ),
        (
            "<Response><Dial answerOnBridge=\"yes\" hangupOnStar=\"true\">1</Dial></Response>",
            1,
            &["attribute", "attribute"],
        ),
        (
            "<Response><Dial><Conference>room</Conference></Dial></Response>",
            1,
            &["noun-not-supported", "dial-no-target"],
        ),
        (
            "<Response><Say>hi</Say><Play>x</Play><Gather/><Record/><Enqueue/></Response>",
            0,
            &[
                "verb-not-supported",
                "verb-not-supported",
                "verb-not-supported",
                "verb-not-supported",
                "verb-not-supported",
            ],
        ),
        (
            "<Response><dial>1</dial><Redirect method=\"PUT\">/a</Redirect></Response>",
            1,
            &["verb-unknown", "attribute"],
        ),
        ("<Response><Reject reason=\"tired\"/></Response>", 1, &["attribute"]),
    ];

    #[test]
    fn documents_are_read() {
        for (document, verbs, reasons) in DOCUMENTS {
            let program =
                parse(document, BYTES_MAX).unwrap_or_else(|bad| panic!("{document}: {bad:?}"));
            let told: Vec<_> = program.problems.iter().map(|problem| problem.reason).collect();
            assert_eq!((program.verbs.len(), told.as_slice()), (verbs, reasons), "{document}");
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = format!("<Response>{}{}</Response>", "<a>".repeat(20), "</a>".repeat(20));
        let many = format!("<Response>{}</Response>", "<Hangup/>".repeat(2_000));
        let long = format!("<Response>{}</Response>", " ".repeat(BYTES_MAX));
        for document in [
            "",
            "<Response>",
            "</Response>",
            "<Response></Dial></Response>",
            "<Response/><Response/>",
            "<Response/>trailing",
            "<Trunk><Sip>sip:a@b</Sip></Trunk>",
            "<Response><Dial a=1/></Response>",
            "<Response><Dial a=\"1\" a=\"2\"/></Response>",
            "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><Response/>",
            "<!DOCTYPE x [<!ENTITY a \"&b;&b;\">]><Response>&a;</Response>",
            "<Response>&a;</Response>",
            "<Response><Dial action=\"&a;\"/></Response>",
            "<Response>&#0;</Response>",
            &deep,
            &many,
            &long,
        ] {
            assert!(parse(document, BYTES_MAX).is_err(), "{document:.80}");
        }
    }

    #[test]
    fn damaged_documents_do_no_harm() {
        let mut rng = Rng::new([5, 6, 7, 8]);
        let below = |rng: &mut Rng, limit: usize| {
            usize::try_from(rng.next() % limit.max(1) as u64).unwrap_or(0)
        };
        for _ in 0..20_000 {
            let (document, ..) = DOCUMENTS[below(&mut rng, DOCUMENTS.len())];
            let mut bytes = document.as_bytes().to_vec();
            for _ in 0..=below(&mut rng, 4) {
                let at = below(&mut rng, bytes.len());
                match rng.next() % 3 {
                    0 => bytes[at] = b"<>&\"'/;#x \n"[below(&mut rng, 11)],
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"<>&\"'/;#x \n"[below(&mut rng, 11)]),
                }
            }
            let _ = parse(&String::from_utf8_lossy(&bytes), BYTES_MAX);
        }
    }
}
