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
//! It holds what is needed to write the leg's CDR after its shard died, and to say its last words
//! to its far end, who would wait in silence otherwise.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use base::{CallId, Door, LegId, Wall};

use crate::WireError;
use crate::event::{Cause, Direction, Party};

/// Words of a record slot (960 bytes).
pub const RECORD_WORDS: usize = 120;
/// Bytes the fields may take.
pub const FIELD_BYTES_MAX: usize = (RECORD_WORDS - HEAD_WORDS) * 8;
/// The version this binary writes.
pub const RECORD_VERSION: u32 = 3;

const HEAD_WORDS: usize = 4;

/// The fields. Version 2 ended before `tls_name`.
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
    pub words: LastWords<'a>,
    /// What the certificate of its far end must name, where a connection may have to be made to say
    /// it; empty for nothing.
    pub tls_name: &'a str,
}

/// What is to be said to the far end of a leg whose shard died; the address is the record's
/// `remote`. The bytes are SIP's and mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LastWords<'a> {
    /// Nothing is owed, or it was said.
    None,
    /// The leg was answered: BYE. The dialog's numbers and its text; `numbers` has a CSeq number
    /// above every one that was used.
    Bye { door: Door, numbers: &'a [u8], text: &'a [u8] },
    /// Its INVITE is out: CANCEL. `invite` is that INVITE without its body.
    Cancel { door: Door, invite: &'a [u8] },
    /// Its INVITE came and waits for an answer, which is this.
    Refuse { door: Door, response: &'a [u8] },
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
    // What is behind the fields is zero: whole words are written.
    let (words, _) = bytes.as_chunks::<8>();
    for (word, bytes) in slot[HEAD_WORDS..].iter().zip(words).take(len.div_ceil(8)) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
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
    let version = u32::try_from(shape & 0xffff_ffff).unwrap_or(0);
    let known = version == RECORD_VERSION || version == RECORD_VERSION - 1;
    if before & 1 == 1 || len > FIELD_BYTES_MAX || !known {
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
    let len = completed(bytes, len, version).ok_or(WireError::Malformed)?;
    Ok((epoch, crate::decode(&bytes[..len])?))
}

/// Gives fields of the version before those that it did not have; their length then.
fn completed(bytes: &mut [u8; FIELD_BYTES_MAX], len: usize, version: u32) -> Option<usize> {
    if version == RECORD_VERSION {
        return Some(len);
    }
    // No name: its length.
    *bytes.get_mut(len)? = 0;
    Some(len + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> LegRecord<'static> {
        LegRecord {
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
            words: LastWords::Bye {
                door: Door::Datagram(1),
                numbers: &[1, 2],
                text: b"a84b4c76e66710",
            },
            tls_name: "",
        }
    }

    #[test]
    fn a_record_comes_back_and_damage_is_noticed() {
        let slot: Vec<AtomicU64> = (0..RECORD_WORDS).map(|_| AtomicU64::new(0)).collect();
        let fields = fields();
        let mut bytes = [0; FIELD_BYTES_MAX];
        assert_eq!(read(&slot, &mut bytes), Err(WireError::Malformed));
        write(&slot, 9, &fields).unwrap();
        assert_eq!(read(&slot, &mut bytes), Ok((9, fields.clone())));
        slot[HEAD_WORDS + 2].fetch_xor(1, Ordering::Relaxed);
        assert_eq!(read(&slot, &mut bytes), Err(WireError::Malformed));
        let long = LastWords::Refuse { door: Door::Datagram(0), response: &[b'x'; 990] };
        let long = LegRecord { words: long, ..fields };
        assert_eq!(write(&slot, 9, &long), Err(WireError::TooLong));
    }

    #[test]
    fn the_version_before_is_read_without_a_name() {
        let slot: Vec<AtomicU64> = (0..RECORD_WORDS).map(|_| AtomicU64::new(0)).collect();
        let fields = fields();
        write(&slot, 9, &fields).unwrap();
        // As version 2 wrote it: the same bytes but the last.
        let mut bytes = [0; FIELD_BYTES_MAX];
        let len = crate::encode(&fields, &mut bytes).unwrap() - 1;
        slot[1].store((len as u64) << 32 | 2, Ordering::Relaxed);
        slot[3].store(u64::from(crc32fast::hash(&bytes[..len])), Ordering::Relaxed);
        assert_eq!(read(&slot, &mut bytes), Ok((9, fields)));
    }
}
