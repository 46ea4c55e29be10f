//! The controlplane of the world: the real director, driven as the daemon drives it, with rings, a
//! journal whose fsync takes its time, tenants' web servers and a store in memory. It may die at
//! any moment; what had left it (`write(2)`) is what its successor reads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{CallId, LegId, Mono, Now, Prng};
use director::{Director, Settings};
use model::port::{
    ApiCall, ApiId, ApiResult, Notice, Output, OwnedCommand, Resolved, Standing, StoreId,
    StoreWrite,
};
use wire::event::{Direction, Party, Summary};
use wire::table::StaticRoute;
use wire::{Cell, CellState, Event};

use crate::control::{Control, Ends, join};
use crate::ledger::Ledger;
use crate::plane::Plane;
use crate::strangers::is_stranger;
use crate::tenant::Web;
use crate::trace::Trace;

/// How long an fsync takes.
const SYNC: Duration = Duration::from_millis(4);
/// Between looks at the cells.
const SWEEP: Duration = Duration::from_secs(1);

/// What a fault planted on purpose does, to see whether the invariants notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    #[default]
    None,
    /// An end is neither taken from the ring nor found in its cell.
    LosesAnEnd,
    /// A second is added to what one leg is billed.
    BillsTooMuch,
    /// A leg's usage is never released.
    KeepsALeg,
    /// A row is written under another key once more.
    BillsTwice,
}

/// The controlplane.
pub struct Directed {
    pub settings: Settings,
    pub ledger: Ledger,
    pub web: Web,
    /// What the dataplane follows by itself.
    pub routes: Vec<StaticRoute>,
    pub canary: Canary,
    /// An fsync takes up to so long.
    pub sync_most: Duration,
    /// The disk is full: nothing is taken any more, until the process starts again.
    pub refuses: bool,
    /// It has been full at some time.
    pub refused_once: bool,
    director: Option<Director>,
    ends: Vec<Ends>,
    /// Sync points: when, up to which write, which ring positions follow from it.
    syncs: VecDeque<(Mono, Vec<StoreId>, Vec<u64>)>,
    fresh: Vec<StoreId>,
    written: bool,
    sweep_at: Mono,
    /// Ends handed to this director, by (epoch, leg).
    told: BTreeMap<(u32, LegId), Mono>,
    /// Closed cells seen once untold.
    suspects: BTreeSet<(u32, LegId)>,
    resolves: Vec<(Mono, Resolved)>,
    random: Prng,
    pub replies: Vec<(ApiId, ApiResult)>,
    pub notices: Vec<Notice>,
    /// Every end that any shard told, ever: (epoch, leg).
    pub ended: BTreeSet<(u32, LegId)>,
    /// Call-IDs of callers that the director turned away: their legs were nobody's and have no CDR.
    pub turned_away: BTreeSet<String>,
    /// Calls that were refused by a command, whoever it found.
    rejected: BTreeSet<CallId>,
    pub lives: u32,
    /// What the switch told of strangers.
    pub of_strangers: Vec<String>,
    /// Refusals of strangers that it told.
    pub refusals_of_strangers: u64,
    scratch: Vec<u8>,
    api: Vec<ApiCall>,
    canary_done: bool,
    kept: Option<LegId>,
}

impl Directed {
    /// Not yet born: [`Directed::boot`].
    #[must_use]
    pub fn new(shards: u8, web: Web, seed: u64) -> Self {
        let mut settings = Settings {
            shards,
            sip_host: "10.0.0.1".to_owned(),
            target_allow: ["10.0.0.0/8", "fd00::/8"]
                .map(|network| network.parse().unwrap_or_else(|error| panic!("{error}")))
                .to_vec(),
            webhook_connect_ms: 2_000,
            webhook_total_ms: 5_000,
            ..Settings::default()
        };
        settings.limits.callback_attempts = 3;
        Self {
            settings,
            ledger: Ledger::default(),
            web,
            routes: Vec::new(),
            canary: Canary::None,
            sync_most: Duration::from_millis(20),
            refuses: false,
            refused_once: false,
            director: None,
            ends: Vec::new(),
            syncs: VecDeque::new(),
            fresh: Vec::new(),
            written: false,
            sweep_at: Mono(0),
            told: BTreeMap::new(),
            suspects: BTreeSet::new(),
            resolves: Vec::new(),
            random: Prng::new(seed ^ 0x6469_7265),
            replies: Vec::new(),
            notices: Vec::new(),
            ended: BTreeSet::new(),
            turned_away: BTreeSet::new(),
            rejected: BTreeSet::new(),
            lives: 0,
            of_strangers: Vec::new(),
            refusals_of_strangers: 0,
            scratch: vec![0; wire::MESSAGE_BYTES_MAX],
            api: Vec::new(),
            canary_done: false,
            kept: None,
        }
    }

    /// A new process: joins the rings, reads what its predecessor wrote, looks at the cells.
    pub fn boot(&mut self, now: Now, plane: &Plane) {
        for regions in &plane.regions {
            let _ = regions.succeed_controlplane();
        }
        self.ends = join(plane);
        self.lives += 1;
        let mut book = self.ledger.book();
        book.standing = standing(plane);
        let seed = std::array::from_fn(|_| self.random.u64());
        let key = [u64::from(self.lives), seed[0]];
        // Each life lists them in another order, which means nothing.
        let most = self.routes.len().max(1);
        self.routes.rotate_left(usize::try_from(self.lives).unwrap_or(0) % most);
        crate::published::publish(plane, (&self.ledger.entities, &self.routes), key);
        self.director = Some(Director::restore(self.settings.clone(), seed, now, book));
        self.sweep_at = now.mono + SWEEP;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.director = None;
        self.ends.clear();
        self.syncs.clear();
        self.refuses = false;
        self.fresh.clear();
        self.told.clear();
        self.suspects.clear();
        self.resolves.clear();
        self.web.forget();
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.director.is_none()
    }

    #[must_use]
    pub fn director(&self) -> Option<&Director> {
        self.director.as_ref()
    }

    /// An API request.
    pub fn api(&mut self, call: ApiCall) {
        self.api.push(call);
    }

    fn with(&mut self, change: impl FnOnce(&mut Director)) {
        if let Some(director) = &mut self.director {
            change(director);
        }
    }

    fn read_events(&mut self, now: Now, trace: Trace, faults: &mut Vec<String>) {
        let mut scratch = core::mem::take(&mut self.scratch);
        for at in 0..self.ends.len() {
            let shard = u8::try_from(at).unwrap_or(0);
            loop {
                let bytes = match self.ends[at].events.pop(&mut scratch) {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => break,
                    Err(_) => {
                        faults.push("a corrupt events ring".to_owned());
                        break;
                    }
                };
                let Ok(event) = wire::decode::<Event<'_>>(bytes) else {
                    faults.push("an event that cannot be read".to_owned());
                    continue;
                };
                trace.line(now.mono, || format!("shard {shard} tells {event:?}"));
                self.take(now, shard, &event);
            }
        }
        self.scratch = scratch;
    }

    fn take(&mut self, now: Now, shard: u8, event: &Event<'_>) {
        self.notice_strangers(event);
        let Event::Ended(summary) = event else {
            return self.with(|director| director.handle_event(now, shard, event));
        };
        if self.was_turned_away(summary) {
            self.turned_away.insert(summary.call_id.to_owned());
        } else if summary.leg != LegId::NONE {
            self.ended.insert((summary.epoch, summary.leg));
        }
        self.told.insert((summary.epoch, summary.leg), now.mono);
        if !self.canary_done && self.canary == Canary::LosesAnEnd {
            self.canary_done = true;
            return;
        }
        let mut summary = summary.clone();
        if self.canary == Canary::BillsTooMuch && !self.canary_done && summary.answered.0 > 0 {
            self.canary_done = true;
            for usage in &mut summary.usage {
                usage.last.0 += 1_000_000;
            }
        }
        self.with(|director| director.handle_event(now, shard, &Event::Ended(summary)));
    }

    /// Refused by a command, and never anybody's: counted, not stored. Its caller may have gone
    /// before the refusal came.
    fn was_turned_away(&self, summary: &Summary<'_>) -> bool {
        summary.direction == Direction::Inbound
            && summary.account == 0
            && summary.answered.0 == 0
            && (summary.by == Party::Application || self.rejected.contains(&summary.call))
    }

    /// A stranger's message leads to no event but, now and then, that of its refusal.
    fn notice_strangers(&mut self, event: &Event<'_>) {
        let source = match event {
            Event::Incoming(incoming) => incoming.source,
            Event::Ended(summary) => summary.remote,
            Event::Refused { source, .. } => {
                self.refusals_of_strangers += u64::from(is_stranger(*source));
                return;
            }
            _ => return,
        };
        if is_stranger(source) {
            self.of_strangers.push(format!("{event:?}"));
        }
    }

    /// Closed cells whose end nobody told, at two looks in a row.
    fn sweep(&mut self, now: Now, plane: &Plane) {
        for (shard, regions) in (0..).zip(&plane.regions) {
            let region = regions.dataplane();
            for index in 0..region.sizes().legs {
                let cell = region.cell(index).and_then(Cell::read);
                let Some(cell) = cell.filter(|cell| cell.state == CellState::Closed) else {
                    continue;
                };
                let key = (cell.epoch, cell.leg);
                match self.told.get(&key) {
                    None if self.suspects.insert(key) => {}
                    None => self.tell_end(now, shard, &region, index, &cell),
                    Some(at) if now.mono.since(*at) > Duration::from_secs(30) => {
                        self.told.insert(key, now.mono);
                        let (epoch, leg) = key;
                        self.send(shard, &OwnedCommand::Release { epoch, leg });
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn tell_end(
        &mut self,
        now: Now,
        shard: u8,
        region: &wire::region::Region<'_>,
        index: u32,
        cell: &Cell,
    ) {
        let mut bytes = [0; wire::record::FIELD_BYTES_MAX];
        let record =
            region.record(index).and_then(|slot| wire::record::read(slot, &mut bytes).ok());
        let Some((_, record)) = record.filter(|(_, record)| record.call == cell.call) else {
            return;
        };
        let summary = Summary {
            epoch: cell.epoch,
            leg: cell.leg,
            call: cell.call,
            parent: record.parent,
            account: cell.account,
            direction: record.direction,
            from: record.from,
            to: record.to,
            remote: record.remote,
            call_id: record.call_id,
            created: record.created,
            answered: record.answered,
            ended: cell.ended,
            code: record.code,
            cause: record.cause,
            by: record.by,
            media: None,
            due_ms: 0,
            usage: cell.usage.iter().copied().collect(),
        };
        self.take(now, shard, &Event::Ended(summary));
    }

    fn outputs(&mut self, now: Now, trace: Trace, faults: &mut Vec<String>) -> bool {
        let mut commands = Vec::new();
        loop {
            let Some(output) = self.director.as_mut().and_then(Director::poll_output) else {
                break;
            };
            match output {
                Output::Store(write) => {
                    if self.refuses {
                        self.refused_once = true;
                        trace.line(now.mono, || format!("the journal refuses {:?}", write.id));
                        if let Some(id) = write.id {
                            let refused = Err("no space left on device".to_owned());
                            self.with(|director| director.handle_stored(now, id, refused));
                        }
                    } else {
                        self.write(&write, faults);
                    }
                }
                Output::Command { shard, command } => {
                    if let OwnedCommand::Reject { call, .. } | OwnedCommand::PassOn { call, .. } =
                        command
                    {
                        self.rejected.insert(call);
                    }
                    commands.push((shard, command));
                }
                Output::Http(request) => {
                    trace.line(now.mono, || {
                        format!("asks {} about {} {:?}", request.url, request.call, request.kind)
                    });
                    self.web.request(now, &request, faults);
                }
                Output::Resolve(resolve) => {
                    let at = now.mono + Duration::from_millis(20);
                    let targets = Vec::new();
                    self.resolves.push((at, Resolved { id: resolve.id, targets }));
                }
                Output::ApiReply { id, result } => self.replies.push((id, result)),
                Output::Notice(notice) => {
                    trace.line(now.mono, || format!("notices {}", notice.message));
                    self.notices.push(notice);
                }
            }
        }
        let commanded = !commands.is_empty();
        for (shard, command) in commands {
            trace.line(now.mono, || format!("commands shard {shard}: {command:?}"));
            self.send(shard, &command);
        }
        commanded
    }

    fn send(&mut self, shard: u8, command: &OwnedCommand) {
        if let OwnedCommand::Release { leg, .. } = command
            && self.canary == Canary::KeepsALeg
            && *self.kept.get_or_insert(*leg) == *leg
        {
            return;
        }
        let bytes = crate::control::encode(&command.view());
        let ends = &mut self.ends[usize::from(shard)];
        ends.commands.push(&bytes).unwrap_or_else(|_| panic!("a full commands ring"));
        ends.commands.publish();
    }

    /// Out of the process's hands at once, durable later.
    fn write(&mut self, write: &StoreWrite, faults: &mut Vec<String>) {
        self.ledger.apply(&write.records, faults);
        if self.canary == Canary::BillsTwice && !self.canary_done {
            for record in &write.records {
                if let model::port::Record::Usage(row) = record
                    && row.micros > 0
                {
                    self.canary_done = true;
                    let mut row = row.clone();
                    row.key.segment += 5;
                    self.ledger.apply(&[model::port::Record::Usage(row)], faults);
                }
            }
        }
        self.fresh.extend(write.id);
        self.written = true;
    }

    /// What was read and written up to here becomes durable together.
    fn mark(&mut self, now: Now) {
        // What led to a refused write must stay in the rings.
        if self.refuses {
            return;
        }
        let positions: Vec<u64> = self.ends.iter().map(|ends| ends.events.position()).collect();
        let moved = self.syncs.back().map_or(self.written, |(_, _, last)| *last != positions);
        if !moved && self.fresh.is_empty() && !self.written {
            return;
        }
        self.written = false;
        let most = u64::try_from(self.sync_most.as_micros()).unwrap_or(u64::MAX);
        let wait = SYNC + Duration::from_micros(self.random.below(most));
        // Syncs are in order: a later one is never durable first.
        let at = self.syncs.back().map_or(Mono(0), |(at, ..)| *at).max(now.mono + wait);
        self.syncs.push_back((at, core::mem::take(&mut self.fresh), positions));
    }

    fn synced(&mut self, now: Now) {
        while self.syncs.front().is_some_and(|(at, ..)| *at <= now.mono) {
            let Some((_, ids, positions)) = self.syncs.pop_front() else { return };
            for (ends, position) in self.ends.iter_mut().zip(positions) {
                ends.events.release(position);
            }
            for id in ids {
                self.with(|director| director.handle_stored(now, id, Ok(())));
            }
        }
    }
}

/// Legs whose cell is open, as the daemon reads them at start.
fn standing(plane: &Plane) -> Vec<Standing> {
    let mut standing = Vec::new();
    let mut bytes = [0; wire::record::FIELD_BYTES_MAX];
    for regions in &plane.regions {
        let region = regions.dataplane();
        for index in 0..region.sizes().legs {
            let cell = region.cell(index).and_then(Cell::read);
            let Some(cell) = cell.filter(|cell| cell.state == CellState::Open) else { continue };
            let record = region.record(index);
            let record = record.and_then(|slot| wire::record::read(slot, &mut bytes).ok());
            let record = record.filter(|(_, record)| record.call == cell.call);
            let answered = record.map_or(base::Wall(0), |(_, record)| record.answered);
            let Cell { call, leg, epoch, .. } = cell;
            standing.push(Standing { call, leg, epoch, answered });
        }
    }
    standing
}

impl Control for Directed {
    fn run(&mut self, now: Now, plane: &Plane, trace: Trace, faults: &mut Vec<String>) -> bool {
        if self.director.is_none() {
            return false;
        }
        self.synced(now);
        for call in core::mem::take(&mut self.api) {
            self.with(|director| director.handle_api(now, call));
        }
        for reply in self.web.arrived(now.mono) {
            trace.line(now.mono, || {
                format!("answered {:?}", reply.result.as_ref().map(|a| a.status))
            });
            self.with(|director| director.handle_http(now, reply));
        }
        let due = |(at, _): &(Mono, Resolved)| *at <= now.mono;
        while let Some(at) = self.resolves.iter().position(due) {
            let (_, resolved) = self.resolves.remove(at);
            self.with(|director| director.handle_resolved(now, resolved));
        }
        self.read_events(now, trace, faults);
        if self.director.as_ref().is_some_and(|director| director.deadline() <= now.mono) {
            self.with(|director| director.handle_tick(now));
        }
        if now.mono >= self.sweep_at {
            self.sweep_at = now.mono + SWEEP;
            self.sweep(now, plane);
        }
        let commanded = self.outputs(now, trace, faults);
        self.mark(now);
        commanded
    }

    fn deadline(&self) -> Mono {
        let Some(director) = &self.director else { return Mono::NEVER };
        let sync = self.syncs.front().map_or(Mono::NEVER, |(at, ..)| *at);
        let resolve = self.resolves.iter().map(|(at, _)| *at).min().unwrap_or(Mono::NEVER);
        director.deadline().min(sync).min(resolve).min(self.web.deadline()).min(self.sweep_at)
    }

    fn plane_restarted(&mut self, _plane: &Plane) {}

    fn any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl std::fmt::Debug for Directed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directed").field("lives", &self.lives).finish_non_exhaustive()
    }
}
