//! Memory for regions: plain words that live as long as the process, handed back and used again by
//! the next world, so that a thousand worlds cost the memory of a few.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A region's words, free again when dropped.
#[derive(Debug)]
pub struct Memory(&'static [AtomicU64]);

type Pool = BTreeMap<usize, Vec<&'static [AtomicU64]>>;

static POOL: Mutex<Pool> = Mutex::new(BTreeMap::new());

impl Memory {
    /// `words` zero words.
    #[must_use]
    pub fn new(words: usize) -> Self {
        let used = {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            pool.get_mut(&words).and_then(Vec::pop)
        };
        if let Some(used) = used {
            used.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            return Self(used);
        }
        let fresh: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self(fresh.leak())
    }

    #[must_use]
    pub fn words(&self) -> &'static [AtomicU64] {
        self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.entry(self.0.len()).or_default().push(self.0);
    }
}
