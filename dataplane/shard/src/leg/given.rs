//! A leg that talks with nobody and has said that its place may be had ([`super::place`]): until
//! its application knows who has it, nobody else gets it, and nothing that was dialled for it is
//! joined with it. Whoever answers so long waits: he would be cut off at once, and called anew.
//!
//! ```text
//!   S -- Alone --> N        from here on
//!   S <-- Left --- N        N has not come to it: S goes on, with who has answered meanwhile
//!   S ends                  its document is N's, and who has answered ends with S
//! ```

use std::collections::BTreeMap;

use base::{CallId, LegId};
use wire::event::Cause;

use super::LegMut;
use super::reliable::Held;
use crate::handoff::{PeerMessage, View};

/// To whom a leg has given its place. Few legs have: they stand here, and no leg has a field for
/// it.
pub(crate) type Gifts = BTreeMap<LegId, Gift>;

#[derive(Debug)]
pub(crate) struct Gift {
    to: LegId,
    /// The answer of a leg that was dialled for this one.
    answer: Option<Held>,
}

impl LegMut<'_, '_> {
    /// The place is `to`'s, if it wants it still.
    pub(super) fn tell_alone(&mut self, to: LegId) {
        self.cx.core.gifts.insert(self.leg.id, Gift { to, answer: None });
        let (call, account) = (self.leg.story.call, self.leg.story.account);
        self.tell_peer(to, &PeerMessage::Alone { call, account });
    }

    /// Somebody is about to have its place.
    pub(super) fn is_given(&self) -> bool {
        self.cx.core.gifts.contains_key(&self.leg.id)
    }

    /// A leg that was dialled for this one has answered while the place is given. The first one to
    /// answer is the one.
    pub(super) fn answered_while_given(
        &mut self,
        from: LegId,
        call: CallId,
        sdp: &[u8],
        view: &View,
    ) {
        let gift = self.cx.core.gifts.get(&self.leg.id);
        let held = gift.and_then(|gift| gift.answer.as_ref()).map(|held| held.from);
        if held.is_some_and(|held| held != from && self.leg.links.children.contains(&held)) {
            let cause = Cause::OtherAnswered;
            return self.tell_peer(from, &PeerMessage::Refused { cause });
        }
        let answer = self.held(from, call, sdp, view);
        let Some(gift) = self.cx.core.gifts.get_mut(&self.leg.id) else { return };
        let before = core::mem::replace(&mut gift.answer, answer);
        let is_kept = gift.answer.is_some();
        self.free_held(before);
        if !is_kept {
            self.tell_peer(from, &PeerMessage::Refused { cause: Cause::Internal });
        }
    }

    /// Whoever was to have the place has not come to it.
    pub(super) fn keeps_gift(&mut self, from: LegId) {
        if self.cx.core.gifts.get(&self.leg.id).is_none_or(|gift| gift.to != from) {
            return;
        }
        let gift = self.cx.core.gifts.remove(&self.leg.id);
        if let Some(held) = gift.and_then(|gift| gift.answer) {
            self.answer_held(held);
        }
    }

    pub(super) fn forget_gift(&mut self) {
        let gift = self.cx.core.gifts.remove(&self.leg.id);
        self.free_held(gift.and_then(|gift| gift.answer));
    }

    fn free_held(&mut self, held: Option<Held>) {
        if let Some(mut held) = held {
            self.cx.core.arena.free(&mut held.text);
        }
    }
}
