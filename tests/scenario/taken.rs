//! A static route's call that an application takes over in mid-call and gives back: what each side
//! hears meanwhile, in one stream, and who ends with whom.

use base::{CallId, LegId};
use wire::Command;
use wire::event::Cause;
use world::{Action, CallRef, Manner, Setup, World};

use crate::common::{
    SECOND, dial, ends, heard, incoming, manual, ms, nothing_left, originate, publish, route_to,
    send, told,
};

/// A call from agent 0 to agent 1 that stands since a second, and a third phone that nobody called.
struct Taken {
    world: World,
    caller: CallRef,
    callee: CallRef,
    /// The two legs' calls, and the leg that came in.
    calls: [CallId; 2],
    legs: [LegId; 2],
}

fn standing(seed: u64) -> Taken {
    let mut setup = Setup::new(seed);
    setup.plane.shards = 1;
    let mut world = World::new(&setup);
    for _ in 0..3 {
        world.agent(Manner::default().with_audio());
    }
    world.control = Some(Box::new(world::Manual::new(&world.plane)));
    let table = wire::table::Table { routes: vec![route_to(&world, &[1])], ..Default::default() };
    publish(&mut world, &table);
    let caller = dial(&mut world, 1);
    world.run_for(2 * SECOND);
    let callee = world.callee_of(1).expect("it rang");
    let mut answered = Vec::new();
    let mut joined = None;
    for told in &manual(&mut world).told {
        match told.event() {
            wire::Event::Answered { call, leg, .. } => answered.push((call, leg)),
            wire::Event::Joined { call, peer, .. } => joined = Some([call, peer]),
            _ => {}
        }
    }
    let calls = joined.expect("joined");
    let leg = |call| answered.iter().find(|(known, _)| *known == call).expect("answered").1;
    let legs = calls.map(leg);
    assert!(incoming(&mut world).is_empty(), "no application was asked");
    Taken { world, caller, callee, calls, legs }
}

impl Taken {
    fn take(&mut self, which: usize) {
        send(&mut self.world, 0, &Command::Take { call: self.calls[which] });
    }

    fn give_back(&mut self, which: usize) {
        send(&mut self.world, 0, &Command::GiveBack { call: self.calls[which] });
    }

    /// Packets of the other far end that each heard in a second.
    fn second(&mut self) -> [u64; 2] {
        let count = |it: &Self| [heard(&it.world, it.caller, 3), heard(&it.world, it.callee, 2)];
        let before = count(self);
        self.world.run_for(SECOND);
        let after = count(self);
        [after[0] - before[0], after[1] - before[1]]
    }

    fn is_heard(&mut self) {
        let [a, b] = self.second();
        assert!((48..=52).contains(&a) && (48..=52).contains(&b), "{a} {b}");
    }

    fn is_silent(&mut self) {
        assert_eq!(self.second(), [0, 0]);
    }

    /// Whatever was heard came in one stream whose numbers go on without a gap, of sound and
    /// silence.
    fn is_one_stream(&self, seconds: u64) {
        for call in [self.caller, self.callee] {
            let heard = &self.world.call(call).media.as_ref().unwrap().heard;
            assert_eq!((heard.ssrcs.len(), heard.sequence_jumps), (1, 0));
            assert_eq!((heard.timestamp_backwards, heard.damaged), (0, 0));
            let packets = heard.packets;
            assert!(packets >= seconds * 49, "{packets} in {seconds} s");
        }
    }

    fn hang_up(&mut self, call: CallRef) {
        self.world.act(call, Action::HangUp);
        self.world.run_for(SECOND);
    }

    fn are_over(&self) -> [bool; 2] {
        [self.caller, self.callee].map(|call| self.world.call(call).is_over())
    }
}

#[test]
fn either_leg_is_taken_and_given_back_without_a_gap() {
    for which in [0, 1] {
        let mut it = standing(1);
        it.is_heard();
        it.take(which);
        it.is_silent();
        // Said again, nothing changes.
        it.take(which);
        it.is_silent();
        it.give_back(which);
        it.is_heard();
        it.give_back(which);
        it.is_heard();
        it.is_one_stream(6);
        it.hang_up(it.caller);
        assert_eq!(it.are_over(), [true, true], "they end together again");
        let ends = ends(&mut it.world);
        assert_eq!(ends.len(), 2);
        for end in &ends {
            assert_eq!((end.cause, end.account), (Cause::Normal, 7));
            assert!(end.billed_ms.abs_diff(6_000) < 100, "{end:?}");
        }
        let joins = told(&mut it.world).iter().filter(|name| **name == "joined").count();
        assert!(joins >= 2, "the director hears that it is joined again");
        nothing_left(&mut it.world);
    }
}

/// The application dials somebody else for the leg that it has: the other one hears silence, and is
/// there when that is over.
#[test]
fn who_is_taken_talks_to_somebody_else_and_comes_back() {
    for which in [0, 1] {
        let mut it = standing(2);
        it.take(which);
        let third = it.world.address(2);
        let wish = wire::Originate {
            peer: it.legs[which],
            parent: it.calls[which],
            ..originate(CallId(77), third, "sip:g1@third.example")
        };
        send(&mut it.world, 0, &Command::Originate(wish));
        it.world.run_for(2 * SECOND);
        let calls = it.world.agents[2].calls.len();
        let other = CallRef { agent: 2, call: calls.checked_sub(1).expect("the third rang") };
        let me = [it.caller, it.callee][which];
        assert!(heard(&it.world, me, 3 - u32::try_from(which).unwrap()) > 0);
        assert!(it.world.call(other).media.as_ref().unwrap().heard.packets > 0);
        // The third one's voice is the callee's; the other side of the relay hears nobody.
        let alone = 1 - which;
        assert_eq!(it.second()[alone], 0);
        it.hang_up(other);
        assert_eq!(it.are_over(), [false, false]);
        it.give_back(which);
        it.is_heard();
        it.is_one_stream(6);
        it.hang_up(it.callee);
        assert_eq!(it.are_over(), [true, true]);
        nothing_left(&mut it.world);
    }
}

#[test]
fn who_is_held_by_an_application_goes_on_alone_and_the_other_does_not() {
    // Taken; who hangs up; who is over then.
    for (which, hangs_up, over) in
        [(0, 1, [false, true]), (1, 0, [true, false]), (0, 0, [true, true]), (1, 1, [true, true])]
    {
        let mut it = standing(3);
        it.take(which);
        it.hang_up([it.caller, it.callee][hangs_up]);
        assert_eq!(it.are_over(), over, "{which} taken, {hangs_up} hung up");
        // Nobody is there to be given back to.
        it.give_back(which);
        it.world.run_for(SECOND);
        assert_eq!(it.are_over(), [true, true]);
        nothing_left(&mut it.world);
    }
}

#[test]
fn two_applications_that_have_a_leg_each_give_back_one_after_the_other() {
    for first in [0, 1] {
        let mut it = standing(4);
        it.take(0);
        it.take(1);
        it.is_silent();
        it.give_back(first);
        it.is_silent();
        it.give_back(1 - first);
        it.is_heard();
        it.is_one_stream(4);
        it.hang_up(it.callee);
        assert_eq!(it.are_over(), [true, true]);
        nothing_left(&mut it.world);
    }
}

#[test]
fn an_unanswered_leg_is_not_taken() {
    let ringing = Manner { on_ring: vec![(ms(50), Action::Ring)], ..Manner::default() };
    let mut world = crate::common::routed(&Setup::new(5), Manner::default(), vec![ringing]);
    dial(&mut world, 1);
    world.run_for(SECOND);
    let dialed = manual(&mut world).told.iter().find_map(|told| match told.event() {
        wire::Event::Dialed { call, .. } => Some((told.shard, call)),
        _ => None,
    });
    let (shard, call) = dialed.expect("dialled");
    send(&mut world, shard, &Command::Take { call });
    send(&mut world, shard, &Command::GiveBack { call });
    world.run_for(60 * SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.cause == Cause::NoAnswer), "{ends:?}");
    nothing_left(&mut world);
}

/// A silent application does not end a call that the controlplane has, whatever comes.
#[test]
fn a_new_table_and_a_hold_change_nothing_for_who_is_taken() {
    let mut it = standing(6);
    it.take(0);
    publish(&mut it.world, &wire::table::Table::default());
    it.world.act(it.callee, Action::Reinvite(sdp::Direction::SendOnly));
    it.world.run_for(SECOND);
    it.world.act(it.callee, Action::Reinvite(sdp::Direction::SendRecv));
    it.world.run_for(SECOND);
    it.give_back(0);
    it.world.run_for(SECOND);
    it.is_heard();
    it.is_one_stream(4);
    it.hang_up(it.caller);
    nothing_left(&mut it.world);
}
