//! Requests that went where nothing can be sent.

use core::net::SocketAddr;

use base::Hop;

use super::super::Lost;
use super::{ClientId, ClientTransaction, Clients, Machine, Outcome, Report};
use crate::cx::{Core, Cx};

impl Clients {
    /// The next request that waits for its first response from where nothing can be sent, and can
    /// go no other way.
    pub(crate) fn fail(&mut self, cx: &mut Cx<'_, '_>, lost: Lost) -> Option<Outcome> {
        loop {
            let id = self.failed(cx.core, lost)?;
            if !self.move_back(cx, id) {
                return self.fail_one(cx, id);
            }
            if let Some(outcome) = self.moved_back(id) {
                return Some(outcome);
            }
        }
    }

    fn failed(&self, core: &Core<'_>, lost: Lost) -> Option<ClientId> {
        let went = |hop: Hop| match lost {
            Lost::Address(to) => !hop.is_reliable() && hop.to == to,
            Lost::End(end) => end.is_of(hop),
        };
        let waits = |it: &ClientTransaction| (it.waits() || it.may_move_back()) && went(it.hop);
        let is_one = |index: &u32| self.slab.get(*index).is_some_and(waits);
        let listed = match lost {
            Lost::Address(to) => to,
            Lost::End(end) => SocketAddr::new(end.remote.ip(), 0),
        };
        let index = self.waiting.of(listed, core.plan.keys.table).find(is_one)?;
        Some(self.id(core, index))
    }

    fn fail_one(&mut self, cx: &mut Cx<'_, '_>, id: ClientId) -> Option<Outcome> {
        let timers = cx.core.sip_timers();
        let entry = self.slab.get_mut(self.index(id)?)?;
        let (leg, method, cseq) = (entry.leg, entry.method, entry.cseq);
        if entry.again > 0 {
            // Whoever got it by the connection before may answer yet.
            self.leave(cx, id);
        } else {
            if let Machine::Invite(machine) = &mut entry.machine {
                let _ = machine.handle_transport_error(cx.now.mono, &timers);
            }
            self.remove(cx.core, id);
        }
        Some(Outcome { id, leg, method, cseq, report: Report::Unreachable })
    }
}
