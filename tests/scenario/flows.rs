//! A phone with several flows (RFC 5626), and where a phone without any is called (RFC 3581).

use sip::Method;
use world::World;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Far, Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

/// The two flows of one phone.
const ONE: &str = "10.2.0.21:40001";
const TWO: &str = "10.2.0.22:40002";

fn world(shards: u8, called: &str) -> (World, Log) {
    let document = format!(
        "<Response><Dial answerOnBridge=\"true\" timeout=\"20\"><Sip>{called}</Sip></Dial></Response>"
    );
    directed(shards, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
    })
}

fn login() -> Login<'static> {
    Login { user: "bob", ..Login::default() }
}

fn call(world: &mut World, number: u32) {
    let rest = body(&sdp("10.1.0.1", 1, "0", ""));
    let text = request("INVITE", "sip:anybody@t0.example", KNOWN, number, &rest);
    let from = format!("From: <sip:c{number}@t0.example>;tag");
    let text = text.replace(&format!("From: <sip:x@{KNOWN}>;tag"), &from);
    send(world, KNOWN, &text);
    world.run_for(ms(400));
}

fn answer(world: &mut World, from: &str, request: &str, status: &str) {
    let sdp = if status.starts_with("200") { sdp("10.2.0.21", 1, "0", "") } else { String::new() };
    send(world, from, &reply(request, status, "b", "Contact: <sip:bob@192.168.1.7>\n", &sdp));
    world.run_for(ms(200));
}

/// Registers a flow, by a connection of its own.
fn flow(world: &mut World, log: &Log, (at, number, id): (&'static str, u32, u32), expires: u32) {
    world.by_tcp(at.parse().unwrap());
    let lines = format!(
        "Supported: outbound, path, gruu\nContact: <sip:bob@192.168.1.7:5060;transport=tcp;ob>;\
         reg-id={id};expires={expires};+sip.instance=\"<urn:uuid:7>\"\n"
    );
    let mut phone = Phone::new(at, "bob", number);
    phone.cseq = 10 * number;
    let done = phone.register(world, log, &lines, &login());
    assert!(done.starts_with("SIP/2.0 200"), "{done}");
}

fn invites(log: &Log) -> (usize, usize) {
    (all(log, ONE, "INVITE", "").len(), all(log, TWO, "INVITE", "").len())
}

#[test]
fn a_phone_rings_by_the_flow_that_came_last_and_then_by_the_one_before() {
    for (shards, called) in [(1, "sip:bob@t0.example;gr=urn:uuid:7"), (3, "sip:bob@t0.example")] {
        let (mut world, log) = world(shards, called);
        flow(&mut world, &log, (ONE, 1, 1), 7_200);
        world.run_for(SECOND);
        // It came last, and was granted less.
        flow(&mut world, &log, (TWO, 2, 2), 600);
        call(&mut world, 1);
        assert_eq!(invites(&log), (0, 1), "one of them alone: {called}");
        let second = last(&log, TWO, "INVITE", "").unwrap();
        answer(&mut world, TWO, &second, "430 Flow Failed");
        assert_eq!(invites(&log), (1, 1));
        let first = last(&log, ONE, "INVITE", "").unwrap();
        answer(&mut world, ONE, &first, "200 OK");
        assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
        // Its connection is gone.
        world.plane.cut(TWO.parse().unwrap());
        world.run_for(SECOND);
        call(&mut world, 2);
        assert_eq!(invites(&log), (2, 1), "{called}");
        // What the phone itself says is its word.
        let first = last(&log, ONE, "INVITE", "").unwrap();
        answer(&mut world, ONE, &first, "486 Busy Here");
        world.run_for(SECOND);
        assert_eq!(invites(&log), (2, 1));
        assert!(last(&log, KNOWN, "SIP/2.0 486", "").is_some());
        // It registers by the first flow again: that one is asked first.
        flow(&mut world, &log, (TWO, 3, 2), 600);
        world.run_for(SECOND);
        flow(&mut world, &log, (ONE, 4, 1), 600);
        call(&mut world, 3);
        assert_eq!(invites(&log), (3, 1), "{called}");
        let first = last(&log, ONE, "INVITE", "").unwrap();
        answer(&mut world, ONE, &first, "603 Decline");
        world.run_for(SECOND);
        assert_eq!(invites(&log), (3, 1));
    }
}

/// Who is transferred to a phone with two flows reaches it by the older one where the newer one has
/// failed; and the referrer hears what came of it, also where none is left.
#[test]
fn a_referral_goes_from_flow_to_flow() {
    const REFER_TO: &str = "Refer-To: <sip:bob@t0.example?Replaces=a%40b%3Bto-tag%3Dc%3Bfrom-tag\
                            %3Dd>\nReferred-By: <sip:carol@t0.example>\n";
    const CAROL: &str = "<sip:carol@t0.example>";
    const DESK: &str = "10.2.0.20:7777";
    let refused = "430 Flow Failed";
    for (shards, is_cut, said) in [
        (1, false, "200 OK"),
        (3, false, "200 OK"),
        (1, true, "200 OK"),
        (3, true, "200 OK"),
        (1, false, refused),
        (3, true, refused),
        (1, false, "486 Busy Here"),
    ] {
        let (mut world, log) = world(shards, "sip:carol@t0.example");
        let carol = Login { user: "carol", ..Login::default() };
        let contact = "Contact: <sip:carol@192.168.1.1>\n";
        Phone::new(DESK, "carol", 9).register(&mut world, &log, contact, &carol);
        flow(&mut world, &log, (ONE, 1, 1), 600);
        world.run_for(SECOND);
        flow(&mut world, &log, (TWO, 2, 2), 600);
        call(&mut world, 1);
        let asked = last(&log, DESK, "INVITE", "").unwrap();
        answer(&mut world, DESK, &asked, "200 OK");
        let (to, from) = (format!("{};tag=b", header(&asked, "To")), header(&asked, "From"));
        let id = header(&asked, "Call-ID");
        let mut carol = Far { at: DESK, call: id, from: to, to: from, cseq: 10 };
        let answered = last(&log, KNOWN, "SIP/2.0 200", "m=audio").unwrap();
        let ack = request("ACK", "sip:anybody@t0.example", KNOWN, 1, "Content-Length: 0\n\n")
            .replace(&format!("From: <sip:x@{KNOWN}>;tag"), "From: <sip:c1@t0.example>;tag")
            .replace("To: <sip:anybody@t0.example>", &format!("To: {}", header(&answered, "To")));
        send(&mut world, KNOWN, &ack);
        world.run_for(ms(200));
        if is_cut {
            world.plane.cut(TWO.parse().unwrap());
            world.run_for(ms(200));
        }
        send(&mut world, DESK, &carol.request("REFER", REFER_TO, ""));
        world.run_for(ms(400));
        if !is_cut {
            assert_eq!(invites(&log), (0, 1), "one of them alone");
            let second = last(&log, TWO, "INVITE", "").unwrap();
            answer(&mut world, TWO, &second, refused);
            world.run_for(ms(200));
        }
        assert!(all(&log, DESK, "NOTIFY", "terminated").is_empty(), "it is not over");
        assert_eq!(invites(&log), (1, usize::from(!is_cut)));
        let first = last(&log, ONE, "INVITE", "").unwrap();
        for (name, value) in [("Replaces", "a@b;to-tag=c;from-tag=d"), ("Referred-By", CAROL)] {
            assert_eq!(header(&first, name), value, "as the first flow was asked: {first}");
        }
        answer(&mut world, ONE, &first, said);
        world.run_for(SECOND);
        let over = last(&log, DESK, "NOTIFY", "terminated").unwrap_or_default();
        let heard = if said == refused { "480 Temporarily Unavailable" } else { said };
        assert!(over.contains(&format!("SIP/2.0 {heard}")), "{said}: {over}");
        assert_eq!(invites(&log), (1, usize::from(!is_cut)), "neither is asked again");
        let byes = all(&log, KNOWN, "BYE", "").len();
        assert_eq!(byes, 0, "the caller has somebody: {said}");
    }
}

/// Two flows by one way are one to a dial; and one that has failed brings no phone back that was
/// rung before. ONE has two flows; the user's other phone is TWO, with a q between theirs or below.
#[test]
fn a_dial_goes_from_flow_to_flow_and_never_round() {
    let cases = [("1.0", "0.5", "0.8"), ("0.1", "1.0", "0.5"), ("0.7", "0.7", "0.2")];
    for (older, newer, own) in cases {
        let (mut world, log) = world(1, "sip:bob@t0.example");
        for (number, id, q) in [(1, 1, older), (2, 2, newer)] {
            let mut phone = Phone::new(ONE, "bob", number);
            phone.cseq = 10 * number;
            let lines = format!(
                "Supported: outbound, path\nContact: <sip:bob@192.168.1.7:5060;ob>;reg-id={id};\
                 q={q};+sip.instance=\"<urn:uuid:7>\"\n"
            );
            let done = phone.register(&mut world, &log, &lines, &login());
            assert!(done.starts_with("SIP/2.0 200"), "{done}");
            world.run_for(SECOND);
        }
        let lines = format!("Contact: <sip:bob@192.168.1.8>;q={own}\n");
        Phone::new(TWO, "bob", 3).register(&mut world, &log, &lines, &login());
        call(&mut world, 1);
        for _ in 0..12 {
            for (at, status) in [(ONE, "430 Flow Failed"), (TWO, "486 Busy Here")] {
                if let Some(invite) = last(&log, at, "INVITE", "") {
                    answer(&mut world, at, &invite, status);
                }
            }
        }
        world.run_for(SECOND);
        assert_eq!(invites(&log), (1, 1), "{older} {newer} {own}");
        let said = last(&log, KNOWN, "SIP/2.0 4", "");
        assert!(said.is_some(), "the caller hears of it: {older} {newer} {own}");
    }
}

/// Over UDP: who asks for `rport`, or does not send from the contact that he names, is called where
/// his REGISTER came from; who names his contact in his Via and asks for nothing, there.
#[test]
fn a_phone_is_called_where_its_via_says_it_listens() {
    for (sent_by, contact, called) in [
        (None, "10.2.0.21:5060", ONE),
        (None, "192.168.1.7:5060", ONE),
        (Some("10.2.0.21:5060"), "10.2.0.21:5060", "10.2.0.21:5060"),
        (Some("10.2.0.21"), "10.2.0.21", "10.2.0.21:5060"),
        (Some("10.2.0.21:5070"), "10.2.0.21:5060", ONE),
        (Some("10.2.0.21:5060"), "192.168.1.7:5060", ONE),
    ] {
        let (mut world, log) = world(1, "sip:bob@t0.example");
        let mut phone = Phone::new(ONE, "bob", 1);
        phone.sent_by = sent_by;
        let lines = format!("Contact: <sip:bob@{contact}>\n");
        let done = match sent_by {
            Some("10.2.0.21") => register_at_5060(&mut world, &log, &mut phone, &lines),
            _ => phone.register(&mut world, &log, &lines, &login()),
        };
        assert!(done.starts_with("SIP/2.0 200"), "{done}");
        call(&mut world, 1);
        let invite = last(&log, called, "INVITE", "").unwrap();
        let is_invite = |sent: &world::Datagram| sent.bytes.starts_with(b"INVITE");
        let log_of = log.borrow();
        let asked = log_of.iter().filter(|(_, sent)| is_invite(sent));
        let asked: Vec<_> = asked.map(|(_, sent)| sent.to.to_string()).collect();
        assert_eq!(asked, [called], "{sent_by:?} {contact}");
        drop(log_of);
        assert!(invite.starts_with(&format!("INVITE sip:bob@{contact} ")), "{invite}");
        answer(&mut world, called, &invite, "486 Busy Here");
    }
}

/// As [`Phone::register`], of one whose Via names no port.
fn register_at_5060(world: &mut World, log: &Log, phone: &mut Phone, lines: &str) -> String {
    let heard = "10.2.0.21:5060";
    let text = phone.request(lines);
    send(world, ONE, &text);
    world.run_for(ms(40));
    let challenge = last(log, heard, "SIP/2.0 401", "").unwrap();
    let more = login().answer(&challenge, Method::Register, "sip:t0.example");
    let text = phone.request(&format!("{more}{lines}"));
    send(world, ONE, &text);
    world.run_for(ms(80));
    last(log, heard, "SIP/2.0", "").unwrap()
}
