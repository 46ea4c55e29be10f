//! The API as a door, over real connections: rates, guesses, connections, answers that nobody
//! takes, and what the HTTP library refuses.

mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Limits, Options};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, SUB, token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server with these limits; it ends with the sender.
async fn serve(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let options = Options { limits, ..Options::default() };
    tokio::spawn(api::serve(listener, Arc::new(Fake::new()), options, stopped));
    (address, stop)
}

fn get(path: &str, user: impl ToString, secret: &str) -> String {
    let credentials = STANDARD.encode(format!("{}:{secret}", user.to_string()));
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n")
}

fn list(account: impl ToString, secret: &str) -> String {
    let path = format!("/2010-04-01/Accounts/{}/Calls.json", account.to_string());
    get(&path, account, secret)
}

/// One request on a connection of its own: status and everything that came.
async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = request.replacen("Host: a", "Host: a\r\nConnection: close", 1);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{text:?} is no answer")), text)
}

/// Everything until the far end closes, or the error it closes with.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn an_account_and_its_sub_accounts_share_a_rate_and_are_told_to_wait() {
    let limits = Limits { account_rate: 1, account_burst: 2, ..Limits::default() };
    let (address, _stop) = serve(limits).await;
    let mut refused = 0;
    for at in 0..6 {
        let who = if at % 2 == 0 { MAIN } else { SUB };
        let (status, text) = ask(address, &list(who, &token(who))).await;
        assert!([200, 429].contains(&status), "{text}");
        if status == 429 {
            refused += 1;
            assert!(text.contains("retry-after: ") && text.contains("20429"), "{text}");
        }
    }
    assert!(refused > 0, "six requests at once, of two that are allowed");
}

#[tokio::test]
async fn a_source_has_a_rate_before_anybody_is_asked_who_it_is() {
    let limits = Limits { source_rate: 1, source_burst: 2, ..Limits::default() };
    let (address, _stop) = serve(limits).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask(address, &list(MAIN, "wrong")).await.0);
    }
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn guesses_are_slowed_and_who_was_right_before_is_not() {
    let limits = Limits { login_failures: 3, login_failure_s: 3_600, ..Limits::default() };
    let (address, _stop) = serve(limits).await;
    assert_eq!(ask(address, &list(MAIN, &token(MAIN))).await.0, 200);
    let mut statuses = Vec::new();
    for guess in 0..5 {
        statuses.push(ask(address, &list(MAIN, &format!("guess{guess}"))).await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(ask(address, &list(MAIN, &token(MAIN))).await.0, 200, "known from here");
    assert_eq!(ask(address, &list(SUB, &token(SUB))).await.0, 200, "another name");
}

/// Silence is closed; who has spoken and then is slow is not.
#[tokio::test]
async fn a_connection_says_something_in_time_or_ends() {
    let limits = Limits { first_byte: Duration::from_millis(50), ..Limits::default() };
    let (address, _stop) = serve(limits).await;
    let silent = TcpStream::connect(address).await.expect("a connection");
    let mut slow = TcpStream::connect(address).await.expect("a connection");
    let request = list(MAIN, &token(MAIN)).replacen("Host: a", "Host: a\r\nConnection: close", 1);
    slow.write_all(&request.as_bytes()[..1]).await.expect("sent");
    assert_eq!(rest(silent).await, b"", "closed without a word");
    slow.write_all(&request.as_bytes()[1..]).await.expect("sent");
    assert!(rest(slow).await.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn the_oldest_silent_connection_makes_room_for_a_newcomer() {
    for limits in [
        Limits { connections: 4, ..Limits::default() },
        Limits { source_connections: 4, ..Limits::default() },
    ] {
        let limits = Limits { first_byte: Duration::from_secs(600), ..limits };
        let (address, _stop) = serve(limits).await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        assert_eq!(ask(address, &list(MAIN, &token(MAIN))).await.0, 200, "a newcomer is served");
        let first = silent.remove(0);
        assert_eq!(rest(first).await, b"", "the oldest one is shed");
    }
}

/// Clients that ask and never read: the budget refuses more, ends them in time, and is there again.
#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_in_bytes_and_in_time() {
    let limits = Limits {
        answer_bytes: 16 << 20,
        write: Duration::from_millis(300),
        source_rate: 0,
        account_rate: 0,
        account_requests: 0,
        ..Limits::default()
    };
    let (address, _stop) = serve(limits).await;
    let form = |at: usize| {
        let body =
            format!("To=sip%3A{}%40x.test&From=alice&Twiml=%3CResponse/%3E", "n".repeat(200));
        let pair = STANDARD.encode(format!("{MAIN}:{}", token(MAIN)));
        format!(
            "POST /2010-04-01/Accounts/{MAIN}/Calls.json HTTP/1.1\r\nHost: a\r\n\
             Authorization: Basic {pair}\r\nX-At: {at}\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        )
    };
    for at in 0..1_000 {
        let (status, text) = ask(address, &form(at)).await;
        assert_eq!(status, 201, "{text}");
    }
    let path = format!("/2010-04-01/Accounts/{MAIN}/Calls.json?PageSize=1000");
    let page = get(&path, MAIN, &token(MAIN));
    // Many of them on each connection, so that none fits into what the kernel holds for both.
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(page.repeat(16).as_bytes()).await.expect("sent");
        readers.push(stream);
    }
    let mut refused = false;
    while !refused {
        let (status, text) = ask(address, &page).await;
        assert!([200, 429].contains(&status), "{text}");
        refused = status == 429;
    }
    // None of them reads; each is ended, and what it held is free.
    while ask(address, &page).await.0 != 200 {}
    drop(readers);
}

#[tokio::test]
async fn what_the_http_library_refuses_is_told_in_json() {
    let (address, _stop) = serve(Limits::default()).await;
    let path = format!("/2010-04-01/Accounts/{MAIN}/Calls.json?StartTime>=2026-01-01");
    let (status, text) = ask(address, &get(&path, MAIN, &token(MAIN))).await;
    assert_eq!(status, 400);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["code"], &body["status"]), (&20_001.into(), &400.into()), "{body}");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("StartTime%3E=")), "{body}");
    let escaped = path.replace('>', "%3E");
    assert_eq!(ask(address, &get(&escaped, MAIN, &token(MAIN))).await.0, 200);
    let (status, text) =
        ask(address, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000))).await;
    assert!((400..500).contains(&status) && text.contains("\"message\""), "{text}");
}
