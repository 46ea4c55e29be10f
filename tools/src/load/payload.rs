//! What a test packet says. The 160 bytes of a 20 ms PCMU packet carry, instead of sound, who sent
//! it, when, and the whole of it under a checksum:
//!
//! ```text
//!  0     4     8       12      16      20          28                     156   160
//!  | magic | run | stream | echo | sequence | sent (ns) | filler by sequence | CRC |
//! ```
//!
//! `stream` names the sending leg, `echo` the stream that the sender hears (0 before it hears any).
//! So the receiver knows end to end, whatever stands between: is this my peer's voice and nobody
//! else's, whole, in order, once, and how old. Bytes pass a relay unchanged; behind a transcoder
//! every packet counts as corrupt.

/// Bytes of a 20 ms packet of G.711.
pub(crate) const PAYLOAD_BYTES: usize = 160;
const MAGIC: u32 = 0x7a6d_5201;
const CRC_AT: usize = PAYLOAD_BYTES - 4;
const FILLER_AT: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Chosen at random per run, so that two load tools on one box do not take each other's
    /// packets.
    pub(crate) run: u32,
    pub(crate) stream: u32,
    pub(crate) echo: u32,
    pub(crate) sequence: u32,
    /// Real-time clock when it was handed to the kernel, nanoseconds.
    pub(crate) sent_ns: u64,
}

impl Payload {
    pub(crate) fn write(&self, out: &mut [u8; PAYLOAD_BYTES]) {
        let words = [MAGIC, self.run, self.stream, self.echo, self.sequence];
        for (slot, word) in out.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        out[20..28].copy_from_slice(&self.sent_ns.to_be_bytes());
        let filler = filler(self.stream, self.sequence);
        for chunk in out[FILLER_AT..CRC_AT].chunks_mut(8) {
            chunk.copy_from_slice(&filler[..chunk.len()]);
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    }

    /// None if this is not, or no longer, a packet of ours.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PAYLOAD_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if word(0) != MAGIC || word(CRC_AT) != crc32fast::hash(&bytes[..CRC_AT]) {
            return None;
        }
        let sent_ns = (u64::from(word(20)) << 32) | u64::from(word(24));
        Some(Self { run: word(4), stream: word(8), echo: word(12), sequence: word(16), sent_ns })
    }
}

/// Bytes that differ from packet to packet, so that a stale buffer shows.
fn filler(stream: u32, sequence: u32) -> [u8; 8] {
    let seed = (u64::from(stream) << 32) | u64::from(sequence);
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_whole_or_not_at_all() {
        let said = Payload { run: 7, stream: 3, echo: 9, sequence: 42, sent_ns: 1 << 60 };
        let mut bytes = [0; PAYLOAD_BYTES];
        said.write(&mut bytes);
        assert_eq!(Payload::read(&bytes), Some(said));
        for at in 0..PAYLOAD_BYTES {
            let mut broken = bytes;
            broken[at] ^= 1;
            assert_eq!(Payload::read(&broken), None, "byte {at}");
        }
        assert_eq!(Payload::read(&bytes[..159]), None);
    }
}
