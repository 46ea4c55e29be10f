//! The API over a controlplane in memory, for client libraries to be tried against: prints where it
//! listens and whom it knows as JSON on one line, and serves until its standard input ends.

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::io::Read as _;
use std::sync::Arc;

use api::{Options, serve};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let line = serde_json::json!({
        "api_base": format!("http://{}", listener.local_addr()?),
        "account_sid": fake::MAIN.to_string(),
        "auth_token": fake::token(fake::MAIN),
        "foreign_account_sid": fake::STRANGER.to_string(),
        "foreign_auth_token": fake::token(fake::STRANGER),
    });
    println!("{line}");
    let (stop, stopped) = watch::channel(false);
    let server = serve(listener, Arc::new(fake::Fake::new()), Options::default(), stopped);
    let server = tokio::spawn(server);
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await.map_err(std::io::Error::other)??;
    let _ = stop.send(true);
    server.await.map_err(std::io::Error::other)
}
