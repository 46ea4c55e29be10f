//! The caller: INVITE, ACK, CANCEL, BYE.
//!
//! ```text
//!   Calling --1xx--> Proceeding --2xx--> Talking --duration--> Ending --200--> Done
//!      |                 |  \--cancel--> Cancelling --487--> Done
//!      +------>=300------+-----------------------------------> Done
//! ```

use std::net::SocketAddr;

use sip::via::Transport;
use sip::{Message, Method, Name, ViaOut, Writer};

use super::agent::Agent;
use super::call::{GIVE_UP, Phase, T1, Timer};
use super::dialog::{Dialog, describe, media_of, set};
use super::plan::Hangup;
use crate::clock::MS;

/// How often INVITEs leave at most within one look at the clock: a burst would measure our own
/// queue.
const BURST_MAX: u32 = 256;

impl Agent {
    /// Places the calls that are due.
    pub(crate) fn place_calls(&mut self) {
        if self.is_placed() {
            return;
        }
        let elapsed = self.now.saturating_sub(self.placed_until);
        self.placed_until = self.now;
        let rate = self.rate_now();
        if rate > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "microseconds matter, not more")]
            let due = rate * elapsed as f64 / 1e9;
            let most = (rate * 0.05).max(1.0);
            self.credit += due;
            if self.credit > most {
                let held = self.live >= self.plan.concurrent;
                *(if held { &mut self.totals.held_back } else { &mut self.totals.missed }) +=
                    self.credit - most;
                self.credit = most;
            }
        } else {
            self.credit = f64::from(BURST_MAX);
        }
        let mut burst = BURST_MAX;
        while self.credit >= 1.0
            && burst > 0
            && !self.is_placed()
            && self.live < self.plan.concurrent
        {
            self.credit -= 1.0;
            burst -= 1;
            self.place();
        }
    }

    /// Calls per second at this moment of the ramp.
    fn rate_now(&self) -> f64 {
        let since = self.now.saturating_sub(self.started);
        if self.plan.ramp == 0 || since >= self.plan.ramp {
            return self.plan.rate;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of the ramp")]
        let share = since as f64 / self.plan.ramp as f64;
        self.plan.rate * share
    }

    /// No further call is to be placed.
    pub(crate) fn is_placed(&self) -> bool {
        !self.plan.calls_placed
            || self.shared.is_stopping()
            || (self.plan.calls > 0 && self.serial >= self.plan.calls)
    }

    fn place(&mut self) {
        let serial = self.serial;
        self.serial += 1;
        let slot = self.occupy(serial);
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
        let target = self.plan.target;
        let call = self.call(slot);
        set(&mut call.dialog.remote_uri, to.as_bytes());
        set(&mut call.dialog.target, to.as_bytes());
        set(&mut call.dialog.local_uri, from.as_bytes());
        set(&mut call.dialog.call_id, id.as_bytes());
        set(&mut call.dialog.local_tag, tag.as_bytes());
        call.dialog.hop = Some(target);
        call.sdp = body;
        self.write_invite(slot);
        self.arm(slot, Timer::Again, T1);
        self.arm(slot, Timer::GiveUp, GIVE_UP);
    }

    fn write_invite(&mut self, slot: u32) {
        let branch = self.branch(slot, b'i');
        let (local, call) = (self.sip.local, &self.calls[slot as usize]);
        let (contact, headers) = (&self.contact, &self.plan.headers);
        self.totals.messages += 1;
        self.sip.send(self.plan.target, |out| {
            let mut writer = call
                .dialog
                .request(out, Method::Invite, 1, local, &branch)
                .contact(contact)
                .field(Name::Allow, b"INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")
                .field(Name::UserAgent, b"tandem-load");
            for line in headers {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                writer =
                    writer.header_text(name.trim().as_bytes(), &[value.trim().as_bytes().into()]);
            }
            writer.content(b"application/sdp", &call.sdp).finish().map_or(0, <[u8]>::len)
        });
    }

    /// ACK of a 2xx (a request of its own) or of a refusal (part of the INVITE's transaction).
    fn write_ack(&mut self, slot: u32, accepted: bool, to: &[u8]) {
        let branch = self.branch(slot, if accepted { b'a' } else { b'i' });
        let (local, call) = (self.sip.local, &self.calls[slot as usize]);
        let target = self.plan.target;
        let hop = if accepted { call.dialog.hop.unwrap_or(target) } else { target };
        self.totals.messages += 1;
        self.sip.send(hop, |out| {
            if accepted {
                let writer = call.dialog.request(out, Method::Ack, 1, local, &branch);
                return writer.finish().map_or(0, <[u8]>::len);
            }
            of_invite(out, Method::Ack, &call.dialog, local, &branch, to)
        });
    }

    fn write_cancel(&mut self, slot: u32) {
        let branch = self.branch(slot, b'i');
        let (local, call) = (self.sip.local, &self.calls[slot as usize]);
        let mut to = b"<".to_vec();
        to.extend_from_slice(&call.dialog.remote_uri);
        to.push(b'>');
        self.totals.messages += 1;
        self.sip.send(self.plan.target, |out| {
            of_invite(out, Method::Cancel, &call.dialog, local, &branch, &to)
        });
    }

    /// A response to a caller's request.
    pub(crate) fn on_response(&mut self, slot: u32, message: &Message<'_>, source: SocketAddr) {
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else { return };
        match cseq.method {
            Method::Invite if code < 200 => self.on_provisional(slot, code),
            Method::Invite if code < 300 => self.on_accepted(slot, message, source),
            Method::Invite => self.on_refused(slot, message, code),
            Method::Bye => self.on_bye_response(slot, code),
            _ => {}
        }
    }

    fn on_provisional(&mut self, slot: u32, code: u16) {
        let now = self.now;
        let call = self.call(slot);
        if call.phase == Phase::Calling {
            call.phase = Phase::Proceeding;
            self.disarm(slot, Timer::Again);
            let limit = self.plan.answer_timeout;
            self.arm(slot, Timer::GiveUp, limit);
            if let Some(after) = self.plan.cancel_after {
                self.arm(slot, Timer::Act, after);
            }
        }
        let call = self.call(slot);
        if code > 100 && !call.ringing {
            call.ringing = true;
            let since = now.saturating_sub(call.invite_ns);
            self.totals.ring_us.saturating_record(since / 1_000);
        }
    }

    fn on_accepted(&mut self, slot: u32, message: &Message<'_>, source: SocketAddr) {
        let phase = self.call(slot).phase;
        if !matches!(phase, Phase::Calling | Phase::Proceeding | Phase::Cancelling) {
            // The ACK was lost.
            self.totals.retransmissions_heard += 1;
            if self.call(slot).answer_ns > 0 {
                self.write_ack(slot, true, b"");
            }
            return;
        }
        let now = self.now;
        let call = self.call(slot);
        set(&mut call.dialog.remote_tag, message.to_tag().unwrap_or_default());
        call.dialog.learn(message, true, source);
        call.answer_ns = now;
        call.phase = Phase::Talking;
        let took = now.saturating_sub(call.invite_ns) / 1_000;
        let (leg, serial) = (call.leg, call.serial);
        self.totals.answered += 1;
        self.totals.setup_us.saturating_record(took);
        self.disarm(slot, Timer::Again);
        self.disarm(slot, Timer::GiveUp);
        self.write_ack(slot, true, b"");
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

    fn on_refused(&mut self, slot: u32, message: &Message<'_>, code: u16) {
        let to = message.header(Name::To).unwrap_or_default();
        self.write_ack(slot, false, to);
        let phase = self.call(slot).phase;
        match phase {
            Phase::Calling | Phase::Proceeding => self.fail(slot, code),
            Phase::Cancelling => {
                self.totals.cancelled += 1;
                self.finish(slot);
            }
            _ => self.totals.retransmissions_heard += 1,
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
            (Phase::Calling, Timer::Again) => {
                self.totals.retransmissions += 1;
                self.write_invite(slot);
                let call = self.call(slot);
                call.interval *= 2;
                let interval = call.interval;
                self.arm(slot, Timer::Again, interval);
            }
            (Phase::Cancelling, Timer::Again) => {
                self.totals.retransmissions += 1;
                self.write_cancel(slot);
                let call = self.call(slot);
                call.interval = (call.interval * 2).min(super::call::T2);
                let interval = call.interval;
                self.arm(slot, Timer::Again, interval);
            }
            (Phase::Calling | Phase::Cancelling, Timer::GiveUp) => self.fail(slot, 408),
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
        let call = self.call(slot);
        call.phase = Phase::Cancelling;
        call.interval = T1;
        self.write_cancel(slot);
        self.arm(slot, Timer::Again, T1);
        self.arm(slot, Timer::GiveUp, GIVE_UP);
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

/// ACK of a refusal, or CANCEL: the INVITE's request-URI, branch and CSeq number (RFC 3261 sections
/// 9.1, 17.1.1.3).
fn of_invite(
    out: &mut [u8],
    method: Method<'_>,
    dialog: &Dialog,
    local: SocketAddr,
    branch: &[u8],
    to: &[u8],
) -> usize {
    let via = ViaOut { transport: Transport::Udp, sent_by: local, branch, rport: true };
    Writer::new(out)
        .request_line(method, &dialog.target)
        .via(&via)
        .max_forwards(70)
        .address(Name::From, b"", &dialog.local_uri, Some(&dialog.local_tag))
        .field(Name::To, to)
        .call_id(&dialog.call_id)
        .cseq(1, method)
        .finish()
        .map_or(0, <[u8]>::len)
}
