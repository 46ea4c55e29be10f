//! How many packets a second a far end may send (the leaky bucket of ITU-T I.371, GCRA). It counts
//! what its source may send at all, before anything is done with it, so that it holds whoever hears
//! the stream: this shard, another one, a transcoder, nobody.

use base::Mono;

/// Packets that may come at once: two seconds of a stream of 20 ms that stood in a queue somewhere.
const BURST: u64 = 100;

/// One stream's allowance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Police {
    /// When the packets taken so far would have come at the allowed rate.
    spent: Mono,
}

/// Nanoseconds of one packet at the allowed rate, which is two and a half times what its packet
/// time says, and at least that of 20 ms: packet times are a wish, and digits come between.
pub(crate) fn interval(ptime_ms: u8) -> u32 {
    u32::from(ptime_ms.clamp(1, 20)) * 400_000
}

impl Police {
    pub(crate) const fn new() -> Self {
        Self { spent: Mono(0) }
    }

    /// Takes one more packet if it is within the rate.
    #[inline]
    pub(crate) fn takes(&mut self, interval: u32, now: Mono) -> bool {
        let after = self.after(interval, now);
        self.spent = after.unwrap_or(self.spent);
        after.is_some()
    }

    /// Its allowance after one more packet, if that is within the rate.
    #[inline]
    pub(crate) fn after(&self, interval: u32, now: Mono) -> Option<Mono> {
        let interval = u64::from(interval);
        let spent = self.spent.0.max(now.0);
        (spent - now.0 <= BURST * interval).then_some(Mono(spent + interval))
    }

    /// Takes the packet that [`Police::after`] told this of.
    #[inline]
    pub(crate) fn take(&mut self, after: Mono) {
        self.spent = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_at_twice_its_rate_passes_and_a_flood_does_not() {
        for ptime in [5_u8, 10, 20, 30, 60] {
            let (mut police, interval) = (Police::new(), interval(ptime));
            let step = u64::from(ptime) * 1_000_000;
            // Twice as fast as it says.
            for packet in 0..10_000_u64 {
                let at = Mono(1_000_000_000 + packet * step / 2);
                assert!(police.takes(interval, at), "{ptime} {packet}");
            }
        }
        let (mut police, interval) = (Police::new(), interval(20));
        let taken = (0..100_000_u64).filter(|at| police.takes(interval, Mono(at * 10_000))).count();
        assert_eq!(taken, 100 + 125, "of 100,000 in a second");
    }
}
