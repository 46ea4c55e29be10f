//! Facts on their way to being durable and readable: director -> journal -> store.
//!
//! ```text
//!   write: encode, append     flush: write(2), then to the store's queue
//!   durable: answers the writes that wait for it, moves the rings' released cursors
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use model::port::{Record, StoreId, StoreWrite, Stored};
use store::journal::{Medium, RECORD_BYTES_MAX};
use store::{Folder, Journal, Position, Store, Vault, entry};

/// The journal with the store behind it.
pub struct Facts<M: Medium = Folder> {
    journal: Journal<M>,
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    /// Appended, not yet flushed.
    fresh: Vec<(Position, StoreWrite)>,
    /// Flushed or not, waiting to be durable, in order.
    waiting: VecDeque<(Position, StoreId)>,
    /// Refused at once.
    refused: Vec<(StoreId, String)>,
    last: Position,
    /// A write was refused that nobody will offer again.
    broken: Option<String>,
    /// Why what was taken is not written.
    waits: Option<String>,
    /// Bytes of what the store has not committed, by position.
    backlog: VecDeque<(Position, usize)>,
    backlog_bytes: usize,
}

impl<M: Medium> Facts<M> {
    #[must_use]
    pub fn new(journal: Journal<M>, store: Arc<dyn Store>, vault: Arc<Vault>) -> Self {
        let last = journal.durable();
        Self {
            journal,
            store,
            vault,
            fresh: Vec::new(),
            waiting: VecDeque::new(),
            refused: Vec::new(),
            last,
            broken: None,
            waits: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
        }
    }

    /// Takes a write. One that is longer than a journal record goes in parts: every record of it is
    /// idempotent by itself, and who waits for it waits for the last.
    pub fn write(&mut self, mut write: StoreWrite) {
        let encoded = entry::encode(&write, &self.vault).map_err(|error| error.to_string());
        let is_long = encoded.as_ref().is_ok_and(|bytes| bytes.len() > RECORD_BYTES_MAX);
        if is_long && write.records.len() > 1 {
            let tail = write.records.split_off(write.records.len() / 2);
            self.write(StoreWrite { id: None, records: write.records });
            return self.write(StoreWrite { id: write.id, records: tail });
        }
        let taken = encoded.and_then(|bytes| {
            let position = self.journal.append(&bytes).map_err(|error| error.to_string())?;
            // In memory they are not packed.
            let weight: usize = write.records.iter().map(Record::weight).sum();
            Ok((position, weight.max(bytes.len())))
        });
        match taken {
            Ok((position, bytes)) => {
                self.backlog.push_back((position, bytes));
                self.backlog_bytes += bytes;
                self.last = position;
                self.waiting.extend(write.id.map(|id| (position, id)));
                self.fresh.push((position, write));
            }
            Err(error) => {
                // What led to it must stay in ring and cells: nothing is released from now on.
                self.broken.get_or_insert_with(|| error.clone());
                match write.id {
                    Some(id) => self.refused.push((id, error)),
                    None => tracing::error!(error, "a write was refused"),
                }
            }
        }
    }

    /// Puts everything taken out of this process's hands: what depends on it may leave now. False
    /// if it cannot be written: then nothing may leave before a later attempt has worked.
    #[must_use]
    pub fn flush(&mut self) -> bool {
        if let Err(error) = self.journal.flush() {
            self.waits = Some(error.to_string());
            return false;
        }
        self.waits = None;
        if !self.waiting.is_empty() {
            self.journal.hurry();
        }
        for (position, write) in self.fresh.drain(..) {
            self.store.submit(position, write);
        }
        true
    }

    /// The writes whose fate is known now.
    pub fn stored(&mut self) -> Vec<(StoreId, Stored)> {
        let refused = self.refused.drain(..);
        let mut stored: Vec<_> = refused.map(|(id, error)| (id, Err(error))).collect();
        let durable = self.journal.durable();
        while let Some((_, id)) = self.waiting.pop_front_if(|(position, _)| *position <= durable) {
            stored.push((id, Ok(())));
        }
        if !self.waiting.is_empty()
            && let Some(failure) = self.journal.failure()
        {
            let failed = self.waiting.drain(..);
            stored.extend(failed.map(|(_, id)| (id, Err(failure.clone()))));
        }
        stored
    }

    /// The position of the last write taken.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    #[must_use]
    pub fn durable(&self) -> Position {
        self.journal.durable()
    }

    /// A write was refused that nobody will offer again: nothing is released any more.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.broken.clone()
    }

    /// A sync failed: only a successor that reads what is there can go on.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.journal.failure().or_else(|| self.store.fatal())
    }

    /// Why what was taken is not written, if so.
    #[must_use]
    pub fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// Bytes written to the journal by this process.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal.written_bytes()
    }

    /// Bytes that the store has not committed: the journal keeps them on the disk, the store's
    /// queue in memory.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// Room is set aside on the disk for the ends of what stands; if it was used, it is again once
    /// there is room.
    pub fn keep_reserve(&mut self) -> bool {
        self.journal.keep_reserve()
    }

    /// The last answer to [`Self::keep_reserve`], unless the reserve was used since.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.journal.has_reserve()
    }

    /// Room on the journal's disk; None if nobody knows.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.journal.free_bytes()
    }

    /// Why the store cannot commit now, if so.
    #[must_use]
    pub fn store_failure(&self) -> Option<String> {
        self.store.failure()
    }

    /// What the store has committed need not be kept.
    pub fn release(&mut self) {
        let committed = self.store.committed();
        while let Some((_, bytes)) = self.backlog.pop_front_if(|(at, _)| *at <= committed) {
            self.backlog_bytes -= bytes;
        }
        self.journal.release(committed);
    }
}

impl<M: Medium> fmt::Debug for Facts<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("last", &self.last).finish_non_exhaustive()
    }
}
