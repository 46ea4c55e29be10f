//! sim, scenario, process, interop, tidy: the tests that need more than one crate.
//!
//! This library holds what several of them share: [`bed`], a whole switch with real processes on
//! ports of its own, started the way a user starts it; and [`fuzz`], the fuzz targets with their
//! runner.
#![forbid(unsafe_code)]

pub mod bed;
pub mod fuzz;
