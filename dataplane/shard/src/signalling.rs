//! The way of a SIP message through the shard: whose it is, which transaction, which leg.

use core::net::SocketAddr;

use base::{Frames, Hop, LegId, Now, Received};
use sip::key::TransactionKey;
use sip::{Message, Method, Name};
use wire::counter::Counter;
use wire::event::{Cause, Event};

use crate::Shard;
use crate::calls::NewCall;
use crate::cx::Cx;
use crate::handoff::Handoff;
use crate::leg::Request;
use crate::leg::peer::on_peer_nobody;
use crate::media::Notice;
use crate::transaction::{ClientId, Report};
use crate::transport::Datagram;
use crate::transport::demux::{Owned, owner};
use crate::transport::reply::{ALLOW, CHECKS};
use crate::usage::{cut, text};

impl Shard<'_> {
    /// A datagram on a SIP listener.
    pub(crate) fn listener(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        received: &Received,
        listener: u8,
    ) {
        let frame = received.frame;
        let bytes = frames.bytes(frame);
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return self.cx(now, frames).discard(frame, Counter::DiscardSipKeepAlive);
        }
        self.core.counters.count(Counter::SipReceived);
        // Copied out, so that answers can take frames while the message is read.
        let mut copy = core::mem::take(&mut self.datagram);
        let len = bytes.len().min(copy.len());
        copy[..len].copy_from_slice(&bytes[..len]);
        frames.free(frame);
        let hop = Hop::datagram(listener, received.source);
        self.sip(now, frames, &Datagram { hop, bytes: &copy[..len] }, false);
        self.datagram = copy;
    }

    /// A SIP datagram that came here, or (`handed`) that another shard took for ours.
    fn sip(&mut self, now: Now, frames: &mut dyn Frames, datagram: &Datagram<'_>, handed: bool) {
        let message = match Message::parse(datagram.bytes) {
            Ok(message) => message,
            Err(malformed) => {
                self.core.counters.count(Counter::DiscardSipMalformed);
                if let Some(code) = malformed.answer()
                    && self.guard.source(datagram.hop.to, now.mono)
                {
                    self.cx(now, frames).answer(datagram, malformed.partial(), code);
                }
                return;
            }
        };
        let owner = owner(&self.core.plan, &message);
        if owner.shard != self.core.plan.shard && !handed {
            return self.hand_over(owner.shard, datagram);
        }
        match (message.is_request(), owner.what) {
            (true, Owned::Leg(leg)) => self.request(now, frames, datagram, &message, Some(leg)),
            (true, _) => self.request(now, frames, datagram, &message, None),
            (false, Owned::Client(id)) => {
                let mut cx = Cx { now, frames, core: &mut self.core };
                let outcome = self.transactions.clients.handle_response(&mut cx, id, &message);
                if let Some(outcome) = outcome {
                    let handle = |leg: &mut crate::leg::LegMut<'_, '_>| {
                        leg.outcome(&outcome, Some(&message));
                    };
                    let heard = self.with_leg(now, frames, outcome.leg, handle);
                    if !heard && matches!(outcome.report, Report::Response(200..300)) {
                        // What is said to a leg that is gone gets its ACK all the same.
                        let mut cx = Cx { now, frames, core: &mut self.core };
                        self.transactions.clients.end_branch(&mut cx, id, &message);
                    }
                }
            }
            (false, _) => self.core.counters.count(Counter::DiscardSipStray),
        }
    }

    fn hand_over(&mut self, shard: u8, datagram: &Datagram<'_>) {
        let base::Door::Datagram(listener) = datagram.hop.via else { return };
        let (source, bytes) = (datagram.hop.to, datagram.bytes);
        self.push_handoff(shard, &Handoff::Sip { listener, source, bytes }, bytes.len() + 64);
    }

    /// For another shard, at most `most` bytes encoded. What comes from outside may be lost.
    pub(crate) fn push_handoff(&mut self, shard: u8, message: &Handoff<'_>, most: usize) {
        let queue = &mut self.core.handoffs[usize::from(shard)];
        if !queue.pass(message, most) {
            self.core.counters.count(Counter::DiscardHandoffFull);
        }
    }

    /// ICMP about this transaction of ours: believed if its request went to `claimed`.
    pub(crate) fn icmp(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        claimed: SocketAddr,
        id: ClientId,
    ) {
        match self.transactions.clients.target(id, claimed) {
            Some(to) => self.target_lost(now, frames, to),
            None => self.core.counters.count(Counter::DiscardSipStray),
        }
    }

    /// Whatever waits for a first response from there has failed.
    pub(crate) fn target_lost(&mut self, now: Now, frames: &mut dyn Frames, to: SocketAddr) {
        loop {
            let mut cx = Cx { now, frames, core: &mut self.core };
            let Some(outcome) = self.transactions.clients.fail(&mut cx, to) else { break };
            self.with_leg(now, frames, outcome.leg, |leg| leg.outcome(&outcome, None));
        }
    }

    /// A request whose place is here. `leg`: the leg that our tag in To names.
    fn request(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        leg: Option<LegId>,
    ) {
        if leg.is_none() && !self.guard.source(datagram.hop.to, now.mono) {
            return self.core.counters.count(Counter::DiscardSipRate);
        }
        let method = message.method();
        let ack = method == Some(Method::Ack);
        let Ok(key) = TransactionKey::server(message, &self.core.plan.keys.token) else {
            if !ack {
                self.cx(now, frames).answer(datagram, message, 400);
            }
            return;
        };
        if let Some(server) = self.transactions.servers.find(key) {
            let mut cx = Cx { now, frames, core: &mut self.core };
            if self.transactions.servers.handle_request(&mut cx, server, ack) {
                // The ACK of a 2xx with its INVITE's branch (RFC 2543 peers do that).
                self.ack(now, frames, message, leg);
            }
            return;
        }
        if ack {
            return self.ack(now, frames, message, leg);
        }
        if let Err(refusal) = CHECKS.check(message) {
            return self.refuse_by_rule(now, frames, (datagram, message), refusal);
        }
        self.core.counters.add(Counter::SipRepeatedHeader, u64::from(message.repeats()));
        if method == Some(Method::Cancel) {
            return self.cancel(now, frames, datagram, message);
        }
        let request = Request { datagram, message, key };
        let handled =
            leg.is_some_and(|leg| self.with_leg(now, frames, leg, |leg| leg.request(&request)));
        match (handled, message.to_tag()) {
            (true, _) => {}
            // A dialog of ours that is over, or of somebody else.
            (false, Some(_)) => self.cx(now, frames).answer(datagram, message, 481),
            (false, None) => self.out_of_dialog(now, frames, &request),
        }
    }

    fn refuse_by_rule(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (datagram, message): (&Datagram<'_>, &Message<'_>),
        refusal: sip::Refusal,
    ) {
        self.core.counters.count(Counter::RefusedProtocol);
        let mut cx = self.cx(now, frames);
        if message.method() == Some(Method::Invite) {
            let uri = cut(text(message.uri_raw()));
            let (at, source, code) = (now.wall, datagram.hop.to, refusal.code);
            let cause = Cause::Protocol;
            cx.emit_optional(&Event::Refused { at, source, code, cause, uri, why: "" });
        }
        cx.refuse_by_rule(datagram, message, refusal);
    }

    fn out_of_dialog(&mut self, now: Now, frames: &mut dyn Frames, request: &Request<'_>) {
        let Request { datagram, message, key } = *request;
        match message.method() {
            Some(Method::Invite) => {
                let merge = TransactionKey::merge(message, &self.core.plan.keys.token).ok();
                let merged = merge.and_then(|merge| self.transactions.servers.find_merged(merge));
                if merged.is_some() {
                    return self.cx(now, frames).answer(datagram, message, 482);
                }
                self.new_call(now, frames, &NewCall { datagram, message, key, merge });
            }
            Some(Method::Options) => {
                self.cx(now, frames).answer_with(datagram, message, 200, |writer| {
                    let writer = writer.field(Name::Allow, ALLOW).field(Name::Supported, b"timer");
                    writer.field(Name::Accept, b"application/sdp")
                });
            }
            // Deny by default: a method that only makes sense inside a dialog.
            _ => self.cx(now, frames).answer(datagram, message, 481),
        }
    }

    fn cancel(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        let key = TransactionKey::cancelled(message, &self.core.plan.keys.token);
        let server = key.ok().and_then(|key| self.transactions.servers.find(key));
        let Some(server) = server else {
            return self.cx(now, frames).answer(datagram, message, 481);
        };
        let leg = self.transactions.servers.leg(server);
        self.cx(now, frames).answer(datagram, message, 200);
        self.with_leg(now, frames, leg, |leg| leg.canceled(message));
    }

    /// An ACK: of our 2xx, or of nothing we know.
    fn ack(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        message: &Message<'_>,
        leg: Option<LegId>,
    ) {
        let known =
            leg.is_some_and(|leg| self.with_leg(now, frames, leg, |leg| leg.acknowledged(message)));
        if !known {
            self.core.counters.count(Counter::DiscardSipStray);
        }
    }

    /// A message of another shard or of a leg of this one.
    pub(crate) fn handoff(&mut self, now: Now, frames: &mut dyn Frames, bytes: &[u8]) {
        match wire::decode(bytes) {
            Ok(Handoff::Sip { listener, source, bytes }) => {
                let hop = Hop::datagram(listener, source);
                self.sip(now, frames, &Datagram { hop, bytes }, true);
            }
            Ok(Handoff::Media { to, from, starts, bytes }) => {
                let mut cx = Cx { now, frames, core: &mut self.core };
                self.media.handle_far(&mut cx, to, from, starts, bytes);
            }
            Ok(Handoff::Dial(wish)) => self.dial_for_route(now, frames, &wish),
            Ok(Handoff::Unreachable { to, transaction }) => {
                self.icmp(now, frames, to, ClientId(transaction));
            }
            Ok(Handoff::Leg { to, from, message }) => {
                if !self.with_leg(now, frames, to, |leg| leg.on_peer(from, &message)) {
                    on_peer_nobody(&mut self.cx(now, frames), to, from, &message);
                }
            }
            Err(_) => self.core.counters.count(Counter::DiscardHandoffMalformed),
        }
    }

    /// What streams noticed and legs of this shard said to each other, until they are silent.
    pub(crate) fn drain(&mut self, now: Now, frames: &mut dyn Frames) {
        while let Some(notice) = self.media.poll_notice() {
            let Notice { leg, digit, duration_ms, crosses } = notice;
            self.with_leg(now, frames, leg, |leg| leg.heard_digit(digit, duration_ms, crosses));
        }
        while let Some(leg) = self.media.poll_looped() {
            self.with_leg(now, frames, leg, |leg| {
                leg.hang_up(Cause::Forbidden, wire::Party::Switch)
            });
        }
        while let Some(leg) = self.media.poll_lost() {
            self.with_leg(now, frames, leg, |leg| leg.align());
        }
        let own = usize::from(self.core.plan.shard);
        let mut scratch = core::mem::take(&mut self.scratch);
        // Two legs cannot talk for ever: each message moves a leg's state or is the last.
        while let Some(message) = self.core.handoffs[own].front() {
            let len = message.len();
            scratch[..len].copy_from_slice(message);
            self.core.handoffs[own].pop();
            self.handoff(now, frames, &scratch[..len]);
        }
        self.scratch = scratch;
    }
}
