//! A shard on a bench: no socket, no thread, virtual time. Datagrams come from [`Phones`] and go to
//! them; the controlplane is played by whoever polls the events ([`Bed::release_ended`]).

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::frame::{HEADROOM, LARGE_BYTES, SMALL_BYTES};
use base::{
    Flow, FlowReport, Frame, Frames, HashKey, LegId, Local, MediaPort, Mono, Now, Path, Received,
    Transmit, Wall,
};
use shard::Shard;
use shard::plan::{GuardPlan, Keys, Limits, ListenerPlan, MediaPlan, Plan, Timers};
use sip::token::Key;
use wire::region::{Region, Sizes};
use wire::table::{MessageFilter, StaticRoute, Table, Watch};
use wire::{Command, Event};

use crate::cpu_nanos;
use crate::directed::Directed;
use crate::peer::{Call, Phones, Side};

/// Datagrams per batch.
pub const BATCH: usize = 64;
/// Batches measured in one go.
const TOGETHER: usize = 16;
/// An RTP packet of 20 ms G.711.
pub const RTP_BYTES: usize = 172;

const SMALL: u32 = 4_096;
const LARGE: u32 = 512;

/// Packet memory: buffers of two sizes, handed out last in, first out.
#[derive(Debug)]
pub struct Memory {
    small: Vec<u8>,
    large: Vec<u8>,
    free_small: Vec<u32>,
    free_large: Vec<u32>,
}

impl Memory {
    fn new() -> Self {
        Self {
            small: vec![0; SMALL as usize * SMALL_BYTES],
            large: vec![0; LARGE as usize * LARGE_BYTES],
            free_small: (0..SMALL).rev().collect(),
            free_large: (SMALL..SMALL + LARGE).rev().collect(),
        }
    }

    fn place(frame: Frame) -> (bool, usize) {
        let start = usize::from(frame.start);
        match frame.index.checked_sub(SMALL) {
            Some(large) => (true, large as usize * LARGE_BYTES + start),
            None => (false, frame.index as usize * SMALL_BYTES + start),
        }
    }

    /// A frame with these bytes, as a driver hands it on.
    fn received(&mut self, bytes: &[u8]) -> Frame {
        let frame = self.alloc(bytes.len()).expect("the bench holds few frames");
        self.bytes_mut(frame).copy_from_slice(bytes);
        frame
    }
}

impl Frames for Memory {
    #[inline]
    fn bytes(&self, frame: Frame) -> &[u8] {
        let (large, at) = Self::place(frame);
        let memory = if large { &self.large } else { &self.small };
        &memory[at..at + usize::from(frame.len)]
    }

    #[inline]
    fn bytes_mut(&mut self, frame: Frame) -> &mut [u8] {
        let (large, at) = Self::place(frame);
        let memory = if large { &mut self.large } else { &mut self.small };
        &mut memory[at..at + usize::from(frame.len)]
    }

    fn alloc(&mut self, len: usize) -> Option<Frame> {
        let small = len <= SMALL_BYTES - HEADROOM;
        let index = if small { self.free_small.pop() } else { self.free_large.pop() }?;
        Some(Frame { index, start: 64, len: u16::try_from(len).ok()? })
    }

    #[inline]
    fn free(&mut self, frame: Frame) {
        if frame.index < SMALL {
            self.free_small.push(frame.index);
        } else {
            self.free_large.push(frame.index);
        }
    }
}

/// A leg's media as the bench drives it.
#[derive(Clone, Copy, Debug)]
struct Talker {
    port: MediaPort,
    source: SocketAddr,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
}

/// What relaying has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relayed {
    pub packets: u64,
    pub nanos: u64,
    pub allocations: usize,
}

/// One shard with its phones.
#[derive(Debug)]
pub struct Bed {
    pub shard: Shard<'static>,
    pub phones: Phones,
    pub memory: Memory,
    pub now: Now,
    /// Nanoseconds spent inside the shard by [`Bed::exchange`].
    pub spent: u64,
    /// Ended legs that are not released yet.
    pub ended: Vec<(u32, LegId)>,
    /// The other value, where calls are its to decide.
    pub director: Option<Directed>,
    talkers: Vec<Talker>,
    next: usize,
    batch: Vec<Received>,
}

impl Bed {
    /// A shard with room for `legs` legs and `transactions`, one static route to the callees.
    #[must_use]
    pub fn new(legs: u32, transactions: u32) -> Self {
        let mut bed = Self::unrouted(legs, transactions);
        bed.watch(Vec::new());
        bed
    }

    /// The static route, and whom its messages are told to.
    pub fn watch(&mut self, filters: Vec<MessageFilter>) {
        let watch = Watch { key: [1, 2], filters };
        let table = Table { routes: vec![route()], admission: None, watch };
        let table = self.shard.prepare(table);
        self.shard.handle_table(self.now, table);
    }

    /// The static route, and nobody's number or domain beside it: who is in no list is a stranger.
    pub fn admit_listed(&mut self) {
        let admission = Some(wire::table::Admission::default());
        let table = Table { routes: vec![route()], admission, ..Table::default() };
        let table = self.shard.prepare(table);
        self.shard.handle_table(self.now, table);
    }

    /// The same without a route: every call is the controlplane's to decide.
    #[must_use]
    pub fn unrouted(legs: u32, transactions: u32) -> Self {
        Self::guarded(legs, transactions, GuardPlan::NONE)
    }

    /// The same where nobody may send as much as he likes.
    #[must_use]
    pub fn guarded(legs: u32, transactions: u32, guard: GuardPlan) -> Self {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_760_000_000_000_000) };
        let sizes = Sizes::for_legs(legs);
        let words = (0..sizes.words(wire::region::Side::Dataplane)).map(|_| AtomicU64::new(0));
        let words: &'static [AtomicU64] = Vec::leak(words.collect());
        let region = Region::create(words, wire::region::Side::Dataplane, sizes, 1);
        let shard = Shard::new(Plan { guard, ..plan(legs, transactions) }, region, now);
        let phones = Phones::new(address(1, 5_060), address(2, 5_060), address(3, 5_060));
        let mut bed = Self {
            shard,
            phones,
            memory: Memory::new(),
            now,
            spent: 0,
            ended: Vec::new(),
            director: None,
            talkers: Vec::new(),
            next: 0,
            batch: Vec::with_capacity(BATCH * TOGETHER),
        };
        bed.open_ports();
        bed
    }

    /// Sets up so many more calls and lets their media flow once in both directions, so that each
    /// leg's source is locked.
    pub fn set_up(&mut self, calls: usize) {
        let first = self.phones.calls.len();
        for number in first..first + calls {
            let invite = self.dial(number);
            self.exchange(vec![(Side::Caller, invite)]);
            if number % 32 == 0 {
                self.pass(Duration::from_millis(110));
            }
            let call = &self.phones.calls[number];
            assert!(call.established, "call {number} refused: {:?}", call.refused);
            let [caller, callee] = [call.caller_target, call.callee_target];
            let (caller, callee) = (caller.expect("answered"), callee.expect("dialled"));
            let ssrc = u32::try_from(number).unwrap_or(0) * 2;
            self.talkers.push(talker(caller, call.caller_media, ssrc));
            self.talkers.push(talker(callee, call.callee_media, ssrc + 1));
        }
        self.relay(self.talkers.len());
    }

    /// A new call's INVITE.
    pub fn dial(&mut self, number: usize) -> Vec<u8> {
        let port = u16::try_from(10_000 + number % 20_000 * 2).unwrap_or(0);
        self.phones.calls.push(Call::new(address(2, port), address(3, port)));
        self.phones.invite(number)
    }

    /// Delivers messages in batches, and what comes of them, until everybody is silent.
    pub fn exchange(&mut self, mut messages: Vec<(Side, Vec<u8>)>) {
        while !messages.is_empty() {
            let mut answers = Vec::new();
            for chunk in messages.chunks(BATCH) {
                let batch: Vec<Received> = chunk
                    .iter()
                    .map(|(side, bytes)| Received {
                        frame: self.memory.received(bytes),
                        at: Local::Listener(0),
                        source: self.phones.address(*side),
                        arrived: self.now.mono,
                        is_cut: false,
                    })
                    .collect();
                let start = cpu_nanos();
                self.shard.handle_datagrams(self.now, &batch, &mut self.memory);
                self.spent += cpu_nanos() - start;
                self.deliver(&mut answers);
            }
            self.open_ports();
            self.take_events();
            // What the controlplane has commanded.
            self.deliver(&mut answers);
            messages = answers;
        }
    }

    /// Time passes: ticks at every deadline on the way.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.later(time);
        while self.shard.deadline() <= end.mono {
            let to = self.shard.deadline().max(self.now.mono);
            self.now = self.now.later(to.since(self.now.mono) + Duration::from_nanos(1));
            let start = cpu_nanos();
            self.shard.handle_tick(self.now, &mut self.memory);
            self.spent += cpu_nanos() - start;
            let mut answers = Vec::new();
            self.deliver(&mut answers);
            self.open_ports();
            self.take_events();
            self.deliver(&mut answers);
            assert!(answers.is_empty(), "nothing is retransmitted in virtual time");
        }
        self.now = self.now.later(end.mono.since(self.now.mono));
    }

    /// The controlplane has made the usage of ended legs durable.
    pub fn release_ended(&mut self) {
        let mut bytes = [0; 256];
        for (epoch, leg) in std::mem::take(&mut self.ended) {
            let len = wire::encode(&Command::Release { epoch, leg }, &mut bytes).unwrap_or(0);
            let start = cpu_nanos();
            self.shard.handle_command(self.now, &bytes[..len], &mut self.memory);
            self.spent += cpu_nanos() - start;
        }
    }

    /// Relays `packets` RTP packets, each of another leg than the one before, in batches.
    pub fn relay(&mut self, packets: usize) -> Relayed {
        let mut total = Relayed::default();
        let gap = Duration::from_millis(20) / u32::try_from(self.talkers.len()).unwrap_or(1);
        let mut left = packets;
        while left > 0 {
            let size = left.min(BATCH * TOGETHER);
            left -= size;
            self.fill(size);
            let batch = std::mem::take(&mut self.batch);
            let start = cpu_nanos();
            let (allocations, sent) = crate::allocations(|| {
                batch.chunks(BATCH).map(|chunk| self.breathe(chunk, gap)).sum::<usize>()
            });
            total.nanos += cpu_nanos() - start;
            total.allocations += allocations;
            total.packets += sent as u64;
            assert_eq!(sent, size, "every packet is relayed");
            self.batch = batch;
            self.open_ports();
            self.take_events();
        }
        total
    }

    /// Datagrams at the listener, `gap` apart, in batches; gives what they cost and how many were
    /// answered.
    pub fn flood(&mut self, datagrams: &[(SocketAddr, &[u8])], gap: Duration) -> (Relayed, u64) {
        let (mut total, mut answered) = (Relayed::default(), 0);
        for chunk in datagrams.chunks(BATCH) {
            self.now = self.now.later(gap * u32::try_from(chunk.len()).unwrap_or(1));
            let mut batch = std::mem::take(&mut self.batch);
            batch.clear();
            batch.extend(chunk.iter().map(|(source, bytes)| Received {
                frame: self.memory.received(bytes),
                at: Local::Listener(0),
                source: *source,
                arrived: self.now.mono,
                is_cut: false,
            }));
            let start = cpu_nanos();
            let (allocations, ()) = crate::allocations(|| {
                self.shard.handle_datagrams(self.now, &batch, &mut self.memory);
                if self.shard.deadline() <= self.now.mono {
                    self.shard.handle_tick(self.now, &mut self.memory);
                }
            });
            total.nanos += cpu_nanos() - start;
            total.allocations += allocations;
            total.packets += batch.len() as u64;
            self.batch = batch;
            while let Some(transmit) = self.shard.poll_transmit() {
                answered += 1;
                self.memory.free(transmit.frame);
            }
            self.take_events();
        }
        (total, answered)
    }

    /// One batch through the shard, with what else is due. Gives the media packets sent for it.
    fn breathe(&mut self, batch: &[Received], gap: Duration) -> usize {
        self.now = self.now.later(gap * u32::try_from(batch.len()).unwrap_or(1));
        self.shard.handle_datagrams(self.now, batch, &mut self.memory);
        let mut sent = 0;
        while let Some(transmit) = self.shard.poll_transmit() {
            sent += usize::from(matches!(transmit.from, Local::Media(_)));
            self.memory.free(transmit.frame);
        }
        if self.shard.deadline() <= self.now.mono {
            self.shard.handle_tick(self.now, &mut self.memory);
            while let Some(transmit) = self.shard.poll_transmit() {
                self.memory.free(transmit.frame);
            }
        }
        sent
    }

    fn fill(&mut self, size: usize) {
        self.batch.clear();
        for _ in 0..size {
            let all = self.talkers.len();
            let talker = &mut self.talkers[self.next];
            self.next = (self.next + 1) % all;
            talker.seq = talker.seq.wrapping_add(1);
            talker.timestamp = talker.timestamp.wrapping_add(160);
            let frame = self.memory.alloc(RTP_BYTES).expect("batches are small");
            let fields = rtp::HeaderFields {
                marker: false,
                pt: 0,
                seq: talker.seq,
                timestamp: talker.timestamp,
                ssrc: rtp::Ssrc(talker.ssrc),
            };
            rtp::write_header(self.memory.bytes_mut(frame), &fields);
            let (port, source) = (talker.port, talker.source);
            let (at, arrived) = (Local::Media(port), self.now.mono);
            self.batch.push(Received { frame, at, source, arrived, is_cut: false });
        }
    }

    /// Takes what the shard sends: SIP to the phones, media is dropped.
    fn deliver(&mut self, answers: &mut Vec<(Side, Vec<u8>)>) {
        while let Some(Transmit { frame, from, to }) = self.shard.poll_transmit() {
            if let Local::Listener(_) = from {
                let side = if to == self.phones.caller { Side::Caller } else { Side::Callee };
                let said = self.phones.handle(side, self.memory.bytes(frame));
                answers.extend(said.into_iter().map(|bytes| (side, bytes)));
            }
            self.memory.free(frame);
        }
    }

    fn open_ports(&mut self) {
        while let Some(flow) = self.shard.poll_flow() {
            if let Flow::Open { port } = flow {
                let report = FlowReport::Opened { port, path: Path::Socket };
                self.shard.handle_flow_report(report);
            }
        }
    }

    fn take_events(&mut self) {
        if let Some(mut director) = self.director.take() {
            director.converse(self);
            self.director = Some(director);
            return;
        }
        while let Some(bytes) = self.shard.poll_event() {
            if let Ok(Event::Ended(summary)) = wire::decode(bytes) {
                self.ended.push((summary.epoch, summary.leg));
            }
            self.shard.event_taken();
        }
    }
}

fn talker(target: SocketAddr, source: SocketAddr, ssrc: u32) -> Talker {
    let port = MediaPort { address: 0, port: target.port() };
    Talker { port, source, seq: 1_000, timestamp: 50_000, ssrc }
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

fn route() -> StaticRoute {
    StaticRoute {
        account: 1,
        domain: String::new(),
        prefix: "+1".to_owned(),
        sources: vec!["192.0.2.2/32".parse().expect("a network")],
        trusted: Vec::new(),
        targets: vec![base::Target::udp(address(3, 5_060))],
        host: String::new(),
        strip: 0,
        prepend: String::new(),
        rate_max: 0,
        calls_max: 0,
        ring_s: 60,
        media: wire::table::MediaSources::default(),
        signalling: wire::table::SignallingSources::default(),
        tls_name: String::new(),
        login: String::new(),
        transfer: false,
        dtmf: wire::table::Digits::default(),
        policy: wire::policy::RoutePolicy::default(),
        reliable: wire::table::ReliableRinging::default(),
        session_timer: true,
        early_media: wire::table::EarlyMedia::default(),
    }
}

fn plan(legs: u32, transactions: u32) -> Plan {
    let blocks = (legs.div_ceil(128) + 32).min(240);
    let mut limits = Limits::for_legs(legs, transactions);
    limits.spare_ports = 1_024;
    Plan {
        shard: 0,
        shards: 1,
        listeners: vec![ListenerPlan {
            bound: address(1, 5_060),
            advertised: address(1, 5_060),
            media: 0,
            transport: base::Transport::Udp,
            origins: Vec::new(),
        }],
        media: vec![MediaPlan {
            bound: address(1, 0).ip(),
            advertised: address(1, 0).ip(),
            ports: [8 * 256, (8 + u16::try_from(blocks).unwrap_or(240)) * 256 - 1],
            blocks: (8..8 + blocks).filter_map(|block| u16::try_from(block * 256).ok()).collect(),
        }],
        limits,
        timers: Timers::default(),
        guard: GuardPlan::NONE,
        keys: Keys { token: Key([7; 16]), placement: Key([8; 16]), table: HashKey([1, 2]) },
        logins: Vec::new(),
        registrations: Vec::new(),
        seed: 1,
    }
}
