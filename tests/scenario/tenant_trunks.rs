//! Trunks that a tenant has made: calls to their numbers go to their origination URLs, what their
//! switches dial goes out as the account's own, and no document is asked for.

use base::Now;
use model::port::{ApiCall, ApiId, ApiRequest, EntityKey};
use model::{
    AccessAddress, AccessListSid, AccessMapping, AccountSid, AddressSid, CredentialListSid, Hook,
    IpAccessControlList, Mapping, NumberSid, OriginationSid, OriginationUrl, OutboundRoute,
    PhoneNumber, RouteSid, TransferCaller, TransferMode, Trunk, TrunkNumber, TrunkNumberKey,
    TrunkSid,
};
use sip::Method;
use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::{SECOND, ms};
use crate::raw::{Far, Log, all, body, header, last, reply, say, sdp};
use crate::registrar::Phone;
use crate::strangers::{KNOWN, STRANGER, request, send};

const NUMBER: &str = "+15550177";
const PBX: &str = "10.3.0.1:5060";
const SPARE: &str = "10.3.0.2:5060";
const CARRIER: &str = "10.4.0.1:5060";
const TRUNK: TrunkSid = TrunkSid(7);
const DIALS: &str = "sip:+4930123456@trunk.example";

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

fn url(sid: u128, host: &str, priority: u16) -> OriginationUrl {
    OriginationUrl {
        sid: OriginationSid(sid),
        sip_url: format!("sip:{host}"),
        priority,
        weight: 10,
        is_enabled: true,
        ..OriginationUrl::default()
    }
}

/// Two URLs; networks that may call the domain, and credentials; a carrier behind it.
fn world_of(change: impl FnOnce(&mut Trunk)) -> (World, Log) {
    directed(2, |directed| {
        let mut account = directed.web.tenants[0].account.clone();
        let sid = account.sid;
        account.sources = vec!["10.1.0.0/16".parse().unwrap()];
        directed.web.tenants[0].account.sources.clone_from(&account.sources);
        directed.ledger.put(account.into());
        let mut trunk = Trunk {
            sid: TRUNK,
            account: sid,
            domain_name: "trunk.example".to_owned(),
            urls: vec![url(1, "10.3.0.1", 1), url(2, "10.3.0.2", 2)],
            credentials: vec![Mapping { list: CredentialListSid(1), ..Mapping::default() }],
            access: vec![AccessMapping { list: AccessListSid(1), ..AccessMapping::default() }],
            ..Trunk::default()
        };
        change(&mut trunk);
        directed.ledger.put(trunk.into());
        let address = AccessAddress {
            sid: AddressSid(1),
            friendly_name: String::new(),
            network: "10.1.0.0/24".parse().unwrap(),
            date_created: base::Wall(0),
            date_updated: base::Wall(0),
        };
        directed.ledger.put(
            IpAccessControlList {
                sid: AccessListSid(1),
                account: sid,
                addresses: vec![address],
                ..IpAccessControlList::default()
            }
            .into(),
        );
        let number = NumberSid(9);
        directed.ledger.put(
            PhoneNumber {
                sid: number,
                account: sid,
                number: NUMBER.to_owned(),
                ..PhoneNumber::default()
            }
            .into(),
        );
        let of = TrunkNumber { number, trunk: TRUNK, account: sid, ..TrunkNumber::default() };
        directed.ledger.put(of.into());
        directed.ledger.put(
            OutboundRoute {
                sid: RouteSid(1),
                targets: vec![CARRIER.to_owned()],
                ..OutboundRoute::default()
            }
            .into(),
        );
    })
}

fn invite(uri: &str, from: &str, number: u32, more: &str, caller: &str) -> String {
    let rest = format!("{more}{}", body(&sdp("10.1.0.1", 1, "0", "")));
    let text = request("INVITE", uri, from, number, &rest);
    text.replace(&format!("From: <sip:x@{from}>;tag"), &format!("From: <{caller}>;tag"))
}

/// The carrier calls the trunk's number.
fn call(world: &mut World, caller: &str) {
    let text = invite(&format!("sip:{NUMBER}@10.0.0.1"), KNOWN, 1, "", caller);
    send(world, KNOWN, &text);
    world.run_for(ms(300));
}

fn answer(world: &mut World, from: &str, request: &str, status: &str) {
    let host = from.split(':').next().unwrap();
    let sdp = if status.starts_with("200") { sdp(host, 1, "0", "") } else { String::new() };
    send(world, from, &reply(request, status, "b", &format!("Contact: <sip:b@{from}>\n"), &sdp));
    world.run_for(ms(300));
}

/// Direction, status and code of each leg, parents first.
fn rows(world: &mut World) -> Vec<(&'static str, &'static str, u16)> {
    let calls = control(world).ledger.calls.values();
    let mut rows: Vec<_> = calls.collect();
    rows.sort_by_key(|row| row.parent);
    rows.iter().map(|row| (row.direction.name(), row.status.name(), row.sip_code)).collect()
}

fn alerts(world: &mut World) -> Vec<u32> {
    let mut codes = control(world).ledger.alert_codes.clone();
    codes.dedup();
    codes
}

#[test]
fn a_call_to_a_trunks_number_goes_to_the_next_url_when_one_fails() {
    let (mut world, log) = world_of(|_| ());
    call(&mut world, "sip:+49301@carrier.example");
    let first = last(&log, PBX, "INVITE", "").expect("the one with the lower priority");
    assert!(first.starts_with("INVITE sip:+15550177@10.3.0.1 SIP/2.0"), "{first}");
    assert!(header(&first, "From").contains("sip:+49301@"), "{first}");
    assert_eq!(all(&log, SPARE, "INVITE", "").len(), 0);
    answer(&mut world, PBX, &first, "503 Full");
    let second = last(&log, SPARE, "INVITE", "").expect("the next one");
    answer(&mut world, SPARE, &second, "180 Ringing");
    assert!(last(&log, KNOWN, "SIP/2.0 180", "").is_some());
    assert!(last(&log, KNOWN, "SIP/2.0 200", "").is_none(), "nobody has answered yet");
    answer(&mut world, SPARE, &second, "200 OK");
    assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    world.run_for(SECOND);
    let originating = "trunking-originating";
    let mut found = rows(&mut world);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (originating, "failed", 503),
            (originating, "in-progress", 0),
            (originating, "in-progress", 0)
        ]
    );
    assert_eq!(control(&mut world).web.tenants[0].requests, 0, "nobody is asked");
    // The PBX hangs up, and the caller hears it.
    let to = header(&last(&log, KNOWN, "SIP/2.0 200", "INVITE").unwrap(), "To");
    let uri = format!("sip:{NUMBER}@10.0.0.1");
    let ack = request("ACK", &uri, KNOWN, 1, "Content-Length: 0\n\n");
    let ack = ack.replace("branch=z9hG4bK1;", "branch=z9hG4bKack;");
    let ack = ack.replace(&format!("To: <{uri}>"), &format!("To: {to}"));
    send(
        &mut world,
        KNOWN,
        &ack.replace(&format!("sip:x@{KNOWN}>;tag"), "sip:+49301@carrier.example>;tag"),
    );
    world.run_for(ms(100));
    let mut pbx = callee(SPARE, &second);
    say(&mut world, SPARE, &pbx.request("BYE", "", ""));
    world.run_for(SECOND);
    assert!(last(&log, KNOWN, "BYE", "").is_some());
}

/// The side of whoever was invited.
fn callee(at: &'static str, invite: &str) -> Far {
    Far {
        at,
        call: header(invite, "Call-ID"),
        from: format!("{};tag=b", header(invite, "To")),
        to: header(invite, "From"),
        cseq: 0,
    }
}

#[test]
fn what_says_something_of_the_user_is_final() {
    for (code, status) in [(404, "failed"), (486, "busy"), (603, "busy"), (480, "no-answer")] {
        let (mut world, log) = world_of(|trunk| {
            trunk.disaster = Some(Hook::post("http://t0.example/voice"));
        });
        call(&mut world, "sip:+49301@carrier.example");
        let first = last(&log, PBX, "INVITE", "").unwrap();
        answer(&mut world, PBX, &first, &format!("{code} No"));
        world.run_for(SECOND);
        assert_eq!(all(&log, SPARE, "INVITE", "").len(), 0, "{code}");
        assert!(last(&log, KNOWN, &format!("SIP/2.0 {code}"), "INVITE").is_some(), "{code}");
        assert_eq!(rows(&mut world)[1], ("trunking-originating", status, code));
        assert_eq!(control(&mut world).web.tenants[0].requests, 0, "it was reached");
    }
}

#[test]
fn when_nobody_can_be_reached_the_document_for_that_is_asked_for() {
    let (mut world, log) = world_of(|trunk| {
        trunk.disaster = Some(Hook::post("http://t0.example/voice"));
    });
    call(&mut world, "sip:c1@t0.example");
    let first = last(&log, PBX, "INVITE", "").unwrap();
    answer(&mut world, PBX, &first, "500 Broken");
    // The second says nothing at all.
    world.run_for(10 * SECOND);
    assert!(last(&log, SPARE, "INVITE", "").is_some());
    assert_eq!(control(&mut world).web.tenants[0].requests, 1);
    world.run_for(10 * SECOND);
    // It pauses, and has nobody else to call.
    assert!(last(&log, KNOWN, "SIP/2.0 480", "INVITE").is_some());
}

#[test]
fn a_trunk_without_a_url_that_is_enabled_takes_no_calls_and_says_why() {
    let (mut world, log) = world_of(|trunk| {
        trunk.urls.iter_mut().for_each(|url| url.is_enabled = false);
    });
    call(&mut world, "sip:+49301@carrier.example");
    assert!(last(&log, KNOWN, "SIP/2.0 480", "INVITE").is_some());
    assert_eq!(alerts(&mut world), [32_010]);
    // One that takes TLS alone goes nowhere else.
    let (mut world, log) = world_of(|trunk| trunk.secure = true);
    call(&mut world, "sip:+49301@carrier.example");
    assert!(last(&log, KNOWN, "SIP/2.0 480", "INVITE").is_some());
    assert_eq!(alerts(&mut world), [32_209, 32_010]);
    assert!(last(&log, PBX, "INVITE", "").is_none());
}

/// A user of the account's own domain is called by a secure trunk where a phone of his has
/// registered by TLS, and nowhere else; so is he by a `sips:` URI (RFC 5630).
#[test]
fn whoever_calls_securely_rings_no_phone_in_the_clear() {
    const DESK: &str = "10.2.0.20:7777";
    const SAFE: &str = "10.2.0.21:40001";
    /// The world's listener for it.
    const TLS: u8 = 4;
    for is_secure in [true, false] {
        let (mut world, log) = world_of(|trunk| {
            trunk.secure = is_secure;
            trunk.urls.truncate(1);
            "sip:alice@t0.example;transport=tls".clone_into(&mut trunk.urls[0].sip_url);
        });
        let lines = "Contact: <sip:alice@192.168.1.1>\n";
        Phone::new(DESK, "alice", 11).register(&mut world, &log, lines, &Login::default());
        call(&mut world, "sip:+49301@carrier.example");
        world.run_for(SECOND);
        assert_eq!(all(&log, DESK, "INVITE", "").is_empty(), is_secure);
        if !is_secure {
            continue;
        }
        assert!(last(&log, KNOWN, "SIP/2.0 480", "INVITE").is_some());
        assert_eq!(alerts(&mut world), [32_209]);
        // Its other phone has.
        let (now, mut taken): (Now, _) = (world.now, world.control.take().unwrap());
        let directed = taken.any().downcast_mut::<Directed>().unwrap();
        directed.settings.secure_listeners = vec![TLS];
        directed.kill();
        directed.boot(now, &world.plane);
        world.control = Some(taken);
        world.plane.by_streams.insert(SAFE.parse().unwrap(), base::Transport::Tls);
        world.network.by_streams.insert(SAFE.parse().unwrap());
        let lines = "Contact: <sip:alice@192.168.1.2;transport=tcp>\n";
        Phone::new(SAFE, "alice", 12).register(&mut world, &log, lines, &Login::default());
        let text = invite(&format!("sip:{NUMBER}@10.0.0.1"), KNOWN, 2, "", "sip:+49301@c.example");
        send(&mut world, KNOWN, &text);
        world.run_for(SECOND);
        assert_eq!(all(&log, SAFE, "INVITE", "").len(), 1);
        assert!(all(&log, DESK, "INVITE", "").is_empty());
    }
}

#[test]
fn what_a_trunks_switch_dials_goes_out_by_the_outbound_route() {
    let (mut world, log) = world_of(|_| ());
    send(&mut world, KNOWN, &invite(DIALS, KNOWN, 1, "", "sip:+15550177@pbx.example"));
    world.run_for(ms(300));
    let out = last(&log, CARRIER, "INVITE", "").expect("it is dialled");
    assert!(out.starts_with("INVITE sip:+4930123456@10.4.0.1"), "{out}");
    assert!(header(&out, "From").contains("sip:+15550177@"), "{out}");
    answer(&mut world, CARRIER, &out, "200 OK");
    assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
    let terminating = ("trunking-terminating", "in-progress", 0);
    assert_eq!(rows(&mut world), [terminating, terminating]);
    let rows: Vec<_> = control(&mut world).ledger.calls.values().cloned().collect();
    assert!(rows.iter().all(|row| row.account == AccountSid(0xacc0_0001)), "{rows:?}");
    assert_eq!(rows[0].direction.trunk(), Some(TRUNK));
}

/// Another's number is not shown, and a user that is no number is nobody's.
#[test]
fn a_trunk_shows_callers_of_its_account_alone() {
    let (mut world, log) = world_of(|_| ());
    for (number, uri, caller, said, alert) in [
        (1, DIALS, "sip:+4989999999@pbx.example", "403", 13_214),
        (2, "sip:bob@trunk.example", "sip:+15550177@pbx.example", "404", 32_101),
    ] {
        send(&mut world, KNOWN, &invite(uri, KNOWN, number, "", caller));
        world.run_for(SECOND);
        let id = format!("Call-ID: s{number}@");
        let answer = last(&log, KNOWN, "SIP/2.0", &id).unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {said}")), "{answer}");
        assert_eq!(alerts(&mut world).pop(), Some(alert));
    }
    assert!(last(&log, CARRIER, "INVITE", "").is_none());
}

#[test]
fn a_switch_from_elsewhere_says_whose_it_is_by_a_password() {
    let (mut world, log) = world_of(|_| ());
    let caller = "sip:+15550177@pbx.example";
    let mut ask = |number: u32, password: &str| {
        send(&mut world, STRANGER, &invite(DIALS, STRANGER, number, "", caller));
        world.run_for(ms(100));
        let id = format!("Call-ID: s{number}@");
        let challenge = last(&log, STRANGER, "SIP/2.0 407", &id).unwrap();
        assert!(challenge.contains("realm=\"trunk.example\""), "{challenge}");
        let login = Login { password, ..Login::default() };
        let more = login.answer(&challenge, Method::Invite, DIALS);
        let text = invite(DIALS, STRANGER, number, &more, caller);
        let text = text.replace(&format!("z9hG4bK{number};"), &format!("z9hG4bKagain{number};"));
        send(&mut world, STRANGER, &text);
        world.run_for(ms(400));
        last(&log, STRANGER, "SIP/2.0", &id).unwrap()
    };
    let wrong = ask(1, "Not-the-Password-1");
    assert!(wrong.starts_with("SIP/2.0 407"), "{wrong}");
    let right = ask(2, crate::claims::PASSWORD);
    assert!(right.starts_with("SIP/2.0 1"), "{right}");
    let out = last(&log, CARRIER, "INVITE", "").unwrap();
    assert!(out.starts_with("INVITE sip:+4930123456@"), "{out}");
    assert_eq!(alerts(&mut world), [32_202]);
}

#[test]
fn a_trunk_without_lists_takes_nothing() {
    let (mut world, log) = world_of(|trunk| {
        trunk.access.clear();
        trunk.credentials.clear();
    });
    send(&mut world, KNOWN, &invite(DIALS, KNOWN, 1, "", "sip:+15550177@pbx.example"));
    world.run_for(SECOND);
    assert!(last(&log, KNOWN, "SIP/2.0 403", "").is_some());
    assert_eq!(alerts(&mut world), [32_201]);
    // And one that takes TLS alone, nothing by UDP.
    let (mut world, log) = world_of(|trunk| trunk.secure = true);
    send(&mut world, KNOWN, &invite(DIALS, KNOWN, 1, "", "sip:+15550177@pbx.example"));
    world.run_for(SECOND);
    assert!(last(&log, KNOWN, "SIP/2.0 403", "").is_some());
    assert_eq!(alerts(&mut world), [32_209]);
}

fn delete(world: &mut World, number: u64, key: EntityKey) {
    let what = ApiRequest::Delete(key);
    let account = AccountSid(0xacc0_0001);
    control(world).api(ApiCall { id: ApiId(number), account, what });
    world.run_for(ms(300));
}

/// The controlplane dies while the first URL rings, and its successor goes on to the second; that
/// the trunk is deleted meanwhile changes nothing for a call that stands.
#[test]
fn a_successor_goes_on_to_the_next_url() {
    for is_deleted in [false, true] {
        let (mut world, log) = world_of(|_| ());
        call(&mut world, "sip:+49301@carrier.example");
        let first = last(&log, PBX, "INVITE", "").unwrap();
        answer(&mut world, PBX, &first, "180 Ringing");
        if is_deleted {
            delete(&mut world, 1, TRUNK.into());
            assert!(control(&mut world).replies.pop().unwrap().1.is_err(), "it has a number");
            delete(&mut world, 2, TrunkNumberKey(NumberSid(9)).into());
            delete(&mut world, 3, TRUNK.into());
            assert!(control(&mut world).replies.pop().unwrap().1.is_ok());
        }
        let (now, mut taken): (Now, _) = (world.now, world.control.take().unwrap());
        let dead = taken.any().downcast_mut::<Directed>().unwrap();
        dead.kill();
        dead.boot(now, &world.plane);
        world.control = Some(taken);
        world.run_for(ms(300));
        assert_eq!(all(&log, PBX, "INVITE", "").len(), 1, "not asked twice");
        answer(&mut world, PBX, &first, "500 Broken");
        let second = last(&log, SPARE, "INVITE", "").expect("the next one");
        answer(&mut world, SPARE, &second, "200 OK");
        assert!(last(&log, KNOWN, "SIP/2.0 200", "m=audio").is_some());
        let mut pbx = callee(SPARE, &second);
        say(&mut world, SPARE, &pbx.request("BYE", "", ""));
        world.run_for(40 * SECOND);
        assert!(rows(&mut world).iter().all(|row| matches!(row.1, "completed" | "failed")));
    }
}

/// What its NOTIFYs said.
fn referred(world: &mut World, log: &Log, to: &str) -> Vec<String> {
    call(world, "sip:+49301@carrier.example");
    let invite = last(log, PBX, "INVITE", "").unwrap();
    answer(world, PBX, &invite, "200 OK");
    refers(world, log, (PBX, &invite), to)
}

/// Who has answered that INVITE refers.
fn refers(
    world: &mut World,
    log: &Log,
    (who, invite): (&'static str, &str),
    to: &str,
) -> Vec<String> {
    let mut far_end = callee(who, invite);
    let more = format!("Refer-To: <{to}>\n");
    say(world, who, &far_end.request("REFER", &more, ""));
    world.run_for(SECOND);
    assert!(last(log, who, "SIP/2.0 202", "").is_some());
    let notified = all(log, who, "NOTIFY", "");
    notified.iter().map(|text| text.lines().last().unwrap().trim().to_owned()).collect()
}

#[test]
fn a_trunks_switch_refers_to_whom_the_trunk_says() {
    let (number, uri) = ("sip:+4930999@10.0.0.1", "sip:bob@10.3.0.2");
    for (transfer, to, at, alert) in [
        (TransferMode::DisableAll, number, "", Some(32_218)),
        (TransferMode::DisableAll, uri, "", Some(32_218)),
        (TransferMode::SipOnly, number, "", Some(13_802)),
        (TransferMode::SipOnly, uri, SPARE, None),
        (TransferMode::EnableAll, number, CARRIER, None),
    ] {
        let (mut world, log) = world_of(|trunk| {
            trunk.transfer = transfer;
            trunk.transfer_caller = TransferCaller::Transferor;
        });
        let said = referred(&mut world, &log, to);
        if at.is_empty() {
            assert!(said.iter().any(|it| it.contains("603")), "{transfer:?} {to}: {said:?}");
            assert_eq!(alerts(&mut world).pop(), alert);
            continue;
        }
        let out = last(&log, at, "INVITE", "").expect("the target is called");
        assert!(header(&out, "From").contains("sip:+15550177@"), "who refers: {out}");
        assert_eq!(alerts(&mut world).pop(), alert);
        answer(&mut world, at, &out, "200 OK");
        assert!(rows(&mut world).iter().all(|row| row.0 == "trunking-originating"));
        // Whom the switch referred to is not the switch: it may refer nobody.
        world.run_for(SECOND);
        let said = refers(&mut world, &log, (at, &out), "sip:+4930998@10.0.0.1");
        assert!(said.iter().any(|it| it.contains("603")), "{transfer:?} {to}: {said:?}");
        assert_eq!(alerts(&mut world).pop(), Some(13_802));
    }
}

/// A phone behind a trunk's URL sends its call on (302) no further than the trunk's calls may be
/// referred.
#[test]
fn a_trunks_phone_forwards_to_whom_the_trunk_says() {
    const DESK: &str = "10.2.0.20:7777";
    let number = "<sip:+4930999@10.0.0.1>";
    for (transfer, at) in [
        (TransferMode::DisableAll, ""),
        (TransferMode::SipOnly, ""),
        (TransferMode::EnableAll, CARRIER),
    ] {
        let (mut world, log) = world_of(|trunk| {
            trunk.transfer = transfer;
            trunk.urls = vec![url(1, "bob@t0.example", 1)];
        });
        let bob = Login { user: "bob", ..Login::default() };
        let contact = "Contact: <sip:bob@192.168.1.1>\n";
        Phone::new(DESK, "bob", 1).register(&mut world, &log, contact, &bob);
        call(&mut world, "sip:+49301@carrier.example");
        let rung = last(&log, DESK, "INVITE", "").expect("the registered phone rings");
        let moved = reply(&rung, "302 Moved", "b", &format!("Contact: {number}\n"), "");
        send(&mut world, DESK, &moved);
        world.run_for(ms(300));
        let called = last(&log, CARRIER, "INVITE", "").is_some();
        assert_eq!(called, !at.is_empty(), "{transfer:?}");
        if !called {
            assert_eq!(alerts(&mut world).pop(), Some(13_224), "{transfer:?}");
        }
    }
}
