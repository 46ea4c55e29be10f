//! Far ends that refuse what most take: one that hangs up at whatever would change a session, one
//! that takes SHA-256 and Opus first, one that knows MD5 and a law of G.711 alone. A trunk's
//! profile is made for each; a thousand calls come through, and what is forbidden is never sent.

use shard::plan::Login;
use sip::Method;
use sip::digest::{Algorithm, Credentials, ha1};
use wire::policy::{CodecOrder, RoutePolicy};
use wire::table::{Digits, ReliableRinging, StaticRoute, Table};
use wire::{Command, Originate};
use world::{Manner, World};

use crate::by_hand::{
    self, A, B, Hand, Log, body, described, empty, header, headers, media_port, nothing_left,
    one_shard, sdp, send,
};
use crate::common::{originate, publish, route_to, routed};

const USER: &str = "tandem";
const PASSWORD: &str = "s3cret";
const REALM: &str = "strict.example";
const CALLS: u32 = 1_000;

/// What a far end insists on, and what it saw.
#[derive(Default)]
struct Strict {
    /// The only hash it takes; it asks by both.
    hash: Option<Algorithm>,
    /// The payload type and name that an offer must begin with.
    first: Option<(&'static str, &'static str)>,
    set_up: u32,
    refused: u32,
    /// INVITEs and UPDATEs inside a dialog.
    changes: u32,
}

impl Strict {
    /// What it answers to a request.
    fn hear(&mut self, request: &str) -> Option<String> {
        let b = Hand::callee(request, "b");
        let method = request.split(' ').next().unwrap_or_default();
        let is_inside = header(request, "To").contains(";tag=");
        let mut refuse = |status: &str, more: &str| {
            self.refused += 1;
            Some(b.reply(request, status, more, &empty()))
        };
        match method {
            "INVITE" | "UPDATE" if is_inside => {
                self.changes += 1;
                let hand = Hand { from: header(request, "To").to_owned(), ..b };
                Some(hand.request("BYE", 1, "", &empty()))
            }
            "INVITE" => {
                let offer = request.split("\n\n").nth(1).unwrap_or_default();
                if header(request, "Supported").contains("timer")
                    || request.contains("Session-Expires")
                {
                    return refuse("420 Bad Extension", "Unsupported: timer\n");
                }
                match self.hash.map(|hash| proves(request, hash)) {
                    Some(None) => {
                        let ask = |hash: &str| {
                            format!(
                                "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"n\", \
                                 algorithm={hash}, qop=\"auth\"\n"
                            )
                        };
                        let both = ask("MD5") + &ask("SHA-256");
                        return Some(b.reply(request, "401 Unauthorized", &both, &empty()));
                    }
                    Some(Some(false)) => return refuse("403 Forbidden", ""),
                    _ => {}
                }
                let formats = offer.lines().find_map(|line| line.strip_prefix("m=audio "));
                let first = formats.and_then(|line| line.split(' ').nth(2)).unwrap_or_default();
                if self.first.is_some_and(|(pt, name)| {
                    first != pt || !offer.contains(&format!("a=rtpmap:{pt} {name}"))
                }) {
                    return refuse("488 Not Acceptable Here", "");
                }
                self.set_up += 1;
                let map = offer.lines().find(|it| it.starts_with(&format!("a=rtpmap:{first} ")));
                let map = map.map(|map| format!("{map}\n")).unwrap_or_default();
                let answer = sdp("10.1.0.2", 5_000, 1, first) + &map;
                Some(b.reply(request, "200 OK", "", &body("application/sdp", &answer)))
            }
            "ACK" => None,
            "BYE" => Some(b.reply(request, "200 OK", "", &empty())),
            _ => Some(b.reply(request, "501 Not Implemented", "", &empty())),
        }
    }

    /// It answers all that it was sent.
    fn answer(&mut self, world: &mut World, log: &Log) {
        loop {
            let mut all = log.take(B);
            all.retain(|text| !text.starts_with("SIP/2.0"));
            all.dedup();
            let replies: Vec<_> = all.iter().filter_map(|text| self.hear(text)).collect();
            if replies.is_empty() {
                return;
            }
            replies.iter().for_each(|reply| send(world, B, reply));
        }
    }
}

/// Whether the credentials are right and made with this hash; None without any.
fn proves(request: &str, hash: Algorithm) -> Option<bool> {
    let value = headers(request, "Authorization").first().copied()?;
    let shown = Credentials::parse(value.as_bytes())?;
    let secret = ha1(hash, USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    Some(shown.algorithm == hash && shown.verify(secret.bytes(), Method::Invite))
}

/// A world whose trunk to B is like this.
fn trunk(
    seed: u64,
    digest: Option<Algorithm>,
    codecs: &[&str],
    change: impl Fn(&mut StaticRoute),
) -> (World, Log) {
    let mut setup = one_shard(seed);
    setup.plane.logins = vec![Login {
        trunk: "strict".to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        realm: String::new(),
        digest,
    }];
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let codecs = CodecOrder::of(codecs.iter().copied()).unwrap();
    let policy = RoutePolicy { name: "strict".to_owned(), codecs, ..RoutePolicy::default() };
    let mut route = StaticRoute {
        login: "strict".to_owned(),
        session_timer: false,
        reliable: ReliableRinging::Off,
        policy,
        ..route_to(&world, &[1])
    };
    change(&mut route);
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    (world, log)
}

/// The caller's description, in the order of the payload types.
fn offer(version: u32, formats: &str, direction: &str) -> String {
    let maps = "a=rtpmap:96 opus/48000/2\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\n";
    let known = maps.lines().filter(|map| {
        let pt = map.trim_start_matches("a=rtpmap:").split(' ').next().unwrap();
        formats.split(' ').any(|format| format == pt)
    });
    let known: String = known.map(|map| format!("{map}\n")).collect();
    sdp("10.1.0.1", 4_000, version, formats) + &known + &format!("a={direction}\n")
}

/// A calls, holds, resumes and hangs up; the answer that it got.
fn one_call(world: &mut World, log: &Log, strict: &mut Strict, call: (u32, &str)) -> String {
    let (number, formats) = call;
    let mut a = Hand::caller(&format!("strict{number}"));
    let timer = "Supported: timer, 100rel\nSession-Expires: 1800;refresher=uas\n\
        Allow: INVITE, ACK, BYE, CANCEL, UPDATE\n";
    let mut exchange = |cseq: u32, version: u32, direction: &str, a: &mut Hand| {
        let text = body("application/sdp", &offer(version, formats, direction));
        send(world, A, &a.request("INVITE", cseq, timer, &text));
        strict.answer(world, log);
        let ok = log.last(A, "SIP/2.0 2", &format!("{cseq} INVITE"));
        header(&ok, "To").clone_into(&mut a.to);
        send(world, A, &a.request("ACK", cseq, "", &empty()));
        strict.answer(world, log);
        ok
    };
    let ok = exchange(1, 1, "sendrecv", &mut a);
    let held = exchange(2, 2, "sendonly", &mut a);
    assert!(held.contains("a=recvonly"), "{held}");
    exchange(3, 3, "sendrecv", &mut a);
    send(world, A, &a.request("BYE", 4, "", &empty()));
    strict.answer(world, log);
    log.clear();
    ok
}

/// 1,000 calls, and what the far end makes of them.
fn calls(world: &mut World, log: &Log, mut strict: Strict, formats: &str) -> String {
    let mut ok = String::new();
    for number in 0..CALLS {
        ok = one_call(world, log, &mut strict, (number, formats));
    }
    assert_eq!((strict.set_up, strict.refused, strict.changes), (CALLS, 0, 0));
    nothing_left(world);
    ok
}

#[test]
fn one_that_hangs_up_at_a_change_hears_of_none() {
    let (mut world, log) = trunk(1, None, &[], |_| {});
    calls(&mut world, &log, Strict::default(), "0 8");
}

/// Shown a hash of MD5 or another codec first, it refuses.
#[test]
fn one_that_takes_sha_256_and_opus_first_gets_them() {
    let codecs = ["opus", "PCMA", "PCMU"];
    let (mut world, log) = trunk(2, Some(Algorithm::Sha256), &codecs, |_| {});
    let strict = Strict {
        hash: Some(Algorithm::Sha256),
        first: Some(("96", "opus/48000/2")),
        ..Strict::default()
    };
    let ok = calls(&mut world, &log, strict, "0 8 96");
    assert!(ok.contains("RTP/AVP 96\n"), "{ok}");
}

/// Its law of G.711 is not the caller's: each has its own.
#[test]
fn one_that_knows_md5_and_one_law_gets_them() {
    let (mut world, log) = trunk(3, Some(Algorithm::Md5), &["PCMA"], |route| {
        route.dtmf = Digits::Rfc4733;
    });
    let strict =
        Strict { hash: Some(Algorithm::Md5), first: Some(("8", "PCMA/8000")), ..Strict::default() };
    let ok = calls(&mut world, &log, strict, "0 96");
    assert!(ok.contains("RTP/AVP 0\n"), "{ok}");
}

#[test]
fn a_weaker_hash_than_the_trunk_wants_is_never_shown() {
    let (mut world, log) = trunk(4, Some(Algorithm::Sha256), &[], |_| {});
    let a = Hand::caller("weak");
    send(&mut world, A, &a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0")));
    let invite = log.last(B, "INVITE", "");
    let ask = format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"n\", algorithm=MD5\n");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "401 Unauthorized", &ask, &empty()));
    assert!(log.all(B, "INVITE", "Authorization").is_empty());
    assert!(log.last(A, "SIP/2.0 403", "INVITE").contains("403"));
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    nothing_left(&mut world);
}

#[test]
fn a_caller_without_a_codec_of_the_list_is_told_so() {
    let (mut world, log) = trunk(5, None, &["opus"], |_| {});
    let a = Hand::caller("none");
    send(&mut world, A, &a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "18")));
    let refused = log.last(A, "SIP/2.0 488", "INVITE");
    assert_eq!(header(&refused, "Warning"), "305 tandem \"no common codec\"");
    assert!(log.all(B, "INVITE", "").is_empty(), "it hears of nothing that it could not take");
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    nothing_left(&mut world);
}

/// What the far end offers itself later is answered from the list.
#[test]
fn another_offer_of_the_far_end_brings_no_other_codec_in() {
    let (mut world, log) = trunk(6, None, &["PCMA", "G729"], |_| {});
    let a = Hand::caller("later");
    let text = body("application/sdp", &offer(1, "0 8", "sendrecv"));
    send(&mut world, A, &a.request("INVITE", 1, "", &text));
    let invite = log.last(B, "INVITE", "");
    assert!(invite.contains("RTP/AVP 8\n"), "{invite}");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &described("10.1.0.2", 5_000, 1, "8")));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    let a = Hand { to: header(&ok, "To").to_owned(), ..a };
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    send(&mut world, B, &b.request("INVITE", 7, "", &described("10.1.0.2", 5_000, 2, "0 8")));
    let ok = log.last(B, "SIP/2.0 200", "7 INVITE");
    assert!(ok.contains("RTP/AVP 8\n"), "{ok}");
    send(&mut world, B, &b.request("ACK", 7, "", &empty()));
    send(&mut world, B, &b.request("INVITE", 8, "", &described("10.1.0.2", 5_000, 3, "0")));
    let no = log.last(B, "SIP/2.0 488", "8 INVITE");
    assert_eq!(header(&no, "Warning"), "305 tandem \"no common codec\"");
    send(&mut world, B, &b.request("ACK", 8, "", &empty()));
    send(&mut world, A, &a.request("BYE", 2, "", &empty()));
    let bye = log.last(B, "BYE", "");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(&mut world);
}

/// Nobody can be told of its end: whoever asks for something meanwhile hears nothing of it, and is
/// heard again behind it.
#[test]
fn a_hold_that_no_offer_of_ours_could_take_back_is_not_passed_on() {
    let (mut world, log) = trunk(8, None, &[], |_| {});
    let a = Hand::caller("held");
    let text = body("application/sdp", &offer(1, "0", "sendrecv"));
    send(&mut world, A, &a.request("INVITE", 1, "", &text));
    let b = Hand::callee(&log.last(B, "INVITE", ""), "b");
    let invite = log.last(B, "INVITE", "");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0")));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    let a = Hand { to: header(&ok, "To").to_owned(), ..a };
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    let ours = media_port(&ok);
    let hold = |version, direction: &str| {
        let text = sdp("10.1.0.2", 5_000, version, "0") + &format!("a={direction}\n");
        body("application/sdp", &text)
    };
    send(&mut world, B, &b.request("INVITE", 7, "", &hold(2, "sendonly")));
    send(&mut world, B, &b.request("ACK", 7, "", &empty()));
    let again = body("application/sdp", &offer(2, "0", "sendrecv"));
    send(&mut world, A, &a.request("INVITE", 2, "", &again));
    let ok = log.last(A, "SIP/2.0 200", "2 INVITE");
    assert!(ok.contains("a=sendrecv"), "{ok}");
    send(&mut world, A, &a.request("ACK", 2, "", &empty()));
    let heard = |world: &mut World, from: u16| {
        let before = log.media("10.1.0.2:5000");
        for seq in from..from + 20 {
            by_hand::packet(world, "10.1.0.1:4000", ours, (seq, 7));
            world.run_for(crate::common::ms(20));
        }
        log.media("10.1.0.2:5000") - before
    };
    assert_eq!(heard(&mut world, 0), 0, "B does not want to hear it");
    send(&mut world, B, &b.request("INVITE", 8, "", &hold(3, "sendrecv")));
    send(&mut world, B, &b.request("ACK", 8, "", &empty()));
    assert!(heard(&mut world, 20) >= 15, "the hold is over");
    send(&mut world, A, &a.request("BYE", 3, "", &empty()));
    let bye = log.last(B, "BYE", "");
    send(&mut world, B, &b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(&mut world);
}

/// A leg that an application dials by the trunk's name has the trunk's policy.
#[test]
fn an_applications_call_by_the_trunk_is_like_the_trunks_own() {
    let (mut world, log) = trunk(7, None, &["PCMA"], |_| {});
    let wish = originate(base::CallId(7), B.parse().unwrap(), "sip:b@10.1.0.2");
    let wish = Originate { trunk: "strict", ..wish };
    crate::common::send(&mut world, 0, &Command::Originate(wish));
    world.run_for(crate::common::ms(100));
    let invite = log.last(B, "INVITE", "");
    assert!(invite.contains("RTP/AVP 8 101\n"), "{invite}");
    assert!(!header(&invite, "Supported").contains("timer"), "{invite}");
    assert!(!header(&invite, "Supported").contains("100rel"), "{invite}");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
    nothing_left(&mut world);
}
