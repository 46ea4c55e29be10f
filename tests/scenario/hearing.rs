//! Two legs always hear each other (GOALS.md H1): for every pair of codec sets, every way of
//! setting a call up or of changing it, and whichever of the formats in force the phones choose to
//! speak, each side hears what the other says, or the call is refused or ended for want of a codec.
//! Never silence that is billed.

use sdp::{Direction, Supported};
use wire::event::Cause;
use world::{Action, CallRef, Dial, Manner, Reinvite, Setup, Speaks, World};

use crate::common::{SECOND, bridged, dialled_after_answer, ends, heard, ms, routed, to};

const CODECS: [Supported<'static>; 4] =
    [Supported::PCMU, Supported::PCMA, Supported::G722, Supported::OPUS];

/// How the call is set up, or what is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A static route, one shard.
    Route,
    /// An application answers the caller, then dials.
    PlainDial,
    /// An application dials and answers with the callee.
    OnBridge,
    EarlyThenAnswer,
    /// Early media from one branch, the answer from another one with the last codec only.
    EarlyFork,
    /// Early media one way, the answer both ways.
    EarlyOneSided,
    /// The first target has early media and fails, the second answers.
    NextTarget,
    LateOffer,
    /// A re-INVITE that leaves one codec.
    CallerNarrows,
    CalleeNarrows,
    /// Both at the same moment.
    BothNarrow,
    Renumber,
    HoldAndResume,
    OldHoldAndResume,
    StopAndRestart,
    CalleeHolds,
    BothHold,
    /// The callee moves its media.
    Moves,
    /// A re-INVITE without a description.
    OffersAgain,
    /// The caller narrows, and the callee takes no re-INVITE.
    Stubborn,
}

const WAYS: [Way; 20] = [
    Way::Route,
    Way::PlainDial,
    Way::OnBridge,
    Way::EarlyThenAnswer,
    Way::EarlyFork,
    Way::EarlyOneSided,
    Way::NextTarget,
    Way::LateOffer,
    Way::CallerNarrows,
    Way::CalleeNarrows,
    Way::BothNarrow,
    Way::Renumber,
    Way::HoldAndResume,
    Way::OldHoldAndResume,
    Way::StopAndRestart,
    Way::CalleeHolds,
    Way::BothHold,
    Way::Moves,
    Way::OffersAgain,
    Way::Stubborn,
];

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    BothHeard,
    /// Refused or ended, with the reason.
    Refused(Cause),
    Wrong(String),
}

fn set(bits: usize) -> Vec<Supported<'static>> {
    let chosen = (0..CODECS.len()).filter(|at| bits >> at & 1 == 1).map(|at| CODECS[at]);
    chosen.chain([Supported::TELEPHONE_EVENT]).collect()
}

fn last(codecs: &[Supported<'static>]) -> Vec<Supported<'static>> {
    let audio = codecs.iter().rev().find(|codec| codec.name != "telephone-event");
    audio.copied().into_iter().chain([Supported::TELEPHONE_EVENT]).collect()
}

/// A phone that samples its speech, so that thousands of calls can be listened to.
fn phone(codecs: &[Supported<'static>], speaks: Speaks) -> Manner {
    let packet_every = ms(100);
    Manner { codecs: codecs.to_vec(), speaks, packet_every, ..Manner::default() }
}

fn manners(way: Way, a: &Manner, b: &Manner) -> (Manner, Vec<Manner>) {
    let (mut caller, mut callee) = (a.clone(), b.clone());
    let first = SECOND;
    let second = 2 * SECOND;
    let rings = |actions: Vec<(std::time::Duration, Action)>| actions;
    match way {
        Way::EarlyThenAnswer => {
            callee.on_ring = rings(vec![(ms(50), Action::EarlyMedia), (SECOND, Action::Answer)]);
        }
        Way::EarlyFork => {
            let early = Action::Ring183(Direction::SendRecv, b.codecs.clone());
            let answer = Action::AnswerWith(last(&b.codecs), true);
            callee.on_ring = rings(vec![(ms(50), early), (SECOND, answer)]);
        }
        Way::EarlyOneSided => {
            let early = Action::Ring183(Direction::SendOnly, b.codecs.clone());
            callee.on_ring = rings(vec![(ms(50), early), (SECOND, Action::Answer)]);
        }
        Way::NextTarget => {
            let mut first = callee.clone();
            let early = Action::Ring183(Direction::SendRecv, b.codecs.clone());
            first.on_ring = rings(vec![(ms(50), early), (SECOND, Action::Refuse(503))]);
            callee.codecs = last(&b.codecs);
            return (caller, vec![first, callee]);
        }
        Way::CallerNarrows | Way::Stubborn => {
            caller = caller.after_answer(first, Action::ReinviteCodecs(last(&a.codecs)));
            if way == Way::Stubborn {
                callee.reinvite = Reinvite::Refuse(488);
            }
        }
        Way::CalleeNarrows => {
            callee = callee.after_answer(first, Action::ReinviteCodecs(last(&b.codecs)));
        }
        Way::BothNarrow => {
            caller = caller.after_answer(first, Action::ReinviteCodecs(last(&a.codecs)));
            callee = callee.after_answer(first, Action::ReinviteCodecs(last(&b.codecs)));
        }
        Way::Renumber => caller = caller.after_answer(first, Action::Renumber),
        Way::HoldAndResume => {
            caller = caller.after_answer(first, Action::Reinvite(Direction::SendOnly));
            caller = caller.after_answer(second, Action::Reinvite(Direction::SendRecv));
        }
        Way::OldHoldAndResume => {
            caller = caller.after_answer(first, Action::HoldByAddress);
            caller = caller.after_answer(second, Action::Reinvite(Direction::SendRecv));
        }
        Way::StopAndRestart => {
            caller = caller.after_answer(first, Action::StopStream);
            caller = caller.after_answer(second, Action::Reinvite(Direction::SendRecv));
        }
        Way::CalleeHolds => {
            callee = callee.after_answer(first, Action::Reinvite(Direction::Inactive));
            callee = callee.after_answer(second, Action::Reinvite(Direction::SendRecv));
        }
        Way::BothHold => {
            caller = caller.after_answer(first, Action::Reinvite(Direction::SendOnly));
            callee = callee.after_answer(first + ms(300), Action::Reinvite(Direction::Inactive));
            caller = caller.after_answer(second, Action::Reinvite(Direction::SendRecv));
            callee = callee.after_answer(second + ms(500), Action::Reinvite(Direction::SendRecv));
        }
        Way::Moves => callee = callee.after_answer(first, Action::MoveMedia),
        Way::OffersAgain => caller = caller.after_answer(first, Action::ReinviteEmpty),
        Way::Route | Way::PlainDial | Way::OnBridge | Way::LateOffer => {}
    }
    (caller, vec![callee])
}

fn world_of(way: Way, setup: &Setup, caller: Manner, mut callees: Vec<Manner>) -> World {
    match way {
        Way::PlainDial => dialled_after_answer(setup, caller, callees.remove(0)),
        Way::OnBridge | Way::EarlyThenAnswer | Way::CalleeNarrows | Way::HoldAndResume => {
            bridged(setup, caller, callees.remove(0))
        }
        _ => routed(setup, caller, callees),
    }
}

/// Places the call, does what the way says, and listens for two seconds.
fn hear(way: Way, seed: u64, a: &Manner, b: &Manner) -> Verdict {
    let (caller, callees) = manners(way, a, b);
    let mut setup = Setup::new(seed);
    setup.plane.shards = 2;
    let mut world = world_of(way, &setup, caller, callees);
    let dial = Dial { late_offer: way == Way::LateOffer, ..to(1) };
    let call = world.dial(0, &dial);
    world.run_for(ms(7_500));
    let before = sides(&world, call);
    world.run_for(2 * SECOND);
    let after = sides(&world, call);
    let verdict = judge(&mut world, call, (before, after));
    world.act(call, Action::HangUp);
    world.run_for(ms(500));
    // A caller without an offer and without G.711 takes nothing of what can be offered to it.
    let excused = way == Way::LateOffer && !share(&a.codecs, &[Supported::PCMU]);
    let hung_up =
        world.call(call).seen.answered_at.is_some() && !world.call(call).seen.ended_by_peer;
    let verdict = match verdict {
        // It took the answer for what it is and went.
        Verdict::Wrong(_) if excused && hung_up => Verdict::Refused(Cause::Normal),
        verdict => verdict,
    };
    complaints(&world, excused).map_or(verdict, Verdict::Wrong)
}

/// What the phones had to complain about.
fn complaints(world: &World, excused: bool) -> Option<String> {
    let calls = world.agents.iter().flat_map(|agent| &agent.calls);
    let is = |text: &&String| !(excused && text.contains("description of the 2xx"));
    let all: Vec<&String> = calls.flat_map(|call| &call.seen.complaints).filter(is).collect();
    let damaged: u64 = (world.agents.iter().flat_map(|agent| &agent.calls))
        .filter_map(|call| call.media.as_ref())
        .map(|media| media.heard.damaged)
        .sum();
    if all.is_empty() && damaged == 0 { None } else { Some(format!("{all:?}, {damaged} damaged")) }
}

/// Packets heard so far at the caller and at whoever answered.
fn sides(world: &World, call: CallRef) -> (u64, u64) {
    let callee = answered(world);
    (heard(world, call, 3), callee.map_or(0, |callee| heard(world, callee, 2)))
}

/// The callee that is up, if one is.
fn answered(world: &World) -> Option<CallRef> {
    let agents = world.agents.iter().enumerate().skip(1);
    let calls = agents.flat_map(|(agent, it)| (0..it.calls.len()).map(move |at| (agent, at)));
    let mut calls = calls.map(|(agent, at)| CallRef { agent, call: at });
    calls.find(|at| {
        let call = world.call(*at);
        call.state == world::State::Up
    })
}

fn judge(world: &mut World, call: CallRef, heard: ((u64, u64), (u64, u64))) -> Verdict {
    let ((a_before, b_before), (a_after, b_after)) = heard;
    let caller_up = world.call(call).state == world::State::Up;
    let callee_up = answered(world).is_some();
    let (a, b) = (a_after - a_before, b_after - b_before);
    let ends = ends(world);
    if caller_up && callee_up {
        return match a >= 15 && b >= 15 {
            true => Verdict::BothHeard,
            false => Verdict::Wrong(format!("billed silence: heard {a} and {b} of 20")),
        };
    }
    // Nobody talks: then for want of a codec, and the dialled leg says so.
    let reason = ends.iter().find(|end| matches!(end.cause, Cause::NoCodec));
    match reason {
        Some(end) => Verdict::Refused(end.cause),
        None if world.call(call).seen.code == 488 => Verdict::Refused(Cause::NoCodec),
        None => Verdict::Wrong(format!("neither heard nor refused: {ends:?}")),
    }
}

/// Whether two sets share a codec, or could be turned into each other.
fn share(a: &[Supported<'static>], b: &[Supported<'static>]) -> bool {
    let law = |codec: &Supported<'_>| codec.name == "PCMU" || codec.name == "PCMA";
    let audio = |codec: &&Supported<'static>| codec.name != "telephone-event";
    a.iter()
        .filter(audio)
        .any(|a| b.iter().filter(audio).any(|b| a.name == b.name || law(a) && law(b)))
}

/// Every pair of sets by one way.
fn every_pair(way: Way) {
    let (mut tried, mut heard, mut wrong) = (0_u32, 0_u32, Vec::new());
    for (a, b) in (1..16).flat_map(|a| (1..16).map(move |b| (a, b))) {
        let (codecs_a, codecs_b) = (set(a), set(b));
        for speaks in [Speaks::First, Speaks::Last] {
            let seed = u64::try_from(a * 64 + b * 4).unwrap_or(0);
            let (phone_a, phone_b) = (phone(&codecs_a, speaks), phone(&codecs_b, speaks));
            let verdict = hear(way, seed, &phone_a, &phone_b);
            tried += 1;
            let possible = share(&codecs_a, &codecs_b);
            match verdict {
                Verdict::BothHeard => heard += 1,
                Verdict::Refused(_) if !possible || may_be_lost(way, &codecs_a, &codecs_b) => {}
                other => wrong.push(format!(
                    "{way:?} {:?} {:?} {speaks:?}: {other:?}",
                    names(&codecs_a),
                    names(&codecs_b)
                )),
            }
        }
    }
    let some = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {tried} wrong, {heard} heard\n{some}", wrong.len());
    assert!(heard >= tried / 3, "{heard} of {tried} heard: the test lost its subject");
}

fn names(codecs: &[Supported<'static>]) -> Vec<&'static str> {
    codecs.iter().map(|codec| codec.name).filter(|name| *name != "telephone-event").collect()
}

/// Ways that leave one side with its last codec only, or with nothing that was described: a call
/// that could stand before may have nothing in common afterwards.
fn may_be_lost(way: Way, a: &[Supported<'static>], b: &[Supported<'static>]) -> bool {
    match way {
        Way::EarlyFork | Way::NextTarget => !share(a, &last(b)),
        Way::CallerNarrows => !share(&last(a), b),
        // It speaks what it likes of what was agreed before.
        Way::Stubborn => true,
        Way::CalleeNarrows => !share(a, &last(b)),
        Way::BothNarrow => !share(&last(a), &last(b)) || !share(&last(a), b) || !share(a, &last(b)),
        // We offer what we speak ourselves.
        Way::LateOffer => !(share(a, &[Supported::PCMU]) && share(b, &[Supported::PCMU])),
        _ => false,
    }
}

macro_rules! ways {
    ($($name:ident: $way:expr;)*) => {
        $(#[test]
        fn $name() {
            every_pair($way);
        })*

        #[test]
        fn every_way_has_its_test() {
            let tested = [$($way),*];
            assert!(WAYS.iter().all(|way| tested.contains(way)));
        }
    };
}

ways! {
    by_a_static_route: Way::Route;
    where_the_caller_is_answered_first: Way::PlainDial;
    where_the_caller_is_answered_with_the_callee: Way::OnBridge;
    after_early_media: Way::EarlyThenAnswer;
    after_early_media_of_another_branch: Way::EarlyFork;
    after_early_media_one_way: Way::EarlyOneSided;
    after_early_media_of_another_target: Way::NextTarget;
    with_a_late_offer: Way::LateOffer;
    when_the_caller_narrows_its_codecs: Way::CallerNarrows;
    when_the_callee_narrows_its_codecs: Way::CalleeNarrows;
    when_both_narrow_their_codecs_at_once: Way::BothNarrow;
    when_the_caller_renumbers: Way::Renumber;
    after_hold_and_resume: Way::HoldAndResume;
    after_the_old_hold_and_resume: Way::OldHoldAndResume;
    after_the_stream_was_stopped: Way::StopAndRestart;
    after_the_callee_held: Way::CalleeHolds;
    after_both_held: Way::BothHold;
    when_the_callee_moves_its_media: Way::Moves;
    after_an_offer_of_ours_was_asked_for: Way::OffersAgain;
    when_the_callee_takes_no_offer: Way::Stubborn;
}
