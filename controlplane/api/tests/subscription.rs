//! `/v1/Accounts/{sid}/SignalingSubscriptions` as a client sees it.

mod fake;

use std::sync::Arc;

use api::{Options, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, SUB, token};
use http::{Request, header};
use model::AccountSid;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const NAME: &str = "SignalingSubscriptions";

async fn ask(
    app: &Router,
    (login, method, uri): (AccountSid, &str, &str),
    form: &[(&str, &str)],
) -> (u16, Value) {
    let pair = format!("{login}:{}", token(login));
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn app() -> Router {
    router(Arc::new(Fake::new()), Options::default())
}

fn uri(account: AccountSid) -> String {
    format!("/v1/Accounts/{account}/{NAME}")
}

#[tokio::test]
async fn one_is_made_read_changed_and_deleted() {
    let app = app();
    let list = uri(MAIN);
    let url = "https://app.example/sip#rc=2";
    let form = [
        ("FriendlyName", "Ladder"),
        ("SipMethod", "invite"),
        ("SipMethod", "BYE, CANCEL"),
        ("SipResponse", "4xx"),
        ("SipResponse", "200"),
        ("Direction", "received"),
        ("Leg", "outbound"),
        ("HeaderName", "m"),
        ("HeaderStartsWith", "<sip:gw"),
        ("Occurrence", "first"),
        ("Scope", "trunk"),
        ("Url", url),
        ("Method", "GET"),
        ("FallbackUrl", "https://other.example/"),
        ("Mode", "application"),
    ];
    let (status, made) = ask(&app, (MAIN, "POST", &list), &form).await;
    assert_eq!(status, 201, "{made}");
    let expected = json!({
        "friendly_name": "Ladder",
        "sip_method": ["INVITE", "BYE", "CANCEL"],
        "sip_response": ["4xx", "200"],
        "direction": "received",
        "leg": "outbound",
        "header_name": "Contact",
        "header_equals": null,
        "header_starts_with": "<sip:gw",
        "occurrence": "first",
        "scope": "trunk",
        "call_sid": null,
        "url": url,
        "method": "GET",
        "fallback_url": "https://other.example/",
        "fallback_method": "POST",
        "mode": "application",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&made[key], value, "{key}");
    }
    let one = made["uri"].as_str().expect("a uri").to_owned();
    assert_eq!(ask(&app, (MAIN, "GET", &one), &[]).await, (200, made));
    change(&app, &one).await;
    assert_eq!(ask(&app, (MAIN, "DELETE", &one), &[]).await.0, 204);
    assert_eq!(ask(&app, (MAIN, "GET", &one), &[]).await.0, 404);
}

/// What is given empty is any; what is not given stays.
async fn change(app: &Router, one: &str) {
    let url = "https://app.example/sip#rc=2";
    let call = "CA0123456789abcdef0123456789abcdef";
    let changes = [
        ("SipMethod", ""),
        ("SipResponse", ""),
        ("Direction", ""),
        ("HeaderEquals", "x"),
        ("CallSid", call),
        ("FallbackUrl", ""),
        ("Mode", "callback"),
    ];
    let (status, changed) = ask(app, (MAIN, "POST", one), &changes).await;
    assert_eq!(status, 200, "{changed}");
    let expected = json!({
        "friendly_name": "Ladder",
        "sip_method": [],
        "sip_response": [],
        "direction": null,
        "leg": "outbound",
        "header_name": "Contact",
        "header_equals": "x",
        "header_starts_with": null,
        "scope": "call",
        "call_sid": call,
        "url": url,
        "fallback_url": null,
        "fallback_method": null,
        "mode": "callback",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&changed[key], value, "{key}");
    }
    let plain = [("HeaderName", ""), ("CallSid", "")];
    let (_, changed) = ask(app, (MAIN, "POST", one), &plain).await;
    assert_eq!((&changed["header_name"], &changed["scope"]), (&Value::Null, &json!("account")));
}

#[tokio::test]
async fn the_list_turns_pages() {
    let app = app();
    let list = uri(MAIN);
    for _ in 0..5 {
        let form = [("Url", "https://app.example/")];
        assert_eq!(ask(&app, (MAIN, "POST", &list), &form).await.0, 201);
    }
    let (mut next, mut seen) = (format!("{list}?PageSize=2"), 0);
    loop {
        let (status, page) = ask(&app, (MAIN, "GET", &next), &[]).await;
        assert_eq!(status, 200, "{page}");
        seen += page["signaling_subscriptions"].as_array().expect("a list").len();
        let Some(uri) = page["next_page_uri"].as_str() else { break };
        next = uri.to_owned();
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_reason() {
    let app = app();
    let list = uri(MAIN);
    let url = ("Url", "https://app.example/");
    let long = "x".repeat(256);
    let codes = (400..417).map(|code| code.to_string()).collect::<Vec<_>>().join(",");
    for (form, code, word) in [
        (vec![], 20_001, "Url"),
        (vec![("Url", "")], 20_001, "Url"),
        (vec![("Url", "ftp://x")], 21_205, "Url"),
        (vec![url, ("Method", "PUT")], 21_403, "Method"),
        (vec![url, ("FallbackUrl", "nowhere")], 21_205, "FallbackUrl"),
        (vec![url, ("SipMethod", "REGISTER")], 20_001, "INVITE, ACK"),
        (vec![url, ("SipResponse", "99")], 20_001, "100 to 699"),
        (vec![url, ("SipResponse", "700")], 20_001, "100 to 699"),
        (vec![url, ("SipResponse", "0xx")], 20_001, "100 to 699"),
        (vec![url, ("SipResponse", codes.as_str())], 20_001, "more than 16"),
        (vec![url, ("Direction", "in")], 20_001, "received or sent"),
        (vec![url, ("Leg", "a")], 20_001, "inbound or outbound"),
        (vec![url, ("Occurrence", "last")], 20_001, "every or first"),
        (vec![url, ("Mode", "proxy")], 20_001, "callback or application"),
        (vec![url, ("Scope", "world")], 20_001, "account or trunk"),
        (vec![url, ("CallSid", "CA1")], 20_001, "CallSid"),
        (
            vec![url, ("Scope", "trunk"), ("CallSid", &format!("CA{}", "1".repeat(32)))],
            20_001,
            "Scope",
        ),
        (vec![url, ("HeaderName", "X Foo")], 20_001, "HeaderName"),
        (vec![url, ("HeaderEquals", "x")], 20_001, "HeaderName"),
        (vec![url, ("HeaderName", "X"), ("HeaderEquals", long.as_str())], 20_001, "255"),
        (
            vec![url, ("HeaderName", "X"), ("HeaderEquals", "a"), ("HeaderStartsWith", "b")],
            20_001,
            "together",
        ),
    ] {
        let (status, body) = ask(&app, (MAIN, "POST", &list), &form).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{form:?}: {body}");
        assert!(body["message"].as_str().is_some_and(|it| it.contains(word)), "{form:?}: {body}");
    }
}

#[tokio::test]
async fn nobody_elses_is_seen() {
    let app = app();
    let form = [("Url", "https://app.example/")];
    let (_, made) = ask(&app, (MAIN, "POST", &uri(MAIN)), &form).await;
    let sid = made["sid"].as_str().expect("a sid");
    for (login, account) in [(STRANGER, MAIN), (STRANGER, STRANGER), (SUB, MAIN), (MAIN, SUB)] {
        for method in ["GET", "POST", "DELETE"] {
            let one = format!("{}/{sid}", uri(account));
            let (status, body) = ask(&app, (login, method, &one), &[]).await;
            assert_eq!(status, 404, "{login} {method} {one}: {body}");
        }
    }
    assert_eq!(ask(&app, (MAIN, "GET", &format!("/v1/Accounts/{MAIN}/Calls")), &[]).await.0, 404);
    assert_eq!(ask(&app, (MAIN, "PUT", &uri(MAIN)), &form).await.0, 405);
}
