//! The HTTP server: connections within bounds, one dispatch from path to resource.
//!
//! ```text
//!   connection -> head within 10 s -> body within 10 s and 64 KiB
//!              -> credentials -> account of the path -> resource
//! ```
//!
//! Every refusal is a [`Problem`]; nothing that a client sends is a server error.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::Network;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::auth;
use crate::backend::{Backend, Health};
use crate::context::{Context, Outcome, Reply, Shared};
use crate::form::{self, FORM_BYTES_MAX, Form};
use crate::problem::Problem;
use crate::resource;

/// Connections at one time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Time for a request's head, and again for its body.
const READ_MAX: Duration = Duration::from_secs(10);
/// Time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What the server is told besides its backend.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may read `/metrics` besides this machine itself.
    pub metrics: Vec<Network>,
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
    let app = router(backend, options);
    let gate = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&gate).acquire_owned().await else { return };
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
        let (app, mut stop) = (app.clone(), stop.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let answer = app.clone().oneshot(request);
                async move { answer.await.map(|response: Response| response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_MAX)
                .max_buf_size(FORM_BYTES_MAX + 16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(permit);
        });
    }
    // Every permit back means that every connection has ended.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(ANSWER_MAX, gate.acquire_many(all)).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The routes, for servers of the caller's own. Needs [`ConnectInfo<SocketAddr>`] for `/metrics`.
pub fn router(backend: Arc<dyn Backend>, options: Options) -> Router {
    let served = Arc::new(Served { shared: Shared::new(backend), options });
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
    match outcome.unwrap_or_else(|_| Err(Problem::unavailable())) {
        Ok(Reply::Shown(body)) => (StatusCode::OK, axum::Json(body)).into_response(),
        Ok(Reply::Created(body)) => (StatusCode::CREATED, axum::Json(body)).into_response(),
        Ok(Reply::Deleted) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn handle(shared: &Shared, request: Request) -> Outcome {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Some(rest) = path.strip_prefix("/2010-04-01/") else {
        return Err(Problem::not_found(&form::printable(path)));
    };
    let login = auth::authenticate(&*shared.backend, &head.headers).await?;
    let method = if head.method == Method::HEAD { Method::GET } else { head.method };
    auth::check_status(&login, method != Method::GET)?;
    let parameters = match method {
        Method::GET => Form::parse(head.uri.query().unwrap_or_default().as_bytes())?,
        Method::POST => Form::parse(&whole_body(body).await?)?,
        Method::DELETE => Form::default(),
        _ => return Err(Problem::method_not_allowed()),
    };
    let rest = rest.strip_suffix(".json").unwrap_or(rest);
    let segments: Vec<&str> = rest.split('/').collect();
    let shown = form::printable(path);
    let (account, segments) = match segments.as_slice() {
        ["Accounts"] => (login.account.clone(), None),
        ["Accounts", sid, rest @ ..] => {
            let account = auth::authorize(&*shared.backend, &login, sid, &shown).await?;
            (account, Some(rest))
        }
        _ => return Err(Problem::not_found(&shown)),
    };
    let context =
        Context { shared, login: &login, account, method, path: &shown, form: parameters };
    resource::dispatch(&context, segments).await
}

async fn whole_body(body: Body) -> Result<Vec<u8>, Problem> {
    let limited = axum::body::to_bytes(body, FORM_BYTES_MAX);
    match timeout(READ_MAX, limited).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => Err(form::too_large()),
        Err(_) => Err(Problem::new(408, 20_408, "Request body not received in time")),
    }
}
