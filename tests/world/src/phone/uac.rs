//! What a phone asks: INVITE and re-INVITE, CANCEL, BYE and the small requests, and the answers to
//! them.

use base::Now;
use sdp::Direction;
use sip::dialog::Dialog;
use sip::txn::{Actions, Client, InviteClient};
use sip::{Message, Method, Name, Part, Writer};

use super::call::{PhoneCall, SentInvite, SentRequest, State, TIMERS, via};
use super::manner::Dial;
use crate::network::Datagram;

impl PhoneCall {
    /// Sends the INVITE.
    pub(super) fn dial(&mut self, now: Now, dial: &Dial, out: &mut Vec<Datagram>) {
        if !dial.call_id.is_empty() {
            self.call_id.clone_from(&dial.call_id);
        }
        (self.group, self.stream) = (dial.group, dial.stream);
        self.uri.clone_from(&dial.to);
        self.peer.clone_from(&dial.to);
        self.seen.dialed_at = now.mono;
        self.late_offer = dial.late_offer;
        self.make_offer(Direction::SendRecv);
        let branch = self.branch();
        let mut buffer = vec![0; 8_192];
        let contact = self.contact();
        let mut writer = Writer::new(&mut buffer)
            .request_line(Method::Invite, dial.to.as_bytes())
            .via(&via(self.ours, &branch))
            .max_forwards(70)
            .address(Name::From, b"", dial.from.as_bytes(), Some(self.tag.as_bytes()))
            .address(Name::To, b"", dial.to.as_bytes(), None)
            .call_id(self.call_id.as_bytes())
            .cseq(self.cseq, Method::Invite)
            .contact(&contact);
        for line in &dial.headers {
            if let Some((name, value)) = line.split_once(':') {
                let value = [Part::Bytes(value.trim().as_bytes())];
                writer = writer.header_text(name.trim().as_bytes(), &value);
            }
        }
        if !self.late_offer {
            writer = writer.content(b"application/sdp", &self.local_sdp);
        }
        let bytes = finish(writer);
        self.send_invite(now, bytes, branch, self.cseq, out);
        let actions = self.manner.on_dial.clone();
        self.schedule(now.mono, &actions);
    }

    fn send_invite(
        &mut self,
        now: Now,
        bytes: Vec<u8>,
        branch: Vec<u8>,
        cseq: u32,
        out: &mut Vec<Datagram>,
    ) {
        self.put(self.switch, bytes.clone(), out);
        let machine = InviteClient::new(now.mono, &TIMERS, false);
        let invite = SentInvite { machine, bytes, branch, ack: Vec::new(), cseq, done: false };
        self.invites.push(invite);
    }

    /// A re-INVITE with this direction, or without a description.
    pub(super) fn reinvite(
        &mut self,
        now: Now,
        direction: Option<Direction>,
        out: &mut Vec<Datagram>,
    ) {
        if self.state != State::Up {
            return;
        }
        self.sdp_version += 1;
        if let Some(direction) = direction {
            self.make_offer(direction);
        }
        let branch = self.branch();
        let contact = self.contact();
        let Some(dialog) = &mut self.dialog else { return };
        let mut buffer = vec![0; 8_192];
        let writer = dialog
            .request(&self.text, &mut buffer, Method::Invite, &via(self.ours, &branch))
            .contact(&contact);
        let writer = match direction {
            Some(_) => writer.content(b"application/sdp", &self.local_sdp),
            None => writer,
        };
        let bytes = finish(writer);
        let cseq = dialog.local_cseq;
        self.late_offer = direction.is_none();
        self.send_invite(now, bytes, branch, cseq, out);
    }

    pub(super) fn hang_up(&mut self, now: Now, out: &mut Vec<Datagram>) {
        if self.state != State::Up {
            return;
        }
        self.request(now, Method::Bye, (b"", b""), out);
        self.over(now, false);
    }

    /// A request inside the dialog.
    pub(super) fn request(
        &mut self,
        now: Now,
        method: Method<'static>,
        (kind, body): (&[u8], &[u8]),
        out: &mut Vec<Datagram>,
    ) {
        let branch = self.branch();
        let contact = self.contact();
        let Some(dialog) = &mut self.dialog else { return };
        let mut buffer = vec![0; 8_192];
        let mut writer = dialog.request(&self.text, &mut buffer, method, &via(self.ours, &branch));
        if method == Method::Update {
            writer = writer.contact(&contact);
        }
        if !body.is_empty() {
            writer = writer.content(kind, body);
        }
        let bytes = finish(writer);
        let method = name_of(method);
        self.send_request(now, method, bytes, branch, out);
    }

    fn send_request(
        &mut self,
        now: Now,
        method: &'static str,
        bytes: Vec<u8>,
        branch: Vec<u8>,
        out: &mut Vec<Datagram>,
    ) {
        self.put(self.switch, bytes.clone(), out);
        let machine = Client::new(now.mono, &TIMERS, false);
        let to = self.switch;
        self.requests.push(SentRequest { machine, method, bytes, branch, to });
    }

    /// CANCEL, as soon as a provisional response allows it.
    pub(super) fn cancel(&mut self, now: Now, out: &mut Vec<Datagram>) {
        if !matches!(self.state, State::Trying | State::Ringing) {
            return;
        }
        self.gave_up = true;
        let Some(invite) = self.invites.first_mut() else { return };
        if invite.machine.state() != sip::txn::invite_client::State::Proceeding {
            self.cancel_wanted = true;
            return;
        }
        self.cancel_wanted = false;
        invite.machine.cancel_sent(now.mono, &TIMERS);
        let branch = invite.branch.clone();
        let Ok(message) = Message::parse(&invite.bytes) else { return };
        let mut buffer = vec![0; 4_096];
        let Ok(writer) = sip::cancel_for(&mut buffer, &message) else { return };
        let bytes = finish(writer);
        self.send_request(now, "CANCEL", bytes, branch, out);
    }

    pub(super) fn handle_response(
        &mut self,
        now: Now,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        if self.dead {
            return;
        }
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else { return };
        let branch = message.via().ok().and_then(|via| via.branch).unwrap_or_default();
        if cseq.method == Method::Invite {
            if let Some(at) = self.invites.iter().position(|invite| invite.branch == branch) {
                self.invite_response(now, at, code, message, out);
            }
            return;
        }
        let method = cseq.method;
        let request = self
            .requests
            .iter_mut()
            .find(|request| request.branch == branch && request.method == name_of(method));
        let Some(request) = request else { return };
        let actions = request.machine.handle_response(code, now.mono, &TIMERS);
        if actions.has(Actions::PASS) && code >= 200 {
            self.seen.answers.push((request.method.to_owned(), code));
        }
    }

    fn invite_response(
        &mut self,
        now: Now,
        at: usize,
        code: u16,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        let invite = &mut self.invites[at];
        let actions = invite.machine.handle_response(code, now.mono, &TIMERS);
        if actions.has(Actions::ACK) {
            self.acknowledge_refusal(at, message, out);
        }
        if !actions.has(Actions::PASS) {
            return;
        }
        match code {
            ..200 => self.provisional(now, code, message, out),
            200..300 => self.accepted_by_peer(now, at, message, out),
            _ => self.refused(now, at, code, message),
        }
    }

    fn provisional(&mut self, now: Now, code: u16, message: &Message<'_>, out: &mut Vec<Datagram>) {
        self.seen.provisional.push(code);
        if code > 100 && self.state == State::Trying {
            self.state = State::Ringing;
        }
        if message.is_sdp() && !message.body().is_empty() && !self.late_offer {
            self.remote_sdp = message.body().to_vec();
            if self.negotiate() {
                self.start_media(now);
            }
        }
        if self.cancel_wanted {
            self.cancel(now, out);
        }
    }

    fn accepted_by_peer(
        &mut self,
        now: Now,
        at: usize,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        if self.invites[at].done {
            // Our ACK was lost: it goes again.
            let ack = self.invites[at].ack.clone();
            if !ack.is_empty() {
                self.put(self.switch, ack, out);
            }
            return;
        }
        self.invites[at].done = true;
        let first = at == 0;
        let body = if message.is_sdp() { message.body() } else { b"" };
        if !body.is_empty() {
            self.remote_sdp = body.to_vec();
        }
        let answer = self.late_offer && self.make_answer();
        self.late_offer = false;
        if first {
            let Ok(invite) = Message::parse(&self.invites[at].bytes) else { return };
            let dialog = Dialog::uac(&mut self.text, &invite, message);
            self.dialog = Some(dialog.unwrap_or_else(|error| panic!("no dialog: {error:?}")));
            self.seen.code = message.status().unwrap_or(0);
            self.seen.session_expires =
                sip::session::session_expires(message).ok().map(|session| session.seconds);
        } else {
            self.seen.answers.push(("INVITE".to_owned(), 200));
        }
        assert!(self.negotiate(), "the switch's description cannot be used");
        self.seen.answered_direction = sdp::Session::parse(&self.remote_sdp)
            .ok()
            .and_then(|session| session.audio().ok().map(sdp::Media::direction));
        if self.manner.acks {
            self.acknowledge(at, answer, out);
        }
        if first {
            self.up(now);
        }
    }

    fn acknowledge(&mut self, at: usize, answer: bool, out: &mut Vec<Datagram>) {
        let branch = self.branch();
        let Some(dialog) = &self.dialog else { return };
        let mut buffer = vec![0; 8_192];
        let cseq = self.invites[at].cseq;
        let writer = dialog.ack(&self.text, &mut buffer, cseq, &via(self.ours, &branch));
        let writer = match answer {
            true => writer.content(b"application/sdp", &self.local_sdp),
            false => writer,
        };
        let bytes = finish(writer);
        self.invites[at].ack.clone_from(&bytes);
        self.put(self.switch, bytes, out);
    }

    fn acknowledge_refusal(&self, at: usize, message: &Message<'_>, out: &mut Vec<Datagram>) {
        let Ok(invite) = Message::parse(&self.invites[at].bytes) else { return };
        let mut buffer = vec![0; 4_096];
        let Ok(bytes) = sip::ack_for_non_2xx(&mut buffer, &invite, message) else { return };
        let bytes = bytes.to_vec();
        self.put(self.switch, bytes, out);
    }

    fn refused(&mut self, now: Now, at: usize, code: u16, message: &Message<'_>) {
        self.invites[at].done = true;
        if at > 0 {
            self.seen.answers.push(("INVITE".to_owned(), code));
            return;
        }
        self.seen.code = code;
        self.seen.retry_after = message.number(Name::RetryAfter).ok();
        self.over(now, true);
    }

    pub(super) fn client_ticks(&mut self, now: Now, out: &mut Vec<Datagram>) {
        let mut sent = Vec::new();
        let mut failed = false;
        for (at, invite) in self.invites.iter_mut().enumerate() {
            let actions = invite.machine.handle_timeout(now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                sent.push((self.switch, invite.bytes.clone()));
            }
            failed |= actions.has(Actions::TIMEOUT) && at == 0;
            self.seen.timeouts += u32::from(actions.has(Actions::TIMEOUT));
        }
        for request in &mut self.requests {
            let actions = request.machine.handle_timeout(now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                sent.push((request.to, request.bytes.clone()));
            }
            self.seen.timeouts += u32::from(actions.has(Actions::TIMEOUT));
        }
        self.requests
            .retain(|request| request.machine.state() != sip::txn::client::State::Terminated);
        for (to, bytes) in sent {
            self.seen.repeats += 1;
            self.put(to, bytes, out);
        }
        if failed {
            self.over(now, true);
        }
    }
}

pub(super) fn finish(writer: Writer<'_>) -> Vec<u8> {
    writer.finish().unwrap_or_else(|error| panic!("a phone's message: {error:?}")).to_vec()
}

fn name_of(method: Method<'_>) -> &'static str {
    match method {
        Method::Bye => "BYE",
        Method::Cancel => "CANCEL",
        Method::Update => "UPDATE",
        Method::Options => "OPTIONS",
        Method::Info => "INFO",
        _ => "other",
    }
}
