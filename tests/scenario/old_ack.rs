//! An ACK is of one INVITE: a copy of an older one, late, ends nothing and stops nothing.

use world::World;

use crate::by_hand::{self, A, B, Call, Hand, described, empty, header, world_by_hand};
use crate::common::{SECOND, ends, ms};

#[test]
fn an_old_ack_does_not_end_a_call_that_waits_for_an_answer_in_one() {
    let (mut world, log) = world_by_hand(1);
    let Call { a, ports, .. } = by_hand::call(&mut world, &log, "late", ("0", "0"));
    by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &empty()));
    log.last(A, "SIP/2.0 200", "2 INVITE");
    // The network delivers a second copy of the first ACK.
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    world.run_for(2 * SECOND);
    assert!(ends(&mut world).is_empty() && log.all(A, "BYE", "").is_empty());
    let moved = described("10.1.0.1", 6_000, 2, "0");
    by_hand::send(&mut world, A, &a.request("ACK", 2, "", &moved));
    log.clear();
    for seq in 0..20 {
        by_hand::packet(&mut world, "10.1.0.2:5000", ports.1, (seq, 5));
        world.run_for(ms(20));
    }
    assert!(log.media("10.1.0.1:6000") >= 19, "its own ACK counts");
}

/// How often the 200 with this CSeq comes in so many seconds.
fn repeated(world: &mut World, log: &by_hand::Log, cseq: u32, seconds: u32) -> usize {
    log.clear();
    world.run_for(seconds * SECOND);
    log.all(A, "SIP/2.0 200", &format!("{cseq} INVITE")).len()
}

#[test]
fn an_old_ack_does_not_stop_the_repetition_of_a_200() {
    let (mut world, log) = world_by_hand(2);
    let Call { a, .. } = by_hand::call(&mut world, &log, "again", ("0", "0"));
    let offer = described("10.1.0.1", 4_000, 2, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &offer));
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    assert!(repeated(&mut world, &log, 2, 5) >= 3, "sent until its own ACK comes");
    by_hand::send(&mut world, A, &a.request("ACK", 2, "", &empty()));
    assert_eq!(repeated(&mut world, &log, 2, 10), 0);
    assert!(ends(&mut world).is_empty());
}

#[test]
fn an_ack_of_another_number_does_not_confirm_a_call() {
    let (mut world, log) = world_by_hand(3);
    let mut a = Hand::caller("never");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    let answer = described("10.1.0.2", 5_000, 1, "0");
    by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    a.to = header(&log.last(A, "SIP/2.0 200", "1 INVITE"), "To").to_owned();
    by_hand::send(&mut world, A, &a.request("ACK", 7, "", &empty()));
    assert!(repeated(&mut world, &log, 1, 20) >= 5);
    world.run_for(20 * SECOND);
    let ends = ends(&mut world);
    let caller = ends.iter().find(|end| end.inbound).expect("given up");
    assert_eq!(caller.cause, wire::event::Cause::NoAck);
    log.last(A, "BYE", "");
    log.last(B, "BYE", "");
}
