//! Which calls are made.

use std::time::Duration;

use agent::{Action, Manner};
use sdp::{Direction, Supported};

type Codecs = Vec<Supported<'static>>;

/// The way to the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// A static route, without the controlplane.
    Trunk,
    /// `<Dial>`: the caller is answered before the callee is.
    Dial,
    /// `<Dial answerOnBridge="true">`.
    Bridge,
}

/// What happens in the call, beside its being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Nothing,
    /// 183 with these, 200 with those.
    Early(Codecs, Codecs),
    /// Re-INVITE with these by the caller.
    ByCaller(Codecs),
    /// By the callee.
    ByCallee(Codecs),
    /// A digit, as phones do it: by telephone-event where that is in force, else by INFO.
    Digit {
        by_caller: bool,
    },
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) way: &'static str,
    pub(super) via: Via,
    pub(super) caller: Codecs,
    pub(super) callee: Codecs,
    pub(super) turn: Turn,
    /// Something is in common in the end, so a refusal is wrong too.
    pub(super) has_common: bool,
}

const MU: Supported<'static> = Supported::PCMU;
const A: Supported<'static> = Supported::PCMA;
const OPUS: Supported<'static> = Supported::OPUS;
const G722: Supported<'static> = Supported::G722;
const G729: Supported<'static> = Supported::G729;
const DIGITS: Supported<'static> = Supported::TELEPHONE_EVENT;

/// When the callee answers, and how long after the answer a side changes something.
const ANSWER: Duration = Duration::from_millis(900);
const CHANGE: Duration = Duration::from_millis(1_500);
const SOON: Duration = Duration::from_millis(60);

/// Every row.
pub(super) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for (way, via) in [
        ("static route", Via::Trunk),
        ("Dial, caller answered first", Via::Dial),
        ("Dial answerOnBridge", Via::Bridge),
    ] {
        let row = |caller: &[_], callee: &[_], has_common, turn| Row {
            way,
            via,
            caller: caller.to_vec(),
            callee: callee.to_vec(),
            turn,
            has_common,
        };
        let digit = |by_caller| Turn::Digit { by_caller };
        rows.extend([
            row(&[MU, A, DIGITS], &[A, MU, DIGITS], true, digit(true)),
            row(&[OPUS, MU], &[MU, G729], true, Turn::Nothing),
            row(&[OPUS, MU], &[OPUS, G722], true, Turn::Nothing),
            row(&[G722, A], &[MU, G722], true, Turn::Nothing),
            // Both are G.711: the switch has the tables.
            row(&[MU], &[A], true, Turn::Nothing),
            row(&[A], &[MU], true, Turn::Nothing),
            row(&[MU, DIGITS], &[MU], true, digit(true)),
            row(&[A], &[A, DIGITS], true, digit(false)),
            row(&[G729], &[MU], false, Turn::Nothing),
        ]);
    }
    for (way, via) in [("static route", Via::Trunk), ("answerOnBridge", Via::Bridge)] {
        rows.extend(changes(way, via));
    }
    rows
}

fn changes(way: &'static str, via: Via) -> Vec<Row> {
    let is_trunk = way == "static route";
    let name = |on_trunk, on_bridge| if is_trunk { on_trunk } else { on_bridge };
    let row = |way, caller: &[_], callee: &[_], has_common, turn| Row {
        way,
        via,
        caller: caller.to_vec(),
        callee: callee.to_vec(),
        turn,
        has_common,
    };
    let early = name("static, early media", "answerOnBridge, early media");
    let by_caller = name("static, re-INVITE by caller", "answerOnBridge, re-INVITE by caller");
    let by_callee = name("static, re-INVITE by callee", "answerOnBridge, re-INVITE by callee");
    let both = [OPUS, MU];
    vec![
        row(early, &both, &both, true, Turn::Early(vec![OPUS], vec![MU])),
        row(early, &[MU, A], &[MU, A], true, Turn::Early(vec![MU], vec![A])),
        row(early, &both, &[A, OPUS], true, Turn::Early(vec![A], vec![OPUS])),
        row(by_caller, &both, &both, true, Turn::ByCaller(vec![MU])),
        row(by_caller, &[MU, A], &[MU], true, Turn::ByCaller(vec![A])),
        row(by_caller, &[G722, MU], &[G722], false, Turn::ByCaller(vec![MU])),
        row(by_callee, &both, &both, true, Turn::ByCallee(vec![MU])),
        row(by_callee, &[A], &[MU, A], true, Turn::ByCallee(vec![MU])),
        row(by_callee, &[G722], &[G722, MU], false, Turn::ByCallee(vec![MU])),
    ]
}

impl Row {
    pub(super) fn callee_manner(&self) -> Manner {
        let on_ring = match &self.turn {
            Turn::Early(early, last) => vec![
                (SOON, Action::Ring183(Direction::SendRecv, early.clone())),
                (ANSWER, Action::AnswerWith(last.clone(), false)),
            ],
            _ => vec![(SOON, Action::Ring), (ANSWER, Action::Answer)],
        };
        let manner = Manner { on_ring, ..Manner::default().with_codecs(&self.callee).with_audio() };
        match &self.turn {
            Turn::ByCallee(codecs) => {
                manner.after_answer(CHANGE, Action::ReinviteCodecs(codecs.clone()))
            }
            _ => manner,
        }
    }

    /// `hang_up`: nanoseconds after dialling.
    pub(super) fn caller_manner(&self, hang_up: u64) -> Manner {
        let hang_up = Duration::from_nanos(hang_up);
        let manner = Manner::default()
            .with_codecs(&self.caller)
            .with_audio()
            .after_dial(hang_up, Action::HangUp);
        match &self.turn {
            Turn::ByCaller(codecs) => {
                manner.after_answer(CHANGE, Action::ReinviteCodecs(codecs.clone()))
            }
            _ => manner,
        }
    }

    /// The codecs of caller and callee, as they come: `->` where a side changes them.
    pub(super) fn codecs(&self) -> [String; 2] {
        let (caller, callee) = (names(&self.caller), names(&self.callee));
        match &self.turn {
            Turn::Early(early, last) => {
                [caller, format!("183 {} -> 200 {}", names(early), names(last))]
            }
            Turn::ByCaller(codecs) => [format!("{caller} -> {}", names(codecs)), callee],
            Turn::ByCallee(codecs) => [caller, format!("{callee} -> {}", names(codecs))],
            Turn::Nothing | Turn::Digit { .. } => [caller, callee],
        }
    }

    /// Who has to get the digit: 0 the caller, 1 the callee.
    pub(super) fn digit_to(&self) -> Option<usize> {
        match self.turn {
            Turn::Digit { by_caller } => Some(usize::from(by_caller)),
            _ => None,
        }
    }
}

/// Codecs as people write them.
fn names(codecs: &[Supported<'_>]) -> String {
    let name = |codec: &Supported<'_>| match codec.name {
        "telephone-event" => "digits".to_owned(),
        name => name.to_owned(),
    };
    codecs.iter().map(name).collect::<Vec<_>>().join(", ")
}
