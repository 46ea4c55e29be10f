//! A trunk that is a proxy: TLS between the switch and it, which both prove, datagrams behind it,
//! and two Record-Routes of its own, for it stands between two transports.
//!
//! ```text
//!   out: SIPp --UDP--> switch --TLS--> kamailio --UDP--> SIPp
//!   in:  SIPp --UDP--> kamailio --TLS--> switch --UDP--> SIPp
//! ```

use std::net::SocketAddr;

use tests::bed::{Bed, Ports, Setup, require};

use super::{Certificates, Kamailio};
use crate::authority::Authority;
use crate::sipp::{Body::Sdp, Flow, Line, Plan, Sipp, legs};

/// The switch, the proxy and where they and the callee are.
struct Trunk {
    proxy: SocketAddr,
    callee: SocketAddr,
    line: Line,
    _kamailio: Kamailio,
    /// Its files are looked at as long as the switch runs.
    _authority: Authority,
    bed: Bed,
}

impl Trunk {
    fn start() -> Self {
        let authority = Authority::new();
        let mut ports = Ports::take();
        let (proxy, callee) = (ports.address(), ports.address());
        let secure = SocketAddr::new(proxy.ip(), proxy.port() + 1);
        let route = |name: &str, prefix: &str, target: &str| {
            format!(
                "\n[[trunk]]\nname = \"{name}\"\nprefix = \"{prefix}\"\n\
                 sources = [\"127.0.0.0/8\"]\ntargets = [\"{target}\"]\nring_s = 10\n"
            )
        };
        let out = route("proxy", "9", &format!("{secure};transport=tls"));
        let more = authority.believed() + &out + &route("phone", "8", &callee.to_string());
        let mut bed = Setup { more, shards: 3, ..Setup::default() }.start_on(ports);
        let own = authority.sign("127.0.0.1");
        let believed = bed.data().join("tls/development.pem");
        let certificates = Certificates { own: &own, believed: &believed };
        let way = format!(
            "if ($rU =~ \"^8\") {{ $ru = \"sip:\" + $rU + \"@{tls}\"; \
             $du = \"sip:{tls};transport=tls\"; }} else {{ $du = \"sip:{callee}\"; }}",
            tls = bed.tls()
        );
        let kamailio = Kamailio::start(&bed, proxy, Some(&certificates), &way);
        let line = Line::new(&mut bed);
        Self { bed, proxy, callee, line, _kamailio: kamailio, _authority: authority }
    }

    fn outward(&mut self, caller: &Flow, callee: &Flow) -> [Sipp; 2] {
        let callee = Plan::of(callee).answer(&self.bed, self.callee, self.line.callee.address);
        let caller = Plan::of(caller);
        [caller.call(&mut self.bed, "9555", self.line.caller.address), callee]
    }

    fn inward(&mut self, caller: &Flow, callee: &Flow) -> [Sipp; 2] {
        let callee = Plan::of(callee).answer(&self.bed, self.callee, self.line.callee.address);
        let media = self.line.caller.address;
        let caller = Plan::of(caller).call_through(&mut self.bed, self.proxy, "8555", media);
        [caller, callee]
    }

    /// Both are heard, and both scenarios come to their ends.
    #[track_caller]
    fn completed(&self, [caller, callee]: [Sipp; 2]) -> [Sipp; 2] {
        self.line.talk(&caller, &callee, 25);
        let ends = [caller, callee].map(Sipp::played);
        for leg in legs(&self.bed) {
            assert_eq!(leg["status"], "completed", "{leg}");
        }
        ends
    }
}

/// Holds, is answered, takes back.
fn holds(flow: Flow) -> Flow {
    let again = |flow: Flow, version, direction: &str, answer: &str| {
        let flow = flow.request("INVITE", "", Sdp(version, direction, "[local_ip]"));
        flow.may(&[100]).takes_with(200, &[("body", answer)]).acknowledges()
    };
    let flow = again(flow.pause(1_500), 2, "sendonly", "a=recvonly");
    again(flow.pause(500), 3, "sendrecv", "a=sendrecv").pause(500)
}

/// Is held and taken back.
fn is_held(flow: Flow) -> Flow {
    let again = |flow: Flow, version, asked: &str, answer: &str| {
        let flow = flow.hears_with("INVITE", &[("body", asked)]);
        flow.answers("200 OK", "", Sdp(version, answer, "[local_ip]")).hears("ACK")
    };
    let flow = again(flow, 2, "a=sendonly", "recvonly");
    again(flow, 3, "a=sendrecv", "sendrecv")
}

fn proxied() -> Flow {
    Flow::callee().answers_call()
}

fn there() -> bool {
    require("kamailio") && require("sipp")
}

/// Lines of this header in the received request of this method.
fn headers(of: &Sipp, method: &str, name: &str) -> usize {
    let request = of.received().into_iter().find(|it| it.contains(&format!("\n{method} sip:")));
    request.expect("it came").lines().filter(|line| line.starts_with(name)).count()
}

#[test]
fn a_call_to_a_proxy_by_tls_is_held_and_hung_up_by_the_caller() {
    if !there() {
        return;
    }
    let mut trunk = Trunk::start();
    let ends =
        trunk.outward(&holds(Flow::caller().calls()).hangs_up(), &is_held(proxied()).hears_bye());
    let [_, callee] = trunk.completed(ends);
    assert_eq!(headers(&callee, "INVITE", "Record-Route:"), 2, "of both its sides");
    for method in ["ACK", "BYE"] {
        assert_eq!(headers(&callee, method, "Via:"), 2, "{method} comes through the proxy");
    }
}

#[test]
fn a_callee_behind_a_proxy_holds_and_hangs_up() {
    if !there() {
        return;
    }
    let mut trunk = Trunk::start();
    let callee = holds(proxied()).hangs_up();
    let ends = trunk.outward(&is_held(Flow::caller().calls()).hears_bye(), &callee);
    let _ = trunk.completed(ends);
}

#[test]
fn a_caller_behind_a_proxy_by_tls_holds_and_hangs_up() {
    if !there() {
        return;
    }
    let mut trunk = Trunk::start();
    let callee = is_held(Flow::callee().answers_call()).hears_bye();
    let ends = trunk.inward(&holds(Flow::caller().calls()).hangs_up(), &callee);
    let _ = trunk.completed(ends);
}

#[test]
fn a_callee_hangs_up_on_a_caller_behind_a_proxy() {
    if !there() {
        return;
    }
    let mut trunk = Trunk::start();
    let callee = holds(Flow::callee().answers_call()).hangs_up();
    let ends = trunk.inward(&is_held(Flow::caller().calls()).hears_bye(), &callee);
    let _ = trunk.completed(ends);
}
