//! What goes in and out of the director, as owned values. Ids are the director's and are
//! echoed by whoever answers; an answer whose id is not waited for is ignored.

mod api;
mod command;
mod http;
mod store;

pub use crate::resource::{Entity, EntityKey};
pub use api::{
    ApiCall, ApiDone, ApiError, ApiId, ApiRequest, ApiResult, CreateCall, Instructions, UpdateCall,
};
pub use command::{OwnedCommand, OwnedOriginate, OwnedVerdict};
pub use http::{HttpAnswer, HttpError, HttpId, HttpKind, HttpReply, HttpRequest};
pub use store::{Record, ScriptChange, ScriptLog, StoreId, StoreWrite, Stored};

use base::{CallId, LegId, ShardId, Target, Transport, Wall};
use serde::{Deserialize, Serialize};

use crate::AccountSid;

/// What the director wants done. Drained in order; a write before a command must be appended before
/// the command is sent (appended, not durable: `write(2)` is enough unless the write has an id).
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Command {
        shard: ShardId,
        command: OwnedCommand,
    },
    Http(HttpRequest),
    /// Answered by `handle_resolved` with the same id.
    Resolve(Resolve),
    Store(StoreWrite),
    ApiReply {
        id: ApiId,
        result: ApiResult,
    },
    Notice(Notice),
}

/// A host to look up (RFC 3263 section 4): A and AAAA alone where `port` is given; SRV records
/// before them where it is not, and NAPTR records before those where no transport is given either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    pub id: u64,
    /// Whose share of look-ups is used: the main account of whoever calls; None for a name that the
    /// operator chose.
    pub family: Option<AccountSid>,
    pub host: String,
    pub port: Option<u16>,
    /// By which it is to be reached; None where whoever wrote the URI leaves it to the host.
    pub transport: Option<Transport>,
}

/// The answer to a [`Resolve`]; addresses in order of trial, empty when there are none. The
/// director applies the target policy to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub id: u64,
    pub targets: Vec<Target>,
}

/// For the operator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub account: Option<AccountSid>,
    pub call: Option<CallId>,
    pub error: bool,
    pub message: String,
}

/// A leg that stands in a shard at start, read from its cell and record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub call: CallId,
    pub leg: LegId,
    pub epoch: u32,
    /// 0 if not answered yet.
    pub answered: Wall,
}
