//! A phone of a user of the account's own sends its caller elsewhere (3xx, RFC 3261 section
//! 8.1.3.4): its user forwards his calls. Whom it names is called in its place, as a phone may
//! refer its calls: on the account, by its routes, for as long as its dial waits. The new leg says
//! who has forwarded (Diversion, RFC 5806; History-Info, RFC 7044).
//!
//! By whom a call was forwarded stands in these headers of its leg, so that nothing else is kept:
//! who is named there, or forwards, is not called again.

use base::{CallId, Now};
use model::party;
use sip::{NameAddr, Uri};

use super::Director;
use super::trunk::{self, Referral};
use crate::live::{Live, Outgoing};
use crate::script::{ChildSpec, Problem, Target, Wait};

/// How often one call is forwarded.
const FORWARDS_MAX: usize = 5;
/// Bytes of a URI that a call is forwarded to.
const URI_MAX: usize = 256;
const DIVERSION: &str = "Diversion: <";

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
        diverted: kept(&outgoing.headers).to_owned(),
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
        let Some((parent, spec, to)) = self.forwarded(call) else { return false };
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
    fn forwarded(&self, call: CallId) -> Option<(CallId, ChildSpec, String)> {
        let live = self.calls.get(&call)?;
        let (row, outgoing) = (&live.row, live.outgoing.as_ref()?);
        let by = &outgoing.contact.as_ref()?.to;
        let is_moved = (300..=302).contains(&row.sip_code) && !live.is_answered();
        if !is_moved || live.ending.is_some() || live.once.moved.is_empty() {
            return None;
        }
        let parent = self.waiting_for(live)?;
        let spec = like(live, outgoing, by);
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
        let mut known = forwarders(&spec.diverted);
        known.push(by);
        if known.len() > FORWARDS_MAX {
            return Err("it was forwarded too often");
        }
        self.may_trunk_forward(spec.call, &target)?;
        let place = match &target {
            Target::Sip(text) => place(text),
            Target::Number(_) => None,
        };
        if place.is_some() && known.iter().any(|it| self::place(it) == place) {
            return Err("the call has been there");
        }
        let account = self.calls.get(&parent).map(|live| live.row.account).ok_or(nobody)?;
        let target = match self.number_of(account, &target) {
            Some(number) => Target::Number(number),
            None => target,
        };
        // Two phones of one user send it to one place.
        let name = super::originate::name(&target);
        let rings = |live: &Live| live.row.parent == Some(parent) && live.row.to == name;
        if self.calls.all().any(|live| !live.is_over() && rings(live)) {
            return Err("it is called already");
        }
        if self.room_for_forks(parent) == 0 { Err("the dial has no room") } else { Ok(target) }
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
        self.contacts_called(&user, text).is_empty().then(|| number.to_string())
    }

    fn call_instead(&mut self, now: Now, parent: CallId, spec: ChildSpec) {
        let Some(by) = self.calls.get(&spec.call).and_then(|live| live.outgoing.as_ref()) else {
            return;
        };
        let by = by.contact.as_ref().map(|contact| contact.to.clone()).unwrap_or_default();
        let diverted = diverted(&by, &spec);
        let call = self.announce_one(now, parent);
        self.spawn(now, parent, ChildSpec { call, diverted, ..spec });
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

/// The lines among a leg's headers that say who has forwarded its call.
pub(super) fn kept(headers: &str) -> &str {
    headers.find(DIVERSION).map_or("", |at| &headers[at..])
}

/// Who has forwarded a call, first to last.
fn forwarders(lines: &str) -> Vec<&str> {
    let named = lines.lines().filter_map(|line| line.strip_prefix(DIVERSION)?.split('>').next());
    let mut named: Vec<&str> = named.collect();
    named.reverse();
    named
}

/// User and host, as they compare.
fn place(uri: &str) -> Option<(String, String)> {
    let uri = Uri::parse(uri.as_bytes()).ok()?;
    let mut user = [0; 64];
    let user = core::str::from_utf8(uri.user_value(&mut user)?).ok()?.to_owned();
    Some((user, party::host(&uri).to_ascii_lowercase()))
}

/// The lines that say so, when this one forwards too: the last one first (RFC 5806 section 5.1),
/// and the history in its order (RFC 7044 section 10.3).
fn diverted(by: &str, spec: &ChildSpec) -> String {
    use core::fmt::Write as _;

    let mut all = forwarders(&spec.diverted);
    all.push(by);
    let mut lines = String::new();
    for by in all.iter().rev() {
        let _ = write!(lines, "{DIVERSION}{by}>;reason=unconditional;counter=1\r\n");
    }
    let target = match &spec.target {
        Target::Sip(uri) => party::Target::parse(uri).map(|it| party::plain(&it.uri)),
        Target::Number(number) => Some(format!("tel:{number}")),
    };
    let mut index = String::new();
    for (at, uri) in all.iter().map(|it| Some((*it).to_owned())).chain([target]).enumerate() {
        let before = index.clone();
        index.push_str(if at == 0 { "1" } else { ".1" });
        let why = if at < all.len() { "?Reason=SIP%3Bcause%3D302" } else { "" };
        let _ = write!(lines, "History-Info: <{}{why}>;index={index}", uri.unwrap_or_default());
        let _ = match at {
            0 => write!(lines, "\r\n"),
            _ => write!(lines, ";mp={before}\r\n"),
        };
    }
    lines
}

fn is_tel(uri: &str) -> bool {
    uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_who_has_forwarded_and_are_read_back() {
        let spec = |uri: &str, diverted: String| ChildSpec {
            call: CallId(1),
            target: Target::Sip(uri.to_owned()),
            caller: String::new(),
            ring_ms: 1,
            limit_ms: 1,
            pass_progress: false,
            login: None,
            status: None,
            is_trunk: false,
            diverted,
        };
        let once = diverted("sip:a@x", &spec("sip:b@x", String::new()));
        let twice = diverted("sip:b@x", &spec("sip:c@x;user=phone", once));
        assert_eq!(
            twice,
            "Diversion: <sip:b@x>;reason=unconditional;counter=1\r\n\
             Diversion: <sip:a@x>;reason=unconditional;counter=1\r\n\
             History-Info: <sip:a@x?Reason=SIP%3Bcause%3D302>;index=1\r\n\
             History-Info: <sip:b@x?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1\r\n\
             History-Info: <sip:c@x>;index=1.1.1;mp=1.1\r\n"
        );
        assert_eq!(forwarders(&twice), ["sip:a@x", "sip:b@x"]);
        assert_eq!(kept(&format!("X-A: 1\r\n{twice}")), twice);
        assert_eq!(place("sip:Bob@X.example;line=1"), place("sip:Bob@x.EXAMPLE"));
    }

    #[test]
    fn the_best_contact_counts_and_headers_in_it_do_not() {
        let lines = "Contact: <sip:a@x>;q=0.2\r\nContact: <sip:b@x?Route=y>\r\n\
                     Contact: <sip:c@x>;q=0.7\r\nContact: <sip:d@x>;q=0.7\r\n";
        assert_eq!(best(lines), "sip:c@x");
        assert_eq!(best("Reason: x\r\n"), "");
    }
}
