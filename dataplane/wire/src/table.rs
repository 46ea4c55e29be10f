//! The published table: policy that reaches the dataplane as numbers and addresses, so that it
//! works with the controlplane gone. The controlplane writes it whole under a sequence word (odd
//! while it writes); each shard copies it when the sequence has moved, checks it and applies it.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use base::{HashKey, Target};

use crate::WireError;

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
/// `targets`, without asking an application. The first match wins.
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
    /// Where it goes, in order of trial; a next one is tried on silence, 408 and 5xx (RFC 3261
    /// section 16.7: a 6xx is final).
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
    match table.admission.as_ref().is_none_or(Admission::is_sound) {
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
            }],
            admission: None,
        };
        publish(&area, &table).unwrap();
        assert_eq!(read(&area, &mut seen), Ok(Some(table)));
        assert_eq!(read(&area, &mut seen), Ok(None));
        area[0].fetch_add(1, Ordering::Relaxed);
        assert_eq!(read(&area, &mut seen), Ok(None), "being written");
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
