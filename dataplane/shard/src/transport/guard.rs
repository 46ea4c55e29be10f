//! The guard at the door, asked before a message is parsed or handed over.
//!
//! ```text
//!   source --> standing: Trunk, Known  a network of a route's, or of somebody's list
//!                        Proven        has shown that it hears us: a tag or branch of ours came back
//!                        Stranger      anybody else; whoever forges an address is one, too
//!   standing --> its own table of sources, two buckets each (INVITE and CANCEL, others)
//!   Stranger --> one bucket of the whole shard besides
//! ```
//!
//! Each class has a table of its own, so that nobody's flood takes another class's places. A table
//! is bounded and hashed with a secret. A source that is new in it begins with a small burst; where
//! all places are taken by others that were heard lately, it shares one place with all such. So a
//! thousand addresses get no more than the table holds, and a million no more than that.
//!
//! What a stranger is answered is paid from what it sent (THREATS.md, amplification): an answer is
//! at most one and a half times the request, and all of them no more than all requests.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::{HashKey, Mono};

use wire::material::is_identifier;

use super::far_end::FarEnd;
use super::networks::Networks;
use crate::plan::GuardPlan;

/// Places of a class, in sets of [`WAYS`].
const PLACES: usize = 4_096;
const WAYS: usize = 4;
/// A place whose source was not heard for so long may be another's.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// How long a source is believed to hear us.
const PROVEN: Duration = Duration::from_secs(600);
/// A proof is told again no earlier than this, so that it need not be written for each message.
const PROVEN_AGAIN: Duration = Duration::from_secs(60);
/// What a new source may send at once, messages.
const FIRST_BURST: u32 = 20;
/// Bytes of answers that a stranger may be owed: what it is answered first may be longer than what
/// it asked, and an answer is never paid by what was sent long ago.
const CREDIT_FIRST: u32 = 128;
const CREDIT_MAX: u32 = 1_024;
/// What nothing was added to for so long is spent no more, but for that first part: an application
/// has answered by then. Longer than two repetitions are apart (T2 of RFC 3261, 4 s): together they
/// pay for what one does not.
const CREDIT_LASTS: Duration = Duration::from_secs(5);
/// Looks into messages of sources over their rate, for a token of ours; a second, of strangers and
/// of the others.
const LOOKS: u32 = 5_000;
const KNOWN_LOOKS: u32 = 20_000;
/// What a known source may send beside INVITE and CANCEL before it is read, in its rates: in a call
/// there are several such messages to one INVITE.
const UNREAD_RATES: u32 = 4;
/// The part of the calls that only trunks may begin: one of so many.
const CALLS_RESERVED: u32 = 4;

/// A bucket of tokens that fills with time. Counts in 1/1000 of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    milli: u64,
    filled: Mono,
}

impl Bucket {
    pub(crate) fn full(burst: u32, now: Mono) -> Self {
        Self { milli: u64::from(burst) * 1_000, filled: now }
    }

    /// Takes a token; `rate` per second (0: always granted), never more than `burst`.
    pub(crate) fn take(&mut self, rate: u32, burst: u32, now: Mono) -> bool {
        self.take_above(0, rate, burst, now)
    }

    /// The same; the last `reserved` tokens are for others.
    fn take_above(&mut self, reserved: u32, rate: u32, burst: u32, now: Mono) -> bool {
        if rate == 0 {
            return true;
        }
        self.fill(rate, burst, now);
        let granted = self.has_above(reserved);
        if granted {
            self.milli -= 1_000;
        }
        granted
    }

    /// Whether a token is there above those.
    fn has_above(&self, reserved: u32) -> bool {
        self.milli >= (u64::from(reserved) + 1) * 1_000
    }

    fn fill(&mut self, rate: u32, burst: u32, now: Mono) {
        let passed_us = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = passed_us.saturating_mul(u64::from(rate)) / 1_000;
        if gained > 0 {
            self.milli = self.milli.saturating_add(gained).min(u64::from(burst) * 1_000);
            self.filled = now;
        }
    }
}

/// What is known of where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Standing {
    /// A network that a static route takes calls from.
    Trunk,
    /// A network in somebody's list, if that is not open to the world.
    Known,
    /// It has shown that it hears what we send.
    Proven,
    Stranger,
}

/// What is taken from which of a source's buckets.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// INVITE and CANCEL.
    Call,
    /// Those of emergency calls that the others leave no room for.
    Emergency,
    /// What names nothing of ours.
    Other,
    /// Anything but INVITE and CANCEL, before it is read.
    Unread,
}

/// A source in its class.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// Hash of its address; 0 for nobody.
    hash: u64,
    heard: Mono,
    /// INVITE and CANCEL, so that a flood of others in a trunk's name keeps no call of it away.
    calls: Bucket,
    others: Bucket,
    /// The others before they are read.
    unread: Bucket,
    /// Emergency calls beyond that: no flood of other calls keeps one away.
    emergencies: Bucket,
    /// Bytes that it may be answered, and since when no more were added.
    credit: u32,
    credited: Mono,
}

/// The sources of a class.
#[derive(Debug)]
struct Sources {
    places: Vec<Source>,
    /// All that found no place.
    shared: Source,
}

#[derive(Clone, Copy, Debug, Default)]
struct Proof {
    hash: u64,
    until: Mono,
}

#[derive(Debug)]
pub(crate) struct Guard {
    plan: GuardPlan,
    key: HashKey,
    networks: Networks,
    trunks: Sources,
    known: Sources,
    strangers: Sources,
    proofs: Vec<Proof>,
    /// All messages of strangers, and their emergency calls beyond that.
    all_strangers: Bucket,
    all_emergencies: Bucket,
    /// Some route leads to emergency services.
    pub(crate) hears: bool,
    looks: Bucket,
    known_looks: Bucket,
    tokens: Bucket,
    calls: Bucket,
    told: Bucket,
}

/// Beside what a source may send, it may send one in so many of emergency calls.
const EMERGENCIES: u32 = 8;

impl Source {
    fn new(hash: u64, burst: u32, now: Mono) -> Self {
        let bucket = Bucket::full(burst, now);
        let unread = Bucket::full(burst.saturating_mul(UNREAD_RATES), now);
        let (calls, others) = (bucket, bucket);
        let emergencies = Bucket::full(burst.div_ceil(EMERGENCIES), now);
        let (heard, credit, credited) = (now, CREDIT_FIRST, now);
        Self { hash, heard, calls, others, unread, emergencies, credit, credited }
    }
}

impl Source {
    /// A request came: a long one always pays for its own answer.
    fn pay_in(&mut self, request: usize, now: Mono) {
        let bytes = u32::try_from(request).unwrap_or(u32::MAX);
        if now.since(self.credited) > CREDIT_LASTS {
            self.credit = self.credit.min(CREDIT_FIRST);
        }
        self.credited = now;
        let most = bytes.max(CREDIT_MAX);
        self.credit = self.credit.saturating_add(bytes).min(most);
    }
}

impl Sources {
    fn new() -> Self {
        Self { places: vec![Source::default(); PLACES], shared: Source::default() }
    }

    fn set(&mut self, hash: u64) -> &mut [Source] {
        let sets = PLACES / WAYS;
        let first = usize::try_from(hash).unwrap_or(0) % sets * WAYS;
        &mut self.places[first..first + WAYS]
    }

    /// The source's place; a new one if it has none.
    fn place(&mut self, hash: u64, burst: u32, now: Mono) -> &mut Source {
        let set = self.set(hash);
        let own = set.iter().position(|source| source.hash == hash);
        let free = |source: &Source| source.hash == 0 || now.since(source.heard) > FORGOTTEN;
        let at = own.or_else(|| set.iter().position(free));
        let Some(at) = at else {
            if self.shared.heard == Mono(0) {
                self.shared = Source::new(0, burst, now);
            }
            self.shared.heard = now;
            return &mut self.shared;
        };
        // The set is looked up again: the borrow of the other branch ends here.
        let source = &mut self.set(hash)[at];
        if own.is_none() {
            *source = Source::new(hash, burst, now);
        }
        source.heard = now;
        source
    }

    /// The place that it has, or shares.
    fn found(&mut self, hash: u64) -> &mut Source {
        match self.set(hash).iter().position(|source| source.hash == hash) {
            Some(at) => &mut self.set(hash)[at],
            None => &mut self.shared,
        }
    }
}

impl Guard {
    pub(crate) fn new(plan: GuardPlan, key: HashKey) -> Self {
        let full = |rate: u32| Bucket::full(rate, Mono(0));
        Self {
            plan,
            key,
            networks: Networks::everybody(&[]),
            trunks: Sources::new(),
            known: Sources::new(),
            strangers: Sources::new(),
            proofs: vec![Proof::default(); PLACES],
            all_strangers: full(plan.stranger_rate),
            all_emergencies: full(plan.stranger_rate.div_ceil(EMERGENCIES)),
            hears: false,
            looks: full(LOOKS),
            known_looks: full(KNOWN_LOOKS),
            tokens: full(plan.stranger_rate),
            calls: full(plan.call_rate),
            told: full(plan.told_rate()),
        }
    }

    /// Whether there is a route to emergency services, so that they are heard beyond what is heard
    /// of others.
    pub(crate) fn hears_emergencies(&mut self, hears: bool) {
        self.hears = hears;
    }

    /// By its first bytes: an INVITE of an emergency call that can be routed, or its CANCEL.
    pub(crate) fn is_emergency(&self, bytes: &[u8]) -> bool {
        self.hears && is_emergency(bytes)
    }

    /// Another table: whose networks are known from now on. Those before.
    pub(crate) fn replace(&mut self, networks: Networks) -> Networks {
        core::mem::replace(&mut self.networks, networks)
    }

    fn hash(&self, source: SocketAddr) -> u64 {
        let hash = match source.ip().to_canonical() {
            IpAddr::V4(address) => self.key.hash(&[&address.octets()]),
            IpAddr::V6(address) => self.key.hash(&[&address.octets()[..8]]),
        };
        hash.max(1)
    }

    /// By which address a far end is judged: who is of a trunk's by its name, by what stands for
    /// that.
    pub(crate) fn judged(&self, source: FarEnd, remote: SocketAddr) -> SocketAddr {
        let is_trunks = |it: &IpAddr| self.networks.standing(*it) == Standing::Trunk;
        let proven = source.proven.filter(is_trunks);
        proven.map_or(remote, |address| SocketAddr::new(address, remote.port()))
    }

    /// What is known of a source.
    pub(crate) fn standing(&self, source: SocketAddr, now: Mono) -> Standing {
        self.standing_of(self.hash(source), source.ip(), now)
    }

    fn standing_of(&self, hash: u64, address: IpAddr, now: Mono) -> Standing {
        match self.networks.standing(address) {
            Standing::Stranger if self.is_proven(hash, now) => Standing::Proven,
            standing => standing,
        }
    }

    fn is_proven(&self, hash: u64, now: Mono) -> bool {
        let proof = self.proofs[usize::try_from(hash).unwrap_or(0) % PLACES];
        proof.hash == hash && proof.until > now
    }

    /// The source hears us. True if that is news.
    pub(crate) fn prove(&mut self, source: SocketAddr, now: Mono) -> bool {
        let hash = self.hash(source);
        let proof = &mut self.proofs[usize::try_from(hash).unwrap_or(0) % PLACES];
        let lasts = proof.hash == hash && proof.until > now + (PROVEN - PROVEN_AGAIN);
        if !lasts {
            *proof = Proof { hash, until: now + PROVEN };
        }
        !lasts
    }

    /// May this message be read now? An error if its source, or all strangers together, sent too
    /// many.
    pub(crate) fn admit(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
        now: Mono,
    ) -> Result<Standing, Standing> {
        self.judge(source, bytes, now, false)
    }

    /// The same of what came by a connection: whoever has made one is where he says he is, and
    /// shares no bucket with those who may be anywhere.
    pub(crate) fn admit_stream(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
        now: Mono,
    ) -> Result<Standing, Standing> {
        self.judge(source, bytes, now, true)
    }

    fn judge(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
        now: Mono,
        connected: bool,
    ) -> Result<Standing, Standing> {
        if !connected && is_identifier(source.ip()) {
            // What stands for a proven name is nobody's address.
            return Err(Standing::Stranger);
        }
        let hash = self.hash(source);
        let standing = self.standing_of(hash, source.ip(), now);
        let granted = match standing {
            Standing::Stranger => self.admit_stranger(hash, bytes, now, connected),
            _ if begins_call(bytes) => {
                self.take(hash, standing, Kind::Call, now)
                    || self.is_emergency(bytes) && self.take(hash, standing, Kind::Emergency, now)
            }
            // What names nothing of ours is counted again once that is known ([`Guard::other`]).
            _ => self.take(hash, standing, Kind::Unread, now),
        };
        if granted { Ok(standing) } else { Err(standing) }
    }

    fn admit_stranger(&mut self, hash: u64, bytes: &[u8], now: Mono, connected: bool) -> bool {
        let (rate, burst) = self.plan.stranger_source();
        let place = self.strangers.place(hash, burst.min(FIRST_BURST), now);
        let bucket = match begins_call(bytes) {
            true => &mut place.calls,
            false => &mut place.others,
        };
        let all = self.plan.stranger_rate;
        let granted = bucket.take(rate, burst, now)
            && (connected || self.all_strangers.take(all, all, now))
            || self.hears && is_emergency(bytes) && {
                let (few, all) = (rate.div_ceil(EMERGENCIES), all.div_ceil(EMERGENCIES));
                place.emergencies.take(few, few, now) && self.all_emergencies.take(all, all, now)
            };
        if granted {
            place.pay_in(bytes.len(), now);
        }
        granted
    }

    fn take(&mut self, hash: u64, standing: Standing, kind: Kind, now: Mono) -> bool {
        let GuardPlan { source_rate: rate, source_burst: burst, .. } = self.plan;
        let sources = match standing {
            Standing::Trunk => &mut self.trunks,
            _ => &mut self.known,
        };
        let place = sources.place(hash, burst, now);
        let more = |amount: u32| amount.saturating_mul(UNREAD_RATES);
        match kind {
            Kind::Call => place.calls.take(rate, burst, now),
            Kind::Emergency => {
                let (rate, burst) = (rate.div_ceil(EMERGENCIES), burst.div_ceil(EMERGENCIES));
                place.emergencies.take(rate, burst, now)
            }
            Kind::Other => place.others.take(rate, burst, now),
            Kind::Unread => place.unread.take(more(rate), more(burst), now),
        }
    }

    /// A message that was admitted and begins no call names nothing of ours, either: may it be
    /// served?
    pub(crate) fn other(&mut self, source: SocketAddr, standing: Standing, now: Mono) -> bool {
        // A stranger's was counted before it was read.
        standing == Standing::Stranger || self.take(self.hash(source), standing, Kind::Other, now)
    }

    /// A source over its rate: may its message be looked into for a token of ours?
    pub(crate) fn may_look(&mut self, standing: Standing, now: Mono) -> bool {
        match standing {
            Standing::Stranger => self.looks.take(LOOKS, LOOKS, now),
            _ => self.known_looks.take(KNOWN_LOOKS, KNOWN_LOOKS, now),
        }
    }

    /// The same, whose token names another shard: may it be handed over?
    pub(crate) fn may_hand_over(&mut self, now: Mono) -> bool {
        let rate = self.plan.stranger_rate;
        self.tokens.take(rate, rate, now)
    }

    /// May a stranger's request of `request` bytes be answered with so many? Then it is paid.
    pub(crate) fn pay(&mut self, source: SocketAddr, request: usize, answer: usize) -> bool {
        if self.plan.stranger_rate == 0 {
            return true;
        }
        let hash = self.hash(source);
        let place = self.strangers.found(hash);
        let answer_bytes = u32::try_from(answer).unwrap_or(u32::MAX);
        let paid = answer * 2 <= request * 3 && place.credit >= answer_bytes;
        if paid {
            place.credit -= answer_bytes;
        }
        paid
    }

    /// A stranger's request goes to another shard: what it pays for goes with it.
    pub(crate) fn take_credit(&mut self, source: SocketAddr, request: usize) {
        let hash = self.hash(source);
        let place = self.strangers.found(hash);
        place.credit = place.credit.saturating_sub(u32::try_from(request).unwrap_or(u32::MAX));
    }

    /// A stranger's request came from another shard, with what it pays for.
    pub(crate) fn give_credit(&mut self, source: SocketAddr, request: usize, now: Mono) {
        let hash = self.hash(source);
        let (_, burst) = self.plan.stranger_source();
        self.strangers.place(hash, burst.min(FIRST_BURST), now).pay_in(request, now);
    }

    /// Whether one more call could begin now; none does.
    pub(crate) fn may_call(&mut self, is_trunk: bool, now: Mono) -> bool {
        let rate = self.plan.call_rate;
        let reserved = if is_trunk { 0 } else { rate / CALLS_RESERVED };
        self.calls.fill(rate, rate, now);
        rate == 0 || self.calls.has_above(reserved)
    }

    /// May one more call begin on this shard? The last part of the rate is for trunks.
    pub(crate) fn call(&mut self, is_trunk: bool, now: Mono) -> bool {
        let rate = self.plan.call_rate;
        let reserved = if is_trunk { 0 } else { rate / CALLS_RESERVED };
        self.calls.take_above(reserved, rate, rate, now)
    }

    /// May one more refusal of a stranger be told to whom it concerns? A flood is told as a few.
    pub(crate) fn may_tell(&mut self, now: Mono) -> bool {
        let rate = self.plan.told_rate();
        self.told.take(rate, rate, now)
    }
}

/// By its first bytes: an INVITE or its CANCEL, which are kept in order.
pub(crate) fn begins_call(bytes: &[u8]) -> bool {
    bytes.starts_with(b"INVITE ") || bytes.starts_with(b"CANCEL ")
}

/// By its first bytes: an INVITE of an emergency call or its CANCEL.
#[cold]
pub(crate) fn is_emergency(bytes: &[u8]) -> bool {
    const URI_MAX: usize = 128;
    let rest = bytes.strip_prefix(b"INVITE ").or_else(|| bytes.strip_prefix(b"CANCEL "));
    let rest = rest.unwrap_or_default();
    let end = rest.iter().take(URI_MAX).position(|byte| *byte == b' ');
    let uri = end.and_then(|end| sip::Uri::parse(&rest[..end]).ok());
    uri.is_some_and(|uri| uri.is_emergency())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::table::Network;

    const PLAN: GuardPlan =
        GuardPlan { source_rate: 1_000, source_burst: 2_000, call_rate: 0, stranger_rate: 500 };

    fn guard() -> Guard {
        let mut guard = Guard::new(PLAN, HashKey([1, 2]));
        let network = |text: &str| text.parse::<Network>().unwrap();
        let trunks = [network("192.0.2.0/24")];
        let known = [network("198.51.100.0/24"), network("0.0.0.0/0")];
        guard.replace(Networks::new(&trunks, &known));
        guard
    }

    fn address(text: &str) -> SocketAddr {
        format!("{text}:5060").parse().unwrap()
    }

    fn numbered(number: u32) -> SocketAddr {
        SocketAddr::from((core::net::Ipv4Addr::from(0x1400_0000 + number), 5_060))
    }

    const START: Mono = Mono(1_000_000_000);

    /// Messages granted out of `count`, evenly over a second.
    fn granted(guard: &mut Guard, from: impl Fn(u32) -> SocketAddr, bytes: &[u8]) -> u32 {
        let step = |number: u32| START + Duration::from_micros(u64::from(number) * 10);
        (0..100_000).map(|n| u32::from(guard.admit(from(n), bytes, step(n)).is_ok())).sum()
    }

    #[test]
    fn a_stranger_begins_small_and_gets_a_share_of_what_all_get() {
        let mut guard = guard();
        let (rate, _) = PLAN.stranger_source();
        let got = granted(&mut guard, |_| address("203.0.113.1"), b"OPTIONS");
        assert!(got <= FIRST_BURST + rate + 1, "{got}");
        assert!(got >= rate, "{got}");
    }

    #[test]
    fn more_addresses_than_places_get_no_more_than_the_shard_allows() {
        let mut guard = guard();
        let got = granted(&mut guard, numbered, b"INVITE ");
        assert!(got <= PLAN.stranger_rate * 2 + 1, "{got}: the burst and a second");
        let honest = guard.admit(address("198.51.100.9"), b"INVITE ", START);
        assert_eq!(honest, Ok(Standing::Known));
        assert_eq!(guard.admit(address("192.0.2.9"), b"INVITE ", START), Ok(Standing::Trunk));
    }

    #[test]
    fn what_is_sent_in_a_trunks_name_keeps_none_of_its_calls_away() {
        let mut guard = guard();
        let trunk = address("192.0.2.9");
        let served = (0..100_000).filter(|_| guard.other(trunk, Standing::Trunk, START)).count();
        assert_eq!(served, PLAN.source_burst as usize);
        assert_eq!(guard.admit(trunk, b"INVITE ", START), Ok(Standing::Trunk));
    }

    #[test]
    fn a_list_open_to_the_world_makes_nobody_known_and_a_proof_does_for_a_while() {
        let mut guard = guard();
        let source = address("203.0.113.7");
        assert_eq!(guard.standing(source, START), Standing::Stranger);
        assert!(guard.prove(source, START));
        assert!(!guard.prove(source, START + Duration::from_secs(1)), "no news");
        assert_eq!(guard.standing(source, START), Standing::Proven);
        assert!(guard.prove(source, START + PROVEN_AGAIN + Duration::from_secs(1)));
        let later = START + PROVEN_AGAIN + PROVEN + Duration::from_secs(2);
        assert_eq!(guard.standing(source, later), Standing::Stranger);
    }

    #[test]
    fn answers_are_paid_by_requests() {
        let mut guard = guard();
        let source = address("203.0.113.7");
        let (mut asked, mut answered) = (0, 0);
        for round in 0..10_000_u64 {
            let now = START + Duration::from_millis(round * 20);
            if guard.admit(source, &[b'x'; 300], now).is_err() {
                continue;
            }
            asked += 300;
            assert!(!guard.pay(source, 300, 451), "over one and a half times");
            if guard.pay(source, 300, 414) {
                answered += 414;
            }
        }
        assert!(answered <= asked + CREDIT_FIRST, "{answered} for {asked}");
        assert!(answered * 10 >= asked * 9, "{answered} for {asked}");
    }

    #[test]
    fn what_is_not_read_yet_is_bounded_in_every_class() {
        let mut guard = guard();
        for source in ["192.0.2.9", "198.51.100.9"] {
            let got = granted(&mut guard, |_| address(source), b"OPTIONS");
            let most = UNREAD_RATES * (PLAN.source_rate + PLAN.source_burst) + 1;
            assert!(got <= most, "{source}: {got}");
            assert!(guard.admit(address(source), b"INVITE ", START).is_ok(), "{source}");
        }
    }

    #[test]
    fn the_last_part_of_the_calls_is_for_trunks() {
        let mut guard = Guard::new(GuardPlan { call_rate: 100, ..PLAN }, HashKey([1, 2]));
        let got = (0..1_000).filter(|_| guard.call(false, START)).count();
        assert_eq!(got, 75);
        assert_eq!((0..1_000).filter(|_| guard.call(true, START)).count(), 25);
    }

    #[test]
    fn a_long_request_pays_for_its_long_answer() {
        let mut guard = guard();
        let source = address("203.0.113.7");
        for len in [2_426, 3_546, 65_000] {
            assert!(guard.admit(source, &vec![b'x'; len], START).is_ok());
            assert!(guard.pay(source, len, len), "{len}");
        }
    }

    #[test]
    fn what_a_request_pays_for_goes_with_it_to_another_shard() {
        let (mut taker, mut owner) = (guard(), guard());
        let source = address("203.0.113.7");
        assert!(taker.admit(source, &[b'x'; 300], START).is_ok());
        taker.take_credit(source, 300);
        assert!(!taker.pay(source, 300, 200), "it was given away");
        assert!(!owner.pay(source, 300, 200), "it is not there yet");
        owner.give_credit(source, 300, START);
        assert!(owner.pay(source, 300, 400));
        assert!(!owner.pay(source, 300, 100), "once");
    }

    #[test]
    fn nobody_is_limited_where_no_rates_are() {
        let mut guard = Guard::new(GuardPlan::NONE, HashKey([1, 2]));
        assert_eq!(granted(&mut guard, numbered, b"INVITE "), 100_000);
        assert!(guard.pay(numbered(1), 100, 10_000) && guard.call(false, START));
    }
}
