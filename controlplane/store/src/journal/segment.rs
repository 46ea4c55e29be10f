//! Bytes of a segment.
//!
//! ```text
//!   segment: | magic 8 | first position 8 | durable position 8 | CRC-32 of these 4 | frame | ...
//!   frame:   | length 4 (never 0) | CRC-32 of position and payload 4 | payload |
//! ```
//!
//! Numbers are little-endian. A record's position is its number in the journal; it is part of the
//! check, so that bytes of an older file that the disk shows again are not taken for records.
//! Reading stops at the first frame that is not whole: what follows was never acknowledged, unless
//! the next segment says that it was durable when that segment began.

const MAGIC: &[u8; 8] = b"TandemJ1";

/// Bytes before the first frame.
pub(super) const HEAD_BYTES: usize = 28;
/// The longest payload.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

pub(super) fn head(first: u64, durable: u64) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    bytes[16..24].copy_from_slice(&durable.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Appends one frame. The payload is 1 to [`RECORD_BYTES_MAX`] bytes long.
pub(super) fn frame(position: u64, payload: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(payload.len()).unwrap_or(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&check(position, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// What a segment holds: the whole records, and how many bytes behind them are none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'b> {
    /// Position of its first record.
    pub(super) first: u64,
    /// What was durable when it was begun.
    pub(super) durable: u64,
    pub(super) records: Vec<&'b [u8]>,
    pub(super) torn_bytes: usize,
}

/// None if not even the head is whole: the segment was being made when the power went.
pub(super) fn read(bytes: &[u8]) -> Option<Segment<'_>> {
    let (head_bytes, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let first = u64::from_le_bytes(head_bytes[8..16].try_into().ok()?);
    let durable = u64::from_le_bytes(head_bytes[16..24].try_into().ok()?);
    if head_bytes != head(first, durable) {
        return None;
    }
    let mut records = Vec::new();
    let mut position = first;
    while let Some((payload, after)) = next(position, rest) {
        records.push(payload);
        position += 1;
        rest = after;
    }
    Some(Segment { first, durable, records, torn_bytes: rest.len() })
}

fn next(position: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, bytes) = bytes.split_first_chunk::<4>()?;
    let (crc, bytes) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if len == 0 || len > RECORD_BYTES_MAX {
        return None;
    }
    let (payload, rest) = bytes.split_at_checked(len)?;
    (check(position, payload) == u32::from_le_bytes(*crc)).then_some((payload, rest))
}

fn check(position: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_torn_tail_is_cut() {
        let mut bytes = head(7, 6).to_vec();
        frame(7, b"one", &mut bytes);
        frame(8, b"two", &mut bytes);
        let whole = read(&bytes).unwrap();
        assert_eq!((whole.first, whole.torn_bytes), (7, 0));
        assert_eq!(whole.records, [b"one", b"two"]);
        for cut in HEAD_BYTES..bytes.len() {
            let records = read(&bytes[..cut]).unwrap().records.len();
            assert_eq!(records, usize::from(cut >= HEAD_BYTES + 11), "cut at {cut}");
        }
        assert_eq!(read(&bytes[..HEAD_BYTES - 1]), None);
    }

    #[test]
    fn a_record_of_another_position_is_none() {
        let mut bytes = head(7, 6).to_vec();
        frame(8, b"stale", &mut bytes);
        assert!(read(&bytes).unwrap().records.is_empty());
    }

    #[test]
    fn zeros_behind_the_records_are_their_end() {
        let mut bytes = head(1, 0).to_vec();
        frame(1, b"one", &mut bytes);
        bytes.resize(4096, 0);
        assert_eq!(read(&bytes).unwrap().records, [b"one"]);
    }
}
