//! The runtime: the thread that owns the director. A turn takes what was told, lets the director
//! decide, and lets out what it decided in the order that keeps a successor right: writes first,
//! then what depends on them.
//!
//! ```text
//!   inbox, rings, time -> director -> outputs
//!     StoreWrite          -> journal (appended), at the end of the turn flushed
//!     Command, Http, ..   -> after the flush
//!   journal durable       -> handle_stored, ring cursors released
//! ```
//!
//! While the journal cannot be written, nothing leaves and nothing is decided: see [`Admission`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{CallId, Mono, Now, ShardId};
use director::Director;
use model::port::{ApiError, Output, OwnedCommand};
use store::journal::Medium;
use store::{Folder, Position};
use wire::Event;
use wire::ring::RECORD_BYTES_MAX;

use crate::admission::Admission;
use crate::bell::Bell;
use crate::directory::Directory;
use crate::ends::Ends;
use crate::facts::Facts;
use crate::inbox::Input;
use crate::link::{Attachment, Peer};
use crate::metrics::Gauges;
use crate::outside::Outside;
use crate::publish::{self, Publisher};
use crate::rows::Rows;
use crate::sweep;

/// Events taken from one shard in one turn.
const EVENTS_PER_TURN: usize = 256;
/// Between looks at the cells.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Between attempts to write what could not be written.
const WRITE_AGAIN: Duration = Duration::from_millis(250);
/// Between attempts to push commands into a full ring.
const RETRY_EVERY: Duration = Duration::from_millis(1);

/// Makes the director when the first dataplane is there: what stands in its shards is part of its
/// book.
pub type Start = Box<dyn FnMut(Now, &Attachment) -> anyhow::Result<(Director, Publisher)> + Send>;

/// The director and everything it is connected to.
pub struct Runtime<M: Medium = Folder> {
    start: Start,
    director: Option<Director>,
    facts: Facts<M>,
    known: Known,
    gauges: Arc<Gauges>,
    outside: Box<dyn Outside>,
    shards: Vec<Ends>,
    /// Rung by the shards; none until the first attachment.
    bell: Option<Bell>,
    commands: Vec<(ShardId, OwnedCommand)>,
    effects: Vec<Output>,
    /// Calls whose commands were given up.
    failed: Vec<CallId>,
    publisher: Publisher,
    sweep_at: Mono,
    buffer: Vec<u8>,
    /// The dataplane that is (or was last) attached.
    dataplane: Option<Peer>,
    /// What cannot be written down is not let out.
    admission: Admission,
    /// What was told while everything waits.
    postponed: VecDeque<Input>,
    retry_at: Mono,
    /// When requests that wait for others are to go.
    requests_at: Mono,
    /// When the reserve on the disk is looked after.
    reserve_at: Mono,
}

/// What others read while the runtime writes it.
#[derive(Debug)]
pub struct Known {
    pub directory: Arc<Directory>,
    pub rows: Arc<Rows>,
}

/// What a turn says about the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do at once.
    Again,
    /// Nothing to do before this moment, unless woken.
    Sleep(Mono),
    /// The thread ends, and the process with it.
    Exit(Exit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As told.
    Stopped,
    /// Somebody else has joined our regions.
    Succeeded,
    /// To start again is the way on: the dataplane's memory is another one.
    Restart(&'static str),
}

impl<M: Medium> Runtime<M> {
    #[must_use]
    pub fn new(
        start: Start,
        facts: Facts<M>,
        known: Known,
        gauges: Arc<Gauges>,
        outside: Box<dyn Outside>,
    ) -> Self {
        Self {
            start,
            director: None,
            publisher: Publisher::default(),
            facts,
            known,
            gauges,
            outside,
            shards: Vec::new(),
            bell: None,
            commands: Vec::new(),
            effects: Vec::new(),
            failed: Vec::new(),
            sweep_at: Mono(0),
            buffer: vec![0; RECORD_BYTES_MAX],
            dataplane: None,
            admission: Admission::default(),
            postponed: VecDeque::new(),
            retry_at: Mono(0),
            requests_at: Mono::NEVER,
            reserve_at: Mono(0),
        }
    }

    /// One turn.
    pub fn turn(&mut self, now: Now, inputs: VecDeque<Input>) -> Next {
        if self.shards.iter().any(Ends::is_succeeded) {
            return Next::Exit(Exit::Succeeded);
        }
        if let Some(failure) = self.facts.fatal() {
            tracing::error!(failure, "what is on the disk is unknown: a successor shall read it");
            return Next::Exit(Exit::Restart("a sync failed"));
        }
        if self.admission.is_blocked() {
            return self.wait(now, inputs);
        }
        let mut exit = None;
        for input in core::mem::take(&mut self.postponed).into_iter().chain(inputs) {
            exit = self.take(now, input).or(exit);
        }
        let busy = self.think(now);
        if exit == Some(Exit::Stopped) {
            self.take_leave(now);
        }
        self.let_out(now);
        self.requests_at = self.outside.let_go(now.mono, exit.is_some());
        self.settle(now);
        self.admit(now);
        self.publish_gauges(now);
        match exit {
            Some(exit) => Next::Exit(exit),
            None if busy => Next::Again,
            None => Next::Sleep(self.deadline(now.mono)),
        }
    }

    /// A turn while nothing can be written: nothing is decided, so that nothing has to wait but
    /// what was decided already. Events stay in their rings, and with the shards; who asks the API
    /// is told why; the rest is heard later.
    fn wait(&mut self, now: Now, inputs: VecDeque<Input>) -> Next {
        let mut exit = None;
        for input in inputs {
            match input {
                Input::Api(asked) => self.outside.reply(asked.call.id, Err(self.admission.error())),
                Input::Stop => exit = Some(Exit::Stopped),
                Input::Progress => {}
                other => self.postponed.push_back(other),
            }
        }
        if now.mono >= self.retry_at {
            self.retry_at = now.mono + WRITE_AGAIN;
            self.let_out(now);
        }
        self.requests_at = self.outside.let_go(now.mono, exit.is_some());
        self.settle(now);
        self.admit(now);
        self.publish_gauges(now);
        match exit {
            Some(exit) => Next::Exit(exit),
            None if self.admission.is_blocked() => Next::Sleep(self.retry_at.min(self.requests_at)),
            None => Next::Again,
        }
    }

    /// Who is let in follows from what can be written down; the shards are told when that changes.
    fn admit(&mut self, now: Now) {
        if now.mono >= self.reserve_at {
            self.reserve_at = now.mono + SWEEP_EVERY;
            self.facts.keep_reserve();
            self.admission.free_bytes = self.facts.free_bytes().unwrap_or(0);
        }
        if let Some(closed) = self.admission.judge(&self.facts) {
            for ends in &mut self.shards {
                ends.drain(now.mono, closed);
                ends.publish(now.mono, &mut self.failed);
            }
        }
    }

    /// Announces sleep to the shards. False if one of them has told something meanwhile.
    pub fn prepare_sleep(&mut self) -> bool {
        // While everything waits nobody's events are taken.
        self.admission.is_blocked() || self.shards.iter_mut().all(Ends::prepare_sleep)
    }

    pub fn wake(&mut self) {
        self.shards.iter_mut().for_each(Ends::wake);
    }

    /// Rung by the shards for us.
    #[must_use]
    pub fn bell(&self) -> Option<&Bell> {
        self.bell.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// A dataplane was there once.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.director.is_some()
    }

    fn deadline(&self, now: Mono) -> Mono {
        let director = self.director.as_ref().map_or(Mono::NEVER, Director::deadline);
        let waiting = self.shards.iter().any(|ends| ends.waiting() > 0);
        let retry = if waiting { now + RETRY_EVERY } else { Mono::NEVER };
        let next = director.min(self.sweep_at).min(retry);
        next.min(self.publisher.deadline()).min(self.requests_at)
    }

    fn take(&mut self, now: Now, input: Input) -> Option<Exit> {
        match input {
            Input::Http(answer) => self.with(|director| director.handle_http(now, answer)),
            Input::Resolved(it) => self.with(|director| director.handle_resolved(now, it)),
            Input::Api(asked) if self.director.is_none() => {
                self.outside.reply(asked.call.id, Err(not_there()));
            }
            Input::Api(asked) if self.admission.refuses(&asked.call.what) => {
                self.outside.reply(asked.call.id, Err(self.admission.error()));
            }
            Input::Api(asked) => self.with(|director| director.handle_api(now, asked)),
            Input::Progress | Input::Detached => {}
            Input::Attached(attachment) => return self.attach(now, *attachment),
            Input::Stop => return Some(Exit::Stopped),
        }
        None
    }

    /// One mutation, then what it decided is collected.
    fn with(&mut self, change: impl FnOnce(&mut Director)) {
        let Some(director) = &mut self.director else { return };
        change(director);
        while let Some(output) = director.poll_output() {
            match output {
                Output::Store(mut write) => {
                    self.known.rows.learn(&mut write.records);
                    if write.records.is_empty() && write.id.is_none() {
                        continue;
                    }
                    self.known.directory.learn(&write.records);
                    if self.publisher.learn(&write.records) {
                        publish::outdate(&self.shards);
                    }
                    self.facts.write(write);
                }
                Output::Command { shard, command } => self.commands.push((shard, command)),
                other => self.effects.push(other),
            }
        }
    }

    fn attach(&mut self, now: Now, attachment: Attachment) -> Option<Exit> {
        if !attachment.fresh && self.director.is_some() {
            self.dataplane = Some(attachment.peer);
            self.bell = Some(attachment.bell);
            for (ends, memory) in self.shards.iter_mut().zip(attachment.shards) {
                ends.memory.bell = memory.bell;
            }
            // Its events wait in the rings already.
            return None;
        }
        if self.director.is_some() {
            self.close_all(now);
            return Some(Exit::Restart("the dataplane came back with other memory"));
        }
        let (director, publisher) = match (self.start)(now, &attachment) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the director cannot start");
                return Some(Exit::Restart("the director cannot start"));
            }
        };
        self.director = Some(director);
        self.dataplane = Some(attachment.peer);
        self.publisher = publisher;
        self.bell = Some(attachment.bell);
        self.shards = attachment.shards.into_iter().map(Ends::join).collect();
        for ends in &mut self.shards {
            // A predecessor may have shut new calls off.
            ends.drain(now.mono, self.admission.is_closed());
        }
        let regions = self.shards.iter().map(|ends| (ends.memory.theirs, ends.memory.ours));
        self.gauges.attach(regions.collect());
        self.gauges.health.attached();
        // What it decided in restoring.
        self.with(|_| {});
        None
    }

    /// The last turn: every end that was told is booked; so is what a dataplane left behind that is
    /// gone for good (a living one's legs stay open, their real end would come too late to count).
    fn take_leave(&mut self, now: Now) {
        for shard in 0..self.shards.len() {
            while self.read_events(now, shard) {}
        }
        if self.dataplane.as_ref().is_some_and(Peer::has_exited) {
            self.close_all(now);
        }
    }

    /// The old dataplane's memory will not be written any more: every leg in it is over.
    fn close_all(&mut self, now: Now) {
        for shard in 0..self.shards.len() {
            while self.read_events(now, shard) {}
            let left = sweep::left_behind(&self.shards[shard].memory.theirs);
            for index in left {
                self.tell_end(now, shard, index);
            }
        }
    }

    /// True if there may be more at once.
    fn think(&mut self, now: Now) -> bool {
        for (id, result) in self.facts.stored() {
            self.with(|director| director.handle_stored(now, id, result));
        }
        for call in core::mem::take(&mut self.failed) {
            if call != CallId::NONE {
                tracing::warn!(%call, "a command found no room and was given up");
                self.with(|director| director.handle_unsent(now, call));
            }
        }
        let mut busy = false;
        for shard in 0..self.shards.len() {
            busy |= self.read_events(now, shard);
        }
        if self.director.as_ref().is_some_and(|director| director.deadline() <= now.mono) {
            self.with(|director| director.handle_tick(now));
        }
        if now.mono >= self.sweep_at {
            self.sweep_at = now.mono + SWEEP_EVERY;
            self.sweep(now);
        }
        busy
    }

    /// True if the budget ended before the events did.
    fn read_events(&mut self, now: Now, shard: usize) -> bool {
        let mut buffer = core::mem::take(&mut self.buffer);
        let number = ShardId::try_from(shard).unwrap_or(ShardId::MAX);
        let mut more = true;
        let mut says_more = false;
        for read in 0..2 * EVENTS_PER_TURN {
            // Between what was said of an end and that end nothing is written, or let go of.
            if read >= EVENTS_PER_TURN && !says_more {
                break;
            }
            match self.shards[shard].pop(&mut buffer) {
                Ok(None) => {
                    more = false;
                    break;
                }
                Ok(Some(bytes)) => match wire::decode::<Event<'_>>(bytes) {
                    Ok(event) => {
                        self.gauges.event();
                        says_more = matches!(event, Event::Declined { .. });
                        self.with(|director| director.handle_event(now, number, &event));
                        if let Event::Target(news) = &event {
                            let name = self.publisher.name_of(news.group);
                            self.gauges.health.targets.learn(now.mono, number, &name, news);
                        }
                        if let Event::Ended(summary) = &event {
                            let last = self.facts.last();
                            self.shards[shard].told(now.mono, summary.epoch, summary.leg, last);
                        }
                    }
                    Err(error) => {
                        self.gauges.damage();
                        tracing::error!(shard, %error, "an event cannot be read and is skipped");
                    }
                },
                Err(_) => {
                    self.gauges.damage();
                    let words = self.shards[shard].skip();
                    tracing::error!(
                        shard,
                        words,
                        "the events ring is damaged: what was in it is skipped, its cells are swept"
                    );
                }
            }
        }
        self.buffer = buffer;
        more
    }

    fn sweep(&mut self, now: Now) {
        // After a failure nothing is released: the cell is the last witness.
        let durable = self.facts.failure().map_or_else(|| self.facts.durable(), |_| Position::MIN);
        for shard in 0..self.shards.len() {
            let found = self.shards[shard].sweep(now.mono, durable);
            for index in found.untold {
                self.tell_end(now, shard, index);
            }
            let number = ShardId::try_from(shard).unwrap_or(ShardId::MAX);
            for (epoch, leg) in found.unreleased {
                self.commands.push((number, OwnedCommand::Release { epoch, leg }));
            }
        }
    }

    /// Tells the director of an end from the cell and its record alone.
    fn tell_end(&mut self, now: Now, shard: usize, index: u32) {
        let region = self.shards[shard].memory.theirs;
        let number = ShardId::try_from(shard).unwrap_or(ShardId::MAX);
        sweep::with_summary(&region, index, |summary| {
            tracing::info!(call = %summary.call, "a leg's end was found in its cell");
            let event = Event::Ended(summary.clone());
            self.with(|director| director.handle_event(now, number, &event));
            let last = self.facts.last();
            self.shards[shard].told(now.mono, summary.epoch, summary.leg, last);
        });
    }

    /// Writes leave the process first, then everything that may depend on them.
    fn let_out(&mut self, now: Now) {
        if !self.facts.flush() {
            self.retry_at = now.mono + WRITE_AGAIN;
            return;
        }
        self.publisher.publish(now.mono, &self.known.directory, &self.shards);
        self.known.rows.forget_ended();
        for ends in &mut self.shards {
            ends.mark(self.facts.last());
        }
        for (shard, command) in self.commands.drain(..) {
            match self.shards.get_mut(usize::from(shard)) {
                Some(ends) => ends.send(now.mono, &command, &mut self.failed),
                None => tracing::error!(shard, "a command for a shard that is not there"),
            }
        }
        for ends in &mut self.shards {
            ends.publish(now.mono, &mut self.failed);
        }
        for effect in self.effects.drain(..) {
            match effect {
                Output::Http(request) => self.outside.http(now.mono, request),
                Output::Resolve(resolve) => self.outside.resolve(resolve),
                Output::ApiReply { id, result } => self.outside.reply(id, result),
                Output::Notice(notice) => self.outside.notice(notice),
                Output::Store(_) | Output::Command { .. } => {}
            }
        }
    }

    /// What is durable is released, in the rings and in the journal.
    fn settle(&mut self, now: Now) {
        let durable = self.facts.durable();
        let failure = self.facts.failure();
        for ends in &mut self.shards {
            // After a failure writes are refused: what led to them must stay in the ring.
            if failure.is_none() {
                ends.advance(durable);
            }
            ends.memory.ours.pulse().store(now.mono.0, Ordering::Relaxed);
        }
        self.facts.release();
    }

    fn publish_gauges(&self, now: Now) {
        let stats = self.director.as_ref().map(Director::stats).unwrap_or_default();
        let waiting = self.shards.iter().map(Ends::waiting).sum();
        let journal = (self.facts.last(), self.facts.durable(), self.facts.journal_bytes());
        self.gauges.turn(now, stats, journal, waiting);
        self.gauges.health.set(self.admission.found(&self.facts));
    }
}

fn not_there() -> ApiError {
    ApiError {
        status: 503,
        code: 20_503,
        message: "The switch is starting and does not take requests yet".to_owned(),
    }
}

impl<M: Medium> fmt::Debug for Runtime<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
