//! One request as a resource sees it, and what it answers: who asks, about which account, with what
//! parameters, and the rest of the controlplane behind it. Whoever serves makes it.

use core::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Method;
use model::{Account, AccountSid, Secret};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::backend::{Backend, Login, Read};
use crate::door::{Digest, Door, Source};
use crate::form::Form;
use crate::limits::Limits;
use crate::locks::{Locks, Turn};
use crate::problem::Problem;

/// A page of more rows is a long one: writing it takes a thread for milliseconds.
const LONG_PAGE: usize = 100;

/// Shared by all requests.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    /// What opens `/v1/Operator`; empty: nothing does.
    pub(crate) operator: Secret,
    /// Where clients reach the API; empty: where they say they do.
    pub(crate) public_url: String,
    /// Whose things are being changed: two updates of one thing do not undo each other.
    changing: Locks,
    /// Which family reads a long page.
    reading: Locks,
    /// Who writes one out: one at a time, so that threads are left for what is short.
    writing: Semaphore,
    /// The operator changes one thing at a time.
    operating: Mutex<()>,
    door: std::sync::Mutex<Door>,
    begun: Instant,
}

/// A request of an account under way.
pub(crate) struct UnderWay<'a> {
    shared: &'a Shared,
    family: AccountSid,
}

/// One request of 2010-04-01, authenticated, its account authorised.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) login: &'a Login,
    /// The account that the path names.
    pub(crate) account: Account,
    pub(crate) method: Method,
    /// The path as it came, for messages and links.
    pub(crate) path: &'a str,
    pub(crate) form: Form,
    /// Where the client reaches this API, `http://host:port`.
    pub(crate) origin: String,
}

/// What a resource answers.
#[derive(Debug)]
pub(crate) enum Reply {
    Shown(Value),
    Created(Value),
    Deleted,
}

/// What a resource's handler gives.
pub(crate) type Outcome = Result<Reply, Problem>;

impl Shared {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        limits: Limits,
        operator: Secret,
        public_url: &str,
    ) -> Self {
        let public_url = public_url.trim_end_matches('/').to_owned();
        let (changing, reading) = (Locks::default(), Locks::default());
        let door = std::sync::Mutex::new(Door::new(limits));
        let (operating, begun) = (Mutex::const_new(()), Instant::now());
        let writing = Semaphore::const_new(1);
        Self { backend, operator, public_url, changing, reading, writing, operating, door, begun }
    }

    /// Held from reading an account until its changed form is stored, by whomever.
    pub(crate) async fn changing(&self, account: AccountSid) -> Turn<'_> {
        self.changing.turn(account).await
    }

    /// As [`Context::changing`], for the operator's things.
    pub(crate) async fn changing_all(&self) -> MutexGuard<'_, ()> {
        self.operating.lock().await
    }

    /// A family's turn to read a page of so many rows: long ones one after the other.
    pub(crate) async fn reading(&self, account: &Account, rows: usize) -> Option<Turn<'_>> {
        if rows <= LONG_PAGE { None } else { Some(self.reading.turn(account.parent).await) }
    }

    /// The turn to write such a page out.
    pub(crate) async fn writing(&self, rows: usize) -> Option<SemaphorePermit<'_>> {
        if rows <= LONG_PAGE { None } else { self.writing.acquire().await.ok() }
    }

    fn door<T>(
        &self,
        ask: impl FnOnce(&mut Door, Duration) -> Result<T, Duration>,
    ) -> Result<T, Problem> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut door, self.begun.elapsed()).map_err(Problem::too_many_for)
    }

    pub(crate) fn ask(&self, source: Source) -> Result<(), Problem> {
        self.door(|door, now| door.ask(now, source))
    }

    pub(crate) fn guess(
        &self,
        source: Source,
        name: Digest,
        credential: Digest,
    ) -> Result<(), Problem> {
        self.door(|door, now| door.guess(now, source, name, credential))
    }

    pub(crate) fn was_right(&self, source: Source, name: Digest, credential: Digest) {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.was_right(source, name, credential);
    }

    /// One more request of this account's family.
    pub(crate) fn begin(&self, account: &Account) -> Result<UnderWay<'_>, Problem> {
        let family = account.parent;
        self.door(|door, now| door.begin(now, family))?;
        Ok(UnderWay { shared: self, family })
    }
}

impl Context<'_> {
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.shared.backend
    }

    /// `/2010-04-01/Accounts/AC…`
    pub(crate) fn base(&self) -> String {
        format!("/2010-04-01/Accounts/{}", self.account.sid)
    }

    /// A path as an absolute address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn not_found(&self) -> Problem {
        Problem::not_found(self.path)
    }

    /// Held from reading a thing until its changed form is stored: updates of one account's things
    /// do not undo each other.
    pub(crate) async fn changing(&self) -> Turn<'_> {
        self.shared.changing(self.account.sid).await
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shared.door.lock().unwrap_or_else(PoisonError::into_inner).done(self.family);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A read's result, or 503 with the reason in the log.
pub(crate) fn read<T>(result: Read<T>) -> Result<T, Problem> {
    result.map_err(|unavailable| {
        tracing::error!(%unavailable, "API read");
        Problem::unavailable()
    })
}
