//! X-Twilio-Signature: HMAC-SHA1, keyed by the account's token, over the URL and the sorted form
//! fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// The header's value for a request to `url` with these form fields (none for GET).
#[must_use]
pub fn signature(token: &str, url: &str, fields: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = fields.iter().collect();
    sorted.sort();
    sorted.dedup();
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else { return String::new() };
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Fields of an `application/x-www-form-urlencoded` text.
#[must_use]
pub fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        })
        .collect()
}

/// Writes a form.
#[must_use]
pub fn to_form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| byte == b'%')
            .and_then(|hex| core::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_holds() {
        let fields = form(
            "To=%2B18005551212&From=%2B14158675309&Digits=1234&Caller=%2B14158675309&\
             CallSid=CA1234567890ABCDE",
        );
        let signed = signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", &fields);
        assert_eq!(signed, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn forms_go_there_and_back() {
        let text = to_form(&[("A b", "+1 & 50 %"), ("C", "")]);
        assert_eq!(text, "A%20b=%2B1%20%26%2050%20%25&C=");
        let back = form(&text);
        assert_eq!(
            back,
            [("A b".to_owned(), "+1 & 50 %".to_owned()), ("C".to_owned(), String::new())]
        );
        assert_eq!(form("a=x+y&b"), [("a".into(), "x y".into()), ("b".into(), String::new())]);
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }
}
