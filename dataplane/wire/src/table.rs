//! The published table: policy that reaches the dataplane as numbers and addresses, so that it
//! works with the controlplane gone. The controlplane writes it whole under a sequence word (odd
//! while it writes); each shard copies it when the sequence has moved, checks it and applies it.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use base::{CallId, HashKey, Target};

use crate::WireError;
use crate::policy::RoutePolicy;

/// Bytes a table may take: 150,000 places with their networks. Memory that nothing is written to is
/// never taken.
pub const TABLE_BYTES_MAX: usize = 2 << 20;

/// Everything published.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Table {
    pub routes: Vec<StaticRoute>,
    /// Whom applications answer for, and whose calls; `None` where that is not told: then everybody
    /// is asked about.
    pub admission: Option<Admission>,
    /// Which SIP messages somebody wants to be told of.
    pub watch: Watch,
}

/// Which SIP messages of whose calls are told. Names and values are hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watch {
    /// Of the hashes; another one in each life of the controlplane.
    pub key: [u64; 2],
    /// Sorted by account, then by call: those for all calls of an account come first.
    pub filters: Vec<MessageFilter>,
}

/// The requests that can be asked for, in the order of their bits.
pub const WATCHED_METHODS: [&str; 11] = [
    "INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "MESSAGE",
    "OPTIONS",
];

/// One subscription's share of a [`Watch`]. A message is told that fits all of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MessageFilter {
    pub account: u64,
    /// The call that it is about, with those dialled for it; [`CallId::NONE`] for every call.
    pub call: CallId,
    /// Names it in events.
    pub id: u128,
    /// Its bit, below 64, among those that have told what they tell once.
    pub slot: u8,
    /// Bits of [`WATCHED_METHODS`]; 0 for any.
    pub methods: u16,
    /// Response codes, or their first digits: responses to those methods. Without any: requests,
    /// where methods are named, and everything where none is.
    pub responses: Vec<u16>,
    /// Bit 0: received, bit 1: sent.
    pub ways: u8,
    /// Bit 0: on legs that came in, bit 1: on legs that we dialled.
    pub legs: u8,
    /// On calls that follow a static route alone.
    pub trunk_only: bool,
    /// The first that fits in each call, and none after it.
    pub once: bool,
    pub header: Option<HeaderFilter>,
}

/// A header that must stand in the message, or one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeaderFilter {
    /// Hash of its name, as [`Watch::name_hash`] gives it.
    pub name: u64,
    pub value: Option<ValueFilter>,
}

/// What the header's value is, or begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ValueFilter {
    /// Bytes that the hash is of.
    pub len: u16,
    pub hash: u64,
    /// The value has no more bytes than those.
    pub is_whole: bool,
}

impl Watch {
    /// The hash of a header's long name, of any case.
    #[must_use]
    pub fn name_hash(key: HashKey, name: &[u8]) -> u64 {
        folded_hash(key, 0, name)
    }

    /// The hash of a value, of any case.
    #[must_use]
    pub fn value_hash(key: HashKey, value: &[u8]) -> u64 {
        folded_hash(key, 1, value)
    }

    /// Whether it is sorted, and has no slot that is none.
    fn is_sound(&self) -> bool {
        let place = |filter: &MessageFilter| (filter.account, filter.call);
        self.filters.is_sorted_by_key(place) && self.filters.iter().all(|it| it.slot < 64)
    }
}

/// The longest name and value that are compared, bytes.
pub const WATCHED_TEXT_MAX: usize = 255;

/// Longer texts have no hash of their own: nobody asks for one.
fn folded_hash(key: HashKey, kind: u8, text: &[u8]) -> u64 {
    let mut lower = [0; WATCHED_TEXT_MAX];
    let len = text.len().min(lower.len());
    lower[..len].copy_from_slice(&text[..len]);
    lower[..len].make_ascii_lowercase();
    key.hash(&[&[kind], &lower[..len]])
}

/// What may be called beside the static routes, and from where: an INVITE to nothing in here, or
/// from nowhere that may call it, is refused without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Admission {
    /// Of the hashes; another one in each life of the controlplane, so that nobody can dial what
    /// only looks like a place.
    pub key: [u64; 2],
    /// Lists of networks, which places point to.
    pub sources: Vec<Vec<Network>>,
    /// Sorted by hash, each hash once.
    pub places: Vec<Place>,
    /// There was no room for all: what is not listed is asked about.
    pub is_partial: bool,
    /// Domains that take credentials, sorted by hash, each once.
    pub locks: Vec<Lock>,
}

/// A domain that takes credentials. Which, the controlplane alone knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lock {
    /// As a place's.
    pub hash: u64,
    /// For calls, from wherever they come.
    pub calls: bool,
    /// For registrations.
    pub registrations: bool,
}

/// A number or a domain that somebody answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    pub hash: u64,
    /// Index of the networks that may call it.
    pub sources: u32,
}

/// How a place is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// Digits, `*` and `#`, without the `+`.
    Number,
    /// Host of the Request-URI, of any case.
    Domain,
}

impl Admission {
    /// The hash under which a place stands.
    #[must_use]
    pub fn hash(&self, kind: PlaceKind, text: &[u8]) -> u64 {
        let mut lower = [0; 255];
        let text = match lower.get_mut(..text.len()) {
            Some(lower) => {
                lower.copy_from_slice(text);
                lower.make_ascii_lowercase();
                &*lower
            }
            // Longer than any host or number that somebody could have.
            None => text,
        };
        HashKey(self.key).hash(&[&[kind as u8], text])
    }

    /// The networks that may call a place; None if nobody answers for it.
    #[must_use]
    pub fn sources_of(&self, kind: PlaceKind, text: &[u8]) -> Option<&[Network]> {
        let hash = self.hash(kind, text);
        let at = self.places.binary_search_by_key(&hash, |place| place.hash).ok()?;
        self.sources.get(self.places[at].sources as usize).map(Vec::as_slice)
    }

    /// What a domain takes credentials for; None if for nothing.
    #[must_use]
    pub fn lock_of(&self, domain: &[u8]) -> Option<Lock> {
        let hash = self.hash(PlaceKind::Domain, domain);
        let at = self.locks.binary_search_by_key(&hash, |lock| lock.hash).ok()?;
        Some(self.locks[at])
    }

    fn is_sound(&self) -> bool {
        let sorted = self.places.is_sorted_by(|left, right| left.hash < right.hash)
            && self.locks.is_sorted_by(|left, right| left.hash < right.hash);
        let sources = self.sources.len();
        sorted && self.places.iter().all(|place| (place.sources as usize) < sources)
    }
}

/// A route that the dataplane follows alone: a call from `sources` to `domain` and `prefix` goes to
/// `targets`, without asking an application. Of several that fit, one that names the domain goes
/// before one for any, then the longer prefix, then what [`RoutePolicy`] says, then the order here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StaticRoute {
    /// Whom its calls are billed to.
    pub account: u64,
    /// Host of the Request-URI, lower case; empty for any.
    pub domain: String,
    /// Leading characters of the Request-URI's user; empty for any.
    pub prefix: String,
    /// Networks the call may come from; empty for none (default deny).
    pub sources: Vec<Network>,
    /// Networks whose identity headers (P-Asserted-Identity, Privacy, Diversion, History-Info,
    /// Identity, Reason) go on; empty for none.
    pub trusted: Vec<Network>,
    /// Where it goes, in order of trial; a next one is tried on silence and after what
    /// [`RoutePolicy::failover`] lists.
    pub targets: Vec<Target>,
    /// Host of the outgoing Request-URI; empty for the target's address.
    pub host: String,
    /// Leading characters of the user that are removed, then `prepend` is put in front.
    pub strip: u8,
    pub prepend: String,
    /// New calls per second; 0 for no limit.
    pub rate_max: u32,
    /// Calls at one time (per shard); 0 for no limit.
    pub calls_max: u32,
    /// Seconds an unanswered call may ring, all its targets together.
    pub ring_s: u16,
    pub media: MediaSources,
    pub signalling: SignallingSources,
    /// What the certificates of its targets must name; empty for their addresses.
    pub tls_name: String,
    /// Name of the trunk whose credentials its targets are shown, which only the dataplane has;
    /// empty for none.
    pub login: String,
    /// Far ends that it takes calls from may refer (REFER): the call goes where they could call.
    pub transfer: bool,
    /// How digits reach its targets.
    pub dtmf: Digits,
    /// What else becomes of its calls.
    pub policy: RoutePolicy,
    /// Provisional responses that are acknowledged (RFC 3262), with the far ends of its calls.
    pub reliable: ReliableRinging,
    /// Session timers (RFC 4028) with the far ends of its calls. Without, none of them is ever sent
    /// a re-INVITE or an UPDATE of our own.
    pub session_timer: bool,
    /// What callers hear before one of its targets has answered.
    pub early_media: EarlyMedia,
}

/// Whether provisional responses are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReliableRinging {
    /// Never, unless a far end requires it itself.
    Off,
    /// Where both sides support it.
    #[default]
    Offer,
    /// Targets are required to.
    Require,
}

/// What a caller hears of a target that is not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EarlyMedia {
    /// Its early media.
    #[default]
    Pass,
    /// That it rings, whatever it sends.
    Ring,
    /// Its early media where its responses allow that (P-Early-Media, RFC 5009), else that it
    /// rings.
    Gated,
}

/// How digits are brought to a far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digits {
    /// As RTP events where it takes those, else by INFO where its Allow lists that.
    #[default]
    Auto,
    /// As RTP events (RFC 4733) or not at all.
    Rfc4733,
    /// By INFO, whatever it allows; RTP events are neither offered to it nor taken.
    Info,
}

/// Which hosts may send media for a far end, besides the address that its description names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaSources {
    /// Other ports of the description's host.
    Described,
    /// Those, and the host that signals (a phone behind a NAT).
    #[default]
    Signalling,
    /// Those, and the network of the host that signals (/24, /64).
    Network,
}

/// From where a far end's requests and responses inside its dialog are obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignallingSources {
    /// From wherever they come with the dialog's tags (RFC 3261).
    Anywhere,
    /// From the networks (/24, /64) of the hosts that the dialog is with, and from the networks
    /// that static routes take calls from.
    #[default]
    Network,
    /// From the hosts that the dialog is with.
    Host,
}

/// An address block, `192.0.2.0/24` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Network {
    pub address: IpAddr,
    pub bits: u8,
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                let part = |a: core::net::Ipv4Addr| u32::from(a).checked_shr(shift).unwrap_or(0);
                part(ours) == part(theirs)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                let part = |a: core::net::Ipv6Addr| u128::from(a).checked_shr(shift).unwrap_or(0);
                part(ours) == part(theirs)
            }
            _ => false,
        }
    }
}

/// The text is no `address/bits` (or plain address) with bits in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNetwork(pub String);

impl core::fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "`{}` is no network; write for example 192.0.2.0/24 or 2001:db8::/32", self.0)
    }
}

impl core::error::Error for BadNetwork {}

impl core::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| bad()))?;
        if bits > most {
            return Err(bad());
        }
        Ok(Self { address, bits })
    }
}

/// Writes a table for the shards to see. The words are the table area of the region.
///
/// # Errors
/// [`WireError::TooLong`] if it does not fit; what was published stays.
pub fn publish(area: &[AtomicU64], table: &Table) -> Result<(), WireError> {
    let mut bytes = vec![0; TABLE_BYTES_MAX.min(area.len().saturating_sub(2) * 8)];
    let len = crate::encode(table, &mut bytes)?;
    let sequence = area[0].load(Ordering::Relaxed) | 1;
    area[0].store(sequence, Ordering::Relaxed);
    fence(Ordering::Release);
    area[1].store(len as u64, Ordering::Relaxed);
    for (word, chunk) in area[2..].iter().zip(bytes[..len].chunks(8)) {
        let mut copy = [0; 8];
        copy[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(copy), Ordering::Relaxed);
    }
    area[0].store(sequence.wrapping_add(1), Ordering::Release);
    Ok(())
}

/// The table, if another one than `seen` stands there whole. `seen` is then moved.
///
/// # Errors
/// [`WireError::Malformed`] if what stands there is no table; `seen` is moved all the same, so that
/// it is said once and the table in use stays.
pub fn read(area: &[AtomicU64], seen: &mut u64) -> Result<Option<Table>, WireError> {
    let before = area[0].load(Ordering::Acquire);
    if before == *seen || before & 1 == 1 {
        return Ok(None);
    }
    let len = usize::try_from(area[1].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let fits = len <= TABLE_BYTES_MAX && len.div_ceil(8) <= area.len() - 2;
    let mut bytes = Vec::new();
    if fits {
        for word in &area[2..2 + len.div_ceil(8)] {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes.truncate(len);
    }
    fence(Ordering::Acquire);
    if area[0].load(Ordering::Relaxed) != before {
        return Ok(None);
    }
    *seen = before;
    if !fits {
        return Err(WireError::Malformed);
    }
    let table: Table = crate::decode(&bytes)?;
    let sound = table.admission.as_ref().is_none_or(Admission::is_sound) && table.watch.is_sound();
    match sound {
        true => Ok(Some(table)),
        false => Err(WireError::Malformed),
    }
}

/// Says that what stands there does not hold any more: whoever reads it asks about what it does not
/// list, until another table is published.
pub fn outdate(area: &[AtomicU64]) {
    let sequence = area[0].load(Ordering::Relaxed) | 1;
    area[0].store(sequence, Ordering::Release);
}

/// Whether another table than `seen` stands there, or is about to.
#[must_use]
pub fn is_outdated(area: &[AtomicU64], seen: u64) -> bool {
    area[0].load(Ordering::Acquire) != seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_seen_once_and_whole() {
        let area: Vec<AtomicU64> = (0..4096).map(|_| AtomicU64::new(0)).collect();
        let mut seen = 0;
        assert_eq!(read(&area, &mut seen), Ok(None));
        let table = Table {
            routes: vec![StaticRoute {
                account: 5,
                domain: String::new(),
                prefix: "+1".to_owned(),
                sources: vec!["10.0.0.0/8".parse().unwrap()],
                trusted: Vec::new(),
                targets: vec!["127.0.0.1:5070".parse().unwrap()],
                host: String::new(),
                strip: 0,
                prepend: String::new(),
                rate_max: 0,
                calls_max: 0,
                ring_s: 60,
                media: MediaSources::Network,
                signalling: SignallingSources::Host,
                tls_name: String::new(),
                login: "carrier".to_owned(),
                transfer: true,
                dtmf: Digits::Info,
                policy: RoutePolicy { weight: 7, ..RoutePolicy::default() },
                reliable: ReliableRinging::Off,
                session_timer: false,
                early_media: EarlyMedia::Ring,
            }],
            admission: None,
            watch: Watch { key: [1, 2], filters: vec![filter(5, 0), filter(5, 9), filter(7, 0)] },
        };
        publish(&area, &table).unwrap();
        assert_eq!(read(&area, &mut seen), Ok(Some(table)));
        assert_eq!(read(&area, &mut seen), Ok(None));
        area[0].fetch_add(1, Ordering::Relaxed);
        assert_eq!(read(&area, &mut seen), Ok(None), "being written");
    }

    fn filter(account: u64, call: u128) -> MessageFilter {
        MessageFilter {
            account,
            call: CallId(call),
            id: 1,
            slot: 63,
            methods: 1,
            responses: vec![4, 200],
            ways: 3,
            legs: 3,
            trunk_only: false,
            once: true,
            header: None,
        }
    }

    #[test]
    fn a_watch_that_is_not_sorted_is_no_watch() {
        let sound = |filters: Vec<MessageFilter>| Watch { key: [1, 2], filters }.is_sound();
        assert!(sound(vec![filter(1, 0), filter(1, 1), filter(2, 0)]));
        assert!(!sound(vec![filter(2, 0), filter(1, 0)]));
        assert!(!sound(vec![filter(1, 1), filter(1, 0)]));
        assert!(!sound(vec![MessageFilter { slot: 64, ..filter(1, 0) }]));
    }

    #[test]
    fn names_and_values_are_of_any_case_and_no_hash_of_each_other() {
        let key = HashKey([3, 4]);
        assert_eq!(Watch::name_hash(key, b"X-Foo"), Watch::name_hash(key, b"x-fOO"));
        assert_ne!(Watch::name_hash(key, b"X-Foo"), Watch::value_hash(key, b"X-Foo"));
        assert_ne!(Watch::value_hash(key, b"a"), Watch::value_hash(key, b"ab"));
    }

    #[test]
    fn networks_contain_their_addresses_only() {
        let network: Network = "192.0.2.0/24".parse().unwrap();
        assert!(network.contains("192.0.2.77".parse().unwrap()));
        assert!(network.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!network.contains("192.0.3.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        let six: Network = "2001:db8::/32".parse().unwrap();
        assert!(six.contains("2001:db8:1::1".parse().unwrap()));
        assert!(!six.contains("2001:db9::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("ten".parse::<Network>().is_err());
    }
}
