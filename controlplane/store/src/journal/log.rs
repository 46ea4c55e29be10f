//! The writing half of the journal as a value over a medium: frames in, segments out. No thread
//! here; [`super::Journal`] pairs it with the one that syncs.

use std::io;
use std::sync::Arc;

use super::medium::Medium;
use super::segment::{self, Head, Segment};

/// A record's number in the journal, from 1.
pub type Position = u64;

/// What was found at opening.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Every whole record that was not deleted, in order.
    pub records: Vec<(Position, Vec<u8>)>,
    /// Bytes at the ends of segments that are no whole record: written, never acknowledged.
    pub torn_bytes: usize,
    /// What lies between whole records and is none: no power cut alone leaves that.
    pub damage: Vec<Damage>,
    /// The highest position that is known to have been durable.
    pub durable: Position,
}

/// A place where a segment is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub segment: u64,
    /// In the segment's file.
    pub at: usize,
    pub bytes: usize,
    /// The first position that is gone there.
    pub first: Position,
    /// How many are gone; 0 if only a head is damaged, or nobody knows.
    pub records: u64,
    /// The segment's bytes are kept for whoever wants to look.
    pub kept: bool,
}

impl Replay {
    /// Records that were acknowledged, that the store has not (it has everything up to
    /// `committed`), and that are not here either.
    #[must_use]
    pub fn missing(&self, committed: Position) -> u64 {
        let wanted = self.durable.saturating_sub(committed);
        let there = self.records.iter().map(|(position, _)| *position);
        let there = there.filter(|position| *position > committed && *position <= self.durable);
        wanted.saturating_sub(there.count() as u64)
    }

    fn take(&mut self, number: u64, segment: &Segment<'_>, kept: bool) {
        self.torn_bytes += segment.torn_bytes;
        self.durable = self.durable.max(segment.durable);
        self.damage.extend(segment.holes.iter().map(|hole| Damage {
            segment: number,
            at: hole.at,
            bytes: hole.bytes,
            first: hole.gone.0,
            records: hole.gone.1 - hole.gone.0,
            kept,
        }));
        for (position, record) in &segment.records {
            if self.records.last().is_none_or(|(last, _)| last < position) {
                self.records.push((*position, record.to_vec()));
            }
        }
    }
}

/// Segments and the position that comes next.
#[derive(Debug)]
pub(super) struct Log<M> {
    medium: Arc<M>,
    segment_bytes_max: usize,
    salt: u64,
    /// Segments that exist: number and first position. The last one is written.
    segments: Vec<(u64, Position)>,
    next: Position,
    /// Bytes in the segment being written.
    written: usize,
    /// Frames that are not written yet, and the position of the first.
    batch: Vec<u8>,
    batch_first: Position,
    /// Nothing can be appended to the segment any more: a write to it failed, and nobody knows what
    /// its end looks like, or there is none yet behind one that is full.
    ended: bool,
}

impl<M: Medium> Log<M> {
    /// Reads what is there, a segment at a time, and starts a new one behind it: a torn tail is
    /// never written to. `salt`: a random number, for a journal that has none yet.
    pub(super) fn open(
        medium: Arc<M>,
        segment_bytes_max: usize,
        salt: u64,
    ) -> io::Result<(Self, Replay)> {
        let found = medium.segments()?;
        let mut salt_found = None;
        for number in found.iter().rev() {
            salt_found = segment::head_of(&medium.read(*number)?).map(|head| head.salt);
            if salt_found.is_some() {
                break;
            }
        }
        let mut replay = Replay::default();
        let mut segments = Vec::new();
        let (mut next, mut number) = (1, 0);
        for found in found {
            number = found;
            let bytes = medium.read(found)?;
            let old = segment::version_1::read(&bytes);
            let mut segment = old.unwrap_or_else(|| segment::read(&bytes, salt_found));
            if segment.head.is_none() && segment.records.is_empty() {
                judge_headless(&mut segment, &bytes);
            }
            let kept = !segment.holes.is_empty() && keep_aside(&*medium, found);
            replay.take(found, &segment, kept);
            next = segment.head.map_or(next, |head| head.first.max(next));
            let Some((first, _)) = segment.records.first() else {
                medium.remove(found)?;
                continue;
            };
            segments.push((found, *first));
            next = segment.records.last().map_or(next, |(last, _)| next.max(last + 1));
        }
        // What was durable once has its position for ever.
        next = next.max(replay.durable + 1);
        let salt = salt_found.unwrap_or(salt);
        let mut log = Self {
            medium,
            segment_bytes_max,
            salt,
            segments,
            next,
            written: 0,
            batch: Vec::new(),
            batch_first: next,
            ended: false,
        };
        log.start_segment(number + 1, next - 1)?;
        log.medium.sync(number + 1)?;
        Ok((log, replay))
    }

    /// Takes a record; [`Log::flush`] writes it. `durable`: how far what was taken is durable now.
    pub(super) fn append(&mut self, record: &[u8], durable: Position) -> Position {
        if self.batch.is_empty() {
            self.batch_first = self.next;
        }
        segment::frame(self.salt, self.next, durable, record, &mut self.batch);
        self.next += 1;
        self.next - 1
    }

    /// Writes what was taken. Returns the segment it is in and the last position, for
    /// [`Medium::sync`]: durable is what every segment up to this one was synced for.
    ///
    /// After an error nothing of it counts as written, and it may be called again: the same records
    /// go into a new segment. What came into the old one is behind its last whole frame, or there
    /// twice with the same positions.
    pub(super) fn flush(&mut self, durable: Position) -> io::Result<(u64, Position)> {
        let is_fresh = self.ended;
        if is_fresh {
            self.start_segment(self.number() + 1, durable)?;
        }
        let number = self.number();
        if let Err(error) = self.medium.append(number, &self.batch) {
            self.ended = true;
            // One that was made for this attempt goes with it: a disk that is full for hours is not
            // filled with attempts. Nobody else has heard of it yet.
            if is_fresh {
                let _ = self.medium.remove(number);
                self.segments.pop();
            }
            return Err(error);
        }
        self.written += self.batch.len();
        self.batch.clear();
        self.batch_first = self.next;
        if self.written >= self.segment_bytes_max {
            // These records are written; if there is no room for the next segment, others wait.
            self.ended = self.start_segment(number + 1, durable).is_err();
        }
        Ok((self.number(), self.next - 1))
    }

    /// The segments whose records are all at or before `position`, for [`Medium::remove`]; the one
    /// being written stays.
    pub(super) fn release(&mut self, position: Position) -> Vec<u64> {
        let following = self.segments.iter().skip(1).map(|(_, first)| *first);
        let count = following.take_while(|first| *first <= position.saturating_add(1)).count();
        self.segments.drain(..count).map(|(number, _)| number).collect()
    }

    /// Bytes that are taken and not written.
    pub(super) fn taken_bytes(&self) -> usize {
        self.batch.len()
    }

    pub(super) fn next(&self) -> Position {
        self.next
    }

    pub(super) fn number(&self) -> u64 {
        self.segments.last().map_or(0, |(number, _)| *number)
    }

    fn start_segment(&mut self, number: u64, durable: Position) -> io::Result<()> {
        let first = self.batch_first;
        let head = Head { first, durable, salt: self.salt };
        let made = self.medium.create(number, self.segment_bytes_max as u64);
        if let Err(error) = made.and_then(|()| self.medium.append(number, &segment::heads(head))) {
            // What was made of it is in the way of the next attempt.
            let _ = self.medium.remove(number);
            return Err(error);
        }
        self.segments.push((number, first));
        self.written = segment::HEADS_BYTES;
        self.ended = false;
        Ok(())
    }
}

/// A segment without head and records was being made when the power went. One that is longer than
/// its heads was not.
fn judge_headless(segment: &mut Segment<'_>, bytes: &[u8]) {
    if bytes.len() > segment::HEADS_BYTES && bytes.iter().any(|byte| *byte != 0) {
        segment.torn_bytes = 0;
        segment.holes.push(segment::Hole { at: 0, bytes: bytes.len(), gone: (0, 0) });
    }
}

fn keep_aside(medium: &impl Medium, number: u64) -> bool {
    medium.keep_aside(number).unwrap_or_else(|error| {
        tracing::error!(segment = number, %error, "a damaged segment cannot be kept aside");
        false
    })
}
