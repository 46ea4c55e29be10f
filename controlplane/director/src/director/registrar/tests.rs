//! Registrations as phones make them, and as other registrars got them wrong: the numbers are those
//! of public bug reports.

use base::ConnectionId;

use super::*;

const A: &str = "192.0.2.7:5062";

pub(super) struct World {
    pub(super) registrar: Registrar,
    limits: Limits,
    pub(super) now: Now,
    sids: u128,
    hop: Hop,
    pub(super) user: User,
    /// Contacts that the last one only refreshed.
    refreshed: usize,
    /// What was used, as a store keeps it: the longest of each key.
    pub(super) used: BTreeMap<model::UsageKey, model::UsageRow>,
    /// Contacts as they are written.
    pub(super) kept: BTreeMap<BindingSid, Binding>,
    pub(super) rows: usize,
}

/// What came of a REGISTER: its status, and its contacts as they are listed, without their times.
#[derive(Debug, PartialEq)]
pub(super) struct Came {
    pub(super) code: u16,
    contacts: Vec<String>,
    written: Vec<bool>,
    headers: String,
}

impl World {
    pub(super) fn new() -> Self {
        let limits = Limits { user_contacts: 3, account_contacts: 5, ..Limits::default() };
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000_000) };
        let hop = Hop::datagram(0, A.parse().unwrap());
        let user = (DomainSid(1), "alice".to_owned());
        let registrar = Registrar::default();
        let (used, kept) = (BTreeMap::new(), BTreeMap::new());
        Self { registrar, limits, now, sids: 0, hop, user, refreshed: 0, used, kept, rows: 0 }
    }

    /// What was written comes to a store, where it is kept.
    pub(super) fn store(&mut self, records: &[Record]) -> usize {
        for record in records {
            match record {
                Record::Usage(row) => {
                    self.rows += 1;
                    let known = self.used.entry(row.key).or_insert_with(|| row.clone());
                    if row.micros > known.micros {
                        *known = row.clone();
                    }
                }
                Record::Registered(it) => drop(self.kept.insert(it.sid(), it.binding())),
                Record::BindingGone(sid) => drop(self.kept.remove(sid)),
                other => panic!("{other:?}"),
            }
        }
        records.iter().filter(|record| !matches!(record, Record::Usage(_))).count()
    }

    /// Contacts whose time is over.
    pub(super) fn tick(&mut self) -> usize {
        let records = self.registrar.tick(self.now);
        self.store(&records)
    }

    pub(super) fn after(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.wall.0 += u64::try_from(span.as_micros()).unwrap();
    }

    /// A REGISTER of this Call-ID and CSeq, with these lines.
    pub(super) fn ask(&mut self, (call_id, cseq): (&str, u32), lines: &str) -> Came {
        let text = format!(
            "REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bK1\r\n\
             From: <sip:alice@a.example>;tag=1\r\nTo: <sip:alice@a.example>\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{}Content-Length: 0\r\n\r\n",
            lines.replace('\n', "\r\n")
        );
        let message = Message::parse(text.as_bytes()).unwrap();
        let asked = Asked {
            message: &message,
            hop: self.hop,
            account: AccountSid(7),
            user: &self.user,
            service_route: "<sip:edge.test;lr>",
        };
        let sids = &mut self.sids;
        let answered = self.registrar.register(self.now, &asked, &self.limits, || {
            *sids += 1;
            *sids
        });
        let Answered { code, headers, records, refreshed, why } = answered;
        self.refreshed = self.store(&refreshed);
        self.store(&records);
        assert_eq!(why.is_empty(), code == 200, "{why}");
        let contacts = headers.lines().filter_map(|line| line.strip_prefix("Contact: "));
        let plain = |contact: &str| {
            let (uri, rest) = contact.split_once(";expires=").unwrap();
            let rest = rest.split_once(';').map_or(String::new(), |(_, rest)| format!(";{rest}"));
            format!("{uri}{rest}")
        };
        let contacts = contacts.map(plain).collect();
        let is_put = |record: &Record| match record {
            Record::Usage(_) => None,
            record => Some(matches!(record, Record::Registered(_))),
        };
        let written = records.iter().filter_map(is_put).collect();
        Came { code, contacts, written, headers }
    }

    fn by_connection(&mut self, slot: u16) {
        let id = ConnectionId { shard: 0, generation: 1, slot };
        let to = std::net::SocketAddr::from(([192, 0, 2, 7], 40_000 + slot));
        self.hop = Hop { via: Door::Connection { listener: 1, id, name: base::TlsName::NONE }, to };
    }

    fn expires(&self) -> Vec<u64> {
        let lives = self.registrar.users.values().flatten();
        lives.map(|it| it.until.since(self.now.mono).as_secs()).collect()
    }
}

#[test]
fn contacts_come_are_refreshed_and_go_as_they_are_written() {
    let mut world = World::new();
    // Kamailio 4926 and PJSIP 534: a phone finds its contact as it wrote it.
    let contact = "Contact: \"Desk\" <sip:alice@192.0.2.7:5062;transport=udp;ob>;q=0.5;\
                   +sip.instance=\"<urn:uuid:1>\";pn-provider=acme;pn-tok=\"a;b\"\n";
    let came = world.ask(("c", 1), contact);
    let listed = "<sip:alice@192.0.2.7:5062;transport=udp;ob>;q=0.500;\
                  +sip.instance=\"<urn:uuid:1>\";pn-provider=acme;pn-tok=\"a;b\"";
    assert!(came.headers.contains("\r\nService-Route: <sip:edge.test;lr>\r\n"));
    assert_eq!((came.code, came.contacts), (200, vec![listed.to_owned()]));
    assert_eq!(came.written, [true], "before it is answered");
    // Asterisk 1859: a time that nobody named is told.
    assert!(came.headers.contains(";expires=3600"), "{}", came.headers);
    // A refresh is written, and nobody waits for the disk.
    world.after(Duration::from_secs(600));
    let came = world.ask(("c", 2), contact);
    assert_eq!((came.code, came.written.len(), world.expires()), (200, 0, vec![3_600]));
    assert_eq!(world.refreshed, 1);
    assert_eq!(world.tick(), 0);
    // Nothing asked is a question.
    assert_eq!(world.ask(("other", 1), "").contacts.len(), 1);
    // Kamailio 6: another Call-ID is a phone that has begun anew, not another contact.
    let came = world.ask(("d", 1), contact);
    assert_eq!((came.code, came.contacts.len()), (200, 1));
    // SIP.js 435, RestComm 1058: the parameter goes before the header.
    let gone = contact.replace(";q=0.5", ";expires=0") + "Expires: 600\n";
    let came = world.ask(("d", 2), &gone);
    assert_eq!((came.code, came.contacts.len(), came.written), (200, 0, vec![false]));
    assert!(world.registrar.users.is_empty() && world.registrar.counts.is_empty());
    assert!(world.registrar.ends.is_empty());
}

#[test]
fn a_contact_goes_when_its_time_is_over() {
    let mut world = World::new();
    world.ask(("c", 1), "Contact: <sip:alice@192.0.2.7>;expires=60\n");
    world.ask(("c", 1), "Contact: <sip:alice@192.0.2.8>;expires=90\n");
    world.after(Duration::from_secs(60));
    assert_eq!((world.tick(), world.kept.keys().next()), (1, Some(&BindingSid(2))));
    // jambonz 204: it comes back as a new one.
    let came = world.ask(("c", 2), "Contact: <sip:alice@192.0.2.7>;expires=60\n");
    assert_eq!((came.contacts.len(), came.written), (2, vec![true]));
    world.after(Duration::from_secs(100));
    assert_eq!(world.tick(), 2);
    assert_eq!(world.registrar.deadline(), Mono::NEVER);
}

#[test]
fn times_are_bounded_and_said() {
    let mut world = World::new();
    let came = world.ask(("c", 1), "Contact: <sip:alice@192.0.2.7>;expires=59\n");
    assert_eq!(came.code, 423);
    assert_eq!(came.headers, "Min-Expires: 60\r\n");
    // Flexisip 120: longer than the most is the most, and the phone hears of it.
    for (lines, seconds) in [
        ("Contact: <sip:alice@192.0.2.7>;expires=99999999\n", 7_200),
        ("Contact: <sip:alice@192.0.2.7>\nExpires: 300\n", 300),
        ("Contact: <sip:alice@192.0.2.7>;expires=\"soon\"\nExpires: 300\n", 3_600),
        ("Contact: <sip:alice@192.0.2.7>\nExpires: soon\n", 3_600),
        ("Contact: <sip:alice@192.0.2.7>;expires=4294967296\n", 3_600),
    ] {
        let cseq = u32::try_from(world.now.mono.0 / 1_000_000_000).unwrap();
        let came = world.ask(("c", cseq), lines);
        assert_eq!((came.code, world.expires()), (200, vec![seconds]), "{lines}");
        assert!(came.headers.contains(&format!(";expires={seconds}\r\n")), "{}", came.headers);
        world.after(Duration::from_secs(1));
    }
}

#[test]
fn a_request_that_cannot_be_read_changes_nothing() {
    let mut world = World::new();
    world.ask(("c", 1), "Contact: <sip:alice@192.0.2.7>\n");
    let fine = "Contact: <sip:alice@192.0.2.9>\n";
    for bad in [
        // Kamailio 4926.
        "Contact: <sip:alice@192.0.2.10:5060transport=udp>;expires=3600\n",
        "Contact: <sip:alice@192.0.2.10>;expires=30\n",
        "Contact: <tel:+15550100>\n",
        "Contact: <mailto:alice@a.example>\n",
        "Contact: *\n",
        "Contact: *\nExpires: 60\n",
        "Contact: *\nContact: <sip:alice@192.0.2.8>\nExpires: 0\n",
        "Contact: <sip:alice@192.0.2.9>;expires=600\n",
        "Contact: <sip:alice@192.0.2.8>;reg-id=1;+sip.instance=\"<a>\", \
         <sip:alice@192.0.2.10>;reg-id=1;+sip.instance=\"<a>\"\n",
        "Path: nonsense\n",
    ] {
        let came = world.ask(("d", 1), &format!("{fine}{bad}"));
        assert!([400, 423].contains(&came.code), "{} {bad}", came.code);
        assert_eq!(world.expires().len(), 1, "{bad}");
    }
    let many: String =
        (0..11).map(|at| format!("Contact: <sip:alice@192.0.2.{at}>;expires=0\n")).collect();
    assert_eq!(world.ask(("d", 1), &many).code, 400);
    let long = format!("Contact: <sip:{}@192.0.2.7>\n", "a".repeat(600));
    assert_eq!(world.ask(("d", 1), &long).code, 400);
}

#[test]
fn of_one_phone_the_later_request_counts() {
    let mut world = World::new();
    let contact = "Contact: <sip:alice@192.0.2.7>\n";
    world.ask(("c", 5), contact);
    assert_eq!(world.ask(("c", 4), contact).code, 500);
    assert_eq!(world.ask(("c", 4), "Contact: *\nExpires: 0\n").code, 500);
    // Its answer was lost: the same again is the same answer.
    world.after(Duration::from_secs(5));
    let came = world.ask(("c", 5), contact);
    assert_eq!((came.code, came.contacts.len(), world.expires()), (200, 1, vec![3_595]));
    assert_eq!(world.ask(("c", 6), contact).code, 200);
    // Another Call-ID is not compared (RFC 3261 section 10.3).
    assert_eq!(world.ask(("d", 1), contact).code, 200);
    let came = world.ask(("e", 1), "Contact: *\nExpires: 0\n");
    assert_eq!((came.code, came.contacts.len(), came.written), (200, 0, vec![false]));
    assert_eq!(world.ask(("e", 2), "Contact: *\nExpires: 0\n").code, 200, "of nothing");
}

/// PJSIP 3887: a phone that has moved brings its new contact and takes back the old one at once.
#[test]
fn one_request_brings_and_takes_back() {
    let mut world = World::new();
    world.ask(("c", 1), "Contact: <sip:alice@10.0.0.1:1000;transport=TCP;ob>\n");
    let came = world.ask(
        ("c", 2),
        "Contact: <sip:alice@10.0.0.1:2000;transport=TCP;ob>\n\
         Contact: <sip:alice@10.0.0.1:1000;transport=TCP;ob>;expires=0\nExpires: 600\n",
    );
    assert_eq!(came.contacts, ["<sip:alice@10.0.0.1:2000;transport=TCP;ob>"]);
    assert_eq!(came.written, [false, true]);
}

/// The same of a phone that says by its instance that it is the same: its new contact does not take
/// the place of the one that goes, which would take it along; in whatever order, and whenever.
#[test]
fn a_contact_that_is_taken_back_takes_no_other_along() {
    let contact = |port: u32, expires: u32| {
        format!(
            "Contact: <sip:alice@10.0.0.1:{port};transport=tcp>;expires={expires};\
             +sip.instance=\"<b>\"\n"
        )
    };
    let listed =
        |port: u32| format!("<sip:alice@10.0.0.1:{port};transport=tcp>;+sip.instance=\"<b>\"");
    let (old, new, gone) = (contact(1_000, 600), contact(2_000, 600), contact(1_000, 0));
    for asked in [
        vec![format!("{new}{gone}")],
        vec![format!("{gone}{new}")],
        vec![new.clone(), gone.clone()],
        vec![gone, new.clone()],
    ] {
        let mut world = World::new();
        world.limits.user_contacts = 1;
        world.by_connection(1);
        world.ask(("c", 1), &old);
        world.after(Duration::from_secs(100));
        world.by_connection(2);
        for (cseq, lines) in (2..).zip(&asked) {
            assert_eq!(world.ask(("c", cseq), lines).code, 200, "{asked:?}");
        }
        assert_eq!(world.ask(("d", 1), "").contacts, [listed(2_000)], "{asked:?}");
        assert_eq!((world.kept.len(), world.expires()), (1, vec![600]));
        world.after(Duration::from_secs(600));
        world.tick();
        let micros: u64 = world.used.values().map(|row| row.micros).sum();
        assert_eq!((micros, world.used.len()), (700_000_000, 1), "{asked:?}");
    }
    // Two that live: neither takes the place of the other.
    let mut world = World::new();
    world.by_connection(1);
    world.ask(("c", 1), &old);
    let came = world.ask(("c", 2), &format!("{new}{old}"));
    assert_eq!(came.contacts.len(), 2, "{came:?}");
    let came = world.ask(("c", 3), &format!("{}{}", contact(3_000, 600), contact(4_000, 600)));
    assert_eq!(came.contacts.len(), 2, "{came:?}");
}

/// In the order of their REGISTERs, whatever the clock showed.
#[test]
fn later_contacts_come_first_though_the_clock_was_set_back() {
    let mut world = World::new();
    let contact = |at: u32| format!("Contact: <sip:alice@192.0.2.{at}>\n");
    world.ask(("c", 1), &contact(1));
    world.now.wall.0 -= 3_600_000_000;
    world.ask(("c", 2), &contact(2));
    let first = |world: &World| {
        let contacts = world.registrar.contacts(&world.user);
        assert!(contacts[0].kept.turn > contacts[1].kept.turn);
        contacts[0].contact.clone()
    };
    assert_eq!(first(&world), "sip:alice@192.0.2.2");
    let kept: Vec<_> = world.kept.values().cloned().collect();
    world.registrar = Registrar::default();
    world.registrar.load(world.now, &kept);
    assert_eq!(first(&world), "sip:alice@192.0.2.2", "to a successor, too");
    world.ask(("c", 3), &contact(1));
    assert_eq!(first(&world), "sip:alice@192.0.2.1");
}

#[test]
fn a_user_and_an_account_have_so_many_contacts() {
    let mut world = World::new();
    let contact = |at: u32| format!("Contact: <sip:alice@192.0.2.{at}>\n");
    for at in 0..3 {
        assert_eq!(world.ask(("c", at + 1), &contact(at)).code, 200);
    }
    assert_eq!(world.ask(("c", 9), &contact(9)).code, 403);
    // Kamailio 2471, 278: what is there may be refreshed and taken back.
    assert_eq!(world.ask(("c", 9), &contact(1)).code, 200);
    assert_eq!(world.ask(("c", 9), "Contact: <sip:alice@192.0.2.2>;expires=0\n").code, 200);
    assert_eq!(world.ask(("c", 10), &contact(9)).code, 200);
    // Kamailio 3366: the same name at another domain is somebody else.
    world.user.0 = DomainSid(2);
    assert_eq!(world.ask(("c", 1), &contact(0)).contacts.len(), 1);
    assert_eq!(world.ask(("c", 2), &contact(1)).code, 200);
    assert_eq!(world.ask(("c", 3), &contact(2)).code, 403, "its account has five");
    // A domain is deleted, or a user of it.
    for (domain, name, count) in [(1, Some("bob"), 0), (1, Some("alice"), 3), (2, None, 2)] {
        let gone = world.registrar.forget(world.now, DomainSid(domain), name);
        assert_eq!(world.store(&gone), count);
    }
    assert_eq!(world.registrar.deadline(), Mono::NEVER);
}

/// RFC 5626, and OpenSIPS 1035: what a phone had before it came back is not where it is called.
#[test]
fn an_instance_has_its_flows_and_the_last_one_counts() {
    let mut world = World::new();
    world.by_connection(1);
    let flow = |port: u32, id: u32| {
        format!(
            "Supported: outbound, path\nContact: <sip:alice@10.0.0.1:{port};transport=tcp;ob>;\
             reg-id={id};+sip.instance=\"<urn:uuid:1>\"\n"
        )
    };
    let came = world.ask(("c", 1), &flow(1_000, 1));
    assert!(came.headers.contains("Require: outbound\r\n"), "{}", came.headers);
    world.by_connection(2);
    assert_eq!(world.ask(("c", 2), &flow(1_000, 2)).contacts.len(), 2, "two flows");
    world.by_connection(3);
    let came = world.ask(("d", 1), &flow(2_000, 1));
    assert_eq!((came.code, came.contacts.len(), came.written), (200, 2, vec![true]));
    assert!(!came.headers.contains("10.0.0.1:1000;transport=tcp;ob>;expires=3600;reg-id=1"));
    // Without reg-id, over a stream: the same instance has left its old connection.
    let plain = |port: u32| {
        format!("Contact: <sip:alice@10.0.0.1:{port};transport=tcp>;+sip.instance=\"<b>\"\n")
    };
    world.user.1 = "bob".to_owned();
    assert_eq!(world.ask(("c", 1), &plain(1_000)).contacts.len(), 1);
    let came = world.ask(("d", 1), &plain(2_000));
    assert_eq!(came.contacts, ["<sip:alice@10.0.0.1:2000;transport=tcp>;+sip.instance=\"<b>\""]);
    // Over UDP nobody keeps a flow alive for us, and nothing is required.
    world.hop = Hop::datagram(0, A.parse().unwrap());
    let came = world.ask(("e", 1), &flow(1_000, 1));
    assert!(came.code == 200 && !came.headers.contains("Require"), "{}", came.headers);
    // It was relayed by somebody who keeps no flow.
    let relayed = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2\n".to_owned() + &flow(1_000, 3);
    assert_eq!(world.ask(("e", 2), &relayed).code, 439);
    let edge = "Path: <sip:edge.test;lr;ob>\n".to_owned() + &relayed;
    assert_eq!(world.ask(("e", 3), &edge).code, 200);
}

/// RFC 3327: the way back is kept, and told to whoever understands it.
#[test]
fn a_path_is_kept_and_said() {
    let mut world = World::new();
    let lines = "Supported: path\nPath: <sip:p1.test;lr>, <sip:p2.test;lr>\n\
                 Contact: <sip:alice@10.0.0.1>\n";
    let came = world.ask(("c", 1), lines);
    assert!(came.headers.contains("Path: <sip:p1.test;lr>, <sip:p2.test;lr>\r\n"));
    let live = &world.registrar.users[&world.user][0];
    assert_eq!(live.binding.path, ["<sip:p1.test;lr>", "<sip:p2.test;lr>"]);
    // It comes another way: that is written before it is answered.
    assert_eq!(world.ask(("c", 2), &lines.replace("p2", "p3")).written, [true]);
    world.hop = Hop::datagram(0, "192.0.2.7:7777".parse().unwrap());
    assert_eq!(world.ask(("c", 3), &lines.replace("p2", "p3")).written, [true], "a new port");
}

#[test]
fn a_successor_knows_what_was_written() {
    let mut world = World::new();
    world.ask(("c", 1), "Contact: <sip:alice@192.0.2.7>;expires=600\n");
    let binding = world.registrar.users[&world.user][0].binding.clone();
    world.after(Duration::from_secs(100));
    world.registrar = Registrar::default();
    world.registrar.load(world.now, &[binding]);
    assert_eq!(world.expires(), [500]);
    assert_eq!(world.ask(("c", 0), "Contact: <sip:alice@192.0.2.7>\n").code, 500, "its order too");
    world.after(Duration::from_secs(500));
    assert_eq!(world.tick(), 1);
}

/// More contacts than an answer has room for: those of whoever asks come first.
#[test]
fn an_answer_has_room_for_so_many() {
    let mut world = World::new();
    world.limits.user_contacts = 100;
    world.limits.account_contacts = 100;
    let contact = |at: u32| format!("Contact: <sip:{}{at}@192.0.2.7>\n", "a".repeat(200));
    for at in 0..60 {
        assert_eq!(world.ask((&format!("c{at}"), 1), &contact(at)).code, 200);
    }
    let came = world.ask(("c7", 2), &contact(7));
    assert!((10..60).contains(&came.contacts.len()) && came.headers.len() < LISTED_MAX + 200);
    assert!(came.contacts[0].contains("a7@"), "{:?}", came.contacts);
}
