//! Transaction keys and URI comparison.

use sip::token::Key;
use sip::{Message, Method, Reply, TransactionKey, Uri, reply_to};

const KEY: Key = Key([1; 16]);

fn request(method: &str, via: &str) -> String {
    format!(
        "{method} sip:b@h SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: c\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn server(method: &str, via: &str) -> TransactionKey {
    let text = request(method, via);
    TransactionKey::server(&Message::parse(text.as_bytes()).unwrap(), &KEY).unwrap()
}

#[test]
fn a_server_transaction_is_branch_sent_by_and_method() {
    for via in
        ["SIP/2.0/UDP h:5060;branch=z9hG4bKab", "SIP/2.0/UDP h:5060", "SIP/2.0/UDP h;branch=1"]
    {
        let key = server("INVITE", via);
        assert_eq!(server("ACK", via), key);
        assert_ne!(server("CANCEL", via), key);
        let text = request("CANCEL", via);
        let cancel = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(TransactionKey::cancelled(&cancel, &KEY).unwrap(), key);
    }
    let key = server("INVITE", "SIP/2.0/UDP h:5060;branch=z9hG4bKab");
    assert_eq!(server("INVITE", "SIP/2.0/TCP H:5060;branch=z9hG4bKAB;rport"), key);
    assert_ne!(server("INVITE", "SIP/2.0/UDP h:5061;branch=z9hG4bKab"), key);
    assert_ne!(server("INVITE", "SIP/2.0/UDP h:5060;branch=z9hG4bKac"), key);
}

#[test]
fn a_response_finds_the_client_transaction_by_branch_and_method() {
    let text = request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKab");
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut out = [0; 512];
    let reply = reply_to(&mut out, &request, &Reply::new(200, None, None)).finish().unwrap();
    let key = TransactionKey::client(&Message::parse(reply).unwrap(), &KEY).unwrap();
    assert_eq!(key, TransactionKey::of_branch(b"z9hG4bKab", Method::Bye, &KEY));
    assert_ne!(key, TransactionKey::of_branch(b"z9hG4bKab", Method::Invite, &KEY));
    assert_ne!(key, TransactionKey::of_branch(b"z9hG4bKab", Method::Bye, &Key([2; 16])));
}

#[test]
fn the_same_request_by_two_ways_has_one_merge_key() {
    let merge = |via: &str| {
        let text = request("INVITE", via);
        TransactionKey::merge(&Message::parse(text.as_bytes()).unwrap(), &KEY).unwrap()
    };
    assert_eq!(merge("SIP/2.0/UDP p1;branch=z9hG4bK1"), merge("SIP/2.0/UDP p2;branch=z9hG4bK2"));
}

/// The examples of RFC 3261 section 19.1.4.
#[test]
fn uris_compare_as_the_rfc_says() {
    let same = |a: &str, b: &str| {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        assert_eq!(a.same(&b), b.same(&a));
        a.same(&b)
    };
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com:6000;transport=tcp", "sip:bob@biloxi.com;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a@b;user=phone", "sip:a@b"),
        ("sip:a@b;security=on", "sip:a@b;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a:pw@b", "sip:a@b"),
        ("tel:+1201", "tel:1201"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
}

#[test]
fn uris_that_are_none() {
    for bad in [
        "",
        "sip",
        "sip:",
        "sip::x@h",
        "sip:a@",
        "sip:a@h:",
        "sip:a@h:65536",
        "sip:a@h:x",
        "sip:a b@h",
        "sip:a@h;=x",
        "sip:a@h?",
        "sip:a%4@h",
        "sip:a%zz@h",
        "sip:a@[2001:db8::1",
        "sip:a@h]",
        "sip:[::g]",
        "tel:",
        "tel:+",
        "tel:abc xyz",
        ":x",
        "1x:y",
        "sip:a@@h",
        "sip:a@h,b",
        "http:",
        "x:a<b",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let mut out = [0; 32];
    assert_eq!(sip::uri::escape_user(b"a b#%", &mut out), Some(&b"a%20b%23%25"[..]));
    assert_eq!(sip::uri::escape_user(b"a b#%", &mut out[..5]), None);
    assert_eq!(sip::uri::unescape(b"%41%zz", &mut out), None);
}
