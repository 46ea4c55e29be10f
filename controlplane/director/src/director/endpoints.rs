//! The hosts that callbacks go to, and the paths of each: how many are under way, who waits, and
//! which are left alone for a while. Whose they are is a family's matter: an account and its
//! sub-accounts share places, lines and breakers.
//!
//! A host that cannot be connected to is dead: nothing goes to it but one probe now and then. One
//! that is connected to is alive, whatever it answers and however late; what fails at a path of it
//! leaves that path alone, and the others have their places. Probes go to callbacks that were not
//! tried yet, as long as there are any: one that fails for reasons of its own says nothing of the
//! others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{CallId, Mono};
use model::AccountSid;

use crate::settings::Limits;

/// Where a callback goes, seen by whose it is: scheme, host and port, and the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) path: String,
}

/// Of which family, and its name.
pub(super) type HostKey = (AccountSid, String);

/// What came of a request, as its host and its path see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is wrong with either.
    Fine,
    /// The path does not work: an answer that may be another one next time, or none.
    Failed,
    /// There is no connection.
    Unreachable,
}

/// All hosts of all families, and how many callbacks wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Callbacks {
    hosts: BTreeMap<HostKey, Host>,
    /// What a timer's number stands for.
    numbers: BTreeMap<u64, (HostKey, Option<String>)>,
    /// Hosts at which those that nobody needs are forgotten.
    forget_at: usize,
    /// In all calls together, and of each family that has any.
    waiting: usize,
    of_family: BTreeMap<AccountSid, usize>,
    /// Hosts in whose lines somebody waits for a place of his family, in turn.
    stalled: BTreeMap<AccountSid, VecDeque<String>>,
}

#[derive(Clone, Debug, Default)]
struct Host {
    under_way: u32,
    breaker: Breaker,
    paths: BTreeMap<String, Path>,
    forget_at: usize,
    /// Paths in whose line somebody may go on, in turn.
    ready: VecDeque<String>,
    is_stalled: bool,
}

#[derive(Clone, Debug, Default)]
struct Path {
    under_way: u32,
    breaker: Breaker,
    is_ready: bool,
    /// Calls whose callback is due: not tried yet, and tried before.
    fresh: VecDeque<CallId>,
    tried: VecDeque<CallId>,
    /// The tried have the next turn.
    tried_next: bool,
    /// Calls whose callback failed here and waits for its time.
    resting: BTreeSet<CallId>,
    /// Those of them that need not wait any more: what failed works again.
    woken: BTreeSet<CallId>,
}

/// Open after failures one after the other: then one request at a time, and not before.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Mono>,
}

const FAILURES_TO_OPEN: u32 = 5;
const HOST_OPEN_FOR: Duration = Duration::from_secs(10);
const PATH_OPEN_FIRST: Duration = Duration::from_secs(1);
const PATH_OPEN_MAX: Duration = Duration::from_secs(30);
/// Hosts of all accounts, or paths of one host, of which none is forgotten.
const REMEMBERED: usize = 1_024;

impl Callbacks {
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// One more waits, if there is room for it; else why there is none.
    pub(super) fn admit(
        &mut self,
        family: AccountSid,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        let own = self.of_family.get(&family).copied().unwrap_or(0);
        if own >= limits.account_callbacks {
            return Err("too many callbacks of the account are waiting");
        }
        if self.waiting >= limits.callbacks {
            return Err("too many callbacks are waiting");
        }
        self.count(family, 1);
        Ok(())
    }

    fn count(&mut self, family: AccountSid, callbacks: usize) {
        if callbacks > 0 {
            self.waiting += callbacks;
            *self.of_family.entry(family).or_default() += callbacks;
        }
    }

    /// Counts anew.
    pub(super) fn recount(&mut self, calls: impl Iterator<Item = (AccountSid, usize)>) {
        self.waiting = 0;
        self.of_family.clear();
        for (family, callbacks) in calls {
            self.count(family, callbacks);
        }
    }

    /// One waits no more.
    pub(super) fn release(&mut self, family: AccountSid) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(own) = self.of_family.get_mut(&family) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.of_family.remove(&family);
            }
        }
    }

    /// A place for the call's request; without one the call stands in the path's line. `has_place`:
    /// its family has one.
    pub(super) fn begin(
        &mut self,
        now: Mono,
        (family, to): (AccountSid, &Endpoint),
        call: CallId,
        is_fresh: bool,
        (has_place, per_host): (bool, u32),
    ) -> bool {
        if self.hosts.len() >= self.forget_at.max(REMEMBERED) {
            self.hosts.retain(|_, host| !host.is_idle(now));
            self.forget_at = 2 * self.hosts.len();
        }
        let host = self.hosts.entry((family, to.host.clone())).or_default();
        if host.paths.len() >= host.forget_at.max(REMEMBERED) {
            host.paths.retain(|_, path| !path.is_idle(now));
            host.forget_at = 2 * host.paths.len();
        }
        let path = host.paths.entry(to.path.clone()).or_default();
        path.resting.remove(&call);
        path.woken.remove(&call);
        let path_has_room = path.has_room(now, per_host);
        let room =
            has_place && path_has_room && host.breaker.has_room(now, host.under_way, per_host);
        if room {
            host.under_way += 1;
            path.under_way += 1;
        } else {
            let line = if is_fresh { &mut path.fresh } else { &mut path.tried };
            line.push_back(call);
            if path_has_room {
                host.make_ready(&to.path);
            }
        }
        room
    }

    /// A request is over. `number`: new, for a breaker that opens. Gives the time at which
    /// something may be let through again.
    pub(super) fn answered(
        &mut self,
        now: Mono,
        key: &HostKey,
        (path, call): (&str, CallId),
        outcome: Outcome,
        number: u64,
    ) -> Option<Mono> {
        let host = self.hosts.get_mut(key)?;
        let mut wake = None;
        host.under_way = host.under_way.saturating_sub(1);
        let mut name = None;
        let was_dead = host.breaker.open_until.is_some();
        if outcome == Outcome::Unreachable {
            wake = host.breaker.failed(now, HOST_OPEN_FOR, HOST_OPEN_FOR);
        } else {
            host.breaker.close();
            if was_dead {
                host.wake_all();
            }
        }
        if let Some(it) = host.paths.get_mut(path) {
            it.under_way = it.under_way.saturating_sub(1);
            match outcome {
                Outcome::Fine => {
                    if it.breaker.close() {
                        it.wake();
                    }
                }
                Outcome::Failed => {
                    it.resting.insert(call);
                    let (first, most) = (PATH_OPEN_FIRST, PATH_OPEN_MAX);
                    wake = it.breaker.failed(now, first, most);
                    name = wake.map(|_| path.to_owned());
                }
                Outcome::Unreachable => {
                    it.resting.insert(call);
                }
            }
        }
        host.make_ready(path);
        if wake.is_some() {
            self.numbers.insert(number, (key.clone(), name));
        }
        wake
    }

    /// Somebody in the lines of this host has no place in his family. True if there is one.
    pub(super) fn stall(&mut self, key: &HostKey) -> bool {
        let Some(host) = self.hosts.get_mut(key).filter(|host| !host.ready.is_empty()) else {
            return false;
        };
        if !host.is_stalled {
            host.is_stalled = true;
            self.stalled.entry(key.0).or_default().push_back(key.1.clone());
        }
        true
    }

    /// A host of the family's at which somebody waited for a place.
    pub(super) fn unstall(&mut self, family: AccountSid) -> Option<HostKey> {
        let hosts = self.stalled.get_mut(&family)?;
        let key = hosts.pop_front().map(|host| (family, host));
        if hosts.is_empty() {
            self.stalled.remove(&family);
        }
        if let Some(host) = key.as_ref().and_then(|key| self.hosts.get_mut(key)) {
            host.is_stalled = false;
        }
        key
    }

    pub(super) fn is_stalled(&self, family: AccountSid) -> bool {
        self.stalled.contains_key(&family)
    }

    /// Its callback does not come again.
    pub(super) fn leave(&mut self, key: &HostKey, path: &str, call: CallId) {
        let host = self.hosts.get_mut(key);
        if let Some(path) = host.and_then(|host| host.paths.get_mut(path)) {
            path.resting.remove(&call);
            path.woken.remove(&call);
        }
    }

    /// Who goes on next at this host, and at which path of it.
    pub(super) fn next(
        &mut self,
        now: Mono,
        key: &HostKey,
        per_host: u32,
    ) -> Option<(CallId, String)> {
        let host = self.hosts.get_mut(key)?;
        while host.breaker.has_room(now, host.under_way, per_host) {
            let name = host.ready.pop_front()?;
            let Some(path) = host.paths.get_mut(&name) else { continue };
            path.is_ready = false;
            if !path.has_room(now, per_host) {
                continue;
            }
            let is_probe = path.breaker.open_until.is_some() || host.breaker.open_until.is_some();
            let Some(call) = path.pop(is_probe) else { continue };
            host.make_ready(&name);
            return Some((call, name));
        }
        None
    }

    /// The time of a timer has come: whose line may go on.
    pub(super) fn wake(&mut self, number: u64) -> Option<HostKey> {
        let (key, path) = self.numbers.remove(&number)?;
        let host = self.hosts.get_mut(&key)?;
        if let Some(path) = path {
            host.make_ready(&path);
        }
        Some(key)
    }
}

impl Host {
    fn make_ready(&mut self, name: &str) {
        if let Some(path) = self.paths.get_mut(name)
            && !path.is_ready
            && path.has_line()
        {
            path.is_ready = true;
            self.ready.push_back(name.to_owned());
        }
    }

    /// It is there again: whoever it failed goes on, as there are places.
    fn wake_all(&mut self) {
        for (name, path) in &mut self.paths {
            path.wake();
            if path.has_line() && !path.is_ready {
                path.is_ready = true;
                self.ready.push_back(name.clone());
            }
        }
    }

    fn is_idle(&self, now: Mono) -> bool {
        self.under_way == 0
            && self.breaker.rests(now)
            && self.paths.values().all(|path| path.is_idle(now))
    }
}

impl Path {
    /// One path does not take every place of its host.
    fn has_room(&self, now: Mono, per_host: u32) -> bool {
        self.breaker.has_room(now, self.under_way, (per_host - per_host / 4).max(1))
    }

    fn pop(&mut self, is_probe: bool) -> Option<CallId> {
        let tried_first = self.tried_next && !is_probe;
        self.tried_next = !self.tried_next;
        let (one, other) = if tried_first {
            (&mut self.tried, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.tried)
        };
        let next = one.pop_front().or_else(|| other.pop_front());
        next.or_else(|| self.woken.pop_first())
    }

    fn has_line(&self) -> bool {
        !(self.fresh.is_empty() && self.tried.is_empty() && self.woken.is_empty())
    }

    /// What failed while nothing worked need not wait for its time.
    fn wake(&mut self) {
        if self.woken.is_empty() {
            std::mem::swap(&mut self.woken, &mut self.resting);
        } else {
            self.woken.append(&mut self.resting);
        }
    }

    fn is_idle(&self, now: Mono) -> bool {
        let nobody = !self.has_line() && self.resting.is_empty();
        nobody && self.under_way == 0 && !self.is_ready && self.breaker.rests(now)
    }
}

impl Breaker {
    fn has_room(&self, now: Mono, under_way: u32, most: u32) -> bool {
        match self.open_until {
            None => under_way < most,
            Some(until) => now >= until && under_way == 0,
        }
    }

    /// When one is let through again, if it is open from now on.
    fn failed(&mut self, now: Mono, first: Duration, most: Duration) -> Option<Mono> {
        self.failures = self.failures.saturating_add(1);
        let times = self.failures.checked_sub(FAILURES_TO_OPEN)?;
        let until = now + first.saturating_mul(1 << times.min(16)).min(most);
        self.open_until = Some(until);
        Some(until)
    }

    /// True if it was open.
    fn close(&mut self) -> bool {
        self.failures = 0;
        self.open_until.take().is_some()
    }

    /// It says nothing that anybody has to know.
    fn rests(&self, now: Mono) -> bool {
        self.open_until.is_none_or(|until| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_HOST: u32 = 4;

    fn at(path: &str) -> Endpoint {
        Endpoint { host: "http://app.test:80".to_owned(), path: path.to_owned() }
    }

    fn key() -> HostKey {
        (AccountSid(1), at("").host)
    }

    fn begin(callbacks: &mut Callbacks, now: u64, path: &str, call: u128) -> bool {
        let to = at(path);
        callbacks.begin(Mono(now), (AccountSid(1), &to), CallId(call), true, (true, PER_HOST))
    }

    fn answered(
        callbacks: &mut Callbacks,
        path: &str,
        call: u128,
        outcome: Outcome,
    ) -> Option<Mono> {
        callbacks.answered(
            Mono(1),
            &key(),
            (path, CallId(call)),
            outcome,
            u64::try_from(call).unwrap(),
        )
    }

    #[test]
    fn a_slow_path_leaves_a_place_to_the_others() {
        let mut callbacks = Callbacks::default();
        let taken = (1..=5).filter(|call| begin(&mut callbacks, 1, "/slow", *call)).count();
        assert_eq!(taken, 3);
        assert!(begin(&mut callbacks, 1, "/fast", 10));
        assert!(!begin(&mut callbacks, 1, "/fast", 11), "the host has no more places");
        answered(&mut callbacks, "/fast", 10, Outcome::Fine);
        let next = callbacks.next(Mono(1), &key(), PER_HOST);
        assert_eq!(next, Some((CallId(11), "/fast".to_owned())));
        assert_eq!(callbacks.next(Mono(1), &key(), PER_HOST), None);
    }

    #[test]
    fn a_dead_host_is_probed_by_who_was_not_tried() {
        let mut callbacks = Callbacks::default();
        for call in 1..=5 {
            assert!(begin(&mut callbacks, 1, "/a", call));
            let wake = answered(&mut callbacks, "/a", call, Outcome::Unreachable);
            assert_eq!(wake.is_some(), call == 5);
        }
        let places = (true, PER_HOST);
        let tried = callbacks.begin(Mono(2), (AccountSid(1), &at("/a")), CallId(1), false, places);
        assert!(!tried && !begin(&mut callbacks, 2, "/a", 20));
        let later = Mono(0) + HOST_OPEN_FOR + Duration::from_secs(1);
        assert_eq!(callbacks.next(Mono(2), &key(), PER_HOST), None);
        let next = callbacks.next(later, &key(), PER_HOST);
        assert_eq!(next.map(|(call, _)| call), Some(CallId(20)));
        // What failed before and waits for its time is tried when the host is there again.
        assert!(callbacks.begin(later, (AccountSid(1), &at("/a")), CallId(20), true, places));
        answered(&mut callbacks, "/a", 20, Outcome::Fine);
        let mut next = Vec::new();
        while let Some((call, path)) = callbacks.next(later, &key(), PER_HOST) {
            // As there are places.
            assert!(callbacks.begin(later, (AccountSid(1), &at(&path)), call, false, places));
            next.push(call.0);
        }
        assert_eq!(next, [1, 2, 3]);
        answered(&mut callbacks, "/a", 1, Outcome::Fine);
        let next = callbacks.next(later, &key(), PER_HOST);
        assert_eq!(next.map(|(call, _)| call.0), Some(4));
    }

    /// Applications that have a URL of its own for each call are not remembered for ever.
    #[test]
    fn paths_and_hosts_that_nobody_needs_are_forgotten() {
        let mut callbacks = Callbacks::default();
        for call in 1..=10_000 {
            let path = format!("/calls/{call}");
            assert!(begin(&mut callbacks, 1, &path, call));
            answered(&mut callbacks, &path, call, Outcome::Failed);
            callbacks.leave(&key(), &path, CallId(call));
        }
        assert!(callbacks.hosts[&key()].paths.len() <= REMEMBERED);
        for call in 1..=10_000 {
            let to = Endpoint { host: format!("http://{call}.test:80"), path: "/".to_owned() };
            assert!(callbacks.begin(Mono(1), (AccountSid(1), &to), CallId(call), true, (true, 4)));
            let key = (AccountSid(1), to.host);
            callbacks.answered(Mono(1), &key, ("/", CallId(call)), Outcome::Fine, 1);
        }
        assert!(callbacks.hosts.len() <= REMEMBERED);
    }
}
