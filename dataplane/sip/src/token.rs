//! Tags and branches of our own that say which shard and which leg wrote them (DESIGN.md section
//! 4).
//!
//! A token is the leg's 64-bit id (shard number in the top 8 bits, as in `LegId`) and a 32-bit MAC
//! over kind, id and a caller's distinguisher, in base32: 20 characters. A branch has the magic
//! cookie in front. A token that was not made with our key reads as `None`; one guess in 2^32
//! passes, and then names a leg whose tags do not match.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::via::MAGIC;

/// Length of a token without prefix.
pub const TOKEN_BYTES: usize = 20;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A keyed-hash key: made at boot, parked with the region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

/// What a token is for; a tag cannot be passed off as a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A dialog tag.
    Tag,
    /// A Via branch; `salt` makes each transaction of the leg its own.
    Branch {
        /// Number of the transaction within the leg.
        salt: u32,
    },
}

/// A token as text, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    text: [u8; MAGIC.len() + TOKEN_BYTES + SALT_BYTES],
    len: u8,
}

const SALT_BYTES: usize = 7;

impl Token {
    /// The text.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl core::ops::Deref for Token {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.bytes().escape_ascii())
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Makes the token of `leg`, whose top 8 bits are its shard.
#[must_use]
pub fn make(kind: Kind, leg: u64, key: &Key) -> Token {
    let mut text = [0; MAGIC.len() + TOKEN_BYTES + SALT_BYTES];
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        text[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    let salt = match kind {
        Kind::Tag => None,
        Kind::Branch { salt } => {
            put(MAGIC);
            Some(salt)
        }
    };
    let mac = mac(salt, leg, key);
    let mut digits = [0; TOKEN_BYTES];
    encode((u128::from(leg) << 32) | u128::from(mac), &mut digits);
    put(&digits);
    if let Some(salt) = salt {
        let mut digits = [0; SALT_BYTES];
        encode(u128::from(salt), &mut digits);
        put(&digits);
    }
    let len = u8::try_from(len).unwrap_or(0);
    Token { text, len }
}

/// Reads a tag of ours: shard and leg.
#[must_use]
pub fn read_tag(text: &[u8], key: &Key) -> Option<(u8, u64)> {
    read(text, None, key)
}

/// Reads a branch of ours: shard, leg and salt.
#[must_use]
pub fn read_branch(text: &[u8], key: &Key) -> Option<(u8, u64, u32)> {
    let (cookie, rest) = text.split_at_checked(MAGIC.len())?;
    let (token, salt) = rest.split_at_checked(TOKEN_BYTES)?;
    if !cookie.eq_ignore_ascii_case(MAGIC) || salt.len() != SALT_BYTES {
        return None;
    }
    let salt = u32::try_from(decode(salt)?).ok()?;
    read(token, Some(salt), key).map(|(shard, leg)| (shard, leg, salt))
}

fn read(text: &[u8], salt: Option<u32>, key: &Key) -> Option<(u8, u64)> {
    if text.len() != TOKEN_BYTES {
        return None;
    }
    let value = decode(text)?;
    let leg = u64::try_from(value >> 32).ok()?;
    let given = u32::try_from(value & u128::from(u32::MAX)).ok()?;
    (given == mac(salt, leg, key)).then(|| (shard_of(leg), leg))
}

/// The shard in the top 8 bits of a leg id.
#[must_use]
pub const fn shard_of(leg: u64) -> u8 {
    leg.to_be_bytes()[0]
}

fn mac(salt: Option<u32>, leg: u64, key: &Key) -> u32 {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    hasher.write_u64(leg);
    hasher.write_u64(salt.map_or(u64::MAX, u64::from));
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

/// Least significant five bits last.
fn encode(mut value: u128, out: &mut [u8]) {
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[usize::try_from(value & 31).unwrap_or(0)];
        value >>= 5;
    }
}

/// Any case: some proxies fold it.
fn decode(text: &[u8]) -> Option<u128> {
    let mut value = 0u128;
    for &c in text {
        let digit = match c {
            b'a'..=b'z' => c - b'a',
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        value = (value << 5) | u128::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 16]);

    #[test]
    fn tokens_come_back_and_nothing_else_does() {
        for leg in [0, 1, 0x0300_0000_1234_5678, u64::MAX] {
            let tag = make(Kind::Tag, leg, &KEY);
            assert_eq!(tag.len(), TOKEN_BYTES);
            assert_eq!(read_tag(&tag, &KEY), Some((shard_of(leg), leg)));
            let branch = make(Kind::Branch { salt: 9 }, leg, &KEY);
            assert!(branch.starts_with(MAGIC));
            assert_eq!(read_branch(&branch, &KEY), Some((shard_of(leg), leg, 9)));
            assert_eq!(
                read_branch(&branch.to_ascii_uppercase(), &KEY),
                Some((shard_of(leg), leg, 9))
            );
            assert_eq!(read_tag(&branch[7..27], &KEY), None);
            assert_eq!(read_tag(&tag, &Key([8; 16])), None);
            let mut forged = tag.bytes().to_vec();
            for at in 0..forged.len() {
                let honest = forged[at];
                forged[at] = if honest == b'a' { b'b' } else { b'a' };
                assert_eq!(read_tag(&forged, &KEY), None);
                forged[at] = honest;
            }
        }
        for text in [&b""[..], b"z9hG4bK", b"z9hG4bKaaaa", &[b'a'; 34], &[0xff; 20]] {
            assert_eq!(read_tag(text, &KEY), None);
            assert_eq!(read_branch(text, &KEY), None);
        }
    }
}
