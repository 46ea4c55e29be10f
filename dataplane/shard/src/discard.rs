//! No drop without a reason: the only way to give a received frame back unused is to say why, and
//! the reason is the counter.

use base::{Frame, Frames};
use wire::counter::{Counter, Counters};

/// Gives a frame back and counts why.
pub(crate) fn discard(
    counters: &mut Counters,
    frames: &mut dyn Frames,
    frame: Frame,
    reason: Counter,
) {
    counters.count(reason);
    frames.free(frame);
}
