//! A tenant's web server on loopback that keeps what it was asked, and requests to send to it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::webhook::{Lookup, Resolve};
use base::{CallId, Wall};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::cookie::Jar;
use model::port::{HttpId, HttpKind, HttpRequest};
use model::{AccountSid, Method, Secret};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A POST of tenant 1 with two parameters.
pub(crate) fn request(url: &str) -> HttpRequest {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    HttpRequest {
        id: HttpId(1),
        account: AccountSid(1),
        family: AccountSid(1),
        auth_token: Secret("token".to_owned()),
        call: CallId(1),
        kind: HttpKind::Instructions,
        url: url.to_owned(),
        method: Method::Post,
        params: vec![pair("CallSid", "CA1"), pair("From", "+15551")],
        idempotency_token: "once".to_owned(),
        connect_ms: 5_000,
        read_ms: 5_000,
        total_ms: 10_000,
        body_max: 64 * 1024,
        at: Wall(1_800_000_000_000_000),
        cookies: Jar::default(),
    }
}

/// Names of a test: those below `.test` but `unknown.test` are loopback. Counts what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) asked: AtomicUsize,
    /// Answers by turn, instead; the last one stays.
    pub(crate) turns: Vec<Vec<IpAddr>>,
}

impl Resolve for Names {
    fn lookup<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = if let Some(last) = self.turns.len().checked_sub(1) {
            Ok(self.turns[turn.min(last)].clone())
        } else if name.ends_with(".test") && name != "unknown.test" {
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        } else {
            Err(io::Error::other("no such name"))
        };
        Box::pin(core::future::ready(answer))
    }
}

/// Names of a test whose name servers never answer, but for `alive.test`.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    pub(crate) asked: AtomicUsize,
}

impl Resolve for Silent {
    fn lookup<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        if name == "alive.test" {
            return Box::pin(core::future::ready(Ok(vec![IpAddr::from([127, 0, 0, 1])])));
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(core::future::pending())
    }
}

/// One request as the application saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    news: Notify,
}

impl Application {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    pub(crate) async fn start_tls(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let key =
            rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .expect("a certificate");
        Self::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner::default());
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (inner, tls) = (Arc::clone(&shared), tls.clone());
                inner.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    match tls {
                        None => connection(inner, stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection(inner, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, inner }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Until `count` requests have come.
    pub(crate) async fn wait_for(&self, count: usize) {
        loop {
            let news = self.inner.news.notified();
            if self.seen().len() >= count {
                return;
            }
            news.await;
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(inner: Arc<Inner>, stream: S) {
    let served = Arc::new(AtomicUsize::new(0));
    let service = service_fn(move |request: Request<Incoming>| {
        let (inner, turn) = (Arc::clone(&inner), served.fetch_add(1, Ordering::SeqCst));
        async move { answer(&inner, turn, request).await }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What is asked for by the path, `turn` counting the requests of the connection. An error cuts it.
async fn answer(
    inner: &Inner,
    turn: usize,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let line = format!("{} {}", head.method, head.uri);
    let body = String::from_utf8_lossy(&body).into_owned();
    let seen = Seen { line, headers: head.headers, body };
    inner.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    inner.news.notify_waiters();
    let path = head.uri.path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let reply = Response::builder();
    let full = |bytes: Vec<u8>| Full::new(Bytes::from(bytes));
    let reply = match parts.as_slice() {
        ["redirect", code, rest @ ..] => {
            let location = format!("/{}", rest.join("/"));
            reply.status(*code).header("location", location).body(full(b"moved".to_vec()))
        }
        ["to", rest @ ..] => {
            let location = rest.join("/").replacen(":/", "://", 1);
            reply.status(302).header("location", location).body(full(Vec::new()))
        }
        ["set", rest @ ..] => reply
            .status(302)
            .header("location", format!("/{}", rest.join("/")))
            .header("set-cookie", "session=abc; Path=/; HttpOnly")
            .header("set-cookie", "elsewhere=x; Domain=other.test")
            .header("set-cookie", "once=y; Path=/echo; Max-Age=60")
            .body(full(b"moved".to_vec())),
        ["loop"] => reply.status(302).header("location", "/loop").body(full(Vec::new())),
        ["downgrade"] => {
            reply.status(302).header("location", "http://app.test/").body(full(Vec::new()))
        }
        ["status", code] => reply.status(*code).body(full(Vec::new())),
        ["bytes", count] => reply.body(full(vec![b'x'; count.parse().unwrap_or(0)])),
        ["stuck"] => {
            return core::future::pending::<Result<_, Infallible>>().await.map_err(|e| match e {});
        }
        ["cut"] => return Err(io::Error::other("cut")),
        ["once"] if turn > 0 => return Err(io::Error::other("cut")),
        _ => reply.header("content-type", "text/xml").body(full(b"<Response/>".to_vec())),
    };
    reply.map_err(io::Error::other)
}
