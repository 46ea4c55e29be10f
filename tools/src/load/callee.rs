//! The callee: answers INVITE, takes ACK, CANCEL and BYE.
//!
//! ```text
//!   Ringing --answer--> Answered --ACK--> Talking --BYE / duration--> Done
//!      \--CANCEL: 487, or a refusal--> Done
//! ```

use std::hash::BuildHasher;
use std::net::SocketAddr;

use sip::{Message, Method, Name, Reply, reply_to};

use super::agent::Agent;
use super::call::{GIVE_UP, Phase, T1, T2, Timer};
use super::dialog::{describe, media_of, set};
use super::plan::Hangup;

/// Streams of callees are told from those of callers by this bit.
const CALLEE_STREAM: u32 = 1 << 31;

impl Agent {
    /// A request that names no dialog of ours.
    pub(crate) fn on_new_request(
        &mut self,
        request: &Message<'_>,
        method: Method<'_>,
        source: SocketAddr,
    ) {
        match method {
            Method::Invite if self.is_callee => self.on_invite(request, source),
            Method::Cancel => self.on_cancel(request, source),
            Method::Options => {
                self.totals.options += 1;
                self.reply(request, source, None, 200, false);
            }
            Method::Ack => {
                if let Some(slot) = self.known_invite(request) {
                    self.on_ack(slot, request);
                }
            }
            Method::Invite => self.reply(request, source, None, 486, false),
            _ => self.reply(request, source, None, 481, false),
        }
    }

    fn invite_key(&self, request: &Message<'_>) -> u64 {
        let id = request.call_id().unwrap_or_default();
        self.hasher.hash_one((id, request.from_tag().unwrap_or_default()))
    }

    fn known_invite(&self, request: &Message<'_>) -> Option<u32> {
        self.by_invite.get(&self.invite_key(request)).copied()
    }

    fn on_invite(&mut self, request: &Message<'_>, source: SocketAddr) {
        if let Some(slot) = self.known_invite(request) {
            self.totals.retransmissions_heard += 1;
            let call = &self.calls[slot as usize];
            if call.last.is_empty() {
                self.reply(request, source, Some(slot), 180, false);
            } else {
                self.send_last(slot);
            }
            return;
        }
        let serial = self.serial;
        self.serial += 1;
        self.totals.attempted += 1;
        let slot = self.occupy(serial);
        let key = self.invite_key(request);
        self.by_invite.insert(key, slot);
        let tag = format!("{:08x}{serial:x}.{slot:x}", self.plan.run);
        let call = self.call(slot);
        call.phase = Phase::Ringing;
        call.key = key;
        call.last_to = Some(source);
        set(&mut call.dialog.local_tag, tag.as_bytes());
        set(&mut call.dialog.call_id, request.call_id().unwrap_or_default());
        set(&mut call.dialog.remote_tag, request.from_tag().unwrap_or_default());
        set(&mut call.dialog.remote_uri, request.from().map_or(b"".as_slice(), |a| a.uri));
        set(&mut call.dialog.local_uri, request.to().map_or(b"".as_slice(), |a| a.uri));
        call.dialog.learn(request, false, source);
        if let Some(code) = self.plan.reject {
            self.refuse(slot, request, code);
            return;
        }
        if !self.open_media(slot, request) {
            self.refuse(slot, request, 488);
            return;
        }
        self.reply(request, source, Some(slot), 180, false);
        self.write_answer(slot, request, source);
        if self.plan.no_answer {
            self.arm(slot, Timer::GiveUp, 300 * crate::clock::S);
        } else if self.plan.ring == 0 {
            self.answer(slot);
        } else {
            let ring = self.plan.ring;
            self.arm(slot, Timer::Act, ring);
        }
    }

    fn open_media(&mut self, slot: u32, request: &Message<'_>) -> bool {
        let serial = self.call(slot).serial;
        let mut port = 9;
        if self.plan.media {
            let Some(remote) = media_of(request) else { return false };
            let stream = CALLEE_STREAM | (u32::try_from(serial & 0x3fff_ffff).unwrap_or(0) + 1);
            let Ok((leg, at)) = self.media.open(stream) else { return false };
            self.media.aim(leg, remote);
            self.call(slot).leg = Some(leg);
            port = at;
        }
        let body = describe(self.sip.local, port, u32::try_from(serial & 0xffff_ffff).unwrap_or(0));
        self.call(slot).sdp = body;
        true
    }

    /// Writes the 200 while the INVITE is at hand; it is sent now or after ringing.
    fn write_answer(&mut self, slot: u32, request: &Message<'_>, source: SocketAddr) {
        let mut out = [0; super::socket::SIP_BYTES_MAX];
        let call = &mut self.calls[slot as usize];
        let reply = Reply::new(200, Some(&call.dialog.local_tag), Some(source));
        let written = reply_to(&mut out, request, &reply)
            .contact(&self.contact)
            .field(Name::Allow, b"INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")
            .content(b"application/sdp", &call.sdp)
            .finish();
        call.accepted.clear();
        call.accepted.extend_from_slice(written.unwrap_or_default());
        if self.plan.ring == 0 && !self.plan.no_answer {
            return;
        }
        // 487 is written now as well: a CANCEL does not carry the INVITE's CSeq line.
        let reply = Reply::new(487, Some(&call.dialog.local_tag), Some(source));
        let written = reply_to(&mut out, request, &reply).finish();
        call.terminated.clear();
        call.terminated.extend_from_slice(written.unwrap_or_default());
    }

    fn answer(&mut self, slot: u32) {
        let now = self.now;
        let call = self.call(slot);
        call.phase = Phase::Answered;
        call.answer_ns = now;
        call.last = core::mem::take(&mut call.accepted);
        self.totals.answered += 1;
        self.send_last(slot);
        self.arm(slot, Timer::Again, T1);
        self.arm(slot, Timer::GiveUp, GIVE_UP);
    }

    fn refuse(&mut self, slot: u32, request: &Message<'_>, code: u16) {
        let mut out = [0; super::socket::SIP_BYTES_MAX];
        let call = &mut self.calls[slot as usize];
        let reply = Reply::new(code, Some(&call.dialog.local_tag), call.last_to);
        let written = reply_to(&mut out, request, &reply).finish().unwrap_or_default();
        set(&mut call.last, written);
        self.send_refusal(slot, code);
    }

    fn send_refusal(&mut self, slot: u32, code: u16) {
        *self.totals.failed.entry(code).or_default() += 1;
        let call = self.call(slot);
        call.phase = Phase::Answered;
        call.code = code;
        self.send_last(slot);
        self.arm(slot, Timer::Again, T1);
        self.arm(slot, Timer::GiveUp, GIVE_UP);
    }

    fn send_last(&mut self, slot: u32) {
        let call = &self.calls[slot as usize];
        let Some(to) = call.last_to else { return };
        self.totals.messages += 1;
        self.sip.send(to, |out| {
            let Some(out) = out.get_mut(..call.last.len()) else { return 0 };
            out.copy_from_slice(&call.last);
            call.last.len()
        });
    }

    pub(crate) fn on_ack(&mut self, slot: u32, request: &Message<'_>) {
        let call = self.call(slot);
        if call.phase != Phase::Answered {
            return;
        }
        if call.code >= 300 {
            self.finish(slot);
            return;
        }
        call.phase = Phase::Talking;
        let (leg, serial) = (call.leg, call.serial);
        if let (Some(remote), Some(leg)) = (media_of(request), leg) {
            self.media.aim(leg, remote);
        }
        self.disarm(slot, Timer::Again);
        self.disarm(slot, Timer::GiveUp);
        self.start_media(slot);
        let ours = match self.plan.hangup {
            Hangup::Caller => false,
            Hangup::Callee => true,
            Hangup::Both => !serial.is_multiple_of(2),
        };
        if ours {
            let duration = self.plan.duration;
            self.arm(slot, Timer::Act, duration);
        }
    }

    fn on_cancel(&mut self, request: &Message<'_>, source: SocketAddr) {
        let Some(slot) = self.known_invite(request) else {
            self.reply(request, source, None, 481, false);
            return;
        };
        self.reply(request, source, Some(slot), 200, false);
        let call = self.call(slot);
        if call.phase == Phase::Ringing {
            self.totals.cancelled += 1;
            let call = self.call(slot);
            call.last = core::mem::take(&mut call.terminated);
            self.send_refusal(slot, 487);
        }
    }

    pub(crate) fn on_callee_timer(&mut self, slot: u32, timer: Timer) {
        match (self.call(slot).phase, timer) {
            (Phase::Ringing, Timer::Act) => self.answer(slot),
            (Phase::Answered, Timer::Again) => {
                self.totals.retransmissions += 1;
                self.send_last(slot);
                let call = self.call(slot);
                call.interval = (call.interval * 2).min(T2);
                let interval = call.interval;
                self.arm(slot, Timer::Again, interval);
            }
            (Phase::Answered, Timer::GiveUp) => {
                self.totals.unacknowledged += 1;
                if self.call(slot).code >= 300 {
                    self.finish(slot);
                } else {
                    self.send_bye(slot);
                }
            }
            (Phase::Ringing, Timer::GiveUp) => self.finish(slot),
            (Phase::Talking, Timer::Act) => self.send_bye(slot),
            _ => {}
        }
    }
}
