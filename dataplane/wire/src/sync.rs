//! The atomics of the ring under one name, so that `tests/ring_model` can compile the same file
//! over atomics that a model checker watches.

pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
