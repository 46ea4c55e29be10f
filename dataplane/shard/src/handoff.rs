//! What one shard hands to another: datagrams that came to the wrong one, frames of joins that span
//! shards, and what the legs of one call say to each other. Legs of the same shard talk by the same
//! messages through a queue to self, so that there is one way and the simulation exercises it
//! always.
//!
//! The dialogue of two legs, A standing or ringing and B dialled for it:
//!
//! ```text
//!        A                                   B
//!        | <------------- Want ------------- |   B was told to dial for A
//!        | -- Offer { sdp, allow } --------> |   (or Over: A is gone)
//!        |                                   | INVITE ...
//!        | <--------- Progress { sdp } ----- |   180, 183: early media is joined
//!        | <---------- Answer { sdp } ------ |   A answers its own INVITE, joins
//!        | -- Joined { formats } ----------> |   (or Refused: somebody else answered first)
//!        | <- Over { cause } -> or <-------- |   whoever ends first
//! ```

use arrayvec::ArrayVec;
use base::{CallId, LegId};
use core::net::SocketAddr;
use sdp::{Codec, CodecId, PlanFormat};
use wire::event::Cause;

/// A message to another shard.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a transient view of a ring record, never stored")]
pub enum Handoff<'a> {
    /// A SIP datagram whose owner is the receiving shard.
    Sip { listener: u8, source: SocketAddr, bytes: &'a [u8] },
    /// An RTP packet for a leg to send: numbers as received, payload type already the receiver's.
    Media { to: LegId, starts: bool, bytes: &'a [u8] },
    /// Leg to leg.
    Leg { to: LegId, from: LegId, say: Say<'a> },
}

/// What one leg says to another.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Say<'a> {
    Want,
    /// `sdp`: what A's far end last said. `allow`: payload types in force, all if not negotiated
    /// yet.
    Offer {
        call: CallId,
        sdp: &'a [u8],
        allow: u128,
        max_forwards: u8,
    },
    Progress {
        code: u16,
        sdp: &'a [u8],
        formats: Formats,
    },
    Answer {
        call: CallId,
        sdp: &'a [u8],
        formats: Formats,
    },
    Joined {
        call: CallId,
        formats: Formats,
    },
    Refused {
        cause: Cause,
    },
    /// The controlplane joins two standing legs.
    Join {
        call: CallId,
        formats: Formats,
    },
    /// The speaker leaves the join but stands.
    Part,
    /// The speaker is over. `code`: its final SIP status, 0 if none.
    Over {
        code: u16,
        cause: Cause,
    },
}

/// A leg's negotiated formats, as they cross between shards.
pub type Formats = ArrayVec<FormatWire, 16>;

/// One format: codec id, clock, channels, variant, receive and send payload types.
pub type FormatWire = (u32, u32, u8, u8, u8, u8);

pub(crate) fn formats_of(plan: &sdp::Plan) -> Formats {
    let pack = |format: &PlanFormat| {
        let codec = format.codec;
        let (id, clock) = (codec.id.0, codec.clock);
        (id, clock, codec.channels, codec.variant, format.receive_pt, format.send_pt)
    };
    plan.formats().iter().take(16).map(pack).collect()
}

pub(crate) fn plan_of(formats: &Formats) -> sdp::Plan {
    let unpack = |&(id, clock, channels, variant, receive_pt, send_pt): &FormatWire| PlanFormat {
        codec: Codec { id: CodecId(id), clock, channels, variant },
        receive_pt,
        send_pt,
    };
    let formats: ArrayVec<PlanFormat, 16> = formats.iter().map(unpack).collect();
    let nowhere = sdp::Plan::default().remote_rtp;
    sdp::Plan::fixed(nowhere, nowhere, &formats)
}
