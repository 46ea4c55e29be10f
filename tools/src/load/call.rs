//! One call as one role sees it, and what both roles do with it: BYE, requests inside the dialog,
//! the end.

use std::net::SocketAddr;

use sip::{Message, Method, Name, Reply, reply_to};

use super::agent::Agent;
use super::dialog::{Dialog, media_of, set};
use super::wheel::Fired;
use crate::clock::{MS, S, wall};

/// RFC 3261 T1, T2 and 64 T1.
pub(crate) const T1: u64 = 500 * MS;
pub(crate) const T2: u64 = 4 * S;
pub(crate) const GIVE_UP: u64 = 64 * T1;
/// How long a leg listens after the hang-up.
const MEDIA_LINGER: u64 = 250 * MS;
/// How long an ended call answers retransmissions.
const LINGER: u64 = 5 * S;

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
    /// Send the last message again.
    Again,
    /// Give the transaction up.
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
            0 => Self::Again,
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
    pub(crate) dialog: Dialog,
    /// Deadline of each timer; 0 for none.
    pub(crate) due: [u64; TIMERS],
    pub(crate) interval: u64,
    pub(crate) invite_ns: u64,
    pub(crate) ringing: bool,
    /// When it was answered; 0 if it was not.
    pub(crate) answer_ns: u64,
    pub(crate) leg: Option<u32>,
    pub(crate) ended_wall: u64,
    pub(crate) talked_ns: u64,
    pub(crate) sdp: Vec<u8>,
    /// The callee's 200 and 487, written while the INVITE was at hand.
    pub(crate) accepted: Vec<u8>,
    pub(crate) terminated: Vec<u8>,
    /// The callee's final response, or the caller's final code.
    pub(crate) last: Vec<u8>,
    pub(crate) last_to: Option<SocketAddr>,
    pub(crate) code: u16,
    /// Key in the table of INVITEs (callee).
    pub(crate) key: u64,
    /// CSeq of our BYE.
    pub(crate) bye_cseq: u32,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Free,
            serial: 0,
            dialog: Dialog::default(),
            due: [0; TIMERS],
            interval: T1,
            invite_ns: 0,
            ringing: false,
            answer_ns: 0,
            leg: None,
            ended_wall: 0,
            talked_ns: 0,
            sdp: Vec::new(),
            accepted: Vec::new(),
            terminated: Vec::new(),
            last: Vec::new(),
            last_to: None,
            code: 0,
            key: 0,
            bye_cseq: 0,
        }
    }

    pub(crate) fn reset(&mut self, serial: u64, now: u64) {
        self.phase = Phase::Calling;
        self.serial = serial;
        self.dialog.clear();
        self.due = [0; TIMERS];
        self.interval = T1;
        self.invite_ns = now;
        self.ringing = false;
        self.answer_ns = 0;
        self.leg = None;
        self.ended_wall = 0;
        self.talked_ns = 0;
        self.sdp.clear();
        self.accepted.clear();
        self.terminated.clear();
        self.last.clear();
        self.last_to = None;
        self.code = 0;
        self.key = 0;
        self.bye_cseq = 0;
    }

    /// Neither free nor over.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Free | Phase::Done)
    }
}

impl Agent {
    pub(crate) fn call(&mut self, slot: u32) -> &mut Call {
        &mut self.calls[slot as usize]
    }

    /// Takes a free slot for call `serial`.
    pub(crate) fn occupy(&mut self, serial: u64) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Call::new());
            u32::try_from(self.calls.len() - 1).unwrap_or(u32::MAX)
        });
        let now = self.now;
        self.call(slot).reset(serial, now);
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
        let call = self.call(slot);
        call.phase = Phase::Ending;
        call.interval = T1;
        call.dialog.cseq += 1;
        call.bye_cseq = call.dialog.cseq;
        self.write_bye(slot);
        self.arm(slot, Timer::Again, T1);
        self.arm(slot, Timer::GiveUp, GIVE_UP);
    }

    fn write_bye(&mut self, slot: u32) {
        let branch = self.branch(slot, b'b');
        let (run_local, call) = (self.sip.local, &self.calls[slot as usize]);
        let Some(hop) = call.dialog.hop else { return };
        self.totals.messages += 1;
        self.sip.send(hop, |out| {
            call.dialog
                .request(out, Method::Bye, call.bye_cseq, run_local, &branch)
                .finish()
                .map_or(0, <[u8]>::len)
        });
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

    /// A timer while our BYE is out; the shared half of the roles' timer functions.
    pub(crate) fn on_ending_timer(&mut self, slot: u32, timer: Timer) {
        match timer {
            Timer::Again => {
                self.totals.retransmissions += 1;
                self.write_bye(slot);
                let call = self.call(slot);
                call.interval = (call.interval * 2).min(T2);
                let interval = call.interval;
                self.arm(slot, Timer::Again, interval);
            }
            Timer::GiveUp => {
                self.totals.bye_unanswered += 1;
                self.finish(slot);
            }
            _ => {}
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
        for timer in [Timer::Again, Timer::GiveUp, Timer::Act] {
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
        let call = self.call(slot);
        call.phase = Phase::Free;
        let key = call.key;
        if self.by_invite.get(&key) == Some(&slot) {
            self.by_invite.remove(&key);
        }
        self.free.push(slot);
    }

    /// A request inside a dialog of ours, but ACK.
    pub(crate) fn on_request(
        &mut self,
        slot: u32,
        request: &Message<'_>,
        method: Method<'_>,
        source: SocketAddr,
    ) {
        match method {
            Method::Bye => {
                self.reply(request, source, Some(slot), 200, false);
                if matches!(self.call(slot).phase, Phase::Answered | Phase::Talking) {
                    self.totals.ended_by_peer += 1;
                }
                self.finish(slot);
            }
            Method::Invite | Method::Update => {
                self.totals.reinvites += 1;
                self.call(slot).dialog.learn_target(request);
                if let (Some(remote), Some(leg)) = (media_of(request), self.call(slot).leg) {
                    self.media.aim(leg, remote);
                }
                self.reply(request, source, Some(slot), 200, true);
            }
            Method::Options | Method::Info | Method::Notify | Method::Message => {
                self.reply(request, source, Some(slot), 200, false);
            }
            _ => self.reply(request, source, Some(slot), 405, false),
        }
    }

    /// Answers `request`; `slot` gives the tag, and the body if `with_sdp`.
    pub(crate) fn reply(
        &mut self,
        request: &Message<'_>,
        source: SocketAddr,
        slot: Option<u32>,
        code: u16,
        with_sdp: bool,
    ) {
        let call = slot.map(|slot| &self.calls[slot as usize]);
        let tag = call.map_or(self.tag.as_slice(), |call| &call.dialog.local_tag);
        let reply = Reply::new(code, Some(tag), Some(source));
        let contact = &self.contact;
        self.totals.messages += 1;
        self.sip.send(source, |out| {
            let mut writer = reply_to(out, request, &reply);
            if code < 300 {
                writer = writer
                    .contact(contact)
                    .field(Name::Allow, b"INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO");
            }
            match call.filter(|_| with_sdp) {
                Some(call) => writer.content(b"application/sdp", &call.sdp),
                None => writer,
            }
            .finish()
            .map_or(0, <[u8]>::len)
        });
    }

    /// A branch of our own: run, call and message.
    pub(crate) fn branch(&self, slot: u32, message: u8) -> Vec<u8> {
        let call = &self.calls[slot as usize];
        format!(
            "z9hG4bK{:08x}{:x}.{slot:x}{}{}",
            self.plan.run,
            call.serial,
            char::from(message),
            call.dialog.cseq
        )
        .into_bytes()
    }
}

impl Dialog {
    /// A target refresh (RFC 3261 section 12.2).
    fn learn_target(&mut self, request: &Message<'_>) {
        if let Ok(contact) = request.contact() {
            set(&mut self.target, contact.uri);
        }
    }
}
