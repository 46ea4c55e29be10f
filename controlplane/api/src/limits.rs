//! What the API takes at most, as configured (`controlplane.api`).

use std::time::Duration;

/// Rates and numbers: 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second of one address (IPv6: /64), and at once.
    pub source_rate: u32,
    pub source_burst: u32,
    /// Requests a second of one account with its sub-accounts, at once, and under way.
    pub account_rate: u32,
    pub account_burst: u32,
    pub account_requests: u32,
    /// Failed logins of one address at one name, at once, and seconds until there is another one.
    pub login_failures: u32,
    pub login_failure_s: u32,
    /// Connections, of all and of one address; at least 1.
    pub connections: u32,
    pub source_connections: u32,
    /// Until a connection's first byte, and for the whole of an answer to be taken.
    pub first_byte: Duration,
    pub write: Duration,
    /// Bytes of answers that are not taken yet, of all; one address has a quarter.
    pub answer_bytes: u32,
}

impl From<&config::Api> for Limits {
    fn from(api: &config::Api) -> Self {
        Self {
            source_rate: api.source_rate,
            source_burst: api.source_burst,
            account_rate: api.account_rate,
            account_burst: api.account_burst,
            account_requests: api.account_requests,
            login_failures: api.login_failures,
            login_failure_s: api.login_failure_s,
            connections: api.connections,
            source_connections: api.source_connections,
            first_byte: Duration::from_millis(api.first_byte_ms.into()),
            write: Duration::from_millis(api.write_ms.into()),
            answer_bytes: api.answer_bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&config::Api::default())
    }
}
