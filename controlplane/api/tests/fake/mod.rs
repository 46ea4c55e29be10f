//! A controlplane in memory behind the API: it keeps what is put, plays calls that are answered at
//! once and end when told to, and refuses what the director refuses. Its clock moves a second per
//! look.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use api::backend::{Answer, Backend, Health, Login, Read};
use base::{CallId, LegId, Wall};
use model::port::{
    ApiDone, ApiError, ApiRequest, ApiResult, CreateCall, Entity, EntityKey, Instructions,
    UpdateCall,
};
use model::query::{AlertQuery, CallQuery, EntityQuery, LetterQuery, Listed as _, UsageDay};
use model::{
    Account, AccountSid, Alert, AlertLevel, AlertSid, CallDirection, CallRow, CallStatus, Cause,
    Cdr, Currency, DeadLetter, Direction, EntityKind, KeySid, Nanos, Party, Secret, Service,
    TokenKey, UsageRow,
};

/// 2026-11-22T10:00:00Z
pub(crate) const START: Wall = Wall(1_795_341_600_000_000);
/// The day of [`START`].
pub(crate) const TODAY: Wall = Wall(1_795_305_600_000_000);

/// A main account, its sub-account, and a stranger.
pub(crate) const MAIN: AccountSid = AccountSid(0xa1);
pub(crate) const SUB: AccountSid = AccountSid(0xa2);
pub(crate) const STRANGER: AccountSid = AccountSid(0xb1);

#[derive(Debug, Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    /// Requests wait for it before they are done.
    gate: tokio::sync::RwLock<()>,
}

#[derive(Debug, Default)]
struct State {
    clock: u64,
    next: u128,
    entities: Vec<Entity>,
    calls: Vec<CallRow>,
    alerts: Vec<Alert>,
    letters: Vec<DeadLetter>,
    cdrs: Vec<Cdr>,
    days: Vec<(AccountSid, UsageDay)>,
    /// Nothing can be written.
    sick: bool,
}

/// The token of an account of the fake.
pub(crate) fn token(account: AccountSid) -> String {
    format!("token-of-{:x}", account.0)
}

impl Fake {
    /// The disk is full, or is not any more.
    pub(crate) fn set_sick(&self, sick: bool) {
        self.state().sick = sick;
    }

    /// The three accounts, one alert and some usage of the main account.
    pub(crate) fn new() -> Self {
        let mut state = State { next: 0x1000, ..State::default() };
        for (sid, parent) in [(MAIN, MAIN), (SUB, MAIN), (STRANGER, STRANGER)] {
            state.entities.push(Entity::Account(Account {
                sid,
                number: u64::try_from(sid.0).expect("small"),
                auth_token: Secret(token(sid)),
                friendly_name: format!("Account {:x}", sid.0),
                parent,
                date_created: START,
                date_updated: START,
                ..Account::default()
            }));
        }
        state.alerts.push(Alert {
            sid: AlertSid(7),
            account: MAIN,
            call: None,
            at: START,
            level: AlertLevel::Error,
            code: 11_200,
            reason: "http-status".to_owned(),
            message: "HTTP retrieval failure".to_owned(),
            url: Some("https://app.example/voice".to_owned()),
            method: None,
        });
        for (number, account) in (1..=6).zip([MAIN, STRANGER].into_iter().cycle()) {
            state.letters.push(DeadLetter {
                account,
                call: CallId(9),
                at: Wall(START.0 + number),
                idempotency_token: format!("{number:032x}"),
                url: format!("https://{}.example/cb", if number > 4 { "bad" } else { "good" }),
                method: model::Method::Post,
                params: vec![("CallStatus".to_owned(), "completed".to_owned())],
                attempts: 14,
                error: "connect".to_owned(),
            });
        }
        for (back, service, count) in [
            (40, Service::SipIngress, 3),
            (1, Service::SipIngress, 4),
            (1, Service::MediaRelay, 900),
            (0, Service::SipEgress, 5),
        ] {
            let day = Wall(TODAY.0 - back * 86_400_000_000);
            state.days.push((MAIN, usage_day(day, service, count)));
        }
        let long_ago = Wall(TODAY.0 - 400 * 86_400_000_000);
        let euros = usage_day(long_ago, Service::SipEgress, 2);
        state.days.push((STRANGER, UsageDay { currency: Currency(*b"EUR"), ..euros }));
        state.days.push((STRANGER, usage_day(TODAY, Service::SipEgress, 3)));
        let free = UsageDay { price: Nanos(0), ..usage_day(TODAY, Service::MediaRelay, 9) };
        state.days.push((STRANGER, free));
        Self { state: Mutex::new(state), gate: tokio::sync::RwLock::default() }
    }

    /// Nothing is done until what this gives is dropped.
    pub(crate) async fn shut_gate(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// More letters, that cannot be delivered.
    pub(crate) fn add_letters(&self, account: AccountSid, count: u64) {
        let mut state = self.state();
        let known = state.letters[0].clone();
        let more = (100..100 + count).map(|number| DeadLetter {
            account,
            at: Wall(START.0 + number),
            idempotency_token: format!("{number:032x}"),
            url: "http://bad.test/".to_owned(),
            ..known.clone()
        });
        state.letters.extend(more.collect::<Vec<_>>());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usage_day(day: Wall, service: Service, count: u64) -> UsageDay {
    UsageDay {
        day,
        service,
        count,
        micros: count * 1_500_000,
        seconds: count * 2,
        bytes: 0,
        price: Nanos(-10_000_000 * i64::try_from(count).expect("small")),
        currency: Currency::USD,
    }
}

fn refused<T>(status: u16, code: u32, message: &str) -> Result<T, ApiError> {
    Err(ApiError { status, code, message: message.to_owned() })
}

impl State {
    fn now(&mut self) -> Wall {
        self.clock += 1;
        Wall(START.0 + self.clock * 1_000_000)
    }

    fn submit(&mut self, account: AccountSid, what: ApiRequest) -> ApiResult {
        match what {
            ApiRequest::CreateCall(create) => self.create(account, *create),
            ApiRequest::UpdateCall { call, update } => self.update(call, &update),
            ApiRequest::Put { entity, create } => self.put(*entity, create),
            ApiRequest::Shut(account) => self.put(Entity::Account(*account), false),
            ApiRequest::Delete(key) => {
                let known = self.entities.len();
                self.entities.retain(|entity| entity.key() != key);
                if self.entities.len() == known {
                    return refused(404, 20_404, "missing");
                }
                Ok(ApiDone::Deleted)
            }
            ApiRequest::HideCall(sid) => {
                self.calls.retain(|row| row.sid != sid);
                Ok(ApiDone::Deleted)
            }
            ApiRequest::PromoteToken => self.promote(account),
            ApiRequest::Replay(letters) => {
                let order = |it: &DeadLetter| (it.at, it.idempotency_token.clone());
                assert!(letters.is_sorted_by_key(order), "whoever decides is to sort them");
                // What is told of a good host is delivered, what is told of a bad one is refused.
                let (good, bad): (Vec<_>, Vec<_>) =
                    letters.into_iter().partition(|it| it.url.contains("good"));
                let is_good = |it: &DeadLetter| {
                    good.iter().any(|good| good.idempotency_token == it.idempotency_token)
                };
                self.letters.retain(|it| !is_good(it));
                let refused = bad.into_iter().map(|it| (it.idempotency_token, "bad")).collect();
                Ok(ApiDone::Replay { waiting: good.len(), refused })
            }
            ApiRequest::Forget { token, .. } => {
                self.letters.retain(|it| it.idempotency_token != token);
                Ok(ApiDone::Deleted)
            }
            ApiRequest::Operate(what) => self.submit(account, *what),
        }
    }

    fn promote(&mut self, account: AccountSid) -> ApiResult {
        let key = EntityKey::from(TokenKey(account));
        let second = self.entities.iter().position(|entity| entity.key() == key);
        let Some(Entity::SecondToken(second)) = second.map(|at| self.entities.remove(at)) else {
            return refused(404, 20_404, "missing");
        };
        let is_it = |entity: &&mut Entity| entity.key() == EntityKey::Account(account);
        let Some(Entity::Account(known)) = self.entities.iter_mut().find(is_it) else {
            return refused(404, 20_404, "missing");
        };
        known.auth_token = second.token;
        Ok(ApiDone::Entity(Box::new(Entity::Account(known.clone()))))
    }

    fn create(&mut self, account: AccountSid, create: CreateCall) -> ApiResult {
        if let Instructions::Application(sid) = create.instructions
            && !self.entities.iter().any(|it| it.key() == EntityKey::Application(sid))
        {
            return refused(400, 21_218, "Invalid ApplicationSid");
        }
        let now = self.now();
        self.next += 1;
        let row = CallRow {
            sid: CallId(self.next),
            account,
            date_created: now,
            date_updated: now,
            to: create.to,
            from: create.from,
            status: CallStatus::InProgress,
            direction: CallDirection::OutboundApi,
            start_time: Some(now),
            answer_time: Some(now),
            ..CallRow::default()
        };
        self.calls.push(row.clone());
        Ok(ApiDone::Call(Box::new(CallRow { status: CallStatus::Queued, ..row })))
    }

    fn update(&mut self, call: CallId, update: &UpdateCall) -> ApiResult {
        let now = self.now();
        let Some(row) = self.calls.iter_mut().find(|row| row.sid == call) else {
            return refused(404, 20_404, "no such call");
        };
        if row.status.is_final() && (update.instructions.is_some() || update.cancel) {
            return refused(400, 21_220, "Call is not in-progress. Cannot redirect.");
        }
        if update.complete && !row.status.is_final() {
            row.status = CallStatus::Completed;
            row.end_time = Some(now);
            row.duration = Some(1);
            row.price = Some(Nanos(-8_500_000));
            self.cdrs.push(cdr(row, now));
        }
        row.date_updated = now;
        Ok(ApiDone::Call(Box::new(row.clone())))
    }

    fn put(&mut self, mut entity: Entity, create: bool) -> ApiResult {
        let clash = self.entities.iter().any(|have| {
            have.key() != entity.key()
                && match (have, &entity) {
                    (Entity::PhoneNumber(a), Entity::PhoneNumber(b)) => a.number == b.number,
                    (Entity::SipDomain(a), Entity::SipDomain(b)) => a.domain_name == b.domain_name,
                    _ => false,
                }
        });
        if clash {
            return refused(400, 21_422, "taken");
        }
        let at = self.entities.iter().position(|have| have.key() == entity.key());
        if let (Entity::Account(account), true) = (&mut entity, create) {
            account.number = u64::try_from(self.entities.len()).expect("small") + 1_000;
        }
        match (at, create) {
            (None, true) => self.entities.push(entity.clone()),
            (Some(at), false) => self.entities[at] = entity.clone(),
            _ => return refused(409, 20_409, "exists, or does not"),
        }
        Ok(ApiDone::Entity(Box::new(entity)))
    }
}

fn cdr(row: &CallRow, now: Wall) -> Cdr {
    Cdr {
        node: 1,
        epoch: 1,
        leg: LegId::new(0, 1, 0),
        call: row.sid,
        parent: None,
        account: Some(row.account),
        direction: Direction::Outbound,
        from: row.from.clone(),
        to: row.to.clone(),
        remote: "127.0.0.1:5060".parse().expect("an address"),
        sip_call_id: "call-id".to_owned(),
        created: row.date_created,
        answered: row.answer_time,
        ended: now,
        code: 200,
        cause: Cause::Normal,
        by: Party::Application,
        reason: Some("608 Rejected\nCall-Info: <https://c.example>;purpose=jwscard".to_owned()),
        media: None,
        price: row.price,
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(core::future::ready(value))
}

impl Backend for Fake {
    fn now(&self) -> Wall {
        self.state().now()
    }

    fn login<'a>(&'a self, username: &'a str) -> Answer<'a, Read<Option<Login>>> {
        let state = self.state();
        let account = |sid: AccountSid| {
            state.entities.iter().find_map(|entity| match entity {
                Entity::Account(account) if account.sid == sid => Some(account.clone()),
                _ => None,
            })
        };
        let login = if let Ok(sid) = username.parse::<AccountSid>() {
            let second = state.entities.iter().find_map(|entity| match entity {
                Entity::SecondToken(second) if second.account == sid => Some(second.token.clone()),
                _ => None,
            });
            let secret = |it: &Account| it.auth_token.clone();
            account(sid).map(|it| Login { secret: secret(&it), second, account: it, key: false })
        } else if let Ok(sid) = username.parse::<KeySid>() {
            state.entities.iter().find_map(|entity| match entity {
                Entity::ApiKey(key) if key.sid == sid => {
                    let secret = key.secret.clone();
                    let login = |account| Login { account, secret, second: None, key: true };
                    account(key.account).map(login)
                }
                _ => None,
            })
        } else {
            None
        };
        ready(Ok(login))
    }

    fn submit(&self, account: AccountSid, what: ApiRequest) -> Answer<'_, ApiResult> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            self.state().submit(account, what)
        })
    }

    fn entity(&self, key: EntityKey) -> Answer<'_, Read<Option<Entity>>> {
        let found = self.state().entities.iter().find(|entity| entity.key() == key).cloned();
        ready(Ok(found))
    }

    fn entities(&self, query: EntityQuery) -> Answer<'_, Read<Vec<Entity>>> {
        let wanted = |entity: &&Entity| {
            let kind = entity.key().kind();
            if let Entity::Account(it) = entity {
                return query.kind == EntityKind::Account
                    && query.account.is_none_or(|of| it.sid == of || it.parent == of)
                    && query.matches(entity);
            }
            let ours = query.account.is_none_or(|owner| entity.account() == Some(owner));
            kind == query.kind && ours && query.matches(entity)
        };
        let rows = self.state().entities.iter().filter(wanted).cloned().collect();
        ready(Ok(query.window.apply(rows, |row: &Entity| row.cursor())))
    }

    fn call(&self, _account: AccountSid, sid: CallId) -> Answer<'_, Read<Option<CallRow>>> {
        ready(Ok(self.state().calls.iter().find(|row| row.sid == sid).cloned()))
    }

    fn calls(&self, query: CallQuery) -> Answer<'_, Read<Vec<CallRow>>> {
        let rows = self.state().calls.iter().filter(|row| query.matches(row)).cloned().collect();
        ready(Ok(query.window.apply(rows, |row: &CallRow| row.cursor())))
    }

    fn cdrs(&self, _account: AccountSid, call: CallId) -> Answer<'_, Read<Vec<Cdr>>> {
        ready(Ok(self.state().cdrs.iter().filter(|cdr| cdr.call == call).cloned().collect()))
    }

    fn usage_of_call(
        &self,
        _account: AccountSid,
        _call: CallId,
    ) -> Answer<'_, Read<Vec<UsageRow>>> {
        ready(Ok(Vec::new()))
    }

    fn usage(&self, account: AccountSid, from: Wall, to: Wall) -> Answer<'_, Read<Vec<UsageDay>>> {
        let state = self.state();
        let ours = state
            .days
            .iter()
            .filter(|(whose, day)| *whose == account && from <= day.day && day.day < to);
        ready(Ok(ours.map(|(_, day)| *day).collect()))
    }

    fn alert(&self, _account: AccountSid, sid: AlertSid) -> Answer<'_, Read<Option<Alert>>> {
        ready(Ok(self.state().alerts.iter().find(|alert| alert.sid == sid).cloned()))
    }

    fn alerts(&self, query: AlertQuery) -> Answer<'_, Read<Vec<Alert>>> {
        let rows = self.state().alerts.iter().filter(|row| query.matches(row)).cloned().collect();
        ready(Ok(query.window.apply(rows, |row: &Alert| row.cursor())))
    }

    fn dead_letters(&self, query: LetterQuery) -> Answer<'_, Read<Vec<DeadLetter>>> {
        let ours = |it: &&DeadLetter| query.account.is_none_or(|account| it.account == account);
        let rows = self.state().letters.iter().filter(ours).cloned().collect();
        ready(Ok(query.window.apply(rows, |row: &DeadLetter| row.cursor())))
    }

    fn dead_letter(
        &self,
        _account: AccountSid,
        token: String,
    ) -> Answer<'_, Read<Option<DeadLetter>>> {
        let state = self.state();
        ready(Ok(state.letters.iter().find(|it| it.idempotency_token == token).cloned()))
    }

    fn metrics(&self) -> Answer<'_, String> {
        ready("# TYPE tandem_test gauge\ntandem_test 1\n".to_owned())
    }

    fn health(&self) -> Health {
        let sick = self.state().sick;
        let text = if sick { "journal: No space left\n" } else { "ok\n" };
        Health { serving: !sick, text: text.to_owned() }
    }
}
