//! Bytes of many lengths in memory taken once: classes from 16 bytes to 64 KiB, each 16 bytes to
//! 256, then four to each power of two (320, 384, 448, 512 ..), each with a free list, cut from one
//! block. Holds what outlives a
//! datagram: dialog texts, SDP, messages kept for retransmission. Nothing is allocated after birth;
//! what does not fit is refused.

use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Every class is a whole number of units of so many bytes.
const UNIT: usize = 1 << UNIT_SHIFT;
const UNIT_SHIFT: u32 = 4;
/// Up to here there is a class for each number of units.
const SMALL: usize = 1 << SMALL_SHIFT;
const SMALL_SHIFT: usize = 8;
const SMALL_CLASSES: usize = SMALL / UNIT;
/// Four for each doubling from there to 64 KiB.
const CLASSES: usize = SMALL_CLASSES + 8 * 4;
const NONE: u32 = u32::MAX;

/// Bytes stored in an [`Arena`]. Give it back with [`Arena::free`]; it is not `Copy` so that this
/// is done once.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// In units of 16 bytes.
    unit: u32,
    /// Its length and one: an optional one takes no more room than this.
    len_and_one: NonZeroU32,
}

const _: () = assert!(size_of::<Option<Stored>>() == 8);

impl Default for Stored {
    fn default() -> Self {
        Self { unit: 0, len_and_one: NonZeroU32::MIN }
    }
}

#[derive(Debug)]
pub struct Arena {
    memory: Vec<u8>,
    /// First never-used byte.
    fresh: usize,
    /// Head of each class's free list, in units; the next one is written in the block itself.
    free: [u32; CLASSES],
    used: usize,
}

impl Stored {
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_and_one.get() as usize - 1
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len_and_one == NonZeroU32::MIN
    }
}

impl Arena {
    /// `bytes` of memory, at most 64 GiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { memory: alloc::vec![0; bytes], fresh: 0, free: [NONE; CLASSES], used: 0 }
    }

    /// Copies `bytes` in. None if there is no room or they are over 64 KiB.
    pub fn store(&mut self, bytes: &[u8]) -> Option<Stored> {
        if bytes.is_empty() {
            return Some(Stored::default());
        }
        let class = class_of(bytes.len())?;
        let size = size_of_class(class);
        let at = match self.pop(class) {
            Some(at) => at,
            None if self.memory.len() - self.fresh >= size => {
                self.fresh += size;
                self.fresh - size
            }
            None => self.split(class)?,
        };
        self.used += size;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        let unit = u32::try_from(at >> UNIT_SHIFT).ok()?;
        let len_and_one = NonZeroU32::MIN.checked_add(u32::try_from(bytes.len()).ok()?)?;
        Some(Stored { unit, len_and_one })
    }

    #[must_use]
    pub fn get(&self, stored: &Stored) -> &[u8] {
        let at = (stored.unit as usize) << UNIT_SHIFT;
        &self.memory[at..at + stored.len()]
    }

    pub fn get_mut(&mut self, stored: &Stored) -> &mut [u8] {
        let at = (stored.unit as usize) << UNIT_SHIFT;
        &mut self.memory[at..at + stored.len()]
    }

    /// Leaves an empty `Stored` behind.
    pub fn free(&mut self, stored: &mut Stored) {
        let stored = core::mem::take(stored);
        let Some(class) = class_of(stored.len()) else { return };
        if stored.is_empty() {
            return;
        }
        self.push(class, (stored.unit as usize) << UNIT_SHIFT);
        self.used -= size_of_class(class);
    }

    /// A free block of this class.
    fn pop(&mut self, class: usize) -> Option<usize> {
        let unit = self.free[class];
        let at = (unit as usize) << UNIT_SHIFT;
        let next = self.memory.get(at..at + 4).filter(|_| unit != NONE)?;
        self.free[class] = u32::from_le_bytes(next.try_into().ok()?);
        Some(at)
    }

    fn push(&mut self, class: usize, at: usize) {
        self.memory[at..at + 4].copy_from_slice(&self.free[class].to_le_bytes());
        self.free[class] = u32::try_from(at >> UNIT_SHIFT).unwrap_or(NONE);
    }

    /// A block of this class from a free one of a larger class, whose rest goes to smaller ones.
    #[cold]
    fn split(&mut self, class: usize) -> Option<usize> {
        let (larger, at) = (class + 1..CLASSES).find_map(|it| Some((it, self.pop(it)?)))?;
        let (mut rest, end) = (at + size_of_class(class), at + size_of_class(larger));
        while rest < end {
            let above = class_of(end - rest)?;
            let exact = size_of_class(above) == end - rest;
            let piece = if exact { above } else { above - 1 };
            self.push(piece, rest);
            rest += size_of_class(piece);
        }
        Some(at)
    }

    /// Bytes in use, rounding included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }
}

fn size_of_class(class: usize) -> usize {
    match class.checked_sub(SMALL_CLASSES) {
        None => (class + 1) * UNIT,
        Some(above) => (5 + above % 4) << (SMALL_SHIFT - 2 + above / 4),
    }
}

fn class_of(len: usize) -> Option<usize> {
    if len <= SMALL {
        return Some(len.div_ceil(UNIT).saturating_sub(1));
    }
    let doubling = (len - 1).ilog2() as usize - SMALL_SHIFT;
    let quarters = len.div_ceil(1 << (SMALL_SHIFT - 2 + doubling));
    let class = SMALL_CLASSES + doubling * 4 + quarters - 5;
    (class < CLASSES).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    #[test]
    fn what_is_stored_stays_whole_under_churn_and_nothing_leaks() {
        let mut arena = Arena::new(1 << 20);
        let mut random = Prng::new(11);
        let mut held: Vec<(Stored, u8, usize)> = Vec::new();
        for round in 0..20_000_u32 {
            if held.len() < 60 && random.chance(1, 2) {
                let len = usize::try_from(random.below(3_000)).unwrap();
                let byte = u8::try_from(round % 256).unwrap();
                held.push((arena.store(&alloc::vec![byte; len]).unwrap(), byte, len));
            } else if !held.is_empty() {
                let at = usize::try_from(random.below(held.len() as u64)).unwrap();
                let (mut stored, byte, len) = held.swap_remove(at);
                assert_eq!(arena.get(&stored).len(), len);
                assert!(arena.get(&stored).iter().all(|b| *b == byte));
                arena.free(&mut stored);
            }
        }
        for (mut stored, ..) in held {
            arena.free(&mut stored);
        }
        assert_eq!(arena.used(), 0);
        assert!(arena.store(&[0; 70_000]).is_none());
    }

    #[test]
    fn a_class_is_the_smallest_that_holds_it() {
        let sizes: Vec<usize> = (0..CLASSES).map(size_of_class).collect();
        assert_eq!(sizes[..3], [16, 32, 48]);
        assert_eq!(sizes[15..22], [256, 320, 384, 448, 512, 640, 768]);
        assert_eq!(sizes.last(), Some(&65_536));
        for len in 1..=65_536 {
            let smallest = sizes.iter().position(|size| *size >= len);
            assert_eq!(class_of(len), smallest, "{len}");
        }
    }

    #[test]
    fn what_long_texts_have_left_serves_short_ones() {
        let mut arena = Arena::new(1 << 16);
        let mut long: Vec<Stored> = (0..).map_while(|_| arena.store(&[1; 1_000])).collect();
        assert_eq!(long.len(), 64);
        long.iter_mut().for_each(|stored| arena.free(stored));
        let short: Vec<Stored> = (0..).map_while(|_| arena.store(&[2; 48])).collect();
        assert!(short.len() > 64 * 16, "{}", short.len());
        let mut tiny: Vec<Stored> = (0..).map_while(|_| arena.store(&[3; 9])).collect();
        assert_eq!((arena.used(), tiny.is_empty()), (1 << 16, false), "no byte is lost");
        tiny.iter_mut().for_each(|stored| arena.free(stored));
        assert!(short.iter().all(|stored| arena.get(stored) == [2; 48]));
    }

    #[test]
    fn full_is_full() {
        let mut arena = Arena::new(128);
        let mut first = arena.store(&[1; 64]).unwrap();
        assert!(arena.store(&[2; 65]).is_none());
        arena.store(&[2; 64]).unwrap();
        assert!(arena.store(&[3]).is_none());
        arena.free(&mut first);
        assert!(arena.store(&[3]).is_some());
    }
}
