//! The switch seen from outside, by programs that are not ours. Each test starts a whole switch on
//! ports of its own; a peer that is not installed is said aloud (see `bed::require`).
#![expect(clippy::disallowed_methods, reason = "these tests stand outside: real sockets")]

mod authority;
mod baresip;
mod browser;
mod kamailio;
mod phones;
mod rfc5118;
mod scanners;
mod sipp;
mod torture;
mod twilio;
