//! Reads the published table beside the shard's thread: a hundred thousand places take milliseconds
//! to copy, to check, to digest and to drop, which no packet shall wait for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use base::HashKey;
use crossbeam_queue::ArrayQueue;
use shard::Published;

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
    Table(Box<Published>),
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
    /// What holds no more.
    old: Arc<ArrayQueue<Box<Published>>>,
    thread: std::thread::Thread,
    is_asked: bool,
}

impl Tables {
    /// `bells`: the shard's is rung when there is something to poll.
    /// `key`: of the shard's tables.
    pub(crate) fn new(bells: Arc<Bells>, shard: u8, key: HashKey) -> Result<Self, Failure> {
        let asked = Arc::new(ArrayQueue::new(1));
        let read = Arc::new(ArrayQueue::new(1));
        let old = Arc::new(ArrayQueue::new(1));
        let ends = (Arc::clone(&asked), Arc::clone(&read), Arc::clone(&old));
        let builder = std::thread::Builder::new().name("tables".to_owned());
        let thread = builder
            .spawn(move || serve(&ends, key, || bells.shards[usize::from(shard)].ring()))?
            .thread()
            .clone();
        Ok(Self { asked, read, old, thread, is_asked: false })
    }

    /// Has the area read, unless that is under way.
    pub(crate) fn ask(&mut self, area: &'static [AtomicU64], seen: u64) {
        if !self.is_asked && self.asked.push((area, seen)).is_ok() {
            self.is_asked = true;
            self.thread.unpark();
        }
    }

    /// What holds no more is dropped beside the shard's thread.
    pub(crate) fn drop_old(&self, published: Box<Published>) {
        // One is asked for at a time, so that there is room; else it is dropped here.
        let _ = self.old.push(published);
        self.thread.unpark();
    }

    /// What was found in this area since it was asked for.
    pub(crate) fn poll(&mut self, area: &'static [AtomicU64]) -> Option<Read> {
        let read = self.read.pop()?;
        self.is_asked = false;
        // Of a controlplane that is gone by now.
        std::ptr::eq(read.area, area).then_some(read)
    }
}

type Ends = (Arc<ArrayQueue<Asked>>, Arc<ArrayQueue<Read>>, Arc<ArrayQueue<Box<Published>>>);

fn serve((asked, read, old): &Ends, key: HashKey, ring: impl Fn()) {
    loop {
        drop(old.pop());
        let Some((area, mut seen)) = asked.pop() else {
            std::thread::park();
            continue;
        };
        let found = look(area, &mut seen, &key);
        read.force_push(Read { area, seen, found });
        ring();
    }
}

fn look(area: &[AtomicU64], seen: &mut u64, key: &HashKey) -> Found {
    for _ in 0..TRIES {
        match wire::table::read(area, seen) {
            Ok(Some(table)) => {
                let places = table.admission.as_ref().map_or(0, |it| it.places.len());
                tracing::info!(routes = table.routes.len(), places, "published table read");
                return Found::Table(Box::new(Published::new(table, key)));
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
