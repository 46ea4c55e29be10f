//! sim, scenario, process, interop, tidy
