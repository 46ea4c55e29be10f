//! The relay's first half: may this packet pass, and as what. Free functions over one stream.

use core::net::SocketAddr;

use base::Mono;
use rtp::Header;
use wire::counter::Counter;

use super::latch::Judgement;
use super::passes::Pass;
use super::stream::Stream;

/// A packet that may pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) header: Header,
    pub(crate) pass: Pass,
    /// The outgoing stream must be tied to new numbers first, because the source is new, or because
    /// the packet that said so before was lost.
    pub(crate) starts: bool,
    pub(crate) owes_start: bool,
    /// Its source is locked by it.
    pub(crate) locks: bool,
}

impl Admitted {
    /// The outgoing payload type of nothing but sound that goes on as it is.
    #[inline]
    pub(crate) fn plain(&self) -> Option<u8> {
        self.pass.plain().filter(|_| !(self.locks | self.starts | self.owes_start))
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
    if !stream.receives {
        return Err(Counter::DiscardRtpHold);
    }
    // Payload types outside the answer are dropped before anything is learned from the packet.
    let Some(pass) = stream.passes.find(header.pt) else {
        return Err(Counter::DiscardRtpPayload);
    };
    let judgement = stream.latch.judge(source, &stream.known, now);
    if judgement == Judgement::No {
        return Err(match stream.latch.locked() {
            Some(_) => Counter::DiscardRtpSource,
            None => Counter::DiscardRtpUnlatched,
        });
    }
    let locks = judgement == Judgement::Locks;
    if locks {
        stream.target = source;
    }
    let verdict = stream.receiver.handle(&header, packet.len(), now);
    if !verdict.is_accepted() {
        return Err(match verdict {
            rtp::Verdict::Unconfirmed => Counter::DiscardRtpSsrc,
            _ => Counter::DiscardRtpSequence,
        });
    }
    stream.alive = now;
    let (starts, owes_start) = (verdict.is_new_source(), stream.owes_start);
    Ok(Admitted { header, pass, starts, owes_start, locks })
}
