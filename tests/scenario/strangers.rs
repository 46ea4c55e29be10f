//! Who may call at all: what no rule allows is answered once and leaves nothing behind, and until
//! its call is accepted a stranger costs nothing but its leg.

use std::net::SocketAddr;
use std::time::Duration;

use wire::Command;
use wire::counter::Counter;
use wire::event::{Cause, Event};
use wire::table::{Admission, Network, Place, PlaceKind, Table};
use world::{Datagram, Manual, Setup, World};

use crate::common::{SECOND, count, manual, ms, publish, told};
use crate::raw::{Log, all, body, header, sdp, tap};

/// Is in the list of +15550001 and of `known.example`.
pub(crate) const KNOWN: &str = "10.1.0.1:5060";
pub(crate) const STRANGER: &str = "10.2.0.9:5060";

/// +15550001 and known.example take calls from 10.1/16, +15550002 from everywhere.
pub(crate) fn admission() -> Admission {
    let network = |text: &str| text.parse::<Network>().unwrap();
    let sources = vec![vec![network("10.1.0.0/16")], vec![network("0.0.0.0/0")]];
    let mut admission = Admission { key: [7, 9], sources, ..Admission::default() };
    let mut places = vec![
        Place { hash: admission.hash(PlaceKind::Number, b"15550001"), sources: 0 },
        Place { hash: admission.hash(PlaceKind::Domain, b"Known.example"), sources: 0 },
        Place { hash: admission.hash(PlaceKind::Number, b"15550002"), sources: 1 },
    ];
    places.sort_unstable_by_key(|place| place.hash);
    admission.places = places;
    admission
}

pub(crate) fn world(stranger_rate: u32) -> (World, Log) {
    world_of(stranger_rate, 1)
}

fn world_of(stranger_rate: u32, shards: u8) -> (World, Log) {
    let mut setup = Setup::new(3);
    setup.plane.shards = shards;
    setup.plane.guard.stranger_rate = stranger_rate;
    let mut world = World::new(&setup);
    world.control = Some(Box::new(Manual::new(&world.plane)));
    publish(
        &mut world,
        &Table { routes: Vec::new(), admission: Some(admission()), ..Table::default() },
    );
    let log = tap(&mut world);
    (world, log)
}

pub(crate) fn send(world: &mut World, from: &str, text: &str) -> usize {
    let from: SocketAddr = from.parse().unwrap();
    let bytes = text.replace('\n', "\r\n").into_bytes();
    let len = bytes.len();
    world.inject(Datagram { from, to: world::plane::listener(), bytes });
    len
}

pub(crate) fn request(method: &str, uri: &str, from: &str, number: u32, rest: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{number};rport\n\
         Max-Forwards: 70\nFrom: <sip:x@{from}>;tag=f{number}\nTo: <{uri}>\n\
         Call-ID: s{number}@{from}\nCSeq: 1 {method}\nContact: <sip:x@{from}>\n{rest}"
    )
}

pub(crate) fn invite(uri: &str, from: &str, number: u32) -> String {
    request("INVITE", uri, from, number, &body(&sdp("10.2.0.9", 1, "0", "")))
}

fn nothing_is_left(world: &World) {
    assert_eq!(world.plane.leftovers(), Vec::<String>::new());
    assert_eq!(count(world, Counter::LegCreated), 0);
}

#[test]
fn an_invite_that_no_rule_allows_is_answered_once_and_leaves_nothing() {
    let (mut world, log) = world(4_000);
    let cases = [
        ("sip:+15559999@10.0.0.1", STRANGER, "404"),
        ("sip:+15550001@10.0.0.1", STRANGER, "403"),
        ("tel:+1-555-0001", STRANGER, "403"),
        ("sip:bob@known.example", STRANGER, "403"),
        ("sip:bob@other.example", STRANGER, "404"),
        ("sip:+15559999@10.0.0.1", KNOWN, "404"),
    ];
    for (number, (uri, from, code)) in (0..).zip(cases) {
        let before = log.borrow().len();
        let asked = send(&mut world, from, &invite(uri, from, number));
        world.run_for(ms(100));
        {
            let log = log.borrow();
            let sent: Vec<_> = log[before..].iter().map(|(_, datagram)| datagram).collect();
            assert_eq!(sent.len(), 1, "{uri} from {from}");
            let text = String::from_utf8_lossy(&sent[0].bytes).into_owned();
            assert!(text.starts_with(&format!("SIP/2.0 {code}")), "{uri} from {from}: {text}");
            assert!(sent[0].bytes.len() * 2 <= asked * 3, "{uri} from {from}");
        }
        nothing_is_left(&world);
        // No ACK comes: nothing is said again.
        world.run_for(40 * SECOND);
        assert_eq!(log.borrow().len(), before + 1, "{uri} from {from}");
    }
    assert_eq!(count(&world, Counter::RefusedUnknown), 3);
    assert_eq!(count(&world, Counter::RefusedSource), 3);
}

#[test]
fn whoever_is_called_hears_of_a_sample_and_nobody_of_what_is_nobodys() {
    let (mut world, _log) = world(4_000);
    for number in 0..200 {
        let uri = if number % 2 == 0 { "sip:+15550001@10.0.0.1" } else { "sip:no@10.0.0.1" };
        send(&mut world, STRANGER, &invite(uri, STRANGER, number));
        world.run_for(ms(10));
    }
    world.run_for(SECOND);
    let refused = told(&mut world).iter().filter(|name| **name == "refused").count();
    assert!((1..=8).contains(&refused), "{refused}");
    let told = &manual(&mut world).told;
    let of = told.iter().filter_map(|told| match told.event() {
        Event::Refused { cause, uri, .. } => Some((cause, uri.to_owned())),
        _ => None,
    });
    for (cause, uri) in of {
        assert_eq!((cause, uri.as_str()), (Cause::Forbidden, "sip:+15550001@10.0.0.1"));
    }
}

#[test]
fn a_known_caller_has_its_100_at_once_and_its_port_with_the_acceptance() {
    let (mut world, log) = world(4_000);
    send(&mut world, KNOWN, &invite("sip:+15550001@10.0.0.1", KNOWN, 1));
    world.run_for(ms(100));
    assert_eq!(all(&log, KNOWN, "SIP/2.0 100", "").len(), 1);
    let held = world.plane.leftovers().join(", ");
    assert!(!held.contains(" port"), "no port before the call is accepted: {held}");
    let call = incoming(&mut world);
    let accept = Command::Accept { call, account: 7, setup_ms: 60_000 };
    manual(&mut world).send(0, &accept);
    manual(&mut world).send(0, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(300));
    let answer = all(&log, KNOWN, "SIP/2.0 200", "m=audio");
    assert!(!answer.is_empty() && !answer[0].contains("m=audio 0 "), "{answer:?}");
}

#[test]
fn a_stranger_is_answered_once_until_its_call_is_accepted() {
    let (mut world, log) = world(4_000);
    let uri = "sip:+15550002@10.0.0.1";
    send(&mut world, STRANGER, &invite(uri, STRANGER, 1));
    world.run_for(ms(300));
    assert!(log.borrow().is_empty(), "no 100 before the acceptance");
    let call = incoming(&mut world);
    let reject = Command::Reject {
        call,
        code: 403,
        reason: "Forbidden",
        retry_after: 0,
        cause: Cause::Forbidden,
    };
    manual(&mut world).send(0, &reject);
    world.run_for(40 * SECOND);
    assert_eq!(log.borrow().len(), 1, "the refusal is said once");
    assert_eq!(all(&log, STRANGER, "SIP/2.0 403", "").len(), 1);

    send(&mut world, STRANGER, &invite(uri, STRANGER, 2));
    world.run_for(ms(300));
    let call = incoming(&mut world);
    manual(&mut world).send(0, &Command::Accept { call, account: 7, setup_ms: 60_000 });
    manual(&mut world).send(0, &Command::Answer { call, limit_ms: 0 });
    world.run_for(ms(300));
    assert_eq!(all(&log, STRANGER, "SIP/2.0 100", "").len(), 1);
    let answer = all(&log, STRANGER, "SIP/2.0 200", "").pop().unwrap();
    let ack = format!(
        "ACK {uri} SIP/2.0\nVia: SIP/2.0/UDP {STRANGER};branch=z9hG4bKack\nMax-Forwards: 70\n\
         From: <sip:x@{STRANGER}>;tag=f2\nTo: {}\nCall-ID: s2@{STRANGER}\nCSeq: 1 ACK\n\
         Content-Length: 0\n\n",
        header(&answer, "To")
    );
    send(&mut world, STRANGER, &ack);
    world.run_for(ms(300));
    // It hears us, so that its flood is limited as a known one's: as many as it sends are served.
    let served = |world: &mut World| {
        for number in 100..600 {
            let options = request("OPTIONS", "sip:10.0.0.1", STRANGER, number, &body(""));
            send(world, STRANGER, &options);
        }
        world.run_for(ms(100));
        all(&log, STRANGER, "SIP/2.0 200", "CSeq: 1 OPTIONS").len()
    };
    assert_eq!(served(&mut world), 500);
}

#[test]
fn while_a_table_is_on_its_way_nobody_is_refused_by_the_old_one() {
    let (mut world, log) = world(4_000);
    for regions in &world.plane.regions {
        wire::table::outdate(regions.controlplane().table().unwrap());
    }
    world.run_for(ms(300));
    send(&mut world, KNOWN, &invite("sip:+15558888@10.0.0.1", KNOWN, 1));
    world.run_for(ms(300));
    let _ = incoming(&mut world);
    assert!(all(&log, KNOWN, "SIP/2.0 404", "").is_empty());
}

/// Over ten seconds, by sources with one address and with a thousand: what is answered is paid by
/// what was asked, each answer is at most one and a half times its request, and what is over a
/// rate is not even read.
#[test]
fn strangers_are_answered_within_their_bytes_and_their_rate() {
    let kinds: [(&str, &str); 5] = [
        ("INVITE", ""),
        ("REGISTER", ""),
        ("OPTIONS", ""),
        ("INFO", ";tag=aaaaaaaaaaaaaaaaaaaa"),
        ("SUBSCRIBE", ""),
    ];
    let cases =
        kinds.iter().flat_map(|kind| [(1_u32, 1), (1_000, 1), (1, 3)].map(|it| (*kind, it)));
    for ((method, tag), (sources, shards)) in cases {
        {
            let (mut world, log) = world_of(400, shards);
            let mut asked = 0;
            for number in 0..5_000_u32 {
                let from = format!("10.3.{}.{}:5060", number % sources / 250, number % 250 + 1);
                let from = if sources == 1 { STRANGER.to_owned() } else { from };
                let text = request(method, "sip:+15559999@10.0.0.1", &from, number, &body(""));
                let text = text.replace(
                    "To: <sip:+15559999@10.0.0.1>",
                    &format!("To: <sip:+15559999@10.0.0.1>{tag}"),
                );
                asked += send(&mut world, &from, &text);
                if number % 10 == 0 {
                    world.run_for(ms(20));
                }
            }
            world.run_for(SECOND);
            let log = log.borrow();
            let answered: usize = log.iter().map(|(_, datagram)| datagram.bytes.len()).sum();
            let case = format!("{method} from {sources} at {shards} shards");
            let most = asked + 128 * sources as usize * usize::from(shards);
            assert!(answered <= most, "{case}: {answered} for {asked}");
            // One source has an eighth of what all have, and the rates are each shard's.
            let rate = if sources == 1 { 400 / 8 } else { 400 };
            let (rate, burst) = (rate * usize::from(shards), if sources == 1 { 20 } else { 400 });
            let taken = rate * 11 + burst * usize::from(shards);
            assert!(log.len() <= taken, "{case}: {} answers", log.len());
            // They are answered as they are taken, whichever shard they belong to.
            let least = rate * 7;
            assert!(log.len() >= least, "{case}: {} answers", log.len());
            assert!(count(&world, Counter::DiscardSipRate) > 0, "{method} from {sources}");
            nothing_is_left(&world);
        }
    }
}

/// A short request has a longer answer: it is left out where nothing has paid for it.
#[test]
fn an_answer_that_nothing_has_paid_for_is_left_out() {
    let (mut world, log) = world(4_000);
    let short = "REGISTER sip:a SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\nFrom: <sip:a>;tag=1\n\
         To: <sip:a>\nCall-ID: 1\nCSeq: 1 REGISTER\n\n";
    for _ in 0..20 {
        send(&mut world, STRANGER, short);
        world.run_for(ms(20));
    }
    world.run_for(Duration::from_secs(1));
    assert!(count(&world, Counter::DiscardSipBudget) > 0);
    let answered: usize = log.borrow().iter().map(|(_, datagram)| datagram.bytes.len()).sum();
    assert!(answered <= 20 * (short.len() + 8) + 128, "{answered}");
}

/// The call of the newest `Incoming`.
pub(crate) fn incoming(world: &mut World) -> base::CallId {
    let told = &manual(world).told;
    let mut calls = told.iter().filter_map(|told| match told.event() {
        Event::Incoming(incoming) => Some(incoming.call),
        _ => None,
    });
    calls.next_back().expect("the application is asked")
}
