//! Who may call a domain, or register at it, by a password: credentials in lists, and which lists a
//! domain takes for what.
//!
//! Passwords are kept as they are, sealed where they are stored, and not as digest's HA1: that is
//! made of the realm, which is the domain (RFC 3261 section 22.1, and what phones that pin a realm
//! expect), while a list serves several domains, mapped after its passwords were given, and domains
//! may be renamed. To whoever has it an HA1 is the password of its realm all the same, so that it
//! would have to be sealed too; with the password another algorithm (RFC 8760) needs no new one.

use base::Wall;
use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::directory::Directory;
use crate::resource::Described;
use crate::sid::{AccountSid, CredentialListSid, CredentialSid, DomainSid};

/// Passwords that domains may take together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialList {
    pub sid: CredentialListSid,
    pub account: AccountSid,
    pub friendly_name: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub sid: CredentialSid,
    pub account: AccountSid,
    pub list: CredentialListSid,
    /// Once in its list; compared as it is.
    pub username: String,
    pub password: Secret,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Which lists a domain takes, for calls and for registrations apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainAuth {
    pub domain: DomainSid,
    pub account: AccountSid,
    /// Phones may register at the domain.
    pub registers: bool,
    pub calls: Vec<Mapping>,
    pub registrations: Vec<Mapping>,
}

/// A list that a domain takes, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub list: CredentialListSid,
    pub at: Wall,
}

/// What names a [`DomainAuth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuthKey(pub DomainSid);

impl DomainAuth {
    /// Both kinds of lists.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.calls.iter().chain(&self.registrations)
    }
}

impl Directory {
    /// Which lists a domain takes; None: none, for nothing.
    #[must_use]
    pub fn domain_auth(&self, domain: DomainSid) -> Option<&DomainAuth> {
        self.get(AuthKey(domain))
    }
}

impl Described for CredentialList {
    type Key = CredentialListSid;

    fn key(&self) -> CredentialListSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for Credential {
    type Key = CredentialSid;

    fn key(&self) -> CredentialSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.username, self.date_created))
    }

    fn secret(&mut self) -> Option<&mut Secret> {
        Some(&mut self.password)
    }
}

impl Described for DomainAuth {
    type Key = AuthKey;

    fn key(&self) -> AuthKey {
        AuthKey(self.domain)
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        None
    }
}

impl AuthKey {
    pub(crate) fn number(self) -> u128 {
        self.0.0
    }
}

impl std::fmt::Display for AuthKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
