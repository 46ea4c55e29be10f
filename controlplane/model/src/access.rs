//! From where calls are taken, as lists that domains and trunks share: an IP access control list
//! with its addresses, and which lists a SIP domain takes. A domain has networks of its own besides
//! ([`SipDomain::sources`]); whoever is in one of both may call it.

use base::Wall;
use serde::{Deserialize, Serialize};
use wire::table::Network;

use crate::directory::Directory;
use crate::resource::Described;
use crate::sid::{AccessListSid, AccountSid, AddressSid, DomainSid};
use crate::{SipDomain, Trunk};

/// Networks that calls may be taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpAccessControlList {
    pub sid: AccessListSid,
    pub account: AccountSid,
    pub friendly_name: String,
    pub addresses: Vec<AccessAddress>,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// One network of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessAddress {
    pub sid: AddressSid,
    pub friendly_name: String,
    pub network: Network,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Which lists a domain takes calls from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainAccess {
    pub domain: DomainSid,
    pub account: AccountSid,
    pub lists: Vec<AccessMapping>,
}

/// A list that is taken, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessMapping {
    pub list: AccessListSid,
    pub at: Wall,
}

/// What names a [`DomainAccess`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccessKey(pub DomainSid);

impl IpAccessControlList {
    /// Addresses of one list at most.
    pub const ADDRESSES_MAX: usize = 25;
}

impl Directory {
    /// Networks from which a domain takes calls.
    #[must_use]
    pub fn domain_networks(&self, domain: &SipDomain) -> Vec<Network> {
        let lists = self.get::<DomainAccess>(AccessKey(domain.sid));
        let lists = lists.map_or(&[][..], |access| access.lists.as_slice());
        let own = domain.sources.iter().copied();
        own.chain(self.networks_of(lists)).collect()
    }

    /// Networks from which a trunk takes calls.
    #[must_use]
    pub fn trunk_networks(&self, trunk: &Trunk) -> Vec<Network> {
        self.networks_of(&trunk.access).collect()
    }

    fn networks_of<'d>(&'d self, lists: &'d [AccessMapping]) -> impl Iterator<Item = Network> + 'd {
        let lists = lists.iter().filter_map(|it| self.get::<IpAccessControlList>(it.list));
        lists.flat_map(|list| list.addresses.iter().map(|address| address.network))
    }

    /// What of its account's takes a list: a domain's sid or a trunk's.
    #[must_use]
    pub fn takes_access(&self, list: &IpAccessControlList) -> Option<String> {
        let has = |lists: &[AccessMapping]| lists.iter().any(|it| it.list == list.sid);
        let domain = self.of::<DomainAccess>(list.account).find(|it| has(&it.lists));
        let trunk = || self.of::<Trunk>(list.account).find(|it| has(&it.access));
        domain.map(|it| it.domain.to_string()).or_else(|| trunk().map(|it| it.sid.to_string()))
    }
}

impl Described for IpAccessControlList {
    type Key = AccessListSid;

    fn key(&self) -> AccessListSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for DomainAccess {
    type Key = AccessKey;

    fn key(&self) -> AccessKey {
        AccessKey(self.domain)
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        None
    }
}

impl AccessKey {
    pub(crate) fn number(self) -> u128 {
        self.0.0
    }
}

impl std::fmt::Display for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
