//! Every limit of this crate in one place (DESIGN.md section 3, STYLE.md rule 8).

/// Most header fields one message may carry; the index is a fixed array of this size.
pub const HEADERS_MAX: usize = 96;

/// Largest message in bytes, body included (offsets are 16 bits wide).
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Most Via, Route or Record-Route entries that are looked at.
pub const LIST_ENTRIES_MAX: usize = 70;

/// Most parts of a multipart body, nested ones included.
pub const BODY_PARTS_MAX: usize = 16;

/// Longest branch, tag or Call-ID that we accept to store, in bytes.
pub const TOKEN_BYTES_MAX: usize = 255;

// Slot numbers are stored plus one in a byte.
const _: () = assert!(HEADERS_MAX < 255);
// Offsets are u16.
const _: () = assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize);
