//! Days and moments as filters name them (ISO 8601), and the arithmetic of usage periods. UTC only;
//! proleptic Gregorian calendar. How moments are written is `model::stamp`.

use base::Wall;

/// Seconds of a day.
pub const DAY_S: u64 = 86_400;

/// A day of the calendar, from 1970-01-01 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    pub year: u64,
    /// 1-12
    pub month: u64,
    /// 1-31
    pub day: u64,
}

impl Day {
    /// The day that `seconds` since 1970 fall on.
    #[must_use]
    pub fn of(seconds: u64) -> Self {
        // Days since 0000-03-01, in eras of 400 years (Hinnant's civil_from_days).
        let days = seconds / DAY_S + 719_468;
        let (era, in_era) = (days / 146_097, days % 146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * in_year + 2) / 153;
        let day = in_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self { year: era * 400 + year_of_era + u64::from(month <= 2), month, day }
    }

    /// The day's first second since 1970.
    #[must_use]
    pub fn start_s(self) -> u64 {
        let year = self.year - u64::from(self.month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let in_year = (153 * shifted + 2) / 5 + self.day - 1;
        let in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;
        (era * 146_097 + in_era).saturating_sub(719_468) * DAY_S
    }

    /// `YYYY-MM-DD`; `None` for anything else and for days that do not exist or are not in
    /// 1970-9999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let day = Self {
            year: number(&bytes[..4])?,
            month: number(&bytes[5..7])?,
            day: number(&bytes[8..])?,
        };
        let plausible = (1970..=9999).contains(&day.year)
            && (1..=12).contains(&day.month)
            && (1..=31).contains(&day.day);
        (plausible && Self::of(day.start_s()) == day).then_some(day)
    }

    /// The first day of the same month.
    #[must_use]
    pub fn month_start(self) -> Self {
        Self { day: 1, ..self }
    }

    /// The first day of the month before.
    #[must_use]
    pub fn month_before(self) -> Self {
        let (year, month) =
            if self.month == 1 { (self.year - 1, 12) } else { (self.year, self.month - 1) };
        Self { year, month, day: 1 }
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self::of(self.start_s() + DAY_S)
    }

    /// `YYYY-MM-DD`
    #[must_use]
    pub fn iso(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A filter's moment: `YYYY-MM-DD`, or as RFC 3339 has it, `YYYY-MM-DDTHH:MM:SS` with a fraction or
/// without, then `Z`, `+HH:MM` or `-HH:MM`; with a space for the T, and without an offset in UTC.
/// The second value is the length of what was named, in microseconds: a day, a second, or as long
/// as the fraction's last digit.
#[must_use]
pub fn parse_moment(text: &str) -> Option<(Wall, u64)> {
    let day = Day::parse(text.get(..10)?)?;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some((Wall(day.start_s() * 1_000_000), DAY_S * 1_000_000));
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = split_offset(clock)?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(a, b)| (a, Some(b)));
    let bytes = clock.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let hour = number(&bytes[..2]).filter(|hour| *hour < 24)?;
    let minute = number(&bytes[3..5]).filter(|minute| *minute < 60)?;
    let second = number(&bytes[6..]).filter(|second| *second < 60)?;
    let (micros, length) = match fraction {
        Some(digits) => parse_fraction(digits.as_bytes())?,
        None => (0, 1_000_000),
    };
    let local = day.start_s() + hour * 3_600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset)?;
    Some((Wall(seconds * 1_000_000 + micros), length))
}

/// The clock, and the seconds that it is ahead of UTC (RFC 3339 section 5.6).
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some((clock, offset)) = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at))
    else {
        return Some((text, 0));
    };
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Some((text, 0)),
    };
    let bytes = offset.as_bytes();
    let hours = number(&bytes[1..3]).filter(|hours| *hours < 24)?;
    let minutes = number(&bytes[4..]).filter(|minutes| *minutes < 60 && bytes[3] == b':')?;
    let seconds = i64::try_from(hours * 3_600 + minutes * 60).ok()?;
    Some((clock, sign * seconds))
}

/// Microseconds, and how long the last digit is. What is shorter than a microsecond is left aside.
fn parse_fraction(text: &[u8]) -> Option<(u64, u64)> {
    let known = text.get(..text.len().min(6))?;
    let unit = 10_u64.pow(u32::try_from(6 - known.len()).ok()?);
    let micros = number(known)? * unit;
    digits(text).then_some((micros, unit))
}

fn digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

fn number(bytes: &[u8]) -> Option<u64> {
    digits(bytes).then(|| bytes.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in 0..146_097 {
            let day = Day::of(days * DAY_S);
            assert_eq!(day.start_s(), days * DAY_S);
            assert_eq!(Day::parse(&day.iso()), Some(day));
        }
    }

    #[test]
    fn moments_of_filters() {
        let of = |text| parse_moment(text).map(|(at, length)| (at.0, length));
        let second = |seconds: u64| Some((seconds * 1_000_000, 1_000_000));
        assert_eq!(of("2010-08-31"), Some((1_283_212_800_000_000, 86_400_000_000)));
        for text in [
            "2010-08-31T20:36:28Z",
            "2010-08-31t20:36:28z",
            "2010-08-31 20:36:28",
            "2010-08-31T20:36:28+00:00",
            "2010-08-31T20:36:28-00:00",
            "2010-08-31T22:36:28+02:00",
            "2010-09-01T02:06:28+05:30",
            "2010-08-31T13:36:28-07:00",
        ] {
            assert_eq!(of(text), second(1_283_286_988), "{text}");
        }
        assert_eq!(of("2010-08-31 20:36:28.123"), Some((1_283_286_988_123_000, 1_000)));
        assert_eq!(of("2010-08-31T22:36:28.5+02:00"), Some((1_283_286_988_500_000, 100_000)));
        assert_eq!(of("2010-08-31T20:36:28.123456789Z"), Some((1_283_286_988_123_456, 1)));
        assert_eq!(of("1970-01-01T00:30:00+00:30"), second(0));
        for bad in [
            "",
            "2010",
            "2010-02-30",
            "2010-08-31T",
            "2010-08-31T25:00:00",
            "2010-08-31x",
            "1969-12-31",
            "1970-01-01T00:00:00+01:00",
            "+010-01-01",
            "2010-08-31T20:36:28.",
            "2010-08-31T20:36:28.Z",
            "2010-08-31T20:36:28.1234567x",
            "2010-08-31T20:36:28ZZ",
            "2010-08-31T20:36:28 02:00",
            "2010-08-31T20:36:28+0200",
            "2010-08-31T20:36:28+24:00",
            "2010-08-31T20:36:28+02:60",
            "2010-08-31T20:36:28+0x:00",
            "2010-08-31+02:00",
            "2010-08-31T+02:00",
            "２０１０-08-31",
            "2010-08-31T20:36:２",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn months_turn() {
        let day = Day::parse("2026-01-15").expect("a day");
        assert_eq!(day.month_before().iso(), "2025-12-01");
        assert_eq!(Day::parse("2024-02-28").expect("a day").next().iso(), "2024-02-29");
    }
}
