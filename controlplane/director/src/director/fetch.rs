//! Asking applications for instructions: primary URL, retries as its fragment says, fallback URL
//! with ErrorCode and ErrorUrl, and at last the default. A request under way is part of the call's
//! log, so that a successor sends it again with the same token.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{CallId, Mono, Now};
use model::cookie::Jar;
use model::declined::Declined;
use model::port::{HttpAnswer, HttpError, HttpId, HttpKind, HttpReply, HttpRequest};
use model::{AccountSid, CallDirection, CallStatus, Hook, Secret};

use super::endpoints::Endpoint;
use super::{Director, HTTP_GRACE_MS, Timer, Trouble};
use crate::answer::{Answer, Document, Failure};
use crate::live::{Live, Telling};
use crate::script::{Fetch, Script, Wait};
use crate::settings::Limits;
use crate::web::{self, Policy};

/// Families that are looked at when a place is free, although they find none.
const TURNS_MAX: usize = 16;

/// The requests that the HTTP client has, and those that wait for a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetches {
    under_way: BTreeMap<HttpId, InFlight>,
}

#[derive(Clone, Debug)]
struct InFlight {
    call: CallId,
    purpose: Purpose,
    guard: (Mono, u64),
    family: AccountSid,
    kind: HttpKind,
    /// It waits for a place.
    waiting: Option<Box<HttpRequest>>,
    /// It was answered, and the answer waits for the family's budget.
    held: Option<Box<Answer>>,
}

#[derive(Clone, Debug)]
enum Purpose {
    Instructions,
    /// An event application was told; its answer is executed.
    Event {
        url: String,
        token: String,
    },
    Callback {
        family: AccountSid,
        endpoint: Endpoint,
        token: String,
    },
    /// A dead letter of the family.
    Replay(AccountSid),
    /// Nobody wants to know any more; it has its place until it is answered.
    Forgotten,
}

/// What is sent, beside what the call says of itself.
pub(super) struct Request<'a> {
    pub(super) kind: HttpKind,
    pub(super) hook: &'a Hook,
    pub(super) params: Vec<(String, String)>,
    pub(super) token: String,
}

impl Director {
    /// Waits for a document from `hook`. `token` is given where the request may have been sent
    /// before.
    pub(super) fn start_fetch(
        &mut self,
        now: Now,
        call: CallId,
        hook: Hook,
        params: Vec<(String, String)>,
        token: Option<String>,
    ) {
        let token = token.unwrap_or_else(|| self.rng.token());
        let documents_max = self.settings.limits.documents_per_call;
        let fallback = self.fallback_of(call);
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let script = live.script.get_or_insert_with(Script::default);
        if script.documents >= documents_max {
            self.fetch_alert(now, call, 12_400, "documents-per-call", &hook);
            self.give_up(now, call, "documents-per-call");
            return;
        }
        script.wait = Wait::Fetch(Fetch { hook, params, token, fallback, attempt: 0 });
        self.calls.touch(call);
        self.send_fetch(now, call);
    }

    /// Sends the request that the script waits for.
    pub(super) fn send_fetch(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let Some(Wait::Fetch(fetch)) = live.script.as_ref().map(|script| &script.wait) else {
            return;
        };
        let mut params = self.call_params(live);
        params.extend(fetch.params.iter().cloned());
        let request = Request {
            kind: HttpKind::Instructions,
            hook: &fetch.hook.clone(),
            params,
            token: fetch.token.clone(),
        };
        self.stats.fetches += 1;
        let id = self.send(now, call, request, Purpose::Instructions);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.volatile.fetch = Some(id);
        }
    }

    /// Tells the event application; its answer will be executed.
    pub(super) fn send_event_application(
        &mut self,
        now: Now,
        call: CallId,
        hook: &Hook,
        params: Vec<(String, String)>,
    ) {
        let telling = Telling { hook: hook.clone(), params, token: self.rng.token() };
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.tellings.push(telling.clone());
        }
        self.calls.touch(call);
        self.send_telling(now, call, telling);
    }

    fn send_telling(&mut self, now: Now, call: CallId, telling: Telling) {
        let Telling { hook, params, token } = telling;
        let url = web::without_fragment(&hook.url).to_owned();
        let purpose = Purpose::Event { url, token: token.clone() };
        let request = Request { kind: HttpKind::Instructions, hook: &hook, params, token };
        let id = self.send(now, call, request, purpose);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.volatile.tellings.push(id);
        }
    }

    /// Tells again what our predecessor had no answer to.
    pub(super) fn resume_tellings(&mut self, now: Now, call: CallId) {
        let Some(live) = self.calls.get(&call).filter(|live| live.volatile.tellings.is_empty())
        else {
            return;
        };
        for telling in live.tellings.clone() {
            self.send_telling(now, call, telling);
        }
    }

    pub(super) fn send_callback(
        &mut self,
        now: Now,
        call: CallId,
        request: Request<'_>,
        endpoint: Endpoint,
    ) {
        let account = self.calls.get(&call).map(|live| live.row.account).unwrap_or_default();
        let family = self.directory.family(account);
        let token = request.token.clone();
        self.send(now, call, request, Purpose::Callback { family, endpoint, token });
    }

    pub(super) fn send_replay(
        &mut self,
        now: Now,
        account: AccountSid,
        call: CallId,
        request: Request<'_>,
    ) {
        let family = self.directory.family(account);
        self.send_for(now, account, call, request, Purpose::Replay(family));
    }

    fn send(&mut self, now: Now, call: CallId, request: Request<'_>, purpose: Purpose) -> HttpId {
        let account = self.calls.get(&call).map(|live| live.row.account).unwrap_or_default();
        self.send_for(now, account, call, request, purpose)
    }

    fn send_for(
        &mut self,
        now: Now,
        account: AccountSid,
        call: CallId,
        request: Request<'_>,
        purpose: Purpose,
    ) -> HttpId {
        let id = HttpId(self.fresh_id());
        let (url, policy) = web::split(&request.hook.url, self.policy());
        let family = self.directory.family(account);
        let kind = request.kind;
        let request = HttpRequest {
            id,
            account,
            family,
            auth_token: Secret::default(),
            call,
            kind,
            url,
            method: request.hook.method,
            params: request.params,
            idempotency_token: request.token,
            connect_ms: policy.connect_ms,
            read_ms: policy.read_ms,
            total_ms: policy.total_ms,
            body_max: match kind {
                HttpKind::Instructions => self.settings.limits.document_bytes,
                HttpKind::Callback => 0,
            },
            at: now.wall,
            cookies: Jar::default(),
        };
        let limits = &self.settings.limits;
        // Callbacks had to have a place before they came here.
        let waits = kind == HttpKind::Instructions
            && (self.shares.is_waiting(family) || !self.shares.has_room(family, kind, limits));
        let mut flight = InFlight {
            call,
            purpose,
            guard: (Mono(0), 0),
            family,
            kind,
            waiting: None,
            held: None,
        };
        if waits {
            // Where too many wait, it is as if nobody had answered.
            let has_room = self.shares.wait(family, id, limits);
            let patience = if has_room { patience(&request) } else { Duration::ZERO };
            flight.guard = self.after(now, patience, Timer::Http(id));
            flight.waiting = Some(Box::new(request));
            self.fetches.under_way.insert(id, flight);
        } else {
            self.fetches.under_way.insert(id, flight);
            self.send_out(now, request);
        }
        id
    }

    /// Takes a place, and goes.
    fn send_out(&mut self, now: Now, mut request: HttpRequest) {
        self.shares.begin(request.family, request.kind);
        let guard = self.after(now, patience(&request), Timer::Http(request.id));
        if let Some(flight) = self.fetches.under_way.get_mut(&request.id) {
            flight.guard = guard;
        }
        request.at = now.wall;
        request.auth_token = self.directory.auth_token(request.account);
        request.cookies = self.cookies_for(request.call);
        self.effects.push(model::port::Output::Http(request));
    }

    /// Families that wait go on, as long as the node has places.
    fn serve_turns(&mut self, now: Now) {
        // Few of those that wait have no place of their own: no more of them are looked at.
        let mut looked_at = 0;
        while looked_at < TURNS_MAX.min(self.shares.turns())
            && !self.shares.is_full(HttpKind::Instructions, &self.settings.limits)
        {
            let Some(next) = self.shares.turn() else { return };
            looked_at += usize::from(self.serve_family(now, next));
        }
    }

    /// What waits of a family goes on, as it has places; documents first. True if something still
    /// waits.
    fn serve_family(&mut self, now: Now, family: AccountSid) -> bool {
        let kind = HttpKind::Instructions;
        while self.shares.has_room(family, kind, &self.settings.limits)
            && let Some(id) = self.shares.next(family)
        {
            let flight = self.fetches.under_way.get_mut(&id);
            let Some((request, guard)) =
                flight.and_then(|it| it.waiting.take().map(|request| (request, it.guard)))
            else {
                continue;
            };
            self.timers.remove(&guard);
            self.send_out(now, *request);
        }
        self.serve_stalled(now, family);
        let waits = self.shares.is_waiting(family) || self.callbacks.is_stalled(family);
        if waits {
            self.shares.wants_turn(family);
        }
        waits
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::new(self.settings.webhook_connect_ms, self.settings.webhook_total_ms.min(15_000))
    }

    pub(super) fn on_http(&mut self, now: Now, answer: Answer) {
        if let Some(answer) = self.hold(now, answer) {
            self.end_flight(now, answer);
        }
    }

    /// A document over its family's budget waits, and keeps its place: whoever sends more than that
    /// has fewer requests.
    fn hold(&mut self, now: Now, answer: Answer) -> Option<Answer> {
        let (id, limits) = (answer.id(), &self.settings.limits);
        let flight = self.fetches.under_way.get_mut(&id).filter(|flight| flight.held.is_none())?;
        let bytes = match flight.purpose {
            Purpose::Instructions | Purpose::Event { .. } => answer.document_bytes(),
            Purpose::Callback { .. } if flight.kind == HttpKind::Instructions => {
                answer.document_bytes()
            }
            _ => 0,
        };
        if bytes == 0 {
            return Some(answer);
        }
        let patience = Duration::from_millis(u64::from(self.settings.webhook_total_ms));
        let wait = self.budgets.take(now.mono, flight.family, bytes, limits, patience);
        if wait == Some(Duration::ZERO) {
            return Some(answer);
        }
        let held = if wait.is_some() { answer } else { answer.refused(over_budget(bytes, limits)) };
        flight.held = Some(Box::new(held));
        let before = flight.guard;
        let guard = self.after(now, wait.unwrap_or(patience), Timer::Document(id));
        self.timers.remove(&before);
        if let Some(flight) = self.fetches.under_way.get_mut(&id) {
            flight.guard = guard;
        }
        None
    }

    /// What was held is taken.
    pub(super) fn document_due(&mut self, now: Now, id: HttpId) {
        let flight = self.fetches.under_way.get_mut(&id);
        if let Some(answer) = flight.and_then(|flight| flight.held.take()) {
            self.end_flight(now, *answer);
        }
    }

    /// An inline document is not waited for.
    pub(super) fn may_read(&mut self, now: Now, account: AccountSid, bytes: usize) -> bool {
        let (family, limits) = (self.directory.family(account), &self.settings.limits);
        self.budgets.take(now.mono, family, bytes, limits, Duration::ZERO).is_some()
    }

    fn end_flight(&mut self, now: Now, answer: Answer) {
        let Some(flight) = self.fetches.under_way.remove(&answer.id()) else {
            return;
        };
        self.timers.remove(&flight.guard);
        let InFlight { call, purpose, family, kind, waiting, .. } = flight;
        let mut was_full = false;
        if waiting.is_none() {
            was_full = self.shares.is_full(kind, &self.settings.limits);
            self.shares.end(family, kind);
        }
        self.take_answer(now, call, purpose, answer);
        // Where the node had no place, this one is for whoever's turn it is.
        if !was_full {
            self.serve_family(now, family);
        }
        self.serve_turns(now);
    }

    fn take_answer(&mut self, now: Now, call: CallId, purpose: Purpose, answer: Answer) {
        let result = &answer.reply.result;
        if let Ok(answer) = result
            && !matches!(purpose, Purpose::Forgotten)
        {
            self.take_cookies(now, call, answer);
        }
        match purpose {
            Purpose::Forgotten => {}
            Purpose::Callback { family, endpoint, token } => {
                let executed = self.executed_answer(call, &token, result);
                self.callback_answered(now, call, (family, endpoint, token.as_str()), result);
                if let Some(hook) = executed {
                    self.answer_of_message(now, call, &hook, answer);
                }
            }
            Purpose::Replay(family) => self.replay_answered(now, family, result),
            Purpose::Instructions => {
                let Some(mut live) = self.calls.get_mut(&call) else {
                    return;
                };
                live.volatile.fetch = None;
                let from = answer.came_from();
                match self.document(answer) {
                    Ok(document) => self.take_document(now, call, document, from),
                    Err(failure) => self.fetch_failed(now, call, &failure),
                }
            }
            Purpose::Event { url, token } => {
                // Written with the call's next step: told once more, it is known by its token.
                if let Some(mut live) = self.calls.get_mut(&call) {
                    live.volatile.tellings.retain(|id| *id != answer.id());
                    live.tellings.retain(|telling| telling.token != token);
                }
                self.event_application_answered(now, call, url, answer);
            }
        }
    }

    /// A callback's answer that is to be executed, by where it was told.
    fn executed_answer(
        &self,
        call: CallId,
        token: &str,
        result: &Result<HttpAnswer, HttpError>,
    ) -> Option<Hook> {
        result.as_ref().ok().filter(|answer| answer.status < 400)?;
        let callback = self.calls.get(&call)?.callbacks.iter().find(|it| it.token == token)?;
        let application = callback.then.as_ref().is_some_and(|then| then.application);
        let hook = Hook { url: callback.url.clone(), method: callback.method };
        application.then_some(hook)
    }

    fn answer_of_message(&mut self, now: Now, call: CallId, hook: &Hook, answer: Answer) {
        let from = answer.came_from();
        match self.document(answer) {
            Ok(document) => {
                let asked = web::without_fragment(&hook.url).to_owned();
                let base = if from.is_empty() { asked } else { from };
                self.run_answer(now, call, document, base);
            }
            Err(failure) => self.alert_failure(now, call, &failure, hook),
        }
    }

    fn document(&mut self, answer: Answer) -> Result<Document, Failure> {
        self.stats.documents_read += u64::from(!answer.is_read());
        answer.into_document(self.settings.limits.document_bytes)
    }

    /// The client never answered: as if it had said so.
    pub(super) fn http_is_silent(&mut self, now: Now, id: HttpId) {
        self.on_http(now, HttpReply { id, result: Err(HttpError::Timeout) }.into());
    }

    /// Whatever comes of it does not matter any more.
    pub(super) fn forget_http(&mut self, id: HttpId) {
        let flight = self.fetches.under_way.get_mut(&id);
        if flight.as_ref().is_some_and(|flight| flight.waiting.is_none()) {
            if let Some(flight) = flight {
                flight.purpose = Purpose::Forgotten;
            }
        } else if let Some(flight) = self.fetches.under_way.remove(&id) {
            self.timers.remove(&flight.guard);
        }
    }

    /// `from`: where redirects led to, if there were any.
    fn take_document(&mut self, now: Now, call: CallId, document: Document, from: String) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let over = live.is_over();
        let Some(Wait::Fetch(fetch)) = live.script.as_mut().map(|it| std::mem::take(&mut it.wait))
        else {
            return;
        };
        if over {
            if let Some(script) = live.script.as_mut() {
                script.wait = Wait::Over;
            }
            self.calls.touch(call);
            return;
        }
        let asked = web::without_fragment(&fetch.hook.url);
        let base = if from.is_empty() { asked.to_owned() } else { from };
        if let Err(error) = &document.program
            && fetch.fallback.is_some()
        {
            let failure = Failure::of(error);
            if let Some(script) = live.script.as_mut() {
                script.wait = Wait::Fetch(fetch);
            }
            self.fetch_failed(now, call, &failure);
            return;
        }
        if let Some(script) = live.script.as_mut() {
            script.base.clone_from(&base);
        }
        self.run_document(now, call, document, base);
    }

    /// Retry, fallback, or the default.
    fn fetch_failed(&mut self, now: Now, call: CallId, failure: &Failure) {
        let policy = self.policy();
        let token = self.rng.token();
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let Some(Wait::Fetch(fetch)) = live.script.as_mut().map(|script| &mut script.wait) else {
            return;
        };
        let (_, policy) = web::split(&fetch.hook.url, policy);
        if failure.retry.is_some_and(|retry| retry.allowed(&policy))
            && fetch.attempt < policy.retries
        {
            fetch.attempt += 1;
            self.calls.touch(call);
            self.send_fetch(now, call);
            return;
        }
        let failed = fetch.hook.clone();
        let next = fetch.fallback.take();
        if let Some(fallback) = next.clone() {
            let set = |params: &mut Vec<(String, String)>, name: &str, value: String| {
                params.push((name.to_owned(), value));
            };
            set(&mut fetch.params, "ErrorCode", failure.code.to_string());
            let url = web::without_fragment(&failed.url).to_owned();
            set(&mut fetch.params, "ErrorUrl", url);
            fetch.hook = fallback;
            fetch.attempt = 0;
            fetch.token = token;
        }
        self.stats.fetches_failed += 1;
        self.calls.touch(call);
        self.alert_failure(now, call, failure, &failed);
        if next.is_some() {
            self.send_fetch(now, call);
        } else {
            self.give_up(now, call, failure.reason);
        }
    }

    fn event_application_answered(&mut self, now: Now, call: CallId, url: String, answer: Answer) {
        let from = answer.came_from();
        match self.document(answer) {
            Ok(document) => {
                let verbs = document.program.as_ref().map(|program| !program.verbs.is_empty());
                let alive = self.calls.get(&call).is_some_and(|live| !live.is_over());
                let url = if from.is_empty() { url } else { from };
                if verbs.unwrap_or(true) && alive {
                    self.abandon(now, call);
                    self.run_document(now, call, document, url);
                }
            }
            Err(failure) => self.alert_failure(now, call, &failure, &Hook::post(url)),
        }
    }

    pub(super) fn fetch_alert(
        &mut self,
        now: Now,
        call: CallId,
        code: u32,
        reason: &'static str,
        hook: &Hook,
    ) {
        let message = format!("{}: {reason}", web::without_fragment(&hook.url));
        self.alert_failure(now, call, &Failure { code, reason, message, retry: None }, hook);
    }

    fn alert_failure(&mut self, now: Now, call: CallId, failure: &Failure, hook: &Hook) {
        let Some(account) = self.calls.get(&call).map(|live| live.row.account) else {
            return;
        };
        self.alert(
            now,
            account,
            Trouble {
                call: Some(call),
                warning: false,
                code: failure.code,
                reason: failure.reason,
                message: failure.message.clone(),
                url: Some(web::without_fragment(&hook.url).to_owned()),
                method: Some(hook.method),
            },
        );
    }

    /// What every request says of its call, and of the INVITE that began it.
    pub(super) fn call_params(&self, live: &Live) -> Vec<(String, String)> {
        let mut params = self.row_params(live);
        let row = &live.row;
        let mut put = |name: &str, value: String| params.push((name.to_owned(), value));
        for (name, value) in &live.facts.headers {
            put(&format!("SipHeader_{name}"), value.clone());
        }
        if row.status.is_final() && row.status != CallStatus::Completed && row.sip_code > 0 {
            put("SipResponseCode", row.sip_code.to_string());
        }
        let said = live.reason.as_deref().filter(|_| row.status.is_final());
        let said = said.and_then(Declined::read).map(Declined::named);
        for (name, value) in said.into_iter().flatten() {
            put(name, value);
        }
        params
    }

    /// What every request says of its call.
    pub(super) fn row_params(&self, live: &Live) -> Vec<(String, String)> {
        let row = &live.row;
        let mut params = Vec::with_capacity(24);
        let mut put = |name: &str, value: String| params.push((name.to_owned(), value));
        put("CallSid", row.sid.to_string());
        put("AccountSid", row.account.to_string());
        put("From", row.from.clone());
        put("To", row.to.clone());
        put("Caller", row.from.clone());
        put("Called", row.to.clone());
        put("CallStatus", row.status.name().to_owned());
        put("ApiVersion", "2010-04-01".to_owned());
        // Applications know the directions of a trunk's calls only by the resource, not by the
        // parameter.
        let direction = match (row.direction.trunk(), row.parent) {
            (None, _) => row.direction,
            (Some(_), None) => CallDirection::Inbound,
            (Some(_), Some(_)) => CallDirection::OutboundDial,
        };
        put("Direction", direction.name().to_owned());
        let optional = [
            ("ForwardedFrom", row.forwarded_from.clone()),
            ("CallerName", row.caller_name.clone()),
            ("ParentCallSid", row.parent.map(|parent| parent.to_string())),
            ("SipDomain", live.facts.domain.clone()),
            ("SipDomainSid", live.facts.domain_sid.clone()),
            ("SipSourceIp", live.facts.source.map(|source| source.ip().to_string())),
            ("SipCallId", Some(live.facts.sip_call_id.clone()).filter(|id| !id.is_empty())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, value);
            }
        }
        params
    }
}

fn over_budget(bytes: usize, limits: &Limits) -> Failure {
    let message = format!(
        "a document of {bytes} bytes is not read: the account and its sub-accounts have {} bytes of \
         documents a second and {} at once, and others waited before it",
        limits.account_document_bytes_per_second, limits.account_document_bytes_at_once
    );
    Failure { code: 12_400, reason: "document-bytes", message, retry: None }
}

/// How long an answer is waited for.
fn patience(request: &HttpRequest) -> Duration {
    Duration::from_millis(u64::from(request.total_ms.saturating_add(HTTP_GRACE_MS)))
}
