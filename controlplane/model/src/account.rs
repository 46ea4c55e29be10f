//! Tenants and what they configured. Each endpoint keeps three kinds of URIs apart: the *endpoint
//! mapping* returns instructions, the *event callback* is told and its answer ignored, the *event
//! application* is told and its answer executed.

use base::Wall;
use serde::{Deserialize, Serialize};
use wire::table::Network;

use crate::call::{Hook, StatusHook};
use crate::resource::Described;
use crate::sid::{AccountSid, ApplicationSid, DomainSid, KeySid, NumberSid, RouteSid};

/// Text that must not reach logs: its `Debug` says nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

/// What a far end that is dialled knows us by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SipLogin {
    Own {
        username: String,
        password: Secret,
    },
    /// That of the trunk with this name, which only the dataplane has.
    Trunk(String),
}

impl SipLogin {
    /// Longest username and password, bytes.
    pub const BYTES_MAX: usize = 255;

    /// None if one of them is too long, or holds what no header can.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Option<Self> {
        let fits = |text: &str| text.len() <= Self::BYTES_MAX && !text.contains(char::is_control);
        let quotable = !username.contains(['"', '\\']) && !username.is_empty();
        (fits(username) && fits(password) && quotable).then(|| {
            let (username, password) = (username.to_owned(), Secret(password.to_owned()));
            Self::Own { username, password }
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    #[default]
    Active,
    /// No new calls, nothing dialled; standing calls go on, unless they are ended with it.
    Suspended,
    /// For good.
    Closed,
    /// Suspended by the operator: its parent cannot bring it back.
    Held,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub sid: AccountSid,
    /// The account's number on the wire, in cells and usage rows; unique, never 0, never used
    /// again.
    pub number: u64,
    /// Signs webhooks and authenticates the API.
    pub auth_token: Secret,
    pub friendly_name: String,
    pub status: AccountStatus,
    /// The account itself for a main account.
    pub parent: AccountSid,
    pub date_created: Wall,
    pub date_updated: Wall,
    /// Networks from which calls to the account's phone numbers are taken. Empty: none.
    pub sources: Vec<Network>,
    pub limits: AccountLimits,
}

/// Numbers that hold an account in its bounds; 0 takes the default of `limits::Limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLimits {
    /// Legs at one time.
    pub calls_max: u32,
    /// New calls per second (inbound, API and dialled legs together).
    pub calls_per_second: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub sid: KeySid,
    pub account: AccountSid,
    pub secret: Secret,
    pub friendly_name: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Where a call's instructions come from and who is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceConfig {
    /// Endpoint mapping -> instructions.
    pub voice: Option<Hook>,
    pub voice_fallback: Option<Hook>,
    /// Event callback: told, its answer is ignored.
    pub status_callback: Option<StatusHook>,
    /// Event application: told, its answer is executed instead of what runs.
    pub event_application: Option<StatusHook>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    pub sid: ApplicationSid,
    pub account: AccountSid,
    pub friendly_name: String,
    pub config: VoiceConfig,
    pub date_created: Wall,
    pub date_updated: Wall,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneNumber {
    pub sid: NumberSid,
    pub account: AccountSid,
    /// `+` and digits, or digits alone; unique over all accounts, compared without the `+`.
    pub number: String,
    pub friendly_name: String,
    pub config: VoiceConfig,
    /// Takes the place of `config` while it exists.
    pub application: Option<ApplicationSid>,
    pub date_created: Wall,
    pub date_updated: Wall,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipDomain {
    pub sid: DomainSid,
    pub account: AccountSid,
    /// Host name, lower case, without a port; unique over all accounts.
    pub domain_name: String,
    pub friendly_name: String,
    pub config: VoiceConfig,
    /// Takes the place of `config` while it exists.
    pub application: Option<ApplicationSid>,
    /// Networks from which calls to the domain are taken. Empty: none.
    pub sources: Vec<Network>,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Where dialled numbers go. The longest prefix wins; an account's own route before its main
/// account's, and that before everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundRoute {
    pub sid: RouteSid,
    /// None: for every account.
    pub account: Option<AccountSid>,
    pub friendly_name: String,
    /// Leading characters of the number with its `+`; empty for any.
    pub prefix: String,
    /// Leading characters removed, then `prepend` is put in front.
    pub strip: u8,
    pub prepend: String,
    /// `host:port` or `host`, in order of trial; at most 4. The operator's own choice: addresses
    /// here are not held against the target policy, which is for tenants.
    pub targets: Vec<String>,
    /// Host of the Request-URI; empty for the target as written.
    pub host: String,
    pub date_created: Wall,
    pub date_updated: Wall,
}

impl Described for Account {
    type Key = AccountSid;

    fn key(&self) -> AccountSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.sid)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }

    fn secret(&mut self) -> Option<&mut Secret> {
        Some(&mut self.auth_token)
    }
}

impl Described for ApiKey {
    type Key = KeySid;

    fn key(&self) -> KeySid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }

    fn secret(&mut self) -> Option<&mut Secret> {
        Some(&mut self.secret)
    }
}

impl Described for Application {
    type Key = ApplicationSid;

    fn key(&self) -> ApplicationSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for PhoneNumber {
    type Key = NumberSid;

    fn key(&self) -> NumberSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for SipDomain {
    type Key = DomainSid;

    fn key(&self) -> DomainSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl Described for OutboundRoute {
    type Key = RouteSid;

    fn key(&self) -> RouteSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        self.account
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
