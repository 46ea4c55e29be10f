//! Our own registrations at carriers (RFC 3261 section 10.2): a trunk that says so is registered
//! under its name and password, by one shard, as long as the process lives.
//!
//! ```text
//!   Waits --its time--> Asks --401, 407--> Asks, with credentials --200--> Waits, registered
//!                        ^--423, as long as is wanted
//!                        +--503, other 5xx, 408, silence: the next target at once
//!                        +--all of them, or refused: later and later, by chance
//! ```
//!
//! Nothing of it is written down: what names a registration (Call-ID, contact) follows from the
//! trunk's name and a key that outlives the process, and its numbers from the clock, so that a
//! successor refreshes what its predecessor had. It begins each at a moment of its own.

mod answer;

use core::net::IpAddr;
use core::time::Duration;

use base::{Door, Frames, Hop, LegId, Mono, Now, Prng, ShardId, Stored};
use sip::token::Kind;
use sip::txn::{Actions, Client};
use sip::{Message, Method, Writer};
use wire::counter::Counter;

use crate::Shard;
use crate::cx::{Core, Cx};
use crate::plan::{Plan, Registration};
use crate::transaction::via_of;
use answer::{Given, Login};

/// What the salt of a branch says beside the trunk's place.
pub(crate) const SALT: u32 = 3;
/// The least and the most that is asked for again after a 423.
const EXPIRES_MAX: u32 = 86_400;
/// What part of its time a registration lasts before it is asked for again, percent, and by how
/// much less at random.
const REFRESH: u64 = 75;
const REFRESH_LESS: u64 = 25;
/// No refresh sooner, however briefly it was granted.
const REFRESH_MIN: Duration = Duration::from_secs(5);
/// RFC 5626 section 4.5: after the first failure of all targets, and the most.
const AGAIN: Duration = Duration::from_secs(30);
const AGAIN_MAX: Duration = Duration::from_secs(1_800);
/// The longest Retry-After that is believed.
const RETRY_MAX: u32 = 3_600;
/// Between the first requests of all registrations of a shard, at most.
const SPREAD: Duration = Duration::from_millis(50);
/// Challenges that are answered for one request.
const TRIES: u8 = 3;

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    machine: Client,
    text: Stored,
    hop: Hop,
    cseq: u32,
    /// Nobody has said a word by then.
    silent_at: Mono,
    /// How often it was sent with credentials.
    tries: u8,
    /// It has been asked for longer.
    is_longer: bool,
    given: Option<Given>,
}

/// One of them.
#[derive(Debug)]
struct Entry {
    /// Its place in the plan.
    place: u16,
    call_id: String,
    cseq: u32,
    asked: Option<Asked>,
    next: Mono,
    /// Until when the carrier keeps our contact; none before that.
    until: Mono,
    target: usize,
    /// Targets that failed since the last success.
    fails: u32,
    expires: u32,
}

/// Those that this shard owns.
#[derive(Debug)]
pub(crate) struct Registering {
    entries: Vec<Entry>,
    /// The process stops: each takes its contact back, and asks no more.
    leaves: bool,
}

impl Registering {
    pub(crate) fn new(plan: &Plan, now: Now) -> Self {
        let mut random = Prng::new(plan.seed ^ u64::from(plan.shard) ^ 0x7265_6769_7374_6572);
        let owned = (0_u16..).zip(&plan.registrations);
        let owned = owned.filter(|(place, _)| owner(plan, *place) == plan.shard);
        let mut entries = Vec::new();
        for (place, registration) in owned {
            let hash = sip::key::call_hash(registration.trunk.as_bytes(), &plan.keys.token);
            let spread = SPREAD * u32::from(place).saturating_add(1);
            let most = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
            // Seconds since some moment: above all that a predecessor can have used.
            let since = (now.wall.0 / 1_000_000).saturating_sub(1_700_000_000);
            entries.push(Entry {
                place,
                call_id: format!("{hash:016x}-reg"),
                cseq: u32::try_from(since).unwrap_or(1).min(0x3fff_ffff),
                asked: None,
                next: now.mono + Duration::from_micros(random.below(most)),
                until: Mono(0),
                target: 0,
                fails: 0,
                expires: registration.expires,
            });
        }
        Self { entries, leaves: false }
    }

    /// When the next one has something to do.
    pub(crate) fn deadline(&self) -> Mono {
        let due = |entry: &Entry| match &entry.asked {
            Some(asked) => asked.machine.deadline().min(asked.silent_at),
            None if self.leaves => Mono::NEVER,
            None => entry.next,
        };
        self.entries.iter().map(due).min().unwrap_or(Mono::NEVER)
    }

    /// Whether what was asked last of this one went to that host.
    pub(crate) fn is_from_target(&self, place: u32, source: IpAddr) -> bool {
        let entry = self.entries.iter().find(|entry| u32::from(entry.place) == place);
        let asked = entry.and_then(|entry| entry.asked.as_ref());
        asked.is_some_and(|it| it.hop.to.ip().to_canonical() == source.to_canonical())
    }

    /// Nothing is asked.
    pub(crate) fn is_quiet(&self) -> bool {
        self.entries.iter().all(|entry| entry.asked.is_none())
    }

    /// Those that are registered, and those that are not.
    pub(crate) fn counts(&self, now: Mono) -> (u64, u64) {
        let up = self.entries.iter().filter(|entry| entry.until > now).count() as u64;
        (up, self.entries.len() as u64 - up)
    }
}

/// The shard that a registration belongs to.
fn owner(plan: &Plan, place: u16) -> ShardId {
    u8::try_from(place % u16::from(plan.shards.max(1))).unwrap_or(0)
}

/// What an answer means.
enum Means {
    /// Kept so long.
    Granted(u32),
    /// Asked again at once with these.
    Credentials(Given),
    /// Asked again at once, for as long as that.
    Longer(u32),
    /// Another target may do better.
    Elsewhere,
    /// Nobody will.
    Refused,
}

impl Shard<'_> {
    /// Registrations whose time has come.
    pub(crate) fn registrations_due(&mut self, now: Now, frames: &mut dyn Frames) {
        for at in 0..self.registering.entries.len() {
            self.registration_due(now, frames, at);
        }
    }

    fn registration_due(&mut self, now: Now, frames: &mut dyn Frames, at: usize) {
        let leaves = self.registering.leaves;
        let Some(entry) = self.registering.entries.get_mut(at) else { return };
        let Some(asked) = &mut entry.asked else {
            if entry.next <= now.mono && !leaves {
                self.ask_registrar(now, frames, at, None);
            }
            return;
        };
        let timers = self.core.sip_timers();
        let actions = asked.machine.handle_timeout(now.mono, &timers);
        let is_over = actions.has(Actions::TIMEOUT) || now.mono >= asked.silent_at;
        if is_over {
            return self.registration_failed(now, frames, (at, 408, 0), true);
        }
        if actions.has(Actions::RESEND) {
            let mut cx = Cx { now, frames, core: &mut self.core };
            cx.resend(asked.hop, &asked.text);
        }
    }

    /// Asks the target whose turn it is. Without a way there the next one is asked later.
    fn ask_registrar(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        at: usize,
        before: Option<(Given, u8, bool)>,
    ) {
        let leaves = self.registering.leaves;
        let Some(entry) = self.registering.entries.get_mut(at) else { return };
        let plan = self.core.plan.registrations.get(usize::from(entry.place)).cloned();
        let Some(plan) = plan.filter(|plan| !plan.targets.is_empty()) else { return };
        let target = plan.targets[entry.target % plan.targets.len()];
        let named = match plan.tls_name.is_empty() {
            true => Some(target),
            false => {
                let name = self.core.names.dial(0, &plan.tls_name);
                name.map(|name| base::Target { name, ..target })
            }
        };
        let Some(hop) = named.and_then(|target| self.core.hop_to(plan.listener, target)) else {
            return self.registration_failed(now, frames, (at, 0, 0), true);
        };
        entry.cseq += 1;
        let (given, tries, is_longer) = match before {
            Some((given, tries, is_longer)) => (Some(given), tries, is_longer),
            None => (None, 0, false),
        };
        let expires = if leaves { 0 } else { entry.expires };
        let (cseq, call_id) = (entry.cseq, entry.call_id.clone());
        let mut cx = Cx { now, frames, core: &mut self.core };
        let id = name_of(cx.core, entry.place, cseq);
        let frame = cx.compose(|out, core| {
            let request = Request { plan: &plan, hop, cseq, call_id: &call_id, expires };
            request.write(core, id, given.as_ref(), out)
        });
        let text = frame.and_then(|frame| cx.core.arena.store(cx.frames.bytes(frame)));
        let (Some(frame), Some(text)) = (frame, text) else {
            if let Some(frame) = frame {
                cx.discard(frame, Counter::DiscardNoRoom);
            }
            entry.next = now.mono + AGAIN;
            return;
        };
        let timers = cx.core.sip_timers();
        let machine = Client::new(now.mono, &timers, hop.is_reliable());
        let silent_at = now.mono + 2 * cx.core.plan.timers.target;
        let asked = Asked { machine, text, hop, cseq, silent_at, tries, is_longer, given };
        entry.asked = Some(asked);
        cx.count(Counter::RegisterSent);
        cx.send_sip(hop, Some(frame));
    }

    /// A response to a registration of ours.
    pub(crate) fn registrar_answered(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (place, source): (u32, IpAddr),
        message: &Message<'_>,
    ) {
        let at = self.registering.entries.iter().position(|entry| u32::from(entry.place) == place);
        let code = message.status().unwrap_or(0);
        let is_its = |asked: &&mut Asked| {
            asked.hop.to.ip().to_canonical() == source.to_canonical()
                && message.cseq().is_ok_and(|it| it.number == asked.cseq)
        };
        let entry = at.and_then(|at| self.registering.entries.get_mut(at));
        let asked = entry.and_then(|entry| entry.asked.as_mut()).filter(is_its);
        let (Some(at), Some(asked)) = (at, asked) else {
            return self.core.counters.count(Counter::DiscardSipStray);
        };
        if code < 200 {
            let timers = self.core.sip_timers();
            let _ = asked.machine.handle_response(code, now.mono, &timers);
            asked.silent_at = Mono::NEVER;
            return;
        }
        let means = self.means(at, (code, message));
        match means {
            Means::Granted(0) if !self.registering.leaves => {
                self.registration_failed(now, frames, (at, code, 0), true);
            }
            Means::Granted(seconds) => self.registered(now, at, seconds),
            Means::Credentials(given) => {
                let before = self.end_asked(at);
                let (tries, is_longer) = before.map_or((1, false), |it| (it.0 + 1, it.1));
                self.ask_registrar(now, frames, at, Some((given, tries, is_longer)));
            }
            Means::Longer(seconds) => {
                self.end_asked(at);
                if let Some(entry) = self.registering.entries.get_mut(at) {
                    entry.expires = seconds;
                }
                // It is challenged anew, if at all.
                self.ask_registrar(now, frames, at, None);
                let entry = self.registering.entries.get_mut(at);
                if let Some(asked) = entry.and_then(|entry| entry.asked.as_mut()) {
                    asked.is_longer = true;
                }
            }
            Means::Elsewhere | Means::Refused => {
                let after = message.number(sip::Name::RetryAfter).unwrap_or(0);
                let elsewhere = matches!(means, Means::Elsewhere);
                self.registration_failed(now, frames, (at, code, after), elsewhere);
            }
        }
    }

    /// Nothing is asked any more: how often it was with credentials, and whether for longer.
    fn end_asked(&mut self, at: usize) -> Option<(u8, bool)> {
        let entry = self.registering.entries.get_mut(at)?;
        let mut asked = entry.asked.take()?;
        self.core.arena.free(&mut asked.text);
        Some((asked.tries, asked.is_longer))
    }

    fn means(&mut self, at: usize, (code, message): (u16, &Message<'_>)) -> Means {
        let Some(entry) = self.registering.entries.get(at) else { return Means::Refused };
        let Some(asked) = &entry.asked else { return Means::Refused };
        let plan = self.core.plan.registrations.get(usize::from(entry.place));
        let Some(plan) = plan else { return Means::Refused };
        match code {
            200..300 => {
                Means::Granted(granted(message, plan, asked.hop, &self.core, entry.expires))
            }
            401 | 407 if asked.tries < TRIES => {
                let login = Login { plan, random: &mut self.core.random };
                let given = login.answer(message, asked.given.as_ref());
                given.map_or(Means::Refused, Means::Credentials)
            }
            423 => {
                let least = message.number(sip::Name::MinExpires).unwrap_or(0);
                let may = !asked.is_longer && (entry.expires + 1..=EXPIRES_MAX).contains(&least);
                if may { Means::Longer(least) } else { Means::Refused }
            }
            408 | 480 | 500..600 => Means::Elsewhere,
            _ => Means::Refused,
        }
    }

    /// The carrier keeps our contact for so long.
    fn registered(&mut self, now: Now, at: usize, seconds: u32) {
        self.end_asked(at);
        let leaves = self.registering.leaves;
        let Some(entry) = self.registering.entries.get_mut(at) else { return };
        self.core.counters.count(Counter::RegisterGranted);
        let lasts = Duration::from_secs(seconds.into());
        entry.fails = 0;
        entry.until = if leaves { Mono(0) } else { now.mono + lasts };
        let percent = REFRESH - self.core.random.below(REFRESH_LESS);
        let part = lasts.mul_f64(f64::from(u32::try_from(percent).unwrap_or(50)) / 100.0);
        entry.next = now.mono + part.max(REFRESH_MIN);
    }

    /// A target has failed, or the carrier has refused.
    fn registration_failed(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (at, code, after): (usize, u16, u32),
        elsewhere: bool,
    ) {
        self.end_asked(at);
        let leaves = self.registering.leaves;
        let Some(entry) = self.registering.entries.get_mut(at) else { return };
        self.core.counters.count(Counter::RegisterRefused);
        let plan = self.core.plan.registrations.get(usize::from(entry.place));
        let targets = plan.map_or(1, |plan| plan.targets.len().max(1));
        entry.fails += 1;
        if leaves {
            return;
        }
        if elsewhere {
            entry.target = (entry.target + 1) % targets;
            let tried = usize::try_from(entry.fails).unwrap_or(usize::MAX);
            if tried % targets != 0 && code != 0 {
                return self.ask_registrar(now, frames, at, None);
            }
        }
        let rounds = entry.fails / u32::try_from(targets).unwrap_or(1).max(1);
        let most = (AGAIN * 2_u32.saturating_pow(rounds.saturating_sub(1).min(6))).min(AGAIN_MAX);
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        // RFC 5626 section 4.5: half of it at least.
        let wait = Duration::from_millis(millis / 2 + self.core.random.below(millis / 2 + 1));
        let wanted = Duration::from_secs(after.min(RETRY_MAX).into());
        entry.next = now.mono + wait.max(wanted);
    }

    /// The process is about to stop: what is to be taken back is.
    pub(crate) fn leave_registrars(&mut self, now: Now, frames: &mut dyn Frames) {
        self.registering.leaves = true;
        for at in 0..self.registering.entries.len() {
            self.end_asked(at);
            let Some(entry) = self.registering.entries.get(at) else { continue };
            let plan = self.core.plan.registrations.get(usize::from(entry.place));
            if entry.until > now.mono && plan.is_some_and(|plan| plan.leaves) {
                self.ask_registrar(now, frames, at, None);
            }
        }
    }
}

/// The branch's name of a request: no transaction has it, its salt being another, and no other
/// request of the registration (RFC 3261 section 8.1.1.7).
fn name_of(core: &Core<'_>, place: u16, cseq: u32) -> LegId {
    LegId::new(core.plan.shard, cseq, place.into())
}

/// How long our contact is kept, as an answer says: of our contact, of all, or as was asked.
fn granted(
    message: &Message<'_>,
    plan: &Registration,
    hop: Hop,
    core: &Core<'_>,
    asked: u32,
) -> u32 {
    let own = contact(core, hop.via, &plan.contact);
    let own = sip::Uri::parse(own.as_bytes()).ok();
    let is_own = |uri: &sip::Uri<'_>| own.as_ref().is_some_and(|own| own.same(uri));
    let all = message.contacts().flatten();
    let mut of_own = all.filter(|it| it.uri().is_ok_and(|uri| is_own(&uri)));
    let of_own = of_own.find_map(|it| it.expires());
    let of_all = || message.expires().ok();
    of_own.or_else(of_all).unwrap_or(asked).min(EXPIRES_MAX)
}

/// The URI of our contact, through this door.
fn contact(core: &Core<'_>, via: Door, user: &str) -> String {
    let named = core.named(via);
    format!("sip:{user}@{}{}", named.address, named.transport.suffix())
}

/// A REGISTER as it is written.
struct Request<'a> {
    plan: &'a Registration,
    hop: Hop,
    cseq: u32,
    call_id: &'a str,
    expires: u32,
}

impl Request<'_> {
    fn write(
        &self,
        core: &Core<'_>,
        id: LegId,
        given: Option<&Given>,
        out: &mut [u8],
    ) -> Option<usize> {
        let Self { plan, hop, cseq, call_id, expires } = *self;
        let branch = sip::token::make(Kind::Branch { salt: SALT }, id.0, &core.plan.keys.token);
        let host = match plan.host.is_empty() {
            true => hop.to.to_string(),
            false => plan.host.clone(),
        };
        let (uri, record) = (format!("sip:{host}"), format!("sip:{}@{host}", plan.user));
        let contact = format!("<{}>;expires={expires}", contact(core, hop.via, &plan.contact));
        // The same with credentials as without (RFC 3261 section 22.2).
        let tag = format!("{:016x}", core.plan.keys.table.hash(&[call_id.as_bytes()]));
        let writer = Writer::new(out)
            .request_line(Method::Register, uri.as_bytes())
            .via(&via_of(core, hop, &branch))
            .max_forwards(70)
            .address(sip::Name::From, b"", record.as_bytes(), Some(tag.as_bytes()))
            .address(sip::Name::To, b"", record.as_bytes(), None)
            .call_id(call_id.as_bytes())
            .cseq(cseq, Method::Register)
            .field(sip::Name::Contact, contact.as_bytes())
            .field(sip::Name::Expires, expires.to_string().as_bytes())
            .field(sip::Name::Supported, b"path");
        let writer = writer.with(given, |writer, given| given.write(writer, plan, uri.as_bytes()));
        writer.finish().ok().map(<[u8]>::len)
    }
}
