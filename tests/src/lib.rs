//! sim, scenario, process, interop, tidy: the tests that need more than one crate.
//!
//! This library holds what the tests with real processes share: [`bed`], a whole switch on ports of its
//! own, started the way a user starts it.
#![forbid(unsafe_code)]

pub mod bed;
