//! Requests before the answer: what the callee asks while it rings is served, and who may offer
//! then is for the open offer to say (RFC 3261 section 12.1, RFC 3311 section 5.2).

use crate::by_hand::{self, A, B, Hand, Log, body, described, empty, header, world_by_hand};
use world::World;

/// A call that rings: both hands, A with the switch's tag, and the INVITE to B.
fn ringing(seed: u64, early: &str) -> (World, Log, Hand, Hand, String) {
    let (mut world, log) = world_by_hand(seed);
    let mut a = Hand::caller("early");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    let status = if early.is_empty() { "180 Ringing" } else { "183 Session Progress" };
    let end = if early.is_empty() { empty() } else { early.to_owned() };
    by_hand::send(&mut world, B, &b.reply(&invite, status, "", &end));
    let rings = log.last(A, "SIP/2.0 18", "");
    a.to = header(&rings, "To").to_owned();
    assert!(a.to.contains(";tag="));
    (world, log, a, b, invite)
}

/// B answers and the call stands.
fn answered(world: &mut World, log: &Log, (a, b): (&Hand, &Hand), invite: &str) {
    let answer = described("10.1.0.2", 5_000, 1, "0");
    by_hand::send(world, B, &b.reply(invite, "200 OK", "", &answer));
    log.last(A, "SIP/2.0 200", "1 INVITE");
    by_hand::send(world, A, &a.request("ACK", 1, "", &empty()));
    log.last(B, "ACK", "");
    assert!(log.all(B, "BYE", "").is_empty() && log.all(A, "BYE", "").is_empty());
}

#[test]
fn what_the_callee_asks_while_it_rings_is_served() {
    for early in [String::new(), described("10.1.0.2", 5_000, 1, "0")] {
        let (mut world, log, a, b, invite) = ringing(1, &early);
        for (cseq, method) in (10..).zip(["OPTIONS", "INFO", "UPDATE", "OPTIONS"]) {
            by_hand::send(&mut world, B, &b.request(method, cseq, "", &empty()));
            log.last(B, "SIP/2.0 200", &format!("{cseq} {method}"));
        }
        answered(&mut world, &log, (&a, &b), &invite);
    }
}

#[test]
fn a_digit_before_the_answer_is_refused_or_brought_on_not_swallowed() {
    let (mut world, log, a, b, invite) = ringing(2, "");
    let digit = body("application/dtmf-relay", "Signal=5\nDuration=160\n");
    by_hand::send(&mut world, B, &b.request("INFO", 10, "", &digit));
    let answer = log.last(B, "SIP/2.0 ", "10 INFO");
    let brought = !log.all(A, "INFO", "Signal=5").is_empty();
    assert!(answer.starts_with("SIP/2.0 415") || brought, "{answer}");
    answered(&mut world, &log, (&a, &b), &invite);
}

#[test]
fn an_offer_of_the_callee_waits_for_its_answer() {
    for early in [String::new(), described("10.1.0.2", 5_000, 1, "0")] {
        let (mut world, log, a, b, invite) = ringing(3, &early);
        let offer = described("10.1.0.2", 6_000, 2, "0");
        by_hand::send(&mut world, B, &b.request("UPDATE", 10, "", &offer));
        log.last(B, "SIP/2.0 491", "10 UPDATE");
        answered(&mut world, &log, (&a, &b), &invite);
        by_hand::send(&mut world, B, &b.request("UPDATE", 11, "", &offer));
        log.last(B, "SIP/2.0 200", "11 UPDATE");
    }
}

#[test]
fn an_offer_of_the_caller_before_the_answer_is_told_to_come_again() {
    let (mut world, log, a, b, invite) = ringing(4, "");
    let offer = described("10.1.0.1", 6_000, 2, "0");
    by_hand::send(&mut world, A, &a.request("UPDATE", 2, "", &offer));
    let refused = log.last(A, "SIP/2.0 500", "2 UPDATE");
    let seconds: u32 = header(&refused, "Retry-After").parse().expect("Retry-After");
    assert!(seconds <= 10, "RFC 3311 section 5.2: 0 to 10 s");
    answered(&mut world, &log, (&a, &b), &invite);
    by_hand::send(&mut world, A, &a.request("UPDATE", 3, "", &offer));
    log.last(A, "SIP/2.0 200", "3 UPDATE");
}

/// Without an offer it is a refresh, for either side.
#[test]
fn a_refresh_before_the_answer_is_served() {
    let (mut world, log, mut a, mut b, invite) = ringing(6, "");
    a.contact = "<sip:moved@10.1.0.1:5060>".to_owned();
    by_hand::send(&mut world, A, &a.request("UPDATE", 2, "", &empty()));
    log.last(A, "SIP/2.0 200", "2 UPDATE");
    b.contact = "<sip:moved@10.1.0.2:5060>".to_owned();
    by_hand::send(&mut world, B, &b.request("UPDATE", 10, "", &empty()));
    log.last(B, "SIP/2.0 200", "10 UPDATE");
    answered(&mut world, &log, (&a, &b), &invite);
    by_hand::send(&mut world, B, &b.request("BYE", 11, "", &empty()));
    let bye = log.last(A, "BYE", "");
    assert!(bye.starts_with("BYE sip:moved@10.1.0.1"), "the target is where it moved: {bye}");
}

/// Two branches of a forking proxy ring; both are answered, none is taken for gone.
#[test]
fn a_second_branch_that_rings_is_served_too() {
    let (mut world, log, a, b, invite) = ringing(5, "");
    let other = Hand::callee(&invite, "other");
    by_hand::send(&mut world, B, &other.reply(&invite, "180 Ringing", "", &empty()));
    for (cseq, hand) in (10..).zip([&b, &other, &b]) {
        by_hand::send(&mut world, B, &hand.request("OPTIONS", cseq, "", &empty()));
        log.last(B, "SIP/2.0 200", &format!("{cseq} OPTIONS"));
    }
    answered(&mut world, &log, (&a, &other), &invite);
}
