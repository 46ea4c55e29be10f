//! What the tenant can read of what went wrong: alerts (Notifications) and callbacks that could not
//! be delivered.

use base::{CallId, Wall};
use serde::{Deserialize, Serialize};

use crate::call::Method;
use crate::sid::{AccountSid, AlertSid};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertLevel {
    Error,
    Warning,
}

/// One notification of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub sid: AlertSid,
    pub account: AccountSid,
    pub call: Option<CallId>,
    pub at: Wall,
    pub level: AlertLevel,
    /// `ErrorCode` as applications know them: 11200, 12100, 13224, ...
    pub code: u32,
    /// The rule that fired, `domain-source-refused`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// The URL concerned, if any.
    pub url: Option<String>,
    pub method: Option<Method>,
}

/// A callback that was given up. Can be played again: it holds the whole request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub account: AccountSid,
    pub call: CallId,
    pub at: Wall,
    /// Key of the letter.
    pub idempotency_token: String,
    pub url: String,
    pub method: Method,
    pub params: Vec<(String, String)>,
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
}

impl DeadLetter {
    /// Its key as a number; 0 for one that is none.
    #[must_use]
    pub fn number(&self) -> u128 {
        u128::from_str_radix(&self.idempotency_token, 16).unwrap_or(0)
    }
}
