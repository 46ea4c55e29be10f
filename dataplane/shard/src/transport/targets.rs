//! What is known of targets: one that said nothing lately, that said for how long it is not there,
//! or that does not answer OPTIONS is asked last. There is one table of them, a share of it for
//! each trunk and account, so that nobody's many bad targets are forgotten for another's.

use arrayvec::ArrayVec;
use base::{Mono, Now, Target, Wall};
use core::time::Duration;
use wire::counter::Counter;
use wire::event::{Event, OutNews, OutWhy, TargetNews};

use crate::cx::{Core, Cx};

/// How long a silent target is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30);
/// Between what Retry-After may say, seconds: who says less is asked last all the same, who says
/// more is asked again after an hour.
const RETRY_AFTER: core::ops::RangeInclusive<u32> = 1..=3_600;
/// How many targets are remembered in all, and of one trunk or account.
const TARGETS_MAX: usize = 1_024;
const SHARE_MAX: usize = 64;
/// How often it is told again that a target is out, for a controlplane that has not heard it.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How many are told at once.
const TOLD_MAX: usize = 16;

/// Whose: a trunk's, or an account's number.
pub(crate) type Group = u64;

#[derive(Clone, Copy, Debug)]
struct Out {
    group: Group,
    target: Target,
    why: OutWhy,
    since: Wall,
    until: Mono,
    told: Mono,
}

/// Targets that are out, sorted by group and target.
#[derive(Debug)]
pub(crate) struct Targets(Vec<Out>);

impl Targets {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(TARGETS_MAX))
    }

    fn place(&self, group: Group, target: Target) -> Result<usize, usize> {
        let target = named(group, target);
        self.0.binary_search_by_key(&(group, target), |out| (out.group, out.target))
    }

    fn share(&self, group: Group) -> core::ops::Range<usize> {
        let from = self.0.partition_point(|out| out.group < group);
        from..from + self.0[from..].partition_point(|out| out.group == group)
    }

    /// How long it is asked last: until then, or not at all.
    fn until(&self, group: Group, target: Target, now: Mono) -> Option<Mono> {
        let out = &self.0[self.place(group, target).ok()?];
        (out.until > now).then_some(out.until)
    }

    /// Whether none of these is as good as any: there is one at least, and all are out.
    pub(crate) fn all_out(&self, group: Group, targets: &[Target], now: Mono) -> bool {
        !self.0.is_empty()
            && !targets.is_empty()
            && targets.iter().all(|target| self.until(group, *target, now).is_some())
    }

    /// Those that answer come first, in their order; then those that are out, whose time is over
    /// first: where all are out the least bad one is asked.
    pub(crate) fn order<const N: usize>(
        &self,
        group: Group,
        targets: &mut ArrayVec<Target, N>,
        now: Mono,
    ) {
        if self.0.is_empty() {
            return;
        }
        let key = |target: &Target| self.until(group, *target, now).unwrap_or(Mono(0));
        // Few: no allocation for a stable order.
        for at in 1..targets.len() {
            let mut at = at;
            while at > 0 && key(&targets[at]) < key(&targets[at - 1]) {
                targets.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    /// It is out until then. True if it was not.
    fn mark(&mut self, mut out: Out, now: Mono) -> bool {
        out.target = named(out.group, out.target);
        match self.place(out.group, out.target) {
            Ok(at) => {
                let known = &mut self.0[at];
                let was_out = known.until > now;
                match was_out {
                    // Still out: since when it is does not change.
                    true if out.until > known.until => {
                        (known.why, known.until) = (out.why, out.until);
                    }
                    true => {}
                    false => *known = out,
                }
                !was_out
            }
            Err(_) => {
                self.make_room(out.group);
                let at = self.place(out.group, out.target).unwrap_or_else(|at| at);
                self.0.insert(at, out);
                true
            }
        }
    }

    /// One more fits: the one of the group whose time is over first is forgotten where the group
    /// has its share; where the table is full, of the group that has most.
    fn make_room(&mut self, group: Group) {
        let share = self.share(group);
        let from = match share.len() >= SHARE_MAX {
            true => share,
            false if self.0.len() >= TARGETS_MAX => self.largest(),
            false => return,
        };
        let first = from.min_by_key(|at| self.0[*at].until);
        if let Some(at) = first {
            self.0.remove(at);
        }
    }

    fn largest(&self) -> core::ops::Range<usize> {
        let mut largest = 0..0;
        let mut from = 0;
        while let Some(out) = self.0.get(from) {
            let share = self.share(out.group);
            from = share.end;
            if share.len() > largest.len() {
                largest = share;
            }
        }
        largest
    }

    /// It is as good as any. What it was, if it was out.
    fn clear(&mut self, group: Group, target: Target) -> Option<Out> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.place(group, target).ok()?;
        Some(self.0.remove(at))
    }

    /// Why it is out.
    fn why(&self, group: Group, target: Target) -> Option<OutWhy> {
        self.place(group, target).ok().map(|at| self.0[at].why)
    }
}

/// A target as it is remembered: a trunk has one name for all that it reaches by TLS, but what an
/// account dials under two names are two far ends.
fn named(group: Group, target: Target) -> Target {
    match group >> 63 {
        0 => target,
        _ => Target::by(target.transport, target.address),
    }
}

/// For so long a target is out that says so itself.
pub(crate) fn retry_after(seconds: u32) -> Duration {
    let seconds = seconds.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
    Duration::from_secs(u64::from(seconds))
}

impl Core<'_> {
    /// A target is asked last for so long, and whom it concerns hears of it.
    pub(crate) fn target_out(
        &mut self,
        now: Now,
        (group, target): (Group, Target),
        (why, lasts): (OutWhy, Duration),
    ) {
        let (since, until) = (now.wall, now.mono + lasts);
        let out = Out { group, target, why, since, until, told: now.mono };
        if self.targets.mark(out, now.mono) {
            self.counters.count(Counter::TargetWentOut);
            self.tell_target(now, &out, true);
        }
    }

    /// It has answered. Who only says that he tries is not back from where he said to be.
    pub(crate) fn target_back(
        &mut self,
        now: Now,
        (group, target): (Group, Target),
        is_trying: bool,
    ) {
        let stays = is_trying && self.targets.why(group, target) == Some(OutWhy::Unavailable);
        if stays {
            return;
        }
        if let Some(out) = self.targets.clear(group, target)
            && out.until > now.mono
        {
            self.counters.count(Counter::TargetCameBack);
            self.tell_target(now, &out, false);
        }
    }

    /// Somebody has asked it by OPTIONS, and it is out for so many seconds, or lives.
    pub(crate) fn target_health(&mut self, now: Now, target: (Group, Target), out_s: Option<u32>) {
        match out_s {
            Some(seconds) => {
                self.target_out(now, target, (OutWhy::Unhealthy, retry_after(seconds)));
            }
            // Who takes no calls may answer OPTIONS all the same: what calls have found out stands.
            None if self.targets.why(target.0, target.1) != Some(OutWhy::Unhealthy) => {}
            None => self.target_back(now, target, false),
        }
    }

    fn tell_target(&mut self, now: Now, out: &Out, is_out: bool) {
        let seconds = u32::try_from(out.until.since(now.mono).as_secs()).unwrap_or(u32::MAX);
        let why = OutNews { why: out.why, since: out.since, seconds };
        let (group, target) = (out.group, out.target);
        let news = TargetNews { at: now.wall, group, target, out: is_out.then_some(why) };
        let mut cx = Cx { now, frames: &mut crate::NoFrames, core: self };
        cx.emit_optional(&Event::Target(news));
    }

    /// Whose time is over is as good as any; who is still out is told of again.
    pub(crate) fn targets_due(&mut self, now: Now) {
        let mut told = 0;
        let mut at = 0;
        while let Some(out) = self.targets.0.get(at).copied() {
            if out.until <= now.mono {
                self.targets.0.remove(at);
                self.counters.count(Counter::TargetCameBack);
                self.tell_target(now, &out, false);
                continue;
            }
            if told < TOLD_MAX && now.mono.since(out.told) > TOLD_EVERY {
                told += 1;
                self.targets.0[at].told = now.mono;
                self.tell_target(now, &out, true);
            }
            at += 1;
        }
        self.counters.set(Counter::TargetOut, self.targets.0.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target::udp(([192, 0, 2, 1], port).into())
    }

    fn mark(targets: &mut Targets, group: Group, port: u16, until: Mono) -> bool {
        let (why, since, told) = (OutWhy::Silent, Wall(0), Mono(0));
        targets.mark(Out { group, target: target(port), why, since, until, told }, Mono(0))
    }

    fn order(targets: &Targets, group: Group, now: Mono) -> Vec<u16> {
        let mut list: ArrayVec<_, 4> = (1..4).map(target).collect();
        targets.order(group, &mut list, now);
        list.iter().map(|target| target.address.port()).collect()
    }

    #[test]
    fn a_silent_target_is_tried_last_for_a_while() {
        let mut bad = Targets::new();
        let until = Mono(0) + REMEMBERED;
        assert!(mark(&mut bad, 7, 1, until) && !mark(&mut bad, 7, 1, until));
        assert_eq!(order(&bad, 7, Mono(1)), [2, 3, 1]);
        assert_eq!(order(&bad, 8, Mono(1)), [1, 2, 3], "another's targets");
        assert_eq!(order(&bad, 7, until), [1, 2, 3]);
        assert!(bad.clear(7, target(1)).is_some());
        assert_eq!(order(&bad, 7, Mono(1)), [1, 2, 3]);
    }

    #[test]
    fn where_all_are_out_the_least_bad_one_is_first() {
        let mut bad = Targets::new();
        for (port, until) in [(1, 30), (2, 10), (3, 20)] {
            mark(&mut bad, 7, port, Mono(until));
        }
        assert_eq!(order(&bad, 7, Mono(1)), [2, 3, 1]);
        let all: Vec<_> = (1..4).map(target).collect();
        assert!(bad.all_out(7, &all, Mono(1)) && !bad.all_out(7, &all, Mono(10)));
        assert!(!bad.all_out(7, &[], Mono(1)) && !bad.all_out(8, &all, Mono(1)));
    }

    #[test]
    fn nobodys_many_bad_targets_are_remembered_instead_of_anothers() {
        let mut bad = Targets::new();
        mark(&mut bad, 1, 1, Mono(1));
        for port in 0..1_000 {
            mark(&mut bad, 2, port, Mono(100 + u64::from(port)));
        }
        assert_eq!(bad.share(2).len(), SHARE_MAX);
        assert_eq!(bad.0[bad.share(2)][0].target.address.port(), 936, "the last ones");
        for group in 3..40 {
            for port in 0..64 {
                mark(&mut bad, group, port, Mono(100));
            }
            assert!(bad.0.len() <= TARGETS_MAX);
        }
        assert_eq!(order(&bad, 1, Mono(0)), [2, 3, 1], "its own place is as it was");
        assert!(bad.0.is_sorted_by_key(|out| (out.group, out.target)));
    }

    #[test]
    fn retry_after_is_bounded() {
        for (said, lasts) in [(0, 1), (1, 1), (30, 30), (3_600, 3_600), (u32::MAX, 3_600)] {
            assert_eq!(retry_after(said), Duration::from_secs(lasts));
        }
    }
}
