//! How a leg ends, as its dataplane says.

use base::Wall;
use wire::event::{Cause, Direction, Party, Summary};
use wire::{Service, Usage};

use super::Leg;

/// As the dataplane has it.
pub(super) fn cause_of(code: u16) -> Cause {
    match code {
        486 | 600 => Cause::Busy,
        408 | 480 | 487 => Cause::NoAnswer,
        404 | 410 | 484 | 604 => Cause::NotFound,
        403 => Cause::Forbidden,
        488 | 606 => Cause::NoCodec,
        503 => Cause::Overload,
        _ => Cause::Rejected,
    }
}

pub(super) fn summary(leg: &Leg, at: Wall, by: Party, cause: Cause, code: u16) -> Summary<'_> {
    let service = match leg.direction {
        Direction::Inbound => Service::SipIngress,
        Direction::Outbound => Service::SipEgress,
    };
    let segment = |service, segment, start: Wall, count| Usage {
        service,
        segment,
        open: false,
        start,
        last: if start.0 > 0 { at } else { Wall(0) },
        count,
        bytes: 0,
    };
    let mut usage = arrayvec::ArrayVec::new();
    usage.push(segment(service, 0, leg.answered, 1));
    if leg.joined.0 > 0 {
        usage.push(segment(Service::MediaRelay, 1, leg.joined, 50));
    }
    let talked_ms = u32::try_from(at.micros_since(leg.answered) / 1_000).unwrap_or(0);
    Summary {
        epoch: 1,
        leg: leg.id,
        call: leg.call,
        parent: leg.parent,
        account: leg.account,
        direction: leg.direction,
        from: &leg.from,
        to: &leg.to,
        remote: "127.0.0.1:5070".parse().unwrap(),
        call_id: "sip-call-id",
        created: leg.created,
        answered: leg.answered,
        ended: at,
        code,
        cause,
        by,
        media: leg.media,
        due_ms: leg.due_ms.unwrap_or(talked_ms),
        usage,
    }
}
