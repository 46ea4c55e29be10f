//! Webhooks out: the client that asks tenants' applications what to do.
//!
//! ```text
//!  HttpRequest -> gate of (family, host, kind) -> connection -> signed request -> HttpReply
//!                        ^               (pooled, or resolve, check, connect, TLS)
//!                        +---- redirect: the same again, checked again ----+
//! ```
//!
//! The tenant chooses the URL, so the client trusts nothing it meets: addresses are checked where
//! they are connected to ([`policy`]), answers are bounded in time and size, one tenant's dead host
//! takes nothing from another tenant or another host. The caller decides about retries and fallback
//! URLs.

mod connect;
mod cookies;
mod gates;
mod pool;
mod sign;
mod target;

use core::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::address::webhook::{Forbidden, Policy};
use model::cookie::Jar;
use model::port::{HttpAnswer, HttpError, HttpKind, HttpReply, HttpRequest};
use model::{AccountSid, Method};
use rustls::RootCertStore;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

pub use connect::{Lookup, Resolve, SystemResolver, native_roots};
pub use gates::Gates;
pub use sign::signature;

use connect::Connector;
use pool::{Key, Pool, Sender};
use target::{Target, Targets};

/// The longest answer that is taken, bytes.
pub const BODY_BYTES_MAX: usize = config::DOCUMENT_BYTES_MAX;
/// Redirects that are followed.
pub const REDIRECTS_MAX: usize = 5;

/// The longest that the rest of an answer is waited for which nobody wants to know.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The longest any request takes, whatever it asks for.
const TOTAL_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The URL cannot be read or is neither http nor https.
    BadUrl,
    /// The policy refuses the address that the URL leads to.
    Forbidden(SocketAddr, Forbidden),
    /// The host's name has no address.
    Resolve(io::Error),
    /// No address of the host took the connection.
    Connect(io::Error),
    /// TLS failed: certificate, name or protocol.
    Tls(io::Error),
    /// The server broke HTTP or the connection.
    Protocol(hyper::Error),
    /// The time for connecting was over.
    ConnectTimeout,
    /// The time for the whole request was over.
    Timeout,
    /// The answer is longer than [`BODY_BYTES_MAX`].
    TooLarge,
    /// More than [`REDIRECTS_MAX`] redirects, or one from https to http.
    Redirects,
}

/// The client; cheap to clone, all clones share connections and bounds.
#[derive(Clone)]
pub struct WebhookClient {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    targets: Targets,
    pool: Pool,
    gates: Gates<(u128, String)>,
}

/// What a request says at one station of its way.
struct Outgoing<'a> {
    post: bool,
    params: &'a [(String, String)],
    jar: &'a Jar,
}

/// A request answered as far as its headers, and what its connection needs afterwards.
struct Exchange {
    key: Key,
    sender: Sender,
    response: Response<Incoming>,
    permit: OwnedSemaphorePermit,
}

impl WebhookClient {
    /// A client with the host's resolver and root certificates. `per_host`: requests of one tenant
    /// under way to one host, at least 1.
    #[must_use]
    pub fn new(policy: Policy, per_host: usize) -> Self {
        Self::with(policy, per_host, Arc::new(SystemResolver), native_roots())
    }

    /// A client with another resolver and other roots of trust.
    #[must_use]
    pub fn with(
        policy: Policy,
        per_host: usize,
        resolver: Arc<dyn Resolve>,
        roots: RootCertStore,
    ) -> Self {
        let connector = Connector::new(policy, resolver, roots);
        let gates = Gates::new(per_host.max(1));
        Self {
            inner: Arc::new(Inner {
                connector,
                targets: Targets::default(),
                pool: Pool::default(),
                gates,
            }),
        }
    }

    /// Sends one request, follows its redirects, and says what came of it.
    pub async fn send(&self, request: &HttpRequest) -> HttpReply {
        let result = self.exchange(request).await;
        if let Err(failure) = &result {
            tracing::debug!(call = %request.call, account = %request.account, %failure, "webhook");
        }
        HttpReply { id: request.id, result: result.map_err(|failure| failure.kind()) }
    }

    /// The same with the whole reason where there is no answer.
    ///
    /// # Errors
    /// [`Failure`] if no final answer came; an HTTP error status is an answer.
    pub async fn exchange(&self, request: &HttpRequest) -> Result<HttpAnswer, Failure> {
        let total = millis(request.total_ms).min(TOTAL_MAX);
        // On the heap at once: it is long, and what holds it is moved several times.
        let followed = Box::pin(self.inner.follow(request));
        timeout(total, followed).await.unwrap_or(Err(Failure::Timeout))
    }
}

impl Inner {
    async fn follow(&self, request: &HttpRequest) -> Result<HttpAnswer, Failure> {
        let mut target = self.targets.of(&request.url).map_err(|_| Failure::BadUrl)?;
        let mut post = request.method == Method::Post;
        let mut params = request.params.as_slice();
        if !post {
            target = target.with_query(params);
            params = &[];
        }
        let (mut jar, mut set) = (request.cookies.clone(), Vec::new());
        for redirects in 0..=REDIRECTS_MAX {
            let outgoing = Outgoing { post, params, jar: &jar };
            let exchange = self.ask(request, &target, &outgoing).await?;
            let status = exchange.response.status();
            for found in cookies::read(exchange.response.headers(), &target, request.at) {
                let kept = found.and_then(|it| jar.keep(it.clone(), request.at).map(|()| it));
                set.push(kept);
            }
            let location = exchange.response.headers().get(header::LOCATION);
            let Some(location) = location.filter(|_| is_redirect(status)) else {
                let content_type = text(exchange.response.headers(), &header::CONTENT_TYPE);
                let body = match request.kind {
                    HttpKind::Instructions => self.body(request, exchange).await?,
                    HttpKind::Callback => {
                        self.drain(request, exchange).await;
                        Vec::new()
                    }
                };
                let url = if redirects > 0 { target.located() } else { String::new() };
                let status = status.as_u16();
                return Ok(HttpAnswer { status, content_type, body, url, cookies: set });
            };
            let location = location.to_str().map_err(|_| Failure::BadUrl)?;
            let next = target.redirect(location).map_err(|_| Failure::BadUrl)?;
            if target.secure && !next.secure {
                return Err(Failure::Redirects);
            }
            if !matches!(status.as_u16(), 307 | 308) {
                post = false;
                params = &[];
            }
            target = next;
            self.drain(request, exchange).await;
        }
        Err(Failure::Redirects)
    }

    /// One request on one connection. A pooled connection that fails before the answer's first byte
    /// may just have been closed by the server: then the request goes out again on a new one, under
    /// the same idempotency token.
    async fn ask(
        &self,
        request: &HttpRequest,
        target: &Target,
        outgoing: &Outgoing<'_>,
    ) -> Result<Exchange, Failure> {
        let key = Key::new(request.account.0, target);
        // What is told keeps no place from what is asked.
        let kind = if request.kind == HttpKind::Callback { "callbacks" } else { "documents" };
        let to = format!("{kind} {}:{}", target.host, target.port);
        let gate = self.gates.of((request.family.0, to));
        let permit = gate.acquire_owned().await.map_err(|_| Failure::Timeout)?;
        if let Some(mut sender) = self.pool.take(&key)
            && sender.ready().await.is_ok()
        {
            let outgoing = compose(request, target, outgoing)?;
            let answered = timeout(millis(request.read_ms), sender.send_request(outgoing)).await;
            if let Ok(response) = answered.map_err(|_| Failure::Timeout)? {
                return Ok(Exchange { key, sender, response, permit });
            }
        }
        let open = Box::pin(self.open(request.family, target));
        let connect = timeout(millis(request.connect_ms), open).await;
        let mut sender = connect.unwrap_or(Err(Failure::ConnectTimeout))?;
        let outgoing = compose(request, target, outgoing)?;
        let answered = timeout(millis(request.read_ms), sender.send_request(outgoing)).await;
        let response = answered.map_err(|_| Failure::Timeout)?.map_err(Failure::Protocol)?;
        Ok(Exchange { key, sender, response, permit })
    }

    async fn open(&self, family: AccountSid, target: &Target) -> Result<Sender, Failure> {
        let stream = self.connector.connect(family, target).await?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(2 * BODY_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Protocol)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an application ended");
            }
        });
        Ok(sender)
    }

    /// Reads what nobody wants to know, so that the connection can be used again: if it is short
    /// and comes at once. Else the connection closes.
    async fn drain(&self, request: &HttpRequest, exchange: Exchange) {
        let wait = DRAIN_MAX.min(millis(request.total_ms) / 4);
        let mut incoming = exchange.response.into_body();
        let mut left = BODY_BYTES_MAX;
        let drained = timeout(wait, async {
            while let Some(frame) = incoming.frame().await {
                let bytes = frame.ok()?.into_data().map_or(0, |data| data.len());
                left = left.checked_sub(bytes)?;
            }
            Some(())
        });
        if let Ok(Some(())) = drained.await {
            self.pool.put(exchange.key, exchange.sender);
        }
    }

    /// Reads the body to its end; only then the connection is used again.
    async fn body(&self, request: &HttpRequest, exchange: Exchange) -> Result<Vec<u8>, Failure> {
        let most = request.body_max.min(BODY_BYTES_MAX);
        let wait = millis(request.read_ms);
        let mut incoming = exchange.response.into_body();
        let mut body = Vec::new();
        while let Some(frame) =
            timeout(wait, incoming.frame()).await.map_err(|_| Failure::Timeout)?
        {
            let Ok(data) = frame.map_err(Failure::Protocol)?.into_data() else { continue };
            if body.len() + data.len() > most {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&data);
        }
        self.pool.put(exchange.key, exchange.sender);
        drop(exchange.permit);
        Ok(body)
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms.max(1)))
}

/// An absolute http or https URL with a host, of at most
/// [`model::address::webhook::URL_BYTES_MAX`] bytes.
#[must_use]
pub fn is_webhook_url(url: &str) -> bool {
    // A parser of URLs takes them out, and what is asked would not be what was configured.
    !url.contains(|c: char| c.is_control()) && Target::parse(url).is_ok()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn compose(
    request: &HttpRequest,
    target: &Target,
    outgoing: &Outgoing<'_>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let Outgoing { post, params, jar } = *outgoing;
    let signature = signature(&request.auth_token.0, &target.signed(), params);
    let body = if post { target::form(params) } else { String::new() };
    let mut outgoing = Request::builder()
        .method(if post { http::Method::POST } else { http::Method::GET })
        .uri(target.path.as_str())
        .header(header::HOST, target.authority.as_str())
        .header(header::USER_AGENT, concat!("Tandem/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header("X-Twilio-Signature", signature)
        .header("I-Twilio-Idempotency-Token", request.idempotency_token.as_str());
    if post {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8");
        outgoing = outgoing.header(header::CONTENT_TYPE, form);
    }
    if let Some(credentials) = &target.authorization {
        outgoing = outgoing.header(header::AUTHORIZATION, credentials.as_str());
    }
    let host = target.host.to_string().to_ascii_lowercase();
    if let Some(cookies) = jar.header(cookies::origin(target, &host), request.at) {
        outgoing = outgoing.header(header::COOKIE, cookies);
    }
    outgoing.body(Full::new(body.into())).map_err(|_| Failure::BadUrl)
}

impl Failure {
    /// As the director knows it.
    #[must_use]
    pub fn kind(&self) -> HttpError {
        match self {
            Self::BadUrl => HttpError::BadUrl,
            Self::Forbidden(..) => HttpError::Forbidden,
            Self::Resolve(_) => HttpError::Resolve,
            Self::Connect(_) | Self::ConnectTimeout => HttpError::Connect,
            Self::Tls(_) => HttpError::Tls,
            Self::Protocol(_) | Self::Redirects => HttpError::Protocol,
            Self::Timeout => HttpError::Timeout,
            Self::TooLarge => HttpError::TooLarge,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl => f.write_str("invalid URL"),
            Self::Forbidden(at, reason) => write!(f, "refused to connect to {at}: {reason}"),
            Self::Resolve(error) => write!(f, "host name not resolved: {error}"),
            Self::Connect(error) => write!(f, "connection failed: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Protocol(error) => write!(f, "HTTP failed: {error}"),
            Self::ConnectTimeout => f.write_str("no connection in time"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::TooLarge => write!(f, "answer longer than {BODY_BYTES_MAX} bytes"),
            Self::Redirects => f.write_str("too many redirects, or one from https to http"),
        }
    }
}

impl core::error::Error for Failure {}

impl fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookClient").finish_non_exhaustive()
    }
}
