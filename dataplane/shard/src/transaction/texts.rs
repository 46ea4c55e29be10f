//! Messages inside a dialog (RFC 3428) that wait for what the other leg's far end says: few at a
//! time, in a list of their own, a share of it for each leg.

use base::{Arena, LegId, Mono, Stored};

use super::{ClientId, ServerId};

/// Messages under way on a shard, of each half, and of one leg.
pub(crate) const TEXTS_MAX: usize = 512;
pub(crate) const TEXTS_OF_LEG_MAX: usize = 8;

/// A message that a far end sent.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) leg: LegId,
    pub(crate) number: u32,
    pub(crate) server: ServerId,
    /// The request without its body: what its answer is written from.
    pub(crate) head: Stored,
    /// When nobody waits for its answer any more.
    pub(crate) until: Mono,
}

/// A message that was sent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) leg: LegId,
    pub(crate) id: ClientId,
    /// Whose it is, and which.
    pub(crate) from: LegId,
    pub(crate) number: u32,
}

#[derive(Debug)]
pub(crate) struct Texts {
    heard: Vec<Heard>,
    passed: Vec<Passed>,
    last: u32,
}

impl Texts {
    pub(crate) fn new() -> Self {
        let (heard, passed) = (Vec::with_capacity(TEXTS_MAX), Vec::with_capacity(TEXTS_MAX));
        Self { heard, passed, last: 0 }
    }

    /// Whether a leg may have one more under way.
    pub(crate) fn has_room(&self, leg: LegId) -> bool {
        let own = self.heard.iter().filter(|it| it.leg == leg).count();
        self.heard.len() < TEXTS_MAX && own < TEXTS_OF_LEG_MAX
    }

    /// One more; its number.
    pub(crate) fn begin(
        &mut self,
        leg: LegId,
        (server, head): (ServerId, Stored),
        until: Mono,
    ) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.heard.push(Heard { leg, number: self.last, server, head, until });
        self.last
    }

    /// The one of a leg's that has this number; it is over.
    pub(crate) fn take(&mut self, leg: LegId, number: u32) -> Option<Heard> {
        let at = self.heard.iter().position(|it| it.leg == leg && it.number == number)?;
        Some(self.heard.swap_remove(at))
    }

    /// Any of a leg's.
    pub(crate) fn take_any(&mut self, leg: LegId) -> Option<Heard> {
        let at = self.heard.iter().position(|it| it.leg == leg)?;
        Some(self.heard.swap_remove(at))
    }

    /// A leg with one that has waited long enough, and its number.
    pub(crate) fn late(&self, now: Mono) -> Option<(LegId, u32)> {
        self.heard.iter().find(|it| it.until <= now).map(|it| (it.leg, it.number))
    }

    /// It was sent on. False if there is no room to remember whose it is.
    pub(crate) fn pass(&mut self, passed: Passed) -> bool {
        let has_room = self.passed.len() < TEXTS_MAX;
        if has_room {
            self.passed.push(passed);
        }
        has_room
    }

    /// The one that was sent on by this transaction; it is over.
    pub(crate) fn answered(&mut self, id: ClientId) -> Option<Passed> {
        let at = self.passed.iter().position(|it| it.id == id)?;
        Some(self.passed.swap_remove(at))
    }

    /// It was sent once more, by another transaction.
    pub(crate) fn sent_again(&mut self, id: ClientId, again: ClientId) {
        if let Some(passed) = self.passed.iter_mut().find(|it| it.id == id) {
            passed.id = again;
        }
    }

    /// Any that a leg has sent on.
    pub(crate) fn take_passed(&mut self, leg: LegId) -> Option<Passed> {
        let at = self.passed.iter().position(|it| it.leg == leg)?;
        Some(self.passed.swap_remove(at))
    }

    /// A leg that is gone could not answer these.
    pub(crate) fn free(heard: Heard, arena: &mut Arena) -> ServerId {
        let Heard { mut head, server, .. } = heard;
        arena.free(&mut head);
        server
    }
}
