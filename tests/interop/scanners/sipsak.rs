//! sipsak (Debian's package).

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Office, Peer, require};

const LIMIT: Duration = Duration::from_secs(60);

/// Whether it ended with success, and what it said.
fn run(bed: &Bed, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("sipsak");
    command.current_dir(bed.folder()).args(arguments);
    let mut peer = Peer::start("sipsak", &mut command, bed.folder());
    let status = peer.wait(LIMIT);
    println!("sipsak {arguments:?}: {status}\n{}", peer.said());
    (status.success(), peer.said())
}

fn uri(user: &str, at: SocketAddr) -> String {
    format!("sip:{user}@{at}")
}

/// OPTIONS with all forwards, and with 0 of them, as its traceroute does.
#[test]
fn sipsak_asks_and_traces() {
    if !require("sipsak") {
        return;
    }
    let bed = Bed::start();
    let (found, said) = run(&bed, &["-vv", "-s", &uri("anybody", bed.sip)]);
    assert!(found && said.contains("SIP/2.0 200 OK"), "{said}");
    let (found, said) = run(&bed, &["-vv", "-T", "-s", &uri("anybody", bed.sip)]);
    assert!(found && said.contains("483 Too Many Hops"), "{said}");
}

/// It reads the first challenge alone and knows MD5 alone: it gives up, and started again it is
/// asked for what it knows, by the shard that has asked it before: here one of two.
#[test]
fn sipsak_registers_when_it_is_started_again() {
    if !require("sipsak") {
        return;
    }
    let mut bed = Bed::start();
    let office = Office::open(&bed, &["alice"]);
    let (switch, here) = (bed.sip.to_string(), uri("alice", bed.ports.address()));
    let address = office.uri("alice");
    let arguments = ["-vv", "-i", "-p", &switch, "-U", "-C", &here, "-x", "120", "-u", "alice"];
    let arguments = [&arguments[..], &["-a", office.password, "-s", &address]].concat();
    let (_, said) = run(&bed, &arguments);
    assert!(said.contains("algorithm=SHA-256"), "{said}");
    assert!((0..8).any(|_| run(&bed, &arguments).0), "it is registered at last");
}

/// Requests with bytes that were changed at random.
#[test]
fn sipsak_damages_requests_at_random() {
    if !require("sipsak") {
        return;
    }
    let bed = Bed::start();
    let pid = bed.pid("dataplane");
    // It stops at the first request that is not answered: every damaged byte may make it that.
    for _ in 0..5 {
        let _ = run(&bed, &["-R", "-s", &uri("anybody", bed.sip)]);
        assert!(crate::torture::is_well_by_udp(bed.sip, 1), "a good request is answered");
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}

/// A file with whatever in it.
#[test]
fn sipsak_shoots_what_is_no_sip() {
    if !require("sipsak") {
        return;
    }
    let bed = Bed::start();
    let pid = bed.pid("dataplane");
    let shots: [&[u8]; 5] = [
        b"\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK\0\r\nContent-Length: 9999999999\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK-1\r\nCSeq: 1 INVITE\r\n\r\n",
        b"REGISTER sip:phones.example.com SIP/2.0\r\nVia: SIP/2.0/UDP \r\nTo: <<>>\r\nFrom: \"\r\nCSeq: \
          99999999999 REGISTER\r\nCall-ID:\r\n\r\n",
    ];
    for (number, shot) in shots.iter().enumerate() {
        let file = bed.folder().join(format!("shot-{number}"));
        std::fs::write(&file, shot).expect("it is written");
        let target = uri("anybody", bed.sip);
        let _ = run(&bed, &["-f", &file.to_string_lossy(), "-L", "-s", &target]);
        assert!(
            crate::torture::is_well_by_udp(bed.sip, 1),
            "a good request is answered after {number}"
        );
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}
