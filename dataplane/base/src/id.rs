//! Ids. A call has one 128-bit id made by the side that creates it, printed `CA` + 32 hex digits
//! and the same in the wire, the logs, the CDR and captures. A [`LegId`] names a slot of a shard
//! for as long as one leg lives in it and never leaves the box.

use core::fmt;
use core::str::FromStr;

use crate::Wall;

/// A call (one leg of it, as the API counts calls: a dialled leg is a call of its own with a
/// parent).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct CallId(pub u128);

/// A leg's slot: shard (8 bits), generation (24 bits), index (32 bits).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct LegId(pub u64);

/// A shard's number; shards are numbered from 0 and fixed for the life of a dataplane process.
pub type ShardId = u8;

impl CallId {
    /// The id no call has.
    pub const NONE: Self = Self(0);

    /// A call that begins at this moment: milliseconds (48 bits), then 80 of `random`, which nobody
    /// guesses. What calls leave behind lies in the order of their time wherever it is sorted.
    #[must_use]
    pub fn begun(at: Wall, random: u128) -> Self {
        let millis = u128::from(at.0 / 1_000) & 0xffff_ffff_ffff;
        Self(millis << 80 | random & (u128::MAX >> 48))
    }
}

impl LegId {
    /// The id no leg has (generation 0 is never used).
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn new(shard: ShardId, generation: u32, index: u32) -> Self {
        let generation = u64::from(generation & 0x00ff_ffff);
        Self(u64::from(shard) << 56 | generation << 32 | u64::from(index))
    }

    #[must_use]
    pub fn shard(self) -> ShardId {
        self.0.to_be_bytes()[0]
    }

    /// 24 bits; a slot's next leg has another one.
    #[must_use]
    pub fn generation(self) -> u32 {
        let bytes = self.0.to_be_bytes();
        u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]])
    }

    #[must_use]
    pub fn index(self) -> u32 {
        let bytes = self.0.to_be_bytes();
        u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

/// A sid as it is printed everywhere: two letters and 32 lower-case hex digits. A call's records
/// have dozens of them, and the formatter's own way with numbers costs ten times as much.
///
/// # Errors
/// The formatter's.
pub fn write_sid(f: &mut fmt::Formatter<'_>, kind: &str, number: u128) -> fmt::Result {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.write_str(kind)?;
    f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_sid(f, "CA", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg {}/{}#{}", self.shard(), self.index(), self.generation())
    }
}

/// The text is not `CA` followed by 32 lower- or upper-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCallId;

impl FromStr for CallId {
    type Err = BadCallId;

    fn from_str(text: &str) -> Result<Self, BadCallId> {
        let digits = text.strip_prefix("CA").ok_or(BadCallId)?;
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadCallId);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| BadCallId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn leg_id_keeps_its_parts() {
        let leg = LegId::new(7, 0x00ab_cdef, 0x0123_4567);
        assert_eq!((leg.shard(), leg.generation(), leg.index()), (7, 0x00ab_cdef, 0x0123_4567));
    }

    #[test]
    fn call_id_prints_and_parses() {
        let id = CallId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string(), "CA0123456789abcdef0011223344556677");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("CA12".parse::<CallId>(), Err(BadCallId));
        assert_eq!("XX0123456789abcdef0011223344556677".parse::<CallId>(), Err(BadCallId));
    }
}
