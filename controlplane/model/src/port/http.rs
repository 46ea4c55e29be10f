//! Requests to applications, and what came of them. Signing, connecting (and refusing addresses)
//! and reading within the limits is the client's; order, retries and what an answer means are the
//! director's.

use base::{CallId, Wall};

use crate::cookie::{Cookie, Jar, NotKept};
use crate::{AccountSid, Method, Secret};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpKind {
    /// Its answer is executed: the body is wanted (up to `body_max` bytes).
    Instructions,
    /// Its answer is ignored: the status is enough.
    Callback,
}

/// A request to send, once: the director retries by sending another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub id: HttpId,
    pub account: AccountSid,
    /// The main account that the account belongs to, or itself: whose share is used.
    pub family: AccountSid,
    /// Signs the request (X-Twilio-Signature).
    pub auth_token: Secret,
    pub call: CallId,
    pub kind: HttpKind,
    /// As configured, without fragment; also what is signed.
    pub url: String,
    /// `Post`: parameters as a form body; `Get`: appended to the query (and so part of what is
    /// signed).
    pub method: Method,
    pub params: Vec<(String, String)>,
    /// Sent as `I-Twilio-Idempotency-Token`; the same in every attempt.
    pub idempotency_token: String,
    /// Milliseconds to connect, to wait for bytes, and for all of it.
    pub connect_ms: u32,
    pub read_ms: u32,
    pub total_ms: u32,
    /// Bytes of body to read at most; a longer one is [`HttpError::TooLarge`]. Of no meaning for a
    /// callback, whose body is not looked at.
    pub body_max: usize,
    /// When it was asked for: what cookies' ages are counted from.
    pub at: Wall,
    /// What applications set for the call's parties; it goes where it belongs, after each redirect
    /// too.
    pub cookies: Jar,
}

/// What came of a request. Exactly one per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    pub id: HttpId,
    pub result: Result<HttpAnswer, HttpError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// The header as received, "" without one.
    pub content_type: String,
    pub body: Vec<u8>,
    /// Where redirects led to, without fragment; "" where there was none.
    pub url: String,
    /// What the answer and the redirects before it set, in order.
    pub cookies: Vec<Result<Cookie, NotKept>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpError {
    /// The host name has no address.
    Resolve,
    /// No connection within `connect_ms`, or refused.
    Connect,
    /// The certificate or the handshake was not acceptable.
    Tls,
    /// The address is one that webhooks may not go to.
    Forbidden,
    /// No whole answer in time.
    Timeout,
    /// Not HTTP, or cut off.
    Protocol,
    /// Longer than `body_max`.
    TooLarge,
    /// The URL cannot be read as http or https.
    BadUrl,
}

impl HttpError {
    /// The error's name in alerts and dead letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Forbidden => "forbidden-address",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::TooLarge => "too-large",
            Self::BadUrl => "bad-url",
        }
    }
}
