//! Requests inside a leg's dialog, both ways.

use sip::key::TransactionKey;
use sip::txn::Actions;
use sip::{Message, Method, Name, Reply, ViaOut, Writer, reply_to};
use wire::counter::Counter;
use wire::event::{Cause, Party};
use wire::table::Digits;

use super::exchange::Phase;
use super::offer::{BadOffer, Exchanged};
use super::{LegMut, State, identity};
use crate::cx::Core;
use crate::refer::Referral;
use crate::transaction::{
    Begin, ClientId, Outcome, Report, Sent, ServerId, ack_branch, lone_branch, via_of,
    with_credentials,
};
use crate::transport::Datagram;
use crate::transport::reply::{ALLOW, contact, response_hop, warning, warning_of};

/// Transactions that one leg's far end may bring about: a second, and at once. Each stands 32 s.
const SHARE_RATE: u32 = 4;
pub(super) const SHARE_BURST: u32 = 32;
/// How often a 2xx is repeated to a stranger that has not shown that it hears us.
pub(super) const UNHEARD_REPEATS: u8 = 2;

/// Why a request is refused for which there is no transaction.
const NO_TRANSACTION: &[u8] = b"no room for another transaction";

/// A request whose To tag is the leg's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) datagram: &'a Datagram<'a>,
    pub(crate) message: &'a Message<'a>,
    pub(crate) key: TransactionKey,
    /// What it wants, of a REFER.
    pub(crate) referral: Option<&'a Referral<'a>>,
}

impl LegMut<'_, '_> {
    /// A request inside the dialog.
    pub(crate) fn request(&mut self, request: &Request<'_>) {
        let Request { datagram, message, .. } = *request;
        self.cx.heard(message);
        let signalling = &mut self.leg.signalling;
        let over = self.leg.state == State::Closing;
        // Until the ACK of its 2xx comes, or a BYE in its place, an ended leg still has its dialog.
        let bye = message.method() == Some(Method::Bye) && signalling.accepted.is_some();
        let Some(dialog) = signalling.dialog.as_mut().filter(|_| !over || bye) else {
            return self.cx.answer(datagram, message, 481);
        };
        let text = self.cx.core.arena.get(&signalling.text);
        let early = !dialog.confirmed && dialog.caller;
        match dialog.check_request(text, message) {
            Ok(()) => {}
            // Another branch of a forking proxy has an early dialog with our INVITE too.
            Err(refusal) if early && refusal.code == 481 => return self.early_stranger(request),
            Err(refusal) => {
                self.cx.count(Counter::RefusedProtocol);
                return self.cx.answer(datagram, message, refusal.code);
            }
        }
        // What our tag vouches for may move the leg (a NAT's new mapping).
        let moved = core::mem::replace(&mut signalling.hop, datagram.hop) != datagram.hop;
        signalling.spoke_at = self.cx.now.mono;
        let allowed = signalling.allows_info;
        if moved && !over {
            self.record();
        }
        self.read_allow(message);
        if self.leg.signalling.allows_info != allowed && !over {
            self.tell_view();
        }
        match message.method() {
            Some(Method::Bye) => self.bye(request),
            Some(Method::Invite) => self.reinvite(request),
            Some(Method::Update) => self.update(request),
            Some(Method::Info) => self.info(request),
            Some(Method::Prack) => self.prack(request),
            Some(Method::Refer) => self.refer(request),
            Some(Method::Options) => self.options(request),
            Some(Method::Message) => self.message(request),
            Some(Method::Notify) => self.notified(request),
            _ => self.respond(request, 405, |writer| writer.field(Name::Allow, ALLOW)),
        }
    }

    /// A request of an early dialog that we do not follow: it is answered, so that its sender does
    /// not take the dialog for gone.
    fn early_stranger(&mut self, request: &Request<'_>) {
        let code = match request.message.method() {
            Some(Method::Options | Method::Update) if !has_body(request.message) => 200,
            Some(Method::Update) => 491,
            Some(Method::Info) => 415,
            _ => 481,
        };
        self.cx.answer(request.datagram, request.message, code);
    }

    /// What the far end's Allow says; without one, what it said before stands.
    pub(crate) fn read_allow(&mut self, message: &Message<'_>) {
        let signalling = &mut self.leg.signalling;
        if let Some(info) =
            message.allows(Method::Info).filter(|_| signalling.digits == Digits::Auto)
        {
            signalling.allows_info = info;
        }
        if let Some(update) = message.allows(Method::Update) {
            signalling.allows_update = update;
        }
        if let Some(takes) = message.allows(Method::Message) {
            signalling.allows_message = takes;
        }
    }

    /// Takes a transaction for the request. None (counted) if the table is full, or if the leg has
    /// its share of it: then it is answered without one.
    pub(super) fn open(&mut self, request: &Request<'_>) -> Option<ServerId> {
        if !self.may_take_transaction() {
            self.cx.count(Counter::RefusedNoTransaction);
            return None;
        }
        let Request { datagram, message, key, .. } = *request;
        let begin = Begin {
            invite: message.method() == Some(Method::Invite),
            key,
            merge: None,
            hop: response_hop(message, datagram.hop),
            leg: self.leg.id,
            standing: datagram.standing,
        };
        self.transactions.servers.begin(self.cx.core, &begin)
    }

    /// A leg's share of the transactions, which others need too: whatever its far end asks for, it
    /// has some tens a moment and a few a second.
    pub(crate) fn may_take_transaction(&mut self) -> bool {
        self.leg.signalling.share.take(SHARE_RATE, SHARE_BURST, self.cx.now.mono)
    }

    /// Answers the request in a transaction of its own.
    pub(crate) fn respond(
        &mut self,
        request: &Request<'_>,
        code: u16,
        more: impl FnOnce(Writer<'_>) -> Writer<'_>,
    ) {
        match self.open(request) {
            Some(server) => self.respond_in(server, request, code, more),
            None => self.cx.answer(request.datagram, request.message, code),
        }
    }

    /// Answers the request by this status and nothing more. False if there was no room to.
    pub(crate) fn respond_short(&mut self, request: &Request<'_>, code: u16) -> bool {
        let Some(server) = self.open(request) else {
            self.cx.answer(request.datagram, request.message, code);
            return true;
        };
        let frame = self.cx.compose_short(request.datagram, request.message, code);
        match frame {
            Some(frame) => {
                self.transactions.servers.send_short(&mut self.cx, server, code, frame);
            }
            None => self.unheard(server, request.message),
        }
        frame.is_some()
    }

    fn respond_in(
        &mut self,
        server: ServerId,
        request: &Request<'_>,
        code: u16,
        more: impl FnOnce(Writer<'_>) -> Writer<'_>,
    ) {
        let Request { datagram, message, .. } = *request;
        let frame = self.cx.compose(|out, _| {
            let reply = Reply::new(code, None, Some(datagram.hop.to));
            let writer = reply_to(out, message, &reply);
            more(writer).finish().ok().map(<[u8]>::len)
        });
        match frame {
            Some(frame) => {
                self.transactions.servers.send(&mut self.cx, server, code, frame);
            }
            None => self.unheard(server, message),
        }
    }

    /// There was no room for an answer: the request's repetition finds a fresh transaction, and its
    /// CSeq is taken for new (but for an INFO's: its digit has crossed).
    pub(super) fn unheard(&mut self, server: ServerId, message: &Message<'_>) {
        self.transactions.servers.end(self.cx.core, server);
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let dialog = self.leg.signalling.dialog.as_mut();
        let dialog = dialog.filter(|dialog| dialog.remote_cseq == number);
        if let Some(dialog) = dialog.filter(|_| message.method() != Some(Method::Info)) {
            dialog.remote_cseq = number.saturating_sub(1);
        }
    }

    /// Refuses an offer, with the reason for people.
    pub(super) fn refuse_in(&mut self, server: ServerId, request: &Request<'_>, bad: BadOffer) {
        self.cx.count(Counter::RefusedProtocol);
        self.respond_in(server, request, bad.code, |writer| match bad.code {
            488 => warning_of(writer, bad.why),
            500 => writer.field(Name::RetryAfter, b"5"),
            _ => writer,
        });
    }

    fn bye(&mut self, request: &Request<'_>) {
        self.keep_reason(request.message);
        self.respond_short(request, 200);
        if self.leg.is_waiting() {
            // The caller may end an early dialog by BYE too (RFC 3261 section 15).
            return self.canceled(request.message);
        }
        self.tell_reason(request.message);
        if self.leg.state == State::Calling {
            // The callee may not, but it has said what it means: nobody takes the call.
            self.leg.story.code = 480;
            return self.hang_up(Cause::NoAnswer, Party::Remote);
        }
        // Whoever says BYE has heard the 2xx, or does not want it: no ACK is waited for.
        self.forget_accepted();
        self.finish(Cause::Normal, Party::Remote);
    }

    /// Whether a new offer of the far end must wait, and the status that says so.
    fn is_busy(&self, message: &Message<'_>) -> Option<u16> {
        let invite = message.method() == Some(Method::Invite);
        let offer = invite || has_body(message);
        match self.leg.state {
            _ if !offer => None,
            // Its first offer waits for our answer (RFC 3311 section 5.2, RFC 3261 section 14.2).
            State::Arrived | State::Ringing => Some(500),
            State::Wanting | State::Calling => Some(491),
            // Our 2xx waits for its ACK.
            _ if self.leg.signalling.accepted.is_some() => Some(491),
            _ if self.leg.offer.phase() != Phase::Agreed => Some(491),
            _ if invite && self.leg.signalling.asked != ClientId::NONE => Some(491),
            _ => None,
        }
    }

    /// A re-INVITE: answered here, and what it changes is brought to the other leg.
    fn reinvite(&mut self, request: &Request<'_>) {
        self.change(request);
    }

    fn update(&mut self, request: &Request<'_>) {
        if !self.leg.is_up() && !has_body(request.message) {
            // A refresh of the target or of the connected line while it rings.
            self.move_target(request.message);
            self.respond_short(request, 200);
            return;
        }
        if self.is_agreed_early() || self.is_settled_early() {
            self.answer_early_offer(request);
            return;
        }
        self.change(request);
    }

    /// A request that may change the session: first its transaction, then everything that can fail,
    /// then the answer, then the change.
    fn change(&mut self, request: &Request<'_>) {
        let message = request.message;
        if let Some(code) = self.is_busy(message) {
            return self.respond(request, code, |writer| writer.field(Name::RetryAfter, b"2"));
        }
        let wanted = u32::try_from(self.cx.core.plan.timers.session.as_secs()).unwrap_or(0);
        let min_se = sip::session::MIN_SE_SECONDS;
        let agreed = match sip::session::as_server(message, wanted, min_se) {
            _ if !self.leg.signalling.policy.session_timer => None,
            Ok(agreed) => agreed,
            Err(small) => return self.respond(request, 422, |writer| small.write(writer)),
        };
        let Some(server) = self.open(request) else {
            return self.cx.answer_with(request.datagram, message, 500, |writer| {
                warning(writer.field(Name::RetryAfter, b"5"), 399, NO_TRANSACTION)
            });
        };
        let exchanged = match self.read_change(message) {
            Ok(exchanged) => exchanged,
            Err(bad) => return self.refuse_in(server, request, bad),
        };
        if !self.move_target(message) {
            self.undo(exchanged, message);
            let full = BadOffer { code: 500, cause: Cause::Internal, why: "no room" };
            return self.refuse_in(server, request, full);
        }
        self.agree_to(server, request, exchanged, agreed);
    }

    /// The description of the request, if it has one, with our answer; else, for an INVITE, an
    /// offer of ours.
    pub(super) fn read_change(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<Exchanged>, BadOffer> {
        match message.sdp() {
            sip::body::SdpBody::Sdp(sdp) => self.take_offer(sdp).map(Some),
            sip::body::SdpBody::Broken => {
                Err(BadOffer { code: 400, cause: Cause::Protocol, why: "unreadable body" })
            }
            sip::body::SdpBody::None if message.method() == Some(Method::Invite) => {
                self.offer_again().map(|()| None)
            }
            sip::body::SdpBody::None => Ok(None),
        }
    }

    /// Nothing of [`LegMut::read_change`] holds. An UPDATE without a description changed nothing:
    /// an offer of ours that is open meanwhile is another request's.
    fn undo(&mut self, exchanged: Option<Exchanged>, message: &Message<'_>) {
        let invite = message.method() == Some(Method::Invite);
        match exchanged {
            Some(exchanged) => self.abandon(exchanged),
            None if invite => self.leg.offer.refused(&mut self.cx.core.arena),
            None => {}
        }
    }

    /// Sends the 200 and does what it says.
    fn agree_to(
        &mut self,
        server: ServerId,
        request: &Request<'_>,
        exchanged: Option<Exchanged>,
        agreed: Option<sip::session::Agreed>,
    ) {
        let Request { datagram, message, .. } = *request;
        let invite = message.method() == Some(Method::Invite);
        let leg = &*self.leg;
        let sdp = match &exchanged {
            Some(exchanged) => Some(exchanged.ours()),
            None => leg.offer.to_send().filter(|_| invite),
        };
        let frame = self.cx.compose(|out, core| {
            let reply = Reply::new(200, None, Some(datagram.hop.to));
            let mut writer = reply_to(out, message, &reply);
            writer = contact(writer, leg.named(core));
            writer = writer.field(Name::Allow, ALLOW);
            writer = writer.field(Name::Supported, leg.signalling.policy.supported());
            writer = writer.with(agreed, |writer, agreed| agreed.write_response(writer));
            match sdp.map(|text| core.arena.get(text)) {
                Some(sdp) => writer.content(b"application/sdp", sdp),
                None => writer,
            }
            .finish()
            .ok()
            .map(<[u8]>::len)
        });
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let kept = frame.filter(|frame| !invite || self.accept(*frame, server, cseq));
        let (Some(frame), true) = (kept, kept == frame) else {
            if let Some(frame) = frame {
                self.cx.discard(frame, Counter::DiscardNoRoom);
            }
            self.undo(exchanged, message);
            return self.unheard(server, message);
        };
        self.transactions.servers.send(&mut self.cx, server, 200, frame);
        self.session_agreed(agreed);
        if let Some(exchanged) = exchanged {
            self.adopt(exchanged);
        }
    }

    /// The dialog's target is where this request's Contact says, whatever its length. False if
    /// there is no room for it.
    pub(crate) fn move_target(&mut self, message: &Message<'_>) -> bool {
        let Some(dialog) = self.leg.signalling.dialog else { return true };
        let mut page = core::mem::take(&mut self.cx.core.page);
        let text = self.cx.core.arena.get(&self.leg.signalling.text);
        let moved = match dialog.moved(text, message, &mut page) {
            Ok(None) => Ok(None),
            Ok(Some((dialog, len))) => {
                let stored = self.cx.core.arena.store(&page[..len]);
                stored.map(|stored| Some((dialog, stored))).ok_or(())
            }
            // A broken Contact was refused before; here only its length can be wrong.
            Err(_) => Err(()),
        };
        self.cx.core.page = page;
        let Ok(moved) = moved else { return false };
        if let Some((dialog, stored)) = moved {
            let signalling = &mut self.leg.signalling;
            self.cx.core.arena.free(&mut signalling.text);
            (signalling.text, signalling.dialog) = (stored, Some(dialog));
            self.record();
        }
        true
    }

    /// Sends a request inside the dialog. None if it could not be sent.
    pub(crate) fn ask(
        &mut self,
        method: Sent,
        more: impl FnOnce(Writer<'_>, &base::Arena) -> Option<usize>,
    ) -> Option<ClientId> {
        let signalling = &mut self.leg.signalling;
        let dialog = signalling.dialog.as_mut()?;
        let text = &signalling.text;
        let (core, last) = (&*self.cx.core, signalling.hop);
        let hop = core.way_in(dialog, core.arena.get(text), last);
        let cseq = dialog.local_cseq.saturating_add(1);
        let (id, secure) = (self.leg.id, dialog.is_secure());
        let (clients, request) = (&mut self.transactions.clients, (method, id, hop, cseq));
        let by_flow = dialog.is_by_flow();
        let write = |out: &mut [u8], core: &Core<'_>, via: &ViaOut<'_>| {
            let text = core.arena.get(text);
            let mut writer = dialog.request(text, out, method.sip(), via);
            if !matches!(method, Sent::Bye | Sent::Prack) {
                writer = contact(writer, core.named(hop.via).secure(secure));
                writer = writer.field(Name::Allow, ALLOW);
            }
            more(writer, &core.arena)
        };
        let asked = match by_flow {
            true => clients.begin(&mut self.cx, request, write),
            false => clients.begin_any_size(&mut self.cx, request, write),
        };
        if asked.is_some() {
            // While it rings, the hop stays where the INVITE went: there its CANCEL goes.
            let moved =
                method != Sent::Prack && core::mem::replace(&mut signalling.hop, hop) != hop;
            if !self.leg.is_over() && (moved || cseq.is_multiple_of(crate::usage::CSEQ_AHEAD)) {
                self.record();
            }
        }
        asked
    }

    /// The ACK of a 2xx to the INVITE with this number, as often as the 2xx comes.
    pub(crate) fn send_ack(&mut self, invite: ClientId, cseq: u32) {
        let Some(dialog) = self.leg.signalling.dialog else { return };
        let text = &self.leg.signalling.text;
        let (core, last) = (&*self.cx.core, self.leg.signalling.hop);
        let hop = core.way_in(&dialog, core.arena.get(text), last);
        let clients = &self.transactions.clients;
        let sent = clients.text(invite).filter(|_| clients.logins.is_for_leg(self.leg.id));
        let frame = self.cx.compose(|out, core| {
            let branch = ack_branch(core, invite);
            let writer = dialog.ack(core.arena.get(text), out, cseq, &via_of(core, hop, &branch));
            let sent = sent.map_or(&b""[..], |text| core.arena.get(text));
            with_credentials(writer, sent).finish().ok().map(<[u8]>::len)
        });
        self.cx.send_sip(hop, frame);
    }

    /// A 2xx came again whose INVITE's transaction is gone: its ACK goes again, as long as the
    /// dialog stands.
    pub(crate) fn answered_again(&mut self, invite: ClientId, message: &Message<'_>) {
        let signalling = &self.leg.signalling;
        let dialog = signalling.dialog.filter(|dialog| dialog.confirmed && !self.leg.is_over());
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let ours = dialog.is_some_and(|dialog| {
            let id = dialog.id(self.cx.core.arena.get(&signalling.text));
            id.remote_tag == message.to_tag().unwrap_or_default() && number <= dialog.local_cseq
        });
        self.cx.core.watch.leave();
        match ours {
            true => self.send_ack(invite, number),
            false => self.cx.count(Counter::DiscardSipStray),
        }
    }

    /// BYE, with the Reason that the other side ended with.
    pub(crate) fn send_bye(&mut self) {
        let mut reason = core::mem::take(&mut self.leg.signalling.reason);
        // Whoever never acknowledged a word may not be there at all: it is not asked again.
        let asked = (!self.leg.is_unheard())
            .then(|| self.ask(Sent::Bye, |writer, it| with_reason(writer, it.get(&reason))));
        if asked.flatten().is_none() {
            self.send_bye_once(&reason);
        }
        self.cx.core.arena.free(&mut reason);
        if self.leg.is_over() {
            // What its record still owed.
            self.record();
        }
    }

    /// There is no room for a transaction, or nobody may be there: BYE without one is not repeated,
    /// but better than none.
    #[cold]
    fn send_bye_once(&mut self, reason: &base::Stored) {
        let signalling = &mut self.leg.signalling;
        let Some(dialog) = signalling.dialog.as_mut() else { return };
        let text = &signalling.text;
        let (core, last) = (&*self.cx.core, signalling.hop);
        let hop = core.way_in(dialog, core.arena.get(text), last);
        let id = self.leg.id;
        let frame = self.cx.compose(|out, core| {
            let (branch, arena) = (lone_branch(core, id), &core.arena);
            let via = via_of(core, hop, &branch);
            let writer = dialog.request(arena.get(text), out, Method::Bye, &via);
            with_reason(writer, arena.get(reason))
        });
        self.cx.send_sip(hop, frame);
    }

    /// What became of a request of ours.
    pub(crate) fn outcome(&mut self, outcome: &Outcome, message: Option<&Message<'_>>) {
        if matches!(outcome.report, Report::Response(_) | Report::Again { .. }) {
            self.leg.signalling.spoke_at = self.cx.now.mono;
        }
        match outcome.report {
            Report::Again { id, cseq } => return self.asked_again(outcome, id, cseq),
            // Its CANCEL would go by the other way.
            Report::MovedBack => return self.record(),
            Report::Response(_) | Report::Timeout | Report::Unreachable => {}
        }
        match outcome.method {
            Sent::Invite => self.invite_outcome(outcome, message),
            Sent::Reinvite => self.reinvite_outcome(outcome, message),
            Sent::Update => self.update_outcome(outcome, message),
            Sent::Options => self.probe_outcome(outcome),
            Sent::Info => {}
            Sent::Bye => {}
            // Whatever is said of it: the far end that misses it ends the call itself.
            Sent::Prack => {}
            Sent::Notify => self.notify_outcome(outcome),
            // No leg's.
            Sent::Health => {}
            Sent::Message => self.text_outcome(outcome),
            Sent::Refer => self.refer_outcome(outcome),
        }
    }

    /// A 2xx of ours whose ACK does not come.
    pub(crate) fn accepted_timeout(&mut self) {
        let timers = self.cx.core.sip_timers();
        let unheard = self.leg.is_unheard();
        let Some(accepted) = self.leg.signalling.accepted.as_mut() else { return };
        let actions = accepted.machine.handle_timeout(self.cx.now.mono, &timers);
        let most = if unheard { UNHEARD_REPEATS } else { u8::MAX };
        if actions.has(Actions::RESEND) && accepted.repeats < most {
            accepted.repeats = accepted.repeats.saturating_add(1);
            self.cx.resend(accepted.hop, &accepted.text);
        }
        if !actions.has(Actions::TIMEOUT) {
            return;
        }
        self.forget_accepted();
        if self.leg.is_over() {
            // It ended while its 2xx waited: the BYE that waited with it goes now (RFC 3261 section
            // 15).
            return self.send_bye();
        }
        self.hang_up(Cause::NoAck, Party::Switch);
    }

    /// The far end's Reason (RFC 3326), to be carried on: the call ended elsewhere, and why.
    pub(crate) fn keep_reason(&mut self, message: &Message<'_>) {
        const REASON_MAX: usize = 256;
        let mut all = [0; REASON_MAX];
        let mut len = 0;
        for value in message.headers_named(Name::Reason) {
            let comma: &[u8] = if len > 0 { b", " } else { b"" };
            let value_len: usize = identity::unfolded(value).map(<[u8]>::len).sum();
            let end = len + comma.len() + value_len;
            if end > REASON_MAX || value.contains(&0) {
                continue;
            }
            for piece in [comma].into_iter().chain(identity::unfolded(value)) {
                all[len..len + piece.len()].copy_from_slice(piece);
                len += piece.len();
            }
        }
        let reason = &all[..len];
        if !reason.is_empty() {
            let arena = &mut self.cx.core.arena;
            arena.free(&mut self.leg.signalling.reason);
            self.leg.signalling.reason = arena.store(reason).unwrap_or_default();
        }
    }
}

fn with_reason(writer: Writer<'_>, reason: &[u8]) -> Option<usize> {
    let writer = match reason.is_empty() {
        true => writer,
        false => writer.field(Name::Reason, reason),
    };
    writer.finish().ok().map(<[u8]>::len)
}

fn has_body(message: &Message<'_>) -> bool {
    !matches!(message.sdp(), sip::body::SdpBody::None)
}
