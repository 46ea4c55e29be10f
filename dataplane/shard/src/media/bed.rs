//! A media room alone: frames in plain memory, a core over its own region, legs that are nothing
//! but their ids.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::AtomicU64;
use core::time::Duration;
use std::collections::VecDeque;

use base::frame::{HEADROOM, LARGE_BYTES};
use base::{
    Arena, Flow, FlowReport, Frame, Frames, HashKey, LegId, Local, MediaPort, Mono, Now, Path,
    Prng, Received, Records, Transmit, Wall,
};
use rtp::{Header, Rewrite, Ssrc};
use sdp::{Codec, CodecId, MediaTarget, PlanFormat};
use wire::counter::{Counter, Counters};
use wire::region::{Region, Side, Sizes};

use super::{Media, Notice};
use crate::cx::{Core, Cx};
use crate::outbox::Outbox;
use crate::plan::{GuardPlan, Keys, Limits, ListenerPlan, MediaPlan, Plan, Timers};

pub(super) const ULAW: Codec = codec(CodecId::PCMU, 8_000);
pub(super) const ALAW: Codec = codec(CodecId::PCMA, 8_000);
pub(super) const G722: Codec = codec(CodecId::G722, 8_000);
pub(super) const OPUS: Codec = Codec { channels: 2, ..codec(CodecId::OPUS, 48_000) };
pub(super) const EVENT: Codec = codec(CodecId::TELEPHONE_EVENT, 8_000);
pub(super) const EVENT_48: Codec = codec(CodecId::TELEPHONE_EVENT, 48_000);

pub(super) const A: LegId = leg(0, 1, 0);
pub(super) const B: LegId = leg(0, 1, 1);
pub(super) const C: LegId = leg(0, 1, 2);
/// A leg of another shard.
pub(super) const FAR: LegId = leg(1, 1, 0);

const fn codec(id: CodecId, clock: u32) -> Codec {
    Codec { id, clock, channels: 1, variant: 0 }
}

const fn leg(shard: u64, generation: u64, index: u64) -> LegId {
    LegId(shard << 56 | generation << 32 | index)
}

/// A plan to nowhere of these codecs, both ways under the same payload types.
pub(super) fn plan(formats: &[(Codec, u8)]) -> sdp::Plan {
    plan_to(SocketAddr::from(([0; 4], 0)), formats)
}

/// The same to a far end's RTP port, its RTCP port above.
pub(super) fn plan_to(remote: SocketAddr, formats: &[(Codec, u8)]) -> sdp::Plan {
    let format = |&(codec, pt): &(Codec, u8)| PlanFormat { codec, receive_pt: pt, send_pt: pt };
    let formats: Vec<PlanFormat> = formats.iter().map(format).collect();
    let remote = MediaTarget::new(remote);
    sdp::Plan::fixed(remote, remote.next_port(), &formats)
}

/// Where a leg's far end is: a host of its own each.
pub(super) fn home(leg: LegId) -> SocketAddr {
    let host = u8::try_from(leg.index()).unwrap_or(0);
    SocketAddr::new(IpAddr::from([192, 0, 2, host + 1]), 4_000)
}

/// An RTP packet.
pub(super) fn packet(pt: u8, seq: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let timestamp = u32::from(seq) * 160;
    let fields = Rewrite { marker: false, pt, seq, timestamp, ssrc: Ssrc(ssrc) };
    let mut packet = vec![0; 12];
    rtp::write_header(&mut packet, &fields);
    packet.extend_from_slice(payload);
    packet
}

/// What left.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) from: MediaPort,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Sent {
    pub(super) fn header(&self) -> Header {
        Header::parse(&self.bytes).unwrap()
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.header().payload(&self.bytes)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Heap {
    frames: Vec<Option<Vec<u8>>>,
}

impl Heap {
    /// Frames that are neither free nor transmitted.
    pub(crate) fn out(&self) -> usize {
        self.frames.iter().flatten().count()
    }
}

impl Frames for Heap {
    fn bytes(&self, frame: Frame) -> &[u8] {
        let buffer = self.frames[frame.index as usize].as_ref().expect("a freed frame is read");
        &buffer[usize::from(frame.start)..usize::from(frame.start + frame.len)]
    }

    fn bytes_mut(&mut self, frame: Frame) -> &mut [u8] {
        let buffer = self.frames[frame.index as usize].as_mut().expect("a freed frame is written");
        &mut buffer[usize::from(frame.start)..usize::from(frame.start + frame.len)]
    }

    fn alloc(&mut self, len: usize) -> Option<Frame> {
        let index = u32::try_from(self.frames.len()).ok()?;
        self.frames.push(Some(vec![0; LARGE_BYTES]));
        let start = u16::try_from(HEADROOM).ok()?;
        Some(Frame { index, start, len: u16::try_from(len).ok()? })
    }

    fn free(&mut self, frame: Frame) {
        let freed = self.frames[frame.index as usize].take();
        assert!(freed.is_some(), "a frame is freed twice");
    }
}

/// The room, its core and the time.
pub(super) struct Bed {
    pub(super) media: Media,
    pub(super) core: Core<'static>,
    pub(super) now: Now,
    /// Every packet takes the general way.
    pub(super) is_general: bool,
    heap: Heap,
}

impl Bed {
    /// A room of shard 0 of 2, all its spare ports open.
    pub(super) fn new() -> Self {
        let plan = shard_plan();
        let sizes = Sizes { legs: 8, event_words: 1 << 10, command_words: 1 << 10 };
        let words: Vec<AtomicU64> =
            (0..sizes.words(Side::Dataplane)).map(|_| AtomicU64::new(0)).collect();
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
        let core = Core {
            turned: Mono(0),
            awake: Mono(0),
            offset: now.offset(),
            offset_of_leg: now.offset(),
            holds: crate::leg::relay::Holds::new(),
            gifts: crate::leg::given::Gifts::new(),
            watch: crate::watch::Watch::new(0),
            guard: crate::transport::guard::Guard::new(plan.guard, plan.keys.table),
            region: Region::create(words.leak(), Side::Dataplane, sizes, 1),
            epoch: 1,
            counters: Counters::default(),
            random: Prng::new(7),
            arena: Arena::new(1 << 12),
            events: Records::new(1 << 16),
            handoffs: (0..2).map(|_| Outbox::new(1 << 16)).collect(),
            flows: VecDeque::new(),
            connections: crate::transport::connections::Connections::new(0, (0, 0)),
            names: crate::transport::names::Names::new(&plan.keys.token),
            transmits: VecDeque::new(),
            page: vec![0; 1 << 14],
            legs_taken: 0,
            legs_joined: 0,
            in_hand: None,
            targets: crate::transport::targets::Targets::new(),
            attempts: crate::failover::Attempts::new(),
            refusals: crate::leg::refusal::Refusals::new(),
            tails: crate::leg::parts::Tails::new(),
            emergency_legs: 0,
            urgent: crate::emergency::Urgent::default(),
            proven: std::collections::BTreeMap::new(),
            plan: plan.clone(),
        };
        let media = Media::new(&plan, 1);
        let mut bed = Self { media, core, now, is_general: false, heap: Heap::default() };
        bed.tick();
        bed.serve_flows();
        bed
    }

    /// A and B joined, each at home, both of these formats.
    pub(super) fn joined(formats: &[(Codec, u8)]) -> Self {
        let mut bed = Self::new();
        bed.open(A, formats);
        bed.open(B, formats);
        bed.join(A, B);
        bed
    }

    /// Runs something with the context.
    pub(super) fn with<T>(&mut self, run: impl FnOnce(&mut Media, &mut Cx<'_, '_>) -> T) -> T {
        let Self { media, core, now, heap, .. } = self;
        run(media, &mut Cx { now: *now, frames: heap, core })
    }

    /// Opens a leg's stream whose far end is at home.
    pub(super) fn open(&mut self, leg: LegId, formats: &[(Codec, u8)]) {
        self.open_at(leg, home(leg), formats);
    }

    pub(super) fn open_at(&mut self, leg: LegId, remote: SocketAddr, formats: &[(Codec, u8)]) {
        let opened = self.with(|media, cx| media.open(cx, leg, 0, home(leg).ip()));
        assert!(opened);
        self.describe(leg, plan_to(remote, formats), true);
    }

    pub(super) fn describe(&mut self, leg: LegId, plan: sdp::Plan, fresh: bool) {
        let listener = self.media.stream(leg).map_or(LegId::NONE, super::Stream::listener);
        let theirs = self.media.stream(listener).map(|stream| stream.plan);
        self.with(|media, cx| media.set_plan(cx, leg, plan, theirs.as_ref(), fresh));
    }

    /// Both halves of a join of legs of this shard.
    pub(super) fn join(&mut self, one: LegId, other: LegId) {
        self.connect(one, other);
        self.connect(other, one);
    }

    /// One half of it.
    pub(super) fn connect(&mut self, leg: LegId, other: LegId) {
        let theirs = self.media.stream(other).map(|stream| stream.plan).unwrap_or_default();
        self.with(|media, _| media.connect(leg, other, &theirs));
    }

    /// The far end of a leg, from home, sends this to the leg's port.
    pub(super) fn hear(&mut self, leg: LegId, bytes: &[u8]) -> Vec<Sent> {
        self.hear_from(home(leg), leg, bytes)
    }

    pub(super) fn hear_from(&mut self, source: SocketAddr, leg: LegId, bytes: &[u8]) -> Vec<Sent> {
        let port = self.media.stream(leg).unwrap().port;
        self.hear_at(source, port, bytes)
    }

    pub(super) fn hear_at(
        &mut self,
        source: SocketAddr,
        port: MediaPort,
        bytes: &[u8],
    ) -> Vec<Sent> {
        let frame = self.heap.alloc(bytes.len()).unwrap();
        self.heap.bytes_mut(frame).copy_from_slice(bytes);
        let (at, arrived) = (Local::Media(port), self.now.mono);
        let received = Received { frame, at, source, arrived, is_cut: false };
        let is_general = self.is_general;
        self.with(|media, cx| match is_general {
            true => media.handle(cx, &received, port),
            false => media.handle_run(cx, &[received], &mut 0),
        });
        self.sent()
    }

    /// The far end speaks so many packets of this payload type, from this number on, 20 ms each.
    /// What of them left.
    pub(super) fn speak(&mut self, leg: LegId, pt: u8, from: u16, count: u16) -> Vec<Sent> {
        let mut sent = Vec::new();
        for seq in from..from + count {
            sent.extend(self.hear(leg, &packet(pt, seq, 0xa000 + leg.index(), &[0xd5; 160])));
            sent.extend(self.pass(Duration::from_millis(20)));
        }
        sent
    }

    /// Time passes, with a tick each millisecond. What left meanwhile.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now.later(time);
        while self.now.mono < end.mono {
            self.now = self.now.later(Duration::from_millis(1));
            self.tick();
        }
        self.sent()
    }

    fn tick(&mut self) {
        self.with(|media, cx| media.handle_tick(cx));
    }

    fn serve_flows(&mut self) {
        while let Some(flow) = self.core.flows.pop_front() {
            if let Flow::Open { port } = flow {
                let report = FlowReport::Opened { port, path: Path::Socket };
                self.media.handle_report(report, &mut self.core.flows);
            }
        }
    }

    /// What left since this was last asked; its frames are given back.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(Transmit { frame, from, to }) = self.core.transmits.pop_front() {
            let Local::Media(from) = from else { continue };
            sent.push(Sent { from, to, bytes: self.heap.bytes(frame).to_vec() });
            self.heap.free(frame);
        }
        sent
    }

    /// Digits told since this was last asked.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        core::iter::from_fn(|| self.media.poll_notice()).collect()
    }

    pub(super) fn counted(&self, counter: Counter) -> u64 {
        self.core.counters.get(counter)
    }

    /// Frames that are neither free nor transmitted.
    pub(super) fn frames_out(&self) -> usize {
        self.heap.frames.iter().flatten().count()
    }
}

pub(crate) fn shard_plan() -> Plan {
    let advertised = IpAddr::from([203, 0, 113, 1]);
    let sip = SocketAddr::new(advertised, 5_060);
    let listener = ListenerPlan {
        bound: sip,
        advertised: sip,
        media: 0,
        transport: base::Transport::Udp,
        origins: Vec::new(),
    };
    Plan {
        shard: 0,
        shards: 2,
        listeners: vec![listener],
        media: vec![MediaPlan {
            bound: IpAddr::from([10, 9, 0, 1]),
            advertised,
            blocks: vec![0x4000],
            ports: [0x4000, 0x41ff],
        }],
        limits: Limits { spare_ports: 4, ..Limits::for_legs(8, 8) },
        timers: Timers::default(),
        guard: GuardPlan::NONE,
        keys: Keys {
            token: sip::token::Key([0; 16]),
            placement: sip::token::Key([0; 16]),
            table: HashKey([0; 2]),
        },
        logins: Vec::new(),
        registrations: Vec::new(),
        seed: 1,
    }
}
