//! Far ends in a test's hands: messages that no phone of ours would write, and everything that the
//! switch sends to their hosts, as text.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use base::Mono;
use world::{Datagram, Fate, Manner, Setup, World};

use crate::common::{ms, routed};
use world::plane::ADDRESSES as OURS;

/// The caller and the callee of a call made by hand.
pub(crate) const A: &str = "10.1.0.1:5060";
pub(crate) const B: &str = "10.1.0.2:5060";

/// What the switch sent to the hosts in a test's hands; nothing of it reaches a phone.
#[derive(Clone)]
pub(crate) struct Log(Rc<RefCell<Vec<(Mono, Datagram)>>>);

impl Log {
    pub(crate) fn new(world: &mut World, hands: &'static [&'static str]) -> Self {
        let log = Self(Rc::default());
        let sink = Rc::clone(&log.0);
        world.network.set_filter(move |now, datagram| {
            let to: Option<SocketAddr> =
                hands.iter().map(|hand| hand.parse().unwrap()).find(|hand: &SocketAddr| {
                    hand.ip() == datagram.to.ip() && OURS.contains(&datagram.from.ip())
                });
            if to.is_none() {
                return Fate::Pass;
            }
            sink.borrow_mut().push((now, datagram.clone()));
            Fate::Drop
        });
        log
    }

    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// SIP messages to this address, in order; they are forgotten.
    pub(crate) fn take(&self, to: &str) -> Vec<String> {
        let all = self.all(to, "", "");
        let to: SocketAddr = to.parse().unwrap();
        self.0.borrow_mut().retain(|(_, sent)| sent.to != to);
        all
    }

    /// SIP messages to this address that begin so and have this text, in order.
    pub(crate) fn all(&self, to: &str, start: &str, has: &str) -> Vec<String> {
        self.timed(to, start, has).into_iter().map(|(_, text)| text).collect()
    }

    /// The same, with the moments.
    pub(crate) fn timed(&self, to: &str, start: &str, has: &str) -> Vec<(Mono, String)> {
        let to: SocketAddr = to.parse().unwrap();
        let log = self.0.borrow();
        let sip =
            log.iter().filter(|(_, sent)| sent.to == to && world::network::is_sip(&sent.bytes));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        sip.map(|(at, sent)| (*at, text(&sent.bytes)))
            .filter(|(_, text)| text.starts_with(start) && text.contains(has))
            .collect()
    }

    /// From where the newest message to this address came that begins so.
    pub(crate) fn came_from(&self, to: &str, start: &str) -> SocketAddr {
        let to: SocketAddr = to.parse().unwrap();
        let log = self.0.borrow();
        let is_it = |sent: &Datagram| sent.to == to && sent.bytes.starts_with(start.as_bytes());
        log.iter().rev().find(|(_, sent)| is_it(sent)).expect("a message").1.from
    }

    /// The newest of them.
    pub(crate) fn last(&self, to: &str, start: &str, has: &str) -> String {
        let all = self.all(to, start, has);
        all.last().unwrap_or_else(|| panic!("no {start} {has} to {to}: {:?}", self.lines())).clone()
    }

    /// First lines of all SIP messages, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.0.borrow();
        let sip = log.iter().filter(|(_, sent)| world::network::is_sip(&sent.bytes));
        let line = |sent: &Datagram| crate::common::first_line(&sent.bytes).to_owned();
        sip.map(|(_, sent)| format!("{} to {}", line(sent), sent.to)).collect()
    }

    /// Payload types of the media packets to this address, in order, each once in a row.
    pub(crate) fn payload_types(&self, to: &str) -> Vec<u8> {
        let to: SocketAddr = to.parse().unwrap();
        let log = self.0.borrow();
        let media = log.iter().filter(|(_, sent)| sent.to == to && sent.bytes[0] == 0x80);
        let mut all: Vec<u8> = media.map(|(_, sent)| sent.bytes[1] & 0x7f).collect();
        all.dedup();
        all
    }

    /// Media packets to this address.
    pub(crate) fn media(&self, to: &str) -> usize {
        let to: SocketAddr = to.parse().unwrap();
        let log = self.0.borrow();
        log.iter().filter(|(_, sent)| sent.to == to && sent.bytes[0] == 0x80).count()
    }
}

fn switch() -> SocketAddr {
    world::plane::listener()
}

/// A world with a route from A to B, both in the test's hands, on one shard.
pub(crate) fn world_by_hand(seed: u64) -> (World, Log) {
    let mut world = routed(&one_shard(seed), Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

pub(crate) fn one_shard(seed: u64) -> Setup {
    let mut setup = Setup::new(seed);
    setup.plane.shards = 1;
    setup
}

/// Sends a text as if from there, and lets it arrive.
pub(crate) fn send(world: &mut World, from: &str, text: &str) {
    send_to(world, (from, switch()), text);
}

/// The same, to another address of ours.
pub(crate) fn send_to(world: &mut World, (from, to): (&str, SocketAddr), text: &str) {
    let bytes = text.replace('\n', "\r\n").into_bytes();
    world.inject(Datagram { from: from.parse().unwrap(), to, bytes });
    world.run_for(ms(40));
}

/// The value of the first such header.
pub(crate) fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix(':');
    text.lines().find_map(value).unwrap_or_default().trim()
}

/// The values of all such headers.
pub(crate) fn headers<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix(':');
    text.lines().filter_map(value).map(str::trim).collect()
}

/// Port of the audio stream.
pub(crate) fn media_port(text: &str) -> u16 {
    let line = text.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).expect("an audio stream")
}

/// Version of the o= line.
pub(crate) fn version(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("o="));
    line.and_then(|line| line.split(' ').nth(2)?.parse().ok()).expect("an o= line")
}

/// A description.
pub(crate) fn sdp(host: &str, port: u16, version: u32, formats: &str) -> String {
    format!(
        "v=0\no=- 7 {version} IN IP4 {host}\ns=-\nc=IN IP4 {host}\nt=0 0\n\
         m=audio {port} RTP/AVP {formats}\n"
    )
}

/// The end of a message: its body, if it has one.
pub(crate) fn body(kind: &str, text: &str) -> String {
    let length = text.replace('\n', "\r\n").len();
    let kind = if text.is_empty() { String::new() } else { format!("Content-Type: {kind}\n") };
    format!("{kind}Content-Length: {length}\n\n{text}")
}

/// A far end's half of a dialog.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    pub(crate) address: &'static str,
    pub(crate) call_id: String,
    /// With its tag.
    pub(crate) from: String,
    /// With the switch's tag, once there is one.
    pub(crate) to: String,
    pub(crate) contact: String,
}

impl Hand {
    /// A caller.
    pub(crate) fn caller(call_id: &str) -> Self {
        Self {
            address: A,
            call_id: call_id.to_owned(),
            from: "<sip:a@example.com>;tag=a".to_owned(),
            to: "<sip:g1@10.0.0.1>".to_owned(),
            contact: format!("<sip:a@{A}>"),
        }
    }

    /// The callee of this INVITE.
    pub(crate) fn callee(invite: &str, tag: &str) -> Self {
        Self {
            address: B,
            call_id: header(invite, "Call-ID").to_owned(),
            from: format!("{};tag={tag}", header(invite, "To")),
            to: header(invite, "From").to_owned(),
            contact: format!("<sip:b@{B}>"),
        }
    }

    /// A request; `more` are header lines with their ends. The same one twice has one branch.
    pub(crate) fn request(&self, method: &str, cseq: u32, more: &str, body: &str) -> String {
        let Self { address, call_id, from, to, contact } = self;
        let tag = from.rsplit('=').next().unwrap_or_default();
        format!(
            "{method} sip:g1@10.0.0.1 SIP/2.0\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK{tag}{call_id}{method}{cseq};rport\n\
             Max-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\n\
             CSeq: {cseq} {method}\nContact: {contact}\n{more}{body}"
        )
    }

    /// A response to a request of the switch's.
    pub(crate) fn reply(&self, request: &str, status: &str, more: &str, body: &str) -> String {
        let via = headers(request, "Via").join("\nVia: ");
        let to = header(request, "To");
        let to = if to.contains(";tag=") { to } else { &self.from };
        format!(
            "SIP/2.0 {status}\nVia: {via}\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n\
             Contact: {}\n{more}{body}",
            header(request, "From"),
            self.call_id,
            header(request, "CSeq"),
            self.contact
        )
    }
}

/// A description as a body.
pub(crate) fn described(host: &str, port: u16, version: u32, formats: &str) -> String {
    body("application/sdp", &sdp(host, port, version, formats))
}

/// No body.
pub(crate) fn empty() -> String {
    body("", "")
}

/// A call that stands: A called B.
pub(crate) struct Call {
    pub(crate) a: Hand,
    pub(crate) b: Hand,
    /// Our port for A, and for B.
    pub(crate) ports: (u16, u16),
}

/// A offers, B is asked: its INVITE.
pub(crate) fn ask(world: &mut World, log: &Log, a: &Hand, formats: &str) -> String {
    let offer = described("10.1.0.1", 4_000, 1, formats);
    send(world, A, &a.request("INVITE", 1, "", &offer));
    log.last(B, "INVITE", "")
}

/// A call of A to B with these formats, answered at once.
pub(crate) fn call(world: &mut World, log: &Log, call_id: &str, formats: (&str, &str)) -> Call {
    let mut a = Hand::caller(call_id);
    let invite = ask(world, log, &a, formats.0);
    let b = Hand::callee(&invite, "b");
    let answer = described("10.1.0.2", 5_000, 1, formats.1);
    send(world, B, &b.reply(&invite, "200 OK", "", &answer));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    send(world, A, &a.request("ACK", 1, "", &empty()));
    let ports = (media_port(&ok), media_port(&invite));
    log.clear();
    Call { a, b, ports }
}

/// A packet from `from` to one of our ports.
pub(crate) fn packet(world: &mut World, from: &str, port: u16, (seq, ssrc): (u16, u32)) {
    let mut bytes = vec![0x80, 0];
    bytes.extend(seq.to_be_bytes());
    bytes.extend((u32::from(seq) * 160).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xd5; 160]);
    let to = SocketAddr::new(switch().ip(), port);
    world.inject(Datagram { from: from.parse().unwrap(), to, bytes });
}

/// Nothing may be left of anything once all transactions have run out.
pub(crate) fn nothing_left(world: &mut World) {
    world.run_for(std::time::Duration::from_secs(80));
    let left = world.plane.leftovers();
    assert!(left.is_empty(), "{left:?}");
}
