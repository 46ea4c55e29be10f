//! Calls that must say whose they are: challenged without state, their credentials compared by the
//! controlplane, nothing told of who there is.

use std::time::Duration;

use model::port::Entity;
use model::{Credential, CredentialList, CredentialListSid, CredentialSid, DomainAuth, Mapping};
use sip::digest::{Answer, Challenge, ha1};
use sip::{Message, Method, Name, Writer};
use wire::Command;
use wire::command::Verdict;
use wire::counter::Counter;
use wire::event::Event;
use wire::table::{Lock, PlaceKind, Table};
use world::directed::Directed;
use world::tenant::{Server, Web};
use world::{Manual, Setup, World};

use crate::common::{SECOND, count, incoming, manual, ms, publish, send as command, told};
use crate::raw::{Log, all, body, header, last, sdp, tap};
use crate::strangers::{KNOWN, STRANGER, admission, request, send};

pub(crate) const PASSWORD: &str = "Secret-of-Alice-1";

/// An answer to the challenges in a response, for a header of this name; `algorithm` SHA-256 or
/// MD5.
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) algorithm: &'a str,
    pub(crate) nc: u32,
}

impl Default for Login<'_> {
    fn default() -> Self {
        Self { user: "alice", password: PASSWORD, algorithm: "SHA-256", nc: 1 }
    }
}

impl Login<'_> {
    /// The header line.
    pub(crate) fn answer(&self, response: &str, method: Method<'_>, uri: &str) -> String {
        let bytes = response.replace("\r\n", "\n").replace('\n', "\r\n");
        let message = Message::parse(bytes.as_bytes()).unwrap();
        let (asks, gives) = match message.status() {
            Some(401) => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        let challenges: Vec<_> = message.headers_named(asks).filter_map(Challenge::parse).collect();
        let wanted = challenges.iter().find(|it| it.algorithm.text() == self.algorithm);
        let challenge = wanted.unwrap_or(&challenges[0]);
        let password = self.password.as_bytes();
        let ha1 = ha1(challenge.algorithm, self.user.as_bytes(), challenge.realm, password);
        let answer = Answer {
            user: self.user.as_bytes(),
            ha1: ha1.bytes(),
            method,
            uri: uri.as_bytes(),
            nc: self.nc,
            cnonce: b"c0ffee",
            session: false,
        };
        let mut out = [0; 1_024];
        let writer = Writer::new(&mut out).request_line(method, b"sip:x");
        let written = challenge.answer(writer, gives, &answer).finish().unwrap();
        let text = String::from_utf8_lossy(written).into_owned();
        text.lines().nth(1).unwrap().to_owned() + "\n"
    }
}

/// `known.example` takes calls from 10.1/16, and from anywhere with credentials.
fn locked_table() -> Table {
    let mut admission = admission();
    let hash = admission.hash(PlaceKind::Domain, b"known.example");
    admission.locks = vec![Lock { hash, calls: true, registrations: false }];
    Table { admission: Some(admission), ..Table::default() }
}

fn world_with(shards: u8) -> (World, Log) {
    let mut setup = Setup::new(3);
    setup.plane.shards = shards;
    setup.plane.guard.stranger_rate = 4_000;
    let mut world = World::new(&setup);
    world.control = Some(Box::new(Manual::new(&world.plane)));
    publish(&mut world, &locked_table());
    let log = tap(&mut world);
    (world, log)
}

const URI: &str = "sip:bob@Known.Example";

fn invite(from: &str, number: u32, more: &str) -> String {
    let rest = format!("{more}{}", body(&sdp("10.2.0.9", 1, "0", "")));
    request("INVITE", URI, from, number, &rest)
}

/// The same request in another transaction.
fn anew(text: &str, number: u32) -> String {
    let old = text.split("branch=z9hG4bK").nth(1).unwrap().split(';').next().unwrap();
    text.replace(&format!("branch=z9hG4bK{old}"), &format!("branch=z9hG4bKn{number}"))
}

/// Sends an INVITE and gives its challenge.
fn challenged(world: &mut World, log: &Log, number: u32) -> String {
    send(world, STRANGER, &invite(STRANGER, number, ""));
    world.run_for(ms(50));
    let tag = format!("Call-ID: s{number}@");
    last(log, STRANGER, "SIP/2.0 407", &tag).unwrap()
}

fn claims(world: &mut World) -> Vec<(u8, u64, String, String)> {
    let of = |told: &world::Told| match told.event() {
        Event::Claim(claim) => {
            let head = String::from_utf8_lossy(claim.head).into_owned();
            Some((told.shard, claim.id, claim.realm.to_owned(), head))
        }
        _ => None,
    };
    manual(world).told.iter().filter_map(of).collect()
}

#[test]
fn a_stranger_is_challenged_without_state_and_for_what_it_paid() {
    let (mut world, log) = world_with(1);
    let asked = send(&mut world, STRANGER, &invite(STRANGER, 1, ""));
    world.run_for(ms(50));
    let asks = all(&log, STRANGER, "SIP/2.0 407", "");
    assert_eq!(asks.len(), 1);
    assert!(asks[0].len() * 2 <= asked * 3, "{} for {asked}", asks[0].len());
    let lines: Vec<&str> =
        asks[0].lines().filter(|line| line.starts_with("Proxy-Authenticate: ")).collect();
    assert!(lines[0].contains("SHA-256") && lines[1].contains("MD5"), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("realm=\"known.example\"")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("qop=\"auth\"") && !line.contains("stale")));
    assert_eq!(world.plane.leftovers(), Vec::<String>::new());
    assert_eq!(told(&mut world), Vec::<&str>::new());
    // Its list is enough for whoever is in it.
    send(&mut world, KNOWN, &invite(KNOWN, 2, ""));
    world.run_for(ms(50));
    assert_eq!(all(&log, KNOWN, "SIP/2.0 100", "").len(), 1);
    // One datagram each, of 1000: no more bytes go out than came in.
    let came: usize = (10..1_010)
        .map(|number| {
            let sent = send(&mut world, STRANGER, &invite(STRANGER, number, ""));
            world.run_for(ms(5));
            sent
        })
        .sum();
    let went: usize = all(&log, STRANGER, "SIP/2.0 407", "").iter().map(String::len).sum();
    assert!(went <= asked + came + 128 && went > came / 4, "{went} for {came}");
}

/// A stranger's short request, which pays for one challenge and not for two, gets the one that
/// every phone knows: an answer longer than it may be would be none.
#[test]
fn a_short_request_gets_the_challenge_that_it_pays_for() {
    let (mut world, log) = world_with(1);
    let rest = "User-Agent: a phone of few words/1\nContent-Length: 0\n\n";
    let asked = send(&mut world, STRANGER, &request("INVITE", URI, STRANGER, 1, rest));
    world.run_for(ms(50));
    let asks = all(&log, STRANGER, "SIP/2.0 407", "");
    assert_eq!(asks.len(), 1, "of {asked} bytes");
    assert!(asks[0].len() * 2 <= asked * 3, "{} for {asked}", asks[0].len());
    assert!(asks[0].contains("algorithm=MD5") && !asks[0].contains("SHA-256"), "{}", asks[0]);
}

/// Where both challenges are longer than what a stranger has paid for so far, the same request said
/// again pays for them: also when what came between was lost (T2 of RFC 3261 is 4 s).
#[test]
fn a_request_that_is_said_again_pays_for_a_longer_challenge() {
    let mut waited = 0;
    for longer in (0..160).step_by(16) {
        let (mut world, log) = world_with(1);
        let agent = "x".repeat(longer);
        let rest = format!("User-Agent: a phone of few words/{agent}\nContent-Length: 0\n\n");
        let text = request("INVITE", URI, STRANGER, 1, &rest);
        send(&mut world, STRANGER, &text);
        world.run_for(ms(4_000));
        waited += u32::from(all(&log, STRANGER, "SIP/2.0 407", "").is_empty());
        send(&mut world, STRANGER, &text);
        world.run_for(ms(50));
        assert!(!all(&log, STRANGER, "SIP/2.0 407", "").is_empty(), "of {} bytes", text.len());
    }
    assert!(waited > 0, "all were paid for at once");
}

#[test]
fn credentials_are_asked_about_once_and_the_call_begins_by_their_proof() {
    for (shards, algorithm) in [(1, "SHA-256"), (3, "MD5")] {
        let (mut world, log) = world_with(shards);
        let challenge = challenged(&mut world, &log, 1);
        let login = Login { algorithm, ..Login::default() };
        let more = login.answer(&challenge, Method::Invite, URI);
        let asks = anew(&invite(STRANGER, 1, &more), 2);
        for _ in 0..3 {
            send(&mut world, STRANGER, &asks);
            world.run_for(ms(20));
        }
        let asked = claims(&mut world);
        assert_eq!(asked.len(), 1, "once, however often it comes");
        let (shard, id, realm, head) = asked[0].clone();
        assert_eq!(realm, "known.example");
        assert!(head.contains("Proxy-Authorization: Digest") && !head.contains("m=audio"));
        let verdict = Verdict::Proven { user: "alice" };
        command(&mut world, shard, &Command::Verdict { id, verdict });
        world.run_for(ms(50));
        assert_eq!(all(&log, STRANGER, "SIP/2.0 100", "").len(), 1);
        let users: Vec<String> = manual(&mut world)
            .told
            .iter()
            .filter_map(|told| match told.event() {
                Event::Incoming(incoming) => Some(incoming.user.to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(users, ["alice"]);
        // Said once more, it is about nothing.
        command(&mut world, shard, &Command::Verdict { id, verdict });
        world.run_for(ms(50));
        assert_eq!(incoming(&mut world).len(), 1);
        // Its answer is used up, for whatever else.
        let call_id = "Call-ID: replayed";
        let replay = anew(&asks, 3).replace("Call-ID: s1", call_id);
        for text in [anew(&asks, 4), replay] {
            send(&mut world, STRANGER, &text);
            world.run_for(ms(50));
        }
        let again = last(&log, STRANGER, "SIP/2.0 407", "stale=true");
        assert!(again.is_some(), "a replay");
        assert_eq!(claims(&mut world).len(), 1);
        assert_eq!(all(&log, STRANGER, "SIP/2.0 482", "").len(), 1, "the same request");
        if shards == 1 {
            assert_eq!(count(&world, Counter::NonceReplayed), 1);
        }
    }
}

#[test]
fn what_answers_no_challenge_of_ours_is_challenged_and_asks_nobody() {
    let (mut world, log) = world_with(1);
    let challenge = challenged(&mut world, &log, 1);
    let fine = Login::default().answer(&challenge, Method::Invite, URI);
    let other = "10.2.0.10:5060";
    let nonce = header(&challenge, "Proxy-Authenticate");
    let nonce = nonce.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let cases = [
        (other, fine.clone(), false),
        (STRANGER, fine.replace(&nonce, &"0".repeat(32)), false),
        (STRANGER, fine.replace("known.example", "other.example"), false),
        (STRANGER, "Proxy-Authorization: Basic YTpi\n".to_owned(), false),
        (STRANGER, "Proxy-Authorization: Digest username=\"a\n".to_owned(), false),
        (STRANGER, fine.replace("Proxy-Authorization", "Authorization"), false),
        (STRANGER, fine.replace("SHA-256", "SHA-512-256"), false),
    ];
    for (number, (from, more, stale)) in (10..).zip(cases) {
        send(&mut world, from, &invite(from, number, &more));
        world.run_for(ms(100));
        let tag = format!("Call-ID: s{number}@");
        let again = last(&log, from, "SIP/2.0 407", &tag).unwrap_or_else(|| panic!("{more}"));
        assert_eq!(again.contains("stale=true"), stale, "{more}");
    }
    world.run_for(Duration::from_secs(61));
    send(&mut world, STRANGER, &invite(STRANGER, 30, &fine));
    world.run_for(ms(100));
    let old = last(&log, STRANGER, "SIP/2.0 407", "Call-ID: s30@").unwrap();
    assert!(old.contains("stale=true"), "{old}");
    assert_eq!(claims(&mut world).len(), 0);
    assert_eq!(world.plane.leftovers(), Vec::<String>::new());
}

/// What libre does before 2.9: a challenge with SHA-256 in it ends the call, the next one is begun
/// anew.
#[test]
fn who_does_not_know_sha_256_is_offered_md5_alone() {
    let (mut world, log) = world_with(1);
    let offered = |text: &str| (text.contains("SHA-256"), text.contains("algorithm=MD5"));
    assert_eq!(offered(&challenged(&mut world, &log, 1)), (true, true));
    // From is the phone's, and the same: so it is the phone that gave up.
    let same = |number: u32, more: &str| {
        invite(STRANGER, number, more).replace(&format!("tag=f{number}"), "tag=other")
    };
    let ask = |world: &mut World, text: &str, number: u32| {
        send(world, STRANGER, text);
        world.run_for(ms(50));
        last(&log, STRANGER, "SIP/2.0 407", &format!("Call-ID: s{number}@")).unwrap()
    };
    let challenge = ask(&mut world, &same(2, ""), 2);
    assert_eq!(offered(&challenge), (false, true));
    let login = Login { algorithm: "MD5", ..Login::default() };
    let more = login.answer(&challenge, Method::Invite, URI);
    send(&mut world, STRANGER, &anew(&same(2, &more), 3));
    world.run_for(ms(50));
    let (shard, id, ..) = claims(&mut world).pop().unwrap();
    command(&mut world, shard, &Command::Verdict { id, verdict: Verdict::Wrong });
    world.run_for(ms(50));
    assert_eq!(
        offered(&last(&log, STRANGER, "SIP/2.0 407", "Call-ID: s2@").unwrap()),
        (false, true)
    );
    for number in 4..8 {
        let text = same(number, "");
        assert_eq!(offered(&ask(&mut world, &text, number)), (false, true), "it is known");
    }
}

#[test]
fn a_nonce_from_before_a_restart_is_old() {
    let (mut world, log) = world_with(1);
    let challenge = challenged(&mut world, &log, 1);
    world.restart_plane(ms(100));
    publish(&mut world, &locked_table());
    let more = Login::default().answer(&challenge, Method::Invite, URI);
    send(&mut world, STRANGER, &invite(STRANGER, 2, &more));
    world.run_for(ms(100));
    let old = last(&log, STRANGER, "SIP/2.0 407", "Call-ID: s2@").unwrap();
    assert!(old.contains("stale=true"), "{old}");
}

#[test]
fn a_claim_that_nobody_judges_a_wrong_one_and_one_that_is_given_up() {
    let (mut world, log) = world_with(1);
    let ask = |world: &mut World, number: u32| {
        let challenge = challenged(world, &log, number);
        let more = Login::default().answer(&challenge, Method::Invite, URI);
        let asks = anew(&invite(STRANGER, number, &more), number + 1_000);
        send(world, STRANGER, &asks);
        world.run_for(ms(50));
        let (shard, id, ..) = claims(world).pop().unwrap();
        (shard, id, asks)
    };
    // Nobody is there: 2 s.
    let before = claims(&mut world).len();
    ask(&mut world, 1);
    assert_eq!(claims(&mut world).len(), before + 1);
    world.run_for(2 * SECOND);
    let busy = last(&log, STRANGER, "SIP/2.0 503", "Call-ID: s1@").unwrap();
    assert!(busy.contains("Retry-After: 5"), "{busy}");
    assert_eq!(count(&world, Counter::RefusedNoController), 1);
    // Wrong.
    let (shard, id, _) = ask(&mut world, 2);
    let verdict = Verdict::Wrong;
    command(&mut world, shard, &Command::Verdict { id, verdict });
    world.run_for(ms(50));
    assert_eq!(all(&log, STRANGER, "SIP/2.0 407", "Call-ID: s2@").len(), 2);
    assert_eq!(count(&world, Counter::RefusedCredentials), 1);
    // Slowed down.
    let (shard, id, _) = ask(&mut world, 3);
    let headers = "Supported: path\r\nVia: SIP/2.0/UDP x\r\nDate: \u{1}\r\nno header\r\n";
    let verdict = Verdict::Answer { code: 503, retry_after: 17, headers };
    command(&mut world, shard, &Command::Verdict { id, verdict });
    world.run_for(ms(50));
    let slow = last(&log, STRANGER, "SIP/2.0 503", "Call-ID: s3@").unwrap();
    assert!(slow.contains("Retry-After: 17") && slow.contains("Supported: path"), "{slow}");
    assert!(slow.matches("Via: ").count() == 1 && !slow.contains("Date"), "{slow}");
    // Given up: by itself, not by another host.
    let (_, _, asks) = ask(&mut world, 4);
    let cancel = asks.split("Content-Type").next().unwrap().replace("INVITE", "CANCEL");
    let cancel = cancel + "Content-Length: 0\n\n";
    send(&mut world, "10.2.0.77:5060", &cancel);
    world.run_for(ms(50));
    assert!(last(&log, "10.2.0.77:5060", "SIP/2.0 481", "").is_some());
    send(&mut world, STRANGER, &cancel);
    world.run_for(ms(50));
    assert!(last(&log, STRANGER, "SIP/2.0 200", "CANCEL").is_some());
    assert!(last(&log, STRANGER, "SIP/2.0 487", "INVITE").is_some());
    // One that is too long.
    let challenge = challenged(&mut world, &log, 5);
    let more = Login::default().answer(&challenge, Method::Invite, URI);
    let more = more + &format!("X-Long: {}\n", "x".repeat(6_200));
    send(&mut world, STRANGER, &anew(&invite(STRANGER, 5, &more), 1_005));
    world.run_for(ms(50));
    assert!(last(&log, STRANGER, "SIP/2.0 513", "").is_some());
    world.run_for(40 * SECOND);
    assert_eq!(world.plane.leftovers(), Vec::<String>::new());
}

#[test]
fn a_source_has_a_part_of_what_may_wait() {
    let (mut world, log) = world_with(1);
    let challenge = challenged(&mut world, &log, 1);
    for nc in 1..=200 {
        let more = Login { nc, ..Login::default() }.answer(&challenge, Method::Invite, URI);
        send(&mut world, STRANGER, &invite(STRANGER, 100 + nc, &more));
        world.run_for(ms(1));
    }
    world.run_for(ms(50));
    let asked = claims(&mut world).len();
    // The first one came from a stranger still.
    assert!((100..=129).contains(&asked), "an eighth: {asked}");
    assert!(!all(&log, STRANGER, "SIP/2.0 503", "Retry-After: 5").is_empty());
    world.run_for(40 * SECOND);
    assert_eq!(world.plane.leftovers(), Vec::<String>::new());
}

/// The real director: alice of `t0.example` may call from anywhere.
pub(crate) fn directed(shards: u8, change: impl FnOnce(&mut Directed)) -> (World, Log) {
    let mut setup = Setup::new(5);
    setup.plane.shards = shards;
    let mut world = World::new(&setup);
    let mut web = Web::new(5);
    let tenant = web.tenant(Server::Fast, Server::Fast);
    for group in 0..10_000 {
        web.owner.insert(group, tenant);
        let document = "<Response><Pause length=\"5\"/></Response>".to_owned();
        web.tenants[tenant].documents.insert((group, "voice".to_owned()), document);
    }
    let account = web.tenants[tenant].account.clone();
    let domain = web.domain(tenant);
    let mut directed = Directed::new(shards, web, 5);
    directed.settings.limits.account_calls_per_second = 10_000;
    let (sid, list) = (account.sid, CredentialListSid(1));
    let mapped = vec![Mapping { list, ..Mapping::default() }];
    let auth = DomainAuth {
        domain: domain.sid,
        account: sid,
        registers: true,
        calls: mapped.clone(),
        registrations: mapped,
    };
    directed.ledger.put(account.into());
    directed.ledger.put(domain.into());
    let lists = CredentialList { sid: list, account: sid, ..CredentialList::default() };
    directed.ledger.put(lists.into());
    for (at, user) in (1..).zip(["alice", "bob", "carol"]) {
        directed.ledger.put(Entity::Credential(Credential {
            sid: CredentialSid(at),
            account: sid,
            list,
            username: user.to_owned(),
            password: PASSWORD.into(),
            ..Credential::default()
        }));
    }
    directed.ledger.put(auth.into());
    change(&mut directed);
    directed.boot(world.now, &world.plane);
    world.control = Some(Box::new(directed));
    world.run_for(ms(200));
    let log = tap(&mut world);
    (world, log)
}

const T0: &str = "sip:g1@t0.example";

/// An INVITE of conversation `number` with its challenge answered so, and the final word.
fn attempt(world: &mut World, log: &Log, number: u32, login: &Login<'_>) -> String {
    let rest = body(&sdp("10.2.0.9", 1, "0", ""));
    let text = |more: &str, branch: u32| {
        let text = request("INVITE", T0, STRANGER, number, &format!("{more}{rest}"));
        let from = format!("<sip:c{number}@t0.example>");
        anew(&text.replace(&format!("<sip:x@{STRANGER}>;tag"), &format!("{from};tag")), branch)
    };
    let before = log.borrow().len();
    send(world, STRANGER, &text("", number * 2 + 10_000));
    world.run_for(ms(40));
    let id = format!("Call-ID: s{number}@");
    let Some(challenge) = last(log, STRANGER, "SIP/2.0 407", &id) else {
        return last(log, STRANGER, "SIP/2.0", &id).unwrap_or_default();
    };
    let more = login.answer(&challenge, Method::Invite, T0);
    let middle = log.borrow().len();
    send(world, STRANGER, &text(&more, number * 2 + 10_001));
    world.run_for(ms(40));
    assert!(middle > before);
    last(log, STRANGER, "SIP/2.0", &id).unwrap()
}

/// What may differ between two answers: nonces and what the request chose.
fn shape(text: &str) -> String {
    let line = |line: &str| match line.split_once("nonce=\"") {
        Some((start, rest)) => format!("{start}{}", rest.split_once('"').unwrap().1),
        None => line.split([':', ' ']).next().unwrap_or_default().to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn nobody_learns_who_there_is() {
    let (mut world, log) = directed(1, |_| ());
    let right = attempt(&mut world, &log, 1, &Login::default());
    assert!(right.starts_with("SIP/2.0 100") || right.starts_with("SIP/2.0 200"), "{right}");
    let password = "Not-the-Password-1";
    let wrong = [
        Login { password, ..Login::default() },
        Login { user: "mallory", password, ..Login::default() },
        Login { user: "mallory", ..Login::default() },
        // What is compared where there is nobody is nobody's password.
        Login { user: "mallory", password: "Nobodys-Password-1", ..Login::default() },
        Login { user: "Alice", ..Login::default() },
    ];
    let shapes: Vec<String> = (2..)
        .zip(&wrong)
        .map(|(number, login)| shape(&attempt(&mut world, &log, number, login)))
        .collect();
    assert!(shapes[0].contains("realm=\"t0.example\""), "{}", shapes[0]);
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:#?}");
    let control = world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap();
    assert_eq!(control.ledger.alerts, 5, "the tenant hears of each");
}

#[test]
fn whoever_guesses_waits_and_whoever_knows_does_not() {
    let (mut world, log) = directed(1, |_| ());
    let right = attempt(&mut world, &log, 1, &Login::default());
    assert!(!right.starts_with("SIP/2.0 4"), "{right}");
    let guess = Login { user: "bob", password: "Not-the-Password-1", ..Login::default() };
    let told: Vec<String> = (2..30)
        .map(|number| attempt(&mut world, &log, number, &guess))
        .map(|text| text[8..11].to_owned())
        .collect();
    assert!(told[..20].iter().all(|code| code == "407"), "{told:?}");
    assert!(told[21..].iter().all(|code| code == "503"), "{told:?}");
    let right = attempt(&mut world, &log, 50, &Login::default());
    assert!(!right.starts_with("SIP/2.0 5"), "{right}");
}

/// Credentials are of one request: whoever has seen them calls nobody else by them.
#[test]
fn credentials_go_to_nobody_but_whom_they_are_for() {
    let (mut world, log) = directed(1, |_| ());
    let rest = body(&sdp("10.2.0.9", 1, "0", ""));
    let text = |uri: &str, more: &str, branch| {
        anew(&request("INVITE", uri, STRANGER, 1, &format!("{more}{rest}")), branch)
    };
    for (at, (asked, signed, fine)) in (0..).zip([
        ("sip:g1@t0.example", "sip:premium@t0.example", false),
        ("sip:g1@t0.example", "sip:g1@t1.example", false),
        ("sip:g1@t0.example", "sip:g1@t0.example:5060;transport=udp", true),
    ]) {
        send(&mut world, STRANGER, &text(asked, "", at * 2));
        world.run_for(ms(50));
        let challenge = last(&log, STRANGER, "SIP/2.0 407", "").unwrap();
        let more = Login::default().answer(&challenge, Method::Invite, signed);
        log.borrow_mut().clear();
        send(&mut world, STRANGER, &text(asked, &more, at * 2 + 1));
        world.run_for(ms(50));
        assert_eq!(last(&log, STRANGER, "SIP/2.0 407", "").is_none(), fine, "{signed}");
    }
}
