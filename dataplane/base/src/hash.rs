//! A keyed hash (SipHash-1-3) for tables that strangers can feed and for short MACs on what we
//! wrote ourselves.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A secret of this run.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// Hash of the parts, each told apart from its neighbours by its length.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        for part in parts {
            hasher.write(part);
            hasher.write_u64(part.len() as u64);
        }
        hasher.finish()
    }
}

impl core::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// A map from hashes to slab indices with room fixed at birth: open addressing, no tombstones. The
/// caller compares the real keys, which live in the slab.
#[derive(Clone, Debug)]
pub struct IndexMap {
    slots: alloc::vec::Vec<(u64, u32)>,
    len: usize,
}

const EMPTY: u32 = u32::MAX;

impl IndexMap {
    /// For up to `capacity` entries (at most half of the slots are used).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { slots: alloc::vec![(0, EMPTY); (capacity * 2).next_power_of_two().max(8)], len: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first index under `hash` that `is` says is meant.
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let (found, index) = self.slots[at];
            if index == EMPTY {
                return None;
            }
            if found == hash && is(index) {
                return Some(index);
            }
            at = self.next(at);
        }
    }

    /// False if the map is full. The same pair may be inserted once only.
    pub fn insert(&mut self, hash: u64, index: u32) -> bool {
        if (self.len + 1) * 2 > self.slots.len() {
            return false;
        }
        let mut at = self.home(hash);
        while self.slots[at].1 != EMPTY {
            at = self.next(at);
        }
        self.slots[at] = (hash, index);
        self.len += 1;
        true
    }

    /// Removes the pair if it is there.
    pub fn remove(&mut self, hash: u64, index: u32) {
        let mut at = self.home(hash);
        while self.slots[at] != (hash, index) {
            if self.slots[at].1 == EMPTY {
                return;
            }
            at = self.next(at);
        }
        self.len -= 1;
        // Close the gap: move back what probed past it.
        let mut gap = at;
        loop {
            at = self.next(at);
            let (hash, index) = self.slots[at];
            if index == EMPTY {
                break;
            }
            let mask = self.slots.len() - 1;
            let probe = at.wrapping_sub(self.home(hash)) & mask;
            if probe >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = (0, EMPTY);
    }

    fn home(&self, hash: u64) -> usize {
        let mask = self.slots.len() as u64 - 1;
        usize::try_from(hash & mask).unwrap_or(0)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use std::collections::HashMap;

    #[test]
    fn parts_are_told_apart() {
        let key = HashKey([1, 2]);
        assert_ne!(key.hash(&[b"ab", b"c"]), key.hash(&[b"a", b"bc"]));
        assert_ne!(key.hash(&[b"a"]), HashKey([1, 3]).hash(&[b"a"]));
    }

    #[test]
    fn behaves_as_a_map_under_churn() {
        let mut random = Prng::new(3);
        let mut map = IndexMap::new(64);
        let mut model: HashMap<u32, u64> = HashMap::new();
        for _ in 0..20_000 {
            let index = u32::try_from(random.below(80)).unwrap();
            // Few distinct hashes: collisions and long probes are the rule.
            let hash = u64::from(index % 7) * 0x1_0000_0001;
            if model.remove(&index).is_some() {
                map.remove(hash, index);
            } else if model.len() < 64 {
                assert!(map.insert(hash, index));
                model.insert(index, hash);
            }
            for candidate in 0..80 {
                let hash = u64::from(candidate % 7) * 0x1_0000_0001;
                let found = map.find(hash, |index| index == candidate);
                assert_eq!(found.is_some(), model.contains_key(&candidate));
            }
            assert_eq!(map.len(), model.len());
        }
    }
}
