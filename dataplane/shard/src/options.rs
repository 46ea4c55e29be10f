//! OPTIONS outside a dialog: how carriers, phones and monitors ask whether this switch lives and
//! takes calls (RFC 3261 section 11).

use base::{Frames, Now};
use sip::{Message, Name, Part};

use crate::Shard;
use crate::transport::Datagram;
use crate::transport::guard::Standing;
use crate::transport::reply::{ALLOW_OUTSIDE, SUPPORTED};

/// Seconds after which a switch that is full is asked again.
const FULL_S: u64 = 5;
/// And one that takes no new calls any more.
const DRAINING_S: u64 = 60;

impl Shard<'_> {
    /// Whoever is in somebody's list, and whoever has shown that he hears us, learns what we speak,
    /// or that his calls are better sent elsewhere; a stranger that somebody is here.
    pub(crate) fn asked_if_alive(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (datagram, message): (&Datagram<'_>, &Message<'_>),
    ) {
        let standing = datagram.standing;
        let busy_s = match standing {
            Standing::Stranger => 0,
            _ if self.draining => DRAINING_S,
            _ if self.is_full(standing, now) => FULL_S,
            _ => 0,
        };
        let mut cx = self.cx(now, frames);
        if busy_s > 0 {
            return cx.answer_with(datagram, message, 503, |writer| {
                writer.header(Name::RetryAfter, &[Part::Number(busy_s)])
            });
        }
        cx.answer_with(datagram, message, 200, |writer| {
            if standing == Standing::Stranger {
                return writer;
            }
            let writer = writer.field(Name::Allow, ALLOW_OUTSIDE);
            let writer = writer.field(Name::Supported, SUPPORTED);
            writer.field(Name::Accept, b"application/sdp")
        });
    }

    /// Whether a call from there would be refused because there is no room or no time for it.
    fn is_full(&mut self, standing: Standing, now: Now) -> bool {
        let may_begin = self.core.guard.may_call(standing == Standing::Trunk, now.mono);
        !may_begin || !self.has_room(standing, false)
    }
}
