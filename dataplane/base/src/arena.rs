//! Bytes of many lengths in memory taken once: classes from 64 bytes to 64 KiB, two to each power
//! of two (64, 96, 128, 192 ..), each with a free list, cut from one block. Holds what outlives a
//! datagram: dialog texts, SDP, messages kept for retransmission. Nothing is allocated after birth;
//! what does not fit is refused.

use alloc::vec::Vec;

const SMALLEST_SHIFT: u32 = 6;
/// Every class is a whole number of units of 32 bytes.
const UNIT_SHIFT: u32 = 5;
const CLASSES: usize = 21;
const NONE: u32 = u32::MAX;

/// Bytes stored in an [`Arena`]. Give it back with [`Arena::free`]; it is not `Copy` so that this
/// is done once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// In units of 32 bytes.
    unit: u32,
    len: u32,
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
        self.len as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Arena {
    /// `bytes` of memory, at most 128 GiB.
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
        let at = match self.free[class] {
            NONE => {
                let at = self.fresh;
                if at + size > self.memory.len() {
                    return None;
                }
                self.fresh += size;
                at
            }
            unit => {
                let at = (unit as usize) << UNIT_SHIFT;
                let next: [u8; 4] = self.memory[at..at + 4].try_into().ok()?;
                self.free[class] = u32::from_le_bytes(next);
                at
            }
        };
        self.used += size;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        let unit = u32::try_from(at >> UNIT_SHIFT).ok()?;
        Some(Stored { unit, len: u32::try_from(bytes.len()).ok()? })
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
        let at = (stored.unit as usize) << UNIT_SHIFT;
        self.memory[at..at + 4].copy_from_slice(&self.free[class].to_le_bytes());
        self.free[class] = stored.unit;
        self.used -= size_of_class(class);
    }

    /// Bytes in use, rounding included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }
}

fn size_of_class(class: usize) -> usize {
    let power = 64 << class.div_ceil(2);
    if class.is_multiple_of(2) { power } else { power / 4 * 3 }
}

fn class_of(len: usize) -> Option<usize> {
    let power = len.next_power_of_two().max(1 << SMALLEST_SHIFT);
    let above = (power.trailing_zeros() - SMALLEST_SHIFT) as usize * 2;
    let fits_below = above > 0 && len <= power / 4 * 3;
    let class = above - usize::from(fits_below);
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
        assert_eq!(sizes[..6], [64, 96, 128, 192, 256, 384]);
        assert_eq!(sizes.last(), Some(&65_536));
        for len in 1..=65_536 {
            let smallest = sizes.iter().position(|size| *size >= len);
            assert_eq!(class_of(len), smallest, "{len}");
        }
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
