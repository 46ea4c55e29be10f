//! The caller: INVITE, ACK, CANCEL, BYE.
//!
//! ```text
//!   Calling --1xx--> Proceeding --2xx--> Talking --duration--> Ending --200--> Done
//!      |                 |  \--cancel--> Cancelling --487--> Done
//!      +------>=300------+-----------------------------------> Done
//! ```

use std::net::SocketAddr;

use agent::signal::{Response, with_lines};
use sip::{Message, Method, Name};

use super::call::{ALLOW, Phase, Timer};
use super::dialog::{describe, media_of, set};
use super::plan::Hangup;
use super::role::Role;
use super::schedule::Schedule;
use crate::clock::MS;

/// How often INVITEs leave at most within one look at the clock: a burst would measure our own
/// queue.
const BURST_MAX: u32 = 256;
/// A call that leaves this long after it was due was held back.
const LATE: u64 = 50 * MS;

impl Role {
    /// Places the calls that are due.
    pub(crate) fn place_calls(&mut self) {
        for _ in 0..BURST_MAX {
            if self.is_placed() {
                return;
            }
            let due = self.due();
            if due > self.now {
                self.is_held = false;
                return;
            }
            if self.live >= self.plan.concurrent {
                self.is_held = true;
                return;
            }
            if self.plan.rate > 0.0 && self.now - due > LATE {
                let totals = &mut self.totals;
                *(if self.is_held { &mut totals.held_back } else { &mut totals.missed }) += 1;
            }
            self.place(due);
        }
    }

    /// When the next call is due; without a rate, now.
    pub(crate) fn due(&self) -> u64 {
        match self.plan.rate > 0.0 {
            true => self.started + Schedule::new(self.plan.rate, self.plan.ramp).due(self.serial),
            false => self.now,
        }
    }

    /// No further call is to be placed.
    pub(crate) fn is_placed(&self) -> bool {
        !self.plan.calls_placed
            || self.shared.is_stopping()
            || (self.plan.calls > 0 && self.serial >= self.plan.calls)
    }

    fn place(&mut self, due: u64) {
        let serial = self.serial;
        self.serial += 1;
        let slot = self.occupy(serial);
        self.call(slot).due_ns = due;
        self.totals.attempted += 1;
        let mut port = 9;
        if self.plan.media {
            let stream = u32::try_from(serial & 0x7fff_ffff).unwrap_or(0) + 1;
            match self.media.open(stream) {
                Ok((leg, at)) => {
                    self.call(slot).leg = Some(leg);
                    port = at;
                }
                Err(error) => {
                    self.shared.limit(&format!("no RTP socket: {error:#}"));
                    self.fail(slot, 503);
                    return;
                }
            }
        }
        let number = (serial + 1).to_string();
        let to = self.plan.to.replace("{n}", &number);
        let from = self.plan.from.replace("{n}", &number);
        let id = format!("{:08x}-{serial:x}-{slot:x}@tandem-load", self.plan.run);
        let tag = format!("{:08x}{serial:x}", self.plan.run);
        let body = describe(self.sip.local, port, u32::try_from(serial & 0xffff_ffff).unwrap_or(0));
        let call = self.call(slot);
        set(&mut call.signal.call_id, id.as_bytes());
        set(&mut call.signal.tag, tag.as_bytes());
        call.sdp = body;
        let plan = self.plan.clone();
        self.signal(slot, |call, cx| {
            let sdp = &call.sdp;
            call.signal.invite(cx, to.as_bytes(), from.as_bytes(), |writer| {
                let writer =
                    writer.field(Name::Allow, ALLOW).field(Name::UserAgent, b"tandem-load");
                with_lines(writer, &plan.headers).content(b"application/sdp", sdp)
            });
        });
    }

    /// A response to a request of a call.
    pub(crate) fn on_response(&mut self, slot: u32, message: &Message<'_>, source: SocketAddr) {
        let response = self.signal(slot, |call, cx| call.signal.handle_response(cx, message));
        match response {
            Response::Provisional { code, .. } => self.on_provisional(slot, code),
            Response::Accepted { cseq, .. } => self.on_accepted(slot, cseq, message, source),
            Response::Refused { code, .. } => self.on_refused(slot, code),
            Response::Final { method: Method::Bye, code, .. } => self.on_bye_response(slot, code),
            Response::Final { .. } | Response::Nothing => {}
        }
    }

    fn on_provisional(&mut self, slot: u32, code: u16) {
        let now = self.now;
        let call = self.call(slot);
        if call.phase == Phase::Calling {
            call.phase = Phase::Proceeding;
            let limit = self.plan.answer_timeout;
            self.arm(slot, Timer::GiveUp, limit);
            if let Some(after) = self.plan.cancel_after {
                self.arm(slot, Timer::Act, after);
            }
        }
        let call = self.call(slot);
        if code > 100 && !call.ringing {
            call.ringing = true;
            let since = now.saturating_sub(call.due_ns);
            self.totals.ring_us.saturating_record(since / 1_000);
        }
    }

    fn on_accepted(&mut self, slot: u32, cseq: u32, message: &Message<'_>, source: SocketAddr) {
        let phase = self.call(slot).phase;
        let now = self.now;
        let call = self.call(slot);
        call.aim(source);
        call.answer_ns = now;
        call.phase = Phase::Talking;
        let took = now.saturating_sub(call.due_ns) / 1_000;
        let (leg, serial) = (call.leg, call.serial);
        self.totals.answered += 1;
        self.totals.setup_us.saturating_record(took);
        self.disarm(slot, Timer::GiveUp);
        self.signal(slot, |call, cx| call.signal.ack(cx, cseq, |writer| writer));
        if let Some(leg) = leg {
            match media_of(message) {
                Some(remote) => self.media.aim(leg, remote),
                None => self.totals.without_sdp += 1,
            }
        }
        if phase == Phase::Cancelling {
            // The answer crossed our CANCEL (RFC 3261 section 9.1): end it properly.
            self.totals.cancel_crossed += 1;
            self.send_bye(slot);
            return;
        }
        self.start_media(slot);
        let ours = match self.plan.hangup {
            Hangup::Caller => true,
            Hangup::Callee => false,
            Hangup::Both => serial.is_multiple_of(2),
        };
        let duration = self.plan.duration;
        // Where the callee hangs up, the caller does so a little later if that never comes.
        self.arm(slot, Timer::Act, if ours { duration } else { duration + 5_000 * MS });
    }

    fn on_refused(&mut self, slot: u32, code: u16) {
        match self.call(slot).phase {
            Phase::Calling | Phase::Proceeding => self.fail(slot, code),
            Phase::Cancelling => {
                self.totals.cancelled += 1;
                self.finish(slot);
            }
            _ => {}
        }
    }

    /// The call did not come about.
    pub(crate) fn fail(&mut self, slot: u32, code: u16) {
        *self.totals.failed.entry(code).or_default() += 1;
        self.call(slot).code = code;
        self.finish(slot);
    }

    pub(crate) fn on_caller_timer(&mut self, slot: u32, timer: Timer) {
        match (self.call(slot).phase, timer) {
            (Phase::Proceeding, Timer::GiveUp | Timer::Act) => self.cancel(slot, timer),
            (Phase::Talking, Timer::Act) => self.send_bye(slot),
            _ => {}
        }
    }

    /// Cancels: as asked for, or because nobody answers.
    fn cancel(&mut self, slot: u32, timer: Timer) {
        if timer == Timer::GiveUp {
            self.totals.unanswered += 1;
        }
        self.call(slot).phase = Phase::Cancelling;
        self.disarm(slot, Timer::GiveUp);
        let sent = self.signal(slot, |call, cx| call.signal.cancel(cx, |writer| writer));
        if !sent {
            self.fail(slot, 408);
        }
    }

    /// The run was interrupted: ends what stands.
    pub(crate) fn end_all(&mut self) {
        for slot in 0..u32::try_from(self.calls.len()).unwrap_or(u32::MAX) {
            match self.call(slot).phase {
                Phase::Proceeding => self.cancel(slot, Timer::Act),
                Phase::Talking => self.send_bye(slot),
                _ => {}
            }
        }
    }
}
