//! What the controlplane tells a shard. A command names its call; the shard that does not know it
//! answers with `Event::Unknown`. Every field is checked by the shard before it acts.

use arrayvec::ArrayVec;
use base::{CallId, ConnectionId, LegId, Target};

use crate::event::Cause;

/// What an outgoing leg tries, in order.
pub type Targets = ArrayVec<Target, 4>;

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a transient view of a ring record, never stored")]
pub enum Command<'a> {
    /// The call belongs to `account` and an application will decide; stops the 2 s hold after which
    /// a new call is refused with 503. `setup_ms`: how long it may stay unanswered.
    Accept {
        call: CallId,
        account: u64,
        setup_ms: u32,
    },
    /// Sends a provisional response (101-199) without a body to an unanswered incoming leg.
    Progress {
        call: CallId,
        code: u16,
    },
    /// Answers an incoming leg; it hears silence until it is joined or given something to play.
    /// `limit_ms` as in [`Originate`], 0 for none.
    Answer {
        call: CallId,
        limit_ms: u32,
    },
    /// Refuses an incoming leg with a final response 300-699. `reason` is the reason phrase.
    Reject {
        call: CallId,
        code: u16,
        reason: &'a str,
        /// Seconds, 0 for no Retry-After header.
        retry_after: u32,
        cause: Cause,
    },
    /// Ends a leg whatever its state: CANCEL, BYE, or a final response.
    Hangup {
        call: CallId,
        cause: Cause,
    },
    Originate(Originate<'a>),
    /// Connects the media of two answered legs; `b` may be another shard's. Sent to the shard of
    /// `call`.
    Join {
        call: CallId,
        b: LegId,
    },
    /// Takes a leg out of its join; both sides stand alone and hear silence. A leg that was dialled
    /// for another one ends no more with that.
    Part {
        call: CallId,
    },
    /// Plays ringback tone to an answered leg, or stops it.
    Ringback {
        call: CallId,
        on: bool,
    },
    /// New end of the call, milliseconds from now; 0 lifts the limit.
    Limit {
        call: CallId,
        remaining_ms: u32,
    },
    /// The usage of this leg is durable: its cell and record may be used again.
    Release {
        epoch: u32,
        leg: LegId,
    },
    /// No new calls (503 with Retry-After) until the process ends or `on` is false again.
    Drain {
        on: bool,
    },
    /// An application takes a leg out of the relay of its static route: both sides hear silence,
    /// and the leg does not end with the other one any more. Said again, it changes nothing.
    Take {
        call: CallId,
    },
    /// The leg is the relay's again: joined with the other side as before, and the two end
    /// together. It ends if the other one is gone.
    GiveBack {
        call: CallId,
    },
    /// What the far end of this call wanted by its REFER comes to nothing, with this status
    /// (300-699). What comes of it else the legs say themselves. With 200 whom it was about goes
    /// its own way, and the referrer is told and ended. `binds`: its legs are none of a document's
    /// any more, and end with each other; else they are what they were before.
    Referred {
        call: CallId,
        code: u16,
        binds: bool,
    },
    /// What becomes of a request that claimed to be somebody's (`Event::Claim`).
    Verdict {
        id: u64,
        verdict: Verdict<'a>,
    },
    /// An incoming call that was accepted for its account takes the place that it wants
    /// ([`crate::event::Incoming::replaces`]), if that is a place of the account's.
    TakePlace {
        call: CallId,
    },
    /// Refers the far end of an answered leg to somebody else (REFER); what comes of it is told
    /// (`Event::ReferSaid`). Said again while it is open, it changes nothing.
    Refer {
        call: CallId,
        to: &'a str,
    },
    /// Ends a leg that is not answered so far, as [`Command::Hangup`] does; one that is goes on.
    Cancel {
        call: CallId,
        cause: Cause,
    },
    /// Refuses an incoming leg with what the last leg came to that was dialled for it: what the far
    /// end of that one has said goes with it.
    PassOn {
        call: CallId,
        code: u16,
        cause: Cause,
    },
}

/// What a claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict<'a> {
    /// Wrong credentials, or nobody's: it is challenged again.
    Wrong,
    /// The call goes on as this user's.
    Proven { user: &'a str },
    /// A final response; `headers` as the response has them, each ended with CRLF.
    Answer {
        code: u16,
        /// Seconds, 0 for no Retry-After header.
        retry_after: u32,
        headers: &'a str,
    },
}

/// A new outgoing leg.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Originate<'a> {
    /// Made by the controlplane.
    pub call: CallId,
    pub account: u64,
    pub parent: CallId,
    /// The leg this one is dialled for, whose offer it carries; `LegId::NONE` for a call of its
    /// own.
    pub peer: LegId,
    /// Index of the SIP listener to send from; [`Originate::ANY_LISTENER`] picks by family.
    pub listener: u8,
    pub targets: Targets,
    /// Request-URI, a URI without brackets.
    pub uri: &'a str,
    /// To, a `sip:` URI without brackets; empty for the Request-URI.
    pub to: &'a str,
    /// Value of Route, empty for none: the way to a contact that came with a Path (RFC 3327).
    pub route: &'a str,
    /// By this connection alone, to its far end, the only target: a phone is reached by the flow on
    /// which it registered (RFC 5626).
    pub flow: Option<ConnectionId>,
    /// From, a `sip:` URI without brackets, and its display name ("" for none).
    pub from: &'a str,
    pub from_name: &'a str,
    /// More header lines, each ended with CRLF; names outside the pass list are refused.
    pub headers: &'a str,
    /// Milliseconds until an unanswered leg is cancelled, at least 1,000: from when the first of
    /// its targets rings, until then from its INVITE. All its targets share them; how long one may
    /// say nothing is `timers.target_ms`, for each anew.
    pub ring_ms: u32,
    /// Milliseconds from answer to a forced end; 0 for none.
    pub limit_ms: u32,
    /// Provisional responses and early media go to the unanswered peer.
    pub pass_progress: bool,
    /// On answer, answer the peer if it is not answered yet, and join the two. The peer's end
    /// always ends this leg.
    pub bridge: bool,
    /// What the certificates of `targets` must name, in their order; empty where a target is not
    /// reached by TLS.
    pub tls_names: ArrayVec<&'a str, 4>,
    /// What answers a challenge (401, 407) of the targets; empty for nothing.
    pub username: &'a str,
    pub password: Secret<'a>,
    /// Name of the trunk whose credentials do it instead; empty for none.
    pub trunk: &'a str,
    /// After which refusals the next target is asked.
    pub failover: crate::policy::Failover,
    /// Whose share of what is known of targets it uses; 0 for its account's.
    pub group: u64,
}

/// A text that no log has.
#[derive(Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret<'a>(pub &'a str);

impl core::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Originate<'_> {
    pub const ANY_LISTENER: u8 = u8::MAX;
}
