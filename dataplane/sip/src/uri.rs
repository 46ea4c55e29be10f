//! URIs: sip, sips and tel (RFC 3261 section 19.1, RFC 3966), borrowed from the message.
//!
//! [`Uri::parse`] checks the whole text once, so that the accessors cannot fail. A scheme we do not
//! speak is not an error here: it is [`Scheme::Other`] with everything after the colon in `opaque`
//! (the server answers 416, section 8.2.2.1).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lex::{hex, is_hex, is_host, is_param, is_token, is_user, number};

/// What a URI begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

/// A host: a domain name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name, as written.
    Name(&'a [u8]),
    /// An address literal (IPv6 stood in brackets).
    Ip(IpAddr),
}

/// The text is not a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUri;

/// One URI of a message.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The whole URI as written, without angle brackets.
    pub raw: &'a [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// User part (for `tel`: the number), escapes kept; empty when absent.
    pub user: &'a [u8],
    /// Password, escapes kept.
    pub password: Option<&'a [u8]>,
    /// Host; an empty name for `tel` and unknown schemes.
    pub host: Host<'a>,
    /// Explicit port.
    pub port: Option<u16>,
    /// Parameters.
    pub params: UriParams<'a>,
    /// What follows `?`, empty when absent.
    pub headers: &'a [u8],
    /// What follows the colon.
    pub opaque: &'a [u8],
}

/// URI parameters: `;name=value;flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UriParams<'a>(&'a [u8]);

impl<'a> Host<'a> {
    /// A domain name, IPv4 address or bracketed IPv6 address.
    ///
    /// RFC 5118 section 4.10: the ABNF of RFC 3261 lets `:::` stand for `::`; it is accepted.
    #[must_use]
    #[inline]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        if let [b'[', inner @ .., b']'] = text {
            return parse_v6(inner).map(|a| Self::Ip(IpAddr::V6(a)));
        }
        if text.is_empty() || !text.iter().all(|&c| is_host(c)) {
            return None;
        }
        Some(Self::checked(text))
    }

    /// An address with or without brackets, as in `received` (RFC 5118 section 4.5), or a name.
    #[must_use]
    pub fn parse_lenient(text: &'a [u8]) -> Option<Self> {
        if text.contains(&b':') && text.first() != Some(&b'[') {
            return parse_v6(text).map(|a| Self::Ip(IpAddr::V6(a)));
        }
        Self::parse(text)
    }

    /// `text` is known to hold host characters only.
    #[inline]
    pub(crate) fn checked(text: &'a [u8]) -> Self {
        match text.last() {
            Some(b'0'..=b'9') => {
                parse_v4(text).map_or(Self::Name(text), |a| Self::Ip(IpAddr::V4(a)))
            }
            _ => Self::Name(text),
        }
    }

    /// The address, when the host is a literal.
    #[must_use]
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip),
            Self::Name(_) => None,
        }
    }

    /// Names compare without case, addresses by value (RFC 3261 section 19.1.4).
    #[must_use]
    pub fn same(self, other: Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::Ip(a), Host::Ip(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{}", name.escape_ascii()),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl<'a> Uri<'a> {
    /// A service URN of emergency services (RFC 5031): `urn:service:sos`, `urn:service:sos.police`.
    #[must_use]
    pub fn is_emergency(&self) -> bool {
        const SOS: &[u8] = b"urn:service:sos";
        let begins = self.raw.get(..SOS.len()).is_some_and(|it| it.eq_ignore_ascii_case(SOS));
        let is_label = |label: &[u8]| {
            !label.is_empty() && label.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
        };
        let mut labels = self.raw.get(SOS.len()..).unwrap_or_default().split(|c| *c == b'.');
        begins && labels.next() == Some(b"") && labels.all(is_label)
    }

    /// Reads a URI that fills `raw`.
    ///
    /// # Errors [`BadUri`] when a sip, sips or tel URI breaks RFC 3261 section 25.1 / RFC 3966, or
    /// when there is no scheme.
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Self, BadUri> {
        let colon = match raw {
            [_, _, _, b':', ..] => 3,
            _ => raw.iter().take(64).position(|&c| c == b':').ok_or(BadUri)?,
        };
        let (scheme, opaque) = (&raw[..colon], &raw[colon + 1..]);
        let mut uri = Uri {
            raw,
            scheme: Scheme::Other,
            user: b"",
            password: None,
            host: Host::Name(b""),
            port: None,
            params: UriParams(b""),
            headers: b"",
            opaque,
        };
        if scheme == b"sip" || scheme.eq_ignore_ascii_case(b"sip") {
            uri.scheme = Scheme::Sip;
            uri.read_sip()
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            uri.scheme = Scheme::Sips;
            uri.read_sip()
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            uri.scheme = Scheme::Tel;
            uri.read_tel()
        } else {
            let named = scheme.first().is_some_and(u8::is_ascii_alphabetic)
                && scheme.iter().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(c));
            let clean = opaque.iter().all(|&c| c > b' ' && c != 0x7f && !b"<>\"".contains(&c));
            if named && clean && !opaque.is_empty() { Ok(uri) } else { Err(BadUri) }
        }
    }

    fn read_sip(mut self) -> Result<Self, BadUri> {
        let mut rest = self.opaque;
        if let Some(at) = memchr::memchr(b'@', rest) {
            let info = &rest[..at];
            rest = &rest[at + 1..];
            self.user = match memchr::memchr(b':', info) {
                Some(colon) => {
                    self.password = Some(&info[colon + 1..]);
                    &info[..colon]
                }
                None => info,
            };
            let password = self.password.unwrap_or_default();
            // `sip:@host` is nobody at that host; some switches write it.
            if (self.user.is_empty() && self.password.is_some())
                || !escapes_ok(self.user, is_user)
                || !escapes_ok(password, is_user)
            {
                return Err(BadUri);
            }
        }
        if rest.first() == Some(&b'[') {
            let len = memchr::memchr(b']', rest).ok_or(BadUri)? + 1;
            self.host = Host::parse(&rest[..len]).ok_or(BadUri)?;
            rest = &rest[len..];
        } else {
            let len = rest.iter().position(|&c| !is_host(c)).unwrap_or(rest.len());
            if len == 0 {
                return Err(BadUri);
            }
            self.host = Host::checked(&rest[..len]);
            rest = &rest[len..];
        }
        if let [b':', after @ ..] = rest {
            let len = after.iter().position(|c| !c.is_ascii_digit()).unwrap_or(after.len());
            let port = number(&after[..len], u64::from(u16::MAX)).ok_or(BadUri)?;
            self.port = u16::try_from(port).ok();
            rest = &after[len..];
        }
        self.read_tail(rest)
    }

    fn read_tel(mut self) -> Result<Self, BadUri> {
        let len = memchr::memchr(b';', self.opaque).unwrap_or(self.opaque.len());
        self.user = &self.opaque[..len];
        let digits = self.user.strip_prefix(b"+").unwrap_or(self.user);
        let ok = |c: &u8| c.is_ascii_hexdigit() || b"-.()*#".contains(c);
        if digits.is_empty() || !digits.iter().all(ok) {
            return Err(BadUri);
        }
        self.read_tail(&self.opaque[len..])
    }

    fn read_tail(mut self, rest: &'a [u8]) -> Result<Self, BadUri> {
        if rest.is_empty() {
            return Ok(self);
        }
        let (params, headers) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        if !params.is_empty() {
            let [b';', list @ ..] = params else { return Err(BadUri) };
            for param in list.split(|&c| c == b';') {
                let (name, value) = split_pair(param);
                let ok = |text| escapes_ok(text, is_param);
                // A semicolon too many (at the end, or two) separates nothing.
                if param.is_empty() {
                    continue;
                }
                if name.is_empty() || !ok(name) || !value.is_none_or(ok) {
                    return Err(BadUri);
                }
            }
            self.params = UriParams(params);
        }
        if let Some(headers) = headers {
            let class = |c| is_param(c) || c == b'?' || c == b'=';
            if headers.is_empty() || !escapes_ok(headers, class) {
                return Err(BadUri);
            }
            self.headers = headers;
        }
        Ok(self)
    }

    /// Port, or the default of the scheme (5060, 5061).
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        let is_tls = self.transport().is_some_and(|it| it.eq_ignore_ascii_case(b"tls"));
        self.port.unwrap_or(if is_tls || self.scheme == Scheme::Sips { 5061 } else { 5060 })
    }

    /// Has the `lr` parameter: a loose router (RFC 3261 section 16.12).
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.params.has(b"lr")
    }

    /// The `transport` parameter.
    #[must_use]
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.params.get(b"transport")
    }

    /// The `maddr` parameter as a host.
    #[must_use]
    pub fn maddr(&self) -> Option<Host<'a>> {
        self.params.get(b"maddr").and_then(Host::parse_lenient)
    }

    /// Header components `name=value`, escapes kept.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let list = self.headers;
        list.split(|&c| c == b'&').filter(|h| !h.is_empty()).map(|h| {
            let (name, value) = split_pair(h);
            (name, value.unwrap_or_default())
        })
    }

    /// Equality of RFC 3261 section 19.1.4 (for `tel`, RFC 3966 section 4: visual separators
    /// ignored).
    #[must_use]
    pub fn same(&self, other: &Uri<'_>) -> bool {
        if self.scheme != other.scheme || self.raw == other.raw {
            return self.scheme == other.scheme;
        }
        match self.scheme {
            Scheme::Other => self.raw.eq_ignore_ascii_case(other.raw),
            Scheme::Tel => {
                same_number(self.user, other.user) && self.params.same(other.params, true)
            }
            Scheme::Sip | Scheme::Sips => {
                same_unescaped(self.user, other.user, false)
                    && same_option(self.password, other.password)
                    && self.host.same(other.host)
                    && self.port == other.port
                    && self.params.same(other.params, false)
                    && self.same_headers(other)
            }
        }
    }

    fn same_headers(&self, other: &Uri<'_>) -> bool {
        let subset = |a: &Uri<'_>, b: &Uri<'_>| {
            a.headers().all(|(name, value)| {
                b.headers()
                    .any(|(n, v)| same_unescaped(name, n, true) && same_unescaped(value, v, true))
            })
        };
        subset(self, other) && subset(other, self)
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw.escape_ascii())
    }
}

impl<'a> UriParams<'a> {
    /// What follows the first semicolon of a user part, that semicolon included.
    pub(crate) const fn of_user(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// As written, beginning with `;` unless empty.
    #[must_use]
    pub const fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Name and value of each; a flag has no value.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.0.split(|&c| c == b';').filter(|p| !p.is_empty()).map(split_pair)
    }

    /// Value of the named parameter (empty for a flag).
    #[must_use]
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or_default())
    }

    /// The parameter is there, with or without a value.
    #[must_use]
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// A parameter in both must match; `user`, `ttl`, `method` and `maddr` (all of them when
    /// `strict`) must not be in one only. `transport` may be in one only (RFC 3261 section 19.1.4
    /// examples).
    fn same(self, other: UriParams<'_>, strict: bool) -> bool {
        let must = |name: &[u8]| {
            strict
                || [&b"user"[..], b"ttl", b"method", b"maddr"]
                    .iter()
                    .any(|m| name.eq_ignore_ascii_case(m))
        };
        let agrees = |a: UriParams<'_>, b: UriParams<'_>| {
            a.iter().all(|(name, value)| match b.get(name) {
                Some(v) => same_unescaped(value.unwrap_or_default(), v, true),
                None => !must(name),
            })
        };
        agrees(self, other) && agrees(other, self)
    }
}

/// Writes `text` with `%XX` undone into `out`; `None` when it does not fit or an escape is broken.
#[must_use]
pub fn unescape<'o>(text: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut len = 0;
    for byte in Unescaped(text) {
        *out.get_mut(len)? = byte?;
        len += 1;
    }
    Some(&out[..len])
}

/// Writes `text` into `out` as a user part: what may not stand there becomes `%XX`; `None` when it
/// does not fit.
#[must_use]
pub fn escape_user<'o>(text: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut len = 0;
    let mut put = |byte: u8| -> Option<()> {
        *out.get_mut(len)? = byte;
        len += 1;
        Some(())
    };
    for &c in text {
        if is_user(c) && c != b'%' && c != b'#' {
            put(c)?;
        } else {
            put(b'%')?;
            put(DIGITS[usize::from(c >> 4)])?;
            put(DIGITS[usize::from(c & 15)])?;
        }
    }
    Some(&out[..len])
}

/// Bytes of a text with escapes undone; `None` for a broken escape.
pub(crate) struct Unescaped<'a>(pub(crate) &'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        match *self.0 {
            [b'%', high, low, ref rest @ ..] => {
                self.0 = rest;
                Some(hex(high).zip(hex(low)).map(|(h, l)| h << 4 | l))
            }
            [b'%', ..] => {
                self.0 = b"";
                Some(None)
            }
            [c, ref rest @ ..] => {
                self.0 = rest;
                Some(Some(c))
            }
            [] => None,
        }
    }
}

fn same_unescaped(a: &[u8], b: &[u8], any_case: bool) -> bool {
    let fold = |c: Option<u8>| c.map(|c| if any_case { c.to_ascii_lowercase() } else { c });
    Unescaped(a).map(fold).eq(Unescaped(b).map(fold))
}

fn same_option(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_unescaped(a, b, false),
        (None, None) => true,
        _ => false,
    }
}

fn same_number(a: &[u8], b: &[u8]) -> bool {
    let plain = |c: &&u8| !b"-.()".contains(c);
    a.iter()
        .filter(plain)
        .map(u8::to_ascii_lowercase)
        .eq(b.iter().filter(plain).map(u8::to_ascii_lowercase))
}

fn split_pair(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&c| c == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

#[inline]
fn escapes_ok(text: &[u8], class: impl Fn(u8) -> bool) -> bool {
    let mut rest = text;
    loop {
        let len = rest.iter().position(|&c| !class(c) || c == b'%').unwrap_or(rest.len());
        match rest[len..] {
            [] => return true,
            [b'%', high, low, ..] if is_hex(high) && is_hex(low) => rest = &rest[len + 3..],
            _ => return false,
        }
    }
}

/// Dotted decimal, four numbers of at most three digits.
#[inline]
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut rest = text;
    for (at, octet) in octets.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (mut value, mut digits) = (0u16, 0);
        while let [c @ b'0'..=b'9', behind @ ..] = rest
            && digits < 3
        {
            value = value * 10 + u16::from(c - b'0');
            (rest, digits) = (behind, digits + 1);
        }
        if digits == 0 {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    rest.is_empty().then(|| Ipv4Addr::from(octets))
}

fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    if text.len() > 46 {
        return None;
    }
    let plain = core::str::from_utf8(text).ok()?;
    if let Ok(ip) = plain.parse() {
        return Some(ip);
    }
    let at = plain.find(":::")?;
    let mut fixed = [0u8; 46];
    fixed[..at].copy_from_slice(&text[..at]);
    fixed[at..text.len() - 1].copy_from_slice(&text[at + 1..]);
    core::str::from_utf8(&fixed[..text.len() - 1]).ok()?.parse().ok()
}

/// A scheme name alone: used by the validator to tell an unknown scheme from a syntax error.
#[must_use]
pub fn has_scheme(text: &[u8]) -> bool {
    memchr::memchr(b':', text).is_some_and(|at| at > 0 && text[..at].iter().all(|&c| is_token(c)))
}
