//! The API's questions, answered: configuration and calls that stand from memory, history from the
//! store, changes by the director.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::backend::{Answer, Backend, Login, Read};
use base::{CallId, Wall};
use director::Asked;
use model::port::{ApiCall, ApiError, ApiId, ApiRequest, ApiResult, Entity, EntityKey};
use model::query::{AlertQuery, CallQuery, EntityQuery, LetterQuery, Span, UsageDay};
use model::{AccountSid, Alert, AlertSid, CallRow, Cdr, DeadLetter, UsageRow};
use store::{Store, StoreError};

use crate::clock;
use crate::directory::Directory;
use crate::documents::Documents;
use crate::inbox::{Inbox, Input};
use crate::metrics::Gauges;
use crate::outside::Replies;
use crate::reads::Reads;
use crate::rows::{self, Rows};

/// See the module.
pub struct Local {
    pub store: Arc<dyn Store>,
    pub reads: Reads,
    pub directory: Arc<Directory>,
    pub rows: Arc<Rows>,
    pub documents: Arc<Documents>,
    pub inbox: Arc<Inbox>,
    pub replies: Arc<Replies>,
    pub gauges: Arc<Gauges>,
    pub next: AtomicU64,
}

impl Local {
    /// Asks the store for an account, by its family's share.
    async fn ask<T: Send + 'static>(
        &self,
        account: AccountSid,
        question: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Read<T> {
        self.reads.ask((self.directory.family(account), account), question).await
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
        let asked = Asked::from(ApiCall { id, account, what });
        let family = self.directory.family(account);
        Box::pin(async move {
            let Some(asked) = self.documents.asked(family, asked).await else {
                return Err(ApiError {
                    status: 500,
                    code: 20_500,
                    message: "The document could not be read".to_owned(),
                });
            };
            let reply = self.replies.expect(id);
            self.inbox.tell(Input::Api(asked));
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

    fn call(&self, account: AccountSid, sid: CallId) -> Answer<'_, Read<Option<CallRow>>> {
        let standing = self.rows.call(sid);
        Box::pin(async move {
            let stored = self.ask(account, move |store| store.call(sid)).await?;
            let has_ended = stored.as_ref().is_some_and(|row| row.status.is_final());
            Ok(if has_ended { stored } else { standing.or(stored) })
        })
    }

    fn calls(&self, query: CallQuery) -> Answer<'_, Read<Vec<CallRow>>> {
        let standing = self.rows.page(&query);
        Box::pin(async move {
            let asked = query.clone();
            let stored = self.ask(query.account, move |store| store.calls(&asked)).await?;
            Ok(rows::merge(&query, standing, stored))
        })
    }

    fn cdrs(&self, account: AccountSid, call: CallId) -> Answer<'_, Read<Vec<Cdr>>> {
        Box::pin(self.ask(account, move |store| store.cdrs(call)))
    }

    fn usage_of_call(&self, account: AccountSid, call: CallId) -> Answer<'_, Read<Vec<UsageRow>>> {
        Box::pin(self.ask(account, move |store| store.usage_of_call(call)))
    }

    fn usage(&self, account: AccountSid, from: Wall, to: Wall) -> Answer<'_, Read<Vec<UsageDay>>> {
        Box::pin(self.ask(account, move |store| store.usage(account, Span { from, to })))
    }

    fn alert(&self, account: AccountSid, sid: AlertSid) -> Answer<'_, Read<Option<Alert>>> {
        Box::pin(self.ask(account, move |store| store.alert(sid)))
    }

    fn alerts(&self, query: AlertQuery) -> Answer<'_, Read<Vec<Alert>>> {
        Box::pin(self.ask(query.account, move |store| store.alerts(&query)))
    }

    fn dead_letters(&self, query: LetterQuery) -> Answer<'_, Read<Vec<DeadLetter>>> {
        let account = query.account.unwrap_or_default();
        Box::pin(self.ask(account, move |store| store.dead_letters(&query)))
    }

    fn dead_letter(
        &self,
        account: AccountSid,
        token: String,
    ) -> Answer<'_, Read<Option<DeadLetter>>> {
        Box::pin(self.ask(account, move |store| store.dead_letter(&token)))
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
