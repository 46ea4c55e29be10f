//! What is told of a message: its header lines one by one, its body, both bounded.

use arrayvec::ArrayVec;
use base::{CallId, LegId, Wall};
use sip::{Message, Name};
use wire::SipMessage;
use wire::event::{Direction, TOLD_BODY_MAX, TOLD_HEADERS_MAX};
use wire::record::LegRecord;

use crate::usage::{cut, text};

/// Room for the header lines.
#[derive(Debug, Default)]
pub(crate) struct Page(Vec<u8>);

impl Page {
    /// What the message says, and what the leg's record says of the leg.
    pub(super) fn fill<'p>(
        &'p mut self,
        message: &'p Message<'_>,
        record: Option<&'p LegRecord<'_>>,
    ) -> SipMessage<'p> {
        // Taken when the first message is told, and kept.
        self.0.clear();
        self.0.reserve(TOLD_HEADERS_MAX);
        let mut is_cut = false;
        for header in message.headers() {
            // Credentials are nobody's but whom they are for.
            if matches!(header.name, Name::Authorization | Name::ProxyAuthorization) {
                continue;
            }
            let name = match header.name {
                Name::Other => header.text,
                known => known.text().as_bytes(),
            };
            let most = name.len() + header.value.len() + 4;
            let is_text = |part: &[u8]| core::str::from_utf8(part).is_ok();
            if self.0.len() + most > TOLD_HEADERS_MAX || !is_text(name) || !is_text(header.value) {
                is_cut = true;
                continue;
            }
            self.0.extend_from_slice(name);
            self.0.extend_from_slice(b": ");
            unfold(header.value, &mut self.0);
            self.0.extend_from_slice(b"\r\n");
        }
        let (body, body_is_cut) = body(message);
        let cseq = message.cseq().ok();
        let method = message.method().or_else(|| cseq.map(|cseq| cseq.method));
        let is_request = message.is_request();
        let start = if is_request { message.uri_raw() } else { message.reason() };
        SipMessage {
            call: CallId::NONE,
            parent: CallId::NONE,
            leg: LegId::NONE,
            account: 0,
            at: Wall(0),
            direction: record.map_or(Direction::Inbound, |record| record.direction),
            sent: false,
            trunk: false,
            number: 0,
            left_out: 0,
            wanted: ArrayVec::new(),
            from: record.map_or("", |record| record.from),
            to: record.map_or("", |record| record.to),
            created: record.map_or(Wall(0), |record| record.created),
            answered: record.map_or(Wall(0), |record| record.answered),
            method: cut(text(method.map_or(b"", |method| method.bytes()))),
            cseq: cseq.map_or(0, |cseq| cseq.number),
            code: message.status().unwrap_or(0),
            start: cut(text(start)),
            headers: text(&self.0),
            body,
            is_cut: is_cut || body_is_cut,
        }
    }
}

/// A folded value on one line (RFC 3261 section 7.3.1).
fn unfold(value: &[u8], out: &mut Vec<u8>) {
    let mut in_fold = false;
    for byte in value {
        match byte {
            b'\r' | b'\n' => in_fold = true,
            b' ' | b'\t' if in_fold => {}
            byte => {
                if core::mem::take(&mut in_fold) {
                    out.push(b' ');
                }
                out.push(*byte);
            }
        }
    }
}

/// As much of the body as is text and has room; whether that is less than all.
fn body<'m>(message: &'m Message<'_>) -> (&'m str, bool) {
    let whole = message.body();
    let Ok(text) = core::str::from_utf8(whole) else { return ("", true) };
    let mut end = text.len().min(TOLD_BODY_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], end < whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, look: impl FnOnce(SipMessage<'_>)) {
        let message = Message::parse(text.as_bytes()).expect("a message");
        look(Page::default().fill(&message, None));
    }

    #[test]
    fn headers_are_long_unfolded_and_without_credentials() {
        let text = "INFO sip:a@b SIP/2.0\r\ni: 1\r\nCSeq: 7 INFO\r\n\
            X-Fold: a\r\n  b\r\n\tc\r\nProxy-Authorization: Digest x\r\nAuthorization: y\r\n\
            Content-Length: 4\r\n\r\nbody";
        told(text, |it| {
            let expected = "Call-ID: 1\r\nCSeq: 7 INFO\r\nX-Fold: a b c\r\nContent-Length: 4\r\n";
            assert_eq!((it.headers, it.body, it.is_cut), (expected, "body", false));
            assert_eq!((it.method, it.cseq, it.code, it.start), ("INFO", 7, 0, "sip:a@b"));
        });
        told("SIP/2.0 486 Busy Here\r\nCSeq: 3 INVITE\r\n\r\n", |it| {
            assert_eq!((it.method, it.cseq, it.code, it.start), ("INVITE", 3, 486, "Busy Here"));
        });
    }

    #[test]
    fn what_is_too_long_is_left_out_and_said() {
        let long = "x".repeat(TOLD_HEADERS_MAX);
        let text = format!("INFO sip:a SIP/2.0\r\nX-Long: {long}\r\nCSeq: 7 INFO\r\n\r\n");
        told(&text, |it| assert_eq!((it.headers, it.is_cut), ("CSeq: 7 INFO\r\n", true)));
        let body = "\u{e4}".repeat(TOLD_BODY_MAX);
        let text = format!("INFO sip:a SIP/2.0\r\nCSeq: 7 INFO\r\n\r\n{body}");
        told(&text, |it| assert_eq!((it.body.len(), it.is_cut), (TOLD_BODY_MAX, true)));
    }
}
