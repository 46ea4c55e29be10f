//! The switch seen from outside, by programs that are not ours. Each test starts a whole switch on
//! ports of its own; a peer that is not installed is said aloud (see `bed::require`).

mod baresip;
mod sipp;
mod twilio;
