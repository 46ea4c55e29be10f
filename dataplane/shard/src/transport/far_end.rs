//! Whom lists of networks know.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::table::Network;

/// Where a far end is, and what stands for the name that its certificate has proven
/// ([`wire::material::is_identifier`]). A list has it that has either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarEnd {
    pub address: IpAddr,
    pub proven: Option<IpAddr>,
}

impl FarEnd {
    pub(crate) fn is_in(&self, networks: &[Network]) -> bool {
        let has = |address| networks.iter().any(|network| network.contains(address));
        has(self.address) || self.proven.is_some_and(has)
    }
}

impl From<IpAddr> for FarEnd {
    fn from(address: IpAddr) -> Self {
        Self { address, proven: None }
    }
}
