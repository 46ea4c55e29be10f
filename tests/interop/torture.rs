//! The torture messages of RFC 4475 over datagrams and over connections; the switch takes them all
//! and serves a good request afterwards.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use tests::bed::Bed;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The messages by name, from `TANDEM_VECTORS` or beside the repository; none, said aloud, where
/// they are not.
fn messages() -> Vec<(String, Vec<u8>)> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");
    let root = std::env::var_os("TANDEM_VECTORS").map_or_else(|| beside.into(), PathBuf::from);
    let folder = root.join("rfc4475");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("NOT TESTED: no vectors at {}", folder.display());
        return Vec::new();
    };
    let entries = entries.map(|it| it.expect("an entry"));
    let dat = entries.filter(|it| it.path().extension().is_some_and(|end| end == "dat"));
    let read = |it: std::fs::DirEntry| std::fs::read(it.path()).expect("it is read");
    dat.map(|it| (it.file_name().to_string_lossy().into_owned(), read(it))).collect()
}

fn options(transport: &str, at: SocketAddr, target: SocketAddr, number: usize) -> String {
    format!(
        "OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/{transport} {at};branch=z9hG4bK{number};rport\
         \r\nFrom: <sip:monitor@{at}>;tag=1\r\nTo: <sip:{target}>\r\nCall-ID: good-{number}@{at}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The answer to a good request on a socket of its own.
pub(crate) fn is_well_by_udp(target: SocketAddr, number: usize) -> bool {
    asked_by_udp(target, number, LIMIT)
}

#[expect(clippy::disallowed_methods, reason = "a far end has a socket")]
fn asked_by_udp(target: SocketAddr, number: usize, limit: Duration) -> bool {
    let socket = UdpSocket::bind((target.ip(), 0)).expect("a socket");
    socket.set_read_timeout(Some(limit)).expect("a limit");
    let at = socket.local_addr().expect("an address");
    let _ = socket.send_to(options("UDP", at, target, number).as_bytes(), target).expect("sent");
    let mut answer = [0; 2048];
    socket.recv(&mut answer).is_ok_and(|length| answer[..length].starts_with(b"SIP/2.0 200 "))
}

/// Whether a program is there and answers what it should.
pub(crate) fn is_answered(target: SocketAddr) -> bool {
    asked_by_udp(target, 0, Duration::from_millis(500))
}

/// The same by a new connection.
#[expect(clippy::disallowed_methods, reason = "a far end has a socket")]
fn is_well_by_tcp(target: SocketAddr, number: usize) -> bool {
    let mut stream = TcpStream::connect(target).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let at = stream.local_addr().expect("an address");
    stream.write_all(options("TCP", at, target, number).as_bytes()).expect("sent");
    let mut answer = [0; 2048];
    stream.read(&mut answer).is_ok_and(|length| answer[..length].starts_with(b"SIP/2.0 200 "))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a far end has a socket")]
fn torture_by_datagrams_leaves_the_switch_well() {
    let bed = Bed::start();
    let socket = UdpSocket::bind((bed.sip.ip(), 0)).expect("a socket");
    let pid = bed.pid("dataplane");
    for (number, (name, message)) in messages().iter().enumerate() {
        let _ = socket.send_to(message, bed.sip).expect("sent");
        assert!(is_well_by_udp(bed.sip, number), "no good answer after {name}");
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a far end has a socket")]
fn torture_by_connections_leaves_the_switch_well() {
    let bed = Bed::start();
    let pid = bed.pid("dataplane");
    for (number, (name, message)) in messages().iter().enumerate() {
        let mut stream = TcpStream::connect(bed.sip).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
        // The switch may close before all is written: a broken frame ends its connection.
        let _ = stream.write_all(message);
        let mut answer = [0; 4096];
        match stream.read(&mut answer) {
            Ok(0) => {}
            Ok(length) => assert!(
                answer[..length].starts_with(b"SIP/2.0 ") || answer.starts_with(b"\r\n"),
                "{name}: {}",
                String::from_utf8_lossy(&answer[..length])
            ),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset
                ),
                "{name}: {error}"
            ),
        }
        assert!(is_well_by_tcp(bed.sip, number), "no good answer after {name}");
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}
