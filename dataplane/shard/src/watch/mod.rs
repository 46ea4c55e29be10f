//! SIP messages that somebody wants to be told of: what a leg receives and sends goes by here. Who
//! asked for nothing pays for a look at a bit.
//!
//! `with_leg` says which leg is at work; what is sent while it is, is that leg's. Each message is
//! told once, in order, before the leg's end: what the protocol says again is no news. A call has a
//! share of what is told, and so has an account; how many were too many goes with the next one.

mod asked;
mod told;

use arrayvec::ArrayVec;
use base::{Frame, LegId, Mono, Now};
use sip::Message;
use wire::counter::Counter;
use wire::event::{Event, WANTED_MAX};

pub(crate) use asked::Asked;
use asked::{Kind, Passing};
pub(crate) use told::Page;

use crate::cx::{Core, Cx};
use crate::leg::{Leg, Side};

/// What is told of one leg: a second, at once, and at once of what calls are made and ended with.
const LEG_RATE: u64 = 16;
const LEG_BURST: u64 = 64;
const LEG_BURST_VITAL: u64 = 96;
/// The same of an account, in this shard.
const ACCOUNT_RATE: u64 = 1_000;
const ACCOUNT_BURST: u64 = 2_000;

/// Who is told of what, and of which legs what was told.
#[derive(Debug)]
pub(crate) struct Watch {
    asked: Asked,
    legs: Vec<u64>,
    page: Page,
    at_work: Option<AtWork>,
}

/// Words of a leg: its id; how many were told, and how many left out since; which subscriptions
/// have told what they tell once; when its share is whole again. Memory that no leg needed is never
/// taken.
const WORDS: usize = 4;
const ID: usize = 0;
const COUNTS: usize = 1;
const ONCE: usize = 2;
const WHOLE_AT: usize = 3;

/// The leg that is handled just now, if its account asked for something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtWork {
    leg: LegId,
    passing: Passing,
}

impl Watch {
    pub(crate) fn new(legs: u32) -> Self {
        Self {
            asked: Asked::default(),
            legs: vec![0; legs as usize * WORDS],
            page: Page::default(),
            at_work: None,
        }
    }

    /// What is asked for from now on; what was before comes back.
    pub(crate) fn replace(&mut self, asked: Asked) -> Asked {
        let old = core::mem::replace(&mut self.asked, asked);
        self.asked.keep_shares(&old);
        old
    }

    /// Somebody asked for something.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.asked.is_on()
    }

    /// This leg is at work. Nothing is told of one whose end was.
    #[inline]
    pub(crate) fn enter(&mut self, leg: &Leg) {
        if self.asked.may_ask(leg.story.account) {
            self.enter_asked(leg);
        }
    }

    #[cold]
    fn enter_asked(&mut self, leg: &Leg) {
        let account = self.asked.account(leg.story.account).filter(|_| !leg.is_over());
        self.at_work = account.map(|account| {
            let (is_outbound, trunk) = match &leg.side {
                Side::Inbound(side) => (false, side.route.is_some()),
                Side::Outbound(side) => (true, side.by_route),
            };
            let (call, parent) = (leg.story.call, leg.story.parent);
            let passing = Passing {
                account,
                call,
                parent,
                is_outbound,
                trunk,
                sent: false,
                kind: Kind::NONE,
            };
            AtWork { leg: leg.id, passing }
        });
    }

    /// It is not any more, or its end was told.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.at_work = None;
    }

    #[inline]
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.is_some()
    }

    /// Somebody may want this message of the leg at work.
    #[inline]
    fn wants(&self, message: &Message<'_>) -> bool {
        let account = self.at_work.map(|work| work.passing.account);
        account.is_some_and(|account| self.asked.may_want(account, Kind::of(message)))
    }

    fn words(&mut self, leg: LegId) -> Option<&mut [u64; WORDS]> {
        let at = leg.index() as usize * WORDS;
        let words = self.legs.get_mut(at..at + WORDS)?;
        let words: &mut [u64; WORDS] = words.try_into().ok()?;
        if words[ID] != leg.0 {
            *words = [leg.0, 0, 0, 0];
        }
        Some(words)
    }

    /// Takes a place of the leg's and of its account's share.
    fn may_tell(&mut self, work: &AtWork, carries_call: bool, now: Mono) -> bool {
        let burst = if carries_call { LEG_BURST_VITAL } else { LEG_BURST };
        let Some(words) = self.words(work.leg) else { return false };
        let leg = share(words[WHOLE_AT], now, LEG_RATE, burst);
        let account = self.asked.share_mut(work.passing.account);
        let (Some(leg), Some(account)) = (leg, account) else { return false };
        let Some(whole_at) = share(*account, now, ACCOUNT_RATE, ACCOUNT_BURST) else {
            return false;
        };
        *account = whole_at;
        if let Some(words) = self.words(work.leg) {
            words[WHOLE_AT] = leg;
        }
        true
    }

    fn leave_out(&mut self, leg: LegId) {
        if let Some(words) = self.words(leg) {
            words[COUNTS] = words[COUNTS].saturating_add(1 << 32);
        }
    }
}

/// When a share of so many a second is whole again once one more was taken; None if it has no room.
fn share(whole_at: u64, now: Mono, rate: u64, burst: u64) -> Option<u64> {
    let each = 1_000_000_000 / rate;
    let begin = whole_at.max(now.0);
    (begin - now.0 <= (burst - 1) * each).then(|| begin + each)
}

impl Cx<'_, '_> {
    /// The leg at work has received this.
    #[inline]
    pub(crate) fn heard(&mut self, message: &Message<'_>) {
        if self.core.watch.wants(message) {
            tell(self.core, self.now, message, false);
        }
    }

    /// The leg at work sends what is in this frame.
    #[inline]
    pub(crate) fn said(&mut self, frame: Frame) {
        let Some(work) = self.core.watch.at_work else { return };
        let bytes = self.frames.bytes(frame);
        if self.core.watch.asked.may_want(work.passing.account, Kind::of_bytes(bytes)) {
            said(self.core, self.now, bytes);
        }
    }
}

#[cold]
fn said(core: &mut Core<'_>, now: Now, bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes) {
        tell(core, now, &message, true);
    }
}

/// Tells a message of the leg at work, if somebody asked for it.
#[cold]
pub(crate) fn tell(core: &mut Core<'_>, now: Now, message: &Message<'_>, sent: bool) {
    let Some(work) = core.watch.at_work.filter(|_| core.watch.wants(message)) else { return };
    let passing = Passing { sent, kind: Kind::of(message), ..work.passing };
    let once = core.watch.words(work.leg).map_or(u64::MAX, |words| words[ONCE]);
    let mut wanted: ArrayVec<(u128, u64), WANTED_MAX> = ArrayVec::new();
    core.watch.asked.wanted(&passing, message, once, &mut wanted);
    if wanted.is_empty() {
        return;
    }
    let has_room = core.watch.may_tell(&work, passing.kind.carries_call(message), now.mono);
    if !has_room || !core.has_credit() || !emit(core, now, (&work, &passing), message, &wanted) {
        core.watch.leave_out(work.leg);
        core.counters.count(Counter::MessageLeftOut);
    }
}

/// Writes the event. False if it could not be.
fn emit(
    core: &mut Core<'_>,
    now: Now,
    (work, passing): (&AtWork, &Passing),
    message: &Message<'_>,
    wanted: &[(u128, u64)],
) -> bool {
    let Some(words) = core.watch.words(work.leg) else { return false };
    let counts = words[COUNTS];
    let (number, left_out) = ((counts & 0xffff_ffff) + 1, counts >> 32);
    let mut page = core::mem::take(&mut core.watch.page);
    let mut fields = [0; wire::record::FIELD_BYTES_MAX];
    let record = core.region.record(work.leg.index());
    let record = record.and_then(|slot| wire::record::read(slot, &mut fields).ok());
    let record = record.map(|(_, record)| record).filter(|record| record.leg == work.leg);
    let mut told = page.fill(message, record.as_ref());
    told.leg = work.leg;
    told.at = now.wall;
    told.account = core.watch.asked.number(passing.account);
    (told.call, told.parent) = (passing.call, passing.parent);
    (told.sent, told.trunk) = (passing.sent, passing.trunk);
    told.number = u32::try_from(number).unwrap_or(u32::MAX);
    told.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
    told.wanted = wanted.iter().map(|(id, _)| *id).collect();
    let event = Event::Message(told);
    let most = event.bytes_max();
    let is_told = core.events.push_with(most, |out| wire::encode(&event, out).ok());
    core.watch.page = page;
    if is_told && let Some(words) = core.watch.words(work.leg) {
        words[COUNTS] = number;
        words[ONCE] |= wanted.iter().fold(0, |bits, (_, bit)| bits | bit);
        core.counters.count(Counter::MessageTold);
    }
    is_told
}
