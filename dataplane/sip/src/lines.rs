//! The lines of a header section, eight bytes at a time.
//!
//! Lines are short, so these loops are inlined words and not calls of `memchr`. Parser and stream
//! framing share them: both see the same end of every header section.

use crate::lex::is_lws;
use crate::name::{NAME_BYTES_MAX, Words};

/// A line without its end; `bad` when a CR stands inside.
pub(crate) struct Line {
    pub(crate) end: usize,
    pub(crate) bad: bool,
}

/// The physical line that begins at `at`, and where the next begins. Lines end with CR LF; a bare
/// LF is taken too.
#[inline]
pub(crate) fn line_at(bytes: &[u8], at: usize) -> Option<(Line, usize)> {
    let mut bad = false;
    let mut from = at;
    loop {
        let hit = from + line_end(bytes.get(from..)?)?;
        if bytes[hit] == b'\n' {
            return Some((Line { end: hit, bad }, hit + 1));
        }
        if bytes.get(hit + 1) == Some(&b'\n') {
            return Some((Line { end: hit, bad }, hit + 2));
        }
        bad = true;
        from = hit + 1;
    }
}

/// The first CR or LF. Lines are short: eight bytes at a time, inlined, beats a call of `memchr2`.
#[inline]
pub(crate) fn line_end(bytes: &[u8]) -> Option<usize> {
    let ends = |c: &u8| matches!(c, b'\r' | b'\n');
    let mut from = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = chunk.first_chunk().map_or(0, |c| u64::from_le_bytes(*c));
        // The lowest byte below 14; bytes above it may be marked falsely, none below.
        let low = word.wrapping_sub(ONES * 14) & !word & HIGH;
        if low != 0 {
            from += low.trailing_zeros() as usize / 8;
            break;
        }
        from += 8;
    }
    if bytes.get(from).is_some_and(ends) {
        return Some(from);
    }
    bytes.get(from..)?.iter().position(ends).map(|found| from + found)
}

/// The header field that begins at `at`: its line and the folded lines behind it. An empty line is
/// never folded.
#[inline]
pub(crate) fn field_at(bytes: &[u8], at: usize) -> Option<(Line, usize)> {
    let (mut line, mut next) = line_at(bytes, at)?;
    while matches!(bytes.get(next), Some(b' ' | b'\t')) && line.end > at {
        let (more, after) = line_at(bytes, next)?;
        line = Line { end: more.end, bad: line.bad || more.bad };
        next = after;
    }
    Some((line, next))
}

/// One in each byte, and the top bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Where the first colon stands in these words; [`NAME_BYTES_MAX`] when there is none.
#[inline]
pub(crate) fn first_colon(words: Words) -> usize {
    let hit = |word: u64| {
        let differing = word ^ (ONES * b':' as u64);
        let hit = differing.wrapping_sub(ONES) & !differing & HIGH;
        hit.trailing_zeros() as usize / 8
    };
    // A word without a colon counts eight.
    let (first, second, third) = (hit(words.0), hit(words.1), hit(words.2));
    if first < 8 {
        return first;
    }
    if second < 8 {
        return 8 + second;
    }
    if third < 8 {
        return 16 + third;
    }
    NAME_BYTES_MAX
}

/// `from..to` without white space at either end.
#[inline]
pub(crate) fn trimmed(text: &[u8], mut from: usize, mut to: usize) -> (usize, usize) {
    // One blank in front and none behind: what nearly every value has.
    if let Some([b' ', first, .., last]) = text.get(from..to)
        && *first > b' '
        && *last > b' '
    {
        return (from + 1, to);
    }
    while from < to && text.get(from).is_some_and(|&c| is_lws(c)) {
        from += 1;
    }
    while from < to && text.get(to - 1).is_some_and(|&c| is_lws(c)) {
        to -= 1;
    }
    (from, to)
}
