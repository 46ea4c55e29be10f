//! The simulated world: the shards as they are, phones, a network that loses and reorders, tenants'
//! web servers, and the director, in virtual time from one seed. No I/O, no clock, no thread: a
//! seed is a whole history, and the same seed is the same history.
//!
//! Used by `tests/sim` (many seeds, invariants), `tests/scenario` (one behaviour a file) and
//! benches.
#![forbid(unsafe_code)]

pub mod blow;
pub mod check;
pub mod control;
pub mod directed;
mod forwards;
pub mod guests;
pub mod habit;
pub mod heap;
pub mod ledger;
pub mod lines;
pub mod listen;
pub mod memory;
pub mod network;
pub mod phone;
pub mod plane;
pub mod plant;
mod published;
pub mod registered;
mod scale;
pub mod story;
pub mod strangers;
pub mod tenant;
pub mod trace;
pub mod transfers;
pub mod wires;
mod world;

pub use agent;
pub use control::{Control, Manual, Told};
pub use network::{Datagram, Fate, Network, Weather};
pub use phone::{
    Action, Agent, Dial, Heard, Manner, Media, PhoneCall, Reinvite, Reliability, Seen,
    SessionTimer, Speaks, State, Who,
};
pub use plane::{Plane, PlaneSetup};
pub use world::{CallRef, DAWN, Setup, World};
