//! Who has forwarded a call (Diversion, RFC 5806; History-Info, RFC 7044): what an INVITE says of
//! that, what is remembered of a leg, and what it says to the next far end.

use core::fmt::Write as _;

use model::party;
use serde::{Deserialize, Serialize};
use sip::{Number, Uri};

/// How often one call is forwarded, here and before it came.
pub(crate) const FORWARDS_MAX: u32 = 5;

/// Who has forwarded a call, first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forwards {
    /// Their URIs, as far as they are known.
    pub(crate) by: Vec<String>,
    /// How many there were.
    pub(crate) count: u32,
}

impl Forwards {
    /// As an INVITE tells it: URIs, one a line, the last one first; and how many it counts.
    pub(crate) fn told(uris: &str, count: u16) -> Self {
        let mut by: Vec<String> = uris.lines().map(str::to_owned).collect();
        by.reverse();
        let known = u32::try_from(by.len()).unwrap_or(u32::MAX);
        Self { by, count: known.max(count.into()) }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.count == 0
    }

    /// The same, and this one has, too.
    pub(crate) fn and(mut self, by: &str) -> Self {
        self.by.push(by.to_owned());
        self.count = self.count.saturating_add(1);
        self
    }

    /// The lines that say so to whoever is called by `to`: the last one first (RFC 5806 section
    /// 5.1), and the history in its order (RFC 7044 section 10.3). `shown`: what is said of each,
    /// None for nothing; who is not named is counted.
    pub(crate) fn lines(&self, to: &str, shown: impl Fn(usize, &str) -> Option<String>) -> String {
        let mut named: Vec<(String, u32)> = Vec::new();
        for (at, by) in self.by.iter().enumerate() {
            match (shown(at, by), named.last_mut()) {
                (Some(uri), Some((last, count))) if *last == uri => *count += 1,
                (Some(uri), _) => named.push((uri, 1)),
                (None, Some((_, count))) => *count += 1,
                (None, None) => {}
            }
        }
        let said: u32 = named.iter().map(|(_, count)| count).sum();
        let Some((_, first)) = named.first_mut() else { return String::new() };
        *first += self.count.saturating_sub(said);
        let mut lines = String::new();
        for (by, count) in named.iter().rev() {
            let _ = write!(lines, "Diversion: <{by}>;reason=unconditional;counter={count}\r\n");
        }
        let mut index = String::new();
        let all = named.iter().map(|(by, _)| by.as_str()).chain([to]);
        for (at, uri) in all.enumerate() {
            let before = index.clone();
            index.push_str(if at == 0 { "1" } else { ".1" });
            let why = if at < named.len() { "?Reason=SIP%3Bcause%3D302" } else { "" };
            let _ = write!(lines, "History-Info: <{uri}{why}>;index={index}");
            let _ = match at {
                0 => write!(lines, "\r\n"),
                _ => write!(lines, ";mp={before}\r\n"),
            };
        }
        lines
    }
}

/// Where a call has been, or is to go: as it compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// However it is written.
    Number(String),
    /// User and host.
    Party(String, String),
}

impl Place {
    /// Of a URI, or of a number; a URI whose user is a number is both.
    pub(crate) fn all_of(text: &str) -> Vec<Self> {
        if let Some(number) = party::number(text) {
            return vec![Self::Number(number)];
        }
        let Ok(uri) = Uri::parse(text.as_bytes()) else { return Vec::new() };
        let number = Number::from_uri(&uri).map(|number| Self::Number(number.to_string()));
        let mut user = [0; 64];
        let user = uri.user_value(&mut user).and_then(|user| core::str::from_utf8(user).ok());
        let host = party::host(&uri).to_ascii_lowercase();
        let party = user.map(|user| Self::Party(user.to_owned(), host));
        number.into_iter().chain(party).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_who_has_forwarded() {
        let twice = Forwards::default().and("sip:a@x").and("sip:b@x");
        assert_eq!(
            twice.lines("sip:c@x", |_, by| Some(by.to_owned())),
            "Diversion: <sip:b@x>;reason=unconditional;counter=1\r\n\
             Diversion: <sip:a@x>;reason=unconditional;counter=1\r\n\
             History-Info: <sip:a@x?Reason=SIP%3Bcause%3D302>;index=1\r\n\
             History-Info: <sip:b@x?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1\r\n\
             History-Info: <sip:c@x>;index=1.1.1;mp=1.1\r\n"
        );
    }

    /// Who may not be named is counted, by whomever is.
    #[test]
    fn who_is_not_named_is_counted() {
        let known = Forwards::told("sip:+1777@there\nsip:+1666@there", 3);
        assert_eq!((known.by.len(), known.count), (2, 3));
        let all = known.and("sip:bob@x").and("sip:eve@x");
        let own = |at: usize, _: &str| (at >= 2).then(|| "sip:+1555@h".to_owned());
        assert_eq!(
            all.lines("tel:+1888", own),
            "Diversion: <sip:+1555@h>;reason=unconditional;counter=5\r\n\
             History-Info: <sip:+1555@h?Reason=SIP%3Bcause%3D302>;index=1\r\n\
             History-Info: <tel:+1888>;index=1.1;mp=1\r\n"
        );
        assert_eq!(all.lines("tel:+1888", |_, _| None), "");
    }

    #[test]
    fn places_compare_however_they_are_written() {
        let one = |text: &str| Place::all_of(text);
        assert_eq!(one("sip:Bob@X.example;line=1"), one("sip:Bob@x.EXAMPLE"));
        let number = Place::Number("+15550100".to_owned());
        for text in ["+15550100", "tel:+1-555-0100", "sip:+15550100@a", "sip:+15550100@b"] {
            assert!(one(text).contains(&number), "{text}");
        }
        assert!(!one("sip:15550100x@a").contains(&number));
    }
}
