//! The API's questions, answered: configuration from memory, history from the store, changes by the
//! director.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::backend::{Answer, Backend, Login, Read, Unavailable};
use base::{CallId, Wall};
use model::port::{ApiCall, ApiError, ApiId, ApiRequest, ApiResult, Entity, EntityKey};
use model::query::{AlertQuery, CallQuery, EntityQuery, Span, UsageDay};
use model::{AccountSid, Alert, AlertSid, CallRow, Cdr, UsageRow};
use store::{Store, StoreError};

use crate::clock;
use crate::directory::Directory;
use crate::inbox::{Inbox, Input};
use crate::metrics::Gauges;
use crate::outside::Replies;

/// See the module.
pub struct Local {
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    pub inbox: Arc<Inbox>,
    pub replies: Arc<Replies>,
    pub gauges: Arc<Gauges>,
    pub next: AtomicU64,
}

impl Local {
    /// Asks the store on a thread that may block, after what was written before is readable.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, Read<T>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                store.settle()?;
                question(&*store)
            });
            let unavailable = |text: String| Unavailable(text);
            match asked.await {
                Ok(answer) => answer.map_err(|error| unavailable(error.to_string())),
                Err(error) => Err(unavailable(error.to_string())),
            }
        })
    }
}

impl Backend for Local {
    fn now(&self) -> Wall {
        clock::sample().wall
    }

    fn login<'a>(&'a self, username: &'a str) -> Answer<'a, Read<Option<Login>>> {
        Box::pin(async move { Ok(self.directory.login(username)) })
    }

    fn submit(&self, account: AccountSid, what: ApiRequest) -> Answer<'_, ApiResult> {
        let id = ApiId(self.next.fetch_add(1, Ordering::Relaxed));
        let reply = self.replies.expect(id);
        self.inbox.tell(Input::Api(ApiCall { id, account, what }));
        Box::pin(async move {
            reply.await.unwrap_or_else(|_| {
                Err(ApiError {
                    status: 503,
                    code: 20_503,
                    message: "The switch is stopping".to_owned(),
                })
            })
        })
    }

    fn entity(&self, key: EntityKey) -> Answer<'_, Read<Option<Entity>>> {
        Box::pin(async move { Ok(self.directory.entity(&key)) })
    }

    fn entities(&self, query: EntityQuery) -> Answer<'_, Read<Vec<Entity>>> {
        Box::pin(async move { Ok(self.directory.entities(&query)) })
    }

    fn call(&self, sid: CallId) -> Answer<'_, Read<Option<CallRow>>> {
        self.ask(move |store| store.call(sid))
    }

    fn calls(&self, query: CallQuery) -> Answer<'_, Read<Vec<CallRow>>> {
        self.ask(move |store| store.calls(&query))
    }

    fn cdrs(&self, call: CallId) -> Answer<'_, Read<Vec<Cdr>>> {
        self.ask(move |store| store.cdrs(call))
    }

    fn usage_of_call(&self, call: CallId) -> Answer<'_, Read<Vec<UsageRow>>> {
        self.ask(move |store| store.usage_of_call(call))
    }

    fn usage(&self, account: AccountSid, from: Wall, to: Wall) -> Answer<'_, Read<Vec<UsageDay>>> {
        self.ask(move |store| store.usage(account, Span { from, to }))
    }

    fn alert(&self, sid: AlertSid) -> Answer<'_, Read<Option<Alert>>> {
        self.ask(move |store| store.alert(sid))
    }

    fn alerts(&self, query: AlertQuery) -> Answer<'_, Read<Vec<Alert>>> {
        self.ask(move |store| store.alerts(&query))
    }

    fn metrics(&self) -> Answer<'_, String> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let status = tokio::task::spawn_blocking(move || store.status().ok()).await;
            let status = status.ok().flatten();
            self.gauges.render(clock::sample(), status.as_ref())
        })
    }

    fn health(&self) -> api::backend::Health {
        let (serving, text) = self.gauges.health.tell();
        api::backend::Health { serving, text }
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
