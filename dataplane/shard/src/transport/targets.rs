//! Targets that said nothing lately: they are tried last for a while.

use arrayvec::ArrayVec;
use base::{Mono, Target};
use core::time::Duration;

/// How long a silent target is remembered.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many are; the oldest is forgotten first.
const TARGETS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct BadTargets(ArrayVec<(Target, Mono), TARGETS_MAX>);

impl BadTargets {
    /// It said nothing just now.
    pub(crate) fn mark(&mut self, target: Target, now: Mono) {
        self.0.retain(|(known, until)| *known != target && *until > now);
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push((target, now + REMEMBERED));
    }

    /// It answers again.
    pub(crate) fn clear(&mut self, target: Target) {
        if !self.0.is_empty() {
            self.0.retain(|(known, _)| *known != target);
        }
    }

    /// It said nothing lately.
    pub(crate) fn is_bad(&self, target: Target, now: Mono) -> bool {
        self.0.iter().any(|(known, until)| *known == target && *until > now)
    }

    /// Those that answer come first; the order is kept otherwise.
    pub(crate) fn order<const N: usize>(&self, targets: &mut ArrayVec<Target, N>, now: Mono) {
        if self.0.is_empty() {
            return;
        }
        let all = core::mem::take(targets);
        let good = all.iter().filter(|target| !self.is_bad(**target, now));
        let bad = all.iter().filter(|target| self.is_bad(**target, now));
        targets.extend(good.chain(bad).copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_target_is_tried_last_for_a_while() {
        let target = |port: u16| Target::udp(([192, 0, 2, 1], port).into());
        let mut bad = BadTargets::default();
        let order = |bad: &BadTargets, now| {
            let mut targets: ArrayVec<_, 4> = (1..4).map(target).collect();
            bad.order(&mut targets, now);
            targets.iter().map(|target| target.address.port()).collect::<Vec<_>>()
        };
        bad.mark(target(1), Mono(0));
        assert_eq!(order(&bad, Mono(1)), [2, 3, 1]);
        assert_eq!(order(&bad, Mono(0) + REMEMBERED), [1, 2, 3]);
        bad.clear(target(1));
        assert_eq!(order(&bad, Mono(1)), [1, 2, 3]);
        for port in 0..200 {
            bad.mark(target(port), Mono(0));
        }
        assert_eq!(bad.0.len(), TARGETS_MAX);
    }
}
