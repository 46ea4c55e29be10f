//! The journal as a value over a medium: batches in, one sync per batch, segments out. No thread here;
//! [`super::Journal`] runs it on one.

use std::io;

use super::medium::Medium;
use super::segment;

/// A record's number in the journal, from 1.
pub type Position = u64;

/// What was found at opening.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Every whole record that was not deleted, in order.
    pub records: Vec<(Position, Vec<u8>)>,
    /// Bytes cut off the newest segment: written, never acknowledged.
    pub torn_bytes: usize,
    /// Records that were acknowledged and are not there any more: damage to the disk, never a power cut.
    pub lost: u64,
}

/// Segments and the position that comes next.
#[derive(Debug)]
pub(super) struct Log<M> {
    medium: M,
    segment_bytes_max: usize,
    /// Segments that exist: number and first position. The last one is written.
    segments: Vec<(u64, Position)>,
    next: Position,
    written: usize,
    batch: Vec<u8>,
}

impl<M: Medium> Log<M> {
    /// Reads what is there and starts a new segment behind it: a torn tail is never written to.
    pub(super) fn open(mut medium: M, segment_bytes_max: usize) -> io::Result<(Self, Replay)> {
        let mut replay = Replay::default();
        let mut segments = Vec::new();
        let (mut next, mut number) = (1, 0);
        for (found, bytes) in medium.load()? {
            // Behind a neighbour there can be no hole. Behind a gap in the numbers there can: a removed
            // segment may come back with the power, and its neighbour not.
            let adjacent = number > 0 && found == number + 1;
            number = found;
            let Some(segment) = segment::read(&bytes) else {
                // Its head never became whole, so nothing in it was acknowledged.
                replay.torn_bytes += bytes.len();
                medium.remove(found)?;
                continue;
            };
            if segment.first > next && adjacent {
                replay.lost += segment.first - next;
            }
            replay.torn_bytes += segment.torn_bytes;
            next = segment.first.max(next);
            if segment.records.is_empty() {
                medium.remove(found)?;
                continue;
            }
            let mut position = segment.first;
            for record in segment.records {
                // A segment that came back after its removal overlaps nothing: positions only grow.
                if position >= next {
                    replay.records.push((position, record.to_vec()));
                    next = position + 1;
                }
                position += 1;
            }
            segments.push((found, segment.first));
        }
        let mut log =
            Self { medium, segment_bytes_max, segments, next, written: 0, batch: Vec::new() };
        log.start_segment(number + 1)?;
        Ok((log, replay))
    }

    /// Appends the records and syncs once. Returns the position up to which all is durable.
    pub(super) fn commit<'r>(
        &mut self,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> io::Result<Position> {
        if self.written >= self.segment_bytes_max {
            let number = self.segments.last().map_or(0, |(number, _)| *number);
            self.start_segment(number + 1)?;
        }
        self.batch.clear();
        for record in records {
            segment::frame(self.next, record, &mut self.batch);
            self.next += 1;
        }
        self.medium.append(&self.batch)?;
        self.medium.sync()?;
        self.written += self.batch.len();
        Ok(self.next - 1)
    }

    /// Deletes the segments whose records are all at or before `position`; the one being written stays.
    pub(super) fn release(&mut self, position: Position) -> io::Result<()> {
        while let [(number, _), (_, following), ..] = self.segments[..] {
            if following > position.saturating_add(1) {
                break;
            }
            self.medium.remove(number)?;
            self.segments.remove(0);
        }
        Ok(())
    }

    pub(super) fn next(&self) -> Position {
        self.next
    }

    fn start_segment(&mut self, number: u64) -> io::Result<()> {
        self.medium.create(number)?;
        self.medium.append(&segment::head(self.next))?;
        self.medium.sync()?;
        self.segments.push((number, self.next));
        self.written = segment::HEAD_BYTES;
        Ok(())
    }
}
