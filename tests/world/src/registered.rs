//! Phones that register in the world: at a domain of a tenant's own, by every transport, with
//! credentials, from where no list has them. Others call their users, and they call each other;
//! their connections break, both processes die under them. What must hold, whatever happens: a
//! contact whose phone was told that it is kept is kept, once; who calls its user reaches it, or
//! hears that nobody is there; every request of theirs is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent::{Account, Login, Registered, Registration};
use base::{Mono, Prng};
use model::port::Entity;
use model::{
    Binding, CallRow, Credential, CredentialList, CredentialListSid, CredentialSid, DomainAuth,
    Mapping,
};

use crate::blow::Blow;
use crate::directed::Directed;
use crate::forwards::{self, Habit};
use crate::phone::{Action, Manner};
use crate::plane::listener;
use crate::story::{Conversation, Scale, Story, below};
use crate::tenant::{Server, Web};
use crate::world::{DAWN, World};

/// Conversations with registered users have numbers from here on, and end before those of guests.
pub const FIRST_GROUP: u32 = 800_001;
pub(crate) const LAST_GROUP: u32 = 899_999;
const PASSWORD: &str = "Secret-of-Phones-1";
const SECOND: Duration = Duration::from_secs(1);
/// A dial rings so long.
const RINGS: Duration = Duration::from_secs(9);
/// A call that begins so near to a change may come before it or after.
const NEAR_NANOS: u64 = 1_500_000_000;
const NEAR: Duration = Duration::from_nanos(NEAR_NANOS);

/// How a phone registers, and its contact.
const KINDS: [Kind; 6] = [
    Kind { transport: "udp", instance: false, flow: false, expires: 60 },
    Kind { transport: "udp", instance: true, flow: false, expires: 20 },
    Kind { transport: "tcp", instance: true, flow: true, expires: 90 },
    Kind { transport: "tcp", instance: false, flow: false, expires: 60 },
    Kind { transport: "tls", instance: true, flow: false, expires: 120 },
    Kind { transport: "web", instance: true, flow: true, expires: 75 },
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) transport: &'static str,
    pub(crate) instance: bool,
    pub(crate) flow: bool,
    pub(crate) expires: u32,
}

/// A phone that registers.
#[derive(Clone, Debug)]
pub struct Home {
    pub agent: usize,
    pub user: String,
    pub(crate) is_stream: bool,
    /// Two flows are of one.
    pub(crate) phone: usize,
    pub(crate) habit: Habit,
}

/// All of a story's.
#[derive(Clone, Debug, Default)]
pub struct Homes {
    pub phones: Vec<Home>,
    pub tenant: usize,
    domain: String,
    /// They send calls on, decline, and have several flows.
    forwards: bool,
    /// Once each.
    told: Vec<String>,
}

impl Kind {
    fn manner(self, random: &mut Prng) -> Manner {
        let ms = |ms: u64| Duration::from_millis(ms);
        let (by_tcp, by_tls) = (self.transport != "udp", self.transport == "tls");
        let manner = match random.below(6) {
            0 => Manner::refusing(486),
            _ => Manner::answering(ms(300 + random.below(2_000))),
        };
        let manner = match random.chance(1, 2) {
            true => manner.after_answer(ms(500 + random.below(9_000)), Action::HangUp),
            false => manner,
        };
        Manner { by_tcp, by_tls, by_web: self.transport == "web", ..manner }
    }

    pub(crate) fn account(self, number: usize, domain: &str, user: &str) -> Account {
        let mut params = String::new();
        if self.instance {
            params = format!(";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{number:012x}>\"");
        }
        if self.flow {
            params += ";reg-id=1";
        }
        let headers = if self.flow { vec!["Supported: path, outbound".to_owned()] } else { vec![] };
        let login = Login { user: user.to_owned(), password: PASSWORD.to_owned() };
        Account { login, domain: domain.to_owned(), params, headers, expires: self.expires }
    }
}

impl Homes {
    /// The tenant, its users and their phones; they begin to register one after the other.
    pub(crate) fn new(
        world: &mut World,
        directed: &mut Directed,
        (seed, forwards): (u64, bool),
    ) -> Self {
        let mut random = Prng::new(seed ^ 0x7265_6769);
        let tenant = directed.web.tenant(Server::Fast, Server::Fast);
        let domain = directed.web.tenants[tenant].domain.clone();
        let mut phones = Vec::new();
        if forwards {
            phones = forwards::phones(world, &mut random, &domain);
            return Self { phones, tenant, domain, forwards, told: Vec::new() };
        }
        for number in 0..3 + usize::try_from(random.below(4)).unwrap_or(0) {
            let kind = KINDS[usize::try_from(random.below(KINDS.len() as u64)).unwrap_or(0)];
            let user = format!("u{}", random.below(3));
            let host = u8::try_from(number + 1).unwrap_or(0);
            let sip = SocketAddr::from(([10, 4, 0, host], 5_060));
            let agent = world.agent_at(sip, kind.manner(&mut random));
            let at = DAWN.mono + below(&mut random, 2 * SECOND);
            let account = kind.account(number, &domain, &user);
            world.agents[agent].register(account, listener(), at);
            let (is_stream, habit) = (kind.transport != "udp", Habit::default());
            phones.push(Home { agent, user, is_stream, phone: number, habit });
        }
        Self { phones, tenant, domain, forwards, told: Vec::new() }
    }

    /// What the tenant has configured, beside its account and domain.
    fn entities(&self, web: &Web) -> Vec<Entity> {
        let account = web.tenants[self.tenant].account.sid;
        let list = CredentialListSid(0x71_0000);
        let mapped = vec![Mapping { list, ..Mapping::default() }];
        let auth = DomainAuth {
            domain: web.domain(self.tenant).sid,
            account,
            registers: true,
            calls: mapped.clone(),
            registrations: mapped,
        };
        let lists = CredentialList { sid: list, account, ..CredentialList::default() };
        let users = (0..3_u8).map(|user| {
            Entity::Credential(Credential {
                sid: CredentialSid(0x71_0000 + u128::from(user)),
                account,
                list,
                username: format!("u{user}"),
                password: PASSWORD.into(),
                ..Credential::default()
            })
        });
        [Entity::from(lists)].into_iter().chain(users).chain([auth.into()]).collect()
    }

    /// A registered phone's habits in a call that it makes: its own transport, its credentials.
    fn calls_as(world: &World, agent: usize, manner: &Manner) -> Manner {
        let own = &world.agents[agent];
        let login = own.registration.as_ref().map(|it| it.account.login.clone());
        let Manner { by_tcp, by_tls, by_web, .. } = own.manner;
        Manner { by_tcp, by_tls, by_web, login, ..manner.clone() }
    }

    /// Whom a document dials.
    fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.domain)
    }

    /// Looks whether each contact that is kept for a phone stands in the books, once.
    pub(crate) fn look(&mut self, world: &World, bindings: &[Binding], faults: &mut Vec<String>) {
        let now = world.now.mono;
        for (number, home) in self.phones.iter().enumerate() {
            let Some(registration) = &world.agents[home.agent].registration else { continue };
            let contact = registration.contact();
            let count = bindings.iter().filter(|it| it.contact == contact).count();
            let is_kept = registration.is_registered(now);
            let what = match count {
                0 if is_kept => "is not in the books",
                0 | 1 => continue,
                _ => "is in the books more than once",
            };
            let fault = format!("phone {number}: {contact} {what}");
            if !self.told.contains(&fault) {
                let at = now.since(DAWN.mono);
                faults.push(format!("{fault}, at {at:?}"));
                self.told.push(fault);
            }
        }
    }

    /// They ask no more.
    pub(crate) fn rest(&self, world: &mut World) {
        for home in &self.phones {
            if let Some(registration) = &mut world.agents[home.agent].registration {
                registration.rest();
            }
        }
    }
}

/// Calls to users, by chance beside all others: by other phones of theirs, or by somebody whom the
/// domain knows.
pub(crate) fn calls(
    world: &mut World,
    directed: &mut Directed,
    homes: &Homes,
    (seed, scale): (u64, Scale),
) -> Vec<Conversation> {
    for entity in homes.entities(&directed.web) {
        directed.ledger.put(entity);
    }
    let mut random = Prng::new(seed ^ 0x7269_6e67);
    let mut call = |number: u32| {
        let group = FIRST_GROUP + number;
        let at = DAWN.mono + SECOND + below(&mut random, scale.within + 25 * SECOND);
        let any = usize::try_from(random.below(homes.phones.len() as u64)).unwrap_or(0);
        let after = Duration::from_millis(1_000 + random.below(9_000));
        let manner = Manner::default().after_answer(after, Action::HangUp);
        let (user, bridge) = (format!("u{}", random.below(3)), random.chance(1, 2));
        let own = &homes.phones[any];
        let caller = match random.chance(1, 2) && own.user != user {
            true => own.agent,
            false => world.agent(manner.clone()),
        };
        let rings = if homes.forwards { 20 } else { 8 };
        let document = format!(
            "<Response><Dial timeout=\"{rings}\" answerOnBridge=\"{bridge}\"><Sip>{}</Sip></Dial></Response>",
            homes.uri(&user)
        );
        directed.web.owner.insert(group, homes.tenant);
        let documents = &mut directed.web.tenants[homes.tenant].documents;
        documents.insert((group, "voice".to_owned()), document);
        Conversation {
            group,
            tenant: homes.tenant,
            at,
            kind: "dial a registered user",
            caller: Some(caller),
            callees: Vec::new(),
            call: None,
            compatible: true,
            late_offer: false,
            moves: Vec::new(),
            told: Vec::new(),
            begun: false,
            part: String::new(),
            api: None,
            domain: format!("{user}@{}", homes.domain),
            visit: Some(Homes::calls_as(world, caller, &manner)),
        }
    };
    (0..scale.calls).map(&mut call).collect()
}

fn seen(world: &World, home: &Home) -> Registered {
    let registration = world.agents[home.agent].registration.as_ref();
    registration.map(|it: &Registration| it.seen.clone()).unwrap_or_default()
}

fn lasts(seen: &Registered, from: Mono, until: Mono) -> bool {
    seen.spans.iter().any(|span| span.0 <= from && until < span.1)
}

fn touches(seen: &Registered, from: Mono, until: Mono) -> bool {
    seen.spans.iter().any(|span| span.0 < until && from < span.1)
}

/// When one of the processes was dead, or the disk was full, and some time after.
fn down(story: &Story) -> Vec<(Mono, Mono)> {
    let mut spans: Vec<(Mono, Mono)> = Vec::new();
    for (at, blow) in &story.blows {
        match blow {
            Blow::ControlDies | Blow::PlaneDies | Blow::StoreFails | Blow::Fault(..) => {
                spans.push((*at, *at + NEAR));
            }
            Blow::ControlComes | Blow::PlaneComes => {
                if let Some(last) = spans.last_mut() {
                    last.1 = *at + NEAR;
                }
            }
            Blow::Clock(_) | Blow::Cut => {}
        }
    }
    spans
}

/// What does not hold when the story is over.
pub(crate) fn faults(story: &mut Story) -> Vec<String> {
    let Some(homes) = story.homes.clone() else { return Vec::new() };
    let mut faults = Vec::new();
    let down = down(story);
    for (number, home) in homes.phones.iter().enumerate() {
        let seen = seen(&story.world, home);
        faults.extend(seen.complaints.iter().map(|it| format!("phone {number}: {it}")));
        let died =
            |(from, until): &(Mono, Mono)| down.iter().any(|(down, up)| from < up && down < until);
        for span in seen.unanswered.iter().filter(|span| !died(span)) {
            faults.push(format!("phone {number}: nobody answered what it asked in {span:?}"));
        }
        let is_known = |code: &&u16| !matches!(code, 200 | 423 | 503);
        for code in seen.codes.iter().filter(is_known) {
            faults.push(format!("phone {number}: refused with {code}"));
        }
    }
    if homes.forwards {
        faults.extend(forwards::faults(story, &homes));
    } else if !story.is_clock_set() {
        reached(story, &homes, &down, &mut faults);
    }
    faults
}

/// Whoever called a user has reached the phones that were registered, or heard that none is.
fn reached(story: &mut Story, homes: &Homes, down: &[(Mono, Mono)], faults: &mut Vec<String>) {
    let is_clear = story.weather.0.is_clear();
    let rows: Vec<CallRow> = story.directed().ledger.calls.values().cloned().collect();
    let mut children: BTreeMap<u32, Vec<&CallRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.parent.is_some()) {
        let parent = rows.iter().find(|it| Some(it.sid) == row.parent);
        let group = parent.and_then(|it| group_of(&it.from));
        if let Some(group) = group.filter(|it| (FIRST_GROUP..=LAST_GROUP).contains(it)) {
            children.entry(group).or_default().push(row);
        }
    }
    for (group, rows) in children {
        let Some(first) = rows.iter().map(|row| row.date_created).min() else { continue };
        let at = DAWN.mono + Duration::from_micros(first.micros_since(DAWN.wall));
        if down.iter().any(|(from, until)| at < *until && *from < at + RINGS) {
            continue;
        }
        let is_theirs = |home: &&Home| rows.iter().any(|row| row.to == homes.uri(&home.user));
        let theirs: Vec<&Home> = homes.phones.iter().filter(is_theirs).collect();
        let has_rung = |home: &Home| {
            let calls = &story.world.agents[home.agent].calls;
            calls.iter().any(|call| call.group == group && call.who == crate::phone::Who::Callee)
        };
        let mut may_ring = false;
        for home in theirs {
            let seen = seen(&story.world, home);
            let (before, after) = (Mono(at.0.saturating_sub(50_000_000)), at + NEAR);
            let is_sure = is_clear || home.is_stream;
            if is_sure && lasts(&seen, before, after) && !has_rung(home) {
                faults.push(format!("{group} does not reach {home:?}: {rows:#?}"));
            }
            may_ring |= touches(&seen, Mono(before.0.saturating_sub(NEAR_NANOS)), after);
            may_ring |= has_rung(home);
        }
        if !may_ring && rows.iter().any(|row| row.sip_code != 480) {
            faults.push(format!("nobody is there for {group}, who is told: {rows:#?}"));
        }
    }
}

fn group_of(from: &str) -> Option<u32> {
    let user = from.strip_prefix("sip:").unwrap_or(from).split('@').next()?;
    user.strip_prefix('c')?.parse().ok()
}
