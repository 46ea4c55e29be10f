//! Packets of our own making: silence, ringback, and digits (RFC 4733). They are one more source of
//! the leg's one outgoing stream; their numbers begin anywhere, and the sender ties them to what
//! was sent before. A digit comes before everything else: while it is sent nothing but it leaves,
//! and behind it the stream is tied anew, because its timestamp stood still.

use base::{LegId, Local, Mono, Transmit};
use rtp::telephone_event::{PAYLOAD_BYTES, code};
use rtp::{FIXED_HEADER_BYTES, ticks, write_header};
use sdp::Codec;
use wire::counter::Counter;

use super::app::Play;
use super::app::tone::Tones;
use super::stream::{Gate, Stream};
use super::{Media, Source};
use crate::cx::Cx;

/// Shortest and longest digit that we send, in milliseconds: what receivers take for one (ITU-T
/// Q.24), and what a duration of 16 bits at 8 kHz holds.
const DIGIT_MS: core::ops::RangeInclusive<u16> = 40..=8_000;
/// Samples of the longest packet: 60 ms at 8 kHz.
const SAMPLES_MAX: usize = 480;

/// One packet of our own.
struct Own {
    pt: u8,
    marker: bool,
    timestamp: u32,
}

impl Media {
    /// What the far end hears from now on is made here; replaces its source. What is played already
    /// goes on.
    pub(crate) fn play(&mut self, cx: &Cx<'_, '_>, leg: LegId, play: Play) {
        let Some(stream) = self.stream_mut(leg) else { return };
        stream.set_source(Source::Player(play));
        stream.start_feed(cx.now.mono);
        self.arm(leg.index());
    }

    /// Sends a digit to the far end as RTP events, behind those that wait. False, and nothing is
    /// sent, if eight wait, if it is no digit, or if the far end does not take events or anything.
    pub(crate) fn send_digit(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        digit: char,
        duration_ms: u16,
    ) -> bool {
        let Some(code) = code(digit) else { return false };
        let Some(stream) = self.stream_mut(leg) else { return false };
        if !stream.wants() || stream.event_format().is_none() {
            return false;
        }
        let duration_ms = duration_ms.clamp(*DIGIT_MS.start(), *DIGIT_MS.end());
        if !stream.feed.events.push(code, duration_ms) {
            return false;
        }
        let is_first = stream.gate() == Gate::Open;
        stream.set_event();
        if is_first && stream.feed.at == Mono::NEVER {
            stream.feed.at = cx.now.mono;
            self.feed(cx, leg.index());
        }
        self.arm(leg.index());
        true
    }

    /// Sends the next packet of our own, and says when the one behind it is due.
    pub(super) fn feed(&mut self, cx: &mut Cx<'_, '_>, index: u32) {
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        // The wheel is coarser than a packet's clock: the next one is due by the clock, not by the
        // wheel.
        let (ptime, now) = (stream.packet_time(), cx.now.mono);
        let next = stream.feed.at + ptime;
        stream.feed.at = if next > now { next } else { now + ptime };
        match (stream.gate(), stream.feed.play) {
            (Gate::Event, _) => stream.feed_event(cx),
            (_, Some(play)) => return stream.feed_play(cx, play, &self.tones),
            (_, None) => {}
        }
        if stream.gate() != Gate::Event && stream.feed.play.is_none() {
            stream.feed.at = Mono::NEVER;
        }
    }
}

impl Stream {
    /// The first packet is due a packet time from now, unless packets are being made.
    fn start_feed(&mut self, now: Mono) {
        if self.feed.at == Mono::NEVER {
            self.feed.at = now + self.packet_time();
        }
    }

    fn feed_event(&mut self, cx: &mut Cx<'_, '_>) {
        let Some(format) = self.event_format() else { return };
        let packet = self.feed.events.poll_packet(self.packet_time(), format.codec.clock);
        if let Some(packet) = packet {
            if packet.starts {
                // The timestamp of an event is when it began, and stands still until the next.
                self.sender.switch_source();
            }
            let timestamp = self.feed.timestamp;
            let own = Own { pt: format.send_pt, marker: packet.starts, timestamp };
            let fill = |out: &mut [u8]| out.copy_from_slice(&packet.payload);
            self.send_own(cx, &own, PAYLOAD_BYTES, fill);
        }
        self.set_event();
    }

    fn feed_play(&mut self, cx: &mut Cx<'_, '_>, play: Play, tones: &Tones) {
        let Some(format) = self.tone_format() else { return };
        let samples = ticks(self.packet_time(), format.codec.clock);
        let mut sound = [0; SAMPLES_MAX];
        let len = usize::try_from(samples).unwrap_or(0).min(SAMPLES_MAX);
        self.feed.sample = sound_of(play, format.codec, self.feed.sample, tones, &mut sound[..len]);
        let timestamp = self.feed.timestamp;
        self.feed.timestamp = timestamp.wrapping_add(samples);
        if self.gate() == Gate::Open {
            let own = Own { pt: format.send_pt, marker: false, timestamp };
            self.send_own(cx, &own, len, |out| out.copy_from_slice(&sound[..len]));
        }
    }

    fn send_own(
        &mut self,
        cx: &mut Cx<'_, '_>,
        own: &Own,
        payload_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let len = FIXED_HEADER_BYTES + payload_bytes;
        let Some(frame) = cx.frames.alloc(len) else {
            return cx.count(Counter::DiscardNoFrame);
        };
        let frame = frame.resized(len);
        cx.core.in_hand = Some(frame);
        let seq = self.feed.seq;
        self.feed.seq = seq.wrapping_add(1);
        let bytes = u16::try_from(payload_bytes).unwrap_or(0);
        let Some(stamped) = self.sender.stamp(seq, own.timestamp, bytes, cx.now.mono) else {
            return cx.discard(frame, Counter::DiscardRtpSequence);
        };
        let packet = cx.frames.bytes_mut(frame);
        write_header(packet, &stamped.rewrite(own.marker, own.pt));
        fill(&mut packet[FIXED_HEADER_BYTES..]);
        cx.core.in_hand = None;
        cx.core.transmits.push_back(Transmit {
            frame,
            from: Local::Media(self.port),
            to: self.target,
        });
        cx.count(Counter::RtpPlayed);
    }
}

/// The sound of a packet. Returns where the next one begins.
fn sound_of(play: Play, codec: Codec, at: u32, tones: &Tones, out: &mut [u8]) -> u32 {
    match play {
        Play::Ringback => tones.ringback(codec, at, out),
        Play::Silence => {
            Tones::silence(codec, out);
            at
        }
    }
}
