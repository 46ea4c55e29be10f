//! The directory of what is configured: found by sid, by number, by domain, by prefix. Changed only
//! by API calls, each of which is one write.

use std::collections::BTreeMap;

use model::port::{ApiDone, ApiError, ApiId, Entity, EntityKey, Record};
use model::{
    Account, AccountSid, AccountStatus, ApiKey, Application, ApplicationSid, Book, Currency,
    DomainSid, KeySid, NumberSid, OutboundRoute, PhoneNumber, Price, RouteSid, Secret, SipDomain,
    VoiceConfig,
};
use wire::Service;
use wire::event::Cause;

use super::Director;
use crate::live::Ending;
use crate::settings::Settings;

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    accounts: BTreeMap<AccountSid, Account>,
    by_number: BTreeMap<u64, AccountSid>,
    keys: BTreeMap<KeySid, ApiKey>,
    applications: BTreeMap<ApplicationSid, Application>,
    numbers: BTreeMap<NumberSid, PhoneNumber>,
    /// Digits without `+`.
    by_digits: BTreeMap<String, NumberSid>,
    domains: BTreeMap<DomainSid, SipDomain>,
    by_domain: BTreeMap<String, DomainSid>,
    routes: BTreeMap<RouteSid, OutboundRoute>,
    prices: BTreeMap<(Option<AccountSid>, Service), Price>,
}

impl Directory {
    pub(super) fn load(book: &Book) -> Self {
        let mut directory = Self::default();
        let entities = (book.accounts.iter().cloned().map(Entity::Account))
            .chain(book.api_keys.iter().cloned().map(Entity::ApiKey))
            .chain(book.applications.iter().cloned().map(Entity::Application))
            .chain(book.numbers.iter().cloned().map(Entity::PhoneNumber))
            .chain(book.domains.iter().cloned().map(Entity::SipDomain))
            .chain(book.routes.iter().cloned().map(Entity::Route))
            .chain(book.prices.iter().cloned().map(Entity::Price));
        for entity in entities {
            directory.put(entity);
        }
        directory
    }

    pub(super) fn account(&self, sid: AccountSid) -> Option<&Account> {
        self.accounts.get(&sid)
    }

    pub(super) fn account_by_number(&self, number: u64) -> Option<&Account> {
        self.accounts.get(self.by_number.get(&number)?)
    }

    pub(super) fn auth_token(&self, sid: AccountSid) -> Secret {
        self.accounts.get(&sid).map(|account| account.auth_token.clone()).unwrap_or_default()
    }

    pub(super) fn domain(&self, host: &str) -> Option<&SipDomain> {
        self.domains.get(self.by_domain.get(&host.to_ascii_lowercase())?)
    }

    pub(super) fn number(&self, number: &str) -> Option<&PhoneNumber> {
        self.numbers.get(self.by_digits.get(digits(number))?)
    }

    pub(super) fn application(&self, sid: ApplicationSid) -> Option<&Application> {
        self.applications.get(&sid)
    }

    /// What an endpoint is configured to do: its application's configuration while that exists.
    pub(super) fn config<'a>(
        &'a self,
        own: &'a VoiceConfig,
        application: Option<ApplicationSid>,
    ) -> &'a VoiceConfig {
        application.and_then(|sid| self.application(sid)).map_or(own, |it| &it.config)
    }

    /// The longest prefix; an account's own route before everybody's.
    pub(super) fn route(&self, account: AccountSid, number: &str) -> Option<&OutboundRoute> {
        self.routes
            .values()
            .filter(|route| route.account.is_none_or(|owner| owner == account))
            .filter(|route| {
                number.starts_with(&route.prefix) || digits(number).starts_with(&route.prefix)
            })
            .max_by_key(|route| (route.account.is_some(), route.prefix.len()))
    }

    pub(super) fn price(&self, account: AccountSid, service: Service) -> Option<&Price> {
        let own = self.prices.get(&(Some(account), service));
        own.or_else(|| self.prices.get(&(None, service)))
    }

    /// The currency that an account's calls are shown in.
    pub(super) fn currency(&self, account: AccountSid) -> Currency {
        [Service::SipIngress, Service::SipEgress, Service::MediaRelay]
            .into_iter()
            .find_map(|service| self.price(account, service))
            .map_or(Currency::USD, |price| price.currency)
    }

    fn put(&mut self, entity: Entity) {
        self.remove(entity.key());
        match entity {
            Entity::Account(it) => {
                self.by_number.insert(it.number, it.sid);
                self.accounts.insert(it.sid, it);
            }
            Entity::ApiKey(it) => {
                self.keys.insert(it.sid, it);
            }
            Entity::Application(it) => {
                self.applications.insert(it.sid, it);
            }
            Entity::PhoneNumber(it) => {
                self.by_digits.insert(digits(&it.number).to_owned(), it.sid);
                self.numbers.insert(it.sid, it);
            }
            Entity::SipDomain(it) => {
                self.by_domain.insert(it.domain_name.clone(), it.sid);
                self.domains.insert(it.sid, it);
            }
            Entity::Route(it) => {
                self.routes.insert(it.sid, it);
            }
            Entity::Price(it) => {
                self.prices.insert((it.account, it.service), it);
            }
        }
    }

    /// True if it was there.
    fn remove(&mut self, key: EntityKey) -> bool {
        match key {
            EntityKey::Account(sid) => {
                let gone = self.accounts.remove(&sid);
                gone.map(|it| self.by_number.remove(&it.number)).is_some()
            }
            EntityKey::ApiKey(sid) => self.keys.remove(&sid).is_some(),
            EntityKey::Application(sid) => self.applications.remove(&sid).is_some(),
            EntityKey::PhoneNumber(sid) => {
                let gone = self.numbers.remove(&sid);
                gone.map(|it| self.by_digits.remove(digits(&it.number))).is_some()
            }
            EntityKey::SipDomain(sid) => {
                let gone = self.domains.remove(&sid);
                gone.map(|it| self.by_domain.remove(&it.domain_name)).is_some()
            }
            EntityKey::Route(sid) => self.routes.remove(&sid).is_some(),
            EntityKey::Price(account, service) => self.prices.remove(&(account, service)).is_some(),
        }
    }

    fn owner(&self, key: EntityKey) -> Option<Option<AccountSid>> {
        match key {
            EntityKey::Account(sid) => self.accounts.get(&sid).map(|it| Some(it.sid)),
            EntityKey::ApiKey(sid) => self.keys.get(&sid).map(|it| Some(it.account)),
            EntityKey::Application(sid) => self.applications.get(&sid).map(|it| Some(it.account)),
            EntityKey::PhoneNumber(sid) => self.numbers.get(&sid).map(|it| Some(it.account)),
            EntityKey::SipDomain(sid) => self.domains.get(&sid).map(|it| Some(it.account)),
            EntityKey::Route(sid) => self.routes.get(&sid).map(|it| it.account),
            EntityKey::Price(account, service) => {
                self.prices.get(&(account, service)).map(|it| it.account)
            }
        }
    }

    /// Why an entity may not be stored as it is.
    fn check(&self, entity: &Entity, settings: &Settings) -> Result<(), ApiError> {
        let bad = |code, message: String| Err(ApiError { status: 400, code, message });
        let taken = |sid: Option<String>, own: String| sid.is_some_and(|sid| sid != own);
        match entity {
            Entity::PhoneNumber(it) => {
                if model::party::number(&it.number).as_deref() != Some(it.number.as_str()) {
                    return bad(21_421, format!("{:?} is not a phone number", it.number));
                }
                let holder = self.number(&it.number).map(|it| it.sid.to_string());
                if taken(holder, it.sid.to_string()) {
                    return bad(21_422, format!("{} is not available", it.number));
                }
            }
            Entity::SipDomain(it) => {
                let name = &it.domain_name;
                let bare =
                    model::party::host_and_port(name).is_some_and(|(_, port)| port.is_none());
                if !bare || *name != name.to_ascii_lowercase() {
                    return bad(21_232, format!("{name:?} is not a host name in lower case"));
                }
                if settings.is_own_host(name) {
                    let why = "an address or a name of this switch cannot be anybody's domain";
                    return bad(21_232, format!("{name}: {why}"));
                }
                let holder = self.domain(name).map(|it| it.sid.to_string());
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
            Entity::Account(_) | Entity::ApiKey(_) | Entity::Application(_) | Entity::Price(_) => {}
        }
        Ok(())
    }
}

impl Director {
    pub(super) fn api_put(
        &mut self,
        id: ApiId,
        account: AccountSid,
        mut entity: Entity,
        create: bool,
    ) {
        let key = entity.key();
        let holder = self.directory.owner(key);
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
        if let Err(error) = self.directory.check(&entity, &self.settings) {
            return self.reply(id, Err(error));
        }
        if let Entity::Account(it) = &mut entity {
            match self.directory.account(it.sid) {
                Some(known) => it.number = known.number,
                None if it.number == 0 || self.directory.by_number.contains_key(&it.number) => {
                    let last = self.directory.by_number.last_key_value().map_or(0, |(n, _)| *n);
                    it.number = last + 1;
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
        match self.directory.owner(key) {
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
        let calls: Vec<_> = (self.calls.values())
            .filter(|live| live.row.account == account && !live.is_over())
            .map(crate::live::Live::call)
            .collect();
        for call in calls {
            self.end_leg(call, Ending::Hangup(Cause::Normal));
        }
    }
}

fn digits(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}
