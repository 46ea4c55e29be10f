//! Far ends written out by hand, message for message, against a call of a static route: what phones
//! do not do.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use wire::counter::Counter;
use world::{Datagram, Fate, Manner, Setup, World};

use crate::common::{SECOND, count, ms, routed};

pub(crate) const A: &str = "10.1.0.1:5060";
pub(crate) const B: &str = "10.1.0.2:5060";

/// What the switch sent to the two far ends, with the moment in milliseconds.
pub(crate) type Log = Rc<RefCell<Vec<(u64, Datagram)>>>;

pub(crate) fn tap(world: &mut World) -> Log {
    let log: Log = Rc::new(RefCell::new(Vec::new()));
    let sink = log.clone();
    world.network.set_filter(move |now, datagram| {
        let of_ours = |address: SocketAddr| address.ip() == world::plane::listener().ip();
        if of_ours(datagram.from) && !of_ours(datagram.to) {
            sink.borrow_mut().push((now.0 / 1_000_000, datagram.clone()));
            return Fate::Drop;
        }
        Fate::Pass
    });
    log
}

pub(crate) fn say(world: &mut World, from: &str, text: &str) {
    let from: SocketAddr = from.parse().unwrap();
    let bytes = text.replace('\n', "\r\n").into_bytes();
    world.inject(Datagram { from, to: world::plane::listener(), bytes });
    world.run_for(ms(50));
}

/// Everything of that start, with that in it, sent to a far end.
pub(crate) fn all(log: &Log, to: &str, start: &str, has: &str) -> Vec<String> {
    let log = log.borrow();
    let texts = log.iter().filter(|(_, datagram)| datagram.to.ip() == host(to));
    let texts = texts.map(|(_, datagram)| String::from_utf8_lossy(&datagram.bytes).into_owned());
    texts.filter(|text| text.starts_with(start) && text.contains(has)).collect()
}

pub(crate) fn last(log: &Log, to: &str, start: &str, has: &str) -> Option<String> {
    all(log, to, start, has).pop()
}

pub(crate) fn host(address: &str) -> std::net::IpAddr {
    address.parse::<SocketAddr>().unwrap().ip()
}

pub(crate) fn header(text: &str, name: &str) -> String {
    let prefix = format!("{name}: ");
    let line = text.lines().find(|line| line.starts_with(&prefix));
    line.map(|line| line[prefix.len()..].trim().to_owned()).unwrap_or_default()
}

pub(crate) fn sdp(host: &str, version: u32, formats: &str, more: &str) -> String {
    let port = if more.contains("stopped") { 0 } else { 4_000 };
    let more = more.replace("stopped", "");
    format!(
        "v=0\no=- 7 {version} IN IP4 {host}\ns=-\nc=IN IP4 {host}\nt=0 0\nm=audio {port} RTP/AVP \
         {formats}\n{more}"
    )
}

pub(crate) fn body(text: &str) -> String {
    if text.is_empty() {
        return "Content-Length: 0\n\n".into();
    }
    let length = text.replace('\n', "\r\n").len();
    format!("Content-Type: application/sdp\nContent-Length: {length}\n\n{text}")
}

/// A far end's side of its dialog.
pub(crate) struct Far {
    pub(crate) at: &'static str,
    pub(crate) call: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) cseq: u32,
}

impl Far {
    pub(crate) fn request(&mut self, method: &str, more: &str, sdp: &str) -> String {
        if method != "ACK" {
            self.cseq += 1;
        }
        let Self { at, call, from, to, cseq } = self;
        let contact = match more.contains("Contact:") {
            true => String::new(),
            false => format!("Contact: <sip:x@{at}>\n"),
        };
        format!(
            "{method} sip:tandem@10.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bK\
             {method}{cseq};rport\nMax-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {call}\n\
             CSeq: {cseq} {method}\n{contact}{more}{}",
            body(sdp)
        )
    }
}

pub(crate) fn reply(request: &str, status: &str, tag: &str, more: &str, sdp: &str) -> String {
    let to = header(request, "To");
    let to = if to.contains(";tag=") { to } else { format!("{to};tag={tag}") };
    let contact = match more.contains("Contact:") {
        true => "",
        false => "Contact: <sip:b@10.1.0.2:5060>\n",
    };
    format!(
        "SIP/2.0 {status}\nVia: {}\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n{contact}{more}{}",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body(sdp)
    )
}

pub(crate) struct Call {
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) a: Far,
    pub(crate) b: Far,
}

/// What the two say beside the usual.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) of_a: &'static str,
    pub(crate) of_b: &'static str,
}

pub(crate) fn route_world(targets: usize) -> (World, Log) {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    setup.plane.timers.media_timeout = Duration::ZERO;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent(); targets]);
    let log = tap(&mut world);
    (world, log)
}

pub(crate) fn invite(more: &str, sdp: &str) -> String {
    format!(
        "INVITE sip:g1@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {A};branch=z9hG4bKfirst;rport\n\
         Max-Forwards: 70\nFrom: <sip:a@example.com>;tag=1\nTo: <sip:g1@10.0.0.1>\nCall-ID: call\n\
         CSeq: 1 INVITE\nContact: <sip:x@{A}>\n{more}{}",
        body(sdp)
    )
}

/// A call of A to B that stands, both with PCMU.
pub(crate) fn call(said: &Said) -> Call {
    let (world, log) = route_world(1);
    call_in(world, log, said)
}

/// The same in a world that stands.
pub(crate) fn call_in(mut world: World, log: Log, said: &Said) -> Call {
    say(&mut world, A, &invite(said.of_a, &sdp("10.1.0.1", 1, "0", "")));
    let invite = last(&log, B, "INVITE", "").unwrap();
    say(&mut world, B, &reply(&invite, "200 OK", "b", said.of_b, &sdp("10.1.0.2", 1, "0", "")));
    let ok = last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let mut a = Far {
        at: A,
        call: "call".into(),
        from: "<sip:a@example.com>;tag=1".into(),
        to: header(&ok, "To"),
        cseq: 1,
    };
    let ack = a.request("ACK", "", "");
    say(&mut world, A, &ack);
    let b = Far {
        at: B,
        call: header(&invite, "Call-ID"),
        from: header(&invite, "To") + ";tag=b",
        to: header(&invite, "From"),
        cseq: 0,
    };
    Call { world, log, a, b }
}

impl Call {
    /// A changes its description; its answer's status.
    pub(crate) fn a_offers(&mut self, sdp: &str) -> String {
        let text = self.a.request("INVITE", "", sdp);
        say(&mut self.world, A, &text);
        let answer = last(&self.log, A, "SIP/2.0", &format!("CSeq: {} INVITE", self.a.cseq));
        let answer = answer.unwrap_or_default();
        let ack = self.a.request("ACK", "", "");
        say(&mut self.world, A, &ack);
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// The re-INVITEs that B got, each once.
    pub(crate) fn b_reinvited(&self) -> Vec<String> {
        let mut all = all(&self.log, B, "INVITE", ";tag=b");
        all.dedup();
        all
    }

    pub(crate) fn b_answers(&mut self, request: &str, status: &str, more: &str, sdp: &str) {
        let text = reply(request, status, "b", more, sdp);
        say(&mut self.world, B, &text);
    }

    pub(crate) fn a_hangs_up(&mut self) {
        let bye = self.a.request("BYE", "", "");
        say(&mut self.world, A, &bye);
        if let Some(bye) = last(&self.log, B, "BYE", "") {
            self.b_answers(&bye, "200 OK", "", "");
        }
    }

    pub(crate) fn unharmed(&self) {
        assert_eq!(count(&self.world, Counter::LegPanicked), 0, "a peer made a leg panic");
    }
}

/// Nothing is left of anything once all transactions have run out.
pub(crate) fn nothing_left(world: &mut World) {
    world.run_for(80 * SECOND);
    let left = world.plane.leftovers();
    assert!(left.is_empty(), "{left:?}");
}

/// A far end at this address speaks to that port of ours, PCMU.
pub(crate) fn speak(world: &mut World, from: &str, port: u16, (seq, count): (u16, u16)) {
    for seq in seq..seq + count {
        let mut bytes = vec![0x80, 0];
        bytes.extend(seq.to_be_bytes());
        bytes.extend((u32::from(seq) * 160).to_be_bytes());
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend([0xff; 160]);
        let to = format!("10.0.0.1:{port}").parse().unwrap();
        world.inject(Datagram { from: from.parse().unwrap(), to, bytes });
        world.run_for(ms(20));
    }
}

/// Where a description of ours wants media.
pub(crate) fn port(text: &str) -> u16 {
    text.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}
