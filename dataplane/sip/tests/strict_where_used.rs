//! What is not used is no reason to refuse, and a response to our own request is never lost to a
//! fault that nobody needs repaired.

use sip::check::{Core, Why, response_essentials, validate_request, validate_response};
use sip::{Dialog, DialogError, Message, Method, Name, NameAddr, Uri};

const CORE: Core<'static> =
    Core { methods: &Method::KNOWN, options: &[b"timer"], types: &[b"application/sdp"] };

fn invite(more: &str) -> String {
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
         From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: c1\r\nCSeq: 10 INVITE\r\nMax-Forwards: 70\r\n{more}\r\n"
    )
}

fn response(start: &str, more: &str) -> String {
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKours\r\n\
         From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>;tag=b1\r\n\
         Call-ID: c1\r\nCSeq: 10 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

fn verdict(text: &str) -> Result<(), (u16, Why)> {
    let message = Message::parse(text.as_bytes()).unwrap();
    CORE.check(&message).map_err(|refusal| (refusal.code, refusal.why))
}

#[test]
fn the_vital_headers_stand_once() {
    let twice = [
        (Name::From, "From: <sip:alice@example.com>;tag=a1\r\n"),
        (Name::To, "t: <sip:bob@example.com>\r\n"),
        (Name::CallId, "i: c1\r\n"),
        (Name::CSeq, "CSeq: 10 INVITE\r\n"),
        (Name::MaxForwards, "Max-Forwards: 70\r\n"),
        (Name::ContentLength, "Content-Length: 0\r\nl: 0\r\n"),
    ];
    for (name, lines) in twice {
        assert_eq!(verdict(&invite(lines)), Err((400, Why::Repeated(name))), "{lines}");
    }
}

#[test]
fn of_other_single_headers_the_first_counts() {
    let text = invite(
        "Date: x\r\nDate: y\r\nExpires: 60\r\nExpires: 90\r\nSession-Expires: 90\r\nx: 1800\r\n\
         x: 7200\r\nSupported: timer\r\nSupported: path\r\n",
    );
    assert_eq!(verdict(&text), Ok(()));
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(message.expires(), Ok(60));
    assert_eq!(message.header(Name::SessionExpires), Some(&b"90"[..]));
    assert_eq!(message.repeats(), 4);
    assert_eq!(Message::parse(invite("").as_bytes()).unwrap().repeats(), 0);
}

#[test]
fn an_optional_body_is_no_reason_to_refuse() {
    let with = |lines: &str| verdict(&(invite(&format!("{lines}Content-Length: 1\r\n")) + "x"));
    let refused = Err((415, Why::MediaType));
    assert_eq!(with("Content-Type: text/html\r\n"), refused);
    let optional = "Content-Disposition: render; Handling=\"optional\"\r\n";
    assert_eq!(with(&format!("Content-Type: text/html\r\n{optional}")), Ok(()));
    assert_eq!(with("c: a/b\r\nContent-Disposition: render;handling=required\r\n"), refused);
    assert_eq!(with("c: application/sdp\r\nContent-Encoding: gzip\r\n"), refused);
    // A Content-Type without a body describes nothing.
    assert_eq!(verdict(&invite("Content-Type: rubbish\r\n")), Ok(()));
}

#[test]
fn a_contact_that_nobody_uses_is_not_read() {
    let broken = "Contact: <sip:alice@\r\n";
    assert_eq!(verdict(&invite(broken)), Err((400, Why::Syntax(Name::Contact))));
    assert_eq!(verdict(&invite(broken).replace("INVITE", "BYE")), Ok(()));
    let second = "Contact: <sip:alice@10.0.0.1>, <sip:alice@\r\n";
    assert_eq!(verdict(&invite(second)), Ok(()));
    let register = invite(second).replace("INVITE", "REGISTER");
    assert_eq!(verdict(&register), Err((400, Why::Syntax(Name::Contact))));
}

#[test]
fn status_lines_of_the_field_are_read() {
    let starts = [
        "SIP/2.0 480 ",
        "SIP/2.0 480",
        "sip/2.0 480 Gone",
        "SIP/2.0  480  Gone",
        "SIP/2.0 480 Temporarily Unavailable [released by the switch]",
        "SIP/2.0 480 Nicht verf\u{fc}gbar; \"quoted\"",
    ];
    for start in starts {
        let text = response(start, "");
        let message = Message::parse(text.as_bytes()).unwrap();
        let essentials = response_essentials(&message).unwrap();
        assert_eq!((essentials.code, essentials.branch), (480, &b"z9hG4bKours"[..]), "{start}");
        assert_eq!((essentials.cseq.number, essentials.to_tag), (10, Some(&b"b1"[..])));
    }
    let other = response("SIP/3.0 200 OK", "");
    let message = Message::parse(other.as_bytes()).unwrap();
    assert_eq!(response_essentials(&message), None);
    assert!(Message::parse(response("SIP/2.0 20", "").as_bytes()).is_err());
}

#[test]
fn a_response_to_us_is_used_whatever_else_is_wrong_with_it() {
    let lines = [
        "Contact: <sip:bob@\r\n",
        "Date: yesterday\r\nDate: today\r\n",
        "CSeq: 10 INVITE\r\nCall-ID: c1\r\nTo: <sip:x@y>;tag=z\r\n",
        "Content-Type: x\r\nSession-Expires: x\r\nRecord-Route: x\r\n",
    ];
    for lines in lines {
        let text = response("SIP/2.0 200 OK", lines);
        let message = Message::parse(text.as_bytes()).unwrap();
        let essentials = response_essentials(&message).unwrap();
        assert_eq!((essentials.code, essentials.to_tag), (200, Some(&b"b1"[..])), "{lines}");
        assert_eq!(validate_response(&message), Ok(()));
    }
    // A Via that came back with a parameter filled in wrongly still names its transaction.
    let odd = response("SIP/2.0 200 OK", "").replace(";branch", ";received=nat.example;branch");
    let message = Message::parse(odd.as_bytes()).unwrap();
    assert!(message.via().is_err() && response_essentials(&message).is_some());
    // Even one whose length lies says who answered what.
    let short = response("SIP/2.0 200 OK", "").replace("Length: 0", "Length: 9");
    let malformed = Message::parse(short.as_bytes()).unwrap_err();
    assert_eq!(response_essentials(malformed.partial()).map(|e| e.code), Some(200));
    // Without CSeq, without Via, or with another's Via it is nobody's.
    let text = response("SIP/2.0 200 OK", "");
    let foreign = text.replacen("\r\nFrom", "\r\nVia: SIP/2.0/UDP o;branch=z9hG4bKy\r\nFrom", 1);
    for text in [text.replace("CSeq: 10", "CSeq: x"), text.replace("Via", "Vie"), foreign] {
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(response_essentials(&message), None, "{text}");
        assert!(validate_response(&message).is_err());
    }
}

#[test]
fn a_2xx_without_a_readable_contact_makes_a_dialog_all_the_same() {
    let text = invite("");
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut block = [0; 512];
    for (lines, target, guessed) in [
        ("Contact: <sip:bob@10.0.0.2>\r\n", "sip:bob@10.0.0.2", false),
        ("Contact: <sip:bob@\r\n", "sip:bob@example.com", true),
        ("Contact: <sip:bob@:5060>, <sip:bob@10.0.0.3>\r\n", "sip:bob@10.0.0.3", false),
        ("", "sip:bob@example.com", true),
    ] {
        for start in ["SIP/2.0 200 OK", "SIP/2.0 180 Ringing"] {
            let text = response(start, lines);
            let answer = Message::parse(text.as_bytes()).unwrap();
            let dialog = Dialog::uac(&mut block, &request, &answer).unwrap();
            assert_eq!(dialog.target(&block), target.as_bytes(), "{lines}");
            assert_eq!(dialog.target_guessed, guessed, "{lines}");
        }
    }
    let text = response("SIP/2.0 200 OK", "Record-Route: <sip:p;lr>, rubbish\r\n");
    let answer = Message::parse(text.as_bytes()).unwrap();
    let error = Dialog::uac(&mut block, &request, &answer).unwrap_err();
    assert_eq!(error, DialogError::Header(sip::Bad::Syntax(Name::RecordRoute)));
}

#[test]
fn contacts_of_the_field_are_read() {
    let forms = [
        ("<sip:bob@10.0.0.1:5060;ob>;+sip.instance=\"<urn:uuid:0>\";reg-id=1", "bob"),
        ("<sip:10.0.0.1:5060>", ""),
        ("<sip:@10.0.0.1:5060>", ""),
        ("<sip:bob@pbx.example.com>", "bob"),
        ("<sip:bob@my_pbx.local:5060>", "bob"),
        ("Bob Smith <sip:bob@10.0.0.1>", "bob"),
        ("<sip:bob@10.0.0.1;transport=udp;rinstance=ab12;x>", "bob"),
        ("sip:bob@10.0.0.1;+sip.instance=\"<urn:gsma:imei:0>\";audio", "bob"),
        ("<sip:+358-555;postd=pp22@10.0.0.1;user=phone>", "+358-555;postd=pp22"),
        ("<sip:bob@10.0.0.1;>", "bob"),
        ("<sip:bob@10.0.0.1;;ob>", "bob"),
        ("< sip:bob@10.0.0.1 >", "bob"),
        ("<sip:bob@10.0.0.1>, <sip:bob@10.0.0.1;transport=tcp>", "bob"),
        ("<sip:desk#7@10.0.0.1>", "desk#7"),
        ("<sip:#21#@10.0.0.1>", "#21#"),
    ];
    for (form, user) in forms {
        let text = invite(&format!("Contact: {form}\r\n"));
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(validate_request(&message), Ok(()), "{form}");
        let uri = message.contact().unwrap().uri().unwrap();
        assert_eq!(uri.user, user.as_bytes(), "{form}");
    }
    let uri = Uri::parse(b"sip:bob@h;;ob;").unwrap();
    assert!(uri.params.has(b"ob") && uri.params.iter().count() == 1);
    for broken in [&b"sip::x@h"[..], b"sip:bob@", b"sip:bob@h;=x", b"sip:bob@h?"] {
        assert!(Uri::parse(broken).is_err(), "{}", broken.escape_ascii());
    }
    assert!(NameAddr::parse(b"Bob \"x\" <sip:bob@h>").is_none());
}
