//! What a target's final word brings to the legs of a static route beside the next target: a
//! redirection that is followed, relayed or refused, and another route. What the route allows the
//! shard knows (`failover`).

use sip::{Message, Name, NameAddr};
use wire::event::{Cause, OutWhy, Party};

use super::outbound::cause_of;
use super::{Answer, CONTACTS_MAX, Contact, LegMut};
use crate::handoff::{Handoff, PeerMessage};
use crate::transport::targets::{Group, retry_after};

/// Bytes of the contacts of one redirection: what is more is left out.
const CONTACTS_BYTES: usize = 2_048;

impl LegMut<'_, '_> {
    /// What a response says of the target that sent it.
    pub(super) fn target_said(
        &mut self,
        code: u16,
        target: (Group, base::Target),
        message: Option<&Message<'_>>,
    ) {
        let header = message.filter(|_| code == 503).and_then(|it| it.header(Name::RetryAfter));
        match header.map(seconds_of) {
            Some(seconds) => {
                let why = (OutWhy::Unavailable, retry_after(seconds));
                self.cx.core.target_out(self.cx.now, target, why);
            }
            // It says nothing better than what was known.
            None if code == 503 => {}
            None => self.cx.core.target_back(self.cx.now, target, code <= 100),
        }
    }

    /// A target redirects: the route says what that is worth. False if the leg is none of a
    /// route's.
    pub(super) fn redirected(&mut self, code: u16, message: &Message<'_>) -> bool {
        if !self.leg.outbound().is_some_and(|side| side.by_route) {
            return false;
        }
        let mut lines = [0; CONTACTS_BYTES];
        let len = contact_lines(message, &mut lines);
        let contacts = crate::usage::text(&lines[..len]);
        let handoff = Handoff::Redirected { leg: self.leg.id, code, contacts };
        self.write_to_self(&handoff, contacts.len() + 64)
    }

    /// The contacts are called, as far as there are any; else the call has failed here.
    pub(crate) fn follow(&mut self, code: u16, contacts: &[Contact<'_>]) {
        if self.leg.is_over() || self.leg.is_up() {
            return;
        }
        let first = self.add_contacts(contacts);
        if !first.is_some_and(|place| self.try_target(place)) {
            self.leg.story.code = code;
            self.finish(cause_of(code), Party::Remote);
        }
    }

    /// Puts them behind the targets; the place of the first.
    fn add_contacts(&mut self, contacts: &[Contact<'_>]) -> Option<u8> {
        let mut encoded = [0; 4_096 + CONTACTS_BYTES];
        let arena = &mut self.cx.core.arena;
        let side = self.leg.outbound_mut()?;
        let mut way = side.way(arena)?;
        let place = way.targets.len() + way.contacts.len();
        for contact in contacts.iter().take(CONTACTS_MAX) {
            way.contacts.try_push(*contact).ok()?;
        }
        let len = wire::encode(&way, &mut encoded).ok()?;
        drop(way);
        let stored = arena.store(&encoded[..len])?;
        arena.free(&mut side.way);
        side.way = stored;
        u8::try_from(place).ok().filter(|_| !contacts.is_empty())
    }

    /// The caller is to hear of it.
    pub(crate) fn relay_redirection(&mut self, code: u16, contacts: &str) {
        if self.leg.is_over() || self.leg.is_up() {
            return;
        }
        let caller = self.leg.links.dialed_for;
        if !contacts.is_empty() {
            self.tell_peer(caller, &PeerMessage::Redirected { code, contacts });
        }
        self.leg.story.code = code;
        self.finish(cause_of(code), Party::Remote);
    }

    /// The target that was dialled for this leg redirects its caller.
    pub(super) fn on_peer_redirected(&mut self, from: base::LegId, code: u16, contacts: &str) {
        let is_dialled = self.leg.links.children.contains(&from) && self.leg.route().is_some();
        let is_clean = (300..400).contains(&code) && contacts.lines().all(is_contact);
        if is_dialled && is_clean {
            let answer = Answer { contacts, ..Answer::new(code) };
            self.refuse(&answer, Cause::Rejected, Party::Peer);
        }
    }

    /// What was dialled for this leg by its static route is over without an answer.
    pub(super) fn route_failed(&mut self, was_early: bool, code: u16, cause: Cause) {
        if was_early {
            self.set_peer_view(None);
            self.stand_alone();
        }
        let advance = Handoff::Advance { leg: self.leg.id, code, cause };
        if !self.write_to_self(&advance, 64) {
            self.refuse_for(code, cause);
        }
    }

    /// There is no other route: the caller hears what the last one came to.
    pub(crate) fn refuse_for(&mut self, code: u16, cause: Cause) {
        let status = match code {
            // Nobody is where he was looked for, and where he is is not called.
            300..400 => 502,
            400.. => wire::status::passed_on(code),
            _ => super::end::status_of(cause),
        };
        // 503 is said only where we are full ourselves.
        let retry_after = if status == 503 { 5 } else { 0 };
        let is_ours = code < 300 && cause == Cause::NoCodec;
        let why = if is_ours { super::BadOffer::NO_CODEC.why } else { "" };
        let answer = Answer { retry_after, why, ..Answer::new(status) };
        self.refuse(&answer, cause, Party::Peer);
    }

    fn write_to_self(&mut self, handoff: &Handoff<'_>, most: usize) -> bool {
        let own = usize::from(self.cx.core.plan.shard);
        let written = self.cx.core.handoffs[own].try_say(handoff, most);
        if !written {
            self.cx.count(wire::counter::Counter::DiscardHandoffFull);
        }
        written
    }
}

/// The seconds of a Retry-After; what is too large for a number is long.
pub(crate) fn seconds_of(value: &[u8]) -> u32 {
    let digits = value.trim_ascii().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u32, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
}

/// The contacts of a redirection, one a line: URI, q and expires, and nothing else of them.
fn contact_lines(message: &Message<'_>, out: &mut [u8]) -> usize {
    let mut at = 0;
    for address in message.addresses(Name::Contact).filter_map(Result::ok) {
        at = put(out, at, &address).unwrap_or(at);
    }
    at
}

fn put(out: &mut [u8], at: usize, address: &NameAddr<'_>) -> Option<usize> {
    let params = [(&b";q="[..], &b"q"[..]), (b";expires=", b"expires")];
    let params = params.map(|(name, key)| address.params.get(key).map(|value| (name, value)));
    let mut len = at;
    let mut write = |bytes: &[u8]| {
        out.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    };
    for bytes in [&b"<"[..], address.uri, b">"] {
        write(bytes)?;
    }
    for (name, value) in params.into_iter().flatten() {
        write(name)?;
        write(value)?;
    }
    write(b"\n")?;
    Some(len)
}

/// A line that may stand in a message of ours.
fn is_contact(line: &str) -> bool {
    NameAddr::parse(line.as_bytes()).is_some_and(|address| address.uri().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_whatever_stands_behind_it() {
        for (text, seconds) in [
            ("30", 30),
            (" 120 (I am in a meeting)", 120),
            ("18000;duration=3600", 18_000),
            ("4294967295", u32::MAX),
            ("99999999999999999999", u32::MAX),
            ("soon", 0),
            ("", 0),
        ] {
            assert_eq!(seconds_of(text.as_bytes()), seconds, "{text}");
        }
    }
}
