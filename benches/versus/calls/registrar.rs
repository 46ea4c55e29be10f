//! `versus registrar`: phones that register by digest at the switch as it is deployed, both of its
//! processes on one core; what a registration costs, and what it does to calls that are placed
//! meanwhile.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use benches::nanos;
use serde_json::Value;
use sip::digest::{Answer, Challenge, ha1};
use sip::{Message, Method, Name, Writer};

use super::phones::{Placed, socket};
use super::switch::{API, Switch};
use super::{CLEAN, Carrier, in_place};
use crate::bed::{self, Names, PHONES, TANDEM};
use crate::{Failure, Options};

const DOMAIN: &str = "phones.bench";
const PASSWORD: &str = "Correct-horse-7";
const PORT: u16 = 5_091;
/// Users that the domain has; each registers again and again.
const USERS: usize = 500;
/// A registration that has not come so far by then has failed.
const PATIENCE: u64 = 3_000_000_000;
/// Calls a second that are placed beside it.
const CALLS: f64 = 100.0;

/// What one run of registrations came to.
struct Registered {
    count: usize,
    /// From the first REGISTER to the 200, microseconds, sorted.
    took_us: Vec<u64>,
}

pub(crate) fn measure(names: &Names, options: &Options) -> Result<(), Failure> {
    in_place(names, |napi, scratch| run((names, napi), options, scratch))
}

fn run((names, napi): (&Names, u32), options: &Options, scratch: &Path) -> Result<(), Failure> {
    let mut switch = Switch::start(names, scratch)?;
    let known = fs::read_to_string(scratch.join("tandem/endpoints.json"))?;
    make_domain(&serde_json::from_str(&known)?)?;
    let mut phones = Phones::new()?;
    let rate = options.rate.unwrap_or(1_000.0);
    let warm = phones.register(200.0, USERS)?;
    println!("{} of {USERS} users have registered", warm.took_us.len());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let (count, calls) = (
        (rate * options.millis as f64 / 1e3) as usize,
        (CALLS * options.millis as f64 / 1e3) as u64,
    );
    let alone = switch.line().place(CALLS, calls)?;
    line("calls alone", &alone.answered_us, alone.calls);
    for round in 0..options.rounds {
        let used = || {
            let all: u64 = switch.pids().into_iter().map(bed::threads_nanos).sum();
            let carrying: u64 = switch.carrying().into_iter().map(bed::threads_nanos).sum();
            (all + bed::thread_nanos(napi), carrying + bed::thread_nanos(napi))
        };
        let before = used();
        let registered = phones.register(rate, count)?;
        let after = used();
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let each = |nanos: u64| nanos as f64 / 1e3 / registered.count.max(1) as f64;
        line(&format!("round {round}: {rate:.0} registrations/s"), &registered.took_us, count);
        println!(
            "    {:.1} us of the core each, {:.1} of them the dataplane's",
            each(after.0 - before.0),
            each(after.1 - before.1)
        );
    }
    let beside = beside(&mut phones, &mut switch, (rate, count), calls)?;
    line("calls beside registrations", &beside.1.answered_us, beside.1.calls);
    line("registrations beside calls", &beside.0.took_us, count);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let lost = 1.0 - beside.1.answered_us.len() as f64 / beside.1.calls.max(1) as f64;
    if lost > CLEAN { Err("calls fail beside registrations".into()) } else { Ok(()) }
}

/// Both at once: calls by a thread of their own.
fn beside(
    phones: &mut Phones,
    switch: &mut Switch,
    (rate, count): (f64, usize),
    calls: u64,
) -> Result<(Registered, Placed), Failure> {
    std::thread::scope(|scope| {
        let line = switch.line();
        let placing = scope.spawn(move || line.place(CALLS, calls));
        let registered = phones.register(rate, count);
        let placed = placing.join().map_err(|_| "the calls' thread died")??;
        Ok((registered?, placed))
    })
}

fn line(what: &str, took_us: &[u64], of: usize) {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let at = |percent: usize| {
        let found = took_us.get(took_us.len() * percent / 100);
        found.map_or(f64::NAN, |us| *us as f64 / 1e3)
    };
    println!("{what}: {} of {of} done, {:.2} ms, p99 {:.2} ms", took_us.len(), at(50), at(99));
}

/// All phones, behind one address.
struct Phones {
    socket: UdpSocket,
    /// The last number of each user's requests.
    cseq: Vec<u32>,
    /// Registrations under way: by user, when they began and which number was said last.
    open: HashMap<usize, u64>,
}

impl Phones {
    fn new() -> Result<Self, Failure> {
        let socket = socket(SocketAddr::from((PHONES, PORT)))?;
        Ok(Self { socket, cseq: vec![0; USERS], open: HashMap::new() })
    }

    fn register(&mut self, rate: f64, count: usize) -> Result<Registered, Failure> {
        let start = nanos();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let due = |number: usize| start + (number as f64 * 1e9 / rate) as u64;
        let mut took_us = Vec::with_capacity(count);
        let (mut begun, mut bytes) = (0, [0; 4_096]);
        self.open.clear();
        loop {
            let now = nanos();
            if begun < count && due(begun) <= now {
                let user = begun % USERS;
                self.open.insert(user, now);
                self.say(user, None)?;
                begun += 1;
            }
            while let Ok((len, _)) = self.socket.recv_from(&mut bytes) {
                took_us.extend(self.heard(&bytes[..len])?);
            }
            let is_late = due(count) + PATIENCE < now;
            if begun == count && (self.open.is_empty() || is_late) {
                took_us.sort_unstable();
                return Ok(Registered { count, took_us });
            }
        }
    }

    /// A response; how long the registration took that it ends.
    fn heard(&mut self, bytes: &[u8]) -> Result<Option<u64>, Failure> {
        let Ok(message) = Message::parse(bytes) else { return Ok(None) };
        let user = message.call_id().ok().and_then(|it| core::str::from_utf8(it).ok());
        let user = user.and_then(|it| it.strip_prefix("user-")?.parse::<usize>().ok());
        let Some(user) = user.filter(|user| self.open.contains_key(user)) else { return Ok(None) };
        let asked = message.headers_named(Name::WwwAuthenticate).next();
        match (message.status(), asked.and_then(Challenge::parse)) {
            (Some(401), Some(challenge)) => self.say(user, Some(&challenge)).map(|()| None),
            (Some(200), _) => Ok(self.open.remove(&user).map(|begun| (nanos() - begun) / 1_000)),
            _ => Ok(None),
        }
    }

    fn say(&mut self, user: usize, challenge: Option<&Challenge<'_>>) -> Result<(), Failure> {
        self.cseq[user] += 1;
        let (cseq, own) = (self.cseq[user], SocketAddr::from((PHONES, PORT)));
        let (name, uri) = (format!("u{user}"), format!("sip:{DOMAIN}"));
        let record = format!("sip:{name}@{DOMAIN}");
        let head = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{user}-{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <{record}>;tag=t{user}\r\nTo: <{record}>\r\n\
             Call-ID: user-{user}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{own}>\r\n\
             Expires: 600\r\n"
        );
        let mut out = [0; 4_096];
        let login = challenge.and_then(|challenge| {
            let hash =
                ha1(challenge.algorithm, name.as_bytes(), challenge.realm, PASSWORD.as_bytes());
            let with = Answer {
                user: name.as_bytes(),
                ha1: hash.bytes(),
                method: Method::Register,
                uri: uri.as_bytes(),
                nc: 1,
                cnonce: b"0a4f113b",
                session: false,
            };
            let writer = Writer::new(&mut out).request_line(Method::Register, uri.as_bytes());
            let written = challenge.answer(writer, Name::Authorization, &with).finish().ok()?;
            let text = core::str::from_utf8(written).ok()?;
            let line = text.lines().find(|line| line.starts_with("Authorization"))?;
            Some(format!("{line}\r\n"))
        });
        let text = format!("{head}{}Content-Length: 0\r\n\r\n", login.unwrap_or_default());
        self.socket.send_to(text.as_bytes(), (TANDEM, 5_060))?;
        Ok(())
    }
}

/// The domain, its list and its users.
fn make_domain(known: &Value) -> Result<(), Failure> {
    let base = format!("/2010-04-01/Accounts/{}/SIP", known["account_sid"].as_str().unwrap_or(""));
    let make = |path: &str, form: &str| -> Result<String, Failure> {
        let answer = ask(known, &format!("{base}/{path}"), form)?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let body = &body[body.find('{').unwrap_or(0)..body.rfind('}').map_or(0, |at| at + 1)];
        let made: Value = serde_json::from_str(body)?;
        match made["sid"].as_str() {
            Some(sid) => Ok(sid.to_owned()),
            None => Err(format!("{path}: {answer}").into()),
        }
    };
    let domain = make("Domains.json", &format!("DomainName={DOMAIN}&SipRegistration=true"))?;
    let list = make("CredentialLists.json", "FriendlyName=phones")?;
    for user in 0..USERS {
        let path = format!("CredentialLists/{list}/Credentials.json");
        make(&path, &format!("Username=u{user}&Password={PASSWORD}"))?;
    }
    let mapping = format!("Domains/{domain}/Auth/Registrations/CredentialListMappings.json");
    make(&mapping, &format!("CredentialListSid={list}"))?;
    // The table is published within a moment.
    std::thread::park_timeout(core::time::Duration::from_secs(2));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a client has a socket")]
fn ask(known: &Value, path: &str, form: &str) -> Result<String, Failure> {
    let text = |field: &str| known[field].as_str().unwrap_or_default();
    let login =
        benches::base64(format!("{}:{}", text("account_sid"), text("auth_token")).as_bytes());
    let mut stream = TcpStream::connect((TANDEM, API))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {TANDEM}\r\nConnection: close\r\n\
         Authorization: Basic {login}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
