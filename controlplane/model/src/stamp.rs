//! Moments as text: RFC 2822 for the 2010-04-01 API and callbacks, RFC 3339 for v1 resources and
//! logs, days for billing. UTC only; proleptic Gregorian (days from civil, after Howard Hinnant's
//! published algorithm).

use base::Wall;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1970-01-01 was a Thursday.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    pub year: u64,
    /// 1-12.
    pub month: u8,
    /// 1-31.
    pub day: u8,
}

/// `Tue, 31 Aug 2010 20:36:28 +0000`.
#[must_use]
pub fn rfc2822(at: Wall) -> String {
    let Day { year, month, day } = day(at);
    let weekday = DAYS[usize::try_from(at.seconds() / 86_400 % 7).unwrap_or(0)];
    let name = MONTHS[usize::from(month - 1) % 12];
    let (hours, minutes, seconds) = clock(at);
    format!("{weekday}, {day:02} {name} {year:04} {hours:02}:{minutes:02}:{seconds:02} +0000")
}

/// The moment of which [`rfc2822`] makes exactly this text.
#[must_use]
pub fn of_rfc2822(text: &str) -> Option<Wall> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let name = text.get(8..11)?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let (year, day) = (number(12, 16)?, number(5, 7)?);
    let of_day = number(17, 19)? * 3_600 + number(20, 22)? * 60 + number(23, 25)?;
    let at = Wall((days(year, month, day)? * 86_400 + of_day) * 1_000_000);
    (rfc2822(at) == text).then_some(at)
}

/// Days from 1970 to a date; None before.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (shifted_year, shifted_month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let (era, of_era) = (shifted_year / 400, shifted_year % 400);
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

/// `2010-08-31T20:36:28Z`.
#[must_use]
pub fn rfc3339(at: Wall) -> String {
    let Day { year, month, day } = day(at);
    let (hours, minutes, seconds) = clock(at);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

/// The UTC day of a moment.
#[must_use]
pub fn day(at: Wall) -> Day {
    let shifted = at.seconds() / 86_400 + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Day {
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month: u8::try_from(month).unwrap_or(1),
        day: u8::try_from(day).unwrap_or(1),
    }
}

impl std::fmt::Display for Day {
    /// `2010-08-31`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn clock(at: Wall) -> (u64, u64, u64) {
    let of_day = at.seconds() % 86_400;
    (of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_known_moments() {
        let at = |seconds: u64| Wall(seconds * 1_000_000);
        assert_eq!(rfc2822(at(1_283_286_988)), "Tue, 31 Aug 2010 20:36:28 +0000");
        assert_eq!(rfc2822(at(0)), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(rfc3339(at(951_782_400)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(at(4_102_444_799)), "2099-12-31T23:59:59Z");
        for step in 0..40_000 {
            let moment = at(step * 86_399 + 7);
            assert_eq!(of_rfc2822(&rfc2822(moment)), Some(moment));
        }
        for text in [
            "",
            "Tue, 31 Aug 2010 20:36:28 GMT",
            "Mon, 31 Aug 2010 20:36:28 +0000",
            "Tue, 31 Feb 2010 20:36:28 +0000",
            "Tue, +1 Aug 2010 20:36:28 +0000",
            "Tue, 31 Aug 1910 20:36:28 +0000",
            "Tue, 00 Jan 1970 20:36:28 +0000",
            "Tüe, 31 Aug 2010 20:36:28 +0000",
        ] {
            assert_eq!(of_rfc2822(text), None, "{text}");
        }
        assert_eq!(day(at(1_763_769_600)).to_string(), "2025-11-22");
    }
}
