//! The way of a media packet through the shard.
//!
//! ```text
//!  datagram -> port -> stream: admit -> listener here: the other stream's numbers, same buffer, transmit
//!                                    -> listener far:  copy to the other shard, which does the same
//!                                    -> none:          counted; digits are still heard
//! ```
//!
//! The stream that a packet leaves by checks that its source is the stream that it came in by: a
//! packet never bleeds into whoever has an ended leg's slot, nor into a leg that hears somebody
//! else by now.

use base::{Flow, Frame, LegId, Local, MediaPort, Mono, Received, Transmit};
use rtp::{Header, PacketKind};
use wire::counter::Counter;

use super::admit::{Admitted, admit};
use super::passes::{Carries, Usual, Way};
use super::stream::Gate;
use super::{LOOPED_MAX, LOST_MAX, LOST_TOLD, Media};
use crate::cx::{Core, Cx};
use crate::handoff::Handoff;

/// An RTP packet that has waited longer for its turn says nothing any more: a far end that heard it
/// would hear the past, and pay for it.
pub(super) const AGE_MAX: core::time::Duration = core::time::Duration::from_secs(1);

/// What became of a packet that may pass.
enum Passed {
    /// It leaves in its own frame.
    Sent,
    /// It leaves as a copy; the frame is free.
    Copied,
}

/// A packet on its way out.
struct Outgoing<'p> {
    frame: Frame,
    packet: &'p mut [u8],
    header: &'p Header,
    /// The outgoing payload type.
    pt: u8,
    starts: bool,
    arrived: Mono,
}

impl Media {
    /// A datagram on a media port.
    #[inline(never)]
    pub(super) fn handle(&mut self, cx: &mut Cx<'_, '_>, received: &Received, port: MediaPort) {
        let frame = received.frame;
        let Some(leg) = self.ports.owner(port) else {
            return cx.discard(frame, Counter::DiscardRtpPort);
        };
        let Some(stream) = self.streams.get_mut(leg.index() as usize) else {
            return cx.discard(frame, Counter::DiscardRtpPort);
        };
        let arrived = received.arrived;
        if cx.now.mono.since(arrived) > AGE_MAX {
            // Who spoke while we stood still is alive.
            stream.outlive(received.source, cx.now.mono);
            return cx.discard(frame, Counter::DiscardRtpOld);
        }
        crate::faults::touch(crate::faults::Site::Packet);
        let packet = cx.frames.bytes_mut(frame);
        let outcome = match rtp::classify(packet) {
            PacketKind::Rtp if port.port & 1 == 0 => {
                cx.core.counters.count(Counter::RtpReceived);
                match admit(stream, &cx.core.plan, received.source, packet, cx.now.mono) {
                    Ok(admitted) => match admitted.plain() {
                        Some(pt) => {
                            let header = &admitted.header;
                            stream.usual = Usual::new(header.pt, pt);
                            let out =
                                Outgoing { frame, packet, header, pt, starts: false, arrived };
                            self.relay(cx.core, cx.now.mono, leg, out)
                        }
                        None => self.unusual(cx, leg, received, &admitted),
                    },
                    Err(reason) => Err(reason),
                }
            }
            PacketKind::Rtcp => {
                self.handle_rtcp(cx, leg, received, port);
                return cx.frames.free(frame);
            }
            PacketKind::Stun | PacketKind::Dtls => Err(Counter::DiscardStunDtls),
            _ => Err(Counter::DiscardRtpMalformed),
        };
        match outcome {
            Ok(Passed::Sent) => {}
            Ok(Passed::Copied) => cx.frames.free(frame),
            Err(Counter::DiscardRtpLoop) => {
                self.looped(leg);
                cx.discard(frame, Counter::DiscardRtpLoop);
            }
            Err(reason) => cx.discard(frame, reason),
        }
    }

    /// A packet that says more than its sound, or whose sound is not passed on as it is: a new
    /// source, a lock, a digit, another law.
    #[inline(never)]
    fn unusual(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        received: &Received,
        admitted: &Admitted,
    ) -> Result<Passed, Counter> {
        let Admitted { header, pass, starts, owes_start, locks } = admitted;
        let stream = &mut self.streams[leg.index() as usize];
        if *locks {
            let port = stream.port;
            let told = core::mem::take(&mut stream.is_lock_told);
            if stream.known.is_described(received.source) {
                stream.is_lock_told = true;
                cx.core.flows.push_back(Flow::Lock { port, remote: received.source });
            } else if told {
                cx.core.flows.push_back(Flow::Unlock { port });
            }
        }
        if *starts && stream.receiver.sources() > 1 {
            cx.core.counters.count(Counter::SsrcTakenOver);
        }
        let special = pass.details(&stream.specials);
        stream.owes_start = false;
        if *starts {
            self.forget_digit(cx, leg);
        }
        if special.carries == Carries::Digits {
            self.hear_digit(cx, leg, received.frame, header, special.way != Way::Drop);
        }
        let packet = cx.frames.bytes_mut(received.frame);
        let pt = match special.way {
            Way::Relay { pt } => pt,
            Way::Convert { pt, conversion } => {
                if let Some(payload) = packet.get_mut(header.payload_range()) {
                    conversion.apply(payload);
                }
                self.converted(leg);
                pt
            }
            Way::Drop => {
                // The source begins with the first packet of it that is passed on.
                self.streams[leg.index() as usize].owes_start = *starts || *owes_start;
                return Err(self.undeliverable(leg, special.is_audio()));
            }
        };
        let (frame, arrived) = (received.frame, received.arrived);
        let starts = *starts || *owes_start;
        let out = Outgoing { frame, packet, header, pt, starts, arrived };
        self.relay(cx.core, cx.now.mono, leg, out)
    }

    /// A packet was turned into another codec: where the far end can be had to speak that, it
    /// should.
    fn converted(&mut self, leg: LegId) {
        let stream = &mut self.streams[leg.index() as usize];
        stream.converted = stream.converted.saturating_add(1);
        if stream.converted == LOST_TOLD && self.lost.len() < LOST_MAX {
            self.lost.push_back(leg);
        }
    }

    /// What we sent has come back to us: after a few packets nothing of it is by chance, and the
    /// leg ends.
    #[cold]
    fn looped(&mut self, leg: LegId) {
        let stream = &self.streams[leg.index() as usize];
        if stream.refused.looped == LOOPED_MAX && self.looped.len() < LOST_MAX {
            self.looped.push_back(leg);
        }
    }

    /// Why a packet that was taken goes nowhere.
    fn undeliverable(&mut self, leg: LegId, is_audio: bool) -> Counter {
        let stream = &mut self.streams[leg.index() as usize];
        if stream.listener() == LegId::NONE {
            return Counter::DiscardRtpUnjoined;
        }
        stream.undeliverable = stream.undeliverable.saturating_add(u32::from(is_audio));
        if is_audio && stream.undeliverable == LOST_TOLD && self.lost.len() < LOST_MAX {
            self.lost.push_back(leg);
        }
        Counter::DiscardRtpPayload
    }

    fn relay(
        &mut self,
        core: &mut Core<'_>,
        now: Mono,
        leg: LegId,
        out: Outgoing<'_>,
    ) -> Result<Passed, Counter> {
        let payload = u64::from(out.header.payload_bytes());
        let stream = &mut self.streams[leg.index() as usize];
        stream.relayed += 1;
        stream.relayed_bytes += payload;
        let (to, starts) = (stream.listener(), out.starts);
        let is_here = to.shard() == self.shard;
        let passed = if is_here {
            self.send(core, now, (to, leg), out)
        } else {
            hand_over(core, (to, leg), out)
        };
        if passed.is_err() {
            // Billed is what was passed on.
            let stream = &mut self.streams[leg.index() as usize];
            stream.relayed -= 1;
            stream.relayed_bytes -= payload;
            stream.owes_start = starts && !is_here;
        }
        passed
    }

    /// Sends a packet that another source numbered, as part of this leg's one stream.
    #[inline]
    fn send(
        &mut self,
        core: &mut Core<'_>,
        now: Mono,
        (to, from): (LegId, LegId),
        out: Outgoing<'_>,
    ) -> Result<Passed, Counter> {
        let Some(stream) = self.streams.get_mut(to.index() as usize) else {
            return Err(Counter::DiscardRtpForeign);
        };
        if stream.refuses(to, from) {
            return Err(refusal(stream.hears(to, from), stream.gate()));
        }
        let Outgoing { frame, packet, header, pt, starts, .. } = out;
        if starts {
            stream.sender.switch_source();
        }
        let payload = header.payload_bytes();
        let Some(stamped) = stream.sender.stamp(header.seq, header.timestamp, payload, now) else {
            return Err(Counter::DiscardRtpSequence);
        };
        rtp::rewrite(packet, &stamped.rewrite(header.marker, pt));
        let from = Local::Media(stream.port);
        core.transmits.push_back(Transmit { frame, from, to: stream.target });
        core.counters.count(Counter::RtpRelayed);
        Ok(Passed::Sent)
    }

    /// A packet that another shard received from the far end of `from`, for `to` to send.
    pub(crate) fn handle_far(
        &mut self,
        cx: &mut Cx<'_, '_>,
        (to, from): (LegId, LegId),
        starts: bool,
        arrived: Mono,
        bytes: &[u8],
    ) {
        if cx.now.mono.since(arrived) > AGE_MAX {
            return cx.count(Counter::DiscardRtpOld);
        }
        let Ok(header) = Header::parse(bytes) else {
            return cx.count(Counter::DiscardHandoffMalformed);
        };
        let Some(frame) = cx.frames.alloc(bytes.len()) else {
            return cx.count(Counter::DiscardNoFrame);
        };
        let frame = frame.resized(bytes.len());
        cx.core.in_hand = Some(frame);
        let packet = cx.frames.bytes_mut(frame);
        packet.copy_from_slice(bytes);
        let out = Outgoing { frame, packet, header: &header, pt: header.pt, starts, arrived };
        match self.send(cx.core, cx.now.mono, (to, from), out) {
            Ok(_) => cx.core.in_hand = None,
            Err(reason) => cx.discard(frame, reason),
        }
    }
}

#[cold]
fn refusal(hears: bool, gate: Gate) -> Counter {
    match gate {
        _ if !hears => Counter::DiscardRtpForeign,
        Gate::Event => Counter::DiscardRtpDigit,
        Gate::Hold | Gate::Open => Counter::DiscardRtpHold,
    }
}

/// Copies a packet to the shard of the leg that is to send it.
#[inline(never)]
fn hand_over(
    core: &mut Core<'_>,
    (to, from): (LegId, LegId),
    out: Outgoing<'_>,
) -> Result<Passed, Counter> {
    rtp::set_payload_type(out.packet, out.pt);
    let most = out.packet.len() + 64;
    let Outgoing { starts, arrived, .. } = out;
    let handoff = Handoff::Media { to, from, starts, arrived, bytes: out.packet };
    let Some(queue) = core.handoffs.get_mut(usize::from(to.shard())) else {
        return Err(Counter::DiscardRtpForeign);
    };
    if queue.pass(&handoff, most) { Ok(Passed::Copied) } else { Err(Counter::DiscardHandoffFull) }
}
