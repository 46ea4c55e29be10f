//! Listens while a story is played: where two phones talk with each other and nothing has changed
//! for a while, each hears what the other says (GOALS.md H1), nobody hears who does not want to be
//! heard, and what one dials arrives at the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Mono;
use sdp::{Codec, Direction};

use crate::habit::{Move, Side};
use crate::network::Weather;
use crate::phone::{Action, PhoneCall, Reinvite, Speaks, State, Who};
use crate::world::{CallRef, DAWN, World};

/// A change is over after this time in clear weather.
const SETTLED: Duration = Duration::from_millis(2_500);
/// After two offers have met (RFC 3261 section 14.1: up to 4 s).
const AFTER_GLARE: Duration = Duration::from_secs(8);
/// After a request that was never answered, or a message that was lost.
const AFTER_TIMEOUT: Duration = Duration::from_secs(45);
/// A digit is with the other side by then; it may have to wait for its sender's next packet.
const DIGIT: Duration = Duration::from_millis(2_500);

/// What is in force at a phone, and how it came to be.
#[derive(Clone, Debug, PartialEq)]
struct Look {
    at: CallRef,
    exchanges: usize,
    glares: usize,
    wish: Direction,
    direction: Option<Direction>,
    formats: Vec<(Codec, u8, u8)>,
    asking: bool,
    told: Vec<u8>,
    speaks: Option<Speaks>,
    silent: bool,
}

impl Look {
    fn of(at: CallRef, call: &PhoneCall) -> Self {
        let changes = |list: &[(String, u16)]| {
            list.iter().filter(|(method, _)| method == "INVITE" || method == "UPDATE").count()
        };
        let glares = |list: &[(String, u16)]| list.iter().filter(|(_, code)| *code == 491).count();
        let seen = &call.seen;
        Self {
            at,
            exchanges: changes(&seen.answers) + changes(&seen.asked),
            glares: glares(&seen.answers) + glares(&seen.asked),
            wish: call.wish(),
            direction: call.direction(),
            formats: call.in_force(),
            asking: call.is_asking(),
            told: call.description_told().to_vec(),
            speaks: call.media.as_ref().map(|media| media.speaks),
            silent: is_dead(call) || call.media.as_ref().is_none_or(|media| media.muted),
        }
    }
}

/// It has fallen silent for good.
#[must_use]
pub fn is_dead(call: &PhoneCall) -> bool {
    call.state == State::Up && call.is_quiet()
}

#[derive(Clone, Debug)]
struct Pair {
    looks: [Look; 2],
    since: Mono,
    glared: Option<Mono>,
    /// When it was listened to last, and how many packets each side had heard of the other.
    from: Option<(Mono, [u64; 2])>,
    digits: Vec<Digit>,
    /// Digits sent since `from`: they take the place of speech.
    dialled: u64,
    dialled_at: Option<Mono>,
}

#[derive(Clone, Copy, Debug)]
struct Digit {
    digit: char,
    from: Side,
    info: bool,
    due: Mono,
    /// How many the other side had before.
    before: usize,
    unsaid: u32,
    refused: usize,
}

/// Listens to every pair.
#[derive(Debug, Default)]
pub struct Listener {
    pairs: BTreeMap<u32, Pair>,
    /// Who never answers a re-INVITE, by conversation.
    pub ignorers: BTreeSet<u32>,
    /// Nobody can say what is heard in these conversations.
    pub deaf: BTreeSet<u32>,
    pub faults: Vec<String>,
    /// How often it listened, and how many digits it saw arrive: the test must not lose its
    /// subject.
    pub listened: u64,
    pub arrived: u64,
    /// Once each.
    told: BTreeSet<(u32, Side)>,
    /// When the dataplane last died: who was in a call then is in none.
    pub death: Mono,
}

impl Listener {
    /// Looks at everybody.
    pub fn look(&mut self, world: &World, media: Weather) {
        let mut up: BTreeMap<u32, Vec<CallRef>> = BTreeMap::new();
        for (agent, entry) in world.agents.iter().enumerate() {
            for (at, call) in entry.calls.iter().enumerate() {
                if call.state == State::Up {
                    up.entry(call.group).or_default().push(CallRef { agent, call: at });
                }
            }
        }
        self.pairs.retain(|group, _| up.get(group).is_some_and(|calls| calls.len() == 2));
        for (group, mut calls) in up {
            if calls.len() != 2
                || self.deaf.contains(&group)
                || calls.iter().any(|at| world.call(*at).seen.dialed_at < self.death)
                || calls.iter().any(|at| world.cut_off.contains(&world.call(*at).call_id))
            {
                self.pairs.remove(&group);
                continue;
            }
            calls.sort_by_key(|at| (world.call(*at).who == Who::Callee, *at));
            let looks = [calls[0], calls[1]].map(|at| Look::of(at, world.call(at)));
            self.look_at(world, group, looks, media);
        }
    }

    fn look_at(&mut self, world: &World, group: u32, looks: [Look; 2], media: Weather) {
        let now = world.now.mono;
        let fresh = Pair {
            looks: looks.clone(),
            since: now,
            glared: None,
            from: None,
            digits: Vec::new(),
            dialled: 0,
            dialled_at: None,
        };
        let pair = self.pairs.entry(group).or_insert(fresh);
        if pair.looks != looks {
            let glares = |looks: &[Look; 2]| looks[0].glares + looks[1].glares;
            if glares(&pair.looks) != glares(&looks) {
                pair.glared = Some(now);
            }
            (pair.looks, pair.since, pair.from) = (looks, now, None);
            pair.digits.clear();
        }
        let lost = looks_troubled(world, &pair.looks);
        let grace = match () {
            () if lost || self.ignorers.contains(&group) => AFTER_TIMEOUT,
            () if pair.glared.is_some_and(|at| now.since(at) < AFTER_GLARE) => AFTER_GLARE,
            () => SETTLED + 4 * (media.delay + media.jitter),
        };
        let asking = pair.looks.iter().any(|look| look.asking);
        if now.since(pair.since) < grace || asking {
            return;
        }
        let heard = [0, 1].map(|side| heard(world, &pair.looks, side));
        let Some((from, before)) = pair.from else {
            (pair.from, pair.dialled) = (Some((now, heard)), 0);
            return;
        };
        let arrived = digits(world, pair, group, &mut self.faults);
        self.arrived += arrived;
        let window = if media.is_clear() { 3 } else { 10 };
        if now.since(from) < Duration::from_secs(window) {
            return;
        }
        self.listened += 1;
        for side in [0, 1] {
            let more = heard[side] - before[side];
            let fault = judge(world, pair, side, (now.since(from), more), media);
            if let Some(fault) = fault.filter(|_| self.told.insert((group, side))) {
                let at = now.since(DAWN.mono);
                let [a, b] = &pair.looks;
                self.faults.push(format!(
                    "conversation {group} at {at:?}: {fault}\n  {}\n  {}",
                    tell(a),
                    tell(b)
                ));
            }
        }
        // The last digit may still be on its way.
        let late = u64::from(pair.dialled_at.is_some_and(|at| now.since(at) < DIGIT));
        (pair.from, pair.dialled) = (Some((now, heard)), late);
    }

    /// Something happens in the middle of a call.
    pub fn play(&mut self, world: &mut World, group: u32, what: &Move, clear: bool) {
        let Some(pair) = self.pairs.get_mut(&group) else { return };
        let at = [pair.looks[0].at, pair.looks[1].at];
        let now = world.now;
        if !matches!(what, Move::Digit(..)) {
            // A digit under way would begin again with another SSRC.
            (pair.since, pair.from) = (now.mono, None);
            pair.digits.clear();
        }
        world.trace.line(now.mono, || format!("*** in {group}: {what:?}"));
        match what {
            Move::One(side, action) => {
                let action = at_home(world, at[*side], action);
                world.call_mut(at[*side]).act(now, action);
            }
            Move::Both([a, b], apart) => {
                let (a, b) = (at_home(world, at[0], a), at_home(world, at[1], b));
                world.call_mut(at[0]).act(now, a);
                world.call_mut(at[1]).plan(now.mono + *apart, b);
            }
            Move::Digit(side, digit, info) => {
                let both =
                    pair.looks.iter().all(|look| look.direction == Some(Direction::SendRecv));
                let silent = pair.looks.iter().any(|look| look.silent);
                if pair.from.is_none() || !both || silent || !pair.digits.is_empty() {
                    return;
                }
                let action = if *info { Action::Info(*digit) } else { Action::Digit(*digit) };
                let sender = world.call(at[*side]);
                let entry = Digit {
                    digit: *digit,
                    from: *side,
                    info: *info,
                    due: now.mono + DIGIT,
                    before: digits_of(world.call(at[1 - *side])).len(),
                    unsaid: sender.media.as_ref().map_or(0, |media| media.unsaid),
                    refused: infos_refused(sender),
                };
                pair.dialled += 1;
                pair.dialled_at = Some(now.mono);
                if clear && !looks_troubled(world, &pair.looks) {
                    pair.digits.push(entry);
                }
                world.call_mut(at[*side]).act(now, action);
            }
        }
        world.settle();
    }
}

/// A Contact is at the phone's own address.
fn at_home(world: &World, at: CallRef, action: &Action) -> Action {
    match action {
        Action::ReinviteContact(user) => {
            Action::ReinviteContact(format!("sip:{user}@{}", world.address(at.agent)))
        }
        other => other.clone(),
    }
}

fn looks_troubled(world: &World, looks: &[Look; 2]) -> bool {
    looks.iter().any(|look| world.network.troubled.contains(&world.call(look.at).call_id))
}

fn tell(look: &Look) -> String {
    let formats: Vec<String> = look
        .formats
        .iter()
        .map(|(codec, receive, send)| format!("{:?}:{receive}/{send}", codec.id))
        .collect();
    let (wish, direction) = (look.wish, look.direction);
    format!("{:?} wishes {wish:?}, has {direction:?}, {formats:?}, {:?}", look.at, look.speaks)
}

/// Packets of the other one that this side has heard.
fn heard(world: &World, looks: &[Look; 2], side: Side) -> u64 {
    let (call, other) = (world.call(looks[side].at), world.call(looks[1 - side].at));
    let heard = call.media.as_ref().map(|media| &media.heard);
    let stream = heard.and_then(|heard| heard.streams.get(&(other.group, other.stream)));
    stream.map_or(0, |stream| stream.packets)
}

/// What is wrong with what this side heard.
fn judge(
    world: &World,
    pair: &Pair,
    side: Side,
    (time, more): (Duration, u64),
    weather: Weather,
) -> Option<String> {
    let (listens, speaks) = (&pair.looks[side], &pair.looks[1 - side]);
    if listens.silent || speaks.silent {
        return None;
    }
    // Who refuses every re-INVITE cannot be told that a hold is over.
    let stuck = |look: &Look, may: fn(Direction) -> bool| {
        let refuses = world.call(look.at).manner.reinvite != Reinvite::Answer;
        refuses && !look.direction.is_some_and(may)
    };
    if stuck(listens, Direction::receives) || stuck(speaks, Direction::sends) {
        return None;
    }
    if !(speaks.wish.sends() && listens.wish.receives()) {
        let most = if weather.is_clear() { 0 } else { 1 };
        return (more > most).then(|| format!("side {side} hears {more} that nobody may hear"));
    }
    if world.call(speaks.at).is_nowhere() {
        // It may have moved since it last said where it is.
        return None;
    }
    let every = world.call(speaks.at).manner.packet_every;
    let packets = u64::try_from(time.as_millis() / every.as_millis().max(1)).unwrap_or(0);
    let digits = pair.dialled * if packets > 50 { 15 } else { 1 };
    let expected = match packets {
        _ if !weather.is_clear() => (packets / 2).min(packets.saturating_sub(9)).max(1),
        0..12 => packets.saturating_sub(1 + digits),
        _ => packets.saturating_sub(3 + packets / 50 + digits),
    };
    (more < expected).then(|| format!("side {side} hears {more} of {packets}"))
}

fn digits_of(call: &PhoneCall) -> String {
    let by_event = call.media.as_ref().map_or("", |media| &media.heard.digits);
    format!("{by_event}{}", call.seen.info_digits)
}

fn infos_refused(call: &PhoneCall) -> usize {
    let is = |(method, code): &&(String, u16)| method == "INFO" && *code >= 300;
    call.seen.answers.iter().filter(is).count()
}

/// Digits that are due: each has arrived, once, or was refused. How many have.
fn digits(world: &World, pair: &mut Pair, group: u32, faults: &mut Vec<String>) -> u64 {
    let now = world.now.mono;
    let mut arrived = 0;
    for it in core::mem::take(&mut pair.digits) {
        if it.due > now {
            pair.digits.push(it);
            continue;
        }
        let (from, to) =
            (world.call(pair.looks[it.from].at), world.call(pair.looks[1 - it.from].at));
        let event =
            |call: &PhoneCall| call.in_force().iter().any(|(codec, ..)| codec.is_telephone_event());
        let can = event(to) || to.manner.allow_value().contains("INFO");
        let said = match it.info {
            true => infos_refused(from) == it.refused,
            false => from.media.as_ref().is_some_and(|media| media.unsaid == it.unsaid),
        };
        let more = digits_of(to).len() - it.before;
        let expected = usize::from(said && (can || it.info));
        // Without Allow nobody knows whether INFO is taken.
        let open = !event(to) && to.manner.allow.is_empty();
        if more != expected && !open {
            let how = if it.info { "INFO" } else { "RFC 4733" };
            faults.push(format!(
                "conversation {group}: {} by {how} of side {} arrived {more} times, not {expected}",
                it.digit, it.from
            ));
        }
        arrived += u64::try_from(more).unwrap_or(0);
    }
    arrived
}
