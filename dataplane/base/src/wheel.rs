//! A hierarchical timer wheel over slab indices: each index has at most one deadline. Five levels
//! of 64 slots of 2^20 ns (1.05 ms) to 2^44 ns; everything is a list through nodes made at birth.
//!
//! A timer never fires early and at most one tick late.

use alloc::vec::Vec;

use crate::time::Mono;

const TICK_SHIFT: u32 = 20;
const LEVEL_SHIFT: u32 = 6;
const LEVELS: usize = 5;
const SLOTS: usize = 1 << LEVEL_SHIFT;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
const NONE: u32 = u32::MAX;
const HORIZON: u64 = (63 << 24) - 1;

const _: () = assert!(LEVEL_SHIFT as usize * LEVELS == 30);

#[derive(Clone, Copy, Debug)]
struct Node {
    tick: u64,
    next: u32,
    previous: u32,
    /// Level and slot, `level * 64 + slot`; `u16::MAX` when idle.
    list: u16,
}

/// Bits below a level's slot number.
const SHIFTS: [u32; LEVELS] = [0, 6, 12, 18, 24];

const IDLE: u16 = u16::MAX;

#[derive(Debug)]
pub struct Wheel {
    nodes: Vec<Node>,
    heads: [[u32; SLOTS]; LEVELS],
    /// A bit per slot that has entries.
    occupied: [u64; LEVELS],
    /// Everything before this tick has fired.
    now: u64,
    len: usize,
}

impl Wheel {
    /// For indices below `capacity`.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let idle = Node { tick: 0, next: NONE, previous: NONE, list: IDLE };
        Self {
            nodes: alloc::vec![idle; capacity as usize],
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            now: 0,
            len: 0,
        }
    }

    /// Timers set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets (or moves) the deadline of `index`; [`Mono::NEVER`] cancels it.
    pub fn set(&mut self, index: u32, deadline: Mono) {
        self.cancel(index);
        if deadline == Mono::NEVER || index as usize >= self.nodes.len() {
            return;
        }
        let tick =
            (deadline.0 >> TICK_SHIFT) + u64::from(deadline.0 & ((1 << TICK_SHIFT) - 1) != 0);
        self.nodes[index as usize].tick = tick.clamp(self.now, self.now + HORIZON);
        self.link(index);
        self.len += 1;
    }

    pub fn cancel(&mut self, index: u32) {
        let Some(node) = self.nodes.get(index as usize) else { return };
        if node.list != IDLE {
            self.unlink(index);
            self.len -= 1;
        }
    }

    /// The next index whose deadline is not after `now`, its timer cleared.
    pub fn pop(&mut self, now: Mono) -> Option<u32> {
        let target = now.0 >> TICK_SHIFT;
        loop {
            // Time passes for an empty wheel too: else what is set next would be placed by an old
            // clock and look due before its time.
            let due = self.first().filter(|(_, _, start)| *start <= target);
            let Some((level, slot, start)) = due else {
                self.now = self.now.max(target);
                return None;
            };
            self.now = self.now.max(start);
            let index = self.heads[level][slot];
            if level == 0 {
                self.unlink(index);
                self.len -= 1;
                return Some(index);
            }
            self.cascade(level, slot);
        }
    }

    /// No timer fires before this; [`Mono::NEVER`] if none is set.
    #[must_use]
    pub fn next(&self) -> Mono {
        self.first().map_or(Mono::NEVER, |(_, _, start)| Mono(start << TICK_SHIFT))
    }

    /// The earliest occupied slot: level, slot, tick at which it starts.
    fn first(&self) -> Option<(usize, usize, u64)> {
        (0..LEVELS)
            .filter(|level| self.occupied[*level] != 0)
            .map(|level| {
                let shift = SHIFTS[level];
                let here = self.now >> shift;
                let turned = self.occupied[level].rotate_right((here & SLOT_MASK) as u32);
                let ahead = u64::from(turned.trailing_zeros());
                let start = ((here + ahead) << shift).max(self.now);
                (level, ((here + ahead) & SLOT_MASK) as usize, start)
            })
            .min_by_key(|(level, _, start)| (*start, core::cmp::Reverse(*level)))
    }

    /// Deals a slot's entries out to lower levels.
    fn cascade(&mut self, level: usize, slot: usize) {
        while self.heads[level][slot] != NONE {
            let index = self.heads[level][slot];
            self.unlink(index);
            self.link(index);
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick.max(self.now);
        let differ = (tick ^ self.now) | SLOT_MASK;
        let level = ((63 - differ.leading_zeros()) / LEVEL_SHIFT) as usize;
        let level = level.min(LEVELS - 1);
        let slot = (tick >> SHIFTS[level] & SLOT_MASK) as usize;
        let head = self.heads[level][slot];
        let node = &mut self.nodes[index as usize];
        node.next = head;
        node.previous = NONE;
        node.list = u16::try_from(level * SLOTS + slot).unwrap_or(IDLE);
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
        self.heads[level][slot] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, previous, list, .. } = self.nodes[index as usize];
        let (level, slot) = (usize::from(list) / SLOTS, usize::from(list) % SLOTS);
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous == NONE {
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        self.nodes[index as usize].list = IDLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use core::time::Duration;

    #[test]
    fn fires_all_in_time_never_early_at_most_a_tick_late() {
        let mut random = Prng::new(5);
        let mut wheel = Wheel::new(500);
        let mut model = [Mono::NEVER; 500];
        let mut now = Mono(123_456_789_012);
        let tick = 1 << TICK_SHIFT;
        for _ in 0..30_000 {
            let index = u32::try_from(random.below(500)).unwrap();
            let span = 1 << random.below(40);
            let deadline =
                if random.chance(1, 5) { Mono::NEVER } else { Mono(now.0 + random.below(span)) };
            wheel.set(index, deadline);
            model[index as usize] = deadline;
            assert!(wheel.next().0 <= model.iter().min().unwrap().0.saturating_add(tick));
            now = now + Duration::from_nanos(random.below(1 << 24));
            while let Some(index) = wheel.pop(now) {
                assert!(model[index as usize] <= now, "early");
                model[index as usize] = Mono::NEVER;
            }
            let late = model.iter().min().unwrap();
            assert!(late.0 > now.0.saturating_sub(tick), "late: {late:?} at {now:?}");
            assert_eq!(wheel.len(), model.iter().filter(|d| **d != Mono::NEVER).count());
        }
    }
}
