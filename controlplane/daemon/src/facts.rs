//! Facts on their way to being durable and readable: director -> journal -> store.
//!
//! ```text
//!   write: encode, append     flush: write(2), then to the store's queue
//!   durable: answers the writes that wait for it, moves the rings' released cursors
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use director::port::{StoreId, StoreWrite, Stored};
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
        let taken = encoded
            .and_then(|bytes| self.journal.append(&bytes).map_err(|error| error.to_string()));
        match taken {
            Ok(position) => {
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

    /// Puts everything taken out of this process's hands: what depends on it may leave now.
    pub fn flush(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        // A failure is answered by `stored`, to everyone who waits.
        let _ = self.journal.flush();
        for (position, write) in self.fresh.drain(..) {
            self.store.submit(position, write);
        }
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

    /// Why nothing is acknowledged any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.journal.failure().or_else(|| self.broken.clone())
    }

    /// Why the store cannot commit now, if so.
    #[must_use]
    pub fn store_failure(&self) -> Option<String> {
        self.store.failure()
    }

    /// What the store has committed need not be kept.
    pub fn release(&mut self) {
        self.journal.release(self.store.committed());
    }
}

impl<M: Medium> fmt::Debug for Facts<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("last", &self.last).finish_non_exhaustive()
    }
}
