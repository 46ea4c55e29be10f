//! What is asked: INVITE and re-INVITE, their ACKs, CANCEL and the other requests.

use sip::dialog::Dialog;
use sip::txn::{Actions, Client, InviteClient};
use sip::{Message, Method, Name, Writer};

use super::{
    Branch, Cx, Expired, SentInvite, SentRequest, Signal, TEXT_BYTES, TIMERS, branch_of, keep,
    known, via,
};

/// What a response was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Absorbed, answered by what was sent before, or of no request of ours.
    Nothing,
    /// To an INVITE.
    Provisional { cseq: u32, code: u16 },
    /// The first 2xx of an INVITE: the owner sends the ACK ([`Signal::ack`]).
    Accepted { cseq: u32, initial: bool },
    /// A refusal of an INVITE; its ACK is sent.
    Refused { cseq: u32, code: u16, initial: bool },
    /// The final response to another request.
    Final { method: Method<'static>, cseq: u32, code: u16 },
}

impl Signal {
    /// Sends the INVITE that begins a call: request line, From and To are its URIs, `more` adds
    /// headers and body. Its CSeq number. Again with a new number after a 422 or a 401.
    pub fn invite<F>(&mut self, cx: &mut Cx<'_>, to: &[u8], from: &[u8], more: F) -> u32
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let (branch, cseq) = (self.branch(), self.cseq);
        self.cseq += 1;
        let writer = Writer::new(&mut cx.room.scratch)
            .request_line(Method::Invite, to)
            .via(&via((self.ours, self.transport), &branch))
            .max_forwards(70)
            .address(Name::From, &self.display, from, Some(&self.tag))
            .address(Name::To, b"", to, None)
            .call_id(&self.call_id)
            .cseq(cseq, Method::Invite)
            .contact(&self.contact);
        let Ok(bytes) = more(writer).finish() else {
            self.unwritten += 1;
            return cseq;
        };
        cx.out.put(self.ours, self.peer, bytes);
        let bytes = keep(&mut cx.room.spare, bytes);
        self.sent_invite(cx, bytes, branch, cseq, true);
        cseq
    }

    /// Sends a re-INVITE. Its CSeq number, none without a dialog.
    pub fn reinvite<F>(&mut self, cx: &mut Cx<'_>, more: F) -> Option<u32>
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let (branch, ours) = (self.branch(), self.ours);
        let dialog = self.dialog.as_mut()?;
        let writer = dialog.request(
            &self.text,
            &mut cx.room.scratch,
            Method::Invite,
            &via((ours, self.transport), &branch),
        );
        let cseq = dialog.local_cseq;
        let Ok(bytes) = more(writer.contact(&self.contact)).finish() else {
            self.unwritten += 1;
            return None;
        };
        cx.out.put(self.ours, self.peer, bytes);
        let bytes = keep(&mut cx.room.spare, bytes);
        self.sent_invite(cx, bytes, branch, cseq, false);
        Some(cseq)
    }

    fn sent_invite(
        &mut self,
        cx: &mut Cx<'_>,
        bytes: Vec<u8>,
        branch: Branch,
        cseq: u32,
        initial: bool,
    ) {
        let machine = InviteClient::new(cx.now.mono, &TIMERS, self.is_reliable());
        let ack = keep(&mut cx.room.spare, b"");
        self.invites.reserve_exact(1);
        self.invites.push(SentInvite { machine, bytes, branch, ack, cseq, initial, done: false });
    }

    /// Sends another request inside the dialog. Its CSeq number, none without a dialog.
    pub fn request<F>(&mut self, cx: &mut Cx<'_>, method: Method<'static>, more: F) -> Option<u32>
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let (branch, ours) = (self.branch(), self.ours);
        let dialog = self.dialog.as_mut()?;
        let mut writer = dialog.request(
            &self.text,
            &mut cx.room.scratch,
            method,
            &via((ours, self.transport), &branch),
        );
        let cseq = dialog.local_cseq;
        if method == Method::Update {
            writer = writer.contact(&self.contact);
        }
        let Ok(bytes) = more(writer).finish() else {
            self.unwritten += 1;
            return None;
        };
        cx.out.put(self.ours, self.peer, bytes);
        let bytes = keep(&mut cx.room.spare, bytes);
        let machine = Client::new(cx.now.mono, &TIMERS, self.is_reliable());
        self.requests.reserve_exact(1);
        self.requests.push(SentRequest { machine, method, bytes, branch, cseq });
        Some(cseq)
    }

    /// Sends the ACK of the 2xx to this INVITE; it goes again whenever that 2xx does.
    pub fn ack<F>(&mut self, cx: &mut Cx<'_>, cseq: u32, more: F)
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let branch = self.branch();
        let (Some(dialog), Some(invite)) =
            (&self.dialog, self.invites.iter_mut().find(|invite| invite.cseq == cseq))
        else {
            return;
        };
        let writer = dialog.ack(
            &self.text,
            &mut cx.room.scratch,
            cseq,
            &via((self.ours, self.transport), &branch),
        );
        let Ok(bytes) = more(writer).finish() else {
            self.unwritten += 1;
            return;
        };
        cx.out.put(self.ours, self.peer, bytes);
        invite.ack.clear();
        invite.ack.extend_from_slice(bytes);
    }

    /// A provisional response came to the first INVITE and no final one: it can be cancelled
    /// (RFC 3261 section 9.1).
    #[must_use]
    pub(crate) fn may_cancel(&self) -> bool {
        let proceeding = sip::txn::invite_client::State::Proceeding;
        let invite = self.invites.iter().rfind(|invite| invite.initial);
        invite.is_some_and(|invite| invite.machine.state() == proceeding)
    }

    /// Cancels the INVITE that began the call, if it can be.
    pub fn cancel<F>(&mut self, cx: &mut Cx<'_>, more: F) -> bool
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let proceeding = sip::txn::invite_client::State::Proceeding;
        let invite = self.invites.iter_mut().rfind(|invite| invite.initial);
        let Some(invite) = invite.filter(|it| it.machine.state() == proceeding) else {
            return false;
        };
        invite.machine.give_up_later(cx.now.mono, &TIMERS);
        let (branch, cseq) = (invite.branch, invite.cseq);
        let Ok(message) = Message::parse(&invite.bytes) else { return false };
        let Ok(writer) = sip::cancel_for(&mut cx.room.scratch, &message) else { return false };
        let Ok(bytes) = more(writer).finish() else {
            self.unwritten += 1;
            return false;
        };
        cx.out.put(self.ours, self.peer, bytes);
        let bytes = keep(&mut cx.room.spare, bytes);
        let machine = Client::new(cx.now.mono, &TIMERS, self.is_reliable());
        let method = Method::Cancel;
        self.requests.reserve_exact(1);
        self.requests.push(SentRequest { machine, method, bytes, branch, cseq });
        true
    }

    /// An INVITE of ours has no final response yet.
    #[must_use]
    pub(crate) fn is_inviting(&self) -> bool {
        use sip::txn::invite_client::State;
        let open = |it: &SentInvite| !it.done && it.machine.state() != State::Terminated;
        self.invites.iter().any(open)
    }

    /// Whether the response answers a request of this call.
    #[must_use]
    pub(crate) fn owns_response(&self, response: &Message<'_>) -> bool {
        let branch = branch_of(response);
        self.invites.iter().any(|invite| invite.branch == branch)
            || self.requests.iter().any(|request| request.branch == branch)
    }

    /// A response came.
    pub fn handle_response(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) -> Response {
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else {
            return Response::Nothing;
        };
        let branch = branch_of(message);
        if cseq.method == Method::Invite {
            let at = self.invites.iter().position(|invite| invite.branch == branch);
            return at.map_or(Response::Nothing, |at| self.invite_response(cx, at, code, message));
        }
        let method = known(cseq.method);
        let request = self
            .requests
            .iter_mut()
            .find(|request| request.branch == branch && Some(request.method) == method);
        let Some(request) = request else { return Response::Nothing };
        let actions = request.machine.handle_response(code, cx.now.mono, &TIMERS);
        if !actions.has(Actions::PASS) || code < 200 {
            return Response::Nothing;
        }
        let (method, cseq) = (request.method, request.cseq);
        cx.room.give_back(&mut request.bytes);
        if method == Method::Update && code < 300 {
            self.refresh_target(message);
        }
        Response::Final { method, cseq, code }
    }

    fn invite_response(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        code: u16,
        message: &Message<'_>,
    ) -> Response {
        let invite = &mut self.invites[at];
        let (cseq, initial) = (invite.cseq, invite.initial);
        let actions = invite.machine.handle_response(code, cx.now.mono, &TIMERS);
        if actions.has(Actions::ACK) {
            self.acknowledge_refusal(cx, at, message);
        }
        if !actions.has(Actions::PASS) {
            return Response::Nothing;
        }
        let invite = &mut self.invites[at];
        match code {
            ..200 => {
                if initial && code > 100 {
                    self.learn(at, message, false);
                }
                Response::Provisional { cseq, code }
            }
            200..300 if invite.done => {
                // Our ACK was lost: it goes again.
                self.repeats_heard += 1;
                if !invite.ack.is_empty() {
                    cx.out.put(self.ours, self.peer, &invite.ack);
                }
                Response::Nothing
            }
            200..300 => {
                invite.done = true;
                self.learn(at, message, true);
                cx.room.give_back(&mut self.invites[at].bytes);
                Response::Accepted { cseq, initial }
            }
            _ => {
                invite.done = true;
                Response::Refused { cseq, code, initial }
            }
        }
    }

    /// The dialog that a response to the first INVITE makes, or the new target of a re-INVITE.
    fn learn(&mut self, at: usize, message: &Message<'_>, accepted: bool) {
        if !self.invites[at].initial {
            return self.refresh_target(message);
        }
        let before = self.dialog;
        let same = |dialog: &Dialog| {
            message.to_tag().is_some_and(|tag| tag == dialog.id(&self.text).remote_tag)
        };
        let same = before.as_ref().is_some_and(same);
        if same && !accepted {
            return;
        }
        let plain = |dialog: &&mut Dialog| {
            same && dialog.routes(&self.text).is_empty() && !message.has(Name::RecordRoute)
        };
        if let Some(dialog) = self.dialog.as_mut().filter(plain) {
            // The early dialog of the same answerer is confirmed; only its target may be new.
            dialog.confirmed = true;
            return self.refresh_target(message);
        }
        let mut block = [0; TEXT_BYTES];
        let Ok(request) = Message::parse(&self.invites[at].bytes) else { return };
        let Ok(mut dialog) = Dialog::uac(&mut block, &request, message) else { return };
        if let Some(before) = before {
            dialog.local_cseq = dialog.local_cseq.max(before.local_cseq);
            dialog.remote_cseq = if same { before.remote_cseq } else { 0 };
        }
        self.keep_text(Some(dialog), &block);
    }

    fn acknowledge_refusal(&mut self, cx: &mut Cx<'_>, at: usize, message: &Message<'_>) {
        let Ok(invite) = Message::parse(&self.invites[at].bytes) else { return };
        match sip::ack_for_non_2xx(&mut cx.room.scratch, &invite, message) {
            Ok(bytes) => cx.out.put(self.ours, self.peer, bytes),
            Err(_) => self.unwritten += 1,
        }
    }

    pub(super) fn client_timeouts(&mut self, cx: &mut Cx<'_>, expired: &mut Expired) {
        for invite in &mut self.invites {
            let actions = invite.machine.handle_timeout(cx.now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                expired.repeats += 1;
                cx.out.put(self.ours, self.peer, &invite.bytes);
            }
            if actions.has(Actions::TIMEOUT) {
                expired.timeouts += 1;
                invite.done = true;
                (expired.invite, expired.initial) = (Some(invite.cseq), invite.initial);
            }
        }
        for request in &mut self.requests {
            let actions = request.machine.handle_timeout(cx.now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                expired.repeats += 1;
                cx.out.put(self.ours, self.peer, &request.bytes);
            }
            if actions.has(Actions::TIMEOUT) {
                expired.timeouts += 1;
                expired.request = Some((request.method, request.cseq));
            }
        }
        let over = sip::txn::client::State::Terminated;
        self.requests.retain(|request| request.machine.state() != over);
    }
}
