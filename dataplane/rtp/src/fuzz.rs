//! Shims for fuzzers and seeded mutation tests: any bytes, no panic.

use core::time::Duration;

use base::{Mono, Wall};

use crate::quality::{CodecImpairment, Observation, rate};
use crate::{
    Header, PacketKind, Probation, Receiver, Sender, Ssrc, classify, rewrite, rtcp,
    telephone_event::Detector,
};

/// Reads one datagram as whatever it is.
///
/// # Panics
/// When a range leaves the packet: that is the finding.
pub fn datagram(bytes: &[u8]) {
    match classify(bytes) {
        PacketKind::Rtp => {
            let Ok(header) = Header::parse(bytes) else { return };
            assert!(header.payload_range().end <= bytes.len(), "payload inside the packet");
            let _ = Detector::new(8_000).handle(
                header.marker,
                header.timestamp,
                header.payload(bytes),
                Mono(0),
            );
        }
        PacketKind::Rtcp => {
            let Ok(compound) = rtcp::parse(bytes) else { return };
            for packet in compound.clone() {
                if let rtcp::Packet::Sdes(chunks) = packet {
                    let _ = rtcp::cname(chunks, Ssrc(1));
                }
                let _ = packet.ends(Ssrc(1));
            }
            let mut peer = rtcp::Peer::default();
            let _ = peer.handle(compound, Ssrc(1), Some(Ssrc(2)), (Mono(1), Wall(1)));
            let _ = (peer.last_sr(Mono(u64::MAX)), peer.round_trip());
        }
        _ => {}
    }
}

/// Relays a stream described by `bytes`: four for the clock rate, then five a packet: sequence
/// step, timestamp step, time step in ms, source, payload length.
///
/// # Panics
/// When an accepted packet of a new source is numbered at or below an earlier one: that is the
/// finding.
pub fn stream(bytes: &[u8]) {
    let Some((clock, bytes)) = bytes.split_first_chunk::<4>() else { return };
    let clock_hz = u32::from_be_bytes(*clock);
    let mut receiver = Receiver::new(clock_hz, Probation::None);
    let mut sender = Sender::new(Ssrc(7), u16::MAX, u32::MAX, clock_hz);
    let mut detector = Detector::new(clock_hz);
    let (mut seq, mut timestamp, mut now) = (0_u16, 0_u32, Mono(0));
    let mut packet = [0_u8; 256 + 12];
    packet[0] = 0x80;
    for &[step, ts_step, ms, source, length] in bytes.as_chunks::<5>().0 {
        seq = seq.wrapping_add(u16::from(step)).wrapping_sub(if step > 250 { 3_000 } else { 2 });
        timestamp = timestamp.wrapping_add(u32::from(ts_step) << (source % 24));
        now = now + Duration::from_millis(u64::from(ms));
        let fields = crate::Rewrite {
            marker: source > 128,
            pt: length & 0x7f,
            seq,
            timestamp,
            ssrc: Ssrc(u32::from(source % 3)),
        };
        rewrite(&mut packet, &fields);
        let length = 12 + usize::from(length);
        let Ok(header) = Header::parse(&packet[..length]) else { continue };
        if ts_step == 0xff {
            receiver.restart();
        }
        let verdict = receiver.handle(&header, now);
        let before = sender.next_index();
        if verdict.is_new_source() {
            sender.switch_source();
        }
        if verdict.is_accepted() {
            let stamped = sender.stamp(header.seq, header.timestamp, header.payload_bytes(), now);
            if verdict.is_new_source() {
                assert!(stamped.is_some() && sender.next_index() > before, "goes on upwards");
            }
        }
        let _ = detector.handle(header.marker, header.timestamp, &packet[12..length], now);
    }
    let _ = receiver.report(0, 0);
    let seen = Observation::of(&receiver, None, Duration::from_millis(20));
    let quality = rate(&seen, CodecImpairment::G711);
    assert!((1.0..=4.5).contains(&quality.mos), "MOS has a scale");
}
