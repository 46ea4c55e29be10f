//! SQLite: WAL, synchronous=FULL, one writer thread that commits what is queued in groups, and
//! read-only connections beside it.

mod apply;
mod convert;
mod read;
mod retain;
mod schema;
mod sums;
mod witness;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base::{CallId, Mono};
use model::port::StoreWrite;
use model::query::{AlertQuery, CallQuery, LetterQuery, Span, UsageDay};
use model::{AccountSid, Alert, AlertSid, Book, CallRow, Cdr, DeadLetter, UsageRow};
use rusqlite::{Connection, OpenFlags};

use crate::journal::Position;
use crate::query::{Status, Sum};
use crate::vault::Vault;
use crate::{Store, StoreError};
pub use retain::{Keep, Retention};
use writer::Shared;

/// Read connections kept open; more are made while more are asked at once.
const READERS_KEPT: usize = 8;
/// What a connection waits for a lock; nobody but a backup holds one that long.
const BUSY: Duration = Duration::from_secs(10);

/// Told after every commit; called on the writer's thread.
pub type Listener = Box<dyn Fn() + Send>;

/// Name of the database in the data directory.
pub const FILE_NAME: &str = "tandem.db";

/// The store in one SQLite file.
pub struct Sqlite {
    path: PathBuf,
    vault: Arc<Vault>,
    readers: Mutex<Vec<Connection>>,
    shared: Arc<Shared>,
    deadline: Option<Deadline>,
    thread: Option<JoinHandle<()>>,
}

/// How long a tenant's question may take, and by whose clock.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub clock: fn() -> Mono,
    pub limit: Duration,
}

/// Steps of SQLite's machine between two looks at the clock: some microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

impl Sqlite {
    /// Opens (or makes) the database and starts the writer. `journal_end` is the last position of
    /// the journal; [`Store::committed`] then says from where the journal is to be applied.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        path: &Path,
        vault: Arc<Vault>,
        journal_end: Position,
        listener: Listener,
    ) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // 16 MiB between checkpoints, and as much of a page cache: a checkpoint syncs twice.
        connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::migrate(&mut connection)?;
        let mut committed = apply::applied(&connection)?;
        if committed > journal_end {
            // The journal lost a tail that was never acknowledged (a power cut), or is a new one:
            // its positions will be given out again and must not be taken for applied.
            tracing::warn!(committed, journal_end, "the journal is behind the store");
            committed = journal_end;
            apply::set_applied(&connection, committed)?;
        }
        let shared = Arc::new(Shared::new(committed));
        let (theirs, their_vault) = (Arc::clone(&shared), Arc::clone(&vault));
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer::run(&theirs, &mut connection, &their_vault, &listener))
            .map_err(|error| StoreError::Stuck(error.to_string()))?;
        let readers = Mutex::default();
        let path = path.to_owned();
        Ok(Self { path, vault, readers, shared, deadline: None, thread: Some(thread) })
    }

    /// Questions that tenants ask are interrupted from now on when they take longer.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Old rows, and those beyond an account's share, are removed from now on.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        self.shared.retain(retention);
        self
    }

    /// A question that anybody may make expensive.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(Deadline { clock, limit }) = self.deadline else { return self.read(question) };
        self.read(|connection| {
            let begun = clock();
            let is_late = move || clock().since(begun) >= limit;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_late));
            let answer = question(connection);
            connection.progress_handler(0, None::<fn() -> bool>);
            answer.map_err(|error| match error {
                StoreError::Sqlite(error) if is_interrupted(&error) => StoreError::Late,
                error => error,
            })
        })
    }

    fn read<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(BUSY)?;
                connection
            }
        };
        let answer = question(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        answer
    }
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}

impl Store for Sqlite {
    fn submit(&self, position: Position, write: StoreWrite) {
        self.shared.submit(position, write);
    }

    fn committed(&self) -> Position {
        self.shared.committed()
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.shared.settle()
    }

    fn settle_account(&self, account: AccountSid) -> Result<(), StoreError> {
        let patience = self.deadline.map_or(Duration::MAX, |deadline| deadline.limit);
        self.shared.settle_account(account, patience)
    }

    fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    fn fatal(&self) -> Option<String> {
        self.shared.fatal()
    }

    fn book(&self) -> Result<Book, StoreError> {
        self.read(|connection| read::book(connection, &self.vault))
    }

    fn call(&self, sid: CallId) -> Result<Option<CallRow>, StoreError> {
        self.ask(|connection| read::call(connection, sid))
    }

    fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, StoreError> {
        self.ask(|connection| read::calls(connection, query))
    }

    fn cdrs(&self, call: CallId) -> Result<Vec<Cdr>, StoreError> {
        self.ask(|connection| read::cdrs(connection, call))
    }

    fn usage_of_call(&self, call: CallId) -> Result<Vec<UsageRow>, StoreError> {
        self.ask(|connection| read::usage_of_call(connection, call))
    }

    fn usage(&self, account: AccountSid, days: Span) -> Result<Vec<UsageDay>, StoreError> {
        self.ask(|connection| read::usage(connection, account, days))
    }

    fn alert(&self, sid: AlertSid) -> Result<Option<Alert>, StoreError> {
        self.ask(|connection| read::alert(connection, sid))
    }

    fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        self.ask(|connection| read::alerts(connection, query))
    }

    fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.ask(|connection| read::dead_letters(connection, query))
    }

    fn dead_letter(&self, token: &str) -> Result<Option<DeadLetter>, StoreError> {
        self.ask(|connection| read::dead_letter(connection, token))
    }

    fn sums(&self, account: AccountSid) -> Result<Vec<Sum>, StoreError> {
        self.read(|connection| read::sums(connection, account))
    }

    fn status(&self) -> Result<Status, StoreError> {
        self.read(|connection| read::status(connection, self.shared.figures()))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported where it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod retain_tests;
#[cfg(test)]
mod tests;
