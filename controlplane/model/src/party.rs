//! Parties as values: what peers and tenants write of callers and called ones, in whatever notation
//! (`sip:`, `tel:`, plain numbers), and what is written of them in turn. The types are the
//! dataplane's, so that both processes read the same number and the same user in a URI.

use std::net::IpAddr;

use sip::{Host, Number, Scheme, Uri};

/// Bytes of a URI at most, with its headers.
const URI_BYTES_MAX: usize = 1_024;
/// Characters of a caller's name that is neither number nor URI.
const NAME_CHARS_MAX: usize = 64;

/// A `sip:` or `sips:` URI as a tenant writes it. What follows its `?` is kept apart: applications
/// send values there that the grammar of URIs does not have.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub uri: Uri<'a>,
    /// `name=value&name=value`, escapes kept; empty for none.
    pub headers: &'a str,
}

impl<'a> Target<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let strange = |c: char| c.is_control() || matches!(c, ' ' | '<' | '>' | '"');
        if text.len() > URI_BYTES_MAX || !text.is_ascii() || text.contains(strange) {
            return None;
        }
        // A user may have a `?` in it.
        let host = text.find('@').unwrap_or(0);
        let end = text[host..].find('?').map_or(text.len(), |at| host + at);
        let uri = Uri::parse(&text.as_bytes()[..end]).ok()?;
        let headers = text.get(end + 1..).unwrap_or("");
        matches!(uri.scheme, Scheme::Sip | Scheme::Sips).then_some(Self { uri, headers })
    }
}

/// The number that a text writes: plain or as a `tel:` URI, with or without visual separators.
/// `+` and digits, or digits, `*` and `#`. None for anything else.
#[must_use]
pub fn number(text: &str) -> Option<String> {
    let text = text.trim();
    let number = match Uri::parse(text.as_bytes()) {
        Ok(uri) if uri.scheme == Scheme::Tel => Number::from_uri(&uri),
        _ => Number::parse(text.as_bytes()),
    };
    number.map(|number| number.to_string())
}

/// A caller as a tenant writes it, as it is shown from then on: a number, a SIP URI, or a name of
/// letters, digits and `+_.-`. None for what could only leave as something else than was meant.
pub fn caller(text: &str) -> Option<String> {
    let text = text.trim();
    let named = |c: u8| c.is_ascii_alphanumeric() || b"+_.-".contains(&c);
    if let Some(number) = number(text) {
        Some(number)
    } else if let Some(target) = Target::parse(text) {
        Some(plain(&target.uri))
    } else if (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(named) {
        Some(text.to_owned())
    } else {
        None
    }
}

/// A party of an INVITE as applications see it: the number where the URI is one and `by_number`
/// calls for it (a `tel:` URI always does), else the URI.
pub fn shown(text: &str, by_number: bool) -> String {
    let Ok(uri) = Uri::parse(text.as_bytes()) else {
        return text.to_owned();
    };
    let number = Number::from_uri(&uri).filter(|_| by_number || uri.scheme == Scheme::Tel);
    match (number, uri.scheme) {
        (Some(number), _) => number.to_string(),
        (None, Scheme::Sip | Scheme::Sips) => plain(&uri),
        (None, _) => text.to_owned(),
    }
}

/// A SIP URI as a Request-URI or From: user, host and port; no password, parameters or headers.
pub fn plain(uri: &Uri<'_>) -> String {
    let at = if uri.user.is_empty() { "" } else { "@" };
    let port = uri.port.map_or(String::new(), |port| format!(":{port}"));
    format!("sip:{}{at}{}{port}", canonical(uri.user), uri.host)
}

/// A SIP URI that a tenant dials as a Request-URI: [`plain`], with the parameters that are its far
/// end's business. Not those that lead the request elsewhere or say how it is made.
pub fn request_uri(uri: &Uri<'_>) -> String {
    const OURS: [&str; 7] = ["transport", "maddr", "ttl", "method", "lr", "region", "edge"];
    let ours = |name: &[u8]| OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()));
    let mut text = plain(uri);
    for (name, value) in uri.params.iter().filter(|(name, _)| !ours(name)) {
        text.push(';');
        text.push_str(&String::from_utf8_lossy(name));
        if let Some(value) = value {
            text.push('=');
            text.push_str(&String::from_utf8_lossy(value));
        }
    }
    text
}

/// The URI of a user at a host, which may have a port.
pub fn at_host(user: &str, host: &str) -> String {
    // Each byte becomes at most three.
    let mut room = vec![0; user.len() * 3];
    let user = sip::uri::escape_user(user.as_bytes(), &mut room).unwrap_or_default();
    format!("sip:{}@{host}", String::from_utf8_lossy(user))
}

/// A user part with the same value, escaped only where something else would be read without.
fn canonical(user: &[u8]) -> String {
    let mut out = String::with_capacity(user.len());
    let mut rest = user;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = match *tail {
            [high, low, ref after @ ..] if *first == b'%' => {
                rest = after;
                hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        match escaped {
            Some(c) if c.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(&c) => {
                out.push(char::from(c));
            }
            Some(c) => out.push_str(&format!("%{c:02X}")),
            None if *first == b'#' => out.push_str("%23"),
            None => out.push(char::from(*first)),
        }
    }
    out
}

fn hex(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-decodes; None for a broken escape or text that is not UTF-8.
pub fn unescape(text: &str) -> Option<String> {
    let mut room = vec![0; text.len()];
    let value = sip::uri::unescape(text.as_bytes(), &mut room)?;
    String::from_utf8(value.to_vec()).ok()
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the host without brackets.
pub fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let whole = format!("sip:{text}");
    let uri = Uri::parse(whole.as_bytes()).ok()?;
    let bare = uri.user.is_empty() && uri.params.raw().is_empty() && uri.headers.is_empty();
    let host = host(&uri);
    (bare && host.len() <= 255).then_some((host, uri.port))
}

/// The host of a URI, without brackets.
pub fn host(uri: &Uri<'_>) -> String {
    match uri.host {
        Host::Ip(IpAddr::V6(address)) => address.to_string(),
        host => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let target = Target::parse("sip:bob:pw@Example.com:5070;transport=udp?X-A=a,b;c&X-B=%32");
        let Target { uri, headers } = target.unwrap();
        assert_eq!((host(&uri).as_str(), uri.port), ("Example.com", Some(5070)));
        assert_eq!((uri.transport(), headers), (Some(&b"udp"[..]), "X-A=a,b;c&X-B=%32"));
        assert_eq!(plain(&uri), "sip:bob@Example.com:5070");
        let uri = Target::parse("sip:1@b;transport=udp;user=phone;x-a=%20;ob;LR").unwrap().uri;
        assert_eq!(request_uri(&uri), "sip:1@b;user=phone;x-a=%20;ob");
        let uri = Target::parse("SIP:[2001:db8::1]").unwrap().uri;
        assert_eq!((host(&uri).as_str(), uri.port), ("2001:db8::1", None));
        assert_eq!(plain(&uri), "sip:[2001:db8::1]");
        for bad in
            ["", "bob", "http://a", "sip:", "sip:a b@c", "sip:a@b:x", "sip:[zz]", "sip:a@b:70000"]
        {
            assert!(Target::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_many_notations_and_one_value() {
        for text in [" +1 (555) 010-0000 ", "tel:+1-555-010-0000", "TEL:+15550100000;isub=1"] {
            assert_eq!(number(text).as_deref(), Some("+15550100000"), "{text}");
        }
        assert_eq!(number("tel:0100;phone-context=+1555").as_deref(), Some("+15550100"));
        assert_eq!(number("100").as_deref(), Some("100"));
        for bad in ["", "+", "alice", "1;2", "sip:+1555@h", "tel:", "+1/555", "+1\u{a0}555"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn callers_leave_as_what_was_meant_or_not_at_all() {
        for (text, meant) in [
            ("+15550002222", "+15550002222"),
            ("+1 (555) 000-2222", "+15550002222"),
            (" +15550002222 ", "+15550002222"),
            ("tel:+1-555-000-2222", "+15550002222"),
            ("alice.b-c_d+e", "alice.b-c_d+e"),
            ("sip:%2B1555@h:5070;user=phone", "sip:+1555@h:5070"),
        ] {
            assert_eq!(caller(text).as_deref(), Some(meant), "{text}");
        }
        let long = "a".repeat(NAME_CHARS_MAX + 1);
        for bad in ["", " ", "Alice Smith", "a@b", "sip:", "client:a", "+1/5", "<a>", &long] {
            assert_eq!(caller(bad), None, "{bad}");
        }
    }

    #[test]
    fn parties_are_numbers_where_they_are_numbers() {
        for text in [
            "sip:+15550100@10.1.1.1",
            "sip:%2B15550100@h;user=phone",
            "sip:+1555-0100;npdi;rn=+15550999@h",
            "tel:+1-555-0100",
            "sip:+15550100;cpc=ordinary@h",
        ] {
            assert_eq!(shown(text, true), "+15550100", "{text}");
        }
        assert_eq!(shown("tel:+1-555-0100", false), "+15550100");
        assert_eq!(shown("sip:+15550100@h;user=phone", false), "sip:+15550100@h");
        assert_eq!(
            shown("sip:anonymous@anonymous.invalid", true),
            "sip:anonymous@anonymous.invalid"
        );
        assert_eq!(shown("mailto:a@b", true), "mailto:a@b");
    }

    #[test]
    fn users_are_written_as_they_are_meant() {
        let uri = |text| plain(&Target::parse(text).unwrap().uri);
        assert_eq!(uri("sip:%61lice%20b@h"), "sip:alice%20b@h");
        assert_eq!(uri("sip:*21#@h"), "sip:*21%23@h");
        assert_eq!(uri("sip:a%3bb;c=d@h"), "sip:a%3Bb;c=d@h");
        assert_eq!(at_host("*21#", "h:5070"), "sip:*21%23@h:5070");
        assert_eq!(unescape("a%20b%c3%a4").as_deref(), Some("a b\u{e4}"));
        assert_eq!(unescape("%zz"), None);
    }

    #[test]
    fn hosts_and_ports() {
        let of = |text| host_and_port(text).map(|(host, port)| format!("{host} {port:?}"));
        assert_eq!(of("a.test").as_deref(), Some("a.test None"));
        assert_eq!(of("192.0.2.1:5070").as_deref(), Some("192.0.2.1 Some(5070)"));
        assert_eq!(of("[2001:db8::1]:5070").as_deref(), Some("2001:db8::1 Some(5070)"));
        for bad in ["", "a@b", "a;b", "a?b=c", "a b", "a:x", "[1]", ":5060"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
