//! So many at one time of each, and no more: of a family of accounts, of a family at one host.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Gates of which none is forgotten.
const REMEMBERED: usize = 1_024;

/// A semaphore for each key that anybody holds or waits for.
#[derive(Debug)]
pub struct Gates<K> {
    permits: usize,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    gates: HashMap<K, Arc<Semaphore>>,
    /// Gates at which those that nobody needs are forgotten.
    forget_at: usize,
}

impl<K: Eq + Hash> Gates<K> {
    /// `permits`: for each key, at least 1.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        let inner = Inner { gates: HashMap::new(), forget_at: REMEMBERED };
        Self { permits: permits.max(1), inner: Mutex::new(inner) }
    }

    /// The gate of `key`.
    pub fn of(&self, key: K) -> Arc<Semaphore> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.gates.len() >= inner.forget_at {
            inner.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            // Not at each one that comes: what is in use may be as many.
            inner.forget_at = (2 * inner.gates.len()).max(REMEMBERED);
        }
        let fresh = || Arc::new(Semaphore::new(self.permits));
        Arc::clone(inner.gates.entry(key).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_that_nobody_needs_are_forgotten_now_and_then() {
        let gates = Gates::new(1);
        for key in 0..10_000_u32 {
            gates.of(key);
        }
        assert!(gates.inner.lock().unwrap().gates.len() <= REMEMBERED);
        let held: Vec<_> = (0..5_000_u32).map(|key| gates.of(key)).collect();
        let inner = gates.inner.lock().unwrap();
        assert!(inner.gates.len() >= held.len() && inner.forget_at >= held.len());
        assert!(inner.forget_at <= 4 * held.len(), "{}", inner.forget_at);
    }
}
