//! The way of nearly every packet: the next one of a source that is locked, sound that goes on as
//! it is, to a leg of this shard. It is decided from four cache lines, which are fetched some
//! packets ahead; nothing is changed until all of it holds. Every other packet takes the way in
//! `packet.rs`, where the rules are.

use base::{LegId, Local, Received, Transmit, fetch};
use rtp::{PlainHeader, Rewrite};
use wire::counter::Counter;

use super::Media;
use super::packet::AGE_MAX;
use super::police::interval;
use crate::cx::Cx;
use crate::plan::BATCH_MAX;

/// How many packets ahead lines are fetched: those of the stream that a packet leaves by, and twice
/// as far those of the stream that it comes in by, which says what the other one is.
const AHEAD: usize = 5;
/// The packets of a run, and nobody's behind the last.
pub(super) const OWNERS: usize = BATCH_MAX + 2 * AHEAD;

impl Media {
    /// The media packets at the head of what is left of a batch. `at` moves on with each.
    pub(crate) fn handle_run(&mut self, cx: &mut Cx<'_, '_>, batch: &[Received], at: &mut usize) {
        let is_media = |received: &&Received| matches!(received.at, Local::Media(_));
        let left = batch.get(*at..).unwrap_or_default();
        let run = &left[..left.iter().take(BATCH_MAX).take_while(is_media).count()];
        self.owners[..run.len() + 2 * AHEAD].fill(LegId::NONE);
        for (owner, received) in self.owners.iter_mut().zip(run) {
            if let Local::Media(port) = received.at {
                *owner = self.ports.owner(port).unwrap_or(LegId::NONE);
            }
        }
        (0..2 * AHEAD).for_each(|packet| self.fetch_in(packet));
        (0..AHEAD).for_each(|packet| self.fetch_out(packet));
        for (packet, received) in run.iter().enumerate() {
            self.fetch_in(packet + 2 * AHEAD);
            self.fetch_out(packet + AHEAD);
            if let Some(coming) = run.get(packet + AHEAD) {
                cx.frames.bytes(coming.frame).first().into_iter().for_each(fetch::ahead);
            }
            if self.express(cx, received, self.owners[packet]).is_none()
                && let Local::Media(port) = received.at
            {
                self.handle(cx, received, port);
            }
            *at += 1;
        }
    }

    #[inline]
    fn fetch_in(&self, packet: usize) {
        let owner = self.owners.get(packet).map_or(LegId::NONE, |owner| *owner);
        if let Some(stream) = self.streams.get(owner.index() as usize) {
            stream.fetch_in();
        }
    }

    #[inline]
    fn fetch_out(&self, packet: usize) {
        let owner = self.owners.get(packet).map_or(LegId::NONE, |owner| *owner);
        let Some(stream) = self.streams.get(owner.index() as usize) else { return };
        if let Some(leaving) = self.streams.get(stream.listener().index() as usize) {
            leaving.fetch_out();
        }
    }

    /// None, and nothing has changed, for a packet that is not like nearly every one.
    #[inline]
    fn express(&mut self, cx: &mut Cx<'_, '_>, received: &Received, owner: LegId) -> Option<()> {
        let now = cx.now.mono;
        let incoming = self.streams.get(owner.index() as usize)?;
        let to = incoming.listener();
        let streams = [owner.index() as usize, to.index() as usize];
        let [incoming, leaving] = self.streams.get_disjoint_mut(streams).ok()?;
        let Local::Media(port) = received.at else { return None };
        let packet = cx.frames.bytes_mut(received.frame);
        let header = PlainHeader::read(packet)?;
        let pt = incoming.usual.of(header.pt())?;
        let is_usual = owner != LegId::NONE
            && to.shard() == self.shard
            && port.port & 1 == 0
            && now.since(received.arrived) <= AGE_MAX
            && !incoming.owes_start
            && incoming.latch.is_locked_to(&received.source)
            && incoming.receiver.is_next(header.ssrc, header.seq)
            && !leaving.refuses(to, owner)
            && leaving.sender.is_tied();
        let after = incoming.police.after(interval(incoming.pace), now).filter(|_| is_usual)?;
        let bytes = packet.len();
        let payload = bytes - rtp::FIXED_HEADER_BYTES;
        let payload_bytes = u16::try_from(payload).ok()?;
        let stamped = leaving.sender.stamp(header.seq, header.timestamp, payload_bytes, now)?;
        incoming.police.take(after);
        incoming.receiver.take_next(header.seq, header.timestamp, now);
        incoming.relayed += 1;
        incoming.relayed_bytes += payload as u64;
        let (seq, timestamp, ssrc) = (stamped.seq, stamped.timestamp, stamped.ssrc);
        rtp::rewrite(packet, &Rewrite { marker: header.marker(), pt, seq, timestamp, ssrc });
        let (frame, from) = (received.frame, Local::Media(leaving.port));
        cx.core.transmits.push_back(Transmit { frame, from, to: leaving.target });
        cx.core.counters.count(Counter::RtpReceived);
        cx.core.counters.count(Counter::RtpRelayed);
        Some(())
    }
}
