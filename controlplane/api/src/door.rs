//! Who may ask how much: requests of a source and of an account (its sub-accounts with it), guesses
//! at a secret. A value: the time is passed in, since when does not matter.
//!
//! A guess costs its source, the name it guesses at, and the two together, or nothing where one of
//! them has nothing left. A credential that was right before from this source costs nothing, and
//! the first guesses of a source at a name cost the name nothing: nobody is locked out by somebody
//! else's guesses, from however many addresses they come, not even where he was never seen before.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use model::AccountSid;

use crate::limits::Limits;

/// Sources, accounts, names that are remembered at one time: twice as many, the last ones.
const REMEMBERED: usize = 8_192;
/// A source and a name have so many times the guesses that the two together have.
const WIDER: u32 = 10;
/// Guesses of a source at a name that do not ask what others guess at it; they come back as slowly
/// as a source and a name are wider.
const FIRST: u32 = 3;

/// Where a connection comes from: an IPv4 address, an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(u128);

/// SHA-256 of a name, or of a name and its secret.
pub(crate) type Digest = [u8; 32];

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    limits: Limits,
    sources: Recent<Source, Bucket>,
    accounts: Recent<AccountSid, Bucket>,
    guesses: Recent<(Source, Digest), Bucket>,
    first: Recent<(Source, Digest), Bucket>,
    guesses_of_source: Recent<Source, Bucket>,
    guesses_at_name: Recent<Digest, Bucket>,
    proven: Recent<(Source, Digest), ()>,
    under_way: HashMap<AccountSid, u32>,
}

/// Tokens, as the moment at which all of them are there again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Duration,
}

/// The last keys that were asked for: what is not, while `REMEMBERED` others are, is forgotten.
#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }
}

impl Door {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            sources: Recent::default(),
            accounts: Recent::default(),
            guesses: Recent::default(),
            first: Recent::default(),
            guesses_of_source: Recent::default(),
            guesses_at_name: Recent::default(),
            proven: Recent::default(),
            under_way: HashMap::new(),
        }
    }

    /// One more request of this source.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn ask(&mut self, now: Duration, source: Source) -> Result<(), Duration> {
        let (rate, burst) = (self.limits.source_rate, self.limits.source_burst);
        self.sources.at(source).take(now, per_second(rate), burst)
    }

    /// One more request for this account, the family's main one. [`Door::done`] ends it.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn begin(&mut self, now: Duration, family: AccountSid) -> Result<(), Duration> {
        let under_way = self.under_way.get(&family).copied().unwrap_or(0);
        let most = self.limits.account_requests;
        if most > 0 && under_way >= most {
            return Err(Duration::from_secs(1));
        }
        let (rate, burst) = (self.limits.account_rate, self.limits.account_burst);
        self.accounts.at(family).take(now, per_second(rate), burst)?;
        self.under_way.insert(family, under_way + 1);
        Ok(())
    }

    pub(crate) fn done(&mut self, family: AccountSid) {
        if let Some(under_way) = self.under_way.get_mut(&family) {
            *under_way -= 1;
            if *under_way == 0 {
                self.under_way.remove(&family);
            }
        }
    }

    /// A credential is about to be compared. It counts as a guess until [`Door::was_right`].
    ///
    /// # Errors
    /// How long to wait: it is not compared.
    pub(crate) fn guess(
        &mut self,
        now: Duration,
        source: Source,
        name: Digest,
        credential: Digest,
    ) -> Result<(), Duration> {
        if self.proven.knows(&(source, credential)) {
            return Ok(());
        }
        let (every, burst) = self.guessing();
        let (often, wide) = (every / WIDER, burst.saturating_mul(WIDER));
        let first = self.first.at((source, name)).after_one(now, every * WIDER, FIRST);
        let both = self.guesses.at((source, name)).after_one(now, every, burst)?;
        let of_source = self.guesses_of_source.at(source).after_one(now, often, wide)?;
        if let Ok(first) = first {
            *self.first.at((source, name)) = first;
        } else {
            let at_name = self.guesses_at_name.at(name);
            *at_name = at_name.after_one(now, often, wide)?;
        }
        *self.guesses.at((source, name)) = both;
        *self.guesses_of_source.at(source) = of_source;
        Ok(())
    }

    /// What was compared was right: it was no guess.
    pub(crate) fn was_right(&mut self, source: Source, name: Digest, credential: Digest) {
        if self.proven.knows(&(source, credential)) {
            return;
        }
        let (every, _) = self.guessing();
        self.guesses.at((source, name)).give_back(every);
        self.first.at((source, name)).give_back(every * WIDER);
        self.guesses_of_source.at(source).give_back(every / WIDER);
        self.proven.at((source, credential));
    }

    fn guessing(&self) -> (Duration, u32) {
        (Duration::from_secs(self.limits.login_failure_s.into()), self.limits.login_failures)
    }
}

fn per_second(rate: u32) -> Duration {
    Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::ZERO)
}

impl Bucket {
    /// Takes one of `burst` tokens that come back one by one; no limit where `every` is 0.
    fn take(&mut self, now: Duration, every: Duration, burst: u32) -> Result<(), Duration> {
        *self = self.after_one(now, every, burst)?;
        Ok(())
    }

    /// What it is once one is taken.
    fn after_one(self, now: Duration, every: Duration, burst: u32) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + every;
        let most = now + every.saturating_mul(burst.max(1));
        if full_at > most { Err(full_at.saturating_sub(most)) } else { Ok(Self { full_at }) }
    }

    fn give_back(&mut self, every: Duration) {
        self.full_at = self.full_at.saturating_sub(every);
    }
}

impl<K: Eq + Hash, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Default> Recent<K, V> {
    fn at(&mut self, key: K) -> &mut V {
        if !self.young.contains_key(&key) && self.young.len() >= REMEMBERED {
            self.old = core::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key.clone()).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }

    fn knows(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);
    const NAME: Digest = [1; 32];

    fn door() -> Door {
        Door::new(Limits {
            source_rate: 10,
            source_burst: 20,
            account_rate: 5,
            account_burst: 5,
            account_requests: 3,
            login_failures: 4,
            login_failure_s: 6,
            ..Limits::default()
        })
    }

    fn source(text: &str) -> Source {
        Source::of(text.parse().expect("an address"))
    }

    /// How many of a thousand are compared.
    fn guesses(door: &mut Door, source: Source, now: Duration) -> usize {
        let compared = |guess: &u32| {
            let mut credential = [0; 32];
            credential[..4].copy_from_slice(&guess.to_be_bytes());
            door.guess(now, source, NAME, credential).is_ok()
        };
        (0..1_000_u32).filter(compared).count()
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate_and_others_theirs() {
        let (mut door, one) = (door(), source("192.0.2.1"));
        assert!((0..20).all(|_| door.ask(NOW, one).is_ok()));
        assert_eq!(door.ask(NOW, one), Err(Duration::from_millis(100)));
        assert!(door.ask(NOW, source("192.0.2.2")).is_ok());
        let later = NOW + Duration::from_millis(100);
        assert!(door.ask(later, one).is_ok() && door.ask(later, one).is_err());
    }

    #[test]
    fn an_account_has_a_rate_and_so_many_requests_at_one_time() {
        let (mut door, account) = (door(), AccountSid(7));
        assert!((0..3).all(|_| door.begin(NOW, account).is_ok()));
        assert!(door.begin(NOW, account).is_err(), "three are under way");
        door.done(account);
        assert!(door.begin(NOW, account).is_ok());
        (0..3).for_each(|_| door.done(account));
        assert!(door.begin(NOW, account).is_ok());
        door.done(account);
        assert_eq!(door.begin(NOW, account), Err(Duration::from_millis(200)), "the rate");
        assert!(door.under_way.is_empty(), "{:?}", door.under_way);
    }

    #[test]
    fn guesses_are_slowed_and_nobody_is_locked_out_by_them() {
        let (mut door, thief, owner) = (door(), source("192.0.2.1"), source("192.0.2.9"));
        let right = [2; 32];
        assert!(door.guess(NOW, owner, NAME, right).is_ok());
        door.was_right(owner, NAME, right);
        assert_eq!(guesses(&mut door, thief, NOW), 4);
        assert_eq!(guesses(&mut door, thief, NOW + Duration::from_secs(60)), 4, "its burst again");
        let many: usize =
            (10..60).map(|at| guesses(&mut door, source(&format!("192.0.2.{at}")), NOW)).sum();
        let most = 40 + 50 * usize::try_from(FIRST).expect("small");
        assert!(many <= most, "{many}: a name has its bound over all sources");
        assert!(door.guess(NOW, owner, NAME, right).is_ok(), "known from here");
        assert!(door.guess(NOW, thief, NAME, right).is_err(), "known, but not from there");
    }

    /// Whoever has a whole network guesses at a name from all of it.
    #[test]
    fn the_owner_gets_in_from_where_he_never_was_while_a_network_guesses() {
        let mut door = door();
        for at in 0..1_000_u32 {
            guesses(&mut door, source(&format!("2001:db8:0:{at:x}::1")), NOW);
        }
        assert!(door.guesses_at_name.at(NAME).after_one(NOW, Duration::from_secs(1), 1).is_err());
        let (new, wrong, right) = (source("192.0.2.9"), [7; 32], [2; 32]);
        assert!(door.guess(NOW, new, NAME, wrong).is_ok(), "his first, with a slip");
        assert!(door.guess(NOW, new, NAME, right).is_ok());
        door.was_right(new, NAME, right);
        assert!((0..100).all(|_| door.guess(NOW, new, NAME, right).is_ok()));
    }

    #[test]
    fn a_guess_that_is_not_compared_costs_nothing() {
        let (mut door, thief) = (door(), source("192.0.2.1"));
        guesses(&mut door, thief, NOW);
        let others: usize =
            (0..100_u8).filter(|at| door.guess(NOW, thief, [*at; 32], [9; 32]).is_ok()).count();
        assert_eq!(others, 36, "of the 40 of a source 4 went to the first name");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut door = door();
        for at in 0..u32::try_from(3 * REMEMBERED).expect("small") {
            assert!(door.ask(NOW, Source::of(IpAddr::from(at.to_be_bytes()))).is_ok());
        }
        assert!(door.sources.young.len() + door.sources.old.len() <= 2 * REMEMBERED);
    }
}
