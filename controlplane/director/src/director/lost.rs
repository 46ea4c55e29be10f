//! Legs that died with the memory they stood in: supervisor, dataplane and controlplane at once, or
//! the machine. Nobody has their cells, and their far ends were told nothing.

use std::net::SocketAddr;

use base::{CallId, Now, Wall};
use model::CallDirection;
use wire::event::{Cause, Direction, Party, Summary};
use wire::{Service, Usage};

use super::Director;

impl Director {
    /// A leg that died with the memory it stood in: nobody has its cell, its far end was told
    /// nothing. It is billed, once, to when it was last known to stand.
    pub(super) fn lose(&mut self, now: Now, call: CallId, seen: Wall) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let row = live.row.clone();
        let (shard, leg, account) = (live.shard, live.leg, live.number);
        let inbound = row.direction == CallDirection::Inbound;
        let answered = row.answer_time.unwrap_or(Wall(0));
        let began = row.start_time.unwrap_or(row.date_created);
        let ended = seen.max(answered).max(began);
        let sip_call_id = live.facts.sip_call_id.clone();
        let mut summary = Summary {
            // No dataplane has it: its highest bit is set, and the rest is the call's.
            epoch: 1 << 31 | u32::try_from(call.0 & 0x7fff_ffff).unwrap_or(0),
            leg,
            call,
            parent: row.parent.unwrap_or(CallId::NONE),
            account,
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            from: &row.from,
            to: &row.to,
            remote: SocketAddr::from(([0; 4], 0)),
            call_id: &sip_call_id,
            created: began,
            answered,
            ended,
            code: if answered.0 > 0 { 200 } else { 0 },
            cause: Cause::Restart,
            by: Party::Switch,
            media: None,
            usage: <_>::default(),
        };
        if answered.0 > 0 {
            summary.usage.push(Usage {
                service: if inbound { Service::SipIngress } else { Service::SipEgress },
                segment: 0,
                open: true,
                start: answered,
                last: ended,
                count: 1,
                bytes: 0,
            });
        }
        self.on_ended(now, shard, &summary);
    }
}
