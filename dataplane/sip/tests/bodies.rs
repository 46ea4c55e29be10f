//! Bodies: the description is found wherever it stands, and nothing else is taken for one.

use sip::check::{Core, Why};
use sip::{Handling, Message, Method, SdpBody};

const CORE: Core<'static> =
    Core { methods: &Method::KNOWN, options: &[], types: &[b"application/sdp"] };

const ISUP: &str = "Content-Type: application/isup; version=itu-t92+\r\n\
    Content-Disposition: signal; handling=optional\r\n\r\n\x01\x02\r\n";

fn invite(lines: &str, body: &str) -> String {
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
         From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: c1\r\nCSeq: 10 INVITE\r\nMax-Forwards: 70\r\n{lines}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What is read as description, and what a server says of it.
fn read(lines: &str, body: &str) -> (Option<String>, u16) {
    let text = invite(lines, body);
    let message = Message::parse(text.as_bytes()).unwrap();
    let sdp = match message.sdp() {
        SdpBody::None => None,
        SdpBody::Sdp(sdp) => Some(sdp.escape_ascii().to_string()),
        SdpBody::Broken => Some("broken".to_owned()),
    };
    (sdp, CORE.check(&message).map_or_else(|refusal| refusal.code, |()| 200))
}

fn sdp(text: &str) -> Option<String> {
    Some(text.as_bytes().escape_ascii().to_string())
}

const MIXED: &str = "Content-Type: multipart/mixed;boundary=x\r\n";

#[test]
fn a_plain_body_is_a_description_by_its_type_and_disposition() {
    let c = "Content-Type: application/SDP\r\n";
    assert_eq!(read(c, "v=0\r\n"), (sdp("v=0\r\n"), 200));
    assert_eq!(read(&format!("{c}Content-Disposition: session\r\n"), "v=0"), (sdp("v=0"), 200));
    assert_eq!(read(&format!("{c}Content-Disposition: early-session\r\n"), "v=0"), (None, 200));
    assert_eq!(read(&format!("{c}Content-Encoding: gzip\r\n"), "v=0"), (sdp("broken"), 415));
    assert_eq!(read("Content-Type: text/plain\r\n", "v=0"), (None, 415));
    assert_eq!(read(c, ""), (None, 200));
    assert_eq!(read("", "v=0"), (None, 400));
}

#[test]
fn a_description_beside_other_parts_is_found() {
    let first =
        format!("--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--x\r\n{ISUP}--x--");
    assert_eq!(read(MIXED, &first), (sdp("v=0\r\n"), 200));
    let second = format!(
        "preamble\r\n--x\r\n{ISUP}--x \r\nc: application/sdp\r\n\
         Content-Disposition: session;\r\n handling=required\r\n\r\nv=0\r\n--x--\r\nepilogue\r\n"
    );
    assert_eq!(read(MIXED, &second), (sdp("v=0"), 200));
    let quoted = "Content-Type: Multipart/Mixed; boundary=\"unique 1\"; charset=x\r\n";
    let spaced = "--unique 1\nContent-Type: application/sdp\n\nv=0\n\n--unique 1--\n";
    assert_eq!(read(quoted, spaced), (sdp("v=0\n"), 200));
    // The last delimiter is missing.
    let cut = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
    assert_eq!(read(MIXED, cut), (sdp("v=0\r\n"), 200));
    // A boundary that begins another.
    let nested = "--x\r\nContent-Type: multipart/alternative;boundary=xy\r\n\r\n\
                  --xy\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--xy--\r\n--x--\r\n";
    assert_eq!(read(MIXED, nested), (sdp("v=0"), 200));
    let early = "--x\r\nContent-Type: application/sdp\r\nContent-Disposition: early-session\r\n\
                 \r\nv=1\r\n--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--";
    assert_eq!(read(MIXED, early), (sdp("v=0"), 200));
}

#[test]
fn parts_that_are_required_and_strange_are_refused() {
    let offer = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
    let strange = |how: &str| format!("--x\r\nContent-Type: a/b\r\n{how}\r\nq\r\n--x--");
    let required = "Content-Disposition: render;handling=required\r\n";
    let optional = "Content-Disposition: render;handling=optional\r\n";
    assert_eq!(read(MIXED, &(offer.to_owned() + &strange(""))), (sdp("v=0"), 200));
    assert_eq!(read(MIXED, &(offer.to_owned() + &strange(required))), (sdp("v=0"), 415));
    // Without a description beside it, only an optional part may be passed over.
    assert_eq!(read(MIXED, &strange("")), (None, 415));
    assert_eq!(read(MIXED, &strange(optional)), (None, 200));
    let base64 = "--x\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                  dj0w\r\n--x--";
    assert_eq!(read(MIXED, base64), (sdp("broken"), 415));
    assert_eq!(read(MIXED, &base64.replace("base64", "8bit")), (sdp("dj0w"), 200));
}

#[test]
fn a_broken_multipart_is_told_from_none() {
    for (lines, body) in [
        ("Content-Type: multipart/mixed\r\n", "--x\r\n\r\nv=0\r\n--x--"),
        ("Content-Type: multipart/mixed;boundary=\"\"\r\n", "--\r\n\r\nv=0\r\n----"),
        (MIXED, "v=0\r\n"),
        (MIXED, "--x--\r\n"),
        (MIXED, "--xy\r\n\r\nv=0\r\n--xy--"),
        (MIXED, &("--x\r\n\r\nv=0\r\n".repeat(17) + "--x--")),
    ] {
        assert_eq!(read(lines, body), (sdp("broken"), 400), "{body}");
        let text = invite(lines, body);
        let message = Message::parse(text.as_bytes()).unwrap();
        let why = CORE.check(&message).unwrap_err().why;
        assert_eq!(why, Why::Syntax(sip::Name::ContentType));
        // Whoever says that it may be left out is taken at his word.
        let optional = format!("{lines}Content-Disposition: x;handling=optional\r\n");
        assert_eq!(read(&optional, body), (None, 200));
    }
}

#[test]
fn every_part_can_be_passed_on() {
    let deep = "--x\r\nContent-Type: multipart/mixed;boundary=y\r\n\r\n--y\r\n\r\nplain\r\n--y\r\n\
                Content-Type: multipart/mixed;boundary=z\r\n\r\n--z\r\n\r\n\
                closed\r\n--z--\r\n--y--\r\n";
    let body = format!("{deep}--x\r\n{ISUP}--x--");
    let text = invite(MIXED, &body);
    let message = Message::parse(text.as_bytes()).unwrap();
    let parts = message.body_parts().unwrap();
    let kinds: Vec<_> = parts.iter().map(|part| std::str::from_utf8(part.kind).unwrap()).collect();
    assert_eq!(kinds, ["text/plain", "multipart/mixed", "application/isup"]);
    assert_eq!(parts[0].body, b"plain");
    assert_eq!(parts[1].body, b"--z\r\n\r\nclosed\r\n--z--", "two levels are opened, not three");
    assert_eq!(parts[2].content_type, b"application/isup; version=itu-t92+");
    assert_eq!(parts[2].disposition.kind, b"signal");
    assert_eq!(parts[2].disposition.handling, Handling::Optional);
    assert_eq!(parts[2].body, b"\x01\x02");
    let plain = invite("Content-Type: text/plain\r\n", "hi");
    let plain = Message::parse(plain.as_bytes()).unwrap();
    assert_eq!(plain.body_parts().unwrap()[0].body, b"hi");
}

#[test]
fn other_parts_are_those_without_a_description_as_they_came() {
    let body = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x\r\n\
                Content-Type: multipart/alternative;boundary=y\r\n\r\n--y\r\n\
                Content-Type: application/sdp\r\n\r\nv=0\r\n--y--\r\n--x\r\n\
                Content-Type: a/b\r\nContent-Disposition: x;handling=required\r\n\r\nb\r\n--x--\r\n";
    let text = invite(MIXED, body);
    let parsed = Message::parse(text.as_bytes()).unwrap();
    let others = parsed.other_parts().unwrap();
    assert_eq!(others.len(), 1);
    assert!(others[0].is_required);
    assert!(others[0].text.starts_with(b"Content-Type: a/b\r\n") && others[0].text.ends_with(b"b"));
    let text = invite("Content-Type: application/sdp\r\n", "v=0\r\n");
    assert!(Message::parse(text.as_bytes()).unwrap().other_parts().unwrap().is_empty());
    // What stands beside the description in a multipart of its own, at any depth.
    let related = "Content-Type: multipart/related;boundary=y\r\n\r\n--y\r\n\
                   Content-Type: application/sdp\r\n\r\nv=0\r\n--y\r\n\
                   Content-Type: a/b\r\nContent-Disposition: signal;handling=required\r\n\r\nb\r\n\
                   --y--\r\n";
    let text = invite(MIXED, &format!("--x\r\n{related}--x--\r\n"));
    let others = Message::parse(text.as_bytes()).unwrap().other_parts().unwrap();
    assert_eq!(others.len(), 1);
    assert!(others[0].is_required && others[0].text.starts_with(b"Content-Type: a/b"));
    // A description is nobody's other part, whatever it is for.
    let early =
        "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nv=0\r\n";
    let text = invite(MIXED, &format!("--x\r\n{early}--x--\r\n"));
    assert!(Message::parse(text.as_bytes()).unwrap().other_parts().unwrap().is_empty());
    // A body that is no description is one.
    let text = invite("Content-Type: application/pidf+xml;a=b\r\n", "<p/>");
    let others = Message::parse(text.as_bytes()).unwrap().other_parts().unwrap();
    assert_eq!(others[0].content_type, Some(&b"application/pidf+xml;a=b"[..]));
    assert_eq!(others[0].text, b"<p/>");
    // Depth is bounded.
    let mut deep = "Content-Type: application/sdp\r\n\r\nv=0\r\n".to_owned();
    for number in 0..6 {
        deep = format!(
            "Content-Type: multipart/mixed;boundary=b{number}\r\n\r\n--b{number}\r\n{deep}\
             --b{number}--\r\n"
        );
    }
    let text = invite(MIXED, &format!("--x\r\n{deep}--x--\r\n"));
    assert!(Message::parse(text.as_bytes()).unwrap().other_parts().is_err());
}
