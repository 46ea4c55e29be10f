//! The world: one clock, one network, the dataplane, the phones, and who stands in for the
//! controlplane.
//!
//! ```text
//!   phones <--> network <--> plane (shards over regions) <== rings ==> control (director, or a test)
//! ```
//!
//! One loop: the next moment at which anything is due becomes now, everything due happens, the
//! shards breathe until nothing moves, and so on. Nothing else moves time, so a seed is a whole
//! history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::{Mono, Now, Prng, Target, Transport, Wall};

use crate::control::Control;
use crate::guests::{self, Guests, Habit};
use crate::network::{Datagram, Network, Weather, is_sip};
use crate::phone::{Action, Agent, Dial, Manner, PhoneCall};
use crate::plane::{ADDRESSES, Plane, PlaneSetup, listener_for};
use crate::plant::Planter;
use crate::strangers::{Strangers, is_stranger};
use crate::trace::Trace;

/// A call of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallRef {
    pub agent: usize,
    pub call: usize,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub plane: PlaneSetup,
    pub sip: Weather,
    pub media: Weather,
}

impl Setup {
    /// Clear weather, three shards.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plane = PlaneSetup { seed, ..PlaneSetup::default() };
        Self { seed, plane, sip: Weather::CLEAR, media: Weather::CLEAR }
    }
}

/// Everything.
pub struct World {
    pub now: Now,
    /// How far the wall clock was set, microseconds.
    clock_set: i64,
    pub network: Network,
    pub plane: Plane,
    pub agents: Vec<Agent>,
    pub control: Option<Box<dyn Control>>,
    pub trace: Trace,
    pub random: Prng,
    /// Broken promises found while the world ran.
    pub faults: Vec<String>,
    /// Datagrams that came to an address where nobody is.
    pub unheard: u64,
    /// Call-IDs of registered phones whose connection was lost in the call: until they are back
    /// nobody can tell them anything.
    pub cut_off: BTreeSet<String>,
    /// Plants faults in what is sent.
    pub planter: Option<Planter>,
    /// Who floods the switch.
    pub strangers: Option<Strangers>,
    /// Whom nobody knows, and whose calls are taken.
    pub guests: Guests,
    out: Vec<Datagram>,
    hosts: BTreeMap<IpAddr, usize>,
}

/// The first moment of every world: monotonic 1,000 s, 2026-01-01T00:00:00Z.
pub const DAWN: Now = Now { mono: Mono(1_000_000_000_000), wall: Wall(1_767_225_600_000_000) };

/// How far away strangers are.
const STRANGERS_AWAY: Duration = Duration::from_millis(5);

impl World {
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let plane = Plane::new(setup.plane.clone(), DAWN);
        let mut world = Self {
            now: DAWN,
            clock_set: 0,
            network: Network::new(setup.seed ^ 0x6e65_7477, setup.sip, setup.media),
            plane,
            agents: Vec::new(),
            control: None,
            trace: Trace::from_env(),
            random: Prng::new(setup.seed),
            faults: Vec::new(),
            unheard: 0,
            cut_off: BTreeSet::new(),
            planter: None,
            strangers: None,
            guests: Guests::default(),
            out: Vec::new(),
            hosts: BTreeMap::new(),
        };
        world.settle();
        world
    }

    /// Another phone, at an address of its own.
    pub fn agent(&mut self, manner: Manner) -> usize {
        let index = u16::try_from(self.agents.len() + 1).unwrap_or(u16::MAX);
        let [high, low] = index.to_be_bytes();
        self.agent_at(SocketAddr::from(([10, 1, high, low], 5_060)), manner)
    }

    /// Another phone, with an IPv6 address of its own.
    pub fn agent_v6(&mut self, manner: Manner) -> usize {
        let index = u16::try_from(self.agents.len() + 1).unwrap_or(u16::MAX);
        let host = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, index);
        self.agent_at(SocketAddr::new(IpAddr::V6(host), 5_060), manner)
    }

    /// A far end speaks SIP by connections.
    pub fn by_tcp(&mut self, sip: SocketAddr) {
        self.by_streams(sip, Transport::Tcp);
    }

    fn by_streams(&mut self, sip: SocketAddr, transport: Transport) {
        self.plane.by_streams.insert(sip, transport);
        self.network.by_streams.insert(sip);
    }

    /// A guest; its habits are those of each of its calls.
    pub fn guest(&mut self, habit: Habit) -> usize {
        let at = self.agent_at(guests::address(habit), Manner::default());
        self.agents[at].media_host = habit.media_host(guests::address(habit).ip());
        at
    }

    /// Another phone, at this address.
    pub(crate) fn agent_at(&mut self, sip: SocketAddr, manner: Manner) -> usize {
        let seed = self.random.u64();
        self.agents.push(Agent::new(sip, manner, seed));
        let manner = self.agents.last().map(|agent| agent.manner.transport());
        if let Some(transport) = manner.filter(|it| *it != Transport::Udp) {
            self.by_streams(sip, transport);
        }
        self.hosts.insert(sip.ip(), self.agents.len() - 1);
        self.agents.len() - 1
    }

    /// Dials from an agent through the switch.
    pub fn dial(&mut self, agent: usize, dial: &Dial) -> CallRef {
        let mut out = core::mem::take(&mut self.out);
        let switch = listener_for(self.agents[agent].sip);
        let call = self.agents[agent].dial(self.now, switch, dial, &mut out);
        self.out = out;
        self.flush();
        CallRef { agent, call }
    }

    /// A Call-ID that places a new call on this shard.
    pub fn call_id_for(&mut self, shard: u8) -> String {
        loop {
            let call_id = format!("{:016x}@world", self.random.u64());
            if self.plane.place(call_id.as_bytes()) == shard {
                return call_id;
            }
        }
    }

    #[must_use]
    pub fn call(&self, at: CallRef) -> &PhoneCall {
        &self.agents[at.agent].calls[at.call]
    }

    pub fn call_mut(&mut self, at: CallRef) -> &mut PhoneCall {
        &mut self.agents[at.agent].calls[at.call]
    }

    /// The phone does something now.
    pub fn act(&mut self, at: CallRef, action: Action) {
        let now = self.now;
        self.call_mut(at).act(now, action);
        self.settle();
    }

    /// Puts a datagram on the network as if a phone had sent it.
    pub fn inject(&mut self, datagram: Datagram) {
        self.network.send(self.now.mono, datagram);
    }

    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.mono.since(DAWN.mono)
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.mono + time;
        self.run_until(end);
    }

    /// Runs to this moment.
    pub fn run_until(&mut self, end: Mono) {
        loop {
            let next = self.deadline();
            if next > end {
                break;
            }
            self.advance(next);
            self.settle();
        }
        self.advance(end);
    }

    /// Runs until it holds, at most so long. Whether it holds.
    pub fn run_while(&mut self, most: Duration, mut go_on: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.mono + most;
        while go_on(self) {
            let next = self.deadline();
            if next > end {
                self.advance(end);
                return !go_on(self);
            }
            self.advance(next);
            self.settle();
        }
        true
    }

    fn advance(&mut self, to: Mono) {
        let micros = u64::try_from(to.since(DAWN.mono).as_micros()).unwrap_or(u64::MAX);
        let wall = (DAWN.wall.0 + micros).saturating_add_signed(self.clock_set);
        self.now = Now { mono: to, wall: Wall(wall) };
    }

    /// Somebody sets the wall clock, forth or back by so many seconds.
    pub fn set_clock(&mut self, by: i64) {
        self.clock_set += by * 1_000_000;
        self.advance(self.now.mono);
    }

    fn deadline(&self) -> Mono {
        let agents = self.agents.iter().map(Agent::deadline).min().unwrap_or(Mono::NEVER);
        let control = self.control.as_ref().map_or(Mono::NEVER, |control| control.deadline());
        let strangers = self.strangers.as_ref().map_or(Mono::NEVER, Strangers::deadline);
        agents.min(control).min(strangers).min(self.network.deadline()).min(self.plane.deadline())
    }

    /// Lets everything happen that is due now.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.deliver();
            self.tick_agents();
            self.tick_strangers();
            self.breathe();
            for remote in self.plane.take_closed() {
                self.lose_connection(remote);
            }
            let commanded = self.run_control();
            self.flush();
            if !commanded && self.deadline() > self.now.mono {
                return;
            }
        }
        panic!("the world never comes to rest at {:?}", self.now.mono);
    }

    fn deliver(&mut self) {
        while let Some(datagram) = self.network.arrive(self.now.mono) {
            self.trace.datagram(self.now.mono, &datagram);
            if ADDRESSES.contains(&datagram.to.ip()) {
                if !self.plane.receive(self.now, &datagram) {
                    self.unheard += 1;
                    self.network.trouble(&datagram);
                    if self.network.by_streams.contains(&datagram.from) {
                        self.lose_connection(datagram.from);
                    }
                }
            } else {
                self.deliver_to_agent(&datagram);
            }
        }
    }

    /// A far end finds that its connection is over.
    fn lose_connection(&mut self, remote: SocketAddr) {
        let agent = self.hosts.get(&remote.ip()).and_then(|at| self.agents.get_mut(*at));
        if let Some(agent) = agent.filter(|agent| agent.sip == remote) {
            agent.lose_connection(self.now);
            let stand = agent.calls.iter().filter(|call| !call.is_over());
            let stand = stand.filter(|_| agent.registration.is_some());
            self.cut_off.extend(stand.map(|call| call.call_id.clone()));
        }
    }

    fn deliver_to_agent(&mut self, datagram: &Datagram) {
        let mut out = core::mem::take(&mut self.out);
        let now = self.now;
        let agent = self.hosts.get(&datagram.to.ip()).and_then(|at| self.agents.get_mut(*at));
        match agent.filter(|agent| !agent.dead) {
            Some(agent) if datagram.to == agent.sip => {
                agent.handle_sip(now, datagram, &mut out);
                let faults = agent.faults.drain(..);
                self.faults.extend(faults.map(|fault| format!("the switch sent {fault}")));
            }
            Some(agent) => agent.handle_media(now, datagram),
            None => self.unheard += 1,
        }
        self.out = out;
    }

    fn tick_agents(&mut self) {
        let mut out = core::mem::take(&mut self.out);
        for agent in &mut self.agents {
            if agent.deadline() <= self.now.mono {
                agent.handle_tick(self.now, &mut out);
            }
        }
        self.out = out;
    }

    fn tick_strangers(&mut self) {
        let now = self.now.mono;
        let Some(strangers) = self.strangers.as_mut().filter(|it| it.deadline() <= now) else {
            return;
        };
        let mut sent = Vec::new();
        // Who forges an address knows no tag of its calls, which strangers here do: a guest's host
        // would show that it hears us.
        let is_honest = |ip: &IpAddr| ip.is_ipv4() && !guests::is_guest(SocketAddr::new(*ip, 0));
        let honest: Vec<IpAddr> = self.hosts.keys().copied().filter(is_honest).collect();
        strangers.send(now, (&self.plane, &honest), &mut sent);
        for datagram in sent {
            self.network.carry(now + STRANGERS_AWAY, datagram);
        }
    }

    fn breathe(&mut self) {
        let mut sent = Vec::new();
        self.plane.breathe(self.now, &mut sent);
        for datagram in &sent {
            self.check_sent(datagram);
        }
        self.out.append(&mut sent);
    }

    /// Media goes only where a phone asked for it (or speaks from, behind a NAT).
    fn check_sent(&mut self, datagram: &Datagram) {
        if is_sip(&datagram.bytes) || is_stranger(datagram.to) {
            return;
        }
        let agent = self.hosts.get(&datagram.to.ip()).and_then(|at| self.agents.get(*at));
        let asked = agent.iter().flat_map(|agent| &agent.calls).any(|call| {
            call.media_address().ip() == datagram.to.ip() && call.takes_media(datagram.to.port())
        });
        if !asked {
            self.faults.push(format!("media to {} that nobody asked for", datagram.to));
        }
    }

    fn run_control(&mut self) -> bool {
        let (now, trace) = (self.now, self.trace);
        match &mut self.control {
            Some(control) => control.run(now, &self.plane, trace, &mut self.faults),
            None => false,
        }
    }

    fn flush(&mut self) {
        for mut datagram in self.out.drain(..) {
            self.guests.notice(&datagram);
            if let Some(strangers) = &mut self.strangers {
                if is_stranger(datagram.to) {
                    let times = self.planter.as_ref().map_or(1, Planter::times);
                    for _ in 0..times {
                        strangers.hear(self.now.mono, &datagram, &mut self.faults);
                    }
                    continue;
                }
                if ADDRESSES.contains(&datagram.from.ip()) && is_sip(&datagram.bytes) {
                    strangers.overhear(&datagram);
                }
            }
            if let Some(planter) = &mut self.planter {
                planter.touch(self.now.mono, &mut datagram);
            }
            self.network.send(self.now.mono, datagram);
        }
    }

    /// The dataplane process dies and its successor comes `after` later.
    pub fn restart_plane(&mut self, after: Duration) {
        self.plane.kill();
        self.run_for(after);
        self.plane.boot(self.now);
        if let Some(control) = &mut self.control {
            control.plane_restarted(&self.plane);
        }
        self.settle();
    }

    /// The call at an agent that belongs to this conversation.
    #[must_use]
    pub fn callee_of(&self, group: u32) -> Option<CallRef> {
        self.agents.iter().enumerate().find_map(|(agent, entry)| {
            let is =
                |call: &PhoneCall| call.group == group && call.who == crate::phone::Who::Callee;
            let call = entry.calls.iter().position(is)?;
            Some(CallRef { agent, call })
        })
    }

    /// SIP address of an agent.
    #[must_use]
    pub fn address(&self, agent: usize) -> SocketAddr {
        self.agents[agent].sip
    }

    /// Every connection is lost; whoever has something to say makes a new one.
    pub fn cut_all(&mut self) {
        for remote in self.plane.by_streams.keys().copied().collect::<Vec<_>>() {
            self.plane.cut(remote);
        }
        self.settle();
    }

    /// How an agent is reached.
    #[must_use]
    pub fn target(&self, agent: usize) -> Target {
        self.target_at(self.address(agent))
    }

    /// How a far end at this address is reached.
    #[must_use]
    pub fn target_at(&self, address: SocketAddr) -> Target {
        let transport = self.plane.by_streams.get(&address).copied();
        Target::by(transport.unwrap_or_default(), address)
    }

    /// Host of an agent.
    #[must_use]
    pub fn host(&self, agent: usize) -> IpAddr {
        self.agents[agent].sip.ip()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}
