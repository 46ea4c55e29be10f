//! THREATS.md, SSRF: no spelling of a forbidden address, no name, no redirect and no second answer
//! of a name server takes a webhook where the policy does not let it.

mod application;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::webhook::{Failure, WebhookClient};
use application::{Application, Names, request};
use model::address::webhook::{Forbidden, Policy};
use model::port::HttpError;
use rustls::RootCertStore;

/// Hosts as an attacker writes them; each stands for an address that the default policy refuses.
const SPELLINGS: [&str; 92] = [
    // Loopback: dotted, short, decimal, octal, hex, mixed, padded, full-width, escaped.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.00.00.01",
    "127.0.0x1",
    "127.000.000.001",
    "0x7f.0.1",
    "0177.0x0.1",
    "\u{ff11}27.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "\u{2460}27.0.0.1",
    "0x7f.000001",
    // Unspecified, "this network", broadcast.
    "0",
    "0.0.0.0",
    "0x0",
    "00",
    "0.1.2.3",
    "255.255.255.255",
    "4294967295",
    "0xffffffff",
    // Private, shared, link-local, metadata.
    "10.0.0.1",
    "10.1",
    "167772161",
    "012.0.0.1",
    "0xa.1",
    "172.16.0.1",
    "172.31.255.255",
    "0xac.0x10.1",
    "192.168.0.1",
    "192.168.1",
    "3232235521",
    "0300.0250.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    // Multicast, reserved, documentation, benchmarks, relays.
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "192.88.99.1",
    // IPv6: loopback and unspecified, embedding forms, local, multicast, documentation.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:a00:1]",
    "[::FFFF:169.254.169.254]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[2607:f8b0::5efe:127.0.0.1]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[2001:10::1]",
];

/// URLs that are no webhook's or hide their host from a careless reader.
const DISGUISES: [&str; 14] = [
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://user:pa:ss@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http:127.0.0.1/",
    "http:///127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "\thttp://127.0.0.1/",
    "ht\ntp://127.0.0.1/",
    "http://127.0.0.1:00080/",
    "HTTP://127.0.0.1/",
    "https://127.0.0.1/",
];

fn client(policy: Policy, names: Names) -> (WebhookClient, Arc<Names>) {
    let names = Arc::new(names);
    let resolver = Arc::clone(&names);
    (WebhookClient::with(policy, 8, resolver, RootCertStore::empty()), names)
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let (client, names) = client(Policy::default(), Names::default());
    for host in SPELLINGS {
        for url in [format!("http://{host}/"), format!("https://{host}:8443/x?y=z")] {
            let result = client.exchange(&request(&url)).await;
            assert!(matches!(result, Err(Failure::Forbidden(..))), "{url}: {result:?}");
        }
    }
    for url in DISGUISES {
        let result = client.exchange(&request(url)).await;
        assert!(matches!(result, Err(Failure::Forbidden(..))), "{url}: {result:?}");
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), 0, "an address was taken for a name");
}

#[tokio::test]
async fn a_name_for_a_forbidden_address_is_refused() {
    for (found, reason) in [
        (&["127.0.0.1"][..], Forbidden::Loopback),
        (&["::1"], Forbidden::Loopback),
        (&["169.254.169.254"], Forbidden::Metadata),
        (&["::ffff:10.0.0.1"], Forbidden::Embedded),
        (&["8.8.8.8", "127.0.0.1"], Forbidden::Loopback),
        (&["2606:4700::1111", "fd00::1"], Forbidden::Private),
    ] {
        let names = Names { turns: vec![addresses(found)], ..Names::default() };
        let (client, _) = client(Policy::default(), names);
        let result = client.exchange(&request("http://app.test/")).await;
        assert!(matches!(&result, Err(Failure::Forbidden(_, why)) if *why == reason), "{result:?}");
    }
}

/// A name that is harmless when it is checked and not when it is connected to: there is one lookup
/// per connection, and what it gave is both checked and connected to.
#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let app = Application::start().await;
    let allow = [format!("127.0.0.1:{}", app.address.port())];
    let policy = Policy::new(&allow, &[]).expect("a policy");
    let turns = vec![addresses(&["127.0.0.1"]), addresses(&["127.0.0.2"])];
    let (client, names) = client(policy, Names { turns, ..Names::default() });
    let url = format!("http://rebind.test:{}/status/200", app.address.port());
    client.exchange(&request(&url)).await.expect("the allowed address");
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    let mut other = request(&url);
    other.account = model::AccountSid(2);
    other.family = other.account;
    assert_eq!(client.send(&other).await.result, Err(HttpError::Forbidden));
    assert_eq!((names.asked.load(Ordering::SeqCst), app.connections()), (2, 1));
}

#[tokio::test]
async fn a_redirect_goes_nowhere_the_first_request_could_not() {
    let app = Application::start().await;
    let allow = [format!("127.0.0.1:{}", app.address.port())];
    let policy = Policy::new(&allow, &[]).expect("a policy");
    let (client, _) = client(policy, Names::default());
    let port = app.address.port();
    for target in [
        format!("http://127.0.0.2:{port}/"),
        "http://127.0.0.1:81/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::1]/".to_owned(),
        "http://0x7f.1:82/".to_owned(),
        "http://inside.test/".to_owned(),
    ] {
        let result = client.exchange(&request(&app.url(&format!("/to/{target}")))).await;
        assert!(matches!(result, Err(Failure::Forbidden(..))), "{target}: {result:?}");
    }
    for target in ["file:///etc/passwd", "gopher://127.0.0.1/"] {
        let result = client.exchange(&request(&app.url(&format!("/to/{target}")))).await;
        assert!(matches!(result, Err(Failure::BadUrl)), "{target}: {result:?}");
    }
}

#[tokio::test]
async fn the_control_address_is_shut_inside_an_open_network() {
    let app = Application::start().await;
    let policy = Policy::new(&["127.0.0.0/8".to_owned()], &[app.address]).expect("a policy");
    let (client, _) = client(policy, Names::default());
    let result = client.exchange(&request(&app.url("/echo"))).await;
    assert!(matches!(result, Err(Failure::Forbidden(_, Forbidden::Own))), "{result:?}");
    let named = format!("http://own.test:{}/", app.address.port());
    assert_eq!(client.send(&request(&named)).await.result, Err(HttpError::Forbidden));
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn ports_of_other_protocols_are_refused_everywhere() {
    let policy = Policy::new(&["127.0.0.0/8".to_owned()], &[]).expect("a policy");
    let (client, _) = client(policy, Names::default());
    for port in [0, 22, 25, 110, 143, 587, 5060, 5061, 6667] {
        let result = client.exchange(&request(&format!("http://127.0.0.1:{port}/"))).await;
        assert!(
            matches!(result, Err(Failure::Forbidden(_, Forbidden::Port))),
            "{port}: {result:?}"
        );
    }
}
