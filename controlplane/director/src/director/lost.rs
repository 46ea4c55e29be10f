//! Legs that died with the memory they stood in: supervisor, dataplane and controlplane at once, or
//! the machine. Nobody has their cells, and their far ends were told nothing.

use std::net::SocketAddr;

use base::{CallId, Now, Wall};
use model::CallDirection;
use wire::event::{Cause, Direction, Party, Summary};
use wire::{Service, Usage};

use super::Director;
use crate::script::Wait;

impl Director {
    /// A leg that died with the memory it stood in: nobody has its cell, its far end was told
    /// nothing. It is billed, once, to when it was last known to stand.
    pub(super) fn lose(&mut self, now: Now, call: CallId, seen: Wall) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let row = live.row.clone();
        let (shard, leg, account) = (live.shard, live.leg, live.number);
        let inbound = match row.direction {
            CallDirection::Inbound => true,
            CallDirection::OutboundApi | CallDirection::OutboundDial => false,
            _ => live.outgoing.is_none(),
        };
        let answered = row.answer_time.unwrap_or(Wall(0));
        let began = row.start_time.unwrap_or(row.date_created);
        // A clock that was set ahead meanwhile is no reason to bill longer than it could stand.
        let longest = u64::from(live.longest_ms(self.settings.limits.inbound_ms)) * 1_000;
        let longest = if answered.0 > 0 && longest > 0 { longest } else { u64::MAX };
        let seen = seen.min(Wall(answered.0.saturating_add(longest)));
        let ended = seen.max(answered).max(began);
        let live_joined = live.volatile.joined;
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
            due_ms: 0,
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
        let joined = live_joined.filter(|joined| answered.0 > 0 && *joined < ended);
        if let Some(joined) = joined {
            // What was relayed nobody counted; how long is what it costs.
            summary.usage.push(Usage {
                service: Service::MediaRelay,
                segment: 1,
                open: true,
                start: joined,
                last: ended,
                count: 0,
                bytes: 0,
            });
        }
        self.on_ended(now, shard, &summary);
    }

    /// Since when legs were connected whose memory is gone, as their logs have it: they were joined
    /// when the later of them was answered. Joins that were over by then are in no log.
    pub(super) fn remember_joins(&mut self) {
        let joined = self.calls.all().filter_map(|leg| {
            let parent = self.calls.get(&leg.row.parent?)?;
            let Wait::Verb(state) = &parent.script.as_ref()?.wait else { return None };
            let is_joined = state.is_joined() && state.waits_for().contains(&leg.call());
            let at = leg.row.answer_time?.max(parent.row.answer_time?);
            (is_joined && leg.script.is_none()).then(|| ([leg.call(), parent.call()], at))
        });
        for (legs, at) in joined.collect::<Vec<_>>() {
            for call in legs {
                if let Some(mut live) = self.calls.get_mut(&call) {
                    live.volatile.joined = Some(at);
                }
            }
        }
    }
}
