//! The legs of a shard: their slots, the index of their calls, their timers. Whoever names a leg
//! names it by its id, which carries a generation.

use base::{CallId, IndexMap, LegId, Mono, ShardId, Slab, Wheel};

use super::Leg;

/// What a slot holds.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "slots are of one size, taken at birth")]
pub(crate) enum Entry {
    Leg(Leg),
    /// What an earlier run left: told to the controlplane as over, waiting for its release and for
    /// its last words.
    Leftover(Leftover),
}

/// A leg of an earlier run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leftover {
    pub(crate) epoch: u32,
    pub(crate) leg: LegId,
    /// The controlplane has its usage.
    pub(crate) released: bool,
    /// Its far end does not know yet.
    pub(crate) untold: bool,
}

/// A free slot: the id of the leg that will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) LegId);

#[derive(Debug)]
pub(crate) struct Legs {
    shard: ShardId,
    slab: Slab<Entry>,
    calls: IndexMap,
    timers: Wheel,
    /// Legs that are not over.
    standing: usize,
}

impl Legs {
    /// `first`: the first generation, another one in each run.
    pub(crate) fn new(shard: ShardId, limit: u32, first: u32) -> Self {
        Self {
            shard,
            slab: Slab::with_generation(limit, first),
            calls: IndexMap::new(limit as usize),
            timers: Wheel::new(limit),
            standing: 0,
        }
    }

    /// Slots taken, released or not.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Legs that are not over.
    pub(crate) fn standing(&self) -> usize {
        self.standing
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.timers.next()
    }

    pub(crate) fn vacant(&self) -> Option<Place> {
        let (index, generation) = self.slab.vacant()?;
        Some(Place(LegId::new(self.shard, generation, index)))
    }

    /// Puts a leg where [`Legs::vacant`] said.
    pub(crate) fn insert(&mut self, leg: Leg) {
        debug_assert_eq!(self.vacant(), Some(Place(leg.id)));
        self.slab.insert(Entry::Leg(leg));
        self.standing += 1;
    }

    pub(crate) fn get_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        let index = self.slab.live(id.index(), id.generation())?;
        match self.slab.get_mut(index)? {
            Entry::Leg(leg) if id.shard() == self.shard => Some(leg),
            _ => None,
        }
    }

    /// The leg of a call.
    pub(crate) fn of_call(&self, call: CallId) -> Option<LegId> {
        let is = |index: u32| match self.slab.get(index) {
            Some(Entry::Leg(leg)) => leg.story.call == call,
            _ => false,
        };
        let index = self.calls.find(hash(call), is)?;
        match self.slab.get(index) {
            Some(Entry::Leg(leg)) => Some(leg.id),
            _ => None,
        }
    }

    /// The leg is found by its call from now on.
    pub(crate) fn register(&mut self, id: LegId, call: CallId) {
        self.calls.insert(hash(call), id.index());
    }

    /// The leg is over: nothing is commanded to it any more.
    pub(crate) fn end(&mut self, id: LegId, call: CallId) {
        self.calls.remove(hash(call), id.index());
        self.standing = self.standing.saturating_sub(1);
    }

    pub(crate) fn arm(&mut self, id: LegId, deadline: Mono) {
        self.timers.set(id.index(), deadline);
    }

    /// The next slot whose time has come.
    pub(crate) fn pop(&mut self, now: Mono) -> Option<u32> {
        self.timers.pop(now)
    }

    /// The leg in a slot.
    pub(crate) fn at(&self, slot: u32) -> Option<&Leg> {
        match self.slab.get(slot)? {
            Entry::Leg(leg) => Some(leg),
            Entry::Leftover(_) => None,
        }
    }

    /// Takes a leg out of its slot.
    pub(crate) fn remove(&mut self, id: LegId) -> Option<Leg> {
        let index = self.slab.live(id.index(), id.generation())?;
        self.timers.cancel(index);
        match self.slab.remove(index)? {
            Entry::Leg(leg) => Some(leg),
            Entry::Leftover(_) => None,
        }
    }

    /// The slot of a leg of an earlier run, until it is released and told.
    pub(crate) fn occupy(&mut self, slot: u32, leftover: Leftover) {
        self.slab.occupy(slot, Entry::Leftover(leftover));
    }

    /// The controlplane has what this leg of an earlier run used; true if it was one.
    pub(crate) fn release_leftover(&mut self, epoch: u32, leg: LegId) -> bool {
        let index = leg.index();
        let Some(Entry::Leftover(leftover)) = self.slab.get_mut(index) else { return false };
        if (leftover.epoch, leftover.leg) != (epoch, leg) {
            return false;
        }
        leftover.released = true;
        self.free_leftover(index);
        true
    }

    /// The far end of the leg of an earlier run in this slot was told.
    pub(crate) fn leftover_told(&mut self, slot: u32) {
        if let Some(Entry::Leftover(leftover)) = self.slab.get_mut(slot) {
            leftover.untold = false;
        }
        self.free_leftover(slot);
    }

    fn free_leftover(&mut self, slot: u32) {
        let done = matches!(self.slab.get(slot),
            Some(Entry::Leftover(leftover)) if leftover.released && !leftover.untold);
        if done {
            self.slab.remove(slot);
        }
    }

    /// Every id of a leg that is not over, one after the other by slot.
    pub(crate) fn next_standing(&self, from: u32) -> Option<LegId> {
        let stands = |(_, entry): (u32, &Entry)| match entry {
            Entry::Leg(leg) if !leg.is_over() => Some(leg.id),
            _ => None,
        };
        self.slab.iter_from(from).find_map(stands)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Leg> {
        self.slab.iter().filter_map(|(_, entry)| match entry {
            Entry::Leg(leg) => Some(leg),
            Entry::Leftover(_) => None,
        })
    }
}

/// Call ids are random: their low half is a hash already.
fn hash(call: CallId) -> u64 {
    let bytes = call.0.to_be_bytes();
    bytes[8..].try_into().map_or(0, u64::from_be_bytes)
}
