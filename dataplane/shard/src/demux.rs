//! Whose datagram is it? Media by its port; SIP by what we wrote ourselves into it: our tag in To,
//! our branch in the top Via. Both carry the shard under a MAC. Only a request without a tag of
//! ours is placed, by a keyed hash of its Call-ID, so that its retransmissions and its CANCEL find
//! the same shard.

use base::{Local, Received};
use core::net::SocketAddr;
use sip::token::{read_branch, read_tag};
use sip::{Message, Method};
use wire::counter::Counter;

use crate::discard::discard;
use crate::handoff::Handoff;
use crate::{Io, Shard};

/// Buckets of the placement hash.
const BUCKETS: u64 = 4_096;

/// A SIP datagram as it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'d> {
    pub(crate) listener: u8,
    pub(crate) source: SocketAddr,
    pub(crate) bytes: &'d [u8],
}

impl Shard<'_> {
    #[inline]
    pub(crate) fn demux(&mut self, io: &mut Io<'_>, received: &Received) {
        match received.at {
            Local::Media(port) => self.media(io, received, port),
            Local::Listener(listener) => self.listener(io, received, listener),
        }
    }

    fn listener(&mut self, io: &mut Io<'_>, received: &Received, listener: u8) {
        let frame = received.frame;
        let bytes = io.frames.bytes(frame);
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return discard(&mut self.counters, io.frames, frame, Counter::DiscardSipKeepAlive);
        }
        self.counters.count(Counter::SipReceived);
        // Copied out, so that answers can take frames while the message is read.
        let mut copy = core::mem::take(&mut self.datagram);
        let len = bytes.len().min(copy.len());
        copy[..len].copy_from_slice(&bytes[..len]);
        io.frames.free(frame);
        self.sip(io, Datagram { listener, source: received.source, bytes: &copy[..len] }, false);
        self.datagram = copy;
    }

    /// A SIP datagram that came here, or (`handed`) that another shard took for ours.
    pub(crate) fn sip(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>, handed: bool) {
        let message = match Message::parse(datagram.bytes) {
            Ok(message) => message,
            Err(malformed) => {
                self.counters.count(Counter::DiscardSipMalformed);
                if let Some(code) = malformed.answer()
                    && self.guard.source(datagram.source, io.now.mono)
                {
                    self.answer_stateless(io, &datagram, malformed.partial(), code);
                }
                return;
            }
        };
        let (owner, leg) = self.owner(&message);
        if owner != self.plan.shard && !handed {
            let Datagram { listener, source, bytes } = datagram;
            let message = Handoff::Sip { listener, source, bytes };
            let queue = &mut self.handoffs[usize::from(owner)];
            let most = bytes.len() + 64;
            // Legs' words to each other have the upper half to themselves.
            let room = queue.used() < queue.capacity() / 2;
            if !room || !queue.push_with(most, |out| wire::encode(&message, out).ok()) {
                self.counters.count(Counter::DiscardHandoffFull);
            }
            return;
        }
        if message.is_request() {
            self.request(io, &datagram, &message, leg);
        } else {
            self.response(io, &datagram, &message);
        }
    }

    /// The shard a message belongs to, and the leg where our own tag names one.
    fn owner(&self, message: &Message<'_>) -> (u8, Option<base::LegId>) {
        let key = &self.plan.keys.token;
        if message.is_request() {
            if let Some((shard, leg)) = message.to_tag().and_then(|tag| read_tag(tag, key)) {
                return (self.known(shard), Some(base::LegId(leg)));
            }
            if message.method() == Some(Method::Ack) && message.to_tag().is_some() {
                return (self.plan.shard, None);
            }
            let call_id = message.call_id().unwrap_or_default();
            return (self.place(call_id), None);
        }
        let branch = message.via().ok().and_then(|via| via.branch);
        let shard = branch.and_then(|branch| read_branch(branch, key)).map(|(shard, ..)| shard);
        (self.known(shard.unwrap_or(self.plan.shard)), None)
    }

    fn place(&self, call_id: &[u8]) -> u8 {
        let bucket = sip::key::call_hash(call_id, &self.plan.keys.placement) % BUCKETS;
        u8::try_from(bucket % u64::from(self.plan.shards)).unwrap_or(0)
    }

    /// A shard number from outside, or this one if there is no such shard in this run.
    fn known(&self, shard: u8) -> u8 {
        if shard < self.plan.shards { shard } else { self.plan.shard }
    }

    /// A message of another shard or of a leg of this one.
    pub(crate) fn handoff(&mut self, io: &mut Io<'_>, bytes: &[u8]) {
        match wire::decode(bytes) {
            Ok(Handoff::Sip { listener, source, bytes }) => {
                self.sip(io, Datagram { listener, source, bytes }, true);
            }
            Ok(Handoff::Media { to, starts, bytes }) => self.far_media(io, to, starts, bytes),
            Ok(Handoff::Leg { to, from, say }) => match self.leg_of(to) {
                Some(index) => {
                    self.guarded(io, index, |shard, io| shard.hear(io, index, from, &say));
                }
                None => self.hear_nobody(to, from, &say),
            },
            Err(_) => self.counters.count(Counter::DiscardHandoffMalformed),
        }
    }
}
