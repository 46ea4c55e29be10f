//! Who calls: the number and the name are passed on as values; what a trusted hop asserts goes on,
//! what another one asserts does not, but its wish to be hidden does.

use base::CallId;
use wire::table::{StaticRoute, Table};
use wire::{Command, Originate};
use world::control::encode;
use world::{Manner, Manual, World};

use crate::by_hand::{self, A, B, Hand, Log, described, header, headers, one_shard};
use crate::common::{SECOND, originate, publish, route_to, routed};

const ASSERTED: &str = "P-Asserted-Identity: \"The Boss\" <sip:+4930111@trunk.example>\n\
    Diversion: <sip:+4930222@trunk.example>;reason=no-answer\n\
    History-Info: <sip:+4930222@trunk.example>;index=1\n\
    Identity: eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example/c.pem>;alg=ES256\n";
const NAMES: [&str; 4] = ["P-Asserted-Identity", "Diversion", "History-Info", "Identity"];

/// A world whose route trusts the caller's network or nobody.
fn world_that_trusts(trusted: bool) -> (World, Log) {
    let mut world = routed(&one_shard(1), Manner::silent(), vec![Manner::silent()]);
    let networks = if trusted { vec!["10.1.0.1".parse().unwrap()] } else { Vec::new() };
    let route = StaticRoute { trusted: networks, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

/// The INVITE that a call with these lines brings to the callee.
fn passed(trusted: bool, from: &str, more: &str) -> String {
    let (mut world, log) = world_that_trusts(trusted);
    let mut a = Hand::caller("who");
    a.from = format!("{from};tag=a");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 1, more, &offer));
    log.last(B, "INVITE", "")
}

const PLAIN: &str = "<sip:a@example.com>";

#[test]
fn what_a_trusted_hop_asserts_goes_on_as_it_is() {
    let invite = passed(true, PLAIN, &format!("{ASSERTED}Privacy: none\n"));
    for name in NAMES {
        assert_eq!(header(&invite, name), header(ASSERTED, name), "{name}");
    }
    assert_eq!(header(&invite, "Privacy"), "none");
    let invite = passed(true, PLAIN, "Reason: SIP;cause=302;text=\"moved\"\n");
    assert_eq!(header(&invite, "Reason"), "SIP;cause=302;text=\"moved\"");
}

#[test]
fn what_another_hop_asserts_does_not() {
    let invite = passed(false, PLAIN, &format!("{ASSERTED}Privacy: none\nReason: SIP;cause=302\n"));
    for name in NAMES.into_iter().chain(["Privacy", "Reason"]) {
        assert!(headers(&invite, name).is_empty(), "{name}: {invite}");
    }
    assert!(!invite.contains("4930111") && !invite.contains("4930222"), "nor in any other way");
}

/// RFC 3323 section 4.1.1.3: the hop that cannot keep a secret is not told it.
#[test]
fn whoever_wants_to_be_hidden_is_hidden_whatever_the_trust() {
    let named = "\"Alice\" <sip:+4930333@example.com>";
    for wish in ["id", "user", "id;critical", "header;user;session", "ID"] {
        let invite = passed(false, named, &format!("Privacy: {wish}\n{ASSERTED}"));
        let from = header(&invite, "From");
        assert!(from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), "{from}");
        assert!(!invite.contains("4930333") && !invite.contains("Alice"), "{wish}: {invite}");
        assert!(headers(&invite, "P-Asserted-Identity").is_empty());
        assert!(header(&invite, "Privacy").contains("id"), "the next hop keeps it: {invite}");
    }
    // Between trusted hops the network may know, and the last one hides.
    let invite = passed(true, named, &format!("Privacy: id\n{ASSERTED}"));
    assert_eq!(header(&invite, "Privacy"), "id");
    assert_eq!(header(&invite, "P-Asserted-Identity"), header(ASSERTED, "P-Asserted-Identity"));
}

#[test]
fn an_anonymous_caller_stays_anonymous() {
    let from = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    for trusted in [false, true] {
        let invite = passed(trusted, from, "");
        assert!(header(&invite, "From").starts_with(from), "{invite}");
    }
}

/// The name is a value: unquoted once, quoted once.
#[test]
fn a_display_name_arrives_as_the_same_name() {
    let names = [
        ("Alice", "\"Alice\""),
        ("\"Alice\"", "\"Alice\""),
        ("\"Alice \\\"Al\\\" B\"", "\"Alice \\\"Al\\\" B\""),
        ("\"back\\\\slash\"", "\"back\\\\slash\""),
        ("\"M\u{fc}ller, J\u{f6}rg \u{1f4de}\"", "\"M\u{fc}ller, J\u{f6}rg \u{1f4de}\""),
        ("Alice B Cooper", "\"Alice B Cooper\""),
        ("\"a <sip:b@c>\"", "\"a <sip:b@c>\""),
    ];
    for (written, expected) in names {
        for trusted in [false, true] {
            let invite = passed(trusted, &format!("{written} <sip:a@example.com>"), "");
            let from = header(&invite, "From");
            let name = from.split(" <sip:a@").next().unwrap();
            let bare = expected.trim_matches('"');
            assert!(name == expected || name == bare && !name.contains('"'), "{written}: {from}");
        }
    }
    let invite = passed(false, "<sip:a@example.com>", "");
    assert!(header(&invite, "From").starts_with("<sip:a@example.com>"), "no name is no name");
}

/// A number is a number, however it is written.
#[test]
fn a_route_matches_the_number_and_not_its_notation() {
    for uri in [
        "sip:+4930123@10.0.0.1",
        "sip:%2b4930123@10.0.0.1",
        "sip:%2B49%330123@10.0.0.1;user=phone",
        "tel:+49-30-123",
        "tel:+49.30.123;ext=5",
    ] {
        let mut world = routed(&one_shard(2), Manner::silent(), vec![Manner::silent()]);
        let (strip, prepend) = (3, "0049".to_owned());
        let prefix = "+4930".to_owned();
        let route = StaticRoute { prefix, strip, prepend, ..route_to(&world, &[1]) };
        publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
        let log = Log::new(&mut world, &[A, B]);
        let offer = described("10.1.0.1", 4_000, 1, "0");
        let text = Hand::caller("number").request("INVITE", 1, "", &offer);
        by_hand::send(
            &mut world,
            A,
            &text.replace("INVITE sip:g1@10.0.0.1", &format!("INVITE {uri}")),
        );
        let invites = log.all(B, "INVITE", "");
        let invite = invites.last().unwrap_or_else(|| panic!("{uri}: {:?}", log.lines()));
        assert!(invite.starts_with("INVITE sip:004930123"), "{uri}: {invite}");
    }
}

/// An application that answers and then dials shows by default whom the call came from: not where
/// that one wants to be hidden. A number of the application's own is shown.
#[test]
fn whoever_wants_to_be_hidden_is_hidden_by_an_application_too() {
    for (from, hidden) in [("sip:+4930333@example.com", true), ("sip:own@example.com", false)] {
        let mut world = World::new(&one_shard(3));
        world.agent(Manner::silent());
        let callee = world.agent(Manner::silent());
        let target = world.address(callee);
        let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
            let wire::Event::Incoming(incoming) = told.event() else { return };
            let call = incoming.call;
            let wish = originate(CallId(7), target, incoming.uri);
            let (peer, parent, from_name) = (incoming.leg, call, incoming.from_name);
            let wish = Originate { peer, parent, from, from_name, ..wish };
            for command in [
                Command::Accept { call, account: 9, setup_ms: 60_000 },
                Command::Answer { call, limit_ms: 0 },
                Command::Originate(wish),
            ] {
                commands.push((told.shard, encode(&command)));
            }
        });
        world.control = Some(Box::new(manual));
        let log = Log::new(&mut world, &[A, B]);
        let mut a = Hand::caller("who");
        a.from = "\"Alice\" <sip:%2B4930333@example.com>;tag=a".to_owned();
        let offer = described("10.1.0.1", 4_000, 1, "0");
        by_hand::send(&mut world, A, &a.request("INVITE", 1, "Privacy: id\n", &offer));
        world.run_for(SECOND);
        let invite = log.last(B, "INVITE", "");
        assert_eq!(header(&invite, "From").contains("anonymous.invalid"), hidden, "{invite}");
        assert!(!invite.contains("Alice") && !invite.contains("4930333"), "{invite}");
        assert_eq!(header(&invite, "Privacy"), "id");
    }
}
