//! A webhook's URL taken apart: what is resolved and connected to, what stands in the request, what
//! is signed. One parser (WHATWG, crate `url`) decides the host in all its spellings; the path goes
//! out as the tenant wrote it wherever that is a legal request target, so that the signature over
//! the configured URL and the application's view of its own URL agree.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use model::address::webhook::URL_BYTES_MAX;
use url::{Host, Url, form_urlencoded};

/// One absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    /// Host header: as written, with the port if it was written.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    /// `Basic …` from the URL's userinfo.
    pub(crate) authorization: Option<String>,
    /// The userinfo as it stands there.
    login: Option<(String, Option<String>)>,
    /// For redirects relative to this one.
    base: Url,
}

/// The URL is none, is too long, or is neither http nor https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadUrl;

/// Targets taken apart lately: few URLs are asked again and again.
#[derive(Debug, Default)]
pub(super) struct Targets(Mutex<HashMap<String, Target>>);

/// Targets that are kept, and the longest of them.
const TARGETS_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 512;

impl Targets {
    pub(super) fn of(&self, url: &str) -> Result<Target, BadUrl> {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(url) {
            return Ok(target.clone());
        }
        let target = Target::parse(url)?;
        if url.len() <= KEPT_BYTES_MAX {
            if targets.len() >= TARGETS_MAX {
                targets.clear();
            }
            targets.insert(url.to_owned(), target.clone());
        }
        Ok(target)
    }
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        if text.len() > URL_BYTES_MAX {
            return Err(BadUrl);
        }
        Self::from_url(Url::parse(text).map_err(|_| BadUrl)?, text)
    }

    /// Where `location` of a redirect leads. Credentials stay behind unless host and port stay the
    /// same.
    pub(crate) fn redirect(&self, location: &str) -> Result<Self, BadUrl> {
        if location.len() > URL_BYTES_MAX {
            return Err(BadUrl);
        }
        let url = self.base.join(location.trim()).map_err(|_| BadUrl)?;
        let text = url.to_string();
        let mut next = Self::from_url(url, &text)?;
        let same = next.host == self.host && next.port == self.port && next.secure == self.secure;
        if same && next.authorization.is_none() {
            next.authorization.clone_from(&self.authorization);
            next.login.clone_from(&self.login);
        }
        Ok(next)
    }

    fn from_url(mut url: Url, text: &str) -> Result<Self, BadUrl> {
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(BadUrl),
        };
        let authorization = basic(&url);
        let login = authorization
            .as_ref()
            .map(|_| (url.username().to_owned(), url.password().map(str::to_owned)));
        url.set_fragment(None);
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let host = url.host().ok_or(BadUrl)?.to_owned();
        let port = url.port_or_known_default().ok_or(BadUrl)?;
        let (authority, path) = match as_written(text, &host, port, secure) {
            Some(written) => written,
            None => normalised(&url, &host),
        };
        Ok(Self { secure, host, port, authority, path, authorization, login, base: url })
    }

    /// The same URL with `params` at the end of its query.
    pub(crate) fn with_query(mut self, params: &[(String, String)]) -> Self {
        if params.is_empty() {
            return self;
        }
        let joint = match self.path.find('?') {
            None => "?",
            Some(_) if self.path.ends_with(['?', '&']) => "",
            Some(_) => "&",
        };
        self.path.push_str(joint);
        self.path.push_str(&form(params));
        self
    }

    /// The URL with its credentials, for what is relative to it.
    pub(crate) fn located(&self) -> String {
        let mut url = self.base.clone();
        if let Some((user, password)) = &self.login {
            let _ = url.set_username(user);
            let _ = url.set_password(password.as_deref());
        }
        url.into()
    }

    /// The URL as the application sees it, and as it is signed. An empty query is none: that is
    /// what servers show and validators check, whatever the request line says.
    pub(crate) fn signed(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let path = match self.path.split_once('?') {
            Some((path, "")) => path,
            _ => &self.path,
        };
        format!("{scheme}://{}{path}", self.authority)
    }
}

/// Parameters as `application/x-www-form-urlencoded`.
pub(crate) fn form(params: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

fn basic(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| -> Vec<u8> { percent_decode(text.as_bytes()) };
    let mut pair = decode(url.username());
    pair.push(b':');
    pair.extend(decode(url.password().unwrap_or_default()));
    Some(format!("Basic {}", STANDARD.encode(pair)))
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'%'
            && let (Some(high), Some(low)) = (digit(text.get(at + 1)), digit(text.get(at + 2)))
        {
            out.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    out
}

/// Authority and path exactly as the tenant wrote them, if the simple reading of the text names the
/// same host and port as the parser that decides where we connect to.
fn as_written(
    text: &str,
    host: &Host<String>,
    port: u16,
    secure: bool,
) -> Option<(String, String)> {
    let text = text.split('#').next()?;
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let agrees = authority.host().eq_ignore_ascii_case(&host.to_string())
        && authority.port_u16().unwrap_or(if secure { 443 } else { 80 }) == port;
    if !agrees || !text.is_ascii() || text.contains('\\') {
        return None;
    }
    let written = authority.as_str().rsplit('@').next()?.to_owned();
    let path = match uri.path_and_query()?.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        query => format!("/{query}"),
    };
    Some((written, path))
}

fn normalised(url: &Url, host: &Host<String>) -> (String, String) {
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    (authority, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).expect("a URL")
    }

    #[test]
    fn the_path_stays_as_written_and_the_fragment_stays_here() {
        let written = target("https://App.example.com:443/a/../b%7e?x=1&y=%20#rc=2&rp=all");
        assert_eq!(written.authority, "App.example.com:443");
        assert_eq!(written.path, "/a/../b%7e?x=1&y=%20");
        assert_eq!(written.signed(), "https://App.example.com:443/a/../b%7e?x=1&y=%20");
        assert_eq!(target("http://example.com").signed(), "http://example.com/");
        assert_eq!(target("http://example.com?x=1").signed(), "http://example.com/?x=1");
        assert_eq!(target("http://[2001:db8::1]:8080/x").signed(), "http://[2001:db8::1]:8080/x");
    }

    #[test]
    fn an_empty_query_is_asked_for_and_not_signed() {
        let bare = target("https://mycompany.com/myapp.php?#rc=1");
        assert_eq!(bare.path, "/myapp.php?");
        assert_eq!(bare.signed(), "https://mycompany.com/myapp.php");
        assert_eq!(target("http://h?").signed(), "http://h/");
        assert_eq!(target("http://h/p??").signed(), "http://h/p??");
        // What twilio-python's RequestValidator takes for the URL as it is configured.
        let params = [("Digits".to_owned(), "1234".to_owned())];
        let signature = crate::webhook::signature("12345", &bare.signed(), &params);
        assert_eq!(signature, "ai5WHRyZd6g7zegMIjN1fSv1jDk=");
    }

    #[test]
    fn what_is_no_request_target_is_normalised() {
        assert_eq!(target("http://example.com/a b").signed(), "http://example.com/a%20b");
        assert_eq!(
            target("http://example.com\\@evil.test/").host,
            Host::Domain("example.com".to_owned())
        );
        assert_eq!(target("http://0x7f.1/x").signed(), "http://127.0.0.1/x");
        assert_eq!(target("http://b\u{fc}cher.example/").signed(), "http://xn--bcher-kva.example/");
        assert_eq!(target("http://example.com/\u{fc}").signed(), "http://example.com/%C3%BC");
    }

    #[test]
    fn userinfo_becomes_a_header_and_is_not_signed() {
        let target = target("https://me%40x:s%3Acret@example.com/p");
        assert_eq!(target.authorization.as_deref(), Some("Basic bWVAeDpzOmNyZXQ="));
        assert_eq!(target.signed(), "https://example.com/p");
    }

    #[test]
    fn parameters_join_the_query() {
        let params = vec![("To".to_owned(), "+1 2".to_owned()), ("A".to_owned(), "b&c".to_owned())];
        let with = |url: &str| target(url).with_query(&params).path;
        assert_eq!(with("http://h/p"), "/p?To=%2B1+2&A=b%26c");
        assert_eq!(with("http://h/p?x=1#f"), "/p?x=1&To=%2B1+2&A=b%26c");
        assert_eq!(with("http://h/p?"), "/p?To=%2B1+2&A=b%26c");
    }

    #[test]
    fn redirects_are_relative_and_drop_credentials_abroad() {
        let first = target("http://u:p@one.example/a/b?c=1");
        let near = first.redirect("../d?e=2").expect("relative");
        assert_eq!(
            (near.signed().as_str(), near.authorization.is_some()),
            ("http://one.example/d?e=2", true)
        );
        assert_eq!(near.located(), "http://u:p@one.example/d?e=2");
        let far = first.redirect("//two.example/x").expect("network path");
        assert_eq!(
            (far.signed().as_str(), far.authorization.is_some()),
            ("http://two.example/x", false)
        );
        assert_eq!(first.redirect("file:///etc/passwd"), Err(BadUrl));
    }

    #[test]
    fn only_http_is_a_webhook() {
        for text in [
            "",
            "example.com",
            "/x",
            "ftp://h/",
            "file:///x",
            "http://",
            "gopher://h",
            "http://h:99999/",
        ] {
            assert_eq!(Target::parse(text), Err(BadUrl), "{text}");
        }
        let long = format!("http://h/{}", "x".repeat(URL_BYTES_MAX - 9));
        assert!(Target::parse(&long).is_ok());
        assert_eq!(Target::parse(&format!("{long}x")), Err(BadUrl));
    }
}
