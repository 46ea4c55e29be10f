//! Provisional responses of the far end that are to be acknowledged (RFC 3262 section 4): each one
//! once, in its own early dialog, in their order.
//!
//! Every INVITE of ours has an offer, so that a description in such a response is an answer, and
//! a PRACK of ours never has one.

use sip::dialog::Dialog;
use sip::{Message, Name, Part, Writer};
use wire::counter::Counter;

use super::{LegMut, Outbound};
use crate::transaction::{ClientId, Sent};

/// An early dialog with our INVITE: a branch of a forking proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    /// Its tag, hashed.
    tag: u32,
    /// RSeq of the response that was acknowledged last; 0 for none.
    rseq: u32,
    /// CSeq number of our last request in it; 0 for none.
    pub(super) cseq: u32,
}

impl Branch {
    pub(super) fn new(tag: u32) -> Self {
        Self { tag, rseq: 0, cseq: 0 }
    }

    /// A request in it had this number.
    pub(super) fn use_cseq(&mut self, cseq: u32) {
        self.cseq = self.cseq.max(cseq);
    }
}

impl Outbound {
    /// The branch with this tag, hashed; None for one that was never seen.
    pub(super) fn branch(&mut self, tag: u32) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.tag == tag)
    }
}

impl LegMut<'_, '_> {
    /// Acknowledges a provisional response that wants to be. False for one that is not to be looked
    /// at: it was acknowledged already, it is out of its turn, or it cannot be acknowledged now and
    /// will come again.
    pub(super) fn acknowledge(&mut self, message: &Message<'_>) -> bool {
        let Some(rseq) = rseq_of(message) else { return true };
        let tag = self.branch_of(message);
        let Some(side) = self.leg.outbound_mut() else { return true };
        let Some(branch) = side.branch(tag).copied() else {
            self.cx.count(Counter::DiscardSipReliable);
            return false;
        };
        if branch.rseq == rseq {
            // Its PRACK is on its way, and repeats itself.
            return false;
        }
        if branch.rseq != 0 && branch.rseq.checked_add(1) != Some(rseq) {
            self.cx.count(Counter::DiscardSipReliable);
            return false;
        }
        let (invite, number) = (side.invite, side.cseq);
        if !self.may_take_transaction() {
            // Whatever a far end sends, it has its share: what is not acknowledged comes again.
            self.cx.count(Counter::DiscardSipReliable);
            return false;
        }
        let Some((prack, cseq)) = self.send_prack(message, branch, (rseq, number)) else {
            return false;
        };
        self.transactions.clients.use_cseq(invite, cseq);
        if let Some(side) = self.leg.outbound_mut() {
            let at = side.branches.iter().position(|branch| branch.tag == tag);
            let places = at.and_then(|at| side.branches.get_mut(at).zip(side.pracks.get_mut(at)));
            if let Some((branch, last)) = places {
                (*branch, *last) = (Branch { tag, rseq, cseq }, prack);
            }
        }
        true
    }

    /// Sends the PRACK of this response in its early dialog, which may be another one than the
    /// leg's. Its transaction and its CSeq number; None if it could not be sent.
    fn send_prack(
        &mut self,
        message: &Message<'_>,
        branch: Branch,
        (rseq, invite): (u32, u32),
    ) -> Option<(ClientId, u32)> {
        let signalling = &self.leg.signalling;
        let text = self.cx.core.arena.get(&signalling.text);
        let followed = signalling.dialog.map(|dialog| dialog.id(text).remote_tag);
        if followed == message.to_tag() {
            // Its Contact moves the target as that of a 2xx does (RFC 6141 section 5).
            self.move_target(message);
            let prack = self.ask(Sent::Prack, |writer, _| with_rack(writer, rseq, invite))?;
            return Some((prack, self.leg.signalling.dialog?.local_cseq));
        }
        let mut block = [0; 4_096];
        let text = self.transactions.clients.text(self.leg.outbound()?.invite)?;
        let asked = Message::parse(self.cx.core.arena.get(text)).ok()?;
        let mut dialog = Dialog::uac(&mut block, &asked, message).ok()?;
        dialog.local_cseq = dialog.local_cseq.max(branch.cseq);
        let is_registered = self.leg.outbound()?.is_registered(&self.cx.core.arena);
        let mut dialog = dialog.by_flow(is_registered);
        let hop = self.cx.core.way_in(&dialog, &block, self.leg.signalling.hop);
        let (id, cseq) = (self.leg.id, dialog.local_cseq.saturating_add(1));
        let prack = self.transactions.clients.begin(
            &mut self.cx,
            (Sent::Prack, id, hop, cseq),
            |out, _, via| {
                let writer = dialog.request(&block, out, Sent::Prack.sip(), via);
                with_rack(writer, rseq, invite)
            },
        )?;
        Some((prack, cseq))
    }

    /// Nobody waits any more for what becomes of the PRACKs that are open.
    pub(super) fn forget_pracks(&mut self) {
        let Some(side) = self.leg.outbound_mut() else { return };
        for prack in &mut side.pracks {
            let prack = core::mem::replace(prack, ClientId::NONE);
            self.transactions.clients.orphan(self.cx.core, prack);
        }
    }
}

/// The RSeq of a response that is to be acknowledged; None for one that is not. What says so
/// without a number, or without a dialog, cannot be.
pub(super) fn rseq_of(message: &Message<'_>) -> Option<u32> {
    let reliable = message.lists(Name::Require, b"100rel") && message.to_tag().is_some();
    message.number(Name::RSeq).ok().filter(|rseq| reliable && *rseq > 0)
}

fn with_rack(writer: Writer<'_>, rseq: u32, invite: u32) -> Option<usize> {
    let rack = [
        Part::Number(u64::from(rseq)),
        Part::Bytes(b" "),
        Part::Number(u64::from(invite)),
        Part::Bytes(b" INVITE"),
    ];
    writer.header(Name::RAck, &rack).finish().ok().map(<[u8]>::len)
}
