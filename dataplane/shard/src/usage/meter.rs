//! The meter of a standing leg.

use arrayvec::ArrayVec;
use base::Wall;
use wire::cell::{SEGMENTS_MAX, Service, Usage};
use wire::event::Direction;

use super::Metered;
use crate::cx::Cx;
use crate::leg::Leg;
use crate::media::{Media, Stream};

/// Closed relay segments a leg keeps; a later join goes on in the last of them.
const CLOSED_MAX: usize = 3;

// The SIP micro-service, the closed joins and the open one.
const _: () = assert!(CLOSED_MAX + 2 <= SEGMENTS_MAX);

/// The joins of a leg, for billing.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// When the open segment began; 0 for none. Where it goes on in an older one, so much later
    /// that the whole is as long as both.
    started: Wall,
    /// What the older one had counted: the stream counts on from there.
    count: u64,
    bytes: u64,
    closed: ArrayVec<Usage, CLOSED_MAX>,
}

impl Joins {
    /// A join begins (or goes on).
    /// True if none was going on.
    pub(crate) fn begin(&mut self, now: Wall) -> bool {
        if self.started.0 != 0 {
            return false;
        }
        self.started = now;
        if !self.closed.is_full() {
            return true;
        }
        // No room for another segment: this join is billed as the rest of the last one. The time
        // between them is not, because the start moves up by it.
        if let Some(last) = self.closed.pop() {
            self.started = Wall(now.0.saturating_sub(last.micros()));
            (self.count, self.bytes) = (last.count, last.bytes);
        }
        true
    }

    /// What is counted already in the join that begins.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.count, self.bytes)
    }

    /// The one that goes on; 0 for none.
    fn segment(&self) -> u8 {
        match self.is_open() {
            true => u8::try_from(self.closed.len()).map_or(0, |closed| 1 + closed),
            false => 0,
        }
    }

    /// One is going on.
    pub(super) fn is_open(&self) -> bool {
        self.started.0 != 0
    }

    /// The open segment as it stands at `last`; None if nothing is relayed for money.
    fn open(&self, stream: Option<&Stream>, last: Wall, open: bool) -> Option<Usage> {
        (self.started.0 != 0).then(|| Usage {
            service: Service::MediaRelay,
            segment: u16::from(self.segment()),
            open,
            start: self.started,
            last: last.max(self.started),
            count: stream.map_or(self.count, |stream| stream.relayed),
            bytes: stream.map_or(self.bytes, |stream| stream.relayed_bytes),
        })
    }

    /// The join is over.
    fn close(&mut self, usage: Usage) {
        let room = self.closed.try_push(usage).is_ok();
        assert!(room, "begin() leaves room for the segment that it opens");
        (self.started, self.count, self.bytes) = (Wall(0), 0, 0);
    }

    pub(super) fn closed(&self) -> &[Usage] {
        &self.closed
    }
}

/// The signalling micro-service of a leg, as it stands at `last`.
pub(super) fn signalling(leg: &Leg, last: Wall, open: bool) -> Usage {
    let service = service_of(leg.direction());
    Usage { service, segment: 0, open, start: leg.story.answered, last, count: 1, bytes: 0 }
}

fn service_of(direction: Direction) -> Service {
    match direction {
        Direction::Inbound => Service::SipIngress,
        Direction::Outbound => Service::SipEgress,
    }
}

/// What the meter's round writes of a leg; None for one that is not up.
pub(crate) fn metered(leg: &Leg) -> Option<Metered> {
    let is_metered = leg.is_up() && leg.story.answered.0 != 0;
    is_metered.then(|| Metered { offset: leg.story.offset, segment: leg.joins.segment() })
}

/// Writes a standing leg's usage so far.
pub(crate) fn refresh(cx: &Cx<'_, '_>, leg: &Leg, media: &Media) {
    let now = cx.now.wall;
    if leg.story.answered.0 == 0 {
        return;
    }
    let Some(cell) = cx.core.cell(leg.id) else { return };
    cell.set_usage(&signalling(leg, now, true));
    if let Some(usage) = leg.joins.open(media.stream(leg.id), now, true) {
        cell.set_usage(&usage);
    }
}

/// A join of the leg is over: what was relayed in it is billed to now, not to the end of the leg.
pub(crate) fn end_join(cx: &mut Cx<'_, '_>, leg: &mut Leg, media: &mut Media) {
    let now = cx.now.wall;
    let Some(usage) = leg.joins.open(media.stream(leg.id), now, false) else { return };
    if let Some(cell) = cx.core.cell(leg.id) {
        cell.set_usage(&usage);
    }
    leg.joins.close(usage);
    cx.core.legs_joined = cx.core.legs_joined.saturating_sub(1);
    if let Some(stream) = media.stream_mut(leg.id) {
        (stream.relayed, stream.relayed_bytes) = (0, 0);
    }
}

/// Everything that a leg used, closed at `now`.
pub(super) fn all(leg: &Leg, media: &Media, now: Wall) -> ArrayVec<Usage, SEGMENTS_MAX> {
    let mut usage = ArrayVec::new();
    usage.push(signalling(leg, now, false));
    usage.extend(leg.joins.closed().iter().copied());
    usage.extend(leg.joins.open(media.stream(leg.id), now, false));
    usage
}

/// The usage of a leg that was an attempt and nothing else.
pub(super) fn attempt(direction: Direction, last: Wall) -> Usage {
    let service = service_of(direction);
    Usage { service, segment: 0, open: false, start: Wall(0), last, count: 1, bytes: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the number of joins: what is billed is the time joined, in segments that are all
    /// closed.
    #[test]
    fn every_join_is_billed_for_its_own_time_however_many_there_are() {
        for joins in 1..12_u64 {
            let mut record = Joins::default();
            for at in 0..joins {
                let start = 1_000_000 + at * 60_000_000;
                record.begin(Wall(start));
                let usage = record.open(None, Wall(start + 7_000_000), false).unwrap();
                record.close(usage);
            }
            assert!(record.open(None, Wall(9_000_000_000), false).is_none(), "nothing stays open");
            let billed: u64 = record.closed().iter().map(Usage::micros).sum();
            assert_eq!(billed, joins * 7_000_000, "{joins} joins");
            let segments: Vec<u16> = record.closed().iter().map(|usage| usage.segment).collect();
            let numbered = u16::try_from(segments.len()).unwrap();
            assert_eq!(segments, (1..=numbered).collect::<Vec<_>>());
        }
    }
}
