//! A slab with room fixed at birth and generational keys: an old key never finds a new tenant.

use alloc::vec::Vec;

/// Generations are 24 bits, as in [`crate::LegId`]; 0 is never used.
const GENERATION_MASK: u32 = 0x00ff_ffff;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// Free slots, used oldest first so that a generation lives long.
    free: alloc::collections::VecDeque<u32>,
}

impl<T> Slab<T> {
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let slots = (0..capacity).map(|_| Slot { generation: 1, value: None }).collect();
        Self { slots, free: (0..capacity).collect() }
    }

    /// As [`Slab::new`], with another first generation: keys of an earlier run find nothing.
    #[must_use]
    pub fn with_generation(capacity: u32, generation: u32) -> Self {
        let mut slab = Self::new(capacity);
        for slot in &mut slab.slots {
            slot.generation = (generation & GENERATION_MASK).max(1);
        }
        slab
    }

    /// Takes this very slot; false if it is taken or out of range. Walks the free list: for boot.
    pub fn occupy(&mut self, index: u32, value: T) -> bool {
        let Some(at) = self.free.iter().position(|free| *free == index) else { return false };
        self.free.remove(at);
        self.slots[index as usize].value = Some(value);
        true
    }

    /// As [`Slab::occupy`], under a generation of an earlier run: keys of that run find it.
    pub fn occupy_as(&mut self, index: u32, generation: u32, value: T) -> bool {
        if generation == 0 || generation & !GENERATION_MASK != 0 || !self.occupy(index, value) {
            return false;
        }
        self.slots[index as usize].generation = generation;
        true
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots, taken or not; indices are below it.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Index and generation that the next insertion will have; None if full.
    #[must_use]
    pub fn vacant(&self) -> Option<(u32, u32)> {
        let index = *self.free.front()?;
        Some((index, self.slots[index as usize].generation))
    }

    /// Takes a slot; gives its index. None (and the value is dropped) if full.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let index = self.free.pop_front()?;
        self.slots[index as usize].value = Some(value);
        Some(index)
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        if slot.generation == 0 {
            slot.generation = 1;
        }
        self.free.push_back(index);
        Some(value)
    }

    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The generation of what lives there now; None for a free slot.
    #[must_use]
    pub fn generation(&self, index: u32) -> Option<u32> {
        let slot = self.slots.get(index as usize)?;
        slot.value.is_some().then_some(slot.generation)
    }

    /// The index, if that generation lives there now.
    #[must_use]
    pub fn live(&self, index: u32, generation: u32) -> Option<u32> {
        let slot = self.slots.get(index as usize)?;
        (slot.value.is_some() && slot.generation == generation).then_some(index)
    }

    /// What is in the slots from `index` on.
    pub fn iter_from(&self, index: u32) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.slots.get(index as usize..).unwrap_or_default();
        (index..).zip(slots).filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.iter_from(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing() {
        let mut slab = Slab::new(2);
        let (index, generation) = slab.vacant().unwrap();
        assert_eq!(slab.insert('a'), Some(index));
        assert_eq!(slab.live(index, generation), Some(index));
        assert_eq!(slab.insert('b'), Some(1));
        assert_eq!(slab.insert('c'), None);
        assert_eq!(slab.remove(index), Some('a'));
        assert_eq!(slab.live(index, generation), None);
        assert_eq!(slab.insert('d'), Some(index));
        assert_eq!(slab.live(index, generation), None);
        assert_eq!(slab.live(index, generation + 1), Some(index));
        assert_eq!(slab.len(), 2);
    }
}
