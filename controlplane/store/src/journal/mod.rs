//! The journal: where a fact is durable before anyone is told so.
//!
//! ```text
//!   runtime                         journal thread                     store writer
//!   append(bytes) -> position
//!   flush(): one write(2)       ->  one fsync for everything written
//!     (kill -9 keeps it)
//!   ring released, cells        <-  durable = position          ->     commits up to a position
//!                                   whole segments deleted      <-     release(position)
//! ```
//!
//! The runtime writes by itself, because a command may only leave after the step that it belongs to
//! was written, and must not wait for a disk; the fsync, which takes milliseconds, is the thread's.
//!
//! A write that fails (a full disk, or a sick one) has told nobody anything: the segment is given
//! up, and the same records go into a new one when that is possible. Until then nothing that
//! depends on them leaves. A reserve on the disk gives what stands room to end.
//!
//! An fsync error ends it: what is on the disk is unknown from then on, and asking again may lie.
//! Nothing is acknowledged any more, and the process ends, so that its successor reads what is
//! there.

mod log;
mod medium;
mod segment;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use log::{Damage, Position, Replay};
pub use medium::{Folder, Medium};
pub use segment::RECORD_BYTES_MAX;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use log::Log;

/// Bytes after which a segment is followed by the next.
pub const SEGMENT_BYTES: usize = 16 << 20;

/// What a group gathers for where somebody waits for it. A sync costs hundreds of microseconds of
/// CPU however little it writes, and nobody who waits for one notices this much.
const GATHER: Duration = Duration::from_millis(20);
/// The same where nobody does: what is written survives this process already, and each sync writes
/// a page again that the next one writes too.
const LEISURE: Duration = Duration::from_millis(100);

/// Told after every group fsync, and once when the journal stopped; called on the journal's thread.
pub type Listener = Box<dyn Fn() + Send>;

/// The writing end, owned by the thread that has the facts. Dropping it syncs what is written and
/// joins the journal's thread.
#[derive(Debug)]
pub struct Journal<M: Medium = Folder> {
    log: Log<M>,
    medium: Arc<M>,
    flushed: Position,
    written_bytes: u64,
    has_reserve: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A sync failed; nothing is acknowledged any more.
    #[error("the journal stopped: {0}")]
    Stopped(String),
    /// Nothing can be written now; what was taken is kept, and to be flushed again.
    #[error("the journal cannot be written: {0}")]
    Waits(String),
    /// Empty, or longer than [`RECORD_BYTES_MAX`].
    #[error("a journal record of {0} bytes is outside 1..={RECORD_BYTES_MAX}")]
    Length(usize),
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    ready: Condvar,
    durable: AtomicU64,
}

/// What the journal's thread is to do.
#[derive(Debug, Default)]
struct Work {
    /// The segment last written to, and the last position in it.
    written: (u64, Position),
    remove: Vec<u64>,
    /// The thread waits until there is something to do: who brings it wakes it.
    is_idle: bool,
    /// Somebody waits for what is written.
    is_wanted: bool,
    closing: bool,
    failure: Option<String>,
}

impl<M: Medium> Journal<M> {
    /// Reads what is there, starts a new segment and the thread.
    ///
    /// # Errors
    /// What the medium says.
    pub fn open(medium: M, segment_bytes: usize, listener: Listener) -> io::Result<(Self, Replay)> {
        let medium = Arc::new(medium);
        let mut salt = [0; 8];
        let random = SystemRandom::new().fill(&mut salt);
        random.map_err(|_| io::Error::other("the system has no random bytes"))?;
        let salt = u64::from_le_bytes(salt);
        let open = || Log::open(Arc::clone(&medium), segment_bytes, salt);
        let (log, replay) = match open() {
            Err(error)
                if error.kind() == io::ErrorKind::StorageFull
                    && medium.give_up_reserve().is_ok() =>
            {
                open()?
            }
            other => other?,
        };
        let shared = Arc::new(Shared::default());
        let (number, flushed) = (log.number(), log.next() - 1);
        shared.durable.store(flushed, Ordering::Release);
        shared.lock().written = (number, flushed);
        let has_reserve = medium.reserve().is_ok();
        let (theirs, beside) = (Arc::clone(&shared), Arc::clone(&medium));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(&theirs, &*beside, number, &listener))?;
        let thread = Some(thread);
        let written_bytes = 0;
        Ok((Self { log, medium, flushed, written_bytes, has_reserve, shared, thread }, replay))
    }

    /// Takes a record; [`Journal::flush`] writes it, and it is durable once [`Journal::durable`]
    /// has reached the position returned.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn append(&mut self, record: &[u8]) -> Result<Position, JournalError> {
        if record.is_empty() || record.len() > RECORD_BYTES_MAX {
            return Err(JournalError::Length(record.len()));
        }
        self.alive()?;
        let durable = self.durable();
        Ok(self.log.append(record, durable))
    }

    /// Writes what was taken, in one call, and has it synced. Records survive this process when
    /// this returns.
    ///
    /// # Errors
    /// [`JournalError::Waits`] if writing failed: to be tried again. [`JournalError::Stopped`].
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.alive()?;
        if self.flushed + 1 == self.log.next() {
            return Ok(());
        }
        let bytes = self.log.taken_bytes();
        let mut flushed = self.log.flush(self.durable());
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        if flushed.as_ref().is_err_and(is_full) && self.medium.give_up_reserve().is_ok() {
            tracing::error!("the disk is full: the journal goes on in its reserve");
            self.has_reserve = false;
            flushed = self.log.flush(self.durable());
        }
        match flushed {
            Ok(written) => {
                self.flushed = written.1;
                self.written_bytes += bytes as u64;
                let mut work = self.shared.lock();
                work.written = written;
                if work.is_idle {
                    self.shared.ready.notify_one();
                }
                Ok(())
            }
            Err(error) => Err(JournalError::Waits(error.to_string())),
        }
    }

    /// Somebody waits for what is written so far: it is synced soon.
    pub fn hurry(&mut self) {
        let mut work = self.shared.lock();
        if !core::mem::replace(&mut work.is_wanted, true) {
            self.shared.ready.notify_one();
        }
    }

    /// Bytes of the records that were written so far, with their frames.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Sets the reserve aside again, where it was used and there is room; whether it is there.
    pub fn keep_reserve(&mut self) -> bool {
        if !self.has_reserve {
            self.has_reserve = self.medium.reserve().is_ok();
        }
        self.has_reserve
    }

    /// The reserve is there: what stands could still be written down if the disk were full now.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.has_reserve
    }

    /// Room on the disk; None if nobody knows.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.medium.free_bytes().ok()
    }

    /// Everything up to this position is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Everything up to `position` is committed by the store: segments before it may go.
    pub fn release(&mut self, position: Position) {
        let segments = self.log.release(position);
        if !segments.is_empty() {
            self.shared.lock().remove.extend(segments);
            self.shared.ready.notify_one();
        }
    }

    /// What ended the journal, if something did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    fn alive(&self) -> Result<(), JournalError> {
        self.failure().map_or(Ok(()), |failure| Err(JournalError::Stopped(failure)))
    }
}

impl<M: Medium> Drop for Journal<M> {
    fn drop(&mut self) {
        // What stopped it was told when it happened.
        let _ = self.flush();
        self.shared.lock().closing = true;
        self.shared.ready.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the journal's thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until `goes_on` does not hold any more.
    fn gather<'w>(
        &self,
        work: MutexGuard<'w, Work>,
        time: Duration,
        goes_on: impl FnMut(&mut Work) -> bool,
    ) -> MutexGuard<'w, Work> {
        let waited = self.ready.wait_timeout_while(work, time, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// `number`: the segment that was synced last.
fn run<M: Medium>(shared: &Shared, medium: &M, mut number: u64, listener: &Listener) {
    let mut durable = shared.durable.load(Ordering::Acquire);
    loop {
        let mut work = shared.lock();
        work.is_idle = true;
        while work.written.1 == durable && work.remove.is_empty() && !work.closing {
            work = shared.ready.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.is_idle = false;
        let has_leisure = |work: &mut Work| !work.closing && !work.is_wanted;
        let mut work = shared.gather(work, LEISURE, has_leisure);
        if core::mem::take(&mut work.is_wanted) {
            work = shared.gather(work, GATHER, |work| !work.closing);
            // Whoever came meanwhile is in this group too.
            work.is_wanted = false;
        }
        let (segment, position) = work.written;
        let remove = core::mem::take(&mut work.remove);
        drop(work);
        if position == durable && remove.is_empty() {
            return;
        }
        // A segment may have been followed by the next since the last time: all between are synced.
        let synced = (number..=segment).try_for_each(|number| medium.sync(number));
        if let Err(error) = synced {
            tracing::error!(%error, "the journal stopped: nothing is acknowledged any more");
            shared.lock().failure = Some(error.to_string());
            listener();
            return;
        }
        shared.durable.store(position, Ordering::Release);
        (number, durable) = (segment, position);
        for number in remove {
            // It is read again at the next start, and known there.
            if let Err(error) = medium.remove(number) {
                tracing::warn!(segment = number, %error, "a segment cannot be removed");
            }
        }
        listener();
    }
}

#[cfg(test)]
mod tests;
