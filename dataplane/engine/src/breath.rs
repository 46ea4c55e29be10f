//! A shard's thread: inhale a batch, think, exhale a batch.
//!
//! ```text
//!   inhale   one io_uring_enter: submit what was queued, reap datagrams, read the clock once
//!   think    commands, handoffs of other shards, the batch, flow reports, who cannot be reached,
//!            deadlines
//!   exhale   datagrams and flows to the ring's queue, events and handoffs to their rings
//! ```
//!
//! It sleeps only when nothing waits and after it has said so in every ring that others write for
//! it; they ring its doorbell then, and only then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::{ConnectionRequest, FlowReport, Local, MediaPort, Mono, Received};
use crossbeam_queue::ArrayQueue;
use net::driver::Origin;
use net::{Driver, DriverPlan};
use shard::Shard;
use shard::plan::{BATCH_MAX, Plan};
use wire::counter::Counter;
use wire::region::{Region, Side};
use wire::ring::{Consumer, Cursors, Producer, RECORD_BYTES_MAX, Slots};

use crate::link::Attached;
use crate::park::{Bells, SipSocket};
use crate::tables::{Found, Tables};
use crate::tls::Tls;
use crate::{Failure, STOP_MAX};

/// Words of a ring between two shards (1 MiB).
const RING_WORDS: usize = 1 << 17;
/// Messages of one kind taken in one breath.
const BATCH: usize = 256;
/// How often what is rare is looked at: a new controlplane, a new table, our epoch.
const RARE: core::time::Duration = core::time::Duration::from_millis(20);
/// How long the controlplane may sleep on over events that may wait.
const PATIENCE: core::time::Duration = core::time::Duration::from_millis(10);
/// How often it is said that ports are refused.
const SAY_EVERY: core::time::Duration = core::time::Duration::from_secs(10);

/// All that a shard's thread is born with.
pub(crate) struct Life {
    pub(crate) plan: Plan,
    pub(crate) driver: DriverPlan,
    pub(crate) cpu: Option<usize>,
    pub(crate) region: &'static [AtomicU64],
    pub(crate) epoch: u32,
    pub(crate) sockets: Vec<SipSocket>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) team: Member,
    pub(crate) tls: Tls,
    pub(crate) stop: Arc<AtomicBool>,
}

/// The rings between shards.
pub(crate) struct Team {
    shards: u8,
    /// `rings[from][to]`
    rings: Vec<Vec<&'static [AtomicU64]>>,
    attach: Vec<Arc<ArrayQueue<Attached>>>,
}

/// One shard's ends of them.
pub(crate) struct Member {
    /// By receiving shard; the own place is empty.
    to: Vec<Option<Producer<'static>>>,
    from: Vec<Consumer<'static>>,
    attach: Arc<ArrayQueue<Attached>>,
}

/// The controlplane's side, once it is there.
struct Controller {
    events: Producer<'static>,
    commands: Consumer<'static>,
    region: Region<'static>,
    table_seen: u64,
}

impl Team {
    pub(crate) fn new(shards: u8) -> Self {
        let ring = || -> &'static [AtomicU64] {
            // Lives as long as the process; both ends are threads of it.
            Box::leak((0..RING_WORDS + 32).map(|_| AtomicU64::new(0)).collect())
        };
        let rings = (0..shards).map(|_| (0..shards).map(|_| ring()).collect()).collect();
        let attach = (0..shards).map(|_| Arc::new(ArrayQueue::new(1))).collect();
        Self { shards, rings, attach }
    }

    pub(crate) fn attach_queues(&self) -> Vec<Arc<ArrayQueue<Attached>>> {
        self.attach.clone()
    }

    pub(crate) fn member(&self, shard: u8) -> Member {
        let me = usize::from(shard);
        let others = || (0..usize::from(self.shards)).filter(move |other| *other != me);
        let mut to: Vec<Option<Producer<'static>>> = (0..self.shards).map(|_| None).collect();
        for other in others() {
            let (slots, cursors) = ends(self.rings[me][other]);
            to[other] = Some(Producer::join(slots, cursors));
        }
        let from = others().map(|other| {
            let (slots, cursors) = ends(self.rings[other][me]);
            Consumer::join(slots, cursors)
        });
        Member { to, from: from.collect(), attach: Arc::clone(&self.attach[me]) }
    }
}

/// A ring in plain memory: the control words on cache lines of their own, then the slots.
fn ends(words: &'static [AtomicU64]) -> (Slots<'static>, Cursors<'static>) {
    let slots = Slots { head: &words[0], words: &words[32..] };
    (slots, Cursors { read: &words[8], released: &words[16], sleeping: &words[24] })
}

impl Life {
    /// Until the stop. An error ends the process: a shard alone cannot be started again.
    pub(crate) fn run(self) -> Result<(), Failure> {
        // Before its thread would be pinned with this one.
        let tables = Tables::new(Arc::clone(&self.bells), self.plan.shard, self.plan.keys.table)?;
        if let Some(cpu) = self.cpu {
            net::cpu::pin(cpu)?;
        }
        let mut driver = Driver::new(&self.driver)?;
        driver.enable()?;
        for (index, socket) in (0_u8..).zip(self.sockets) {
            match socket {
                SipSocket::Datagrams(socket) => driver.add_listener(index, socket)?,
                SipSocket::Streams(socket) => driver.add_stream_listener(index, socket)?,
            }
        }
        driver.watch(&self.bells.shards[usize::from(self.plan.shard)], 0)?;
        let region = Region::open(self.region, Side::Dataplane)?;
        let now = net::sample();
        let shard = Shard::new(self.plan, region, now);
        let mut breath = Breathing {
            shard,
            driver,
            region,
            epoch: self.epoch,
            bells: self.bells,
            team: self.team,
            tls: self.tls,
            controller: None,
            received: Vec::with_capacity(4_096),
            buffer: vec![0; RECORD_BYTES_MAX],
            rare_at: now.mono,
            tables,
            transmit_failures: 0,
            truncated: 0,
            old: 0,
            full: 0,
            refused: None,
            refused_said: Mono(0),
            faults: 0,
            ring_at: Mono::NEVER,
        };
        let mut stopping: Option<Mono> = None;
        loop {
            let now = breath.turn()?;
            if self.stop.load(Ordering::Relaxed) && stopping.is_none() {
                stopping = Some(now.mono + STOP_MAX);
                breath.shard.handle_stop(now, breath.driver.pool_mut());
                breath.exhale(now);
            }
            if stopping.is_some_and(|end| breath.shard.is_quiet() || now.mono >= end) {
                breath.exhale(now);
                breath.driver.flush();
                // What may wait does not wait for somebody who is gone.
                breath.bells.controlplane.ring();
                return Ok(());
            }
        }
    }
}

struct Breathing {
    shard: Shard<'static>,
    driver: Driver,
    region: Region<'static>,
    epoch: u32,
    bells: Arc<Bells>,
    team: Member,
    tls: Tls,
    controller: Option<Controller>,
    received: Vec<Received>,
    buffer: Vec<u8>,
    rare_at: Mono,
    tables: Tables,
    transmit_failures: u64,
    truncated: u64,
    old: u64,
    /// Connections for which the driver had no place.
    full: u64,
    /// The port that was refused last, with the reason, until it is said.
    refused: Option<(MediaPort, i32)>,
    refused_said: Mono,
    faults: u64,
    /// Until when the controlplane may sleep on over events that may wait; [`Mono::NEVER`] if none
    /// do.
    ring_at: Mono,
}

impl Breathing {
    fn turn(&mut self) -> Result<base::Now, Failure> {
        let sleep = !self.tls.is_waiting() && self.prepare_sleep();
        let deadline = self.shard.deadline().min(self.ring_at);
        let breath = self.driver.breathe(deadline, sleep, &mut self.received);
        self.driver.check()?;
        if sleep {
            self.wake();
        }
        let now = breath.now;
        self.shard.count_breath();
        self.take_table(now);
        self.take_commands(now);
        self.take_handoffs(now);
        self.ask_for_ports(now);
        self.tls.unseal(&mut self.driver, &mut self.received, now.mono);
        self.shard.sort(now, &mut self.received, self.driver.pool());
        for from in (0..self.received.len()).step_by(BATCH_MAX) {
            let batch = &self.received[from..self.received.len().min(from + BATCH_MAX)];
            self.shard.handle_datagrams(now, batch, self.driver.pool_mut());
            self.ask_for_ports(now);
        }
        self.take_unreachable(now);
        self.take_connections(now);
        if now.mono >= self.shard.deadline() {
            self.shard.handle_tick(now, self.driver.pool_mut());
        }
        self.exhale(now);
        if now.mono >= self.rare_at {
            self.rare_at = now.mono + RARE;
            self.rare(now)?;
        }
        Ok(now)
    }

    /// Who cannot be reached: as many as the driver reports in a breath.
    fn take_unreachable(&mut self, now: base::Now) {
        while let Some(report) = self.driver.poll_unreachable() {
            let pool = self.driver.pool_mut();
            match report.origin() {
                Origin::Send => self.shard.handle_unreachable(now, report.to, pool),
                Origin::Icmp => self.shard.handle_icmp(now, report.to, report.quote(), pool),
            }
        }
    }

    /// What became of connections: their last bytes were in this breath's batch.
    fn take_connections(&mut self, now: base::Now) {
        self.tls.renew();
        while let Some(report) = self.driver.poll_connection() {
            let shard = &self.shard;
            let is_stranger = |from| shard.is_stranger(from, now);
            let told = self.tls.report(&mut self.driver, report, is_stranger, now.mono);
            if let Some(report) = told {
                self.shard.handle_connection(now, report, self.driver.pool_mut());
            }
        }
        while let Some(report) = self.tls.poll_report() {
            self.shard.handle_connection(now, report, self.driver.pool_mut());
        }
        while let Some(counter) = self.tls.poll_counted() {
            self.shard.count_driver(counter, 1);
        }
    }

    /// Ports that the last messages have used up are replaced before the next ones need them.
    fn ask_for_ports(&mut self, now: base::Now) {
        self.shard.handle_ports(now);
        while let Some(flow) = self.shard.poll_flow() {
            self.driver.flow(flow);
        }
        while let Some(report) = self.driver.poll_report() {
            if let FlowReport::Refused { port, errno } = report {
                self.refused = Some((port, errno));
            }
            self.shard.handle_flow_report(report);
        }
    }

    /// A port that we do not get is somebody's doing: it is said, now and then.
    fn say_refused(&mut self, now: base::Now) {
        if now.mono < self.refused_said + SAY_EVERY {
            return;
        }
        let Some((port, errno)) = self.refused.take() else { return };
        self.refused_said = now.mono;
        tracing::warn!(
            shard = self.shard.id(),
            address = port.address,
            port = port.port,
            error = %std::io::Error::from_raw_os_error(errno),
            refused = self.shard.counters().get(Counter::PortRefused),
            spare = self.shard.counters().get(Counter::PortSpare),
            "media ports are refused by the system; they are asked for again"
        );
    }

    fn take_commands(&mut self, now: base::Now) {
        let Some(controller) = self.controller.as_mut() else { return };
        for _ in 0..BATCH {
            match controller.commands.pop(&mut self.buffer) {
                Ok(Some(command)) => {
                    self.shard.handle_command(now, command, self.driver.pool_mut());
                }
                Ok(None) => break,
                Err(_) => {
                    let words = controller.commands.skip_to_head();
                    tracing::error!(
                        words,
                        "the commands ring was damaged; what stood there is lost"
                    );
                    break;
                }
            }
        }
        // A command is done when it is read: nothing of it has to outlive us.
        let position = controller.commands.position();
        controller.commands.release(position);
    }

    fn take_handoffs(&mut self, now: base::Now) {
        for from in &mut self.team.from {
            for _ in 0..BATCH {
                match from.pop(&mut self.buffer) {
                    Ok(Some(message)) => {
                        self.shard.handle_handoff(now, message, self.driver.pool_mut());
                    }
                    Ok(None) => break,
                    Err(_) => {
                        from.skip_to_head();
                        break;
                    }
                }
            }
            let position = from.position();
            from.release(position);
        }
    }

    fn exhale(&mut self, now: base::Now) {
        // What is sent by a connection comes before its end.
        while let Some(request) = self.shard.poll_connection() {
            self.transmit(now);
            let name = match request {
                ConnectionRequest::Open { name, .. } => self.shard.tls_name(name),
                ConnectionRequest::Close { .. } => None,
            };
            self.tls.request(&mut self.driver, request, name, now.mono);
        }
        self.transmit(now);
        while let Some(flow) = self.shard.poll_flow() {
            self.driver.flow(flow);
        }
        self.push_events(now);
        self.push_handoffs();
    }

    fn transmit(&mut self, now: base::Now) {
        while let Some(transmit) = self.shard.poll_transmit() {
            match transmit.from {
                Local::Connection(_) => self.tls.transmit(&mut self.driver, transmit, now.mono),
                _ => self.driver.transmit(transmit),
            }
        }
    }

    /// The controlplane is woken at once for what somebody waits for; the rest rides along, or
    /// wakes it a little later: each time that it is woken costs it more than what it does then.
    fn push_events(&mut self, now: base::Now) {
        let Some(controller) = self.controller.as_mut() else { return };
        let mut may_wait = true;
        while let Some(event) = self.shard.poll_event() {
            // A full ring: the shard keeps it, and admits fewer calls while it keeps many.
            if controller.events.push(event).is_err() {
                break;
            }
            may_wait &= wire::event::may_wait(event);
            self.shard.event_taken();
        }
        let is_news = controller.events.publish();
        let is_due = now.mono >= self.ring_at;
        let rings = if is_due { controller.events.is_waited_for() } else { is_news && !may_wait };
        if rings {
            self.bells.controlplane.ring();
        }
        if rings || is_due {
            self.ring_at = Mono::NEVER;
        } else if is_news && self.ring_at == Mono::NEVER {
            self.ring_at = now.mono + PATIENCE;
        }
    }

    fn push_handoffs(&mut self) {
        for (to, ring) in (0_u8..).zip(&mut self.team.to) {
            let Some(ring) = ring else { continue };
            while let Some(message) = self.shard.poll_handoff(to) {
                if ring.push(message).is_err() {
                    break;
                }
                self.shard.handoff_taken(to);
            }
            if ring.publish() {
                self.bells.shards[usize::from(to)].ring();
            }
        }
    }

    /// Says in every ring that we sleep. False if something waits already.
    fn prepare_sleep(&mut self) -> bool {
        let mut quiet = self.team.attach.is_empty();
        for from in &mut self.team.from {
            quiet &= from.prepare_sleep();
        }
        if let Some(controller) = self.controller.as_mut() {
            quiet &= controller.commands.prepare_sleep();
        }
        if !quiet {
            self.wake();
        }
        quiet
    }

    fn wake(&mut self) {
        for from in &mut self.team.from {
            from.wake();
        }
        if let Some(controller) = self.controller.as_mut() {
            controller.commands.wake();
        }
    }

    fn rare(&mut self, now: base::Now) -> Result<(), Failure> {
        if self.region.epoch() != self.epoch {
            return Err("another process has taken over this region".into());
        }
        if let Some(words) = self.team.attach.pop() {
            self.attach(words);
        }
        self.say_faults();
        let truncated = self.driver.counters().receive_truncated;
        let new = truncated - core::mem::replace(&mut self.truncated, truncated);
        self.shard.count_driver(Counter::DiscardSipTruncated, new);
        let old = self.driver.counters().receive_old;
        let new = old - core::mem::replace(&mut self.old, old);
        self.shard.count_driver(Counter::DiscardRtpOld, new);
        let full = self.driver.counters().connection_refused;
        let new = full - core::mem::replace(&mut self.full, full);
        self.shard.count_driver(Counter::ConnectionRefused, new);
        let failures = self.driver.counters();
        let failures = failures.send_would_block
            + failures.send_icmp_error
            + failures.send_too_long
            + failures.send_denied
            + failures.send_error
            + failures.send_queue_full
            + failures.send_no_local;
        let new = failures - self.transmit_failures;
        self.transmit_failures = failures;
        self.shard.count_driver(Counter::DiscardTransmit, new);
        self.say_refused(now);
        Ok(())
    }

    /// The published table, as soon as there is another. Until that is here nobody is refused by
    /// the old one.
    fn take_table(&mut self, now: base::Now) {
        let Some(controller) = self.controller.as_mut() else { return };
        let Some(area) = controller.region.table() else { return };
        if let Some(read) = self.tables.poll(area) {
            controller.table_seen = read.seen;
            match read.found {
                Found::Table(mut table) => {
                    *table = self.shard.handle_table(now, *table);
                    self.tables.drop_old(table);
                }
                Found::Damaged => self.shard.count_driver(Counter::TableRefused, 1),
                Found::Nothing => {}
            }
        }
        let is_outdated = wire::table::is_outdated(area, controller.table_seen);
        if is_outdated {
            self.tables.ask(area, controller.table_seen);
        }
        self.shard.handle_outdated(is_outdated);
    }

    /// What was contained is no reason to stop, and no secret: where it happened stands above, in
    /// what the panic itself said.
    fn say_faults(&mut self) {
        let counters = self.shard.counters();
        let (legs, others) = (Counter::LegPanicked, Counter::FaultContained);
        let faults = counters.get(legs) + counters.get(others);
        let new = faults - core::mem::replace(&mut self.faults, faults);
        if new > 0 {
            let shard = self.shard.id();
            tracing::warn!(shard, new, "faults of ours ended what they were about; please report");
        }
    }

    /// A controlplane has come (again): its cursors for our events, its commands for us.
    fn attach(&mut self, words: Attached) {
        // It was checked in the lobby; what has become of it since is the other process's doing,
        // and no reason to stop.
        let Ok(theirs) = Region::open(words, Side::Controlplane) else {
            tracing::error!("the controlplane's region has changed its header; not attached");
            return;
        };
        let commands = Consumer::join(theirs.slots(), self.region.cursors());
        let events = Producer::join(self.region.slots(), theirs.cursors());
        self.controller = Some(Controller { events, commands, region: theirs, table_seen: 0 });
    }
}
