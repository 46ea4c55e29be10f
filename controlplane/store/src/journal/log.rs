//! The writing half of the journal as a value over a medium: frames in, segments out. No thread
//! here; [`super::Journal`] pairs it with the one that syncs.

use std::io;
use std::sync::Arc;

use super::medium::Medium;
use super::segment;

/// A record's number in the journal, from 1.
pub type Position = u64;

/// What was found at opening.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Every whole record that was not deleted, in order.
    pub records: Vec<(Position, Vec<u8>)>,
    /// Bytes that are no whole record: written, never acknowledged.
    pub torn_bytes: usize,
    /// Records that were acknowledged and are not there any more: damage to the disk, never a power
    /// cut.
    pub lost: u64,
}

/// Segments and the position that comes next.
#[derive(Debug)]
pub(super) struct Log<M> {
    medium: Arc<M>,
    segment_bytes_max: usize,
    /// Segments that exist: number and first position. The last one is written.
    segments: Vec<(u64, Position)>,
    next: Position,
    /// Bytes in the segment being written.
    written: usize,
    /// Frames that are not written yet.
    batch: Vec<u8>,
}

impl<M: Medium> Log<M> {
    /// Reads what is there and starts a new segment behind it: a torn tail is never written to.
    pub(super) fn open(medium: Arc<M>, segment_bytes_max: usize) -> io::Result<(Self, Replay)> {
        let mut replay = Replay::default();
        let mut segments = Vec::new();
        let (mut next, mut number, mut previous) = (1, 0, None);
        for (found, bytes) in medium.load()? {
            // Behind a neighbour there can be no hole. Behind a gap in the numbers there can: a
            // removed segment may come back with the power, and its neighbour not.
            let adjacent = previous.is_some_and(|previous| found == previous + 1);
            number = found;
            let Some(segment) = segment::read(&bytes) else {
                // Its head never became whole, so nothing in it was acknowledged.
                replay.torn_bytes += bytes.len();
                medium.remove(found)?;
                continue;
            };
            previous = Some(found);
            if adjacent {
                replay.lost += (segment.durable + 1).saturating_sub(next);
            }
            replay.torn_bytes += segment.torn_bytes;
            next = segment.first.max(next);
            if segment.records.is_empty() {
                medium.remove(found)?;
                continue;
            }
            let first = segment.first;
            for (position, record) in (first..).zip(segment.records) {
                if position >= next {
                    replay.records.push((position, record.to_vec()));
                    next = position + 1;
                }
            }
            segments.push((found, first));
        }
        let mut log =
            Self { medium, segment_bytes_max, segments, next, written: 0, batch: Vec::new() };
        log.start_segment(number + 1, next - 1)?;
        log.medium.sync(number + 1)?;
        Ok((log, replay))
    }

    /// Takes a record; [`Log::flush`] writes it.
    pub(super) fn append(&mut self, record: &[u8]) -> Position {
        segment::frame(self.next, record, &mut self.batch);
        self.next += 1;
        self.next - 1
    }

    /// Writes what was taken. Returns the segment it is in and the last position, for
    /// [`Medium::sync`]: durable is what every segment up to this one was synced for.
    pub(super) fn flush(&mut self, durable: Position) -> io::Result<(u64, Position)> {
        let number = self.number();
        self.medium.append(number, &self.batch)?;
        self.written += self.batch.len();
        self.batch.clear();
        if self.written >= self.segment_bytes_max {
            self.start_segment(number + 1, durable)?;
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

    pub(super) fn next(&self) -> Position {
        self.next
    }

    pub(super) fn number(&self) -> u64 {
        self.segments.last().map_or(0, |(number, _)| *number)
    }

    fn start_segment(&mut self, number: u64, durable: Position) -> io::Result<()> {
        self.medium.create(number)?;
        self.medium.append(number, &segment::head(self.next, durable))?;
        self.segments.push((number, self.next));
        self.written = segment::HEAD_BYTES;
        Ok(())
    }
}
