//! The contract between the two processes; the only language both speak, compiled by both.
//!
//! ```text
//!   region of shard n, written by the dataplane        region of shard n, written by the controlplane
//!   +------------------------------------------+       +------------------------------------------+
//!   | header: magic, layout, epoch             |       | header: magic, layout, epoch             |
//!   | pulse and counters                       |       | cursors of the events ring (read,        |
//!   | cursors of the commands ring             |       |   released, sleeping)                    |
//!   | events ring: head, slots             ----+-->    | commands ring: head, slots               |
//!   | usage cells, one per leg slot            |   <---+--                                        |
//!   | leg records, one per leg slot            |       | published table (static routes)          |
//!   +------------------------------------------+       +------------------------------------------+
//! ```
//!
//! Every shared page has exactly one writing process; the other maps it read-only. Everything in
//! a region is a 64-bit atomic word, copied out and then checked: no reference into memory that
//! another process may change ever exists, so this crate needs `unsafe` for mapping memory only.
#![deny(unsafe_code)]

pub mod cell;
pub mod command;
pub mod counter;
pub mod event;
pub mod link;
pub mod mapping;
pub mod material;
pub mod policy;
pub mod record;
pub mod region;
pub mod ring;
#[cfg(test)]
mod ring_tests;
pub mod status;
mod sync;
pub mod table;

pub use cell::{Cell, CellState, Service, Usage, UsageKey};
pub use command::{Command, Originate};
pub use event::{Event, Incoming, Party, SipMessage, Summary};

/// Why bytes from the other side were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes are no message of this version, or one with trailing bytes.
    Malformed,
    /// The message does not fit the buffer it is written to.
    TooLong,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "bytes are no message of this wire version",
            Self::TooLong => "message longer than its buffer",
        })
    }
}

impl core::error::Error for WireError {}

/// The longest encoded event or command: a large SIP datagram's headers and change.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Writes a message, returns its length.
///
/// # Errors
/// [`WireError::TooLong`] if `out` is too small.
pub fn encode<T: serde::Serialize>(message: &T, out: &mut [u8]) -> Result<usize, WireError> {
    postcard::to_slice(message, out).map(|used| used.len()).map_err(|_| WireError::TooLong)
}

/// Reads a message that fills `bytes` exactly. Borrows text from `bytes`, allocates nothing.
///
/// # Errors
/// [`WireError::Malformed`] for anything else.
pub fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Malformed),
    }
}
