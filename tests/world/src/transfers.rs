//! Scenes in which calls change hands: somebody picks up another one's call (Replaces, RFC 3891),
//! refers whom he talks with to a third one, with or without having asked him before (REFER), and
//! hangs up in the same breath as others do. What must hold, whoever is faster: nobody is answered
//! and then alone, and when all have hung up who had to, nobody stands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Prng};
use model::port::Entity;
use model::{DomainSid, Hook, SipDomain};

use crate::directed::Directed;
use crate::phone::{Action, Dial, Manner, State};
use crate::scale::Scale;
use crate::story::below;
use crate::tenant::Server;
use crate::world::{CallRef, DAWN, World};

/// Conversations in scenes have numbers from here on, and end before those by trunks.
pub const FIRST_GROUP: u32 = 500_001;
const SECOND: Duration = Duration::from_secs(1);
/// How much apart two do something in the same breath, milliseconds.
const APART: [u64; 6] = [0, 0, 3, 12, 40, 200];
/// Between two looks at who hears somebody, and between one end and the next.
const LISTENS: Duration = Duration::from_secs(4);
const CLOSES: Duration = Duration::from_secs(6);

/// Who is in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// Whose call changes hands, or who refers.
    First,
    /// With whom he talks, or whom he rings.
    Other,
    /// Who is asked before, or whom the other one is referred to.
    Third,
    /// Who picks up.
    Picks(usize),
}

/// A call of somebody's, by whoever it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leg {
    role: Role,
    /// His first call, or his second.
    number: usize,
}

const FIRST: Leg = Leg { role: Role::First, number: 0 };
const ASKS: Leg = Leg { role: Role::First, number: 1 };
const OTHER: Leg = Leg { role: Role::Other, number: 0 };
const THIRD: Leg = Leg { role: Role::Third, number: 0 };

/// Something that happens in a scene.
#[derive(Clone, Debug)]
enum Act {
    /// He calls, and this document is run for him.
    Calls(Role, &'static str),
    /// An INVITE with Replaces of this call.
    TakesPlace(usize, Leg),
    /// Whoever he talks with is referred to the third one's phone, or to whom he has asked.
    Refers(Leg, Option<Leg>),
    HangsUp(Leg),
    /// What everybody has heard is remembered.
    Listens,
    /// Everybody who is in a call has heard somebody; then the first of them hangs up.
    Closes,
}

/// A scene: who is in it, and what happens.
#[derive(Debug)]
struct Scene {
    group: u32,
    kind: &'static str,
    agents: BTreeMap<Role, usize>,
    acts: Vec<(Mono, Act)>,
    done: Vec<(Mono, Act)>,
    /// Packets of others, by call.
    heard: BTreeMap<CallRef, u64>,
    /// It is a document's, in which there is nobody to be heard.
    is_alone: bool,
}

/// All of a story's.
#[derive(Debug, Default)]
pub struct Scenes {
    scenes: Vec<Scene>,
    domains: [String; 2],
    pub(crate) faults: Vec<String>,
    /// How often somebody was listened to: the test must not lose its subject.
    pub listened: u64,
    /// Places taken, and referrals that came to something.
    pub taken: u64,
    pub referred: u64,
}

const KINDS: [&str; 6] = ["picked up", "taken over", "attended", "blind", "both refer", "both end"];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn any<T: Copy>(random: &mut Prng, of: &[T]) -> T {
    let at = random.below(u64::try_from(of.len()).unwrap_or(1));
    of[usize::try_from(at).unwrap_or(0)]
}

impl Scenes {
    /// Their tenant, their phones and what they are up to.
    pub(crate) fn new(
        world: &mut World,
        directed: &mut Directed,
        (seed, scale): (u64, Scale),
    ) -> Self {
        if !scale.transfers {
            return Self::default();
        }
        let mut random = Prng::new(seed ^ 0x7363_656e);
        let tenant = directed.web.tenant(Server::Fast, Server::Fast);
        let first = directed.web.domain(tenant);
        let domains = [first.domain_name.clone(), format!("x.{}", first.domain_name)];
        let mut second = SipDomain { domain_name: domains[1].clone(), ..first };
        second.sid = DomainSid(0xd1_0000);
        second.config.voice = Some(Hook::post(format!("http://{}/second", domains[0])));
        directed.ledger.put(Entity::SipDomain(second));
        let mut scenes = Self { domains, ..Self::default() };
        for number in 0..scale.calls.min(4) {
            let group = FIRST_GROUP + number;
            directed.web.owner.insert(group, tenant);
            let at = DAWN.mono + SECOND + below(&mut random, scale.within);
            let scene = Scene::new(world, &mut random, (group, at));
            let documents = &mut directed.web.tenants[tenant].documents;
            let whom = |role: Role| uri(group, world.address(scene.agents[&role]));
            let documents_of = [("voice", Role::Other), ("second", Role::Third)];
            for (path, role) in documents_of {
                let document = scene.document(path, &whom(role));
                documents.insert((group, path.to_owned()), document);
            }
            scenes.scenes.push(scene);
        }
        scenes
    }

    /// Conversations of which nobody else can say what is heard.
    pub(crate) fn groups(&self) -> impl Iterator<Item = u32> {
        self.scenes.iter().map(|scene| scene.group)
    }

    pub(crate) fn next(&self) -> Mono {
        let acts = self.scenes.iter().flat_map(|scene| &scene.acts);
        acts.map(|(at, _)| *at).min().unwrap_or(Mono::NEVER)
    }

    /// What is due happens. `is_calm`: nothing is lost, and nobody has died.
    pub(crate) fn play(&mut self, world: &mut World, is_calm: bool) {
        let now = world.now.mono;
        for scene in &mut self.scenes {
            let due: Vec<_> = scene.acts.extract_if(.., |(at, _)| *at <= now).collect();
            for (_, act) in due {
                world.trace.line(now, || format!("*** in {}: {act:?}", scene.group));
                if is_calm && !scene.is_alone && matches!(act, Act::Closes) {
                    let calls = scene.calls(world).into_iter();
                    let up = calls.filter(|at| world.call(*at).state == State::Up).count();
                    self.listened += u64::try_from(up).unwrap_or(0);
                }
                if let Some(fault) = scene.play(world, (&act, &self.domains), is_calm) {
                    self.faults.push(format!("{} in {}: {fault}", scene.kind, scene.group));
                }
                scene.done.push((now, act));
            }
        }
    }

    /// Nobody is in a call for ever, whoever lived or died. Counts what came of the scenes.
    pub(crate) fn close(&mut self, world: &World) {
        for scene in &self.scenes {
            for at in scene.calls(world) {
                let call = world.call(at);
                if !call.is_over() {
                    let (group, kind, state) = (scene.group, scene.kind, call.state);
                    self.faults.push(format!("{kind} in {group}: {at:?} is {state:?} for ever"));
                }
                let said = &call.seen.notified;
                self.referred += u64::from(said.iter().any(|line| line.contains(" 200 ")));
                self.taken += u64::from(call.seen.code == 200 && scene.is_pick(at));
            }
        }
    }

    pub(crate) fn outline(&self) -> String {
        let mut text = String::new();
        for scene in &self.scenes {
            let Scene { group, kind, agents, .. } = scene;
            text += &format!("         scene {group}: {kind}, {agents:?}\n");
            for (at, act) in scene.done.iter().chain(&scene.acts) {
                text += &format!("{:>16.3} {act:?}\n", at.since(DAWN.mono).as_secs_f64());
            }
        }
        text
    }
}

fn uri(group: u32, at: SocketAddr) -> String {
    format!("<Sip>sip:g{group}@{at}</Sip>")
}

impl Scene {
    fn new(world: &mut World, random: &mut Prng, (group, at): (u32, Mono)) -> Self {
        let kind = any(random, &KINDS);
        let mut agents = BTreeMap::new();
        for (number, role) in
            [Role::First, Role::Other, Role::Third, Role::Picks(0), Role::Picks(1)]
                .into_iter()
                .enumerate()
        {
            let ring = ms(100 + random.below(600));
            let manner = match role {
                // In its document he rings, and nobody is there.
                Role::Other if kind == "picked up" => Manner::ringing(),
                Role::Third if kind == "blind" => match random.below(4) {
                    0 => Manner::refusing(486),
                    1 => Manner::ringing(),
                    _ => Manner::answering(ring),
                },
                _ => Manner::answering(ring),
            };
            let manner = Manner { by_tcp: random.chance(1, 4), ..manner };
            let agent = world.agent(manner);
            let number = u32::try_from(number).unwrap_or(0);
            world.agents[agent].voice = Some(10_000_000 + group * 16 + number);
            agents.insert(role, agent);
        }
        let mut scene = Self {
            group,
            kind,
            agents,
            acts: Vec::new(),
            done: Vec::new(),
            heard: BTreeMap::new(),
            is_alone: kind == "picked up",
        };
        scene.plot(random, at);
        scene
    }

    /// What happens, and when.
    fn plot(&mut self, random: &mut Prng, at: Mono) {
        let mut add = |after: Duration, act: Act| self.acts.push((at + after, act));
        let apart = |random: &mut Prng| ms(any(random, &APART));
        add(Duration::ZERO, Act::Calls(Role::First, "voice"));
        let then = 4 * SECOND;
        match self.kind {
            "picked up" => {
                add(then, Act::TakesPlace(0, FIRST));
                let leg = Leg { role: Role::Picks(0), number: 0 };
                match random.below(5) {
                    0 | 1 => {}
                    2 => {
                        let whose = if random.chance(1, 2) { leg } else { FIRST };
                        add(then + 2 * SECOND, Act::TakesPlace(1, whose));
                    }
                    3 => add(then + apart(random), Act::TakesPlace(1, FIRST)),
                    _ => add(then + apart(random), Act::HangsUp(FIRST)),
                }
            }
            "taken over" => {
                let whose = if random.chance(1, 2) { FIRST } else { OTHER };
                add(then, Act::TakesPlace(0, whose));
                match random.below(4) {
                    0 => {}
                    1 => {
                        let ends = any(random, &[FIRST, OTHER]);
                        add(then + apart(random), Act::HangsUp(ends));
                    }
                    _ => add(then + apart(random), Act::TakesPlace(1, whose)),
                }
            }
            "attended" | "both refer" => {
                add(2 * SECOND, Act::Calls(Role::First, "second"));
                let after = then + 2 * SECOND;
                let early = random.chance(1, 6);
                let after = if early { 2 * SECOND + ms(300) } else { after };
                add(after, Act::Refers(FIRST, Some(ASKS)));
                let apart = apart(random);
                if self.kind == "both refer" {
                    add(after + apart, Act::Refers(ASKS, Some(FIRST)));
                } else if random.chance(1, 2) && !early {
                    let ends = any(random, &[FIRST, ASKS, OTHER, THIRD]);
                    add(after + apart, Act::HangsUp(ends));
                }
            }
            "blind" => {
                let who = any(random, &[FIRST, OTHER]);
                add(then, Act::Refers(who, None));
                if random.chance(1, 2) {
                    let ends = any(random, &[FIRST, OTHER]);
                    let after = if random.chance(1, 3) { SECOND } else { apart(random) };
                    add(then + after, Act::HangsUp(ends));
                }
            }
            _ => {
                add(then, Act::HangsUp(FIRST));
                add(then + apart(random), Act::HangsUp(OTHER));
            }
        }
        // Whom somebody is referred to may ring for a minute.
        let closes = if self.kind == "blind" { 75 * SECOND } else { 30 * SECOND };
        for round in 0..4 {
            add(closes + CLOSES * round, Act::Listens);
            add(closes + CLOSES * round + LISTENS, Act::Closes);
        }
    }

    fn document(&self, path: &str, whom: &str) -> String {
        let rings = "<Response><Dial timeout=\"10\">";
        match (self.kind, path) {
            ("picked up", _) if self.group.is_multiple_of(2) => {
                "<Response><Pause length=\"12\"/></Response>".to_owned()
            }
            _ => format!("{rings}{whom}</Dial></Response>"),
        }
    }

    /// Every call of the scene.
    fn calls(&self, world: &World) -> Vec<CallRef> {
        let of = |agent: &usize| {
            let agent = *agent;
            let calls = world.agents[agent].calls.iter().enumerate();
            let own = calls.filter(|(_, call)| call.group == self.group);
            own.map(move |(call, _)| CallRef { agent, call }).collect::<Vec<_>>()
        };
        self.agents.values().flat_map(of).collect()
    }

    fn is_pick(&self, at: CallRef) -> bool {
        [0, 1].iter().any(|pick| self.agents.get(&Role::Picks(*pick)) == Some(&at.agent))
    }

    fn at(&self, world: &World, leg: Leg) -> Option<CallRef> {
        let agent = *self.agents.get(&leg.role)?;
        (world.agents[agent].calls.len() > leg.number)
            .then_some(CallRef { agent, call: leg.number })
    }

    /// Something happens; what is wrong with it.
    fn play(
        &mut self,
        world: &mut World,
        (act, domains): (&Act, &[String; 2]),
        is_calm: bool,
    ) -> Option<String> {
        match act {
            Act::Calls(role, path) => {
                let domain = &domains[usize::from(*path == "second")];
                self.dial(world, (*role, domain), Vec::new());
            }
            Act::TakesPlace(pick, leg) => {
                let at = self.at(world, *leg).filter(|at| world.call(*at).state == State::Up)?;
                let name = unescaped(&world.call(at).replaces());
                let line = format!("Replaces: {name}");
                self.dial(world, (Role::Picks(*pick), &domains[0]), vec![line]);
            }
            Act::Refers(leg, to) => {
                let from = self.at(world, *leg)?;
                let third = world.address(self.agents[&Role::Third]);
                let to = match to {
                    None => format!("sip:g{}@{third}", self.group),
                    Some(asked) => {
                        let asked = self.at(world, *asked)?;
                        format!("sip:x@{third}?Replaces={}", world.call(asked).replaces())
                    }
                };
                world.act(from, Action::Refer(to, false));
            }
            Act::HangsUp(leg) => {
                let at = self.at(world, *leg)?;
                world.act(at, Action::HangUp);
            }
            Act::Listens => {
                let calls = self.calls(world).into_iter();
                self.heard = calls.map(|at| (at, heard(world, at))).collect();
            }
            Act::Closes => {
                let mut calls = self.calls(world);
                calls.retain(|at| world.call(*at).state == State::Up);
                let fault = match (is_calm, self.is_alone) {
                    (true, true) => calls.first().map(|at| self.tell(*at, "is up in no document")),
                    (true, false) => self.deaf(world, &calls),
                    (false, _) => None,
                };
                if let Some(first) = calls.first() {
                    world.act(*first, Action::HangUp);
                }
                return fault;
            }
        }
        None
    }

    /// Who of them has heard nobody since the last look.
    fn deaf(&self, world: &World, calls: &[CallRef]) -> Option<String> {
        let is_deaf = |at: &&CallRef| self.heard.get(at) == Some(&heard(world, **at));
        Some(self.tell(*calls.iter().find(is_deaf)?, "is up and alone"))
    }

    fn tell(&self, at: CallRef, what: &str) -> String {
        let role = self.agents.iter().find(|(_, agent)| **agent == at.agent);
        format!("{at:?}, {role:?}, {what}")
    }

    fn dial(&self, world: &mut World, (role, domain): (Role, &str), headers: Vec<String>) {
        let agent = self.agents[&role];
        let dial = Dial {
            to: format!("sip:desk@{domain}"),
            from: format!("sip:c{}@phones.example", self.group),
            group: self.group,
            stream: world.agents[agent].voice.unwrap_or(0),
            headers,
            ..Dial::default()
        };
        world.dial(agent, &dial);
    }
}

/// Packets of anybody that it has heard.
fn heard(world: &World, at: CallRef) -> u64 {
    let media = world.call(at).media.as_ref();
    media.map_or(0, |media| media.heard.streams.values().map(|it| it.packets).sum())
}

fn unescaped(text: &str) -> String {
    text.replace("%40", "@").replace("%3B", ";").replace("%3D", "=")
}
