//! What one shard hands to another: datagrams that came to the wrong one, frames of joins that span
//! shards, and what the legs of one call say to each other. Legs of the same shard talk by the same
//! messages through a queue to self, so that there is one way and the simulation exercises it
//! always.
//!
//! The dialogue of two legs, A standing or ringing and B dialled for it:
//!
//! ```text
//!        A                                   B
//!        | <--------- OfferRequest --------- |   B was told to dial for A
//!        | -- Offer { sdp, view } ---------> |   (or Ended: A is gone)
//!        |                                   | INVITE ...
//!        | <-------- Progress { sdp } ------ |   180, 183: early media is joined, the first one's
//!        | -- Unheard ---------------------> |   (that one is over: the next one's is)
//!        | <--------- Answer { sdp } ------- |   A answers its own INVITE, joins
//!        | -- Joined { view } -------------> |   (or Refused: somebody else answered first)
//!        | <------ Changed { view } -------> |   whenever what a far end takes or wants changes
//!        | <------ Digit { digit } --------> |   a digit that does not cross as a packet
//!        | <- Ended { cause } -> or <------- |   whoever ends first
//! ```
//!
//! `Refer`, `Referred`, `Replace` and `Takeover` are told of in `leg::refer`; `Redirected`
//! in `leg::redirect`; `TakePlace`, `GivePlace`, `Place` and `Taken` in `leg::place`.

use arrayvec::ArrayVec;
use base::{CallId, ConnectionId, Hop, LegId, Mono, ShardId};
use core::net::{IpAddr, SocketAddr};
use sdp::{Codec, CodecId, Direction, MediaTarget, Plan, PlanFormat};
use wire::event::Cause;

pub use crate::leg::place::Claimant;
pub use crate::transport::connections::End;
pub use crate::transport::far_end::FarEnd;
pub use crate::transport::guard::Standing;

/// A message to another shard.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Handoff<'a> {
    /// A SIP datagram whose owner is the receiving shard: when it arrived, what is known of its
    /// source, and the shard that took it in.
    Sip {
        hop: Hop,
        arrived: Mono,
        standing: Standing,
        by: ShardId,
        bytes: &'a [u8],
        source: FarEnd,
    },
    /// A SIP message to be sent by a connection of the receiving shard's.
    /// `text`: of the name that its far end is verified by, should it have to be opened again.
    Send { hop: Hop, text: &'a str, bytes: &'a [u8] },
    /// A connection of the sender's is lost: what went by it may have to be said again.
    Lost { id: ConnectionId, end: End },
    /// A source hears us: what it sent to the receiving shard named a leg or request of the
    /// sender's.
    Proven { source: SocketAddr },
    /// An RTP packet of `from`'s far end for `to` to send: numbers as received, payload type and
    /// payload already the receiver's.
    Media { to: LegId, from: LegId, starts: bool, arrived: Mono, bytes: &'a [u8] },
    /// A leg to be dialled for a static route.
    Dial(wire::Originate<'a>),
    /// ICMP says that nobody is behind this address, and quotes a branch of the receiving shard's:
    /// this client transaction's.
    Unreachable { to: SocketAddr, transaction: LegId },
    /// Leg to leg; `at` is the moment of which it speaks.
    Leg { to: LegId, from: LegId, at: Mono, message: PeerMessage<'a> },
    /// A phone has registered by a connection of the receiving shard's: it stays.
    Registered { id: ConnectionId, silence_s: u16 },
    /// Of this caller it is known that he knows MD5 alone (RFC 8760).
    Md5Alone { who: u64 },
    /// What was dialled for this leg by its static route has failed: the next one is followed, if
    /// there is one.
    Advance { leg: LegId, code: u16, cause: Cause },
    /// A target redirects this leg, which a static route made. `contacts`: one a line, as a Contact
    /// has it.
    Redirected { leg: LegId, code: u16, contacts: &'a str },
    /// What the sender has heard of a target that it asks by OPTIONS. None: it lives.
    Health { group: u64, target: base::Target, out_s: Option<u32> },
}

/// What one leg says to another.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum PeerMessage<'a> {
    /// The speaker was told to dial for the hearer and needs its offer.
    OfferRequest,
    /// `sdp`: what the speaker's far end last described, empty if it has not yet. `identity`:
    /// header lines of its INVITE that the hearer may pass on, each ended with CRLF.
    /// `hidden`: its caller's URI if that one must not be shown, else empty.
    Offer {
        call: CallId,
        sdp: &'a [u8],
        view: View,
        max_forwards: u8,
        identity: &'a str,
        hidden: &'a str,
    },
    /// The dialled leg rings (`sdp` empty) or has early media.
    Progress { code: u16, sdp: &'a [u8], view: View },
    /// The dialled leg was answered.
    Answer { call: CallId, sdp: &'a [u8], view: View },
    /// The speaker has connected its half.
    Joined { call: CallId, view: View },
    /// The speaker does not want the hearer: somebody else answered first, nothing is in common, or
    /// (to a `Join`) it is not answered.
    Refused { cause: Cause },
    /// The controlplane joins two standing legs.
    Join { call: CallId, view: View },
    /// What the speaker's far end takes, or wants, is another thing from now on.
    Changed { view: View },
    /// A digit of the speaker's far end that does not cross as a packet; `0-9*#A-D`, milliseconds.
    Digit { digit: char, duration_ms: u16 },
    /// The speaker leaves the join but stands.
    Left,
    /// The early media that the speaker's far end heard is over: whoever has some says `Progress`
    /// again.
    Unheard,
    /// The speaker is over. `code`: its final SIP status, 0 if none. `reason`: the value of the
    /// Reason header that its far end ended with, empty if none (RFC 3326).
    Ended { code: u16, cause: Cause, reason: &'a str },
    /// The speaker's far end refers the hearer's to somebody, who may take the speaker's place; or
    /// nothing comes of that. `binds`: the two end with each other from then on.
    Refer { begins: bool, binds: bool },
    /// What the hearer's far end wanted has come to this.
    Referred { code: u16 },
    /// The speaker's far end names this dialog of the hearer's: whom the hearer is joined with is
    /// to be joined with `other`. `host`, `account`: whose the speaker is.
    Replace { other: LegId, host: IpAddr, account: u64, dialog: &'a [u8] },
    /// The speaker leaves, and `by` takes its place.
    Takeover { by: LegId },
    /// The speaker leaves the join for an application: both stay what they are to each other.
    Held,
    /// The speaker's target redirects the caller, who is to hear so. One contact a line.
    Redirected { code: u16, contacts: &'a str },
    /// The speaker's INVITE names this dialog of the hearer's, and wants its place (RFC 3891).
    TakePlace { claimant: Claimant, dialog: &'a [u8] },
    /// The hearer may go on with `to` in the speaker's place, once that is answered.
    GivePlace { to: LegId },
    /// The hearer has the place: what the speaker's far end described, and whether it is answered.
    Place { account: u64, is_up: bool, sdp: &'a [u8], view: View },
    /// The speaker goes on with whoever took the hearer's place.
    Taken,
    /// A MESSAGE of the speaker's far end for the hearer's: its Content-Type and its body.
    Text { number: u32, kind: &'a [u8], body: &'a [u8] },
    /// What the speaker's far end said to that one of the hearer's.
    TextSaid { number: u32, code: u16 },
    /// The speaker's far end refuses the call with these words beside the status: its phrase, then
    /// header lines, each ended with CRLF. `Ended` follows.
    Declined { code: u16, said: &'a str },
    /// What stands behind the description in a body that the hearer may send, from its delimiter
    /// on; `forced`: whatever its trunk says; `required`: not without them. `Offer` follows.
    Parts { forced: bool, required: bool, tail: &'a [u8] },
    /// The speaker, whose place the hearer's far end wants, talks with nobody: its application has
    /// it. Whoever takes the place has that one's document.
    Alone { call: CallId, account: u64 },
}

/// How digits can be brought to a leg's far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DigitPath {
    /// Not at all.
    #[default]
    None,
    /// As RTP events (RFC 4733): the plan has telephone-event.
    Event,
    /// By INFO: its Allow lists the method.
    Info,
}

/// What another leg needs to know of a leg's far end.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct View {
    /// What the far end described, in its order of preference; those in force are marked.
    pub formats: Formats,
    /// What the far end wants to do itself, as it last said: hold is `sends`, or neither.
    pub sends: bool,
    pub receives: bool,
    pub digits: DigitPath,
    /// It has refused an offer of ours: nothing else is to be had from it.
    pub fixed: bool,
}

/// A leg's formats, as they cross between shards.
pub type Formats = ArrayVec<LegFormat, 16>;

/// One format of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LegFormat {
    pub codec: u32,
    pub clock: u32,
    pub channels: u8,
    pub variant: u8,
    /// Payload types, as in [`PlanFormat`].
    pub receive_pt: u8,
    pub send_pt: u8,
    /// Negotiated; else the far end described it, and an offer of ours could bring it into force.
    pub in_force: bool,
}

impl LegFormat {
    #[must_use]
    pub fn new(format: &PlanFormat, in_force: bool) -> Self {
        let Codec { id, clock, channels, variant } = format.codec;
        let PlanFormat { receive_pt, send_pt, .. } = *format;
        Self { codec: id.0, clock, channels, variant, receive_pt, send_pt, in_force }
    }

    #[must_use]
    pub fn codec(&self) -> Codec {
        Codec {
            id: CodecId(self.codec),
            clock: self.clock,
            channels: self.channels,
            variant: self.variant,
        }
    }
}

impl Handoff<'_> {
    /// Whether these encoded bytes are [`Handoff::Sip`]: its name comes first.
    pub(crate) fn is_sip(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0)
    }
}

impl View {
    /// The formats in force, as a plan to nowhere.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let in_force = self.formats.iter().filter(|format| format.in_force);
        let unpack = |format: &LegFormat| PlanFormat {
            codec: format.codec(),
            receive_pt: format.receive_pt,
            send_pt: format.send_pt,
        };
        let formats: ArrayVec<PlanFormat, 16> = in_force.map(unpack).collect();
        Plan::fixed(MediaTarget::NOWHERE, MediaTarget::NOWHERE, &formats)
    }

    /// What the far end wants, as it would write it.
    #[must_use]
    pub fn wish(&self) -> Direction {
        Direction::new(self.sends, self.receives)
    }
}

impl PeerMessage<'_> {
    /// After it the speaker says nothing more to the hearer.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Left | Self::Refused { .. })
    }

    /// The most bytes that it takes encoded, with its [`Handoff`] around it.
    pub(crate) fn bytes_max(&self) -> usize {
        const ENVELOPE: usize = 64;
        // A format: five fields of at most 5 bytes and three of one.
        const VIEW: usize = 16 * 32 + 8;
        ENVELOPE
            + match self {
                Self::Offer { sdp, identity, hidden, .. } => {
                    sdp.len() + identity.len() + hidden.len() + VIEW + 32
                }
                Self::Progress { sdp, .. } | Self::Answer { sdp, .. } => sdp.len() + VIEW + 32,
                Self::Joined { .. } | Self::Join { .. } | Self::Changed { .. } => VIEW + 32,
                Self::Ended { reason, .. } => reason.len() + 16,
                Self::Redirected { contacts, .. } => contacts.len() + 16,
                Self::Replace { dialog, .. } | Self::TakePlace { dialog, .. } => dialog.len() + 64,
                Self::Place { sdp, .. } => sdp.len() + VIEW + 32,
                Self::Declined { said, .. } => said.len() + 16,
                Self::Parts { tail, .. } => tail.len() + 16,
                Self::Alone { .. } => 48,
                Self::Text { kind, body, .. } => kind.len() + body.len() + 32,
                _ => 16,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_is_told_by_its_first_byte() {
        let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let arrived = Mono(7);
        let standing = Standing::Trunk;
        let hop = Hop::datagram(1, source);
        let (bytes, address) = (b"INVITE ", source.ip().into());
        let sip = Handoff::Sip { hop, arrived, standing, by: 0, bytes, source: address };
        let others = [
            Handoff::Proven { source },
            Handoff::Unreachable { to: source, transaction: LegId::NONE },
        ];
        let mut out = [0; 256];
        let len = wire::encode(&sip, &mut out).unwrap();
        assert!(Handoff::is_sip(&out[..len]));
        for other in others {
            let len = wire::encode(&other, &mut out).unwrap();
            assert!(!Handoff::is_sip(&out[..len]), "{other:?}");
        }
    }
}
