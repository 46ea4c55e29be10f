//! `/v1/Operator/NumberRanges`, `DomainSuffixes` and `CallerIds`: what accounts may take and show.

use model::{CallerId, CallerSid, DomainSuffix, NumberRange, RangeSid, SuffixSid, party};
use serde_json::{Value, json};

use super::{Desk, Thing, holder, moment, needed, rename, whose};
use crate::problem::Problem;
use crate::resource::random_sid;

/// The text as it is stored, or the parameter is wrong.
fn stored(
    desk: &Desk<'_>,
    name: &str,
    why: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<String, Problem> {
    // What is meant to be anything is said by a star.
    let given = needed(desk, name)?.trim();
    let is_said = !given.trim_matches('.').is_empty();
    is_said.then(|| read(given)).flatten().ok_or_else(|| Problem::bad_parameter(name, why))
}

/// What the three have in common: whose it is and what it says is for good, its name is not.
macro_rules! given {
    (
        $type:ident, $sid:ident, $field:ident, $names:expr, $parameter:literal, $why:literal,
        $read:expr
    ) => {
        impl Thing for $type {
            const NAMES: (&'static str, &'static str) = $names;

            fn key_of(text: &str) -> Option<$sid> {
                text.parse().ok()
            }

            fn name(&self) -> String {
                self.sid.to_string()
            }

            fn make(desk: &Desk<'_>) -> Result<Self, Problem> {
                Ok(Self {
                    sid: $sid(random_sid()?),
                    account: whose(desk)?,
                    $field: stored(desk, $parameter, $why, $read)?,
                    date_created: desk.shared.backend.now(),
                    ..Self::default()
                })
            }

            fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem> {
                rename(desk, &mut self.friendly_name)?;
                self.date_updated = desk.shared.backend.now();
                Ok(())
            }

            fn show(&self) -> Value {
                let text = if self.$field.is_empty() { "*" } else { self.$field.as_str() };
                json!({
                    "sid": self.sid.to_string(),
                    "account_sid": holder(self.account),
                    "friendly_name": self.friendly_name,
                    stringify!($field): text,
                    "date_created": moment(self.date_created),
                    "date_updated": moment(self.date_updated),
                })
            }
        }
    };
}

given!(
    NumberRange,
    RangeSid,
    prefix,
    ("NumberRanges", "number_ranges"),
    "Prefix",
    "the beginning of numbers: + and digits, or digits; * for any",
    NumberRange::prefix
);
given!(
    DomainSuffix,
    SuffixSid,
    suffix,
    ("DomainSuffixes", "domain_suffixes"),
    "Suffix",
    "a host name; * for any",
    DomainSuffix::suffix
);
given!(
    CallerId,
    CallerSid,
    number,
    ("CallerIds", "caller_ids"),
    "PhoneNumber",
    "a phone number",
    party::number
);
