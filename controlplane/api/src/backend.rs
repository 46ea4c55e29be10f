//! What the API needs of the rest of the controlplane. The daemon implements it: reads go to the
//! store (or to a cache of it), [`Backend::submit`] goes to the director and comes back when the
//! write is durable.
//!
//! Nothing here decides who may see what: the API authenticates, authorises the path's account and
//! compares the account of every row it shows. Reads by sid therefore answer whoever's row it is;
//! `account` is the one for which is asked: its own writes can be read, and its share is used.

use core::fmt;
use std::future::Future;
use std::pin::Pin;

use base::{CallId, Wall};
use model::port::{ApiRequest, ApiResult, Entity, EntityKey};
use model::query::{AlertQuery, CallQuery, EntityQuery, LetterQuery, UsageDay};
use model::{Account, AccountSid, Alert, AlertSid, CallRow, Cdr, DeadLetter, Secret, UsageRow};

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The rest of the controlplane, as the API sees it. Every method may be called at any time from
/// any task and must not block its thread.
pub trait Backend: Send + Sync + 'static {
    /// Now, UTC.
    fn now(&self) -> Wall;

    /// Who logs in as `username` (an AccountSid or an API key's sid, as it came) and what secret
    /// that one must know. The API compares, in constant time. `None`: nobody.
    fn login<'a>(&'a self, username: &'a str) -> Answer<'a, Read<Option<Login>>>;

    /// Hands a request for `account` to the director. Ends with its answer, or with 503 (code
    /// 20503) when the director is not there; if the caller goes away first, the request is still
    /// carried out.
    fn submit(&self, account: AccountSid, what: ApiRequest) -> Answer<'_, ApiResult>;

    /// One configured thing by its key, whoever's it is.
    fn entity(&self, key: EntityKey) -> Answer<'_, Read<Option<Entity>>>;

    /// A page of what an account configured, newest first (by date_created, then sid).
    fn entities(&self, query: EntityQuery) -> Answer<'_, Read<Vec<Entity>>>;

    /// One call, live or past, whoever's it is.
    fn call(&self, account: AccountSid, sid: CallId) -> Answer<'_, Read<Option<CallRow>>>;

    /// A page of an account's calls, newest first (by date_created, then sid).
    fn calls(&self, query: CallQuery) -> Answer<'_, Read<Vec<CallRow>>>;

    /// The CDRs of a call: one once it has ended, none before.
    fn cdrs(&self, account: AccountSid, call: CallId) -> Answer<'_, Read<Vec<Cdr>>>;

    /// The usage rows of a call, by micro-service and segment.
    fn usage_of_call(&self, account: AccountSid, call: CallId) -> Answer<'_, Read<Vec<UsageRow>>>;

    /// Usage and charges by UTC day and micro-service, for days that start in `from..to`, oldest
    /// first.
    fn usage(&self, account: AccountSid, from: Wall, to: Wall) -> Answer<'_, Read<Vec<UsageDay>>>;

    /// One alert, whoever's it is.
    fn alert(&self, account: AccountSid, sid: AlertSid) -> Answer<'_, Read<Option<Alert>>>;

    /// A page of an account's alerts, newest first (by `at`, then sid).
    fn alerts(&self, query: AlertQuery) -> Answer<'_, Read<Vec<Alert>>>;

    /// A page of callbacks that were given up, newest first (by `at`, then token).
    fn dead_letters(&self, query: LetterQuery) -> Answer<'_, Read<Vec<DeadLetter>>>;

    /// One of them, whoever's it is.
    fn dead_letter(
        &self,
        account: AccountSid,
        token: String,
    ) -> Answer<'_, Read<Option<DeadLetter>>>;

    /// The operator's metrics in the Prometheus text format.
    fn metrics(&self) -> Answer<'_, String>;

    /// Whether calls are taken, and what is not right.
    fn health(&self) -> Health;
}

/// What `/healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// New calls are taken and what they cost can be written down.
    pub serving: bool,
    /// Lines for people; `ok` where there is nothing to say.
    pub text: String,
}

/// What a read gives.
pub type Read<T> = Result<T, Unavailable>;

/// The store cannot be read now; why is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The account that logs in, or that the key belongs to.
    pub account: Account,
    /// The account's auth token, or the key's secret.
    pub secret: Secret,
    /// The account's second auth token, which opens as much.
    pub second: Option<Secret>,
    /// Logged in with an API key: not allowed to manage accounts and keys.
    pub key: bool,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store not readable: {}", self.0)
    }
}

impl core::error::Error for Unavailable {}
