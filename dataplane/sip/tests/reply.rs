//! What follows from a received message: responses, ACK of a refusal, CANCEL.

use sip::{Message, Name, Reply, Rport, ack_for_non_2xx, cancel_for, reply_to};

const INVITE: &[u8] = b"INVITE sip:b@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx;rport\r\n ;z=\"1;2\", \
    SIP/2.0/TCP other;branch=z9hG4bKy\r\n\
    v: SIP/2.0/UDP third\r\n\
    Record-Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n\
    Max-Forwards: 5\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\n\
    Call-ID: c1\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_reply_copies_what_the_rfc_says_and_fills_the_via() {
    let request = Message::parse(INVITE).unwrap();
    let source = Some("198.51.100.7:4000".parse().unwrap());
    let mut out = [0; 1024];
    let bytes =
        reply_to(&mut out, &request, &Reply::new(180, Some(b"me"), source)).finish().unwrap();
    let expected = b"SIP/2.0 180 Ringing\r\n\
        Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx;z=\"1;2\";received=198.51.100.7;rport=4000, \
        SIP/2.0/TCP other;branch=z9hG4bKy\r\n\
        Via: SIP/2.0/UDP third\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=me\r\n\
        Call-ID: c1\r\nCSeq: 7 INVITE\r\nRecord-Route: <sip:p1;lr>\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let reply = Message::parse(bytes).unwrap();
    assert_eq!(reply.via().unwrap().rport, Rport::Port(4000));
    assert_eq!(reply.via().unwrap().response_address(), source);
    assert_eq!(reply.vias().count(), 3);
    let trying =
        reply_to(&mut out, &request, &Reply::new(100, Some(b"me"), None)).finish().unwrap();
    assert_eq!(Message::parse(trying).unwrap().to_tag(), None);
}

#[test]
fn received_stands_only_where_it_must() {
    let plain = b"OPTIONS sip:a SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=6.6.6.6\r\n\r\n";
    let request = Message::parse(plain).unwrap();
    let mut out = [0; 512];
    for (source, expected) in [
        ("192.0.2.1:9", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("192.0.2.2:9", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.2"),
        ("[2001:db8::5]:9", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=2001:db8::5"),
    ] {
        let reply = Reply::new(200, None, Some(source.parse().unwrap()));
        let bytes = reply_to(&mut out, &request, &reply).finish().unwrap();
        let reply = Message::parse(bytes).unwrap();
        assert_eq!(reply.header(Name::Via), Some(expected.as_bytes()));
        assert!(reply.via().is_ok());
    }
}

#[test]
fn ack_and_cancel_belong_to_the_invite_transaction() {
    let invite = Message::parse(INVITE).unwrap();
    let (mut out, mut response) = ([0; 1024], [0; 1024]);
    let busy = reply_to(&mut response, &invite, &Reply::new(486, Some(b"far"), None)).finish();
    let busy = Message::parse(busy.unwrap()).unwrap();
    let ack = ack_for_non_2xx(&mut out, &invite, &busy).unwrap();
    let expected = b"ACK sip:b@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx;rport ;z=\"1;2\"\r\nMax-Forwards: 70\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=far\r\nCall-ID: c1\r\n\
        CSeq: 7 ACK\r\nRoute: <sip:p2;lr>\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ack.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let cancel = cancel_for(&mut out, &invite).unwrap().finish().unwrap();
    let cancel = Message::parse(cancel).unwrap();
    assert_eq!(cancel.to_tag(), None);
    assert_eq!(cancel.cseq().unwrap().method, sip::Method::Cancel);
}
