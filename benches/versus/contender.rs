//! Whoever relays.

use std::net::SocketAddr;
use std::process::Child;

use crate::Failure;

/// A relay under measurement. Dropping it ends its process.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;
    fn pid(&self) -> u32;
    /// Sets up calls whose phones have the media ports of the legs from `first` on. Gives where
    /// each leg sends, callers at even places.
    fn set_up(&mut self, calls: usize, first: usize) -> Result<Vec<SocketAddr>, Failure>;

    /// Resident memory in bytes: all, and what the calls have added.
    fn memory(&self) -> (u64, u64);
}

/// A child process that ends with its owner.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Resident bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1_024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
