//! What cells and records say when nobody else does: which legs stand, and how one ended.

use std::net::{Ipv4Addr, SocketAddr};

use base::{CallId, Wall};
use model::port::Standing;
use wire::event::{Cause, Direction, Party, Summary};
use wire::record::{self, FIELD_BYTES_MAX, LegRecord};
use wire::region::Region;
use wire::{Cell, CellState, Service};

/// The legs that stand in a shard.
#[must_use]
pub fn standing(region: &Region<'_>) -> Vec<Standing> {
    let mut standing = Vec::new();
    let mut bytes = [0; FIELD_BYTES_MAX];
    for index in 0..region.sizes().legs {
        let cell = region.cell(index).and_then(Cell::read);
        let Some(cell) = cell.filter(|cell| cell.state == CellState::Open) else { continue };
        let record = record_of(region, index, &cell, &mut bytes);
        let answered = record.map_or(Wall(0), |record| record.answered);
        standing.push(Standing { call: cell.call, leg: cell.leg, epoch: cell.epoch, answered });
    }
    standing
}

/// Every leg that is not free and whether it is closed: what is left of a dataplane that will not
/// come back.
#[must_use]
pub fn left_behind(region: &Region<'_>) -> Vec<u32> {
    let taken = |index: &u32| {
        region.cell(*index).and_then(Cell::read).is_some_and(|cell| cell.state != CellState::Free)
    };
    (0..region.sizes().legs).filter(taken).collect()
}

/// Tells the end of the leg in a slot as its shard would have: from cell and record, without what
/// only the shard knew (media quality). None if the slot is free or cannot be read.
pub fn with_summary<T>(
    region: &Region<'_>,
    index: u32,
    tell: impl FnOnce(&Summary<'_>) -> T,
) -> Option<T> {
    let cell = Cell::read(region.cell(index)?)?;
    if cell.state == CellState::Free {
        return None;
    }
    let mut bytes = [0; FIELD_BYTES_MAX];
    let record = record_of(region, index, &cell, &mut bytes);
    Some(tell(&summary(&cell, record.as_ref())))
}

/// The slot's record, if it is of the same leg.
fn record_of<'b>(
    region: &Region<'_>,
    index: u32,
    cell: &Cell,
    bytes: &'b mut [u8; FIELD_BYTES_MAX],
) -> Option<LegRecord<'b>> {
    let (_, record) = record::read(region.record(index)?, bytes).ok()?;
    (record.call == cell.call).then_some(record)
}

fn summary<'r>(cell: &Cell, record: Option<&LegRecord<'r>>) -> Summary<'r> {
    // A cell that is still open belongs to a dead writer: the leg ended at its last activity.
    let last = cell.usage.iter().map(|usage| usage.last).max().unwrap_or_default();
    let created = record.map_or(last, |record| record.created);
    let is_closed = cell.state == CellState::Closed && cell.ended.0 > 0;
    let ended = if is_closed { cell.ended } else { last.max(created) };
    let outbound = cell.usage.iter().any(|usage| usage.service == Service::SipEgress);
    let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
    // The record knows why only if it was written after the end.
    let ended_record = record.filter(|record| record.ended.0 > 0);
    Summary {
        epoch: cell.epoch,
        leg: cell.leg,
        call: cell.call,
        parent: record.map_or(CallId::NONE, |record| record.parent),
        account: cell.account,
        direction: record.map_or(direction, |record| record.direction),
        from: record.map_or("", |record| record.from),
        to: record.map_or("", |record| record.to),
        remote: record.map_or_else(nowhere, |record| record.remote),
        call_id: record.map_or("", |record| record.call_id),
        created,
        answered: record.map_or(Wall(0), |record| record.answered),
        ended,
        code: ended_record.map_or(0, |record| record.code),
        cause: ended_record.map_or(Cause::Restart, |record| record.cause),
        by: ended_record.map_or(Party::Switch, |record| record.by),
        media: None,
        due_ms: 0,
        usage: cell.usage.iter().copied().collect(),
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}
