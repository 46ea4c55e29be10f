//! A leg's life after set-up: requests inside its dialog, its deadlines, and its end.

use base::{LegId, Now};
use core::net::SocketAddr;
use core::time::Duration;
use sip::key::TransactionKey;
use sip::session::{Refresher, SessionExpires, session_expires};
use sip::txn::Actions;
use sip::{Message, Method, Name, Reply, Writer, reply_to};
use wire::counter::Counter;
use wire::event::{Cause, Event, Party};

use super::timers::Timer;
use super::{Answer, Leg, METER, State, Text};
use crate::app::Play;
use crate::demux::Datagram;
use crate::handoff::Say;
use crate::join::{Hears, Stream};
use crate::signal::{NONE, compose, contact, frame_of, may_send_to};
use crate::{Io, Shard, call_hash};

impl Shard<'_> {
    /// A request whose To tag is this leg's.
    pub(crate) fn in_dialog(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let over = leg.is_over();
        let checked = match leg.dialog.as_mut().filter(|_| !over) {
            Some(dialog) => dialog.check_request(self.arena.get(&leg.dialog_text), message),
            None => return self.answer_stateless(io, datagram, message, 481),
        };
        if let Err(refusal) = checked {
            self.counters.count(Counter::RefusedProtocol);
            return self.answer_stateless(io, datagram, message, refusal.code);
        }
        // What our tag vouches for may move the leg (a NAT's new mapping).
        leg.remote = datagram.source;
        match message.method() {
            Some(Method::Bye) => {
                self.answer_in_dialog(io, index, datagram, message, 200);
                self.bye(io, index);
            }
            Some(Method::Invite) => self.reinvite(io, index, datagram, message),
            Some(Method::Update) => self.update(io, index, datagram, message),
            Some(Method::Info) => {
                self.answer_in_dialog(io, index, datagram, message, 200);
                self.info(io.now, index, message);
            }
            Some(Method::Options) => self.answer_in_dialog(io, index, datagram, message, 200),
            _ => self.answer_in_dialog(io, index, datagram, message, 501),
        }
    }

    fn bye(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if leg.is_waiting() {
            return self.leg_canceled(io, index);
        }
        leg.accepted = None;
        self.arena.free(&mut leg.accepted_text);
        self.finish(io, index, Cause::Normal, Party::Remote);
    }

    /// Answers a request inside the dialog, in a transaction of its own.
    fn answer_in_dialog(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
    ) {
        let key = TransactionKey::server(message, &self.plan.keys.token);
        let id = self.legs.get(index).map_or(LegId::NONE, |leg| leg.id);
        let transaction =
            key.ok().and_then(|key| self.begin_transaction(datagram, message, (key, None), id));
        let Some(transaction) = transaction else {
            self.counters.count(Counter::DiscardNoRoom);
            return self.answer_stateless(io, datagram, message, code);
        };
        let frame = dialog_reply(io.frames, message, datagram.source, code, |writer| writer);
        match frame {
            Some(frame) => self.send_in_transaction(io, transaction, code, frame),
            None => self.unanswerable(transaction),
        }
    }

    /// Nothing to write the answer into: the request's repetition finds a fresh transaction.
    fn unanswerable(&mut self, transaction: u32) {
        self.counters.count(Counter::DiscardNoFrame);
        self.end_transaction(transaction);
    }

    /// A re-INVITE: answered here; the other leg only learns of new payload types.
    fn reinvite(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        let Some(leg) = self.legs.get(index) else { return };
        if !leg.is_up() || leg.accepted.is_some() {
            // Our 2xx waits for its ACK still: the new offer comes too early (RFC 3261 section
            // 14.2).
            return self.answer_in_dialog(io, index, datagram, message, 491);
        }
        let offer = if message.is_sdp() { message.body() } else { b"" };
        let answer = match self.renegotiate(io, index, offer) {
            Ok(answer) => answer,
            Err(code) => return self.answer_in_dialog(io, index, datagram, message, code),
        };
        self.refresh_session(io.now, index, message);
        self.accept_in_dialog(io, index, datagram, message, &answer);
    }

    fn update(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        self.refresh_session(io.now, index, message);
        let offer = if message.is_sdp() { message.body() } else { b"" };
        if !self.legs.get(index).is_some_and(Leg::is_up) {
            return self.answer_in_dialog(io, index, datagram, message, 200);
        }
        if offer.is_empty() {
            // A refresh of session and target: the answer says what is in force (RFC 4028 section
            // 9).
            return self.accept_in_dialog(io, index, datagram, message, b"");
        }
        match self.renegotiate(io, index, offer) {
            Ok(answer) => self.accept_in_dialog(io, index, datagram, message, &answer),
            Err(code) => self.answer_in_dialog(io, index, datagram, message, code),
        }
    }

    /// A 200 with a description to a re-INVITE or UPDATE.
    fn accept_in_dialog(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        sdp: &[u8],
    ) {
        let key = TransactionKey::server(message, &self.plan.keys.token);
        let Some(leg) = self.legs.get_mut(index) else { return };
        if let Some(dialog) = leg.dialog.as_mut() {
            // A broken Contact leaves the old target.
            let _ = dialog.refresh_target(self.arena.get_mut(&leg.dialog_text), message);
        }
        let (id, session) = (leg.id, leg.session_s);
        let Some(ours) = self.plan.listeners.get(usize::from(leg.listener)).map(|l| l.advertised)
        else {
            return;
        };
        let frame = dialog_reply(io.frames, message, datagram.source, 200, |writer| {
            let mut writer = contact(writer, ours);
            if session > 0 {
                let session = SessionExpires { seconds: session, refresher: Some(Refresher::Uac) };
                writer = session.write(writer);
            }
            if sdp.is_empty() { writer } else { writer.content(b"application/sdp", sdp) }
        });
        let transaction =
            key.ok().and_then(|key| self.begin_transaction(datagram, message, (key, None), id));
        let (Some(frame), Some(transaction)) = (frame, transaction) else {
            match (frame, transaction) {
                (Some(frame), _) => self.drop_frame(io.frames, frame),
                (None, Some(transaction)) => self.unanswerable(transaction),
                (None, None) => self.counters.count(Counter::DiscardNoRoom),
            }
            return;
        };
        if message.method() == Some(Method::Invite) {
            if let Some(leg) = self.legs.get_mut(index) {
                leg.offered_late = message.body().is_empty();
            }
            if !self.accept(io, index, frame) {
                return self.drop_frame(io.frames, frame);
            }
            let to = self.transaction_to(transaction);
            if let (Some(to), Some(leg)) = (to, self.legs.get_mut(index)) {
                leg.accepted_to = to;
            }
        }
        self.send_in_transaction(io, transaction, 200, frame);
    }

    /// Our answer to a new offer of the far end; without an offer, ours. A refusal's status
    /// otherwise.
    fn renegotiate(&mut self, io: &mut Io<'_>, index: u32, offer: &[u8]) -> Result<Text, u16> {
        let leg = self.legs.get_mut(index).ok_or(500_u16)?;
        let first = self.arena.get(&leg.local_sdp);
        if offer.is_empty() {
            return Ok(Text::of(first));
        }
        let theirs = sdp::Session::parse(offer).map_err(|_| 400_u16)?;
        let known = sdp::Session::parse(self.arena.get(&leg.remote_sdp));
        let changed = known
            .is_ok_and(|known| known.stamp().change(&theirs.stamp()) != sdp::Change::Unchanged);
        if changed {
            leg.sdp_version += 1;
        }
        let (version, listener) = (leg.sdp_version, leg.listener);
        let stored = core::mem::take(&mut leg.local_sdp);
        let outcome = self.answer_offer(index, &theirs, &stored, version);
        if let Some(leg) = self.legs.get_mut(index) {
            leg.local_sdp = stored;
        }
        let (answer, plan) = outcome?;
        if !plan.remote_rtp.ip().is_unspecified()
            && !may_send_to(plan.remote_rtp.ip(), self.media_address(listener))
        {
            return Err(403);
        }
        let leg = self.legs.get_mut(index).ok_or(500_u16)?;
        self.arena.free(&mut leg.remote_sdp);
        leg.remote_sdp = self.arena.store(offer).ok_or(500_u16)?;
        let (id, call, partner) = (leg.id, leg.call, leg.partner);
        self.plan_stream(io.now.mono, index, plan);
        if partner != LegId::NONE {
            let formats = self.formats(index);
            self.say(id, partner, &Say::Joined { call, formats });
        }
        Ok(answer)
    }

    fn answer_offer(
        &self,
        index: u32,
        theirs: &sdp::Session<'_>,
        first: &base::Stored,
        version: u32,
    ) -> Result<(Text, sdp::Plan), u16> {
        let ours = sdp::Session::parse(self.arena.get(first)).map_err(|_| 500_u16)?;
        let local = self.local(index, version);
        let mut out = [0; super::TEXT_BYTES];
        // What we speak on this leg was settled by our first description: it is answered as if the
        // other leg had said it once more.
        let len = sdp::relay_answer(theirs, &ours, &local, &mut out).map_err(|_| 488_u16)?;
        let answer = sdp::Session::parse(&out[..len]).map_err(|_| 500_u16)?;
        let plan = sdp::Plan::negotiate(&answer, theirs).map_err(|_| 488_u16)?;
        Ok((Text::of(&out[..len]), plan))
    }

    /// Our side of a leg's description.
    pub(crate) fn local(&self, index: u32, version: u32) -> sdp::Local {
        let stream = &self.streams[index as usize];
        let address = self.plan.media.get(usize::from(stream.port.address));
        let address = address
            .map_or(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), |m| m.advertised);
        let id = self.legs.get(index).map_or(0, |leg| leg.id.0);
        sdp::Local {
            rtp: SocketAddr::new(address, stream.port.port),
            rtcp: sdp::Rtcp::NextPort,
            session_id: id & 0x7fff_ffff_ffff_ffff,
            version: u64::from(version),
        }
    }

    /// The ACK of a 200 that carried our offer: it carries the answer.
    pub(crate) fn late_answer(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let plan = {
            let local = sdp::Session::parse(self.arena.get(&leg.local_sdp));
            let remote = sdp::Session::parse(message.body());
            local.and_then(|local| sdp::Plan::negotiate(&local, &remote?))
        };
        let Ok(plan) = plan else {
            return self.hang_up(io, index, Cause::NoCodec, Party::Switch);
        };
        self.arena.free(&mut leg.remote_sdp);
        leg.remote_sdp = self.arena.store(message.body()).unwrap_or_default();
        let (id, call, partner, listener) = (leg.id, leg.call, leg.partner, leg.listener);
        if !may_send_to(plan.remote_rtp.ip(), self.media_address(listener)) {
            return self.hang_up(io, index, Cause::Forbidden, Party::Switch);
        }
        self.plan_stream(io.now.mono, index, plan);
        if partner != LegId::NONE {
            let formats = self.formats(index);
            self.say(id, partner, &Say::Joined { call, formats });
        }
    }

    fn refresh_session(&mut self, now: Now, index: u32, message: &Message<'_>) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if let Ok(asked) = session_expires(message) {
            leg.session_s = asked.seconds.max(sip::session::MIN_SE_SECONDS);
        }
        self.arm_session(now, index);
    }

    pub(crate) fn arm_session(&mut self, now: Now, index: u32) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.session_s > 0) else { return };
        let session = SessionExpires { seconds: leg.session_s, refresher: Some(Refresher::Uac) };
        let expire = Duration::from_secs(u64::from(session.expire_after()));
        leg.deadlines.set(Timer::Session, now.mono + expire);
        let deadline = leg.deadline();
        self.touch(index, now, deadline);
    }

    /// Digits by INFO (`application/dtmf-relay`: `Signal=5`; `application/dtmf`: `5`).
    fn info(&mut self, now: Now, index: u32, message: &Message<'_>) {
        let Ok((kind, _)) = message.content_type() else { return };
        let body = message.body();
        let digit = if kind.eq_ignore_ascii_case(b"application/dtmf-relay") {
            body.split(|byte| *byte == b'\n').find_map(|line| {
                let line = line.trim_ascii();
                let (name, value) = line.split_at(line.iter().position(|b| *b == b'=')?);
                let is_signal = name.trim_ascii().eq_ignore_ascii_case(b"Signal");
                value[1..].trim_ascii().first().copied().filter(|_| is_signal)
            })
        } else if kind.eq_ignore_ascii_case(b"application/dtmf") {
            body.trim_ascii().first().copied()
        } else {
            None
        };
        let digit = digit.map(|byte| char::from(byte).to_ascii_uppercase());
        let digit = digit.filter(|digit| "0123456789*#ABCD".contains(*digit));
        if let (Some(digit), Some(call)) = (digit, self.legs.get(index).map(|leg| leg.call)) {
            self.tell_optional(&Event::Digit { call, at: now.wall, digit });
        }
    }

    /// Everything of a leg whose time may have come.
    pub(crate) fn leg_timeout(&mut self, io: &mut Io<'_>, index: u32) {
        self.client_timeouts(io, index);
        self.accepted_timeout(io, index);
        for timer in super::timers::ALL {
            let Some(leg) = self.legs.get_mut(index) else { return };
            if leg.deadlines.take(timer, io.now.mono) {
                self.timer(io, index, timer);
            }
        }
        if let Some(deadline) = self.legs.get(index).map(Leg::deadline) {
            self.touch(index, io.now, deadline);
        }
    }

    fn timer(&mut self, io: &mut Io<'_>, index: u32, timer: Timer) {
        match timer {
            Timer::Hold => {
                self.counters.count(Counter::RefusedNoController);
                let answer = Answer { retry_after: 5, ..Answer::new(503, b"") };
                self.refuse(io, index, &answer, (Cause::NoController, Party::Switch));
            }
            Timer::Setup => {
                let answer = Answer::new(480, b"");
                self.refuse(io, index, &answer, (Cause::NoAnswer, Party::Switch));
            }
            Timer::Ring => self.hang_up(io, index, Cause::NoAnswer, Party::Switch),
            Timer::Limit => self.hang_up(io, index, Cause::TimeLimit, Party::Switch),
            Timer::Session => self.hang_up(io, index, Cause::SessionExpired, Party::Switch),
            Timer::Meter => self.meter_tick(io, index),
        }
    }

    fn meter_tick(&mut self, io: &mut Io<'_>, index: u32) {
        let now = io.now;
        let timeout = self.plan.timers.media_timeout;
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_up()) else { return };
        leg.deadlines.set(Timer::Meter, now.mono + METER);
        let stream = &self.streams[index as usize];
        if let Some(cell) = self.region.cell(index).map(wire::cell::CellWriter::new) {
            crate::meter::refresh(&cell, leg, stream, now.wall);
        }
        // A held leg is silent by agreement.
        let silent = stream.on && stream.plan.direction.receives() && !timeout.is_zero();
        if silent && now.mono.since(stream.heard) >= timeout {
            return self.hang_up(io, index, Cause::MediaTimeout, Party::Switch);
        }
        self.report(io, index);
    }

    fn client_timeouts(&mut self, io: &mut Io<'_>, index: u32) {
        let timers = self.sip_timers();
        let now = io.now.mono;
        let Some(leg) = self.legs.get_mut(index) else { return };
        let none = Actions::NONE;
        let invite = leg.invite_client.as_mut().map_or(none, |c| c.handle_timeout(now, &timers));
        let cancel = leg.cancel_client.as_mut().map_or(none, |c| c.handle_timeout(now, &timers));
        let bye = leg.bye_client.as_mut().map_or(none, |c| c.handle_timeout(now, &timers));
        if invite.has(Actions::END) {
            leg.invite_client = None;
            self.arena.free(&mut leg.invite_text);
        }
        if cancel.has(Actions::END) {
            leg.cancel_client = None;
        }
        if bye.has(Actions::END) {
            leg.bye_client = None;
        }
        if invite.has(Actions::RESEND) {
            self.repeat_invite(io, index);
        }
        if cancel.has(Actions::RESEND) {
            self.transmit_cancel(io, index);
        }
        if bye.has(Actions::RESEND) {
            self.repeat_bye(io, index);
        }
        let over = self.legs.get(index).is_none_or(Leg::is_over);
        if invite.has(Actions::TIMEOUT) && !over && !self.next_target(io, index) {
            if let Some(leg) = self.legs.get_mut(index) {
                leg.code = 408;
            }
            self.finish(io, index, Cause::Unreachable, Party::Switch);
        }
        if !invite.is_none() || !cancel.is_none() || !bye.is_none() {
            self.settle(io.now, index);
        }
    }

    fn accepted_timeout(&mut self, io: &mut Io<'_>, index: u32) {
        let timers = self.sip_timers();
        let Some(leg) = self.legs.get_mut(index) else { return };
        let Some(accepted) = leg.accepted.as_mut() else { return };
        let actions = accepted.handle_timeout(io.now.mono, &timers);
        if actions.has(Actions::RESEND) {
            let (listener, remote) = (leg.listener, leg.accepted_to);
            let frame = frame_of(io.frames, self.arena.get(&leg.accepted_text));
            self.counters.count(Counter::SipRetransmitted);
            self.put(listener, remote, frame);
        }
        if actions.has(Actions::TIMEOUT) {
            let Some(leg) = self.legs.get_mut(index) else { return };
            leg.accepted = None;
            self.arena.free(&mut leg.accepted_text);
            if leg.is_over() {
                // It ended while its 2xx waited: the BYE that waited with it goes now (RFC 3261
                // section 15).
                self.send_bye(io, index);
                return self.settle(io.now, index);
            }
            self.hang_up(io, index, Cause::NoAck, Party::Switch);
        }
    }

    /// Ends a leg from our side, whatever its state.
    pub(crate) fn hang_up(&mut self, io: &mut Io<'_>, index: u32, cause: Cause, by: Party) {
        let Some(leg) = self.legs.get(index) else { return };
        let unacknowledged = leg.accepted.is_some();
        match leg.state {
            State::Arrived | State::Ringing => {
                let answer = Answer::new(status_of(cause), b"");
                return self.refuse(io, index, &answer, (cause, by));
            }
            State::Calling => self.send_cancel(io, index),
            // An unacknowledged 2xx forbids BYE until its ACK (RFC 3261 section 15): it follows
            // then.
            State::Answering | State::Standing if !unacknowledged => self.send_bye(io, index),
            _ => {}
        }
        self.finish(io, index, cause, by);
    }

    /// The leg is over: its media ends, its usage is closed and told, the legs around it hear of
    /// it.
    pub(crate) fn finish(&mut self, io: &mut Io<'_>, index: u32, cause: Cause, by: Party) {
        let now = io.now;
        let Some(leg) = self.legs.get_mut(index).filter(|leg| !leg.is_over()) else { return };
        leg.state = State::Closing;
        leg.cause = cause;
        leg.by = by;
        leg.ended = now.wall;
        leg.deadlines = super::Deadlines::default();
        let (id, code, call, route) = (leg.id, leg.code, leg.call, leg.route);
        let transaction = core::mem::replace(&mut leg.invite_server, NONE);
        let mut around: arrayvec::ArrayVec<LegId, { super::CHILDREN_MAX + 2 }> =
            leg.children.drain(..).collect();
        for other in [leg.partner, leg.dialed_for] {
            if other != LegId::NONE && !around.contains(&other) {
                around.push(other);
            }
        }
        leg.partner = LegId::NONE;
        let deadline = leg.deadline();
        self.touch(index, now, deadline);
        self.close(now, index);
        self.calls.remove(call_hash(call), index);
        if transaction != NONE {
            self.orphan_transaction(transaction);
        }
        if let Some(count) = route.and_then(|at| self.route_calls.get_mut(usize::from(at))) {
            *count = count.saturating_sub(1);
        }
        self.silence(now, index);
        for other in around {
            self.say(id, other, &Say::Over { code, cause });
        }
        self.settle(now, index);
    }

    fn silence(&mut self, now: Now, index: u32) {
        self.set_play(now.mono, index, Play::Nothing);
        let stream = &mut self.streams[index as usize];
        let (port, hears) = (stream.port, stream.hears);
        *stream = Stream::idle();
        if let Hears::Here(other) = hears
            && self.streams[other as usize].hears == Hears::Here(index)
        {
            // Nobody may go on speaking into a slot that the next call will have.
            self.disconnect(other);
        }
        self.ports.give(port, now.mono, &mut self.flows);
    }

    /// Frees the slot of a leg that is over, once nothing of it runs and its usage is released.
    pub(crate) fn settle(&mut self, now: Now, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if !leg.is_over() || !leg.is_quiet() {
            return;
        }
        leg.free_texts(&mut self.arena);
        leg.dialog = None;
        leg.invite_client = None;
        if leg.released {
            if let Some(cell) = self.cell(index) {
                cell.free();
            }
            self.leg_timers.cancel(index);
            self.legs.remove(index);
        } else {
            self.touch(index, now, base::Mono::NEVER);
        }
    }

    /// The controlplane has the usage of this leg.
    pub(crate) fn release(&mut self, now: Now, epoch: u32, id: LegId) {
        let index = id.index();
        let Some(leg) = self.legs.get_mut(index) else { return };
        if leg.id == id && leg.epoch == epoch && leg.is_over() {
            leg.released = true;
            self.settle(now, index);
        }
    }

    /// A leg that was never told of: takes everything back.
    pub(crate) fn forget(&mut self, now: Now, index: u32) {
        let Some(mut leg) = self.legs.remove(index) else { return };
        leg.free_texts(&mut self.arena);
        if leg.call != base::CallId::NONE {
            self.calls.remove(call_hash(leg.call), index);
        }
        if let Some(count) = leg.route.and_then(|at| self.route_calls.get_mut(usize::from(at))) {
            *count = count.saturating_sub(1);
        }
        if let Some(cell) = self.cell(index) {
            cell.free();
        }
        self.leg_timers.cancel(index);
        let stream = &mut self.streams[index as usize];
        let port = stream.port;
        *stream = Stream::idle();
        self.ports.give(port, now.mono, &mut self.flows);
    }

    /// A fault of ours while handling this leg: it ends, the others go on.
    pub(crate) fn leg_fault(&mut self, io: &mut Io<'_>, index: u32) {
        self.hang_up(io, index, Cause::Internal, Party::Switch);
    }
}

fn dialog_reply(
    frames: &mut dyn base::Frames,
    message: &Message<'_>,
    source: SocketAddr,
    code: u16,
    more: impl FnOnce(Writer<'_>) -> Writer<'_>,
) -> Option<base::Frame> {
    let reply = Reply::new(code, None, Some(source));
    compose(frames, |out| {
        let mut writer = reply_to(out, message, &reply);
        if code == 491 {
            writer = writer.field(Name::RetryAfter, b"1");
        }
        if code == 200 && message.method() == Some(Method::Options) {
            writer = writer.field(Name::Allow, crate::signal::ALLOW);
        }
        more(writer).finish().ok().map(<[u8]>::len)
    })
}

/// The final status by which an unanswered incoming leg learns of this cause.
pub(crate) fn status_of(cause: Cause) -> u16 {
    match cause {
        Cause::Busy => 486,
        Cause::NoAnswer | Cause::Unreachable | Cause::Canceled => 480,
        Cause::Rejected => 603,
        Cause::NotFound | Cause::NoRoute => 404,
        Cause::Forbidden => 403,
        Cause::NoCodec => 488,
        Cause::NoPort | Cause::Overload | Cause::NoController | Cause::Restart => 503,
        Cause::TimeLimit | Cause::Normal | Cause::OtherAnswered => 487,
        _ => 500,
    }
}
