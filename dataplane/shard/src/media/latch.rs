//! Which source may speak (THREATS.md, RTP bleed and injection). The address in the SDP always may,
//! and speaking locks it. Another one is learned only if it is the host that the signalling comes
//! from (a phone behind a NAT), only in the first moments, a few packets, and is locked when the
//! window ends without a word from the SDP's address. A lock is final until the SDP names another
//! address; then the one it named before is not learned in the first moments, because what comes
//! from there was under way.
//!
//! ```text
//!   Open --(SDP's address)--------------------------------------> Locked
//!     \---(signalling's host)--> Learning --(window over)--------/
//! ```

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::Mono;

/// After answer (or an address change) a source other than the SDP's may be learned this long.
const LATCH_WINDOW: Duration = Duration::from_millis(400);
/// Packets taken from a source that is not locked yet.
pub(crate) const LATCH_PACKETS: u8 = 5;

/// The state of a leg's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latch {
    /// Nobody spoke yet.
    Open,
    Learning {
        source: SocketAddr,
        until: Mono,
        packets: u8,
    },
    Locked(SocketAddr),
}

/// What is known of a far end's addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// What the SDP said last that was an address to send to.
    pub(crate) described: SocketAddr,
    /// The host that signals for this leg.
    pub(crate) signalling: IpAddr,
    /// Locked under the description before, and until when it is not learned again.
    pub(crate) former: Option<(SocketAddr, Mono)>,
}

/// May a source speak?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    No,
    Yes,
    /// Yes, and it is locked by this.
    Locks,
}

impl Latch {
    /// The only source that may speak now.
    pub(crate) fn locked(&self) -> Option<SocketAddr> {
        match self {
            Self::Locked(source) => Some(*source),
            _ => None,
        }
    }

    /// Nobody has spoken under the description in force. The source locked before, to be kept in
    /// [`Known::former`].
    pub(crate) fn open(&mut self, now: Mono) -> Option<(SocketAddr, Mono)> {
        let was = core::mem::replace(self, Self::Open);
        was.locked().map(|source| (source, now + LATCH_WINDOW))
    }

    /// Locks or learns by the rules above.
    #[inline]
    pub(crate) fn judge(&mut self, source: SocketAddr, known: &Known, now: Mono) -> Judgement {
        match *self {
            Self::Locked(locked) if locked == source => Judgement::Yes,
            Self::Locked(_) => Judgement::No,
            _ => self.learn(source, known, now),
        }
    }

    #[cold]
    fn learn(&mut self, source: SocketAddr, known: &Known, now: Mono) -> Judgement {
        if source == known.described {
            *self = Self::Locked(source);
            return Judgement::Locks;
        }
        let is_former = known.former.is_some_and(|(was, until)| was == source && now < until);
        if is_former || source.ip().to_canonical() != known.signalling.to_canonical() {
            return Judgement::No;
        }
        match *self {
            Self::Learning { source: learned, until, packets } if learned == source => {
                if now >= until {
                    *self = Self::Locked(source);
                    return Judgement::Locks;
                }
                let packets = packets.saturating_add(1);
                *self = Self::Learning { source, until, packets };
                if packets <= LATCH_PACKETS { Judgement::Yes } else { Judgement::No }
            }
            // Another one is being learned and has not fallen silent.
            Self::Learning { until, .. } if now < until => Judgement::No,
            _ => {
                *self = Self::Learning { source, until: now + LATCH_WINDOW, packets: 1 };
                Judgement::Yes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            described: "192.0.2.1:4000".parse().unwrap(),
            signalling: "198.51.100.7".parse().unwrap(),
            former: None,
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_sdp_address_locks_and_nobody_else_speaks_then() {
        let (mut latch, known) = (Latch::Open, known());
        let attacker = address("203.0.113.9:4000");
        assert_eq!(latch.judge(attacker, &known, Mono(0)), Judgement::No);
        assert_eq!(latch.judge(known.described, &known, Mono(0)), Judgement::Locks);
        assert_eq!(latch.judge(known.described, &known, Mono(0)), Judgement::Yes);
        assert_eq!(latch.judge(attacker, &known, Mono(0)), Judgement::No);
        let neighbour = address("198.51.100.7:4000");
        assert_eq!(latch.judge(neighbour, &known, Mono(0)), Judgement::No);
    }

    #[test]
    fn a_phone_behind_a_nat_is_learned_after_the_window() {
        let (mut latch, known) = (Latch::Open, known());
        let phone = address("198.51.100.7:61000");
        let taken = (0..20_u64)
            .filter(|packet| latch.judge(phone, &known, Mono(packet * 20_000_000)) != Judgement::No)
            .count();
        assert_eq!(taken, usize::from(LATCH_PACKETS));
        assert_eq!(latch.judge(phone, &known, Mono(400_000_000)), Judgement::Locks);
        assert_eq!(latch.locked(), Some(phone));
    }

    #[test]
    fn the_sdp_address_wins_over_a_learned_one() {
        let (mut latch, known) = (Latch::Open, known());
        let neighbour = address("198.51.100.7:61000");
        for _ in 0..50 {
            latch.judge(neighbour, &known, Mono(0));
        }
        assert_eq!(latch.judge(known.described, &known, Mono(1)), Judgement::Locks);
        assert_eq!(latch.judge(neighbour, &known, Mono(2_000_000_000)), Judgement::No);
    }

    #[test]
    fn a_learned_source_that_falls_silent_gives_way_to_another() {
        let (mut latch, known) = (Latch::Open, known());
        let (first, second) = (address("198.51.100.7:61000"), address("198.51.100.7:61002"));
        assert_eq!(latch.judge(first, &known, Mono(0)), Judgement::Yes);
        assert_eq!(latch.judge(second, &known, Mono(1)), Judgement::No);
        assert_eq!(latch.judge(second, &known, Mono(400_000_000)), Judgement::Yes);
    }

    #[test]
    fn what_the_old_port_has_under_way_is_not_learned_again() {
        let mut known = known();
        let old = address("198.51.100.7:61000");
        let mut latch = Latch::Locked(old);
        known.former = latch.open(Mono(0));
        assert_eq!(latch.judge(old, &known, Mono(10_000_000)), Judgement::No);
        assert_eq!(latch, Latch::Open);
        assert_eq!(latch.judge(known.described, &known, Mono(20_000_000)), Judgement::Locks);
        // A phone that really stayed there is learned when the moment is over.
        let mut latch = Latch::Open;
        assert_eq!(latch.judge(old, &known, Mono(400_000_000)), Judgement::Yes);
    }
}
