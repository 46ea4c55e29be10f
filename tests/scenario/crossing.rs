//! Requests that cross the end of their dialog (RFC 5407 sections 3.2 and 3.3): two that hang up
//! in one moment have both ended the call.

use wire::counter::Counter;
use world::World;

use crate::by_hand::{
    self, A, B, Call, Hand, Log, ask, call, described, empty, header, send, world_by_hand,
};
use crate::common::{SECOND, count, ends, ms};

/// A call that A has ended, while B has not heard of it: the BYE that is on its way to B.
fn ended(seed: u64) -> (World, Log, Call, String) {
    let (mut world, log) = world_by_hand(seed);
    let parties = call(&mut world, &log, "crosses", ("0", "0"));
    send(&mut world, A, &parties.a.request("BYE", 2, "", &empty()));
    let bye = log.last(B, "BYE", "");
    (world, log, parties, bye)
}

#[test]
fn a_bye_that_crosses_ours_is_answered_as_any() {
    for released in [false, true] {
        let (mut world, log, parties, ours) = ended(1);
        if released {
            // Nothing is left of the leg but its BYE.
            world.run_for(2 * SECOND);
        }
        let theirs = parties.b.request("BYE", 9, "Reason: Q.850;cause=16\n", &empty());
        send(&mut world, B, &theirs);
        log.last(B, "SIP/2.0 200", "9 BYE");
        assert!(log.all(B, "SIP/2.0 481", "").is_empty(), "{:?}", log.lines());
        // What belongs to no call any more: a change of it, a transfer.
        let offer = described("10.1.0.2", 5_000, 2, "0");
        send(&mut world, B, &parties.b.request("INVITE", 10, "", &offer));
        log.last(B, "SIP/2.0 481", "10 INVITE");
        send(&mut world, B, &parties.b.request("REFER", 11, "Refer-To: <sip:x@y>\n", &empty()));
        log.last(B, "SIP/2.0 481", "11 REFER");
        // Ours is answered. Theirs, again: the first answer was lost.
        send(&mut world, B, &parties.b.reply(&ours, "200 OK", "", &empty()));
        send(&mut world, B, &theirs);
        assert_eq!(log.all(B, "SIP/2.0 200", "9 BYE").len(), 2, "{:?}", log.lines());
        // And another one, when both are over.
        send(&mut world, B, &parties.b.request("BYE", 12, "", &empty()));
        log.last(B, "SIP/2.0 481", "12 BYE");
        log.clear();
        world.run_for(5 * SECOND);
        assert!(log.all(B, "BYE", "").is_empty(), "it was answered");
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2, "each leg once: {ends:?}");
        by_hand::nothing_left(&mut world);
        assert_eq!(count(&world, Counter::LegPanicked), 0);
    }
}

/// The tags alone are no dialog, nor is one of another far end.
#[test]
fn a_bye_of_another_dialog_crosses_nothing() {
    let (mut world, log, parties, ours) = ended(2);
    let mut tag = parties.b.clone();
    tag.from = tag.from.replace("tag=b", "tag=x");
    send(&mut world, B, &tag.request("BYE", 9, "", &empty()));
    log.last(B, "SIP/2.0 481", "9 BYE");
    let call_id = Hand { call_id: "another".to_owned(), ..parties.b.clone() };
    send(&mut world, B, &call_id.request("BYE", 10, "", &empty()));
    log.last(B, "SIP/2.0 481", "10 BYE");
    send(&mut world, B, &parties.b.reply(&ours, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut world);
}

/// Our BYE asks again until it is answered, and nobody answers: their BYE is answered all the
/// while, and afterwards the dialog is not there.
#[test]
fn a_bye_crosses_ours_as_long_as_that_is_under_way() {
    let (mut world, log, parties, _ours) = ended(3);
    for cseq in [9, 10, 11] {
        world.run_for(9 * SECOND);
        send(&mut world, B, &parties.b.request("BYE", cseq, "", &empty()));
        log.last(B, "SIP/2.0 200", &format!("{cseq} BYE"));
    }
    world.run_for(10 * SECOND);
    send(&mut world, B, &parties.b.request("BYE", 12, "", &empty()));
    log.last(B, "SIP/2.0 481", "12 BYE");
    by_hand::nothing_left(&mut world);
}

/// The callee's 200 crosses the CANCEL: it gets its ACK and our BYE, and hangs up by itself in the
/// same moment.
#[test]
fn a_bye_crosses_the_end_of_an_answer_that_nobody_wants() {
    let (mut world, log) = world_by_hand(4);
    let a = Hand::caller("late");
    let invite = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "180 Ringing", "", &empty()));
    let cancel = a.request("INVITE", 1, "", &empty());
    let cancel = cancel.replace("1 INVITE", "1 CANCEL").replace("INVITE sip", "CANCEL sip");
    send(&mut world, A, &cancel);
    let answer = described("10.1.0.2", 5_000, 1, "0");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    let bye = log.last(B, "BYE", "");
    send(&mut world, B, &b.request("BYE", 1, "", &empty()));
    log.last(B, "SIP/2.0 200", "1 BYE");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    assert_eq!(header(&bye, "Call-ID"), b.call_id);
    world.run_for(ms(100));
    by_hand::nothing_left(&mut world);
}
