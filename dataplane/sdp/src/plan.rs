//! What one leg's media does, once offer and answer have met.
//!
//! Each side tells which numbers *it wants to receive*. So a codec has two numbers on a leg:
//! `receive_pt` from our description, `send_pt` from the peer's. They are equal nearly always, and
//! must not be assumed to be (RFC 3264 section 5.1).

use crate::codec::{Codec, CodecId, PtSet};
use crate::error::SdpError;
use crate::limits::{CHANNELS_MAX, CLOCK_HZ_MAX, PLAN_FORMATS_MAX};
use crate::media::Direction;
use crate::relay::Matches;
use crate::session::Session;
use crate::target::MediaTarget;

/// Packet time where nobody says any, in milliseconds (RFC 3551 section 4.2).
const PTIME_MS_DEFAULT: u8 = 20;

/// One codec of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanFormat {
    pub codec: Codec,
    /// The payload type that the peer must put on what it sends us.
    pub receive_pt: u8,
    /// The payload type that we must put on what we send it.
    pub send_pt: u8,
}

/// A [`PlanFormat`] in ten bytes: a leg keeps sixteen of them for as long as it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    id: [u8; 4],
    /// Clock rate (20 bits), channels (4), variant (8).
    shape: [u8; 4],
    receive_pt: u8,
    send_pt: u8,
}

const CLOCK_BITS: u32 = 20;
const CHANNEL_BITS: u32 = 4;
const _: () = assert!(CLOCK_HZ_MAX < 1 << CLOCK_BITS && (CHANNELS_MAX as u32) < 1 << CHANNEL_BITS);

impl Packed {
    const NONE: Self = Self { id: [0; 4], shape: [0; 4], receive_pt: u8::MAX, send_pt: u8::MAX };

    fn new(format: &PlanFormat) -> Self {
        let PlanFormat { codec: Codec { id, clock, channels, variant }, .. } = *format;
        let beside = u32::from(channels) | u32::from(variant) << CHANNEL_BITS;
        Self {
            id: id.0.to_ne_bytes(),
            shape: (clock | beside << CLOCK_BITS).to_ne_bytes(),
            receive_pt: format.receive_pt,
            send_pt: format.send_pt,
        }
    }

    fn unpack(&self) -> PlanFormat {
        let shape = u32::from_ne_bytes(self.shape);
        let [_, _, beside, variant] = shape.to_le_bytes();
        let codec = Codec {
            id: CodecId(u32::from_ne_bytes(self.id)),
            clock: shape & ((1 << CLOCK_BITS) - 1),
            channels: beside >> CHANNEL_BITS,
            variant,
        };
        PlanFormat { codec, receive_pt: self.receive_pt, send_pt: self.send_pt }
    }
}

/// Negotiated media of one leg.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Where the peer wants RTP. Nowhere while it holds the old way.
    pub remote_rtp: MediaTarget,
    /// Where the peer wants RTCP (equal to `remote_rtp` when multiplexed).
    pub remote_rtcp: MediaTarget,
    formats: [Packed; PLAN_FORMATS_MAX],
    count: u8,
    /// What *we* may do: send to the peer, receive from it.
    pub direction: Direction,
    pub rtcp_mux: bool,
    /// Packet time that the peer asks for, in milliseconds; 20 where it does not say.
    pub ptime_ms: u8,
    /// Longest packet that the peer takes, in milliseconds; 0 where it does not say.
    pub maxptime_ms: u8,
}

impl Plan {
    /// From our own description and the peer's, whichever of them was the offer. Codecs are what
    /// both list, in the peer's order; beyond 16 the least preferred are left out.
    ///
    /// # Errors
    /// No usable audio on either side, no audio codec in common, or an address that we cannot send
    /// to.
    pub fn negotiate(local: &Session<'_>, remote: &Session<'_>) -> Result<Self, SdpError> {
        let (ours, theirs) = (local.audio()?, remote.audio()?);
        let rtcp_mux = ours.rtcp_mux() && theirs.rtcp_mux();
        let remote_rtp = theirs.rtp()?;
        let remote_rtcp = if rtcp_mux { remote_rtp } else { theirs.rtcp()? };
        let (our_formats, their_formats) = (ours.formats(), theirs.formats());
        let matches = Matches::new(&our_formats, &their_formats);
        let mut plan = Self {
            remote_rtp,
            remote_rtcp,
            formats: [Packed::NONE; PLAN_FORMATS_MAX],
            count: 0,
            direction: ours.direction().and(theirs.direction_in_force().reversed()),
            rtcp_mux,
            ptime_ms: theirs.ptime_ms().unwrap_or(PTIME_MS_DEFAULT),
            maxptime_ms: theirs.maxptime_ms().unwrap_or(0),
        };
        for (mine, its) in matches.pairs() {
            let Some(codec) = mine.codec() else { continue };
            plan.push(PlanFormat { codec, receive_pt: mine.pt, send_pt: its.pt });
        }
        if plan.audio().is_none() { Err(SdpError::NoCommonCodec) } else { Ok(plan) }
    }

    /// A plan without negotiation, for tests and for streams arranged by other means.
    #[must_use]
    pub fn fixed(
        remote_rtp: MediaTarget,
        remote_rtcp: MediaTarget,
        formats: &[PlanFormat],
    ) -> Self {
        let mut plan = Self { remote_rtp, remote_rtcp, ..Self::default() };
        plan.rtcp_mux = remote_rtp == remote_rtcp;
        plan.direction = Direction::SendRecv;
        for format in formats {
            plan.push(*format);
        }
        plan
    }

    /// The same with nothing sent either way: the stream was stopped (RFC 3264 section 8.2).
    #[must_use]
    pub const fn stopped(self) -> Self {
        Self { direction: Direction::Inactive, ..self }
    }

    /// The codecs in order of preference.
    #[must_use]
    pub fn formats(&self) -> impl ExactSizeIterator<Item = PlanFormat> + Clone {
        self.formats[..usize::from(self.count)].iter().map(Packed::unpack)
    }

    /// The codec that a received payload type means; None for one outside the answer.
    #[must_use]
    pub fn received(&self, pt: u8) -> Option<PlanFormat> {
        self.formats().find(|format| format.receive_pt == pt)
    }

    /// The preferred audio codec.
    #[must_use]
    pub fn audio(&self) -> Option<PlanFormat> {
        self.formats().find(|format| format.codec.id.is_audio())
    }

    /// Digits, at the preferred codec's clock rate where there are several.
    #[must_use]
    pub fn telephone_event(&self) -> Option<PlanFormat> {
        let clock = self.audio()?.codec.clock;
        let digits = || self.formats().filter(|format| format.codec.is_telephone_event());
        digits().find(|format| format.codec.clock == clock).or_else(|| digits().next())
    }

    /// The payload types that may come in: the filter for [`crate::relay_offer`] on a standing leg.
    #[must_use]
    pub fn receive_set(&self) -> PtSet {
        let mut set = PtSet::NONE;
        for format in self.formats() {
            set.insert(format.receive_pt);
        }
        set
    }

    /// Whether the peer does not want media (hold).
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.direction.sends()
    }

    /// Whether the peer's media address differs.
    #[must_use]
    pub fn address_changed(&self, before: &Self) -> bool {
        self.remote_rtp != before.remote_rtp || self.remote_rtcp != before.remote_rtcp
    }

    fn push(&mut self, format: PlanFormat) {
        if let Some(slot) = self.formats.get_mut(usize::from(self.count)) {
            *slot = Packed::new(&format);
            self.count += 1;
        }
    }
}

impl Default for Plan {
    /// Inactive, without codecs, to nowhere.
    fn default() -> Self {
        Self {
            remote_rtp: MediaTarget::NOWHERE,
            remote_rtcp: MediaTarget::NOWHERE,
            formats: [Packed::NONE; PLAN_FORMATS_MAX],
            count: 0,
            direction: Direction::Inactive,
            rtcp_mux: false,
            ptime_ms: PTIME_MS_DEFAULT,
            maxptime_ms: 0,
        }
    }
}

impl core::fmt::Debug for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Plan")
            .field("remote_rtp", &self.remote_rtp)
            .field("remote_rtcp", &self.remote_rtcp)
            .field("rtcp_mux", &self.rtcp_mux)
            .field("direction", &self.direction)
            .field("ptime_ms", &self.ptime_ms)
            .field("maxptime_ms", &self.maxptime_ms)
            .field("formats", &Listed(self))
            .finish()
    }
}

/// The formats of a plan, for whoever reads a log.
struct Listed<'p>(&'p Plan);

impl core::fmt::Debug for Listed<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.0.formats()).finish()
    }
}

/// Payload types of one leg translated to another's: what a relay writes over the seventh to first
/// bit of a packet's second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtMap {
    pairs: [(u8, u8); PLAN_FORMATS_MAX],
    count: u8,
}

impl PtMap {
    /// The mark in [`PtMap::table`] for a payload type that must be dropped.
    pub const DROP: u8 = u8::MAX;

    /// What `pt` becomes on the other leg; None drops the packet.
    #[must_use]
    pub fn map(&self, pt: u8) -> Option<u8> {
        self.pairs().iter().find(|pair| pair.0 == pt).map(|pair| pair.1)
    }

    /// (received, sent) pairs.
    #[must_use]
    pub fn pairs(&self) -> &[(u8, u8)] {
        &self.pairs[..usize::from(self.count)]
    }

    /// The same as an array indexed by payload type; [`PtMap::DROP`] where the packet is dropped.
    #[must_use]
    pub fn table(&self) -> [u8; 128] {
        let mut table = [Self::DROP; 128];
        for &(from, to) in self.pairs() {
            if let Some(entry) = table.get_mut(usize::from(from)) {
                *entry = to;
            }
        }
        table
    }

    /// Whether no payload type of `from` can be relayed: the two legs share no codec.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for PtMap {
    fn default() -> Self {
        Self { pairs: [(u8::MAX, u8::MAX); PLAN_FORMATS_MAX], count: 0 }
    }
}

/// The payload types that `from`'s peer sends, as `to`'s peer wants them.
#[must_use]
pub fn pt_map(from: &Plan, to: &Plan) -> PtMap {
    let mut map = PtMap::default();
    for format in from.formats() {
        let Some(target) = to.formats().find(|other| other.codec == format.codec) else {
            continue;
        };
        map.pairs[usize::from(map.count)] = (format.receive_pt, target.send_pt);
        map.count += 1;
    }
    map
}
