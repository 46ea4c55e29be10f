//! What a far end says beside the status by which it refuses a call: the caller hears it whole, it
//! is told of both legs, and nobody else is asked where it is final.

use base::CallId;
use wire::policy::{Failover, RoutePolicy};
use wire::table::{StaticRoute, Table};
use world::World;

use crate::by_hand::{self, A, B, Hand, Log, empty, header, headers, one_shard, send};
use crate::common::{SECOND, manual, publish, route_to, routed};

const C: &str = "10.1.0.3:5060";
const ANALYTICS: &str =
    "Q.850;cause=21;text=\"v=analytics1;url=https://a.example/x;tel=+15550100\"";

/// A route from A to B, then to C, and another one behind it.
fn world(seed: u64) -> (World, Log) {
    let silent = world::Manner::silent;
    let mut world = routed(&one_shard(seed), silent(), vec![silent(); 2]);
    let failover =
        (400..600).fold(Failover::default(), |known, code| known.with(code).unwrap_or(known));
    let policy = |priority| RoutePolicy { failover, priority, ..RoutePolicy::default() };
    let first = StaticRoute { policy: policy(1), ..route_to(&world, &[1, 2]) };
    let second = StaticRoute { policy: policy(2), ..route_to(&world, &[2]) };
    publish(&mut world, &Table { routes: vec![first, second], ..Table::default() });
    let log = Log::new(&mut world, &[A, B, C]);
    (world, log)
}

/// What was told of each leg: its call, the status and the words.
fn told(world: &mut World) -> Vec<(CallId, u16, String)> {
    let of = |told: &world::Told| match told.event() {
        wire::Event::Declined { call, code, said, .. } => Some((call, code, said.to_owned())),
        _ => None,
    };
    manual(world).told.iter().filter_map(of).collect()
}

fn refuse(world: &mut World, log: &Log, status: &str, more: &str) -> String {
    let invite = by_hand::ask(world, log, &Hand::caller("no"), "0");
    send(world, B, &Hand::callee(&invite, "b").reply(&invite, status, more, &empty()));
    log.last(A, "SIP/2.0 ", "CSeq: 1 INVITE")
}

#[test]
fn a_call_that_the_network_blocks_is_refused_with_its_words() {
    let (mut world, log) = world(1);
    let more = format!("Reason: SIP;cause=603;text=\"x\"\nReason: {ANALYTICS}\n");
    let said = refuse(&mut world, &log, "603 Network Blocked", &more);
    assert!(said.starts_with("SIP/2.0 603 Network Blocked\n"), "{said}");
    assert_eq!(headers(&said, "Reason"), ["SIP;cause=603;text=\"x\"", ANALYTICS]);
    assert!(log.all(C, "INVITE", "").is_empty(), "final for all");
    let told = told(&mut world);
    let words = more.replace('\n', "\r\n");
    let words = format!("Network Blocked\r\n{words}");
    assert_eq!(told.len(), 2);
    assert_ne!(told[0].0, told[1].0, "of both legs");
    assert!(told.iter().all(|told| (told.1, &told.2) == (603, &words)), "{told:?}");
    by_hand::nothing_left(&mut world);
}

#[test]
fn who_rejects_is_named_to_the_caller() {
    let (mut world, log) = world(2);
    let card = "<https://block.example/card>;purpose=jwscard";
    let said = refuse(&mut world, &log, "608 Rejected", &format!("Call-Info: {card}\n"));
    assert!(said.starts_with("SIP/2.0 608 Rejected\n"), "{said}");
    assert_eq!(header(&said, "Call-Info"), card);
    assert!(log.all(C, "INVITE", "").is_empty(), "final for all");
    by_hand::nothing_left(&mut world);
}

/// A picture of the callee is nobody's business who is refused.
#[test]
fn the_cause_of_a_refusal_passes_and_nothing_else() {
    let (mut world, log) = world(3);
    let more = "Reason: Q.850;cause=17\nCall-Info: <http://b/icon>;purpose=icon\n";
    let said = refuse(&mut world, &log, "486 Go Away", more);
    assert!(said.starts_with("SIP/2.0 486 Busy Here\n"), "{said}");
    assert_eq!(header(&said, "Reason"), "Q.850;cause=17");
    assert_eq!(header(&said, "Call-Info"), "");
    by_hand::nothing_left(&mut world);
}

/// B's words are not what the caller hears of C.
#[test]
fn the_words_of_a_target_before_are_forgotten() {
    let (mut world, log) = world(4);
    let invite = by_hand::ask(&mut world, &log, &Hand::caller("no"), "0");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "500 X", "Reason: Q.850;cause=41\n", &empty()));
    let second = log.last(C, "INVITE", "");
    let c = Hand { address: C, ..Hand::callee(&second, "c") };
    let no = "Reason: Q.850;cause=42\n";
    send(&mut world, C, &c.reply(&second, "500 X", no, &empty()));
    // The second route.
    let third = log.last(C, "INVITE", "");
    assert_ne!(header(&second, "Call-ID"), header(&third, "Call-ID"));
    let c = Hand { address: C, ..Hand::callee(&third, "c") };
    send(&mut world, C, &c.reply(&third, "500 X", "", &empty()));
    world.run_for(SECOND);
    let said = log.last(A, "SIP/2.0 500", "");
    assert!(headers(&said, "Reason").is_empty(), "{said}");
    by_hand::nothing_left(&mut world);
}

#[test]
fn the_reasons_of_a_bye_are_told_and_passed_on_all() {
    let (mut world, log) = by_hand::world_by_hand(5);
    let call = by_hand::call(&mut world, &log, "bye", ("0", "0"));
    let more = "Reason: SIP;cause=200\nReason: Q.850;cause=16\n";
    send(&mut world, A, &call.a.request("BYE", 2, more, &empty()));
    let bye = log.last(B, "BYE", "");
    assert_eq!(header(&bye, "Reason"), "SIP;cause=200, Q.850;cause=16");
    send(&mut world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
    let told = told(&mut world);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].1, told[0].2.as_str()),
        (0, "\r\nReason: SIP;cause=200\r\nReason: Q.850;cause=16\r\n")
    );
    by_hand::nothing_left(&mut world);
}

/// A Reason as long as such are is folded.
#[test]
fn folded_reasons_pass_whole() {
    let (mut world, log) = world(6);
    let folded = format!("Reason: {}\n", ANALYTICS.replace(";text", ";\n text"));
    let said = refuse(&mut world, &log, "603 Network Blocked", &folded);
    assert_eq!(headers(&said, "Reason"), [ANALYTICS.replace(";text", "; text")]);
    by_hand::nothing_left(&mut world);
    let (mut world, log) = by_hand::world_by_hand(7);
    let call = by_hand::call(&mut world, &log, "bye", ("0", "0"));
    let more = "Reason: Q.850;\n\tcause=16\n";
    send(&mut world, A, &call.a.request("BYE", 2, more, &empty()));
    let bye = log.last(B, "BYE", "");
    assert_eq!(header(&bye, "Reason"), "Q.850;\tcause=16");
}

/// Whose call is answered in the end has heard no refusal: nothing of one is kept.
#[test]
fn words_are_forgotten_when_another_answers() {
    let mut used = Vec::new();
    for (seed, more) in [(8, ""), (8, "Reason: Q.850;cause=41;text=\"a long one\"\n")] {
        let (mut world, log) = world(seed);
        let invite = by_hand::ask(&mut world, &log, &Hand::caller("no"), "0");
        let b = Hand::callee(&invite, "b");
        send(&mut world, B, &b.reply(&invite, "500 X", more, &empty()));
        let second = log.last(C, "INVITE", "");
        let c = Hand { address: C, ..Hand::callee(&second, "c") };
        let third = send_no(&mut world, &log, (&c, &second), more);
        let c = Hand { address: C, ..Hand::callee(&third, "c") };
        let answer = by_hand::described("10.1.0.3", 5_000, 1, "0");
        send(&mut world, C, &c.reply(&third, "200 OK", "", &answer));
        log.last(A, "SIP/2.0 200", "");
        world.run_for(40 * SECOND);
        used.push(world.plane.leftovers());
    }
    assert_eq!(used[0], used[1]);
}

fn send_no(world: &mut World, log: &Log, (c, invite): (&Hand, &str), more: &str) -> String {
    send(world, C, &c.reply(invite, "500 X", more, &empty()));
    world.run_for(SECOND);
    log.last(C, "INVITE", "")
}
