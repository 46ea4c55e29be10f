//! Nothing that a client sends is a server error: seeded random requests, most of them nearly
//! right.

mod fake;

use std::sync::Arc;

use api::{Limits, Options, router};
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, SUB, token};
use http::{Request, header};
use serde_json::Value;
use tower::ServiceExt as _;

const REQUESTS: usize = 20_000;
const SEED: u64 = 0x7a6d_5eed;

/// xorshift64*: the same requests on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const NAMES: [&str; 34] = [
    "To",
    "From",
    "Url",
    "Twiml",
    "ApplicationSid",
    "Method",
    "FallbackUrl",
    "StatusCallback",
    "StatusCallbackEvent",
    "StatusCallbackMethod",
    "Timeout",
    "TimeLimit",
    "CallerId",
    "Record",
    "Status",
    "FriendlyName",
    "PageSize",
    "Page",
    "PageToken",
    "StartTime<",
    "StartTime>",
    "StartTime",
    "EndTime",
    "StartDate",
    "EndDate",
    "Category",
    "Log",
    "PhoneNumber",
    "DomainName",
    "VoiceUrl",
    "VoiceApplicationSid",
    "SourceNetwork",
    "IpAddress",
    "CidrPrefixLength",
];

const VALUES: [&str; 40] = [
    "",
    "0",
    "1",
    "-1",
    "50",
    "4294967296",
    "99999999999999999999",
    "true",
    "false",
    "GET",
    "post",
    "completed",
    "canceled",
    "suspended",
    "closed",
    "active",
    "+15551",
    "sip:a@b.example",
    "sip:",
    "https://a.example/x",
    "http://[::1]:0/",
    "http://\u{0}",
    "<Response/>",
    "initiated",
    "2026-11-22",
    "2026-02-30",
    "2026-11-22T10:00:00Z",
    "9999-12-31",
    "0000-00-00",
    "-30days",
    "-4294967295days",
    "\u{1f600}",
    "a\r\nb",
    "127.0.0.0/8",
    "::/0",
    "10.0.0.0/33",
    "a.example",
    "-",
    "AP00",
    "PAffffffffffffffffffffffffffffffffffffffffffffffff",
];

const PATHS: [&str; 38] = [
    "",
    ".json",
    "/Calls",
    "/Calls.json",
    "/Calls/{sid}.json",
    "/Calls/{sid}/Cdrs.json",
    "/Calls/{sid}/Usage.json",
    "/Calls/{sid}/Notifications.json",
    "/Calls/{sid}/{sid}/{sid}.json",
    "/Applications.json",
    "/Applications/{sid}.json",
    "/IncomingPhoneNumbers.json",
    "/IncomingPhoneNumbers/{sid}.json",
    "/Keys.json",
    "/Keys/{sid}.json",
    "/SIP/Domains.json",
    "/SIP/Domains/{sid}.json",
    "/SIP/Domains/{sid}/IpAccessControlListMappings.json",
    "/SIP/Domains/{sid}/Auth/Calls/IpAccessControlListMappings.json",
    "/SIP/Domains/{sid}/CredentialListMappings.json",
    "/SIP/Domains/{sid}/Auth/Calls/CredentialListMappings/{sid}.json",
    "/SIP/Domains/{sid}/Auth/Registrations/CredentialListMappings.json",
    "/SIP/CredentialLists.json",
    "/SIP/CredentialLists/{sid}.json",
    "/SIP/CredentialLists/{sid}/Credentials.json",
    "/SIP/CredentialLists/{sid}/Credentials/{sid}.json",
    "/SIP/IpAccessControlLists.json",
    "/SIP/IpAccessControlLists/{sid}.json",
    "/SIP/IpAccessControlLists/{sid}/IpAddresses.json",
    "/SIP/IpAccessControlLists/{sid}/IpAddresses/{sid}.json",
    "/Usage/Records.json",
    "/Usage/Records/Daily.json",
    "/Usage/Records/Monthly.json",
    "/Usage/Records/LastMonth.json",
    "/Notifications.json",
    "/Notifications/{sid}.json",
    "//",
    "/%2e%2e/{sid}",
];

/// The letters of the sids that a path takes first.
const KINDS: [(&str, &str); 6] = [
    ("/Calls/", "CA"),
    ("/Applications/", "AP"),
    ("/IncomingPhoneNumbers/", "PN"),
    ("/Keys/", "SK"),
    ("/SIP/Domains/", "SD"),
    ("/SIP/CredentialLists/", "CL"),
];

/// A sid that exists (of the path's kind, mostly), one that does not, or none at all.
fn sid(random: &mut Random, seen: &[String], path: &str) -> String {
    let kind = KINDS.iter().find(|(name, _)| path.contains(name)).map_or("", |(_, kind)| kind);
    let fitting: Vec<&String> = seen.iter().filter(|sid| sid.starts_with(kind)).collect();
    if !fitting.is_empty() && !random.one_in(4) {
        return fitting[random.below(fitting.len())].clone();
    }
    match random.below(4) {
        0 => format!("CA{:032x}", random.next()),
        1 => format!("{}{:032x}", random.pick(&["AP", "PN", "SD", "AL", "IP", "NO"]), 0xa1),
        2 => "%ff%00x".to_owned(),
        _ => "CA".to_owned(),
    }
}

fn form(random: &mut Random, seen: &[String]) -> String {
    let mut serializer = url::form_urlencoded::Serializer::new(String::new());
    for _ in 0..random.below(8) {
        let value =
            if random.one_in(6) { sid(random, seen, "") } else { random.pick(&VALUES).to_owned() };
        serializer.append_pair(random.pick(&NAMES), &value);
    }
    if random.one_in(2) {
        serializer
            .append_pair("To", "+15551")
            .append_pair("From", "1")
            .append_pair("Twiml", "<R/>");
        serializer.append_pair("PhoneNumber", &random.below(1_000).to_string());
        serializer.append_pair("DomainName", &format!("d{}.example", random.below(1_000)));
    }
    let mut text = serializer.finish();
    if random.one_in(8) {
        text.push_str(random.pick(&["%", "&&&", "%FF=%FE", "=", "a=%0", "\u{0}"]));
    }
    text
}

fn request(random: &mut Random, seen: &[String]) -> Request<Body> {
    let account = random.pick(&[&MAIN, &MAIN, &MAIN, &SUB, &STRANGER]);
    let mut path = format!("/2010-04-01/Accounts/{account}{}", random.pick(&PATHS));
    while let Some(at) = path.find("{sid}") {
        path.replace_range(at..at + 5, &sid(random, seen, &path));
    }
    if random.one_in(40) {
        path = random
            .pick(&["/", "/2010-04-01/", "/2010-04-01/Accounts", "/x", "/metrics"])
            .to_owned();
    }
    let method =
        random.pick(&["GET", "GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "PATCH"]);
    let query = if random.one_in(2) { format!("?{}", form(random, seen)) } else { String::new() };
    let uri = format!("{path}{}", query.replace('\0', ""));
    let login = if random.one_in(10) { &STRANGER } else { &MAIN };
    let secret = if random.one_in(20) { "wrong".to_owned() } else { token(*login) };
    let credentials = STANDARD.encode(format!("{login}:{secret}"));
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::AUTHORIZATION, format!("Basic {credentials}"))
        .body(Body::from(form(random, seen)))
        .expect("a request")
}

#[tokio::test]
async fn random_requests_are_never_a_server_error() {
    let app = router(Arc::new(Fake::new()), unlimited());
    let mut random = Random(SEED);
    let mut seen: Vec<String> = Vec::new();
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..REQUESTS {
        let request = request(&mut random, &seen);
        let shown = format!("{} {}", request.method(), request.uri());
        let response = app.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        assert!(status < 500, "seed {SEED:#x}, request {number}: {shown}: {status} {bytes:?}");
        *statuses.entry(status).or_default() += 1;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status >= 400 && !shown.starts_with("HEAD") {
            assert_eq!(body["status"], status, "request {number}: {shown}: {body}");
        }
        if let Some(sid) = body["sid"].as_str().filter(|_| status == 201 && seen.len() < 500) {
            seen.push(sid.to_owned());
        }
    }
    println!("{statuses:?}, {} things", seen.len());
    for status in [200, 201, 204, 400, 401, 404, 405] {
        assert!(statuses.get(&status).is_some_and(|count| *count > 20), "{status}: {statuses:?}");
    }
}

/// What is under test is what the resources make of their input, not how often they are asked.
fn unlimited() -> Options {
    let limits =
        Limits { source_rate: 0, account_rate: 0, login_failure_s: 0, ..Limits::default() };
    Options { limits, ..Options::default() }
}
