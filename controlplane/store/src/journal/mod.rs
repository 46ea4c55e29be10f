//! The journal: where a fact is durable before anyone is told so.
//!
//! ```text
//!   runtime                        journal thread                       store writer
//!   append(bytes) -> position  ->  everything queued: one write,
//!                                  one fsync
//!   ring released, cells    <-     durable = position       ->          commits up to a position
//!                                  whole segments deleted   <-          release(position)
//! ```
//!
//! An fsync error ends it: what is on the disk is unknown from then on, asking again may lie, so nothing
//! is acknowledged any more, and the switch stops admitting what would be billed.

mod log;
mod medium;
mod segment;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use log::{Position, Replay};
pub use medium::{Folder, Medium};
pub use segment::RECORD_BYTES_MAX;

use log::Log;

/// Bytes after which a segment is followed by the next.
pub const SEGMENT_BYTES: usize = 16 << 20;
/// Bytes queued from which on [`Journal::is_full`] says so: the ring is then left to fill up.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Told after every group fsync, and once when the journal stopped; called on the journal's thread.
pub type Listener = Box<dyn Fn() + Send>;

/// The handle of the journal's thread. Dropping it writes what is queued and joins the thread.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The medium failed once; nothing is acknowledged any more.
    #[error("the journal stopped: {0}")]
    Stopped(String),
    /// Empty, or longer than [`RECORD_BYTES_MAX`].
    #[error("a journal record of {0} bytes is outside 1..={RECORD_BYTES_MAX}")]
    Length(usize),
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    next: Position,
    released: Position,
    closing: bool,
    failure: Option<String>,
}

impl Journal {
    /// Reads what is there, starts a new segment and the thread.
    ///
    /// # Errors
    /// What the medium says.
    pub fn open<M: Medium + 'static>(
        medium: M,
        segment_bytes: usize,
        listener: Listener,
    ) -> io::Result<(Self, Replay)> {
        let (log, replay) = Log::open(medium, segment_bytes)?;
        let shared = Arc::new(Shared::default());
        shared.lock().next = log.next();
        shared.durable.store(log.next() - 1, Ordering::Release);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(&theirs, log, &listener))?;
        Ok((Self { shared, thread: Some(thread) }, replay))
    }

    /// Queues a record; it is durable once [`Journal::durable`] has reached the position returned.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn append(&self, record: Vec<u8>) -> Result<Position, JournalError> {
        if record.is_empty() || record.len() > RECORD_BYTES_MAX {
            return Err(JournalError::Length(record.len()));
        }
        let mut queue = self.shared.lock();
        if let Some(failure) = &queue.failure {
            return Err(JournalError::Stopped(failure.clone()));
        }
        let position = queue.next;
        queue.next += 1;
        queue.bytes += record.len();
        queue.records.push_back(record);
        drop(queue);
        self.shared.ready.notify_one();
        Ok(position)
    }

    /// Everything up to this position is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Everything up to `position` is committed by the store: segments before it may go.
    pub fn release(&self, position: Position) {
        let mut queue = self.shared.lock();
        queue.released = queue.released.max(position);
        drop(queue);
        self.shared.ready.notify_one();
    }

    /// The disk does not keep up: take no more facts from the rings now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.lock().bytes >= QUEUE_BYTES_MAX
    }

    /// What ended the journal, if something did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.ready.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the journal's thread was already reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run<M: Medium>(shared: &Shared, mut log: Log<M>, listener: &Listener) {
    let mut released = 0;
    loop {
        let mut queue = shared.lock();
        while queue.records.is_empty() && queue.released == released && !queue.closing {
            queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let batch = core::mem::take(&mut queue.records);
        let release = queue.released;
        let closing = queue.closing && batch.is_empty() && release == released;
        queue.bytes = 0;
        drop(queue);
        if closing {
            return;
        }
        let mut outcome = Ok(());
        if !batch.is_empty() {
            outcome = log.commit(batch.iter().map(Vec::as_slice)).map(|durable| {
                shared.durable.store(durable, Ordering::Release);
            });
        }
        if outcome.is_ok() && release > released {
            released = release;
            outcome = log.release(release);
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "the journal stopped: no usage is acknowledged any more");
            shared.lock().failure = Some(error.to_string());
            listener();
            return;
        }
        listener();
    }
}

#[cfg(test)]
mod tests;
