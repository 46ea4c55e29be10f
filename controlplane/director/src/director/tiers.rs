//! The contacts of a user in the order of their q (RFC 3261 section 16.6): those of the highest
//! ring together; when all of them have ended unanswered, or have rung for their share of the
//! dial's time, those of the next. Somebody who declines everywhere (6xx) ends it.
//!
//! A phone that has several flows is asked by one of them, that on which it registered last; when
//! it has failed, by the one before (RFC 5626 section 5.3). It never rings twice for one call.
//!
//! Nothing of it is kept: which contacts are next follows from the q of the leg that has ended, so
//! that a successor goes on where its predecessor was.

use base::{CallId, Now};
use model::{Binding, CallRow, CallStatus};
use wire::event::Cause;

use super::{Director, forward, originate};
use crate::live::{Ending, Live, Outgoing};
use crate::script::{ChildSpec, Input, Wait};

/// The least time that a contact rings, if its dial is as long.
const RING_MIN_MS: u32 = 5_000;

/// In the order of their last REGISTERs.
fn came(contact: &Binding) -> u64 {
    contact.kept.turn
}

/// Two flows of one phone.
fn is_same_phone(left: &Binding, right: &Binding) -> bool {
    left.reg_id > 0 && right.reg_id > 0 && left.instance == right.instance
}

/// One contact of each phone, of several the one that was registered last.
fn phones(contacts: &[Binding]) -> Vec<&Binding> {
    let mut phones: Vec<&Binding> = Vec::new();
    for contact in contacts {
        match phones.iter_mut().find(|it| is_same_phone(it, contact)) {
            Some(phone) if came(contact) > came(phone) => *phone = contact,
            Some(_) => {}
            None => phones.push(contact),
        }
    }
    phones
}

/// The contacts that ring next: those of the highest q below this one.
pub(super) fn next(contacts: &[Binding], below: u32) -> Vec<Binding> {
    let phones = phones(contacts);
    let best = phones.iter().map(|it| it.q).filter(|q| u32::from(*q) < below).max();
    phones.into_iter().filter(|it| Some(it.q) == best).cloned().collect()
}

/// The flow of the same phone that is tried behind this one.
fn next_flow(contacts: &[Binding], failed: &Binding) -> Option<Binding> {
    let is_before = |it: &&Binding| is_same_phone(it, failed) && came(it) < came(failed);
    contacts.iter().filter(is_before).max_by_key(|it| came(it)).cloned()
}

/// How long each tier rings, of a dial that rings so long.
pub(super) fn share(contacts: &[Binding], ring_ms: u32) -> u32 {
    let mut all: Vec<u16> = phones(contacts).iter().map(|it| it.q).collect();
    all.sort_unstable();
    all.dedup();
    let tiers = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
    (ring_ms / tiers).max(RING_MIN_MS.min(ring_ms))
}

impl Director {
    /// How many legs more the dial that a call waits for may have at one time, beside those that
    /// its document names.
    pub(super) fn room_for_forks(&self, parent: CallId) -> usize {
        let limits = &self.settings.limits;
        let script = self.calls.get(&parent).and_then(|live| live.script.as_ref());
        let Some(script) = script else { return 0 };
        let Wait::Verb(state) = &script.wait else { return 0 };
        let waits = state.waits_for();
        let is_open = |call: &&CallId| self.calls.get(call).is_none_or(|live| !live.is_over());
        let is_queued = |(of, input): &&(CallId, Input)| {
            *of == parent && matches!(input, Input::ChildForked { .. })
        };
        let open = waits.iter().filter(is_open).count();
        let open = open + self.inbox.iter().filter(is_queued).count();
        let left = limits.legs_per_call.saturating_sub(script.legs);
        limits.dial_targets.max(1).saturating_sub(open).min(left as usize)
    }

    /// Legs to these contacts beside those that the dial knows of: it waits for them too, and hears
    /// of them before anything becomes of one. They are to be made.
    pub(super) fn announce(
        &mut self,
        now: Now,
        parent: CallId,
        (spec, to): (&ChildSpec, Vec<Binding>),
    ) -> Vec<(ChildSpec, Binding)> {
        let fork = |contact| {
            let call = self.announce_one(now, parent);
            (ChildSpec { call, ..spec.clone() }, contact)
        };
        to.into_iter().map(fork).collect()
    }

    /// One leg more for a dial.
    pub(super) fn announce_one(&mut self, now: Now, parent: CallId) -> CallId {
        let call = CallId::begun(now.wall, self.rng.wide());
        let waits = self.calls.get_mut(&parent).and_then(|live| live.into_live().script.as_mut());
        if let Some(script) = waits {
            script.legs = script.legs.saturating_add(1);
        }
        self.inbox.push_back((parent, Input::ChildForked { call }));
        call
    }

    /// Who declines for all his phones (6xx) is not rung at the others any more (RFC 3261 section
    /// 16.7 step 5). Other users of the same dial ring on.
    pub(super) fn declined_everywhere(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call) else { return };
        let (row, outgoing) = (&live.row, live.outgoing.as_ref());
        let is_contact = outgoing.is_some_and(|outgoing| outgoing.contact.is_some());
        if !is_contact || row.sip_code < 600 || live.is_answered() || live.ending.is_some() {
            return;
        }
        let Some(parent) = self.waiting_for(live) else { return };
        let is_his = |other: &&Live| {
            let is_contact = other.outgoing.as_ref().is_some_and(|it| it.contact.is_some());
            let rings = !other.is_over() && !other.is_answered();
            other.row.to == row.to && is_contact && rings && other.call() != call
        };
        let Some(Wait::Verb(state)) =
            self.calls.get(&parent).and_then(|it| it.script.as_ref()).map(|it| &it.wait)
        else {
            return;
        };
        let waits = state.waits_for();
        let others = waits.iter().filter_map(|other| self.calls.get(other)).filter(is_his);
        let others: Vec<CallId> = others.map(Live::call).collect();
        // It is told in the words of him who declined, so that no other phone shows a missed call.
        let cause = if row.sip_code == 600 { Cause::Busy } else { Cause::Rejected };
        for other in others {
            // It may have been answered, which is not told so far: that counts for more.
            self.end_leg(other, Ending::Cancel(cause));
            self.never_was(now, other, CallStatus::Canceled);
        }
    }

    /// A leg is over: if it was the last one of its tier, and nobody has answered, the next tier
    /// rings.
    pub(super) fn next_tier(&mut self, now: Now, call: CallId) {
        let Some((parent, spec, contacts)) = self.tier_after(call) else { return };
        let room = self.room_for_forks(parent);
        let contacts = contacts.into_iter().take(room).collect();
        for (fork, contact) in self.announce(now, parent, (&spec, contacts)) {
            self.spawn_contact(now, parent, fork, Some(&contact));
        }
    }

    /// Of a leg whose flow has failed before anybody answered: what is called by another one of its
    /// phone's, and that flow, if there is one. None of any other leg.
    pub(super) fn flow_after(&self, call: CallId) -> Option<(ChildSpec, Option<Binding>)> {
        let live = self.calls.get(&call)?;
        let (row, outgoing) = (&live.row, live.outgoing.as_ref()?);
        if live.is_answered() || live.ending.is_some() || !is_flow_lost(row) {
            return None;
        }
        let contacts = self.user_called(row.account, &row.to);
        let contacts =
            contacts.map(|user| self.contacts_called(&user, &row.to, self.is_trunk_secure(live)));
        let contacts = contacts.filter(|_| outgoing.contact.is_some()).unwrap_or_default();
        let flow = own(&contacts, outgoing).and_then(|own| next_flow(&contacts, own));
        Some((forward::like(live, outgoing, &row.to), flow))
    }

    fn tier_after(&self, call: CallId) -> Option<(CallId, ChildSpec, Vec<Binding>)> {
        let live = self.calls.get(&call)?;
        let (row, outgoing) = (&live.row, live.outgoing.as_ref()?);
        let is_open =
            matches!(row.status, CallStatus::Busy | CallStatus::NoAnswer | CallStatus::Failed);
        let is_final = row.sip_code >= 600 || live.is_answered() || live.ending.is_some();
        if outgoing.contact.is_none() || !is_open || is_final {
            return None;
        }
        let parent = self.calls.get(&self.waiting_for(live)?)?;
        let Wait::Verb(state) = &parent.script.as_ref()?.wait else { return None };
        let waits = state.waits_for();
        let user = self.user_called(row.account, &row.to)?;
        let contacts = self.contacts_called(&user, &row.to, self.is_trunk_secure(live));
        let own = own(&contacts, outgoing)?;
        let spec = || forward::like(live, outgoing, &row.to);
        if let Some(flow) = next_flow(&contacts, own).filter(|_| is_flow_lost(row)) {
            return Some((parent.call(), spec(), vec![flow]));
        }
        // Of its tier somebody rings still.
        let is_ringing = |other: &&CallId| {
            // One that is not there yet is about to be.
            let found = self.calls.get(other);
            **other != call && found.is_none_or(|it| it.row.to == row.to && !it.is_over())
        };
        if waits.iter().any(|other| is_ringing(&other)) {
            return None;
        }
        // A phone's place is that of the flow by which it was rung first.
        let mut phones = phones(&contacts).into_iter();
        let q = phones.find(|it| is_same_phone(it, own)).map_or(own.q, |it| it.q);
        let contacts = next(&contacts, q.into());
        Some((parent.call(), spec(), contacts)).filter(|(.., contacts)| !contacts.is_empty())
    }
}

/// Its way to the phone has failed, not the phone.
pub(super) fn is_flow_lost(row: &CallRow) -> bool {
    row.sip_code == 430 || row.cause == Some(Cause::Unreachable)
}

/// The contact that a leg was made for: by the same way where there are several of its URI.
fn own<'a>(contacts: &'a [Binding], outgoing: &Outgoing) -> Option<&'a Binding> {
    let way = outgoing.contact.as_ref()?;
    let is_uri = |it: &&Binding| it.contact == outgoing.uri;
    let is_way = |it: &&Binding| {
        originate::contact_target(it).1 == way.flow && it.path.join(", ") == way.route
    };
    let mut of_uri = contacts.iter().filter(is_uri);
    // Of several by one way the oldest: a dial goes back in time from flow to flow, never round.
    let by_way = of_uri.clone().filter(is_way).min_by_key(|it| came(it));
    by_way.or_else(|| of_uri.next())
}
