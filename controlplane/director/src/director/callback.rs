//! Callbacks: in order per call and endpoint, at least once, each with a token that stays the same
//! over its attempts.
//!
//! A call has a lane for each endpoint (host and path) that it tells: the first callback of a lane
//! is sent, and the next one goes only when that was answered or given up. Lanes know nothing of
//! each other: what waits for a dead host keeps nothing that goes elsewhere. Places, lines and
//! breakers are those of [`super::endpoints`].
//!
//! ```text
//!   queued --> due, endpoint has room --> under way --2xx--> delivered, next
//!     ^                                       |
//!     +------ backoff with jitter <-----------+--4xx, attempts exhausted--> dead letter, next
//! ```

use std::time::Duration;

use base::{CallId, Mono, Now};
use model::port::{HttpAnswer, HttpError, HttpKind, Record};
use model::{AccountSid, CallEvent, DeadLetter, Hook, stamp};

use super::endpoints::{Endpoint, HostKey, Outcome};
use super::fetch::Request;
use super::{Director, Timer, Trouble};
use crate::answer::code_of;
use crate::live::{Callback, Lane, Live, Then};
use crate::web;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// With its jitter, and a moment for a clock that is set a little.
const PAUSE_MAX: Duration = Duration::from_secs(2 * BACKOFF_MAX.as_secs());
/// Callbacks waiting for one call, and in one lane of it.
const PER_CALL_MAX: usize = 256;
const PER_LANE_MAX: usize = 64;

impl Callback {
    /// Until when it waits. A pause longer than any is one that the clock was set back under.
    fn waits(&self, now: Now) -> Option<Mono> {
        let pause = Duration::from_micros(self.due.micros_since(now.wall));
        (!pause.is_zero() && pause <= PAUSE_MAX).then(|| now.mono + pause)
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
        let queued = Queued { params, token: self.rng.token(), then: None };
        self.stats.callbacks_made += 1;
        if let Err(refused) = self.admit_callback(now, call, hook, queued) {
            let (account, callback, why) = *refused;
            self.dead_letter(now, account, call, callback, &Fault::dropped(why));
        }
    }

    /// The same; false where there is no room for it, and nothing of it is left.
    pub(super) fn enqueue_if_room(
        &mut self,
        now: Now,
        call: CallId,
        hook: &Hook,
        queued: Queued,
    ) -> bool {
        let is_queued = self.admit_callback(now, call, hook, queued).is_ok();
        self.stats.callbacks_made += u64::from(is_queued);
        is_queued
    }

    /// A callback takes its place in its lane, or comes back with why it has none.
    fn admit_callback(
        &mut self,
        now: Now,
        call: CallId,
        hook: &Hook,
        queued: Queued,
    ) -> Result<(), Box<(AccountSid, Callback, &'static str)>> {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return Ok(());
        };
        let Queued { params, token, then } = queued;
        let (url, method) = (hook.url.clone(), hook.method);
        let callback = Callback { url, method, params, token, attempts: 0, due: now.wall, then };
        let account = live.row.account;
        let family = self.directory.family(account);
        let is_full =
            live.callbacks.len() >= PER_CALL_MAX || live.is_lane_full(&callback.url, PER_LANE_MAX);
        let admitted = if is_full {
            Err("too many callbacks of the call are waiting")
        } else {
            self.callbacks.admit(family, &self.settings.limits)
        };
        if let Err(why) = admitted {
            return Err(Box::new((account, callback, why)));
        }
        live.callbacks.push_back(callback);
        self.calls.touch(call);
        self.try_callbacks(now, call);
        Ok(())
    }

    /// Sends the first callback of each lane of a call that is due and whose endpoint has room.
    pub(super) fn try_callbacks(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let mut begun: Vec<Endpoint> = Vec::new();
        let (mut sent, mut unsendable) = (Vec::new(), Vec::new());
        let mut next: Option<Mono> = None;
        for callback in &live.callbacks {
            let Some(endpoint) = web::endpoint(&callback.url) else {
                unsendable.push(callback.token.clone());
                continue;
            };
            if live.volatile.lanes.contains_key(&endpoint) || begun.contains(&endpoint) {
                continue;
            }
            if let Some(at) = callback.waits(now) {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else {
                sent.push((callback.token.clone(), endpoint.clone()));
            }
            begun.push(endpoint);
        }
        if let Some(at) = next {
            self.wake_callbacks(call, at);
        }
        for (token, endpoint) in sent {
            self.try_callback(now, call, &token, endpoint);
        }
        for token in unsendable {
            let fault = Fault::of(&Err(HttpError::BadUrl));
            self.callback_over(now, call, &token, Some(&fault));
        }
    }

    /// The callbacks of this call are looked at again then, or earlier.
    fn wake_callbacks(&mut self, call: CallId, at: Mono) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if live.volatile.callbacks_at.is_none_or(|known| known > at) {
            live.volatile.callbacks_at = Some(at);
            self.at(at, Timer::Callbacks(call));
        }
    }

    pub(super) fn callbacks_due(&mut self, now: Now, call: CallId) {
        if let Some(mut live) = self.calls.get_mut(&call)
            && live.volatile.callbacks_at.is_some_and(|at| at <= now.mono)
        {
            live.volatile.callbacks_at = None;
            self.try_callbacks(now, call);
        }
    }

    fn try_callback(&mut self, now: Now, call: CallId, token: &str, endpoint: Endpoint) {
        let per_host = self.settings.limits.callbacks_per_host;
        let kind = HttpKind::Callback;
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let family = self.directory.family(live.row.account);
        let Some(callback) = live.callbacks.iter().find(|it| it.token == token) else {
            return;
        };
        let is_fresh = callback.attempts == 0;
        let has_place = self.shares.has_room(family, kind, &self.settings.limits);
        let places = (has_place, per_host);
        if !self.callbacks.begin(now.mono, (family, &endpoint), call, is_fresh, places) {
            let key = (family, endpoint.host.clone());
            live.volatile.lanes.insert(endpoint, Lane::InLine);
            if !has_place {
                self.stall(&key);
            }
            return;
        }
        let hook = Hook { url: callback.url.clone(), method: callback.method };
        let (params, token) = (callback.params.clone(), callback.token.clone());
        let is_executed = callback.then.as_ref().is_some_and(|then| then.application);
        let kind = if is_executed { HttpKind::Instructions } else { kind };
        live.volatile.lanes.insert(endpoint.clone(), Lane::UnderWay);
        let request = Request { kind, hook: &hook, params, token };
        self.send_callback(now, call, request, endpoint);
    }

    pub(super) fn callback_answered(
        &mut self,
        now: Now,
        call: CallId,
        (family, endpoint, token): (AccountSid, Endpoint, &str),
        result: &Result<HttpAnswer, HttpError>,
    ) {
        let fault = Fault::of(result);
        let outcome = match result {
            Err(HttpError::Resolve | HttpError::Connect | HttpError::Tls) => Outcome::Unreachable,
            _ if fault.again => Outcome::Failed,
            _ => Outcome::Fine,
        };
        let key = (family, endpoint.host.clone());
        let number = self.fresh_id();
        let at = (endpoint.path.as_str(), call);
        let wake = self.callbacks.answered(now.mono, &key, at, outcome, number);
        if let Some(until) = wake {
            self.at(until, Timer::Endpoint(number));
        }
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.volatile.lanes.remove(&endpoint);
        }
        self.callback_done(now, call, token, &fault);
        self.serve_line(now, &key);
    }

    /// What an attempt came to.
    fn callback_done(&mut self, now: Now, call: CallId, token: &str, fault: &Fault) {
        let (attempts_max, policy) = (self.settings.limits.callback_attempts, self.policy());
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if fault.is_fine() {
            self.callback_over(now, call, token, None);
            return;
        }
        let Some(callback) = live.callbacks.iter_mut().find(|it| it.token == token) else {
            return;
        };
        callback.attempts += 1;
        // What would be executed is of no use when the call is long somewhere else.
        let attempts_max = match callback.then.as_ref().is_some_and(|then| then.application) {
            true => u32::from(web::split(&callback.url, policy).1.retries) + 1,
            false => attempts_max,
        };
        if fault.again && callback.attempts < attempts_max {
            let doubled = BACKOFF_FIRST.saturating_mul(1 << (callback.attempts - 1).min(16));
            let pause = self.rng.jitter(doubled.min(BACKOFF_MAX));
            callback.due = now.later(pause).wall;
            self.stats.callbacks_retried += 1;
            self.calls.touch(call);
            self.try_callbacks(now, call);
        } else {
            self.callback_over(now, call, token, Some(fault));
        }
    }

    /// What this lane waited for may work again.
    fn callback_awake(&mut self, now: Now, call: CallId, endpoint: &Endpoint) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let is_its = |it: &&mut Callback| web::endpoint(&it.url).as_ref() == Some(endpoint);
        if let Some(callback) = live.callbacks.iter_mut().find(is_its)
            && callback.due > now.wall
        {
            callback.due = now.wall;
        }
    }

    /// A callback of a call was delivered, or is given up for `fault`.
    fn callback_over(&mut self, now: Now, call: CallId, token: &str, fault: Option<&Fault>) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let Some(at) = live.callbacks.iter().position(|it| it.token == token) else {
            return;
        };
        let Some(callback) = live.callbacks.remove(at) else {
            return;
        };
        let account = live.row.account;
        let over = live.is_over();
        let family = self.directory.family(account);
        self.callbacks.release(family);
        if let Some(Endpoint { host, path }) = web::endpoint(&callback.url) {
            self.callbacks.leave(&(family, host), &path, call);
        }
        match fault {
            None => self.stats.callbacks_delivered += 1,
            Some(fault) => match callback.then.as_ref().and_then(|then| then.fallback.clone()) {
                Some(fallback) => self.fall_back(now, call, callback, &fallback, fault),
                None => self.dead_letter(now, account, call, callback, fault),
            },
        }
        // A delivery is written with the call's next step, or by itself where none follows soon: a
        // successor that does not know of it tells again, with the same token.
        if over || fault.is_some() {
            self.calls.touch(call);
        } else {
            self.after(now, super::WRITE_DELIVERY, Timer::Delivered(call));
        }
        self.try_callbacks(now, call);
    }

    /// Another URL is told what the first one was not.
    fn fall_back(
        &mut self,
        now: Now,
        call: CallId,
        callback: Callback,
        fallback: &Hook,
        fault: &Fault,
    ) {
        let Callback { url, mut params, token, then, .. } = callback;
        params.push(("ErrorCode".to_owned(), fault.code.to_string()));
        params.push(("ErrorUrl".to_owned(), web::without_fragment(&url).to_owned()));
        let then = then.map(|then| Then { fallback: None, ..then });
        // It is another request, and the same in every attempt.
        let token = token.chars().rev().collect();
        self.stats.callbacks_made += 1;
        let queued = Queued { params, token, then };
        if let Err(refused) = self.admit_callback(now, call, fallback, queued) {
            let (account, callback, why) = *refused;
            self.dead_letter(now, account, call, callback, &Fault::dropped(why));
        }
    }

    fn dead_letter(
        &mut self,
        now: Now,
        account: AccountSid,
        call: CallId,
        callback: Callback,
        fault: &Fault,
    ) {
        self.stats.callbacks_dead += 1;
        let error = &fault.error;
        let trouble = Trouble {
            call: Some(call),
            warning: fault.warning,
            code: fault.code,
            reason: "callback-dead",
            message: format!("callback given up after {} attempts: {error}", callback.attempts),
            url: Some(web::without_fragment(&callback.url).to_owned()),
            method: Some(callback.method),
        };
        self.alert(now, account, trouble);
        self.died = now.wall.max(base::Wall(self.died.0 + 1));
        self.records.push(Record::DeadLetter(Box::new(DeadLetter {
            account,
            call,
            at: self.died,
            idempotency_token: callback.token,
            url: callback.url,
            method: callback.method,
            params: callback.params,
            attempts: callback.attempts,
            error: error.to_owned(),
        })));
    }

    pub(super) fn wake_endpoint(&mut self, now: Now, number: u64) {
        if let Some(key) = self.callbacks.wake(number) {
            self.serve_line(now, &key);
        }
    }

    /// Lets those in line go on, as many as have room.
    fn serve_line(&mut self, now: Now, key: &HostKey) {
        let per_host = self.settings.limits.callbacks_per_host;
        while self.shares.has_room(key.0, HttpKind::Callback, &self.settings.limits) {
            let Some((call, path)) = self.callbacks.next(now.mono, key, per_host) else {
                return;
            };
            let endpoint = Endpoint { host: key.1.clone(), path };
            if let Some(mut live) = self.calls.get_mut(&call) {
                live.volatile.lanes.remove(&endpoint);
            }
            self.callback_awake(now, call, &endpoint);
            self.try_callbacks(now, call);
        }
        self.stall(key);
    }

    /// Whoever waits at this host does so for a place of his family.
    fn stall(&mut self, key: &HostKey) {
        if self.callbacks.stall(key) {
            self.shares.wants_turn(key.0);
        }
    }

    /// Callbacks that waited for a place of their family go on, as many as have one.
    pub(super) fn serve_stalled(&mut self, now: Now, family: AccountSid) {
        while self.shares.has_room(family, HttpKind::Callback, &self.settings.limits)
            && let Some(key) = self.callbacks.unstall(family)
        {
            self.serve_line(now, &key);
        }
    }

    /// A call's queue has gone with it.
    pub(super) fn recount_callbacks(&mut self) {
        let directory = &self.directory;
        let family = |live: &Live| directory.family(live.row.account);
        let calls = self.calls.all().map(|live| (family(live), live.callbacks.len()));
        self.callbacks.recount(calls);
    }
}

/// A callback before it has a place.
pub(super) struct Queued {
    pub(super) params: Vec<(String, String)>,
    pub(super) token: String,
    pub(super) then: Option<Then>,
}

/// What is wrong with a callback that was not taken.
pub(super) struct Fault {
    /// 0: nothing.
    code: u32,
    warning: bool,
    pub(super) error: String,
    /// Another attempt may do better.
    pub(super) again: bool,
}

impl Fault {
    pub(super) fn is_fine(&self) -> bool {
        self.code == 0
    }

    pub(super) fn of(result: &Result<HttpAnswer, HttpError>) -> Self {
        let fault = |code, warning, error: String, again| Self { code, warning, error, again };
        match result {
            Ok(answer) if answer.status < 400 => fault(0, false, String::new(), false),
            Ok(answer) => {
                let again = answer.status >= 500 || matches!(answer.status, 408 | 429);
                fault(15_003, true, format!("HTTP status {}", answer.status), again)
            }
            Err(error) => {
                let again = !matches!(error, HttpError::Forbidden | HttpError::BadUrl);
                fault(code_of(*error), false, error.name().to_owned(), again)
            }
        }
    }

    /// There was no room for it.
    fn dropped(why: &str) -> Self {
        Self { code: 15_002, warning: true, error: why.to_owned(), again: false }
    }
}
