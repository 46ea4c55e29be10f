//! What a shard tells the controlplane. Text is borrowed from the ring's copy; nothing is
//! allocated.

use core::net::SocketAddr;

use arrayvec::ArrayVec;
use base::{CallId, Hop, LegId, Path, Wall};

use crate::cell::{SEGMENTS_MAX, Usage};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Event<'a> {
    /// A new incoming leg; 100 Trying was sent. To be accepted within 2 s.
    Incoming(Incoming<'a>),
    /// The INVITE of an outgoing leg was sent.
    Dialed { call: CallId, leg: LegId, at: Wall },
    /// An outgoing leg got a provisional response above 100. `media`: it carried SDP.
    Progress { call: CallId, leg: LegId, at: Wall, code: u16, media: bool },
    /// A leg was answered (outgoing: 2xx came; incoming: 2xx was sent).
    Answered { call: CallId, leg: LegId, at: Wall },
    /// Two legs hear each other. Told once, by the shard of `call`.
    Joined { call: CallId, peer: CallId, at: Wall },
    /// The leg left its join, or was refused the one it was to have, and still stands.
    Parted { call: CallId, at: Wall },
    /// A digit was received (RFC 4733), `0-9*#A-D`.
    Digit { call: CallId, at: Wall, digit: char },
    /// The leg is over. Its cell is closed; the slot waits for `Command::Release`.
    Ended(Summary<'a>),
    /// A command named a call that this shard does not have.
    Unknown { call: CallId },
    /// Something was refused before there was a leg: for the tenant's debugger and the operator.
    /// `why`: what a person should know beyond the cause, empty for nothing.
    Refused { at: Wall, source: SocketAddr, code: u16, cause: Cause, uri: &'a str, why: &'a str },
    /// The far end of `call` has referred that of `peer`, the leg that it is joined with, to `to`:
    /// a leg dialled for `peer` takes the place of this one with its answer. Empty: the shards
    /// join `peer` with another leg. The two legs end with each other from now on. `by`: who
    /// refers.
    Refer {
        call: CallId,
        peer: LegId,
        at: Wall,
        to: &'a str,
        by: &'a str,
        /// The X-* headers of the REFER, one `Name: value` a line, ended with CRLF.
        headers: &'a str,
    },
    /// A request says by whom it is, and waits for a verdict.
    Claim(Claim<'a>),
    /// A SIP message of a leg that somebody asked to be told of.
    Message(SipMessage<'a>),
    /// A target is asked last from now on, or as before. Told again now and then while it is out.
    Target(TargetNews),
    /// What came of a `Command::Refer`: `code`, the final status of our REFER, or `notified`, the
    /// final one that a NOTIFY then brought; 0 for what is not told by this.
    ReferSaid { call: CallId, at: Wall, code: u16, notified: u16 },
    /// What the far end says beside the status by which it refuses the leg (`code`), or in ending
    /// it (0): its phrase where it is not the usual one, then Reason and, where it is of whoever
    /// blocks calls, Call-Info, one `Name: value` a line; each line ended with CRLF. The leg's end
    /// follows.
    Declined { call: CallId, at: Wall, code: u16, said: &'a str },
    /// The far end of the leg `by` takes the place of that of `call` (RFC 3891), which an
    /// application has and which talks with nobody: its document is for the call of `by` from now
    /// on, and `call` is to be ended.
    Replaced { call: CallId, by: LegId, at: Wall },
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TargetNews {
    pub at: Wall,
    /// Whose share it is in: a trunk's ([`crate::policy::group_of`]), or an account's number.
    pub group: u64,
    pub target: base::Target,
    /// None: it is as good as any.
    pub out: Option<OutNews>,
}

/// Why a target is asked last, since when, and for how long unless it answers before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutNews {
    pub why: OutWhy,
    pub since: Wall,
    pub seconds: u32,
}

/// Why a target is asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OutWhy {
    /// It said nothing to an INVITE, or nobody is there.
    Silent,
    /// It said 503 with Retry-After.
    Unavailable,
    /// It said nothing to OPTIONS, or 503.
    Unhealthy,
}

/// A request with credentials whose nonce is ours, young and not used before: whether they are
/// right only the controlplane knows. To be answered within 2 s.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim<'a> {
    /// A REGISTER; else an INVITE.
    // The first field: a new call is told by it to wait for nothing.
    pub registers: bool,
    /// Of this run of the dataplane.
    pub id: u64,
    pub at: Wall,
    /// By which way it came, and from where.
    pub hop: Hop,
    /// The domain that its credentials are of.
    pub realm: &'a str,
    /// The request without its body.
    pub head: &'a [u8],
}

/// Whether an event, as encoded, may stand in its ring for some milliseconds. Not where a call is
/// to be decided on, was answered, or digits are pressed: somebody waits for what follows. What
/// follows from an end (the next target, the next verb) comes those milliseconds later.
#[must_use]
pub fn may_wait(encoded: &[u8]) -> bool {
    // The number of the variant comes first.
    const INCOMING: u8 = 0;
    const ANSWERED: u8 = 3;
    const DIGIT: u8 = 6;
    const REFER: u8 = 10;
    const CLAIM: u8 = 11;
    match encoded {
        [] | [INCOMING | ANSWERED | DIGIT | REFER, ..] => false,
        [CLAIM, registers, ..] => *registers != 0,
        _ => true,
    }
}

/// An INVITE without our tag in To.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Incoming<'a> {
    pub call: CallId,
    pub leg: LegId,
    pub at: Wall,
    /// Index of the SIP listener it came in on.
    pub listener: u8,
    pub source: SocketAddr,
    /// Request-URI.
    pub uri: &'a str,
    /// From and To as URIs without brackets and parameters. From's display name is the name that
    /// the header's notation denotes: no quotes, no escapes.
    pub from: &'a str,
    pub from_name: &'a str,
    pub to: &'a str,
    /// SIP Call-ID.
    pub call_id: &'a str,
    /// URI of whoever diverted the call last (Diversion, RFC 5806; else History-Info, RFC 7044);
    /// empty for none.
    pub diversion: &'a str,
    /// The X-* and User-to-User headers as received, one `Name: value` a line, ended with CRLF.
    pub headers: &'a str,
    /// Whose credentials it has proven to have, of the domain that is called; empty for nobody's.
    pub user: &'a str,
    /// The leg whose place it wants (Replaces, RFC 3891); [`LegId::NONE`] for none. Then the domain
    /// may be From's where the Request-URI names none.
    pub replaces: LegId,
    /// URIs of those who have forwarded it (Diversion; else History-Info), the last one first, one
    /// a line; and how many it says that have.
    pub forwards: &'a str,
    pub forward_count: u16,
}

/// A SIP message that was received or sent on a leg, not repeated, before the leg's end was told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SipMessage<'a> {
    pub call: CallId,
    pub parent: CallId,
    pub leg: LegId,
    pub account: u64,
    pub at: Wall,
    /// Of the leg.
    pub direction: Direction,
    pub sent: bool,
    /// The call follows a static route: no application was asked for it.
    pub trunk: bool,
    /// Counts those that were told of the leg, from 1.
    pub number: u32,
    /// How many since the one before were to be told and were too many.
    pub left_out: u32,
    /// Whose they are: [`crate::table::MessageFilter::id`].
    pub wanted: ArrayVec<u128, WANTED_MAX>,
    /// The leg's caller and called, as its CDR has them.
    pub from: &'a str,
    pub to: &'a str,
    pub created: Wall,
    /// 0 if not answered yet.
    pub answered: Wall,
    /// Of the request; of a response the one of its CSeq.
    pub method: &'a str,
    pub cseq: u32,
    /// 0 for a request.
    pub code: u16,
    /// Request-URI, or reason phrase.
    pub start: &'a str,
    /// One `Name: value` a line, ended with CRLF: long names, folds undone, no credentials.
    pub headers: &'a str,
    pub body: &'a str,
    /// Something of it was left out: it was too long, or no text.
    pub is_cut: bool,
}

/// Subscriptions that one message is told to at most.
pub const WANTED_MAX: usize = 16;
/// Bytes of a told message's header lines and body.
pub const TOLD_HEADERS_MAX: usize = 4_096;
pub const TOLD_BODY_MAX: usize = 2_048;

/// Who ended a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Party {
    /// The far end of this leg.
    Remote,
    /// The other leg of its join or the leg it was dialled for.
    Peer,
    /// A command of the controlplane.
    Application,
    /// The dataplane itself: a timer, a limit, a fault.
    Switch,
}

/// Why a leg ended or was never made. Numbers are for ever.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[repr(u8)]
pub enum Cause {
    /// BYE after an answer.
    Normal = 0,
    /// 486 or 600.
    Busy = 1,
    /// 408, 480, 487 after our ring timeout.
    NoAnswer = 2,
    /// CANCEL before an answer.
    Canceled = 3,
    /// Any other final response 3xx-6xx.
    Rejected = 4,
    /// No response at all to INVITE (timer B), or no target to send to.
    Unreachable = 5,
    /// No media in either direction for the media timeout.
    MediaTimeout = 6,
    /// The time limit of the call.
    TimeLimit = 7,
    /// No media port was free.
    NoPort = 8,
    /// No route or application for the number.
    NoRoute = 9,
    /// The guard shed it (rate, concurrency, overload, drain).
    Overload = 10,
    /// The controlplane did not take the call in time.
    NoController = 11,
    /// The dataplane process died; ended by its successor.
    Restart = 12,
    /// The peer broke the protocol in a way that ends a dialog (RFC 3261).
    Protocol = 13,
    /// A fault of ours in this leg.
    Internal = 14,
    /// No ACK to our 2xx (RFC 3261 section 13.3.1.4), or no PRACK (RFC 3262 section 3).
    NoAck = 15,
    /// Offer and answer have no codec in common (488).
    NoCodec = 16,
    /// Source or destination not allowed (403).
    Forbidden = 17,
    /// Another leg of the same dial answered first.
    OtherAnswered = 18,
    /// The session timer ran out (RFC 4028).
    SessionExpired = 19,
    /// A number or URI that cannot be dialled or does not exist (404, 484, 604).
    NotFound = 20,
    /// 401 or 407: the far end wants credentials of us, and we have none, or not those.
    Credentials = 21,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// A leg's whole story, enough for its CDR without any other source.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary<'a> {
    pub epoch: u32,
    pub leg: LegId,
    pub call: CallId,
    pub parent: CallId,
    /// 0 if it never got one.
    pub account: u64,
    pub direction: Direction,
    pub from: &'a str,
    pub to: &'a str,
    /// The far end of the signalling.
    pub remote: SocketAddr,
    /// SIP Call-ID.
    pub call_id: &'a str,
    pub created: Wall,
    /// 0 if never answered.
    pub answered: Wall,
    pub ended: Wall,
    /// Final SIP status sent or received for the INVITE; 0 if none.
    pub code: u16,
    pub cause: Cause,
    pub by: Party,
    pub media: Option<MediaSummary>,
    /// For how many milliseconds since the answer the far end was to speak: it had not agreed to be
    /// silent.
    pub due_ms: u32,
    pub usage: ArrayVec<Usage, SEGMENTS_MAX>,
}

/// One leg's media, as seen here.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MediaSummary {
    pub path: Path,
    /// Received from the far end.
    pub received: u64,
    pub lost: u64,
    pub jitter_us: u32,
    /// Mean opinion score x 100 (100-450) of what we received (ITU-T G.107).
    pub mos_centi: u16,
    pub sent: u64,
    /// 0 if never measured.
    pub rtt_us: u32,
    /// As the far end reports of what we sent, in 1/256 (RFC 3550 section 6.4.1); 0 if it never
    /// did.
    pub reported_loss: u8,
    #[serde(default)]
    pub refused: RtpRefused,
}

/// Media that came to a leg's port and was not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RtpRefused {
    /// Its source may not speak.
    pub source: u32,
    /// Its payload type is outside the answer.
    pub payload: u32,
    /// It was over the rate of its packet time.
    pub rate: u32,
    /// It came from ourselves.
    pub looped: u32,
    /// The first source of them that was not the far end's.
    pub foreign: Option<SocketAddr>,
}

impl Event<'_> {
    /// The most bytes that it takes encoded.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        // Ids, stamps and lengths of at most ten bytes each.
        const FIXED: usize = 160;
        match self {
            Self::Incoming(incoming) => {
                let texts = [
                    incoming.uri,
                    incoming.from,
                    incoming.from_name,
                    incoming.to,
                    incoming.call_id,
                    incoming.diversion,
                    incoming.headers,
                    incoming.user,
                    incoming.forwards,
                ];
                FIXED + texts.iter().map(|text| text.len() + 3).sum::<usize>()
            }
            Self::Ended(summary) => {
                let texts = summary.from.len() + summary.to.len() + summary.call_id.len();
                FIXED + texts + USAGE_BYTES * SEGMENTS_MAX + MEDIA_BYTES
            }
            Self::Declined { said, .. } => FIXED + said.len(),
            Self::Refused { uri, why, .. } => FIXED + uri.len() + why.len(),
            Self::Refer { to, by, headers, .. } => FIXED + to.len() + by.len() + headers.len(),
            Self::Claim(claim) => FIXED + claim.realm.len() + claim.head.len(),
            Self::Message(message) => {
                let SipMessage { from, to, method, start, headers, body, .. } = message;
                let texts = [from, to, method, start, headers, body];
                FIXED + 19 * WANTED_MAX + texts.iter().map(|text| text.len() + 3).sum::<usize>()
            }
            _ => FIXED,
        }
    }
}

/// An encoded [`Usage`]: four numbers of 64 bits and three small ones.
const USAGE_BYTES: usize = 4 * 10 + 3 * 3;
/// An encoded [`MediaSummary`].
const MEDIA_BYTES: usize = 64 + 4 * 5 + 22;

impl Cause {
    /// Every cause, for tables and tests.
    pub const ALL: [Self; 22] = [
        Self::Normal,
        Self::Busy,
        Self::NoAnswer,
        Self::Canceled,
        Self::Rejected,
        Self::Unreachable,
        Self::MediaTimeout,
        Self::TimeLimit,
        Self::NoPort,
        Self::NoRoute,
        Self::Overload,
        Self::NoController,
        Self::Restart,
        Self::Protocol,
        Self::Internal,
        Self::NoAck,
        Self::NoCodec,
        Self::Forbidden,
        Self::OtherAnswered,
        Self::SessionExpired,
        Self::NotFound,
        Self::Credentials,
    ];

    /// The cause's name in CDRs, alerts and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::MediaTimeout => "media-timeout",
            Self::TimeLimit => "time-limit",
            Self::NoPort => "no-port",
            Self::NoRoute => "no-route",
            Self::Overload => "overload",
            Self::NoController => "no-controller",
            Self::Restart => "restart",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
            Self::NoAck => "no-ack",
            Self::NoCodec => "no-codec",
            Self::Forbidden => "forbidden",
            Self::OtherAnswered => "other-answered",
            Self::SessionExpired => "session-expired",
            Self::NotFound => "not-found",
            Self::Credentials => "credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_waits_for_does_not_wait() {
        let (call, leg, at) = (CallId::NONE, LegId::NONE, Wall(1));
        let source = SocketAddr::from(([127, 0, 0, 1], 5_060));
        let (uri, why, cause) = ("", "", Cause::Normal);
        let hop = Hop::datagram(0, source);
        let claim =
            |registers| Event::Claim(Claim { registers, id: 1, at, hop, realm: "", head: b"" });
        let events = [
            (Event::Dialed { call, leg, at }, true),
            (Event::Progress { call, leg, at, code: 180, media: false }, true),
            (Event::Answered { call, leg, at }, false),
            (Event::Joined { call, peer: call, at }, true),
            (Event::Parted { call, at }, true),
            (Event::Digit { call, at, digit: '1' }, false),
            (Event::Unknown { call }, true),
            (Event::Refused { at, source, code: 404, cause, uri, why }, true),
            (Event::Refer { call, peer: leg, at, to: uri, by: why, headers: "" }, false),
            (claim(true), true),
            (claim(false), false),
        ];
        for (event, waits) in events {
            let mut bytes = [0; 256];
            let len = crate::encode(&event, &mut bytes).unwrap();
            assert_eq!(may_wait(&bytes[..len]), waits, "{event:?}");
        }
        assert!(!may_wait(&[0, 1]), "a new call");
        assert!(!may_wait(&[]));
    }
}
