//! The director itself: its parts, its inputs, and the one place where what it decided leaves.
//!
//! Every `handle_*` is one mutation. While it runs, records, commands and requests are collected;
//! [`Director::settle`] then emits one write with the state of every call that changed, and after
//! it what depends on that state. A successor that reads the writes therefore knows at least what
//! was commanded.

mod admission;
mod api;
mod backoff;
mod budget;
mod callback;
mod calls;
mod claim;
mod cookies;
mod credential;
mod declined;
mod durability;
mod ending;
mod endpoints;
mod entity;
mod event;
mod fetch;
mod forward;
mod incoming;
mod inventory;
mod lost;
mod originate;
mod place;
mod refer;
mod registrar;
mod replay;
mod restore;
mod shares;
mod signaling;
mod status;
mod steps;
mod strangers;
mod tiers;
mod trunk;

use std::collections::{BTreeMap, VecDeque};

use base::{CallId, Mono, Now, ShardId, Wall};
use model::port::{
    ApiDone, ApiError, ApiId, ApiResult, HttpId, Notice, Output, OwnedCommand, Record, Resolved,
    ScriptChange, ScriptLog, StoreId, StoreWrite, Stored,
};
use model::{AccountSid, Alert, AlertLevel, AlertSid, Directory, Method};

use crate::answer::Answer;
use crate::log::{Entry, Parts};
use crate::rng::Rng;
use crate::script::Input;
use crate::settings::Settings;

pub(crate) use endpoints::Endpoint;

use admission::{Admission, Tell};
use backoff::Backoff;
use budget::Budgets;
use calls::Calls;
use cookies::Cookies;
use durability::{After, Durability};
use endpoints::Callbacks;
use fetch::Fetches;
use refer::Referrer;
use registrar::Registrar;
use replay::Replays;
use shares::Shares;
use strangers::Strangers;

/// The controlplane as one value.
#[derive(Debug)]
pub struct Director {
    settings: Settings,
    rng: Rng,
    directory: Directory,
    calls: Calls,
    admission: Admission,
    timers: BTreeMap<(Mono, u64), Timer>,
    fetches: Fetches,
    resolves: BTreeMap<u64, (CallId, usize)>,
    /// Legs that referrals have dialled: who waits to hear of them.
    referrers: BTreeMap<CallId, Referrer>,
    callbacks: Callbacks,
    shares: Shares,
    budgets: Budgets,
    cookies: Cookies,
    replays: Replays,
    durability: Durability,
    strangers: Strangers,
    said: declined::Said,
    backoff: Backoff,
    registrar: Registrar,
    /// What our predecessor's time still has to do with us; None once it has been over for long.
    replay: Option<Replay>,
    /// The legs of before died with their memory: when they were last seen. See [`Book::lost`].
    lost: Option<Wall>,
    last_id: u64,
    next_shard: ShardId,
    /// When the last dead letter died: no two died at one time.
    died: Wall,
    stats: Stats,
    // Collected during one mutation, emptied by `settle`.
    records: Vec<Record>,
    afters: Vec<After>,
    effects: Vec<Output>,
    inbox: VecDeque<(CallId, Input)>,
    out: VecDeque<Output>,
    /// Writes that were refused and are offered again at the end of this mutation.
    again: Vec<StoreId>,
    /// Where states are written before they are compared with what was logged.
    scratch: Parts,
}

/// Counters for metrics; they only grow, but for the gauges named so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub calls_incoming: u64,
    pub calls_refused: u64,
    /// Of the refused: to no number or domain of anybody's.
    pub calls_unknown: u64,
    pub calls_originated: u64,
    pub calls_ended: u64,
    pub fetches: u64,
    /// Documents that came unread, and were read by the director itself.
    pub documents_read: u64,
    pub fetches_failed: u64,
    /// To be told: delivered, given up, or waiting.
    pub callbacks_made: u64,
    pub callbacks_delivered: u64,
    pub callbacks_retried: u64,
    pub callbacks_dead: u64,
    /// Dead letters delivered after all.
    pub callbacks_replayed: u64,
    pub alerts_dropped: u64,
    /// Relays that an application took over.
    pub relays_taken: u64,
    /// SIP messages that were to be told and for which there was no room.
    pub messages_left_out: u64,
    /// Gauge: calls whose leg stands or is being made.
    pub calls_live: usize,
    /// Gauge: calls that are over and wait for their callbacks or for the legs they dialled.
    pub calls_ending: usize,
    /// Gauge.
    pub callbacks_waiting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Wakes a script.
    Script(CallId),
    /// A callback of the call may be tried (again).
    Callbacks(CallId),
    /// A host's or a path's breaker may let one through.
    Endpoint(u64),
    /// No answer from the HTTP client at all.
    Http(HttpId),
    /// A document that was over its family's budget is taken.
    Document(HttpId),
    Resolve(u64),
    Store(StoreId),
    ApiWait(ApiId, CallId),
    /// A callback of the call was delivered a while ago.
    Delivered(CallId),
    /// A leg nobody heard of again.
    Orphan(CallId),
    /// Nothing from before our time is told any more.
    ReplayOver,
    /// A leg that was asked for before a death, and nobody spoke of since.
    Unspoken(CallId),
    /// An account's alerts were over their rate.
    AlertsDropped(AccountSid),
    /// Who subscribed to a call that is over hears no more.
    Unsubscribe(CallId),
}

/// Rings tell a successor what they had told before, and what happened meanwhile.
#[derive(Clone, Debug)]
struct Replay {
    /// When we began.
    since: Now,
    /// When the last event from before that was told.
    told: Mono,
    /// Calls whose legs stood then.
    standing: std::collections::BTreeSet<CallId>,
    /// Calls that were over by then and had not been anybody's yet: whose they are.
    bygone: BTreeMap<CallId, AccountSid>,
}

/// How long the HTTP client may stay silent beyond a request's own limit.
const HTTP_GRACE_MS: u32 = 5_000;
const STORE_RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a successor waits for the rings to tell of a leg that was asked for, before it asks
/// once more.
const UNSPOKEN_AFTER: std::time::Duration = std::time::Duration::from_millis(250);
/// How much longer than it may ring a leg waits to be asked for; then nobody wants it any more.
const ASK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// How long dropped alerts are counted before the account is told.
const TELL_OF_DROPPED: std::time::Duration = std::time::Duration::from_secs(10);
const ORPHAN_AFTER: std::time::Duration = std::time::Duration::from_secs(60);
/// How long a delivered callback waits for a step of its call to be written with.
const WRITE_DELIVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// As [`ORPHAN_AFTER`], where the memory that the legs stood in is gone.
const LOST_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

impl Director {
    /// An empty one. `seed`: from the system's randomness; the simulation gives its own.
    #[must_use]
    pub fn new(settings: Settings, seed: [u64; 4]) -> Self {
        Self {
            settings,
            rng: Rng::new(seed),
            directory: Directory::default(),
            calls: Calls::default(),
            admission: Admission::default(),
            timers: BTreeMap::new(),
            fetches: Fetches::default(),
            resolves: BTreeMap::new(),
            referrers: BTreeMap::new(),
            callbacks: Callbacks::default(),
            shares: Shares::default(),
            budgets: Budgets::default(),
            cookies: Cookies::default(),
            replays: Replays::default(),
            durability: Durability::default(),
            strangers: Strangers::default(),
            said: declined::Said::default(),
            backoff: Backoff::default(),
            registrar: Registrar::default(),
            replay: None,
            lost: None,
            last_id: 0,
            next_shard: 0,
            died: Wall(0),
            stats: Stats::default(),
            records: Vec::new(),
            afters: Vec::new(),
            effects: Vec::new(),
            inbox: VecDeque::new(),
            out: VecDeque::new(),
            again: Vec::new(),
            scratch: Parts::default(),
        }
    }

    /// What is to be done next; None when nothing is left until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When `handle_tick` is wanted at the latest; [`Mono::NEVER`] for not at all.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let timer = self.timers.first_key_value().map_or(Mono::NEVER, |((at, _), _)| *at);
        timer.min(self.registrar.deadline())
    }

    /// What is configured, as it decides by.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            calls_live: self.admission.legs(),
            calls_ending: self.calls.len().saturating_sub(self.admission.legs()),
            callbacks_waiting: self.callbacks.waiting(),
            ..self.stats
        }
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Now) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now.mono {
                break;
            }
            let timer = entry.remove();
            self.on_timer(now, timer);
            self.run_inbox(now);
        }
        let gone = self.registrar.tick(now);
        let gone = self.charged(gone);
        self.records.extend(gone);
        self.settle(now);
    }

    /// An application answered, or did not. What whoever received the answer did not read is read
    /// here.
    pub fn handle_http(&mut self, now: Now, answer: impl Into<Answer>) {
        self.on_http(now, answer.into());
        self.settle(now);
    }

    /// Addresses of a host.
    pub fn handle_resolved(&mut self, now: Now, resolved: Resolved) {
        self.on_resolved(now, resolved.id, resolved.targets);
        self.settle(now);
    }

    /// A write is durable, or was refused. Refused ones are offered again every second; until one
    /// is taken, new calls are refused (DESIGN.md section 7, money path).
    pub fn handle_stored(&mut self, now: Now, id: StoreId, result: Stored) {
        match result {
            Ok(()) => {
                for after in self.durability.taken(id) {
                    self.out.push_back(match after {
                        After::Release { shard, epoch, leg } => {
                            Output::Command { shard, command: OwnedCommand::Release { epoch, leg } }
                        }
                        After::Reply { id, result } => Output::ApiReply { id, result },
                        After::Command { shard, command } => Output::Command { shard, command },
                    });
                }
            }
            Err(error) => {
                if self.durability.refused(id) {
                    self.notice(None, None, true, format!("the store refused a write: {error}"));
                    self.after(now, STORE_RETRY, Timer::Store(id));
                }
            }
        }
        self.settle(now);
    }

    fn on_timer(&mut self, now: Now, timer: Timer) {
        match timer {
            Timer::Script(call) => {
                if let Some(mut live) = self.calls.get_mut(&call)
                    && live.volatile.wake.is_some_and(|at| at <= now.mono)
                {
                    live.volatile.wake = None;
                    self.inbox.push_back((call, Input::Timer));
                }
            }
            Timer::Callbacks(call) => self.callbacks_due(now, call),
            Timer::Endpoint(endpoint) => self.wake_endpoint(now, endpoint),
            Timer::Http(id) => self.http_is_silent(now, id),
            Timer::Document(id) => self.document_due(now, id),
            Timer::Resolve(id) => self.on_resolved(now, id, Vec::new()),
            Timer::Store(id) => self.again.push(id),
            Timer::ApiWait(id, call) => self.api_wait_over(id, call),
            Timer::Orphan(call) => self.orphan(now, call),
            // Nothing is written where a step has been since.
            Timer::Delivered(call) => self.calls.touch(call),
            Timer::ReplayOver => self.replay = None,
            Timer::Unspoken(call) => self.ask_again(now, call),
            Timer::AlertsDropped(account) => self.tell_of_dropped(now, account),
            Timer::Unsubscribe(call) => self.unsubscribe(call),
        }
    }

    /// What was written together, then what depends on it.
    fn settle(&mut self, now: Now) {
        self.run_inbox(now);
        for call in self.calls.take_touched() {
            self.log_call(call);
        }
        let records = std::mem::take(&mut self.records);
        let afters = std::mem::take(&mut self.afters);
        if !records.is_empty() || !afters.is_empty() {
            let last = &mut self.last_id;
            let fresh_id = || {
                *last += 1;
                *last
            };
            let writes = self.durability.write(records, afters, fresh_id);
            self.out.extend(writes.into_iter().map(Output::Store));
        }
        for id in std::mem::take(&mut self.again) {
            self.offer_again(id);
        }
        self.out.extend(self.effects.drain(..));
    }

    /// Writes a call's state, or that it has none any more.
    fn log_call(&mut self, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        live.volatile.dirty = false;
        if std::mem::take(&mut live.volatile.row_changed) {
            self.records.push(Record::Call(Box::new(live.row.clone())));
        }
        let done = live.is_over() && live.callbacks.is_empty() && !live.outlives_its_leg();
        if done {
            self.records.push(Record::Script(ScriptLog { call, state: None }));
            self.calls.remove(&call);
            return;
        }
        let live = live.into_live();
        let mut logged = std::mem::take(&mut live.volatile.logged);
        self.records.extend(match logged.next(live, &mut self.scratch) {
            Some(Entry::Whole(state)) => {
                Some(Record::Script(ScriptLog { call, state: Some(state) }))
            }
            Some(Entry::Change(change)) => {
                Some(Record::ScriptChange(ScriptChange { call, change }))
            }
            None => None,
        });
        live.volatile.logged = logged;
    }

    /// A write that was refused, to be offered again.
    fn offer_again(&mut self, id: StoreId) {
        let Some(records) = self.durability.records(id) else {
            return;
        };
        let records = records.to_vec();
        // What was written since must not be undone: of a live call everything is written again,
        // and what is logged of it later stands behind that.
        let records = records.into_iter().map(|record| self.renewed(record)).collect();
        self.out.push_back(Output::Store(StoreWrite { id: Some(id), records }));
    }

    fn renewed(&mut self, record: Record) -> Record {
        match record {
            Record::Script(ScriptLog { call, .. })
            | Record::ScriptChange(ScriptChange { call, .. }) => {
                let state = self.calls.get_mut(&call).and_then(|live| {
                    let live = live.into_live();
                    let mut logged = std::mem::take(&mut live.volatile.logged);
                    logged.begin_again();
                    let entry = logged.next(live, &mut self.scratch);
                    live.volatile.logged = logged;
                    match entry? {
                        Entry::Whole(state) | Entry::Change(state) => Some(state),
                    }
                });
                Record::Script(ScriptLog { call, state })
            }
            Record::Call(row) if row.status.is_final() => Record::Call(row),
            Record::Call(row) => match self.calls.get(&row.sid) {
                Some(live) => Record::Call(Box::new(live.row.clone())),
                None => Record::CallIfAbsent(row),
            },
            other => other,
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn at(&mut self, at: Mono, timer: Timer) -> (Mono, u64) {
        let key = (at, self.fresh_id());
        self.timers.insert(key, timer);
        key
    }

    fn after(&mut self, now: Now, span: std::time::Duration, timer: Timer) -> (Mono, u64) {
        self.at(now.mono + span, timer)
    }

    /// The moment of the monotonic clock at which the wall clock will show `at`.
    fn mono_of(now: Now, at: Wall) -> Mono {
        now.mono + std::time::Duration::from_micros(at.micros_since(now.wall))
    }

    fn command(&mut self, shard: ShardId, command: OwnedCommand) {
        let asked = match &command {
            OwnedCommand::Accept { call, .. }
            | OwnedCommand::Answer { call, .. }
            | OwnedCommand::Reject { call, .. }
            | OwnedCommand::PassOn { call, .. }
            | OwnedCommand::Cancel { call, .. }
            | OwnedCommand::Hangup { call, .. } => Some(*call),
            OwnedCommand::Originate(originate) => Some(originate.call),
            _ => None,
        };
        if let Some(mut live) = asked.and_then(|call| self.calls.get_mut(&call)) {
            live.volatile.asked = true;
        }
        self.effects.push(Output::Command { shard, command });
    }

    /// A leg is over of which it was not known that it was ever made: it is not asked for again.
    fn withdraw_originate(&mut self, call: CallId) {
        let is = |output: &Output| {
            let Output::Command { command: OwnedCommand::Originate(wish), .. } = output else {
                return false;
            };
            wish.call == call
        };
        self.effects.retain(|output| !is(output));
        self.out.retain(|output| !is(output));
    }

    fn notice(
        &mut self,
        account: Option<AccountSid>,
        call: Option<CallId>,
        error: bool,
        message: String,
    ) {
        self.effects.push(Output::Notice(Notice { account, call, error, message }));
    }

    fn reply(&mut self, id: ApiId, result: ApiResult) {
        self.effects.push(Output::ApiReply { id, result });
    }

    fn refuse(&mut self, id: ApiId, status: u16, code: u32, message: impl Into<String>) {
        self.reply(id, Err(ApiError { status, code, message: message.into() }));
    }

    fn reply_when_stored(&mut self, id: ApiId, done: ApiDone) {
        self.afters.push(After::Reply { id, result: Ok(done) });
    }

    /// Tells the tenant, within its rate.
    fn alert(&mut self, now: Now, account: AccountSid, trouble: Trouble<'_>) {
        let sid = AlertSid(self.rng.wide());
        self.alert_as(now, sid, account, trouble);
    }

    /// As [`Self::alert`], for what may be found out more than once: the store keeps the first of
    /// one name.
    fn alert_as(&mut self, now: Now, sid: AlertSid, account: AccountSid, trouble: Trouble<'_>) {
        let rate = self.settings.limits.alerts_per_second;
        match self.admission.may_tell(now.mono, account, rate, trouble.warning) {
            Tell::Now => self.write_alert(now, sid, account, trouble),
            Tell::Later { first } => {
                self.stats.alerts_dropped += 1;
                if first {
                    self.after(now, TELL_OF_DROPPED, Timer::AlertsDropped(account));
                }
            }
        }
    }

    /// An alert that was left out is told of all the same: how many there were.
    fn tell_of_dropped(&mut self, now: Now, account: AccountSid) {
        let count = self.admission.dropped(account);
        let rate = self.settings.limits.alerts_per_second;
        let trouble = Trouble {
            warning: true,
            code: 20_429,
            reason: "alerts-dropped",
            message: format!(
                "{count} notifications were left out: an account is told of {rate} errors and as \
                 many warnings a second"
            ),
            ..Trouble::default()
        };
        let sid = AlertSid(self.rng.wide());
        self.write_alert(now, sid, account, trouble);
    }

    fn write_alert(&mut self, now: Now, sid: AlertSid, account: AccountSid, trouble: Trouble<'_>) {
        self.records.push(Record::Alert(Box::new(Alert {
            sid,
            account,
            call: trouble.call,
            at: now.wall,
            level: if trouble.warning { AlertLevel::Warning } else { AlertLevel::Error },
            code: trouble.code,
            reason: trouble.reason.to_owned(),
            message: trouble.message,
            url: trouble.url,
            method: trouble.method,
        })));
    }
}

/// What an alert says.
#[derive(Debug, Default)]
struct Trouble<'a> {
    call: Option<CallId>,
    warning: bool,
    code: u32,
    reason: &'a str,
    message: String,
    url: Option<String>,
    method: Option<Method>,
}
