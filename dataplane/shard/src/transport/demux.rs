//! Whose message is it? SIP by what we wrote ourselves into it: our tag in To, our branch in the
//! top Via. Both carry the shard under a MAC. Only a request without a tag of ours is placed, by a
//! keyed hash of its Call-ID, so that its retransmissions and its CANCEL find the same shard.

use base::{LegId, ShardId};
use sip::token::{read_branch, read_tag};
use sip::{Message, Method};

use crate::plan::Plan;
use crate::transaction::{ClientId, REQUEST};

/// Buckets of the placement hash.
const BUCKETS: u64 = 4_096;

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) shard: ShardId,
    pub(crate) what: Owned,
}

/// What within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    /// A request with a tag of ours: this leg's.
    Leg(LegId),
    /// A response with a branch of ours: this transaction's.
    Client(ClientId),
    /// Neither.
    Nobody,
}

/// The shard a message belongs to, and the leg or transaction that our own token in it names.
pub(crate) fn owner(plan: &Plan, message: &Message<'_>) -> Owner {
    let key = &plan.keys.token;
    let nobody = |shard| Owner { shard, what: Owned::Nobody };
    if !message.is_request() {
        let branch = message.via().ok().and_then(|via| via.branch);
        return match branch.and_then(|branch| read_branch(branch, key)) {
            Some((shard, id, REQUEST)) => {
                Owner { shard: known(plan, shard), what: Owned::Client(ClientId(LegId(id))) }
            }
            // Of an ACK, or of a request without a transaction: nobody waits for it.
            _ => nobody(plan.shard),
        };
    }
    let tag = message.to_tag();
    if let Some((shard, leg)) = tag.and_then(|tag| read_tag(tag, key)) {
        return Owner { shard: known(plan, shard), what: Owned::Leg(LegId(leg)) };
    }
    if message.method() == Some(Method::Ack) && tag.is_some() {
        return nobody(plan.shard);
    }
    let call_id = message.call_id().unwrap_or_default();
    let bucket = sip::key::call_hash(call_id, &plan.keys.placement) % BUCKETS;
    nobody(u8::try_from(bucket % u64::from(plan.shards)).unwrap_or(0))
}

/// A shard number from outside, or this one if there is no such shard in this run.
fn known(plan: &Plan, shard: ShardId) -> ShardId {
    if shard < plan.shards { shard } else { plan.shard }
}
