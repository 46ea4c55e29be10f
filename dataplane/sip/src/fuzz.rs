//! Entry points for fuzzers: arbitrary bytes in, every public reader run over them, invariants
//! asserted. They panic only for a bug. Plain functions, so that libFuzzer shims, the seeded
//! mutation test and the simulation share them.

use crate::body::SdpBody;
use crate::check::{response_essentials, validate_request, validate_response};
use crate::dialog::{Dialog, DialogId};
use crate::digest::{Challenge, Credentials};
use crate::framing::{Framed, next};
use crate::key::TransactionKey;
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::number::{Number, user_starts_with};
use crate::reply::{Reply, ack_for_non_2xx, cancel_for, reply_to};
use crate::session;
use crate::token::{self, Key};
use crate::uri::{Scheme, Uri};
use crate::via::Transport;
use crate::websocket::{self, Opening};
use crate::write::ViaOut;

const KEY: Key = Key([3; 16]);

/// Parses, reads everything, replies, and reads the reply again.
pub fn fuzz_parse(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            read_all(&message);
            derive(&message);
        }
        Err(malformed) => {
            read_all(malformed.partial());
            if let Some(code) = malformed.answer() {
                let mut out = [0u8; 4096];
                let source = Some(core::net::SocketAddr::from(([192, 0, 2, 9], 5060)));
                let reply = Reply::new(code, Some(b"tag"), source);
                if let Ok(bytes) = reply_to(&mut out, malformed.partial(), &reply).finish() {
                    assert!(Message::parse(bytes).is_ok(), "our own answer must parse");
                }
            }
        }
    }
}

/// Takes a WebSocket's stream apart: what opens it, then frames.
fn fuzz_web(bytes: &[u8]) {
    let mut rest = match websocket::opening(bytes, &["https://app.example.com"]) {
        Opening::Wanted { len, accept } => {
            assert!(len <= bytes.len() && accept.is_ascii());
            &bytes[len..]
        }
        Opening::Partial | Opening::Refused(_) => bytes,
    };
    while let websocket::Framed::Frame { head, payload, .. } = websocket::next(rest, 16_384) {
        assert!(payload <= 16_384 && head + payload <= rest.len());
        rest = &rest[head + payload..];
    }
    if let websocket::Framed::Partial(needed) = websocket::next(rest, 16_384) {
        assert!(needed > rest.len() && needed <= 16_384 + 14);
    }
}

/// Takes a stream apart.
pub fn fuzz_stream(bytes: &[u8]) {
    fuzz_web(bytes);
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = match next(rest, 16_384) {
            Framed::Message(len) => {
                assert!(len > 0 && len <= rest.len().min(16_384));
                fuzz_parse(&rest[..len]);
                len
            }
            Framed::KeepAlive { len, .. } => len,
            Framed::Broken { head, .. } => {
                assert!(head <= rest.len());
                return;
            }
            Framed::Partial { .. } => return,
        };
        assert!(len > 0);
        rest = &rest[len..];
    }
}

/// One URI: what parses is made of its parts, equals itself, and unescapes.
pub fn fuzz_uri(bytes: &[u8]) {
    let Ok(uri) = Uri::parse(bytes) else { return };
    assert!(uri.same(&uri));
    let mut out = [0u8; 1024];
    if bytes.len() <= out.len() {
        assert!(crate::uri::unescape(uri.user, &mut out).is_some() || uri.scheme == Scheme::Other);
    }
    let _ = (uri.transport(), uri.maddr(), uri.is_loose(), uri.headers().count());
    let _ = (uri.user_value(&mut out), uri.user_params().iter().count());
    if let Some(number) = Number::from_uri(&uri) {
        assert!(Number::parse(number.bytes()) == Some(number) || uri.scheme == Scheme::Tel);
        assert!(user_starts_with(&uri, number.bytes()), "a number begins with itself");
    }
}

/// Digest headers, tokens, nonces.
pub fn fuzz_values(bytes: &[u8]) {
    if let Some(credentials) = Credentials::parse(bytes) {
        assert!(!credentials.verify(b"0", Method::Invite) || credentials.response.len() >= 32);
        let _ = credentials.nonce_count();
    }
    let _ = Challenge::parse(bytes);
    let _ = (token::read_tag(bytes, &KEY), token::read_branch(bytes, &KEY));
    let _ = crate::message::replaces(bytes);
    let source = core::net::IpAddr::from([192, 0, 2, 1]);
    let _ = crate::digest::check_nonce(&KEY, bytes, 1, source, b"realm");
}

fn read_all(message: &Message<'_>) {
    let _ = (message.via(), message.from(), message.to(), message.cseq(), message.call_id());
    let _ = (message.max_forwards(), message.expires(), message.content_type(), message.uri());
    let _ = (message.rack(), message.replaces(), session::session_expires(message));
    let _ = (session::min_se(message), message.body(), message.is_sdp());
    bodies(message);
    let _ = (message.privacy(), message.allows(Method::Info), message.repeats());
    let mut out = [0u8; 256];
    for reason in message.reasons() {
        let _ = reason.text_value(&mut out);
    }
    for via in message.vias().flatten() {
        let _ = (via.response_address(), via.magic_branch(), via.params.iter().count());
    }
    for name in [Name::Contact, Name::Route, Name::RecordRoute, Name::PAssertedIdentity] {
        for address in message.addresses(name).flatten() {
            fuzz_uri(address.uri);
            if let Some(name) = address.display_value(&mut out) {
                assert!(!name.iter().any(u8::is_ascii_control));
            }
            let _ = (address.q(), address.expires(), address.params.iter().count());
        }
    }
    for header in message.headers() {
        fuzz_values(header.value);
        fuzz_uri(header.value);
        assert!(!header.text.is_empty());
    }
    for key in [TransactionKey::server, TransactionKey::client, TransactionKey::merge] {
        let _ = key(message, &KEY);
    }
}

/// A description is a part, and a part is inside the body.
fn bodies(message: &Message<'_>) {
    let (sdp, parts) = (message.sdp(), message.body_parts());
    let parts = parts.unwrap_or_default();
    assert!(parts.iter().all(|part| part.body.len() <= message.body().len()));
    if let SdpBody::Sdp(sdp) = sdp {
        assert!(parts.iter().any(|part| part.body == sdp && part.is_session()));
    }
}

/// Everything we would write because of this message must be readable by ourselves.
fn derive(message: &Message<'_>) {
    let mut out = [0u8; 8192];
    let sound = if message.is_request() {
        validate_request(message).is_ok()
    } else {
        let essentials = response_essentials(message);
        assert_eq!(essentials.is_some(), validate_response(message).is_ok());
        essentials.is_some()
    };
    if !message.is_request() {
        return;
    }
    let source = Some(core::net::SocketAddr::from(([192, 0, 2, 9], 5060)));
    let Ok(reply) = reply_to(&mut out, message, &Reply::new(200, Some(b"tag"), source)).finish()
    else {
        return;
    };
    let reply = Message::parse(reply).unwrap_or_else(|_| panic!("our own reply must parse"));
    if !sound {
        return;
    }
    assert!(reply.via().is_ok() && reply.cseq() == message.cseq());
    assert!(reply.to_tag().is_some(), "a reply has a tag in To");
    let mut second = [0u8; 8192];
    if let Ok(ack) = ack_for_non_2xx(&mut second, message, &reply) {
        let ack = Message::parse(ack).unwrap_or_else(|_| panic!("our own ACK must parse"));
        assert_eq!(ack.method(), Some(Method::Ack));
    }
    if let Ok(cancel) = cancel_for(&mut second, message).map(crate::Writer::finish) {
        assert!(cancel.is_err() || cancel.is_ok_and(|c| Message::parse(c).is_ok()));
    }
    dialog(message, &mut second);
}

fn dialog(message: &Message<'_>, out: &mut [u8]) {
    let mut text = [0u8; 2048];
    let Ok(mut dialog) = Dialog::uas(&mut text, message, b"local", 1) else { return };
    let via = ViaOut {
        transport: Transport::Udp,
        sent_by: core::net::SocketAddr::from(([192, 0, 2, 9], 5060)),
        branch: b"z9hG4bKx",
        rport: true,
    };
    let Ok(bye) = dialog.request(&text, out, Method::Bye, &via).finish() else { return };
    let bye = Message::parse(bye).unwrap_or_else(|_| panic!("our own BYE must parse"));
    assert_eq!(bye.cseq().map(|c| c.number), Ok(2));
    let id = DialogId::of_request(&bye);
    assert!(id.is_none_or(|id| id.local_tag == dialog.id(&text).remote_tag));
    let _ = dialog.check_request(&text, message);
    let mut other = [0u8; 4096];
    if let Ok(Some((moved, len))) = dialog.moved(&text, message, &mut other) {
        assert!(len == moved.text_len() && moved.id(&other) == dialog.id(&text));
    }
}
