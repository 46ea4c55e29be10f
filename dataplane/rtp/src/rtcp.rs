//! RTCP: compound packets read and written, round trip, interval (RFC 3550 section 6).
//!
//! ```text
//!   compound = SR or RR, SDES(CNAME) [, BYE | APP | XR | RTPFB | PSFB ...]
//!   each     = V=2 P count | type | length in words - 1 | body
//! ```
//!
//! The reader checks the frame of every packet before it yields the first one, so that half a
//! compound is never acted upon. What we do not terminate (APP, XR, feedback) is yielded as bytes.

use core::fmt;
use core::time::Duration;

use base::{Mono, Wall};

use crate::header::Ssrc;
use crate::ticks::low_word;

/// Sender report.
pub const TYPE_SR: u8 = 200;
/// Receiver report.
pub const TYPE_RR: u8 = 201;
/// Source description.
pub const TYPE_SDES: u8 = 202;
/// End of participation.
pub const TYPE_BYE: u8 = 203;
/// Application-defined.
pub const TYPE_APP: u8 = 204;
/// Transport-layer feedback (RFC 4585).
pub const TYPE_RTPFB: u8 = 205;
/// Payload-specific feedback (RFC 4585).
pub const TYPE_PSFB: u8 = 206;
/// Extended report (RFC 3611).
pub const TYPE_XR: u8 = 207;

const HEADER_BYTES: usize = 4;
const SENDER_INFO_BYTES: usize = 20;
const BLOCK_BYTES: usize = 24;
/// Largest count of the five-bit field.
pub const BLOCKS_MAX: usize = 31;
/// CNAME bytes that fit an SDES item.
pub const CNAME_BYTES_MAX: usize = 255;

/// Why a datagram is not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtcpError {
    /// shorter than a packet header, or a length that reaches past the end
    Short,
    /// version is not 2
    BadVersion,
    /// type outside 192..=223, or a compound that does not begin with SR or RR
    BadType,
    /// count does not fit the length
    BadCount,
    /// padding in a packet that is not the last, or impossible padding
    BadPadding,
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "RTCP packet truncated",
            Self::BadVersion => "RTCP version is not 2",
            Self::BadType => "RTCP compound of a wrong type",
            Self::BadCount => "RTCP count does not fit its length",
            Self::BadPadding => "bad RTCP padding",
        })
    }
}

impl core::error::Error for RtcpError {}

/// A reception report block (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source that the block is about.
    pub ssrc: Ssrc,
    /// Loss since the last report in 1/256.
    pub fraction_lost: u8,
    /// Loss since the start, 24 bits signed.
    pub cumulative_lost: i32,
    /// Extended: cycles in the upper half.
    pub highest_sequence: u32,
    /// In timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR received, 0 for none.
    pub last_sr: u32,
    /// In 1/65,536 s, 0 for none.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let word = |at: usize| be32(&bytes[4 * at..]);
        let lost = word(1);
        Self {
            ssrc: Ssrc(word(0)),
            fraction_lost: bytes[4],
            // Shifted up and back down to extend the sign of 24 bits.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    fn write(&self, out: &mut Out<'_>) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned();
        out.word(self.ssrc.0);
        out.word((u32::from(self.fraction_lost) << 24) | (lost & 0x00ff_ffff));
        out.word(self.highest_sequence);
        out.word(self.jitter);
        out.word(self.last_sr);
        out.word(self.delay_since_last_sr);
    }

    /// Round trip by this block, which our peer sent about our stream, received at `now`
    /// (RFC 3550 section 6.4.1). None without a last SR, and for values that cannot be.
    #[must_use]
    pub fn round_trip(&self, now: Wall) -> Option<Duration> {
        if self.last_sr == 0 {
            return None;
        }
        let passed = ntp_middle(ntp(now)).wrapping_sub(self.last_sr);
        let trip = passed.checked_sub(self.delay_since_last_sr)?;
        // More than 30 s is a wrong echo or a stepped clock.
        (trip < 30 << 16).then(|| Duration::from_nanos((u64::from(trip) * 1_000_000_000) >> 16))
    }
}

/// The part of an SR about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// 32.32 fixed point seconds since 1900; see [`ntp`].
    pub ntp: u64,
    /// The same moment on the stream's timestamp scale.
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// Report blocks, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
}

impl Blocks<'_> {
    /// The blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + '_ {
        self.bytes.as_chunks::<BLOCK_BYTES>().0.iter().map(ReportBlock::read)
    }

    /// The block about `ssrc`.
    #[must_use]
    pub fn about(&self, ssrc: Ssrc) -> Option<ReportBlock> {
        self.iter().find(|block| block.ssrc == ssrc)
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    SenderReport {
        ssrc: Ssrc,
        info: SenderInfo,
        blocks: Blocks<'a>,
    },
    ReceiverReport {
        ssrc: Ssrc,
        blocks: Blocks<'a>,
    },
    /// The chunks; see [`cname`].
    Sdes(&'a [u8]),
    /// Sources that end, and why (may be empty).
    Bye {
        sources: &'a [u8],
        reason: &'a [u8],
    },
    /// XR blocks behind the sender's SSRC (RFC 3611), not looked into.
    Extended {
        ssrc: Ssrc,
        blocks: &'a [u8],
    },
    /// RTPFB, PSFB (RFC 4585): the format and what follows the header.
    Feedback {
        payload_specific: bool,
        format: u8,
        body: &'a [u8],
    },
    /// APP and unknown types: the type and what follows the header.
    Other {
        packet_type: u8,
        body: &'a [u8],
    },
}

impl Packet<'_> {
    /// Whether this is a report of the source `sender`.
    #[must_use]
    pub fn is_from(&self, sender: Ssrc) -> bool {
        matches!(self, Self::SenderReport { ssrc, .. } | Self::ReceiverReport { ssrc, .. }
            if *ssrc == sender)
    }

    /// Whether a BYE names `ssrc`.
    #[must_use]
    pub fn ends(&self, ssrc: Ssrc) -> bool {
        let Self::Bye { sources, .. } = self else { return false };
        sources.as_chunks::<4>().0.iter().any(|bytes| u32::from_be_bytes(*bytes) == ssrc.0)
    }
}

/// A checked compound packet: an iterator over its packets.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// Checks a datagram (RFC 3550 A.2) and yields its packets.
///
/// # Errors
/// See [`RtcpError`]. A single packet that is neither SR nor RR (reduced size, RFC 5506) is taken
/// too: only a compound of several must begin with a report.
pub fn parse(datagram: &[u8]) -> Result<Compound<'_>, RtcpError> {
    let mut rest = datagram;
    let mut first = true;
    while !rest.is_empty() {
        let (frame, after) = Frame::split(rest)?;
        let report = matches!(frame.packet_type, TYPE_SR | TYPE_RR);
        if first && !report && !after.is_empty() {
            return Err(RtcpError::BadType);
        }
        if frame.padded && !after.is_empty() {
            return Err(RtcpError::BadPadding);
        }
        frame.check_count()?;
        (rest, first) = (after, false);
    }
    if first { Err(RtcpError::Short) } else { Ok(Compound { rest: datagram }) }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (frame, after) = Frame::split(self.rest).ok()?;
        self.rest = after;
        Some(frame.packet())
    }
}

/// One packet of a compound, taken out of its header.
struct Frame<'a> {
    packet_type: u8,
    count: u8,
    padded: bool,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RtcpError> {
        let Some((&[b0, packet_type, l0, l1], _)) = bytes.split_first_chunk::<HEADER_BYTES>()
        else {
            return Err(RtcpError::Short);
        };
        if b0 >> 6 != 2 {
            return Err(RtcpError::BadVersion);
        }
        if !(192..=223).contains(&packet_type) {
            return Err(RtcpError::BadType);
        }
        let length = HEADER_BYTES + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let (packet, after) = bytes.split_at_checked(length).ok_or(RtcpError::Short)?;
        let padded = b0 & 0x20 != 0;
        let mut body = &packet[HEADER_BYTES..];
        if padded {
            let padding = usize::from(body.last().copied().ok_or(RtcpError::BadPadding)?);
            if padding == 0 || !padding.is_multiple_of(4) || padding > body.len() {
                return Err(RtcpError::BadPadding);
            }
            body = &body[..body.len() - padding];
        }
        Ok((Self { packet_type, count: b0 & 0x1f, padded, body }, after))
    }

    fn check_count(&self) -> Result<(), RtcpError> {
        let count = usize::from(self.count);
        let need = match self.packet_type {
            TYPE_SR => 4 + SENDER_INFO_BYTES + count * BLOCK_BYTES,
            TYPE_RR => 4 + count * BLOCK_BYTES,
            TYPE_BYE | TYPE_SDES => 4 * count,
            TYPE_RTPFB | TYPE_PSFB => 8,
            TYPE_XR | TYPE_APP => 4,
            _ => 0,
        };
        if self.body.len() < need { Err(RtcpError::BadCount) } else { Ok(()) }
    }

    /// After `check_count`; what is missing nevertheless reads as zero or empty.
    fn packet(&self) -> Packet<'a> {
        let body = self.body;
        let ssrc = Ssrc(be32(body));
        let blocks = |at: usize| {
            let end = at + usize::from(self.count) * BLOCK_BYTES;
            Blocks { bytes: body.get(at..end).unwrap_or_default() }
        };
        match self.packet_type {
            TYPE_SR => {
                let word = |at: usize| be32(body.get(4 * at..).unwrap_or_default());
                let info = SenderInfo {
                    ntp: (u64::from(word(1)) << 32) | u64::from(word(2)),
                    timestamp: word(3),
                    packets: word(4),
                    octets: word(5),
                };
                Packet::SenderReport { ssrc, info, blocks: blocks(4 + SENDER_INFO_BYTES) }
            }
            TYPE_RR => Packet::ReceiverReport { ssrc, blocks: blocks(4) },
            TYPE_SDES => Packet::Sdes(body),
            TYPE_BYE => {
                let (sources, tail) =
                    body.split_at_checked(4 * usize::from(self.count)).unwrap_or((body, &[]));
                let reason = match tail.split_first() {
                    Some((&length, text)) => text.get(..usize::from(length)).unwrap_or_default(),
                    None => &[],
                };
                Packet::Bye { sources, reason }
            }
            TYPE_XR => Packet::Extended { ssrc, blocks: body.get(4..).unwrap_or_default() },
            TYPE_RTPFB | TYPE_PSFB => {
                let payload_specific = self.packet_type == TYPE_PSFB;
                Packet::Feedback { payload_specific, format: self.count, body }
            }
            packet_type => Packet::Other { packet_type, body },
        }
    }
}

/// The CNAME of `ssrc` in the chunks of an SDES packet (RFC 3550 section 6.5).
#[must_use]
pub fn cname(chunks: &[u8], ssrc: Ssrc) -> Option<&[u8]> {
    const ITEM_END: u8 = 0;
    const ITEM_CNAME: u8 = 1;
    let mut at = 0;
    loop {
        let source = be32(chunks.get(at..at + 4)?);
        at += 4;
        loop {
            let item = *chunks.get(at)?;
            if item == ITEM_END {
                // The list ends with one null or more, up to the next word.
                at = (at + 4) & !3;
                break;
            }
            let length = usize::from(*chunks.get(at + 1)?);
            let text = chunks.get(at + 2..at + 2 + length)?;
            if item == ITEM_CNAME && source == ssrc.0 {
                return Some(text);
            }
            at += 2 + length;
        }
    }
}

/// What we report about ourselves and what we hear.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our own source.
    pub ssrc: Ssrc,
    /// Present when we have sent since the last but one report: makes it an SR (RFC 3550 section
    /// 6.4).
    pub sender: Option<SenderInfo>,
    /// At most [`BLOCKS_MAX`].
    pub blocks: &'a [ReportBlock],
    /// At most [`CNAME_BYTES_MAX`] bytes; stable for the life of the source (RFC 7022).
    pub cname: &'a [u8],
}

/// Writes SR or RR and SDES with CNAME. Returns the bytes written, None if they do not fit or a
/// limit is exceeded.
#[must_use]
pub fn write_report(report: &Report<'_>, out: &mut [u8]) -> Option<usize> {
    let mut out = Out { buffer: out, length: 0, full: false };
    report_and_cname(report, &mut out)?;
    out.finish()
}

/// Writes SR or RR, SDES with CNAME, and BYE (RFC 3550 section 6.6). As [`write_report`].
#[must_use]
pub fn write_bye(report: &Report<'_>, out: &mut [u8]) -> Option<usize> {
    let mut out = Out { buffer: out, length: 0, full: false };
    report_and_cname(report, &mut out)?;
    out.start(1, TYPE_BYE, 4);
    out.word(report.ssrc.0);
    out.finish()
}

fn report_and_cname(report: &Report<'_>, out: &mut Out<'_>) -> Option<()> {
    if report.blocks.len() > BLOCKS_MAX {
        return None;
    }
    let count = u8::try_from(report.blocks.len()).ok()?;
    let name_length = u8::try_from(report.cname.len()).ok()?;
    let blocks_bytes = report.blocks.len() * BLOCK_BYTES;
    if let Some(info) = &report.sender {
        out.start(count, TYPE_SR, 4 + SENDER_INFO_BYTES + blocks_bytes);
        out.word(report.ssrc.0);
        out.word(low_word(info.ntp >> 32));
        out.word(low_word(info.ntp));
        out.word(info.timestamp);
        out.word(info.packets);
        out.word(info.octets);
    } else {
        out.start(count, TYPE_RR, 4 + blocks_bytes);
        out.word(report.ssrc.0);
    }
    for block in report.blocks {
        block.write(out);
    }
    // SSRC, item type, item length, text, and one to four nulls.
    let chunk = (4 + 2 + report.cname.len() + 4) & !3;
    out.start(1, TYPE_SDES, chunk);
    out.word(report.ssrc.0);
    out.bytes(&[1, name_length]);
    out.bytes(report.cname);
    out.bytes(&[0; 4][..chunk - 6 - report.cname.len()]);
    Some(())
}

struct Out<'o> {
    buffer: &'o mut [u8],
    length: usize,
    full: bool,
}

impl Out<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.buffer.get_mut(self.length..end) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.full = true,
        }
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    /// A packet header; `body` is a multiple of 4 below 2^18.
    fn start(&mut self, count: u8, packet_type: u8, body: usize) {
        let words = u16::try_from(body / 4).unwrap_or(u16::MAX);
        self.bytes(&[0x80 | count, packet_type]);
        self.bytes(&words.to_be_bytes());
    }

    fn finish(self) -> Option<usize> {
        (!self.full).then_some(self.length)
    }
}

/// What is known of the other end through its reports: for our LSR and DLSR, and the round trip.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    last_sr_at: Mono,
    last_sr: u32,
    round_trip_micros: u32,
    /// What the peer last reported about our stream.
    pub about_us: ReportBlock,
    has_sr: bool,
    has_report: bool,
}

impl Peer {
    /// Takes a compound into account. `us` is the SSRC of our outgoing stream. Returns whether the
    /// peer said BYE for `them`.
    pub fn handle(
        &mut self,
        packets: Compound<'_>,
        us: Ssrc,
        them: Option<Ssrc>,
        (arrival, wall): (Mono, Wall),
    ) -> bool {
        let mut ended = false;
        for packet in packets {
            let blocks = match packet {
                Packet::SenderReport { info, blocks, .. } => {
                    self.last_sr = ntp_middle(info.ntp);
                    self.last_sr_at = arrival;
                    self.has_sr = true;
                    blocks
                }
                Packet::ReceiverReport { blocks, .. } => blocks,
                other => {
                    ended |= them.is_some_and(|them| other.ends(them));
                    continue;
                }
            };
            if let Some(block) = blocks.about(us) {
                self.about_us = block;
                self.has_report = true;
                if let Some(trip) = block.round_trip(wall) {
                    let micros = u32::try_from(trip.as_micros()).unwrap_or(u32::MAX);
                    self.round_trip_micros = micros.max(1);
                }
            }
        }
        ended
    }

    /// LSR and DLSR for our next report block.
    #[must_use]
    pub fn last_sr(&self, now: Mono) -> (u32, u32) {
        if !self.has_sr {
            return (0, 0);
        }
        let nanos = u128::from(now.0.saturating_sub(self.last_sr_at.0));
        let delay = (nanos << 16) / 1_000_000_000;
        (self.last_sr, u32::try_from(delay).unwrap_or(u32::MAX))
    }

    /// The newest round trip, None before the first.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let micros = u64::from(self.round_trip_micros);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// What the peer last reported about our stream.
    #[must_use]
    pub fn report(&self) -> Option<&ReportBlock> {
        self.has_report.then_some(&self.about_us)
    }
}

/// Until the next report: 5 s, spread over 2.5 s..7.5 s by `random` so that legs do not report in
/// step (RFC 3550 section 6.2, the minimum interval and its randomisation; two participants never
/// exceed the bandwidth share, so nothing else of that section applies).
#[must_use]
pub fn interval(random: u64) -> Duration {
    const MIN_NANOS: u64 = 2_500_000_000;
    const SPREAD_NANOS: u128 = 5_000_000_000;
    let spread = u64::try_from((u128::from(random) * SPREAD_NANOS) >> 64).unwrap_or(0);
    Duration::from_nanos(MIN_NANOS + spread)
}

/// NTP time, 32.32 fixed point seconds since 1900 (RFC 3550 section 4); the seconds wrap in 2036.
#[must_use]
pub fn ntp(wall: Wall) -> u64 {
    const FROM_1900_TO_1970: u64 = 2_208_988_800;
    let seconds = (wall.0 / 1_000_000 + FROM_1900_TO_1970) & 0xffff_ffff;
    let fraction = ((wall.0 % 1_000_000) << 32) / 1_000_000;
    (seconds << 32) | fraction
}

/// The middle 32 bits, as LSR has them.
#[must_use]
pub fn ntp_middle(ntp: u64) -> u32 {
    low_word(ntp >> 16)
}

/// The first four bytes as a number; 0 if there are fewer.
fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
}
