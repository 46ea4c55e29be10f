//! Whose message is it? SIP by what we wrote ourselves into it: our tag in To, our branch in the
//! top Via. Both carry the shard under a MAC. Only a request without a tag of ours is placed, by a
//! keyed hash of its Call-ID, so that its retransmissions and its CANCEL find the same shard.

use base::{LegId, ShardId};
use sip::token::{read_branch, read_tag};
use sip::{Message, Method};

use crate::plan::Plan;
use crate::registering;
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
    /// A response to a registration of ours, by its trunk's place in the plan.
    Registrar(u32),
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
            Some((shard, id, registering::SALT)) => {
                let what = Owned::Registrar(LegId(id).index());
                Owner { shard: known(plan, shard), what }
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

/// The leg of this shard whose request a response answers, by our tag in From.
pub(crate) fn caller_leg(plan: &Plan, response: &Message<'_>) -> Option<LegId> {
    let tag = response.from().ok()?.tag?;
    let (shard, leg) = read_tag(tag, &plan.keys.token)?;
    (shard == plan.shard).then_some(LegId(leg))
}

/// The transaction whose request an ICMP packet quotes, and its shard. None if the quote, which
/// anybody can write, ends before the branch of the top Via or holds none of ours.
pub(crate) fn quoted(plan: &Plan, quote: &[u8]) -> Option<(ShardId, ClientId)> {
    let (shard, id, _) = read_branch(quoted_branch(quote)?, &plan.keys.token)?;
    Some((known(plan, shard), ClientId(LegId(id))))
}

/// The branch of the top Via of a datagram of ours, of which only the beginning is there.
fn quoted_branch(quote: &[u8]) -> Option<&[u8]> {
    const VIA: &[u8] = b"\r\nVia: ";
    const BRANCH: &[u8] = b";branch=";
    let after = |bytes: &'_ [u8], mark: &[u8]| {
        let at = bytes.windows(mark.len()).position(|window| window == mark)?;
        Some(at + mark.len())
    };
    let via = &quote[after(quote, VIA)?..];
    let via = &via[..via.iter().position(|&byte| byte == b'\r').unwrap_or(via.len())];
    let branch = &via[after(via, BRANCH)?..];
    // Without what ends it, it may be the beginning of a longer one.
    let end = branch.iter().position(|&byte| byte == b';')?;
    Some(&branch[..end])
}

/// A shard number from outside, or this one if there is no such shard in this run.
fn known(plan: &Plan, shard: ShardId) -> ShardId {
    if shard < plan.shards { shard } else { plan.shard }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_is_read_from_the_beginning_of_a_message() {
        let message = b"INVITE sip:a;branch=x@h SIP/2.0\r\n\
            Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc;rport\r\n\
            Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKother;rport\r\n";
        let end = message.windows(6).position(|window| window == b";rport").unwrap();
        for len in 0..=message.len() {
            let expected = (len > end).then_some(&b"z9hG4bKabc"[..]);
            assert_eq!(quoted_branch(&message[..len]), expected, "{len} bytes");
        }
        assert_eq!(
            quoted_branch(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;rport\r\n;branch=y;"),
            None
        );
    }
}
