//! Strangers: who sends to a switch without being anybody to it. They never acknowledge, never
//! answer a challenge, and every message of theirs can be told from all others, so that what comes
//! back is attributed to the request it is about ([`Tally`]).

mod tally;

use std::fmt::Write as _;
use std::net::SocketAddr;

pub use tally::{Count, Tally, Worst};

/// What a stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No SIP, or SIP that is broken, or answers to what nobody asked.
    Junk,
    Options,
    Register,
    /// INFO with the tag of a call that is over, an invented one, or one made to look like ours.
    Info,
    /// INVITE to a number that nobody has.
    Invite,
    /// INVITE to what honest callers dial.
    InviteKnown,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Junk, Self::Options, Self::Register, Self::Info, Self::Invite, Self::InviteKnown];

    /// As tables show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Junk => "junk",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Info => "INFO, old tag",
            Self::Invite => "INVITE, nobody's number",
            Self::InviteKnown => "INVITE, known number",
        }
    }
}

/// The user in From of everything that a stranger sends.
pub const USER: &str = "stranger";

/// What strangers know of the switch.
#[derive(Clone, Debug)]
pub struct Aim {
    pub switch: SocketAddr,
    /// URIs that honest callers dial.
    pub known: Vec<String>,
    /// Tags that the switch gave to calls that are over.
    pub old_tags: Vec<String>,
}

/// The mark before the serial number, in branches and Call-IDs.
const MARK: &str = "z9hG4bKstranger";

impl Aim {
    /// Writes the `serial`th message of all strangers, sent from `from`. Every second one is as
    /// small as its kind can be.
    pub fn write(&self, kind: Kind, serial: u64, from: SocketAddr, out: &mut String) {
        out.clear();
        let small = serial % 2 == 1;
        match kind {
            Kind::Junk => self.junk(serial, from, out),
            Kind::Options => {
                let uri = format!("sip:{}", self.switch);
                request(out, ("OPTIONS", &uri), (serial, from), None, small);
            }
            Kind::Register => {
                let uri = format!("sip:{}", self.switch);
                request(out, ("REGISTER", &uri), (serial, from), None, small);
            }
            Kind::Info => {
                let uri = format!("sip:tandem@{}", self.switch);
                let tag = self.tag(serial / 2);
                request(out, ("INFO", &uri), (serial, from), Some(&tag), small);
            }
            Kind::Invite => {
                let uri = format!("sip:+1999{:07}@{}", serial % 10_000_000, self.switch);
                request(out, ("INVITE", &uri), (serial, from), None, small);
            }
            Kind::InviteKnown => {
                let at = usize::try_from(serial / 2).unwrap_or(0) % self.known.len().max(1);
                let uri = self.known.get(at).map_or("sip:nobody", String::as_str);
                request(out, ("INVITE", uri), (serial, from), None, small);
            }
        }
    }

    /// A tag of a call that is over, an invented one, and one in the form of ours.
    fn tag(&self, turn: u64) -> String {
        let at = usize::try_from(turn / 3).unwrap_or(0) % self.old_tags.len().max(1);
        let old = self.old_tags.get(at);
        let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
        match (turn % 3, old) {
            (0, Some(old)) => old.clone(),
            (1, _) => format!("{turn:x}"),
            // The length and the letters of the switch's own (`sip::token`).
            _ => {
                let mut mixed = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let letter = |_| {
                    mixed = mixed.rotate_left(5).wrapping_mul(0x5851_f42d_4c95_7f2d);
                    let at = usize::try_from(mixed >> 59).unwrap_or(0);
                    char::from(alphabet[at])
                };
                (0..old.map_or(20, String::len)).map(letter).collect()
            }
        }
    }

    fn junk(&self, serial: u64, from: SocketAddr, out: &mut String) {
        let via = format!("Via: SIP/2.0/UDP {from};branch={MARK}{serial:x};rport\r\n");
        let _ = match serial % 5 {
            0 => write!(out, "GET /{serial} HTTP/1.1\r\nHost: {}\r\n\r\n", self.switch),
            1 => write!(out, "\u{7f}{}", "\u{1}x".repeat(60)),
            2 => write!(out, "INVITE sip:{serial} SIP/2.0\r\n{via}Call-ID\r\n\r\n"),
            3 => write!(
                out,
                "SIP/2.0 200 OK\r\n{via}From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
                 Call-ID: {serial}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            ),
            _ => write!(
                out,
                "INVITE sip:a@b SIP/2.0\r\n{via}From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
                 Call-ID: {serial}\r\nCSeq: 1 INVITE\r\nContent-Length: 99999\r\n\r\n"
            ),
        };
    }
}

/// The serial number of the request that an answer is about.
#[must_use]
pub fn serial_of(answer: &[u8]) -> Option<u64> {
    let mark = MARK.as_bytes();
    let at = answer.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let digits = answer[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    u64::from_str_radix(core::str::from_utf8(&answer[at..at + digits]).ok()?, 16).ok()
}

/// One request; `tag` stands in To.
fn request(
    out: &mut String,
    (method, uri): (&str, &str),
    (serial, from): (u64, SocketAddr),
    tag: Option<&str>,
    small: bool,
) {
    let tag = tag.map_or_else(String::new, |tag| format!(";tag={tag}"));
    if small {
        // Compact names, nothing that is not asked for (RFC 3261 sections 7.3.3 and 8.1.1).
        let _ = write!(
            out,
            "{method} {uri} SIP/2.0\r\nv:SIP/2.0/UDP {from};branch={MARK}{serial:x};rport\r\n\
             f:<sip:{USER}@b>;tag=1\r\nt:<sip:a@b>{tag}\r\ni:{serial:x}\r\nCSeq:1 {method}\r\n\
             m:<sip:{from}>\r\nMax-Forwards:9\r\n\r\n"
        );
        return;
    }
    let sdp = match method {
        "INVITE" => format!(
            "v=0\r\no=- {serial} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
            ip = from.ip()
        ),
        _ => String::new(),
    };
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let _ = write!(
        out,
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch={MARK}{serial:x};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{USER}@stranger.invalid>;tag={serial:x}\r\n\
         To: <{uri}>{tag}\r\nCall-ID: {serial:x}@{}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:{USER}@{from}>\r\nUser-Agent: friendly-scanner\r\n{kind}\
         Content-Length: {}\r\n\r\n{sdp}",
        from.ip(),
        sdp.len()
    );
}

#[cfg(test)]
mod tests {
    use sip::{Message, Method};

    use super::*;

    fn aim() -> Aim {
        Aim {
            switch: "192.0.2.1:5060".parse().unwrap(),
            known: vec!["sip:+15550100@example.com".to_owned()],
            old_tags: vec!["a".repeat(20)],
        }
    }

    #[test]
    fn what_they_send_is_what_it_is_called() {
        let from = "198.51.100.7:5060".parse().unwrap();
        let mut text = String::new();
        for (kind, method) in [
            (Kind::Options, Method::Options),
            (Kind::Register, Method::Register),
            (Kind::Info, Method::Info),
            (Kind::Invite, Method::Invite),
            (Kind::InviteKnown, Method::Invite),
        ] {
            for serial in 0..12 {
                aim().write(kind, serial, from, &mut text);
                let message = Message::parse(text.as_bytes()).expect("it can be read");
                assert_eq!(message.method(), Some(method), "{text}");
                assert_eq!(serial_of(text.as_bytes()), Some(serial));
                assert_eq!(message.to_tag().is_some(), kind == Kind::Info);
            }
        }
    }

    #[test]
    fn tags_are_of_three_sorts() {
        let tags: Vec<String> = (0..3).map(|turn| aim().tag(turn)).collect();
        assert_eq!(tags[0], "a".repeat(20));
        assert_eq!(tags[2].len(), 20);
        assert!(tags[1] != tags[0] && tags[2] != tags[0]);
    }
}
