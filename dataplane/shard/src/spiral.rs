//! Calls that come back to this switch (RFC 3261 section 16.3 step 4, RFC 5393). Between two legs
//! no Via goes on, so that a circle is not seen whole: only that what comes is our own INVITE, by
//! us alone or by proxies behind us, is told by the branch of ours in its Via. It may be meant so
//! once or twice (a proxy that knows where a number is, another tenant of this switch); each time
//! it costs as much as ten hops, so that a circle ends after seven rounds, and not after seventy.
//! What other B2BUAs bring back in the name of their own costs the hop that it is.

use sip::Message;
use sip::token::read_branch;

use wire::event::Cause;

use crate::leg::Refused;
use crate::plan::Plan;

/// Hops that a call loses beside its own whenever it comes back.
const SPIRAL_HOPS: u8 = 9;

/// What a call hears that goes round.
pub(crate) const IN_A_CIRCLE: Refused =
    Refused { why: "the call goes round in a circle", ..Refused::new(482, Cause::Protocol) };

/// Hops that an INVITE has left to it when it comes in; None where it goes round in a circle.
pub(crate) fn hops_left(plan: &Plan, message: &Message<'_>) -> Option<u8> {
    let hops = message.max_forwards().unwrap_or(70);
    let key = &plan.keys.token;
    let branches = message.vias().filter_map(|via| via.ok()?.branch);
    let rounds = branches.filter(|branch| read_branch(branch, key).is_some()).count();
    if rounds == 0 {
        return Some(hops);
    }
    let rounds = u8::try_from(rounds).unwrap_or(u8::MAX);
    hops.checked_sub(rounds.saturating_mul(SPIRAL_HOPS)).filter(|left| *left > 0)
}
