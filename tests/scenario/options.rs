//! OPTIONS from outside of any dialog: what carriers, phones and strangers learn by it.

use wire::Command;

use crate::by_hand::{
    A, B, Hand, Log, described, empty, header, nothing_left, one_shard, send, world_by_hand,
};
use crate::claims::{Login, directed};
use crate::common::{SECOND, ms, routed};
use crate::raw;
use crate::registrar::Phone;
use crate::strangers::{self, STRANGER, request};
use world::Manner;

/// What A hears when it asks, the number being another one each time.
fn asked(world: &mut world::World, log: &Log, number: u32) -> String {
    let a = Hand { to: "<sip:10.0.0.1>".to_owned(), ..Hand::caller("alive") };
    send(world, A, &a.request("OPTIONS", number, "Accept: application/sdp\n", &empty()));
    log.last(A, "SIP/2.0", &format!("{number} OPTIONS"))
}

#[test]
fn a_trunk_learns_what_is_spoken_here_and_when_to_go_elsewhere() {
    let (mut world, log) = world_by_hand(1);
    let ok = asked(&mut world, &log, 1);
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    assert!(header(&ok, "Allow").contains("INVITE"), "{ok}");
    assert_eq!(header(&ok, "Accept"), "application/sdp");
    assert!(header(&ok, "Supported").contains("timer"), "{ok}");
    crate::common::send(&mut world, 0, &Command::Drain { on: true });
    world.run_for(ms(50));
    let no = asked(&mut world, &log, 2);
    assert!(no.starts_with("SIP/2.0 503 "), "{no}");
    assert_eq!(header(&no, "Retry-After"), "60");
    crate::common::send(&mut world, 0, &Command::Drain { on: false });
    world.run_for(ms(50));
    assert!(asked(&mut world, &log, 3).starts_with("SIP/2.0 200 "));
    nothing_left(&mut world);
}

/// It is told so where its next call would be refused, not when one was.
#[test]
fn one_whose_calls_would_be_too_many_is_told_so() {
    let mut setup = one_shard(2);
    setup.plane.guard.call_rate = 1;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    world.run_for(SECOND);
    assert!(asked(&mut world, &log, 1).starts_with("SIP/2.0 200 "), "asking takes nothing");
    assert!(asked(&mut world, &log, 2).starts_with("SIP/2.0 200 "));
    let a = Hand::caller("one");
    send(&mut world, A, &a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0")));
    let invite = log.last(B, "INVITE", "");
    let no = asked(&mut world, &log, 3);
    assert!(no.starts_with("SIP/2.0 503 "), "{no}");
    assert_eq!(header(&no, "Retry-After"), "5");
    world.run_for(2 * SECOND);
    assert!(asked(&mut world, &log, 4).starts_with("SIP/2.0 200 "));
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    nothing_left(&mut world);
}

/// A phone is nobody's network: it is known once it has registered. Before, it learns that somebody
/// is here, in no more bytes than half as much again as it sent.
#[test]
fn a_phone_learns_it_once_it_has_registered() {
    let (mut world, log) = directed(1, |_| ());
    let ask = |world: &mut world::World, number: u32| {
        let text = request("OPTIONS", "sip:t0.example", STRANGER, number, &empty());
        let before = log.borrow().len();
        let len = strangers::send(world, STRANGER, &text);
        world.run_for(ms(40));
        let heard: usize = log.borrow()[before..].iter().map(|(_, it)| it.bytes.len()).sum();
        let ok = raw::last(&log, STRANGER, "SIP/2.0 200", &format!("Call-ID: s{number}@"));
        (ok.unwrap(), heard * 2 <= len * 3)
    };
    let (bare, is_small) = ask(&mut world, 70);
    assert!(header(&bare, "Allow").is_empty() && header(&bare, "Supported").is_empty(), "{bare}");
    assert!(is_small);
    let contact = "Contact: <sip:alice@192.168.1.7:5060>\n";
    let done =
        Phone::new(STRANGER, "alice", 1).register(&mut world, &log, contact, &Login::default());
    assert!(done.starts_with("SIP/2.0 200"), "{done}");
    let (ok, _) = ask(&mut world, 71);
    assert!(header(&ok, "Allow").contains("INVITE"), "{ok}");
    assert_eq!(header(&ok, "Accept"), "application/sdp");
}
