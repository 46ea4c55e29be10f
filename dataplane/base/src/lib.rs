//! What every other crate may use, and nothing that does I/O: ids, time as numbers, frames, a timer
//! wheel, slabs and arenas that are allocated once, a seeded PRNG, a keyed hash.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;
pub mod id;
pub mod time;

pub use frame::{Flow, FlowReport, Frame, Frames, Local, MediaPort, Path, Received, Transmit};
pub use id::{CallId, LegId, ShardId};
pub use time::{Mono, Now, Wall};
