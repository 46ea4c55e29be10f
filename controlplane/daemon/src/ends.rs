//! Our ends of one shard's two rings, and what is remembered of its legs.
//!
//! ```text
//!   events ring:   pop ... pop | mark(journal position, ring position) ... advance(durable) -> released
//!   commands ring: push -> full? wait here in order, for at most PATIENCE, then the call is told as unknown
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use base::{CallId, LegId, Mono};
use model::port::OwnedCommand;
use store::Position;
use wire::ring::{Consumer, Corrupt, Producer, RECORD_BYTES_MAX};
use wire::{Cell, CellState, Command};

use crate::link::Memory;

/// How long a command waits for room in the ring.
const PATIENCE: Duration = Duration::from_secs(5);
/// Commands that wait; beyond, the oldest fails.
const OVERFLOW_MAX: usize = 16_384;
/// How long after a leg's end was handed to the director its cell may still be closed before the
/// release is sent again.
const RELEASE_AGAIN: Duration = Duration::from_secs(30);
/// Cells looked at in one sweep.
const SWEEP_MAX: u32 = 65_536;

/// One shard.
#[derive(Debug)]
pub struct Ends {
    pub memory: Memory,
    consumer: Consumer<'static>,
    producer: Producer<'static>,
    waiting: VecDeque<(Mono, Box<[u8]>, CallId)>,
    marks: VecDeque<(Position, u64)>,
    marked: u64,
    legs: Vec<LegSeen>,
    swept: u32,
    scratch: Vec<u8>,
}

/// What is known of a leg slot beyond its cell.
#[derive(Clone, Copy, Debug)]
struct LegSeen {
    leg: LegId,
    epoch: u32,
    /// When its end was handed to the director, and the last write that followed from it.
    told: Option<(Mono, Position)>,
}

const UNSEEN: LegSeen = LegSeen { leg: LegId::NONE, epoch: 0, told: None };

/// What a sweep found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Slots of legs whose end nobody told.
    pub untold: Vec<u32>,
    /// Legs whose release was lost.
    pub unreleased: Vec<(u32, LegId)>,
}

impl Ends {
    #[must_use]
    pub fn join(memory: Memory) -> Self {
        let consumer = Consumer::join(memory.theirs.slots(), memory.ours.cursors());
        let producer = Producer::join(memory.ours.slots(), memory.theirs.cursors());
        let slots = usize::try_from(memory.theirs.sizes().legs).unwrap_or(0);
        let marked = consumer.position();
        Self {
            memory,
            consumer,
            producer,
            waiting: VecDeque::new(),
            marks: VecDeque::new(),
            marked,
            legs: vec![UNSEEN; slots],
            swept: 0,
            scratch: vec![0; RECORD_BYTES_MAX],
        }
    }

    /// The next event's bytes.
    ///
    /// # Errors
    /// [`Corrupt`]; [`Ends::skip`] goes on behind it.
    pub fn pop<'b>(&mut self, into: &'b mut [u8]) -> Result<Option<&'b [u8]>, Corrupt> {
        self.consumer.pop(into)
    }

    /// Gives up on what is published; the sweep finds the ends among it.
    pub fn skip(&mut self) -> u64 {
        self.consumer.skip_to_head()
    }

    /// What was read so far follows from writes up to `position`.
    pub fn mark(&mut self, position: Position) {
        let read = self.consumer.position();
        if read != self.marked {
            self.marked = read;
            match self.marks.back_mut() {
                Some(last) if last.0 == position => last.1 = read,
                _ => self.marks.push_back((position, read)),
            }
        }
    }

    /// Writes up to `durable` are on the disk: the shard may overwrite what led to them.
    pub fn advance(&mut self, durable: Position) {
        while let Some((_, read)) = self.marks.pop_front_if(|(position, _)| *position <= durable) {
            self.consumer.release(read);
        }
    }

    /// Sends a command, now or when there is room. Calls whose commands had to be given up are
    /// added to `failed`.
    pub fn send(&mut self, now: Mono, command: &OwnedCommand, failed: &mut Vec<CallId>) {
        let call = call_of(command);
        match wire::encode(&command.view(), &mut self.scratch) {
            Ok(len) => self.push(now, len, call, failed),
            Err(error) => {
                tracing::error!(%call, %error, "a command does not fit the wire");
                failed.push(call);
            }
        }
    }

    /// No new calls, or new calls again.
    pub fn drain(&mut self, now: Mono, on: bool) {
        if let Ok(len) = wire::encode(&Command::Drain { on }, &mut self.scratch) {
            self.push(now, len, CallId::NONE, &mut Vec::new());
        }
    }

    fn push(&mut self, now: Mono, len: usize, call: CallId, failed: &mut Vec<CallId>) {
        if self.waiting.is_empty() && self.producer.push(&self.scratch[..len]).is_ok() {
            return;
        }
        if self.waiting.len() >= OVERFLOW_MAX {
            failed.extend(self.waiting.pop_front().map(|(_, _, call)| call));
        }
        self.waiting.push_back((now + PATIENCE, self.scratch[..len].into(), call));
    }

    /// Sends what waits as far as there is room, gives up what waited too long, shows all to the
    /// shard and rings if it sleeps.
    pub fn publish(&mut self, now: Mono, failed: &mut Vec<CallId>) {
        while let Some((until, bytes, call)) = self.waiting.front() {
            if self.producer.push(bytes).is_err() {
                if *until > now {
                    break;
                }
                failed.push(*call);
            }
            self.waiting.pop_front();
        }
        if self.producer.publish() {
            self.memory.bell.ring();
        }
    }

    /// Commands that wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The leg's end was handed to the director; `position` is the last write that followed.
    pub fn told(&mut self, now: Mono, epoch: u32, leg: LegId, position: Position) {
        if let Some(seen) = self.seen(leg.index()) {
            *seen = LegSeen { leg, epoch, told: Some((now, position)) };
        }
    }

    /// Looks at cells for ends that nobody told: closed at two looks in a row, with every event
    /// read. A cell is closed before its event is published, so that one look is not enough. Writes
    /// up to `durable` are on the disk: the release of a leg is sent again only then.
    pub fn sweep(&mut self, now: Mono, durable: Position) -> Found {
        let mut found = Found::default();
        let legs = self.memory.theirs.sizes().legs;
        if legs == 0 || !self.consumer.is_empty() {
            return found;
        }
        for _ in 0..legs.min(SWEEP_MAX) {
            let index = self.swept;
            self.swept = (self.swept + 1) % legs;
            let cell = self.memory.theirs.cell(index).and_then(Cell::read);
            let Some(cell) = cell.filter(|cell| cell.state == CellState::Closed) else { continue };
            let Some(seen) = self.seen(index) else { continue };
            if (seen.leg, seen.epoch) != (cell.leg, cell.epoch) {
                *seen = LegSeen { leg: cell.leg, epoch: cell.epoch, told: None };
                continue;
            }
            match seen.told {
                None => found.untold.push(index),
                Some((at, position)) if now.since(at) > RELEASE_AGAIN && position <= durable => {
                    seen.told = Some((now, position));
                    found.unreleased.push((cell.epoch, cell.leg));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn seen(&mut self, index: u32) -> Option<&mut LegSeen> {
        self.legs.get_mut(usize::try_from(index).ok()?)
    }

    /// False if something is there to be read: do not sleep then.
    pub fn prepare_sleep(&mut self) -> bool {
        self.consumer.prepare_sleep()
    }

    pub fn wake(&mut self) {
        self.consumer.wake();
    }

    /// Another controlplane has taken our region over.
    #[must_use]
    pub fn is_succeeded(&self) -> bool {
        self.memory.ours.epoch() != self.memory.epoch
    }
}

/// `NONE` for commands that are about no call.
fn call_of(command: &OwnedCommand) -> CallId {
    match command {
        OwnedCommand::Accept { call, .. }
        | OwnedCommand::Answer { call, .. }
        | OwnedCommand::Reject { call, .. }
        | OwnedCommand::Hangup { call, .. }
        | OwnedCommand::Join { call, .. }
        | OwnedCommand::Part { call }
        | OwnedCommand::Ringback { call, .. }
        | OwnedCommand::Limit { call, .. }
        | OwnedCommand::Referred { call, .. }
        | OwnedCommand::Take { call }
        | OwnedCommand::GiveBack { call }
        | OwnedCommand::TakePlace { call }
        | OwnedCommand::Refer { call, .. }
        | OwnedCommand::Cancel { call, .. }
        | OwnedCommand::PassOn { call, .. } => *call,
        OwnedCommand::Originate(originate) => originate.call,
        OwnedCommand::Release { .. } | OwnedCommand::Verdict { .. } => CallId::NONE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use wire::region::{Region, Side, Sizes};

    use super::*;
    use crate::bell::Bell;

    fn ends() -> (Ends, Consumer<'static>) {
        let sizes = Sizes { legs: 2, event_words: 1 << 13, command_words: 1 << 13 };
        let region = |side| {
            let words = Vec::leak((0..sizes.words(side)).map(|_| AtomicU64::new(0)).collect());
            Region::create(words, side, sizes, 1)
        };
        let (theirs, ours) = (region(Side::Dataplane), region(Side::Controlplane));
        let commands = Consumer::join(ours.slots(), theirs.cursors());
        let memory = Memory { theirs, ours, epoch: 1, bell: Bell::new().unwrap() };
        (Ends::join(memory), commands)
    }

    fn taken(commands: &mut Consumer<'static>) -> Vec<CallId> {
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        let mut calls = Vec::new();
        while let Some(bytes) = commands.pop(&mut bytes).unwrap() {
            if let Ok(Command::Reject { call, .. }) = wire::decode(bytes) {
                calls.push(call);
            }
        }
        commands.release(commands.position());
        calls
    }

    fn reject(call: u128) -> OwnedCommand {
        OwnedCommand::Reject {
            call: CallId(call),
            code: 500,
            reason: "x".repeat(4_000),
            retry_after: 0,
            cause: wire::event::Cause::Internal,
        }
    }

    #[test]
    fn commands_wait_for_room_in_order_and_fail_when_it_took_too_long() {
        let (mut ends, mut commands) = ends();
        let (now, mut failed) = (Mono(1), Vec::new());
        for call in 1..=40 {
            ends.send(now, &reject(call), &mut failed);
        }
        ends.publish(now, &mut failed);
        assert!(ends.waiting() > 0 && failed.is_empty());
        let mut calls = taken(&mut commands);
        while ends.waiting() > 0 {
            ends.publish(now, &mut failed);
            calls.extend(taken(&mut commands));
        }
        assert_eq!(calls, (1..=40).map(CallId).collect::<Vec<_>>());
        for call in 41..=80 {
            ends.send(now, &reject(call), &mut failed);
        }
        let waiting = ends.waiting();
        ends.publish(now + PATIENCE, &mut failed);
        assert_eq!((ends.waiting(), failed.len()), (0, waiting));
        assert_eq!(failed.last(), Some(&CallId(80)));
    }
}
