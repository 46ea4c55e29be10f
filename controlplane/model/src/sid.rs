//! Sids: two letters that say what it is, then 128 bits as 32 hex digits. Kept as numbers, printed
//! and serialised as text.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not the two letters of the kind followed by 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSid;

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                base::id::write_sid(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadSid;

            fn from_str(text: &str) -> Result<Self, BadSid> {
                digits(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

sid!(
    /// An account, `AC...`.
    AccountSid, "AC"
);
sid!(
    /// An API key, `SK...`.
    KeySid, "SK"
);
sid!(
    /// An application, `AP...`.
    ApplicationSid, "AP"
);
sid!(
    /// An incoming phone number, `PN...`.
    NumberSid, "PN"
);
sid!(
    /// A SIP domain, `SD...`.
    DomainSid, "SD"
);
sid!(
    /// An alert (notification), `NO...`.
    AlertSid, "NO"
);
sid!(
    /// An outbound route, `OR...`.
    RouteSid, "OR"
);
sid!(
    /// A range of numbers, `NR...`.
    RangeSid, "NR"
);
sid!(
    /// A suffix of domains, `DX...`.
    SuffixSid, "DX"
);
sid!(
    /// A verified caller id, `CI...`.
    CallerSid, "CI"
);
sid!(
    /// A subscription to SIP messages, `SU...`.
    SubscriptionSid, "SU"
);

sid!(
    /// A registered contact, `RB...`.
    BindingSid, "RB"
);
sid!(
    /// A list of credentials, `CL...`.
    CredentialListSid, "CL"
);
sid!(
    /// A user name and its password, `CR...`.
    CredentialSid, "CR"
);

sid!(
    /// An IP access control list, `AL...`.
    AccessListSid, "AL"
);
sid!(
    /// An address of such a list, `IP...`.
    AddressSid, "IP"
);
sid!(
    /// A trunk, `TK...`.
    TrunkSid, "TK"
);
sid!(
    /// An origination URL of a trunk, `OU...`.
    OriginationSid, "OU"
);

macro_rules! numbered {
    ($($name:ident)*) => {
        $(impl $name {
            /// Its 128 bits.
            pub(crate) fn number(self) -> u128 {
                self.0
            }
        })*
    };
}

// Of what stands in lists.
numbered!(
    AccessListSid AccountSid AlertSid ApplicationSid CallerSid CredentialListSid CredentialSid
    DomainSid KeySid NumberSid RangeSid RouteSid SubscriptionSid SuffixSid TrunkSid
);

fn digits(text: &str, prefix: &str) -> Result<u128, BadSid> {
    let digits = text.strip_prefix(prefix).ok_or(BadSid)?;
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BadSid);
    }
    u128::from_str_radix(digits, 16).map_err(|_| BadSid)
}

impl fmt::Display for BadSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a sid of this kind: two letters and 32 hex digits")
    }
}

impl std::error::Error for BadSid {}
