//! Who is registered where (RFC 3261 section 10, RFC 3327, RFC 5626): the bindings of each user of
//! a domain. A value of its own: the credentials were judged before, and what has changed goes out
//! as records.
//!
//! A REGISTER changes all that it says or nothing. What is new, moved or taken back is durable
//! before it is answered. What only lasts longer leaves the process before its answer does, and
//! nobody waits for the disk: a successor that had not read it would let the contact go at its
//! former time, while its phone believes for long that it is kept.

mod meter;
#[cfg(test)]
mod metered;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use base::{Door, Hop, Mono, Now, Wall};
use model::port::Record;
use model::{AccountSid, Binding, BindingSid, DomainSid};
use sip::{Message, Name, Rport, Scheme, Uri, Via};

use meter::{Idle, Meter};

use crate::settings::Limits;

/// What is asked for where a phone names no time, and what a time that cannot be read means (RFC
/// 3261 sections 10.2.1.1 and 10.3), seconds.
const EXPIRES: u32 = 3_600;
/// Contacts of one REGISTER; bytes of one contact's URI, of its parameters, and of a path.
const ASKED_MAX: usize = 10;
const URI_MAX: usize = 512;
const PARAMS_MAX: usize = 1_024;
const PATH_MAX: usize = 1_024;
/// Seconds within which a phone says something by its flow (RFC 5626 section 5.4).
const FLOW_S: u32 = 120;
/// Bytes of contacts that an answer lists.
const LISTED_MAX: usize = 4_096;

/// A user of a domain.
pub(super) type User = (DomainSid, String);

/// A REGISTER whose credentials were right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) hop: Hop,
    pub(super) account: AccountSid,
    pub(super) user: &'a User,
    /// By whom its phone sends its requests; empty for nobody between.
    pub(super) service_route: &'a str,
}

/// What comes of a REGISTER.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) code: u16,
    /// As the response has them.
    pub(super) headers: String,
    /// To be durable before it is answered.
    pub(super) records: Vec<Record>,
    /// To be written before it is answered.
    pub(super) refreshed: Vec<Record>,
    /// For the account, of a refusal that concerns it.
    pub(super) why: &'static str,
}

#[derive(Clone, Debug)]
struct Live {
    binding: Binding,
    until: Mono,
    meter: Meter,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Registrar {
    users: BTreeMap<User, Vec<Live>>,
    ends: BTreeMap<(Mono, BindingSid), User>,
    counts: BTreeMap<AccountSid, usize>,
    /// Of the contact that was registered last.
    turn: u64,
    idle: Idle,
    /// Contacts of an older binary: that they are metered now is to be written.
    unwritten: Vec<(User, BindingSid)>,
}

/// What a REGISTER has changed: what is to be durable before its answer, and what to be written.
#[derive(Default)]
struct Changed {
    news: Vec<Record>,
    refreshed: Vec<Record>,
}

/// A contact as a REGISTER has it.
struct Wanted {
    contact: String,
    params: String,
    q: u16,
    instance: String,
    reg_id: u32,
    /// 0: to be removed.
    seconds: u32,
}

impl Answered {
    pub(super) fn refused(code: u16, why: &'static str) -> Self {
        let (records, refreshed) = (Vec::new(), Vec::new());
        Self { code, headers: String::new(), records, refreshed, why }
    }
}

impl Registrar {
    /// What was written, for a successor.
    pub(super) fn load(&mut self, now: Now, bindings: &[Binding]) {
        let mut bindings: Vec<&Binding> = bindings.iter().collect();
        bindings.sort_by_key(|binding| (binding.kept.turn, binding.kept.came));
        for binding in bindings {
            // Never longer than its phone was told, should the clock have been set back.
            let granted = binding.expires.micros_since(binding.kept.came);
            let lasts = binding.expires.micros_since(now.wall).min(granted);
            let until = now.mono + Duration::from_micros(lasts);
            let meter = Meter::load(now, binding);
            if meter.is_none() {
                let user = (binding.domain, binding.user.clone());
                self.unwritten.push((user, binding.sid));
            }
            let meter = meter.unwrap_or_else(|| Meter::new(now, binding.sid));
            let mut binding = binding.clone();
            binding.kept.turn = binding.kept.turn.max(self.turn + 1);
            self.insert(binding, until, meter);
        }
    }

    /// When [`Registrar::tick`] has something to do.
    pub(super) fn deadline(&self) -> Mono {
        if !self.unwritten.is_empty() {
            return Mono(0);
        }
        self.ends.first_key_value().map_or(Mono::NEVER, |((at, _), _)| *at)
    }

    /// Contacts whose time is over go.
    pub(super) fn tick(&mut self, now: Now) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(entry) = self.ends.first_entry() {
            let (at, sid) = *entry.key();
            if at > now.mono {
                break;
            }
            let user = entry.get().clone();
            records.extend(self.end(now, &user, sid));
        }
        for (user, sid) in core::mem::take(&mut self.unwritten) {
            let lives = self.users.get_mut(&user).into_iter().flatten();
            let found = lives.into_iter().find(|it| it.binding.sid == sid);
            records.extend(found.map(|it| it.rewritten(now)));
        }
        records
    }

    /// What accounts pay changes: the parts of their contacts end, as at midnight.
    pub(super) fn cut(&mut self, now: Now, is_its: impl Fn(AccountSid) -> bool) -> Vec<Record> {
        let accounts = self.counts.keys().copied().filter(|it| is_its(*it));
        let accounts: BTreeSet<AccountSid> = accounts.collect();
        self.idle.forget(&is_its);
        let mut records = Vec::new();
        let lives = self.users.values_mut().flatten();
        for live in lives.filter(|it| accounts.contains(&it.binding.account)) {
            let counted = live.meter.counted(now, live.until);
            records.extend(counted.written(live.binding.account));
            live.meter = counted.next(now);
            records.push(live.rewritten(now));
        }
        records
    }

    /// Where a user is reached, the best first.
    pub(super) fn contacts(&self, user: &User) -> Vec<Binding> {
        let lives = self.users.get(user).into_iter().flatten();
        let mut found: Vec<&Live> = lives.collect();
        found.sort_by_key(|it| core::cmp::Reverse((it.binding.q, it.binding.kept.turn)));
        found.into_iter().map(|it| it.binding.clone()).collect()
    }

    /// Where a URI of the user's leads: to one phone where it is that one's (RFC 5627 section 6.2),
    /// by whichever of its flows; without flows, to where it registered last.
    pub(super) fn contacts_of(&self, user: &User, uri: &Uri<'_>) -> Vec<Binding> {
        let mut contacts = self.contacts(user);
        let Some(phone) = uri.params.get(b"gr") else { return contacts };
        let is_it =
            |it: &&Binding| gruu_part(&it.instance).is_some_and(|it| it.as_bytes() == phone);
        contacts.retain(|it| is_it(&it));
        let last = contacts.iter().max_by_key(|it| it.kept.turn);
        let Some((last, has_flows)) = last.map(|it| (it.sid, it.reg_id > 0)) else {
            return contacts;
        };
        contacts.retain(|it| if has_flows { it.reg_id > 0 } else { it.sid == last });
        contacts
    }

    /// A user, or all of a domain (`name` none), has no contacts any more.
    pub(super) fn forget(
        &mut self,
        now: Now,
        domain: DomainSid,
        name: Option<&str>,
    ) -> Vec<Record> {
        let first = (domain, name.unwrap_or_default().to_owned());
        let users = self.users.range(first..).map(|(user, _)| user.clone());
        let is_its = |user: &User| user.0 == domain && name.is_none_or(|name| user.1 == name);
        let users: Vec<User> = users.take_while(is_its).collect();
        let mut records = Vec::new();
        for user in users {
            for sid in self.sids(&user) {
                records.extend(self.end(now, &user, sid));
            }
        }
        records
    }

    /// Section 10.3, steps 6 to 8. `fresh_sid`: of a binding that is new.
    pub(super) fn register(
        &mut self,
        now: Now,
        asked: &Asked<'_>,
        limits: &Limits,
        fresh_sid: impl FnMut() -> u128,
    ) -> Answered {
        let changed = match asked.message.contact_is_star() {
            true => self.remove_all(now, asked),
            false => self.change(now, asked, limits, fresh_sid),
        };
        match changed {
            Ok(Changed { news, refreshed }) => {
                let headers = self.listed(now, asked);
                Answered { code: 200, headers, records: news, refreshed, why: "" }
            }
            Err(refused) => refused,
        }
    }

    fn remove_all(&mut self, now: Now, asked: &Asked<'_>) -> Result<Changed, Answered> {
        let message = asked.message;
        let is_alone = message.values(Name::Contact).count() == 1;
        if !is_alone || message.expires() != Ok(0) {
            return Err(Answered::refused(400, "`*` stands alone, with Expires: 0"));
        }
        let lives = self.users.get(asked.user).into_iter().flatten();
        if lives.into_iter().any(|live| is_late(&live.binding, message)) {
            return Err(Answered::refused(500, "the requests of a phone are out of order"));
        }
        let sids = self.sids(asked.user);
        let ends = sids.into_iter().flat_map(|sid| self.end(now, asked.user, sid));
        let news = ends.collect();
        Ok(Changed { news, ..Changed::default() })
    }

    fn change(
        &mut self,
        now: Now,
        asked: &Asked<'_>,
        limits: &Limits,
        mut fresh_sid: impl FnMut() -> u128,
    ) -> Result<Changed, Answered> {
        let wanted = wanted(asked.message, limits)?;
        if is_outbound_lacking(asked.message, &wanted) {
            return Err(Answered::refused(439, "the first hop lacks outbound support"));
        }
        let path = path(asked.message)?;
        let known = self.known(asked.user, &wanted);
        let (mut more, mut is_again) = (0_usize, !wanted.is_empty());
        let mut fewer = 0;
        for (wanted, known) in wanted.iter().zip(&known) {
            match known {
                Some(live) if is_late(&live.binding, asked.message) => {
                    return Err(Answered::refused(500, "the requests of a phone are out of order"));
                }
                Some(live) => {
                    is_again &= is_same_request(&live.binding, asked.message);
                    fewer += usize::from(wanted.seconds == 0);
                }
                None => {
                    is_again &= wanted.seconds == 0;
                    more += usize::from(wanted.seconds > 0);
                }
            }
        }
        // The answer to it was lost, and it comes again.
        if is_again {
            return Ok(Changed::default());
        }
        let known: Vec<Option<BindingSid>> =
            known.into_iter().map(|live| live.map(|live| live.binding.sid)).collect();
        let has = self.users.get(asked.user).map_or(0, Vec::len);
        let all = self.counts.get(&asked.account).copied().unwrap_or(0);
        let is_over = |has: usize, most| has + more > most + fewer;
        let is_full = is_over(has, limits.user_contacts) || is_over(all, limits.account_contacts);
        if more > 0 && is_full {
            return Err(Answered::refused(403, "too many contacts are registered"));
        }
        let mut changed = Changed::default();
        let all = wanted.into_iter().zip(known);
        let (gone, come): (Vec<_>, Vec<_>) = all.partition(|(wanted, _)| wanted.seconds == 0);
        for sid in gone.into_iter().filter_map(|(_, known)| known) {
            changed.news.extend(self.end(now, asked.user, sid));
        }
        for (wanted, known) in come {
            let sid = known.unwrap_or_else(|| BindingSid(fresh_sid()));
            self.put(now, asked, (wanted, sid, path.clone()), &mut changed);
        }
        Ok(changed)
    }

    /// The binding that each contact is about: of the same URI (section 19.1.4), or of the same
    /// instance and its flow (RFC 5626 section 6). A phone that has come back by another
    /// connection, and says that it is the same, has left the one of before, unless the same
    /// REGISTER says something else of that one.
    fn known(&self, user: &User, all: &[Wanted]) -> Vec<Option<&Live>> {
        let lives = self.users.get(user).map_or(&[][..], Vec::as_slice);
        let mut taken = Vec::new();
        let mut find = |is_it: &dyn Fn(&Live) -> bool| {
            let found = lives.iter().find(|it| is_it(it) && !taken.contains(&it.binding.sid))?;
            taken.push(found.binding.sid);
            Some(found)
        };
        let same = all.iter().map(|wanted| find(&|it| is_about(&it.binding, wanted)));
        let same: Vec<Option<&Live>> = same.collect();
        let pairs = all.iter().zip(same);
        pairs.map(|(it, same)| same.or_else(|| find(&|left| is_left(&left.binding, it)))).collect()
    }

    /// One contact as it is wanted.
    fn put(
        &mut self,
        now: Now,
        asked: &Asked<'_>,
        (wanted, sid, path): (Wanted, BindingSid, Vec<String>),
        changed: &mut Changed,
    ) {
        let before = self.remove(asked.user, sid);
        let is_behind_nat = is_behind_nat(asked.message, &wanted.contact);
        let Wanted { contact, params, q, instance, reg_id, seconds } = wanted;
        let lasts = Duration::from_secs(seconds.into());
        let (meter, used) = match &before {
            Some(it) => it.meter.refresh(now, (it.binding.account, it.until)),
            None => {
                let meter = self.idle.take(now, asked.account);
                (meter.unwrap_or_else(|| Meter::new(now, sid)), None)
            }
        };
        let binding = Binding {
            sid,
            account: asked.account,
            domain: asked.user.0,
            user: asked.user.1.clone(),
            contact,
            params,
            q,
            instance,
            reg_id,
            call_id: lossy(asked.message.call_id().ok()),
            cseq: asked.message.cseq().map_or(0, |cseq| cseq.number),
            path,
            hop: asked.hop,
            user_agent: lossy(asked.message.header(Name::UserAgent)).chars().take(128).collect(),
            date_created: before.as_ref().map_or(now.wall, |it| it.binding.date_created),
            expires: Wall(now.wall.0 + u64::from(seconds) * 1_000_000),
            kept: meter.kept(now, (is_behind_nat, self.turn + 1)),
        };
        let is_news = before.as_ref().is_none_or(|it| !it.binding.says_as(&binding));
        let record = Record::Registered(Box::new(binding.clone().into()));
        let changes = if is_news { &mut changed.news } else { &mut changed.refreshed };
        changes.extend(used);
        changes.push(record);
        self.insert(binding, now.mono + lasts, meter);
    }

    /// A contact goes: what is to be written of that.
    fn end(&mut self, now: Now, user: &User, sid: BindingSid) -> Vec<Record> {
        let Some(live) = self.remove(user, sid) else { return Vec::new() };
        let (meter, account) = (live.meter.counted(now, live.until), live.binding.account);
        self.idle.put(now, account, meter);
        meter.written(account).into_iter().chain([Record::BindingGone(sid)]).collect()
    }

    fn sids(&self, user: &User) -> Vec<BindingSid> {
        self.users.get(user).into_iter().flatten().map(|live| live.binding.sid).collect()
    }

    fn insert(&mut self, binding: Binding, until: Mono, meter: Meter) {
        self.turn = self.turn.max(binding.kept.turn);
        let live = Live { binding, until, meter };
        let Binding { sid, account, domain, .. } = live.binding;
        let user = (domain, live.binding.user.clone());
        self.ends.insert((live.until, sid), user.clone());
        *self.counts.entry(account).or_default() += 1;
        self.users.entry(user).or_default().push(live);
    }

    fn remove(&mut self, user: &User, sid: BindingSid) -> Option<Live> {
        let lives = self.users.get_mut(user)?;
        let at = lives.iter().position(|live| live.binding.sid == sid)?;
        let live = lives.remove(at);
        if lives.is_empty() {
            self.users.remove(user);
        }
        self.ends.remove(&(live.until, sid));
        if let Some(count) = self.counts.get_mut(&live.binding.account) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&live.binding.account);
            }
        }
        Some(live)
    }

    /// The headers of a 200: the contacts, those of the phone that asks first, as it wrote them.
    fn listed(&self, now: Now, asked: &Asked<'_>) -> String {
        let message = asked.message;
        let call_id = message.call_id().unwrap_or_default();
        let mut lives: Vec<&Live> = self.users.get(asked.user).into_iter().flatten().collect();
        let is_its = |it: &Live| it.binding.call_id.as_bytes() == call_id;
        lives
            .sort_by_key(|it| core::cmp::Reverse((is_its(it), it.binding.q, it.binding.kept.turn)));
        let mut text = String::new();
        let mut is_outbound = false;
        let gruu = address_of(message).filter(|_| message.lists(Name::Supported, b"gruu"));
        for Live { binding, until, .. } in lives {
            let Binding { contact, params, q, .. } = binding;
            if text.len() + contact.len() + params.len() > LISTED_MAX {
                break;
            }
            let left = until.since(now.mono).as_millis().div_ceil(1_000);
            let _ = write!(text, "Contact: <{contact}>;expires={left}");
            if *q < 1_000 {
                let _ = write!(text, ";q=0.{q:03}");
            }
            let _ = write!(text, "{params}");
            if let Some((address, phone)) = gruu.as_ref().zip(gruu_part(&binding.instance)) {
                let _ = write!(text, ";pub-gruu=\"{address};gr={phone}\"");
            }
            text.push_str("\r\n");
            is_outbound |= binding.call_id.as_bytes() == call_id && is_flow(binding);
        }
        if message.lists(Name::Supported, b"path") {
            for path in message.headers_named(Name::Path) {
                let _ = write!(text, "Path: {}\r\n", String::from_utf8_lossy(path));
            }
        }
        if !asked.service_route.is_empty() {
            let _ = write!(text, "Service-Route: {}\r\n", asked.service_route);
        }
        text.push_str("Supported: path, outbound\r\n");
        if is_outbound && message.lists(Name::Supported, b"outbound") {
            text.push_str("Require: outbound\r\n");
            // Browsers cannot ping, and what carries them does.
            if !is_by_web(message) {
                let _ = write!(text, "Flow-Timer: {FLOW_S}\r\n");
            }
        }
        text
    }
}

impl Live {
    /// What is written of it where no REGISTER has come, but its meter is another.
    fn rewritten(&mut self, now: Now) -> Record {
        self.meter = self.meter.counted(now, self.until);
        let kept = self.binding.kept;
        self.binding.kept = self.meter.kept(now, (kept.is_behind_nat, kept.turn));
        Record::Registered(Box::new(self.binding.clone().into()))
    }
}

/// It is reached by a flow that its phone keeps alive (RFC 5626 section 6): over a stream, whose
/// pings are answered. There is no STUN beside SIP here.
fn is_flow(binding: &Binding) -> bool {
    binding.reg_id > 0 && matches!(binding.hop.via, Door::Connection { .. })
}

/// The phone that asks has come by WebSocket (RFC 7118).
fn is_by_web(message: &Message<'_>) -> bool {
    let via = message.values(Name::Via).next().unwrap_or_default();
    let transport = via.split(|byte| *byte == b' ').next().unwrap_or_default();
    let name = transport.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"WS") || name.eq_ignore_ascii_case(b"WSS")
}

/// The address of record, as a phone is called by it with something behind it.
fn address_of(message: &Message<'_>) -> Option<String> {
    let to = message.to().ok()?.uri().ok()?;
    let mut user = [0; 64];
    let user = core::str::from_utf8(to.user_value(&mut user)?).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
    let host = model::party::host(&to);
    user.chars().all(is_plain).then(|| format!("sip:{user}@{host}"))
}

/// What names an instance in a URI (RFC 5627 section 4.1): the URN in its brackets, which needs no
/// escapes; None for one that would, and for none.
fn gruu_part(instance: &str) -> Option<&str> {
    let urn = instance.trim_matches('"').strip_prefix('<')?.strip_suffix('>')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (urn.starts_with("urn:") && urn.chars().all(is_plain)).then_some(urn)
}

/// Of the same phone's requests a later one was taken.
fn is_late(binding: &Binding, message: &Message<'_>) -> bool {
    let cseq = message.cseq().map_or(0, |cseq| cseq.number);
    message.call_id().is_ok_and(|id| id == binding.call_id.as_bytes()) && cseq < binding.cseq
}

fn is_same_request(binding: &Binding, message: &Message<'_>) -> bool {
    let cseq = message.cseq().map_or(0, |cseq| cseq.number);
    message.call_id().is_ok_and(|id| id == binding.call_id.as_bytes()) && cseq == binding.cseq
}

/// RFC 3581: whoever asks for answers at the port that he sends from is behind something that made
/// that port, or sends and listens there; so is who does not send from the contact that he names.
/// Anybody else means what he names.
fn is_behind_nat(message: &Message<'_>, contact: &str) -> bool {
    let via = message.values(Name::Via).next().and_then(Via::parse);
    let uri = Uri::parse(contact.as_bytes()).ok();
    let Some((via, uri)) = via.zip(uri) else { return true };
    let is_its = via.host.same(uri.host) && via.port.unwrap_or(5_060) == uri.port_or_default();
    via.rport != Rport::Absent || !is_its
}

fn lossy(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// It is this contact.
fn is_about(binding: &Binding, wanted: &Wanted) -> bool {
    if wanted.reg_id > 0 {
        return binding.instance == wanted.instance && binding.reg_id == wanted.reg_id;
    }
    binding.reg_id == 0 && same(&binding.contact, wanted)
}

/// Its connection is one that the phone of this contact has left.
fn is_left(binding: &Binding, wanted: &Wanted) -> bool {
    let was_stream = matches!(binding.hop.via, Door::Connection { .. });
    let is_it = !wanted.instance.is_empty() && binding.instance == wanted.instance;
    let is_plain = wanted.reg_id == 0 && binding.reg_id == 0;
    wanted.seconds > 0 && is_plain && was_stream && is_it
}

fn same(contact: &str, wanted: &Wanted) -> bool {
    let uris = (Uri::parse(contact.as_bytes()), Uri::parse(wanted.contact.as_bytes()));
    contact == wanted.contact || matches!(uris, (Ok(left), Ok(right)) if left.same(&right))
}

/// RFC 5626 section 6: a flow that somebody between relayed is none that we could use, unless he
/// says that he keeps it.
fn is_outbound_lacking(message: &Message<'_>, wanted: &[Wanted]) -> bool {
    let is_wanted =
        wanted.iter().any(|it| it.reg_id > 0) && message.lists(Name::Supported, b"outbound");
    let is_relayed = message.values(Name::Via).count() > 1;
    let last = message.values(Name::Path).last();
    let keeps = last.is_some_and(|path| {
        let address = sip::NameAddr::parse(path);
        address.and_then(|it| it.uri().ok()).is_some_and(|uri| uri.params.has(b"ob"))
    });
    is_wanted && is_relayed && !keeps
}

fn path(message: &Message<'_>) -> Result<Vec<String>, Answered> {
    let bad = || Answered::refused(400, "a Path that cannot be read");
    let mut bytes = 0;
    let mut path = Vec::new();
    for value in message.values(Name::Path) {
        bytes += value.len();
        let address = sip::NameAddr::parse(value).filter(|it| it.bracketed && it.uri().is_ok());
        let text = core::str::from_utf8(value).ok().filter(|_| address.is_some());
        path.push(text.ok_or_else(bad)?.to_owned());
    }
    if bytes > PATH_MAX { Err(bad()) } else { Ok(path) }
}

/// The contacts of a REGISTER, all of them readable.
fn wanted(message: &Message<'_>, limits: &Limits) -> Result<Vec<Wanted>, Answered> {
    let bad = |why| Answered::refused(400, why);
    let default = match message.has(Name::Expires) {
        true => message.expires().unwrap_or(EXPIRES),
        false => EXPIRES,
    };
    let mut all: Vec<Wanted> = Vec::new();
    for contact in message.contacts() {
        let contact = contact.map_err(|_| bad("a Contact that cannot be read"))?;
        let uri = contact.uri().map_err(|_| bad("a Contact whose URI cannot be read"))?;
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(bad("a Contact that is no SIP URI"));
        }
        let asked = match contact.params.has(b"expires") {
            true => contact.expires().unwrap_or(EXPIRES),
            false => default,
        };
        if asked > 0 && asked < limits.register_min_s {
            let headers = format!("Min-Expires: {}\r\n", limits.register_min_s);
            return Err(Answered { headers, ..Answered::refused(423, "registered too briefly") });
        }
        let text = |bytes| core::str::from_utf8(bytes).map(str::to_owned);
        let text = text(contact.uri).map_err(|_| bad("a Contact that is no text"))?;
        let params = params(&contact).ok_or_else(|| bad("a Contact that is no text"))?;
        if text.len() > URI_MAX || params.len() > PARAMS_MAX || all.len() == ASKED_MAX {
            return Err(bad("too long, or too many Contacts"));
        }
        let instance = contact.params.get(b"+sip.instance").unwrap_or_default();
        let reg_id = contact
            .params
            .get(b"reg-id")
            .and_then(|text| core::str::from_utf8(text).ok()?.parse::<u32>().ok());
        let wanted = Wanted {
            contact: text,
            params,
            q: contact.q(),
            instance: String::from_utf8_lossy(instance).into_owned(),
            // Of no instance it says nothing.
            reg_id: reg_id.filter(|_| !instance.is_empty()).unwrap_or(0),
            seconds: asked.min(limits.register_max_s),
        };
        let is_twice = |it: &Wanted| {
            let is_flow = it.reg_id > 0 && it.reg_id == wanted.reg_id;
            is_flow && it.instance == wanted.instance
                || it.reg_id == 0 && same(&it.contact, &wanted)
        };
        if all.iter().any(is_twice) {
            return Err(bad("a Contact that stands twice"));
        }
        all.push(wanted);
    }
    Ok(all)
}

/// Feature tags without a plus (RFC 3840 section 9): their values, as those of all with one, are
/// quoted.
const FEATURES: [&str; 12] = [
    "methods",
    "events",
    "schemes",
    "language",
    "class",
    "duplex",
    "mobility",
    "priority",
    "actor",
    "description",
    "extensions",
    "type",
];

/// The parameters that are kept, as they go out again.
fn params(contact: &sip::NameAddr<'_>) -> Option<String> {
    let mut text = String::new();
    for param in contact.params.iter() {
        if [&b"expires"[..], b"q"].iter().any(|name| param.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        let name = core::str::from_utf8(param.name).ok()?;
        let _ = write!(text, ";{name}");
        let is_feature =
            name.starts_with('+') || FEATURES.iter().any(|it| name.eq_ignore_ascii_case(it));
        let Some(value) = param.value else { continue };
        let value = core::str::from_utf8(value).ok()?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~:".contains(c);
        match !is_feature && !value.is_empty() && value.chars().all(is_plain) {
            true => text.push_str(&format!("={value}")),
            false => text.push_str(&format!("=\"{value}\"")),
        }
    }
    (!text.bytes().any(|byte| byte < b' ')).then_some(text)
}
