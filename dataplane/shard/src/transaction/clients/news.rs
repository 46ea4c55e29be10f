//! Which responses are told to whoever asked for messages.

use sip::Message;

use super::{ClientId, Clients, Machine, Method};
use crate::cx::Core;

impl Clients {
    /// Whether a response has not come before, as far as it can be told: provisional ones all
    /// count.
    pub(crate) fn is_news(&self, core: &Core<'_>, id: ClientId, message: &Message<'_>) -> bool {
        use sip::txn::invite_client::State;
        let Some(entry) = self.index(id).and_then(|index| self.slab.get(index)) else {
            return false;
        };
        let (Some(code), Ok(cseq)) = (message.status(), message.cseq()) else { return false };
        if cseq.method != entry.method.sip() || cseq.number != entry.cseq {
            return false;
        }
        let Machine::Invite(machine) = &entry.machine else { return true };
        if matches!(machine.state(), State::Calling | State::Proceeding) {
            return true;
        }
        let tag = message.to_tag().unwrap_or_default();
        let hash = sip::key::call_hash(tag, &core.plan.keys.token);
        let is_fork = entry.method == Method::Invite && (200..300).contains(&code);
        is_fork && !entry.answered.contains(&hash)
    }
}
