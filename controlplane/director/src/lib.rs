//! The controlplane as one value: no clock, no socket, no thread, no file.
//!
//! ```text
//!   Event | HttpReply | ApiCall | Stored      ->  Director  ->  Command | HttpRequest | StoreWrite
//!         | Resolved | Tick                                     | ApiReply | Resolve | Notice
//! ```
//!
//! `handle_*` tells it what happened at `now`, [`Director::poll_output`] drains what it wants done,
//! and [`Director::deadline`] says when it wants to hear of time next. It holds live state only:
//! history is the store's, and every change of a live call leaves as a [`model::port::StoreWrite`]
//! before the command that depends on it, so that a successor goes on from what was written.
#![forbid(unsafe_code)]

mod answer;
mod director;
mod encoding;
mod forwards;
mod live;
mod log;
mod rng;
mod script;
mod settings;
mod verb;
mod web;

pub use answer::{Answer, Asked};
pub use director::{Director, Stats};
pub use log::standing_row;
pub use settings::{Limits, Settings};
