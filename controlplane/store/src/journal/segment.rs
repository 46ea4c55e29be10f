//! Bytes of a segment.
//!
//! ```text
//!   segment: | head | the same head again | frame | ...
//!   head:    | magic 8 | first position 8 | durable position 8 | salt 8 | CRC-32 of these 4 |
//!   frame:   | length 4 (never 0) | behind 4 | position 8 | CRC-32 of salt, these, payload 4 | payload |
//! ```
//!
//! Numbers are little-endian. A record's position is its number in the journal. `behind` says how
//! far what was durable lay behind it when it was taken: each record names what was acknowledged
//! before it.
//!
//! A power cut tears the end off a segment: what follows the last whole frame was never
//! acknowledged, or is of a segment that was here before, whose positions are lower. Anything else
//! is damage. Behind a frame that is not whole the reader goes on: it looks for the next one by its
//! position, which cannot be further on than the bytes between have room for, and its check. The
//! salt is random and in no record, so that what a tenant wrote into a record is not taken for one.

const MAGIC: &[u8; 8] = b"TandemJ2";
const HEAD_BYTES: usize = 36;
/// Bytes before the first frame: the head, twice.
pub(super) const HEADS_BYTES: usize = 2 * HEAD_BYTES;
/// Bytes of a frame before its payload.
pub(super) const FRAME_BYTES: usize = 20;
/// The longest payload.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Position of its first record.
    pub(super) first: u64,
    /// What was durable when it was begun.
    pub(super) durable: u64,
    pub(super) salt: u64,
}

/// What a segment holds: the whole records, what lies between them, and how many bytes behind them
/// are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Segment<'b> {
    pub(super) head: Option<Head>,
    /// The highest position that head and records say was durable.
    pub(super) durable: u64,
    pub(super) records: Vec<(u64, &'b [u8])>,
    pub(super) holes: Vec<Hole>,
    pub(super) torn_bytes: usize,
}

/// Bytes that are no frame, with whole frames behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) at: usize,
    pub(super) bytes: usize,
    /// Positions that are gone: from this, before that. None if only a head is.
    pub(super) gone: (u64, u64),
}

struct Frame<'b> {
    position: u64,
    durable: u64,
    payload: &'b [u8],
}

pub(super) fn heads(head: Head) -> [u8; HEADS_BYTES] {
    let mut bytes = [0; HEADS_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&head.first.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.durable.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.salt.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes.copy_within(..HEAD_BYTES, HEAD_BYTES);
    bytes
}

/// Appends one frame. The payload is 1 to [`RECORD_BYTES_MAX`] bytes long.
pub(super) fn frame(salt: u64, position: u64, durable: u64, payload: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(payload.len()).unwrap_or(0);
    let behind = u32::try_from(position.saturating_sub(durable)).unwrap_or(u32::MAX);
    let begin = out.len();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&behind.to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    let crc = check(salt, &out[begin..], payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The head of a segment, of its two copies the one that is whole.
pub(super) fn head_of(bytes: &[u8]) -> Option<Head> {
    [0, HEAD_BYTES].into_iter().find_map(|at| whole_head(bytes.get(at..at + HEAD_BYTES)?))
}

fn whole_head(bytes: &[u8]) -> Option<Head> {
    let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let head = Head { first: number(8)?, durable: number(16)?, salt: number(24)? };
    (bytes == &heads(head)[..HEAD_BYTES]).then_some(head)
}

/// Reads a segment. `salt` is its neighbours', for one whose own head is gone.
pub(super) fn read(bytes: &[u8], salt: Option<u64>) -> Segment<'_> {
    let head = head_of(bytes);
    let mut segment = Segment { head, ..Segment::default() };
    segment.durable = head.map_or(0, |head| head.durable);
    let Some(salt) = head.map(|head| head.salt).or(salt) else {
        segment.torn_bytes = bytes.len();
        return segment;
    };
    let (mut at, mut expected) = match head {
        Some(head) => (HEADS_BYTES.min(bytes.len()), Some(head.first)),
        None => (0, None),
    };
    let end = end_of(bytes);
    while at < bytes.len() {
        let here = frame_at(bytes, at, salt, |position| Some(position) == expected);
        let (from, frame) = match here {
            Some(frame) => (at, frame),
            None => match behind(bytes, (at, end), expected, salt) {
                Some(found) => found,
                None => {
                    segment.torn_bytes = end.saturating_sub(at);
                    break;
                }
            },
        };
        if from > at {
            let gone = (expected.unwrap_or(frame.position), frame.position);
            segment.holes.push(Hole { at, bytes: from - at, gone });
        }
        segment.durable = segment.durable.max(frame.durable);
        segment.records.push((frame.position, frame.payload));
        at = from + FRAME_BYTES + frame.payload.len();
        expected = frame.position.checked_add(1);
    }
    // One of the two copies was hit; before the first frame nothing else can be.
    let copies = bytes.split_at_checked(HEAD_BYTES).map(|(one, rest)| rest.starts_with(one));
    if head.is_some() && copies == Some(false) && !segment.records.is_empty() {
        let gone = segment.records.first().map_or((0, 0), |(first, _)| (*first, *first));
        segment.holes.insert(0, Hole { at: 0, bytes: HEADS_BYTES, gone });
    }
    segment
}

/// Where nothing but zeros follows: a segment has its size from its begin, and most of it may never
/// have been written. No frame begins there.
fn end_of(bytes: &[u8]) -> usize {
    const BLOCK: [u8; 4_096] = [0; 4_096];
    let blocks = bytes.rchunks(BLOCK.len()).take_while(|block| **block == BLOCK[..block.len()]);
    let rest = &bytes[..bytes.len() - blocks.map(<[u8]>::len).sum::<usize>()];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The next whole frame behind bytes that are none, which begins before `end`, and where.
fn behind(
    bytes: &[u8],
    (at, end): (usize, usize),
    expected: Option<u64>,
    salt: u64,
) -> Option<(usize, Frame<'_>)> {
    let fits = |from: usize| {
        // What is gone had room in the bytes between.
        let most = ((from - at) / (FRAME_BYTES + 1)) as u64;
        move |position: u64| match expected {
            Some(expected) => position > expected && position - expected <= most,
            None => position > 0,
        }
    };
    // Where the length is whole, the next frame begins where it says: what is in the record need
    // not be looked at.
    let len = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let skipped = len.and_then(|len| usize::try_from(u32::from_le_bytes(*len)).ok());
    let skipped = skipped.filter(|len| (1..=RECORD_BYTES_MAX).contains(len));
    let by_length = skipped.map(|len| at + FRAME_BYTES + len);
    let places = by_length.into_iter().chain(at + 1..end);
    places.into_iter().find_map(|from| Some((from, frame_at(bytes, from, salt, fits(from))?)))
}

fn frame_at(
    bytes: &[u8],
    at: usize,
    salt: u64,
    is_wanted: impl FnOnce(u64) -> bool,
) -> Option<Frame<'_>> {
    let (head, rest) = bytes.get(at..)?.split_at_checked(FRAME_BYTES)?;
    let (numbers, crc) = head.split_at(16);
    let len = u32::from_le_bytes(*numbers.first_chunk()?);
    let len = usize::try_from(len).ok().filter(|len| (1..=RECORD_BYTES_MAX).contains(len))?;
    let behind = u32::from_le_bytes(*numbers[4..].first_chunk()?);
    let position = u64::from_le_bytes(*numbers[8..].first_chunk()?);
    if !is_wanted(position) {
        return None;
    }
    let payload = rest.get(..len)?;
    let whole = check(salt, numbers, payload) == u32::from_le_bytes(*crc.first_chunk()?);
    let durable = position.saturating_sub(u64::from(behind));
    whole.then_some(Frame { position, durable, payload })
}

fn check(salt: u64, numbers: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(numbers);
    hasher.update(payload);
    hasher.finalize()
}

/// A segment as version 1 wrote it: without positions in its frames, so that nothing is found
/// behind one that is not whole. Read by the first start after an upgrade, never written.
pub(super) mod version_1 {
    use super::{RECORD_BYTES_MAX, Segment};

    const MAGIC: &[u8; 8] = b"TandemJ1";
    const HEAD_BYTES: usize = 28;

    /// None if it is none.
    pub(in super::super) fn read(bytes: &[u8]) -> Option<Segment<'_>> {
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let (numbers, crc) = head.split_at(24);
        if !numbers.starts_with(MAGIC) || crc != crc32fast::hash(numbers).to_le_bytes() {
            return None;
        }
        let mut position = u64::from_le_bytes(*numbers[8..].first_chunk()?);
        let durable = u64::from_le_bytes(*numbers[16..].first_chunk()?);
        let mut records = Vec::new();
        while let Some((payload, after)) = next(position, rest) {
            records.push((position, payload));
            position += 1;
            rest = after;
        }
        Some(Segment { durable, records, torn_bytes: rest.len(), ..Segment::default() })
    }

    fn next(position: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, bytes) = bytes.split_first_chunk::<4>()?;
        let (crc, bytes) = bytes.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        if len == 0 || len > RECORD_BYTES_MAX {
            return None;
        }
        let (payload, rest) = bytes.split_at_checked(len)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&position.to_le_bytes());
        hasher.update(payload);
        (hasher.finalize() == u32::from_le_bytes(*crc)).then_some((payload, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { first: 7, durable: 6, salt: 0x5a17 };

    fn segment(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = heads(HEAD).to_vec();
        for (position, record) in (7..).zip(records) {
            frame(HEAD.salt, position, 6, record, &mut bytes);
        }
        bytes
    }

    fn positions(segment: &Segment<'_>) -> Vec<u64> {
        segment.records.iter().map(|(position, _)| *position).collect()
    }

    #[test]
    fn frames_come_back_and_a_torn_tail_is_cut() {
        let bytes = segment(&[b"one", b"two"]);
        let whole = read(&bytes, None);
        assert_eq!((whole.head, whole.torn_bytes, whole.holes.len()), (Some(HEAD), 0, 0));
        assert_eq!(whole.records, [(7, &b"one"[..]), (8, b"two")]);
        for cut in HEADS_BYTES..bytes.len() {
            let torn = read(&bytes[..cut], None);
            let records = usize::from(cut >= HEADS_BYTES + FRAME_BYTES + 3);
            assert_eq!((torn.records.len(), torn.holes.len()), (records, 0), "cut at {cut}");
        }
        assert_eq!(read(&bytes[..HEAD_BYTES - 1], None).head, None);
    }

    #[test]
    fn a_flipped_bit_costs_its_own_record_and_no_other() {
        let bytes = segment(&[b"one", b"two", b"three"]);
        let second = HEADS_BYTES + FRAME_BYTES + 3;
        for bit in second * 8..(second + FRAME_BYTES + 3) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = read(&damaged, None);
            assert_eq!(positions(&found), [7, 9], "bit {bit}");
            let hole = Hole { at: second, bytes: FRAME_BYTES + 3, gone: (8, 9) };
            assert_eq!(found.holes, [hole], "bit {bit}");
        }
        for bit in 0..HEADS_BYTES * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = read(&damaged, None);
            assert_eq!((positions(&found), found.holes.len()), (vec![7, 8, 9], 1), "bit {bit}");
        }
    }

    #[test]
    fn without_a_head_the_neighbours_salt_reads_what_is_there() {
        let mut bytes = segment(&[b"one", b"two"]);
        bytes[..HEADS_BYTES].fill(0xff);
        assert_eq!(positions(&read(&bytes, Some(HEAD.salt))), [7, 8]);
        assert_eq!(read(&bytes, Some(HEAD.salt)).holes.len(), 1);
        assert_eq!(read(&bytes, None).torn_bytes, bytes.len());
    }

    #[test]
    fn a_record_inside_a_record_is_none() {
        let mut inner = Vec::new();
        // Somebody who knows the format, and guesses the position, but not the salt.
        frame(0, 8, 6, b"a charge of my own", &mut inner);
        let mut bytes = segment(&[&inner, b"two"]);
        bytes[HEADS_BYTES] ^= 1;
        assert_eq!(read(&bytes, None).records, [(8, &b"two"[..])]);
    }

    #[test]
    fn a_record_of_another_position_is_none() {
        let mut bytes = heads(HEAD).to_vec();
        frame(HEAD.salt, 8, 6, b"stale", &mut bytes);
        assert!(read(&bytes, None).records.is_empty());
    }

    #[test]
    fn zeros_behind_the_records_are_their_end() {
        let mut bytes = segment(&[b"one"]);
        bytes.resize(4096, 0);
        let found = read(&bytes, None);
        assert_eq!((positions(&found), found.holes.len()), (vec![7], 0));
        assert_eq!(found.torn_bytes, 0);
    }

    /// A file is written over from its begin: whatever length the new records have, those of before
    /// are none, even where one of the new ones is damaged.
    #[test]
    fn records_of_an_earlier_life_are_none() {
        let old = segment(&[&[1; 50], &[2; 60], &[3; 70], &[4; 80]]);
        for len in 1..200 {
            let mut bytes = old.clone();
            let mut new = heads(Head { first: 40, durable: 39, ..HEAD }).to_vec();
            for position in 40..42 {
                frame(HEAD.salt, position, 39, &vec![9; len], &mut new);
            }
            bytes.resize(bytes.len().max(new.len()), 0);
            bytes[..new.len()].copy_from_slice(&new);
            let found = read(&bytes, None);
            assert_eq!((positions(&found), found.holes.len()), (vec![40, 41], 0), "{len}");
            bytes[HEADS_BYTES + FRAME_BYTES] ^= 1;
            let found = read(&bytes, None);
            assert_eq!((positions(&found), found.holes.len()), (vec![41], 1), "{len}");
        }
    }

    #[test]
    fn what_version_1_wrote_is_read() {
        let mut bytes = b"TandemJ1".to_vec();
        bytes.extend_from_slice(&3_u64.to_le_bytes());
        bytes.extend_from_slice(&2_u64.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        for (position, text) in [(3_u64, "three"), (4, "four")] {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            let checked = [&position.to_le_bytes()[..], text.as_bytes()].concat();
            bytes.extend_from_slice(&crc32fast::hash(&checked).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let found = version_1::read(&bytes).unwrap();
        assert_eq!(found.records, [(3, &b"three"[..]), (4, b"four")]);
        assert_eq!((found.durable, found.torn_bytes), (2, 0));
        assert_eq!(version_1::read(&segment(&[b"one"])), None);
    }
}
