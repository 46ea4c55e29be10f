//! The honest: a trunk with a static route and the callers of an application, and what they heard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use sip::Message;

use super::{HONEST, Scale, TRUNK, TRUNK_HOST};
use crate::app::{App, Service, dial};
use crate::clock::{S, mono};
use crate::load::{self, Hangup, Plan, Report};
use crate::rest::Rest;
use crate::system::{self, Protocol, free_port};
use crate::up::Endpoints;

const CALLERS: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 3);
const CALLEE: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 2);
/// A call that is not answered by then is not set up.
const ANSWER_MAX: u64 = 8 * S;

/// What there is besides strangers.
pub(super) struct Stage<'a> {
    pub(super) scale: &'a Scale,
    rest: Rest,
    switch: SocketAddr,
    callee: SocketAddr,
    dataplane: u32,
    domain: (String, String),
    number: (String, String),
    /// The list of the account's networks and what stood in it for loopback: path and bits.
    networks: Option<(String, String)>,
    _app: App,
}

/// What became of honest calls, and what that cost the dataplane.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Heard {
    pub(super) trunk_offered: u64,
    pub(super) trunk_set_up: u64,
    pub(super) application_offered: u64,
    pub(super) application_set_up: u64,
    pub(super) rtp_lost_percent: f64,
    /// The trunk's, the worse direction, milliseconds.
    pub(super) rtp_p99_ms: f64,
    /// Set-up of the trunk's calls, milliseconds.
    pub(super) setup_p99_ms: f64,
    /// Packets that were changed or another call's, legs that heard nothing.
    pub(super) wrong: u64,
    /// Legs that honest calls have, by their own account: two each.
    pub(super) legs: u64,
    pub(super) cpu_ns: u64,
    pub(super) elapsed_ns: u64,
}

impl<'a> Stage<'a> {
    /// A domain with an application, a number, and the account's own networks without strangers.
    pub(super) fn new(endpoints: &Endpoints, scale: &'a Scale, switch: SocketAddr) -> Result<Self> {
        let rest = Rest::new(endpoints);
        let callee = SocketAddr::new(CALLEE.into(), free_port(Protocol::Udp, CALLEE.into())?);
        let service =
            Service { document: dial(&format!("sip:callee@{callee}")), ..Service::default() };
        let app = App::start(SocketAddr::new(switch.ip(), 0), service)?;
        let voice = format!("http://{}/voice", app.address);
        let run = load::new_run();
        let name = format!("s{run}.strangers.invalid");
        let made = rest.post(
            "SIP/Domains.json",
            &[
                ("DomainName", &name),
                ("VoiceUrl", &voice),
                ("VoiceMethod", "POST"),
                ("SourceNetwork", HONEST),
            ],
        )?;
        let domain = (name, sid(&made)?);
        let phone = format!("+1559{:07}", run % 10_000_000);
        let made = rest.post(
            "IncomingPhoneNumbers.json",
            &[("PhoneNumber", &phone), ("VoiceUrl", &voice), ("VoiceMethod", "POST")],
        )?;
        let number = (phone, sid(&made)?);
        let networks = narrow(&rest, &endpoints.account_sid)?;
        let dataplane = endpoints.pids.dataplane;
        Ok(Self { scale, rest, switch, callee, dataplane, domain, number, networks, _app: app })
    }

    /// What honest callers may dial.
    pub(super) fn known(&self) -> Vec<String> {
        vec![
            format!("sip:+15550100@{TRUNK_HOST}"),
            format!("sip:desk@{}", self.domain.0),
            format!("sip:{}@{}", self.number.0, self.switch),
        ]
    }

    /// The tag that the switch gives to a call of the trunk's, whose callee is not there yet.
    pub(super) fn old_tag(&self) -> Result<String> {
        let socket = UdpSocket::bind((TRUNK, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let from = socket.local_addr()?;
        let request = |method: &str, to: &str, extra: &str| {
            format!(
                "{method} sip:old@{TRUNK_HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKold\
                 ;rport\r\nMax-Forwards: 70\r\nFrom: <sip:old@{from}>;tag=old\r\n{to}\r\n\
                 Call-ID: old{}\r\nCSeq: 1 {method}\r\nContact: <sip:old@{from}>\r\n{extra}",
                self.domain.0
            )
        };
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {TRUNK}\r\ns=-\r\nc=IN IP4 {TRUNK}\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 0\r\n"
        );
        let extra =
            format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        let to = format!("To: <sip:old@{TRUNK_HOST}>");
        let invite = request("INVITE", &to, &extra);
        let (until, mut buffer) = (mono() + 15 * S, [0; 4_096]);
        while mono() < until {
            socket.send_to(invite.as_bytes(), self.switch)?;
            while let Ok((len, _)) = socket.recv_from(&mut buffer) {
                let Ok(message) = Message::parse(&buffer[..len]) else { continue };
                let tag = message.to_tag().map(|tag| String::from_utf8_lossy(tag).into_owned());
                let is_last = message.status().is_some_and(|code| code >= 200);
                let Some(tag) = tag.filter(|_| is_last) else { continue };
                let ack = request("ACK", &format!("{to};tag={tag}"), "Content-Length: 0\r\n\r\n");
                socket.send_to(ack.as_bytes(), self.switch)?;
                return Ok(tag);
            }
        }
        bail!(
            "the switch gives no final answer to the trunk at {TRUNK}: it wants a static route \
             for {TRUNK_HOST} from {HONEST} (`tandem up --demo` makes one)"
        )
    }

    /// Places the honest calls of a row, and listens.
    pub(super) fn calls(&self) -> Result<Heard> {
        let (cpu, began) = (cpu_of(self.dataplane), mono());
        let trunk = self.plan(
            self.scale.honest,
            format!("sip:+1555{{n}}@{TRUNK_HOST}"),
            (TRUNK, self.scale.trunk_target),
        );
        let callers = self.plan(
            self.scale.honest / 5.0,
            format!("sip:desk@{}", self.domain.0),
            (CALLERS, self.callee),
        );
        let stop = AtomicBool::new(false);
        let (trunk, callers) = std::thread::scope(|scope| {
            let trunk = scope.spawn(|| load::run(trunk, &stop));
            let callers = load::run(callers, &stop);
            (trunk.join(), callers)
        });
        let (trunk, callers) = (trunk.map_err(|_| anyhow!("the trunk's thread died"))??, callers?);
        let mut heard = Heard::of(&trunk, &callers);
        heard.cpu_ns = cpu_of(self.dataplane).saturating_sub(cpu);
        heard.elapsed_ns = mono() - began;
        Ok(heard)
    }

    /// Calls in the books that strangers began; the newest thousand are looked at.
    pub(super) fn rows_of_strangers(&self) -> Result<u64> {
        let page = self.rest.get("Calls.json", &[("PageSize", "1000")])?;
        let calls = page["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_strangers = calls
            .iter()
            .filter(|call| call["from"].as_str().is_some_and(|from| from.contains("stranger@")));
        Ok(of_strangers.count() as u64)
    }

    /// Legs that the switch has made since it started.
    pub(super) fn legs_created(&self) -> Result<u64> {
        // Counters are published now and then.
        std::thread::sleep(Duration::from_millis(500));
        let text = self.rest.text("/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with("tandem_legs_created_total"));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        Ok(lines.filter_map(value).sum())
    }

    fn plan(&self, rate: f64, to: String, (from, callee): (Ipv4Addr, SocketAddr)) -> Plan {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let calls = (rate * super::seconds(self.scale.row)).ceil() as u64;
        Plan {
            run: load::new_run(),
            to,
            from: format!("sip:honest@{from}"),
            target: self.switch,
            bind: SocketAddr::new(IpAddr::V4(from), 0),
            callee: Some(callee),
            calls_placed: true,
            rate,
            ramp: 0,
            calls,
            concurrent: 10_000,
            duration: S,
            media: true,
            hangup: Hangup::Caller,
            cancel_after: None,
            answer_timeout: ANSWER_MAX,
            headers: Vec::new(),
            ring: 0,
            reject: None,
            no_answer: false,
            drop_per_10k: 0,
            progress: false,
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let _ = self.rest.delete(&format!("SIP/Domains/{}.json", self.domain.1));
        let _ = self.rest.delete(&format!("IncomingPhoneNumbers/{}.json", self.number.1));
        if let Some((path, bits)) = &self.networks {
            let _ = self.rest.post(path, &[("CidrPrefixLength", bits)]);
        }
    }
}

impl Heard {
    fn of(trunk: &Report, callers: &Report) -> Self {
        let all = || trunk.directions.iter().chain(&callers.directions);
        let (lost, received) =
            all().fold((0, 0), |(lost, got), it| (lost + it.lost, got + it.received));
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let rtp_lost_percent = lost as f64 * 100.0 / (lost + received).max(1) as f64;
        Self {
            trunk_offered: trunk.attempted(),
            trunk_set_up: trunk.answered(),
            application_offered: callers.attempted(),
            application_set_up: callers.answered(),
            rtp_lost_percent,
            rtp_p99_ms: trunk.directions.iter().map(|it| it.delay_p99_ms).fold(0.0, f64::max),
            setup_p99_ms: trunk.caller.as_ref().map_or(0.0, |caller| caller.setup_p99_ms),
            wrong: trunk.faults() + callers.faults(),
            legs: 2 * (trunk.attempted() + callers.attempted()),
            cpu_ns: 0,
            elapsed_ns: 0,
        }
    }
}

/// Takes the strangers' part of loopback out of the networks that the account's numbers are called
/// from. The path of the entry and the bits it had.
fn narrow(rest: &Rest, account: &str) -> Result<Option<(String, String)>> {
    let list =
        format!("SIP/IpAccessControlLists/AL{}/IpAddresses", account.trim_start_matches("AC"));
    let entries = rest.list(&format!("{list}.json"), "ip_addresses", &[])?;
    let loopback = entries.iter().find(|entry| {
        entry["ip_address"] == "127.0.0.0" && entry["cidr_prefix_length"].as_u64() == Some(8)
    });
    let Some(entry) = loopback else { return Ok(None) };
    let path = format!("{list}/{}.json", sid(entry)?);
    let bits = HONEST.rsplit('/').next().unwrap_or("8");
    let changed = rest.post(&path, &[("CidrPrefixLength", bits)])?;
    Ok(Some((format!("{list}/{}.json", sid(&changed)?), "8".to_owned())))
}

fn sid(made: &serde_json::Value) -> Result<String> {
    Ok(made["sid"].as_str().context("the API answers without a sid")?.to_owned())
}

/// CPU time of all threads of a process, nanoseconds; 0 where it cannot be read.
fn cpu_of(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let one = |thread: std::fs::DirEntry| {
        let text = system::read(&thread.path().join("schedstat").to_string_lossy())?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.filter_map(one).sum()
}
