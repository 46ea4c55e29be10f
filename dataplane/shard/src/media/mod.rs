//! The media room: who hears whom, and every packet between.
//!
//! ```text
//!   far end of A --> port --> stream A --(listener)--> stream B --> far end of B
//!                             latch, receiver, passes  source, sender
//!                             tap: digits heard        feed: silence, ringback, digits sent
//! ```
//!
//! A stream lies at its leg's index, and every call names the leg by its whole id: a stream whose
//! id is another leg's is never touched. A join has two halves, each connected by its own leg; a
//! packet crosses where both agree, A that B listens, B that A is its source. So each far end hears
//! one source at most, whatever the order in which legs come, join, part and go.
//!
//! A join is a relay: no decoding, the packet rewritten where it lies into the one continuous
//! stream of the other leg. Only between the two laws of G.711 the payload is changed, by a table.

mod admit;
mod app;
#[cfg(test)]
pub(crate) mod bed;
#[cfg(test)]
mod bleed_tests;
mod digits;
mod express;
#[cfg(test)]
mod express_tests;
mod feed;
mod latch;
mod packet;
mod passes;
mod police;
mod ports;
mod report;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod transcode;

use core::net::IpAddr;
use std::collections::VecDeque;

use base::{Flow, FlowReport, LegId, Mono, ShardId, Wheel};
use rtp::{Sender, Ssrc};
use wire::counter::Counter;
use wire::event::MediaSummary;
use wire::table::MediaSources;

pub(crate) use app::Play;
pub(crate) use digits::Notice;
pub(crate) use latch::network;
pub(crate) use stream::Stream;

use crate::cx::Cx;
use crate::plan::Plan;
use app::tone::Tones;
use ports::Ports;

/// What a leg's far end hears: at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Nothing,
    /// The far end of another leg.
    Leg(LegId),
    Player(Play),
}

/// Packets that a listener cannot hear before its leg is told: a straggler of an older description
/// is no reason to change one.
const LOST_TOLD: u32 = 3;
/// Packets of our own that come back before the leg is ended.
const LOOPED_MAX: u32 = 16;
/// Legs that may wait to be told so; further ones are told by the once-a-second look at them.
const LOST_MAX: usize = 256;

/// All streams of a shard.
#[derive(Debug)]
pub(crate) struct Media {
    shard: ShardId,
    /// One per leg slot.
    streams: Vec<Stream>,
    ports: Ports,
    /// By leg slot: the next packet of our own, or the end of a digit heard.
    timers: Wheel,
    tones: Tones,
    notices: VecDeque<Notice>,
    /// Legs whose far ends speak what their listeners cannot hear.
    lost: VecDeque<LegId>,
    /// The stream whose timer is being served.
    pub(crate) at_work: LegId,
    /// Legs to whose ports our own media comes back.
    looped: VecDeque<LegId>,
    /// Whose the packets of the run under way are.
    owners: Vec<LegId>,
}

impl Media {
    /// Streams for all legs, none of them open. `epoch` is this run's.
    pub(crate) fn new(plan: &Plan, epoch: u32) -> Self {
        let legs = plan.limits.legs;
        Self {
            shard: plan.shard,
            streams: (0..legs).map(|_| Stream::idle()).collect(),
            ports: Ports::new(&plan.media, &plan.limits, epoch),
            timers: Wheel::new(legs),
            tones: Tones::new(),
            notices: VecDeque::with_capacity(digits::NOTICES),
            lost: VecDeque::with_capacity(LOST_MAX),
            at_work: LegId::NONE,
            looped: VecDeque::with_capacity(LOST_MAX),
            owners: vec![LegId::NONE; express::OWNERS],
        }
    }

    /// Everything whose time has come.
    pub(crate) fn handle_tick(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now.mono;
        while let Some(index) = self.timers.pop(now) {
            let Some(stream) = self.streams.get(index as usize) else { continue };
            let (leg, feed_at) = (stream.leg, stream.feed.at);
            self.at_work = leg;
            if now >= stream.digit_deadline() {
                self.digit_timeout(cx, leg);
            }
            if now >= feed_at {
                self.feed(cx, index);
            }
            self.arm(index);
        }
        self.at_work = LegId::NONE;
        self.refill(now, &mut cx.core.flows);
    }

    /// The leg whose port this is.
    pub(crate) fn owner(&self, port: base::MediaPort) -> Option<LegId> {
        self.ports.owner(port)
    }

    /// Looks after the ports and their gauge.
    pub(crate) fn housekeeping(&mut self, cx: &mut Cx<'_, '_>) {
        self.ports.refill(cx.now.mono, &mut cx.core.flows);
        cx.core.counters.set(Counter::PortSpare, self.ports.spare());
    }

    /// Gives ports back that nobody needs any more.
    pub(crate) fn shrink(&mut self, cx: &mut Cx<'_, '_>) {
        self.ports.shrink(cx.now.mono, &mut cx.core.flows);
    }

    /// Asks for more ports where spares are few.
    pub(crate) fn refill(&mut self, now: Mono, flows: &mut VecDeque<Flow>) {
        if now >= self.ports.deadline() {
            self.ports.refill(now, flows);
        }
    }

    /// Port pairs that the system does not give.
    pub(crate) fn refused(&self) -> u64 {
        self.ports.refused()
    }

    /// When [`Media::handle_tick`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Mono {
        self.timers.next().min(self.ports.deadline())
    }

    /// What the packet paths say.
    pub(crate) fn handle_report(&mut self, report: FlowReport, flows: &mut VecDeque<Flow>) {
        self.ports.handle_report(report, flows);
    }

    /// Port pairs open and unused.
    pub(crate) fn spare(&self) -> u64 {
        self.ports.spare()
    }

    /// Port pairs that belong to a leg: 0 when no leg has media.
    pub(crate) fn used(&self) -> usize {
        self.ports.used()
    }

    /// Opens a leg's stream at a port of `address`; false if none is free, or the leg has no slot
    /// here. `signalling` is the host that signals for it.
    pub(crate) fn open(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        address: u8,
        signalling: IpAddr,
    ) -> bool {
        let index = leg.index();
        if leg == LegId::NONE || leg.shard() != self.shard || self.streams.len() <= index as usize {
            return false;
        }
        // Whoever had the slot is gone, even if it was never closed.
        self.close(cx, self.streams[index as usize].leg);
        let Some(place) = self.ports.take(address, leg) else { return false };
        let random = &mut cx.core.random;
        let (ssrc, timestamp) = (Ssrc(random.u32()), random.u32());
        // In the lower half, so that a receiver sees a wrap only after minutes (RFC 3711 appendix).
        let seq = u16::try_from(random.u32() >> 17).unwrap_or(0);
        let sender = Sender::new(ssrc, seq, timestamp, stream::CLOCK_HZ);
        self.streams[index as usize].open(leg, place, sender, signalling);
        true
    }

    /// The leg is over: its stream is idle again, its port rests.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_, '_>, leg: LegId) {
        let Some(stream) = self.stream_mut(leg) else { return };
        let (port, is_told) = (stream.port, stream.is_told);
        *stream = Stream::idle();
        self.timers.cancel(leg.index());
        match is_told {
            true => self.ports.give(port, cx.now.mono, &mut cx.core.flows),
            false => self.ports.give_untold(port),
        }
    }

    /// Fetches what metering the leg of a slot touches.
    pub(crate) fn fetch_meter(&self, slot: u32) {
        if let Some(stream) = self.streams.get(slot as usize) {
            stream.fetch_meter();
        }
    }

    /// Packets of a slot's leg that were passed on, and their bytes of payload.
    pub(crate) fn counted(&self, slot: u32) -> (u64, u64) {
        let stream = self.streams.get(slot as usize);
        stream.map_or((0, 0), |stream| (stream.relayed, stream.relayed_bytes))
    }

    /// Its far end is silent, or speaks what nobody hears: the leg itself knows what to do.
    pub(crate) fn is_odd(
        &self,
        slot: u32,
        (awake, now): (Mono, Mono),
        timeout: core::time::Duration,
    ) -> bool {
        let Some(stream) = self.streams.get(slot as usize) else { return false };
        let is_silent = !timeout.is_zero() && now.since(stream.alive().max(awake)) >= timeout;
        is_silent || stream.undeliverable > 0
    }

    /// The leg's port, which its far end is told by this; 0 if it has none.
    pub(crate) fn describe(&mut self, leg: LegId) -> u16 {
        self.stream_mut(leg).map_or(0, |stream| {
            stream.is_told = true;
            stream.port.port
        })
    }

    /// The stream of a leg that has one.
    pub(crate) fn stream(&self, leg: LegId) -> Option<&Stream> {
        let stream = self.streams.get(leg.index() as usize)?;
        (stream.leg == leg && leg != LegId::NONE).then_some(stream)
    }

    pub(crate) fn stream_mut(&mut self, leg: LegId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(leg.index() as usize)?;
        (stream.leg == leg && leg != LegId::NONE).then_some(stream)
    }

    /// The host that signals for the leg, where a phone behind a NAT may speak from.
    pub(crate) fn set_signalling(&mut self, leg: LegId, host: IpAddr) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.known.signalling = host;
        }
    }

    /// Whether the leg's far end is another leg of this switch.
    pub(crate) fn set_spiral(&mut self, leg: LegId, is_spiral: bool) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.is_spiral = is_spiral;
        }
    }

    /// The leg's far end is in nobody's list and may not be where it says it is. `hears`: its
    /// signalling host has shown that it hears us.
    pub(crate) fn beware(&mut self, leg: LegId, hears: bool) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.beware(hears);
        }
    }

    /// The leg's far end has shown that its signalling host hears us.
    pub(crate) fn signalling_hears(&mut self, leg: LegId) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.signalling_hears();
        }
    }

    /// Which hosts may speak for the leg's far end.
    pub(crate) fn set_sources(&mut self, leg: LegId, sources: MediaSources) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.known.sources = sources;
        }
    }

    /// The far end's description is known or has changed. `fresh`: it described itself anew, so
    /// that its next packet is taken at once whatever its number and SSRC. Another address opens
    /// the latch; the same one keeps its lock. `heard_by`: the formats of whoever hears it, as
    /// [`Media::connect`] was told.
    pub(crate) fn set_plan(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        mut plan: sdp::Plan,
        heard_by: Option<&sdp::Plan>,
        fresh: bool,
    ) {
        let Some(stream) = self.stream_mut(leg) else { return };
        let address = cx.core.plan.media.get(usize::from(stream.port.address));
        let ours = address.map_or_else(|| IpAddr::from([0; 4]), |media| media.advertised);
        let forbidden = plan.remote_rtcp.address().is_some_and(|rtcp| {
            !crate::transport::policy::may_send_to(rtcp.ip(), ours) || cx.core.plan.is_ours(rtcp)
        });
        if forbidden {
            // Reports go beside the media, or nowhere; never to a third party's choice of victim.
            let rtp = plan.remote_rtp;
            plan.remote_rtcp = if plan.rtcp_mux { rtp } else { rtp.next_port() };
        }
        if !stream.on {
            stream.rtcp_at = cx.now.mono + rtp::rtcp::interval(cx.core.random.u64());
        }
        if stream.set_plan(plan, heard_by, fresh, cx.now.mono) {
            cx.core.flows.push_back(Flow::Unlock { port: stream.port });
        }
    }

    /// This leg's half of a join: its far end is heard by `other`, whose formats are `theirs`, and
    /// hears nothing but the far end of `other`.
    pub(crate) fn connect(&mut self, leg: LegId, other: LegId, theirs: &sdp::Plan) {
        let Some(stream) = self.stream_mut(leg) else { return };
        stream.set_listener(other, theirs);
        stream.set_source(Source::Leg(other));
        self.rest(leg);
    }

    /// The formats of whoever hears this leg's far end are others now; nothing for one that does
    /// not.
    pub(crate) fn set_listener(&mut self, leg: LegId, other: LegId, theirs: &sdp::Plan) {
        if let Some(stream) = self.stream_mut(leg).filter(|stream| stream.listener() == other) {
            stream.set_listener(other, theirs);
        }
    }

    /// The leg is answered: its silence counts from now.
    pub(crate) fn start_watch(&mut self, leg: LegId, now: Mono) {
        if let Some(stream) = self.stream_mut(leg) {
            stream.heard_at = now;
        }
    }

    /// The next leg whose far end speaks what its listener cannot hear: told once for each set of
    /// formats, after a few packets.
    pub(crate) fn poll_lost(&mut self) -> Option<LegId> {
        self.lost.pop_front()
    }

    /// The next leg that hears ourselves.
    pub(crate) fn poll_looped(&mut self) -> Option<LegId> {
        self.looped.pop_front()
    }

    /// The leg's far end neither speaks to anybody nor hears anything.
    pub(crate) fn disconnect(&mut self, leg: LegId) {
        let Some(stream) = self.stream_mut(leg) else { return };
        stream.set_listener(LegId::NONE, &sdp::Plan::default());
        stream.set_source(Source::Nothing);
        self.rest(leg);
    }

    /// What a leg's media was, if it ever had any.
    pub(crate) fn summary(&self, leg: LegId) -> Option<MediaSummary> {
        self.stream(leg).filter(|stream| stream.on).map(Stream::summary)
    }

    /// No player any more; a digit under way is sent to its end.
    fn rest(&mut self, leg: LegId) {
        let Some(stream) = self.stream_mut(leg) else { return };
        if stream.feed.events.is_empty() {
            stream.feed.at = Mono::NEVER;
        }
        self.arm(leg.index());
    }

    /// Sets a stream's timer to the next thing that it has to do by itself.
    fn arm(&mut self, index: u32) {
        let Some(stream) = self.streams.get(index as usize) else { return };
        self.timers.set(index, stream.feed.at.min(stream.digit_deadline()));
    }
}
