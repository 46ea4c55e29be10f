//! The simulation: whole worlds from seeds. Three shards, the director, phones, tenants' web
//! servers, bad networks, processes that die; afterwards everything of `world::check` must hold.
//!
//! `TANDEM_SEEDS=N` plays so many small worlds (default 1,000), and half as many in which
//! everybody talks; `TANDEM_SKIP=N` begins so many seeds later, `TANDEM_SHOW=N` tells of so many
//! failures. `TANDEM_SEED=S` with one of the tests `replay_..` plays one, `TANDEM_TRACE=1` tells
//! what happens in it (2: media, too).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shard::faults::Site;
use wire::counter::Counter;
use world::Who;
use world::check::check;
use world::directed::Canary;
use world::guests::{FIRST_GROUP, Habit};
use world::lines::Lines;
use world::plane::Lane;
use world::plant::Plant;
use world::story::{Conversation, Scale, Story};
use world::tenant::Server;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays a seed. What is broken, and what the story was.
fn play(seed: u64, scale: Scale) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut story = Story::new(seed, scale);
        story.play();
        let faults = check(&mut story);
        if faults.is_empty() { Ok(()) } else { Err((faults.join("\n"), story.outline())) }
    }));
    match played {
        Ok(Ok(())) => Ok(()),
        Ok(Err((faults, outline))) => Err(format!("{faults}\n--- the story:\n{outline}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", text.unwrap_or("of unknown kind")))
        }
    }
}

/// Plays many seeds on all cores; panics with the first few that failed and how to replay them.
fn play_all(first: u64, count: u64, test: &str, scale: impl Fn(u64) -> Scale + Sync) {
    let first = first + number("TANDEM_SKIP").unwrap_or(0);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if let Err(fault) = play(seed, scale(seed)) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, fault));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(seed, _)| *seed);
    let shown = number("TANDEM_SHOW").and_then(|count| usize::try_from(count).ok());
    for (seed, fault) in failed.iter().take(shown.unwrap_or(5)) {
        eprintln!("=== seed {seed} failed; replay it with a trace:");
        eprintln!(
            "TANDEM_SEED={seed} TANDEM_TRACE=1 cargo test -p tests --test sim {test} -- --nocapture"
        );
        eprintln!("{fault}\n");
    }
    let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "{} of {count} seeds failed: {seeds:?}", seeds.len());
}

#[test]
fn small_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(1, count, "replay_small", Scale::small);
}

#[test]
fn talking_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(800_001, count / 2, "replay_talking", Scale::talking);
}

/// A fault of the dataplane's own ends what it was about: nobody stands on, and each leg is billed
/// once.
#[test]
fn faulty_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(900_001, count / 2, "replay_faulty", Scale::faulty);
}

/// Whoever sets the clock while calls stand: what is billed is what was talked, and nothing waits
/// for a moment that the clock was taken from.
#[test]
fn clock_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(920_001, count / 2, "replay_clock", Scale::clock);
}

/// Phones register by every transport, lose their connections and outlive both processes; whoever
/// calls their users reaches them, or hears that nobody is there.
#[test]
fn registered_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(940_001, count / 2, "replay_registered", Scale::registered);
}

/// Calls follow static routes, whatever becomes of the controlplane: to whom these lead alone, from
/// one target to the next, within their limits.
#[test]
fn trunk_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(960_001, count / 8, "replay_trunks", Scale::trunks);
}

/// Calls change hands: whoever is answered has somebody, and is not left standing.
#[test]
fn transfer_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(970_001, count / 8, "replay_transfers", Scale::transfers);
}

/// Phones forward their calls and decline them, by several flows: each rings once.
#[test]
fn forwarding_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000);
    play_all(980_001, count / 8, "replay_forwards", Scale::forwards);
}

#[test]
fn full_worlds() {
    let count = number("TANDEM_FULL_SEEDS").unwrap_or(6);
    play_all(500_001, count, "replay_full", |_| Scale::full());
}

#[test]
fn replay_small() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::small(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_open() {
    if let Some(seed) = number("TANDEM_SEED") {
        let scale = Scale::open(seed, seed % 3 == 0);
        play(seed, scale).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_talking() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::talking(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_faulty() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::faulty(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_clock() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::clock(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_registered() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::registered(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_trunks() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::trunks(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_transfers() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::transfers(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_forwards() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::forwards(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_full() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::full()).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// Who was called and answered how, of each conversation but those of guests.
fn set_up(story: &Story) -> BTreeMap<(u32, bool), Vec<(u16, bool)>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let calls = story.world.agents.iter().flat_map(|agent| &agent.calls);
    for call in calls.filter(|call| call.group < FIRST_GROUP) {
        let who = (call.group, call.who == Who::Caller);
        all.entry(who).or_default().push((call.seen.code, call.seen.answered_at.is_some()));
    }
    all
}

/// Strangers change nothing for those who call: every call is set up as in the same world without
/// them.
#[test]
fn besieged_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000) / 10;
    let (mut sent, mut answered, mut unheard) = (0, 0, 0);
    for seed in 740_001..=740_000 + count {
        let mut peace = Story::new(seed, Scale::calm(seed, false));
        peace.play();
        let mut siege = Story::new(seed, Scale::calm(seed, true));
        siege.play();
        assert_eq!(set_up(&siege), set_up(&peace), "seed {seed}: {}", siege.outline());
        let faults = check(&mut siege);
        assert!(faults.is_empty(), "seed {seed}: {}\n{}", faults.join("\n"), siege.outline());
        let counts = siege.world.strangers.as_ref().expect("they are there").counts();
        (sent, answered) = (sent + counts.0, answered + counts.1);
        // RTP of theirs came to ports in use before whom these were for had spoken.
        let lanes = siege.world.plane.lanes.iter();
        let refused = [Counter::DiscardRtpSource, Counter::DiscardRtpUnlatched];
        let of = |lane: &Lane| refused.map(|it| lane.shard.counters().get(it)).iter().sum::<u64>();
        unheard += lanes.map(of).sum::<u64>();
    }
    assert!(sent > 1_000 * count && answered > 0, "{sent} sent, {answered} answered");
    assert!(unheard > 0, "RTP of strangers came to no port in use");
}

/// Guests, whose calls an application takes though nobody knows them, change nothing for those who
/// call either, whether they acknowledge or not; a host that one of them names gets no media, and
/// each leg of theirs is billed once.
#[test]
fn open_worlds() {
    let count = number("TANDEM_SEEDS").unwrap_or(1_000) / 10;
    let (mut answered, mut unheard) = ([0; Habit::ALL.len()], 0);
    for seed in 760_001..=760_000 + count {
        let siege = seed % 3 == 0;
        let mut peace = Story::new(seed, Scale::calm(seed, siege));
        peace.play();
        let mut open = Story::new(seed, Scale::open(seed, siege));
        // Which request of theirs fails depends on how often callbacks came again before it.
        let servers: Vec<Server> = open.directed().web.tenants.iter().map(|it| it.server).collect();
        let is_flaky = |it: &&Conversation| servers[it.tenant] == Server::Flaky;
        let flaky: BTreeSet<u32> =
            open.conversations.iter().filter(is_flaky).map(|it| it.group).collect();
        open.play();
        let [mut with, mut without] = [&open, &peace].map(set_up);
        with.retain(|(group, _), _| !flaky.contains(group));
        without.retain(|(group, _), _| !flaky.contains(group));
        assert_eq!(with, without, "seed {seed}: {}", open.outline());
        let faults = check(&mut open);
        assert!(faults.is_empty(), "seed {seed}: {}\n{}", faults.join("\n"), open.outline());
        unheard += open.world.guests.unheard();
        for (at, habit) in Habit::ALL.iter().enumerate() {
            let guest = world::guests::address(*habit);
            let calls = open.world.agents.iter().filter(|agent| agent.sip == guest);
            let calls = calls.flat_map(|agent| &agent.calls);
            answered[at] += calls.filter(|call| call.seen.answered_at.is_some()).count();
        }
    }
    assert!(answered.iter().all(|calls| *calls > 0), "{answered:?} answered");
    assert!(unheard > 0, "no answer went unheard");
}

/// Nothing waits for a stranger to come back: what a flood leaves behind is nothing, at once.
#[test]
fn strangers_alone_leave_nothing() {
    for seed in 750_001..=750_010 {
        let mut story = Story::new(seed, Scale::calm(seed, true));
        story.world.run_for(Duration::from_secs(8));
        assert_eq!(story.world.plane.leftovers(), Vec::<String>::new(), "seed {seed}");
    }
}

/// The invariants notice faults that are planted on purpose; without that, green says nothing.
#[test]
fn planted_faults_are_found() {
    let canaries =
        [Canary::LosesAnEnd, Canary::BillsTooMuch, Canary::KeepsALeg, Canary::BillsTwice];
    for canary in canaries {
        let found = (700_001..700_011).find(|seed| {
            let scale = Scale { canary, ..Scale::small(*seed) };
            play(*seed, scale).is_err()
        });
        assert!(found.is_some(), "{canary:?} was not noticed in ten seeds");
    }
}

/// Faults planted in what the switch sends: sound that is another's, a direction that outlives its
/// exchange.
#[test]
fn planted_faults_of_the_switch_are_found() {
    for plant in [Plant::Bleeds, Plant::KeepsEarlyDirection, Plant::Amplifies] {
        let found = (710_001..710_021).find(|seed| {
            let scale = Scale { plant: Some(plant), ..Scale::talking(*seed) };
            play(*seed, scale).is_err() && play(*seed, Scale::talking(*seed)).is_ok()
        });
        assert!(found.is_some(), "{plant:?} was not noticed in twenty seeds");
    }
}

/// What an outsider sees of a history.
fn digest(seed: u64) -> String {
    let mut story = Story::new(seed, Scale::small(seed));
    story.play();
    let seen = story.world.agents.iter().flat_map(|agent| &agent.calls).map(|call| {
        let heard = call.media.as_ref().map(|media| &media.heard);
        format!("{:?} {heard:?}\n", call.seen)
    });
    seen.collect()
}

#[test]
fn a_seed_is_one_history() {
    for seed in 720_001..720_011 {
        assert!(digest(seed) == digest(seed), "seed {seed} has two histories");
    }
}

/// The faults of those worlds must be come to.
#[test]
fn faults_strike() {
    let mut struck = Vec::new();
    for seed in 900_001..900_151 {
        let mut story = Story::new(seed, Scale::faulty(seed));
        story.play();
        struck.append(&mut story.struck);
    }
    let times = |site: &Site| struck.iter().filter(|it| *it == site).count();
    assert!(times(&Site::Peer) > 20 && times(&Site::PeerLeg) > 20 && struck.len() > 100);
}

/// Calls must go by trunks: to a second target, with parts, to emergency services, with texts.
#[test]
fn trunks_lead_somewhere() {
    let (mut further, mut parts, mut urgent, mut texts) = (0, 0, 0, 0);
    for seed in 960_001..960_031 {
        let mut story = Story::new(seed, Scale::trunks(seed));
        story.play();
        let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
        let calls = story.world.agents.iter().flat_map(|agent| &agent.calls);
        for call in calls.filter(|call| call.who == Who::Callee && Lines::has(call.group)) {
            *groups.entry(call.group).or_default() += 1;
            parts += usize::from(call.seen.text.contains("application/isup"));
            urgent += usize::from(call.uri.starts_with("urn:") && call.seen.answered_at.is_some());
            texts += call.seen.texts.len();
        }
        further += groups.values().filter(|targets| **targets > 1).count();
    }
    let counts = format!("{further} further, {parts} parts, {urgent} urgent, {texts} texts");
    assert!(further > 10 && parts > 10 && urgent > 10 && texts > 10, "{counts}");
}

/// Phones must send calls on, and be rung, answered and declined.
#[test]
fn forwards_lead_somewhere() {
    let (mut forwarded, mut answered, mut declined) = (0, 0, 0);
    for seed in 980_001..980_031 {
        let mut story = Story::new(seed, Scale::forwards(seed));
        story.play();
        let calls = story.world.agents.iter().flat_map(|agent| &agent.calls);
        for call in calls.filter(|call| call.who == Who::Callee) {
            let is_forwarded = call.seen.text.contains("Diversion: ");
            forwarded += usize::from(is_forwarded);
            answered += usize::from(is_forwarded && call.seen.answered_at.is_some());
            declined += usize::from(call.seen.code == 603);
        }
    }
    let counts = format!("{forwarded} forwarded, {answered} of them answered, {declined} declined");
    assert!(forwarded > 10 && answered > 3 && declined > 10, "{counts}");
}

/// Places must be taken, and referrals come to something.
#[test]
fn calls_change_hands() {
    let (mut taken, mut referred, mut listened) = (0, 0, 0);
    for seed in 970_001..970_031 {
        let mut story = Story::new(seed, Scale::transfers(seed));
        story.play();
        taken += story.scenes.taken;
        referred += story.scenes.referred;
        listened += story.scenes.listened;
    }
    let counts = format!("{taken} taken, {referred} referred, {listened} looks");
    assert!(taken > 20 && referred > 20 && listened > 50, "{counts}");
}

/// The listener must find something to listen to.
#[test]
fn conversations_are_listened_to() {
    let (mut listened, mut arrived) = (0, 0);
    for seed in 730_001..730_041 {
        let mut story = Story::new(seed, Scale::talking(seed));
        story.play();
        listened += story.listener.listened;
        arrived += story.listener.arrived;
    }
    assert!(listened > 200 && arrived > 5, "listened {listened} times, {arrived} digits");
}
