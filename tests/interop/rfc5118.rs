//! The messages of RFC 5118 (IPv6 torture), over datagrams and over connections of both families:
//! answered as the RFC wants, and the switch serves afterwards.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use tests::bed::{Bed, Ports, Setup};

use crate::torture::is_well_by_udp;

/// A message of a section, and the codes that may answer it.
struct Case {
    section: &'static str,
    text: String,
    codes: &'static [u16],
}

/// Nobody registers here, and nobody is called.
const NOT_HERE: &[u16] = &[403, 404, 405];

fn message(section: &'static str, first: &str, lines: &str, codes: &'static [u16]) -> Case {
    let method = first.split(' ').next().unwrap_or_default();
    let (lines, body) = lines.split_once("\n\n").unwrap_or((lines, ""));
    let body = body.replace('\n', "\r\n");
    let text = format!(
        "{first} SIP/2.0\nFrom: sip:user@example.com;tag=81x2\n\
         Call-ID: SSG9559905523997077-{section}@hlau_4100\nMax-Forwards: 70\nCSeq: 98176 {method}\n\
         {lines}\nContent-Length: {}\n\n",
        body.len()
    );
    Case { section, text: text.replace('\n', "\r\n") + &body, codes }
}

fn register(section: &'static str, uri: &str, via: &str, codes: &'static [u16]) -> Case {
    let lines = format!(
        "To: sip:user@example.com\nVia: SIP/2.0/UDP [2001:db8::9:1]{via};branch=z9hG4bKas3-111\n\
         Contact: \"Caller\" <sip:caller@[2001:db8::1]>"
    );
    message(section, &format!("REGISTER {uri}"), &lines, codes)
}

fn invite(section: &'static str, via: &str, contact: &str, sdp: &str) -> Case {
    let lines = format!(
        "To: sip:user@[2001:db8::10]\nVia: SIP/2.0/UDP {via};branch=z9hG4bKbh19\n\
         Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111\nContact: <sip:ted@{contact}>\n\
         Content-Type: application/sdp\n\nv=0\n{sdp}"
    );
    message(section, "INVITE sip:user@[2001:db8::10]", &lines, NOT_HERE)
}

fn options(section: &'static str, host: &str) -> Case {
    let lines = format!(
        "To: sip:user@{host}\nVia: SIP/2.0/UDP lab1.east.example.com;branch=z9hG4bKas3-111"
    );
    message(section, &format!("OPTIONS sip:user@{host}"), &lines, &[200])
}

fn cases() -> Vec<Case> {
    let both = "To: sip:user@example.net;tag=9817--94\n\
        Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\n\
        Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200";
    let one = "o=assistant 971731711378798081 0 IN IP6 2001:db8::20\ns=Live video feed\n\
        c=IN IP6 2001:db8::20\nt=3338481189 3370017201\nm=audio 6000 RTP/AVP 2\n\
        a=rtpmap:2 G726-32/8000\nm=video 6024 RTP/AVP 107\na=rtpmap:107 H263-1998/90000\n";
    let two = "o=bob 280744730 28977631 IN IP4 host.example.com\ns=-\nt=0 0\n\
        m=audio 22334 RTP/AVP 0\nc=IN IP4 192.0.2.1\nm=video 6024 RTP/AVP 107\n\
        c=IN IP6 2001:db8::1\na=rtpmap:107 H263-1998/90000\n";
    let mapped = "o=assistant 971731711378798081 0 IN IP6 ::ffff:192.0.2.2\ns=Live video feed\n\
        c=IN IP6 ::ffff:192.0.2.2\nt=3338481189 3370017201\nm=audio 6000 RTP/AVP 2\n\
        a=rtpmap:2 G726-32/8000\n";
    vec![
        register("4.1", "sip:[2001:db8::10]", "", NOT_HERE),
        register("4.2", "sip:2001:db8::10", "", &[400]),
        register("4.3", "sip:[2001:db8::10:5070]", "", NOT_HERE),
        register("4.4", "sip:[2001:db8::10]:5070", "", NOT_HERE),
        register("4.5a", "sip:[2001:db8::10]", ";received=[2001:db8::9:255]", NOT_HERE),
        register("4.5b", "sip:[2001:db8::10]", ";received=2001:db8::9:255", NOT_HERE),
        invite("4.6", "[2001:db8::20]", "[2001:db8::20]", one),
        message("4.7", "BYE sip:user@host.example.net", both, &[481]),
        invite("4.8", "[2001:db8::9:1]", "[2001:db8::1]", two),
        invite("4.9", "[::ffff:192.0.2.10]:19823", "[::ffff:192.0.2.2]", mapped),
        options("4.10a", "[2001:db8:::192.0.2.1]"),
        options("4.10b", "[2001:db8::192.0.2.1]"),
    ]
}

/// A switch that listens on both families, and its addresses.
fn bed() -> (Bed, [SocketAddr; 2]) {
    let mut ports = Ports::take();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, ports.one()));
    let [first, last] = ports.media();
    let more = format!(
        "\n[[dataplane.media]]\nname = \"media6\"\nbind = \"::1\"\nports = [{first}, {last}]\n\n\
         [[dataplane.listener]]\nname = \"udp6\"\nbind = \"{six}\"\n\n\
         [[dataplane.listener]]\nname = \"tcp6\"\nbind = \"{six}\"\ntransport = \"tcp\"\n"
    );
    let bed = Setup { more, ..Setup::default() }.start_on(ports);
    let four = bed.sip;
    (bed, [four, six])
}

/// Responses to a Via without `rport` go to its port: not here, where only the switch's health is
/// seen.
#[test]
fn ipv6_torture_by_datagrams_leaves_the_switch_well() {
    let (bed, targets) = bed();
    let pid = bed.pid("dataplane");
    for target in targets {
        let socket = UdpSocket::bind((target.ip(), 0)).expect("a socket");
        for case in cases() {
            let _ = socket.send_to(case.text.as_bytes(), target).expect("sent");
            assert!(is_well_by_udp(target, 1), "no good answer after {} at {target}", case.section);
        }
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}

/// By connections the responses come back, whatever the Via names (RFC 3261, section 18.2.2).
#[test]
fn ipv6_torture_by_connections_is_answered() {
    let (bed, targets) = bed();
    let pid = bed.pid("dataplane");
    for target in targets {
        for case in cases() {
            let mut stream = TcpStream::connect(target).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            let text = case.text.replace("Via: SIP/2.0/UDP", "Via: SIP/2.0/TCP");
            stream.write_all(text.as_bytes()).expect("sent");
            let mut answer = [0; 4_096];
            let length = stream.read(&mut answer).expect("an answer");
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            // A call that is waited for says 100 first.
            let code: u16 = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
            assert!(case.codes.contains(&code), "{}: {answer}", case.section);
            let call = format!("Call-ID: SSG9559905523997077-{}@", case.section);
            assert!(answer.contains(&call), "{answer}");
        }
    }
    assert_eq!(bed.pid("dataplane"), pid, "the same process serves still");
}
