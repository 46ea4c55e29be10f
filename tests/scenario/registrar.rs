//! Phones register at a domain: challenged, judged, kept over the death of either process.

use std::time::Duration;

use model::SipDomain;
use sip::Method;
use wire::counter::Counter;
use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::{SECOND, count, ms};
use crate::raw::{Log, last};
use crate::strangers::{STRANGER, request, send};

const DOMAIN: &str = "sip:t0.example";

/// A phone in a test's hands.
pub(crate) struct Phone {
    pub(crate) at: &'static str,
    pub(crate) user: &'static str,
    pub(crate) number: u32,
    pub(crate) cseq: u32,
    /// What it has in its Via instead of `at`, without `rport`: where it hears answers.
    pub(crate) sent_by: Option<&'static str>,
}

impl Phone {
    pub(crate) fn new(at: &'static str, user: &'static str, number: u32) -> Self {
        Self { at, user, number, cseq: 0, sent_by: None }
    }

    /// A REGISTER with these lines, the next one of this phone.
    pub(crate) fn request(&mut self, lines: &str) -> String {
        self.cseq += 1;
        let Self { at, user, number, cseq, sent_by } = *self;
        let text = request("REGISTER", DOMAIN, at, number, "");
        let head = text.split("Contact:").next().unwrap();
        let head = match sent_by {
            Some(sent_by) => {
                let via = format!("SIP/2.0/UDP {at};branch=z9hG4bK{number};rport");
                head.replace(&via, &format!("SIP/2.0/UDP {sent_by};branch=z9hG4bK{number};x"))
            }
            None => head.to_owned(),
        };
        let party = format!("<sip:{user}@t0.example>");
        head.replace(&format!("<sip:x@{at}>"), &party)
            .replace(&format!("To: <{DOMAIN}>"), &format!("To: {party}"))
            .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
            .replace(
                &format!("branch=z9hG4bK{number};"),
                &format!("branch=z9hG4bKr{number}c{cseq};"),
            )
            + lines
            + "Content-Length: 0\n\n"
    }

    /// Registers, and gives the last word.
    pub(crate) fn register(
        &mut self,
        world: &mut World,
        log: &Log,
        lines: &str,
        login: &Login<'_>,
    ) -> String {
        let id = format!("Call-ID: s{}@", self.number);
        let heard = self.sent_by.unwrap_or(self.at);
        let text = self.request(lines);
        send(world, self.at, &text);
        world.run_for(ms(40));
        let Some(challenge) = last(log, heard, "SIP/2.0 401", &id) else {
            return last(log, heard, "SIP/2.0", &id).unwrap_or_default();
        };
        let more = login.answer(&challenge, Method::Register, DOMAIN);
        let text = self.request(&format!("{more}{lines}"));
        send(world, self.at, &text);
        world.run_for(ms(80));
        last(log, heard, "SIP/2.0", &id).unwrap()
    }
}

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

fn contacts(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("Contact: ")).collect()
}

const CONTACT: &str = "Contact: <sip:alice@192.168.1.7:5060>;+sip.instance=\"<urn:uuid:1>\"\n";

#[test]
fn a_phone_registers_and_both_processes_die() {
    for shards in [1, 3] {
        let (mut world, log) = directed(shards, |_| ());
        let mut alice = Phone::new(STRANGER, "alice", 1);
        let done = alice.register(&mut world, &log, CONTACT, &Login::default());
        assert!(done.starts_with("SIP/2.0 200"), "{done}");
        assert_eq!(
            contacts(&done),
            ["<sip:alice@192.168.1.7:5060>;expires=3600;+sip.instance=\"<urn:uuid:1>\""]
        );
        assert_eq!(control(&mut world).ledger.bindings.len(), 1);
        // It comes again, its answer was lost: one more answer, and nothing has changed.
        let before = log.borrow().len();
        alice.cseq -= 1;
        let text = alice.request(CONTACT);
        let challenge = last(&log, STRANGER, "SIP/2.0 401", "").unwrap();
        let more = Login::default().answer(&challenge, Method::Register, DOMAIN);
        let text = text.replace("Contact:", &format!("{more}Contact:"));
        send(&mut world, STRANGER, &text);
        world.run_for(ms(80));
        let same = last(&log, STRANGER, "SIP/2.0 200", "").unwrap();
        assert_eq!((log.borrow().len(), contacts(&same).len()), (before + 1, 1));
        // Whoever has read it has an answer to its challenge, not to another request.
        let other = text.replace("sip:alice@192.168.1.7", "sip:thief@192.168.1.9");
        let other = other.replace("Call-ID: s1@", "Call-ID: s9@").replace("CSeq: 2 ", "CSeq: 9 ");
        send(&mut world, STRANGER, &other);
        world.run_for(ms(80));
        assert!(last(&log, STRANGER, "SIP/2.0 401", "Call-ID: s9@").is_some());
        let ledger = &control(&mut world).ledger;
        assert!(ledger.bindings.values().all(|binding| binding.contact.contains("alice")));
        // The same nonce counts on.
        let login = Login { nc: 2, ..Login::default() };
        let more = login.answer(&challenge, Method::Register, DOMAIN);
        let text = alice.request(&format!("{more}{CONTACT}"));
        world.run_for(5 * SECOND);
        let expires =
            |world: &mut World| control(world).ledger.bindings.values().next().unwrap().expires.0;
        let written = expires(&mut world);
        send(&mut world, STRANGER, &text);
        world.run_for(ms(20));
        let done = last(&log, STRANGER, "SIP/2.0 200", "").unwrap();
        assert!(done.contains(&format!("CSeq: {} ", alice.cseq)), "{done}");
        let later = expires(&mut world);
        assert!(later > written, "a refresh is written before its answer");
        // Both die, one after the other.
        world.restart_plane(SECOND);
        let (now, mut taken) = (world.now, world.control.take().unwrap());
        let dead = taken.any().downcast_mut::<Directed>().unwrap();
        dead.kill();
        dead.boot(now, &world.plane);
        world.control = Some(taken);
        world.run_for(ms(200));
        let found = alice.register(&mut world, &log, "", &Login::default());
        assert_eq!(contacts(&found).len(), 1, "{found}");
        let gone = alice.register(&mut world, &log, "Contact: *\nExpires: 0\n", &Login::default());
        assert!(gone.starts_with("SIP/2.0 200") && contacts(&gone).is_empty(), "{gone}");
        assert_eq!(control(&mut world).ledger.bindings.len(), 0);
        world.run_for(40 * SECOND);
        assert_eq!(world.plane.leftovers(), Vec::<String>::new());
    }
}

/// RFC 3608: whoever registers at a listener behind which an edge stands hears by whom it sends.
#[test]
fn a_phone_is_told_its_service_route() {
    let route = "<sip:edge.example.com;lr>, <sip:10.2.0.1;transport=tcp;lr>";
    let (mut world, log) = directed(1, |directed| {
        directed.settings.service_routes = vec![route.to_owned()];
    });
    let lines = "Contact: <sip:alice@192.168.1.7>\n";
    let done =
        Phone::new(STRANGER, "alice", 1).register(&mut world, &log, lines, &Login::default());
    assert!(done.contains(&format!("\r\nService-Route: {route}\r\n")), "{done}");
    // At another listener nothing stands between.
    const BY_TCP: &str = "10.2.0.21:40001";
    world.by_tcp(BY_TCP.parse().unwrap());
    let done = Phone::new(BY_TCP, "bob", 2).register(
        &mut world,
        &log,
        lines,
        &Login { user: "bob", ..Login::default() },
    );
    assert!(done.starts_with("SIP/2.0 200") && !done.contains("Service-Route"), "{done}");
}

#[test]
fn a_contact_goes_in_time_and_where_nobody_judges_nothing_is_registered() {
    let (mut world, log) = directed(1, |_| ());
    let mut alice = Phone::new(STRANGER, "alice", 1);
    let brief = "Contact: <sip:alice@192.168.1.7>;expires=60\n";
    alice.register(&mut world, &log, brief, &Login::default());
    world.run_for(Duration::from_secs(59));
    assert_eq!(control(&mut world).ledger.bindings.len(), 1);
    world.run_for(2 * SECOND);
    assert_eq!(control(&mut world).ledger.bindings.len(), 0);
    control(&mut world).kill();
    let text = alice.request(CONTACT);
    send(&mut world, STRANGER, &text);
    world.run_for(ms(50));
    let challenge = last(&log, STRANGER, "SIP/2.0 401", "").unwrap();
    let more = Login::default().answer(&challenge, Method::Register, DOMAIN);
    let text = alice.request(&format!("{more}{CONTACT}"));
    send(&mut world, STRANGER, &text);
    world.run_for(3 * SECOND);
    assert!(last(&log, STRANGER, "SIP/2.0 503", "Retry-After").is_some());
}

#[test]
fn whoever_may_not_register_hears_why() {
    let (mut world, log) = directed(1, |directed| {
        // Another domain of the same tenant's, without registrations.
        let mut other: SipDomain = directed.web.domain(0);
        other.sid = model::DomainSid(0x77);
        other.domain_name = "calls.example".to_owned();
        directed.ledger.put(other.into());
    });
    let mut number = 10;
    let mut ask = |world: &mut World, user: &'static str, change: (&str, &str), lines: &str| {
        number += 1;
        let mut phone = Phone::new(STRANGER, user, number);
        let text = phone.request(lines).replace(change.0, change.1);
        send(world, STRANGER, &text);
        world.run_for(ms(60));
        last(&log, STRANGER, "SIP/2.0", &format!("Call-ID: s{number}@")).unwrap()
    };
    for (change, lines, code) in [
        (("t0.example>", "nobody.example>"), CONTACT, "404"),
        (("t0.example>", "10.0.0.1>"), CONTACT, "404"),
        (("t0.example>", "calls.example>"), CONTACT, "403"),
        (("", ""), "Require: gruu\n", "420"),
        (("", ""), "Require: path, outbound\n", "401"),
    ] {
        let text = ask(&mut world, "alice", change, lines);
        assert!(text.starts_with(&format!("SIP/2.0 {code}")), "{change:?}: {text}");
    }
    // Somebody else's name, by one's own password.
    let mut phone = Phone::new(STRANGER, "bob", 50);
    let text = phone.register(&mut world, &log, CONTACT, &Login::default());
    assert!(text.starts_with("SIP/2.0 403"), "{text}");
    // Too briefly.
    let mut phone = Phone::new(STRANGER, "alice", 51);
    let brief = "Contact: <sip:alice@192.168.1.7>;expires=5\n";
    let text = phone.register(&mut world, &log, brief, &Login::default());
    assert!(text.starts_with("SIP/2.0 423") && text.contains("Min-Expires: 60"), "{text}");
    assert_eq!(control(&mut world).ledger.bindings.len(), 0);
    let alerts = control(&mut world).ledger.alerts;
    assert_eq!(alerts, 2, "the tenant hears of both");
}

/// A scanner tries names: each is answered alike, and none that there is otherwise than one that
/// there is not; then it waits.
#[test]
fn a_scanner_finds_nobody() {
    let (mut world, log) = directed(1, |_| ());
    let names = ["alice", "mallory", "bob", "100", "carol", "admin", "1000", "root"];
    let mut shapes = Vec::new();
    for (number, user) in (1..).zip(names) {
        for (at, password) in [(0, "Not-the-Password-1"), (100, "")] {
            let mut phone = Phone::new(STRANGER, user, number + at);
            let login = Login { user, password, ..Login::default() };
            let text = phone.register(&mut world, &log, CONTACT, &login);
            let line = |line: &str| line.split([':', ' ']).next().unwrap_or_default().to_owned();
            shapes.push((text[..11].to_owned(), text.lines().map(line).collect::<Vec<_>>()));
        }
    }
    let is_alike = shapes.iter().all(|shape| *shape == shapes[0] && shape.0 == "SIP/2.0 401");
    assert!(is_alike, "{shapes:#?}");
    for number in 200..220 {
        let mut phone = Phone::new(STRANGER, "1234", number);
        let login = Login { user: "1234", ..Login::default() };
        let text = phone.register(&mut world, &log, CONTACT, &login);
        shapes.push((text[..11].to_owned(), Vec::new()));
    }
    assert_eq!(shapes.last().unwrap().0, "SIP/2.0 503", "it guesses too often");
    assert_eq!(control(&mut world).ledger.bindings.len(), 0);
    assert!(count(&world, Counter::RefusedCredentials) >= 20);
}

/// Whoever guesses a user's password from everywhere keeps nobody from registering who was right
/// from where he is: not even behind a restart of who remembers it.
#[test]
fn guesses_hold_no_user_over_a_restart() {
    const SOURCES: [&str; 4] = ["10.2.0.31:5060", "10.2.0.32:5060", "10.2.0.33:5060", STRANGER];
    let (mut world, log) = directed(1, |_| ());
    const HOME: &str = "10.2.0.50:5060";
    let mut alice = Phone::new(HOME, "alice", 1);
    let done = alice.register(&mut world, &log, CONTACT, &Login::default());
    assert!(done.starts_with("SIP/2.0 200"), "{done}");
    let (now, mut taken) = (world.now, world.control.take().unwrap());
    let dead = taken.any().downcast_mut::<Directed>().unwrap();
    dead.kill();
    dead.boot(now, &world.plane);
    world.control = Some(taken);
    world.run_for(ms(200));
    let mut said = String::new();
    for number in 0..60_u32 {
        let at = SOURCES[number as usize % SOURCES.len()];
        let mut phone = Phone::new(at, "alice", 100 + number);
        let guess = Login { password: "Not-the-Password-1", ..Login::default() };
        said = phone.register(&mut world, &log, CONTACT, &guess);
    }
    assert!(said.starts_with("SIP/2.0 503"), "they guess too often: {said}");
    let done = alice.register(&mut world, &log, CONTACT, &Login::default());
    assert!(done.starts_with("SIP/2.0 200"), "{done}");
    let mut other = Phone::new("10.2.0.51:5060", "alice", 2);
    let done = other.register(&mut world, &log, CONTACT, &Login::default());
    assert!(done.starts_with("SIP/2.0 503"), "from elsewhere he is not known: {done}");
}

/// A refresh outlives the director as what is new does: the successor lets no contact go whose
/// phone was told that it is kept.
#[test]
fn a_refresh_outlives_the_director() {
    let (mut world, log) = directed(1, |_| ());
    let mut alice = Phone::new(STRANGER, "alice", 1);
    let brief = "Contact: <sip:alice@192.168.1.7>;expires=60\n";
    alice.register(&mut world, &log, brief, &Login::default());
    world.run_for(30 * SECOND);
    let done = alice.register(&mut world, &log, brief, &Login::default());
    assert!(done.contains("expires=60"), "{done}");
    let (now, mut taken) = (world.now, world.control.take().unwrap());
    let dead = taken.any().downcast_mut::<Directed>().unwrap();
    dead.kill();
    dead.boot(now, &world.plane);
    world.control = Some(taken);
    world.run_for(50 * SECOND);
    assert_eq!(control(&mut world).ledger.bindings.len(), 1);
    world.run_for(11 * SECOND);
    assert_eq!(control(&mut world).ledger.bindings.len(), 0);
}
