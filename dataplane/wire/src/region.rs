//! Regions: the shared memory of one shard, one region written by each side. A region is a slice of
//! 64-bit atomic words; who made it (a sealed memfd in production, a plain vector in the
//! simulation) is not this crate's business. Parts start on page boundaries.
//!
//! A region outlives its writer. Whoever joins checks magic, version and layout exactly, then
//! raises the epoch; a writer that finds a newer epoch than its own in its region has been
//! succeeded and stops.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cell::CELL_WORDS;
use crate::counter::COUNTERS;
use crate::record::RECORD_WORDS;
use crate::ring::{Cursors, Slots};
use crate::table::TABLE_BYTES_MAX;

/// Raised with every change of layout or of a message's encoding; the layout snapshot test holds
/// it.
pub const WIRE_VERSION: u32 = 12;

const MAGIC: u64 = 0x5461_6e64_656d_5731;
const PAGE_WORDS: usize = 512;
const W_MAGIC: usize = 0;
const W_LAYOUT: usize = 1;
const W_LEGS: usize = 2;
const W_EVENT_WORDS: usize = 3;
const W_COMMAND_WORDS: usize = 4;
const W_EPOCH: usize = 5;
const W_PULSE: usize = 6;
const W_PID: usize = 7;
const W_SECRETS: usize = 8;

/// Words of what a writer keeps for its successor.
pub const SECRET_WORDS: usize = 4;

/// Sizes of a pair of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Leg slots (cells and records).
    pub legs: u32,
    /// Words of the events ring, a power of two.
    pub event_words: usize,
    /// Words of the commands ring, a power of two.
    pub command_words: usize,
}

/// Which side writes the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Dataplane,
    Controlplane,
}

/// The memory is no region of this binary's making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// Not a region of this side.
    Foreign,
    /// A region of another wire version or layout: the two binaries do not match.
    Layout { found: u64, expected: u64 },
    /// Shorter than its header says.
    Short,
}

/// One side's region.
#[derive(Clone, Copy, Debug)]
pub struct Region<'m> {
    words: &'m [AtomicU64],
    side: Side,
    sizes: Sizes,
}

impl core::fmt::Display for RegionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Foreign => f.write_str("memory is no Tandem region of this side"),
            Self::Layout { found, expected } => write!(
                f,
                "region layout {found:016x} is not this binary's {expected:016x}: \
                 dataplane and controlplane must be of the same version"
            ),
            Self::Short => f.write_str("region is shorter than its header says"),
        }
    }
}

impl core::error::Error for RegionError {}

impl Sizes {
    /// For `legs` leg slots: rings that hold what a shard says in about ten seconds of the other
    /// side's absence at rated load, and the closing events of all legs besides.
    #[must_use]
    pub fn for_legs(legs: u32) -> Self {
        let slots = usize::try_from(legs).unwrap_or(usize::MAX);
        let words = slots.saturating_mul(192).clamp(1 << 16, 1 << 24).next_power_of_two();
        Self { legs, event_words: words, command_words: words / 2 }
    }

    /// Words one side's region takes.
    #[must_use]
    pub fn words(&self, side: Side) -> usize {
        match side {
            Side::Dataplane => self.records_at() + self.leg_slots() * RECORD_WORDS,
            Side::Controlplane => self.table_at() + pages(2 + TABLE_BYTES_MAX / 8),
        }
    }

    fn leg_slots(&self) -> usize {
        usize::try_from(self.legs).unwrap_or(0)
    }

    fn cells_at(&self) -> usize {
        RING_AT + pages(self.event_words)
    }

    fn records_at(&self) -> usize {
        self.cells_at() + pages(self.leg_slots() * CELL_WORDS)
    }

    fn table_at(&self) -> usize {
        RING_AT + pages(self.command_words)
    }
}

// Page 0: header. 1: counters. 2: this side's consumer cursors. 3: this side's producer head. 4:
// ring slots.
const COUNTERS_AT: usize = PAGE_WORDS;
const CURSORS_AT: usize = 2 * PAGE_WORDS;
const HEAD_AT: usize = 3 * PAGE_WORDS;
const RING_AT: usize = 4 * PAGE_WORDS;

const _: () = assert!(COUNTERS <= PAGE_WORDS);

fn pages(words: usize) -> usize {
    words.next_multiple_of(PAGE_WORDS)
}

/// Names the wire version and every constant that places a word.
#[must_use]
pub fn layout_hash() -> u64 {
    let parts = [
        u64::from(WIRE_VERSION),
        CELL_WORDS as u64,
        RECORD_WORDS as u64,
        COUNTERS as u64,
        TABLE_BYTES_MAX as u64,
        crate::cell::SEGMENTS_MAX as u64,
        u64::from(crate::record::RECORD_VERSION),
        RING_AT as u64,
    ];
    // FNV-1a: only has to differ when a part differs.
    parts.iter().flat_map(|part| part.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl<'m> Region<'m> {
    /// Lays out fresh memory (all zero words) and joins it at `epoch`. Usage keys carry the epoch,
    /// so it must be above every earlier one of this node: callers pass seconds since 1970.
    ///
    /// # Panics
    /// If `words` is too short for `sizes`.
    #[must_use]
    pub fn create(words: &'m [AtomicU64], side: Side, sizes: Sizes, epoch: u32) -> Self {
        assert!(words.len() >= sizes.words(side));
        words[W_LAYOUT].store(layout_hash(), Ordering::Relaxed);
        words[W_LEGS].store(u64::from(sizes.legs), Ordering::Relaxed);
        words[W_EVENT_WORDS].store(sizes.event_words as u64, Ordering::Relaxed);
        words[W_COMMAND_WORDS].store(sizes.command_words as u64, Ordering::Relaxed);
        words[W_EPOCH].store(u64::from(epoch), Ordering::Relaxed);
        words[W_MAGIC].store(magic(side), Ordering::Release);
        Self { words, side, sizes }
    }

    /// Looks at a region that the other side (or a predecessor) made.
    ///
    /// # Errors
    /// See [`RegionError`].
    pub fn open(words: &'m [AtomicU64], side: Side) -> Result<Self, RegionError> {
        let word = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Acquire));
        if word(W_MAGIC) != magic(side) {
            return Err(RegionError::Foreign);
        }
        let (found, expected) = (word(W_LAYOUT), layout_hash());
        if found != expected {
            return Err(RegionError::Layout { found, expected });
        }
        let size = |at| usize::try_from(word(at)).unwrap_or(0);
        let legs = u32::try_from(word(W_LEGS)).map_err(|_| RegionError::Short)?;
        let (event_words, command_words) = (size(W_EVENT_WORDS), size(W_COMMAND_WORDS));
        let plausible = event_words.is_power_of_two()
            && command_words.is_power_of_two()
            && event_words.max(command_words) <= 1 << 28;
        let sizes = Sizes { legs, event_words, command_words };
        if !plausible || words.len() < sizes.words(side) {
            return Err(RegionError::Short);
        }
        Ok(Self { words, side, sizes })
    }

    /// As [`Region::open`], as the new writer: the epoch is raised, at least to `epoch`, which
    /// fences the predecessor off.
    ///
    /// # Errors
    /// See [`RegionError`].
    pub fn succeed(words: &'m [AtomicU64], side: Side, epoch: u32) -> Result<Self, RegionError> {
        let region = Self::open(words, side)?;
        let next = region.epoch().saturating_add(1).max(epoch);
        region.words[W_EPOCH].store(u64::from(next), Ordering::Release);
        Ok(region)
    }

    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The epoch now; a writer compares it with the one it joined at.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.words[W_EPOCH].load(Ordering::Acquire)).unwrap_or(u32::MAX)
    }

    /// Monotonic nanoseconds of the writer's last turn; written by the side that owns the region.
    #[must_use]
    pub fn pulse(&self) -> &'m AtomicU64 {
        &self.words[W_PULSE]
    }

    /// Process id of the writer.
    #[must_use]
    pub fn pid(&self) -> &'m AtomicU64 {
        &self.words[W_PID]
    }

    /// What the writer keeps for its successor alone: a successor that signs as its predecessor did
    /// knows the predecessor's messages again. Zero in fresh memory.
    #[must_use]
    pub fn secrets(&self) -> &'m [AtomicU64] {
        &self.words[W_SECRETS..W_SECRETS + SECRET_WORDS]
    }

    #[must_use]
    pub fn counters(&self) -> &'m [AtomicU64] {
        &self.words[COUNTERS_AT..COUNTERS_AT + COUNTERS]
    }

    /// The slots of the ring this side produces: events of a dataplane region, commands of the
    /// other.
    #[must_use]
    pub fn slots(&self) -> Slots<'m> {
        let len = match self.side {
            Side::Dataplane => self.sizes.event_words,
            Side::Controlplane => self.sizes.command_words,
        };
        Slots { head: &self.words[HEAD_AT], words: &self.words[RING_AT..RING_AT + len] }
    }

    /// The cursors with which this side consumes the other's ring.
    #[must_use]
    pub fn cursors(&self) -> Cursors<'m> {
        Cursors {
            read: &self.words[CURSORS_AT],
            released: &self.words[CURSORS_AT + 8],
            sleeping: &self.words[CURSORS_AT + 16],
        }
    }

    /// The usage cell of a leg slot. Dataplane regions only.
    #[must_use]
    pub fn cell(&self, index: u32) -> Option<&'m [AtomicU64]> {
        self.leg_words(self.sizes.cells_at(), CELL_WORDS, index)
    }

    /// The leg record of a leg slot. Dataplane regions only.
    #[must_use]
    pub fn record(&self, index: u32) -> Option<&'m [AtomicU64]> {
        self.leg_words(self.sizes.records_at(), RECORD_WORDS, index)
    }

    /// The published table. Controlplane regions only.
    #[must_use]
    pub fn table(&self) -> Option<&'m [AtomicU64]> {
        let at = self.sizes.table_at();
        (self.side == Side::Controlplane).then(|| &self.words[at..at + 2 + TABLE_BYTES_MAX / 8])
    }

    fn leg_words(&self, at: usize, words: usize, index: u32) -> Option<&'m [AtomicU64]> {
        if self.side != Side::Dataplane || index >= self.sizes.legs {
            return None;
        }
        let from = at + usize::try_from(index).ok()? * words;
        self.words.get(from..from + words)
    }
}

fn magic(side: Side) -> u64 {
    match side {
        Side::Dataplane => MAGIC,
        Side::Controlplane => MAGIC ^ 0xff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(side: Side, sizes: Sizes) -> Vec<AtomicU64> {
        (0..sizes.words(side)).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_successor_finds_the_region_and_raises_the_epoch() {
        let sizes = Sizes::for_legs(16);
        let words = memory(Side::Dataplane, sizes);
        assert_eq!(Region::open(&words, Side::Dataplane).unwrap_err(), RegionError::Foreign);
        let region = Region::create(&words, Side::Dataplane, sizes, 1);
        assert_eq!(region.epoch(), 1);
        let successor = Region::succeed(&words, Side::Dataplane, 0).unwrap();
        assert_eq!(successor.sizes(), sizes);
        assert_eq!((region.epoch(), successor.epoch()), (2, 2));
        assert_eq!(Region::open(&words, Side::Controlplane).unwrap_err(), RegionError::Foreign);
        words[W_LAYOUT].fetch_add(1, Ordering::Relaxed);
        assert!(matches!(Region::open(&words, Side::Dataplane), Err(RegionError::Layout { .. })));
    }

    #[test]
    fn parts_do_not_overlap() {
        let sizes = Sizes::for_legs(4);
        let words = memory(Side::Dataplane, sizes);
        let region = Region::create(&words, Side::Dataplane, sizes, 1);
        let mut spans = vec![region.counters().as_ptr_range(), region.slots().words.as_ptr_range()];
        for index in 0..4 {
            spans.push(region.cell(index).unwrap().as_ptr_range());
            spans.push(region.record(index).unwrap().as_ptr_range());
        }
        spans.sort_by_key(|span| span.start);
        assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(region.cell(4).is_none());
        assert!(region.table().is_none());
    }
}
