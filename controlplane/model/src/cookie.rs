//! Cookies that an application sets, kept for the two parties of a call (RFC 6265). A jar is a
//! value: who has the requests reads and fills it, who has the calls keeps it.

use base::Wall;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// How long a cookie is kept that names no shorter time, and the longest.
pub const KEPT_S: u64 = 4 * 3_600;
/// Name and value of one cookie.
pub const COOKIE_BYTES_MAX: usize = 4_096;
/// All cookies of a jar, with where they go.
pub const JAR_BYTES_MAX: usize = 8_192;
/// Cookies of a jar.
pub const JAR_COOKIES_MAX: usize = 20;

/// One cookie, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    pub name: String,
    pub value: Secret,
    /// In lower case; its subdomains too unless `host_only`.
    pub domain: String,
    pub host_only: bool,
    pub path: String,
    /// To https alone.
    pub secure: bool,
    /// Not sent from then on.
    pub expires: Wall,
    pub made: Wall,
}

/// What a cookie was set by, or may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub secure: bool,
    /// In lower case, without port.
    pub host: &'a str,
    /// Without query.
    pub path: &'a str,
}

/// A cookie that nobody keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept {
    pub name: String,
    pub why: Refusal,
}

/// Why a cookie is not kept. The doc comment is the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// it cannot be read
    Unreadable,
    /// it is longer than 4096 bytes
    TooLarge,
    /// it is for another host than the one that set it
    Foreign,
    /// it is for https, and was set by http
    Insecure,
    /// the call has 20 cookies, or 8192 bytes of them
    Full,
}

impl Refusal {
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Unreadable => "it cannot be read",
            Self::TooLarge => "it is longer than 4096 bytes",
            Self::Foreign => "it is for another host than the one that set it",
            Self::Insecure => "it is for https, and was set by http",
            Self::Full => "the call has 20 cookies, or 8192 bytes of them",
        }
    }
}

impl Cookie {
    /// It takes the other's place.
    fn has_place_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.domain == other.domain
            && self.host_only == other.host_only
            && self.path == other.path
    }

    fn goes_to(&self, origin: Origin<'_>, now: Wall) -> bool {
        let host = if self.host_only {
            self.domain == origin.host
        } else {
            is_within(origin.host, &self.domain)
        };
        host && self.expires > now
            && (origin.secure || !self.secure)
            && is_below(origin.path, &self.path)
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.value.0.len() + self.domain.len() + self.path.len()
    }
}

/// The cookies of one pair of parties.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jar {
    /// In the order in which they were first set.
    cookies: Vec<Cookie>,
}

impl Jar {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cookies.iter().map(Cookie::bytes).sum()
    }

    #[must_use]
    pub fn cookies(&self) -> &[Cookie] {
        &self.cookies
    }

    /// Until when anything of it is of use.
    #[must_use]
    pub fn expires(&self) -> Wall {
        self.cookies.iter().map(|cookie| cookie.expires).max().unwrap_or_default()
    }

    /// Puts it in the place of the one of its name and scope; one whose time is over takes that one
    /// away.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn keep(&mut self, mut cookie: Cookie, now: Wall) -> Result<(), NotKept> {
        self.cookies.retain(|kept| kept.expires > now);
        let old = self.cookies.iter().position(|kept| cookie.has_place_of(kept));
        if cookie.expires <= now {
            if let Some(at) = old {
                self.cookies.remove(at);
            }
            return Ok(());
        }
        let replaced = old.map_or(0, |at| self.cookies[at].bytes());
        let bytes = self.bytes() - replaced + cookie.bytes();
        let count = self.cookies.len() + usize::from(old.is_none());
        if bytes > JAR_BYTES_MAX || count > JAR_COOKIES_MAX {
            return Err(NotKept { name: cookie.name, why: Refusal::Full });
        }
        match old {
            Some(at) => {
                cookie.made = self.cookies[at].made;
                self.cookies[at] = cookie;
            }
            None => self.cookies.push(cookie),
        }
        Ok(())
    }

    /// The Cookie header of a request (RFC 6265 section 5.4): longer paths first.
    #[must_use]
    pub fn header(&self, origin: Origin<'_>, now: Wall) -> Option<String> {
        let goes = self.cookies.iter().filter(|cookie| cookie.goes_to(origin, now));
        let mut sent: Vec<&Cookie> = goes.collect();
        sent.sort_by_key(|cookie| (core::cmp::Reverse(cookie.path.len()), cookie.made));
        let pair = |cookie: &&Cookie| format!("{}={}", cookie.name, cookie.value.0);
        let pairs: Vec<String> = sent.iter().map(pair).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// `host` is `domain` or below it.
#[must_use]
pub fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Path-match (RFC 6265 section 5.1.4).
fn is_below(path: &str, scope: &str) -> bool {
    path.strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || scope.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(name: &str, path: &str) -> Cookie {
        Cookie {
            name: name.to_owned(),
            value: Secret("v".to_owned()),
            domain: "app.test".to_owned(),
            host_only: true,
            path: path.to_owned(),
            secure: false,
            expires: Wall(1_000),
            made: Wall(5),
        }
    }

    fn to<'a>(host: &'a str, path: &'a str) -> Origin<'a> {
        Origin { secure: false, host, path }
    }

    #[test]
    fn a_cookie_goes_where_it_belongs() {
        let mut jar = Jar::default();
        let wide = Cookie { host_only: false, ..cookie("wide", "/") };
        let safe = Cookie { secure: true, ..cookie("safe", "/") };
        for cookie in [cookie("deep", "/voice"), cookie("top", "/"), wide, safe] {
            jar.keep(cookie, Wall(1)).unwrap();
        }
        let header = |origin, now| jar.header(origin, Wall(now));
        assert_eq!(header(to("app.test", "/voice/next"), 1).unwrap(), "deep=v; top=v; wide=v");
        assert_eq!(header(to("app.test", "/voicemail"), 1).unwrap(), "top=v; wide=v");
        assert_eq!(header(to("a.app.test", "/"), 1).unwrap(), "wide=v");
        assert_eq!(header(to("xapp.test", "/"), 1), None);
        let secure = Origin { secure: true, ..to("app.test", "/") };
        assert_eq!(header(secure, 1).unwrap(), "top=v; wide=v; safe=v");
        assert_eq!(header(secure, 1_000), None, "their time is over");
    }

    #[test]
    fn a_cookie_is_replaced_and_taken_away() {
        let mut jar = Jar::default();
        jar.keep(cookie("a", "/"), Wall(1)).unwrap();
        jar.keep(Cookie { value: Secret("new".to_owned()), ..cookie("a", "/") }, Wall(1)).unwrap();
        assert_eq!(jar.header(to("app.test", "/"), Wall(1)).unwrap(), "a=new");
        jar.keep(Cookie { expires: Wall(0), ..cookie("a", "/") }, Wall(1)).unwrap();
        assert!(jar.is_empty());
    }

    #[test]
    fn a_jar_is_bounded() {
        let mut jar = Jar::default();
        for at in 0..JAR_COOKIES_MAX {
            jar.keep(cookie(&at.to_string(), "/"), Wall(1)).unwrap();
        }
        assert_eq!(jar.keep(cookie("more", "/"), Wall(1)).unwrap_err().why, Refusal::Full);
        jar.keep(cookie("3", "/"), Wall(1)).unwrap();
        jar.keep(Cookie { expires: Wall(5_000), ..cookie("later", "/") }, Wall(1_000)).unwrap();
        assert_eq!(jar.cookies().len(), 1, "what is over makes room");
        let long = Secret("x".repeat(JAR_BYTES_MAX));
        let long = Cookie { value: long, expires: Wall(5_000), ..cookie("long", "/") };
        assert_eq!(jar.keep(long, Wall(1_000)).unwrap_err().why, Refusal::Full);
    }
}
