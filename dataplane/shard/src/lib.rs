//! The dataplane as one value: SIP, dialogs, media and metering of one shard, without clock,
//! socket, thread or file.
//!
//! ```text
//!   handle_datagrams --> transport::demux --> media: stream -> the stream that hears it
//!                          |       \--> another shard's: handoff
//!                          v
//!                       transaction --> with_leg --> LegMut: dialog, offer, peer, command, end
//!   handle_command   ------^              ^                |
//!   handle_handoff   ---------------------/                v
//!   handle_tick      ---> every deadline           usage: cell, record, event
//!
//!   poll_transmit, poll_flow, poll_event, poll_handoff <-- what came of it
//! ```
//!
//! One batch is one mutation: feed it, then drain every `poll_*` and ask [`Shard::deadline`]. A
//! shard allocates nothing for packets and transactions; what it holds was taken at birth
//! ([`plan::Limits`]).
//!
//! A leg's behaviour is reached by one funnel, `with_leg`: a fault (panic) inside the handling of
//! one message, timer or command ends the leg it was for, with its usage closed and its event told;
//! what it had queued to send is taken back.
#![forbid(unsafe_code)]

mod calls;
mod claims;
mod crossing;
mod cx;
mod emergency;
mod failover;
#[cfg(test)]
mod fault_tests;
pub mod faults;
mod follow;
pub mod handoff;
mod health;
mod kept;
mod leg;
mod media;
mod options;
mod outbox;
mod place;
pub mod plan;
mod refer;
mod registering;
mod route;
mod signalling;
mod spiral;
mod streams;
mod telling;
mod transaction;
mod transport;
mod usage;
mod watch;
mod web;

use std::collections::{BTreeMap, VecDeque};

use base::{
    Arena, ConnectionReport, ConnectionRequest, Flow, FlowReport, Frames, LegId, Local, Mono, Now,
    Prng, Received, Records, ShardId, TlsName, Transmit,
};
use core::net::SocketAddr;
use wire::counter::{Counter, Counters};
use wire::event::{Cause, Party};
use wire::region::Region;

use crate::claims::Claims;
use crate::cx::{Core, Cx, MESSAGE_BYTES};
use crate::handoff::Handoff;
use crate::leg::{LegMut, Legs};
use crate::media::Media;
use crate::outbox::Outbox;
use crate::plan::Plan;
use crate::registering::Registering;
pub use crate::route::Published;
use crate::route::Routes;
use crate::signalling::Turn;
use crate::telling::Telling;
use crate::transaction::{Clients, Lost, Referrals, Servers, Transactions};
use crate::transport::connections::Connections;
use crate::transport::guard::{Guard, Standing};
use crate::transport::names::Names;
use crate::transport::targets::Targets;

/// A batch of no more than so many datagrams is served as it came, but for strangers.
const FEW: usize = 32;
/// How often counters are published and ports are looked after.
const HOUSEKEEPING: core::time::Duration = core::time::Duration::from_millis(100);
/// How many slots before the meter comes by one its memory is fetched.
const METERED_AHEAD: u32 = 12;

/// One shard of the dataplane. `'m` is the life of its shared memory.
#[derive(Debug)]
pub struct Shard<'m> {
    core: Core<'m>,
    legs: Legs,
    transactions: Transactions,
    media: Media,
    round: usage::Round,
    routes: Routes,
    claims: Claims,
    registering: Registering,
    telling: Telling,
    draining: bool,
    housekeeping_at: Mono,
    probes: health::Probes,
    health_at: Mono,
    /// A leg that has no slot yet.
    making: Option<leg::Leg>,
    /// Messages of a breath that begin something, or come from strangers: they wait for the others.
    waiting: Vec<(Turn, Received)>,
    /// A SIP datagram being read while answers take frames.
    datagram: Vec<u8>,
    /// The INVITE of a call that goes on to another route.
    invite: Vec<u8>,
    /// Messages that other shards handed over, and that wait for media.
    handed: Records,
    /// For messages being copied out of a queue while it is written to.
    scratch: Vec<u8>,
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
        let first = epoch.wrapping_mul(4_099);
        let mut shard = Self {
            legs: Legs::new(plan.shard, limits.legs, first),
            transactions: Transactions {
                servers: Servers::new(limits.transactions),
                clients: Clients::new((limits.client_transactions(), limits.legs), first),
                referrals: Referrals::new(),
                texts: transaction::texts::Texts::new(),
                asked: transaction::Asked::new(),
            },
            media: Media::new(&plan, epoch),
            round: usage::Round::new(limits.legs),
            routes: Routes::new(),
            claims: Claims::new(&plan, epoch),
            registering: Registering::new(&plan, now),
            telling: Telling::default(),
            draining: false,
            housekeeping_at: now.mono,
            probes: health::Probes::default(),
            health_at: Mono::NEVER,
            making: None,
            waiting: Vec::with_capacity(4_096),
            datagram: vec![0; base::frame::LARGE_BYTES],
            invite: vec![0; base::frame::LARGE_BYTES],
            handed: Records::new(limits.handoff_bytes / 4),
            scratch: vec![0; base::frame::LARGE_BYTES * 2],
            core: Core {
                region,
                turned: now.mono,
                awake: Mono(0),
                epoch,
                counters: Counters::default(),
                random: Prng::new(plan.seed ^ u64::from(plan.shard) << 32 ^ u64::from(epoch)),
                arena: Arena::new(limits.arena_bytes),
                events: Records::new(limits.event_bytes),
                handoffs: (0..plan.shards).map(|_| Outbox::new(limits.handoff_bytes)).collect(),
                flows: VecDeque::with_capacity(1_024),
                transmits: VecDeque::with_capacity(4_096),
                connections: Connections::new(plan.shard, limits.connections),
                names: Names::new(&plan.keys.token),
                page: vec![0; MESSAGE_BYTES],
                in_hand: None,
                targets: Targets::new(),
                attempts: failover::Attempts::new(),
                refusals: leg::refusal::Refusals::new(),
                tails: leg::parts::Tails::new(),
                emergency_legs: 0,
                urgent: emergency::Urgent::default(),
                proven: BTreeMap::new(),
                guard: Guard::new(plan.guard, plan.keys.table),
                holds: leg::relay::Holds::new(),
                gifts: leg::given::Gifts::new(),
                watch: watch::Watch::new(limits.legs),
                legs_taken: 0,
                legs_joined: 0,
                offset: now.offset(),
                offset_of_leg: now.offset(),
                plan,
            },
        };
        let mut cx = Cx { now, frames: &mut NoFrames, core: &mut shard.core };
        let untold = usage::close_leftover_legs(&mut cx, &mut shard.legs);
        shard.telling = Telling::new(&mut cx, &mut shard.transactions.clients, untold);
        shard.media.housekeeping(&mut cx);
        shard
    }

    #[must_use]
    pub fn id(&self) -> ShardId {
        self.core.plan.shard
    }

    /// Counters so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Legs that stand or wait for their release.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Media port pairs in use: 0 when no leg has media.
    #[must_use]
    pub fn ports_used(&self) -> usize {
        self.media.used()
    }

    /// SIP transactions in memory, both sides.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.transactions.servers.len() + self.transactions.clients.len()
    }

    /// Bytes of the arena in use.
    #[must_use]
    pub fn arena_used(&self) -> usize {
        self.core.arena.used()
    }

    /// Puts what came in one breath into the order in which it is served: media and what belongs to
    /// calls before what begins something, strangers last.
    pub fn sort(&mut self, now: Now, batch: &mut Vec<Received>, frames: &dyn Frames) {
        let is_media = |received: &Received| matches!(received.at, Local::Media(_));
        let is_sip = |received: &Received| matches!(received.at, Local::Listener(_));
        let sip = batch.iter().filter(|received| !is_media(received)).count();
        if sip == 0 {
            return;
        }
        let mut waiting = core::mem::take(&mut self.waiting);
        batch.retain(|received| {
            let turn = match is_sip(received) {
                true => self.turn_of(now, frames, received, sip > FEW),
                false => self.turn_of_stream(received.at),
            };
            if turn != Turn::First {
                waiting.push((turn, *received));
            }
            turn == Turn::First
        });
        // What came first among its like stays so.
        for turn in [Turn::Other, Turn::Call, Turn::Stranger] {
            batch.extend(waiting.iter().filter(|it| it.0 == turn).map(|(_, received)| *received));
        }
        waiting.clear();
        self.waiting = waiting;
    }

    /// A batch of datagrams, at most [`plan::BATCH_MAX`]. Every frame is transmitted, handed over
    /// or freed by this.
    pub fn handle_datagrams(&mut self, now: Now, batch: &[Received], frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        let mut at = 0;
        while let Some(received) = batch.get(at) {
            match received.at {
                Local::Media(_) => self.media_run(now, batch, &mut at, frames),
                Local::Listener(listener) => {
                    at += 1;
                    self.contain(frames, |shard, frames| {
                        shard.listener(now, frames, received, listener);
                    });
                    // What the message made legs say to each other comes before the next one: a
                    // call has both its legs before another takes their slots.
                    self.drain(now, frames);
                }
                Local::Connection(id) => {
                    at += 1;
                    let done = self.contain(frames, |shard, frames| {
                        shard.stream_bytes(now, frames, received, id);
                    });
                    if done.is_none() {
                        // Where its next message begins nobody knows any more.
                        self.end_connection(now, frames, id, Counter::ConnectionBroken);
                    }
                    self.drain(now, frames);
                }
            }
        }
        self.drain(now, frames);
    }

    /// What became of a connection. To be called behind the bytes of the same breath.
    pub fn handle_connection(
        &mut self,
        now: Now,
        report: ConnectionReport,
        frames: &mut dyn Frames,
    ) {
        self.core.begin_turn(now);
        self.contain(frames, |shard, frames| shard.connection(now, frames, report));
        self.drain(now, frames);
    }

    /// A command of the controlplane, as encoded by `wire`.
    pub fn handle_command(&mut self, now: Now, bytes: &[u8], frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        self.core.counters.count(Counter::CommandTaken);
        match wire::decode(bytes) {
            Ok(command) => {
                self.contain(frames, |shard, frames| shard.command(now, frames, &command));
            }
            Err(_) => self.core.counters.count(Counter::DiscardCommandMalformed),
        }
        self.drain(now, frames);
    }

    /// A message of another shard, as given out by its [`Shard::poll_handoff`]. What begins a call
    /// or comes from a stranger waits for [`Shard::handle_tick`], behind the media of this breath.
    pub fn handle_handoff(&mut self, now: Now, bytes: &[u8], frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        self.core.counters.count(Counter::HandoffTaken);
        if signalling::may_wait(bytes, self.core.guard.hears) {
            if !self.handed.push(bytes) {
                self.core.counters.count(Counter::DiscardHandoffFull);
            }
            return;
        }
        self.contain(frames, |shard, frames| shard.handoff(now, frames, bytes));
        self.drain(now, frames);
    }

    /// What the packet paths say.
    pub fn handle_flow_report(&mut self, report: FlowReport) {
        self.contain(&mut NoFrames, |shard, _| {
            shard.media.handle_report(report, &mut shard.core.flows);
        });
    }

    /// Asks for media ports in place of those that were just used up; to be called between two
    /// batches, with the answers brought back before the second.
    pub fn handle_ports(&mut self, now: Now) {
        self.media.refill(now.mono, &mut self.core.flows);
    }

    /// Nothing can be sent to this address, as our own system says: what waits for a first word
    /// from there goes on at once.
    pub fn handle_unreachable(&mut self, now: Now, to: SocketAddr, frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        self.contain(frames, |shard, frames| shard.target_lost(now, frames, Lost::Address(to)));
        self.drain(now, frames);
    }

    /// An ICMP packet says that nobody is behind this address, and quotes the beginning of a
    /// datagram. Anybody can send one, and the kernel does not check that we ever sent to `to`: it
    /// is believed only if the quote holds the branch of a request of ours that went there.
    pub fn handle_icmp(&mut self, now: Now, to: SocketAddr, quote: &[u8], frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        match transport::demux::quoted(&self.core.plan, quote) {
            Some((shard, id)) if shard == self.core.plan.shard => {
                self.contain(frames, |shard, frames| shard.icmp(now, frames, to, id));
                self.drain(now, frames);
            }
            Some((shard, id)) => {
                self.push_handoff(shard, &Handoff::Unreachable { to, transaction: id.0 }, 64);
            }
            None => self.core.counters.count(Counter::DiscardSipStray),
        }
    }

    /// What [`Shard::handle_table`] takes, made here: for drivers that need not do it elsewhere.
    #[must_use]
    pub fn prepare(&self, table: wire::table::Table) -> Published {
        Published::new(table, &self.core.plan.keys.table)
    }

    /// A new published table; it holds from the next new call on. What was in force before, to be
    /// dropped where no packet waits.
    pub fn handle_table(&mut self, now: Now, mut published: Published) -> Published {
        let applied = self.contain(&mut NoFrames, |shard, _| {
            published.swap(&mut shard.routes, &mut shard.core, now.mono);
            published.swap_probes(&mut shard.probes, &mut shard.core, now.mono);
            shard.health_at = shard.probes.deadline();
        });
        if applied.is_some() {
            self.core.counters.count(Counter::TableApplied);
        }
        published
    }

    /// Another table is on its way, or is not: until it is there, this one refuses no call.
    pub fn handle_outdated(&mut self, is_outdated: bool) {
        self.routes.set_outdated(is_outdated);
    }

    /// Everything whose time has come. To be called at [`Shard::deadline`] or at any other moment.
    pub fn handle_tick(&mut self, now: Now, frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        self.media_tick(now, frames);
        self.serve_handed(now, frames);
        self.transaction_tick(now, frames);
        self.connections_due(now, frames);
        self.claims_due(now, frames);
        self.registrations_due(now, frames);
        self.legs_due(now, frames);
        self.meter_tick(now, frames);
        self.tell_next(now, frames);
        self.contain(frames, |shard, frames| shard.health_due(now, frames));
        if now.mono >= self.housekeeping_at {
            self.housekeeping(now, frames);
        } else if now.mono >= self.media.deadline() {
            self.media.housekeeping(&mut Cx { now, frames, core: &mut self.core });
        }
        self.drain(now, frames);
    }

    /// The legs whose time has come.
    fn legs_due(&mut self, now: Now, frames: &mut dyn Frames) {
        while let Some(slot) = self.legs.pop(now.mono) {
            // A leg that came into a slot meanwhile finds that nothing of it is due.
            if let Some(leg) = self.legs.at(slot).map(|leg| leg.id) {
                self.with_leg(now, frames, leg, |leg| leg.timeout());
            }
        }
    }

    /// The next leg of the meter's round; false if none is due. A leg is asked itself only if there
    /// is something odd about it; it has its own clock, as in everything that is about one leg.
    fn meter_next(&mut self, now: Now, frames: &mut dyn Frames) -> bool {
        let Some(slot) = self.round.next(now.mono) else { return false };
        let ahead = slot.wrapping_add(METERED_AHEAD);
        self.media.fetch_meter(ahead);
        self.core.region.cell(ahead).into_iter().for_each(wire::cell::fetch_ahead);
        let Some(usage::Metered { offset, segment }) = self.round.metered(slot) else {
            return true;
        };
        faults::touch(faults::Site::Meter);
        // No stamp: what stands in the cell of a standing leg is for a successor only.
        let seen = Now { wall: now.wall.under(self.core.offset, offset), ..now };
        if let Some(cell) = self.core.region.cell(slot).map(wire::cell::CellWriter::new) {
            cell.advance(seen.wall, segment, self.media.counted(slot));
        }
        let timeout = self.core.plan.timers.media_timeout;
        let mut cx = Cx { now: seen, frames, core: &mut self.core };
        self.media.report(&mut cx, slot);
        // Who was not listened to was not silent.
        let is_odd = self.media.is_odd(slot, (self.core.awake, now.mono), timeout);
        if self.round.asks(slot, is_odd)
            && let Some(leg) = self.legs.at(slot).map(|leg| leg.id)
        {
            self.with_leg(now, frames, leg, |leg| leg.watch());
        }
        true
    }

    /// The process is about to stop: no new calls, and those that stand are ended properly.
    pub fn handle_stop(&mut self, now: Now, frames: &mut dyn Frames) {
        self.core.begin_turn(now);
        self.draining = true;
        self.end_health();
        self.tell_all(now, frames);
        self.leave_registrars(now, frames);
        let mut from = 0;
        while let Some(leg) = self.legs.next_standing(from) {
            from = leg.index() + 1;
            self.with_leg(now, frames, leg, |leg| leg.hang_up(Cause::Restart, Party::Switch));
        }
        self.drain(now, frames);
    }

    /// No leg has anything under way: every BYE and CANCEL is answered.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        // Asked in every breath of a shard that stops: the legs are walked when none stands.
        let waits = |leg: &leg::Leg| leg.signalling.accepted.is_some();
        self.legs.standing() == 0
            && !self.legs.iter().any(waits)
            && self.registering.is_quiet()
            && self.transactions.clients.is_quiet()
    }

    /// One turn of the loop.
    pub fn count_breath(&mut self) {
        self.core.counters.count(Counter::BreathTaken);
    }

    /// What the driver counted since it was last asked.
    pub fn count_driver(&mut self, counter: Counter, amount: u64) {
        self.core.counters.add(counter, amount);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.transmits.pop_front()
    }

    /// The next request about connections.
    pub fn poll_connection(&mut self) -> Option<ConnectionRequest> {
        self.core.connections.requests.pop_front()
    }

    /// What a far end must prove to be called; None for its address.
    #[must_use]
    pub fn tls_name(&self, name: TlsName) -> Option<&str> {
        self.core.names.text(name)
    }

    /// Whether nobody knows who connects from there.
    #[must_use]
    pub fn is_stranger(&self, from: SocketAddr, now: Now) -> bool {
        let standing = self.core.guard.standing(from, now.mono);
        matches!(standing, Standing::Stranger | Standing::Proven)
    }

    /// The next request to the packet paths.
    pub fn poll_flow(&mut self) -> Option<Flow> {
        self.core.flows.pop_front()
    }

    /// The oldest event not yet taken, as encoded by `wire`; [`Shard::event_taken`] drops it.
    #[must_use]
    pub fn poll_event(&self) -> Option<&[u8]> {
        self.core.events.front()
    }

    /// The event from [`Shard::poll_event`] is in the ring.
    pub fn event_taken(&mut self) {
        self.core.events.pop();
        self.core.counters.count(Counter::EventPushed);
    }

    /// The oldest message for another shard; [`Shard::handoff_taken`] drops it.
    #[must_use]
    pub fn poll_handoff(&self, to: ShardId) -> Option<&[u8]> {
        if to == self.core.plan.shard {
            return None;
        }
        self.core.handoffs.get(usize::from(to))?.front()
    }

    /// The message from [`Shard::poll_handoff`] is delivered.
    pub fn handoff_taken(&mut self, to: ShardId) {
        if let Some(queue) = self.core.handoffs.get_mut(usize::from(to)) {
            queue.pop();
            self.core.counters.count(Counter::HandoffSent);
        }
    }

    /// When [`Shard::handle_tick`] must be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        if !self.handed.is_empty() {
            return Mono(0);
        }
        self.legs
            .deadline()
            .min(self.round.deadline())
            .min(self.media.deadline())
            .min(self.transactions.servers.deadline())
            .min(self.transactions.clients.deadline())
            .min(self.telling.deadline())
            .min(self.core.connections.deadline())
            .min(self.claims.deadline())
            .min(self.health_at)
            .min(self.registering.deadline())
            .min(self.housekeeping_at)
    }

    fn housekeeping(&mut self, now: Now, frames: &mut dyn Frames) {
        self.housekeeping_at = now.mono + HOUSEKEEPING;
        let mut cx = Cx { now, frames, core: &mut self.core };
        self.media.housekeeping(&mut cx);
        self.media.shrink(&mut cx);
        cx.core.targets_due(now);
        while let Some(leg) = self.transactions.referrals.late(now.mono) {
            self.with_leg(now, frames, leg, |leg| leg.referral_over(408));
        }
        while let Some((leg, number)) = self.transactions.texts.late(now.mono) {
            self.with_leg(now, frames, leg, |leg| leg.text_said(number, 480));
        }
        let standing = self.legs.standing() as u64;
        let total = self.legs.len() as u64;
        let transactions = self.transactions() as u64;
        let connections = self.core.connections.standing() as u64;
        let counters = &mut self.core.counters;
        counters.set(Counter::LegStanding, standing);
        counters.set(Counter::LegUnreleased, total - standing);
        counters.set(Counter::JoinStanding, self.core.legs_joined);
        counters.set(Counter::PortSpare, self.media.spare());
        counters.set(Counter::PortRefused, self.media.refused());
        counters.set(Counter::TransactionStanding, transactions);
        counters.set(Counter::ConnectionStanding, connections);
        let (up, down) = self.registering.counts(now.mono);
        counters.set(Counter::TrunkRegistered, up);
        counters.set(Counter::TrunkUnregistered, down);
        counters.publish(self.core.region.counters());
        self.core.region.pulse().store(now.mono.0, core::sync::atomic::Ordering::Relaxed);
    }

    fn cx<'c>(&'c mut self, now: Now, frames: &'c mut dyn Frames) -> Cx<'c, 'm> {
        Cx { now, frames, core: &mut self.core }
    }

    /// The one way to a leg's behaviour. A panic in it ends that leg alone; afterwards its timer is
    /// armed, and what its end owes is done. False if there is no such leg. What happened before
    /// the last thing told of the leg is taken as of that.
    fn with_leg(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: LegId,
        handle: impl FnOnce(&mut LegMut<'_, 'm>),
    ) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let was_over = leg.is_over();
        let wall = now.wall.under(self.core.offset, leg.story.offset);
        let now = Now { wall: wall.max(leg.story.told), ..now };
        self.core.offset_of_leg = leg.story.offset;
        self.core.watch.enter(leg);
        let queued = self.core.transmits.len();
        let mut leg = LegMut {
            leg,
            media: &mut self.media,
            transactions: &mut self.transactions,
            cx: Cx { now, frames, core: &mut self.core },
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(&mut leg)));
        if outcome.is_err() {
            self.leg_fault(now, frames, id, queued);
        }
        self.core.offset_of_leg = self.core.offset;
        self.core.watch.leave();
        self.settle(id, was_over);
        true
    }

    /// A fault of ours while a leg was handled: what it had queued is taken back, and it ends.
    #[cold]
    fn leg_fault(&mut self, now: Now, frames: &mut dyn Frames, id: LegId, queued: usize) {
        self.core.withdraw(frames, queued);
        self.core.counters.count(Counter::LegPanicked);
        self.transactions.servers.end_unanswered(&mut self.core, id);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let mut leg = LegMut {
            leg,
            media: &mut self.media,
            transactions: &mut self.transactions,
            cx: Cx { now, frames, core: &mut self.core },
        };
        // Should the way of ending it be what is broken: its usage is told all the same.
        for end in [LegMut::fault, LegMut::bury] {
            let queued = leg.cx.core.transmits.len();
            let ended = std::panic::AssertUnwindSafe(|| end(&mut leg));
            if std::panic::catch_unwind(ended).is_ok() {
                return;
            }
            leg.cx.core.withdraw(leg.cx.frames, queued);
            leg.cx.count(Counter::LegPanicked);
        }
    }

    /// Arms the leg's timer; frees its slot once nothing of it runs and its usage is released.
    fn settle(&mut self, id: LegId, was_over: bool) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let deadline = leg.deadline();
        self.round.set(id.index(), usage::metered(leg));
        if !leg.is_over() {
            return self.legs.arm(id, deadline);
        }
        let (call, route) = (leg.story.call, leg.route());
        let urgent = leg.inbound().map_or(0, |side| side.urgent);
        let quiet = leg.signalling.accepted.is_none();
        let released = leg.released;
        if quiet {
            leg.free_texts(&mut self.core.arena);
        }
        self.legs.arm(id, deadline);
        if !was_over {
            self.legs.end(id, call);
            if let Some(route) = route {
                self.routes.leave(route);
            }
            self.core.urgent.leave(urgent);
        }
        if quiet && released {
            self.free(id);
        }
    }

    fn free(&mut self, id: LegId) {
        if let Some(cell) = self.core.cell(id) {
            cell.free();
        }
        self.legs.remove(id);
        self.core.legs_taken = self.legs.len();
    }

    /// The controlplane has the usage of this leg.
    fn release(&mut self, _now: Now, epoch: u32, id: LegId) {
        if self.legs.release_leftover(epoch, id) {
            if let Some(cell) = self.core.cell(id) {
                cell.free();
            }
            self.core.legs_taken = self.legs.len();
            return;
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.story.epoch == epoch && leg.is_over() {
            leg.released = true;
            self.settle(id, true);
        }
    }
}

/// At birth nothing is sent.
struct NoFrames;

impl Frames for NoFrames {
    fn bytes(&self, _: base::Frame) -> &[u8] {
        b""
    }

    fn bytes_mut(&mut self, _: base::Frame) -> &mut [u8] {
        &mut []
    }

    fn alloc(&mut self, _: usize) -> Option<base::Frame> {
        None
    }

    fn free(&mut self, _: base::Frame) {}
}
