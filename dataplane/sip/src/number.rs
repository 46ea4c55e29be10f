//! Telephone numbers as values, whatever notation they came in (RFC 3966, RFC 3261 section 19.1.6).
//!
//! ```text
//!  tel:+1-555-0126                           +15550126
//!  sip:%2B15550126;npdi;rn=+15550999@h       +15550126
//!  sip:1026;phone-context=+1555@h            +15551026
//!  tel:1026;phone-context=example.com        1026
//!  sip:alice@h                               none
//! ```

use core::fmt;

use crate::uri::{Scheme, Unescaped, Uri, unescape};

/// Longest number in bytes, its `+` included. E.164 has 15 digits; dial strings may be longer.
pub const NUMBER_BYTES_MAX: usize = 40;

/// A number without visual separators: `+` and digits (global), or digits, `*` and `#` (local; from
/// a `tel` URI also `A` to `F`, section 5.1.5). Compared by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number {
    text: [u8; NUMBER_BYTES_MAX],
    len: u8,
}

impl Number {
    /// The number that a URI names: a `tel` URI, or a SIP URI whose user part is a number (it need
    /// not say `user=phone`; hardly anybody does). A phone-context of global form is put in front
    /// of a local number. `None` for anything else, and for numbers beyond [`NUMBER_BYTES_MAX`].
    #[must_use]
    pub fn from_uri(uri: &Uri<'_>) -> Option<Self> {
        let hex = match uri.scheme {
            Scheme::Sip | Scheme::Sips => false,
            Scheme::Tel => true,
            Scheme::Other => return None,
        };
        let local = Self::read(Unescaped(uri.user_number()), hex)?;
        let context = uri.user_params().get(b"phone-context");
        let context = context.filter(|_| !local.is_global());
        match context.and_then(|context| Self::read(Unescaped(context), false)) {
            Some(context) if context.is_global() => context.then(&local),
            _ => Some(local),
        }
    }

    /// The number that a text writes, with or without visual separators.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::read(text.iter().map(|&c| Some(c)), false)
    }

    fn read(text: impl Iterator<Item = Option<u8>>, hex: bool) -> Option<Self> {
        let mut number = Self { text: [0; NUMBER_BYTES_MAX], len: 0 };
        for c in text {
            let c = c?;
            if is_separator(c) {
                continue;
            }
            let ok = match c {
                b'+' => number.len == 0,
                b'0'..=b'9' => true,
                b'*' | b'#' => !number.is_global(),
                b'a'..=b'f' | b'A'..=b'F' => hex && !number.is_global(),
                _ => false,
            };
            if !ok {
                return None;
            }
            number.push(c.to_ascii_uppercase())?;
        }
        (number.digits() != b"").then_some(number)
    }

    /// This number with the digits of `local` behind it.
    fn then(mut self, local: &Self) -> Option<Self> {
        if !local.bytes().iter().all(u8::is_ascii_digit) {
            return None;
        }
        for &c in local.bytes() {
            self.push(c)?;
        }
        Some(self)
    }

    fn push(&mut self, c: u8) -> Option<()> {
        *self.text.get_mut(usize::from(self.len))? = c;
        self.len += 1;
        Some(())
    }

    /// As text: `+15550126`. As a user part of a URI it goes through
    /// [`escape_user`](crate::uri::escape_user), which a `#` needs.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Same, as a string; it is always ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// What stands behind the `+`, or all of a local number.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        let bytes = self.bytes();
        bytes.strip_prefix(b"+").unwrap_or(bytes)
    }

    /// It begins with `+` (section 5.1.4): the same number everywhere.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.bytes().first() == Some(&b'+')
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'a> Uri<'a> {
    /// The user part without its own parameters (RFC 3261 section 19.1.6), escapes kept:
    /// `+15550126` of `sip:+15550126;npdi;rn=+15550999@h`.
    #[must_use]
    pub fn user_number(&self) -> &'a [u8] {
        let end = memchr::memchr(b';', self.user).unwrap_or(self.user.len());
        &self.user[..end]
    }

    /// The parameters of the number: those inside a SIP URI's user part, all of a `tel` URI's.
    #[must_use]
    pub fn user_params(&self) -> crate::UriParams<'a> {
        match self.scheme {
            Scheme::Tel => self.params,
            _ => crate::UriParams::of_user(&self.user[self.user_number().len()..]),
        }
    }

    /// [`Uri::user_number`] with escapes undone, in `out`; `None` when it does not fit or an escape
    /// is broken.
    #[must_use]
    pub fn user_value<'o>(&self, out: &'o mut [u8]) -> Option<&'o [u8]> {
        unescape(self.user_number(), out)
    }
}

/// Whether the user of `uri` begins with `prefix`, both taken by value: escapes are undone on both
/// sides (`%23` is `#`), and a number is compared without its separators, with its phone-context in
/// front or without. Every URI begins with the empty prefix.
#[must_use]
pub fn user_starts_with(uri: &Uri<'_>, prefix: &[u8]) -> bool {
    if starts_with(Unescaped(uri.user_number()), Unescaped(prefix)) {
        return true;
    }
    let Some(number) = Number::from_uri(uri) else { return false };
    let plain = |c: &Option<u8>| !c.is_some_and(is_separator);
    let number_of = |text| Unescaped(text).filter(plain);
    starts_with(number.bytes().iter().map(|&c| Some(c)), number_of(prefix))
        || starts_with(number_of(uri.user_number()), number_of(prefix))
}

fn starts_with(
    mut text: impl Iterator<Item = Option<u8>>,
    mut prefix: impl Iterator<Item = Option<u8>>,
) -> bool {
    prefix.all(|c| c.is_some() && text.next() == Some(c))
}

/// Visual separators (RFC 3966 section 5.1.1) and the blanks that people write.
const fn is_separator(c: u8) -> bool {
    matches!(c, b'-' | b'.' | b'(' | b')' | b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_number_has_many_notations() {
        let same = [
            "sip:+15550126@h",
            "sip:%2B15550126@h",
            "sip:+1-555-(01)26@h;user=phone",
            "sips:+1%20555%200126@h",
            "sip:+15550126;npdi;rn=+15550999@h;user=phone",
            "sip:0126;phone-context=+1555@h",
            "tel:+15550126",
            "TEL:+1-555-0126;isub=3",
            "tel:0126;phone-context=+1-555",
        ];
        for text in same {
            let number = Number::from_uri(&uri(text)).unwrap();
            assert_eq!((number.as_str(), number.is_global()), ("+15550126", true), "{text}");
            assert_eq!(Some(number), Number::parse(b"+1 (555) 01.26"));
        }
        let local = [
            ("sip:1026;phone-context=example.com@h", "1026"),
            ("tel:1026;phone-context=example.com", "1026"),
            ("sip:*21%23@h", "*21#"),
            ("sip:#21#@h", "#21#"),
            ("tel:7afe;phone-context=x", "7AFE"),
        ];
        for (text, digits) in local {
            let number = Number::from_uri(&uri(text)).unwrap();
            assert_eq!((number.as_str(), number.is_global()), (digits, false), "{text}");
            assert_eq!(number.digits(), digits.as_bytes());
        }
        let none = ["sip:alice@h", "sip:h", "sip:+@h", "sip:1+2@h", "sip:+1*2@h", "sip:dad@h"];
        for text in none.into_iter().chain(["sip:%zz@h", "mailto:1@h", "sip:---@h"]) {
            let uri = Uri::parse(text.as_bytes()).ok();
            assert_eq!(uri.and_then(|uri| Number::from_uri(&uri)), None, "{text}");
        }
        assert_eq!(Number::parse(&[b'1'; NUMBER_BYTES_MAX]).unwrap().bytes().len(), 40);
        assert_eq!(Number::parse(&[b'1'; NUMBER_BYTES_MAX + 1]), None);
    }

    #[test]
    fn users_are_values_without_their_parameters() {
        let mut out = [0; 32];
        let uri = uri("sip:%61lice%2B;day=tue%73;x:secret@h;user=phone");
        assert_eq!(uri.user_value(&mut out), Some(&b"alice+"[..]));
        assert_eq!(uri.user_number(), b"%61lice%2B");
        assert_eq!(uri.user_params().get(b"day"), Some(&b"tue%73"[..]));
        assert!(uri.user_params().has(b"x") && !uri.user_params().has(b"user"));
        assert_eq!(uri.user_value(&mut out[..3]), None);
    }

    #[test]
    fn prefixes_compare_by_value() {
        let yes = [
            ("sip:%2B15550125@h", "+1"),
            ("sip:+15550125@h", "%2B1555"),
            ("sip:%2321%23@h", "#21"),
            ("sip:#21#@h", "%2321%23"),
            ("tel:+1-555-0126", "+15550"),
            ("tel:+15550126", "+1-555"),
            ("sip:1026;phone-context=+1555@h", "10"),
            ("sip:1026;phone-context=+1555@h", "+1555"),
            ("sip:sales-eu@h", "sales-"),
            ("sip:h", ""),
        ];
        for (text, prefix) in yes {
            assert!(user_starts_with(&uri(text), prefix.as_bytes()), "{text} {prefix}");
        }
        let no = [
            ("sip:15550125@h", "+1"),
            ("sip:+15550125@h", "1"),
            ("sip:saleseu@h", "sales-"),
            ("sip:alice@h", "alice;"),
            ("sip:1@h", "12"),
            ("sip:1@h", "%"),
        ];
        for (text, prefix) in no {
            assert!(!user_starts_with(&uri(text), prefix.as_bytes()), "{text} {prefix}");
        }
    }
}
