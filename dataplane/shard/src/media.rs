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
use crate::join::{Admitted, Hears, Stream, admit};
use crate::{Io, Shard};

/// Time between packets of our own making.
const PACKET: core::time::Duration = core::time::Duration::from_millis(20);

impl Shard<'_> {
    /// A datagram on a media port.
    #[inline]
    pub(crate) fn media(&mut self, io: &mut Io<'_>, received: &Received, port: MediaPort) {
        let frame = received.frame;
        let Some(leg) = self.ports.owner(port) else {
            return discard(&mut self.counters, io.frames, frame, Counter::DiscardRtpPort);
        };
        let reason = match rtp::classify(io.frames.bytes(frame)) {
            PacketKind::Rtp if port.port & 1 == 0 => {
                return self.rtp(io, leg, frame, received.source);
            }
            PacketKind::Rtcp => {
                self.rtcp(io, leg, frame, received.source);
                io.frames.free(frame);
                return;
            }
            PacketKind::Stun | PacketKind::Dtls => Counter::DiscardStunDtls,
            _ => Counter::DiscardRtpMalformed,
        };
        discard(&mut self.counters, io.frames, frame, reason);
    }

    fn rtp(&mut self, io: &mut Io<'_>, leg: u32, frame: Frame, source: SocketAddr) {
        let now = io.now.mono;
        let stream = &mut self.streams[leg as usize];
        self.counters.count(Counter::RtpReceived);
        let admitted = match admit(stream, source, io.frames.bytes(frame), now) {
            Ok(admitted) => admitted,
            Err(reason) => return discard(&mut self.counters, io.frames, frame, reason),
        };
        stream.heard_wall = io.now.wall;
        if admitted.locked {
            self.flows.push_back(base::Flow::Lock { port: stream.port, remote: source });
        }
        if admitted.starts && stream.receiver.sources() > 1 {
            self.counters.count(Counter::SsrcTakenOver);
        }
        if admitted.digit {
            self.digit(io, leg, frame, &admitted);
        }
        if admitted.pt == u8::MAX {
            let reason = match self.streams[leg as usize].hears {
                Hears::Nobody => Counter::DiscardRtpUnjoined,
                _ => Counter::DiscardRtpPayload,
            };
            return discard(&mut self.counters, io.frames, frame, reason);
        }
        self.relay(io, leg, frame, &admitted);
    }

    fn relay(&mut self, io: &mut Io<'_>, leg: u32, frame: Frame, admitted: &Admitted) {
        let stream = &mut self.streams[leg as usize];
        stream.relayed += 1;
        stream.relayed_bytes += u64::from(admitted.header.payload_bytes());
        match stream.hears {
            Hears::Here(other) => {
                rtp::set_payload_type(io.frames.bytes_mut(frame), admitted.pt);
                self.send_rtp(io, other, frame, &admitted.header, admitted.pt, admitted.starts);
            }
            Hears::Far(to) => {
                let bytes = io.frames.bytes_mut(frame);
                rtp::set_payload_type(bytes, admitted.pt);
                let handoff = Handoff::Media { to, starts: admitted.starts, bytes };
                let queue = &mut self.handoffs[usize::from(to.shard())];
                let most = bytes.len() + 64;
                let pushed = queue.push_with(most, |out| wire::encode(&handoff, out).ok());
                if pushed {
                    io.frames.free(frame);
                } else {
                    let reason = Counter::DiscardHandoffFull;
                    discard(&mut self.counters, io.frames, frame, reason);
                }
            }
            Hears::Nobody => {
                discard(&mut self.counters, io.frames, frame, Counter::DiscardRtpUnjoined);
            }
        }
    }

    /// Sends a packet that another source numbered, as part of this leg's one stream.
    #[inline]
    fn send_rtp(
        &mut self,
        io: &mut Io<'_>,
        leg: u32,
        frame: Frame,
        header: &rtp::Header,
        pt: u8,
        starts: bool,
    ) {
        let stream = &mut self.streams[leg as usize];
        if !stream.on || !stream.wants() {
            return discard(&mut self.counters, io.frames, frame, Counter::DiscardRtpHold);
        }
        if starts {
            stream.sender.switch_source();
        }
        let payload = header.payload_bytes();
        let Some(stamped) = stream.sender.stamp(header.seq, header.timestamp, payload, io.now.mono)
        else {
            return discard(&mut self.counters, io.frames, frame, Counter::DiscardRtpSequence);
        };
        rtp::rewrite(io.frames.bytes_mut(frame), &stamped.rewrite(header.marker, pt));
        let from = Local::Media(stream.port);
        self.transmits.push_back(Transmit { frame, from, to: stream.target });
        self.counters.count(Counter::RtpRelayed);
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
        io.frames.bytes_mut(frame).copy_from_slice(bytes);
        self.send_rtp(io, leg, frame, &header, header.pt, starts);
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
        if stream.target_rtcp.port() == 0 {
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
            self.play_timers.set(leg, now + PACKET);
        }
    }

    /// Sends the next packet of what is played to a leg.
    pub(crate) fn play(&mut self, io: &mut Io<'_>, leg: u32) {
        let stream = &mut self.streams[leg as usize];
        let play = stream.play;
        if play == Play::Nothing || !stream.on {
            return;
        }
        self.play_timers.set(leg, io.now.mono + PACKET);
        if let Play::Ringback(at) = play {
            stream.play = Play::Ringback(at + 1);
        }
        let Some(format) = stream.plan.audio().copied().filter(Tones::speaks) else { return };
        if !stream.wants() {
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
        stream.hears = hears;
        stream.map = sdp::pt_map(&stream.plan, &plan_of(formats));
        // Another source feeds this leg's outgoing stream from now on.
        stream.sender.switch_source();
    }

    /// Nobody hears this leg's far end any more.
    pub(crate) fn disconnect(&mut self, leg: u32) {
        let stream = &mut self.streams[leg as usize];
        stream.hears = Hears::Nobody;
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
