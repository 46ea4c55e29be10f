//! Habits of a story's phones, by chance: whom they let wait, which codecs they have, how they
//! hold, move and change in the middle of a call.

use std::time::Duration;

use base::Prng;
use sdp::{Direction, Supported};
use sip::session::Refresher;

use crate::phone::{Action, Manner, Reinvite, Reliability, SessionTimer, Speaks};

/// Which of the two who talk with each other: 0 is the caller, or who was dialled first.
pub type Side = usize;

/// Something that happens in the middle of a call, if both are there by then.
#[derive(Clone, Debug)]
pub enum Move {
    One(Side, Action),
    /// Both act, the second one so much later.
    Both([Action; 2], Duration),
    /// A digit by RFC 4733, or by INFO if true; if nothing is changing at the moment.
    Digit(Side, char, bool),
}

impl Move {
    /// Somebody takes fewer codecs from then on, or answers what is left of them.
    pub(crate) fn narrows(&self) -> bool {
        let does =
            |action: &Action| matches!(action, Action::ReinviteCodecs(_) | Action::ReinviteEmpty);
        match self {
            Self::One(_, action) => does(action),
            Self::Both(actions, _) => actions.iter().any(does),
            Self::Digit(..) => false,
        }
    }
}

/// The phones of a conversation and what they are up to.
#[derive(Clone, Debug)]
pub struct Cast {
    pub caller: Manner,
    pub callees: Vec<Manner>,
    /// Time after the beginning of the conversation.
    pub moves: Vec<(Duration, Move)>,
    /// Every one has a law of G.711 whatever happens, and takes what is offered to it: then nothing
    /// may end for want of a codec.
    pub compatible: bool,
    /// One of them never answers a re-INVITE.
    pub ignores: bool,
    /// The caller's INVITE has no description.
    pub late_offer: bool,
    /// Longest time of a dial, seconds.
    pub limit: u64,
}

const LAWS: [&[Supported<'static>]; 7] = [
    &[Supported::PCMU],
    &[Supported::PCMA],
    &[Supported::PCMU, Supported::PCMA],
    &[Supported::PCMA, Supported::PCMU],
    &[Supported::G722, Supported::PCMA],
    &[Supported::OPUS, Supported::PCMU],
    &[Supported::PCMA, Supported::OPUS, Supported::G722],
];
/// Nobody is there.
const NOBODY: &str = "sip:nobody@10.1.255.250";
const ALL: [Supported<'static>; 4] =
    [Supported::OPUS, Supported::PCMU, Supported::G722, Supported::PCMA];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn pick<T: Clone>(random: &mut Prng, of: &[T]) -> T {
    let at = random.below(u64::try_from(of.len()).unwrap_or(1));
    of[usize::try_from(at).unwrap_or(0)].clone()
}

impl Cast {
    /// `long`: the call may last for minutes. `talks`: it is answered, and much happens in it.
    #[must_use]
    pub fn new(random: &mut Prng, group: u32, long: bool, talks: bool) -> Self {
        let most = match (long, talks) {
            (true, _) => 240_000,
            (false, true) => 90_000,
            (false, false) => 25_000,
        };
        let callees: Vec<Manner> = (0..2).map(|_| callee(random, most, talks)).collect();
        let mut cast = Self {
            caller: caller(random, most, talks),
            callees,
            moves: Vec::new(),
            compatible: true,
            ignores: false,
            late_offer: random.chance(1, 12),
            limit: if long || talks { 60 + random.below(190) } else { 5 + random.below(20) },
        };
        cast.codecs(random);
        // Whoever asks us for an offer gets G.711.
        cast.late_offer &= cast.caller.codecs.iter().any(law);
        let phones = [&mut cast.caller].into_iter().chain(&mut cast.callees);
        for manner in phones {
            cast.compatible &= habits(random, manner, group);
            cast.ignores |= manner.reinvite == Reinvite::Ignore;
        }
        for callee in &mut cast.callees {
            early(random, callee);
            fork(random, callee);
        }
        let most = if talks { 40_000 } else { most.min(150_000) };
        cast.plot(random, most, talks);
        if long && random.chance(1, 8) {
            let side = usize::try_from(random.below(2)).unwrap_or(0);
            let at = ms(10_000 + random.below(100_000));
            cast.moves.push((at, Move::One(side, Action::Die)));
        }
        cast
    }

    fn codecs(&mut self, random: &mut Prng) {
        let style = random.below(10);
        let phones = [&mut self.caller].into_iter().chain(&mut self.callees);
        for (at, manner) in phones.enumerate() {
            let mut codecs = match style {
                0..5 => vec![Supported::PCMU, Supported::PCMA],
                5..8 => pick(random, &LAWS).to_vec(),
                8 => subset(random, &ALL),
                // Nothing in common.
                _ if at == 0 => pick(random, &LAWS[..4]).to_vec(),
                _ => vec![pick(random, &[Supported::OPUS, Supported::G722])],
            };
            self.compatible &= codecs.iter().any(law);
            if random.chance(3, 4) {
                codecs.push(Supported::TELEPHONE_EVENT);
            }
            manner.codecs = codecs;
        }
    }

    /// What happens in the middle.
    fn plot(&mut self, random: &mut Prng, within: u64, talks: bool) {
        let count = match talks {
            true => 3 + random.below(8),
            false if random.chance(1, 3) => 0,
            false => 1 + random.below(5),
        };
        for _ in 0..count {
            let at = ms(3_000 + random.below(within));
            let side = usize::try_from(random.below(2)).unwrap_or(0);
            let what = match random.below(8) {
                0..3 => {
                    let digit = pick(random, &['0', '1', '5', '9', '*', '#', 'A']);
                    Move::Digit(side, digit, random.chance(1, 3))
                }
                3 => {
                    let actions = [self.change(random, 0), self.change(random, 1)];
                    let apart = pick(random, &[0, 0, 3, 12, 40, 200]);
                    Move::Both(actions, ms(apart))
                }
                _ => Move::One(side, self.change(random, side)),
            };
            self.moves.push((at, what));
        }
        self.referral(random, within);
        let holds = |entry: &(Duration, Move)| match &entry.1 {
            Move::One(side, action) if is_hold(action) => Some((entry.0, *side)),
            Move::Both(actions, _) if is_hold(&actions[0]) => Some((entry.0, 0)),
            Move::Both(actions, _) if is_hold(&actions[1]) => Some((entry.0, 1)),
            _ => None,
        };
        let holds: Vec<_> = self.moves.iter().filter_map(holds).collect();
        for (at, side) in holds {
            let resume = Move::One(side, Action::Reinvite(Direction::SendRecv));
            self.moves.push((at + ms(200 + random.below(12_000)), resume));
        }
    }

    /// One of the two refers the other to nobody, by a chance beside the others: the call stands.
    fn referral(&mut self, random: &Prng, within: u64) {
        let mut aside = Prng::new(random.clone().u64() ^ 0x0000_3515);
        if aside.chance(1, 6) {
            let at = ms(3_000 + aside.below(within));
            let side = usize::try_from(aside.below(2)).unwrap_or(0);
            let refer = Action::Refer(NOBODY.to_owned(), aside.chance(1, 4));
            self.moves.push((at, Move::One(side, refer)));
        }
    }

    fn change(&mut self, random: &mut Prng, side: Side) -> Action {
        let of = if side == 0 { &self.caller } else { &self.callees[0] };
        let mut own: Vec<Supported<'static>> = of.codecs.clone();
        match random.below(17) {
            0 => Action::Reinvite(Direction::SendOnly),
            1 => Action::Reinvite(Direction::Inactive),
            2 => Action::Reinvite(Direction::RecvOnly),
            3 => Action::HoldByAddress,
            4 => Action::StopStream,
            5 | 6 => {
                let digits = own.iter().any(|it| it.name == "telephone-event");
                own.retain(|it| it.name != "telephone-event");
                let mut codecs = subset(random, &own);
                if random.chance(1, 4) {
                    codecs = subset(random, &ALL);
                }
                self.compatible &= codecs.iter().any(law);
                if digits != random.chance(1, 6) {
                    codecs.push(Supported::TELEPHONE_EVENT);
                }
                Action::ReinviteCodecs(codecs)
            }
            7 => Action::Renumber,
            8 => Action::MoveMedia,
            9 => Action::ReinviteEmpty,
            10 => Action::UpdateOffer(Direction::SendRecv),
            11 => Action::UpdateOffer(Direction::SendOnly),
            12 => {
                let long = usize::try_from(20 + random.below(600)).unwrap_or(20);
                // The host is the phone's.
                Action::ReinviteContact("x".repeat(long))
            }
            13 => Action::NewSsrc,
            14 => Action::Options,
            15 => Action::Update,
            _ => Action::Speak(Speaks::Index(usize::try_from(random.below(3)).unwrap_or(0))),
        }
    }
}

fn is_hold(action: &Action) -> bool {
    match action {
        Action::Reinvite(direction) | Action::UpdateOffer(direction) => {
            *direction != Direction::SendRecv
        }
        Action::HoldByAddress | Action::StopStream => true,
        _ => false,
    }
}

fn law(codec: &Supported<'_>) -> bool {
    codec.name == "PCMU" || codec.name == "PCMA"
}

/// Some of them, at least one, in another order.
fn subset(random: &mut Prng, of: &[Supported<'static>]) -> Vec<Supported<'static>> {
    let mut left = of.to_vec();
    let mut taken = Vec::new();
    while !left.is_empty() && (taken.is_empty() || random.chance(1, 2)) {
        let at = random.below(u64::try_from(left.len()).unwrap_or(1));
        taken.push(left.remove(usize::try_from(at).unwrap_or(0)));
    }
    taken
}

/// True if it takes what is offered to it.
fn habits(random: &mut Prng, manner: &mut Manner, group: u32) -> bool {
    if random.chance(1, 4) {
        manner.speaks = pick(random, &[Speaks::Last, Speaks::Index(1)]);
    }
    manner.info = random.chance(3, 4);
    manner.single_codec = random.chance(1, 8);
    match random.below(12) {
        0 | 1 => manner.allow.retain(|method| *method != "UPDATE"),
        2 => manner.allow.clear(),
        _ => {}
    }
    manner.reinvite = match random.below(24) {
        0 | 1 => Reinvite::Refuse(pick(random, &[488, 403, 606])),
        2 => Reinvite::Ignore,
        _ => Reinvite::Answer,
    };
    if random.chance(1, 3) {
        manner.timer = Some(SessionTimer {
            seconds: pick(random, &[90, 120, 600]),
            refresher: pick(random, &[None, Some(Refresher::Uac), Some(Refresher::Uas)]),
            min_se: 90,
        });
    }
    if let Some(timer) = manner.timer.as_mut().filter(|timer| timer.seconds > 90) {
        // It refuses what it would not ask for: 422 (RFC 4028 section 6).
        timer.min_se = pick(random, &[90, 90, 100]);
    }
    if random.chance(1, 3) {
        manner.reason = Some(format!("Q.850;cause=16;text=\"bye of {group}\""));
    }
    manner.first_answer_counts = random.chance(1, 6);
    manner.reliable = reliable(random);
    manner.reinvite == Reinvite::Answer
}

/// Whether it acknowledges provisional responses, by a chance beside the others.
fn reliable(random: &Prng) -> Reliability {
    let mut aside = Prng::new(random.clone().u64() ^ 0x0003_2620);
    match aside.below(8) {
        0 => Reliability::Required,
        1 | 2 => Reliability::Supported,
        _ => Reliability::Unknown,
    }
}

/// Early media one way, or of another branch.
fn early(random: &mut Prng, manner: &mut Manner) {
    let [(ring, Action::Ring), (answer, Action::Answer)] = &manner.on_ring[..] else { return };
    let (ring, answer) = (*ring, *answer);
    let codecs = manner.codecs.clone();
    let first = match random.below(9) {
        0 | 1 => Action::Ring183(Direction::SendOnly, codecs.clone()),
        2 => Action::Ring183(Direction::Inactive, codecs.clone()),
        3 => Action::Ring183(Direction::SendRecv, codecs.clone()),
        _ => return,
    };
    let last = match random.below(3) {
        0 => Action::AnswerWith(codecs, true),
        _ => Action::Answer,
    };
    manner.on_ring = vec![(ring, first), (answer, last)];
}

/// A forking proxy in front of the phone lets two branches answer.
fn fork(random: &mut Prng, manner: &mut Manner) {
    let answers = |entry: &&(Duration, Action)| entry.1 == Action::Answer;
    let answer = manner.on_ring.iter().find(answers).map(|(at, _)| *at);
    if let Some(at) = answer.filter(|_| random.chance(1, 16)) {
        manner.on_ring.push((at + ms(20 + random.below(200)), Action::AnswerAgain));
    }
}

fn caller(random: &mut Prng, most: u64, talks: bool) -> Manner {
    let mut manner = Manner::default();
    match random.below(10) {
        0 | 1 if !talks => manner = manner.after_dial(ms(random.below(5_000)), Action::Cancel),
        2..7 => {
            let after = ms(500 + random.below(most));
            manner = manner.after_answer(after, Action::HangUp);
        }
        _ => {}
    }
    if random.chance(1, 8) {
        let after = ms(1_000 + random.below(4_000));
        manner = manner.after_answer(after, Action::Reinvite(Direction::SendRecv));
    }
    manner
}

fn callee(random: &mut Prng, most: u64, talks: bool) -> Manner {
    let ring = ms(20 + random.below(300));
    let pick = ms(300 + random.below(4_000));
    let on_ring = match if talks { 6 + random.below(8) } else { random.below(14) } {
        0 => vec![(ring, Action::Ring), (pick, Action::Refuse(486))],
        1 => vec![(ring, Action::Ring), (pick, Action::Refuse(603))],
        2 => vec![(ms(10), Action::Refuse(404))],
        3 => vec![(ring, Action::Ring)],
        4 => return Manner::silent(),
        5 => vec![(ms(50), Action::Refuse(503))],
        6 => vec![(ring, Action::EarlyMedia), (pick, Action::Answer)],
        7 => vec![(ms(0), Action::Answer)],
        _ => vec![(ring, Action::Ring), (pick, Action::Answer)],
    };
    let mut manner = Manner { on_ring, ..Manner::default() };
    if random.chance(2, 3) {
        let after = ms(500 + random.below(most));
        manner = manner.after_answer(after, Action::HangUp);
    }
    manner
}
