//! The verbs, one file each: how it is read, how it begins, what it makes of what happens while it
//! runs. A new verb is a file here and a line in [`Verb`].

pub(crate) mod dial;
mod hangup;
pub(crate) mod pause;
mod redirect;
mod reject;

use model::{Hook, Method};

use crate::rng::Rng;
use crate::script::{Effect, Element, Problem, View, Wait};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Dial(dial::Dial),
    Pause(pause::Pause),
    Redirect(redirect::Redirect),
    Reject(reject::Reject),
    Hangup(hangup::Hangup),
}

/// How a script goes on after a verb has begun or was told something.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// As it was.
    Stay,
    Wait(Wait),
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

/// Verbs of the language that this switch does not have yet.
const LATER: [&str; 19] = [
    "Say",
    "Play",
    "Gather",
    "Record",
    "Conference",
    "Enqueue",
    "Leave",
    "Queue",
    "Refer",
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

impl Verb {
    /// Reads a verb; None, with the problem told, for one that is skipped.
    pub(crate) fn parse(element: &Element, problems: &mut Vec<Problem>) -> Option<Self> {
        Some(match element.name.as_str() {
            "Dial" => Self::Dial(dial::Dial::parse(element, problems)),
            "Pause" => Self::Pause(pause::Pause::parse(element, problems)),
            "Redirect" => Self::Redirect(redirect::Redirect::parse(element, problems)),
            "Reject" => Self::Reject(reject::Reject::parse(element, problems)),
            "Hangup" => Self::Hangup(hangup::Hangup),
            name => {
                let (reason, what) = if LATER.contains(&name) {
                    ("verb-not-supported", "is not supported yet")
                } else {
                    ("verb-unknown", "is no verb")
                };
                let message = format!("line {}: <{name}> {what}; it is skipped", element.line);
                problems.push(Problem { code: 12_200, reason, message });
                return None;
            }
        })
    }

    pub(crate) fn begin(
        &self,
        base: &str,
        view: &View,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) -> Step {
        match self {
            Self::Dial(verb) => verb.begin(base, view, rng, effects),
            Self::Pause(verb) => verb.begin(view, effects),
            Self::Redirect(verb) => verb.begin(base, effects),
            Self::Reject(verb) => verb.begin(view, effects),
            Self::Hangup(verb) => verb.begin(effects),
        }
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

pub(crate) fn bad_attribute(element: &Element, name: &str, value: &str, what: &str) -> Problem {
    let Element { name: verb, line, .. } = element;
    let message = format!("line {line}: <{verb} {name}=\"{value}\">: {what}");
    Problem { code: 12_200, reason: "attribute", message }
}
