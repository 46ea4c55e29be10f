//! The HTTP server: connections within bounds, one dispatch from path to resource.
//!
//! ```text
//!   connection -> first byte within 2 s -> head within 10 s -> body within 10 s and 64 KiB
//!              -> rate of the source -> credentials -> rate of the account
//!              -> bytes of the answer -> account of the path -> resource
//! ```
//!
//! Every refusal is a [`Problem`]; nothing that a client sends is a server error.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Method, StatusCode, header};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Account, Network, Secret};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::auth;
use crate::backend::{Backend, Health, Login};
use crate::connections::{Bytes, Connection, Connections, Guarded};
use crate::context::{Context, Reply, Shared};
use crate::door::Source;
use crate::form::{self, FORM_BYTES_MAX, Form};
use crate::letters;
use crate::limits::Limits;
use crate::operator::{self, Desk};
use crate::page::SIZE_MAX;
use crate::problem::Problem;
use crate::resource;

/// Time for a request's head, and again for its body.
const READ_MAX: Duration = Duration::from_secs(10);
/// What a row of a page takes, about.
const ROW_BYTES: usize = 2 * 1024;
/// Time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What the server is told besides its backend.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may read `/metrics` besides this machine itself.
    pub metrics: Vec<Network>,
    pub limits: Limits,
    /// What opens `/v1/Operator` for the user `operator`; empty: nothing does.
    pub operator: Secret,
    /// Where clients reach the API, for the addresses in answers; empty: where they say they do.
    pub public_url: String,
}

/// Which of the API's parts a path is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tenant,
    Accounts,
    Tokens,
    Trunks,
    Operator,
}

impl Part {
    /// With what follows.
    fn of(path: &str) -> Option<(Self, &str)> {
        if path == "/v1/Trunks" {
            return Some((Self::Trunks, ""));
        }
        let parts = [
            ("/v1/Trunks/", Self::Trunks),
            ("/2010-04-01/", Self::Tenant),
            ("/v1/Accounts/", Self::Accounts),
            ("/v1/AuthTokens/", Self::Tokens),
            ("/v1/Operator/", Self::Operator),
        ];
        parts.into_iter().find_map(|(prefix, part)| Some((part, path.strip_prefix(prefix)?)))
    }
}

/// The connection that a request came by.
#[derive(Clone, Debug)]
struct Asker {
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

/// The answer's bytes, on their way to its connection.
#[derive(Clone, Debug)]
struct Held(Arc<Mutex<Option<Bytes>>>);

impl Held {
    fn take(self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What every request meets.
#[derive(Debug)]
struct Served {
    shared: Shared,
    options: Options,
}

/// Answers requests from `listener` until `stop` turns true or its sender goes; then lets the
/// requests under way end. Runs inside a tokio runtime.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    options: Options,
    mut stop: watch::Receiver<bool>,
) {
    let limits = options.limits;
    let app = router(backend, options);
    let connections = Arc::new(Connections::new(limits));
    // Every sender gone means that every connection has ended.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: others end, then it goes on.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        // Without a place it is closed at once: everybody else is asking something.
        let Some(connection) = connections.enter(Source::of(peer.ip())) else { continue };
        let (app, mut stop, alive) = (app.clone(), stop.clone(), alive.clone());
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let stream = Guarded::new(stream, Arc::clone(&connection), limits);
            let asker = Asker { connection: Arc::clone(&connection), connections };
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_MAX)
                .max_buf_size(FORM_BYTES_MAX + 16 * 1024)
                .serve_connection(TokioIo::new(stream), service(app, asker.clone(), peer));
            tokio::pin!(served);
            tokio::select! {
                _ = &mut served => {}
                () = connection.shed.notified() => {}
                () = stopped(&mut stop) => {
                    served.as_mut().graceful_shutdown();
                    let _ = served.await;
                }
            }
            asker.connections.leave(&connection);
            drop(alive);
        });
    }
    drop(alive);
    let _ = timeout(ANSWER_MAX, ended.recv()).await;
}

/// One connection's requests, given to the routes with where they come from.
fn service(
    app: Router,
    asker: Asker,
    peer: SocketAddr,
) -> impl Service<
    hyper::Request<hyper::body::Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send,
> {
    service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asker.connection.asked();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(asker.clone());
        let (answer, asker) = (app.clone().oneshot(request), asker.clone());
        async move {
            let mut response = answer.await?;
            let bytes = response.extensions_mut().remove::<Held>();
            asker.connection.answered(bytes.and_then(Held::take));
            Ok(response)
        }
    })
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The routes, for servers of the caller's own. Needs [`ConnectInfo<SocketAddr>`] for `/metrics`.
pub fn router(backend: Arc<dyn Backend>, options: Options) -> Router {
    let shared =
        Shared::new(backend, options.limits, options.operator.clone(), &options.public_url);
    let served = Arc::new(Served { shared, options });
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(answer)
        .with_state(served)
}

/// For load balancers: 200 while calls are taken, else 503. The operator is also told why.
async fn healthz(State(served): State<Arc<Served>>, request: Request) -> Response {
    let Health { serving, text } = served.shared.backend.health();
    let status = if serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let brief = if serving { "ok\n" } else { "not serving\n" };
    let text = if is_operator(&served.options, &request) { text } else { brief.to_owned() };
    (status, text).into_response()
}

/// The operator's figures: for this machine and the networks named in the options, not for whoever
/// a proxy on this machine speaks for.
async fn metrics(State(served): State<Arc<Served>>, request: Request) -> Response {
    if !is_operator(&served.options, &request) {
        return Problem::not_found("/metrics").into_response();
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], served.shared.backend.metrics().await).into_response()
}

fn is_operator(options: &Options, request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip"];
    let forwarded = forwarded.iter().any(|name| request.headers().contains_key(*name));
    peer.is_some_and(|peer| may_read_metrics(options, peer)) && !forwarded
}

fn may_read_metrics(options: &Options, peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
        || options.metrics.iter().any(|network| network.contains(peer))
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let outcome = timeout(ANSWER_MAX, handle(&served.shared, request)).await;
    let (status, body) = match outcome.unwrap_or_else(|_| Err(Problem::unavailable())) {
        Ok((Reply::Shown(body), bytes)) => (StatusCode::OK, Some((body, bytes))),
        Ok((Reply::Created(body), bytes)) => (StatusCode::CREATED, Some((body, bytes))),
        Ok((Reply::Deleted, _)) => (StatusCode::NO_CONTENT, None),
        Err(problem) => return problem.into_response(),
    };
    let Some((body, mut bytes)) = body else { return status.into_response() };
    let text = {
        let _turn = served.shared.writing(rows_of(&body)).await;
        body.to_string()
    };
    let fits = bytes.as_mut().is_none_or(|bytes| bytes.resize(text.len()));
    if !fits {
        return Problem::too_many().into_response();
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, kind, text).into_response();
    response.extensions_mut().insert(Held(Arc::new(Mutex::new(bytes))));
    response
}

/// Rows of an answer that is a page.
fn rows_of(body: &Value) -> usize {
    let lists = body.as_object().into_iter().flat_map(|body| body.values());
    lists.filter_map(|value| Some(value.as_array()?.len())).max().unwrap_or(0)
}

/// Rows that are asked for, of a page, or one: those that are read, and those that the answer is as
/// long as.
fn rows_for(form: &Form, segments: &[&str]) -> (usize, usize) {
    let rows = form.filled("PageSize").and_then(|size| size.parse::<usize>().ok());
    let rows = rows.unwrap_or(1).min(SIZE_MAX);
    match segments {
        [.., "DeadLetters"] => (rows * letters::LETTER_ROWS, rows * letters::LETTER_ROWS),
        [.., "DeadLetters", "Replay"] => (letters::REPLAY_MAX, letters::NAMED_MAX),
        _ => (rows, rows),
    }
}

async fn handle(shared: &Shared, request: Request) -> Result<(Reply, Option<Bytes>), Problem> {
    let (head, body) = request.into_parts();
    let asker = head.extensions.get::<Asker>();
    // Where the routes are served by somebody else, all of it is one source.
    let nowhere = || Source::of(Ipv4Addr::UNSPECIFIED.into());
    let source = asker.map_or_else(nowhere, |asker| asker.connection.source());
    shared.ask(source)?;
    let path = head.uri.path();
    let Some((part, rest)) = Part::of(path) else {
        return Err(Problem::not_found(&form::printable(path)));
    };
    let login = if part == Part::Operator {
        auth::operator(shared, source, &head.headers).await?;
        None
    } else {
        Some(auth::authenticate(shared, source, &head.headers).await?)
    };
    let method = if head.method == Method::HEAD { Method::GET } else { head.method };
    if let Some(login) = &login {
        auth::check_status(&*shared.backend, login, method != Method::GET).await?;
    }
    let _under_way = login.as_ref().map(|login| shared.begin(&login.account)).transpose()?;
    let parameters = match method {
        Method::GET => Form::parse(head.uri.query().unwrap_or_default().as_bytes())?,
        Method::POST => {
            let body = whole_body(body).await?;
            check_kind(&head.headers, &body)?;
            Form::parse(&body)?
        }
        Method::DELETE => Form::default(),
        _ => return Err(Problem::method_not_allowed()),
    };
    let rest = rest.strip_suffix(".json").unwrap_or(rest);
    let segments: Vec<&str> = rest.split('/').collect();
    let (rows, shown_rows) = rows_for(&parameters, &segments);
    let _reading = match &login {
        Some(login) => shared.reading(&login.account, rows).await,
        None => None,
    };
    // Before anything is read: a client that takes nothing costs its share and no more.
    let room = |asker: &Asker| {
        let room = asker.connections.reserve(source, (shown_rows + 1) * ROW_BYTES);
        room.ok_or_else(Problem::too_many)
    };
    let bytes = asker.map(room).transpose()?;
    let shown = form::printable(path);
    let Some(login) = login else {
        let desk = Desk { shared, method, path: &shown, form: parameters };
        return Ok((operator::dispatch(&desk, &segments).await?, bytes));
    };
    let origin = origin(shared, &head.headers);
    let (account, below) = whose(shared, &login, part, (&segments, &shown)).await?;
    let context =
        Context { shared, login: &login, account, method, path: &shown, form: parameters, origin };
    let reply = match below {
        Some(below) if part == Part::Tokens => resource::token::dispatch(&context, below).await,
        Some(below) if part == Part::Accounts => {
            resource::subscription::dispatch(&context, below).await
        }
        Some(below) if part == Part::Trunks => resource::trunk::dispatch(&context, below).await,
        below => resource::dispatch(&context, below).await,
    };
    Ok((reply?, bytes))
}

/// Where the client reaches us: as configured, else where it says it does. Whoever says something
/// else misleads nobody but itself.
fn origin(shared: &Shared, headers: &HeaderMap) -> String {
    if !shared.public_url.is_empty() {
        return shared.public_url.clone();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_host = model::party::host_and_port(host).is_some();
    if is_host { format!("http://{host}") } else { String::new() }
}

/// The account that the path names, and what follows it; None: the list of accounts.
async fn whose<'s>(
    shared: &Shared,
    login: &Login,
    part: Part,
    (segments, shown): (&'s [&'s str], &str),
) -> Result<(Account, Option<&'s [&'s str]>), Problem> {
    let (sid, below) = match segments {
        [""] if part == Part::Trunks => return Ok((login.account.clone(), Some(&[]))),
        _ if matches!(part, Part::Tokens | Part::Trunks) => {
            return Ok((login.account.clone(), Some(segments)));
        }
        [sid, below @ ..] if part == Part::Accounts => (sid, below),
        ["Accounts"] => return Ok((login.account.clone(), None)),
        ["Accounts", sid, below @ ..] => (sid, below),
        _ => return Err(Problem::not_found(shown)),
    };
    let account = auth::authorize(&*shared.backend, login, sid, shown).await?;
    Ok((account, Some(below)))
}

/// Parameters come as a form. Anything else would be read as none, and the thing be done without
/// them.
fn check_kind(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let form = b"application/x-www-form-urlencoded";
    let is_form = kind.get(..form.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(form));
    if is_form || kind.is_empty() || body.is_empty() {
        return Ok(());
    }
    let message = "Parameters are read from application/x-www-form-urlencoded only";
    Err(Problem::new(415, 20_415, message.to_owned()))
}

async fn whole_body(body: Body) -> Result<Vec<u8>, Problem> {
    let limited = axum::body::to_bytes(body, FORM_BYTES_MAX);
    match timeout(READ_MAX, limited).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => Err(form::too_large()),
        Err(_) => Err(Problem::new(408, 20_408, "Request body not received in time")),
    }
}
