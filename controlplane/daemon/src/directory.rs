//! Everything configured, in memory, for those who read it at every request: logins, lists of
//! entities. The runtime keeps it as the writes pass by.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use api::backend::Login;
use director::Settings;
use model::port::{Entity, EntityKey, Record};
use model::query::{EntityKind, EntityQuery, Listed};
use model::{Account, AccountSid, Book, KeySid};
use wire::table::Admission;

use crate::plan;

#[derive(Debug, Default)]
pub struct Directory {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    entities: BTreeMap<String, Entity>,
}

impl Directory {
    #[must_use]
    pub fn new(book: &Book) -> Self {
        let directory = Self::default();
        directory.put_all(book);
        directory
    }

    fn put_all(&self, book: &Book) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let entities = (book.accounts.iter().cloned().map(Entity::Account))
            .chain(book.api_keys.iter().cloned().map(Entity::ApiKey))
            .chain(book.applications.iter().cloned().map(Entity::Application))
            .chain(book.numbers.iter().cloned().map(Entity::PhoneNumber))
            .chain(book.domains.iter().cloned().map(Entity::SipDomain))
            .chain(book.routes.iter().cloned().map(Entity::Route))
            .chain(book.prices.iter().cloned().map(Entity::Price));
        for entity in entities {
            tables.entities.insert(name(&entity.key()), entity);
        }
    }

    /// A write passes by.
    pub fn learn(&self, records: &[Record]) {
        for record in records {
            match record {
                Record::Put(entity) => {
                    let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
                    tables.entities.insert(name(&entity.key()), Entity::clone(entity));
                }
                Record::Delete(key) => {
                    let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
                    tables.entities.remove(&name(key));
                }
                _ => {}
            }
        }
    }

    /// Whom applications answer for, as the dataplane is to know it.
    #[must_use]
    pub fn admission(&self, settings: &Settings, key: [u64; 2]) -> Admission {
        let tables = self.read();
        plan::admission(settings, key, tables.entities.values())
    }

    #[must_use]
    pub fn entity(&self, key: &EntityKey) -> Option<Entity> {
        self.read().entities.get(&name(key)).cloned()
    }

    /// A page, newest first.
    #[must_use]
    pub fn entities(&self, query: &EntityQuery) -> Vec<Entity> {
        let tables = self.read();
        let of_kind = tables.entities.range(prefix(query.kind).to_owned()..);
        let rows = of_kind
            .take_while(|(name, _)| name.starts_with(prefix(query.kind)))
            .map(|(_, entity)| entity)
            .filter(|entity| is_of(entity, query.account) && query.matches(entity));
        query.window.apply(rows.cloned().collect(), Listed::cursor)
    }

    /// Who logs in as `username`.
    #[must_use]
    pub fn login(&self, username: &str) -> Option<Login> {
        if let Ok(sid) = username.parse::<AccountSid>() {
            let account = self.account(sid)?;
            return Some(Login { secret: account.auth_token.clone(), account, key: false });
        }
        let sid: KeySid = username.parse().ok()?;
        let Some(Entity::ApiKey(key)) = self.entity(&EntityKey::ApiKey(sid)) else { return None };
        Some(Login { account: self.account(key.account)?, secret: key.secret, key: true })
    }

    fn account(&self, sid: AccountSid) -> Option<Account> {
        match self.entity(&EntityKey::Account(sid))? {
            Entity::Account(account) => Some(account),
            _ => None,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account's list of accounts is itself and its sub-accounts.
fn is_of(entity: &Entity, owner: AccountSid) -> bool {
    match entity {
        Entity::Account(account) => account.sid == owner || account.parent == owner,
        other => other.account() == Some(owner),
    }
}

/// Kinds lie together: the name begins with the sid's two letters.
fn name(key: &EntityKey) -> String {
    match key {
        EntityKey::Account(sid) => sid.to_string(),
        EntityKey::ApiKey(sid) => sid.to_string(),
        EntityKey::Application(sid) => sid.to_string(),
        EntityKey::PhoneNumber(sid) => sid.to_string(),
        EntityKey::SipDomain(sid) => sid.to_string(),
        EntityKey::Route(sid) => sid.to_string(),
        EntityKey::Price(account, service) => format!("price {account:?} {}", service.name()),
    }
}

fn prefix(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Account => "AC",
        EntityKind::ApiKey => "SK",
        EntityKind::Application => "AP",
        EntityKind::PhoneNumber => "PN",
        EntityKind::SipDomain => "SD",
    }
}
