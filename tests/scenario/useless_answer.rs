//! A 2xx that cannot be used is acknowledged and ended, once, and acknowledged each time it comes;
//! the caller is told (RFC 3261 section 13.2.2.4).

use std::time::Duration;

use crate::by_hand::{
    self, A, B, Hand, body, described, empty, header, nothing_left, world_by_hand,
};
use crate::common::{SECOND, ends, ms};

/// Answers that nobody can speak by.
fn answers() -> Vec<(&'static str, String)> {
    let lines = |rest: &str| {
        let text = format!("v=0\no=- 7 1 IN IP4 10.1.0.2\ns=-\nc=IN IP4 10.1.0.2\nt=0 0\n{rest}");
        body("application/sdp", &text)
    };
    vec![
        ("nothing", empty()),
        ("a codec that was not offered", described("10.1.0.2", 5_000, 1, "18")),
        ("a stopped stream", described("10.1.0.2", 0, 1, "0")),
        ("no stream", lines("")),
        ("no SDP", body("application/sdp", "what?\n")),
        ("another kind", body("text/plain", "hello\n")),
        ("an address that nothing may be sent to", described("127.0.0.1", 5_000, 1, "0")),
    ]
}

#[test]
fn an_answer_that_cannot_be_used_is_acknowledged_and_ended_once() {
    for (what, answer) in answers() {
        let (mut world, log) = world_by_hand(1);
        let a = Hand::caller("useless");
        let invite = by_hand::ask(&mut world, &log, &a, "0 8");
        let b = Hand::callee(&invite, "b");
        let ok = b.reply(&invite, "200 OK", "", &answer);
        for copies in 1..=3 {
            by_hand::send(&mut world, B, &ok);
            assert_eq!(log.all(B, "ACK", "").len(), copies, "{what}");
            world.run_for(ms(100));
        }
        let bye = log.last(B, "BYE", "");
        assert!(header(&bye, "To").ends_with(";tag=b"), "{what}: {bye}");
        by_hand::send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
        let byes = log.all(B, "BYE", "").len();
        world.run_for(20 * SECOND);
        let all = log.all(B, "BYE", "");
        assert_eq!(all.len(), byes, "{what}: answered, so not repeated");
        assert!(all.iter().all(|again| *again == bye), "{what}: one BYE, repeated as it is");
        assert!(log.all(B, "CANCEL", "").is_empty(), "{what}");
        let told = log.last(A, "SIP/2.0 ", "1 INVITE");
        let code: u16 = told[8..11].parse().unwrap();
        assert!((400..700).contains(&code) && code != 503, "{what}: {told}");
        by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2, "{what}");
        assert!(ends.iter().all(|end| end.billed_ms == 0), "{what}: {ends:?}");
        nothing_left(&mut world);
    }
}

/// What is unreadable in it makes nobody silent: without a usable Contact the ACK goes back where
/// the answer came from.
#[test]
fn an_answer_without_a_contact_is_acknowledged_all_the_same() {
    for contact in ["", "Contact: <broken\n", "Contact: *\n"] {
        let (mut world, log) = world_by_hand(2);
        let a = Hand::caller("contact");
        let invite = by_hand::ask(&mut world, &log, &a, "0");
        let b = Hand::callee(&invite, "b");
        let ok = b.reply(&invite, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0"));
        let ok = ok.replace("Contact: <sip:b@10.1.0.2:5060>\n", contact);
        by_hand::send(&mut world, B, &ok);
        assert_eq!(log.all(B, "ACK", "").len(), 1, "{contact:?}: {:?}", log.lines());
        let stands = log.all(A, "SIP/2.0 200", "1 INVITE").len() == 1;
        let ended = log.all(B, "BYE", "").len() == 1;
        assert!(stands != ended, "{contact:?}: {:?}", log.lines());
    }
}

/// A refusal gets its ACK as often as it comes.
#[test]
fn a_refusal_is_acknowledged_each_time() {
    let (mut world, log) = world_by_hand(3);
    let a = Hand::caller("busy");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    for copies in 1..=3 {
        by_hand::send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
        assert_eq!(log.all(B, "ACK", "").len(), copies);
    }
    assert_eq!(header(&log.last(B, "ACK", ""), "Via"), header(&invite, "Via"), "its own branch");
    log.last(A, "SIP/2.0 486", "");
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    world.run_for(Duration::from_secs(10));
    nothing_left(&mut world);
}

/// The answer of a standing call's re-INVITE is acknowledged whatever it is; nobody is left in a
/// call that is half changed.
#[test]
fn a_useless_answer_to_a_later_offer_is_acknowledged() {
    for (what, answer) in answers() {
        let (mut world, log) = world_by_hand(4);
        let by_hand::Call { a, b, .. } = by_hand::call(&mut world, &log, "later", ("0", "0"));
        let hold = by_hand::sdp("10.1.0.1", 4_000, 2, "0") + "a=sendonly\n";
        let hold = body("application/sdp", &hold);
        by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &hold));
        by_hand::send(&mut world, A, &a.request("ACK", 2, "", &empty()));
        let offer = log.last(B, "INVITE", "a=sendonly");
        log.clear();
        let ok = b.reply(&offer, "200 OK", "", &answer);
        by_hand::send(&mut world, B, &ok);
        assert_eq!(log.all(B, "ACK", "").len(), 1, "{what}: {:?}", log.lines());
        let ended = ends(&mut world).len();
        assert!(ended == 0 || ended == 2, "{what}: both legs or none");
        let byes = |to| log.all(to, "BYE", "").len();
        assert_eq!((byes(A) > 0, byes(B) > 0), (ended == 2, ended == 2), "{what}");
        // Who says nothing keeps what there was; who stops its stream may.
        let stands = ["nothing", "another kind", "a stopped stream"].contains(&what);
        assert_eq!(ended == 0, stands, "{what}");
        if !stands {
            // Its leg is over, billed, and gone.
            let bye = log.last(B, "BYE", "");
            by_hand::send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
            world.run_for(5 * SECOND);
        }
        by_hand::send(&mut world, B, &ok);
        assert_eq!(log.all(B, "ACK", "").len(), 2, "{what}: as often as it comes");
    }
}
