//! Dead letters by the API: a tenant sees, sends again and forgets his own, the operator
//! everybody's; what cannot be sent again says why.

mod fake;

use std::sync::Arc;

use api::{Options, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, token};
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn app() -> Router {
    let options = Options { operator: SECRET.into(), ..Options::default() };
    router(Arc::new(Fake::new()), options)
}

async fn ask(app: &Router, login: &str, what: &str) -> (u16, Value) {
    let (method, uri) = what.split_once(' ').expect("a method and a path");
    // What a POST says is its body.
    let (uri, body) = match uri.split_once('?') {
        Some((path, form)) if method == "POST" => (path, form.to_owned()),
        _ => (uri, String::new()),
    };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("Authorization", format!("Basic {}", STANDARD.encode(login)))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn sids(page: &Value) -> Vec<u64> {
    let rows = page["dead_letters"].as_array().expect("rows").iter();
    rows.map(|row| u64::from_str_radix(row["sid"].as_str().expect("a sid"), 16).expect("hex"))
        .collect()
}

#[tokio::test]
async fn a_tenant_has_his_own_in_pages() {
    let app = app();
    let login = format!("{MAIN}:{}", token(MAIN));
    let base = format!("/2010-04-01/Accounts/{MAIN}/DeadLetters");
    let (status, first) = ask(&app, &login, &format!("GET {base}.json?PageSize=2")).await;
    assert_eq!((status, sids(&first)), (200, vec![5, 3]));
    let next = first["next_page_uri"].as_str().expect("a link");
    assert_eq!(sids(&ask(&app, &login, &format!("GET {next}")).await.1), [1]);
    let uri = first["dead_letters"][0]["uri"].as_str().expect("a link");
    let (status, one) = ask(&app, &login, &format!("GET {uri}")).await;
    assert_eq!((status, &one["error"], &one["attempts"]), (200, &json!("connect"), &json!(14)));
    assert_eq!(one["parameters"]["CallStatus"], "completed");
    // Another's is not there, whatever is asked of it.
    let other = format!("{base}/{:032x}", 2);
    for what in ["GET", "DELETE"] {
        assert_eq!(ask(&app, &login, &format!("{what} {other}.json")).await.0, 404, "{what}");
    }
    assert_eq!(ask(&app, &login, &format!("POST {other}/Replay.json")).await.0, 404);
    assert_eq!(ask(&app, &login, &format!("POST {base}.json")).await.0, 405);
    assert_eq!(ask(&app, &login, "GET /v1/Operator/DeadLetters").await.0, 403);
}

#[tokio::test]
async fn they_are_sent_again_and_what_is_not_says_why() {
    let app = app();
    let login = format!("{MAIN}:{}", token(MAIN));
    let base = format!("/2010-04-01/Accounts/{MAIN}/DeadLetters");
    let one = format!("POST {base}/{:032x}/Replay.json", 3);
    assert_eq!(
        ask(&app, &login, &one).await,
        (
            200,
            json!({
                "replaying": 1, "refused": 0, "refusals": []
            })
        )
    );
    assert_eq!(ask(&app, &login, &one).await.0, 404, "it was delivered");
    let (status, all) = ask(&app, &login, &format!("POST {base}/Replay.json")).await;
    let refusals = json!([{ "sid": format!("{:032x}", 5), "reason": "bad" }]);
    let next = Value::Null;
    let told = json!({ "replaying": 1, "refused": 1, "refusals": refusals,
        "next_page_token": next });
    assert_eq!((status, all), (200, told));
    let forget = format!("DELETE {base}/{:032x}.json", 5);
    assert_eq!(ask(&app, &login, &forget).await.0, 204);
    assert_eq!(sids(&ask(&app, &login, &format!("GET {base}.json")).await.1), [0; 0]);
}

/// What cannot be delivered stays where it is, and what comes after it is got at.
#[tokio::test]
async fn the_ones_after_the_first_thousand_are_sent_too() {
    let fake = Fake::new();
    fake.add_letters(MAIN, 2_500);
    let options = Options { operator: SECRET.into(), ..Options::default() };
    let app = router(Arc::new(fake), options);
    let login = format!("{MAIN}:{}", token(MAIN));
    let replay = format!("POST /2010-04-01/Accounts/{MAIN}/DeadLetters/Replay.json");
    let (mut tried, mut next) = (Vec::new(), String::new());
    loop {
        let (status, told) = ask(&app, &login, &format!("{replay}{next}")).await;
        assert_eq!(status, 200, "{told}");
        let number = |key: &str| told[key].as_u64().expect("a number");
        tried.push(number("replaying") + number("refused"));
        let Some(token) = told["next_page_token"].as_str() else { break };
        next = format!("?PageToken={token}");
    }
    assert_eq!(tried, [1_000, 1_000, 503]);
    let bad = ask(&app, &login, &format!("{replay}?PageToken=PA")).await;
    assert_eq!(bad.0, 400);
}

#[tokio::test]
async fn the_operator_has_everybodys() {
    let app = app();
    let login = format!("operator:{SECRET}");
    let all = ask(&app, &login, "GET /v1/Operator/DeadLetters").await.1;
    assert_eq!(sids(&all), [6, 5, 4, 3, 2, 1]);
    let theirs = format!("/v1/Operator/DeadLetters?AccountSid={STRANGER}");
    assert_eq!(sids(&ask(&app, &login, &format!("GET {theirs}")).await.1), [6, 4, 2]);
    let one = format!("POST /v1/Operator/DeadLetters/{:032x}/Replay", 2);
    assert_eq!(ask(&app, &login, &one).await.1["replaying"], 1);
    let all = ask(&app, &login, "POST /v1/Operator/DeadLetters/Replay").await.1;
    assert_eq!((&all["replaying"], &all["refused"]), (&json!(3), &json!(2)));
    let forget = format!("DELETE /v1/Operator/DeadLetters/{:032x}", 6);
    assert_eq!(ask(&app, &login, &forget).await.0, 204);
    assert_eq!(sids(&ask(&app, &login, "GET /v1/Operator/DeadLetters").await.1), [5]);
}
