//! What the operator owns and gives to accounts: ranges of numbers, suffixes of domains, caller ids
//! that were verified, and what an account may beside its own. What is given to nobody by name is
//! given to every account; what is given to an account is its sub-accounts' too. Of two ranges, or
//! two suffixes, that both fit the longer one alone counts.

use base::Wall;
use serde::{Deserialize, Serialize};
use wire::table::Network;

use crate::directory::{Directory, digits};
use crate::resource::Described;
use crate::sid::{AccountSid, CallerSid, RangeSid, SuffixSid};
use crate::{Secret, party};

/// Digits of the longest number that belongs to nobody, whatever ranges there are: 112, 911, 110.
const EMERGENCY_DIGITS: usize = 3;
/// Digits of the longest short code: none is anybody's but from a range written without a `+`, and
/// no `+` begins so short a number.
const SHORT_DIGITS: usize = 6;
/// Harmonised numbers of social value in Europe, 116 and three digits more: nobody's.
const HARMONISED: &str = "116";

/// Numbers that an account may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRange {
    pub sid: RangeSid,
    /// None: every account.
    pub account: Option<AccountSid>,
    pub friendly_name: String,
    /// How its numbers begin, `+` and digits or digits; empty for any. Compared without the `+`.
    pub prefix: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Domains that an account may take: the suffix itself and what ends in it behind a dot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSuffix {
    pub sid: SuffixSid,
    /// None: every account.
    pub account: Option<AccountSid>,
    pub friendly_name: String,
    /// Lower case, without a leading dot; empty for any.
    pub suffix: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// A number that an account may show as its caller without having it here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerId {
    pub sid: CallerSid,
    /// None: every account.
    pub account: Option<AccountSid>,
    pub friendly_name: String,
    pub number: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// What an account may besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// None: every account that has none of its own.
    pub account: Option<AccountSid>,
    /// Show any caller.
    pub any_caller: bool,
    /// Bits that a source network has at least, IPv4 and IPv6; None: as the deployment has it.
    pub source_bits_v4: Option<u8>,
    pub source_bits_v6: Option<u8>,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// What names a [`Grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantKey(pub Option<AccountSid>);

/// A second auth token: it opens what the first one does, until it takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondToken {
    pub account: AccountSid,
    pub token: Secret,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// What names a [`SecondToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenKey(pub AccountSid);

impl Directory {
    /// The main account that an account belongs to.
    #[must_use]
    pub fn family(&self, account: AccountSid) -> AccountSid {
        let parent = self.account(account).map_or(account, |it| it.parent);
        if self.account(parent).is_some() { parent } else { account }
    }

    /// Whether a number is in a range of the account.
    #[must_use]
    pub fn may_have_number(&self, account: AccountSid, number: &str) -> bool {
        let plain = digits(number);
        let fits = |range: &&NumberRange| plain.starts_with(digits(&range.prefix));
        let longest =
            self.all::<NumberRange>().filter(fits).max_by_key(|it| digits(&it.prefix).len());
        longest.is_some_and(|range| {
            self.is_given(account, range.account) && !is_nobodys(number, &range.prefix)
        })
    }

    /// Whether a domain, in lower case, is under a suffix of the account.
    #[must_use]
    pub fn may_have_domain(&self, account: AccountSid, name: &str) -> bool {
        let under = |it: &&DomainSuffix| match name.strip_suffix(it.suffix.as_str()) {
            Some(rest) => it.suffix.is_empty() || rest.is_empty() || rest.ends_with('.'),
            None => false,
        };
        let longest = self.all::<DomainSuffix>().filter(under).max_by_key(|it| it.suffix.len());
        longest.is_some_and(|suffix| self.is_given(account, suffix.account))
    }

    /// Whether the account may show a number: it has it, or it was verified.
    #[must_use]
    pub fn may_show_number(&self, account: AccountSid, number: &str) -> bool {
        let own = self.number(number).is_some_and(|it| it.account == account);
        let verified = |whose| self.is_verified(whose, number);
        own || verified(Some(account)) || verified(Some(self.family(account))) || verified(None)
    }

    /// What the account, or everybody, was granted.
    #[must_use]
    pub fn grant(&self, account: AccountSid) -> Option<&Grant> {
        self.holders(account).iter().find_map(|whose| self.get::<Grant>(GrantKey(*whose)))
    }

    /// The token that opens the account beside its own.
    #[must_use]
    pub fn second_token(&self, account: AccountSid) -> Option<&SecondToken> {
        self.get(TokenKey(account))
    }

    fn is_given(&self, account: AccountSid, holder: Option<AccountSid>) -> bool {
        holder.is_none_or(|holder| holder == account || holder == self.family(account))
    }
}

/// Nobody may have it: an emergency number, or a short code in a range that does not name it.
fn is_nobodys(number: &str, prefix: &str) -> bool {
    let plain = digits(number);
    let is_short = plain.len() <= SHORT_DIGITS;
    let is_local = !number.starts_with('+') && !prefix.starts_with('+') && !prefix.is_empty();
    plain.len() <= EMERGENCY_DIGITS
        || is_short && (!is_local || plain.len() == SHORT_DIGITS && plain.starts_with(HARMONISED))
}

impl NumberRange {
    /// As it is stored: `+` and digits, or digits; None for what is no beginning of a number.
    #[must_use]
    pub fn prefix(text: &str) -> Option<String> {
        let text = text.trim();
        if matches!(text, "" | "*") {
            return Some(String::new());
        }
        let number = party::number(text)?;
        digits(&number).bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
    }
}

impl DomainSuffix {
    /// As it is stored; None for what is no host name.
    #[must_use]
    pub fn suffix(text: &str) -> Option<String> {
        let text = text.trim().trim_start_matches('.').to_ascii_lowercase();
        if matches!(text.as_str(), "" | "*") {
            return Some(String::new());
        }
        let is_bare = party::host_and_port(&text).is_some_and(|(_, port)| port.is_none());
        let is_address = text.parse::<std::net::IpAddr>().is_ok() || text.starts_with('[');
        (is_bare && !is_address).then_some(text)
    }
}

/// Fewer bits than are allowed, `[IPv4, IPv6]`.
#[must_use]
pub fn is_too_wide(network: &Network, bits: [u8; 2]) -> bool {
    network.bits < if network.address.is_ipv4() { bits[0] } else { bits[1] }
}

macro_rules! described {
    ($type:ident, $key:ident) => {
        impl Described for $type {
            type Key = $key;

            fn key(&self) -> $key {
                self.sid
            }

            fn owner(&self) -> Option<AccountSid> {
                self.account
            }

            fn listed(&self) -> Option<(&str, Wall)> {
                Some((&self.friendly_name, self.date_created))
            }
        }
    };
}

described!(NumberRange, RangeSid);
described!(DomainSuffix, SuffixSid);
described!(CallerId, CallerSid);

impl Described for Grant {
    type Key = GrantKey;

    fn key(&self) -> GrantKey {
        GrantKey(self.account)
    }

    fn owner(&self) -> Option<AccountSid> {
        self.account
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        None
    }
}

impl Described for SecondToken {
    type Key = TokenKey;

    fn key(&self) -> TokenKey {
        TokenKey(self.account)
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        None
    }

    fn secret(&mut self) -> Option<&mut Secret> {
        Some(&mut self.token)
    }
}

impl GrantKey {
    pub(crate) fn number(self) -> u128 {
        self.0.map_or(0, |account| account.0)
    }
}

impl std::fmt::Display for GrantKey {
    /// `AC...`, and `*` for everybody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(account) => account.fmt(f),
            None => f.write_str("*"),
        }
    }
}

impl TokenKey {
    pub(crate) fn number(self) -> u128 {
        self.0.0
    }
}

impl std::fmt::Display for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, NumberSid, PhoneNumber};

    const A: AccountSid = AccountSid(1);
    const SUB: AccountSid = AccountSid(2);
    const B: AccountSid = AccountSid(3);

    fn directory(ranges: &[(Option<AccountSid>, &str)]) -> Directory {
        let mut directory = Directory::default();
        for (sid, parent) in [(A, A), (SUB, A), (B, B)] {
            directory.put(Account { sid, parent, ..Account::default() }.into());
        }
        for (at, (account, prefix)) in (1..).zip(ranges) {
            let prefix = NumberRange::prefix(prefix).unwrap();
            let range =
                NumberRange { sid: RangeSid(at), account: *account, prefix, ..Default::default() };
            directory.put(range.into());
            let suffix = DomainSuffix {
                sid: SuffixSid(at),
                account: *account,
                suffix: "example.com".to_owned(),
                ..Default::default()
            };
            directory.put(suffix.into());
        }
        directory
    }

    #[test]
    fn a_number_is_of_the_longest_range_and_its_holders_family() {
        let directory = directory(&[(Some(A), "+1555"), (Some(B), "+155501")]);
        for (account, number, may) in [
            (A, "+15551234567", true),
            (A, "15551234567", true),
            (SUB, "+15551234567", true),
            (B, "+15551234567", false),
            (A, "+15550123456", false),
            (B, "+15550123456", true),
            (A, "+4930123456", false),
        ] {
            assert_eq!(directory.may_have_number(account, number), may, "{number} of {account}");
        }
    }

    #[test]
    fn emergency_numbers_and_short_codes_are_nobodys() {
        let anything = directory(&[(None, "*")]);
        for number in
            ["112", "911", "999", "110", "000", "+112", "+911", "+49112", "116117", "4000", "933"]
        {
            assert!(!anything.may_have_number(A, number), "{number}");
        }
        assert!(anything.may_have_number(A, "+15551234567"));
        let short = directory(&[(Some(A), "40"), (Some(A), "11")]);
        assert!(short.may_have_number(A, "4000") && !short.may_have_number(B, "4000"));
        assert!(!short.may_have_number(A, "112") && !short.may_have_number(A, "116117"));
        assert!(!short.may_have_number(A, "400") && !short.may_have_number(A, "+4000"));
    }

    #[test]
    fn a_domain_ends_in_a_suffix_at_a_dot() {
        let directory = directory(&[(Some(A), "1")]);
        for (account, name, may) in [
            (A, "example.com", true),
            (SUB, "pbx.example.com", true),
            (A, "badexample.com", false),
            (A, "example.org", false),
            (B, "example.com", false),
        ] {
            assert_eq!(directory.may_have_domain(account, name), may, "{name} of {account}");
        }
        for bad in ["a b", "127.0.0.1", "a.example:5060", "[::1]"] {
            assert_eq!(DomainSuffix::suffix(bad), None, "{bad}");
        }
        assert_eq!(DomainSuffix::suffix(" .Example.COM").as_deref(), Some("example.com"));
    }

    #[test]
    fn a_caller_is_owned_or_verified() {
        let mut directory = directory(&[]);
        let caller = |sid, account, number: &str| CallerId {
            sid: CallerSid(sid),
            account,
            number: number.to_owned(),
            ..Default::default()
        };
        let phone = |account, number: &str| PhoneNumber {
            sid: NumberSid(account),
            account: AccountSid(account),
            number: number.to_owned(),
            ..Default::default()
        };
        directory.put(phone(A.0, "+15550001").into());
        directory.put(caller(1, Some(A), "+15550002").into());
        for (account, number, may) in [
            (A, "15550001", true),
            (SUB, "+15550001", false),
            (B, "+15550001", false),
            (A, "15550002", true),
            (SUB, "+15550002", true),
            (B, "+15550002", false),
        ] {
            assert_eq!(directory.may_show_number(account, number), may, "{number} of {account}");
        }
        directory.remove(CallerSid(1).into());
        assert!(!directory.may_show_number(A, "+15550002"));
    }
}
