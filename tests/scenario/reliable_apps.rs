//! Provisional responses that are acknowledged, where an application decides: what it commands
//! waits for the PRACK, of several phones the first one has the call, and a stranger gets little.

use wire::Command;
use wire::counter::Counter;
use wire::event::Cause;
use world::{Action, Manner, Manual, Setup, World};

use crate::by_hand::{self, A, Hand, Log, described, empty, header, one_shard};
use crate::common::{SECOND, count, ends, incoming, manual, ms, told};
use crate::reason::dialled_all;
use crate::strangers::{self, STRANGER};
use crate::{raw, reliable_caller::REQUIRED, reliable_caller::SUPPORTED};

/// The last provisional response to A, which is reliable: its PRACK.
fn prack(log: &Log, a: &mut Hand, cseq: u32, sdp: &str) -> String {
    let rings = log.last(A, "SIP/2.0 18", "RSeq");
    header(&rings, "To").clone_into(&mut a.to);
    let rack = format!("RAck: {} 1 INVITE\n", header(&rings, "RSeq"));
    a.request("PRACK", cseq, &rack, sdp)
}

/// A calls; an application takes the call and says nothing for a while: it rings.
fn ringing(offer: &str) -> (World, Log, Hand) {
    let mut world = World::new(&one_shard(1));
    world.agent(Manner::silent());
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let log = Log::new(&mut world, &[A]);
    let a = Hand::caller("app");
    by_hand::send(&mut world, A, &a.request("INVITE", 1, REQUIRED, offer));
    let (shard, call, _) = incoming(&mut world)[0];
    manual(&mut world).send(shard, &Command::Accept { call, account: 9, setup_ms: 60_000 });
    world.run_for(ms(400));
    (world, log, a)
}

fn answer(world: &mut World) {
    let (shard, call, _) = incoming(world)[0];
    manual(world).send(shard, &Command::Answer { call, limit_ms: 2_000 });
    world.run_for(SECOND);
}

/// The ringing brings our offer, and the application answers before its PRACK does.
#[test]
fn an_application_answers_behind_the_prack() {
    let (mut world, log, mut a) = ringing(&empty());
    assert!(log.last(A, "SIP/2.0 180", "m=audio").contains("RSeq"));
    answer(&mut world);
    assert!(log.all(A, "SIP/2.0 200", "").is_empty());
    assert!(!told(&mut world).contains(&"answered"));
    let text = prack(&log, &mut a, 2, &described("10.1.0.1", 4_000, 1, "0"));
    by_hand::send(&mut world, A, &text);
    log.last(A, "SIP/2.0 200", "2 PRACK");
    log.last(A, "SIP/2.0 200", "1 INVITE");
    assert!(told(&mut world).contains(&"answered"));
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    world.run_for(ms(1_500));
    assert!(log.all(A, "BYE", "").is_empty(), "the limit counts from the answer");
    world.run_for(SECOND);
    let bye = log.last(A, "BYE", "");
    by_hand::send(&mut world, A, &a.reply(&bye, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut world);
}

/// A mere ringing holds nothing back, and what the application refuses is refused at once.
#[test]
fn an_application_need_not_wait_for_a_mere_ringing() {
    let offer = described("10.1.0.1", 4_000, 1, "0");
    let (mut world, log, _) = ringing(&offer);
    assert!(!log.last(A, "SIP/2.0 180", "RSeq").contains("m=audio"));
    answer(&mut world);
    log.last(A, "SIP/2.0 200", "1 INVITE");
    let (mut world, log, mut a) = ringing(&empty());
    let (shard, call, _) = incoming(&mut world)[0];
    let busy = Command::Reject { call, code: 486, reason: "", retry_after: 0, cause: Cause::Busy };
    manual(&mut world).send(shard, &busy);
    world.run_for(SECOND);
    log.last(A, "SIP/2.0 486", "1 INVITE");
    let before = log.all(A, "SIP/2.0 180", "").len();
    let late = prack(&log, &mut a, 2, &described("10.1.0.1", 4_000, 1, "0"));
    by_hand::send(&mut world, A, &late);
    world.run_for(5 * SECOND);
    assert_eq!(log.all(A, "SIP/2.0 180", "").len(), before);
}

/// Two phones answer while the caller has not acknowledged the first one's early media: the first
/// one to answer has the call, and the other one hears so at once.
#[test]
fn of_two_answers_that_wait_the_first_one_counts() {
    let at = |answers: u64| {
        let on_ring = vec![(ms(100), Action::EarlyMedia), (ms(answers), Action::Answer)];
        Manner { on_ring, ..Manner::default() }
    };
    let setup = Setup::new(2);
    let mut world = dialled_all(&setup, Manner::silent(), vec![at(900), at(600)]);
    let log = Log::new(&mut world, &[A]);
    let mut a = Hand::caller("two");
    // A conversation has its number in the user part.
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 1, SUPPORTED, &offer));
    world.run_for(2 * SECOND);
    assert!(log.all(A, "SIP/2.0 200", "").is_empty(), "{:?}", log.lines());
    let lost = ends(&mut world);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].inbound, lost[0].cause), (false, Cause::OtherAnswered));
    let text = prack(&log, &mut a, 2, &empty());
    by_hand::send(&mut world, A, &text);
    log.last(A, "SIP/2.0 200", "1 INVITE");
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    world.run_for(2 * SECOND);
    assert!(told(&mut world).contains(&"joined"));
    assert_eq!(ends(&mut world).len(), 1);
    by_hand::send(&mut world, A, &a.request("BYE", 9, "", &empty()));
    world.run_for(2 * SECOND);
    assert_eq!(ends(&mut world).len(), 3);
}

/// A source that has not shown that it hears us gets the same few times what it does not
/// acknowledge; one that does has shown it.
#[test]
fn a_stranger_is_told_a_few_times() {
    for acknowledges in [false, true] {
        let (mut world, log) = strangers::world(4_000);
        let sdp = raw::body(&raw::sdp("10.2.0.9", 1, "0", ""));
        let more = format!("{REQUIRED}{sdp}");
        let uri = "sip:+15550002@10.0.0.1";
        let text = strangers::request("INVITE", uri, STRANGER, 1, &more);
        strangers::send(&mut world, STRANGER, &text);
        world.run_for(ms(300));
        let call = strangers::incoming(&mut world);
        manual(&mut world).send(0, &Command::Accept { call, account: 7, setup_ms: 60_000 });
        world.run_for(ms(400));
        let rings = raw::last(&log, STRANGER, "SIP/2.0 180", "").expect("it rings");
        if acknowledges {
            let rack = format!("RAck: {} 1 INVITE\n{}", raw::header(&rings, "RSeq"), raw::body(""));
            let text = strangers::request("PRACK", uri, STRANGER, 1, &rack);
            let text = text.replace("branch=z9hG4bK1;", "branch=z9hG4bKprack;");
            let text = text.replace("CSeq: 1 ", "CSeq: 2 ");
            let to = format!("To: {}", raw::header(&rings, "To"));
            strangers::send(&mut world, STRANGER, &text.replace(&format!("To: <{uri}>"), &to));
            world.run_for(ms(100));
            raw::last(&log, STRANGER, "SIP/2.0 200", "PRACK").expect("it is answered");
            manual(&mut world).send(0, &Command::Answer { call, limit_ms: 0 });
        }
        world.run_for(33 * SECOND);
        let times = raw::all(&log, STRANGER, "SIP/2.0 180", "").len();
        assert_eq!(times, if acknowledges { 1 } else { 3 });
        let refused = !raw::all(&log, STRANGER, "SIP/2.0 504", "").is_empty();
        assert_eq!(refused, !acknowledges);
        let answers = raw::all(&log, STRANGER, "SIP/2.0 200", "1 INVITE").len();
        assert_eq!(answers, if acknowledges { 11 } else { 0 }, "as to everybody who hears us");
        assert_eq!(count(&world, Counter::LegPanicked), 0);
    }
}
