//! What every other crate may use, and nothing that does I/O: ids, addresses, time as numbers,
//! frames, a timer wheel, slabs and arenas that are allocated once, a seeded PRNG, a keyed hash.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod arena;
pub mod fetch;
pub mod frame;
pub mod hash;
pub mod hop;
pub mod id;
pub mod prng;
pub mod records;
pub mod slab;
pub mod time;
pub mod wheel;

pub use arena::{Arena, Stored};
pub use frame::{
    ConnectionReport, ConnectionRequest, Flow, FlowReport, Frame, Frames, Local, MediaPort, Path,
    Received, Transmit,
};
pub use hash::{HashKey, IndexMap};
pub use hop::{ConnectionId, Door, Hop, Target, TlsName, Transport};
pub use id::{CallId, LegId, ShardId};
pub use prng::Prng;
pub use records::Records;
pub use slab::Slab;
pub use time::{Mono, Now, Wall};
pub use wheel::Wheel;
