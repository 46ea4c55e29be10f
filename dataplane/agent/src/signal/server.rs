//! What is answered: every request once, and again when it comes again; a 2xx to INVITE until its
//! ACK comes.

use std::net::SocketAddr;

use sip::dialog::Dialog;
use sip::txn::{Accepted2xx, Actions, InviteServer, Server};
use sip::{Message, Method, Reply, Writer, reply_to};

use super::{
    Accepted, Cx, Expired, Machine, Room, Served, Signal, TEXT_BYTES, TIMERS, branch_of, keep,
    known,
};

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Absorbed, answered by what was said before, or refused by the dialog.
    Nothing,
    /// The ACK of a refusal.
    AckOfRefusal,
    /// An ACK inside the dialog; whether a 2xx of ours waited for it.
    Ack { cseq: u32, awaited: bool },
    /// A new request, to be answered by [`Signal::respond`] under this number.
    New(u32),
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub code: u16,
    /// Instead of the call's tag.
    pub tag: Option<&'a [u8]>,
    /// The request, where the owner has it read already.
    pub request: Option<&'a Message<'a>>,
}

impl From<u16> for Answer<'_> {
    fn from(code: u16) -> Self {
        Self { code, tag: None, request: None }
    }
}

impl Signal {
    /// The INVITE that begins a call came. Its number, for [`Signal::respond`].
    pub fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        source: SocketAddr,
        bytes: &[u8],
        message: &Message<'_>,
    ) -> u32 {
        self.call_id.clear();
        self.call_id.extend_from_slice(message.call_id().unwrap_or_default());
        self.open(message);
        self.serve(cx.room, (source, bytes), message, true)
    }

    /// The dialog that an answer with our tag makes of this INVITE.
    fn open(&mut self, message: &Message<'_>) {
        let before = self.dialog.map_or(100, |dialog| dialog.local_cseq);
        let mut block = [0; TEXT_BYTES];
        let dialog = Dialog::uas(&mut block, message, &self.tag, before).ok();
        self.keep_text(dialog, &block);
    }

    /// The INVITE that began the call is answered by another branch of a fork from now on: a new
    /// tag is a new dialog.
    pub fn fork(&mut self, tag: &[u8]) {
        self.tag.clear();
        self.tag.extend_from_slice(tag);
        let first = self.served.iter_mut().find(|served| served.initial);
        let Some(request) = first.map(|served| std::mem::take(&mut served.request)) else { return };
        if let Ok(message) = Message::parse(&request) {
            self.open(&message);
        }
        if let Some(served) = self.served.iter_mut().find(|served| served.initial) {
            served.request = request;
        }
    }

    /// The INVITE that began the call, as it came.
    #[must_use]
    pub(crate) fn first_request(&self) -> Option<&[u8]> {
        self.served.iter().find(|served| served.initial).map(|served| &served.request[..])
    }

    /// A request with this branch came before.
    #[must_use]
    pub(crate) fn knows_request(&self, message: &Message<'_>) -> bool {
        let branch = branch_of(message);
        self.served.iter().any(|served| served.branch == branch)
    }

    fn serve(
        &mut self,
        room: &mut Room,
        (source, bytes): (SocketAddr, &[u8]),
        message: &Message<'_>,
        initial: bool,
    ) -> u32 {
        let method = message.method().and_then(known).unwrap_or(Method::Other(b"UNKNOWN"));
        let machine = match method {
            Method::Invite => Machine::Invite(InviteServer::new(self.is_reliable())),
            _ => Machine::Other(Server::new(self.is_reliable())),
        };
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let branch = branch_of(message).to_vec();
        let request = keep(&mut room.spare, bytes);
        let response = Vec::new();
        let served = Served { branch, method, machine, response, request, source, initial, cseq };
        self.served.reserve_exact(1);
        self.served.push(served);
        cseq
    }

    /// A request of this call came (not the INVITE that began it, unless again).
    pub fn handle_request(
        &mut self,
        cx: &mut Cx<'_>,
        source: SocketAddr,
        bytes: &[u8],
        message: &Message<'_>,
    ) -> Request {
        let method = message.method();
        if method == Some(Method::Ack) {
            return self.handle_ack(cx, message);
        }
        let branch = branch_of(message);
        let method = method.and_then(known).unwrap_or(Method::Other(b"UNKNOWN"));
        let again = self.served.iter_mut().find(|it| it.branch == branch && it.method == method);
        if let Some(served) = again {
            let actions = match &mut served.machine {
                Machine::Invite(machine) => machine.handle_request(cx.now.mono, &TIMERS),
                Machine::Other(machine) => machine.handle_request(cx.now.mono, &TIMERS),
            };
            if actions.has(Actions::RESEND) && !served.response.is_empty() {
                cx.out.put(self.ours, served.source, &served.response);
            }
            self.repeats_heard += 1;
            return Request::Nothing;
        }
        self.served.retain(|served| served.initial || !served.machine.is_over());
        let cseq = self.serve(cx.room, (source, bytes), message, false);
        if message.to_tag().is_some()
            && let Some(dialog) = &mut self.dialog
            && let Err(refusal) = dialog.check_request(&self.text, message)
        {
            self.out_of_order += 1;
            self.respond(cx, cseq, method, refusal.code.into(), |writer| writer);
            return Request::Nothing;
        }
        Request::New(cseq)
    }

    fn handle_ack(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) -> Request {
        let branch = branch_of(message);
        let refused = self.served.iter_mut().find(|served| served.branch == branch);
        if let Some(Served { machine: Machine::Invite(machine), response, .. }) = refused {
            let _ = machine.handle_ack(cx.now.mono, &TIMERS);
            cx.room.give_back(response);
            return Request::AckOfRefusal;
        }
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let at = self.accepted.iter().position(|accepted| accepted.cseq == cseq);
        if let Some(at) = at {
            self.accepted.swap_remove(at);
            let is = |it: &&mut Served| it.cseq == cseq && it.method == Method::Invite;
            if let Some(served) = self.served.iter_mut().rfind(is) {
                // INVITEs that come again are absorbed from now on.
                cx.room.give_back(&mut served.response);
            }
        }
        Request::Ack { cseq, awaited: at.is_some() }
    }

    /// Answers a request. To INVITE, 1xx and 2xx carry our Contact, and a 2xx goes again until its
    /// ACK comes. False if it has a final answer already.
    pub fn respond<F>(
        &mut self,
        cx: &mut Cx<'_>,
        cseq: u32,
        method: Method<'_>,
        answer: Answer<'_>,
        more: F,
    ) -> bool
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let code = answer.code;
        let is = |served: &Served| served.cseq == cseq && served.method == method;
        let Some(index) = self.served.iter().rposition(is) else { return false };
        let served = &mut self.served[index];
        let actions = match &mut served.machine {
            Machine::Invite(machine) => machine.send(code, cx.now.mono, &TIMERS),
            Machine::Other(machine) => machine.send(code, cx.now.mono, &TIMERS),
        };
        if !actions.has(Actions::SEND) {
            return false;
        }
        // Taken out while it is read, and put back where it will be needed again.
        let mut request = std::mem::take(&mut served.request);
        let read = if answer.request.is_some() { None } else { Message::parse(&request).ok() };
        let Some(message) = answer.request.or(read.as_ref()) else { return false };
        let tag = answer.tag.unwrap_or(&self.tag);
        let reply = Reply::new(code, Some(tag), Some(served.source));
        let mut writer = reply_to(&mut cx.room.scratch, message, &reply);
        let target = matches!(method, Method::Invite | Method::Update);
        if target && code > 100 && code < 300 {
            writer = writer.contact(&self.contact);
        }
        let Ok(bytes) = more(writer).finish() else {
            self.unwritten += 1;
            return false;
        };
        cx.out.put(self.ours, served.source, bytes);
        match served.response.capacity() {
            0 => served.response = keep(&mut cx.room.spare, bytes),
            _ => {
                served.response.clear();
                served.response.extend_from_slice(bytes);
            }
        }
        let initial = served.initial;
        if target && (200..300).contains(&code) {
            if let Some(dialog) = &mut self.dialog {
                dialog.confirmed |= method == Method::Invite;
            }
            if !initial {
                self.refresh_target(message);
            }
        }
        if method == Method::Invite && (200..300).contains(&code) {
            let machine = Accepted2xx::new(cx.now.mono, &TIMERS);
            self.accepted.push(Accepted { machine, cseq });
        }
        if code >= 200 && (self.lean || !initial) {
            cx.room.give_back(&mut request);
        } else if let Some(served) = self.served.get_mut(index) {
            served.request = request;
        }
        true
    }

    /// The INVITE that began the call is answered once more with another tag, as a forking proxy
    /// lets through. It is not sent again.
    pub(crate) fn respond_again<F>(&mut self, cx: &mut Cx<'_>, tag: &[u8], contact: &[u8], more: F)
    where
        F: for<'b> FnOnce(Writer<'b>) -> Writer<'b>,
    {
        let Some(served) = self.served.iter().find(|served| served.initial) else { return };
        let Ok(message) = Message::parse(&served.request) else { return };
        let reply = Reply::new(200, Some(tag), Some(served.source));
        let writer = reply_to(&mut cx.room.scratch, &message, &reply).contact(contact);
        match more(writer).finish() {
            Ok(bytes) => cx.out.put(self.ours, served.source, bytes),
            Err(_) => self.unwritten += 1,
        }
    }

    /// What was last said of the INVITE that began the call goes again.
    pub(crate) fn repeat_first(&self, cx: &mut Cx<'_>) {
        if let Some(served) = self.served.iter().find(|served| served.initial) {
            cx.out.put(self.ours, served.source, &served.response);
        }
    }

    /// A 2xx of ours to INVITE waits for its ACK.
    #[must_use]
    pub(crate) fn awaits_ack(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// No 2xx is sent again from now on: the call is over.
    pub fn stop_accepted(&mut self) {
        self.accepted.clear();
    }

    pub(super) fn server_timeouts(&mut self, cx: &mut Cx<'_>, expired: &mut Expired) {
        for served in &mut self.served {
            let actions = match &mut served.machine {
                Machine::Invite(machine) => machine.handle_timeout(cx.now.mono, &TIMERS),
                Machine::Other(machine) => machine.handle_timeout(cx.now.mono, &TIMERS),
            };
            if actions.has(Actions::RESEND) {
                expired.repeats += 1;
                cx.out.put(self.ours, served.source, &served.response);
            }
            expired.timeouts += u32::from(actions.has(Actions::TIMEOUT));
        }
        for accepted in &mut self.accepted {
            let actions = accepted.machine.handle_timeout(cx.now.mono, &TIMERS);
            if actions.has(Actions::RESEND) {
                let (cseq, invite) = (accepted.cseq, Method::Invite);
                let is = |served: &&Served| served.cseq == cseq && served.method == invite;
                if let Some(served) = self.served.iter().rfind(is) {
                    expired.repeats += 1;
                    cx.out.put(self.ours, served.source, &served.response);
                }
            }
            expired.unacknowledged |= actions.has(Actions::TIMEOUT);
        }
        let over = sip::txn::accepted::State::Terminated;
        self.accepted.retain(|accepted| accepted.machine.state() != over);
    }
}
