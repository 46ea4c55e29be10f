//! Bytes to messages and whose they are; answers that need no state; where we may send at all.

pub(crate) mod demux;
pub(crate) mod guard;
pub(crate) mod networks;
pub(crate) mod obeyed;
pub(crate) mod policy;
pub(crate) mod reply;
pub(crate) mod targets;

use base::{Door, Frame, Hop, Local, Mono, ShardId};
use wire::counter::Counter;

use guard::Standing;

use crate::cx::{Core, Cx};

/// A SIP datagram as it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'d> {
    /// The listener it came to and the address it came from.
    pub(crate) hop: Hop,
    pub(crate) arrived: Mono,
    pub(crate) bytes: &'d [u8],
    /// What is known of its source, and the shard that took it in.
    pub(crate) standing: Standing,
    pub(crate) taken_by: ShardId,
}

impl Cx<'_, '_> {
    /// Queues a SIP message; None (nothing could be written) was counted where it happened.
    pub(crate) fn send_sip(&mut self, hop: Hop, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let Door::Datagram(listener) = hop.via else {
            // No connection exists yet that a hop could name.
            return self.discard(frame, Counter::DiscardTransmit);
        };
        self.count(Counter::SipSent);
        self.transmit(Local::Listener(listener), hop.to, frame);
    }

    /// Sends stored bytes once more.
    pub(crate) fn resend(&mut self, hop: Hop, text: &base::Stored) {
        let frame =
            crate::cx::frame_of(self.frames, &mut self.core.in_hand, self.core.arena.get(text));
        match frame {
            Some(_) => self.count(Counter::SipRetransmitted),
            None => self.count(Counter::DiscardNoFrame),
        }
        self.send_sip(hop, frame);
    }
}

impl Core<'_> {
    /// What Via and Contact say for messages through this door.
    pub(crate) fn advertised(&self, via: Door) -> core::net::SocketAddr {
        let nowhere = core::net::SocketAddr::from(([0, 0, 0, 0], 0));
        match via {
            Door::Datagram(listener) => {
                let plan = self.plan.listeners.get(usize::from(listener));
                plan.map_or(nowhere, |listener| listener.advertised)
            }
            Door::Stream(_) => nowhere,
        }
    }

    /// Index of the media address that calls through this door use.
    pub(crate) fn media_index(&self, via: Door) -> u8 {
        match via {
            Door::Datagram(listener) => {
                self.plan.listeners.get(usize::from(listener)).map_or(0, |plan| plan.media)
            }
            Door::Stream(_) => 0,
        }
    }

    /// What SDP says of the media address with this index.
    pub(crate) fn media_address(&self, media: u8) -> core::net::IpAddr {
        let nowhere = core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
        self.plan.media.get(usize::from(media)).map_or(nowhere, |media| media.advertised)
    }

    pub(crate) fn sip_timers(&self) -> sip::txn::Timers {
        sip::txn::Timers { t1: self.plan.timers.t1, ..sip::txn::Timers::RFC }
    }
}
