//! Calls that the dataplane routes alone, and what it tells of their messages.

use base::{CallId, LegId, Wall};
use wire::SipMessage;
use wire::event::{Cause, Direction, Party};

use super::{ACCOUNT_NUMBER, OwnedEvent, World};

/// A told message with its text.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) call: CallId,
    pub(crate) parent: CallId,
    pub(crate) leg: LegId,
    pub(crate) account: u64,
    pub(crate) at: Wall,
    pub(crate) direction: Direction,
    pub(crate) sent: bool,
    pub(crate) trunk: bool,
    pub(crate) number: u32,
    pub(crate) left_out: u32,
    pub(crate) wanted: Vec<u128>,
    pub(crate) created: Wall,
    pub(crate) answered: Wall,
    pub(crate) method: &'static str,
    pub(crate) code: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Said {
    pub(crate) fn event(&self) -> SipMessage<'_> {
        SipMessage {
            call: self.call,
            parent: self.parent,
            leg: self.leg,
            account: self.account,
            at: self.at,
            direction: self.direction,
            sent: self.sent,
            trunk: self.trunk,
            number: self.number,
            left_out: self.left_out,
            wanted: self.wanted.iter().copied().collect(),
            from: "sip:alice@caller.test",
            to: "sip:bob@callee.test",
            created: self.created,
            answered: self.answered,
            method: self.method,
            cseq: 5,
            code: self.code,
            start: if self.code > 0 { "Some Reason" } else { "sip:bob@callee.test" },
            headers: &self.headers,
            body: &self.body,
            is_cut: false,
        }
    }
}

impl World {
    /// A call of a static route that stands: the leg that came in, and the one dialled for it.
    pub(crate) fn relay(&mut self) -> [CallId; 2] {
        let calls = self.relay_rings();
        calls.into_iter().for_each(|call| self.answer(call, 0));
        calls
    }

    /// The same, not answered yet.
    pub(crate) fn relay_rings(&mut self) -> [CallId; 2] {
        let number = u128::from(self.next_leg) + 1;
        let calls = [number, number + 1].map(|number| CallId(0xdd << 64 | number));
        for (at, call) in calls.into_iter().enumerate() {
            let (parent, direction) = match at {
                0 => (CallId::NONE, Direction::Inbound),
                _ => (calls[0], Direction::Outbound),
            };
            let mut leg = self.new_leg(call, parent, direction);
            leg.account = ACCOUNT_NUMBER;
            leg.to = "sip:bob@callee.test".to_owned();
            leg.relay = Some(calls[1 - at]);
            self.legs.insert(call, leg);
        }
        calls
    }

    /// Both legs of a relay are answered.
    pub(crate) fn answer_relay(&mut self, call: CallId) {
        let other = self.legs[&call].relay;
        for call in [Some(call), other].into_iter().flatten() {
            self.answer(call, 0);
        }
    }

    /// A message of the leg of a call, as some subscriptions want it.
    pub(crate) fn said(
        &mut self,
        call: CallId,
        number: u32,
        method: &'static str,
        wanted: &[u128],
    ) {
        self.say(call, number, method, wanted, |_| {});
    }

    pub(crate) fn say(
        &mut self,
        call: CallId,
        number: u32,
        method: &'static str,
        wanted: &[u128],
        change: impl FnOnce(&mut Said),
    ) {
        let leg = &self.legs[&call];
        let mut said = Said {
            call,
            parent: leg.parent,
            leg: leg.id,
            account: leg.account,
            at: self.now.wall,
            direction: leg.direction,
            sent: false,
            trunk: leg.relay.is_some(),
            number,
            left_out: 0,
            wanted: wanted.to_vec(),
            created: leg.created,
            answered: leg.answered,
            method,
            code: 0,
            headers: "Via: a\r\nVia: b\r\nCall-ID: sip-call-id\r\nX-Foo: bar\r\n".to_owned(),
            body: String::new(),
        };
        change(&mut said);
        self.event(0, OwnedEvent::Message(Box::new(said)));
    }

    pub(super) fn take(&mut self, call: CallId) {
        let leg = self.legs.get_mut(&call).filter(|leg| !leg.ended && leg.answered.0 > 0);
        if let Some(leg) = leg {
            leg.is_held = true;
        }
    }

    pub(super) fn give_back(&mut self, call: CallId) {
        let Some(leg) = self.legs.get_mut(&call).filter(|leg| !leg.ended) else { return };
        leg.is_held = false;
        let Some(peer) = leg.relay else { return };
        if self.legs[&peer].ended {
            return self.end(call, Party::Peer, Cause::Normal, 200);
        }
        let at = self.now.wall;
        self.event(0, OwnedEvent::Joined { call, peer, at });
    }

    /// The other leg of the relay ends with this one, unless an application has it.
    pub(super) fn end_relay(&mut self, call: CallId) {
        let other = self.legs[&call].relay;
        if let Some(other) = other.filter(|other| !self.legs[other].is_held) {
            self.end(other, Party::Peer, Cause::Normal, 200);
        }
    }
}

impl World {
    /// What came of a REFER of ours.
    pub(crate) fn refer_said(&mut self, call: CallId, code: u16, notified: u16) {
        let event = wire::Event::ReferSaid { call, at: self.now.wall, code, notified };
        self.director.handle_event(self.now, self.legs[&call].id.shard(), &event);
        self.drain();
    }
}

impl World {
    /// What a far end says beside its status.
    pub(crate) fn declined(&mut self, call: CallId, code: u16, said: &str) {
        let event = wire::Event::Declined { call, at: self.now.wall, code, said };
        self.director.handle_event(self.now, 0, &event);
        self.drain();
    }
}
