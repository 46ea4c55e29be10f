//! What a tenant can do to a switch: the ways in which one of them took it from all.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::endpoints_of;
use super::good::plan;
use crate::app::{App, Service};
use crate::load;
use crate::rest::Rest;
use crate::up::Endpoints;

const CALLERS: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 3);
/// Where its requests come from: the first of some hosts.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 16);
const HOSTS: u64 = 8;
/// Connections that read slowly, and that say nothing.
const SLOW: usize = 200;
const SILENT: usize = 1_500;
/// Threads that ask the API, each at most so often.
const ASKERS: usize = 4;
const ASKED_EACH: Duration = Duration::from_millis(2);
const SUB_ACCOUNTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    /// Documents of 64 KB, all of it entity references.
    Documents,
    /// Ten targets that cannot be dialled, nine times, and from the start again.
    Targets,
    /// Status callbacks to somebody who takes the connection and says nothing.
    Callbacks,
    /// Status callbacks that are answered by 500.
    Failing,
    /// Questions and calls by REST as fast as four threads can.
    Requests,
    /// Wrong logins, likewise.
    Logins,
    /// Answers of the API that are not read.
    SlowReading,
    /// Connections to the API on which nothing comes, opened again when they are closed.
    Silence,
    /// The same as requests, by sub-accounts.
    SubAccounts,
}

/// The tenant that misbehaves.
pub(super) struct Bad {
    endpoints: Endpoints,
    login: Login,
    switch: SocketAddr,
    api: SocketAddr,
    /// By misdeed, the number that leads to it.
    documents: String,
    targets: String,
    callbacks: String,
    failing: String,
    subs: Vec<Login>,
    _apps: Vec<App>,
}

impl Misdeed {
    pub(super) const ALL: [Self; 9] = [
        Self::Documents,
        Self::Targets,
        Self::Callbacks,
        Self::Failing,
        Self::Requests,
        Self::Logins,
        Self::SlowReading,
        Self::Silence,
        Self::SubAccounts,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents of 64 KB",
            Self::Targets => "90 dead targets a call",
            Self::Callbacks => "silent callbacks",
            Self::Failing => "failing callbacks",
            Self::Requests => "API requests",
            Self::Logins => "wrong logins",
            Self::SlowReading => "slow readers",
            Self::Silence => "silent connections",
            Self::SubAccounts => "sub-accounts",
        }
    }
}

/// A number of this account, its application at `host`, all status callbacks wanted.
pub(super) fn number(rest: &Rest, prefix: &str, host: &str) -> Result<String> {
    let phone = format!("{prefix}{:07}", load::new_run() % 10_000_000);
    let voice = format!("http://{host}/voice");
    let status = format!("http://{host}/status");
    let mut form = vec![
        ("PhoneNumber", phone.as_str()),
        ("VoiceUrl", &voice),
        ("VoiceMethod", "POST"),
        ("StatusCallback", &status),
        ("StatusCallbackMethod", "POST"),
    ];
    let events = ["initiated", "ringing", "answered", "completed"];
    form.extend(events.map(|event| ("StatusCallbackEvent", event)));
    rest.post("IncomingPhoneNumbers.json", &form)?;
    Ok(phone)
}

impl Bad {
    pub(super) fn new(endpoints: &Endpoints) -> Result<Self> {
        let switch: SocketAddr = endpoints.sip_address.parse().context("no sip_address")?;
        let api = endpoints.api_base.trim_start_matches("http://").parse();
        let api: SocketAddr = api.context("the API is not at an address")?;
        let rest = Rest::new(endpoints);
        let mut apps = Vec::new();
        let mut app = |document: String, fail: Option<u16>| -> Result<String> {
            let service = Service { document, fail, ..Service::default() };
            let app = App::start(SocketAddr::new(switch.ip(), 0), service)?;
            let host = app.address.to_string();
            apps.push(app);
            Ok(host)
        };
        let documents = number(&rest, "+15581", &app(entities(), None)?)?;
        let targets = number(&rest, "+15582", &app(dead_targets(), None)?)?;
        let failing = number(&rest, "+15583", &app(String::new(), Some(500))?)?;
        let callbacks = number(&rest, "+15584", &silent_host(switch)?)?;
        let subs =
            (0..SUB_ACCOUNTS).map(|at| sub_account(endpoints, &rest, at)).collect::<Result<_>>()?;
        let (endpoints, login, _apps) = (endpoints.clone(), Login::of(endpoints), apps);
        Ok(Self {
            endpoints,
            login,
            switch,
            api,
            documents,
            targets,
            callbacks,
            failing,
            subs,
            _apps,
        })
    }

    /// Until it is stopped. How often something was done.
    pub(super) fn misbehave(&self, misdeed: Misdeed, stop: &AtomicBool) -> Result<u64> {
        match misdeed {
            Misdeed::Documents => self.call(&self.documents, 30.0, stop),
            Misdeed::Targets => self.call(&self.targets, 10.0, stop),
            Misdeed::Callbacks => self.call(&self.callbacks, 30.0, stop),
            Misdeed::Failing => self.call(&self.failing, 30.0, stop),
            Misdeed::Requests => Ok(ask(self.api, std::slice::from_ref(&self.login), stop)),
            Misdeed::SubAccounts => Ok(ask(self.api, &self.subs, stop)),
            Misdeed::Logins => {
                let wrong = Endpoints { auth_token: "wrong".to_owned(), ..self.endpoints.clone() };
                Ok(ask(self.api, &[Login::of(&wrong)], stop))
            }
            Misdeed::SlowReading => self.hold(SLOW, &self.big_question(), stop),
            Misdeed::Silence => self.hold(SILENT, b"", stop),
        }
    }

    fn call(&self, number: &str, rate: f64, stop: &AtomicBool) -> Result<u64> {
        let to = format!("sip:{number}@{}", self.switch);
        Ok(load::run(plan((self.switch, CALLERS), to, rate), stop)?.attempted())
    }

    /// Twenty of the longest answers that this account can ask for.
    fn big_question(&self) -> Vec<u8> {
        let question = String::from_utf8_lossy(&self.login.question(true)).into_owned();
        question.replace("Connection: close\r\n", "").repeat(20).into_bytes()
    }

    /// So many connections from some hosts that say this and never read; each that is closed is
    /// opened again.
    fn hold(&self, count: usize, says: &[u8], stop: &AtomicBool) -> Result<u64> {
        let (mut open, mut opened) = (Vec::new(), 0_u64);
        while !stop.load(Ordering::Relaxed) {
            open.retain(is_open);
            while open.len() < count && !stop.load(Ordering::Relaxed) {
                let host = Ipv4Addr::from_bits(HOST.to_bits() + u32::try_from(opened % HOSTS)?);
                let Ok(mut stream) = connect(host, self.api) else { break };
                stream.set_nonblocking(true)?;
                let _ = stream.write(says);
                opened += 1;
                open.push(stream);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(opened)
    }
}

/// The switch has not closed it yet.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match stream.peek(&mut byte) {
        Ok(len) => len > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// A few threads ask and call by these logins, from a host of the bad tenant's.
fn ask(api: SocketAddr, logins: &[Login], stop: &AtomicBool) -> u64 {
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (at, login) in logins.iter().cycle().take(ASKERS.max(logins.len())).enumerate() {
            let asked = &asked;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if exchange(api, &login.question(at % 2 == 0)).is_ok() {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(ASKED_EACH);
                }
            });
        }
    });
    asked.into_inner()
}

/// Asks the API one thing from the bad tenant's host, and reads the whole answer.
fn exchange(api: SocketAddr, question: &[u8]) -> std::io::Result<()> {
    let mut stream = connect(HOST, api)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(question)?;
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// A connection from one of the bad tenant's hosts.
fn connect(host: Ipv4Addr, api: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(host.into(), 0).into())?;
    socket.connect_timeout(&api.into(), Duration::from_millis(200))?;
    Ok(socket.into())
}

/// An account, and what it says it is.
#[derive(Clone, Debug)]
struct Login {
    account: String,
    authorization: String,
}

impl Login {
    fn of(endpoints: &Endpoints) -> Self {
        let authorization = Rest::new(endpoints).authorization().to_owned();
        Self { account: endpoints.account_sid.clone(), authorization }
    }

    /// The longest answer that there is, or a call to nobody.
    fn question(&self, reads: bool) -> Vec<u8> {
        let Self { account, authorization } = self;
        let body = "To=sip%3Ax%40127.0.0.1%3A9&From=%2B15580000000&Twiml=%3CResponse%2F%3E";
        let (method, query, body) =
            if reads { ("GET", "?PageSize=1000", "") } else { ("POST", "", body) };
        format!(
            "{method} /2010-04-01/Accounts/{account}/Calls.json{query} HTTP/1.1\r\nHost: switch\r\n\
             Authorization: {authorization}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

fn sub_account(endpoints: &Endpoints, rest: &Rest, at: usize) -> Result<Login> {
    let made = rest.post("/2010-04-01/Accounts.json", &[("FriendlyName", &format!("sub {at}"))])?;
    Ok(Login::of(&endpoints_of(&made, endpoints)?))
}

/// 64 KB of entity references in one verb.
fn entities() -> String {
    format!("<Response><Say>{}</Say><Redirect>/voice</Redirect></Response>", "&amp;".repeat(13_000))
}

fn dead_targets() -> String {
    let mut text = "<Response>".to_owned();
    for dial in 0..9 {
        text.push_str("<Dial timeout=\"1\">");
        for target in 0..10 {
            let _ = write!(text, "<Sip>sip:{target}@nobody{dial}.invalid</Sip>");
        }
        text.push_str("</Dial>");
    }
    text + "<Redirect>/voice</Redirect></Response>"
}

/// Somebody who takes connections and never answers.
fn silent_host(switch: SocketAddr) -> Result<String> {
    let listener = TcpListener::bind((switch.ip(), 0))?;
    let host = listener.local_addr()?.to_string();
    std::thread::Builder::new().name("silent".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
                let mut stream = stream;
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                let _ = std::io::copy(
                    &mut Read::by_ref(&mut stream).take(1 << 20),
                    &mut std::io::sink(),
                );
            });
        }
    })?;
    Ok(host)
}
