//! The REST contract (CONTRACTS.md section 1) as a client sees it, over the router in memory.

mod fake;

use std::net::SocketAddr;
use std::sync::Arc;

use api::{Options, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, SUB, token};
use http::{Request, Response, header};
use model::AccountSid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;

/// Somebody with credentials, and the server.
struct Client {
    app: Router,
    credentials: (String, String),
}

struct Got {
    status: u16,
    body: Value,
    response: Response<()>,
}

impl Client {
    fn new() -> Self {
        let app = router(Arc::new(Fake::new()), Options::default());
        Self { app, credentials: (MAIN.to_string(), token(MAIN)) }
    }

    fn with(&self, username: impl ToString, secret: impl ToString) -> Self {
        let credentials = (username.to_string(), secret.to_string());
        Self { app: self.app.clone(), credentials }
    }

    fn of(&self, account: AccountSid) -> Self {
        self.with(account, token(account))
    }

    async fn ask(&self, method: &str, uri: &str, form: &[(&str, &str)]) -> Got {
        let uri = if uri.starts_with('/') {
            uri.to_owned()
        } else {
            format!("/2010-04-01/Accounts/{MAIN}/{uri}")
        };
        let pair = format!("{}:{}", self.credentials.0, self.credentials.1);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .expect("a request");
        send(&self.app, request).await
    }

    async fn get(&self, uri: &str) -> Got {
        self.ask("GET", uri, &[]).await
    }

    async fn post(&self, uri: &str, form: &[(&str, &str)]) -> Got {
        self.ask("POST", uri, form).await
    }

    async fn call(&self, to: &str) -> String {
        let form = [("To", to), ("From", "+15550001"), ("Twiml", "<Response/>")];
        let got = self.post("Calls.json", &form).await;
        assert_eq!(got.status, 201, "{}", got.body);
        text(&got.body["sid"])
    }
}

async fn send(app: &Router, request: Request<Body>) -> Got {
    let response = app.clone().oneshot(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a body");
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Got { status: head.status.as_u16(), body, response: Response::from_parts(head, ()) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn assert_error(got: &Got, status: u16, code: u64) {
    assert_eq!((got.status, &got.body["code"]), (status, &json!(code)), "{}", got.body);
    assert_eq!(got.body["status"], status);
    assert!(got.body["message"].is_string() && got.body["more_info"].is_string());
}

#[tokio::test]
async fn a_call_is_made_read_redirected_and_ended() {
    let client = Client::new();
    let form = [
        ("To", "sip:bob@pbx.example"),
        ("From", "alice"),
        ("Url", "https://app.example/voice?x=1#rc=2"),
        ("Method", "GET"),
        ("FallbackUrl", "https://app.example/fallback"),
        ("StatusCallback", "https://app.example/status"),
        ("StatusCallbackEvent", "initiated"),
        ("StatusCallbackEvent", "answered"),
        ("Timeout", "30"),
        ("TimeLimit", "600"),
        ("Record", "false"),
        ("Trim", "trim-silence"),
        ("CallReason", "reminder"),
        ("MachineDetectionTimeout", "30"),
    ];
    let made = client.post("Calls.json", &form).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["status"], "queued");
    assert_eq!(
        (&made.body["to"], &made.body["from"]),
        (&json!("sip:bob@pbx.example"), &json!("alice"))
    );
    assert_eq!((&made.body["duration"], &made.body["price"]), (&Value::Null, &Value::Null));
    assert!(text(&made.body["date_created"]).ends_with("2026 10:00:01 +0000"), "{}", made.body);
    for key in
        ["group_sid", "queue_time", "subresource_uris", "trunk_sid", "stir_verstat", "annotation"]
    {
        assert!(made.body.get(key).is_some(), "{key}");
    }
    let uri = text(&made.body["uri"]);
    assert_eq!(client.get(&uri).await.body["status"], "in-progress");
    let redirected =
        client.post(&uri, &[("Url", "https://app.example/next"), ("Method", "POST")]).await;
    assert_eq!((redirected.status, &redirected.body["status"]), (200, &json!("in-progress")));
    assert_error(&client.ask("DELETE", &uri, &[]).await, 400, 20_009);
    let ended = client.post(&uri, &[("Status", "completed")]).await;
    assert_eq!((&ended.body["duration"], &ended.body["price"]), (&json!("1"), &json!("-0.0085")));
    assert_error(&client.post(&uri, &[("Twiml", "<Response/>")]).await, 400, 21_220);
    let far_end = client.get(&uri).await.body["far_end"].clone();
    assert_eq!(far_end["blocked"]["card"], json!("https://c.example"));
    let cdrs = client.get(&uri.replace(".json", "/Cdrs.json")).await;
    assert_eq!(cdrs.body["cdrs"][0]["far_end"], far_end);
    assert_eq!((cdrs.status, &cdrs.body["cdrs"][0]["cause"]), (200, &json!("normal")));
    let (whole, exact) =
        (&cdrs.body["cdrs"][0]["duration"], &cdrs.body["cdrs"][0]["duration_exact"]);
    let exact: f64 = exact.as_str().and_then(|it| it.parse().ok()).expect("seconds");
    assert_eq!(whole, &json!(format!("{:.0}", exact.ceil())));
    assert_eq!(client.ask("DELETE", &uri, &[]).await.status, 204);
    assert_error(&client.get(&uri).await, 404, 20_404);
}

#[tokio::test]
async fn what_cannot_be_dialled_is_refused_with_its_code() {
    let client = Client::new();
    let good = [("To", "+1 (415) 555-0100"), ("From", "+15550001"), ("Url", "http://a.example/")];
    assert_eq!(client.post("Calls.json", &good).await.body["to"], "+14155550100");
    let cases: [(&[(&str, &str)], u64); 15] = [
        (&[("To", "")], 21_201),
        (&[("From", "")], 21_213),
        (&[("To", "bob")], 21_211),
        (&[("To", "sip:")], 21_211),
        (&[("To", "sip:bob@x\r\nEvil: 1")], 21_211),
        (&[("From", "<sip:x>")], 21_212),
        (&[("Url", "")], 21_205),
        (&[("Url", "ftp://a.example/")], 21_205),
        (&[("Method", "PUT")], 21_209),
        (&[("Timeout", "0")], 21_208),
        (&[("ApplicationSid", "AP1")], 21_218),
        (&[("ApplicationSid", "AP00000000000000000000000000000001")], 21_218),
        (&[("Record", "true")], 20_001),
        (&[("MachineDetection", "Enable")], 20_001),
        (&[("StatusCallbackEvent", "nothing")], 20_001),
    ];
    for (changes, code) in cases {
        let mut form: Vec<(&str, &str)> = good.to_vec();
        form.extend(changes);
        assert_error(&client.post("Calls.json", &form).await, 400, code);
    }
}

#[tokio::test]
async fn lists_turn_pages_and_filter() {
    let client = Client::new();
    for number in 0..7 {
        client.call(if number % 2 == 0 { "+15551" } else { "sip:x@y.example" }).await;
    }
    let mut uri = "Calls.json?PageSize=3".to_owned();
    let mut sids = Vec::new();
    let mut pages = 0;
    while !uri.is_empty() {
        let page = client.get(&uri).await;
        assert_eq!(page.status, 200);
        let meta = [
            "end",
            "first_page_uri",
            "next_page_uri",
            "last_page_uri",
            "page",
            "page_size",
            "previous_page_uri",
            "total",
            "num_pages",
            "start",
            "uri",
        ];
        let keys = page.body.as_object().expect("an object").keys();
        let rest: Vec<_> = keys.filter(|key| !meta.contains(&key.as_str())).collect();
        assert_eq!(rest, ["calls"]);
        sids.extend(
            page.body["calls"].as_array().expect("rows").iter().map(|row| text(&row["sid"])),
        );
        uri = page.body["next_page_uri"].as_str().unwrap_or_default().to_owned();
        assert!(uri.is_empty() || uri.starts_with("/2010-04-01/Accounts/AC"));
        pages += 1;
    }
    assert_eq!((pages, sids.len()), (3, 7));
    assert!(sids.is_sorted_by(|a, b| a > b), "newest first, none twice");
    let count = async |query: &str| {
        let got = client.get(&format!("Calls.json?{query}")).await;
        got.body["calls"].as_array().map_or(usize::MAX, Vec::len)
    };
    assert_eq!(count("To=%2B15551").await, 4);
    assert_eq!(count("Status=completed").await, 0);
    assert_eq!(count("StartTime%3E=2026-11-22").await, 7);
    assert_eq!(count("StartTime%3C=2026-11-22").await, 0);
    assert_eq!(count("StartTime=2026-11-22").await, 7);
    assert_eq!(count("StartTime%3C=2026-11-22T10:00:02Z").await, 2);
    assert_eq!(count("StartTime%3C=2026-11-22T12:00:02%2B02:00").await, 2);
    assert_eq!(count("StartTime%3C=2026-11-22T02:00:02-08:00").await, 2);
    assert_eq!(count("StartTime%3C=2026-11-22T10:00:01.999999Z").await, 1);
    assert_eq!(count("StartTime%3E=2026-11-22T10:00:01.5Z").await, 6);
    for bad in ["yesterday", "2026-11-22T12:00:02+02:00", "2026-11-22T12:00:02%2B25:00"] {
        let answer = client.get(&format!("Calls.json?StartTime={bad}")).await;
        assert_error(&answer, 400, 20_001);
        let message = answer.body["message"].as_str().expect("a message");
        assert!(message.contains("%2B for its +"), "{message}");
    }
    for unheard in ["StartTime%3E2026-11-22", "StartTime%3C2026-11-22", "EndTime%3E%3D2026-11-22"] {
        let answer = client.get(&format!("Calls.json?{unheard}")).await;
        assert_error(&answer, 400, 20_001);
        let message = answer.body["message"].as_str().expect("a message");
        assert!(message.contains("Time>= with a moment"), "{message}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_nobody() {
    let client = Client::new();
    let uri = format!("/2010-04-01/Accounts/{MAIN}/Calls.json");
    for (username, secret) in [
        (MAIN.to_string(), "wrong".to_owned()),
        (MAIN.to_string(), String::new()),
        (MAIN.to_string(), token(STRANGER)),
        ("AC00000000000000000000000000000099".to_owned(), String::new()),
        ("SK00000000000000000000000000000099".to_owned(), "x".to_owned()),
        ("nobody".to_owned(), "x".to_owned()),
    ] {
        let got = client.with(&username, &secret).get(&uri).await;
        assert_error(&got, 401, 20_003);
        assert!(got.response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    for value in [None, Some("Basic"), Some("Bearer x"), Some("Basic %%%")] {
        let mut request = Request::builder().uri(&uri);
        if let Some(value) = value {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Body::empty()).expect("a request");
        assert_error(&send(&client.app, request).await, 401, 20_003);
    }
}

/// THREATS.md, tenancy: every resource with every wrong owner.
#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let client = Client::new();
    let call = client.call("+15551").await;
    let key = client.post("Keys.json", &[]).await.body["sid"].clone();
    let application = client.post("Applications.json", &[]).await.body["sid"].clone();
    let number = client.post("IncomingPhoneNumbers.json", &[("PhoneNumber", "+15559")]).await;
    let domain = client.post("SIP/Domains.json", &[("DomainName", "a.example")]).await;
    let alert = "NO00000000000000000000000000000007";
    let list = format!("AL{}", &text(&domain.body["sid"])[2..]);
    let domain_sid = text(&domain.body["sid"]);
    let credentials = client.post("SIP/CredentialLists.json", &[("FriendlyName", "x")]).await;
    let credentials = text(&credentials.body["sid"]);
    let things = [
        format!("Calls/{call}"),
        format!("Calls/{call}/Cdrs"),
        format!("Calls/{call}/Usage"),
        format!("Calls/{call}/Notifications"),
        format!("Keys/{}", text(&key)),
        format!("Applications/{}", text(&application)),
        format!("IncomingPhoneNumbers/{}", text(&number.body["sid"])),
        format!("SIP/Domains/{}", text(&domain.body["sid"])),
        format!("SIP/Domains/{}/IpAccessControlListMappings", text(&domain.body["sid"])),
        format!("SIP/IpAccessControlLists/{list}"),
        format!("SIP/IpAccessControlLists/{list}/IpAddresses"),
        format!("SIP/CredentialLists/{credentials}"),
        format!("SIP/CredentialLists/{credentials}/Credentials"),
        format!("SIP/Domains/{domain_sid}/CredentialListMappings"),
        format!("SIP/Domains/{domain_sid}/Auth/Calls/CredentialListMappings"),
        format!("SIP/Domains/{domain_sid}/Auth/Calls/IpAccessControlListMappings"),
        format!("SIP/Domains/{domain_sid}/Auth/Registrations/CredentialListMappings"),
        format!("Notifications/{alert}"),
    ];
    for thing in &things {
        assert_eq!(client.get(&format!("{thing}.json")).await.status, 200, "{thing}");
        // Another's account in the path, and one's own account with another's sid.
        for account in [MAIN, STRANGER] {
            let uri = format!("/2010-04-01/Accounts/{account}/{thing}.json");
            for method in ["GET", "POST", "DELETE"] {
                let got = client.of(STRANGER).ask(method, &uri, &[("FriendlyName", "x")]).await;
                assert!(matches!(got.status, 404 | 405), "{method} {uri}: {}", got.body);
            }
        }
        // A sub-account does not see its parent's things, nor does the parent see its own there.
        for (login, account) in [(SUB, MAIN), (SUB, SUB), (MAIN, SUB)] {
            let uri = format!("/2010-04-01/Accounts/{account}/{thing}.json");
            assert_error(&client.of(login).get(&uri).await, 404, 20_404);
        }
    }
    let foreign = format!("/2010-04-01/Accounts/{STRANGER}.json");
    assert_error(&client.get(&foreign).await, 404, 20_404);
    assert_error(
        &client.get("/2010-04-01/Accounts/AC00000000000000000000000000000099.json").await,
        404,
        20_404,
    );
}

#[tokio::test]
async fn a_parent_addresses_its_sub_accounts() {
    let client = Client::new();
    let made = client.post("/2010-04-01/Accounts.json", &[("FriendlyName", "Shop")]).await;
    assert_eq!((made.status, &made.body["friendly_name"]), (201, &json!("Shop")));
    let sid: AccountSid = text(&made.body["sid"]).parse().expect("a sid");
    let uri = format!("/2010-04-01/Accounts/{sid}");
    let own = client.with(sid, text(&made.body["auth_token"]));
    let form = [("To", "+15551"), ("From", "1"), ("Twiml", "<Response/>")];
    assert_eq!(client.post(&format!("{uri}/Calls.json"), &form).await.status, 201);
    assert_eq!(
        own.get(&format!("{uri}/Calls.json")).await.body["calls"][0]["account_sid"],
        sid.to_string()
    );
    assert_error(&own.post("/2010-04-01/Accounts.json", &[]).await, 403, 20_403);
    assert_error(&own.post(&format!("{uri}.json"), &[("Status", "closed")]).await, 403, 20_403);
    let listed = client.get("/2010-04-01/Accounts.json?FriendlyName=Shop").await;
    assert_eq!(listed.body["accounts"].as_array().map(Vec::len), Some(1));
    let suspended = client.post(&format!("{uri}.json"), &[("Status", "suspended")]).await;
    assert_eq!(suspended.body["status"], "suspended");
    assert_eq!(own.get(&format!("{uri}/Calls.json")).await.status, 200);
    assert_error(&own.post(&format!("{uri}/Calls.json"), &form).await, 403, 20_005);
    assert_error(&client.post(&format!("{uri}/Calls.json"), &form).await, 403, 20_005);
    let hard = async |status: &str, hard: &str| {
        client.post(&format!("{uri}.json"), &[("Status", status), ("Hard", hard)]).await
    };
    assert_eq!(hard("suspended", "true").await.body["status"], "suspended");
    assert_error(&hard("active", "true").await, 400, 20_001);
    assert_error(&hard("suspended", "very").await, 400, 20_001);
    client.post(&format!("{uri}.json"), &[("Status", "closed")]).await;
    assert_error(&own.get(&format!("{uri}.json")).await, 401, 20_003);
    assert_error(&client.post(&format!("{uri}.json"), &[("Status", "active")]).await, 400, 20_001);
}

#[tokio::test]
async fn keys_log_in_but_manage_nothing() {
    let client = Client::new();
    let made = client.post("Keys.json", &[("FriendlyName", "ci")]).await;
    let (sid, secret) = (text(&made.body["sid"]), text(&made.body["secret"]));
    assert_eq!(client.get(&format!("Keys/{sid}.json")).await.body.get("secret"), None);
    let key = client.with(&sid, &secret);
    assert_eq!(key.get("Calls.json").await.status, 200);
    assert_error(&key.get("Keys.json").await, 403, 20_403);
    assert_error(&key.post("/2010-04-01/Accounts.json", &[]).await, 403, 20_403);
    let shown = key.get(&format!("/2010-04-01/Accounts/{MAIN}.json")).await;
    assert_eq!((shown.status, &shown.body["auth_token"]), (200, &Value::Null));
    assert_eq!(client.ask("DELETE", &format!("Keys/{sid}.json"), &[]).await.status, 204);
    assert_error(&key.get("Calls.json").await, 401, 20_003);
}

#[tokio::test]
async fn applications_numbers_and_domains_keep_their_hooks() {
    let client = Client::new();
    let made = client
        .post(
            "Applications.json",
            &[
                ("FriendlyName", "Voice"),
                ("VoiceUrl", "https://app.example/voice"),
                ("VoiceMethod", "GET"),
                ("StatusCallback", "https://app.example/status"),
                ("StatusCallbackEvent", "ringing completed"),
                ("EventApplicationUrl", "https://app.example/events"),
            ],
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["voice_method"], "GET");
    assert_eq!(made.body["status_callback_event"], json!(["ringing", "completed"]));
    let uri = text(&made.body["uri"]);
    let changed = client
        .post(&uri, &[("VoiceFallbackUrl", "https://app.example/fb"), ("StatusCallback", "")])
        .await;
    assert_eq!(changed.body["voice_url"], "https://app.example/voice");
    assert_eq!(changed.body["voice_fallback_url"], "https://app.example/fb");
    assert_eq!(changed.body["status_callback"], Value::Null);
    assert_error(&client.post(&uri, &[("VoiceUrl", "app.example")]).await, 400, 21_402);
    let application = text(&made.body["sid"]);
    let number = client
        .post(
            "IncomingPhoneNumbers.json",
            &[("PhoneNumber", "+1 415 555 0199"), ("VoiceApplicationSid", &application)],
        )
        .await;
    assert_eq!(number.body["phone_number"], "+14155550199", "{}", number.body);
    assert_eq!(number.body["voice_application_sid"], application);
    let found = client.get("IncomingPhoneNumbers.json?PhoneNumber=4155550").await;
    assert_eq!(found.body["incoming_phone_numbers"].as_array().map(Vec::len), Some(1));
    let foreign = [("VoiceApplicationSid", "AP00000000000000000000000000000001")];
    assert_error(&client.post(&text(&number.body["uri"]), &foreign).await, 400, 21_218);
    let domain = client
        .post(
            "SIP/Domains.json",
            &[
                ("DomainName", "Office.Example"),
                ("VoiceUrl", "https://app.example/sip"),
                ("VoiceStatusCallbackUrl", "https://app.example/status"),
                ("SourceNetwork", "127.0.0.0/8"),
            ],
        )
        .await;
    assert_eq!(domain.body["domain_name"], "office.example", "{}", domain.body);
    assert_eq!(domain.body["voice_status_callback_url"], "https://app.example/status");
    for bad in ["bad_-.x y", "127.0.0.1", "192.0.2.1", "[2001:db8::1]"] {
        let refused = client.post("SIP/Domains.json", &[("DomainName", bad)]).await;
        assert_error(&refused, 400, 21_232);
    }
    assert_eq!(client.ask("DELETE", &uri, &[]).await.status, 204);
}

#[tokio::test]
async fn a_domains_networks_are_its_access_list() {
    let client = Client::new();
    let domain = client.post("SIP/Domains.json", &[("DomainName", "pbx.example")]).await;
    let list = format!("AL{}", &text(&domain.body["sid"])[2..]);
    let uri = format!("SIP/IpAccessControlLists/{list}/IpAddresses");
    let form = [("FriendlyName", "office"), ("IpAddress", "192.0.2.0"), ("CidrPrefixLength", "24")];
    let made = client.post(&format!("{uri}.json"), &form).await;
    assert_eq!((made.status, &made.body["cidr_prefix_length"]), (201, &json!(24)), "{}", made.body);
    let shown = client.get(&text(&domain.body["uri"])).await;
    assert_eq!(shown.body["source_networks"], json!(["192.0.2.0/24"]));
    let changed = client.post(&text(&made.body["uri"]), &[("IpAddress", "192.0.2.9")]).await;
    assert_eq!(changed.body["ip_address"], "192.0.2.9", "{}", changed.body);
    assert_eq!(client.ask("DELETE", &text(&changed.body["uri"]), &[]).await.status, 204);
    assert_eq!(client.get(&text(&domain.body["uri"])).await.body["source_networks"], json!([]));
    assert_error(
        &client.post(&format!("{uri}.json"), &[("IpAddress", "10.0.0.0/33")]).await,
        400,
        20_001,
    );
    let lists = client.get("SIP/IpAccessControlLists.json").await;
    assert_eq!(lists.body["ip_access_control_lists"].as_array().map(Vec::len), Some(2));
}

/// A mapping's sid is its list's; calls and registrations are apart; no password is ever shown.
#[tokio::test]
async fn a_domain_takes_lists_of_credentials_for_calls_and_registrations_apart() {
    let client = Client::new();
    let made = client.post("SIP/Domains.json", &[("DomainName", "pbx.example")]).await;
    assert_eq!(made.body["sip_registration"], false);
    let domain = format!("SIP/Domains/{}", text(&made.body["sid"]));
    let uri = text(&made.body["uri"]);
    assert_error(&client.post("SIP/CredentialLists.json", &[]).await, 400, 21_240);
    let list = client.post("SIP/CredentialLists.json", &[("FriendlyName", "phones")]).await;
    let sid = text(&list.body["sid"]);
    let credentials = text(&list.body["subresource_uris"]["credentials"]);
    let form = [("Username", "alice"), ("Password", "Secret-of-Alice-1")];
    let alice = client.post(&credentials, &form).await;
    assert_eq!((alice.status, &alice.body["username"]), (201, &json!("alice")), "{}", alice.body);
    let shown = client.get(&text(&alice.body["uri"])).await.body;
    assert!(!shown.to_string().contains("Secret"), "{shown}");
    let other = client.post("SIP/CredentialLists.json", &[("FriendlyName", "others")]).await;
    let others = text(&other.body["subresource_uris"]["credentials"]);
    assert_eq!(client.get(&others).await.body["credentials"], json!([]));
    assert_eq!(client.get(&credentials).await.body["credentials"], json!([shown]));
    let foreign = format!("{}/{}.json", others.trim_end_matches(".json"), text(&shown["sid"]));
    assert_error(&client.get(&foreign).await, 404, 20_404);

    let calls = format!("{domain}/Auth/Calls/CredentialListMappings");
    let registrations = format!("{domain}/Auth/Registrations/CredentialListMappings");
    let form = [("CredentialListSid", sid.as_str())];
    for (path, of) in [(&registrations, "contents"), (&calls, "contents")] {
        let mapped = client.post(&format!("{path}.json"), &form).await;
        assert_eq!((mapped.status, &mapped.body["sid"]), (201, &json!(sid)), "{}", mapped.body);
        assert_eq!(mapped.body.get("uri"), None);
        let rows = client.get(&format!("{path}.json")).await.body[of].clone();
        assert_eq!(rows, json!([mapped.body]), "one more time is the same mapping");
        assert_eq!(client.post(&format!("{path}.json"), &form).await.status, 201);
    }
    let plain = client.get(&format!("{domain}/CredentialListMappings/{sid}.json")).await;
    assert_eq!(plain.body["domain_sid"], made.body["sid"], "one set with calls: {}", plain.body);
    let change = [("SipRegistration", "true")];
    assert_eq!(client.post(&uri, &change).await.body["sip_registration"], true);
    let shown = client.get("SIP/Domains.json").await.body["domains"][0].clone();
    assert_eq!(
        (&shown["sip_registration"], &shown["auth_type"]),
        (&json!(true), &json!("CREDENTIAL_LIST"))
    );
    assert_eq!(client.ask("DELETE", &format!("{calls}/{sid}.json"), &[]).await.status, 204);
    assert_error(&client.get(&format!("{calls}/{sid}.json")).await, 404, 20_404);
    assert_eq!(client.get(&format!("{registrations}/{sid}.json")).await.status, 200);
    let nobodys = [("CredentialListSid", "CL00000000000000000000000000000001")];
    assert_error(&client.post(&format!("{calls}.json"), &nobodys).await, 400, 21_240);
    assert_error(&client.post(&format!("{calls}/{sid}.json"), &[]).await, 405, 20_004);
    assert_error(&client.post(&uri, &[("SipRegistration", "maybe")]).await, 400, 20_001);
}

#[tokio::test]
async fn usage_adds_up_over_every_period() {
    let client = Client::new();
    let sum = async |list: &str, category: &str| {
        let uri = format!("Usage/Records{list}.json?Category={category}");
        let got = client.get(&uri).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let rows = got.body["usage_records"].as_array().expect("rows").clone();
        rows.iter().map(|row| text(&row["usage"])).collect::<Vec<_>>()
    };
    assert_eq!(sum("", "sip-ingress").await, ["14"]);
    assert_eq!(sum("/AllTime", "calls").await, ["24"]);
    assert_eq!(sum("/AllTime", "totalprice").await, ["9.12"]);
    assert_eq!(sum("/Today", "calls").await, ["10"]);
    assert_eq!(sum("/Yesterday", "calls").await, ["8"]);
    assert_eq!(sum("/Daily", "calls").await, ["6", "8", "10"]);
    assert_eq!(sum("/Monthly", "calls").await, ["6", "18"]);
    assert_eq!(sum("/Yearly", "calls").await, ["24"]);
    assert_eq!(sum("/ThisMonth", "media-relay").await, ["1800"]);
    assert_eq!(sum("/LastMonth", "calls").await, ["6"]);
    assert_eq!(sum("/Today", "media-relay").await, ["0"]);
    let both = [sum("", "calls-inbound").await, sum("", "calls-outbound").await].concat();
    assert_eq!(both, [sum("", "sip-ingress").await, sum("", "sip-egress").await].concat());
    for nonsense in ["foo", "CALLS"] {
        let uri = format!("Usage/Records.json?Category={nonsense}");
        assert_error(&client.get(&uri).await, 400, 20_001);
    }
    let some = client
        .get("Usage/Records.json?StartDate=2026-11-21&EndDate=2026-11-21&Category=calls")
        .await;
    assert_eq!(some.body["usage_records"][0]["count"], "4", "{}", some.body);
    assert_error(&client.get("Usage/Records.json?StartDate=2026-13-01").await, 400, 20_001);
}

#[tokio::test]
async fn charges_of_two_currencies_are_never_one_sum() {
    let client = Client::new().of(STRANGER);
    let sums = async |list: &str| {
        let uri = format!("/2010-04-01/Accounts/{STRANGER}/Usage/Records{list}.json");
        let got = client.get(&uri).await;
        let rows = got.body["usage_records"].as_array().expect("rows").clone();
        let total = rows.iter().filter(|row| row["category"] == "totalprice");
        total.map(|row| (text(&row["price"]), text(&row["usage_unit"]))).collect::<Vec<_>>()
    };
    let (euros, dollars) = (("0.02", "eur"), ("0.03", "usd"));
    let told = |sums: &[(&str, &str)]| -> Vec<(String, String)> {
        sums.iter().map(|(price, unit)| ((*price).to_owned(), (*unit).to_owned())).collect()
    };
    assert_eq!(sums("").await, told(&[euros, dollars]));
    assert_eq!(sums("/Daily").await, told(&[euros, dollars]));
    assert_eq!(sums("/Today").await, told(&[dollars]), "what is free opens no sum");
    let uri = format!("/2010-04-01/Accounts/{STRANGER}/Usage/Records.json?Category=sip-egress");
    let got = client.get(&uri).await;
    let counts: Vec<_> = got.body["usage_records"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|it| text(&it["count"]))
        .collect();
    assert_eq!(counts, ["2", "3"]);
}

#[tokio::test]
async fn notifications_are_read_and_filtered() {
    let client = Client::new();
    let listed = client.get("Notifications.json?Log=0").await;
    assert_eq!(listed.body["notifications"][0]["error_code"], "11200", "{}", listed.body);
    assert_eq!(client.get("Notifications.json?Log=1").await.body["notifications"], json!([]));
    let one = client.get("Notifications/NO00000000000000000000000000000007.json").await;
    assert_eq!(one.body["message_text"], "HTTP retrieval failure");
    assert_error(&client.post("Notifications.json", &[]).await, 405, 20_004);
}

#[tokio::test]
async fn health_and_metrics() {
    let client = Client::new();
    let ask = async |path: &str, peer: Option<&str>, forwarded: bool| {
        let mut request = Request::builder().uri(path);
        if forwarded {
            request = request.header("X-Forwarded-For", "192.0.2.1");
        }
        let mut request = request.body(Body::empty()).expect("a request");
        if let Some(peer) = peer {
            let peer: SocketAddr = peer.parse().expect("an address");
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        send(&client.app, request).await.status
    };
    assert_eq!(ask("/healthz", None, false).await, 200);
    let fake = Arc::new(Fake::new());
    fake.set_sick(true);
    let app = router(fake, Options::default());
    for (peer, words) in
        [("127.0.0.1:1", "journal: No space left\n"), ("192.0.2.1:1", "not serving\n")]
    {
        let mut request =
            Request::builder().uri("/healthz").body(Body::empty()).expect("a request");
        let peer: SocketAddr = peer.parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = app.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), 503);
        let text = to_bytes(answer.into_body(), 1_024).await.expect("a body");
        assert_eq!(text, words, "only the operator is told why");
    }
    assert_eq!(ask("/metrics", Some("127.0.0.1:1"), false).await, 200);
    assert_eq!(ask("/metrics", Some("192.0.2.1:1"), false).await, 404);
    assert_eq!(ask("/metrics", Some("127.0.0.1:1"), true).await, 404);
    assert_eq!(ask("/metrics", None, false).await, 404);
}

#[tokio::test]
async fn requests_have_bounds() {
    let client = Client::new();
    let long = "x".repeat(70_000);
    assert_error(&client.post("Calls.json", &[("Twiml", &long)]).await, 413, 20_413);
    let many: Vec<(&str, &str)> = vec![("a", "b"); 300];
    assert_error(&client.post("Calls.json", &many).await, 400, 20_001);
    assert_error(&client.ask("PUT", "Calls.json", &[]).await, 405, 20_004);
    assert_error(&client.ask("DELETE", "Calls.json", &[]).await, 405, 20_004);
    assert_error(&client.get("Nothing.json").await, 404, 20_404);
    assert_error(&client.get("/2008-08-01/Accounts.json").await, 404, 20_404);
    assert_eq!(client.ask("HEAD", "Calls.json", &[]).await.status, 200);
}

#[tokio::test]
async fn a_server_keeps_connections_and_stops_when_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = api::serve(listener, Arc::new(Fake::new()), Options::default(), stopped);
    let server = tokio::spawn(server);
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    for path in ["/healthz", "/metrics", "/2010-04-01/Accounts.json"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        let wanted: &[u8] = if path.ends_with("json") { b"HTTP/1.1 401" } else { b"HTTP/1.1 200" };
        assert_eq!(answer, wanted);
        let mut rest = Vec::new();
        while !rest.ends_with(b"ok\n") && !rest.ends_with(b"test 1\n") && !rest.ends_with(b"}") {
            rest.push(stream.read_u8().await.expect("the rest"));
        }
    }
    stop.send(true).expect("a server");
    server.await.expect("a stop");
    assert_eq!(stream.read(&mut [0; 1]).await.expect("an end"), 0);
}

/// The README's first request, as curl sends it: `-d` as it stands, `--data-urlencode` encoded.
#[tokio::test]
async fn the_readmes_first_request_works() {
    let readme = include_str!("../../../README.md");
    let command = readme.split("\ncurl ").nth(1).and_then(|rest| rest.split("```").next());
    let words: Vec<_> = command.expect("a curl command").split_whitespace().collect();
    let mut body = Vec::new();
    for pair in words.windows(2) {
        match pair {
            ["-d", data] => body.push((*data).to_owned()),
            ["--data-urlencode", data] => {
                let (name, value) = data.split_once('=').expect("name=value");
                let value: String =
                    url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                body.push(format!("{name}={value}"));
            }
            _ => {}
        }
    }
    assert_eq!(body.len(), 2, "{words:?}");
    let client = Client::new();
    let pair = format!("{}:{}", client.credentials.0, client.credentials.1);
    let request = Request::post(format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json"))
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        .body(Body::from(body.join("&")))
        .expect("a request");
    let got = send(&client.app, request).await;
    assert_eq!((got.status, &got.body["phone_number"]), (201, &json!("+15551234567")));
}

/// What is no form would be read as no parameters, and a thing be made of nothing.
#[tokio::test]
async fn parameters_of_another_kind_are_refused() {
    let client = Client::new();
    let pair = format!("{}:{}", client.credentials.0, client.credentials.1);
    let ask = async |kind: &str, body: &'static str| {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/2010-04-01/Accounts/{MAIN}/Applications.json"))
            .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(&pair)))
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .expect("a request");
        send(&client.app, request).await
    };
    assert_error(&ask("application/json", r#"{"FriendlyName":"x"}"#).await, 415, 20_415);
    assert_error(&ask("multipart/form-data; boundary=x", "--x--").await, 415, 20_415);
    let form = "Application/X-WWW-form-urlencoded; charset=UTF-8";
    assert_eq!(ask(form, "FriendlyName=x").await.body["friendly_name"], "x");
}

#[tokio::test]
async fn a_number_stays_with_its_account_and_says_so() {
    let client = Client::new();
    let number = client.post("IncomingPhoneNumbers.json", &[("PhoneNumber", "+15559")]).await;
    let uri = format!("IncomingPhoneNumbers/{}.json", text(&number.body["sid"]));
    let moved = [("AccountSid", STRANGER.to_string())];
    let moved = moved.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_error(&client.post(&uri, &moved).await, 400, 20_001);
    let own = MAIN.to_string();
    assert_eq!(client.post(&uri, &[("AccountSid", &own)]).await.status, 200);
}
