//! What is configured, changed: only by API calls, each of which is one write.

use model::port::{ApiDone, ApiError, ApiId, Entity, EntityKey, Record};
use model::{AccountSid, AccountStatus, Directory};
use wire::event::Cause;

use super::Director;
use crate::live::Ending;
use crate::settings::Settings;

impl Director {
    pub(super) fn api_put(
        &mut self,
        id: ApiId,
        account: AccountSid,
        mut entity: Entity,
        create: bool,
    ) {
        let key = entity.key();
        let holder = self.directory.entity(key).map(Entity::account);
        if create && holder.is_some() {
            return self.refuse(id, 409, 20_409, "the sid is taken");
        }
        // A foreign thing is as good as none (THREATS.md, tenancy).
        // What belongs to the operator alone is no tenant's to change.
        let own = |owner: Option<AccountSid>| owner == Some(account);
        let parent = match &entity {
            Entity::Account(it) => it.parent == account,
            _ => false,
        };
        if !own(entity.account()) && !parent || !create && holder.is_none() {
            return self.refuse(id, 404, 20_404, "the requested resource was not found");
        }
        if holder.is_some_and(|owner| owner != entity.account()) {
            return self.refuse(id, 404, 20_404, "the requested resource was not found");
        }
        if let Err(error) = check(&self.directory, &entity, &self.settings) {
            return self.reply(id, Err(error));
        }
        if let Entity::Account(it) = &mut entity {
            match self.directory.account(it.sid) {
                Some(known) => it.number = known.number,
                None if it.number == 0 || self.directory.account_by_number(it.number).is_some() => {
                    it.number = self.directory.next_number();
                }
                None => {}
            }
            if it.status == AccountStatus::Closed {
                self.close_account(it.sid);
            }
        }
        self.directory.put(entity.clone());
        self.records.push(Record::Put(Box::new(entity.clone())));
        self.reply_when_stored(id, ApiDone::Entity(Box::new(entity)));
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

    /// Its calls end.
    fn close_account(&mut self, account: AccountSid) {
        let calls: Vec<_> = (self.calls.all())
            .filter(|live| live.row.account == account && !live.is_over())
            .map(crate::live::Live::call)
            .collect();
        for call in calls {
            self.end_leg(call, Ending::Hangup(Cause::Normal));
        }
    }
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
