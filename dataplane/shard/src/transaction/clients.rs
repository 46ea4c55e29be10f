//! Requests that we sent. The branch of each names its transaction: one look-up finds whoever waits
//! for the answer to INVITE, CANCEL (which shares its INVITE's branch, RFC 3261 section 9.1), BYE,
//! UPDATE, INFO, OPTIONS, PRACK, NOTIFY and MESSAGE.
//!
//! A transaction outlives its leg where the protocol says so: an INVITE that was left or cancelled
//! still acknowledges its refusal, and still acknowledges and ends an answer that nobody wants any
//! more; a BYE is repeated until it is answered. None of that needs the leg.

mod news;

use core::net::SocketAddr;

use arrayvec::ArrayVec;
use base::{Hop, LegId, Mono, Slab, Stored, Wheel};
use sip::txn::{Actions, Client, InviteClient, Timers};
use sip::{Message, Name, ViaOut, Writer};
use wire::counter::Counter;

use super::finished::Finished;
use super::logins::{LoginId, Logins, Way};
use super::waiting::Waiting;
use crate::cx::{Core, Cx};

mod again;
mod branches;
mod byes;
mod large;
mod lost;
mod names;

pub(crate) use again::with_credentials;
use names::{ACK, branch, via};
pub(crate) use names::{REQUEST, ack_branch, lone_branch, request_branch, via_of};

/// Names a client transaction for as long as it lives; packed as a leg's id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(pub(crate) LegId);

impl ClientId {
    /// No transaction.
    pub(crate) const NONE: Self = Self(LegId::NONE);
}

/// Under which address a request waits for its first answer: over connections under its host's,
/// whatever port the connection has.
fn waits_at(hop: Hop) -> SocketAddr {
    if hop.is_reliable() { SocketAddr::new(hop.to.ip(), 0) } else { hop.to }
}

/// What a request of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Invite,
    Reinvite,
    Bye,
    Update,
    Info,
    Options,
    Prack,
    Notify,
    /// OPTIONS of no leg: whether a target lives.
    Health,
    Message,
    Refer,
}

impl Method {
    /// As SIP names it.
    pub(crate) fn sip(self) -> sip::Method<'static> {
        match self {
            Self::Invite | Self::Reinvite => sip::Method::Invite,
            Self::Bye => sip::Method::Bye,
            Self::Update => sip::Method::Update,
            Self::Info => sip::Method::Info,
            Self::Options | Self::Health => sip::Method::Options,
            Self::Prack => sip::Method::Prack,
            Self::Notify => sip::Method::Notify,
            Self::Message => sip::Method::Message,
            Self::Refer => sip::Method::Refer,
        }
    }

    fn is_invite(self) -> bool {
        matches!(self, Self::Invite | Self::Reinvite)
    }
}

/// What became of a request, for the leg that sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) id: ClientId,
    pub(crate) leg: LegId,
    pub(crate) method: Method,
    /// CSeq number that it was sent with.
    pub(crate) cseq: u32,
    pub(crate) report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A response with this status; a refusal of an INVITE is acknowledged already.
    Response(u16),
    /// Nobody answered in time (timers B and F).
    Timeout,
    /// The network says that nobody is there.
    Unreachable,
    /// It was asked for our credentials, and was sent again with them, as this.
    Again { id: ClientId, cseq: u32 },
    /// Nobody took the connection that it was too large for a datagram to do without.
    MovedBack,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    Other(Client),
}

/// The CANCEL of an INVITE.
#[derive(Debug)]
enum Cancel {
    No,
    /// It waits for a provisional response (section 9.1), with this value of Reason.
    Wanted(Stored),
    Sent(Client, Stored),
}

/// Branches of a forking proxy that one INVITE may be answered by. Further ones hear nothing, and
/// give up by themselves (RFC 3261 section 13.3.1.4): whoever answers under ever new tags gets no
/// BYE, which is a transaction of ours, for each.
const FORKS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct ClientTransaction {
    machine: Machine,
    method: Method,
    text: Stored,
    hop: Hop,
    /// None once nobody waits for the answer.
    leg: LegId,
    cseq: u32,
    /// The highest CSeq number that an early dialog of this INVITE has seen of us (a PRACK's).
    used: u32,
    cancel: Cancel,
    /// It was left for another target: it is not repeated any more.
    left: bool,
    /// How often the connection that it went by was lost: whoever got it may not have been able to
    /// say so.
    again: u8,
    /// It may go by a stream for its size: not so to a phone, which is reached as it registered.
    any_size: bool,
    /// It was too large for a datagram.
    moved: Option<large::Moved>,
    /// The credentials that it is sent with, should it be asked for some.
    login: LoginId,
    /// How often it was sent again with them.
    tries: u8,
    /// Tags that have answered it, hashed: they are only acknowledged when they come again.
    answered: ArrayVec<u64, FORKS_MAX>,
}

#[derive(Debug)]
pub(crate) struct Clients {
    slab: Slab<ClientTransaction>,
    timers: Wheel,
    finished: Finished,
    waiting: Waiting,
    deaf: large::Deaf,
    moving: large::Moving,
    byes: byes::Byes,
    pub(crate) logins: Logins,
    /// The one whose timer is being served.
    at_work: Option<ClientId>,
}

impl ClientTransaction {
    fn deadline(&self) -> Mono {
        let own = match &self.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        };
        let own = self.moved.map_or(own, |moved| own.min(moved.until));
        match &self.cancel {
            Cancel::Sent(machine, _) => own.min(machine.deadline()),
            _ => own,
        }
    }

    fn is_proceeding(&self) -> bool {
        let proceeding = sip::txn::invite_client::State::Proceeding;
        matches!(&self.machine, Machine::Invite(machine) if machine.state() == proceeding)
    }

    /// Nothing was heard yet, and a leg waits for it.
    fn waits(&self) -> bool {
        self.is_calling() && !self.left && self.leg != LegId::NONE
    }

    /// A phone that rings, and a leg that waits for it.
    fn rings_for_somebody(&self) -> bool {
        self.is_to_phone() && self.is_proceeding() && !self.left && self.leg != LegId::NONE
    }

    /// Nothing was heard yet, or nothing final of what rings for nobody.
    fn is_unanswered(&self) -> bool {
        use sip::txn::client::State;
        match &self.machine {
            Machine::Invite(_) => self.is_calling() && !self.left,
            Machine::Other(machine) => {
                matches!(machine.state(), State::Trying | State::Proceeding)
            }
        }
    }

    fn is_calling(&self) -> bool {
        let calling = sip::txn::invite_client::State::Calling;
        matches!(&self.machine, Machine::Invite(machine) if machine.state() == calling)
    }

    /// Nothing is under way: it only waits for repetitions.
    fn is_quiet(&self) -> bool {
        match &self.machine {
            Machine::Invite(machine) => !matches!(
                machine.state(),
                sip::txn::invite_client::State::Calling
                    | sip::txn::invite_client::State::Proceeding
            ),
            Machine::Other(_) => false,
        }
    }

    /// Nothing is under way, its CANCEL included; or it was left before anybody said a word, and
    /// holds its place for a late one.
    fn is_finished(&self) -> bool {
        if self.left && self.is_calling() {
            return true;
        }
        let canceling = match &self.cancel {
            Cancel::Sent(machine, _) => machine.state() != sip::txn::client::State::Completed,
            _ => false,
        };
        self.is_quiet() && !canceling
    }
}

impl Clients {
    /// For so many transactions of so many legs. `first`: the first generation, another one in each
    /// run.
    pub(crate) fn new((limit, legs): (u32, u32), first: u32) -> Self {
        let (slab, timers) = (Slab::with_generation(limit, first), Wheel::new(limit));
        let (finished, waiting) = (Finished::new(limit), Waiting::new(limit));
        let (logins, deaf) = (Logins::new(legs), large::Deaf::default());
        let (byes, moving) = (byes::Byes::new(legs), large::Moving::new(legs));
        Self { slab, timers, finished, waiting, deaf, moving, byes, logins, at_work: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.timers.next()
    }

    /// Every request is answered.
    pub(crate) fn is_quiet(&self) -> bool {
        // All that is finished is quiet: the rest is few, where there is any.
        self.slab.len() == self.finished.len()
            || self.slab.iter().all(|(_, entry)| entry.is_quiet())
    }

    /// Whether this transaction still stands.
    pub(crate) fn has(&self, id: ClientId) -> bool {
        self.index(id).is_some()
    }

    /// Gives the slot (and the texts) of the oldest finished one back. False if there is none.
    fn evict(&mut self, core: &mut Core<'_>) -> bool {
        let Some(oldest) = self.finished.oldest() else { return false };
        core.counters.count(Counter::TransactionEvicted);
        self.remove(core, self.id(core, oldest));
        true
    }

    fn index(&self, id: ClientId) -> Option<u32> {
        self.slab.live(id.0.index(), id.0.generation())
    }

    fn id(&self, core: &Core<'_>, index: u32) -> ClientId {
        let generation = self.slab.generation(index).unwrap_or(0);
        ClientId(LegId::new(core.plan.shard, generation, index))
    }

    /// The request as it was sent.
    pub(crate) fn text(&self, id: ClientId) -> Option<&Stored> {
        self.slab.get(self.index(id)?).map(|entry| &entry.text)
    }

    /// Sends a request that `write` writes with the branch it is given. None if the table is full
    /// or the message could not be written (counted).
    pub(crate) fn begin(
        &mut self,
        cx: &mut Cx<'_, '_>,
        request: (Method, LegId, Hop, u32),
        write: impl FnOnce(&mut [u8], &Core<'_>, &ViaOut<'_>) -> Option<usize>,
    ) -> Option<ClientId> {
        let login = self.logins.of(request.1);
        self.begin_as(cx, request, (login, 0, false), write)
    }

    /// The same for one that goes by a stream where it is too large for a datagram.
    pub(crate) fn begin_any_size(
        &mut self,
        cx: &mut Cx<'_, '_>,
        request: (Method, LegId, Hop, u32),
        write: impl FnOnce(&mut [u8], &Core<'_>, &ViaOut<'_>) -> Option<usize>,
    ) -> Option<ClientId> {
        let login = self.logins.of(request.1);
        self.begin_as(cx, request, (login, 0, true), write)
    }

    /// The same with these credentials, for the so-manieth time.
    fn begin_as(
        &mut self,
        cx: &mut Cx<'_, '_>,
        (method, leg, hop, cseq): (Method, LegId, Hop, u32),
        (login, tries, any_size): (LoginId, u8, bool),
        write: impl FnOnce(&mut [u8], &Core<'_>, &ViaOut<'_>) -> Option<usize>,
    ) -> Option<ClientId> {
        if self.slab.is_full() {
            self.evict(cx.core);
        }
        let Some((index, generation)) = self.slab.vacant() else {
            cx.count(Counter::RefusedNoTransaction);
            return None;
        };
        let id = ClientId(LegId::new(cx.core.plan.shard, generation, index));
        let frame = cx.compose(|out, core| {
            let branch = branch(core, id, REQUEST);
            let len = write(out, core, &via(core, hop, &branch))?;
            self.logins.sign(core, (login, hop.to.ip()), out, len)
        })?;
        let (hop, moved) = match any_size {
            true => {
                let request = (hop, cx.frames.bytes_mut(frame));
                let moved = self.moved_behind((leg, method), &mut *request.1, hop);
                moved.unwrap_or_else(|| large::moved(cx.core, &self.deaf, request, cx.now.mono))
            }
            false => (hop, None),
        };
        let Some(text) = cx.core.arena.store(cx.frames.bytes(frame)) else {
            cx.discard(frame, Counter::DiscardNoRoom);
            return None;
        };
        let timers = cx.core.sip_timers();
        let (now, reliable) = (cx.now.mono, hop.is_reliable());
        let machine = match method.is_invite() {
            true => Machine::Invite(InviteClient::new(now, &timers, reliable)),
            false => Machine::Other(Client::new(now, &timers, reliable)),
        };
        let entry = ClientTransaction {
            machine,
            method,
            text,
            hop,
            leg,
            cseq,
            used: cseq,
            cancel: Cancel::No,
            left: false,
            again: 0,
            any_size,
            moved,
            login,
            tries,
            answered: ArrayVec::new(),
        };
        self.logins.hold(login, cseq);
        self.timers.set(index, entry.deadline());
        self.slab.insert(entry);
        if method.is_invite() || reliable {
            self.waiting.push(index, waits_at(hop), cx.core.plan.keys.table);
        }
        if method == Method::Bye {
            self.byes.begin(leg, id);
        }
        if moved.is_some() {
            self.moving.begin(leg, id);
        }
        cx.send_sip(hop, Some(frame));
        Some(id)
    }

    /// A response whose branch names this transaction. What it means for the leg that waits, if one
    /// does and it is news. `from_target`: it comes from the host that the request went to.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Cx<'_, '_>,
        (id, from_target): (ClientId, bool),
        message: &Message<'_>,
    ) -> Option<Outcome> {
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else { return None };
        let entry = self.index(id).and_then(|index| self.slab.get_mut(index));
        let Some(entry) = entry else {
            cx.count(Counter::DiscardSipStray);
            return None;
        };
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        if cseq.method == sip::Method::Cancel {
            if let Cancel::Sent(machine, _) = &mut entry.cancel {
                let _ = machine.handle_response(code, now, &timers);
            }
            self.rearm(cx.core, id);
            return None;
        }
        if cseq.method != entry.method.sip() || cseq.number != entry.cseq {
            cx.count(Counter::DiscardSipStray);
            return None;
        }
        let proceeded = entry.is_proceeding();
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => machine.handle_response(code, now, &timers),
            Machine::Other(machine) => machine.handle_response(code, now, &timers),
        };
        let bounded = entry.method == Method::Reinvite || entry.leg == LegId::NONE;
        if let Machine::Invite(machine) = &mut entry.machine
            && bounded
            && !proceeded
        {
            // Nobody rings for it, or nobody waits for it: it does not proceed for ever.
            machine.give_up_later(now, &timers);
        }
        let way = Way::of(code).filter(|_| from_target);
        let outcome = self.responded(cx, id, message, (code, actions, way));
        if code < 200 {
            self.cancel_if_wanted(cx, id);
        }
        match actions.has(Actions::END) {
            // Over a connection nothing comes again that would have to be waited for.
            true => self.remove(cx.core, id),
            false => self.rearm(cx.core, id),
        }
        outcome
    }

    fn responded(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ClientId,
        message: &Message<'_>,
        (code, actions, way): (u16, Actions, Option<Way>),
    ) -> Option<Outcome> {
        let entry = self.slab.get(self.index(id)?)?;
        if actions.has(Actions::ACK) {
            let (hop, text) = (entry.hop, &entry.text);
            let frame = cx.compose(|out, core| {
                let invite = Message::parse(core.arena.get(text)).ok()?;
                sip::ack_for_non_2xx(out, &invite, message).ok().map(<[u8]>::len)
            });
            cx.send_sip(hop, frame);
        }
        if !actions.has(Actions::PASS) {
            return None;
        }
        let (leg, method, cseq) = (entry.leg, entry.method, entry.cseq);
        let is_other = matches!(entry.machine, Machine::Other(_));
        let again = way.and_then(|way| self.challenged(cx, id, (way, message)));
        if is_other && code >= 200 {
            // Over: what would come again (timer K) is only counted.
            self.remove(cx.core, id);
        } else if again.is_some() {
            // What comes again is acknowledged, and nobody's news.
            self.orphan(cx.core, id);
        } else if leg == LegId::NONE && (200..300).contains(&code) {
            self.end_branch(cx, id, message);
        }
        let report = again.unwrap_or(Report::Response(code));
        let waits = leg != LegId::NONE || method == Method::Health;
        waits.then_some(Outcome { id, leg, method, cseq, report })
    }

    /// Nobody waits for its answer, and nothing is owed to whoever gives one.
    pub(crate) fn forget(&mut self, core: &mut Core<'_>, id: ClientId) {
        self.remove(core, id);
    }

    /// The next request that nobody answered, for the leg that waits. To be called until None.
    pub(crate) fn poll_timeout(&mut self, cx: &mut Cx<'_, '_>) -> Option<Outcome> {
        while let Some(index) = self.timers.pop(cx.now.mono) {
            let id = self.id(cx.core, index);
            self.at_work = Some(id);
            crate::faults::touch(crate::faults::Site::ClientTimer);
            let outcome = self.timeout(cx, id);
            self.at_work = None;
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }

    /// A fault came while a request's timer was served: it has no other, and ends. The leg that
    /// waits for its outcome.
    #[cold]
    pub(crate) fn end_at_work(&mut self, core: &mut Core<'_>) -> LegId {
        let Some(id) = self.at_work.take() else { return LegId::NONE };
        let leg = self.index(id).and_then(|index| self.slab.get(index)).map(|entry| entry.leg);
        self.remove(core, id);
        leg.unwrap_or(LegId::NONE)
    }

    fn timeout(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) -> Option<Outcome> {
        if self.moved_late(cx, id) {
            return self.moved_back(id);
        }
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        let index = self.index(id)?;
        let entry = self.slab.get_mut(index)?;
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &timers),
            Machine::Other(machine) => machine.handle_timeout(now, &timers),
        };
        if actions.has(Actions::RESEND) && !entry.left {
            cx.resend(entry.hop, &entry.text);
        }
        cancel_timeout(cx, entry, &timers);
        let (leg, method, cseq) = (entry.leg, entry.method, entry.cseq);
        if actions.has(Actions::END) {
            self.remove(cx.core, id);
        } else {
            self.rearm(cx.core, id);
        }
        let told = actions.has(Actions::TIMEOUT) && leg != LegId::NONE;
        told.then_some(Outcome { id, leg, method, cseq, report: Report::Timeout })
    }

    /// Where the request went, if it is `claimed` too.
    pub(crate) fn target(&self, id: ClientId, claimed: SocketAddr) -> Option<SocketAddr> {
        let to = self.slab.get(self.index(id)?)?.hop.to;
        let same_ip = to.ip().to_canonical() == claimed.ip().to_canonical();
        (same_ip && to.port() == claimed.port()).then_some(to)
    }

    /// The leg that waits for its answer; none of one that nobody waits for.
    pub(crate) fn leg(&self, id: ClientId) -> LegId {
        let request = self.index(id).and_then(|index| self.slab.get(index));
        request.map_or(LegId::NONE, |request| request.leg)
    }

    /// Whether its request went to that host.
    pub(crate) fn is_from_target(&self, id: ClientId, source: SocketAddr) -> bool {
        let request = self.index(id).and_then(|index| self.slab.get(index));
        let host = |address: SocketAddr| address.ip().to_canonical();
        request.is_some_and(|request| host(request.hop.to) == host(source))
    }

    /// Takes over an INVITE of an earlier run, which is to be cancelled: under its old name, so
    /// that responses find it. It is not sent again and counts as proceeding: whatever was said
    /// while nobody listened is not said again. False if there is no room.
    pub(crate) fn adopt(
        &mut self,
        cx: &mut Cx<'_, '_>,
        (id, hop): (ClientId, Hop),
        invite: &Message<'_>,
        reason: &[u8],
    ) -> bool {
        let (timers, now) = (cx.core.sip_timers(), cx.now.mono);
        let mut machine = InviteClient::new(now, &timers, hop.is_reliable());
        let _ = machine.handle_response(100, now, &timers);
        let arena = &mut cx.core.arena;
        let Some(mut text) = arena.store(invite.bytes()) else { return false };
        let Some(cancel) = arena.store(reason).map(Cancel::Wanted) else {
            arena.free(&mut text);
            return false;
        };
        let cseq = invite.cseq().map_or(0, |cseq| cseq.number);
        let entry = ClientTransaction {
            machine: Machine::Invite(machine),
            method: Method::Invite,
            text,
            hop,
            leg: LegId::NONE,
            cseq,
            // Nobody knows what the early dialogs have seen: fewer than that.
            used: cseq.saturating_add(crate::usage::CSEQ_AHEAD),
            cancel,
            left: true,
            again: 0,
            any_size: true,
            moved: None,
            login: LoginId::NONE,
            tries: 0,
            answered: ArrayVec::new(),
        };
        self.slab.occupy_as(id.0.index(), id.0.generation(), entry)
    }

    /// Ends an INVITE that is not answered: CANCEL, as soon as a provisional response allows it.
    /// `reason`: the value of its Reason header, empty for none. Nobody waits for it any more.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_, '_>, id: ClientId, reason: &[u8]) {
        let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) else { return };
        entry.leg = LegId::NONE;
        if matches!(entry.cancel, Cancel::No) {
            entry.cancel = Cancel::Wanted(cx.core.arena.store(reason).unwrap_or_default());
        }
        self.cancel_if_wanted(cx, id);
        self.rearm(cx.core, id);
    }

    /// Another target is tried: this one is not asked again, cancelled if it speaks after all, and
    /// ended if it answers.
    pub(crate) fn leave(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) {
        if let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) {
            entry.left = true;
        }
        self.cancel(cx, id, b"");
    }

    /// Nobody waits for the answer any more: what the protocol owes to whoever answers it is done
    /// all the same. The request is not repeated, but where a CANCEL waits for the first word of
    /// the other side: that one may be ringing already, and its word was lost (RFC 3261 section
    /// 9.1).
    pub(crate) fn orphan(&mut self, core: &mut Core<'_>, id: ClientId) {
        if let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) {
            entry.leg = LegId::NONE;
            entry.left |= !matches!(entry.cancel, Cancel::Wanted(_));
            self.rearm(core, id);
        }
    }

    fn cancel_if_wanted(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) {
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) else { return };
        if !entry.is_proceeding() {
            return;
        }
        let Cancel::Wanted(reason) = &mut entry.cancel else { return };
        if let Machine::Invite(machine) = &mut entry.machine {
            machine.give_up_later(now, &timers);
        }
        let text = &entry.text;
        let frame = cx.compose(|out, core| {
            let invite = Message::parse(core.arena.get(text)).ok()?;
            let writer = sip::cancel_for(out, &invite).ok()?;
            with_reason(writer, core.arena.get(reason)).finish().ok().map(<[u8]>::len)
        });
        // Without a frame it stays wanted: the next provisional response is another occasion.
        let Some(frame) = frame else { return };
        cx.core.arena.free(reason);
        let stored = cx.core.arena.store(cx.frames.bytes(frame)).unwrap_or_default();
        entry.cancel = Cancel::Sent(Client::new(now, &timers, entry.hop.is_reliable()), stored);
        cx.send_sip(entry.hop, Some(frame));
    }

    /// An early dialog of this INVITE has seen a request of ours with this number.
    pub(crate) fn use_cseq(&mut self, id: ClientId, cseq: u32) {
        if let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) {
            entry.used = entry.used.max(cseq);
        }
    }

    /// This tag's answer is the dialog that we keep.
    pub(crate) fn confirm(&mut self, core: &Core<'_>, id: ClientId, tag: &[u8]) {
        let hash = sip::key::call_hash(tag, &core.plan.keys.token);
        if let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) {
            let _ = entry.answered.try_push(hash);
        }
    }

    /// Sets its timer; once it is finished, what no repetition needs is given back.
    fn rearm(&mut self, core: &mut Core<'_>, id: ClientId) {
        let Some(index) = self.index(id) else { return };
        let Some(entry) = self.slab.get_mut(index) else { return };
        self.timers.set(index, entry.deadline());
        let concerns = entry.is_unanswered() || entry.rings_for_somebody();
        let may_go_again = entry.hop.is_reliable() && concerns;
        if !entry.waits() && !may_go_again {
            self.waiting.remove(index);
        }
        match (entry.is_finished(), self.finished.has(index)) {
            (true, false) => {
                shrink(core, &mut entry.text);
                // It is answered: what a far end may still ask of it, its leg answers for. Logins
                // are few, and calls of a trunk with credentials are many in the seconds that this
                // stands here.
                let login = core::mem::replace(&mut entry.login, LoginId::NONE);
                self.logins.release(&mut core.arena, login);
                // Where nobody has said a word is whose place another one has first.
                self.finished.push(index, entry.is_calling());
            }
            // It spoke after all.
            (false, true) => self.finished.remove(index),
            _ => {}
        }
    }

    fn remove(&mut self, core: &mut Core<'_>, id: ClientId) {
        let Some(index) = self.index(id) else { return };
        let Some(mut entry) = self.slab.remove(index) else { return };
        core.arena.free(&mut entry.text);
        self.logins.release(&mut core.arena, entry.login);
        match &mut entry.cancel {
            Cancel::No => {}
            Cancel::Wanted(text) | Cancel::Sent(_, text) => core.arena.free(text),
        }
        self.timers.cancel(index);
        self.finished.remove(index);
        self.waiting.remove(index);
    }
}

/// Leaves of an INVITE what its ACK and the BYE of an answer nobody wants are made of (RFC 3261
/// sections 12.1.2 and 17.1.1.3): no description, no list of what we support.
fn shrink(core: &mut Core<'_>, text: &mut Stored) {
    const KEPT: [Name; 8] = [
        Name::Via,
        Name::From,
        Name::To,
        Name::CallId,
        Name::CSeq,
        Name::Route,
        Name::Authorization,
        Name::ProxyAuthorization,
    ];
    let mut page = core::mem::take(&mut core.page);
    let len = Message::parse(core.arena.get(text)).ok().and_then(|invite| {
        let mut writer = Writer::new(&mut page).request_line(invite.method()?, invite.uri_raw());
        for header in invite.headers().filter(|header| KEPT.contains(&header.name)) {
            writer = writer.copy_value(header.name, header.value);
        }
        writer.finish().ok().map(<[u8]>::len)
    });
    // Where there is no room for the short one, the long one stays.
    let short = len.filter(|len| *len < text.len()).and_then(|len| core.arena.store(&page[..len]));
    if let Some(short) = short {
        core.arena.free(text);
        *text = short;
    }
    core.page = page;
}

fn with_reason<'w>(writer: Writer<'w>, reason: &[u8]) -> Writer<'w> {
    match reason.is_empty() {
        true => writer,
        false => writer.field(Name::Reason, reason),
    }
}

fn cancel_timeout(cx: &mut Cx<'_, '_>, entry: &mut ClientTransaction, timers: &Timers) {
    let Cancel::Sent(machine, text) = &mut entry.cancel else { return };
    let actions = machine.handle_timeout(cx.now.mono, timers);
    if actions.has(Actions::RESEND) {
        cx.resend(entry.hop, text);
    }
}
