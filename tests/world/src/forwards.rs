//! Registered phones that do more than ring: some send their callers elsewhere (302), to another
//! user, to their own, to nobody; some decline for their user (603); some have two flows (RFC
//! 5626), one of which may fail (430); contacts have their q. What must hold: a phone rings once
//! for a call, by its second flow only behind the first; whoever is forwarded goes in no circle;
//! nobody rings for a user who has declined.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Prng};

use crate::blow::Blow;
use crate::phone::{Action, Manner, PhoneCall, Who};
use crate::plane::listener;
use crate::registered::{FIRST_GROUP, Home, Homes, Kind, LAST_GROUP};
use crate::story::{Story, below};
use crate::world::{DAWN, World};

const SECOND: Duration = Duration::from_secs(1);
/// What is under way when a phone declines has not heard of it.
const HEARS: Duration = Duration::from_millis(500);

/// What a phone does with its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    #[default]
    Answers,
    Busy,
    Rings,
    /// For its user.
    Declines,
    /// To the user of this number; the last one is nobody.
    Forwards(u8),
    /// The flow, as whoever keeps it says.
    Fails,
}

impl Habit {
    fn any(random: &mut Prng) -> Self {
        let user = u8::try_from(random.below(4)).unwrap_or(0);
        match random.below(8) {
            0 => Self::Busy,
            1 => Self::Rings,
            2 => Self::Declines,
            3..6 => Self::Forwards(user),
            _ => Self::Answers,
        }
    }

    fn manner(self, random: &mut Prng, domain: &str) -> Manner {
        let ms = |ms: u64| Duration::from_millis(ms);
        let (rings, then) = (ms(20 + random.below(200)), ms(300 + random.below(2_500)));
        let last = match self {
            Self::Answers => Action::Answer,
            Self::Busy => Action::Refuse(486),
            Self::Declines => Action::Refuse(603),
            Self::Fails => Action::Refuse(430),
            Self::Forwards(user) => Action::Redirect(format!("sip:u{user}@{domain}")),
            Self::Rings => {
                return Manner { on_ring: vec![(rings, Action::Ring)], ..Manner::default() };
            }
        };
        let manner =
            Manner { on_ring: vec![(rings, Action::Ring), (then, last)], ..Manner::default() };
        match random.chance(1, 2) {
            true => manner.after_answer(ms(500 + random.below(9_000)), Action::HangUp),
            false => manner,
        }
    }
}

/// They begin to register one after the other.
pub(crate) fn phones(world: &mut World, random: &mut Prng, domain: &str) -> Vec<Home> {
    let mut homes = Vec::new();
    for phone in 0..4 + usize::try_from(random.below(4)).unwrap_or(0) {
        let user = format!("u{}", random.below(3));
        let habit = Habit::any(random);
        let flows = 1 + usize::from(random.chance(1, 3));
        let q = ["", ";q=0.9", ";q=0.5"][usize::try_from(random.below(3)).unwrap_or(0)];
        let fails = usize::try_from(random.below(3)).unwrap_or(0);
        let by_tcp = flows == 2 || random.chance(1, 3);
        for flow in 0..flows {
            let habit = if flows == 2 && flow == fails { Habit::Fails } else { habit };
            let kind = Kind {
                transport: if by_tcp { "tcp" } else { "udp" },
                instance: true,
                flow: false,
                expires: 60 + 15 * u32::from(by_tcp),
            };
            let host = u8::try_from(homes.len() + 1).unwrap_or(0);
            let sip = SocketAddr::from(([10, 4, 0, host], 5_060));
            let manner = Manner { by_tcp, ..habit.manner(random, domain) };
            let agent = world.agent_at(sip, manner);
            let at = DAWN.mono + below(random, 2 * SECOND);
            let mut account = kind.account(phone, domain, &user);
            if by_tcp {
                account.params += &format!(";reg-id={}", flow + 1);
                account.headers = vec!["Supported: path, outbound".to_owned()];
            }
            account.params += q;
            world.agents[agent].register(account, listener(), at);
            homes.push(Home { agent, user: user.clone(), is_stream: by_tcp, phone, habit });
        }
    }
    homes
}

/// What does not hold when the story is over.
pub(crate) fn faults(story: &Story, homes: &Homes) -> Vec<String> {
    // What was dialled while nothing could be written is dialled again by a successor.
    let refuses = |(_, blow): &(Mono, Blow)| matches!(blow, Blow::StoreFails);
    if !story.plane_deaths.is_empty() || story.is_faulty() || story.blows.iter().any(refuses) {
        return Vec::new();
    }
    let mut rung: BTreeMap<u32, Vec<(&Home, &PhoneCall)>> = BTreeMap::new();
    for home in &homes.phones {
        let calls = story.world.agents[home.agent].calls.iter();
        let calls = calls.filter(|call| call.who == Who::Callee && call.seen.code != 422);
        for call in calls.filter(|call| (FIRST_GROUP..=LAST_GROUP).contains(&call.group)) {
            rung.entry(call.group).or_default().push((home, call));
        }
    }
    let mut faults = Vec::new();
    for (group, mut rung) in rung {
        let all = rung.clone();
        rung.retain(|(home, _)| !is_sent_twice(story, group, &all, home));
        let fault =
            once(&rung).or_else(|| by_flows(story, &rung)).or_else(|| declined(story, &rung));
        faults.extend(fault.map(|fault| format!("{group}: {fault}")));
    }
    faults
}

/// Two phones of others send the call to this one's user, one after he has had it from the other:
/// then he is called once more (seeds 980423, 980539).
fn is_sent_twice(story: &Story, group: u32, rung: &[(&Home, &PhoneCall)], home: &Home) -> bool {
    let conversation = story.conversations.iter().find(|it| it.group == group);
    let dialled = conversation.map_or("", |it| &it.domain);
    let is_dialled = dialled.split('@').next() == Some(&home.user);
    let sends =
        |other: &Home| matches!(other.habit, Habit::Forwards(to) if format!("u{to}") == home.user);
    let phones: BTreeSet<usize> =
        rung.iter().filter(|(other, _)| sends(other)).map(|(other, _)| other.phone).collect();
    !is_dialled && phones.len() > 1
}

/// Each by each of its flows at most.
fn once(rung: &[(&Home, &PhoneCall)]) -> Option<String> {
    let times = |home: &Home| rung.iter().filter(|(other, _)| other.agent == home.agent).count();
    let (home, _) = rung.iter().find(|(home, _)| times(home) > 1)?;
    Some(format!("{home:?} rings {} times", times(home)))
}

/// By another flow behind one that has failed.
fn by_flows(story: &Story, rung: &[(&Home, &PhoneCall)]) -> Option<String> {
    if !story.is_calm() {
        return None;
    }
    rung.iter().find_map(|(home, call)| {
        let is_other = |(other, it): &&(&Home, &PhoneCall)| {
            other.phone == home.phone && it.seen.dialed_at < call.seen.dialed_at
        };
        let (first, before) = rung.iter().find(is_other)?;
        let is_over = before.seen.ended_at.is_some_and(|at| at <= call.seen.dialed_at);
        let has_failed = first.habit == Habit::Fails && is_over;
        let code = before.seen.code;
        (!has_failed).then(|| format!("{home:?} rings by a second flow, behind {code}"))
    })
}

/// Nobody rings on, or begins to ring, for a user who has declined.
fn declined(story: &Story, rung: &[(&Home, &PhoneCall)]) -> Option<String> {
    // A CANCEL may be lost, and what is dialled is told by whoever comes next.
    let rings = if story.is_calm() { HEARS } else { 40 * SECOND };
    let declines = rung.iter().filter(|(_, call)| call.seen.code == 603);
    let mut declines = declines.filter_map(|(home, call)| Some((home, call.seen.ended_at?)));
    declines.find_map(|(home, at)| {
        let rings_on = |call: &PhoneCall| {
            let end = call.seen.answered_at.or(call.seen.ended_at).unwrap_or(Mono::NEVER);
            call.seen.dialed_at > at + HEARS || end > at + rings
        };
        let is_his = |(other, call): &&(&Home, &PhoneCall)| {
            other.user == home.user && other.agent != home.agent && rings_on(call)
        };
        let (other, _) = rung.iter().find(is_his)?;
        Some(format!("{home:?} has declined, and {other:?} rings"))
    })
}
