//! Numbers as a route has them: of the country that it is dialled in, with what is stripped and put
//! in front; for who is called and for who calls.

use sip::Uri;
use wire::table::StaticRoute;

/// Longest number with what a country code makes of it.
const NUMBER_BYTES: usize = sip::number::NUMBER_BYTES_MAX + 8;
/// How numbers to other countries, and within one, begin where `country` says so.
const ABROAD: &[u8] = b"00";
const TRUNK_ZERO: u8 = b'0';

/// A number in E.164, as far as a country says what it is.
pub(crate) struct National {
    text: [u8; NUMBER_BYTES],
    len: usize,
}

impl National {
    /// `number` as it is dialled in the country with this code: `00..` is abroad, `0..` at home;
    /// whatever begins otherwise stands as it is (short codes, `+..`). Empty: no country.
    pub(crate) fn of(number: &[u8], country: &[u8]) -> Self {
        let mut this = Self { text: [0; NUMBER_BYTES], len: 0 };
        let parts: [&[u8]; 3] = match number {
            _ if country.is_empty() => [number, b"", b""],
            [..] if number.len() > 2 && number.starts_with(ABROAD) => [b"+", &number[2..], b""],
            [TRUNK_ZERO, rest @ ..] if !rest.is_empty() && rest[0] != TRUNK_ZERO => {
                [b"+", country, rest]
            }
            _ => [number, b"", b""],
        };
        for part in parts {
            if let Some(room) = this.text.get_mut(this.len..this.len + part.len()) {
                room.copy_from_slice(part);
                this.len += part.len();
            }
        }
        this
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// The Request-URI that a static route makes of the one that came: the user's value without what is
/// stripped, behind what is prepended, written as a user part may be.
pub(crate) fn route_uri<'o>(
    route: &StaticRoute,
    received: &[u8],
    out: &'o mut [u8],
) -> Option<&'o [u8]> {
    let uri = Uri::parse(received).ok()?;
    if uri.is_emergency() {
        // It names a service, and whoever is sent to knows where that is (RFC 5031).
        let mut put = Put { out, at: 0 };
        put.all(received)?;
        return Some(put.done());
    }
    let mut value = [0; 256];
    let mut value = uri.user_value(&mut value)?;
    // A prefix is found in a number without its separators (RFC 3966 section 5.1.1), so what is
    // stripped is counted without them; in a SIP URI nobody expects them in the first place.
    let country = route.policy.country.as_bytes();
    let counts = route.strip > 0 || uri.scheme == sip::uri::Scheme::Tel || !country.is_empty();
    let number = sip::Number::parse(value).filter(|_| counts);
    let number = number.map(|number| National::of(number.bytes(), country));
    if let Some(number) = &number {
        value = number.bytes();
    }
    let rest = value.get(usize::from(route.strip)..)?;
    let mut user = [0; 512];
    let prepended = route.prepend.len();
    user.get_mut(..prepended)?.copy_from_slice(route.prepend.as_bytes());
    let escaped = sip::uri::escape_user(rest, user.get_mut(prepended..)?)?.len();
    let user = &user[..prepended + escaped];
    let mut put = Put { out, at: 0 };
    put.all(if uri.scheme == sip::uri::Scheme::Sips { b"sips:" } else { b"sip:" })?;
    if !user.is_empty() {
        // Parameters of the user (`;npdi;rn=`, RFC 4694) belong to the number and go on as written.
        put.all(user)?;
        put.all(uri.user_params().raw())?;
        put.all(b"@")?;
    }
    let mut target = [0; 64];
    match route.host.is_empty() {
        false => put.all(route.host.as_bytes())?,
        true => put.all(socket_text(route.targets.first()?.address, &mut target)?)?,
    }
    Some(put.done())
}

/// The caller's URI as a static route shows it. Who is no number, or does not show himself, stays
/// as he is.
pub(crate) fn caller_uri<'o>(
    route: &StaticRoute,
    caller: &'o [u8],
    out: &'o mut [u8],
) -> Option<&'o [u8]> {
    let policy = &route.policy;
    let changes =
        !policy.country.is_empty() || policy.caller_strip > 0 || !policy.caller_prepend.is_empty();
    let Ok(uri) = Uri::parse(caller) else { return Some(caller) };
    if !changes || is_anonymous(&uri) {
        return Some(caller);
    }
    let Some(number) = sip::Number::from_uri(&uri) else { return Some(caller) };
    let number = National::of(number.bytes(), policy.country.as_bytes());
    let rest = number.bytes().get(usize::from(policy.caller_strip)..)?;
    let mut user = [0; 512];
    let escaped = sip::uri::escape_user(rest, &mut user)?;
    let mut put = Put { out, at: 0 };
    put.all(b"sip:")?;
    put.all(policy.caller_prepend.as_bytes())?;
    put.all(escaped)?;
    put.all(b"@")?;
    // What a `tel` URI has no host for is shown to be ours to nobody.
    let host = if uri.scheme == sip::uri::Scheme::Tel { b"" } else { host_and_port(caller) };
    put.all(if host.is_empty() { b"invalid" } else { host })?;
    Some(put.done())
}

/// The caller does not show himself (RFC 3323 section 4.1.1.3).
pub(crate) fn is_anonymous(caller: &Uri<'_>) -> bool {
    super::host_text(caller.raw).eq_ignore_ascii_case(b"anonymous.invalid")
        || caller.user.eq_ignore_ascii_case(b"anonymous")
}

/// The host of a SIP URI as written, with its port.
fn host_and_port(uri: &[u8]) -> &[u8] {
    let host = super::host_text(uri);
    let from = host.as_ptr() as usize - uri.as_ptr() as usize;
    let behind = &uri[from + host.len()..];
    let port = match behind {
        [b':', rest @ ..] => 1 + rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    &uri[from..from + host.len() + port]
}

struct Put<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl<'o> Put<'o> {
    fn all(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..self.at + bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    fn done(self) -> &'o [u8] {
        &self.out[..self.at]
    }
}

/// The URI that a route without a host has made of its first target, for another one of its
/// targets. None for one that is as it is to be.
pub(crate) fn at_target<'o>(
    uri: &[u8],
    (way, place): (&crate::leg::Way<'_>, u8),
    out: &'o mut [u8],
) -> Option<&'o [u8]> {
    let target = way.target(place)?;
    let mut wanted = [0; 64];
    // The first of the route need not be the first that is asked.
    let user = way.targets.iter().find_map(|known| {
        let mut written = [0; 64];
        let user = uri.strip_suffix(socket_text(known.address, &mut written)?)?;
        user.ends_with(b"@").then_some(user).filter(|_| known.address != target.address)
    })?;
    let mut put = Put { out, at: 0 };
    put.all(user)?;
    put.all(socket_text(target.address, &mut wanted)?)?;
    Some(put.done())
}

fn socket_text(address: core::net::SocketAddr, out: &mut [u8]) -> Option<&[u8]> {
    use std::io::Write;
    let room = out.len();
    let mut rest = &mut *out;
    write!(rest, "{address}").ok()?;
    let left = rest.len();
    Some(&out[..room - left])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_at_home_is_a_number_of_the_country() {
        for (dialled, country, number) in [
            ("0301234", "49", "+49301234"),
            ("00441234", "49", "+441234"),
            ("+441234", "49", "+441234"),
            ("0301234", "", "0301234"),
            ("110", "49", "110"),
            ("0", "49", "0"),
            ("00", "49", "00"),
            ("000", "49", "+0"),
            ("*21#", "49", "*21#"),
        ] {
            let made = National::of(dialled.as_bytes(), country.as_bytes());
            assert_eq!(core::str::from_utf8(made.bytes()).unwrap(), number, "{dialled}");
        }
        let long = [b'0'; sip::number::NUMBER_BYTES_MAX];
        assert!(National::of(&long, b"1234").bytes().len() <= NUMBER_BYTES);
    }
}
