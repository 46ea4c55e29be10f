//! Callbacks: per-call order, at least once, each with a token that stays the same over its
//! attempts.
//!
//! A call's queue sends its first callback and goes on only when that was answered or given up.
//! Requests to one host of one account share an [`Endpoint`]: a bounded number at a time, and a
//! breaker that opens when the host was not reached several times, so that a dead host costs nobody
//! else anything. A host that answers is alive, whatever it answers: what fails there backs off
//! alone.
//!
//! ```text
//!   queued --> due, endpoint has room --> under way --2xx--> delivered, next
//!     ^                                       |
//!     +------ backoff with jitter <-----------+--4xx, attempts exhausted--> dead letter, next
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base::{CallId, Mono, Now};
use model::port::{HttpAnswer, HttpError, HttpKind, Record};
use model::{AccountSid, CallEvent, DeadLetter, Hook, stamp};

use super::fetch::Request;
use super::{Director, Timer, Trouble};
use crate::live::Callback;
use crate::settings::Limits;
use crate::web;

pub(super) type EndpointKey = (AccountSid, String);

/// Callbacks as their hosts see them; what is told waits in each call.
#[derive(Clone, Debug, Default)]
pub(super) struct Callbacks {
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    /// In all calls together, and of each account that has any.
    waiting: usize,
    of_account: BTreeMap<AccountSid, usize>,
}

/// One host of one account.
#[derive(Clone, Debug, Default)]
struct Endpoint {
    number: u64,
    under_way: u32,
    /// One after the other.
    failures: u32,
    /// Nothing is sent before, and then one at a time until it is answered.
    open_until: Option<Mono>,
    /// Calls whose callback is due.
    line: VecDeque<CallId>,
}

const FAILURES_TO_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Callbacks waiting for one call.
const PER_CALL_MAX: usize = 64;

impl Callbacks {
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// One more waits, if there is room for it; else why there is none.
    fn admit(&mut self, account: AccountSid, limits: &Limits) -> Result<(), &'static str> {
        let own = self.of_account.get(&account).copied().unwrap_or(0);
        if own >= limits.account_callbacks {
            return Err("too many callbacks of the account are waiting");
        }
        if self.waiting >= limits.callbacks {
            return Err("too many callbacks are waiting");
        }
        self.count(account, 1);
        Ok(())
    }

    fn count(&mut self, account: AccountSid, callbacks: usize) {
        if callbacks > 0 {
            self.waiting += callbacks;
            *self.of_account.entry(account).or_default() += callbacks;
        }
    }

    /// One waits no more.
    fn release(&mut self, account: AccountSid) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(own) = self.of_account.get_mut(&account) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.of_account.remove(&account);
            }
        }
    }

    /// A place at the endpoint for the call's request; without one the call stands in its line.
    /// `number`: the endpoint's, should it be new.
    fn begin(
        &mut self,
        now: Mono,
        key: EndpointKey,
        call: CallId,
        per_host: u32,
        number: u64,
    ) -> bool {
        let new = || Endpoint { number, ..Endpoint::default() };
        let endpoint = self.endpoints.entry(key).or_insert_with(new);
        let room = endpoint.has_room(now, per_host);
        if room {
            endpoint.under_way += 1;
        } else {
            endpoint.line.push_back(call);
        }
        room
    }

    /// One request to it is over. `alive`: the host answered something. The moment at which its
    /// breaker lets one through again, and its number, if this opened it.
    fn answered(&mut self, now: Mono, key: &EndpointKey, alive: bool) -> Option<(Mono, u64)> {
        let endpoint = self.endpoints.get_mut(key)?;
        endpoint.under_way = endpoint.under_way.saturating_sub(1);
        if alive {
            endpoint.failures = 0;
            endpoint.open_until = None;
            return None;
        }
        endpoint.failures += 1;
        (endpoint.failures >= FAILURES_TO_OPEN).then(|| {
            let until = now + OPEN_FOR;
            endpoint.open_until = Some(until);
            (until, endpoint.number)
        })
    }

    /// Who goes on next, if there is room; an endpoint that nobody needs is forgotten.
    fn next(&mut self, now: Mono, key: &EndpointKey, per_host: u32) -> Option<CallId> {
        let endpoint = self.endpoints.get_mut(key)?;
        if !endpoint.has_room(now, per_host) {
            return None;
        }
        let call = endpoint.line.pop_front();
        if call.is_none() {
            let rested = endpoint.open_until.is_some() || endpoint.failures == 0;
            if endpoint.under_way == 0 && rested {
                self.endpoints.remove(key);
            }
        }
        call
    }

    fn key_of(&self, number: u64) -> Option<EndpointKey> {
        self.endpoints.iter().find(|(_, it)| it.number == number).map(|(key, _)| key.clone())
    }
}

impl Endpoint {
    fn has_room(&self, now: Mono, per_host: u32) -> bool {
        match self.open_until {
            None => self.under_way < per_host,
            Some(until) => now >= until && self.under_way == 0,
        }
    }
}

impl Director {
    /// A call event happened: its followers are told, if they asked for it.
    pub(super) fn tell_event(&mut self, now: Now, call: CallId, event: CallEvent) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let follower = live.status.clone().filter(|hook| hook.events.has(event));
        let application = live.event_application.clone().filter(|hook| hook.events.has(event));
        if follower.is_none() && application.is_none() {
            return;
        }
        let sequence = live.sequence;
        live.sequence += 1;
        live.touch();
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let mut params = self.call_params(live);
        let mut put = |name: &str, value: String| params.push((name.to_owned(), value));
        put("Timestamp", stamp::rfc2822(now.wall));
        put("CallbackSource", "call-progress-events".to_owned());
        put("SequenceNumber", sequence.to_string());
        if event == CallEvent::Completed {
            let seconds = live.row.duration.unwrap_or(0);
            put("CallDuration", seconds.to_string());
            put("Duration", seconds.div_ceil(60).to_string());
        }
        let over = live.is_over();
        if let Some(follower) = follower {
            self.enqueue(now, call, &follower.hook, params.clone());
        }
        if let Some(application) = application {
            if over {
                self.enqueue(now, call, &application.hook, params);
            } else {
                self.send_event_application(now, call, &application.hook, params);
            }
        }
    }

    /// Tells a URL what it would have been asked, had the call still stood.
    pub(super) fn tell(
        &mut self,
        now: Now,
        call: CallId,
        hook: &Hook,
        extra: Vec<(String, String)>,
    ) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let mut params = self.call_params(live);
        params.extend(extra);
        self.enqueue(now, call, hook, params);
    }

    fn enqueue(&mut self, now: Now, call: CallId, hook: &Hook, params: Vec<(String, String)>) {
        let token = self.rng.token();
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let callback = Callback {
            url: hook.url.clone(),
            method: hook.method,
            params,
            token,
            attempts: 0,
            due: now.wall,
        };
        let account = live.row.account;
        let admitted = if live.callbacks.len() >= PER_CALL_MAX {
            Err("too many callbacks of the call are waiting")
        } else {
            self.callbacks.admit(account, &self.settings.limits)
        };
        if let Err(why) = admitted {
            self.dead_letter(now, account, call, callback, why);
            return;
        }
        live.callbacks.push_back(callback);
        self.calls.touch(call);
        self.try_callback(now, call);
    }

    /// Sends the first callback of a call, if it is due and its endpoint has room.
    pub(super) fn try_callback(&mut self, now: Now, call: CallId) {
        let per_host = self.settings.limits.callbacks_per_host;
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        if live.volatile.callback.is_some() || live.volatile.in_line {
            return;
        }
        let Some(callback) = live.callbacks.front() else {
            return;
        };
        if callback.due > now.wall {
            let at = Self::mono_of(now, callback.due);
            self.at(at, Timer::Callback(call));
            return;
        }
        let Some(host) = web::authority(&callback.url) else {
            self.callback_over(now, call, Some("not an http or https URL"));
            return;
        };
        let key = (live.row.account, host);
        let hook = Hook { url: callback.url.clone(), method: callback.method };
        let (params, token) = (callback.params.clone(), callback.token.clone());
        let number = self.fresh_id();
        if !self.callbacks.begin(now.mono, key.clone(), call, per_host, number) {
            if let Some(mut live) = self.calls.get_mut(&call) {
                live.volatile.in_line = true;
            }
            return;
        }
        let request = Request { kind: HttpKind::Callback, hook: &hook, params, token };
        let id = self.send_callback(now, call, request, key);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.volatile.callback = Some(id);
        }
    }

    pub(super) fn callback_answered(
        &mut self,
        now: Now,
        call: CallId,
        key: EndpointKey,
        result: &Result<HttpAnswer, HttpError>,
    ) {
        let (fine, again, error) = match result {
            Ok(answer) if answer.status < 400 => (true, false, String::new()),
            Ok(answer) => {
                let again = answer.status >= 500 || matches!(answer.status, 408 | 429);
                (false, again, format!("HTTP status {}", answer.status))
            }
            Err(error) => {
                let again = !matches!(error, HttpError::Forbidden | HttpError::BadUrl);
                (false, again, error.name().to_owned())
            }
        };
        // Who answers is alive: a path of it that fails backs off by itself.
        match self.callbacks.answered(now.mono, &key, result.is_ok() || !again) {
            Some((until, number)) => {
                self.at(until, Timer::Endpoint(number));
            }
            None => self.serve_line(now, &key),
        }
        let attempts_max = self.settings.limits.callback_attempts;
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        live.volatile.callback = None;
        if fine {
            self.callback_over(now, call, None);
            return;
        }
        let Some(callback) = live.callbacks.front_mut() else {
            return;
        };
        callback.attempts += 1;
        if again && callback.attempts < attempts_max {
            let doubled = BACKOFF_FIRST.saturating_mul(1 << (callback.attempts - 1).min(16));
            let pause = self.rng.jitter(doubled.min(BACKOFF_MAX));
            callback.due = now.later(pause).wall;
            self.stats.callbacks_retried += 1;
            self.calls.touch(call);
            self.after(now, pause, Timer::Callback(call));
        } else {
            self.callback_over(now, call, Some(&error));
        }
    }

    /// The first callback of a call was delivered, or is given up for `error`.
    fn callback_over(&mut self, now: Now, call: CallId, error: Option<&str>) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let Some(callback) = live.callbacks.pop_front() else {
            return;
        };
        let account = live.row.account;
        let over = live.is_over();
        self.callbacks.release(account);
        match error {
            None => self.stats.callbacks_delivered += 1,
            Some(error) => self.dead_letter(now, account, call, callback, error),
        }
        // A delivery is written with the call's next step: a successor that does not know of it
        // tells again, with the same token.
        if over || error.is_some() {
            self.calls.touch(call);
        }
        self.try_callback(now, call);
    }

    fn dead_letter(
        &mut self,
        now: Now,
        account: AccountSid,
        call: CallId,
        callback: Callback,
        error: &str,
    ) {
        self.stats.callbacks_dead += 1;
        let trouble = Trouble {
            call: Some(call),
            warning: true,
            code: 11_200,
            reason: "callback-dead",
            message: format!("callback given up after {} attempts: {error}", callback.attempts),
            url: Some(callback.url.clone()),
            method: Some(callback.method),
        };
        self.alert(now, account, trouble);
        self.records.push(Record::DeadLetter(Box::new(DeadLetter {
            account,
            call,
            at: now.wall,
            idempotency_token: callback.token,
            url: callback.url,
            method: callback.method,
            params: callback.params,
            attempts: callback.attempts,
            error: error.to_owned(),
        })));
    }

    pub(super) fn wake_endpoint(&mut self, now: Now, number: u64) {
        if let Some(key) = self.callbacks.key_of(number) {
            self.serve_line(now, &key);
        }
    }

    /// Lets those in line go on, as many as have room.
    fn serve_line(&mut self, now: Now, key: &EndpointKey) {
        let per_host = self.settings.limits.callbacks_per_host;
        while let Some(call) = self.callbacks.next(now.mono, key, per_host) {
            if let Some(mut live) = self.calls.get_mut(&call) {
                live.volatile.in_line = false;
            }
            self.try_callback(now, call);
        }
    }

    /// A call's queue has gone with it.
    pub(super) fn recount_callbacks(&mut self) {
        self.callbacks.waiting = 0;
        self.callbacks.of_account.clear();
        for live in self.calls.all() {
            self.callbacks.count(live.row.account, live.callbacks.len());
        }
    }
}
