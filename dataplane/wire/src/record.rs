//! Leg records: what a successor needs to know of a leg. An envelope (length, version, epoch,
//! sequence, CRC) around fields that are only ever appended: a binary reads its own version and the
//! one before.
//!
//! ```text
//!  word 0: sequence (odd while written)      word 2: epoch
//!  word 1: length << 32 | version            word 3: CRC-32 of the fields
//!  word 4 ..: fields
//! ```
//!
//! This version holds what is needed to end a leg properly and write its CDR after its shard died.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use base::{CallId, LegId, Wall};

use crate::WireError;
use crate::event::{Cause, Direction, Party};

/// Words of a record slot (1 KiB).
pub const RECORD_WORDS: usize = 128;
/// Bytes the fields may take.
pub const FIELD_BYTES_MAX: usize = (RECORD_WORDS - HEAD_WORDS) * 8;
/// The version this binary writes.
pub const RECORD_VERSION: u32 = 1;

const HEAD_WORDS: usize = 4;

/// The fields, version 1.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LegRecord<'a> {
    pub leg: LegId,
    pub call: CallId,
    pub parent: CallId,
    pub account: u64,
    pub direction: Direction,
    pub from: &'a str,
    pub to: &'a str,
    pub remote: SocketAddr,
    pub call_id: &'a str,
    pub created: Wall,
    pub answered: Wall,
    /// Once the leg is over: when, with which final status, why and by whom; 0 while it stands.
    pub ended: Wall,
    pub code: u16,
    pub cause: Cause,
    pub by: Party,
}

/// Writes a record under its sequence word.
///
/// # Errors
/// [`WireError::TooLong`] if the fields do not fit; the record keeps what it had.
pub fn write(slot: &[AtomicU64], epoch: u32, fields: &LegRecord<'_>) -> Result<(), WireError> {
    let mut bytes = [0; FIELD_BYTES_MAX];
    let len = crate::encode(fields, &mut bytes)?;
    let sequence = slot[0].load(Ordering::Relaxed) | 1;
    slot[0].store(sequence, Ordering::Relaxed);
    fence(Ordering::Release);
    slot[1].store((len as u64) << 32 | u64::from(RECORD_VERSION), Ordering::Relaxed);
    slot[2].store(u64::from(epoch), Ordering::Relaxed);
    slot[3].store(u64::from(crc32fast::hash(&bytes[..len])), Ordering::Relaxed);
    for (word, chunk) in slot[HEAD_WORDS..].iter().zip(bytes[..len].chunks(8)) {
        let mut copy = [0; 8];
        copy[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(copy), Ordering::Relaxed);
    }
    slot[0].store(sequence.wrapping_add(1), Ordering::Release);
    Ok(())
}

/// Copies a record out and checks the copy. `bytes` holds the fields' text.
///
/// # Errors
/// [`WireError::Malformed`] for an empty, torn, foreign or damaged record.
pub fn read<'b>(
    slot: &[AtomicU64],
    bytes: &'b mut [u8; FIELD_BYTES_MAX],
) -> Result<(u32, LegRecord<'b>), WireError> {
    let before = slot[0].load(Ordering::Acquire);
    let shape = slot[1].load(Ordering::Relaxed);
    let epoch = slot[2].load(Ordering::Relaxed);
    let crc = slot[3].load(Ordering::Relaxed);
    let len = usize::try_from(shape >> 32).unwrap_or(usize::MAX);
    if before & 1 == 1 || len > FIELD_BYTES_MAX || shape & 0xffff_ffff != u64::from(RECORD_VERSION)
    {
        return Err(WireError::Malformed);
    }
    for (word, chunk) in slot[HEAD_WORDS..].iter().zip(bytes[..len].chunks_mut(8)) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()[..chunk.len()]);
    }
    fence(Ordering::Acquire);
    let whole = slot[0].load(Ordering::Relaxed) == before;
    if !whole || u64::from(crc32fast::hash(&bytes[..len])) != crc {
        return Err(WireError::Malformed);
    }
    let epoch = u32::try_from(epoch).map_err(|_| WireError::Malformed)?;
    Ok((epoch, crate::decode(&bytes[..len])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_damage_is_noticed() {
        let slot: Vec<AtomicU64> = (0..RECORD_WORDS).map(|_| AtomicU64::new(0)).collect();
        let fields = LegRecord {
            leg: LegId::new(1, 2, 3),
            call: CallId(4),
            parent: CallId::NONE,
            account: 5,
            direction: Direction::Inbound,
            from: "sip:alice@example.com",
            to: "sip:bob@example.com",
            remote: "192.0.2.1:5060".parse().unwrap(),
            call_id: "abc",
            created: Wall(6),
            answered: Wall(7),
            ended: Wall(0),
            code: 200,
            cause: Cause::Normal,
            by: Party::Remote,
        };
        let mut bytes = [0; FIELD_BYTES_MAX];
        assert_eq!(read(&slot, &mut bytes), Err(WireError::Malformed));
        write(&slot, 9, &fields).unwrap();
        assert_eq!(read(&slot, &mut bytes), Ok((9, fields)));
        slot[HEAD_WORDS + 2].fetch_xor(1, Ordering::Relaxed);
        assert_eq!(read(&slot, &mut bytes), Err(WireError::Malformed));
    }
}
