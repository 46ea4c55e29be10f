//! What must hold when a story is over, whatever happened in it (DESIGN.md section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::{CallId, Mono, Wall};
use model::{CallStatus, Cdr, UsageRow};
use wire::Service;
use wire::event::Cause;

use crate::directed::Directed;
use crate::guests::FIRST_GROUP;
use crate::phone::{Action, PhoneCall, Reinvite, Who};
use crate::story::Story;
use crate::strangers::is_stranger;
use crate::world::DAWN;

/// Every broken promise, one line each.
#[must_use]
pub fn check(story: &mut Story) -> Vec<String> {
    let mut faults = std::mem::take(&mut story.world.faults);
    let phones = phones(story);
    let mut troubled = story.world.network.troubled.clone();
    troubled.extend(story.world.cut_off.iter().cloned());
    // What a fault ends, one side finds out late; which call it was about is not known.
    let faulty = story.is_faulty();
    troubled.extend(phones.iter().filter(|_| faulty).map(|phone| phone.call_id.clone()));
    let (sip, media) = story.weather;
    let slack = 2 * (sip.delay + sip.jitter) + Duration::from_millis(30);
    let compatible: BTreeSet<u32> =
        story.conversations.iter().filter(|it| it.compatible).map(|it| it.group).collect();
    let context = Context {
        troubled,
        slack,
        clear_sip: sip.is_clear() && !faulty,
        clear_media: media.is_clear() && !faulty,
        compatible,
        deaths: story.plane_deaths.iter().map(|at| at.0).collect(),
        cut_off: story.world.cut_off.clone(),
        clock_set: story.is_clock_set(),
    };
    faults.append(&mut story.listener.faults);
    faults.extend(story.world.plane.leftovers());
    let directed = story.directed();
    records(directed, &mut faults);
    money(directed, &mut faults);
    callbacks(directed, &mut faults);
    messages(directed, &mut faults);
    one_cdr_per_leg(directed, &phones, &context, &mut faults);
    billed_is_connected(directed, &phones, &context, &mut faults);
    sound(&phones, &context, &mut faults);
    reasons(directed, &phones, &context, &mut faults);
    told_reasons(&phones, &context, &mut faults);
    complaints(&phones, &mut faults);
    besieged(story, &mut faults);
    faults.extend(crate::registered::faults(story));
    faults.extend(crate::lines::faults(story));
    let deaths = u32::try_from(story.plane_deaths.len()).unwrap_or(0);
    faults.extend(story.world.guests.faults(deaths));
    faults
}

/// Refusals of strangers that three shards may tell in a second.
const TOLD_RATE: u64 = 3 * 2;

/// Strangers got no more than they may, and left nothing behind.
fn besieged(story: &mut Story, faults: &mut Vec<String>) {
    let Some(strangers) = &story.world.strangers else { return };
    faults.extend(strangers.faults());
    let told_max = TOLD_RATE * (strangers.seconds() + 2 + 2 * story.plane_deaths.len() as u64);
    let directed = story.directed();
    let told = directed.refusals_of_strangers;
    if told > told_max {
        faults.push(format!("{told} refusals of strangers are told"));
    }
    let ledger = &directed.ledger;
    let is = |user: &str| user.contains("sip:stranger@");
    let cdrs = ledger.cdrs.values().filter(|cdr| is_stranger(cdr.remote));
    let rows = ledger.calls.values().filter(|row| is(&row.from));
    for (what, found) in [
        ("events", directed.of_strangers.clone()),
        ("CDRs", cdrs.map(|cdr| format!("{cdr:?}")).collect()),
        ("calls", rows.map(|row| format!("{row:?}")).collect()),
    ] {
        if let Some(first) = found.first() {
            faults.push(format!("strangers left {} {what}: {first}", found.len()));
        }
    }
}

struct Context {
    troubled: BTreeSet<String>,
    slack: Duration,
    clear_sip: bool,
    clear_media: bool,
    /// Conversations in which everybody shares a law of G.711.
    compatible: BTreeSet<u32>,
    /// When the dataplane died, monotonic nanoseconds.
    deaths: Vec<u64>,
    /// When something was written says nothing of when that was before the death.
    clock_set: bool,
    cut_off: BTreeSet<String>,
}

/// What a phone saw, taken out of the world.
struct Phone {
    who: Who,
    group: u32,
    call_id: String,
    code: u16,
    provisional: usize,
    answered: Option<u64>,
    ended: Option<u64>,
    over: bool,
    packet: Duration,
    heard: Option<crate::phone::Heard>,
    names: (u32, u32),
    /// What is in force was changed inside the call, or could not be.
    changed: bool,
    /// It has fallen silent for good.
    dead: bool,
    expired: bool,
    /// What it gives as the reason of its BYE or CANCEL, if it sent one; what it was given.
    gives: Option<String>,
    given: Option<String>,
    /// A BYE or a CANCEL came; not both, as to an answer that crossed the CANCEL.
    ended_by: bool,
    /// It was told that there is no such call, or may be: another branch of a fork answered, too,
    /// and with a message lost either may be the one.
    lost: bool,
    mute: bool,
    /// A guest, who acknowledges nothing or has its media elsewhere: what it hears is not said
    /// here.
    deaf: bool,
    /// It acknowledges nothing: the BYE waits for its ACK, and bills nothing meanwhile.
    never_acks: bool,
    complaints: Vec<String>,
}

impl Phone {
    fn of(call: &PhoneCall) -> Self {
        Self {
            who: call.who,
            group: call.group,
            call_id: call.call_id.clone(),
            code: call.seen.code,
            provisional: call.seen.provisional.len(),
            answered: call.seen.answered_at.map(|at| at.0),
            ended: call.seen.ended_at.map(|at| at.0),
            over: call.is_over(),
            packet: call.manner.packet_every,
            heard: call.media.as_ref().map(|media| media.heard.clone()),
            names: (call.group, call.stream),
            mute: call.manner.on_ring.is_empty(),
            never_acks: !call.manner.acks,
            deaf: !call.manner.acks || call.manner.packet_every.is_zero(),
            complaints: call.seen.complaints.clone(),
            changed: call.manner.reinvite != Reinvite::Answer
                || (call.seen.answers.iter().chain(&call.seen.asked))
                    .any(|(method, _)| method == "INVITE" || method == "UPDATE"),
            // Whose BYE crosses ours had ended nothing any more.
            gives: (call.manner.reason.clone()).filter(|_| {
                call.seen.byes == 0 && (!call.seen.ended_by_peer || call.seen.code == 487)
            }),
            given: call.seen.reason.clone(),
            ended_by: (call.seen.byes > 0) != (call.seen.cancels > 0),
            lost: call.seen.answers.iter().any(|(_, code)| *code == 481)
                || call.manner.on_ring.iter().any(|(_, action)| *action == Action::AnswerAgain),
            dead: crate::listen::is_dead(call),
            // Who refuses every re-INVITE may refuse the one that refreshes it.
            expired: call.seen.expired && call.manner.reinvite == Reinvite::Answer,
        }
    }

    fn connected(&self) -> Duration {
        match (self.answered, self.ended) {
            (Some(answered), Some(ended)) => Duration::from_nanos(ended.saturating_sub(answered)),
            _ => Duration::ZERO,
        }
    }
}

fn phones(story: &Story) -> Vec<Phone> {
    let calls = story.world.agents.iter().flat_map(|agent| &agent.calls);
    let is_asked = |call: &&PhoneCall| call.who == Who::Callee;
    let mut last: BTreeMap<&str, Mono> = BTreeMap::new();
    for call in calls.clone().filter(is_asked) {
        let at = last.entry(&call.call_id).or_default();
        *at = call.seen.dialed_at.max(*at);
    }
    // Who refused the session's interval is asked again in the same leg (RFC 4028 section 6), and
    // behind a target of a route the next one is.
    let goes_on = |call: &&PhoneCall| {
        is_asked(call) && last.get(&call.call_id[..]).is_some_and(|at| call.seen.dialed_at < *at)
    };
    // In a scene several talk with one after the other.
    let deaf = |phone: Phone| {
        let deaf = phone.deaf || story.listener.deaf.contains(&phone.group);
        Phone { deaf, ..phone }
    };
    calls.filter(|call| !goes_on(call)).map(Phone::of).map(deaf).collect()
}

/// Cells = events = rows; nothing lives on in the director or its log.
fn records(directed: &Directed, faults: &mut Vec<String>) {
    let ledger = &directed.ledger;
    let written: BTreeSet<_> = ledger.cdrs.keys().copied().collect();
    for missing in directed.ended.difference(&written) {
        faults.push(format!("no CDR for the leg {missing:?} that has ended"));
    }
    for cdr in ledger.cdrs.values() {
        let of_leg = |row: &&UsageRow| (row.key.epoch, row.key.leg) == (cdr.epoch, cdr.leg);
        let rows = ledger.usage.values().filter(of_leg).count();
        if rows == 0 {
            faults.push(format!("a CDR without usage: {cdr:?}"));
        }
    }
    let is_of_leg = |row: &&UsageRow| row.key.service != Service::SipRegistration;
    for row in ledger.usage.values().filter(is_of_leg) {
        if !ledger.cdrs.contains_key(&(row.key.epoch, row.key.leg)) {
            faults.push(format!("usage of no leg: {row:?}"));
        }
    }
    for call in ledger.scripts.keys() {
        faults.push(format!("{call} is still in the script log"));
    }
    for row in ledger.calls.values() {
        if row.status < CallStatus::Completed {
            faults.push(format!("{} stands as {} for ever", row.sid, row.status.name()));
        }
    }
    if let Some(director) = directed.director() {
        let stats = director.stats();
        let live = stats.calls_live + stats.calls_ending;
        if live > 0 {
            faults.push(format!("{live} calls live on in the director"));
        }
    }
    for cdr in ledger.cdrs.values().filter(|cdr| cdr.account.is_some()) {
        let Some(row) = ledger.calls.get(&cdr.call) else {
            faults.push(format!("a CDR whose call nobody can see: {cdr:?}"));
            continue;
        };
        let seconds = model::whole_seconds(cdr.micros());
        if row.duration.map(u64::from) != Some(seconds)
            || row.account != cdr.account.unwrap_or_default()
        {
            faults.push(format!("a call that is not its CDR:\n  {row:?}\n  {cdr:?}"));
        }
    }
    let mut by_call: BTreeMap<CallId, u32> = BTreeMap::new();
    for cdr in ledger.cdrs.values() {
        *by_call.entry(cdr.call).or_default() += 1;
    }
    for (call, count) in by_call.into_iter().filter(|(_, count)| *count > 1) {
        faults.push(format!("{count} CDRs for {call}"));
    }
}

/// One charge per priced row, equal to what its price makes of it; the CDR's price is their sum.
fn money(directed: &Directed, faults: &mut Vec<String>) {
    let ledger = &directed.ledger;
    let price = |service: Service| {
        ledger.entities.iter().find_map(|entity| match entity {
            model::port::Entity::Price(price) if price.service == service => Some(price),
            _ => None,
        })
    };
    let mut sums: BTreeMap<_, i64> = BTreeMap::new();
    for row in ledger.usage.values().filter(|row| row.account.is_some()) {
        let Some(price) = price(row.key.service) else { continue };
        let charge = price.charge(row.micros, row.count).1.0;
        let booked = ledger.entries.get(&row.key).map_or(0, |entry| -entry.amount.0);
        *sums.entry((row.key.epoch, row.key.leg)).or_default() -= charge;
        if booked != charge {
            faults.push(format!("charged {booked} for what costs {charge}: {row:?}"));
        }
        if row.micros != row.last.micros_since(row.start) && row.start.0 > 0 {
            faults.push(format!("a row that does not add up: {row:?}"));
        }
    }
    for cdr in ledger.cdrs.values().filter(|cdr| cdr.account.is_some()) {
        let sum = sums.get(&(cdr.epoch, cdr.leg)).copied().unwrap_or(0);
        if cdr.price.map(|price| price.0) != Some(sum) {
            faults.push(format!("a CDR of {:?} whose rows cost {sum}", cdr.price));
        }
    }
}

/// Per call in order, the same token for the same news.
/// A message comes after those before it, and under one token however often it comes.
fn messages(directed: &Directed, faults: &mut Vec<String>) {
    for tenant in &directed.web.tenants {
        let mut last: BTreeMap<&str, u32> = BTreeMap::new();
        let mut tokens: BTreeMap<(&str, u32), &str> = BTreeMap::new();
        for message in &tenant.messages {
            let key = (message.call.as_str(), message.number);
            let is_new = tokens.insert(key, &message.token).is_none_or(|known| {
                if known != message.token {
                    faults.push(format!("{key:?} has two tokens"));
                }
                false
            });
            let newest = last.entry(&message.call).or_default();
            if is_new && message.number <= *newest {
                faults.push(format!("{key:?} was told behind {newest}"));
            }
            *newest = message.number.max(*newest);
        }
    }
}

fn callbacks(directed: &Directed, faults: &mut Vec<String>) {
    if directed.refused_once {
        // What was told while nothing could be written is told again, as if for the first time.
        return;
    }
    for tenant in &directed.web.tenants {
        let mut last: BTreeMap<&str, (u32, &str)> = BTreeMap::new();
        let mut before: BTreeSet<(&str, u32)> = BTreeSet::new();
        for heard in &tenant.callbacks {
            let Some(number) = heard.sequence else { continue };
            if let Some((sequence, token)) = last.get(heard.call.as_str()) {
                // A successor may tell once more, from the beginning, what was not written yet.
                let is_again =
                    directed.lives > 1 && before.contains(&(heard.call.as_str(), number));
                if number < *sequence && !is_again {
                    faults.push(format!("told out of order: {heard:?} after {sequence}"));
                }
                if number == *sequence && heard.token != *token {
                    faults.push(format!("told twice with different tokens: {heard:?}"));
                }
            }
            last.insert(&heard.call, (number, &heard.token));
            before.insert((&heard.call, number));
        }
    }
}

fn one_cdr_per_leg(
    directed: &Directed,
    phones: &[Phone],
    context: &Context,
    faults: &mut Vec<String>,
) {
    for phone in phones {
        let is = |cdr: &&Cdr| cdr.sip_call_id == phone.call_id;
        let count = directed.ledger.cdrs.values().filter(is).count();
        // A caller that heard nothing at all, or only a refusal without a leg, has none.
        let turned_away = directed.turned_away.contains(&phone.call_id);
        let reached = phone.who == Who::Callee || phone.provisional > 0 && !turned_away;
        // The same INVITE may reach the dataplane's successor once more.
        // A guest that is refused is forgotten at once: its INVITE, said again, is another call.
        let guest = if phone.group >= FIRST_GROUP { directed.lives as usize } else { 0 };
        let most = 1 + context.deaths.len() + guest.saturating_sub(1);
        if count > most || (reached && count == 0) {
            let Phone { who, group, call_id, code, .. } = phone;
            faults.push(format!("{count} CDRs for {who:?} of {group}, {call_id}, {code}"));
        }
        // Who never said a word cannot be cancelled. Whom the dataplane rang before it died can, by
        // its successor.
        let unreachable = phone.who == Who::Callee && phone.answered.is_none() && phone.mute;
        // A CANCEL that was lost is not sent again by a process that has died: seed 960332.
        let is_cancelled = |cdr: Cdr| {
            let stop = cdr.ended.micros_since(DAWN.wall) * 1_000 + DAWN.mono.0;
            context.deaths.iter().any(|death| (stop..stop + 33_000_000_000).contains(death))
        };
        let unreachable = unreachable
            || phone.who == Who::Callee
                && phone.answered.is_none()
                && context.troubled.contains(&phone.call_id)
                && directed.ledger.cdrs.values().filter(is).cloned().any(is_cancelled);
        if !phone.over && !phone.dead && !unreachable {
            faults.push(format!("the {:?} of {} never came to an end", phone.who, phone.group));
        }
    }
}

fn billed_is_connected(
    directed: &Directed,
    phones: &[Phone],
    context: &Context,
    faults: &mut Vec<String>,
) {
    let ledger = &directed.ledger;
    for phone in phones {
        let is = |cdr: &&Cdr| cdr.sip_call_id == phone.call_id;
        let cdrs: Vec<&Cdr> = ledger.cdrs.values().filter(is).collect();
        let [cdr] = cdrs[..] else { continue };
        // Who asked something before the other side had its 2xx was told that there is no such
        // call, and went: the other side has to find out.
        let uncertain = context.troubled.contains(&phone.call_id) || !context.clear_sip;
        if phone.dead || phone.lost && uncertain || context.cut_off.contains(&phone.call_id) {
            continue;
        }
        let of_leg = |row: &&UsageRow| {
            (row.key.epoch, row.key.leg) == (cdr.epoch, cdr.leg)
                && row.key.service != Service::MediaRelay
        };
        let billed: u64 = ledger.usage.values().filter(of_leg).map(|row| row.micros).sum();
        let billed = Duration::from_micros(billed);
        let connected = match cdr.cause {
            // Until the last look at the living leg, at most 1.1 s before the death.
            Cause::Restart => until_death(phone, context),
            _ => phone.connected(),
        };
        // A BYE that was lost is not sent again by a process that has died.
        let stop = cdr.ended.micros_since(DAWN.wall) * 1_000 + DAWN.mono.0;
        let again = stop..stop + 33_000_000_000;
        let waits = (context.deaths.iter()).any(|death| context.clock_set || again.contains(death))
            || phone.never_acks;
        if waits && billed < connected {
            continue;
        }
        let loss = context.troubled.contains(&phone.call_id);
        // A lost BYE or ACK is found out after 32 s at the latest; something else ends the call.
        // A BYE waits for the ACK of a 2xx that is under way.
        let slack = if phone.changed { 2 * context.slack } else { context.slack };
        let allowed = if loss { Duration::from_secs(40) } else { slack };
        let allowed = allowed + if cdr.cause == Cause::Restart { RESTART } else { Duration::ZERO };
        if billed.abs_diff(connected) > allowed {
            let Phone { who, group, .. } = phone;
            faults.push(format!(
                "{who:?} of {group} was connected {connected:?} and billed {billed:?}: {cdr:?}"
            ));
        }
        let answered = cdr.answered.unwrap_or(Wall(0));
        if cdr.ended < answered || cdr.ended < cdr.created {
            faults.push(format!("a CDR that ends before it begins: {cdr:?}"));
        }
    }
}

const RESTART: Duration = Duration::from_millis(1_200);

/// What the phones found that a user agent must not send.
fn complaints(phones: &[Phone], faults: &mut Vec<String>) {
    for phone in phones {
        let (who, group) = (phone.who, phone.group);
        faults.extend(phone.complaints.iter().map(|it| format!("{who:?} of {group}: {it}")));
    }
}

/// Nothing ends for want of a codec where there is one; no session runs out unrefreshed.
fn reasons(directed: &Directed, phones: &[Phone], context: &Context, faults: &mut Vec<String>) {
    for phone in phones {
        let is = |cdr: &&Cdr| cdr.sip_call_id == phone.call_id && cdr.cause == Cause::NoCodec;
        let (who, group) = (phone.who, phone.group);
        if context.compatible.contains(&group) && directed.ledger.cdrs.values().any(|cdr| is(&cdr))
        {
            faults.push(format!("{who:?} of {group} ended for want of a codec"));
        }
        let troubled = context.troubled.contains(&phone.call_id) || !context.deaths.is_empty();
        if phone.expired && !troubled {
            faults.push(format!("the session of {who:?} of {group} ran out"));
        }
    }
}

/// The reason of a caller who hangs up or cancels reaches whoever was dialled for it (RFC 3326).
fn told_reasons(phones: &[Phone], context: &Context, faults: &mut Vec<String>) {
    if !context.deaths.is_empty() {
        return;
    }
    for caller in phones.iter().filter(|phone| phone.who == Who::Caller) {
        let Some((reason, ended)) = caller.gives.as_ref().zip(caller.ended) else { continue };
        let near = |phone: &&Phone| {
            let after = phone.ended.and_then(|at| at.checked_sub(ended));
            phone.who == Who::Callee
                && phone.group == caller.group
                && phone.ended_by
                && after.is_some_and(|after| Duration::from_nanos(after) <= context.slack)
        };
        // Lost: its BYE has met ours.
        let troubled = |phone: &Phone| phone.lost || context.troubled.contains(&phone.call_id);
        for callee in phones.iter().filter(near).filter(|it| !troubled(it) && !troubled(caller)) {
            if callee.given.as_ref() != Some(reason) {
                let (group, given) = (caller.group, &callee.given);
                faults.push(format!("the callee of {group} is told {given:?}, not {reason:?}"));
            }
        }
    }
}

/// How long the phone was connected when the dataplane died.
fn until_death(phone: &Phone, context: &Context) -> Duration {
    let Some(answered) = phone.answered else { return Duration::ZERO };
    let death = context.deaths.iter().copied().find(|death| *death >= answered);
    death.map_or(Duration::ZERO, |death| Duration::from_nanos(death - answered))
}

/// Everybody heard their own conversation and nobody else's, whole and as one stream.
fn sound(phones: &[Phone], context: &Context, faults: &mut Vec<String>) {
    for phone in phones {
        let Some(heard) = &phone.heard else { continue };
        let (who, group) = (phone.who, phone.group);
        // Of a call that died with the dataplane the far end still sends; if its host is that of
        // the port's next call too, a few packets pass until the right address speaks (five, by
        // THREATS.md).
        let ghosts = if context.deaths.is_empty() { 0 } else { 5 };
        let wrong = heard.streams.iter().any(|((of, _), it)| *of != group && it.packets > ghosts);
        let own = heard.streams.contains_key(&phone.names);
        if wrong || own {
            faults.push(format!("{who:?} of {group} hears {:?}", heard.streams.keys()));
        }
        // Who has not heard of a change yet is sent what it does not expect.
        let late = phone.changed && (!context.clear_sip || !context.deaths.is_empty());
        let unexpected = heard.foreign_payload + heard.foreign + heard.unwanted;
        let broken = heard.damaged + if late { 0 } else { unexpected };
        if broken > 0 || heard.ssrcs.len() > 1 {
            faults.push(format!("{who:?} of {group} hears damage: {heard:?}"));
        }
        if context.clear_media && heard.timestamp_backwards > 0 {
            faults.push(format!("{who:?} of {group}: time runs backwards in what it hears"));
        }
    }
    for caller in phones.iter().filter(|phone| phone.who == Who::Caller && phone.answered.is_some())
    {
        let of_group = |phone: &&Phone| phone.who == Who::Callee && phone.group == caller.group;
        let answered: Vec<&Phone> =
            phones.iter().filter(of_group).filter(|phone| phone.answered.is_some()).collect();
        if let [callee] = answered[..] {
            both_heard(caller, callee, context, faults);
        }
    }
}

fn both_heard(caller: &Phone, callee: &Phone, context: &Context, faults: &mut Vec<String>) {
    let (Some(a), Some(b)) = (caller.answered.zip(caller.ended), callee.answered.zip(callee.ended))
    else {
        return;
    };
    let mut end = a.1.min(b.1);
    if let Some(death) = context.deaths.iter().find(|death| **death < end) {
        end = *death;
    }
    let both = Duration::from_nanos(end.saturating_sub(a.0.max(b.0)));
    let troubled =
        context.troubled.contains(&caller.call_id) || context.troubled.contains(&callee.call_id);
    let deaf = caller.deaf || callee.deaf;
    if deaf || troubled || caller.changed || callee.changed || both < Duration::from_secs(3) {
        return;
    }
    for (phone, other) in [(caller, callee), (callee, caller)] {
        let packets = u64::try_from(both.as_millis() / other.packet.as_millis()).unwrap_or(0);
        // A digit takes the place of speech for its time.
        let digits = phone.heard.as_ref().map_or(0, |heard| heard.digits.len());
        let packets = packets.saturating_sub(10 * u64::try_from(digits).unwrap_or(0));
        // In bad weather some are lost; in good weather only those at the edges.
        let expected = match context.clear_media {
            true => packets.saturating_sub(2 + packets / 50),
            false if packets > 12 => packets / 2,
            false => 0,
        };
        let stream = phone.heard.as_ref().and_then(|heard| heard.streams.get(&other.names));
        let heard = stream.map_or(0, |stream| stream.packets);
        if heard < expected {
            let at = Duration::from_nanos(a.0.max(b.0).saturating_sub(DAWN.mono.0));
            faults.push(format!(
                "{:?} of {} heard {heard} of {packets} packets in {both:?} from {at:?}",
                phone.who, phone.group
            ));
        }
    }
}
