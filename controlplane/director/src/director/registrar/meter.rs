//! How long contacts were registered, for whoever pays for it. A contact's time is cut into parts
//! by days: a part ends with the first REGISTER of another day, and belongs to the day on which it
//! began, as a call does. A part's row says how long it was so far, and only ever grows; of several
//! the store keeps the longest, so that nothing is lost or counted twice, however often a row comes
//! again. What a part is known to have had goes with the contact's own record.
//!
//! A process counts by its steady clock. What passed between two of them is what the wall clock
//! shows, but never longer than the contact was granted, and nothing if the clock was set back.

use base::{CallId, LegId, Mono, Now, Wall};
use model::port::Record;
use model::{Binding, Kept, Service, UsageKey, UsageRow, whole_seconds};

/// A row is written with a refresh when so much is new in it, microseconds.
const TOLD_MICROS: u64 = 300_000_000;
const DAY_MICROS: u64 = 86_400_000_000;

/// What is counted of a contact's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    segment: u16,
    /// When the part began.
    start: Wall,
    /// Counted until `since`, microseconds.
    micros: u64,
    since: Mono,
    /// As its row has it.
    told: u64,
}

impl Meter {
    /// Of a contact that is new.
    pub(super) fn new(now: Now) -> Self {
        Self { segment: 0, start: now.wall, micros: 0, since: now.mono, told: 0 }
    }

    /// Of a contact that a predecessor had.
    pub(super) fn load(now: Now, binding: &Binding) -> Self {
        let Kept { came, segment, start, micros, .. } = binding.kept;
        // An older binary wrote it, and metered nothing.
        if start == Wall(0) {
            return Self::new(now);
        }
        let micros = micros + now.wall.min(binding.expires).micros_since(came);
        Self { segment, start, micros, since: now.mono, told: 0 }
    }

    /// How long its part is, of a contact that goes at `until`.
    pub(super) fn micros(&self, now: Now, until: Mono) -> u64 {
        let more = now.mono.min(until).since(self.since).as_micros();
        self.micros.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
    }

    /// The contact was registered again: what is to be written of it, and its meter from here on.
    pub(super) fn refresh(
        self,
        now: Now,
        (binding, until): (&Binding, Mono),
    ) -> (Self, Option<Record>) {
        let micros = self.micros(now, until);
        let is_of_today = now.wall.0 / DAY_MICROS <= self.start.0 / DAY_MICROS;
        if !is_of_today {
            let next = Self { segment: self.segment.wrapping_add(1), ..Self::new(now) };
            return (next, Some(self.row(binding, micros)));
        }
        let is_told = micros - self.told.min(micros) < TOLD_MICROS;
        let told = if is_told { self.told } else { micros };
        let next = Self { micros, since: now.mono, told, ..self };
        (next, (!is_told).then(|| self.row(binding, micros)))
    }

    /// The contact is gone.
    pub(super) fn end(self, now: Now, (binding, until): (&Binding, Mono)) -> Record {
        self.row(binding, self.micros(now, until))
    }

    /// As its contact's record has it.
    pub(super) fn kept(&self, now: Now, is_behind_nat: bool) -> Kept {
        let Self { segment, start, micros, .. } = *self;
        Kept { came: now.wall, segment, start, micros, is_behind_nat }
    }

    /// Its number stands in a leg's place, and in a call's with the time of its part.
    fn row(&self, binding: &Binding, micros: u64) -> Record {
        let number = u64::try_from(binding.sid.0 & u128::from(u64::MAX)).unwrap_or_default();
        let (leg, service) = (LegId(number), Service::SipRegistration);
        Record::Usage(UsageRow {
            key: UsageKey { node: 0, epoch: 0, leg, service, segment: self.segment },
            account: Some(binding.account),
            call: CallId::begun(self.start, binding.sid.0),
            at: self.start,
            start: self.start,
            last: Wall(self.start.0.saturating_add(micros)),
            count: 1,
            micros,
            seconds: whole_seconds(micros),
            bytes: 0,
        })
    }
}
