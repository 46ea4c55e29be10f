//! A whole switch, started as a user starts it (`tandem up`), on ports and in a directory of its
//! own, and ended with everything it started when the [`Bed`] is dropped.
//!
//! ```text
//!   test --REST, tandem load, SIPp, baresip--> tandem up
//!                                               |- tandem-dataplane       parked descriptors,
//!                                               `- tandem-controlplane    restarts, endpoints.json
//!   Web: the tenants' application server, in this process
//! ```
//!
//! Tests of real processes wait for events with a deadline; nothing is judged by how long it took.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests stand outside: real sockets and clocks"
)]

mod capture;
mod http;
mod namespace;
mod office;
mod peer;
mod ports;
mod switch;
mod voice;
mod web;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use capture::Capture;
pub use http::{Answer, Rest};
pub use namespace::is_inside;
pub use office::Office;
pub use peer::{Peer, require};
pub use ports::Ports;
pub use switch::{Bed, Setup, restart_of};
pub use voice::{Heard, Voice, tone_share};
pub use web::{Asked, Web};

/// Waits until `look` finds something; `what` is what the failure says.
///
/// # Panics
/// If nothing was found within `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(from.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets `time` pass: for calls that shall stand for a while.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// A program under test: `TANDEM_BIN_DIR`, else beside the test executable (`target/<profile>`).
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().expect("a test knows its own path");
        let profile = own.parent().and_then(|deps| deps.parent());
        profile.expect("target/<profile>/deps").to_path_buf()
    };
    let folder = std::env::var_os("TANDEM_BIN_DIR").map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: `cargo build -p engine -p daemon -p tools` in the same profile first, \
         or say where the programs are with TANDEM_BIN_DIR",
        path.display()
    );
    path
}
