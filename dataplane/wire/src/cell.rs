//! Usage cells: the fact behind every billed second. One cell per leg slot, written by the shard
//! that owns the leg, read by the controlplane at any time, also after the writer's death.
//!
//! A cell is a seqlock: word 0 is odd while the shard writes. A writer that died in the middle
//! leaves it odd; every word but word 0 is still a 64-bit atomic whole, and the fields that bill
//! (start, last, counts) only ever grow, so that a reader that finds a dead writer takes what
//! stands there.
//!
//! Order of facts: the cell is closed, then its event is published, then (after the journal's fsync
//! and the store's commit) the controlplane releases it with `Command::Release`; only then is the
//! slot used again.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use base::{CallId, LegId, Wall};

/// Words of a cell: 9 of header, 5 per segment (five cache lines).
pub const CELL_WORDS: usize = 40;
/// Segments a leg can have (micro-services used, split at changes of what is billed).
pub const SEGMENTS_MAX: usize = 6;

const W_SEQUENCE: usize = 0;
const W_STATE: usize = 1;
const W_EPOCH: usize = 2;
const W_LEG: usize = 3;
const W_CALL_HIGH: usize = 4;
const W_CALL_LOW: usize = 5;
const W_ACCOUNT: usize = 6;
const W_ENDED: usize = 7;
const W_RESERVED: usize = 8;
const W_SEGMENTS: usize = 9;
const SEGMENT_WORDS: usize = 5;

const _: () = assert!(W_SEGMENTS + SEGMENTS_MAX * SEGMENT_WORDS <= CELL_WORDS);

/// A micro-service that is metered on its own. Numbers are for ever.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[repr(u16)]
pub enum Service {
    /// A leg that came in by SIP. Count: call attempts (1); usage: seconds from answer to end.
    SipIngress = 1,
    /// A leg that we dialled by SIP. Count: call attempts (1); usage: seconds from answer to end.
    SipEgress = 2,
    /// Media relayed for a leg. Count: packets received and relayed; bytes: their payload bytes;
    /// usage: seconds joined.
    MediaRelay = 3,
    /// A contact that a phone has registered: the controlplane's to meter, in no cell. Count:
    /// contacts; usage: seconds registered.
    SipRegistration = 4,
}

/// What one leg used of one micro-service in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    pub service: Service,
    /// Numbered from 0 within the leg.
    pub segment: u16,
    /// False once the segment was closed in order; true in a cell whose writer died.
    pub open: bool,
    /// Billing start; 0 if billing never started (an attempt that was not answered).
    pub start: Wall,
    /// Last moment at which the use was seen going on; the end, once closed.
    pub last: Wall,
    /// In the service's counting unit (attempts, packets).
    pub count: u64,
    pub bytes: u64,
}

impl Usage {
    /// Billed duration in microseconds.
    #[must_use]
    pub fn micros(&self) -> u64 {
        if self.start.0 == 0 { 0 } else { self.last.micros_since(self.start) }
    }
}

/// The key of a ledger row: cell, event and row carry the same.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct UsageKey {
    pub node: u32,
    pub epoch: u32,
    pub leg: LegId,
    pub service: Service,
    pub segment: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    Free,
    Open,
    Closed,
}

/// A copy of a cell, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub state: CellState,
    pub epoch: u32,
    pub leg: LegId,
    pub call: CallId,
    pub account: u64,
    /// 0 while open.
    pub ended: Wall,
    /// In order of segment number.
    pub usage: Vec<Usage>,
    /// The writer died (or was read) in the middle of a write.
    pub torn: bool,
}

/// Fetches what refreshing a standing leg's cell touches: its header and its first two segments.
pub fn fetch_ahead(words: &[AtomicU64]) {
    let touched = words.get(..W_SEGMENTS + 2 * SEGMENT_WORDS).unwrap_or_default();
    touched.iter().step_by(8).for_each(base::fetch::ahead);
}

/// The writer's view of one cell.
#[derive(Clone, Copy, Debug)]
pub struct CellWriter<'m> {
    words: &'m [AtomicU64],
}

impl Service {
    /// All there are, by number.
    pub const ALL: [Self; 4] =
        [Self::SipIngress, Self::SipEgress, Self::MediaRelay, Self::SipRegistration];

    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::SipIngress,
            2 => Self::SipEgress,
            3 => Self::MediaRelay,
            4 => Self::SipRegistration,
            _ => return None,
        })
    }

    /// The micro-service's name in the API and in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SipIngress => "sip-ingress",
            Self::SipEgress => "sip-egress",
            Self::MediaRelay => "media-relay",
            Self::SipRegistration => "sip-registration",
        }
    }
}

impl<'m> CellWriter<'m> {
    /// # Panics
    /// If `words` is not a whole cell.
    #[must_use]
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert_eq!(words.len(), CELL_WORDS);
        Self { words }
    }

    /// A new leg takes the cell.
    pub fn open(&self, epoch: u32, leg: LegId, call: CallId, account: u64) {
        self.write(|words| {
            for word in &words[W_SEGMENTS..] {
                word.store(0, Ordering::Relaxed);
            }
            let [high, low] = halves(call);
            words[W_EPOCH].store(u64::from(epoch), Ordering::Relaxed);
            words[W_LEG].store(leg.0, Ordering::Relaxed);
            words[W_CALL_HIGH].store(high, Ordering::Relaxed);
            words[W_CALL_LOW].store(low, Ordering::Relaxed);
            words[W_ACCOUNT].store(account, Ordering::Relaxed);
            words[W_ENDED].store(0, Ordering::Relaxed);
            words[W_RESERVED].store(0, Ordering::Relaxed);
            words[W_STATE].store(1, Ordering::Release);
        });
    }

    /// Whom the leg belongs to, once known.
    pub fn set_account(&self, account: u64) {
        self.write(|words| words[W_ACCOUNT].store(account, Ordering::Relaxed));
    }

    /// Writes a segment whole; `usage.segment` is its place.
    pub fn set_usage(&self, usage: &Usage) {
        let at = usize::from(usage.segment);
        if at >= SEGMENTS_MAX {
            return;
        }
        let kind = u64::from(usage.service as u16) | u64::from(usage.open) << 16 | 1 << 17;
        self.write(|words| {
            let segment = &words[W_SEGMENTS + at * SEGMENT_WORDS..];
            segment[1].store(usage.start.0, Ordering::Relaxed);
            segment[2].store(usage.last.0, Ordering::Relaxed);
            segment[3].store(usage.count, Ordering::Relaxed);
            segment[4].store(usage.bytes, Ordering::Relaxed);
            segment[0].store(kind, Ordering::Relaxed);
        });
    }

    /// A standing leg was seen at `now`: its signalling segment and, unless 0, the segment of the
    /// join that goes on, with what was counted in it. Both were written whole before.
    pub fn advance(&self, now: Wall, join: u8, (count, bytes): (u64, u64)) {
        let join = usize::from(join);
        self.write(|words| {
            let last = |segment: &[AtomicU64]| {
                // A clock that is behind takes nothing away.
                let start = segment[1].load(Ordering::Relaxed);
                segment[2].store(now.0.max(start), Ordering::Relaxed);
            };
            last(&words[W_SEGMENTS..]);
            if (1..SEGMENTS_MAX).contains(&join) {
                let segment = &words[W_SEGMENTS + join * SEGMENT_WORDS..];
                last(segment);
                segment[3].store(count, Ordering::Relaxed);
                segment[4].store(bytes, Ordering::Relaxed);
            }
        });
    }

    /// The leg is over; nothing in the cell changes until it is released.
    pub fn close(&self, ended: Wall) {
        self.write(|words| {
            words[W_ENDED].store(ended.0, Ordering::Relaxed);
            words[W_STATE].store(2, Ordering::Relaxed);
        });
    }

    /// The controlplane has it: the slot may be used again.
    pub fn free(&self) {
        self.write(|words| words[W_STATE].store(0, Ordering::Relaxed));
    }

    fn write(&self, change: impl FnOnce(&[AtomicU64])) {
        let sequence = self.words[W_SEQUENCE].load(Ordering::Relaxed) | 1;
        self.words[W_SEQUENCE].store(sequence, Ordering::Relaxed);
        fence(Ordering::Release);
        change(self.words);
        self.words[W_SEQUENCE].store(sequence.wrapping_add(1), Ordering::Release);
    }
}

impl Cell {
    /// Copies a cell out of shared memory and checks the copy; tries a few times while it is being
    /// written, then takes it as torn. None if a field is outside its range.
    #[must_use]
    pub fn read(words: &[AtomicU64]) -> Option<Self> {
        let mut copy = [0; CELL_WORDS];
        let mut torn = true;
        for _ in 0..8 {
            let before = words.get(W_SEQUENCE)?.load(Ordering::Acquire);
            for (to, from) in copy.iter_mut().zip(words) {
                *to = from.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before & 1 == 0 && words[W_SEQUENCE].load(Ordering::Relaxed) == before {
                torn = false;
                break;
            }
        }
        Self::check(&copy, torn)
    }

    fn check(copy: &[u64; CELL_WORDS], torn: bool) -> Option<Self> {
        let state = match copy[W_STATE] {
            0 => CellState::Free,
            1 => CellState::Open,
            2 => CellState::Closed,
            _ => return None,
        };
        let mut usage = Vec::new();
        for at in 0..SEGMENTS_MAX {
            let [kind, start, last, count, bytes] =
                *copy[W_SEGMENTS + at * SEGMENT_WORDS..].first_chunk()?;
            if kind == 0 {
                continue;
            }
            usage.push(Usage {
                service: Service::from_number(u16::try_from(kind & 0xffff).ok()?)?,
                segment: u16::try_from(at).ok()?,
                open: kind >> 16 & 1 == 1,
                start: Wall(start),
                last: Wall(last),
                count,
                bytes,
            });
        }
        let call = u128::from(copy[W_CALL_HIGH]) << 64 | u128::from(copy[W_CALL_LOW]);
        Some(Self {
            state,
            epoch: u32::try_from(copy[W_EPOCH]).ok()?,
            leg: LegId(copy[W_LEG]),
            call: CallId(call),
            account: copy[W_ACCOUNT],
            ended: Wall(copy[W_ENDED]),
            usage,
            torn,
        })
    }
}

fn halves(call: CallId) -> [u64; 2] {
    let bytes = call.0.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    let word = |half: &[u8]| u64::from_be_bytes(half.try_into().unwrap_or_default());
    [word(high), word(low)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..CELL_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let words = words();
        let writer = CellWriter::new(&words);
        assert_eq!(Cell::read(&words).unwrap().state, CellState::Free);
        let usage = Usage {
            service: Service::MediaRelay,
            segment: 1,
            open: true,
            start: Wall(10),
            last: Wall(30),
            count: 3,
            bytes: 516,
        };
        writer.open(4, LegId::new(1, 2, 3), CallId(1 << 100 | 5), 77);
        writer.set_usage(&usage);
        writer.close(Wall(40));
        let cell = Cell::read(&words).unwrap();
        assert_eq!(cell.state, CellState::Closed);
        assert_eq!((cell.epoch, cell.account, cell.ended), (4, 77, Wall(40)));
        assert_eq!((cell.leg, cell.call), (LegId::new(1, 2, 3), CallId(1 << 100 | 5)));
        assert_eq!(cell.usage, vec![usage]);
        assert_eq!(usage.micros(), 20);
        assert!(!cell.torn);
    }

    #[test]
    fn a_dead_writers_cell_is_taken_as_torn() {
        let words = words();
        CellWriter::new(&words).open(1, LegId::new(0, 1, 0), CallId(9), 1);
        words[W_SEQUENCE].fetch_add(1, Ordering::Relaxed);
        let cell = Cell::read(&words).unwrap();
        assert!(cell.torn);
        assert_eq!(cell.call, CallId(9));
    }

    #[test]
    fn nonsense_is_refused() {
        let words = words();
        words[W_STATE].store(9, Ordering::Relaxed);
        assert_eq!(Cell::read(&words), None);
    }
}
