//! The simulation: whole worlds from seeds. Three shards, the director, phones, tenants' web
//! servers, bad networks, processes that die; afterwards everything of `world::check` must hold.
//!
//! `TANDEM_SEEDS=N` plays so many small worlds (default 1,000), `TANDEM_SEED=S` with the test
//! `replay` plays one, `TANDEM_TRACE=1` tells what happens in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use world::check::check;
use world::directed::Canary;
use world::plant::Plant;
use world::story::{Scale, Story};

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
    for (seed, fault) in failed
        .iter()
        .take(number("TANDEM_SHOW").map_or(5, |count| usize::try_from(count).unwrap_or(5)))
    {
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
    play_all(800_001, count, "replay_talking", Scale::talking);
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
fn replay_talking() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::talking(seed)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn replay_full() {
    if let Some(seed) = number("TANDEM_SEED") {
        play(seed, Scale::full()).unwrap_or_else(|fault| panic!("{fault}"));
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
    for plant in [Plant::Bleeds, Plant::KeepsEarlyDirection] {
        let found = (710_001..710_021).find(|seed| {
            let scale = Scale { plant: Some(plant), ..Scale::talking(*seed) };
            play(*seed, scale).is_err() && play(*seed, Scale::talking(*seed)).is_ok()
        });
        eprintln!("{plant:?} is noticed in {found:?}");
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
