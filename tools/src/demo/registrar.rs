//! `tandem demo registrar`: three phones register at a domain with their passwords, over TLS, TCP
//! and UDP; the first calls the second through the switch, is put on hold and taken back, and is
//! transferred to the third. Then a connection breaks: who calls meanwhile hears that nobody is
//! there, and after the phone has come back, the phone.
//!
//! ```text
//!   alice (TLS) --REGISTER--> switch --401--> .. --200-->      bob (TCP) and carol (UDP) as well
//!   alice --INVITE bob--> switch --webhook--> <Dial><Sip>sip:bob@domain --> bob's connection
//!   bob holds, takes back, REFERs alice to carol: alice and carol talk
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent::{Account, Action, Dial, Login, Manner, PhoneCall};
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use config::Config;
use sdp::Direction;
use serde_json::Value;

use super::phones::{Phone, Phones, now};
use super::wires;
use crate::app::{App, Service, dial};
use crate::clock::{MS, S, mono};
use crate::load;
use crate::rest::Rest;
use crate::system::{Protocol, free_port};

const HOSTS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 4, 1)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 4, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 4, 3)),
];
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const PASSWORD: &str = "Correct-horse-7";
/// How long it is listened each time, and the packets of it that have to be heard, of 75 that are
/// said: the machine may be busy.
const LISTEN: u64 = 1_500 * MS;
const HEARD_MIN: u64 = 45;
/// Packets that may still be under way when a hold is in force.
const LATE_MAX: u64 = 3;
/// How long anything may take.
const DONE_MAX: u64 = 10 * S;
/// The least estimate of quality that is right on loopback.
const MOS_MIN: f64 = 4.0;

/// What the switch was given for this.
struct Place {
    domain: String,
    paths: Vec<String>,
}

struct Cast {
    phones: Phones,
    all: [Phone; 3],
    switch: [SocketAddr; 3],
    domain: String,
    /// Of alice, the newest.
    call: usize,
    group: u32,
}

/// A span of the call: packets heard, and whether they are right.
struct Span {
    what: &'static str,
    who: [&'static str; 2],
    heard: [u64; 2],
    is_right: bool,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let udp: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    if !udp.ip().is_loopback() || udp.is_ipv6() {
        bail!("the switch takes SIP on {udp}: this demonstration wants it on 127.0.0.0/8");
    }
    let rest = Rest::new(&endpoints);
    let tls = tls_address(args, udp)?;
    let domain = format!("phones-{}.demo.invalid", load::new_run() % 1_000_000);
    let service = Service {
        document: dial(&format!("sip:bob@{domain}")),
        token: Some(endpoints.auth_token),
        ..Service::default()
    };
    let app = App::start(SocketAddr::new(udp.ip(), 0), service)?;
    let place = Place::make(&rest, &app, domain.clone())?;
    let mut cast = Cast::new(args, domain, [tls, udp, udp])?;
    let mut faults = cast.register()?;
    println!("{}", cast.registrations());
    if faults.is_empty() {
        let spans = cast.play()?;
        println!("{}", heard(&spans));
        let wrong = spans.iter().filter(|span| !span.is_right);
        faults.extend(wrong.map(|span| format!("{}: heard {:?}", span.what, span.heard)));
        faults.extend(cast.judge_streams());
        faults.extend(cast.lose_and_come_back()?);
        let (table, wrong) = booked(&rest, &mut cast)?;
        println!("{table}");
        faults.extend(wrong);
    }
    place.remove(&rest)?;
    if app.counts().unsigned > 0 {
        faults.push(format!("{} requests were unsigned", app.counts().unsigned));
    }
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if faults.is_empty() {
        println!("Registered, called, held, taken back, transferred; lost, away, and back again.");
    }
    Ok(faults.is_empty())
}

/// Where the switch takes TLS: as it runs, not as its file says.
fn tls_address(args: &super::Args, udp: SocketAddr) -> Result<SocketAddr> {
    let file = args.data_dir.join("run/tandem.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let config: Config =
        toml::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let is_it = |it: &&config::Listener| {
        it.transport == base::Transport::Tls && it.bind.is_ipv4() == udp.is_ipv4()
    };
    let listener = config.dataplane.listener.iter().find(is_it).map(|it| it.bind);
    let at = listener.context("the switch has no TLS listener")?;
    Ok(if at.ip().is_unspecified() { SocketAddr::new(udp.ip(), at.port()) } else { at })
}

impl Place {
    fn make(rest: &Rest, app: &App, domain: String) -> Result<Self> {
        let mut paths = Vec::new();
        let voice = format!("http://{}/voice", app.address);
        let sid = |made: &Value| made["sid"].as_str().map(str::to_owned).context("no sid");
        let fields = [
            ("DomainName", domain.as_str()),
            ("SipRegistration", "true"),
            ("VoiceUrl", voice.as_str()),
            ("FriendlyName", "tandem demo"),
        ];
        let made = sid(&rest.post("SIP/Domains.json", &fields)?)?;
        paths.push(format!("SIP/Domains/{made}.json"));
        let lists = [("FriendlyName", "tandem demo")];
        let list = sid(&rest.post("SIP/CredentialLists.json", &lists)?)?;
        for user in USERS {
            let path = format!("SIP/CredentialLists/{list}/Credentials.json");
            rest.post(&path, &[("Username", user), ("Password", PASSWORD)])?;
        }
        paths.push(format!("SIP/CredentialLists/{list}.json"));
        for purpose in ["Registrations", "Calls"] {
            let path = format!("SIP/Domains/{made}/Auth/{purpose}/CredentialListMappings.json");
            rest.post(&path, &[("CredentialListSid", &list)])?;
        }
        Ok(Self { domain, paths })
    }

    fn remove(&self, rest: &Rest) -> Result<()> {
        for path in &self.paths {
            rest.delete(path).with_context(|| format!("of {}", self.domain))?;
        }
        Ok(())
    }
}

impl Cast {
    fn new(args: &super::Args, domain: String, switch: [SocketAddr; 3]) -> Result<Self> {
        let believes = wires::believed(&args.data_dir.join("tls/development.pem"))?;
        let mut phones = Phones::default();
        let manner = |user: &str| {
            let login = Login { user: user.to_owned(), password: PASSWORD.to_owned() };
            Manner { login: Some(login), ..Manner::default().with_audio() }
        };
        let alice = phones.connect((HOSTS[0], switch[0]), Some(&believes), manner(USERS[0]))?;
        let bob = phones.connect((HOSTS[1], switch[1]), None, manner(USERS[1]))?;
        let port = free_port(Protocol::Udp, HOSTS[2])?;
        let carol = phones.add(SocketAddr::new(HOSTS[2], port), manner(USERS[2]))?;
        Ok(Self { phones, all: [alice, bob, carol], switch, domain, call: 0, group: 0 })
    }

    fn account(&self, at: usize) -> Account {
        let login = Login { user: USERS[at].to_owned(), password: PASSWORD.to_owned() };
        let params = format!(";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{at:012}>\"");
        Account { login, domain: self.domain.clone(), params, headers: Vec::new(), expires: 600 }
    }

    fn is_registered(&self, at: usize) -> bool {
        let registration = self.phones.agent(self.all[at]).registration.as_ref();
        registration.is_some_and(|it| it.is_registered(now().mono))
    }

    fn register(&mut self) -> Result<Vec<String>> {
        for at in 0..self.all.len() {
            let account = self.account(at);
            self.phones.register(self.all[at], account, self.switch[at]);
        }
        self.wait(|cast| (0..3).all(|at| cast.is_registered(at)))?;
        let missing = (0..3).filter(|at| !self.is_registered(*at));
        Ok(missing.map(|at| format!("{} could not register", USERS[at])).collect())
    }

    fn registrations(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["user", "by", "from", "contact", "answered"]);
        for (at, by) in ["TLS", "TCP", "UDP"].into_iter().enumerate() {
            let agent = self.phones.agent(self.all[at]);
            let Some(registration) = &agent.registration else { continue };
            table.add_row([
                USERS[at].to_owned(),
                by.to_owned(),
                agent.sip.to_string(),
                registration.contact().to_owned(),
                format!("{:?}", registration.seen.codes),
            ]);
        }
        table
    }

    /// Until that is so, or for so long.
    fn wait(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<bool> {
        let until = mono() + DONE_MAX;
        while mono() < until && !is_so(self) {
            self.phones.run(mono() + 50 * MS)?;
        }
        Ok(is_so(self))
    }

    /// Alice calls bob: conversation `group`.
    fn dial(&mut self, group: u32) -> Result<()> {
        let dial = Dial {
            to: format!("sip:bob@{}", self.domain),
            from: format!("sip:c{group}@{}", self.domain),
            group,
            stream: group * 2,
            ..Dial::default()
        };
        self.group = group;
        self.call = self.phones.dial(self.all[0], self.switch[0], &dial)?;
        Ok(())
    }

    fn callee(&self, at: usize) -> Option<&PhoneCall> {
        let calls = &self.phones.agent(self.all[at]).calls;
        calls.iter().rfind(|call| call.group == self.group)
    }

    fn callee_does(&mut self, action: Action) {
        let group = self.group;
        let calls = self.phones.calls(self.all[1]);
        if let Some(call) = calls.iter_mut().rfind(|call| call.group == group) {
            call.act(now(), action);
        }
    }

    fn play(&mut self) -> Result<Vec<Span>> {
        self.dial(1)?;
        self.wait(|cast| cast.callee(1).is_some_and(|call| call.seen.acks > 0))?;
        self.phones.run(mono() + 300 * MS)?;
        let mut spans = vec![self.listen("bob has answered", 1, true)?];
        self.callee_does(Action::Reinvite(Direction::Inactive));
        self.phones.run(mono() + 500 * MS)?;
        spans.push(self.listen("bob holds", 1, false)?);
        self.callee_does(Action::Reinvite(Direction::SendRecv));
        self.phones.run(mono() + 500 * MS)?;
        spans.push(self.listen("bob takes her back", 1, true)?);
        self.callee_does(Action::Refer(format!("sip:carol@{}", self.domain), false));
        self.wait(|cast| {
            let calls = &cast.phones.agent(cast.all[2]).calls;
            calls.iter().any(|call| call.seen.acks > 0)
        })?;
        self.phones.run(mono() + 300 * MS)?;
        self.callee_does(Action::HangUp);
        self.phones.run(mono() + 500 * MS)?;
        spans.push(self.listen("transferred to carol", 2, true)?);
        self.hang_up()?;
        Ok(spans)
    }

    fn hang_up(&mut self) -> Result<()> {
        let call = self.call;
        if let Some(call) = self.phones.calls(self.all[0]).get_mut(call) {
            call.act(now(), Action::HangUp);
        }
        self.phones.run(mono() + S)
    }

    fn listen(&mut self, what: &'static str, with: usize, talks: bool) -> Result<Span> {
        let before = self.ears(with);
        self.phones.run(mono() + LISTEN)?;
        let after = self.ears(with);
        let heard = [after[0] - before[0], after[1] - before[1]];
        let is = |heard: &u64| if talks { *heard >= HEARD_MIN } else { *heard <= LATE_MAX };
        let is_right = heard.iter().all(is);
        Ok(Span { what, who: [USERS[0], USERS[with]], heard, is_right })
    }

    /// What alice has heard of the one that she talks with, and that one of her.
    fn ears(&self, with: usize) -> [u64; 2] {
        let voices = |call: Option<&PhoneCall>| {
            call.and_then(|call| call.media.as_ref()).map_or(0, |media| media.heard.voice())
        };
        let calls = &self.phones.agent(self.all[with]).calls;
        let callee = if with == 1 { self.callee(1) } else { calls.last() };
        [voices(self.phones.agent(self.all[0]).calls.get(self.call)), voices(callee)]
    }

    /// Each heard one stream, and nobody complained of what the switch said.
    fn judge_streams(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, user) in USERS.into_iter().enumerate() {
            for call in &self.phones.agent(self.all[at]).calls {
                faults.extend(call.seen.complaints.iter().map(|it| format!("{user}: {it}")));
                let Some(media) = &call.media else { continue };
                let heard = &media.heard;
                if heard.ssrcs.len() != 1 || heard.damaged + heard.foreign > 0 {
                    let ssrcs = heard.ssrcs.len();
                    faults.push(format!("{user} heard {ssrcs} streams, or what nobody said"));
                }
            }
        }
        faults
    }

    /// Bob's connection breaks: alice hears 480. He comes back by another: she reaches him.
    fn lose_and_come_back(&mut self) -> Result<Vec<String>> {
        self.phones.cut(self.all[1]);
        self.phones.run(mono() + 300 * MS)?;
        self.dial(2)?;
        let is_over = |cast: &Self| cast.phones.agent(cast.all[0]).calls[cast.call].is_over();
        self.wait(is_over)?;
        let code = self.phones.agent(self.all[0]).calls[self.call].seen.code;
        let login = Login { user: USERS[1].to_owned(), password: PASSWORD.to_owned() };
        let manner = Manner { login: Some(login), ..Manner::default().with_audio() };
        self.all[1] = self.phones.connect((HOSTS[1], self.switch[1]), None, manner)?;
        let account = self.account(1);
        self.phones.register(self.all[1], account, self.switch[1]);
        self.wait(|cast| cast.is_registered(1))?;
        self.dial(3)?;
        let reached = self.wait(|cast| cast.callee(1).is_some_and(|call| call.seen.acks > 0))?;
        self.hang_up()?;
        println!("With bob's connection lost, alice heard {code}; with him back, she reached him.");
        let mut faults = Vec::new();
        if code != 480 {
            faults.push(format!("bob was away, and alice was told {code}"));
        }
        if !reached {
            faults.push("bob was back, and alice did not reach him".to_owned());
        }
        Ok(faults)
    }
}

fn heard(spans: &[Span]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["in 1.5 s", "heard by alice", "heard by the other", "verdict"]);
    for Span { what, who, heard, is_right } in spans {
        table.add_row([
            (*what).to_owned(),
            format!("{} of {}", heard[0], who[1]),
            format!("{} of {}", heard[1], who[0]),
            if *is_right { "right" } else { "WRONG" }.to_owned(),
        ]);
    }
    table
}

/// The legs in the books, each once: how long, how good, for how much.
fn booked(rest: &Rest, cast: &mut Cast) -> Result<(Table, Vec<String>)> {
    let from = format!("sip:c1@{}", cast.domain);
    let until = mono() + DONE_MAX;
    let legs = loop {
        let mut legs = rest.list("Calls.json", "calls", &[("From", &from)])?;
        let sids: Vec<String> =
            legs.iter().filter_map(|it| it["sid"].as_str().map(str::to_owned)).collect();
        for sid in sids {
            legs.extend(rest.list("Calls.json", "calls", &[("ParentCallSid", &sid)])?);
        }
        legs.sort_by_key(|it| it["sid"].as_str().map(str::to_owned));
        legs.dedup_by_key(|it| it["sid"].as_str().map(str::to_owned));
        let is_over = legs.iter().all(|it| !it["end_time"].is_null());
        if is_over && legs.len() == 3 || mono() > until {
            break legs;
        }
        cast.phones.run(mono() + 100 * MS)?;
    };
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["leg to", "direction", "seconds", "MOS", "lost", "price"]);
    let mut faults = Vec::new();
    if legs.len() != 3 {
        faults.push(format!("{} legs of the first call are in the books, not 3", legs.len()));
    }
    for leg in &legs {
        let sid = leg["sid"].as_str().unwrap_or_default();
        let cdrs = rest.get(&format!("Calls/{sid}/Cdrs.json"), &[])?;
        let cdrs = cdrs["cdrs"].as_array().cloned().unwrap_or_default();
        if cdrs.len() != 1 {
            faults.push(format!("{sid} has {} CDRs, not one", cdrs.len()));
        }
        let Some(cdr) = cdrs.first() else { continue };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mos = text(&cdr["media"]["mos"]);
        if mos.parse().is_ok_and(|mos: f64| mos < MOS_MIN) {
            faults.push(format!("{sid} sounded like {mos}"));
        }
        table.add_row([
            text(&leg["to"]),
            text(&leg["direction"]),
            text(&cdr["duration_exact"]),
            mos,
            text(&cdr["media"]["packets_lost"]),
            text(&leg["price"]),
        ]);
    }
    Ok((table, faults))
}
