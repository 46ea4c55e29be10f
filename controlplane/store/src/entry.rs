//! Store writes as journal records. What configures tenants carries secrets and is sealed; the rest
//! is plain.
//!
//! ```text
//!   record: | 0 | postcard |        or        | 1 | sealed postcard |
//! ```

use model::port::{Record, StoreWrite};

use crate::vault::Vault;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
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
    postcard::to_extend(write, vec![PLAIN]).map_err(|_| BadEntry)
}

/// The write back from the journal.
///
/// # Errors
/// [`BadEntry`].
pub fn decode(bytes: &[u8], vault: &Vault) -> Result<StoreWrite, BadEntry> {
    match bytes.split_first() {
        Some((&PLAIN, rest)) => whole(rest),
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
