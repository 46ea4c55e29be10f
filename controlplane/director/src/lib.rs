//! The controlplane as one value: no clock, no socket, no thread, no file.
//!
//! ```text
//!   Event | HttpReply | ApiCall | Stored | Resolved | Tick  ->  Director  ->  Command | HttpRequest | StoreWrite
//!                                                                              | ApiReply | Resolve | Notice
//! ```
//!
//! `handle_*` tells it what happened at `now`, [`Director::poll_output`] drains what it wants done, and
//! [`Director::deadline`] says when it wants to hear of time next. It holds live state only: history
//! is the store's, and every change of a live call leaves as a [`port::StoreWrite`] before the command
//! that depends on it, so that a successor goes on from what was written.
#![forbid(unsafe_code)]

// The methods, all with `now` passed in (bodies follow):
//   Director::new(settings: Settings, seed: [u64; 4]) -> Director
//   Director::restore(settings, seed, now: Now, book: Book) -> Director
//   handle_event(now, shard: ShardId, event: &wire::Event<'_>)
//   handle_http(now, HttpReply)      handle_resolved(now, Resolved)
//   handle_api(now, ApiCall)         handle_stored(now, StoreId, Stored)
//   handle_tick(now)                 deadline() -> Mono
//   poll_output() -> Option<Output>

pub mod model;
pub mod port;
pub mod settings;
pub mod stamp;

pub use settings::{Book, Limits, Settings};
