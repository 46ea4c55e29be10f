//! A phone that forwards its calls to numbers: circles through a carrier are cut, carriers are
//! named the account's own numbers and no others, and a dial rings no longer for it.

use model::port::Entity;
use model::{
    Credential, CredentialListSid, CredentialSid, NumberSid, OutboundRoute, PhoneNumber, RouteSid,
};
use world::World;

use crate::claims::{Login, PASSWORD, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Log, all, body, header, last, reply, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, request, send};

const DESK: &str = "10.2.0.20:7777";
const SOFT: &str = "10.2.0.21:40001";
const CARRIER: &str = "10.1.0.7:5060";
const NUMBER: &str = "+15550100";
const OTHER_NUMBER: &str = "+15550199";
/// A number that is nobody's here, and who has it for his name.
const FOREIGN: &str = "+15550001111";

/// Whoever calls is connected with `user`, who has DESK; alice has SOFT. The account has two
/// numbers.
fn world(user: &'static str, dial: &str) -> (World, Log) {
    world_of(user, format!("<Response><Dial answerOnBridge=\"true\" {dial}</Dial></Response>"))
}

fn world_of(user: &'static str, document: String) -> (World, Log) {
    let (mut world, log) = directed(1, |directed| {
        for text in directed.web.tenants[0].documents.values_mut() {
            document.clone_into(text);
        }
        let mut account = directed.web.tenants[0].account.clone();
        account.sources = vec!["10.1.0.0/16".parse().unwrap()];
        let (sid, config) = (account.sid, directed.web.domain(0).config);
        directed.ledger.put(account.into());
        for (at, number) in (1..).zip([NUMBER, OTHER_NUMBER]) {
            let number = PhoneNumber {
                sid: NumberSid(at),
                account: sid,
                number: number.to_owned(),
                config: config.clone(),
                ..PhoneNumber::default()
            };
            directed.ledger.put(number.into());
        }
        directed.ledger.put(Entity::Credential(Credential {
            sid: CredentialSid(9),
            account: sid,
            list: CredentialListSid(1),
            username: FOREIGN.to_owned(),
            password: PASSWORD.into(),
            ..Credential::default()
        }));
        let targets = vec![CARRIER.to_owned()];
        let route = OutboundRoute { sid: RouteSid(1), targets, ..OutboundRoute::default() };
        directed.ledger.put(route.into());
    });
    let login = Login { user, ..Login::default() };
    let contact = "Contact: <sip:phone@192.168.1.1>\n";
    Phone::new(DESK, user, 1).register(&mut world, &log, contact, &login);
    let contact = "Contact: <sip:alice@192.168.1.2>\n";
    Phone::new(SOFT, "alice", 2).register(&mut world, &log, contact, &Login::default());
    (world, log)
}

/// The carrier calls; `more` are header lines. What the phone is asked by then.
fn call(world: &mut World, log: &Log, uri: &str, number: u32, more: &str) -> String {
    let rest = format!("{more}{}", body(&sdp("10.1.0.1", 1, "0", "")));
    let text = request("INVITE", uri, KNOWN, number, &rest);
    let from = format!("From: <sip:c{number}@t0.example>;tag");
    send(world, KNOWN, &text.replace(&format!("From: <sip:x@{KNOWN}>;tag"), &from));
    world.run_for(ms(400));
    last(log, DESK, "INVITE", "").unwrap_or_default()
}

fn moves(world: &mut World, invite: &str, to: &str) {
    let contact = format!("Contact: <{to}>\n");
    send(world, DESK, &reply(invite, "302 Moved Temporarily", "b", &contact, ""));
    world.run_for(ms(400));
}

fn said(log: &Log, number: u32) -> String {
    last(log, KNOWN, "SIP/2.0 ", &format!("Call-ID: s{number}@")).unwrap_or_default()
}

const BOB: &str = "><Sip>sip:bob@t0.example</Sip>";
const CALLED: &str = "sip:+15550100@10.0.0.1";

/// The number that the call came by, however it is written; and one by which it has come before.
#[test]
fn a_call_is_not_forwarded_to_where_it_came_from() {
    let (mut world, log) = world("bob", BOB);
    let before = format!("Diversion: <sip:{OTHER_NUMBER}@carrier.example>;reason=no-answer\n");
    let history = format!(
        "History-Info: <sip:{OTHER_NUMBER}@carrier.example?Reason=SIP%3Bcause%3D302>;index=1,\
         <sip:{NUMBER}@10.0.0.1>;index=1.1\n"
    );
    for (number, more, to) in [
        (1, "", "tel:+15550100"),
        (2, "", "sip:+1-555-0100@10.0.0.1"),
        (3, "", "sip:+15550100@t0.example"),
        (4, before.as_str(), "tel:+15550199"),
        (5, history.as_str(), "tel:+15550199"),
    ] {
        let invite = call(&mut world, &log, CALLED, number, more);
        moves(&mut world, &invite, to);
        assert!(all(&log, CARRIER, "INVITE", "").is_empty(), "{number} {to}");
        assert!(said(&log, number).starts_with("SIP/2.0 480"), "{number}: {}", said(&log, number));
    }
    // Once the other way round it is where nobody has been.
    let invite = call(&mut world, &log, CALLED, 6, "");
    moves(&mut world, &invite, "tel:+15550199");
    assert!(last(&log, CARRIER, "INVITE", "").is_some());
}

/// What an INVITE says of how often it was forwarded counts, and goes on.
#[test]
fn forwards_before_a_call_came_count() {
    let (mut world, log) = world("bob", BOB);
    let five: String =
        (1..=5).map(|at| format!("Diversion: <sip:+1777{at}@carrier.example>\n")).collect();
    let counted = "Diversion: <sip:+17771@carrier.example>;reason=unknown;counter=5\n";
    for (number, more) in [(1, five.as_str()), (2, counted)] {
        let invite = call(&mut world, &log, CALLED, number, more);
        moves(&mut world, &invite, "sip:alice@t0.example");
        assert!(last(&log, SOFT, "INVITE", "").is_none(), "{more}");
        assert!(said(&log, number).starts_with("SIP/2.0 480"), "{more}");
    }
    let invite = call(&mut world, &log, CALLED, 3, &counted.replace("=5", "=4"));
    moves(&mut world, &invite, "tel:+1666");
    let carried = last(&log, CARRIER, "INVITE", "").unwrap();
    let own = "<sip:+15550100@10.0.0.1>;reason=unconditional;counter=5";
    assert_eq!(header(&carried, "Diversion"), own, "{carried}");
}

/// Entries of History-Info that say no reason are hops of the call's way (RFC 7044), not forwards;
/// however many there are.
#[test]
fn a_call_that_was_retargeted_may_be_forwarded() {
    let (mut world, log) = world("bob", BOB);
    let hops: String = (1..=6)
        .map(|at| format!("History-Info: <sip:+1777{at}@ims.example>;index=1.{at};np=1\n"))
        .collect();
    let caused = "History-Info: <sip:+17771@ims.example>;index=1,\
                  <sip:+15550100@10.0.0.1;cause=302>;index=1.1;mp=1\n";
    let many = format!("History-Info: {}a\n", "a,".repeat(700));
    for (number, more, counted) in [(1, hops.as_str(), 1), (2, caused, 2), (3, many.as_str(), 1)] {
        let invite = call(&mut world, &log, CALLED, number, more);
        moves(&mut world, &invite, "tel:+1666");
        let carried = last(&log, CARRIER, "INVITE", "").unwrap();
        let counter = format!("counter={counted}");
        assert!(header(&carried, "Diversion").ends_with(&counter), "{more}: {carried}");
    }
}

/// A far end that has described itself in a reliable response leaves it out of its 200 (RFC 3262
/// section 5), whether its early media is passed on or not.
#[test]
fn a_reliable_description_is_the_answer_of_any_dial() {
    let plain = " answerOnBridge=\"false\"><Sip>sip:bob@t0.example</Sip>";
    let bridged = " answerOnBridge=\"true\"><Sip>sip:bob@t0.example</Sip>";
    for dial in [bridged, plain] {
        let dial = format!("<Response><Dial{dial}</Dial></Response>");
        let (mut world, log) = world_of("bob", dial.clone());
        let invite = call(&mut world, &log, CALLED, 1, "");
        let reliable = format!("Require: 100rel\nRSeq: 7\n{}", body(&sdp("10.2.0.20", 1, "0", "")));
        let contact = format!("Contact: <sip:bob@{DESK}>\n");
        let early =
            reply(&invite, "183 Session Progress", "b", &format!("{contact}{reliable}"), "");
        send(&mut world, DESK, &early);
        world.run_for(ms(300));
        let prack = last(&log, DESK, "PRACK", "").unwrap();
        send(&mut world, DESK, &reply(&prack, "200 OK", "b", "", ""));
        world.run_for(ms(300));
        send(&mut world, DESK, &reply(&invite, "200 OK", "b", &contact, ""));
        world.run_for(SECOND);
        assert!(last(&log, DESK, "ACK", "").is_some());
        assert!(all(&log, DESK, "BYE", "").is_empty(), "{dial}");
        assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    }
}

/// Carriers screen and bill by these lines: they name numbers of the account's.
#[test]
fn carriers_are_named_the_accounts_own_numbers() {
    let number = |number: &str| format!("Diversion: <sip:{number}@10.0.0.1>");
    let before = format!(
        "Diversion: <sip:{OTHER_NUMBER}@carrier.example>\nDiversion: <sip:+1777@carrier.example>\n"
    );
    let forged = "><Sip>sip:bob@t0.example?X-A=Diversion:%20%3Csip:%2B15550001111@a%3E</Sip>";
    let foreign = format!("><Sip>sip:{FOREIGN}@t0.example</Sip>");
    for (user, dial, uri, more, named) in [
        ("bob", BOB, CALLED, "", vec![NUMBER]),
        ("bob", BOB, CALLED, before.as_str(), vec![NUMBER, OTHER_NUMBER]),
        ("bob", BOB, "sip:anybody@t0.example", "", vec![]),
        ("bob", forged, CALLED, "", vec![NUMBER]),
        (FOREIGN, foreign.as_str(), CALLED, "", vec![NUMBER]),
        (FOREIGN, foreign.as_str(), "sip:anybody@t0.example", "", vec![]),
    ] {
        let (mut world, log) = world(user, dial);
        let invite = call(&mut world, &log, uri, 1, more);
        moves(&mut world, &invite, "tel:+1666");
        let carried = last(&log, CARRIER, "INVITE", "").unwrap();
        let lines: Vec<&str> = carried.lines().filter(|it| it.starts_with("Diversion: ")).collect();
        let expected: Vec<String> = named.iter().copied().map(number).collect();
        assert_eq!(lines.len(), expected.len(), "{user} {dial} {uri}: {carried}");
        assert!(lines.iter().zip(&expected).all(|(it, named)| it.starts_with(named)), "{carried}");
        assert!(!carried.contains(FOREIGN) && !carried.contains("bob@"), "{carried}");
    }
}

/// Who rings almost to the end, and forwards then, buys no more time.
#[test]
fn a_dial_rings_no_longer_for_a_forward() {
    let (mut world, log) = world("bob", "timeout=\"10\"><Sip>sip:bob@t0.example</Sip>");
    let invite = call(&mut world, &log, CALLED, 1, "");
    send(&mut world, DESK, &reply(&invite, "180 Ringing", "b", "Contact: <sip:b@h>\n", ""));
    world.run_for(SECOND * 7);
    moves(&mut world, &invite, "sip:alice@t0.example");
    let rung = last(&log, SOFT, "INVITE", "").unwrap();
    send(&mut world, SOFT, &reply(&rung, "180 Ringing", "b", "Contact: <sip:a@h>\n", ""));
    world.run_for(ms(3_500));
    assert!(last(&log, SOFT, "CANCEL", "").is_some(), "ten seconds are over");
    send(&mut world, SOFT, &reply(&rung, "487 Request Terminated", "b", "", ""));
    world.run_for(ms(400));
    assert!(said(&log, 1).starts_with("SIP/2.0 480"), "{}", said(&log, 1));
}
