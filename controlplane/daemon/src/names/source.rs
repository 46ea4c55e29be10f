//! The host's own configuration of names: /etc/resolv.conf and /etc/hosts, read again when they
//! change. What the servers answer is kept as long as they say, within bounds.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base::{Mono, Transport};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::rr::rdata::NAPTR;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::clock;

use super::find::{ADDRESSES_MAX, Ask, Server, Way};

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How often the files are looked at, at most.
const LOOK_EACH: Duration = Duration::from_secs(5);
/// An answer is kept no longer, whatever it says; nor one that there is none.
const KEPT_MAX: Duration = Duration::from_secs(3_600);
const NONE_KEPT_MAX: Duration = Duration::from_secs(60);
/// How long one server has for an answer before the question is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// From where the servers are known.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// From [`FILES`].
    System,
    #[cfg(test)]
    Fixed(ResolverConfig),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    origin: Origin,
    /// Answers kept.
    kept: usize,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    resolver: TokioResolver,
    /// When the files were changed.
    files: [Option<SystemTime>; 2],
    looked: Mono,
}

impl Source {
    pub(super) fn new(origin: Origin, kept: usize) -> Self {
        let (files, looked) = (changed(), clock::sample().mono);
        let resolver = resolver(&origin, kept);
        Self { origin, kept, current: Mutex::new(Current { resolver, files, looked }) }
    }

    /// As the files are now.
    pub(super) fn resolver(&self) -> TokioResolver {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::sample().mono;
        if now.since(current.looked) >= LOOK_EACH {
            current.looked = now;
            let files = changed();
            if files != current.files {
                tracing::info!("the name servers or hosts of this machine changed");
                current.files = files;
                current.resolver = resolver(&self.origin, self.kept);
            }
        }
        current.resolver.clone()
    }
}

fn changed() -> [Option<SystemTime>; 2] {
    FILES.map(|file| std::fs::metadata(file).and_then(|it| it.modified()).ok())
}

fn resolver(origin: &Origin, kept: usize) -> TokioResolver {
    let (config, mut options) = match origin {
        Origin::System => read_system_conf().unwrap_or_else(|error| {
            tracing::warn!(%error, "no name servers configured: only /etc/hosts names hosts");
            Default::default()
        }),
        #[cfg(test)]
        Origin::Fixed(config) => (config.clone(), Default::default()),
    };
    // A server's word that there is no such name is an answer, as it is to the system's resolver.
    let trusting = |server: &NameServerConfig| NameServerConfig {
        trust_negative_responses: true,
        ..server.clone()
    };
    let servers: Vec<_> = config.name_servers().iter().map(trusting).collect();
    let (domain, search) = (config.domain().cloned(), config.search().to_vec());
    let config = ResolverConfig::from_parts(domain, search, servers);
    options.cache_size = kept;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.positive_max_ttl = Some(KEPT_MAX);
    options.negative_max_ttl = Some(NONE_KEPT_MAX);
    options.timeout = options.timeout.min(PATIENCE);
    let provider = TokioConnectionProvider::default();
    TokioResolver::builder_with_config(config, provider).with_options(options).build()
}

impl Ask for TokioResolver {
    async fn ways(&self, host: &str) -> Vec<Way> {
        let Ok(found) = self.lookup(full(host), RecordType::NAPTR).await else { return Vec::new() };
        let record = |data: &RData| match data {
            RData::NAPTR(record) => way(record),
            _ => None,
        };
        found.iter().filter_map(record).collect()
    }

    async fn servers(&self, service: &str) -> Vec<Server> {
        let Ok(found) = self.srv_lookup(full(service)).await else { return Vec::new() };
        let server = |record: &hickory_resolver::proto::rr::rdata::SRV| Server {
            priority: record.priority(),
            weight: record.weight(),
            port: record.port(),
            host: record.target().to_ascii().trim_end_matches('.').to_owned(),
        };
        found.iter().map(server).collect()
    }

    async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match self.lookup_ip(host).await {
            // IPv4 first, as its servers order them: a shard takes what its listeners reach.
            Ok(found) => {
                let mut found: Vec<_> = found.iter().take(2 * ADDRESSES_MAX).collect();
                found.sort_by_key(IpAddr::is_ipv6);
                found.truncate(ADDRESSES_MAX);
                found
            }
            Err(error) => {
                tracing::debug!(host, %error, "no address");
                Vec::new()
            }
        }
    }

    fn draw(&self, below: u64) -> u64 {
        // Each state has keys of its own.
        RandomState::new().hash_one(below) % below.max(1)
    }
}

/// Nothing is put behind it.
fn full(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// A record that ends at SRV records (RFC 3263 section 4.1), of a transport that we know.
fn way(record: &NAPTR) -> Option<Way> {
    let transport = match record.services().to_ascii_uppercase().as_slice() {
        b"SIP+D2U" => Transport::Udp,
        b"SIP+D2T" => Transport::Tcp,
        b"SIPS+D2T" => Transport::Tls,
        _ => return None,
    };
    (record.flags().eq_ignore_ascii_case(b"s") && record.regexp().is_empty()).then(|| Way {
        order: record.order(),
        preference: record.preference(),
        transport,
        service: record.replacement().to_ascii(),
    })
}
