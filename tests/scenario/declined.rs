//! Who declines for all his phones (6xx, RFC 3261 section 16.7 step 5) declines for those that ring
//! still; who is another user, or only busy at one phone, does not.

use world::World;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

const DESK: &str = "10.2.0.20:7777";
const SOFT: &str = "10.2.0.21:40001";
const OTHER: &str = "10.2.0.22:40002";

fn world(shards: u8) -> (World, Log) {
    let dial = "<Dial answerOnBridge=\"true\" timeout=\"20\">\
                <Sip>sip:bob@t0.example</Sip><Sip>sip:alice@t0.example</Sip></Dial>";
    world_of(shards, dial)
}

fn world_of(shards: u8, verbs: &str) -> (World, Log) {
    let document = format!("<Response>{verbs}</Response>");
    directed(shards, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
    })
}

fn call(world: &mut World, number: u32) {
    let rest = body(&sdp("10.1.0.1", 1, "0", ""));
    let text = request("INVITE", "sip:anybody@t0.example", KNOWN, number, &rest);
    let from = format!("From: <sip:c{number}@t0.example>;tag");
    send(world, KNOWN, &text.replace(&format!("From: <sip:x@{KNOWN}>;tag"), &from));
    world.run_for(ms(400));
}

fn says(world: &mut World, from: &str, request: &str, status: &str) {
    let sdp = if status.starts_with("200") { sdp("10.2.0.22", 1, "0", "") } else { String::new() };
    send(world, from, &reply(request, status, "b", "Contact: <sip:bob@192.168.1.7>\n", &sdp));
    world.run_for(ms(200));
}

#[test]
fn who_declines_at_one_phone_declines_at_all_of_his() {
    for (shards, refusal, words) in [
        (1, "603 Decline", "603;text=\"Decline\""),
        (3, "600 Busy Everywhere", "600;text=\"Busy Everywhere\""),
        (3, "608 Rejected", "603;text=\"Decline\""),
    ] {
        let (mut world, log) = world(shards);
        let bob = Login { user: "bob", ..Login::default() };
        for (at, number) in [(DESK, 1), (SOFT, 2)] {
            let contact = format!("Contact: <sip:bob@192.168.1.{number}>\n");
            Phone::new(at, "bob", number).register(&mut world, &log, &contact, &bob);
        }
        let contact = "Contact: <sip:alice@192.168.1.9>\n";
        Phone::new(OTHER, "alice", 3).register(&mut world, &log, contact, &Login::default());
        call(&mut world, 1);
        let invites = [DESK, SOFT, OTHER].map(|at| last(&log, at, "INVITE", "").unwrap());
        for (at, invite) in [SOFT, OTHER].into_iter().zip(&invites[1..]) {
            says(&mut world, at, invite, "180 Ringing");
        }
        says(&mut world, DESK, &invites[0], refusal);
        let cancel = last(&log, SOFT, "CANCEL", "").unwrap_or_default();
        let reason = format!("SIP;cause={words}");
        assert_eq!(header(&cancel, "Reason"), reason, "{refusal}: no call was missed");
        says(&mut world, SOFT, &invites[1], "487 Request Terminated");
        assert!(last(&log, OTHER, "CANCEL", "").is_none(), "another user");
        assert!(all(&log, KNOWN, "SIP/2.0 6", "").is_empty());
        says(&mut world, OTHER, &invites[2], "200 OK");
        assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    }
}

/// Of the last user the caller hears what he has said.
#[test]
fn who_declines_everywhere_is_told() {
    let (mut world, log) = world(1);
    let bob = Login { user: "bob", ..Login::default() };
    for (at, number) in [(DESK, 1), (SOFT, 2)] {
        let contact = format!("Contact: <sip:bob@192.168.1.{number}>\n");
        Phone::new(at, "bob", number).register(&mut world, &log, &contact, &bob);
    }
    call(&mut world, 1);
    let invites = [DESK, SOFT].map(|at| last(&log, at, "INVITE", "").unwrap());
    says(&mut world, SOFT, &invites[1], "180 Ringing");
    // Busy at one is not busy at all.
    says(&mut world, DESK, &invites[0], "486 Busy Here");
    assert!(last(&log, SOFT, "CANCEL", "").is_none());
    assert!(last(&log, KNOWN, "SIP/2.0 486", "").is_none());
    says(&mut world, SOFT, &invites[1], "603 Decline");
    world.run_for(SECOND);
    assert!(last(&log, KNOWN, "SIP/2.0 603", "").is_some(), "it is the word for all his phones");
}

/// Before that is known another one of his phones has answered: a 2xx counts for more (RFC 3261
/// section 16.7).
#[test]
fn who_has_answered_meanwhile_is_not_hung_up() {
    for shards in [1, 3] {
        let (mut world, log) = world(shards);
        let bob = Login { user: "bob", ..Login::default() };
        for (at, number) in [(DESK, 1), (SOFT, 2)] {
            let contact = format!("Contact: <sip:bob@192.168.1.{number}>\n");
            Phone::new(at, "bob", number).register(&mut world, &log, &contact, &bob);
        }
        call(&mut world, 1);
        let invites = [DESK, SOFT].map(|at| last(&log, at, "INVITE", "").unwrap());
        says(&mut world, SOFT, &invites[1], "180 Ringing");
        let control = world.control.take();
        says(&mut world, DESK, &invites[0], "603 Decline");
        says(&mut world, SOFT, &invites[1], "200 OK");
        world.control = control;
        let answered = last(&log, KNOWN, "SIP/2.0 200", "m=audio").unwrap();
        let ack = request("ACK", "sip:anybody@t0.example", KNOWN, 1, "Content-Length: 0\n\n")
            .replace(&format!("From: <sip:x@{KNOWN}>;tag"), "From: <sip:c1@t0.example>;tag")
            .replace("To: <sip:anybody@t0.example>", &format!("To: {}", header(&answered, "To")));
        send(&mut world, KNOWN, &ack);
        world.run_for(SECOND * 3);
        assert!(last(&log, SOFT, "BYE", "").is_none(), "{shards}: they talk");
        assert!(last(&log, KNOWN, "BYE", "").is_none(), "{shards}");
    }
}

/// What somebody said whom the application has dialled before is no word of the application's.
#[test]
fn what_an_application_refuses_by_itself_has_nobodys_words() {
    for (verbs, status, has) in
        [("", "603 Network Blocked", true), ("<Reject/>", "603 Decline", false)]
    {
        let dial = "<Dial answerOnBridge=\"true\"><Sip>sip:bob@t0.example</Sip></Dial>";
        let (mut world, log) = world_of(1, &format!("{dial}{verbs}"));
        let bob = Login { user: "bob", ..Login::default() };
        let contact = "Contact: <sip:bob@192.168.1.1>\n";
        Phone::new(DESK, "bob", 1).register(&mut world, &log, contact, &bob);
        call(&mut world, 1);
        let invite = last(&log, DESK, "INVITE", "").unwrap();
        let reason = "Reason: Q.850;cause=21;text=\"v=a1\"\nContact:";
        let refusal = reply(&invite, "603 Network Blocked", "b", "Contact: <sip:b@h>\n", "");
        send(&mut world, DESK, &refusal.replace("Contact:", reason));
        world.run_for(SECOND);
        let said = last(&log, KNOWN, "SIP/2.0 603", "").unwrap_or_default();
        assert!(said.starts_with(&format!("SIP/2.0 {status}\r\n")), "{said}");
        assert_eq!(header(&said, "Reason").contains("cause=21"), has, "{said}");
    }
}
