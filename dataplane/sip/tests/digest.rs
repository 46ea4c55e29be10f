//! Digest authentication: the RFCs' examples, both sides against each other, nonces.

use std::net::IpAddr;

use sip::digest::{
    Algorithm, Answer, Challenge, Credentials, Freshness, Question, check_nonce, ha1, make_nonce,
    response,
};
use sip::token::Key;
use sip::{Message, Method, Name, Writer};

#[test]
fn rfc_2617_and_7616_examples() {
    let hash = ha1(Algorithm::Md5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
    assert_eq!(hash.bytes(), b"939e7578ed9e3c518a452acee763bce9");
    let question = Question {
        nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
        qop: Some((b"00000001", b"0a4f113b")),
        method: Method::Other(b"GET"),
        uri: b"/dir/index.html",
    };
    let answer = response(Algorithm::Md5, hash.bytes(), &question);
    assert_eq!(answer.bytes(), b"6629fae49393a05397450978507c4ef1");

    let question = Question {
        nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        qop: Some((b"00000001", b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        ..question
    };
    let hash = ha1(Algorithm::Sha256, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
    let answer = response(Algorithm::Sha256, hash.bytes(), &question);
    assert_eq!(answer.bytes(), b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    let hash = ha1(Algorithm::Md5, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
    let answer = response(Algorithm::Md5, hash.bytes(), &question);
    assert_eq!(answer.bytes(), b"8ca523f5e9506fed4657c9700eebdbec");
}

#[test]
fn a_client_answers_what_a_server_asks() {
    for (algorithm, qop_auth, opaque) in [
        (Algorithm::Md5, true, Some(&b"o"[..])),
        (Algorithm::Sha256, true, None),
        (Algorithm::Md5, false, None),
    ] {
        let asked =
            Challenge { realm: b"r", nonce: b"abc", opaque, algorithm, stale: true, qop_auth };
        let (mut out, mut reply) = ([0; 1024], [0; 1024]);
        let bytes = asked.write(Writer::new(&mut out).status_line(401, b""), Name::WwwAuthenticate);
        let message = Message::parse(bytes.finish().unwrap()).unwrap();
        let challenge = Challenge::parse(message.header(Name::WwwAuthenticate).unwrap()).unwrap();
        assert_eq!(challenge, asked);

        let hash = ha1(algorithm, b"alice", b"r", b"secret");
        let with = Answer {
            user: b"alice",
            ha1: hash.bytes(),
            method: Method::Register,
            uri: b"sip:example.com",
            nc: 2,
            cnonce: b"xyz",
            session: false,
        };
        let writer = Writer::new(&mut reply).request_line(Method::Register, b"sip:example.com");
        let bytes = challenge.answer(writer, Name::Authorization, &with).finish().unwrap();
        let message = Message::parse(bytes).unwrap();
        let given = Credentials::parse(message.header(Name::Authorization).unwrap()).unwrap();
        assert_eq!((given.user, given.realm, given.opaque), (&b"alice"[..], &b"r"[..], opaque));
        assert_eq!(given.nonce_count(), qop_auth.then_some(2));
        assert!(given.verify(hash.bytes(), Method::Register));
        assert!(!given.verify(hash.bytes(), Method::Invite));
        assert!(!given.verify(ha1(algorithm, b"alice", b"r", b"wrong").bytes(), Method::Register));
        assert!(!format!("{hash:?}").contains(std::str::from_utf8(hash.bytes()).unwrap()));
    }
}

#[test]
fn what_is_no_digest_is_none() {
    for bad in [
        &b"NoOneKnowsThisScheme opaque-data=here"[..],
        b"Digest username=\"a\"",
        b"Digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"u\",response=\"x\",qop=auth",
        b"Digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"u\",response=\"x\",\
        algorithm=AKAv1-MD5",
        b"Digest username=\"a,realm",
        b"Digest",
        b"",
    ] {
        assert_eq!(Credentials::parse(bad), None);
    }
}

#[test]
fn nonces_are_bound_to_time_source_and_realm() {
    let key = Key([9; 16]);
    let source: IpAddr = "192.0.2.1".parse().unwrap();
    let nonce = make_nonce(&key, 1_000, 7, source, b"r");
    let check =
        |nonce: &[u8], at, source, realm: &[u8]| check_nonce(&key, nonce, at, source, realm);
    let fresh = Freshness::Fresh { stamp: 1_000, mark: 7 };
    assert_eq!(check(nonce.bytes(), 1_000, source, b"r"), fresh);
    assert_eq!(check(nonce.bytes(), 1_060, source, b"r"), fresh);
    let other = make_nonce(&key, 1_000, 8, source, b"r");
    assert_ne!(other.bytes(), nonce.bytes(), "each phone behind one address has its own");
    assert_eq!(check(nonce.bytes(), 1_061, source, b"r"), Freshness::Stale);
    assert_eq!(check(nonce.bytes(), 999, source, b"r"), Freshness::Stale);
    assert_eq!(check(nonce.bytes(), 1_000, source, b"s"), Freshness::Foreign);
    assert_eq!(check(nonce.bytes(), 1_000, "192.0.2.2".parse().unwrap(), b"r"), Freshness::Foreign);
    assert_eq!(check(&nonce.bytes()[..31], 1_000, source, b"r"), Freshness::Foreign);
    assert_eq!(check(b"", 0, source, b"r"), Freshness::Foreign);
    let mut forged = nonce.bytes().to_vec();
    forged[0] ^= 1;
    assert_eq!(check(&forged, 1_000, source, b"r"), Freshness::Foreign);
}
