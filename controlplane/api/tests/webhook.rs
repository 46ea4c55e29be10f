//! The webhook client against an application on loopback: what is sent and signed, what is
//! followed, kept and bounded. Where addresses are refused is `webhook_ssrf.rs`.

mod application;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::webhook::{BODY_BYTES_MAX, Failure, WebhookClient, signature};
use application::{Application, Names, Silent, request};
use model::address::webhook::Policy;
use model::port::{HttpError, HttpKind};
use model::{AccountSid, Method};
use rustls::RootCertStore;

fn client(per_host: usize, roots: RootCertStore) -> WebhookClient {
    let policy = Policy::new(&["127.0.0.0/8".to_owned()], &[]).expect("a policy");
    WebhookClient::with(policy, per_host, Arc::new(Names::default()), roots)
}

fn plain() -> WebhookClient {
    client(8, RootCertStore::empty())
}

#[tokio::test]
async fn a_post_carries_a_signed_form() {
    let app = Application::start().await;
    let mut request = request(&app.url("/echo?x=1%20#rc=2"));
    request.url = request.url.replace("http://", "http://me:s%40crt@");
    request.params.push(("Digits".to_owned(), "1 & 2".to_owned()));
    let answer = plain().exchange(&request).await.expect("an answer");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/xml"));
    let seen = app.seen();
    let seen = &seen[0];
    assert_eq!(seen.line, "POST /echo?x=1%20");
    assert_eq!(seen.body, "CallSid=CA1&From=%2B15551&Digits=1+%26+2");
    let url = app.url("/echo?x=1%20");
    assert_eq!(seen.header("x-twilio-signature"), signature("token", &url, &request.params));
    assert_eq!(seen.header("i-twilio-idempotency-token"), "once");
    assert_eq!(seen.header("authorization"), "Basic bWU6c0BjcnQ=");
    assert_eq!(seen.header("host"), app.address.to_string());
    assert!(seen.header("content-type").starts_with("application/x-www-form-urlencoded"));
    assert!(seen.header("user-agent").starts_with("Tandem/"));
}

#[tokio::test]
async fn a_get_carries_its_parameters_in_the_signed_url() {
    let app = Application::start().await;
    let mut request = request(&app.url("/echo?x=1"));
    request.method = Method::Get;
    plain().exchange(&request).await.expect("an answer");
    let seen = app.seen();
    assert_eq!(seen[0].line, "GET /echo?x=1&CallSid=CA1&From=%2B15551");
    assert_eq!(seen[0].body, "");
    let url = app.url("/echo?x=1&CallSid=CA1&From=%2B15551");
    assert_eq!(seen[0].header("x-twilio-signature"), signature("token", &url, &[]));
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let app = Application::start().await;
    for (code, line, body) in [
        (301, "GET /echo", ""),
        (302, "GET /echo", ""),
        (303, "GET /echo", ""),
        (307, "POST /echo", "CallSid=CA1&From=%2B15551"),
        (308, "POST /echo", "CallSid=CA1&From=%2B15551"),
    ] {
        let request = request(&app.url(&format!("/redirect/{code}/echo")));
        assert_eq!(plain().exchange(&request).await.expect("an answer").status, 200);
        let seen = app.seen();
        let last = seen.last().expect("a request");
        assert_eq!((last.line.as_str(), last.body.as_str()), (line, body));
        let params = if body.is_empty() { &[][..] } else { &request.params };
        assert_eq!(
            last.header("x-twilio-signature"),
            signature("token", &app.url("/echo"), params)
        );
    }
    let request = request(&app.url("/loop"));
    assert!(matches!(plain().exchange(&request).await, Err(Failure::Redirects)));
}

/// What a redirect sets goes with the request that follows it, to the hosts it is for.
#[tokio::test]
async fn cookies_go_where_they_belong() {
    let (app, other) = (Application::start().await, Application::start().await);
    let mut request = request(&app.url("/set/echo"));
    let answer = plain().exchange(&request).await.expect("an answer");
    assert_eq!(app.seen()[0].header("cookie"), "");
    assert_eq!(app.seen()[1].header("cookie"), "once=y; session=abc");
    let refused: Vec<_> = answer.cookies.iter().filter_map(|it| it.as_ref().err()).collect();
    assert_eq!((refused.len(), refused[0].name.as_str()), (1, "elsewhere"));
    for cookie in answer.cookies.into_iter().flatten() {
        request.cookies.keep(cookie, request.at).expect("room");
    }
    request.url = app
        .url("/to/http://localhost.test/x")
        .replace("localhost.test", &{ format!("other.test:{}", other.address.port()) });
    plain().exchange(&request).await.expect("an answer");
    assert_eq!(app.seen()[2].header("cookie"), "session=abc");
    assert_eq!(other.seen()[0].header("cookie"), "", "another host");
}

#[tokio::test]
async fn an_answer_says_where_redirects_led() {
    let app = Application::start().await;
    let mut request = request(&app.url("/echo"));
    assert_eq!(plain().exchange(&request).await.expect("an answer").url, "");
    let url = app.url("/redirect/307/deep/er?x=1").replace("http://", "http://me:s%40crt@");
    request.url = url.replace("/deep", "/redirect/302/deep");
    let answer = plain().exchange(&request).await.expect("an answer");
    assert_eq!(answer.url, app.url("/deep/er").replace("http://", "http://me:s%40crt@"));
}

/// Answers that nobody reads cost no connection, whatever they say; long ones do.
#[tokio::test]
async fn callbacks_one_after_another_take_one_connection() {
    let app = Application::start().await;
    let client = plain();
    for path in
        ["/echo", "/bytes/20", "/bytes/9000", "/status/204", "/status/503", "/redirect/302/echo"]
    {
        for _ in 0..20 {
            let mut request = request(&app.url(path));
            request.kind = HttpKind::Callback;
            request.body_max = 0;
            client.exchange(&request).await.expect("an answer");
        }
        assert_eq!(app.connections(), 1, "{path}");
    }
    for _ in 0..3 {
        let mut request = request(&app.url(&format!("/bytes/{}", 4 * BODY_BYTES_MAX)));
        request.kind = HttpKind::Callback;
        let answer = client.exchange(&request).await.expect("its status is the answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(app.connections(), 3, "the first of them found the one kept");
}

#[tokio::test]
async fn error_statuses_are_answers() {
    let app = Application::start().await;
    for code in [400, 404, 429, 500, 503] {
        let answer = plain().exchange(&request(&app.url(&format!("/status/{code}")))).await;
        assert_eq!(answer.expect("an answer").status, code);
    }
}

#[tokio::test]
async fn an_answer_has_a_largest_size() {
    let app = Application::start().await;
    let ask = async |bytes: usize, kind: HttpKind| {
        let mut request = request(&app.url(&format!("/bytes/{bytes}")));
        request.kind = kind;
        plain().send(&request).await.result.map(|answer| answer.body.len())
    };
    assert_eq!(ask(BODY_BYTES_MAX, HttpKind::Instructions).await, Ok(BODY_BYTES_MAX));
    let over = BODY_BYTES_MAX + 1;
    assert_eq!(ask(over, HttpKind::Instructions).await, Err(HttpError::TooLarge));
    assert_eq!(ask(over, HttpKind::Callback).await, Ok(0));
}

#[tokio::test]
async fn silence_broken_http_and_closed_ports_are_told_apart() {
    let app = Application::start().await;
    let mut silent = request(&app.url("/stuck"));
    silent.read_ms = 50;
    assert_eq!(plain().send(&silent).await.result, Err(HttpError::Timeout));
    let mut slow = request(&app.url("/stuck"));
    slow.total_ms = 50;
    assert_eq!(plain().send(&slow).await.result, Err(HttpError::Timeout));
    let cut = request(&app.url("/cut"));
    assert_eq!(plain().send(&cut).await.result, Err(HttpError::Protocol));
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let nobody = request(&format!("http://{address}/"));
    assert_eq!(plain().send(&nobody).await.result, Err(HttpError::Connect));
    let unknown = request("http://unknown.test/");
    assert_eq!(plain().send(&unknown).await.result, Err(HttpError::Resolve));
    assert_eq!(plain().send(&request("nonsense")).await.result, Err(HttpError::BadUrl));
}

#[tokio::test]
async fn connections_are_kept_per_tenant() {
    let app = Application::start().await;
    let client = plain();
    for _ in 0..3 {
        client.exchange(&request(&app.url("/echo"))).await.expect("an answer");
    }
    assert_eq!(app.connections(), 1);
    let mut other = request(&app.url("/echo"));
    (other.account, other.family) = (AccountSid(2), AccountSid(2));
    client.exchange(&other).await.expect("an answer");
    assert_eq!(app.connections(), 2);
}

/// The server cuts a kept connection instead of answering again on it: the request goes out on a
/// new one.
#[tokio::test]
async fn a_connection_closed_meanwhile_costs_nothing() {
    let app = Application::start().await;
    let client = plain();
    for _ in 0..4 {
        let answer = client.exchange(&request(&app.url("/once"))).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!((app.connections(), app.seen().len()), (4, 7));
}

/// One tenant's stuck host holds up neither the tenant's other hosts nor other tenants' requests to
/// it.
#[tokio::test]
async fn a_dead_host_starves_nobody_else() {
    let (dead, alive) = (Application::start().await, Application::start().await);
    let client = client(1, RootCertStore::empty());
    let stuck = tokio::spawn({
        let (client, request) = (client.clone(), request(&dead.url("/stuck")));
        async move { client.exchange(&request).await.is_ok() }
    });
    dead.wait_for(1).await;
    let mut behind = request(&dead.url("/echo"));
    behind.total_ms = 100;
    assert_eq!(client.send(&behind).await.result, Err(HttpError::Timeout));
    behind.kind = HttpKind::Callback;
    client.exchange(&behind).await.expect("what is told has places of its own");
    client.exchange(&request(&alive.url("/echo"))).await.expect("the tenant's other host");
    let mut sub = behind.clone();
    (sub.account, sub.kind) = (AccountSid(3), HttpKind::Instructions);
    assert_eq!(client.send(&sub).await.result, Err(HttpError::Timeout), "a sub-account of it");
    let mut other = request(&dead.url("/echo"));
    (other.account, other.family) = (AccountSid(2), AccountSid(2));
    client.exchange(&other).await.expect("another tenant, the same host");
    stuck.abort();
    let _ = stuck.await;
    client.exchange(&request(&dead.url("/echo"))).await.expect("the gate is free again");
}

/// Whoever names hosts whose name servers are silent has so many look-ups under way, those that he
/// does not wait for any more among them; others' names are looked up.
#[tokio::test]
async fn silent_name_servers_keep_their_own_family_waiting_and_nobody_else() {
    let app = Application::start().await;
    let policy = Policy::new(&["127.0.0.0/8".to_owned()], &[]).expect("a policy");
    let names = Arc::new(Silent::default());
    let client = WebhookClient::with(policy, 8, names.clone(), RootCertStore::empty());
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut request = request(&format!("http://h{number}.silent.test/"));
        request.connect_ms = 20;
        let client = client.clone();
        asked.spawn(async move { client.send(&request).await.result });
    }
    while let Some(result) = asked.join_next().await {
        assert_eq!(result.expect("no panic"), Err(HttpError::Connect));
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), 16);
    let mut other = request(&format!("http://alive.test:{}/echo", app.address.port()));
    other.connect_ms = 20;
    assert_eq!(client.send(&other).await.result, Err(HttpError::Connect), "of the family");
    (other.account, other.family, other.connect_ms) = (AccountSid(2), AccountSid(2), 5_000);
    client.exchange(&other).await.expect("another's");
}

#[tokio::test]
async fn https_needs_a_certificate_for_the_name() {
    let certified =
        rcgen::generate_simple_self_signed(["app.test".to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a root");
    let app = Application::start_tls(&certified).await;
    let url = |name: &str| format!("https://{name}:{}/echo", app.address.port());
    let trusted = client(8, roots);
    trusted.exchange(&request(&url("app.test"))).await.expect("an answer");
    let seen = app.seen();
    assert_eq!(seen[0].header("host"), format!("app.test:{}", app.address.port()));
    let tls = Err(HttpError::Tls);
    assert_eq!(trusted.send(&request(&url("other.test"))).await.result, tls);
    assert_eq!(trusted.send(&request(&url("127.0.0.1"))).await.result, tls);
    assert_eq!(plain().send(&request(&url("app.test"))).await.result, tls);
    let down = url("app.test").replace("/echo", "/downgrade");
    assert!(matches!(trusted.exchange(&request(&down)).await, Err(Failure::Redirects)));
}
