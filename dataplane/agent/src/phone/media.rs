//! A phone's media: it sends only formats that are in force, under the numbers that the other side
//! asked for, and knows of each packet that comes whether it may come.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Now, Prng};
use rtp::telephone_event::{Detector, Event, EventPackets};
use rtp::{Header, HeaderFields, Receiver, Ssrc};
use sdp::{Codec, CodecId, Direction, MediaTarget, PlanFormat};

use super::heard::Heard;
use super::manner::Speaks;
use crate::Datagram;
use crate::describe::{self, Shape, Terms};
use crate::voice::{Said, Voice};

/// How long after a change packets of what was in force before are taken: they were under way, or
/// their sender had not heard yet (RFC 3264 section 8.3.2).
pub const GRACE: Duration = Duration::from_millis(250);
const DIGIT_PACKET: Duration = Duration::from_millis(20);

/// One call's media at a phone.
#[derive(Debug)]
pub struct Media {
    pub local: SocketAddr,
    /// Where packets really leave from.
    pub source: SocketAddr,
    /// What is in force.
    pub plan: Terms,
    pub heard: Heard,
    pub group: u32,
    pub stream: u32,
    /// Packets sent.
    pub sent: u32,
    pub muted: bool,
    pub speaks: Speaks,
    /// Digits that were to be sent while no telephone-event was in force.
    pub unsaid: u32,
    /// What was in force a moment ago, and until when it still counts.
    before: Vec<(Terms, Mono)>,
    /// What an open offer of ours promises to take.
    offered: Option<(Vec<(u8, Codec)>, Direction)>,
    voice: Voice,
    ssrc: Ssrc,
    seq: u16,
    timestamp: u32,
    every: Duration,
    next_at: Mono,
    report_every: Duration,
    report_at: Mono,
    digit: Option<(EventPackets, u32)>,
    receiver: Receiver,
    detector: Detector,
    packet: Vec<u8>,
}

impl Media {
    pub(super) fn new(
        (local, source): (SocketAddr, SocketAddr),
        plan: Terms,
        (group, stream): (u32, u32),
        speaks: Speaks,
        random: &mut Prng,
    ) -> Self {
        let [a, b, ..] = random.u64().to_be_bytes();
        Self {
            local,
            source,
            plan,
            heard: Heard::default(),
            group,
            stream,
            sent: 0,
            muted: false,
            speaks,
            unsaid: 0,
            before: Vec::new(),
            offered: None,
            voice: Voice::default(),
            ssrc: Ssrc(random.u32()),
            seq: u16::from_be_bytes([a, b]),
            timestamp: random.u32(),
            every: Duration::ZERO,
            next_at: Mono::NEVER,
            report_every: Duration::ZERO,
            report_at: Mono::NEVER,
            digit: None,
            receiver: Receiver::new(8_000, rtp::Probation::None),
            detector: Detector::new(8_000),
            packet: Vec::new(),
        }
    }

    /// Other terms are in force from now on.
    pub(super) fn agree(&mut self, now: Now, plan: Terms) {
        self.offered = None;
        if plan != self.plan {
            let before = std::mem::replace(&mut self.plan, plan);
            self.before.retain(|(_, until)| now.mono <= *until);
            self.before.push((before, now.mono + GRACE));
        }
    }

    /// An offer of ours is open, or closed without an answer.
    pub(super) fn offer(&mut self, shape: Option<&Shape>) {
        self.offered = shape.filter(|shape| !shape.stopped).map(|shape| {
            let number = |it: &sdp::Supported<'_>| Some((it.pt, describe::codec(it)?));
            let direction = if shape.nowhere { Direction::Inactive } else { shape.direction };
            (shape.codecs.iter().filter_map(number).collect(), direction)
        });
    }

    /// Begins to send.
    pub(super) fn start(&mut self, now: Now, every: Duration, report_every: Duration) {
        if self.next_at != Mono::NEVER || every.is_zero() {
            return;
        }
        (self.every, self.next_at) = (every, now.mono);
        if !report_every.is_zero() {
            (self.report_every, self.report_at) = (report_every, now.mono + report_every);
        }
    }

    pub(super) fn stop(&mut self) {
        (self.next_at, self.report_at) = (Mono::NEVER, Mono::NEVER);
    }

    pub(super) fn deadline(&self) -> Mono {
        self.next_at.min(self.report_at)
    }

    /// Another source speaks from the same place.
    pub(super) fn new_ssrc(&mut self, random: &mut Prng) {
        self.ssrc = Ssrc(random.u32());
        self.seq = self.seq.wrapping_add(31_000);
        self.timestamp = random.u32();
        if let Some((_, at)) = &mut self.digit {
            *at = self.timestamp;
        }
    }

    /// The format that is spoken: one of those in force.
    #[must_use]
    pub fn spoken(&self) -> Option<PlanFormat> {
        let mut audio = self.plan.audio();
        let count = audio.clone().count();
        match self.speaks {
            Speaks::First => audio.next().copied(),
            Speaks::Last => audio.last().copied(),
            Speaks::Index(at) => audio.nth(at % count.max(1)).copied(),
        }
    }

    /// Whether this side may send now.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.plan.direction.sends() && self.plan.remote_rtp != MediaTarget::NOWHERE
    }

    /// Begins to send a digit, if digits are in force.
    pub(super) fn digit(&mut self, digit: char) {
        let clock = self.spoken().map_or(8_000, |format| format.codec.clock);
        let format = self.plan.telephone_event(clock).filter(|_| self.may_send());
        let (Some(code), Some(format)) = (rtp::telephone_event::code(digit), format) else {
            self.unsaid += 1;
            return;
        };
        let length = Duration::from_millis(100);
        let packets = EventPackets::new(code, length, DIGIT_PACKET, format.codec.clock);
        self.digit = Some((packets, self.timestamp));
    }

    pub(super) fn handle_tick(&mut self, now: Now, out: &mut dyn crate::Outbox) {
        if self.report_at <= now.mono {
            self.report_at = now.mono + self.report_every;
            self.report(now, out);
        }
        if self.next_at > now.mono {
            return;
        }
        let digit = self.digit.is_some();
        let every = if digit { DIGIT_PACKET } else { self.every };
        self.next_at = now.mono + every;
        if self.may_send() && !self.muted {
            if digit { self.send_digit(out) } else { self.send_packet(out) }
        }
        let per_ms = self.spoken().map_or(8, |format| format.codec.clock / 1_000);
        let ms = u32::try_from(every.as_millis()).unwrap_or(0);
        self.timestamp = self.timestamp.wrapping_add(ms.wrapping_mul(per_ms));
    }

    fn send_packet(&mut self, out: &mut dyn crate::Outbox) {
        let Some(format) = self.spoken() else { return };
        let said = Said { group: self.group, stream: self.stream, index: self.sent };
        let mut payload = std::mem::take(&mut self.packet);
        self.voice.say(&format.codec, said, &mut payload);
        let marker = self.sent == 0;
        self.sent += 1;
        self.put(format.send_pt, marker, self.timestamp, &payload, out);
        self.packet = payload;
    }

    fn send_digit(&mut self, out: &mut dyn crate::Outbox) {
        let Some((mut packets, timestamp)) = self.digit.take() else { return };
        let clock = self.spoken().map_or(8_000, |format| format.codec.clock);
        let Some(format) = self.plan.telephone_event(clock).copied() else { return };
        if let Some(packet) = packets.next() {
            self.put(format.send_pt, packet.marker, timestamp, &packet.payload, out);
            self.digit = Some((packets, timestamp));
        }
    }

    fn put(
        &mut self,
        pt: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        out: &mut dyn crate::Outbox,
    ) {
        let Some(to) = self.plan.remote_rtp.address() else { return };
        let mut bytes = vec![0; rtp::FIXED_HEADER_BYTES + payload.len()];
        let fields = HeaderFields { marker, pt, seq: self.seq, timestamp, ssrc: self.ssrc };
        rtp::write_header(&mut bytes, &fields);
        bytes[rtp::FIXED_HEADER_BYTES..].copy_from_slice(payload);
        self.seq = self.seq.wrapping_add(1);
        out.put(self.source, to, &bytes);
    }

    fn report(&mut self, now: Now, out: &mut dyn crate::Outbox) {
        let Some(to) = self.plan.remote_rtcp.address() else { return };
        let block = self.receiver.report(0, 0);
        let sender = (self.sent > 0).then(|| rtp::rtcp::SenderInfo {
            ntp: rtp::rtcp::ntp(now.wall),
            timestamp: self.timestamp,
            packets: self.sent,
            octets: self.sent.wrapping_mul(160),
        });
        let blocks = block.as_slice();
        let report = rtp::rtcp::Report { ssrc: self.ssrc, sender, blocks, cname: b"phone" };
        let mut bytes = [0; 256];
        let Some(len) = rtp::rtcp::write_report(&report, &mut bytes) else { return };
        let from = SocketAddr::new(self.source.ip(), self.source.port() + 1);
        out.put(from, to, &bytes[..len]);
    }

    pub(super) fn handle(&mut self, now: Now, datagram: &Datagram) {
        match rtp::classify(&datagram.bytes) {
            rtp::PacketKind::Rtp => self.handle_rtp(now, datagram),
            rtp::PacketKind::Rtcp => self.handle_rtcp(datagram),
            _ => self.heard.damaged += 1,
        }
    }

    fn handle_rtcp(&mut self, datagram: &Datagram) {
        let Ok(packets) = rtp::rtcp::parse(&datagram.bytes) else {
            self.heard.damaged += 1;
            return;
        };
        for packet in packets {
            match packet {
                rtp::rtcp::Packet::SenderReport { .. } => self.heard.sender_reports += 1,
                rtp::rtcp::Packet::ReceiverReport { .. } => self.heard.receiver_reports += 1,
                _ => {}
            }
        }
    }

    fn handle_rtp(&mut self, now: Now, datagram: &Datagram) {
        let Ok(header) = Header::parse(&datagram.bytes) else {
            self.heard.damaged += 1;
            return;
        };
        self.heard.last_at = now.mono;
        let before = self.before.iter().rev().filter(|(_, until)| now.mono <= *until);
        let mut before = before.map(|(terms, _)| terms);
        let at = datagram.from;
        // With c=0.0.0.0 nobody knows where the other side sends from.
        let from = |terms: &Terms| terms.remote_rtp.address().is_none_or(|rtp| rtp == at);
        let known = from(&self.plan) || before.clone().any(from);
        let receives = self.plan.direction.receives()
            || before.clone().any(|terms| terms.direction.receives())
            || self.offered.as_ref().is_some_and(|(_, direction)| direction.receives());
        let offered = self.offered.iter().flat_map(|(formats, _)| formats);
        let offered = offered.filter(|(pt, _)| *pt == header.pt).map(|(_, codec)| *codec).next();
        let agreed = self.plan.received(header.pt).map(|format| format.codec);
        let earlier = before.find_map(|terms| terms.received(header.pt)).map(|it| it.codec);
        let codec = agreed.or(offered).or(earlier);
        self.heard.foreign += u64::from(!known);
        self.heard.unwanted += u64::from(!receives);
        self.receiver.handle(&header, now.mono);
        self.heard.numbers(&header);
        let payload = header.payload(&datagram.bytes);
        match codec {
            None => {
                self.heard.foreign_payload += 1;
                self.heard.bad_payload_type += 1;
            }
            Some(codec) if codec.is_telephone_event() => self.hear_digit(now, &header, payload),
            Some(codec) if codec.id == CodecId::CN => self.heard.comfort += 1,
            Some(codec) => self.heard.sound(now.mono, self.voice.hear(&codec, payload)),
        }
    }

    fn hear_digit(&mut self, now: Now, header: &Header, payload: &[u8]) {
        if Event::parse(payload).is_none() {
            self.heard.damaged += 1;
        }
        let told = self.detector.handle(header.marker, header.timestamp, payload, now.mono);
        self.heard.digits.extend(told.started.and_then(rtp::telephone_event::digit));
    }
}
