//! What becomes of answers that nobody waits for, and of requests whose connection is lost.

use core::net::SocketAddr;

use arrayvec::ArrayVec;
use base::{Arena, ConnectionId, Door, Hop, LegId};
use sip::dialog::Dialog;
use sip::{Message, Name};
use wire::counter::Counter;

use super::super::logins::LoginId;
use super::again::with_credentials;
use super::{
    ACK, Cancel, ClientId, ClientTransaction, Clients, Method, Outcome, Report, branch, via,
    with_reason,
};
use crate::cx::Cx;
use crate::transport::connections::End;

/// Requests that go again when a connection is lost, and how often one does.
const AGAIN_MAX: usize = 64;
const TIMES_MAX: u8 = 3;

impl Clients {
    /// A connection is lost: requests that went by it, or to its address, and that nobody has
    /// answered go again by another one, under their names, so that whoever has them knows them.
    pub(crate) fn again(&mut self, cx: &mut Cx<'_, '_>, (lost, end): (ConnectionId, End)) {
        let is_one = |index: &u32| {
            let went = |hop: Hop| {
                let by = matches!(hop.via, Door::Connection { id, .. } if id == lost);
                by || end.is_of(hop)
            };
            let may = |it: &ClientTransaction| it.is_unanswered() && it.again < TIMES_MAX;
            self.slab.get(*index).is_some_and(|it| went(it.hop) && may(it))
        };
        let listed = SocketAddr::new(end.remote.ip(), 0);
        let found = self.waiting.of(listed, cx.core.plan.keys.table).filter(is_one);
        let found: ArrayVec<u32, AGAIN_MAX> = found.take(AGAIN_MAX).collect();
        // In the order in which they went.
        for index in found.into_iter().rev() {
            if let Some(entry) = self.slab.get_mut(index) {
                entry.again += 1;
                cx.resend(entry.hop, &entry.text);
            }
        }
    }

    /// The next phone that rings by a connection which is lost: it has nothing to answer by (RFC
    /// 5626 section 5.3.1).
    pub(crate) fn fail_ringing(
        &mut self,
        cx: &mut Cx<'_, '_>,
        (lost, end): (ConnectionId, End),
    ) -> Option<Outcome> {
        let is_one = |index: &u32| {
            let rings = |it: &ClientTransaction| {
                let by = matches!(it.hop.via, Door::Connection { id, .. } if id == lost);
                by && it.rings_for_somebody()
            };
            self.slab.get(*index).is_some_and(rings)
        };
        let listed = SocketAddr::new(end.remote.ip(), 0);
        let index = self.waiting.of(listed, cx.core.plan.keys.table).find(is_one)?;
        let id = self.id(cx.core, index);
        let entry = self.slab.get(index)?;
        let (leg, method, cseq) = (entry.leg, entry.method, entry.cseq);
        self.leave(cx, id);
        Some(Outcome { id, leg, method, cseq, report: Report::Unreachable })
    }

    /// A 2xx that makes a dialog nobody wants (another branch of a forking proxy, an answer that
    /// crossed our CANCEL, one that we cannot use): it is acknowledged each time it comes, and its
    /// dialog ended once (RFC 3261 section 13.2.2.4).
    pub(crate) fn end_branch(&mut self, cx: &mut Cx<'_, '_>, id: ClientId, message: &Message<'_>) {
        let Some(entry) = self.index(id).and_then(|index| self.slab.get_mut(index)) else { return };
        let tag = message.to_tag().unwrap_or_default();
        let hash = sip::key::call_hash(tag, &cx.core.plan.keys.token);
        let known = entry.answered.contains(&hash);
        if !known && entry.answered.try_push(hash).is_err() {
            return cx.count(Counter::DiscardSipStray);
        }
        let (hop, cseq, used, to_phone) = (entry.hop, entry.cseq, entry.used, entry.is_to_phone());
        let ends = entry.method == Method::Invite && !known;
        let mut reason = [0; 256];
        let reason = copied(reason_of(entry, &cx.core.arena), &mut reason);
        let mut block = [0; 4_096];
        let dialog = match Message::parse(cx.core.arena.get(&entry.text)) {
            Ok(invite) => Dialog::uac(&mut block, &invite, message)
                .or_else(|_| Dialog::uac_to_end(&mut block, &invite, message))
                .ok(),
            Err(_) => None,
        };
        let Some(dialog) = dialog else {
            return cx.count(Counter::DiscardSipStray);
        };
        let mut dialog = dialog.by_flow(to_phone);
        let next = cx.core.way_in(&dialog, &block, hop);
        let text = &entry.text;
        let login =
            if entry.login == LoginId::NONE { self.logins.of(entry.leg) } else { entry.login };
        let ack = cx.compose(|out, core| {
            let branch = branch(core, id, ACK);
            let writer = dialog.ack(&block, out, cseq, &via(core, next, &branch));
            with_credentials(writer, core.arena.get(text)).finish().ok().map(<[u8]>::len)
        });
        cx.send_sip(next, ack);
        if ends {
            dialog.local_cseq = dialog.local_cseq.max(used);
            let cseq = dialog.local_cseq + 1;
            let bye = (Method::Bye, LegId::NONE, next, cseq);
            let begun = self.begin_as(cx, bye, (login, 0, false), |out, _, via| {
                let writer = dialog.request(&block, out, sip::Method::Bye, via);
                with_reason(writer, reason).finish().ok().map(<[u8]>::len)
            });
            if let Some(id) = begun {
                self.byes.begin_unwanted(dialog.id(&block).local_tag, cx.core, id);
            }
        }
    }
}

/// The value of Reason that its CANCEL carries, or will.
fn reason_of<'a>(entry: &ClientTransaction, arena: &'a Arena) -> &'a [u8] {
    match &entry.cancel {
        Cancel::No => b"",
        Cancel::Wanted(reason) => arena.get(reason),
        Cancel::Sent(_, cancel) => {
            let cancel = Message::parse(arena.get(cancel)).ok();
            cancel.and_then(|cancel| cancel.header(Name::Reason)).unwrap_or_default()
        }
    }
}

fn copied<'b>(text: &[u8], buffer: &'b mut [u8; 256]) -> &'b [u8] {
    let len = text.len().min(buffer.len());
    buffer[..len].copy_from_slice(&text[..len]);
    &buffer[..len]
}
