//! The relay's first half: may this packet pass, and as what. Free functions over one stream.

use core::net::SocketAddr;

use base::Mono;
use rtp::Header;
use wire::counter::Counter;

use super::stream::{Hears, Latch, Stream};

/// A packet that may pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) header: Header,
    /// The outgoing payload type.
    pub(crate) pt: u8,
    /// The outgoing stream must be tied to new numbers first.
    pub(crate) starts: bool,
    pub(crate) locked: bool,
    /// It carries a digit (RFC 4733).
    pub(crate) digit: bool,
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
    if !stream.plan.direction.receives() {
        return Err(Counter::DiscardRtpHold);
    }
    // Payload types outside the answer are dropped before anything is learned from the packet.
    let format = stream.plan.received(header.pt);
    let Some(digit) = format.map(|format| format.codec.is_telephone_event()) else {
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
    let admitted = |pt| Admitted { header, pt, starts, locked, digit };
    match stream.hears {
        Hears::Nobody => Ok(admitted(u8::MAX)),
        _ => match stream.map.map(header.pt) {
            Some(pt) => Ok(admitted(pt)),
            // The other leg does not speak it: heard here (digits), not there.
            None => Ok(admitted(u8::MAX)),
        },
    }
}
