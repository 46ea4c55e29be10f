//! What the controlplane knows: tenants and their configuration, calls, usage, money. Plain values,
//! written to and read from the store as they are (serde; no skipped or flattened fields, so that
//! binary encodings work too). Times are [`base::Wall`], UTC microseconds.

mod account;
mod alert;
mod call;
mod money;
mod sid;
mod usage;

pub use account::{
    Account, AccountLimits, AccountStatus, ApiKey, Application, OutboundRoute, PhoneNumber, Secret,
    SipDomain, VoiceConfig,
};
pub use alert::{Alert, AlertLevel, DeadLetter};
pub use call::{CallDirection, CallEvent, CallRow, CallStatus, Events, Hook, Method, StatusHook};
pub use money::{BadNanos, Currency, LedgerEntry, Nanos, Price, PriceUnit};
pub use sid::{
    AccountSid, AlertSid, ApplicationSid, BadSid, DomainSid, KeySid, NumberSid, RouteSid,
};
pub use usage::{Cdr, UsageRow};
// For crates above, which do not see the wire.
pub use wire::event::{Cause, Direction, Party};
pub use wire::event::{MediaSummary, RtpRefused};
pub use wire::table::Network;
pub use wire::{Service, UsageKey};
