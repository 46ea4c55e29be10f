//! A target that was left for the next one: what it says late is cancelled, acknowledged, ended,
//! and changes nothing of the call.

use world::{Manner, World};

use crate::by_hand::{self, A, B, Hand, Log, described, empty, header, one_shard};
use crate::common::{SECOND, dial, ends, ms, routed};

const C: &str = "10.1.0.3:5060";

/// A call whose first target said nothing for 4 s: both INVITEs.
fn left(seed: u64) -> (World, Log, Hand, [String; 2]) {
    let manner = Manner::silent;
    let mut world = routed(&one_shard(seed), manner(), vec![manner(), manner()]);
    let log = Log::new(&mut world, &[A, B, C]);
    let a = Hand::caller("left");
    let first = by_hand::ask(&mut world, &log, &a, "0");
    world.run_for(5 * SECOND);
    let second = log.last(C, "INVITE", "");
    let asked = log.all(B, "INVITE", "").len();
    assert_eq!(asked, 4, "at 0, 0.5, 1.5 and 3.5 s");
    log.clear();
    (world, log, a, [first, second])
}

fn third(invite: &str) -> Hand {
    Hand { address: C, contact: format!("<sip:c@{C}>"), ..Hand::callee(invite, "c") }
}

/// C answers and the call stands.
fn answered(world: &mut World, log: &Log, a: &mut Hand, invite: &str) {
    let c = third(invite);
    let answer = described("10.1.0.3", 5_000, 1, "0");
    by_hand::send(world, C, &c.reply(invite, "200 OK", "", &answer));
    let ok = log.last(A, "SIP/2.0 200", "1 INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    by_hand::send(world, A, &a.request("ACK", 1, "", &empty()));
    log.last(C, "ACK", "");
    world.run_for(2 * SECOND);
    assert!(log.all(C, "BYE", "").is_empty() && log.all(A, "BYE", "").is_empty());
    assert!(ends(world).is_empty());
}

#[test]
fn a_left_target_that_rings_late_is_cancelled() {
    for before in [true, false] {
        let (mut world, log, mut a, [first, second]) = left(1);
        if !before {
            answered(&mut world, &log, &mut a, &second);
        }
        let b = Hand::callee(&first, "b");
        by_hand::send(&mut world, B, &b.reply(&first, "180 Ringing", "", &empty()));
        let cancel = log.last(B, "CANCEL", "");
        assert_eq!(header(&cancel, "Via"), header(&first, "Via"), "RFC 3261 section 9.1");
        by_hand::send(&mut world, B, &b.reply(&cancel, "200 OK", "", &empty()));
        by_hand::send(&mut world, B, &b.reply(&first, "487 Request Terminated", "", &empty()));
        log.last(B, "ACK", "");
        assert!(log.all(A, "SIP/2.0 18", "").is_empty(), "its ringing is nobody's");
        if before {
            answered(&mut world, &log, &mut a, &second);
        }
        log.clear();
        world.run_for(10 * SECOND);
        assert!(log.all(B, "", "").is_empty(), "{:?}", log.lines());
    }
}

#[test]
fn a_left_target_that_answers_late_is_acknowledged_and_ended() {
    for before in [true, false] {
        let (mut world, log, mut a, [first, second]) = left(2);
        if !before {
            answered(&mut world, &log, &mut a, &second);
        }
        let b = Hand::callee(&first, "b");
        let answer = described("10.1.0.2", 5_000, 1, "0");
        by_hand::send(&mut world, B, &b.reply(&first, "200 OK", "", &answer));
        log.last(B, "ACK", ";tag=b");
        let bye = log.last(B, "BYE", ";tag=b");
        by_hand::send(&mut world, B, &b.reply(&first, "200 OK", "", &answer));
        assert_eq!(log.all(B, "ACK", ";tag=b").len(), 2, "each time it comes");
        by_hand::send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
        assert_eq!(log.all(B, "BYE", "").len(), 1, "ended once");
        if before {
            assert!(log.all(A, "SIP/2.0 200", "").is_empty(), "it is nobody's answer");
            answered(&mut world, &log, &mut a, &second);
        }
    }
}

/// It rings, is cancelled, and answers all the same: the two cross.
#[test]
fn a_left_target_whose_answer_crosses_the_cancel_is_ended() {
    let (mut world, log, mut a, [first, second]) = left(3);
    let b = Hand::callee(&first, "b");
    by_hand::send(&mut world, B, &b.reply(&first, "180 Ringing", "", &empty()));
    log.last(B, "CANCEL", "");
    let answer = described("10.1.0.2", 5_000, 1, "0");
    by_hand::send(&mut world, B, &b.reply(&first, "200 OK", "", &answer));
    log.last(B, "ACK", ";tag=b");
    log.last(B, "BYE", ";tag=b");
    answered(&mut world, &log, &mut a, &second);
}

/// The caller gives up while the second one rings: the first is not forgotten.
#[test]
fn a_caller_that_gives_up_cancels_all_that_may_still_ring() {
    let (mut world, log, a, [first, second]) = left(4);
    let c = third(&second);
    by_hand::send(&mut world, C, &c.reply(&second, "180 Ringing", "", &empty()));
    let invite = a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0"));
    let cancel = invite.split("Content-Type").next().unwrap().replace("INVITE", "CANCEL");
    let cancel = cancel.replace("aleftCANCEL1", "aleftINVITE1") + &empty();
    by_hand::send(&mut world, A, &cancel);
    log.last(A, "SIP/2.0 487", "");
    log.last(C, "CANCEL", "");
    by_hand::send(&mut world, C, &c.reply(&second, "487 Request Terminated", "", &empty()));
    let b = Hand::callee(&first, "b");
    by_hand::send(&mut world, B, &b.reply(&first, "180 Ringing", "", &empty()));
    log.last(B, "CANCEL", "");
}

/// Phones instead of hands: the first wakes up after it was left.
#[test]
fn a_phone_that_wakes_up_late_does_not_ring_on() {
    let late = Manner {
        on_ring: vec![(ms(6_000), world::Action::Ring), (ms(12_000), world::Action::Answer)],
        ..Manner::silent()
    };
    let mut world = routed(&one_shard(5), Manner::default(), vec![late, Manner::default()]);
    let call = dial(&mut world, 1);
    world.run_for(15 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    let (first, second) = (&world.agents[1].calls[0], &world.agents[2].calls[0]);
    assert_eq!((first.seen.cancels, first.seen.code), (1, 487));
    assert!(!second.is_over());
    world.act(call, world::Action::HangUp);
    crate::common::nothing_left(&mut world);
}
