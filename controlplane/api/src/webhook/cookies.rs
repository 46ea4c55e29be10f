//! Set-Cookie as it comes in (RFC 6265 section 5.3): parsed by crate `cookie`, and taken only for
//! what may be set by who set it.

use base::Wall;
use cookie::Expiration;
use http::{HeaderMap, header};
use model::Secret;
use model::cookie::{COOKIE_BYTES_MAX, Cookie, KEPT_S, NotKept, Origin, Refusal, is_within};
use url::Host;

use super::target::Target;

/// Set-Cookie lines of one answer that are looked at.
const LINES_MAX: usize = 40;
/// Characters of a name in a message.
const NAME_MAX: usize = 64;

/// What an answer sets.
pub(super) fn read(
    headers: &HeaderMap,
    target: &Target,
    now: Wall,
) -> impl Iterator<Item = Result<Cookie, NotKept>> {
    let lines = headers.get_all(header::SET_COOKIE).iter().take(LINES_MAX);
    lines.map(move |line| match line.to_str() {
        Ok(line) => parse(line, target, now),
        Err(_) => Err(NotKept { name: String::new(), why: Refusal::Unreadable }),
    })
}

/// Where a request goes, as cookies see it.
pub(super) fn origin<'a>(target: &'a Target, host: &'a str) -> Origin<'a> {
    let path = target.path.split('?').next().unwrap_or("/");
    Origin { secure: target.secure, host, path }
}

fn parse(line: &str, target: &Target, now: Wall) -> Result<Cookie, NotKept> {
    let named: String = line.split(['=', ';']).next().unwrap_or("").trim().chars().collect();
    let refuse = |why| {
        let name = named.chars().take(NAME_MAX).filter(|c| !c.is_control()).collect();
        Err(NotKept { name, why })
    };
    let Ok(found) = cookie::Cookie::parse(line) else { return refuse(Refusal::Unreadable) };
    let (name, value) = (found.name(), found.value());
    // It goes out in a header of ours.
    let is_plain = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !is_plain(name) || !is_plain(value) || value.contains(';') {
        return refuse(Refusal::Unreadable);
    }
    if name.len() + value.len() > COOKIE_BYTES_MAX {
        return refuse(Refusal::TooLarge);
    }
    let host = target.host.to_string().to_ascii_lowercase();
    let asked = found.domain().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
    let host_only = asked.as_ref().is_none_or(|domain| domain.is_empty() || *domain == host);
    let domain = asked.filter(|_| !host_only).unwrap_or_else(|| host.clone());
    let is_name = matches!(target.host, Host::Domain(_));
    if !host_only && (!is_name || !domain.contains('.') || !is_within(&host, &domain)) {
        return refuse(Refusal::Foreign);
    }
    let secure = found.secure() == Some(true);
    if secure && !target.secure {
        return refuse(Refusal::Insecure);
    }
    let here = origin(target, &host).path;
    let path = found.path().filter(|path| path.starts_with('/')).unwrap_or_else(|| above(here));
    if path.len() > COOKIE_BYTES_MAX {
        return refuse(Refusal::TooLarge);
    }
    let (name, value) = (name.to_owned(), Secret(value.to_owned()));
    let (path, expires) = (path.to_owned(), expiry(&found, now));
    Ok(Cookie { name, value, domain, host_only, path, secure, expires, made: now })
}

/// The default path (RFC 6265 section 5.1.4).
fn above(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

/// Max-Age before Expires; neither longer than a session.
fn expiry(found: &cookie::Cookie<'_>, now: Wall) -> Wall {
    let seconds = match (found.max_age(), found.expires()) {
        (Some(age), _) => age.whole_seconds(),
        (None, Some(Expiration::DateTime(at))) => {
            let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
            at.unix_timestamp().saturating_sub(now)
        }
        (None, _) => i64::MAX,
    };
    let seconds = u64::try_from(seconds).unwrap_or(0).min(KEPT_S);
    if seconds == 0 { Wall(0) } else { Wall(now.0.saturating_add(seconds * 1_000_000)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15, 08:00 UTC.
    const NOW: Wall = Wall(1_800_000_000_000_000);

    fn set(line: &str, by: &str) -> Result<Cookie, Refusal> {
        let target = Target::parse(by).expect("a URL");
        parse(line, &target, NOW).map_err(|refused| refused.why)
    }

    fn lives_s(line: &str) -> u64 {
        let cookie = set(line, "http://app.test/").expect("a cookie");
        cookie.expires.0.saturating_sub(NOW.0) / 1_000_000
    }

    #[test]
    fn what_is_set_has_a_scope() {
        let plain = set("PHPSESSID=abc123; HttpOnly", "http://App.test/deep/voice?x=/y").unwrap();
        assert_eq!((plain.name.as_str(), plain.value.0.as_str()), ("PHPSESSID", "abc123"));
        assert_eq!((plain.domain.as_str(), plain.path.as_str()), ("app.test", "/deep"));
        assert!(plain.host_only && !plain.secure);
        let wide = set("a=b; Domain=.App.test; Path=/x; Secure", "https://one.app.test/").unwrap();
        assert_eq!((wide.domain.as_str(), wide.path.as_str()), ("app.test", "/x"));
        assert!(!wide.host_only && wide.secure);
        let own = set("a=b; Domain=app.test; Path=relative", "http://app.test/x").unwrap();
        assert!(own.host_only && own.path == "/");
        let address = set("a=\"q\"; Domain=127.0.0.1", "http://127.0.0.1:8000/").unwrap();
        assert!(address.host_only && address.value.0 == "\"q\"");
        assert!(set("a=b", "http://[::1]:8000/").unwrap().domain.contains("::1"));
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        for (line, why) in [
            ("", Refusal::Unreadable),
            ("noequals", Refusal::Unreadable),
            ("=x", Refusal::Unreadable),
            ("a=b; Domain=other.test", Refusal::Foreign),
            ("a=b; Domain=p.test", Refusal::Foreign),
            ("a=b; Domain=test", Refusal::Foreign),
            ("a=b; Domain=deep.app.test", Refusal::Foreign),
            ("a=b; Secure", Refusal::Insecure),
        ] {
            assert_eq!(set(line, "http://app.test/").unwrap_err(), why, "{line}");
        }
        let long = format!("a={}", "x".repeat(COOKIE_BYTES_MAX));
        assert_eq!(set(&long, "http://app.test/").unwrap_err(), Refusal::TooLarge);
        assert_eq!(set("a=b; Domain=0.0.1", "http://127.0.0.1/").unwrap_err(), Refusal::Foreign);
    }

    #[test]
    fn time_is_bounded_and_can_be_over() {
        assert_eq!(lives_s("a=b"), KEPT_S);
        assert_eq!(lives_s("a=b; Max-Age=60"), 60);
        assert_eq!(lives_s("a=b; Max-Age=999999"), KEPT_S);
        assert_eq!(lives_s("a=b; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), 60);
        assert_eq!(lives_s("a=b; Expires=Fri, 15 Jan 2027 08:10:00 GMT"), 600);
        assert_eq!(lives_s("a=b; Expires=Tue, 19 Jan 2038 03:14:07 GMT"), KEPT_S);
        assert_eq!(lives_s("a=b; Expires=nonsense"), KEPT_S);
        for over in
            ["a=b; Max-Age=0", "a=b; Max-Age=-5", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
        {
            assert_eq!(set(over, "http://app.test/").unwrap().expires, Wall(0), "{over}");
        }
    }
}
