//! A phone that registers (RFC 3261 section 10.2): asks for its contact to be kept, answers the
//! challenge, asks anew in time, and begins again when its connection is lost. It keeps what it was
//! told and when, to be compared with what the switch does with its calls.
//!
//! ```text
//!   Waits --its time--> Asks --401--> Asks, with credentials --200--> Waits, registered
//!                         ^--423, with what is wanted           |
//!                         +--503, another refusal, silence: later, and registered as before
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Now, Prng, Transport};
use sip::txn::{Actions, Client, Timers};
use sip::{Message, Method, Name, NameAddr, Writer};

use super::login::Login;
use crate::Cx;
use crate::signal::{via, with_lines};

/// Longest wait before it asks again where nobody said how long.
const AGAIN: u64 = 4_000;

/// Who a phone is at its registrar.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub login: Login,
    /// Of the address of record.
    pub domain: String,
    /// The contact's parameters, each behind a semicolon: `;reg-id=1`.
    pub params: String,
    /// More header lines, without line ends.
    pub headers: Vec<String>,
    /// Asked for, seconds.
    pub expires: u32,
}

/// What a phone saw of its registrations.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// From when to when its contact was kept, as it knows; the last one may last on.
    pub spans: Vec<(Mono, Mono)>,
    /// Final responses but for challenges that were answered.
    pub codes: Vec<u16>,
    /// When a request was sent that nobody answered, and when it was given up.
    pub unanswered: Vec<(Mono, Mono)>,
    /// Connections lost.
    pub losses: u32,
    /// What the registrar did that it must not.
    pub complaints: Vec<String>,
}

/// A request that is not answered.
#[derive(Debug)]
struct Asked {
    machine: Client,
    bytes: Vec<u8>,
    branch: String,
    at: Mono,
    /// It has credentials.
    given: bool,
}

/// A phone's registration. See the module.
#[derive(Debug)]
pub struct Registration {
    pub account: Account,
    pub seen: Registered,
    registrar: SocketAddr,
    ours: SocketAddr,
    transport: Transport,
    /// The URI of its contact.
    contact: String,
    call_id: String,
    tag: String,
    cseq: u32,
    asked: Option<Asked>,
    next: Mono,
    /// It asks no more.
    rests: bool,
    random: Prng,
}

impl Registration {
    pub(super) fn new(
        account: Account,
        registrar: SocketAddr,
        (ours, transport): (SocketAddr, Transport),
        (at, seed): (Mono, u64),
    ) -> Self {
        let mut random = Prng::new(seed);
        let user = &account.login.user;
        let contact = match transport.is_web() {
            // A browser knows no address of its own (RFC 7118 section 5).
            true => format!("sip:{user}@{:012x}.invalid;transport=ws", random.u64() >> 16),
            false => format!("sip:{user}@{ours}{}", transport.suffix()),
        };
        Self {
            seen: Registered::default(),
            registrar,
            ours,
            transport,
            contact,
            call_id: format!("{:016x}@phone", random.u64()),
            tag: format!("{:08x}", random.u32()),
            cseq: 1,
            asked: None,
            next: at,
            rests: false,
            random,
            account,
        }
    }

    /// The URI of its contact.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Its contact is kept, as far as it knows.
    #[must_use]
    pub fn is_registered(&self, at: Mono) -> bool {
        self.seen.spans.iter().any(|(from, until)| (*from..*until).contains(&at))
    }

    /// A request of its waits for an answer.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// It asks no more from now on.
    pub fn rest(&mut self) {
        self.rests = true;
    }

    pub(super) fn deadline(&self) -> Mono {
        match &self.asked {
            Some(asked) => asked.machine.deadline(),
            None if self.rests => Mono::NEVER,
            None => self.next,
        }
    }

    pub(super) fn handle_tick(&mut self, cx: &mut Cx<'_>) {
        let Some(asked) = &mut self.asked else {
            if self.next <= cx.now.mono && !self.rests {
                self.ask(cx, None);
            }
            return;
        };
        let actions = asked.machine.handle_timeout(cx.now.mono, &Timers::RFC);
        if actions.has(Actions::RESEND) {
            cx.out.put(self.ours, self.registrar, &asked.bytes);
        }
        if actions.has(Actions::TIMEOUT) {
            self.seen.unanswered.push((asked.at, cx.now.mono));
            self.later(cx.now);
        }
    }

    /// Its connection, and what was asked by it, is lost.
    pub(super) fn lose(&mut self, now: Now) {
        self.seen.losses += 1;
        self.end_span(now.mono);
        self.later(now);
    }

    fn end_span(&mut self, at: Mono) {
        if let Some((_, until)) = self.seen.spans.last_mut() {
            *until = at.min(*until);
        }
    }

    /// Asks again after a while.
    fn later(&mut self, now: Now) {
        self.asked = None;
        self.next = now.mono + Duration::from_millis(200 + self.random.below(AGAIN));
    }

    fn ask(&mut self, cx: &mut Cx<'_>, credentials: Option<&str>) {
        let branch = format!("z9hG4bKr{:016x}", self.random.u64());
        let Account { login, domain, params, headers, expires } = &self.account;
        let record = format!("sip:{}@{domain}", login.user);
        let contact = format!("<{}>{params};expires={expires}", self.contact);
        let given: Vec<String> = credentials.map(str::to_owned).into_iter().collect();
        let writer = Writer::new(&mut cx.room.scratch)
            .request_line(Method::Register, format!("sip:{domain}").as_bytes())
            .via(&via((self.ours, self.transport), branch.as_bytes()))
            .max_forwards(70)
            .address(Name::From, b"", record.as_bytes(), Some(self.tag.as_bytes()))
            .address(Name::To, b"", record.as_bytes(), None)
            .call_id(self.call_id.as_bytes())
            .cseq(self.cseq, Method::Register)
            .field(Name::Contact, contact.as_bytes());
        let Ok(bytes) = with_lines(with_lines(writer, headers), &given).finish() else {
            self.seen.complaints.push("its request could not be written".to_owned());
            return self.later(cx.now);
        };
        self.cseq += 1;
        cx.out.put(self.ours, self.registrar, bytes);
        let is_reliable = self.transport != Transport::Udp;
        self.asked = Some(Asked {
            machine: Client::new(cx.now.mono, &Timers::RFC, is_reliable),
            bytes: bytes.to_vec(),
            branch,
            at: cx.now.mono,
            given: credentials.is_some(),
        });
    }

    /// Whether a response is to what was asked last.
    pub(super) fn owns(&self, response: &Message<'_>) -> bool {
        let branch = response.via().ok().and_then(|via| via.branch).unwrap_or_default();
        self.asked.as_ref().is_some_and(|asked| asked.branch.as_bytes() == branch)
    }

    pub(super) fn handle_response(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) {
        let code = message.status().unwrap_or(0);
        let Some(asked) = self.asked.take_if(|_| code >= 200) else { return };
        let uri = format!("sip:{}", self.account.domain);
        let what = (Method::Register, uri.as_bytes());
        let answer = self.account.login.answer(message, what, &mut self.random);
        if let Some(given) = answer.filter(|given| !asked.given || given.stale) {
            return self.ask(cx, Some(&given.line));
        }
        self.seen.codes.push(code);
        let least = message.number(Name::MinExpires).ok();
        match (code, least) {
            (200, _) => self.granted(cx.now, asked.at, message),
            (423, Some(least)) if least > self.account.expires => {
                self.account.expires = least;
                self.ask(cx, None);
            }
            _ => {
                self.later(cx.now);
                let after = message.number(Name::RetryAfter).unwrap_or(0);
                self.next = self.next.max(cx.now.mono + Duration::from_secs(after.into()));
            }
        }
    }

    /// Its contact stands in the answer, once, with the time that it has.
    fn granted(&mut self, now: Now, asked_at: Mono, message: &Message<'_>) {
        let is_own = |it: &NameAddr<'_>| it.uri == self.contact.as_bytes();
        let contacts = message.contacts().flatten().filter(is_own);
        let granted: Vec<u32> = contacts.map(|it| it.expires().unwrap_or(0)).collect();
        let [seconds] = granted[..] else {
            let many = granted.len();
            self.seen.complaints.push(format!("its contact stands {many} times in the answer"));
            return self.later(now);
        };
        if seconds > self.account.expires {
            self.seen.complaints.push(format!("kept for {seconds} s, longer than asked"));
        }
        let lasts = Duration::from_secs(seconds.into());
        // It lasts from some moment between the two.
        let until = asked_at + lasts;
        match self.seen.spans.last_mut().filter(|(_, end)| *end >= now.mono) {
            Some((_, end)) => *end = until,
            None => self.seen.spans.push((now.mono, until)),
        }
        self.next = now.mono + lasts / 2;
    }
}
