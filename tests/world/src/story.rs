//! A story: a whole world from one seed. Tenants with good and bad servers, calls that are
//! answered, refused, cancelled and forgotten, networks that lose and reorder, processes that die.

use std::fmt::Write as _;
use std::time::Duration;

use base::{Mono, Prng, Target};
use model::port::{ApiCall, ApiId, ApiRequest, CreateCall, Entity, Instructions};
use model::{Currency, Nanos, OutboundRoute, Price, PriceUnit, RouteSid};
use shard::faults::{Site, planted};
use shard::plan::GuardPlan;
use wire::Service;

use crate::blow::{self, Blow};
use crate::directed::Directed;
use crate::guests::{self, Habit};
use crate::habit::{Cast, Move};
use crate::lines::Lines;
use crate::listen::{Listener, is_dead};
use crate::network::Weather;
use crate::phone::{Action, Dial, Manner};
use crate::plane::PlaneSetup;
use crate::plant::Planter;
use crate::registered::{self, Homes};
use crate::strangers::Strangers;
use crate::tenant::{Server, Web};
use crate::transfers::Scenes;
use crate::world::{CallRef, DAWN, Setup, World};

pub use crate::scale::Scale;

/// One conversation of the story.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub group: u32,
    pub tenant: usize,
    pub at: Mono,
    pub kind: &'static str,
    /// The caller; None for a call of the API's.
    pub caller: Option<usize>,
    /// Agents that may be dialled.
    pub callees: Vec<usize>,
    pub call: Option<CallRef>,
    /// Nothing in it may end for want of a codec.
    pub compatible: bool,
    pub(crate) late_offer: bool,
    pub(crate) moves: Vec<(Mono, Move)>,
    /// The moves made.
    pub(crate) told: Vec<(Mono, Move)>,
    pub(crate) begun: bool,
    pub(crate) api: Option<CreateCall>,
    pub(crate) domain: String,
    /// What the caller's INVITE has beside its description.
    pub(crate) part: String,
    /// How a guest, or who calls a registered user, treats its call.
    pub(crate) visit: Option<Manner>,
}

/// A world and its script.
#[derive(Debug)]
pub struct Story {
    pub seed: u64,
    pub world: World,
    pub conversations: Vec<Conversation>,
    pub blows: Vec<(Mono, Blow)>,
    pub weather: (Weather, Weather),
    /// The dataplane died at these moments.
    pub plane_deaths: Vec<Mono>,
    /// The faults that were come to.
    pub struck: Vec<Site>,
    /// Who listens to the conversations while they last.
    pub listener: Listener,
    /// Phones that register.
    pub homes: Option<Homes>,
    /// Trunks and whom they lead to.
    pub lines: Option<Lines>,
    /// In which calls change hands.
    pub scenes: Scenes,
    next_blow: usize,
    planted: Option<Site>,
}

const SECOND: Duration = Duration::from_secs(1);
/// Between looks at the phones.
const LOOK: Duration = Duration::from_millis(500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Story {
    #[must_use]
    pub fn new(seed: u64, scale: Scale) -> Self {
        let mut random = Prng::new(seed ^ 0x5707_7953);
        let mut weather = weather(&mut random);
        if scale.talks && random.chance(2, 3) || scale.calm {
            weather = (Weather::CLEAR, Weather::CLEAR);
        }
        // Sessions are refreshed while a call lasts.
        let brief = random.chance(1, 4);
        let plane = plane(&mut random, (seed, scale), brief);
        let shards = plane.shards;
        let mut world = named(&Setup { seed, plane, sip: weather.0, media: weather.1 });
        let web = tenants(&mut random, seed);
        let mut directed = Directed::new(shards, web, seed);
        directed.canary = scale.canary;
        world.planter = scale.plant.map(Planter::new);
        let mut listener = Listener::default();
        if random.chance(1, 6) {
            directed.sync_most = ms(50 + random.below(3_000));
        }
        directed.settings.limits.account_calls_per_second = 10_000;
        let what = (seed, scale, brief);
        let (web, random_of) = (&mut directed.web, &mut random);
        let mut conversations = plain(&mut world, (web, &mut listener), random_of, what);
        let open = scale.guests.then(|| directed.web.open_tenant(guests::OPEN));
        let homes =
            scale.registers.then(|| Homes::new(&mut world, &mut directed, (seed, scale.forwards)));
        let scenes = Scenes::new(&mut world, &mut directed, (seed, scale));
        listener.deaf.extend(scenes.groups());
        configure(&mut directed, &mut world, &mut random);
        if let Some(homes) = &homes {
            let calls = registered::calls(&mut world, &mut directed, homes, (seed, scale));
            conversations.extend(calls);
        }
        let (lines, calls) = Lines::new(&mut world, &mut directed, (seed, scale));
        listener.ignorers.extend(lines.iter().flat_map(|lines| &lines.ignorers));
        conversations.extend(calls);
        if let Some((tenant, number)) = open {
            directed.ledger.put(Entity::PhoneNumber(number));
            let visits = visits(&mut world, &mut directed.web, (seed, scale, tenant));
            listener.deaf.extend(visits.iter().map(|it| it.group));
            conversations.extend(visits);
        }
        conversations.sort_by_key(|story| story.at);
        if scale.strangers {
            world.strangers = Some(strangers(seed, scale, &directed.web));
        }
        directed.boot(world.now, &world.plane);
        world.control = Some(Box::new(directed));
        world.settle();
        let blows = blow::all(&mut random, scale);
        // Another story's, which nothing came to.
        planted::take();
        Self {
            seed,
            world,
            conversations,
            blows,
            weather,
            plane_deaths: Vec::new(),
            struck: Vec::new(),
            listener,
            homes,
            lines,
            scenes,
            next_blow: 0,
            planted: None,
        }
    }

    /// The director's side.
    ///
    /// # Panics
    /// Never: a story's control is always [`Directed`].
    pub fn directed(&mut self) -> &mut Directed {
        let control = self.world.control.as_mut().and_then(|it| it.any().downcast_mut());
        control.unwrap_or_else(|| panic!("a story has a director"))
    }

    /// Plays everything, to the last released leg.
    pub fn play(&mut self) {
        loop {
            let call = self.conversations.iter().filter(|it| !it.begun).map(|it| it.at).min();
            let blow = self.blows.get(self.next_blow).map(|(at, _)| *at);
            let Some(next) = call.into_iter().chain(blow).min() else { break };
            self.run_until(next);
            self.begin(next);
            self.strike(next);
        }
        self.wait(300 * SECOND, |story| story.calls_over());
        self.close_scenes();
        self.end_all();
        // Who waits for an answer that died with the dataplane gives up 32 s after its CANCEL.
        self.wait(45 * SECOND, |story| story.calls_over());
        self.heal();
        // Attempts under way and their back-off take their time.
        self.wait(400 * SECOND, Self::all_quiet);
        self.faults_until_now();
    }

    /// Of calls that died with the dataplane nobody can be told.
    fn close_scenes(&mut self) {
        self.scenes.close(&self.world);
        if !self.plane_deaths.is_empty() || self.is_faulty() {
            self.scenes.faults.clear();
        }
        self.listener.faults.append(&mut self.scenes.faults);
    }

    fn faults_until_now(&mut self) {
        let left = planted::take();
        self.struck.extend(self.planted.take().filter(|_| left.is_none()));
    }

    fn begin(&mut self, now: Mono) {
        for at in 0..self.conversations.len() {
            let story = &mut self.conversations[at];
            if story.begun || story.at > now {
                continue;
            }
            story.begun = true;
            let group = story.group;
            if let Some(caller) = story.caller {
                let dial = Dial {
                    to: match story.domain.starts_with("urn:") {
                        true => story.domain.clone(),
                        false => format!("sip:{}", story.domain),
                    },
                    part: story.part.clone(),
                    manner: story.visit.clone(),
                    from: format!("sip:c{group}@phones.example"),
                    group,
                    stream: group * 2,
                    late_offer: story.late_offer,
                    ..Dial::default()
                };
                story.call = Some(self.world.dial(caller, &dial));
            } else if let Some(create) = story.api.clone() {
                let tenant = story.tenant;
                let directed = self.directed();
                let account = directed.web.tenants[tenant].account.sid;
                let what = ApiRequest::CreateCall(Box::new(create));
                directed.api(ApiCall { id: ApiId(u64::from(group)), account, what });
            }
        }
        self.world.settle();
    }

    fn strike(&mut self, now: Mono) {
        while let Some((at, blow)) = self.blows.get(self.next_blow).copied() {
            if at > now {
                return;
            }
            self.next_blow += 1;
            self.world.trace.line(now, || format!("*** {blow:?}"));
            match blow {
                Blow::ControlDies => self.directed().kill(),
                Blow::StoreFails => {
                    let directed = self.directed();
                    directed.refuses = !directed.is_dead();
                }
                Blow::ControlComes if !self.directed().is_dead() => {}
                Blow::ControlComes => {
                    let mut control = self.world.control.take();
                    let (now, plane) = (self.world.now, &self.world.plane);
                    if let Some(directed) =
                        control.as_mut().and_then(|it| it.any().downcast_mut::<Directed>())
                    {
                        directed.boot(now, plane);
                    }
                    self.world.control = control;
                }
                Blow::PlaneDies => {
                    self.plane_deaths.push(now);
                    self.listener.death = now;
                    self.world.plane.kill();
                }
                Blow::PlaneComes => self.world.plane.boot(self.world.now),
                Blow::Clock(by) => self.world.set_clock(by),
                Blow::Cut => self.world.cut_all(),
                Blow::Fault(site, later) => {
                    self.faults_until_now();
                    planted::plant(site, later);
                    self.planted = Some(site);
                }
            }
            self.world.settle();
        }
    }

    fn wait(&mut self, most: Duration, done: impl Fn(&mut Self) -> bool) {
        let end = self.world.now.mono + most;
        while self.world.now.mono < end && !done(self) {
            self.run_until(self.world.now.mono + SECOND);
        }
    }

    /// Runs, looks at everybody each half second, and does what is to be done in between.
    fn run_until(&mut self, end: Mono) {
        while self.world.now.mono < end {
            let moves = self.conversations.iter().flat_map(|it| &it.moves);
            let next = moves.map(|(at, _)| *at).min().unwrap_or(Mono::NEVER);
            let next = next.min(self.scenes.next());
            let look = self.world.now.mono + LOOK;
            self.world.run_until(look.min(next).min(end));
            self.listener.look(&self.world, self.weather.1);
            self.look_at_homes();
            self.make_moves();
            let is_calm = self.is_calm();
            self.scenes.play(&mut self.world, is_calm);
        }
    }

    /// Nothing is lost, and nothing has happened to the processes or their connections.
    pub(crate) fn is_calm(&self) -> bool {
        self.weather.0.is_clear() && self.weather.1.is_clear() && self.blows.is_empty()
    }

    fn look_at_homes(&mut self) {
        let Some(mut homes) = self.homes.take() else { return };
        let bindings: Vec<_> = self.directed().ledger.bindings.values().cloned().collect();
        let mut faults = core::mem::take(&mut self.listener.faults);
        homes.look(&self.world, &bindings, &mut faults);
        self.listener.faults = faults;
        self.homes = Some(homes);
    }

    fn make_moves(&mut self) {
        let now = self.world.now.mono;
        let clear = self.weather.0.is_clear() && self.weather.1.is_clear();
        for at in 0..self.conversations.len() {
            let group = self.conversations[at].group;
            let due = self.conversations[at].moves.extract_if(.., |(at, _)| *at <= now);
            for (_, what) in due.collect::<Vec<_>>() {
                self.listener.play(&mut self.world, group, &what, clear);
                self.conversations[at].told.push((now, what));
            }
        }
    }

    fn calls_over(&self) -> bool {
        let mut calls = self.world.agents.iter().flat_map(|agent| &agent.calls);
        let is_over = calls.all(|call| call.is_over() || is_dead(call));
        is_over && self.scenes.next() == Mono::NEVER
    }

    fn all_quiet(&mut self) -> bool {
        let directed = self.directed();
        let live = directed.director().map_or(1, |director| {
            let stats = director.stats();
            stats.calls_live + stats.calls_ending
        });
        let strangers = self.world.strangers.as_ref().is_none_or(Strangers::is_done);
        live == 0 && strangers && self.world.plane.leftovers().is_empty()
    }

    /// Whoever still talks or waits, stops.
    fn end_all(&mut self) {
        let now = self.world.now;
        if let Some(homes) = &self.homes {
            homes.rest(&mut self.world);
        }
        for call in self.world.agents.iter_mut().flat_map(|agent| &mut agent.calls) {
            call.act(now, Action::HangUp);
            call.act(now, Action::Cancel);
        }
        self.world.settle();
    }

    /// Every server works again: what waits for one of them must be delivered now.
    fn heal(&mut self) {
        for tenant in &mut self.directed().web.tenants {
            (tenant.server, tenant.callback_server) = (Server::Fast, Server::Fast);
        }
    }

    /// The clock was set.
    #[must_use]
    pub fn is_clock_set(&self) -> bool {
        self.blows.iter().any(|(_, blow)| matches!(blow, Blow::Clock(_)))
    }

    /// The dataplane had a fault of its own.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.blows.iter().any(|(_, blow)| matches!(blow, Blow::Fault(..)))
    }

    /// What the story is about, for a failed seed.
    #[must_use]
    pub fn outline(&self) -> String {
        let mut text = String::new();
        let (sip, media) = self.weather;
        let since = |at: Mono| at.since(DAWN.mono).as_secs_f64();
        let _ = writeln!(text, "sip {sip:?}\nmedia {media:?}");
        for (at, blow) in &self.blows {
            let _ = writeln!(text, "{:>8.3} {blow:?}", since(*at));
        }
        for it in &self.conversations {
            let (group, tenant, kind) = (it.group, it.tenant, it.kind);
            let _ =
                writeln!(text, "{:>8.3} conversation {group} of t{tenant}: {kind}", since(it.at));
            for (at, what) in &it.told {
                let _ = writeln!(text, "{:>16.3} {what:?}", since(*at));
            }
        }
        text + &self.scenes.outline()
    }
}

pub(crate) fn below(random: &mut Prng, time: Duration) -> Duration {
    Duration::from_micros(random.below(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
}

fn plane(random: &mut Prng, (seed, scale): (u64, Scale), brief: bool) -> PlaneSetup {
    let mut timers = PlaneSetup::default().timers;
    if brief {
        timers.session = 90 * SECOND;
    }
    PlaneSetup {
        seed,
        timers,
        legs: scale.calls.max(16) * 4,
        transactions: scale.calls.max(16) * 8,
        spare_ports: u16::try_from(scale.calls.max(16)).unwrap_or(64),
        frames: (4_096, 1_024),
        foreign_ports: foreign_ports(random),
        guard: if scale.strangers || scale.guests { GUARD } else { GuardPlan::NONE },
        ring_words: if scale.calls > 50 { (1 << 17, 1 << 16) } else { (1 << 15, 1 << 14) },
        ..PlaneSetup::default()
    }
}

/// Ports that some other program has.
fn foreign_ports(random: &mut Prng) -> Vec<u16> {
    let many = if random.chance(1, 4) { random.below(40) } else { 0 };
    let port = |random: &mut Prng| 0x4000 + u16::try_from(random.below(0x300)).unwrap_or(0);
    (0..many).map(|_| port(random)).collect()
}

fn weather(random: &mut Prng) -> (Weather, Weather) {
    if random.chance(2, 5) {
        return (Weather::CLEAR, Weather::CLEAR);
    }
    let ppm = |random: &mut Prng, most: u64| u32::try_from(random.below(most)).unwrap_or(0);
    let delay = ms(1 + random.below(60));
    let sip = Weather {
        loss: ppm(random, 80_000),
        duplicate: ppm(random, 30_000),
        delay,
        jitter: ms(random.below(40)),
    };
    let media = Weather {
        loss: ppm(random, 80_000),
        duplicate: ppm(random, 30_000),
        delay,
        jitter: ms(random.below(30)),
    };
    (sip, media)
}

fn tenants(random: &mut Prng, seed: u64) -> Web {
    let mut web = Web::new(seed);
    let any = |random: &mut Prng| {
        let at = usize::try_from(random.below(Server::ALL.len() as u64)).unwrap_or(0);
        Server::ALL[at]
    };
    web.tenant(Server::Fast, Server::Fast);
    let second = if random.chance(1, 2) { Server::Fast } else { Server::Slow };
    let callbacks = any(random);
    web.tenant(second, callbacks);
    let (documents, callbacks) = (any(random), any(random));
    web.tenant(documents, callbacks);
    web
}

fn configure(directed: &mut Directed, world: &mut World, random: &mut Prng) {
    let mut entities = Vec::new();
    for index in 0..directed.web.tenants.len() {
        entities.push(Entity::Account(directed.web.tenants[index].account.clone()));
        entities.push(Entity::SipDomain(directed.web.domain(index)));
        // Every second one is told of each message of its calls.
        if index % 2 == 0 {
            entities.push(directed.web.subscription(index).into());
        }
    }
    let price = |service, unit, price| {
        Entity::Price(Price {
            account: None,
            service,
            unit,
            price: Nanos(price),
            currency: Currency(*b"USD"),
            minimum_s: 1,
            increment_s: 1,
        })
    };
    entities.push(price(Service::SipIngress, PriceUnit::Minute, 5_000_000));
    entities.push(price(Service::SipEgress, PriceUnit::Minute, 13_000_000));
    entities.push(price(Service::MediaRelay, PriceUnit::Minute, 1_000_000));
    // Numbers `+1000<group>` go to one gateway as `g<group>`.
    let gateway = world.agent(Manner::answering(ms(500 + random.below(1_500))));
    entities.push(Entity::Route(OutboundRoute {
        sid: RouteSid(1),
        prefix: "+1000".to_owned(),
        strip: 5,
        prepend: "g".to_owned(),
        targets: vec![world.target(gateway).to_string()],
        ..OutboundRoute::default()
    }));
    for entity in entities {
        directed.ledger.put(entity);
    }
}

/// Strangers who send a hundred times as much as honest callers do, and some time longer.
fn strangers(seed: u64, scale: Scale, web: &Web) -> Strangers {
    let mut known: Vec<String> =
        web.tenants.iter().map(|tenant| format!("sip:desk@{}", tenant.domain)).collect();
    known.push(format!("sip:+10001@{}", crate::plane::listener()));
    let begin = DAWN.mono + ms(400);
    let every = scale.within / (100 * scale.calls.max(1));
    Strangers::new(seed, (begin, begin + scale.within + 10 * SECOND), every, known)
}

/// Limits in the proportion of a world, where a phone says a few words a second.
const GUARD: GuardPlan =
    GuardPlan { source_rate: 100, source_burst: 200, call_rate: 0, stranger_rate: 400 };

const KINDS: [&str; 14] = [
    "dial",
    "dial on bridge",
    "dial with action",
    "reject",
    "pause and dial",
    "redirect to dial",
    "hangup",
    "dial two",
    "dial two on bridge",
    "dial two in turn",
    "empty",
    "dial and go on",
    "dial a number",
    "by the api",
];

/// The conversations that every story has.
fn plain(
    world: &mut World,
    (web, listener): (&mut Web, &mut Listener),
    random: &mut Prng,
    (seed, scale, brief): (u64, Scale, bool),
) -> Vec<Conversation> {
    let one = |group: u32| {
        let at = DAWN.mono + ms(500) + below(random, scale.within);
        let audio = group == 1 && seed.is_multiple_of(if scale.talks { 4 } else { 16 });
        let long = brief && random.chance(1, 3);
        let cast = Cast::new(random, group, long, scale.talks);
        if cast.ignores {
            listener.ignorers.insert(group);
        }
        conversation(world, web, random, (group, at, audio, cast))
    };
    (1..=scale.calls).map(one).collect()
}

/// A world in whose every third seed whoever connects proves a name: that takes nobody out of the
/// lists that have his address.
fn named(setup: &Setup) -> World {
    let mut world = World::new(setup);
    let name = core::net::IpAddr::from([0x2001, 0x20, 0, 0, 0, 0, 0, 1]);
    world.plane.proves = setup.seed.is_multiple_of(3).then_some(name);
    world
}

fn conversation(
    world: &mut World,
    web: &mut Web,
    random: &mut Prng,
    (group, at, audio, cast): (u32, Mono, bool, Cast),
) -> Conversation {
    let tenant = usize::try_from(random.below(web.tenants.len() as u64)).unwrap_or(0);
    web.owner.insert(group, tenant);
    // Dialling is what most calls do.
    let kind = if random.chance(2, 5) { random.below(2) } else { random.below(KINDS.len() as u64) };
    let kind = KINDS[usize::try_from(kind).unwrap_or(0)];
    let with_audio = |manner: Manner| if audio { manner.with_audio() } else { manner };
    let agent = |world: &mut World, random: &mut Prng, manner: Manner| {
        let by_tcp = random.chance(1, 4);
        let by_tls = by_tcp && group % 2 == 0;
        let manner = Manner { by_tcp, by_tls, ..with_audio(manner) };
        if random.chance(1, 4) { world.agent_v6(manner) } else { world.agent(manner) }
    };
    let callees: Vec<usize> =
        cast.callees.into_iter().map(|manner| agent(world, random, manner)).collect();
    if let Some(second) = callees.last() {
        // Of a call by the API both ends are callees: they speak with different voices.
        world.agents[*second].voice = Some(1_000_000 + group);
    }
    let caller = (kind != "by the api").then(|| agent(world, random, cast.caller));
    let domain = web.tenants[tenant].domain.clone();
    let to = [0, 1].map(|at| world.target(callees[at]));
    let script = Script { group, domain: &domain, to, limit: cast.limit };
    let documents = &mut web.tenants[tenant].documents;
    documents.insert((group, "voice".to_owned()), script.voice(kind));
    documents.insert((group, "next".to_owned()), script.dial("", &script.sip(0)) + "</Response>");
    let after = match random.below(3) {
        0 => "<Response><Hangup/></Response>".to_owned(),
        1 => "<Response><Pause length=\"2\"/></Response>".to_owned(),
        _ => script.dial("", &script.sip(1)) + "</Response>",
    };
    documents.insert((group, "after".to_owned()), after);
    // Who is dialled next is offered what the caller has answered last, which may be all that the
    // first callee had left.
    let narrows = kind == "dial with action" && cast.moves.iter().any(|it| it.1.narrows());
    let api = caller.is_none().then(|| CreateCall {
        to: format!("sip:g{group}@{}", world.target(callees[0])),
        from: format!("sip:c{group}@{domain}"),
        instructions: Instructions::Twiml(script.dial("", &script.sip(1)) + "</Response>"),
        status: None,
        timeout: Some(10),
        time_limit: Some(u32::try_from(cast.limit + 50).unwrap_or(60)),
        caller_id: None,
        login: None,
    });
    Conversation {
        group,
        tenant,
        at,
        kind,
        caller,
        callees,
        call: None,
        // What is offered to a caller without an offer is G.711 of ours.
        compatible: cast.compatible && !cast.late_offer && !narrows,
        late_offer: cast.late_offer,
        moves: cast.moves.into_iter().map(|(after, what)| (at + after, what)).collect(),
        told: Vec::new(),
        begun: false,
        part: String::new(),
        api,
        domain: format!("desk@{domain}"),
        visit: None,
    }
}

/// What guests are up to: one of each habit, and one phone of the tenant's that they reach.
fn visits(
    world: &mut World,
    web: &mut Web,
    (seed, scale, tenant): (u64, Scale, usize),
) -> Vec<Conversation> {
    let desk = world.agent(Manner::answering(ms(700)));
    let silent = world.agent(Manner::ringing());
    let callers = Habit::ALL.map(|habit| world.guest(habit));
    let to = [desk, silent].map(|at| world.target(at));
    let all = guests::visits(seed, scale.calls, (DAWN.mono + ms(500), scale.within));
    let conversation = |visit: guests::Visit| {
        let guests::Visit { group, at, habit, manner } = visit;
        web.owner.insert(group, tenant);
        let script = Script { group, domain: "", to, limit: 40 };
        let kind = OPEN_KINDS[usize::try_from(group).unwrap_or(0) % OPEN_KINDS.len()];
        let document = script.open(kind);
        web.tenants[tenant].documents.insert((group, "voice".to_owned()), document);
        let caller = Habit::ALL.iter().position(|it| *it == habit).map(|at| callers[at]);
        Conversation {
            group,
            tenant,
            at,
            kind,
            caller,
            callees: vec![desk, silent],
            call: None,
            compatible: true,
            late_offer: false,
            moves: Vec::new(),
            told: Vec::new(),
            begun: false,
            part: String::new(),
            api: None,
            domain: format!("{}@{}", guests::OPEN, crate::plane::listener()),
            visit: Some(manner),
        }
    };
    all.into_iter().map(conversation).collect()
}

/// What the open number runs. A leading Pause answers nobody; Dial does.
const OPEN_KINDS: [&str; 5] =
    ["open dial", "open pause and dial", "open dial on bridge", "open dial nobody", "open pause"];

/// The documents of a conversation.
struct Script<'s> {
    group: u32,
    domain: &'s str,
    /// Whom it may dial.
    to: [Target; 2],
    /// Seconds.
    limit: u64,
}

impl Script<'_> {
    fn sip(&self, at: usize) -> String {
        format!("<Sip>sip:g{}@{}</Sip>", self.group, self.to[at])
    }

    /// Begins a document; more verbs may follow.
    fn dial(&self, attributes: &str, targets: &str) -> String {
        let limit = self.limit;
        format!("<Response><Dial timeout=\"8\" timeLimit=\"{limit}\" {attributes}>{targets}</Dial>")
    }

    fn voice(&self, kind: &str) -> String {
        let (group, domain) = (self.group, self.domain);
        let both = self.sip(0) + &self.sip(1);
        let bridge = "answerOnBridge=\"true\"";
        let document = match kind {
            "dial on bridge" => self.dial(bridge, &self.sip(0)),
            "dial with action" => {
                self.dial(&format!("action=\"http://{domain}/after\""), &self.sip(0))
            }
            "reject" => "<Response><Reject reason=\"busy\"/>".to_owned(),
            "pause and dial" => {
                let dial = self.dial("", &self.sip(0));
                dial.replacen("<Response>", "<Response><Pause length=\"2\"/>", 1)
            }
            "redirect to dial" => format!("<Response><Redirect>http://{domain}/next</Redirect>"),
            "hangup" => "<Response><Hangup/>".to_owned(),
            "dial two" => self.dial("", &both),
            "dial two on bridge" => self.dial(bridge, &both),
            "dial two in turn" => self.dial("sequential=\"true\"", &both),
            "empty" => "<Response>".to_owned(),
            "dial and go on" => self.dial("", &self.sip(0)) + "<Pause length=\"3\"/><Hangup/>",
            "dial a number" => self.dial("", &format!("<Number>+1000{group}</Number>")),
            _ => self.dial("", &self.sip(0)),
        };
        document + "</Response>"
    }

    /// Of the open number.
    fn open(&self, kind: &str) -> String {
        let document = match kind {
            "open pause and dial" => {
                let dial = self.dial("", &self.sip(0));
                dial.replacen("<Response>", "<Response><Pause length=\"1\"/>", 1)
            }
            "open dial on bridge" => self.dial("answerOnBridge=\"true\"", &self.sip(0)),
            "open dial nobody" => self.dial("", &self.sip(1)) + "<Pause length=\"2\"/>",
            // Nothing answers it; then it is over.
            "open pause" => "<Response><Pause length=\"3\"/>".to_owned(),
            _ => self.dial("", &self.sip(0)),
        };
        document + "</Response>"
    }
}
