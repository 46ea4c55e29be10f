//! Referrals of legs (RFC 3515): few at a time, so that they stand in a list of their own, and a
//! leg that nobody refers has no byte of one.

use base::{LegId, Mono};

use super::ClientId;

/// Referrals under way on a shard.
pub(crate) const REFERRALS_MAX: usize = 256;

/// A REFER of a leg's far end that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referral {
    pub(crate) leg: LegId,
    /// CSeq number of its REFER, which names the subscription.
    pub(crate) id: u32,
    /// Nobody wants to hear of it (RFC 4488), or nobody takes a NOTIFY.
    pub(crate) quiet: bool,
    /// What came of it; 0 while nothing has.
    pub(crate) code: u16,
    /// The last NOTIFY.
    pub(crate) notify: ClientId,
    /// Nothing was made of it yet.
    fresh: bool,
    /// When it has come to nothing.
    until: Mono,
}

#[derive(Debug)]
pub(crate) struct Referrals(Vec<Referral>);

impl Referrals {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(REFERRALS_MAX))
    }

    pub(crate) fn of(&mut self, leg: LegId) -> Option<&mut Referral> {
        self.0.iter_mut().find(|it| it.leg == leg)
    }

    /// One more. False if there is no room.
    pub(crate) fn begin(&mut self, leg: LegId, (id, quiet): (u32, bool), until: Mono) -> bool {
        let notify = ClientId::NONE;
        let room = self.0.len() < REFERRALS_MAX;
        if room {
            self.0.push(Referral { leg, id, quiet, code: 0, notify, fresh: true, until });
        }
        room
    }

    /// Whether one of the leg's has begun and nothing was made of it yet.
    pub(crate) fn take_fresh(&mut self, leg: LegId) -> bool {
        self.of(leg).is_some_and(|it| core::mem::take(&mut it.fresh))
    }

    pub(crate) fn end(&mut self, leg: LegId) -> Option<Referral> {
        let at = self.0.iter().position(|it| it.leg == leg)?;
        Some(self.0.swap_remove(at))
    }

    /// A leg whose referral has taken too long.
    pub(crate) fn late(&self, now: Mono) -> Option<LegId> {
        self.0.iter().find(|it| it.code == 0 && it.until <= now).map(|it| it.leg)
    }
}

/// Legs whose far ends we have referred to somebody, until a NOTIFY says what came of it.
#[derive(Debug)]
pub(crate) struct Asked(Vec<(LegId, ClientId)>);

impl Asked {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(REFERRALS_MAX))
    }

    pub(crate) fn is_open(&self, leg: LegId) -> bool {
        self.0.iter().any(|(it, _)| *it == leg)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < REFERRALS_MAX
    }

    /// Whether this transaction is the leg's REFER.
    pub(crate) fn is(&self, leg: LegId, id: ClientId) -> bool {
        self.0.contains(&(leg, id))
    }

    /// One more. False if there is no room.
    pub(crate) fn begin(&mut self, leg: LegId, id: ClientId) -> bool {
        let room = self.0.len() < REFERRALS_MAX;
        if room {
            self.0.push((leg, id));
        }
        room
    }

    /// It was sent once more, by another transaction.
    pub(crate) fn sent_again(&mut self, id: ClientId, again: ClientId) {
        self.0.iter_mut().filter(|it| it.1 == id).for_each(|it| it.1 = again);
    }

    pub(crate) fn end(&mut self, leg: LegId) {
        self.0.retain(|(it, _)| *it != leg);
    }
}
