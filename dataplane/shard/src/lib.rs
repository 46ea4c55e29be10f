//! The dataplane as one value: SIP, dialogs, media and metering of one shard, without clock,
//! socket, thread or file.
//!
//! ```text
//!   handle_datagrams  --> demux --> media: stream -> join -> the other leg's stream
//!                          |  \---> handoff: another shard's datagram
//!                          v
//!                        signal (transactions) --> leg (dialog, offer/answer) <--> call (who dials whom)
//!   handle_command    ------------------------------^                               |
//!   handle_handoff    ---> the same three doors                                     v
//!   handle_tick       ---> every deadline                     meter --> usage cell, record, event
//!
//!   poll_transmit, poll_flow, poll_event, poll_handoff <-- what came of it
//! ```
//!
//! One batch is one mutation: feed it, then drain every `poll_*` and ask [`Shard::deadline`]. A
//! shard allocates nothing for packets and transactions; what it holds was taken at birth
//! ([`plan::Limits`]).
//!
//! A fault (panic) inside the handling of one message, timer or command ends the leg it was for,
//! with its usage closed and its event told; what it had queued to send is taken back.
#![forbid(unsafe_code)]
#![allow(
    clippy::needless_pass_by_ref_mut,
    reason = "handlers take `Io` and the shard in one way, whether they send something or not"
)]

mod app;
mod call;
mod demux;
mod discard;
mod guard;
pub mod handoff;
mod join;
mod leg;
mod media;
mod meter;
pub mod plan;
mod ports;
mod signal;
mod tell;

use std::collections::VecDeque;

use base::{
    Arena, CallId, Flow, FlowReport, Frames, IndexMap, LegId, Mono, Now, Prng, Received, Records,
    ShardId, Slab, Transmit, Wheel,
};
use wire::cell::CellWriter;
use wire::counter::{Counter, Counters};
use wire::event::{Cause, Party};
use wire::region::Region;
use wire::table::Table;

use crate::app::tone::Tones;
use crate::guard::{Bucket, Guard};
use crate::join::Stream;
use crate::leg::Leg;
use crate::plan::Plan;
use crate::ports::Ports;
use crate::signal::ServerTransaction;

/// How often counters are published and ports are looked after.
const HOUSEKEEPING: core::time::Duration = core::time::Duration::from_millis(100);

/// One shard of the dataplane. `'m` is the life of its shared memory.
#[derive(Debug)]
pub struct Shard<'m> {
    plan: Plan,
    region: Region<'m>,
    epoch: u32,
    counters: Counters,
    random: Prng,
    arena: Arena,
    legs: Slab<Leg>,
    /// One per leg slot.
    streams: Vec<Stream>,
    calls: IndexMap,
    leg_timers: Wheel,
    play_timers: Wheel,
    transactions: Slab<ServerTransaction>,
    transaction_keys: IndexMap,
    transaction_timers: Wheel,
    ports: Ports,
    guard: Guard,
    tones: Tones,
    table: Table,
    /// Rate of each static route.
    route_rates: Vec<Bucket>,
    route_calls: Vec<u32>,
    draining: bool,
    housekeeping_at: Mono,
    events: Records,
    /// One queue per shard; the own one carries what legs of this shard say to each other.
    handoffs: Vec<Records>,
    flows: VecDeque<Flow>,
    transmits: VecDeque<Transmit>,
    /// A SIP datagram being read while answers take frames.
    datagram: Vec<u8>,
    /// For messages being copied out of a queue while it is written to.
    scratch: Vec<u8>,
}

/// The time and the packet memory, as one handler after the other borrows them.
pub(crate) struct Io<'i> {
    pub(crate) now: Now,
    pub(crate) frames: &'i mut dyn Frames,
}

impl<'m> Shard<'m> {
    /// A shard over its region, which must be at this run's epoch already. What the region holds of
    /// an earlier run is ended: its cells closed at their last activity, each told once.
    ///
    /// # Panics
    /// If the region has fewer leg slots than the plan says legs.
    #[must_use]
    pub fn new(plan: Plan, region: Region<'m>, now: Now) -> Self {
        let limits = plan.limits;
        assert!(region.sizes().legs >= limits.legs, "region smaller than the plan");
        let epoch = region.epoch();
        let mut shard = Self {
            region,
            epoch,
            counters: Counters::default(),
            random: Prng::new(plan.seed ^ u64::from(plan.shard) << 32 ^ u64::from(epoch)),
            arena: Arena::new(limits.arena_bytes),
            legs: Slab::with_generation(limits.legs, epoch.wrapping_mul(4_099)),
            streams: (0..limits.legs).map(|_| Stream::idle()).collect(),
            calls: IndexMap::new(limits.legs as usize),
            leg_timers: Wheel::new(limits.legs),
            play_timers: Wheel::new(limits.legs),
            transactions: Slab::new(limits.transactions),
            // An INVITE has two keys: its own, and the one that finds it when it comes by another
            // way.
            transaction_keys: IndexMap::new(limits.transactions as usize * 2),
            transaction_timers: Wheel::new(limits.transactions),
            ports: Ports::new(&plan.media, limits.spare_ports, epoch),
            guard: Guard::new(plan.guard, plan.keys.table),
            tones: Tones::new(),
            table: Table::default(),
            route_rates: Vec::new(),
            route_calls: Vec::new(),
            draining: false,
            housekeeping_at: now.mono,
            events: Records::new(limits.event_bytes),
            handoffs: (0..plan.shards).map(|_| Records::new(limits.handoff_bytes)).collect(),
            flows: VecDeque::with_capacity(1_024),
            transmits: VecDeque::with_capacity(4_096),
            datagram: vec![0; base::frame::LARGE_BYTES],
            scratch: vec![0; base::frame::LARGE_BYTES + 256],
            plan,
        };
        shard.bury_predecessors(now);
        shard.ports.refill(now.mono, &mut shard.flows);
        shard
    }

    #[must_use]
    pub fn id(&self) -> ShardId {
        self.plan.shard
    }

    /// Counters so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Legs that stand or wait for their release.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Media port pairs in use: 0 when no leg has media.
    #[must_use]
    pub fn ports_used(&self) -> usize {
        self.ports.used()
    }

    /// SIP transactions in memory.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Bytes of the arena in use.
    #[must_use]
    pub fn arena_used(&self) -> usize {
        self.arena.used()
    }

    /// A batch of datagrams. Every frame is transmitted, handed over or freed by this.
    pub fn handle_datagrams(&mut self, now: Now, batch: &[Received], frames: &mut dyn Frames) {
        let mut io = Io { now, frames };
        self.warm(batch);
        for received in batch {
            self.demux(&mut io, received);
        }
        self.drain_local(&mut io);
    }

    /// A command of the controlplane, as encoded by `wire`.
    pub fn handle_command(&mut self, now: Now, bytes: &[u8], frames: &mut dyn Frames) {
        let mut io = Io { now, frames };
        self.counters.count(Counter::CommandTaken);
        match wire::decode(bytes) {
            Ok(command) => self.command(&mut io, &command),
            Err(_) => self.counters.count(Counter::DiscardCommandMalformed),
        }
        self.drain_local(&mut io);
    }

    /// A message of another shard, as given out by its [`Shard::poll_handoff`].
    pub fn handle_handoff(&mut self, now: Now, bytes: &[u8], frames: &mut dyn Frames) {
        let mut io = Io { now, frames };
        self.counters.count(Counter::HandoffTaken);
        self.handoff(&mut io, bytes);
        self.drain_local(&mut io);
    }

    /// What the packet paths say.
    pub fn handle_flow_report(&mut self, report: FlowReport) {
        self.ports.handle_report(report, &mut self.flows);
    }

    /// A new published table; it holds from the next new call on.
    pub fn handle_table(&mut self, now: Now, table: Table) {
        let rate = |route: &wire::table::StaticRoute| Bucket::full(route.rate_max, now.mono);
        self.route_rates = table.routes.iter().map(rate).collect();
        self.route_calls = vec![0; table.routes.len()];
        for (_, leg) in self.legs.iter() {
            if let Some(count) = leg.route.and_then(|at| self.route_calls.get_mut(usize::from(at)))
            {
                *count += 1;
            }
        }
        self.table = table;
        self.counters.count(Counter::TableApplied);
    }

    /// Everything whose time has come. To be called at [`Shard::deadline`] or at any other moment.
    pub fn handle_tick(&mut self, now: Now, frames: &mut dyn Frames) {
        let mut io = Io { now, frames };
        while let Some(leg) = self.play_timers.pop(now.mono) {
            self.play(&mut io, leg);
        }
        while let Some(index) = self.transaction_timers.pop(now.mono) {
            self.transaction_timeout(&mut io, index);
        }
        while let Some(index) = self.leg_timers.pop(now.mono) {
            self.guarded(&mut io, index, |shard, io| shard.leg_timeout(io, index));
        }
        if now.mono >= self.housekeeping_at {
            self.housekeeping(now);
        } else if now.mono >= self.ports.deadline() {
            self.ports.refill(now.mono, &mut self.flows);
        }
        self.drain_local(&mut io);
    }

    /// The process is about to stop: no new calls, and those that stand are ended properly.
    pub fn handle_stop(&mut self, now: Now, frames: &mut dyn Frames) {
        let mut io = Io { now, frames };
        self.draining = true;
        for index in 0..self.plan.limits.legs {
            if self.legs.get(index).is_some_and(|leg| !leg.is_over()) {
                self.guarded(&mut io, index, |shard, io| {
                    shard.hang_up(io, index, Cause::Restart, Party::Switch);
                });
            }
        }
        self.drain_local(&mut io);
    }

    /// No leg has anything under way: every BYE and CANCEL is answered.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.legs.iter().all(|(_, leg)| leg.is_over() && leg.is_quiet())
    }

    /// One turn of the loop.
    pub fn count_breath(&mut self) {
        self.counters.count(Counter::BreathTaken);
    }

    /// What the driver counted since it was last asked.
    pub fn count_driver(&mut self, counter: Counter, amount: u64) {
        self.counters.add(counter, amount);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next wish to the packet paths.
    pub fn poll_flow(&mut self) -> Option<Flow> {
        self.flows.pop_front()
    }

    /// The oldest event not yet taken, as encoded by `wire`; [`Shard::event_taken`] drops it.
    #[must_use]
    pub fn poll_event(&self) -> Option<&[u8]> {
        self.events.front()
    }

    /// The event from [`Shard::poll_event`] is in the ring.
    pub fn event_taken(&mut self) {
        self.events.pop();
        self.counters.count(Counter::EventPushed);
    }

    /// The oldest message for another shard; [`Shard::handoff_taken`] drops it.
    #[must_use]
    pub fn poll_handoff(&self, to: ShardId) -> Option<&[u8]> {
        if to == self.plan.shard {
            return None;
        }
        self.handoffs.get(usize::from(to))?.front()
    }

    /// The message from [`Shard::poll_handoff`] is delivered.
    pub fn handoff_taken(&mut self, to: ShardId) {
        if let Some(queue) = self.handoffs.get_mut(usize::from(to)) {
            queue.pop();
            self.counters.count(Counter::HandoffSent);
        }
    }

    /// When [`Shard::handle_tick`] must be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.leg_timers
            .next()
            .min(self.play_timers.next())
            .min(self.transaction_timers.next())
            .min(self.ports.deadline())
            .min(self.housekeeping_at)
    }

    fn housekeeping(&mut self, now: Now) {
        self.housekeeping_at = now.mono + HOUSEKEEPING;
        self.ports.refill(now.mono, &mut self.flows);
        let standing = self.legs.iter().filter(|(_, leg)| !leg.is_over()).count() as u64;
        let total = self.legs.len() as u64;
        let counters = &mut self.counters;
        counters.set(Counter::LegStanding, standing);
        counters.set(Counter::LegUnreleased, total - standing);
        counters.set(Counter::PortSpare, self.ports.spare());
        counters.set(Counter::TransactionStanding, self.transactions.len() as u64);
        counters.publish(self.region.counters());
        self.region.pulse().store(now.mono.0, core::sync::atomic::Ordering::Relaxed);
    }

    /// What legs of this shard said to each other, until they are silent.
    fn drain_local(&mut self, io: &mut Io<'_>) {
        let own = usize::from(self.plan.shard);
        let mut scratch = core::mem::take(&mut self.scratch);
        // Two legs cannot talk for ever: each message moves a leg's state or is the last.
        while let Some(message) = self.handoffs[own].front() {
            let len = message.len();
            scratch[..len].copy_from_slice(message);
            self.handoffs[own].pop();
            self.handoff(io, &scratch[..len]);
        }
        self.scratch = scratch;
    }

    /// Runs the handling of one leg's affair; a panic in it ends that leg alone.
    fn guarded(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        handle: impl FnOnce(&mut Self, &mut Io<'_>),
    ) {
        let queued = self.transmits.len();
        let outcome = {
            let (shard, io) = (&mut *self, &mut *io);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(shard, io)))
        };
        if outcome.is_err() {
            for transmit in self.transmits.drain(queued..) {
                io.frames.free(transmit.frame);
            }
            self.counters.count(Counter::LegPanicked);
            self.end_unanswered(index);
            self.leg_fault(io, index);
        }
    }

    fn leg_of(&self, id: LegId) -> Option<u32> {
        self.legs.live(id.index(), id.generation())
    }

    fn leg_of_call(&self, call: CallId) -> Option<u32> {
        let is = |index: u32| self.legs.get(index).is_some_and(|leg| leg.call == call);
        self.calls.find(call_hash(call), is)
    }

    fn cell(&self, index: u32) -> Option<CellWriter<'m>> {
        self.region.cell(index).map(CellWriter::new)
    }
}

/// Call ids are random: their low half is a hash already.
fn call_hash(call: CallId) -> u64 {
    let bytes = call.0.to_be_bytes();
    bytes[8..].try_into().map_or(0, u64::from_be_bytes)
}

impl core::fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Io").field("now", &self.now).finish_non_exhaustive()
    }
}
