//! What the director is told of its deployment, and the bounds it keeps.

use std::net::IpAddr;

pub use config::CallLimits as Limits;
use model::{RouteSid, SipLogin, party};
use wire::policy::Failover;
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
    /// Networks of carriers: what they send to a number of somebody's goes there, whatever domain
    /// it names, and the callers they bring may be shown to numbers.
    pub carriers: Vec<Network>,
    /// Bits that a source network of a tenant has at least, IPv4 and IPv6, where the account was
    /// granted no others.
    pub source_bits: [u8; 2],
    /// Networks that tenants' SIP targets may be in although they are loopback, link-local or
    /// private to the host.
    pub target_allow: Vec<Network>,
    /// A verb or noun that is not there yet ends its document; else it is skipped.
    pub fail_on_unsupported: bool,
    pub webhook_connect_ms: u32,
    /// At most 15,000.
    pub webhook_total_ms: u32,
    pub limits: Limits,
    /// Trunks whose credentials the targets of these routes are shown.
    pub route_trunks: Vec<(RouteSid, String)>,
    /// After which refusals these routes' next targets are asked, where it is not as by default.
    pub route_failovers: Vec<(RouteSid, Failover)>,
    /// Numbers of the SIP listeners whose far ends are reached by TLS.
    pub secure_listeners: Vec<u8>,
    /// By whom phones that have registered at each listener send their requests, as a Service-Route
    /// has it (RFC 3608); empty for nobody.
    pub service_routes: Vec<String>,
}

impl Settings {
    /// Calls to this host go by number: it is an address, or a name of ours.
    #[must_use]
    pub fn is_own_host(&self, host: &str) -> bool {
        host.parse::<IpAddr>().is_ok() || self.is_here(host, None)
    }

    /// By whom phones that have registered at a listener send their requests.
    pub(crate) fn service_route(&self, listener: u8) -> &str {
        self.service_routes.get(usize::from(listener)).map_or("", String::as_str)
    }

    /// What the targets of an outbound route know us by.
    pub(crate) fn login_of(&self, route: RouteSid) -> Option<SipLogin> {
        let known = self.route_trunks.iter().find(|(sid, _)| *sid == route);
        known.map(|(_, trunk)| SipLogin::Trunk(trunk.clone()))
    }

    /// After which refusals the next target of an outbound route is asked, and whose share of what
    /// is known of targets it uses.
    pub(crate) fn failover_of(&self, route: Option<RouteSid>) -> (Failover, u64) {
        let Some(route) = route else { return (Failover::default(), 0) };
        let known = self.route_failovers.iter().find(|(sid, _)| *sid == route);
        let group = wire::policy::group_of(0, &route.to_string());
        (known.map_or_else(Failover::default, |(_, failover)| *failover), group)
    }

    /// An address or a name of ours, where no other port is named.
    pub(crate) fn is_here(&self, host: &str, port: Option<u16>) -> bool {
        let (own, at) = party::host_and_port(&self.sip_host).unwrap_or_default();
        let named = host.eq_ignore_ascii_case(&own)
            || self.own_hosts.iter().any(|own| host.eq_ignore_ascii_case(own));
        named && (port.is_none() || port == at)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: 1,
            shards: 1,
            sip_host: "127.0.0.1:5060".to_owned(),
            own_hosts: Vec::new(),
            carriers: Vec::new(),
            source_bits: [24, 48],
            target_allow: Vec::new(),
            fail_on_unsupported: false,
            webhook_connect_ms: 3_000,
            webhook_total_ms: 15_000,
            limits: Limits::default(),
            route_trunks: Vec::new(),
            route_failovers: Vec::new(),
            secure_listeners: Vec::new(),
            service_routes: Vec::new(),
        }
    }
}
