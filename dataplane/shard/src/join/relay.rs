//! The relay's first half: may this packet pass, and as what. Free functions over one stream.

use core::net::SocketAddr;

use base::Mono;
use rtp::Header;
use wire::counter::Counter;

use super::stream::{Latch, Stream};

/// A packet that may pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) header: Header,
    /// The outgoing payload type; [`PtMap::DROP`] where nobody hears it or the other leg does not
    /// speak it: it is heard here (digits), not there.
    pub(crate) pt: u8,
    /// The outgoing stream must be tied to new numbers first.
    pub(crate) starts: bool,
    pub(crate) locked: bool,
    /// It carries a digit (RFC 4733).
    pub(crate) digit: bool,
}

impl Admitted {
    /// Nothing but sound that goes on.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !(self.locked || self.starts || self.digit) && self.pt != sdp::PtMap::DROP
    }
}

/// Takes one RTP packet of the far end into account.
#[inline]
pub(crate) fn admit(
    stream: &mut Stream,
    source: SocketAddr,
    packet: &[u8],
    now: Mono,
) -> Result<Admitted, Counter> {
    let Ok(header) = Header::parse(packet) else { return Err(Counter::DiscardRtpMalformed) };
    if !stream.receives() {
        return Err(Counter::DiscardRtpHold);
    }
    // Payload types outside the answer are dropped before anything is learned from the packet.
    let Some((pt, digit)) = stream.passes.find(header.pt) else {
        return Err(Counter::DiscardRtpPayload);
    };
    let (may, locked) = stream.may_speak(source, now);
    if !may {
        return Err(match stream.latch {
            Latch::Locked(_) => Counter::DiscardRtpSource,
            _ => Counter::DiscardRtpUnlatched,
        });
    }
    let verdict = stream.receiver.handle(&header, packet.len(), now);
    if !verdict.is_accepted() {
        return Err(match verdict {
            rtp::Verdict::Unconfirmed => Counter::DiscardRtpSsrc,
            _ => Counter::DiscardRtpSequence,
        });
    }
    stream.heard = now;
    let starts = verdict.is_new_source();
    Ok(Admitted { header, pt, starts, locked, digit })
}
