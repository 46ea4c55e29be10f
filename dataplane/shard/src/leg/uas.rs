//! The incoming side: a new INVITE, its answers, its ACK and its CANCEL.

use base::{CallId, Frame, Frames, LegId, Now};
use core::time::Duration;
use sip::dialog::Dialog;
use sip::key::TransactionKey;
use sip::session::{Refresher, SessionExpires, session_expires};
use sip::token::{Kind, Token};
use sip::txn::Accepted2xx;
use sip::{Message, Name, Reply, Writer, reply_to};
use wire::counter::Counter;
use wire::event::{Cause, Direction, Event, Incoming, Party};

use super::timers::Timer;
use super::{Leg, State, Text};
use crate::demux::Datagram;
use crate::signal::{compose, contact, may_send_to};
use crate::tell::text;
use crate::{Io, Shard, call_hash};

/// How long an incoming call may stay unanswered, if the controlplane says nothing.
const SETUP: Duration = Duration::from_secs(180);
/// Room behind a dialog's text for a longer remote target.
pub(crate) const TARGET_ROOM: usize = 48;

/// Why a new call is not taken: status and cause.
type Refused = (u16, Cause);

/// A final or provisional response to the INVITE of a leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) code: u16,
    pub(crate) reason: &'a str,
    /// Seconds, 0 for no Retry-After.
    pub(crate) retry_after: u32,
    pub(crate) sdp: &'a [u8],
}

impl<'a> Answer<'a> {
    pub(crate) fn new(code: u16, sdp: &'a [u8]) -> Self {
        Self { code, reason: "", retry_after: 0, sdp }
    }
}

impl Shard<'_> {
    /// An INVITE that begins a call.
    pub(crate) fn new_call(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        keys: (TransactionKey, Option<TransactionKey>),
    ) {
        match self.take_call(io, datagram, message) {
            Ok(index) => {
                let id = self.legs.get(index).map_or(LegId::NONE, |leg| leg.id);
                let Some(transaction) = self.begin_transaction(datagram, message, keys, id) else {
                    self.counters.count(Counter::DiscardNoRoom);
                    self.forget(io.now, index);
                    return self.answer_stateless(io, datagram, message, 503);
                };
                if let Some(leg) = self.legs.get_mut(index) {
                    leg.invite_server = transaction;
                }
                self.guarded(io, index, |shard, io| shard.begin(io, index, message));
            }
            Err((code, cause)) => {
                let uri = message.uri_raw();
                self.tell_refused(io.now, datagram.source, code, cause, uri);
                let reply = Reply::new(code, None, None);
                let retry = matches!(code, 503 | 500);
                self.answer_with(io, datagram, message, &reply, |writer| {
                    if retry { writer.field(Name::RetryAfter, b"5") } else { writer }
                });
            }
        }
    }

    /// Everything that can refuse a call before it costs anything; then its leg.
    fn take_call(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) -> Result<u32, Refused> {
        let now = io.now;
        if self.draining || !self.guard.call(now.mono) {
            self.counters.count(Counter::RefusedOverload);
            return Err((503, Cause::Overload));
        }
        let session = match session_expires(message) {
            Ok(asked)
                if message.lists(Name::Supported, b"timer")
                    && asked.refresher != Some(Refresher::Uas) =>
            {
                asked.seconds
            }
            Ok(asked) if asked.seconds < sip::session::MIN_SE_SECONDS => asked.seconds,
            Ok(_) => 0,
            Err(_) => 0,
        };
        if session != 0 && session < sip::session::MIN_SE_SECONDS {
            return Err((422, Cause::Protocol));
        }
        if !message.body().is_empty() && message.is_sdp() {
            let offer = sdp::Session::parse(message.body()).map_err(|_| (400, Cause::Protocol))?;
            let audio = offer.audio().map_err(|_| (488, Cause::NoCodec))?;
            let ours = self.media_address(datagram.listener);
            let address = audio.address().map_err(|_| (488, Cause::NoCodec))?;
            if !may_send_to(address, ours) {
                return Err((403, Cause::Forbidden));
            }
        }
        let route = self.route_for(message, datagram.source, now)?;
        let index = self.admit(now, Direction::Inbound, datagram.listener)?;
        if self.fill_incoming(now, index, datagram, message).is_none() {
            self.forget(now, index);
            return Err((400, Cause::Protocol));
        }
        if let Some(leg) = self.legs.get_mut(index) {
            leg.route = route;
            leg.session_s = session;
        }
        if let Some(count) = route.and_then(|at| self.route_calls.get_mut(usize::from(at))) {
            *count += 1;
        }
        Ok(index)
    }

    /// A leg with its cell, its credit and its port, or the reason why not.
    pub(crate) fn admit(
        &mut self,
        now: Now,
        direction: Direction,
        listener: u8,
    ) -> Result<u32, Refused> {
        let media = self.plan.listeners.get(usize::from(listener)).map_or(0, |plan| plan.media);
        let Some((index, generation)) = self.legs.vacant().filter(|_| self.has_credit()) else {
            self.counters.count(Counter::RefusedNoCell);
            return Err((503, Cause::Overload));
        };
        let Some((port, path)) = self.ports.take(media, index) else {
            self.counters.count(Counter::RefusedNoPort);
            return Err((503, Cause::NoPort));
        };
        let id = LegId::new(self.plan.shard, generation, index);
        let mut leg = Leg::new(id, self.epoch, direction, now.wall);
        leg.listener = listener;
        self.legs.insert(leg);
        let random = [self.random.u32(), self.random.u32(), self.random.u32()];
        let stream = &mut self.streams[index as usize];
        *stream = crate::join::Stream::idle();
        stream.port = port;
        stream.path = path;
        let seq = u16::try_from(random[1] >> 17).unwrap_or(0);
        stream.sender = rtp::Sender::new(rtp::Ssrc(random[0]), seq, random[2], 8_000);
        self.counters.count(Counter::LegCreated);
        Ok(index)
    }

    /// Gives a call id to a leg and opens its cell.
    pub(crate) fn register(&mut self, index: u32, call: CallId, account: u64) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.call = call;
        leg.account = account;
        self.calls.insert(call_hash(call), index);
        let id = leg.id;
        if let Some(cell) = self.cell(index) {
            cell.open(self.epoch, id, call, account);
        }
    }

    fn fill_incoming(
        &mut self,
        now: Now,
        index: u32,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) -> Option<()> {
        let tag = self.tag_of(index)?;
        let mut block = [0; 4_096];
        let cseq = self.random.u32() >> 8;
        let dialog = Dialog::uas(&mut block, message, &tag, cseq).ok()?;
        let used = dialog.text_len();
        let block = &block[..(used + TARGET_ROOM).min(4_096)];
        let call = CallId(self.random.u128());
        let leg = self.legs.get_mut(index)?;
        leg.dialog = Some(dialog);
        leg.dialog_text = self.arena.store(block)?;
        leg.remote = datagram.source;
        leg.invite_text = self.arena.store(datagram.bytes)?;
        leg.from_text = self.arena.store(message.from().ok()?.uri)?;
        leg.to_text = self.arena.store(message.uri_raw())?;
        leg.call_id = self.arena.store(message.call_id().ok()?)?;
        leg.max_forwards = message.max_forwards().unwrap_or(70);
        if message.is_sdp() {
            leg.remote_sdp = self.arena.store(message.body())?;
        }
        leg.deadlines.set(Timer::Hold, now.mono + self.plan.timers.hold);
        leg.deadlines.set(Timer::Setup, now.mono + SETUP);
        self.streams[index as usize].signalling = datagram.source.ip();
        self.register(index, call, 0);
        self.record(index);
        Some(())
    }

    /// The call is ours: 100 Trying, then its static route or the controlplane.
    fn begin(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        self.reply_invite(io, index, &Answer::new(100, b""));
        let Some(leg) = self.legs.get_mut(index) else { return };
        let deadline = leg.deadline();
        if let Some(route) = leg.route {
            leg.deadlines.clear(Timer::Hold);
            let deadline = leg.deadline();
            self.touch(index, io.now, deadline);
            return self.follow_route(io, index, route);
        }
        let (call, id, listener, remote) = (leg.call, leg.id, leg.listener, leg.remote);
        let mut extra = [0; 8_192];
        let len = extension_headers(message, &mut extra);
        let (from, to) = (message.from(), message.to());
        let incoming = Incoming {
            call,
            leg: id,
            at: io.now.wall,
            listener,
            source: remote,
            uri: crate::tell::cut(text(message.uri_raw())),
            from: crate::tell::cut(from.as_ref().map_or("", |from| text(from.uri))),
            from_name: crate::tell::cut(from.as_ref().map_or("", |from| text(from.display))),
            to: crate::tell::cut(to.as_ref().map_or("", |to| text(to.uri))),
            call_id: crate::tell::cut(text(message.call_id().unwrap_or_default())),
            diversion: "",
            headers: text(&extra[..len]),
        };
        self.tell(&Event::Incoming(incoming));
        self.touch(index, io.now, deadline);
    }

    /// Sends a response to the leg's INVITE.
    /// False if it could not be written.
    pub(crate) fn reply_invite(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        answer: &Answer<'_>,
    ) -> bool {
        let Some(tag) = self.tag_of(index) else { return false };
        let Some(leg) = self.legs.get(index) else { return false };
        let listener = usize::from(leg.listener);
        let Some(listener) = self.plan.listeners.get(listener) else { return false };
        let text = self.arena.get(&leg.invite_text);
        let ours = listener.advertised;
        let frame = invite_reply(io.frames, text, leg, ours, &tag, answer);
        let (transaction, code) = (leg.invite_server, answer.code);
        match frame {
            Some(frame) => self.send_reply(io, index, transaction, code, frame),
            None => {
                self.counters.count(Counter::DiscardNoFrame);
                false
            }
        }
    }

    fn send_reply(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        transaction: u32,
        code: u16,
        frame: Frame,
    ) -> bool {
        if (200..300).contains(&code) && !self.accept(io, index, frame) {
            self.drop_frame(io.frames, frame);
            return false;
        }
        let to = self.transaction_to(transaction);
        self.send_in_transaction(io, transaction, code, frame);
        if code >= 200
            && let Some(leg) = self.legs.get_mut(index)
        {
            leg.code = code;
            leg.accepted_to = to.unwrap_or(leg.remote);
            self.arena.free(&mut leg.invite_text);
        }
        true
    }

    /// A 2xx of ours is on its way: it is repeated until its ACK comes.
    /// False if there is no room to keep it.
    pub(crate) fn accept(&mut self, io: &mut Io<'_>, index: u32, frame: Frame) -> bool {
        let timers = self.sip_timers();
        let Some(leg) = self.legs.get_mut(index) else { return false };
        self.arena.free(&mut leg.accepted_text);
        let Some(stored) = self.arena.store(io.frames.bytes(frame)) else { return false };
        leg.accepted_text = stored;
        leg.accepted = Some(Accepted2xx::new(io.now.mono, &timers));
        let deadline = leg.deadline();
        self.touch(index, io.now, deadline);
        true
    }

    /// Answers an incoming leg with this description of ours.
    pub(crate) fn answer_incoming(&mut self, io: &mut Io<'_>, index: u32, local: &[u8]) {
        let now = io.now;
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_waiting()) else { return };
        if leg.local_sdp.is_empty() {
            leg.local_sdp = self.arena.store(local).unwrap_or_default();
        }
        let sdp = Text::of(self.arena.get(&leg.local_sdp));
        if sdp.is_empty() || !self.reply_invite(io, index, &Answer::new(200, &sdp)) {
            // Nothing was sent: it is not answered, and nobody is billed.
            let answer = Answer::new(500, b"");
            return self.refuse(io, index, &answer, (Cause::Internal, Party::Switch));
        }
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.state = State::Answering;
        leg.offered_late = leg.remote_sdp.is_empty();
        leg.answered = now.wall;
        leg.deadlines.clear(Timer::Hold);
        leg.deadlines.clear(Timer::Setup);
        leg.deadlines.set(Timer::Meter, now.mono + super::METER);
        if leg.limit_ms > 0 {
            let limit = Duration::from_millis(u64::from(leg.limit_ms));
            leg.deadlines.set(Timer::Limit, now.mono + limit);
        }
        if let Some(dialog) = leg.dialog.as_mut() {
            dialog.confirmed = true;
        }
        let (call, id, deadline) = (leg.call, leg.id, leg.deadline());
        self.touch(index, now, deadline);
        self.begin_metering(now, index);
        self.tell(&Event::Answered { call, leg: id, at: now.wall });
    }

    /// The leg is answered: its cell and record say so.
    pub(crate) fn begin_metering(&mut self, now: Now, index: u32) {
        if let (Some(cell), Some(leg)) = (self.cell(index), self.legs.get(index)) {
            crate::meter::refresh(&cell, leg, &self.streams[index as usize], now.wall);
        }
        self.record(index);
        let stream = &mut self.streams[index as usize];
        stream.rtcp_at = now.mono + rtp::rtcp::interval(self.random.u64());
        stream.heard = now.mono;
    }

    /// An ACK: of our 2xx, or of nothing we know.
    pub(crate) fn ack(&mut self, io: &mut Io<'_>, leg: Option<LegId>, message: &Message<'_>) {
        let Some(index) = leg.and_then(|leg| self.leg_of(leg)) else {
            self.counters.count(Counter::DiscardSipStray);
            return;
        };
        self.guarded(io, index, |shard, io| shard.acknowledged(io, index, message));
    }

    fn acknowledged(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let Some(mut accepted) = leg.accepted.take() else { return };
        let _ = accepted.handle_ack();
        self.arena.free(&mut leg.accepted_text);
        let late = core::mem::take(&mut leg.offered_late);
        if leg.is_over() {
            // Ended while the ACK was on its way: now BYE may go (RFC 3261 section 15).
            self.send_bye(io, index);
            return self.settle(io.now, index);
        }
        leg.state = State::Standing;
        let deadline = leg.deadline();
        self.touch(index, io.now, deadline);
        if late {
            self.late_answer(io, index, message);
        }
    }

    /// The caller gave up before an answer.
    pub(crate) fn leg_canceled(&mut self, io: &mut Io<'_>, index: u32) {
        if self.legs.get(index).is_some_and(Leg::is_waiting) {
            self.reply_invite(io, index, &Answer::new(487, b""));
            self.finish(io, index, Cause::Canceled, Party::Remote);
        }
    }

    /// Refuses an incoming leg that was not answered yet.
    pub(crate) fn refuse(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        answer: &Answer<'_>,
        (cause, by): (Cause, Party),
    ) {
        if self.legs.get(index).is_some_and(Leg::is_waiting) {
            self.reply_invite(io, index, answer);
            self.finish(io, index, cause, by);
        }
    }

    pub(crate) fn tag_of(&self, index: u32) -> Option<Token> {
        let id = self.legs.get(index)?.id;
        Some(sip::token::make(Kind::Tag, id.0, &self.plan.keys.token))
    }

    pub(crate) fn media_address(&self, listener: u8) -> core::net::IpAddr {
        let media = self.plan.listeners.get(usize::from(listener)).map_or(0, |plan| plan.media);
        let address = self.plan.media.get(usize::from(media)).map(|media| media.advertised);
        address.unwrap_or(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED))
    }
}

fn invite_reply(
    frames: &mut dyn Frames,
    invite: &[u8],
    leg: &Leg,
    ours: core::net::SocketAddr,
    tag: &[u8],
    answer: &Answer<'_>,
) -> Option<Frame> {
    let message = Message::parse(invite).ok()?;
    let reply = Reply {
        code: answer.code,
        reason: answer.reason.as_bytes(),
        to_tag: Some(tag),
        source: Some(leg.remote),
    };
    compose(frames, |out| {
        let mut writer = reply_to(out, &message, &reply);
        if answer.code > 100 && answer.code < 300 {
            writer = contact(writer, ours);
        }
        if answer.code == 200 {
            writer = writer.field(Name::Allow, crate::signal::ALLOW);
            writer = session_headers(writer, leg.session_s, &message);
        }
        if answer.retry_after > 0 {
            let seconds = sip::Part::Number(u64::from(answer.retry_after));
            writer = writer.header(Name::RetryAfter, &[seconds]);
        }
        let writer = if answer.sdp.is_empty() {
            writer
        } else {
            writer.content(b"application/sdp", answer.sdp)
        };
        writer.finish().ok().map(<[u8]>::len)
    })
}

/// The caller's session timer is taken up; the caller refreshes (RFC 4028 section 9).
fn session_headers<'w>(writer: Writer<'w>, seconds: u32, message: &Message<'_>) -> Writer<'w> {
    if seconds == 0 {
        return writer;
    }
    let session = SessionExpires { seconds, refresher: Some(Refresher::Uac) };
    let writer = session.write(writer);
    if message.lists(Name::Supported, b"timer") {
        writer.field(Name::Require, b"timer")
    } else {
        writer
    }
}

/// The X-* headers, one `Name: value` a line, as the application sees them.
fn extension_headers(message: &Message<'_>, out: &mut [u8]) -> usize {
    let mut at = 0;
    for header in message.headers() {
        let is_extension = header.text.len() > 2 && header.text[..2].eq_ignore_ascii_case(b"X-");
        let len = header.text.len() + header.value.len() + 4;
        let clean = core::str::from_utf8(header.value).is_ok()
            && !header.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if !is_extension || !clean || at + len > out.len() {
            continue;
        }
        for part in [header.text, b": ", header.value, b"\r\n"] {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }
    at
}
