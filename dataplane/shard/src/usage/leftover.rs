//! What an earlier run of this region left: it is ended, billed to its last activity, and its slots
//! are kept until their usage is released and their far ends are told (see `telling`).

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use base::{CallId, LegId, Wall};
use core::net::SocketAddr;
use wire::cell::{Cell, CellState, CellWriter, SEGMENTS_MAX, Usage};
use wire::counter::Counter;
use wire::event::{Cause, Direction, Event, Party, Summary};
use wire::record::{FIELD_BYTES_MAX, LastWords, LegRecord};

use super::meter;
use crate::cx::{Core, Cx};
use crate::leg::{Leftover, Legs};

/// Ends what an earlier run left standing and tells the controlplane of all that is not released.
/// Slots of the legs whose far ends are to be told come back.
pub(crate) fn close_leftover_legs(cx: &mut Cx<'_, '_>, legs: &mut Legs) -> VecDeque<u32> {
    let mut untold = VecDeque::new();
    for slot in 0..cx.core.plan.limits.legs {
        let Some(words) = cx.core.region.cell(slot) else { continue };
        let leftover = match Cell::read(words).filter(|cell| cell.state != CellState::Free) {
            Some(cell) => {
                let untold = close_leftover(cx, slot, &cell);
                Leftover { epoch: cell.epoch, leg: cell.leg, released: false, untold }
            }
            // Its usage was released before its turn to be told came.
            None => match untold_in(cx.core, slot) {
                Some((epoch, leg)) => Leftover { epoch, leg, released: true, untold: true },
                None => continue,
            },
        };
        legs.occupy(slot, leftover);
        cx.core.legs_taken = legs.len();
        if leftover.untold {
            untold.push_back(slot);
        }
    }
    untold
}

fn untold_in(core: &Core<'_>, slot: u32) -> Option<(u32, LegId)> {
    let mut bytes = [0; FIELD_BYTES_MAX];
    let (epoch, record) = wire::record::read(core.region.record(slot)?, &mut bytes).ok()?;
    (record.words != LastWords::None).then_some((epoch, record.leg))
}

/// True if its far end is to be told.
fn close_leftover(cx: &mut Cx<'_, '_>, at: u32, cell: &Cell) -> bool {
    let mut bytes = [0; FIELD_BYTES_MAX];
    let slot = cx.core.region.record(at);
    let record = slot.and_then(|slot| wire::record::read(slot, &mut bytes).ok());
    let record = record.map(|(_, record)| record).filter(|record| record.leg == cell.leg);
    let last = cell.usage.iter().map(|usage| usage.last).max().unwrap_or(Wall(0));
    let record = record.unwrap_or_else(|| unknown(cell, last));
    let was_open = cell.state == CellState::Open;
    let ended = if was_open { last.max(record.created) } else { cell.ended };
    let usage = usage_of(cell, record.direction, ended);
    if let Some(words) = cx.core.region.cell(at).filter(|_| was_open) {
        let writer = CellWriter::new(words);
        usage.iter().for_each(|usage| writer.set_usage(usage));
        writer.close(ended);
    }
    let (cause, by) =
        if was_open { (Cause::Restart, Party::Switch) } else { (record.cause, record.by) };
    if let Some(slot) = slot.filter(|_| was_open) {
        let record = LegRecord { ended, cause, by, ..record.clone() };
        let _ = wire::record::write(slot, cell.epoch, &record);
    }
    let untold = record.words != LastWords::None;
    // A leg that was still to dial owes nobody a word.
    let owed = record.direction == Direction::Inbound || record.answered.0 != 0;
    if was_open && owed && !untold {
        cx.count(Counter::LegUntold);
    }
    let summary = Summary {
        epoch: cell.epoch,
        leg: cell.leg,
        call: cell.call,
        parent: record.parent,
        account: cell.account,
        direction: record.direction,
        from: record.from,
        to: record.to,
        remote: record.remote,
        call_id: record.call_id,
        created: record.created,
        answered: record.answered,
        ended,
        code: record.code,
        cause,
        by,
        media: None,
        due_ms: 0,
        usage,
    };
    cx.emit_event(&Event::Ended(summary));
    untold
}

/// What the cell holds, closed.
fn usage_of(cell: &Cell, direction: Direction, ended: Wall) -> ArrayVec<Usage, SEGMENTS_MAX> {
    let mut usage: ArrayVec<Usage, SEGMENTS_MAX> =
        cell.usage.iter().take(SEGMENTS_MAX).copied().collect();
    if usage.is_empty() {
        usage.push(meter::attempt(direction, ended));
    }
    for usage in &mut usage {
        usage.open = false;
    }
    usage
}

/// For a cell whose record cannot be read: what the cell itself knows.
fn unknown(cell: &Cell, last: Wall) -> LegRecord<'static> {
    let answered = cell.usage.iter().map(|usage| usage.start).max().unwrap_or(Wall(0));
    let egress = |usage: &Usage| usage.service == wire::Service::SipEgress;
    let outbound = cell.usage.iter().any(egress);
    LegRecord {
        leg: cell.leg,
        call: cell.call,
        parent: CallId::NONE,
        account: cell.account,
        direction: if outbound { Direction::Outbound } else { Direction::Inbound },
        from: "",
        to: "",
        remote: SocketAddr::from(([0, 0, 0, 0], 0)),
        call_id: "",
        created: if answered.0 == 0 { last } else { answered },
        answered,
        ended: cell.ended,
        code: 0,
        cause: Cause::Restart,
        by: Party::Switch,
        words: LastWords::None,
        tls_name: "",
    }
}
