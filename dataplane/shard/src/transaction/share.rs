//! Who may have how much of the table of server transactions. What is known (a trunk, a dialog of
//! ours, a source that has answered a challenge) may have all of it; a stranger shares with other
//! strangers what is not reserved, and no source of them has more than its own part.
//!
//! A source is counted by a keyed hash of its address (IPv4) or /64 (IPv6): two that fall on one
//! place have one part together, which only strangers can feel.

use core::net::{IpAddr, SocketAddr};

use base::HashKey;

/// Places that sources are counted in.
const PLACES: usize = 4_096;
/// The table's part that strangers never take: this many quarters.
const RESERVED_QUARTERS: usize = 1;
/// One source's part of the table: one of so many.
const PARTS: usize = 32;

#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    /// Unfinished transactions of strangers, by place.
    counts: Vec<u32>,
}

/// Whom a transaction counts against: a stranger's place, or nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account(u16);

impl Account {
    /// Whoever is known is not counted.
    pub(super) const KNOWN: Self = Self(u16::MAX);

    pub(super) fn of(source: SocketAddr, key: HashKey) -> Self {
        let hash = match source.ip().to_canonical() {
            IpAddr::V4(address) => key.hash(&[&address.octets()]),
            IpAddr::V6(address) => key.hash(&[&address.octets()[..8]]),
        };
        Self(u16::try_from(hash % PLACES as u64).unwrap_or(0))
    }

    pub(super) fn is_stranger(self) -> bool {
        self != Self::KNOWN
    }
}

impl Shares {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit as usize, counts: vec![0; PLACES] }
    }

    /// Whether one more may begin, where `open` are unfinished.
    pub(super) fn may_begin(&self, account: Account, open: usize) -> bool {
        if !account.is_stranger() {
            return true;
        }
        let shared = self.limit - self.limit * RESERVED_QUARTERS / 4;
        let part = (self.limit / PARTS).max(1);
        open < shared && (self.counts[usize::from(account.0)] as usize) < part
    }

    /// One more is unfinished.
    pub(super) fn begin(&mut self, account: Account) {
        if account.is_stranger() {
            self.counts[usize::from(account.0)] += 1;
        }
    }

    /// One of them is finished or gone.
    pub(super) fn end(&mut self, account: Account) {
        if account.is_stranger() {
            let count = &mut self.counts[usize::from(account.0)];
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Account {
        Account::of(text.parse().unwrap(), HashKey([1, 2]))
    }

    #[test]
    fn a_strangers_source_has_its_part_and_the_known_have_the_rest() {
        let mut shares = Shares::new(320);
        let (one, other) = (account("192.0.2.1:5060"), account("192.0.2.2:5060"));
        assert_eq!(one, account("192.0.2.1:9"), "whatever its port");
        assert_ne!(one, other);
        for _ in 0..10 {
            assert!(shares.may_begin(one, 10));
            shares.begin(one);
        }
        assert!(!shares.may_begin(one, 10), "its part is 10");
        assert!(shares.may_begin(other, 239));
        assert!(!shares.may_begin(other, 240), "a quarter is kept for the known");
        assert!(shares.may_begin(Account::KNOWN, 319));
        shares.end(one);
        assert!(shares.may_begin(one, 10));
    }
}
