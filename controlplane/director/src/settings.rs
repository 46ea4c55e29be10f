//! What the director is told of its deployment, and the bounds it keeps.

use std::net::IpAddr;

use model::party;
use serde::{Deserialize, Serialize};
use wire::table::Network;

/// The deployment, as the director sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's number in usage keys.
    pub node: u32,
    /// Shards of the dataplane, at least 1.
    pub shards: u8,
    /// `host` or `host:port` put into the From of legs whose caller is a number or a name.
    pub sip_host: String,
    /// Names and addresses under which this switch itself is called, in lower case, without port:
    /// calls to them go by number, and no tenant may hold one as a domain. The host of `sip_host`
    /// is one of them.
    pub own_hosts: Vec<String>,
    /// Networks that tenants' SIP targets may be in although they are loopback, link-local or
    /// private to the host.
    pub target_allow: Vec<Network>,
    /// A verb or noun that is not there yet ends its document; else it is skipped.
    pub fail_on_unsupported: bool,
    pub webhook_connect_ms: u32,
    /// At most 15,000.
    pub webhook_total_ms: u32,
    pub limits: Limits,
}

/// Bounds of everything that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Live calls (legs) of the node.
    pub calls: usize,
    /// Legs of one account at one time, where the account names no number.
    pub account_calls: u32,
    /// New calls per second of one account, where the account names no number; the burst is as much
    /// again.
    pub account_calls_per_second: u32,
    /// Callbacks waiting on the node; beyond, new ones become dead letters at once.
    pub callbacks: usize,
    /// Callbacks waiting of one account; beyond, its new ones become dead letters at once.
    pub account_callbacks: usize,
    /// Callback requests under way to one host for one account.
    pub callbacks_per_host: u32,
    /// Attempts per callback before it becomes a dead letter.
    pub callback_attempts: u32,
    /// Documents one call may fetch, so that applications that redirect in a circle end.
    pub documents_per_call: u32,
    /// Targets of one `Dial`.
    pub dial_targets: usize,
    /// Targets that one call may have dialled in all, reached or not.
    pub legs_per_call: u32,
    /// Verbs that one call may have begun in all.
    pub verbs_per_call: u32,
    /// How long a call that came in may last from its answer, milliseconds.
    pub inbound_ms: u32,
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Alerts per second and account; the rest are dropped, counted.
    pub alerts_per_second: u32,
}

impl Settings {
    /// Calls to this host go by number: it is an address, or a name of ours.
    #[must_use]
    pub fn is_own_host(&self, host: &str) -> bool {
        let own = party::host_and_port(&self.sip_host).map(|(host, _)| host).unwrap_or_default();
        host.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case(&own)
            || self.own_hosts.iter().any(|own| host.eq_ignore_ascii_case(own))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: 1,
            shards: 1,
            sip_host: "127.0.0.1:5060".to_owned(),
            own_hosts: Vec::new(),
            target_allow: Vec::new(),
            fail_on_unsupported: false,
            webhook_connect_ms: 3_000,
            webhook_total_ms: 15_000,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 100_000,
            account_calls: 10_000,
            account_calls_per_second: 500,
            callbacks: 200_000,
            account_callbacks: 50_000,
            callbacks_per_host: 64,
            callback_attempts: 14,
            documents_per_call: 1_000,
            dial_targets: 10,
            legs_per_call: 1_000,
            verbs_per_call: 10_000,
            inbound_ms: 14_400_000,
            document_bytes: 64 * 1024,
            alerts_per_second: 10,
        }
    }
}
