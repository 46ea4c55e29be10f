//! One call as one role sees it, and what both roles do with it: BYE, requests inside the dialog,
//! the end. Dialog and transactions are an [`agent::Signal`] of its own.

use std::net::SocketAddr;

use agent::signal::{Answer, Request};
use agent::{Cx, Signal};
use base::{Mono, Now, Wall};
use sip::{Message, Method, Name, Reply, Writer, reply_to};

use super::dialog::{address_of, media_of, set};
use super::role::Role;
use super::wheel::Fired;
use crate::clock::{MS, S, wall};

/// How long a leg listens after the hang-up.
const MEDIA_LINGER: u64 = 250 * MS;
/// How long an ended call answers retransmissions.
const LINGER: u64 = 5 * S;
pub(crate) const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO";

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    /// Caller: INVITE sent, nothing heard.
    Calling,
    /// Caller: a provisional response came.
    Proceeding,
    /// Caller: CANCEL sent.
    Cancelling,
    /// Callee: not answered yet.
    Ringing,
    /// Callee: final response sent, no ACK yet.
    Answered,
    Talking,
    /// BYE sent.
    Ending,
    /// Over; answers retransmissions.
    Done,
}

/// A call's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timer {
    /// The signalling's next deadline.
    Signal,
    /// Nobody has answered for too long.
    GiveUp,
    /// Answer, cancel or hang up.
    Act,
    /// Close the leg.
    Media,
    /// Forget the call.
    Forget,
}

pub(crate) const TIMERS: usize = 5;

impl Timer {
    pub(crate) const fn of(kind: u8) -> Self {
        match kind {
            0 => Self::Signal,
            1 => Self::GiveUp,
            2 => Self::Act,
            3 => Self::Media,
            _ => Self::Forget,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) phase: Phase,
    pub(crate) serial: u64,
    pub(crate) signal: Signal,
    /// Deadline of each timer; 0 for none.
    pub(crate) due: [u64; TIMERS],
    pub(crate) invite_ns: u64,
    /// When the caller's INVITE was due.
    pub(crate) due_ns: u64,
    pub(crate) ringing: bool,
    /// When it was answered; 0 if it was not.
    pub(crate) answer_ns: u64,
    pub(crate) leg: Option<u32>,
    pub(crate) ended_wall: u64,
    pub(crate) talked_ns: u64,
    pub(crate) sdp: Vec<u8>,
    /// Final code of the INVITE, if it was refused.
    pub(crate) code: u16,
    /// CSeq number of the INVITE (callee).
    pub(crate) invite_cseq: u32,
    /// Key in the table of INVITEs (callee).
    pub(crate) key: u64,
}

impl Call {
    fn new(local: SocketAddr, target: SocketAddr, contact: &[u8], seed: u64) -> Self {
        let mut signal = Signal::new(local, target, 1, seed);
        signal.lean = true;
        set(&mut signal.contact, contact);
        Self {
            phase: Phase::Free,
            serial: 0,
            signal,
            due: [0; TIMERS],
            invite_ns: 0,
            due_ns: 0,
            ringing: false,
            answer_ns: 0,
            leg: None,
            ended_wall: 0,
            talked_ns: 0,
            sdp: Vec::new(),
            code: 0,
            invite_cseq: 0,
            key: 0,
        }
    }

    fn reset(&mut self, serial: u64, now: u64, target: SocketAddr) {
        self.phase = Phase::Calling;
        self.serial = serial;
        self.signal.peer = target;
        self.due = [0; TIMERS];
        self.invite_ns = now;
        self.ringing = false;
        self.answer_ns = 0;
        self.leg = None;
        self.ended_wall = 0;
        self.talked_ns = 0;
        self.sdp.clear();
        self.code = 0;
        self.invite_cseq = 0;
        self.key = 0;
    }

    /// Where requests inside the dialog go: its next hop, else where its messages come from.
    pub(crate) fn aim(&mut self, source: SocketAddr) {
        let signal = &mut self.signal;
        let hop = signal.dialog.as_ref().and_then(|it| address_of(it.next_hop(signal.text())));
        signal.peer = hop.unwrap_or(source);
    }

    /// Neither free nor over.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Free | Phase::Done)
    }
}

impl Role {
    pub(crate) fn call(&mut self, slot: u32) -> &mut Call {
        &mut self.calls[slot as usize]
    }

    /// Takes a free slot for call `serial`.
    pub(crate) fn occupy(&mut self, serial: u64) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let seed = u64::from(self.plan.run) << 32 | self.calls.len() as u64;
            let local = self.sip.local;
            self.calls.push(Call::new(local, self.plan.target, &self.contact, seed));
            u32::try_from(self.calls.len() - 1).unwrap_or(u32::MAX)
        });
        let (now, target) = (self.now, self.plan.target);
        self.call(slot).reset(serial, now, target);
        self.live += 1;
        slot
    }

    pub(crate) fn arm(&mut self, slot: u32, timer: Timer, after: u64) {
        let due = self.now + after;
        self.call(slot).due[timer as usize] = due;
        self.wheel.set(Fired { slot, kind: timer as u8, due });
    }

    pub(crate) fn disarm(&mut self, slot: u32, timer: Timer) {
        self.call(slot).due[timer as usize] = 0;
    }

    /// Lets a call's signalling act, and sees to its next deadline.
    pub(crate) fn signal<T>(
        &mut self,
        slot: u32,
        act: impl FnOnce(&mut Call, &mut Cx<'_>) -> T,
    ) -> T {
        let now = Now { mono: Mono(self.now), wall: Wall(0) };
        let mut cx = Cx { now, out: &mut self.sip, room: &mut self.room };
        let call = &mut self.calls[slot as usize];
        let result = act(call, &mut cx);
        self.totals.retransmissions_heard += u64::from(call.signal.repeats_heard);
        call.signal.repeats_heard = 0;
        // An entry of the wheel that comes too early looks again; only one that would come too late
        // is replaced.
        let (deadline, due) = (call.signal.deadline().0, &mut call.due[Timer::Signal as usize]);
        if deadline != Mono::NEVER.0 && (*due == 0 || deadline < *due) {
            *due = deadline;
            self.wheel.set(Fired { slot, kind: Timer::Signal as u8, due: deadline });
        }
        result
    }

    /// Time has passed for a call's signalling.
    pub(crate) fn on_signal_timer(&mut self, slot: u32) {
        let expired = self.signal(slot, |call, cx| call.signal.handle_timeout(cx));
        self.totals.retransmissions += u64::from(expired.repeats);
        let (phase, code) = (self.call(slot).phase, self.call(slot).code);
        match phase {
            Phase::Calling | Phase::Proceeding | Phase::Cancelling if expired.invite.is_some() => {
                self.fail(slot, 408);
            }
            Phase::Answered if expired.unacknowledged => {
                self.totals.unacknowledged += 1;
                self.send_bye(slot);
            }
            Phase::Answered if expired.timeouts > 0 && code >= 300 => {
                self.totals.unacknowledged += 1;
                self.finish(slot);
            }
            Phase::Ending if matches!(expired.request, Some((Method::Bye, _))) => {
                self.totals.bye_unanswered += 1;
                self.finish(slot);
            }
            _ => {}
        }
    }

    pub(crate) fn start_media(&mut self, slot: u32) {
        if let Some(leg) = self.call(slot).leg {
            self.media.start(leg);
        }
    }

    /// The call is being ended, by us or the other side: talk time stops, sending stops.
    pub(crate) fn hang_up(&mut self, slot: u32) {
        let now = self.now;
        let call = self.call(slot);
        if call.ended_wall == 0 {
            call.ended_wall = wall();
            if call.answer_ns > 0 {
                let talked = now.saturating_sub(call.answer_ns);
                call.talked_ns = talked;
                self.totals.talk_ns += u128::from(talked);
                self.totals.talk_s_ceil += talked.div_ceil(S);
            }
        }
        if let Some(leg) = self.calls[slot as usize].leg {
            self.media.stop(leg);
        }
    }

    pub(crate) fn send_bye(&mut self, slot: u32) {
        self.hang_up(slot);
        self.call(slot).phase = Phase::Ending;
        self.disarm(slot, Timer::GiveUp);
        let sent = self.signal(slot, |call, cx| call.signal.request(cx, Method::Bye, |it| it));
        if sent.is_none() {
            self.finish(slot);
        }
    }

    /// A response to our BYE.
    pub(crate) fn on_bye_response(&mut self, slot: u32, code: u16) {
        if code >= 200 && self.call(slot).phase == Phase::Ending {
            if code >= 300 {
                *self.totals.bye_refused.entry(code).or_default() += 1;
            }
            self.finish(slot);
        }
    }

    /// The call is over; what still comes is answered for a while.
    pub(crate) fn finish(&mut self, slot: u32) {
        if !self.call(slot).is_live() {
            return;
        }
        self.hang_up(slot);
        self.call(slot).phase = Phase::Done;
        self.live -= 1;
        for timer in [Timer::GiveUp, Timer::Act] {
            self.disarm(slot, timer);
        }
        if self.call(slot).leg.is_some() {
            self.arm(slot, Timer::Media, MEDIA_LINGER);
        }
        self.arm(slot, Timer::Forget, LINGER);
    }

    pub(crate) fn close_media(&mut self, slot: u32) {
        let call = self.call(slot);
        let (leg, ended, talked) = (call.leg.take(), call.ended_wall, call.talked_ns);
        let answered = call.answer_ns > 0;
        let record = leg.and_then(|leg| self.media.close(leg));
        if let Some(mut record) = record.filter(|_| answered) {
            record.ended_ns = ended;
            record.talked_ns = talked;
            self.records.push(record);
        }
    }

    pub(crate) fn forget(&mut self, slot: u32) {
        self.close_media(slot);
        let call = &mut self.calls[slot as usize];
        call.phase = Phase::Free;
        call.due = [0; TIMERS];
        call.signal.reset(1, &mut self.room);
        let key = call.key;
        if self.by_invite.get(&key) == Some(&slot) {
            self.by_invite.remove(&key);
        }
        self.free.push(slot);
    }

    /// A request of a call of ours.
    pub(crate) fn on_request(
        &mut self,
        slot: u32,
        request: &Message<'_>,
        method: Method<'_>,
        source: SocketAddr,
    ) {
        let asked = self.signal(slot, |call, cx| {
            call.signal.handle_request(cx, source, request.bytes(), request)
        });
        match asked {
            Request::Nothing => {}
            Request::AckOfRefusal => self.finish(slot),
            Request::Ack { awaited, .. } => {
                if awaited {
                    self.on_ack(slot, request);
                }
            }
            Request::New(cseq) => self.serve(slot, cseq, request, method),
        }
    }

    fn serve(&mut self, slot: u32, cseq: u32, request: &Message<'_>, method: Method<'_>) {
        match method {
            Method::Bye => {
                self.reply(slot, (cseq, method), 200, request);
                if matches!(self.call(slot).phase, Phase::Answered | Phase::Talking) {
                    self.totals.ended_by_peer += 1;
                }
                self.call(slot).signal.stop_accepted();
                self.finish(slot);
            }
            Method::Cancel => self.on_cancel(slot, cseq, request),
            Method::Invite | Method::Update => {
                self.totals.reinvites += 1;
                if let (Some(remote), Some(leg)) = (media_of(request), self.call(slot).leg) {
                    self.media.aim(leg, remote);
                }
                self.reply(slot, (cseq, method), 200, request);
            }
            Method::Options | Method::Info | Method::Notify | Method::Message => {
                self.reply(slot, (cseq, method), 200, request);
            }
            _ => self.reply(slot, (cseq, method), 405, request),
        }
    }

    /// Answers a request of a call: to INVITE and UPDATE, 200 carries our description.
    pub(crate) fn reply(
        &mut self,
        slot: u32,
        (cseq, method): (u32, Method<'_>),
        code: u16,
        request: &Message<'_>,
    ) {
        let describes = code == 200 && matches!(method, Method::Invite | Method::Update);
        let answer = Answer { code, tag: None, request: Some(request) };
        self.signal(slot, |call, cx| {
            let sdp = &call.sdp;
            call.signal.respond(cx, cseq, method, answer, |writer| {
                let writer = if code < 300 { writer.field(Name::Allow, ALLOW) } else { writer };
                if describes { writer.content(b"application/sdp", sdp) } else { writer }
            });
        });
    }

    /// Answers a request that is of no call.
    pub(crate) fn reply_stray(&mut self, request: &Message<'_>, source: SocketAddr, code: u16) {
        let reply = Reply::new(code, Some(&self.tag), Some(source));
        let contact = &self.contact;
        self.sip.send(source, |out| {
            let mut writer: Writer<'_> = reply_to(out, request, &reply);
            if code < 300 {
                writer = writer.contact(contact).field(Name::Allow, ALLOW);
            }
            writer.finish().map_or(0, <[u8]>::len)
        });
    }
}
