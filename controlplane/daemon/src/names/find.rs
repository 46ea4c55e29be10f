//! RFC 3263: from the host of a SIP URI to addresses in order of trial, each with its transport.

use std::net::{IpAddr, SocketAddr};

use base::{Target, Transport};

use super::Reach;

/// Addresses that a look-up gives at most, SRV records whose hosts are asked for, and NAPTR records
/// that are followed.
pub(super) const ADDRESSES_MAX: usize = 16;
pub(super) const RECORDS_MAX: usize = 8;
const WAYS_MAX: usize = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    /// None where the URI names none: the host's records say which, of those that are reached.
    pub(super) transport: Option<Transport>,
    pub(super) reach: Reach,
}

/// Who knows names.
pub(super) trait Ask {
    /// The NAPTR records of a host.
    async fn ways(&self, host: &str) -> Vec<Way>;
    /// The SRV records of a service.
    async fn servers(&self, service: &str) -> Vec<Server>;
    async fn addresses(&self, host: &str) -> Vec<IpAddr>;
    /// Less than `below`, each as likely as the next.
    fn draw(&self, below: u64) -> u64;
}

/// A NAPTR record (RFC 3403) that leads to SRV records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) transport: Transport,
    pub(super) service: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// Empty where the service is decidedly not offered.
    pub(super) host: String,
}

/// Where a request for it may be sent; empty where nothing is known of it.
pub(super) async fn find(wanted: Wanted<'_>, ask: impl Ask) -> Vec<Target> {
    let mut search = Search { ask, targets: Vec::new(), asked: 0 };
    let host = wanted.host.trim_start_matches('[').trim_end_matches(']');
    let said = match (wanted.port, wanted.transport) {
        // RFC 3263 section 4.2: a port asks for no records of services.
        (Some(_), _) => false,
        (None, Some(transport)) => search.service(&service(transport, host), transport).await,
        (None, None) => search.any_service(host, wanted.reach).await,
    };
    if !said {
        let transport = wanted.transport.unwrap_or(Transport::Udp);
        let port = wanted.port.unwrap_or_else(|| transport.port());
        search.host(host, port, transport).await;
    }
    search.targets.truncate(ADDRESSES_MAX);
    search.targets
}

fn service(transport: Transport, host: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        // RFC 7118 section 5.4.
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._wss",
    };
    format!("{service}.{host}")
}

struct Search<A> {
    ask: A,
    targets: Vec<Target>,
    /// Hosts of records that were asked for.
    asked: usize,
}

impl<A: Ask> Search<A> {
    /// By the transport that the host prefers of those that are reached (RFC 3263 section 4.1);
    /// false where it says of none that it takes it.
    async fn any_service(&mut self, host: &str, reach: Reach) -> bool {
        let mut ways = self.ask.ways(host).await;
        ways.retain(|way| reach.has(way.transport));
        ways.sort();
        let mut said = false;
        for way in ways.iter().take(WAYS_MAX) {
            said |= self.service(&way.service, way.transport).await;
        }
        if said {
            return true;
        }
        // Without NAPTR records the SRV records of each transport, ours first.
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        for transport in all.into_iter().filter(|it| reach.has(*it)) {
            said |= self.service(&service(transport, host), transport).await;
            if !self.targets.is_empty() {
                break;
            }
        }
        said
    }

    /// The servers of a service; false where there are no records of it.
    async fn service(&mut self, service: &str, transport: Transport) -> bool {
        let servers = self.ask.servers(service).await;
        let said = !servers.is_empty();
        let ordered = in_order(servers, |below| self.ask.draw(below));
        for server in ordered.iter().filter(|server| !server.host.is_empty()) {
            if self.asked >= RECORDS_MAX || self.targets.len() >= ADDRESSES_MAX {
                break;
            }
            self.asked += 1;
            self.host(&server.host, server.port, transport).await;
        }
        said
    }

    async fn host(&mut self, host: &str, port: u16, transport: Transport) {
        for address in self.ask.addresses(host).await {
            let target = Target::by(transport, SocketAddr::new(address, port));
            if !self.targets.contains(&target) {
                self.targets.push(target);
            }
        }
    }
}

/// By priority; of those with the same one each is next as likely as its weight says (RFC 2782).
fn in_order(mut servers: Vec<Server>, mut draw: impl FnMut(u64) -> u64) -> Vec<Server> {
    // Of thousands the least; what is drawn for costs each time a look at all of them.
    servers.sort_by_key(|server| (server.priority, u16::MAX - server.weight));
    servers.truncate(4 * RECORDS_MAX);
    // A weight of 0 first: it has its small chance when the running sum begins there.
    servers.sort_by_key(|server| (server.priority, server.weight > 0));
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some(first) = servers.first() {
        let priority = first.priority;
        let equals = servers.iter().take_while(|server| server.priority == priority);
        let sum: u64 = equals.map(|server| u64::from(server.weight)).sum();
        let mut left = draw(sum + 1);
        let at = servers.iter().position(|server| {
            let is_it = left <= u64::from(server.weight);
            left = left.saturating_sub(u64::from(server.weight));
            is_it
        });
        ordered.push(servers.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Names that a test knows. Nothing in it waits.
    #[derive(Default)]
    struct Book {
        ways: Vec<Way>,
        servers: HashMap<String, Vec<Server>>,
        addresses: HashMap<String, Vec<IpAddr>>,
        asked: RefCell<Vec<String>>,
        seed: Cell<u64>,
    }

    impl Ask for &Book {
        async fn ways(&self, host: &str) -> Vec<Way> {
            self.asked.borrow_mut().push(format!("NAPTR {host}"));
            self.ways.clone()
        }

        async fn servers(&self, service: &str) -> Vec<Server> {
            self.asked.borrow_mut().push(format!("SRV {service}"));
            self.servers.get(service).cloned().unwrap_or_default()
        }

        async fn addresses(&self, host: &str) -> Vec<IpAddr> {
            self.asked.borrow_mut().push(format!("A {host}"));
            self.addresses.get(host).cloned().unwrap_or_default()
        }

        fn draw(&self, below: u64) -> u64 {
            self.seed.set(self.seed.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            (self.seed.get() >> 33) % below
        }
    }

    const EVERYTHING: Reach = Reach { tcp: true, tls: true };

    fn server(priority: u16, weight: u16, host: &str) -> Server {
        Server { priority, weight, port: 5_070, host: host.to_owned() }
    }

    fn way(order: u16, preference: u16, transport: Transport) -> Way {
        Way { order, preference, transport, service: service(transport, "n") }
    }

    impl Book {
        fn of(servers: &[(&str, &[Server])]) -> Self {
            let mut book = Self::default();
            for (name, servers) in servers {
                book.servers.insert((*name).to_owned(), servers.to_vec());
            }
            for (host, last) in [("a", 1), ("b", 2), ("n", 3)] {
                book.addresses.insert(host.to_owned(), vec![[192, 0, 2, last].into()]);
            }
            book
        }

        fn find(&self, port: Option<u16>, transport: Option<Transport>, reach: Reach) -> String {
            let wanted = Wanted { host: "n", port, transport, reach };
            let mut search = pin!(find(wanted, self));
            let Poll::Ready(found) = search.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("it waits")
            };
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            found.join(" ")
        }
    }

    /// RFC 3263 section 4: a named port or transport is kept, without either the host says it.
    #[test]
    fn a_host_says_how_it_is_reached() {
        let (udp, tcp) = ([server(1, 0, "a")], [server(1, 0, "b")]);
        let both = Book::of(&[("_sip._udp.n", &udp), ("_sip._tcp.n", &tcp)]);
        assert_eq!(both.find(Some(5_080), None, EVERYTHING), "192.0.2.3:5080");
        let tls = Some(Transport::Tls);
        assert_eq!(both.find(Some(5_080), tls, EVERYTHING), "192.0.2.3:5080;transport=tls");
        let named = Some(Transport::Tcp);
        assert_eq!(both.find(None, named, EVERYTHING), "192.0.2.2:5070;transport=tcp");
        assert_eq!(both.find(None, None, EVERYTHING), "192.0.2.1:5070");
        // No records of services at all: the host itself, at the port of the transport.
        let bare = Book::of(&[]);
        assert_eq!(bare.find(None, None, EVERYTHING), "192.0.2.3:5060");
        assert_eq!(bare.find(None, tls, EVERYTHING), "192.0.2.3:5061;transport=tls");
        // It takes calls by TCP alone, and says so in SRV records alone.
        let alone = Book::of(&[("_sip._tcp.n", &tcp)]);
        assert_eq!(alone.find(None, None, EVERYTHING), "192.0.2.2:5070;transport=tcp");
        // Whoever has no listener of TCP cannot go there.
        let udp_only = Reach { tcp: false, tls: false };
        assert_eq!(alone.find(None, None, udp_only), "192.0.2.3:5060");
    }

    /// Order before preference, and only what is reached; the ways after the first are failover.
    #[test]
    fn naptr_records_choose_the_transport() {
        let (udp, tcp, tls) = ([server(1, 0, "a")], [server(1, 0, "b")], [server(1, 0, "n")]);
        let all = [("_sip._udp.n", &udp[..]), ("_sip._tcp.n", &tcp), ("_sips._tcp.n", &tls)];
        let mut book = Book::of(&all);
        book.ways = vec![
            way(50, 90, Transport::Udp),
            way(50, 10, Transport::Tcp),
            way(20, 100, Transport::Tls),
        ];
        let (tls, tcp) = ("192.0.2.3:5070;transport=tls", "192.0.2.2:5070;transport=tcp");
        assert_eq!(book.find(None, None, EVERYTHING), format!("{tls} {tcp} 192.0.2.1:5070"));
        let plain = Reach { tcp: true, tls: false };
        assert_eq!(book.find(None, None, plain), format!("{tcp} 192.0.2.1:5070"));
        // A named transport asks for no NAPTR record.
        book.asked.borrow_mut().clear();
        book.find(None, Some(Transport::Udp), EVERYTHING);
        assert_eq!(*book.asked.borrow(), ["SRV _sip._udp.n", "A a"]);
    }

    /// RFC 2782: a single record with the root as its target says that there is no such service.
    #[test]
    fn a_service_that_is_not_offered_is_not_looked_for_elsewhere() {
        let book = Book::of(&[("_sip._udp.n", &[server(0, 0, "")])]);
        assert_eq!(book.find(None, Some(Transport::Udp), EVERYTHING), "");
        assert_eq!(book.find(None, None, EVERYTHING), "");
        let (none, tcp) = ([server(0, 0, "")], [server(1, 0, "b")]);
        let book = Book::of(&[("_sip._udp.n", &none), ("_sip._tcp.n", &tcp)]);
        assert_eq!(book.find(None, None, EVERYTHING), "192.0.2.2:5070;transport=tcp");
    }

    /// A name with thousands of records costs eight look-ups, and none after there are enough.
    #[test]
    fn few_records_of_a_name_are_asked_for() {
        for (each, asked_for) in [(0, RECORDS_MAX), (1, RECORDS_MAX), (10, 2), (16, 1)] {
            let name = |at: u16| format!("h{at}");
            let servers: Vec<_> = (0..2_000).map(|at| server(2_000 - at, 1, &name(at))).collect();
            let mut book = Book::of(&[("_sip._udp.n", &servers), ("_sip._tcp.n", &servers)]);
            for at in 0..2_000_u16 {
                let [high, low] = at.to_be_bytes();
                let address = |last| IpAddr::from([10, high, low, last]);
                book.addresses.insert(name(at), (0..each).map(address).collect());
            }
            // All ways together.
            book.ways = vec![way(1, 1, Transport::Udp), way(1, 2, Transport::Tcp)];
            let found = book.find(None, None, EVERYTHING);
            let asked = book.asked.borrow().iter().filter(|it| it.starts_with('A')).count();
            assert_eq!(asked, asked_for);
            let count = found.split_whitespace().count();
            assert_eq!(count, (asked_for * usize::from(each)).min(ADDRESSES_MAX));
            // By priority.
            assert!(each == 0 || found.starts_with("10.7.207.0:"), "{found}");
        }
    }

    /// RFC 2782: the share of each is its weight's, one without weight is next to never first, and
    /// a lower priority never before a higher one.
    #[test]
    fn weights_are_shares() {
        let servers = [
            server(1, 60, "a"),
            server(1, 30, "b"),
            server(1, 10, "c"),
            server(1, 0, "d"),
            server(0, 0, "e"),
        ];
        let book = Book::default();
        let mut first: HashMap<String, u32> = HashMap::new();
        for _ in 0..10_000 {
            let ordered = in_order(servers.to_vec(), |below| (&book).draw(below));
            assert_eq!((ordered.len(), ordered[0].host.as_str()), (5, "e"));
            *first.entry(ordered[1].host.clone()).or_default() += 1;
        }
        for (host, about) in [("a", 6_000), ("b", 3_000), ("c", 1_000), ("d", 100)] {
            let times = first.get(host).copied().unwrap_or(0);
            assert!(times.abs_diff(about) < 300 && times > 0, "{host}: {times}");
        }
    }
}
