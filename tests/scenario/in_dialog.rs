//! Requests inside a dialog that are nobody's session: MESSAGE goes on to the other far end and
//! comes back with what that one says; NOTIFY, OPTIONS, INFO of packages and foreign methods are
//! answered here.

use wire::counter::Counter;
use world::World;

use crate::by_hand::{self, A, B, Call, Log, body, call, empty, header, send, world_by_hand};
use crate::common::{SECOND, count, ends};

const TEXT: &str = "text/plain;charset=UTF-8";
const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, MESSAGE\n";

/// A call that stands; B takes messages if it says so.
fn standing(seed: u64, takes: bool) -> (World, Log, Call) {
    let (mut world, log) = world_by_hand(seed);
    let parties = call(&mut world, &log, "texts", ("0", "0"));
    if takes {
        let says = parties.b.request("OPTIONS", 20, ALLOW, &empty());
        send(&mut world, B, &says);
    }
    log.clear();
    (world, log, parties)
}

fn ends_clean(mut world: World, log: &Log, parties: &Call) {
    send(&mut world, A, &parties.a.request("BYE", 900, "", &empty()));
    let bye = log.last(B, "BYE", "");
    send(&mut world, B, &parties.b.reply(&bye, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut world);
    assert_eq!(count(&world, Counter::LegPanicked), 0);
}

#[test]
fn a_message_goes_on_and_what_is_said_comes_back() {
    for (seed, status, told) in [
        (1, "200 OK", "200"),
        (2, "202 Accepted", "202"),
        (3, "415 No", "415"),
        (4, "603 Decline", "603"),
        // Each of these would end the other's dialog, or its use of it (RFC 5057).
        (5, "404 Not Found", "500"),
        (6, "410 Gone", "500"),
        (7, "480 Away", "500"),
        (8, "502 Bad Gateway", "500"),
        (9, "604 Nowhere", "500"),
        (10, "302 Moved", "500"),
    ] {
        let (mut world, log, parties) = standing(seed, true);
        let text = parties.a.request("MESSAGE", 2, "", &body(TEXT, "Grüße\n"));
        send(&mut world, A, &text);
        let passed = log.last(B, "MESSAGE", "");
        assert_eq!(header(&passed, "Content-Type"), TEXT);
        assert!(passed.ends_with("\n\nGrüße\n"), "{passed}");
        assert!(log.all(A, "SIP/2.0", "MESSAGE").is_empty(), "not before the other has it");
        // It comes again meanwhile: the other gets it once.
        send(&mut world, A, &text);
        assert_eq!(log.all(B, "MESSAGE", "").len(), 1);
        send(&mut world, B, &parties.b.reply(&passed, status, "", &empty()));
        let said = log.last(A, "SIP/2.0", "2 MESSAGE");
        assert!(said.starts_with(&format!("SIP/2.0 {told}")), "{status}: {said}");
        send(&mut world, A, &text);
        assert_eq!(log.all(A, "SIP/2.0", "2 MESSAGE").len(), 2, "the same again");
        ends_clean(world, &log, &parties);
    }
}

#[test]
fn who_takes_no_message_gets_none() {
    let (mut world, log, parties) = standing(5, false);
    send(&mut world, A, &parties.a.request("MESSAGE", 2, "", &body(TEXT, "x")));
    let refused = log.last(A, "SIP/2.0 405", "2 MESSAGE");
    let allow = header(&refused, "Allow");
    assert!(allow.contains("INFO") && !allow.contains("MESSAGE"), "{allow}");
    assert!(log.all(B, "MESSAGE", "").is_empty());
    // Too long for anybody.
    send(&mut world, B, &parties.b.request("OPTIONS", 20, ALLOW, &empty()));
    let long = "x".repeat(4_097);
    send(&mut world, A, &parties.a.request("MESSAGE", 3, "", &body(TEXT, &long)));
    log.last(A, "SIP/2.0 413", "3 MESSAGE");
    send(&mut world, A, &parties.a.request("MESSAGE", 4, "", &body(TEXT, &long[1..])));
    let passed = log.last(B, "MESSAGE", "");
    send(&mut world, B, &parties.b.reply(&passed, "200 OK", "", &empty()));
    log.last(A, "SIP/2.0 200", "4 MESSAGE");
    ends_clean(world, &log, &parties);
}

/// Whoever says nothing, and whoever hangs up, leaves nobody in the dark for long.
#[test]
fn a_message_that_nobody_answers_is_answered() {
    let (mut world, log, parties) = standing(6, true);
    send(&mut world, A, &parties.a.request("MESSAGE", 2, "", &body(TEXT, "x")));
    world.run_for(31 * SECOND);
    log.last(A, "SIP/2.0 480", "2 MESSAGE");
    assert!(ends(&mut world).is_empty());
    send(&mut world, A, &parties.a.request("MESSAGE", 3, "", &body(TEXT, "x")));
    send(&mut world, B, &parties.b.request("BYE", 30, "", &empty()));
    let bye = log.last(A, "BYE", "");
    send(&mut world, A, &parties.a.reply(&bye, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut world);
    assert_eq!(count(&world, Counter::LegPanicked), 0);
}

/// A flood of them has its leg's share and takes nothing from anybody.
#[test]
fn a_flood_of_messages_is_refused() {
    let (mut world, log, parties) = standing(7, true);
    for cseq in 2..400 {
        let text = parties.a.request("MESSAGE", cseq, "", &body(TEXT, "x"));
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let (from, to) = (A.parse().unwrap(), world::plane::listener());
        world.inject(world::Datagram { from, to, bytes });
    }
    world.run_for(SECOND);
    let mut passed: Vec<String> = log.all(B, "MESSAGE", "");
    passed.sort();
    passed.dedup();
    assert!((1..=8).contains(&passed.len()), "{}", passed.len());
    assert!(log.all(A, "SIP/2.0 503", "MESSAGE").len() > 300);
    // The call goes on.
    world.run_for(40 * SECOND);
    send(&mut world, A, &parties.a.request("OPTIONS", 500, "", &empty()));
    log.last(A, "SIP/2.0 200", "500 OPTIONS");
    ends_clean(world, &log, &parties);
}

#[test]
fn what_else_comes_in_a_dialog_is_answered_by_its_rule() {
    let (mut world, log, parties) = standing(8, false);
    let info = "Info-Package: foo\n";
    let notify = "Event: refer\nSubscription-State: active\n";
    for (cseq, method, more, content, code) in [
        (2, "OPTIONS", "", empty(), 200),
        (3, "NOTIFY", notify, body("message/sipfrag", "SIP/2.0 200 OK\n"), 481),
        (4, "INFO", info, body("application/foo", "x"), 469),
        (5, "INFO", "", body("application/foo", "x"), 415),
        (6, "INFO", "", empty(), 200),
        (7, "SUBSCRIBE", "Event: refer\n", empty(), 405),
        (8, "PUBLISH", "Event: x\n", empty(), 405),
        (9, "FOO", "", empty(), 501),
        (10, "REGISTER", "", empty(), 405),
    ] {
        send(&mut world, A, &parties.a.request(method, cseq, more, &content));
        let answer = log.last(A, "SIP/2.0", &format!("{cseq} {method}"));
        assert!(answer.starts_with(&format!("SIP/2.0 {code}")), "{method}: {answer}");
        let allow = header(&answer, "Allow");
        assert_eq!(allow.contains("MESSAGE"), matches!(code, 405 | 501) || cseq == 2, "{answer}");
        assert!(!allow.contains("REGISTER"), "not in a dialog: {answer}");
    }
    let answer = log.last(A, "SIP/2.0 200", "2 OPTIONS");
    assert!(header(&answer, "Supported").contains("replaces"), "{answer}");
    assert!(header(&answer, "Accept").contains("application/sdp"), "{answer}");
    assert!(log.all(A, "SIP/2.0 469", "").iter().all(|text| text.contains("\nRecv-Info:")));
    // Nobody is called by a message.
    let mut alone = parties.a.clone();
    alone.call_id = "alone".to_owned();
    "<sip:g1@10.0.0.1>".clone_into(&mut alone.to);
    send(&mut world, A, &alone.request("MESSAGE", 1, "", &body(TEXT, "x")));
    let refused = log.last(A, "SIP/2.0 405", "1 MESSAGE");
    assert!(!header(&refused, "Allow").contains("MESSAGE"), "{refused}");
    // What is taken outside a dialog is said there, whatever is asked.
    for (method, code) in [("OPTIONS", 200), ("PUBLISH", 405), ("FOO", 501)] {
        alone.call_id = format!("alone{method}");
        send(&mut world, A, &alone.request(method, 1, "Event: x\n", &empty()));
        let answer = log.last(A, &format!("SIP/2.0 {code}"), &format!("1 {method}"));
        let allow = header(&answer, "Allow");
        assert!(allow.contains("REGISTER") && allow.contains("UPDATE"), "{answer}");
        assert!(!allow.contains("MESSAGE"), "{answer}");
    }
    ends_clean(world, &log, &parties);
}
