//! Who calls, as the header says it: what crosses to the other hop, and what the application hears.

use arrayvec::ArrayVec;
use sip::{Message, Name};

/// Headers that a trusted network's word is passed on in (RFC 3325, RFC 3323, RFC 5806, RFC 7044,
/// RFC 8224, RFC 3326).
const IDENTITY: [Name; 6] = [
    Name::PAssertedIdentity,
    Name::Privacy,
    Name::Diversion,
    Name::HistoryInfo,
    Name::Identity,
    Name::Reason,
];

/// The caller that is shown where the true one must not be (RFC 3323 section 4.1.1.3).
pub(crate) const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";
pub(crate) const ANONYMOUS_NAME: &str = "Anonymous";
/// For the hops behind us: they must not show what they know of the caller either.
pub(crate) const PRIVACY_LINE: &str = "Privacy: id\r\n";

/// Adds the identity headers of an INVITE behind `at`, one a line with CRLF; where they end. What
/// does not fit is left out.
pub(crate) fn lines(invite: &[u8], out: &mut [u8], mut at: usize) -> usize {
    let Ok(message) = Message::parse(invite) else { return at };
    for header in message.headers().filter(|header| IDENTITY.contains(&header.name)) {
        at = put(out, at, (header.name.text().as_bytes(), header.value));
    }
    at
}

/// Forwarders that are named: a call that more have forwarded is forwarded no more.
const NAMED_MAX: usize = 8;

/// What an emergency call says to whoever answers it, whoever calls: how urgent it is, where the
/// caller is, and more of him (RFC 6442, RFC 7852, RFC 4412, RFC 7315).
const EMERGENCY: [&[u8]; 6] = [
    b"Priority",
    b"Geolocation",
    b"Geolocation-Routing",
    b"Call-Info",
    b"Resource-Priority",
    b"P-Access-Network-Info",
];

/// Writes those headers of an INVITE; where they end.
pub(crate) fn emergency_lines(invite: &[u8], out: &mut [u8]) -> usize {
    let Ok(message) = Message::parse(invite) else { return 0 };
    let mut at = 0;
    for header in message.headers() {
        if EMERGENCY.iter().any(|name| header.text.eq_ignore_ascii_case(name)) {
            at = put(out, at, (header.text, header.value));
        }
    }
    at
}

/// Whether two URIs are of the same user, however they are written and wherever it is.
pub(crate) fn is_same_user(one: &[u8], other: &[u8]) -> bool {
    let (mut mine, mut theirs) = ([0; 256], [0; 256]);
    let (Ok(one), Ok(other)) = (sip::Uri::parse(one), sip::Uri::parse(other)) else { return true };
    one.user_value(&mut mine) == other.user_value(&mut theirs)
}

/// Whether the caller's number and name must not be shown to the called side by us: of an INVITE
/// whose source is not trusted only the wish to be hidden goes on.
pub(crate) fn hides_caller(message: &Message<'_>, trusted: bool) -> bool {
    !trusted && message.privacy().hides_caller()
}

/// URI of whoever diverted the call last: the first Diversion (RFC 5806 section 5.1), else the last
/// but one entry of History-Info (RFC 7044), whose last one is the target itself.
pub(crate) fn diversion<'m>(message: &Message<'m>) -> &'m [u8] {
    if let Some(Ok(address)) = message.addresses(Name::Diversion).next() {
        return address.uri;
    }
    let mut last: &[u8] = b"";
    let mut before: &[u8] = b"";
    let mut count = 0;
    for address in message.addresses(Name::HistoryInfo).flatten() {
        (before, last, count) = (last, address.uri, count + 1);
    }
    if count > 1 { before } else { last }
}

/// URIs of those who have forwarded the call, the last one first, one a line, and how many there
/// were: of Diversion, else of History-Info. An entry of that has forwarded the call if it says why
/// (`Reason` among its headers, RFC 7044 section 5), or the one behind it does (`cause`, RFC 4458):
/// others are hops of a way on which the Request-URI changed.
pub(crate) fn forwards(message: &Message<'_>, out: &mut [u8]) -> (usize, u16) {
    let (mut at, mut counted) = (0, 0_u16);
    for address in message.addresses(Name::Diversion).flatten() {
        let count = address.params.get(b"counter").and_then(|it| core::str::from_utf8(it).ok());
        let count = count.and_then(|it| it.parse().ok()).unwrap_or(1_u16);
        counted = counted.saturating_add(count.max(1));
        at = put_uri(out, at, address.uri);
    }
    if counted > 0 {
        return (at, counted);
    }
    // The list is of a stranger's length: it is read once, and the last of it are kept.
    let mut last: ArrayVec<&[u8], NAMED_MAX> = ArrayVec::new();
    let mut before: Option<&[u8]> = None;
    for address in message.addresses(Name::HistoryInfo).flatten() {
        let forwarder = before.replace(address.uri);
        let says_why = |it: &&[u8]| {
            has_word(halves(it).1, b"reason=") || has_word(halves(address.uri).0, b";cause=")
        };
        if let Some(forwarder) = forwarder.filter(says_why) {
            counted = counted.saturating_add(1);
            if last.is_full() {
                last.remove(0);
            }
            last.push(forwarder);
        }
    }
    (last.iter().rev().fold(at, |at, uri| put_uri(out, at, uri)), counted)
}

/// A URI's address with its parameters, and the headers behind.
fn halves(uri: &[u8]) -> (&[u8], &[u8]) {
    let end = uri.iter().position(|byte| *byte == b'?').unwrap_or(uri.len());
    uri.split_at(end)
}

fn has_word(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word))
}

/// Adds a URI without its headers behind `at`; where it ends. One that does not fit, or is no text,
/// is left out.
fn put_uri(out: &mut [u8], at: usize, uri: &[u8]) -> usize {
    let (uri, _) = halves(uri);
    let clean = core::str::from_utf8(uri).is_ok()
        && uri.iter().all(|byte| *byte > b' ' && !b"<>\"".contains(byte));
    let room = out.get_mut(at..at + uri.len() + 1).filter(|_| clean && !uri.is_empty());
    let Some(room) = room else { return at };
    room[..uri.len()].copy_from_slice(uri);
    room[uri.len()] = b'\n';
    at + uri.len() + 1
}

/// The X-* and User-to-User headers, one `Name: value` a line, as the application sees them.
pub(crate) fn extension_headers(message: &Message<'_>, out: &mut [u8]) -> usize {
    let mut at = 0;
    for header in message.headers() {
        let is_extension = header.text.len() > 2 && header.text[..2].eq_ignore_ascii_case(b"X-");
        let is_user = header.text.eq_ignore_ascii_case(b"User-to-User");
        if is_extension || is_user {
            at = put(out, at, (header.text, header.value));
        }
    }
    at
}

/// Adds a line behind `at`; where it ends. The line ends of a folded value are left out (its blanks
/// are not); one that is no text is left out whole.
pub(super) fn put(out: &mut [u8], at: usize, (name, value): (&[u8], &[u8])) -> usize {
    let clean = core::str::from_utf8(value).is_ok() && !value.contains(&0);
    let len = name.len() + unfolded(value).map(<[u8]>::len).sum::<usize>() + 4;
    let Some(room) = out.get_mut(at..at + len).filter(|_| clean) else { return at };
    let mut from = 0;
    let begin = [name, &b": "[..]].into_iter();
    for part in begin.chain(unfolded(value)).chain([&b"\r\n"[..]]) {
        room[from..from + part.len()].copy_from_slice(part);
        from += part.len();
    }
    at + len
}

/// The pieces of a value between the line ends of its folds (RFC 3261 section 7.3.1).
pub(super) fn unfolded(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Header lines that a controlplane may send out: extensions, User-to-User (RFC 7433), what a
/// referral says (RFC 3892, RFC 3891) and who has forwarded (RFC 5806, RFC 7044), nothing that
/// means something to a proxy.
pub(crate) fn passes(headers: &str) -> bool {
    headers.lines().filter(|line| !line.is_empty()).all(|line| {
        let name = line.split_once(':').map_or("", |(name, _)| name.trim_ascii());
        let extension = name.len() > 2 && name.as_bytes()[..2].eq_ignore_ascii_case(b"X-");
        let known = ["User-to-User", "Referred-By", "Replaces", "Diversion", "History-Info"];
        extension || known.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}
