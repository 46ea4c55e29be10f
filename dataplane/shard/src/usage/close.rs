//! The end of a leg, for money: the cell is closed, then the event tells. In this order, so that
//! the event is only the doorbell of a fact that stands.

use base::{LegId, Wall};
use core::net::SocketAddr;
use wire::counter::Counter;
use wire::event::{Cause, Event, Party, Summary};

use super::{cut, meter, record, text};
use crate::cx::Cx;
use crate::leg::Leg;
use crate::media::Media;
use crate::plan::CLOSING_BYTES;

/// The leg is over: its cell says so, with all that was used until then.
pub(crate) fn close(cx: &mut Cx<'_, '_>, leg: &Leg, media: &Media) {
    record(cx, (leg, leg.signalling.hop), b"");
    let now = leg.story.ended;
    let usage = meter::all(leg, media, now);
    if leg.joins.is_open() {
        cx.core.legs_joined = cx.core.legs_joined.saturating_sub(1);
    }
    if let Some(cell) = cx.core.cell(leg.id) {
        for usage in &usage {
            cell.set_usage(usage);
        }
        cell.close(now);
    }
}

/// The doorbell of that fact, with what the CDR wants.
pub(crate) fn emit_ended(cx: &mut Cx<'_, '_>, leg: &Leg, media: &Media) {
    let now = leg.story.ended;
    let usage = meter::all(leg, media, now);
    let story = &leg.story;
    let core = &mut *cx.core;
    let arena = &core.arena;
    let summary = Summary {
        epoch: core.epoch,
        leg: leg.id,
        call: story.call,
        parent: story.parent,
        account: story.account,
        direction: leg.direction(),
        from: cut(text(arena.get(&story.from))),
        to: cut(text(arena.get(&story.to))),
        remote: leg.signalling.hop.to,
        call_id: cut(text(arena.get(&story.call_id))),
        created: story.created,
        answered: story.answered,
        ended: now,
        code: story.code,
        cause: story.cause,
        by: story.by,
        media: media.summary(leg.id),
        due_ms: story.due.millis_until(cx.now.mono),
        usage,
    };
    let event = Event::Ended(summary);
    if !core.events.push_with(CLOSING_BYTES, |out| wire::encode(&event, out).ok()) {
        // The cell is the fact; the controlplane's sweep finds it.
        core.counters.count(Counter::DiscardNoRoom);
    }
    core.counters.count(Counter::LegEnded);
}

/// An outgoing leg that could not even be made: told as over, with nothing used.
pub(crate) fn emit_unmade(
    cx: &mut Cx<'_, '_>,
    wish: &wire::Originate<'_>,
    (code, cause): (u16, Cause),
) {
    let remote = wish.targets.first().map(|target| target.address);
    let summary = Summary {
        epoch: cx.core.epoch,
        leg: LegId::NONE,
        call: wish.call,
        parent: wish.parent,
        account: wish.account,
        direction: wire::event::Direction::Outbound,
        from: cut(wish.from),
        to: cut(wish.uri),
        remote: remote.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
        call_id: "",
        created: cx.now.wall,
        answered: Wall(0),
        ended: cx.now.wall,
        code,
        cause,
        by: Party::Switch,
        media: None,
        due_ms: 0,
        usage: arrayvec::ArrayVec::new(),
    };
    cx.emit_event(&Event::Ended(summary));
}
