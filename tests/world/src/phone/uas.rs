//! What a phone answers: INVITE and re-INVITE, ACK, CANCEL, BYE and everything else.

use std::net::SocketAddr;

use base::Now;
use sip::dialog::Dialog;
use sip::txn::{Accepted2xx, Actions, InviteServer, Server};
use sip::{Message, Method, Reply, reply_to};

use super::call::{Machine, PhoneCall, Served, State, TIMERS};
use super::uac::finish;
use crate::network::Datagram;

/// What a phone says to a request of no call: 481.
pub(super) fn stray_reply(
    ours: SocketAddr,
    datagram: &Datagram,
    request: &Message<'_>,
) -> Datagram {
    let code = if request.method() == Some(Method::Options) { 200 } else { 481 };
    let mut buffer = vec![0; 8_192];
    let reply = Reply::new(code, Some(b"stray"), Some(datagram.from));
    let bytes = finish(reply_to(&mut buffer, request, &reply));
    Datagram { from: ours, to: datagram.from, bytes }
}

impl PhoneCall {
    /// An INVITE came for this phone.
    pub(super) fn ring(
        &mut self,
        now: Now,
        datagram: &Datagram,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.call_id = text(message.call_id().unwrap_or_default());
        self.uri = text(message.uri_raw());
        self.peer = message.from().map_or_else(|_| String::new(), |from| text(from.uri));
        // A conversation is named by its number in the user part, `g<group>`.
        self.group = group_of(&self.uri).unwrap_or(0);
        self.stream = self.group * 2 + 1;
        self.seen.dialed_at = now.mono;
        self.seen.invites = 1;
        self.seen.headers = message
            .headers()
            .filter(|header| header.text.starts_with(b"X-"))
            .map(|header| format!("{}: {}", text(header.text), text(header.value)))
            .collect();
        let dialog = Dialog::uas(&mut self.text, message, self.tag.as_bytes(), 100);
        self.dialog = Some(dialog.unwrap_or_else(|error| panic!("no dialog: {error:?}")));
        if message.is_sdp() {
            self.remote_sdp = message.body().to_vec();
        }
        self.serve(datagram, message, true);
        if self.manner.trying {
            self.answer_invite(now, 100, out);
        }
        let actions = self.manner.on_ring.clone();
        self.schedule(now.mono, &actions);
    }

    fn serve(&mut self, datagram: &Datagram, message: &Message<'_>, first: bool) -> usize {
        let branch = message.via().ok().and_then(|via| via.branch).unwrap_or_default().to_vec();
        let invite = message.method() == Some(Method::Invite);
        let machine = match invite {
            true => Machine::Invite(InviteServer::new(false)),
            false => Machine::Other(Server::new(false)),
        };
        let (request, source) = (datagram.bytes.clone(), datagram.from);
        let response = Vec::new();
        let to = source;
        self.served.push(Served { branch, invite, machine, response, to, request, source, first });
        self.served.len() - 1
    }

    pub(super) fn handle_request(
        &mut self,
        now: Now,
        datagram: &Datagram,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        if self.dead {
            return;
        }
        let method = message.method();
        let branch = message.via().ok().and_then(|via| via.branch).unwrap_or_default();
        if method == Some(Method::Ack) {
            return self.acknowledged(now, branch, message);
        }
        let invite = method == Some(Method::Invite);
        self.seen.invites += u32::from(invite);
        let of_cancel = method == Some(Method::Cancel);
        let known = self.served.iter_mut().find(|served| {
            served.branch == branch
                && served.invite == invite
                && served.request.starts_with(b"CANCEL") == of_cancel
        });
        if let Some(served) = known {
            let actions = match &mut served.machine {
                Machine::Invite(machine) => machine.handle_request(now.mono, &TIMERS),
                Machine::Other(machine) => machine.handle_request(now.mono, &TIMERS),
            };
            if actions.has(Actions::RESEND) && !served.response.is_empty() {
                let (to, bytes) = (served.to, served.response.clone());
                self.put(to, bytes, out);
            }
            return;
        }
        let at = self.serve(datagram, message, false);
        match method {
            Some(Method::Bye) => {
                self.seen.byes += 1;
                if self.manner.answers_bye {
                    self.answer(now, at, 200, b"", out);
                }
                self.accepted = None;
                self.over(now, true);
            }
            Some(Method::Cancel) => self.canceled(now, at, out),
            Some(Method::Invite) => self.answer_reinvite(now, at, message, out),
            _ => self.answer(now, at, 200, b"", out),
        }
    }

    fn canceled(&mut self, now: Now, at: usize, out: &mut Vec<Datagram>) {
        self.seen.cancels += 1;
        self.answer(now, at, 200, b"", out);
        if matches!(self.state, State::Trying | State::Ringing) {
            self.answer_invite(now, 487, out);
            self.over(now, true);
        }
    }

    fn acknowledged(&mut self, now: Now, branch: &[u8], message: &Message<'_>) {
        let refused = self.served.iter_mut().find(|served| served.branch == branch);
        if let Some(Served { machine: Machine::Invite(machine), .. }) = refused {
            let _ = machine.handle_ack(now.mono, &TIMERS);
            return;
        }
        self.seen.acks += 1;
        if let Some((mut accepted, ..)) = self.accepted.take() {
            let _ = accepted.handle_ack();
            if self.late_offer && !message.body().is_empty() {
                self.late_offer = false;
                self.remote_sdp = message.body().to_vec();
                assert!(self.negotiate(), "the answer in the ACK cannot be used");
                self.start_media(now);
            }
        }
    }

    /// Answers the INVITE that began the call.
    pub(super) fn answer_invite(&mut self, now: Now, code: u16, out: &mut Vec<Datagram>) {
        if !matches!(self.state, State::Trying | State::Ringing) {
            return;
        }
        let Some(at) = self.served.iter().position(|served| served.first) else { return };
        let mut described = code == 200 || code == 183;
        if described && self.local_sdp.is_empty() {
            if self.remote_sdp.is_empty() {
                self.late_offer = true;
                self.make_offer(sdp::Direction::SendRecv);
            } else if !self.make_answer() || !self.negotiate() {
                described = false;
            }
        }
        if code == 200 && !described {
            self.seen.code = 488;
            self.answer(now, at, 488, b"", out);
            return self.over(now, false);
        }
        let body = if described { self.local_sdp.clone() } else { Vec::new() };
        self.answer(now, at, code, &body, out);
        match code {
            180 | 183 => self.state = State::Ringing,
            200 => {
                self.seen.code = 200;
                if let Some(dialog) = &mut self.dialog {
                    dialog.confirmed = true;
                }
                self.up(now);
            }
            300.. => {
                self.seen.code = code;
                self.over(now, code == 487);
            }
            _ => {}
        }
        if code == 183 {
            self.start_media(now);
        }
    }

    /// The same INVITE answered once more, from another branch of a fork.
    pub(super) fn answer_again(&self, out: &mut Vec<Datagram>) {
        let Some(served) = self.served.iter().find(|served| served.first) else { return };
        let Ok(message) = Message::parse(&served.request) else { return };
        let mut buffer = vec![0; 8_192];
        let contact = format!("sip:fork@{}", self.ours);
        let reply = Reply::new(200, Some(b"otherfork"), Some(served.source));
        let writer = reply_to(&mut buffer, &message, &reply).contact(contact.as_bytes());
        let bytes = finish(writer.content(b"application/sdp", &self.local_sdp));
        self.put(served.to, bytes, out);
    }

    fn answer_reinvite(
        &mut self,
        now: Now,
        at: usize,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        if message.is_sdp() && !message.body().is_empty() {
            self.remote_sdp = message.body().to_vec();
            self.sdp_version += 1;
            if !self.make_answer() || !self.negotiate() {
                return self.answer(now, at, 488, b"", out);
            }
        }
        let body = self.local_sdp.clone();
        self.answer(now, at, 200, &body, out);
    }

    fn answer(&mut self, now: Now, at: usize, code: u16, body: &[u8], out: &mut Vec<Datagram>) {
        let contact = self.contact();
        let served = &mut self.served[at];
        let actions = match &mut served.machine {
            Machine::Invite(machine) => machine.send(code, now.mono, &TIMERS),
            Machine::Other(machine) => machine.send(code, now.mono, &TIMERS),
        };
        if !actions.has(Actions::SEND) {
            return;
        }
        let message = Message::parse(&served.request);
        let message = message.unwrap_or_else(|_| panic!("it was read before"));
        let mut buffer = vec![0; 8_192];
        let reply = Reply::new(code, Some(self.tag.as_bytes()), Some(served.source));
        let mut writer = reply_to(&mut buffer, &message, &reply);
        if served.invite && code > 100 && code < 300 {
            writer = writer.contact(&contact);
        }
        if !body.is_empty() {
            writer = writer.content(b"application/sdp", body);
        }
        let bytes = finish(writer);
        served.response.clone_from(&bytes);
        let (to, invite) = (served.to, served.invite);
        if invite && code == 200 {
            self.accepted = Some((Accepted2xx::new(now.mono, &TIMERS), bytes.clone(), to));
        }
        self.put(to, bytes, out);
    }

    pub(super) fn server_ticks(&mut self, now: Now, out: &mut Vec<Datagram>) {
        let mut sent = Vec::new();
        for served in &mut self.served {
            let actions = match &mut served.machine {
                Machine::Invite(machine) => machine.handle_timeout(now.mono, &TIMERS),
                Machine::Other(machine) => machine.handle_timeout(now.mono, &TIMERS),
            };
            if actions.has(Actions::RESEND) {
                sent.push((served.to, served.response.clone()));
            }
            self.seen.timeouts += u32::from(actions.has(Actions::TIMEOUT));
        }
        if let Some((accepted, bytes, to)) = &mut self.accepted {
            let actions = accepted.handle_timeout(now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                sent.push((*to, bytes.clone()));
            }
            if actions.has(Actions::END) {
                self.accepted = None;
            }
        }
        for (to, bytes) in sent {
            self.seen.repeats += 1;
            self.put(to, bytes, out);
        }
    }
}

/// The number in a user part `g<number>`.
pub(super) fn group_of(uri: &str) -> Option<u32> {
    let user = uri.split_once(':')?.1.split_once('@')?.0;
    user.strip_prefix('g')?.parse().ok()
}
