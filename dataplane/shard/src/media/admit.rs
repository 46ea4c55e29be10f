//! The relay's first half: may this packet pass, and as what. Free functions over one stream.

use core::net::SocketAddr;

use base::Mono;
use rtp::Header;
use sdp::MediaTarget;
use wire::counter::Counter;

use super::latch::{Asking, Judgement};
use super::passes::Pass;
use super::police::interval;
use super::stream::Stream;
use crate::plan::Plan;

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
    plan: &Plan,
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
        return Err(refuse(stream, source, Counter::DiscardRtpPayload));
    };
    let mut locks = false;
    if !stream.latch.is_locked_to(&source) {
        locks = ask(stream, plan, source, &header, now)?;
    }
    if !stream.police.takes(interval(stream.pace), now) {
        return Err(refuse(stream, source, Counter::DiscardRtpRate));
    }
    let verdict = stream.receiver.handle(&header, now);
    if !verdict.is_accepted() {
        return Err(match verdict {
            rtp::Verdict::Unconfirmed => Counter::DiscardRtpSsrc,
            _ => Counter::DiscardRtpSequence,
        });
    }
    let (starts, owes_start) = (verdict.is_new_source(), stream.owes_start);
    Ok(Admitted { header, pass, starts, owes_start, locks })
}

/// A packet of a source that is not locked: whether it is by this, or why it is not taken.
#[cold]
#[inline(never)]
fn ask(
    stream: &mut Stream,
    plan: &Plan,
    source: SocketAddr,
    header: &Header,
    now: Mono,
) -> Result<bool, Counter> {
    if plan.is_ours(source) && !stream.is_spiral {
        return Err(refuse(stream, source, Counter::DiscardRtpLoop));
    }
    let asking = Asking::new(source, header, &stream.receiver, now);
    match stream.latch.judge(&asking, &mut stream.known, now) {
        Judgement::No => {
            let reason = match stream.latch.locked() {
                Some(_) => Counter::DiscardRtpSource,
                None => Counter::DiscardRtpUnlatched,
            };
            Err(refuse(stream, source, reason))
        }
        Judgement::Yes => Ok(false),
        settles => {
            stream.target = stream.known.target(source);
            stream.target_speaks(source);
            Ok(settles == Judgement::Locks)
        }
    }
}

/// What is not taken is told with the leg's summary, by reason and with whom it came from.
#[cold]
#[inline(never)]
pub(crate) fn refuse(stream: &mut Stream, source: SocketAddr, reason: Counter) -> Counter {
    let refused = &mut stream.refused;
    let count = match reason {
        Counter::DiscardRtpPayload => &mut refused.payload,
        Counter::DiscardRtpRate => &mut refused.rate,
        Counter::DiscardRtpLoop => &mut refused.looped,
        _ => &mut refused.source,
    };
    *count = count.saturating_add(1);
    let is_known = stream.known.is_described(source) || stream.latch.is_locked_to(&source);
    if refused.foreign == MediaTarget::NOWHERE && !is_known {
        refused.foreign = MediaTarget::new(source);
    }
    reason
}
