//! Conversions between nanoseconds and RTP timestamp units.

use core::time::Duration;

/// Timestamp units that pass in `time` at `clock_hz`, modulo 2^32 as timestamps are.
#[must_use]
#[inline]
pub fn ticks(time: Duration, clock_hz: u32) -> u32 {
    let whole = time.as_secs().wrapping_mul(u64::from(clock_hz));
    let part = u64::from(time.subsec_nanos()) * u64::from(clock_hz) / 1_000_000_000;
    low_word(whole.wrapping_add(part))
}

/// Microseconds that `ticks` last at `clock_hz`; 0 for a clock of 0.
#[must_use]
pub fn ticks_to_micros(ticks: u32, clock_hz: u32) -> u64 {
    (u64::from(ticks) * 1_000_000).checked_div(u64::from(clock_hz)).unwrap_or(0)
}

/// The low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the low word is what is asked for")]
pub(crate) const fn low_word(value: u64) -> u32 {
    value as u32
}

/// The low 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(crate) const fn low_half(value: u32) -> u16 {
    value as u16
}

/// How far `to` is ahead of `from` on the circle of 2^32; negative when behind.
pub(crate) const fn ahead_u32(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

/// How far `to` is ahead of `from` on the circle of 2^16; negative when behind.
pub(crate) const fn ahead_u16(to: u16, from: u16) -> i16 {
    to.wrapping_sub(from).cast_signed()
}
