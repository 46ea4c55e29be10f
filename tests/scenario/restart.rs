//! The dataplane dies: its successor ends each standing leg once, billed to its last activity, and
//! tells its far end once.

use std::collections::BTreeSet;

use wire::counter::Counter;
use wire::event::Cause;
use world::{Action, CallRef, Manner, Setup, World};

use crate::by_hand::{
    A, B, Call, Hand, ask, body, call, described, empty, header, headers, one_shard, sdp, send,
    world_by_hand,
};
use crate::common::{SECOND, bridged, count, dial, ends, manual, ms, nothing_left};

const REASON: &str = "Q.850;cause=41;text=\"Temporary failure\"";

/// Both phones of these calls heard one BYE each, with the reason.
fn each_heard_one_bye(world: &World, groups: impl Iterator<Item = u32>) {
    for group in groups {
        let is = |call: &&world::PhoneCall| call.group == group;
        let calls: Vec<_> = world.agents.iter().flat_map(|agent| &agent.calls).filter(is).collect();
        assert_eq!(calls.len(), 2, "group {group}");
        for call in calls {
            let seen = &call.seen;
            assert!(call.is_over() && seen.ended_by_peer, "group {group}");
            assert_eq!((seen.byes, seen.reason.as_deref()), (1, Some(REASON)), "group {group}");
        }
    }
}

#[test]
fn each_standing_leg_is_ended_once_and_billed_to_its_last_activity() {
    let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
    for group in 1..=5 {
        dial(&mut world, group);
        world.run_for(ms(300));
    }
    world.run_for(10 * SECOND);
    // One that rings, and one whose end nobody took yet.
    let ended = CallRef { agent: 0, call: 0 };
    manual(&mut world).dead = true;
    world.act(ended, Action::HangUp);
    world.run_for(ms(100));
    world.restart_plane(3 * SECOND);
    manual(&mut world).dead = false;
    world.run_for(2 * SECOND);
    let ends = ends(&mut world);
    let calls: BTreeSet<_> = ends.iter().map(|end| end.call).collect();
    assert_eq!(calls.len(), 10);
    for call in calls {
        // What was told and what its successor tells again are the same fact.
        let told: Vec<_> = ends.iter().filter(|end| end.call == call).collect();
        assert!(told.iter().all(|end| end.billed_ms == told[0].billed_ms), "{told:?}");
        assert!(told.iter().all(|end| end.cause == told[0].cause), "{told:?}");
    }
    let restarted: Vec<_> = ends.iter().filter(|end| end.cause == Cause::Restart).collect();
    assert_eq!(restarted.len(), 8, "{ends:?}");
    for end in restarted {
        assert!((8_000..11_500).contains(&end.billed_ms), "{end:?}");
        assert_eq!(end.account, 9);
    }
    each_heard_one_bye(&world, 2..=5);
    assert_eq!((count(&world, Counter::LegTold), count(&world, Counter::LegUntold)), (8, 0));
    // And everything can be used again.
    let call = dial(&mut world, 9);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_ringing_leg_is_ended_without_cost() {
    let mut world = bridged(&Setup::new(2), Manner::default(), Manner::ringing());
    dial(&mut world, 1);
    world.run_for(2 * SECOND);
    world.restart_plane(SECOND);
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.cause == Cause::Restart && end.billed_ms == 0), "{ends:?}");
    let callee = &world.call(world.callee_of(1).unwrap()).seen;
    assert_eq!((callee.cancels, callee.reason.as_deref()), (1, Some(REASON)));
    assert_eq!((caller(&world).seen.code, caller(&world).is_over()), (500, true));
    assert_eq!(count(&world, Counter::LegTold), 2);
    nothing_left(&mut world);
}

fn caller(world: &World) -> &world::PhoneCall {
    world.call(CallRef { agent: 0, call: 0 })
}

#[test]
fn who_was_told_is_not_told_again_and_who_was_not_is() {
    let mut setup = Setup::new(4);
    setup.plane.shards = 1;
    setup.plane.legs = 128;
    let mut world = bridged(&setup, Manner::default(), Manner::default());
    for group in 1..=20 {
        dial(&mut world, group);
        world.run_for(ms(50));
    }
    world.run_for(5 * SECOND);
    world.restart_plane(SECOND);
    // 200 a second: some are told, and the controlplane has released them all.
    world.run_for(ms(60));
    let told = count(&world, Counter::LegTold);
    assert!((8..=14).contains(&told), "{told}");
    assert_eq!(ends(&mut world).len(), 40);
    world.restart_plane(SECOND);
    world.run_for(2 * SECOND);
    assert_eq!(count(&world, Counter::LegTold), 40 - told);
    each_heard_one_bye(&world, 1..=20);
    world.restart_plane(SECOND);
    world.run_for(2 * SECOND);
    assert_eq!(count(&world, Counter::LegTold), 0);
    each_heard_one_bye(&world, 1..=20);
    nothing_left(&mut world);
}

#[test]
fn a_stop_tells_at_once_who_is_still_untold() {
    let mut world = bridged(&one_shard(5), Manner::default(), Manner::default());
    for group in 1..=10 {
        dial(&mut world, group);
        world.run_for(ms(50));
    }
    world.run_for(2 * SECOND);
    world.restart_plane(SECOND);
    let now = world.now;
    let lane = &mut world.plane.lanes[0];
    lane.shard.handle_stop(now, &mut lane.heap);
    assert_eq!(count(&world, Counter::LegTold), 20);
    world.settle();
    world.run_for(SECOND);
    assert!(world.plane.lanes[0].shard.is_quiet(), "every BYE is answered");
    each_heard_one_bye(&world, 1..=10);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut world, log) = world_by_hand(6);
    let a = Hand::caller("crossing");
    let invite = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "180 Ringing", "", &empty()));
    world.restart_plane(SECOND);
    world.run_for(ms(50));
    let cancel = log.last(B, "CANCEL", "");
    for name in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(header(&cancel, name), header(&invite, name));
    }
    assert_eq!(
        cancel.lines().next().unwrap(),
        invite.lines().next().unwrap().replace("INVITE", "CANCEL")
    );
    let refusal = log.last(A, "SIP/2.0 500", "INVITE");
    assert_eq!(header(&refusal, "Reason"), REASON);
    assert_eq!(headers(&refusal, "Via").len(), 1);
    // It is repeated until its ACK, as the CANCEL is until its answer.
    world.run_for(3 * SECOND);
    assert!(log.all(A, "SIP/2.0 500", "").len() > 2 && log.all(B, "CANCEL", "").len() > 2);
    let mut caller = a.clone();
    header(&refusal, "To").clone_into(&mut caller.to);
    let ack = caller.request("ACK", 1, "", &empty());
    let branch = |text: &str| text.replace("ACK1;rport", "INVITE1;rport");
    send(&mut world, A, &branch(&ack));
    send(&mut world, B, &b.reply(&cancel, "200 OK", "", &empty()));
    log.clear();
    let answer = described("10.1.0.2", 5_000, 1, "0");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    let ack = log.last(B, "ACK", "");
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    let bye = log.last(B, "BYE", "");
    assert_eq!((header(&bye, "To"), header(&bye, "Reason")), (b.from.as_str(), REASON));
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    world.run_for(10 * SECOND);
    assert_eq!(log.all(A, "SIP/2.0 500", "").len(), 0, "acknowledged");
    crate::by_hand::nothing_left(&mut world);
}

#[test]
fn a_refusal_after_the_death_is_acknowledged() {
    let (mut world, log) = world_by_hand(7);
    let invite = ask(&mut world, &log, &Hand::caller("refused"), "0");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "180 Ringing", "", &empty()));
    world.restart_plane(SECOND);
    world.run_for(ms(50));
    send(&mut world, B, &b.reply(&log.last(B, "CANCEL", ""), "200 OK", "", &empty()));
    send(&mut world, B, &b.reply(&invite, "487 Request Terminated", "", &empty()));
    let ack = log.last(B, "ACK", "");
    assert_eq!(header(&ack, "Via"), header(&invite, "Via"));
    assert_eq!(log.all(B, "BYE", "").len(), 0);
    crate::by_hand::nothing_left(&mut world);
}

/// The BYE of a successor is one that the dialog takes: above every number that was used, to where
/// the far end is by now.
#[test]
fn the_last_word_fits_a_dialog_that_has_moved_on() {
    let (mut world, log) = world_by_hand(8);
    let Call { a, mut b, .. } = call(&mut world, &log, "moved", ("0", "0"));
    "<sip:b@10.1.0.2:5070>".clone_into(&mut b.contact);
    let number =
        |text: &str| header(text, "CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
    let mut used = 0;
    for turn in 1..=140 {
        // Holds and resumes, and every time A is asked.
        let direction = if turn % 2 == 1 { "a=sendonly\n" } else { "a=sendrecv\n" };
        let offer = format!("{}{direction}", sdp("10.1.0.2", 5_000, turn + 1, "0"));
        let offer = body("application/sdp", &offer);
        send(&mut world, B, &b.request("INVITE", turn, "", &offer));
        send(&mut world, B, &b.request("ACK", turn, "", &empty()));
        let invite = log.last(A, "INVITE", "");
        assert!(used < number(&invite), "turn {turn}");
        used = number(&invite);
        let direction = if turn % 2 == 1 { "a=recvonly\n" } else { "" };
        let answer = format!("{}{direction}", sdp("10.1.0.1", 4_000, turn + 1, "0"));
        let answer = body("application/sdp", &answer);
        send(&mut world, A, &a.reply(&invite, "200 OK", "", &answer));
        world.run_for(ms(180));
    }
    log.clear();
    world.restart_plane(SECOND);
    world.run_for(ms(100));
    let bye = log.last(A, "BYE", "");
    assert!(number(&bye) > used && number(&bye) <= used + 65, "{used} {bye}");
    let bye = log.last("10.1.0.2:5070", "BYE sip:b@10.1.0.2:5070", "");
    assert_eq!(header(&bye, "To"), b.from);
}

#[test]
fn what_is_too_long_for_a_record_is_counted_and_billed_all_the_same() {
    let (mut world, log) = world_by_hand(9);
    let a = Hand::caller("long");
    let more: String = (0..12)
        .map(|hop| format!("Via: SIP/2.0/UDP proxy{hop}.example.com;branch=z9hG4bK{hop:040}\n"))
        .collect();
    let offer = body("application/sdp", &sdp("10.1.0.1", 4_000, 1, "0"));
    send(&mut world, A, &a.request("INVITE", 1, &more, &offer));
    assert_eq!(log.all(B, "INVITE", "").len(), 1);
    assert_eq!(count(&world, Counter::RecordTooLong), 1);
    world.restart_plane(SECOND);
    world.run_for(ms(100));
    assert_eq!((count(&world, Counter::LegTold), count(&world, Counter::LegUntold)), (1, 1));
    assert_eq!((log.all(A, "SIP/2.0 500", "").len(), log.all(B, "CANCEL", "").len()), (0, 1));
    assert_eq!(ends(&mut world).len(), 2);
}

#[test]
fn twice_dead_is_told_the_same() {
    let mut world = bridged(&Setup::new(3), Manner::default(), Manner::default());
    dial(&mut world, 1);
    world.run_for(5 * SECOND);
    manual(&mut world).dead = true;
    world.restart_plane(SECOND);
    world.restart_plane(SECOND);
    manual(&mut world).dead = false;
    world.run_for(SECOND);
    let ends = ends(&mut world);
    let calls: BTreeSet<_> = ends.iter().map(|end| (end.call, end.billed_ms, end.cause)).collect();
    assert_eq!(calls.len(), 2, "{ends:?}");
    nothing_left(&mut world);
}
