//! One outgoing stream, continuous whatever feeds it (RFC 3550 section 7.1, as a B2BUA's own
//! source).
//!
//! ```text
//!   source 1:  seq 500 501 503 502   --+  offset 1
//!   (switch)                           +-->  seq 9000 9001 9003 9002 | 9004 9005   one SSRC
//!   source 2:  seq  17  18           --+  offset 2
//! ```
//!
//! Within a source the distance between packets is kept, so that the receiver still sees its gaps
//! and its reordering. At a change of source the next number is one more than the highest sent, and
//! the timestamp goes on by the time that has passed. Nothing of a new source is ever numbered
//! below it.

use base::{Mono, Now};

use crate::header::{Rewrite, Ssrc};
use crate::rtcp::{SenderInfo, ntp};
use crate::ticks::{ahead_u16, ahead_u32, low_half, low_word, ticks};

/// Timestamp units between the last packet of one source and the first of the next, at least.
const TICKS_MIN: u32 = 1;

/// The numbers of one outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: Ssrc,
    /// First packet of its source: set the marker, so that the receiver adapts its playout.
    pub starts: bool,
}

impl Stamped {
    /// As a rewrite, with the packet's own marker and the payload type of the outgoing leg.
    #[must_use]
    pub const fn rewrite(&self, marker: bool, pt: u8) -> Rewrite {
        Rewrite {
            marker: marker || self.starts,
            pt,
            seq: self.seq,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }
}

/// One outgoing stream.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Extended number of the newest packet sent (the 48-bit index of RFC 3711 in the low bits).
    highest: u64,
    packets: u64,
    octets: u64,
    /// When the newest packet was sent.
    sent_at: Mono,
    /// When the newest timestamp was first sent. Digits repeat theirs (RFC 4733): time goes on
    /// meanwhile.
    anchored_at: Mono,
    /// Extended number of the first packet of the source in force.
    first: u64,
    ssrc: Ssrc,
    clock_hz: u32,
    /// Newest timestamp sent.
    timestamp: u32,
    /// First timestamp of the source in force.
    timestamp_first: u32,
    timestamp_offset: u32,
    seq_offset: u16,
    switching: bool,
}

impl Sender {
    /// A stream that will begin with `seq` and `timestamp`, which should be random like the SSRC
    /// (RFC 3550 section 5.1). `clock_hz` is in timestamp units a second.
    #[must_use]
    pub fn new(ssrc: Ssrc, seq: u16, timestamp: u32, clock_hz: u32) -> Self {
        // One cycle up, so that "one before the first" is a number.
        let highest = 0x1_0000 + u64::from(seq) - 1;
        Self {
            highest,
            packets: 0,
            octets: 0,
            sent_at: Mono(0),
            anchored_at: Mono(0),
            first: highest + 1,
            ssrc,
            clock_hz,
            timestamp,
            timestamp_first: timestamp,
            timestamp_offset: 0,
            seq_offset: 0,
            switching: true,
        }
    }

    /// The next packet comes from another source, or from the same one that began to count
    /// elsewhere.
    pub fn switch_source(&mut self) {
        self.switching = true;
    }

    /// Same, and the new source has another clock rate.
    pub fn switch_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz;
        self.switching = true;
    }

    /// The source in force goes on: no change is waiting for the next packet.
    #[inline]
    #[must_use]
    pub const fn is_tied(&self) -> bool {
        !self.switching
    }

    /// Numbers for a packet that its source numbered `seq` and `timestamp`, to be sent `now`, and
    /// counts it with its `payload_bytes`.
    ///
    /// None for a packet that is older than the first of its source: it would be numbered among
    /// those of the source before, so drop it.
    #[inline]
    pub fn stamp(
        &mut self,
        seq: u16,
        timestamp: u32,
        payload_bytes: u16,
        now: Mono,
    ) -> Option<Stamped> {
        let starts = self.switching;
        if starts {
            self.tie(seq, timestamp, now);
        }
        let out_seq = seq.wrapping_add(self.seq_offset);
        let out_timestamp = timestamp.wrapping_add(self.timestamp_offset);
        let ahead = ahead_u16(out_seq, low_half(low_word(self.highest)));
        let index = self.highest.checked_add_signed(i64::from(ahead))?;
        if index < self.first {
            return None;
        }
        if ahead > 0 {
            self.highest = index;
            self.sent_at = now;
            if starts || ahead_u32(out_timestamp, self.timestamp) > 0 {
                self.timestamp = out_timestamp;
                self.anchored_at = now;
            }
        }
        self.packets += 1;
        self.octets += u64::from(payload_bytes);
        Some(Stamped { seq: out_seq, timestamp: out_timestamp, ssrc: self.ssrc, starts })
    }

    /// Chooses offsets so that (seq, timestamp) continue the stream.
    fn tie(&mut self, seq: u16, timestamp: u32, now: Mono) {
        self.switching = false;
        let next = self.highest + 1;
        let continued = if self.packets == 0 { self.timestamp } else { self.timestamp_at(now) };
        self.first = next;
        self.timestamp_first = continued;
        self.seq_offset = low_half(low_word(next)).wrapping_sub(seq);
        self.timestamp_offset = continued.wrapping_sub(timestamp);
    }

    /// The timestamp that a sample taken `now` has, later than every one sent: for SR and for
    /// switching.
    #[must_use]
    pub fn timestamp_at(&self, now: Mono) -> u32 {
        let passed = ticks(now.since(self.anchored_at), self.clock_hz);
        // More than half the circle would look like the past.
        let passed = passed.clamp(TICKS_MIN, u32::MAX >> 1);
        self.timestamp.wrapping_add(passed)
    }

    /// What an SR sent `now` says about this stream; None before the first packet. Counts wrap as
    /// the fields do.
    #[must_use]
    pub fn sender_info(&self, now: Now) -> Option<SenderInfo> {
        (self.packets > 0).then(|| SenderInfo {
            ntp: ntp(now.wall),
            timestamp: self.timestamp_at(now.mono),
            packets: low_word(self.packets),
            octets: low_word(self.octets),
        })
    }

    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Timestamp units a second.
    #[must_use]
    pub const fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// Packets sent on this stream.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload octets sent on this stream (RFC 3550 section 6.4.1).
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// When the newest packet was sent.
    #[must_use]
    pub const fn last_sent(&self) -> Mono {
        self.sent_at
    }

    /// The first extended sequence number never used: nothing is sent at or above it without the
    /// leg record saying so first (DESIGN.md section 8).
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.highest + 1
    }

    /// Goes on above `index` after a restart, which [`Sender::next_index`] of the predecessor was
    /// below.
    pub fn resume_at(&mut self, index: u64) {
        if index > self.highest {
            self.highest = index - 1;
        }
        self.switching = true;
    }

    /// Whether `timestamp` of this stream is older than the source in force.
    #[must_use]
    pub const fn is_before_source(&self, timestamp: u32) -> bool {
        ahead_u32(timestamp, self.timestamp_first) < 0
    }
}
