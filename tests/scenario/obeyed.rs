//! From where a far end is obeyed inside its dialog: whoever has heard of the tags and is somebody
//! else's host changes and ends nothing.

use wire::Command;
use wire::counter::Counter;
use wire::table::{Admission, SignallingSources, StaticRoute, Table};
use world::World;

use crate::by_hand::{
    A, B, Call, Hand, Log, call, described, empty, header, nothing_left, one_shard, send,
};
use crate::common::{count, ends, incoming, manual, ms, publish, route_to, routed};

/// In no list.
const STRANGER: &str = "192.0.2.9:5060";
/// In the route's networks, and in nobody's neighbourhood.
const OTHER: &str = "10.1.7.7:5060";
/// A's neighbour, and A behind another port.
const NEIGHBOUR: &str = "10.1.0.77:5060";
const MOVED: &str = "10.1.0.1:40000";

/// A route from 10.1/16 to B, which is elsewhere.
fn world_of(signalling: SignallingSources, admission: Option<Admission>) -> (World, Log) {
    let silent = world::Manner::silent;
    let mut world = routed(&one_shard(1), silent(), vec![silent()]);
    let route = StaticRoute { signalling, ..route_to(&world, &[1]) };
    let routes = if admission.is_some() { Vec::new() } else { vec![route] };
    publish(&mut world, &Table { routes, admission, ..Table::default() });
    let log = Log::new(&mut world, &[A, B, STRANGER, OTHER, NEIGHBOUR]);
    (world, log)
}

/// What a request of A's is answered, sent from there.
fn answer(world: &mut World, log: &Log, from: &str, request: &str) -> String {
    log.clear();
    send(world, from, request);
    let answers = log.all(from, "SIP/2.0", header(request, "CSeq"));
    answers.last().map(|text| text[8..11].to_owned()).unwrap_or_default()
}

fn refused(world: &World) -> u64 {
    count(world, Counter::DiscardSipSource)
}

fn hang_up(world: &mut World, log: &Log, call: &Call, from: &str) {
    assert_eq!(answer(world, log, from, &call.a.request("BYE", 90, "", &empty())), "200");
    let bye = log.last(B, "BYE", "");
    send(world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(world);
}

#[test]
fn a_stranger_with_the_tags_of_a_trunks_call_changes_and_ends_nothing() {
    let (mut world, log) = world_of(SignallingSources::default(), None);
    let call = call(&mut world, &log, "one", ("0", "0"));
    let moved = described("192.0.2.9", 4_000, 9, "0");
    let digit = crate::by_hand::body("application/dtmf-relay", "Signal=5\nDuration=100\n");
    let tries = [
        ("INVITE", &moved),
        ("UPDATE", &moved),
        ("INFO", &digit),
        ("OPTIONS", &empty()),
        ("REFER", &empty()),
        ("BYE", &empty()),
    ];
    for (cseq, (method, body)) in (20..).zip(tries) {
        let request = call.a.request(method, cseq, "", body);
        assert_eq!(answer(&mut world, &log, STRANGER, &request), "403", "{method}");
        assert_eq!(log.lines().len(), 1, "{method}: nobody else hears of it");
        // The other side's tags serve no better.
        let request = call.b.request(method, cseq, "", body);
        assert_eq!(answer(&mut world, &log, STRANGER, &request), "403", "{method}");
    }
    send(&mut world, STRANGER, &call.a.request("ACK", 1, "", &moved));
    assert_eq!(refused(&world), 13);
    assert!(ends(&mut world).is_empty(), "the call stands");
    // A number of its own in the dialog was not used up: A itself goes on from any port.
    hang_up(&mut world, &log, &call, MOVED);
    assert_eq!(refused(&world), 13);
}

#[test]
fn a_trunks_other_hosts_and_the_neighbours_of_its_host_are_obeyed() {
    for from in [OTHER, NEIGHBOUR, MOVED] {
        let (mut world, log) = world_of(SignallingSources::default(), None);
        let call = call(&mut world, &log, "one", ("0", "0"));
        hang_up(&mut world, &log, &call, from);
        assert_eq!(refused(&world), 0, "{from}");
    }
}

#[test]
fn a_policy_narrows_and_widens_it() {
    let (mut world, log) = world_of(SignallingSources::Host, None);
    let one = call(&mut world, &log, "one", ("0", "0"));
    for from in [OTHER, NEIGHBOUR, STRANGER] {
        let bye = one.a.request("BYE", 20, "", &empty());
        assert_eq!(answer(&mut world, &log, from, &bye), "403", "{from}");
    }
    hang_up(&mut world, &log, &one, MOVED);
    let (mut world, log) = world_of(SignallingSources::Anywhere, None);
    let one = call(&mut world, &log, "one", ("0", "0"));
    hang_up(&mut world, &log, &one, STRANGER);
    assert_eq!(refused(&world), 0);
}

#[test]
fn a_host_that_the_dialog_names_is_obeyed() {
    let (mut world, log) = world_of(SignallingSources::Host, None);
    let mut call = call(&mut world, &log, "one", ("0", "0"));
    // A proxy brought the call; from now on the phone itself speaks.
    call.a.contact = format!("<sip:a@{OTHER}>");
    let again = described("10.1.0.1", 4_000, 2, "0");
    let again = call.a.request("INVITE", 2, "", &again);
    assert_eq!(answer(&mut world, &log, A, &again), "200");
    send(&mut world, OTHER, &call.a.request("ACK", 2, "", &empty()));
    hang_up(&mut world, &log, &call, OTHER);
    assert_eq!(refused(&world), 0);
}

#[test]
fn a_stranger_cancels_and_answers_nothing() {
    let (mut world, log) = world_of(SignallingSources::default(), None);
    let mut a = Hand::caller("one");
    let invite = crate::by_hand::ask(&mut world, &log, &a, "0");
    let cancel = a.request("INVITE", 1, "", &empty()).replace("INVITE sip", "CANCEL sip");
    let cancel = cancel.replace("1 INVITE", "1 CANCEL");
    assert_eq!(answer(&mut world, &log, STRANGER, &cancel), "403");
    let b = Hand::callee(&invite, "b");
    let busy = b.reply(&invite, "486 Busy Here", "", &empty());
    send(&mut world, STRANGER, &busy);
    let evil = described("192.0.2.9", 5_000, 1, "0");
    send(&mut world, STRANGER, &b.reply(&invite, "200 OK", "", &evil));
    assert_eq!((refused(&world), ends(&mut world).len()), (3, 0));
    assert!(log.all(STRANGER, "ACK", "").is_empty());
    // Another host of the carrier's answers.
    let sdp = described("10.1.0.2", 5_000, 1, "0");
    send(&mut world, OTHER, &b.reply(&invite, "200 OK", "", &sdp));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    let ports = (crate::by_hand::media_port(&ok), 0);
    hang_up(&mut world, &log, &Call { a, b, ports }, A);
    assert_eq!(refused(&world), 3);
}

/// A call that an application answers, of a caller at this address.
fn answered(world: &mut World, log: &Log, (number, from): (&str, &'static str)) -> Hand {
    let mut a = Hand::caller("one");
    (a.address, a.contact) = (from, format!("<sip:a@{from}>"));
    let offer = described("10.1.0.1", 4_000, 1, "0");
    let invite = a.request("INVITE", 1, "", &offer);
    send(world, from, &invite.replace("sip:g1@10.0.0.1", &format!("sip:{number}@10.0.0.1")));
    let (shard, call, _) = incoming(world)[0];
    manual(world).send(shard, &Command::Accept { call, account: 7, setup_ms: 60_000 });
    manual(world).send(shard, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(300));
    header(&log.last(from, "SIP/2.0 200", "INVITE"), "To").clone_into(&mut a.to);
    send(world, from, &a.request("ACK", 1, "", &empty()));
    a
}

/// Where a call of that far end would be taken, its word inside one is; a phone that may call from
/// everywhere roams.
#[test]
fn a_listed_caller_is_obeyed_from_the_lists_and_a_phone_from_everywhere() {
    let admission = || Some(crate::strangers::admission());
    let network = SignallingSources::default();
    let (mut world, log) = world_of(network, admission());
    let a = answered(&mut world, &log, ("+15550001", A));
    let bye = a.request("BYE", 20, "", &empty());
    assert_eq!(answer(&mut world, &log, STRANGER, &bye), "403");
    assert_eq!(answer(&mut world, &log, OTHER, &bye), "200");
    assert_eq!(refused(&world), 1);
    // A trunk's policy holds for its calls to applications too.
    let (mut world, log) = world_of(network, None);
    let signalling = SignallingSources::Anywhere;
    let (domain, sources) = ("elsewhere.example".to_owned(), vec!["10.1.0.0/16".parse().unwrap()]);
    let route = StaticRoute { signalling, domain, sources, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], admission: admission(), ..Table::default() });
    let a = answered(&mut world, &log, ("+15550001", A));
    assert_eq!(answer(&mut world, &log, STRANGER, &a.request("BYE", 20, "", &empty())), "200");
    let (mut world, log) = world_of(network, admission());
    let a = answered(&mut world, &log, ("+15550002", STRANGER));
    assert_eq!(answer(&mut world, &log, OTHER, &a.request("BYE", 20, "", &empty())), "200");
    assert_eq!(refused(&world), 0);
}
