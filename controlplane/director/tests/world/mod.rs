//! A world around one director, in virtual time: shards that make legs of what they are told,
//! applications that answer what a test says, a store that keeps what is written, and crashes.
//!
//! Called parties are chosen by the user of the URI: `ok*` rings 1 s and answers, `busy*` refuses
//! with 486, `ring*` rings until its time is over, `drop*` answers and hangs up after 3 s, `mute*`
//! answers with a codec that its caller does not have, `dead*` never says anything, `code404*`
//! refuses with that.
#![allow(dead_code, reason = "each test file uses its own part of the world")]

mod book;
mod caller;
mod end;
mod said;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use base::{CallId, LegId, Mono, Now, Wall};
use director::{Asked, Director, Settings};
use model::cookie::Cookie;
use model::port::{
    ApiId, ApiResult, HttpAnswer, HttpError, HttpId, HttpKind, HttpReply, HttpRequest, Output,
    OwnedCommand, Resolved, Standing, StoreId,
};
use model::{AccountSid, Book, Secret};
use wire::Event;
use wire::event::{Cause, Direction, Incoming, MediaSummary, Party};

pub(crate) use caller::Caller;
use end::{cause_of, summary};
pub(crate) use said::Said;
pub(crate) use store::Store;
use store::bytes;

pub(crate) const ACCOUNT: AccountSid = AccountSid(0xac);
pub(crate) const ACCOUNT_NUMBER: u64 = 7;
const START_US: u64 = 1_800_000_000_000_000;
const START_MONO: Mono = Mono(1_000_000_000);

/// What an application makes of a request: milliseconds until the answer, and the answer.
pub(crate) type Answer = (u64, Result<HttpAnswer, HttpError>);
pub(crate) type Application = Box<dyn FnMut(&HttpRequest) -> Answer>;

pub(crate) struct World {
    pub(crate) director: Director,
    pub(crate) settings: Settings,
    book: Book,
    pub(crate) now: Now,
    pub(crate) legs: BTreeMap<CallId, Leg>,
    next_leg: u32,
    /// What happens when, in order; equal moments in order of their making.
    agenda: BTreeMap<(u64, u64), Happening>,
    last: u64,
    application: Application,
    pub(crate) requests: Vec<(Mono, HttpRequest)>,
    pub(crate) commands: Vec<OwnedCommand>,
    pub(crate) replies: Vec<(ApiId, ApiResult)>,
    pub(crate) released: BTreeSet<LegId>,
    /// What the operator reads.
    pub(crate) notices: Vec<String>,
    pub(crate) store: Store,
    /// Addresses that names resolve to.
    pub(crate) names: BTreeMap<String, Vec<SocketAddr>>,
    /// By whose share.
    pub(crate) lookups: Vec<Option<AccountSid>>,
    /// Outputs handled so far, and at which one the process dies.
    pub(crate) outputs: usize,
    pub(crate) crash_at: Option<usize>,
    pub(crate) crash_every: Option<usize>,
    unreleased: VecDeque<(u8, OwnedEvent)>,
    /// Whoever calls in.
    pub(crate) caller: Caller,
    pub(crate) store_fails: bool,
    /// Shards take commands and do nothing.
    pub(crate) deaf: bool,
    /// Whoever receives a document reads it, as the daemon does; else the director does.
    pub(crate) reads: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) call: CallId,
    pub(crate) parent: CallId,
    pub(crate) peer: Option<CallId>,
    pub(crate) bridge: bool,
    pub(crate) account: u64,
    pub(crate) direction: Direction,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) headers: String,
    pub(crate) created: Wall,
    pub(crate) answered: Wall,
    pub(crate) joined: Wall,
    pub(crate) ended: bool,
    pub(crate) end: Option<(Wall, Party, Cause, u16)>,
    pub(crate) limit_ms: u32,
    pub(crate) limit_at: Mono,
    pub(crate) media: Option<MediaSummary>,
    /// The other leg of a relay, and whether an application has it from there.
    pub(crate) relay: Option<CallId>,
    pub(crate) is_held: bool,
    /// How long its far end was to speak; None for all the time since the answer.
    pub(crate) due_ms: Option<u32>,
}

impl Leg {
    pub(crate) fn was_turned_away(&self) -> bool {
        let by_us = matches!(self.end, Some((_, Party::Application, ..)));
        by_us && self.direction == Direction::Inbound && self.account == 0
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Event(u8, OwnedEvent),
    Reply(HttpReply),
    Stored(StoreId),
    Resolved(Resolved),
    /// The called party answers.
    PickUp(CallId),
    /// A leg has lasted so long as it may, unless it was told otherwise since.
    Limit(CallId),
    /// The leg ends, if it still stands.
    End {
        call: CallId,
        by: Party,
        cause: Cause,
        code: u16,
        unanswered_only: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum OwnedEvent {
    Incoming { call: CallId, leg: LegId, at: Wall, uri: String, source: SocketAddr },
    Dialed { call: CallId, leg: LegId, at: Wall },
    Progress { call: CallId, leg: LegId, at: Wall },
    Answered { call: CallId, leg: LegId, at: Wall },
    Joined { call: CallId, peer: CallId, at: Wall },
    Ended { leg: Box<Leg>, at: Wall, by: Party, cause: Cause, code: u16 },
    Message(Box<Said>),
}

pub(crate) fn xml(body: &str) -> Answer {
    let content_type = "text/xml; charset=utf-8".to_owned();
    (
        20,
        Ok(HttpAnswer {
            status: 200,
            content_type,
            body: body.as_bytes().to_vec(),
            ..HttpAnswer::default()
        }),
    )
}

/// Set by `http://app.test`, for four hours.
pub(crate) fn cookie(name: &str, value: &str) -> Cookie {
    Cookie {
        name: name.to_owned(),
        value: Secret(value.to_owned()),
        domain: "app.test".to_owned(),
        host_only: true,
        path: "/".to_owned(),
        secure: false,
        expires: Wall(START_US + 4 * 3_600_000_000),
        made: Wall(START_US),
    }
}

pub(crate) fn status(status: u16) -> Answer {
    (20, Ok(HttpAnswer { status, ..HttpAnswer::default() }))
}

pub(crate) fn param<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

impl World {
    /// One account, the domain `demo.test` and the number +15550100, both asking
    /// `http://app.test/voice`, told at `http://app.test/status`; loopback is welcome; everything
    /// that starts with `+1` goes to 192.0.2.9.
    pub(crate) fn new(application: impl FnMut(&HttpRequest) -> Answer + 'static) -> Self {
        let book = book::book();
        let settings = Settings {
            shards: 3,
            target_allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        };
        let now = Now { mono: START_MONO, wall: Wall(START_US) };
        let director = Director::restore(settings.clone(), [1, 2, 3, 4], now, book.clone());
        Self {
            director,
            settings,
            book,
            now,
            legs: BTreeMap::new(),
            next_leg: 0,
            agenda: BTreeMap::new(),
            last: 1_000,
            application: Box::new(application),
            requests: Vec::new(),
            commands: Vec::new(),
            replies: Vec::new(),
            released: BTreeSet::new(),
            notices: Vec::new(),
            store: Store::default(),
            names: BTreeMap::new(),
            lookups: Vec::new(),
            outputs: 0,
            crash_at: None,
            crash_every: None,
            unreleased: VecDeque::new(),
            caller: Caller::default(),
            store_fails: false,
            deaf: false,
            reads: false,
        }
    }

    /// With another configuration.
    pub(crate) fn with_book(mut self, change: impl FnOnce(&mut Book)) -> Self {
        change(&mut self.book);
        self.director =
            Director::restore(self.settings.clone(), [1, 2, 3, 4], self.now, self.book.clone());
        self
    }

    pub(crate) fn with_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.with_book(|_| {})
    }

    /// An INVITE comes in now, from 127.0.0.1.
    pub(crate) fn call_in(&mut self, uri: &str) -> CallId {
        self.call_in_from(uri, "127.0.0.1:5070")
    }

    pub(crate) fn call_in_from(&mut self, uri: &str, source: &str) -> CallId {
        self.next_leg += 1;
        let call = CallId(0xca11 << 64 | u128::from(self.next_leg));
        let leg = self.new_leg(call, CallId::NONE, Direction::Inbound);
        let (id, at) = (leg.id, self.now.wall);
        self.legs.insert(call, Leg { to: uri.to_owned(), ..leg });
        let source = source.parse().unwrap();
        let uri = uri.to_owned();
        self.event(0, OwnedEvent::Incoming { call, leg: id, at, uri, source });
        call
    }

    /// The dataplane refuses an INVITE by itself.
    pub(crate) fn refused(&mut self, uri: &str, code: u16, cause: Cause, why: &str) {
        let source = "127.0.0.1:5070".parse().unwrap();
        let event = Event::Refused { at: self.now.wall, source, code, cause, uri, why };
        self.director.handle_event(self.now, 0, &event);
        self.drain();
    }

    /// The far end of `call` refers that of `other` to `to`.
    pub(crate) fn refer(&mut self, call: CallId, other: CallId, to: &str) {
        self.refer_at(self.now.wall, call, other, to);
    }

    /// The same, told at this moment.
    pub(crate) fn refer_at(&mut self, at: Wall, call: CallId, other: CallId, to: &str) {
        let (shard, peer) = (self.legs[&call].id.shard(), self.legs[&other].id);
        let headers = "X-Why: busy\r\n";
        let event = Event::Refer { call, peer, at, to, by: "sip:r@test", headers };
        self.director.handle_event(self.now, shard, &event);
        self.drain();
    }

    /// A leg ends by itself in `after` milliseconds.
    pub(crate) fn fails_in(&mut self, call: CallId, after: u64, by: Party, cause: Cause) {
        self.plan(after, Happening::End { call, by, cause, code: 200, unanswered_only: false });
    }

    /// The far end of a leg hangs up in `after` milliseconds.
    pub(crate) fn bye_in(&mut self, call: CallId, after: u64) {
        let by = Party::Remote;
        let end =
            Happening::End { call, by, cause: Cause::Normal, code: 200, unanswered_only: false };
        self.plan(after, end);
    }

    /// A leg ends before anybody was told of it.
    pub(crate) fn end_unheard(&mut self, call: CallId) {
        self.end(call, Party::Remote, Cause::Canceled, 487);
    }

    /// The caller gives up in `after` milliseconds, if nobody answered.
    pub(crate) fn cancel_in(&mut self, call: CallId, after: u64) {
        let by = Party::Remote;
        let cause = Cause::Canceled;
        self.plan(after, Happening::End { call, by, cause, code: 487, unanswered_only: true });
    }

    pub(crate) fn api(&mut self, what: model::port::ApiRequest) -> ApiId {
        self.last += 1;
        let id = ApiId(self.last);
        let call = model::port::ApiCall { id, account: ACCOUNT, what };
        let asked = Asked::from(call);
        let asked = if self.reads { asked.read(65_536) } else { asked };
        self.director.handle_api(self.now, asked);
        self.drain();
        id
    }

    pub(crate) fn reply(&self, id: ApiId) -> Option<&ApiResult> {
        self.replies.iter().find(|(reply, _)| *reply == id).map(|(_, result)| result)
    }

    /// Somebody sets the wall clock by so many seconds.
    pub(crate) fn set_clock(&mut self, by: i64) {
        self.now.wall.0 = self.now.wall.0.saturating_add_signed(by * 1_000_000);
    }

    /// What a leg's clock shows that was made before anybody set ours.
    fn wall_of_legs(&self) -> Wall {
        Wall(START_US + (self.now.mono.0 - START_MONO.0) / 1_000)
    }

    /// Lets `millis` pass.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now.mono + Duration::from_millis(millis);
        loop {
            self.drain();
            let next = self.agenda.first_key_value().map_or(Mono::NEVER, |((at, _), _)| Mono(*at));
            let at = next.min(self.director.deadline());
            if at > end {
                let rest = end.since(self.now.mono);
                self.now = self.now.later(rest);
                return;
            }
            self.now = self.now.later(at.since(self.now.mono));
            if next <= at {
                let (_, happening) = self.agenda.pop_first().unwrap();
                self.happen(happening);
            } else {
                self.director.handle_tick(self.now);
            }
        }
    }

    pub(crate) fn status_of(&self, call: CallId) -> &'static str {
        self.store.calls.get(&call).map_or("-", |row| row.status.name())
    }

    pub(crate) fn children_of(&self, call: CallId) -> Vec<CallId> {
        self.legs.values().filter(|leg| leg.parent == call).map(|leg| leg.call).collect()
    }

    /// Requests to a path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<&HttpRequest> {
        self.requests.iter().map(|(_, it)| it).filter(|it| it.url.contains(path)).collect()
    }

    /// Every leg has one CDR and was released, but for those that were turned away before they were
    /// anybody's, which have none; nothing is left of any call.
    pub(crate) fn assert_clean(&self) {
        let booked = self.legs.values().filter(|leg| !leg.was_turned_away()).count();
        assert_eq!(self.store.cdrs.len(), booked, "one CDR per leg");
        for leg in self.legs.values() {
            assert!(leg.ended, "{:?} stands", leg.call);
            assert!(self.released.contains(&leg.id), "{:?} is not released", leg.call);
        }
        let left: Vec<_> = self.store.scripts.values().filter(|log| log.state.is_some()).collect();
        assert!(left.is_empty(), "state of {} calls is left", left.len());
        assert_eq!(self.calls_known(), 0);
    }

    /// Calls that the director has not forgotten yet.
    pub(crate) fn calls_known(&self) -> usize {
        let stats = self.director.stats();
        stats.calls_live + stats.calls_ending
    }

    fn plan(&mut self, after: u64, happening: Happening) {
        self.last += 1;
        let at = self.now.mono + Duration::from_millis(after);
        self.agenda.insert((at.0, self.last), happening);
    }

    fn event(&mut self, after: u64, event: OwnedEvent) {
        self.plan(after, Happening::Event(0, event));
    }

    fn new_leg(&mut self, call: CallId, parent: CallId, direction: Direction) -> Leg {
        self.next_leg += 1;
        Leg {
            id: LegId::new(0, 1, self.next_leg),
            call,
            parent,
            peer: None,
            bridge: false,
            account: 0,
            direction,
            from: "sip:alice@caller.test".to_owned(),
            to: String::new(),
            headers: String::new(),
            created: self.now.wall,
            answered: Wall(0),
            joined: Wall(0),
            ended: false,
            end: None,
            limit_ms: 0,
            limit_at: Mono::NEVER,
            media: None,
            relay: None,
            is_held: false,
            due_ms: None,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Event(shard, event) => {
                self.unreleased.push_back((shard, event.clone()));
                self.tell(shard, &event);
            }
            Happening::Reply(reply) if self.reads => {
                self.director.handle_http(self.now, director::Answer::read(reply, 65_536));
            }
            Happening::Reply(reply) => self.director.handle_http(self.now, reply),
            Happening::Stored(id) => {
                let result = if self.store_fails { Err("disk".to_owned()) } else { Ok(()) };
                self.director.handle_stored(self.now, id, result);
            }
            Happening::Resolved(resolved) => self.director.handle_resolved(self.now, resolved),
            Happening::PickUp(call) => self.pick_up(call),
            Happening::Limit(call) if self.legs[&call].limit_at > self.now.mono => {}
            Happening::Limit(call) => self.end(call, Party::Switch, Cause::TimeLimit, 0),
            Happening::End { call, by, cause, code, unanswered_only } => {
                let answered = self.legs.get(&call).is_some_and(|leg| leg.answered.0 > 0);
                if !(unanswered_only && answered) {
                    self.end(call, by, cause, code);
                }
            }
        }
        self.drain();
        // What was told before is durable with what came of it; a few stay, to be told again.
        while self.unreleased.len() > 3 {
            self.unreleased.pop_front();
        }
    }

    fn tell(&mut self, shard: u8, event: &OwnedEvent) {
        let now = self.now;
        let caller = self.caller;
        let director = &mut self.director;
        match *event {
            OwnedEvent::Incoming { call, leg, at, ref uri, source } => {
                let incoming = Incoming {
                    call,
                    leg,
                    at,
                    listener: 0,
                    source,
                    uri,
                    from: caller.from,
                    from_name: caller.from_name,
                    to: uri,
                    call_id: "sip-call-id",
                    diversion: caller.diversion,
                    headers: caller.headers,
                    user: caller.user,
                    replaces: caller.replaces,
                    forwards: caller.forwards.0,
                    forward_count: caller.forwards.1,
                };
                director.handle_event(now, shard, &Event::Incoming(incoming));
            }
            OwnedEvent::Dialed { call, leg, at } => {
                director.handle_event(now, shard, &Event::Dialed { call, leg, at });
            }
            OwnedEvent::Progress { call, leg, at } => {
                let event = Event::Progress { call, leg, at, code: 180, media: false };
                director.handle_event(now, shard, &event);
            }
            OwnedEvent::Answered { call, leg, at } => {
                director.handle_event(now, shard, &Event::Answered { call, leg, at });
            }
            OwnedEvent::Joined { call, peer, at } => {
                director.handle_event(now, shard, &Event::Joined { call, peer, at });
            }
            OwnedEvent::Ended { ref leg, at, by, cause, code } => {
                let summary = summary(leg, at, by, cause, code);
                director.handle_event(now, shard, &Event::Ended(summary));
            }
            OwnedEvent::Message(ref said) => {
                director.handle_event(now, shard, &Event::Message(said.event()));
            }
        }
    }

    /// Does what the director wants, until it wants nothing or dies.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.director.poll_output() {
            self.outputs += 1;
            self.do_output(output);
            let again = self.crash_every.is_some_and(|every| self.outputs.is_multiple_of(every));
            if self.crash_at == Some(self.outputs) || again {
                self.crash_at = None;
                self.crash();
            }
        }
    }

    fn do_output(&mut self, output: Output) {
        match output {
            Output::Command { command, .. } => {
                self.commands.push(command.clone());
                if !self.deaf {
                    self.obey(command);
                }
            }
            Output::Http(request) => {
                let (after, result) = (self.application)(&request);
                let reply = HttpReply { id: request.id, result };
                self.requests.push((self.now.mono, request));
                if after < 60_000 {
                    self.plan(after, Happening::Reply(reply));
                }
            }
            Output::Resolve(resolve) => {
                self.lookups.push(resolve.family);
                let found = self.names.get(&resolve.host).cloned().unwrap_or_default();
                // What the records of a host say whose URI says nothing.
                let said = [base::Transport::Udp, base::Transport::Tcp];
                let said = said[usize::from(resolve.host.starts_with("tcp."))];
                let transport = resolve.transport.unwrap_or(said);
                let targets = found.into_iter().map(|it| base::Target::by(transport, it));
                let targets = targets.collect();
                self.plan(5, Happening::Resolved(Resolved { id: resolve.id, targets }));
            }
            Output::Store(write) => {
                self.store.writes += 1;
                let bytes: usize = write.records.iter().map(bytes).sum();
                self.store.largest = self.store.largest.max(bytes);
                if !(self.store_fails && write.id.is_some()) {
                    for record in write.records {
                        self.store.keep(record);
                    }
                }
                if let Some(id) = write.id {
                    self.plan(2, Happening::Stored(id));
                }
            }
            Output::ApiReply { id, result } => self.replies.push((id, result)),
            Output::Notice(notice) => self.notices.push(notice.message),
        }
    }

    /// The leg's end is told once more: it stood so much longer than was told first, as who took an
    /// open cell for its end finds out.
    pub(crate) fn ends_later(&mut self, call: CallId, micros: u64) {
        let leg = self.legs.get_mut(&call).unwrap();
        let (at, by, cause, code) = leg.end.unwrap();
        let at = Wall(at.0 + micros);
        leg.end = Some((at, by, cause, code));
        let leg = Box::new(leg.clone());
        self.tell(0, &OwnedEvent::Ended { leg, at, by, cause, code });
        self.drain();
    }

    /// `kill -9`, and a successor at once.
    pub(crate) fn crash(&mut self) {
        self.agenda.retain(|_, it| {
            !matches!(it, Happening::Reply(_) | Happening::Stored(_) | Happening::Resolved(_))
        });
        self.director = self.successor();
        // The ring's unreleased events come again, before anything new.
        let again: Vec<_> = self.unreleased.iter().cloned().collect();
        for (at, (shard, event)) in again.into_iter().enumerate() {
            self.agenda.insert((self.now.mono.0, at as u64), Happening::Event(shard, event));
        }
        self.unreleased.clear();
        // Cells that are closed and not released are read as if their end were told.
        let closed: Vec<_> = self
            .legs
            .values()
            .filter(|leg| leg.ended && !self.released.contains(&leg.id))
            .cloned()
            .collect();
        for leg in closed {
            if let Some((at, by, cause, code)) = leg.end {
                self.event(0, OwnedEvent::Ended { leg: Box::new(leg), at, by, cause, code });
            }
        }
    }

    /// One that comes when all died at once: no leg is anywhere, and this is when they were seen.
    pub(crate) fn heir(&mut self, seen: Wall) -> Director {
        self.legs.clear();
        let mut book = self.book.clone();
        book.scripts = self.store.scripts.values().cloned().collect();
        book.lost = Some(seen);
        Director::restore(self.settings.clone(), [7, 7, 7, 7], self.now, book)
    }

    /// One that goes on from what is written and stands.
    pub(crate) fn successor(&self) -> Director {
        let standing = self.legs.values().filter(|leg| !leg.ended).map(|leg| Standing {
            call: leg.call,
            leg: leg.id,
            epoch: 1,
            answered: leg.answered,
        });
        let mut book = self.book.clone();
        book.standing = standing.collect();
        book.scripts = self.store.scripts.values().cloned().collect();
        Director::restore(self.settings.clone(), [9, 9, 9, 9], self.now, book)
    }

    fn obey(&mut self, command: OwnedCommand) {
        match command {
            OwnedCommand::Accept { call, account, .. } => {
                self.legs.get_mut(&call).unwrap().account = account;
            }
            OwnedCommand::Answer { call, limit_ms } => self.answer(call, limit_ms),
            OwnedCommand::Reject { call, code, cause, .. }
            | OwnedCommand::PassOn { call, code, cause } => {
                if self.legs.get(&call).is_some_and(|leg| leg.answered.0 == 0) {
                    self.end(call, Party::Application, cause, code);
                }
            }
            OwnedCommand::Hangup { call, cause } => {
                self.end(call, Party::Application, cause, 0);
            }
            OwnedCommand::Cancel { call, cause } => {
                if self.legs.get(&call).is_some_and(|leg| leg.answered.0 == 0) {
                    self.end(call, Party::Application, cause, 0);
                }
            }
            OwnedCommand::Originate(originate) => self.originate(*originate),
            OwnedCommand::Release { leg, .. } => {
                self.released.insert(leg);
            }
            OwnedCommand::Part { call } => {
                self.legs.get_mut(&call).unwrap().peer = None;
            }
            OwnedCommand::Limit { call, remaining_ms } => self.limit(call, remaining_ms),
            OwnedCommand::Take { call } => self.take(call),
            OwnedCommand::GiveBack { call } => self.give_back(call),
            OwnedCommand::Join { .. }
            | OwnedCommand::Ringback { .. }
            | OwnedCommand::Referred { .. }
            | OwnedCommand::TakePlace { .. }
            | OwnedCommand::Refer { .. }
            | OwnedCommand::Verdict { .. } => {}
        }
    }

    fn originate(&mut self, order: model::port::OwnedOriginate) {
        // A call that exists is not made again.
        if self.legs.contains_key(&order.call) {
            return;
        }
        let call = order.call;
        let mut leg = self.new_leg(call, order.parent, Direction::Outbound);
        leg.account = order.account;
        leg.from = order.from;
        leg.to.clone_from(&order.uri);
        leg.headers = order.headers;
        leg.bridge = order.bridge;
        leg.limit_ms = order.limit_ms;
        leg.peer = self.legs.values().find(|it| it.id == order.peer).map(|it| it.call);
        let (id, at) = (leg.id, self.now.wall);
        let peer_gone = leg.peer.is_some_and(|peer| self.legs[&peer].ended);
        self.legs.insert(call, leg);
        self.event(0, OwnedEvent::Dialed { call, leg: id, at });
        if peer_gone {
            self.plan(
                0,
                Happening::End {
                    call,
                    by: Party::Peer,
                    cause: Cause::Canceled,
                    code: 0,
                    unanswered_only: false,
                },
            );
            return;
        }
        let user = order.uri.trim_start_matches("sip:");
        let refusal = match user.get(..4) {
            Some("busy") => Some((500, Party::Remote, Cause::Busy, 486)),
            Some("dead") => Some((4_000, Party::Switch, Cause::Unreachable, 0)),
            Some("code") => {
                let code = user[4..7].parse().unwrap();
                Some((500, Party::Remote, cause_of(code), code))
            }
            _ => None,
        };
        if let Some((after, by, cause, code)) = refusal {
            let end = Happening::End { call, by, cause, code, unanswered_only: true };
            return self.plan(after, end);
        }
        if user.starts_with("mute") {
            self.answer(call, 0);
            let (by, cause) = (Party::Peer, Cause::NoCodec);
            let end = Happening::End { call, by, cause, code: 200, unanswered_only: false };
            return self.plan(100, end);
        }
        self.event(100, OwnedEvent::Progress { call, leg: id, at });
        if !user.starts_with("ring") {
            self.plan(1_000, Happening::PickUp(call));
        }
        if user.starts_with("drop") {
            self.bye_in(call, 4_000);
        }
        let (by, cause) = (Party::Switch, Cause::NoAnswer);
        let end = Happening::End { call, by, cause, code: 487, unanswered_only: true };
        self.plan(u64::from(order.ring_ms), end);
    }

    fn pick_up(&mut self, call: CallId) {
        let Some(leg) = self.legs.get(&call).filter(|leg| !leg.ended) else {
            return;
        };
        let (peer, bridge) = (leg.peer, leg.bridge);
        self.answer(call, leg.limit_ms);
        if let Some(peer) = peer
            && bridge
            && !self.legs[&peer].ended
        {
            self.answer(peer, 0);
            let at = self.wall_of_legs();
            for side in [call, peer] {
                self.legs.get_mut(&side).unwrap().joined = at;
            }
            self.event(0, OwnedEvent::Joined { call, peer, at });
        }
    }

    fn answer(&mut self, call: CallId, limit_ms: u32) {
        let at = self.wall_of_legs();
        let Some(leg) = self.legs.get_mut(&call).filter(|leg| !leg.ended && leg.answered.0 == 0)
        else {
            return;
        };
        leg.answered = at;
        let id = leg.id;
        self.event(0, OwnedEvent::Answered { call, leg: id, at });
        self.limit(call, limit_ms);
    }

    /// From now on; 0 for none.
    fn limit(&mut self, call: CallId, limit_ms: u32) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let after = u64::from(limit_ms);
        leg.limit_at = match after {
            0 => Mono::NEVER,
            _ => self.now.mono + Duration::from_millis(after),
        };
        self.plan(after, Happening::Limit(call));
    }

    fn end(&mut self, call: CallId, by: Party, cause: Cause, code: u16) {
        let at = self.wall_of_legs();
        let Some(leg) = self.legs.get_mut(&call).filter(|leg| !leg.ended) else {
            return;
        };
        leg.ended = true;
        leg.end = Some((at, by, cause, code));
        let leg = Box::new(leg.clone());
        self.event(0, OwnedEvent::Ended { leg, at, by, cause, code });
        let dialled: Vec<_> =
            self.legs.values().filter(|leg| leg.peer == Some(call)).map(|leg| leg.call).collect();
        self.end_relay(call);
        for child in dialled {
            let answered = self.legs[&child].answered.0 > 0;
            let cause = if answered { Cause::Normal } else { Cause::Canceled };
            self.end(child, Party::Peer, cause, 0);
        }
    }
}

/// Requests that only tell.
pub(crate) fn is_callback(request: &HttpRequest) -> bool {
    request.kind == HttpKind::Callback
}

/// For tests that answer themselves.
pub(crate) fn http_reply(id: HttpId, result: Result<HttpAnswer, HttpError>) -> HttpReply {
    HttpReply { id, result }
}
