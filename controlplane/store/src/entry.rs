//! Store writes as journal records. What configures tenants carries secrets and is sealed; the rest
//! is plain.
//!
//! ```text
//!   record: | 0 | postcard |   or   | 1 | sealed postcard |   or   | 2 | length, u32 | packed postcard |
//! ```
//!
//! Packed is what becomes shorter by it ([`model::pack`]).

use model::pack;
use model::port::{Record, StoreWrite};

use crate::journal::RECORD_BYTES_MAX;
use crate::vault::Vault;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const PACKED: u8 = 2;
const OWNER: &str = "journal";

/// A record of the journal that is none of this binary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a journal record cannot be read: another version wrote it, or another key sealed it")]
pub struct BadEntry;

/// Bytes for the journal.
///
/// # Errors
/// [`BadEntry`] if the write cannot be encoded or sealed.
pub fn encode(write: &StoreWrite, vault: &Vault) -> Result<Vec<u8>, BadEntry> {
    if write.records.iter().any(|record| matches!(record, Record::Put(_))) {
        let plain = postcard::to_allocvec(write).map_err(|_| BadEntry)?;
        let mut bytes = vec![SEALED];
        bytes.append(&mut vault.seal(OWNER, &plain).map_err(|_| BadEntry)?);
        return Ok(bytes);
    }
    let plain = postcard::to_extend(write, vec![PLAIN]).map_err(|_| BadEntry)?;
    Ok(packed(write, &plain[1..]).unwrap_or(plain))
}

/// None where nothing is gained: changes of scripts are packed already.
fn packed(write: &StoreWrite, plain: &[u8]) -> Option<Vec<u8>> {
    let is_packed = |record: &Record| matches!(record, Record::ScriptChange(_) | Record::Script(_));
    if write.records.iter().all(is_packed) || plain.len() > RECORD_BYTES_MAX {
        return None;
    }
    let len = u32::try_from(plain.len()).ok()?.to_le_bytes();
    let packed = pack::pack(plain, &[])?;
    let bytes = [&[PACKED], len.as_slice(), &packed].concat();
    (bytes.len() <= plain.len()).then_some(bytes)
}

/// The write back from the journal.
///
/// # Errors
/// [`BadEntry`].
pub fn decode(bytes: &[u8], vault: &Vault) -> Result<StoreWrite, BadEntry> {
    match bytes.split_first() {
        Some((&PLAIN, rest)) => whole(rest),
        Some((&PACKED, rest)) => {
            let (len, packed) = rest.split_first_chunk().ok_or(BadEntry)?;
            let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| BadEntry)?;
            let plain = (len <= RECORD_BYTES_MAX).then(|| pack::unpack(packed, len, &[]));
            whole(&plain.flatten().ok_or(BadEntry)?)
        }
        Some((&SEALED, rest)) => whole(&vault.open_sealed(OWNER, rest).map_err(|_| BadEntry)?),
        _ => Err(BadEntry),
    }
}

fn whole(bytes: &[u8]) -> Result<StoreWrite, BadEntry> {
    match postcard::take_from_bytes(bytes) {
        Ok((write, [])) => Ok(write),
        _ => Err(BadEntry),
    }
}
