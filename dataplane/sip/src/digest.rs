//! Digest authentication (RFC 3261 section 22, RFC 7616, RFC 8760): MD5 and SHA-256, qop=auth; as a
//! client with sessions' keys (`-sess`) as well.
//!
//! Both sides work from HA1 = H(user:realm:password), so that no password is kept here. Nonces are
//! made without state: the time and a keyed hash over (time, source, realm); they live 60 s
//! (THREATS.md), after which the right answer is a new challenge with `stale=true`. Replays within
//! the life are the caller's to catch by `nc`.

use core::hash::Hasher;
use core::net::IpAddr;

use md5::Md5;
use sha2::Sha256;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::lex::{Cursor, hex, is_lws};
use crate::method::Method;
use crate::name::Name;
use crate::token::Key;
use crate::write::{Part, Writer};

/// What the names of algorithms end in whose key is a session's.
const SESSION: &[u8] = b"-sess";

/// How long a nonce is good, in seconds.
pub const NONCE_LIFE_SECONDS: u64 = 60;

/// Hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// As it stands in the header.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn of(text: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|a| text.eq_ignore_ascii_case(a.text().as_bytes()))
    }

    fn hash(self, parts: &[&[u8]]) -> Hash {
        fn run<D: md5::Digest>(parts: &[&[u8]], out: &mut [u8]) {
            let mut hasher = D::new();
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    hasher.update(b":");
                }
                hasher.update(part);
            }
            out.copy_from_slice(&hasher.finalize());
        }
        let mut raw = [0u8; 32];
        let len = match self {
            Self::Md5 => {
                run::<Md5>(parts, &mut raw[..16]);
                16
            }
            Self::Sha256 => {
                run::<Sha256>(parts, &mut raw);
                32
            }
        };
        Hash::of(&raw[..len])
    }
}

/// A hash in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash {
    text: [u8; 64],
    len: u8,
}

impl Hash {
    fn of(raw: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(raw) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self { text, len: u8::try_from(raw.len() * 2).unwrap_or(64) }
    }

    /// The text.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Hash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // An HA1 is as good as its password.
        f.write_str("Hash(..)")
    }
}

/// HA1 in hexadecimal, the form in which stores keep it.
#[must_use]
pub fn ha1(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Hash {
    algorithm.hash(&[user, realm, password])
}

/// What goes into a response hash besides HA1.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Server nonce.
    pub nonce: &'a [u8],
    /// With qop=auth: nonce count as its eight digits, and client nonce.
    pub qop: Option<(&'a [u8], &'a [u8])>,
    /// Method of the request.
    pub method: Method<'a>,
    /// The `uri` parameter.
    pub uri: &'a [u8],
}

/// The response hash (RFC 7616 section 3.4.1).
#[must_use]
pub fn response(algorithm: Algorithm, ha1: &[u8], question: &Question<'_>) -> Hash {
    let ha2 = algorithm.hash(&[question.method.bytes(), question.uri]);
    match question.qop {
        Some((nc, cnonce)) => {
            algorithm.hash(&[ha1, question.nonce, nc, cnonce, b"auth", ha2.bytes()])
        }
        None => algorithm.hash(&[ha1, question.nonce, ha2.bytes()]),
    }
}

/// A WWW-Authenticate or Proxy-Authenticate value that we can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Realm, escapes kept.
    pub realm: &'a [u8],
    /// Nonce.
    pub nonce: &'a [u8],
    /// Opaque, to be sent back.
    pub opaque: Option<&'a [u8]>,
    /// Algorithm; MD5 when not named.
    pub algorithm: Algorithm,
    /// The nonce was old, the password right.
    pub stale: bool,
    /// qop=auth is offered.
    pub qop_auth: bool,
}

/// An Authorization or Proxy-Authorization value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// User name, escapes kept.
    pub user: &'a [u8],
    /// Realm, escapes kept.
    pub realm: &'a [u8],
    /// Nonce.
    pub nonce: &'a [u8],
    /// Digest URI.
    pub uri: &'a [u8],
    /// Response hash as sent.
    pub response: &'a [u8],
    /// Algorithm; MD5 when not named.
    pub algorithm: Algorithm,
    /// Opaque.
    pub opaque: Option<&'a [u8]>,
    /// With qop=auth: nonce count digits and client nonce.
    pub qop: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Challenge<'a> {
    /// Reads a challenge; `None` for another scheme, an unknown algorithm, or a qop without auth.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        Self::parse_session(value).filter(|(_, session)| !session).map(|(challenge, _)| challenge)
    }

    /// As [`Challenge::parse`], with the algorithms whose key is a session's (`MD5-sess`,
    /// `SHA-256-sess`, RFC 7616 section 3.4.2): true beside the challenge.
    #[must_use]
    pub fn parse_session(value: &'a [u8]) -> Option<(Self, bool)> {
        let mut session = false;
        let mut challenge = Self {
            realm: b"",
            nonce: b"",
            opaque: None,
            algorithm: Algorithm::Md5,
            stale: false,
            qop_auth: false,
        };
        let (mut realm, mut nonce) = (None, None);
        for pair in Pairs::digest(value)? {
            let (name, text) = pair?;
            match Field::of(name) {
                Field::Realm => realm = Some(text),
                Field::Nonce => nonce = Some(text),
                Field::Opaque => challenge.opaque = Some(text),
                Field::Algorithm => {
                    let (plain, end) = text.split_at(text.len().saturating_sub(SESSION.len()));
                    session = end.eq_ignore_ascii_case(SESSION);
                    challenge.algorithm = Algorithm::of(if session { plain } else { text })?;
                }
                Field::Stale => challenge.stale = text.eq_ignore_ascii_case(b"true"),
                Field::Qop => {
                    let auth = |q: &[u8]| q.trim_ascii().eq_ignore_ascii_case(b"auth");
                    challenge.qop_auth = text.split(|&c| c == b',').any(auth);
                    if !challenge.qop_auth {
                        return None;
                    }
                }
                _ => {}
            }
        }
        Some((Self { realm: realm?, nonce: nonce?, ..challenge }, session))
    }

    /// Writes the challenge. With several algorithms the preferred one goes first (RFC 8760 section
    /// 2.3).
    #[must_use]
    pub fn write<'b>(&self, writer: Writer<'b>, name: Name) -> Writer<'b> {
        let stale: &[u8] = if self.stale { b",stale=true" } else { b"" };
        let qop: &[u8] = if self.qop_auth { b",qop=\"auth\"" } else { b"" };
        let (open, opaque, close): (&[u8], &[u8], &[u8]) = match self.opaque {
            Some(opaque) => (b",opaque=\"", opaque, b"\""),
            None => (b"", b"", b""),
        };
        let parts = [
            Part::Bytes(b"Digest realm=\""),
            Part::Bytes(self.realm),
            Part::Bytes(b"\",nonce=\""),
            Part::Bytes(self.nonce),
            Part::Bytes(b"\""),
            Part::Bytes(open),
            Part::Bytes(opaque),
            Part::Bytes(close),
            Part::Bytes(stale),
            Part::Bytes(b",algorithm="),
            self.algorithm.text().into(),
            Part::Bytes(qop),
        ];
        writer.header(name, &parts)
    }

    /// Writes our answer: an Authorization (Proxy-Authorization) header for a request with this
    /// method and URI. `nc` counts the uses of the nonce from 1; `cnonce` is the caller's random
    /// text.
    #[must_use]
    pub fn answer<'b>(&self, writer: Writer<'b>, name: Name, with: &Answer<'_>) -> Writer<'b> {
        let count = Hash::of(&with.nc.to_be_bytes());
        let qop = self.qop_auth.then_some((count.bytes(), with.cnonce));
        let question = Question { nonce: self.nonce, qop, method: with.method, uri: with.uri };
        let of_session =
            with.session.then(|| self.algorithm.hash(&[with.ha1, self.nonce, with.cnonce]));
        let key = of_session.as_ref().map_or(with.ha1, Hash::bytes);
        let hash = response(self.algorithm, key, &question);
        // RFC 2617 section 3.2.2 has a client nonce where there is a qop; a session's key needs it.
        let lone = with.session && qop.is_none();
        let (open, opaque, close): (&[u8], &[u8], &[u8]) = match self.opaque {
            Some(opaque) => (b",opaque=\"", opaque, b"\""),
            None => (b"", b"", b""),
        };
        let (q1, q2, q3, q4): (&[u8], &[u8], &[u8], &[u8]) = match qop {
            Some((nc, cnonce)) => (b",qop=auth,nc=", nc, b",cnonce=\"", cnonce),
            None if lone => (b"", b"", b",cnonce=\"", with.cnonce),
            None => (b"", b"", b"", b""),
        };
        let parts = [
            Part::Bytes(b"Digest username=\""),
            Part::Bytes(with.user),
            Part::Bytes(b"\",realm=\""),
            Part::Bytes(self.realm),
            Part::Bytes(b"\",nonce=\""),
            Part::Bytes(self.nonce),
            Part::Bytes(b"\",uri=\""),
            Part::Bytes(with.uri),
            Part::Bytes(b"\",response=\""),
            Part::Bytes(hash.bytes()),
            Part::Bytes(b"\",algorithm="),
            self.algorithm.text().into(),
            Part::Bytes(if with.session { SESSION } else { b"" }),
            Part::Bytes(open),
            Part::Bytes(opaque),
            Part::Bytes(close),
            Part::Bytes(q1),
            Part::Bytes(q2),
            Part::Bytes(q3),
            Part::Bytes(q4),
            Part::Bytes(if qop.is_some() || lone { b"\"" } else { b"" }),
        ];
        writer.header(name, &parts)
    }
}

/// What a client needs to answer a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// User name.
    pub user: &'a [u8],
    /// HA1 in hexadecimal, of the challenge's realm and algorithm.
    pub ha1: &'a [u8],
    /// Method of the request.
    pub method: Method<'a>,
    /// Request-URI.
    pub uri: &'a [u8],
    /// How often this nonce has been used, this time included.
    pub nc: u32,
    /// Client nonce.
    pub cnonce: &'a [u8],
    /// The key is a session's: HA1, this nonce and this client nonce hashed.
    pub session: bool,
}

impl<'a> Credentials<'a> {
    /// Reads credentials; `None` for another scheme, an unknown algorithm or qop, or a missing
    /// field (the server then challenges as if there were none).
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut credentials = Self {
            user: b"",
            realm: b"",
            nonce: b"",
            uri: b"",
            response: b"",
            algorithm: Algorithm::Md5,
            opaque: None,
            qop: None,
        };
        let (mut qop, mut nc, mut cnonce) = (false, None, None);
        for pair in Pairs::digest(value)? {
            let (name, text) = pair?;
            match Field::of(name) {
                Field::User => credentials.user = text,
                Field::Realm => credentials.realm = text,
                Field::Nonce => credentials.nonce = text,
                Field::Uri => credentials.uri = text,
                Field::Response => credentials.response = text,
                Field::Opaque => credentials.opaque = Some(text),
                Field::Algorithm => credentials.algorithm = Algorithm::of(text)?,
                Field::Qop if text.eq_ignore_ascii_case(b"auth") => qop = true,
                Field::Qop => return None,
                Field::Nc => nc = Some(text),
                Field::Cnonce => cnonce = Some(text),
                _ => {}
            }
        }
        if qop {
            credentials.qop = Some((nc.filter(|n| n.len() == 8)?, cnonce?));
        }
        let c = &credentials;
        let complete = [c.user, c.realm, c.nonce, c.uri, c.response].iter().all(|f| !f.is_empty());
        complete.then_some(credentials)
    }

    /// The response fits HA1 (hexadecimal, of this algorithm). Takes the same time for every wrong
    /// one.
    #[must_use]
    pub fn verify(&self, ha1: &[u8], method: Method<'_>) -> bool {
        let question = Question { nonce: self.nonce, qop: self.qop, method, uri: self.uri };
        let expected = response(self.algorithm, ha1, &question);
        same_secret(expected.bytes(), self.response)
    }

    /// Nonce count, with qop=auth.
    #[must_use]
    pub fn nonce_count(&self) -> Option<u32> {
        let (digits, _) = self.qop?;
        let digit = |value: Option<u32>, &c: &u8| Some((value? << 4) | u32::from(hex(c)?));
        digits.iter().fold(Some(0), digit)
    }
}

/// What a nonce turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ours and young: when it was made and its mark.
    Fresh { stamp: u32, mark: u32 },
    /// Ours, but older than its life: challenge again with `stale=true`.
    Stale,
    /// Not ours, or made for another source or realm.
    Foreign,
}

/// A nonce of ours as text.
pub type Nonce = Hash;

/// Makes a nonce for a source and realm at `seconds` (wall clock since 1970). `mark` tells those
/// of one moment apart, and says whose they are.
#[must_use]
pub fn make_nonce(key: &Key, seconds: u64, mark: u32, source: IpAddr, realm: &[u8]) -> Nonce {
    let stamp = u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or(0);
    let mut raw = [0u8; 16];
    raw[..4].copy_from_slice(&stamp.to_be_bytes());
    raw[4..8].copy_from_slice(&mark.to_be_bytes());
    raw[8..].copy_from_slice(&nonce_mac(key, (stamp, mark), source, realm));
    Hash::of(&raw)
}

/// Judges a nonce that came back from `source` at `seconds`.
#[must_use]
pub fn check_nonce(
    key: &Key,
    nonce: &[u8],
    seconds: u64,
    source: IpAddr,
    realm: &[u8],
) -> Freshness {
    let number = |part: Option<&[u8]>| {
        let mut digits = part.unwrap_or_default().iter().map(|&c| hex(c).map(u32::from));
        digits.try_fold(0, |value: u32, digit| Some((value << 4) | digit?))
    };
    let (Some(stamp), Some(mark)) = (number(nonce.get(..8)), number(nonce.get(8..16))) else {
        return Freshness::Foreign;
    };
    let honest = make_nonce(key, u64::from(stamp), mark, source, realm);
    if !same_secret(honest.bytes(), nonce) {
        return Freshness::Foreign;
    }
    let now = u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or(0);
    // A stamp from the future (the wall clock was set back) is old as well.
    let age = u64::from(now.wrapping_sub(stamp));
    match age <= NONCE_LIFE_SECONDS {
        true => Freshness::Fresh { stamp, mark },
        false => Freshness::Stale,
    }
}

/// Equality of hexadecimal texts, any case, in time that depends on the length only.
fn same_secret(expected: &[u8], given: &[u8]) -> bool {
    let differing = |sum, (a, b): (&u8, &u8)| sum | (a ^ b.to_ascii_lowercase());
    let sum = expected.iter().zip(given).fold(0u8, differing);
    expected.len() == given.len() && core::hint::black_box(sum) == 0
}

/// Half of a hash: a nonce lives a minute, and is guessed online or not at all.
fn nonce_mac(key: &Key, (stamp, mark): (u32, u32), source: IpAddr, realm: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(b"nonce");
    hasher.write_u32(stamp);
    hasher.write_u32(mark);
    match source.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(realm);
    hasher.finish128().h1.to_be_bytes()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    User,
    Realm,
    Nonce,
    Uri,
    Response,
    Opaque,
    Algorithm,
    Stale,
    Qop,
    Nc,
    Cnonce,
    Other,
}

impl Field {
    fn of(name: &[u8]) -> Self {
        const ALL: [(&[u8], Field); 11] = [
            (b"username", Field::User),
            (b"realm", Field::Realm),
            (b"nonce", Field::Nonce),
            (b"uri", Field::Uri),
            (b"response", Field::Response),
            (b"opaque", Field::Opaque),
            (b"algorithm", Field::Algorithm),
            (b"stale", Field::Stale),
            (b"qop", Field::Qop),
            (b"nc", Field::Nc),
            (b"cnonce", Field::Cnonce),
        ];
        ALL.iter().find(|(n, _)| name.eq_ignore_ascii_case(n)).map_or(Self::Other, |(_, f)| *f)
    }
}

/// `name=value` pairs behind the word Digest, separated by commas.
struct Pairs<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Pairs<'a> {
    fn digest(value: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        let scheme = cursor.token()?;
        let space = cursor.peek().is_some_and(is_lws);
        (space && scheme.eq_ignore_ascii_case(b"Digest")).then_some(Self { cursor })
    }

    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.cursor.token()?;
        self.cursor.skip_lws();
        if !self.cursor.eat(b'=') {
            return None;
        }
        self.cursor.skip_lws();
        let value = if self.cursor.peek() == Some(b'"') {
            self.cursor.quoted()?
        } else {
            self.cursor.token()?
        };
        self.cursor.skip_lws();
        if self.cursor.eat(b',') || self.cursor.done() { Some((name, value)) } else { None }
    }
}

impl<'a> Iterator for Pairs<'a> {
    /// `None` inside for broken syntax.
    type Item = Option<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.skip_lws();
        if self.cursor.done() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.cursor = Cursor::new(b"");
        }
        Some(pair)
    }
}
