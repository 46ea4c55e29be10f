//! A phone of a user of the account's own sends its caller elsewhere (3xx, RFC 3261 section
//! 8.1.3.4): its user forwards his calls. Whom it names is called in its place, as a phone may
//! refer its calls: on the account, by its routes, for as long as its dial waits. The new leg says
//! who has forwarded (Diversion, RFC 5806; History-Info, RFC 7044).
//!
//! Who has forwarded a call stands in its leg, and in the headers of that: who is named there, or
//! forwards, is not called again, and neither is a number by which the call came. What an INVITE
//! said of that before it came here counts, too: so a circle through a carrier is cut.

use base::{CallId, Now};
use model::party;
use sip::{NameAddr, Uri};

use super::Director;
use super::refer;
use super::trunk::{self, Referral};
use crate::forwards::{FORWARDS_MAX, Place};
use crate::live::{Live, Outgoing};
use crate::script::{ChildSpec, Input, Problem, Target, Wait};

/// Bytes of a URI that a call is forwarded to.
const URI_MAX: usize = 256;
/// A dial that has less time left calls nobody more, milliseconds.
const RING_LEAST_MS: u32 = 1_000;

/// What is called beside or behind a leg: as that one was, `to` being who is called.
pub(super) fn like(live: &Live, outgoing: &Outgoing, to: &str) -> ChildSpec {
    ChildSpec {
        call: live.call(),
        target: Target::Sip(to.to_owned()),
        caller: live.row.from.clone(),
        ring_ms: outgoing.ring_ms,
        limit_ms: live.limit_ms,
        pass_progress: outgoing.pass_progress,
        login: None,
        status: live.status.clone(),
        is_trunk: live.row.direction.trunk().is_some(),
        forwards: outgoing.forwards.clone(),
        referred: refer::lines_of_referral(&outgoing.headers),
    }
}

impl Director {
    /// What a redirection says of where to go: the lines of its contacts.
    pub(super) fn on_moved(&mut self, call: CallId, contacts: &str) {
        if let Some(mut live) = self.calls.get_mut(&call).filter(|live| !live.is_over()) {
            live.once.moved = best(contacts);
            live.touch();
        }
    }

    /// A leg is over; true if it was forwarded, and another one is called in its place.
    pub(super) fn forward(&mut self, now: Now, call: CallId) -> bool {
        let Some((parent, spec, to)) = self.forwarded(now, call) else { return false };
        let why = match self.way_of_forward(parent, &spec, &to) {
            Ok(target) => {
                self.call_instead(now, parent, ChildSpec { target, ..spec });
                return true;
            }
            Err(why) => why,
        };
        let by = match &spec.target {
            Target::Sip(by) | Target::Number(by) => by,
        };
        let message = format!("{by} forwards its calls to {to}, which is not called: {why}");
        let problem = Problem { code: 13_224, reason: "forward-refused", message };
        self.problem(now, parent, problem, true);
        false
    }

    /// A leg that a phone of the account's has redirected while its dial waits: the dial's call, as
    /// what it was called, and where it is to go.
    fn forwarded(&self, now: Now, call: CallId) -> Option<(CallId, ChildSpec, String)> {
        let live = self.calls.get(&call)?;
        let (row, outgoing) = (&live.row, live.outgoing.as_ref()?);
        let by = &outgoing.contact.as_ref()?.to;
        let is_moved = (300..=302).contains(&row.sip_code) && !live.is_answered();
        if !is_moved || live.ending.is_some() || live.once.moved.is_empty() {
            return None;
        }
        let parent = self.waiting_for(live)?;
        // It rings for as long as its dial waits, whoever has been called for that before.
        let waited = now.wall.micros_since(row.date_created) / 1_000;
        let waited = u32::try_from(waited).unwrap_or(u32::MAX);
        let ring_ms = outgoing.ring_ms.saturating_sub(waited);
        let mut spec = ChildSpec { ring_ms, ..like(live, outgoing, by) };
        if spec.forwards.is_none() {
            spec.forwards = self.calls.get(&parent)?.facts.forwards.clone();
        }
        Some((parent, spec, live.once.moved.clone()))
    }

    /// The call whose dial waits for this leg, and is joined with nobody.
    pub(super) fn waiting_for(&self, live: &Live) -> Option<CallId> {
        let parent = self.calls.get(&live.row.parent?).filter(|parent| !parent.is_over())?;
        let Wait::Verb(state) = &parent.script.as_ref()?.wait else { return None };
        let waits = !state.is_joined() && state.waits_for().contains(&live.call());
        waits.then(|| parent.call())
    }

    /// Whom a forwarded call goes to, or why to nobody.
    fn way_of_forward(
        &self,
        parent: CallId,
        spec: &ChildSpec,
        to: &str,
    ) -> Result<Target, &'static str> {
        let nobody = "that is nobody's address";
        let target = self.target_of(to).filter(|_| to.len() <= URI_MAX).ok_or(nobody)?;
        let Target::Sip(by) = &spec.target else { return Err(nobody) };
        if spec.forwards.count >= FORWARDS_MAX {
            return Err("it was forwarded too often");
        }
        if spec.ring_ms < RING_LEAST_MS {
            return Err("its dial waits no longer");
        }
        self.may_trunk_forward(spec.call, &target)?;
        let row = self.calls.get(&parent).map(|live| &live.row).ok_or(nobody)?;
        let target = match self.number_of(row.account, &target) {
            Some(number) => Target::Number(number),
            None => target,
        };
        let been = spec.forwards.by.iter().chain([by, &row.to]);
        let been: Vec<Place> = been.flat_map(|it| Place::all_of(it)).collect();
        let has_been = match &target {
            Target::Number(number) => been.contains(&Place::Number(number.clone())),
            Target::Sip(text) => {
                let is_party = |it: &Place| matches!(it, Place::Party(..));
                Place::all_of(text).iter().any(|it| is_party(it) && been.contains(it))
            }
        };
        if has_been {
            return Err("the call has been there");
        }
        // Two phones of one user send it to one place.
        let name = super::originate::name(&target);
        if self.is_calling(parent, &name) {
            return Err("it is called already");
        }
        if self.room_for_forks(parent) == 0 { Err("the dial has no room") } else { Ok(target) }
    }

    /// One of the legs that the call's dial waits for, or is about to hear of, goes there.
    fn is_calling(&self, parent: CallId, name: &str) -> bool {
        let script = self.calls.get(&parent).and_then(|live| live.script.as_ref());
        let waits = match script.map(|script| &script.wait) {
            Some(Wait::Verb(state)) => state.waits_for(),
            _ => Vec::new(),
        };
        let queued = self.inbox.iter().filter_map(|(of, input)| match input {
            Input::ChildForked { call } if *of == parent => Some(*call),
            _ => None,
        });
        let calls = |call: CallId| {
            self.calls.get(&call).is_some_and(|live| !live.is_over() && live.row.to == name)
        };
        waits.into_iter().chain(queued).any(calls)
    }

    /// What a leg says of who has forwarded its call. To numbers, which carriers screen and bill
    /// by: numbers that its account may show, and for who has none that by which the call came. A
    /// stranger that is reached by a URI hears nothing of the account's.
    pub(super) fn lines_of_forwards(
        &self,
        parent: CallId,
        spec: &ChildSpec,
        is_contact: bool,
    ) -> String {
        let forwards = &spec.forwards;
        let Some(live) = self.calls.get(&parent).filter(|_| !forwards.is_none()) else {
            return String::new();
        };
        let number = match &spec.target {
            Target::Sip(uri) if is_contact => {
                let to = party::Target::parse(uri).map(|it| party::plain(&it.uri));
                return forwards.lines(&to.unwrap_or_default(), |_, by| Some(by.to_owned()));
            }
            Target::Sip(_) => return String::new(),
            Target::Number(number) => number,
        };
        let (account, called) = (live.row.account, &live.row.to);
        let at_home = |number: &str| party::at_host(number, &self.settings.sip_host);
        let own = self.directory.number(called).filter(|it| it.account == account);
        let own = own.map(|it| at_home(&it.number));
        let before = live.facts.forwards.by.len();
        forwards.lines(&format!("tel:{number}"), |at, by| {
            let known = Place::all_of(by).into_iter().find_map(|place| match place {
                Place::Number(number) => Some(number),
                Place::Party(..) => None,
            });
            let known = known.filter(|it| self.directory.may_show_number(account, it));
            known.map(|it| at_home(&it)).or_else(|| own.clone().filter(|_| at >= before))
        })
    }

    /// The far end of a trunk's call sends it no further than it may refer it.
    fn may_trunk_forward(&self, call: CallId, target: &Target) -> Result<(), &'static str> {
        let Some(live) = self.calls.get(&call) else { return Ok(()) };
        let Some(referral) = self.referral(live) else { return Ok(()) };
        let is_number = match target {
            Target::Number(_) => true,
            Target::Sip(text) => self.number_of(live.row.account, target).is_some() || is_tel(text),
        };
        match referral {
            Referral::All => {}
            Referral::Uris if !is_number => {}
            Referral::Uris => return Err("the trunk has transfers to SIP URIs alone"),
            Referral::Off => return Err("the trunk's TransferMode is disable-all"),
            Referral::Never => return Err("its trunk's switch alone may send calls on"),
        }
        let is_open = matches!(target, Target::Sip(text) if !trunk::is_secure(text));
        let is_secured = self.is_trunk_secure(live);
        if is_secured && is_open {
            Err("the trunk is secure, and that is not reached by TLS")
        } else {
            Ok(())
        }
    }

    /// A number at a domain of the account's, which is no user's there.
    fn number_of(&self, account: model::AccountSid, target: &Target) -> Option<String> {
        let Target::Sip(text) = target else { return None };
        let user = self.user_called(account, text)?;
        let uri = Uri::parse(text.as_bytes()).ok()?;
        let number = sip::Number::from_uri(&uri)?;
        self.contacts_called(&user, text, false).is_empty().then(|| number.to_string())
    }

    fn call_instead(&mut self, now: Now, parent: CallId, spec: ChildSpec) {
        let Some(by) = self.calls.get(&spec.call).and_then(|live| live.outgoing.as_ref()) else {
            return;
        };
        let by = by.contact.as_ref().map(|contact| contact.to.clone()).unwrap_or_default();
        let forwards = spec.forwards.clone().and(&by);
        let call = self.announce_one(now, parent);
        self.spawn(now, parent, ChildSpec { call, forwards, ..spec });
    }
}

/// The URI of the contact with the highest q, as written otherwise; empty for none.
fn best(lines: &str) -> String {
    let mut best: Option<(f32, String)> = None;
    for value in lines.lines().filter_map(|line| line.strip_prefix("Contact: ")) {
        let Some(address) = NameAddr::parse(value.as_bytes()) else { continue };
        let q = address.params.get(b"q").and_then(|q| core::str::from_utf8(q).ok()?.parse().ok());
        let q = q.unwrap_or(1.0);
        let uri = core::str::from_utf8(address.uri).ok().filter(|uri| !uri.contains('?'));
        if let Some(uri) = uri.filter(|_| best.as_ref().is_none_or(|(known, _)| q > *known)) {
            best = Some((q, uri.to_owned()));
        }
    }
    best.map(|(_, uri)| uri).unwrap_or_default()
}

fn is_tel(uri: &str) -> bool {
    uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_contact_counts_and_headers_in_it_do_not() {
        let lines = "Contact: <sip:a@x>;q=0.2\r\nContact: <sip:b@x?Route=y>\r\n\
                     Contact: <sip:c@x>;q=0.7\r\nContact: <sip:d@x>;q=0.7\r\n";
        assert_eq!(best(lines), "sip:c@x");
        assert_eq!(best("Reason: x\r\n"), "");
    }
}
