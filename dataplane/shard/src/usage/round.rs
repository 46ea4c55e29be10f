//! The meter's round: once a second it comes by each leg that is up, in the order of their slots.
//! So the memory of the legs that come next is known beforehand and lies side by side, and no leg
//! is touched itself as long as nothing about it is odd.
//!
//! A round has parts; each part's slots have their moment in every second, and a part in which
//! nobody is up has none. Legs that are answered in one burst have neighbouring slots: so many of
//! them are metered in one breath as a part has, and no more.

use core::ops::Range;

use base::Mono;

/// How often a standing leg's usage goes to its cell, and its silence is looked at.
const ROUND: u64 = 1_000_000_000;
/// Parts of a round; their moments are so far apart.
const PARTS: u32 = 256;
const STEP: u64 = ROUND / PARTS as u64;
const LISTS: usize = PARTS as usize;

/// What is metered of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metered {
    /// How far the wall clock was before the monotonic one when the leg was made.
    pub(crate) offset: u64,
    /// The join that goes on; 0 for none.
    pub(crate) segment: u8,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    /// [`NOBODY`] where no leg is up.
    segment: u8,
    /// The leg itself was asked the last time.
    was_odd: bool,
}

const NOBODY: u8 = u8::MAX;

/// Who is metered, and when.
#[derive(Debug)]
pub(crate) struct Round {
    places: Box<[Place]>,
    /// Slots of a part.
    slots: u32,
    /// Legs that are up, by part, and a bit for each part that has any.
    up: Box<[u32; LISTS]>,
    busy: [u64; LISTS / 64],
    /// The next part to begin, counted from the clock's zero.
    next: u64,
    /// What is left of the part that was begun last.
    left: Range<u32>,
}

impl Round {
    pub(crate) fn new(legs: u32) -> Self {
        let nobody = Place { offset: 0, segment: NOBODY, was_odd: false };
        Self {
            places: vec![nobody; legs as usize].into(),
            slots: legs.div_ceil(PARTS).max(1),
            up: Box::new([0; LISTS]),
            busy: [0; LISTS / 64],
            next: 0,
            left: 0..0,
        }
    }

    /// What is metered of a slot's leg from now on; None if it is not up.
    pub(crate) fn set(&mut self, slot: u32, metered: Option<Metered>) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let was_up = place.segment != NOBODY;
        match metered {
            Some(Metered { offset, segment }) => {
                (place.offset, place.segment) = (offset, segment);
            }
            None => (place.segment, place.was_odd) = (NOBODY, false),
        }
        if was_up == metered.is_some() {
            return;
        }
        let part = (slot / self.slots) as usize;
        let (Some(up), Some(busy)) = (self.up.get_mut(part), self.busy.get_mut(part / 64)) else {
            return;
        };
        *up = if was_up { up.saturating_sub(1) } else { *up + 1 };
        let bit = 1 << (part % 64);
        *busy = if *up > 0 { *busy | bit } else { *busy & !bit };
    }

    pub(crate) fn metered(&self, slot: u32) -> Option<Metered> {
        let Place { offset, segment, .. } = *self.places.get(slot as usize)?;
        (segment != NOBODY).then_some(Metered { offset, segment })
    }

    /// Whether the leg itself is to be asked: it is odd now, or was the last time.
    pub(crate) fn asks(&mut self, slot: u32, is_odd: bool) -> bool {
        let Some(place) = self.places.get_mut(slot as usize) else { return false };
        core::mem::replace(&mut place.was_odd, is_odd) || is_odd
    }

    /// When the next part is due; [`Mono::NEVER`] if nobody is up.
    pub(crate) fn deadline(&self) -> Mono {
        match self.left.is_empty() {
            true => self.next_busy().map_or(Mono::NEVER, |part| Mono(part * STEP)),
            false => Mono(0),
        }
    }

    /// The next slot that is due. What has been missed in a stall is not made up for: each leg is
    /// come by once.
    pub(crate) fn next(&mut self, now: Mono) -> Option<u32> {
        let due = now.0 / STEP;
        loop {
            if let Some(slot) = self.left.next() {
                return Some(slot);
            }
            self.next = self.next.max((due + 1).saturating_sub(u64::from(PARTS)));
            let part = self.next_busy().filter(|part| *part <= due);
            let Some(part) = part else {
                self.next = self.next.max(due + 1);
                return None;
            };
            self.next = part + 1;
            let part = u32::try_from(part % u64::from(PARTS)).unwrap_or(0);
            self.left = part * self.slots..(part + 1) * self.slots;
        }
    }

    /// The slot that was given last.
    pub(crate) fn latest(&self) -> Option<u32> {
        self.left.start.checked_sub(1)
    }

    fn next_busy(&self) -> Option<u64> {
        let here = self.next % u64::from(PARTS);
        let (word, bit) = (usize::try_from(here / 64).unwrap_or(0), here % 64);
        let words = self.busy.len();
        // The word it stands in comes twice: what is behind it first, what is before it last.
        (0..=words).find_map(|ahead| {
            let mask = match ahead {
                0 => u64::MAX << bit,
                _ if ahead == words => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let found = self.busy[(word + ahead) % words] & mask;
            let place = u64::from(found.trailing_zeros()) + 64 * ahead as u64;
            (found != 0).then(|| self.next - bit + place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Option<Metered> = Some(Metered { offset: 7, segment: 1 });

    /// The slots that are come by until `end`, and when; the clock goes on by `step`.
    fn walk(round: &mut Round, mut now: u64, end: u64, step: u64) -> Vec<(u32, u64)> {
        let mut seen = Vec::new();
        while now < end {
            while let Some(slot) = round.next(Mono(now)) {
                seen.push((slot, now));
            }
            now += step;
        }
        seen
    }

    /// However many there are and however finely the clock is looked at.
    #[test]
    fn each_leg_that_is_up_is_come_by_once_a_second_at_its_own_moment() {
        for legs in [1_u32, 3, 255, 256, 257, 1_000, 20_064] {
            for step in [100_000, 1_000_000, 77_777_777] {
                let mut round = Round::new(legs);
                let up: Vec<u32> = (0..legs).filter(|slot| slot % 7 != 3).collect();
                up.iter().for_each(|slot| round.set(*slot, UP));
                let start = 77 * ROUND + 123_456;
                assert!(round.deadline() <= Mono(start));
                walk(&mut round, start, start + 1, 1);
                let seen = walk(&mut round, start + step, start + ROUND + step, step);
                let mut slots: Vec<u32> = seen.iter().map(|(slot, _)| *slot).collect();
                slots.retain(|slot| round.metered(*slot).is_some());
                slots.sort_unstable();
                // The window is a step longer than a round: one step's slots may come twice.
                let twice = slots.windows(2).filter(|pair| pair[0] == pair[1]).count();
                let parts = usize::try_from(step.div_ceil(STEP)).unwrap() + 1;
                let most = parts * (legs as usize).div_ceil(LISTS);
                assert!(twice <= most, "{legs} {step}: {twice} twice");
                slots.dedup();
                assert_eq!(slots, up, "{legs} {step}");
                let crowd = seen.chunk_by(|x, y| x.1 == y.1).map(<[_]>::len).max().unwrap_or(0);
                assert!(crowd <= most, "{crowd} in one breath");
            }
        }
    }

    #[test]
    fn a_second_lies_between_two_visits_and_a_stall_is_not_made_up_for() {
        let mut round = Round::new(20_000);
        round.set(12_345, UP);
        walk(&mut round, ROUND, ROUND + 1, 1);
        let seen = walk(&mut round, ROUND + 1, 11 * ROUND, 50_000);
        let visits: Vec<u64> =
            seen.iter().filter(|(slot, _)| *slot == 12_345).map(|(_, at)| *at).collect();
        assert_eq!(visits.len(), 10);
        for pair in visits.windows(2) {
            assert!((pair[1] - pair[0]).abs_diff(ROUND) <= 100_000, "{pair:?}");
        }
        let late = walk(&mut round, 40 * ROUND, 40 * ROUND + 1, 1);
        assert_eq!(late.iter().filter(|(slot, _)| *slot == 12_345).count(), 1);
    }

    /// A clock that is only looked at when something is due sees every visit.
    #[test]
    fn the_deadline_is_the_next_visit_and_nobodys_is_never() {
        let mut round = Round::new(10_000);
        assert_eq!(round.deadline(), Mono::NEVER);
        assert_eq!(round.next(Mono(5 * ROUND)), None);
        for slot in [0, 77, 9_999] {
            round.set(slot, UP);
            round.set(slot, Some(Metered { offset: 8, segment: 2 }));
        }
        let (mut now, mut seen) = (5 * ROUND, Vec::new());
        while now < 8 * ROUND {
            now = round.deadline().0.max(now);
            while let Some(slot) = round.next(Mono(now)) {
                seen.extend(round.metered(slot).map(|metered| (slot, metered.segment)));
            }
        }
        assert!((9..=10).contains(&seen.len()), "{seen:?}");
        [0, 77, 9_999].into_iter().for_each(|slot| round.set(slot, None));
        assert_eq!((round.deadline(), round.up.iter().sum::<u32>()), (Mono::NEVER, 0));
        assert_eq!(round.next(Mono(20 * ROUND)), None);
    }

    #[test]
    fn who_was_odd_is_asked_once_more() {
        let mut round = Round::new(4);
        round.set(2, UP);
        let asked = [false, true, true, false, false].map(|is_odd| round.asks(2, is_odd));
        assert_eq!(asked, [false, true, true, true, false]);
        assert!(!round.asks(9, true), "nobody's");
    }
}
