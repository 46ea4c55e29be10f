//! The two clocks, as numbers. Durations come from the monotonic one; send stamps inside packets
//! come from the real-time one, because the kernel stamps received packets with it.

use rustix::time::{ClockId, clock_gettime};

/// One millisecond, in nanoseconds.
pub const MS: u64 = 1_000_000;
/// One second, in nanoseconds.
pub const S: u64 = 1_000 * MS;

fn read(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * S + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Monotonic nanoseconds.
#[must_use]
pub fn mono() -> u64 {
    read(ClockId::Monotonic)
}

/// Nanoseconds since 1970.
#[must_use]
pub fn wall() -> u64 {
    read(ClockId::Realtime)
}

/// CPU time of the calling thread, nanoseconds.
#[must_use]
pub fn thread_cpu() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Reads `1.5`, `10s`, `250ms`, `2m`, `1h`; a bare number is seconds. Nanoseconds.
///
/// # Errors
/// What is wrong, for clap.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is no duration: write 10s, 250ms or 2m"))?;
    let factor = match unit {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return Err(format!("unit `{unit}` of `{text}` is none of us, ms, s, m, h")),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating")]
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("1.5"), Ok(1_500 * MS));
        assert_eq!(parse_duration("250ms"), Ok(250 * MS));
        assert_eq!(parse_duration("2m"), Ok(120 * S));
        assert!(parse_duration("2 parsecs").is_err());
        assert!(parse_duration("").is_err());
    }
}
