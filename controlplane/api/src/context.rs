//! One request as a resource sees it, and what it answers: who asks, about which account, with what
//! parameters, and the rest of the controlplane behind it. Whoever serves makes it.

use core::fmt;
use std::sync::Arc;

use http::Method;
use model::Account;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::backend::{Backend, Login, Read};
use crate::form::Form;
use crate::problem::Problem;

/// Stripes of the lock that keeps two updates of one thing from undoing each other.
const STRIPES: usize = 64;

/// Shared by all requests.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    stripes: [Mutex<()>; STRIPES],
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
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, stripes: [const { Mutex::const_new(()) }; STRIPES] }
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

    pub(crate) fn not_found(&self) -> Problem {
        Problem::not_found(self.path)
    }

    /// Held from reading a thing until its changed form is stored: updates of one account's things
    /// do not undo each other.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let stripe = usize::try_from(self.account.sid.0 % STRIPES as u128).unwrap_or_default();
        self.shared.stripes[stripe].lock().await
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
