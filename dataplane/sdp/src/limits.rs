//! Every bound of this crate (THREATS.md, SDP parse). What exceeds one is refused with an error
//! that names it; nothing is truncated silently.

/// Longest message read, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most `m=` lines in a message.
pub const MEDIA_MAX: usize = 16;
/// Most payload types on one `m=` line.
pub const PAYLOAD_TYPES_MAX: usize = 64;
/// Most `a=` lines in one media section, and in the session section.
pub const ATTRIBUTES_MAX: usize = 256;
/// Most `a=candidate` lines in one media section.
pub const CANDIDATES_MAX: usize = 32;
/// Most codecs that a [`crate::Plan`] holds; further ones are left out of it.
pub const PLAN_FORMATS_MAX: usize = 16;
/// Highest clock rate of a payload type, in Hz; one above it makes the payload type unknown.
pub const CLOCK_HZ_MAX: u32 = 1_000_000;
/// The most channels of a codec (RFC 3551 section 4.1 knows up to six); one of more is not
/// understood.
pub const CHANNELS_MAX: u8 = 15;
