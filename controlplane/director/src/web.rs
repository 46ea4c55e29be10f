//! URLs of applications: joining relative ones, and the connection overrides in their fragment
//! (`#rc=2&rp=5xx,ct&ct=2000&rt=5000&tt=10000`). The fragment is neither sent nor signed.

use model::address::webhook::URL_BYTES_MAX;
use url::Url;

use crate::director::Endpoint;

/// How a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// More attempts after the first, at once: `rc`, 0-5.
    pub(crate) retries: u8,
    /// What is worth another attempt: `rp`.
    pub(crate) retry_connect: bool,
    pub(crate) retry_read: bool,
    pub(crate) retry_4xx: bool,
    pub(crate) retry_5xx: bool,
    pub(crate) connect_ms: u32,
    pub(crate) read_ms: u32,
    pub(crate) total_ms: u32,
}

impl Policy {
    pub(crate) fn new(connect_ms: u32, total_ms: u32) -> Self {
        Self {
            retries: 1,
            retry_connect: true,
            retry_read: false,
            retry_4xx: false,
            retry_5xx: false,
            connect_ms,
            read_ms: total_ms,
            total_ms,
        }
    }

    /// Takes the fragment's overrides; what is out of range or unknown is left aside.
    fn apply(&mut self, fragment: &str) {
        for pair in fragment.split(['&', ',']) {
            let (key, value) = pair.split_once('=').unwrap_or(("", pair));
            let number = value.parse::<u32>().ok();
            match (key, number) {
                ("rc", Some(count @ 0..=5)) => self.retries = u8::try_from(count).unwrap_or(0),
                ("ct", Some(ms @ 100..=10_000)) => self.connect_ms = ms,
                ("rt", Some(ms @ 100..=15_000)) => self.read_ms = ms,
                ("tt", Some(ms @ 100..=15_000)) => self.total_ms = ms,
                ("rp", _) => {
                    self.retry_connect = false;
                    self.retry_for(value);
                }
                // `rp=4xx,5xx`: the list goes on after a comma.
                ("", _) => self.retry_for(value),
                _ => {}
            }
        }
    }

    fn retry_for(&mut self, what: &str) {
        let all = what == "all";
        self.retry_connect |= all || what == "ct";
        self.retry_read |= all || what == "rt";
        self.retry_4xx |= all || what == "4xx";
        self.retry_5xx |= all || what == "5xx";
    }
}

/// The URL without its fragment, and how to try it.
pub(crate) fn split(url: &str, mut policy: Policy) -> (String, Policy) {
    match url.split_once('#') {
        Some((plain, fragment)) => {
            policy.apply(fragment);
            (plain.to_owned(), policy)
        }
        None => (url.to_owned(), policy),
    }
}

/// `host[:port]` of an absolute http(s) URL, lower case; None if it is none.
pub(crate) fn authority(url: &str) -> Option<String> {
    let rest = strip(url, "http://").or_else(|| strip(url, "https://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].rsplit('@').next().unwrap_or("");
    let broken = url.contains(|c: char| c.is_control() || c.is_whitespace());
    (!authority.is_empty() && !authority.starts_with(':') && !broken && url.len() <= URL_BYTES_MAX)
        .then(|| authority.to_ascii_lowercase())
}

/// The URL without its fragment.
pub(crate) fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or(url)
}

/// Where an absolute URL leads: scheme, host and port, and the path. What stands in the query says
/// what is told, not whom.
pub(crate) fn endpoint(url: &str) -> Option<Endpoint> {
    // Asked at every step of a callback: without a parser's allocations.
    let url = url.trim();
    let authority = authority(url)?;
    let (scheme, port) =
        if strip(url, "https://").is_some() { ("https", ":443") } else { ("http", ":80") };
    let host = authority.strip_suffix(port).unwrap_or(&authority);
    let rest = &url[scheme.len() + "://".len()..];
    let rest = rest.find(['/', '?', '#']).map_or("", |end| &rest[end..]);
    let path = rest.split(['?', '#']).next().unwrap_or("");
    let path = if path.is_empty() { "/" } else { path };
    Some(Endpoint { host: format!("{scheme}://{host}"), path: path.to_owned() })
}

/// `reference` seen from `base` (RFC 3986 section 5.2, http and https only); None where that is no
/// URL. What is absolute, and what names the base itself, stays as it is written.
pub(crate) fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    if authority(reference).is_some() {
        return Some(reference.to_owned());
    }
    let base = base.split('#').next().unwrap_or("");
    authority(base)?;
    if reference.is_empty() {
        return Some(base.to_owned());
    }
    let joined: String = Url::parse(base).ok()?.join(reference).ok()?.into();
    authority(&joined).map(|_| joined)
}

fn strip<'a>(url: &'a str, prefix: &str) -> Option<&'a str> {
    let head = url.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &url[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined() {
        let base = "http://app.test:8000/voice/start?x=1#rc=2";
        for (reference, joined) in [
            ("https://b/c", "https://b/c"),
            ("/next", "http://app.test:8000/next"),
            ("next?d=1", "http://app.test:8000/voice/next?d=1"),
            ("../up", "http://app.test:8000/up"),
            ("./same", "http://app.test:8000/voice/same"),
            ("?y=2", "http://app.test:8000/voice/start?y=2"),
            ("//other/p", "http://other/p"),
            ("", "http://app.test:8000/voice/start?x=1"),
            ("next#rc=3", "http://app.test:8000/voice/next#rc=3"),
            ("a/../../b/.?c=/../d", "http://app.test:8000/b/?c=/../d"),
        ] {
            assert_eq!(resolve(base, reference).as_deref(), Some(joined), "{reference}");
        }
        assert_eq!(resolve("http://a", "b").as_deref(), Some("http://a/b"));
        assert_eq!(
            resolve("http://u:p@A.test:8000/x/y", "z").unwrap(),
            "http://u:p@a.test:8000/x/z"
        );
        assert_eq!(resolve("", "b"), None);
        for other in ["ftp://a/b", "mailto:a@b", "javascript:1", "http://"] {
            assert_eq!(resolve(base, other), None, "{other}: another scheme is no path");
        }
        assert_eq!(resolve("ftp://a/", "b"), None);
    }

    #[test]
    fn fragments_override_the_connection() {
        let (url, policy) =
            split("http://a/b?c#rc=3&rp=4xx,rt&ct=250&rt=99&tt=9000", Policy::new(3_000, 15_000));
        assert_eq!(url, "http://a/b?c");
        assert_eq!((policy.retries, policy.connect_ms, policy.total_ms), (3, 250, 9_000));
        assert_eq!(policy.read_ms, 15_000, "99 is out of range");
        assert!(policy.retry_4xx && policy.retry_read);
        assert!(!policy.retry_connect && !policy.retry_5xx);
    }

    #[test]
    fn endpoints_are_hosts_and_paths() {
        let of = |url| endpoint(url).map(|it| format!("{} {}", it.host, it.path));
        for (url, seen) in [
            ("http://u:p@App.test/a?x=1#rc=2", "http://app.test /a"),
            ("https://app.test", "https://app.test /"),
            ("http://app.test?x=/y", "http://app.test /"),
            ("HTTPS://app.test:443/", "https://app.test /"),
            ("http://app.test:443/", "http://app.test:443 /"),
            ("http://[::1]:8000/b", "http://[::1]:8000 /b"),
        ] {
            assert_eq!(of(url).as_deref(), Some(seen));
        }
        assert_eq!((of("mailto:a"), of("")), (None, None));
        assert_eq!(without_fragment("http://a/b#rc=2"), "http://a/b");
    }

    #[test]
    fn authorities() {
        assert_eq!(authority("HTTP://User@A.Test:80/x").as_deref(), Some("a.test:80"));
        for bad in ["", "http://", "http:///x", "file:///etc", "http://a b/", "http://a/\r\nX: y"] {
            assert_eq!(authority(bad), None, "{bad}");
        }
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX - 9));
        assert!(authority(&long).is_some() && authority(&format!("{long}x")).is_none());
    }
}
