//! Logs: to standard error, as text on a terminal and as JSON otherwise.

use std::io::{self, IsTerminal};

use anyhow::Context;
use config::Log;
use tracing_subscriber::EnvFilter;

/// Sets the process's log up, once.
///
/// # Errors
/// If the level is no filter.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("log.level `{}` is no level and no filter", log.level))?;
    let is_json = match log.format.as_str() {
        "json" => true,
        "text" => false,
        _ => !io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Whoever set a subscriber before us (a test) keeps it.
    let _ = if is_json { builder.json().try_init() } else { builder.try_init() };
    Ok(())
}
