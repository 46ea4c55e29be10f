//! Whether the targets of static routes live: each is asked by OPTIONS now and then, from one
//! shard, which a hash names; what that one hears it tells the others. A target that twice says
//! nothing in time, or says 503, is asked last by calls until it answers again
//! (`transport::targets` has what is known of each; here is only whose turn it is).

use base::{Frames, Hop, Mono, Now, Target};
use core::time::Duration;
use sip::{Message, Method, Name, Part, ViaOut, Writer};
use wire::counter::Counter;
use wire::table::Table;

use crate::Shard;
use crate::cx::{Core, Cx};
use crate::handoff::Handoff;
use crate::leg::seconds_of;
use crate::route::group_of;
use crate::transaction::{ClientId, Outcome, Report, Sent};
use crate::transport::reply::{contact, hex};
use crate::transport::targets::Group;

/// Targets that one shard asks at most.
const PROBES_MAX: usize = 2_000;
/// How many are asked in one turn.
const ASKED_MAX: usize = 16;
/// Silences after which a target is out.
const SILENCES: u8 = 2;
/// How many of its turns a target is out without being heard of again.
const TURNS_OUT: u32 = 3;
/// When one is asked again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// A target that is asked.
#[derive(Clone, Debug)]
struct Probe {
    group: Group,
    target: Target,
    account: u64,
    /// What its certificate must name; empty for its address.
    tls_name: String,
    listener: u8,
    every: Duration,
    /// When it is asked, or what it was asked is a silence.
    due: Mono,
    /// What it was asked and has not answered.
    asked: ClientId,
    silences: u8,
    is_out: bool,
}

/// All that a shard asks, sorted by group and target.
#[derive(Debug, Default)]
pub(crate) struct Probes(Vec<Probe>);

impl Probes {
    /// Of all routes that say so; made where no packet waits.
    pub(crate) fn new(table: &Table) -> Self {
        let routes = table.routes.iter().filter(|route| route.policy.health_s > 0);
        let probes = routes.flat_map(|route| {
            let every = Duration::from_secs(u64::from(route.policy.health_s));
            route.targets.iter().map(move |target| Probe {
                group: group_of(route),
                target: *target,
                account: route.account,
                tls_name: route.tls_name.clone(),
                listener: route.policy.listener.unwrap_or(u8::MAX),
                every,
                due: Mono(0),
                asked: ClientId::NONE,
                silences: 0,
                is_out: false,
            })
        });
        let mut probes: Vec<Probe> = probes.collect();
        probes.sort_by_key(|probe| (probe.group, probe.target));
        probes.dedup_by_key(|probe| (probe.group, probe.target));
        Self(probes)
    }

    /// Takes the place of those before: what is known of one that stays goes on.
    pub(crate) fn replace(&mut self, new: &mut Self, core: &mut Core<'_>, now: Mono) {
        let (own, shards) = (u64::from(core.plan.shard), u64::from(core.plan.shards.max(1)));
        let key = core.plan.keys.table;
        new.0.retain(|probe| {
            let port = probe.target.address.port().to_le_bytes();
            let host = match probe.target.address.ip().to_canonical() {
                core::net::IpAddr::V4(host) => host.to_ipv6_mapped().octets(),
                core::net::IpAddr::V6(host) => host.octets(),
            };
            key.hash(&[&probe.group.to_le_bytes(), &host, &port]) % shards == own
        });
        if new.0.len() > PROBES_MAX {
            core.counters.add(Counter::DiscardNoRoom, (new.0.len() - PROBES_MAX) as u64);
            new.0.truncate(PROBES_MAX);
        }
        for probe in &mut new.0 {
            let named = (probe.group, probe.target);
            match self.0.binary_search_by_key(&named, |known| (known.group, known.target)) {
                Ok(at) => {
                    let known = &self.0[at];
                    (probe.asked, probe.silences) = (known.asked, known.silences);
                    (probe.is_out, probe.due) = (known.is_out, known.due);
                }
                // Not all at once.
                Err(_) => {
                    let every = u64::try_from(probe.every.as_nanos()).unwrap_or(u64::MAX);
                    probe.due = now + Duration::from_nanos(core.random.below(every.max(1)));
                }
            }
        }
        core::mem::swap(self, new);
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.0.iter().map(|probe| probe.due).min().unwrap_or(Mono::NEVER)
    }
}

impl Probe {
    /// The next time, a tenth before or after its turn: those that began together do not stay so.
    fn next(&self, random: &mut base::Prng, now: Mono) -> Mono {
        let every = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        now + Duration::from_nanos(every / 10 * 9 + random.below((every / 5).max(1)))
    }
}

impl Shard<'_> {
    /// Whose turn it is is asked; who has not answered in time was silent.
    pub(crate) fn health_due(&mut self, now: Now, frames: &mut dyn Frames) {
        if now.mono < self.health_at {
            return;
        }
        self.health_at = now.mono + AGAIN;
        let mut asked = 0;
        for at in 0..self.probes.0.len() {
            if self.probes.0[at].due > now.mono || asked >= ASKED_MAX {
                continue;
            }
            match self.probes.0[at].asked {
                ClientId::NONE => {
                    asked += 1;
                    self.ask_health(now, frames, at);
                }
                _ => self.health_silent(now, at),
            }
        }
        self.health_at = self.probes.deadline();
    }

    fn ask_health(&mut self, now: Now, frames: &mut dyn Frames, at: usize) {
        let Probe { account, target, ref tls_name, listener, .. } = self.probes.0[at];
        let name = match tls_name.is_empty() {
            true => Some(target.name),
            false => self.core.names.dial(account, tls_name),
        };
        let hop = name.and_then(|name| self.core.hop_to(listener, Target { name, ..target }));
        let cseq = self.core.random.u32() >> 8;
        let words = [self.core.random.u64(), self.core.random.u64()];
        let mut cx = Cx { now, frames, core: &mut self.core };
        let sent = hop.and_then(|hop| {
            let request = (Sent::Health, base::LegId::NONE, hop, cseq);
            self.transactions.clients.begin(&mut cx, request, |out, core, via| {
                write_options(out, core, (hop, target), (via, cseq, words))
            })
        });
        let probe = &mut self.probes.0[at];
        match sent {
            Some(id) => {
                self.core.counters.count(Counter::HealthAsked);
                probe.asked = id;
                probe.due = now.mono + self.core.plan.timers.target;
            }
            None => probe.due = now.mono + AGAIN.max(probe.every),
        }
    }

    fn health_silent(&mut self, now: Now, at: usize) {
        let probe = &mut self.probes.0[at];
        let asked = core::mem::replace(&mut probe.asked, ClientId::NONE);
        probe.silences = probe.silences.saturating_add(1);
        probe.due = probe.next(&mut self.core.random, now.mono);
        let is_out = probe.silences >= SILENCES;
        self.core.counters.count(Counter::HealthSilent);
        self.transactions.clients.forget(&mut self.core, asked);
        if is_out {
            self.health_is(now, at, Some(0));
        }
    }

    /// What became of an OPTIONS.
    pub(crate) fn health_said(
        &mut self,
        now: Now,
        outcome: &Outcome,
        message: Option<&Message<'_>>,
    ) {
        let found = self.probes.0.iter().position(|probe| probe.asked == outcome.id);
        let (Some(at), Report::Response(code)) = (found, outcome.report) else { return };
        if code < 200 {
            return;
        }
        let probe = &mut self.probes.0[at];
        (probe.asked, probe.silences) = (ClientId::NONE, 0);
        probe.due = probe.next(&mut self.core.random, now.mono);
        self.health_at = self.health_at.min(probe.due);
        let retry = message.and_then(|message| message.header(Name::RetryAfter)).map(seconds_of);
        self.health_is(now, at, (code == 503).then_some(retry.unwrap_or(0)));
    }

    /// The target is out, for so many seconds at least, or it lives: this shard knows, and those
    /// that do not ask it hear so where that is news, or would be forgotten.
    fn health_is(&mut self, now: Now, at: usize, out: Option<u32>) {
        let probe = &mut self.probes.0[at];
        let turns = u32::try_from(probe.every.as_secs()).unwrap_or(u32::MAX);
        let out_s = out.map(|least| least.max(turns.saturating_mul(TURNS_OUT)));
        let was_out = core::mem::replace(&mut probe.is_out, out_s.is_some());
        let (group, target) = (probe.group, probe.target);
        self.core.target_health(now, (group, target), out_s);
        if out_s.is_none() && !was_out {
            return;
        }
        let own = self.core.plan.shard;
        for shard in (0..self.core.plan.shards).filter(|shard| *shard != own) {
            self.push_handoff(shard, &Handoff::Health { group, target, out_s }, 96);
        }
    }

    /// Nobody is asked any more.
    pub(crate) fn end_health(&mut self) {
        for probe in core::mem::take(&mut self.probes).0 {
            self.transactions.clients.forget(&mut self.core, probe.asked);
        }
        self.health_at = Mono::NEVER;
    }
}

fn write_options(
    out: &mut [u8],
    core: &Core<'_>,
    (hop, target): (Hop, Target),
    (via, cseq, words): (&ViaOut<'_>, u32, [u64; 2]),
) -> Option<usize> {
    use std::io::Write as _;
    let ours = core.named(hop.via);
    let (mut tag, mut call_id) = ([0; 16], [0; 16]);
    hex(words[0], &mut tag);
    hex(words[1], &mut call_id);
    let (mut to, mut from) = ([0; 96], [0; 96]);
    let mut rest = &mut to[..];
    write!(rest, "sip:{target}").ok()?;
    let left = rest.len();
    let to = &to[..96 - left];
    let mut rest = &mut from[..];
    write!(rest, "sip:tandem@{}", ours.address).ok()?;
    let left = rest.len();
    let from = &from[..96 - left];
    let writer = Writer::new(out)
        .request_line(Method::Options, to)
        .via(via)
        .max_forwards(70)
        .address(Name::From, b"", from, Some(&tag))
        .address(Name::To, b"", to, None)
        .call_id(&call_id)
        .cseq(cseq, Method::Options);
    let writer = contact(writer, ours).header(Name::Accept, &[Part::Bytes(b"application/sdp")]);
    writer.finish().ok().map(<[u8]>::len)
}
