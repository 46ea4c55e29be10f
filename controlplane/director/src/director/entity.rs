//! What is configured, changed: only by API calls, each of which is one write.

use base::Now;
use model::port::{ApiDone, ApiError, ApiId, Entity, EntityKey, Record};
use model::{Account, AccountSid, AccountStatus, CallStatus, Directory};
use wire::event::Cause;

use super::Director;
use crate::live::Ending;
use crate::settings::Settings;

impl Director {
    pub(super) fn api_put(
        &mut self,
        now: Now,
        id: ApiId,
        account: AccountSid,
        entity: Entity,
        create: bool,
    ) {
        match self.put(now, account, entity, create) {
            Ok(entity) => self.reply_when_stored(id, ApiDone::Entity(Box::new(entity))),
            Err(error) => self.reply(id, Err(error)),
        }
    }

    fn put(
        &mut self,
        now: Now,
        account: AccountSid,
        mut entity: Entity,
        create: bool,
    ) -> Result<Entity, ApiError> {
        let key = entity.key();
        let holder = self.directory.entity(key).map(Entity::account);
        if create && holder.is_some() {
            return Err(refusal(409, 20_409, "the sid is taken"));
        }
        // A foreign thing is as good as none (THREATS.md, tenancy).
        // What belongs to the operator alone is no tenant's to change.
        let own = |owner: Option<AccountSid>| owner == Some(account);
        let parent = match &entity {
            Entity::Account(it) => it.parent == account,
            _ => false,
        };
        if !own(entity.account()) && !parent || !create && holder.is_none() {
            return Err(refusal(404, 20_404, "the requested resource was not found"));
        }
        if holder.is_some_and(|owner| owner != entity.account()) {
            return Err(refusal(404, 20_404, "the requested resource was not found"));
        }
        if self.is_closed(&entity) {
            return Err(refusal(400, 20_001, "the account is closed for good"));
        }
        check(&self.directory, &entity, &self.settings)?;
        if let Entity::Account(it) = &mut entity {
            match self.directory.account(it.sid) {
                Some(known) => it.number = known.number,
                None if it.number == 0 || self.directory.account_by_number(it.number).is_some() => {
                    it.number = self.directory.next_number();
                }
                None => {}
            }
            if it.status == AccountStatus::Closed {
                self.close_account(now, it.sid);
            }
        }
        self.directory.put(entity.clone());
        self.records.push(Record::Put(Box::new(entity.clone())));
        Ok(entity)
    }

    pub(super) fn api_delete(&mut self, id: ApiId, account: AccountSid, key: EntityKey) {
        match self.directory.entity(key).map(Entity::account) {
            Some(owner) if owner == Some(account) => {
                if matches!(key, EntityKey::Account(_)) {
                    return self.refuse(id, 400, 20_001, "accounts are closed, not deleted");
                }
                self.directory.remove(key);
                self.records.push(Record::Delete(key));
                self.reply_when_stored(id, ApiDone::Deleted);
            }
            _ => self.refuse(id, 404, 20_404, "the requested resource was not found"),
        }
    }

    /// An account is put that is active no more, and its standing calls end.
    pub(super) fn api_shut(&mut self, now: Now, id: ApiId, account: AccountSid, closing: Account) {
        if closing.status == AccountStatus::Active {
            return self.refuse(id, 400, 20_001, "the account stays active: its calls go on");
        }
        let sid = closing.sid;
        match self.put(now, account, Entity::Account(closing), false) {
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
            let kind =
                matches!(entity, Entity::PhoneNumber(_) | Entity::SipDomain(_) | Entity::ApiKey(_));
            kind && entity.account() == Some(account)
        };
        let keys: Vec<_> = self.directory.entities().filter(held).map(Entity::key).collect();
        for key in keys {
            self.directory.remove(key);
            self.records.push(Record::Delete(key));
        }
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

fn refusal(status: u16, code: u32, message: &str) -> ApiError {
    ApiError { status, code, message: message.to_owned() }
}

/// Why an entity may not be stored as it is.
fn check(directory: &Directory, entity: &Entity, settings: &Settings) -> Result<(), ApiError> {
    let bad = |code, message: String| Err(ApiError { status: 400, code, message });
    let taken = |sid: Option<String>, own: String| sid.is_some_and(|sid| sid != own);
    match entity {
        Entity::PhoneNumber(it) => {
            if model::party::number(&it.number).as_deref() != Some(it.number.as_str()) {
                return bad(21_421, format!("{:?} is not a phone number", it.number));
            }
            let holder = directory.number(&it.number).map(|it| it.sid.to_string());
            if taken(holder, it.sid.to_string()) {
                return bad(21_422, format!("{} is not available", it.number));
            }
        }
        Entity::SipDomain(it) => {
            let name = &it.domain_name;
            let bare = model::party::host_and_port(name).is_some_and(|(_, port)| port.is_none());
            if !bare || *name != name.to_ascii_lowercase() {
                return bad(21_232, format!("{name:?} is not a host name in lower case"));
            }
            if settings.is_own_host(name) {
                let why = "an address or a name of this switch cannot be anybody's domain";
                return bad(21_232, format!("{name}: {why}"));
            }
            let holder = directory.domain(name).map(|it| it.sid.to_string());
            if taken(holder, it.sid.to_string()) {
                return bad(21_231, format!("the domain {name} is taken"));
            }
        }
        Entity::Route(it) => {
            let fine = |target: &String| model::party::host_and_port(target).is_some();
            if it.targets.is_empty() || it.targets.len() > 4 || !it.targets.iter().all(fine) {
                return bad(20_001, "a route has 1 to 4 targets, host or host:port".to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}
