//! Timers of calls: a wheel of one-millisecond ticks. An entry is never removed; the owner compares
//! what fired with what it waits for, so that cancelling costs nothing and a call may move its
//! deadlines as it likes.

use crate::clock::MS;

const TICKS: usize = 4_096;

/// What fired: which slot, which timer of it, and the deadline it was set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fired {
    pub(crate) slot: u32,
    pub(crate) kind: u8,
    pub(crate) due: u64,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    ticks: Vec<Vec<Fired>>,
    /// The next tick to look at, in milliseconds.
    next: u64,
    len: usize,
}

impl Wheel {
    pub(crate) fn new(now: u64) -> Self {
        Self { ticks: vec![Vec::new(); TICKS], next: now / MS, len: 0 }
    }

    pub(crate) fn set(&mut self, entry: Fired) {
        let tick = (entry.due.div_ceil(MS)).max(self.next);
        self.ticks[index(tick)].push(entry);
        self.len += 1;
    }

    /// Moves what is due at `now` into `out`.
    pub(crate) fn expire(&mut self, now: u64, out: &mut Vec<Fired>) {
        let last = now / MS;
        if self.len == 0 {
            self.next = self.next.max(last + 1);
            return;
        }
        // After a long stall one turn of the wheel sees every entry.
        let from = self.next.max(last.saturating_sub(TICKS as u64 - 1));
        for tick in from..=last {
            let before = out.len();
            self.ticks[index(tick)].retain(|entry| {
                let due = entry.due <= now;
                if due {
                    out.push(*entry);
                }
                !due
            });
            self.len -= out.len() - before;
        }
        self.next = self.next.max(last + 1);
    }

    /// When to look again: the next tick that holds anything, within `horizon` nanoseconds.
    pub(crate) fn next_due(&self, horizon: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let ticks = (horizon / MS).min(TICKS as u64);
        (self.next..self.next + ticks)
            .find(|tick| !self.ticks[index(*tick)].is_empty())
            .map(|t| t * MS)
    }
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % TICKS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: u32, due: u64) -> Fired {
        Fired { slot, kind: 0, due }
    }

    #[test]
    fn fires_once_in_time_and_survives_turns() {
        let mut wheel = Wheel::new(10 * MS);
        wheel.set(at(1, 12 * MS));
        wheel.set(at(2, 12 * MS + 1));
        wheel.set(at(3, 9_000 * MS));
        let mut out = Vec::new();
        wheel.expire(11 * MS, &mut out);
        assert!(out.is_empty());
        wheel.expire(12 * MS, &mut out);
        assert_eq!(out, [at(1, 12 * MS)]);
        out.clear();
        assert_eq!(wheel.next_due(50 * MS), Some(13 * MS));
        wheel.expire(5_000 * MS, &mut out);
        assert_eq!(out, [at(2, 12 * MS + 1)]);
        out.clear();
        wheel.expire(9_000 * MS, &mut out);
        assert_eq!(out, [at(3, 9_000 * MS)]);
        assert_eq!(wheel.next_due(50 * MS), None);
    }

    #[test]
    fn late_entries_fire_at_the_next_look() {
        let mut wheel = Wheel::new(100 * MS);
        wheel.set(at(1, 3 * MS));
        let mut out = Vec::new();
        wheel.expire(101 * MS, &mut out);
        assert_eq!(out.len(), 1);
    }
}
