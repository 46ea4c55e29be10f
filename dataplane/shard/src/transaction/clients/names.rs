//! What requests of ours are called: their branches, and the Via that says so.

use base::{Hop, LegId};
use sip::token::Kind;
use sip::{Transport, ViaOut};

use super::ClientId;
use crate::cx::Core;

/// What the salt of a branch says beside the transaction.
pub(crate) const REQUEST: u32 = 0;
/// The ACK of a 2xx is a transaction of its own: its branch is no INVITE's.
pub(super) const ACK: u32 = 1;
/// A request without a transaction, by its leg: nobody waits for its answer.
const LONE: u32 = 2;

pub(super) fn branch(core: &Core<'_>, id: ClientId, salt: u32) -> sip::token::Token {
    sip::token::make(Kind::Branch { salt }, id.0.0, &core.plan.keys.token)
}

pub(super) fn via<'b>(core: &Core<'_>, hop: Hop, branch: &'b [u8]) -> ViaOut<'b> {
    let ours = core.named(hop.via);
    let transport = match ours.transport {
        base::Transport::Udp => Transport::Udp,
        base::Transport::Tcp => Transport::Tcp,
        base::Transport::Tls => Transport::Tls,
        base::Transport::Ws => Transport::Ws,
        base::Transport::Wss => Transport::Wss,
    };
    ViaOut { transport, sent_by: ours.address, branch, rport: true }
}

/// The branch of the request `id`.
pub(crate) fn request_branch(core: &Core<'_>, id: ClientId) -> sip::token::Token {
    branch(core, id, REQUEST)
}

/// The Via of the ACK of a 2xx to the request `id`.
pub(crate) fn ack_branch(core: &Core<'_>, id: ClientId) -> sip::token::Token {
    branch(core, id, ACK)
}

/// The branch of a request of this leg that has no transaction.
pub(crate) fn lone_branch(core: &Core<'_>, leg: LegId) -> sip::token::Token {
    branch(core, ClientId(leg), LONE)
}

/// A Via through this hop with this branch.
pub(crate) fn via_of<'b>(core: &Core<'_>, hop: Hop, branch: &'b [u8]) -> ViaOut<'b> {
    via(core, hop, branch)
}
