//! A hierarchical timer wheel over slab indices: each index has at most one deadline. The lowest
//! level has a slot for each of the next 4,096 ticks of 2^20 ns (4.3 s), the four above it 128
//! slots each of 2^10, 2^16, 2^22 and 2^28 ticks; everything is a list through nodes made at birth.
//!
//! ```text
//!   level 4 --> 3 --> 2 --> 1 --(a few at a time, from half a slot ahead)--> 0 --> due
//! ```
//!
//! What lies above is dealt out to the level below ahead of its time and a few entries at a time,
//! so that no single moment pays for thousands of timers that were set in one second.
//!
//! A timer never fires early and at most one tick late.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::time::Mono;

const TICK_SHIFT: u32 = 20;
const LEVELS: usize = 5;
/// Bits below a level's slot number.
const SHIFTS: [u32; LEVELS] = [0, 10, 16, 22, 28];
/// Slots of the lowest level, and of each other.
const NEAR: u64 = 4_096;
const FAR: u64 = 128;
const NEAR_LISTS: usize = 4_096;
const FAR_LISTS: usize = 128;
const LISTS: usize = NEAR_LISTS + (LEVELS - 1) * FAR_LISTS;
/// So long before its start a slot begins to be dealt out, in ticks: by then all its ticks are
/// within the level below.
const AHEAD: [u64; LEVELS] = [0, 2 << 10, 1 << 15, 1 << 21, 1 << 27];
/// Entries dealt out at a time.
const DEALT: usize = 32;
const NONE: u32 = u32::MAX;
const HORIZON: u64 = (63 << 24) - 1;

const _: () = assert!(NEAR_LISTS as u64 == NEAR && FAR_LISTS as u64 == FAR);
// A slot that starts AHEAD from now ends within the level below.
const _: () = assert!(AHEAD[1] + (1 << 10) < NEAR);
const _: () = assert!((AHEAD[2] + (1 << 16)) >> 10 < FAR - 1);
const _: () = assert!((AHEAD[3] + (1 << 22)) >> 16 < FAR - 1);
const _: () = assert!((AHEAD[4] + (1 << 28)) >> 22 < FAR - 1);
const _: () = assert!(HORIZON >> 28 < FAR - 1);

#[derive(Clone, Copy, Debug)]
struct Node {
    tick: u64,
    next: u32,
    previous: u32,
    /// The slot's place among all; `u16::MAX` when idle.
    list: u16,
}

const IDLE: u16 = u16::MAX;

#[derive(Debug)]
pub struct Wheel {
    nodes: Vec<Node>,
    heads: Box<[u32; LISTS]>,
    /// A bit per slot of the lowest level that has entries, and one per word of them.
    near: Box<[u64; 64]>,
    near_words: u64,
    /// A bit per slot of the other levels; the lowest has none here.
    far: [u128; LEVELS],
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
            heads: Box::new([NONE; LISTS]),
            near: Box::new([0; 64]),
            near_words: 0,
            far: [0; LEVELS],
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
            let due = self.first().filter(|(_, start)| *start <= target);
            let Some((level, start)) = due else {
                self.now = self.now.max(target);
                self.deal_out_ahead();
                self.fetch_first();
                return None;
            };
            self.now = self.now.max(start);
            let slot = slot_of(level, start);
            if level == 0 {
                let index = self.heads[slot];
                // The one behind it is the next to be asked for.
                let next = self.nodes[index as usize].next;
                self.nodes.get(next as usize).into_iter().for_each(crate::fetch::ahead);
                self.unlink(index);
                self.len -= 1;
                return Some(index);
            }
            self.deal_out(slot, usize::MAX);
        }
    }

    /// Fetches what will be asked for first.
    fn fetch_first(&self) {
        let first = self.first_near().and_then(|tick| self.heads.get(slot_of(0, tick)));
        let node = first.and_then(|index| self.nodes.get(*index as usize));
        node.into_iter().for_each(crate::fetch::ahead);
    }

    /// No timer fires before this, and none needs to be dealt out; [`Mono::NEVER`] if none is set.
    #[must_use]
    pub fn next(&self) -> Mono {
        let ahead = (1..LEVELS).filter_map(|level| {
            let start = self.first_far(level)?;
            Some(start.saturating_sub(AHEAD[level]).max(self.now + 1).min(start))
        });
        let next = ahead.chain(self.first_near()).min();
        next.map_or(Mono::NEVER, |tick| Mono(tick << TICK_SHIFT))
    }

    /// The earliest occupied slot: its level, and the tick at which it starts. Of two that start
    /// together the higher comes first: what it holds may be due then.
    fn first(&self) -> Option<(usize, u64)> {
        let mut first = self.first_near().map(|start| (0, start));
        for level in 1..LEVELS {
            let Some(start) = self.first_far(level) else { continue };
            if first.is_none_or(|(_, earliest)| start <= earliest) {
                first = Some((level, start));
            }
        }
        first
    }

    fn first_near(&self) -> Option<u64> {
        if self.near_words == 0 {
            return None;
        }
        let here = self.now & (NEAR - 1);
        let (word, bit) = (here >> 6, here & 63);
        let rest = self.near[index(word)] & (u64::MAX << bit);
        if rest != 0 {
            return Some(self.now - bit + u64::from(rest.trailing_zeros()));
        }
        // The words after this one, around to the part of it that lies before.
        let turned = self.near_words.rotate_right(low_bits(word + 1));
        let ahead = u64::from(turned.trailing_zeros()) + 1;
        let found = self.near[index((word + ahead) & 63)];
        Some((self.now & !63) + (ahead << 6) + u64::from(found.trailing_zeros()))
    }

    fn first_far(&self, level: usize) -> Option<u64> {
        let occupied = self.far[level];
        if occupied == 0 {
            return None;
        }
        let here = self.now >> SHIFTS[level];
        let turned = occupied.rotate_right(low_bits(here));
        let ahead = u64::from(turned.trailing_zeros());
        Some(((here + ahead) << SHIFTS[level]).max(self.now))
    }

    /// Deals out a few entries of the slots whose turn comes next.
    fn deal_out_ahead(&mut self) {
        for (level, ahead) in AHEAD.into_iter().enumerate().skip(1) {
            let start = self.first_far(level).filter(|start| *start <= self.now + ahead);
            if let Some(start) = start {
                self.deal_out(slot_of(level, start), DEALT);
            }
        }
    }

    /// Deals a slot's entries out to lower levels, at most `most` of them.
    fn deal_out(&mut self, slot: usize, most: usize) {
        let mut left = most;
        while self.heads[slot] != NONE && left > 0 {
            let index = self.heads[slot];
            self.unlink(index);
            self.link(index);
            left -= 1;
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick.max(self.now);
        let fits = |level: &usize| {
            let shift = SHIFTS[*level];
            (tick >> shift) - (self.now >> shift) < slots(*level)
        };
        let level = (0..LEVELS).find(fits).unwrap_or(LEVELS - 1);
        let slot = slot_of(level, tick);
        let head = self.heads[slot];
        let node = &mut self.nodes[index as usize];
        node.next = head;
        node.previous = NONE;
        node.list = u16::try_from(slot).unwrap_or(IDLE);
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
        self.heads[slot] = index;
        self.mark(slot, true);
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, previous, list, .. } = self.nodes[index as usize];
        let slot = usize::from(list);
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous == NONE {
            self.heads[slot] = next;
            if next == NONE {
                self.mark(slot, false);
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        self.nodes[index as usize].list = IDLE;
    }

    /// Whether the slot has entries.
    fn mark(&mut self, slot: usize, occupied: bool) {
        if let Some(far) = slot.checked_sub(NEAR_LISTS) {
            let (level, bit) = (1 + far / FAR_LISTS, far % FAR_LISTS);
            match occupied {
                true => self.far[level] |= 1 << bit,
                false => self.far[level] &= !(1 << bit),
            }
            return;
        }
        let (word, bit) = (slot / 64, slot % 64);
        match occupied {
            true => self.near[word] |= 1 << bit,
            false => self.near[word] &= !(1 << bit),
        }
        match self.near[word] {
            0 => self.near_words &= !(1 << word),
            _ => self.near_words |= 1 << word,
        }
    }
}

const fn slots(level: usize) -> u64 {
    if level == 0 { NEAR } else { FAR }
}

/// Place of the slot that holds this tick.
fn slot_of(level: usize, tick: u64) -> usize {
    let slot = index(tick >> SHIFTS[level] & (slots(level) - 1));
    match level {
        0 => slot,
        _ => NEAR_LISTS + (level - 1) * FAR_LISTS + slot,
    }
}

/// Slot numbers are small.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// How far to turn a set of 64 or 128 bits for this slot number.
fn low_bits(number: u64) -> u32 {
    u32::try_from(number & (FAR - 1)).unwrap_or(0)
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

    /// Thousands of timers that are due 32 s from one second on: each millisecond moves a few.
    #[test]
    fn what_lies_ahead_is_dealt_out_before_its_time_and_a_few_at_a_time() {
        let start = Mono(5_000_000_000);
        let mut wheel = Wheel::new(4_000);
        assert_eq!(wheel.pop(start), None);
        for index in 0..4_000 {
            let after = Duration::from_micros(32_000_000 + u64::from(index) * 100);
            wheel.set(index, start + after);
        }
        let far = |wheel: &Wheel| -> usize {
            let of = |node: &&Node| node.list != IDLE && u64::from(node.list) >= NEAR;
            wheel.nodes.iter().filter(of).count()
        };
        let (mut now, mut fired, mut above) = (start, 0, far(&wheel));
        assert_eq!(above, 4_000);
        for _ in 0..34_000 {
            now = now + Duration::from_millis(1);
            let mut pops = 1;
            while wheel.pop(now).is_some() {
                pops += 1;
                fired += 1;
            }
            assert!(pops <= 60, "{pops} at once");
            assert!(above - far(&wheel) <= DEALT, "dealt out at once");
            above = far(&wheel);
        }
        assert_eq!((fired, above), (4_000, 0));
    }
}
