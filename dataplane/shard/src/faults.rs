//! Faults of ours that end what they were about, not the process. `with_leg` contains those in a
//! leg's behaviour; here are the others: a message on its way to its leg, a call being made, a
//! timer, a packet, a report. What was queued by it is taken back, the frame in hand is freed,
//! buffers that were borrowed are there again, and a call half made is unmade.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base::{Frames, LegId, Local, Now, Received};
use wire::counter::Counter;

use crate::Shard;
use crate::cx::{Cx, MESSAGE_BYTES};

/// Slots that the meter comes by in one turn at most; what is left is due in the next.
const METERED_MAX: usize = 1_024;

impl Shard<'_> {
    /// Does something that is about one message, timer or report. None if a fault ended it.
    pub(crate) fn contain<R>(
        &mut self,
        frames: &mut dyn Frames,
        work: impl FnOnce(&mut Self, &mut dyn Frames) -> R,
    ) -> Option<R> {
        let queued = self.core.transmits.len();
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self, &mut *frames)));
        if outcome.is_err() {
            self.clean_up(frames, queued);
        }
        outcome.ok()
    }

    #[cold]
    fn clean_up(&mut self, frames: &mut dyn Frames, queued: usize) {
        self.core.counters.count(Counter::FaultContained);
        self.core.withdraw(frames, queued);
        for (buffer, len) in [
            (&mut self.datagram, base::frame::LARGE_BYTES),
            (&mut self.scratch, 2 * base::frame::LARGE_BYTES),
        ] {
            if buffer.is_empty() {
                *buffer = vec![0; len];
            }
        }
        if let Some(mut leg) = self.making.take() {
            leg.free_texts(&mut self.core.arena);
            self.transactions.servers.end_unanswered(&mut self.core, leg.id);
            let now = Now { mono: self.housekeeping_at, wall: base::Wall(0) };
            self.media.close(&mut Cx { now, frames, core: &mut self.core }, leg.id);
        }
    }

    /// The media packets at the head of what is left of a batch. A fault in one ends its leg, and
    /// those behind it go on.
    pub(crate) fn media_run(
        &mut self,
        now: Now,
        batch: &[Received],
        at: &mut usize,
        frames: &mut dyn Frames,
    ) {
        loop {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut cx = Cx { now, frames: &mut *frames, core: &mut self.core };
                self.media.handle_run(&mut cx, batch, at);
            }));
            match batch.get(*at) {
                Some(received) if outcome.is_err() => self.packet_fault(now, received, frames),
                _ => return,
            }
            *at += 1;
        }
    }

    #[cold]
    fn packet_fault(&mut self, now: Now, received: &Received, frames: &mut dyn Frames) {
        self.core.counters.count(Counter::FaultContained);
        let index = received.frame.index;
        // A packet is queued or freed last: if it is not on its way out, it is still ours.
        if !self.core.transmits.iter().rev().take(8).any(|sent| sent.frame.index == index) {
            frames.free(received.frame);
        }
        if let Local::Media(port) = received.at
            && let Some(leg) = self.media.owner(port)
        {
            self.end_by_fault(now, frames, leg);
        }
    }

    /// Transactions whose time has come. The one that brings a fault ends, and the leg that waits
    /// for it.
    pub(crate) fn transaction_tick(&mut self, now: Now, frames: &mut dyn Frames) {
        while self
            .contain(frames, |shard, frames| {
                let mut cx = Cx { now, frames, core: &mut shard.core };
                shard.transactions.servers.handle_tick(&mut cx);
            })
            .is_none()
        {
            self.transactions.servers.end_at_work(&mut self.core);
        }
        loop {
            let outcome = self.contain(frames, |shard, frames| {
                let mut cx = Cx { now, frames, core: &mut shard.core };
                shard.transactions.clients.poll_timeout(&mut cx)
            });
            let Some(outcome) = outcome else {
                let leg = self.transactions.clients.end_at_work(&mut self.core);
                self.end_by_fault(now, frames, leg);
                continue;
            };
            let Some(outcome) = outcome else { break };
            self.with_leg(now, frames, outcome.leg, |leg| leg.outcome(&outcome, None));
        }
    }

    /// A fault was about this leg.
    pub(crate) fn end_by_fault(&mut self, now: Now, frames: &mut dyn Frames, leg: LegId) {
        self.with_leg(now, frames, leg, |leg| leg.fault());
    }

    /// What is due of the meter's round, within bounds. A fault in the metering of a leg ends it.
    pub(crate) fn meter_tick(&mut self, now: Now, frames: &mut dyn Frames) {
        for _ in 0..METERED_MAX {
            match self.contain(frames, |shard, frames| shard.meter_next(now, frames)) {
                Some(true) => {}
                Some(false) => return,
                None => {
                    let leg = self.round.latest().and_then(|slot| self.legs.at(slot));
                    let leg = leg.map_or(LegId::NONE, |leg| leg.id);
                    self.end_by_fault(now, frames, leg);
                }
            }
        }
    }

    /// Streams whose time has come. A fault in one ends its leg.
    pub(crate) fn media_tick(&mut self, now: Now, frames: &mut dyn Frames) {
        loop {
            self.media.at_work = LegId::NONE;
            let done = self.contain(frames, |shard, frames| {
                let mut cx = Cx { now, frames, core: &mut shard.core };
                shard.media.handle_tick(&mut cx);
            });
            let leg = self.media.at_work;
            if done.is_some() || leg == LegId::NONE {
                return;
            }
            self.end_by_fault(now, frames, leg);
        }
    }
}

impl crate::cx::Core<'_> {
    /// Takes back what a handler that failed has queued, and what it had in hand.
    #[cold]
    pub(crate) fn withdraw(&mut self, frames: &mut dyn Frames, queued: usize) {
        for transmit in self.transmits.drain(queued..) {
            frames.free(transmit.frame);
        }
        if let Some(frame) = self.in_hand.take() {
            frames.free(frame);
        }
        // What was borrowed for writing died with the handler.
        if self.page.is_empty() {
            self.page = vec![0; MESSAGE_BYTES];
        }
    }
}

/// Where a fault may be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A SIP message that was read and is about to be handled.
    Message,
    /// An incoming leg with its transaction, before it has its slot.
    Making,
    /// A static route being followed.
    Route,
    /// The word that a leg is to be dialled for a static route, as it arrives.
    Dial,
    /// An outgoing leg with its port, before it has its slot.
    Dialing,
    Command,
    /// What one leg says to another, before that one has it.
    Peer,
    /// The same, as that one begins with it.
    PeerLeg,
    Packet,
    Report,
    ServerTimer,
    ClientTimer,
    LegTimer,
    /// A leg of the meter's round.
    Meter,
}

/// Fails here, once, if that was planted. In a product nothing is.
#[inline]
pub(crate) fn touch(site: Site) {
    #[cfg(any(test, feature = "planted"))]
    planted::trip(site);
    #[cfg(not(any(test, feature = "planted")))]
    let _ = site;
}

/// Faults planted by tests and by the simulation.
#[cfg(any(test, feature = "planted"))]
pub mod planted {
    use super::Site;
    use core::cell::Cell;

    impl Site {
        pub const ALL: [Self; 14] = [
            Self::Message,
            Self::Making,
            Self::Route,
            Self::Dial,
            Self::Dialing,
            Self::Command,
            Self::Peer,
            Self::PeerLeg,
            Self::Packet,
            Self::Report,
            Self::ServerTimer,
            Self::ClientTimer,
            Self::LegTimer,
            Self::Meter,
        ];
    }

    std::thread_local! {
        /// What fails next in this thread, once, and how often it passes before.
        static AT: Cell<Option<(Site, u32)>> = const { Cell::new(None) };
    }

    /// The next time but `later` that somebody comes to it fails.
    pub fn plant(site: Site, later: u32) {
        AT.set(Some((site, later)));
    }

    /// What was planted and not come to; it is planted no more.
    pub fn take() -> Option<Site> {
        AT.take().map(|(site, _)| site)
    }

    pub(super) fn trip(site: Site) {
        match AT.get() {
            Some((at, 0)) if at == site => {
                AT.set(None);
                panic!("planted: {site:?}");
            }
            Some((at, later)) if at == site => AT.set(Some((at, later - 1))),
            _ => {}
        }
    }
}
