//! The meter: what a leg uses, written into its cell so that another process can bill it whatever
//! happens to this one. Segments of a leg: 0 is its SIP micro-service, 1 its relayed media.

use base::Wall;
use wire::cell::{CellWriter, Service, Usage};
use wire::event::Direction;

use crate::join::Stream;
use crate::leg::Leg;

/// The signalling micro-service of a leg, as it stands at `last`.
pub(crate) fn signalling(leg: &Leg, last: Wall, open: bool) -> Usage {
    let service = match leg.direction {
        Direction::Inbound => Service::SipIngress,
        Direction::Outbound => Service::SipEgress,
    };
    Usage { service, segment: 0, open, start: leg.answered, last, count: 1, bytes: 0 }
}

/// The relay of a leg's media; None if it never relayed a packet.
pub(crate) fn relay(leg: &Leg, stream: &Stream, last: Wall, open: bool) -> Option<Usage> {
    (leg.joined_at.0 != 0).then_some(Usage {
        service: Service::MediaRelay,
        segment: 1 + u16::try_from(leg.relays.len()).unwrap_or(0),
        open,
        start: leg.joined_at,
        last: last.max(leg.joined_at),
        count: stream.relayed,
        bytes: stream.relayed_bytes,
    })
}

/// Writes a standing leg's usage so far.
pub(crate) fn refresh(cell: &CellWriter<'_>, leg: &Leg, stream: &Stream, now: Wall) {
    if leg.answered.0 == 0 {
        return;
    }
    cell.set_usage(&signalling(leg, now, true));
    if let Some(usage) = relay(leg, stream, now, true) {
        cell.set_usage(&usage);
    }
}

/// The usage of a leg that was an attempt and nothing else.
pub(crate) fn attempt(direction: Direction, last: Wall) -> Usage {
    let service = match direction {
        Direction::Inbound => Service::SipIngress,
        Direction::Outbound => Service::SipEgress,
    };
    Usage { service, segment: 0, open: false, start: Wall(0), last, count: 1, bytes: 0 }
}
