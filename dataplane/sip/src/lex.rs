//! Character classes and the cursor every header parser is written with.
//!
//! Header values keep their folding: `CR LF WSP` inside a value is white space. The index has
//! already made sure that a CR or LF inside a value is part of a fold, so white space here is four
//! bytes.

const TOKEN: u8 = 1;
const LWS: u8 = 2;
const HOST: u8 = 4;
const USER: u8 = 8;
const PARAM: u8 = 16;
const HEX: u8 = 32;
const VALUE: u8 = 64;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "byte < 256")]
        let c = byte as u8;
        let mut class = 0;
        if c.is_ascii_alphanumeric() {
            class |= TOKEN | HOST | USER | PARAM;
        }
        if c.is_ascii_hexdigit() {
            class |= HEX;
        }
        if !matches!(c, 0..=b' ' | b';' | b',' | b'"' | b'<' | b'>' | 0x7f) {
            class |= VALUE;
        }
        table[byte] = class;
        byte += 1;
    }
    table = mark(table, b"-.!%*_+`'~", TOKEN);
    table = mark(table, b" \t\r\n", LWS);
    table = mark(table, b"-._", HOST);
    // unreserved, user-unreserved, and '#', which phones send unescaped in dial strings.
    table = mark(table, b"-_.!~*'()&=+$,;?/%#", USER);
    // unreserved, param-unreserved.
    mark(table, b"-_.!~*'()[]/:&+$%", PARAM)
}

const fn mark(mut table: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] |= class;
        i += 1;
    }
    table
}

pub(crate) const fn is_token(c: u8) -> bool {
    CLASS[c as usize] & TOKEN != 0
}

pub(crate) const fn is_lws(c: u8) -> bool {
    CLASS[c as usize] & LWS != 0
}

pub(crate) const fn is_host(c: u8) -> bool {
    CLASS[c as usize] & HOST != 0
}

pub(crate) const fn is_user(c: u8) -> bool {
    CLASS[c as usize] & USER != 0
}

pub(crate) const fn is_param(c: u8) -> bool {
    CLASS[c as usize] & PARAM != 0
}

pub(crate) const fn is_value(c: u8) -> bool {
    CLASS[c as usize] & VALUE != 0
}

pub(crate) const fn is_hex(c: u8) -> bool {
    CLASS[c as usize] & HEX != 0
}

/// Value of one hexadecimal digit.
pub(crate) const fn hex(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

/// `text` is this word, any case; the usual case is compared as one number.
#[inline]
pub(crate) fn is<const N: usize>(text: &[u8], word: &[u8; N]) -> bool {
    text == word || text.eq_ignore_ascii_case(word)
}

/// Non-empty and made of token characters only (RFC 3261 section 25.1).
#[must_use]
pub fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&c| is_token(c))
}

/// `text` without white space at either end.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

/// Decimal digits only, at least one, value at most `max`, which has at most 19 digits itself.
#[inline]
pub(crate) fn number(text: &[u8], max: u64) -> Option<u64> {
    // Zeros in front may be many; 19 digits behind them fit.
    let text = match text {
        [zeros @ .., last] if text.len() > 19 => {
            let zero = zeros.iter().take_while(|&&c| c == b'0').count();
            if zero == zeros.len() { core::slice::from_ref(last) } else { &text[zero..] }
        }
        [] => return None,
        _ => text,
    };
    if text.len() > 19 {
        return None;
    }
    let mut value = 0;
    for &c in text {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (value <= max).then_some(value)
}

/// A decimal `u32`.
pub(crate) fn number_u32(text: &[u8]) -> Option<u32> {
    number(text, u64::from(u32::MAX)).and_then(|v| u32::try_from(v).ok())
}

/// A position in a header value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Bytes from `from` to the cursor.
    pub(crate) fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }

    pub(crate) fn advance(&mut self, by: usize) {
        self.at = (self.at + by).min(self.bytes.len());
    }

    #[inline]
    pub(crate) fn skip_lws(&mut self) {
        while self.peek().is_some_and(is_lws) {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn eat(&mut self, c: u8) -> bool {
        let hit = self.peek() == Some(c);
        self.at += usize::from(hit);
        hit
    }

    #[inline]
    pub(crate) fn take_while(&mut self, class: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|&c| !class(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A non-empty token.
    #[inline]
    pub(crate) fn token(&mut self) -> Option<&'a [u8]> {
        let text = self.take_while(is_token);
        if text.is_empty() { None } else { Some(text) }
    }

    /// A quoted string at the cursor; what stands between the quotes, escapes kept.
    pub(crate) fn quoted(&mut self) -> Option<&'a [u8]> {
        if !self.eat(b'"') {
            return None;
        }
        let rest = self.rest();
        let mut len = 0;
        loop {
            match rest.get(len)? {
                b'"' => {
                    self.at += len + 1;
                    return Some(&rest[..len]);
                }
                b'\\' => len += 2,
                _ => len += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_strings_keep_escapes_and_need_an_end() {
        assert_eq!(Cursor::new(br#""a\"b" x"#).quoted(), Some(&br#"a\"b"#[..]));
        assert_eq!(Cursor::new(br#""a\"#).quoted(), None);
        assert_eq!(Cursor::new(br#""a"#).quoted(), None);
        assert_eq!(Cursor::new(b"a").quoted(), None);
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(number(b"0068", 255), Some(68));
        assert_eq!(number(b"-1", 255), None);
        assert_eq!(number(b"", 255), None);
        assert_eq!(number(b"256", 255), None);
        assert_eq!(number(b"36893488147419103232", u64::MAX), None);
        assert_eq!(number(b"9999999999999999999", u64::MAX), Some(9_999_999_999_999_999_999));
        assert_eq!(number(b"00000000000000000000", 0), Some(0));
        assert_eq!(number(b"000000000000000000000000255", 255), Some(255));
        assert_eq!(number(b"0000000000000000000000x", 255), None);
    }
}
