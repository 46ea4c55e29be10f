//! The live calls, and which of them differ from what was written.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, DerefMut};

use base::{CallId, LegId};

use crate::live::Live;

#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    live: BTreeMap<CallId, Live>,
    /// Far ends name legs: nobody looks through all calls for one.
    by_leg: HashMap<LegId, CallId>,
    /// In the order in which they were touched, once each.
    dirty: Vec<CallId>,
}

/// A call to be changed. It borrows the calls alone: the director's other parts are at hand beside
/// it.
pub(super) struct CallMut<'a> {
    live: &'a mut Live,
    dirty: &'a mut Vec<CallId>,
}

impl Calls {
    pub(super) fn get(&self, call: &CallId) -> Option<&Live> {
        self.live.get(call)
    }

    pub(super) fn get_mut(&mut self, call: &CallId) -> Option<CallMut<'_>> {
        let live = self.live.get_mut(call)?;
        Some(CallMut { live, dirty: &mut self.dirty })
    }

    pub(super) fn contains(&self, call: &CallId) -> bool {
        self.live.contains_key(call)
    }

    pub(super) fn insert(&mut self, live: Live) {
        let (call, leg) = (live.call(), live.leg);
        self.live.insert(call, live);
        self.set_leg(call, leg);
    }

    pub(super) fn remove(&mut self, call: &CallId) {
        let gone = self.live.remove(call);
        self.forget_leg(gone.map_or(LegId::NONE, |live| live.leg), *call);
    }

    /// The leg that is the call's.
    pub(super) fn set_leg(&mut self, call: CallId, leg: LegId) {
        let Some(live) = self.live.get_mut(&call) else { return };
        let before = std::mem::replace(&mut live.leg, leg);
        self.forget_leg(before, call);
        if leg != LegId::NONE {
            self.by_leg.insert(leg, call);
        }
    }

    fn forget_leg(&mut self, leg: LegId, call: CallId) {
        if self.by_leg.get(&leg) == Some(&call) {
            self.by_leg.remove(&leg);
        }
    }

    /// The call that has this leg and is not over.
    pub(super) fn of_leg(&self, leg: LegId) -> Option<&Live> {
        self.live.get(self.by_leg.get(&leg)?).filter(|live| live.leg == leg && !live.is_over())
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn ids(&self) -> Vec<CallId> {
        self.live.keys().copied().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Live> {
        self.live.values()
    }

    /// The call's state is to be written at the end of this mutation.
    pub(super) fn touch(&mut self, call: CallId) {
        if let Some(mut call) = self.get_mut(&call) {
            call.touch();
        }
    }

    /// What was touched since it was last asked.
    pub(super) fn take_touched(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.dirty)
    }
}

impl<'a> CallMut<'a> {
    /// The call itself, where several of its fields are changed at once.
    pub(super) fn into_live(self) -> &'a mut Live {
        self.live
    }

    /// The call's state is to be written at the end of this mutation.
    pub(super) fn touch(&mut self) {
        if !std::mem::replace(&mut self.live.volatile.dirty, true) {
            self.dirty.push(self.live.call());
        }
    }
}

impl Deref for CallMut<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        self.live
    }
}

impl DerefMut for CallMut<'_> {
    fn deref_mut(&mut self) -> &mut Live {
        self.live
    }
}
