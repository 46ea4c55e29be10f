//! RFC 5118: the 12 messages about IPv6, written from its text, with the conduct it asks for.

use sip::{Host, Message, validate_request, validate_response};

const TAIL: &str = "From: sip:user@example.com;tag=81x2\r\n\
    To: sip:user@[2001:db8::10]\r\nCall-ID: SSG9559905523997077@hlau_4100\r\nMax-Forwards: 70\r\n";

/// A REGISTER with this request-URI, Via and Contact.
fn register(uri: &str, via: &str, contact: &str) -> String {
    format!(
        "REGISTER {uri} SIP/2.0\r\n{TAIL}Via: {via}\r\nContact: {contact}\r\n\
         CSeq: 98176 REGISTER\r\nContent-Length: 0\r\n\r\n"
    )
}

const CONTACT: &str = "\"Caller\" <sip:caller@[2001:db8::1]>";
const VIA: &str = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111";

fn ip(text: &str) -> Host<'static> {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn section_4_1_a_reference_in_uri_and_via() {
    let text = register("sip:[2001:db8::10]", VIA, CONTACT);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message), Ok(()));
    assert_eq!(message.uri().unwrap().host, ip("2001:db8::10"));
    assert_eq!(message.via().unwrap().host, ip("2001:db8::9:1"));
}

#[test]
fn section_4_2_a_reference_without_brackets_is_a_400() {
    let text = register("sip:2001:db8::10", VIA, CONTACT);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message).unwrap_err().code, 400);
}

#[test]
fn sections_4_3_and_4_4_a_port_is_behind_the_bracket() {
    let text = register("sip:[2001:db8::10:5070]", VIA, CONTACT);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message), Ok(()));
    let uri = message.uri().unwrap();
    assert_eq!((uri.host, uri.port), (ip("2001:db8::10:5070"), None));

    let text = register("sip:[2001:db8::10]:5070", VIA, CONTACT);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message), Ok(()));
    let uri = message.uri().unwrap();
    assert_eq!((uri.host, uri.port), (ip("2001:db8::10"), Some(5070)));
}

#[test]
fn section_4_5_received_with_and_without_brackets() {
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let via = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111");
        let text = register("sip:[2001:db8::10]", &via, CONTACT);
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(validate_request(&message), Ok(()));
        assert_eq!(message.via().unwrap().received, "2001:db8::9:255".parse().ok());
    }
}

fn invite(via: &str, sdp: &str) -> String {
    format!(
        "INVITE sip:user@[2001:db8::10] SIP/2.0\r\n{TAIL}Via: {via}\r\nContact: {CONTACT}\r\n\
         CSeq: 8612 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

#[test]
fn sections_4_6_and_4_8_addresses_in_the_body_are_not_ours_to_judge() {
    for lines in [
        "c=IN IP6 2001:db8::20\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n",
        "t=0 0\r\nm=audio 6000 RTP/AVP 0\r\nc=IN IP6 2001:db8::20\r\n\
         m=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::20\r\n",
    ] {
        let sdp = format!(
            "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=-\r\n{lines}"
        );
        let text = invite(VIA, &sdp);
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(validate_request(&message), Ok(()));
        assert_eq!(message.body(), sdp.as_bytes());
    }
}

#[test]
fn section_4_7_both_families_in_one_message() {
    let text = "BYE sip:user@host.example.net SIP/2.0\r\n\
        Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\r\n\
        Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200\r\n\
        Call-ID: 997077@lau_4100\r\nMax-Forwards: 70\r\nCSeq: 89187 BYE\r\n\
        To: sip:user@example.net;tag=9817--94\r\nFrom: sip:user@example.com;tag=81x2\r\n\
        Content-Length: 0\r\n\r\n";
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message), Ok(()));
    let hosts: Vec<_> = message.vias().map(|v| v.unwrap().host).collect();
    assert_eq!(hosts, [ip("2001:db8::9:1"), ip("192.0.2.1"), ip("2001:db8::9:255")]);
}

#[test]
fn section_4_9_mapped_addresses() {
    let via = "SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19";
    let text = invite(via, "v=0\r\nc=IN IP6 ::ffff:192.0.2.10\r\n");
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(validate_request(&message), Ok(()));
    assert_eq!(message.via().unwrap().host, ip("::ffff:192.0.2.10"));
}

#[test]
fn section_4_10_two_colons_and_the_three_of_the_old_grammar() {
    for uri in ["sip:user@[2001:db8::192.0.2.1]", "sip:user@[2001:db8:::192.0.2.1]"] {
        let text = format!(
            "OPTIONS {uri} SIP/2.0\r\n{TAIL}Via: {VIA}\r\nCSeq: 689 OPTIONS\r\n\
            Content-Length: 0\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(validate_request(&message), Ok(()));
        assert_eq!(message.uri().unwrap().host, ip("2001:db8::c000:201"));
        let mut out = [0; 1024];
        let reply = sip::reply_to(&mut out, &message, &sip::Reply::new(200, Some(b"x"), None));
        let reply = reply.finish().unwrap();
        assert_eq!(validate_response(&Message::parse(reply).unwrap()), Ok(()));
    }
}
