//! What every room may use beside its own: the plan, counters, randomness, the arena, and the
//! queues by which the shard says something. A handler borrows it together with the time and the
//! packet memory as [`Cx`].

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use base::{Arena, Flow, Frame, Frames, LegId, Local, Mono, Now, Prng, Records, Transmit};
use wire::cell::CellWriter;
use wire::counter::{Counter, Counters};
use wire::event::Event;
use wire::region::Region;

use crate::failover::Attempts;
use crate::handoff::{Handoff, PeerMessage};
use crate::leg::given::Gifts;
use crate::leg::relay::Holds;
use crate::outbox::Outbox;
use crate::plan::{CLOSING_BYTES, Plan};
use crate::transport::connections::Connections;
use crate::transport::guard::Guard;
use crate::transport::targets::Targets;
use crate::watch::Watch;

/// The largest message we write, in bytes: what a large frame holds.
pub(crate) const MESSAGE_BYTES: usize = base::frame::LARGE_BYTES - base::frame::HEADROOM;

/// The shard without its rooms.
#[derive(Debug)]
pub(crate) struct Core<'m> {
    pub(crate) plan: Plan,
    pub(crate) region: Region<'m>,
    pub(crate) epoch: u32,
    pub(crate) counters: Counters,
    pub(crate) random: Prng,
    /// Texts that outlive a datagram.
    pub(crate) arena: Arena,
    pub(crate) events: Records,
    /// One queue per shard; the own one carries what legs of this shard say to each other.
    pub(crate) handoffs: Vec<Outbox>,
    pub(crate) flows: VecDeque<Flow>,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) connections: Connections,
    /// What certificates of far ends must name.
    pub(crate) names: crate::transport::names::Names,
    /// Where messages are composed before they get a frame of their size.
    pub(crate) page: Vec<u8>,
    /// The frame that is written or read just now, and that nobody else has yet: whoever fails with
    /// it in hand does not lose it.
    pub(crate) in_hand: Option<Frame>,
    /// Targets that are asked last, and why.
    pub(crate) targets: Targets,
    /// What was tried for calls whose first route failed, or whose targets redirected them.
    pub(crate) attempts: Attempts,
    /// What was said to legs that wait beside the status of a refusal.
    pub(crate) refusals: crate::leg::refusal::Refusals,
    /// What dialled legs send behind their descriptions.
    pub(crate) tails: crate::leg::parts::Tails,
    /// Legs that stay free for emergency calls.
    pub(crate) emergency_legs: usize,
    pub(crate) urgent: crate::emergency::Urgent,
    /// Callers whose certificates have proven a name: what stands for it in lists of networks.
    pub(crate) proven: BTreeMap<LegId, IpAddr>,
    /// Who may be heard, and answered.
    pub(crate) guard: Guard,
    /// Legs that applications took out of their relays.
    pub(crate) holds: Holds,
    pub(crate) gifts: Gifts,
    /// Who is told of which messages.
    pub(crate) watch: Watch,
    /// Legs in their slots, released or not: each has its closing event's room in `events`.
    pub(crate) legs_taken: usize,
    /// Legs that are joined with another.
    pub(crate) legs_joined: u64,
    /// How far the wall clock is before the monotonic one in this turn, and how far the one is that
    /// the leg at work has.
    pub(crate) offset: u64,
    pub(crate) offset_of_leg: u64,
    /// When the last turn was.
    pub(crate) turned: Mono,
    /// Since when the process has not stood still: no far end has been silent for longer.
    pub(crate) awake: Mono,
}

/// The time, the packet memory and the core, as one handler after the other borrows them.
pub(crate) struct Cx<'a, 'm> {
    pub(crate) now: Now,
    pub(crate) frames: &'a mut dyn Frames,
    pub(crate) core: &'a mut Core<'m>,
}

impl<'m> Cx<'_, 'm> {
    #[inline]
    pub(crate) fn count(&mut self, counter: Counter) {
        self.core.counters.count(counter);
    }

    /// Gives a frame back unused and counts why: the only way to drop one.
    #[inline]
    pub(crate) fn discard(&mut self, frame: Frame, reason: Counter) {
        self.core.counters.count(reason);
        self.free(frame);
    }

    /// Gives a frame back that did its work.
    #[inline]
    pub(crate) fn free(&mut self, frame: Frame) {
        self.core.in_hand = None;
        self.frames.free(frame);
    }

    /// Lets `write` fill a page and gives it a frame of its size; None if it does not fit or no
    /// frame is free (counted).
    pub(crate) fn compose(
        &mut self,
        write: impl FnOnce(&mut [u8], &Core<'m>) -> Option<usize>,
    ) -> Option<Frame> {
        let mut page = core::mem::take(&mut self.core.page);
        let frame = match write(&mut page, self.core) {
            Some(len) => frame_of(self.frames, &mut self.core.in_hand, &page[..len]),
            None => None,
        };
        self.core.page = page;
        if frame.is_none() {
            self.count(Counter::DiscardNoFrame);
        }
        frame
    }

    /// Queues a datagram.
    #[inline]
    pub(crate) fn transmit(&mut self, from: Local, to: core::net::SocketAddr, frame: Frame) {
        self.core.in_hand = None;
        self.core.transmits.push_back(Transmit { frame, from, to });
    }

    /// Says something to another leg, of whatever shard.
    pub(crate) fn send_to_peer(&mut self, from: LegId, to: LegId, message: &PeerMessage<'_>) {
        let shard = usize::from(to.shard());
        let known = to != LegId::NONE;
        let Some(queue) = self.core.handoffs.get_mut(shard).filter(|_| known) else { return };
        let most = message.bytes_max();
        let at = self.now.wall.under(self.core.offset_of_leg, 0);
        let at = Mono(at.0.saturating_mul(1_000));
        let handoff = Handoff::Leg { to, from, at, message: message.clone() };
        if !queue.say(&handoff, most) {
            self.count(Counter::DiscardHandoffFull);
        }
    }

    /// An event that is within its leg's credit.
    pub(crate) fn emit_event(&mut self, event: &Event<'_>) {
        let most = event.bytes_max();
        if !self.core.events.push_with(most, |out| wire::encode(event, out).ok()) {
            self.count(Counter::DiscardNoRoom);
        }
    }

    /// An event that may be left out when room is short (its absence is counted).
    pub(crate) fn emit_optional(&mut self, event: &Event<'_>) {
        if self.core.has_credit() {
            self.emit_event(event);
        } else {
            self.count(Counter::DiscardNoRoom);
        }
    }
}

/// There is something to do more often than this: who has done nothing for longer stood still, and
/// what came meanwhile is not read yet.
const STALL: core::time::Duration = core::time::Duration::from_secs(1);

impl<'m> Core<'m> {
    /// A turn begins: what the wall clock is before the monotonic one by now.
    pub(crate) fn begin_turn(&mut self, now: Now) {
        self.offset = now.offset();
        self.offset_of_leg = self.offset;
        if now.mono.since(self.turned) > STALL {
            self.awake = now.mono;
        }
        self.turned = now.mono;
    }

    /// Whether the event queue has room for one more leg's words.
    pub(crate) fn has_credit(&self) -> bool {
        let room = self.events.capacity() - self.events.used();
        room > (self.legs_taken + 1) * CLOSING_BYTES + wire::MESSAGE_BYTES_MAX
    }

    pub(crate) fn cell(&self, leg: LegId) -> Option<CellWriter<'m>> {
        self.region.cell(leg.index()).map(CellWriter::new)
    }
}

/// A frame with these bytes, in hand.
pub(crate) fn frame_of(
    frames: &mut dyn Frames,
    in_hand: &mut Option<Frame>,
    bytes: &[u8],
) -> Option<Frame> {
    if bytes.is_empty() {
        return None;
    }
    let frame = frames.alloc(bytes.len())?.resized(bytes.len());
    *in_hand = Some(frame);
    frames.bytes_mut(frame).copy_from_slice(bytes);
    Some(frame)
}

impl core::fmt::Debug for Cx<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).finish_non_exhaustive()
    }
}
