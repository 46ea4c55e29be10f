//! The way of SIP by connections: bytes to messages, what becomes of connections, and what is said
//! again when one is lost.

use core::net::SocketAddr;

use base::{ConnectionId, ConnectionReport, Frames, Local, Mono, Now, Received, TlsName};
use sip::framing::{self, Framed};
use sip::{Message, Method, Name};
use wire::counter::Counter;

use crate::Shard;
use crate::cx::Cx;
use crate::handoff::Handoff;
use crate::signalling::Turn;
use crate::transaction::Lost;
use crate::transport::connections::{Dress, End};
use crate::transport::guard::Standing;
use crate::transport::{Datagram, connections};

/// What was read of the bytes of a connection.
pub(crate) struct Read {
    /// So many of them are done with.
    pub(crate) at: usize,
    /// A whole message was among them.
    pub(crate) has_read: bool,
    /// How many more are needed at least (0: not known), or why it ends.
    pub(crate) left: Result<usize, Counter>,
}

impl Read {
    fn nothing(needed: usize) -> Self {
        Self { at: 0, has_read: false, left: Ok(needed) }
    }
}

impl Shard<'_> {
    /// Bytes of a connection: the messages that are whole by now are served.
    pub(crate) fn stream_bytes(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        received: &Received,
        id: ConnectionId,
    ) {
        let frame = received.frame;
        self.core.in_hand = Some(frame);
        let more = frames.bytes(frame);
        let new = more.len();
        let Some((mut bytes, mut dress)) = self.core.connections.take_unfinished(id, more) else {
            return self.cx(now, frames).discard(frame, Counter::DiscardConnectionGone);
        };
        self.cx(now, &mut *frames).free(frame);
        let whose = (id, received.arrived);
        let read = if !self.core.connections.may_hold(id, &bytes, new) {
            Read::nothing(self.core.connections.needed(id))
        } else if let Dress::Plain = dress {
            self.read_plain(now, frames, whose, &bytes)
        } else {
            self.read_web(now, frames, whose, &mut bytes, &mut dress)
        };
        bytes.drain(..read.at);
        let connections = &mut self.core.connections;
        let keep = |needed| connections.keep(id, (bytes, dress, needed), read.has_read, now.mono);
        match read.left.map(keep) {
            Ok(true) => {}
            Ok(false) => self.end_connection(now, frames, id, Counter::ConnectionBroken),
            Err(why) => self.end_connection(now, frames, id, why),
        }
    }

    /// Messages, one behind the other.
    fn read_plain(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (id, arrived): (ConnectionId, Mono),
        bytes: &[u8],
    ) -> Read {
        let (mut at, mut has_read, mut has_ping) = (0, false, false);
        let left = loop {
            let rest = &bytes[at..];
            match framing::next(rest, connections::MESSAGE_BYTES) {
                Framed::Message(len) => {
                    let message = &bytes[at..at + len];
                    at += len;
                    has_read = true;
                    if !self.stream_message(now, frames, (id, arrived), message) {
                        break Err(Counter::ConnectionBroken);
                    }
                }
                // The rest of a ping may be under way.
                Framed::KeepAlive { .. } if rest.len() < 4 && b"\r\n\r\n".starts_with(rest) => {
                    break Ok(0);
                }
                Framed::KeepAlive { len, .. } => {
                    has_ping |= rest.starts_with(b"\r\n\r\n");
                    at += len;
                    self.core.counters.count(Counter::DiscardSipKeepAlive);
                }
                Framed::Partial { needed } => break Ok(needed.unwrap_or(0)),
                Framed::Broken { head, .. } => {
                    self.broken(now, frames, (id, arrived), &bytes[at..at + head]);
                    break Err(Counter::ConnectionBroken);
                }
            }
        };
        if has_ping {
            self.cx(now, frames).pong(id);
        }
        Read { at, has_read, left }
    }

    /// A whole message of a connection. False if its source sends too many: the connection ends,
    /// since nothing of a stream can be left out unseen.
    pub(crate) fn stream_message(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (id, arrived): (ConnectionId, Mono),
        bytes: &[u8],
    ) -> bool {
        let Some(hop) = self.core.connections.hop(id) else { return false };
        let remote = hop.to;
        self.core.counters.count(Counter::SipReceived);
        let source = self.core.connections.source(&hop);
        let judged = self.core.guard.judged(source, remote);
        let admitted = self.core.guard.admit_stream(judged, bytes, now.mono);
        let (standing, is_over) = match admitted {
            Ok(standing) => (standing, false),
            Err(standing) => (standing, !self.is_ours(now, (remote, standing), bytes)),
        };
        if is_over {
            self.core.counters.count(Counter::DiscardSipRate);
            // What those in a list send over their rate is refused, and their other calls go on.
            let is_strange = matches!(standing, Standing::Stranger | Standing::Proven);
            if !is_strange {
                let taken_by = self.core.plan.shard;
                let datagram = Datagram { hop, arrived, bytes, standing, taken_by, source };
                self.refuse_over_rate(now, frames, &datagram);
            }
            return !is_strange;
        }
        // Who has connected hears us.
        let standing = match standing {
            Standing::Stranger => Standing::Proven,
            standing => standing,
        };
        let taken_by = self.core.plan.shard;
        let datagram = Datagram { hop, arrived, bytes, standing, taken_by, source };
        crate::faults::touch(crate::faults::Site::Message);
        self.sip(now.for_arrival(arrived), frames, &datagram, false);
        true
    }

    /// A request of somebody who sends too many: over a connection it does not come again by
    /// itself.
    fn refuse_over_rate(&mut self, now: Now, frames: &mut dyn Frames, datagram: &Datagram<'_>) {
        let Ok(message) = Message::parse(datagram.bytes) else { return };
        if message.is_request() && message.method() != Some(Method::Ack) {
            self.cx(now, frames).answer_with(datagram, &message, 503, |writer| {
                writer.field(Name::RetryAfter, b"1")
            });
        }
    }

    /// What came cannot be cut into messages: if a request has begun, it is told (RFC 3261 section
    /// 18.3), and nothing more is read.
    fn broken(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (id, arrived): (ConnectionId, Mono),
        head: &[u8],
    ) {
        let Some(hop) = self.core.connections.hop(id) else { return };
        let (standing, taken_by) = (Standing::Proven, self.core.plan.shard);
        let source = self.core.connections.source(&hop);
        let datagram = Datagram { hop, arrived, bytes: head, standing, taken_by, source };
        let parsed = Message::parse(head);
        let message = match &parsed {
            Ok(message) => message,
            Err(malformed) => malformed.partial(),
        };
        self.core.counters.count(Counter::DiscardSipMalformed);
        let can_be_answered = message.is_request()
            && message.has(Name::Via)
            && message.method().is_some_and(|method| method != Method::Ack);
        if can_be_answered && self.may_answer(now, &datagram) {
            self.cx(now, frames).answer(&datagram, message, 400);
        }
    }

    /// What became of a connection.
    pub(crate) fn connection(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        report: ConnectionReport,
    ) {
        match report {
            ConnectionReport::Accepted { id, listener, from } => {
                let standing = self.core.guard.standing(from, now.mono);
                let transport = self.core.transport(listener);
                let name = if transport.is_tls() { TlsName::UNPROVEN } else { TlsName::NONE };
                let dress = if transport.is_web() { Dress::Opening } else { Dress::Plain };
                let end = End { listener, remote: from, name };
                let taken = self.core.connections.accept((id, end, dress), standing, now.mono);
                self.core.counters.count(match taken {
                    true => Counter::ConnectionAccepted,
                    false => Counter::ConnectionRefused,
                });
            }
            ConnectionReport::Proven { id, known_as } => {
                self.core.connections.prove(id, known_as);
                let source = SocketAddr::new(known_as, 0);
                if self.core.guard.standing(source, now.mono) == Standing::Trunk {
                    self.core.connections.befriend(id, 0, now.mono);
                }
            }
            ConnectionReport::Connected { id } => self.cx(now, frames).connected(id),
            ConnectionReport::Closed { id } => {
                let was_standing = self.core.connections.is_standing(id);
                match self.cx(now, frames).disconnected(id) {
                    Some(end) if was_standing => self.say_again(now, frames, (id, end)),
                    Some(end) => {
                        self.core.counters.count(Counter::ConnectionFailed);
                        self.target_lost(now, frames, Lost::End(end));
                    }
                    None => {}
                }
            }
        }
    }

    /// A connection is lost: what was said by it and not answered is said by another one, whichever
    /// shard said it.
    fn say_again(&mut self, now: Now, frames: &mut dyn Frames, (id, end): (ConnectionId, End)) {
        let mut cx = Cx { now, frames, core: &mut self.core };
        self.transactions.clients.again(&mut cx, (id, end));
        self.flow_lost(now, frames, (id, end));
        for shard in 0..self.core.plan.shards {
            if shard != self.core.plan.shard {
                self.push_handoff(shard, &Handoff::Lost { id, end }, 64);
            }
        }
    }

    /// Phones that rang by a connection do not ring any more.
    pub(crate) fn flow_lost(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        lost: (ConnectionId, End),
    ) {
        loop {
            let mut cx = Cx { now, frames, core: &mut self.core };
            let failed = self.transactions.clients.fail_ringing(&mut cx, lost);
            let Some(outcome) = failed else { break };
            self.with_leg(now, frames, outcome.leg, |leg| leg.outcome(&outcome, None));
        }
    }

    /// When the bytes of a connection are served: all of one at the same turn, so that they keep
    /// their order.
    pub(crate) fn turn_of_stream(&self, at: Local) -> Turn {
        match at {
            Local::Connection(id) if self.core.connections.is_strange(id) => Turn::Stranger,
            Local::Connection(_) => Turn::Other,
            _ => Turn::First,
        }
    }

    /// Closes a connection of ours; what waits for a first word from there goes on at once.
    pub(crate) fn end_connection(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: ConnectionId,
        why: Counter,
    ) {
        let was_standing = self.core.connections.is_standing(id);
        match self.cx(now, frames).close_connection(id, why) {
            Some(end) if was_standing => self.say_again(now, frames, (id, end)),
            Some(end) => self.target_lost(now, frames, Lost::End(end)),
            None => {}
        }
    }

    /// Connections whose time is over: they did not stand, or nothing whole came by them.
    pub(crate) fn connections_due(&mut self, now: Now, frames: &mut dyn Frames) {
        while let Some(id) = self.core.connections.pop_late(now.mono) {
            let why = match self.core.connections.is_standing(id) {
                true => Counter::ConnectionSlow,
                false => Counter::ConnectionFailed,
            };
            self.end_connection(now, frames, id, why);
        }
    }
}
