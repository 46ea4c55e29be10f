//! Where tenants may have the switch send something: INVITEs to SIP targets, requests to webhooks.
//! What an address is says [`base::address`]; here stands what follows from it.

pub mod target;
pub mod webhook;
