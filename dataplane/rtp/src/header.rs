//! The RTP header: checked view, in-place rewriting, fresh headers (RFC 3550 section 5.1).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!   |                           timestamp                           |
//!   |                             SSRC                              |
//!   |            CSRC (CC times)   |  extension, if X: id, length   |
//! ```
//!
//! A received frame is rewritten where it lies and sent from there (DESIGN.md section 2), so the
//! view holds numbers, not references: parse first, then change the bytes.

use core::fmt;
use core::ops::Range;

/// Bytes of a header without CSRC list and extension.
pub const FIXED_HEADER_BYTES: usize = 12;

/// A synchronisation source. A type of its own because a timestamp has the same width.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ssrc(pub u32);

impl fmt::Debug for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtpError {
    /// shorter than its header
    Short,
    /// version is not 2
    BadVersion,
    /// CSRC list or extension reaches past the end
    BadExtension,
    /// padding count is zero or exceeds the payload
    BadPadding,
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "RTP packet shorter than its header",
            Self::BadVersion => "RTP version is not 2",
            Self::BadExtension => "CSRC list or extension reaches past the end",
            Self::BadPadding => "bad RTP padding",
        })
    }
}

impl core::error::Error for RtpError {}

/// A checked header; all positions lie inside the packet it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    /// Payload type, 0..=127.
    pub pt: u8,
    pub seq: u16,
    /// In units of the payload type's clock.
    pub timestamp: u32,
    pub ssrc: Ssrc,
    pub csrc_count: u8,
    pub has_extension: bool,
    payload_start: u16,
    payload_end: u16,
}

impl Header {
    /// Reads and checks the header of a datagram of at most 65,535 bytes.
    ///
    /// # Errors
    /// See [`RtpError`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let Some((fixed, _)) = packet.split_first_chunk::<FIXED_HEADER_BYTES>() else {
            return Err(RtpError::Short);
        };
        let [b0, b1, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(RtpError::BadVersion);
        }
        let csrc_count = b0 & 0x0f;
        let has_extension = b0 & 0x10 != 0;
        let mut start = FIXED_HEADER_BYTES + 4 * usize::from(csrc_count);
        if has_extension {
            let length = packet.get(start + 2..start + 4).ok_or(RtpError::BadExtension)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([length[0], length[1]]));
        }
        if start > packet.len() {
            return Err(RtpError::BadExtension);
        }
        let mut end = packet.len();
        if b0 & 0x20 != 0 {
            let padding = usize::from(packet[end - 1]);
            if padding == 0 || padding > end - start {
                return Err(RtpError::BadPadding);
            }
            end -= padding;
        }
        Ok(Self {
            marker: b1 & 0x80 != 0,
            pt: b1 & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([r0, r1, r2, r3])),
            csrc_count,
            has_extension,
            payload_start: u16::try_from(start).map_err(|_| RtpError::BadExtension)?,
            payload_end: u16::try_from(end).map_err(|_| RtpError::BadExtension)?,
        })
    }

    /// Where the payload lies in the packet, padding excluded.
    #[must_use]
    pub fn payload_range(&self) -> Range<usize> {
        usize::from(self.payload_start)..usize::from(self.payload_end)
    }

    /// Payload bytes, which is what an SR counts as octets (RFC 3550 section 6.4.1).
    #[must_use]
    pub fn payload_bytes(&self) -> u16 {
        self.payload_end - self.payload_start
    }

    /// The payload of the packet this header was read from; empty for a shorter one.
    #[must_use]
    pub fn payload<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(self.payload_range()).unwrap_or_default()
    }
}

/// A header without padding, extension and CSRC list, as nearly all are: what a relay needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainHeader {
    /// Marker (the highest bit) and payload type.
    pub marker_pt: u8,
    pub seq: u16,
    /// In units of the payload type's clock.
    pub timestamp: u32,
    pub ssrc: Ssrc,
}

impl PlainHeader {
    /// Reads the header; None for one that [`Header::parse`] must judge.
    #[inline]
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<FIXED_HEADER_BYTES>()?;
        let [0x80, marker_pt, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed else { return None };
        Some(Self {
            marker_pt,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([r0, r1, r2, r3])),
        })
    }

    /// Payload type, 0..=127.
    #[inline]
    #[must_use]
    pub const fn pt(&self) -> u8 {
        self.marker_pt & 0x7f
    }

    #[inline]
    #[must_use]
    pub const fn marker(&self) -> bool {
        self.marker_pt & 0x80 != 0
    }
}

/// What a relay changes in a packet; everything else stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub marker: bool,
    /// 0..=127
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: Ssrc,
}

/// Rewrites marker, payload type, sequence number, timestamp and SSRC in one go. Does nothing to a
/// slice shorter than a header, which [`Header::parse`] has excluded.
#[inline]
pub fn rewrite(packet: &mut [u8], new: &Rewrite) {
    let Some(fixed) = packet.first_chunk_mut::<FIXED_HEADER_BYTES>() else { return };
    fixed[1] = (u8::from(new.marker) << 7) | (new.pt & 0x7f);
    fixed[2..4].copy_from_slice(&new.seq.to_be_bytes());
    fixed[4..8].copy_from_slice(&new.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&new.ssrc.0.to_be_bytes());
}

/// Writes the payload type, keeping the marker.
pub fn set_payload_type(packet: &mut [u8], pt: u8) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = (*byte & 0x80) | (pt & 0x7f);
    }
}

/// Writes the marker bit, keeping the payload type.
pub fn set_marker(packet: &mut [u8], marker: bool) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = (*byte & 0x7f) | (u8::from(marker) << 7);
    }
}

/// Writes the sequence number.
pub fn set_sequence(packet: &mut [u8], seq: u16) {
    set(packet, 2, &seq.to_be_bytes());
}

/// Writes the timestamp.
pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    set(packet, 4, &timestamp.to_be_bytes());
}

/// Writes the SSRC.
pub fn set_ssrc(packet: &mut [u8], ssrc: Ssrc) {
    set(packet, 8, &ssrc.0.to_be_bytes());
}

fn set(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = packet.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// The fields of a packet that we make ourselves: the same as those that a relay rewrites.
pub type HeaderFields = Rewrite;

/// Writes a header without padding, extension and CSRC list. Returns its length (12), or None if
/// `out` is shorter.
pub fn write_header(out: &mut [u8], fields: &HeaderFields) -> Option<usize> {
    let fixed = out.get_mut(..FIXED_HEADER_BYTES)?;
    fixed[0] = 0x80;
    rewrite(fixed, fields);
    Some(FIXED_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const FIELDS: HeaderFields = Rewrite {
        marker: true,
        pt: 8,
        seq: 0xfffe,
        timestamp: 0xdead_beef,
        ssrc: Ssrc(0x0102_0304),
    };

    fn packet(flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = std::vec![0; 12];
        write_header(&mut packet, &FIELDS).unwrap();
        packet[0] = 0x80 | flags;
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn a_written_header_reads_back() {
        let packet = packet(0, &[1, 2, 3]);
        let header = Header::parse(&packet).unwrap();
        assert!(header.marker);
        assert_eq!((header.pt, header.seq, header.timestamp), (8, 0xfffe, 0xdead_beef));
        assert_eq!(header.ssrc, Ssrc(0x0102_0304));
        assert_eq!(header.payload(&packet), [1, 2, 3]);
        assert_eq!(header.payload_bytes(), 3);
        assert_eq!(write_header(&mut [0; 11], &FIELDS), None);
    }

    #[test]
    fn csrc_extension_and_padding_bound_the_payload() {
        let csrc_and_payload = [0, 0, 0, 9, 7];
        let header = Header::parse(&packet(1, &csrc_and_payload)).unwrap();
        assert_eq!((header.csrc_count, header.payload_range()), (1, 16..17));
        let one_word = [0xbe, 0xde, 0, 1, 1, 1, 1, 1, 7, 7];
        let header = Header::parse(&packet(0x10, &one_word)).unwrap();
        assert!(header.has_extension);
        assert_eq!(header.payload_range(), 20..22);
        let padded = [7, 7, 0, 2];
        assert_eq!(Header::parse(&packet(0x20, &padded)).unwrap().payload_range(), 12..14);
        let only_padding = [0, 2];
        assert_eq!(Header::parse(&packet(0x20, &only_padding)).unwrap().payload_bytes(), 0);
    }

    #[test]
    fn broken_headers_are_refused_with_their_reason() {
        let table: [(Vec<u8>, RtpError); 8] = [
            (std::vec![0x80; 11], RtpError::Short),
            (Vec::new(), RtpError::Short),
            ([&[0x40][..], &[0; 11]].concat(), RtpError::BadVersion),
            (packet(2, &[0; 7]), RtpError::BadExtension),
            (packet(0x10, &[0xbe, 0xde, 0]), RtpError::BadExtension),
            (packet(0x10, &[0xbe, 0xde, 0xff, 0xff, 0]), RtpError::BadExtension),
            (packet(0x20, &[1, 0]), RtpError::BadPadding),
            (packet(0x20, &[1, 3]), RtpError::BadPadding),
        ];
        for (bytes, error) in table {
            assert_eq!(Header::parse(&bytes), Err(error), "{bytes:?}");
        }
        let no_payload_but_padding = packet(0x20, &[]);
        assert_eq!(Header::parse(&no_payload_but_padding), Err(RtpError::BadPadding));
    }

    #[test]
    fn rewriting_touches_its_field_only() {
        let before = packet(0, &[1, 2, 3]);
        let mut after = before.clone();
        set_payload_type(&mut after, 101);
        set_marker(&mut after, false);
        set_sequence(&mut after, 1);
        set_timestamp(&mut after, 2);
        set_ssrc(&mut after, Ssrc(3));
        let new = Rewrite { marker: false, pt: 101, seq: 1, timestamp: 2, ssrc: Ssrc(3) };
        let mut at_once = before.clone();
        rewrite(&mut at_once, &new);
        assert_eq!(after, at_once);
        assert_eq!((after[0], &after[12..]), (before[0], &before[12..]));
        rewrite(&mut [0; 3], &new);
        set_ssrc(&mut [0; 3], Ssrc(1));
    }
}
