//! Trunks in the world: static routes, which the dataplane follows alone. Callers come by a trunk
//! and dial numbers; of a range the first digits are stripped, and what is put in front makes of it
//! a conversation of the carrier's. Each range has one route or two, each route some targets: good
//! ones, busy ones, broken, silent ones, and places where nobody is. What must hold, whatever
//! becomes of the controlplane: a call reaches the targets of its range alone, each once, and none
//! behind one that has decided; its caller hears what one of them said; nobody is left alone; no
//! more calls stand than a route may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::{Mono, Prng, Target, Transport};
use wire::policy::RoutePolicy;
use wire::table::{
    Digits, EarlyMedia, MediaSources, ReliableRinging, SignallingSources, StaticRoute,
};

use crate::blow::Blow;
use crate::directed::Directed;
use crate::habit::{Cast, Move};
use crate::phone::{Action, Manner, PhoneCall, Reliability, Who};
use crate::plane::listener_for;
use crate::scale::Scale;
use crate::story::{Conversation, Story, below};
use crate::world::{DAWN, World};

/// Conversations by trunks have numbers from here on, and end before those with registered users.
const FIRST_GROUP: u32 = 600_001;
const LAST_GROUP: u32 = 699_999;
const SECOND: Duration = Duration::from_secs(1);
/// Ranges of numbers: `+20..` to `+22..`, and emergency services.
const RANGES: usize = 4;
const SOS: &str = "urn:service:sos";
/// After the end of one side the other one's comes so soon.
const ALONE: Duration = Duration::from_secs(2);
/// What a caller hears where no target has decided.
const FAILURES: [u16; 6] = [408, 480, 500, 502, 503, 504];

/// What a target does with its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Character {
    Answers,
    /// A status about the callee: it is final.
    Busy,
    /// A status about the target: the next one is asked.
    Fails(u16),
    Silent,
    Rings,
    /// Nobody is there, and the connection is refused.
    Away,
}

const CHARACTERS: [Character; 10] = [
    Character::Answers,
    Character::Answers,
    Character::Answers,
    Character::Answers,
    Character::Busy,
    Character::Fails(503),
    Character::Fails(408),
    Character::Silent,
    Character::Rings,
    Character::Away,
];

/// A range of numbers.
#[derive(Clone, Debug)]
struct Range {
    prefix: String,
    /// Who may be reached, in order of trial; `None` is nobody's place.
    targets: Vec<(Character, Option<usize>)>,
    /// Calls that its first route and its second one may have at one time, per shard.
    limits: Vec<u32>,
    /// Who is whose target.
    of_route: Vec<usize>,
    account: u64,
    tenant: usize,
    /// Reasons go on.
    trusted: bool,
    session_timer: bool,
    dtmf: Digits,
    /// Everybody has a law of G.711.
    compatible: bool,
    /// Parts of bodies go on.
    body_parts: bool,
    is_urgent: bool,
}

/// All of a story's.
#[derive(Clone, Debug)]
pub struct Lines {
    ranges: Vec<Range>,
    /// Range by conversation.
    of: BTreeMap<u32, usize>,
    /// Conversations in which somebody never answers a re-INVITE.
    pub(crate) ignorers: BTreeSet<u32>,
}

fn any<T: Copy>(random: &mut Prng, of: &[T]) -> T {
    let at = random.below(u64::try_from(of.len()).unwrap_or(1));
    of[usize::try_from(at).unwrap_or(0)]
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Lines {
    /// Whether this is a conversation by a trunk.
    #[must_use]
    pub fn has(group: u32) -> bool {
        (FIRST_GROUP..=LAST_GROUP).contains(&group)
    }

    /// Routes and their far ends, and the calls.
    pub(crate) fn new(
        world: &mut World,
        directed: &mut Directed,
        (seed, scale): (u64, Scale),
    ) -> (Option<Self>, Vec<Conversation>) {
        if !scale.trunks {
            return (None, Vec::new());
        }
        let mut random = Prng::new(seed ^ 0x7472_756e);
        let mut lines = Self { ranges: Vec::new(), of: BTreeMap::new(), ignorers: BTreeSet::new() };
        let mut ignoring = BTreeSet::new();
        for number in 0..RANGES {
            let tenant = usize::try_from(random.below(3)).unwrap_or(0);
            let range = Range::new(world, &mut random, (number, tenant, scale), &mut ignoring);
            let account = directed.web.tenants[tenant].account.number;
            let range = Range { account, ..range };
            directed.routes.extend(range.routes(world, &mut random));
            lines.ranges.push(range);
        }
        let callers = callers(world);
        let calls = 0..scale.calls + 2;
        let calls = calls.map(|number| {
            let group = FIRST_GROUP + number;
            let at = usize::try_from(random.below(RANGES as u64)).unwrap_or(0);
            directed.web.owner.insert(group, lines.ranges[at].tenant);
            lines.of.insert(group, at);
            let caller = any(&mut random, &callers);
            let call = lines.call(world, &mut random, (group, at, caller), scale);
            if ignoring.contains(&at) {
                lines.ignorers.insert(group);
            }
            call
        });
        let calls = calls.collect();
        (Some(lines), calls)
    }

    fn call(
        &mut self,
        world: &World,
        random: &mut Prng,
        (group, at, caller): (u32, usize, usize),
        scale: Scale,
    ) -> Conversation {
        let range = &self.ranges[at];
        let cast = Cast::new(random, group, false, scale.talks);
        if cast.ignores {
            self.ignorers.insert(group);
        }
        let Manner { by_tcp, by_tls, .. } = world.agents[caller].manner;
        let mut manner = Manner { by_tcp, by_tls, ..cast.caller };
        if !range.trusted {
            manner.reason = None;
        }
        takes_texts(&mut manner);
        let at = DAWN.mono + ms(700) + below(random, scale.within);
        let is_fit = |what: &Move| !matches!(what, Move::Digit(..)) || range.dtmf == Digits::Auto;
        let moves = cast.moves.into_iter().filter(|(_, what)| is_fit(what));
        let moves: Vec<_> = moves.chain(texts(random, group)).collect();
        Conversation {
            group,
            tenant: range.tenant,
            at,
            kind: "by a trunk",
            caller: Some(caller),
            callees: range.targets.iter().filter_map(|it| it.1).collect(),
            call: None,
            compatible: cast.compatible && range.compatible && !cast.late_offer,
            late_offer: cast.late_offer,
            moves: moves.into_iter().map(|(after, what)| (at + after, what)).collect(),
            told: Vec::new(),
            begun: false,
            api: None,
            part: if random.chance(1, 3) { part(random) } else { String::new() },
            domain: match range.is_urgent {
                true => format!("{SOS}.police"),
                false => {
                    let switch = listener_for(world.agents[caller].sip);
                    format!("{}{group}@{switch}", range.prefix)
                }
            },
            visit: Some(manner),
        }
    }
}

/// Exchanges that call by their trunks: by UDP, by TCP, over IPv6 by TLS.
fn callers(world: &mut World) -> [usize; 3] {
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 1));
    let manners = [(false, false), (true, false), (true, true)];
    let hosts = [IpAddr::from([10, 5, 0, 1]), IpAddr::from([10, 5, 0, 2]), v6];
    std::array::from_fn(|at| {
        let (by_tcp, by_tls) = manners[at];
        let manner = Manner { by_tcp, by_tls, ..Manner::default() };
        world.agent_at(SocketAddr::new(hosts[at], 5_060), manner)
    })
}

impl Range {
    fn new(
        world: &mut World,
        random: &mut Prng,
        (number, tenant, scale): (usize, usize, Scale),
        ignoring: &mut BTreeSet<usize>,
    ) -> Self {
        let session_timer = random.chance(3, 4);
        let trusted = random.chance(1, 2);
        let dtmf = any(random, &[Digits::Auto, Digits::Auto, Digits::Info, Digits::Rfc4733]);
        let is_urgent = number == RANGES - 1;
        let mut range = Self {
            prefix: if is_urgent { SOS.to_owned() } else { format!("+2{number}") },
            targets: Vec::new(),
            limits: Vec::new(),
            of_route: Vec::new(),
            account: 0,
            tenant,
            trusted,
            session_timer,
            dtmf,
            compatible: true,
            body_parts: random.chance(1, 2),
            is_urgent,
        };
        for route in 0..=usize::from(random.chance(1, 2)) {
            range.limits.push(any(random, &[0, 0, 0, 1, 2]));
            for _ in 0..=random.below(3) {
                let character = match is_urgent || scale.talks && random.chance(3, 4) {
                    true => Character::Answers,
                    false => any(random, &CHARACTERS),
                };
                let host = u8::try_from(range.targets.len() + 1).unwrap_or(0);
                let mut cast = Cast::new(random, 0, false, scale.talks);
                let mut manner = cast.callees.remove(0);
                if cast.ignores {
                    ignoring.insert(number);
                }
                range.compatible &= cast.compatible;
                character.shape(random, &mut manner);
                manner.by_tcp = random.chance(1, 4);
                takes_texts(&mut manner);
                let place = [10, 6, u8::try_from(number).unwrap_or(0), host];
                let agent = (character != Character::Away)
                    .then(|| world.agent_at(SocketAddr::from((place, 5_060)), manner));
                range.targets.push((character, agent));
                range.of_route.push(route);
            }
        }
        range
    }

    /// Its routes, the preferred one first.
    fn routes(&self, world: &World, random: &mut Prng) -> Vec<StaticRoute> {
        let strip = if self.is_urgent { 0 } else { 3 };
        let prepend = if self.is_urgent { "" } else { "g" };
        let sources = ["10.5.0.0/16", "fd00:5::/32"]
            .map(|it| it.parse().unwrap_or_else(|error| panic!("{error}")));
        let reliable = match self
            .agents()
            .all(|it| world.agents[it].manner.reliable != Reliability::Unknown)
        {
            true => ReliableRinging::Require,
            false => any(random, &[ReliableRinging::Off, ReliableRinging::Offer]),
        };
        let early = [EarlyMedia::Pass, EarlyMedia::Pass, EarlyMedia::Ring, EarlyMedia::Gated];
        let early_media = any(random, &early);
        let nobody = |at: usize| {
            let host = u8::try_from(at).unwrap_or(0);
            let place = SocketAddr::from(([10, 6, 9, host], 5_060));
            Target::by(Transport::Tcp, place)
        };
        let route = |at: usize| {
            let targets = self.targets.iter().enumerate();
            let targets = targets.filter(|(place, _)| self.of_route[*place] == at);
            StaticRoute {
                account: self.account,
                domain: String::new(),
                prefix: self.prefix.clone(),
                sources: sources.to_vec(),
                trusted: if self.trusted { sources.to_vec() } else { Vec::new() },
                targets: targets
                    .map(|(place, (_, agent))| agent.map_or(nobody(place), |it| world.target(it)))
                    .collect(),
                host: String::new(),
                strip,
                prepend: prepend.to_owned(),
                rate_max: 0,
                calls_max: self.limits[at],
                ring_s: 12,
                media: MediaSources::default(),
                signalling: SignallingSources::default(),
                tls_name: String::new(),
                login: String::new(),
                transfer: self.trusted,
                dtmf: self.dtmf,
                policy: RoutePolicy {
                    name: format!("trunk{}-{at}", self.prefix),
                    priority: u16::try_from(at).unwrap_or(0),
                    body_parts: self.body_parts,
                    ..RoutePolicy::default()
                },
                reliable,
                session_timer: self.session_timer,
                early_media,
            }
        };
        (0..self.limits.len()).map(route).collect()
    }

    fn agents(&self) -> impl Iterator<Item = usize> {
        self.targets.iter().filter_map(|(_, agent)| *agent)
    }

    fn character(&self, agent: usize) -> Option<Character> {
        let is = |it: &&(Character, Option<usize>)| it.1 == Some(agent);
        self.targets.iter().find(is).map(|(character, _)| *character)
    }

    /// What its callers may hear.
    fn outcomes(&self) -> BTreeSet<u16> {
        let mut codes = BTreeSet::new();
        for (character, _) in &self.targets {
            match character {
                Character::Answers => drop(codes.insert(200)),
                Character::Busy => drop(codes.insert(486)),
                Character::Rings => codes.extend([408, 480]),
                Character::Fails(_) | Character::Silent | Character::Away => {}
            }
        }
        let is_limited = !self.is_urgent && self.limits.iter().any(|limit| *limit > 0);
        if codes.is_empty() || is_limited {
            codes.extend(FAILURES);
        }
        codes
    }
}

impl Character {
    /// Habits that a phone has beside its character stay as they are.
    fn shape(self, random: &mut Prng, manner: &mut Manner) {
        let ring = ms(20 + random.below(300));
        let pick = ms(300 + random.below(3_000));
        let last = match self {
            Self::Answers => {
                let answers = |entry: &(Duration, Action)| {
                    matches!(entry.1, Action::Answer | Action::AnswerWith(..))
                };
                if !manner.on_ring.iter().any(answers) {
                    manner.on_ring = vec![(ring, Action::Ring), (pick, Action::Answer)];
                }
                manner.trying = true;
                return;
            }
            Self::Busy => Some(Action::Refuse(486)),
            Self::Fails(code) => Some(Action::Refuse(code)),
            Self::Rings => None,
            Self::Silent | Self::Away => {
                (manner.on_ring, manner.trying) = (Vec::new(), false);
                return;
            }
        };
        manner.trying = true;
        manner.on_ring = vec![(ring, Action::Ring)];
        manner.on_ring.extend(last.map(|action| (pick, action)));
    }
}

/// What does not hold when the story is over.
pub(crate) fn faults(story: &Story) -> Vec<String> {
    let Some(lines) = &story.lines else { return Vec::new() };
    let mut faults = Vec::new();
    let dies =
        |(_, blow): &(Mono, Blow)| matches!(blow, Blow::PlaneDies | Blow::Fault(..) | Blow::Cut);
    let is_calm = story.weather.0.is_clear() && !story.blows.iter().any(dies);
    let mut groups: BTreeMap<u32, Vec<(usize, &PhoneCall)>> = BTreeMap::new();
    for (agent, entry) in story.world.agents.iter().enumerate() {
        for call in &entry.calls {
            if Lines::has(call.group) {
                groups.entry(call.group).or_default().push((agent, call));
            }
        }
    }
    for (group, calls) in &groups {
        let Some(range) = lines.of.get(group).map(|at| &lines.ranges[*at]) else { continue };
        let callees = calls.iter().filter(|(_, call)| call.who == Who::Callee);
        // Who refused the session's interval is asked again in the same leg.
        let callees: Vec<_> = callees.filter(|(_, call)| call.seen.code != 422).copied().collect();
        for (agent, _) in &callees {
            if !range.agents().any(|it| it == *agent) {
                faults.push(format!("{group} reached agent {agent}, no target of {range:?}"));
            }
        }
        faults.extend(parts(story, range, (*group, &callees)));
        let caller = calls.iter().find(|(_, call)| call.who == Who::Caller);
        let Some((_, caller)) = caller.filter(|_| is_calm) else { continue };
        let fault = in_order(range, &callees)
            .or_else(|| heard(story, range, caller))
            .or_else(|| said(calls))
            .or_else(|| alone(caller, &callees));
        faults.extend(fault.map(|fault| format!("{group}: {fault}")));
    }
    if is_calm {
        faults.extend(lines.ranges.iter().enumerate().filter_map(|(at, range)| {
            let of = |group: &u32| lines.of.get(group) == Some(&at);
            let calls = groups.iter().filter(|(group, _)| of(group)).flat_map(|(_, calls)| calls);
            too_many(story, range, calls.copied())
        }));
    }
    faults
}

/// Each target is asked once, and none behind one that has decided.
fn in_order(range: &Range, callees: &[(usize, &PhoneCall)]) -> Option<String> {
    for (agent, call) in callees {
        let same = callees.iter().filter(|(other, _)| other == agent).count();
        if same > 1 {
            return Some(format!("agent {agent} was asked {same} times"));
        }
        let decided = match range.character(*agent) {
            Some(Character::Answers) => call.seen.answered_at,
            Some(Character::Busy) if call.seen.code == 486 => call.seen.ended_at,
            _ => None,
        };
        let Some(decided) = decided else { continue };
        let later = callees.iter().find(|(_, it)| it.seen.dialed_at > decided);
        // What is under way when it decides has not heard of it.
        if let Some((other, call)) = later.filter(|it| it.1.seen.dialed_at > decided + SECOND) {
            let at = call.seen.dialed_at.since(DAWN.mono);
            return Some(format!("agent {other} is asked at {at:?}, behind agent {agent}"));
        }
    }
    None
}

/// A part beside the description, of any length that fits.
fn part(random: &mut Prng) -> String {
    let handling = any(random, &["optional", "required"]);
    let length = usize::try_from(random.below(900)).unwrap_or(0);
    let bytes: String = (0..length).map(|_| any(random, &['a', '7', '-', ' ', '\n'])).collect();
    let head = "Content-Type: application/isup;version=sim\r\nContent-Disposition: signal";
    format!("{head};handling={handling}\r\n\r\n<{bytes}>")
}

/// Whoever has an Allow lists MESSAGE.
fn takes_texts(manner: &mut Manner) {
    if !manner.allow.is_empty() {
        manner.allow.push("MESSAGE");
    }
}

/// What they write to each other while they talk: a word, or more than a datagram takes.
fn texts(random: &mut Prng, group: u32) -> Vec<(Duration, Move)> {
    let text = |random: &mut Prng, number: u64| {
        let side = usize::try_from(random.below(2)).unwrap_or(0);
        let most = if random.chance(1, 4) { 3_000 } else { 60 };
        let long = usize::try_from(random.below(most)).unwrap_or(0);
        let text = format!("text {number} of {group}: {}", "word ".repeat(long / 5));
        (ms(3_000 + random.below(20_000)), Move::One(side, Action::Message(text)))
    };
    let many = if random.chance(1, 2) { random.below(4) } else { 0 };
    (0..many).map(|number| text(random, number)).collect()
}

/// A text arrives once, as it was, at the other side; whose was taken (200), did.
fn said(calls: &[(usize, &PhoneCall)]) -> Option<String> {
    for side in [Who::Caller, Who::Callee] {
        let of = |who: Who| calls.iter().map(|it| it.1).filter(move |call| call.who == who);
        let other = if side == Who::Caller { Who::Callee } else { Who::Caller };
        let said: Vec<&String> = of(side).flat_map(|call| &call.seen.said).collect();
        let heard: Vec<&String> = of(other).flat_map(|call| &call.seen.texts).collect();
        let answers = of(side).flat_map(|call| &call.seen.answers);
        let taken = answers.filter(|it| *it == &("MESSAGE".to_owned(), 200)).count();
        if heard.len() < taken {
            return Some(format!("{taken} texts of the {side:?} are taken, {} came", heard.len()));
        }
        if let Some(text) = heard.iter().find(|text| !said.contains(text)) {
            return Some(format!("a text that the {side:?} never said: {text:?}"));
        }
        let times = |text: &String| heard.iter().filter(|it| **it == text).count();
        if let Some(text) = said.iter().find(|text| times(text) > 1) {
            return Some(format!("a text of the {side:?} came more than once: {text:?}"));
        }
    }
    None
}

/// Its trunk passes none on, and whoever calls wants it understood.
fn is_refused(range: &Range, part: &str) -> bool {
    !range.body_parts && !range.is_urgent && part.contains("handling=required")
}

/// A part arrives whole, with its headers, or not at all.
fn parts(
    story: &Story,
    range: &Range,
    (group, callees): (u32, &[(usize, &PhoneCall)]),
) -> Option<String> {
    let conversation = story.conversations.iter().find(|it| it.group == group)?;
    let part = Some(&conversation.part).filter(|part| !part.is_empty())?;
    let passes = range.body_parts || range.is_urgent;
    let is_wrong = |(_, call): &&(usize, &PhoneCall)| call.seen.text.contains(part) != passes;
    let (_, wrong) = callees.iter().find(is_wrong)?;
    Some(format!("{group} is to pass its part on, {passes}: {:?}", wrong.seen.text))
}

/// The caller hears what a target said.
fn heard(story: &Story, range: &Range, caller: &PhoneCall) -> Option<String> {
    let gives_up = caller.seen.code == 487 || !caller.manner.on_dial.is_empty();
    let conversation = story.conversations.iter().find(|it| it.group == caller.group)?;
    if gives_up || !conversation.compatible {
        return None;
    }
    let mut outcomes = range.outcomes();
    if is_refused(range, &conversation.part) {
        // Unless it has no room for the call.
        outcomes.retain(|code| *code == 503);
        outcomes.insert(415);
    }
    let code = caller.seen.code;
    (!outcomes.contains(&code)).then(|| format!("the caller hears {code}: {range:?}"))
}

/// Whoever is answered has somebody, until he is ended.
fn alone(caller: &PhoneCall, callees: &[(usize, &PhoneCall)]) -> Option<String> {
    let span = |call: &PhoneCall| call.seen.answered_at.zip(call.seen.ended_at);
    let longest = callees.iter().filter_map(|(_, call)| span(call)).max_by_key(|it| it.1);
    let (caller, callee) = (span(caller), longest);
    match (caller, callee) {
        (None, None) => None,
        (Some(one), Some(other)) => {
            let apart = one.1.since(other.1).max(other.1.since(one.1));
            (apart > ALONE).then(|| format!("one side stands {apart:?} longer than the other"))
        }
        (Some(one), None) => Some(format!("a caller is answered, and nobody is there: {one:?}")),
        // Its answer crossed what ended it.
        (None, Some(it)) => {
            let long = it.1.since(it.0);
            (long > ALONE).then(|| format!("a target is answered for {long:?}, and nobody calls"))
        }
    }
}

/// No more calls stand than its routes may have, on all shards together.
fn too_many<'c>(
    story: &Story,
    range: &Range,
    calls: impl Iterator<Item = (usize, &'c PhoneCall)>,
) -> Option<String> {
    if range.is_urgent || range.limits.contains(&0) {
        return None;
    }
    let most = range.limits.iter().sum::<u32>() * u32::from(story.world.plane.setup.shards);
    // A call is there from its answer on, and until its end: the next may come before that is told.
    let spans = calls.filter(|(_, call)| call.who == Who::Callee);
    let spans = spans.filter_map(|(_, call)| call.seen.answered_at.zip(call.seen.ended_at));
    let spans: Vec<(Mono, Mono)> = spans.filter(|it| it.1 > it.0 + SECOND / 10).collect();
    let stand = |at: Mono| spans.iter().filter(|it| it.0 <= at && at + SECOND / 10 < it.1).count();
    let peak = spans.iter().map(|it| stand(it.0)).max().unwrap_or(0);
    (peak > most as usize).then(|| format!("{peak} calls at once on {range:?}"))
}
