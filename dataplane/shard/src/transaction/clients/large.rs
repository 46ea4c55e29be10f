//! Requests that are too large for a datagram (RFC 3261 section 18.1.1): they go by a stream to the
//! same address and port, and by a datagram after all where nobody takes the stream. Only Via says
//! by which of the two; its branch, and with it whoever answers, stays.

use core::net::SocketAddr;
use core::time::Duration;

use arrayvec::ArrayVec;
use base::{Door, Hop, LegId, Mono, Transport};
use sip::txn::{Client, InviteClient};
use wire::counter::Counter;

use super::{ClientId, ClientTransaction, Clients, Machine, Method, Outcome, Report, waits_at};
use crate::cx::{Core, Cx};
use crate::transport::connections::End;

/// How long a connection may take to stand; a firewall that says nothing must not cost the call.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it is remembered where nobody took one, and of how many addresses: the oldest is
/// forgotten first.
const REMEMBERED: Duration = Duration::from_secs(30);
const DEAF_MAX: usize = 64;

/// Addresses that took no connection lately.
#[derive(Debug, Default)]
pub(super) struct Deaf(ArrayVec<(SocketAddr, Mono), DEAF_MAX>);

impl Deaf {
    fn mark(&mut self, to: SocketAddr, now: Mono) {
        self.0.retain(|(known, until)| *known != to && *until > now);
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push((to, now + REMEMBERED));
    }

    fn has(&self, to: SocketAddr, now: Mono) -> bool {
        self.0.iter().any(|(known, until)| *known == to && *until > now)
    }
}

/// A request that was moved from a datagram to a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    from: Hop,
    /// When the connection has to stand; [`Mono::NEVER`] once it does.
    pub(super) until: Mono,
    /// The request of its leg's that it went behind.
    behind: ClientId,
}

/// So many requests of a leg's move back at once, in their order.
const CHAIN_MAX: usize = 64;

/// The last request of each leg's slot that has moved. What the leg says before that is answered
/// goes by the same way: the far end would refuse what is overtaken (RFC 3261 section 12.2.2).
/// Nothing is ever taken out: a transaction's id carries a generation, and it knows its leg.
#[derive(Debug)]
pub(super) struct Moving(Vec<ClientId>);

impl Moving {
    pub(super) fn new(legs: u32) -> Self {
        Self(vec![ClientId::NONE; legs as usize])
    }

    pub(super) fn begin(&mut self, leg: LegId, id: ClientId) {
        if leg != LegId::NONE
            && let Some(place) = self.0.get_mut(leg.index() as usize)
        {
            *place = id;
        }
    }
}

impl ClientTransaction {
    /// The way back is open: nobody has said a word.
    pub(super) fn may_move_back(&self) -> bool {
        let trying = sip::txn::client::State::Trying;
        let is_trying = matches!(&self.machine, Machine::Other(it) if it.state() == trying);
        self.moved.is_some() && (self.is_calling() || is_trying)
    }

    /// An INVITE whose caller has gone before anybody could have heard of it.
    pub(super) fn is_unheard_of(&self) -> bool {
        self.method.is_invite() && self.leg == LegId::NONE && self.again == 0
    }

    /// The INVITE to a phone.
    pub(super) fn is_to_phone(&self) -> bool {
        self.method == Method::Invite && !self.any_size
    }
}

/// The way of a request of so many bytes, whose Via is changed along with it.
pub(super) fn moved(
    core: &mut Core<'_>,
    deaf: &Deaf,
    (hop, request): (Hop, &mut [u8]),
    now: Mono,
) -> (Hop, Option<Moved>) {
    let limit = usize::from(core.plan.limits.datagram_bytes);
    let beside = core.stream_beside(hop).filter(|_| limit > 0 && request.len() > limit);
    match beside.filter(|_| !deaf.has(hop.to, now)) {
        Some(stream) if say(request, b"TCP") => {
            core.counters.count(Counter::SipMovedToStream);
            let behind = ClientId::NONE;
            (stream, Some(Moved { from: hop, until: now + PATIENCE, behind }))
        }
        _ => (hop, None),
    }
}

/// Writes the transport into the first Via of a request. False if it has none of ours.
fn say(request: &mut [u8], transport: &[u8; 3]) -> bool {
    const BEFORE: &[u8] = b"Via: SIP/2.0/";
    let at = request.windows(BEFORE.len()).position(|bytes| bytes == BEFORE);
    let name = at.and_then(|at| request.get_mut(at + BEFORE.len()..)?.first_chunk_mut());
    name.map(|name: &mut [u8; 3]| *name = *transport).is_some()
}

impl Core<'_> {
    /// By a stream to where a datagram would go, if we listen for both at one address and port: an
    /// answer that comes by a connection of its own finds us.
    fn stream_beside(&self, hop: Hop) -> Option<Hop> {
        let Door::Datagram(listener) = hop.via else { return None };
        let own = self.plan.listeners.get(usize::from(listener))?;
        let mut all = (0_u8..).zip(&self.plan.listeners);
        let (index, _) =
            all.find(|(_, it)| it.transport == Transport::Tcp && it.advertised == own.advertised)?;
        Some(Hop::connection(index, hop.to, base::TlsName::NONE))
    }
}

impl Clients {
    /// The connection of a moved request may take no longer. True if it goes by a datagram now.
    pub(super) fn moved_late(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) -> bool {
        let now = cx.now.mono;
        let entry = self.index(id).and_then(|index| self.slab.get_mut(index));
        let Some(entry) = entry else { return false };
        // One that nobody waits for may stay where it is: should the connection stand after all, it
        // is cancelled there.
        let is_wanted = !entry.left && !entry.is_unheard_of();
        let (hop, is_silent) = (entry.hop, entry.may_move_back());
        let Some(moved) = entry.moved.as_mut().filter(|moved| moved.until <= now) else {
            return false;
        };
        moved.until = Mono::NEVER;
        let Door::Connection { listener, name, .. } = hop.via else { return false };
        let end = End { listener, remote: hop.to, name };
        if !is_silent || cx.core.connections.leads_to(end) {
            return false;
        }
        self.deaf.mark(hop.to, now);
        is_wanted && self.move_back(cx, id)
    }

    /// The way of a request whose leg has said something by a stream that nobody has answered yet.
    pub(super) fn moved_behind(
        &self,
        (leg, method): (LegId, Method),
        request: &mut [u8],
        hop: Hop,
    ) -> Option<(Hop, Option<Moved>)> {
        if leg == LegId::NONE || matches!(method, Method::Invite | Method::Bye) {
            return None;
        }
        let behind = *self.moving.0.get(leg.index() as usize)?;
        let before = self.slab.get(self.index(behind)?)?;
        let is_its = before.leg == leg && before.method != Method::Invite;
        let moved = before.moved.filter(|it| it.from == hop && is_its && before.is_unanswered())?;
        let until = moved.until;
        say(request, b"TCP").then_some((before.hop, Some(Moved { from: hop, until, behind })))
    }

    /// By which way a request went.
    pub(crate) fn hop(&self, id: ClientId) -> Option<Hop> {
        self.slab.get(self.index(id)?).map(|entry| entry.hop)
    }

    /// For the leg that waits for it.
    pub(super) fn moved_back(&self, id: ClientId) -> Option<Outcome> {
        let entry = self.slab.get(self.index(id)?).filter(|entry| entry.leg != LegId::NONE)?;
        let (leg, method, cseq) = (entry.leg, entry.method, entry.cseq);
        Some(Outcome { id, leg, method, cseq, report: Report::MovedBack })
    }

    /// Sends it by a datagram after all, behind those that it went behind. False if it was never to
    /// go by one, or was answered.
    pub(super) fn move_back(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) -> bool {
        let mut chain: ArrayVec<ClientId, CHAIN_MAX> = ArrayVec::new();
        let mut next = id;
        while let Some(entry) = self.index(next).and_then(|index| self.slab.get(index))
            && let Some(moved) = entry.moved.filter(|_| entry.may_move_back())
            && chain.try_push(next).is_ok()
        {
            next = moved.behind;
        }
        for before in chain.iter().rev() {
            self.move_one_back(cx, *before);
        }
        !chain.is_empty()
    }

    fn move_one_back(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) {
        let Some(index) = self.index(id) else { return };
        let Some(entry) = self.slab.get_mut(index) else { return };
        let Some(Moved { from, .. }) = entry.moved.take() else { return };
        let (timers, now) = (cx.core.sip_timers(), cx.now.mono);
        self.deaf.mark(from.to, now);
        if entry.is_unheard_of() {
            return self.remove(cx.core, id);
        }
        say(cx.core.arena.get_mut(&entry.text), b"UDP");
        entry.hop = from;
        entry.machine = match &entry.machine {
            Machine::Invite(_) => Machine::Invite(InviteClient::new(now, &timers, false)),
            Machine::Other(_) => Machine::Other(Client::new(now, &timers, false)),
        };
        cx.count(Counter::SipMovedBack);
        self.waiting.push(index, waits_at(from), cx.core.plan.keys.table);
        cx.resend(from, &entry.text);
        self.rearm(cx.core, id);
    }
}
