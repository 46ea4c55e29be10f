//! API requests that touch live state or must be ordered with it. The caller is authenticated and
//! the path's account authorised before they come here; reads of history never come here.

use base::CallId;

use super::{Entity, EntityKey};
use crate::{Account, AccountSid, ApplicationSid, CallRow, DeadLetter, Hook, SipLogin, StatusHook};

/// Made by the API; echoed in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiId(pub u64);

#[derive(Clone, Debug, PartialEq)]
pub struct ApiCall {
    pub id: ApiId,
    /// The account addressed.
    pub account: AccountSid,
    pub what: ApiRequest,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ApiRequest {
    /// Answered with [`ApiDone::Call`] when the row is durable.
    CreateCall(Box<CreateCall>),
    /// Answered with [`ApiDone::Call`]; after `complete` when the call has ended or 2 s have
    /// passed.
    UpdateCall { call: CallId, update: Box<UpdateCall> },
    /// Inserts or replaces, whole. Sids, tokens and secrets are made by the API (it has randomness
    /// fit for secrets); account number 0 is replaced by the next free one. `create`: the sid must
    /// be new. Answered with [`ApiDone::Entity`].
    Put { entity: Box<Entity>, create: bool },
    /// An account that is active no more, in place of the one of its sid; its standing calls end
    /// at once. Answered with [`ApiDone::Entity`].
    Shut(Box<Account>),
    /// Answered with [`ApiDone::Deleted`].
    Delete(EntityKey),
    /// An ended call leaves lists and fetches; what it cost stays. Answered with
    /// [`ApiDone::Deleted`].
    HideCall(CallId),
    /// The account's second token takes the place of its first. Answered with the account.
    PromoteToken,
    /// Sends dead letters again, in the order in which they died. Answered with
    /// [`ApiDone::Replay`] as soon as it is known which of them wait; one that is delivered is a
    /// letter no more, one that is not says why.
    Replay(Vec<DeadLetter>),
    /// The account does not want the letter of this token. Answered with [`ApiDone::Deleted`].
    Forget { account: AccountSid, token: String },
    /// Put, Shut, Delete, Replay or Forget by the operator: of his own things, and of anybody's
    /// account.
    Operate(Box<Self>),
}

/// Where a call's instructions come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instructions {
    Url { hook: Hook, fallback: Option<Hook> },
    Twiml(String),
    Application(ApplicationSid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateCall {
    /// `sip:` URI or number.
    pub to: String,
    /// `sip:` URI, number or name.
    pub from: String,
    pub instructions: Instructions,
    pub status: Option<StatusHook>,
    /// Seconds to ring; None for 60. 1-600.
    pub timeout: Option<u32>,
    /// Seconds from answer; None for 14,400.
    pub time_limit: Option<u32>,
    /// Overrides `from` as what the called party sees.
    pub caller_id: Option<String>,
    /// What answers a challenge of the called side.
    pub login: Option<SipLogin>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateCall {
    pub instructions: Option<Instructions>,
    /// `Status=completed`: end it whatever its state.
    pub complete: bool,
    /// `Status=canceled`: end it unless it was answered.
    pub cancel: bool,
    pub status: Option<StatusHook>,
    /// Seconds from now.
    pub time_limit: Option<u32>,
}

pub type ApiResult = Result<ApiDone, ApiError>;

#[derive(Clone, Debug, PartialEq)]
pub enum ApiDone {
    Call(Box<CallRow>),
    /// As stored.
    Entity(Box<Entity>),
    Deleted,
    /// Letters that wait to be sent again, and tokens of those that do not, with why.
    Replay {
        waiting: usize,
        refused: Vec<(String, &'static str)>,
    },
}

/// As it goes out: `{"code":21220,"message":"...","more_info":"...","status":400}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Error code as client libraries know them.
    pub code: u32,
    pub message: String,
}
