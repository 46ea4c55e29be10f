//! What a run shall do.

use std::net::SocketAddr;

/// Who ends the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hangup {
    Caller,
    Callee,
    /// Caller and callee in turn.
    Both,
}

/// A run of the load generator. Durations are nanoseconds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Marks this run's packets and Call-IDs.
    pub run: u32,
    /// Request-URI; `{n}` is the number of the call.
    pub to: String,
    pub from: String,
    /// Where INVITEs go.
    pub target: SocketAddr,
    /// SIP address of the caller; port 0 for any.
    pub bind: SocketAddr,
    /// SIP address of the callee; None to call only.
    pub callee: Option<SocketAddr>,
    /// Place calls; false to answer only.
    pub calls_placed: bool,
    /// Calls per second; 0 for as many as `concurrent` allows.
    pub rate: f64,
    pub ramp: u64,
    /// Calls in all; 0 for no end.
    pub calls: u64,
    pub concurrent: usize,
    pub duration: u64,
    pub media: bool,
    pub hangup: Hangup,
    pub cancel_after: Option<u64>,
    pub answer_timeout: u64,
    /// Further header lines of the INVITE, `Name: value`.
    pub headers: Vec<String>,
    /// The callee rings this long before it answers.
    pub ring: u64,
    /// The callee answers with this code instead of 200.
    pub reject: Option<u16>,
    /// The callee rings for ever.
    pub no_answer: bool,
    /// Of 10,000 SIP datagrams, how many each role loses on purpose, each way.
    pub drop_per_10k: u32,
    /// Print a line each second.
    pub progress: bool,
}
