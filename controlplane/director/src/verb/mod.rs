//! The verbs, one file each: how it is read, how it begins, what it makes of what happens while it
//! runs, what its successor asks for again. A new verb is a file here and a line in [`verbs!`];
//! nothing else names one.

mod dial;
mod hangup;
mod pause;
mod redirect;
mod refer;
mod reject;
mod trunk;

use base::CallId;
use model::{Hook, Method};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::script::{self, Effect, Element, Fetch, Input, Outcome, Problem, View, Wait};

/// What a verb is while it waits. It is logged at each step and read back by a successor. Its
/// fields belong to the version of the log: another field, and another verb that does not stand at
/// the end of the table, is another version.
trait Waits {
    type Verb;

    /// Something happened. `verb`: as the document has it; None where the document cannot be read
    /// any more.
    fn on(
        &mut self,
        verb: Option<&Self::Verb>,
        base: &str,
        input: &Input,
        view: &View,
        effects: &mut Vec<Effect>,
    ) -> Step;

    /// What a successor asks for again, and what it has missed.
    fn resume(&self, answered: bool, effects: &mut Vec<Effect>) -> Option<Input>;

    /// Whom the far end was asked to call, as far as it has said nothing to that.
    fn unsaid(&self) -> Option<&str> {
        None
    }

    /// The script goes elsewhere.
    fn leave(&self, _effects: &mut Vec<Effect>) {}

    /// It has something to wait for when the script's own leg is over.
    fn outlives_its_leg(&self) -> bool {
        false
    }

    /// Legs whose ends it waits for.
    fn waits_for(&self) -> Vec<CallId> {
        Vec::new()
    }

    /// The script's leg is connected with another one by this.
    fn is_joined(&self) -> bool {
        false
    }

    /// Whom to ask what is to become of a referral of one of those that it connects.
    fn refer_hook(&self, _verb: Option<&Self::Verb>, _base: &str) -> Option<Hook> {
        None
    }

    /// What the legs that it made came to, once they are over.
    fn outcome(&self) -> Option<Outcome> {
        None
    }
}

/// The table. Those that wait have a state beside what the document says.
macro_rules! verbs {
    (waits { $($waits:ident($waiting:ty, $state:ty);)* } begins { $($once:ident($verb:ty);)* }) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Verb {
            $($waits($waiting),)*
            $($once($verb),)*
        }

        /// The state of the verb that a script waits in.
        #[derive(Clone, Debug)]
        #[expect(private_interfaces, reason = "a state is its verb's own")]
        pub(crate) enum VerbState {
            $($waits($state),)*
        }

        /// What a script waits for, as it is written: the verbs' names beside the others.
        #[derive(Deserialize)]
        #[expect(private_interfaces, reason = "a state is its verb's own")]
        pub(crate) enum Written {
            Ready,
            Fetch(Fetch),
            Over,
            $($waits($state),)*
        }

        /// The same, on its way out.
        #[derive(Serialize)]
        #[expect(private_interfaces, reason = "a state is its verb's own")]
        pub(crate) enum Writing<'w> {
            Ready,
            Fetch(&'w Fetch),
            Over,
            $($waits(&'w $state),)*
        }

        impl<'w> Writing<'w> {
            pub(crate) fn of(wait: &'w Wait) -> Self {
                match wait {
                    Wait::Ready => Self::Ready,
                    Wait::Fetch(fetch) => Self::Fetch(fetch),
                    Wait::Over => Self::Over,
                    $(Wait::Verb(VerbState::$waits(state)) => Self::$waits(state),)*
                }
            }
        }

        impl From<Written> for Wait {
            fn from(written: Written) -> Self {
                match written {
                    Written::Ready => Self::Ready,
                    Written::Fetch(fetch) => Self::Fetch(fetch),
                    Written::Over => Self::Over,
                    $(Written::$waits(state) => Self::Verb(VerbState::$waits(state)),)*
                }
            }
        }

        impl Verb {
            /// The verb of this name, if there is one.
            fn named(element: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
                Some(match element.name.as_str() {
                    $(stringify!($waits) => Self::$waits(<$waiting>::parse(element, problems)),)*
                    $(stringify!($once) => Self::$once(<$verb>::parse(element, problems)),)*
                    _ => return None,
                })
            }

            /// The addresses in it, and where they stand.
            pub(crate) fn urls(&self) -> Vec<(&'static str, &str)> {
                match self {
                    $(Self::$waits(verb) => verb.urls(),)*
                    $(Self::$once(verb) => verb.urls(),)*
                }
            }

            pub(crate) fn begin(
                &self,
                base: &str,
                view: &View,
                rng: &mut Rng,
                effects: &mut Vec<Effect>,
            ) -> Step {
                match self {
                    $(Self::$waits(verb) => verb.begin(base, view, rng, effects),)*
                    $(Self::$once(verb) => verb.begin(base, view, rng, effects),)*
                }
            }
        }

        impl VerbState {
            /// `verb`: where the script is in its document.
            pub(crate) fn on(
                &mut self,
                verb: Option<&Verb>,
                base: &str,
                input: &Input,
                view: &View,
                effects: &mut Vec<Effect>,
            ) -> Step {
                match self {
                    $(Self::$waits(state) => {
                        let verb = match verb {
                            Some(Verb::$waits(verb)) => Some(verb),
                            _ => None,
                        };
                        state.on(verb, base, input, view, effects)
                    })*
                }
            }

            /// See [`Waits::resume`].
            pub(crate) fn resume(
                &self,
                answered: bool,
                effects: &mut Vec<Effect>,
            ) -> Option<Input> {
                match self { $(Self::$waits(state) => state.resume(answered, effects),)* }
            }

            /// See [`Waits::unsaid`].
            pub(crate) fn unsaid(&self) -> Option<&str> {
                match self { $(Self::$waits(state) => state.unsaid(),)* }
            }

            /// See [`Waits::leave`].
            pub(crate) fn leave(&self, effects: &mut Vec<Effect>) {
                match self { $(Self::$waits(state) => state.leave(effects),)* }
            }

            /// See [`Waits::outlives_its_leg`].
            pub(crate) fn outlives_its_leg(&self) -> bool {
                match self { $(Self::$waits(state) => state.outlives_its_leg(),)* }
            }

            /// See [`Waits::waits_for`].
            pub(crate) fn waits_for(&self) -> Vec<CallId> {
                match self { $(Self::$waits(state) => state.waits_for(),)* }
            }

            /// See [`Waits::is_joined`].
            pub(crate) fn is_joined(&self) -> bool {
                match self { $(Self::$waits(state) => state.is_joined(),)* }
            }

            /// See [`Waits::refer_hook`].
            pub(crate) fn refer_hook(&self, verb: Option<&Verb>, base: &str) -> Option<Hook> {
                match self {
                    $(Self::$waits(state) => {
                        let verb = match verb {
                            Some(Verb::$waits(verb)) => Some(verb),
                            _ => None,
                        };
                        state.refer_hook(verb, base)
                    })*
                }
            }

            /// See [`Waits::outcome`].
            pub(crate) fn outcome(&self) -> Option<Outcome> {
                match self { $(Self::$waits(state) => state.outcome(),)* }
            }
        }

        $(
            impl From<$state> for VerbState {
                fn from(state: $state) -> Self {
                    Self::$waits(state)
                }
            }
        )*
    };
}

verbs! {
    waits {
        Dial(dial::Dial, dial::DialState);
        Hangup(hangup::Hangup, hangup::HangupState);
        Pause(pause::Pause, pause::PauseState);
        Trunk(trunk::Trunk, trunk::TrunkState);
        Refer(refer::Refer, refer::ReferState);
    }
    begins {
        Redirect(redirect::Redirect);
        Reject(reject::Reject);
    }
}

/// How a script goes on after a verb has begun or was told something.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// As it was.
    Stay,
    Wait(VerbState),
    /// The next verb.
    Next,
    /// Another document.
    Fetch {
        hook: Hook,
        params: Vec<(String, String)>,
    },
    /// Nothing more to run.
    End,
}

/// Characters of a text that an alert shows.
const TEXT_SHOWN_MAX: usize = 60;

/// Verbs of the language that this switch does not have yet.
const LATER: [&str; 18] = [
    "Say",
    "Play",
    "Gather",
    "Record",
    "Conference",
    "Enqueue",
    "Leave",
    "Queue",
    "Sms",
    "Message",
    "Connect",
    "Start",
    "Stop",
    "Stream",
    "Siprec",
    "Pay",
    "Prompt",
    "Echo",
];

/// What a document does when it has nothing more to do.
pub(crate) fn end_of_document(
    base: &str,
    view: &View,
    rng: &mut Rng,
    effects: &mut Vec<Effect>,
) -> Step {
    hangup::Hangup.begin(base, view, rng, effects)
}

impl Verb {
    /// The verb of a document of ours.
    pub(crate) fn own(root: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
        Self::named(root, problems)
    }

    /// Reads a verb; None, with the problem told, for one that is skipped.
    pub(crate) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
        let is_own = element.name == script::TRUNK;
        let verb = if is_own { None } else { Self::named(element, problems) };
        if verb.is_none() {
            let name = element.name.as_str();
            let (reason, what) = if LATER.contains(&name) {
                ("verb-not-supported", "is not supported yet")
            } else {
                ("verb-unknown", "is no verb")
            };
            let message = format!("line {}: <{name}> {what}; it is skipped", element.line);
            problems.push(Problem { code: 12_200, reason, message });
        }
        verb
    }
}

/// A whole number within bounds; anything else is told and replaced by `default`.
pub(crate) fn number(
    element: &Element,
    name: &str,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
    problems: &mut Vec<Problem>,
) -> u32 {
    let Some(text) = element.attribute(name) else {
        return default;
    };
    match text.trim().parse::<u32>() {
        Ok(value) if range.contains(&value) => value,
        Ok(value) => {
            let near = value.clamp(*range.start(), *range.end());
            problems.push(bad_attribute(element, name, text, &format!("{near} is taken")));
            near
        }
        Err(_) => {
            problems.push(bad_attribute(element, name, text, &format!("{default} is taken")));
            default
        }
    }
}

/// `true` or `false`.
pub(crate) fn flag(element: &Element, name: &str, problems: &mut Vec<Problem>) -> bool {
    match element.attribute(name) {
        None | Some("false") => false,
        Some("true") => true,
        Some(text) => {
            problems.push(bad_attribute(element, name, text, "false is taken"));
            false
        }
    }
}

/// `GET` or `POST` in any case; POST if it is missing.
pub(crate) fn method(element: &Element, name: &str, problems: &mut Vec<Problem>) -> Method {
    let Some(text) = element.attribute(name) else {
        return Method::Post;
    };
    Method::from_name(text).unwrap_or_else(|| {
        problems.push(bad_attribute(element, name, text, "POST is taken"));
        Method::Post
    })
}

/// Names the attributes that nobody reads.
pub(crate) fn unknown_attributes(element: &Element, known: &[&str], problems: &mut Vec<Problem>) {
    for (name, value) in &element.attributes {
        if !known.contains(&name.as_str()) {
            problems.push(bad_attribute(element, name, value, "it is left aside"));
        }
    }
}

/// Names the text that nobody reads.
pub(crate) fn unread_text(element: &Element, problems: &mut Vec<Problem>) {
    if !element.text.is_empty() {
        let Element { name, line, .. } = element;
        let text: String = element.text.chars().take(TEXT_SHOWN_MAX).collect();
        let message = format!("line {line}: the text {text:?} in <{name}> is left aside");
        problems.push(Problem { code: 12_200, reason: "text", message });
    }
}

/// Names the elements that nobody reads.
pub(crate) fn unread_children(element: &Element, problems: &mut Vec<Problem>) {
    for child in &element.children {
        let message =
            format!("line {}: <{}> in <{}> is left aside", child.line, child.name, element.name);
        problems.push(Problem { code: 12_200, reason: "nested", message });
    }
}

/// An address that is none from where its document came from.
pub(crate) fn unresolved(place: &str, url: &str) -> Problem {
    let message = format!(
        "{place}: {url:?} is no http or https URL, nor a path that could be seen from where the \
         document came from"
    );
    Problem { code: 11_100, reason: "url", message }
}

pub(crate) fn bad_attribute(element: &Element, name: &str, value: &str, what: &str) -> Problem {
    let Element { name: verb, line, .. } = element;
    let message = format!("line {line}: <{verb} {name}=\"{value}\">: {what}");
    Problem { code: 12_200, reason: "attribute", message }
}
