//! X-Twilio-Signature: HMAC-SHA1 under the account's token over the URL followed by every
//! parameter's name and value, names sorted, each value of a name once and sorted too (CONTRACTS.md
//! section 2).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The signature's text. `url` is the one the application sees: with its query, without fragment
/// and userinfo. `params` are the form's; empty for GET and for bodies that are no forms.
#[must_use]
pub fn signature(token: &str, url: &str, params: &[(String, String)]) -> String {
    let mut sorted: Vec<(&str, &str)> =
        params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(url.as_bytes());
    for (name, value) in sorted {
        context.update(name.as_bytes());
        context.update(value.as_bytes());
    }
    STANDARD.encode(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    #[test]
    fn the_published_vector() {
        let params = params(&[
            ("To", "+18005551212"),
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("From", "+14158675309"),
            ("Digits", "1234"),
        ]);
        assert_eq!(signature("12345", URL, &params), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn repeated_values_count_once_in_their_order() {
        let once = signature("k", URL, &params(&[("A", "1"), ("A", "2")]));
        assert_eq!(signature("k", URL, &params(&[("A", "2"), ("A", "1"), ("A", "2")])), once);
        assert_ne!(signature("k", URL, &params(&[("A", "1")])), once);
    }
}
