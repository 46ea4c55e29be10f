//! The dataplane of the world: several shards over regions in memory, driven as the engine drives
//! them: datagrams, commands, handoffs and reports in, transmissions, events and handoffs out. SIP
//! datagrams fall on any shard (one carrier is one 4-tuple), so that hand-over is the rule.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base::frame::{HEADROOM, LARGE_BYTES};
use base::{
    ConnectionRequest, Flow, FlowReport, Frames, HashKey, Local, MediaPort, Mono, Now, Path,
    Received, Transmit, Transport,
};
use shard::Shard;
use shard::plan::{GuardPlan, Keys, Limits, ListenerPlan, MediaPlan, Plan, Timers};
use wire::region::{Region, Side, Sizes};
use wire::ring::{Consumer, Producer};

use crate::heap::Heap;
use crate::memory::Memory;
use crate::network::Datagram;
use crate::wires::Wires;

/// How the dataplane of a world is built.
#[derive(Clone, Debug)]
pub struct PlaneSetup {
    pub shards: u8,
    pub legs: u32,
    pub transactions: u32,
    pub timers: Timers,
    pub guard: GuardPlan,
    /// Ports kept open per shard and address.
    pub spare_ports: u16,
    /// Blocks of 256 ports per shard.
    pub blocks: u16,
    /// Ports that somebody else has: opening them is refused.
    pub foreign_ports: Vec<u16>,
    /// Locked ports take datagrams of their remote only, as connected sockets do.
    pub connected: bool,
    pub seed: u64,
    /// Small and large frames per shard.
    pub frames: (usize, usize),
    /// Connections that are accepted, and that are opened, at most.
    pub connections: (u16, u16),
    /// Credentials of trunks.
    pub logins: Vec<shard::plan::Login>,
    /// Trunks that are registered at their carriers.
    pub registrations: Vec<shard::plan::Registration>,
    /// Words of the events and commands rings.
    pub ring_words: (usize, usize),
    /// There is an address of our own network beside those of [`HOSTS`], with a listener and media
    /// of its own, which is advertised as [`ADVERTISED_INSIDE`].
    pub inside: bool,
}

impl Default for PlaneSetup {
    fn default() -> Self {
        Self {
            shards: 3,
            legs: 64,
            transactions: 256,
            timers: Timers::default(),
            guard: GuardPlan::NONE,
            spare_ports: 16,
            blocks: 1,
            foreign_ports: Vec::new(),
            connected: false,
            seed: 1,
            frames: (1_024, 256),
            connections: (64, 64),
            logins: Vec::new(),
            registrations: Vec::new(),
            ring_words: (1 << 15, 1 << 14),
            inside: false,
        }
    }
}

/// The switch's IPv4 listener.
#[must_use]
pub fn listener() -> SocketAddr {
    SocketAddr::new(HOSTS[0], 5_060)
}

/// The switch's listener of a phone's family.
#[must_use]
pub fn listener_for(phone: SocketAddr) -> SocketAddr {
    SocketAddr::new(HOSTS[usize::from(phone.is_ipv6())], 5_060)
}

/// The switch's addresses, for signalling and media: IPv4 and IPv6.
pub const HOSTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
];

/// With the one inside, where there is one ([`PlaneSetup::inside`]).
pub const ADDRESSES: [IpAddr; 3] = [HOSTS[0], HOSTS[1], IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];

/// What the address inside is called by those behind its 1:1 NAT.
pub const ADVERTISED_INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

/// Index of the listener inside, behind those of [`HOSTS`].
pub const INSIDE: u8 = 8;

fn host_index(host: IpAddr) -> Option<u8> {
    ADDRESSES.iter().position(|ours| *ours == host).and_then(|at| u8::try_from(at).ok())
}

const FIRST_PORT: u16 = 0x4000;
const EPOCH: u32 = 1_000;

/// The shared memory of one shard, both sides.
#[derive(Debug)]
pub struct Regions {
    dataplane: Memory,
    controlplane: Memory,
}

impl Regions {
    fn new(sizes: Sizes) -> Self {
        let dataplane = Memory::new(sizes.words(Side::Dataplane));
        let controlplane = Memory::new(sizes.words(Side::Controlplane));
        let _ = Region::create(dataplane.words(), Side::Dataplane, sizes, EPOCH);
        let _ = Region::create(controlplane.words(), Side::Controlplane, sizes, EPOCH);
        Self { dataplane, controlplane }
    }

    #[must_use]
    pub fn dataplane(&self) -> Region<'static> {
        open(&self.dataplane, Side::Dataplane)
    }

    #[must_use]
    pub fn controlplane(&self) -> Region<'static> {
        open(&self.controlplane, Side::Controlplane)
    }

    /// Raises the epoch: a new controlplane has come.
    #[must_use]
    pub fn succeed_controlplane(&self) -> Region<'static> {
        Region::succeed(self.controlplane.words(), Side::Controlplane, 0)
            .unwrap_or_else(|error| panic!("a region of ours: {error}"))
    }
}

fn open(memory: &Memory, side: Side) -> Region<'static> {
    Region::open(memory.words(), side).unwrap_or_else(|error| panic!("a region of ours: {error}"))
}

/// One shard with what surrounds it.
pub struct Lane {
    pub shard: Box<Shard<'static>>,
    pub heap: Heap,
    events: Producer<'static>,
    commands: Consumer<'static>,
    table: Region<'static>,
    table_seen: u64,
    inbox: Vec<Received>,
    open: BTreeMap<MediaPort, Option<SocketAddr>>,
    wires: Wires,
    /// What far ends of TLS connections had to prove, in the order of the connections.
    pub verified: Vec<String>,
}

/// All shards.
pub struct Plane {
    pub setup: PlaneSetup,
    pub regions: Vec<Regions>,
    /// Empty while the process is dead.
    pub lanes: Vec<Lane>,
    pub keys: Keys,
    /// The process stands still until then: what comes waits in its sockets.
    pub stalled_until: Mono,
    /// Flow wishes seen, for invariants.
    pub ports_open_peak: usize,
    /// Far ends that speak by connections.
    pub by_streams: BTreeMap<SocketAddr, Transport>,
    /// What stands for the name that whoever connects has proven.
    pub proves: Option<IpAddr>,
    closed: Vec<SocketAddr>,
    scratch: Vec<u8>,
}

impl Plane {
    #[must_use]
    pub fn new(setup: PlaneSetup, now: Now) -> Self {
        let (event_words, command_words) = setup.ring_words;
        let sizes = Sizes { legs: setup.legs, event_words, command_words };
        let regions = (0..setup.shards).map(|_| Regions::new(sizes)).collect();
        let seed = setup.seed.to_le_bytes();
        let key = |salt: u8| {
            let mut key = [salt; 16];
            key[..8].copy_from_slice(&seed);
            sip::token::Key(key)
        };
        let keys = Keys { token: key(1), placement: key(2), table: HashKey([setup.seed, 3]) };
        let scratch = vec![0; wire::MESSAGE_BYTES_MAX];
        let lanes = Vec::new();
        let mut plane = Self {
            setup,
            regions,
            lanes,
            keys,
            stalled_until: Mono(0),
            ports_open_peak: 0,
            by_streams: BTreeMap::new(),
            proves: None,
            closed: Vec::new(),
            scratch,
        };
        plane.boot(now);
        plane
    }

    /// A new process over the regions as they are.
    pub fn boot(&mut self, now: Now) {
        self.lanes = (0..self.setup.shards).map(|index| self.lane(index, now)).collect();
    }

    /// The process dies: nothing of it is left but the regions.
    pub fn kill(&mut self) {
        for regions in &self.regions {
            let epoch = regions.dataplane().epoch();
            let _ = Region::succeed(regions.dataplane.words(), Side::Dataplane, epoch);
        }
        let lanes = &mut self.lanes;
        lanes.iter_mut().for_each(|lane| lane.wires.all_closed(&mut self.closed));
        lanes.clear();
    }

    /// Far ends whose connection is over, once each.
    pub(crate) fn take_closed(&mut self) -> Vec<SocketAddr> {
        let closed = &mut self.closed;
        self.lanes.iter_mut().for_each(|lane| lane.wires.take_closed(closed));
        core::mem::take(closed)
    }

    fn plan(&self, index: u8) -> Plan {
        let setup = &self.setup;
        let first =
            |block: u16| FIRST_PORT + (block * u16::from(setup.shards) + u16::from(index)) * 0x100;
        Plan {
            shard: index,
            shards: setup.shards,
            listeners: [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Wss]
                .into_iter()
                .flat_map(|transport| (0..).zip(HOSTS).map(move |at| (transport, at)))
                .map(|(transport, (media, host))| ListenerPlan {
                    bound: SocketAddr::new(host, if transport.is_tls() { 5_061 } else { 5_060 }),
                    advertised: SocketAddr::new(
                        host,
                        if transport.is_tls() { 5_061 } else { 5_060 },
                    ),
                    media,
                    transport,
                    origins: Vec::new(),
                })
                .chain(setup.inside.then_some(ListenerPlan {
                    bound: SocketAddr::new(ADDRESSES[2], 5_060),
                    advertised: SocketAddr::new(ADVERTISED_INSIDE, 5_060),
                    media: 2,
                    transport: Transport::Udp,
                    origins: Vec::new(),
                }))
                .collect(),
            media: HOSTS
                .into_iter()
                .map(|host| (host, host))
                .chain(setup.inside.then_some((ADDRESSES[2], ADVERTISED_INSIDE)))
                .map(|(bound, advertised)| MediaPlan {
                    bound,
                    advertised,
                    blocks: (0..setup.blocks).map(first).collect(),
                    ports: [
                        FIRST_PORT,
                        FIRST_PORT + setup.blocks * u16::from(setup.shards) * 0x100 - 1,
                    ],
                })
                .collect(),
            limits: Limits {
                spare_ports: setup.spare_ports,
                connections: setup.connections,
                datagram_bytes: 1_300,
                ..Limits::for_legs(setup.legs, setup.transactions)
            },
            timers: setup.timers,
            guard: setup.guard,
            keys: self.keys,
            logins: setup.logins.clone(),
            registrations: setup.registrations.clone(),
            seed: setup.seed,
        }
    }

    fn lane(&self, index: u8, now: Now) -> Lane {
        let regions = &self.regions[usize::from(index)];
        let (ours, theirs) = (regions.dataplane(), regions.controlplane());
        let (small, large) = self.setup.frames;
        Lane {
            shard: Box::new(Shard::new(self.plan(index), ours, now)),
            heap: Heap::new(small, large),
            events: Producer::join(ours.slots(), theirs.cursors()),
            commands: Consumer::join(theirs.slots(), ours.cursors()),
            table: theirs,
            table_seen: 0,
            inbox: Vec::new(),
            open: BTreeMap::new(),
            wires: Wires::new(index, self.setup.connections.0, self.setup.seed),
            verified: Vec::new(),
        }
    }

    /// Answers to pings that a far end got by the connections that it has.
    #[must_use]
    pub fn pongs(&self, remote: SocketAddr) -> u32 {
        self.lanes.iter().map(|lane| lane.wires.pongs(remote)).sum()
    }

    /// A connection of a far end is lost, if there is one: by the switch's end of it.
    pub fn cut(&mut self, remote: SocketAddr) {
        self.lanes.iter_mut().for_each(|lane| lane.wires.cut(remote));
    }

    /// Bytes that come by the far end's connection, or by a new one.
    fn receive_stream(&mut self, now: Now, from: SocketAddr, listener: u8, bytes: &[u8]) -> bool {
        let known = self.lanes.iter().position(|lane| lane.wires.of(from).is_some());
        let hash = HashKey([self.setup.seed, 8]).hash(&[from.to_string().as_bytes()]);
        let lanes = self.lanes.len() as u64;
        let some = usize::try_from(hash.checked_rem(lanes).unwrap_or(0)).unwrap_or(0);
        let Some(lane) = self.lanes.get_mut(known.unwrap_or(some)) else { return false };
        let id = match lane.wires.of(from) {
            Some(id) => id,
            None => match lane.wires.accept(from, listener, self.proves) {
                Some(id) => id,
                None => return false,
            },
        };
        let bytes = lane.wires.dressed(id, bytes);
        for part in lane.wires.cut_up(&bytes) {
            let Some(frame) = lane.heap.receive(part) else { return false };
            let at = Local::Connection(id);
            lane.inbox.push(Received { frame, at, source: from, arrived: now.mono, is_cut: false });
        }
        true
    }

    /// The shard that a Call-ID places a new call on.
    #[must_use]
    pub fn place(&self, call_id: &[u8]) -> u8 {
        let bucket = sip::key::call_hash(call_id, &self.keys.placement) % 4_096;
        u8::try_from(bucket % u64::from(self.setup.shards)).unwrap_or(0)
    }

    /// A datagram arrives at one of our addresses. False: nobody is there.
    pub fn receive(&mut self, now: Now, datagram: &Datagram) -> bool {
        let Some(address) = host_index(datagram.to.ip()) else { return false };
        let is_listener = [5_060, 5_061].contains(&datagram.to.port());
        let by_stream = |it: &&Transport| is_listener && **it != Transport::Udp;
        if let Some(transport) = self.by_streams.get(&datagram.from).filter(by_stream) {
            let listener = address
                + match transport {
                    Transport::Tls => 4,
                    Transport::Ws | Transport::Wss => 6,
                    Transport::Udp | Transport::Tcp => 2,
                };
            return self.receive_stream(now, datagram.from, listener, &datagram.bytes);
        }
        let at = match datagram.to.port() {
            5_060 => Local::Listener(if address == 2 { INSIDE } else { address }),
            port => Local::Media(MediaPort { address, port }),
        };
        let connected = self.setup.connected;
        let lane = match at {
            Local::Connection(_) => None,
            // The kernel's choice: anything but the owner, as a rule.
            Local::Listener(_) => {
                let key = HashKey([self.setup.seed, 9]);
                let hash = key.hash(&[&datagram.from.port().to_be_bytes(), &datagram.bytes]);
                let lanes = self.lanes.len() as u64;
                let at = usize::try_from(hash.checked_rem(lanes).unwrap_or(0)).unwrap_or(0);
                self.lanes.get_mut(at)
            }
            Local::Media(port) => self.lanes.iter_mut().find(|lane| {
                lane.open.get(&port).is_some_and(|remote| {
                    !connected || remote.is_none_or(|remote| remote == datagram.from)
                })
            }),
        };
        let Some(lane) = lane else { return false };
        let whole = datagram.bytes.len();
        let len = whole.min(LARGE_BYTES - HEADROOM);
        let Some(frame) = lane.heap.receive(&datagram.bytes[..len]) else { return false };
        let (source, arrived, is_cut) = (datagram.from, now.mono, len < whole);
        lane.inbox.push(Received { frame, at, source, arrived, is_cut });
        true
    }

    /// When the next shard wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let lanes = self.lanes.iter().map(|lane| lane.shard.deadline());
        lanes.min().unwrap_or(Mono::NEVER).max(self.stalled_until)
    }

    /// One turn of every shard, until nothing moves any more; what they send goes into `out`.
    ///
    /// # Panics
    /// If a shard never comes to rest.
    pub fn breathe(&mut self, now: Now, out: &mut Vec<Datagram>) {
        if now.mono < self.stalled_until {
            return;
        }
        let was_stalled = core::mem::replace(&mut self.stalled_until, Mono(0)) != Mono(0);
        // A breath may find that time has passed before it finds what has come: always behind a
        // stall, and in half of all worlds.
        for lane in &mut self.lanes {
            if was_stalled || self.setup.seed & 1 == 1 && lane.shard.deadline() <= now.mono {
                within(|| lane.shard.handle_tick(now, &mut lane.heap));
            }
        }
        for _ in 0..1_000 {
            let mut moved = false;
            for index in 0..self.lanes.len() {
                moved |=
                    self.lanes[index].inhale(now, &self.setup.foreign_ports, &mut self.scratch);
                moved |= self.hand_over(now, index);
                moved |= self.lanes[index].flows(&self.setup.foreign_ports);
                moved |= self.lanes[index].exhale(&self.by_streams, out);
            }
            if !moved {
                let open = self.lanes.iter().map(|lane| lane.open.len()).sum();
                self.ports_open_peak = self.ports_open_peak.max(open);
                return;
            }
        }
        panic!("the shards never come to rest at {:?}", now.mono);
    }

    /// Media addresses that are open now.
    #[must_use]
    pub fn open_media(&self) -> Vec<SocketAddr> {
        let open = self.lanes.iter().flat_map(|lane| lane.open.keys());
        open.map(|it| SocketAddr::new(ADDRESSES[usize::from(it.address)], it.port)).collect()
    }

    /// What is still held by legs, transactions, ports, texts or frames; empty when all is over and
    /// released.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for lane in &self.lanes {
            let shard = &lane.shard;
            let counts = [
                ("leg", shard.legs()),
                ("port", shard.ports_used()),
                ("transaction", shard.transactions()),
                ("arena byte", shard.arena_used()),
                ("frame", lane.heap.out()),
            ];
            let counts = counts.into_iter().chain(shard.kept());
            let held = counts.filter(|(_, count)| *count > 0);
            left.extend(held.map(|(what, count)| format!("shard {}: {count} {what}", shard.id())));
        }
        left
    }

    /// What other shards have for this one.
    fn hand_over(&mut self, now: Now, to: usize) -> bool {
        let id = u8::try_from(to).unwrap_or(0);
        let mut moved = false;
        for from in 0..self.lanes.len() {
            while let Some(bytes) = self.lanes[from].shard.poll_handoff(id) {
                let len = bytes.len();
                if self.scratch.len() < len {
                    self.scratch.resize(len, 0);
                }
                self.scratch[..len].copy_from_slice(bytes);
                self.lanes[from].shard.handoff_taken(id);
                let lane = &mut self.lanes[to];
                let (shard, heap) = (&mut lane.shard, &mut lane.heap);
                within(|| shard.handle_handoff(now, &self.scratch[..len], heap));
                moved = true;
            }
        }
        moved
    }
}

impl Lane {
    fn inhale(&mut self, now: Now, foreign: &[u16], scratch: &mut [u8]) -> bool {
        let mut moved = self.report(now, false);
        if let Some(area) = self.table.table() {
            self.shard.handle_outdated(wire::table::is_outdated(area, self.table_seen));
        }
        if !self.inbox.is_empty() {
            let mut batch = core::mem::take(&mut self.inbox);
            self.shard.sort(now, &mut batch, &self.heap);
            for batch in batch.chunks(shard::plan::BATCH_MAX) {
                within(|| {
                    self.shard.handle_datagrams(now, batch, &mut self.heap);
                    self.shard.handle_ports(now);
                });
                self.flows(foreign);
            }
            self.inbox = batch;
            self.inbox.clear();
            moved = true;
        }
        moved |= self.report(now, true);
        while let Ok(Some(command)) = self.commands.pop(scratch) {
            within(|| self.shard.handle_command(now, command, &mut self.heap));
            moved = true;
        }
        self.commands.release(self.commands.position());
        if let Some(area) = self.table.table()
            && let Ok(Some(table)) = wire::table::read(area, &mut self.table_seen)
        {
            let published = self.shard.prepare(table);
            self.shard.handle_table(now, published);
            moved = true;
        }
        if self.shard.deadline() <= now.mono {
            within(|| self.shard.handle_tick(now, &mut self.heap));
            let next = self.shard.deadline();
            // Work that a turn left, and ports in place of those that it took, wait for no moment.
            let waits = next > now.mono || next == Mono(0);
            assert!(waits, "a shard wants to be called again at once: {next:?} {now:?}");
            moved = true;
        }
        moved
    }

    fn flows(&mut self, foreign: &[u16]) -> bool {
        let mut moved = false;
        while let Some(flow) = self.shard.poll_flow() {
            moved = true;
            match flow {
                Flow::Open { port } if foreign.contains(&port.port) => {
                    self.shard.handle_flow_report(FlowReport::Refused { port, errno: 98 });
                }
                Flow::Open { port } => {
                    let before = self.open.insert(port, None);
                    assert!(before.is_none(), "port {} is opened twice", port.port);
                    self.shard.handle_flow_report(FlowReport::Opened { port, path: Path::Socket });
                }
                Flow::Lock { port, remote } => {
                    let open = self.open.get_mut(&port);
                    *open.unwrap_or_else(|| panic!("port {} is not open", port.port)) =
                        Some(remote);
                }
                Flow::Unlock { port } => {
                    let open = self.open.get_mut(&port);
                    *open.unwrap_or_else(|| panic!("port {} is not open", port.port)) = None;
                }
                Flow::Close { port } => {
                    assert!(self.open.remove(&port).is_some(), "a closed port is closed");
                }
            }
        }
        moved
    }

    /// What became of connections; of those that are over behind their last bytes.
    fn report(&mut self, now: Now, is_over: bool) -> bool {
        let mut moved = false;
        while let Some(report) = self.wires.next_report(is_over) {
            within(|| self.shard.handle_connection(now, report, &mut self.heap));
            moved = true;
        }
        moved
    }

    fn exhale(
        &mut self,
        by_streams: &BTreeMap<SocketAddr, Transport>,
        out: &mut Vec<Datagram>,
    ) -> bool {
        let mut moved = false;
        loop {
            while let Some(transmit) = self.shard.poll_transmit() {
                self.transmit(&transmit, out);
                moved = true;
            }
            let Some(request) = self.shard.poll_connection() else { break };
            if let ConnectionRequest::Open { name, listener, to, .. } = request
                && listener >= 4
            {
                let address = to.ip().to_string();
                self.verified.push(self.shard.tls_name(name).unwrap_or(&address).to_owned());
            }
            self.wires.request(request, by_streams);
            moved = true;
        }
        while let Some(event) = self.shard.poll_event() {
            if self.events.push(event).is_err() {
                break;
            }
            self.shard.event_taken();
            moved = true;
        }
        self.events.publish();
        moved
    }

    fn transmit(&mut self, transmit: &Transmit, out: &mut Vec<Datagram>) {
        let bytes = self.heap.bytes(transmit.frame).to_vec();
        self.heap.free(transmit.frame);
        let from = match transmit.from {
            Local::Listener(INSIDE) => SocketAddr::new(ADDRESSES[2], 5_060),
            Local::Listener(at) => SocketAddr::new(HOSTS[usize::from(at)], 5_060),
            Local::Media(port) => {
                assert!(self.open.contains_key(&port), "sent from a closed port");
                SocketAddr::new(ADDRESSES[usize::from(port.address)], port.port)
            }
            Local::Connection(id) => return self.wires.write(id, &bytes, out),
        };
        out.push(Datagram { from, to: transmit.to, bytes });
    }

    /// Media ports that are open now.
    #[must_use]
    pub fn open_ports(&self) -> usize {
        self.open.len()
    }
}

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside of a shard now: for an allocator that counts.
#[must_use]
pub fn is_within_shard() -> bool {
    WITHIN.with(Cell::get)
}

/// Does something as if it were done inside of a shard.
pub fn within(work: impl FnOnce()) {
    WITHIN.with(|within| within.set(true));
    work();
    WITHIN.with(|within| within.set(false));
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("shard", &self.shard.id()).finish_non_exhaustive()
    }
}
