//! A leg of a static route that an application takes out of its relay in mid-call, and gives back.
//! Meanwhile the other leg stands alone and hears silence. The two stay what they are to each other
//! (one was dialled for the other), but that who is held goes on when the other one ends.

use std::collections::BTreeMap;

use base::LegId;
use wire::event::{Cause, Party};

use super::LegMut;
use crate::handoff::PeerMessage;

/// From which leg's relay an application has taken a leg; [`LegId::NONE`] once that one is gone.
/// Few legs are: they stand here, and no leg has a field for it.
pub(crate) type Holds = BTreeMap<LegId, LegId>;

impl LegMut<'_, '_> {
    /// An application takes the leg over. Said again, it changes nothing.
    pub(crate) fn take(&mut self) {
        if !self.leg.is_up() || self.is_held() {
            return;
        }
        let links = &self.leg.links;
        let around = [links.partner, links.dialed_for, links.joining];
        let other = around.into_iter().chain(links.children.iter().copied());
        let other = other.into_iter().find(|leg| *leg != LegId::NONE);
        self.cx.core.holds.insert(self.leg.id, other.unwrap_or(LegId::NONE));
        self.leg.links.joining = LegId::NONE;
        let partner = core::mem::replace(&mut self.leg.links.partner, LegId::NONE);
        if partner != LegId::NONE {
            self.tell_peer(partner, &PeerMessage::Held);
            self.left_join();
        }
    }

    /// The leg is the relay's again: joined as before, over if the other one is, and silent as long
    /// as another application has that one.
    pub(crate) fn give_back(&mut self) {
        match self.cx.core.holds.remove(&self.leg.id) {
            Some(LegId::NONE) => self.hang_up(Cause::Normal, Party::Peer),
            Some(other) => self.join(other),
            // Told again: whoever asks hears that it is joined, if it is.
            None if self.leg.links.partner == LegId::NONE => {}
            None => self.join(self.leg.links.partner),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.cx.core.holds.contains_key(&self.leg.id)
    }

    /// Whether an application has this leg from its relay with `other`: it is not joined then.
    pub(super) fn is_held_from(&self, other: LegId) -> bool {
        other != LegId::NONE && self.cx.core.holds.get(&self.leg.id) == Some(&other)
    }

    /// An application has the partner.
    pub(super) fn on_peer_held(&mut self, from: LegId) {
        if self.leg.links.joining == from {
            self.leg.links.joining = LegId::NONE;
        }
        if self.leg.links.partner == from {
            self.leg.links.partner = LegId::NONE;
            self.left_join();
        }
    }

    /// The other leg of the relay is over; True if this one goes on, because it is held.
    pub(super) fn outlives(&mut self, other: LegId) -> bool {
        if !self.is_held() {
            return false;
        }
        if self.is_held_from(other) {
            self.cx.core.holds.insert(self.leg.id, LegId::NONE);
            if self.leg.links.dialed_for == other {
                self.leg.links.dialed_for = LegId::NONE;
            }
        }
        true
    }
}
