//! Legs that a script has made for its own: whom they call, and what they came to.

use base::CallId;
use model::{CallStatus, SipLogin, StatusHook};
use serde::{Deserialize, Serialize};
use wire::event::Cause;

use crate::forwards::Forwards;

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Number(String),
    /// As written, with parameters and headers.
    Sip(String),
}

/// A leg to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChildSpec {
    pub(crate) call: CallId,
    pub(crate) target: Target,
    pub(crate) caller: String,
    pub(crate) ring_ms: u32,
    pub(crate) limit_ms: u32,
    pub(crate) pass_progress: bool,
    pub(crate) login: Option<SipLogin>,
    pub(crate) status: Option<StatusHook>,
    /// Its parent is a trunk's call, and so is it.
    pub(crate) is_trunk: bool,
    /// Who has forwarded the call to it.
    pub(crate) forwards: Forwards,
    /// Header lines that say who has referred the call to it, and whose place it is to take there;
    /// empty for nobody.
    pub(crate) referred: String,
}

/// What a leg, or the verb that made it, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) status: CallStatus,
    /// The far side's final response; 0 for none.
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) cause: Option<Cause>,
}
