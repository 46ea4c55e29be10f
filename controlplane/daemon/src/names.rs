//! Names of SIP hosts to addresses. Whoever calls a name chose it, and with it how long its name
//! servers are silent: a look-up has a deadline, few records, and a thread that it shares with
//! nobody but look-ups. A family of accounts has so many at one time, and what the operator's
//! routes name has threads of its own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use api::webhook::Gates;
use base::Transport;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::rdata::SRV;
use model::port::{Resolve, Resolved};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::inbox::{Inbox, Input};

/// Addresses that a look-up gives at most, and SRV records whose hosts are asked for.
const ADDRESSES_MAX: usize = 16;
const RECORDS_MAX: usize = 8;
/// The longest that a look-up takes; the director waits no longer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Threads that ask for addresses: for tenants, for one family of them, for the operator's routes.
const TENANTS_THREADS: usize = 256;
const FAMILY_THREADS: usize = 8;
const ROUTES_THREADS: usize = 32;

/// See the module. Its look-ups end with it.
#[derive(Debug)]
pub struct Names {
    tenants: Option<Runtime>,
    routes: Option<Runtime>,
    gates: Arc<Gates<u128>>,
    route_gate: Arc<Semaphore>,
    resolver: Option<TokioResolver>,
}

impl Names {
    /// # Errors
    /// What the system says (no thread left).
    pub fn new() -> io::Result<Self> {
        let resolver = match TokioResolver::builder_tokio() {
            Ok(builder) => Some(builder.build()),
            Err(error) => {
                tracing::warn!(%error, "no name servers configured: SRV records are not looked up");
                None
            }
        };
        let runtime = |name: &str, threads: usize| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(threads)
                .thread_name(name)
                .enable_all()
                .build()
        };
        Ok(Self {
            tenants: Some(runtime("names", TENANTS_THREADS)?),
            routes: Some(runtime("route-names", ROUTES_THREADS)?),
            gates: Arc::new(Gates::new(FAMILY_THREADS)),
            route_gate: Arc::new(Semaphore::new(ROUTES_THREADS)),
            resolver,
        })
    }

    /// Looks it up, and tells the inbox. Nothing here blocks.
    pub fn resolve(&self, resolve: Resolve, inbox: Arc<Inbox>) {
        let Resolve { id, family, host, port, transport } = resolve;
        let (runtime, gate) = match family {
            Some(family) => (&self.tenants, self.gates.of(family.0)),
            None => (&self.routes, Arc::clone(&self.route_gate)),
        };
        let resolver = self.resolver.clone();
        let Some(runtime) = runtime else { return };
        runtime.spawn(async move {
            let ask = |host: String, port: u16| addresses(Arc::clone(&gate), host, port);
            let found =
                timeout(TIME_MAX, look_up(resolver.as_ref(), (&host, port, transport), ask)).await;
            let targets = found.unwrap_or_default();
            inbox.tell(Input::Resolved(Resolved { id, targets }));
        });
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Whoever waits for a silent name server is not waited for.
        for runtime in [self.tenants.take(), self.routes.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// Without a port the SRV records of `_sip._udp` (`_sip._tcp`, `_sips._tcp`) come first (RFC 3263
/// section 4.2), by priority and falling weight; then the host itself.
async fn look_up<F: Future<Output = Vec<SocketAddr>>>(
    resolver: Option<&TokioResolver>,
    (host, port, transport): (&str, Option<u16>, Transport),
    ask: impl Fn(String, u16) -> F,
) -> Vec<SocketAddr> {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        // RFC 7118 section 5.4.
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._wss",
    };
    let mut targets = Vec::new();
    if let (Some(resolver), None) = (resolver, port)
        && let Ok(found) = resolver.srv_lookup(format!("{service}.{host}.")).await
    {
        targets = of_records(found.iter().cloned().collect(), &ask).await;
    }
    if targets.is_empty() {
        targets = ask(host.to_owned(), port.unwrap_or_else(|| transport.port())).await;
    }
    targets.truncate(ADDRESSES_MAX);
    targets
}

/// The first of them, until there are addresses enough.
async fn of_records<F: Future<Output = Vec<SocketAddr>>>(
    mut records: Vec<SRV>,
    ask: &impl Fn(String, u16) -> F,
) -> Vec<SocketAddr> {
    records.sort_by_key(|srv| (srv.priority(), u16::MAX - srv.weight()));
    let mut targets = Vec::new();
    for srv in records.into_iter().take(RECORDS_MAX) {
        if targets.len() >= ADDRESSES_MAX {
            break;
        }
        targets.extend(ask(srv.target().to_utf8(), srv.port()).await);
    }
    targets
}

/// By the host's own resolver, so that /etc/hosts counts. Has its place until the resolver has
/// ended, whoever still waits for it.
async fn addresses(gate: Arc<Semaphore>, host: String, port: u16) -> Vec<SocketAddr> {
    let Ok(permit) = gate.acquire_owned().await else { return Vec::new() };
    let asked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let host = host.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']');
        let found = (host, port).to_socket_addrs();
        found.map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_else(|error| {
            tracing::debug!(host, %error, "no address");
            Vec::new()
        })
    });
    asked.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use hickory_resolver::proto::rr::Name;
    use model::AccountSid;

    use super::*;

    fn records(count: u16) -> Vec<SRV> {
        let name = |at: u16| Name::from_ascii(format!("h{at}.evil.test.")).unwrap();
        (0..count).map(|at| SRV::new(count - at, 1, 5_060 + at, name(at))).collect()
    }

    /// A name with thousands of records costs eight look-ups, and none after there are enough.
    #[tokio::test]
    async fn few_records_of_a_name_are_asked_for() {
        for (each, asked_for) in [(0, RECORDS_MAX), (1, RECORDS_MAX), (10, 2), (16, 1)] {
            let asked = Cell::new(0);
            let ask = |_: String, port: u16| {
                asked.set(asked.get() + 1);
                let address: SocketAddr = ([192, 0, 2, 1], port).into();
                async move { vec![address; each] }
            };
            let found = of_records(records(2_000), &ask).await;
            assert_eq!((asked.get(), found.len()), (asked_for, each * asked_for));
            // By priority.
            assert!(found.first().is_none_or(|first| first.port() == 5_060 + 1_999));
        }
    }

    /// A family that has all its places taken waits; others, and the operator's routes, do not.
    #[test]
    fn a_familys_silent_names_keep_nobody_else_waiting() {
        let names = Names::new().unwrap();
        let inbox = Arc::new(Inbox::new().unwrap());
        let held = names.gates.of(1).try_acquire_many_owned(u32::try_from(FAMILY_THREADS).unwrap());
        let held = held.unwrap();
        let families = [Some(AccountSid(1)), Some(AccountSid(2)), None];
        for (id, family) in (0..).zip(families) {
            let host = "127.0.0.1".to_owned();
            let resolve =
                Resolve { id, family, host, port: Some(5_060), transport: Transport::Udp };
            names.resolve(resolve, Arc::clone(&inbox));
        }
        let told = |count: usize| {
            let mut told = Vec::new();
            while told.len() < count {
                told.extend(inbox.take(base::Mono(0)));
                std::thread::yield_now();
            }
            let id = |it: Input| match it {
                Input::Resolved(resolved) => (resolved.id, resolved.targets.len()),
                other => panic!("{other:?}"),
            };
            let mut told: Vec<_> = told.into_iter().map(id).collect();
            told.sort_unstable();
            told
        };
        assert_eq!(told(2), [(1, 1), (2, 1)]);
        drop(held);
        assert_eq!(told(1), [(0, 1)]);
    }
}
