//! The callee: answers INVITE, takes ACK, CANCEL and BYE.
//!
//! ```text
//!   Ringing --answer--> Answered --ACK--> Talking --BYE / duration--> Done
//!      \--CANCEL: 487, or a refusal--> Done
//! ```

use std::hash::BuildHasher;
use std::net::SocketAddr;

use agent::signal::Answer;
use sip::{Message, Method, Name};

use super::call::{ALLOW, Phase, Timer};
use super::dialog::{describe, media_of, set};
use super::plan::Hangup;
use super::role::Role;

/// Streams of callees are told from those of callers by this bit.
const CALLEE_STREAM: u32 = 1 << 31;

impl Role {
    /// A request that names no dialog of ours.
    pub(crate) fn on_new_request(
        &mut self,
        request: &Message<'_>,
        method: Method<'_>,
        source: SocketAddr,
    ) {
        match method {
            Method::Invite if self.is_callee => self.on_invite(request, source),
            Method::Options => {
                self.totals.options += 1;
                self.reply_stray(request, source, 200);
            }
            Method::Cancel | Method::Ack => match self.known_invite(request) {
                Some(slot) => self.on_request(slot, request, method, source),
                None if method == Method::Cancel => self.reply_stray(request, source, 481),
                None => {}
            },
            Method::Invite => self.reply_stray(request, source, 486),
            _ => self.reply_stray(request, source, 481),
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
            self.on_request(slot, request, Method::Invite, source);
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
        set(&mut call.signal.tag, tag.as_bytes());
        self.signal(slot, |call, cx| {
            call.invite_cseq = call.signal.begin(cx, source, request.bytes(), request);
            call.aim(source);
        });
        if let Some(code) = self.plan.reject {
            self.refuse(slot, code);
            return;
        }
        if !self.open_media(slot, request) {
            self.refuse(slot, 488);
            return;
        }
        self.respond(slot, 180, Some(request));
        if self.plan.no_answer {
            self.arm(slot, Timer::GiveUp, 300 * crate::clock::S);
        } else if self.plan.ring == 0 {
            self.answer(slot, Some(request));
        } else {
            let ring = self.plan.ring;
            self.arm(slot, Timer::Act, ring);
        }
    }

    /// Answers the INVITE.
    fn respond(&mut self, slot: u32, code: u16, request: Option<&Message<'_>>) {
        let answer = Answer { code, tag: None, request };
        self.signal(slot, |call, cx| {
            let (cseq, sdp) = (call.invite_cseq, &call.sdp);
            call.signal.respond(cx, cseq, Method::Invite, answer, |writer| {
                let writer = if code < 300 { writer.field(Name::Allow, ALLOW) } else { writer };
                if code == 200 { writer.content(b"application/sdp", sdp) } else { writer }
            });
        });
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

    fn answer(&mut self, slot: u32, request: Option<&Message<'_>>) {
        let now = self.now;
        let call = self.call(slot);
        call.phase = Phase::Answered;
        call.answer_ns = now;
        self.totals.answered += 1;
        self.respond(slot, 200, request);
    }

    fn refuse(&mut self, slot: u32, code: u16) {
        *self.totals.failed.entry(code).or_default() += 1;
        let call = self.call(slot);
        call.phase = Phase::Answered;
        call.code = code;
        self.respond(slot, code, None);
    }

    /// The ACK of our 200.
    pub(crate) fn on_ack(&mut self, slot: u32, request: &Message<'_>) {
        let call = self.call(slot);
        if call.phase != Phase::Answered {
            return;
        }
        call.phase = Phase::Talking;
        let (leg, serial) = (call.leg, call.serial);
        if let (Some(remote), Some(leg)) = (media_of(request), leg) {
            self.media.aim(leg, remote);
        }
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

    pub(crate) fn on_cancel(&mut self, slot: u32, cseq: u32, request: &Message<'_>) {
        self.reply(slot, (cseq, Method::Cancel), 200, request);
        if self.call(slot).phase == Phase::Ringing {
            self.totals.cancelled += 1;
            self.refuse(slot, 487);
        }
    }

    pub(crate) fn on_callee_timer(&mut self, slot: u32, timer: Timer) {
        match (self.call(slot).phase, timer) {
            (Phase::Ringing, Timer::Act) => self.answer(slot, None),
            (Phase::Ringing, Timer::GiveUp) => self.finish(slot),
            (Phase::Talking, Timer::Act) => self.send_bye(slot),
            _ => {}
        }
    }
}
