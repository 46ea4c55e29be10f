//! Who may have how much of the table of server transactions. A trunk may have all of it. Everybody
//! else leaves a quarter to the trunks, and strangers leave another one to those that are known or
//! have shown that they hear us; no source has more than its own part. So no single source, and no
//! class of sources, takes the table from those above it.
//!
//! A source is counted by a keyed hash of its address (IPv4) or /64 (IPv6): two that fall on one
//! place have one part together, which no trunk can feel.

use core::net::{IpAddr, SocketAddr};

use base::HashKey;

use crate::transport::guard::Standing;

/// Places that sources of a class are counted in.
const PLACES: u16 = 4_096;
/// The table's quarters that a class never takes.
const RESERVED_BY_KNOWN: usize = 1;
const RESERVED_BY_STRANGERS: usize = 2;
/// One source's part of the table: one of so many.
const KNOWN_PARTS: usize = 8;
const STRANGER_PARTS: usize = 32;

#[derive(Debug)]
pub(crate) struct Shares {
    limit: usize,
    /// Unfinished transactions, by place.
    counts: Vec<u32>,
}

/// Whom a transaction counts against: a place, or nobody's. Strangers' places come behind those of
/// the known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account(u16);

impl Account {
    /// Trunks are not counted.
    const TRUNK: Self = Self(u16::MAX);

    pub(crate) fn of(standing: Standing, source: SocketAddr, key: HashKey) -> Self {
        if standing == Standing::Trunk {
            return Self::TRUNK;
        }
        let hash = match source.ip().to_canonical() {
            IpAddr::V4(address) => key.hash(&[&address.octets()]),
            IpAddr::V6(address) => key.hash(&[&address.octets()[..8]]),
        };
        let place = u16::try_from(hash % u64::from(PLACES)).unwrap_or(0);
        Self(if standing == Standing::Stranger { PLACES + place } else { place })
    }

    /// Whether what it leaves unacknowledged makes room for others.
    pub(crate) fn is_counted(self) -> bool {
        self != Self::TRUNK
    }
}

impl Shares {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: limit as usize, counts: vec![0; 2 * usize::from(PLACES)] }
    }

    /// Whether one more may begin, where `open` are unfinished.
    pub(crate) fn may_begin(&self, account: Account, open: usize) -> bool {
        let Some(count) = self.counts.get(usize::from(account.0)) else { return true };
        let (reserved, parts) = match account.0 < PLACES {
            true => (RESERVED_BY_KNOWN, KNOWN_PARTS),
            false => (RESERVED_BY_STRANGERS, STRANGER_PARTS),
        };
        let shared = self.limit - self.limit * reserved / 4;
        let part = (self.limit / parts).max(1);
        open < shared && (*count as usize) < part
    }

    /// One more is unfinished.
    pub(crate) fn begin(&mut self, account: Account) {
        if let Some(count) = self.counts.get_mut(usize::from(account.0)) {
            *count += 1;
        }
    }

    /// One of them is finished or gone.
    pub(crate) fn end(&mut self, account: Account) {
        if let Some(count) = self.counts.get_mut(usize::from(account.0)) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(standing: Standing, text: &str) -> Account {
        Account::of(standing, text.parse().unwrap(), HashKey([1, 2]))
    }

    #[test]
    fn a_source_has_its_part_and_each_class_leaves_room_for_those_above() {
        let cases = [(Standing::Stranger, 10, 160), (Standing::Proven, 40, 240)];
        for (standing, part, room) in cases {
            let mut shares = Shares::new(320);
            let one = account(standing, "192.0.2.1:5060");
            let other = account(standing, "192.0.2.2:5060");
            assert_eq!(one, account(standing, "192.0.2.1:9"), "whatever its port");
            assert_ne!(one, other);
            for _ in 0..part {
                assert!(shares.may_begin(one, 10));
                shares.begin(one);
            }
            assert!(!shares.may_begin(one, 10), "its part is {part}");
            assert!(shares.may_begin(other, room - 1));
            assert!(!shares.may_begin(other, room), "the rest is for those above");
            assert!(shares.may_begin(account(Standing::Trunk, "192.0.2.1:5060"), 319));
            shares.end(one);
            assert!(shares.may_begin(one, 10));
        }
        let known = account(Standing::Known, "192.0.2.1:5060");
        assert_eq!(known, account(Standing::Proven, "192.0.2.1:5060"), "one class");
        assert_ne!(known, account(Standing::Stranger, "192.0.2.1:5060"));
    }
}
