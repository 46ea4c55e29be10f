use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_resolver::config::{NameServerConfigGroup, ResolverConfig};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use model::AccountSid;

use super::*;

const PLAIN: Reach = Reach { tcp: true, tls: false };

/// A name server on a port of its own, which ends with the test process.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicU32>,
}

impl Server {
    /// Knows what `know` says; nothing is said for a name that begins with `silent`.
    #[expect(clippy::disallowed_methods, reason = "a name server of the test's own")]
    fn start(know: impl Fn(&str, RecordType) -> Vec<RData> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                let question = Message::from_vec(&bytes[..len]).unwrap();
                let query = question.queries()[0].clone();
                let name = query.name().to_ascii();
                count.fetch_add(1, Ordering::Relaxed);
                if name.starts_with("silent") {
                    continue;
                }
                let mut answer = Message::new();
                answer.set_id(question.id()).set_message_type(MessageType::Response);
                answer.set_recursion_available(true).add_query(query.clone());
                let records = know(&name, query.query_type());
                if records.is_empty() {
                    answer.set_response_code(ResponseCode::NXDomain);
                    let root = || Name::from_ascii("test.").unwrap();
                    let soa = RData::SOA(SOA::new(root(), root(), 1, 60, 60, 60, 30));
                    answer.add_name_server(Record::from_rdata(root(), 30, soa));
                }
                let record = |data| Record::from_rdata(query.name().clone(), 60, data);
                answer.add_answers(records.into_iter().map(record));
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        });
        Self { address, asked }
    }

    fn names(&self, reach: Reach) -> Names {
        let IpAddr::V4(host) = self.address.ip() else { panic!() };
        let port = self.address.port();
        let servers = NameServerConfigGroup::from_ips_clear(&[IpAddr::V4(host)], port, false);
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Names::with(reach, || source::Origin::Fixed(config.clone())).unwrap()
    }
}

/// What is found, as it is told.
fn told(inbox: &Inbox, count: usize) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    while told.len() < count {
        told.extend(inbox.take(Mono(0)));
        std::thread::yield_now();
    }
    let text = |it: Input| match it {
        Input::Resolved(resolved) => {
            let targets: Vec<_> = resolved.targets.iter().map(ToString::to_string).collect();
            (resolved.id, targets.join(" "))
        }
        other => panic!("{other:?}"),
    };
    let mut told: Vec<_> = told.into_iter().map(text).collect();
    told.sort_unstable();
    told
}

fn ask(id: u64, family: Option<u128>, host: &str) -> Resolve {
    let (family, host) = (family.map(AccountSid), host.to_owned());
    Resolve { id, family, host, port: None, transport: None }
}

/// NAPTR, SRV and A of a carrier, by real questions; what was answered is not asked for again, nor
/// that there is no such name.
#[test]
fn answers_are_kept() {
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let server = Server::start(move |host, kind| match (host, kind) {
        ("carrier.test.", RecordType::NAPTR) => {
            let naptr = |service: &[u8], to| {
                let (flags, regexp) = ((*b"s").into(), Box::default());
                RData::NAPTR(NAPTR::new(10, 10, flags, service.into(), regexp, name(to)))
            };
            vec![naptr(b"SIP+D2T", "tcp.carrier.test."), naptr(b"SIPS+D2T", "tls.carrier.test.")]
        }
        ("tcp.carrier.test.", RecordType::SRV) => {
            vec![RData::SRV(SRV::new(10, 0, 5_070, name("sbc.carrier.test.")))]
        }
        ("sbc.carrier.test.", RecordType::A) => vec![RData::A(A::new(192, 0, 2, 7))],
        _ => Vec::new(),
    });
    let names = server.names(PLAIN);
    let inbox = Arc::new(Inbox::new().unwrap());
    let look_up = |id, host| {
        names.resolve(ask(id, None, host), Arc::clone(&inbox));
        told(&inbox, 1).remove(0).1
    };
    assert_eq!(look_up(1, "carrier.test"), "192.0.2.7:5070;transport=tcp");
    assert_eq!(look_up(2, "nobody.test"), "");
    let asked = server.asked.load(Ordering::Relaxed);
    for id in 3..20 {
        assert_eq!(look_up(id, "carrier.test"), "192.0.2.7:5070;transport=tcp");
        assert_eq!(look_up(id, "nobody.test"), "");
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), asked);
}

/// A family that has all its places taken waits; others, and the operator's routes, do not.
#[test]
fn a_familys_silent_names_keep_nobody_else_waiting() {
    let names = Server::start(|_, kind| match kind {
        RecordType::A => vec![RData::A(A::new(192, 0, 2, 1))],
        _ => Vec::new(),
    });
    let names = names.names(PLAIN);
    let inbox = Arc::new(Inbox::new().unwrap());
    let held = names.families.of(1).try_acquire_many_owned(u32::try_from(FAMILY_MAX).unwrap());
    let held = held.unwrap();
    for (id, family) in (0..).zip([Some(1), Some(2), None]) {
        names.resolve(ask(id, family, "host.test"), Arc::clone(&inbox));
    }
    let found = "192.0.2.1:5060".to_owned();
    assert_eq!(told(&inbox, 2), [(1, found.clone()), (2, found.clone())]);
    drop(held);
    assert_eq!(told(&inbox, 1), [(0, found)]);
}

/// A look-up that nobody answered is not begun again for a while, by the family that began it.
#[test]
fn a_silent_name_is_left_alone() {
    let server = Server::start(|_, _| Vec::new());
    let names = server.names(PLAIN);
    let side = &names.tenants;
    let (host, port, transport) = ("silent.test", Some(5_060), None);
    let wanted = Wanted { host, port, transport, reach: PLAIN };
    let runtime = names.runtime.as_ref().unwrap();
    let given_up = runtime.block_on(async {
        timeout(Duration::from_millis(50), side.look_up(Some(1), wanted)).await.is_err()
    });
    assert!(given_up && side.silent.has(Some(1), Wanted { host: "Silent.test", ..wanted }));
    assert!(!side.silent.has(Some(2), wanted) && !names.routes.silent.has(None, wanted));
    // By another port it may be there.
    assert!(!side.silent.has(Some(1), Wanted { port: None, ..wanted }));
    let asked = server.asked.load(Ordering::Relaxed);
    assert_eq!(runtime.block_on(side.look_up(Some(1), wanted)), []);
    assert_eq!(server.asked.load(Ordering::Relaxed), asked);
    // Thousands of them are not remembered for ever, and cost no other family what it knows.
    side.silent.mark(Some(2), wanted);
    for at in 0..3_000 {
        side.silent.mark(Some(1), Wanted { host: &at.to_string(), ..wanted });
    }
    assert_eq!(side.silent.0.lock().unwrap()[&Some(1)].len(), SILENT_MAX);
    assert!(side.silent.has(Some(2), wanted));
    for family in 0..3_000 {
        side.silent.mark(Some(family), wanted);
    }
    assert!(side.silent.0.lock().unwrap().len() <= SILENT_FAMILIES_MAX);
}

#[test]
fn a_listener_for_this_host_alone_reaches_nobody_else() {
    let one = Config::default().dataplane.listener.remove(0);
    let listener = |bind: &str, transport| config::Listener {
        bind: bind.parse().unwrap(),
        transport,
        ..one.clone()
    };
    let reach = |listeners: Vec<config::Listener>| {
        let mut config = Config::default();
        config.dataplane.listener = listeners;
        Reach::of(&config)
    };
    let (udp, own) = ("192.0.2.1:5060", "127.0.0.1:5061");
    let mixed = vec![listener(udp, Transport::Udp), listener(own, Transport::Tls)];
    assert_eq!(reach(mixed), Reach { tcp: false, tls: false });
    let only = vec![listener(own, Transport::Tcp), listener(own, Transport::Tls)];
    assert_eq!(reach(only), Reach { tcp: true, tls: true });
}
