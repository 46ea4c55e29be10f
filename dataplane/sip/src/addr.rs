//! Name-addr and addr-spec: From, To, Contact, Route, Record-Route, Refer-To and their like
//! (RFC 3261 sections 20.10 and 25.1).

use crate::lex::{Cursor, is, is_lws, is_token, number_u32, trim};
use crate::params::{Params, next_param};
use crate::uri::{BadUri, Uri};

/// One address with its header parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// Display name: without its quotes (escapes kept: [`NameAddr::display_value`] undoes them), or
    /// the bare words; empty when absent.
    pub display: &'a [u8],
    /// The URI as written, without angle brackets.
    pub uri: &'a [u8],
    /// It stood in angle brackets (else a `?` or a comma may not be part of it).
    pub bracketed: bool,
    /// `tag`.
    pub tag: Option<&'a [u8]>,
    /// Header parameters (not the URI's).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one address that fills `value`; `None` when the syntax is broken. The URI's own syntax
    /// is checked by [`NameAddr::uri`].
    #[must_use]
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        cursor.skip_lws();
        let display = if cursor.peek() == Some(b'"') {
            let text = cursor.quoted()?;
            cursor.skip_lws();
            if cursor.peek() != Some(b'<') {
                return None;
            }
            text
        } else if cursor.peek() == Some(b'<') {
            b""
        } else if let Some(open) = open_bracket(cursor.rest()) {
            let text = trim(&cursor.rest()[..open]);
            if !words(text) {
                return None;
            }
            cursor.advance(open);
            text
        } else {
            b""
        };
        let bracketed = cursor.eat(b'<');
        let uri = if bracketed {
            let len = memchr::memchr(b'>', cursor.rest())?;
            let uri = &cursor.rest()[..len];
            cursor.advance(len + 1);
            // RFC 4475 section 3.1.2.14: the spaces may be ignored.
            trim(uri)
        } else {
            cursor.take_while(|c| !is_lws(c) && !matches!(c, b';' | b',' | b'?' | b'"'))
        };
        if uri.is_empty() {
            return None;
        }
        let from = cursor.at();
        let mut tag = None;
        while let Some(param) = next_param(&mut cursor)? {
            if is(param.name, b"tag") {
                tag = Some(param.value.filter(|v| !v.is_empty())?);
            }
        }
        cursor.skip_lws();
        let params = Params::checked(cursor.since(from));
        cursor.done().then_some(Self { display, uri, bracketed, tag, params })
    }

    /// The display name as it is meant: escapes undone, folds and control characters a space each,
    /// in `out`; `None` when it does not fit. [`crate::Writer::address`] makes the notation again.
    #[must_use]
    pub fn display_value<'o>(&self, out: &'o mut [u8]) -> Option<&'o [u8]> {
        unquoted(self.display, out)
    }

    /// The URI, typed.
    ///
    /// # Errors
    /// [`BadUri`] when its syntax is broken.
    #[inline]
    pub fn uri(&self) -> Result<Uri<'a>, BadUri> {
        Uri::parse(self.uri)
    }

    /// The `expires` parameter of a Contact, in seconds.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.params.get(b"expires").and_then(number_u32)
    }

    /// The `q` parameter of a Contact in thousandths (1,000 when absent).
    #[must_use]
    pub fn q(&self) -> u16 {
        let Some(text) = self.params.get(b"q") else { return 1_000 };
        let digit = |at: usize| {
            text.get(at).filter(|c| c.is_ascii_digit()).map_or(0, |c| u16::from(c - b'0'))
        };
        if digit(0) > 0 { 1_000 } else { digit(2) * 100 + digit(3) * 10 + digit(4) }
    }
}

/// Undoes the notation of a quoted string (RFC 3261 section 25.1): what stands between the quotes
/// in, what it denotes out; `None` when it does not fit. No line end and no other control character
/// comes out: a fold is one space.
#[must_use]
pub fn unquoted<'o>(quoted: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut len = 0;
    let mut bytes = quoted.iter().copied().peekable();
    while let Some(c) = bytes.next() {
        let c = if c == b'\\' { bytes.next().unwrap_or(c) } else { c };
        if c == b'\r' || c == b'\n' {
            while bytes.next_if(|&c| is_lws(c)).is_some() {}
        }
        *out.get_mut(len)? = if c.is_ascii_control() { b' ' } else { c };
        len += 1;
    }
    Some(&out[..len])
}

/// Where the `<` behind a bare display name stands. One behind a quotation mark is in a parameter:
/// `sip:a@h;p="<x>"` is an address without brackets.
#[inline]
fn open_bracket(text: &[u8]) -> Option<usize> {
    memchr::memchr2(b'<', b'"', text).filter(|&at| text[at] == b'<')
}

/// Bare words of a display name. RFC 3261 allows tokens only; carriers send dots, commas and UTF-8
/// too, and RFC 4475 section 3.1.2.15 lets a receiver take them (they go out quoted).
fn words(text: &[u8]) -> bool {
    text.iter().all(|&c| is_token(c) || is_lws(c) || c >= 0x80 || b",()/&@:$".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_what_its_notation_means() {
        let mut out = [0; 32];
        let table: [(&[u8], &[u8]); 4] = [
            (br#""Bob \"Bobby\" \\ Smith" <sip:b@h>"#, br#"Bob "Bobby" \ Smith"#),
            (b"\"a\r\n  b\x01\" <sip:b@h>", b"a b "),
            (b"Bob <sip:b@h>", b"Bob"),
            (b"<sip:b@h>", b""),
        ];
        for (text, value) in table {
            assert_eq!(NameAddr::parse(text).unwrap().display_value(&mut out), Some(value));
        }
        let long = NameAddr::parse(b"\"abc\" <sip:b@h>").unwrap();
        assert_eq!(long.display_value(&mut [0; 2]), None);
    }

    #[test]
    fn addresses_in_the_forms_that_occur() {
        let a = NameAddr::parse(br#""Q \"x\" <" <sip:a@b;lr?x=y>;tag=1 ; p"#).unwrap();
        assert_eq!(a.display, br#"Q \"x\" <"#);
        assert_eq!((a.uri, a.tag), (&b"sip:a@b;lr?x=y"[..], Some(&b"1"[..])));
        assert!(a.params.has(b"p"));
        let a = NameAddr::parse(b"sip:a@b;tag=2;user=phone").unwrap();
        assert_eq!((a.uri, a.tag, a.bracketed), (&b"sip:a@b"[..], Some(&b"2"[..]), false));
        let a = NameAddr::parse(b"caller<sip:c@d>;q=0.33;expires=60").unwrap();
        assert_eq!((a.display, a.q(), a.expires()), (&b"caller"[..], 330, Some(60)));
        let a = NameAddr::parse(b"sip:a@b;+sip.instance=\"<urn:x>\";audio").unwrap();
        assert_eq!((a.uri, a.bracketed), (&b"sip:a@b"[..], false));
        assert_eq!(a.params.get(b"+sip.instance"), Some(&b"<urn:x>"[..]));
        let a = NameAddr::parse(b"Bob Smith < sip:bob@h >;ob").unwrap();
        assert_eq!((a.display, a.uri), (&b"Bob Smith"[..], &b"sip:bob@h"[..]));
        let bad = [
            &br#""Mr. J. User <sip:j.user@example.com>"#[..],
            b"sip:u@h?Route=%3Csip:sip.example.com%3E",
            b"<sip:u@h",
            b"<>",
            b"",
            b"\"x\" sip:a@b",
            b"<sip:joe@example.org>;;;;",
            b"<sip:a@b>;tag=",
        ];
        for bad in bad {
            assert!(NameAddr::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }
}
