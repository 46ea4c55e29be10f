//! What a controlplane begins with.

use crate::port::{ScriptLog, Standing};
use crate::{Account, ApiKey, Application, OutboundRoute, PhoneNumber, Price, SipDomain};

/// Everything read from the store and the shards at start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    pub accounts: Vec<Account>,
    pub api_keys: Vec<ApiKey>,
    pub applications: Vec<Application>,
    pub numbers: Vec<PhoneNumber>,
    pub domains: Vec<SipDomain>,
    pub routes: Vec<OutboundRoute>,
    pub prices: Vec<Price>,
    /// The last state of every call that has not been ended in the log.
    pub scripts: Vec<ScriptLog>,
    /// Legs with an open cell.
    pub standing: Vec<Standing>,
}
