//! The REST API as a client without any library sees it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One tenant's way to the API.
#[derive(Clone, Debug)]
pub struct Rest {
    pub address: SocketAddr,
    pub account: String,
    pub token: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Rest {
    /// A resource below the account, `/Calls.json`.
    ///
    /// # Panics
    /// If the API cannot be reached.
    #[must_use]
    pub fn get(&self, resource: &str) -> Answer {
        self.ask("GET", resource, &[]).expect("the API answers")
    }

    /// # Panics
    /// If the API cannot be reached.
    #[must_use]
    pub fn post(&self, resource: &str, form: &[(&str, &str)]) -> Answer {
        self.ask("POST", resource, form).expect("the API answers")
    }

    /// Creates or changes something, and gives it back.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    #[must_use]
    pub fn make(&self, resource: &str, form: &[(&str, &str)]) -> Value {
        let answer = self.post(resource, form);
        assert!(answer.status < 300, "POST {resource}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// All entries of a list, page by page; `query` as `Status=completed`.
    ///
    /// # Panics
    /// If the API cannot be reached or does not answer with a list.
    #[must_use]
    pub fn list(&self, resource: &str, key: &str, query: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut next = format!("{resource}?PageSize=1000&{query}");
        loop {
            let answer = self.get(&next);
            if answer.status == 429 {
                // A long list of lists is more than an account may ask in a second.
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            assert_eq!(answer.status, 200, "{next}: {}", answer.body);
            entries.extend(answer.body[key].as_array().cloned().expect("a list"));
            let Some(uri) = answer.body["next_page_uri"].as_str() else { return entries };
            let prefix = format!("/2010-04-01/Accounts/{}", self.account);
            next = uri.strip_prefix(&prefix).expect("a page of the same account").to_owned();
        }
    }

    /// What is no resource of an account (`/healthz`): status and text; None without an answer.
    #[must_use]
    pub fn plain(&self, path: &str) -> Option<(u16, String)> {
        self.text(path, "")
    }

    /// The same with our login (`/metrics`).
    #[must_use]
    pub fn shown(&self, path: &str) -> Option<(u16, String)> {
        let login = STANDARD.encode(format!("{}:{}", self.account, self.token));
        self.text(path, &format!("Authorization: Basic {login}\r\n"))
    }

    fn text(&self, path: &str, login: &str) -> Option<(u16, String)> {
        let limit = Duration::from_secs(20);
        let mut stream = TcpStream::connect_timeout(&self.address, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: switch\r\n{login}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        parts(&said)
    }

    /// One request on a connection of its own; None if there was no answer. A resource of `/v1` is
    /// no account's.
    #[must_use]
    pub fn ask(&self, method: &str, resource: &str, form: &[(&str, &str)]) -> Option<Answer> {
        let limit = Duration::from_secs(20);
        let mut stream = TcpStream::connect_timeout(&self.address, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        let body: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        let body = body.join("&");
        let login = STANDARD.encode(format!("{}:{}", self.account, self.token));
        let above = match resource.strip_prefix("/v1/") {
            Some(_) => String::new(),
            None => format!("/2010-04-01/Accounts/{}", self.account),
        };
        let request = format!(
            "{method} {above}{resource} HTTP/1.1\r\nHost: {}\r\n\
             Authorization: Basic {login}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut said = Vec::new();
        // A reset after the whole answer is no failure; what is missing shows below.
        let _ = stream.read_to_end(&mut said);
        read(&said)
    }
}

fn read(said: &[u8]) -> Option<Answer> {
    let (status, body) = parts(said)?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).ok()? };
    Some(Answer { status, body })
}

fn parts(said: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(said);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { unchunk(body)? } else { body.to_owned() }))
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}

/// Percent-encoding of everything but unreserved characters (RFC 3986 section 2.3).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `a=b&c=d`, decoded.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name), unescape(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = core::str::from_utf8(&digits).unwrap_or("00").to_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}
