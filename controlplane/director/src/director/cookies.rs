//! Cookies of applications, by account and the two parties of a call: what one answer sets goes
//! with the next request of that pair, of a later call too. A standing call has its jar in its own
//! log, so that a successor knows it; jars of pairs that have no call die with the process, and the
//! ones used longest ago make room.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{CallId, Mono, Now, Wall};
use model::AccountSid;
use model::cookie::{Jar, NotKept};
use model::port::HttpAnswer;

use super::{Director, Trouble};
use crate::live::Live;

/// Jars of one account, and bytes of them.
const JARS_MAX: usize = 10_000;
const ACCOUNT_BYTES_MAX: usize = 4 << 20;
/// Bytes of all jars.
const BYTES_MAX: usize = 64 << 20;
/// What a jar takes beside its cookies.
const JAR_BYTES: usize = 256;
/// How often an account is told that jars make room for others.
const TELL_AGAIN: std::time::Duration = std::time::Duration::from_secs(600);

/// From, To.
type Pair = (String, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Cookies {
    accounts: BTreeMap<AccountSid, Jars>,
    bytes: usize,
    /// Counts uses.
    used: u64,
}

#[derive(Clone, Debug, Default)]
struct Jars {
    pairs: BTreeMap<Pair, Kept>,
    /// By when it was used.
    order: BTreeMap<u64, Pair>,
    bytes: usize,
    told: Option<Mono>,
}

#[derive(Clone, Debug)]
struct Kept {
    jar: Arc<Jar>,
    used: u64,
}

impl Cookies {
    fn get(&self, account: AccountSid, pair: &Pair) -> Option<&Arc<Jar>> {
        self.accounts.get(&account)?.pairs.get(pair).map(|kept| &kept.jar)
    }

    /// Takes the place of the pair's jar. True if jars that are of use still made room for it.
    fn put(&mut self, now: Wall, account: AccountSid, pair: Pair, jar: Arc<Jar>) -> bool {
        self.used += 1;
        let used = self.used;
        let jars = self.accounts.entry(account).or_default();
        self.bytes -= jars.take(&pair);
        let mut lost = false;
        if !jar.is_empty() {
            let bytes = weight(&pair, &jar);
            while jars.is_full(bytes) {
                let Some(oldest) = jars.order.first_key_value().map(|(_, pair)| pair.clone())
                else {
                    break;
                };
                lost |= jars.pairs.get(&oldest).is_some_and(|it| it.jar.expires() > now);
                self.bytes -= jars.take(&oldest);
            }
            if self.bytes + bytes > BYTES_MAX {
                lost = true;
            } else {
                jars.bytes += bytes;
                self.bytes += bytes;
                jars.order.insert(used, pair.clone());
                jars.pairs.insert(pair, Kept { jar, used });
            }
        }
        if jars.pairs.is_empty() && jars.told.is_none() {
            self.accounts.remove(&account);
        }
        lost
    }

    /// Whether the account is told now that jars made room.
    fn may_tell(&mut self, now: Mono, account: AccountSid) -> bool {
        let jars = self.accounts.entry(account).or_default();
        let is_due = jars.told.is_none_or(|told| now >= told + TELL_AGAIN);
        if is_due {
            jars.told = Some(now);
        }
        is_due
    }
}

impl Jars {
    fn is_full(&self, more: usize) -> bool {
        self.pairs.len() >= JARS_MAX || self.bytes + more > ACCOUNT_BYTES_MAX
    }

    /// Its bytes; it is gone.
    fn take(&mut self, pair: &Pair) -> usize {
        let Some(kept) = self.pairs.remove(pair) else {
            return 0;
        };
        self.order.remove(&kept.used);
        let bytes = weight(pair, &kept.jar);
        self.bytes -= bytes;
        bytes
    }
}

fn weight(pair: &Pair, jar: &Jar) -> usize {
    JAR_BYTES + 2 * (pair.0.len() + pair.1.len()) + jar.bytes()
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
    (live.row.from.clone(), live.row.to.clone())
}

impl Director {
    /// What goes with a request of this call. What is sent is what a successor knows.
    pub(super) fn cookies_for(&mut self, call: CallId) -> Jar {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return Jar::default();
        };
        if let Some(jar) = self.cookies.get(live.row.account, &pair(&live))
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
        if !is_nobody(&pair.0)
            && self.cookies.put(now.wall, account, pair, jar)
            && self.cookies.may_tell(now.mono, account)
        {
            let message = "cookies of calls before were dropped: the account has too many of them";
            self.tell_of_cookies(now, account, None, message.to_owned());
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
        let (account, pair) = (live.row.account, pair(live));
        if is_nobody(&pair.0) {
            return;
        }
        let mut jar = self.cookies.get(account, &pair).map(|jar| Jar::clone(jar));
        for cookie in live.cookies.cookies() {
            // Of calls of one pair the one that was told later knows more.
            let _ = jar.get_or_insert_default().keep(cookie.clone(), now);
        }
        if let Some(jar) = jar {
            self.cookies.put(now, account, pair, Arc::new(jar));
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
        (number.to_string(), "+15550100".to_owned())
    }

    #[test]
    fn an_account_has_so_many_jars_and_no_more() {
        let (mut cookies, one, other) = (Cookies::default(), AccountSid(1), AccountSid(2));
        assert!(!cookies.put(Wall(1), other, from(0), jar(10)));
        for number in 0..JARS_MAX {
            assert!(!cookies.put(Wall(1), one, from(number), jar(10)), "{number}");
        }
        // Used again, it is not the oldest any more.
        cookies.put(Wall(1), one, from(0), jar(20));
        assert!(cookies.put(Wall(1), one, from(JARS_MAX), jar(10)));
        assert!(cookies.get(one, &from(0)).is_some() && cookies.get(one, &from(1)).is_none());
        assert!(!cookies.put(Wall(100), one, from(JARS_MAX + 1), jar(10)), "their time is over");
        assert!(cookies.get(other, &from(0)).is_some());
        assert!(cookies.may_tell(Mono(5), one) && !cookies.may_tell(Mono(6), one));
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let mut cookies = Cookies::default();
        for account in 0..40 {
            for number in 0..600 {
                cookies.put(Wall(1), AccountSid(account), from(number), jar(8_000));
            }
        }
        let of_one = |jars: &Jars| jars.bytes <= ACCOUNT_BYTES_MAX;
        assert!(cookies.bytes <= BYTES_MAX && cookies.accounts.values().all(of_one));
        for account in 0..40 {
            for number in 0..600 {
                cookies.put(Wall(1), AccountSid(account), from(number), Arc::default());
            }
        }
        assert_eq!((cookies.bytes, cookies.accounts.len()), (0, 0));
    }
}
