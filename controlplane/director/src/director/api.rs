//! API requests on live calls: create, redirect, complete, cancel.

use std::time::Duration;

use base::{CallId, LegId, Now};
use model::port::{
    ApiCall, ApiDone, ApiError, ApiId, ApiRequest, CreateCall, Instructions, OwnedCommand, Record,
    UpdateCall,
};
use model::{AccountSid, CallDirection, Hook, StatusHook, party};
use wire::event::Cause;

use super::inventory::Asker;
use super::originate::NewLeg;
use super::{Director, Timer};
use crate::answer::{Asked, Document, Failure};
use crate::forwards::Forwards;
use crate::live::{Ending, Live, Start};
use crate::script::{Input, Problem, Program, Script, Target, Wait};
use crate::web;

/// How long an answer to `Status=completed` waits for the call's end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a call is to run, once looked up.
struct Plan {
    start: Start,
    /// Of the document that `start` has.
    program: Option<Program>,
    fallback: Option<Hook>,
    status: Option<StatusHook>,
}

impl Director {
    /// A request of the API.
    pub fn handle_api(&mut self, now: Now, request: impl Into<Asked>) {
        let (ApiCall { id, account, what }, document) = request.into().into_parts();
        match what {
            ApiRequest::CreateCall(create) => {
                if let Err(error) = self.create_call(now, (id, account), *create, document) {
                    self.reply(id, Err(error));
                }
            }
            ApiRequest::UpdateCall { call, update } => {
                if let Err(error) = self.update_call(now, (id, account), call, *update, document) {
                    self.reply(id, Err(error));
                }
            }
            ApiRequest::Replay(letters) => self.api_replay(now, id, Some(account), letters),
            ApiRequest::Forget { token, .. } => self.api_forget(now, id, account, token),
            ApiRequest::HideCall(call) => self.hide_call(id, account, call),
            ApiRequest::PromoteToken => self.api_promote(now, id, account),
            ApiRequest::Operate(what) => self.change(now, id, Asker::Operator, *what),
            what => self.change(now, id, Asker::Tenant(account), what),
        }
        self.settle(now);
    }

    /// A change of what is configured.
    fn change(&mut self, now: Now, id: ApiId, asker: Asker, what: ApiRequest) {
        match what {
            ApiRequest::Put { entity, create } => self.api_put(now, id, asker, *entity, create),
            ApiRequest::Shut(closing) => self.api_shut(now, id, asker, *closing),
            ApiRequest::Delete(key) => self.api_delete(now, id, asker, key),
            ApiRequest::Replay(letters) => self.api_replay(now, id, None, letters),
            ApiRequest::Forget { account, token } => self.api_forget(now, id, account, token),
            // The operator has no calls.
            _ => self.refuse(id, 404, 20_404, "the requested resource was not found"),
        }
    }

    fn create_call(
        &mut self,
        now: Now,
        (id, account): (ApiId, AccountSid),
        create: CreateCall,
        document: Option<Document>,
    ) -> Result<(), ApiError> {
        if self.directory.account(account).is_none() {
            return Err(error(404, 20_404, "the requested resource was not found"));
        }
        if !self.directory.is_active(account) {
            return Err(error(403, 20_005, "the account is not active"));
        }
        let (target, to) = if party::Target::parse(&create.to).is_some() {
            (Target::Sip(create.to.clone()), create.to)
        } else if let Some(number) = party::number(&create.to) {
            (Target::Number(number.clone()), number)
        } else {
            let message = format!("{:?} is neither a sip: URI nor a phone number", create.to);
            return Err(error(400, 21_211, message));
        };
        let given = create.caller_id.unwrap_or(create.from);
        let caller = party::caller(&given)
            .ok_or_else(|| error(400, 21_212, format!("{given:?} cannot be a caller")))?;
        if !self.may_show(account, &caller) {
            let not = "neither a number or domain of this account nor verified for it";
            return Err(error(400, 21_210, format!("the caller {caller} is {not}")));
        }
        let timeout = bounded("Timeout", create.timeout.unwrap_or(60), 1..=600)?;
        let limit = bounded("TimeLimit", create.time_limit.unwrap_or(14_400), 1..=86_400)?;
        let plan = self.plan(now, account, create.instructions, document)?;
        if let Some(hook) = &create.status {
            check_url(&hook.hook.url)?;
        }
        let way = self
            .way(account, &target)
            .map_err(|refused| error(400, refused.code, refused.message))?;
        self.reserve(now, account).map_err(|reason| error(429, 20_429, reason))?;
        let call = CallId::begun(now.wall, self.rng.wide());
        let shard = self.any_shard();
        let leg = NewLeg {
            call,
            account,
            parent: None,
            peer: LegId::NONE,
            shard,
            to,
            caller,
            caller_name: String::new(),
            ring_ms: timeout * 1_000,
            limit_ms: limit * 1_000,
            pass_progress: false,
            bridge: false,
            status: create.status.or(plan.status),
            login: create.login,
            direction: CallDirection::OutboundApi,
            forwards: Forwards::default(),
        };
        self.make_leg(now, leg, way);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.start = Some(plan.start);
            live.volatile.program = plan.program;
            live.fallback = plan.fallback;
            let row = Box::new(live.row.clone());
            self.reply_when_stored(id, ApiDone::Call(row));
        }
        Ok(())
    }

    fn update_call(
        &mut self,
        now: Now,
        (id, account): (ApiId, AccountSid),
        call: CallId,
        update: UpdateCall,
        document: Option<Document>,
    ) -> Result<(), ApiError> {
        let missing = || error(404, 20_404, "the requested resource was not found");
        let live = self.calls.get(&call).filter(|live| live.row.account == account);
        let live = live.ok_or_else(missing)?;
        let not_in_progress = || error(400, 21_220, "the call is not in progress");
        if live.is_over() {
            return Err(not_in_progress());
        }
        // What a Dial made and nobody sent elsewhere yet.
        let is_relay = live.is_relay();
        let dialled = live.row.parent.is_some() && live.script.is_none() && !is_relay;
        let stands = live.is_answered() && live.ending.is_none();
        if update.complete || update.cancel {
            if !update.complete && live.is_answered() {
                return Err(error(400, 21_220, "the call was answered; it can only be completed"));
            }
            self.end_by_api(now, id, call);
            return Ok(());
        }
        let leaves = dialled && update.instructions.is_some();
        if leaves && !stands {
            let message = "a dialled leg can be redirected once it is answered";
            return Err(error(400, 21_220, message));
        }
        let plan = update.instructions;
        let plan = plan.map(|it| self.plan(now, account, it, document)).transpose()?;
        if let Some(hook) = &update.status {
            check_url(&hook.hook.url)?;
        }
        if let Some(seconds) = update.time_limit {
            let seconds = bounded("TimeLimit", seconds, 1..=86_400)?;
            self.limit(call, seconds * 1_000);
        } else if leaves {
            // The Dial's limit was the Dial's.
            self.limit(call, self.settings.limits.inbound_ms);
        }
        let Some(mut live) = self.calls.get_mut(&call) else {
            return Err(missing());
        };
        if update.status.is_some() {
            live.status = update.status;
        }
        live.touch();
        if let Some(plan) = plan {
            self.redirect(now, call, plan);
        }
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.touch_row(now.wall);
            let row = Box::new(live.row.clone());
            self.reply_when_stored(id, ApiDone::Call(row));
        }
        Ok(())
    }

    /// An ended call leaves lists and fetches. Its row is the store's by now, and is not written
    /// again.
    fn hide_call(&mut self, id: ApiId, account: AccountSid, call: CallId) {
        if self.calls.get(&call).is_some_and(|live| !live.is_over()) {
            return self.refuse(id, 400, 20_009, "the call is not over: complete it first");
        }
        self.records.push(Record::HideCall { call, account });
        self.reply_when_stored(id, ApiDone::Deleted);
    }

    /// Answered when the call's end is durable, or with the row as it is after [`END_PATIENCE`].
    fn end_by_api(&mut self, now: Now, id: ApiId, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        live.volatile.api_waits.push(id);
        let cause = if live.is_answered() { Cause::Normal } else { Cause::Canceled };
        let rejects = live.outgoing.is_none() && !live.is_answered();
        let ending = if rejects {
            let reason = "Temporarily Unavailable".to_owned();
            Ending::Reject { code: 480, reason, retry_after: 0, cause }
        } else {
            Ending::Hangup(cause)
        };
        self.after(now, END_PATIENCE, Timer::ApiWait(id, call));
        self.end_leg(call, ending);
        self.never_was(now, call, model::CallStatus::Canceled);
    }

    /// From now on, or from the answer: a command that is out already has the old limit.
    fn limit(&mut self, call: CallId, remaining_ms: u32) {
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.limit_ms = remaining_ms;
            live.volatile.limited = live.is_answered();
            if live.is_answered() {
                let shard = live.shard;
                self.command(shard, OwnedCommand::Limit { call, remaining_ms });
            }
        }
    }

    /// Leaves what runs, goes on elsewhere. A leg that is not answered yet begins there when it is.
    fn redirect(&mut self, now: Now, call: CallId, plan: Plan) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if plan.fallback.is_some() {
            live.fallback = plan.fallback;
        }
        live.start = Some(plan.start);
        live.volatile.program = plan.program;
        let is_relay = live.is_relay();
        if (live.outgoing.is_some() || is_relay) && !live.is_answered() {
            return;
        }
        if is_relay {
            return self.begin_on_relay(now, call);
        }
        if let Some(parent) = live.row.parent.filter(|_| live.script.is_none()) {
            // It goes its own way, and its parent goes on behind the Dial.
            let shard = live.shard;
            self.command(shard, OwnedCommand::Part { call });
            self.inbox.push_back((parent, Input::ChildLeft { call }));
        }
        self.abandon(now, call);
        self.start_script(now, call);
    }

    /// Begins what waits to begin.
    pub(super) fn start_script(&mut self, now: Now, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        match live.start.take() {
            Some(Start::Ask(hook)) => {
                live.script.get_or_insert_with(Script::default).wait = Wait::Ready;
                self.start_fetch(now, call, hook, Vec::new(), None);
            }
            Some(Start::Run(text)) => {
                let read = live.volatile.program.take();
                let document = match read {
                    Some(program) => Document { text, program: Ok(program) },
                    // It was a predecessor that had read it.
                    None => self.read(text),
                };
                self.run_document(now, call, document, String::new());
            }
            Some(Start::RunFrom { document, base }) => {
                let document = match live.volatile.program.take() {
                    Some(program) => Document { text: document, program: Ok(program) },
                    None => self.read(document),
                };
                self.run_document(now, call, document, base);
            }
            None => {}
        }
    }

    /// What an application answered to something told of a call: it is executed, if it has verbs.
    pub(super) fn run_answer(&mut self, now: Now, call: CallId, document: Document, base: String) {
        if self.calls.get(&call).is_none_or(Live::is_over) {
            return;
        }
        let Document { text, program } = document;
        match program {
            Ok(program) if program.verbs.is_empty() => {
                for problem in program.problems {
                    self.problem(now, call, problem, true);
                }
            }
            Ok(program) => {
                let start = Start::RunFrom { document: text, base };
                let (program, fallback, status) = (Some(program), None, None);
                self.redirect(now, call, Plan { start, program, fallback, status });
                self.calls.touch(call);
            }
            Err(error) => {
                let Failure { code, reason, message, .. } = Failure::of(&error);
                self.problem(now, call, Problem { code, reason, message }, false);
            }
        }
    }

    fn read(&mut self, text: String) -> Document {
        self.stats.documents_read += 1;
        Document::of(text, self.settings.limits.document_bytes)
    }

    /// `document`: an inline one, if it was read already.
    fn plan(
        &mut self,
        now: Now,
        account: AccountSid,
        what: Instructions,
        document: Option<Document>,
    ) -> Result<Plan, ApiError> {
        match what {
            Instructions::Url { hook, fallback } => {
                check_url(&hook.url)?;
                fallback.as_ref().map_or(Ok(()), |hook| check_url(&hook.url))?;
                Ok(Plan { start: Start::Ask(hook), program: None, fallback, status: None })
            }
            Instructions::Twiml(text) => {
                if !self.may_read(now, account, text.len()) {
                    let message = "more bytes of documents than the account may have in a second";
                    return Err(error(429, 20_429, message));
                }
                let document = document.unwrap_or_else(|| self.read(text));
                let program = document.program.map_err(|bad| {
                    let message = format!("Twiml, line {}: {}", bad.line, bad.message);
                    error(400, 12_100, message)
                })?;
                // It came from nowhere: a path in it leads nowhere.
                if let Some(problem) = program.unresolved() {
                    return Err(error(400, problem.code, format!("Twiml: {}", problem.message)));
                }
                let start = Start::Run(document.text);
                Ok(Plan { program: Some(program), start, fallback: None, status: None })
            }
            Instructions::Application(sid) => {
                let application = self.directory.application(sid);
                let application = application.filter(|it| it.account == account);
                let config = application.map(|application| application.config.clone());
                let config = config.ok_or_else(|| error(400, 21_218, "no such application"))?;
                let Some(voice) = config.voice else {
                    return Err(error(400, 21_205, "the application has no voice URL"));
                };
                let (fallback, status) = (config.voice_fallback, config.status_callback);
                Ok(Plan { start: Start::Ask(voice), program: None, fallback, status })
            }
        }
    }
}

fn error(status: u16, code: u32, message: impl Into<String>) -> ApiError {
    ApiError { status, code, message: message.into() }
}

fn check_url(url: &str) -> Result<(), ApiError> {
    match web::authority(url) {
        Some(_) => Ok(()),
        None => Err(error(400, 21_205, format!("{url:?} is not an http or https URL"))),
    }
}

fn bounded(name: &str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, ApiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (range.start(), range.end());
    Err(error(400, 20_001, format!("{name} is {value}, {low} to {high} is allowed")))
}
