//! Holds that other switches were reported to lose: said before the answer, by a description whose
//! last line has no end, by one for the whole session, said again, or kept over a refresh.

use world::World;

use crate::by_hand::{
    self, A, B, Call, Log, body, call, described, empty, header, sdp, send, world_by_hand,
};
use crate::common::{SECOND, ends, ms};
use crate::reliable_caller::{Asked, SUPPORTED};

/// A description with this direction for its stream.
fn directed(host: &str, port: u16, version: u32, direction: &str) -> String {
    let text = format!("{}a={direction}\n", sdp(host, port, version, "0"));
    body("application/sdp", &text)
}

/// What B was offered last, answered and acknowledged; empty for nothing new.
fn offered(world: &mut World, log: &Log, parties: &Call, answer: &str) -> String {
    world.run_for(ms(500));
    let Some(offer) = log.all(B, "INVITE", "").pop() else { return String::new() };
    let sdp = directed("10.1.0.2", 5_000, 9, answer);
    send(world, B, &parties.b.reply(&offer, "200 OK", "", &sdp));
    log.last(B, "ACK", "");
    let line = ["sendonly", "recvonly", "inactive"].into_iter().find(|it| offer.contains(*it));
    log.clear();
    line.unwrap_or("sendrecv").to_owned()
}

/// A re-INVITE of A's with this body, answered; the direction that it is answered with.
fn reinvites(world: &mut World, log: &Log, parties: &Call, cseq: u32, body: &str) -> String {
    send(world, A, &parties.a.request("INVITE", cseq, "", body));
    let ok = log.last(A, "SIP/2.0 200", &format!("{cseq} INVITE"));
    send(world, A, &parties.a.request("ACK", cseq, "", &empty()));
    let line = ["sendonly", "recvonly", "inactive"].into_iter().find(|it| ok.contains(*it));
    line.unwrap_or("sendrecv").to_owned()
}

/// diago #125, livekit/sip #779: the direction stands in the last line, which has no end; or before
/// the stream, for all of them (RFC 8866 section 6.7).
#[test]
fn a_direction_is_read_wherever_it_stands() {
    let plain = sdp("10.1.0.1", 4_000, 2, "0");
    let unended = format!("{plain}a=sendonly");
    let session = plain.replace("t=0 0\n", "t=0 0\na=sendonly\n");
    // That of the stream counts for more.
    let both = format!("{}a=sendrecv\n", plain.replace("t=0 0\n", "t=0 0\na=inactive\n"));
    for (seed, text, expected) in [
        (1, unended, ("recvonly", "sendonly")),
        (2, session, ("recvonly", "sendonly")),
        (3, both, ("sendrecv", "")),
    ] {
        let (mut world, log) = world_by_hand(seed);
        let parties = call(&mut world, &log, "wherever", ("0", "0"));
        let answer = reinvites(&mut world, &log, &parties, 2, &body("application/sdp", &text));
        assert_eq!(answer, expected.0, "{text}");
        assert_eq!(offered(&mut world, &log, &parties, "recvonly"), expected.1, "{text}");
        send(&mut world, A, &parties.a.request("BYE", 9, "", &empty()));
        let bye = log.last(B, "BYE", "");
        send(&mut world, B, &parties.b.reply(&bye, "200 OK", "", &empty()));
        by_hand::nothing_left(&mut world);
    }
}

/// The holder says the same once more, or refreshes its session: B is held as before, and is not
/// offered again what it knows.
#[test]
fn a_hold_outlasts_what_says_nothing_new() {
    let (mut world, log) = world_by_hand(4);
    let parties = call(&mut world, &log, "refreshed", ("0", "0"));
    let hold = directed("10.1.0.1", 4_000, 2, "sendonly");
    assert_eq!(reinvites(&mut world, &log, &parties, 2, &hold), "recvonly");
    assert_eq!(offered(&mut world, &log, &parties, "recvonly"), "sendonly");
    assert_eq!(reinvites(&mut world, &log, &parties, 3, &hold), "recvonly");
    send(&mut world, A, &parties.a.request("UPDATE", 4, "", &empty()));
    log.last(A, "SIP/2.0 200", "4 UPDATE");
    // B refreshes, too, by the whole description.
    let held = directed("10.1.0.2", 5_000, 9, "recvonly");
    send(&mut world, B, &parties.b.request("INVITE", 20, "", &held));
    let ok = log.last(B, "SIP/2.0 200", "20 INVITE");
    assert!(ok.contains("a=sendonly"), "{ok}");
    send(&mut world, B, &parties.b.request("ACK", 20, "", &empty()));
    world.run_for(2 * SECOND);
    assert!(log.all(B, "INVITE", "").is_empty() && log.all(A, "INVITE", "").is_empty());
    let back = directed("10.1.0.1", 4_000, 3, "sendrecv");
    log.clear();
    reinvites(&mut world, &log, &parties, 5, &back);
    assert_eq!(offered(&mut world, &log, &parties, "sendrecv"), "sendrecv");
    assert!(ends(&mut world).is_empty());
}

/// The caller holds while it rings (UPDATE, RFC 3311): the callee is told with its answer.
#[test]
fn a_hold_before_the_answer_is_passed_on_with_it() {
    for (seed, direction, told) in [(5, "sendonly", "sendonly"), (6, "inactive", "inactive")] {
        let mut call = Asked::new(seed, SUPPORTED, "0");
        call.b_says("183 Session Progress", true);
        let rseq = call.rseq("183", true);
        call.acknowledges(2, rseq);
        call.a_sends("UPDATE", 3, "", &directed("10.1.0.1", 4_000, 2, direction));
        let answer = call.log.last(A, "SIP/2.0 200", "3 UPDATE");
        let kept = if direction == "sendonly" { "a=recvonly" } else { "a=inactive" };
        assert!(answer.contains(kept), "{answer}");
        call.log.clear();
        call.b_says("200 OK", true);
        let ok = call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
        header(&ok, "To").clone_into(&mut call.a.to);
        call.a_sends("ACK", 1, "", &empty());
        let parties = Call { a: call.a.clone(), b: call.b.clone(), ports: (0, 0) };
        let (world, log) = (&mut call.world, call.log.clone());
        assert_eq!(offered(world, &log, &parties, "recvonly"), told);
        let back = directed("10.1.0.1", 4_000, 3, "sendrecv");
        reinvites(world, &log, &parties, 4, &back);
        assert_eq!(offered(world, &log, &parties, "sendrecv"), "sendrecv");
        assert!(ends(world).is_empty());
    }
}

/// A late offer that goes with a reliable ringing (RFC 3261 section 13.2.1), whose answer in PRACK
/// holds.
#[test]
fn a_late_offer_may_be_answered_by_a_hold() {
    let mut call = Asked::new(7, "Require: 100rel\n", "");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", true);
    let hold = directed("10.1.0.1", 4_000, 1, "sendonly");
    assert_eq!(call.prack(2, &format!("{rseq} 1 INVITE"), &hold), "200");
    call.log.clear();
    call.b_says("200 OK", true);
    let ok = call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
    header(&ok, "To").clone_into(&mut call.a.to);
    call.a_sends("ACK", 1, "", &empty());
    let parties = Call { a: call.a.clone(), b: call.b.clone(), ports: (0, 0) };
    let (world, log) = (&mut call.world, call.log.clone());
    assert_eq!(offered(world, &log, &parties, "recvonly"), "sendonly");
    // And comes back by asking for an offer (JsSIP #612: what was held before is over then).
    send(world, A, &parties.a.request("INVITE", 3, "", &empty()));
    let ok = log.last(A, "SIP/2.0 200", "3 INVITE");
    assert!(!ok.contains("a=recvonly") && !ok.contains("a=inactive"), "{ok}");
    send(world, A, &parties.a.request("ACK", 3, "", &described("10.1.0.1", 4_000, 2, "0")));
    assert_eq!(offered(world, &log, &parties, "sendrecv"), "sendrecv");
    assert!(ends(world).is_empty());
}
