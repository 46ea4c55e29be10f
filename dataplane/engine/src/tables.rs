//! Reads the published table beside the shard's thread: a hundred thousand places take milliseconds
//! to copy and to check, which no packet shall wait for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_queue::ArrayQueue;
use wire::table::Table;

use crate::Failure;
use crate::park::Bells;

/// A table area, and the sequence that is known of it.
type Asked = (&'static [AtomicU64], u64);
/// What was found there.
pub(crate) struct Read {
    area: &'static [AtomicU64],
    /// The sequence that is known of it now.
    pub(crate) seen: u64,
    pub(crate) found: Found,
}

pub(crate) enum Found {
    Table(Table),
    /// What stands there is no table.
    Damaged,
    /// It is being written.
    Nothing,
}

/// How often a table that is being written is looked at again before the shard is told.
const TRIES: u32 = 20;

/// One shard's reader. Its thread ends with the process.
pub(crate) struct Tables {
    asked: Arc<ArrayQueue<Asked>>,
    read: Arc<ArrayQueue<Read>>,
    thread: std::thread::Thread,
    is_asked: bool,
}

impl Tables {
    /// `bells`: the shard's is rung when there is something to poll.
    pub(crate) fn new(bells: Arc<Bells>, shard: u8) -> Result<Self, Failure> {
        let asked = Arc::new(ArrayQueue::new(1));
        let read = Arc::new(ArrayQueue::new(1));
        let (from, to) = (Arc::clone(&asked), Arc::clone(&read));
        let builder = std::thread::Builder::new().name("tables".to_owned());
        let thread = builder
            .spawn(move || serve(&from, &to, || bells.shards[usize::from(shard)].ring()))?
            .thread()
            .clone();
        Ok(Self { asked, read, thread, is_asked: false })
    }

    /// Has the area read, unless that is under way.
    pub(crate) fn ask(&mut self, area: &'static [AtomicU64], seen: u64) {
        if !self.is_asked && self.asked.push((area, seen)).is_ok() {
            self.is_asked = true;
            self.thread.unpark();
        }
    }

    /// What was found in this area since it was asked for.
    pub(crate) fn poll(&mut self, area: &'static [AtomicU64]) -> Option<Read> {
        let read = self.read.pop()?;
        self.is_asked = false;
        // Of a controlplane that is gone by now.
        std::ptr::eq(read.area, area).then_some(read)
    }
}

fn serve(asked: &ArrayQueue<Asked>, read: &ArrayQueue<Read>, ring: impl Fn()) {
    loop {
        let Some((area, mut seen)) = asked.pop() else {
            std::thread::park();
            continue;
        };
        let found = look(area, &mut seen);
        read.force_push(Read { area, seen, found });
        ring();
    }
}

fn look(area: &[AtomicU64], seen: &mut u64) -> Found {
    for _ in 0..TRIES {
        match wire::table::read(area, seen) {
            Ok(Some(table)) => {
                let places = table.admission.as_ref().map_or(0, |it| it.places.len());
                tracing::info!(routes = table.routes.len(), places, "published table read");
                return Found::Table(table);
            }
            Ok(None) => std::thread::park_timeout(core::time::Duration::from_millis(1)),
            Err(error) => {
                tracing::error!("the published table was refused: {error}");
                return Found::Damaged;
            }
        }
    }
    Found::Nothing
}
