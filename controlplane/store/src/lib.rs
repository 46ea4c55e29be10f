//! The system of record.
//!
//! ```text
//!   StoreWrite -> entry -> journal (write(2), then group fsync)     the fact is durable
//!              -> Store::submit -> one writer, group commit         the fact can be asked for
//!                                  committed = position -> journal segments are deleted
//! ```
//!
//! The journal makes durable, the store makes readable; what the journal holds and the store does
//! not is applied again at start. Every write may come twice.
#![forbid(unsafe_code)]

pub mod entry;
pub mod journal;
pub mod query;
pub mod sqlite;
pub mod vault;

use base::CallId;
use model::port::StoreWrite;
use model::query::{AlertQuery, CallQuery, LetterQuery, Span, UsageDay};
use model::{AccountSid, Alert, AlertSid, Book, CallRow, Cdr, DeadLetter, UsageRow};

pub use journal::{Folder, Journal, JournalError, Position, Replay};
pub use query::{Status, Sum};
pub use sqlite::Sqlite;
pub use vault::{Vault, VaultError};

/// The questions that the director, the API and the operator ask. Reads block their thread
/// (microseconds to milliseconds) and see everything that was committed;
/// [`Store::settle_account`] first, to see one's own writes.
pub trait Store: Send + Sync {
    /// Queues a write with its position in the journal; positions grow.
    fn submit(&self, position: Position, write: StoreWrite);

    /// Everything up to this position is committed durably.
    fn committed(&self) -> Position;

    /// Waits until everything submitted so far is committed.
    ///
    /// # Errors
    /// [`StoreError`] while the store cannot commit; it keeps trying.
    fn settle(&self) -> Result<(), StoreError>;

    /// Waits until what was submitted about this account so far is committed, and for nothing else.
    ///
    /// # Errors
    /// [`StoreError`] while the store cannot commit, and when its deadline passes.
    fn settle_account(&self, account: AccountSid) -> Result<(), StoreError>;

    /// Why the store cannot commit now, if so. It keeps trying; the journal keeps what waits.
    fn failure(&self) -> Option<String>;

    /// Why it never will, if so (a sync failed: what is on the disk is unknown until it is opened
    /// again).
    fn fatal(&self) -> Option<String>;

    /// Everything configured and every script that has not ended; no standing legs.
    ///
    /// # Errors
    /// [`StoreError`].
    fn book(&self) -> Result<Book, StoreError>;

    /// # Errors
    /// [`StoreError`].
    fn call(&self, sid: CallId) -> Result<Option<CallRow>, StoreError>;

    /// Newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, StoreError>;

    /// # Errors
    /// [`StoreError`].
    fn cdrs(&self, call: CallId) -> Result<Vec<Cdr>, StoreError>;

    /// By micro-service and segment.
    ///
    /// # Errors
    /// [`StoreError`].
    fn usage_of_call(&self, call: CallId) -> Result<Vec<UsageRow>, StoreError>;

    /// Days that start in the span, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn usage(&self, account: AccountSid, days: Span) -> Result<Vec<UsageDay>, StoreError>;

    /// # Errors
    /// [`StoreError`].
    fn alert(&self, sid: AlertSid) -> Result<Option<Alert>, StoreError>;

    /// Newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError>;

    /// Newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>, StoreError>;

    /// By its token.
    ///
    /// # Errors
    /// [`StoreError`].
    fn dead_letter(&self, token: &str) -> Result<Option<DeadLetter>, StoreError>;

    /// The same usage added up three ways, which must agree: rows, days, and what the CDRs say.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sums(&self, account: AccountSid) -> Result<Vec<Sum>, StoreError>;

    /// # Errors
    /// [`StoreError`].
    fn status(&self) -> Result<Status, StoreError>;
}

/// Why the store gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What SQLite says.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row cannot be read.
    #[error("a row of `{table}` cannot be read: {cause}")]
    Row { table: &'static str, cause: String },
    /// A secret does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A newer binary made the database.
    #[error(
        "the database has schema version {found}, this binary knows {known}: run the newer one"
    )]
    Newer { found: i64, known: i64 },
    /// It took longer than a question may.
    #[error("the store did not answer in time")]
    Late,
    /// Commits fail at present.
    #[error("the store cannot commit: {0}")]
    Stuck(String),
}
