//! A registered phone that sends its caller elsewhere (302) has forwarded its calls: whom it names
//! is called on the account, hears who has forwarded, and circles are cut. And a referral to a user
//! rings all his phones.

use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Far, Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

const DESK: &str = "10.2.0.20:7777";
const SOFT: &str = "10.2.0.21:40001";
const OTHER: &str = "10.2.0.22:40002";

/// Whoever calls is connected with bob; bob has DESK, alice SOFT and OTHER.
fn world(shards: u8, dial: &str) -> (World, Log) {
    world_with(shards, dial, |_| {})
}

fn world_with(shards: u8, dial: &str, change: impl Fn(&mut Directed)) -> (World, Log) {
    let document = format!(
        "<Response><Dial answerOnBridge=\"true\" {dial}>\
        <Sip>sip:bob@t0.example</Sip></Dial></Response>"
    );
    let (mut world, log) = directed(shards, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
        change(directed);
    });
    let bob = Login { user: "bob", ..Login::default() };
    Phone::new(DESK, "bob", 1).register(&mut world, &log, "Contact: <sip:bob@192.168.1.1>\n", &bob);
    for (at, number) in [(SOFT, 2), (OTHER, 3)] {
        let contact = format!("Contact: <sip:alice@192.168.1.{number}>\n");
        Phone::new(at, "alice", number).register(&mut world, &log, &contact, &Login::default());
    }
    (world, log)
}

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

fn children(world: &mut World) -> Vec<(String, &'static str, u16)> {
    let calls = control(world).ledger.calls.values();
    let mut children: Vec<_> = calls
        .filter(|row| row.parent.is_some())
        .map(|row| (row.to.clone(), row.status.name(), row.sip_code))
        .collect();
    children.sort_unstable();
    children
}

fn call(world: &mut World, number: u32) {
    let rest = body(&sdp("10.1.0.1", 1, "0", ""));
    let text = request("INVITE", "sip:anybody@t0.example", KNOWN, number, &rest);
    let from = format!("From: <sip:c{number}@t0.example>;tag");
    send(world, KNOWN, &text.replace(&format!("From: <sip:x@{KNOWN}>;tag"), &from));
    world.run_for(ms(400));
}

fn says(world: &mut World, from: &str, request: &str, status: &str, contact: &str) {
    let sdp = if status.starts_with("200") { sdp("10.2.0.22", 1, "0", "") } else { String::new() };
    let contact = format!("Contact: {contact}\n");
    send(world, from, &reply(request, status, "b", &contact, &sdp));
    world.run_for(ms(200));
}

fn invite(log: &Log, at: &str) -> String {
    last(log, at, "INVITE", "").unwrap_or_default()
}

#[test]
fn whom_a_phone_forwards_its_calls_to_is_called_instead() {
    for shards in [1, 3] {
        let (mut world, log) = world(shards, "");
        call(&mut world, 1);
        let to = "<sip:carol@t0.example>;q=0.3, <sip:alice@t0.example>;q=0.9";
        says(&mut world, DESK, &invite(&log, DESK), "302 Moved Temporarily", to);
        let forwarded = invite(&log, SOFT);
        assert!(forwarded.starts_with("INVITE sip:alice@192.168.1.2 "), "{forwarded}");
        assert!(invite(&log, OTHER).starts_with("INVITE "), "every phone of hers");
        let diverted = "<sip:bob@t0.example>;reason=unconditional;counter=1";
        assert_eq!(header(&forwarded, "Diversion"), diverted, "{forwarded}");
        assert!(forwarded.contains("History-Info: <sip:alice@t0.example>;index=1.1;mp=1\r\n"));
        assert!(all(&log, KNOWN, "SIP/2.0 4", "").is_empty(), "the caller waits");
        says(&mut world, OTHER, &invite(&log, OTHER), "180 Ringing", "<sip:a@192.168.1.3>");
        says(&mut world, SOFT, &forwarded, "200 OK", "<sip:a@192.168.1.2>");
        assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
        assert!(last(&log, OTHER, "CANCEL", "completed elsewhere").is_some());
        says(&mut world, OTHER, &invite(&log, OTHER), "487 Request Terminated", "<sip:a@h>");
        world.run_for(SECOND);
        let found = children(&mut world);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|(_, status, _)| *status == "in-progress"), "{found:?}");
        assert!(found.contains(&("sip:bob@t0.example".to_owned(), "failed", 302)), "{found:?}");
        assert_eq!(control(&mut world).ledger.alerts, 0);
    }
}

/// bob forwards to alice, and alice to bob: nobody is called twice, and the caller hears so.
#[test]
fn calls_that_are_forwarded_in_a_circle_end() {
    let (mut world, log) = world(1, "");
    call(&mut world, 1);
    says(&mut world, DESK, &invite(&log, DESK), "302 Moved", "<sip:alice@t0.example>");
    for at in [SOFT, OTHER] {
        says(&mut world, at, &invite(&log, at), "302 Moved", "<sip:bob@T0.EXAMPLE;line=2>");
    }
    world.run_for(SECOND);
    assert_eq!(all(&log, DESK, "INVITE", "").len(), 1);
    assert!(last(&log, KNOWN, "SIP/2.0 480", "").is_some());
    let alerts = control(&mut world).ledger.alerts;
    assert!(alerts >= 1, "the account hears why");
    // To itself.
    call(&mut world, 2);
    says(&mut world, DESK, &invite(&log, DESK), "301 Moved", "<sip:bob@t0.example>");
    assert_eq!(all(&log, DESK, "INVITE", "").len(), 2);
    // To nobody.
    call(&mut world, 3);
    says(&mut world, DESK, &invite(&log, DESK), "302 Moved", "<sip:bob@10.0.0.1>");
    call(&mut world, 4);
    says(&mut world, DESK, &invite(&log, DESK), "302 Moved", "<sip:carol@t0.example>");
    world.run_for(SECOND);
    for number in [2, 3, 4] {
        let id = format!("Call-ID: s{number}@");
        let said = last(&log, KNOWN, "SIP/2.0", &id).unwrap_or_default();
        assert!(said.starts_with("SIP/2.0 480"), "{number}: {said}");
    }
}

/// bob's phone has answered the first call: its side of the dialog.
fn talking(world: &mut World, log: &Log) -> Far {
    call(world, 1);
    let asked = invite(log, DESK);
    says(world, DESK, &asked, "200 OK", "<sip:bob@192.168.1.1>");
    let (to, from) = (format!("{};tag=b", header(&asked, "To")), header(&asked, "From"));
    let call_id = header(&asked, "Call-ID");
    let answered = last(log, KNOWN, "SIP/2.0 200", "m=audio").unwrap();
    let ack = request("ACK", "sip:anybody@t0.example", KNOWN, 1, "Content-Length: 0\n\n")
        .replace(&format!("From: <sip:x@{KNOWN}>;tag"), "From: <sip:c1@t0.example>;tag")
        .replace("To: <sip:anybody@t0.example>", &format!("To: {}", header(&answered, "To")));
    send(world, KNOWN, &ack);
    world.run_for(ms(200));
    Far { at: DESK, call: call_id, from: to, to: from, cseq: 10 }
}

/// A REFER to a user with two phones rings both; the first that answers has the call.
#[test]
fn a_referral_to_a_user_rings_all_his_phones() {
    for (shards, first, refusal) in
        [(1, SOFT, ""), (3, OTHER, ""), (1, SOFT, "486 Busy Here"), (3, SOFT, "486 Busy Here")]
    {
        let (mut world, log) = world(shards, "");
        let mut bob = talking(&mut world, &log);
        send(&mut world, DESK, &bob.request("REFER", "Refer-To: <sip:alice@t0.example>\n", ""));
        world.run_for(ms(400));
        assert!(last(&log, DESK, "SIP/2.0 202", "REFER").is_some());
        let second = if first == SOFT { OTHER } else { SOFT };
        let (taken, other) = (invite(&log, first), invite(&log, second));
        assert!(!taken.is_empty() && !other.is_empty(), "{first} {second}: both ring");
        says(&mut world, second, &other, "180 Ringing", "<sip:a@192.168.1.3>");
        if !refusal.is_empty() {
            says(&mut world, second, &other, refusal, "<sip:a@192.168.1.3>");
            let over = all(&log, DESK, "NOTIFY", "terminated");
            assert!(over.is_empty(), "the other one rings: {over:?}");
        }
        says(&mut world, first, &taken, "200 OK", "<sip:a@192.168.1.2>");
        if refusal.is_empty() {
            let cancel = last(&log, second, "CANCEL", "").unwrap_or_default();
            assert!(header(&cancel, "Reason").contains("completed elsewhere"), "{cancel}");
            says(&mut world, second, &other, "487 Request Terminated", "<sip:a@h>");
        }
        world.run_for(ms(400));
        let over = last(&log, DESK, "NOTIFY", "terminated").unwrap_or_default();
        assert!(over.contains("SIP/2.0 200"), "{over}");
    }
}

/// The account has room for none of them, or for one: who refers hears what came of it.
#[test]
fn a_referral_that_there_is_no_room_for_is_told() {
    for (shards, calls) in [(1, 2), (3, 2), (3, 3)] {
        let limit = |directed: &mut Directed| directed.settings.limits.account_calls = calls;
        let (mut world, log) = world_with(shards, "", limit);
        let mut bob = talking(&mut world, &log);
        let refer = bob.request("REFER", "Refer-To: <sip:alice@t0.example>\n", "");
        send(&mut world, DESK, &refer);
        world.run_for(ms(400));
        let rung = [SOFT, OTHER].map(|at| invite(&log, at));
        let code = match rung.iter().position(|it| !it.is_empty()) {
            None => "503",
            Some(rings) => {
                assert!(rung[1 - rings].is_empty(), "{rung:?}");
                let over = all(&log, DESK, "NOTIFY", "terminated");
                assert!(over.is_empty(), "one rings: {over:?}");
                let at = [SOFT, OTHER][rings];
                says(&mut world, at, &rung[rings], "486 Busy Here", "<sip:a@h>");
                "486"
            }
        };
        assert_eq!(code == "503", calls == 2, "{rung:?}");
        let over = last(&log, DESK, "NOTIFY", "terminated").unwrap_or_default();
        assert!(over.contains(&format!("SIP/2.0 {code}")), "{shards} {calls}: {over}");
        assert!(last(&log, DESK, "BYE", "").is_none(), "the two talk on");
    }
}

/// The call that is referred takes the place of a dialog that the target has elsewhere.
#[test]
fn a_referral_names_the_dialog_that_it_replaces() {
    let (mut world, log) = world(3, "");
    let mut bob = talking(&mut world, &log);
    let name = "consulted%40elsewhere%3Bto-tag%3Da%3Bfrom-tag%3Db";
    let to = format!("Refer-To: <sip:alice@t0.example?Replaces={name}>\n");
    send(&mut world, DESK, &bob.request("REFER", &to, ""));
    world.run_for(ms(400));
    for at in [SOFT, OTHER] {
        let invite = invite(&log, at);
        let replaces = "consulted@elsewhere;to-tag=a;from-tag=b";
        assert_eq!(header(&invite, "Replaces"), replaces, "{invite}");
        assert!(header(&invite, "Referred-By").contains("sip:bob@t0.example"), "{invite}");
    }
}
