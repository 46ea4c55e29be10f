//! What becomes of a static route's call whose targets have all failed, or redirect it: the next
//! route that fits, and the contacts of redirections, as the route allows. Legs cannot see the
//! routes: they write what happened to the shard itself, as everything that one leg has another do.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use base::{Frames, LegId, Now, Target, Transport};
use sip::{Message, NameAddr, Scheme, Uri};
use wire::counter::Counter;
use wire::event::Cause;
use wire::policy::Redirect;
use wire::table::StaticRoute;

use crate::Shard;
use crate::emergency::is_for_emergencies;
use crate::leg::identity::hides_caller;
use crate::leg::{CONTACTS_MAX, Contact, Side};
use crate::route::{Full, RouteHandle, Search, is_anonymous};

/// Routes that one call may try.
const TRUNKS_MAX: usize = 8;

/// Routes that were tried, by what makes them these routes.
pub(crate) type Tried = ArrayVec<u64, TRUNKS_MAX>;

/// Of calls that went on to another route or to a contact. Few do: they stand here, and no leg has
/// a field for it.
pub(crate) type Attempts = BTreeMap<LegId, Attempt>;

#[derive(Debug, Default)]
pub(crate) struct Attempt {
    tried: Tried,
    /// Contacts of redirections that were called for it.
    contacts: u8,
}

impl Shard<'_> {
    /// One more call on this route, or on the next one that is not full. `tried` has those that
    /// are. An urgent call is one until its end, whatever else was taken for one meanwhile.
    pub(crate) fn take_next(
        &mut self,
        search: &Search<'_>,
        tried: &mut Tried,
        (first, is_urgent): (Option<usize>, bool),
    ) -> Result<RouteHandle, Full> {
        let mut next = first;
        let mut account = search.account;
        let mut refused = (503, Cause::Overload);
        loop {
            let at = match next.take() {
                Some(at) => at,
                None => {
                    let search = Search { tried, account, ..*search };
                    self.routes.choose(&search, &mut self.core).ok_or(refused)?
                }
            };
            let lifts = is_urgent && is_for_emergencies(self.routes.at_place(at));
            match self.routes.take(at, search.now.mono, lifts) {
                Ok(taken) => {
                    if !tried.is_empty() {
                        self.core.counters.count(Counter::RouteAdvanced);
                    }
                    return Ok(taken);
                }
                Err(full) => {
                    refused = full;
                    // Whoever pays for a call does not change with the route.
                    account = account.or_else(|| Some(self.routes.account_at(at)));
                    tried.try_push(self.routes.id_at(at)).map_err(|_| full)?;
                }
            }
        }
    }

    /// What was dialled for this leg by its route has failed: by the next one, or the caller hears
    /// why not.
    pub(crate) fn advance_route(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: LegId,
        (code, cause): (u16, Cause),
    ) {
        let mut invite = core::mem::take(&mut self.invite);
        let len = self.copy_invite(id, &mut invite);
        let message = Message::parse(&invite[..len]).ok();
        let next = message.as_ref().filter(|_| self.is_to_advance(id, (code, cause)));
        // A route by which nobody can be dialled counts as tried.
        let dialled = next.is_some_and(|message| {
            while self.take_other_route(now, id, message) {
                if self.dial_route(now, id, message).is_ok() {
                    return true;
                }
            }
            false
        });
        if !dialled {
            self.with_leg(now, frames, id, |leg| leg.refuse_for(code, cause));
        }
        self.invite = invite;
    }

    fn copy_invite(&mut self, id: LegId, out: &mut [u8]) -> usize {
        let Some(Side::Inbound(side)) = self.legs.get_mut(id).map(|leg| &leg.side) else {
            return 0;
        };
        let text = self.core.arena.get(&side.text);
        match out.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                text.len()
            }
            None => 0,
        }
    }

    /// Whether what the route came to says something of its targets, and nothing of the callee.
    fn is_to_advance(&mut self, id: LegId, (code, cause): (u16, Cause)) -> bool {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_waiting()) else { return false };
        let route = leg.route().and_then(|route| self.routes.get(route));
        let failover = route.map(|route| route.policy.failover).unwrap_or_default();
        cause == Cause::Unreachable || failover.has(code)
    }

    /// The leg follows another route from now on. False if there is none.
    pub(crate) fn take_other_route(&mut self, now: Now, id: LegId, message: &Message<'_>) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let (Some(before), Ok(uri)) = (leg.route(), message.uri()) else { return false };
        let account = leg.story.account;
        let caller = message.from().ok().and_then(|from| from.uri().ok());
        let source = self.core.source_of(leg);
        let judged = self.core.guard.judged(source, leg.signalling.hop.to);
        let attempt = self.core.attempts.entry(id).or_default();
        if attempt.tried.try_push(before.id).is_err() {
            return false;
        }
        let mut tried = attempt.tried.clone();
        let search = Search {
            uri: &uri,
            source,
            standing: self.core.guard.standing(judged, now.mono),
            now,
            account: Some(account),
            tried: &[],
            hidden: !uri.is_emergency() && caller.is_some_and(|uri| is_anonymous(&uri)),
        };
        let is_urgent = self.is_for_urgent(id);
        let next = self.take_next(&search, &mut tried, (None, is_urgent));
        let Ok(route) = next else { return false };
        if let Some(attempt) = self.core.attempts.get_mut(&id) {
            attempt.tried = tried;
        }
        self.routes.leave(before);
        self.routes.enter(route);
        let trusted = self.trusts(Some(route), source);
        let body_parts = self.routes.get(route).is_some_and(|route| route.policy.body_parts);
        if let Some(leg) = self.legs.get_mut(id) {
            // The rest of its policy is agreed with the caller by now.
            leg.signalling.policy.body_parts = body_parts;
            if let Side::Inbound(side) = &mut leg.side {
                (side.route, side.trusted) = (Some(route), trusted);
                side.hides = !side.is_emergency && hides_caller(message, trusted);
            }
        }
        true
    }

    /// A target redirects a leg that a static route made. `contacts`: one a line.
    pub(crate) fn redirected(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: LegId,
        (code, contacts): (u16, &str),
    ) {
        let caller = self.legs.get_mut(id).map_or(LegId::NONE, |leg| leg.links.dialed_for);
        // For one that is over by now nobody is called.
        let waits = self.legs.get_mut(caller).filter(|leg| leg.is_waiting());
        let handle = waits.and_then(|leg| leg.route());
        // A route that is gone allows nothing, and who is referred follows none.
        let redirect = handle.and_then(|handle| self.routes.get(handle));
        let redirect = redirect.map(|route| route.policy.redirect).unwrap_or_default();
        let contacts = match (redirect, handle) {
            (Redirect::Relay, _) => {
                self.with_leg(now, frames, id, |leg| leg.relay_redirection(code, contacts));
                return;
            }
            (Redirect::Follow, Some(handle)) => self.allowed((id, caller), handle, contacts),
            _ => {
                self.core.counters.count(Counter::RedirectRefused);
                ArrayVec::new()
            }
        };
        self.with_leg(now, frames, id, |leg| leg.follow(code, &contacts));
    }

    /// Those of the contacts that may be called, by their q: no more than are left to the call,
    /// none that it came by already, none of ours.
    fn allowed<'c>(
        &mut self,
        (id, caller): (LegId, LegId),
        handle: RouteHandle,
        contacts: &'c str,
    ) -> ArrayVec<Contact<'c>, CONTACTS_MAX> {
        let mut allowed: ArrayVec<(u32, Contact<'c>), 16> = ArrayVec::new();
        let mut refused = 0;
        let Some(leg) = self.legs.get_mut(id) else { return ArrayVec::new() };
        let arena = &self.core.arena;
        let way = leg.outbound().and_then(|side| Some((side.way(arena)?, side.target)));
        let (Some((way, tried)), Some(route)) = (way, self.routes.get(handle)) else {
            return ArrayVec::new();
        };
        let to = crate::usage::text(arena.get(&leg.story.to));
        for line in contacts.lines() {
            let contact = read(line).filter(|(_, contact)| {
                let Contact { target, uri } = contact;
                let is_known = (0..=tried).chain(way.places()).any(|place| {
                    let known = if way.uri(place).is_empty() { to } else { way.uri(place) };
                    way.target(place) == Some(*target)
                        && crate::leg::identity::is_same_user(known.as_bytes(), uri.as_bytes())
                });
                !is_known
                    && may_lead(route, *target)
                    && !self.core.plan.is_own_listener(target.address)
                    && self.core.hop_to(u8::MAX, *target).is_some()
            });
            let is_new = |contact: &(u32, Contact<'_>)| {
                !allowed.iter().any(|(_, it)| it.uri == contact.1.uri)
            };
            match contact.filter(is_new) {
                Some(contact) if !allowed.is_full() => allowed.push(contact),
                _ => refused += 1,
            }
        }
        // Highest q first, as written otherwise.
        allowed.sort_by_key(|(q, _)| core::cmp::Reverse(*q));
        let attempt = self.core.attempts.entry(caller).or_default();
        let left = CONTACTS_MAX.saturating_sub(usize::from(attempt.contacts));
        let left = left.min(way.contacts.remaining_capacity());
        refused += allowed.len().saturating_sub(left);
        allowed.truncate(left);
        attempt.contacts += u8::try_from(allowed.len()).unwrap_or(u8::MAX);
        self.core.counters.add(Counter::RedirectRefused, refused as u64);
        self.core.counters.add(Counter::RedirectFollowed, allowed.len() as u64);
        allowed.into_iter().map(|(_, contact)| contact).collect()
    }
}

/// Its own targets' hosts, and what the route lists.
fn may_lead(route: &StaticRoute, target: Target) -> bool {
    let host = target.address.ip().to_canonical();
    route.targets.iter().any(|known| known.address.ip().to_canonical() == host)
        || route.policy.redirect_allow.iter().any(|network| network.contains(host))
}

/// A contact's q in thousandths, and where it is. None for what this process cannot find: a name
/// would have to be looked up, and a scheme that is not SIP leads elsewhere.
fn read(line: &str) -> Option<(u32, Contact<'_>)> {
    let address = NameAddr::parse(line.as_bytes())?;
    let q = address.params.get(b"q").map_or(Some(1_000), thousandths)?;
    // Headers in a URI are for whoever clicks on it (RFC 3261 section 19.1.5).
    let uri = address.uri.split(|byte| *byte == b'?').next()?;
    let uri = core::str::from_utf8(uri).ok()?;
    let parsed = Uri::parse(uri.as_bytes()).ok()?;
    let transport = match (parsed.scheme, parsed.transport()) {
        (Scheme::Sips, _) => Transport::Tls,
        (Scheme::Sip, None) => Transport::Udp,
        (Scheme::Sip, Some(name)) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        (Scheme::Sip, Some(name)) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        (Scheme::Sip, Some(name)) if name.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        _ => return None,
    };
    let host = parsed.maddr().unwrap_or(parsed.host).ip()?.to_canonical();
    let port = parsed.port.unwrap_or_else(|| transport.port());
    Some((q, Contact { target: Target::by(transport, (host, port).into()), uri }))
}

/// `0.7` as 700 (RFC 3261 section 25.1).
fn thousandths(text: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(text).ok()?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().ok()?;
    let is_short = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let digits = rest.bytes().chain(core::iter::repeat(b'0')).take(3);
    let rest = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    (is_short && whole * 1_000 + rest <= 1_000).then_some(whole * 1_000 + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_read_as_far_as_this_process_can_find_it() {
        let (q, contact) = read("<sip:a@192.0.2.1;transport=tcp?Route=x>;q=0.25").unwrap();
        assert_eq!((q, contact.uri), (250, "sip:a@192.0.2.1;transport=tcp"));
        assert_eq!(contact.target.to_string(), "192.0.2.1:5060;transport=tcp");
        assert_eq!(read("sips:192.0.2.1").unwrap().1.target.address.port(), 5_061);
        for line in [
            "<tel:+1>",
            "<sip:a@name.example>",
            "<sip:a@192.0.2.1;transport=sctp>",
            "<sip:a@192.0.2.1>;q=2",
            "<sip:a@192.0.2.1>;q=-1",
            "<sip:a@192.0.2.1>;q=0.1234",
            "*",
            "",
        ] {
            assert!(read(line).is_none(), "{line}");
        }
        for (text, q) in [("1", 1_000), ("0", 0), ("0.5", 500), ("1.000", 1_000), ("0.", 0)] {
            assert_eq!(thousandths(text.as_bytes()), Some(q));
        }
        assert_eq!(thousandths(b"99999999999"), None);
    }
}
