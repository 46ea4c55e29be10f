//! SIP URIs as the director needs them (RFC 3261 section 19.1), and which addresses tenants may
//! have INVITEs sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::table::Network;

/// A `sip:` or `sips:` URI, borrowed. `params` and `headers` without their first `;` and `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SipUri<'a> {
    pub(crate) secure: bool,
    /// Without password; empty for none. Percent-escapes as written.
    pub(crate) user: &'a str,
    /// Without the brackets of an IPv6 literal.
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    pub(crate) params: &'a str,
    pub(crate) headers: &'a str,
}

/// Bytes of a URI at most.
const URI_BYTES_MAX: usize = 1_024;

impl<'a> SipUri<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let colon = text.find(':')?;
        let secure = match &text[..colon] {
            scheme if scheme.eq_ignore_ascii_case("sip") => false,
            scheme if scheme.eq_ignore_ascii_case("sips") => true,
            _ => return None,
        };
        let forbidden = |c: char| c.is_control() || matches!(c, ' ' | '<' | '>' | '"');
        if text.len() > URI_BYTES_MAX || text.contains(forbidden) || !text.is_ascii() {
            return None;
        }
        let rest = &text[colon + 1..];
        let (user, rest) = match rest.find('@') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => ("", rest),
        };
        let user = user.split(':').next().unwrap_or("");
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(hostport)?;
        Some(Self { secure, user, host, port, params, headers })
    }

    /// `host` or `[host]`, with `:port` if the URI names one.
    pub(crate) fn hostport(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_owned() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The URI as a Request-URI: scheme, user, host, port; no parameters, no headers.
    pub(crate) fn plain(&self) -> String {
        let at = if self.user.is_empty() { "" } else { "@" };
        format!("sip:{}{at}{}", self.user, self.hostport())
    }

    /// Value of a URI parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&'a str> {
        self.params
            .split(';')
            .map(|param| param.split_once('=').unwrap_or((param, "")))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; host names and addresses only.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        if host.is_empty() || host.len() > 255 || !host.bytes().all(fine) {
            return None;
        }
        (host, port)
    };
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    Some((host, port))
}

/// `+` and digits, or digits alone, 1-20 of them; visual separators are removed. None for anything
/// else.
pub(crate) fn number(text: &str) -> Option<String> {
    let number: String =
        text.trim().chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let fine = !digits.is_empty() && digits.len() <= 20;
    (fine && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')).then_some(number)
}

/// `text` as the user part of a URI: what RFC 3261 does not allow there is escaped.
pub(crate) fn escape_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Percent-decodes; None for a broken escape or text that is not UTF-8.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Why a tenant may not have an INVITE sent there; None if it may. IPv4 addresses hidden in IPv6
/// ones are judged as what they are.
pub(crate) fn target_refused(address: IpAddr, allow: &[Network]) -> Option<&'static str> {
    if allow.iter().any(|network| network.contains(address)) {
        return None;
    }
    match address {
        IpAddr::V4(v4) => v4_refused(v4),
        IpAddr::V6(v6) => v6_refused(v6),
    }
}

fn v4_refused(v4: Ipv4Addr) -> Option<&'static str> {
    let [a, ..] = v4.octets();
    if v4.is_loopback() {
        Some("loopback")
    } else if v4.is_link_local() {
        Some("link-local")
    } else if v4.is_multicast() {
        Some("multicast")
    } else if a == 0 {
        Some("unspecified")
    } else if v4.is_broadcast() || a >= 240 {
        Some("reserved")
    } else {
        None
    }
}

fn v6_refused(v6: Ipv6Addr) -> Option<&'static str> {
    let s = v6.segments();
    // Metadata services of clouds that speak IPv6.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if v6.is_loopback() {
        Some("loopback")
    } else if v6.is_unspecified() {
        Some("unspecified")
    } else if v6.is_multicast() {
        Some("multicast")
    } else if s[0] & 0xffc0 == 0xfe80 {
        Some("link-local")
    } else if v6 == METADATA {
        Some("metadata")
    } else if v6.to_ipv4_mapped().is_some() {
        Some("v4-mapped")
    } else if s[..6] == [0; 6] {
        Some("v4-compatible")
    } else if s[0] == 0x64 && s[1] == 0xff9b {
        let [a, b] = s[6].to_be_bytes();
        let [c, d] = s[7].to_be_bytes();
        v4_refused(Ipv4Addr::new(a, b, c, d))
    } else if s[0] == 0x2002 {
        let [a, b] = s[1].to_be_bytes();
        let [c, d] = s[2].to_be_bytes();
        v4_refused(Ipv4Addr::new(a, b, c, d))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let uri = SipUri::parse("sip:bob:pw@Example.com:5070;transport=udp?X-A=1&X-B=%32").unwrap();
        assert_eq!((uri.user, uri.host, uri.port), ("bob", "Example.com", Some(5070)));
        assert_eq!((uri.param("Transport"), uri.headers), (Some("udp"), "X-A=1&X-B=%32"));
        assert_eq!(uri.plain(), "sip:bob@Example.com:5070");
        let uri = SipUri::parse("SIP:[2001:db8::1]").unwrap();
        assert_eq!((uri.user, uri.host, uri.port), ("", "2001:db8::1", None));
        assert_eq!(uri.plain(), "sip:[2001:db8::1]");
        for bad in
            ["", "bob", "http://a", "sip:", "sip:a b@c", "sip:a@b:x", "sip:[zz]", "sip:a@b:70000"]
        {
            assert_eq!(SipUri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_lose_their_separators() {
        assert_eq!(number(" +1 (555) 010-0000 ").as_deref(), Some("+15550100000"));
        assert_eq!(number("100").as_deref(), Some("100"));
        for bad in ["", "+", "alice", "+123456789012345678901", "1;2"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn targets_inside_are_refused_in_every_spelling() {
        for bad in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.1.2.3",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "fd00:ec2::254",
        ] {
            assert!(target_refused(bad.parse().unwrap(), &[]).is_some(), "{bad}");
        }
        for fine in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "64:ff9b::c000:201"] {
            assert_eq!(target_refused(fine.parse().unwrap(), &[]), None, "{fine}");
        }
        let allow = [Network { address: "127.0.0.0".parse().unwrap(), bits: 8 }];
        assert_eq!(target_refused("127.0.0.1".parse().unwrap(), &allow), None);
        assert!(target_refused("::1".parse().unwrap(), &allow).is_some());
    }
}
