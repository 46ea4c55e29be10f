//! How often somebody may be wrong about a password: so often at once, then so much slower. Of each
//! source (an IPv4 address, a /64) and of each user there is a budget of failures. Who proves that
//! he knows a password pays nothing, and what a source proved once is asked about whatever others
//! behind the same address have done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base::Mono;
use model::DomainSid;

/// Failures of a source at once, and how long it waits for one more.
const SOURCE: (u32, Duration) = (20, Duration::from_secs(6));
/// The same of a user, wherever they come from.
const USER: (u32, Duration) = (50, Duration::from_secs(30));
/// Budgets of each kind that are kept.
const KEPT: usize = 10_000;
/// Of those who were right, so many are known: as many as an account may have registered.
const PROVEN_MAX: usize = 100_000;

/// Who tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried<'a> {
    pub(super) source: IpAddr,
    pub(super) domain: Option<DomainSid>,
    pub(super) user: &'a str,
}

/// Failures that are left.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// When all of them are there again.
    full_at: Mono,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    sources: BTreeMap<IpAddr, Budget>,
    users: BTreeMap<(Option<DomainSid>, String), Budget>,
    /// Who was right from where, the latest failures of others notwithstanding; when last, counted.
    proven: BTreeMap<Proven, u64>,
    /// The same by when: who was right longest ago goes first.
    order: BTreeMap<u64, Proven>,
    last: u64,
}

/// A source, and the user that it was right about.
type Proven = (IpAddr, Option<DomainSid>, String);

impl Budget {
    fn wait(self, now: Mono, (most, each): (u32, Duration)) -> Option<u32> {
        let owed = self.full_at.since(now);
        let over = owed.checked_sub(each * (most - 1))?;
        u32::try_from(over.as_millis().div_ceil(1_000)).ok().filter(|seconds| *seconds > 0)
    }

    fn pay(&mut self, now: Mono, (most, each): (u32, Duration)) {
        let full_at = self.full_at.max(now) + each;
        self.full_at = full_at.min(now + each * most);
    }
}

/// What counts as one source.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

impl Backoff {
    /// Seconds until it is asked about again; None for now.
    pub(super) fn wait(&self, now: Mono, tried: &Tried<'_>) -> Option<u32> {
        let source = source_of(tried.source);
        let user = (tried.domain, tried.user.to_owned());
        if self.proven.contains_key(&(source, user.0, user.1.clone())) {
            return None;
        }
        let of_source = self.sources.get(&source).and_then(|it| it.wait(now, SOURCE));
        let of_user = self.users.get(&user).and_then(|it| it.wait(now, USER));
        of_source.max(of_user)
    }

    pub(super) fn was_right(&mut self, tried: &Tried<'_>) {
        let key = (source_of(tried.source), tried.domain, tried.user.to_owned());
        self.last += 1;
        let before = self.proven.insert(key.clone(), self.last);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        self.order.insert(self.last, key);
        if self.proven.len() > PROVEN_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.proven.remove(&oldest);
        }
    }

    pub(super) fn was_wrong(&mut self, now: Mono, tried: &Tried<'_>) {
        let source = source_of(tried.source);
        let user = (tried.domain, tried.user.to_owned());
        // It does not know it any more.
        if let Some(at) = self.proven.remove(&(source, user.0, user.1.clone())) {
            self.order.remove(&at);
        }
        let budget = || Budget { full_at: now };
        keep(&mut self.sources, now);
        self.sources.entry(source).or_insert_with(budget).pay(now, SOURCE);
        keep(&mut self.users, now);
        self.users.entry(user).or_insert_with(budget).pay(now, USER);
    }
}

/// Makes room: what is full again is as good as none, and of the others the one that is full first
/// goes.
fn keep<K: Ord + Clone>(budgets: &mut BTreeMap<K, Budget>, now: Mono) {
    if budgets.len() < KEPT {
        return;
    }
    budgets.retain(|_, budget| budget.full_at > now);
    if budgets.len() >= KEPT
        && let Some(first) = budgets.iter().min_by_key(|(_, budget)| budget.full_at)
    {
        let key = first.0.clone();
        budgets.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(1) + Duration::from_secs(seconds)
    }

    fn tried(source: &str, user: &'static str) -> Tried<'static> {
        Tried { source: source.parse().unwrap(), domain: Some(DomainSid(1)), user }
    }

    #[test]
    fn a_source_may_be_wrong_so_often_and_then_waits_whatever_user_it_tries() {
        let mut backoff = Backoff::default();
        let honest = tried("192.0.2.1", "alice");
        backoff.was_right(&honest);
        for number in 0..20 {
            let guess = tried("192.0.2.1", "bob");
            assert_eq!(backoff.wait(at(0), &guess), None, "{number}");
            backoff.was_wrong(at(0), &guess);
        }
        assert_eq!(backoff.wait(at(0), &tried("192.0.2.1", "carol")), Some(6));
        assert_eq!(backoff.wait(at(0), &honest), None, "it was right from there");
        assert_eq!(backoff.wait(at(0), &tried("192.0.2.2", "carol")), None);
        assert_eq!(backoff.wait(at(6), &tried("192.0.2.1", "carol")), None);
        backoff.was_wrong(at(0), &honest);
        assert_eq!(backoff.wait(at(0), &honest), Some(6), "its password is another by now");
    }

    #[test]
    fn a_user_is_guessed_so_often_wherever_the_guesses_come_from() {
        let mut backoff = Backoff::default();
        for number in 0..50_u8 {
            let source = IpAddr::from([10, 0, 0, number]);
            let guess = Tried { source, ..tried("192.0.2.1", "alice") };
            assert_eq!(backoff.wait(at(0), &guess), None, "{number}");
            backoff.was_wrong(at(0), &guess);
        }
        assert_eq!(backoff.wait(at(0), &tried("192.0.2.1", "alice")), Some(30));
        assert_eq!(backoff.wait(at(0), &tried("192.0.2.1", "bob")), None);
        let elsewhere = Tried { domain: Some(DomainSid(2)), ..tried("192.0.2.1", "alice") };
        assert_eq!(backoff.wait(at(0), &elsewhere), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut backoff = Backoff::default();
        for number in 0..30_000_u32 {
            let guess = Tried { source: IpAddr::from(number.to_be_bytes()), ..tried("::", "x") };
            backoff.was_wrong(at(0), &guess);
            backoff.was_right(&guess);
        }
        assert!(backoff.sources.len() <= KEPT && backoff.proven.len() <= PROVEN_MAX);
    }

    #[test]
    fn whoever_was_right_longest_ago_is_forgotten_first() {
        let mut backoff = Backoff::default();
        let honest = tried("0.0.0.1", "alice");
        backoff.was_right(&honest);
        for number in 0..u32::try_from(PROVEN_MAX).unwrap() {
            if number % 1_000 == 0 {
                // It comes again and again.
                backoff.was_right(&honest);
            }
            let source = IpAddr::from((number + 0x0b00_0000).to_be_bytes());
            backoff.was_right(&Tried { source, ..tried("::", "x") });
        }
        assert_eq!(backoff.proven.len(), PROVEN_MAX);
        assert_eq!(backoff.order.len(), PROVEN_MAX);
        for number in 0..50_u8 {
            let source = IpAddr::from([10, 0, 0, number]);
            backoff.was_wrong(at(0), &Tried { source, ..honest });
        }
        assert_eq!(backoff.wait(at(0), &honest), None, "its address is the smallest of all");
        assert!(backoff.wait(at(0), &tried("0.0.0.2", "alice")).is_some());
    }
}
