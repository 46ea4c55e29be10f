//! Dead letters sent again: of a family of accounts one after the other, in the order in which they
//! died, with the tokens they had. One that is delivered is a letter no more. Where one fails,
//! those behind it that go the same way stay as they are: what its call tells is told in order, and
//! a host that is not there is not asked a thousand times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{CallId, Mono, Now};
use model::port::{ApiDone, ApiId, HttpAnswer, HttpError, HttpKind, Record};
use model::{AccountSid, DeadLetter, Hook};

use super::callback::Fault;
use super::durability::After;
use super::endpoints::Endpoint;
use super::fetch::Request;
use super::{Director, Trouble};
use crate::web;

/// Letters of one family that wait, and of all.
const FAMILY_MAX: usize = 1_000;
const LETTERS_MAX: usize = 20_000;
/// How long a letter that is gone is known to be, and how many are: whoever read it before may ask
/// for it.
const GONE_FOR: Duration = Duration::from_secs(60);
const GONE_MAX: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Replays {
    families: BTreeMap<AccountSid, Replay>,
    waiting: usize,
    /// Delivered or forgotten lately.
    gone: BTreeSet<(AccountSid, String)>,
    gone_at: VecDeque<(Mono, AccountSid, String)>,
}

/// One family's letters, until none is left.
#[derive(Clone, Debug, Default)]
struct Replay {
    waiting: VecDeque<DeadLetter>,
    tokens: BTreeSet<String>,
    under_way: Option<DeadLetter>,
    /// What does not work: hosts, endpoints, and lanes of calls.
    hosts: BTreeSet<String>,
    endpoints: BTreeSet<Endpoint>,
    lanes: BTreeSet<(CallId, Endpoint)>,
    /// What came of each account's.
    of_account: BTreeMap<AccountSid, Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    delivered: usize,
    failed: usize,
    left: usize,
}

impl Replay {
    fn of(&mut self, letter: &DeadLetter) -> &mut Tally {
        self.of_account.entry(letter.account).or_default()
    }

    /// One before it that goes the same way has failed.
    fn is_in_vain(&self, letter: &DeadLetter) -> bool {
        web::endpoint(&letter.url).is_none_or(|to| {
            self.hosts.contains(&to.host)
                || self.endpoints.contains(&to)
                || self.lanes.contains(&(letter.call, to))
        })
    }
}

impl Replays {
    fn admit(&mut self, family: AccountSid, letter: DeadLetter) -> Result<(), &'static str> {
        if web::endpoint(&letter.url).is_none() {
            return Err("its URL is not an http or https URL");
        }
        if self.is_gone(letter.account, &letter.idempotency_token) {
            return Err("it is gone already");
        }
        let own = self.families.get(&family);
        if own.is_some_and(|own| own.tokens.contains(&letter.idempotency_token)) {
            return Err("it is being sent already");
        }
        if own.is_some_and(|own| own.tokens.len() >= FAMILY_MAX) || self.waiting >= LETTERS_MAX {
            return Err("too many are being sent; ask again when they are");
        }
        let own = self.families.entry(family).or_default();
        own.tokens.insert(letter.idempotency_token.clone());
        own.waiting.push_back(letter);
        self.waiting += 1;
        Ok(())
    }

    fn is_gone(&self, account: AccountSid, token: &str) -> bool {
        self.gone.contains(&(account, token.to_owned()))
    }

    /// It is not to be sent any more, and not to be kept.
    fn has_gone(&mut self, now: Mono, account: AccountSid, token: &str) {
        while let Some((at, ..)) = self.gone_at.front()
            && (now >= *at + GONE_FOR || self.gone_at.len() >= GONE_MAX)
            && let Some((_, account, token)) = self.gone_at.pop_front()
        {
            self.gone.remove(&(account, token));
        }
        if self.gone.insert((account, token.to_owned())) {
            self.gone_at.push_back((now, account, token.to_owned()));
        }
    }
}

impl Director {
    /// `tenant`: who asks; None for the operator.
    pub(super) fn api_replay(
        &mut self,
        now: Now,
        id: ApiId,
        tenant: Option<AccountSid>,
        mut letters: Vec<DeadLetter>,
    ) {
        // Nothing is asked for but whether the account may ask.
        let family = tenant.map(|tenant| self.directory.family(tenant));
        if letters.is_empty()
            && family.is_some_and(|family| self.replays.families.contains_key(&family))
        {
            let message = "dead letters of the account are being sent again; ask when they are";
            return self.refuse(id, 429, 20_429, message);
        }
        // The API has sorted them: a look at each.
        letters.sort_by(|one, other| {
            (one.at, &one.idempotency_token).cmp(&(other.at, &other.idempotency_token))
        });
        let (mut refused, mut families, mut waiting) = (Vec::new(), BTreeSet::new(), 0);
        for letter in letters {
            let (account, token) = (letter.account, letter.idempotency_token.clone());
            let family = self.directory.family(account);
            let taken = if tenant.is_some_and(|tenant| tenant != account) {
                Err("it is not this account's")
            } else if !self.directory.is_active(account) {
                Err("its account is not active")
            } else {
                self.replays.admit(family, letter)
            };
            match taken {
                Ok(()) => {
                    families.insert(family);
                    waiting += 1;
                }
                Err(why) => refused.push((token, why)),
            }
        }
        self.reply(id, Ok(ApiDone::Replay { waiting, refused }));
        for family in families {
            self.replay_next(now, family);
        }
    }

    pub(super) fn api_forget(&mut self, now: Now, id: ApiId, account: AccountSid, token: String) {
        self.replays.has_gone(now.mono, account, &token);
        self.records.push(Record::DeadLetterGone { account, token });
        self.afters.push(After::Reply { id, result: Ok(ApiDone::Deleted) });
    }

    fn replay_next(&mut self, now: Now, family: AccountSid) {
        let Some(replay) = self.replays.families.get_mut(&family) else {
            return;
        };
        if replay.under_way.is_some() {
            return;
        }
        while let Some(letter) = replay.waiting.pop_front() {
            let gone = (letter.account, letter.idempotency_token.clone());
            let is_gone = self.replays.gone.contains(&gone);
            if is_gone || !self.directory.is_active(letter.account) || replay.is_in_vain(&letter) {
                replay.of(&letter).left += usize::from(!is_gone);
                replay.tokens.remove(&letter.idempotency_token);
                self.replays.waiting = self.replays.waiting.saturating_sub(1);
                continue;
            }
            let hook = Hook { url: letter.url.clone(), method: letter.method };
            let (params, token) = (letter.params.clone(), letter.idempotency_token.clone());
            let (account, call) = (letter.account, letter.call);
            replay.under_way = Some(letter);
            let request = Request { kind: HttpKind::Callback, hook: &hook, params, token };
            self.send_replay(now, account, call, request);
            return;
        }
        if let Some(replay) = self.replays.families.remove(&family) {
            for (account, tally) in replay.of_account {
                self.tell_of_replay(now, account, tally);
            }
        }
    }

    pub(super) fn replay_answered(
        &mut self,
        now: Now,
        family: AccountSid,
        result: &Result<HttpAnswer, HttpError>,
    ) {
        let Some(replay) = self.replays.families.get_mut(&family) else {
            return;
        };
        let Some(mut letter) = replay.under_way.take() else {
            return;
        };
        replay.tokens.remove(&letter.idempotency_token);
        self.replays.waiting = self.replays.waiting.saturating_sub(1);
        let fault = Fault::of(result);
        if fault.is_fine() {
            replay.of(&letter).delivered += 1;
            self.stats.callbacks_replayed += 1;
            let (account, token) = (letter.account, letter.idempotency_token);
            self.replays.has_gone(now.mono, account, &token);
            self.records.push(Record::DeadLetterGone { account, token });
        } else {
            replay.of(&letter).failed += 1;
            if let Some(to) = web::endpoint(&letter.url) {
                match result {
                    Err(HttpError::Resolve | HttpError::Connect | HttpError::Tls) => {
                        replay.hosts.insert(to.host.clone());
                    }
                    _ if fault.again => {
                        replay.endpoints.insert(to.clone());
                    }
                    _ => {}
                }
                replay.lanes.insert((letter.call, to));
            }
            letter.attempts = letter.attempts.saturating_add(1);
            letter.error = fault.error;
            if !self.replays.is_gone(letter.account, &letter.idempotency_token) {
                self.records.push(Record::DeadLetter(Box::new(letter)));
            }
        }
        self.replay_next(now, family);
    }

    /// What was left undelivered, once.
    fn tell_of_replay(&mut self, now: Now, account: AccountSid, tally: Tally) {
        let Tally { delivered, failed, left } = tally;
        if failed == 0 && left == 0 {
            return;
        }
        let trouble = Trouble {
            warning: true,
            code: 15_003,
            reason: "replay-failed",
            message: format!(
                "dead letters sent again: {delivered} delivered, {failed} failed, {left} left \
                 because one before them had failed, or the account was not active"
            ),
            ..Trouble::default()
        };
        self.alert(now, account, trouble);
    }
}
