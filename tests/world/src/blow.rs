//! What happens to the processes and the machine of a story.

use std::time::Duration;

use base::{Mono, Prng};
use shard::faults::Site;

use crate::story::{Scale, below};
use crate::world::DAWN;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    ControlDies,
    ControlComes,
    /// Nothing can be written any more.
    StoreFails,
    PlaneDies,
    PlaneComes,
    /// A fault of the dataplane's own, when it has come there so often.
    Fault(Site, u32),
    /// The wall clock is set by so many seconds.
    Clock(i64),
    /// Every connection that stands is lost.
    Cut,
}

/// Everything that happens, in order.
pub(crate) fn all(random: &mut Prng, scale: Scale) -> Vec<(Mono, Blow)> {
    let mut all = if scale.talks { Vec::new() } else { blows(random, scale.within) };
    if scale.faults {
        all.extend(faults(random, scale.within));
    }
    if scale.clock {
        all.extend(clock_set(random, scale.within));
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

fn blows(random: &mut Prng, within: Duration) -> Vec<(Mono, Blow)> {
    let mut blows = Vec::new();
    let begin = DAWN.mono + SECOND;
    if random.chance(1, 2) {
        let mut at = begin;
        for _ in 0..=random.below(2) {
            at = at + below(random, within + 10 * SECOND);
            blows.push((at, Blow::ControlDies));
            let long = random.chance(1, 4);
            at = at + ms(50) + below(random, if long { 10 * SECOND } else { 2 * SECOND });
            blows.push((at, Blow::ControlComes));
        }
    }
    if random.chance(1, 8) {
        // Who cannot write takes no new calls, keeps the facts in the rings, and is started again.
        let at = begin + below(random, within + 5 * SECOND);
        let dies = at + ms(200) + below(random, 4 * SECOND);
        blows.push((at, Blow::StoreFails));
        blows.push((dies, Blow::ControlDies));
        blows.push((dies + ms(50) + below(random, SECOND), Blow::ControlComes));
    }
    if random.chance(1, 6) {
        let at = begin + below(random, within + 10 * SECOND);
        blows.push((at, Blow::PlaneDies));
        blows.push((at + ms(100) + below(random, 2 * SECOND), Blow::PlaneComes));
    }
    if random.chance(1, 3) {
        let cut = |random: &mut Prng| (begin + below(random, within + 10 * SECOND), Blow::Cut);
        blows.extend((0..=random.below(3)).map(|_| cut(random)));
    }
    blows.sort_by_key(|(at, _)| *at);
    blows
}

/// Faults of the dataplane's own: in what legs say to each other, as often as everywhere else.
fn faults(random: &mut Prng, within: Duration) -> Vec<(Mono, Blow)> {
    let begin = DAWN.mono + ms(500);
    let fault = |random: &mut Prng| {
        let any = usize::try_from(random.below(Site::ALL.len() as u64)).unwrap_or(0);
        let site = match random.below(4) {
            0 => Site::Peer,
            1 => Site::PeerLeg,
            _ => Site::ALL[any],
        };
        let later = u32::try_from(random.below(8)).unwrap_or(0);
        (begin + below(random, within + 5 * SECOND), Blow::Fault(site, later))
    };
    (0..=random.below(4)).map(|_| fault(random)).collect()
}

/// The clock is set: by a moment, an hour, a day, forth and back.
fn clock_set(random: &mut Prng, within: Duration) -> Vec<(Mono, Blow)> {
    const STEPS: [i64; 8] = [2, -2, 60, -60, 3_600, -3_600, 86_400, -86_400];
    let begin = DAWN.mono + ms(500);
    let set = |random: &mut Prng| {
        let by = STEPS[usize::try_from(random.below(STEPS.len() as u64)).unwrap_or(0)];
        (begin + below(random, within + 15 * SECOND), Blow::Clock(by))
    };
    (0..=random.below(3)).map(|_| set(random)).collect()
}
