//! The operator's desk: his credential opens it and nothing else, no tenant's does; what is given
//! there is listed, read, changed and taken back. And tokens that change without a gap.

mod fake;

use std::sync::Arc;

use api::{Limits, Options, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, SUB, token};
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Every list at the desk, and what makes one of its things.
const LISTS: [(&str, &str, &str); 7] = [
    ("Accounts", "accounts", "FriendlyName=New"),
    ("NumberRanges", "number_ranges", "Prefix=%2B1555"),
    ("DomainSuffixes", "domain_suffixes", "Suffix=Example.com"),
    ("CallerIds", "caller_ids", "PhoneNumber=%2B15550001"),
    ("Grants", "grants", "AnyCallerId=true&SourceBitsV4=16"),
    ("Routes", "routes", "Prefix=%2B&Target=192.0.2.9:5060"),
    ("Prices", "prices", "Service=sip-egress&Price=0.006"),
];

struct Desk {
    app: Router,
}

impl Desk {
    fn new() -> Self {
        let options = Options { operator: SECRET.into(), ..Options::default() };
        Self { app: router(Arc::new(Fake::new()), options) }
    }

    async fn ask(&self, user: impl ToString, secret: &str, what: &str, form: &str) -> (u16, Value) {
        let (method, uri) = what.split_once(' ').expect("a method and a path");
        let login = STANDARD.encode(format!("{}:{secret}", user.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("Authorization", format!("Basic {login}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .expect("a request");
        let response = self.app.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn operate(&self, what: &str, form: &str) -> (u16, Value) {
        self.ask("operator", SECRET, what, form).await
    }
}

/// What one reads, the other has stored.
#[tokio::test]
async fn the_operators_change_of_an_account_waits_for_the_accounts_own() {
    let fake = Arc::new(Fake::new());
    let options = Options { operator: SECRET.into(), ..Options::default() };
    let desk = Desk { app: router(Arc::clone(&fake) as Arc<dyn api::Backend>, options) };
    let own = format!("POST /2010-04-01/Accounts/{MAIN}.json");
    let operators = format!("POST /v1/Operator/Accounts/{MAIN}");
    let gate = fake.shut_gate().await;
    let opens = async {
        // Both are as far as they come.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(gate);
    };
    let secret = token(MAIN);
    let ((one, _), (other, body), ()) = tokio::join!(
        desk.ask(MAIN, &secret, &own, "FriendlyName=Ours"),
        desk.operate(&operators, "CallsMax=7"),
        opens,
    );
    assert_eq!((one, other), (200, 200));
    assert_eq!((&body["friendly_name"], &body["calls_max"]), (&json!("Ours"), &json!(7)));
}

#[tokio::test]
async fn no_tenants_credential_opens_the_desk_and_the_operators_opens_nothing_else() {
    let desk = Desk::new();
    let (_, key) = desk
        .ask(MAIN, &token(MAIN), &format!("POST /2010-04-01/Accounts/{MAIN}/Keys.json"), "")
        .await;
    let key = (key["sid"].as_str().expect("a sid"), key["secret"].as_str().expect("a secret"));
    // Known from here, nobody waits for what others guess.
    assert_eq!(desk.operate("GET /v1/Operator/Accounts", "").await.0, 200);
    let known = [
        (MAIN.to_string(), token(MAIN)),
        (SUB.to_string(), token(SUB)),
        (STRANGER.to_string(), token(STRANGER)),
        (key.0.to_owned(), key.1.to_owned()),
    ];
    for (user, secret) in &known {
        assert_eq!(desk.ask(user, secret, "GET /v1/Operator/Accounts", "").await.0, 403);
    }
    for (list, _, form) in LISTS {
        for path in [format!("/v1/Operator/{list}"), format!("/v1/Operator/{list}/AC1")] {
            for method in ["GET", "POST", "DELETE"] {
                let what = format!("{method} {path}");
                for (user, secret) in &known {
                    let (status, body) = desk.ask(user, secret, &what, form).await;
                    assert_eq!((status, &body["code"]), (403, &json!(20_403)), "{what}");
                }
                let stolen = [("operator", "guessed"), ("operator", ""), (key.0, SECRET)];
                for (user, secret) in stolen {
                    let (status, body) = desk.ask(user, secret, &what, form).await;
                    assert!(matches!(status, 401 | 429), "{what}: {body}");
                }
            }
        }
        assert_eq!(desk.operate(&format!("GET /v1/Operator/{list}"), "").await.0, 200, "{list}");
    }
    for path in ["/2010-04-01/Accounts.json", "/v1/AuthTokens/Secondary"] {
        assert_eq!(desk.operate(&format!("POST {path}"), "").await.0, 401, "{path}");
    }
    let calls = format!("GET /2010-04-01/Accounts/{MAIN}/Calls.json");
    assert_eq!(desk.operate(&calls, "").await.0, 401);
    // Without a credential of the operator's nothing opens it.
    let closed = Desk { app: router(Arc::new(Fake::new()), Options::default()) };
    for secret in ["", SECRET] {
        assert_eq!(closed.ask("operator", secret, "GET /v1/Operator/Accounts", "").await.0, 401);
    }
}

#[tokio::test]
async fn guesses_at_the_operators_credential_are_slowed() {
    let limits = Limits { login_failures: 3, login_failure_s: 3_600, ..Limits::default() };
    let options = Options { operator: SECRET.into(), limits, ..Options::default() };
    let desk = Desk { app: router(Arc::new(Fake::new()), options) };
    let mut statuses = Vec::new();
    for guess in 0..5 {
        let guess = format!("{guess}");
        statuses.push(desk.ask("operator", &guess, "GET /v1/Operator/Prices", "").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn things_are_made_listed_read_changed_and_deleted() {
    let desk = Desk::new();
    for (list, key, form) in LISTS {
        let path = format!("/v1/Operator/{list}");
        let form = format!("{form}&AccountSid={MAIN}");
        let (status, made) = desk.operate(&format!("POST {path}"), &form).await;
        assert_eq!(status, 201, "{list}: {made}");
        let uri = made["uri"].as_str().expect("a uri").to_owned();
        assert!(uri.starts_with(&path), "{uri}");
        let (status, mut read) = desk.operate(&format!("GET {uri}"), "").await;
        assert_eq!(status, 200, "{list}");
        if list == "Accounts" {
            // Shown once.
            assert!(read["auth_token"].is_null() && made["auth_token"].is_string());
            read["auth_token"] = made["auth_token"].clone();
        }
        assert_eq!(read, made, "{list}");
        let (_, page) = desk.operate(&format!("GET {path}?PageSize=1000"), "").await;
        let rows = page[key].as_array().expect("a list");
        assert!(rows.iter().any(|row| row["uri"] == uri), "{list}: {page}");
        let (status, _) = desk.operate(&format!("POST {uri}"), "FriendlyName=Other").await;
        assert_eq!(status, 200, "{list}");
        if list != "Accounts" {
            let (status, again) = desk.operate(&format!("DELETE {uri}"), "").await;
            assert_eq!((status, again), (204, Value::Null), "{list}");
            assert_eq!(desk.operate(&format!("GET {uri}"), "").await.0, 404, "{list}");
            assert_eq!(desk.operate(&format!("DELETE {uri}"), "").await.0, 404, "{list}");
        }
    }
}

#[tokio::test]
async fn the_desks_pages_turn_and_its_parameters_are_read() {
    let desk = Desk::new();
    for number in 0..5 {
        let form = format!("Prefix=%2B1555{number}&AccountSid=*");
        assert_eq!(desk.operate("POST /v1/Operator/NumberRanges", &form).await.0, 201);
    }
    let (mut uri, mut seen) = ("/v1/Operator/NumberRanges?PageSize=2".to_owned(), Vec::new());
    while !uri.is_empty() {
        let (status, page) = desk.operate(&format!("GET {uri}"), "").await;
        assert_eq!(status, 200, "{page}");
        let rows = page["number_ranges"].as_array().expect("a list");
        seen.extend(rows.iter().map(|row| row["prefix"].as_str().expect("text").to_owned()));
        uri = page["next_page_uri"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, ["+15554", "+15553", "+15552", "+15551", "+15550"]);
    let changed = format!("POST /v1/Operator/Accounts/{SUB}");
    let form = "CallsMax=7&CallsPerSecond=3&Status=suspended&Hard=true";
    let (_, account) = desk.operate(&changed, form).await;
    assert_eq!((&account["calls_max"], &account["calls_per_second"]), (&json!(7), &json!(3)));
    assert_eq!(
        (&account["status"], &account["parent_sid"]),
        (&json!("suspended"), &json!(MAIN.to_string()))
    );
    for (what, form) in [
        (changed.as_str(), "Status=gone"),
        (changed.as_str(), "CallsMax=x"),
        (changed.as_str(), "Status=active&Hard=true"),
        ("POST /v1/Operator/NumberRanges", ""),
        // An empty variable in a script gives nothing to anybody.
        ("POST /v1/Operator/NumberRanges", "Prefix=%2B1"),
        ("POST /v1/Operator/NumberRanges", "Prefix=%2B1&AccountSid="),
        ("POST /v1/Operator/NumberRanges", "Prefix=&AccountSid=*"),
        ("POST /v1/Operator/DomainSuffixes", "Suffix=&AccountSid=*"),
        ("POST /v1/Operator/DomainSuffixes", "Suffix=.&AccountSid=*"),
        ("POST /v1/Operator/Grants", "AnyCallerId=true"),
        ("POST /v1/Operator/NumberRanges", "Prefix=alice&AccountSid=*"),
        ("POST /v1/Operator/NumberRanges", "Prefix=1&AccountSid=x"),
        ("POST /v1/Operator/DomainSuffixes", "Suffix=192.0.2.1"),
        ("POST /v1/Operator/Grants", "SourceBitsV4=33"),
        ("POST /v1/Operator/Prices", "Service=sip-egress&Price=-1"),
        ("POST /v1/Operator/Prices", "Service=nothing&Price=1"),
        ("POST /v1/Operator/Prices", "Service=sip-egress&Price=1&Currency=usd"),
        ("POST /v1/Operator/Routes", "Target=a%0db"),
    ] {
        let (status, body) = desk.operate(what, form).await;
        assert_eq!((status, &body["code"]), (400, &json!(20_001)), "{what} {form}: {body}");
    }
    for (what, status) in [
        ("GET /v1/Operator/Nothing", 404),
        ("GET /v1/Operator/Accounts/AC1", 404),
        ("GET /v1/Operator/Prices/x", 404),
        ("DELETE /v1/Operator/Accounts", 405),
    ] {
        assert_eq!(desk.operate(what, "").await.0, status, "{what}");
    }
}

#[tokio::test]
async fn a_second_token_opens_until_it_is_deleted_and_promoted_it_is_the_only_one() {
    let desk = Desk::new();
    let own = format!("GET /2010-04-01/Accounts/{MAIN}.json");
    let made = |secret| desk.ask(MAIN, secret, "POST /v1/AuthTokens/Secondary", "");
    let first = token(MAIN);
    let (status, body) = made(&first).await;
    assert_eq!((status, &body["account_sid"]), (201, &json!(MAIN.to_string())));
    let second = body["secondary_auth_token"].as_str().expect("a token").to_owned();
    assert_eq!(made(&first).await.0, 409, "there is one");
    for secret in [&first, &second] {
        assert_eq!(desk.ask(MAIN, secret, &own, "").await.0, 200);
    }
    assert_eq!(desk.ask(SUB, &second, &own, "").await.0, 401, "another's");
    let delete = "DELETE /v1/AuthTokens/Secondary";
    assert_eq!(desk.ask(MAIN, &first, delete, "").await.0, 204);
    assert_eq!(desk.ask(MAIN, &second, &own, "").await.0, 401);
    assert_eq!(desk.ask(MAIN, &first, "POST /v1/AuthTokens/Promote", "").await.0, 404);
    let (_, body) = made(&first).await;
    let third = body["secondary_auth_token"].as_str().expect("a token").to_owned();
    let (status, body) = desk.ask(MAIN, &first, "POST /v1/AuthTokens/Promote", "").await;
    assert_eq!((status, &body["auth_token"]), (200, &json!(third)));
    let logins =
        [desk.ask(MAIN, &first, &own, "").await.0, desk.ask(MAIN, &third, &own, "").await.0];
    assert_eq!(logins, [401, 200]);
    // Keys manage no tokens.
    let keys = format!("POST /2010-04-01/Accounts/{MAIN}/Keys.json");
    let (_, key) = desk.ask(MAIN, &third, &keys, "").await;
    let (sid, secret) =
        (key["sid"].as_str().expect("a sid"), key["secret"].as_str().expect("text"));
    assert_eq!(desk.ask(sid, secret, "POST /v1/AuthTokens/Promote", "").await.0, 403);
    // And die at once.
    assert_eq!(desk.ask(sid, secret, &own, "").await.0, 200);
    let gone = format!("DELETE /2010-04-01/Accounts/{MAIN}/Keys/{sid}.json");
    assert_eq!(desk.ask(MAIN, &third, &gone, "").await.0, 204);
    assert_eq!(desk.ask(sid, secret, &own, "").await.0, 401);
}

#[tokio::test]
async fn nobody_of_a_suspended_parents_family_comes_in() {
    let desk = Desk::new();
    let own = format!("GET /2010-04-01/Accounts/{SUB}.json");
    let keys = format!("POST /2010-04-01/Accounts/{SUB}/Keys.json");
    let (_, key) = desk.ask(SUB, &token(SUB), &keys, "").await;
    let (sid, secret) =
        (key["sid"].as_str().expect("a sid"), key["secret"].as_str().expect("text"));
    assert_eq!(desk.ask(SUB, &token(SUB), &own, "").await.0, 200);
    let parent = format!("POST /v1/Operator/Accounts/{MAIN}");
    assert_eq!(desk.operate(&parent, "Status=suspended").await.0, 200);
    for (user, secret) in [(SUB.to_string(), token(SUB)), (sid.to_owned(), secret.to_owned())] {
        for what in [own.as_str(), keys.as_str(), "POST /v1/AuthTokens/Secondary"] {
            let (status, body) = desk.ask(&user, &secret, what, "").await;
            assert_eq!((status, &body["code"]), (403, &json!(20_005)), "{what}");
        }
    }
    assert_eq!(desk.operate(&parent, "Status=active").await.0, 200);
    assert_eq!(desk.ask(SUB, &token(SUB), &own, "").await.0, 200);
    assert_eq!(desk.operate(&parent, "Status=closed").await.0, 200);
    assert_eq!(desk.ask(SUB, &token(SUB), &own, "").await.0, 401);
}
