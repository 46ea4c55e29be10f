//! The way of a media packet through the shard.
//!
//! ```text
//!  datagram -> port -> stream: admit -> hears Here: the other stream's numbers, same buffer, transmit
//!                                    -> hears Far:  copy to the other shard, which does the same
//!                                    -> hears Nobody: counted; digits are still heard
//! ```

use base::{Frame, LegId, Local, MediaPort, Mono, Received, Transmit};
use core::net::SocketAddr;
use rtp::rtcp::{Report, SenderInfo};
use rtp::{FIXED_HEADER_BYTES, HeaderFields, PacketKind};
use wire::counter::Counter;

use crate::app::Play;
use crate::app::tone::{SAMPLES, Tones};
use crate::discard::discard;
use crate::handoff::{Formats, Handoff, formats_of, plan_of};
use crate::join::{Admitted, Hears, Latch, Stream, admit};
use crate::{Io, Shard};

/// What became of a packet that may pass.
enum Passed {
    /// It leaves in its own frame.
    Sent,
    /// It leaves as a copy; the frame is free.
    Copied,
}

/// Time between packets of our own making.
const PACKET: core::time::Duration = core::time::Duration::from_millis(20);

impl Shard<'_> {
    /// Fetches what the media packets of a batch will touch, side by side: with thousands of legs
    /// every packet is of another one, and its lines are in no near cache.
    #[inline]
    pub(crate) fn warm(&self, batch: &[Received]) {
        let mut sum = 0_u64;
        let leg_of = |received: &Received| match received.at {
            Local::Media(port) => self.ports.owner(port),
            Local::Listener(_) => None,
        };
        for leg in batch.iter().filter_map(leg_of) {
            sum = sum.wrapping_add(self.streams[leg as usize].warm_in());
        }
        for leg in batch.iter().filter_map(leg_of) {
            if let Hears::Here(other) = self.streams[leg as usize].hears {
                sum = sum.wrapping_add(self.streams[other as usize].warm_out());
            }
        }
        core::hint::black_box(sum);
    }

    /// A datagram on a media port.
    #[inline]
    pub(crate) fn media(&mut self, io: &mut Io<'_>, received: &Received, port: MediaPort) {
        let frame = received.frame;
        let Some(leg) = self.ports.owner(port) else {
            return discard(&mut self.counters, io.frames, frame, Counter::DiscardRtpPort);
        };
        let packet = io.frames.bytes_mut(frame);
        let outcome = match rtp::classify(packet) {
            PacketKind::Rtp if port.port & 1 == 0 => {
                self.counters.count(Counter::RtpReceived);
                match admit(&mut self.streams[leg as usize], received.source, packet, io.now.mono) {
                    Ok(admitted) if admitted.is_plain() => {
                        self.streams[leg as usize].heard_wall = io.now.wall;
                        self.relay(io.now, leg, frame, packet, &admitted)
                    }
                    Ok(admitted) => self.unusual(io, leg, received, &admitted),
                    Err(reason) => Err(reason),
                }
            }
            PacketKind::Rtcp => {
                self.rtcp(io, leg, frame, received.source);
                io.frames.free(frame);
                return;
            }
            PacketKind::Stun | PacketKind::Dtls => Err(Counter::DiscardStunDtls),
            _ => Err(Counter::DiscardRtpMalformed),
        };
        match outcome {
            Ok(Passed::Sent) => {}
            Ok(Passed::Copied) => io.frames.free(frame),
            Err(reason) => discard(&mut self.counters, io.frames, frame, reason),
        }
    }

    /// A packet that says more than its sound: a new source, a lock, a digit.
    #[cold]
    fn unusual(
        &mut self,
        io: &mut Io<'_>,
        leg: u32,
        received: &Received,
        admitted: &Admitted,
    ) -> Result<Passed, Counter> {
        let stream = &mut self.streams[leg as usize];
        stream.heard_wall = io.now.wall;
        if admitted.locked {
            let flow = base::Flow::Lock { port: stream.port, remote: received.source };
            self.flows.push_back(flow);
        }
        if admitted.starts && stream.receiver.sources() > 1 {
            self.counters.count(Counter::SsrcTakenOver);
        }
        if admitted.digit {
            self.digit(io, leg, received.frame, admitted);
        }
        if admitted.pt == sdp::PtMap::DROP {
            return Err(match self.streams[leg as usize].hears {
                Hears::Nobody => Counter::DiscardRtpUnjoined,
                _ => Counter::DiscardRtpPayload,
            });
        }
        let packet = io.frames.bytes_mut(received.frame);
        self.relay(io.now, leg, received.frame, packet, admitted)
    }

    #[inline]
    fn relay(
        &mut self,
        now: base::Now,
        leg: u32,
        frame: Frame,
        packet: &mut [u8],
        admitted: &Admitted,
    ) -> Result<Passed, Counter> {
        let stream = &mut self.streams[leg as usize];
        stream.relayed += 1;
        stream.relayed_bytes += u64::from(admitted.header.payload_bytes());
        match stream.hears {
            Hears::Here(other) => {
                let Admitted { header, pt, starts, .. } = admitted;
                self.send_rtp(now.mono, other, (frame, packet), header, *pt, *starts)
            }
            Hears::Far(to) => {
                rtp::set_payload_type(packet, admitted.pt);
                let handoff = Handoff::Media { to, starts: admitted.starts, bytes: packet };
                let queue = &mut self.handoffs[usize::from(to.shard())];
                let most = packet.len() + 64;
                // Legs' words to each other have the upper half to themselves.
                let room = queue.used() < queue.capacity() / 2;
                let pushed = room && queue.push_with(most, |out| wire::encode(&handoff, out).ok());
                if pushed { Ok(Passed::Copied) } else { Err(Counter::DiscardHandoffFull) }
            }
            Hears::Nobody => Err(Counter::DiscardRtpUnjoined),
        }
    }

    /// Sends a packet that another source numbered, as part of this leg's one stream.
    #[inline]
    fn send_rtp(
        &mut self,
        now: Mono,
        leg: u32,
        (frame, packet): (Frame, &mut [u8]),
        header: &rtp::Header,
        pt: u8,
        starts: bool,
    ) -> Result<Passed, Counter> {
        let stream = &mut self.streams[leg as usize];
        if !stream.on || !stream.wants() {
            return Err(Counter::DiscardRtpHold);
        }
        if starts {
            stream.sender.switch_source();
        }
        let payload = header.payload_bytes();
        let Some(stamped) = stream.sender.stamp(header.seq, header.timestamp, payload, now) else {
            return Err(Counter::DiscardRtpSequence);
        };
        rtp::rewrite(packet, &stamped.rewrite(header.marker, pt));
        let from = Local::Media(stream.port);
        self.transmits.push_back(Transmit { frame, from, to: stream.target });
        self.counters.count(Counter::RtpRelayed);
        Ok(Passed::Sent)
    }

    /// A packet that another shard received for a leg of ours.
    pub(crate) fn far_media(&mut self, io: &mut Io<'_>, to: LegId, starts: bool, bytes: &[u8]) {
        let Some(leg) = self.leg_of(to) else {
            self.counters.count(Counter::DiscardRtpUnjoined);
            return;
        };
        let Ok(header) = rtp::Header::parse(bytes) else {
            self.counters.count(Counter::DiscardHandoffMalformed);
            return;
        };
        let Some(frame) = io.frames.alloc(bytes.len()) else {
            self.counters.count(Counter::DiscardNoFrame);
            return;
        };
        let frame = frame.resized(bytes.len());
        let packet = io.frames.bytes_mut(frame);
        packet.copy_from_slice(bytes);
        let sent = self.send_rtp(io.now.mono, leg, (frame, packet), &header, header.pt, starts);
        if let Err(reason) = sent {
            discard(&mut self.counters, io.frames, frame, reason);
        }
    }

    fn digit(&mut self, io: &mut Io<'_>, leg: u32, frame: Frame, admitted: &Admitted) {
        let header = &admitted.header;
        let payload = header.payload(io.frames.bytes(frame));
        let stream = &mut self.streams[leg as usize];
        let told = stream.digits.handle(header.marker, header.timestamp, payload, io.now.mono);
        let digit = told.started.and_then(rtp::telephone_event::digit);
        if let (Some(digit), Some(call)) = (digit, self.legs.get(leg).map(|leg| leg.call)) {
            let at = io.now.wall;
            self.tell_optional(&wire::Event::Digit { call, at, digit });
        }
    }

    fn rtcp(&mut self, io: &mut Io<'_>, leg: u32, frame: Frame, source: SocketAddr) {
        self.counters.count(Counter::RtcpReceived);
        let stream = &mut self.streams[leg as usize];
        if !stream.may_report(source) {
            self.counters.count(Counter::DiscardRtpSource);
            return;
        }
        let Ok(packets) = rtp::rtcp::parse(io.frames.bytes(frame)) else {
            self.counters.count(Counter::DiscardRtpMalformed);
            return;
        };
        let (us, them) = (stream.sender.ssrc(), stream.receiver.ssrc());
        stream.rtcp.handle(packets, us, them, (io.now.mono, io.now.wall));
    }

    /// Writes the leg's report if it is due.
    pub(crate) fn report(&mut self, io: &mut Io<'_>, leg: u32) {
        let now = io.now;
        let stream = &mut self.streams[leg as usize];
        if !stream.on || now.mono < stream.rtcp_at {
            return;
        }
        stream.rtcp_at = now.mono + rtp::rtcp::interval(self.random.u64());
        if stream.target_rtcp.port() == 0 || stream.target_rtcp.ip().is_unspecified() {
            return;
        }
        let Some(frame) = io.frames.alloc(512) else {
            self.counters.count(Counter::DiscardNoFrame);
            return;
        };
        let frame = frame.resized(512);
        let port = stream.port;
        let written = write_report(stream, now, io.frames.bytes_mut(frame));
        let to = stream.target_rtcp;
        let Some(len) = written else { return io.frames.free(frame) };
        let from = Local::Media(MediaPort { port: port.port + 1, ..port });
        self.transmits.push_back(Transmit { frame: frame.resized(len), from, to });
        self.counters.count(Counter::RtcpSent);
    }

    /// What the leg hears from now on, if it is not joined.
    pub(crate) fn set_play(&mut self, now: Mono, leg: u32, play: Play) {
        let stream = &mut self.streams[leg as usize];
        let was = stream.play;
        if was == play || matches!((was, play), (Play::Ringback(_), Play::Ringback(_))) {
            return;
        }
        stream.play = play;
        if play == Play::Nothing {
            self.play_timers.cancel(leg);
        } else if was == Play::Nothing {
            stream.sender.switch_source();
            stream.play_at = now + PACKET;
            self.play_timers.set(leg, stream.play_at);
        }
    }

    /// Sends the next packet of what is played to a leg.
    pub(crate) fn play(&mut self, io: &mut Io<'_>, leg: u32) {
        let stream = &mut self.streams[leg as usize];
        let play = stream.play;
        if play == Play::Nothing {
            return;
        }
        // The wheel is coarser than a packet's clock: the next one is due by the clock, not by the
        // wheel.
        let next = stream.play_at + PACKET;
        stream.play_at = if next > io.now.mono { next } else { io.now.mono + PACKET };
        self.play_timers.set(leg, stream.play_at);
        if let Play::Ringback(at) = play {
            stream.play = Play::Ringback(at + 1);
        }
        let Some(format) = stream.plan.audio().copied().filter(Tones::speaks) else { return };
        if !stream.on || !stream.wants() {
            return;
        }
        let len = FIXED_HEADER_BYTES + SAMPLES;
        let Some(frame) = io.frames.alloc(len) else {
            self.counters.count(Counter::DiscardNoFrame);
            return;
        };
        let frame = frame.resized(len);
        let (seq, timestamp) = (stream.play_seq, stream.play_timestamp);
        stream.play_seq = seq.wrapping_add(1);
        stream.play_timestamp = timestamp.wrapping_add(160);
        let Some(stamped) = stream.sender.stamp(seq, timestamp, 160, io.now.mono) else {
            return io.frames.free(frame);
        };
        let bytes = io.frames.bytes_mut(frame);
        let fields = HeaderFields {
            pt: format.send_pt,
            marker: stamped.starts,
            seq: stamped.seq,
            timestamp: stamped.timestamp,
            ssrc: stamped.ssrc,
        };
        rtp::write_header(bytes, &fields);
        match play {
            Play::Ringback(at) => self.tones.ringback(&format, at, &mut bytes[12..]),
            _ => Tones::silence(&format, &mut bytes[12..]),
        }
        let from = Local::Media(stream.port);
        self.transmits.push_back(Transmit { frame, from, to: stream.target });
        self.counters.count(Counter::RtpPlayed);
    }

    /// This leg's far end is heard by `other` from now on, whose formats these are.
    pub(crate) fn connect(&mut self, now: Mono, leg: u32, other: LegId, formats: &Formats) {
        let hears = match self.leg_of(other).filter(|_| other.shard() == self.plan.shard) {
            Some(index) => Hears::Here(index),
            None => Hears::Far(other),
        };
        self.set_play(now, leg, Play::Nothing);
        let stream = &mut self.streams[leg as usize];
        stream.join(hears, plan_of(formats));
        // Another source feeds this leg's outgoing stream from now on.
        stream.sender.switch_source();
    }

    /// The far end's description is known or has changed. A port that was locked on the old address
    /// talks with anyone again.
    pub(crate) fn plan_stream(&mut self, now: Mono, leg: u32, mut plan: sdp::Plan) {
        let ours = self.media_address(self.legs.get(leg).map_or(0, |leg| leg.listener));
        if !crate::signal::may_send_to(plan.remote_rtcp.ip(), ours) {
            // Reports go beside the media, or nowhere; never to a third party's choice of victim.
            let port = plan.remote_rtp.port().saturating_add(1);
            plan.remote_rtcp = SocketAddr::new(plan.remote_rtp.ip(), port);
        }
        let stream = &mut self.streams[leg as usize];
        let was_locked = matches!(stream.latch, Latch::Locked(_));
        stream.set_plan(plan, now);
        if was_locked && stream.latch == Latch::Open {
            self.flows.push_back(base::Flow::Unlock { port: stream.port });
        }
    }

    /// Nobody hears this leg's far end any more.
    pub(crate) fn disconnect(&mut self, leg: u32) {
        let stream = &mut self.streams[leg as usize];
        stream.part();
        stream.sender.switch_source();
    }

    pub(crate) fn formats(&self, leg: u32) -> Formats {
        formats_of(&self.streams[leg as usize].plan)
    }
}

fn write_report(stream: &mut Stream, now: base::Now, out: &mut [u8]) -> Option<usize> {
    let sent = stream.sender.packets();
    let sender = (sent > stream.reported).then(|| SenderInfo {
        ntp: rtp::rtcp::ntp(now.wall),
        timestamp: stream.sender.timestamp_at(now.mono),
        packets: u32::try_from(sent & 0xffff_ffff).unwrap_or(0),
        octets: u32::try_from(stream.sender.octets() & 0xffff_ffff).unwrap_or(0),
    });
    stream.reported = sent;
    let (last_sr, delay) = stream.rtcp.last_sr(now.mono);
    let block = stream.receiver.report(last_sr, delay);
    let report =
        Report { ssrc: stream.sender.ssrc(), sender, blocks: block.as_slice(), cname: b"tandem" };
    rtp::rtcp::write_report(&report, out)
}
