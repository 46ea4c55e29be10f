//! Bytes from the network, and the shard as a whole.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::{
    ConnectionId, ConnectionReport, ConnectionRequest, Flow, FlowReport, Frames, HashKey, LegId,
    Local, MediaPort, Mono, Now, Path, Received, Transport, Wall,
};
use shard::Shard;
use shard::plan::{GuardPlan, Keys, Limits, ListenerPlan, MediaPlan, Plan, Timers};
use sip::token::Key;
use wire::counter::Counter;
use wire::event::Cause;
use wire::region::{Region, Side, Sizes};
use wire::{Command, Event, Originate};
use world::heap::Heap;
use world::memory::Memory;

use super::picture;

pub(super) fn sip_message(input: &[u8]) -> u64 {
    sip::fuzz::fuzz_parse(input);
    match sip::Message::parse(input) {
        Ok(message) => picture(&[1, message.headers().count() as u64, message.body().len() as u64]),
        Err(malformed) => picture(&[2, malformed.answer().map_or(0, u64::from)]),
    }
}

pub(super) fn sip_stream(input: &[u8]) -> u64 {
    sip::fuzz::fuzz_stream(input);
    match sip::framing::next(input, 16_384) {
        sip::framing::Framed::Message(len) => picture(&[1, len as u64]),
        sip::framing::Framed::KeepAlive { len, .. } => picture(&[2, len as u64]),
        sip::framing::Framed::Broken { head, .. } => picture(&[3, head as u64]),
        sip::framing::Framed::Partial { .. } => 4,
    }
}

pub(super) fn sip_value(input: &[u8]) -> u64 {
    sip::fuzz::fuzz_uri(input);
    sip::fuzz::fuzz_values(input);
    sip::Uri::parse(input).map_or(0, |uri| {
        let (user, params) = (uri.user.len() as u64, uri.is_loose().into());
        picture(&[1, user, params, uri.headers().count() as u64])
    })
}

pub(super) fn sdp(input: &[u8]) -> u64 {
    sdp::fuzz::parse(input);
    sdp::fuzz::relay(input);
    sdp::Session::parse(input).map_or(0, |session| {
        let formats =
            session.media().iter().map(|media| media.formats().into_iter().count() as u64).sum();
        picture(&[1, session.media().len() as u64, formats])
    })
}

pub(super) fn rtp_datagram(input: &[u8]) -> u64 {
    rtp::fuzz::datagram(input);
    match rtp::classify(input) {
        rtp::PacketKind::Rtp => picture(&[1, u64::from(rtp::Header::parse(input).is_ok())]),
        rtp::PacketKind::Rtcp => {
            picture(&[2, rtp::rtcp::parse(input).map_or(0, |it| 1 + it.count() as u64)])
        }
        _ => 3,
    }
}

pub(super) fn rtp_stream(input: &[u8]) -> u64 {
    rtp::fuzz::stream(input);
    input.len() as u64 / 64
}

const EPOCH: u32 = 1_000;
pub(super) const LEGS: u32 = 8;

/// A small shard, driven by steps.
pub(super) struct Bench {
    pub(super) shard: Shard<'static>,
    pub(super) heap: Heap,
    pub(super) now: Now,
    pub(super) ports: Vec<MediaPort>,
    /// Connections that stand, by their place.
    connections: [Option<ConnectionId>; 8],
    /// What it sent and told, for those who write seeds.
    pub(super) sent: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) told: Vec<Vec<u8>>,
    _memory: Memory,
}

/// Steps as an input has them: kind, length (u16, little-endian), bytes.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Step {
    Sip,
    Media,
    Command,
    Handoff,
    Time,
    Deadline,
    Report,
    Table,
}

impl Step {
    fn of(kind: u8) -> Self {
        match kind & 7 {
            0 => Self::Sip,
            1 => Self::Media,
            2 => Self::Command,
            3 => Self::Handoff,
            4 => Self::Time,
            5 => Self::Deadline,
            6 => Self::Report,
            _ => Self::Table,
        }
    }
}

fn plan() -> Plan {
    Plan {
        shard: 0,
        shards: 2,
        listeners: [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws]
            .map(|transport| ListenerPlan {
                bound: listener(),
                advertised: listener(),
                media: 0,
                transport,
                origins: Vec::new(),
            })
            .to_vec(),
        media: vec![MediaPlan {
            bound: listener().ip(),
            advertised: listener().ip(),
            blocks: vec![0x4000],
            ports: [0x4000, 0x40ff],
        }],
        limits: Limits {
            legs: LEGS,
            transactions: 16,
            arena_bytes: 64 << 10,
            event_bytes: 64 << 10,
            handoff_bytes: 64 << 10,
            spare_ports: 4,
            connections: (4, 4),
            datagram_bytes: 1_300,
        },
        timers: Timers { session: Duration::from_secs(90), ..Timers::default() },
        guard: GuardPlan {
            source_rate: 1_000,
            source_burst: 1_000,
            call_rate: 100,
            stranger_rate: 500,
        },
        keys: Keys { token: Key([1; 16]), placement: Key([2; 16]), table: HashKey([3, 4]) },
        logins: Vec::new(),
        registrations: Vec::new(),
        seed: 5,
    }
}

fn listener() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5_060))
}

/// Four strangers.
pub(super) fn source(number: u8, media: bool) -> SocketAddr {
    let host = IpAddr::from([10, 0, 0, 9 + (number & 3)]);
    SocketAddr::new(host, if media { 30_000 } else { 5_060 })
}

impl Bench {
    fn new() -> Self {
        let sizes = Sizes { legs: LEGS, event_words: 64, command_words: 64 };
        let memory = Memory::new(sizes.words(Side::Dataplane));
        let region = Region::create(memory.words(), Side::Dataplane, sizes, EPOCH);
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
        let mut bench = Self {
            shard: Shard::new(plan(), region, now),
            heap: Heap::new(64, 16),
            now,
            ports: Vec::new(),
            connections: [None; 8],
            sent: Vec::new(),
            told: Vec::new(),
            _memory: memory,
        };
        bench.drain();
        bench
    }

    pub(super) fn datagram(&mut self, at: Local, from: SocketAddr, bytes: &[u8]) {
        let Some(frame) = self.heap.receive(bytes) else { return };
        let arrived = self.now.mono;
        let received = Received { frame, at, source: from, arrived, is_cut: false };
        self.shard.handle_datagrams(self.now, &[received], &mut self.heap);
    }

    fn report(&mut self, report: ConnectionReport) {
        self.shard.handle_connection(self.now, report, &mut self.heap);
    }

    /// Bytes of a connection, which is made if it comes from outside.
    fn stream(&mut self, slot: u8, bytes: &[u8]) {
        let from = source(slot, false);
        let place = usize::from(slot);
        if slot < 4 && self.connections[place].is_none() {
            let generation = u8::try_from(self.sent.len() & 0xff).unwrap_or(0);
            let id = ConnectionId { shard: 0, generation, slot: slot.into() };
            self.connections[place] = Some(id);
            self.report(ConnectionReport::Accepted { id, listener: 1, from });
        }
        if let Some(id) = self.connections[place] {
            self.datagram(Local::Connection(id), from, bytes);
        }
    }

    /// What it asks of connections: every other one can be opened.
    fn connect(&mut self) {
        while let Some(request) = self.shard.poll_connection() {
            match request {
                ConnectionRequest::Open { id, .. } if id.slot & 1 == 0 => {
                    self.connections[usize::from(id.slot & 7)] = Some(id);
                    self.report(ConnectionReport::Connected { id });
                }
                ConnectionRequest::Open { id, .. } => self.report(ConnectionReport::Closed { id }),
                ConnectionRequest::Close { id } => {
                    self.connections
                        .iter_mut()
                        .filter(|it| **it == Some(id))
                        .for_each(|it| *it = None);
                }
            }
        }
    }

    fn step(&mut self, kind: u8, bytes: &[u8]) {
        let number = kind >> 3;
        match Step::of(kind) {
            // By a connection of the same sources, and by those that were opened.
            Step::Sip if number & 16 != 0 => self.stream(number & 7, bytes),
            Step::Sip => self.datagram(Local::Listener(0), source(number, false), bytes),
            Step::Media => {
                if !self.ports.is_empty() {
                    let port = self.ports[usize::from(number) % self.ports.len()];
                    self.datagram(Local::Media(port), source(number, true), bytes);
                }
            }
            Step::Command => self.shard.handle_command(self.now, bytes, &mut self.heap),
            Step::Handoff => self.shard.handle_handoff(self.now, bytes, &mut self.heap),
            Step::Time => {
                let ms = bytes.iter().take(2).fold(0, |ms, byte| ms << 8 | u64::from(*byte));
                self.now = self.now.later(Duration::from_millis(ms));
                self.shard.handle_tick(self.now, &mut self.heap);
            }
            Step::Deadline => {
                let wait = self.shard.deadline().since(self.now.mono).min(Duration::from_secs(60));
                self.now = self.now.later(wait);
                self.shard.handle_tick(self.now, &mut self.heap);
            }
            Step::Report if number & 16 != 0 => {
                if let Some(id) = self.connections[usize::from(number & 7)].take() {
                    self.report(ConnectionReport::Closed { id });
                }
            }
            Step::Report => {
                let port = bytes.iter().take(2).fold(0, |port, byte| port << 8 | u16::from(*byte));
                let port = MediaPort { address: number & 1, port };
                let refused = FlowReport::Refused { port, errno: 98 };
                let opened = FlowReport::Opened { port, path: Path::Socket };
                self.shard.handle_flow_report(if number & 2 == 0 { refused } else { opened });
            }
            Step::Table => {
                if let Ok(table) = wire::decode(bytes) {
                    let published = self.shard.prepare(table);
                    self.shard.handle_table(self.now, published);
                }
            }
        }
        self.drain();
    }

    /// Takes everything the shard has to say; ports it asks for are opened.
    pub(super) fn drain(&mut self) {
        while let Some(flow) = self.shard.poll_flow() {
            match flow {
                Flow::Open { port } => {
                    self.ports.push(port);
                    self.shard.handle_flow_report(FlowReport::Opened { port, path: Path::Socket });
                }
                Flow::Close { port } => self.ports.retain(|known| *known != port),
                Flow::Lock { .. } | Flow::Unlock { .. } => {}
            }
        }
        self.connect();
        while let Some(transmit) = self.shard.poll_transmit() {
            self.sent.push((transmit.to, self.heap.bytes(transmit.frame).to_vec()));
            self.heap.free(transmit.frame);
        }
        while let Some(event) = self.shard.poll_event() {
            assert!(wire::decode::<Event<'_>>(event).is_ok(), "what it tells can be read");
            self.told.push(event.to_vec());
            self.shard.event_taken();
        }
        while self.shard.poll_handoff(1).is_some() {
            self.shard.handoff_taken(1);
        }
    }

    pub(super) fn judge(&self) {
        assert_eq!(self.shard.counters().get(Counter::LegPanicked), 0, "a leg panicked inside");
        assert_eq!(self.heap.out(), 0, "every frame is given back");
        assert!(self.shard.legs() <= LEGS as usize);
    }
}

pub(super) fn shard(input: &[u8]) -> u64 {
    let mut bench = Bench::new();
    let mut rest = input;
    while let Some(([kind, low, high], tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        bench.step(*kind, &tail[..len]);
        rest = &tail[len..];
    }
    bench.judge();
    let counters = bench.shard.counters();
    let reached = Counter::ALL.iter().map(|counter| counters.get(*counter)).map(|it| it.min(3));
    let parts: Vec<u64> = reached.chain([bench.shard.legs() as u64]).collect();
    picture(&parts)
}

/// Writes a seed by living it.
pub(super) struct Author {
    pub(super) bench: Bench,
    written: Vec<u8>,
}

impl Author {
    pub(super) fn new() -> Self {
        Self { bench: Bench::new(), written: Vec::new() }
    }

    pub(super) fn step(&mut self, step: Step, number: u8, bytes: &[u8]) {
        let kind = step as u8 | number << 3;
        let len = u16::try_from(bytes.len()).expect("a short step");
        self.written.push(kind);
        self.written.extend(len.to_le_bytes());
        self.written.extend(bytes);
        self.bench.step(kind, bytes);
    }

    pub(super) fn command(&mut self, command: &Command<'_>) {
        let mut bytes = [0; 2_048];
        let len = wire::encode(command, &mut bytes).expect("it fits");
        self.step(Step::Command, 0, &bytes[..len]);
    }

    pub(super) fn incoming(&self) -> (base::CallId, LegId) {
        let told = self.bench.told.iter().find_map(|bytes| match wire::decode(bytes) {
            Ok(Event::Incoming(incoming)) => Some((incoming.call, incoming.leg)),
            _ => None,
        });
        told.expect("the call was told")
    }

    /// The last message sent to `number` that begins with `first`.
    pub(super) fn sent(&self, number: u8, first: &str) -> String {
        let to = source(number, false);
        let found = self
            .bench
            .sent
            .iter()
            .rev()
            .find(|(target, bytes)| *target == to && bytes.starts_with(first.as_bytes()));
        let (_, bytes) = found.unwrap_or_else(|| panic!("{first} was sent to {to}"));
        String::from_utf8_lossy(bytes).into_owned()
    }

    pub(super) fn invite(&mut self, body: &str) {
        let text = request("INVITE", 1, "", body);
        self.step(Step::Sip, 0, text.as_bytes());
    }

    /// The caller's request inside the dialog.
    pub(super) fn within(&mut self, method: &str, cseq: u32, body: &str) {
        let answer = self.sent(0, "SIP/2.0 200");
        let tag = header(&answer, "To").split(";tag=").nth(1).unwrap_or_default().to_owned();
        let text = request(method, cseq, &format!(";tag={tag}"), body);
        self.step(Step::Sip, 0, text.as_bytes());
    }

    /// The callee's answer to the INVITE that it got.
    fn respond(&mut self, first: &str, body: &str) {
        let invite = self.sent(1, "INVITE");
        let line = |name: &str| format!("{name}: {}\r\n", header(&invite, name));
        let text = format!(
            "SIP/2.0 {first}\r\n{}{}To: {};tag=callee\r\n{}{}Contact: <sip:b@10.0.0.10:5060>\r\n{}",
            line("Via"),
            line("From"),
            header(&invite, "To"),
            line("Call-ID"),
            line("CSeq"),
            with_body(body)
        );
        self.step(Step::Sip, 1, text.as_bytes());
    }

    /// A call that an application dials on and the callee answers.
    pub(super) fn bridge(&mut self) -> (base::CallId, LegId) {
        self.invite(&offer("10.0.0.9"));
        let (call, leg) = self.incoming();
        self.command(&Command::Accept { call, account: 1, setup_ms: 60_000 });
        self.command(&Command::Originate(originate(call, leg)));
        self.respond("180 Ringing", "");
        self.respond("183 Session Progress", &offer("10.0.0.10"));
        self.respond("200 OK", &offer("10.0.0.10"));
        (call, leg)
    }

    fn media(&mut self) {
        for count in 0..6_u8 {
            let mut packet = vec![0x80, 0, 0, count, 0, 0, count, 0, 0, 0, 0, 9];
            packet.extend([0x55; 160]);
            for port in 0..4 {
                self.step(Step::Media, port, &packet);
            }
            self.step(Step::Time, 0, &[0, 20]);
        }
    }
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().trim_end()
}

fn with_body(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

pub(super) fn request(method: &str, cseq: u32, to_tag: &str, body: &str) -> String {
    format!(
        "{method} sip:+15550100@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{method}{cseq};rport\r\n\
         From: <sip:a@10.0.0.9>;tag=caller\r\nTo: <sip:+15550100@10.0.0.1>{to_tag}\r\nCall-ID: c1@10.0.0.9\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:a@10.0.0.9:5060>\r\nMax-Forwards: 70\r\nSupported: timer\r\n{}",
        with_body(body)
    )
}

pub(super) fn offer(host: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// Calls as they go: answered by an application, bridged, cancelled, refused, with time passing.
pub(super) fn shard_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![answered(), bridged(), cancelled()];
    let mut strange = Author::new();
    for text in
        ["\r\n\r\n", "OPTIONS sip:10.0.0.1 SIP/2.0\r\n\r\n", &request("REGISTER", 1, "", "")]
    {
        strange.step(Step::Sip, 2, text.as_bytes());
    }
    strange.step(Step::Handoff, 0, &[0, 0, 0, 10, 0, 0, 9]);
    strange.step(Step::Report, 1, &[0x40, 2]);
    strange.step(Step::Deadline, 0, &[]);
    seeds.push(strange.written);
    seeds
}

fn answered() -> Vec<u8> {
    let mut author = Author::new();
    author.invite(&offer("10.0.0.9"));
    let (call, leg) = author.incoming();
    author.command(&Command::Accept { call, account: 1, setup_ms: 60_000 });
    author.command(&Command::Progress { call, code: 180 });
    author.command(&Command::Answer { call, limit_ms: 0 });
    author.within("ACK", 1, "");
    author.command(&Command::Ringback { call, on: true });
    author.media();
    author.within("INVITE", 2, &offer("10.0.0.9").replace("t=0 0", "t=0 0\r\na=sendonly"));
    author.within("ACK", 2, "");
    author.command(&Command::Limit { call, remaining_ms: 5_000 });
    author.within("INFO", 3, "");
    author.within("BYE", 4, "");
    author.command(&Command::Release { epoch: EPOCH, leg });
    author.step(Step::Deadline, 0, &[]);
    author.written
}

fn bridged() -> Vec<u8> {
    let mut author = Author::new();
    let (call, leg) = author.bridge();
    author.within("ACK", 1, "");
    author.media();
    author.command(&Command::Part { call });
    author.command(&Command::Join { call, b: leg });
    author.command(&Command::Hangup { call, cause: Cause::Normal });
    author.step(Step::Deadline, 0, &[]);
    author.step(Step::Deadline, 0, &[]);
    author.written
}

fn cancelled() -> Vec<u8> {
    let mut author = Author::new();
    author.invite(&offer("10.0.0.9"));
    let (call, leg) = author.incoming();
    author.command(&Command::Accept { call, account: 1, setup_ms: 60_000 });
    author.command(&Command::Originate(originate(call, leg)));
    author.respond("180 Ringing", "");
    let cancel = request("CANCEL", 1, "", "").replace("z9hG4bKCANCEL1", "z9hG4bKINVITE1");
    author.step(Step::Sip, 0, cancel.as_bytes());
    author.respond("487 Request Terminated", "");
    for _ in 0..4 {
        author.step(Step::Deadline, 0, &[]);
    }
    author.written
}

pub(super) fn originate(call: base::CallId, peer: LegId) -> Originate<'static> {
    Originate {
        call: base::CallId(77),
        account: 1,
        parent: call,
        peer,
        listener: Originate::ANY_LISTENER,
        targets: [base::Target::udp(source(1, false))].into_iter().collect(),
        uri: "sip:b@10.0.0.10",
        to: "",
        route: "",
        flow: None,
        from: "sip:a@10.0.0.1",
        from_name: "A",
        headers: "X-A: b\r\n",
        ring_ms: 30_000,
        limit_ms: 0,
        pass_progress: true,
        bridge: true,
        tls_names: ["sip.example.com"].into_iter().collect(),
        username: "user",
        password: wire::command::Secret("secret"),
        trunk: "carrier",
        failover: wire::policy::Failover::default(),
        group: 0,
    }
}
