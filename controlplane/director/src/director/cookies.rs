//! Cookies of applications, by account and the two parties of a call: what one answer sets goes
//! with the next request of that pair, of a later call too. A standing call has its jar in its own
//! log, so that a successor knows it; jars of pairs that have no call die with the process.
//!
//! An account and its sub-accounts share their room, and the ones used longest ago make it. Where
//! the node has none left, whoever has most gives. A jar that was emptied stays, empty, for as long
//! as a standing call of the pair might still have what was in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{CallId, Mono, Now, Wall};
use model::AccountSid;
use model::cookie::{Jar, KEPT_S, NotKept};
use model::port::HttpAnswer;

use super::{Director, Trouble};
use crate::live::Live;

/// Jars of one family, and bytes of them.
const JARS_MAX: usize = 10_000;
const FAMILY_BYTES_MAX: usize = 4 << 20;
/// Bytes of all jars.
const BYTES_MAX: usize = 64 << 20;
/// What a jar takes beside its cookies and the names of its parties.
const JAR_BYTES: usize = 384;
/// How often somebody is told that jars make room for others.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// Jars of which nothing is of use any more that go with each one that comes.
const FORGOTTEN: usize = 2;

/// Whose it is, From, To.
type Pair = (AccountSid, String, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Cookies {
    families: BTreeMap<AccountSid, Jars>,
    /// Who has how many bytes.
    weights: BTreeSet<(usize, AccountSid)>,
    /// By until when they are of use, and by when they were used.
    ends: BTreeMap<(Wall, u64), (AccountSid, Arc<Pair>)>,
    bytes: usize,
    /// Counts uses.
    used: u64,
    /// When whom was told last.
    told: BTreeMap<AccountSid, Mono>,
}

#[derive(Clone, Debug, Default)]
struct Jars {
    pairs: BTreeMap<Arc<Pair>, Kept>,
    /// By when it was used.
    order: BTreeMap<u64, Arc<Pair>>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    jar: Arc<Jar>,
    used: u64,
    until: Wall,
}

/// Whose jars made room although they were of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// The family's own: it has too many.
    own: bool,
    /// Of the family that had most: all together have too many.
    of: Option<AccountSid>,
}

impl Cookies {
    fn get(&self, family: AccountSid, pair: &Pair) -> Option<&Arc<Jar>> {
        self.families.get(&family)?.pairs.get(pair).map(|kept| &kept.jar)
    }

    /// Takes the place of the pair's jar.
    fn put(&mut self, now: Wall, family: AccountSid, pair: Pair, jar: Arc<Jar>) -> Lost {
        let mut lost = Lost::default();
        let had = self.take(family, &pair).is_some();
        self.forget(now);
        if jar.is_empty() && !had {
            return lost;
        }
        let bytes = weight(&pair, &jar);
        while let Some(jars) = self.families.get(&family)
            && (jars.pairs.len() >= JARS_MAX || jars.bytes + bytes > FAMILY_BYTES_MAX)
        {
            lost.own |= self.take_oldest(now, family);
        }
        while self.bytes + bytes > BYTES_MAX
            && let Some((_, heaviest)) = self.weights.last().copied()
        {
            if self.take_oldest(now, heaviest) {
                lost.of = Some(heaviest);
            }
        }
        self.used += 1;
        let (used, pair) = (self.used, Arc::new(pair));
        let until = if jar.is_empty() { kept_until(now) } else { jar.expires() };
        let jars = self.families.entry(family).or_default();
        self.weights.remove(&(jars.bytes, family));
        jars.bytes += bytes;
        self.weights.insert((jars.bytes, family));
        self.bytes += bytes;
        self.ends.insert((until, used), (family, Arc::clone(&pair)));
        jars.order.insert(used, Arc::clone(&pair));
        jars.pairs.insert(pair, Kept { jar, used, until });
        lost
    }

    /// Some of what is of no use any more goes.
    fn forget(&mut self, now: Wall) {
        for _ in 0..FORGOTTEN {
            match self.ends.first_key_value() {
                Some(((until, _), (family, pair))) if *until <= now => {
                    let (family, pair) = (*family, Arc::clone(pair));
                    self.take(family, &pair);
                }
                _ => return,
            }
        }
    }

    /// The one used longest ago goes. True if it was of use still.
    fn take_oldest(&mut self, now: Wall, family: AccountSid) -> bool {
        let jars = self.families.get(&family);
        let oldest = jars.and_then(|jars| jars.order.first_key_value());
        let Some(oldest) = oldest.map(|(_, pair)| Arc::clone(pair)) else {
            return false;
        };
        self.take(family, &oldest).is_some_and(|kept| kept.until > now && !kept.jar.is_empty())
    }

    fn take(&mut self, family: AccountSid, pair: &Pair) -> Option<Kept> {
        let jars = self.families.get_mut(&family)?;
        let kept = jars.pairs.remove(pair)?;
        let bytes = weight(pair, &kept.jar);
        jars.order.remove(&kept.used);
        self.ends.remove(&(kept.until, kept.used));
        self.weights.remove(&(jars.bytes, family));
        jars.bytes -= bytes;
        self.bytes -= bytes;
        if jars.pairs.is_empty() {
            self.families.remove(&family);
        } else {
            self.weights.insert((jars.bytes, family));
        }
        Some(kept)
    }

    /// Whether a family is told now that its jars made room.
    fn may_tell(&mut self, now: Mono, family: AccountSid) -> bool {
        let is_due = self.told.get(&family).is_none_or(|told| now >= *told + TELL_AGAIN);
        if is_due {
            self.told.insert(family, now);
        }
        is_due
    }
}

/// Until when a cookie that is set now is kept at most.
fn kept_until(now: Wall) -> Wall {
    Wall(now.0 + KEPT_S * 1_000_000)
}

fn weight((_, from, to): &Pair, jar: &Jar) -> usize {
    JAR_BYTES + from.len() + to.len() + jar.bytes()
}

/// Whoever does not say who he is: others do not say so either, and are not given his session. His
/// call alone keeps it.
fn is_nobody(from: &str) -> bool {
    let user = from.strip_prefix("sip:").unwrap_or(from).split('@').next().unwrap_or("");
    let nameless = ["", "anonymous", "restricted", "unavailable", "unknown"];
    let host = from.split('@').nth(1).unwrap_or("");
    host.ends_with(".invalid") || nameless.iter().any(|name| user.eq_ignore_ascii_case(name))
}

fn pair(live: &Live) -> Pair {
    (live.row.account, live.row.from.clone(), live.row.to.clone())
}

impl Director {
    /// What goes with a request of this call. What is sent is what a successor knows.
    pub(super) fn cookies_for(&mut self, call: CallId) -> Jar {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return Jar::default();
        };
        let family = self.directory.family(live.row.account);
        if let Some(jar) = self.cookies.get(family, &pair(&live))
            && !Arc::ptr_eq(jar, &live.cookies)
        {
            live.cookies = Arc::clone(jar);
            live.touch();
        }
        Jar::clone(&live.cookies)
    }

    /// Keeps what an answer sets; what is not kept is told.
    pub(super) fn take_cookies(&mut self, now: Now, call: CallId, answer: &HttpAnswer) {
        if answer.cookies.is_empty() {
            return;
        }
        let mut jar = self.cookies_for(call);
        let mut refused: Vec<NotKept> = Vec::new();
        for cookie in &answer.cookies {
            let kept = cookie.clone().and_then(|cookie| jar.keep(cookie, now.wall));
            refused.extend(kept.err());
        }
        let jar = Arc::new(jar);
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let account = live.row.account;
        let pair = pair(&live);
        if *live.cookies != *jar {
            live.cookies = Arc::clone(&jar);
            live.touch();
        }
        if !is_nobody(&pair.1) {
            let family = self.directory.family(account);
            let lost = self.cookies.put(now.wall, family, pair, jar);
            self.tell_of_lost(now, (family, account), lost);
        }
        if let Some(first) = refused.first() {
            let name = if first.name.is_empty() { "without a name" } else { &first.name };
            let more = match refused.len() - 1 {
                0 => String::new(),
                more => format!("; {more} more"),
            };
            let message = format!("Set-Cookie {name} is not kept: {}{more}", first.why.message());
            self.tell_of_cookies(now, account, Some(call), message);
        }
    }

    /// What a call of our predecessor's had.
    pub(super) fn remember_cookies(&mut self, now: Wall, live: &Live) {
        let (family, pair) = (self.directory.family(live.row.account), pair(live));
        if is_nobody(&pair.1) {
            return;
        }
        let mut jar = self.cookies.get(family, &pair).map(|jar| Jar::clone(jar));
        for cookie in live.cookies.cookies() {
            // Of calls of one pair the one that was told later knows more.
            let _ = jar.get_or_insert_default().keep(cookie.clone(), now);
        }
        if let Some(jar) = jar {
            self.cookies.put(now, family, pair, Arc::new(jar));
        }
    }

    fn tell_of_lost(&mut self, now: Now, (family, account): (AccountSid, AccountSid), lost: Lost) {
        if lost.own && self.cookies.may_tell(now.mono, family) {
            let message = "cookies of calls before were dropped: the account has too many of them";
            self.tell_of_cookies(now, account, None, message.to_owned());
        }
        if let Some(heaviest) = lost.of
            && self.cookies.may_tell(now.mono, heaviest)
        {
            let message = "cookies of calls before were dropped: the switch has too many of them, \
                           and this account most";
            self.tell_of_cookies(now, heaviest, None, message.to_owned());
        }
    }

    fn tell_of_cookies(
        &mut self,
        now: Now,
        account: AccountSid,
        call: Option<CallId>,
        message: String,
    ) {
        let trouble = Trouble {
            call,
            warning: true,
            code: 11_200,
            reason: "cookie-not-kept",
            message,
            ..Trouble::default()
        };
        self.alert(now, account, trouble);
    }
}

#[cfg(test)]
mod tests {
    use model::Secret;
    use model::cookie::Cookie;

    use super::*;

    fn jar(bytes: usize) -> Arc<Jar> {
        let mut jar = Jar::default();
        let cookie = Cookie {
            name: "a".to_owned(),
            value: Secret("x".repeat(bytes)),
            domain: "app.test".to_owned(),
            host_only: true,
            path: "/".to_owned(),
            secure: false,
            expires: Wall(100),
            made: Wall(1),
        };
        jar.keep(cookie, Wall(1)).unwrap();
        Arc::new(jar)
    }

    fn from(number: usize) -> Pair {
        (AccountSid(0), number.to_string(), "+15550100".to_owned())
    }

    const OWN: Lost = Lost { own: true, of: None };
    const NONE: Lost = Lost { own: false, of: None };

    #[test]
    fn a_family_has_so_many_jars_and_no_more() {
        let (mut cookies, one, other) = (Cookies::default(), AccountSid(1), AccountSid(2));
        assert_eq!(cookies.put(Wall(1), other, from(0), jar(10)), NONE);
        for number in 0..JARS_MAX {
            assert_eq!(cookies.put(Wall(1), one, from(number), jar(10)), NONE, "{number}");
        }
        // Used again, it is not the oldest any more.
        cookies.put(Wall(1), one, from(0), jar(20));
        assert_eq!(cookies.put(Wall(1), one, from(JARS_MAX), jar(10)), OWN);
        assert!(cookies.get(one, &from(0)).is_some() && cookies.get(one, &from(1)).is_none());
        let other_has = cookies.get(other, &from(0)).is_some();
        let put = cookies.put(Wall(100), one, from(JARS_MAX + 1), jar(10));
        assert_eq!((put, other_has), (NONE, true), "their time is over");
        assert!(cookies.may_tell(Mono(5), one) && !cookies.may_tell(Mono(6), one));
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let mut cookies = Cookies::default();
        for family in 0..40 {
            for number in 0..600 {
                cookies.put(Wall(1), AccountSid(family), from(number), jar(8_000));
            }
        }
        let of_one = |jars: &Jars| jars.bytes <= FAMILY_BYTES_MAX;
        assert!(cookies.bytes <= BYTES_MAX && cookies.families.values().all(of_one));
        let sum: usize = cookies.families.values().map(|jars| jars.bytes).sum();
        assert_eq!(cookies.bytes, sum);
        // What comes later finds everything over, and takes it along.
        for number in 0..20_000 {
            cookies.put(Wall(100), AccountSid(99), from(number % 10), jar(1));
        }
        assert!(cookies.families.len() <= 1);
        let pairs: usize = cookies.families.values().map(|it| it.pairs.len()).sum();
        assert_eq!((cookies.ends.len(), cookies.weights.len()), (pairs, cookies.families.len()));
    }

    /// Those who fill the node's room give it up to those who have little.
    #[test]
    fn where_the_node_has_no_room_whoever_has_most_gives() {
        let mut cookies = Cookies::default();
        let heavy: Vec<_> = (0..20).map(AccountSid).collect();
        for family in &heavy {
            for number in 0..600 {
                cookies.put(Wall(1), *family, from(number), jar(8_000));
            }
        }
        let light = AccountSid(99);
        for number in 0..50 {
            let lost = cookies.put(Wall(2), light, from(number), jar(8_000));
            assert!(!lost.own && lost.of.is_none_or(|of| heavy.contains(&of)), "{lost:?}");
        }
        assert!((0..50).all(|number| cookies.get(light, &from(number)).is_some()));
        assert!(cookies.bytes <= BYTES_MAX);
    }

    #[test]
    fn jars_are_an_accounts_own_although_their_room_is_the_familys() {
        let (mut cookies, family) = (Cookies::default(), AccountSid(1));
        let of = |account: u128| (AccountSid(account), "a".to_owned(), "b".to_owned());
        cookies.put(Wall(1), family, of(1), jar(10));
        assert!(cookies.get(family, &of(1)).is_some() && cookies.get(family, &of(2)).is_none());
    }

    /// A call that still stands does not bring back what another of the pair has deleted.
    #[test]
    fn an_emptied_jar_stays_empty_for_a_while() {
        let (mut cookies, family) = (Cookies::default(), AccountSid(1));
        cookies.put(Wall(1), family, from(1), jar(10));
        cookies.put(Wall(2), family, from(1), Arc::default());
        assert!(cookies.get(family, &from(1)).is_some_and(|jar| jar.is_empty()));
        // One that never was leaves nothing.
        cookies.put(Wall(2), family, from(2), Arc::default());
        assert!(cookies.get(family, &from(2)).is_none());
        let over = kept_until(Wall(2));
        cookies.put(over, family, from(3), jar(10));
        assert!(cookies.get(family, &from(1)).is_none());
    }
}
