//! What the controlplane knows, and what its parts say to each other: tenants and their
//! configuration, calls, usage, money, alerts ([`port`]: the director's inputs and outputs, among
//! them what is written; [`query`]: what can be asked of what was written). Values and rules about
//! values: no clock, no socket, no thread, no file.
//!
//! Rows and configuration are written to and read from the store as they are (serde; no skipped or
//! flattened fields, so that binary encodings work too). Times are [`base::Wall`], UTC
//! microseconds.
#![forbid(unsafe_code)]

mod access;
mod account;
pub mod address;
mod alert;
mod binding;
mod call;
pub mod cookie;
mod credential;
pub mod declined;
mod directory;
pub mod inventory;
mod money;
pub mod pack;
pub mod party;
pub mod port;
pub mod query;
mod resource;
mod sid;
pub mod signaling;
pub mod stamp;
mod trunk;
mod usage;

pub use access::{AccessAddress, AccessKey, AccessMapping, DomainAccess, IpAccessControlList};
pub use account::{
    Account, AccountLimits, AccountStatus, ApiKey, Application, OutboundRoute, PhoneNumber, Secret,
    SipDomain, SipLogin, VoiceConfig,
};
pub use alert::{Alert, AlertLevel, DeadLetter};
pub use binding::{Binding, Kept, Registered};
pub use call::{CallDirection, CallEvent, CallRow, CallStatus, Events, Hook, Method, StatusHook};
pub use credential::{AuthKey, Credential, CredentialList, DomainAuth, Mapping};
pub use directory::Directory;
pub use inventory::{CallerId, DomainSuffix, Grant, GrantKey, NumberRange, SecondToken, TokenKey};
pub use money::{BadNanos, Currency, LedgerEntry, Nanos, Price, PriceKey, PriceUnit};
pub use resource::{Book, EntityKind, Resource};
pub use sid::{
    AccessListSid, AccountSid, AddressSid, AlertSid, ApplicationSid, BadSid, BindingSid, CallerSid,
    CredentialListSid, CredentialSid, DomainSid, KeySid, NumberSid, OriginationSid, RangeSid,
    RouteSid, SubscriptionSid, SuffixSid, TrunkSid,
};
pub use signaling::SignalingSubscription;
pub use trunk::{
    OriginationUrl, RecordingMode, TransferCaller, TransferMode, Trunk, TrunkNumber, TrunkNumberKey,
};
pub use usage::{Cdr, UsageRow, whole_seconds};
// For crates above, which do not see the wire.
pub use wire::event::{Cause, Direction, Party};
pub use wire::event::{MediaSummary, RtpRefused};
pub use wire::table::Network;
pub use wire::{Service, UsageKey};
