//! How long contacts were registered, for whoever pays for it. A contact's time is cut into parts
//! by days: a part ends with the first REGISTER of another day, and belongs to the day on which it
//! began, as a call does. A part's row says how long it was so far, and only ever grows; of several
//! the store keeps the longest, so that nothing is lost or counted twice, however often a row comes
//! again. What a part is known to have had goes with the contact's own record.
//!
//! Whoever of an account's comes when another one has gone on the same day goes on with its part:
//! phones that come and go leave no more rows than there were of them at one time.
//!
//! A process counts by its steady clock. What passed between two of them is what the wall clock
//! shows, but never longer than the contact was granted, and nothing if the clock was set back.

use std::collections::BTreeMap;

use base::{CallId, LegId, Mono, Now, Wall};
use model::port::Record;
use model::{AccountSid, Binding, BindingSid, Kept, Service, UsageKey, UsageRow, whole_seconds};

/// A row is written with a refresh when so much is new in it, microseconds.
const TOLD_MICROS: u64 = 300_000_000;
const DAY_MICROS: u64 = 86_400_000_000;
/// By so much a wall clock may be set back behind a part's beginning, and the part goes on.
const JITTER_MICROS: u64 = 3_600_000_000;

/// What is counted of a contact's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    /// The contact that its row is named by: the first that it counted.
    row: BindingSid,
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
    pub(super) fn new(now: Now, row: BindingSid) -> Self {
        Self { row, segment: 0, start: now.wall, micros: 0, since: now.mono, told: 0 }
    }

    /// Of a contact that a predecessor had; None of one that an older binary wrote, and metered
    /// nothing of.
    pub(super) fn load(now: Now, binding: &Binding) -> Option<Self> {
        let Kept { came, segment, start, micros, row, .. } = binding.kept;
        let row = if row == BindingSid::default() { binding.sid } else { row };
        let micros = micros + now.wall.min(binding.expires).micros_since(came);
        let meter = Self { row, segment, start, micros, since: now.mono, told: 0 };
        (start != Wall(0)).then_some(meter)
    }

    /// How long its part is, of a contact that goes at `until`.
    fn micros(&self, now: Now, until: Mono) -> u64 {
        let more = now.mono.min(until).since(self.since).as_micros();
        self.micros.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
    }

    /// With what has passed until now.
    pub(super) fn counted(self, now: Now, until: Mono) -> Self {
        Self { micros: self.micros(now, until), since: now.mono, ..self }
    }

    /// A part belongs to the day of its beginning, and to no other one: neither to those before,
    /// should the clock have been far ahead.
    fn is_of(&self, now: Wall) -> bool {
        let day = |at: Wall| at.0 / DAY_MICROS;
        let is_near = now < self.start && self.start.micros_since(now) <= JITTER_MICROS;
        day(now) == day(self.start) || is_near
    }

    /// The contact was registered again: what is to be written of it, and its meter from here on.
    pub(super) fn refresh(
        self,
        now: Now,
        (account, until): (AccountSid, Mono),
    ) -> (Self, Option<Record>) {
        let counted = self.counted(now, until);
        if !counted.is_of(now.wall) {
            return (counted.next(now), counted.written(account));
        }
        if counted.micros - self.told.min(counted.micros) < TOLD_MICROS {
            return (counted, None);
        }
        (Self { told: counted.micros, ..counted }, counted.written(account))
    }

    /// The part that begins now.
    pub(super) fn next(self, now: Now) -> Self {
        Self { segment: self.segment.wrapping_add(1), ..Self::new(now, self.row) }
    }

    /// As its contact's record has it.
    pub(super) fn kept(&self, now: Now, (is_behind_nat, turn): (bool, u64)) -> Kept {
        let Self { segment, start, micros, row, .. } = *self;
        Kept { came: now.wall, segment, start, micros, is_behind_nat, row, turn }
    }

    /// Its row as it is now; none of what nobody has had. Its number stands in a leg's place, and
    /// in a call's with the time of its part.
    pub(super) fn written(&self, account: AccountSid) -> Option<Record> {
        if self.micros == 0 {
            return None;
        }
        let number = u64::try_from(self.row.0 & u128::from(u64::MAX)).unwrap_or_default();
        let (leg, service) = (LegId(number), Service::SipRegistration);
        Some(Record::Usage(UsageRow {
            key: UsageKey { node: 0, epoch: 0, leg, service, segment: self.segment },
            account: Some(account),
            call: CallId::begun(self.start, self.row.0),
            at: self.start,
            start: self.start,
            last: Wall(self.start.0.saturating_add(self.micros)),
            count: 1,
            micros: self.micros,
            seconds: whole_seconds(self.micros),
            bytes: 0,
        }))
    }
}

/// Meters of this day that count nobody at present. With those that count they are as many as an
/// account has had contacts at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    day: u64,
    meters: BTreeMap<AccountSid, Vec<Meter>>,
}

impl Idle {
    /// Those of another day are done with.
    fn today(&mut self, now: Now) -> &mut BTreeMap<AccountSid, Vec<Meter>> {
        let day = now.wall.0 / DAY_MICROS;
        if core::mem::replace(&mut self.day, day) != day {
            self.meters.clear();
        }
        &mut self.meters
    }

    /// A contact has gone.
    pub(super) fn put(&mut self, now: Now, account: AccountSid, meter: Meter) {
        if meter.is_of(now.wall) {
            let meter = Meter { told: meter.micros, ..meter };
            self.today(now).entry(account).or_default().push(meter);
        }
    }

    /// For a contact that comes.
    pub(super) fn take(&mut self, now: Now, account: AccountSid) -> Option<Meter> {
        let meters = self.today(now).get_mut(&account)?;
        let meter = meters.pop();
        if meters.is_empty() {
            self.meters.remove(&account);
        }
        meter.filter(|it| it.is_of(now.wall)).map(|it| Meter { since: now.mono, ..it })
    }

    /// None of theirs goes on.
    pub(super) fn forget(&mut self, is_its: impl Fn(AccountSid) -> bool) {
        self.meters.retain(|account, _| !is_its(*account));
    }
}
