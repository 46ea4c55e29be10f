//! Money: an i64 of 10^-9 of a currency unit, a decimal string in text, never a float. A price is
//! applied once per usage segment and rounded once, half away from zero.

use std::fmt;
use std::str::FromStr;

use base::{CallId, Wall};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::{Service, UsageKey};

use crate::resource::Described;
use crate::sid::AccountSid;
use crate::usage::whole_seconds;

/// 10^-9 of a currency unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

/// ISO 4217 code, three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Currency(pub [u8; 3]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceUnit {
    /// Per minute of use, in steps of `increment_s`, at least `minimum_s`.
    #[default]
    Minute,
    /// Per counted unit (attempts, packets).
    Each,
}

/// One line of a rate plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// None: for every account that has, by itself or by its main account, no line of its own.
    pub account: Option<AccountSid>,
    pub service: Service,
    pub unit: PriceUnit,
    /// Per unit.
    pub price: Nanos,
    pub currency: Currency,
    /// Seconds billed at least, once billing has started.
    pub minimum_s: u32,
    /// Seconds to which a duration is rounded up; 0 counts as 1.
    pub increment_s: u32,
}

/// What names a price: whose it is, and of which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceKey(pub Option<AccountSid>, pub Service);

/// A charge for one usage segment. One per [`UsageKey`], for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub key: UsageKey,
    pub account: AccountSid,
    pub call: CallId,
    pub at: Wall,
    /// Negative for a charge.
    pub amount: Nanos,
    pub currency: Currency,
    /// What was billed: seconds after rounding, or units.
    pub quantity: u64,
}

impl Price {
    /// Quantity billed and charge (positive) for a segment of `micros` and `count`.
    #[must_use]
    pub fn charge(&self, micros: u64, count: u64) -> (u64, Nanos) {
        let price = i128::from(self.price.0);
        match self.unit {
            PriceUnit::Each => (count, narrow(price * i128::from(count))),
            PriceUnit::Minute if micros == 0 => (0, Nanos(0)),
            PriceUnit::Minute => {
                let step = u64::from(self.increment_s.max(1));
                let seconds = whole_seconds(micros).max(u64::from(self.minimum_s));
                let seconds = seconds.div_ceil(step) * step;
                let total = price * i128::from(seconds);
                let half = if total < 0 { -30 } else { 30 };
                (seconds, narrow((total + half) / 60))
            }
        }
    }
}

impl PriceKey {
    /// Its place in a list.
    pub(crate) fn number(self) -> u128 {
        let account = self.0.map_or(0, |account| account.0);
        account.wrapping_add(u128::from(self.1 as u16))
    }
}

impl Described for Price {
    type Key = PriceKey;

    fn key(&self) -> PriceKey {
        PriceKey(self.account, self.service)
    }

    fn owner(&self) -> Option<AccountSid> {
        self.account
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        None
    }
}

impl fmt::Display for PriceKey {
    /// `AC.../2`, and `*/2` for everybody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(account) => write!(f, "{account}/{}", self.1 as u16),
            None => write!(f, "*/{}", self.1 as u16),
        }
    }
}

impl Nanos {
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

fn narrow(value: i128) -> Nanos {
    Nanos(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
}

impl fmt::Display for Nanos {
    /// Decimal with at least two and at most nine places: `-0.0085`, `1.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = format!("{:09}", units % 1_000_000_000);
        let short = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", units / 1_000_000_000, &fraction[..short])
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// No decimal number of at most nine places within i64 of 10^-9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNanos;

impl fmt::Display for BadNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a decimal amount with at most nine places")
    }
}

impl FromStr for Nanos {
    type Err = BadNanos;

    fn from_str(text: &str) -> Result<Self, BadNanos> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !all_digits(whole) || !all_digits(fraction) {
            return Err(BadNanos);
        }
        let units: i64 = format!("{whole}{fraction:0<9}").parse().map_err(|_| BadNanos)?;
        Ok(Self(if negative { -units } else { units }))
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Currency {
    pub const USD: Self = Self(*b"USD");

    /// The code as text.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::USD
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_and_parse() {
        for (nanos, text) in
            [(-8_500_000, "-0.0085"), (1_000_000_000, "1.00"), (1, "0.000000001"), (0, "0.00")]
        {
            assert_eq!(Nanos(nanos).to_string(), text);
            assert_eq!(text.parse(), Ok(Nanos(nanos)));
        }
        assert_eq!("12".parse(), Ok(Nanos(12_000_000_000)));
        for bad in ["", ".5", "1.0000000001", "1e3", "--1", "99999999999"] {
            assert_eq!(bad.parse::<Nanos>(), Err(BadNanos), "{bad}");
        }
    }

    #[test]
    fn a_segment_is_rounded_once() {
        let price = |minimum_s, increment_s| Price {
            account: None,
            service: Service::SipEgress,
            unit: PriceUnit::Minute,
            price: Nanos(10_000_001),
            currency: Currency::USD,
            minimum_s,
            increment_s,
        };
        assert_eq!(price(0, 60).charge(1, 1), (60, Nanos(10_000_001)));
        assert_eq!(price(0, 1).charge(30_000_000, 1), (30, Nanos(5_000_001)));
        assert_eq!(price(30, 6).charge(31_000_000, 1), (36, Nanos(6_000_001)));
        assert_eq!(price(30, 6).charge(0, 1), (0, Nanos(0)));
        let each = Price { unit: PriceUnit::Each, ..price(0, 1) };
        assert_eq!(each.charge(0, 3), (3, Nanos(30_000_003)));
    }
}
