//! Phones: the callers and callees of the benches, as a value. Bytes in, bytes out; the same value
//! speaks to a shard in memory ([`crate::bed`]) and to a switch behind sockets (`versus`).
//!
//! A caller dials `+1` and the call's number; callees answer at once with 200. The number is in the
//! Call-ID, in the dialled user and in both tags, so that every message says which call it is of.

use std::io::Write;
use std::net::SocketAddr;

use sip::{Message, Method};

/// Which of the two sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Caller,
    Callee,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where the phones receive media.
    pub caller_media: SocketAddr,
    pub callee_media: SocketAddr,
    /// Where the switch receives what they send.
    pub caller_target: Option<SocketAddr>,
    pub callee_target: Option<SocketAddr>,
    /// The caller's INVITE was answered and acknowledged.
    pub established: bool,
    /// Final response other than 2xx, if it failed.
    pub refused: Option<u16>,
    /// Both sides have seen the end.
    pub caller_over: bool,
    pub callee_over: bool,
    to: Vec<u8>,
    contact: Vec<u8>,
}

/// All phones: callers behind one address, callees behind another.
#[derive(Debug)]
pub struct Phones {
    pub switch: SocketAddr,
    pub caller: SocketAddr,
    pub callee: SocketAddr,
    /// Host of the dialled URI.
    pub host: String,
    /// Callees ring before they answer.
    pub rings: bool,
    pub calls: Vec<Call>,
}

impl Call {
    #[must_use]
    pub fn new(caller_media: SocketAddr, callee_media: SocketAddr) -> Self {
        Self {
            caller_media,
            callee_media,
            caller_target: None,
            callee_target: None,
            established: false,
            refused: None,
            caller_over: false,
            callee_over: false,
            to: Vec::new(),
            contact: Vec::new(),
        }
    }
}

impl Phones {
    #[must_use]
    pub fn new(switch: SocketAddr, caller: SocketAddr, callee: SocketAddr) -> Self {
        Self { switch, caller, callee, host: switch.to_string(), rings: false, calls: Vec::new() }
    }

    /// The address that `side` signals from.
    #[must_use]
    pub fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Caller => self.caller,
            Side::Callee => self.callee,
        }
    }

    /// The caller's INVITE of call `number`.
    #[must_use]
    pub fn invite(&self, number: usize) -> Vec<u8> {
        let body = describe(self.calls[number].caller_media);
        let (switch, caller) = (&self.host, self.caller);
        let mut out = Vec::with_capacity(1_024);
        let _ = write!(
            out,
            "INVITE sip:+1{number:010}@{switch} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {caller};branch=z9hG4bKinvite-{number};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Bench\" <sip:bench@{caller}>;tag=caller-{number}\r\n\
             To: <sip:+1{number:010}@{switch}>\r\n\
             Call-ID: bench-{number}@{caller}\r\n\
             CSeq: 1 INVITE\r\n\
             Contact: <sip:bench@{caller}>\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE\r\n\
             Supported: replaces, timer\r\n\
             User-Agent: tandem-bench\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        out
    }

    /// The caller's BYE of an established call.
    #[must_use]
    pub fn bye(&self, number: usize) -> Vec<u8> {
        self.in_dialog(number, "BYE", 2)
    }

    /// What the switch sent to `side`. Gives what that side answers.
    pub fn handle(&mut self, side: Side, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Ok(message) = Message::parse(datagram) else { return Vec::new() };
        if !message.is_request() {
            return self.response(&message).into_iter().collect();
        }
        let mut answers = Vec::with_capacity(2);
        if self.rings && message.method() == Some(Method::Invite) {
            let user = message.uri().map_or(0, |uri| digits(uri.user).unwrap_or(0));
            let tag = format!(";tag=callee-{}", user % 10_000_000_000);
            answers.push(reply("180 Ringing", &message, &tag, self.callee, ""));
        }
        answers.extend(self.request(side, &message));
        answers
    }

    fn request(&mut self, side: Side, message: &Message<'_>) -> Option<Vec<u8>> {
        match message.method()? {
            Method::Invite => {
                let number = digits(message.uri().ok()?.user)? % 10_000_000_000;
                let call = self.calls.get_mut(usize::try_from(number).ok()?)?;
                call.callee_target = media_of(message.body());
                let body = describe(call.callee_media);
                let tag = format!(";tag=callee-{number}");
                Some(reply("200 OK", message, &tag, self.callee, &body))
            }
            Method::Bye => {
                let number = usize::try_from(digits(message.to_tag()?)?).ok()?;
                let call = self.calls.get_mut(number)?;
                match side {
                    Side::Caller => call.caller_over = true,
                    Side::Callee => call.callee_over = true,
                }
                Some(reply("200 OK", message, "", self.address(side), ""))
            }
            Method::Ack => None,
            _ => Some(reply("200 OK", message, "", self.address(side), "")),
        }
    }

    fn response(&mut self, message: &Message<'_>) -> Option<Vec<u8>> {
        let user = message.call_id().ok()?.split(|byte| *byte == b'@').next()?;
        let number = usize::try_from(digits(user)?).ok()?;
        let cseq = message.cseq().ok()?;
        let code = message.status()?;
        let call = self.calls.get_mut(number)?;
        match (cseq.method, code) {
            (_, ..200) => None,
            (Method::Invite, 200..300) => {
                call.caller_target = media_of(message.body());
                call.to = message.header(sip::Name::To)?.to_vec();
                call.contact = message.contact().ok()?.uri.to_vec();
                call.established = true;
                Some(self.in_dialog(number, "ACK", 1))
            }
            (Method::Invite, _) => {
                call.refused = Some(code);
                None
            }
            _ => {
                call.caller_over = true;
                None
            }
        }
    }

    fn in_dialog(&self, number: usize, method: &str, cseq: u32) -> Vec<u8> {
        let call = &self.calls[number];
        let caller = self.caller;
        let mut out = Vec::with_capacity(512);
        let _ = write!(out, "{method} ");
        out.extend_from_slice(&call.contact);
        let _ = write!(
            out,
            " SIP/2.0\r\n\
             Via: SIP/2.0/UDP {caller};branch=z9hG4bK{method}-{number};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Bench\" <sip:bench@{caller}>;tag=caller-{number}\r\nTo: ",
        );
        out.extend_from_slice(&call.to);
        let _ = write!(
            out,
            "\r\nCall-ID: bench-{number}@{caller}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        out
    }
}

/// A response with what it copies from its request.
fn reply(
    status: &str,
    message: &Message<'_>,
    to_more: &str,
    contact: SocketAddr,
    body: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    let _ = write!(out, "SIP/2.0 {status}\r\n");
    for header in message.headers() {
        let copied = [sip::Name::Via, sip::Name::From, sip::Name::To, sip::Name::CallId];
        if copied.contains(&header.name) || header.name == sip::Name::CSeq {
            out.extend_from_slice(header.text);
            out.extend_from_slice(b": ");
            out.extend_from_slice(header.value);
            if header.name == sip::Name::To {
                out.extend_from_slice(to_more.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    let _ = write!(out, "Contact: <sip:bench@{contact}>\r\n");
    if !body.is_empty() {
        out.extend_from_slice(b"Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{body}", body.len());
    out
}

/// An offer or answer of G.711 with digits.
#[must_use]
pub fn describe(media: SocketAddr) -> String {
    let (address, port) = (media.ip(), media.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Address and port of the audio in a description.
#[must_use]
pub fn media_of(description: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(description).ok()?;
    let field = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start))?;
        line.split_whitespace().next()
    };
    let address = field("c=IN IP4 ")?.parse().ok()?;
    Some(SocketAddr::new(address, field("m=audio ")?.parse().ok()?))
}

/// The number that the digits of a text make.
fn digits(text: &[u8]) -> Option<u64> {
    let mut some = false;
    let number = text.iter().filter(|byte| byte.is_ascii_digit()).fold(0_u64, |number, byte| {
        some = true;
        number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))
    });
    some.then_some(number)
}
