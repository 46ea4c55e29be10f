//! Requests that came, and how they were answered.

use base::{Frame, Hop, IndexMap, LegId, Mono, Slab, Stored, Wheel};
use sip::key::TransactionKey;
use sip::txn::{Actions, InviteServer, Server};

use crate::cx::{Core, Cx};

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
    /// The same request that came another way (RFC 3261 section 8.2.2.2); INVITE only.
    merge: Option<TransactionKey>,
    machine: Machine,
    /// Last response sent.
    response: Stored,
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

/// What begins a server transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) invite: bool,
    pub(crate) key: TransactionKey,
    pub(crate) merge: Option<TransactionKey>,
    pub(crate) hop: Hop,
    pub(crate) leg: LegId,
}

#[derive(Debug)]
pub(crate) struct Servers {
    slab: Slab<ServerTransaction>,
    keys: IndexMap,
    timers: Wheel,
}

impl Machine {
    fn deadline(&self) -> Mono {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::Other(machine) => machine.deadline(),
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
        let is = |index: u32| self.slab.get(index).is_some_and(|entry| entry.merge == Some(merge));
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

    /// None if the table is full.
    pub(crate) fn begin(&mut self, begin: &Begin) -> Option<ServerId> {
        let Begin { invite, key, merge, hop, leg } = *begin;
        let machine = match invite {
            true => Machine::Invite(InviteServer::new(hop.is_reliable())),
            false => Machine::Other(Server::new(hop.is_reliable())),
        };
        let response = Stored::default();
        let transaction = ServerTransaction { key, merge, machine, response, hop, leg };
        let index = self.slab.insert(transaction)?;
        self.keys.insert(key.short(), index);
        if let Some(merge) = merge {
            self.keys.insert(merge.short(), index);
        }
        self.id(index)
    }

    /// The leg that the request is for; none once it is over.
    pub(crate) fn leg(&self, id: ServerId) -> LegId {
        self.get(id).map_or(LegId::NONE, |entry| entry.leg)
    }

    /// Where responses go.
    pub(crate) fn hop(&self, id: ServerId) -> Option<Hop> {
        self.get(id).map(|entry| entry.hop)
    }

    /// A retransmission, or the ACK of a refusal. True if it is an ACK for the leg (one with its
    /// INVITE's branch, as RFC 2543 peers send it for a 2xx).
    pub(crate) fn handle_request(&mut self, cx: &mut Cx<'_, '_>, id: ServerId, ack: bool) -> bool {
        let timers = cx.core.sip_timers();
        let now = cx.now.mono;
        let Some(entry) = self.get_mut(id) else { return false };
        let actions = match &mut entry.machine {
            Machine::Invite(machine) if ack => machine.handle_ack(now, &timers),
            Machine::Invite(machine) => machine.handle_request(now, &timers),
            Machine::Other(machine) => machine.handle_request(now, &timers),
        };
        self.act(cx, id.index, actions);
        actions.has(Actions::PASS) && ack
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
        // Without room the response goes out once; the peer asks again and is told again by the
        // leg.
        entry.response = cx.core.arena.store(cx.frames.bytes(frame)).unwrap_or_default();
        let hop = entry.hop;
        cx.send_sip(hop, Some(frame));
        self.act(cx, id.index, actions);
        Some(hop)
    }

    /// Everything whose time has come.
    pub(crate) fn handle_tick(&mut self, cx: &mut Cx<'_, '_>) {
        while let Some(index) = self.timers.pop(cx.now.mono) {
            let timers = cx.core.sip_timers();
            let now = cx.now.mono;
            let Some(entry) = self.slab.get_mut(index) else { continue };
            let actions = match &mut entry.machine {
                Machine::Invite(machine) => machine.handle_timeout(now, &timers),
                Machine::Other(machine) => machine.handle_timeout(now, &timers),
            };
            self.act(cx, index, actions);
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
        if let Some(merge) = entry.merge {
            self.keys.remove(merge.short(), index);
        }
        self.timers.cancel(index);
    }

    /// A leg is gone: its transaction answers retransmissions alone from now on.
    pub(crate) fn orphan(&mut self, core: &mut Core<'_>, id: ServerId) {
        let Some(entry) = self.get_mut(id) else { return };
        entry.leg = LegId::NONE;
        let unanswered = matches!(&entry.machine, Machine::Invite(machine)
            if machine.state() == sip::txn::invite_server::State::Proceeding);
        if unanswered {
            // No final response could be written: it has no timer of its own and would stand for
            // ever.
            self.end(core, id);
        }
    }

    /// A fault came between a request of this leg and its answer: its repetition begins anew.
    #[cold]
    pub(crate) fn end_unanswered(&mut self, core: &mut Core<'_>, leg: LegId) {
        let open = |slab: &Slab<ServerTransaction>| {
            let of_leg = |entry: &ServerTransaction| entry.leg == leg && entry.response.is_empty();
            slab.iter().find(|(_, entry)| of_leg(entry)).map(|(index, _)| index)
        };
        while let Some(index) = open(&self.slab) {
            self.remove(core, index);
        }
    }
}
