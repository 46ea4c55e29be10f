//! Carriers that want to know who calls: what answers their 401 and 407, to whom, and how often
//! (RFC 3261 section 22, RFC 8760).

use shard::plan::Login;
use sip::Method;
use sip::digest::{Algorithm, Credentials, ha1};
use wire::counter::Counter;
use wire::event::Cause;
use wire::table::{StaticRoute, Table};
use wire::{Command, Originate};
use world::{Manner, Setup, World};

use crate::by_hand::{
    A, B, Hand, Log, ask, body, described, empty, header, headers, nothing_left, one_shard, sdp,
    send,
};
use crate::common::{SECOND, count, ends, ms, originate, publish, route_to, routed};

/// Hosts of the same carrier's network, and of another's, that are in no route.
const B2: &str = "10.1.0.3:5060";
const ELSEWHERE: &str = "9.9.9.9:5060";

const USER: &str = "tandem-trunk";
const PASSWORD: &str = "s3cret, with: colons";
const REALM: &str = "carrier.example";

fn setup(seed: u64, realm: &str) -> Setup {
    let mut setup = one_shard(seed);
    setup.plane.timers.media_timeout = std::time::Duration::ZERO;
    setup.plane.logins = vec![Login {
        trunk: "carrier".to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        realm: realm.to_owned(),
        digest: None,
    }];
    setup
}

/// A route with credentials to B (and, as a second target, B2), all in the test's hands.
fn trunk(setup: &Setup) -> (World, Log) {
    let mut world = routed(setup, Manner::silent(), vec![Manner::silent(), Manner::silent()]);
    let log = Log::new(&mut world, &[A, B, B2, ELSEWHERE]);
    let route = StaticRoute { login: "carrier".to_owned(), ..route_to(&world, &[1, 2]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    (world, log)
}

fn digest(more: &str) -> String {
    format!("Digest realm=\"{REALM}\", nonce=\"n1\"{more}")
}

/// `Name: value` of a challenge.
fn www(value: &str) -> String {
    format!("WWW-Authenticate: {value}\n")
}

fn refuse(world: &mut World, b: &Hand, invite: &str, status: &str, challenges: &str) {
    send(world, B, &b.reply(invite, status, challenges, &empty()));
}

/// What a request shows, judged as its server would.
#[track_caller]
fn shown<'t>(request: &'t str, name: &str) -> Credentials<'t> {
    let value = header(request, name);
    let credentials = Credentials::parse(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
    assert_eq!(credentials.user, USER.as_bytes());
    let uri = request.split(' ').nth(1).unwrap();
    assert_eq!(credentials.uri, uri.as_bytes(), "the Request-URI");
    let realm = credentials.realm;
    let secret = ha1(credentials.algorithm, USER.as_bytes(), realm, PASSWORD.as_bytes());
    let method = Method::of(request.split(' ').next().unwrap().as_bytes());
    assert!(credentials.verify(secret.bytes(), method), "{request}");
    credentials
}

/// The callee's INVITEs, each once.
fn invites(log: &Log) -> Vec<String> {
    let mut all = log.all(B, "INVITE", "");
    all.dedup();
    all
}

#[test]
fn a_challenge_is_answered_and_later_requests_carry_its_answer() {
    let (mut world, log) = trunk(&setup(1, ""));
    let mut a = Hand::caller("challenged");
    let first = ask(&mut world, &log, &a, "0");
    assert_eq!(header(&first, "Authorization"), "", "nobody has asked");
    let b = Hand::callee(&first, "first");
    refuse(
        &mut world,
        &b,
        &first,
        "401 Unauthorized",
        &www(&digest(", qop=\"auth\", opaque=\"o\"")),
    );
    assert!(header(&log.last(B, "ACK", ""), "To").contains("tag=first"), "it is acknowledged");
    let second = invites(&log).pop().unwrap();
    for same in ["Call-ID", "From", "To", "Max-Forwards", "Contact", "Content-Type"] {
        assert_eq!(header(&first, same), header(&second, same), "{same}");
    }
    assert_eq!(first.split("\n\n").nth(1), second.split("\n\n").nth(1), "the description");
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    assert_eq!((header(&first, "CSeq"), header(&second, "CSeq")), ("1 INVITE", "2 INVITE"));
    let given = shown(&second, "Authorization");
    assert_eq!((given.nonce_count(), given.opaque), (Some(1), Some(&b"o"[..])));

    let b = Hand::callee(&second, "b");
    send(&mut world, B, &b.reply(&second, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0")));
    let ack = log.last(B, "ACK", "tag=b");
    assert_eq!(header(&ack, "Authorization"), header(&second, "Authorization"), "section 22.1");
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));

    // Held: the re-INVITE shows what was asked before.
    let offer = sdp("10.1.0.1", 4_000, 2, "0") + "a=sendonly\n";
    send(&mut world, A, &a.request("INVITE", 2, "", &body("application/sdp", &offer)));
    send(&mut world, A, &a.request("ACK", 2, "", &empty()));
    let held = invites(&log).pop().unwrap();
    assert_eq!(header(&held, "CSeq"), "3 INVITE");
    assert_eq!(shown(&held, "Authorization").nonce_count(), Some(2));
    // Its nonce is old by now: the same request once more.
    let stale = format!("Digest realm=\"{REALM}\", nonce=\"n2\", stale=TRUE, qop=\"auth\"");
    refuse(&mut world, &b, &held, "401 Unauthorized", &www(&stale));
    let again = invites(&log).pop().unwrap();
    assert_eq!(header(&again, "CSeq"), "4 INVITE");
    let given = shown(&again, "Authorization");
    assert_eq!((given.nonce, given.nonce_count()), (&b"n2"[..], Some(1)));
    let answer = sdp("10.1.0.2", 5_000, 2, "0") + "a=recvonly\n";
    let answer = body("application/sdp", &answer);
    send(&mut world, B, &b.reply(&again, "200 OK", "", &answer));
    assert_eq!(
        header(&log.last(B, "ACK", "4 ACK"), "Authorization"),
        header(&again, "Authorization")
    );

    send(&mut world, A, &a.request("BYE", 3, "", &empty()));
    let bye = log.last(B, "BYE", "");
    assert_eq!(header(&bye, "CSeq"), "5 BYE");
    assert_eq!(shown(&bye, "Authorization").nonce_count(), Some(2));
    // The leg is gone by now, and its BYE is answered for all the same.
    world.run_for(ms(200));
    let fresh = format!("Digest realm=\"{REALM}\", nonce=\"n3\"");
    send(&mut world, B, &b.reply(&bye, "401 Unauthorized", &www(&fresh), &empty()));
    let bye = log.last(B, "BYE", "6 BYE");
    let given = shown(&bye, "Authorization");
    assert_eq!((given.nonce, given.qop), (&b"n3"[..], None), "no qop: RFC 2069's form");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    let end = ends(&mut world).into_iter().find(|end| !end.inbound).unwrap();
    assert_eq!((end.code, end.cause), (200, Cause::Normal));
    nothing_left(&mut world);
}

/// Peers' bugs: the weaker of two is taken, a hash that is not known spoils all of them, the header
/// is always Authorization, signs in a nonce are lost.
#[test]
fn the_strongest_hash_that_both_have_is_taken() {
    let with = |algorithm: &str| digest(&format!(", algorithm={algorithm}, qop=\"auth-int,auth\""));
    let (md5, sha) = (with("MD5"), with("SHA-256"));
    let other = with("SHA-512-256");
    let bare = format!("DIGEST  realm = \"{REALM}\",nonce=\"a+b/c==\" ,\n qop=auth");
    let basic = "Basic realm=\"x\"".to_owned();
    for (proxy, challenges, algorithm) in [
        (false, vec![&md5, &sha], Algorithm::Sha256),
        (true, vec![&sha, &md5], Algorithm::Sha256),
        (false, vec![&other, &md5], Algorithm::Md5),
        (true, vec![&basic, &other, &sha], Algorithm::Sha256),
        (false, vec![&bare], Algorithm::Md5),
    ] {
        let (mut world, log) = trunk(&setup(2, REALM));
        let a = Hand::caller("strong");
        let first = ask(&mut world, &log, &a, "0");
        let b = Hand::callee(&first, "first");
        let (status, asks, name) = match proxy {
            true => ("407 Proxy", "Proxy-Authenticate", "Proxy-Authorization"),
            false => ("401 No", "WWW-Authenticate", "Authorization"),
        };
        let lines: String = challenges.iter().map(|it| format!("{asks}: {it}\n")).collect();
        refuse(&mut world, &b, &first, status, &lines);
        let second = invites(&log).pop().unwrap();
        assert_eq!(shown(&second, name).algorithm, algorithm, "{lines}");
        assert_eq!(headers(&second, "Authorization").len(), usize::from(!proxy));
        let b = Hand::callee(&second, "b");
        send(&mut world, B, &b.reply(&second, "486 Busy", "", &empty()));
        nothing_left(&mut world);
    }
}

/// Keys of sessions: HA1 is hashed with the nonce and the client's.
#[test]
fn a_key_of_a_session_is_made_where_it_is_asked_for() {
    for (name, algorithm) in [("MD5-sess", Algorithm::Md5), ("SHA-256-SESS", Algorithm::Sha256)] {
        let (mut world, log) = trunk(&setup(3, ""));
        let first = ask(&mut world, &log, &Hand::caller("sess"), "0");
        let b = Hand::callee(&first, "first");
        let asked = digest(&format!(", algorithm={name}, qop=\"auth\""));
        refuse(&mut world, &b, &first, "401 No", &www(&asked));
        let second = invites(&log).pop().unwrap();
        let value = header(&second, "Authorization").to_owned();
        assert!(value.contains(&format!("algorithm={}-sess", algorithm.text())), "{value}");
        // As the plain one, with the session's key in the place of HA1.
        let plain = value.replace("-sess", "");
        let given = Credentials::parse(plain.as_bytes()).unwrap();
        let (_, cnonce) = given.qop.unwrap();
        let secret = ha1(algorithm, USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
        let key = ha1(algorithm, secret.bytes(), b"n1", cnonce);
        assert!(given.verify(key.bytes(), Method::Invite), "{value}");
        let b = Hand::callee(&second, "b");
        send(&mut world, B, &b.reply(&second, "486 Busy", "", &empty()));
        nothing_left(&mut world);
    }
}

/// The caller's final status, the callee's cause, and how many INVITEs there were.
fn outcome(world: &mut World, log: &Log) -> (String, Cause, usize) {
    world.run_for(SECOND);
    let said = log.all(A, "SIP/2.0", "INVITE").pop().unwrap();
    let end = ends(world).into_iter().find(|end| !end.inbound).unwrap();
    (said[8..11].to_owned(), end.cause, invites(log).len())
}

#[test]
fn a_wrong_password_is_tried_once_and_no_nonce_for_ever() {
    let stale = |nonce: usize| format!("Digest realm=\"{REALM}\", nonce=\"s{nonce}\", stale=true");
    let fresh = |nonce: usize| format!("Digest realm=\"{REALM}\", nonce=\"f{nonce}\"");
    let same = |_: usize| format!("Digest realm=\"{REALM}\", nonce=\"same\", stale=true");
    let none = |_: usize| "Basic realm=\"x\"".to_owned();
    let int = |_: usize| digest(", qop=\"auth-int\"");
    type Nonces<'f> = &'f dyn Fn(usize) -> String;
    let cases: [(Nonces<'_>, usize); 5] =
        [(&fresh, 2), (&stale, 4), (&same, 2), (&none, 1), (&int, 1)];
    for (at, (challenge, asked)) in cases.into_iter().enumerate() {
        let (mut world, log) = trunk(&setup(4, ""));
        let first = ask(&mut world, &log, &Hand::caller("wrong"), "0");
        let b = Hand::callee(&first, "b");
        for round in 0..8 {
            let invite = invites(&log).pop().unwrap();
            refuse(&mut world, &b, &invite, "401 No", &www(&challenge(round)));
        }
        let (told, cause, invites) = outcome(&mut world, &log);
        assert_eq!((told.as_str(), cause), ("403", Cause::Credentials), "case {at}");
        assert_eq!(invites, asked, "case {at}");
        nothing_left(&mut world);
    }
}

/// A bare 401, and one in whose place we have nothing to show.
#[test]
fn what_asks_for_nothing_is_a_refusal() {
    for (login, more) in
        [("carrier", String::new()), ("", www(&digest(""))), ("x", www(&digest("")))]
    {
        let (mut world, log) = trunk(&setup(5, ""));
        let route = StaticRoute { login: login.to_owned(), ..route_to(&world, &[1]) };
        publish(&mut world, &Table { routes: vec![route], ..Table::default() });
        let first = ask(&mut world, &log, &Hand::caller("bare"), "0");
        let b = Hand::callee(&first, "b");
        refuse(&mut world, &b, &first, "407 No", &more.replace("WWW", "Proxy"));
        let (told, cause, invites) = outcome(&mut world, &log);
        assert_eq!((told.as_str(), cause, invites), ("403", Cause::Credentials, 1), "{login}");
        nothing_left(&mut world);
    }
}

/// FreeSWITCH CVE-2021-41158: a challenge is answered if it comes from where the request went, and
/// for the realm that is ours.
#[test]
fn nobody_else_is_shown_anything() {
    // Another realm than the trunk's.
    let (mut world, log) = trunk(&setup(6, "other.example"));
    let first = ask(&mut world, &log, &Hand::caller("realm"), "0");
    let b = Hand::callee(&first, "b");
    refuse(&mut world, &b, &first, "401 No", &www(&digest("")));
    assert_eq!(outcome(&mut world, &log).2, 1);
    nothing_left(&mut world);

    // The realm that asked first is the call's.
    let (mut world, log) = trunk(&setup(7, ""));
    let first = ask(&mut world, &log, &Hand::caller("pinned"), "0");
    let b = Hand::callee(&first, "b");
    refuse(&mut world, &b, &first, "401 No", &www(&digest("")));
    let second = invites(&log).pop().unwrap();
    let lure = "Digest realm=\"lure\", nonce=\"x\", stale=true";
    refuse(&mut world, &b, &second, "401 No", &www(lure));
    assert_eq!(outcome(&mut world, &log).2, 2);
    nothing_left(&mut world);

    // From another host of the carrier's network, which is obeyed in everything else.
    let (mut world, log) = trunk(&setup(8, ""));
    let first = ask(&mut world, &log, &Hand::caller("beside"), "0");
    let b = Hand::callee(&first, "b");
    send(&mut world, B2, &b.reply(&first, "401 No", &www(&digest("")), &empty()));
    assert_eq!(outcome(&mut world, &log), ("403".to_owned(), Cause::Credentials, 1));
    assert!(log.all(B2, "INVITE", "").is_empty());
    nothing_left(&mut world);
}

/// A dialog may lead to another host than the one that was dialled: there nothing is shown, asked
/// or not.
#[test]
fn a_dialog_that_leads_elsewhere_takes_no_credentials_along() {
    let (mut world, log) = trunk(&setup(9, ""));
    let mut a = Hand::caller("led");
    let first = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&first, "first");
    refuse(&mut world, &b, &first, "401 No", &www(&digest(", qop=\"auth\"")));
    let second = invites(&log).pop().unwrap();
    let mut b = Hand::callee(&second, "b");
    b.contact = format!("<sip:b@{ELSEWHERE}>");
    send(&mut world, B, &b.reply(&second, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0")));
    header(&log.last(A, "SIP/2.0 200", "INVITE"), "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    send(&mut world, A, &a.request("BYE", 2, "", &empty()));
    let bye = log.last(ELSEWHERE, "BYE", "");
    assert_eq!(header(&bye, "Authorization"), "");
    let asked = b.reply(&bye, "401 No", &www(&digest(", stale=true")), &empty());
    send(&mut world, ELSEWHERE, &asked.replace("n1", "n2"));
    assert_eq!(log.all(ELSEWHERE, "BYE", "").len(), 1);
    nothing_left(&mut world);
}

/// A proxy asks, then the server behind it: both are answered, each in its own header.
#[test]
fn two_that_ask_one_after_the_other_are_both_answered() {
    let (mut world, log) = trunk(&setup(10, ""));
    let first = ask(&mut world, &log, &Hand::caller("two"), "0");
    let b = Hand::callee(&first, "first");
    let proxy = "Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p\", qop=\"auth\"\n";
    refuse(&mut world, &b, &first, "407 No", proxy);
    let second = invites(&log).pop().unwrap();
    refuse(&mut world, &b, &second, "401 No", &www(&digest(", qop=\"auth\"")));
    let third = invites(&log).pop().unwrap();
    assert_eq!(shown(&third, "Proxy-Authorization").nonce_count(), Some(2));
    assert_eq!(shown(&third, "Authorization").nonce_count(), Some(1));
    let b = Hand::callee(&third, "b");
    send(&mut world, B, &b.reply(&third, "486 Busy", "", &empty()));
    assert_eq!(outcome(&mut world, &log), ("486".to_owned(), Cause::Busy, 3));
    nothing_left(&mut world);
}

/// Whoever gave up meanwhile: the CANCEL is the second INVITE's, and a challenge that crosses it is
/// answered by an ACK alone.
#[test]
fn a_call_that_was_given_up_is_not_tried_again() {
    for crosses in [false, true] {
        let (mut world, log) = trunk(&setup(11, ""));
        let a = Hand::caller("gone");
        let first = ask(&mut world, &log, &a, "0");
        let b = Hand::callee(&first, "b");
        send(&mut world, B, &b.reply(&first, "100 Trying", "", &empty()));
        let cancel = a.request("INVITE", 1, "", &empty());
        let cancel = cancel.replace("1 INVITE", "1 CANCEL").replace("INVITE sip", "CANCEL sip");
        if !crosses {
            refuse(&mut world, &b, &first, "401 No", &www(&digest("")));
        }
        let asked = invites(&log).pop().unwrap();
        if !crosses {
            send(&mut world, B, &b.reply(&asked, "180 Ringing", "", &empty()));
        }
        send(&mut world, A, &cancel);
        let cancelled = log.last(B, "CANCEL", "");
        assert_eq!(header(&cancelled, "Via"), header(&asked, "Via"));
        assert_eq!(
            header(&cancelled, "CSeq").split(' ').next(),
            header(&asked, "CSeq").split(' ').next()
        );
        assert_eq!(header(&cancelled, "Authorization"), "");
        refuse(
            &mut world,
            &b,
            &asked,
            "401 No",
            &www("Digest realm=\"carrier.example\", nonce=\"z\""),
        );
        assert_eq!(invites(&log).len(), if crosses { 1 } else { 2 });
        nothing_left(&mut world);
    }
}

/// What is sent again because nobody answers, and a PRACK, have their credentials too, and the
/// numbers of all requests go on.
#[test]
fn repetitions_and_pracks_show_them_too() {
    let (mut world, log) = trunk(&setup(15, ""));
    let mut a = Hand::caller("repeated");
    let first = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&first, "first");
    refuse(&mut world, &b, &first, "401 No", &www(&digest(", qop=\"auth\"")));
    world.run_for(ms(600));
    let sent = log.all(B, "INVITE", "2 INVITE");
    assert!(sent.len() == 2 && sent[0] == sent[1], "the same again");
    let b = Hand::callee(&sent[1], "b");
    let early = described("10.1.0.2", 5_000, 1, "0");
    let more = "Require: 100rel\nRSeq: 7\n";
    send(&mut world, B, &b.reply(&sent[1], "183 Progress", more, &early));
    let prack = log.last(B, "PRACK", "3 PRACK");
    assert_eq!(shown(&prack, "Authorization").nonce_count(), Some(2));
    let stale = www(&format!("Digest realm=\"{REALM}\", nonce=\"n2\", stale=true, qop=\"auth\""));
    send(&mut world, B, &b.reply(&prack, "401 No", &stale, &empty()));
    let prack = log.last(B, "PRACK", "4 PRACK");
    assert_eq!(header(&prack, "RAck"), "7 2 INVITE");
    assert_eq!(shown(&prack, "Authorization").nonce, b"n2");
    send(&mut world, B, &b.reply(&prack, "200 OK", "", &empty()));
    send(&mut world, B, &b.reply(&sent[1], "200 OK", "", &early));
    assert_eq!(header(&log.last(B, "ACK", "tag=b"), "CSeq"), "2 ACK");
    header(&log.last(A, "SIP/2.0 200", "INVITE"), "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    send(&mut world, A, &a.request("BYE", 2, "", &empty()));
    let bye = log.last(B, "BYE", "5 BYE");
    assert_eq!(shown(&bye, "Authorization").nonce_count(), Some(2));
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(&mut world);
}

/// The next target is a peer of its own: it asks anew, and what the first was shown is not for it.
#[test]
fn the_next_target_asks_for_itself() {
    let (mut world, log) = trunk(&setup(12, ""));
    let first = ask(&mut world, &log, &Hand::caller("next"), "0");
    let b = Hand::callee(&first, "b");
    refuse(&mut world, &b, &first, "401 No", &www(&digest("")));
    let second = invites(&log).pop().unwrap();
    refuse(&mut world, &b, &second, "503 Full", "");
    let third = log.last(B2, "INVITE", "");
    assert_eq!(header(&third, "CSeq"), "3 INVITE");
    send(
        &mut world,
        B2,
        &b.reply(&third, "401 No", &www(&digest("").replace("n1", "m1")), &empty()),
    );
    let fourth = log.last(B2, "INVITE", "4 INVITE");
    assert_eq!(shown(&fourth, "Authorization").nonce, b"m1");
    let b = Hand::callee(&fourth, "b");
    send(&mut world, B2, &b.reply(&fourth, "486 Busy", "", &empty()));
    nothing_left(&mut world);
}

/// What an application gave with its order to dial.
#[test]
fn an_application_gives_its_own() {
    let setup = setup(13, "");
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let wish = originate(base::CallId(7), B.parse().unwrap(), "sip:b@10.1.0.2");
    let password = wire::command::Secret(PASSWORD);
    let wish = Originate { username: USER, password, ..wish };
    assert!(!format!("{wish:?}").contains("s3cret"), "no log has it");
    crate::common::send(&mut world, 0, &Command::Originate(wish));
    world.run_for(ms(50));
    let first = invites(&log).pop().unwrap();
    let b = Hand::callee(&first, "b");
    let asked =
        "Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA-256, opaque=\"\"\n";
    refuse(&mut world, &b, &first, "407 No", asked);
    let second = invites(&log).pop().unwrap();
    assert_eq!(shown(&second, "Proxy-Authorization").algorithm, Algorithm::Sha256);
    let b = Hand::callee(&second, "b");
    send(&mut world, B, &b.reply(&second, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0")));
    crate::common::send(
        &mut world,
        0,
        &Command::Hangup { call: base::CallId(7), cause: Cause::Normal },
    );
    world.run_for(ms(50));
    let bye = log.last(B, "BYE", "");
    shown(&bye, "Proxy-Authorization");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    assert_eq!(count(&world, Counter::LegPanicked), 0);
    nothing_left(&mut world);
}

/// The successor of a dead dataplane says BYE with what its predecessor left for it: one answer,
/// good for that BYE alone.
#[test]
fn a_successor_is_known_too() {
    let (mut world, log) = trunk(&setup(14, ""));
    let mut a = Hand::caller("successor");
    let first = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&first, "first");
    refuse(&mut world, &b, &first, "401 No", &www(&digest(", qop=\"auth\"")));
    let second = invites(&log).pop().unwrap();
    let b = Hand::callee(&second, "b");
    send(&mut world, B, &b.reply(&second, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0")));
    header(&log.last(A, "SIP/2.0 200", "INVITE"), "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    world.restart_plane(SECOND);
    world.run_for(SECOND);
    let bye = log.last(B, "BYE", "");
    let given = shown(&bye, "Authorization");
    assert!(given.nonce_count().unwrap() > 64, "above whatever was used");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(&mut world);
}
