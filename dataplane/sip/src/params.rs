//! Header parameters (`;name=value`, values may be quoted) and comma-separated lists.

use crate::lex::{Cursor, is_value};

/// The parameters of one header value, checked when the value was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a>(&'a [u8]);

/// One parameter. A quoted value is given without its quotes, escapes kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Name, any case.
    pub name: &'a [u8],
    /// Value; `None` for a flag.
    pub value: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    pub(crate) const fn checked(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Reads parameters that fill `raw`; `None` when the syntax is broken.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(raw);
        while next_param(&mut cursor)?.is_some() {}
        cursor.done().then_some(Self(raw))
    }

    /// As written, beginning with `;` (or white space) unless empty.
    #[must_use]
    pub const fn raw(self) -> &'a [u8] {
        self.0
    }

    /// All parameters in order.
    pub fn iter(self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        core::iter::from_fn(move || next_param(&mut cursor).flatten())
    }

    /// Value of the named parameter (empty for a flag), any case.
    #[must_use]
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| p.value.unwrap_or_default())
    }

    /// The parameter is there, with or without a value.
    #[must_use]
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }
}

/// The next `;name[=value]` at the cursor: `Some(None)` when there is no semicolon, `None` on
/// broken syntax.
#[expect(clippy::option_option, reason = "absent and broken are different answers")]
#[inline]
pub(crate) fn next_param<'a>(cursor: &mut Cursor<'a>) -> Option<Option<Param<'a>>> {
    cursor.skip_lws();
    if !cursor.eat(b';') {
        return Some(None);
    }
    cursor.skip_lws();
    let name = cursor.token()?;
    if cursor.peek() == Some(b';') {
        return Some(Some(Param { name, value: None }));
    }
    cursor.skip_lws();
    if !cursor.eat(b'=') {
        return Some(Some(Param { name, value: None }));
    }
    cursor.skip_lws();
    let value = if cursor.peek() == Some(b'"') {
        cursor.quoted()?
    } else {
        let value = cursor.take_while(is_value);
        if value.is_empty() {
            return None;
        }
        value
    };
    Some(Some(Param { name, value: Some(value) }))
}

/// The values of a comma-separated list; commas in quotes and angle brackets do not separate.
#[derive(Clone, Copy, Debug)]
pub struct List<'a>(Option<&'a [u8]>);

impl<'a> List<'a> {
    /// The values of one header field.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self(Some(value))
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let Some(end) = comma(rest) else {
            self.0 = None;
            return Some(crate::lex::trim(rest));
        };
        self.0 = Some(&rest[end + 1..]);
        Some(crate::lex::trim(&rest[..end]))
    }
}

/// Where the first separating comma stands.
#[inline]
fn comma(text: &[u8]) -> Option<usize> {
    memchr::memchr(b',', text)?;
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for (at, &c) in text.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            b'\\' if quoted => escaped = true,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_spaces_quotes_and_flags() {
        let params = Params::parse(b" ; a = 1;b ;C=\"x;\\\"y\";received=2001:db8::1").unwrap();
        assert_eq!(params.get(b"A"), Some(&b"1"[..]));
        assert_eq!(params.get(b"b"), Some(&b""[..]));
        assert_eq!(params.get(b"c"), Some(&b"x;\\\"y"[..]));
        assert_eq!(params.get(b"received"), Some(&b"2001:db8::1"[..]));
        assert!(!params.has(b"d"));
        assert!(Params::parse(b";;").is_none());
        assert!(Params::parse(b";a=").is_none());
        assert!(Params::parse(b";a=1 x").is_none());
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        let text = br#""a,b" <sip:x,y@h>;z=1 , <sip:c>,"#;
        let mut list = List::new(text);
        assert_eq!(list.next(), Some(&br#""a,b" <sip:x,y@h>;z=1"#[..]));
        assert_eq!(list.next(), Some(&b"<sip:c>"[..]));
        assert_eq!(list.next(), Some(&b""[..]));
        assert_eq!(list.next(), None);
    }
}
