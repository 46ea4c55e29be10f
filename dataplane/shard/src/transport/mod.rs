//! Bytes to messages and whose they are; answers that need no state; where we may send at all.

pub(crate) mod connections;
pub(crate) mod demux;
pub(crate) mod far_end;
pub(crate) mod guard;
pub(crate) mod names;
pub(crate) mod networks;
pub(crate) mod nonces;
pub(crate) mod obeyed;
pub(crate) mod offers;
pub(crate) mod policy;
pub(crate) mod reply;
pub(crate) mod targets;

use core::net::IpAddr;

use base::{Door, Frame, Hop, Local, Mono, ShardId, Transport};
use wire::counter::Counter;

use connections::End;
use far_end::FarEnd;
use guard::Standing;

use crate::cx::{Core, Cx};
use crate::handoff::Handoff;

/// A SIP message as it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'d> {
    /// The listener or connection it came to and the address it came from.
    pub(crate) hop: Hop,
    pub(crate) arrived: Mono,
    pub(crate) bytes: &'d [u8],
    /// What is known of its source, and the shard that took it in.
    pub(crate) standing: Standing,
    pub(crate) taken_by: ShardId,
    /// Whom lists of networks know.
    pub(crate) source: FarEnd,
}

impl Cx<'_, '_> {
    /// Queues a SIP message; None (nothing could be written) was counted where it happened.
    pub(crate) fn send_sip(&mut self, hop: Hop, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        self.said(frame);
        self.send_again(hop, frame);
    }

    /// The same for what whoever is told of messages knows.
    fn send_again(&mut self, hop: Hop, frame: Frame) {
        match hop.via {
            Door::Datagram(listener) => {
                self.count(Counter::SipSent);
                self.transmit(Local::Listener(listener), hop.to, frame);
            }
            Door::Connection { id, name, .. }
                if id.shard != self.core.plan.shard && id.shard < self.core.plan.shards =>
            {
                // It lives elsewhere.
                let bytes = self.frames.bytes(frame);
                let text = self.core.names.text(name).unwrap_or_default();
                let message = Handoff::Send { hop, text, bytes };
                let most = bytes.len() + text.len() + 64;
                let queue = self.core.handoffs.get_mut(usize::from(id.shard));
                let passed = queue.is_some_and(|queue| queue.pass(&message, most));
                drop(message);
                match passed {
                    true => self.free(frame),
                    false => self.discard(frame, Counter::DiscardHandoffFull),
                }
            }
            Door::Connection { listener, id, name } => {
                self.send_by_connection(id, End { listener, remote: hop.to, name }, frame);
            }
        }
    }

    /// Sends stored bytes once more.
    pub(crate) fn resend(&mut self, hop: Hop, text: &base::Stored) {
        let frame =
            crate::cx::frame_of(self.frames, &mut self.core.in_hand, self.core.arena.get(text));
        match frame {
            Some(frame) => {
                self.count(Counter::SipRetransmitted);
                self.send_again(hop, frame);
            }
            None => self.count(Counter::DiscardNoFrame),
        }
    }
}

/// How one of our doors is named to a far end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) address: core::net::SocketAddr,
    pub(crate) transport: Transport,
    /// The dialog began with a `sips:` URI: its Contacts are such (RFC 5630 section 5.1.1).
    pub(crate) secure: bool,
}

impl Named {
    /// Over TLS alone: one in front of us that took TLS off finds us by what it speaks with us.
    pub(crate) fn secure(self, secure: bool) -> Self {
        Self { secure: secure && self.transport == Transport::Tls, ..self }
    }
}

impl Core<'_> {
    /// What the certificate of a far end must name; empty for nothing.
    pub(crate) fn tls_name(&self, via: Door) -> &str {
        match via {
            Door::Datagram(_) => "",
            Door::Connection { name, .. } => self.names.text(name).unwrap_or_default(),
        }
    }

    pub(crate) fn transport(&self, listener: u8) -> Transport {
        let plan = self.plan.listeners.get(usize::from(listener));
        plan.map_or(Transport::Udp, |plan| plan.transport)
    }

    /// What Via and Contact say for messages through this door.
    pub(crate) fn named(&self, via: Door) -> Named {
        let nowhere = core::net::SocketAddr::from(([0, 0, 0, 0], 0));
        match self.plan.listeners.get(usize::from(via.listener())) {
            Some(plan) => {
                Named { address: plan.advertised, transport: plan.transport, secure: false }
            }
            None => Named { address: nowhere, transport: Transport::Udp, secure: false },
        }
    }

    /// Index of the media address that calls through this door use.
    pub(crate) fn media_index(&self, via: Door) -> u8 {
        self.plan.listeners.get(usize::from(via.listener())).map_or(0, |plan| plan.media)
    }

    /// What SDP says of the media address with this index.
    pub(crate) fn media_address(&self, media: u8) -> IpAddr {
        let nowhere = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
        self.plan.media.get(usize::from(media)).map_or(nowhere, |media| media.advertised)
    }

    pub(crate) fn sip_timers(&self) -> sip::txn::Timers {
        sip::txn::Timers { t1: self.plan.timers.t1, ..sip::txn::Timers::RFC }
    }
}
