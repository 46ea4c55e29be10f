//! Requests of ours that were asked for credentials, and sent again with them. The transactions do
//! it ([`crate::transaction::logins`]); a leg only has to know what it waits for now.

use super::timers::Timer;
use super::{LegMut, State};
use crate::transaction::logins::LINE_BYTES;
use crate::transaction::{ClientId, Outcome, Sent};

impl LegMut<'_, '_> {
    /// A request of the leg goes under another name and number from now on.
    pub(super) fn asked_again(&mut self, outcome: &Outcome, id: ClientId, cseq: u32) {
        let before = outcome.id;
        if outcome.method == Sent::Invite {
            return self.invited_again((before, id), cseq);
        }
        let signalling = &mut self.leg.signalling;
        if let Some(dialog) = &mut signalling.dialog {
            dialog.local_cseq = dialog.local_cseq.max(cseq);
        }
        for waits in [&mut signalling.asked, &mut self.leg.session.probe] {
            if *waits == before {
                *waits = id;
            }
        }
        if let Some(side) = self.leg.outbound_mut()
            && let Some(at) = side.pracks.iter().position(|prack| *prack == before)
        {
            side.pracks[at] = id;
            if let Some(branch) = side.branches.get_mut(at) {
                branch.use_cseq(cseq);
            }
            self.transactions.clients.use_cseq(side.invite, cseq);
        }
        if let Some(referral) = self.transactions.referrals.of(self.leg.id)
            && referral.notify == before
        {
            referral.notify = id;
        }
        self.transactions.texts.sent_again(before, id);
        self.transactions.asked.sent_again(before, id);
        if !self.leg.is_over() {
            self.record();
        }
    }

    /// Its INVITE is another one: what early dialogs there were are over.
    fn invited_again(&mut self, (before, id): (ClientId, ClientId), cseq: u32) {
        let target = self.cx.core.plan.timers.target;
        let side = self.leg.outbound_mut().filter(|side| side.invite == before);
        let Some(side) = side else {
            return self.transactions.clients.cancel(&mut self.cx, id, b"");
        };
        (side.invite, side.cseq) = (id, cseq);
        if let Some(target) = side.target_now(&self.cx.core.arena) {
            self.cx.core.target_back(self.cx.now, target, false);
        }
        self.forget_early();
        self.leg.deadlines.set(Timer::Target, self.cx.now.mono + target);
        self.record();
    }

    /// The header lines that a successor's BYE shows its far end, where that knows us by
    /// credentials. It is one BYE that they are good for: no secret is among them.
    pub(super) fn last_lines(&self, out: &mut [u8; LINE_BYTES]) -> usize {
        let signalling = &self.leg.signalling;
        let Some(dialog) = signalling.dialog.filter(|_| self.leg.state == State::Standing) else {
            return 0;
        };
        let text = self.cx.core.arena.get(&signalling.text);
        let whose = (self.leg.id, signalling.hop.to.ip());
        let logins = &self.transactions.clients.logins;
        logins.last_lines(self.cx.core, whose, dialog.request_uri(text), out)
    }
}
