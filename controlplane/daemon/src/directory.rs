//! What is configured, for those who read it at every request: logins, lists. The runtime keeps it
//! as the writes pass by.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use api::backend::Login;
use director::Settings;
use model::port::{Entity, EntityKey, Record};
use model::query::EntityQuery;
use model::{AccountSid, ApiKey, Book, KeySid};
use wire::table::{Admission, Network, Watch};

use crate::plan;

/// The director's directory as it was when the last write passed by.
#[derive(Debug, Default)]
pub struct Directory {
    inner: RwLock<model::Directory>,
}

impl Directory {
    #[must_use]
    pub fn new(book: &Book) -> Self {
        Self { inner: RwLock::new(model::Directory::load(book)) }
    }

    /// A write passes by.
    pub fn learn(&self, records: &[Record]) {
        let configures = |record: &&Record| matches!(record, Record::Put(_) | Record::Delete(_));
        for record in records.iter().filter(configures) {
            self.inner.write().unwrap_or_else(PoisonError::into_inner).learn(record);
        }
    }

    /// Whom applications answer for, as the dataplane is to know it.
    #[must_use]
    pub fn admission(&self, settings: &Settings, key: [u64; 2]) -> Admission {
        plan::admission(settings, key, self.read().entities())
    }

    /// The networks of [`Directory::admission`], in the order in which they matter.
    #[must_use]
    pub fn sources_in_turn(&self) -> Vec<Vec<Network>> {
        plan::sources_in_turn(self.read().entities())
    }

    /// Which SIP messages are told, as the dataplane is to know it.
    #[must_use]
    pub fn watch(&self, key: [u64; 2]) -> Watch {
        self.read().watch(key)
    }

    #[must_use]
    pub fn entity(&self, key: &EntityKey) -> Option<Entity> {
        self.read().entity(*key).cloned()
    }

    /// A page, newest first.
    #[must_use]
    pub fn entities(&self, query: &EntityQuery) -> Vec<Entity> {
        self.read().page(query)
    }

    /// Whether the account with this number may have calls; one that is not known is asked about.
    #[must_use]
    pub fn is_active(&self, number: u64) -> bool {
        let directory = self.read();
        directory.account_by_number(number).is_none_or(|account| directory.is_active(account.sid))
    }

    /// The main account that an account belongs to.
    #[must_use]
    pub fn family(&self, account: AccountSid) -> AccountSid {
        self.read().family(account)
    }

    /// Who logs in as `username`.
    #[must_use]
    pub fn login(&self, username: &str) -> Option<Login> {
        let directory = self.read();
        if let Ok(sid) = username.parse::<AccountSid>() {
            let account = directory.account(sid)?.clone();
            let second = directory.second_token(sid).map(|second| second.token.clone());
            return Some(Login { secret: account.auth_token.clone(), second, account, key: false });
        }
        let key: &ApiKey = directory.get(username.parse::<KeySid>().ok()?)?;
        let account = directory.account(key.account)?.clone();
        Some(Login { account, secret: key.secret.clone(), second: None, key: true })
    }

    fn read(&self) -> RwLockReadGuard<'_, model::Directory> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}
