//! What becomes of a route's calls beside going to its targets: after which refusals the next
//! target is asked, what a redirection is worth, whether a target is asked if it lives, which of
//! several routes for one number comes first, and how numbers are written.

use base::HashKey;

use crate::table::Network;

/// The rest of a [`crate::table::StaticRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RoutePolicy {
    /// The trunk's name: whose the limits and the bad targets are. Empty where nobody named it.
    pub name: String,
    /// After which refusals the next target is asked, and the next route behind the last one.
    pub failover: Failover,
    pub redirect: Redirect,
    /// Where redirections may lead beside the hosts of the route's own targets.
    pub redirect_allow: Vec<Network>,
    /// Seconds between two OPTIONS to each target; 0 for none.
    pub health_s: u16,
    /// Of routes whose domain and prefix are as long: the lowest first.
    pub priority: u16,
    /// How large its share is of the calls of routes of the same rank; one with 0 has what those
    /// with weights leave, in the order of the table.
    pub weight: u16,
    /// Of a call, in millionths.
    pub cost: u32,
    /// Its cost goes before its priority.
    pub by_cost: bool,
    /// When it is open; never closed where none is named.
    pub hours: Vec<Hours>,
    /// Minutes that its hours are before UTC (east of it).
    pub utc_offset_min: i16,
    /// Country code, digits alone: numbers as they are dialled there (`0..`, `00..`) are taken as
    /// E.164 (`+..`). Empty: numbers are what they are.
    pub country: String,
    /// The caller's number: leading characters that are removed, and what is put in front then.
    pub caller_strip: u8,
    pub caller_prepend: String,
    /// It takes no calls of callers who do not show themselves (433, RFC 5079).
    pub refuses_anonymous: bool,
    /// What its targets are offered, in this order, and nothing else; whatever there is where none
    /// is named.
    pub codecs: CodecOrder,
    /// Index of the listener that its targets are reached from, with its media address; None for
    /// one of their transport and family.
    pub listener: Option<u8>,
    /// Parts of a body beside the description (ISUP, locations, lists) go on between its far ends.
    pub body_parts: bool,
}

/// Audio codecs that a list may name, as SDP writes them.
pub const CODECS: [&str; 10] =
    ["PCMU", "PCMA", "G722", "G729", "opus", "AMR", "AMR-WB", "iLBC", "G7221", "GSM"];

/// Codecs in order of preference, at most six; without any all are as good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CodecOrder([u8; 3]);

impl CodecOrder {
    /// The list of these names, of any case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut order = Self::default();
        for (at, name) in names.into_iter().enumerate() {
            let place = CODECS.iter().position(|known| known.eq_ignore_ascii_case(name));
            let number = place.and_then(|place| u8::try_from(place + 1).ok());
            let Some(number) = number else {
                return Err(format!("has no `{name}`; known are {}", CODECS.join(", ")));
            };
            if order.numbers().any(|known| known == number) {
                return Err(format!("has `{name}` twice"));
            }
            let Some(pair) = order.0.get_mut(at / 2) else {
                return Err("must name at most six".to_owned());
            };
            *pair |= number << (at % 2 * 4);
        }
        Ok(order)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0[0] & 15 == 0
    }

    /// Two in a byte: every leg has one of these.
    fn numbers(self) -> impl Iterator<Item = u8> + Clone {
        self.0.into_iter().flat_map(|pair| [pair & 15, pair >> 4])
    }

    /// The names, the preferred one first.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        let place = |number: u8| usize::from(number).checked_sub(1);
        self.numbers().filter_map(move |number| CODECS.get(place(number)?).copied())
    }
}

/// What is made of a redirection (3xx) of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// The call fails: 502 to the caller.
    #[default]
    Refuse,
    /// Its contacts are called, by their q, where the route allows them.
    Follow,
    /// The caller gets it, with its contacts: he learns addresses behind this switch.
    Relay,
}

/// A part of the days on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hours {
    /// Bit 0: Monday.
    pub days: u8,
    /// Minutes of the day. One that ends before it begins ends on the next day.
    pub from: u16,
    pub until: u16,
}

/// The text is no such part of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHours(pub String);

impl core::fmt::Display for BadHours {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "`{}` is no part of a week; write for example `mon-fri 08:00-18:00`", self.0)
    }
}

impl core::error::Error for BadHours {}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MIN: u16 = 24 * 60;

impl core::str::FromStr for Hours {
    type Err = BadHours;

    /// `mon-fri 08:00-18:00`, `sat 22:00-06:00`, `sun`, `09:00-17:00`.
    fn from_str(text: &str) -> Result<Self, BadHours> {
        let bad = || BadHours(text.to_owned());
        let mut hours = Self { days: 0, from: 0, until: DAY_MIN };
        let mut words = text.split_ascii_whitespace();
        let mut word = words.next().ok_or_else(bad)?;
        if word.starts_with(|first: char| first.is_ascii_alphabetic()) {
            hours.days = days(word).ok_or_else(bad)?;
            word = words.next().unwrap_or_default();
        } else {
            hours.days = 0x7f;
        }
        if !word.is_empty() {
            let (from, until) = word.split_once('-').ok_or_else(bad)?;
            hours.from = minutes(from).ok_or_else(bad)?;
            hours.until = minutes(until).ok_or_else(bad)?;
        }
        let is_whole = words.next().is_none() && hours.from != hours.until;
        if is_whole && hours.from < DAY_MIN { Ok(hours) } else { Err(bad()) }
    }
}

/// `mon`, `mon-fri`, `fri-mon`, `mon,wed`.
fn days(text: &str) -> Option<u8> {
    let day = |text: &str| DAYS.iter().position(|day| text.eq_ignore_ascii_case(day));
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            days |= 1 << at;
        }
    }
    Some(days)
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_two(hours) || !is_two(minutes) {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    let at = hours * 60 + minutes;
    (minutes < 60 && at <= DAY_MIN).then_some(at)
}

impl RoutePolicy {
    /// Whether it is open, so many seconds after 1970 (UTC).
    #[must_use]
    pub fn is_open_at(&self, seconds: u64) -> bool {
        if self.hours.is_empty() {
            return true;
        }
        let shown = i64::try_from(seconds / 60).unwrap_or(0) + i64::from(self.utc_offset_min);
        let (day, minute) = (shown.div_euclid(1_440), shown.rem_euclid(1_440));
        // 1970 began on a Thursday.
        let day = |before: i64| u8::try_from((day + 3 - before).rem_euclid(7)).unwrap_or(0);
        let minute = u16::try_from(minute).unwrap_or(0);
        self.hours.iter().any(|hours| {
            let is_day = |day: u8| hours.days & 1 << day != 0;
            if hours.from < hours.until {
                return is_day(day(0)) && (hours.from..hours.until).contains(&minute);
            }
            is_day(day(0)) && minute >= hours.from || is_day(day(1)) && minute < hours.until
        })
    }
}

/// Whose share of what is known of targets a trunk's are: both processes name it alike.
#[must_use]
pub fn group_of(account: u64, name: &str) -> u64 {
    // No key: the operator names trunks, nobody else. The highest bit tells it from an account.
    HashKey([0, 0]).hash(&[&account.to_le_bytes(), name.as_bytes()]) | 1 << 63
}

/// Refusals after which another target is asked: they say something of the target, and nothing of
/// whoever is called.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failover([u64; 4]);

const FIRST: u16 = 400;

impl Failover {
    /// None at all: silence alone.
    pub const NONE: Self = Self([0; 4]);

    /// With this one too.
    ///
    /// # Errors
    /// Why no other target is ever asked after it.
    pub fn with(mut self, code: u16) -> Result<Self, &'static str> {
        match why_final(code) {
            Some(why) => Err(why),
            None => {
                let at = usize::from(code - FIRST);
                self.0[at / 64] |= 1 << (at % 64);
                Ok(self)
            }
        }
    }

    /// Whether another target may be asked after this status.
    #[must_use]
    pub fn has(self, code: u16) -> bool {
        // What stands in shared memory is not believed where it would be wrong.
        why_final(code).is_none() && {
            let at = usize::from(code - FIRST);
            self.0[at / 64] & 1 << (at % 64) != 0
        }
    }
}

impl Default for Failover {
    /// 408 and 500 to 504 (RFC 3263 section 4.3, RFC 3261 section 16.7).
    fn default() -> Self {
        let codes = [408, 500, 501, 502, 503, 504];
        codes.into_iter().fold(Self::NONE, |known, code| known.with(code).unwrap_or(known))
    }
}

impl core::fmt::Debug for Failover {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries((FIRST..600).filter(|code| self.has(*code))).finish()
    }
}

/// Why this status ends the search for a target; None where it may go on.
fn why_final(code: u16) -> Option<&'static str> {
    Some(match code {
        0..400 => "is no refusal of a target; what becomes of a redirection `redirect` says",
        401 | 407 => "asks for credentials, which `username` and `password` answer",
        404 | 410 | 484 | 485 => "says that the number is nobody's, whoever is asked",
        422 => "is answered by another INVITE to the same target (RFC 4028)",
        486 => "says that whoever is called is busy, whoever is asked",
        487 => "is the answer to a CANCEL of ours",
        400..600 => return None,
        600..700 => "is final for all targets (RFC 3261 section 21.6)",
        _ => "is no SIP status",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_callee_is_in_no_list() {
        let known = Failover::default();
        let next: Vec<u16> = (0..1_000).filter(|code| known.has(*code)).collect();
        assert_eq!(next, [408, 500, 501, 502, 503, 504]);
        for code in [302, 404, 410, 484, 486, 487, 600, 603, 604, 606, 699, 700] {
            assert!(Failover::NONE.with(code).is_err(), "{code}");
            assert!(!Failover([u64::MAX; 4]).has(code), "{code}");
        }
        for code in [403, 429, 480, 488, 500, 599] {
            assert!(Failover::NONE.with(code).unwrap().has(code), "{code}");
        }
    }

    #[test]
    fn a_list_of_codecs_has_each_once() {
        let order = CodecOrder::of(["OPUS", "pcma"]).unwrap();
        assert_eq!(order.names().collect::<Vec<_>>(), ["opus", "PCMA"]);
        assert!(!order.is_empty() && CodecOrder::of([]).unwrap().is_empty());
        for bad in [&["opus", "Opus"][..], &["H264"], &CODECS] {
            assert!(CodecOrder::of(bad.iter().copied()).is_err(), "{bad:?}");
        }
        assert_eq!(CodecOrder([0x1f, 0xf0, 0]).names().collect::<Vec<_>>(), ["PCMU"]);
    }

    #[test]
    fn hours_are_of_days_and_go_over_midnight() {
        let at = |day: u64, hour: u64, minute: u64| (day * 24 + hour) * 3_600 + minute * 60;
        // Day 4 of 1970 was a Monday.
        let open = |texts: &[&str], offset: i16, seconds: u64| {
            let hours = texts.iter().map(|text| text.parse().unwrap()).collect();
            RoutePolicy { hours, utc_offset_min: offset, ..RoutePolicy::default() }
                .is_open_at(seconds)
        };
        assert!(open(&[], 0, at(4, 3, 0)));
        let work = ["mon-fri 08:00-18:00"];
        assert!(open(&work, 0, at(4, 8, 0)) && open(&work, 0, at(8, 17, 59)));
        assert!(!open(&work, 0, at(4, 7, 59)) && !open(&work, 0, at(4, 18, 0)));
        assert!(!open(&work, 0, at(9, 12, 0)) && !open(&work, 0, at(3, 12, 0)));
        assert!(open(&work, 60, at(4, 7, 0)) && !open(&work, 60, at(4, 17, 0)));
        assert!(!open(&work, -300, at(4, 8, 0)) && open(&work, -300, at(4, 13, 0)));
        assert!(open(&work, 60 * 10, at(3, 22, 0)), "Monday there");
        let night = ["fri 22:00-06:00"];
        assert!(open(&night, 0, at(8, 23, 0)) && open(&night, 0, at(9, 5, 59)));
        assert!(!open(&night, 0, at(8, 5, 0)) && !open(&night, 0, at(9, 22, 0)));
        assert!(open(&["sun,tue-wed"], 0, at(5, 0, 0)) && !open(&["sun,tue"], 0, at(4, 0, 0)));
        assert!(open(&["sat-mon"], 0, at(3, 9, 0)) && !open(&["sat-mon"], 0, at(6, 9, 0)));
        for text in
            ["", "mon 8-18", "mon 08:00", "xyz", "mon 08:00-08:00", "24:00-25:00", "mon 08:00-9:00"]
        {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }
}
