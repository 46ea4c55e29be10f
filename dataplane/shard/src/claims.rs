//! Requests that must say whose they are: challenges (RFC 3261 section 22, RFC 8760), and those
//! that have answered one and wait for the controlplane, which alone knows passwords.
//!
//! ```text
//!   without credentials, or with none of ours --> 407 (401), nothing kept
//!   nonce old, or its count used              --> 407 (401), stale=true
//!   nonce fresh --> kept, Claim told --> Verdict: Wrong --> 407 (401)
//!                                                 Proven --> the call begins
//!                                                 Answer --> what becomes of a REGISTER
//!                                        2 s later       --> 503
//! ```
//!
//! Nothing here tells a user that there is from one that there is not: the same answers are made
//! by the same work, and which it is is not known.

use base::{ConnectionId, Door, Frames, Hop, Mono, Now, ShardId, Stored};
use core::net::SocketAddr;
use sip::digest::{Algorithm, Challenge, Credentials};
use sip::key::TransactionKey;
use sip::{Message, Method, Name, Part, Writer};
use wire::command::Verdict;
use wire::counter::Counter;
use wire::event::{Claim, Event};

use crate::Shard;
use crate::calls::NewCall;
use crate::cx::Core;
use crate::handoff::Handoff;
use crate::plan::Plan;
use crate::route::Admits;
use crate::transaction::{Share, Shares};
use crate::transport::Datagram;
use crate::transport::far_end::FarEnd;
use crate::transport::guard::Standing;
use crate::transport::nonces::{Judged, Nonces};
use crate::transport::offers::Offers;
use crate::usage::text;

/// Requests that wait at one time; a source has a part of them.
const CLAIMS_MAX: u32 = 1_024;
/// Bytes of a request's header section that are told.
const HEAD_MAX: usize = 6 * 1_024;
/// Bytes of a challenge beside realm and nonce, and of a response behind its challenges.
const CHALLENGE_BYTES: usize = 75;
const END_BYTES: usize = 21;
/// Bytes of a domain's name.
const REALM_MAX: usize = 255;

/// One that waits.
#[derive(Debug)]
struct Open {
    id: u64,
    call: Key,
    hop: Hop,
    arrived: Mono,
    standing: Standing,
    taken_by: ShardId,
    source: FarEnd,
    bytes: Stored,
    realm: Stored,
    until: Mono,
    share: Share,
}

/// The transaction that it is.
#[derive(Clone, Copy, Debug)]
struct Key {
    own: TransactionKey,
    merge: Option<TransactionKey>,
}

/// The header with credentials, the one that asks for them, and its status (RFC 3261 sections 22.2
/// and 22.3): of a REGISTER, which is for us, and of what goes on.
fn asks(message: &Message<'_>) -> (Name, Name, u16) {
    match message.method() {
        Some(Method::Register) => (Name::Authorization, Name::WwwAuthenticate, 401),
        _ => (Name::ProxyAuthorization, Name::ProxyAuthenticate, 407),
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Claims {
    nonces: Nonces,
    offers: Offers,
    open: Vec<Open>,
    shares: Shares,
    epoch: u32,
    last: u32,
}

impl Claims {
    pub(crate) fn new(plan: &Plan, epoch: u32) -> Self {
        let (nonces, offers) = (Nonces::new(plan, epoch), Offers::new(plan.keys.table));
        let open = Vec::with_capacity(CLAIMS_MAX as usize);
        Self { nonces, offers, open, shares: Shares::new(CLAIMS_MAX), epoch, last: 0 }
    }

    /// When the first of them has waited long enough.
    pub(crate) fn deadline(&self) -> Mono {
        self.open.iter().map(|open| open.until).min().unwrap_or(Mono::NEVER)
    }

    fn take(&mut self, is: impl Fn(&Open) -> bool) -> Option<Open> {
        let at = self.open.iter().position(is)?;
        let open = self.open.swap_remove(at);
        self.shares.end(open.share);
        Some(open)
    }
}

impl Shard<'_> {
    /// Whether the call goes on only as somebody's. Then it is challenged, or asked about.
    pub(crate) fn must_prove(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        call: &NewCall<'_>,
    ) -> bool {
        let NewCall { datagram, message, .. } = *call;
        let Ok(mut uri) = message.uri() else { return false };
        let source = datagram.source;
        if call.place != base::LegId::NONE && self.routes.lock_of(&uri, &mut [0; 255]).is_none() {
            // It calls our Contact: whose it is says From.
            uri = message.from().ok().and_then(|from| from.uri().ok()).unwrap_or(uri);
        }
        let mut host = [0; REALM_MAX];
        let Some((realm, lock)) = self.routes.lock_of(&uri, &mut host) else { return false };
        let search = crate::calls::search(now, &uri, datagram);
        let is_free = !lock.calls
            || self.routes.choose(&search, &mut self.core).is_some()
            || self.routes.admits_now(&uri, source) == Admits::Yes;
        if !is_free {
            self.claim(now, frames, call, realm);
        }
        !is_free
    }

    /// A REGISTER: of a domain that takes any, in To (RFC 3261 section 10.3).
    pub(crate) fn registration(&mut self, now: Now, frames: &mut dyn Frames, call: &NewCall<'_>) {
        let NewCall { datagram, message, .. } = *call;
        let to = message.to().ok().and_then(|to| to.uri().ok());
        let mut host = [0; REALM_MAX];
        let found = to.map(|to| {
            let is_known = self.routes.admits_now(&to, datagram.source) != Admits::Nobody;
            (is_known, self.routes.lock_of(&to, &mut host))
        });
        match found {
            Some((_, Some((realm, lock)))) if lock.registrations => {
                self.claim(now, frames, call, realm);
            }
            Some((true, _)) => {
                self.core.counters.count(Counter::RefusedSource);
                self.cx(now, frames).answer(datagram, message, 403);
            }
            _ => {
                self.core.counters.count(Counter::RefusedUnknown);
                self.cx(now, frames).answer(datagram, message, 404);
            }
        }
    }

    fn claim(&mut self, now: Now, frames: &mut dyn Frames, call: &NewCall<'_>, realm: &[u8]) {
        let NewCall { datagram, message, .. } = *call;
        if self.claims.open.iter().any(|open| open.call.own == call.key) {
            // It comes again while it waits.
            return self.core.counters.count(Counter::SipRetransmitted);
        }
        let (header, ..) = asks(message);
        let given = message.headers_named(header).filter_map(Credentials::parse);
        let Some(given) = given.into_iter().find(|given| given.realm == realm) else {
            return self.challenge(now, frames, (datagram, message), (realm, false));
        };
        // What comes again is the same to the letter: not another contact under the same answer.
        let request = self.core.plan.keys.table.hash(&[&call.key.0.to_le_bytes(), datagram.bytes]);
        let seconds = now.wall.0 / 1_000_000;
        let source = datagram.hop.to.ip();
        let judged = self.claims.nonces.judge(seconds, source, &given, request);
        if judged == Judged::Fresh {
            let who = self.who_asks(datagram, message);
            let is_md5 = given.algorithm == Algorithm::Md5;
            if self.claims.offers.answered(who, is_md5) {
                // What it knows it knows towards every shard.
                let (own, shards) = (self.core.plan.shard, self.core.plan.shards);
                for shard in (0..shards).filter(|shard| *shard != own) {
                    self.push_handoff(shard, &Handoff::Md5Alone { who }, 32);
                }
            }
        }
        match judged {
            // It was answered, and the answer may be lost: a registrar says it again.
            Judged::Again if message.method() == Some(Method::Register) => {
                self.ask(now, frames, call, realm);
            }
            Judged::Fresh => {
                // It hears us.
                self.proven(now, datagram);
                self.ask(now, frames, call, realm);
            }
            Judged::Foreign => {
                self.challenge(now, frames, (datagram, message), (realm, false));
            }
            Judged::Stale | Judged::Used | Judged::Again => {
                if judged != Judged::Stale {
                    self.core.counters.count(Counter::NonceReplayed);
                }
                self.challenge(now, frames, (datagram, message), (realm, true));
            }
        }
    }

    /// Asks for credentials: SHA-256 first (RFC 8760 section 2.3). In the short form, which a
    /// stranger's request pays for.
    fn challenge(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (datagram, message): (&Datagram<'_>, &Message<'_>),
        (realm, stale): (&[u8], bool),
    ) {
        let seconds = now.wall.0 / 1_000_000;
        let both = self.offers_both(seconds, datagram, message);
        let nonce = self.claims.nonces.make(seconds, datagram.hop.to.ip(), realm);
        let challenge = |algorithm| Challenge {
            realm,
            nonce: nonce.bytes(),
            opaque: None,
            algorithm,
            stale,
            qop_auth: true,
        };
        self.core.counters.count(Counter::ChallengeSent);
        let is_stranger = datagram.standing == Standing::Stranger;
        let (_, name, code) = asks(message);
        self.cx(now, frames).answer_with(datagram, message, code, |writer| {
            // A short request of a stranger pays for one: for that which every phone knows.
            let one = CHALLENGE_BYTES + realm.len() + nonce.bytes().len();
            let answer = writer.len() + 2 * one + END_BYTES;
            let affords = !is_stranger || 2 * answer <= 3 * datagram.bytes.len();
            let better = (both && affords).then_some(Algorithm::Sha256);
            let writer =
                writer.with(better, |writer, better| challenge(better).write(writer, name));
            challenge(Algorithm::Md5).write(writer, name)
        });
    }

    /// Whoever asks, as offers know him: parameters of his URI do not count.
    fn who_asks(&self, datagram: &Datagram<'_>, message: &Message<'_>) -> u64 {
        let from = message.from().ok().and_then(|from| from.uri().ok());
        let user = from.map_or(&b""[..], |from| from.user);
        self.claims.offers.who(datagram.hop.to.ip(), user)
    }

    /// Another shard was told by a caller's answer that MD5 is what he knows.
    pub(crate) fn md5_alone(&mut self, who: u64, now: Now) {
        self.claims.offers.learn(who, now.wall.0 / 1_000_000);
    }

    fn offers_both(
        &mut self,
        seconds: u64,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) -> bool {
        let who = self.who_asks(datagram, message);
        let key = TransactionKey::server(message, &self.core.plan.keys.token);
        let (header, ..) = asks(message);
        match key {
            Ok(key) if !message.has(header) => {
                let request = self.core.plan.keys.table.hash(&[&key.0.to_le_bytes()]);
                self.claims.offers.offers_both(who, request, seconds)
            }
            _ => self.claims.offers.offered_both(who),
        }
    }

    /// Keeps the request, and asks whether it is whose it says.
    fn ask(&mut self, now: Now, frames: &mut dyn Frames, call: &NewCall<'_>, realm: &[u8]) {
        let NewCall { datagram, message, .. } = *call;
        let head = datagram.bytes.len() - message.body().len().min(datagram.bytes.len());
        if head > HEAD_MAX {
            self.core.counters.count(Counter::RefusedProtocol);
            return self.cx(now, frames).answer(datagram, message, 513);
        }
        if !self.keep(now, call, realm) {
            self.core.counters.count(Counter::RefusedOverload);
            return self.cx(now, frames).answer_with(datagram, message, 503, |writer| {
                writer.field(Name::RetryAfter, b"5")
            });
        }
        let id = self.claims.id();
        let claim = Claim {
            registers: message.method() == Some(Method::Register),
            id,
            at: now.wall,
            hop: datagram.hop,
            realm: text(realm),
            head: &datagram.bytes[..head],
        };
        self.cx(now, frames).emit_event(&Event::Claim(claim));
    }

    /// False if there is no room for it, or its source has its part already.
    fn keep(&mut self, now: Now, call: &NewCall<'_>, realm: &[u8]) -> bool {
        let Datagram { hop, arrived, bytes, standing, taken_by, source } = *call.datagram;
        let share = Share::of(standing, hop.to, self.core.plan.keys.table);
        let open = self.claims.open.len();
        let may = open < CLAIMS_MAX as usize && self.claims.shares.may_begin(share, open);
        if self.draining || !may || !self.core.has_credit() {
            return false;
        }
        let Some(mut bytes) = self.core.arena.store(bytes) else { return false };
        let Some(realm) = self.core.arena.store(realm) else {
            self.core.arena.free(&mut bytes);
            return false;
        };
        self.claims.last = self.claims.last.wrapping_add(1);
        self.claims.shares.begin(share);
        let until = now.mono + self.core.plan.timers.hold;
        let (id, call) = (self.claims.id(), Key { own: call.key, merge: call.merge });
        self.claims.open.push(Open {
            id,
            call,
            hop,
            arrived,
            standing,
            taken_by,
            source,
            bytes,
            realm,
            until,
            share,
        });
        true
    }

    /// The controlplane says what a request is worth.
    pub(crate) fn verdict(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: u64,
        verdict: &Verdict<'_>,
    ) {
        let Some(open) = self.claims.take(|open| open.id == id) else {
            // Its time was over, or its caller gave up.
            return self.core.counters.count(Counter::DiscardSipStray);
        };
        self.with_open(now, frames, open, |shard, frames, call, realm| match *verdict {
            Verdict::Wrong => {
                shard.core.counters.count(Counter::RefusedCredentials);
                shard.challenge(now, frames, (call.datagram, call.message), (realm, false));
            }
            Verdict::Proven { user } if call.message.method() == Some(Method::Invite) => {
                let now = now.for_arrival(call.datagram.arrived);
                match shard.wanted_place(call.message) {
                    Ok(place) => shard.new_call(now, frames, &NewCall { user, place, ..*call }),
                    Err((code, _)) => {
                        shard.cx(now, frames).answer(call.datagram, call.message, code);
                    }
                }
            }
            Verdict::Proven { .. } => {
                shard.core.counters.count(Counter::DiscardCommandMalformed);
                shard.cx(now, frames).answer(call.datagram, call.message, 500);
            }
            Verdict::Answer { code, retry_after, headers } => {
                let mut digits = [0; 10];
                let after = decimal(retry_after, &mut digits);
                let is_register = call.message.method() == Some(Method::Register);
                if is_register && code == 200 {
                    // A proxy's connection carries others, and it is the phones that ping it.
                    let mut vias = call.message.headers_named(Name::Via);
                    let is_phones = vias.next().is_some_and(|via| !via.contains(&b','))
                        && vias.next().is_none();
                    let silence_s = if is_phones { silence_of(headers) } else { 0 };
                    shard.keep_flow(now, call.datagram.hop, silence_s);
                }
                let is_final = (300..700).contains(&code) || is_register && code == 200;
                let code = if is_final { code } else { 500 };
                shard.cx(now, frames).answer_with(call.datagram, call.message, code, |writer| {
                    let writer = match retry_after {
                        0 => writer,
                        _ => writer.field(Name::RetryAfter, after),
                    };
                    with_headers(writer, headers)
                });
            }
        });
    }

    /// A phone is reached by the connection on which it registered: it stays, wherever it lives.
    fn keep_flow(&mut self, now: Now, hop: Hop, silence_s: u16) {
        let Door::Connection { id, .. } = hop.via else { return };
        if id.shard == self.core.plan.shard {
            self.core.connections.befriend(id, silence_s, now.mono);
        } else if id.shard < self.core.plan.shards {
            self.push_handoff(id.shard, &Handoff::Registered { id, silence_s }, 32);
        }
    }

    /// What was kept, as the request that it is.
    fn with_open(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        mut open: Open,
        handle: impl FnOnce(&mut Self, &mut dyn Frames, &NewCall<'_>, &[u8]),
    ) {
        let mut copy = core::mem::take(&mut self.datagram);
        let bytes = self.core.arena.get(&open.bytes);
        let len = bytes.len().min(copy.len());
        copy[..len].copy_from_slice(&bytes[..len]);
        let mut realm = [0; REALM_MAX];
        let text = self.core.arena.get(&open.realm);
        let realm = &mut realm[..text.len().min(REALM_MAX)];
        realm.copy_from_slice(&text[..realm.len()]);
        self.core.arena.free(&mut open.bytes);
        self.core.arena.free(&mut open.realm);
        let Open { hop, arrived, taken_by, source, .. } = open;
        // It has heard us since.
        let standing = match open.standing {
            Standing::Stranger => Standing::Proven,
            standing => standing,
        };
        let bytes = &copy[..len];
        let datagram = Datagram { hop, arrived, bytes, standing, taken_by, source };
        if let Ok(message) = Message::parse(datagram.bytes) {
            let Key { own: key, merge } = open.call;
            let (datagram, message, place) = (&datagram, &message, base::LegId::NONE);
            let call = NewCall { datagram, message, key, merge, user: "", place };
            handle(self, frames, &call, realm);
        }
        self.datagram = copy;
        self.drain(now, frames);
    }

    /// An INVITE that waits is given up by its caller. False if it does not wait.
    pub(crate) fn cancel_claim(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        key: TransactionKey,
        cancel: (&Datagram<'_>, &Message<'_>),
    ) -> bool {
        let is_its = |open: &Open| open.call.own == key && open.hop.to == cancel.0.hop.to;
        let Some(mut open) = self.claims.take(is_its) else { return false };
        self.cx(now, frames).answer(cancel.0, cancel.1, 200);
        let mut head = [0; HEAD_MAX];
        let bytes = self.core.arena.get(&open.bytes);
        let len = bytes.len().min(HEAD_MAX);
        head[..len].copy_from_slice(&bytes[..len]);
        self.core.arena.free(&mut open.bytes);
        self.core.arena.free(&mut open.realm);
        let parsed = Message::parse(&head[..len]);
        let message = match &parsed {
            Ok(message) => message,
            Err(malformed) => malformed.partial(),
        };
        self.cx(now, frames).answer(&Datagram { hop: open.hop, ..*cancel.0 }, message, 487);
        true
    }

    /// Requests that nobody has judged in time.
    pub(crate) fn claims_due(&mut self, now: Now, frames: &mut dyn Frames) {
        while let Some(open) = self.claims.take(|open| open.until <= now.mono) {
            self.core.counters.count(Counter::RefusedNoController);
            self.with_open(now, frames, open, |shard, frames, call, _| {
                shard.cx(now, frames).answer_with(call.datagram, call.message, 503, |writer| {
                    writer.field(Name::RetryAfter, b"5")
                });
            });
        }
    }
}

impl Core<'_> {
    /// The way to a phone by the connection on which it registered, while that stands.
    pub(crate) fn hop_by_flow(&self, id: ConnectionId, to: SocketAddr) -> Option<Hop> {
        let hop = self.connections.hop(id)?;
        (self.connections.is_standing(id) && hop.to == to).then_some(hop)
    }
}

impl Claims {
    /// The one that was kept last.
    fn id(&self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.last)
    }
}

/// What a final response may say that another process has written: each line is looked at.
const SAID: [Name; 8] = [
    Name::Contact,
    Name::Date,
    Name::MinExpires,
    Name::Path,
    Name::Require,
    Name::ServiceRoute,
    Name::Supported,
    Name::Unsupported,
];

fn with_headers<'w>(writer: Writer<'w>, headers: &str) -> Writer<'w> {
    headers.split("\r\n").fold(writer, |writer, line| {
        if let Some(seconds) = flow_timer(line) {
            return writer.header_text(b"Flow-Timer", &[Part::Number(u64::from(seconds))]);
        }
        let Some((name, value)) = line.split_once(": ") else { return writer };
        let name = Name::of(name.as_bytes());
        let is_fine = SAID.contains(&name) && !value.bytes().any(|byte| byte < b' ');
        if is_fine { writer.field(name, value.as_bytes()) } else { writer }
    })
}

/// A number's digits.
fn decimal(number: u32, out: &mut [u8; 10]) -> &[u8] {
    let (mut at, mut left) = (out.len(), number);
    loop {
        at -= 1;
        out[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            return &out[at..];
        }
    }
}

/// For how many seconds the phone may say nothing by its flow (RFC 5626 section 5.4); 0 for as long
/// as it likes.
fn silence_of(headers: &str) -> u16 {
    /// What a ping may be late.
    const GRACE_S: u16 = 30;
    let seconds = headers.split("\r\n").find_map(flow_timer);
    seconds.map_or(0, |seconds| seconds.saturating_add(GRACE_S))
}

fn flow_timer(line: &str) -> Option<u16> {
    line.strip_prefix("Flow-Timer: ")?.parse().ok()
}
