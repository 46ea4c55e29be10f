//! The guard at the door: token buckets per source (an IPv4 address or an IPv6 /64) and per shard,
//! asked before a message is parsed further than its first line. The table is bounded and hashed
//! with a secret; where two sources fall on one entry, the newcomer takes it over (with a full
//! bucket), so that nobody can be starved on purpose.

use core::net::{IpAddr, SocketAddr};

use base::{HashKey, Mono};

use crate::plan::GuardPlan;

const ENTRIES: usize = 4_096;

/// A bucket of tokens that fills with time. Counts in 1/1000 of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    milli: u64,
    filled: Mono,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    source: u64,
    bucket: Bucket,
}

#[derive(Debug)]
pub(crate) struct Guard {
    plan: GuardPlan,
    key: HashKey,
    sources: Vec<Entry>,
    calls: Bucket,
}

impl Bucket {
    pub(crate) fn full(burst: u32, now: Mono) -> Self {
        Self { milli: u64::from(burst) * 1_000, filled: now }
    }

    /// Takes a token; `rate` per second (0: always granted), never more than `burst`.
    pub(crate) fn take(&mut self, rate: u32, burst: u32, now: Mono) -> bool {
        if rate == 0 {
            return true;
        }
        let passed_us = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = passed_us.saturating_mul(u64::from(rate)) / 1_000;
        if gained > 0 {
            self.milli = self.milli.saturating_add(gained).min(u64::from(burst) * 1_000);
            self.filled = now;
        }
        let granted = self.milli >= 1_000;
        if granted {
            self.milli -= 1_000;
        }
        granted
    }
}

impl Guard {
    pub(crate) fn new(plan: GuardPlan, key: HashKey) -> Self {
        let calls = Bucket::full(plan.call_rate, Mono(0));
        Self { plan, key, sources: vec![Entry::default(); ENTRIES], calls }
    }

    /// May this source be heard at all now?
    pub(crate) fn source(&mut self, source: SocketAddr, now: Mono) -> bool {
        if self.plan.source_rate == 0 {
            return true;
        }
        let hash = match source.ip().to_canonical() {
            IpAddr::V4(address) => self.key.hash(&[&address.octets()]),
            IpAddr::V6(address) => self.key.hash(&[&address.octets()[..8]]),
        };
        let entry = &mut self.sources[usize::try_from(hash).unwrap_or(0) % ENTRIES];
        if entry.source != hash {
            *entry = Entry { source: hash, bucket: Bucket::full(self.plan.source_burst, now) };
        }
        entry.bucket.take(self.plan.source_rate, self.plan.source_burst, now)
    }

    /// May another call begin on this shard now?
    pub(crate) fn call(&mut self, now: Mono) -> bool {
        self.calls.take(self.plan.call_rate, self.plan.call_rate.max(1), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_flood_is_cut_to_its_rate_and_others_are_not() {
        let plan = GuardPlan { source_rate: 100, source_burst: 50, call_rate: 0 };
        let mut guard = Guard::new(plan, HashKey([1, 2]));
        let flood: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let honest: SocketAddr = "192.0.2.2:5060".parse().unwrap();
        let mut now = Mono(1_000_000_000);
        let mut granted = 0;
        for step in 0..10_000_u32 {
            now = now + Duration::from_micros(1_000);
            granted += u32::from(guard.source(flood, now));
            if step % 20 == 0 {
                assert!(guard.source(honest, now));
            }
        }
        assert!((1_000..=1_060).contains(&granted), "{granted}");
    }
}
