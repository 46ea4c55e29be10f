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
use crate::handoff::{Handoff, PeerMessage};
use crate::leg::Request;
use crate::leg::peer::on_peer_nobody;
use crate::media::Notice;
use crate::transaction::{ClientId, Lost, Repeated, Report, Sent};
use crate::transport::Datagram;
use crate::transport::demux::{Owned, caller_leg, owner};
use crate::transport::guard::{Standing, begins_call, is_emergency};
use crate::transport::reply::{ALLOW_OUTSIDE, CHECKS, REGISTERS};
use crate::usage::{cut, text};
use crate::watch;

/// Messages that were handed over and waited, served in one breath at most.
const HANDED: usize = 64;

/// Whether a message of another shard begins a call or comes from a stranger.
pub(crate) fn may_wait(bytes: &[u8], hears_emergencies: bool) -> bool {
    // Media is told by its first byte and not read twice.
    if !Handoff::is_sip(bytes) {
        return false;
    }
    match wire::decode(bytes) {
        Ok(Handoff::Sip { standing, bytes, .. }) => {
            let hurries = || hears_emergencies && is_emergency(bytes);
            standing == Standing::Stranger || begins_call(bytes) && !hurries()
        }
        _ => false,
    }
}

/// When a SIP datagram of a batch is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// As it came.
    First,
    /// Behind media: it may belong to a call.
    Other,
    /// Behind those: it begins a call.
    Call,
    /// Behind all.
    Stranger,
}

/// What a request must be like.
fn check(message: &Message<'_>) -> Result<(), sip::Refusal> {
    match message.method() {
        Some(Method::Register) => REGISTERS.check(message),
        // Whose its parts are is known with its route.
        Some(Method::Invite) if message.to_tag().is_none() => CHECKS.check_passing(message),
        _ => CHECKS.check(message),
    }
}

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
        self.core.in_hand = Some(frame);
        let bytes = frames.bytes(frame);
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return self.cx(now, frames).discard(frame, Counter::DiscardSipKeepAlive);
        }
        self.core.counters.count(Counter::SipReceived);
        let standing = match self.core.guard.admit(received.source, bytes, now.mono) {
            Ok(standing) => standing,
            Err(standing) if self.is_ours(now, (received.source, standing), bytes) => standing,
            Err(_) => return self.cx(now, frames).discard(frame, Counter::DiscardSipRate),
        };
        // Copied out, so that answers can take frames while the message is read.
        let mut copy = core::mem::take(&mut self.datagram);
        let len = bytes.len().min(copy.len());
        copy[..len].copy_from_slice(&bytes[..len]);
        self.cx(now, &mut *frames).free(frame);
        let hop = Hop::datagram(listener, received.source);
        let taken_by = self.core.plan.shard;
        let arrived = received.arrived;
        let (bytes, source) = (&copy[..len], received.source.ip().into());
        let datagram = Datagram { hop, arrived, bytes, standing, taken_by, source };
        crate::faults::touch(crate::faults::Site::Message);
        if received.is_cut {
            self.too_large(now, frames, &datagram);
        } else {
            self.sip(now.for_arrival(arrived), frames, &datagram, false);
        }
        self.datagram = copy;
    }

    /// When a SIP datagram is served in its batch: where there is much, media goes before it, and
    /// what may belong to calls goes before what begins some; strangers come last anyway.
    pub(crate) fn turn_of(
        &self,
        now: Now,
        frames: &dyn Frames,
        received: &Received,
        is_much: bool,
    ) -> Turn {
        let standing = self.core.guard.standing(received.source, now.mono);
        match standing {
            Standing::Stranger => Turn::Stranger,
            _ if !is_much => Turn::First,
            _ if self.core.guard.is_emergency(frames.bytes(received.frame)) => Turn::Other,
            _ if begins_call(frames.bytes(received.frame)) => Turn::Call,
            _ => Turn::Other,
        }
    }

    /// Whether a message from a source over its rate names a leg or a request of ours that is
    /// there. The token of one that is over exempts nobody.
    pub(crate) fn is_ours(
        &mut self,
        now: Now,
        (source, standing): (SocketAddr, Standing),
        bytes: &[u8],
    ) -> bool {
        if !self.core.guard.may_look(standing, now.mono) {
            return false;
        }
        let Ok(message) = Message::parse(bytes) else { return false };
        let owner = owner(&self.core.plan, &message);
        match owner.what {
            Owned::Nobody => false,
            _ if owner.shard != self.core.plan.shard => self.core.guard.may_hand_over(now.mono),
            Owned::Leg(leg) => self.is_far_end(leg, source),
            Owned::Client(id) => self.transactions.clients.is_from_target(id, source),
            Owned::Registrar(place) => self.registering.is_from_target(place, source.ip()),
        }
    }

    /// Whether what names nothing of ours may be served: no source's rate is over.
    pub(crate) fn may_answer(&mut self, now: Now, datagram: &Datagram<'_>) -> bool {
        let Datagram { hop, standing, .. } = *datagram;
        let may = self.core.guard.other(hop.to, standing, now.mono);
        if !may {
            self.core.counters.count(Counter::DiscardSipRate);
        }
        may
    }

    /// Whether this leg stands and its far end is at that host now. A tag alone says nothing: who
    /// has one may tell it to others, and may forge anybody's address.
    fn is_far_end(&mut self, leg: LegId, source: SocketAddr) -> bool {
        let host = |address: SocketAddr| address.ip().to_canonical();
        self.legs.get_mut(leg).is_some_and(|leg| host(leg.signalling.hop.to) == host(source))
    }

    /// Whether this leg's dialog was made with that host: whoever names the leg from there has
    /// heard us.
    fn is_made_with(&mut self, leg: LegId, source: SocketAddr) -> bool {
        let source = source.ip().to_canonical();
        self.legs.get_mut(leg).is_some_and(|leg| leg.signalling.host == source)
    }

    /// Whether what this leg's far end says is taken from there.
    fn is_obeyed(&mut self, leg: LegId, datagram: &Datagram<'_>) -> bool {
        let Datagram { hop, standing, .. } = *datagram;
        let (legs, arena) = (&mut self.legs, &self.core.arena);
        let leg = legs.get_mut(leg);
        leg.is_none_or(|leg| leg.signalling.obeys(hop.to.ip(), standing, arena))
    }

    /// Somebody who has a dialog's tags is not where its far end may be.
    fn refuse_source(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        self.core.counters.count(Counter::DiscardSipSource);
        let is_ack = message.method() == Some(Method::Ack);
        if !is_ack && (begins_call(datagram.bytes) || self.may_answer(now, datagram)) {
            self.cx(now, frames).answer(datagram, message, 403);
        }
    }

    /// Its source hears us: it named something of ours that stands.
    pub(crate) fn proven(&mut self, now: Now, datagram: &Datagram<'_>) {
        let (source, by) = (datagram.hop.to, datagram.taken_by);
        if !matches!(datagram.standing, Standing::Stranger | Standing::Proven) {
            return;
        }
        if by == self.core.plan.shard {
            self.core.guard.prove(source, now.mono);
        } else if datagram.standing == Standing::Stranger {
            self.push_handoff(by, &Handoff::Proven { source }, 64);
        }
    }

    /// A SIP datagram that came here, or (`handed`) that another shard took for ours. The wall time
    /// of `now` is when it arrived: what it begins and ends for money does so then.
    pub(crate) fn sip(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        datagram: &Datagram<'_>,
        handed: bool,
    ) {
        let message = match Message::parse(datagram.bytes) {
            Ok(message) => message,
            Err(malformed) => {
                self.core.counters.count(Counter::DiscardSipMalformed);
                if let Some(code) = malformed.answer()
                    && self.may_answer(now, datagram)
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
            (false, Owned::Client(id)) if !self.transactions.clients.has(id) => {
                self.stray(now, frames, id, &message);
            }
            (false, Owned::Client(id)) => {
                let from_target = self.transactions.clients.is_from_target(id, datagram.hop.to);
                if from_target {
                    self.proven(now, datagram);
                } else if !self.is_obeyed(self.transactions.clients.leg(id), datagram) {
                    return self.core.counters.count(Counter::DiscardSipSource);
                }
                let comes_again = self.core.watch.is_on() && !self.hear_response(now, id, &message);
                let mut cx = Cx { now, frames, core: &mut self.core };
                let id_of = (id, from_target);
                let outcome = self.transactions.clients.handle_response(&mut cx, id_of, &message);
                self.core.watch.leave();
                if let Some(outcome) = outcome {
                    if outcome.method == Sent::Health {
                        return self.health_said(now, &outcome, Some(&message));
                    }
                    let handle = |leg: &mut crate::leg::LegMut<'_, '_>| {
                        if comes_again {
                            // Neither is what it brings about.
                            leg.cx.core.watch.leave();
                        }
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
            (false, Owned::Registrar(place)) => {
                self.registrar_answered(now, frames, (place, datagram.hop.to.ip()), &message);
            }
            (false, _) => self.core.counters.count(Counter::DiscardSipStray),
        }
    }

    /// What is heard and said from now on is this leg's, if its account wants to be told of it. The
    /// time of its clock.
    fn watch_leg(&mut self, now: Now, leg: LegId) -> Now {
        if !self.core.watch.is_on() {
            return now;
        }
        let Some(leg) = self.legs.get_mut(leg) else { return now };
        self.core.watch.enter(leg);
        let wall = now.wall.under(self.core.offset, leg.story.offset).max(leg.story.told);
        Now { wall, ..now }
    }

    /// A response is told before what is made of it; one that comes again is not. False for that.
    #[cold]
    fn hear_response(&mut self, now: Now, id: ClientId, message: &Message<'_>) -> bool {
        let now = self.watch_leg(now, self.transactions.clients.leg(id));
        if !self.core.watch.is_at_work() {
            return true;
        }
        let is_news = self.transactions.clients.is_news(&self.core, id, message);
        if is_news {
            watch::tell(&mut self.core, now, message, false);
        } else {
            self.core.watch.leave();
        }
        is_news
    }

    /// A message whose end did not fit into a buffer: its beginning says whom to answer (RFC 3261
    /// section 21.5.7).
    fn too_large(&mut self, now: Now, frames: &mut dyn Frames, datagram: &Datagram<'_>) {
        self.core.counters.count(Counter::DiscardSipTruncated);
        let parsed = Message::parse(datagram.bytes);
        let message = match &parsed {
            Ok(message) => message,
            Err(malformed) => malformed.partial(),
        };
        let can_be_answered = message.is_request()
            && message.has(Name::Via)
            && message.method().is_some_and(|method| method != Method::Ack);
        if can_be_answered && self.may_answer(now, datagram) {
            self.cx(now, frames).answer(datagram, message, 513);
        }
    }

    /// A response to a request whose transaction is gone: a repeated 2xx to INVITE is acknowledged
    /// by its dialog.
    fn stray(&mut self, now: Now, frames: &mut dyn Frames, id: ClientId, message: &Message<'_>) {
        let success = matches!(message.status(), Some(200..300));
        let invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        let leg = caller_leg(&self.core.plan, message).filter(|_| success && invite);
        let known = leg.is_some_and(|leg| {
            self.with_leg(now, frames, leg, |leg| leg.answered_again(id, message))
        });
        if !known {
            self.core.counters.count(Counter::DiscardSipStray);
        }
    }

    fn hand_over(&mut self, shard: u8, datagram: &Datagram<'_>) {
        let Datagram { hop, arrived, bytes, standing, taken_by: by, source } = *datagram;
        if standing == Standing::Stranger {
            self.core.guard.take_credit(hop.to, bytes.len());
        }
        let handoff = Handoff::Sip { hop, arrived, standing, by, bytes, source };
        self.push_handoff(shard, &handoff, bytes.len() + 96);
    }

    /// For another shard, at most `most` bytes encoded. What comes from outside may be lost.
    pub(crate) fn push_handoff(&mut self, shard: u8, message: &Handoff<'_>, most: usize) {
        let queue = &mut self.core.handoffs[usize::from(shard)];
        if queue.pass(message, most) {
            return;
        }
        let guard = &self.core.guard;
        let hurries = matches!(message, Handoff::Sip { bytes, .. } if guard.is_emergency(bytes));
        if !hurries || !queue.pass_hurried(message, most) {
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
            Some(to) => self.target_lost(now, frames, Lost::Address(to)),
            None => self.core.counters.count(Counter::DiscardSipStray),
        }
    }

    /// Whatever waits for a first response from there has failed.
    pub(crate) fn target_lost(&mut self, now: Now, frames: &mut dyn Frames, lost: Lost) {
        loop {
            let mut cx = Cx { now, frames, core: &mut self.core };
            let failed = self.transactions.clients.fail(&mut cx, lost);
            let Some(outcome) = failed else { break };
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
        let method = message.method();
        let ack = method == Some(Method::Ack);
        let Ok(key) = TransactionKey::server(message, &self.core.plan.keys.token) else {
            if !ack {
                self.cx(now, frames).answer(datagram, message, 400);
            }
            return;
        };
        let named = leg;
        let leg = leg.filter(|leg| self.legs.get_mut(*leg).is_some());
        if leg.is_some_and(|leg| !self.is_obeyed(leg, datagram)) {
            return self.refuse_source(now, frames, datagram, message);
        }
        if let Some(server) = self.transactions.servers.find(key) {
            let mut cx = Cx { now, frames, core: &mut self.core };
            return match self.transactions.servers.handle_request(&mut cx, server, ack) {
                Repeated::Ack => self.ack(now, frames, message, leg),
                Repeated::Again(code) => cx.answer_again(datagram, message, code),
                Repeated::Absorbed => {}
            };
        }
        if let Some(leg) = leg {
            if self.is_made_with(leg, datagram.hop.to) {
                self.proven(now, datagram);
            }
        } else if !begins_call(datagram.bytes) && !self.may_answer(now, datagram) {
            return;
        }
        if ack {
            return self.ack(now, frames, message, leg);
        }
        if let Err(refusal) = check(message) {
            let now = self.watch_leg(now, leg.unwrap_or(LegId::NONE));
            self.cx(now, frames).heard(message);
            self.refuse_by_rule(now, frames, (datagram, message), refusal);
            return self.core.watch.leave();
        }
        if method != Some(Method::Invite) && message.has(Name::Replaces) {
            // RFC 3891 section 3.
            self.core.counters.count(Counter::RefusedProtocol);
            return self.cx(now, frames).answer(datagram, message, 400);
        }
        self.core.counters.add(Counter::SipRepeatedHeader, u64::from(message.repeats()));
        if method == Some(Method::Cancel) {
            return self.cancel(now, frames, datagram, message);
        }
        let request = Request { datagram, message, key, referral: None };
        if let Some(leg) = leg.filter(|_| method == Some(Method::Refer)) {
            return self.refer(now, frames, leg, &request);
        }
        if named.is_some_and(|leg| self.bye_crossed(now, frames, leg, &request)) {
            return;
        }
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
        let is_told = datagram.standing != Standing::Stranger;
        let mut cx = self.cx(now, frames);
        if message.method() == Some(Method::Invite) && is_told {
            let uri = cut(text(message.uri_raw()));
            let (at, source, code) = (now.wall, datagram.hop.to, refusal.code);
            let cause = Cause::Protocol;
            cx.emit_optional(&Event::Refused { at, source, code, cause, uri, why: "" });
        }
        cx.refuse_by_rule(datagram, message, refusal);
    }

    fn out_of_dialog(&mut self, now: Now, frames: &mut dyn Frames, request: &Request<'_>) {
        let Request { datagram, message, key, .. } = *request;
        match message.method() {
            Some(Method::Invite) => {
                let merge = TransactionKey::merge(message, &self.core.plan.keys.token).ok();
                let merged = merge.and_then(|merge| self.transactions.servers.find_merged(merge));
                if merged.is_some() {
                    return self.cx(now, frames).answer(datagram, message, 482);
                }
                let place = match self.wanted_place(message) {
                    Ok(place) => place,
                    Err(refused) => return self.refuse_place(now, frames, request, refused),
                };
                let call = NewCall { datagram, message, key, merge, user: "", place };
                if !self.must_prove(now, frames, &call) {
                    self.new_call(now, frames, &call);
                }
            }
            Some(Method::Options) => self.asked_if_alive(now, frames, (datagram, message)),
            Some(Method::Register) => {
                let place = LegId::NONE;
                let call = NewCall { datagram, message, key, merge: None, user: "", place };
                self.registration(now, frames, &call);
            }
            // Nobody is called by a message alone.
            Some(Method::Message) => {
                self.cx(now, frames).answer_with(datagram, message, 405, |writer| {
                    writer.field(Name::Allow, ALLOW_OUTSIDE)
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
        let server = key.as_ref().ok().and_then(|key| self.transactions.servers.find(*key));
        let Some(server) = server else {
            if let Ok(key) = key
                && self.cancel_claim(now, frames, key, (datagram, message))
            {
                return;
            }
            return self.cx(now, frames).answer(datagram, message, 481);
        };
        let leg = self.transactions.servers.leg(server);
        if !self.is_obeyed(leg, datagram) {
            return self.refuse_source(now, frames, datagram, message);
        }
        let is_there = self.with_leg(now, frames, leg, |leg| {
            leg.cx.heard(message);
            leg.cx.answer(datagram, message, 200);
            leg.canceled(message);
        });
        if !is_there {
            self.cx(now, frames).answer(datagram, message, 200);
        }
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
            Ok(Handoff::Sip { hop, arrived, standing, by, bytes, source }) => {
                if standing == Standing::Stranger {
                    self.core.guard.give_credit(hop.to, bytes.len(), now.mono);
                }
                let datagram = Datagram { hop, arrived, bytes, standing, taken_by: by, source };
                self.sip(now.for_arrival(arrived), frames, &datagram, true);
            }
            Ok(Handoff::Send { hop, text, bytes }) => {
                let _ = self.core.names.dial(0, text);
                let mut cx = self.cx(now, frames);
                let frame = crate::cx::frame_of(cx.frames, &mut cx.core.in_hand, bytes);
                if frame.is_none() {
                    cx.count(Counter::DiscardNoFrame);
                }
                cx.send_sip(hop, frame);
            }
            Ok(Handoff::Lost { id, end }) => {
                let mut cx = Cx { now, frames, core: &mut self.core };
                self.transactions.clients.again(&mut cx, (id, end));
                self.flow_lost(now, frames, (id, end));
            }
            Ok(Handoff::Md5Alone { who }) => self.md5_alone(who, now),
            Ok(Handoff::Registered { id, silence_s }) => {
                self.core.connections.befriend(id, silence_s, now.mono);
            }
            Ok(Handoff::Proven { source }) => {
                self.core.guard.prove(source, now.mono);
            }
            Ok(Handoff::Media { to, from, starts, arrived, bytes }) => {
                let done = self.contain(frames, |shard, frames| {
                    let mut cx = Cx { now, frames, core: &mut shard.core };
                    shard.media.handle_far(&mut cx, (to, from), starts, arrived, bytes);
                });
                if done.is_none() {
                    self.end_by_fault(now, frames, to);
                }
            }
            Ok(Handoff::Dial(wish)) => self.dial_for_route(now, frames, &wish, None),
            Ok(Handoff::Advance { leg, code, cause }) => {
                self.advance_route(now, frames, leg, (code, cause));
            }
            Ok(Handoff::Redirected { leg, code, contacts }) => {
                self.redirected(now, frames, leg, (code, contacts));
            }
            Ok(Handoff::Health { group, target, out_s }) => {
                self.core.target_health(now, (group, target), out_s);
            }
            Ok(Handoff::Unreachable { to, transaction }) => {
                self.icmp(now, frames, to, ClientId(transaction));
            }
            Ok(Handoff::Leg { to, from, at, message }) => {
                // What begins, begins now; what ends has ended when that was said.
                let now = if message.is_last() { now.for_arrival(at) } else { now };
                self.peer_message(now, frames, (to, from), &message);
            }
            Err(_) => self.core.counters.count(Counter::DiscardHandoffMalformed),
        }
    }

    /// What one leg says to another. A fault ends the leg that it was said to; whoever said it, and
    /// may not be among those that this one tells of its end, hears of it too.
    fn peer_message(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        (to, from): (LegId, LegId),
        message: &PeerMessage<'_>,
    ) {
        let mut handled = false;
        self.contain(frames, |shard, frames| {
            crate::faults::touch(crate::faults::Site::Peer);
            if let PeerMessage::TakePlace { claimant, .. } = message
                && !shard.may_take_place(to, *claimant)
            {
                handled = true;
                return on_peer_nobody(&mut shard.cx(now, frames), to, from, message);
            }
            let is_there = shard.with_leg(now, frames, to, |leg| {
                leg.on_peer(from, message);
                handled = true;
            });
            if !is_there {
                on_peer_nobody(&mut shard.cx(now, frames), to, from, message);
                handled = true;
            }
        });
        if !handled {
            self.end_by_fault(now, frames, to);
            on_peer_nobody(&mut self.cx(now, frames), to, from, message);
        }
    }

    /// What other shards handed over and what waited: some in each breath, so that the media of the
    /// next is not late.
    pub(crate) fn serve_handed(&mut self, now: Now, frames: &mut dyn Frames) {
        for _ in 0..HANDED {
            let mut scratch = core::mem::take(&mut self.scratch);
            let Some(message) = self.handed.front() else {
                self.scratch = scratch;
                return;
            };
            let len = message.len();
            scratch[..len].copy_from_slice(message);
            self.handed.pop();
            let message = &scratch[..len];
            self.contain(frames, |shard, frames| shard.handoff(now, frames, message));
            self.scratch = scratch;
            self.drain(now, frames);
        }
    }

    /// What streams noticed and legs of this shard said to each other, until they are silent.
    pub(crate) fn drain(&mut self, now: Now, frames: &mut dyn Frames) {
        while let Some(end) = self.core.connections.unreachable.pop_front() {
            self.contain(frames, |shard, frames| shard.target_lost(now, frames, Lost::End(end)));
        }
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
            let message = &scratch[..len];
            self.contain(frames, |shard, frames| shard.handoff(now, frames, message));
        }
        self.scratch = scratch;
    }
}
