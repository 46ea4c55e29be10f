//! How many requests to applications are under way, of each family of accounts and of all: each is
//! a socket, for as long as whoever was asked takes his time. What asks for a document waits in its
//! family's line; callbacks wait in the lines of their hosts ([`super::endpoints`]), and leave a
//! quarter of the places to documents. Where the node has no place, families take turns.

use std::collections::{BTreeMap, VecDeque};

use model::AccountSid;
use model::port::{HttpId, HttpKind};

use crate::settings::Limits;

#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    families: BTreeMap<AccountSid, Share>,
    all: Count,
    /// Families of which something waits.
    turns: VecDeque<AccountSid>,
}

#[derive(Clone, Debug, Default)]
struct Share {
    count: Count,
    /// Requests that wait for a place.
    waiting: VecDeque<HttpId>,
    has_turn: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: u32,
    /// Of them.
    callbacks: u32,
}

impl Count {
    fn has_room(self, kind: HttpKind, most: u32) -> bool {
        let callbacks = kind == HttpKind::Callback;
        self.requests < most && !(callbacks && self.callbacks >= (most - most / 4).max(1))
    }

    fn add(&mut self, kind: HttpKind) {
        self.requests += 1;
        self.callbacks += u32::from(kind == HttpKind::Callback);
    }

    fn take(&mut self, kind: HttpKind) {
        self.requests = self.requests.saturating_sub(1);
        self.callbacks = self.callbacks.saturating_sub(u32::from(kind == HttpKind::Callback));
    }
}

impl Shares {
    /// A request of this family may go out.
    pub(super) fn has_room(&self, family: AccountSid, kind: HttpKind, limits: &Limits) -> bool {
        let own = self.families.get(&family).map(|share| share.count).unwrap_or_default();
        own.has_room(kind, limits.account_requests) && self.all.has_room(kind, limits.requests)
    }

    pub(super) fn begin(&mut self, family: AccountSid, kind: HttpKind) {
        self.families.entry(family).or_default().count.add(kind);
        self.all.add(kind);
    }

    pub(super) fn end(&mut self, family: AccountSid, kind: HttpKind) {
        self.all.take(kind);
        if let Some(share) = self.families.get_mut(&family) {
            share.count.take(kind);
            if share.count.requests == 0 && share.waiting.is_empty() && !share.has_turn {
                self.families.remove(&family);
            }
        }
    }

    /// The request waits, if the family's line is not longer than it may have requests.
    pub(super) fn wait(&mut self, family: AccountSid, id: HttpId, limits: &Limits) -> bool {
        let share = self.families.entry(family).or_default();
        let has_room = share.waiting.len() < limits.account_requests as usize;
        if has_room {
            share.waiting.push_back(id);
        }
        self.wants_turn(family);
        has_room
    }

    /// Something of the family waits, here or in a host's line.
    pub(super) fn wants_turn(&mut self, family: AccountSid) {
        let share = self.families.entry(family).or_default();
        if !share.has_turn {
            share.has_turn = true;
            self.turns.push_back(family);
        }
    }

    /// Whose turn it is.
    pub(super) fn turn(&mut self) -> Option<AccountSid> {
        let family = self.turns.pop_front()?;
        if let Some(share) = self.families.get_mut(&family) {
            share.has_turn = false;
            if share.count.requests == 0 && share.waiting.is_empty() {
                self.families.remove(&family);
            }
        }
        Some(family)
    }

    /// The node has no place for anybody.
    pub(super) fn is_full(&self, kind: HttpKind, limits: &Limits) -> bool {
        !self.all.has_room(kind, limits.requests)
    }

    /// Families that wait for a turn.
    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// The next request of the family's line.
    pub(super) fn next(&mut self, family: AccountSid) -> Option<HttpId> {
        self.families.get_mut(&family)?.waiting.pop_front()
    }

    pub(super) fn is_waiting(&self, family: AccountSid) -> bool {
        self.families.get(&family).is_some_and(|share| !share.waiting.is_empty())
    }
}
