//! Tenants' web servers: fast, slow, dead, broken, malformed. What one answers depends on the
//! conversation, which is in the caller's name (`c<group>`), and on nothing else, so that a
//! repeated request gets the same document.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{CallId, Mono, Now, Prng};
use model::port::{HttpAnswer, HttpError, HttpId, HttpKind, HttpReply, HttpRequest};
use model::{
    Account, AccountSid, CallEvent, DomainSid, Events, Hook, Method, NumberSid, PhoneNumber,
    Secret, SignalingSubscription, SipDomain, StatusHook, SubscriptionSid, VoiceConfig,
};

/// How a tenant's server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Fast,
    /// Answers after one to four seconds.
    Slow,
    /// Nobody is there.
    Dead,
    /// Takes the request and never answers.
    Hanging,
    /// 500 every time.
    Broken,
    /// Every second request fails.
    Flaky,
    /// Answers with something that is no document.
    Malformed,
}

impl Server {
    pub const ALL: [Self; 7] = [
        Self::Fast,
        Self::Slow,
        Self::Dead,
        Self::Hanging,
        Self::Broken,
        Self::Flaky,
        Self::Malformed,
    ];

    /// Whether documents come through at all.
    #[must_use]
    pub fn works(self) -> bool {
        matches!(self, Self::Fast | Self::Slow)
    }
}

/// A callback that arrived at a tenant's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub call: String,
    pub status: String,
    /// None for an `action` that is only told.
    pub sequence: Option<u32>,
    pub token: String,
    /// The server said 200.
    pub taken: bool,
}

/// A SIP message that a tenant was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub call: String,
    pub number: u32,
    pub token: String,
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub account: Account,
    pub domain: String,
    pub server: Server,
    /// Where status callbacks go; another server than the documents'.
    pub callback_server: Server,
    pub callbacks: Vec<Heard>,
    /// In the order in which they came.
    pub messages: Vec<Message>,
    /// Document by conversation and path.
    pub documents: BTreeMap<(u32, String), String>,
    pub requests: u64,
}

/// Every tenant's servers.
#[derive(Debug)]
pub struct Web {
    pub tenants: Vec<Tenant>,
    /// Answers on their way.
    pending: Vec<(Mono, HttpReply)>,
    random: Prng,
    /// Which tenant a conversation belongs to.
    pub owner: BTreeMap<u32, usize>,
}

impl Web {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (tenants, pending, owner) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { tenants, pending, random: Prng::new(seed ^ 0x7765_6221), owner }
    }

    /// A tenant with one SIP domain, `t<n>.example`.
    pub fn tenant(&mut self, server: Server, callback_server: Server) -> usize {
        let index = self.tenants.len();
        let number = u64::try_from(index).unwrap_or(0) + 1;
        let account = Account {
            sid: AccountSid(0xacc0_0000 + u128::from(number)),
            number,
            auth_token: Secret(format!("token-{number}")),
            friendly_name: format!("tenant {number}"),
            parent: AccountSid(0xacc0_0000 + u128::from(number)),
            ..Account::default()
        };
        let domain = format!("t{index}.example");
        self.tenants.push(Tenant {
            account,
            domain,
            server,
            callback_server,
            callbacks: Vec::new(),
            messages: Vec::new(),
            documents: BTreeMap::new(),
            requests: 0,
        });
        index
    }

    /// A tenant with a number that any source may call, beside its domain.
    pub fn open_tenant(&mut self, number: &str) -> (usize, PhoneNumber) {
        let index = self.tenant(Server::Fast, Server::Fast);
        let everybody = ["0.0.0.0/0", "::/0"];
        let networks = everybody.map(|it| it.parse().unwrap_or_else(|error| panic!("{error}")));
        let account = &mut self.tenants[index].account;
        account.sources = networks.to_vec();
        let account = account.sid;
        let SipDomain { config, .. } = self.domain(index);
        let number = number.to_owned();
        let sid = NumberSid(0x9_0000);
        (index, PhoneNumber { sid, account, number, config, ..PhoneNumber::default() })
    }

    /// The tenant's domain, as configured.
    #[must_use]
    pub fn domain(&self, index: usize) -> SipDomain {
        let tenant = &self.tenants[index];
        let number = u128::try_from(index).unwrap_or(0) + 1;
        let url = |path: &str| Hook::post(format!("http://{}/{path}", tenant.domain));
        let events = CallEvent::ALL.into_iter().fold(Events::NONE, Events::with);
        SipDomain {
            sid: DomainSid(0xd0_0000 + number),
            account: tenant.account.sid,
            domain_name: tenant.domain.clone(),
            friendly_name: String::new(),
            config: VoiceConfig {
                voice: Some(url("voice")),
                voice_fallback: None,
                status_callback: Some(StatusHook {
                    hook: Hook {
                        url: format!("http://cb.{}/status", tenant.domain),
                        method: Method::Post,
                    },
                    events,
                }),
                event_application: None,
            },
            sources: ["10.1.0.0/16", "fd00:1::/32"]
                .map(|network| network.parse().unwrap_or_else(|error| panic!("{error}")))
                .to_vec(),
            ..SipDomain::default()
        }
    }

    /// A request leaves for its server.
    pub fn request(&mut self, now: Now, request: &HttpRequest, faults: &mut Vec<String>) {
        let Some((index, callbacks)) = self.server_of(&request.url) else {
            faults.push(format!("a request to nobody: {}", request.url));
            return;
        };
        self.check(index, request, faults);
        let tenant = &mut self.tenants[index];
        tenant.requests += 1;
        let server = if callbacks { tenant.callback_server } else { tenant.server };
        let flaky = server == Server::Flaky && tenant.requests % 2 == 1;
        let fails = matches!(server, Server::Broken) || flaky;
        let (delay, result) = match server {
            Server::Dead => (request.connect_ms, Err(HttpError::Connect)),
            Server::Hanging => (request.total_ms, Err(HttpError::Timeout)),
            _ if fails => (30, Ok(answer(500, "oops"))),
            Server::Malformed => (40, Ok(answer(200, "<Response><Dial></Response>"))),
            _ => {
                let wait = match server {
                    // What guests do moves nobody else's answers.
                    _ if !tenant.account.sources.is_empty() => 35,
                    Server::Slow => 1_000 + self.random.below(3_000),
                    _ => 10 + self.random.below(60),
                };
                let body = match request.kind {
                    HttpKind::Instructions => document(&self.tenants[index], request, faults),
                    HttpKind::Callback => String::new(),
                };
                (u32::try_from(wait).unwrap_or(0), Ok(answer(200, &body)))
            }
        };
        let late = delay >= request.total_ms;
        let result = if late { Err(HttpError::Timeout) } else { result };
        if let Some(message) = message(request).filter(|_| !matches!(server, Server::Dead)) {
            self.tenants[index].messages.push(message);
        } else if request.kind == HttpKind::Callback && !matches!(server, Server::Dead) {
            let taken = result.as_ref().is_ok_and(|answer| answer.status == 200);
            let heard = heard(request, taken);
            self.tenants[index].callbacks.push(heard);
        }
        let at = now.mono + Duration::from_millis(u64::from(delay.min(request.total_ms)));
        self.pending.push((at, HttpReply { id: request.id, result }));
    }

    /// Documents at `t<n>.example`, callbacks at `cb.t<n>.example`.
    fn server_of(&self, url: &str) -> Option<(usize, bool)> {
        let host = url.strip_prefix("http://")?.split('/').next()?;
        let (host, callbacks) = match host.strip_prefix("cb.") {
            Some(host) => (host, true),
            None => (host, false),
        };
        let at = self.tenants.iter().position(|tenant| tenant.domain == host)?;
        Some((at, callbacks))
    }

    /// Nobody is told of another's call.
    fn check(&self, index: usize, request: &HttpRequest, faults: &mut Vec<String>) {
        let account = &self.tenants[index].account;
        if request.account != account.sid || request.auth_token != account.auth_token {
            faults.push(format!("{} is asked on behalf of {}", request.url, request.account));
        }
        if let Some(group) = group_of(request)
            && self.owner.get(&group) != Some(&index)
        {
            faults.push(format!("{} is told of conversation {group}", request.url));
        }
    }

    /// Every message of a tenant's calls, to its server for callbacks.
    #[must_use]
    pub fn subscription(&self, index: usize) -> SignalingSubscription {
        let tenant = &self.tenants[index];
        SignalingSubscription {
            sid: SubscriptionSid(0x5b00 + index as u128),
            account: tenant.account.sid,
            hook: Hook::post(format!("http://cb.{}/sip", tenant.domain)),
            ..SignalingSubscription::default()
        }
    }

    /// When the next answer arrives.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.pending.iter().map(|(at, _)| *at).min().unwrap_or(Mono::NEVER)
    }

    /// The answers that have arrived.
    pub fn arrived(&mut self, now: Mono) -> Vec<HttpReply> {
        let mut due: Vec<(Mono, HttpReply)> = Vec::new();
        self.pending.retain(|(at, reply)| {
            let is_due = *at <= now;
            if is_due {
                due.push((*at, reply.clone()));
            }
            !is_due
        });
        due.sort_by_key(|(at, reply)| (*at, reply.id.0));
        due.into_iter().map(|(_, reply)| reply).collect()
    }

    /// The client that waited is dead: nobody takes the answers.
    pub fn forget(&mut self) {
        self.pending.clear();
    }
}

fn answer(status: u16, body: &str) -> HttpAnswer {
    let content_type = "text/xml".to_owned();
    HttpAnswer { status, content_type, body: body.as_bytes().to_vec(), ..HttpAnswer::default() }
}

fn param<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The conversation of a call: its caller is `sip:c<group>@..`, a leg of the API's goes to
/// `sip:g<group>@..`.
fn group_of(request: &HttpRequest) -> Option<u32> {
    let of = |name: &str, letter: char| {
        let party = param(request, name)?;
        // Who calls a number is shown without a host.
        let user = party.strip_prefix("sip:").unwrap_or(party).split('@').next()?;
        user.strip_prefix(letter)?.parse().ok()
    };
    of("From", 'c').or_else(|| of("To", 'g'))
}

fn document(tenant: &Tenant, request: &HttpRequest, faults: &mut Vec<String>) -> String {
    let path = request.url.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(group) = group_of(request) else {
        faults.push(format!("a request about no conversation: {:?}", request.params));
        return String::new();
    };
    tenant.documents.get(&(group, path)).cloned().unwrap_or_default()
}

fn message(request: &HttpRequest) -> Option<Message> {
    let number = param(request, "SipMessageNumber")?.parse().ok()?;
    let call = param(request, "CallSid").unwrap_or_default().to_owned();
    Some(Message { call, number, token: request.idempotency_token.clone() })
}

fn heard(request: &HttpRequest, taken: bool) -> Heard {
    let text = |name: &str| param(request, name).unwrap_or_default().to_owned();
    Heard {
        call: text("CallSid"),
        status: text("CallStatus"),
        sequence: text("SequenceNumber").parse().ok(),
        token: request.idempotency_token.clone(),
        taken,
    }
}

/// The id of a call as applications see it.
#[must_use]
pub fn call_of(sid: &str) -> Option<CallId> {
    sid.parse().ok()
}

/// So that a test may answer by itself.
#[must_use]
pub fn reply(id: HttpId, body: &str) -> HttpReply {
    HttpReply { id, result: Ok(answer(200, body)) }
}
