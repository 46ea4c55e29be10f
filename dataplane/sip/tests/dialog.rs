//! Dialogs: made from both sides of one call, requests inside, loose and strict routing.

use sip::check::Why;
use sip::dialog::TEXT_BYTES;
use sip::{
    Dialog, DialogError, DialogId, Message, Method, Name, Reply, Transport, ViaOut, reply_to,
};

fn via(branch: &[u8]) -> ViaOut<'_> {
    let sent_by = "192.0.2.9:5060".parse().unwrap();
    ViaOut { transport: Transport::Udp, sent_by, branch, rport: true }
}

fn invite(routes: &str) -> String {
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
        {routes}\
         From: \"Alice \\\"A\\\"\" <sip:alice@example.com>;tag=a1\r\n\
         To: Bob <sip:bob@example.com>\r\n\
         Call-ID: c1\r\nCSeq: 10 INVITE\r\nContact: <sip:alice@10.0.0.1:5070;transport=udp>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn accept(invite: &Message<'_>, out: &mut [u8]) -> usize {
    let reply = reply_to(out, invite, &Reply::new(200, Some(b"b1"), None));
    reply.contact(b"sip:bob@10.0.0.2").finish().unwrap().len()
}

const LOOSE: &str = "Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;lr>\r\n";

#[test]
fn both_sides_of_a_call_hold_the_same_dialog() {
    let text = invite(LOOSE);
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut out = [0; 1024];
    let len = accept(&request, &mut out);
    let response = Message::parse(&out[..len]).unwrap();
    let (mut a_text, mut b_text) = ([0; TEXT_BYTES], [0; TEXT_BYTES]);
    let mut a = Dialog::uac(&mut a_text, &request, &response).unwrap();
    let mut b = Dialog::uas(&mut b_text, &request, b"b1", 500).unwrap();
    assert!(a.confirmed && a.caller && !b.caller && !a.is_secure());
    assert_eq!(a.routes(&a_text), b"<sip:p1.example.com;lr>, <sip:p2.example.com;lr>");
    assert_eq!(b.routes(&b_text), b"<sip:p2.example.com;lr>, <sip:p1.example.com;lr>");
    assert_eq!(a.next_hop(&a_text), b"sip:p1.example.com;lr");
    assert_eq!(DialogId::of_response(&response), Some(a.id(&a_text)));

    // A's BYE is in B's dialog, and the other way round.
    let mut buffer = [0; 1024];
    let bytes = a.request(&a_text, &mut buffer, Method::Bye, &via(b"z9hG4bKb")).finish().unwrap();
    let expected = b"BYE sip:bob@10.0.0.2 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKb;rport\r\n\
        Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\nMax-Forwards: 70\r\n\
        From: \"Alice \\\"A\\\"\" <sip:alice@example.com>;tag=a1\r\n\
        To: \"Bob\" <sip:bob@example.com>;tag=b1\r\nCall-ID: c1\r\nCSeq: 11 BYE\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let bye = Message::parse(bytes).unwrap();
    assert_eq!(b.check_request(&b_text, &bye), Ok(()));
    assert_eq!(b.check_request(&b_text, &bye).unwrap_err().code, 500);
    assert_eq!(a.check_request(&a_text, &bye).unwrap_err().why, Why::NoDialog);
    let mut buffer = [0; 1024];
    let info = b.request(&b_text, &mut buffer, Method::Info, &via(b"z9hG4bKc")).finish().unwrap();
    let info = Message::parse(info).unwrap();
    assert_eq!(info.uri_raw(), b"sip:alice@10.0.0.1:5070;transport=udp");
    assert_eq!(info.cseq().unwrap().number, 501);
    assert_eq!(a.check_request(&a_text, &info), Ok(()));
    // The ACK repeats the INVITE's number and never disturbs the order.
    let mut buffer = [0; 1024];
    let ack = a.ack(&a_text, &mut buffer, 10, &via(b"z9hG4bKd")).finish().unwrap();
    let ack = Message::parse(ack).unwrap();
    assert_eq!((ack.cseq().unwrap().number, ack.method()), (10, Some(Method::Ack)));
    assert_eq!(b.check_request(&b_text, &ack), Ok(()));
}

#[test]
fn a_strict_router_takes_the_request_line() {
    let text =
        invite("Record-Route: <sip:p1.example.com>\r\nRecord-Route: <sip:p2.example.com;lr>\r\n");
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut block = [0; TEXT_BYTES];
    let mut dialog = Dialog::uas(&mut block, &request, b"b1", 1).unwrap();
    let mut buffer = [0; 1024];
    let bye = dialog.request(&block, &mut buffer, Method::Bye, &via(b"z9hG4bKb")).finish().unwrap();
    let bye = Message::parse(bye).unwrap();
    assert_eq!(bye.uri_raw(), b"sip:p1.example.com");
    let routes: Vec<_> = bye.routes().map(|r| r.unwrap().uri).collect();
    let expected = [&b"sip:p2.example.com;lr"[..], b"sip:alice@10.0.0.1:5070;transport=udp"];
    assert_eq!(routes, expected);
}

#[test]
fn a_target_refresh_rewrites_the_end_of_the_block() {
    let text = invite("");
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut block = [0; TEXT_BYTES];
    let mut dialog = Dialog::uas(&mut block, &request, b"b1", 1).unwrap();
    let moved = text.replace("10.0.0.1:5070", "alice-has-moved.example.net:5080");
    let moved = Message::parse(moved.as_bytes()).unwrap();
    dialog.refresh_target(&mut block, &moved).unwrap();
    assert_eq!(dialog.target(&block), b"sip:alice@alice-has-moved.example.net:5080;transport=udp");
    assert_eq!(dialog.next_hop(&block), dialog.target(&block));
    assert_eq!(dialog.id(&block).call_id, b"c1");
    assert!(dialog.text_len() < 300);
    // No room: the old target stays.
    let before = dialog;
    let room = dialog.text_len() - 3;
    assert_eq!(dialog.refresh_target(&mut block[..room], &moved), Err(DialogError::TooLarge));
    assert_eq!(dialog, before);
}

#[test]
fn a_dialog_moves_to_a_contact_of_any_length() {
    let text = invite(LOOSE);
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut block = [0; TEXT_BYTES];
    let dialog = Dialog::uas(&mut block, &request, b"b1", 1).unwrap();
    let used = &block[..dialog.text_len()];
    let mut out = [0; 2_000];
    let long = format!("10.0.0.9:5080;x={}", "y".repeat(1_200));
    let refresh = text.replace("10.0.0.1:5070", &long);
    let refresh = Message::parse(refresh.as_bytes()).unwrap();
    let (moved, len) = dialog.moved(used, &refresh, &mut out).unwrap().unwrap();
    let target = format!("sip:alice@{long};transport=udp");
    assert_eq!(moved.target(&out[..len]), target.as_bytes());
    assert_eq!((len, len > TEXT_BYTES), (moved.text_len(), true));
    assert_eq!(moved.id(&out), dialog.id(used));
    assert_eq!(
        (moved.routes(&out), moved.remote(&out)),
        (dialog.routes(used), dialog.remote(used))
    );
    // The same Contact, or none, moves nothing.
    assert_eq!(moved.moved(&out[..len], &refresh, &mut [0; 8]), Ok(None));
    let none = text.replace("Contact", "X-Contact");
    let none = Message::parse(none.as_bytes()).unwrap();
    assert_eq!(dialog.moved(used, &none, &mut out), Ok(None));
    // What cannot be read, or does not fit, is said.
    let broken = text.replace("sip:alice@10.0.0.1", "sip:alice@");
    let broken = Message::parse(broken.as_bytes()).unwrap();
    let error = DialogError::Header(sip::Bad::Syntax(Name::Contact));
    assert_eq!(dialog.moved(used, &broken, &mut out), Err(error));
    assert_eq!(dialog.moved(used, &refresh, &mut out[..500]), Err(DialogError::TooLarge));
    assert_eq!(dialog.moved(used, &refresh, &mut out[..10]), Err(DialogError::TooLarge));
    // A shorter one shortens the block; a guess is none any more.
    let mut guessed = Dialog::uas(&mut block, &none, b"b1", 1).unwrap();
    assert!(guessed.target_guessed && !dialog.target_guessed);
    guessed.remote_cseq = 99;
    let (found, len) = guessed.moved(&block, &request, &mut out).unwrap().unwrap();
    assert_eq!(found.target(&out[..len]), b"sip:alice@10.0.0.1:5070;transport=udp");
    assert_eq!((found.target_guessed, found.remote_cseq), (false, 99));
}

#[test]
fn an_early_dialog_serves_requests_and_keeps_its_numbers_when_it_is_confirmed() {
    let text = invite("");
    let request = Message::parse(text.as_bytes()).unwrap();
    let answer = |code, tag: &'static [u8], contact: Option<&'static [u8]>, route| {
        let mut out = [0; 1024];
        let reply = reply_to(&mut out, &request, &Reply::new(code, Some(tag), None));
        let reply = reply.with(contact, |w, uri| w.contact(uri));
        let reply = reply.with(route, |w, route: &[u8]| w.field(Name::RecordRoute, route));
        reply.finish().unwrap().to_vec()
    };
    let ringing = answer(180, b"b1", Some(b"sip:bob@10.0.0.2"), Some(&b"<sip:p;lr>"[..]));
    let ringing = Message::parse(&ringing).unwrap();
    let mut block = [0; TEXT_BYTES];
    let mut early = Dialog::uac(&mut block, &request, &ringing).unwrap();
    assert!(!early.confirmed && early.remote_cseq == 0);
    assert_eq!(early.routes(&block), b"<sip:p;lr>");

    // The callee's UPDATE while it rings: any number may be the first.
    let mut peer_block = [0; TEXT_BYTES];
    let mut peer = Dialog::uas(&mut peer_block, &request, b"b1", 700).unwrap();
    let mut out = [0; 1024];
    let update = peer.request(&peer_block, &mut out, Method::Update, &via(b"z9hG4bKu"));
    let update = update.finish().unwrap().to_vec();
    let update = Message::parse(&update).unwrap();
    assert_eq!(early.check_request(&block, &update), Ok(()));
    assert_eq!(early.remote_cseq, 701);
    assert_eq!(early.check_request(&block, &update).unwrap_err().why, Why::CSeqOrder);
    // Our PRACK or UPDATE counts from the INVITE's number.
    let prack = early.request(&block, &mut out, Method::Prack, &via(b"z9hG4bKp"));
    assert_eq!(Message::parse(prack.finish().unwrap()).unwrap().cseq().unwrap().number, 11);

    // The 2xx replaces routes and target; both counts go on.
    let mut confirmed_text = [0; TEXT_BYTES];
    let ok = answer(200, b"b1", Some(b"sip:bob@10.0.0.3"), Some(&b"<sip:q;lr>, <sip:r;lr>"[..]));
    let ok = Message::parse(&ok).unwrap();
    let (dialog, len) = early.confirmed_by(&block, &ok, &mut confirmed_text).unwrap();
    let used = &confirmed_text[..len];
    assert!(dialog.confirmed && dialog.caller);
    assert_eq!((dialog.local_cseq, dialog.remote_cseq), (11, 701));
    assert_eq!(dialog.routes(used), b"<sip:r;lr>, <sip:q;lr>");
    assert_eq!((dialog.target(used), len), (&b"sip:bob@10.0.0.3"[..], dialog.text_len()));
    assert_eq!(dialog.id(used), early.id(&block));
    assert_eq!(dialog.local(used), early.local(&block));
    // Without a Contact the early target stays, and is no guess.
    let bare = answer(200, b"b1", None, None);
    let bare = Message::parse(&bare).unwrap();
    let (dialog, len) = early.confirmed_by(&block, &bare, &mut confirmed_text).unwrap();
    assert_eq!(dialog.target(&confirmed_text[..len]), b"sip:bob@10.0.0.2");
    assert!(!dialog.target_guessed && dialog.routes(&confirmed_text).is_empty());
    // Another branch's 2xx, and a refusal, confirm nothing.
    for other in [answer(200, b"b2", None, None), answer(486, b"b1", None, None)] {
        let other = Message::parse(&other).unwrap();
        let error = early.confirmed_by(&block, &other, &mut confirmed_text);
        assert_eq!(error, Err(DialogError::NoDialog));
    }
}

#[test]
fn what_makes_no_dialog() {
    let text = invite(LOOSE);
    let request = Message::parse(text.as_bytes()).unwrap();
    let mut out = [0; 1024];
    let mut block = [0; TEXT_BYTES];
    for code in [100, 486] {
        let reply = reply_to(&mut out, &request, &Reply::new(code, Some(b"b"), None));
        let response = Message::parse(reply.finish().unwrap()).unwrap();
        let dialog = Dialog::uac(&mut block, &request, &response);
        assert_eq!(dialog, Err(DialogError::NoDialog));
    }
    assert_eq!(Dialog::uas(&mut block[..100], &request, b"b", 1), Err(DialogError::TooLarge));
    let routes = "Record-Route: <sip:p;lr>\r\n".repeat(17);
    let text = invite(&routes);
    let request = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(Dialog::uas(&mut block, &request, b"b", 1), Err(DialogError::TooLarge));
    assert_eq!(request.headers_named(Name::RecordRoute).count(), 17);
}
