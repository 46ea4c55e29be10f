//! Users of a domain are called where their phones have registered: by the way on which they came,
//! contacts of one q at once and the next q behind them, the first answer wins.

use sip::Method;
use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

const DESK: &str = "10.2.0.20:7777";
const SOFT: &str = "10.2.0.21:40001";

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

/// Whoever calls is connected with bob.
fn world(shards: u8) -> (World, Log) {
    directed(shards, |directed| {
        let document = "<Response><Dial answerOnBridge=\"true\" timeout=\"20\">\
                        <Sip>sip:bob@t0.example</Sip></Dial></Response>";
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
    })
}

fn login() -> Login<'static> {
    Login { user: "bob", ..Login::default() }
}

fn by(phone: &'static str, number: u32) -> Phone {
    Phone::new(phone, "bob", number)
}

/// Conversation `number` is begun.
fn call(world: &mut World, number: u32) {
    let rest = body(&sdp("10.1.0.1", 1, "0", ""));
    let text = request("INVITE", "sip:anybody@t0.example", KNOWN, number, &rest);
    let from = format!("From: <sip:c{number}@t0.example>;tag");
    let text = text.replace(&format!("From: <sip:x@{KNOWN}>;tag"), &from);
    send(world, KNOWN, &text);
    world.run_for(ms(400));
}

/// What became of the legs that were dialled: status and code.
fn children(world: &mut World) -> Vec<(&'static str, u16)> {
    let calls = control(world).ledger.calls.values();
    let mut children: Vec<_> = calls
        .filter(|row| row.parent.is_some())
        .map(|row| (row.status.name(), row.sip_code))
        .collect();
    children.sort_unstable();
    children
}

fn answer(world: &mut World, from: &str, request: &str, status: &str) {
    let sdp = if status.starts_with("200") { sdp("10.2.0.20", 1, "0", "") } else { String::new() };
    send(world, from, &reply(request, status, "b", "Contact: <sip:bob@192.168.1.7>\n", &sdp));
    world.run_for(ms(200));
}

#[test]
fn all_phones_of_a_user_ring_and_the_first_answer_wins() {
    let (mut world, log) = world(3);
    // One behind a NAT, one that listens on another port than it sends from.
    let contact = "Contact: <sip:bob@192.168.1.7:5060;line=7>\n";
    by(DESK, 1).register(&mut world, &log, contact, &login());
    let contact = "Contact: <sip:bob@10.2.0.21:5060>\n";
    let mut soft = by(SOFT, 2);
    soft.sent_by = Some("10.2.0.21:5060");
    soft.register(&mut world, &log, contact, &login());
    call(&mut world, 1);
    let desk = last(&log, DESK, "INVITE", "").unwrap();
    assert!(desk.starts_with("INVITE sip:bob@192.168.1.7:5060;line=7 SIP/2.0"), "{desk}");
    assert_eq!(header(&desk, "To"), "<sip:bob@t0.example>");
    assert!(log.borrow().iter().any(|it| it.1.to == DESK.parse().unwrap()));
    let soft = last(&log, "10.2.0.21:5060", "INVITE", "").unwrap();
    assert!(log.borrow().iter().any(|it| it.1.to == "10.2.0.21:5060".parse().unwrap()));
    answer(&mut world, "10.2.0.21:5060", &soft, "180 Ringing");
    assert!(!all(&log, KNOWN, "SIP/2.0 180", "").is_empty());
    answer(&mut world, DESK, &desk, "200 OK");
    assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    let ack = last(&log, DESK, "ACK", "").unwrap();
    assert!(ack.starts_with("ACK sip:bob@192.168.1.7"), "{ack}");
    let cancel = last(&log, "10.2.0.21:5060", "CANCEL", "").unwrap();
    assert!(cancel.starts_with("CANCEL sip:bob@10.2.0.21:5060 "), "{cancel}");
    answer(&mut world, "10.2.0.21:5060", &soft, "487 Request Terminated");
    world.run_for(SECOND);
    let found = children(&mut world);
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|(status, _)| *status == "in-progress"), "{found:?}");
    assert!(found.iter().any(|(status, _)| *status == "canceled"), "{found:?}");
}

#[test]
fn who_refuses_everywhere_has_refused_and_who_is_nowhere_is_away() {
    let (mut world, log) = world(1);
    call(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(children(&mut world), [("no-answer", 480)]);
    let refused = last(&log, KNOWN, "SIP/2.0 480", "");
    assert!(refused.is_some(), "{:?}", last(&log, KNOWN, "SIP/2.0", ""));
    assert!(control(&mut world).ledger.alerts >= 1);
    by(DESK, 1).register(&mut world, &log, "Contact: <sip:bob@192.168.1.7>\n", &login());
    by(SOFT, 2).register(&mut world, &log, "Contact: <sip:bob@192.168.1.8>\n", &login());
    call(&mut world, 2);
    for (at, status) in [(SOFT, "486 Busy Here"), (DESK, "480 Gone")] {
        let invite = last(&log, at, "INVITE", "").unwrap();
        answer(&mut world, at, &invite, status);
    }
    world.run_for(SECOND);
    assert_eq!(children(&mut world), [("busy", 486), ("no-answer", 480), ("no-answer", 480)]);
    assert!(last(&log, KNOWN, "SIP/2.0 486", "").is_some());
}

/// RFC 3327 section 5.4: by the proxies that the REGISTER came by, in their order.
#[test]
fn the_path_leads_back() {
    let (mut world, log) = world(1);
    let lines = "Supported: path\nPath: <sip:10.2.0.20:7777;lr>, <sip:inner.test;lr>\n\
                 Contact: <sip:bob@192.168.1.7>\n";
    by(DESK, 1).register(&mut world, &log, lines, &login());
    call(&mut world, 1);
    let invite = last(&log, DESK, "INVITE", "").unwrap();
    assert!(invite.starts_with("INVITE sip:bob@192.168.1.7 "), "{invite}");
    assert_eq!(header(&invite, "Route"), "<sip:10.2.0.20:7777;lr>, <sip:inner.test;lr>");
    // A CANCEL goes the same way.
    answer(&mut world, DESK, &invite, "180 Ringing");
    world.run_for(21 * SECOND);
    let cancel = last(&log, DESK, "CANCEL", "").unwrap();
    assert_eq!(header(&cancel, "Route"), header(&invite, "Route"));
}

/// Over a stream a phone is reached by the connection on which it registered, on whatever shard
/// that is; it may be silent, and while it has none it is away.
#[test]
fn a_phone_behind_a_stream_is_reached_by_its_connection() {
    for shards in [1, 3] {
        let (mut world, log) = world(shards);
        let mut phone = by(SOFT, 1);
        let flow = "Supported: outbound, path\nContact: <sip:bob@192.168.1.7:5060;transport=tcp;ob>;\
                    reg-id=1;+sip.instance=\"<urn:uuid:1>\"\n";
        world.by_tcp(SOFT.parse().unwrap());
        let done = phone.register(&mut world, &log, flow, &login());
        assert!(done.starts_with("SIP/2.0 200") && done.contains("Require: outbound"), "{done}");
        assert_eq!(header(&done, "Flow-Timer"), "120");
        // Far longer than a stranger may be silent; it pings as it was told.
        for _ in 0..6 {
            world.run_for(100 * SECOND);
            send(&mut world, SOFT, "\n\n");
        }
        call(&mut world, 1);
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        assert!(invite.contains("Via: SIP/2.0/TCP "), "{invite}");
        answer(&mut world, SOFT, &invite, "486 Busy Here");
        world.run_for(SECOND);
        world.plane.cut(SOFT.parse().unwrap());
        world.run_for(SECOND);
        call(&mut world, 2);
        world.run_for(SECOND);
        assert_eq!(children(&mut world).len(), 2);
        assert!(children(&mut world).iter().any(|(_, code)| *code == 480), "{shards}");
        assert_eq!(all(&log, SOFT, "INVITE", "").len(), 1, "nobody is connected to");
        // It is back, by another connection, under its instance.
        let done = phone.register(&mut world, &log, flow, &login());
        assert_eq!(done.matches("Contact: ").count(), 1, "{done}");
        call(&mut world, 3);
        assert_eq!(all(&log, SOFT, "INVITE", "").len(), 2);
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        answer(&mut world, SOFT, &invite, "603 Decline");
        // The dataplane dies: connections with it, and the phone comes back after.
        world.restart_plane(SECOND);
        call(&mut world, 4);
        world.run_for(SECOND);
        assert_eq!(all(&log, SOFT, "INVITE", "").len(), 2);
        phone.register(&mut world, &log, flow, &login());
        call(&mut world, 5);
        assert_eq!(all(&log, SOFT, "INVITE", "").len(), 3);
    }
}

/// Two registered phones: one calls the other by its own credentials, from where no list has it.
#[test]
fn a_registered_phone_calls_another() {
    let (mut world, log) = world(1);
    by(DESK, 1).register(&mut world, &log, "Contact: <sip:bob@192.168.1.7>\n", &login());
    let mut alice = Phone::new(SOFT, "alice", 2);
    let done =
        alice.register(&mut world, &log, "Contact: <sip:alice@192.168.1.8>\n", &Login::default());
    assert!(done.starts_with("SIP/2.0 200"), "{done}");
    let rest = body(&sdp("10.2.0.21", 1, "0", ""));
    let text = |more: &str, number| {
        let text = request("INVITE", "sip:bob@t0.example", SOFT, number, &format!("{more}{rest}"));
        text.replace(&format!("From: <sip:x@{SOFT}>;tag"), "From: <sip:c7@t0.example>;tag")
    };
    send(&mut world, SOFT, &text("", 7));
    world.run_for(ms(100));
    let challenge = last(&log, SOFT, "SIP/2.0 407", "").unwrap();
    let more = Login::default().answer(&challenge, Method::Invite, "sip:bob@t0.example");
    send(&mut world, SOFT, &text(&more, 8));
    world.run_for(ms(400));
    let invite = last(&log, DESK, "INVITE sip:bob@192.168.1.7", "").unwrap();
    assert!(!invite.contains("Authorization"), "{invite}");
    answer(&mut world, DESK, &invite, "200 OK");
    assert!(last(&log, SOFT, "SIP/2.0 200", "m=audio").is_some());
}

/// RFC 3261 section 16.6: the contacts of the highest q first; the next ones when those have
/// refused or have rung for their share of the time, also under another director; nobody behind a
/// 603.
#[test]
fn contacts_ring_in_the_order_of_their_q() {
    let (mut world, log) = world(3);
    let best = "Contact: <sip:bob@192.168.1.7>\n";
    by(DESK, 1).register(&mut world, &log, best, &login());
    let last_one = "Contact: <sip:bob@192.168.1.8>;q=0.3\n";
    by(SOFT, 2).register(&mut world, &log, last_one, &login());
    let rung = |at: &str| {
        let calls = all(&log, at, "INVITE", "").into_iter().map(|it| header(&it, "Call-ID"));
        calls.collect::<std::collections::BTreeSet<_>>().len()
    };
    // Refused at the first, taken at the second.
    call(&mut world, 1);
    assert_eq!((rung(DESK), rung(SOFT)), (1, 0));
    let desk = last(&log, DESK, "INVITE", "").unwrap();
    answer(&mut world, DESK, &desk, "486 Busy Here");
    assert_eq!((rung(DESK), rung(SOFT)), (1, 1));
    let soft = last(&log, SOFT, "INVITE", "").unwrap();
    answer(&mut world, SOFT, &soft, "200 OK");
    assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    // The first rings for half of the time, while the director dies.
    call(&mut world, 2);
    let desk = last(&log, DESK, "INVITE", "").unwrap();
    answer(&mut world, DESK, &desk, "180 Ringing");
    let (now, mut taken) = (world.now, world.control.take().unwrap());
    let dead = taken.any().downcast_mut::<Directed>().unwrap();
    dead.kill();
    dead.boot(now, &world.plane);
    world.control = Some(taken);
    world.run_for(9 * SECOND);
    assert_eq!((rung(DESK), rung(SOFT)), (2, 1));
    world.run_for(2 * SECOND);
    assert!(last(&log, DESK, "CANCEL", "").is_some());
    assert_eq!(rung(SOFT), 2);
    let soft = last(&log, SOFT, "INVITE", "").unwrap();
    answer(&mut world, SOFT, &soft, "486 Busy Here");
    answer(&mut world, DESK, &desk, "487 Request Terminated");
    world.run_for(SECOND);
    assert!(last(&log, KNOWN, "SIP/2.0 486", "").is_some(), "both were asked");
    // Who declines for all phones declines.
    call(&mut world, 3);
    let desk = last(&log, DESK, "INVITE", "").unwrap();
    answer(&mut world, DESK, &desk, "603 Decline");
    world.run_for(SECOND);
    assert_eq!((rung(DESK), rung(SOFT)), (3, 2));
}

/// However many nouns name users, and however many phones those have: a dial rings so many at once.
#[test]
fn a_dial_rings_no_more_phones_than_it_may() {
    let (mut world, log) = directed(1, |directed| {
        let sip = "<Sip>sip:bob@t0.example</Sip>".repeat(4);
        let document = format!("<Response><Dial answerOnBridge=\"true\">{sip}</Dial></Response>");
        for text in directed.web.tenants[0].documents.values_mut() {
            text.clone_from(&document);
        }
        directed.settings.limits.dial_targets = 6;
    });
    for number in 1..=5 {
        let lines = format!("Contact: <sip:bob@192.168.1.{number}>\n");
        by(DESK, number).register(&mut world, &log, &lines, &login());
    }
    call(&mut world, 1);
    assert_eq!(all(&log, DESK, "INVITE", "").len(), 6);
}

/// The caller's next request in the dialog that this answer made.
fn in_dialog(world: &mut World, answered: &str, method: &str, cseq: u32) {
    let to = "sip:anybody@t0.example";
    let text = request(method, to, KNOWN, 1, "Content-Length: 0\n\n")
        .replace(&format!("From: <sip:x@{KNOWN}>;tag"), "From: <sip:c1@t0.example>;tag")
        .replace(&format!("To: <{to}>"), &format!("To: {}", header(answered, "To")))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
        .replace("branch=z9hG4bK1", &format!("branch=z9hG4bK1{method}"));
    send(world, KNOWN, &text);
    world.run_for(ms(400));
}

/// RFC 5626 section 5.3, inside its dialog too: its Contact names another host of its network, at
/// which it is not.
#[test]
fn a_phone_is_spoken_to_by_the_way_it_registered() {
    for by_tcp in [false, true] {
        let (mut world, log) = world(3);
        if by_tcp {
            world.by_tcp(SOFT.parse().unwrap());
        }
        let contact = "Contact: <sip:bob@10.2.0.99:5060>\n";
        by(SOFT, 1).register(&mut world, &log, contact, &login());
        call(&mut world, 1);
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        let answer = reply(&invite, "200 OK", "b", contact, &sdp("10.2.0.21", 1, "0", ""));
        send(&mut world, SOFT, &answer);
        world.run_for(ms(400));
        assert_eq!(all(&log, SOFT, "ACK sip:bob@10.2.0.99:5060 ", "").len(), 1, "{by_tcp}");
        let answered = last(&log, KNOWN, "SIP/2.0 200", "m=audio").unwrap();
        in_dialog(&mut world, &answered, "ACK", 1);
        in_dialog(&mut world, &answered, "BYE", 2);
        assert_eq!(all(&log, SOFT, "BYE", "").len(), 1, "{by_tcp}");
    }
}

/// A phone that rings by a connection which closes can say nothing any more.
#[test]
fn a_phone_whose_connection_is_lost_rings_no_more() {
    for shards in [1, 3] {
        let (mut world, log) = world(shards);
        world.by_tcp(SOFT.parse().unwrap());
        let contact = "Contact: <sip:bob@192.168.1.7;transport=tcp>\n";
        by(SOFT, 1).register(&mut world, &log, contact, &login());
        call(&mut world, 1);
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        answer(&mut world, SOFT, &invite, "180 Ringing");
        world.plane.cut(SOFT.parse().unwrap());
        world.run_for(SECOND);
        assert_eq!(children(&mut world), [("failed", 480)], "{shards}");
        assert!(last(&log, KNOWN, "SIP/2.0 480", "").is_some());
    }
}

/// RFC 5626 section 5.4: who was told to say something by his flow and does not has none. Nobody is
/// told who did not ask, and browsers are not.
#[test]
fn a_flow_that_falls_silent_is_closed() {
    for (shards, outbound, silent_s, is_kept) in
        [(1, true, 140, true), (3, true, 160, false), (1, false, 160, true)]
    {
        let (mut world, log) = world(shards);
        world.by_tcp(SOFT.parse().unwrap());
        let supported = if outbound { "Supported: outbound, path\n" } else { "" };
        let contact = "Contact: <sip:bob@192.168.1.7:5060;transport=tcp>;reg-id=1;\
                       +sip.instance=\"<urn:uuid:1>\"\n";
        let lines = format!("{supported}{contact}");
        let done = by(SOFT, 1).register(&mut world, &log, &lines, &login());
        assert_eq!(done.contains("Flow-Timer"), outbound, "{done}");
        world.run_for(100 * SECOND);
        send(&mut world, SOFT, "\n\n");
        world.run_for(silent_s * SECOND);
        call(&mut world, 1);
        world.run_for(SECOND);
        assert_eq!(
            all(&log, SOFT, "INVITE", "").len(),
            usize::from(is_kept),
            "{shards} {silent_s}"
        );
    }
}

/// RFC 5627: the URI of one phone reaches that phone, whatever others its user has.
#[test]
fn a_gruu_reaches_its_phone_alone() {
    let document = "<Response><Dial><Sip>sip:bob@t0.example;gr=urn:uuid:2</Sip></Dial></Response>";
    let (mut world, log) = directed(1, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
    });
    let lines = |supported: &str, host: &str, urn: &str| {
        format!("{supported}Contact: <sip:bob@{host}>;+sip.instance=\"<urn:uuid:{urn}>\"\n")
    };
    let asks = "Supported: gruu\n";
    let done = by(DESK, 1).register(&mut world, &log, &lines(asks, "192.168.1.7", "1"), &login());
    assert!(done.contains("pub-gruu=\"sip:bob@t0.example;gr=urn:uuid:1\""), "{done}");
    let done = by(SOFT, 2).register(&mut world, &log, &lines("", "192.168.1.8", "2"), &login());
    assert!(!done.contains("gruu"), "nobody asked: {done}");
    call(&mut world, 1);
    let invite = last(&log, SOFT, "INVITE", "").unwrap();
    assert!(invite.starts_with("INVITE sip:bob@192.168.1.8 "), "{invite}");
    assert!(all(&log, DESK, "INVITE", "").is_empty());
    answer(&mut world, SOFT, &invite, "486 Busy Here");
    world.run_for(SECOND);
    assert_eq!(children(&mut world), [("busy", 486)]);
}
