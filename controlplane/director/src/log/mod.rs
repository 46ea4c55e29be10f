//! The script log: what a successor needs of a live call, written at each step as what changed.
//!
//! ```text
//!   log:    entry, entry, ...   the first one whole, each other a change of the one before
//!   entry:  | version 6 | kind | sequence | length | payload |
//!   whole:  each part with its length, then the document with its length
//!   change: | part | bytes kept at its begin | at its end | length | what stands between | ...
//!           | DOCUMENT | length | the document |
//! ```
//!
//! Numbers are LEB128. A part is what postcard makes of some fields of [`Live`]. A document is
//! written once, when it is taken. An entry whose number does not follow the one before says that
//! something between them is gone: such a log is not read.
//!
//! Version 1 was the whole call as JSON at each step: it is read, and followed by a whole. Version
//! 2 had no cookies, versions before 5 no credentials and nothing of SIP messages: their wholes
//! have parts less, and entries of later versions may follow them. What version 6 knows more (what
//! takes effect once, who has forwarded) stands behind what was in a part, and only where there is
//! some.

mod part;
mod words;

use std::borrow::Cow;

use model::port::ScriptLog;
use model::{CallRow, pack};

use crate::live::Live;
pub(crate) use part::Parts;
use part::{DOCUMENT, PARTS};

/// The first byte of an entry. Version 1 began with a brace.
const VERSION: u8 = 6;
/// Versions before: there were no credentials and no messages were told, nothing was packed, and
/// there were no cookies.
const WITHOUT_LOGIN: u8 = 4;
const UNPACKED: u8 = 3;
const WITHOUT_COOKIES: u8 = 2;
const WHOLE: u8 = 0;
const CHANGE: u8 = 1;
/// Beside the kind of an entry whose payload is packed; its length stands before it.
const PACKED: u8 = 2;
/// Bytes of a payload that is packed.
const PACKED_MAX: usize = 1 << 20;
/// Bytes of changes after which the next entry is a whole: what a log may grow to.
const CHANGES_MAX: usize = 16 * 1_024;

/// What was logged of a call last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logged {
    parts: Parts,
    /// Number of the document that was logged last; 0 for none.
    documents: u32,
    sequence: u32,
    /// Bytes of the changes since the last whole; None if there is none that could be followed.
    changes: Option<usize>,
}

/// An entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Instead of everything before.
    Whole(Vec<u8>),
    /// Behind what was written before.
    Change(Vec<u8>),
}

/// A log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLog(pub(crate) String);

impl Logged {
    /// The next entry of `live`'s log, and what is logged from then on. `scratch`: room to write
    /// in. None if nothing differs.
    pub(crate) fn next(&mut self, live: &Live, scratch: &mut Parts) -> Option<Entry> {
        scratch.write(live);
        let documents = live.script.as_ref().map_or(0, |script| script.documents);
        let document = (documents != self.documents).then(|| part::document(live));
        let entry = match self.changes {
            Some(bytes) if bytes <= CHANGES_MAX && is_short(document) => {
                let payload = changes(&self.parts, scratch, document);
                if payload.is_empty() {
                    return None;
                }
                let known = &self.parts.bytes();
                Entry::Change(entry(CHANGE, self.sequence.wrapping_add(1), &payload, known))
            }
            _ => {
                let document = document.unwrap_or_else(|| part::document(live));
                let payload = whole(scratch, document);
                Entry::Whole(entry(WHOLE, self.sequence.wrapping_add(1), &payload, &[]))
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.documents = documents;
        std::mem::swap(&mut self.parts, scratch);
        self.changes = Some(match &entry {
            Entry::Whole(_) => 0,
            Entry::Change(bytes) => self.changes.unwrap_or(0) + bytes.len(),
        });
        Some(entry)
    }

    /// The next entry is a whole: nobody knows what became of those before.
    pub(crate) fn begin_again(&mut self) {
        self.changes = None;
    }
}

/// A long document begins a log anew: as a change it would be followed by a whole, which has it
/// once more.
fn is_short(document: Option<&[u8]>) -> bool {
    document.is_none_or(|document| document.len() <= CHANGES_MAX / 4)
}

/// The call that a log is of.
pub(crate) fn read(log: &[u8]) -> Result<(Live, Logged), BadLog> {
    if log.first() == Some(&b'{') {
        let live = serde_json::from_slice(log).map_err(|error| BadLog(error.to_string()))?;
        return Ok((live, Logged::default()));
    }
    let mut reader = Reader(log);
    let mut folded: Option<(Logged, Vec<u8>)> = None;
    while !reader.0.is_empty() {
        let entry = reader.entry().ok_or_else(|| bad("an entry of it is cut off"))?;
        let (mut logged, mut document) = match (entry.kind, folded.take()) {
            (WHOLE, _) => (Logged::default(), Vec::new()),
            (CHANGE, Some((logged, document))) => {
                if entry.sequence != logged.sequence.wrapping_add(1) {
                    return Err(bad("an entry of it is gone"));
                }
                (logged, document)
            }
            (CHANGE, None) => return Err(bad("its first entry is gone")),
            _ => return Err(bad("an entry of it is of an unknown kind")),
        };
        let changes = logged.changes.unwrap_or(0);
        let known = if entry.kind == CHANGE { logged.parts.bytes() } else { &[] };
        let payload = entry.payload(known).ok_or_else(|| bad("an entry of it is damaged"))?;
        let payload = Reader(&payload);
        if entry.kind == WHOLE {
            payload.whole(entry.version, &mut logged.parts, &mut document)
        } else {
            payload.change(&mut logged.parts, &mut document)
        }
        .ok_or_else(|| bad("an entry of it is damaged"))?;
        logged.sequence = entry.sequence;
        logged.changes = Some(if entry.kind == WHOLE { 0 } else { changes + entry.payload.len() });
        folded = Some((logged, document));
    }
    let (mut logged, document) = folded.ok_or_else(|| bad("it is empty"))?;
    let live = logged.parts.read(&document).map_err(|error| BadLog(error.to_string()))?;
    logged.documents = live.script.as_ref().map_or(0, |script| script.documents);
    Ok((live, logged))
}

/// The row of the call that a log is of, as it was told last; None for one whose leg is over, and
/// for a log that cannot be read.
#[must_use]
pub fn standing_row(log: &ScriptLog) -> Option<CallRow> {
    let (live, _) = read(log.state.as_ref()?).ok()?;
    (!live.is_over()).then_some(live.row)
}

fn bad(why: &str) -> BadLog {
    BadLog(why.to_owned())
}

/// `known`: the parts before, for a change.
fn entry(kind: u8, sequence: u32, payload: &[u8], known: &[u8]) -> Vec<u8> {
    let packed = (payload.len() <= PACKED_MAX).then(|| pack::pack(payload, known)).flatten();
    let mut bytes = Vec::with_capacity(payload.len() + 16);
    bytes.extend([VERSION, kind | packed.as_ref().map_or(0, |_| PACKED)]);
    put_number(&mut bytes, sequence as usize);
    if packed.is_some() {
        put_number(&mut bytes, payload.len());
    }
    put_bytes(&mut bytes, packed.as_deref().unwrap_or(payload));
    bytes
}

fn whole(parts: &Parts, document: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.len() + document.len() + 2 * PARTS);
    for part in 0..PARTS {
        put_bytes(&mut bytes, parts.get(part));
    }
    put_bytes(&mut bytes, document);
    bytes
}

/// Each part that differs: how much of it stayed at both ends, and what is between.
fn changes(old: &Parts, new: &Parts, document: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    for part in 0..PARTS {
        let (old, new) = (old.get(part), new.get(part));
        if old == new {
            continue;
        }
        let same = |(one, other): &(&u8, &u8)| one == other;
        let begin = old.iter().zip(new).take_while(same).count();
        let (old, new) = (&old[begin..], &new[begin..]);
        let end = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
        put_number(&mut bytes, part);
        put_number(&mut bytes, begin);
        put_number(&mut bytes, end);
        put_bytes(&mut bytes, &new[..new.len() - end]);
    }
    if let Some(document) = document {
        put_number(&mut bytes, DOCUMENT);
        put_bytes(&mut bytes, document);
    }
    bytes
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_number(bytes, part.len());
    bytes.extend_from_slice(part);
}

/// What is left to be read.
struct Reader<'b>(&'b [u8]);

struct Found<'b> {
    version: u8,
    kind: u8,
    sequence: u32,
    /// Of the payload before it was packed; None if it was not.
    unpacked: Option<usize>,
    payload: &'b [u8],
}

impl<'b> Found<'b> {
    fn payload(&self, known: &[u8]) -> Option<Cow<'b, [u8]>> {
        match self.unpacked {
            None => Some(self.payload.into()),
            Some(len) if len > PACKED_MAX => None,
            Some(len) => pack::unpack(self.payload, len, known).map(Cow::Owned),
        }
    }
}

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn entry(&mut self) -> Option<Found<'b>> {
        let version = self.byte()?;
        if !(WITHOUT_COOKIES..=VERSION).contains(&version) {
            return None;
        }
        let kind = self.byte()?;
        let sequence = u32::try_from(self.number()?).ok()?;
        let is_packed = version > UNPACKED && kind & PACKED != 0;
        let unpacked = if is_packed { Some(self.number()?) } else { None };
        let kind = if is_packed { kind & !PACKED } else { kind };
        Some(Found { version, kind, sequence, unpacked, payload: self.bytes()? })
    }

    fn whole(mut self, version: u8, parts: &mut Parts, document: &mut Vec<u8>) -> Option<()> {
        let mut found: [&[u8]; PARTS] = [&[]; PARTS];
        let count = match version {
            WITHOUT_COOKIES => PARTS - 3,
            UNPACKED | WITHOUT_LOGIN => PARTS - 2,
            _ => PARTS,
        };
        for part in &mut found[..count] {
            *part = self.bytes()?;
        }
        parts.set(&found);
        *document = self.bytes()?.to_vec();
        self.0.is_empty().then_some(())
    }

    fn change(mut self, parts: &mut Parts, document: &mut Vec<u8>) -> Option<()> {
        while !self.0.is_empty() {
            let part = self.number()?;
            if part == DOCUMENT {
                *document = self.bytes()?.to_vec();
                continue;
            }
            let (begin, end, between) = (self.number()?, self.number()?, self.bytes()?);
            let old = (part < PARTS).then(|| parts.get(part))?;
            let kept = begin.checked_add(end).filter(|kept| *kept <= old.len())?;
            let mut new = Vec::with_capacity(kept + between.len());
            new.extend_from_slice(&old[..begin]);
            new.extend_from_slice(between);
            new.extend_from_slice(&old[old.len() - end..]);
            parts.replace(part, &new);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
