//! The network between everybody: each datagram is delayed, lost, doubled or overtaken by chance
//! that the seed decides. A scenario may also look at every datagram and decide itself.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Prng};

pub use agent::Datagram;

/// What happens to datagrams, by chance. Shares are in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    pub loss: u32,
    pub duplicate: u32,
    pub delay: Duration,
    /// Added to the delay, evenly from zero to this: packets closer than it may overtake each
    /// other.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing is lost and everything keeps its order.
    pub const CLEAR: Self =
        Self { loss: 0, duplicate: 0, delay: Duration::from_millis(5), jitter: Duration::ZERO };

    /// Whether nothing can be lost, doubled or reordered.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.loss == 0 && self.duplicate == 0 && self.jitter.is_zero()
    }
}

/// What a scenario decides about one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The weather decides.
    Pass,
    Drop,
    /// Arrives later than the weather has it.
    Late(Duration),
    /// Arrives twice.
    Twice,
}

type Filter = Box<dyn FnMut(Mono, &Datagram) -> Fate>;

/// Everything under way.
pub struct Network {
    random: Prng,
    flights: BinaryHeap<Flight>,
    sequence: u64,
    pub sip: Weather,
    pub media: Weather,
    filter: Option<Filter>,
    /// Far ends that speak SIP by connections: nothing is lost or overtaken there.
    pub by_streams: BTreeSet<SocketAddr>,
    /// When the last message came, by the two ends of a connection.
    last: BTreeMap<(SocketAddr, SocketAddr), Mono>,
    /// Datagrams lost so far by weather or filter.
    pub lost: u64,
    /// Call-IDs of which a SIP message was lost, late by more than the weather, or not heard.
    pub troubled: BTreeSet<String>,
}

struct Flight {
    at: Mono,
    sequence: u64,
    datagram: Datagram,
}

impl Network {
    #[must_use]
    pub fn new(seed: u64, sip: Weather, media: Weather) -> Self {
        let flights = BinaryHeap::new();
        let random = Prng::new(seed);
        Self {
            random,
            flights,
            sequence: 0,
            sip,
            media,
            filter: None,
            by_streams: BTreeSet::new(),
            last: BTreeMap::new(),
            lost: 0,
            troubled: BTreeSet::new(),
        }
    }

    /// Looks at every datagram that is sent from now on.
    pub fn set_filter(&mut self, filter: impl FnMut(Mono, &Datagram) -> Fate + 'static) {
        self.filter = Some(Box::new(filter));
    }

    pub fn clear_filter(&mut self) {
        self.filter = None;
    }

    pub fn send(&mut self, now: Mono, datagram: Datagram) {
        let fate = match &mut self.filter {
            Some(filter) => filter(now, &datagram),
            None => Fate::Pass,
        };
        let weather = if is_sip(&datagram.bytes) { self.sip } else { self.media };
        let connects = |end: SocketAddr| self.by_streams.contains(&end);
        if connects(datagram.from) || connects(datagram.to) {
            if fate == Fate::Drop {
                self.lost += 1;
                return self.trouble(&datagram);
            }
            let at = now + weather.delay + self.jitter(weather);
            let last = self.last.entry((datagram.from, datagram.to)).or_default();
            *last = at.max(*last);
            let at = *last;
            return self.put(at, datagram);
        }
        let lost = self.random.chance(u64::from(weather.loss), 1_000_000);
        if fate == Fate::Drop || lost {
            self.lost += 1;
            self.trouble(&datagram);
            return;
        }
        let more = match fate {
            Fate::Late(by) => by,
            _ => Duration::ZERO,
        };
        let doubled = self.random.chance(u64::from(weather.duplicate), 1_000_000);
        if doubled || fate == Fate::Twice {
            let at = now + weather.delay + self.jitter(weather) + more;
            self.put(at, datagram.clone());
        }
        let at = now + weather.delay + self.jitter(weather) + more;
        self.put(at, datagram);
    }

    /// Brings it there at this moment, whatever the weather.
    pub fn carry(&mut self, at: Mono, datagram: Datagram) {
        self.put(at, datagram);
    }

    /// The call of this message is not what it would have been without a loss.
    pub fn trouble(&mut self, datagram: &Datagram) {
        if let Some(call_id) = call_id(&datagram.bytes) {
            self.troubled.insert(call_id);
        }
    }

    fn put(&mut self, at: Mono, datagram: Datagram) {
        self.sequence += 1;
        self.flights.push(Flight { at, sequence: self.sequence, datagram });
    }

    fn jitter(&mut self, weather: Weather) -> Duration {
        let most = u64::try_from(weather.jitter.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.below(most.saturating_add(1)))
    }

    /// When the next one arrives.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.flights.peek().map_or(Mono::NEVER, |flight| flight.at)
    }

    /// The next one that has arrived.
    pub fn arrive(&mut self, now: Mono) -> Option<Datagram> {
        if self.deadline() > now {
            return None;
        }
        self.flights.pop().map(|flight| flight.datagram)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

/// SIP begins with a letter; RTP, RTCP and STUN never do.
#[must_use]
pub fn is_sip(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
}

/// The Call-ID of a SIP message.
#[must_use]
pub fn call_id(bytes: &[u8]) -> Option<String> {
    if !is_sip(bytes) {
        return None;
    }
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.starts_with(b"Call-ID:"))?;
    Some(String::from_utf8_lossy(&line[8..]).trim().to_owned())
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("under_way", &self.flights.len()).finish_non_exhaustive()
    }
}
