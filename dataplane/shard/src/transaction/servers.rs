//! Requests that came, and how they were answered.

use base::{Frame, Hop, IndexMap, LegId, Mono, Slab, Stored, Wheel};
use sip::key::TransactionKey;
use sip::txn::{Actions, InviteServer, Server, invite_server, server};
use wire::counter::Counter;

use super::finished::Finished;
use super::share::{Account, Shares};
use crate::cx::{Core, Cx};
use crate::transport::guard::Standing;

/// Names a server transaction for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    index: u32,
    generation: u32,
}

impl ServerId {
    /// No transaction (generation 0 is never used).
    pub(crate) const NONE: Self = Self { index: 0, generation: 0 };
}

/// A request that came, and how it was answered.
#[derive(Debug)]
pub(crate) struct ServerTransaction {
    key: TransactionKey,
    /// The same request that came another way (RFC 3261 section 8.2.2.2), hashed under our key; 0
    /// for none. INVITE only.
    merge: u64,
    machine: Machine,
    /// Last response sent, where a repetition cannot be answered by its status alone.
    response: Stored,
    /// Status of the final response that is not kept, because its request says the rest; 0 for
    /// none.
    short: u16,
    account: Account,
    /// Where responses go.
    hop: Hop,
    /// The leg it is for, while there is one.
    leg: LegId,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(Server),
}

impl ServerTransaction {
    /// Nothing was said in it yet.
    fn is_unanswered(&self) -> bool {
        match &self.machine {
            Machine::Invite(machine) => {
                machine.state() == invite_server::State::Proceeding && self.response.is_empty()
            }
            Machine::Other(machine) => machine.state() == server::State::Trying,
        }
    }
}

/// What begins a server transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) invite: bool,
    pub(crate) key: TransactionKey,
    pub(crate) merge: Option<TransactionKey>,
    pub(crate) hop: Hop,
    pub(crate) leg: LegId,
    /// Of whoever asks: how much of the table is there for it.
    pub(crate) standing: Standing,
}

/// What a request that came again, or an ACK, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// Nobody else: the transaction has done what there was to do.
    Absorbed,
    /// The leg: an ACK with its INVITE's branch, as RFC 2543 peers send it for a 2xx.
    Ack,
    /// It is to be answered with this status again, and nothing but what it says itself.
    Again(u16),
}

#[derive(Debug)]
pub(crate) struct Servers {
    slab: Slab<ServerTransaction>,
    keys: IndexMap,
    timers: Wheel,
    finished: Finished,
    shares: Shares,
    /// The one whose timer is being served.
    at_work: Option<u32>,
}

impl Machine {
    fn deadline(&self) -> Mono {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::Other(machine) => machine.deadline(),
        }
    }

    /// Only repetitions are waited for. A 2xx to INVITE is not finished by itself: a repetition of
    /// its INVITE would begin a second call until the far end has heard of it ([`Servers::heard`]).
    fn is_finished(&self, counted: bool) -> bool {
        match self {
            Self::Invite(machine) => match machine.state() {
                invite_server::State::Confirmed => true,
                // A refusal that only a trunk's has to acknowledge holds room.
                invite_server::State::Completed => counted,
                _ => false,
            },
            Self::Other(machine) => machine.state() == server::State::Completed,
        }
    }
}

impl Servers {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            slab: Slab::new(limit),
            // An INVITE has two keys: its own, and the one that finds it when it comes by another
            // way.
            keys: IndexMap::new(limit as usize * 2),
            timers: Wheel::new(limit),
            finished: Finished::new(limit),
            shares: Shares::new(limit),
            at_work: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.timers.next()
    }

    /// The transaction that this request repeats.
    pub(crate) fn find(&self, key: TransactionKey) -> Option<ServerId> {
        let is = |index: u32| self.slab.get(index).is_some_and(|entry| entry.key == key);
        self.keys.find(key.short(), is).and_then(|index| self.id(index))
    }

    /// The transaction of the same request that came by another way.
    pub(crate) fn find_merged(&self, merge: TransactionKey) -> Option<ServerId> {
        let merge_short = merge.short();
        let is = |index: u32| self.slab.get(index).is_some_and(|entry| entry.merge == merge_short);
        self.keys.find(merge.short(), is).and_then(|index| self.id(index))
    }

    fn id(&self, index: u32) -> Option<ServerId> {
        Some(ServerId { index, generation: self.slab.generation(index)? })
    }

    fn get_mut(&mut self, id: ServerId) -> Option<&mut ServerTransaction> {
        let index = self.slab.live(id.index, id.generation)?;
        self.slab.get_mut(index)
    }

    fn get(&self, id: ServerId) -> Option<&ServerTransaction> {
        self.slab.get(self.slab.live(id.index, id.generation)?)
    }

    /// None if whoever asks has its share of the table, or if it is full of unfinished ones
    /// (counted).
    pub(crate) fn begin(&mut self, core: &mut Core<'_>, begin: &Begin) -> Option<ServerId> {
        let Begin { invite, key, merge, hop, leg, standing } = *begin;
        let account = Account::of(standing, hop.to, core.plan.keys.table);
        let open = self.slab.len() - self.finished.len();
        if !self.shares.may_begin(account, open) || !self.make_room(core) {
            core.counters.count(Counter::RefusedNoTransaction);
            return None;
        }
        let machine = match invite {
            true => Machine::Invite(InviteServer::new(hop.is_reliable())),
            false => Machine::Other(Server::new(hop.is_reliable())),
        };
        let (response, short) = (Stored::default(), 0);
        let merge = merge.map_or(0, TransactionKey::short);
        let transaction =
            ServerTransaction { key, merge, machine, response, short, account, hop, leg };
        let index = self.slab.insert(transaction)?;
        self.shares.begin(account);
        self.keys.insert(key.short(), index);
        if merge != 0 {
            self.keys.insert(merge, index);
        }
        self.id(index)
    }

    /// A free slot: where there is none, the oldest finished one's.
    fn make_room(&mut self, core: &mut Core<'_>) -> bool {
        if !self.slab.is_full() {
            return true;
        }
        let Some(oldest) = self.finished.oldest() else { return false };
        core.counters.count(Counter::TransactionEvicted);
        self.remove(core, oldest);
        true
    }

    /// The far end has heard our 2xx to its INVITE (its ACK came, or nothing will): repetitions of
    /// the INVITE are all that the transaction waits for.
    pub(crate) fn heard(&mut self, core: &mut Core<'_>, id: ServerId) {
        if let Some(index) = self.slab.live(id.index, id.generation) {
            self.finish(core, index);
        }
    }

    /// Only repetitions are waited for: what no repetition needs is given back.
    fn finish(&mut self, core: &mut Core<'_>, index: u32) {
        let Some(entry) = self.slab.get_mut(index) else { return };
        if matches!(&entry.machine, Machine::Invite(machine)
            if machine.state() != invite_server::State::Completed)
        {
            core.arena.free(&mut entry.response);
        }
        if self.finished.has(index) {
            return;
        }
        self.shares.end(entry.account);
        self.finished.push(index, entry.account.is_counted());
    }

    /// The leg that the request is for; none once it is over.
    pub(crate) fn leg(&self, id: ServerId) -> LegId {
        self.get(id).map_or(LegId::NONE, |entry| entry.leg)
    }

    /// Where responses go.
    pub(crate) fn hop(&self, id: ServerId) -> Option<Hop> {
        self.get(id).map(|entry| entry.hop)
    }

    /// A retransmission, or the ACK of a refusal.
    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ServerId,
        ack: bool,
    ) -> Repeated {
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        let Some(entry) = self.get_mut(id) else { return Repeated::Absorbed };
        let actions = match &mut entry.machine {
            Machine::Invite(machine) if ack => machine.handle_ack(now, &timers),
            Machine::Invite(machine) => machine.handle_request(now, &timers),
            Machine::Other(machine) => machine.handle_request(now, &timers),
        };
        let short = entry.short;
        self.act(cx, id.index, actions);
        match short {
            _ if actions.has(Actions::PASS) && ack => Repeated::Ack,
            1.. if actions.has(Actions::RESEND) => Repeated::Again(short),
            _ => Repeated::Absorbed,
        }
    }

    /// Sends a response in its transaction: `frame` holds it. The hop it went to; None if it came
    /// too late (a final response is out) or the transaction is gone.
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ServerId,
        code: u16,
        frame: Frame,
    ) -> Option<Hop> {
        self.send_kept(cx, id, (code, true), frame)
    }

    /// The same for a final response that its request says all of but the status: that alone is
    /// kept.
    pub(crate) fn send_short(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ServerId,
        code: u16,
        frame: Frame,
    ) -> Option<Hop> {
        self.send_kept(cx, id, (code, false), frame)
    }

    fn send_kept(
        &mut self,
        cx: &mut Cx<'_, '_>,
        id: ServerId,
        (code, whole): (u16, bool),
        frame: Frame,
    ) -> Option<Hop> {
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        let Some(entry) = self.get_mut(id) else {
            cx.free(frame);
            return None;
        };
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => machine.send(code, now, &timers),
            Machine::Other(machine) => machine.send(code, now, &timers),
        };
        if !actions.has(Actions::SEND) {
            cx.free(frame);
            return None;
        }
        cx.core.arena.free(&mut entry.response);
        let invite = matches!(entry.machine, Machine::Invite(_));
        match (invite, code) {
            // A 2xx is repeated by its leg (RFC 3261 section 13.3.1.4).
            (true, 200..300) => {}
            (false, 200..) if !whole => entry.short = code,
            // Without room the response goes out once; the peer asks again and is told again by
            // the leg.
            _ => {
                let kept = cx.core.arena.store(cx.frames.bytes(frame));
                entry.response = kept.unwrap_or_default();
            }
        }
        let hop = entry.hop;
        cx.send_sip(hop, Some(frame));
        self.act(cx, id.index, actions);
        Some(hop)
    }

    /// Sends the last response of its transaction again.
    pub(crate) fn resend(&self, cx: &mut Cx<'_, '_>, id: ServerId) {
        if let Some(entry) = self.get(id).filter(|entry| !entry.response.is_empty()) {
            cx.resend(entry.hop, &entry.response);
        }
    }

    /// Everything whose time has come.
    pub(crate) fn handle_tick(&mut self, cx: &mut Cx<'_, '_>) {
        while let Some(index) = self.timers.pop(cx.now.mono) {
            let timers = cx.core.sip_timers();
            let now = cx.now.mono;
            self.at_work = Some(index);
            crate::faults::touch(crate::faults::Site::ServerTimer);
            let Some(entry) = self.slab.get_mut(index) else { continue };
            let actions = match &mut entry.machine {
                Machine::Invite(machine) => machine.handle_timeout(now, &timers),
                Machine::Other(machine) => machine.handle_timeout(now, &timers),
            };
            self.act(cx, index, actions);
        }
        self.at_work = None;
    }

    /// A fault came while a transaction's timer was served: it has no other, and ends.
    #[cold]
    pub(crate) fn end_at_work(&mut self, core: &mut Core<'_>) {
        if let Some(index) = self.at_work.take() {
            self.remove(core, index);
        }
    }

    fn act(&mut self, cx: &mut Cx<'_, '_>, index: u32, actions: Actions) {
        let Some(entry) = self.slab.get(index) else { return };
        if actions.has(Actions::RESEND) && !entry.response.is_empty() {
            cx.resend(entry.hop, &entry.response);
        }
        if actions.has(Actions::END) {
            return self.remove(cx.core, index);
        }
        self.timers.set(index, entry.machine.deadline());
        if entry.machine.is_finished(entry.account.is_counted()) {
            self.finish(cx.core, index);
        }
    }

    /// Forgets a transaction that could not be answered: the request's repetition begins anew.
    pub(crate) fn end(&mut self, core: &mut Core<'_>, id: ServerId) {
        if let Some(index) = self.slab.live(id.index, id.generation) {
            self.remove(core, index);
        }
    }

    fn remove(&mut self, core: &mut Core<'_>, index: u32) {
        let Some(mut entry) = self.slab.remove(index) else { return };
        core.arena.free(&mut entry.response);
        self.keys.remove(entry.key.short(), index);
        if entry.merge != 0 {
            self.keys.remove(entry.merge, index);
        }
        if self.finished.has(index) {
            self.finished.remove(index);
        } else {
            self.shares.end(entry.account);
        }
        self.timers.cancel(index);
    }

    /// A leg is gone: its transaction answers retransmissions alone from now on.
    pub(crate) fn orphan(&mut self, core: &mut Core<'_>, id: ServerId) {
        let Some(entry) = self.get_mut(id) else { return };
        entry.leg = LegId::NONE;
        let unanswered = matches!(&entry.machine, Machine::Invite(machine)
            if machine.state() == invite_server::State::Proceeding);
        if unanswered {
            // No final response could be written: it has no timer of its own and would stand for
            // ever.
            self.end(core, id);
        }
    }

    /// A fault came between a request of this leg and its answer: its repetition begins anew.
    #[cold]
    pub(crate) fn end_unanswered(&mut self, core: &mut Core<'_>, leg: LegId) {
        // One walk, and only after a fault of ours.
        for index in 0..self.slab.capacity() {
            let unanswered = self.slab.get(index).is_some_and(|entry| {
                entry.leg == leg && entry.is_unanswered() && !self.finished.has(index)
            });
            if unanswered {
                self.remove(core, index);
            }
        }
    }
}
