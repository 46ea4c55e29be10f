//! Phones: the callers and callees of the benches, as a value. Bytes in, bytes out; the same value
//! speaks to a shard in memory ([`crate::bed`]) and to a switch behind sockets (`versus`). Dialogs
//! and transactions are those of the crate `agent`; nothing is sent again, for nothing gets lost.
//!
//! A caller dials `+1` and the call's number; callees answer at once with 200. The number is in the
//! Call-ID, in the dialled user and in both tags, so that every message says which call it is of.

use std::io::Write;
use std::net::SocketAddr;

use agent::signal::{Answer, Request, Response};
use agent::{Cx, Outbox, Room, Signal};
use base::{Mono, Now, Wall};
use sip::{Message, Method, Name, Reply, reply_to};

/// Bytes of the largest message.
const MESSAGE_BYTES: usize = 4_096;
const NOW: Now = Now { mono: Mono(1), wall: Wall(1) };

/// Which of the two sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Caller,
    Callee,
}

/// One call.
#[derive(Debug)]
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
    /// The caller's and the callee's signalling, as long as there is any.
    ends: Option<Box<[Signal; 2]>>,
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
    room: Room,
    /// Of calls that are over, for the next ones.
    free: Vec<[Signal; 2]>,
}

/// What a phone says at one moment.
#[derive(Debug, Default)]
struct Said(Vec<Vec<u8>>);

impl Outbox for Said {
    fn put(&mut self, _from: SocketAddr, _to: SocketAddr, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }
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
            ends: None,
        }
    }
}

impl Phones {
    #[must_use]
    pub fn new(switch: SocketAddr, caller: SocketAddr, callee: SocketAddr) -> Self {
        Self {
            switch,
            caller,
            callee,
            host: switch.to_string(),
            rings: false,
            calls: Vec::new(),
            room: Room::new(MESSAGE_BYTES),
            free: Vec::new(),
        }
    }

    /// The address that `side` signals from.
    #[must_use]
    pub fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Caller => self.caller,
            Side::Callee => self.callee,
        }
    }

    /// Signalling for call `number`, which it names in its tags.
    fn ends(&mut self, number: usize) -> Box<[Signal; 2]> {
        let seed = u64::try_from(self.free.len() + self.calls.len()).unwrap_or(0);
        let switch = self.switch;
        let fresh = |ours: SocketAddr, seed: u64| {
            let mut signal = Signal::new(ours, switch, 1, seed);
            signal.contact = format!("sip:bench@{ours}").into_bytes();
            signal.display = b"Bench".to_vec();
            signal.lean = true;
            signal
        };
        let (caller, callee) = (self.caller, self.callee);
        let both = || [fresh(caller, seed * 2), fresh(callee, seed * 2 + 1)];
        let mut ends = Box::new(self.free.pop().unwrap_or_else(both));
        let _ = write!(ends[0].call_id, "bench-{number}@{caller}");
        let _ = write!(ends[0].tag, "caller-{number}");
        let _ = write!(ends[1].tag, "callee-{number}");
        ends
    }

    /// The caller's INVITE of call `number`.
    #[must_use]
    pub fn invite(&mut self, number: usize) -> Vec<u8> {
        let mut ends = self.ends(number);
        let body = describe(self.calls[number].caller_media);
        let to = format!("sip:+1{number:010}@{}", self.host);
        let from = format!("sip:bench@{}", self.caller);
        let mut said = Said::default();
        let mut cx = Cx { now: NOW, out: &mut said, room: &mut self.room };
        ends[0].invite(&mut cx, to.as_bytes(), from.as_bytes(), |writer| {
            writer
                .field(Name::Allow, b"INVITE, ACK, CANCEL, OPTIONS, BYE")
                .field(Name::Supported, b"replaces, timer")
                .field(Name::UserAgent, b"tandem-bench")
                .content(b"application/sdp", body.as_bytes())
        });
        self.calls[number].ends = Some(ends);
        said.0.pop().unwrap_or_default()
    }

    /// The caller's BYE of an established call.
    #[must_use]
    pub fn bye(&mut self, number: usize) -> Vec<u8> {
        let mut said = Said::default();
        let mut cx = Cx { now: NOW, out: &mut said, room: &mut self.room };
        if let Some(ends) = &mut self.calls[number].ends {
            ends[0].request(&mut cx, Method::Bye, |writer| writer);
        }
        said.0.pop().unwrap_or_default()
    }

    /// What the switch sent to `side`. Gives what that side answers.
    pub fn handle(&mut self, side: Side, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut said = Said::default();
        let Ok(message) = Message::parse(datagram) else { return said.0 };
        if message.is_request() {
            self.request(side, &message, &mut said);
        } else {
            self.response(&message, &mut said);
        }
        said.0
    }

    fn request(&mut self, side: Side, message: &Message<'_>, said: &mut Said) -> Option<()> {
        let (method, source, ours) = (message.method()?, self.switch, self.address(side));
        let fresh = method == Method::Invite && message.to_tag().is_none();
        let number = match message.to_tag() {
            Some(tag) => digits(tag)?,
            None => digits(message.uri().ok()?.user)? % 10_000_000_000,
        };
        let call = self.calls.get_mut(usize::try_from(number).ok()?)?;
        let mut cx = Cx { now: NOW, out: said, room: &mut self.room };
        let Some(ends) = &mut call.ends else {
            // It is over and was forgotten: the answer was lost.
            let reply = Reply::new(200, None, Some(source));
            let mut buffer = [0; MESSAGE_BYTES];
            let bytes = reply_to(&mut buffer, message, &reply).finish().ok()?;
            if method != Method::Ack {
                cx.out.put(ours, source, bytes);
            }
            return None;
        };
        let end = &mut ends[usize::from(side == Side::Callee)];
        let answer = |code| Answer { code, tag: None, request: Some(message) };
        if fresh && end.dialog.is_none() {
            let cseq = end.begin(&mut cx, source, message.bytes(), message);
            if self.rings {
                end.respond(&mut cx, cseq, method, answer(180), |writer| writer);
            }
            call.callee_target = media_of(message.body());
            let body = describe(call.callee_media);
            end.respond(&mut cx, cseq, method, answer(200), |writer| {
                writer.content(b"application/sdp", body.as_bytes())
            });
            return None;
        }
        let asked = end.handle_request(&mut cx, source, message.bytes(), message);
        if let Request::New(cseq) = asked {
            end.respond(&mut cx, cseq, method, answer(200), |writer| writer);
        }
        if method == Method::Bye {
            match side {
                Side::Caller => call.caller_over = true,
                Side::Callee => call.callee_over = true,
            }
            self.release(number);
        }
        None
    }

    fn response(&mut self, message: &Message<'_>, said: &mut Said) -> Option<()> {
        let user = message.call_id().ok()?.split(|byte| *byte == b'@').next()?;
        let number = digits(user)?;
        let call = self.calls.get_mut(usize::try_from(number).ok()?)?;
        let mut cx = Cx { now: NOW, out: said, room: &mut self.room };
        let end = &mut call.ends.as_mut()?[0];
        match end.handle_response(&mut cx, message) {
            Response::Accepted { cseq, .. } => {
                call.caller_target = media_of(message.body());
                call.established = true;
                end.ack(&mut cx, cseq, |writer| writer);
            }
            Response::Refused { code, .. } => call.refused = Some(code),
            Response::Final { .. } => {
                call.caller_over = true;
                self.release(number);
            }
            Response::Provisional { .. } | Response::Nothing => {}
        }
        None
    }

    /// The signalling of a call that is over serves another.
    fn release(&mut self, number: u64) -> Option<()> {
        let call = self.calls.get_mut(usize::try_from(number).ok()?)?;
        if call.caller_over && call.callee_over {
            let mut ends = call.ends.take()?;
            for end in ends.iter_mut() {
                end.reset(1, &mut self.room);
            }
            self.free.push(*ends);
        }
        None
    }
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
