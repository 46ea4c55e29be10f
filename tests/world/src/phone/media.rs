//! A phone's media. Every packet says which conversation it belongs to, who speaks and which packet
//! it is, so that the other side knows what it heard, not only that it heard something.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Now, Prng};
use rtp::telephone_event::{Event, EventPackets};
use rtp::{Header, HeaderFields, Receiver, Ssrc};
use sdp::Plan;

use crate::network::Datagram;

const MAGIC: &[u8; 4] = b"TNDM";
/// Bytes of a packet's payload: 20 ms of G.711.
const PAYLOAD: usize = 160;
/// Ticks of a packet's time.
const TICKS_PER_MS: u32 = 8;

/// What one speaker's packets looked like when they arrived.
#[derive(Clone, Debug, Default)]
pub struct StreamHeard {
    pub packets: u64,
    /// Number of the newest packet.
    pub newest: u32,
    /// Packets that came after a newer one.
    pub late: u64,
    /// Packets that came again.
    pub again: u64,
    pub first_at: Mono,
    pub last_at: Mono,
    /// Numbers seen, the newest 64.
    seen: u64,
}

/// Everything a phone heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By (group, stream).
    pub streams: BTreeMap<(u32, u32), StreamHeard>,
    pub packets: u64,
    /// G.711 silence.
    pub silence: u64,
    /// Neither silence nor a phone: tones.
    pub tone: u64,
    /// Packets whose content was not what was sent.
    pub damaged: u64,
    /// Packets from elsewhere than the description said.
    pub foreign: u64,
    /// Payload types that were not negotiated.
    pub bad_payload_type: u64,
    pub ssrcs: Vec<u32>,
    /// Sequence numbers that were skipped, and times that ran backwards, in the outgoing stream as
    /// a whole.
    pub sequence_jumps: u64,
    pub timestamp_backwards: u64,
    /// Largest step of the timestamp less the time that passed, in ticks.
    pub payload_types: BTreeSet<u8>,
    pub sender_reports: u64,
    pub receiver_reports: u64,
    pub digits: String,
    pub last_at: Mono,
    last: Option<(u16, u32)>,
}

/// One call's media at a phone.
#[derive(Debug)]
pub struct Media {
    pub local: SocketAddr,
    /// Where packets really leave from.
    pub source: SocketAddr,
    pub plan: Plan,
    pub heard: Heard,
    pub group: u32,
    pub stream: u32,
    /// Packets sent.
    pub sent: u32,
    pub muted: bool,
    ssrc: Ssrc,
    seq: u16,
    timestamp: u32,
    every: Duration,
    next_at: Mono,
    report_every: Duration,
    report_at: Mono,
    digit: Option<(EventPackets, u32)>,
    receiver: Receiver,
    detector: rtp::telephone_event::Detector,
}

/// What packet `index` of a stream carries.
#[must_use]
pub fn payload(group: u32, stream: u32, index: u32) -> [u8; PAYLOAD] {
    let mut bytes = [index.to_le_bytes()[0]; PAYLOAD];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&group.to_be_bytes());
    bytes[8..12].copy_from_slice(&stream.to_be_bytes());
    bytes[12..16].copy_from_slice(&index.to_be_bytes());
    bytes
}

/// Silence in either law.
#[must_use]
pub fn is_silence(payload: &[u8]) -> bool {
    payload.iter().all(|byte| *byte == 0xff) || payload.iter().all(|byte| *byte == 0xd5)
}

impl Media {
    pub(super) fn new(
        local: SocketAddr,
        source: SocketAddr,
        plan: Plan,
        (group, stream): (u32, u32),
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
            ssrc: Ssrc(random.u32()),
            seq: u16::from_be_bytes([a, b]),
            timestamp: random.u32(),
            every: Duration::ZERO,
            next_at: Mono::NEVER,
            report_every: Duration::ZERO,
            report_at: Mono::NEVER,
            digit: None,
            receiver: Receiver::new(8_000, rtp::Probation::None),
            detector: rtp::telephone_event::Detector::new(8_000),
        }
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
    }

    /// Begins to send a digit.
    pub(super) fn digit(&mut self, digit: char) {
        let (Some(code), true) =
            (rtp::telephone_event::code(digit), self.plan.telephone_event().is_some())
        else {
            return;
        };
        let (length, packet) = (Duration::from_millis(100), Duration::from_millis(20));
        let packets = EventPackets::new(code, length, packet, 8_000);
        self.digit = Some((packets, self.timestamp));
    }

    pub(super) fn handle_tick(&mut self, now: Now, out: &mut Vec<Datagram>) {
        if self.report_at <= now.mono {
            self.report_at = now.mono + self.report_every;
            self.report(now, out);
        }
        if self.next_at > now.mono {
            return;
        }
        let digit = self.digit.is_some();
        let every = if digit { Duration::from_millis(20) } else { self.every };
        self.next_at = now.mono + every;
        let may = self.plan.direction.sends() && !self.plan.remote_rtp.ip().is_unspecified();
        if may && !self.muted {
            if digit { self.send_digit(out) } else { self.send_packet(out) }
        }
        self.timestamp = self
            .timestamp
            .wrapping_add(u32::try_from(every.as_millis()).unwrap_or(0) * TICKS_PER_MS);
    }

    fn send_packet(&mut self, out: &mut Vec<Datagram>) {
        let Some(format) = self.plan.audio().copied() else { return };
        let payload = payload(self.group, self.stream, self.sent);
        let marker = self.sent == 0;
        self.sent += 1;
        self.put(format.send_pt, marker, self.timestamp, &payload, out);
    }

    fn send_digit(&mut self, out: &mut Vec<Datagram>) {
        let (Some((mut packets, timestamp)), Some(format)) =
            (self.digit.take(), self.plan.telephone_event().copied())
        else {
            return;
        };
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
        out: &mut Vec<Datagram>,
    ) {
        let mut bytes = vec![0; rtp::FIXED_HEADER_BYTES + payload.len()];
        let fields = HeaderFields { marker, pt, seq: self.seq, timestamp, ssrc: self.ssrc };
        rtp::write_header(&mut bytes, &fields);
        bytes[rtp::FIXED_HEADER_BYTES..].copy_from_slice(payload);
        self.seq = self.seq.wrapping_add(1);
        out.push(Datagram { from: self.source, to: self.plan.remote_rtp, bytes });
    }

    fn report(&mut self, now: Now, out: &mut Vec<Datagram>) {
        let block = self.receiver.report(0, 0);
        let sender = (self.sent > 0).then(|| rtp::rtcp::SenderInfo {
            ntp: rtp::rtcp::ntp(now.wall),
            timestamp: self.timestamp,
            packets: self.sent,
            octets: self.sent * 160,
        });
        let blocks = block.as_slice();
        let report = rtp::rtcp::Report { ssrc: self.ssrc, sender, blocks, cname: b"phone" };
        let mut bytes = vec![0; 256];
        let Some(len) = rtp::rtcp::write_report(&report, &mut bytes) else { return };
        bytes.truncate(len);
        let port = self.source.port() + 1;
        let from = SocketAddr::new(self.source.ip(), port);
        out.push(Datagram { from, to: self.plan.remote_rtcp, bytes });
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
        self.heard.foreign += u64::from(datagram.from != self.plan.remote_rtp);
        self.receiver.handle(&header, datagram.bytes.len(), now.mono);
        self.heard.numbers(&header);
        let payload = header.payload(&datagram.bytes);
        match self.plan.received(header.pt) {
            None => self.heard.bad_payload_type += 1,
            Some(format) if format.codec.is_telephone_event() => {
                self.hear_digit(now, &header, payload);
            }
            Some(_) => self.heard.sound(now.mono, payload),
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

impl Heard {
    fn numbers(&mut self, header: &Header) {
        self.packets += 1;
        self.payload_types.insert(header.pt);
        if !self.ssrcs.contains(&header.ssrc.0) {
            self.ssrcs.push(header.ssrc.0);
        }
        if let Some((seq, timestamp)) = self.last {
            self.sequence_jumps += u64::from(header.seq != seq.wrapping_add(1));
            let step = header.timestamp.wrapping_sub(timestamp);
            self.timestamp_backwards += u64::from(step > u32::MAX / 2);
        }
        self.last = Some((header.seq, header.timestamp));
    }

    fn sound(&mut self, now: Mono, bytes: &[u8]) {
        if is_silence(bytes) {
            self.silence += 1;
            return;
        }
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        if bytes.get(..4) != Some(MAGIC) {
            self.tone += 1;
            return;
        }
        let (group, stream, index) = (word(4), word(8), word(12));
        if payload(group, stream, index) != bytes {
            self.damaged += 1;
            return;
        }
        self.streams.entry((group, stream)).or_default().take(index, now);
    }

    /// Packets of other phones.
    #[must_use]
    pub fn voice(&self) -> u64 {
        self.streams.values().map(|stream| stream.packets).sum()
    }
}

impl StreamHeard {
    fn take(&mut self, index: u32, now: Mono) {
        if self.packets == 0 {
            (self.first_at, self.newest, self.seen) = (now, index, 1);
        } else if index > self.newest {
            let step = index - self.newest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.newest = index;
        } else {
            let back = self.newest - index;
            let bit = 1_u64.checked_shl(back).unwrap_or(0);
            self.again += u64::from(self.seen & bit != 0);
            self.late += u64::from(self.seen & bit == 0);
            self.seen |= bit;
        }
        self.packets += 1;
        self.last_at = now;
    }
}
