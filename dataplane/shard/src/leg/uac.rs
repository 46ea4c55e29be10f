//! The outgoing side: an INVITE to each target in turn, its responses, CANCEL and BYE.

use base::{CallId, LegId};
use core::net::SocketAddr;
use core::time::Duration;
use sip::dialog::Dialog;
use sip::token::{Kind, read_branch};
use sip::txn::{Actions, Client, InviteClient};
use sip::{Message, Method, Name, Part, Transport, ViaOut, Writer};
use wire::counter::Counter;
use wire::event::{Cause, Event, Party};

use super::timers::Timer;
use super::{Leg, State, TARGET_ROOM, Text};
use crate::demux::Datagram;
use crate::handoff::Say;
use crate::signal::{address_of, compose, contact, frame_of, may_send_to};
use crate::{Io, Shard};

impl Shard<'_> {
    /// Sends the INVITE with this offer to the target whose turn it is.
    pub(crate) fn invite(&mut self, io: &mut Io<'_>, index: u32, offer: &[u8]) {
        let Some(target) =
            self.legs.get(index).and_then(|leg| leg.targets.get(usize::from(leg.target)).copied())
        else {
            return self.finish(io, index, Cause::Unreachable, Party::Switch);
        };
        let Some(tag) = self.tag_of(index) else { return };
        let timers = self.sip_timers();
        let key = self.plan.keys.token;
        let now = io.now;
        let Some(leg) = self.legs.get_mut(index) else { return };
        let Some(listener) = self.plan.listeners.get(usize::from(leg.listener)) else { return };
        leg.invite_salt += 1;
        leg.remote = target;
        let branch = sip::token::make(Kind::Branch { salt: leg.invite_salt }, leg.id.0, &key);
        let via = via_of(listener.advertised, &branch);
        let frame = compose(io.frames, |out| {
            write_invite(out, leg, &self.arena, listener.advertised, (&via, &tag), offer)
        });
        let Some(frame) = frame else {
            self.counters.count(Counter::DiscardNoFrame);
            return self.finish(io, index, Cause::Internal, Party::Switch);
        };
        self.arena.free(&mut leg.invite_text);
        let Some(stored) = self.arena.store(io.frames.bytes(frame)) else {
            self.drop_frame(io.frames, frame);
            return self.finish(io, index, Cause::Internal, Party::Switch);
        };
        leg.invite_text = stored;
        if leg.local_sdp.is_empty() {
            leg.local_sdp = self.arena.store(offer).unwrap_or_default();
        }
        let first = leg.state == State::Wanting;
        leg.state = State::Calling;
        leg.invite_client = Some(InviteClient::new(now.mono, &timers, false));
        if first {
            let ring = Duration::from_millis(u64::from(leg.ring_ms.max(1_000)));
            leg.deadlines.set(Timer::Ring, now.mono + ring);
        }
        let (listener, call, id) = (leg.listener, leg.call, leg.id);
        let deadline = leg.deadline();
        self.streams[index as usize].signalling = target.ip();
        self.touch(index, now, deadline);
        self.transmit_sip(listener, target, frame);
        if first {
            self.record(index);
            self.tell(&Event::Dialed { call, leg: id, at: now.wall });
        }
    }

    /// A response: its branch says which leg and which request.
    pub(crate) fn response(
        &mut self,
        io: &mut Io<'_>,
        _datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) {
        let key = &self.plan.keys.token;
        let found = sip::check::validate_response(message).ok().and_then(|()| {
            let via = message.via().ok()?;
            let (_, leg, salt) = read_branch(via.branch?, key)?;
            Some((self.leg_of(LegId(leg))?, salt))
        });
        let Some((index, salt)) = found else {
            self.counters.count(Counter::DiscardSipStray);
            return;
        };
        self.guarded(io, index, |shard, io| shard.respond_to(io, index, salt, message));
    }

    fn respond_to(&mut self, io: &mut Io<'_>, index: u32, salt: u32, message: &Message<'_>) {
        let timers = self.sip_timers();
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else { return };
        let Some(leg) = self.legs.get_mut(index) else { return };
        let now = io.now.mono;
        match cseq.method {
            Method::Invite if salt == leg.invite_salt => {
                let Some(client) = leg.invite_client.as_mut() else {
                    self.counters.count(Counter::DiscardSipStray);
                    return;
                };
                let actions = client.handle_response(code, now, &timers);
                let deadline = leg.deadline();
                self.touch(index, io.now, deadline);
                self.invite_response(io, index, code, message, actions);
            }
            Method::Cancel if salt == leg.invite_salt => {
                if code >= 200 {
                    leg.cancel_client = None;
                }
                self.settle(io.now, index);
            }
            Method::Bye if salt == leg.bye_salt => {
                if code >= 200 {
                    leg.bye_client = None;
                }
                self.settle(io.now, index);
            }
            _ => self.counters.count(Counter::DiscardSipStray),
        }
    }

    fn invite_response(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        code: u16,
        message: &Message<'_>,
        actions: Actions,
    ) {
        if actions.has(Actions::ACK) {
            self.ack_refusal(io, index, message);
        }
        if !actions.has(Actions::PASS) {
            return;
        }
        match code {
            ..=100 => self.cancel_if_wanted(io, index),
            101..200 => {
                self.provisional(io, index, code, message);
                self.cancel_if_wanted(io, index);
            }
            200..300 => self.answered(io, index, message),
            _ => self.refused(io, index, code),
        }
    }

    fn ack_refusal(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        let Some(leg) = self.legs.get(index) else { return };
        let Ok(invite) = Message::parse(self.arena.get(&leg.invite_text)) else { return };
        let frame = compose(io.frames, |out| {
            sip::ack_for_non_2xx(out, &invite, message).ok().map(<[u8]>::len)
        });
        let (listener, remote) = (leg.listener, leg.remote);
        self.put(listener, remote, frame);
    }

    fn provisional(&mut self, io: &mut Io<'_>, index: u32, code: u16, message: &Message<'_>) {
        let has_media = message.is_sdp() && !message.body().is_empty();
        let Some(leg) = self.legs.get(index).filter(|leg| !leg.is_over()) else { return };
        let (call, id, peer, pass) = (leg.call, leg.id, leg.dialed_for, leg.pass_progress);
        let at = io.now.wall;
        self.tell_optional(&Event::Progress { call, leg: id, at, code, media: has_media });
        if !pass {
            return;
        }
        let early = has_media && self.take_answer(io, index, message.body()).is_ok();
        let sdp = if early { message.body() } else { b"" };
        let formats = self.formats(index);
        self.say(id, peer, &Say::Progress { code, sdp, formats });
    }

    /// A 2xx: the first one makes the dialog; a repeated one is acknowledged again; one of another
    /// branch of a forking proxy is acknowledged and ended.
    fn answered(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        let Some(leg) = self.legs.get(index) else { return };
        let confirmed = leg.dialog.is_some_and(|dialog| dialog.confirmed);
        if confirmed {
            let text = self.arena.get(&leg.dialog_text);
            let ours = leg.dialog.map(|dialog| dialog.id(text).remote_tag);
            if ours == message.to_tag() {
                self.send_ack(io, index);
            } else {
                self.end_other_branch(io, index, message);
            }
            return;
        }
        if !self.make_dialog(index, message) {
            return self.finish(io, index, Cause::Protocol, Party::Remote);
        }
        self.send_ack(io, index);
        if self.legs.get(index).is_some_and(Leg::is_over) {
            // Cancelled, but the answer was faster (RFC 3261 section 9.1).
            self.send_bye(io, index);
            return;
        }
        let body = if message.is_sdp() { message.body() } else { b"" };
        if let Err(cause) = self.take_answer(io, index, body) {
            // Answered for its far end, and useless: BYE, not CANCEL.
            self.send_bye(io, index);
            return self.finish(io, index, cause, Party::Switch);
        }
        self.stand(io, index, body);
    }

    fn make_dialog(&mut self, index: u32, message: &Message<'_>) -> bool {
        let Some(leg) = self.legs.get_mut(index) else { return false };
        let mut block = [0; 4_096];
        let dialog = {
            let Ok(invite) = Message::parse(self.arena.get(&leg.invite_text)) else { return false };
            Dialog::uac(&mut block, &invite, message)
        };
        let Ok(dialog) = dialog else { return false };
        let len = (dialog.text_len() + TARGET_ROOM).min(block.len());
        self.arena.free(&mut leg.dialog_text);
        let Some(stored) = self.arena.store(&block[..len]) else { return false };
        leg.dialog_text = stored;
        leg.invite_cseq = dialog.local_cseq;
        leg.dialog = Some(dialog);
        true
    }

    /// The far end answered and its description is taken: the leg stands.
    fn stand(&mut self, io: &mut Io<'_>, index: u32, sdp: &[u8]) {
        let now = io.now;
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.state = State::Standing;
        leg.code = 200;
        leg.answered = now.wall;
        leg.deadlines.clear(Timer::Ring);
        leg.deadlines.set(Timer::Meter, now.mono + super::METER);
        if leg.limit_ms > 0 {
            let limit = Duration::from_millis(u64::from(leg.limit_ms));
            leg.deadlines.set(Timer::Limit, now.mono + limit);
        }
        let (call, id, peer, bridge) = (leg.call, leg.id, leg.dialed_for, leg.bridge);
        let remote = Text::of(if sdp.is_empty() { self.arena.get(&leg.remote_sdp) } else { sdp });
        let deadline = leg.deadline();
        self.touch(index, now, deadline);
        self.begin_metering(now, index);
        self.tell(&Event::Answered { call, leg: id, at: now.wall });
        if bridge && peer != LegId::NONE {
            let formats = self.formats(index);
            self.say(id, peer, &Say::Answer { call, sdp: &remote, formats });
        } else {
            self.stand_alone(now.mono, index);
        }
    }

    /// A final response 300-699, already acknowledged.
    fn refused(&mut self, io: &mut Io<'_>, index: u32, code: u16) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| !leg.is_over()) else { return };
        leg.code = code;
        let elsewhere = matches!(code, 408 | 500..=599) || (code >= 600 && code != 603);
        if elsewhere && code != 600 && self.next_target(io, index) {
            return;
        }
        let cause = cause_of(code);
        self.finish(io, index, cause, Party::Remote);
    }

    /// Tries the next target. False if there is none.
    pub(crate) fn next_target(&mut self, io: &mut Io<'_>, index: u32) -> bool {
        let Some(leg) = self.legs.get_mut(index) else { return false };
        if usize::from(leg.target) + 1 >= leg.targets.len() {
            return false;
        }
        leg.target += 1;
        leg.invite_cseq += 1;
        let offer = Text::of(self.arena.get(&leg.local_sdp));
        self.invite(io, index, &offer);
        true
    }

    /// Ends an INVITE that is not answered: CANCEL, as soon as a provisional response allows it.
    pub(crate) fn send_cancel(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.cancel_wanted = true;
        self.cancel_if_wanted(io, index);
    }

    fn cancel_if_wanted(&mut self, io: &mut Io<'_>, index: u32) {
        let timers = self.sip_timers();
        let Some(leg) = self.legs.get_mut(index) else { return };
        let Some(client) = leg.invite_client.as_mut() else { return };
        let proceeding = client.state() == sip::txn::invite_client::State::Proceeding;
        if !leg.cancel_wanted || !proceeding {
            return;
        }
        leg.cancel_wanted = false;
        client.cancel_sent(io.now.mono, &timers);
        leg.cancel_client = Some(Client::new(io.now.mono, &timers, false));
        let deadline = leg.deadline();
        self.touch(index, io.now, deadline);
        self.transmit_cancel(io, index);
    }

    pub(crate) fn transmit_cancel(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get(index) else { return };
        let Ok(invite) = Message::parse(self.arena.get(&leg.invite_text)) else { return };
        let frame = compose(io.frames, |out| {
            sip::cancel_for(out, &invite).ok()?.finish().ok().map(<[u8]>::len)
        });
        let (listener, remote) = (leg.listener, leg.remote);
        self.put(listener, remote, frame);
    }

    /// Sends the INVITE once more.
    pub(crate) fn repeat_invite(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get(index) else { return };
        let frame = frame_of(io.frames, self.arena.get(&leg.invite_text));
        let (listener, remote) = (leg.listener, leg.remote);
        self.counters.count(Counter::SipRetransmitted);
        self.put(listener, remote, frame);
    }

    /// The ACK of a 2xx, as often as the 2xx comes.
    fn send_ack(&mut self, io: &mut Io<'_>, index: u32) {
        let key = self.plan.keys.token;
        let Some(leg) = self.legs.get(index) else { return };
        let (Some(dialog), Some(listener)) =
            (leg.dialog, self.plan.listeners.get(usize::from(leg.listener)))
        else {
            return;
        };
        let text = self.arena.get(&leg.dialog_text);
        // An ACK is a transaction of its own: its branch is no INVITE's.
        let salt = leg.invite_salt | 0x8000_0000;
        let branch = sip::token::make(Kind::Branch { salt }, leg.id.0, &key);
        let via = via_of(listener.advertised, &branch);
        let to = hop(dialog.next_hop(text), leg.remote);
        let frame = compose(io.frames, |out| {
            let writer = dialog.ack(text, out, leg.invite_cseq, &via);
            writer.finish().ok().map(<[u8]>::len)
        });
        let listener = leg.listener;
        self.put(listener, to, frame);
    }

    pub(crate) fn send_bye(&mut self, io: &mut Io<'_>, index: u32) {
        let timers = self.sip_timers();
        let key = self.plan.keys.token;
        let Some(leg) = self.legs.get_mut(index) else { return };
        let Some(listener) = self.plan.listeners.get(usize::from(leg.listener)) else { return };
        leg.bye_salt = leg.invite_salt.wrapping_add(0x4000_0000);
        let branch = sip::token::make(Kind::Branch { salt: leg.bye_salt }, leg.id.0, &key);
        let via = via_of(listener.advertised, &branch);
        let Some(dialog) = leg.dialog.as_mut() else { return };
        let text = self.arena.get(&leg.dialog_text);
        let to = hop(dialog.next_hop(text), leg.remote);
        let frame = compose(io.frames, |out| {
            dialog.request(text, out, Method::Bye, &via).finish().ok().map(<[u8]>::len)
        });
        let Some(frame) = frame else {
            self.counters.count(Counter::DiscardNoFrame);
            return;
        };
        self.arena.free(&mut leg.bye_text);
        leg.bye_text = self.arena.store(io.frames.bytes(frame)).unwrap_or_default();
        leg.remote = to;
        leg.bye_client = Some(Client::new(io.now.mono, &timers, false));
        let listener = leg.listener;
        let deadline = leg.deadline();
        self.touch(index, io.now, deadline);
        self.transmit_sip(listener, to, frame);
    }

    pub(crate) fn repeat_bye(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get(index) else { return };
        let frame = frame_of(io.frames, self.arena.get(&leg.bye_text));
        let (listener, remote) = (leg.listener, leg.remote);
        self.counters.count(Counter::SipRetransmitted);
        self.put(listener, remote, frame);
    }

    /// A second 2xx of another dialog (a proxy forked our INVITE): one dialog is enough.
    fn end_other_branch(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) {
        let key = self.plan.keys.token;
        let Some(leg) = self.legs.get(index) else { return };
        let Some(listener) = self.plan.listeners.get(usize::from(leg.listener)) else { return };
        let Ok(invite) = Message::parse(self.arena.get(&leg.invite_text)) else { return };
        let mut block = [0; 4_096];
        let Ok(mut dialog) = Dialog::uac(&mut block, &invite, message) else { return };
        let to = hop(dialog.next_hop(&block), leg.remote);
        let branch = |salt| sip::token::make(Kind::Branch { salt }, leg.id.0, &key);
        let (ack, bye) = (branch(0x8100_0000), branch(0x4100_0000));
        let ack = compose(io.frames, |out| {
            let via = via_of(listener.advertised, &ack);
            dialog.ack(&block, out, dialog.local_cseq, &via).finish().ok().map(<[u8]>::len)
        });
        let bye = compose(io.frames, |out| {
            let via = via_of(listener.advertised, &bye);
            dialog.request(&block, out, Method::Bye, &via).finish().ok().map(<[u8]>::len)
        });
        let listener = leg.listener;
        self.put(listener, to, ack);
        self.put(listener, to, bye);
    }

    /// The far end's answer (early or final): our plan for the media.
    fn take_answer(&mut self, io: &mut Io<'_>, index: u32, body: &[u8]) -> Result<(), Cause> {
        let leg = self.legs.get_mut(index).ok_or(Cause::Internal)?;
        if body.is_empty() {
            // The description came early, or never.
            return if leg.remote_sdp.is_empty() { Err(Cause::NoCodec) } else { Ok(()) };
        }
        let remote = sdp::Session::parse(body).map_err(|_| Cause::Protocol)?;
        let plan = {
            let local = self.arena.get(&leg.local_sdp);
            let local = sdp::Session::parse(local).map_err(|_| Cause::Internal)?;
            sdp::Plan::negotiate(&local, &remote).map_err(|_| Cause::NoCodec)?
        };
        let listener = leg.listener;
        self.arena.free(&mut leg.remote_sdp);
        leg.remote_sdp = self.arena.store(body).ok_or(Cause::Internal)?;
        if !may_send_to(plan.remote_rtp.ip(), self.media_address(listener)) {
            return Err(Cause::Forbidden);
        }
        self.plan_stream(io.now.mono, index, plan);
        Ok(())
    }
}

fn via_of(sent_by: SocketAddr, branch: &[u8]) -> ViaOut<'_> {
    ViaOut { transport: Transport::Udp, sent_by, branch, rport: true }
}

fn write_invite(
    out: &mut [u8],
    leg: &Leg,
    arena: &base::Arena,
    ours: SocketAddr,
    (via, tag): (&ViaOut<'_>, &[u8]),
    offer: &[u8],
) -> Option<usize> {
    let uri = arena.get(&leg.to_text);
    let mut writer = Writer::new(out)
        .request_line(Method::Invite, uri)
        .via(via)
        .max_forwards(leg.max_forwards)
        .address(Name::From, arena.get(&leg.from_name), arena.get(&leg.from_text), Some(tag))
        .address(Name::To, b"", uri, None)
        .call_id(arena.get(&leg.call_id))
        .cseq(leg.invite_cseq, Method::Invite);
    // No `timer` among what we support: we do not refresh, the far end may (RFC 4028 section 7.1).
    writer = contact(writer, ours).field(Name::Allow, crate::signal::ALLOW);
    for line in arena.get(&leg.headers).split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            writer = writer.header_text(name, &[Part::Bytes(value)]);
        }
    }
    writer.content(b"application/sdp", offer).finish().ok().map(<[u8]>::len)
}

/// Where a request inside a dialog goes: to the next hop if its host is an address that can be
/// meant from here, else where the dialog's messages came from (a phone behind a NAT, a name).
fn hop(uri: &[u8], last: SocketAddr) -> SocketAddr {
    let Some(address) = address_of(uri) else { return last };
    let private = |address: core::net::IpAddr| match address.to_canonical() {
        core::net::IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        core::net::IpAddr::V6(v6) => v6.is_loopback() || v6.segments()[0] & 0xfe00 == 0xfc00,
    };
    let misleading =
        !may_send_to(address.ip(), last.ip()) || (private(address.ip()) && !private(last.ip()));
    let same_family = address.is_ipv4() == last.is_ipv4();
    if misleading || !same_family || address.port() == 0 { last } else { address }
}

/// What a final status means.
pub(crate) fn cause_of(code: u16) -> Cause {
    match code {
        486 | 600 => Cause::Busy,
        408 | 480 | 487 => Cause::NoAnswer,
        404 | 410 | 484 | 604 => Cause::NotFound,
        403 => Cause::Forbidden,
        488 | 606 => Cause::NoCodec,
        503 => Cause::Overload,
        _ => Cause::Rejected,
    }
}

/// The Call-ID of an outgoing leg: its call id, which is random.
pub(crate) fn call_id_text(call: CallId, out: &mut [u8; 32]) {
    let (high, low) = out.split_at_mut(16);
    let bytes = call.0.to_be_bytes();
    let word = |half: &[u8]| half.try_into().map_or(0, u64::from_be_bytes);
    for (half, out) in [(&bytes[..8], high), (&bytes[8..], low)] {
        if let Ok(out) = out.try_into() {
            crate::signal::hex(word(half), out);
        }
    }
}
