//! What `tandem` does, as a library, so that tests and benches can drive it without a process.
//!
//! The tools are outside both planes: they read clocks, open sockets and wait, as any client would.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the bans keep clocks and sockets out of the planes; tools is a place they are for"
)]

pub mod app;
pub mod check;
pub mod clock;
pub mod ctl;
pub mod demo;
pub mod desk;
pub mod doctor;
pub mod flood;
pub mod load;
pub mod rest;
pub mod sign;
pub mod system;
pub mod up;
