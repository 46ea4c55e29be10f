//! Places of calls that an application has, and that talk with nobody: whoever takes one, by an
//! INVITE with Replaces (RFC 3891) or by an attended transfer, has the document of that call, from
//! its beginning.

use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Far, Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

const DESK: &str = "10.2.0.20:7777";
const SOFT: &str = "10.2.0.21:40001";
const COMES: &str = "10.1.0.9:5060";

/// Whoever calls hears this document; bob has DESK, alice SOFT.
fn world(shards: u8, document: &str) -> (World, Log) {
    let document = format!("<Response>{document}</Response>");
    let (mut world, log) = directed(shards, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
    });
    let bob = Login { user: "bob", ..Login::default() };
    Phone::new(DESK, "bob", 1).register(&mut world, &log, "Contact: <sip:bob@192.168.1.1>\n", &bob);
    let alice = "Contact: <sip:alice@192.168.1.2>\n";
    Phone::new(SOFT, "alice", 2).register(&mut world, &log, alice, &Login::default());
    (world, log)
}

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

/// Status of each call, sorted.
fn calls(world: &mut World) -> Vec<&'static str> {
    let calls = control(world).ledger.calls.values();
    let mut calls: Vec<_> = calls.map(|row| row.status.name()).collect();
    calls.sort_unstable();
    calls
}

/// `from` calls; `more` are header lines.
fn call(world: &mut World, from: &str, number: u32, more: &str) {
    let rest = format!("{more}{}", body(&sdp("10.1.0.1", 1, "0", "")));
    let text = request("INVITE", "sip:anybody@t0.example", from, number, &rest);
    let party = format!("From: <sip:c{number}@t0.example>;tag");
    send(world, from, &text.replace(&format!("From: <sip:x@{from}>;tag"), &party));
    world.run_for(ms(400));
}

/// The caller's next request in the dialog that this response made.
fn in_dialog(world: &mut World, (from, number): (&'static str, u32), said: &str, method: &str) {
    let cseq = if method == "ACK" { 0 } else { 10 };
    let mut far = Far {
        at: from,
        call: header(said, "Call-ID"),
        from: header(said, "From"),
        to: header(said, "To"),
        cseq,
    };
    if method == "ACK" {
        far.cseq = 1;
    }
    assert!(header(said, "From").contains(&format!("f{number}")), "{said}");
    let text = far.request(method, "", "");
    send(world, from, &text);
    world.run_for(ms(200));
}

fn says(world: &mut World, from: &str, request: &str, status: &str, contact: &str) {
    let sdp = if status.starts_with("200") { sdp("10.2.0.22", 1, "0", "") } else { String::new() };
    let contact = format!("Contact: {contact}\n");
    send(world, from, &reply(request, status, "b", &contact, &sdp));
    world.run_for(ms(200));
}

/// A dialog's name in Replaces, as its caller may give it to others.
fn named(said: &str) -> String {
    let tag = |value: &str| value.split("tag=").nth(1).unwrap().to_owned();
    let (to, from) = (tag(&header(said, "To")), tag(&header(said, "From")));
    format!("{};to-tag={to};from-tag={from}", header(said, "Call-ID"))
}

fn answered(log: &Log, at: &str, number: u32) -> String {
    last(log, at, "SIP/2.0 200", &format!("Call-ID: s{number}@")).unwrap_or_default()
}

/// It waits in a document, or rings for somebody from one.
#[test]
fn the_place_of_a_call_that_talks_with_nobody_is_its_documents() {
    for (shards, document) in [
        (1, "<Dial><Sip>sip:carol@t0.example</Sip></Dial><Pause length=\"60\"/>"),
        (3, "<Dial><Sip>sip:carol@t0.example</Sip></Dial><Pause length=\"60\"/>"),
        (3, "<Dial><Sip>sip:alice@t0.example</Sip></Dial>"),
    ] {
        let (mut world, log) = world(shards, document);
        call(&mut world, KNOWN, 1, "");
        let first = answered(&log, KNOWN, 1);
        assert!(!first.is_empty(), "{document}");
        in_dialog(&mut world, (KNOWN, 1), &first, "ACK");
        let rung = last(&log, SOFT, "INVITE", "");
        if let Some(invite) = &rung {
            says(&mut world, SOFT, invite, "180 Ringing", "<sip:alice@192.168.1.2>");
        }
        let replaces = format!("Replaces: {}\n", named(&first));
        call(&mut world, COMES, 2, &replaces);
        let second = answered(&log, COMES, 2);
        assert!(!second.is_empty(), "{document}: {:?}", last(&log, COMES, "SIP/2.0", ""));
        in_dialog(&mut world, (COMES, 2), &second, "ACK");
        let bye = last(&log, KNOWN, "BYE", "").unwrap_or_default();
        assert!(header(&bye, "Reason").contains("completed elsewhere"), "{bye}");
        send(&mut world, KNOWN, &reply(&bye, "200 OK", "a", "", ""));
        world.run_for(ms(400));
        if let Some(before) = rung {
            // It rings for the other one.
            let cancel = last(&log, SOFT, "CANCEL", &header(&before, "Call-ID"));
            assert!(cancel.is_some(), "{document}");
            says(&mut world, SOFT, &before, "487 Request Terminated", "<sip:alice@192.168.1.2>");
            let invite = last(&log, SOFT, "INVITE", "").unwrap();
            assert_ne!(header(&invite, "Call-ID"), header(&before, "Call-ID"));
            says(&mut world, SOFT, &invite, "200 OK", "<sip:alice@192.168.1.2>");
            assert!(calls(&mut world).iter().filter(|it| **it == "in-progress").count() == 2);
        }
        assert!(last(&log, COMES, "BYE", "").is_none(), "it waits in the document");
        in_dialog(&mut world, (COMES, 2), &second, "BYE");
        world.run_for(SECOND);
        let all = calls(&mut world);
        assert!(!all.contains(&"in-progress") && !all.contains(&"ringing"), "{all:?}");
    }
}

/// What belongs to nobody, is not that dialog, or rings here only: refused, and nothing changes.
#[test]
fn a_place_in_a_document_is_not_everybodys() {
    let document = "<Dial answerOnBridge=\"true\"><Sip>sip:alice@t0.example</Sip></Dial>";
    let (mut world, log) = world(1, document);
    call(&mut world, KNOWN, 1, "");
    let invite = last(&log, SOFT, "INVITE", "").unwrap();
    says(&mut world, SOFT, &invite, "180 Ringing", "<sip:alice@192.168.1.2>");
    let ringing = last(&log, KNOWN, "SIP/2.0 180", "").unwrap();
    // RFC 3891 section 3: an early dialog is given up by whoever began it, and by nobody else.
    call(&mut world, COMES, 2, &format!("Replaces: {}\n", named(&ringing)));
    assert!(last(&log, COMES, "SIP/2.0 481", "").is_some());
    let wrong = named(&ringing).replace("from-tag=", "from-tag=x");
    call(&mut world, COMES, 3, &format!("Replaces: {wrong}\n"));
    assert!(last(&log, COMES, "SIP/2.0 481", "s3@").is_some());
    says(&mut world, SOFT, &invite, "200 OK", "<sip:alice@192.168.1.2>");
    assert!(!answered(&log, KNOWN, 1).is_empty(), "as it was");
}

/// An attended transfer before the target has answered, and one into a document: bob has a call
/// with KNOWN, begins another one, and refers KNOWN to that.
#[test]
fn an_attended_transfer_to_a_call_that_talks_with_nobody() {
    for (shards, is_early) in [(1, true), (3, true), (1, false), (3, false)] {
        let attribute = if is_early { "answerOnBridge=\"true\"" } else { "" };
        let document = format!("<Dial {attribute}><Sip>sip:alice@t0.example</Sip></Dial>");
        let (mut world, log) = world(shards, &document);
        // Two calls of the same phone: with alice, and ringing at alice.
        call(&mut world, COMES, 1, "");
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        says(&mut world, SOFT, &invite, "200 OK", "<sip:alice@192.168.1.2>");
        let first = answered(&log, COMES, 1);
        in_dialog(&mut world, (COMES, 1), &first, "ACK");
        call(&mut world, COMES, 2, "");
        let consulted = last(&log, SOFT, "INVITE", "").unwrap();
        assert_ne!(header(&consulted, "Call-ID"), header(&invite, "Call-ID"));
        says(&mut world, SOFT, &consulted, "180 Ringing", "<sip:alice@192.168.1.2>");
        let start = if is_early { "SIP/2.0 180" } else { "SIP/2.0 200" };
        let second = last(&log, COMES, start, "Call-ID: s2@").unwrap_or_default();
        assert!(!second.is_empty(), "{start}: {:?}", last(&log, COMES, "SIP/2.0", "s2@"));
        if !is_early {
            in_dialog(&mut world, (COMES, 2), &second, "ACK");
        }
        let mut far = Far {
            at: COMES,
            call: header(&first, "Call-ID"),
            from: header(&first, "From"),
            to: header(&first, "To"),
            cseq: 10,
        };
        let name = named(&second).replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
        let to = format!("Refer-To: <sip:anybody@t0.example?Replaces={name}>\n");
        send(&mut world, COMES, &far.request("REFER", &to, ""));
        world.run_for(ms(400));
        assert!(last(&log, COMES, "SIP/2.0 202", "REFER").is_some());
        let notify = last(&log, COMES, "NOTIFY", "terminated").unwrap_or_default();
        assert!(notify.contains("SIP/2.0 200"), "{shards} {is_early}: {notify}");
        send(&mut world, COMES, &reply(&notify, "200 OK", "a", "", ""));
        world.run_for(ms(400));
        // alice's first call goes on in the document, which calls her phone.
        assert!(last(&log, SOFT, "CANCEL", &header(&consulted, "Call-ID")).is_some());
        says(&mut world, SOFT, &consulted, "487 Request Terminated", "<sip:alice@192.168.1.2>");
        let again = last(&log, SOFT, "INVITE", "").unwrap();
        let ids = [&invite, &consulted, &again].map(|it| header(it, "Call-ID"));
        assert!(ids[2] != ids[0] && ids[2] != ids[1], "{ids:?}");
        says(&mut world, SOFT, &again, "200 OK", "<sip:alice@192.168.1.2>");
        match is_early {
            true => assert!(last(&log, COMES, "SIP/2.0 487", "s2@").is_some()),
            false => assert!(last(&log, COMES, "BYE", "s2@").is_some()),
        }
        assert!(last(&log, COMES, "BYE", "s1@").is_some(), "the referrer is left");
        let talks = calls(&mut world).iter().filter(|it| **it == "in-progress").count();
        assert_eq!(talks, 2, "{:?}", all(&log, COMES, "BYE", ""));
    }
}

/// Two pick up in one breath: one of them has the call, and the other one hears so.
#[test]
fn of_two_that_want_one_place_one_has_it() {
    for shards in [1, 3] {
        let document = "<Dial><Sip>sip:carol@t0.example</Sip></Dial><Pause length=\"60\"/>";
        let (mut world, log) = world(shards, document);
        call(&mut world, KNOWN, 1, "");
        let first = answered(&log, KNOWN, 1);
        assert!(!first.is_empty());
        in_dialog(&mut world, (KNOWN, 1), &first, "ACK");
        let replaces = format!("Replaces: {}\n", named(&first));
        for number in [2, 3] {
            let rest = format!("{replaces}{}", body(&sdp("10.1.0.1", 1, "0", "")));
            let text = request("INVITE", "sip:anybody@t0.example", COMES, number, &rest);
            let party = format!("From: <sip:c{number}@t0.example>;tag");
            let text = text.replace(&format!("From: <sip:x@{COMES}>;tag"), &party);
            let bytes = text.replace('\n', "\r\n").into_bytes();
            let to = world::plane::listener();
            world.inject(world::Datagram { from: COMES.parse().unwrap(), to, bytes });
        }
        world.run_for(SECOND);
        let all = [2, 3].map(|number| answered(&log, COMES, number));
        let has = all.iter().position(|it| !it.is_empty()).unwrap();
        assert!(all[1 - has].is_empty(), "{shards}: one of them");
        let other = format!("s{}@", 3 - has);
        assert!(last(&log, COMES, "SIP/2.0 491", &other).is_some(), "{shards}");
        let number = if has == 0 { 2 } else { 3 };
        in_dialog(&mut world, (COMES, number), &all[has], "ACK");
        assert!(last(&log, KNOWN, "BYE", "").is_some(), "{shards}");
        world.run_for(SECOND);
        assert!(last(&log, COMES, "BYE", "").is_none(), "{shards}: it is in the document");
    }
}

/// The place is given, and the controlplane does not know so far: who answers the call that had it
/// is not connected with that one, to be cut off at once.
#[test]
fn who_answers_a_call_whose_place_is_given_waits() {
    for shards in [1, 3] {
        let document = "<Dial answerOnBridge=\"true\"><Sip>sip:alice@t0.example</Sip></Dial>";
        let (mut world, log) = world(shards, document);
        call(&mut world, COMES, 1, "");
        let invite = last(&log, SOFT, "INVITE", "").unwrap();
        says(&mut world, SOFT, &invite, "200 OK", "<sip:alice@192.168.1.2>");
        let first = answered(&log, COMES, 1);
        in_dialog(&mut world, (COMES, 1), &first, "ACK");
        call(&mut world, COMES, 2, "");
        let consulted = last(&log, SOFT, "INVITE", "").unwrap();
        says(&mut world, SOFT, &consulted, "180 Ringing", "<sip:alice@192.168.1.2>");
        let second = last(&log, COMES, "SIP/2.0 180", "Call-ID: s2@").unwrap_or_default();
        let control = world.control.take();
        let mut far = Far {
            at: COMES,
            call: header(&first, "Call-ID"),
            from: header(&first, "From"),
            to: header(&first, "To"),
            cseq: 10,
        };
        let name = named(&second).replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
        let to = format!("Refer-To: <sip:anybody@t0.example?Replaces={name}>\n");
        send(&mut world, COMES, &far.request("REFER", &to, ""));
        world.run_for(ms(200));
        let notify = last(&log, COMES, "NOTIFY", "terminated").unwrap_or_default();
        assert!(notify.contains("SIP/2.0 200"), "{shards}: {notify}");
        says(&mut world, SOFT, &consulted, "200 OK", "<sip:alice@192.168.1.2>");
        assert_eq!(answered(&log, COMES, 2), "", "{shards}: it is as good as over");
        world.control = control;
        world.run_for(ms(400));
        assert!(last(&log, COMES, "SIP/2.0 487", "s2@").is_some(), "{shards}");
        let id = header(&consulted, "Call-ID");
        assert!(last(&log, SOFT, "BYE", &id).is_some(), "{shards}");
        let again = last(&log, SOFT, "INVITE", "").unwrap();
        assert_ne!(header(&again, "Call-ID"), id, "{shards}: for whom has the place");
    }
}
