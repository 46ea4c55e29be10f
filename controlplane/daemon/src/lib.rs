//! `tandem-controlplane`: boot, runtime, link to the shards.
//!
//! ```text
//!    tokio threads                    runtime thread                      other threads
//!   API  --ApiCall-->  +-------+   +--------------------------+
//!   webhooks -Answer-> | inbox |-->| Director (a value)       |--> journal: write(2) | fsync thread
//!   resolver --------> +-------+   |  events rings -> handle  |--> store writer
//!                          ^       |  outputs -> commands     |
//!   link thread -----------+       +--------------------------+
//!   (connects, maps regions)           |  shared memory  ^
//!                                      v                 |
//!                                     shards of the dataplane
//! ```
//!
//! The runtime thread owns the director and both ends of every ring; everybody else leaves things
//! in its inbox.
#![forbid(unsafe_code)]

pub mod admission;
mod alive;
pub mod backend;
pub mod bell;
pub mod boot;
pub mod certificates;
pub mod clock;
pub mod directory;
pub mod documents;
pub mod ends;
pub mod facts;
pub mod health;
pub mod inbox;
pub mod link;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod notify;
pub mod operator;
pub mod outside;
pub mod plan;
pub mod publish;
pub mod reads;
pub mod rows;
pub mod runtime;
pub mod sweep;
pub mod targets;
pub mod tenant;

#[cfg(test)]
mod tests;
