//! Who is let in, by what can be written down.
//!
//! ```text
//!   open     everything is taken
//!   closed   no new calls: the disk's reserve is in use, or the store is far behind; what stands
//!            goes on and is written down
//!   blocked  nothing is decided any more: what was decided last cannot be written, or the store is
//!            so far behind that its queue would not end
//! ```
//!
//! Admission stops first, so that the rest is room for what stands to end.

use model::port::{ApiError, ApiRequest};
use store::journal::Medium;

use crate::facts::Facts;
use crate::health::Found;

/// Bytes that the store may be behind before no new calls are taken, and before they are again.
const BEHIND_CLOSED: usize = 64 << 20;
const BEHIND_OPEN: usize = 32 << 20;
/// Bytes that it may be behind before everything waits: the bound of its queue and of the journal.
const BEHIND_BLOCKED: usize = 128 << 20;

/// See the module.
#[derive(Debug)]
pub struct Admission {
    /// [`BEHIND_OPEN`], [`BEHIND_CLOSED`], [`BEHIND_BLOCKED`].
    behind: [usize; 3],
    blocked: Option<String>,
    closed: Option<String>,
    /// Room on the disk, as it was last looked at.
    pub free_bytes: u64,
}

impl Default for Admission {
    fn default() -> Self {
        let behind = [BEHIND_OPEN, BEHIND_CLOSED, BEHIND_BLOCKED];
        Self { behind, blocked: None, closed: None, free_bytes: 0 }
    }
}

impl Admission {
    /// With bounds of a test's size.
    #[cfg(test)]
    pub(crate) fn with_bounds(behind: [usize; 3]) -> Self {
        Self { behind, ..Self::default() }
    }

    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// This request would begin a call.
    #[must_use]
    pub fn refuses(&self, what: &ApiRequest) -> bool {
        self.is_closed() && matches!(what, ApiRequest::CreateCall(_))
    }

    /// Why it is refused.
    #[must_use]
    pub fn error(&self) -> ApiError {
        let why = self.blocked.as_deref().or(self.closed.as_deref()).unwrap_or_default();
        tracing::debug!(why, "an API request is refused");
        ApiError {
            status: 503,
            code: 20_503,
            message: "The switch cannot write down what it does at present; try again later"
                .to_owned(),
        }
    }

    /// Looks at journal and store. `Some(closed)` if the shards have to be told.
    pub fn judge<M: Medium>(&mut self, facts: &Facts<M>) -> Option<bool> {
        let behind = facts.backlog_bytes();
        let [open, close, most] = self.behind;
        let far = |behind: usize| {
            let why = facts.store_failure().map_or_else(String::new, |why| format!(": {why}"));
            format!("the store is {behind} bytes behind{why}")
        };
        let blocked = facts.waits().map(str::to_owned);
        let blocked = blocked.or_else(|| (behind >= most).then(|| far(behind)));
        let limit = if self.closed.is_some() { open } else { close };
        let closed = blocked.clone().or_else(|| facts.failure()).or_else(|| {
            let full = || "the disk is full, its reserve is in use".to_owned();
            (!facts.has_reserve()).then(full).or_else(|| (behind >= limit).then(|| far(behind)))
        });
        self.say(blocked.as_deref(), closed.as_deref());
        let changed = self.closed.is_some() != closed.is_some();
        (self.blocked, self.closed) = (blocked, closed);
        changed.then_some(self.closed.is_some())
    }

    fn say(&self, blocked: Option<&str>, closed: Option<&str>) {
        match (&self.closed, closed) {
            (None, Some(why)) => tracing::error!(why, "no new calls are taken"),
            (Some(_), None) => tracing::warn!("new calls are taken again"),
            _ => {}
        }
        match (&self.blocked, blocked) {
            (None, Some(why)) => {
                tracing::error!(why, "nothing can be written down: everything waits");
            }
            (Some(_), None) => tracing::warn!("what waited is written down"),
            _ => {}
        }
    }

    /// For whoever asks how we are.
    pub fn found<M: Medium>(&self, facts: &Facts<M>) -> Found {
        Found {
            blocked: self.blocked.clone(),
            closed: self.closed.clone(),
            store: facts.store_failure(),
            backlog_bytes: facts.backlog_bytes() as u64,
            free_bytes: self.free_bytes,
        }
    }
}
