//! Behaviours of the switch, one a file, in virtual time.

mod common;
mod static_call;
