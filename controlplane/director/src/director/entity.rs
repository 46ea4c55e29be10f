//! What is configured, changed: only by API calls, each of which is one write.

use std::collections::BTreeSet;

use base::Now;
use model::port::{ApiDone, ApiError, ApiId, Entity, EntityKey, Record};
use model::{
    AccessKey, Account, AccountSid, AccountStatus, AuthKey, CallStatus, Credential, CredentialSid,
    Directory, DomainAuth, DomainSid, PhoneNumber, SignalingSubscription, TokenKey, TrunkNumberKey,
};
use wire::event::Cause;

use super::Director;
use super::inventory::{Asker, check, is_fixed, is_operators};
use super::{credential, trunk};
use crate::live::Ending;

impl Director {
    pub(super) fn api_put(
        &mut self,
        now: Now,
        id: ApiId,
        asker: Asker,
        entity: Entity,
        create: bool,
    ) {
        match self.put(now, asker, entity, create) {
            Ok(entity) => self.reply_when_stored(id, ApiDone::Entity(Box::new(entity))),
            Err(error) => self.reply(id, Err(error)),
        }
    }

    fn put(
        &mut self,
        now: Now,
        asker: Asker,
        mut entity: Entity,
        create: bool,
    ) -> Result<Entity, ApiError> {
        let missing = || refusal(404, 20_404, "the requested resource was not found");
        let before = self.directory.entity(entity.key());
        let holder = before.map(Entity::account);
        if create && holder.is_some() {
            return Err(refusal(409, 20_409, "it is there already"));
        }
        if !create && holder.is_none() || holder.is_some_and(|owner| owner != entity.account()) {
            return Err(missing());
        }
        if !self.may_put(asker, &entity) {
            return Err(missing());
        }
        if before.is_some_and(is_fixed) {
            return Err(fixed());
        }
        if self.is_closed(&entity) {
            return Err(refusal(400, 20_001, "the account is closed for good"));
        }
        if create && asker != Asker::Operator {
            self.has_room(&entity)?;
        }
        if let Entity::SignalingSubscription(it) = &mut entity {
            self.place_subscription(it)?;
        }
        check(&self.directory, &self.settings, asker, &entity)?;
        if let Entity::Account(it) = &mut entity {
            self.keep(asker, it);
            self.keep_status(asker, it)?;
            if it.status == AccountStatus::Closed {
                self.close_account(now, it.sid);
            }
        }
        let gone = match &entity {
            Entity::DomainAuth(it) => {
                let gone = self.forget_unmapped(now, it);
                self.charged(gone)
            }
            other => self.put_along(other),
        };
        if let EntityKey::Price(key) = entity.key()
            && self.directory.entity(entity.key()) != Some(&entity)
        {
            self.cut_contacts(now, key);
        }
        self.directory.put(entity.clone());
        self.records.push(Record::Put(Box::new(entity.clone())));
        self.records.extend(gone);
        Ok(entity)
    }

    /// An account has so many of each kind: what is configured is kept in memory, and told to all.
    fn has_room(&self, entity: &Entity) -> Result<(), ApiError> {
        let kind = entity.key().kind();
        let owner = match entity {
            Entity::Account(it) => Some(it.parent),
            other => other.account(),
        };
        let limits = &self.settings.limits;
        let has = owner.map_or(0, |owner| self.directory.count(kind, owner));
        let most = match entity {
            // Closed ones are none any more, but are kept as everything is. Its list of accounts
            // has the account itself.
            Entity::Account(it)
                if has > limits.subaccounts && self.open_subaccounts(it) >= limits.subaccounts =>
            {
                limits.subaccounts
            }
            _ if has >= limits.account_things => limits.account_things,
            _ => return Ok(()),
        };
        let message =
            format!("the account has {most} of these already, which is as many as it may");
        Err(refusal(400, trunk::limit_error(kind), &message))
    }

    /// A subscription to SIP messages keeps its bit in the dataplane, or gets one.
    fn place_subscription(&self, it: &mut SignalingSubscription) -> Result<(), ApiError> {
        let known = self.directory.get::<SignalingSubscription>(it.sid);
        if let Some(known) = known.filter(|known| known.call() == it.call()) {
            it.slot = known.slot;
            return Ok(());
        }
        let slot = self.directory.subscription_slot(it).map_err(|most| {
            let whose = if it.call().is_some() { "a call of the account" } else { "the account" };
            let message =
                format!("{whose} has {most} of these already, which is as many as it may");
            refusal(400, 20_001, &message)
        })?;
        it.slot = slot;
        Ok(())
    }

    /// Of the account that this one is to belong to.
    fn open_subaccounts(&self, of: &Account) -> usize {
        let is_open = |sid: &AccountSid| {
            self.directory.account(*sid).is_some_and(|it| it.status != AccountStatus::Closed)
        };
        self.subaccounts(of.parent).iter().filter(|sid| is_open(sid)).count()
    }

    /// A foreign thing is as good as none (THREATS.md, tenancy), and so is what belongs to the
    /// operator alone. The operator has that, and accounts; of an account that there is.
    fn may_put(&self, asker: Asker, entity: &Entity) -> bool {
        let owner = entity.account();
        match (asker, entity) {
            (Asker::Operator, Entity::Account(it)) => {
                it.parent == it.sid || self.directory.account(it.sid).is_some()
            }
            (Asker::Operator, _) => {
                let is_there = |owner| self.directory.account(owner).is_some();
                is_operators(entity) && owner.is_none_or(is_there)
            }
            (Asker::Tenant(account), Entity::Account(it)) => {
                // A sub-account has none of its own.
                let is_main = |parent: &Account| parent.parent == parent.sid;
                let family =
                    it.parent == account && self.directory.account(account).is_some_and(is_main);
                it.sid == account && self.directory.account(account).is_some() || family
            }
            (Asker::Tenant(account), _) => !is_operators(entity) && owner == Some(account),
        }
    }

    /// What a put does not change, however old what it was made of is: an account's number and
    /// token; by a tenant, its limits, and by itself, its status; by the operator, where its calls
    /// come from. A new sub-account has its family's limits.
    fn keep(&self, asker: Asker, it: &mut Account) {
        let family = self.directory.account(it.parent).map(|parent| parent.limits);
        match self.directory.account(it.sid) {
            Some(known) => {
                it.number = known.number;
                it.auth_token = known.auth_token.clone();
                it.parent = known.parent;
                match asker {
                    Asker::Operator => it.sources.clone_from(&known.sources),
                    Asker::Tenant(account) => {
                        it.limits = known.limits;
                        if account == it.sid {
                            it.status = known.status;
                        }
                    }
                }
            }
            None => {
                if it.number == 0 || self.directory.account_by_number(it.number).is_some() {
                    it.number = self.directory.next_number();
                }
                if let (Asker::Tenant(_), Some(limits)) = (asker, family) {
                    it.limits = limits;
                }
            }
        }
    }

    /// Numbers that a range gives to whoever has them.
    fn numbers_given(&self) -> Vec<(AccountSid, String)> {
        let numbers = self.directory.all::<PhoneNumber>();
        let given = numbers.filter(|it| self.directory.may_have_number(it.account, &it.number));
        given.map(|it| (it.account, it.number.clone())).collect()
    }

    /// A range was taken back. What was taken from it stays with its account, whose callers know
    /// it, until the account or the operator gives it up: the operator is told which those are.
    fn tell_left(&mut self, given: Vec<(AccountSid, String)>) {
        let is_left = |(account, number): &(AccountSid, String)| {
            !self.directory.may_have_number(*account, number)
        };
        let left: Vec<_> = given.into_iter().filter(is_left).collect();
        if let Some((account, number)) = left.first() {
            let message = format!(
                "{} numbers that the range gave stay with their accounts ({number} of {account} \
                 among them) until they are deleted",
                left.len()
            );
            self.notice(Some(*account), None, false, message);
        }
    }

    /// Whoever suspended an account brings it back: its parent, or the operator.
    fn keep_status(&self, asker: Asker, it: &mut Account) -> Result<(), ApiError> {
        let known = self.directory.account(it.sid).map(|known| known.status);
        match (asker, it.status, known) {
            (Asker::Operator, AccountStatus::Suspended, _) => it.status = AccountStatus::Held,
            (Asker::Tenant(_), AccountStatus::Active, Some(AccountStatus::Held)) => {
                return Err(refusal(403, 20_403, "the operator has suspended the account"));
            }
            (Asker::Tenant(_), AccountStatus::Suspended, Some(AccountStatus::Held)) => {
                it.status = AccountStatus::Held;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn api_delete(&mut self, now: Now, id: ApiId, asker: Asker, key: EntityKey) {
        let held = self.directory.entity(key);
        let found = held.filter(|entity| match asker {
            Asker::Tenant(account) => !is_operators(entity) && entity.account() == Some(account),
            Asker::Operator => is_operators(entity) || matches!(entity, Entity::Account(_)),
        });
        match found {
            None => self.refuse(id, 404, 20_404, "the requested resource was not found"),
            Some(Entity::Account(_)) => {
                self.refuse(id, 400, 20_001, "accounts are closed, not deleted");
            }
            Some(entity) if is_fixed(entity) => self.reply(id, Err(fixed())),
            Some(entity)
                if let Err(error) = credential::may_delete(&self.directory, entity)
                    .and_then(|()| trunk::may_delete(&self.directory, entity)) =>
            {
                self.reply(id, Err(error));
            }
            Some(_) => {
                let given = matches!(key, EntityKey::NumberRange(_)).then(|| self.numbers_given());
                for key in held_by(&self.directory, key).into_iter().chain([key]) {
                    self.delete(now, key);
                }
                self.tell_left(given.unwrap_or_default());
                self.reply_when_stored(id, ApiDone::Deleted);
            }
        }
    }

    /// The account's second token takes the place of the first, which opens nothing any more.
    pub(super) fn api_promote(&mut self, now: Now, id: ApiId, account: AccountSid) {
        let second = self.directory.second_token(account).map(|second| second.token.clone());
        let known = self.directory.account(account).cloned();
        let (Some(token), Some(mut account)) = (second, known) else {
            return self.refuse(id, 404, 20_404, "the account has no secondary auth token");
        };
        account.auth_token = token;
        account.date_updated = now.wall;
        let key = EntityKey::SecondToken(TokenKey(account.sid));
        let entity = Entity::Account(account);
        self.directory.put(entity.clone());
        self.directory.remove(key);
        self.records.extend([Record::Put(Box::new(entity.clone())), Record::Delete(key)]);
        self.reply_when_stored(id, ApiDone::Entity(Box::new(entity)));
    }

    /// An account is put that is active no more, and its standing calls end.
    pub(super) fn api_shut(&mut self, now: Now, id: ApiId, asker: Asker, closing: Account) {
        if closing.status == AccountStatus::Active {
            return self.refuse(id, 400, 20_001, "the account stays active: its calls go on");
        }
        let sid = closing.sid;
        match self.put(now, asker, Entity::Account(closing), false) {
            Ok(entity) => {
                self.end_calls_of(now, sid);
                for sub in self.subaccounts(sid) {
                    self.end_calls_of(now, sub);
                }
                self.reply_when_stored(id, ApiDone::Entity(Box::new(entity)));
            }
            Err(error) => self.reply(id, Err(error)),
        }
    }

    /// A closed account stays so, and gets nothing new.
    fn is_closed(&self, entity: &Entity) -> bool {
        let opens = match entity {
            Entity::Account(account) => account.status != AccountStatus::Closed,
            _ => true,
        };
        let owner = entity.account().and_then(|owner| self.directory.account(owner));
        opens && owner.is_some_and(|owner| owner.status == AccountStatus::Closed)
    }

    /// Its calls end, and so do its sub-accounts. What it held is free for others, and its keys
    /// open nothing any more.
    fn close_account(&mut self, now: Now, account: AccountSid) {
        for sub in self.subaccounts(account) {
            let Some(mut closing) = self.directory.account(sub).cloned() else { continue };
            closing.status = AccountStatus::Closed;
            self.directory.put(Entity::Account(closing.clone()));
            self.records.push(Record::Put(Box::new(Entity::Account(closing))));
            self.release_all(now, sub);
        }
        self.release_all(now, account);
    }

    fn release_all(&mut self, now: Now, account: AccountSid) {
        self.end_calls_of(now, account);
        let held = |entity: &&Entity| {
            let kind = matches!(
                entity,
                Entity::PhoneNumber(_)
                    | Entity::SipDomain(_)
                    | Entity::ApiKey(_)
                    | Entity::SecondToken(_)
                    | Entity::CallerId(_)
                    | Entity::CredentialList(_)
                    | Entity::Credential(_)
                    | Entity::DomainAuth(_)
                    | Entity::IpAccessControlList(_)
                    | Entity::DomainAccess(_)
                    | Entity::Trunk(_)
                    | Entity::TrunkNumber(_)
            );
            kind && entity.account() == Some(account) && !is_fixed(entity)
        };
        let keys: Vec<_> = self.directory.entities().filter(held).map(Entity::key).collect();
        for key in keys {
            self.delete(now, key);
        }
    }

    /// What is deleted takes along who has registered by it.
    fn delete(&mut self, now: Now, key: EntityKey) {
        let gone = match key {
            EntityKey::SipDomain(domain) => self.registrar.forget(now, domain, None),
            EntityKey::Credential(sid) => self.forget_credential(now, sid),
            EntityKey::Price(price) => {
                self.cut_contacts(now, price);
                Vec::new()
            }
            _ => Vec::new(),
        };
        let gone = self.charged(gone);
        self.directory.remove(key);
        self.records.push(Record::Delete(key));
        self.records.extend(gone);
    }

    /// Who has registered at a domain by what it takes no more.
    fn forget_unmapped(&mut self, at: Now, now: &DomainAuth) -> Vec<Record> {
        let Some(before) = self.directory.get::<DomainAuth>(AuthKey(now.domain)) else {
            return Vec::new();
        };
        if before.registers && !now.registers {
            return self.registrar.forget(at, now.domain, None);
        }
        let takes = |list| now.registrations.iter().any(|mapping| mapping.list == list);
        let lost: Vec<_> = before.registrations.iter().map(|it| it.list).collect();
        let lost: Vec<_> = lost.into_iter().filter(|list| !takes(*list)).collect();
        let of = |wanted: &dyn Fn(&Credential) -> bool| -> BTreeSet<String> {
            let all = self.directory.of::<Credential>(now.account).filter(|it| wanted(it));
            all.map(|it| it.username.clone()).collect()
        };
        let users = of(&|it| lost.contains(&it.list));
        let kept = of(&|it| takes(it.list));
        let forget = |user: &String| self.registrar.forget(at, now.domain, Some(user));
        users.difference(&kept).flat_map(forget).collect()
    }

    fn forget_credential(&mut self, now: Now, sid: CredentialSid) -> Vec<Record> {
        let Some(credential) = self.directory.get::<Credential>(sid) else { return Vec::new() };
        let takes = |auth: &&DomainAuth| {
            auth.registrations.iter().any(|mapping| mapping.list == credential.list)
        };
        let all = self.directory.of::<DomainAuth>(credential.account);
        let domains = all.filter(takes).map(|auth| auth.domain);
        let (domains, user) = (domains.collect::<Vec<_>>(), credential.username.clone());
        let forget = |domain: DomainSid| self.registrar.forget(now, domain, Some(&user));
        domains.into_iter().flat_map(forget).collect()
    }

    fn subaccounts(&self, account: AccountSid) -> Vec<AccountSid> {
        let is_sub = |it: &&Account| it.parent == account && it.sid != account;
        self.directory.all::<Account>().filter(is_sub).map(|it| it.sid).collect()
    }

    fn end_calls_of(&mut self, now: Now, account: AccountSid) {
        let calls: Vec<_> = (self.calls.all())
            .filter(|live| live.row.account == account && !live.is_over())
            .map(crate::live::Live::call)
            .collect();
        for call in calls {
            self.end_leg(call, Ending::Hangup(Cause::Normal));
            self.never_was(now, call, CallStatus::Canceled);
        }
    }
}

/// What goes with a thing: a domain's mappings, a list's credentials.
fn held_by(directory: &Directory, key: EntityKey) -> Vec<EntityKey> {
    match key {
        EntityKey::SipDomain(domain) => {
            let keys = [EntityKey::from(AuthKey(domain)), AccessKey(domain).into()];
            keys.into_iter().filter(|key| directory.entity(*key).is_some()).collect()
        }
        EntityKey::PhoneNumber(number) => {
            let key = EntityKey::from(TrunkNumberKey(number));
            directory.entity(key).map(|_| key).into_iter().collect()
        }
        EntityKey::CredentialList(list) => directory.credentials(list).map(Into::into).collect(),
        _ => Vec::new(),
    }
}

fn fixed() -> ApiError {
    refusal(400, 20_001, "it stands in the configuration file, and is changed there")
}

fn refusal(status: u16, code: u32, message: &str) -> ApiError {
    ApiError { status, code, message: message.to_owned() }
}
