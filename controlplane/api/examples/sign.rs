//! Signs seeded random webhooks and a few chosen ones, one JSON line each, for a validator of a
//! client library to judge (tests/interop/twilio/signature.py).

use api::webhook::signature;
use serde_json::json;

/// URLs as tenants write them.
const URLS: [&str; 8] = [
    "https://mycompany.com/myapp.php?foo=1&bar=2",
    "http://example.com/",
    "https://example.com:8443/a/b",
    "https://example.com:443/a?x=%20y",
    "http://127.0.0.1:8080/voice",
    "https://example.com/index.html",
    "https://example.com/a;b=c/d~e",
    "https://example.com/p?empty=&x=a%2Bb",
];
const NAMES: [&str; 8] = ["CallSid", "From", "To", "Digits", "A", "a", "SipHeader_X-Foo", "Ä"];
const VALUES: [&str; 8] =
    ["", "+14158675309", "1234", "a b", "z", "<&>", "\u{1f600}", "line\r\nend"];

fn main() {
    let mut random = 0x5eed_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % bound as u64).unwrap_or_default()
    };
    for number in 0..2_000 {
        let token = format!("token{number}");
        let url = URLS[below(URLS.len())];
        let pair = |at: usize| (NAMES[at % 8].to_owned(), VALUES[at / 8].to_owned());
        let params: Vec<(String, String)> = (0..below(9)).map(|_| pair(below(64))).collect();
        let signature = signature(&token, url, &params);
        let case = json!({"token": token, "url": url, "params": params, "signature": signature});
        println!("{case}");
    }
}
