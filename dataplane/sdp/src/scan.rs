//! Lines, words and numbers: the only code that walks over raw bytes.

use crate::error::SdpError;

/// Iterator over the lines of a text as (letter, value); blank lines, and a last line that is
/// none, are passed over.
///
/// Line ends may be CRLF (RFC 8866 section 5) or a bare LF, which real phones send.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next line without its end, or None at the end of the text.
    fn raw(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (line, rest) = match memchr::memchr(b'\n', self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
                None => (self.rest, &self.rest[self.rest.len()..]),
            };
            self.rest = rest;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.iter().all(|&b| b == b' ' || b == b'\t') {
                return Some(line);
            }
        }
        None
    }

    /// The next line, checked. A bare CR is refused because a peer that takes it for a line end
    /// would see lines in what we relay that we did not see.
    pub(crate) fn checked(&mut self) -> Result<Option<(u8, &'a [u8])>, SdpError> {
        let before = self.rest;
        let Some(line) = self.raw() else { return Ok(None) };
        let [letter @ b'a'..=b'z', b'=', value @ ..] = line else {
            // A last line that was cut before its end says nothing.
            let cut = self.rest.is_empty() && !before.ends_with(b"\n");
            return if cut { Ok(None) } else { Err(SdpError::BadLine) };
        };
        if memchr::memchr2(b'\r', 0, value).is_some() {
            return Err(SdpError::BadByte);
        }
        Ok(Some((*letter, value)))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u8, &'a [u8]);

    /// For text that `checked` has seen: anything else is passed over.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let [letter, b'=', value @ ..] = self.raw()? {
                return Some((*letter, value));
            }
        }
    }
}

/// Takes the next word (up to blanks) off `text`; empty at the end.
pub(crate) fn word<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let whole = text.trim_ascii_start();
    let end = whole.iter().position(|&b| b == b' ' || b == b'\t').unwrap_or(whole.len());
    let (word, rest) = whole.split_at(end);
    *text = rest;
    word
}

/// A decimal number of at most 20 digits, nothing else.
pub(crate) fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    T::try_from(value).ok()
}

/// `text` up to `mark` and what follows it; without the mark, all and nothing.
pub(crate) fn split_once(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(mark, text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// FNV-1a over 64 bits: to notice change, not to resist an attacker.
pub(crate) fn hash(mut state: u64, bytes: &[u8]) -> u64 {
    for &byte in bytes {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state
}

/// The start value of [`hash`].
pub(crate) const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
